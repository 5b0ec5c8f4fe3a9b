//! The files of one journal, shared by its core (which writes), the sync thread and the sequencer
//! (which reads and deletes).

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::Waker,
    time::{Duration, Instant},
};

use rustix::fs::FallocateFlags;

use crate::LogError;

/// How files of frames are called: the position of their first byte, twenty digits.
const SUFFIX: &str = ".frames";
/// A file of frames is closed at this size.
pub(super) const SEGMENT_BYTES: u64 = 8 << 20;
/// Files that are kept to be written again.
const MOST_SPARES: usize = 2;
/// A file is worth writing again while its pages are in memory: later, each would be read first. At some
/// thousand requests a second a file lasts for several seconds.
const SPARE_FOR: Duration = Duration::from_secs(30);

/// One file.
#[derive(Debug, Clone)]
struct Segment {
    base: u64,
    file: Arc<File>,
    path: PathBuf,
    /// Whether the name of the file is durable.
    named: bool,
}

/// A file whose frames are all in the log. Overwriting it costs the system less than growing a new
/// one: its blocks are there.
#[derive(Debug)]
struct Spare {
    file: Arc<File>,
    path: PathBuf,
    since: Instant,
}

/// The files of one journal and how far they are written and synced.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) core: usize,
    directory: PathBuf,
    files: Mutex<Vec<Segment>>,
    spares: Mutex<Vec<Spare>>,
    /// INVARIANT: everything below is in the files, in whole frames.
    written: AtomicU64,
    /// INVARIANT: everything below is on stable storage.
    synced: AtomicU64,
    /// Whoever waits for `synced` to move.
    waiters: Mutex<Vec<Waker>>,
    /// The core has dropped its journal: nothing more comes.
    closed: AtomicBool,
    /// The sync thread knows that something is to be synced soon.
    sync_asked: AtomicBool,
}

impl Segments {
    /// A journal that starts at `position`, without a file yet.
    pub(crate) fn create(directory: &Path, core: usize, position: u64) -> Result<Self, LogError> {
        fs::create_dir_all(directory)
            .map_err(|source| LogError::io("create", directory, source))?;
        directory.parent().map_or(Ok(()), crate::layout::sync_directory)?;
        Ok(Self::empty(directory, core, position))
    }

    /// The files that an earlier process left.
    pub(crate) fn open(directory: &Path, core: usize) -> Result<Self, LogError> {
        let mut files = Vec::new();
        let entries =
            fs::read_dir(directory).map_err(|source| LogError::io("list", directory, source))?;
        for entry in entries {
            let path = entry.map_err(|source| LogError::io("list", directory, source))?.path();
            let Some(base) = base_of(&path) else { continue };
            let file = File::open(&path).map_err(|source| LogError::io("open", &path, source))?;
            files.push(Segment { base, file: Arc::new(file), path, named: true });
        }
        files.sort_by_key(|segment| segment.base);
        let mut end = 0;
        if let Some(last) = files.last() {
            let length = last.file.metadata().map(|metadata| metadata.len());
            end = last.base + length.map_err(|source| LogError::io("read", &last.path, source))?;
        }
        let segments = Self::empty(directory, core, end);
        *segments.lock() = files;
        Ok(segments)
    }

    fn empty(directory: &Path, core: usize, position: u64) -> Self {
        Self {
            core,
            directory: directory.to_owned(),
            files: Mutex::new(Vec::new()),
            spares: Mutex::new(Vec::new()),
            written: AtomicU64::new(position),
            synced: AtomicU64::new(position),
            waiters: Mutex::new(Vec::new()),
            closed: AtomicBool::new(false),
            sync_asked: AtomicBool::new(false),
        }
    }

    /// Starts a file at `base`, which the next bytes go to: a spare one, or a new one.
    pub(crate) fn add(&self, base: u64) -> Result<Arc<File>, LogError> {
        let path = self.directory.join(format!("{base:020}{SUFFIX}"));
        let file = if let Some(spare) = self.take_spare() {
            // Under its old name it would hold nothing that anybody reads: its frames are in the log,
            // and new ones are of other positions.
            match fs::rename(&spare.path, &path) {
                Ok(()) => spare.file,
                Err(source) => {
                    let error = LogError::io("rename", &spare.path, source);
                    self.spares.lock().unwrap_or_else(PoisonError::into_inner).push(spare);
                    return Err(error);
                }
            }
        } else {
            let created = OpenOptions::new().read(true).write(true).create_new(true).open(&path);
            let file = created.map_err(|source| LogError::io("create", &path, source))?;
            reserve(&file);
            Arc::new(file)
        };
        self.lock().push(Segment { base, file: Arc::clone(&file), path, named: false });
        Ok(file)
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(crate) fn wrote_until(&self, position: u64) {
        self.written.store(position, Ordering::Release);
    }

    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }

