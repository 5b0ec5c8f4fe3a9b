//! What one issuer said about its tokens, kept at hand.
//!
//! Each question is asked once, however many wait for its answer, on the control runtime. An answer
//! is remembered under the hash of the whole question: the issuer, who asks, for which audience and
//! scopes, and the token.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use http::StatusCode;
use jiff::{SignedDuration, Timestamp};
use moka::{policy::EvictionPolicy, sync::Cache};
use portcullis_model::{Clock, Secret};
use sha2::{Digest, Sha256};
use tokio::{
    runtime::Handle,
    sync::{Mutex as AsyncMutex, watch},
};
use url::Url;

use super::{
    Introspection, OpaqueIssuer, answer,
    limits::{Asker, Limits, NotAsked},
};
use crate::{
    AuthError, Authenticated, IssuerUrl, ProviderClient, ProviderError, Unverified,
    claims::LEEWAY,
    provider::{Provider, basic_auth, exchange},
    workloads::Verified,
};

/// A token that its issuer does not vouch for is not asked about again for so long.
const REFUSED_FOR: SignedDuration = SignedDuration::from_secs(5);
/// Answers of each kind that are remembered.
const REMEMBERED: u64 = 16_384;
/// A token is known to its issuer for so long after the last answer.
const FAMILIAR_FOR: Duration = Duration::from_mins(10);
/// A discovery document is read again after so long.
const DISCOVERY: SignedDuration = SignedDuration::from_mins(5);

/// The hash of a whole question.
type Question = [u8; 32];

/// See the module.
pub(super) struct Introspector {
    config: OpaqueIssuer,
    /// All of a question but the token.
    frame: Sha256,
    /// Where discovery tells the endpoint.
    provider: Option<Provider>,
    endpoint: AsyncMutex<Option<(Url, Timestamp)>>,
    client: ProviderClient,
    clock: Arc<dyn Clock>,
    control: Handle,
    vouched: Cache<Question, Said>,
    refused: Cache<Question, Said>,
    asking: Mutex<Asking>,
}

/// An answer, for as long as it is good.
#[derive(Debug, Clone)]
struct Said {
    answer: Result<Arc<Authenticated>, AuthError>,
    good_until: Timestamp,
}

/// Whoever waits for an answer; `None` until it is there. Ends without one if nobody will give it.
type Flight = watch::Receiver<Option<Said>>;

#[derive(Debug, Default)]
struct Asking {
    flights: HashMap<Question, Flight>,
    limits: Limits,
}

/// Asks about a token for as long as something hangs on it.
#[derive(Clone)]
pub struct Again {
    issuer: Weak<Introspector>,
    question: Question,
    token: Secret,
}

impl fmt::Debug for Introspector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Introspector({})", self.config.name)
    }
}

impl fmt::Debug for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Again(…)")
    }
}

impl Again {
    /// Whether the issuer still vouches, as far as is known at `now`. Never waits: once an answer
    /// is no longer good, the issuer is asked, and has as long again to say so.
    pub fn holds(&self, now: Timestamp) -> bool {
        let Some(issuer) = self.issuer.upgrade() else { return false };
        if let Some(said) = issuer.said(&self.question, now) {
            return said.answer.is_ok();
        }
        let grace = issuer.longest();
        let last = issuer.vouched.get(&self.question).map(|said| said.good_until);
        // A failure is no answer: then time decides.
        let _asked = issuer.board(self.question, self.token.expose());
        last.and_then(|last| last.checked_add(grace).ok()).is_some_and(|end| now < end)
    }
}

