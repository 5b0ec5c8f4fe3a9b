//! The one door to every use case.

mod chat;
mod closer;
mod directory;
mod eyes;
mod facts;
mod lists;
mod outside;
mod policies;
mod proofs;
mod reading;
mod sealed;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use portcullis_identity::{
    Authenticated,
    passkey::{CreationOptions, RegistrationResponse},
};
use portcullis_model::{
    AccessRequestId, BundleDigest, BundleStamp, ConnectionId, EventType, Grant, GrantId,
    OperationName, Passkey, PasskeyId, Principal, PrincipalId, RefusalId, RequestId, Secret,
    ServiceName, SignIn, SignInId,
};
use portcullis_policy::{Bundle, BundleSource, LoadError, rate_limit::RateLimit};
use tokio::task::JoinSet;

use crate::{
    ControlError, ControlParts, OpContext, OpenConnection, Snapshots,
    browser::{Answer, Begin, Entered, Exchange, GateWish},
    core::Core,
    feed::Listener,
    indexing::Indexing,
    ports::{ConnectionInfo, ConsumeError, HeldRequest, KeptRefusal},
    start,
    usecase::{
        access_requests, ask, authenticate, browser, bundles, connections, consume,
        cuts::{self, Cuts},
        device, grant_tokens, grants, hand_over,
        hold::{self, Waiting},
        idle, logout, once, origins, passkeys, powers, record, refusals, review, runs, services,
        sightings, sign_in,
    },
    views::{
        AccessRequestView, Ask, Beat, ConnectionView, DevicePoll, DeviceSignIn, GateSignIn,
        NewGrantToken, NewOneTimeToken, NewRun, Origins, Powers, RefusalView, ReviewInput,
        ServiceView, ToolKey, WhoAmI,
    },
};

/// Control. Cheap to share behind an `Arc`.
#[derive(Debug)]
pub struct Control {
    core: Arc<Core>,
    /// Aborted when control is dropped.
    background: Mutex<JoinSet<()>>,
    indexing: Mutex<Option<Indexing>>,
}

type Result<T> = std::result::Result<T, ControlError>;

#[expect(clippy::unused_async, reason = "every use case is awaited, whether or not it waits today")]
impl Control {
    /// Brings back what was in force, puts the start on record and begins to work.
    pub async fn start(parts: ControlParts) -> Result<Arc<Self>> {
        let core = start::start(parts).await?;
        let background = Mutex::new(start::background(&core));
        let indexing = Mutex::new(Indexing::start(&core));
        Ok(Arc::new(Self { core, background, indexing }))
    }

    /// Puts the stop on record, ends the background tasks and lets go of the store. Whoever still
    /// calls is told that it is not available.
    pub async fn stop(&self) {
        let op = OpContext::system("stop", self.core.now());
        let event = self.core.event(&op, EventType::Stopped);
        let noted = record::note(&self.core, event).await;
        if noted.is_err() || self.core.outbox.drain().await.is_err() {
            tracing::error!("the stop could not be put on record");
        }
        let mut background =
            std::mem::take(&mut *self.background.lock().unwrap_or_else(PoisonError::into_inner));
        background.shutdown().await;
        let indexing = self.indexing.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(indexing) = indexing {
            indexing.end().await;
        }
        self.core.store.close().await;
    }

    /// What gates decide from.
    pub fn snapshots(&self) -> &Arc<Snapshots> {
        self.core.publisher.snapshots()
    }

    /// Spends one use of `grant` on `request`, durably and exactly once.
    pub async fn consume(
        &self,
        grant: GrantId,
        request: RequestId,
    ) -> std::result::Result<(), ConsumeError> {
        consume::consume(&self.core, grant, request).await
    }

    /// Counts one more of `what` by `who`, exactly; or says in how many seconds it may be again.
    pub fn admit(
        &self,
        who: &PrincipalId,
        what: &OperationName,
        limit: RateLimit,
    ) -> std::result::Result<(), u32> {
        self.core.exact_rates.admit(who, what, limit, self.core.now())
    }

    /// A grant that ends unused was used. Never waits.
    pub fn grant_used(&self, grant: GrantId) {
        idle::used(&self.core, grant);
    }

