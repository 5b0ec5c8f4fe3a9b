//! Access requests for requests that wait at the gate: opened with it, taken back when nobody waits.
//!
//! The grant is bound to the digest of that one request and carries it once, whatever its rule would
//! give to somebody who asks. Nothing here runs a request: whoever waits is told, and the gate decides
//! again.

use std::sync::Arc;

use jiff::SignedDuration;
use portcullis_model::{AccessRequest, AccessRequestId, access_request::Held};
use portcullis_store::AccessRequests;
use tokio::{runtime::Handle, sync::watch};

use super::{
    access_requests,
    ask::{self, Subject, Wanted, Wish},
    held, refusals,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    holds,
    ports::{HeldRequest, HoldAnswer},
    settle::Unsettled,
};

/// What reviewers read as the reason: whoever sent the request said none.
const REASON: &str = "a request waits at the gate";
const CLIENT_GONE: &str = "the client went away";
/// The gate takes back what nobody answered. Should it fail to, the access request expires.
const GRACE: SignedDuration = SignedDuration::from_secs(2);

type Result<T> = std::result::Result<T, ControlError>;

/// An access request that a request at the gate waits for. Dropped, it is taken back.
#[derive(Debug)]
pub struct Waiting {
    core: Arc<Core>,
    id: AccessRequestId,
    answer: watch::Receiver<Option<HoldAnswer>>,
    /// Control's, whoever drops this.
    runtime: Handle,
    left: bool,
}

/// Opens an access request for a request that waits, or joins one that asks for the same.
pub(crate) async fn open(
    core: &Arc<Core>,
    op: &OpContext,
    mut asked: HeldRequest,
) -> Result<Waiting> {
    let body = asked.body.take();
    let request = request(core, op, asked)?;
    if request.reviews_needed() == 0 {
        let view = ask::automatic(core, op, &request, None).await?;
        let waiting = Waiting::join(core, view.request.id, false);
        core.holds.tell(holds::answer(&view.request.state).map(|answer| (waiting.id, answer)));
        return Ok(waiting);
    }
    if let Some(same) = ask::same_pending(core, op, &request).await? {
        return join(core, same.id).await;
    }
    // Subscribed before anybody can answer.
    let waiting = Waiting::join(core, request.id, true);
    // In memory, too, nothing of it is in clear for as long as it waits.
    let body = body.and_then(|body| refusals::sealed(core, &request.id.to_string(), &body));
    core.holds.show(request.id, body);
    match ask::wait_for_reviews(core, op, request.clone(), None).await {
        Ok(_) => Ok(waiting),
        Err(Unsettled::Failed(error)) => Err(waiting.never_opened(error)),
        Err(Unsettled::Conflict) => {
            let conflict = waiting.never_opened(Unsettled::Conflict.into());
            match ask::same_pending(core, op, &request).await? {
                Some(same) => join(core, same.id).await,
                None => Err(conflict),
            }
        }
    }
}

/// The access request: bound to the digest, for one use.
fn request(core: &Core, op: &OpContext, asked: HeldRequest) -> Result<AccessRequest> {
    let HeldRequest {
        request,
        operation,
        resource,
        rule,
        digest,
        summary,
        parameters,
        size,
        body: _,
        until,
    } = asked;
    let digest: Arc<str> = digest.into();
    let wanted = Wanted {
        operation,
        instance: resource.instance,
        digest: Some(Arc::clone(&digest)),
        rules: Vec::new(),
    };
    let subject =
        Subject { service: resource.service, wanted: vec![wanted], refusal: None, extends: None };
    let mut queries = ask::queries(
        core,
        &core.snapshot(),
        op,
        &subject,
        Wish { rule: Some(&rule), incident: None },
    )?;
    if queries.iter().any(|query| query.way.is_emergency()) {
        let why = "no request waits for an emergency; who needs it takes it by name";
        return Err(ControlError::Denied(why.into()));
    }
    for query in &mut queries {
        query.digest = Some(Arc::clone(&digest));
        query.way.max_uses = Some(1);
    }
    let duration = ask::duration(&queries, None)?;
    let made = ask::request(core, op, subject, queries, REASON.to_owned(), duration)?;
    Ok(AccessRequest {
        held: Some(Box::new(Held { request, summary, parameters, size, until })),
        expires_at: made.expires_at.min(until + GRACE),
        ..made
    })
}

