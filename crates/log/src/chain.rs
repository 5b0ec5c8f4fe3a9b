//! A file of entries that nobody here reads, each chained to the one before by its hash.
//!
//! For what a gate has to write down when the record cannot be written: the entries are encrypted by
//! whoever makes them, and control reads them later. An entry is on stable storage when
//! [`Chain::append`] returns. Finds every change and gap; that the end was cut off, only a reader who
//! knows the hash of an entry that is gone finds.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};

/// No entry is longer.
const LONGEST: usize = 64 * 1024;
/// What the first entry is chained to.
const BEGINNING: &str = "begin";

/// The place of an entry: its number, and the hash of the entry before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// From 0 on.
    pub number: u64,
    /// The hash of the entry before, or `begin`.
    pub before: String,
}

impl Link {
    fn first() -> Self {
        Self { number: 0, before: BEGINNING.to_owned() }
    }

    fn after(&self, line: &str) -> Self {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(line.as_bytes()));
        Self { number: self.number + 1, before: hash }
    }
}

/// An entry that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainEntry {
    /// Its place.
    pub link: Link,
    /// The place of the next.
    pub next: Link,
    /// What was written.
    pub bytes: Vec<u8>,
}

/// A file that is not what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("entry {0} of the sealed log is not what was written")]
pub struct ChainBroken(pub u64);

/// A chain to append to. One process has it.
#[derive(Debug)]
pub struct Chain {
    path: PathBuf,
    file: File,
    length: u64,
    next: Link,
}

impl Chain {
    /// Opens the chain at `path`, or begins it. What a crash left half written is cut off; what was
    /// changed is put aside under another name, for people to look at, and a new chain begins.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut file = open(path)?;
        let mut text = String::new();
        let readable = file.read_to_string(&mut text).is_ok();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let entries = read(text.get(..whole).unwrap_or_default(), &Link::first());
        let (next, whole) = match entries {
            Ok(entries) if readable => {
                (entries.last().map_or_else(Link::first, |entry| entry.next.clone()), whole)
            }
            Ok(_) | Err(_) => {
                let aside = aside(path)?;
                fs::rename(path, &aside)?;
                tracing::error!(
                    path = %path.display(), aside = %aside.display(),
                    "the sealed log was changed; it is put aside"
                );
                file = open(path)?;
                (Link::first(), 0)
            }
        };
        let length = u64::try_from(whole).map_err(io::Error::other)?;
        file.set_len(length)?;
        Ok(Self { path: path.to_owned(), file, length, next })
    }

    /// Where the next entry goes.
    pub fn next(&self) -> &Link {
        &self.next
    }

    /// Appends an entry. If that fails, nothing of it is there.
    pub fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > LONGEST {
            return Err(io::Error::other("the entry is too long"));
        }
        self.check_place()?;
        let Link { number, before } = &self.next;
        let line = format!("{number} {before} {}", URL_SAFE_NO_PAD.encode(bytes));
        let written = self.write(&[line.as_bytes(), b"\n"].concat());
        if let Err(error) = written {
            // Whatever is there of it is cut off: the next entry must not stand behind half of one.
            let _ = self.file.set_len(self.length);
            tracing::error!(path = %self.path.display(), %error, "the sealed log cannot be written");
            return Err(error);
        }
        self.next = self.next.after(&line);
        Ok(())
    }

    /// INVARIANT: what is written is where readers look for it. A file that was moved away, replaced or
    /// cut takes nothing more: what went into it would be seen by nobody.
    fn check_place(&self) -> io::Result<()> {
        let (open, found) = (self.file.metadata()?, fs::metadata(&self.path)?);
        let same = (open.dev(), open.ino()) == (found.dev(), found.ino());
        if same && open.len() == self.length {
            return Ok(());
        }
        let changed = format!("{} was replaced or changed; start again", self.path.display());
        Err(io::Error::other(changed))
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(self.length))?;
        self.file.write_all(line)?;
        self.file.sync_data()?;
        self.length += u64::try_from(line.len()).map_err(io::Error::other)?;
        Ok(())
    }
}

