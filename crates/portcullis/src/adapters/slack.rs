//! Speaks to Slack: its Web API, and Socket Mode.
//!
//! Follows no redirect, asks no proxy, and repeats nothing that Slack says but its error codes. Written
//! to Slack's documentation as of July 2025.

mod socket;

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::{Context, Result};
use async_trait::async_trait;
use portcullis_control::connector::slack::{
    Link, Member, MemberKey, NotTaken, SlackApi, SlackParts,
};
use portcullis_identity::chat::SlackSigning;
use portcullis_model::Secret;
use portcullis_store::Posted;
use reqwest::{Client, RequestBuilder, Response, StatusCode, header};
use serde_json::Value;
use url::Url;

pub(crate) use self::socket::listen;
use super::sinks::client;
use crate::config::{
    Config,
    connectors::{LinkBy, Slack},
};

const TIMEOUT: Duration = Duration::from_secs(10);
/// Where Slack says nothing else.
const USUAL_WAIT: Duration = Duration::from_secs(30);
const LONGEST_WAIT: Duration = Duration::from_hours(1);
const LARGEST_ANSWER: usize = 1024 * 1024;

/// What would be refused for another message as well: an operator has to mend it, and then it is taken.
const OF_THE_APP: [&str; 13] = [
    "access_denied",
    "account_inactive",
    "ekm_access_denied",
    "enterprise_is_restricted",
    "invalid_auth",
    "missing_scope",
    "no_permission",
    "not_allowed_token_type",
    "not_authed",
    "org_login_required",
    "team_access_not_granted",
    "token_expired",
    "token_revoked",
];
/// Slack's own trouble.
const PASSING: [&str; 6] = [
    "fatal_error",
    "internal_error",
    "request_timeout",
    "service_unavailable",
    "team_added_to_org",
    "two_factor_setup_required",
];

/// The connector of `config`, if there is one; secrets are resolved now.
pub(crate) fn parts(config: &Config, base: &Path) -> Result<Option<SlackParts>> {
    let Some(slack) = slack(config) else { return Ok(None) };
    let signing = slack.signing_secret.as_ref().map(|secret| secret.resolve(base)).transpose();
    let signing = signing.context("the signing secret of `connectors.slack`")?;
    Ok(Some(SlackParts {
        api: Arc::new(WebApi::of(slack, base)?),
        workspace: slack.workspace.clone(),
        app: slack.app.clone(),
        signing: signing.as_ref().map(SlackSigning::new),
        provider: slack.people.provider.clone(),
        link: match &slack.people.by {
            LinkBy::Claim(claim) => Link::Claim(claim.clone()),
            LinkBy::Email(_) => Link::Email,
        },
        channel: slack.channel.clone(),
        channels: slack.by_service(),
        direct_messages: slack.direct_messages,
        console: config.control.url.as_str().trim_end_matches('/').to_owned(),
    }))
}

fn slack(config: &Config) -> Option<&Slack> {
    config.connectors.slack.as_ref()
}

/// Slack's Web API.
#[derive(Debug)]
pub(crate) struct WebApi {
    client: Client,
    /// Without a slash at the end.
    base: String,
    token: Secret,
}

impl WebApi {
    fn of(slack: &Slack, base: &Path) -> Result<Self> {
        let token = slack.bot_token.resolve(base);
        Self::new(&slack.api, token.context("the bot token of `connectors.slack`")?)
    }

    fn new(api: &Url, token: Secret) -> Result<Self> {
        let client = client(TIMEOUT, None)?;
        Ok(Self { client, base: api.as_str().trim_end_matches('/').to_owned(), token })
    }

    fn method(&self, name: &str) -> RequestBuilder {
        let request = self.client.post(format!("{}/{name}", self.base));
        request.bearer_auth(self.token.expose())
    }

    /// Calls a method that takes JSON.
    async fn write(&self, name: &str, arguments: &Value) -> Result<Value, NotTaken> {
        let kind = "application/json; charset=utf-8";
        let request = self.method(name).header(header::CONTENT_TYPE, kind);
        said(request.body(arguments.to_string())).await
    }

    /// Calls a method that takes a form.
    async fn read(&self, name: &str, arguments: &[(&str, &str)]) -> Result<Value, NotTaken> {
        said(self.method(name).form(arguments)).await
    }

    /// Whether Slack may have sent somebody there to be answered.
    fn is_slacks(&self, url: &Url) -> bool {
        let Some(host) = url.host_str() else { return false };
        let of_slack = host.ends_with(".slack.com") || host.ends_with(".slack-gov.com");
        let same = |own: Url| own.scheme() == url.scheme() && own.host() == url.host();
        url.scheme() == "https" && of_slack || self.base.parse().is_ok_and(same)
    }
}