    /// Keeps a refusal for an hour and names it; `None` if its principal has too many already, they
    /// come too fast, or the store is busy.
    pub async fn keep_refusal(&self, refusal: KeptRefusal) -> Option<RefusalId> {
        refusals::keep(&self.core, refusal).await
    }

    /// Opens an access request for a request of `caller` that waits at the gate.
    pub async fn hold(
        &self,
        caller: Authenticated,
        source: IpAddr,
        asked: HeldRequest,
    ) -> Result<Waiting> {
        let op = OpContext::new(caller, source, self.core.now());
        hold::open(&self.core, &op, asked).await
    }

    /// Who could review an access request for `operation` now, by name.
    pub fn reviewers(&self, operation: &OperationName) -> Vec<String> {
        self.core.reviewers(operation)
    }

    /// A gate saw a workload that presents a token or a certificate. Never waits.
    pub fn workload_seen(&self, workload: &Arc<Principal>) {
        sightings::seen(&self.core, workload);
    }

    /// Registers a live connection.
    pub fn connection_opened(&self, info: ConnectionInfo) -> OpenConnection {
        self.core.connections.opened(info)
    }

    /// A registered connection shows sensitive data from here on, for as long as `grants` live.
    pub fn connection_shows(&self, id: ConnectionId, grants: Vec<GrantId>) {
        self.core.connections.shows(id, grants);
    }

    /// A core of the gate has looked at its connections under the snapshot of this version.
    pub fn connections_looked_at(&self, core: usize, version: u64) {
        self.core.connections.looked(core, version);
    }

    /// Brings `bundle` into force as the next generation; the one in force again changes nothing.
    /// `by` is who or what did it: `file change`, `SIGHUP`.
    pub async fn activate(
        &self,
        bundle: Bundle,
        source: BundleSource,
        by: &str,
    ) -> Result<BundleStamp> {
        bundles::activate(&self.core, bundle, &source, by).await
    }

    /// Puts on record that a bundle did not load; the old one stays in force.
    pub async fn refuse_bundle(&self, errors: &[LoadError], by: &str) -> Result<()> {
        bundles::refuse(&self.core, errors, by).await
    }

    /// The digest that a rollback keeps out until the files change, if there is one.
    pub async fn pinned(&self) -> Result<Option<BundleDigest>> {
        bundles::pinned(&self.core).await
    }

    /// Whether events reach the log.
    pub fn is_on_record(&self) -> bool {
        !self.core.outbox.is_broken()
    }

    /// Begins a device sign-in with `provider`, or with the only one.
    pub async fn begin_device(&self, provider: Option<&str>) -> Result<DeviceSignIn> {
        device::begin(&self.core, provider).await
    }

    /// Asks whether the person has signed in.
    pub async fn poll_device(&self, device_token: &str, source: IpAddr) -> Result<DevicePoll> {
        device::poll(&self.core, device_token, source).await
    }

    /// The identity providers that people can choose from, by name.
    pub fn providers(&self) -> Vec<String> {
        self.core.people.iter().map(|provider| provider.name().to_owned()).collect()
    }

    /// Begins a browser's sign-in; says where to send the browser.
    pub async fn begin_browser(&self, begin: Begin<'_>) -> Result<String> {
        browser::begin(&self.core, begin).await
    }

    /// Signs whoever came back from the provider in.
    pub async fn finish_browser(&self, answer: Answer<'_>) -> Result<Entered> {
        browser::finish(&self.core, answer).await
    }

    /// Makes a code for the gate that sent the caller's browser.
    pub async fn gate_code(&self, op: &OpContext, wish: &GateWish) -> Result<Secret> {
        hand_over::code(&self.core, op, wish).await
    }

    /// Exchanges such a code for a sign-in at the gate.
    pub async fn exchange_code(&self, asked: Exchange<'_>) -> Result<GateSignIn> {
        hand_over::exchange(&self.core, asked).await
    }

    /// Who presents a browser's cookie at control's own `origin`.
    pub async fn authenticate_cookie(&self, token: &str, origin: &str) -> Result<Authenticated> {
        let caller = authenticate::authenticate_cookie(&self.core, token, origin)?;
        if let Some(id) = caller.sign_in() {
            self.seen(id);
        }
        Ok(caller)
    }

