//! The one way in which anything changes: commit, record, publish.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_model::{Event, GrantId, GrantKind, PolicyId};
use portcullis_store::{Change, StoreError};

use crate::{
    ControlError, OpContext,
    core::Core,
    expiry::Ending,
    holds,
    publisher::Effect,
    usecase::{bundles, notices},
};

/// Characters. Reasons and notes are shorter; what a compiler of policies says may be anything.
const LONGEST_DETAIL: usize = 4096;

/// What one use case changes.
#[derive(Debug, Default)]
pub(crate) struct Settlement {
    /// The transaction, events included.
    pub(crate) changes: Vec<Change>,
    /// What opens something: published once its event is in the log.
    pub(crate) once_recorded: Vec<Effect>,
    /// What closes something: published at once, log or no log.
    pub(crate) at_once: Vec<Effect>,
    /// What gates should know but nobody waits for.
    pub(crate) quietly: Vec<Effect>,
    /// What will have to be looked at later.
    pub(crate) deadlines: Vec<(jiff::Timestamp, Ending)>,
}

/// Why nothing was settled.
#[derive(Debug)]
pub(crate) enum Unsettled {
    /// A guard found another state: look again.
    Conflict,
    /// It is final.
    Failed(ControlError),
}

impl From<Unsettled> for ControlError {
    fn from(unsettled: Unsettled) -> Self {
        match unsettled {
            Unsettled::Conflict => Self::Conflict("the state has changed meanwhile".into()),
            Unsettled::Failed(error) => error,
        }
    }
}

/// Effects that are committed and wait for the log to come back.
#[derive(Debug, Default)]
pub(crate) struct HeldBack(Mutex<Vec<Effect>>);

impl HeldBack {
    pub(crate) fn add(&self, effects: Vec<Effect>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(effects);
    }

    fn take(&self) -> Vec<Effect> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Core {
    /// Commits, records and publishes, in a task of its own: a caller that goes away between the
    /// commit and the publication must not leave the gates with the state before.
    pub(crate) async fn settle(self: &Arc<Self>, what: Settlement) -> Result<(), Unsettled> {
        let core = Arc::clone(self);
        let settled = tokio::spawn(async move { core.settle_now(what).await });
        let ended = |error| Unsettled::Failed(ControlError::Internal(Box::new(error)));
        settled.await.map_err(ended)?
    }

    /// The same with `changes` alone, which somebody else may have made already: then nothing is left to do.
    pub(crate) async fn settle_unless_done(
        self: &Arc<Self>,
        changes: Vec<Change>,
    ) -> Result<(), ControlError> {
        match self.settle(Settlement { changes, ..Settlement::default() }).await {
            Ok(()) | Err(Unsettled::Conflict) => Ok(()),
            Err(Unsettled::Failed(error)) => Err(error),
        }
    }

    async fn settle_now(self: &Arc<Self>, what: Settlement) -> Result<(), Unsettled> {
        let Settlement { mut changes, once_recorded, at_once, quietly, deadlines } = what;
        // What needs the record to take effect is not even begun without it.
        if !once_recorded.is_empty()
            && self.outbox.is_broken()
            && self.outbox.drain().await.is_err()
        {
            return Err(Unsettled::Failed(no_record()));
        }
        changes.iter_mut().for_each(bound);
        let ended = holds::ended(&changes);
        let answered = notices::answered(&changes);
        match self.store.commit(changes).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => return Err(Unsettled::Conflict),
            Err(error) => return Err(Unsettled::Failed(error.into())),
        }
        let told = self.told.take(&answered).into_iter();
        self.deadlines.add(told.map(|id| (self.now(), Ending::Notice(id))));
        if !at_once.is_empty() {
            self.publisher.publish(at_once, self.now());
        }
        if !quietly.is_empty() {
            self.publisher.publish_soon(quietly, self.now());
        }
        self.deadlines.add(deadlines);
        if once_recorded.is_empty() {
            self.holds.tell(ended);
            self.outbox.wake();
            return Ok(());
        }
        if let Err(error) = self.outbox.drain().await {
            tracing::error!(%error, "committed, and held back until it is on record");
            self.held_back.add(once_recorded);
            self.outbox.wake();
            return Err(Unsettled::Failed(no_record()));
        }
        let grants = grants_of(&once_recorded);
        self.publisher.publish(once_recorded, self.now());
        // Whoever is told asks the gate again, which must know of the grants by then.
        self.holds.tell(ended);
        self.end_orphans(grants).await;
        Ok(())
    }

    /// A bundle may have come into force between the decision to issue a grant and its publication.
    /// Whoever activated it did not see the grant then, and its rule may be gone: left in force, it
    /// would come back to life with the rule.
    ///
    /// What ends a grant is settled in turn: hence the box.
    fn end_orphans(
        self: &Arc<Self>,
        grants: Vec<(GrantId, PolicyId, GrantKind)>,
    ) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let core = Arc::clone(self);
        Box::pin(async move {
            let bundle = Arc::clone(core.snapshot().bundle());
            let over = |(_, rule, kind): &(_, _, _)| !bundle.issues_as(rule, *kind);
            for (id, ..) in grants.into_iter().filter(over) {
                let op = OpContext::system("reload", core.now());
                bundles::end_orphan(&core, &op, id).await;
            }
        })
    }

    /// The log is back: what was held back takes effect now.
    pub(crate) fn release_held_back(self: &Arc<Self>) {
        let effects = self.held_back.take();
        if effects.is_empty() {
            return;
        }
        let grants = grants_of(&effects);
        // What reached its end while nobody knew of it has to be ended now.
        let ends: Vec<_> = effects.iter().filter_map(deadline).collect();
        self.publisher.publish(effects, self.now());
        self.deadlines.add(ends);
        tokio::spawn(self.end_orphans(grants));
    }
}

fn grants_of(effects: &[Effect]) -> Vec<(GrantId, PolicyId, GrantKind)> {
    let grants = effects.iter().filter_map(|effect| {
        let Effect::Grant(grant) = effect else { return None };
        Some((grant.id, grant.rule.clone(), grant.kind))
    });
    grants.collect()
}

/// The background task: moves events that nobody waits for, and releases what was held back.
pub(crate) async fn run(core: Arc<Core>) {
    core.outbox.run(|| core.release_held_back()).await;
}

/// INVARIANT: an event fits into a leaf of the log. One that did not would stand in the way of all
/// that come after it.
fn bound(change: &mut Change) {
    let Change::Record(Event { detail: Some(detail), .. }) = change else { return };
    if let Some((end, _)) = detail.char_indices().nth(LONGEST_DETAIL) {
        detail.truncate(end);
        detail.push('…');
    }
}

fn deadline(effect: &Effect) -> Option<(jiff::Timestamp, Ending)> {
    match effect {
        Effect::SignIn(_, sign_in) => Some((sign_in.expires_at, Ending::SignIn(sign_in.id))),
        Effect::Grant(_)
        | Effect::GrantToken(..)
        | Effect::EndSignIn(_)
        | Effect::Principal(_)
        | Effect::ForgetPrincipal(_)
        | Effect::User(_)
        | Effect::Group(_)
        | Effect::NoGroup(_)
        | Effect::Incident(_)
        | Effect::Schedule(_)
        | Effect::SealedRevoked(_)
        | Effect::Bundle(..) => None,
    }
}

pub(crate) fn no_record() -> ControlError {
    ControlError::Unavailable("the record cannot be written; nothing was opened".into())
}
