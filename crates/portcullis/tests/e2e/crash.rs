//! kill -9 at any moment: what was acknowledged is there afterwards, and the record proves it.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use crate::payments::{Payments, ana, grant, id};

/// Runs of kill and restart: small by default, `just soak` sets more.
fn runs() -> u64 {
    std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

#[test]
#[expect(clippy::too_many_lines, reason = "one story: acknowledge, kill, start, compare")]
fn k10_l07_kill_9_loses_nothing_that_was_acknowledged() {
    let mut payments = Payments::open();
    let (control, gate) = {
        let ana = payments.enter(&ana());
        (ana.control, ana.gate)
    };
    let mut acknowledged = BTreeSet::new();
    let mut forwarded = 0;
    for run in 0..runs() {
        let stop = AtomicBool::new(false);
        let (asked, passed) = (Mutex::new(Vec::new()), Mutex::new(0_usize));
        std::thread::scope(|scope| {
            let house = &payments.house;
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let pause = catch_unwind(AssertUnwindSafe(|| {
                        house
                            .gate("payments.example.com", "GET", "/v1/refunds", Some(&gate), None)
                            .status
                    }));
                    if pause.is_ok_and(|status| status == 200) {
                        *passed.lock().unwrap() += 1;
                    }
                }
            });
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let attempt = catch_unwind(AssertUnwindSafe(|| {
                        let body = Some(json!({"amount": 1, "currency": "EUR"}));
                        let refused = house.gate(
                            "payments.example.com",
                            "POST",
                            "/v1/refunds",
                            Some(&gate),
                            body,
                        );
                        if let Some(left) = refused.header("portcullis-grant") {
                            let back = format!("/v1/grants/{left}/give-back");
                            house.api("POST", &back, Some(&control), None);
                            return None;
                        }
                        let ask = json!({"refusal": refused.json()["refusal"], "reason": "load"});
                        let request = house
                            .api("POST", "/v1/access-requests", Some(&control), Some(ask))
                            .json();
                        let granted = grant(&request);
                        let back = format!("/v1/grants/{granted}/give-back");
                        let ended = house.api("POST", &back, Some(&control), None).status == 200;
                        Some((id(&request).to_owned(), granted, ended))
                    }));
                    if let Ok(Some(whole)) = attempt {
                        asked.lock().unwrap().push(whole);
                    }
                }
            });
            std::thread::sleep(Duration::from_millis(150 + run * 37 % 400));
            let status =
                std::process::Command::new("kill").args(["-9", &house.pid().to_string()]).status();
            assert!(status.unwrap().success());
            stop.store(true, Ordering::Relaxed);
        });
        payments.house.kill();
        payments.house.restart();
        acknowledged.extend(asked.into_inner().unwrap());
        forwarded += passed.into_inner().unwrap();
    }
    assert!(!acknowledged.is_empty(), "the load did something");
    for (request, granted, ended) in &acknowledged {
        let path = format!("/v1/access-requests/{request}");
        assert_eq!(
            payments.house.api("GET", &path, Some(&control), None).json()["state"],
            "approved"
        );
        let found = payments
            .house
            .api("GET", &format!("/v1/grants/{granted}"), Some(&control), None)
            .json();
        assert_eq!(found["state"] == "ended", *ended, "{found:#}");
    }
    verify_and_count(&payments, &acknowledged, forwarded);
}

/// The record verifies, holds every acknowledged change once, and every request that was answered.
fn verify_and_count(
    payments: &Payments,
    acknowledged: &BTreeSet<(String, String, bool)>,
    forwarded: usize,
) {
    std::thread::sleep(Duration::from_millis(1500));
    let audit = payments.house.dir().join("audit");
    let (log, key) = (audit.join("log"), audit.join("log.pub"));
    let arguments = ["audit", "verify", log.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let verify = payments.house.cli("auditor", &arguments);
    let said = String::from_utf8_lossy(&[verify.stdout, verify.stderr].concat()).into_owned();
    assert_eq!(verify.status.code(), Some(0), "{said}");
    let text = every_leaf(payments);
    for (request, granted, ended) in acknowledged {
        let count = |kind: &str, id: &str| {
            text.iter().filter(|leaf| leaf["type"] == kind && leaf.to_string().contains(id)).count()
        };
        assert_eq!(count("access_requested", request), 1, "{request}");
        assert_eq!(count("grant_started", granted), 1, "{granted}");
        if *ended {
            assert_eq!(count("grant_ended", granted), 1, "{granted}");
        }
    }
    let reads = text.iter().filter(|leaf| leaf["operation"] == "payments.listRefunds").count();
    assert!(reads >= forwarded, "{forwarded} were answered with 200, {reads} are on record");
}

fn every_leaf(payments: &Payments) -> Vec<serde_json::Value> {
    let mut leaves = Vec::new();
    loop {
        let page = payments.page(leaves.len());
        if page.is_empty() {
            return leaves;
        }
        leaves.extend(page);
    }
}
