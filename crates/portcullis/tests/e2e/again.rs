//! From a refusal to the same request again: `portcullis curl`, `portcullis ask`, and a terminal.

use std::{
    fs,
    io::{Read, Write},
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use serde_json::json;

use crate::{
    house::binary,
    payments::{Payments, Visitor, ana, ben, lea},
};

const ADDRESS: &str = "http://payments.example.com/v1/refunds";
const DATA: [&str; 2] = ["-d", "@body.json"];
const RULE: &str = "payments.refund.oncall";

/// What somebody types, in a folder of their own.
struct Desk<'a> {
    payments: &'a Payments,
    home: &'static str,
}

impl<'a> Desk<'a> {
    fn of(payments: &'a Payments, home: &'static str, visitor: &Visitor<'_>) -> Self {
        payments.house.profile(home, &visitor.control);
        let desk = Self { payments, home };
        fs::create_dir_all(desk.folder()).unwrap();
        fs::write(
            desk.folder().join("body.json"),
            json!({"amount": 7, "currency": "EUR"}).to_string(),
        )
        .unwrap();
        desk
    }

    fn folder(&self) -> PathBuf {
        self.payments.house.dir().join("desks").join(self.home)
    }

    fn kept(&self) -> Vec<PathBuf> {
        let home = self.payments.house.dir().join("homes").join(self.home);
        let files = fs::read_dir(home.join("refused/default")).into_iter().flatten();
        files.map(|file| file.unwrap().path()).collect()
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder())
            .env("PORTCULLIS_HOME", self.payments.house.dir().join("homes").join(self.home))
            .env("NO_COLOR", "1");
        command
    }

    /// Sends a refund that policy refuses, and returns the refusal's code.
    fn refused(&self, more: &[&str]) -> String {
        let gate = format!("http://{}", self.payments.house.gate);
        let output = self
            .command(binary().to_str().unwrap())
            .args(["curl", "--gate", &gate, "-sS", "-HContent-Type: application/json"])
            .args(more)
            .arg(ADDRESS)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains("you can get this"), "{told}");
        told.trim().rsplit("portcullis ask ").next().unwrap().to_owned()
    }

    fn cli(&self, args: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.payments.house.cli(self.home, args);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    /// Runs a command on a terminal, answers its question, and returns all that stood there.
    fn on_a_terminal(&self, words: &str, answer: &str) -> (i32, String) {
        let line = format!("{} {words}", binary().display());
        let mut child = self
            .command("script")
            .args(["--quiet", "--return", "--command", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (mut typed, mut shown) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (pieces, seen) = mpsc::channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = shown.read(&mut buffer) {
                let _ = pieces.send(String::from_utf8_lossy(&buffer[..read]).into_owned());
            }
        });
        let mut text = String::new();
        while !text.contains("[Y/n]") {
            text += &seen.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|_| panic!("{text}"));
        }
        typed.write_all(answer.as_bytes()).unwrap();
        while let Ok(more) = seen.recv_timeout(Duration::from_mins(1)) {
            text += &more;
        }
        drop(typed);
        (child.wait().unwrap().code().unwrap(), text)
    }
}

