//! An HTTP service at a local address: what comes is sent to the gate in my name, and what the gate answers is
//! answered.
//!
//! HTTP/1.1 and HTTP/2 without TLS at the same port; each goes to the gate as what it came as, so that streams,
//! trailers and each WebSocket are what they were. Answers pass untouched. What of a refusal can be asked about is
//! told beside it.

use std::{
    convert::Infallible,
    error::Error,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version, header,
    uri::{PathAndQuery, Scheme},
};
use http_body_util::{BodyExt, Either, Full};
use hyper::{
    body::{Body, Incoming},
    service::service_fn,
    upgrade::OnUpgrade,
};
use hyper_util::{
    client::legacy,
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use portcullis_model::{InstanceName, Problem, Secret, ServiceName, Window, problem::PROBLEM_JSON};
use tokio::{io::copy_bidirectional, net::TcpStream, time::sleep};

use super::{
    Event, Teller,
    dial::{HttpClient, Place},
    door::{Closed, Door},
    head,
    refusal::{self, Refused},
};
use crate::cli::failure::Failure;

const INSTANCE: HeaderName = HeaderName::from_static("portcullis-instance");
const PREFER: HeaderName = HeaderName::from_static("prefer");
const GRANT: HeaderName = HeaderName::from_static("portcullis-grant");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A tool that has begun with a request ends its head.
const HEAD: Duration = Duration::from_mins(1);
/// An answer that needs no approval comes sooner.
const MOMENT: Duration = Duration::from_secs(1);
/// The most bytes of a refusal.
const MOST_REFUSAL: u64 = 64 * 1024;

/// What is answered: what came, or what was looked at.
type Answer = Either<Incoming, Full<Bytes>>;

/// One HTTP service at its local address.
#[derive(Debug)]
pub(super) struct Web {
    teller: Teller,
    door: Door,
    scheme: Scheme,
    place: Place,
    instance: Option<HeaderValue>,
    prefer: Option<HeaderValue>,
    /// The tool's own `Authorization` goes to the service.
    passes: bool,
    one: HttpClient,
    two: HttpClient,
    has_told_authorization: AtomicBool,
}

/// How an HTTP service is used.
#[derive(Debug, Clone, Default)]
pub(in crate::cli) struct Terms {
    /// Requests wait at the gate for an approval.
    pub(in crate::cli) wait: Option<Window>,
    /// A tool's own `Authorization` goes to the service.
    pub(in crate::cli) passes_authorization: bool,
    /// Hosts that are answered to beside the local address.
    pub(in crate::cli) names: Vec<String>,
}

/// Why a request does not get to the gate, or its answer not here.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Closed(#[from] Closed),
    #[error("there is no sign-in for {0}; what `portcullis` says on its terminal tells why")]
    NoSignIn(ServiceName),
    #[error("{0}")]
    Unreachable(String),
    #[error("it ends just now")]
    Over,
}

impl Web {
    /// To the service at `place`.
    pub(super) fn new(
        teller: Teller,
        place: Place,
        instance: Option<&InstanceName>,
        terms: &Terms,
        door: Door,
    ) -> Result<Self, Failure> {
        let text = |text: &str| {
            HeaderValue::try_from(text).map_err(|error| Failure::local("a header", &error))
        };
        let instance = instance.map(|name| text(name.as_str())).transpose()?;
        // RFC 7240.
        let prefer = terms.wait.map(|wait| text(&format!("wait={}", wait.get().as_secs())));
        Ok(Self {
            teller,
            door,
            scheme: if place.secure { Scheme::HTTPS } else { Scheme::HTTP },
            one: place.client(false)?,
            two: place.client(true)?,
            place,
            instance,
            prefer: prefer.transpose()?,
            passes: terms.passes_authorization,
            has_told_authorization: AtomicBool::new(false),
        })
    }

