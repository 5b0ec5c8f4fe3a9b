//! What is measured and bounded: times, failures, amounts, retries.

use portcullis_model::Window;
use portcullis_policy::upstream as source;
use schemars::JsonSchema;
use serde::Serialize;

use super::{Percent, or, parsed};
use crate::config::section::Field;

/// How long things may take.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Timeouts {
    /// Making a connection, TLS included; default `5s`.
    #[schemars(with = "String")]
    connect: Window,
    /// The head of an answer, from the end of the request; default `1m`. gRPC has deadlines of its own.
    #[schemars(with = "String")]
    request: Window,
    /// A pooled connection that nobody uses; default `50s`.
    #[schemars(with = "String")]
    idle: Window,
}

/// When an instance is left out for a while because of how its requests went.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Ejection {
    /// After so many failures in a row, or one connection that cannot be made; default 5, and 0 is never.
    failures: usize,
    /// For how long the first time, and twice as long each time more; default `5s`.
    #[schemars(with = "String")]
    time: Window,
    /// The longest; default `5m`.
    #[schemars(with = "String")]
    max_time: Window,
    /// This share of the instances at most, and always one of several; default `50%`.
    #[schemars(with = "String")]
    max_share: Percent,
}

/// How much may be under way at the same time. What is more is refused at once with 503.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Limits {
    /// To one instance; default 16384 connections and requests, 4096 pending.
    instance: Limit,
    /// To all of them; default 65536 connections and requests, 16384 pending.
    service: Limit,
}

#[derive(Debug, Clone, Serialize, JsonSchema)]
struct Limit {
    /// Open connections.
    connections: usize,
    /// Requests, to the end of their answers.
    requests: usize,
    /// Requests that wait for a connection to be made.
    pending: usize,
}

/// What is sent again where that is safe.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub(super) struct Retries {
    /// How often one request may be tried again; default 2, at most 10.
    attempts: usize,
    /// As a share of all requests; default `20%`.
    #[schemars(with = "String")]
    share: Percent,
    /// And so many a second in any case; default 10.
    floor: usize,
}

const MOST: usize = 1_000_000;

impl Timeouts {
    pub(super) fn usual() -> Self {
        let source::Timeouts { connect, request, idle } = source::Timeouts::default();
        Self { connect, request, idle }
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = Self::usual();
        let window = |field: &Field<'_>| field.parsed();
        let connect = or(&mut section, "connect", usual.connect, window);
        let request = or(&mut section, "request", usual.request, window);
        let idle = or(&mut section, "idle", usual.idle, window);
        section.finish();
        Some(Self { connect: connect?, request: request?, idle: idle? })
    }

    pub(super) fn source(&self) -> source::Timeouts {
        let Self { connect, request, idle } = *self;
        source::Timeouts { connect, request, idle }
    }
}

impl Ejection {
    pub(super) fn usual() -> Self {
        let source::Ejection { failures, time, max_time, max_share } = source::Ejection::default();
        Self { failures: failures as usize, time, max_time, max_share: Percent(max_share) }
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = Self::usual();
        let failures = or(&mut section, "failures", usual.failures, |field| field.number(0..=MOST));
        let time = parsed(&mut section, "time", usual.time);
        let max_time = parsed(&mut section, "max_time", usual.max_time);
        let max_share = parsed(&mut section, "max_share", usual.max_share);
        section.finish();
        let read =
            Self { failures: failures?, time: time?, max_time: max_time?, max_share: max_share? };
        if read.max_time < read.time {
            field.error("`max_time` is shorter than `time`".into(), None);
            return None;
        }
        Some(read)
    }

    pub(super) fn source(&self) -> source::Ejection {
        let Self { time, max_time, max_share: Percent(max_share), .. } = *self;
        source::Ejection { failures: count(self.failures), time, max_time, max_share }
    }
}

impl Limit {
    fn of(limits: source::Limits) -> Self {
        let source::Limits { connections, requests, pending } = limits;
        let [connections, requests, pending] =
            [connections, requests, pending].map(|count| count as usize);
        Self { connections, requests, pending }
    }

    fn read(field: &Field<'_>, usual: &Self) -> Option<Self> {
        let mut section = field.section()?;
        let number = |field: &Field<'_>| field.number(1..=MOST);
        let connections = or(&mut section, "connections", usual.connections, number);
        let requests = or(&mut section, "requests", usual.requests, number);
        let pending = or(&mut section, "pending", usual.pending, number);
        section.finish();
        Some(Self { connections: connections?, requests: requests?, pending: pending? })
    }

    fn source(&self) -> source::Limits {
        let Self { connections, requests, pending } = *self;
        source::Limits {
            connections: count(connections),
            requests: count(requests),
            pending: count(pending),
        }
    }
}

impl Limits {
    pub(super) fn usual() -> Self {
        let usual = source::UpstreamSource::default();
        Self {
            instance: Limit::of(usual.instance_limits),
            service: Limit::of(usual.service_limits),
        }
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let Self { instance, service } = Self::usual();
        let instance =
            or(&mut section, "instance", instance.clone(), |f| Limit::read(f, &instance));
        let service = or(&mut section, "service", service.clone(), |f| Limit::read(f, &service));
        section.finish();
        Some(Self { instance: instance?, service: service? })
    }

    pub(super) fn of_instances(&self) -> source::Limits {
        self.instance.source()
    }

    pub(super) fn of_all(&self) -> source::Limits {
        self.service.source()
    }
}

impl Retries {
    pub(super) fn usual() -> Self {
        let source::Retries { attempts, share, floor } = source::Retries::default();
        Self { attempts: attempts.into(), share: Percent(share), floor: floor as usize }
    }

    pub(super) fn read(field: &Field<'_>) -> Option<Self> {
        let mut section = field.section()?;
        let usual = Self::usual();
        let attempts = or(&mut section, "attempts", usual.attempts, |field| field.number(0..=10));
        let share = parsed(&mut section, "share", usual.share);
        let floor = or(&mut section, "floor", usual.floor, |field| field.number(0..=MOST));
        section.finish();
        Some(Self { attempts: attempts?, share: share?, floor: floor? })
    }

    pub(super) fn source(&self) -> source::Retries {
        let attempts = u8::try_from(self.attempts).unwrap_or(u8::MAX);
        source::Retries { attempts, share: self.share.0, floor: count(self.floor) }
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
