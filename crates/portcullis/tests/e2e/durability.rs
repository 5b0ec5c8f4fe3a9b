//! The record on disks that are full, fail or tear what is written: refused meanwhile, nothing lost.

pub(crate) mod shipping;

use std::{
    collections::HashMap,
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use portcullis_log::Reader;
use serde_json::Value;

use crate::{
    mesh::eventually,
    shop::{HOST, Shop},
    upstream::Upstream,
};

const EIO: u32 = 5;
const ENOSPC: u32 = 28;
const EROFS: u32 = 30;
const EDQUOT: u32 = 122;

/// Rounds of faults: small by default, `just soak` sets more.
fn rounds() -> usize {
    std::env::var("PORTCULLIS_SOAK").ok().and_then(|n| n.parse().ok()).unwrap_or(6)
}

/// Has the binary of the house in `dir` load the faults, if they were installed there.
pub(crate) fn preload(dir: &Path, command: &mut Command) {
    let library = dir.join("faults.so");
    if library.exists() {
        command.env("LD_PRELOAD", library).env("PORTCULLIS_TEST_FAULTS", dir.join("faults"));
    }
}

/// Starts the binary of `shop` again, on a disk that fails when it is told to.
fn install(shop: &mut Shop) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/durability/faults.c");
    let dir = shop.house.dir().to_owned();
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .arg(dir.join("faults.so"))
        .arg(source)
        .arg("-ldl")
        .output()
        .expect("a C compiler is there: the build needs one too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    fs::create_dir_all(dir.join("faults")).unwrap();
    shop.house.kill();
    shop.house.restart();
}

/// From now on `what`, `write` or `sync`, fails with `error`, or `slow` ones take so many milliseconds.
fn fail(shop: &Shop, what: &str, error: u32) {
    let faults = shop.house.dir().join("faults");
    fs::write(faults.join("next"), error.to_string()).unwrap();
    fs::rename(faults.join("next"), faults.join(what)).unwrap();
}

/// The disk is well again.
fn heal(shop: &Shop) {
    for what in ["write", "sync", "slow"] {
        let _not_set = fs::remove_file(shop.house.dir().join("faults").join(what));
    }
}

fn read(shop: &Shop, path: &str) -> u16 {
    shop.house.gate(HOST, "GET", path, Some(&shop.token), None).status
}

fn ready(shop: &Shop) -> (u16, String) {
    let answer = shop.house.api("GET", "/readyz", None, None);
    (answer.status, answer.text())
}

/// Every attempt in the record by its path, and how often it is there.
fn recorded(audit: &Path) -> HashMap<String, usize> {
    let reader = Reader::open(audit.join("log")).unwrap();
    let mut found = HashMap::new();
    for entry in reader.entries(0, usize::MAX).unwrap() {
        let entry: Value = serde_json::from_str(&entry.json).unwrap();
        assert_ne!(entry["type"], "journal_damaged", "{entry}");
        if let (true, Some(path)) = (entry["decision"] == "permit", entry["path"].as_str()) {
            *found.entry(path.to_owned()).or_default() += 1;
        }
    }
    found
}

/// Ends and starts the binary, so that all it wrote down is in the log, and looks for what was
/// acknowledged: each once, and nothing else twice.
fn nothing_is_missing(shop: &mut Shop, acknowledged: &[String]) {
    heal(shop);
    shop.house.kill();
    shop.house.restart();
    let audit = shop.house.dir().join("audit");
    let found = recorded(&audit);
    for path in acknowledged {
        assert_eq!(found.get(path), Some(&1), "{path} was answered with 200");
    }
    for (path, count) in &found {
        assert_eq!(*count, 1, "{path} is on record {count} times");
    }
    let verified = shop.house.cli("auditor", &["audit", "verify", audit.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
}

#[test]
fn k09_a_full_disk_is_waited_for_whatever_it_says() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    install(&mut shop);
    let mut acknowledged = vec!["/before".to_owned()];
    assert_eq!(read(&shop, "/before"), 200);
    for (number, error) in [ENOSPC, EDQUOT, EROFS].into_iter().enumerate() {
        upstream.take();
        fail(&shop, "write", error);
        for attempt in 0..10 {
            assert_eq!(read(&shop, &format!("/refused/{error}/{attempt}")), 503);
        }
        assert!(upstream.take().is_empty(), "forwarded without a record");
        let (status, why) = ready(&shop);
        assert!(status == 503 && why.contains("goes on by itself"), "{status} {why}");
        heal(&shop);
        shop.house.wait_ready();
        let path = format!("/after/{error}");
        assert_eq!(read(&shop, &path), 200);
        acknowledged.push(path);
        let metrics = shop.house.api("GET", "/metrics", None, None).text();
        let stalls = format!("portcullis_record_stalls_total {}", number + 1);
        assert!(metrics.contains(&stalls), "{metrics}");
    }
    nothing_is_missing(&mut shop, &acknowledged);
    assert!(shop.house.log().contains("it goes on"), "{}", shop.house.log());
    let found = recorded(&shop.house.dir().join("audit"));
    assert!(!found.keys().any(|path| path.starts_with("/refused/")), "{found:?}");
}

#[test]
fn l10_a_failed_sync_closes_the_gate_until_the_next_start_which_recovers() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    install(&mut shop);
    let mut acknowledged = Vec::new();
    // Even a sync that fails for want of room is not tried again.
    for error in [EIO, ENOSPC] {
        fail(&shop, "sync", error);
        eventually("the gate closes", || {
            let path = format!("/read/{}", acknowledged.len());
            let answered = read(&shop, &path);
            if answered == 200 {
                acknowledged.push(path);
            }
            answered == 503
        });
        upstream.take();
        heal(&shop);
        let (status, why) = ready(&shop);
        assert!(status == 503 && why.contains("until the next start"), "{status} {why}");
        for attempt in 0..10 {
            assert_eq!(read(&shop, &format!("/refused/{error}/{attempt}")), 503);
        }
        assert!(upstream.take().is_empty(), "forwarded without a record");
        shop.house.kill();
        shop.house.restart();
        let path = format!("/restarted/{error}");
        assert_eq!(read(&shop, &path), 200);
        acknowledged.push(path);
    }
    nothing_is_missing(&mut shop, &acknowledged);
}

#[test]
fn k09_a_slow_disk_closes_the_gate_and_opens_it_when_it_has_caught_up() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    install(&mut shop);
    let mut acknowledged = Vec::new();
    fail(&shop, "slow", 2_500);
    eventually("the gate closes", || {
        let path = format!("/slow/{}", acknowledged.len());
        let answered = read(&shop, &path);
        if answered == 200 {
            acknowledged.push(path);
        }
        answered == 503
    });
    assert!(ready(&shop).1.contains("the record is behind"), "{}", ready(&shop).1);
    heal(&shop);
    shop.house.wait_ready();
    assert_eq!(read(&shop, "/after"), 200);
    acknowledged.push("/after".to_owned());
    nothing_is_missing(&mut shop, &acknowledged);
}

