//! Reads of a request what policies ask to see, and no more.
//!
//! A body is buffered only where a policy reads it or a grant is bound to it, up to a limit; what is
//! sent upstream is then exactly what was read. Any other body streams and is never looked at.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::{Body, Frame};
use portcullis_model::{PrincipalId, Refusal};
use portcullis_policy::{
    Record, Snapshot,
    catalog::{InspectError, Operation as Declared},
};
use zeroize::Zeroize;

use crate::{
    body::{Begun, Framed},
    canonical::{Canonical, Speaks},
    digest,
    exchange::Exchange,
    forward::deadline::Deadline,
    identify::Caller,
    route::Operation,
    share,
    slow::Reading,
};

/// Room for what a client announces, before it comes.
const AT_FIRST: usize = 64 * 1024;

/// What will be sent as the body.
#[derive(Debug)]
pub(crate) enum Payload {
    /// As it comes; still in the exchange.
    Streaming,
    /// What was read, and the trailers that followed.
    Whole(Bytes, Option<HeaderMap>),
    /// The first of a stream of messages. The rest is decided as it comes; it is still in the exchange.
    Begun(Box<Begun>),
}

impl Payload {
    /// The body, if it was read.
    pub(crate) fn whole(&self) -> Option<&[u8]> {
        match self {
            Self::Whole(bytes, _) => Some(bytes),
            Self::Streaming | Self::Begun(_) => None,
        }
    }

    /// A digest covers no trailers, so none are sent with what is bound to one (RFC 9110 section 6.5.1
    /// lets them be discarded).
    pub(crate) fn without_trailers(self) -> Self {
        match self {
            Self::Whole(bytes, _) => Self::Whole(bytes, None),
            other @ (Self::Streaming | Self::Begun(_)) => other,
        }
    }
}

/// What policies asked for.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(crate) params: Option<Record>,
    pub(crate) body: Option<Record>,
    pub(crate) digest: Option<String>,
}

/// A request, read as far as policies ask.
#[derive(Debug)]
pub(crate) struct Inspected {
    pub(crate) facts: Facts,
    pub(crate) payload: Payload,
}

/// Reads parameters, body and digest of a request where its operation demands them.
pub(crate) async fn inspect(
    exchange: &mut Exchange,
    caller: &Caller,
    operation: &Operation,
    request: &Canonical,
) -> Result<Inspected, Refusal> {
    let demands = operation.demands;
    let reads_body = demands.body || demands.digest || demands.kept_body;
    if !demands.params && !reads_body {
        return Ok(Inspected { facts: Facts::default(), payload: Payload::Streaming });
    }
    let principal = &caller.identity.subject.principal().id;
    if request.speaks == Speaks::Tcp {
        return Ok(connection(principal, operation));
    }
    let payload = if reads_body {
        // INVARIANT: what is kept of bodies is bounded, also of those that are refused.
        share::take(exchange)?;
        let streams = !demands.digest && sends_messages(exchange, operation);
        match Deadline::by_caller(request.speaks, &request.headers) {
            None if !streams => read(exchange, request).await?,
            // Boxed, so that all others do not reserve room for it twice.
            time => Box::pin(read_within(exchange, request, time, streams)).await?,
        }
    } else {
        Payload::Streaming
    };
    let mut facts = facts(&exchange.snapshot, operation, request, &payload)?;
    if !demands.digest {
        return Ok(Inspected { facts, payload });
    }
    let body = payload.whole().unwrap_or_default();
    facts.digest = Some(digest::of(principal, &operation.resource, request, body));
    Ok(Inspected { facts, payload: payload.without_trailers() })
}

/// What there is to know of a request that only opens a connection: who, and to what.
pub(crate) fn connection(principal: &PrincipalId, operation: &Operation) -> Inspected {
    let digest = operation.demands.digest;
    let digest = digest.then(|| digest::of_connection(principal, &operation.resource));
    Inspected { facts: Facts { digest, ..Facts::default() }, payload: Payload::Streaming }
}

/// Parameters and body as the policies of `snapshot` ask for them, without a digest.
pub(crate) fn facts(
    snapshot: &Snapshot,
    operation: &Operation,
    request: &Canonical,
    payload: &Payload,
) -> Result<Facts, Refusal> {
    let demands = operation.demands;
    let mut facts = Facts::default();
    let declared = snapshot.bundle().catalog().operation(&operation.name);
    let declared = declared.ok_or(Refusal::NotFound)?;
    if demands.params {
        facts.params = params(declared, operation, request)?;
    }
    match payload {
        Payload::Whole(bytes, _) if demands.body => facts.body = body(declared, request, bytes)?,
        Payload::Begun(begun) => {
            let first = begun.first.as_deref();
            let first = first.map(|first| declared.message(&begun.coding, first)).transpose();
            facts.body = first.map_err(refusal)?.flatten();
        }
        Payload::Whole(..) | Payload::Streaming => {}
    }
    Ok(facts)
}

fn params(
    declared: &Declared,
    operation: &Operation,
    request: &Canonical,
) -> Result<Option<Record>, Refusal> {
    let path: Vec<(&str, String)> =
        operation.path_params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    declared.params(&path, request.target.query(), &request.headers).map_err(refusal)
}

fn body(
    declared: &Declared,
    request: &Canonical,
    bytes: &Bytes,
) -> Result<Option<Record>, Refusal> {
    check_uncoded(request)?;
    declared.body(&request.headers, request.target.query(), bytes).map_err(refusal)
}

