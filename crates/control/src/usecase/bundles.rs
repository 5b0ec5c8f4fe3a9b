//! Which bundle is in force: activating, refusing, rolling back.

use std::{collections::BTreeMap, sync::Arc};

use portcullis_model::{BundleDigest, BundleStamp, EventType, GrantEnd, GrantId};
use portcullis_policy::{Bundle, BundleSource, ControlAction, ControlResource, LoadError};
use portcullis_store::{Change, StoreError, StoredBundle};

use super::{grants, record};
use crate::{
    ControlError, OpContext,
    core::Core,
    publisher::Effect,
    rights,
    settle::{Settlement, Unsettled},
    views::{BundleText, BundleView},
};

const LISTED: u32 = 100;
const SHOWN_ERRORS: usize = 5;

type Result<T> = std::result::Result<T, ControlError>;

/// Which bundle to start with, and its generation: the one that was in force keeps its own.
pub(crate) fn first(
    newest: Option<&StoredBundle>,
    bundle: Bundle,
) -> Result<(Arc<Bundle>, u64, bool)> {
    let Some(newest) = newest else { return Ok((Arc::new(bundle), 1, true)) };
    if newest.digest == *bundle.digest() {
        return Ok((Arc::new(bundle), newest.generation, false));
    }
    // Rolled back from these very files: a restart must not bring them into force again.
    if newest.pinned_over.as_ref() == Some(bundle.digest()) {
        return Ok((Arc::new(loaded(newest)?), newest.generation, false));
    }
    Ok((Arc::new(bundle), newest.generation + 1, true))
}

/// Brings `bundle` into force as the next generation; the same one again changes nothing.
pub(crate) async fn activate(
    core: &Arc<Core>,
    bundle: Bundle,
    source: &BundleSource,
    by: &str,
) -> Result<BundleStamp> {
    let _turn = core.activating.lock().await;
    let newest = newest(core).await?;
    if newest.digest == *bundle.digest() {
        return Ok(core.snapshot().stamp().clone());
    }
    if newest.pinned_over.as_ref() == Some(bundle.digest()) {
        let why = "this bundle was rolled back; it stays out until its files change";
        return Err(ControlError::Conflict(why.into()));
    }
    let op = OpContext::system("reload", core.now());
    let stored = stored(&bundle, source, newest.generation + 1, by, None, op.now())?;
    bring(core, &op, Arc::new(bundle), stored).await
}

/// The old bundle stays; the attempt is on record.
pub(crate) async fn refuse(core: &Arc<Core>, errors: &[LoadError], by: &str) -> Result<()> {
    let op = OpContext::system("reload", core.now());
    let mut event = core.event(&op, EventType::BundleRefused);
    let shown: Vec<String> = errors.iter().take(SHOWN_ERRORS).map(ToString::to_string).collect();
    let more = errors.len().saturating_sub(SHOWN_ERRORS);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    event.detail = Some(format!("by {by}: {}{more}", shown.join("; ")));
    record::note(core, event).await
}

pub(crate) async fn list(core: &Core, op: &OpContext) -> Result<Vec<BundleView>> {
    rights::caller(op)?;
    let all = core.store.bundle_heads(LISTED).await?;
    let in_force = core.snapshot().stamp().generation;
    Ok(all.into_iter().map(|stored| view(stored, in_force)).collect())
}

/// What one of the last bundles says, file by file; takes `viewAudit` or `administer`.
pub(crate) async fn text(core: &Core, op: &OpContext, generation: u64) -> Result<BundleText> {
    let snapshot = core.snapshot();
    let on_system = |action| rights::may(&snapshot, op, action, ControlResource::System);
    if !on_system(ControlAction::ViewAudit) && !on_system(ControlAction::Administer) {
        let why = "reading what policies say takes `viewAudit` or `administer`";
        return Err(ControlError::Denied(why.into()));
    }
    let found = core.store.bundle_at(generation).await?;
    let found = found.ok_or(ControlError::NotFound("the bundle"))?;
    let BundleSource {
        policies,
        services,
        labels,
        claims,
        user_claims,
        clocks,
        geo,
        rotations,
        receivers,
        decisions,
    } = source(&found)?;
    let written = |value: serde_json::Value| format!("{value:#}\n");
    let mut documents: BTreeMap<String, String> =
        policies.into_iter().map(|policy| (policy.path, policy.text)).collect();
    for service in services {
        let name = format!("services/{}", service.name);
        let mut value = serde_json::to_value(&service)
            .map_err(|error| ControlError::Internal(Box::new(error)))?;
        if let Some(fields) = value.as_object_mut() {
            // Where it stands is no part of what it says.
            fields.remove("place");
        }
        documents.insert(name, written(value));
    }
    let settings = serde_json::json!({
        "labels": labels, "claims": claims, "user_claims": user_claims, "clocks": clocks,
        "geo": geo, "rotations": rotations, "receivers": receivers, "decisions": decisions,
    });
    documents.insert("settings".to_owned(), written(settings));
    let in_force = snapshot.stamp().generation;
    Ok(BundleText { bundle: view(found, in_force), documents })
}

