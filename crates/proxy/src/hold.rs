//! Holds a request while somebody decides. Never forwards: it waits, then asks the decision point
//! again.
//!
//! In this order: a seat (so many may wait, and no more), the body up to its limit, its digest, the
//! question once more with the digest, the body sealed, an access request bound to the digest. Then
//! it waits. An approval does not open the gate: the request is routed, read and decided again, as it
//! would be if it came now. What follows is as ever: on record, connect, decide again, spend one use,
//! send.
//!
//! Whatever else ends the wait refuses the request and takes the access request back, and the body is
//! wiped. A client that goes away drops all of this, which comes to the same.

mod sealed;
mod seats;
mod shown;
mod wish;

use std::{rc::Rc, time::Duration};

use jiff::SignedDuration;
use portcullis_model::{
    Refusal, Resource, ShownBody,
    refusal::{Declined, Denial, Requestable, Unavailable, Waited},
};
use portcullis_policy::Pass;
use tokio::time::Instant;

pub use self::seats::HoldLimits;
use self::{
    sealed::Sealed,
    seats::Seat,
    wish::{Wish, without_wait},
};
pub(crate) use self::{
    seats::Holds,
    shown::{body as shown_body, rules, summary},
    wish::{PREFER, applied, rest},
};
use crate::{
    canonical::Canonical,
    core::Core,
    decide::{self, Question},
    digest,
    exchange::{Exchange, Key, Recorded},
    identify::Caller,
    inspect::{self, Payload},
    ports::{HeldRequest, HoldAnswer, HoldEnd, NotOpened},
    reveal::Sight,
    route::{self, Operation, Place},
    spans::Phase,
};

/// How often a request that waits looks at the clock: what identified its caller may have ended.
const TICK: Duration = Duration::from_secs(1);

/// What a request that waited is forwarded with.
pub(crate) type Released = (Pass, Rc<Question>, Payload);

/// A request that waits.
struct Held<'a> {
    exchange: &'a mut Exchange,
    caller: &'a mut Caller,
    request: &'a mut Canonical,
    /// What it gets if it waits in vain.
    refused: Box<Requestable>,
    resource: Resource,
    wish: Wish,
    deadline: Instant,
    digest: String,
}

/// How a wait ended.
enum Event {
    Answered(HoldAnswer),
    Ended(HoldEnd),
}

/// Waits for an approval of `request`, if it may wait. `refused` is what it gets at once otherwise.
pub(crate) async fn hold(
    exchange: &mut Exchange,
    caller: &mut Caller,
    request: &mut Canonical,
    payload: Payload,
    refused: Box<Requestable>,
) -> Result<Released, Refusal> {
    let shown = payload.whole().and_then(|body| shown::body(exchange, request, body));
    // What is not there as a whole cannot be kept until somebody has decided.
    let may_wait = !matches!(payload, Payload::Begun(_));
    let wish = Wish::of(exchange, request, &refused).filter(|_| may_wait);
    let Some(wish) = wish else {
        exchange.shown = shown;
        return Err(Refusal::Requestable(refused));
    };
    let size = match payload.whole() {
        Some(body) => bytes(body, shown.as_deref()),
        None => shown::and_body(inspect::expected(exchange, request)),
    };
    let principal = &caller.identity.subject.principal().id;
    let Some(seat) = exchange.core.holds.sit(principal, &refused.service, size) else {
        // What cannot be honoured is no error: the answer is what it would be without (RFC 7240).
        exchange.core.metrics.held("turned-away");
        exchange.shown = shown;
        return Err(Refusal::Requestable(refused));
    };
    // What waits is counted by its seat.
    exchange.share = None;
    exchange.applied = wish.preferred.then_some(wish.time.as_secs());
    without_wait(&mut request.headers);
    let resource =
        Resource { service: refused.service.clone(), instance: exchange.instance.clone() };
    let (deadline, digest) = (Instant::now() + wish.time, String::new());
    Held { exchange, caller, request, refused, resource, wish, deadline, digest }
        .run(payload, seat, shown)
        .await
}

