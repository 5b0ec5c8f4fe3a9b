//! What a message says: the access request as it is now, and buttons where somebody could press them.
//!
//! Whatever people or programs wrote stands in rich text as text, which Slack does not read; everything
//! is shorter than Slack's limits, and says so where it was cut.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis_model::{
    AccessRequest, AccessRequestState, Grant, GrantState, Secret, ShownBody, Window,
};
use portcullis_store::ButtonAct;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::plain::{escaped, line, plain};
use crate::usecase::text;

const NAME: usize = 120;
const SUMMARY: usize = 300;
const PARAMETER: usize = 120;
const PARAMETERS: usize = 12;
const REASON: usize = 1000;
const NOTE: usize = 300;
const CONDITION: usize = 300;
const BODY: usize = 2000;
/// Of all paragraphs together, as JSON: beside buttons, and below the 13,200 characters of all blocks above which
/// Slack says `msg_blocks_too_long`.
const LONGEST: usize = 9000;
/// Shorter times to choose from.
const SHORTER: [u32; 6] = [5, 15, 30, 60, 120, 240];
/// Names of what can be pressed or written.
pub(super) const APPROVE: &str = "approve";
pub(super) const APPROVE_FOR: &str = "approve_for";
pub(super) const DECLINE: &str = "decline";
pub(super) const NOTE_INPUT: &str = "note";

/// What is known of an access request.
#[derive(Debug)]
pub(super) struct Card {
    pub(super) request: AccessRequest,
    pub(super) grants: Vec<Grant>,
    /// Method and path of what it is about.
    pub(super) summary: Option<String>,
    pub(super) body: Option<ShownBody>,
    /// Who could answer it.
    pub(super) reviewers: Vec<String>,
    /// Its page.
    pub(super) page: String,
}

impl Card {
    /// Whether nothing about it will change any more.
    pub(super) fn is_final(&self) -> bool {
        let over = self.request.state.as_str() != "pending";
        let ended = |grant: &Grant| grant.state != GrantState::InForce;
        over && self.grants.iter().all(ended) && !self.request.waits_for_review_afterwards()
    }

    /// What can be pressed.
    pub(super) fn acts(&self) -> Vec<ButtonAct> {
        let shorter = SHORTER.into_iter().map(Window::minutes);
        let shorter = shorter.filter(|window| *window < self.request.duration);
        let shorter = shorter.map(ButtonAct::ApproveFor);
        [ButtonAct::Approve].into_iter().chain(shorter).chain([ButtonAct::Decline]).collect()
    }

    /// The digest of what a message with it says.
    pub(super) fn digest(&self, pressable: bool) -> String {
        let nothing: &[(ButtonAct, Secret)] = &[];
        let said = self.message(pressable.then_some(nothing)).to_string();
        URL_SAFE_NO_PAD.encode(Sha256::digest(said))
    }

    /// The message; `buttons` is what each carries, absent if nothing can be pressed.
    pub(super) fn message(&self, buttons: Option<&[(ButtonAct, Secret)]>) -> Value {
        let title = self.title();
        let mut elements = self.asked();
        elements.extend(self.payload());
        elements.extend(self.standing());
        shorten(&mut elements);
        let link = json!({"type": "link", "url": self.page, "text": "Open its page"});
        elements.push(json!({"type": "rich_text_section", "elements": [link]}));
        let mut blocks = vec![
            json!({"type": "header", "text": {"type": "plain_text", "text": title, "emoji": false}}),
            json!({"type": "rich_text", "elements": elements}),
        ];
        if let Some(buttons) = buttons {
            blocks.extend(self.pressable(buttons));
        }
        json!({
            "text": escaped(&title), "blocks": blocks, "unfurl_links": false, "unfurl_media": false,
        })
    }

    fn title(&self) -> String {
        let what = match &self.request.state {
            AccessRequestState::Pending => "Access request",
            AccessRequestState::Approved { .. } if !self.grants.is_empty() && self.is_ended() => {
                "Access has ended"
            }
            AccessRequestState::Approved { .. } if self.request.is_emergency() => "Emergency",
            AccessRequestState::Approved { .. } => "Access is granted",
            AccessRequestState::Declined { .. } => "Declined",
            AccessRequestState::Withdrawn { .. } => "Withdrawn",
            AccessRequestState::Expired { .. } => "Nobody answered",
        };
        format!("{what}: {}", self.request.service)
    }

    fn is_ended(&self) -> bool {
        self.grants.iter().all(|grant| grant.state != GrantState::InForce)
    }