    /// The same while nobody does anything: that is no use of the sign-in.
    pub async fn authenticate_idle_cookie(
        &self,
        token: &str,
        origin: &str,
    ) -> Result<Authenticated> {
        authenticate::authenticate_cookie(&self.core, token, origin)
    }

    /// A browser used this sign-in.
    pub fn seen(&self, id: SignInId) {
        idle::seen(&self.core, id);
    }

    /// Ends a browser's sign-in, what it was made from, and all else that was.
    pub async fn sign_out_everywhere(&self, id: SignInId, source: IpAddr) -> Result<()> {
        sign_in::sign_out_everywhere(&self.core, id, source).await
    }

    /// Ends the sign-ins that a provider's logout token names; says how many.
    pub async fn back_channel_logout(
        &self,
        provider: &str,
        token: &str,
        source: IpAddr,
    ) -> Result<usize> {
        logout::back_channel(&self.core, provider, token, source).await
    }

    /// Exchanges a CI job's token, once, for a run.
    pub async fn start_run(&self, token: Option<&str>, source: IpAddr) -> Result<NewRun> {
        runs::start(&self.core, token, source).await
    }

    /// The caller's own run goes on.
    pub async fn beat(&self, op: &OpContext, run: SignInId) -> Result<Beat> {
        runs::beat(&self.core, op, run)
    }

    /// Ends the caller's own run, and everything that it opened.
    pub async fn finish_run(&self, op: &OpContext, run: SignInId) -> Result<()> {
        runs::finish(&self.core, op, run).await
    }

    /// Who presents `bearer` at control: a control sign-in, or a workload's JWT.
    pub async fn authenticate(&self, bearer: Option<&str>) -> Result<Authenticated> {
        authenticate::authenticate(&self.core, bearer).await
    }

    /// The context in which an authenticated caller acts, at this moment.
    pub fn context(&self, caller: Authenticated, source: IpAddr) -> OpContext {
        OpContext::new(caller, source, self.core.now())
    }

    /// Ends the caller's own control sign-in and all that was made from it.
    pub async fn sign_out(&self, op: &OpContext) -> Result<()> {
        sign_in::sign_out(&self.core, op).await
    }

    /// The caller's own sign-ins.
    pub async fn sign_ins(&self, op: &OpContext) -> Result<Vec<SignIn>> {
        sign_in::list(&self.core, op)
    }

    /// Ends one of the caller's own sign-ins.
    pub async fn end_sign_in(&self, op: &OpContext, id: SignInId) -> Result<()> {
        sign_in::end_own(&self.core, op, id).await
    }

    /// Makes a gate sign-in (10 minutes, never longer than its parent), for one service if named.
    pub async fn gate_sign_in(
        &self,
        op: &OpContext,
        service: Option<ServiceName>,
    ) -> Result<GateSignIn> {
        sign_in::for_gate(&self.core, op, service).await
    }

    /// The same for one service, and for as long as its parent lives: streams and connections hang on it.
    pub async fn lasting_gate_sign_in(
        &self,
        op: &OpContext,
        service: ServiceName,
    ) -> Result<GateSignIn> {
        sign_in::lasting(&self.core, op, service).await
    }

    /// Who the caller is.
    pub async fn whoami(&self, op: &OpContext) -> Result<WhoAmI> {
        services::whoami(op)
    }

    /// What the caller may do anywhere at all.
    pub fn powers(&self, op: &OpContext) -> Powers {
        powers::of(&self.core, op)
    }

    /// Where what is known of the caller came from.
    pub async fn origins(&self, op: &OpContext) -> Result<Origins> {
        origins::of_caller(&self.core, op)
    }

    /// The services that the caller can see.
    pub async fn services(&self, op: &OpContext) -> Result<Vec<ServiceView>> {
        services::all(&self.core, op)
    }

    /// One service.
    pub async fn service(&self, op: &OpContext, name: &ServiceName) -> Result<ServiceView> {
        services::one(&self.core, op, name)
    }

    /// One of the caller's own refusals.
    pub async fn refusal(&self, op: &OpContext, id: &RefusalId) -> Result<RefusalView> {
        refusals::view(&self.core, op, id).await
    }

    /// Hears of what changes, from now on.
    pub fn listen(&self) -> Listener {
        Listener::new(&self.core)
    }

