//! The handle on a coffer: the public interface of the engine.
//!
//! ```
//! use std::sync::{Arc, mpsc};
//! use coffer_core::coffer::{Change, Coffer, Mode, Options};
//! use coffer_core::crypto::key::Key;
//! use coffer_core::format::kind::Kind;
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

mod change;
mod opening;
mod queries;
mod reads;
mod refresh;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError, RwLock, Weak};

use crossbeam_channel::Sender;

use crate::buffer::Buffer;
use crate::engine::container::SMALL;
use crate::engine::reader::Reader;
use crate::engine::upload::Uploads;
use crate::engine::writer::{Answer, Done, Edit, Given, Message, Task};
use crate::error::{Code, Error, Result};
use crate::format::catalog::Catalog;
use crate::io::pool;
use crate::ops::add;
use crate::ops::verify;
use crate::progress::CallObserver;

use self::reads::Reads;

pub use self::change::{Change, Existing};
pub use crate::engine::credentials::NewCredentials;
pub use crate::engine::limits::Limits;
pub use crate::engine::open::Notice;
use crate::engine::open::Notices;
pub use crate::engine::options::{Mode, Options};
pub use crate::engine::reader::{Member, Range};
pub use crate::engine::selection::Selection;
pub use crate::engine::upload::{Ready, Upload};
pub use crate::engine::writer::{Added, Skipped};
pub use crate::engine::writer::{Outcome, PackedMembers, Status};
pub use crate::format::commit::CommitId;
pub use crate::io::data::{Bytes, Data};
pub use crate::io::lock_set::LockMode;
pub use crate::ops::add::Item;
pub use crate::ops::extract::{Extracted, Extraction, Refused};
pub use crate::ops::fs_tree::{Entry, Kind, Root, Symlinks};
pub use crate::ops::info::Info;
pub use crate::ops::verify::Verified;

/// Bytes of a member up to which encoding it takes less time than waking another thread.
const TINY: u64 = 4 << 10;

/// A handle that does not keep the coffer open.
pub struct WeakCoffer(Weak<Inner>);

impl WeakCoffer {
    /// The handle, unless the last one is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<Coffer> {
        self.0.upgrade().map(|inner| Coffer(inner, None))
    }
}

/// A handle on an open coffer. Clones are the same handle; the second field is the commit that one stays
/// on: see [`Coffer::pinned`].
#[derive(Clone)]
pub struct Coffer(Arc<Inner>, Option<Arc<Reader>>);

struct Inner {
    path: PathBuf,
    /// The suffix of the backups that this handle makes.
    backup: Option<String>,
    /// A handle that only reads gets another one when it is refreshed.
    reader: RwLock<Arc<Reader>>,
    status: Arc<Mutex<Status>>,
    notices: Notices,
    /// The number of reads in progress. `idle` is notified when it becomes 0.
    active: Mutex<usize>,
    idle: Condvar,
    side: Side,
}

/// The part of a handle that depends on its mode.
enum Side {
    Writes(Sender<Message>, Arc<Uploads>),
    Reads(Reads),
}

impl Coffer {
    fn of(inner: Inner) -> Self {
        Self(Arc::new(inner), None)
    }

    /// What this handle reads with.
    fn reader(&self) -> Arc<Reader> {
        self.1.clone().unwrap_or_else(|| self.0.reader())
    }

    /// Queues a change. Changes take effect in the order they are submitted. `done` is called once,
    /// on a thread of the core, when the change is accepted, or flushed where auto-flush is on.
    pub fn submit(&self, change: Change, batch: Option<u64>, done: Done) {
        let path = self.0.path.clone();
        let done: Done = Box::new(move |result| done(result.map_err(|e| e.at(&path))));
        let closing = matches!(change, Change::Close);
        // An open batch may still end; the writing thread answers if it is too late for that.
        if !closing && batch.is_none() && self.status().closed {
            return done(Err(crate::error::closed()));
        }
        let Side::Writes(sender, _) = &self.0.side else {
            if closing {
                let inner = self.0.clone();
                return pool::thread(move |started| match started {
                    Ok(()) => {
                        let catalog = inner.close_reader();
                        done(Ok(Outcome::Done));
                        drop(catalog);
                    }
                    // The coffer stays open, and can be closed later.
                    Err(e) => done(Err(e)),
                });
            }
            return done(Err(read_only()));
        };
        let task = match self.task(change) {
            Ok(task) => task,
            Err(e) => return done(Err(e)),
        };
        if closing {
            let before = std::mem::replace(&mut self.0.lock_status().closed, true);
            let inner = self.0.clone();
            let sender = sender.clone();
            return pool::thread(move |started| match started {
                Ok(()) => {
                    inner.wait_until_idle();
                    send(&sender, task, None, done);
                }
                Err(e) => {
                    // The coffer stays open, and can be closed later.
                    inner.lock_status().closed = before;
                    done(Err(e));
                }
            });
        }
        send(sender, task, batch, done);
    }

