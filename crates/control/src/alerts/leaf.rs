//! What rules read of an entry of the record.

use std::net::IpAddr;

use jiff::Timestamp;
use portcullis_model::{PrincipalId, PrincipalKind};
use serde::Deserialize;

use crate::{ports::LogEntry, usecase::principals};

/// Refusals that say nothing about who was refused: something here, or an upstream, is wrong or full.
const OURS: [&str; 5] = ["internal", "limited", "too-slow", "unavailable", "upstream"];

/// An entry, as far as rules ask.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Leaf {
    #[serde(default)]
    pub(super) seq: u64,
    pub(super) time: Timestamp,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) principal: Option<PrincipalId>,
    pub(super) service: Option<String>,
    pub(super) operation: Option<String>,
    pub(super) decision: Option<String>,
    pub(super) refusal: Option<String>,
    pub(super) source: Option<IpAddr>,
    pub(super) country: Option<String>,
    pub(super) detail: Option<String>,
    pub(super) grant: Option<String>,
    pub(super) access_request: Option<String>,
}

impl Leaf {
    pub(super) fn of(entry: &LogEntry) -> Option<Self> {
        let read = serde_json::from_str::<Self>(&entry.json).map_err(|error| {
            // Whether somebody changed it is for those who verify the record to say.
            tracing::error!(position = entry.position, %error, "alert rules cannot read an entry");
        });
        let mut leaf = read.ok()?;
        leaf.seq = entry.position;
        Some(leaf)
    }

    /// Whether somebody was refused, could not have asked, and it is not for want of something of ours.
    pub(super) fn is_denial(&self) -> bool {
        let ours = self.refusal.as_deref().is_some_and(|refusal| OURS.contains(&refusal));
        let kept_out = matches!(self.decision.as_deref(), Some("deny" | "refuse"));
        self.kind == "attempt" && kept_out && !ours
    }

    /// What somebody did, if they were let.
    pub(super) fn done(&self) -> Option<(&str, &str)> {
        let permitted = self.kind == "attempt" && self.decision.as_deref() == Some("permit");
        permitted.then_some(())?;
        Some((self.habitual()?, self.operation.as_deref()?))
    }

    /// Whose doing it is; nobody's if they cannot be told apart from others.
    pub(super) fn who(&self) -> Option<&str> {
        let principal = self.principal.as_ref();
        principal.filter(|who| who.kind != PrincipalKind::Anonymous).map(|who| who.id.as_ref())
    }

    /// Whose habit it is: a run has those of its job.
    pub(super) fn habitual(&self) -> Option<&str> {
        let who = self.who()?;
        let is_run = self.principal.as_ref().is_some_and(principals::is_run);
        Some(who.rsplit_once('#').filter(|_| is_run).map_or(who, |(job, _)| job))
    }

    /// From where it came, in words.
    pub(super) fn from(&self) -> String {
        match (&self.source, &self.country) {
            (Some(source), Some(country)) => format!("{source} ({country})"),
            (Some(source), None) => source.to_string(),
            (None, _) => "an unknown address".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use portcullis_model::{Attempt, Event, EventId, EventType, RequestId};

    use super::*;

    #[test]
    fn entries_are_read_as_they_are_written() {
        let ana = PrincipalId::new(PrincipalKind::User, "corp", "ana");
        let (service, operation) = ("payments".parse().unwrap(), "payments.read".parse().unwrap());
        let attempt = Attempt {
            request: RequestId::from_bits(1),
            time: Timestamp::UNIX_EPOCH,
            kind: "attempt",
            class: 4002,
            principal: Some(&ana),
            auth_method: None,
            service: Some(&service),
            instance: None,
            operation: Some(&operation),
            decision: "permit",
            refusal: None,
            policies: &[],
            bundle: None,
            grant: None,
            source: [192, 0, 2, 1].into(),
            country: Some("PT"),
            method: "GET",
            host: "payments.example.com",
            path: "/",
            trace: None,
            content: None,
        };
        let entry = |json| LogEntry { position: 7, json };
        let leaf = Leaf::of(&entry(serde_json::to_string(&attempt).unwrap())).unwrap();
        assert_eq!((leaf.seq, leaf.done()), (7, Some(("corp:ana", "payments.read"))));
        assert_eq!((leaf.from().as_str(), leaf.is_denial()), ("192.0.2.1 (PT)", false));
        for (refusal, counts) in [("denied", true), ("bad-credentials", true), ("upstream", false)]
        {
            let attempt = Attempt { decision: "refuse", refusal: Some(refusal), ..attempt.clone() };
            let leaf = Leaf::of(&entry(serde_json::to_string(&attempt).unwrap())).unwrap();
            assert_eq!(leaf.is_denial(), counts, "{refusal}");
        }
        let run = format!("ci:deploy#{}", portcullis_model::SignInId::from_bits(7));
        for (id, habitual) in [(run.as_str(), "ci:deploy"), ("ci:a#b", "ci:a#b")] {
            let job = PrincipalId { kind: PrincipalKind::Workload, id: id.into() };
            let attempt = Attempt { principal: Some(&job), ..attempt.clone() };
            let leaf = Leaf::of(&entry(serde_json::to_string(&attempt).unwrap())).unwrap();
            assert_eq!((leaf.who(), leaf.habitual()), (Some(id), Some(habitual)));
        }
        let mut event =
            Event::new(EventId::from_bits(1), Timestamp::UNIX_EPOCH, EventType::EmergencyOpened);
        event.principal = Some(ana);
        let leaf = Leaf::of(&entry(serde_json::to_string(&event).unwrap())).unwrap();
        assert_eq!((leaf.kind.as_str(), leaf.who()), ("emergency_opened", Some("corp:ana")));
        event.principal = Some(PrincipalId::anonymous());
        let leaf = Leaf::of(&entry(serde_json::to_string(&event).unwrap())).unwrap();
        assert_eq!(leaf.who(), None, "they cannot be told apart");
        assert!(Leaf::of(&entry("{}".into())).is_none());
    }
}
