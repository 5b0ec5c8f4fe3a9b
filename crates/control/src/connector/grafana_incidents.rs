//! Incidents that people declare in Grafana Cloud IRM, beside its alert groups.
//!
//! Follows Grafana's client of the Incident API (github.com/grafana/incident-go of 2026-06-30, regenerated from the IRM API:
//! `IncidentsService`, `ActivityService`, `UsersService` and `OutgoingWebhookPayload`; `webhook.go` for signatures) and
//! its JSON/HTTP RPC reference. An incident is open while it is active; a drill is none. It is called by its id.
//! What it is about are its labels, `key:label`. Who works on it are those who have a role in it, but for those who
//! observe. Notes are entries of its timeline. Schedules are not its: alert groups' API has them.
//!
//! Messages are signed with their time: the code is over the hash of the body, the second, and the version. Each brings
//! its incident along whole.

use async_trait::async_trait;
use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD};
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::codes::{Keys, hex};
use portcullis_model::Secret;
use serde_json::{Value, json};

use super::{
    text::visible,
    vendor::{AHEAD, Heard, Hook, Note, Open, Report, Shift, Them, Unheard, Vendor},
    wire::{Call, Line, Trouble, list, text, time},
};

/// Where a stack has the API.
const API: [&str; 6] = ["api", "plugins", "grafana-irm-app", "resources", "api", "v1"];
const PAGE: u32 = 50;
const UNDER_WAY: &str = "isdrill:false status:active";
const EVENTS: &str = "grafana.incident.";
/// A message is refused that was sent longer ago, or later than that from now.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// Who only looks on.
const OBSERVER: &str = "observer";
/// What it says in an error of something that there is not, in whatever case.
const NOT_FOUND: &str = "not found";
/// Characters of an id in what is said of it.
const LONGEST_ID: usize = 100;
/// What a label without a key has as its key.
const NO_KEY: &str = "tags";

/// Incidents of Grafana Cloud IRM.
#[derive(Debug)]
pub struct GrafanaIncidents {
    keys: Keys,
}

impl GrafanaIncidents {
    /// With the signing secrets of its outgoing webhooks.
    pub fn new(secrets: &[Secret]) -> Self {
        Self { keys: Keys::of_texts(secrets) }
    }

    /// When a message was sent, if it is signed.
    fn signed(&self, hook: &Hook<'_>) -> Result<Timestamp, Unheard> {
        let header = hook.headers.get("gi-signature").map_or("", String::as_str);
        let pairs = || header.split(',').filter_map(|pair| pair.trim().split_once('='));
        let all = |name| pairs().filter(move |(its, _)| *its == name).map(|(_, value)| value);
        let second = all("t").next().ok_or(Unheard::Forged)?;
        let codes: Vec<_> = all("v1").filter_map(hex).collect();
        let hash = STANDARD.encode(digest::digest(&digest::SHA256, hook.body));
        let parts = [hash.as_bytes(), b":", second.as_bytes(), b":v1"];
        if !self.keys.sign(&parts, &codes) {
            return Err(Unheard::Forged);
        }
        let sent = second.parse().ok().and_then(|second| Timestamp::from_second(second).ok());
        sent.ok_or(Unheard::Senseless)
    }
}

