//! Emergencies by sealed credential: made by two people, used when the store, the record and the
//! identity provider are gone, and never silent.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_testkit::{Fault, ambient::machine_time};
use serde_json::{Value, json};

use crate::{
    house::Plan,
    payments::{Payments, Visitor, ana, ben, id, lea, leo},
    streams::ticking_upstream,
    upstream::Upstream,
    wire::{Response, Wire, exchange},
};

const PASSPHRASE: &str = "correct horse battery staple";

const POLICIES: &str = r#"
@id("payments.emergency") @emergency("true") @max_duration("10m")
permit (principal is User in Group::"engineering", action in [Action::"payments.read", Action::"payments.write"], resource in Service::"payments")
when { context has grant && context.grant.kind == "emergency" };

@id("payments.never")
forbid (principal is User, action == Action::"payments.cancelRefund", resource in Service::"payments")
unless { context has grant && context.grant.kind == "automatic" };

@id("sealers")
permit (principal is User in Group::"leads", action == Action::"sealCredential", resource == Service::"payments");
"#;

fn open() -> Payments {
    open_with(|plan| plan)
}

fn open_with(furnish: impl FnOnce(Plan) -> Plan) -> Payments {
    Payments::furnished(Upstream::start(), |plan| {
        let plan = plan.setting("sealed: {directory: sealed}");
        furnish(plan.policy("emergency.cedar", POLICIES))
    })
}