impl Introspector {
    pub(super) fn new(
        config: OpaqueIssuer,
        client: &ProviderClient,
        clock: &Arc<dyn Clock>,
        control: &Handle,
    ) -> Arc<Self> {
        let provider = match &config.introspection {
            Introspection::At { .. } => None,
            Introspection::Discovered { issuer, endpoint_hosts } => Some(Provider {
                issuer: issuer.clone(),
                endpoint_hosts: endpoint_hosts.clone(),
                client: client.clone(),
            }),
        };
        let remembered = || {
            // Least recently used: what was answered last is never the first to be forgotten.
            let built = Cache::builder().max_capacity(REMEMBERED).time_to_live(FAMILIAR_FOR);
            built.eviction_policy(EvictionPolicy::lru()).build()
        };
        Arc::new(Self {
            frame: frame(&config),
            provider,
            endpoint: AsyncMutex::default(),
            client: client.clone(),
            clock: Arc::clone(clock),
            control: control.clone(),
            vouched: remembered(),
            refused: remembered(),
            asking: Mutex::default(),
            config,
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.config.name
    }

    pub(super) fn prefix(&self) -> Option<&str> {
        self.config.prefix.as_deref()
    }

    pub(super) fn is_silent(&self) -> bool {
        self.asking().limits.is_silent(self.clock.now())
    }

    pub(super) fn try_verify(&self, token: &str, now: Timestamp) -> Result<Verified, Unverified> {
        let said = self.said(&self.question(token), now).ok_or(Unverified::IssuerNeeded)?;
        let authenticated = Authenticated::clone(&*said.answer?);
        Ok(Verified { authenticated, good_until: said.good_until })
    }

    pub(super) async fn authenticate(
        self: &Arc<Self>,
        token: &str,
        now: Timestamp,
    ) -> Result<Authenticated, AuthError> {
        let question = self.question(token);
        let said = if let Some(said) = self.said(&question, now) {
            said
        } else {
            let mut flight = self.board(question, token)?;
            let answered = flight.wait_for(Option::is_some).await;
            let said = answered.ok().and_then(|said| said.clone());
            said.ok_or_else(|| self.unavailable())?
        };
        said.answer.map(|authenticated| Authenticated::clone(&authenticated))
    }

    /// What was said and is still good.
    fn said(&self, question: &Question, now: Timestamp) -> Option<Said> {
        let good = |said: &Said| now < said.good_until;
        self.vouched.get(question).filter(good).or_else(|| self.refused.get(question).filter(good))
    }

    /// Waits for the answer: the one under way, or a new one as far as the limits allow.
    fn board(self: &Arc<Self>, question: Question, token: &str) -> Result<Flight, AuthError> {
        let known = self.vouched.contains_key(&question);
        let asker = if known { Asker::Familiar } else { Asker::Stranger };
        let now = self.clock.now();
        let mut asking = self.asking();
        if let Some(flight) = asking.flights.get(&question) {
            return Ok(flight.clone());
        }
        asking.limits.begin(asker, now).map_err(|why| match why {
            NotAsked::Busy => AuthError::Busy(self.config.name.clone()),
            NotAsked::Silent => self.unavailable(),
        })?;
        let (landed, flight) = watch::channel(None);
        asking.flights.insert(question, flight.clone());
        // A runtime that is going drops what is spawned at once, and that takes the same lock.
        drop(asking);
        let landing = Landing { issuer: Arc::clone(self), question, asker, landed };
        let token = Secret::new(token);
        self.control.spawn(async move { landing.fly(token).await });
        Ok(flight)
    }

    /// Asks, and remembers what is said.
    async fn ask(self: &Arc<Self>, question: Question, token: Secret) -> Option<Said> {
        let asked_at = self.clock.now();
        match self.answer(&token).await {
            Ok(body) => self.read(question, token, &body, asked_at),
            Err(error) => {
                self.failed(&error);
                None
            }
        }
    }

    async fn answer(&self, token: &Secret) -> Result<(Url, Vec<u8>), ProviderError> {
        let url = self.endpoint().await?;
        let form = [("token", token.expose()), ("token_type_hint", "access_token")];
        let request = self.client.post(&url).form(&form);
        let request = basic_auth(request, &self.config.client_id, &self.config.client_secret);
        let (status, body) = exchange(request, &url).await?;
        if status != StatusCode::OK {
            return Err(ProviderError::Status { url, status: status.as_u16() });
        }
        Ok((url, body))
    }

    /// `asked_at`, because the answer may be as old as the question.
    fn read(
        self: &Arc<Self>,
        question: Question,
        token: Secret,
        (url, body): &(Url, Vec<u8>),
        asked_at: Timestamp,
    ) -> Option<Said> {
        let Some(answer) = answer::read(&self.config, body, asked_at) else {
            let (url, expected) = (url.clone(), "an introspection response");
            self.failed(&ProviderError::Unreadable { url, expected });
            return None;
        };
        self.asking().limits.answered();
        let said = match answer {
            Ok(vouched) => {
                let again = Again { issuer: Arc::downgrade(self), question, token };
                let longest = asked_at.checked_add(self.longest()).unwrap_or(Timestamp::MAX);
                // To the token's end itself: the leeway is for clocks that differ, and after the
                // end the issuer's own clock is asked.
                let end = vouched.life.ends_at.checked_sub(LEEWAY).unwrap_or(longest);
                let good_until = end.min(longest);
                let authenticated = Authenticated::by_introspection(
                    Arc::new(vouched.principal),
                    vouched.origin,
                    vouched.life.issued_at.unwrap_or(asked_at),
                    vouched.life.ends_at,
                    again,
                );
                Said { answer: Ok(Arc::new(authenticated)), good_until }
            }
            Err(error) => {
                let good_until = asked_at.checked_add(REFUSED_FOR).unwrap_or(Timestamp::MAX);
                Said { answer: Err(error), good_until }
            }
        };
        // INVARIANT: a token is in one of the two, so that an older answer never comes back.
        if said.answer.is_ok() {
            self.refused.invalidate(&question);
            self.vouched.insert(question, said.clone());
        } else {
            self.vouched.invalidate(&question);
            self.refused.insert(question, said.clone());
        }
        Some(said)
    }

    fn failed(&self, error: &ProviderError) {
        let issuer = &self.config.name;
        // Something about this very token: others are asked about all the same.
        if let ProviderError::Status { status: 400 | 413 | 422, .. } = error {
            tracing::warn!(issuer, %error, "introspection refused");
            return;
        }
        let failures = self.asking().limits.failed(self.clock.now());
        tracing::warn!(issuer, %error, failures, "introspection failed");
    }

    /// The endpoint, as the discovery document says where it is; read again from time to time.
    async fn endpoint(&self) -> Result<Url, ProviderError> {
        let provider = match (&self.config.introspection, &self.provider) {
            (Introspection::Discovered { .. }, Some(provider)) => provider,
            (Introspection::At { endpoint, .. }, _) => return Ok(endpoint.url().clone()),
            (Introspection::Discovered { issuer, .. }, None) => {
                let (issuer, field) = (issuer.to_string(), "introspection_endpoint");
                return Err(ProviderError::Endpoint { issuer, field });
            }
        };
        let now = self.clock.now();
        let mut known = self.endpoint.lock().await;
        let fresh = |since: Timestamp| since <= now && now.duration_since(since) < DISCOVERY;
        if let Some((url, _)) = known.as_ref().filter(|(_, since)| fresh(*since)) {
            return Ok(url.clone());
        }
        let url = provider.introspection_endpoint(&provider.metadata().await?)?;
        *known = Some((url.clone(), now));
        Ok(url)
    }

    fn question(&self, token: &str) -> Question {
        let mut whole = self.frame.clone();
        part(&mut whole, token);
        whole.finalize().into()
    }

    fn longest(&self) -> SignedDuration {
        SignedDuration::try_from(self.config.answer).unwrap_or(SignedDuration::ZERO)
    }

    fn unavailable(&self) -> AuthError {
        AuthError::IssuerUnavailable(self.config.name.clone())
    }

    fn asking(&self) -> MutexGuard<'_, Asking> {
        self.asking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that an answer depends on, but the token.
fn frame(config: &OpaqueIssuer) -> Sha256 {
    let mut whole = Sha256::new();
    part(&mut whole, &config.name);
    match &config.introspection {
        Introspection::Discovered { issuer, .. } => part(&mut whole, &format!("issuer {issuer}")),
        Introspection::At { endpoint, issuer } => {
            part(&mut whole, &format!("endpoint {endpoint}"));
            optional(&mut whole, issuer.as_ref().map(IssuerUrl::as_str));
        }
    }
    part(&mut whole, &config.client_id);
    optional(&mut whole, config.audience.as_deref());
    part(&mut whole, &config.scopes.len().to_string());
    for scope in &config.scopes {
        part(&mut whole, scope);
    }
    whole
}

fn optional(whole: &mut Sha256, text: Option<&str>) {
    part(whole, if text.is_some() { "some" } else { "none" });
    part(whole, text.unwrap_or_default());
}

/// With its length, so that no two questions run together into one.
fn part(whole: &mut Sha256, text: &str) {
    whole.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
    whole.update(text);
}

/// A question under way. However it ends, also by a panic, the next one may be asked.
struct Landing {
    issuer: Arc<Introspector>,
    question: Question,
    asker: Asker,
    landed: watch::Sender<Option<Said>>,
}

impl Landing {
    async fn fly(self, token: Secret) {
        if let Some(said) = self.issuer.ask(self.question, token).await {
            self.landed.send_replace(Some(said));
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        let mut asking = self.issuer.asking();
        asking.flights.remove(&self.question);
        asking.limits.end(self.asker);
    }
}

#[cfg(test)]
#[path = "question_tests.rs"]
mod tests;
