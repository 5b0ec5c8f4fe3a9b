//! The spine: a request's life in three functions.

pub(crate) mod direct;
pub(crate) mod sign_in;
pub(crate) mod strict;

use std::{pin::pin, rc::Rc};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header, request::Parts};
use hyper::body::Incoming;
use portcullis_model::{Refusal, refusal::Unavailable};
use portcullis_policy::Pass;

use crate::{
    body::{Answer, DownBody},
    canonical::{self, Canonical, Speaks, single::Present},
    caught::{Panicked, caught},
    content,
    core::Core,
    cors,
    decide::{self, Question},
    exchange::Exchange,
    filter, forward, hold, identify,
    inspect::{self, Inspected, Payload},
    limit,
    listener::Peer,
    record, refuse, reveal, route, sealed, share,
    spans::Phase,
};

/// A request that may be forwarded: decided, and on record.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub(crate) pass: Pass,
    pub(crate) question: Rc<Question>,
    pub(crate) request: Canonical,
    pub(crate) payload: Payload,
}

/// Answers one request, whatever it is.
pub(crate) async fn serve(
    core: Rc<Core>,
    peer: Rc<Peer>,
    request: Request<Incoming>,
) -> Response<Answer> {
    let turn = peer.serve();
    let _under_way = core.work.began();
    let (mut parts, body) = request.into_parts();
    let mut exchange = Exchange::begin(core, peer, &mut parts, Some(body));
    let asks_upgrade = exchange.asks_upgrade();
    let responded = {
        let responding = pin!(respond(&mut exchange, parts));
        caught(responding).await
    };
    let mut response = match responded {
        Ok(response) => response,
        Err(Panicked) => Box::pin(after_panic(&mut exchange)).await,
    };
    if let Some(seconds) = exchange.applied {
        hold::applied(response.headers_mut(), seconds);
    }
    if asks_upgrade {
        let verdict = &exchange.peer.verdict;
        verdict.settle(response.status() == StatusCode::SWITCHING_PROTOCOLS);
    }
    let share = exchange.share.take();
    exchange.spans.answered(response.status());
    let spans = exchange.take_spans();
    response.map(|body| Answer::new(body, turn, share, spans))
}

/// Why a request is not read.
fn unreadable(exchange: &Exchange) -> Refusal {
    match exchange.peer.verdict.defect() {
        Some(defect) if defect.is_size() => Refusal::HeadTooLarge(defect.words()),
        Some(defect) => Refusal::Malformed(defect.words()),
        None => Refusal::MethodNotAllowed,
    }
}

/// A body that reads two ways breaks off half-way, and it is not the upstream that did it.
fn blame(exchange: &Exchange, refusal: Refusal) -> Refusal {
    let is_chunked = || exchange.present.has(Present::TRANSFER_ENCODING);
    match (&refusal, exchange.peer.verdict.defect()) {
        (Refusal::Upstream(_) | Refusal::Malformed(_), Some(defect)) if is_chunked() => {
            Refusal::Malformed(defect.words())
        }
        _ => refusal,
    }
}

/// The answer to a request: the upstream's, or a refusal.
async fn respond(exchange: &mut Exchange, parts: Parts) -> Response<DownBody> {
    let answer = if strict::is_stand_in(&parts.method) {
        Err(unreadable(exchange))
    } else if exchange.peer.is_crowded() {
        Err(Refusal::Limited { retry_after: 1 })
    } else if let Err(full) = share::check_room(exchange) {
        Err(full)
    } else if sign_in::is_here(&parts.uri) {
        Box::pin(sign_in::serve(exchange, parts)).await
    } else if cors::may_be_preflight(exchange, &parts.headers) {
        match cors::preflight(exchange, &parts) {
            Ok(Some(response)) => return response,
            // Rare: boxed, so that the others do not reserve room for it twice.
            Ok(None) => Box::pin(proceed(exchange, parts)).await,
            Err(refusal) => Err(refusal),
        }
    } else {
        proceed(exchange, parts).await
    };
    let mut response = match answer {
        Ok(response) => response,
        Err(refusal) => {
            let refusal = identify::as_told(exchange, blame(exchange, refusal));
            let response = Box::pin(refuse::refuse(exchange, refusal)).await;
            // Whoever cannot be told why does not make the gate keep it.
            let is_told = !exchange.peer.window.is_tight();
            response.map(|body| if is_told { body } else { DownBody::whole(Bytes::new()) })
        }
    };
    if exchange.snapshot.bundle().catalog().is_shared() {
        cors::say(exchange, &mut response);
    }
    response
}

