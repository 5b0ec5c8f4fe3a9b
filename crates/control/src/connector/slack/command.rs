//! `/access`: asks, as the API does, by words.

use std::sync::Arc;

use portcullis_identity::{Authenticated, chat::FromChat};
use portcullis_model::{AccessRequestState, OperationName, RefusalId, ServiceName, Way, Window};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Slack,
    callback::{Whence, refused},
    card::labelled,
    people,
    plain::{escaped, line, plain},
    press::tell,
};
use crate::{
    ControlError, OpContext,
    core::Core,
    usecase::{ask, refusals, services, text},
    views::{AccessRequestView, Ask, AskFor, AskOperation, Reach, RefusalView, ServiceView},
};

const USAGE: &str = "write `/access SERVICE OPERATION [DURATION] WHY`, for example `/access payments refund 30m stuck refunds`; \
    `/access refusal CODE [DURATION] WHY` asks for what was refused; `/access card CODE` shows a refusal to this channel";
const LISTED: usize = 12;
const SUMMARY: usize = 300;
const BODY: usize = 2000;

/// What Slack says of it.
#[derive(Debug, Deserialize)]
pub(super) struct Command {
    team_id: Option<String>,
    user_id: String,
    api_app_id: Option<String>,
    #[serde(default)]
    text: String,
    response_url: String,
}

/// What was asked for, in words.
#[derive(Debug, PartialEq, Eq)]
enum Words<'a> {
    Help,
    Card(&'a str),
    Refusal { code: &'a str, duration: Option<Window>, why: &'a str },
    Operation { service: &'a str, operation: &'a str, duration: Option<Window>, why: &'a str },
}

/// What whoever typed it is told.
struct Told {
    label: &'static str,
    said: String,
    page: Option<String>,
}

impl Command {
    pub(super) fn from_json(payload: Value) -> Option<Self> {
        serde_json::from_value(payload).ok()
    }

    pub(super) fn from_form(body: &[u8]) -> Option<Self> {
        let pairs = form_urlencoded::parse(body);
        let fields: serde_json::Map<String, Value> =
            pairs.map(|(name, value)| (name.into_owned(), value.into_owned().into())).collect();
        serde_json::from_value(fields.into()).ok()
    }

    pub(super) fn from(&self) -> Whence<'_> {
        Whence { workspaces: [self.team_id.as_deref(), None], app: self.api_app_id.as_deref() }
    }

    /// Does it, and says what came of it to whoever typed it.
    pub(super) async fn answer(self, core: &Arc<Core>, slack: &Slack, vouched: &FromChat) {
        let told = match words(&self.text) {
            Words::Help => Told { label: "How to ask", said: USAGE.to_owned(), page: None },
            words => match self.context(core, slack, vouched).await {
                Err(why) => Told { label: "Nothing was done", said: why, page: None },
                Ok(op) => match self.act(core, slack, &op, words).await {
                    Ok(Some(told)) => told,
                    Ok(None) => return,
                    Err(error) => {
                        Told { label: "Nothing was done", said: in_words(&error), page: None }
                    }
                },
            },
        };
        tell(slack, &self.response_url, told.label, &told.said, told.page.as_deref()).await;
    }

    async fn context(
        &self,
        core: &Arc<Core>,
        slack: &Slack,
        vouched: &FromChat,
    ) -> Result<OpContext, String> {
        match people::principal(core, slack, &self.user_id).await {
            Ok(principal) => {
                let caller = Authenticated::by_chat(vouched, &principal, core.now());
                Ok(OpContext::by_chat(caller, core.now()))
            }
            Err(why) => {
                refused(core, slack, None, &format!("{} asked: {why}", self.user_id)).await;
                Err(why)
            }
        }
    }

    async fn act(
        &self,
        core: &Arc<Core>,
        slack: &Slack,
        op: &OpContext,
        words: Words<'_>,
    ) -> Result<Option<Told>, ControlError> {
        let (what, duration, why) = match words {
            Words::Help => return Ok(None),
            Words::Card(named) => {
                let refusal = refusals::view(core, op, &code_of(named)?).await?;
                return Ok(self.show(slack, op, &refusal).await);
            }
            Words::Refusal { code: named, duration, why } => {
                (AskFor::Refusal(code_of(named)?), duration, why)
            }
            Words::Operation { service, operation, duration, why } => {
                let operation = operation_of(core, op, service, operation)?;
                let operation = AskOperation { operation, instance: None, rule: None };
                (AskFor::Operations(vec![operation]), duration, why)
            }
        };
        let reason = why.to_owned();
        let asked = Ask { what, rule: None, reason, incident: None, duration };
        let view = ask::ask(core, op, asked, None).await?;
        Ok(Some(came_of(slack, &view)))
    }

    /// Shows a refusal to all who are where the command was typed.
    async fn show(&self, slack: &Slack, op: &OpContext, refusal: &RefusalView) -> Option<Told> {
        let name = op.caller().map(|caller| caller.principal().name.clone()).unwrap_or_default();
        let message = card(slack, &name, refusal);
        let shown = slack.parts.api.respond(&self.response_url, &message).await;
        let not_shown = |error| {
            let said = format!("the card could not be shown: {error}");
            Told { label: "Nothing was done", said, page: None }
        };
        shown.err().map(not_shown)
    }
}