    fn task(&self, change: Change) -> Result<Task> {
        let named = |name: &str| crate::format::name::check(name).map(str::to_owned);
        Ok(match change {
            Change::Write { name, data, mode, mtime } => {
                let given = Given { mode, mtime, exclusive: false };
                self.write(named(&name)?, data, given)
            }
            Change::WriteMany { members } => self.write_many(members),
            Change::Append { name, data } => {
                let given = Given::default();
                Task::Edit(Edit::Write { name: named(&name)?, data, append: true, given })
            }
            Change::Upload { name, upload, existing, mode, mtime } => {
                let name = named(&name)?;
                let append = existing == Existing::Extend;
                let given = Given { mode, mtime, exclusive: existing == Existing::Keep };
                match upload.in_memory()? {
                    Some(data) if append => Task::Edit(Edit::Write { name, data, append, given }),
                    Some(data) => self.write(name, data, given),
                    None => Task::Edit(Edit::Upload { name, upload, append, given }),
                }
            }
            Change::Directory { name, mode, mtime } => {
                let given = Given { mode, mtime, exclusive: false };
                Task::Edit(Edit::Directory { name: named(&name)?, given })
            }
            Change::Add { source, name, replace, symlinks, watch } => {
                let backup = self.0.backup.clone();
                let request = add::Request { source, name, replace, symlinks, backup, watch };
                Task::Edit(Edit::Bulk(Box::new(move |container| add::add(container, &request))))
            }
            Change::Update { delete, add, watch } => {
                let update = add::Update { delete, add, watch };
                Task::Edit(Edit::Bulk(Box::new(move |container| add::update(container, update))))
            }
            Change::Delete { name, recursive } => {
                Task::Edit(Edit::Delete { name: named(&name)?, recursive })
            }
            Change::Flush { force } => Task::Flush { force },
            Change::Compact { watch } => Task::Compact { watch },
            Change::Rekey { to, watch } => {
                let verify =
                    |reader: &Reader, watch: &CallObserver| verify::verify(reader, watch).map(drop);
                Task::Rekey { to, watch, verify }
            }
            Change::Begin => Task::Begin,
            Change::End { commit } => Task::End { commit },
            Change::Close => Task::Close,
        })
    }

    fn write(&self, name: String, data: Data, given: Given) -> Task {
        let size = data.size() as u64;
        // An idle writer thread encodes a tiny member sooner than a thread of the pool would wake up.
        let idle = matches!(&self.0.side, Side::Writes(queue, _) if queue.is_empty());
        if size > SMALL || size <= TINY && idle {
            return Task::Edit(Edit::Write { name, data, append: false, given });
        }
        let source = self.0.reader().view.read().source.clone();
        let sealing = source.clone();
        let stored = pool::start(move || {
            let mut bytes = vec![0; data.size()];
            data.copy_to(0, &mut bytes)?;
            sealing.layers.encode_member(&bytes).map(Buffer::into_vec)
        });
        Task::Edit(Edit::Small { name, size, given, stored, source })
    }

    fn write_many(&self, members: PackedMembers) -> Task {
        let source = self.0.reader().view.read().source.clone();
        let sealing = source.clone();
        let encoded = pool::start(move || members.encode(&sealing.layers));
        Task::Edit(Edit::Many { encoded, source })
    }

    /// An upload: it takes the bytes of a member in parts, blocks no other change meanwhile, and
    /// becomes a member with [`Change::Upload`]. On a read-only coffer, or for an invalid name,
    /// every write to it fails with that error.
    #[must_use]
    pub fn upload(&self, name: &str) -> Upload {
        let upload = crate::format::name::check(name).and_then(|_| match &self.0.side {
            Side::Writes(_, uploads) => {
                let layers = self.0.reader().view.read().source.layers.clone();
                Ok(uploads.upload(layers))
            }
            Side::Reads(_) => Err(read_only()),
        });
        upload.unwrap_or_else(|e| Upload::refused(e.at(&self.0.path)))
    }

    /// Makes a change and waits for it. Not for a thread of the pool.
    ///
    /// # Errors
    /// Whatever the change's error is.
    pub fn change(&self, change: Change) -> Result<Outcome> {
        let (sender, receiver) = crossbeam_channel::bounded(1);
        self.submit(change, None, Box::new(move |result| drop(sender.send(result))));
        receiver.recv().unwrap_or_else(|_| Err(crate::error::closed()))
    }

