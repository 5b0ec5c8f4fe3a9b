//! One connection's turn to carry one request.

use std::{pin::Pin, rc::Weak, sync::Arc};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header, uri::PathAndQuery};
use hyper::{
    body::{Body as _, Incoming},
    client::conn::{TrySendError, http1},
};
use portcullis_model::refusal::UpstreamTrouble;
use tokio::task::AbortHandle;

use super::{
    Endpoint, Turn,
    counted::Counted,
    shared::{Shared, Stream},
    tls::HangsOn,
};
use crate::{
    body::UpBody,
    serve::strict::{Asked, Verdict},
};

/// An HTTP/1.1 connection: where requests go in, and what its reader is told of them.
#[derive(Debug)]
pub(crate) struct Line {
    pub(super) sender: http1::SendRequest<UpBody>,
    /// What reads and writes it.
    pub(super) carrier: AbortHandle,
    pub(super) verdict: Arc<Verdict>,
    pub(super) hangs_on: HangsOn,
    pub(super) counted: Weak<Counted>,
}

impl Line {
    /// Nobody will use it.
    pub(super) fn close(self) {
        if let Some(counted) = self.counted.upgrade() {
            counted.end();
        }
    }

    /// What the answer to `request` may be is known before the answer can be there.
    fn ask(&self, request: &Request<UpBody>) {
        self.verdict.ask(match *request.method() {
            Method::HEAD => Asked::Head,
            _ if request.headers().contains_key(header::UPGRADE) => Asked::Upgrade,
            _ => Asked::Plain,
        });
    }
}

type Answer = Result<Response<Incoming>, TrySendError<Request<UpBody>>>;

/// A fresh connection.
#[derive(Debug)]
pub(super) enum Sender {
    /// HTTP/1.1.
    Http1(Line),
    /// HTTP/2.
    Http2(Shared),
}

/// A connection that can carry one request.
#[derive(Debug)]
pub(crate) enum Channel {
    /// Exclusive.
    Http1(Line),
    /// Shared.
    Http2(Stream),
}

/// What a connection has been doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Age {
    /// Nothing has been answered on it yet.
    Fresh,
    /// It has carried others before, and has rested since: it may have been closed.
    Rested,
    /// It has carried others a moment ago.
    Busy,
}

/// One connection's turn to carry one request.
#[derive(Debug)]
pub(crate) struct Lane {
    turn: Turn,
    channel: Channel,
    age: Age,
    /// Its instance has been blamed for how it went.
    blamed: bool,
}

/// A connection that carries a tunnel, as it is counted.
#[derive(Debug)]
pub(crate) struct Tunnelled {
    _turn: Turn,
    _connection: Counted,
}

impl Tunnelled {
    /// For a connection that is about to be made, if there may be one more.
    pub(super) fn new(turn: Turn) -> Result<Self, UpstreamTrouble> {
        let connection = Counted::room(turn.endpoint())?;
        Ok(Self { _connection: connection, _turn: turn })
    }
}

/// How sending went.
#[derive(Debug)]
pub(crate) enum Sent {
    /// A response head.
    Answered(Response<Incoming>),
    /// A pooled connection was closed before anything of the request left: here it is again.
    Unsent(Box<Request<UpBody>>),
    /// Broken off.
    Broken(hyper::Error),
}

impl Lane {
    pub(super) fn new(turn: Turn, channel: Channel, age: Age) -> Self {
        Self { turn, channel, age, blamed: false }
    }

