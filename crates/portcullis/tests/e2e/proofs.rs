//! Group K beyond one folder: proofs of single records and of grants, checkpoints that are kept outside,
//! and another key half-way.

use std::{
    fs,
    io::{Read, Write},
    net::TcpListener,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    payments::{Payments, ana, ben, grant, sam},
    wire::Response,
};

const PATIENCE: Duration = Duration::from_mins(1);

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

struct Kept {
    payments: Payments,
    audit: PathBuf,
    outside: PathBuf,
}

impl Kept {
    /// A house whose checkpoints go into a file outside its record, and to `more`.
    fn open(more: &str) -> Self {
        let mut payments = Payments::open();
        payments.house.kill();
        let dir = payments.house.dir().to_owned();
        let outside = dir.join("outside.checkpoints");
        let file = dir.join("portcullis.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let anchors = format!(
            "{{directory: audit, anchors: [{{file: {}, every: 1s}}{more}]}}",
            outside.display()
        );
        let kept = text.replace("{directory: audit}", &anchors);
        assert_ne!(kept, text);
        fs::write(file, kept).unwrap();
        payments.house.restart();
        Self { payments, audit: dir.join("audit"), outside }
    }

    fn anchored(&self) -> Vec<u64> {
        let text = fs::read_to_string(&self.outside).unwrap_or_default();
        let size = |line| serde_json::from_str::<Value>(line).unwrap()["size"].as_u64().unwrap();
        text.lines().map(size).collect()
    }

    fn size(&self) -> u64 {
        let text = fs::read_to_string(self.audit.join("log/checkpoint")).unwrap();
        text.lines().nth(1).unwrap().parse().unwrap()
    }

    /// Does something that is on record, and waits until it is anchored.
    fn go_on(&self) {
        let before = self.size();
        self.payments.enter(&ana());
        wait_until("an anchored checkpoint", || {
            self.anchored().last().is_some_and(|size| *size > before)
        });
    }

    fn verify(&self, more: &[&str]) -> (Option<i32>, String) {
        let audit = self.audit.to_str().unwrap();
        self.payments.house.says("auditor", &[&["audit", "verify", audit], more].concat())
    }

    /// Copies record and store of the stopped house: the whole of what it knows.
    fn keep(&self, name: &str) -> PathBuf {
        let dir = self.payments.house.dir();
        let kept = dir.join(name);
        fs::create_dir(&kept).unwrap();
        let script = format!("cp -r audit portcullis.db* {name}/");
        let copied = Command::new("sh").args(["-c", &script]).current_dir(dir).status().unwrap();
        assert!(copied.success());
        kept
    }

    /// Brings back what was kept, in place of what is there.
    fn bring_back(&self, name: &str) {
        let script = format!("rm -rf audit portcullis.db* && cp -r {name}/* .");
        let dir = self.payments.house.dir();
        let copied = Command::new("sh").args(["-c", &script]).current_dir(dir).status().unwrap();
        assert!(copied.success());
    }

    /// What the binary says that does not start.
    fn refuses_to_start(&mut self) -> String {
        let dir = self.payments.house.dir().to_owned();
        let output = Command::new(crate::house::binary())
            .args(["serve", "--config", "portcullis.yaml", "--cores", "1"])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(!output.status.success());
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&output.stdout) + &text(&output.stderr)
    }
}

#[test]
fn a_grant_carries_the_proof_of_its_own_event() {
    let payments = Payments::open();
    let visitor = payments.enter(&ana());
    let granted = grant(&visitor.ask(&visitor.refund(1), serde_json::json!({})).json());
    let path = format!("/v1/grants/{granted}");
    let record = visitor.call("GET", &path, None).json()["record"].clone();
    let seq = record["seq"].as_u64().unwrap();
    assert_eq!(record["proof"], format!("{path}/proof"));
    let proof = visitor.call("GET", record["proof"].as_str().unwrap(), None);
    assert!(proof.text().starts_with("c2sp.org/tlog-proof@v1\nextra "), "{}", proof.text());
    payments.event("record_read", |event| event["grant"] == granted.as_str());
    // Whoever may not see the grant gets no proof of it.
    let stranger = payments.enter(&ben());
    assert_eq!(stranger.call("GET", &format!("{path}/proof"), None).status, 404);

    let house = &payments.house;
    house.profile("ana", &visitor.control);
    let kept = house.dir().join("kept.tlog-proof");
    let (kept, key) = (kept.to_str().unwrap(), house.dir().join("audit/log.pub"));
    let (code, said) = house.says("ana", &["grants", &granted, "--proof", kept]);
    assert!(code == Some(0) && said.contains(&format!("event {seq}")), "{said}");
    let key = key.to_str().unwrap();
    let verify = ["audit", "verify", "--proof", kept, "--key", key];
    let (code, said) = house.says("nobody", &verify);
    assert!(code == Some(0) && said.contains("on record: ") && said.contains(&granted), "{said}");
    let (code, said) = house.says("nobody", &verify[..4]);
    assert!(code == Some(2) && said.contains("--key"), "{said}");
    let changed = fs::read_to_string(kept).unwrap().replacen("index ", "index 1", 1);
    fs::write(kept, changed).unwrap();
    let (code, said) = house.says("nobody", &verify);
    assert!(code == Some(1) && said.contains("proves nothing"), "{said}");
}

