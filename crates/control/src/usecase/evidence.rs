//! All that is on record of one grant, access request or incident, for somebody who has no access to this
//! server. What is handed out is on record twice: that it was asked for, and the digest of what was given.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use portcullis_model::{
    AccessRequestId, AccessRequestState, ErasedNote, EventFilter, EventId, EventType, GrantId,
    IncidentId, Opening,
};
use portcullis_policy::BundleSource;
use portcullis_store::{Change, StoredBundle};
use serde::{Deserialize, Serialize};

use super::{
    content,
    record::{Parts, reading, unavailable},
};
use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    settle::{Settlement, no_record},
    views::{ContentState, EventLine},
};

/// Records of one pack, at most: whoever needs more reads the log itself.
const MOST: usize = 50_000;
/// Bundles that are looked through for the ones that decided.
const BUNDLES: u32 = 1000;
const PAGE: usize = 256;
/// Bytes of records and of the sources of bundles in one pack: it is put together in memory, a few times over.
const MOST_BYTES: usize = 32 << 20;
/// Bytes of content in one pack: what does not fit is said to be absent.
const MOST_CONTENT: usize = 32 << 20;

type Result<T> = std::result::Result<T, ControlError>;

/// What a pack is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EvidenceSubject {
    /// `grant`, `access_request` or `incident`.
    pub kind: &'static str,
    /// Its id.
    pub id: String,
}

/// All that is on record of something.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// Of what.
    pub subject: EvidenceSubject,
    /// Who asked for it.
    pub made_by: String,
    /// When.
    pub made_at: Timestamp,
    /// So many records of the log were looked through: what came later is not in it, nor are requests that
    /// still ran.
    pub looked_through: u64,
    /// The first and the last of those that retention had removed before, and that nobody could look through.
    pub removed: Vec<(u64, u64)>,
    /// The records, in their order.
    pub records: Vec<EventLine>,
    /// The sources of the bundles that decided, by digest.
    pub bundles: BTreeMap<String, serde_json::Value>,
    /// What was kept of the requests, by the positions of their records, as far as it is here and there is room.
    pub contents: BTreeMap<u64, Opening>,
}

/// A policy that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DecidingPolicy {
    /// Its id.
    pub id: String,
    /// The digest of its bundle.
    pub bundle: String,
    /// Its file.
    pub file: String,
    /// Its text.
    pub text: String,
}

impl Evidence {
    /// The digests of bundles that records name and whose sources are not here: what their policies said
    /// cannot be told.
    pub fn missing_bundles(&self) -> Vec<String> {
        let named: BTreeSet<String> =
            self.records.iter().filter_map(|line| bundle_of(&line.json)).collect();
        named.into_iter().filter(|digest| !self.bundles.contains_key(digest)).collect()
    }

    /// The policies that the records name, with their texts, as far as their bundles are there.
    pub fn policies(&self) -> Vec<DecidingPolicy> {
        let mut named = BTreeSet::new();
        for line in &self.records {
            let Ok(decided) = serde_json::from_str::<Decided>(&line.json) else { continue };
            let digest = decided.bundle.map(|bundle| bundle.digest).unwrap_or_default();
            named.extend(decided.policies.into_iter().map(|id| (digest.clone(), id)));
        }
        let source = |source: &serde_json::Value| BundleSource::deserialize(source).ok();
        let sources: BTreeMap<&String, BundleSource> = self
            .bundles
            .iter()
            .filter_map(|(digest, text)| Some((digest, source(text)?)))
            .collect();
        let text = |(bundle, id): (String, String)| {
            let (file, text) = sources.get(&bundle)?.policy(&id)?;
            let (file, text) = (file.to_owned(), text.to_owned());
            Some(DecidingPolicy { id, bundle, file, text })
        };
        named.into_iter().filter_map(text).collect()
    }
}

/// What a record says of its decision.
#[derive(Deserialize)]
struct Decided {
    bundle: Option<Stamp>,
    #[serde(default)]
    policies: Vec<String>,
}

#[derive(Deserialize)]
struct Stamp {
    digest: String,
}

fn bundle_of(json: &str) -> Option<String> {
    Some(serde_json::from_str::<Decided>(json).ok()?.bundle?.digest)
}

/// What proves a pack.
#[derive(Debug, Clone)]
pub struct EvidenceProof {
    /// The record that says which pack was given.
    pub given: EventLine,
    /// The proofs of all records and of that one, at one checkpoint: C2SP tlog-proofs by position.
    pub proofs: Vec<(u64, String)>,
}

