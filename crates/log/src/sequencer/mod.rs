//! Makes the log: opens it, recovers what an earlier process left, and runs the one thread that
//! turns frames and events into signed leaves.

mod committed;
mod intake;
mod recovery;
mod rotation;
mod run;
mod tree;

use std::{
    collections::HashMap,
    fs::File,
    future::Future,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use portcullis_model::{Clock, Entropy, Event, EventId};
use tokio::sync::oneshot;

pub use self::rotation::Rotated;
use crate::{
    CoreJournal, Health, Keys, LogError, Reader,
    give_way::give_way,
    journal::{SyncHandle, SyncThread, segments::Segments},
    keeper::Keeper,
    layout::Layout,
    quota::Quota,
};

/// What it takes to open a log.
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// The audit directory: see the crate's documentation of what lies in it.
    pub directory: PathBuf,
    /// The log's name in checkpoints, such as `gate.example.com/audit`; never changes.
    pub name: String,
    /// Draws the key on the first start.
    pub entropy: Arc<dyn Entropy>,
    /// Dates what recovery itself puts on record.
    pub clock: Arc<dyn Clock>,
    /// How often a checkpoint is signed while there is something new, if nobody asks for one sooner.
    pub checkpoint_every: Duration,
    /// The most bytes that it may take on its disk.
    pub most: Option<u64>,
}

/// The open log. Dropping it stops its threads in good order; journals must be dropped before.
#[derive(Debug)]
pub struct Log {
    handle: LogHandle,
    directory: PathBuf,
    keys: Keys,
    /// Dropped after the sequencer has stopped, and before the lock.
    _keeper: Keeper,
    sequencer: Option<JoinHandle<()>>,
    /// Dropped after the sequencer: it may still be asked to sync.
    _sync: SyncThread,
    /// Held for as long as the log is open.
    _lock: File,
}

impl Log {
    /// Opens the log, or starts one. Everything that an earlier process left in its journals is in
    /// the log when this returns.
    pub fn open(options: &LogOptions) -> Result<Self, LogError> {
        let layout = Layout::create(&options.directory)?;
        let lock = lock(&layout)?;
        let signer = rotation::signer(&layout, options)?;
        let keys = signer.keys().clone();
        let health = Arc::new(Health::new(options.checkpoint_every));
        let sequencer = recovery::open(&layout, signer, options, Arc::clone(&health))?;
        let positions = sequencer.positions();
        let sync = SyncThread::start(Arc::clone(&health))?;
        let (commands, received) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("log-sequencer".to_owned())
            .spawn(move || {
                give_way();
                sequencer.run(&received);
            })
            .map_err(|source| LogError::io("start", "log-sequencer", source))?;
        let handle = LogHandle {
            commands,
            health,
            sync: sync.handle(),
            journals: Arc::new(Journals { layout: layout.clone(), positions: positions.into() }),
        };
        // The keeper goes on behind what is gone: by a note from before it would look for what is not there.
        if let Err(error) = Reader::open(layout.log())?.removed_mended(&keys) {
            tracing::error!(%error, "a part of the record is missing");
        }
        let quota = Quota::new(&layout, options.most);
        let keeper = Keeper::start(&layout.log(), quota, handle.health())?;
        Ok(Self {
            handle,
            directory: layout.log(),
            keys,
            _keeper: keeper,
            sequencer: Some(thread),
            _sync: sync,
            _lock: lock,
        })
    }

    /// What the rest of the process works with.
    pub fn handle(&self) -> LogHandle {
        self.handle.clone()
    }

    /// The directory that [`crate::Reader`] and [`crate::verify`] read, and auditors copy.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The key that signs, as auditors verify with it.
    pub fn verifier_key(&self) -> &str {
        self.keys.newest()
    }

    /// The same, and the keys before; also in `log.pub`.
    pub fn keys(&self) -> &Keys {
        &self.keys
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _gone = self.handle.commands.send(Command::Stop);
        if let Some(thread) = self.sequencer.take() {
            let _panicked = thread.join();
        }
        self.handle.health.close();
    }
}

/// Appends events, opens journals, tells the health. Cheap to clone, for every thread.
#[derive(Debug, Clone)]
pub struct LogHandle {
    commands: mpsc::Sender<Command>,
    health: Arc<Health>,
    sync: SyncHandle,
    journals: Arc<Journals>,
}

#[derive(Debug)]
struct Journals {
    layout: Layout,
    /// Where the journal of a core goes on; taken when it is opened.
    positions: Mutex<HashMap<usize, u64>>,
}

impl LogHandle {
    /// Puts `event` into the log, once: an id that is among the newest 2,048 appended ones, in this
    /// process or an earlier one, keeps its place. Resolves with that place, when it is durable and
    /// signed.
    pub fn append(
        &self,
        event: &Event,
    ) -> impl Future<Output = Result<u64, LogError>> + Send + 'static + use<> {
        let sent = self.send(event);
        let health = Arc::clone(&self.health);
        async move { sent?.await.unwrap_or_else(|_| Err(LogError::Broken(health.reason()))) }
    }

    /// Opens the journal of `core`, on that core: it needs a `LocalSet` or a local runtime. Once per
    /// core and process.
    pub fn open_journal(&self, core: usize) -> Result<Rc<CoreJournal>, LogError> {
        let directory = self.journals.layout.core_journal(core);
        let mut positions = self.journals.positions.lock().unwrap_or_else(PoisonError::into_inner);
        // A second journal of the same core would write where the first one does.
        let position = match positions.insert(core, u64::MAX) {
            Some(u64::MAX) => return Err(LogError::InUse(directory)),
            position => position.unwrap_or(0),
        };
        drop(positions);
        let segments = Arc::new(Segments::create(&directory, core, position)?);
        let journal =
            CoreJournal::start(Arc::clone(&segments), self.sync.clone(), Arc::clone(&self.health))?;
        self.commands
            .send(Command::Journal(segments))
            .map_err(|_| LogError::Broken(self.health.reason()))?;
        Ok(journal)
    }

    /// Whether the record can be written.
    pub fn health(&self) -> Arc<Health> {
        Arc::clone(&self.health)
    }

    /// Writes nothing any more, for good: somebody found that the log is not what it was.
    pub fn refuse(&self, why: String) {
        self.health.break_down(why);
    }

    fn send(&self, event: &Event) -> Result<oneshot::Receiver<Result<u64, LogError>>, LogError> {
        let broken = || LogError::Broken(self.health.reason());
        if self.health.is_broken() {
            return Err(broken());
        }
        if self.health.is_stalled() {
            return Err(LogError::Stalled(self.health.want()));
        }
        let text = serde_json::to_vec(event)
            .map_err(|error| LogError::Broken(format!("an event cannot be written: {error}")))?;
        if text.len() > tree::MOST_EVENT_BYTES {
            return Err(LogError::TooLarge(text.len()));
        }
        let (reply, answer) = oneshot::channel();
        let command = Command::Append { id: event.id, text, reply };
        self.commands.send(command).map_err(|_| broken())?;
        Ok(answer)
    }
}

/// What the sequencer is asked for.
#[derive(Debug)]
enum Command {
    Journal(Arc<Segments>),
    Append { id: EventId, text: Vec<u8>, reply: oneshot::Sender<Result<u64, LogError>> },
    Stop,
}

fn lock(layout: &Layout) -> Result<File, LogError> {
    let path = layout.lock();
    let file = File::create(&path).map_err(|source| LogError::io("create", &path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::InUse(layout.root().to_owned())),
        Err(std::fs::TryLockError::Error(source)) => Err(LogError::io("lock", path, source)),
    }
}
