//! Brings notices to those whom policies name: one file for each kind of receiver.
//!
//! To a webhook a JSON document is posted, and any 2xx means that it arrived. Never follows a redirect and
//! never reads an answer: whoever receives it can do nothing with it here.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use portcullis_control::{
    connector::{ConnectedSystem, pagerduty},
    export::{Form, lifecycle::notice as as_message},
    ports::{NotDelivered, Notice, Notifier},
};
use portcullis_model::{AccessRequestId, Clock, Secret};
use portcullis_policy::notice::NoticeTarget;
use reqwest::{
    Client, RequestBuilder, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER},
};
use serde_json::Value;
use url::Url;

use super::{
    lifecycle,
    mail::Mailer,
    sinks::{Posted, client},
    teams::Channel,
};
use crate::config::{Config, export::http_place};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The same message twice has the same id.
const ID: &str = "Portcullis-Notice";

/// Everybody who can be told.
#[derive(Debug)]
pub(crate) struct Receivers {
    client: Client,
    clock: Arc<dyn Clock>,
    named: BTreeMap<String, (Form, Posted)>,
    teams: BTreeMap<String, Channel>,
    mailer: Option<Mailer>,
    pagers: Option<Pagers>,
    /// What messages say that they come from.
    source: String,
    /// How people know them.
    systems: Vec<ConnectedSystem>,
}

/// Wakes people by the Events API v2.
#[derive(Debug)]
struct Pagers {
    url: Url,
    keys: BTreeMap<String, Secret>,
}

impl Receivers {
    /// Those of `config`; secrets are resolved now.
    pub(crate) fn new(
        config: &Config,
        base: &Path,
        clock: &Arc<dyn Clock>,
        source: String,
    ) -> Result<Self> {
        let client = client(TIMEOUT, None)?;
        let connectors = &config.connectors;
        let teams = connectors.teams.iter().map(|(name, team)| {
            let channel = Channel::new((name, team), base, &client, clock)?;
            Ok((name.clone(), channel))
        });
        let teams = teams.collect::<Result<BTreeMap<_, _>>>()?;
        let mailer = connectors.email.as_ref().map(|email| Mailer::new(email, base)).transpose()?;
        let named = lifecycle::posts(config, base, clock)?;
        let pagers = pagers(config, base)?;
        let systems = known_as(config, &teams);
        let clock = Arc::clone(clock);
        Ok(Self { client, clock, named, teams, mailer, pagers, source, systems })
    }

    async fn post(&self, url: &Url, notice: &Notice) -> Result<(), NotDelivered> {
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.header(ID, notice.id.to_string()).body(notice.body.clone());
        answered(request.send().await, self.clock.now())
    }

    /// An event of what `event` makes of the key that is called `name`.
    fn page(
        &self,
        name: &str,
        event: impl FnOnce(&Secret) -> Value,
    ) -> Result<RequestBuilder, NotDelivered> {
        let found = self.pagers.as_ref().and_then(|it| Some((&it.url, it.keys.get(name)?)));
        let (url, key) = found.ok_or_else(gone)?;
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json");
        Ok(request.body(event(key).to_string()))
    }
}

#[async_trait]
impl Notifier for Receivers {
    async fn deliver(&self, target: &NoticeTarget, notice: &Notice) -> Result<(), NotDelivered> {
        match target {
            NoticeTarget::Webhook(url) => self.post(url, notice).await,
            NoticeTarget::Named(name) => {
                let (form, posted) = self.named.get(name).ok_or_else(gone)?;
                let id = notice.id.to_string();
                let body = as_message(*form, &id, &notice.body, &self.source);
                let body = body.ok_or_else(|| NotDelivered::ever("the notice cannot be read"))?;
                posted.post(&id, body).await
            }
            NoticeTarget::Teams(name) => {
                self.teams.get(name).ok_or_else(gone)?.post(&notice.summary).await
            }
            // Control brings these itself.
            NoticeTarget::Slack(_) => Err(NotDelivered::ever("a message in Slack is no notice")),
            NoticeTarget::PagerDuty(name) => {
                let event = |key: &Secret| {
                    let told = serde_json::from_str(&notice.body).unwrap_or_default();
                    pagerduty::page(key, notice.about, &told, &self.source)
                };
                answered(self.page(name, event)?.send().await, self.clock.now())
            }
            NoticeTarget::Email(address) => {
                self.mailer.as_ref().ok_or_else(gone)?.send(address, notice).await
            }
        }
    }

    fn receivers(&self) -> Vec<ConnectedSystem> {
        self.systems.clone()
    }

    async fn take_back(
        &self,
        target: &NoticeTarget,
        about: AccessRequestId,
    ) -> Result<(), NotDelivered> {
        match target {
            NoticeTarget::PagerDuty(name) => {
                let request = self.page(name, |key| pagerduty::answered(key, about))?;
                answered(request.send().await, self.clock.now())
            }
            NoticeTarget::Webhook(_)
            | NoticeTarget::Named(_)
            | NoticeTarget::Teams(_)
            | NoticeTarget::Email(_)
            | NoticeTarget::Slack(_) => {
                // Nothing stands there.
                Ok(())
            }
        }
    }
}