    /// Up to where the record says what control did: what is read after this is at least as new.
    pub async fn newest(&self) -> Result<Option<u64>> {
        Ok(self.core.store.last_logged().await?)
    }

    /// Asks for access. An automatic way is granted before this returns.
    pub async fn ask(&self, op: &OpContext, ask: Ask) -> Result<AccessRequestView> {
        ask::ask(&self.core, op, ask, None).await
    }

    /// Asks for access under a key of the caller's own: the same again within a day gets the same
    /// access request, and something else under the same key is a conflict.
    pub async fn ask_once(&self, op: &OpContext, key: &str, ask: Ask) -> Result<AccessRequestView> {
        once::ask_once(&self.core, op, key, ask).await
    }

    /// One access request, for its requester and its possible reviewers.
    pub async fn access_request(
        &self,
        op: &OpContext,
        id: AccessRequestId,
    ) -> Result<AccessRequestView> {
        access_requests::one(&self.core, op, id).await
    }

    /// Gives a review. With the last one missing, the grants are issued before this returns.
    pub async fn review(
        &self,
        op: &OpContext,
        id: AccessRequestId,
        input: ReviewInput,
    ) -> Result<AccessRequestView> {
        review::review(&self.core, op, id, input).await
    }

    /// Begins to register a passkey of the caller's own; takes a recent sign-in.
    pub async fn begin_passkey(&self, op: &OpContext) -> Result<CreationOptions> {
        passkeys::begin(&self.core, op).await
    }

    /// Registers what the browser made.
    pub async fn register_passkey(
        &self,
        op: &OpContext,
        name: &str,
        response: &RegistrationResponse,
    ) -> Result<Passkey> {
        passkeys::finish(&self.core, op, name, response).await
    }

    /// The caller's own passkeys.
    pub async fn passkeys(&self, op: &OpContext) -> Result<Vec<Passkey>> {
        passkeys::list(&self.core, op).await
    }

    /// Deletes one of the caller's own passkeys.
    pub async fn remove_passkey(&self, op: &OpContext, id: PasskeyId) -> Result<()> {
        passkeys::remove(&self.core, op, id).await
    }

    /// Takes one's own access request back.
    pub async fn withdraw(&self, op: &OpContext, id: AccessRequestId) -> Result<AccessRequestView> {
        access_requests::withdraw(&self.core, op, id).await
    }

    /// One grant.
    pub async fn grant(&self, op: &OpContext, id: GrantId) -> Result<Grant> {
        grants::one(&self.core, op, id).await
    }

    /// Revokes a grant; returns once no gate of this process uses it any more.
    pub async fn revoke(&self, op: &OpContext, id: GrantId) -> Result<Grant> {
        grants::revoke(&self.core, op, id).await
    }

    /// Revokes a grant, unless it is over already, and waits until what it opened is gone, or for so long.
    pub async fn revoke_and_wait(
        &self,
        op: &OpContext,
        id: GrantId,
        wait: Duration,
    ) -> Result<Cuts> {
        cuts::revoke(&self.core, op, id, wait).await
    }

    /// Gives one's own grant back.
    pub async fn give_back(&self, op: &OpContext, id: GrantId) -> Result<Grant> {
        grants::give_back(&self.core, op, id).await
    }

    /// Makes a one-time token for the caller's own grant; it lives a minute.
    pub async fn one_time_token(&self, op: &OpContext, id: GrantId) -> Result<NewOneTimeToken> {
        grant_tokens::issue(&self.core, op, id).await
    }

    /// Redeems a one-time token, once, for a token that opens its grant at the gate; with `key`, for
    /// whoever has that.
    pub async fn redeem(
        &self,
        token: &Secret,
        key: Option<ToolKey<'_>>,
        source: IpAddr,
    ) -> Result<NewGrantToken> {
        grant_tokens::redeem(&self.core, token, key, source).await
    }

    /// Live connections that the caller may see: their own, and of services where they may `viewConnections`.
    pub async fn connections(&self, op: &OpContext) -> Result<Vec<ConnectionView>> {
        connections::list(&self.core, op)
    }

    /// Closes one.
    pub async fn close_connection(&self, op: &OpContext, id: ConnectionId) -> Result<()> {
        connections::close(&self.core, op, id).await
    }
}
