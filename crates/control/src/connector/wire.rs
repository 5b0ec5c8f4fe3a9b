//! How another system is asked: calls of its API, without knowing what carries them.

use std::{
    fmt::Debug,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use jiff::SignedDuration;
use serde_json::Value;
use tokio::time::Instant;

/// However many pages there are, no more are read.
const MOST_PAGES: usize = 100;

/// One call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// The segments of its path, below where the API begins; each is encoded on its way. An empty one at
    /// the end is a slash there.
    pub path: Vec<String>,
    /// Its query.
    pub query: Vec<(String, String)>,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// What is posted, as JSON; without it, it is a `GET`.
    pub body: Option<String>,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// It shall not be asked before so long.
    pub wait: Option<Duration>,
    /// The body.
    pub body: Vec<u8>,
}

/// Why another system did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// It asks for a pause.
    #[error("it is asked too often, and wants {} s of rest", .0.as_secs())]
    Limited(Duration),
    /// It does not answer. In words, without secrets.
    #[error("{0}")]
    Silent(String),
    /// It answers that something went wrong, or something that makes no sense: with itself, or with what it
    /// was asked for. In words, without secrets.
    #[error("{0}")]
    Failed(String),
    /// It will not do that, however often it is asked.
    #[error("it answered {0}")]
    Refused(u16),
    /// Our own: the store or the record.
    #[error("{0}")]
    Own(String),
}

impl Trouble {
    /// How long it wants to be left alone, if it says so.
    pub(super) fn rest(&self) -> Option<SignedDuration> {
        match self {
            Self::Limited(rest) => SignedDuration::try_from(*rest).ok(),
            Self::Silent(_) | Self::Failed(_) | Self::Refused(_) | Self::Own(_) => None,
        }
    }
}

impl From<crate::ControlError> for Trouble {
    fn from(error: crate::ControlError) -> Self {
        Self::Own(error.to_string())
    }
}

impl From<portcullis_store::StoreError> for Trouble {
    fn from(error: portcullis_store::StoreError) -> Self {
        Self::Own(error.to_string())
    }
}

/// Carries calls, with whatever proves who calls.
#[async_trait]
pub trait Wire: Debug + Send + Sync {
    /// Makes one call; half a minute at most, and bounded in what it reads.
    async fn call(&self, call: Call) -> Result<Reply, Trouble>;

    /// Where it leads, for people: without anything secret.
    fn place(&self) -> String;
}

/// A wire, and how answers are read. Whoever speaks over it leaves its system alone for as long as the system wants to be,
/// whoever it said that to.
#[derive(Debug, Clone)]
pub struct Line {
    wire: Arc<dyn Wire>,
    free_at: Arc<Mutex<Option<Instant>>>,
}

/// Without better knowledge, who is asked too often rests for so long.
const REST: Duration = Duration::from_secs(30);
/// However a system wishes it, it is asked again after so long.
const LONGEST_REST: Duration = Duration::from_mins(15);

impl Call {
    /// Of this path.
    pub fn of<const N: usize>(path: [&str; N]) -> Self {
        Self { path: path.map(str::to_owned).into(), ..Self::default() }
    }

    /// With one more in its query.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    /// With this header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Posting this.
    #[must_use]
    pub fn posting(self, body: &Value) -> Self {
        Self { body: Some(body.to_string()), ..self }
    }
}

impl Line {
    /// Over `wire`.
    pub fn new(wire: Arc<dyn Wire>) -> Self {
        Self { wire, free_at: Arc::default() }
    }

    pub(crate) fn place(&self) -> String {
        self.wire.place()
    }

    /// What is answered, which must be JSON.
    pub async fn ask(&self, call: Call) -> Result<Value, Trouble> {
        self.find(call).await?.ok_or(Trouble::Refused(404))
    }

    /// The same; `None` where there is nothing.
    pub async fn find(&self, call: Call) -> Result<Option<Value>, Trouble> {
        self.find_unless(call, |_| false).await
    }

    /// The same for a system that says in its answer, whatever its status, that there is nothing: where
    /// `nothing` holds of it.
    pub async fn find_unless(
        &self,
        call: Call,
        nothing: impl Fn(&Value) -> bool + Send,
    ) -> Result<Option<Value>, Trouble> {
        if let Some(left) = self.rest() {
            return Err(Trouble::Limited(left));
        }
        let reply = self.wire.call(call).await?;
        let trouble = match reply.status {
            200..=299 => None,
            404 | 410 => return Ok(None),
            429 => return Err(self.limited(reply.wait)),
            503 if reply.wait.is_some() => return Err(self.limited(reply.wait)),
            408 => return Err(Trouble::Silent("it answered 408".to_owned())),
            // Who may not ask is told nothing of what there is.
            status @ (401 | 403) => return Err(Trouble::Refused(status)),
            status @ 500.. => Some(Trouble::Failed(format!("it answered {status}"))),
            status => Some(Trouble::Refused(status)),
        };
        let value: Option<Value> = serde_json::from_slice(&reply.body).ok();
        if value.as_ref().is_some_and(nothing) {
            return Ok(None);
        }
        if let Some(trouble) = trouble {
            return Err(trouble);
        }
        if reply.body.iter().all(u8::is_ascii_whitespace) {
            return Ok(Some(Value::Null));
        }
        let senseless = || Trouble::Failed("it answered something that is no JSON".to_owned());
        value.map(Some).ok_or_else(senseless)
    }