    /// Who, what, why.
    fn asked(&self) -> Vec<Value> {
        let request = &self.request;
        let who = format!(
            "{} ({})",
            line(&request.requester_name, NAME),
            line(&request.requester.id, NAME)
        );
        let mut elements = vec![labelled("Who", &who)];
        for query in &request.queries {
            let at = query.instance.as_ref().map(|name| format!(" on {name}")).unwrap_or_default();
            let uses = query.way.max_uses.map(|uses| match uses {
                1 => ", one request".to_owned(),
                uses => format!(", {uses} requests"),
            });
            let what = format!(
                "{}{at} for {}{}",
                query.operation,
                request.duration,
                uses.unwrap_or_default()
            );
            elements.push(labelled("What", &what));
            for condition in &query.way.to_be_checked {
                elements.push(labelled("Checked when used", &line(condition, CONDITION)));
            }
        }
        if let Some(incident) = request.incident() {
            elements.push(labelled("Incident", &line(&incident.to_string(), NAME)));
        }
        elements.push(labelled("Why", ""));
        let reason = json!({"type": "text", "text": line(&request.reason, REASON)});
        elements.push(json!({"type": "rich_text_quote", "elements": [reason]}));
        elements
    }

    /// The request itself, as people see it, and its digest.
    fn payload(&self) -> Vec<Value> {
        let mut lines: Vec<String> = Vec::new();
        lines.extend(self.summary.as_ref().map(|summary| line(summary, SUMMARY)));
        let held = self.request.held.as_ref();
        let parameters = held.into_iter().flat_map(|held| &held.parameters);
        let shown = parameters.clone().take(PARAMETERS);
        lines.extend(
            shown.map(|(name, value)| format!("{}: {}", line(name, NAME), line(value, PARAMETER))),
        );
        let left_out = parameters.count().saturating_sub(PARAMETERS);
        if left_out > 0 {
            lines.push(format!("[truncated: {left_out} more parameters]"));
        }
        let mut cut = None;
        if let Some(body) = &self.body {
            let (shown, all) = plain(&body.text, BODY);
            lines.push(shown);
            cut = all;
        }
        let mut elements = Vec::new();
        if !lines.is_empty() {
            elements.push(labelled("Request", ""));
            let text = json!({"type": "text", "text": lines.join("\n")});
            elements.push(json!({"type": "rich_text_preformatted", "elements": [text]}));
        }
        if let Some(all) = cut {
            let said = format!("{BODY} of {all} characters are shown; its page has all of them");
            elements.push(labelled("Truncated", &said));
        }
        if let Some(masked) =
            self.body.as_ref().map(|body| &body.masked).filter(|all| !all.is_empty())
        {
            let names: Vec<String> = masked.iter().map(ToString::to_string).collect();
            elements.push(labelled("Masked", &names.join(", ")));
        }
        let digests = self.request.queries.iter().filter_map(|query| query.digest.as_deref());
        elements.extend(digests.map(|digest| labelled("Digest", &line(digest, NAME))));
        elements
    }

    /// What became of it.
    fn standing(&self) -> Vec<Value> {
        let request = &self.request;
        let mut elements = Vec::new();
        for review in &request.reviews {
            let note = review.note.as_ref().map(|note| format!(": {}", line(note, NOTE)));
            let name = line(&review.name, NAME);
            let said = format!("{} {name}, {}", review.decision.in_words(), text::time(review.at));
            elements.push(labelled("Review", &(said + &note.unwrap_or_default())));
        }
        let (label, said) = match &request.state {
            AccessRequestState::Pending => {
                let (given, needed) = (request.approvals(), request.reviews_needed());
                let until =
                    text::time(request.held.as_ref().map_or(request.expires_at, |held| held.until));
                if !self.reviewers.is_empty() {
                    let names: Vec<String> =
                        self.reviewers.iter().map(|name| line(name, NAME)).collect();
                    elements.push(labelled("Can answer", &names.join(", ")));
                }
                ("Waits", format!("{given} of {needed} reviews, until {until}"))
            }
            AccessRequestState::Approved { at, .. } => ("Approved", text::time(*at)),
            AccessRequestState::Declined { at, why } => {
                ("Declined", format!("{}: {}", text::time(*at), line(why, NOTE + NAME)))
            }
            AccessRequestState::Withdrawn { at, why } => {
                let why = why.as_ref().map(|why| format!(": {}", line(why, NOTE)));
                ("Withdrawn", text::time(*at) + &why.unwrap_or_default())
            }
            AccessRequestState::Expired { at } => ("Expired", text::time(*at)),
        };
        elements.push(labelled(label, &said));
        for grant in &self.grants {
            let said = match grant.state {
                GrantState::InForce => format!("in force until {}", text::time(grant.expires_at)),
                GrantState::Ended { at, why, .. } => {
                    format!("{} at {}", why.in_words(), text::time(at))
                }
            };
            elements.push(labelled("Grant", &format!("{}: {said}", grant.operation)));
        }
        if request.waits_for_review_afterwards() {
            elements.push(labelled("Open item", "nobody has reviewed this emergency yet"));
        }
        elements
    }