    /// Whether the sync thread is to be told; at most once for each of its rounds.
    pub(crate) fn asks_for_sync(&self) -> bool {
        !self.sync_asked.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Reads at most `most` bytes from `position` on into `buffer`, from one file. Returns where that
    /// file ends: the start of the next one, or what is written.
    pub(crate) fn read(
        &self,
        position: u64,
        most: usize,
        buffer: &mut Vec<u8>,
    ) -> Result<u64, LogError> {
        let written = self.written();
        let files = self.lock();
        let after = files.partition_point(|segment| segment.base <= position);
        let end = files.get(after).map_or(written, |next| next.base);
        let Some(segment) = after.checked_sub(1).and_then(|index| files.get(index)).cloned() else {
            buffer.clear();
            return Ok(end);
        };
        drop(files);
        let wanted = usize::try_from(end.saturating_sub(position)).unwrap_or(most).min(most);
        // What is there from before is written over, and not wiped first.
        buffer.resize(wanted, 0);
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            let at = position - segment.base + filled as u64;
            match segment.file.read_at(rest, at) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LogError::io("read", &segment.path, source)),
            }
        }
        buffer.truncate(filled);
        Ok(end)
    }

    /// Where the first file starts; `None` if there is none.
    pub(crate) fn start(&self) -> Option<u64> {
        self.lock().first().map(|segment| segment.base)
    }

    /// Makes everything written so far durable, and wakes whoever waits for that.
    pub(crate) fn sync(&self) -> Result<(), LogError> {
        self.sync_asked.store(false, Ordering::Release);
        let target = self.written();
        let synced = self.synced();
        if synced == target {
            self.wake_all();
            return Ok(());
        }
        let files: Vec<Segment> = {
            let files = self.lock();
            let first = files.partition_point(|segment| segment.base <= synced).saturating_sub(1);
            files.get(first..).unwrap_or_default().to_vec()
        };
        for segment in &files {
            let done = segment.file.sync_data();
            done.map_err(|source| LogError::io(crate::error::SYNC, &segment.path, source))?;
        }
        if files.iter().any(|segment| !segment.named) {
            crate::layout::sync_directory(&self.directory)?;
            let last = files.last().map_or(0, |segment| segment.base);
            for segment in self.lock().iter_mut().filter(|segment| segment.base <= last) {
                segment.named = true;
            }
        }
        self.synced.store(target, Ordering::Release);
        self.wake_all();
        Ok(())
    }

    /// Registers `waker` unless `position` is synced already; says whether it is.
    pub(crate) fn synced_or_wake(&self, position: u64, waker: &Waker) -> bool {
        // INVARIANT: `sync` stores first and takes this lock after it, so no wake-up is lost.
        let mut waiters = self.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        if self.synced() >= position {
            return true;
        }
        waiters.push(waker.clone());
        false
    }

    pub(crate) fn wake_all(&self) {
        let waiters =
            std::mem::take(&mut *self.waiters.lock().unwrap_or_else(PoisonError::into_inner));
        for waker in waiters {
            waker.wake();
        }
    }

    fn take_spare(&self) -> Option<Spare> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let at = spares.iter().position(|spare| spare.since.elapsed() < SPARE_FOR)?;
        Some(spares.swap_remove(at))
    }

    /// Keeps `segment` to be written again if that is worth it; else it is to be deleted, as are the
    /// spares that nobody needed.
    fn retire(&self, gone: Vec<Segment>) -> Vec<PathBuf> {
        let mut spares = self.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let (keeps, now) = (!self.is_closed(), Instant::now());
        let stays = |spare: &mut Spare| keeps && now.duration_since(spare.since) < SPARE_FOR;
        let mut doomed: Vec<PathBuf> =
            spares.extract_if(.., |spare| !stays(spare)).map(|spare| spare.path).collect();
        for Segment { file, path, named, .. } in gone {
            if keeps && named && spares.len() < MOST_SPARES {
                spares.push(Spare { file, path, since: now });
            } else {
                doomed.push(path);
            }
        }
        doomed
    }

    /// Retires the files whose every byte is below `position`. The newest stays while its core may
    /// write to it.
    pub(crate) fn delete_below(&self, position: u64) -> Result<(), LogError> {
        let mut files = self.lock();
        let mut keep = files.partition_point(|segment| segment.base <= position).saturating_sub(1);
        if self.is_closed() && position >= self.written() {
            keep = files.len();
        }
        let keep = keep.min(files.len());
        let gone: Vec<Segment> = files.drain(..keep).collect();
        drop(files);
        for path in self.retire(gone) {
            fs::remove_file(&path).map_err(|source| LogError::io("delete", &path, source))?;
        }
        Ok(())
    }

    /// Makes every later sync of the newest file fail.
    #[cfg(test)]
    pub(crate) fn lose_newest_file(&self) {
        let unsyncable =
            Arc::new(File::open("/dev/null").unwrap_or_else(|error| panic!("{error}")));
        if let Some(newest) = self.lock().last_mut() {
            newest.file = unsyncable;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Segment>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes the blocks of a whole file from the file system at once. A file that grows while it is synced makes
/// its writer wait for the file system's own journal: some milliseconds, at every sync.
///
/// Behind its frames such a file has zeros, which are no frames. Where blocks cannot be reserved, it grows.
pub(super) fn reserve(file: &File) {
    let _grows = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, SEGMENT_BYTES);
}

fn base_of(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(SUFFIX)?.parse().ok()
}
