//! Group K: the record of a real run, tampered with by somebody who can write its files and does not
//! hold its key; and a record that cannot be written.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::{shop::Shop, upstream::Upstream, wire::Wire};

/// More entries than one tile holds.
const ENTRIES: usize = 300;

/// A copy of the record of a run, and of what it was in the middle of the run.
struct Copied {
    shop: Shop,
    record: PathBuf,
    earlier: PathBuf,
}

impl Copied {
    fn of_a_run() -> Self {
        let upstream = Upstream::start();
        let mut shop = Shop::before(&upstream.url());
        let (record, earlier) = (shop.house.dir().join("copy"), shop.house.dir().join("earlier"));
        visit(&shop, 40);
        wait_until_sealed(&shop, 40);
        copy(&shop.house.dir().join("audit"), &earlier);
        visit(&shop, ENTRIES - 40);
        wait_until_sealed(&shop, ENTRIES);
        shop.house.kill();
        copy(&shop.house.dir().join("audit"), &record);
        Self { shop, record, earlier }
    }

    /// Exit code and words of `portcullis audit verify`.
    fn verify(&self, directory: &Path, more: &[&str]) -> (Option<i32>, String) {
        let mut arguments = vec!["audit", "verify", directory.to_str().unwrap()];
        arguments.extend(more);
        self.shop.house.says("auditor", &arguments)
    }

    /// Changes `file` of the copy, expects a finding that says `named`, and changes it back.
    #[track_caller]
    fn finds(&self, file: &str, change: impl FnOnce(&mut Vec<u8>), named: &str) {
        let path = self.record.join("log").join(file);
        let sound = fs::read(&path).unwrap();
        let mut changed = sound.clone();
        change(&mut changed);
        assert_ne!(changed, sound, "{file}: nothing was changed");
        fs::write(&path, changed).unwrap();
        let (code, said) = self.verify(&self.record, &[]);
        assert_eq!(code, Some(1), "{file}: {said}");
        assert!(said.contains(named), "{file}: wanted {named:?} in {said:?}");
        fs::write(&path, sound).unwrap();
    }

    /// What the verifier that was written from the C2SP texts alone says.
    fn python(&self) -> Result<String, String> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../log/tests/c2sp_verify.py");
        let key = fs::read_to_string(self.record.join("log.pub")).unwrap();
        let output = Command::new("python3")
            .arg(script)
            .arg(self.record.join("log"))
            .arg(key.trim())
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
    }
}

fn visit(shop: &Shop, times: usize) {
    let mut wire = Wire::connect(shop.house.gate);
    for _ in 0..times {
        wire.send(format!("{}\r\n", shop.head("GET", "/page")));
        assert_eq!(wire.response().expect("an answer").status, 200);
    }
}

/// Waits until a signed checkpoint speaks of at least `entries`.
fn wait_until_sealed(shop: &Shop, entries: usize) {
    let deadline = Instant::now() + Duration::from_secs(30);
    let checkpoint = shop.house.dir().join("audit/log/checkpoint");
    let size = || fs::read_to_string(&checkpoint).ok()?.lines().nth(1)?.parse::<usize>().ok();
    while size().is_none_or(|size| size < entries) {
        assert!(Instant::now() < deadline, "{:?} of {entries} entries are sealed", size());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(copied.success());
}

/// All files below `folder`, relative to it.
fn files(folder: &Path) -> Vec<String> {
    let output = Command::new("find").arg(".").args(["-type", "f"]).current_dir(folder).output();
    let text = String::from_utf8(output.unwrap().stdout).unwrap();
    let mut files: Vec<_> = text.lines().map(|line| line[2..].to_owned()).collect();
    files.sort();
    files
}

/// The entries of a bundle.
fn entries(mut bundle: &[u8]) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    while let [high, low, rest @ ..] = bundle {
        let (entry, after) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        entries.push(entry.to_vec());
        bundle = after;
    }
    entries
}

fn bundle(entries: &[Vec<u8>]) -> Vec<u8> {
    let prefixed = entries.iter().map(|entry| {
        let length = u16::try_from(entry.len()).unwrap().to_be_bytes();
        [&length[..], entry].concat()
    });
    prefixed.collect::<Vec<_>>().concat()
}

#[test]
fn k01_a_flipped_byte_is_found_and_named_wherever_it_is() {
    let copied = Copied::of_a_run();
    let (code, said) = copied.verify(&copied.record, &[]);
    assert_eq!(code, Some(0), "{said}");
    assert!(copied.python().is_ok(), "{:?}", copied.python());
    let files = files(&copied.record.join("log"));
    assert!(files.iter().any(|file| file == "tile/entries/000"), "{files:?}");
    let each = 40_usize.div_ceil(files.len());
    for file in &files {
        let sound = fs::read(copied.record.join("log").join(file)).unwrap();
        for at in (0..each).map(|part| (2 * part + 1) * sound.len() / (2 * each)) {
            let named = if file == "checkpoint" { "checkpoint" } else { file.as_str() };
            let named = match file.strip_prefix("tile/entries/000") {
                Some("") => format!("record {} ", owner(&sound, at)),
                Some(_) | None => named.to_owned(),
            };
            let named = if file.starts_with("tile/entries/001") { "record 2" } else { &named };
            copied.finds(file, |bytes| bytes[at] ^= 4, named);
        }
    }
    for file in ["checkpoint", "tile/entries/000", "tile/0/000"] {
        let path = copied.record.join("log").join(file);
        let sound = fs::read(&path).unwrap();
        let mut changed = sound.clone();
        changed[sound.len() / 2] ^= 4;
        fs::write(&path, changed).unwrap();
        assert!(copied.python().is_err(), "{file}");
        fs::write(&path, sound).unwrap();
    }
    assert_eq!(copied.verify(&copied.record, &[]).0, Some(0), "it was put right again");
}

