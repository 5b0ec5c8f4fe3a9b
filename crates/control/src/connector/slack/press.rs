//! A button was pressed: a review, as good as any other, where policy accepts chat.
//!
//! What a button does is in the store and nowhere else; what it carries says nothing to anybody. Who
//! pressed it is found anew, and so is whether they may: it was drawn for somebody as they were then.

use std::sync::Arc;

use portcullis_identity::{Authenticated, chat::FromChat};
use portcullis_model::{AccessRequest, Decision, Scope, TokenHash};
use portcullis_store::{ButtonAct, Change, ChatChange, StoredButton};
use serde::Deserialize;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    Slack,
    callback::{Once, Whence, refused},
    card::{APPROVE, APPROVE_FOR, DECLINE, NOTE_INPUT, labelled},
    people,
    plain::{escaped, line},
};
use crate::{
    ControlError, OpContext,
    core::Core,
    rights,
    usecase::review::{self, NOT_BY_CHAT},
    views::ReviewInput,
};

const LONGEST_ANSWER: usize = 2000;
const SPENT: &str = "this button is spent, or was never ours: look at the message as it is now";

/// What Slack says of it.
#[derive(Debug, Deserialize)]
pub(super) struct Interaction {
    #[serde(rename = "type")]
    kind: String,
    team: Option<Named>,
    user: Named,
    api_app_id: Option<String>,
    #[serde(default)]
    container: Container,
    response_url: Option<String>,
    #[serde(default)]
    actions: Vec<Action>,
    #[serde(default)]
    state: Value,
    /// By what it is known if it comes again, where that is kept with what it does.
    #[serde(skip)]
    pub(super) once: Option<Once>,
}

