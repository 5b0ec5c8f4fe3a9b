//! PagerDuty: V3 webhooks, the REST API v2 and the Events API v2.
//!
//! Follows PagerDuty's developer-docs (webhooks/01-Overview, 02-Behavior and 04-Signatures,
//! REST-API/04-Rate-Limits) of 2026-08-19 and its api-schema (REST 2.0.0, Events v2 2.0) of 2026-08-14.
//! An incident is open while it is triggered or acknowledged. It is called by its number. Who works on it
//! are those that it is assigned to, and who joined it; messages name the first alone, so an incident
//! that one tells of is looked at as well. Messages have no time of sending: one that was recorded and
//! comes again says nothing new, or is too old to open anything.

use async_trait::async_trait;
use jiff::Timestamp;
use portcullis_identity::codes::{Keys, hex};
use portcullis_model::{AccessRequestId, Secret};
use serde_json::{Value, json};

use super::{
    text::fitting,
    vendor::{AHEAD, Heard, Hook, Note, Open, Report, Shift, Them, Unheard, Vendor},
    wire::{Call, Line, Trouble, list, text, time},
};

const PAGE: u64 = 100;
/// Events that change an incident and bring it along whole.
const WHOLE: [&str; 11] = [
    "incident.acknowledged",
    "incident.delegated",
    "incident.escalated",
    "incident.incident_type.changed",
    "incident.priority_updated",
    "incident.reassigned",
    "incident.reopened",
    "incident.resolved",
    "incident.service_updated",
    "incident.triggered",
    "incident.unacknowledged",
];
/// Events that say that somebody joined one.
const JOINED: [&str; 2] = ["incident.responder.added", "incident.responder.replied"];
/// Characters of a summary that the Events API takes.
const LONGEST_SUMMARY: usize = 1024;
/// Characters of a name in it: there is room for the reason always.
const LONGEST_NAME: usize = 200;

/// PagerDuty.
#[derive(Debug)]
pub struct PagerDuty {
    keys: Keys,
    /// In whose name notes are written.
    from: Option<String>,
}

impl PagerDuty {
    /// With the secrets of its webhook subscription, and the e-mail address that notes are from.
    pub fn new(secrets: &[Secret], from: Option<String>) -> Self {
        Self { keys: Keys::of_texts(secrets), from }
    }

    fn is_signed(&self, hook: &Hook<'_>) -> bool {
        let header = hook.headers.get("x-pagerduty-signature").map_or("", String::as_str);
        let codes = header.split(',').filter_map(|one| hex(one.trim().strip_prefix("v1=")?));
        self.keys.sign(&[hook.body], &codes.collect::<Vec<_>>())
    }
}

#[async_trait]
impl Vendor for PagerDuty {
    fn speaks(&self) -> bool {
        !self.keys.is_empty()
    }

    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard> {
        if !self.is_signed(hook) {
            return Err(Unheard::Forged);
        }
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| Unheard::Senseless)?;
        let kind = text(&body, "/event/event_type").ok_or(Unheard::Senseless)?;
        if JOINED.contains(&kind.as_str()) {
            let key = text(&body, "/event/data/incident/id").ok_or(Unheard::Senseless)?;
            return Ok(Heard::Look(key));
        }
        if !WHOLE.contains(&kind.as_str()) {
            return Ok(Heard::Nothing);
        }
        let at = time(&body, "/event/occurred_at").ok_or(Unheard::Senseless)?;
        if at > hook.now + AHEAD {
            return Err(Unheard::Late);
        }
        let message = text(&body, "/event/id").ok_or(Unheard::Senseless)?;
        let data = body.pointer("/event/data").ok_or(Unheard::Senseless)?;
        let report = report(data, "/number", at).ok_or(Unheard::Senseless)?;
        Ok(Heard::Incident { message, report: Report { whole: false, ..report } })
    }

    async fn open(&self, line: &Line, _now: Timestamp) -> Result<Open, Trouble> {
        let pages = line.pages(|before| {
            let offset = next_offset(before)?;
            let call = Call::of(["incidents"])
                .with("statuses[]", "triggered")
                .with("statuses[]", "acknowledged")
                .with("date_range", "all")
                .with("limit", PAGE.to_string())
                .with("offset", offset.to_string());
            Some(call)
        });
        let pages = pages.await?;
        let all = pages.iter().flat_map(|page| list(page, "/incidents"));
        Ok(all.filter_map(asked).collect())
    }

    async fn one(
        &self,
        line: &Line,
        key: &str,
        _now: Timestamp,
    ) -> Result<Option<Report>, Trouble> {
        let found = line.find(Call::of(["incidents", key])).await?;
        Ok(found.and_then(|found| asked(found.pointer("/incident")?)))
    }

    async fn shift(
        &self,
        line: &Line,
        schedule: &str,
        _now: Timestamp,
    ) -> Result<Option<Shift>, Trouble> {
        // Without `since` and `until` it is those who are on call now, by its own clock.
        let pages = line.pages(|before| {
            let offset = next_offset(before)?;
            let call = Call::of(["oncalls"])
                .with("schedule_ids[]", schedule)
                .with("limit", PAGE.to_string())
                .with("offset", offset.to_string());
            Some(call)
        });
        let mut shift = Shift::default();
        for page in pages.await? {
            for one in list(&page, "/oncalls") {
                // Of another schedule, whatever was asked for.
                if text(one, "/schedule/id").as_deref() != Some(schedule) {
                    continue;
                }
                shift.people.extend(text(one, "/user/id").map(Them::called));
                shift.until = shift.until.into_iter().chain(time(one, "/end")).min();
            }
        }
        Ok(Some(shift))
    }

    async fn email(&self, line: &Line, id: &str) -> Result<Option<String>, Trouble> {
        let found = line.find(Call::of(["users", id])).await?;
        Ok(found.and_then(|found| text(&found, "/user/email")))
    }

    async fn note(&self, line: &Line, key: &str, note: &Note) -> Result<bool, Trouble> {
        let call = Call::of(["incidents", key, "notes"])
            .header("from", self.from.clone().unwrap_or_default())
            .posting(&json!({"note": {"content": note.text()}}));
        Ok(line.find(call).await?.is_some())
    }
}

