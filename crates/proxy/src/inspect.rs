//! Reads of a request what policies ask to see, and no more.
//!
//! A body is buffered only where a policy reads it or a grant is bound to it, up to a limit; what is
//! sent upstream is then exactly what was read. Any other body streams and is never looked at.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, header};
use http_body::Body;
use http_body_util::BodyExt;
use portcullis_model::Refusal;
use portcullis_policy::{
    Record,
    catalog::{InspectError, Operation as Declared},
};

use crate::{canonical::Canonical, digest, exchange::Exchange, identify::Caller, route::Operation};

/// The largest body that policies can ask to see.
const MAX_BODY: usize = 1024 * 1024;

/// What will be sent as the body.
#[derive(Debug)]
pub(crate) enum Payload {
    /// As it comes; still in the exchange.
    Streaming,
    /// What was read, and the trailers that followed.
    Whole(Bytes, Option<HeaderMap>),
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
    let mut facts = Facts::default();
    if !demands.params && !demands.body && !demands.digest {
        return Ok(Inspected { facts, payload: Payload::Streaming });
    }
    let payload = if demands.body || demands.digest {
        read(exchange, request).await?
    } else {
        Payload::Streaming
    };
    let snapshot = exchange.snapshot.clone();
    let declared = snapshot.bundle().catalog().operation(&operation.name);
    let declared = declared.ok_or(Refusal::NotFound)?;
    if demands.params {
        facts.params = params(declared, operation, request)?;
    }
    if let Payload::Whole(bytes, _) = &payload {
        if demands.body {
            facts.body = body(declared, request, bytes)?;
        }
        if demands.digest {
            let principal = &caller.identity.subject.principal().id;
            facts.digest = Some(digest::of(principal, &operation.resource, request, bytes));
        }
    }
    Ok(Inspected { facts, payload })
}

fn params(
    declared: &Declared,
    operation: &Operation,
    request: &Canonical,
) -> Result<Option<Record>, Refusal> {
    let path: Vec<(&str, String)> =
        operation.path_params.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    declared.params(&path, request.target.query()).map_err(refusal)
}

fn body(
    declared: &Declared,
    request: &Canonical,
    bytes: &Bytes,
) -> Result<Option<Record>, Refusal> {
    // A coded body cannot be read as what it says, and the upstream would decode it.
    let coding = request.headers.get(header::CONTENT_ENCODING);
    if coding.is_some_and(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        let why = "a policy reads this body, so it cannot be compressed";
        return Err(Refusal::NotRepresentable(why.to_owned()));
    }
    let kind = request.headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    declared.body(kind, bytes).map_err(refusal)
}

fn refusal(error: InspectError) -> Refusal {
    match error {
        InspectError::Malformed(_) => Refusal::Malformed("the parameters or body read two ways"),
        InspectError::NotRepresentable(why) => Refusal::NotRepresentable(why),
    }
}

/// Takes the whole body, up to the limit.
async fn read(exchange: &mut Exchange, request: &Canonical) -> Result<Payload, Refusal> {
    const TOO_LARGE: Refusal = Refusal::TooLarge("a policy reads this body, and it is over 1 MiB");
    let Some(body) = exchange.body.as_mut() else {
        return Ok(Payload::Whole(Bytes::new(), None));
    };
    let announced = request
        .headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok().and_then(|length| length.parse::<u64>().ok()));
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(TOO_LARGE);
    }
    let mut whole = BytesMut::new();
    let mut trailers = None;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Malformed("the body broke off"))?;
        match frame.into_data() {
            Ok(data) if whole.len() + data.len() > MAX_BODY => return Err(TOO_LARGE),
            Ok(data) => whole.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().ok(),
        }
        if body.is_end_stream() {
            break;
        }
    }
    exchange.body = None;
    Ok(Payload::Whole(whole.freeze(), trailers))
}
