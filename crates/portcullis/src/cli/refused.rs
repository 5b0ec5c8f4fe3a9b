//! Requests that were refused, kept so that `ask` can send them again: what `curl` was given, where,
//! and to which gate. Never a token; each is in a file that only its owner can read, for an hour,
//! until it is sent again, or until the sign-out.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};
use portcullis_model::RefusalId;
use serde::{Deserialize, Serialize};
use url::Url;

use super::profile;

/// As long as the server knows the refusal.
const KEPT_FOR: SignedDuration = SignedDuration::from_hours(1);
/// As many as the server keeps refusals of one principal.
const MOST: usize = 64;
/// The most bytes of one.
const MOST_BYTES: usize = 256 * 1024;

/// A request as it was sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// What curl was given.
    pub(super) arguments: Vec<String>,
    /// Where: its arguments may name files.
    pub(super) directory: PathBuf,
    /// Where the gate is, if that was said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) gate: Option<Url>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The server whose refusal it was.
    server: Url,
    at: Timestamp,
    #[serde(flatten)]
    request: Sent,
}

/// The refused requests of one profile at one server.
#[derive(Debug)]
pub(crate) struct Refused {
    folder: PathBuf,
    server: Url,
}

impl Refused {
    pub(super) fn new(folder: PathBuf, server: Url) -> Self {
        Self { folder, server }
    }

    /// Keeps one. The oldest make room.
    pub(super) fn keep(&self, id: &RefusalId, request: Sent, now: Timestamp) -> io::Result<()> {
        let kept = Kept { server: self.server.clone(), at: now, request };
        let text = serde_json::to_vec(&kept)?;
        if text.len() > MOST_BYTES {
            return Err(io::Error::other(format!("it has more than {MOST_BYTES} bytes")));
        }
        profile::replace(&self.path(id), &text)?;
        let mut all = self.all();
        all.sort_by_key(|(_, at)| std::cmp::Reverse(*at));
        all.iter().skip(MOST).for_each(|(path, _)| remove(path));
        Ok(())
    }

    /// Whether one is kept for this refusal.
    pub(super) fn has(&self, id: &RefusalId, now: Timestamp) -> bool {
        self.lookup(id, now).is_some()
    }

    /// Takes one out: of two that try, one gets it.
    pub(super) fn take(&self, id: &RefusalId, now: Timestamp) -> Option<Sent> {
        let kept = self.lookup(id, now)?;
        fs::remove_file(self.path(id)).ok().map(|()| kept.request)
    }

    /// Removes what is older than an hour.
    pub(super) fn forget_old(&self, now: Timestamp) {
        let old = |at: &Option<Timestamp>| !at.is_some_and(|at| is_fresh(at, now));
        let all = self.all();
        all.iter().filter(|(_, at)| old(at)).for_each(|(path, _)| remove(path));
    }

    /// Removes everything.
    pub(super) fn forget_all(&self) {
        self.all().iter().for_each(|(path, _)| remove(path));
    }

    fn lookup(&self, id: &RefusalId, now: Timestamp) -> Option<Kept> {
        let kept = read(&self.path(id))?;
        (kept.server == self.server && is_fresh(kept.at, now)).then_some(kept)
    }

    /// Every file, and when it was made.
    fn all(&self) -> Vec<(PathBuf, Option<Timestamp>)> {
        let files = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let dated = |path: PathBuf| {
            let kept = read(&path).map(|kept| kept.at);
            // One that is being written cannot be read yet; one that never was is old some day.
            let written = || fs::metadata(&path).ok()?.modified().ok()?.try_into().ok();
            let at = kept.or_else(written);
            (path, at)
        };
        files.map(|file| dated(file.path())).collect()
    }

    fn path(&self, id: &RefusalId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }
}

/// A clock that was set back makes nothing live longer.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    let age = now.duration_since(at);
    !age.is_negative() && age < KEPT_FOR
}