#[async_trait]
impl Vendor for GrafanaIncidents {
    fn speaks(&self) -> bool {
        !self.keys.is_empty()
    }

    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard> {
        let sent = self.signed(hook)?;
        if hook.now.duration_since(sent).abs() > TOLERANCE {
            return Err(Unheard::Late);
        }
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| Unheard::Senseless)?;
        let kind = text(&body, "/event").ok_or(Unheard::Senseless)?;
        let about = body.get("incident").filter(|incident| incident.is_object());
        let Some(incident) = about.filter(|_| kind.starts_with(EVENTS)) else {
            return Ok(Heard::Nothing);
        };
        let message = text(&body, "/id").ok_or(Unheard::Senseless)?;
        let report = report(incident).ok_or(Unheard::Senseless)?;
        if report.at > hook.now + AHEAD {
            return Err(Unheard::Late);
        }
        Ok(Heard::Incident { message, report })
    }

    async fn open(&self, line: &Line, _now: Timestamp) -> Result<Open, Trouble> {
        let pages = line.pages(|before| {
            let cursor = match before {
                None => json!({"nextValue": "", "hasMore": false}),
                Some(before) => {
                    let more = before.pointer("/cursor/hasMore").and_then(Value::as_bool);
                    before.get("cursor").filter(|_| more == Some(true))?.clone()
                }
            };
            Some(call(
                "IncidentsService.QueryIncidentPreviews",
                &json!({
                    "query": {
                        "limit": PAGE,
                        "orderDirection": "ASC",
                        "orderField": "createdTime",
                        "queryString": UNDER_WAY,
                    },
                    "cursor": cursor,
                    "includeCustomFieldValues": false,
                    "includeMembershipPreview": false,
                    "includeIncidentChannels": false,
                }),
            ))
        });
        let mut all = Open::default();
        for page in pages.await? {
            for preview in list(&sound(page)?, "/incidentPreviews") {
                // A preview has not all who work on it.
                let Some(id) = text(preview, "/incidentID") else { continue };
                match found(line, &id).await {
                    Ok(report) => all.reports.extend(report),
                    Err(trouble) if is_of_all(&trouble) => return Err(trouble),
                    Err(trouble) => all.trouble = all.trouble.or_else(|| Some(of(&id, &trouble))),
                }
            }
        }
        Ok(all)
    }

    async fn one(
        &self,
        line: &Line,
        key: &str,
        _now: Timestamp,
    ) -> Result<Option<Report>, Trouble> {
        found(line, key).await
    }

    async fn shift(
        &self,
        _line: &Line,
        _schedule: &str,
        _now: Timestamp,
    ) -> Result<Option<Shift>, Trouble> {
        Ok(None)
    }

    async fn email(&self, line: &Line, id: &str) -> Result<Option<String>, Trouble> {
        let found = asked(line, call("UsersService.GetUser", &json!({"userID": id}))).await?;
        Ok(found.and_then(|found| text(&found, "/user/email")))
    }

    async fn note(&self, line: &Line, key: &str, note: &Note) -> Result<bool, Trouble> {
        let activity = json!({"incidentID": key, "activityKind": "userNote", "body": note.text()});
        Ok(asked(line, call("ActivityService.AddActivity", &activity)).await?.is_some())
    }
}

fn call(method: &str, body: &Value) -> Call {
    let path = API.iter().copied().chain([method]).map(str::to_owned).collect();
    Call { path, ..Call::default() }.posting(body)
}

/// An answer may say that something went wrong whatever its status is.
fn sound(answer: Value) -> Result<Value, Trouble> {
    if text(&answer, "/error").is_some() {
        return Err(Trouble::Failed("it answered an error".to_owned()));
    }
    Ok(answer)
}

/// What there is, or `None`: an error may say that, too, whatever its status is.
async fn asked(line: &Line, call: Call) -> Result<Option<Value>, Trouble> {
    line.find_unless(call, says_nothing).await?.map(sound).transpose()
}

fn says_nothing(answer: &Value) -> bool {
    text(answer, "/error").is_some_and(|error| error.to_lowercase().contains(NOT_FOUND))
}

/// Whether the trouble with one incident is no matter of that one alone: it wants rest, or does not know who asks. One
/// that may not be seen is that one alone.
fn is_of_all(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Limited(_) | Trouble::Refused(401))
}

fn of(id: &str, trouble: &Trouble) -> Trouble {
    Trouble::Failed(format!("of incident `{}`: {trouble}", visible(id, LONGEST_ID)))
}

async fn found(line: &Line, id: &str) -> Result<Option<Report>, Trouble> {
    let found =
        asked(line, call("IncidentsService.GetIncident", &json!({"incidentID": id}))).await?;
    Ok(found.and_then(|found| report(found.get("incident")?)))
}

fn report(value: &Value) -> Option<Report> {
    let active = match text(value, "/status")?.as_str() {
        "active" => true,
        "resolved" => false,
        // A status that was introduced since: nothing is known of it.
        _ => return None,
    };
    let id = text(value, "/incidentID")?;
    let is_drill = value.get("isDrill").and_then(Value::as_bool).unwrap_or(false);
    let labels = list(value, "/labels").iter().filter_map(|label| {
        let key = text(label, "/key").unwrap_or_else(|| NO_KEY.to_owned());
        Some(format!("{key}:{}", text(label, "/label")?))
    });
    let responders = responders(value);
    Some(Report {
        word: id.clone(),
        key: id,
        title: text(value, "/title").unwrap_or_default(),
        severities: text(value, "/severity").into_iter().collect(),
        services: labels.collect(),
        whole: responders.is_some(),
        responders: responders.unwrap_or_default(),
        at: time(value, "/modifiedTime")?,
        open: active && !is_drill,
    })
}

