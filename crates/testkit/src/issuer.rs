//! An OpenID issuer on a port of its own, which can be made to misbehave.

use std::{
    collections::BTreeMap,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::{net::bind_loopback, serve::Server};

mod keys;
mod token;

pub use keys::SigningKey;
pub use token::TokenDraft;

/// What the issuer does instead of answering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Answers 500.
    InternalError,
    /// Answers 200 with a page for browsers.
    Html,
    /// Answers 200 with 10 MB of JSON white space before the document.
    TenMegabytes,
    /// Redirects to this address.
    Redirect(String),
    /// Answers after this time.
    Slow(Duration),
    /// Closes every connection as soon as it is open.
    Down,
}

/// A running issuer. Stops when dropped.
#[derive(Debug)]
pub struct Issuer {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    url: String,
    inner: Mutex<Inner>,
    discoveries: AtomicUsize,
    key_fetches: AtomicUsize,
}

#[derive(Debug)]
struct Inner {
    keys: Vec<Arc<SigningKey>>,
    published: Vec<Value>,
    discovery: Map<String, Value>,
    fault: Option<Fault>,
    pages: BTreeMap<String, (StatusCode, Value)>,
    calls: Vec<Call>,
}

/// A request to one of the pages that a test set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Its path.
    pub path: String,
    /// Its `Authorization`.
    pub authorization: Option<String>,
    /// Its body.
    pub body: String,
}

impl Issuer {
    /// Starts one with an ES256 key named `key-1`.
    pub fn start() -> Self {
        Self::start_with(bind_loopback(), SigningKey::generate("key-1", "ES256"))
    }

    /// Starts one with a key of `alg` named `key-1`.
    pub fn start_signing(alg: &'static str) -> Self {
        Self::start_with(bind_loopback(), SigningKey::generate("key-1", alg))
    }

    /// Starts one on `port`, where nothing answered so far.
    pub fn start_at(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("the port is free");
        Self::start_with(listener, SigningKey::generate("key-1", "ES256"))
    }

    fn start_with(listener: TcpListener, key: SigningKey) -> Self {
        let address = listener.local_addr().expect("a bound listener has an address");
        let url = format!("http://{address}");
        let inner = Inner {
            published: vec![key.jwk()],
            keys: vec![Arc::new(key)],
            discovery: discovery(&url),
            fault: None,
            pages: BTreeMap::new(),
            calls: Vec::new(),
        };
        let state = Arc::new(State {
            url,
            inner: Mutex::new(inner),
            discoveries: AtomicUsize::new(0),
            key_fetches: AtomicUsize::new(0),
        });
        let serving = Arc::clone(&state);
        Self { server: Server::start(listener, move |listener| accept(listener, serving)), state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Its `iss`: `http://127.0.0.1:<port>`, without a slash at the end.
    pub fn url(&self) -> &str {
        &self.state.url
    }

    /// A sound token of now: audience `portcullis`, subject `builder`, five minutes.
    pub fn token(&self, now: Timestamp) -> TokenDraft {
        TokenDraft::new(self.url(), self.key(), now.as_second())
    }

    /// The key that signs at the moment.
    pub fn key(&self) -> Arc<SigningKey> {
        Arc::clone(self.state.lock().keys.last().expect("an issuer has a key"))
    }

    /// Signs with `key` from now on, and publishes it beside the earlier ones.
    pub fn rotate(&self, key: SigningKey) {
        let mut inner = self.state.lock();
        inner.published.push(key.jwk());
        inner.keys.push(Arc::new(key));
    }

    /// Publishes exactly these keys from now on.
    pub fn publish(&self, keys: Vec<Value>) {
        self.state.lock().published = keys;
    }

    /// Sets a field of the discovery document, to a value of any type.
    pub fn set_discovery(&self, name: &str, value: impl Into<Value>) {
        self.state.lock().discovery.insert(name.to_owned(), value.into());
    }

    /// Answers requests for `path` like this from now on.
    pub fn set_page(&self, path: &str, status: u16, body: impl Into<Value>) {
        let status = StatusCode::from_u16(status).expect("a status");
        self.state.lock().pages.insert(path.to_owned(), (status, body.into()));
    }

    /// The requests for pages so far.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.clone()
    }

    /// Misbehaves from now on, or stops to.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.state.lock().fault = fault;
    }

    /// How often the discovery document was asked for.
    pub fn discoveries(&self) -> usize {
        self.state.discoveries.load(Ordering::SeqCst)
    }

    /// How often the keys were asked for.
    pub fn key_fetches(&self) -> usize {
        self.state.key_fetches.load(Ordering::SeqCst)
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn discovery(url: &str) -> Map<String, Value> {
    let document = json!({
        "issuer": url,
        "jwks_uri": format!("{url}/jwks"),
        "response_types_supported": ["code"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256", "ES384", "EdDSA", "RS256", "PS256"],
    });
    document.as_object().cloned().unwrap_or_default()
}

async fn accept(listener: tokio::net::TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        if state.lock().fault == Some(Fault::Down) {
            continue;
        }
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Arc::clone(&state)));
            // A client that goes away is no matter of the issuer's.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    state: Arc<State>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    if state.lock().fault == Some(Fault::Down) {
        // Connections that were open before it went down break off too.
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let document = match request.uri().path() {
        "/.well-known/openid-configuration" => {
            state.discoveries.fetch_add(1, Ordering::SeqCst);
            Value::Object(state.lock().discovery.clone())
        }
        "/jwks" => {
            state.key_fetches.fetch_add(1, Ordering::SeqCst);
            json!({"keys": state.lock().published})
        }
        _ => return page(request, &state).await,
    };
    let fault = state.lock().fault.clone();
    Ok(spoil(fault, document.to_string()).await)
}

async fn page(request: Request<Incoming>, state: &State) -> io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = head.uri.path().to_owned();
    let authorization = head.headers.get(header::AUTHORIZATION);
    let authorization = authorization.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = String::from_utf8_lossy(&body).into_owned();
    let (fault, (status, answer)) = {
        let mut inner = state.lock();
        let found = inner.pages.get(&path).cloned();
        inner.calls.push(Call { path, authorization, body });
        (inner.fault.clone(), found.unwrap_or((StatusCode::NOT_FOUND, json!({}))))
    };
    Ok(match fault {
        None => reply(status, "application/json", answer.to_string()),
        fault => spoil(fault, answer.to_string()).await,
    })
}

async fn spoil(fault: Option<Fault>, document: String) -> Response<Full<Bytes>> {
    const JSON: &str = "application/json";
    match fault {
        None | Some(Fault::Down) => reply(StatusCode::OK, JSON, document),
        Some(Fault::InternalError) => {
            reply(StatusCode::INTERNAL_SERVER_ERROR, JSON, "{\"error\": \"server_error\"}".into())
        }
        Some(Fault::Html) => {
            reply(StatusCode::OK, "text/html", "<!doctype html><title>Sorry</title>".into())
        }
        Some(Fault::TenMegabytes) => {
            reply(StatusCode::OK, JSON, format!("{}{document}", " ".repeat(10_000_000)))
        }
        Some(Fault::Redirect(to)) => {
            let mut response = reply(StatusCode::FOUND, JSON, document);
            let location = to.parse().expect("a redirect needs an address");
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Some(Fault::Slow(by)) => {
            tokio::time::sleep(by).await;
            reply(StatusCode::OK, JSON, document)
        }
    }
}

fn reply(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    response
}
