//! Jira Service Management: incidents are issues of Jira, and who is on call is what its operations say.
//!
//! Follows Atlassian's documents for the cloud: Jira's webhooks (a secret signs the body in
//! `X-Hub-Signature: sha256=…`, the way of `WebSub`; `X-Atlassian-Webhook-Identifier` is the same in each
//! attempt), the Jira REST API v3 (issues, `search/jql`, users, comments) and the JSM ops REST API v1
//! (`schedules/{id}/on-calls`). Only webhooks that an administrator made with a secret are signed.
//!
//! An incident is open until its status is of the category `done`. What it is about are its components, or
//! what a custom field of services names. Who works on it are whom it is assigned to and those in a
//! custom field of people. Ends of shifts are not said, overrides are in what is said. Search may lag
//! behind by seconds: an incident that it does not name is asked for by itself before it is over. Notes
//! are internal comments: customers do not see them.

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use portcullis_identity::codes::{Keys, hex};
use portcullis_model::Secret;
use serde_json::{Value, json};

use super::{
    vendor::{AHEAD, Heard, Hook, Note, Open, Report, Shift, Them, Unheard, Vendor},
    wire::{Call, Line, Trouble, list, text},
};

const PAGE: &str = "100";
const TOLD: [&str; 2] = ["jira:issue_created", "jira:issue_updated"];
const DELETED: &str = "jira:issue_deleted";
/// Jira sends a message again for more than an hour. An older one asks for nothing: everything was
/// looked at since.
const OLDEST: SignedDuration = SignedDuration::from_hours(2);

/// Jira Service Management.
#[derive(Debug)]
pub struct Jira {
    keys: Keys,
    site: JiraSite,
}

/// What of a site is read.
#[derive(Debug, Clone)]
pub struct JiraSite {
    /// The id of the cloud.
    pub cloud: String,
    /// The project.
    pub project: String,
    /// What issues are incidents.
    pub issue_type: String,
    /// The field that says what is affected: `components`, or `customfield_10100`.
    pub service_field: String,
    /// The custom field that says who works on it, if there is one.
    pub responders_field: Option<String>,
}

impl Jira {
    /// With the secrets of its webhook.
    pub fn new(secrets: &[Secret], site: JiraSite) -> Self {
        Self { keys: Keys::of_texts(secrets), site }
    }

    fn is_signed(&self, hook: &Hook<'_>) -> bool {
        let header = hook.headers.get("x-hub-signature");
        let code = header.and_then(|header| hex(header.strip_prefix("sha256=")?));
        self.keys.sign(&[hook.body], &Vec::from_iter(code))
    }

    fn jira<const N: usize>(&self, path: [&str; N]) -> Call {
        let begin = ["ex", "jira", &self.site.cloud, "rest", "api", "3"];
        let path = begin.iter().chain(path.iter()).map(|&part| part.to_owned());
        Call { path: path.collect(), ..Call::default() }
    }

    /// The fields that are read.
    fn fields(&self) -> String {
        let mut fields = vec!["summary", "status", "priority", "updated", "assignee", "project"];
        fields.extend(["issuetype", self.site.service_field.as_str()]);
        fields.extend(self.site.responders_field.as_deref());
        fields.join(",")
    }

    /// `None` where it is no incident of ours.
    fn report(&self, issue: &Value) -> Option<Report> {
        let theirs = text(issue, "/fields/project/key")? == self.site.project
            && text(issue, "/fields/issuetype/name")? == self.site.issue_type;
        let key = text(issue, "/key").filter(|_| theirs)?;
        let at = moment(issue.pointer("/fields/updated")?)?;
        let done = text(issue, "/fields/status/statusCategory/key")? == "done";
        let fields = issue.get("fields")?;
        let assignee = fields.get("assignee").and_then(them);
        let others = self.site.responders_field.as_ref().and_then(|field| fields.get(field));
        let others = others.map(several).unwrap_or_default();
        Some(Report {
            word: key.rsplit('-').next()?.to_owned(),
            key,
            title: text(fields, "/summary").unwrap_or_default(),
            severities: text(fields, "/priority/name").into_iter().collect(),
            services: fields.get(&self.site.service_field).map(named).unwrap_or_default(),
            responders: assignee.into_iter().chain(others.iter().filter_map(them)).collect(),
            whole: true,
            at,
            open: !done,
        })
    }
}

#[async_trait]
impl Vendor for Jira {
    fn speaks(&self) -> bool {
        !self.keys.is_empty()
    }

