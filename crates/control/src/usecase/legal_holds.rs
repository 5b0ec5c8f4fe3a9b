//! Legal holds: placing them, releasing them, and what they keep.
//!
//! A hold keeps what is on record, wherever it stands, from whatever would take it away: retention asks
//! [`InForce`], and whoever else removes or erases something asks [`holding`] before. When in doubt, it is
//! held.
//!
//! What belongs to a grant or an incident is known from grants and access requests, which nobody deletes. A store
//! that was set back lacks some: what is on record of one that the store does not know may belong to whatever is
//! held, and stays until the hold is released.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use portcullis_model::{
    AccessRequestId, EventFilter, EventType, Field, GrantId, HoldRelease, HoldScope, IncidentId,
    Leaf, LegalHold, LegalHoldId, PrincipalId,
};
use portcullis_policy::{ControlAction, ControlResource};
use portcullis_store::{Change, Grants, RetentionChange};

use super::{parting::ROUNDS, record::unavailable, set_back, text};
use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    settle::{Settlement, Unsettled},
};

const NOT_FOUND: ControlError = ControlError::NotFound("the legal hold");
const NOT_ON_RECORD: &str = "the legal hold is in force, and not on record yet, as the record cannot be written: an older \
                             store that is put back now would not know of it";
/// More at one time are a mistake: each is asked about every entry.
const MOST: u32 = 1_000;
/// Entries that are in memory at one time.
const PAGE: usize = 1024;
/// Grants and access requests that are remembered while entries are looked at, at most.
const MOST_KNOWN: usize = 65_536;

type Result<T> = std::result::Result<T, ControlError>;

/// All of them, newest first; takes `viewAudit` or `administer`.
pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<LegalHold>> {
    rights::caller(op)?;
    if !rights::may_view_audit(&core.snapshot(), op) && !may_place(core, op) {
        let why = "seeing legal holds takes `viewAudit` or `administer`";
        return Err(ControlError::Denied(why.into()));
    }
    Ok(core.store.legal_holds().await?)
}

/// Keeps what `scope` is about until somebody releases it; takes `administer`.
pub(crate) async fn place(
    core: &Arc<Core>,
    op: &OpContext,
    scope: HoldScope,
    reason: &str,
) -> Result<LegalHold> {
    let placed_by = placer(core, op)?;
    let reason = text::checked("reason", reason)?;
    let invalid =
        |field, message: &str| Err(ControlError::Invalid { field, message: message.to_owned() });
    if scope.filter().is_open() {
        return invalid(
            "scope",
            "must say what is held: a time, a principal, a service, a grant or an incident",
        );
    }
    if scope.since.zip(scope.until).is_some_and(|(since, until)| since >= until) {
        return invalid("since", "has to be before `until`");
    }
    let id = LegalHoldId::new(op.now(), core.entropy.as_ref());
    let hold = LegalHold { id, scope, reason, placed_by, placed_at: op.now(), released: None };
    let place = RetentionChange::Place { hold: hold.clone(), at_most: MOST };
    let event = event(core, op, EventType::LegalHoldPlaced, &hold, &hold.reason);
    match core.settle(settlement(place, event)).await {
        // A store that is put back learns of it from the record alone.
        Ok(()) => match core.outbox.drain().await {
            Ok(()) => Ok(hold),
            Err(_) => Err(ControlError::Unavailable(NOT_ON_RECORD.into())),
        },
        Err(Unsettled::Conflict) => {
            let message = format!("{MOST} legal holds are in force already; release some");
            Err(ControlError::Limited { message, retry_after: 60 })
        }
        Err(Unsettled::Failed(error)) => Err(error),
    }
}

/// Lets go of what a hold keeps; takes `administer`.
pub(crate) async fn release(
    core: &Arc<Core>,
    op: &OpContext,
    id: LegalHoldId,
    reason: &str,
) -> Result<LegalHold> {
    let by = placer(core, op)?;
    let reason = text::checked("reason", reason)?;
    set_back::caught_up(core).await?;
    for _ in 0..ROUNDS {
        let hold = core.store.legal_hold(id).await?.ok_or(NOT_FOUND)?;
        let release = HoldRelease { by: by.clone(), at: op.now(), reason: reason.clone() };
        let Some(hold) = hold.release(release) else {
            return Err(ControlError::Conflict("this legal hold is released already".into()));
        };
        let event = event(core, op, EventType::LegalHoldReleased, &hold, &reason);
        match core.settle(settlement(RetentionChange::Release(hold.clone()), event)).await {
            Ok(()) => return Ok(hold),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => return Err(error),
        }
    }
    Err(Unsettled::Conflict.into())
}

