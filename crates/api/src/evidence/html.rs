//! The evidence as a page for people: one file, nothing to load, no script, good on paper. Whatever people
//! or programs wrote stands in it as text, and cannot turn around or hide what stands beside it.

use std::fmt::Write as _;

use serde_json::Value;

use super::{
    body::{EvidenceBody, RecordBody, SectionBody},
    contents::KeptState,
};
use portcullis_model::misleads;

use crate::pages;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#d5d9e0;--soft:#5b6472;--good:#0a6b3d;--bad:#a3222a;--code:#f4f5f7}\
*{box-sizing:border-box}\
body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:0 auto;padding:2rem 1.25rem 4rem;color:#1b1f24;background:#fff}\
h1{font-size:1.7rem;line-height:1.2;margin:0 0 .25rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2.5rem 0 .5rem}\
p{margin:.25rem 0}.soft{color:var(--soft)}code,pre{font:13px/1.5 ui-monospace,monospace}\
pre{background:var(--code);padding:.75rem 1rem;border-radius:.4rem;white-space:pre-wrap;overflow-wrap:anywhere}\
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1rem;margin:1rem 0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}\
table{width:100%;border-collapse:collapse;table-layout:fixed}th,td{text-align:left;vertical-align:top;padding:.45rem .75rem .45rem 0;border-bottom:1px solid var(--line);overflow-wrap:break-word}\
.c1{width:4.5rem}.c2{width:11.5rem}.c3{width:8.5rem}.c4{width:8rem}.c5{width:13.5rem}.c6{width:6.5rem}\
th{color:var(--soft);font-weight:500;font-size:.85rem}td.n{font-variant-numeric:tabular-nums;color:var(--soft)}td.t{white-space:nowrap}\
.good{color:var(--good);font-weight:600}.bad{color:var(--bad);font-weight:600}\
@media(prefers-color-scheme:dark){:root{--line:#333a44;--soft:#9aa4b2;--good:#5fd39a;--bad:#ff8a8f;--code:#1d2229}body{color:#e6e9ee;background:#12151a}}\
@media(max-width:44rem){thead{display:none}table,tbody,tr,td{display:block}colgroup{display:none}td:not(:empty)::before{content:attr(data-l);display:inline-block;min-width:5rem;color:var(--soft);font-weight:400}tr{border-bottom:1px solid var(--line);padding:.6rem 0}td{border:0;padding:.1rem 0}td.t{white-space:normal}td:empty{display:none}dl{grid-template-columns:1fr;gap:0}dd{margin-bottom:.5rem}}\
@media print{body{max-width:none;padding:0;font-size:11px}h2{break-after:avoid}tr,pre{break-inside:avoid}}";
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The page.
pub(super) fn page(body: &EvidenceBody) -> String {
    let title = format!("Evidence: {} {}", body.kind.replace('_', " "), body.id);
    let title = text(&title);
    let mut html = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{title}</title><style>{STYLE}</style></head><body><main><h1>{title}</h1>"
    );
    let count: usize = body.sections.iter().map(|section| section.records.len()).sum();
    let _infallible = write!(
        html,
        "<p class=\"soft\">{count} records. Made for <bdi>{}</bdi> at {}. This page repeats what the records \
         say; <code>portcullis audit verify</code> proves it, as README.txt says.</p>\
         <p class=\"soft\">The first {} records of the log were looked through. What came later is not on it, nor are \
         requests that still ran.</p>",
        text(&body.made_by),
        body.made_at.strftime("%FT%TZ"),
        body.looked_through
    );
    for (first, last) in &body.removed {
        let _infallible = write!(
            html,
            "<p class=\"soft\">Records {first} to {last} had been removed by retention, and are not on it.</p>"
        );
    }
    summary(&mut html, body);
    for section in body.sections.iter().filter(|section| !section.records.is_empty()) {
        table(&mut html, section);
    }
    contents(&mut html, body);
    policies(&mut html, body);
    html.push_str("</main></body></html>\n");
    html
}

/// What people ask first.
fn summary(html: &mut String, body: &EvidenceBody) {
    let records = |name: &'static str| {
        body.sections.iter().filter(move |section| section.name == name).flat_map(|s| &s.records)
    };
    let mut facts: Vec<(&str, String)> = Vec::new();
    for asked in records("asked") {
        let operation = field(asked, "operation");
        facts.push(("asked by", format!("{} for {operation}", field(asked, "principal"))));
        facts.push(("because", field(asked, "detail")));
    }
    for review in records("reviewed").filter(|record| kind(record) == "reviewed") {
        let note = field(review, "detail");
        let said = format!("{}: {}", field(review, "principal"), field(review, "decision"));
        facts.push(("review", if note.is_empty() { said } else { format!("{said}, {note}") }));
    }
    for grant in records("granted") {
        match kind(grant) {
            "grant_started" => {
                facts.push(("granted", format!("{}, {}", time(grant), field(grant, "detail"))));
            }
            "grant_ended" => {
                let why = field(grant, "decision").replace('_', " ");
                facts.push(("ended", format!("{}, {why}", time(grant))));
            }
            _ => {}
        }
    }
    let done = records("done").count();
    let ended = records("connections").count();
    facts.push(("done", format!("requests: {done}, ends of connections: {ended}")));
    html.push_str("<dl>");
    for (name, value) in facts.iter().filter(|(_, value)| !value.is_empty()) {
        let _infallible = write!(html, "<dt>{name}</dt><dd><bdi>{}</bdi></dd>", text(value));
    }
    html.push_str("</dl>");
}

