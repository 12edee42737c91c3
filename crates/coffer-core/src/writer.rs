//! The thread that writes: it takes changes in the order they were asked for, and lets those that
//! come together share a commit.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, TryRecvError};

use crate::catalog::{Entry, Place, Placed};
use crate::coffer::{CommitId, Data, Outcome, Status};
use crate::container::{Ancestry, Attributes, Container, Raw, SMALL};
use crate::error::{Code, Error, Result};
use crate::ingest::{self, Added};
use crate::locks::Locks;
use crate::read::no_member;
use crate::secret::NewSecret;
use crate::source::{Found, Source};
use crate::spool::SpoolDir;
use crate::storage::DiskFile;
use crate::watch::Watch;

/// Told once what came of a change.
pub(crate) type Done = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// How many changes share a commit at most.
const GROUP: usize = 1024;
/// The mode of a file that no file was the source of.
const NEW_FILE: u32 = 0o644;

/// What is to be done.
pub(crate) enum Task {
    Small {
        name: String,
        size: u64,
        given: Given,
        stored: Receiver<Result<Vec<u8>>>,
        /// Whose member layer `stored` comes from.
        source: Arc<Source>,
    },
    Large {
        name: String,
        data: Data,
        given: Given,
    },
    Append {
        name: String,
        data: Data,
    },
    Add(ingest::Request),
    Update(ingest::Update),
    Delete {
        name: String,
        recursive: bool,
    },
    Flush {
        force: bool,
    },
    Compact {
        watch: Watch,
    },
    Rekey {
        to: NewSecret,
        watch: Watch,
    },
    Begin,
    End {
        commit: bool,
    },
    Close,
}

/// Attributes that a caller may give.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Option<(i64, u32)>,
}

/// A task on its way to the thread.
pub(crate) struct Message {
    pub(crate) task: Task,
    pub(crate) batch: Option<u64>,
    pub(crate) done: Done,
}

/// A legacy coffer that no flush has rewritten yet.
pub(crate) struct Spooled {
    pub(crate) original: Arc<DiskFile>,
    pub(crate) _dir: SpoolDir,
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) container: Container,
    pub(crate) locks: Locks,
    pub(crate) path: PathBuf,
    pub(crate) auto_flush: bool,
    /// Where the coffer is copied before its first change.
    pub(crate) backup: Option<PathBuf>,
    pub(crate) legacy: Option<Spooled>,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) receiver: Receiver<Message>,
    pub(crate) state: State,
}

/// What is under way.
#[derive(Default)]
pub(crate) struct State {
    /// Changes that wait for the commit they share.
    group: Vec<(Done, Outcome)>,
    batch: Option<u64>,
    batches: u64,
    /// What waits for the batch to end.
    deferred: VecDeque<Message>,
}

impl Writer {
    /// Works until the coffer is closed, or nobody has a handle any more.
    pub(crate) fn run(mut self) {
        while let Some(message) = self.next() {
            if let Some(done) = self.take(message) {
                let (receiver, status) = (self.receiver.clone(), self.status.clone());
                let waiting = std::mem::take(&mut self.state.deferred);
                let result = self.close();
                status.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
                done(result.map(|()| Outcome::Done));
                // Whatever is sent from here on is answered by the sender.
                for message in waiting.into_iter().chain(receiver.try_iter()) {
                    match message.task {
                        Task::Close => (message.done)(Ok(Outcome::Done)),
                        _ => (message.done)(Err(closed())),
                    }
                }
                return;
            }
            self.publish();
        }
        self.commit_group();
        self.container.abandon();
        self.locks.release(&*self.container.source.storage);
    }

    /// The next message; while none is there, what waits is committed.
    fn next(&mut self) -> Option<Message> {
        if self.state.batch.is_none()
            && let Some(message) = self.state.deferred.pop_front()
        {
            return Some(message);
        }
        if self.state.group.len() < GROUP {
            match self.receiver.try_recv() {
                Ok(message) => return Some(message),
                Err(TryRecvError::Disconnected) => return None,
                Err(TryRecvError::Empty) => {}
            }
        }
        self.commit_group();
        self.publish();
        self.receiver.recv().ok()
    }

