//! Slack: access requests appear where people are, and what is pressed and typed there comes back.
//!
//! Promises: a message says what the access request is now, at the latest when Slack can be reached
//! again, and only the newest of it; nothing waits for Slack but its own messages. Whatever comes from
//! there is worth what policy says of an account that the identity provider links to somebody, for
//! once, and on record if it is worth nothing.

mod aside;
mod callback;
mod card;
mod command;
mod deliver;
mod desk;
mod people;
mod plain;
mod port;
mod press;

use std::{collections::BTreeMap, sync::Arc};

use portcullis_identity::chat::SlackSigning;
use portcullis_model::{AccessRequest, PrincipalId, ServiceName};
use portcullis_policy::notice::{NoticeTarget, SlackPlace};

use self::desk::Desk;
pub use self::port::{Member, MemberKey, NotTaken, SlackApi};
pub(crate) use self::{
    aside::followed_anew,
    callback::{over_http, over_socket},
    deliver::{begin, look_at, run},
};
use crate::rate::RateLimits;

/// What it is called: there is one.
pub(crate) const SLACK: &str = "slack";
/// Refused callbacks that go on record in a minute; others are counted in the log of the process.
const REFUSALS_PER_MINUTE: u32 = 60;

/// What the connector is built from.
#[derive(Debug)]
pub struct SlackParts {
    /// Speaks to Slack.
    pub api: Arc<dyn SlackApi>,
    /// The only workspace that counts: `T024BE7LD`.
    pub workspace: String,
    /// The app that callbacks must be for, if that is checked: `A024BE7LD`.
    pub app: Option<String>,
    /// Checks callbacks over HTTP; without it none are taken.
    pub signing: Option<SlackSigning>,
    /// Which identity provider says whose an account is.
    pub provider: String,
    /// How.
    pub link: Link,
    /// Where access requests appear for which nobody names another place.
    pub channel: Option<String>,
    /// The same, for single services.
    pub channels: BTreeMap<ServiceName, String>,
    /// Whether those who could review are told by direct message.
    pub direct_messages: bool,
    /// What people call this server, without a slash at the end.
    pub console: String,
}

/// What makes an account in Slack somebody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// This claim of theirs is the account's id.
    Claim(String),
    /// Slack has confirmed the account's address, and the identity provider the same one of theirs.
    Email,
}

/// What came from Slack over HTTP.
#[derive(Debug, Clone, Copy)]
pub struct SlackCall<'a> {
    /// To which door.
    pub kind: SlackCallKind,
    /// `X-Slack-Request-Timestamp`.
    pub timestamp: Option<&'a str>,
    /// `X-Slack-Signature`.
    pub signature: Option<&'a str>,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// What Slack calls back for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SlackCallKind {
    /// Somebody pressed something.
    Interaction,
    /// Somebody typed a command.
    Command,
}

/// The connector at work.
#[derive(Debug)]
pub(crate) struct Slack {
    parts: SlackParts,
    /// Which access requests have to be looked at.
    desk: Desk,
    refusals: RateLimits,
}

impl Slack {
    pub(crate) fn new(parts: SlackParts) -> Self {
        let refusals = RateLimits::new(REFUSALS_PER_MINUTE, 60);
        Self { parts, desk: Desk::default(), refusals }
    }

    /// Where `request` appears beside `named`, which policy names.
    pub(crate) fn also(&self, request: &AccessRequest, named: &[String]) -> Vec<String> {
        let in_slack = |target: &String| target.starts_with("slack:");
        let channel = self.parts.channels.get(&request.service).or(self.parts.channel.as_ref());
        let channel = channel.filter(|_| !named.iter().any(in_slack));
        let channel = channel.and_then(|name| name.parse::<SlackPlace>().ok());
        let reviewers = self.parts.direct_messages.then_some(SlackPlace::Reviewers);
        let places = channel.into_iter().chain(reviewers);
        places.map(|place| NoticeTarget::Slack(place).to_string()).collect()
    }

    /// How many access requests there are whose messages have to be looked at.
    pub(crate) fn waiting(&self) -> usize {
        self.desk.waiting()
    }

    fn page_of(&self, request: &AccessRequest) -> String {
        format!("{}/requests/{}", self.parts.console, request.id)
    }

    /// Whether one more refused callback goes on record.
    fn is_recorded(&self, now: jiff::Timestamp) -> bool {
        self.refusals.admit(&PrincipalId::anonymous(), now)
    }
}