#[derive(Debug, Deserialize)]
struct Named {
    id: String,
    team_id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Container {
    message_ts: Option<String>,
    channel_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Action {
    #[serde(rename = "action_id")]
    name: String,
    value: Option<String>,
    selected_option: Option<Chosen>,
}

#[derive(Debug, Deserialize)]
struct Chosen {
    value: String,
}

/// Why a press does nothing.
enum Void {
    /// It goes on record as a callback.
    Callback(String),
    /// It is on record already, or is no attempt at anything.
    Said(String),
}

impl Interaction {
    pub(super) fn from_json(payload: Value) -> Option<Self> {
        serde_json::from_value(payload).ok()
    }

    /// `payload=…`, as a form.
    pub(super) fn from_form(body: &[u8]) -> Option<Self> {
        let (_, payload) = form_urlencoded::parse(body).find(|(name, _)| name == "payload")?;
        serde_json::from_str(&payload).ok()
    }

    pub(super) fn from(&self) -> Whence<'_> {
        let workspace = self.team.as_ref().map(|team| team.id.as_str());
        let members = self.user.team_id.as_deref();
        Whence { workspaces: [workspace, members], app: self.api_app_id.as_deref() }
    }

    /// Does it, and says so where it did not.
    pub(super) async fn answer(self, core: &Arc<Core>, slack: &Slack, vouched: &FromChat) {
        let of_ours =
            |action: &&Action| [APPROVE, APPROVE_FOR, DECLINE].contains(&action.name.as_str());
        let pressed = self.actions.iter().find(of_ours).filter(|_| self.kind == "block_actions");
        let Some(pressed) = pressed else { return };
        let chosen = pressed.selected_option.as_ref().map(|chosen| chosen.value.as_str());
        let carried = chosen.or(pressed.value.as_deref()).unwrap_or_default();
        let (why, page) = match self.press(core, slack, vouched, carried).await {
            Ok(()) => return,
            Err((Void::Said(why), page)) => (why, page),
            Err((Void::Callback(why), page)) => {
                let about = format!("{} pressed a button: {why}", self.user.id);
                refused(core, slack, None, &about).await;
                (why, page)
            }
        };
        if let Some(url) = &self.response_url {
            tell(slack, url, "Nothing was done", &why, page.as_deref()).await;
        }
    }

    async fn press(
        &self,
        core: &Arc<Core>,
        slack: &Slack,
        vouched: &FromChat,
        carried: &str,
    ) -> Result<(), (Void, Option<String>)> {
        let hash = TokenHash::of(carried);
        let button = self.button(core, &hash).await.map_err(|void| (void, None))?;
        let found = core.store.access_request(button.access_request).await;
        let request = found.map_err(|error| (said(&error.into()), None))?;
        let request = request.ok_or((Void::Callback(SPENT.to_owned()), None))?;
        let page = slack.page_of(&request);
        let done = self.review(core, slack, vouched, &request, (hash, button.act)).await;
        done.map_err(|void| (void, Some(page)))
    }

    /// The button with this hash, if it is one of the message that was pressed.
    async fn button(&self, core: &Core, hash: &TokenHash) -> Result<StoredButton, Void> {
        let spent = || Void::Callback(SPENT.to_owned());
        let button = core.store.chat_button(hash).await.map_err(|error| said(&error.into()))?;
        let button = button.ok_or_else(spent)?;
        let messages = core.store.chat_messages_about(button.access_request).await;
        let messages = messages.map_err(|error| said(&error.into()))?;
        let message = messages.into_iter().find(|message| message.id == button.message);
        let message = message.ok_or_else(spent)?;
        // Pressed before it is written down where the message is: what it carries is enough.
        let here = message.posted.is_none_or(|posted| {
            self.container.message_ts.as_ref() == Some(&posted.ts)
                && self.container.channel_id.as_ref() == Some(&posted.channel)
        });
        if here { Ok(button) } else { Err(spent()) }
    }

    async fn review(
        &self,
        core: &Arc<Core>,
        slack: &Slack,
        vouched: &FromChat,
        request: &AccessRequest,
        (hash, act): (TokenHash, ButtonAct),
    ) -> Result<(), Void> {
        let principal = people::principal(core, slack, &self.user.id).await;
        let principal = principal.map_err(Void::Callback)?;
        let caller = Authenticated::by_chat(vouched, &principal, core.now());
        let op = OpContext::by_chat(caller, core.now());
        let note = self.note();
        if act == ButtonAct::Decline && note.is_none() {
            let why = "a decline must say why: write it in the box above and press Decline again";
            return Err(Void::Said(why.to_owned()));
        }
        let snapshot = core.snapshot();
        let own = rights::is_own(&snapshot, &op, request);
        if !own && !rights::may_review(core, &snapshot, &op, request) {
            let recorded =
                review::record_refused(core, &op, request, NOT_BY_CHAT.to_owned(), Vec::new());
            recorded.await.map_err(|error| said(&error))?;
            return Err(Void::Said(format!("{NOT_BY_CHAT}; its page says what you may do")));
        }
        let (decision, duration) = match act {
            ButtonAct::Approve => (Decision::Approve, None),
            ButtonAct::ApproveFor(window) => (Decision::Approve, Some(window)),
            ButtonAct::Decline => (Decision::Decline, None),
        };
        let input =
            ReviewInput { decision, note, duration, scope: Scope::default(), passkey: None };
        let mut also = vec![Change::Chat(Box::new(ChatChange::Press(hash)))];
        also.extend(self.once.map(Once::seen));
        let reviewed = review::review_with(core, &op, request.id, input, &also).await;
        reviewed.map(drop).map_err(|error| said(&error))
    }

    /// What was written beside the buttons.
    fn note(&self) -> Option<String> {
        let blocks = self.state.get("values")?.as_object()?;
        let written =
            blocks.values().find_map(|block| block.get(NOTE_INPUT)?.get("value")?.as_str());
        written.map(str::trim).filter(|note| !note.is_empty()).map(str::to_owned)
    }
}

fn said(error: &ControlError) -> Void {
    Void::Said(error.to_string())
}

/// Tells whoever pressed or typed something, and nobody else.
pub(super) async fn tell(slack: &Slack, url: &str, label: &str, said: &str, page: Option<&str>) {
    let said = line(said, LONGEST_ANSWER);
    let mut elements = vec![labelled(label, &said)];
    elements.extend(page.map(|page| {
        let link = json!({"type": "link", "url": page, "text": "Open its page"});
        json!({"type": "rich_text_section", "elements": [link]})
    }));
    let message = json!({
        "response_type": "ephemeral", "replace_original": false,
        "text": escaped(&format!("{label}: {said}")),
        "blocks": [{"type": "rich_text", "elements": elements}],
    });
    if let Err(error) = slack.parts.api.respond(url, &message).await {
        tracing::warn!(%error, "somebody in Slack is not answered");
    }
}
