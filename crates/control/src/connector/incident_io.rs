//! incident.io: webhooks, which Svix carries, and the API v2.
//!
//! Follows incident.io's API reference (OpenAPI 1.0.0 as of 2026-08-21: Incidents V2, Schedule Entries V2, Users V2,
//! Incident Attachments V1, rate limits, and its webhooks) and what it says of verifying them: `webhook-id`, `webhook-timestamp` and
//! `webhook-signature`, as Standard Webhooks has them. An incident is open while its status is of the
//! category `live`: in triage it may be none. Tests, tutorials and incidents that are written up
//! afterwards open nothing. Who works on it are those who have a role in it. Of a private one a message
//! says its id alone, and it is looked at.
//!
//! The API has no call that writes a note, a message or an entry of the timeline. What it has is a custom field of
//! text, which a call edits: who was given what is written there, a line each, the newest last; and a link that an
//! incident has attached: it leads to the evidence. A field is edited as a whole, so that what somebody writes there
//! in the same second may be lost.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{codes::Keys, standard_webhooks};
use portcullis_model::Secret;
use serde_json::{Value, json};

use super::{
    vendor::{AHEAD, Heard, Hook, Note, Open, Report, Shift, Them, Unheard, Vendor},
    wire::{Call, Line, Trouble, list, text, time},
};

const PAGE: &str = "250";
const STATUS: &str = "public_incident.incident_status_updated_v2";
const PUBLIC: [&str; 2] =
    ["public_incident.incident_created_v2", "public_incident.incident_updated_v2"];
const PRIVATE: [&str; 2] =
    ["private_incident.incident_created_v2", "private_incident.incident_updated_v2"];
/// A message is refused that was sent longer ago, or later than that from now.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
const SECRET: &str = "whsec_";
/// Characters of the field that notes are in: the oldest lines make way, and the evidence has them all.
const LONGEST_FIELD: usize = 4_000;

/// incident.io.
#[derive(Debug)]
pub struct IncidentIo {
    keys: Keys,
    /// The custom field that says what is affected, by id or by name.
    field: String,
    /// The custom field of text that notes are in, by its id.
    notes_field: Option<String>,
}

/// A text that is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no signing secret of incident.io: `whsec_…`, as its settings of webhooks show it")]
pub struct NoSecret;

impl IncidentIo {
    /// With the secrets of its webhook endpoint, the custom field that says what is affected, and the id of the one that
    /// notes are in.
    pub fn new(
        secrets: &[Secret],
        field: String,
        notes_field: Option<String>,
    ) -> Result<Self, NoSecret> {
        let bytes = secrets.iter().map(|secret| {
            let text = secret.expose().strip_prefix(SECRET).ok_or(NoSecret)?;
            STANDARD.decode(text).map_err(|_| NoSecret)
        });
        let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { keys: Keys::of_bytes(bytes.into_iter()), field, notes_field })
    }

    /// The message's id, if it is signed and of now.
    fn signed<'h>(&self, hook: &Hook<'h>) -> Result<&'h str, Unheard> {
        let header = |name: &str| hook.headers.get(name).map(String::as_str);
        let id = header("webhook-id").ok_or(Unheard::Forged)?;
        let second = header("webhook-timestamp").ok_or(Unheard::Forged)?;
        let signatures = header("webhook-signature").unwrap_or_default();
        let parts = standard_webhooks::parts(id, second, hook.body);
        if !self.keys.sign(&parts, &standard_webhooks::codes(signatures.split(' '))) {
            return Err(Unheard::Forged);
        }
        let sent = second.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
        let sent = sent.ok_or(Unheard::Senseless)?;
        let off = hook.now.duration_since(sent).abs();
        if off > TOLERANCE { Err(Unheard::Late) } else { Ok(id) }
    }

    fn report(&self, value: &Value) -> Option<Report> {
        let at = time(value, "/updated_at")?;
        let live = text(value, "/incident_status/category").as_deref() == Some("live");
        // Where no mode is said it is a real one.
        let mode = text(value, "/mode");
        let real = mode.as_deref().is_none_or(|mode| mode == "standard");
        let reference = text(value, "/reference")?;
        let assigned = list(value, "/incident_role_assignments").iter();
        let assigned = assigned.filter_map(|one| them(one.pointer("/assignee")?));
        Some(Report {
            key: text(value, "/id")?,
            word: reference.rsplit('-').next()?.to_owned(),
            title: text(value, "/name").unwrap_or_default(),
            severities: text(value, "/severity/name").into_iter().collect(),
            services: self.affected(value),
            responders: assigned.collect(),
            whole: true,
            at,
            open: live && real,
        })
    }

    /// What the custom field names: by id, by name, and by what another system calls it.
    fn affected(&self, value: &Value) -> Vec<String> {
        let entries = list(value, "/custom_field_entries").iter().filter(|entry| {
            let called = |pointer| text(entry, pointer).is_some_and(|it| it == self.field);
            called("/custom_field/id") || called("/custom_field/name")
        });
        let names = [
            "/value_option/id",
            "/value_option/value",
            "/value_catalog_entry/id",
            "/value_catalog_entry/external_id",
            "/value_catalog_entry/name",
        ];
        let values = entries.flat_map(|entry| list(entry, "/values"));
        values.flat_map(|one| names.into_iter().filter_map(|name| text(one, name))).collect()
    }
}