/// Whatever has this id.
pub(crate) async fn gather(core: &Arc<Core>, op: &OpContext, id: &str) -> Result<Evidence> {
    reading(core, op, &format!("evidence {id}")).await?;
    // What is on its way to the log belongs to it.
    core.outbox.drain().await.map_err(|_| no_record())?;
    let looked_through = core.log.size().await.map_err(unavailable)?;
    let removed = core.log.removed().await.map_err(unavailable)?;
    let removed = removed.into_iter().map(|(from, to)| (from, to - 1)).collect();
    let (subject, mut about) = subject(core, id).await?;
    let mut records = Records { lines: BTreeMap::new(), room: MOST_BYTES, subject: &subject };
    let mut asked = BTreeSet::new();
    // An incident leads to its access requests and grants, an access request to its grants.
    while let Some(next) = about.pop() {
        if !asked.insert(next.clone()) {
            continue;
        }
        let mut parts = Parts::new(core, next.filter()).await?;
        while let Some(part) = parts.next().await? {
            for line in part {
                // What else was asked for with a grant is not about the grant.
                if subject.kind != "grant" {
                    about.extend(leads(&line.json));
                }
                records.add(line)?;
            }
        }
    }
    let bundles = bundles(core, &mut records).await?;
    let contents = contents(core, &mut records).await?;
    let made_by = rights::caller(op)?.id.id.to_string();
    let records = records.lines.into_values().collect();
    let made_at = op.now();
    Ok(Evidence { subject, made_by, made_at, looked_through, removed, records, bundles, contents })
}

/// A pack with this digest is given to the caller; what proves it.
pub(crate) async fn given(
    core: &Arc<Core>,
    op: &OpContext,
    subject: &EvidenceSubject,
    digest: &str,
    positions: Vec<u64>,
) -> Result<EvidenceProof> {
    let mut event = core.event(op, EventType::EvidenceGiven);
    match subject.kind {
        "grant" => event.grant = subject.id.parse().ok(),
        "access_request" => event.access_request = subject.id.parse().ok(),
        _ => event.incident = subject.id.parse().ok(),
    }
    event.detail = Some(digest.to_owned());
    let id = event.id;
    let changes = vec![Change::Record(event)];
    core.settle(Settlement { changes, ..Settlement::default() }).await?;
    core.outbox.drain().await.map_err(|_| no_record())?;
    let given = by_id(core, id).await?;
    let mut all = positions;
    all.push(given.seq);
    let proofs = core.log.prove_all(&all).await.map_err(unavailable)?;
    let proofs = proofs.ok_or_else(no_record)?;
    Ok(EvidenceProof { given, proofs: all.into_iter().zip(proofs).collect() })
}

/// What records are searched by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum About {
    Grant(GrantId),
    Request(AccessRequestId),
    Incident(IncidentId),
}

impl About {
    fn filter(&self) -> EventFilter {
        let filter = EventFilter::default();
        match self {
            Self::Grant(id) => EventFilter { grant: Some(*id), ..filter },
            Self::Request(id) => EventFilter { access_request: Some(*id), ..filter },
            Self::Incident(id) => EventFilter { incident: Some(id.clone()), ..filter },
        }
    }
}

/// What a record leads to, as far as its ids are ids.
fn leads(json: &str) -> Vec<About> {
    #[derive(Deserialize)]
    struct Leads {
        grant: Option<serde_json::Value>,
        access_request: Option<serde_json::Value>,
    }
    let Ok(leads) = serde_json::from_str::<Leads>(json) else { return Vec::new() };
    let text = |value: Option<serde_json::Value>| Some(value?.as_str()?.to_owned());
    let grant = text(leads.grant).and_then(|id| Some(About::Grant(id.parse().ok()?)));
    let request = text(leads.access_request).and_then(|id| Some(About::Request(id.parse().ok()?)));
    grant.into_iter().chain(request).collect()
}

async fn subject(core: &Core, id: &str) -> Result<(EvidenceSubject, Vec<About>)> {
    if let Ok(grant) = id.parse::<GrantId>()
        && let Some(found) = core.store.grant(grant).await?
    {
        let subject = EvidenceSubject { kind: "grant", id: grant.to_string() };
        let request = About::Request(found.access_request);
        return Ok((subject, vec![About::Grant(grant), request]));
    }
    if let Ok(request) = id.parse::<AccessRequestId>()
        && let Some(found) = core.store.access_request(request).await?
    {
        let subject = EvidenceSubject { kind: "access_request", id: request.to_string() };
        let mut about = vec![About::Request(request)];
        if let AccessRequestState::Approved { grants, .. } = found.state {
            about.extend(grants.into_iter().map(About::Grant));
        }
        return Ok((subject, about));
    }
    if let Ok(incident) = id.parse::<IncidentId>()
        && core.store.incident(&incident).await?.is_some()
    {
        let subject = EvidenceSubject { kind: "incident", id: incident.to_string() };
        return Ok((subject, vec![About::Incident(incident)]));
    }
    Err(ControlError::NotFound("a grant, an access request or an incident with this id"))
}

