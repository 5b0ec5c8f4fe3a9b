//! Slack: access requests appear there, are answered and asked for, and the message says what became of
//! them. Against a Slack that checks what Slack checks.

mod aside;
mod callbacks;
mod commands;
mod hours;
mod outages;
mod peer;
mod reviews;
mod shown;
mod watched;

use serde_json::{Value, json};

use self::peer::{SlackPeer, TEAM};
use crate::{
    house::Plan,
    payments::{Payments, id},
    people::Person,
    upstream::Upstream,
};

const BOT: &str = "xoxb-a-bot-token-of-no-use-elsewhere";
const APP: &str = "xapp-an-app-token-of-no-use-elsewhere";
const SECRET: &str = "a-signing-secret-of-no-use-elsewhere";

/// Chat is good for reviews of payments.
const BY_CHAT: &str = r#"
@id("payments.chat")
permit (principal is User in Group::"leads", action == Action::"reviewByChat", resource is AccessRequest)
when { resource.service == Service::"payments" };
"#;

/// Payments, and a Slack that it is connected to.
struct Office {
    payments: Payments,
    slack: SlackPeer,
}

/// How Slack calls back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Http,
    Socket,
}

impl Office {
    fn open(mode: Mode) -> Self {
        Self::furnished(mode, BY_CHAT, "email: verified", |plan| plan)
    }

    fn furnished(
        mode: Mode,
        by_chat: &str,
        link: &str,
        furnish: impl FnOnce(Plan) -> Plan,
    ) -> Self {
        let mut slack = SlackPeer::start(&[BOT, APP, SECRET]);
        let back = match mode {
            Mode::Http => "signing_secret: {file: slack/secret}",
            Mode::Socket => "app_token: {file: slack/app}",
        };
        let setting = format!(
            "connectors: {{slack: {{workspace: {TEAM}, app: A024BE7LD, bot_token: {{file: slack/bot}}, {back}, \
             people: {{provider: corp, {link}}}, channel: \"#access\", channels: {{payments: \"#payments\"}}, \
             api: \"http://127.0.0.1:{}/api\"}}}}",
            slack.port
        );
        let payments = Payments::furnished(Upstream::start(), |plan| {
            furnish(
                plan.setting(&setting)
                    .policy("chat.cedar", by_chat)
                    .file("slack/bot", BOT)
                    .file("slack/app", APP)
                    .file("slack/secret", SECRET),
            )
        });
        match mode {
            Mode::Http => {
                slack.order(json!({"do": "callbacks", "port": payments.house.control.port()}));
            }
            Mode::Socket => {
                slack.until("connected", |_| true);
            }
        }
        Self { payments, slack }
    }

    /// Somebody who is signed in at control.
    fn token(&self, person: &Person) -> String {
        self.payments.house.sign_in(person)
    }

    /// What somebody asks for, as the API shows it.
    fn ask(&self, token: &str, reason: &str) -> Value {
        let body = json!({"queries": [{"operation": "payments.events"}], "reason": reason});
        let answer =
            self.payments.house.api("POST", "/v1/access-requests", Some(token), Some(body));
        assert!(answer.status < 300, "{}", answer.text());
        answer.json()
    }

    /// The message about it in the channel.
    fn in_channel(&mut self, request: &Value) -> Value {
        let page = format!("/requests/{}", id(request));
        self.slack.until("posted", |got| {
            got["place"] == "#payments" && got.to_string().contains(&page)
        })["message"]
            .clone()
    }

    /// Presses a button of `message`; `more` spoils it.
    fn press(&mut self, by: &str, message: &Value, action: &str, more: Value) -> Value {
        let mut order = json!({
            "do": "press", "by": by, "channel": message["channel"], "ts": message["ts"], "action": action,
        });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.slack.order(order)
    }

    /// Waits until the message at the same place says `title`.
    fn becomes(&mut self, message: &Value, title: &str) -> Value {
        let (channel, ts) = (&message["channel"], &message["ts"]);
        self.slack.until("updated", |got| {
            got["message"]["channel"] == *channel
                && got["message"]["ts"] == *ts
                && got["message"]["blocks"][0]["text"]["text"] == title
        })["message"]
            .clone()
    }

    /// The access request as it is now.
    fn get(&self, token: &str, request: &Value) -> Value {
        let path = format!("/v1/access-requests/{}", id(request));
        self.payments.house.api("GET", &path, Some(token), None).json()
    }

    /// A callback that does nothing is on record with this reason.
    fn is_refused(&self, why: &str) -> Value {
        self.payments.event("control_refused", |event| {
            event["detail"].as_str().is_some_and(|detail| detail.contains(why))
        })
    }
}

/// All action ids in a message.
fn actions(message: &Value) -> Vec<String> {
    let blocks = message["blocks"].as_array().unwrap().iter();
    let elements = blocks.filter_map(|block| block["elements"].as_array()).flatten();
    let ids = elements.filter_map(|element| element["action_id"].as_str());
    ids.map(str::to_owned).collect()
}

/// All that stands in a message as text, a line for each paragraph.
fn text(message: &Value) -> String {
    let blocks = message["blocks"].as_array().unwrap().iter();
    let rich = blocks.filter(|block| block["type"] == "rich_text");
    let paragraphs = rich.flat_map(|block| block["elements"].as_array().unwrap());
    let lines = paragraphs.map(|paragraph| {
        let parts = paragraph["elements"].as_array().unwrap().iter();
        parts.filter_map(|part| part["text"].as_str()).collect::<String>()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn a_permit_that_lets_people_review_by_chat_without_saying_so_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("policies")).unwrap();
    let file = folder.path().join("portcullis.yaml");
    let policy = folder.path().join("policies/reviews.cedar");
    std::fs::write(&policy, "@id(\"reviews\")\npermit (principal in Group::\"leads\", action, resource is AccessRequest);\n")
        .unwrap();
    let check = |connectors: &str| {
        let text = format!(
            "listeners:\n  - {{name: gate, address: \"127.0.0.1:1\"}}\n\
             control: {{address: \"127.0.0.1:2\", url: \"http://127.0.0.1:2\"}}\n\
             store: sqlite:portcullis.db\naudit: {{directory: audit}}\n{connectors}\
             identity: {{people: [{{name: corp, oidc: {{issuer: \"https://id.example.com\", client_id: a}}}}]}}\n\
             policies: policies\nservices:\n  - name: shop\n    hosts: [shop.example.com]\n    \
             upstream: {{url: \"http://127.0.0.1:3\"}}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = std::process::Command::new(crate::house::binary());
        let output = command.arg("check").arg("-c").arg(&file).output().unwrap();
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.success(), "{said}");
        said
    };
    let slack = "connectors: {slack: {workspace: T024BE7LD, bot_token: {env: BOT}, signing_secret: {env: SECRET}, \
                 people: {provider: corp, email: verified}}}\n";
    let said = check(slack);
    assert!(said.contains("warning: this permit names no action"), "{said}");
    assert!(said.contains("reviews.cedar:2:1"), "where: {said}");
    assert!(said.contains("help: ") && said.contains("Action::\"reviewByChat\""), "{said}");
    assert!(said.contains("in order; 1 service, "), "it loads: {said}");
    assert!(!check("").contains("warning"), "without a chat it opens nothing");
}