/// A name beside `path` that nothing has: what was put aside before stays.
fn aside(path: &Path) -> io::Result<PathBuf> {
    for number in 0..10_000_u32 {
        let mut name = path.as_os_str().to_owned();
        name.push(if number == 0 { ".broken".to_owned() } else { format!(".broken.{number}") });
        let name = PathBuf::from(name);
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(io::Error::other("there is no name left to put the sealed log aside"))
}

fn open(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// The entries of the chain at `path` from `from` on; all of them without. None if there is no file.
/// What stands behind the last end of a line is being written.
pub fn read_chain(
    path: &Path,
    from: Option<&Link>,
) -> io::Result<Result<Vec<ChainEntry>, ChainBroken>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    let first = Link::first();
    let from = from.unwrap_or(&first);
    let skipped = usize::try_from(from.number).unwrap_or(usize::MAX);
    let whole = text.get(..whole).unwrap_or_default();
    let entries = match read(whole, &first) {
        Ok(entries) => entries,
        Err(broken) => return Ok(Err(broken)),
    };
    let end = entries.last().map_or(&first, |entry| &entry.next);
    let known = entries.get(skipped).map_or(end, |entry| &entry.link);
    if known != from {
        return Ok(Err(ChainBroken(known.number.min(from.number))));
    }
    Ok(Ok(entries.into_iter().skip(skipped).collect()))
}

fn read(text: &str, from: &Link) -> Result<Vec<ChainEntry>, ChainBroken> {
    let mut entries = Vec::new();
    let mut link = from.clone();
    for line in text.lines() {
        let broken = || ChainBroken(link.number);
        let mut parts = line.splitn(3, ' ');
        let place = (parts.next().and_then(|number| number.parse().ok()), parts.next());
        if place != (Some(link.number), Some(link.before.as_str())) {
            return Err(broken());
        }
        let bytes = parts.next().and_then(|text| URL_SAFE_NO_PAD.decode(text).ok());
        let bytes = bytes.ok_or_else(broken)?;
        let next = link.after(line);
        entries.push(ChainEntry { link, next: next.clone(), bytes });
        link = next;
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(path: &Path, entries: &[&str]) -> Chain {
        let mut chain = Chain::open(path).unwrap();
        for entry in entries {
            chain.append(entry.as_bytes()).unwrap();
        }
        chain
    }

    fn texts(path: &Path, from: Option<&Link>) -> Result<Vec<String>, ChainBroken> {
        let entries = read_chain(path, from).unwrap()?;
        Ok(entries.into_iter().map(|one| String::from_utf8(one.bytes).unwrap()).collect())
    }

    #[test]
    fn entries_are_read_from_where_the_last_reader_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(texts(&path, None).unwrap(), Vec::<String>::new());
        let chain = written(&path, &["one", "two"]);
        let seen = chain.next().clone();
        drop(chain);
        written(&path, &["three"]);
        assert_eq!(texts(&path, None).unwrap(), ["one", "two", "three"]);
        assert_eq!(texts(&path, Some(&seen)).unwrap(), ["three"]);
    }

    #[test]
    fn what_was_changed_moved_or_cut_off_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let seen = written(&path, &["one", "two", "three"]).next().clone();
        let sound = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = sound.lines().collect();
        let with = |lines: &[&str]| {
            std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        };
        let other =
            lines[1].replace(&URL_SAFE_NO_PAD.encode("two"), &URL_SAFE_NO_PAD.encode("2wo"));
        for wrong in
            [vec![lines[0], lines[2]], vec![lines[1], lines[0]], vec![lines[0], &other, lines[2]]]
        {
            with(&wrong);
            assert!(texts(&path, None).is_err(), "{wrong:?}");
        }
        with(&lines[..2]);
        assert_eq!(texts(&path, None).unwrap().len(), 2);
        assert!(texts(&path, Some(&seen)).is_err(), "to who has read the last one, it is gone");
    }

    #[test]
    fn a_crash_half_way_leaves_the_entries_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        drop(written(&path, &["one"]));
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend(b"1 abc");
        std::fs::write(&path, torn).unwrap();
        drop(written(&path, &["two"]));
        assert_eq!(texts(&path, None).unwrap(), ["one", "two"]);
        std::fs::write(&path, "nonsense\n").unwrap();
        drop(written(&path, &["three"]));
        assert_eq!(texts(&path, None).unwrap(), ["three"]);
        assert!(folder.path().join("log.broken").exists());
        std::fs::write(&path, "more nonsense\n").unwrap();
        drop(written(&path, &["four"]));
        let kept = std::fs::read_to_string(folder.path().join("log.broken")).unwrap();
        assert_eq!(kept, "nonsense\n", "what was put aside before stays");
        assert!(folder.path().join("log.broken.1").exists());
    }

    #[test]
    fn a_file_that_was_moved_away_replaced_or_cut_takes_nothing_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut chain = written(&path, &["one"]);
        let away = folder.path().join("away");
        std::fs::rename(&path, &away).unwrap();
        assert!(chain.append(b"two").is_err(), "nobody would find it");
        std::fs::copy(&away, &path).unwrap();
        assert!(chain.append(b"two").is_err(), "this is another file");
        std::fs::rename(&away, &path).unwrap();
        chain.append(b"two").unwrap();
        assert_eq!(texts(&path, None).unwrap(), ["one", "two"]);
        let cut = OpenOptions::new().write(true).open(&path).unwrap();
        cut.set_len(chain.length - 3).unwrap();
        assert!(chain.append(b"three").is_err(), "somebody cut it");
    }
}
