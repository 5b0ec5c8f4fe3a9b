//! `health`: how instances are asked whether they are well.

use portcullis_model::Window;
use portcullis_policy::upstream as source;
use schemars::JsonSchema;
use serde::Serialize;

use super::{or, parsed};
use crate::config::section::Field;

/// How instances are asked whether they are well. One process asks once, however many cores it has.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Health {
    /// What is got: `/healthz`. Without it, connecting is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// The status, or the range of statuses, that says so: `200`, `200-299`; default `200-299`.
    status: String,
    /// How often; default `10s`.
    #[schemars(with = "String")]
    interval: Window,
    /// How long an answer may take; default `2s`.
    #[schemars(with = "String")]
    timeout: Window,
    /// After so many good answers in a row it is well; default 2.
    healthy_after: usize,
    /// After so many bad ones it is not; default 3.
    unhealthy_after: usize,
    #[serde(skip)]
    range: (u16, u16),
}

impl Health {
    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = source::HealthCheck::default();
        let path = or(&mut section, "path", None, |field| path(field).map(Some));
        let status = section.field("status");
        let range = status.as_ref().map_or(Some(usual.status), range);
        let interval = parsed(&mut section, "interval", usual.interval);
        let timeout = parsed(&mut section, "timeout", usual.timeout);
        let times = |field: &Field<'_>| field.number(1..=100);
        let healthy_after = usual.healthy_after as usize;
        let healthy_after = or(&mut section, "healthy_after", healthy_after, times);
        let unhealthy_after = usual.unhealthy_after as usize;
        let unhealthy_after = or(&mut section, "unhealthy_after", unhealthy_after, times);
        section.finish();
        let (path, range) = (path?, range?);
        if let (None, Some(status)) = (&path, status) {
            let help = Some("add `path`, or take `status` out".into());
            status.error("who only connects gets no status".into(), help);
            return None;
        }
        Some(Self {
            path,
            status: format!("{}-{}", range.0, range.1),
            interval: interval?,
            timeout: timeout?,
            healthy_after: healthy_after?,
            unhealthy_after: unhealthy_after?,
            range,
        })
    }

    /// Whether it speaks HTTP.
    pub(super) fn has_path(&self) -> bool {
        self.path.is_some()
    }

    pub(super) fn source(&self) -> source::HealthCheck {
        source::HealthCheck {
            path: self.path.clone(),
            status: self.range,
            interval: self.interval,
            timeout: self.timeout,
            healthy_after: u32::try_from(self.healthy_after).unwrap_or(1),
            unhealthy_after: u32::try_from(self.unhealthy_after).unwrap_or(1),
        }
    }
}

fn path(field: &Field<'_>) -> Option<String> {
    let path = field.text()?;
    let is_plain = |b: u8| b.is_ascii_graphic() && b != b'#';
    if !path.starts_with('/') || !path.bytes().all(is_plain) {
        let help = Some("write it like /healthz, percent-encoded where it has to be".into());
        field.error(format!("`{path}` is no path"), help);
        return None;
    }
    Some(path.to_owned())
}

fn range(field: &Field<'_>) -> Option<(u16, u16)> {
    let text = match field.as_text() {
        Some(text) => text.to_owned(),
        None => field.number(100..=599)?.to_string(),
    };
    let (lowest, highest) = text.split_once('-').unwrap_or((&text, &text));
    let status = |text: &str| text.parse::<u16>().ok().filter(|it| (100..=599).contains(it));
    let read = status(lowest).zip(status(highest)).filter(|(lowest, highest)| lowest <= highest);
    if read.is_none() {
        let help = Some("write it like 200 or 200-299".into());
        field.error(format!("`{text}` is no range of statuses"), help);
    }
    read
}
