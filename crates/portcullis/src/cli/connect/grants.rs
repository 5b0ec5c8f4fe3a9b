//! Grants that connections were opened by: until when, and that it is nearly over.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portcullis_api::grants::GrantBody;

use crate::cli::{session::Session, short_id, when};

/// So long before its end it is said that a grant ends.
const AHEAD: SignedDuration = SignedDuration::from_mins(1);
/// Nothing is to be said: it is looked again after so long.
const NOTHING: Duration = Duration::from_hours(1);

/// The grants that were used, when each ends, and whether that was announced.
#[derive(Debug, Default)]
pub(super) struct Grants(BTreeMap<String, (Timestamp, bool)>);

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
        self.0.insert(id, (grant.expires_at, false));
    }

    /// How long until something is to be announced.
    pub(super) fn until_next(&self, now: Timestamp) -> Duration {
        let open = self.0.values().filter(|(_, announced)| !announced);
        let next = open.map(|(ends, _)| ends.duration_since(now) - AHEAD).min();
        next.map_or(NOTHING, |left| Duration::try_from(left).unwrap_or(Duration::ZERO))
    }

    /// Says what ends soon, unless it was extended meanwhile.
    pub(super) async fn announce(&mut self, session: &mut Session<'_>) {
        let now = session.now();
        for (id, (ends, announced)) in &mut self.0 {
            if *announced || ends.duration_since(now) > AHEAD {
                continue;
            }
            if let Some(grant) = look(session, id).await {
                *ends = grant.expires_at;
            }
            if ends.duration_since(now) > AHEAD {
                continue;
            }
            *announced = true;
            let (short, until) = (short_id::shown(id), when::until(*ends, now));
            session.screen.note(&format!(
                "grant {short} ends soon ({until}), and its connections with it; this asks for more:"
            ));
            let extend = session.command(&format!("extend {short} --for 30m"));
            session.screen.note(&format!("  {extend}"));
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

    #[test]
    fn the_end_is_announced_a_minute_ahead_and_once() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut grants = Grants::default();
        assert_eq!(grants.until_next(at(0)), NOTHING);
        grants.0.insert("a".to_owned(), (at(600), false));
        grants.0.insert("b".to_owned(), (at(90), false));
        assert_eq!(grants.until_next(at(0)), Duration::from_secs(30));
        assert_eq!(grants.until_next(at(50)), Duration::ZERO);
        grants.0.insert("b".to_owned(), (at(90), true));
        assert_eq!(grants.until_next(at(0)), Duration::from_mins(9));
    }
}
