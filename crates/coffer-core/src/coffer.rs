//! A coffer, as the outside uses it.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use coffer_core::coffer::{Change, Coffer, Mode, Options};
//! use coffer_core::key::Key;
//! use coffer_core::kind::Kind;
//!
//! # let dir = std::env::temp_dir().join(format!("coffer-doc-{}", std::process::id()));
//! # std::fs::create_dir_all(&dir)?;
//! let mut options = Options::new(Mode::Write, Kind::store());
//! options.coffer_key = Some(Key::generate(32));
//! let coffer = Coffer::open(&dir.join("vault.coffer"), options)?;
//!
//! let (sender, receiver) = mpsc::channel();
//! let change = Change::write("notes/todo.txt", Arc::new(b"buy milk".to_vec()));
//! coffer.submit(change, None, Box::new(move |result| drop(sender.send(result))));
//! receiver.recv()??;
//! assert_eq!(coffer.read("notes/todo.txt")?, b"buy milk");
//! coffer.close()?;
//! # std::fs::remove_dir_all(&dir)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, unbounded};

use crate::container::{Container, SMALL, Shared, View};
use crate::error::{Code, Error, Result};
use crate::extract;
use crate::header::{self, Header, Keys};
use crate::ingest;
use crate::key::Key;
use crate::kind::Kind;
use crate::legacy;
use crate::locks::{Locks, Patience};
use crate::open::{self, Expected, Found, Opened};
use crate::pool;
use crate::read::Reader;
use crate::recover;
use crate::source::Source;
use crate::spool::SpoolDir;
use crate::storage::{DiskFile, NewFile, sweep_unfinished, sync_directory};
use crate::verify;
use crate::watch::{Cancel, Watch};
use crate::writer::{self, Done, Given, Message, Spooled, State, Task, Writer};

pub use crate::extract::{Extracted, Selection};
pub use crate::ingest::{Added, Skipped, Symlinks};
pub use crate::locks::LockMode;
pub use crate::open::Notice;
pub use crate::read::{Member, Range};
pub use crate::verify::Verified;

/// How a coffer is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `r`: to read; the coffer must exist.
    Read,
    /// `w`: to write; a coffer that exists is replaced by an empty one.
    Write,
    /// `a`: to read and write; a coffer that does not exist is made.
    Append,
    /// `x`: to write a new coffer; one that exists is an error.
    Exclusive,
}

impl Mode {
    /// Reads `r`, `w`, `a` or `x`, each also with a `b` behind it.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for anything else.
    pub fn parse(mode: &str) -> Result<Self> {
        match mode.strip_suffix('b').unwrap_or(mode) {
            "r" => Ok(Self::Read),
            "w" => Ok(Self::Write),
            "a" => Ok(Self::Append),
            "x" => Ok(Self::Exclusive),
            _ => Err(Error::new(
                Code::InvalidArg,
                format!(
                    "{mode:?} is not a mode: it is 'r', 'w', 'a' or 'x', or one of them with 'b'"
                ),
            )),
        }
    }
}

/// A commit, for those who remember: its place in the order, and what pins all it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitId {
    /// 1 for the first commit, and one more for each.
    pub generation: u64,
    /// The digest, which covers every commit before it too.
    pub digest: [u8; 32],
}

/// How to open a coffer. Sizes are in bytes.
#[derive(Clone)]
pub struct Options {
    /// To read or to write.
    pub mode: Mode,
    /// What it is, or is to be.
    pub kind: Kind,
    /// The container's cipher was left to the file: a Bank may have one of two.
    pub cipher_is_free: bool,
    /// The container's key.
    pub coffer_key: Option<Key>,
    /// The members' key.
    pub secure_key: Option<Key>,
    /// Whether each change is flushed before it returns; by default what the kind says.
    pub auto_flush: Option<bool>,
    /// What is appended to the path for a copy made before the first change.
    pub backup: Option<String>,
    /// Which locks to take.
    pub lock: LockMode,
    /// How long to wait for them.
    pub lock_timeout: Duration,
    /// Where to keep what legacy coffers need, in place of the system's temp directory.
    pub temp_dir: Option<PathBuf>,
    /// The zstd level for members, in place of the kind's.
    pub level: Option<i32>,
    /// Bytes of a full chunk, its 32 bytes of framing included, for a new coffer: 64 KiB.
    pub chunk_size: Option<u32>,
    /// Bytes of a member in a full block, for a new coffer: 1 MiB.
    pub block_size: Option<u32>,
    /// Whether a flush waits for the disk.
    pub durable: bool,
    /// Whether a coffer in PyCoffer's format is accepted.
    pub legacy: bool,
    /// A commit that must be in the coffer's history.
    pub expect: Option<CommitId>,
    /// Calls the opening off.
    pub cancel: Cancel,
}

