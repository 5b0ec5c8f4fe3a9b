//! Grants that connections were opened by: until when, and that it is nearly over.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_api::grants::GrantBody;

use super::Manner;
use crate::cli::{session::Session, short_id, when};

/// So long before its end it is said that a grant ends.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// Nothing is to be said: it is looked again after so long.
const NOTHING: Duration = Duration::from_hours(1);

/// The grants that were used.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<String, Known>);

/// What is known of a grant.
#[derive(Debug)]
struct Known {
    operation: String,
    ends: Timestamp,
    announced: bool,
}

impl Known {
    fn new(operation: &str, ends: Timestamp) -> Self {
        Self { operation: operation.to_owned(), ends, announced: false }
    }

    /// When it is to be looked at: some time ahead of its end, and, once that was announced, at the end
    /// itself, since it may have been extended.
    fn next(&self) -> Timestamp {
        if self.announced { self.ends } else { self.ends - AHEAD }
    }

    /// It was looked at again. `false` if it ended as it was announced.
    fn found(&mut self, ends: Timestamp) -> bool {
        let is_extended = ends > self.ends;
        let is_over = self.announced && !is_extended;
        self.announced &= !is_extended;
        self.ends = ends;
        !is_over
    }
}

impl Grants {
    /// A connection was opened by this one.
    pub(super) async fn used(&mut self, session: &mut Session<'_>, id: String) {
        if self.0.contains_key(&id) {
            return;
        }
        let Some(grant) = look(session, &id).await else { return };
        let until = when::until(grant.expires_at, session.now());
        let line = format!("granted {}: {until} (grant {})", grant.operation, short_id::shown(&id));
        session.screen.note(&line);
        self.holds(&grant);
    }

    /// This one is known.
    pub(super) fn holds(&mut self, grant: &GrantBody) {
        let known = Known::new(&grant.operation, grant.expires_at);
        self.0.entry(grant.id.clone()).or_insert(known);
    }

    /// How long until something is to be announced, or looked at.
    pub(super) fn until_next(&self, now: Timestamp) -> Duration {
        let next = self.0.values().map(|known| known.next().duration_since(now)).min();
        next.map_or(NOTHING, |left| Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// Says what ends soon, unless it was extended meanwhile.
    pub(super) async fn announce(&mut self, session: &mut Session<'_>, manner: Manner) {
        let now = session.now();
        let mut over = Vec::new();
        for (id, known) in &mut self.0 {
            if known.next() > now {
                continue;
            }
            // Without news it ends when it was said to end.
            let ends = look(session, id).await.map_or(known.ends, |grant| grant.expires_at);
            if !known.found(ends) {
                over.push(id.clone());
                continue;
            }
            if known.next() > now {
                continue;
            }
            known.announced = true;
            let (short, until) = (short_id::shown(id), when::until(known.ends, now));
            let what =
                format!("{} ends soon ({until}), and its connections with it", known.operation);
            match manner {
                Manner::Person => {
                    session.screen.note(&format!("{what}; this asks for more:"));
                    let extend = session.command(&format!("extend {short} --for 30m"));
                    session.screen.note(&format!("  {extend}"));
                }
                Manner::Job => {
                    let more = "a job asks for longer by --for, as long as its rule lets it";
                    session.screen.note(&format!("{what}; {more}"));
                }
            }
        }
        for id in over {
            self.0.remove(&id);
        }
    }
}

/// The grant as it is now, as far as that can be said: connections live on without the news.
async fn look(session: &mut Session<'_>, id: &str) -> Option<GrantBody> {
    let fetched = session.get(&format!("/v1/grants/{id}")).await;
    match fetched.and_then(|fetched| fetched.read()) {
        Ok(grant) => Some(grant),
        Err(failure) => {
            let short = short_id::shown(id);
            session.screen.note(&format!("what has become of grant {short} is unknown: {failure}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_end_is_announced_a_minute_ahead_and_once() {
        let mut grants = Grants::default();
        assert_eq!(grants.until_next(at(0)), NOTHING);
        grants.0.insert("a".to_owned(), Known::new("a", at(600)));
        grants.0.insert("b".to_owned(), Known::new("b", at(90)));
        assert_eq!(grants.until_next(at(0)), Duration::from_secs(30));
        assert_eq!(grants.until_next(at(50)), Duration::ZERO);
        grants.0.get_mut("b").unwrap().announced = true;
        assert_eq!(
            grants.until_next(at(50)),
            Duration::from_secs(40),
            "at its end it is looked at"
        );
        grants.0.remove("b");
        assert_eq!(grants.until_next(at(0)), Duration::from_mins(9));
    }

    #[test]
    fn what_is_extended_after_that_is_announced_again() {
        let mut known = Known { announced: true, ..Known::new("a", at(90)) };
        assert!(known.found(at(600)));
        assert_eq!(known.next(), at(540), "a minute ahead of the new end");
        known.announced = true;
        assert!(!known.found(at(600)), "it is over");
    }
}
