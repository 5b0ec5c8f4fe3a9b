//! Shipping: a copy of the record elsewhere that verifies as the record does.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

use portcullis_log::{Verified, verify};

use super::{read, ready};
use crate::{mesh::eventually, pki::python, shop::Shop, upstream::Upstream};

pub(crate) const ACCESS: &str = "AKIDRECORD";
pub(crate) const SECRET: &str = "a-secret-key-of-the-bucket/+x";

/// A store of one bucket, for as long as it lives.
pub(crate) struct Bucket {
    child: Child,
    pub(crate) folder: tempfile::TempDir,
    port: u16,
}

impl Bucket {
    pub(crate) fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut child = python("s3_double.py")
            .arg(folder.path())
            .args(["record", ACCESS, SECRET, "eu-central-1"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { child, folder, port: line.trim().parse().unwrap() }
    }

    /// Where the copies are that are under the prefix `prefix`.
    pub(crate) fn copy(&self, prefix: &str) -> PathBuf {
        self.folder.path().join(prefix)
    }

    fn setting(&self, prefix: &str) -> String {
        self.place("to", prefix)
    }

    /// The place `prefix`, under the key `name`.
    pub(crate) fn place(&self, name: &str, prefix: &str) -> String {
        format!(
            "{{{name}: \"s3://record/{prefix}\", region: eu-central-1, endpoint: \"http://127.0.0.1:{}\", \
             access_key: {{file: access}}, secret_key: {{file: secret}}, every: 1s}}",
            self.port
        )
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The shop whose record is shipped as `place` says.
fn shipped(upstream: &Upstream, place: &str) -> Shop {
    let mut shop = Shop::furnished(&upstream.url(), |plan| {
        plan.file("access", ACCESS).file("secret", &format!("{SECRET}\n"))
    });
    set(&mut shop, place);
    shop
}

/// Changes where the record is shipped to, and starts again.
fn set(shop: &mut Shop, place: &str) {
    let path = shop.house.dir().join("portcullis.yaml");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replace("{directory: audit}", &format!("{{directory: audit, ship: {place}}}"));
    assert!(text.contains(place));
    fs::write(path, text).unwrap();
    shop.house.kill();
    shop.house.restart();
}

fn proved(shop: &Shop, copy: &Path) -> Option<Verified> {
    let key = fs::read_to_string(shop.house.dir().join("audit/log.pub")).unwrap();
    verify(copy, &key, None).ok()
}

/// Waits until the copy proves all that the record had when this began.
fn caught_up(shop: &Shop, copy: &Path) -> Verified {
    let mut size = 0;
    eventually("the record proves itself", || {
        size = proved(shop, &shop.house.dir().join("audit/log")).map_or(0, |proved| proved.size);
        size > 0
    });
    let mut found = None;
    eventually("the copy has it all", || {
        found = proved(shop, copy);
        found.as_ref().is_some_and(|found| found.size >= size)
    });
    found.unwrap()
}

#[test]
fn the_record_is_copied_to_a_bucket_and_the_copy_proves_itself() {
    let (upstream, bucket) = (Upstream::start(), Bucket::open());
    let mut shop = shipped(&upstream, &bucket.setting("gate/eu"));
    let copy = bucket.copy("gate/eu");
    for number in 0..300 {
        assert_eq!(read(&shop, &format!("/page/{number}")), 200);
    }
    let first = caught_up(&shop, &copy);
    // Nobody needs the server for the proof.
    let key = shop.house.dir().join("audit/log.pub");
    let arguments = ["audit", "verify", copy.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let verified = shop.house.cli("auditor", &arguments);
    assert_eq!(verified.status.code(), Some(0), "{}", String::from_utf8_lossy(&verified.stderr));

    // The store is away: the gate does not care, and says so.
    fs::write(bucket.folder.path().join(".down"), "").unwrap();
    for number in 0..20 {
        assert_eq!(read(&shop, &format!("/away/{number}")), 200);
    }
    eventually("that nothing is shipped is said", || {
        let (status, text) = ready(&shop);
        let metrics = shop.house.api("GET", "/metrics", None, None).text();
        status == 200
            && text.contains("the record is not shipped")
            && metrics.contains("portcullis_record_unshipped 1")
    });
    shop.house.kill();
    fs::remove_file(bucket.folder.path().join(".down")).unwrap();
    shop.house.restart();
    let second = caught_up(&shop, &copy);
    assert!(second.size > first.size + 20);
    eventually("it is well again", || !ready(&shop).1.contains("not shipped"));

    // Another secret: the store refuses, and the copy stays as it was.
    fs::write(shop.house.dir().join("secret"), "another").unwrap();
    shop.house.kill();
    shop.house.restart();
    eventually("that the key is refused is said", || ready(&shop).1.contains("not shipped"));
    let (said, log) = (ready(&shop).1, shop.house.log());
    assert!(said.contains("the store answers 403"), "{said}");
    // Whoever asks whether the gate is ready need not know what the store says of keys.
    for hidden in [SECRET, ACCESS, "StringToSign"] {
        assert!(!said.contains(hidden) && !log.contains(hidden), "{hidden}");
    }
}

#[test]
fn a_copy_in_a_folder_goes_on_after_a_crash_and_is_never_overwritten_by_another_record() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    let place = format!("{{to: \"file://{}\", every: 1s}}", folder.path().display());
    let mut shop = shipped(&upstream, &place);
    for round in 0..3 {
        for number in 0..100 {
            assert_eq!(read(&shop, &format!("/page/{round}/{number}")), 200);
        }
        // At whatever moment.
        shop.house.kill();
        shop.house.restart();
    }
    let all = caught_up(&shop, folder.path());
    assert!(all.size > 300);
    // With the place forgotten, all is copied again.
    shop.house.kill();
    fs::remove_file(shop.house.dir().join("audit/shipped")).unwrap();
    shop.house.restart();
    caught_up(&shop, folder.path());
    // Somebody empties the place while the gate runs: the copy is made anew.
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else {
            fs::remove_file(path).unwrap();
        }
    }
    caught_up(&shop, folder.path());
    // The disk is not there: nothing is written where it was.
    let aside = folder.path().with_extension("aside");
    fs::rename(folder.path(), &aside).unwrap();
    assert_eq!(read(&shop, "/unmounted"), 200);
    eventually("that the folder is missing is said", || ready(&shop).1.contains("is not there"));
    assert!(!folder.path().exists());
    fs::rename(&aside, folder.path()).unwrap();
    caught_up(&shop, folder.path());
    let kept = fs::read(folder.path().join("checkpoint")).unwrap();

    let other = shipped(&upstream, &place);
    eventually("the other record is refused", || ready(&other).1.contains("another record"));
    let now = fs::read(folder.path().join("checkpoint")).unwrap();
    assert!(now == kept || proved(&shop, folder.path()).is_some());
    assert!(proved(&other, folder.path()).is_none());
}

#[test]
fn of_two_that_begin_in_one_empty_place_at_once_the_second_says_whose_it_is() {
    let (upstream, bucket) = (Upstream::start(), Bucket::open());
    let folder = tempfile::tempdir().unwrap();
    let place = format!("{{to: \"file://{}\", every: 1s}}", folder.path().display());
    for (place, copy) in
        [(bucket.setting("one"), bucket.copy("one")), (place, folder.path().into())]
    {
        let (one, other) = std::thread::scope(|scope| {
            let begun = || scope.spawn(|| shipped(&upstream, &place));
            let (one, other) = (begun(), begun());
            (one.join().unwrap(), other.join().unwrap())
        });
        for shop in [&one, &other] {
            assert_eq!(read(shop, "/page/1"), 200);
        }
        eventually("the place is somebody's", || copy.join("claim").exists());
        let claim = fs::read_to_string(copy.join("claim")).unwrap();
        let key = |shop: &Shop| {
            let keys = fs::read_to_string(shop.house.dir().join("audit/log.pub")).unwrap();
            keys.split_whitespace().next().unwrap().to_owned()
        };
        let (owner, second) = if claim == key(&one) { (one, other) } else { (other, one) };
        assert_eq!((claim == key(&owner), claim == key(&second)), (true, false), "{claim}");
        let all = caught_up(&owner, &copy);
        eventually("the second is told", || {
            let said = ready(&second).1;
            said.contains("another record") || said.contains("belongs to the record")
        });
        // It has touched nothing, and the copy goes on.
        assert!(proved(&second, &copy).is_none());
        assert_eq!(read(&owner, "/page/2"), 200);
        eventually("the copy goes on", || {
            proved(&owner, &copy).is_some_and(|now| now.size > all.size)
        });
    }
}

#[test]
fn a_place_that_is_claimed_and_empty_is_left_to_its_record() {
    let upstream = Upstream::start();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("claim"), "elsewhere+0a1b2c3d+Aabc\n").unwrap();
    let place = format!("{{to: \"file://{}\", every: 1s}}", folder.path().display());
    let shop = shipped(&upstream, &place);
    eventually("whose it is is said", || {
        ready(&shop).1.contains("belongs to the record `elsewhere+0a1b2c3d+Aabc`")
    });
    let names = fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["claim"]);
    // Whoever runs that one says that it is gone.
    fs::remove_file(folder.path().join("claim")).unwrap();
    caught_up(&shop, folder.path());
}