    /// Does what a message asks, or puts it aside while somebody else's batch is open. Gives the
    /// one to tell when the coffer is to be closed.
    fn take(&mut self, message: Message) -> Option<Done> {
        match (self.state.batch, message.batch) {
            (Some(open), Some(asked)) if open == asked => {}
            (None, None) => {}
            (Some(_), None) => {
                self.state.deferred.push_back(message);
                return None;
            }
            (_, Some(_)) => {
                let ended = Error::new(
                    Code::InvalidArg,
                    "the batch has ended: its object is of no use any more",
                );
                (message.done)(Err(ended));
                return None;
            }
        }
        let Message { task, done, .. } = message;
        match task {
            Task::Close => return Some(done),
            Task::Flush { force } => {
                self.commit_group();
                let result = if self.state.batch.is_some() {
                    Err(Error::new(
                        Code::InvalidArg,
                        "a batch is committed when it ends, not before",
                    ))
                } else {
                    self.before_change().and_then(|()| self.commit(force))
                };
                self.tell(done, result.map(|()| Outcome::Done));
            }
            Task::Compact { watch } => {
                self.commit_group();
                let result = self.compact(&watch).map(|()| Outcome::Done);
                self.tell(done, result);
            }
            Task::Rekey { to, watch } => {
                self.commit_group();
                let result = self.rekey(&to, &watch).map(|()| Outcome::Done);
                self.tell(done, result);
            }
            Task::Begin => {
                self.commit_group();
                let result = self.begin();
                self.tell(done, result);
            }
            Task::End { commit } => {
                let result = self.end(commit);
                self.tell(done, result);
            }
            change => self.change(change, done),
        }
        None
    }

    fn change(&mut self, task: Task, done: Done) {
        let alone = self.state.batch.is_none() && self.auto_flush;
        if alone && self.state.group.is_empty() {
            // The changes that share a commit share its fate.
            if let Err(e) = self.before_change().and_then(|()| self.container.begin()) {
                return self.tell(done, Err(e));
            }
        }
        let result = self.before_change().and_then(|()| self.apply(task));
        match result {
            Ok(outcome) if alone => self.state.group.push((done, outcome)),
            Ok(outcome) => self.tell(done, Ok(outcome)),
            Err(e) if alone => {
                if self.state.group.is_empty() {
                    self.container.rollback();
                } else if matches!(e.code(), Code::Io | Code::Poisoned) {
                    self.fail_group(&e);
                }
                self.tell(done, Err(e));
            }
            Err(e) => self.tell(done, Err(e)),
        }
    }

    /// Answers, when everybody can see what the answer is about.
    fn tell(&self, done: Done, result: Result<Outcome>) {
        self.publish();
        done(result);
    }

    fn apply(&mut self, task: Task) -> Result<Outcome> {
        match task {
            Task::Small { name, size, given, stored, source } => {
                let mut stored = stored
                    .recv()
                    .unwrap_or_else(|_| Err(Error::new(Code::Limit, "a worker thread failed")))?;
                let layers = &self.container.source.layers;
                if !layers.seals_members_as(&source.layers) {
                    // It was sealed while the coffer still had its old keys.
                    stored = layers.transcode_member(&source.layers, &stored, size)?;
                }
                let attributes = self.attributes(&name, given);
                self.container.put_small(&name, false, size, attributes, stored)?;
            }
            Task::Large { name, data, given } => {
                let attributes = self.attributes(&name, given);
                self.put(&name, attributes, &[], Vec::new(), &data)?;
            }
            Task::Append { name, data } => self.append(&name, &data)?,
            Task::Add(request) => {
                return self.undivided(|container| ingest::add(container, &request));
            }
            Task::Update(update) => {
                return self.undivided(|container| ingest::update(container, update));
            }
            Task::Delete { name, recursive } => self.delete(&name, recursive)?,
            Task::Flush { .. }
            | Task::Compact { .. }
            | Task::Rekey { .. }
            | Task::Begin
            | Task::End { .. }
            | Task::Close => {}
        }
        Ok(Outcome::Done)
    }

    /// Adds all of something, or leaves everything as it was.
    fn undivided(&mut self, add: impl FnOnce(&mut Container) -> Result<Added>) -> Result<Outcome> {
        self.container.begin()?;
        let added = add(&mut self.container);
        if added.is_ok() {
            self.container.keep();
        } else {
            self.container.rollback();
        }
        added.map(Outcome::Added)
    }

    /// Attributes of a member that is written: given ones, else the old mode and the time now.
    fn attributes(&self, name: &str, given: Given) -> Attributes {
        let view = self.container.view.read();
        let old = view.catalog.get(name).map(|e| e.mode);
        let (mtime_s, mtime_ns) = given.mtime.unwrap_or_else(now);
        Attributes { mode: given.mode.or(old).unwrap_or(NEW_FILE), mtime_s, mtime_ns }
    }