/// Where the page behind `before` begins, if there is one.
fn next_offset(before: Option<&Value>) -> Option<u64> {
    let Some(before) = before else { return Some(0) };
    let more = before.pointer("/more").and_then(Value::as_bool).unwrap_or(false);
    let number = |pointer| before.pointer(pointer).and_then(Value::as_u64);
    more.then(|| number("/offset").unwrap_or(0) + number("/limit").unwrap_or(PAGE).max(1))
}

/// An incident of the REST API.
fn asked(value: &Value) -> Option<Report> {
    let at = ["/updated_at", "/last_status_change_at", "/created_at"];
    let at = at.iter().find_map(|pointer| time(value, pointer))?;
    report(value, "/incident_number", at)
}

fn report(value: &Value, number: &str, at: Timestamp) -> Option<Report> {
    let open = match text(value, "/status")?.as_str() {
        "triggered" | "acknowledged" => true,
        "resolved" => false,
        // A status that was introduced since: nothing is known of it.
        _ => return None,
    };
    let severities = ["/priority/summary", "/urgency"];
    let assigned = list(value, "/assignments").iter().filter_map(|one| text(one, "/assignee/id"));
    let named = list(value, "/assignees").iter().filter_map(|one| text(one, "/id"));
    let joined = list(value, "/incidents_responders").iter();
    let joined = joined.filter(|one| text(one, "/state").as_deref() == Some("joined"));
    let joined = joined.filter_map(|one| text(one, "/user/id"));
    Some(Report {
        key: text(value, "/id")?,
        word: value.pointer(number)?.as_u64()?.to_string(),
        title: text(value, "/title").unwrap_or_default(),
        severities: severities.iter().filter_map(|pointer| text(value, pointer)).collect(),
        services: text(value, "/service/id").into_iter().collect(),
        responders: assigned.chain(named).chain(joined).map(Them::called).collect(),
        whole: true,
        at,
        open,
    })
}

/// An event of the Events API v2 that wakes somebody about an access request. The same request again is
/// the same alert.
pub fn page(routing_key: &Secret, id: AccessRequestId, notice: &Value, base_url: &str) -> Value {
    let said = |name: &str| text(notice, &format!("/access_request/{name}")).unwrap_or_default();
    let urgent = text(notice, "/type").as_deref() == Some("emergency");
    let asks = if urgent { "took emergency access to" } else { "asks for access to" };
    let name = |name: &str| fitting(&said(name), LONGEST_NAME);
    let who = format!("{} {asks} {}: ", name("requester_name"), name("service"));
    let room = LONGEST_SUMMARY.saturating_sub(who.chars().count());
    let summary = format!("{who}{}", fitting(&said("reason"), room));
    let link = format!("{base_url}/requests/{id}");
    json!({
        "routing_key": routing_key.expose(),
        "event_action": "trigger",
        "dedup_key": dedup_key(id),
        "client": "Portcullis",
        "client_url": link,
        "links": [{"href": link, "text": "Review the access request"}],
        "payload": {
            "summary": summary,
            "source": base_url,
            "severity": if urgent { "critical" } else { "warning" },
            "timestamp": text(notice, "/time"),
            "component": said("service"),
            "class": text(notice, "/type"),
            "custom_details": notice.pointer("/access_request"),
        },
    })
}

/// The event that lets them sleep again.
pub fn answered(routing_key: &Secret, id: AccessRequestId) -> Value {
    json!({
        "routing_key": routing_key.expose(),
        "event_action": "resolve",
        "dedup_key": dedup_key(id),
    })
}

fn dedup_key(id: AccessRequestId) -> String {
    format!("portcullis/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(name: &str, reason: &str) -> String {
        let key = Secret::new("e93facc04764012d7bfb002500d5d1a6");
        let id = "01ARZ3NDEKTSV4RRFFQ69G5FAV".parse().unwrap();
        let request = json!({"requester_name": name, "service": "payments", "reason": reason});
        let notice = json!({"type": "review", "access_request": request});
        let page = page(&key, id, &notice, "https://portcullis.example.com");
        page["payload"]["summary"].as_str().unwrap().to_owned()
    }

    #[test]
    fn e15_a_page_shows_what_misleads_and_says_where_it_is_cut() {
        let shown = summary("ana", "refunds\u{202e} stück");
        assert_eq!(shown, "ana asks for access to payments: refunds⟨U+202E⟩ stück");
        for (name, reason) in [
            ("ana".to_owned(), "ü".repeat(1_000)),
            ("ana".to_owned(), "\u{200b}".repeat(1_000)),
            ("\u{202e}".repeat(2_000), "\u{202e}".repeat(1_000)),
        ] {
            let shown = summary(&name, &reason);
            assert!(shown.chars().count() <= LONGEST_SUMMARY, "{shown}");
            assert!(shown.contains(" asks for access to payments: "), "{shown}");
            assert!(shown.ends_with(" more characters)"), "{shown}");
            assert!(!shown.contains(['\u{202e}', '\u{200b}']), "{shown}");
        }
        let whole = "ü".repeat(900);
        assert!(summary("ana", &whole).ends_with(&whole), "what fits is whole");
    }
}