#[test]
fn records_and_sizes_are_proved_over_the_api_and_reading_that_is_on_record() {
    let payments = Payments::open();
    let auditor = payments.enter(&sam());
    let get = |path: &str| -> Response { auditor.call("GET", path, None) };
    assert_eq!(get("/v1/audit/proof/record?seq=0").status, 200);
    payments.event("record_read", |event| event["detail"] == "proof of 0");
    let inclusion = get("/v1/audit/proof/inclusion?seq=1&size=2").json();
    assert_eq!((&inclusion["size"], &inclusion["checkpoint"]), (&2.into(), &Value::Null));
    assert_eq!(inclusion["hashes"].as_array().unwrap().len(), 1);
    let consistency = get("/v1/audit/proof/consistency?from=2").json();
    assert!(consistency["checkpoint"].is_string() && consistency["size"].as_u64() > Some(2));
    payments.event("record_read", |event| event["detail"] == "consistency from 2");
    for beyond in ["record?seq=99999", "inclusion?seq=2&size=2", "consistency?from=0"] {
        let answer = get(&format!("/v1/audit/proof/{beyond}"));
        assert_eq!(answer.status, 404, "{beyond}: {}", answer.text());
    }
    let ana = payments.enter(&ana());
    for proof in ["record?seq=0", "inclusion?seq=0", "consistency?from=1"] {
        let answer = ana.call("GET", &format!("/v1/audit/proof/{proof}"), None);
        assert_eq!(answer.status, 403, "{proof}");
    }
}

#[test]
fn k05_a_record_that_was_set_back_to_an_older_valid_state_does_not_go_on() {
    let mut kept = Kept::open("");
    kept.go_on();
    kept.payments.house.kill();
    kept.keep("older");
    kept.payments.house.restart();
    kept.go_on();
    let anchors = kept.outside.to_str().unwrap().to_owned();
    let (code, said) = kept.verify(&["--anchors", &anchors]);
    assert!(code == Some(0) && said.contains("that were kept"), "{said}");
    kept.payments.house.kill();

    // An older state of the whole folder is valid by itself.
    kept.keep("newer");
    kept.bring_back("older");
    assert_eq!(kept.verify(&[]).0, Some(0));
    let (code, said) = kept.verify(&["--anchors", &anchors]);
    assert!(code == Some(1) && said.contains("cut or set back"), "{said}");
    let said = kept.refuses_to_start();
    assert!(said.contains("set back") && said.contains("outside.checkpoints"), "{said}");
    // So is none at all.
    fs::remove_dir_all(&kept.audit).unwrap();
    let said = kept.refuses_to_start();
    assert!(said.contains("holds no log"), "{said}");
    // With the right one it goes on.
    kept.bring_back("newer");
    kept.payments.house.restart();
    kept.go_on();
}

#[test]
fn k06_a_copy_that_went_on_another_way_is_found_by_both() {
    let mut kept = Kept::open("");
    kept.go_on();
    // Two processes never have one folder.
    let rotated =
        kept.payments.house.says("nobody", &["audit", "rotate-key", kept.audit.to_str().unwrap()]);
    assert!(
        rotated.0 == Some(2) && rotated.1.contains("in use by another process"),
        "{}",
        rotated.1
    );
    kept.payments.house.kill();
    kept.keep("copied");
    kept.payments.house.restart();
    kept.go_on();
    kept.payments.house.kill();
    kept.bring_back("copied");
    // The copy, which knows nothing of the anchors, signs other records under the same numbers.
    let lines = fs::read_to_string(&kept.outside).unwrap();
    fs::remove_file(&kept.outside).unwrap();
    kept.payments.house.restart();
    let wanted = first_size(&lines);
    while kept.anchored().last().is_none_or(|size| *size <= wanted) {
        kept.payments.enter(&ana());
        std::thread::sleep(Duration::from_millis(100));
    }
    // Then what the other has anchored reaches it.
    let mut file = fs::OpenOptions::new().append(true).open(&kept.outside).unwrap();
    file.write_all(lines.as_bytes()).unwrap();
    wait_until("the record refuses to go on", || {
        let ready = kept.payments.house.api("GET", "/readyz", None, None);
        ready.status == 503 && ready.text().contains("rewritten")
    });
    let anchors = kept.outside.to_str().unwrap().to_owned();
    let (code, said) = kept.verify(&["--anchors", &anchors]);
    assert!(code == Some(1) && said.contains("rewritten"), "{said}");
}