const CHUNK_SIZE: u32 = 64 << 10;
const BLOCK_SIZE: u32 = 1 << 20;
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new(mode: Mode, kind: Kind) -> Self {
        Self {
            mode,
            kind,
            cipher_is_free: false,
            coffer_key: None,
            secure_key: None,
            auto_flush: None,
            backup: None,
            lock: LockMode::default(),
            lock_timeout: LOCK_TIMEOUT,
            temp_dir: None,
            level: None,
            chunk_size: None,
            block_size: None,
            durable: true,
            legacy: false,
            expect: None,
            cancel: Cancel::default(),
        }
    }

    fn keys(&self) -> Keys {
        Keys { coffer: self.coffer_key.clone(), secure: self.secure_key.clone() }
    }

    /// The header of a new coffer.
    fn header(&self) -> Result<Header> {
        let chunk =
            self.chunk_size.unwrap_or(CHUNK_SIZE).saturating_sub(crate::chunk::HEADER as u32);
        let block = self.block_size.unwrap_or(BLOCK_SIZE);
        header::check_sizes(chunk, block).map_err(|_| {
            Error::new(
                Code::InvalidArg,
                "chunkSize must be from 288 bytes to 4 MiB, and blockSize from 4 KiB to 16 MiB",
            )
        })?;
        let kind = self.level.map_or(self.kind, |level| self.kind.with_level(level));
        Header::new(kind, &self.keys(), chunk, block)
    }
}

/// Bytes that a caller hands over. They are copied piece by piece, on the threads that need them,
/// and only while they are copied: memory that is not ours may be taken back between two pieces.
pub trait Bytes: Send + Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Copies the bytes from `offset` on into all of `into`.
    ///
    /// # Errors
    /// [`Code::Aborted`] if the bytes have been taken back.
    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()>;
}

impl<T: AsRef<[u8]> + Send + Sync> Bytes for T {
    fn size(&self) -> usize {
        self.as_ref().len()
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let bytes = self.as_ref().get(offset..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(
            bytes.ok_or_else(|| Error::new(Code::InvalidArg, "there are fewer bytes"))?,
        );
        Ok(())
    }
}

/// Bytes that a caller hands over.
pub type Data = Arc<dyn Bytes>;

/// A change to a coffer.
pub enum Change {
    /// Puts a member, in place of whatever has its name.
    Write {
        /// Its name.
        name: String,
        /// Its bytes.
        data: Data,
        /// Its mode, in place of the old one or 0644.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, in place of now.
        mtime: Option<(i64, u32)>,
    },
    /// Appends to a member, or makes it.
    Append {
        /// Its name.
        name: String,
        /// What to append.
        data: Data,
    },
    /// Adds a file or a tree.
    Add {
        /// The file or directory.
        source: PathBuf,
        /// What it is called in the coffer; by default as it is.
        name: Option<String>,
        /// Whether members of the same names are replaced.
        replace: bool,
        /// What to do with symbolic links.
        symlinks: Symlinks,
        /// Who watches.
        watch: Watch,
    },
    /// Deletes a member.
    Delete {
        /// Its name.
        name: String,
        /// With everything below it.
        recursive: bool,
    },
    /// Commits what has changed.
    Flush {
        /// Even if nothing has.
        force: bool,
    },
    /// Rewrites the coffer without its dead blocks.
    Compact {
        /// Who watches.
        watch: Watch,
    },
    /// Begins a batch: see [`Outcome::Batch`].
    Begin,
    /// Ends the batch that the change belongs to.
    End {
        /// Keeps and commits its changes, or undoes them all.
        commit: bool,
    },
    /// Flushes and closes.
    Close,
}

impl Change {
    /// A write with the attributes it has by default.
    pub fn write(name: &str, data: Data) -> Self {
        Self::Write { name: name.to_owned(), data, mode: None, mtime: None }
    }
}

/// What came of a change.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is done.
    Done,
    /// What an add did.
    Added(Added),
    /// The batch's token. Changes given with it belong to the batch, all others wait until it ends.
    Batch(u64),
}

