//! Forwards what was admitted. Everything here takes an [`crate::serve::Admitted`], which holds the
//! pass of its decision.

mod again;
pub(crate) mod consume;
pub(crate) mod deadline;
pub(crate) mod http;
mod masked;
pub(crate) mod pipe;
pub(crate) mod tcp;
pub(crate) mod websocket;

use std::{rc::Rc, time::Instant};

use ::http::{HeaderMap, HeaderValue, Request, uri::PathAndQuery};
use bytes::Bytes;
use portcullis_model::{
    InstanceName, Refusal, TraceParent,
    refusal::{Unavailable, UpstreamTrouble},
};
use portcullis_policy::Pass;

use crate::{
    body::UpBody,
    canonical::Canonical,
    connection::{Opening, Standing},
    decide::Question,
    exchange::{Exchange, Key},
    filter::{self, trailers::Withheld},
    spans::Phase,
    upstream::{Kind, Lane, Turn},
};

/// The instance that a request goes to, and a connection to it.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) instance: InstanceName,
    pub(crate) lane: Lane,
}

impl Destination {
    fn of(lane: Lane) -> Self {
        Self { instance: lane.endpoint().name().clone(), lane }
    }
}

/// Picks an instance and connects.
pub(crate) async fn connect(
    exchange: &Exchange,
    question: &Question,
    kind: Kind,
) -> Result<Destination, Refusal> {
    match pick(exchange, question).await?.pooled_for(kind) {
        Ok(lane) => Ok(Destination::of(lane)),
        // Connecting is rare, and its future is large: boxed, so that requests and idle connections
        // are small.
        Err(turn) => Box::pin(connect_anew(exchange, question, turn, kind)).await,
    }
}

/// Picks an instance.
async fn pick(exchange: &Exchange, question: &Question) -> Result<Turn, Refusal> {
    let upstreams = &exchange.core.upstreams;
    let (service, addressed) = (&question.resource.service, question.resource.instance.as_ref());
    let picked = match upstreams.pick(&exchange.snapshot, service, addressed) {
        Ok(turn) => return Ok(turn),
        // Rare: boxed.
        Err(trouble) => {
            Box::pin(upstreams.pick_late(&exchange.snapshot, service, addressed, trouble)).await
        }
    };
    picked.map_err(Refusal::Upstream)
}

/// Connects to the instance of `turn`, or to others in its stead.
async fn connect_anew(
    exchange: &Exchange,
    question: &Question,
    turn: Turn,
    kind: Kind,
) -> Result<Destination, Refusal> {
    let upstreams = &exchange.core.upstreams;
    let connect = async |turn| upstreams.lane(turn, kind).await.map(Destination::of);
    first_reached(exchange, question, turn, connect).await
}

/// What `connect` makes of `turn`, or of others in its stead: nothing was sent yet.
async fn first_reached<T>(
    exchange: &Exchange,
    question: &Question,
    mut turn: Turn,
    connect: impl AsyncFn(Turn) -> Result<T, UpstreamTrouble>,
) -> Result<T, Refusal> {
    let upstreams = &exchange.core.upstreams;
    let mut tried = Vec::new();
    loop {
        let endpoint = Rc::clone(turn.endpoint());
        let trouble = match connect(turn).await {
            Ok(connected) => return Ok(connected),
            Err(trouble) => trouble,
        };
        tried.push(endpoint.name().clone());
        let others = question.resource.instance.is_none();
        let attempts = usize::from(endpoint.service().settings.retries.attempts);
        let other = (others && tried.len() <= attempts)
            .then(|| upstreams.pick_other(&exchange.snapshot, &question.resource.service, &tried))
            .flatten()
            .filter(|_| endpoint.service().may_retry());
        turn = other.ok_or(Refusal::Upstream(trouble))?;
    }
}

/// What something of this exchange stands on that `question` is about and `pass` permits.
pub(crate) fn standing(exchange: &Exchange, question: Rc<Question>, pass: &Pass) -> Standing {
    Standing::new(
        question,
        pass,
        exchange.sign_in,
        exchange.ends_at,
        exchange.again.clone(),
        exchange.snapshot.stamp().generation,
        exchange.instant,
    )
    .by_certificate(exchange.key == Key::Certificate)
    .by_sealed(exchange.sealed.clone())
}

/// What it takes to watch this exchange as a connection. Large, and handed on often: boxed.
pub(crate) fn opening(
    exchange: &Exchange,
    pass: &Pass,
    question: &Rc<Question>,
    instance: &InstanceName,
    protocol: &'static str,
) -> Box<Opening> {
    Box::new(Opening {
        core: Rc::clone(&exchange.core),
        peer: Rc::clone(&exchange.peer),
        standing: standing(exchange, Rc::clone(question), pass),
        request: exchange.id,
        instance: instance.clone(),
        protocol,
        bounds: None,
        uploads: false,
        started: exchange.started,
        since: exchange.now,
    })
}

