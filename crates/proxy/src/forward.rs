//! Forwards what was admitted. Everything here takes an [`crate::serve::Admitted`], which holds the
//! pass of its decision.

pub(crate) mod consume;
pub(crate) mod deadline;
pub(crate) mod http;
pub(crate) mod websocket;

use std::rc::Rc;

use ::http::{HeaderMap, HeaderValue, Request};
use portcullis_model::{
    InstanceName, Refusal,
    refusal::{Unavailable, UpstreamTrouble},
};
use portcullis_policy::Pass;

use crate::{
    body::UpBody,
    canonical::Canonical,
    connection::{Opening, Standing},
    decide::Question,
    exchange::{Exchange, Key},
    filter,
    upstream::{Kind, Lane},
};

/// The instance that a request goes to, and a connection to it.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) instance: InstanceName,
    pub(crate) lane: Lane,
}

/// Picks an instance and connects.
pub(crate) async fn connect(
    exchange: &Exchange,
    question: &Question,
    kind: Kind,
) -> Result<Destination, Refusal> {
    let catalog = exchange.snapshot.bundle().catalog();
    let service = catalog.service(&question.resource.service).ok_or(Refusal::NotFound)?;
    let upstreams = &exchange.core.upstreams;
    let addressed = question.resource.instance.as_ref();
    let (instance, endpoint) =
        upstreams.pick(service.source(), addressed).map_err(Refusal::Upstream)?;
    if let Some(lane) = endpoint.pooled_for(kind) {
        return Ok(Destination { instance, lane });
    }
    // Connecting is rare, and its future is large: boxed, so that requests and idle connections are
    // small.
    Box::pin(async move {
        let trouble = match upstreams.lane(&endpoint, kind).await {
            Ok(lane) => return Ok(Destination { instance, lane }),
            Err(trouble) => trouble,
        };
        // Nothing was sent: one other instance may have it.
        let other = upstreams.pick_other(service.source(), addressed, &instance);
        let (instance, endpoint) = other.ok_or(Refusal::Upstream(trouble))?;
        let lane = upstreams.lane(&endpoint, kind).await.map_err(Refusal::Upstream)?;
        Ok(Destination { instance, lane })
    })
    .await
}

/// What it takes to watch this exchange as a connection.
pub(crate) fn opening(
    exchange: &Exchange,
    pass: &Pass,
    question: &Rc<Question>,
    instance: &InstanceName,
    protocol: &'static str,
) -> Opening {
    let generation = exchange.snapshot.stamp().generation;
    let standing = Standing::new(
        Rc::clone(question),
        pass,
        exchange.sign_in,
        exchange.ends_at,
        exchange.again.clone(),
        exchange.key == Key::Certificate,
        generation,
    )
    .by_sealed(exchange.sealed.clone());
    Opening {
        core: Rc::clone(&exchange.core),
        peer: Rc::clone(&exchange.peer),
        standing,
        request: exchange.id,
        instance: instance.clone(),
        protocol,
        started: exchange.started,
        since: exchange.now,
    }
}

/// The request as the upstream gets it: the client's headers, filtered, and the gate's own.
pub(crate) fn request(
    exchange: &Exchange,
    pass: &Pass,
    canonical: Canonical,
    lane: &Lane,
    body: UpBody,
) -> Result<Request<UpBody>, Refusal> {
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
        traceparent: exchange.trace.header(),
        client: &exchange.peer.address,
        forwarded: &exchange.peer.forwarded,
        tls: exchange.peer.tls.is_some(),
        authority: &authority,
    };
    filter::request::add(request.headers_mut(), own);
    if lane.is_http2() && canonical.takes_trailers {
        request.headers_mut().insert(::http::header::TE, HeaderValue::from_static("trailers"));
    }
    lane.address(&mut request, canonical.target, authority.header());
    Ok(request)
}

/// The header section of an answer as the client gets it.
fn filter_answer(exchange: &Exchange, headers: &mut HeaderMap, grant: Option<HeaderValue>) {
    filter::response::filter(headers, &exchange.id_header, grant);
    if let Some(rules) = &exchange.header_rules {
        filter::rules::of_response(rules, headers);
    }
}

/// The grant's id as a header value, if one was used.
pub(crate) fn grant_header(pass: &Pass) -> Option<HeaderValue> {
    pass.grant().map(|grant| crate::exchange::id_header(grant.id.to_text()))
}

/// An error of the connection to an upstream, as blame.
pub(crate) fn blame(error: &hyper::Error) -> Refusal {
    tracing::warn!(%error, "the upstream broke off");
    Refusal::Upstream(UpstreamTrouble::Broken)
}
