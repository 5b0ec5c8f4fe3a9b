//! Who had access to what: a report over a time, and somebody's word that they have gone through it.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use jiff::Timestamp;
use portcullis_model::{
    EventFilter, EventType, Grant, GrantState, Leaf, OperationName, Principal, Resource,
};
use portcullis_policy::{DecisionCache, Query, Snapshot, Subject, catalog::Service};
use portcullis_store::{Change, Grants};
use sha2::{Digest as _, Sha256};

use super::record;
use crate::{
    ControlError, OpContext,
    core::Core,
    settle::Settlement,
    views::{
        EventLine,
        report::{AccessContent, AccessReport, ReportedGrant, SeenData, StandingAccess},
    },
    ways,
};

/// Grants that are looked through. With more there is no report, instead of one that leaves some out.
const MOST_GRANTS: u32 = 50_000;
/// Answers with sensitive data that are counted.
const MOST_ANSWERS: usize = 200_000;
const MOST_NOTE: usize = 1000;

type Result<T> = std::result::Result<T, ControlError>;

/// Makes the report; takes `viewAudit`, and is on record.
pub(crate) async fn access(
    core: &Arc<Core>,
    op: &OpContext,
    since: Timestamp,
    until: Timestamp,
) -> Result<AccessReport> {
    record::reading(core, op, &format!("access from {since} to {until}")).await?;
    if since >= until {
        let message = "it has to be before `until`".to_owned();
        return Err(ControlError::Invalid { field: "since", message });
    }
    let grants = grants(core, since, until).await?;
    let (revealed, more_revealed) = revealed(core, since, until).await?;
    let bundle = core.snapshot().stamp().digest.clone();
    let standing = standing(core, op.now()).await?;
    let kept_since = kept_since(core, since).await?;
    let content = AccessContent { bundle, grants, revealed, more_revealed, kept_since, standing };
    let digest = digest(since, until, &content)?;
    Ok(AccessReport { since, until, made_at: op.now(), content, digest })
}

/// Puts on record that the caller has gone through the report with this digest: who, when, of which time, and
/// what they say of it. Refused if it would say something else by now.
pub(crate) async fn sign_off(
    core: &Arc<Core>,
    op: &OpContext,
    (since, until): (Timestamp, Timestamp),
    digest: &str,
    note: &str,
) -> Result<()> {
    if note.chars().count() > MOST_NOTE {
        let message = format!("{MOST_NOTE} characters at most");
        return Err(ControlError::Invalid { field: "note", message });
    }
    // Until then there may be more of it, and nobody can have gone through that.
    if until > op.now() {
        let message = "the time is not over yet: sign off what is past".to_owned();
        return Err(ControlError::Invalid { field: "until", message });
    }
    let report = access(core, op, since, until).await?;
    if report.digest != digest {
        let why =
            "the report says something else by now; look at it again, and sign off what it says";
        return Err(ControlError::Conflict(why.into()));
    }
    let mut event = core.event(op, EventType::AccessReviewed);
    let note = note.trim();
    let said = if note.is_empty() { String::new() } else { format!(": {note}") };
    event.detail = Some(format!("access from {since} to {until}, {digest}{said}"));
    let changes = vec![Change::Record(event)];
    Ok(core.settle(Settlement { changes, ..Settlement::default() }).await?)
}

fn digest(since: Timestamp, until: Timestamp, content: &AccessContent) -> Result<String> {
    let bytes = serde_json::to_vec(&(since, until, content));
    let bytes = bytes.map_err(|error| ControlError::Internal(Box::new(error)))?;
    let mut text = "sha256:".to_owned();
    for byte in Sha256::digest(&bytes) {
        let _infallible = write!(text, "{byte:02x}");
    }
    Ok(text)
}

async fn grants(core: &Core, since: Timestamp, until: Timestamp) -> Result<Vec<ReportedGrant>> {
    let all = core.store.grants(Grants::After(since), MOST_GRANTS + 1).await?;
    // What would be left out may have been in force.
    if u32::try_from(all.len()).is_ok_and(|count| count > MOST_GRANTS) {
        let message = format!("there are more than {MOST_GRANTS} grants since; take a later time");
        return Err(ControlError::Invalid { field: "since", message });
    }
    let was_in_force = |grant: &Grant| {
        let end = match grant.state {
            GrantState::InForce => grant.expires_at,
            GrantState::Ended { at, .. } => at.min(grant.expires_at),
        };
        grant.starts_at < until && end > since
    };
    let mut reported = Vec::new();
    for grant in all.into_iter().filter(was_in_force) {
        let request = core.store.access_request(grant.access_request).await?;
        reported.push(ReportedGrant { grant, request });
    }
    reported.sort_by_key(|one| (one.grant.starts_at, one.grant.id));
    Ok(reported)
}

