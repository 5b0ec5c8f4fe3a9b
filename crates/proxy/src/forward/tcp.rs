//! TCP services: bytes both ways once it is decided, on record and connected, and none before.
//!
//! Through an ordinary listener by HTTP Upgrade, in frames (see [`crate::tunnel`]); through a direct port as
//! they are (see [`crate::serve::direct`]).

use std::{rc::Rc, time::Duration};

use ::http::{HeaderValue, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use portcullis_model::{InstanceName, Refusal, refusal::Unavailable};
use portcullis_policy::Pass;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{consume, first_reached, grant_header, opening, pick};
use crate::{
    body::{DownBody, in_words},
    connection::{Opening, Watch},
    decide::Question,
    exchange::Exchange,
    filter,
    ports::ConnectionEnd,
    record,
    serve::Admitted,
    share::Share,
    tunnel::{Broken, Inward, Outward, PROTOCOL, Wire},
    upstream::{Duplex, Tunnelled, Turn},
};

/// How long the client of a connection that is cut may take to be told why.
const LAST_WORDS: Duration = Duration::from_millis(400);

/// How long what an upstream said before it went may take to its client.
const REST: Duration = Duration::from_secs(5);

/// A connection to an upstream that somebody may use.
pub(crate) struct Opened {
    upstream: Box<dyn Duplex>,
    counted: Tunnelled,
    opening: Box<Opening>,
    pub(crate) instance: InstanceName,
    pub(crate) pass: Pass,
}

/// Connects, decides again where a use is spent, and spends it.
pub(crate) async fn open(
    exchange: &mut Exchange,
    pass: Pass,
    question: &Rc<Question>,
) -> Result<Opened, Refusal> {
    let (instance, upstream, counted) = connect(exchange, question).await?;
    let pass = consume::consume(exchange, question, pass).await?;
    let mut opening = opening(exchange, &pass, question, &instance, "tcp");
    let catalog = exchange.snapshot.bundle().catalog();
    let service = catalog.service(&question.resource.service);
    let bounds = service.and_then(|service| service.source().tcp());
    opening.bounds = bounds;
    Ok(Opened { upstream, counted, opening, instance, pass })
}

/// The instance that answers, and a connection to it: to another one where the first cannot be reached.
async fn connect(
    exchange: &Exchange,
    question: &Question,
) -> Result<(InstanceName, Box<dyn Duplex>, Tunnelled), Refusal> {
    let upstreams = &exchange.core.upstreams;
    let turn = pick(exchange, question).await?;
    let connect = async |turn: Turn| {
        let instance = turn.endpoint().name().clone();
        let (upstream, counted) = upstreams.connect_bare(turn).await?;
        Ok((instance, upstream, counted))
    };
    first_reached(exchange, question, turn, connect).await
}

/// Answers an Upgrade with 101, and carries what follows.
pub(crate) async fn forward(
    exchange: &mut Exchange,
    admitted: Admitted,
) -> Result<Response<DownBody>, Refusal> {
    let upgrade = exchange.upgrade.take().ok_or(Refusal::Unavailable(Unavailable::Internal))?;
    let opened = open(exchange, admitted.pass, &admitted.question).await?;
    let mut response = Response::new(DownBody::whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    filter::response::filter(headers, &exchange.id_header, grant_header(&opened.pass));
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(PROTOCOL));
    let Opened { upstream, counted, opening, instance, .. } = opened;
    let watch = opening.open();
    record::outcome(exchange, StatusCode::SWITCHING_PROTOCOLS, &instance, Some(watch.id));
    let share = exchange.share.take().map(Share::into_tunnel);
    tokio::task::spawn_local(async move {
        let (_counted, _carried) = ((counted, share), Carried(Rc::clone(&watch)));
        let client = tokio::select! {
            client = upgrade => client.ok(),
            _ = watch.must_end() => None,
        };
        let Some(client) = client else {
            upstream.reset();
            return watch.over(ConnectionEnd::ClientGone);
        };
        let (_, ended) = carry(TokioIo::new(client), upstream, Wire::Framed, &watch).await;
        watch.over(ended);
    });
    Ok(response)
}

impl Opened {
    /// Carries bytes between the upstream and `client` as they are, to their end.
    pub(crate) async fn carry<C: Duplex>(self, exchange: &Exchange, client: C) {
        let watch = self.opening.open();
        let status = StatusCode::SWITCHING_PROTOCOLS;
        record::outcome(exchange, status, &self.instance, Some(watch.id));
        let _carried = Carried(Rc::clone(&watch));
        let (client, ended) = carry(client, self.upstream, Wire::Plain, &watch).await;
        if ended != ConnectionEnd::Finished {
            client.reset();
        }
        watch.over(ended);
    }
}

/// A connection that is carried. Should that be broken off, it is over, and whoever waits for that hears of it.
struct Carried(Rc<Watch>);

impl Drop for Carried {
    fn drop(&mut self) {
        self.0.over(ConnectionEnd::ClientGone);
    }
}

/// Carries a connection to its end; returns the client's side, and why it ended.
async fn carry<C: AsyncRead + AsyncWrite + Unpin>(
    client: C,
    upstream: Box<dyn Duplex>,
    wire: Wire,
    watch: &Watch,
) -> (C, ConnectionEnd) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    let mut up = Inward::new(from_client, to_upstream, wire);
    let mut down = Outward::new(from_upstream, to_client, wire);
    let ended = {
        let up =
            async { up.pass(|read| watch.may_go_up(read)).await.map_err(|why| of_client(&why)) };
        let down = async {
            down.pass(|read| watch.may_go_down(read)).await.map_err(|why| of_upstream(&why))
        };
        tokio::select! {
            // INVARIANT: who is cut gets nothing more, however much is there to pass.
            biased;
            why = watch.must_end() => why,
            passed = async { tokio::try_join!(up, down) } => match passed {
                Ok(_) => ConnectionEnd::Finished,
                Err(why) => why,
            },
        }
    };
    if ended == ConnectionEnd::UpstreamGone {
        // It takes nothing more, and why is in its last words: they are behind what the client still sends.
        tokio::select! {
            biased;
            _ = watch.must_end() => {}
            _ = tokio::time::timeout(REST, down.rest(|read| watch.may_go_down(read))) => {}
        }
    }
    let ended = watch.cut_as().unwrap_or(ended);
    if ended != ConnectionEnd::Finished {
        let _ = tokio::time::timeout(LAST_WORDS, down.close(in_words(ended))).await;
    }
    let ((mut from_client, to_upstream), (from_upstream, to_client)) =
        (up.into_ends(), down.into_ends());
    if ended != ConnectionEnd::Finished {
        from_upstream.unsplit(to_upstream).reset();
        if wire == Wire::Framed {
            // A connection that is closed with bytes unread is reset, and the client may miss why.
            let mut nowhere = tokio::io::sink();
            let unread = tokio::io::copy(&mut from_client, &mut nowhere);
            let _ = tokio::time::timeout(LAST_WORDS, unread).await;
        }
    }
    (from_client.unsplit(to_client), ended)
}

/// What went wrong on the way up.
fn of_client(broken: &Broken) -> ConnectionEnd {
    match broken {
        Broken::Source | Broken::Malformed | Broken::Closed(_) => ConnectionEnd::ClientGone,
        Broken::Sink => ConnectionEnd::UpstreamGone,
        Broken::Bound => ConnectionEnd::TooMuch,
    }
}

/// And on the way down.
fn of_upstream(broken: &Broken) -> ConnectionEnd {
    match broken {
        Broken::Source | Broken::Malformed | Broken::Closed(_) => ConnectionEnd::UpstreamGone,
        Broken::Sink => ConnectionEnd::ClientGone,
        Broken::Bound => ConnectionEnd::TooMuch,
    }
}