/// The legal hold that keeps one of these entries of the record, if one does: `seq..seq + 1` for one entry.
/// Whoever is about to remove or erase any of it asks this first, and leaves it if there is one.
pub(crate) async fn holding(core: &Core, entries: Range<u64>) -> Result<Option<LegalHold>> {
    Ok(looked_for(core, entries).await?.0)
}

/// The same, and how many holds were seen: what is erased says so, and is not if one was placed since.
pub(crate) async fn looked_for(
    core: &Core,
    entries: Range<u64>,
) -> Result<(Option<LegalHold>, u32)> {
    set_back::caught_up(core).await?;
    let in_force = InForce::load(core).await?;
    let mut at = entries.start;
    while !in_force.is_empty() && at < entries.end {
        let page = core.log.entries(at, PAGE).await.map_err(unavailable)?;
        let Some(last) = page.last() else { break };
        let next = last.position + 1;
        for entry in &page {
            if !entries.contains(&entry.position) {
                continue;
            }
            if let Some(hold) = in_force.holding(core, &entry.json).await? {
                return Ok((Some(hold.clone()), in_force.seen));
            }
        }
        at = next;
    }
    Ok((None, in_force.seen))
}

/// The holds that are in force, to be asked about many entries.
#[derive(Debug)]
pub(crate) struct InForce {
    holds: Vec<Keeps>,
    /// How many holds there are, released ones included: one more means that one was placed since.
    pub(crate) seen: u32,
    /// The incidents of grants and access requests that the store knows and that were asked about.
    known: Mutex<BTreeMap<(Field, String), Option<IncidentId>>>,
}

#[derive(Debug)]
struct Keeps {
    hold: LegalHold,
    /// What must be so of an entry.
    filter: EventFilter,
    /// One of these must stand in it, unless there are none.
    about: BTreeSet<(Field, String)>,
    /// The store does not know the grant, and so not which access request it came of: it may be any.
    is_cut: bool,
}

impl InForce {
    pub(crate) async fn load(core: &Core) -> Result<Self> {
        let all = core.store.legal_holds().await?;
        let seen = u32::try_from(all.len()).unwrap_or(u32::MAX);
        let mut holds = Vec::new();
        for hold in all.into_iter().filter(LegalHold::is_in_force) {
            let (about, is_cut) = about(core, &hold.scope).await?;
            let filter = EventFilter { grant: None, incident: None, ..hold.scope.filter() };
            holds.push(Keeps { hold, filter, about, is_cut });
        }
        Ok(Self { holds, seen, known: Mutex::default() })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.holds.is_empty()
    }

    /// Their ids, which change when one is placed or released.
    pub(crate) fn ids(&self) -> Vec<LegalHoldId> {
        self.holds.iter().map(|keeps| keeps.hold.id).collect()
    }

    /// The hold that keeps an entry, if one does.
    pub(crate) async fn holding(&self, core: &Core, entry: &str) -> Result<Option<&LegalHold>> {
        let Ok(leaf) = serde_json::from_str::<Leaf>(entry) else {
            // Nobody can say what it is about.
            return Ok(self.holds.first().map(|keeps| &keeps.hold));
        };
        if let Some(keeps) = self.holds.iter().find(|keeps| keeps.has(&leaf)) {
            return Ok(Some(&keeps.hold));
        }
        for keeps in &self.holds {
            if leaf.answers(&keeps.filter) && self.may_keep(core, keeps, &leaf).await? {
                tracing::warn!(
                    hold = %keeps.hold.id,
                    "a legal hold keeps what may belong to it: the store does not know a grant or an access \
                     request that is on record, as if it was set back; to let go of what does not belong to it, \
                     place holds by time, principal or service on what has to stay, and release this one"
                );
                return Ok(Some(&keeps.hold));
            }
        }
        Ok(None)
    }

