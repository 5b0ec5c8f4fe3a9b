//! A report on a terminal, and in a spreadsheet.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portcullis_api::{
    audit::csv,
    reports::{AccessReportBody, ReportedGrantBody, SeenDataBody, StandingAccessBody},
};
use portcullis_model::Decision;

use crate::cli::{screen::Screen, short_id, when};

const COLUMNS: [&str; 9] =
    ["section", "principal", "service", "what", "how", "from", "to", "reviewed", "why"];

pub(super) fn report(screen: &Screen, report: &AccessReportBody) {
    screen.line(&format!("access from {} to {}", when::utc(report.since), when::utc(report.until)));
    screen.line("");
    screen.line(&format!("grants: {}", report.grants.len()));
    grants(screen, report.grants.iter());
    screen.line("");
    let emergencies: Vec<_> = report.grants.iter().filter(|one| one.emergency).collect();
    let open = emergencies.iter().filter(|one| one.open).count();
    screen.line(&format!("emergencies: {}, not looked at since: {open}", emergencies.len()));
    if !emergencies.is_empty() {
        grants(screen, emergencies.into_iter());
    }
    screen.line("");
    let more = if report.more_revealed { "; more than is counted" } else { "" };
    screen.line(&format!("sensitive data that was seen{more}"));
    if let Some(since) = report.kept_since {
        let since = when::utc(since);
        screen.line(&format!("counted since {since}: retention removed what was on record before"));
    }
    let row = |seen: &SeenDataBody| {
        let answers = format!("{} answers, {} by grant", seen.answers, seen.by_grant);
        let (principal, service, class) = (&seen.principal, &seen.service, &seen.class);
        let last = when::utc(seen.last);
        vec![principal.clone(), service.clone(), class.clone(), answers, last]
    };
    let rows = report.revealed.iter().map(row).collect();
    screen.table("nobody saw any", &["who", "where", "class", "how often", "last"], rows);
    screen.line("");
    screen.line(&format!("standing access, as of {}", when::utc(report.made_at)));
    let row = |one: &StandingAccessBody| {
        vec![one.principal.id.clone(), one.name.clone(), one.service.clone(), reached(one)]
    };
    let rows = report.standing.iter().map(row).collect();
    screen.table("nobody has any", &["who", "name", "where", "what"], rows);
}

fn grants<'a>(screen: &Screen, grants: impl Iterator<Item = &'a ReportedGrantBody>) {
    let row = |one: &ReportedGrantBody| {
        let grant = &one.grant;
        vec![
            short_id::shown(&grant.id),
            grant.principal.id.clone(),
            grant.operation.clone(),
            how(one),
            when::utc(grant.starts_at),
            ended(one, when::utc),
            reviewed(one),
            one.reason.clone().unwrap_or_default(),
        ]
    };
    let header = ["id", "who", "what", "how", "from", "to", "reviewed", "why"];
    screen.table("there were none", &header, grants.map(row).collect());
}

/// By principal, as somebody goes through it.
pub(super) fn review(screen: &Screen, report: &AccessReportBody) {
    let mut all: BTreeMap<&str, Vec<Vec<String>>> = BTreeMap::new();
    for one in &report.standing {
        let row = vec!["standing".to_owned(), one.service.clone(), reached(one), String::new()];
        all.entry(&one.principal.id).or_default().push(row);
    }
    for one in &report.grants {
        let grant = &one.grant;
        let more = format!(
            "{} to {}, {}",
            when::utc(grant.starts_at),
            ended(one, when::utc),
            reviewed(one)
        );
        let row = vec![how(one), grant.service.clone(), grant.operation.clone(), more];
        all.entry(&grant.principal.id).or_default().push(row);
    }
    screen.line(&format!("access from {} to {}", when::utc(report.since), when::utc(report.until)));
    for (who, rows) in all {
        screen.line("");
        screen.line(who);
        screen.table("", &["how", "where", "what", "more"], rows);
    }
    screen.line("");
    screen.line(&format!("digest: {}", report.digest));
}

/// One table of everything, its parts told apart by the first column.
pub(super) fn csv(screen: &Screen, report: &AccessReportBody) {
    let line = |cells: [&str; 9]| {
        let mut row = String::new();
        for (n, cell) in cells.into_iter().enumerate() {
            if n > 0 {
                row.push(',');
            }
            csv::cell(&mut row, cell);
        }
        screen.line(&row);
    };
    line(COLUMNS);
    for one in &report.grants {
        let (grant, (from, to)) = (&one.grant, (whole(one.grant.starts_at), ended(one, whole)));
        let (who, reason) = (&grant.principal.id, one.reason.as_deref().unwrap_or(""));
        let (how, reviewed) = (how(one), reviewed(one));
        line(["grant", who, &grant.service, &grant.operation, &how, &from, &to, &reviewed, reason]);
    }
    for seen in &report.revealed {
        let how = format!("{} answers, {} by grant", seen.answers, seen.by_grant);
        let (first, last) = (whole(seen.first), whole(seen.last));
        let (who, service) = (&seen.principal, &seen.service);
        line(["revealed", who, service, &seen.class, &how, &first, &last, "", ""]);
    }
    for one in &report.standing {
        let from = whole(report.made_at);
        for what in one.operations.iter().chain(&one.reveals) {
            line(["standing", &one.principal.id, &one.service, what, "", &from, "", "", ""]);
        }
    }
}

fn reached(one: &StandingAccessBody) -> String {
    let all: Vec<_> = one.operations.iter().chain(&one.reveals).map(String::as_str).collect();
    all.join(", ")
}

fn how(one: &ReportedGrantBody) -> String {
    if one.emergency { "emergency".to_owned() } else { one.grant.kind.clone() }
}

/// For programs: to the nanosecond.
fn whole(time: Timestamp) -> String {
    time.to_string()
}

fn ended(one: &ReportedGrantBody, shown: fn(Timestamp) -> String) -> String {
    match (one.grant.end, one.grant.ended_at) {
        (Some(end), Some(at)) => format!("{} ({})", shown(at), end.in_words()),
        _ => shown(one.grant.expires_at),
    }
}

fn reviewed(one: &ReportedGrantBody) -> String {
    let said = |decision| match decision {
        Decision::Approve => "approved",
        Decision::Decline => "declined",
    };
    let by = |review: &portcullis_api::access_requests::ReviewBody| {
        format!("{} by {}", said(review.decision), review.reviewer.id)
    };
    let all: Vec<_> = one.reviews.iter().map(by).collect();
    match (all.is_empty(), one.open) {
        (true, true) => "NOT YET".to_owned(),
        (true, false) => "by policy".to_owned(),
        (false, _) => all.join(", "),
    }
}