impl Held<'_> {
    async fn run(
        mut self,
        payload: Payload,
        mut seat: Seat,
        shown: Option<Box<ShownBody>>,
    ) -> Result<Released, Refusal> {
        let (payload, shown) = match payload {
            Payload::Streaming => {
                let payload = self.read().await?;
                let shown = payload.whole().and_then(|body| self.shown(body));
                (payload, shown)
            }
            whole @ Payload::Whole(..) => (whole, shown),
            Payload::Begun(_) => return Err(Refusal::Requestable(self.refused)),
        };
        let payload = payload.without_trailers();
        let body = payload.whole().unwrap_or_default();
        seat.fit(bytes(body, shown.as_deref()));
        let principal = &self.caller.identity.subject.principal().id;
        self.digest = digest::of(principal, &self.resource, self.request, body);
        // A grant may be bound to it already.
        match self.decide(&payload) {
            Ok((pass, question)) => return Ok((pass, question, payload)),
            Err(Refusal::Requestable(refused)) => self.refused = refused,
            Err(refusal) => return Err(refusal),
        }
        let (size, sealed) = self.seal(payload)?;
        let waiting = Waiting::begin(&self.exchange.core);
        self.exchange.spans.enter(Phase::Hold);
        let event = self.wait(size, shown).await;
        waiting.ended(event.as_ref().map_or("unavailable", word));
        self.exchange.recorded.set(Recorded::Nothing);
        self.exchange.now = self.exchange.core.now();
        self.exchange.instant = std::time::Instant::now();
        match event? {
            Event::Answered(HoldAnswer::Approved) => self.release(&sealed),
            Event::Answered(HoldAnswer::Declined(why)) => Err(self.declined(why)),
            Event::Answered(HoldAnswer::Over) => {
                self.show_again(&sealed);
                Err(Refusal::Requestable(self.refused))
            }
            Event::Ended(why) => {
                self.show_again(&sealed);
                Err(self.ended(why))
            }
        }
    }

    /// `body` as people see it.
    fn shown(&self, body: &[u8]) -> Option<Box<ShownBody>> {
        shown::body(self.exchange, self.request, body)
    }

    /// It waited in vain, and can be asked about: meanwhile nothing of its body stood anywhere in clear.
    fn show_again(&mut self, sealed: &Sealed) {
        let body = self.exchange.core.holds.key.open(sealed, &self.digest);
        self.exchange.shown = body.and_then(|body| self.shown(&body));
    }

    /// Reads the body, for as long as the request may wait.
    async fn read(&mut self) -> Result<Payload, Refusal> {
        let mut closing = self.exchange.core.closing.subscribe();
        tokio::select! {
            read = inspect::read(self.exchange, self.request) => return read,
            () = tokio::time::sleep_until(self.deadline) => {}
            _ = closing.wait_for(|closing| *closing) => return Err(self.ended(HoldEnd::ShuttingDown)),
        }
        Err(self.ended(HoldEnd::Unanswered))
    }

    fn seal(&self, payload: Payload) -> Result<(u64, Sealed), Refusal> {
        let internal = Refusal::Unavailable(Unavailable::Internal);
        let Payload::Whole(body, _) = payload else { return Err(internal) };
        let (core, size) = (&self.exchange.core, body.len() as u64);
        let sealed = core.holds.key.seal(body, &self.digest, core.random()).ok_or(internal)?;
        Ok((size, sealed))
    }

    /// Opens the access request and waits for what becomes of it.
    async fn wait(&mut self, size: u64, shown: Option<Box<ShownBody>>) -> Result<Event, Refusal> {
        let asked = self.asked(size, shown)?;
        let approvals = &self.exchange.core.parts.approvals;
        let mut approval = match approvals.open(asked).await {
            Ok(approval) => approval,
            Err(NotOpened::Refused) => return Ok(Event::Answered(HoldAnswer::Over)),
            Err(NotOpened::Unavailable) => return Err(Refusal::Unavailable(Unavailable::Store)),
        };
        self.exchange.recorded.set(Recorded::Held);
        let why = tokio::select! {
            biased;
            answer = approval.answered() => return Ok(Event::Answered(answer)),
            why = self.interrupted() => why,
        };
        // Somebody may have been quicker by a hair. That counts unless it is over for another reason.
        Ok(match approval.withdraw(why).await {
            Some(answer) if why == HoldEnd::Unanswered => Event::Answered(answer),
            Some(_) | None => Event::Ended(why),
        })
    }

    /// Resolves when the request must not wait any longer.
    async fn interrupted(&self) -> HoldEnd {
        let core = &self.exchange.core;
        let mut closing = core.closing.subscribe();
        let mut moved = core.parts.feed.changes();
        let mut clock = tokio::time::interval(TICK);
        loop {
            if self.has_lost_its_caller() {
                return HoldEnd::SignInEnded;
            }
            tokio::select! {
                () = tokio::time::sleep_until(self.deadline) => return HoldEnd::Unanswered,
                _ = closing.wait_for(|closing| *closing) => return HoldEnd::ShuttingDown,
                Ok(()) = moved.changed() => {}
                _ = clock.tick() => {}
            }
        }
    }

    /// Whether what identified the caller has ended.
    fn has_lost_its_caller(&self) -> bool {
        let exchange = &*self.exchange;
        let now = exchange.core.now();
        let ended = |id| exchange.core.snapshot().sign_in_by_id(id).is_none();
        now >= exchange.ends_at
            || exchange.sign_in.is_some_and(ended)
            || exchange.key == Key::Certificate && exchange.peer.has_lost_its_certificate(now)
    }

    fn asked(&self, size: u64, shown: Option<Box<ShownBody>>) -> Result<HeldRequest, Refusal> {
        let exchange = &*self.exchange;
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = SignedDuration::try_from(left).unwrap_or(SignedDuration::ZERO);
        Ok(HeldRequest {
            caller: (*self.caller.authenticated).clone(),
            source: exchange.peer.ip,
            request: exchange.id,
            operation: self.refused.operation.clone(),
            resource: self.resource.clone(),
            rule: self.wish.rule.clone(),
            digest: self.digest.clone(),
            summary: summary(exchange),
            parameters: shown::parameters(exchange, &self.refused.operation, self.request)?,
            size,
            body: shown.map(|shown| *shown),
            until: exchange.core.now() + left,
        })
    }

    /// It was approved: everything is asked again, as it is now. Whether it is forwarded, the decision
    /// says and not the approval.
    fn release(mut self, sealed: &Sealed) -> Result<Released, Refusal> {
        self.exchange.snapshot = self.exchange.core.snapshot();
        if self.has_lost_its_caller() {
            return Err(self.ended(HoldEnd::SignInEnded));
        }
        self.know_the_caller_again();
        let body = self.exchange.core.holds.key.open(sealed, &self.digest);
        let body = body.ok_or(Refusal::Unavailable(Unavailable::Internal))?;
        let payload = Payload::Whole(body, None);
        let decided = self.decide(&payload);
        if let Err(Refusal::Requestable(_)) = decided {
            self.exchange.shown = payload.whole().and_then(|body| self.shown(body));
        }
        let (pass, question) = decided?;
        Ok((pass, question, payload))
    }

    /// Somebody's groups may have changed meanwhile.
    fn know_the_caller_again(&mut self) {
        let exchange = &mut *self.exchange;
        let known = &self.caller.identity.subject.principal().id;
        let now = exchange.sign_in.and_then(|_| exchange.snapshot.principal(known));
        if let Some(principal) = now {
            let identity = exchange.core.identities.of(principal);
            exchange.identity = Some(Rc::clone(&identity));
            self.caller.identity = identity;
        }
    }

    /// Routes, reads and decides with the digest, in the exchange's snapshot.
    fn decide(&mut self, payload: &Payload) -> Result<(Pass, Rc<Question>), Refusal> {
        let operation = self.route()?;
        let exchange = &mut *self.exchange;
        let mut facts = inspect::facts(&exchange.snapshot, &operation, self.request, payload)?;
        facts.digest = Some(self.digest.clone());
        decide::decide(exchange, self.caller, operation, Some(self.request), facts)
    }

    /// The operation that the request still is: under another bundle it may be another.
    fn route(&mut self) -> Result<Operation, Refusal> {
        let service = self.resource.service.clone();
        let snapshot = self.exchange.snapshot.clone();
        let (host, path) = (self.request.authority.host(), self.request.path());
        let routed = snapshot.bundle().catalog().route(host, path);
        let routed = routed.filter(|routed| routed.service.source().name == service);
        self.exchange.sight = Sight::of(routed.ok_or(Refusal::NotFound)?.service);
        let place = Place { service, instance: self.resource.instance.clone() };
        let operation = route::operation(self.exchange, self.caller, &place, self.request)?;
        if operation.name == self.refused.operation {
            return Ok(operation);
        }
        let operation = Some(self.refused.operation.clone());
        Err(Refusal::Denied(Denial { service: place.service, operation }))
    }

    fn declined(self, why: String) -> Refusal {
        let Requestable { service, operation, .. } = *self.refused;
        Refusal::Declined(Box::new(Declined { service, operation, why }))
    }

    fn ended(&self, why: HoldEnd) -> Refusal {
        match why {
            HoldEnd::Unanswered | HoldEnd::ClientGone => {
                let mut refused = self.refused.clone();
                let Wish { time, by_caller, .. } = self.wish;
                refused.waited = Some(Waited { time, by_caller });
                Refusal::Requestable(refused)
            }
            HoldEnd::SignInEnded => Refusal::BadCredentials("what identified the caller ended"),
            HoldEnd::ShuttingDown => Refusal::Unavailable(Unavailable::ShuttingDown),
        }
    }
}

