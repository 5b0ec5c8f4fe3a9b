//! `connectors.slack`: a workspace in which access requests appear, are answered and are asked for.

use std::collections::BTreeMap;

use portcullis_model::ServiceName;
use portcullis_policy::notice::{NoticeTarget, SlackPlace};
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use super::super::{
    Identity, Service,
    export::posted_to,
    secret::SecretRef,
    section::{Field, nearest},
};

const API: &str = "https://slack.com/api";

/// A workspace of Slack, and the app that is installed in it.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Slack {
    /// The workspace's id: `T024BE7LD`. Whatever is of another one does nothing.
    pub(crate) workspace: String,
    /// The app's id: `A024BE7LD`; if given, callbacks for another one do nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) app: Option<String>,
    /// The bot token: `xoxb-…`.
    pub(crate) bot_token: SecretRef,
    /// The app-level token, for Socket Mode: `xapp-…`. This, `signing_secret`, or neither if nobody
    /// presses or types anything there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) app_token: Option<SecretRef>,
    /// What Slack signs callbacks over HTTP with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) signing_secret: Option<SecretRef>,
    /// Whose an account is.
    pub(crate) people: LinkedPeople,
    /// Where access requests appear for which no policy names a place: `"#access"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<String>,
    /// The same, for single services: `{payments: "#payments"}`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) channels: BTreeMap<String, String>,
    /// Whether those who could review are told by direct message; true if absent.
    pub(crate) direct_messages: bool,
    /// Slack's Web API, if it is another than `https://slack.com/api`.
    #[schemars(with = "String")]
    pub(crate) api: Url,
}

/// Who says whose an account is, and how.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct LinkedPeople {
    /// The name of the provider of people.
    pub(crate) provider: String,
    /// What links them.
    #[serde(flatten)]
    pub(crate) by: LinkBy,
}

/// What makes an account somebody's.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LinkBy {
    /// The claim of theirs that is the account's id; one of the provider's `claims`, of type `String`.
    Claim(String),
    /// `verified`: an e-mail address that Slack and the provider have both verified.
    Email(Verified),
}

/// The only way in which addresses link anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verified {
    /// By both sides.
    Verified,
}

impl Slack {
    pub(super) fn read(
        field: &Field<'_>,
        demo: bool,
        identity: Option<&Identity>,
        services: &[Service],
    ) -> Option<Self> {
        let mut section = field.section()?;
        let workspace = section.required("workspace").and_then(|field| id(&field, 'T'));
        let app = section.field("app").map(|field| id(&field, 'A'));
        let bot_token = section.required("bot_token").and_then(|f| SecretRef::read(&f, demo));
        let app_token = section.field("app_token").map(|field| SecretRef::read(&field, demo));
        let signing = section.field("signing_secret").map(|field| SecretRef::read(&field, demo));
        let people = section.required("people").and_then(|field| linked(&field, identity));
        let channel = section.field("channel").map(|field| channel(&field));
        let channels = section.field("channels").map(|field| channels(&field, services));
        let direct = section.field("direct_messages").map_or(Some(true), |field| field.boolean());
        let api = section.field("api").map_or_else(|| API.parse().ok(), |field| posted_to(&field));
        if app_token.is_some() && signing.is_some() {
            let help = "take one out: `app_token` for Socket Mode, `signing_secret` for HTTP";
            section.error("Slack calls back in one way".into(), Some(help.into()));
        }
        section.finish();
        Some(Self {
            workspace: workspace?,
            app: app.map_or(Some(None), |read| read.map(Some))?,
            bot_token: bot_token?,
            app_token: app_token.map_or(Some(None), |read| read.map(Some))?,
            signing_secret: signing.map_or(Some(None), |read| read.map(Some))?,
            people: people?,
            channel: channel.map_or(Some(None), |read| read.map(Some))?,
            channels: channels.unwrap_or_default(),
            direct_messages: direct?,
            api: api?,
        })
    }

    /// The channels of single services.
    pub(crate) fn by_service(&self) -> BTreeMap<ServiceName, String> {
        let pairs = self.channels.iter();
        pairs.filter_map(|(name, channel)| Some((name.parse().ok()?, channel.clone()))).collect()
    }
}

/// An id of Slack's.
fn id(field: &Field<'_>, kind: char) -> Option<String> {
    let text = field.text()?;
    let fits = text.starts_with(kind)
        && (8..=20).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if !fits {
        let help = Some(format!("it begins with {kind}, as {kind}024BE7LD does"));
        field.error(format!("`{text}` is no such id of Slack's"), help);
        return None;
    }
    Some(text.to_owned())
}

