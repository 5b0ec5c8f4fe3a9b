//! Old parts of the record go, unless somebody holds them: what is left proves itself, and what somebody else
//! deletes is found.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    mesh::eventually,
    payments::{Payments, ana},
    people::Person,
    searching_sized::{grant, write_past},
    upstream::Upstream,
};

const SEGMENT: u64 = 65_536;
/// Of a long past: a little more than two segments, of which the first has entries of today, too.
const PAST: u64 = 2 * SEGMENT + 100;
const ADMINS: &str = r#"
@id("admins")
permit (principal is User in Group::"admins", action == Action::"administer", resource);
"#;

struct Old {
    payments: Payments,
    copy: tempfile::TempDir,
}

/// What makes up the store while nothing runs.
const STORE: [&str; 3] = ["portcullis.db", "portcullis.db-wal", "portcullis.db-shm"];

impl Old {
    /// Copies the store while nothing runs, and goes on.
    fn copied_store(mut self) -> (Self, tempfile::TempDir) {
        self.payments.house.kill();
        let kept = tempfile::tempdir().unwrap();
        for name in STORE {
            let file = self.payments.house.dir().join(name);
            let _absent = fs::copy(file, kept.path().join(name));
        }
        self.payments.house.restart();
        (self, kept)
    }

    /// Ends it and puts the store back.
    fn set_back(mut self, kept: &Path) -> Self {
        self.payments.house.kill();
        for name in STORE {
            let file = self.payments.house.dir().join(name);
            let _absent = fs::remove_file(&file);
            let _absent = fs::copy(kept.join(name), file);
        }
        self
    }

    /// A house with a long past, which keeps it all so far.
    fn open() -> Self {
        let mut payments = Payments::furnished(Upstream::start(), |plan| {
            plan.policy("admins.cedar", ADMINS).file("faketime", "+0")
        });
        payments.house.kill();
        write_past(&payments, PAST);
        let old = Self { payments, copy: tempfile::tempdir().unwrap() };
        old.keeps("{directory: audit}", "forever").restarted()
    }

    fn keeps(self, before: &str, retention: &str) -> Self {
        let file = self.payments.house.dir().join("portcullis.yaml");
        let text = fs::read_to_string(&file).unwrap();
        let ship = format!("{{to: \"file://{}\", every: 1s}}", self.copy.path().display());
        let now = if before.starts_with('{') {
            let audit = format!("{{directory: audit, retention: {retention}, ship: {ship}}}");
            text.replace(before, &audit)
        } else {
            text.replace(&format!("retention: {before}"), &format!("retention: {retention}"))
        };
        assert_ne!(now, text);
        fs::write(file, now).unwrap();
        self
    }

    fn restarted(mut self) -> Self {
        self.payments.house.kill();
        self.payments.house.restart();
        self
    }

    fn log(&self) -> PathBuf {
        self.payments.house.dir().join("audit/log")
    }

    /// Whether the segment is here, and whether it is in the copy.
    fn has(&self, number: u64) -> (bool, bool) {
        let name = format!("segment/{number:03}");
        (self.log().join(&name).exists(), self.copy.path().join(name).exists())
    }

    fn verify(&self, record: &Path) -> (Option<i32>, String) {
        let key = self.payments.house.dir().join("audit/log.pub");
        let arguments = [record.to_str().unwrap(), "--key", key.to_str().unwrap()];
        self.payments.house.says("auditor", &[&["audit", "verify"][..], &arguments].concat())
    }

    /// The copy becomes whole a moment after the record.
    fn verified(&self, record: &Path, what: &str) {
        let mut said = String::new();
        eventually(what, || {
            let (code, now) = self.verify(record);
            said = now;
            code == Some(0) && said.contains(what)
        });
    }
}