#[test]
fn what_was_refused_is_sent_again_once_from_where_it_was_sent() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let desk = Desk::of(&payments, "ana", &ana);
    let code = desk.refused(&DATA);
    assert!(payments.upstream.take().is_empty());
    let kept = desk.kept();
    assert_eq!(kept.len(), 1);
    let text = fs::read_to_string(&kept[0]).unwrap();
    assert!(text.contains("@body.json") && !text.contains("pc_sign_"), "{text}");

    let ask = ["ask", &code, "--rule", RULE, "--reason", "stuck"];
    let both = [&ask[..], &["--again", "--output", "json"]].concat();
    let (status, _, told) = desk.cli(&both);
    assert!(status == 2 && told.contains("--output json"), "{told}");
    let (status, said, told) = desk.cli(&[&ask[..], &["--again"]].concat());
    assert_eq!(status, 0, "{said}{told}");
    let (granted, answer) = said.split_once('\n').unwrap();
    assert!(granted.starts_with("granted payments.createRefund: until "), "{said}");
    assert_eq!(answer, "upstream", "the answer passes through, and nothing else");
    let seen = payments.upstream.take();
    assert_eq!(seen.len(), 1);
    assert_eq!(seen[0].body, json!({"amount": 7, "currency": "EUR"}).to_string().as_bytes());

    assert!(desk.kept().is_empty(), "it is not sent twice");
    let (status, _, told) = desk.cli(&[&ask[..], &["--again"]].concat());
    assert!(status == 2 && told.contains("has nothing to send"), "{told}");
    let (_, said, _) = desk.cli(&ask);
    assert!(
        !said.contains("granted") || said.contains("now send the same request again"),
        "{said}"
    );
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn a_reviewed_one_waits_and_passes_curls_own_exit_code_through() {
    let payments = Payments::open();
    let (ben, lea) = (payments.enter(&ben()), payments.enter(&lea()));
    let desk = Desk::of(&payments, "ben", &ben);
    let code = desk.refused(&["-X", "POST", "-T", "body.json"]);
    let ask = ["ask", &code, "--reason", "stuck", "--again"];
    let (status, said, told) = std::thread::scope(|scope| {
        let asked = scope.spawn(|| desk.cli(&ask));
        let listed = || lea.call("GET", "/v1/access-requests?filter=to-review", None).json();
        let mut request = json!(null);
        for _ in 0..600 {
            request = listed()["access_requests"][0].clone();
            if !request.is_null() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        // What curl cannot do any more is curl's to say.
        fs::remove_file(desk.folder().join("body.json")).unwrap();
        assert_eq!(lea.approve(&request).json()["state"], "approved");
        asked.join().unwrap()
    });
    assert!(said.contains("granted payments.createRefund"), "{said}{told}");
    assert!(told.contains("body.json"), "{told}");
    assert_eq!(status, 26, "curl's code for data that it cannot read: {told}");
    assert!(payments.upstream.take().is_empty());
}

#[test]
fn on_a_terminal_the_same_request_again_is_a_question() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let desk = Desk::of(&payments, "ana", &ana);
    let code = desk.refused(&DATA);
    let words = format!("ask {code} --rule {RULE} --reason stuck");
    let (status, text) = desk.on_a_terminal(&words, "n\n");
    assert!(status == 0 && text.contains("granted payments.createRefund"), "{text}");
    assert!(payments.upstream.take().is_empty());
    assert_eq!(desk.kept().len(), 1, "not sent, so not forgotten");

    let grants = ana.call("GET", "/v1/grants", None).json();
    let grant = grants["grants"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ana.call("POST", &format!("/v1/grants/{grant}/give-back"), None).status, 200);
    let (status, text) = desk.on_a_terminal(&words, "\n");
    assert_eq!(status, 0, "{text}");
    let after = text.split_once("the same request again? [Y/n] ").unwrap().1;
    let lines: Vec<_> = after.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(lines, ["upstream", "200 OK"], "{text}");
    assert_eq!(payments.upstream.take().len(), 1);
}

#[test]
fn j07_credentials_are_not_kept_and_signing_out_forgets_the_rest() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let desk = Desk::of(&payments, "ana", &ana);
    let code = desk.refused(&[&DATA[..], &["-HX-Api-Key: canary"]].concat());
    assert!(desk.kept().is_empty());
    let (status, _, told) = desk.cli(&["ask", &code, "--reason", "x", "--again"]);
    assert!(status == 2 && told.contains("credentials of its own"), "{told}");
    let (_, said, _) = desk.cli(&["ask", &code, "--rule", RULE, "--reason", "x"]);
    assert!(said.ends_with("now send the same request again\n"), "{said}");
    let grants = ana.call("GET", "/v1/grants", None).json();
    let grant = grants["grants"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(ana.call("POST", &format!("/v1/grants/{grant}/give-back"), None).status, 200);

    desk.refused(&DATA);
    assert_eq!(desk.kept().len(), 1);
    assert_eq!(desk.cli(&["logout"]).0, 0);
    assert!(desk.kept().is_empty());
}
