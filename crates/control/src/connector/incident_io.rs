//! incident.io: webhooks, which Svix carries, and the API v2.
//!
//! Follows incident.io's API reference (OpenAPI 1.0.0, tags Incidents V2, Schedules V2, Users V2, and its
//! webhooks) and what it says of verifying them: `webhook-id`, `webhook-timestamp` and
//! `webhook-signature`, as Standard Webhooks has them. An incident is open while its status is of the
//! category `live`: in triage it may be none. Tests, tutorials and incidents that are written up
//! afterwards open nothing. Who works on it are those who have a role in it. Of a private one a message
//! says its id alone, and it is looked at. The API has no call that writes a note: none are written.

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::{codes::Keys, standard_webhooks};
use portcullis_model::Secret;
use serde_json::Value;

use super::{
    vendor::{AHEAD, Heard, Hook, Report, Shift, Them, Unheard, Vendor},
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

/// incident.io.
#[derive(Debug)]
pub struct IncidentIo {
    keys: Keys,
    /// The custom field that says what is affected, by id or by name.
    field: String,
}

/// A text that is no signing secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is no signing secret of incident.io: `whsec_…`, as its settings of webhooks show it")]
pub struct NoSecret;

impl IncidentIo {
    /// With the secrets of its webhook endpoint, and the custom field that says what is affected.
    pub fn new(secrets: &[Secret], field: String) -> Result<Self, NoSecret> {
        let bytes = secrets.iter().map(|secret| {
            let text = secret.expose().strip_prefix(SECRET).ok_or(NoSecret)?;
            STANDARD.decode(text).map_err(|_| NoSecret)
        });
        let bytes = bytes.collect::<Result<Vec<_>, _>>()?;
        Ok(Self { keys: Keys::of_bytes(bytes.into_iter()), field })
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

    async fn open(&self, line: &Line, _now: Timestamp) -> Result<Vec<Report>, Trouble> {
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

    async fn note(&self, _line: &Line, _key: &str, _note: &str) -> Result<bool, Trouble> {
        Ok(false)
    }
}

fn them(value: &Value) -> Option<Them> {
    Some(Them { id: text(value, "/id")?, email: text(value, "/email") })
}
