//! The record in pictures, for those who may read it: what was decided, what was refused where, grants in force,
//! how long people and answers took.

use askama::Template;
use axum::{Router, extract::State, routing::get};
use jiff::{SignedDuration, Timestamp};
use portcullis_control::views::overview::{Latency, Overview, Part, Span};
use serde::Deserialize;

use super::{
    Outcome,
    charts::{self, Chart, Series, number},
    frame::{Frame, Section},
    moment::lasting,
    visitor::{Visitor, page},
};
use crate::{extract::Search, parts::Shared};

/// Decisions in the order that they stand on each other, with their colours.
const DECISIONS: [(&str, &str); 4] =
    [("permit", "c-open"), ("requestable", "c-wait"), ("deny", "c-bad"), ("refuse", "c-soft")];
/// Services that are drawn; the table has as many.
const SERVICES: usize = 10;
/// How long people waited, in classes, by seconds.
const WAITS: [(i64, &str); 5] = [
    (60, "overview-minute"),
    (300, "overview-5-minutes"),
    (900, "overview-15-minutes"),
    (3600, "overview-hour"),
    (i64::MAX, "overview-longer"),
];

pub(super) fn routes() -> Router<Shared> {
    Router::new().route("/overview", get(overview))
}

#[derive(Debug, Template)]
#[template(path = "console/overview.html")]
struct OverviewPage {
    frame: Frame,
    spans: Vec<(&'static str, bool)>,
    since: Timestamp,
    behind: u64,
    is_cut: bool,
    is_counted: bool,
    charts: Vec<Chart>,
}

#[derive(Debug, Deserialize)]
struct Asked {
    span: Option<String>,
}

async fn overview(
    visitor: Visitor,
    State(api): State<Shared>,
    Search(asked): Search<Asked>,
) -> Outcome {
    let frame = visitor.frame(&api, Section::Overview, "overview-title").await?;
    let wanted = |span: &Span| Some(span.as_str()) == asked.span.as_deref();
    let span = Span::ALL.into_iter().find(wanted).unwrap_or_default();
    let overview = api.control.overview(&visitor.op, span).await?;
    let spans = Span::ALL.into_iter().map(|one| (one.as_str(), one == span)).collect();
    let (since, behind, is_cut) = (overview.since, overview.behind, overview.is_cut);
    let is_counted = overview.parts.is_some();
    let charts = all(&frame, &overview);
    page(&OverviewPage { frame, spans, since, behind, is_cut, is_counted, charts })
}

fn all(frame: &Frame, overview: &Overview) -> Vec<Chart> {
    let mut charts = Vec::new();
    if let Some(parts) = &overview.parts {
        let names = names(overview);
        charts.push(decisions(frame, &names, parts));
        charts.push(refusals(frame, &overview.refusals));
        charts.push(grants(frame, &names, parts));
        charts.push(approvals(frame, &overview.approvals));
        charts.push(latencies(frame, &names, parts));
    } else {
        charts.push(approvals(frame, &overview.approvals));
    }
    charts
}

/// When each part begins.
fn names(overview: &Overview) -> Vec<String> {
    let form = match overview.part {
        part if part < SignedDuration::from_hours(6) => "%H:%M",
        part if part < SignedDuration::from_hours(24) => "%-d %b %H:%M",
        _ => "%-d %b",
    };
    let count = overview.parts.as_ref().map_or(0, Vec::len);
    let begins =
        std::iter::successors(Some(overview.since), |at| at.checked_add(overview.part).ok());
    begins.take(count).map(|at| at.strftime(form).to_string()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "a picture is not that fine")]
fn exact(count: u64) -> f64 {
    count as f64
}

fn table(names: &[String], values: impl Fn(usize) -> Vec<String>) -> Vec<Vec<String>> {
    let row = |(at, name): (usize, &String)| {
        let mut row = vec![name.clone()];
        row.extend(values(at));
        row
    };
    names.iter().enumerate().map(row).collect()
}

fn decisions(frame: &Frame, names: &[String], parts: &[Part]) -> Chart {
    let count = |part: &Part, decision: &str| {
        let of = part.decisions.iter().filter(|(one, _)| one == decision);
        of.map(|(_, count)| *count).sum::<u64>()
    };
    let series = |(decision, class): (&str, &'static str)| -> Series {
        (class, parts.iter().map(|part| Some(exact(count(part, decision)))).collect())
    };
    let total = |decision: &str| parts.iter().map(|part| count(part, decision)).sum::<u64>();
    let said = DECISIONS.map(|(decision, _)| format!("{decision} {}", total(decision)));
    let legend = |(decision, class): (&str, &'static str)| {
        (class, format!("{decision} · {}", total(decision)))
    };
    let rows = table(names, |at| {
        let part = parts.get(at);
        let of = |(decision, _)| part.map_or(0, |part| count(part, decision)).to_string();
        DECISIONS.map(of).to_vec()
    });
    let mut columns = vec![frame.say("overview-from")];
    columns.extend(DECISIONS.map(|(decision, _)| decision.to_owned()));
    Chart {
        id: "decisions",
        title: frame.say("overview-decisions"),
        says: frame.say_with("overview-decisions-says", "counts", said.join(", ")),
        drawing: charts::stacked(names, &DECISIONS.map(series), number),
        legend: DECISIONS.map(legend).to_vec(),
        columns,
        rows,
    }
}

fn refusals(frame: &Frame, refusals: &[(String, u64)]) -> Chart {
    let name = |service: &str| match service {
        "" => frame.say("overview-no-service"),
        service => service.to_owned(),
    };
    let shown: Vec<_> = refusals.iter().take(SERVICES).collect();
    let drawn: Vec<_> =
        shown.iter().map(|(service, count)| (name(service), exact(*count))).collect();
    let says = match shown.first() {
        Some((service, count)) => {
            frame.say_with2("overview-refusals-says", "service", name(service), "n", *count)
        }
        None => frame.say("overview-refusals-none"),
    };
    Chart {
        id: "refusals",
        title: frame.say("overview-refusals"),
        says,
        drawing: charts::rows(&drawn, "c-bad"),
        legend: Vec::new(),
        columns: vec![frame.say("overview-service"), frame.say("overview-refused")],
        rows: shown.iter().map(|(service, count)| vec![name(service), count.to_string()]).collect(),
    }
}

fn grants(frame: &Frame, names: &[String], parts: &[Part]) -> Chart {
    let values = parts.iter().map(|part| Some(exact(part.grants))).collect();
    let now = parts.last().map_or(0, |part| part.grants);
    let most = parts.iter().map(|part| part.grants).max().unwrap_or(0);
    Chart {
        id: "grants",
        title: frame.say("overview-grants"),
        says: frame.say_with2("overview-grants-says", "now", now, "most", most),
        drawing: charts::lines(names, &[("c-accent", values)], number),
        legend: Vec::new(),
        columns: vec![frame.say("overview-from"), frame.say("overview-grants")],
        rows: table(names, |at| vec![parts.get(at).map_or(0, |part| part.grants).to_string()]),
    }
}

fn approvals(frame: &Frame, approvals: &[SignedDuration]) -> Chart {
    let mut begun = 0;
    let class = |(most, key): (i64, &str)| {
        let end = approvals.partition_point(|waited| waited.as_secs() < most);
        let count = end.saturating_sub(begun);
        begun = end;
        (frame.say(key), u64::try_from(count).unwrap_or(0))
    };
    let classes = WAITS.map(class);
    let says = match approvals.get(approvals.len() / 2) {
        Some(median) => {
            let (n, median) = (approvals.len(), lasting(*median));
            frame.say_with2("overview-approvals-says", "n", n, "median", median)
        }
        None => frame.say("overview-approvals-none"),
    };
    let drawn: Vec<_> = classes.iter().map(|(name, count)| (name.clone(), exact(*count))).collect();
    Chart {
        id: "approvals",
        title: frame.say("overview-approvals"),
        says,
        drawing: if approvals.is_empty() {
            charts::rows(&[], "")
        } else {
            charts::rows(&drawn, "c-accent")
        },
        legend: Vec::new(),
        columns: vec![frame.say("overview-waited"), frame.say("overview-requests")],
        rows: classes.into_iter().map(|(name, count)| vec![name, count.to_string()]).collect(),
    }
}

/// A latency in milliseconds; what is longer than is told apart is drawn at the end of what is.
fn milliseconds(latency: Latency) -> f64 {
    match latency {
        Latency::Within(most) => exact(most) / 1000.0,
        Latency::Longer => 60_000.0,
    }
}

fn said(latency: Option<Latency>) -> String {
    match latency {
        None => String::new(),
        Some(Latency::Longer) => "> 60 s".to_owned(),
        Some(latency) => length(milliseconds(latency)),
    }
}

fn length(milliseconds: f64) -> String {
    if milliseconds >= 1000.0 {
        format!("{} s", number(milliseconds / 1000.0))
    } else {
        format!("{} ms", number(milliseconds))
    }
}

fn latencies(frame: &Frame, names: &[String], parts: &[Part]) -> Chart {
    let values = |of: fn(&Part) -> Option<Latency>| {
        parts.iter().map(|part| of(part).map(milliseconds)).collect::<Vec<_>>()
    };
    let newest = parts.iter().rev().find(|part| part.median.is_some());
    let says = match newest {
        Some(part) => {
            let (median, slow) = (said(part.median), said(part.slow));
            frame.say_with2("overview-latency-says", "median", median, "slow", slow)
        }
        None => frame.say("overview-latency-none"),
    };
    let (median, slow) = (frame.say("overview-median"), frame.say("overview-slow"));
    let row = |at: usize| {
        let part = parts.get(at);
        vec![said(part.and_then(|part| part.median)), said(part.and_then(|part| part.slow))]
    };
    let series = [("c-accent", values(|part| part.median)), ("c-wait", values(|part| part.slow))];
    Chart {
        id: "latency",
        title: frame.say("overview-latency"),
        says,
        drawing: charts::lines(names, &series, length),
        legend: vec![("c-accent", median.clone()), ("c-wait", slow.clone())],
        columns: vec![frame.say("overview-from"), median, slow],
        rows: table(names, row),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::console::theme::Theme;

    fn overview() -> Overview {
        let since: Timestamp = "2026-11-22T12:00:00Z".parse().unwrap();
        let mut parts = vec![Part::default(); 24];
        parts[3].decisions = vec![("permit".into(), 5), ("deny".into(), 2)];
        parts[3].median = Some(Latency::Within(1500));
        parts[3].slow = Some(Latency::Longer);
        let part = SignedDuration::from_hours(1);
        let minutes = [1, 2, 40, 600].map(SignedDuration::from_mins);
        Overview {
            since,
            until: since + part * 24,
            part,
            parts: Some(parts),
            refusals: vec![("payments".into(), 2), (String::new(), 1)],
            behind: 0,
            approvals: minutes.to_vec(),
            is_cut: false,
        }
    }

    #[test]
    fn every_picture_has_its_numbers_in_a_table() {
        let frame = Frame::of_nobody(Theme::default(), Timestamp::UNIX_EPOCH);
        let charts = all(&frame, &overview());
        assert_eq!(charts.len(), 5);
        for chart in &charts {
            assert!(chart.rows.iter().all(|row| row.len() == chart.columns.len()), "{}", chart.id);
            assert!(!chart.says.starts_with("overview-"), "{}", chart.says);
        }
        let waited = charts.iter().find(|chart| chart.id == "approvals").unwrap();
        let counts: Vec<_> = waited.rows.iter().map(|row| row[1].as_str()).collect();
        assert_eq!(counts, ["0", "2", "0", "1", "1"]);
        assert_eq!(charts[0].rows[3], ["15:00", "5", "0", "2", "0"]);
    }

    #[test]
    fn without_an_index_there_is_what_needs_none() {
        let frame = Frame::of_nobody(Theme::default(), Timestamp::UNIX_EPOCH);
        let nothing = Overview { parts: None, approvals: Vec::new(), ..overview() };
        assert_eq!(
            all(&frame, &nothing).iter().map(|chart| chart.id).collect::<Vec<_>>(),
            ["approvals"]
        );
    }
}