#[async_trait]
impl SlackApi for WebApi {
    async fn workspace(&self) -> Result<String, NotTaken> {
        let answer = self.read("auth.test", &[]).await?;
        text(&answer, "/team_id")
    }

    async fn post(&self, channel: &str, message: &Value) -> Result<Posted, NotTaken> {
        let answer =
            self.write("chat.postMessage", &with(message, &[("channel", channel)])).await?;
        Ok(Posted { channel: text(&answer, "/channel")?, ts: text(&answer, "/ts")? })
    }

    async fn update(&self, at: &Posted, message: &Value) -> Result<(), NotTaken> {
        let place = [("channel", at.channel.as_str()), ("ts", at.ts.as_str())];
        self.write("chat.update", &with(message, &place)).await.map(drop)
    }

    async fn respond(&self, url: &str, message: &Value) -> Result<(), NotTaken> {
        let url: Url = url.parse().map_err(|_| NotTaken::Refused("no_url".into()))?;
        if !self.is_slacks(&url) {
            return Err(NotTaken::Refused("a_url_elsewhere".into()));
        }
        // The URL itself is what lets us answer: no token goes there.
        let request = self.client.post(url).header(header::CONTENT_TYPE, "application/json");
        let sent = request.body(message.to_string()).send().await;
        let answer = sent.map_err(|error| unreachable(&error))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::TOO_MANY_REQUESTS => Err(NotTaken::Limited(wait(&answer))),
            status => Err(NotTaken::Refused(format!("it answered {}", status.as_u16()))),
        }
    }

    async fn member(&self, key: MemberKey<'_>) -> Result<Member, NotTaken> {
        let answer = match key {
            MemberKey::Id(id) => self.read("users.info", &[("user", id)]).await?,
            MemberKey::Email(email) => {
                self.read("users.lookupByEmail", &[("email", email)]).await?
            }
        };
        let flag = |name: &str| answer.pointer(name).and_then(Value::as_bool);
        let confirmed = flag("/user/is_email_confirmed") == Some(true);
        let unusable = ["deleted", "is_bot", "is_workflow_bot", "is_stranger"];
        let is_usable = unusable.iter().all(|name| flag(&format!("/user/{name}")) != Some(true));
        Ok(Member {
            id: text(&answer, "/user/id")?,
            workspace: text(&answer, "/user/team_id")?,
            is_somebodys: is_usable,
            confirmed_email: text(&answer, "/user/profile/email").ok().filter(|_| confirmed),
        })
    }
}

fn with(message: &Value, more: &[(&str, &str)]) -> Value {
    let mut message = message.clone();
    if let Value::Object(members) = &mut message {
        members.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())));
    }
    message
}

fn text(answer: &Value, at: &str) -> Result<String, NotTaken> {
    let found = answer.pointer(at).and_then(Value::as_str).map(str::to_owned);
    found.ok_or_else(|| NotTaken::Unavailable(format!("Slack's answer lacks {at}")))
}

/// What Slack answers, if it did it.
async fn said(request: RequestBuilder) -> Result<Value, NotTaken> {
    let mut answer = request.send().await.map_err(|error| unreachable(&error))?;
    let status = answer.status();
    if status == StatusCode::TOO_MANY_REQUESTS {
        return Err(NotTaken::Limited(wait(&answer)));
    }
    if !status.is_success() {
        return Err(NotTaken::Unavailable(format!("Slack answered {}", status.as_u16())));
    }
    let wait = wait(&answer);
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|error| unreachable(&error))? {
        body.extend_from_slice(&chunk);
        if body.len() > LARGEST_ANSWER {
            return Err(NotTaken::Unavailable("Slack's answer is too long".into()));
        }
    }
    let answer: Value = serde_json::from_slice(&body)
        .map_err(|_| NotTaken::Unavailable("Slack's answer is no JSON".into()))?;
    if answer.get("ok").and_then(Value::as_bool) == Some(true) {
        return Ok(answer);
    }
    let code = answer.get("error").and_then(Value::as_str).unwrap_or("no reason");
    Err(match code {
        "ratelimited" | "rate_limited" => NotTaken::Limited(wait),
        code if OF_THE_APP.contains(&code) || PASSING.contains(&code) => {
            NotTaken::Unavailable(format!("Slack says `{code}`"))
        }
        code => NotTaken::Refused(code.chars().take(80).collect()),
    })
}

fn wait(answer: &Response) -> Duration {
    let said = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = said.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
    seconds.unwrap_or(USUAL_WAIT).clamp(Duration::from_secs(1), LONGEST_WAIT)
}

/// The error names the URL, which may be what lets somebody answer.
fn unreachable(error: &reqwest::Error) -> NotTaken {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    NotTaken::Unavailable(format!("Slack does not answer: {innermost}"))
}
