//! kill -9 at any moment: what was acknowledged is there afterwards, and the record proves it.

mod mixed;

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;

use crate::{
    house::House,
    mesh::eventually,
    payments::{Payments, ana, grant, id},
};

/// Runs of kill and restart: small by default, `just soak` sets more.
fn runs() -> u64 {
    std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(5)
}

/// What one run under load was told before the process died.
#[derive(Default)]
struct Told {
    /// Access request, grant, and whether giving back was acknowledged.
    granted: Mutex<Vec<(String, String, bool)>>,
    /// Reads that were answered with 200.
    read: AtomicUsize,
}

#[test]
fn k10_l07_kill_9_loses_nothing_that_was_acknowledged() {
    let mut payments = Payments::open();
    let (control, gate) = {
        let ana = payments.enter(&ana());
        (ana.control, ana.gate)
    };
    let mut acknowledged = BTreeSet::new();
    let mut read = 0;
    for run in 0..runs() {
        let told = under_load(
            &payments.house,
            &control,
            &gate,
            Duration::from_millis(150 + run * 37 % 400),
        );
        payments.house.kill();
        payments.house.restart();
        acknowledged.extend(told.granted.into_inner().unwrap());
        read += told.read.into_inner();
    }
    assert!(!acknowledged.is_empty(), "the load did something");
    for (request, granted, ended) in &acknowledged {
        let found = |path: String| payments.house.api("GET", &path, Some(&control), None).json();
        assert_eq!(found(format!("/v1/access-requests/{request}"))["state"], "approved");
        let grant = found(format!("/v1/grants/{granted}"));
        assert_eq!(grant["state"] == "ended", *ended, "{grant:#}");
    }
    verify_and_count(&payments, &acknowledged, read);
}

/// Reads, asks and gives back as fast as it goes, until the process is killed after `life`.
fn under_load(house: &House, control: &str, gate: &str, life: Duration) -> Told {
    let (stop, told) = (AtomicBool::new(false), Told::default());
    let until_stopped = |work: &dyn Fn()| {
        while !stop.load(Ordering::Relaxed) {
            // The process may die under any call; what counts is what it had answered before.
            let _died = catch_unwind(AssertUnwindSafe(work));
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            until_stopped(&|| {
                let answer =
                    house.gate("payments.example.com", "GET", "/v1/refunds", Some(gate), None);
                told.read.fetch_add(usize::from(answer.status == 200), Ordering::Relaxed);
            });
        });
        scope.spawn(|| {
            until_stopped(&|| {
                let granted = ask_and_give_back(house, control, gate);
                told.granted.lock().unwrap().extend(granted);
            });
        });
        std::thread::sleep(life);
        // On a slow disk a life is longer: something must have been granted in it.
        let begun = Instant::now();
        while told.granted.lock().unwrap().is_empty() && begun.elapsed() < Duration::from_secs(30) {
            std::thread::sleep(Duration::from_millis(10));
        }
        let killed =
            std::process::Command::new("kill").args(["-9", &house.pid().to_string()]).status();
        assert!(killed.unwrap().success());
        stop.store(true, Ordering::Relaxed);
    });
    told
}

fn ask_and_give_back(house: &House, control: &str, gate: &str) -> Option<(String, String, bool)> {
    let give_back = |grant: &str| {
        house.api("POST", &format!("/v1/grants/{grant}/give-back"), Some(control), None).status
            == 200
    };
    let body = Some(json!({"amount": 1, "currency": "EUR"}));
    let refused = house.gate("payments.example.com", "POST", "/v1/refunds", Some(gate), body);
    if let Some(left) = refused.header("portcullis-grant") {
        // From a run that died between asking and giving back.
        give_back(left);
        return None;
    }
    let ask = json!({"refusal": refused.json()["refusal"], "reason": "load"});
    let request = house.api("POST", "/v1/access-requests", Some(control), Some(ask)).json();
    let granted = grant(&request);
    let ended = give_back(&granted);
    Some((id(&request).to_owned(), granted, ended))
}

/// The record verifies, holds every acknowledged change once, and every request that was answered.
fn verify_and_count(
    payments: &Payments,
    acknowledged: &BTreeSet<(String, String, bool)>,
    forwarded: usize,
) {
    // Leaves appear within a second or two.
    let mut text = Vec::new();
    eventually("all that was acknowledged is in the record", || {
        text = every_leaf(payments);
        let granted = |id: &String| {
            let started = |leaf: &&serde_json::Value| leaf["type"] == "grant_started";
            text.iter().filter(started).any(|leaf| leaf.to_string().contains(id))
        };
        let reads = text.iter().filter(|leaf| leaf["operation"] == "payments.listRefunds").count();
        acknowledged.iter().all(|(_, id, _)| granted(id)) && reads >= forwarded
    });
    verifies(payments);
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

/// `audit verify` finds nothing wrong.
fn verifies(payments: &Payments) {
    let audit = payments.house.dir().join("audit");
    let (log, key) = (audit.join("log"), audit.join("log.pub"));
    let arguments = ["audit", "verify", log.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let verify = payments.house.cli("auditor", &arguments);
    let said = String::from_utf8_lossy(&[verify.stdout, verify.stderr].concat()).into_owned();
    assert_eq!(verify.status.code(), Some(0), "{said}");
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