/// Waits for one that is there already. Subscribed before it is looked at again.
async fn join(core: &Arc<Core>, id: AccessRequestId) -> Result<Waiting> {
    let waiting = Waiting::join(core, id, false);
    if let Some(answer) = found(core, id).await? {
        core.holds.tell([(id, answer)]);
    }
    Ok(waiting)
}

/// What has become of it by the store. Of an approval, the grants are published then.
async fn found(core: &Core, id: AccessRequestId) -> Result<Option<HoldAnswer>> {
    let request = core.store.access_request(id).await?;
    let request = request.ok_or(ControlError::NotFound("the access request"))?;
    let answer = holds::answer(&request.state);
    if answer == Some(HoldAnswer::Approved) {
        held::catch_up(core, &request.requester).await?;
    }
    Ok(answer)
}

/// Takes back what waited when the process ended: nothing that waited can go on.
pub(crate) async fn end_abandoned(core: &Arc<Core>, op: &OpContext) -> Result<()> {
    const STOPPED: &str = "the gate stopped while the request waited; it was not sent";
    let pending = core.store.access_requests(AccessRequests::Pending(None), u32::MAX).await?;
    for request in pending.into_iter().filter(|request| request.held.is_some()) {
        access_requests::take_back(core, op, request.id, STOPPED).await?;
    }
    Ok(())
}

impl Waiting {
    fn join(core: &Arc<Core>, id: AccessRequestId, own: bool) -> Self {
        let answer = core.holds.join(id, own);
        Self { core: Arc::clone(core), id, answer, runtime: Handle::current(), left: false }
    }

    /// Resolves when it is answered, or over.
    pub async fn answered(&mut self) -> HoldAnswer {
        match self.answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(HoldAnswer::Over),
            Err(_) => HoldAnswer::Over,
        }
    }

    /// Leaves. Takes the access request back, unless others wait for it or it was asked for by hand;
    /// `Some` if it was answered first.
    pub async fn withdraw(mut self, why: &'static str) -> Option<HoldAnswer> {
        self.left = true;
        let told = self.answer.borrow().clone();
        let is_last = self.core.holds.leave(self.id);
        if told.is_some() || !is_last {
            return told;
        }
        match take_back(&self.core, self.id, why).await {
            Ok(answer) => answer,
            Err(error) => {
                tracing::error!(access_request = %self.id, %error, "it is left to expire");
                None
            }
        }
    }

    fn never_opened(mut self, error: ControlError) -> ControlError {
        self.left = true;
        self.core.holds.leave(self.id);
        error
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        let is_over = self.answer.borrow().is_some();
        if self.core.holds.leave(self.id) && !is_over {
            let (core, id) = (Arc::clone(&self.core), self.id);
            self.runtime.spawn(async move {
                if let Err(error) = take_back(&core, id, CLIENT_GONE).await {
                    tracing::error!(access_request = %id, %error, "it is left to expire");
                }
            });
        }
    }
}

/// Takes it back; what it was answered with, if somebody was quicker.
async fn take_back(
    core: &Arc<Core>,
    id: AccessRequestId,
    why: &'static str,
) -> Result<Option<HoldAnswer>> {
    let op = OpContext::system("gate", core.now());
    match access_requests::take_back(core, &op, id, why).await {
        Ok(()) => Ok(None),
        Err(ControlError::Conflict(_)) => found(core, id).await,
        Err(error) => Err(error),
    }
}
