//! Workload tokens, against a live issuer on loopback.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test may fail")]

mod defects;
mod keys;
mod mapping;
mod opaque;

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;
use portcullis_identity::{
    AuthError, Authenticated, IssuerUrl, JwtIssuer, Pace, ProviderClient, Workloads,
};
use portcullis_model::Clock;
use portcullis_testkit::{Issuer, ManualClock};
use tokio::runtime::Handle;

/// An issuer, and workloads that trust it.
struct Scene {
    issuer: Issuer,
    clock: Arc<ManualClock>,
    workloads: Workloads,
}

impl Scene {
    fn new(issuer: Issuer) -> Self {
        Self::with(issuer, |config| config)
    }

    fn with(issuer: Issuer, change: impl FnOnce(JwtIssuer) -> JwtIssuer) -> Self {
        let clock = Arc::new(ManualClock::stopped_now());
        let workloads = workloads(vec![change(config(&issuer))], &clock, Pace::default());
        Self { issuer, clock, workloads }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn present(&self, token: &str) -> Result<Authenticated, AuthError> {
        self.workloads.authenticate(token, self.now()).await
    }

    async fn refusal(&self, token: &str) -> String {
        match self.present(token).await {
            Ok(_) => panic!("the token was accepted: {token}"),
            Err(error) => error.to_string(),
        }
    }
}

fn config(issuer: &Issuer) -> JwtIssuer {
    JwtIssuer::new("builds", issuer.url().parse::<IssuerUrl>().unwrap(), "portcullis")
}

fn workloads(issuers: Vec<JwtIssuer>, clock: &Arc<ManualClock>, pace: Pace) -> Workloads {
    let client = ProviderClient::new().unwrap();
    let clock: Arc<dyn Clock> = Arc::<ManualClock>::clone(clock);
    Workloads::new(issuers, &client, &clock, pace, &Handle::current()).unwrap()
}

/// Waits, in real time, until `holds`.
async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never happened: {what}");
}