/// The bundle before the one in force comes back, as a new generation, and pins the way back.
pub(crate) async fn rollback(
    core: &Arc<Core>,
    op: &OpContext,
    from: Option<u64>,
) -> Result<BundleView> {
    let snapshot = core.snapshot();
    if !rights::may(&snapshot, op, ControlAction::Administer, ControlResource::System) {
        return Err(ControlError::Denied("rolling back takes `administer`".into()));
    }
    let _turn = core.activating.lock().await;
    let newest = newest(core).await?;
    if from.is_some_and(|from| from != newest.generation) {
        let why = "another bundle is in force by now; look at it first";
        return Err(ControlError::Conflict(why.into()));
    }
    let before = core.store.bundle_other_than(&newest.digest).await?;
    let none = || ControlError::Conflict("there is no earlier bundle to go back to".into());
    let before = before.ok_or_else(none)?;
    let bundle = loaded(&before)?;
    let source = source(&before)?;
    let by = rights::caller(op)?.id.to_string();
    // Back to what the files say: then nothing has to be kept out.
    let over = newest.pinned_over.unwrap_or(newest.digest);
    let over = Some(over).filter(|digest| *digest != before.digest);
    let mut stored = stored(&bundle, &source, newest.generation + 1, &by, over, op.now())?;
    stored.person = rights::caller(op)?.person;
    bring(core, op, Arc::new(bundle), stored.clone()).await?;
    Ok(view(stored.clone(), stored.generation))
}

/// The digest that a rollback keeps out, if the bundle in force came by one.
pub(crate) async fn pinned(core: &Core) -> Result<Option<BundleDigest>> {
    Ok(newest(core).await?.pinned_over)
}

async fn bring(
    core: &Arc<Core>,
    op: &OpContext,
    bundle: Arc<Bundle>,
    stored: StoredBundle,
) -> Result<BundleStamp> {
    let stamp = BundleStamp { digest: stored.digest.clone(), generation: stored.generation };
    let mut settlement = Settlement {
        changes: activated(core, op, &stored),
        at_once: vec![Effect::Bundle(Arc::clone(&bundle), stored.generation)],
        ..Settlement::default()
    };
    if let Some(person) = stored.person {
        let before = Arc::clone(core.snapshot().bundle());
        core.brought.add(stored.generation, person, Some(before));
    }
    settlement.changes.insert(0, Change::AddBundle(stored));
    core.settle(settlement).await.map_err(|error| {
        core.brought.forget(stamp.generation);
        match error {
            Unsettled::Conflict => {
                ControlError::Conflict("another bundle was activated first".into())
            }
            Unsettled::Failed(error) => error,
        }
    })?;
    end_orphans(core, op, &bundle).await;
    Ok(stamp)
}

/// Brings back who brought the policies in force, if it was a person, and those before.
pub(crate) async fn remember_who_brought(core: &Core) -> Result<()> {
    let newest_first = core.store.bundles(LISTED).await?;
    let Some(newest) = newest_first.first() else { return Ok(()) };
    let Some(person) = newest.person else { return Ok(()) };
    let before = newest_first.iter().find(|earlier| earlier.person != Some(person));
    // What does not load any more lets nobody review: then it takes other policies.
    let before = before.and_then(|before| loaded(before).ok()).map(Arc::new);
    core.brought.add(newest.generation, person, before);
    Ok(())
}

/// The event of an activation.
pub(crate) fn activated(core: &Core, op: &OpContext, stored: &StoredBundle) -> Vec<Change> {
    let mut event = core.event(op, EventType::BundleActivated);
    let (digest, generation) = (stored.digest.clone(), stored.generation);
    event.bundle = Some(BundleStamp { digest, generation });
    event.detail = Some(format!("by {}", stored.by));
    vec![Change::Record(event)]
}

/// Grants whose rule is gone open nothing from the moment that the bundle is in force; here they
/// are ended by name as well.
pub(crate) async fn end_orphans(core: &Arc<Core>, op: &OpContext, bundle: &Bundle) {
    for grant in core.publisher.grants() {
        if !bundle.issues_as(&grant.rule, grant.kind) {
            end_orphan(core, op, grant.id).await;
        }
    }
}

pub(crate) async fn end_orphan(core: &Arc<Core>, op: &OpContext, id: GrantId) {
    match grants::end_grant(core, op, id, GrantEnd::RuleGone).await {
        Ok(_) | Err(ControlError::Conflict(_)) => {}
        Err(error) => tracing::error!(grant = %id, %error, "the grant lost its rule"),
    }
}

pub(crate) fn stored(
    bundle: &Bundle,
    source: &BundleSource,
    generation: u64,
    by: &str,
    pinned_over: Option<BundleDigest>,
    now: jiff::Timestamp,
) -> Result<StoredBundle> {
    let source = serde_json::to_value(source);
    Ok(StoredBundle {
        digest: bundle.digest().clone(),
        generation,
        activated_at: now,
        by: by.to_owned(),
        person: None,
        pinned_over,
        source: source.map_err(|error| ControlError::Internal(Box::new(error)))?,
    })
}

async fn newest(core: &Core) -> Result<StoredBundle> {
    let newest = core.store.bundles(1).await?.into_iter().next();
    newest.ok_or(ControlError::Internal(Box::new(StoreError::Conflict)))
}

fn source(stored: &StoredBundle) -> Result<BundleSource> {
    let source = serde_json::from_value(stored.source.clone());
    source.map_err(|error| ControlError::Internal(Box::new(error)))
}

fn loaded(stored: &StoredBundle) -> Result<Bundle> {
    Bundle::load(&source(stored)?).map_err(|errors| {
        let first = errors.first().map(ToString::to_string).unwrap_or_default();
        ControlError::Conflict(format!("the earlier bundle does not load any more: {first}"))
    })
}

fn view(stored: StoredBundle, in_force: u64) -> BundleView {
    BundleView {
        active: stored.generation == in_force,
        digest: stored.digest,
        generation: stored.generation,
        activated_at: stored.activated_at,
        by: stored.by,
    }
}