fn table(html: &mut String, section: &SectionBody) {
    let _infallible = write!(
        html,
        "<h2>{}</h2><table><colgroup><col class=\"c1\"><col class=\"c2\"><col class=\"c3\"><col class=\"c4\">\
         <col class=\"c5\"><col class=\"c6\"><col></colgroup><thead><tr><th>record</th><th>time</th><th>event</th><th>who</th><th>what</th>\
         <th>result</th><th>detail</th></tr></thead><tbody>",
        text(&section.title)
    );
    for record in &section.records {
        let class = match (field(record, "decision").as_str(), field(record, "status")) {
            ("deny" | "decline" | "requestable", _) => "bad",
            (_, status) if status.starts_with(['4', '5']) => "bad",
            ("permit" | "approve", _) => "good",
            _ => "",
        };
        let cells = [
            ("record", "n", record.seq.to_string()),
            ("time", "t", time(record)),
            ("event", "", kind(record).replace('_', " ")),
            ("who", "", field(record, "principal")),
            ("what", "", what(record)),
            ("result", class, result(record)),
            ("detail", "", detail(record)),
        ];
        html.push_str("<tr>");
        for (label, class, cell) in cells {
            let cell = if cell.is_empty() { cell } else { format!("<bdi>{}</bdi>", text(&cell)) };
            let _infallible = write!(html, "<td data-l=\"{label}\" class=\"{class}\">{cell}</td>");
        }
        html.push_str("</tr>");
    }
    html.push_str("</tbody></table>");
}

/// What was kept of requests, or who erased it.
fn contents(html: &mut String, body: &EvidenceBody) {
    if body.contents.is_empty() {
        return;
    }
    html.push_str("<h2>What was kept of the requests</h2>");
    for kept in &body.contents {
        let _infallible = write!(html, "<p>record {}: {}", kept.seq, kept.note.parts);
        let _infallible = match &kept.state {
            KeptState::Kept { content } => {
                let content = serde_json::to_string_pretty(content).unwrap_or_default();
                write!(html, "</p><pre><bdi>{}</bdi></pre>", lines(&content))
            }
            KeptState::Erased { erasure, by, at, reason } => write!(
                html,
                "; <span class=\"bad\">erased on {at} by <bdi>{}</bdi></span>: <bdi>{}</bdi> \
                 <span class=\"soft\">(record {erasure})</span></p>",
                text(by),
                text(reason)
            ),
            KeptState::Absent => write!(html, "; not in this pack</p>"),
        };
    }
}