/// How a coffer stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Status {
    /// It is closed, or being closed.
    pub closed: bool,
    /// It has changes that no commit has.
    pub modified: bool,
    /// The last commit; all zero in a legacy coffer.
    pub commit: CommitId,
}

/// A handle on an open coffer. Clones are the same handle.
#[derive(Clone)]
pub struct Coffer(Arc<Inner>);

struct Inner {
    path: PathBuf,
    reader: Reader,
    status: Arc<Mutex<Status>>,
    notices: Vec<Notice>,
    /// How many reads are under way.
    active: Mutex<usize>,
    idle: Condvar,
    side: Side,
}

enum Side {
    Writes(Sender<Message>),
    Reads(Mutex<Option<Holding>>),
}

/// What a handle that only reads gives back at its end.
struct Holding {
    locks: Locks,
    file: Arc<DiskFile>,
    _spool: Option<SpoolDir>,
}

impl Coffer {
    /// Opens a coffer, or makes one. Waits for its lock, and reads its catalog.
    ///
    /// # Errors
    /// [`Code::Locked`], [`Code::Exists`], [`Code::NotFound`], [`Code::WrongKey`],
    /// [`Code::WrongKind`], [`Code::Corrupt`], [`Code::Legacy`], [`Code::Version`],
    /// [`Code::InvalidArg`], [`Code::Aborted`], [`Code::Io`].
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|e| Error::io("open", path, &e))?;
        open_coffer(&path, &options).map_err(|e| e.at(&path))
    }

    /// Queues a change. Changes take effect in the order they are submitted. `done` is called once,
    /// on a thread of the core, when the change is accepted, or flushed where auto-flush is on.
    pub fn submit(&self, change: Change, batch: Option<u64>, done: Done) {
        let path = self.0.path.clone();
        let done: Done = Box::new(move |result| done(result.map_err(|e| e.at(&path))));
        let closing = matches!(change, Change::Close);
        // A batch that is open may still end; the thread answers if it is too late for that.
        if !closing && batch.is_none() && self.status().closed {
            return done(Err(writer::closed()));
        }
        let Side::Writes(sender) = &self.0.side else {
            if closing {
                let inner = self.0.clone();
                return pool::thread(move || done(inner.close_reader().map(|()| Outcome::Done)));
            }
            let refused = "the coffer was opened with mode 'r': open it with 'a' to change it";
            return done(Err(Error::new(Code::ReadOnly, refused)));
        };
        let task = match self.task(change) {
            Ok(task) => task,
            Err(e) => return done(Err(e)),
        };
        if closing {
            self.0.lock_status().closed = true;
            let inner = self.0.clone();
            let sender = sender.clone();
            return pool::thread(move || {
                inner.wait_until_idle();
                send(&sender, Message { task, batch: None, done }, true);
            });
        }
        send(sender, Message { task, batch, done }, false);
    }

    fn task(&self, change: Change) -> Result<Task> {
        let named = |name: &str| crate::name::check(name).map(str::to_owned);
        Ok(match change {
            Change::Write { name, data, mode, mtime } => {
                let name = named(&name)?;
                let given = Given { mode, mtime };
                let size = data.size() as u64;
                if size > SMALL {
                    return Ok(Task::Large { name, data, given });
                }
                let source = self.0.reader.view.read().source.clone();
                let stored = pool::start(move || {
                    let mut bytes = vec![0; data.size()];
                    data.copy_to(0, &mut bytes)?;
                    source.layers.encode_member(&bytes)
                });
                Task::Small { name, size, given, stored }
            }
            Change::Append { name, data } => Task::Append { name: named(&name)?, data },
            Change::Add { source, name, replace, symlinks, watch } => {
                Task::Add(ingest::Request { source, name, replace, symlinks, watch })
            }
            Change::Delete { name, recursive } => Task::Delete { name: named(&name)?, recursive },
            Change::Flush { force } => Task::Flush { force },
            Change::Compact { watch } => Task::Compact { watch },
            Change::Begin => Task::Begin,
            Change::End { commit } => Task::End { commit },
            Change::Close => Task::Close,
        })
    }

    /// Makes a change and waits for it. Not for a thread of the pool.
    ///
    /// # Errors
    /// Whatever the change's error is.
    pub fn change(&self, change: Change) -> Result<Outcome> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.submit(change, None, Box::new(move |result| drop(sender.send(result))));
        receiver.recv().unwrap_or_else(|_| Err(writer::closed()))
    }

    /// Flushes, closes and waits for it. Not for a thread of the pool.
    ///
    /// # Errors
    /// Whatever kept the last changes from being flushed.
    pub fn close(&self) -> Result<()> {
        self.change(Change::Close).map(|_| ())
    }

    /// Reads a member whole.
    ///
    /// # Errors
    /// [`Code::MemberNotFound`], [`Code::Corrupt`], [`Code::Stale`], [`Code::Limit`],
    /// [`Code::Closed`], [`Code::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.reading(|reader| Ok(reader.read_range(name, 0, u64::MAX, None)?.bytes))
    }

    /// Reads at most `len` bytes of a member from `start`, decoding only the blocks they are in.
    /// With `version`, fails unless the member is still of that version.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_range(
        &self,
        name: &str,
        start: u64,
        len: u64,
        version: Option<u64>,
    ) -> Result<Range> {
        self.reading(|reader| reader.read_range(name, start, len, version))
    }

    /// The members whose names begin with `prefix`, in the order of their names.
    ///
    /// # Errors
    /// [`Code::Closed`].
    pub fn members(&self, prefix: Option<&str>) -> Result<Vec<Member>> {
        self.reading(|reader| Ok(reader.members(prefix)))
    }

    /// A member, or a directory that the names of members imply.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for what is no name, [`Code::Closed`].
    pub fn stat(&self, name: &str) -> Result<Option<Member>> {
        self.reading(|reader| reader.stat(name))
    }

    /// Extracts members below a directory.
    ///
    /// # Errors
    /// [`Code::UnsafePath`], [`Code::MemberNotFound`], [`Code::Aborted`], and as [`Self::read`].
    pub fn extract(&self, what: &Selection, target: &Path, watch: &Watch) -> Result<Extracted> {
        self.reading(|reader| extract::extract(reader, what, target, watch))
    }

    /// Reads and checks everything.
    ///
    /// # Errors
    /// [`Code::Corrupt`], naming the members that are damaged; [`Code::Aborted`].
    pub fn verify(&self, watch: &Watch) -> Result<Verified> {
        self.reading(|reader| verify::verify(reader, watch))
    }

    /// How the coffer stands. Never waits for the disk.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.0.lock_status()
    }

    /// What was found at opening and set right, or passed over.
    #[must_use]
    pub fn notices(&self) -> &[Notice] {
        &self.0.notices
    }

    /// The coffer's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Asks a question on the pool: any of the calls that read. Closing waits for the questions that
    /// were asked before it.
    pub fn ask<T: 'static>(
        &self,
        question: impl FnOnce(&Self) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        if self.status().closed {
            return answer(Err(writer::closed().at(&self.0.path)));
        }
        let coffer = self.clone();
        let reading = Reading::begin(self.0.clone());
        pool::spawn(move || {
            answer(reading.and_then(|_reading| question(&coffer)));
        });
    }

    fn reading<T>(&self, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let reading = Reading::begin(self.0.clone())?;
        read(&reading.0.reader).map_err(|e| e.at(&self.0.path))
    }
}

