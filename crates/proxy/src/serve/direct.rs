//! Direct ports: a TLS connection with a client certificate that leads to a TCP service, and no request.
//!
//! The phases are those of any request, with what the handshake says in its place. A refusal is on record like
//! any other; the caller is not told why, since whatever is spoken inside has no word for it, and its connection
//! is closed.

use std::{pin::pin, rc::Rc};

use http::{Method, Request};
use portcullis_model::{Refusal, ServiceName, refusal::Unavailable};
use tokio::io::AsyncWriteExt;

use crate::{
    canonical::Authority,
    caught::{Panicked, caught},
    core::Core,
    decide,
    exchange::Exchange,
    forward::tcp::{self, Opened},
    gate::Direct,
    identify, inspect,
    inspect::Inspected,
    limit,
    listener::Peer,
    record,
    refuse::problem,
    route::{self, Place},
    share::{self, Share},
    spans::Phase,
    upstream::Duplex,
};

/// Serves one connection to its end.
pub(crate) async fn serve<S: Duplex>(core: Rc<Core>, peer: Rc<Peer>, to: &Direct, mut stream: S) {
    // While it lives, it does not rest.
    let _turn = peer.serve();
    core.work.came(crate::busy_poll::Piece::Request);
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.method = Method::CONNECT;
    let mut exchange = Exchange::begin(core, peer, &mut parts, None);
    exchange.target = None;
    let admitted = {
        let admitting = pin!(admit(&mut exchange, to));
        caught(admitting).await
    };
    let admitted = admitted.unwrap_or_else(|Panicked| {
        tracing::error!(request = %exchange.id, "the gate panicked over a connection");
        exchange.core.forget_decisions();
        Err(Refusal::Unavailable(Unavailable::Internal))
    });
    match admitted {
        Ok(opened) => {
            // For as long as it lives, it counts for whom it is and for nothing else.
            let _share = exchange.share.take().map(Share::into_tunnel);
            exchange.spans.enter(Phase::Forward);
            opened.carry(&exchange, stream).await;
        }
        Err(refusal) => {
            let refusal = identify::as_told(&exchange, refusal);
            // INVARIANT: it is on record before the caller can know of it.
            if record::refused(&exchange, &refusal, problem::status(&refusal)).is_err() {
                tracing::error!("a refused connection could not be put on record");
            }
            let _ = stream.shutdown().await;
        }
    }
}

/// Identify, route, decide, limit, record, connect. Any error is a refusal.
async fn admit(exchange: &mut Exchange, to: &Direct) -> Result<Opened, Refusal> {
    if let Some(name) = server_name(exchange) {
        exchange.leads_to(Rc::new(name));
    }
    exchange.spans.enter(Phase::Identify);
    let caller = identify::by_certificate(exchange)?;
    exchange.spans.enter(Phase::Route);
    let place = place(exchange, to)?;
    caller.check_service(&place.service)?;
    let snapshot = exchange.snapshot.clone();
    let service = snapshot.bundle().catalog().service(&place.service).ok_or(Refusal::NotFound)?;
    let resource = portcullis_model::Resource { service: place.service, instance: place.instance };
    let operation = route::connection(exchange, &caller, service, resource, true)?;
    let principal = &caller.identity.subject.principal().id;
    let Inspected { facts, .. } = inspect::connection(principal, &operation);
    let (pass, question) = decide::decide(exchange, &caller, operation, None, facts)?;
    exchange.spans.enter(Phase::Limit);
    share::take(exchange)?;
    limit::admit(exchange, &pass).await?;
    decide::used(&exchange.core, &pass);
    record::intent(exchange, &pass).await?;
    exchange.spans.enter(Phase::Connect);
    tcp::open(exchange, pass, &question).await
}

/// The name that the client called this server by, if it is one.
fn server_name(exchange: &Exchange) -> Option<Authority> {
    let name = exchange.peer.tls.as_ref()?.0.as_deref()?;
    Authority::parse(name, 443)
}

/// Where the connection leads.
fn place(exchange: &mut Exchange, to: &Direct) -> Result<Place, Refusal> {
    let place = match to {
        Direct::Service(service) => Place { service: service.clone(), instance: None },
        Direct::ServerName => {
            let snapshot = exchange.snapshot.clone();
            let routed = snapshot.bundle().catalog().route(exchange.host(), "/");
            let routed = routed.filter(|routed| routed.service.connect().is_some());
            let routed = routed.ok_or(Refusal::NotFound)?;
            let service: ServiceName = routed.service.source().name.clone();
            Place { service, instance: routed.instance.cloned() }
        }
    };
    exchange.service = Some(place.service.clone());
    exchange.instance.clone_from(&place.instance);
    Ok(place)
}