fn policies(html: &mut String, body: &EvidenceBody) {
    if body.policies.is_empty() && body.missing_bundles.is_empty() {
        return;
    }
    html.push_str("<h2>What the policies said</h2>");
    for digest in &body.missing_bundles {
        let _infallible = write!(
            html,
            "<p class=\"bad\">The sources of the bundle <code>{}</code> are gone: what its policies said is not known here.</p>",
            text(digest)
        );
    }
    for policy in &body.policies {
        let _infallible = write!(
            html,
            "<p><code><bdi>{}</bdi></code> <span class=\"soft\"><bdi>{}</bdi>, bundle <code>{}</code></span></p>\
             <pre><bdi>{}</bdi></pre>",
            text(&policy.id),
            text(&policy.file),
            text(&policy.bundle),
            lines(&policy.text)
        );
    }
}

fn kind(record: &RecordBody) -> &str {
    record.record.get("type").and_then(Value::as_str).unwrap_or_default()
}

/// A member as text; nothing if it is not there.
fn field(record: &RecordBody, name: &str) -> String {
    match record.record.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(value) => words(value),
    }
}

/// A value as people read it: somebody by their id, a list by its members.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(members) => members.iter().map(words).collect::<Vec<_>>().join(", "),
        Value::Object(members) => match members.get("id") {
            Some(id) => words(id),
            None => members.values().map(words).collect::<Vec<_>>().join(" "),
        },
        other => other.to_string(),
    }
}

fn what(record: &RecordBody) -> String {
    let parts = ["operation", "method", "path", "instance"].map(|name| field(record, name));
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { field(record, "service") } else { parts.join(" ") }
}

fn result(record: &RecordBody) -> String {
    let parts = ["decision", "status", "error"].map(|name| field(record, name));
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join(" ").replace('_', " ")
}

/// To the second.
fn time(record: &RecordBody) -> String {
    let time = field(record, "time");
    match time.get(..19) {
        Some(second) => format!("{} Z", second.replace('T', " ")),
        None => time,
    }
}

fn detail(record: &RecordBody) -> String {
    let mut parts = vec![field(record, "detail")];
    let named = ["grant", "connection", "incident", "masked", "revealed", "policies"];
    parts.extend(named.iter().filter_map(|name| {
        let value = field(record, name);
        (!value.is_empty()).then(|| format!("{name} {value}"))
    }));
    if kind(record) == "bundle_activated" {
        parts.push(field(record, "bundle"));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("; ")
}

/// Text that is text: no markup, and nothing that turns around, hides or ends what stands beside it.
fn text(text: &str) -> String {
    visible(text, |_| false)
}

/// The same with its line ends and tabs.
fn lines(text: &str) -> String {
    visible(text, |c| matches!(c, '\n' | '\t'))
}

fn visible(text: &str, kept: impl Fn(char) -> bool) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if misleads(c) && !kept(c) {
            safe.extend(c.escape_unicode());
        } else {
            safe.push(c);
        }
    }
    pages::escaped(&safe)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn j06_what_people_wrote_is_text_on_the_page() {
        let record = json!({"type": "access_requested", "principal": {"type": "User", "id": "corp:ana"},
            "operation": "payments.createRefund",
            "detail": "<script>alert(1)</script>\u{202e}\u{7}\"' & \u{1b}[31m"});
        let records = vec![RecordBody { seq: 7, record }];
        let section = |name: &str| SectionBody {
            name: name.to_owned(),
            title: "Who asked".to_owned(),
            records: records.clone(),
        };
        let body = EvidenceBody {
            contents: Vec::new(),
            format: 1,
            kind: "grant".to_owned(),
            id: "<b>".to_owned(),
            made_by: "corp:sam".to_owned(),
            made_at: "2026-03-01T12:00:00Z".parse().unwrap(),
            sections: vec![section("asked"), section("others")],
            looked_through: 8,
            removed: vec![(0, 3)],
            policies: Vec::new(),
            missing_bundles: vec!["sha256:<i>".to_owned()],
        };
        let html = page(&body);
        assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
        assert!(html.contains("\\u{202e}\\u{7}&quot;&#39; &amp; \\u{1b}[31m"), "{html}");
        assert!(!html.contains("<script") && !html.contains("<b>"), "{html}");
        assert!(html.contains("Records 0 to 3 had been removed"), "{html}");
        assert!(html.contains("first 8 records") && html.contains("sha256:&lt;i&gt;"), "{html}");
        assert!(!html.contains(['\u{202e}', '\u{7}', '\u{1b}']));
        assert!(!html.contains("http://") && !html.contains("https://") && !html.contains("src="));
    }
}