    fn append(&mut self, name: &str, data: &Data) -> Result<()> {
        let attributes = self.attributes(name, Given::default());
        let old = {
            let view = self.container.view.read();
            match view.catalog.get(name).filter(|e| !e.directory) {
                Some(entry) => Some(Found::in_catalog(&view.catalog, entry)?),
                None => None,
            }
        };
        let Some(old) = old else { return self.put(name, attributes, &[], Vec::new(), data) };
        let source = self.container.source.clone();
        let (kept, tail) = kept(&source, &old).map_err(|e| e.of_member(name))?;
        self.put(name, attributes, &kept, tail, data)
    }

    /// Puts a member that consists of `kept` pieces, `head` and `data`.
    fn put(
        &mut self,
        name: &str,
        attributes: Attributes,
        kept: &[Placed],
        head: Vec<u8>,
        data: &Data,
    ) -> Result<()> {
        let total = head.len() as u64 + data.size() as u64;
        let layers = self.container.source.layers.clone();
        if kept.is_empty() && total <= SMALL {
            let mut raw = head;
            let before = raw.len();
            raw.resize(before + data.size(), 0);
            data.copy_to(0, raw.split_at_mut(before).1)?;
            let stored = layers.encode_member(&raw)?;
            return self.container.put_small(name, false, total, attributes, stored);
        }
        let head = Arc::new(head);
        let mut at = 0usize;
        let total = usize::try_from(total)
            .map_err(|_| Error::new(Code::Limit, "too many bytes at once"))?;
        self.container.put_large(name, attributes, kept, || {
            if at >= total {
                return Ok(None);
            }
            let range = at..(at + layers.piece).min(total);
            at = range.end;
            let (head, data) = (head.clone(), data.clone());
            let job = Box::new(move || {
                // Copied here, on a worker: the caller may change its buffer while it is read.
                let split = head.len().clamp(range.start, range.end);
                let mut bytes = head.get(range.start..split).unwrap_or_default().to_vec();
                let before = bytes.len();
                bytes.resize(range.len(), 0);
                data.copy_to(split.saturating_sub(head.len()), bytes.split_at_mut(before).1)?;
                Ok(bytes)
            });
            Ok(Some(Raw { job, last: at >= total }))
        })
    }

    fn delete(&mut self, name: &str, recursive: bool) -> Result<()> {
        let below: Vec<Arc<str>> = {
            let view = self.container.view.read();
            let below: Vec<_> = view.catalog.below(name).map(|(n, _)| n.clone()).collect();
            if below.is_empty() && view.catalog.get(name).is_none() {
                return Err(no_member(name));
            }
            below
        };
        if !below.is_empty() && !recursive {
            return Err(Error::new(
                Code::InvalidArg,
                format!(
                    "{name:?} is a directory with members in it: pass recursive to delete them"
                ),
            )
            .of_member(name));
        }
        for member in &below {
            self.container.remove(member)?;
        }
        self.container.remove(name)
    }

    fn begin(&mut self) -> Result<Outcome> {
        if self.state.batch.is_some() {
            return Err(Error::new(Code::InvalidArg, "a batch cannot begin inside a batch"));
        }
        self.before_change()?;
        self.container.begin()?;
        self.state.batches += 1;
        self.state.batch = Some(self.state.batches);
        Ok(Outcome::Batch(self.state.batches))
    }

    fn end(&mut self, commit: bool) -> Result<Outcome> {
        if self.state.batch.take().is_none() {
            return Err(Error::new(Code::InvalidArg, "no batch is open"));
        }
        if !commit {
            self.container.rollback();
            return Ok(Outcome::Done);
        }
        if self.auto_flush
            && let Err(e) = self.commit(false)
        {
            self.container.rollback();
            return Err(e);
        }
        self.container.keep();
        Ok(Outcome::Done)
    }

    /// Commits what waits, and tells everybody.
    fn commit_group(&mut self) {
        if self.state.group.is_empty() {
            return;
        }
        match self.commit(false) {
            Ok(()) => {
                self.container.keep();
                self.publish();
                for (done, outcome) in self.state.group.drain(..) {
                    done(Ok(outcome));
                }
            }
            Err(e) => self.fail_group(&e),
        }
    }

    fn fail_group(&mut self, error: &Error) {
        self.container.rollback();
        self.publish();
        for (done, _) in self.state.group.drain(..) {
            done(Err(error.clone()));
        }
    }

    /// Commits; the first commit of a legacy coffer puts a new file in its place.
    fn commit(&mut self, force: bool) -> Result<()> {
        if self.legacy.is_none() {
            return self.container.commit(force, &self.locks);
        }
        if force || self.container.modified() {
            self.convert(&Watch::silent())?;
        }
        Ok(())
    }

