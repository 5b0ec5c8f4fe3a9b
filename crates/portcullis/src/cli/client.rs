//! Calls to the control API.

use std::time::Duration;

use portcullis_model::{Problem, Secret};
use reqwest::{Method, RequestBuilder, StatusCode, redirect};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::failure::Failure;

/// The most bytes of a problem.
const MOST_PROBLEM: usize = 64 * 1024;
/// How long an answer without an end in sight may take.
const LONGEST_STREAM: Duration = Duration::from_hours(24);

/// An answer that was no problem.
#[derive(Debug)]
pub(crate) struct Fetched {
    pub(crate) status: StatusCode,
    pub(crate) body: Value,
}

impl Fetched {
    /// The body in its own shape.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_value(self.body.clone()).map_err(|error| not_understood(&error))
    }
}

/// An answer in a shape that is not known here.
pub(super) fn not_understood(error: &serde_json::Error) -> Failure {
    Failure::Unreachable(format!(
        "the server answers in a way that this version does not understand: {error}"
    ))
}

/// A problem, or no answer at all.
#[derive(Debug)]
pub(crate) enum CallError {
    Problem(Box<Problem>),
    Failure(Failure),
}

/// One server.
#[derive(Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: Url,
}

impl Client {
    pub(crate) fn new(url: Url) -> Result<Self, Failure> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            // A connection of HTTP/2 that has died in silence stays, and what is sent again goes the same way into
            // nothing. In HTTP/1.1 a call that is given up takes its connection with it.
            .http1_only()
            // The token must not follow a redirect to somewhere else.
            .redirect(redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .timeout(Duration::from_mins(1))
            .build()
            .map_err(|error| Failure::local("no HTTP client can be made", &error))?;
        Ok(Self { http, url })
    }

    /// The server's address.
    pub(super) const fn url(&self) -> &Url {
        &self.url
    }

    /// One call with a JSON answer; an empty answer is `null`.
    pub(crate) async fn call(
        &self,
        token: Option<&Secret>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Fetched, CallError> {
        self.read(self.request(token, method, path, body)).await
    }

    /// A call without a sign-in, with a proof of possession (RFC 9449).
    pub(crate) async fn call_with_proof(
        &self,
        proof: &str,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<Fetched, CallError> {
        let request = self.request(None, method, path, Some(body));
        self.read(request.header("DPoP", proof)).await
    }

    /// Where `path` is.
    pub(super) fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url.as_str().trim_end_matches('/'))
    }

    async fn read(&self, request: RequestBuilder) -> Result<Fetched, CallError> {
        let (status, bytes) = self.send(request).await?;
        if bytes.is_empty() {
            return Ok(Fetched { status, body: Value::Null });
        }
        let body = serde_json::from_slice(&bytes).map_err(|_| self.foreign(status))?;
        Ok(Fetched { status, body })
    }

    fn request(
        &self,
        token: Option<&Secret>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> RequestBuilder {
        let mut request = self.http.request(method, self.address(path));
        if let Some(token) = token {
            request = request.bearer_auth(token.expose());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        request
    }

    async fn send(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), CallError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
        if status.is_success() {
            Ok((status, bytes.to_vec()))
        } else {
            Err(self.problem(status, &bytes))
        }
    }

    fn problem(&self, status: StatusCode, bytes: &[u8]) -> CallError {
        match serde_json::from_slice(bytes) {
            Ok(problem) => CallError::Problem(Box::new(problem)),
            Err(_) => self.foreign(status),
        }
    }

    /// A file that is no longer than `most` bytes.
    pub(crate) async fn file(
        &self,
        token: Option<&Secret>,
        path: &str,
        most: usize,
    ) -> Result<Vec<u8>, CallError> {
        let request = self.request(token, Method::GET, path, None);
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let most = if status.is_success() { most } else { MOST_PROBLEM };
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            bytes.extend_from_slice(&part);
            if bytes.len() > most {
                return Err(CallError::Failure(Failure::Refused(format!(
                    "{} answers {path} with more than the {most} bytes that it can have",
                    self.url
                ))));
            }
        }
        if status.is_success() { Ok(bytes) } else { Err(self.problem(status, &bytes)) }
    }

    /// An answer of any length, part by part as it comes; an error if it breaks off.
    pub(crate) async fn stream(
        &self,
        token: Option<&Secret>,
        path: &str,
        mut write: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), CallError> {
        let request = self.request(token, Method::GET, path, None).timeout(LONGEST_STREAM);
        let mut response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        if !status.is_success() {
            let bytes = response.bytes().await.map_err(|error| self.unreachable(&error))?;
            return Err(self.problem(status, &bytes));
        }
        while let Some(part) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            write(&part).map_err(CallError::Failure)?;
        }
        Ok(())
    }

    fn unreachable(&self, error: &reqwest::Error) -> CallError {
        let mut cause: &dyn std::error::Error = error;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let message = format!("cannot reach {}: {cause}; is the server running?", self.url);
        CallError::Failure(Failure::Unreachable(message))
    }

    fn foreign(&self, status: StatusCode) -> CallError {
        let message = format!(
            "{} answered {status} and not as a Portcullis control server; check the URL",
            self.url
        );
        CallError::Failure(Failure::Unreachable(message))
    }
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        match error {
            CallError::Problem(problem) => Self::of_problem(&problem),
            CallError::Failure(failure) => failure,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Read, net::TcpListener};

    use super::*;

    #[tokio::test]
    async fn http1_is_all_that_is_offered_so_that_what_is_sent_again_goes_another_way() {
        let _installed_before = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("https://{}", listener.local_addr().unwrap());
        let greeted = std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut record = [0; 5];
            stream.read_exact(&mut record).unwrap();
            let mut hello = vec![0; usize::from(u16::from_be_bytes([record[3], record[4]]))];
            stream.read_exact(&mut hello).unwrap();
            hello
        });
        let client = Client::new(Url::parse(&url).unwrap()).unwrap();
        assert!(client.call(None, Method::GET, "/v1/whoami", None).await.is_err());
        let hello = greeted.join().unwrap();
        // The extension, its length, and a list with this alone (RFC 7301).
        let offer = b"\x00\x10\x00\x0b\x00\x09\x08http/1.1";
        assert!(hello.windows(offer.len()).any(|part| part == offer), "{hello:x?}");
    }
}