#[async_trait]
impl Vendor for IncidentIo {
    fn speaks(&self) -> bool {
        !self.keys.is_empty()
    }

    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard> {
        let message = self.signed(hook)?.to_owned();
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| Unheard::Senseless)?;
        let kind = text(&body, "/event_type").ok_or(Unheard::Senseless)?;
        let said = body.get(&kind).ok_or(Unheard::Senseless)?;
        if PRIVATE.contains(&kind.as_str()) {
            return text(said, "/id").map(Heard::Look).ok_or(Unheard::Senseless);
        }
        let incident = if kind == STATUS {
            said.pointer("/incident").ok_or(Unheard::Senseless)?
        } else if PUBLIC.contains(&kind.as_str()) {
            said
        } else {
            return Ok(Heard::Nothing);
        };
        let report = self.report(incident).ok_or(Unheard::Senseless)?;
        if report.at > hook.now + AHEAD {
            return Err(Unheard::Late);
        }
        Ok(Heard::Incident { message, report })
    }

    async fn open(&self, line: &Line, _now: Timestamp) -> Result<Open, Trouble> {
        let pages = line.pages(|before| {
            let call = Call::of(["v2", "incidents"])
                .with("page_size", PAGE)
                .with("status_category[one_of]", "live")
                .with("mode[one_of]", "standard");
            match before {
                None => Some(call),
                Some(before) => Some(call.with("after", text(before, "/pagination_meta/after")?)),
            }
        });
        let pages = pages.await?;
        let all = pages.iter().flat_map(|page| list(page, "/incidents"));
        Ok(all.filter_map(|one| self.report(one)).collect())
    }

    async fn one(
        &self,
        line: &Line,
        key: &str,
        _now: Timestamp,
    ) -> Result<Option<Report>, Trouble> {
        let found = line.find(Call::of(["v2", "incidents", key])).await?;
        Ok(found.and_then(|found| self.report(found.pointer("/incident")?)))
    }

    async fn shift(
        &self,
        line: &Line,
        schedule: &str,
        now: Timestamp,
    ) -> Result<Option<Shift>, Trouble> {
        let end = (now + SignedDuration::from_secs(1)).to_string();
        let pages = line.pages(|before| {
            let start = match before {
                None => now.to_string(),
                // So says the reference: what is behind a page begins where its `after` says.
                Some(before) => text(before, "/pagination_meta/after")?,
            };
            let call = Call::of(["v2", "schedule_entries"])
                .with("schedule_id", schedule)
                .with("entry_window_start", start)
                .with("entry_window_end", end.clone());
            Some(call)
        });
        let mut shift = Shift::default();
        for page in pages.await? {
            for entry in list(&page, "/schedule_entries/final") {
                let (Some(from), Some(until)) = (time(entry, "/start_at"), time(entry, "/end_at"))
                else {
                    continue;
                };
                if from <= now && now < until {
                    shift.people.extend(entry.pointer("/user").and_then(them));
                    shift.until = shift.until.into_iter().chain([until]).min();
                }
            }
        }
        Ok(Some(shift))
    }

    async fn email(&self, line: &Line, id: &str) -> Result<Option<String>, Trouble> {
        let found = line.find(Call::of(["v2", "users", id])).await?;
        Ok(found.and_then(|found| text(&found, "/user/email")))
    }

    async fn note(&self, line: &Line, key: &str, note: &Note) -> Result<bool, Trouble> {
        let Some(field) = &self.notes_field else { return Ok(true) };
        let Some(found) = line.find(Call::of(["v2", "incidents", key])).await? else {
            return Ok(false);
        };
        let before = text_of(&found, field);
        let after = with_lines(&before, &note.lines);
        if after != before {
            let call = Call::of(["v2", "incidents", key, "actions", "edit"]).posting(&json!({
                "incident": {"custom_field_entries": [
                    {"custom_field_id": field, "values": [{"value_text": after}]},
                ]},
                "notify_incident_channel": false,
            }));
            if line.find(call).await?.is_none() {
                return Ok(false);
            }
        }
        attach(line, key, note).await
    }
}