/// A read under way: closing waits until it is dropped.
struct Reading(Arc<Inner>);

impl Reading {
    fn begin(inner: Arc<Inner>) -> Result<Self> {
        let mut active = inner.active.lock().unwrap_or_else(PoisonError::into_inner);
        // While others are under way, closing still waits, and may as well wait for this one.
        if *active == 0 && inner.lock_status().closed {
            return Err(writer::closed().at(&inner.path));
        }
        *active += 1;
        drop(active);
        Ok(Self(inner))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        let mut active = self.0.active.lock().unwrap_or_else(PoisonError::into_inner);
        *active -= 1;
        if *active == 0 {
            self.0.idle.notify_all();
        }
    }
}

/// Hands a message to the writing thread, or answers it if that has ended.
fn send(sender: &Sender<Message>, message: Message, closing: bool) {
    if let Err(failed) = sender.send(message) {
        let done = failed.into_inner().done;
        done(if closing { Ok(Outcome::Done) } else { Err(writer::closed()) });
    }
}

impl Inner {
    fn lock_status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait_until_idle(&self) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        while *active > 0 {
            active = self.idle.wait(active).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close_reader(&self) -> Result<()> {
        self.lock_status().closed = true;
        self.wait_until_idle();
        let Side::Reads(holding) = &self.side else { return Ok(()) };
        if let Some(mut holding) = holding.lock().unwrap_or_else(PoisonError::into_inner).take() {
            holding.locks.release(&*holding.file);
        }
        self.reader.view.close(&self.path);
        Ok(())
    }
}

fn open_coffer(path: &Path, options: &Options) -> Result<Coffer> {
    let keys = options.keys();
    let writes = options.mode != Mode::Read;
    if !options.cipher_is_free {
        keys.check(&options.kind)?;
    }
    let exists = path.try_exists().map_err(|e| Error::io("stat", path, &e))?;
    if !writes && !exists {
        return Err(missing(path));
    }
    let patience = Patience {
        deadline: Instant::now() + options.lock_timeout,
        cancel: options.cancel.clone(),
    };
    let locks = Locks::acquire(path, options.lock, writes, patience)?;
    if writes && options.mode != Mode::Append && options.expect.is_some() {
        return Err(Error::new(
            Code::InvalidArg,
            "expect needs a coffer that is there: open it with 'r' or 'a'",
        ));
    }
    if !writes {
        return open_to_read(path, options, &keys, locks);
    }
    sweep_unfinished(path);
    // Only now is it certain, with the lock, whether there is a coffer.
    let exists = path.try_exists().map_err(|e| Error::io("stat", path, &e))?;
    match (options.mode, exists) {
        (Mode::Exclusive, true) => Err(Error::new(
            Code::Exists,
            format!(
                "there is a coffer at {} already: open it with 'a' to change it",
                path.display()
            ),
        )),
        (Mode::Append, true) => open_to_write(path, options, &keys, locks),
        (Mode::Append, false) if options.expect.is_some() => Err(missing(path)),
        _ => create(path, options, &keys, locks, exists),
    }
}

/// Makes a new coffer, in place of an old one where the mode says so.
fn create(
    path: &Path,
    options: &Options,
    keys: &Keys,
    locks: Locks,
    exists: bool,
) -> Result<Coffer> {
    let header = options.header()?;
    // Whoever holds the old file is waited for.
    let old = if exists { Some(locks.open(true)?) } else { None };
    if let (Some(suffix), true) = (&options.backup, exists) {
        writer::back_up(path, &suffixed(path, suffix))?;
    }
    let file = NewFile::create(path).map_err(|e| Error::io("open", path, &e))?;
    let source = Source {
        storage: file.storage(),
        path: path.to_path_buf(),
        layers: header.layers(keys)?,
        meta: keys.meta(&header.kind),
        archive: header.archive,
    };
    if let Some(inner) = source.storage.file() {
        locks.take(inner)?;
    }
    let mut container = Container::create(source, header, options.durable)?;
    container.commit(true, &Locks::none(path))?;
    if let Some(old) = &old {
        locks.check(old)?;
    }
    file.publish(exists).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Code::Exists, format!("somebody else has just made {}", path.display()))
        }
        _ => Error::io("rename", path, &e),
    })?;
    sync_directory(path).map_err(|e| Error::io("fsync", path, &e))?;
    drop(old);
    start_writer(path, options, container, locks, None, None, Vec::new())
}