    /// Serves one connection of a tool to its end.
    pub(super) async fn serve(self: Arc<Self>, stream: TcpStream) {
        let _ = stream.set_nodelay(true);
        let service = service_fn(move |request| {
            let web = Arc::clone(&self);
            async move { Ok::<_, Infallible>(web.answer(request).await) }
        });
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
        builder.http2().timer(TokioTimer::new());
        // A tool that breaks off knows that itself.
        let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
    }

    async fn answer(&self, request: Request<Incoming>) -> Response<Answer> {
        match self.forward(request).await {
            Ok(answer) => answer,
            Err(trouble) => {
                if let Trouble::Unreachable(why) = &trouble {
                    self.teller.tell(Event::Unreachable(why.clone()));
                }
                unanswered(&trouble)
            }
        }
    }

    async fn forward(&self, mut request: Request<Incoming>) -> Result<Response<Answer>, Trouble> {
        self.door.check(request.method(), request.uri(), request.headers())?;
        let is_two = request.version() == Version::HTTP_2;
        let wanted = if is_two { None } else { head::upgrade(request.headers()) };
        let tool = wanted.as_ref().map(|_| hyper::upgrade::on(&mut request));
        let token = self.token().await?;
        let request = self.outward(request, wanted.as_ref(), &token);
        let client = if is_two { &self.two } else { &self.one };
        let answer = self.patiently(client.request(request)).await;
        let mut answer = answer.map_err(|error| {
            let (place, cause) = (&self.place.authority, innermost(&error));
            Trouble::Unreachable(format!(
                "cannot reach {place}: {cause}; is the gate there? --gate URL says where it is"
            ))
        })?;
        let is_switched = answer.status() == StatusCode::SWITCHING_PROTOCOLS;
        if let Some(tool) = tool.filter(|_| is_switched) {
            tokio::spawn(tie(tool, hyper::upgrade::on(&mut answer)));
        }
        let switched = is_switched.then(|| head::upgrade(answer.headers())).flatten();
        head::strip(answer.headers_mut(), switched.as_ref());
        Ok(self.look(answer, &token).await)
    }

    /// The request as the gate gets it.
    fn outward(
        &self,
        request: Request<Incoming>,
        upgrade: Option<&HeaderValue>,
        token: &Secret,
    ) -> Request<Incoming> {
        let (mut parts, body) = request.into_parts();
        let headers = &mut parts.headers;
        head::strip(headers, upgrade);
        // It was answered here.
        headers.remove(header::EXPECT);
        headers.remove(header::HOST);
        if head::authorize(headers, token, self.passes)
            && !self.has_told_authorization.swap(true, Ordering::Relaxed)
        {
            self.teller.tell(Event::Withheld);
        }
        if let Some(origin) = headers.get_mut(header::ORIGIN) {
            // The page's own: what it was loaded from is the service.
            let own = format!("{}://{}", self.scheme, self.place.authority);
            if let Ok(own) = HeaderValue::try_from(own) {
                *origin = own;
            }
        }
        if let Some(instance) = &self.instance {
            headers.insert(INSTANCE, instance.clone());
        }
        if let Some(prefer) = &self.prefer
            && !headers.contains_key(PREFER)
        {
            headers.insert(PREFER, prefer.clone());
        }
        let mut uri = http::uri::Parts::default();
        uri.scheme = Some(self.scheme.clone());
        uri.authority = Some(self.place.authority.clone());
        let target = parts.uri.path_and_query().cloned();
        uri.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
        let mut outward = Request::new(body);
        *outward.method_mut() = parts.method;
        // Of these parts every one is there, which is all that it takes.
        *outward.uri_mut() = Uri::from_parts(uri).unwrap_or_default();
        *outward.version_mut() =
            if parts.version == Version::HTTP_2 { Version::HTTP_2 } else { Version::HTTP_11 };
        *outward.headers_mut() = parts.headers;
        outward
    }

    async fn token(&self) -> Result<Secret, Trouble> {
        let token = self.teller.token().await.ok_or(Trouble::Over)?;
        token.map_err(Trouble::NoSignIn)
    }