/// What stands in a custom field of text.
fn text_of(found: &Value, field: &str) -> String {
    let mut entries = list(found, "/incident/custom_field_entries").iter();
    let entry = entries.find(|entry| text(entry, "/custom_field/id").is_some_and(|id| id == field));
    entry.and_then(|entry| text(entry, "/values/0/value_text")).unwrap_or_default()
}

/// `before` with `lines` at its end, those left out that it has already.
fn with_lines(before: &str, lines: &[String]) -> String {
    let new = lines.iter().map(String::as_str).filter(|line| !before.lines().any(|it| it == *line));
    let all: Vec<&str> = before.lines().chain(new).collect();
    let mut length = 0;
    let fit = all.iter().rev().take_while(|line| {
        length += line.chars().count() + 1;
        length <= LONGEST_FIELD
    });
    let fit = fit.count();
    let kept: Vec<&str> = all.iter().skip(all.len() - fit).copied().collect();
    kept.join("\n")
}

/// Attaches the link to the evidence, unless it is attached already.
async fn attach(line: &Line, key: &str, note: &Note) -> Result<bool, Trouble> {
    let title = format!("Evidence of access given for {}", note.incident);
    let listed = Call::of(["v1", "incident_attachments"]).with("incident_id", key);
    let Some(listed) = line.find(listed).await? else { return Ok(false) };
    let is_there = list(&listed, "/incident_attachments").iter().any(|one| {
        let is = |pointer, what: &str| text(one, pointer).is_some_and(|it| it == what);
        // How a link is written down may change there.
        is("/resource/permalink", &note.evidence) || is("/resource/title", &title)
    });
    if is_there {
        return Ok(true);
    }
    let call = Call::of(["v1", "incident_attachments"]).posting(&json!({
        "incident_id": key,
        "resource": {"resource_type": "arbitrary_url", "url": note.evidence, "title": title},
    }));
    Ok(line.find(call).await?.is_some())
}

fn them(value: &Value) -> Option<Them> {
    Some(Them { id: text(value, "/id")?, email: text(value, "/email") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_of_notes_has_each_line_once_and_the_newest_that_fit() {
        let lines = ["one".to_owned(), "two".to_owned()];
        assert_eq!(with_lines("", &lines), "one\ntwo");
        assert_eq!(with_lines("by hand\none", &lines), "by hand\none\ntwo");
        assert_eq!(with_lines("one\ntwo", &lines), "one\ntwo");
        let many: Vec<String> = (0..1000).map(|number| format!("line {number:04}")).collect();
        let kept = with_lines("the first", &many);
        assert!(kept.chars().count() <= LONGEST_FIELD, "{}", kept.len());
        assert!(kept.ends_with("line 0999") && kept.starts_with("line 0"), "{kept}");
        assert_eq!(kept.lines().count(), 400);
    }
}