    fn pressable(&self, buttons: &[(ButtonAct, Secret)]) -> Vec<Value> {
        let carried = |act: ButtonAct| {
            let found = buttons.iter().find(|(of, _)| *of == act);
            found.map_or_else(String::new, |(_, carried)| carried.expose().to_owned())
        };
        let label = |text: &str| json!({"type": "plain_text", "text": text, "emoji": false});
        let button = |name: &str, text: &str, style: &str, act| json!({"type": "button", "action_id": name, "text": label(text), "style": style, "value": carried(act)});
        let mut elements = vec![button(APPROVE, "Approve", "primary", ButtonAct::Approve)];
        let shorter = self.acts().into_iter().filter_map(|act| match act {
            ButtonAct::ApproveFor(window) => {
                Some(json!({"text": label(&window.to_string()), "value": carried(act)}))
            }
            ButtonAct::Approve | ButtonAct::Decline => None,
        });
        let shorter: Vec<Value> = shorter.collect();
        if !shorter.is_empty() {
            elements.push(json!({
                "type": "static_select", "action_id": APPROVE_FOR, "options": shorter,
                "placeholder": label("Approve for less…"),
                "confirm": {
                    "title": label("Approve for a shorter time?"),
                    "text": label("It is approved for the time that you chose."),
                    "confirm": label("Approve"), "deny": label("Cancel"),
                },
            }));
        }
        elements.push(button(DECLINE, "Decline", "danger", ButtonAct::Decline));
        let input =
            json!({"type": "plain_text_input", "action_id": NOTE_INPUT, "max_length": 1000});
        vec![
            json!({"type": "input", "optional": true, "dispatch_action": false, "element": input,
                "label": label("Why (a decline must say)")}),
            json!({"type": "actions", "elements": elements}),
        ]
    }
}

/// Leaves out the longest paragraphs until Slack takes all of it; the first one says who asks.
fn shorten(elements: &mut Vec<Value>) {
    let mut lengths: Vec<usize> = elements.iter().map(|one| one.to_string().len()).collect();
    let mut left_out = 0;
    while lengths.iter().sum::<usize>() > LONGEST {
        let longest = lengths.iter().enumerate().skip(1).max_by_key(|(_, length)| **length);
        let Some((at, _)) = longest else { break };
        lengths.remove(at);
        elements.remove(at);
        left_out += 1;
    }
    if left_out > 0 {
        let said = format!("{left_out} paragraphs are left out; its page has all of them");
        elements.push(labelled("Truncated", &said));
    }
}

/// A paragraph with a label in bold.
pub(super) fn labelled(label: &str, said: &str) -> Value {
    let mut elements =
        vec![json!({"type": "text", "text": format!("{label}: "), "style": {"bold": true}})];
    if !said.is_empty() {
        elements.push(json!({"type": "text", "text": said}));
    }
    json!({"type": "rich_text_section", "elements": elements})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn e15_what_is_too_long_for_slack_is_left_out_and_says_so() {
        let mut short = vec![labelled("Who", "ana"), labelled("Why", "stuck")];
        shorten(&mut short);
        assert_eq!(short.len(), 2);
        let mut long = vec![labelled("Who", "ana"), labelled("Why", "stuck")];
        long.extend((0..60).map(|n| labelled("What", &"ü".repeat(200 + n))));
        shorten(&mut long);
        assert!(Value::Array(long.clone()).to_string().len() <= LONGEST + 300);
        assert_eq!(long[0], labelled("Who", "ana"));
        assert!(long.contains(&labelled("Why", "stuck")), "the longest go first");
        let last = long.last().map(Value::to_string).unwrap_or_default();
        assert!(last.contains("Truncated") && last.contains("paragraphs are left out"), "{last}");
    }
}