/// A coded body cannot be read as what it says, and the upstream would decode it.
fn check_uncoded(request: &Canonical) -> Result<(), Refusal> {
    let coding = request.headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let why = "a policy reads this body, so it cannot be compressed";
        return Err(Refusal::NotRepresentable(why.to_owned()));
    }
    Ok(())
}

pub(crate) fn refusal(error: InspectError) -> Refusal {
    match error {
        InspectError::Malformed(_) => Refusal::Malformed("the parameters or body read two ways"),
        InspectError::NotRepresentable(why) => Refusal::NotRepresentable(why),
        InspectError::TooLarge => {
            Refusal::TooLarge("this body is over the operation's `max_body` once it is decoded")
        }
    }
}

/// Whether the client sends any number of messages, as the operation is declared.
fn sends_messages(exchange: &Exchange, operation: &Operation) -> bool {
    let declared = exchange.snapshot.bundle().catalog().operation(&operation.name);
    declared.is_some_and(Declared::streams_up)
}

/// The body, or the first message of a stream of them, for a caller who waits for so long, from the start of its
/// request.
async fn read_within(
    exchange: &mut Exchange,
    request: &Canonical,
    time: Option<Duration>,
    streams: bool,
) -> Result<Payload, Refusal> {
    let left = time.map(|time| time.saturating_sub(exchange.started.elapsed()));
    let reading = async {
        if streams { begin(exchange, request).await } else { read(exchange, request).await }
    };
    match left {
        None => reading.await,
        Some(left) => {
            let read = tokio::time::timeout(left, reading).await;
            read.unwrap_or(Err(Refusal::TooSlow))
        }
    }
}

/// Takes the first message of a stream of them, up to the limit.
async fn begin(exchange: &mut Exchange, request: &Canonical) -> Result<Payload, Refusal> {
    check_uncoded(request)?;
    let catalog = exchange.snapshot.bundle().catalog();
    let declared = exchange.operation.as_ref().and_then(|name| catalog.operation(name));
    let coding = declared.ok_or(Refusal::NotFound)?.coding(&request.headers).map_err(refusal)?;
    let mut framed = Framed::new(limit(exchange));
    let mut reading = Reading::new(exchange.core.config.bounds.body);
    let first = loop {
        if let Some(message) = framed.next().map_err(refusal)? {
            break Some(message);
        }
        let Some(body) = exchange.body.as_mut().filter(|body| !body.is_end_stream()) else {
            break None;
        };
        match reading.next(body).await?.map(Frame::into_data) {
            Some(Ok(data)) => framed.push(&data),
            // Trailers of a call mean nothing.
            Some(Err(_)) | None => break None,
        }
    };
    if first.is_none() && !framed.is_empty() {
        return Err(Refusal::Malformed("a message breaks off"));
    }
    Ok(Payload::Begun(Box::new(Begun { first, framed, coding })))
}

/// Takes the whole body, up to the limit.
pub(crate) async fn read(exchange: &mut Exchange, request: &Canonical) -> Result<Payload, Refusal> {
    const TOO_LARGE: Refusal =
        Refusal::TooLarge("this body has to be read, and it is over the operation's `max_body`");
    let most = limit(exchange);
    let Some(body) = exchange.body.as_mut() else {
        return Ok(Payload::Whole(Bytes::new(), None));
    };
    let announced = announced(request);
    if announced.is_some_and(|length| length > most) {
        return Err(TOO_LARGE);
    }
    let most = usize::try_from(most).unwrap_or(usize::MAX);
    let room = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
    let mut whole = BytesMut::with_capacity(room.min(AT_FIRST));
    let mut trailers = None;
    let mut reading = Reading::new(exchange.core.config.bounds.body);
    while let Some(frame) = reading.next(body).await? {
        match frame.into_data() {
            Ok(data) if whole.len() + data.len() > most => return Err(TOO_LARGE),
            Ok(data) => append(&mut whole, &data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if body.is_end_stream() {
            break;
        }
    }
    exchange.body = None;
    Ok(Payload::Whole(whole.freeze(), trailers))
}

/// Grows without leaving a copy behind: what is read may be sealed and wiped later.
fn append(whole: &mut BytesMut, data: &[u8]) {
    let needed = whole.len() + data.len();
    if needed > whole.capacity() {
        let mut larger = BytesMut::with_capacity(needed.max(whole.capacity() * 2));
        larger.extend_from_slice(whole);
        whole.zeroize();
        *whole = larger;
    }
    whole.extend_from_slice(data);
}

/// The bytes of body that are read at most.
fn limit(exchange: &Exchange) -> u64 {
    let catalog = exchange.snapshot.bundle().catalog();
    let operation = exchange.operation.as_ref().and_then(|name| catalog.operation(name));
    // Without an operation nothing is read; were it, then no more than anybody may send.
    operation.map_or(0, Declared::max_body)
}

fn announced(request: &Canonical) -> Option<u64> {
    let length = request.headers.get(header::CONTENT_LENGTH)?;
    length.to_str().ok()?.parse().ok()
}

/// The bytes that a body has which is not read yet: what it says, or the most that it may.
pub(crate) fn expected(exchange: &Exchange, request: &Canonical) -> u64 {
    match &exchange.body {
        None => 0,
        Some(body) if body.is_end_stream() => 0,
        Some(_) => announced(request).unwrap_or_else(|| limit(exchange)),
    }
}
