//! What changed, told to whoever listens: every event about an access request or a grant, once the log
//! has it, in the order of the log.
//!
//! Listeners begin before they look, so that nothing falls between. Nobody waits for them: one that is
//! too far behind is told so and begins anew. A notice says what to look at and nothing about it; who
//! may see it is decided when they look.

use std::{sync::Arc, time::Duration};

use portcullis_model::{AccessRequestId, Event, EventType, GrantId};
use tokio::{
    sync::{broadcast, watch},
    time::{Instant, timeout_at},
};

use crate::{ControlError, core::Core};

/// How many notices a listener may be behind, and how many it may have missed.
const MOST_BEHIND: usize = 1024;
/// How many events are looked at for what was missed.
const LOOKED_AT: u32 = 8192;
/// How long a notice may wait for the gates of this process.
const IN_EFFECT: Duration = Duration::from_secs(5);

/// Something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// Where the log says so.
    pub position: u64,
    /// What.
    pub about: About,
}

/// What changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum About {
    /// An access request.
    AccessRequest(AccessRequestId),
    /// A grant.
    Grant(GrantId),
}

/// What a listener hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// Something changed.
    Notice(Notice),
    /// Who may do what has changed; perhaps the listener is nobody any more.
    Rights,
    /// It was too slow: notices are lost.
    Behind,
}

/// What was missed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missed {
    /// This, and nothing else.
    Notices(Vec<Notice>),
    /// More than is looked for, or of another log.
    TooMuch,
}

impl Notice {
    fn of(position: u64, event: &Event) -> Option<Self> {
        let request = || event.access_request.map(About::AccessRequest);
        let grant = || event.grant.map(About::Grant);
        let about = match event.kind {
            EventType::AccessRequested
            | EventType::EmergencyOpened
            | EventType::Reviewed
            | EventType::EmergencyReviewed
            | EventType::AccessRequestEnded => request(),
            EventType::GrantStarted
            | EventType::GrantExtended
            | EventType::GrantUsed
            | EventType::GrantEnded => grant(),
            _ => None,
        };
        about.map(|about| Self { position, about })
    }
}

/// Where notices come from.
#[derive(Debug, Clone)]
pub(crate) struct Feed(broadcast::Sender<Notice>);

impl Default for Feed {
    fn default() -> Self {
        Self(broadcast::Sender::new(MOST_BEHIND))
    }
}

impl Feed {
    /// The log has `event` at `position`. Never waits.
    pub(crate) fn tell(&self, position: u64, event: &Event) {
        if let Some(notice) = Notice::of(position, event) {
            // Nobody listens: then nobody is told.
            let _ = self.0.send(notice);
        }
    }
}

/// Listens from the moment that it was made.
#[derive(Debug)]
pub struct Listener {
    core: Arc<Core>,
    notices: broadcast::Receiver<Notice>,
    snapshots: watch::Receiver<u64>,
}

impl Listener {
    pub(crate) fn new(core: &Arc<Core>) -> Self {
        let snapshots = core.publisher.snapshots().changes();
        Self { core: Arc::clone(core), notices: core.feed.0.subscribe(), snapshots }
    }

    /// Waits for the next. Loses nothing if it is dropped and called again.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            biased;
            notice = self.notices.recv() => notice.map_or(Heard::Behind, Heard::Notice),
            changed = self.snapshots.changed() => match changed {
                Ok(()) => Heard::Rights,
                Err(_) => Heard::Behind,
            },
        }
    }

    /// Returns when the gates of this process know of these grants as they are stored: whoever is told
    /// of a grant may use it at once.
    pub async fn in_effect(&mut self, grants: &[GrantId]) -> Result<(), ControlError> {
        let deadline = Instant::now() + IN_EFFECT;
        for id in grants {
            while let Some(grant) = self.core.store.grant(*id).await? {
                let known = self.core.publisher.grant(*id);
                let is_known = known.is_some_and(|known| known.version >= grant.version);
                if is_known || !grant.in_force(self.core.now()) {
                    break;
                }
                // The log is broken: what is committed is true all the same.
                if timeout_at(deadline, self.snapshots.changed()).await.is_err() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// What changed after `position`, up to now. What this listener hears may be among it.
    pub async fn missed(&self, position: u64) -> Result<Missed, ControlError> {
        let newest = self.newest().await?;
        if newest.is_none_or(|newest| newest < position) {
            return Ok(Missed::TooMuch);
        }
        let events = self.core.store.logged_after(position, LOOKED_AT).await?;
        let many = events.len() == usize::try_from(LOOKED_AT).unwrap_or(usize::MAX);
        let notices: Vec<_> =
            events.iter().filter_map(|(position, event)| Notice::of(*position, event)).collect();
        let too_much = many || notices.len() > MOST_BEHIND;
        Ok(if too_much { Missed::TooMuch } else { Missed::Notices(notices) })
    }

    /// Up to where the log says what control did.
    pub async fn newest(&self) -> Result<Option<u64>, ControlError> {
        Ok(self.core.store.last_logged().await?)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use portcullis_model::EventId;

    use super::*;

    fn event(kind: EventType, grant: u128) -> Event {
        let mut event = Event::new(EventId::from_bits(1), Timestamp::UNIX_EPOCH, kind);
        event.grant = Some(GrantId::from_bits(grant));
        event
    }

    #[test]
    fn listeners_hear_of_what_changed_in_its_order_and_of_nothing_else() {
        let feed = Feed::default();
        let mut heard = feed.0.subscribe();
        feed.tell(4, &event(EventType::ConnectionEnded, 1));
        feed.tell(5, &event(EventType::GrantStarted, 1));
        feed.tell(9, &event(EventType::GrantEnded, 2));
        for (position, grant) in [(5, 1), (9, 2)] {
            let about = About::Grant(GrantId::from_bits(grant));
            assert_eq!(heard.try_recv().unwrap(), Notice { position, about });
        }
        assert!(heard.try_recv().is_err());
    }

    #[test]
    fn one_that_does_not_listen_holds_up_nobody_and_is_told_that_it_lost_something() {
        let feed = Feed::default();
        let (mut slow, mut quick) = (feed.0.subscribe(), feed.0.subscribe());
        for position in 0..3 * MOST_BEHIND as u64 {
            feed.tell(position, &event(EventType::GrantUsed, 1));
            assert_eq!(quick.try_recv().unwrap().position, position);
        }
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
    }
}