fn channel(field: &Field<'_>) -> Option<String> {
    let text = field.text()?;
    let place = format!("slack:{text}").parse::<NoticeTarget>();
    if let Ok(NoticeTarget::Slack(SlackPlace::Channel(name))) = place {
        return Some(name.to_string());
    }
    let help = Some("write it like \"#payments\", or its id".into());
    field.error(format!("`{text}` is no channel"), help);
    None
}

fn channels(field: &Field<'_>, services: &[Service]) -> BTreeMap<String, String> {
    let known: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
    let pairs = field.pairs().into_iter().filter_map(|(name, field)| {
        if !known.contains(&name.as_str()) {
            let help = nearest(&name, &known).map(|near| format!("did you mean `{near}`?"));
            field.error(format!("there is no service `{name}`"), help);
            return None;
        }
        Some((name, channel(&field)?))
    });
    pairs.collect()
}

fn linked(field: &Field<'_>, identity: Option<&Identity>) -> Option<LinkedPeople> {
    let mut section = field.section()?;
    let provider = section.required("provider");
    let (claim, email) = (section.field("claim"), section.field("email"));
    let by = match (&claim, &email) {
        (Some(field), None) => field.text().map(|claim| LinkBy::Claim(claim.to_owned())),
        (None, Some(field)) => field.one_of(&[("verified", Verified::Verified)]).map(LinkBy::Email),
        _ => {
            let help = "write `claim: slack_id`, or `email: verified`";
            section.error("an account is somebody's in one way".into(), Some(help.into()));
            None
        }
    };
    section.finish();
    let provider = provider?;
    let name = provider.text()?;
    let known = identity.map(|identity| identity.people.as_slice()).unwrap_or_default();
    let Some(people) = known.iter().find(|people| people.name == name) else {
        let names: Vec<&str> = known.iter().map(|people| people.name.as_str()).collect();
        let help = Some(format!("known: {}", names.join(", ")));
        provider.error(format!("`{name}` is no provider of people"), help);
        return None;
    };
    if let (Some(LinkBy::Claim(claim)), Some(field)) = (&by, &claim) {
        let is_known = people.claims().any(|(known, kind)| known == claim && kind == "String");
        if !is_known {
            let help = Some(format!("add `claims: {{{claim}: String}}` to provider `{name}`"));
            field.error(format!("`{name}` gives no claim `{claim}` of type String"), help);
            return None;
        }
    }
    Some(LinkedPeople { provider: name.to_owned(), by: by? })
}

#[cfg(test)]
mod tests {
    use super::super::super::tests::{SOUND, loaded, refused};

    fn with(slack: &str) -> String {
        let slack = format!("connectors:\n  slack: {slack}\npolicies: policies");
        SOUND.replace("policies: policies", &slack)
    }

    #[test]
    fn a_workspace_is_read_with_what_is_usual() {
        let loaded = loaded(&with(
            "{workspace: T024BE7LD, bot_token: {env: BOT}, app_token: {env: APP}, people: {provider: corp, email: verified}, channel: \"#access\"}",
        ))
        .expect("loads");
        let slack = loaded.config.connectors.slack.unwrap();
        assert!(slack.direct_messages && slack.signing_secret.is_none());
        assert_eq!(slack.api.as_str(), "https://slack.com/api");
        assert_eq!(slack.channel.as_deref(), Some("#access"));
    }

    #[test]
    fn what_would_link_or_tell_nobody_is_a_mistake() {
        let sound = "workspace: T024BE7LD, bot_token: {env: BOT}";
        let people = "people: {provider: corp, email: verified}";
        for (wrong, said) in [
            (format!("{{workspace: access, bot_token: {{env: BOT}}, {people}}}"), "no such id"),
            (format!("{{{sound}}}"), "lacks `people`"),
            (format!("{{{sound}, people: {{provider: corp}}}}"), "in one way"),
            (format!("{{{sound}, people: {{provider: none, email: verified}}}}"), "no provider"),
            (format!("{{{sound}, people: {{provider: corp, email: any}}}}"), "cannot be"),
            (format!("{{{sound}, people: {{provider: corp, claim: slack}}}}"), "no claim"),
            (format!("{{{sound}, {people}, channel: access}}"), "no channel"),
            (format!("{{{sound}, {people}, channels: {{nothing: \"#a\"}}}}"), "no service"),
            (format!("{{{sound}, {people}, api: \"http://slack.example.com\"}}"), "https://"),
            (
                format!("{{{sound}, {people}, app_token: {{env: A}}, signing_secret: {{env: B}}}}"),
                "one way",
            ),
        ] {
            let errors = refused(&with(&wrong));
            assert!(errors.contains(said), "{wrong}: {errors}");
        }
    }
}