/// Who has a role: in `incidentMembership`, or in `roles`, as messages had it first.
fn responders(value: &Value) -> Option<Vec<Them>> {
    let places = ["/incidentMembership/assignments", "/roles"];
    let all = places.iter().find_map(|place| value.pointer(place)?.as_array())?;
    let roles = ["/role/name", "/role"];
    let works = all.iter().filter(|one| {
        let role = roles.iter().find_map(|place| text(one, place));
        role.is_none_or(|role| !role.eq_ignore_ascii_case(OBSERVER))
    });
    Some(works.filter_map(|one| text(one, "/user/userID")).map(Them::called).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Of Grafana's own client: `webhook_test.go` has a body and its signature; this is the same way with a body of ours,
    /// counted by Python.
    #[test]
    fn a_signature_is_over_the_hash_of_the_body_and_its_second() {
        let vendor = GrafanaIncidents::new(&[Secret::new("some-secret-value")]);
        let headers = BTreeMap::from([(
            "gi-signature".to_owned(),
            "t=1678360185,v1=499511d14aee85da8689c794d37ca70f36ba79d9638649c2c4fb603c2f0aec14"
                .to_owned(),
        )]);
        let body = br#"{"event": "grafana.incident.created"}"#;
        let now: Timestamp = "2023-03-09T11:10:00Z".parse().unwrap();
        let hook = Hook { headers: &headers, body, now };
        assert_eq!(vendor.hear(&hook), Ok(Heard::Nothing), "it names no incident");
        assert_eq!(vendor.hear(&Hook { body: b"{}", ..hook }), Err(Unheard::Forged));
        let late = now + SignedDuration::from_mins(6);
        assert_eq!(vendor.hear(&Hook { now: late, ..hook }), Err(Unheard::Late));
        let nobody = GrafanaIncidents::new(&[Secret::new("")]);
        assert_eq!(nobody.hear(&hook), Err(Unheard::Forged));
    }

    #[test]
    fn an_error_that_says_not_found_is_nothing_and_any_other_is_an_error() {
        for error in ["not found", "Not Found", "incident not found: 19"] {
            assert!(says_nothing(&json!({"error": error})), "{error}");
        }
        for answer in [json!({"error": "boom"}), json!({"title": "not found"}), json!({})] {
            assert!(!says_nothing(&answer), "{answer}");
        }
        assert!(matches!(sound(json!({"error": "boom"})), Err(Trouble::Failed(_))));
    }

    #[test]
    fn whoever_observes_works_on_nothing_and_a_drill_is_no_incident() {
        let user = |id: &str| json!({"userID": id, "name": "Somebody"});
        let mut incident = json!({
            "incidentID": "19", "status": "active", "isDrill": false, "severity": "minor",
            "modifiedTime": "2023-03-09T11:09:45.602445Z",
            "labels": [{"key": "service_name", "label": "payments"}, {"label": "security"}],
            "incidentMembership": {"assignments": [
                {"role": {"name": "commander"}, "user": user("grafana-incident:1")},
                {"role": {"name": "Observer"}, "user": user("grafana-incident:2")},
            ]},
        });
        let seen = report(&incident).unwrap();
        assert_eq!(seen.services, ["service_name:payments", "tags:security"]);
        assert_eq!(seen.responders, [Them::called("grafana-incident:1")]);
        assert!(seen.open && seen.whole);
        incident["isDrill"] = json!(true);
        assert!(!report(&incident).unwrap().open);
        incident["incidentMembership"] = Value::Null;
        assert!(!report(&incident).unwrap().whole);
        incident["roles"] = json!([{"role": "observer", "user": user("grafana-incident:2")}]);
        assert_eq!(report(&incident).unwrap().responders, []);
        incident["status"] = json!("paused");
        assert_eq!(report(&incident), None);
    }
}