    fn hear(&self, hook: &Hook<'_>) -> Result<Heard, Unheard> {
        if !self.is_signed(hook) {
            return Err(Unheard::Forged);
        }
        let body: Value = serde_json::from_slice(hook.body).map_err(|_| Unheard::Senseless)?;
        let kind = text(&body, "/webhookEvent").ok_or(Unheard::Senseless)?;
        if kind != DELETED && !TOLD.contains(&kind.as_str()) {
            return Ok(Heard::Nothing);
        }
        let sent = body.get("timestamp").and_then(Value::as_i64);
        let sent = sent.and_then(|sent| Timestamp::from_millisecond(sent).ok());
        let sent = sent.ok_or(Unheard::Senseless)?;
        if sent > hook.now + AHEAD {
            return Err(Unheard::Late);
        }
        if kind == DELETED {
            let is_old = sent < hook.now - OLDEST;
            return if is_old { Err(Unheard::Late) } else { Ok(Heard::LookAtAll) };
        }
        let issue = body.get("issue").ok_or(Unheard::Senseless)?;
        let Some(report) = self.report(issue) else { return Ok(Heard::Nothing) };
        let message = hook.headers.get("x-atlassian-webhook-identifier");
        let message = message.ok_or(Unheard::Senseless)?.clone();
        Ok(Heard::Incident { message, report })
    }

    async fn open(&self, line: &Line, _now: Timestamp) -> Result<Open, Trouble> {
        let JiraSite { project, issue_type, .. } = &self.site;
        let jql = format!(
            "project = {} AND issuetype = {} AND statusCategory != Done ORDER BY created ASC",
            quoted(project),
            quoted(issue_type)
        );
        let pages = line.pages(|before| {
            let call = self
                .jira(["search", "jql"])
                .with("jql", jql.clone())
                .with("maxResults", PAGE)
                .with("fields", self.fields());
            match before {
                None => Some(call),
                Some(before) => Some(call.with("nextPageToken", text(before, "/nextPageToken")?)),
            }
        });
        let pages = pages.await?;
        let all = pages.iter().flat_map(|page| list(page, "/issues"));
        Ok(all.filter_map(|issue| self.report(issue)).collect())
    }

    async fn one(
        &self,
        line: &Line,
        key: &str,
        _now: Timestamp,
    ) -> Result<Option<Report>, Trouble> {
        let call = self.jira(["issue", key]).with("fields", self.fields());
        Ok(line.find(call).await?.and_then(|issue| self.report(&issue)))
    }

    async fn shift(
        &self,
        line: &Line,
        schedule: &str,
        _now: Timestamp,
    ) -> Result<Option<Shift>, Trouble> {
        let call = Call::of(["jsm", "ops", "api", &self.site.cloud, "v1", "schedules", schedule]);
        let mut call = call.with("flat", "true");
        call.path.push("on-calls".to_owned());
        let Some(found) = line.find(call).await? else { return Ok(None) };
        let people = list(&found, "/onCallUsers").iter().filter_map(Value::as_str);
        Ok(Some(Shift { people: people.map(Them::called).collect(), until: None }))
    }

    async fn email(&self, line: &Line, id: &str) -> Result<Option<String>, Trouble> {
        let found = line.find(self.jira(["user"]).with("accountId", id)).await?;
        // Whoever hides theirs has none.
        Ok(found.and_then(|found| text(&found, "/emailAddress")))
    }

    async fn note(&self, line: &Line, key: &str, note: &Note) -> Result<bool, Trouble> {
        let text = note.text();
        let paragraphs = text
            .lines()
            .map(|line| json!({"type": "paragraph", "content": [{"type": "text", "text": line}]}));
        let call = self.jira(["issue", key, "comment"]).posting(&json!({
            "body": {"type": "doc", "version": 1, "content": paragraphs.collect::<Vec<_>>()},
            "properties": [{"key": "sd.public.comment", "value": {"internal": true}}],
        }));
        Ok(line.find(call).await?.is_some())
    }
}

/// A text of JQL.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// `2026-01-02T03:04:05.678+0000`, as Jira writes times.
fn moment(value: &Value) -> Option<Timestamp> {
    let text = value.as_str()?;
    if let Ok(at) = text.parse() {
        return Some(at);
    }
    // An offset without a colon.
    let (head, minutes) = text.split_at_checked(text.len().checked_sub(2)?)?;
    format!("{head}:{minutes}").parse().ok()
}

fn them(value: &Value) -> Option<Them> {
    Some(Them { id: text(value, "/accountId")?, email: text(value, "/emailAddress") })
}

/// A field of one or of many.
fn several(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// What a field names: by id, name or value.
fn named(value: &Value) -> Vec<String> {
    let names = ["/id", "/name", "/value"];
    let each = several(value).into_iter().flat_map(|one| match one {
        Value::String(text) => vec![text],
        one => names.iter().filter_map(|name| text(&one, name)).collect(),
    });
    each.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_jira_have_an_offset_without_a_colon() {
        let wanted: Timestamp = "2026-01-02T02:04:05.678Z".parse().unwrap();
        for text in ["2026-01-02T03:04:05.678+0100", "2026-01-02T02:04:05.678Z"] {
            assert_eq!(moment(&json!(text)), Some(wanted), "{text}");
        }
        for text in ["", "0", "é", "2026-01-02", "yesterday"] {
            assert_eq!(moment(&json!(text)), None, "{text}");
        }
    }

    #[test]
    fn whatever_a_project_is_called_a_query_asks_for_nothing_else() {
        assert_eq!(quoted("a\" OR 1=1 \\"), "\"a\\\" OR 1=1 \\\\\"");
    }
}
