//! A file of JSON lines: appended, then on stable storage, and only then passed on.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use portcullis_control::{
    export::{Outgoing, Sink},
    ports::NotDelivered,
};
use portcullis_model::Clock;

use super::not_delivered;
use crate::config::export::{Lines as Config, Rotate};

/// Events that are synced together.
const MOST: usize = 256;

/// Appends to files.
#[derive(Debug)]
pub(super) struct Lines {
    path: PathBuf,
    rotate: Rotate,
    clock: Arc<dyn Clock>,
    /// Held while something is appended, which may last longer than anybody waits for it.
    busy: Arc<Mutex<()>>,
}

impl Lines {
    pub(super) fn new(config: &Config, base: &Path, clock: Arc<dyn Clock>) -> Self {
        let (path, rotate) = (base.join(&config.path), config.rotate);
        Self { path, rotate, clock, busy: Arc::default() }
    }

    /// The file of today.
    fn today(&self) -> PathBuf {
        if self.rotate == Rotate::Never {
            return self.path.clone();
        }
        let date = self.clock.now().strftime("%Y-%m-%d").to_string();
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let name = match self.path.extension() {
            Some(extension) => format!("{stem}-{date}.{}", extension.to_string_lossy()),
            None => format!("{stem}-{date}"),
        };
        self.path.with_file_name(name)
    }
}

#[async_trait]
impl Sink for Lines {
    fn most(&self) -> usize {
        MOST
    }

    async fn deliver(&self, batch: &[Outgoing]) -> Result<(), NotDelivered> {
        let mut text = String::new();
        for event in batch {
            text.push_str(&event.json);
            text.push('\n');
        }
        let (path, busy) = (self.today(), Arc::clone(&self.busy));
        // Disks may be slow.
        let written = tokio::task::spawn_blocking(move || {
            // Of two at a time, one would cut what the other has written.
            let _alone = busy.try_lock().map_err(|_| in_use())?;
            append(&path, &text)
        });
        let written = written.await;
        written
            .map_err(not_delivered)?
            .map_err(|error| not_delivered(format_args!("it cannot be written: {error}")))
    }
}

/// Each time anew: whoever moves the file away gets the rest in another.
fn append(path: &Path, text: &str) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder)?;
    }
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    // Another process that ends, or is a mistake.
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => return Err(in_use()),
        // Some file systems have no locks.
        Ok(()) | Err(TryLockError::Error(_)) => {}
    }
    let end = whole(&mut file)?;
    // What a crash or a full disk left of a line is not a line, and its event comes again.
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    file.write_all(text.as_bytes())?;
    file.sync_data()?;
    // Nothing that stands in it was acknowledged before: its name, and those of new folders, may not last yet.
    if end == 0 {
        sync_folders(folder.unwrap_or_else(|| Path::new(".")))?;
    }
    Ok(())
}

fn in_use() -> io::Error {
    io::Error::other("something else is being written to the file")
}

/// The folder, and those that it is in on the same disk, as far as they can be read.
fn sync_folders(folder: &Path) -> io::Result<()> {
    let opened = File::open(folder)?;
    opened.sync_all()?;
    let disk = opened.metadata()?.dev();
    for above in folder.ancestors().skip(1).filter(|above| !above.as_os_str().is_empty()) {
        let Ok(above) = File::open(above) else { return Ok(()) };
        if above.metadata()?.dev() != disk {
            return Ok(());
        }
        above.sync_all()?;
    }
    Ok(())
}

/// Where the last whole line ends.
fn whole(file: &mut File) -> io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = [0; 4096];
    while end > 0 {
        let start = end.saturating_sub(chunk.len() as u64);
        file.seek(SeekFrom::Start(start))?;
        let part = chunk.get_mut(..usize::try_from(end - start).unwrap_or(0)).unwrap_or_default();
        file.read_exact(part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_do_not_write_at_a_time() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        append(&path, "{\"a\":1}\n").expect("written");
        let other = File::open(&path).expect("there");
        other.lock().expect("locked");
        append(&path, "{\"b\":2}\n").expect_err("another writes");
        drop(other);
        append(&path, "{\"b\":2}\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"a\":1}\n{\"b\":2}\n");
    }

    #[test]
    fn a_write_that_hangs_keeps_others_away() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.jsonl");
        let config = Config { path: path.clone(), rotate: Rotate::Never };
        let clock: Arc<dyn Clock> = Arc::new(crate::ambient::SystemClock);
        let sink = Lines::new(&config, folder.path(), clock);
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let hangs = sink.busy.lock().expect("free");
        runtime.block_on(sink.deliver(&[])).expect_err("another writes");
        assert!(!path.exists());
        drop(hangs);
        runtime.block_on(sink.deliver(&[])).expect("written");
        assert!(path.exists());
    }

    #[test]
    fn what_is_left_of_a_line_is_cut_and_whole_lines_stay() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("deep/a.jsonl");
        append(&path, "{\"a\":1}\n").expect("written");
        for torn in ["{\"b\"", &format!("{{\"b\":\"{}", "x".repeat(9000))] {
            let mut file = OpenOptions::new().append(true).open(&path).expect("there");
            file.write_all(torn.as_bytes()).expect("written");
            append(&path, "").expect("cut");
            assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"a\":1}\n");
        }
        append(&path, "{\"b\":2}\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("text"), "{\"a\":1}\n{\"b\":2}\n");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&path).expect("there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
    }
}