/// Runs the CLI as `home`; what it said on standard output, and all that it said.
fn said(payments: &Payments, home: &str, args: &[&str], code: i32) -> (String, String) {
    let output = payments.house.cli_with(home, args, &[("PORTCULLIS_PASSPHRASE", PASSPHRASE)]);
    let out = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let all = format!("{out}\n{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(code), "{args:?}: {all}");
    (out, all)
}

fn path(payments: &Payments) -> String {
    payments.house.dir().join("ben.sealed").to_str().unwrap().to_owned()
}

/// Lea and leo make a sealed credential for ben; its id.
fn made(payments: &Payments) -> String {
    made_for(payments, "payments", "payments.emergency")
}

fn made_for(payments: &Payments, service: &str, rule: &str) -> String {
    let _holder = payments.enter(&ben());
    for (home, person) in [("lea", lea()), ("leo", leo())] {
        payments.house.profile(home, &payments.enter(&person).control);
    }
    let file = path(payments);
    let propose = [
        "sealed",
        "propose",
        service,
        "--rule",
        rule,
        "--holder",
        "corp:ben",
        "--purpose",
        "the night shift",
        "--for",
        "5m",
        "--out",
        &file,
    ];
    let (_, proposed) = said(payments, "lea", &propose, 0);
    let id = proposed.split("sealed agree ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    said(payments, "leo", &["sealed", "agree", &id], 0);
    said(payments, "lea", &["sealed", "fetch", &file], 0);
    id
}

/// What ben presents, for this reason.
fn opened(payments: &Payments, reason: &str) -> String {
    opened_for(payments, "payments", reason)
}

fn opened_for(payments: &Payments, service: &str, reason: &str) -> String {
    let file = path(payments);
    let args = ["emergency", service, "--sealed", &file, "--reason", reason];
    // A home without a profile: nobody is asked.
    said(payments, "nobody", &args, 0).0
}

fn send(payments: &Payments, token: &str, method: &str, path: &str) -> Response {
    payments.house.gate("payments.example.com", method, path, Some(token), None)
}

/// A record that cannot be written, and a store that nobody can write to.
struct Outage {
    audit: PathBuf,
    holder: Child,
}

impl Outage {
    fn begin(payments: &Payments) -> Self {
        let audit = payments.house.dir().join("audit");
        fs::rename(audit.join("log/tile"), audit.join("log/tile.away")).unwrap();
        fs::write(audit.join("log/tile"), "no folder").unwrap();
        let hold = "import sqlite3, sys\n\
            db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
            db.execute('BEGIN IMMEDIATE')\nprint('held', flush=True)\nsys.stdin.read()";
        let mut holder = Command::new("python3")
            .args(["-c", hold, payments.house.dir().join("portcullis.db").to_str().unwrap()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(holder.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), "held");
        Self { audit, holder }
    }

    fn end(mut self) {
        self.holder.kill().unwrap();
        self.holder.wait().unwrap();
        fs::remove_file(self.audit.join("log/tile")).unwrap();
        fs::rename(self.audit.join("log/tile.away"), self.audit.join("log/tile")).unwrap();
    }
}

fn to_review(visitor: &Visitor<'_>) -> Vec<Value> {
    let listed = visitor.call("GET", "/v1/access-requests?filter=to-review", None).json();
    listed["access_requests"].as_array().unwrap().clone()
}

fn until<T: std::fmt::Debug>(what: &str, look: impl Fn() -> T, done: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let seen = look();
        if done(&seen) {
            return seen;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{what}: {seen:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn e35_a_sealed_credential_opens_with_store_and_record_gone_and_is_ingested_later() {
    let mut payments = open();
    made(&payments);
    let ben = payments.enter(&ben());
    let token = opened(&payments, "store and record are gone");
    let outage = Outage::begin(&payments);
    let refused = || ben.send("GET", "/v1/refunds", None).status;
    until("the record is broken", refused, |status| *status == 503);
    let sign_in = payments.house.api("POST", "/v1/device", None, Some(json!({})));
    assert!(sign_in.status >= 500, "the store is broken: {}", sign_in.text());
    payments.upstream.take();

    let through = send(&payments, &token, "POST", "/v1/payouts");
    assert_eq!(through.status, 200, "{}\n{}", through.text(), payments.house.log());
    assert_eq!(send(&payments, &token, "GET", "/v1/events").status, 200, "all of the head");
    let passed = payments.upstream.take();
    assert_eq!(passed.len(), 2);
    assert!(passed.iter().all(|one| one.headers("authorization").is_empty()), "it goes no further");
    let forbidden = send(&payments, &token, "DELETE", "/v1/refunds/7");
    assert!([403, 503].contains(&forbidden.status), "{}", forbidden.text());
    assert!(payments.upstream.take().is_empty(), "a forbid that does not name emergencies holds");
    let log = fs::read_to_string(payments.house.dir().join("sealed/uses")).unwrap();
    assert!(!log.contains("store and record") && !log.contains("payouts"), "only control reads it");

    payments.house.kill();
    outage.end();
    payments.house.restart();
    let lea = payments.enter(&lea());
    let emergency =
        until("control ingests it", || to_review(&lea), |seen| !seen.is_empty()).remove(0);
    assert_eq!(emergency["reason"], "store and record are gone", "{emergency:#}");
    assert_eq!(emergency["requester"]["id"], "corp:ben");
    assert_eq!(
        (&emergency["state"], &emergency["afterwards"]),
        (&json!("approved"), &json!("open"))
    );
    let event = payments.event("emergency_opened", |_| true);
    assert!(event["detail"].as_str().unwrap().starts_with("by sealed credential"), "{event:#}");
    let used = payments.event("sealed_used", |event| event["operation"] == "payments.createPayout");
    assert_eq!(used["principal"]["id"], "corp:ben", "{used:#}");
    assert_eq!(used["policies"], json!(["payments.emergency"]));
    payments.event("sealed_used", |event| event["operation"] == "payments.events");
    let path = format!("/v1/access-requests/{}/reviews", id(&emergency));
    let own = payments.enter(&crate::payments::ben()).call(
        "POST",
        &path,
        Some(json!({"decision": "approve"})),
    );
    assert_eq!(own.status, 403, "never one's own");
    assert_eq!(lea.approve(&emergency).json()["afterwards"], "reviewed");
    payments.house.kill();
    payments.house.restart();
    let events = payments.record(|_| true);
    let count = |kind: &str| events.iter().filter(|event| event["type"] == kind).count();
    assert_eq!((count("emergency_opened"), count("sealed_used")), (1, 2), "each once");
}

#[test]
fn e35_it_takes_two_people_with_the_right_and_nobody_counts_twice() {
    let payments = open();
    let (lea, leo, ana) = (payments.enter(&lea()), payments.enter(&leo()), payments.enter(&ana()));
    let _holder = payments.enter(&ben());
    let wanted = |rule: &str, holder: &str, valid_for: &str| {
        json!({"service": "payments", "rule": rule, "holder": holder, "purpose": "nights",
            "valid_for": valid_for, "public_key": "cHVibGljIGhhbGYgb2YgdGhlIG5pZ2h0IHNoaWZ0J3M"})
    };
    let good = || wanted("payments.emergency", "corp:ben", "30d");
    let propose =
        |who: &Visitor<'_>, body: Value| who.call("POST", "/v1/sealed-credentials", Some(body));
    assert_eq!(propose(&ana, good()).status, 403, "that takes `sealCredential`");
    for (wrong, why) in [
        (wanted("payments.payout", "corp:ben", "30d"), "no emergency rule"),
        (wanted("payments.emergency", "corp:nobody", "30d"), "holder"),
        (wanted("payments.emergency", "corp:leo", "30d"), "is not for"),
        (wanted("payments.emergency", "corp:ben", "181d"), "180 days"),
    ] {
        let refused = propose(&lea, wrong);
        assert_eq!(refused.status, 400, "{}", refused.text());
        assert!(refused.text().contains(why), "{why}: {}", refused.text());
    }
    let proposed = propose(&lea, good()).json();
    assert_eq!((&proposed["state"], &proposed["window"]), (&json!("proposed"), &json!("10m")));
    let agree = format!("/v1/sealed-credentials/{}/agree", id(&proposed));
    assert_eq!(lea.call("POST", &agree, None).status, 403, "one person is one person");
    assert_eq!(ana.call("POST", &agree, None).status, 404);
    let statuses = std::thread::scope(|scope| {
        let racing: Vec<_> =
            (0..4).map(|_| scope.spawn(|| leo.call("POST", &agree, None).status)).collect();
        racing.into_iter().map(|one| one.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
    payments.event("sealed_proposed", |event| event["principal"]["id"] == "corp:lea");
    payments.event("sealed_agreed", |event| event["principal"]["id"] == "corp:leo");
}

#[test]
fn e35_what_is_revoked_opens_nothing_here_or_after_a_restart() {
    let mut payments = open();
    let credential = made(&payments);
    let token = opened(&payments, "a drill");
    assert_eq!(send(&payments, &token, "POST", "/v1/payouts").status, 200);
    let lea = payments.enter(&lea());
    let emergency =
        until("control shows it", || to_review(&lea), |seen| !seen.is_empty()).remove(0);
    payments.event("attempt", |event| event["auth_method"] == "sealed" && event["status"] == 200);
    let declined = lea.decline(&emergency, "nobody announced a drill");
    assert_eq!(declined.status, 201, "{}", declined.text());
    assert_eq!(send(&payments, &token, "POST", "/v1/payouts").status, 401, "with its credential");
    let again = opened(&payments, "once more");
    assert_eq!(send(&payments, &again, "POST", "/v1/payouts").status, 401);
    let kept = payments.house.dir().join("sealed/revoked");
    let on_disk = || fs::read_to_string(&kept).unwrap_or_default();
    until("it is kept on disk", on_disk, |text| text.contains(&credential));
    payments.event("sealed_revoked", |_| true);
    payments.house.kill();
    payments.house.restart();
    assert_eq!(send(&payments, &again, "POST", "/v1/payouts").status, 401);
    let (_, listed) = said(&payments, "leo", &["sealed"], 0);
    assert!(listed.contains("revoked: the grant that it opened was ended"), "{listed}");
}

#[test]
fn e35_a_revocation_cuts_what_a_sealed_credential_opened() {
    let ticks = format!(
        "name: ticks\nhosts: [ticks.example.com]\nupstream: {{instances: {{t-1: \"http://{}\"}}}}",
        ticking_upstream()
    );
    let policies = POLICIES
        .replace("payments", "ticks")
        .replace("ticks.never", "unused")
        .replace("Action::\"ticks.cancelRefund\"", "Action::\"ticks.DELETE\"");
    let payments = open_with(|plan| {
        plan.service(&ticks)
            .policy("ticks.cedar", &policies.replace("\"sealers", "\"ticks.sealers"))
    });
    let credential = made_for(&payments, "ticks", "ticks.emergency");
    let token = opened_for(&payments, "ticks", "a drill");
    let mut wire = Wire::connect(payments.house.gate);
    wire.send(format!(
        "GET /tail HTTP/1.1\r\nHost: ticks.example.com\r\nAuthorization: Bearer {token}\r\n\r\n"
    ));
    wire.read_until(b"data: tick");
    let leo = payments.enter(&leo());
    // Snapshots come and go: it lives on.
    payments.enter(&ana());
    wire.read_until(b"data: tick");
    wire.read_until(b"data: tick");
    let path = format!("/v1/sealed-credentials/{credential}/revoke");
    let revoked = leo.call("POST", &path, Some(json!({"why": "the drill is over"})));
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    wire.until_closed().expect("it is cut");
}

#[test]
fn e35_what_is_not_whole_or_not_for_this_opens_nothing() {
    let payments = open();
    made(&payments);
    let token = opened(&payments, "a drill");
    let refused = |token: &str| send(&payments, token, "POST", "/v1/payouts").status;
    let (head, signature) = token.rsplit_once('.').unwrap();
    assert_eq!(refused(&format!("{head}.{}", signature.replace('A', "B").replace('a', "b"))), 401);
    assert_eq!(refused(head), 401);
    assert_eq!(refused("pc_sealed_"), 401);
    // At control it is nothing, whatever it says.
    assert_eq!(payments.house.api("GET", "/v1/whoami", Some(&token), None).status, 401);
    let file = path(&payments);
    let wrong = payments.house.cli_with(
        "nobody",
        &["emergency", "payments", "--sealed", &file, "--reason", "x"],
        &[("PORTCULLIS_PASSPHRASE", "not the passphrase")],
    );
    assert_eq!(wrong.status.code(), Some(1));
    let args =
        |more: &[&'static str]| [&["emergency", "payments", "--sealed", &file][..], more].concat();
    said(&payments, "nobody", &args(&[]), 2);
    said(&payments, "nobody", &args(&["--reason", "x", "--for", "6m"]), 2);
    said(&payments, "nobody", &["emergency", "ledger", "--sealed", &file, "--reason", "x"], 2);
    let brief = said(&payments, "nobody", &args(&["--reason", "x", "--for", "15s"]), 0).0;
    assert_eq!(refused(&brief), 200);
    until("it is over", || refused(&brief), |status| *status == 401);
    assert_eq!(refused(&token), 200, "and the other is not");
    let leaks = payments.house.leaks();
    assert!(leaks.is_empty(), "{leaks:?}");
}

#[test]
fn without_the_section_nothing_sealed_is_made_or_accepted() {
    let payments = Payments::open();
    let lea = payments.enter(&lea());
    let listed = lea.call("GET", "/v1/sealed-credentials", None);
    assert_eq!(listed.json()["sealed_credentials"], json!([]));
    let answer = exchange(
        payments.house.gate,
        "GET /v1/refunds HTTP/1.1\r\nHost: payments.example.com\r\nAuthorization: Bearer pc_sealed_x.y.z.w\r\n\
         Connection: close\r\n\r\n",
    );
    assert_eq!(answer.status, 401, "{}", answer.text());
    assert!(!payments.house.dir().join("sealed").exists());
}

#[test]
fn e35_what_cannot_be_written_down_opens_nothing() {
    let payments = open();
    made(&payments);
    let token = opened(&payments, "a drill");
    let log = payments.house.dir().join("sealed/uses");
    let away = payments.house.dir().join("sealed/away");
    // The record works, and is no substitute: what was opened has to be in the gate's own log.
    fs::rename(&log, &away).unwrap();
    payments.upstream.take();
    let refused = send(&payments, &token, "POST", "/v1/payouts");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(payments.upstream.take().is_empty());
    fs::rename(&away, &log).unwrap();
    assert_eq!(send(&payments, &token, "POST", "/v1/payouts").status, 200);

    // No file of the process grows any more: neither the record nor the log instead of it.
    payments.upstream.take();
    let limited = Command::new("prlimit")
        .args(["--fsize=1", "--pid", &payments.house.pid().to_string()])
        .status()
        .unwrap();
    assert!(limited.success());
    let status = || send(&payments, &token, "POST", "/v1/payouts").status;
    until("nothing can be written", status, |status| *status == 503);
    payments.upstream.take();
    let again = opened(&payments, "another drill");
    for token in [&token, &again] {
        assert_eq!(send(&payments, token, "POST", "/v1/payouts").status, 503);
    }
    assert!(payments.upstream.take().is_empty(), "nothing was forwarded");
}

#[test]
fn e35_a_sealed_credential_opens_with_the_identity_provider_gone() {
    let mut payments = open();
    made(&payments);
    payments.house.people.issuer().set_fault(Some(Fault::Down));
    payments.house.kill();
    payments.house.restart();
    let sign_in = payments.house.api("POST", "/v1/device", None, Some(json!({})));
    assert!(sign_in.status >= 500, "nobody signs in: {} {}", sign_in.status, sign_in.text());
    let token = opened(&payments, "nobody can sign in");
    payments.upstream.take();
    assert_eq!(send(&payments, &token, "POST", "/v1/payouts").status, 200);
    assert_eq!(payments.upstream.take().len(), 1);
    payments.house.people.issuer().set_fault(None);
    let detail = |event: &Value| event["detail"].to_string().contains("nobody can sign in");
    payments.event("emergency_opened", detail);
    payments.event("attempt", |event| event["auth_method"] == "sealed" && event["status"] == 200);
}

#[test]
fn e35_the_holders_other_rights_stay_outside() {
    let payments = open_with(|plan| {
        let reads = POLICIES.replace(", Action::\"payments.write\"", "");
        let standing = r#"@id("payouts")
            permit (principal is User in Group::"engineering", action == Action::"payments.createPayout", resource in Service::"payments");"#;
        plan.policy("emergency.cedar", &reads).policy("standing.cedar", standing)
    });
    made(&payments);
    let token = opened(&payments, "a drill");
    assert_eq!(payments.enter(&ben()).send("POST", "/v1/payouts", None).status, 200);
    assert_eq!(send(&payments, &token, "GET", "/v1/refunds").status, 200);
    payments.upstream.take();
    assert_eq!(send(&payments, &token, "POST", "/v1/payouts").status, 403, "one rule, no other");
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn e32_a_clock_that_is_set_back_revives_no_sealed_credential() {
    let mut payments = open_with(|plan| plan.file("faketime", "+0"));
    made(&payments);
    let token = opened(&payments, "a drill");
    let status = |token: &str| send(&payments, token, "POST", "/v1/payouts").status;
    assert_eq!(status(&token), 200);
    payments.house.set_clock("+6m");
    until("it is over", || status(&token), |status| *status == 401);
    payments.house.set_clock("+0");
    assert_eq!(status(&token), 401, "the clock says that it is not");
    let kept = payments.house.dir().join("sealed/clock");
    let at = || fs::read_to_string(&kept).ok().and_then(|text| text.trim().parse().ok());
    let over = machine_time() + SignedDuration::from_mins(5);
    until("the time is kept", at, |at: &Option<Timestamp>| at.is_some_and(|at| at > over));
    payments.house.kill();
    payments.house.restart();
    assert_eq!(send(&payments, &token, "POST", "/v1/payouts").status, 401, "and after a restart");
}

#[test]
fn k01_a_sealed_log_that_was_changed_is_said_loudly_and_goes_on() {
    let mut payments = open();
    made(&payments);
    let token = opened(&payments, "a drill");
    assert_eq!(send(&payments, &token, "GET", "/v1/refunds").status, 200);
    payments.event("emergency_opened", |_| true);
    payments.house.kill();
    let log = payments.house.dir().join("sealed/uses");
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("begin ", "begin A", 1)).unwrap();
    payments.house.restart();
    payments.event("sealed_log_broken", |_| true);
    assert_eq!(send(&payments, &token, "GET", "/v1/refunds").status, 200);
    let again = opened(&payments, "another drill");
    assert_eq!(send(&payments, &again, "GET", "/v1/refunds").status, 200);
    let drill = |event: &Value| event["detail"].to_string().contains("another drill");
    payments.event("emergency_opened", drill);
}