    /// How long it is to be left alone still.
    fn rest(&self) -> Option<Duration> {
        let free_at = *self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        free_at?.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
    }

    fn limited(&self, wait: Option<Duration>) -> Trouble {
        let rest = wait.unwrap_or(REST).min(LONGEST_REST);
        let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = (*free_at).max(Some(Instant::now() + rest));
        Trouble::Limited(rest)
    }

    /// All that `next` leads to, one page after the other: from the page before, or none, to the call for
    /// the next one.
    pub async fn pages(
        &self,
        next: impl Fn(Option<&Value>) -> Option<Call> + Send,
    ) -> Result<Vec<Value>, Trouble> {
        let mut pages: Vec<Value> = Vec::new();
        while let Some(call) = next(pages.last()) {
            if pages.len() == MOST_PAGES {
                return Err(Trouble::Silent(format!("it has more than {MOST_PAGES} pages")));
            }
            pages.push(self.ask(call).await?);
        }
        Ok(pages)
    }
}

/// A text of a document.
pub(crate) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A time of a document, as RFC 3339 has it, or as ISO 8601 without a colon in the offset.
pub(crate) fn time(value: &Value, pointer: &str) -> Option<jiff::Timestamp> {
    value.pointer(pointer)?.as_str()?.parse().ok()
}

/// A list of a document; empty where there is none.
pub(crate) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    value.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Wants rest once, and answers then.
    #[derive(Debug, Default)]
    struct Tired(AtomicUsize);

    #[async_trait]
    impl Wire for Tired {
        async fn call(&self, _: Call) -> Result<Reply, Trouble> {
            let first = self.0.fetch_add(1, Ordering::SeqCst) == 0;
            let (status, wait) =
                if first { (429, Some(Duration::from_secs(10))) } else { (200, None) };
            Ok(Reply { status, wait, body: b"{}".to_vec() })
        }

        fn place(&self) -> String {
            "nowhere".to_owned()
        }
    }

    /// Answers always the same.
    #[derive(Debug)]
    struct Same(u16, &'static str);

    #[async_trait]
    impl Wire for Same {
        async fn call(&self, _: Call) -> Result<Reply, Trouble> {
            Ok(Reply { status: self.0, wait: None, body: self.1.into() })
        }

        fn place(&self) -> String {
            "nowhere".to_owned()
        }
    }

    #[tokio::test]
    async fn that_there_is_nothing_is_read_whatever_the_status_but_from_who_lets_nobody_ask() {
        let nothing = |answer: &Value| answer.get("nothing").is_some();
        for (status, body, found) in [
            (200, r#"{"nothing": 1}"#, Ok(None)),
            (500, r#"{"nothing": 1}"#, Ok(None)),
            (400, r#"{"nothing": 1}"#, Ok(None)),
            (404, "", Ok(None)),
            (401, r#"{"nothing": 1}"#, Err(Trouble::Refused(401))),
            (403, r#"{"nothing": 1}"#, Err(Trouble::Refused(403))),
            (500, "{}", Err(Trouble::Failed("it answered 500".to_owned()))),
            (400, "", Err(Trouble::Refused(400))),
            (200, "", Ok(Some(Value::Null))),
        ] {
            let line = Line::new(Arc::new(Same(status, body)));
            let answer = line.find_unless(Call::of(["a"]), nothing).await;
            assert_eq!(answer, found, "{status} {body}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_wants_rest_gets_it_from_all_who_speak_over_the_line() {
        let wire = Arc::new(Tired::default());
        let (one, other) = {
            let line = Line::new(Arc::clone(&wire) as _);
            (line.clone(), line)
        };
        let rest = Duration::from_secs(10);
        assert_eq!(one.ask(Call::of(["a"])).await, Err(Trouble::Limited(rest)));
        tokio::time::advance(Duration::from_secs(4)).await;
        let left = Duration::from_secs(6);
        assert_eq!(other.ask(Call::of(["b"])).await, Err(Trouble::Limited(left)));
        assert_eq!(wire.0.load(Ordering::SeqCst), 1, "it is not asked meanwhile");
        tokio::time::advance(left).await;
        assert!(other.ask(Call::of(["b"])).await.is_ok());
    }
}