/// What others could write would be run here: only what is its owner's alone is read.
fn read(path: &Path) -> Option<Kept> {
    let metadata = fs::metadata(path).ok()?;
    if metadata.permissions().mode() & 0o077 != 0 || metadata.len() > MOST_BYTES as u64 {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// One that is gone already is as it should be; one that stays is looked at again next time.
fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

#[cfg(test)]
mod tests {
    use portcullis_testkit::SeededEntropy;

    use super::*;

    const NOON: i64 = 1_800_000_000;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(NOON + seconds).unwrap()
    }

    fn sent(argument: &str) -> Sent {
        Sent { arguments: vec![argument.to_owned()], directory: "/".into(), gate: None }
    }

    fn id(text: &str) -> RefusalId {
        text.parse().unwrap()
    }

    fn refused(home: &Path, server: &str) -> Refused {
        Refused::new(home.join("refused/ana"), Url::parse(server).unwrap())
    }

    #[test]
    fn what_was_refused_is_its_owners_alone_and_given_out_once() {
        let home = tempfile::tempdir().unwrap();
        let refused = refused(home.path(), "http://127.0.0.1:1");
        refused.keep(&id("7K2M"), sent("x"), at(0)).unwrap();
        let mode = fs::metadata(refused.path(&id("7K2M"))).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::metadata(&refused.folder).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(refused.take(&id("7K2M"), at(1)), Some(sent("x")));
        assert_eq!(refused.take(&id("7K2M"), at(1)), None);
        assert_eq!(fs::read_dir(&refused.folder).unwrap().count(), 0);
    }

    #[test]
    fn it_lives_for_an_hour_by_a_clock_that_goes_forward() {
        let home = tempfile::tempdir().unwrap();
        let refused = refused(home.path(), "http://127.0.0.1:1");
        refused.keep(&id("7K2M"), sent("x"), at(0)).unwrap();
        assert!(refused.has(&id("7K2M"), at(3599)));
        assert!(!refused.has(&id("7K2M"), at(3600)) && !refused.has(&id("7K2M"), at(-1)));
        refused.forget_old(at(3599));
        assert!(refused.has(&id("7K2M"), at(3599)));
        refused.forget_old(at(3600));
        assert_eq!(fs::read_dir(&refused.folder).unwrap().count(), 0);
    }

    #[test]
    fn a_refusal_of_another_server_is_another_one() {
        let home = tempfile::tempdir().unwrap();
        refused(home.path(), "http://127.0.0.1:1").keep(&id("7K2M"), sent("x"), at(0)).unwrap();
        assert!(!refused(home.path(), "http://127.0.0.1:2").has(&id("7K2M"), at(1)));
    }

    #[test]
    fn what_others_can_touch_is_not_run() {
        let home = tempfile::tempdir().unwrap();
        let refused = refused(home.path(), "http://127.0.0.1:1");
        refused.keep(&id("7K2M"), sent("x"), at(0)).unwrap();
        let path = refused.path(&id("7K2M"));
        fs::set_permissions(&path, fs::Permissions::from_mode(0o622)).unwrap();
        assert!(!refused.has(&id("7K2M"), at(1)));
    }

    #[test]
    fn the_oldest_make_room_and_the_largest_find_none() {
        let home = tempfile::tempdir().unwrap();
        let refused = refused(home.path(), "http://127.0.0.1:1");
        let entropy = SeededEntropy::new(7);
        let mut ids = std::collections::BTreeSet::new();
        let mut first = None;
        while ids.len() < MOST + 3 {
            let id = RefusalId::new(&entropy);
            if ids.insert(id.to_string()) {
                let now = at(i64::try_from(ids.len()).unwrap());
                refused.keep(&id, sent("x"), now).unwrap();
                first.get_or_insert(id);
            }
        }
        assert_eq!(fs::read_dir(&refused.folder).unwrap().count(), MOST);
        assert!(!refused.has(&first.unwrap(), at(100)));
        assert!(refused.keep(&id("7K2M"), sent(&"x".repeat(MOST_BYTES)), at(0)).is_err());
    }
}
