//! What a rule says when it fires: for a person who was asleep a minute ago.

use std::fmt::Write;

use jiff::Timestamp;
use portcullis_model::{AlertNote, Event, EventType, Urgency, Window};

use super::{Alerts, CertificateEnd, RecordTrouble, Rule, leaf::Leaf};
use crate::{OpContext, core::Core};

/// Characters of what an alert is about: it is a key, not a text.
const LONGEST_ABOUT: usize = 200;

/// Something that a rule was waiting for.
#[derive(Debug, Clone)]
pub(super) struct Finding {
    /// For what: the same again is the same alert.
    pub(super) about: String,
    pub(super) urgency: Urgency,
    pub(super) title: String,
    pub(super) text: String,
    /// The entry that made it fire.
    pub(super) leaf: Option<Leaf>,
    /// It is told at once, whether or not it can be put on record.
    pub(super) directly: bool,
}

impl Finding {
    /// The event of `rule` firing now.
    pub(super) fn event(&self, core: &Core, rule: &Rule, suppressed: u32) -> Event {
        let op = OpContext::system("alert", core.now());
        let mut event = core.event(&op, EventType::AlertFired);
        if let Some(leaf) = &self.leaf {
            event.principal.clone_from(&leaf.principal);
            event.service = leaf.service.as_deref().and_then(|text| text.parse().ok());
            event.operation = leaf.operation.as_deref().and_then(|text| text.parse().ok());
            event.grant = leaf.grant.as_deref().and_then(|text| text.parse().ok());
            event.access_request = leaf.access_request.as_deref().and_then(|id| id.parse().ok());
            event.source = leaf.source;
        }
        event.detail = Some(plain(&self.title));
        let mut text = plain(&self.text);
        if suppressed > 0 {
            let more = "The rule would have fired again since it last did, so many times";
            let _infallible = write!(text, "\n{more}: {suppressed}.");
        }
        event.alert = Some(Box::new(AlertNote {
            rule: rule.name.clone(),
            kind: rule.looks_for.kind().to_owned(),
            about: key(&self.about),
            urgency: self.urgency,
            title: plain(&self.title),
            text,
            link: link(&core.alerts, self.leaf.as_ref()),
            suppressed,
            to: rule.to.clone(),
        }));
        event
    }
}

pub(super) fn key(about: &str) -> String {
    plain(about).chars().take(LONGEST_ABOUT).collect()
}

/// Without what could take over a terminal; line breaks are ours.
fn plain(text: &str) -> String {
    text.chars().filter(|c| *c == '\n' || !c.is_control()).collect()
}

fn link(alerts: &Alerts, leaf: Option<&Leaf>) -> String {
    match leaf {
        Some(leaf) => format!("{}/v1/audit/events?from={}&limit=1", alerts.base_url, leaf.seq),
        None => format!("{}/readyz", alerts.base_url),
    }
}

pub(super) fn denials(
    whom: &str,
    leaf: &Leaf,
    count: u32,
    within: Window,
    by_service: bool,
) -> Finding {
    let operation = leaf.operation.as_deref().unwrap_or("no known operation");
    let at = leaf.service.as_deref().unwrap_or("no known service");
    let why = leaf.refusal.as_deref().unwrap_or("denied");
    let title = if by_service {
        format!("{count} requests to {whom} were refused within {within}")
    } else {
        format!("{whom} was refused {count} times within {within}")
    };
    let who = leaf.who().unwrap_or("nobody who is known");
    let text = format!(
        "Who: {who}, from {}.\nWhat: {count} refusals within {within}; the last was {operation} at {at} ({why}).\nWhen: {}.\nWhat to do: read what was tried with `portcullis audit tail`. If it was not them, end their sign-ins at the identity provider, and what they hold with `portcullis grants` and `portcullis revoke`.",
        leaf.from(),
        leaf.time
    );
    let about = whom.to_owned();
    Finding {
        about,
        urgency: Urgency::Warning,
        title,
        text,
        leaf: Some(leaf.clone()),
        directly: false,
    }
}

pub(super) fn emergency(leaf: &Leaf) -> Finding {
    let who = leaf.who().unwrap_or("somebody");
    let at = leaf.service.as_deref().unwrap_or("a service");
    let sealed = leaf.kind == "sealed_used";
    let how = if sealed { "by sealed credential" } else { "in an emergency" };
    let said = leaf.detail.as_deref().unwrap_or("nothing");
    let request = leaf.access_request.as_deref().unwrap_or("ID");
    let text = format!(
        "Who: {who}, from {}.\nWhat: opened {at} {how}, without a review; said: {said}.\nWhen: {}.\nWhat to do: ask them. If it is in order, say so with `portcullis review {request}`; if not, end it with `portcullis grants` and `portcullis revoke`.",
        leaf.from(),
        leaf.time
    );
    Finding {
        about: format!("{who} at {at}"),
        urgency: Urgency::Critical,
        title: format!("{who} opened {at} {how}"),
        text,
        leaf: Some(leaf.clone()),
        directly: false,
    }
}