#[test]
fn k09_k10_l10_no_acknowledged_request_is_missing_after_faults_of_every_kind() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    install(&mut shop);
    let (acknowledged, number) = (Mutex::new(Vec::new()), AtomicUsize::new(0));
    for round in 0..rounds() {
        let over = AtomicBool::new(false);
        let before = acknowledged.lock().unwrap().len();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let path = format!("/load/{}", number.fetch_add(1, Ordering::Relaxed));
                        // The process may die under it; what counts is what was answered.
                        let answered = catch_unwind(AssertUnwindSafe(|| read(&shop, &path)));
                        if matches!(answered, Ok(200)) {
                            acknowledged.lock().unwrap().push(path);
                        }
                    }
                });
            }
            let more = |least: usize| {
                let enough = || acknowledged.lock().unwrap().len() >= before + least;
                eventually("the load gets through", enough);
            };
            more(5);
            match round % 6 {
                0 | 3 => {
                    fail(&shop, "write", if round.is_multiple_of(2) { ENOSPC } else { EDQUOT });
                }
                1 => fail(&shop, "sync", EIO),
                4 => fail(&shop, "write", EIO),
                _ => {}
            }
            if !matches!(round % 6, 2 | 5) {
                eventually("the gate closes", || ready(&shop).0 == 503);
            }
            if round % 6 == 0 {
                heal(&shop);
                more(10);
            }
            let pid = shop.house.pid().to_string();
            assert!(Command::new("kill").args(["-9", &pid]).status().unwrap().success());
            over.store(true, Ordering::Relaxed);
        });
        heal(&shop);
        shop.house.kill();
        shop.house.restart();
    }
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() >= rounds() * 5);
    nothing_is_missing(&mut shop, &acknowledged);
}

