//! Grafana Cloud IRM: alert groups, schedules, and outgoing webhooks.
//!
//! Follows the documents of Grafana `OnCall`, whose API Grafana Cloud IRM has (github.com/grafana/oncall,
//! docs/sources/oncall-api-reference and configure/integrations/outgoing-webhooks, of 2026-01-05). What is
//! an incident here is an alert group there, open while it is not resolved; incidents that people declare
//! in IRM are another API's: [`super::grafana_incidents`]. Who works on it is who acknowledged it. It does not say when
//! it last changed: what was asked for last counts.
//!
//! Grafana signs none of these webhooks: all that it can send along is a header. So a message proves that
//! its sender knows a secret, not that its body is as it was sent; and as anybody who reads one message
//! could send others, what it says is not believed: the alert group that it names is looked at. Without
//! TLS there is no secret.

use async_trait::async_trait;
use aws_lc_rs::constant_time;
use jiff::{SignedDuration, Timestamp};
use portcullis_model::Secret;
use serde_json::{Value, json};
use url::form_urlencoded;

use super::{
    vendor::{Heard, Hook, Note, Open, Report, Shift, Them, Unheard, Vendor},
    wire::{Call, Line, Trouble, list, text, time},
};

/// What is asked for: all that is not resolved.
const UNDER_WAY: [&str; 3] = ["new", "acknowledged", "silenced"];
const RESOLVED: &str = "resolved";

/// Grafana Cloud IRM.
#[derive(Debug)]
pub struct Grafana {
    secrets: Vec<Secret>,
}

impl Grafana {
    /// With the secrets that its webhooks have in `Authorization`.
    pub fn new(secrets: &[Secret]) -> Self {
        let secrets = secrets.iter().filter(|secret| !secret.expose().is_empty());
        Self { secrets: secrets.cloned().collect() }
    }

    fn knows(&self, hook: &Hook<'_>) -> bool {
        let header = hook.headers.get("authorization").map_or("", String::as_str);
        let same = |secret: &Secret| {
            constant_time::verify_slices_are_equal(header.as_bytes(), secret.expose().as_bytes())
                .is_ok()
        };
        self.secrets.iter().any(same)
    }
}

#[async_trait]
impl Vendor for Grafana {
    fn speaks(&self) -> bool {
        !self.secrets.is_empty()
    }

    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard> {
        if !self.knows(hook) {
            return Err(Unheard::Forged);
        }
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| Unheard::Senseless)?;
        let id = ["/alert_group/id", "/alert_group_id"].iter().find_map(|at| text(&body, at));
        id.map(Heard::Look).ok_or(Unheard::Senseless)
    }

    async fn open(&self, line: &Line, now: Timestamp) -> Result<Open, Trouble> {
        let mut all = Open::default();
        for state in UNDER_WAY {
            let pages = line.pages(|before| {
                let call = Call::of(["api", "v1", "alert_groups", ""]);
                match before {
                    None => Some(call.with("state", state)),
                    Some(before) => Some(Call { query: next(before)?, ..call }),
                }
            });
            let pages = pages.await?;
            let results = pages.iter().flat_map(|page| list(page, "/results"));
            all.reports.extend(results.filter_map(|one| report(one, now)));
        }
        Ok(all)
    }

    async fn one(&self, line: &Line, key: &str, now: Timestamp) -> Result<Option<Report>, Trouble> {
        let found = line.find(Call::of(["api", "v1", "alert_groups", key])).await?;
        Ok(found.and_then(|found| report(&found, now)))
    }

    async fn shift(
        &self,
        line: &Line,
        schedule: &str,
        now: Timestamp,
    ) -> Result<Option<Shift>, Trouble> {
        let day = |at: Timestamp| at.strftime("%Y-%m-%d").to_string();
        let (from, to) =
            (now - SignedDuration::from_hours(24), now + SignedDuration::from_hours(24));
        let call = Call::of(["api", "v1", "schedules", schedule, "final_shifts"]);
        let first = call.clone().with("start_date", day(from)).with("end_date", day(to));
        let Some(page) = line.find(first).await? else { return Ok(None) };
        let mut shift = Shift::default();
        let more = line
            .pages(|before| Some(Call { query: next(before.unwrap_or(&page))?, ..call.clone() }));
        for page in std::iter::once(page.clone()).chain(more.await?) {
            for one in list(&page, "/results") {
                let (Some(start), Some(end)) = (time(one, "/shift_start"), time(one, "/shift_end"))
                else {
                    continue;
                };
                if start <= now && now < end {
                    let id = text(one, "/user_pk");
                    shift.people.extend(id.map(|id| Them { id, email: text(one, "/user_email") }));
                    shift.until = shift.until.into_iter().chain([end]).min();
                }
            }
        }
        Ok(Some(shift))
    }

    async fn email(&self, line: &Line, id: &str) -> Result<Option<String>, Trouble> {
        let found = line.find(Call::of(["api", "v1", "users", id, ""])).await?;
        Ok(found.and_then(|found| text(&found, "/email")))
    }

    async fn note(&self, line: &Line, key: &str, note: &Note) -> Result<bool, Trouble> {
        let call = Call::of(["api", "v1", "resolution_notes", ""])
            .posting(&json!({"alert_group_id": key, "text": note.text()}));
        Ok(line.find(call).await?.is_some())
    }
}

/// What to ask for the page behind `before`, if there is one. Where its link leads is not followed.
fn next(before: &Value) -> Option<Vec<(String, String)>> {
    let link = text(before, "/next")?;
    let (_, query) = link.split_once('?').unwrap_or_default();
    Some(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

/// As it was at `now`: an alert group does not say when it last changed.
fn report(value: &Value, now: Timestamp) -> Option<Report> {
    let id = text(value, "/id")?;
    let labels = labels(value);
    let places = ["/integration_id", "/route_id", "/team_id"];
    let places = places.iter().filter_map(|pointer| text(value, pointer));
    let named = labels.iter().map(|(name, value)| format!("{name}:{value}"));
    let severity = labels.iter().find(|(name, _)| name == "severity");
    Some(Report {
        word: id.clone(),
        key: id,
        title: text(value, "/title").unwrap_or_default(),
        severities: severity.map(|(_, value)| value.clone()).into_iter().collect(),
        services: places.chain(named).collect(),
        responders: text(value, "/acknowledged_by").map(Them::called).into_iter().collect(),
        whole: true,
        at: now,
        open: text(value, "/state")? != RESOLVED,
    })
}

/// A mapping, as messages have it, or a list of keys and values.
fn labels(value: &Value) -> Vec<(String, String)> {
    if let Some(Value::Object(all)) = value.get("labels") {
        let each = all.iter().map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
        return each.flatten().collect();
    }
    let each = list(value, "/labels").iter();
    each.filter_map(|one| Some((text(one, "/key/name")?, text(one, "/value/name")?))).collect()
}