pub(super) fn new_country(leaf: &Leaf, who: &str, country: &str) -> Finding {
    let text = format!(
        "Who: {who}, from {}.\nWhat: they have not come from {country} lately; this time they asked for {}.\nWhen: {}.\nWhat to do: ask them whether they travel. If not, end their sign-ins at the identity provider, and what they hold with `portcullis grants` and `portcullis revoke`.",
        leaf.from(),
        leaf.operation.as_deref().unwrap_or("nothing that is known"),
        leaf.time
    );
    Finding {
        about: format!("{who} from {country}"),
        urgency: Urgency::Warning,
        title: format!("{who} comes from a new country, {country}"),
        text,
        leaf: Some(leaf.clone()),
        directly: false,
    }
}

pub(super) fn unusual_operation(leaf: &Leaf, who: &str, operation: &str) -> Finding {
    let at = leaf.service.as_deref().unwrap_or("a service");
    let text = format!(
        "Who: {who}, from {}.\nWhat: {operation} at {at}, which they have not done lately. Policy permitted it.\nWhen: {}.\nWhat to do: ask them, and read what else they did with `portcullis audit tail`. If it was not them, end their sign-ins at the identity provider.",
        leaf.from(),
        leaf.time
    );
    Finding {
        about: format!("{who} {operation}"),
        urgency: Urgency::Warning,
        title: format!("{who} did something unusual: {operation}"),
        text,
        leaf: Some(leaf.clone()),
        directly: false,
    }
}

pub(super) fn sink_failing(leaf: &Leaf) -> Finding {
    let detail = leaf.detail.as_deref().unwrap_or("a sink takes nothing");
    let text = format!(
        "What: {detail}.\nWhen: {}.\nWhat to do: look at the receiver. Nothing is lost: what waits is in the record, and is sent when it answers. `portcullis exports` shows how far it has come.",
        leaf.time
    );
    Finding {
        about: detail.split(" at ").next().unwrap_or_default().to_owned(),
        urgency: Urgency::Warning,
        title: "The record is not passed on".to_owned(),
        text,
        leaf: Some(leaf.clone()),
        directly: false,
    }
}

/// That it stands still keeps nobody from hearing that it was changed, nor one change that of another.
pub(super) fn record(trouble: &RecordTrouble) -> Finding {
    let (about, why) = match trouble {
        RecordTrouble::Stopped(why) => ("the record", why),
        // Behind a colon is how far it is from what it should be, which changes.
        RecordTrouble::Changed(why) => (why.split(": ").next().unwrap_or(why), why),
    };
    let text = format!(
        "What: {why}.\nWhere: the folder of the record on this machine.\nWhat to do: change nothing in that folder, and copy it. Prove it with `portcullis audit verify` and a checkpoint that you hold; the operations guide says how to recover. If the disk is full or read-only, put that right first: the gate refuses until it can write."
    );
    Finding {
        about: about.to_owned(),
        urgency: Urgency::Critical,
        title: "The record cannot be relied on".to_owned(),
        text,
        leaf: None,
        directly: true,
    }
}

pub(super) fn certificate(end: &CertificateEnd, now: Timestamp) -> Finding {
    let over = end.at <= now;
    let title = if over {
        format!("{} has ended", end.what)
    } else {
        let hours = end.at.duration_since(now).as_hours();
        let left =
            if hours < 48 { format!("{hours} hours") } else { format!("{} days", hours / 24) };
        format!("{} ends in {left}", end.what)
    };
    let text = format!(
        "What: {} ends at {}.\nWhat happens then: whoever checks it refuses to connect.\nWhat to do: put a new one in its place; it is read again by itself, and connections stay open. `portcullis check` says whether it is usable.",
        end.what, end.at
    );
    let urgency = if over { Urgency::Critical } else { Urgency::Warning };
    Finding { about: end.what.clone(), urgency, title, text, leaf: None, directly: false }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_the_record_stands_still_does_not_hide_that_it_was_changed() {
        let about = |trouble| record(&trouble).about;
        let stopped = about(RecordTrouble::Stopped("the record waits: the disk is full".into()));
        let changed = |why: &str| about(RecordTrouble::Changed(why.into()));
        let (one, other) = (changed("record 0 is not what was signed"), changed("record 1 is not"));
        assert!(stopped != one && one != other);
        assert_eq!(changed("it was cut: it has 3"), changed("it was cut: it has 4"));
    }
}