/// A request as an upstream gets it, apart from what depends on the connection that carries it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    request: Request<UpBody>,
    target: PathAndQuery,
    authority: HeaderValue,
    takes_trailers: bool,
}

impl Outgoing {
    /// The client's headers, filtered, and the gate's own.
    pub(crate) fn new(
        exchange: &Exchange,
        pass: &Pass,
        canonical: Canonical,
        body: UpBody,
    ) -> Result<Self, Refusal> {
        let internal = Refusal::Unavailable(Unavailable::Internal);
        let identity = exchange.identity.as_ref().ok_or_else(|| internal.clone())?;
        let service = &pass.resource().service;
        let grant = pass.grant().map(|grant| grant.id);
        let signer = &exchange.core.parts.signer;
        // An upstream that trusts the assertion must never get a request without it.
        let assertion = identity.assertion(signer, service, grant, exchange.now);
        let assertion = Some(assertion.ok_or(internal)?);
        let authority = Rc::clone(&canonical.authority);
        let mut request = Request::new(body);
        *request.method_mut() = canonical.method;
        *request.headers_mut() = canonical.headers;
        let own = filter::request::Own {
            principal: &identity.header,
            assertion,
            request_id: &exchange.id_header,
            traceparent: traceparent(&exchange.trace),
            client: &exchange.peer.address,
            forwarded: &exchange.peer.forwarded,
            tls: exchange.peer.tls.is_some(),
            authority: &authority,
        };
        filter::request::add(request.headers_mut(), own);
        masked::ask(exchange, &mut request)?;
        let (target, takes_trailers) = (canonical.target, canonical.takes_trailers);
        exchange.spans.enter(Phase::Forward);
        exchange.forwarded.set(Some(Instant::now()));
        Ok(Self { request, target, authority: authority.header().clone(), takes_trailers })
    }

    /// In the form that `lane` wants.
    pub(crate) fn over(mut self, lane: &Lane) -> Request<UpBody> {
        if lane.is_http2() && self.takes_trailers {
            let trailers = HeaderValue::from_static("trailers");
            self.request.headers_mut().insert(::http::header::TE, trailers);
        }
        lane.address(&mut self.request, self.target, &self.authority);
        self.request
    }

    /// The same once more, if its body is all there.
    pub(crate) fn copy(&self) -> Option<Self> {
        let mut request = Request::new(self.request.body().copy()?);
        *request.method_mut() = self.request.method().clone();
        *request.headers_mut() = self.request.headers().clone();
        let (target, authority) = (self.target.clone(), self.authority.clone());
        Some(Self { request, target, authority, takes_trailers: self.takes_trailers })
    }

    /// RFC 9110 section 9.2.2: whether doing it twice does what doing it once does.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.request.method().is_idempotent()
    }
}

fn traceparent(trace: &TraceParent) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::copy_from_slice(trace.as_bytes())).ok()
}

/// The header section of an answer as the client gets it; and what may not come behind the body.
fn filter_answer(
    exchange: &Exchange,
    headers: &mut HeaderMap,
    grant: Option<HeaderValue>,
) -> Option<Box<Withheld>> {
    let nominated = filter::response::filter(headers, &exchange.id_header, grant);
    if let Some(sight) = &exchange.sight
        && let Some(masked) = sight.header()
    {
        headers.insert(filter::response::MASKED, masked);
    }
    if let Some(rules) = &exchange.header_rules {
        filter::rules::of_response(rules, headers);
    }
    Withheld { declared: None, rules: exchange.header_rules.clone(), nominated }.boxed()
}

/// The grant's id as a header value, if one was used.
pub(crate) fn grant_header(pass: &Pass) -> Option<HeaderValue> {
    pass.grant().map(|grant| crate::exchange::id_header(grant.id.to_text()))
}

/// An error of the connection to an upstream, as blame.
pub(crate) fn blame(lane: &mut Lane, error: &hyper::Error) -> Refusal {
    // Clients could have instances left out if what they break off were held against them.
    if is_of_caller(error) {
        tracing::debug!(%error, "the request broke off on its way up");
    } else {
        lane.blame();
        tracing::warn!(%error, "the upstream broke off");
    }
    Refusal::Upstream(UpstreamTrouble::Broken)
}

/// Whether it is the request body that failed, and not the upstream.
fn is_of_caller(error: &hyper::Error) -> bool {
    if error.is_user() {
        return true;
    }
    // Over HTTP/2 the stream is reset by this side then, and that is what is heard of it.
    let reset = cause::<h2::Error>(error).filter(|error| error.is_reset());
    reset.is_some_and(|error| !error.is_remote() && !error.is_library())
}

/// What of this type is behind `error`.
fn cause<E: std::error::Error + 'static>(error: &hyper::Error) -> Option<&E> {
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        if let Some(found) = cause.downcast_ref() {
            return Some(found);
        }
        source = cause.source();
    }
    None
}

#[cfg(test)]
#[path = "forward/tests.rs"]
mod tests;