/// A refusal as a message.
fn card(slack: &Slack, name: &str, refusal: &RefusalView) -> Value {
    let title = format!("Refused: {}", refusal.service);
    let mut elements = vec![
        labelled("Who", &line(name, SUMMARY)),
        labelled("What", &refusal.operation.to_string()),
        labelled("When", &text::time(refusal.time)),
    ];
    let mut lines = line(&refusal.summary, SUMMARY);
    let mut cut = None;
    if let Some(body) = &refusal.body {
        let (shown, all) = plain(&body.text, BODY);
        lines = format!("{lines}\n{shown}");
        cut = all;
    }
    let quoted = json!({"type": "text", "text": lines});
    elements.push(json!({"type": "rich_text_preformatted", "elements": [quoted]}));
    elements.extend(
        cut.map(|all| labelled("Truncated", &format!("{BODY} of {all} characters are shown"))),
    );
    elements.extend(refusal.digest.as_ref().map(|digest| labelled("Digest", digest)));
    let ways = refusal.ways.iter().take(LISTED).map(way);
    elements.extend(ways.map(|way| labelled("What would open it", &way)));
    if refusal.ways.is_empty() {
        elements.push(labelled("What would open it", "nothing"));
    }
    let page = format!("{}/ask/{}", slack.parts.console, refusal.id);
    let link = json!({"type": "link", "url": page, "text": "Ask for it, if it is yours"});
    elements.push(json!({"type": "rich_text_section", "elements": [link]}));
    json!({
        "response_type": "in_channel", "replace_original": false, "text": escaped(&title),
        "blocks": [
            {"type": "header", "text": {"type": "plain_text", "text": title, "emoji": false}},
            {"type": "rich_text", "elements": elements},
        ],
    })
}

fn way(way: &Way) -> String {
    let by = match way.reviews {
        0 if way.is_emergency() => "an emergency".to_owned(),
        0 => "policy by itself".to_owned(),
        1 => "1 review".to_owned(),
        many => format!("{many} reviews"),
    };
    let who = if way.reviewers.is_empty() {
        String::new()
    } else {
        format!(" ({})", way.reviewers.join(", "))
    };
    line(&format!("{by}{who}, up to {}", way.max_duration), SUMMARY)
}

/// What came of asking.
fn came_of(slack: &Slack, view: &AccessRequestView) -> Told {
    let request = &view.request;
    let (label, said) = match &request.state {
        AccessRequestState::Pending if view.reviewers.is_empty() => (
            "Asked",
            format!(
                "it waits until {}; nobody could review it now",
                text::time(request.expires_at)
            ),
        ),
        AccessRequestState::Pending => {
            let names = view.reviewers.join(", ");
            ("Asked", format!("it waits until {} for {names}", text::time(request.expires_at)))
        }
        AccessRequestState::Approved { .. } => {
            ("Granted", format!("for {}; use it as you are signed in", request.agreed_duration()))
        }
        AccessRequestState::Declined { why, .. } => ("Declined", why.clone()),
        AccessRequestState::Withdrawn { .. } | AccessRequestState::Expired { .. } => {
            ("Over", "ask again".to_owned())
        }
    };
    Told { label, said, page: Some(slack.page_of(request)) }
}