/// What a body takes while it waits, with what is seen of it.
fn bytes(body: &[u8], shown: Option<&ShownBody>) -> u64 {
    let shown = shown.map_or(0, |shown| shown.text.len() as u64);
    shown.saturating_add(body.len() as u64)
}

/// What metrics call it.
fn word(event: &Event) -> &'static str {
    match event {
        Event::Answered(HoldAnswer::Approved) => "approved",
        Event::Answered(HoldAnswer::Declined(_)) => "declined",
        Event::Answered(HoldAnswer::Over) => "over",
        Event::Ended(HoldEnd::Unanswered) => "unanswered",
        Event::Ended(HoldEnd::ClientGone) => "client-gone",
        Event::Ended(HoldEnd::SignInEnded) => "sign-in-ended",
        Event::Ended(HoldEnd::ShuttingDown) => "shutting-down",
    }
}

/// Counted for as long as it waits, and then by how it ended.
struct Waiting {
    core: Rc<Core>,
    end: &'static str,
}

impl Waiting {
    fn begin(core: &Rc<Core>) -> Self {
        core.metrics.waiting(1);
        // A client that leaves drops this, and nobody says how it ended.
        Self { core: Rc::clone(core), end: "client-gone" }
    }

    fn ended(mut self, end: &'static str) {
        self.end = end;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.core.metrics.waiting(-1);
        self.core.metrics.held(self.end);
    }
}
