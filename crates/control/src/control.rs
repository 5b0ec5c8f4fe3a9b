//! The one door to every use case.

use std::net::IpAddr;

use portcullis_identity::Authenticated;
use portcullis_model::{
    AccessRequestId, ConnectionId, Grant, GrantId, RefusalId, ServiceName, SignIn, SignInId,
};

use crate::{
    ControlError, OpContext,
    views::{
        AccessRequestFilter, AccessRequestView, Ask, BundleView, ConnectionView, DevicePoll,
        DeviceSignIn, EventFilter, EventLine, Explain, Explanation, GateSignIn, RefusalView,
        ReviewInput, ServiceView, WhoAmI,
    },
};

/// Control. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Control {}

type Result<T> = std::result::Result<T, ControlError>;

fn unbuilt<T>() -> Result<T> {
    Err(ControlError::Unavailable("unbuilt".into()))
}

#[allow(clippy::unused_async, unused_variables, reason = "signatures first")]
impl Control {
    /// Begins a device sign-in with `provider`, or with the only one.
    pub async fn begin_device(&self, provider: Option<&str>) -> Result<DeviceSignIn> {
        unbuilt()
    }

    /// Asks whether the person has signed in.
    pub async fn poll_device(&self, device_token: &str, source: IpAddr) -> Result<DevicePoll> {
        unbuilt()
    }

    /// Who presents `bearer` at control: a control sign-in, or a workload's JWT.
    pub async fn authenticate(&self, bearer: Option<&str>) -> Result<Authenticated> {
        unbuilt()
    }

    /// The context in which an authenticated caller acts, at this moment.
    pub fn context(&self, caller: Authenticated, source: IpAddr) -> OpContext {
        OpContext::new(caller, source, jiff::Timestamp::UNIX_EPOCH)
    }

    /// Ends the caller's own control sign-in and all that was made from it.
    pub async fn sign_out(&self, op: &OpContext) -> Result<()> {
        unbuilt()
    }

    /// The caller's own sign-ins.
    pub async fn sign_ins(&self, op: &OpContext) -> Result<Vec<SignIn>> {
        unbuilt()
    }

    /// Ends one of the caller's own sign-ins.
    pub async fn end_sign_in(&self, op: &OpContext, id: SignInId) -> Result<()> {
        unbuilt()
    }

    /// Makes a gate sign-in (10 minutes, never longer than its parent), for one service if named.
    pub async fn gate_sign_in(
        &self,
        op: &OpContext,
        service: Option<ServiceName>,
    ) -> Result<GateSignIn> {
        unbuilt()
    }

    /// Who the caller is.
    pub async fn whoami(&self, op: &OpContext) -> Result<WhoAmI> {
        unbuilt()
    }

    /// The services that the caller can see.
    pub async fn services(&self, op: &OpContext) -> Result<Vec<ServiceView>> {
        unbuilt()
    }

    /// One service.
    pub async fn service(&self, op: &OpContext, name: &ServiceName) -> Result<ServiceView> {
        unbuilt()
    }

    /// One of the caller's own refusals.
    pub async fn refusal(&self, op: &OpContext, id: &RefusalId) -> Result<RefusalView> {
        unbuilt()
    }

    /// Asks for access. An automatic way is granted before this returns.
    pub async fn ask(&self, op: &OpContext, ask: Ask) -> Result<AccessRequestView> {
        unbuilt()
    }

    /// Lists access requests, newest first.
    pub async fn access_requests(
        &self,
        op: &OpContext,
        filter: AccessRequestFilter,
    ) -> Result<Vec<AccessRequestView>> {
        unbuilt()
    }

    /// One access request, for its requester and its possible reviewers.
    pub async fn access_request(
        &self,
        op: &OpContext,
        id: AccessRequestId,
    ) -> Result<AccessRequestView> {
        unbuilt()
    }

    /// Gives a review. With the last one missing, the grants are issued before this returns.
    pub async fn review(
        &self,
        op: &OpContext,
        id: AccessRequestId,
        input: ReviewInput,
    ) -> Result<AccessRequestView> {
        unbuilt()
    }

    /// Takes one's own access request back.
    pub async fn withdraw(&self, op: &OpContext, id: AccessRequestId) -> Result<AccessRequestView> {
        unbuilt()
    }

    /// Grants that the caller may see: their own, and of services where they may `revoke`.
    pub async fn grants(&self, op: &OpContext) -> Result<Vec<Grant>> {
        unbuilt()
    }

    /// One grant.
    pub async fn grant(&self, op: &OpContext, id: GrantId) -> Result<Grant> {
        unbuilt()
    }

    /// Revokes a grant; returns once no gate of this process uses it any more.
    pub async fn revoke(&self, op: &OpContext, id: GrantId) -> Result<Grant> {
        unbuilt()
    }

    /// Gives one's own grant back.
    pub async fn give_back(&self, op: &OpContext, id: GrantId) -> Result<Grant> {
        unbuilt()
    }

    /// Live connections that the caller may see: their own, and of services where they may `viewConnections`.
    pub async fn connections(&self, op: &OpContext) -> Result<Vec<ConnectionView>> {
        unbuilt()
    }

    /// Closes one.
    pub async fn close_connection(&self, op: &OpContext, id: ConnectionId) -> Result<()> {
        unbuilt()
    }

    /// Reads the record; needs `viewAudit`, and is on record itself.
    pub async fn events(&self, op: &OpContext, filter: EventFilter) -> Result<Vec<EventLine>> {
        unbuilt()
    }

    /// A file of the transparency log by its C2SP path; needs `viewAudit`.
    pub async fn log_file(&self, op: &OpContext, path: &str) -> Result<Vec<u8>> {
        unbuilt()
    }

    /// The bundles so far, newest first.
    pub async fn bundles(&self, op: &OpContext) -> Result<Vec<BundleView>> {
        unbuilt()
    }

    /// Brings the bundle before the one in force back, as a new generation; needs `administer`.
    pub async fn rollback(&self, op: &OpContext) -> Result<BundleView> {
        unbuilt()
    }

    /// What the PDP would answer.
    pub async fn explain(&self, op: &OpContext, question: Explain) -> Result<Explanation> {
        unbuilt()
    }
}
