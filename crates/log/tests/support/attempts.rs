//! Attempts to put into a journal, for tests of the crate from inside and from outside.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use portcullis_model::{Attempt, Outcome, RequestId};

/// When they are made.
pub(crate) fn noon() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

pub(crate) fn attempt(request: u128, path: &str) -> Attempt<'_> {
    Attempt {
        request: RequestId::from_bits(request),
        time: noon(),
        kind: "attempt",
        class: 4002,
        principal: None,
        auth_method: None,
        service: None,
        instance: None,
        operation: None,
        decision: "permit",
        refusal: None,
        policies: &[],
        bundle: None,
        grant: None,
        source: IpAddr::V4(Ipv4Addr::LOCALHOST),
        country: None,
        method: "GET",
        host: "payments.test",
        path,
        trace: None,
        content: None,
    }
}

pub(crate) fn outcome(status: u16) -> Outcome<'static> {
    Outcome { status, latency_us: 250, ..Outcome::default() }
}

/// Runs `future` as one core of the data plane does.
pub(crate) fn on_core<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, future)
}