/// The entry that the byte at `at` of the first bundle belongs to.
fn owner(bundle: &[u8], at: usize) -> usize {
    let mut end = 0;
    entries(bundle)
        .iter()
        .position(|entry| {
            end += entry.len() + 2;
            at < end
        })
        .unwrap()
}

#[test]
fn k02_k04_records_that_are_gone_moved_doubled_or_forged_are_named() {
    let copied = Copied::of_a_run();
    let full = "tile/entries/000";
    let edit = |change: fn(&mut Vec<Vec<u8>>)| {
        move |bytes: &mut Vec<u8>| {
            let mut all = entries(bytes);
            change(&mut all);
            *bytes = bundle(&all);
        }
    };
    copied.finds(full, edit(|all| drop(all.remove(120))), "record 120 ");
    copied.finds(full, edit(|all| all.swap(70, 71)), "record 70 ");
    copied.finds(full, edit(|all| all.swap(7, 200)), "record 7 ");
    copied.finds(full, edit(|all| all[30] = all[31].clone()), "record 30 ");
    copied.finds(full, edit(|all| all.insert(9, all[9].clone())), "record 10 ");
    let forge =
        |entry: &[u8]| String::from_utf8_lossy(entry).replace("builds:reader", "builds:nobody");
    let forged = move |all: &mut Vec<Vec<u8>>| all[100] = forge(&all[100]).into_bytes();
    copied.finds(
        full,
        |bytes| {
            let mut all = entries(bytes);
            forged(&mut all);
            *bytes = bundle(&all);
        },
        "record 100 ",
    );
    for file in [full, "tile/0/000", "checkpoint"] {
        let path = copied.record.join("log").join(file);
        let sound = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let (code, said) = copied.verify(&copied.record, &[]);
        assert_eq!(code, Some(1), "{file}: {said}");
        assert!(said.contains(file), "{file}: {said}");
        fs::write(&path, sound).unwrap();
    }
}

#[test]
fn k03_a_cut_tail_shows_against_a_checkpoint_that_was_kept() {
    let copied = Copied::of_a_run();
    let newest = copied.record.join("log/checkpoint");
    let held = ["--checkpoint", newest.to_str().unwrap()];
    // The earlier state is a sound log by itself, and no longer one for whoever kept a checkpoint.
    assert_eq!(copied.verify(&copied.earlier, &[]).0, Some(0));
    let (code, said) = copied.verify(&copied.earlier, &held);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("cut or set back"), "{said}");
    // An older checkpoint is part of the newer log's past.
    let older = copied.earlier.join("log/checkpoint");
    assert_eq!(
        copied.verify(&copied.record, &["--checkpoint", older.to_str().unwrap()]).0,
        Some(0)
    );
    // Without its last entries a log does not fit its own checkpoint either.
    let last = files(&copied.record.join("log"))
        .into_iter()
        .rfind(|file| file.starts_with("tile/entries/001"));
    copied.finds(
        &last.unwrap(),
        |bytes| {
            let mut all = entries(bytes);
            all.truncate(all.len() / 2);
            *bytes = bundle(&all);
        },
        "record 2",
    );
}

#[test]
fn k09_what_cannot_be_recorded_is_not_forwarded() {
    let upstream = Upstream::start();
    let shop = Shop::before(&upstream.url());
    assert_eq!(shop.read_as(&shop.token).status, 200);
    upstream.take();
    limit_files(&shop, "1:unlimited");
    for _ in 0..20 {
        let response = shop.read_as(&shop.token);
        assert_eq!(response.status, 503, "{}", response.text());
    }
    assert!(upstream.take().is_empty(), "forwarded without a record");
    let ready = shop.house.api("GET", "/readyz", None, None);
    assert_eq!(ready.status, 503, "{}", ready.text());
    assert!(ready.json()["reasons"].to_string().contains("record"), "{}", ready.text());
    assert_eq!(shop.house.api("GET", "/healthz", None, None).status, 200, "it lives");
    assert!(ready.json()["reasons"].to_string().contains("goes on by itself"), "{}", ready.text());
    let metrics = shop.house.api("GET", "/metrics", None, None).text();
    assert!(metrics.contains("portcullis_record_waits_for_room 1"), "{metrics}");
    // With room again, it goes on, and the record is whole.
    limit_files(&shop, "unlimited");
    shop.house.wait_ready();
    assert_eq!(shop.read_as(&shop.token).status, 200);
    assert_eq!(upstream.take().len(), 1);
    wait_until_sealed(&shop, 2);
    let audit = shop.house.dir().join("audit");
    let verified = shop.house.cli("auditor", &["audit", "verify", audit.to_str().unwrap()]);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));
}

/// From now on, no file of the running process may grow beyond `limit`.
fn limit_files(shop: &Shop, limit: &str) {
    let limited = Command::new("prlimit")
        .args([&format!("--pid={}", shop.house.pid()), &format!("--fsize={limit}")])
        .status()
        .unwrap();
    assert!(limited.success());
}