    /// Flushes, closes and waits for it. Not for a thread of the pool.
    ///
    /// # Errors
    /// Whatever kept the last changes from being flushed.
    pub fn close(&self) -> Result<()> {
        self.change(Change::Close).map(|_| ())
    }

    /// Whether the coffer is closed or modified, and its newest commit. Never waits for the disk.
    #[must_use]
    pub fn status(&self) -> Status {
        *self.0.lock_status()
    }

    /// The notices of opening, about damage that was corrected or skipped, and those since, in order.
    #[must_use]
    pub fn notices(&self) -> Vec<Notice> {
        self.0.notices.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A handle that does not keep the coffer open.
    #[must_use]
    pub fn downgrade(&self) -> WeakCoffer {
        WeakCoffer(Arc::downgrade(&self.0))
    }

    /// Releases the coffer as if its last handle were dropped, though there are others: for an owner
    /// that ends without dropping them. Queued changes are made, changes without a commit are lost, and
    /// the locks are released. Never waits.
    pub fn abandon(&self) {
        self.0.lock_status().closed = true;
        match &self.0.side {
            Side::Writes(sender, _) => {
                send(sender, Task::Abandon, None, Box::new(|_| ()));
            }
            Side::Reads(_) => drop(self.0.let_go()),
        }
    }

    /// The coffer's absolute path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Runs a query, which is any of the calls that read, on the pool. Closing waits for the queries
    /// that began before it.
    pub fn ask<T: 'static>(
        &self,
        query: impl FnOnce(&Self) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.ask_on(|job| pool::spawn(move || job(Ok(()))), query, answer);
    }

    /// As [`Self::ask`], on a thread of its own: for a query that waits for the pool.
    pub fn ask_apart<T: 'static>(
        &self,
        query: impl FnOnce(&Self) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        self.ask_on(pool::thread, query, answer);
    }

    fn ask_on<T: 'static>(
        &self,
        run: impl FnOnce(Box<dyn FnOnce(Result<()>) + Send>),
        query: impl FnOnce(&Self) -> Result<T> + Send + 'static,
        answer: impl FnOnce(Result<T>) + Send + 'static,
    ) {
        if self.status().closed {
            return answer(Err(crate::error::closed().at(&self.0.path)));
        }
        let coffer = self.clone();
        let reading = Reading::begin(self.0.clone());
        run(Box::new(move |started| {
            answer(reading.and_then(|_reading| started.and_then(|()| query(&coffer))));
        }));
    }

    /// The file, for tests of what is kept of it.
    #[cfg(test)]
    pub(crate) fn source(&self) -> Arc<crate::engine::file::ArchiveFile> {
        self.reader().view.read().source.clone()
    }

    fn reading<T>(&self, read: impl FnOnce(&Reader) -> Result<T>) -> Result<T> {
        let _reading = Reading::begin(self.0.clone())?;
        read(&self.reader()).map_err(|e| e.at(&self.0.path))
    }
}

/// A read in progress: closing waits until it is dropped.
struct Reading(Arc<Inner>);

impl Reading {
    fn begin(inner: Arc<Inner>) -> Result<Self> {
        let mut active = inner.active.lock().unwrap_or_else(PoisonError::into_inner);
        // While other reads are in progress, closing still waits, so this one may begin.
        if *active == 0 && inner.lock_status().closed {
            return Err(crate::error::closed().at(&inner.path));
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

fn read_only() -> Error {
    let refused = "the coffer was opened with mode 'r': open it with 'r+' to change it";
    Error::new(Code::ReadOnly, refused)
}

/// Sends a change to the writing thread. If that has ended, the change is answered all the same.
fn send(sender: &Sender<Message>, task: Task, batch: Option<u64>, done: Done) {
    let answer = Answer::new(done, &task);
    drop(sender.send(Message { task, batch, answer }));
}

impl Inner {
    fn lock_status(&self) -> std::sync::MutexGuard<'_, Status> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Arc<Reader> {
        self.reader.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait_until_idle(&self) {
        let mut active = self.active.lock().unwrap_or_else(PoisonError::into_inner);
        while *active > 0 {
            active = self.idle.wait(active).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn close_reader(&self) -> Option<Catalog> {
        self.lock_status().closed = true;
        self.wait_until_idle();
        self.let_go()
    }

    fn let_go(&self) -> Option<Catalog> {
        let Side::Reads(reads) = &self.side else { return None };
        reads.release(&self.path);
        Some(self.reader().view.close(&self.path))
    }
}