/// How people know those of `config`.
fn known_as(config: &Config, teams: &BTreeMap<String, Channel>) -> Vec<ConnectedSystem> {
    let connectors = &config.connectors;
    let system = |kind, name: String, place| ConnectedSystem { kind, name, place };
    let teams = teams
        .iter()
        .map(|(name, channel)| system("teams", format!("teams:{name}"), channel.place()));
    let email = connectors.email.iter().map(|email| {
        let place = format!("{}:{}", email.smtp.host, email.smtp.port);
        system("email", "email".to_owned(), place)
    });
    let hooks = connectors
        .webhooks
        .iter()
        .map(|(name, hook)| system("webhook", format!("webhook:{name}"), http_place(&hook.url)));
    let pagers = connectors.pagerduty.iter().flat_map(|pagerduty| {
        let place = http_place(&pagerduty.events_url);
        let names = pagerduty.urgent.keys();
        names.map(move |name| system("pagerduty", format!("pagerduty:{name}"), place.clone()))
    });
    teams.chain(email).chain(hooks).chain(pagers).collect()
}

/// A bundle may have outlived the configuration that had it.
fn gone() -> NotDelivered {
    NotDelivered::ever("the configuration has no such receiver any more")
}

/// The keys that wake people.
fn pagers(config: &Config, base: &Path) -> Result<Option<Pagers>> {
    let Some(pagerduty) = &config.connectors.pagerduty else { return Ok(None) };
    let keys = pagerduty.urgent.iter().map(|(name, secret)| {
        let secret = secret.resolve(base);
        Ok((name.clone(), secret.context("`connectors.pagerduty.urgent`")?))
    });
    let keys = keys.collect::<Result<_>>()?;
    Ok(Some(Pagers { url: pagerduty.events_url.clone(), keys }))
}

/// Whether what was posted arrived.
pub(super) fn answered(
    answer: reqwest::Result<Response>,
    now: Timestamp,
) -> Result<(), NotDelivered> {
    match answer {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(not_taken(&answer, now)),
        // The error names the URL, whose path may be the receiver's secret.
        Err(error) => {
            let was_sent = !error.is_connect() && !error.is_builder();
            let why = cause(&error.without_url());
            Err(if was_sent { NotDelivered::lost(why) } else { NotDelivered::yet(why) })
        }
    }
}

/// What will be refused again is not sent again; too many at once and the receiver's own trouble pass.
pub(super) fn not_taken(answer: &Response, now: Timestamp) -> NotDelivered {
    let status = answer.status();
    let again = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    let rest = rest(status, answer.headers(), now).filter(|_| again);
    NotDelivered { why: format!("it answered {}", status.as_u16()), again, rest, lost: false }
}

/// How long whoever answered wants to be left alone: `Retry-After`, or, where it is asked too often, when that limit
/// ends; some say that in every answer.
pub(super) fn rest(
    status: StatusCode,
    headers: &HeaderMap,
    now: Timestamp,
) -> Option<SignedDuration> {
    let limit = (status == StatusCode::TOO_MANY_REQUESTS).then_some("ratelimit-reset");
    let mut names = [RETRY_AFTER.as_str()].into_iter().chain(limit);
    names.find_map(|name| retry_after(headers.get(name)?.to_str().ok()?, now))
}

/// Seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(text: &str, now: Timestamp) -> Option<SignedDuration> {
    if let Ok(seconds) = text.trim().parse::<u32>() {
        return Some(SignedDuration::from_secs(i64::from(seconds)));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    Some(date.duration_since(now)).filter(jiff::SignedDuration::is_positive)
}

/// What went wrong, without what was around it.
pub(super) fn cause(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    format!("it does not answer: {innermost}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_say_when_they_end_are_kept_like_a_wish_to_rest() {
        let now = Timestamp::UNIX_EPOCH;
        let mut headers = HeaderMap::new();
        let too_many = StatusCode::TOO_MANY_REQUESTS;
        assert_eq!(rest(too_many, &headers, now), None);
        headers.insert("ratelimit-reset", "20".parse().expect("a value"));
        assert_eq!(rest(too_many, &headers, now), Some(SignedDuration::from_secs(20)));
        let down = StatusCode::SERVICE_UNAVAILABLE;
        assert_eq!(rest(down, &headers, now), None, "it is down, and not asked too often");
        headers.insert(RETRY_AFTER, "7".parse().expect("a value"));
        for status in [too_many, down] {
            assert_eq!(rest(status, &headers, now), Some(SignedDuration::from_secs(7)));
        }
    }

    #[test]
    fn a_receiver_says_in_seconds_or_by_a_date_how_long_it_rests() {
        let now: Timestamp = "1994-11-06T08:49:00Z".parse().expect("a time");
        assert_eq!(retry_after("120", now), Some(SignedDuration::from_mins(2)));
        let date = "Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(retry_after(date, now), Some(SignedDuration::from_secs(37)));
        for text in ["", "soon", "-1", "Sun, 06 Nov 1994 08:48:37 GMT"] {
            assert_eq!(retry_after(text, now), None, "{text}");
        }
    }
}
