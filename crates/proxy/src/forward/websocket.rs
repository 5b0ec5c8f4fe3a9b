//! Web sockets: a tunnel after a 101 and never before, cut with a close frame that says why.

mod frames;
mod messages;
mod tunnel;

use std::{rc::Rc, time::Instant};

use ::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use hyper::body::Incoming;
use portcullis_model::{
    Refusal,
    refusal::{Unavailable, UpstreamTrouble},
};

use self::messages::Messages;
use super::{Outgoing, blame, connect, consume, deadline::Deadline, grant_header, masked, opening};
use crate::{
    body::{DownBody, Download, UpBody, Whole},
    exchange::Exchange,
    filter, record, reveal,
    serve::Admitted,
    share::Share,
    upstream::{Kind, Sent},
};

const ACCEPT: HeaderName = HeaderName::from_static("sec-websocket-accept");

/// Forwards a handshake; tunnels if the upstream agrees, and answers as it did if not.
pub(crate) async fn forward(
    exchange: &mut Exchange,
    admitted: Admitted,
) -> Result<Response<DownBody>, Refusal> {
    let Admitted { pass, question, request: canonical, .. } = admitted;
    let upgrade = exchange.upgrade.take().ok_or(Refusal::Unavailable(Unavailable::Internal))?;
    let destination = connect(exchange, &question, Kind::Upgradable).await?;
    let pass = consume::consume(exchange, &question, pass).await?;
    let mut opening = opening(exchange, &pass, &question, &destination.instance, "websocket");
    let body = UpBody::Whole(Whole::new(bytes::Bytes::new(), None));
    let mut lane = destination.lane;
    let mut request = Outgoing::new(exchange, &pass, canonical, body)?.over(&lane);
    ask_for_upgrade(request.headers_mut());
    if masked::rules(exchange).is_some() {
        // What is packed by an extension could not be looked into.
        request.headers_mut().remove(header::SEC_WEBSOCKET_EXTENSIONS);
    }
    let most = lane.endpoint().service().settings.timeouts.request.get();
    let begun = Instant::now();
    let sent = tokio::time::timeout(most, lane.send(request)).await;
    let mut response = match sent {
        Ok(Sent::Answered(response)) => response,
        Ok(Sent::Broken(error)) => return Err(blame(&mut lane, &error)),
        Ok(Sent::Unsent(_)) => return Err(Refusal::Upstream(UpstreamTrouble::Broken)),
        Err(_) => {
            lane.blame();
            return Err(Refusal::Upstream(UpstreamTrouble::TimedOut));
        }
    };
    lane.answered(response.status());
    let grant = grant_header(&pass);
    reveal::look_again(exchange);
    reveal::watched(exchange, None, Some(&mut opening));
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let (mut head, incoming) = response.into_parts();
        let masking = masked::examine(exchange, &mut head)?;
        let withheld = super::filter_answer(exchange, &mut head.headers, grant);
        let download = declined(incoming, opening).without(withheld);
        let body = match masking {
            None => DownBody::Streaming(download),
            Some(masking) => {
                let left = Deadline::AfterUpload(most).left(Some(begun));
                masking.begin(download, &question, left).await?
            }
        };
        record::outcome(exchange, head.status, &destination.instance, None);
        return Ok(Response::from_parts(head, body));
    }
    if !is_websocket(response.headers()) {
        return Err(Refusal::Upstream(UpstreamTrouble::Broken));
    }
    let upstream = hyper::upgrade::on(&mut response);
    let masking = masking(exchange, &mut response)?;
    super::filter_answer(exchange, response.headers_mut(), grant);
    ask_for_upgrade(response.headers_mut());
    let watch = opening.open();
    let connection = Some(watch.id);
    record::outcome(exchange, StatusCode::SWITCHING_PROTOCOLS, &destination.instance, connection);
    let share = exchange.share.take().map(Share::into_tunnel);
    let counted = (lane.into_tunnel(), share);
    let run = tunnel::run(upgrade, upstream, Rc::clone(&watch), masking, counted);
    tokio::task::spawn_local(run);
    Ok(response.map(|_| DownBody::whole(bytes::Bytes::new())))
}

/// The upstream did not agree: its answer is an ordinary one. Its connection is not used again, as it
/// may take what comes next for bytes of a tunnel.
fn declined(body: Incoming, mut opening: Box<crate::connection::Opening>) -> Download {
    opening.protocol = "http";
    Download::new(body, None, None, Some(opening))
}

/// How the messages of an upstream that agreed are masked, if they are. One that uses an extension which it
/// was not offered is refused.
fn masking(
    exchange: &Exchange,
    response: &mut Response<Incoming>,
) -> Result<Option<Box<Messages>>, Refusal> {
    let Some(rules) = masked::rules(exchange) else { return Ok(None) };
    if response.headers().contains_key(header::SEC_WEBSOCKET_EXTENSIONS) {
        return Err(Refusal::Upstream(UpstreamTrouble::Opaque));
    }
    filter::mask::head::of_upgrade(response, &rules);
    Ok(Some(Box::new(Messages::new(rules, reveal::met(exchange)))))
}

fn ask_for_upgrade(headers: &mut HeaderMap) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
}

/// RFC 6455 section 4.1: what a server that agreed must say.
fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(ACCEPT)
}
