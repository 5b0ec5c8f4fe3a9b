//! Group K over the API: the record proved by an auditor who has a sign-in and the log's key, and no
//! folder; and how often it is signed.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use crate::payments::{Payments, ana, sam};

/// More entries than one tile holds.
const ENTRIES: usize = 300;

struct Auditor<'a> {
    payments: &'a Payments,
    url: String,
}

impl<'a> Auditor<'a> {
    fn of(payments: &'a Payments) -> Self {
        let control = payments.enter(&sam()).control;
        payments.house.profile("sam", &control);
        Self { payments, url: format!("http://{}", payments.house.control) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.payments.house.dir().join("audit").join(name)
    }

    fn size(&self) -> usize {
        let text = fs::read_to_string(self.file("log/checkpoint")).unwrap_or_default();
        text.lines().nth(1).map_or(0, |size| size.parse().unwrap())
    }

    fn verify(&self, home: &str, more: &[&str]) -> (Option<i32>, String) {
        let arguments = [&["audit", "verify", &self.url], more].concat();
        self.payments.house.says(home, &arguments)
    }

    /// Puts other bytes in the place of a file, and returns those that were there.
    fn replace(&self, name: &str, with: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        let sound = fs::read(self.file(name)).unwrap();
        fs::write(self.file(name), with(&sound)).unwrap();
        sound
    }
}

#[test]
fn k01_k03_the_record_is_proved_over_the_api() {
    let payments = Payments::open();
    let ana = payments.enter(&ana());
    let auditor = Auditor::of(&payments);
    let kept = payments.house.dir().join("kept.checkpoint");
    fs::copy(auditor.file("log/checkpoint"), &kept).unwrap();
    for _ in 0..ENTRIES {
        assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    }
    payments.record(|events| events.len() > ENTRIES);

    let (code, said) = auditor.verify("sam", &[]);
    assert!(code == Some(2) && said.contains("--key"), "{said}");
    let (public, kept) = (auditor.file("log.pub"), kept.to_str().unwrap());
    let key = ["--key", public.to_str().unwrap()];
    let (code, said) = auditor.verify("sam", &key);
    assert!(code == Some(0) && said.starts_with("whole: "), "{said}");
    let (code, said) = auditor.verify("sam", &[&key[..], &["--checkpoint", kept]].concat());
    assert!(code == Some(0) && said.contains("none is gone since yours"), "{said}");

    // Another log's key, a changed entry, a file that is too long, one that is gone.
    let other = "other+1f2e3d4c+AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    let (code, said) = auditor.verify("sam", &["--key", other]);
    assert!(code == Some(1) && said.contains("checkpoint"), "{said}");
    let sound = auditor.replace("log/tile/entries/000", |bytes| {
        let mut changed = bytes.to_vec();
        changed[40] ^= 4;
        changed
    });
    let (code, said) = auditor.verify("sam", &key);
    assert!(code == Some(1) && said.contains("record 0 "), "{said}");
    auditor.replace("log/tile/entries/000", |_| sound);
    let sound = auditor.replace("log/tile/0/000", |bytes| bytes.repeat(2));
    let (code, said) = auditor.verify("sam", &key);
    assert!(code == Some(1) && said.contains("more than the 8192 bytes"), "{said}");
    fs::remove_file(auditor.file("log/tile/0/000")).unwrap();
    let (code, said) = auditor.verify("sam", &key);
    assert!(code == Some(1) && said.contains("`tile/0/000` is missing"), "{said}");
    fs::write(auditor.file("log/tile/0/000"), sound).unwrap();
    assert_eq!(auditor.verify("sam", &key).0, Some(0), "it was put right again");
}

#[test]
fn who_may_not_view_the_audit_proves_nothing_and_no_sign_in_goes_elsewhere() {
    let mut payments = Payments::open();
    let auditor = Auditor::of(&payments);
    let public = auditor.file("log.pub");
    let key = ["--key", public.to_str().unwrap()];
    payments.house.profile("ana", &payments.enter(&ana()).control);
    let (code, said) = auditor.verify("ana", &key);
    assert!(code == Some(1) && said.contains("viewAudit"), "{said}");
    payments.event("control_refused", |event| event["detail"] == "checkpoint");
    let elsewhere =
        Auditor { payments: &payments, url: "https://elsewhere.example.com".to_owned() };
    let (code, said) = elsewhere.verify("sam", &key);
    assert!(code == Some(2) && said.contains("--as NAME"), "{said}");
    let url = auditor.url.clone();
    payments.house.kill();
    let gone = Auditor { payments: &payments, url };
    let (code, said) = gone.verify("sam", &key);
    assert!(code == Some(3) && said.contains("cannot reach"), "{said}");
}

#[test]
fn a_checkpoint_is_signed_as_often_as_configured_and_at_once_for_what_control_records() {
    let mut payments = Payments::open();
    payments.house.kill();
    let file = payments.house.dir().join("portcullis.yaml");
    let text = fs::read_to_string(&file).unwrap();
    let slow = text.replace("{directory: audit}", "{directory: audit, checkpoint_every: 1m}");
    assert_ne!(slow, text);
    fs::write(file, slow).unwrap();
    payments.house.restart();
    let ana = payments.enter(&ana());
    let auditor = Auditor::of(&payments);
    let before = auditor.size();
    assert_eq!(ana.send("GET", "/v1/refunds", None).status, 200);
    // With the usual pace it would be signed well within this time.
    let patience = Instant::now() + Duration::from_secs(3);
    while Instant::now() < patience {
        assert_eq!(auditor.size(), before);
        std::thread::sleep(Duration::from_millis(100));
    }
    payments.event("attempt", |event| event["operation"] == "payments.listRefunds");
    assert!(auditor.size() > before);
    assert_eq!(payments.house.api("GET", "/readyz", None, None).status, 200);
}