    /// Whether the store lacks what would tell that a hold does not keep this.
    async fn may_keep(&self, core: &Core, keeps: &Keeps, leaf: &Leaf) -> Result<bool> {
        let links: Vec<_> = leaf
            .terms()
            .filter(|(field, _)| matches!(field, Field::Grant | Field::AccessRequest))
            .collect();
        for (field, id) in links {
            if keeps.is_cut && field == Field::AccessRequest {
                return Ok(true);
            }
            if let Some(incident) = &keeps.hold.scope.incident
                && !self.is_apart(core, incident, (field, id)).await?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether the store says that a grant or an access request is not for this incident.
    async fn is_apart(
        &self,
        core: &Core,
        incident: &IncidentId,
        (field, id): (Field, &str),
    ) -> Result<bool> {
        let key = (field, id.to_owned());
        if let Some(is_apart) = self.known_as_apart(incident, &key) {
            return Ok(is_apart);
        }
        let found = if field == Field::Grant {
            let Ok(id) = id.parse::<GrantId>() else { return Ok(false) };
            core.store.grant(id).await?.map(|grant| grant.incident)
        } else {
            let Ok(id) = id.parse::<AccessRequestId>() else { return Ok(false) };
            core.store.access_request(id).await?.map(|request| request.incident().cloned())
        };
        let Some(its) = found else { return Ok(false) };
        let is_apart = its.as_ref() != Some(incident);
        self.remember(key, its);
        Ok(is_apart)
    }

    fn known_as_apart(&self, incident: &IncidentId, key: &(Field, String)) -> Option<bool> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).map(|its| its.as_ref() != Some(incident))
    }

    fn remember(&self, key: (Field, String), incident: Option<IncidentId>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST_KNOWN {
            known.clear();
        }
        known.insert(key, incident);
    }
}

impl Keeps {
    fn has(&self, leaf: &Leaf) -> bool {
        let is_about =
            || leaf.terms().any(|(field, value)| self.about.contains(&(field, value.to_owned())));
        leaf.answers(&self.filter) && (self.about.is_empty() || is_about())
    }
}

/// What leads to what is held: a grant with the access request that it came of, an incident with all that was
/// asked for and granted for it. And whether the store does not know the grant.
async fn about(core: &Core, scope: &HoldScope) -> Result<(BTreeSet<(Field, String)>, bool)> {
    let mut about = BTreeSet::new();
    let (mut grants, mut is_cut) = (Vec::new(), false);
    if let Some(id) = scope.grant {
        about.insert((Field::Grant, id.to_string()));
        let grant = core.store.grant(id).await?;
        is_cut = grant.is_none();
        grants.extend(grant);
    }
    if let Some(incident) = &scope.incident {
        about.insert((Field::Incident, incident.to_string()));
        grants.extend(core.store.grants(Grants::For(incident.clone()), u32::MAX).await?);
    }
    for grant in grants {
        about.insert((Field::Grant, grant.id.to_string()));
        about.insert((Field::AccessRequest, grant.access_request.to_string()));
    }
    Ok((about, is_cut))
}

fn may_place(core: &Core, op: &OpContext) -> bool {
    rights::may(&core.snapshot(), op, ControlAction::Administer, ControlResource::System)
}

fn placer(core: &Core, op: &OpContext) -> Result<PrincipalId> {
    let caller = rights::caller(op)?.id.clone();
    if may_place(core, op) {
        return Ok(caller);
    }
    Err(ControlError::Denied("placing and releasing legal holds takes `administer`".into()))
}

fn settlement(change: RetentionChange, event: Change) -> Settlement {
    let changes = vec![Change::Retention(Box::new(change)), event];
    Settlement { changes, ..Settlement::default() }
}

fn event(core: &Core, op: &OpContext, kind: EventType, hold: &LegalHold, why: &str) -> Change {
    let mut event = core.event(op, kind);
    let scope = &hold.scope;
    (event.service, event.grant) = (scope.service.clone(), scope.grant);
    event.incident.clone_from(&scope.incident);
    event.detail = Some(format!("legal hold {} on {}: {why}", hold.id, scope.filter()));
    // All of it: a store that was set back has it from here again.
    event.legal_hold = Some(Box::new(hold.clone()));
    Change::Record(event)
}