    /// Where it leads.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        self.turn.endpoint()
    }

    /// Its connection is handed over: what counts it from now on.
    pub(crate) fn into_tunnel(self) -> Tunnelled {
        self.endpoint().succeeded();
        Tunnelled { _connection: Counted::connection(self.turn.endpoint()), _turn: self.turn }
    }

    /// Whether there is cause to keep what is sent over it, as it may have to be sent again. A
    /// connection that carried others a moment ago, to a service where nothing went wrong, gives none.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.age != Age::Busy || self.turn.is_wary()
    }

    /// An answer with this status came: some say that there is nobody behind the instance.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.heard();
        if let StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT = status
        {
            self.blame();
        }
    }

    /// A shared connection is alive; one over HTTP/1.1 is kept when its answer is over.
    fn heard(&self) {
        if let Channel::Http2(stream) = &self.channel {
            stream.heard(self.endpoint().now());
        }
    }

    /// No answer came, or none that could be used.
    pub(crate) fn blame(&mut self) {
        if !std::mem::replace(&mut self.blamed, true) {
            self.endpoint().failed();
        }
    }

    /// Brings a request into the form that this connection's protocol wants.
    pub(crate) fn address(
        &self,
        request: &mut Request<UpBody>,
        target: PathAndQuery,
        authority: &HeaderValue,
    ) {
        match &self.channel {
            Channel::Http1(_) => {
                *request.version_mut() = http::Version::HTTP_11;
                *request.uri_mut() = Uri::from(target);
                request.headers_mut().insert(header::HOST, authority.clone());
                join_cookies(request);
                frame(request);
            }
            Channel::Http2(_) => {
                *request.version_mut() = http::Version::HTTP_2;
                let scheme = match self.endpoint().place().scheme {
                    super::endpoint::Scheme::Https => "https",
                    super::endpoint::Scheme::Http | super::endpoint::Scheme::H2c => "http",
                };
                let uri = Uri::builder().scheme(scheme).authority(authority.as_bytes());
                if let Ok(uri) = uri.path_and_query(target).build() {
                    *request.uri_mut() = uri;
                }
                request.headers_mut().remove(header::HOST);
            }
        }
    }

    /// Whether it speaks HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        matches!(self.channel, Channel::Http2(_))
    }

    /// Hands `request` to the connection, and returns what waits for the head of its answer.
    ///
    /// Not an `async fn`: the request, which is large, moves on before there is a future to hold it.
    pub(crate) fn send(
        &mut self,
        mut request: Request<UpBody>,
    ) -> Pin<Box<dyn Future<Output = Sent>>> {
        match &mut self.channel {
            Channel::Http1(line) => {
                line.ask(&request);
                request.body().carried_by(&line.carrier);
                let reused = self.age != Age::Fresh;
                let sending = line.sender.try_send_request(request);
                Box::pin(async move { sent(sending.await, reused) })
            }
            Channel::Http2(stream) => {
                request.body_mut().carried_among(stream.carriers());
                let sending = stream.sender.try_send_request(request);
                Box::pin(async move { sent(sending.await, true) })
            }
        }
    }

    /// Its request is answered completely: the next one may have it.
    pub(crate) fn give_back(self) {
        if !self.blamed {
            self.endpoint().succeeded();
        }
        self.heard();
        let (turn, Channel::Http1(mut line)) = (self.turn, self.channel) else { return };
        if line.sender.is_ready() {
            return turn.endpoint().keep(line);
        }
        // The connection still has something to do, such as reading an end of chunks: rare.
        tokio::task::spawn_local(async move {
            if std::future::poll_fn(|cx| line.sender.poll_ready(cx)).await.is_ok() {
                turn.endpoint().keep(line);
            }
        });
    }
}

fn sent(answer: Answer, reused: bool) -> Sent {
    match answer {
        Ok(response) => Sent::Answered(response),
        Err(mut error) => match error.take_message() {
            Some(request) if reused => Sent::Unsent(Box::new(request)),
            Some(_) | None => Sent::Broken(error.into_error()),
        },
    }
}

/// HTTP/2 may split cookies into several fields; HTTP/1.1 has one (RFC 9113 section 8.2.3).
fn join_cookies(request: &mut Request<UpBody>) {
    let cookies = request.headers().get_all(header::COOKIE);
    if cookies.iter().nth(1).is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = cookies.iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        request.headers_mut().insert(header::COOKIE, joined);
    }
}

/// A body of unknown length is chunked, whatever the method: without framing it would be lost, and
/// the upstream would see another request than was decided.
fn frame(request: &mut Request<UpBody>) {
    let body = request.body();
    if body.is_end_stream() {
        return;
    }
    if body.size_hint().exact().is_none() {
        request.headers_mut().remove(header::CONTENT_LENGTH);
        let chunked = HeaderValue::from_static("chunked");
        request.headers_mut().insert(header::TRANSFER_ENCODING, chunked);
    }
}