fn open_to_write(path: &Path, options: &Options, keys: &Keys, locks: Locks) -> Result<Coffer> {
    let file = Arc::new(locks.open(true)?);
    let backup = options.backup.as_ref().map(|suffix| suffixed(path, suffix));
    match open::open(file.clone(), path, &expected(options, keys))? {
        Found::Coffer(opened) => {
            check_history(options, &opened)?;
            let Opened { source, header, newest, loaded, size, notices } = *opened;
            let container =
                Container::resume(source, header, options.durable, newest, loaded, size)?;
            start_writer(path, options, container, locks, backup, None, notices)
        }
        Found::Legacy => {
            let (container, dir, notices) = import(path, options, keys, &file)?;
            let spooled = Spooled { original: file, _dir: dir };
            start_writer(path, options, container, locks, backup, Some(spooled), notices)
        }
    }
}

fn open_to_read(path: &Path, options: &Options, keys: &Keys, locks: Locks) -> Result<Coffer> {
    let file = Arc::new(locks.open(false)?);
    let (reader, status, notices, spool) = match recover::steadily(&*file, || {
        open::open(file.clone(), path, &expected(options, keys))
    })? {
        Found::Coffer(opened) => {
            check_history(options, &opened)?;
            let Opened { source, newest, loaded, mut notices, .. } = *opened;
            if !locks.held() {
                // Without a lock, what looks torn may be somebody writing.
                notices.retain(|n| n.code != "torn-tail");
            }
            let view = Shared::new(View { catalog: loaded.catalog, source });
            let position = newest.position;
            let commit = CommitId { generation: position.generation, digest: position.digest };
            let status = Status { closed: false, modified: false, commit };
            (Reader::of_commit(view, position.generation), status, notices, None)
        }
        Found::Legacy => {
            let (container, dir, notices) = import(path, options, keys, &file)?;
            (Reader::of_writer(container.view.clone()), Status::default(), notices, Some(dir))
        }
    };
    Ok(Coffer(Arc::new(Inner {
        path: path.to_path_buf(),
        reader,
        status: Arc::new(Mutex::new(status)),
        notices,
        active: Mutex::new(0),
        idle: Condvar::new(),
        side: Side::Reads(Mutex::new(Some(Holding { locks, file, _spool: spool }))),
    })))
}