fn words(text: &str) -> Words<'_> {
    let (first, rest) = word(text);
    match first {
        "" | "help" => Words::Help,
        "card" => match word(rest) {
            ("", _) => Words::Help,
            (code, _) => Words::Card(code),
        },
        "refusal" => {
            let (code, rest) = word(rest);
            let (duration, why) = duration(rest);
            if code.is_empty() { Words::Help } else { Words::Refusal { code, duration, why } }
        }
        service => {
            let (operation, rest) = word(rest);
            let (duration, why) = duration(rest);
            let all = Words::Operation { service, operation, duration, why };
            if operation.is_empty() { Words::Help } else { all }
        }
    }
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim();
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

fn duration(text: &str) -> (Option<Window>, &str) {
    let (first, rest) = word(text);
    match first.parse() {
        Ok(window) => (Some(window), rest),
        Err(_) => (None, text.trim()),
    }
}

fn code_of(code: &str) -> Result<RefusalId, ControlError> {
    let message = "is no code of a refusal; it has four characters".to_owned();
    code.parse().map_err(|_| ControlError::Invalid { field: "refusal", message })
}

/// The operation that somebody means: its name, or a part of one name only.
fn operation_of(
    core: &Core,
    op: &OpContext,
    service: &str,
    wanted: &str,
) -> Result<OperationName, ControlError> {
    let invalid = |field, message| Err(ControlError::Invalid { field, message });
    let Some(view) =
        service.parse::<ServiceName>().ok().and_then(|name| services::one(core, op, &name).ok())
    else {
        let known: Vec<String> = services::all(core, op)?
            .into_iter()
            .map(|view| view.name.to_string())
            .take(LISTED)
            .collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        return invalid(
            "service",
            format!("`{service}` is none that you can see; you see {known}"),
        );
    };
    let fitting = fitting(&view, wanted);
    match fitting.as_slice() {
        [only] => Ok((*only).clone()),
        [] => {
            let all = view.operations.iter().map(|operation| &operation.name);
            invalid("operation", format!("`{service}` has no `{wanted}`; it has {}", listed(all)))
        }
        several => {
            let several = listed(several.iter().copied());
            invalid("operation", format!("`{wanted}` may be one of {several}"))
        }
    }
}

/// Exactly so, or what can be asked for and contains it, or whatever contains it.
fn fitting<'a>(view: &'a ServiceView, wanted: &str) -> Vec<&'a OperationName> {
    let own = |name: &OperationName| {
        let text = name.to_string();
        text.split_once('.').map_or_else(|| text.clone(), |(_, own)| own.to_owned())
    };
    let exact = view.operations.iter().map(|operation| &operation.name);
    let exact: Vec<_> =
        exact.filter(|name| own(name) == wanted || name.to_string() == wanted).collect();
    if !exact.is_empty() {
        return exact;
    }
    let wanted = wanted.to_lowercase();
    let part: Vec<_> = view
        .operations
        .iter()
        .filter(|one| own(&one.name).to_lowercase().contains(&wanted))
        .collect();
    let requestable = part.iter().filter(|one| matches!(one.reach, Reach::Requestable(_)));
    let requestable: Vec<_> = requestable.map(|one| &one.name).collect();
    if requestable.is_empty() {
        part.into_iter().map(|one| &one.name).collect()
    } else {
        requestable
    }
}

fn listed<'a>(names: impl Iterator<Item = &'a OperationName>) -> String {
    let names: Vec<String> = names.map(ToString::to_string).take(LISTED).collect();
    names.join(", ")
}

fn in_words(error: &ControlError) -> String {
    match error {
        ControlError::Invalid { field: "reason", message } => {
            format!("say why, at the end: the reason {message}. {USAGE}")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_taken_as_people_write_them() {
        let half_an_hour = Some(Window::minutes(30));
        let operation = |duration, why| Words::Operation {
            service: "payments",
            operation: "refund",
            duration,
            why,
        };
        for (text, wanted) in [
            ("payments refund 30m refunds are stuck", operation(half_an_hour, "refunds are stuck")),
            ("  payments   refund  refunds", operation(None, "refunds")),
            ("payments refund", operation(None, "")),
            (
                "refusal 7F3K 30m why not",
                Words::Refusal { code: "7F3K", duration: half_an_hour, why: "why not" },
            ),
            ("card 7F3K", Words::Card("7F3K")),
            ("card", Words::Help),
            ("payments", Words::Help),
            ("", Words::Help),
            ("help me", Words::Help),
        ] {
            assert_eq!(words(text), wanted, "{text}");
        }
    }
}