fn first_size(lines: &str) -> u64 {
    let newest = lines.lines().last().unwrap();
    serde_json::from_str::<Value>(newest).unwrap()["size"].as_u64().unwrap()
}

/// Takes what is posted; answers 503 to the first, 200 to all others.
struct Notary {
    address: String,
    bodies: Arc<Mutex<Vec<String>>>,
}

impl Notary {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let taken = Arc::clone(&bodies);
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                let mut stream = stream.unwrap();
                let mut text = String::new();
                let mut part = [0; 4096];
                while !text.contains("\\n\"") && !text.ends_with('}') {
                    let read = stream.read(&mut part).unwrap();
                    if read == 0 {
                        break;
                    }
                    text += &String::from_utf8_lossy(&part[..read]);
                }
                let status = if number == 0 { "503 Busy" } else { "200 OK" };
                let answer =
                    format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(text);
            }
        });
        Self { address, bodies }
    }

    fn bodies(&self) -> Vec<String> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[test]
fn checkpoints_are_posted_again_until_they_arrive_and_metrics_say_how_it_goes() {
    let notary = Notary::start();
    let more = format!(", {{webhook: \"http://{}/checkpoints\", every: 1s}}", notary.address);
    let kept = Kept::open(&more);
    wait_until("a second try", || notary.bodies().len() >= 2);
    let bodies = notary.bodies();
    assert!(bodies[1].contains("\"checkpoint\":\"127.0.0.1/audit\\n"), "{}", bodies[1]);
    wait_until("metrics", || {
        let metrics = kept.payments.house.api("GET", "/metrics", None, None).text();
        metrics.contains("portcullis_log_anchor_failures_total{anchor=\"1\",kind=\"webhook\"} 1")
            && metrics.contains("portcullis_log_anchor_failing{anchor=\"1\",kind=\"webhook\"} 0")
            && !metrics.contains("portcullis_log_anchor_size{anchor=\"0\",kind=\"file\"} 0")
    });
    assert!(kept.payments.house.log().contains("could not be anchored"));
}

#[test]
fn k08_a_key_is_changed_and_the_old_one_signs_nothing_more() {
    let mut kept = Kept::open("");
    kept.go_on();
    let old = fs::read_to_string(kept.audit.join("log.pub")).unwrap();
    let old_checkpoint = kept.payments.house.dir().join("old.checkpoint");
    fs::copy(kept.audit.join("log/checkpoint"), &old_checkpoint).unwrap();
    kept.payments.house.kill();
    kept.keep("stolen");
    let audit = kept.audit.to_str().unwrap().to_owned();
    let (code, said) = kept.payments.house.says("nobody", &["audit", "rotate-key", &audit]);
    assert!(code == Some(0) && said.contains("new key"), "{said}");
    kept.payments.house.restart();
    kept.go_on();
    let keys = fs::read_to_string(kept.audit.join("log.pub")).unwrap();
    assert!(keys.lines().count() == 2 && keys.starts_with(old.trim()), "{keys}");
    let served = kept.payments.house.api("GET", "/v1/audit/key", None, None).json();
    assert_eq!(served["keys"].as_array().unwrap().len(), 2, "{served}");
    kept.payments.event("log_key_changed", |event| event["handover"].is_string());

    // All of it with the new file; what was signed earlier with either.
    let (anchors, old_checkpoint) =
        (kept.outside.to_str().unwrap().to_owned(), old_checkpoint.to_str().unwrap().to_owned());
    let (code, said) = kept.verify(&["--anchors", &anchors, "--checkpoint", &old_checkpoint]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = kept.verify(&["--key", old.trim()]);
    assert!(code == Some(1) && said.contains("new log.pub"), "{said}");
    // The stolen key goes on where it was; the new file says that it may not.
    kept.payments.house.kill();
    let new = kept.keep("new").join("audit");
    kept.bring_back("stolen");
    let said = kept.refuses_to_start();
    assert!(said.contains("outside.checkpoints"), "{said}");
    fs::rename(&kept.outside, kept.payments.house.dir().join("away")).unwrap();
    kept.payments.house.restart();
    for _ in 0..5 {
        kept.go_on();
    }
    kept.payments.house.kill();
    assert_eq!(kept.verify(&[]).0, Some(0), "sound by its own file");
    let keys = new.join("log.pub");
    let (code, said) = kept.verify(&["--key", keys.to_str().unwrap()]);
    assert!(code == Some(1) && said.contains("only"), "{said}");
}