/// The records of a pack, as many as one can hold.
struct Records<'a> {
    lines: BTreeMap<u64, EventLine>,
    room: usize,
    subject: &'a EvidenceSubject,
}

impl Records<'_> {
    fn add(&mut self, line: EventLine) -> Result<()> {
        let bytes = line.json.len();
        if self.lines.insert(line.seq, line).is_none() {
            self.takes(bytes)?;
        }
        if self.lines.len() > MOST {
            return Err(self.too_much());
        }
        Ok(())
    }

    fn takes(&mut self, bytes: usize) -> Result<()> {
        self.room = self.room.checked_sub(bytes).ok_or_else(|| self.too_much())?;
        Ok(())
    }

    fn too_much(&self) -> ControlError {
        let EvidenceSubject { kind, id } = self.subject;
        let instead = match *kind {
            "grant" => "export the record with `--grant` and `--since` and `--until`",
            "access_request" => "ask for one of its grants",
            _ => "ask for its access requests or grants one by one",
        };
        let message = format!(
            "a pack holds {MOST} records and {} MiB at most, and more is on record of {id}: {instead}",
            MOST_BYTES >> 20
        );
        ControlError::Invalid { field: "id", message }
    }
}

/// The bundles that the records name, and the records of their activation beside the others.
async fn bundles(
    core: &Arc<Core>,
    records: &mut Records<'_>,
) -> Result<BTreeMap<String, serde_json::Value>> {
    let digest = |line: &EventLine| bundle_of(&line.json);
    let named: BTreeSet<String> = records.lines.values().filter_map(digest).collect();
    let stored = core.store.bundles(BUNDLES).await?.into_iter();
    let text = |bundle: StoredBundle| (bundle.digest.to_string(), bundle.source);
    let sources: BTreeMap<_, _> =
        stored.map(text).filter(|(digest, _)| named.contains(digest)).collect();
    for source in sources.values() {
        records.takes(source.to_string().len())?;
    }
    let filter = EventFilter { kind: kind(EventType::BundleActivated), ..EventFilter::default() };
    let mut parts = Parts::new(core, filter).await?;
    while let Some(part) = parts.next().await? {
        let is_named =
            |line: &EventLine| digest(line).is_some_and(|digest| named.contains(&digest));
        part.into_iter().filter(is_named).try_for_each(|line| records.add(line))?;
    }
    Ok(sources)
}

/// What was kept of the requests, and the records of its erasure beside the others.
async fn contents(core: &Arc<Core>, records: &mut Records<'_>) -> Result<BTreeMap<u64, Opening>> {
    let (mut contents, mut room, mut is_erased) = (BTreeMap::new(), MOST_CONTENT, false);
    for line in records.lines.values() {
        match content::of(core, &line.json).await? {
            Some((_, ContentState::Kept(opening))) if opening.content.len() <= room => {
                room -= opening.content.len();
                contents.insert(line.seq, opening);
            }
            Some((_, ContentState::Erased(_))) => is_erased = true,
            Some((_, ContentState::Kept(_) | ContentState::Missing)) | None => {}
        }
    }
    if is_erased {
        let filter = EventFilter { kind: kind(EventType::ContentErased), ..EventFilter::default() };
        let mut parts = Parts::new(core, filter).await?;
        while let Some(part) = parts.next().await? {
            for line in part {
                let erased = serde_json::from_str::<Erasing>(&line.json).ok();
                if erased.is_some_and(|it| records.lines.contains_key(&it.erased.seq)) {
                    records.add(line)?;
                }
            }
        }
    }
    Ok(contents)
}

/// What a record says of an erasure.
#[derive(Deserialize)]
struct Erasing {
    erased: ErasedNote,
}

fn kind(kind: EventType) -> Option<Arc<str>> {
    serde_json::to_value(kind).ok().and_then(|kind| Some(kind.as_str()?.into()))
}

/// The newest record with this id.
async fn by_id(core: &Core, id: EventId) -> Result<EventLine> {
    #[derive(Deserialize)]
    struct Id {
        id: Option<EventId>,
    }
    let mut end = core.log.size().await.map_err(unavailable)?;
    while end > 0 {
        let start = end.saturating_sub(PAGE as u64);
        let page = core.log.entries(start, PAGE).await.map_err(unavailable)?;
        let is_it = |json: &str| serde_json::from_str::<Id>(json).is_ok_and(|it| it.id == Some(id));
        if let Some(entry) = page.into_iter().rev().find(|entry| is_it(&entry.json)) {
            return Ok(EventLine { seq: entry.position, json: entry.json });
        }
        end = start;
    }
    Err(no_record())
}