    fn convert(&mut self, watch: &Watch) -> Result<()> {
        let Some(original) = self.original()? else { return Ok(()) };
        self.container.gather()?;
        let ancestry = Ancestry::default();
        self.container.move_to(&self.path, &*original, &self.locks, ancestry, watch)?;
        self.legacy = None;
        Ok(())
    }

    /// The file of a legacy coffer that is still to be rewritten, if it still is the one at the
    /// path.
    fn original(&mut self) -> Result<Option<Arc<DiskFile>>> {
        let Some(spooled) = &self.legacy else { return Ok(None) };
        let original = spooled.original.clone();
        self.container.ready()?;
        if let Err(e) = self.locks.check(&*original) {
            return Err(self.container.poison(&e));
        }
        Ok(Some(original))
    }

    fn compact(&mut self, watch: &Watch) -> Result<()> {
        if self.state.batch.is_some() {
            return Err(Error::new(
                Code::InvalidArg,
                "a coffer cannot be compacted inside a batch",
            ));
        }
        self.before_change()?;
        if self.legacy.is_some() {
            return self.convert(watch);
        }
        self.container.compact(&self.path, &self.locks, watch)
    }

    fn rekey(&mut self, to: &NewSecret, watch: &Watch) -> Result<()> {
        if self.state.batch.is_some() {
            return Err(Error::new(
                Code::InvalidArg,
                "the keys of a coffer cannot be changed inside a batch",
            ));
        }
        self.before_change()?;
        let Some(original) = self.original()? else {
            return self.container.rekey(&self.path, to, &self.locks, watch);
        };
        self.container.rekey_legacy(&self.path, &*original, to, &self.locks, watch)?;
        self.legacy = None;
        Ok(())
    }

    /// Copies the coffer as it was when opened, before the first change to it.
    fn before_change(&mut self) -> Result<()> {
        self.container.ready()?;
        match self.backup.take() {
            None => Ok(()),
            Some(to) => back_up(&self.path, &to).inspect_err(|_| self.backup = Some(to.clone())),
        }
    }

    fn close(mut self) -> Result<()> {
        self.commit_group();
        if self.state.batch.take().is_some() {
            self.container.rollback();
        }
        let result = if self.container.modified() { self.commit(false) } else { Ok(()) };
        if result.is_ok() && self.legacy.is_none() && self.container.wants_compaction() {
            // The coffer is whole without it, and the next close tries again.
            let _ = self.compact(&Watch::silent());
        }
        if result.is_err() {
            self.container.abandon();
        }
        self.publish();
        self.locks.release(&*self.container.source.storage);
        if let Some(spooled) = &self.legacy {
            self.locks.release(&*spooled.original);
        }
        self.container.view.close(&self.path);
        result
    }

    /// Lets everybody see how things stand.
    fn publish(&self) {
        let committed = self.container.committed();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.modified = self.container.modified();
        status.commit = CommitId { generation: committed.generation, digest: committed.digest };
    }
}

/// The pieces of a member that stay as they are when something is appended, and the bytes behind
/// them.
fn kept(source: &Source, old: &Found) -> Result<(Vec<Placed>, Vec<u8>)> {
    let Entry { size, place, .. } = &old.entry;
    let (kept, from) = match place {
        Place::Pieces { pieces, .. } => {
            // The last piece carries the padding of the tar, so it is always made anew.
            let keep = pieces.len().saturating_sub(1);
            let kept: Vec<_> =
                pieces.iter().copied().zip(old.blocks.iter().cloned()).take(keep).collect();
            let from = kept.iter().map(|(p, _)| u64::from(p.raw)).sum();
            (kept, from)
        }
        _ => (Vec::new(), 0),
    };
    let len = usize::try_from(size - from)
        .map_err(|_| Error::new(Code::Limit, "a piece is too large"))?;
    Ok((kept, old.read(source, from, len)?))
}

/// Copies a coffer, durably, in place of an older copy.
pub(crate) fn back_up(path: &Path, to: &Path) -> Result<()> {
    let failed = |e: &std::io::Error| Error::io("copy", to, e);
    let copy = tempfile::Builder::new()
        .tempfile_in(crate::storage::directory(to))
        .map_err(|e| failed(&e))?;
    std::fs::copy(path, copy.path()).map_err(|e| failed(&e))?;
    copy.as_file().sync_all().map_err(|e| failed(&e))?;
    copy.persist(to).map_err(|e| failed(&e.error))?;
    Ok(())
}

pub(crate) fn closed() -> Error {
    Error::new(Code::Closed, "the coffer is closed: open it again")
}

fn now() -> (i64, u32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.subsec_nanos())
}
