//! Refusals that can be asked about: kept for an hour, for their principal only.

use std::sync::Arc;

use portcullis_model::{RefusalId, Secret, ShownBody, Way};
use portcullis_store::{Change, StoredRefusal};

use crate::{
    ControlError, OpContext,
    core::Core,
    expiry,
    ports::KeptRefusal,
    rights,
    seal::{self, Purpose},
    settle::{Settlement, Unsettled},
    views::RefusalView,
    ways::{self, Standing},
};

/// The most that are kept for one principal.
const MOST_KEPT: u32 = 64;
/// Codes are short: one that is taken is drawn again, a few times.
const DRAWS: usize = 4;

pub(crate) async fn keep(core: &Arc<Core>, refusal: KeptRefusal) -> Option<RefusalId> {
    if !core.refusal_rates.admit(&refusal.principal, core.now()) {
        return None;
    }
    for _ in 0..DRAWS {
        let id = RefusalId::new(core.entropy.as_ref());
        let refusal = stored(core, id.clone(), refusal.clone());
        let deadlines = vec![expiry::leftover(expiry::refusal_end(refusal.time))];
        let changes = vec![Change::KeepRefusal { refusal, at_most: MOST_KEPT }];
        match core.settle(Settlement { changes, deadlines, ..Settlement::default() }).await {
            Ok(()) => return Some(id),
            Err(Unsettled::Conflict) => {}
            Err(Unsettled::Failed(error)) => {
                tracing::warn!(%error, "a refusal could not be kept");
                return None;
            }
        }
    }
    None
}

fn stored(core: &Core, id: RefusalId, refusal: KeptRefusal) -> StoredRefusal {
    StoredRefusal {
        body: refusal
            .body
            .and_then(|body| sealed(core, &about(&id, refusal.digest.as_deref()), &body)),
        id,
        principal: refusal.principal,
        request: refusal.request,
        operation: refusal.operation,
        resource: refusal.resource,
        digest: refusal.digest,
        summary: refusal.summary,
        ways: refusal.ways,
        time: refusal.time,
    }
}

/// Nothing of a body rests in clear; what cannot be sealed is not kept.
pub(crate) fn sealed(core: &Core, about: &str, body: &ShownBody) -> Option<String> {
    let text = Secret::new(serde_json::to_string(body).ok()?);
    let (key, entropy) = (&core.settings.store_key, core.entropy.as_ref());
    let sealed = seal::seal_one_of(Purpose::Body, key, about, text.expose(), entropy);
    sealed.inspect_err(|error| tracing::error!(%error, "a body is not kept")).ok()
}

/// The body as people see it, if it was kept and can be read.
pub(crate) fn body(core: &Core, refusal: &StoredRefusal) -> Option<ShownBody> {
    let sealed = refusal.body.as_ref()?;
    opened(core, &about(&refusal.id, refusal.digest.as_deref()), sealed)
}

/// What a body belongs to: moved to another refusal, it is read by nobody.
fn about(id: &RefusalId, digest: Option<&str>) -> String {
    format!("{id} {}", digest.unwrap_or("-"))
}

/// What [`sealed`] made for the same.
pub(crate) fn opened(core: &Core, about: &str, sealed: &str) -> Option<ShownBody> {
    let opened = seal::open_one_of(Purpose::Body, &core.settings.store_key, about, sealed);
    serde_json::from_str(opened.ok()?.expose()).ok()
}

/// A refusal of the caller. Somebody else's code is a code that does not exist.
pub(crate) async fn own(
    core: &Core,
    op: &OpContext,
    id: &RefusalId,
) -> Result<StoredRefusal, ControlError> {
    let caller = rights::caller(op)?;
    let found = core.store.refusal(&caller.id, id).await?;
    let lives = |refusal: &StoredRefusal| op.now() < expiry::refusal_end(refusal.time);
    found.filter(lives).ok_or(ControlError::NotFound("the refusal"))
}

pub(crate) async fn view(
    core: &Core,
    op: &OpContext,
    id: &RefusalId,
) -> Result<RefusalView, ControlError> {
    let refusal = own(core, op, id).await?;
    let ways = current_ways(core, op, &refusal);
    Ok(RefusalView {
        body: body(core, &refusal),
        id: refusal.id,
        time: refusal.time,
        operation: refusal.operation,
        service: refusal.resource.service,
        instance: refusal.resource.instance,
        summary: refusal.summary,
        digest: refusal.digest,
        ways,
    })
}

fn current_ways(core: &Core, op: &OpContext, refusal: &StoredRefusal) -> Vec<Way> {
    let Some(caller) = op.caller() else { return Vec::new() };
    let context = ways::ahead(op.now(), caller.method().as_str(), caller.authenticated_at());
    let (operation, resource) = (&refusal.operation, &refusal.resource);
    let snapshot = core.snapshot();
    match ways::standing(&snapshot, caller.principal(), operation, resource, &context, None) {
        Standing::Ways(ways) => named(core, operation, ways),
        Standing::Open | Standing::Checked(_) | Standing::Closed | Standing::Invisible => {
            Vec::new()
        }
    }
}

/// With the names of those who could review, for people to read.
pub(crate) fn named(
    core: &Core,
    operation: &portcullis_model::OperationName,
    ways: Vec<Way>,
) -> Vec<Way> {
    let with_names = |way: Way| match way.reviews {
        0 => way,
        _ => Way { reviewers: core.reviewers(operation), ..way },
    };
    ways.into_iter().map(with_names).collect()
}