#[test]
fn old_segments_go_when_nobody_holds_them_and_the_rest_proves_itself() {
    let (old, before) = Old::open().copied_store();
    let house = &old.payments.house;
    let admin = house.sign_in(&Person::new("adm", &["admins"]));
    for (home, token) in [("admin", &admin), ("ana", &house.sign_in(&ana()))] {
        house.profile(home, token);
    }
    house.profile("sam", &old.payments.auditor());
    // One grant that was used in the second segment.
    let held = grant(100_000).to_string();
    let add = ["audit", "hold", "add", "--grant", &held, "--reason", "case 7"];
    let (code, said) = house.says("ana", &add);
    assert!(code == Some(1) && said.contains("administer"), "{said}");
    let (code, said) = house.says("admin", &["audit", "hold", "add", "--reason", "all of it"]);
    assert!(code != Some(0) && said.contains("must say what is held"), "{said}");
    let (code, said) = house.says("admin", &add);
    assert!(code == Some(0) && said.contains(&format!("held: grant {held}")), "{said}");
    let placed = old.payments.event("legal_hold_placed", |_| true);
    assert!(placed["detail"].as_str().unwrap().ends_with("case 7"), "{placed:#}");
    eventually("the copy has both segments", || old.has(0).1 && old.has(1).1);

    // The store goes back to before the hold was placed: what holds is on record.
    let old = old.set_back(before.path()).keeps("forever", "400d").restarted();
    let house = &old.payments.house;
    let admin = house.sign_in(&Person::new("adm", &["admins"]));
    house.profile("admin", &admin);
    eventually("the hold keeps the old segment", || {
        house.log().contains("a legal hold keeps entries that are old enough to go")
    });
    assert_eq!([old.has(0), old.has(1)], [(true, true); 2]);
    let holds = house.api("GET", "/v1/audit/holds", Some(&old.payments.auditor()), None).json();
    let id = holds["holds"][0]["id"].as_str().unwrap().to_owned();
    let release = ["audit", "hold", "release", &id, "--reason", "case 7 is closed"];
    assert_eq!(house.says("admin", &release).0, Some(0));
    let (code, said) = house.says("admin", &release);
    assert!(code != Some(0) && said.contains("released already"), "{said}");

    eventually("the old segment is gone", || old.has(1) == (false, false));
    assert_eq!(old.has(0), (true, true), "it has entries of today");
    let removed = old.payments.event("record_removed", |_| true);
    let range = &removed["removal"]["removed"][0];
    assert_eq!((&range["from"], &range["to"]), (&json!(SEGMENT), &json!(2 * SEGMENT)));
    assert_eq!(removed["removal"]["policy"], "400d");
    let said = "entries 65536 to 131071 were removed by retention of 400d at ";
    old.verified(&old.log(), said);
    old.verified(old.copy.path(), said);
    what_is_gone_is_not_found(&old);
    what_an_attacker_deletes_is_found(&old);

    let older = fs::read(old.log().join("removed")).unwrap();

    // A year and more later the first goes, too, and the newest record speaks for both.
    house.set_clock("+401d");
    let old = old.restarted();
    eventually("both are gone", || [old.has(0), old.has(1)] == [(false, false); 2]);
    let said = "entries 0 to 131071 were removed by retention of 400d at ";
    old.verified(&old.log(), said);
    old.verified(old.copy.path(), said);
    nobody_depends_on_the_beginning(old, &older, said);
}

/// Neither a start, nor an index that is made anew. And what was put back from before is read from the record again.
fn nobody_depends_on_the_beginning(mut old: Old, older: &[u8], said: &str) {
    old.payments.house.kill();
    fs::remove_file(old.payments.house.dir().join("audit/index.db")).unwrap();
    fs::remove_file(old.payments.house.dir().join("audit/shipped")).unwrap();
    let newest = fs::read(old.log().join("removed")).unwrap();
    fs::write(old.log().join("removed"), older).unwrap();
    let old = old.restarted();
    old.verified(&old.log(), said);
    old.verified(old.copy.path(), said);
    eventually("the newest removal is known again", || {
        older != newest && fs::read(old.log().join("removed")).unwrap() == newest
    });
    eventually("it is indexed again", || old.payments.house.dir().join("audit/index.db").exists());
}

fn what_is_gone_is_not_found(old: &Old) {
    let house = &old.payments.house;
    let found = |words: &str| {
        let path = format!("/v1/audit/events?text={words}&order=newest");
        let answer = house.api("GET", &path, Some(&old.payments.auditor()), None).json();
        answer["events"].as_array().unwrap().len()
    };
    assert_eq!(found("/v1/refunds/R-100000"), 0);
    eventually("the newest is found", || found(&format!("/v1/refunds/R-{}", PAST - 1)) == 1);
    // The index gives way to everything else.
    eventually("the oldest is found", || found("/v1/refunds/R-77") == 1);
    let answer =
        house.api("GET", "/v1/audit/proof/record?seq=70000", Some(&old.payments.auditor()), None);
    assert_eq!(answer.status, 404, "{}", answer.text());
    assert!(answer.text().contains("retention"), "{}", answer.text());
    let (code, said) = house.says("sam", &["audit", "show", "70000"]);
    assert!(code != Some(0) && said.contains("70000"), "{said}");
    let to = house.dir().join("all.jsonl");
    let export = ["audit", "export", "--format", "json", "--service", "payments", "--to"];
    let (code, said) = house.says("sam", &[&export[..], &[to.to_str().unwrap()]].concat());
    assert_eq!(code, Some(0), "{said}");
    let lines = fs::read_to_string(to).unwrap();
    let seqs = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap());
    let seqs: Vec<u64> = seqs.collect();
    assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "in the order of the log");
    assert!(!seqs.iter().any(|seq| (SEGMENT..2 * SEGMENT).contains(seq)));
    assert!(seqs.len() as u64 > SEGMENT && seqs.contains(&(2 * SEGMENT)));
}

fn what_an_attacker_deletes_is_found(old: &Old) {
    let taken = tempfile::tempdir().unwrap();
    let copied = std::process::Command::new("cp")
        .args(["-a", old.copy.path().join(".").to_str().unwrap()])
        .arg(taken.path())
        .status();
    assert!(copied.unwrap().success());
    assert_eq!(old.verify(taken.path()).0, Some(0));
    fs::remove_file(taken.path().join("segment/000")).unwrap();
    // What was copied before it was sealed lies there, too.
    for bundle in 0..256 {
        let _may_not_be_there =
            fs::remove_file(taken.path().join(format!("tile/entries/{bundle:03}")));
    }
    let (code, said) = old.verify(taken.path());
    assert!(code == Some(1) && said.contains("is missing"), "{said}");
}