async fn proceed(exchange: &mut Exchange, parts: Parts) -> Result<Response<DownBody>, Refusal> {
    let admitted = admit(exchange, parts).await?;
    carry(exchange, admitted).await
}

/// Whatever went wrong went wrong for this request: 500, and on record.
async fn after_panic(exchange: &mut Exchange) -> Response<DownBody> {
    tracing::error!(request = %exchange.id, "the gate panicked over a request");
    exchange.core.forget_decisions();
    let refusal = Refusal::Unavailable(Unavailable::Internal);
    let refusing = pin!(refuse::refuse(exchange, refusal));
    caught(refusing).await.unwrap_or_else(|Panicked| {
        let mut response = Response::new(DownBody::whole(Bytes::new()));
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        refuse::mark(response.headers_mut(), &Refusal::Unavailable(Unavailable::Internal));
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
    })
}

/// Detect, identify, route, inspect, decide, perhaps wait and decide again, limit, record. Any error is
/// a refusal.
async fn admit(exchange: &mut Exchange, parts: Parts) -> Result<Admitted, Refusal> {
    let peer = &exchange.peer;
    let mut request = canonical::read(parts, exchange.present, peer.tls.as_ref(), &peer.last_host)?;
    exchange.reads_as(&request);
    exchange.spans.enter(Phase::Identify);
    let mut caller = identify::identify(exchange, &request.authority, &mut request.headers).await?;
    exchange.spans.enter(Phase::Route);
    let place = route::place(exchange, &mut request)?;
    caller.check_service(&place.service)?;
    // INVARIANT: what follows sees the headers that an upstream may get, and no others.
    exchange.nominated = filter::request::strip(&mut request.headers, request.present);
    if let Some(rules) = &exchange.header_rules {
        filter::rules::of_request(rules, &mut request.headers);
    }
    let operation = route::operation(exchange, &caller, &place, &request)?;
    exchange.spans.enter(Phase::Inspect);
    let Inspected { facts, payload } =
        inspect::inspect(exchange, &caller, &operation, &request).await?;
    let (pass, question, payload) =
        match decide::decide(exchange, &caller, operation, Some(&request), facts) {
            Ok((pass, question)) => (pass, question, payload),
            // Rare, large and long: boxed.
            Err(Refusal::Requestable(refused)) => {
                let hold = hold::hold(exchange, &mut caller, &mut request, payload, refused);
                Box::pin(hold).await?
            }
            Err(refusal) => return Err(refusal),
        };
    exchange.spans.enter(Phase::Limit);
    share::take(exchange)?;
    limit::admit(exchange, &pass).await?;
    decide::used(&exchange.core, &pass);
    if exchange.sight.is_some() {
        exchange.spans.enter(Phase::Reveal);
        reveal::decide(exchange, &question);
    }
    // Rare and large: boxed.
    let is_kept = pass.record().is_none()
        || request.speaks == Speaks::Tcp
        || Box::pin(content::keep(exchange, &pass, &request, &payload)).await.is_ok();
    if is_kept {
        record::intent(exchange, &pass).await?;
    } else {
        Box::pin(sealed::instead_of_record(exchange)).await?;
    }
    Ok(Admitted { pass, question, request, payload })
}

/// Filter request, forward, filter response, record the outcome.
async fn carry(exchange: &mut Exchange, admitted: Admitted) -> Result<Response<DownBody>, Refusal> {
    exchange.spans.enter(Phase::Connect);
    match admitted.request.speaks {
        Speaks::Http | Speaks::Grpc => forward::http::forward(exchange, admitted).await,
        // Rare and large: boxed, so that every idle connection does not reserve room for it.
        Speaks::WebSocket => Box::pin(forward::websocket::forward(exchange, admitted)).await,
        Speaks::Tcp => Box::pin(forward::tcp::forward(exchange, admitted)).await,
    }
}