    /// Waits for an answer, and says so where it waits for an approval.
    async fn patiently(&self, answering: legacy::ResponseFuture) -> Answered {
        let mut answering = std::pin::pin!(answering);
        if self.prefer.is_some() {
            tokio::select! {
                answer = &mut answering => return answer,
                () = sleep(MOMENT) => self.teller.tell(Event::Waits),
            }
        }
        answering.await
    }

    /// Looks at what the gate says beside the answer, or in its place.
    async fn look(&self, answer: Response<Incoming>, token: &Secret) -> Response<Answer> {
        let text = |name: HeaderName| {
            let value = answer.headers().get(name)?.to_str().ok();
            value.map(str::to_owned)
        };
        if let Some(grant) = text(GRANT) {
            self.teller.tell(Event::Opened(Some(grant)));
        }
        let Some(mark) = refusal::mark(answer.headers()) else { return answer.map(Either::Left) };
        let refused = |refused| {
            let refused = Box::new(refused);
            self.teller.tell(Event::Refused { refused, token: token.clone() });
        };
        if is_call(&answer) {
            refused(Refused::of_call(mark, text(GRPC_MESSAGE).as_deref()));
            return answer.map(Either::Left);
        }
        if !is_problem(&answer) {
            refused(Refused::of_answer(mark, answer.status(), b""));
            return answer.map(Either::Left);
        }
        let (parts, body) = answer.into_parts();
        let Ok(whole) = body.collect().await else {
            return unanswered(&Trouble::Unreachable(
                "the gate broke off in its answer".to_owned(),
            ));
        };
        let bytes = whole.to_bytes();
        refused(Refused::of_answer(mark, parts.status, &bytes));
        Response::from_parts(parts, Either::Right(Full::new(bytes)))
    }
}

type Answered = Result<Response<Incoming>, legacy::Error>;

/// Whether it is short, and says in JSON what is wrong.
fn is_problem(answer: &Response<Incoming>) -> bool {
    let headers: &HeaderMap = answer.headers();
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(PROBLEM_JSON.as_bytes()))
        && !headers.contains_key(header::CONTENT_ENCODING)
        && answer.body().size_hint().upper().is_some_and(|most| most <= MOST_REFUSAL)
}

/// Whether it answers a call of gRPC.
fn is_call(answer: &Response<Incoming>) -> bool {
    let kind = answer.headers().get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

/// Carries bytes both ways until either side is done, or cut.
async fn tie(tool: OnUpgrade, gate: OnUpgrade) {
    let Ok((tool, gate)) = tokio::try_join!(tool, gate) else { return };
    let _ = copy_bidirectional(&mut TokioIo::new(tool), &mut TokioIo::new(gate)).await;
}

/// What is answered here, and not by the gate.
fn unanswered(trouble: &Trouble) -> Response<Answer> {
    let (status, title) = match trouble {
        Trouble::Closed(Closed::Host) => (StatusCode::MISDIRECTED_REQUEST, "another place"),
        Trouble::Closed(Closed::CrossSite) => (StatusCode::FORBIDDEN, "another origin"),
        Trouble::Closed(Closed::Method) => (StatusCode::METHOD_NOT_ALLOWED, "no proxy"),
        Trouble::NoSignIn(_) => (StatusCode::BAD_GATEWAY, "no sign-in"),
        Trouble::Unreachable(_) | Trouble::Over => (StatusCode::BAD_GATEWAY, "no gate"),
    };
    let problem = Problem {
        kind: "about:blank".to_owned(),
        title: title.to_owned(),
        status: status.as_u16(),
        detail: Some(format!("portcullis connect: {trouble}")),
        ..Problem::default()
    };
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    let mut answer = Response::new(Either::Right(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    answer
}

/// The innermost of what went wrong: the outer ones say that something did.
fn innermost(error: &dyn Error) -> String {
    let mut cause = error;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string()
}