async fn revealed(
    core: &Arc<Core>,
    since: Timestamp,
    until: Timestamp,
) -> Result<(Vec<SeenData>, bool)> {
    let filter = EventFilter {
        any_class: true,
        since: Some(since),
        until: Some(until),
        ..EventFilter::default()
    };
    let mut parts = record::Parts::new(core, filter).await?;
    let (mut all, mut count) = (BTreeMap::new(), 0);
    while let Some(lines) = parts.next().await? {
        count += lines.len();
        for line in &lines {
            tell(&mut all, line);
        }
        if count >= MOST_ANSWERS {
            return Ok((all.into_values().collect(), true));
        }
    }
    Ok((all.into_values().collect(), false))
}

/// When the oldest entry was made, if there were older ones and some of them may be of after `since`.
async fn kept_since(core: &Core, since: Timestamp) -> Result<Option<Timestamp>> {
    let first = record::scan::kept_from(core).await.map_err(record::unavailable)?;
    if first == 0 {
        return Ok(None);
    }
    let oldest = core.log.entries(first, 1).await.map_err(record::unavailable)?;
    let oldest = oldest.first().and_then(|entry| serde_json::from_str::<Leaf>(&entry.json).ok());
    Ok(oldest.and_then(|leaf| leaf.time()).filter(|time| *time > since))
}

fn tell(all: &mut BTreeMap<(String, String, String), SeenData>, line: &EventLine) {
    let Ok(leaf) = serde_json::from_str::<Leaf>(&line.json) else { return };
    let (Some(principal), Some(service), Some(time)) =
        (leaf.principal(), leaf.service(), leaf.time())
    else {
        return;
    };
    for (class, by_grant) in leaf.revealed() {
        let key = [principal, service, class].map(str::to_owned);
        let [principal, service, class] = key.clone();
        let entry = all.entry(key.into()).or_insert(SeenData {
            principal,
            service,
            class,
            answers: 0,
            by_grant: 0,
            first: time,
            last: time,
        });
        entry.answers += 1;
        entry.by_grant += u64::from(by_grant);
        entry.first = entry.first.min(time);
        entry.last = entry.last.max(time);
    }
}

/// What everybody who was seen reaches by policy alone, as far as that can be told without a request.
async fn standing(core: &Arc<Core>, now: Timestamp) -> Result<Vec<StandingAccess>> {
    let seen = core.store.seen().await?;
    let mut people: Vec<_> =
        seen.into_iter().map(|seen| core.publisher.as_known(&seen.principal)).collect();
    people.retain(|who| !core.publisher.directory(|directory| directory.bars(who)));
    people.sort_by(|one, other| one.id.cmp(&other.id));
    let core = Arc::clone(core);
    // Many decisions; the runtime has others to serve.
    let all = tokio::task::spawn_blocking(move || {
        let snapshot = core.snapshot();
        people.into_iter().flat_map(|who| of_one(&core, &snapshot, who, now)).collect()
    });
    all.await.map_err(|error| ControlError::Internal(Box::new(error)))
}

fn of_one(core: &Core, snapshot: &Snapshot, who: Principal, now: Timestamp) -> Vec<StandingAccess> {
    let (method, since) = core.authentication(&who);
    let context = ways::ahead(now, method.as_str(), since.unwrap_or(now));
    let (id, name) = (who.id.clone(), who.name.clone());
    let subject = Subject::new(Arc::new(who));
    let mut cache = DecisionCache::default();
    let mut open = |service: &Service, operation: &OperationName| {
        let resource = Resource { service: service.source().name.clone(), instance: None };
        let query = Query {
            subject: &subject,
            operation,
            resource: &resource,
            context: &context,
            digest: None,
            incident: None,
            only: None,
        };
        // By a grant is not by policy alone: those are in the report by themselves.
        snapshot.pass(&query, &mut cache).is_some_and(|pass| pass.grant().is_none())
    };
    let mut found = Vec::new();
    for service in snapshot.bundle().catalog().services() {
        let named = service.operations().map(|operation| operation.name().clone());
        let operations: Vec<_> = named.filter(|name| open(service, name)).collect();
        let reveals: Vec<_> =
            service.reveals().iter().filter(|name| open(service, name)).cloned().collect();
        if !operations.is_empty() || !reveals.is_empty() {
            let service = service.source().name.clone();
            let (principal, name) = (id.clone(), name.clone());
            found.push(StandingAccess { principal, name, service, operations, reveals });
        }
    }
    found
}
