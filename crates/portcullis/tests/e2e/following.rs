//! `portcullis audit tail -f`: what was asked for and nothing else, across a server that goes and comes.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    house::binary,
    payments::{Payments, ana, ben, sam},
};

/// A command line that goes on, and what it has written.
struct Following {
    child: Child,
    out: PathBuf,
    notes: PathBuf,
}

impl Following {
    fn start(payments: &Payments, args: &[&str]) -> Self {
        let dir = payments.house.dir();
        let (out, notes) = (dir.join("tail.out"), dir.join("tail.notes"));
        let child = Command::new(binary())
            .args(["audit", "tail", "-f"])
            .args(args)
            .env("PORTCULLIS_HOME", dir.join("homes").join("sam"))
            .stdin(Stdio::null())
            .stdout(fs::File::create(&out).unwrap())
            .stderr(fs::File::create(&notes).unwrap())
            .spawn()
            .unwrap();
        Self { child, out, notes }
    }

    fn notes(&self) -> String {
        fs::read_to_string(&self.notes).unwrap()
    }

    /// Its whole lines, once `enough` says so.
    fn lines(&self, enough: impl Fn(&[String]) -> bool) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let text = fs::read_to_string(&self.out).unwrap();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let lines: Vec<String> = whole.lines().map(str::to_owned).collect();
            if enough(&lines) {
                return lines;
            }
            assert!(Instant::now() < deadline, "it lacks something: {lines:#?} {}", self.notes());
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_tail_goes_on_where_it_was_left_and_shows_what_was_asked_for() {
    let mut payments = Payments::open();
    let sam = payments.house.sign_in(&sam());
    payments.house.profile("sam", &sam);
    let only = [
        "--output",
        "json",
        "--type",
        "attempt",
        "--service",
        "payments",
        "--principal",
        "corp:ana",
    ];
    let tail = Following::start(&payments, &only);
    let send = |payments: &Payments, path: &str| {
        let (ana, ben) = (payments.enter(&ana()), payments.enter(&ben()));
        assert_eq!(ana.send("GET", path, None).status, 200);
        assert_eq!(ben.send("GET", path, None).status, 403);
    };
    send(&payments, "/v1/refunds/one");
    tail.lines(|lines| lines.len() == 1);
    payments.house.kill();
    let deadline = Instant::now() + Duration::from_mins(1);
    while !tail.notes().contains("as soon as it answers") {
        assert!(Instant::now() < deadline, "{}", tail.notes());
        std::thread::sleep(Duration::from_millis(100));
    }
    payments.house.restart();
    send(&payments, "/v1/refunds/two");
    send(&payments, "/v1/refunds/three");
    let lines = tail.lines(|lines| lines.len() >= 3);
    let events: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let paths: Vec<_> = events.iter().map(|event| event["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/v1/refunds/one", "/v1/refunds/two", "/v1/refunds/three"]);
    assert!(events.iter().all(|event| event["principal"]["id"] == "corp:ana"), "{events:#?}");
    assert!(events.is_sorted_by_key(|event| event["seq"].as_u64()));
    // Whoever may not read any more is told, and the command is over.
    payments.house.api("POST", "/v1/sign-out", Some(&sam), None);
    let mut tail = tail;
    let code = tail.child.wait().unwrap().code();
    assert_eq!(code, Some(1), "{}", tail.notes());
    // A filter that means nothing, and a server that was never there.
    let auditor = payments.auditor();
    payments.house.profile("sam", &auditor);
    let (code, said) = payments.house.says("sam", &["audit", "tail", "-f", "--grant", "none"]);
    assert_eq!(code, Some(2), "{said}");
    payments.house.kill();
    let (code, said) = payments.house.says("sam", &["audit", "tail", "-f"]);
    assert_eq!(code, Some(3), "{said}");
    payments.house.restart();
}

#[test]
fn a_tail_ends_with_whoever_reads_it() {
    let payments = Payments::open();
    let sam = payments.house.sign_in(&sam());
    payments.house.profile("sam", &sam);
    let ana = payments.enter(&ana());
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    payments.event("attempt", |_| true);
    let mut tail = Command::new(binary())
        .args(["audit", "tail", "-f", "-n", "1", "--decision", "permit"])
        .env("PORTCULLIS_HOME", payments.house.dir().join("homes").join("sam"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // It is closed before anything is read.
    drop(tail.stdout.take());
    let deadline = Instant::now() + Duration::from_mins(1);
    let code = loop {
        assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
        if let Some(status) = tail.try_wait().unwrap() {
            break status.code();
        }
        assert!(Instant::now() < deadline, "it goes on for nobody");
        std::thread::sleep(Duration::from_millis(200));
    };
    assert_eq!(code, Some(0));
}