#[test]
fn i18_at_its_quota_the_record_waits_and_deletes_nothing() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    let path = shop.house.dir().join("portcullis.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let limited = text.replace("{directory: audit}", "{directory: audit, most: 16MiB}");
    assert_ne!(text, limited);
    fs::write(path, limited).unwrap();
    shop.house.kill();
    shop.house.restart();
    assert_eq!(read(&shop, "/before"), 200);
    let filler = shop.house.dir().join("audit/filler");
    fs::write(&filler, vec![1; 15 << 20]).unwrap();
    eventually("that the quota is near is said", || shop.house.log().contains("near its quota"));
    assert_eq!(read(&shop, "/near"), 200);
    fs::write(&filler, vec![1; 17 << 20]).unwrap();
    eventually("the record waits", || ready(&shop).0 == 503);
    assert!(ready(&shop).1.contains("audit.most"), "{}", ready(&shop).1);
    upstream.take();
    assert_eq!(read(&shop, "/refused"), 503);
    assert!(upstream.take().is_empty(), "forwarded without a record");
    fs::remove_file(&filler).unwrap();
    shop.house.wait_ready();
    assert_eq!(read(&shop, "/after"), 200);
    nothing_is_missing(&mut shop, &["/before", "/near", "/after"].map(str::to_owned));
}

/// A small disk of its own under a folder, until it is dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Only root may make one: elsewhere, the tests above fill the disk.
    fn under(folder: &Path, size: &str) -> Option<Self> {
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(folder)
            .output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self(folder.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn k09_a_small_disk_fills_up_and_the_gate_goes_on_when_there_is_room() {
    let upstream = Upstream::start();
    let mut shop = Shop::before(&upstream.url());
    let audit = shop.house.dir().join("audit");
    shop.house.kill();
    let saved = shop.house.dir().join("saved");
    fs::rename(&audit, &saved).unwrap();
    fs::create_dir(&audit).unwrap();
    let disk = SmallDisk::under(&audit, "24m");
    if disk.is_none() {
        eprintln!("skipped: no disk was filled, since only root may mount one");
    }
    let copied = Command::new("cp").arg("-a").arg(saved.join(".")).arg(&audit).status().unwrap();
    assert!(copied.success());
    shop.house.restart();
    let mut acknowledged = Vec::new();
    for number in 0..20 {
        let path = format!("/before/{number}");
        assert_eq!(read(&shop, &path), 200);
        acknowledged.push(path);
    }
    if disk.is_some() {
        let filler = audit.join("filler");
        let full = Command::new("sh")
            .args(["-c", "cat /dev/zero > \"$0\""])
            .arg(&filler)
            .stderr(std::process::Stdio::null())
            .status();
        assert!(!full.unwrap().success(), "the disk is full");
        let deadline = Instant::now() + Duration::from_mins(1);
        let mut number = 0;
        while ready(&shop).0 == 200 {
            assert!(Instant::now() < deadline, "the disk is full and nobody says so");
            let path = format!("/while/{number}");
            if read(&shop, &path) == 200 {
                acknowledged.push(path);
            }
            number += 1;
        }
        assert!(ready(&shop).1.contains("No space left"), "{}", ready(&shop).1);
        fs::remove_file(filler).unwrap();
        shop.house.wait_ready();
    }
    assert_eq!(read(&shop, "/after"), 200);
    acknowledged.push("/after".to_owned());
    nothing_is_missing(&mut shop, &acknowledged);
    shop.house.kill();
}
