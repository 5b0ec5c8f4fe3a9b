//! `connectors.webhooks`: who is told what happens to access requests and grants.

use std::collections::BTreeSet;

use portcullis_control::export::{Form, lifecycle::KINDS};
use portcullis_model::Window;
use schemars::JsonSchema;
use serde::Serialize;
use url::Url;

use crate::config::{
    export::{among, posted_to},
    secret::SecretRef,
    section::Field,
};

/// Tried for so long: the weekend on which a receiver is down is not in vain.
const GIVE_UP_AFTER: u32 = 3 * 24 * 60;

/// A webhook; where it has come to is remembered by its name.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(crate) struct Hook {
    /// `https://…`, or `http://` on this machine.
    #[schemars(with = "String")]
    pub(crate) url: Url,
    /// Signs each message as Standard Webhooks has it: `whsec_…`.
    pub(crate) secret: SecretRef,
    /// How messages look; `standard` if absent.
    pub(crate) format: Format,
    /// The events that it is told of, by their names in the record; all of the lifecycle if absent. With `[]` it is
    /// told only what policies tell it.
    pub(crate) events: BTreeSet<String>,
    /// It is on record when it has taken nothing for so long; 5m if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) failing_after: Window,
    /// What is this old and was not taken is set aside; 3d if absent.
    #[schemars(with = "String")]
    #[serde(serialize_with = "crate::config::as_text")]
    pub(crate) give_up_after: Window,
}

/// How messages look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// `type`, `timestamp` and `data`, as Standard Webhooks recommends.
    Standard,
    /// CloudEvents 1.0 in structured mode.
    CloudEvents,
}

impl Hook {
    pub(super) fn read(field: &Field<'_>, demo: bool) -> Option<Self> {
        let mut section = field.section()?;
        let url = section.required("url").and_then(|field| posted_to(&field));
        let secret = section.required("secret").and_then(|field| SecretRef::read(&field, demo));
        let formats = [("standard", Format::Standard), ("cloudevents", Format::CloudEvents)];
        let format = section.field("format");
        let format = format.map_or(Some(Format::Standard), |field| field.one_of(&formats));
        let known = KINDS.map(|(event, _)| event);
        let events = section.field("events").map_or_else(
            || known.map(str::to_owned).into(),
            |field| {
                let none = field.is_list() && field.list().is_empty();
                if none { BTreeSet::new() } else { among(&field, &known, "event") }
            },
        );
        let failing_after = section.field("failing_after");
        let failing_after = failing_after.map_or(Some(Window::minutes(5)), |field| field.parsed());
        let give_up_after = section.field("give_up_after");
        let give_up_after =
            give_up_after.map_or(Some(Window::minutes(GIVE_UP_AFTER)), |field| field.parsed());
        section.finish();
        Some(Self {
            url: url?,
            secret: secret?,
            format: format?,
            events,
            failing_after: failing_after?,
            give_up_after: give_up_after?,
        })
    }

    /// The same, as control calls it.
    pub(crate) fn form(&self) -> Form {
        match self.format {
            Format::Standard => Form::Standard,
            Format::CloudEvents => Form::CloudEvents,
        }
    }
}
