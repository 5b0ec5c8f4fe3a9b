//! What is asked of the record, as people write it.

use clap::Args;
use jiff::{Timestamp, ToSpan as _, civil::Date, tz::TimeZone};
use portcullis_model::{
    AccessRequestId, ClassName, GrantId, IncidentId, InstanceName, OperationName, ServiceName,
    Window,
};
use url::form_urlencoded::Serializer;

use crate::cli::failure::Failure;

/// What events are meant; all that is given must be so.
#[derive(Debug, Args)]
pub(super) struct Asked {
    /// Whole words in what people wrote, and in paths; all must be there
    words: Vec<String>,
    /// Who, like corp:ana
    #[arg(long, value_name = "PRINCIPAL")]
    who: Option<String>,
    /// Where
    #[arg(long)]
    service: Option<ServiceName>,
    /// On which instance
    #[arg(long)]
    instance: Option<InstanceName>,
    /// What, like payments.createRefund
    #[arg(long, value_name = "OPERATION")]
    op: Option<OperationName>,
    /// By or for which grant, by its whole id
    #[arg(long)]
    grant: Option<GrantId>,
    /// For which access request, by its whole id
    #[arg(long)]
    request: Option<AccessRequestId>,
    /// For which incident
    #[arg(long)]
    incident: Option<IncidentId>,
    /// How it was decided, like permit, requestable, deny, refuse, approve or decline
    #[arg(long)]
    decision: Option<String>,
    /// Which class of sensitive data was seen
    #[arg(long)]
    class: Option<ClassName>,
    /// What happened, like `attempt` or `grant_ended`
    #[arg(long = "type", value_name = "TYPE")]
    kind: Option<String>,
    /// Since when: 2h (ago), today, yesterday, 2026-11-22 or 2026-11-22T12:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Until when, written alike
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
}

impl Asked {
    /// As a query of a URL, without `?`.
    pub(super) fn query(&self, now: Timestamp) -> Result<String, Failure> {
        let text = |value: Option<&dyn ToString>| value.map(ToString::to_string);
        let time = |value: Option<&String>| {
            value.map(|text| time(text, now).map(|time| time.to_string())).transpose()
        };
        let words = (!self.words.is_empty()).then(|| self.words.join(" "));
        let all = [
            ("text", words),
            ("principal", self.who.clone()),
            ("service", text(self.service.as_ref().map(|name| name as _))),
            ("instance", text(self.instance.as_ref().map(|name| name as _))),
            ("operation", text(self.op.as_ref().map(|name| name as _))),
            ("grant", text(self.grant.as_ref().map(|id| id as _))),
            ("access_request", text(self.request.as_ref().map(|id| id as _))),
            ("incident", text(self.incident.as_ref().map(|id| id as _))),
            ("decision", self.decision.clone()),
            ("class", text(self.class.as_ref().map(|name| name as _))),
            ("type", self.kind.clone()),
            ("since", time(self.since.as_ref())?),
            ("until", time(self.until.as_ref())?),
        ];
        let mut query = Serializer::new(String::new());
        for (name, value) in all {
            query.extend_pairs(value.map(|value| (name, value)));
        }
        Ok(query.finish())
    }
}

/// A time as people write it, on their own clock.
pub(in crate::cli) fn time(text: &str, now: Timestamp) -> Result<Timestamp, Failure> {
    in_zone(text, now, TimeZone::system()).ok_or_else(|| {
        Failure::WrongUse(format!(
            "`{text}` is no time; write 2h for two hours ago, today, yesterday, 2026-11-22 or \
             2026-11-22T12:00:00Z"
        ))
    })
}

/// What people mean by a while ago: no fractions, which would stand in all that repeats it.
fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn in_zone(text: &str, now: Timestamp, zone: TimeZone) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    if let Ok(ago) = text.parse::<Window>() {
        return now.checked_sub(ago.signed()).ok().map(whole_seconds);
    }
    let today = now.to_zoned(zone.clone()).date();
    let day = match text {
        "today" => today,
        "yesterday" => today.checked_sub(1.day()).ok()?,
        // A date and nothing else: with a time it has to say where.
        text if text.len() == 10 => text.parse::<Date>().ok()?,
        _ => return None,
    };
    day.to_zoned(zone).ok().map(|midnight| midnight.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let now = "2026-11-22T01:30:00.123456789Z".parse().unwrap();
        let read = |text| {
            let zone = TimeZone::fixed(jiff::tz::offset(2));
            in_zone(text, now, zone).map(|time| time.to_string())
        };
        for (text, expected) in [
            ("2026-11-01T12:00:00Z", "2026-11-01T12:00:00Z"),
            ("2026-11-01T12:00:00+02:00", "2026-11-01T10:00:00Z"),
            ("90m", "2026-11-22T00:00:00Z"),
            ("2d", "2026-11-20T01:30:00Z"),
            ("today", "2026-11-21T22:00:00Z"),
            ("yesterday", "2026-11-20T22:00:00Z"),
            ("2026-11-01", "2026-10-31T22:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for text in ["", "tomorrow", "12:00", "2026-11-01T12:00", "-2h", "2026-13-01"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