fn import(
    path: &Path,
    options: &Options,
    keys: &Keys,
    file: &DiskFile,
) -> Result<(Container, SpoolDir, Vec<Notice>)> {
    if !options.legacy {
        return Err(Error::new(
            Code::Legacy,
            "the coffer is in PyCoffer's format, without Coffer's checks: pass legacy: true if that is what you expect",
        ));
    }
    if options.expect.is_some() {
        return Err(Error::corrupt(
            "a commit was expected, but the coffer is in PyCoffer's format",
        ));
    }
    let dir = SpoolDir::create(options.temp_dir.as_deref())?;
    let header = options.header()?;
    let mut container =
        legacy::import(file, path, &dir, header, keys, options.durable, &options.cancel)?;
    container.gather()?;
    container.forget_changes();
    let notice = Notice {
        code: "legacy",
        message: "the coffer is in PyCoffer's format; the first flush rewrites it".to_owned(),
    };
    Ok((container, dir, vec![notice]))
}

fn start_writer(
    path: &Path,
    options: &Options,
    container: Container,
    mut locks: Locks,
    backup: Option<PathBuf>,
    legacy: Option<Spooled>,
    notices: Vec<Notice>,
) -> Result<Coffer> {
    locks.forget_caller();
    let committed = container.committed();
    let commit = CommitId { generation: committed.generation, digest: committed.digest };
    let status = Arc::new(Mutex::new(Status { closed: false, modified: false, commit }));
    let view = container.view.clone();
    let (sender, receiver) = unbounded();
    let writer = Writer {
        container,
        locks,
        path: path.to_path_buf(),
        auto_flush: options.auto_flush.unwrap_or(options.kind.auto_flush),
        backup,
        legacy,
        status: status.clone(),
        receiver,
        state: State::default(),
    };
    std::thread::Builder::new()
        .name("coffer-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|e| Error::io("clone", path, &e))?;
    Ok(Coffer(Arc::new(Inner {
        path: path.to_path_buf(),
        reader: Reader::of_writer(view),
        status,
        notices,
        active: Mutex::new(0),
        idle: Condvar::new(),
        side: Side::Writes(sender),
    })))
}

fn expected<'a>(options: &'a Options, keys: &'a Keys) -> Expected<'a> {
    Expected {
        kind: &options.kind,
        cipher_is_free: options.cipher_is_free,
        keys,
        level: options.level,
    }
}

fn check_history(options: &Options, opened: &Opened) -> Result<()> {
    let Some(expected) = &options.expect else { return Ok(()) };
    let known = recover::has_ancestor(
        &opened.source,
        &opened.newest,
        expected.generation,
        &expected.digest,
    )?;
    if known {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the coffer does not contain the expected commit {}: it was rolled back, forked or replaced; its newest commit is {}",
        expected.generation, opened.newest.position.generation
    )))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn missing(path: &Path) -> Error {
    let message = format!(
        "there is no coffer at {}: open it with 'a', 'w' or 'x' to make one",
        path.display()
    );
    Error::new(Code::NotFound, message).at(path)
}
