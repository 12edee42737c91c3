//! The writer thread of a coffer: it takes requests in the order in which they were made, and lets
//! changes that wait together share a commit.

mod apply;
mod compaction;
mod many;
mod outcome;
mod packed;
mod rewrite;
mod scrub;
mod task;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, TryRecvError};

pub use self::outcome::{Added, Outcome, Skipped, Status};
pub use self::packed::PackedMembers;
pub(crate) use self::task::{Answer, BulkWork, Done, Edit, Given, Message, Task, Verification};
use crate::engine::container::{Compaction, Container, Damaged};
use crate::engine::open::Notices;
use crate::engine::upload::Uploads;
use crate::error::{Code, Error, Result};
use crate::format::catalog::BlockId;
use crate::format::commit::CommitId;
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;
use crate::io::spool::SpoolDir;
use crate::io::storage::WriteAt;
use crate::progress::CallObserver;

/// The most changes that share a commit.
const GROUP: usize = 1024;

/// What is at the path of the coffer when it is opened.
pub(crate) enum Origin {
    /// The file that the container writes.
    Coffer,
    /// A coffer in PyCoffer's format.
    Legacy(Spooled),
    /// A file that the first commit replaces.
    Replaces(Replacement),
}

/// The original of a legacy coffer that no flush has converted yet.
pub(crate) struct Spooled {
    pub(crate) original: Arc<dyn WriteAt>,
    /// The directory with the file that the container writes meanwhile.
    pub(crate) _dir: SpoolDir,
}

/// A coffer whose file has no name yet, and the file that it is to replace, which stays whole and
/// locked until then.
pub(crate) struct Replacement {
    /// The file that the container writes.
    pub(crate) file: NewFile,
    pub(crate) old: Arc<dyn WriteAt>,
}

/// The writer thread of one coffer.
pub(crate) struct Writer {
    pub(crate) container: Container,
    /// The container shares them until they are released.
    pub(crate) locks: Arc<Locks>,
    pub(crate) path: PathBuf,
    pub(crate) auto_flush: bool,
    /// How long, with `auto_flush`, stale blocks may stay in the file.
    pub(crate) scrub_delay: Duration,
    /// Whether a file with much dead space is compacted.
    pub(crate) auto_compact: bool,
    /// The path of the backup that the first change makes.
    pub(crate) backup: Option<PathBuf>,
    /// [`Origin::Coffer`] from the first commit on.
    pub(crate) origin: Origin,
    pub(crate) notices: Notices,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) receiver: Receiver<Message>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) state: State,
}

/// A scrub of stale packs that has begun.
struct Scrub {
    /// Those that are still to be erased.
    left: Vec<BlockId>,
    /// How many of them a part erases.
    part: usize,
}

/// The open batch, and the messages and answers that wait.
#[derive(Default)]
pub(crate) struct State {
    /// Changes that are made, and whose answers wait for the commit that they share.
    group: Vec<(Answer, Outcome)>,
    /// The token of the open batch.
    batch: Option<u64>,
    /// The number of batches that were ever begun.
    batches: u64,
    /// Messages that wait for the end of the batch.
    deferred: VecDeque<Message>,
    /// The compaction that is under way.
    compaction: Option<Compaction>,
    /// The length of the file when it last went on.
    compacted_at: u64,
    /// When a scrub of stale blocks is to begin; `None` if there are none.
    scrub_at: Option<Instant>,
    /// The length of the file when the first of them became stale.
    stale_from: u64,
    /// The scrub that has begun.
    scrubbing: Option<Scrub>,
}

impl Writer {
    /// Handles messages until the coffer is closed or its last handle is dropped.
    pub(crate) fn run(mut self) {
        while let Some(message) = self.next() {
            if matches!(message.task, Task::Abandon) {
                break;
            }
            if let Some(answer) = self.take(message) {
                let (receiver, status) = (self.receiver.clone(), self.status.clone());
                let waiting = std::mem::take(&mut self.state.deferred);
                let result = self.close();
                status.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
                answer.give(result.map(|()| Outcome::Done));
                // Dropping them answers deferred messages, and those that are sent until the queue ends.
                drop((waiting, receiver));
                return;
            }
            self.publish();
        }
        self.commit_group();
        if self.state.batch.take().is_some() {
            self.container.rollback();
        }
        self.container.abandon();
        self.state.compaction = None;
        self.auto_compact = false;
        if self.is_in_place() {
            self.scrub_all();
            self.container.note_durable(&self.locks);
        }
        self.release();
        self.uploads.close();
        self.container.view.close(&self.path);
    }

    /// The next message. If there is none yet, the changes that share a commit are committed first.
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
        loop {
            let idle = self.state.batch.is_none();
            let wait = match self.state.scrub_at {
                _ if idle
                    && (self.state.scrubbing.is_some() || self.state.compaction.is_some()) =>
                {
                    Some(Instant::now())
                }
                at => at.filter(|_| idle),
            };
            let Some(until) = wait else { return self.receiver.recv().ok() };
            match self.receiver.recv_deadline(until) {
                Ok(message) => return Some(message),
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => self.work_unasked(),
            }
        }
    }

    /// Does what is due while no message waits: a scrub, or a step of a compaction.
    fn work_unasked(&mut self) {
        if self.scrub_is_due() {
            self.scrub_part();
        } else {
            self.compact_while_idle();
        }
        self.publish();
    }

    /// Handles a message, or defers it. Gives back the answer of a request to close the coffer.
    fn take(&mut self, message: Message) -> Option<Answer> {
        let Message { task, answer, .. } = self.admit(message)?;
        let result = match task {
            Task::Close => return Some(answer),
            // The loop of the thread ends at it.
            Task::Abandon => return None,
            Task::Edit(edit) => {
                self.change(edit, answer);
                return None;
            }
            Task::End { commit } => self.end(commit),
            Task::Begin => {
                self.commit_group();
                self.begin()
            }
            Task::Flush { force } => {
                self.commit_group();
                self.flush(force)
            }
            Task::Compact { watch } => {
                self.commit_group();
                self.compact(&watch).map(|()| Outcome::Done)
            }
            Task::Rekey { to, watch, verify } => {
                self.commit_group();
                self.rekey(&to, &watch, verify).map(|()| Outcome::Done)
            }
        };
        self.tell(answer, result);
        None
    }

    /// Gives back a message that may be handled now. While a batch is open, messages outside of it are
    /// deferred; messages of a batch that has ended are refused.
    fn admit(&mut self, message: Message) -> Option<Message> {
        match (self.state.batch, message.batch) {
            (open, asked) if open == asked => Some(message),
            (_, None) => {
                self.state.deferred.push_back(message);
                None
            }
            (_, Some(_)) => {
                let ended =
                    "the batch has ended: make the change outside of it, or in another batch";
                message.answer.give(Err(Error::new(Code::BatchEnded, ended)));
                None
            }
        }
    }

    /// Makes a change. Outside of a batch, with `auto_flush`, its answer waits for the commit that it
    /// shares with the changes behind it.
    fn change(&mut self, edit: Edit, answer: Answer) {
        let alone = self.state.batch.is_none() && self.auto_flush;
        if alone && self.state.group.is_empty() {
            // If the commit fails, all changes that share it are undone.
            if let Err(e) = self.before_change().and_then(|()| self.container.begin()) {
                return self.tell(answer, Err(e));
            }
        }
        let result = self.before_change().and_then(|()| self.apply(edit));
        match result {
            Ok(outcome) if alone => self.state.group.push((answer, outcome)),
            Ok(outcome) => self.tell(answer, Ok(outcome)),
            Err(e) if alone => {
                if self.state.group.is_empty() {
                    self.container.rollback();
                } else if self.container.ready().is_err() {
                    self.fail_group(&e);
                }
                self.tell(answer, Err(e));
            }
            Err(e) => self.tell(answer, Err(e)),
        }
    }

    /// Gives an answer, after the status shows its effect.
    fn tell(&self, answer: Answer, result: Result<Outcome>) {
        self.publish();
        answer.give(result);
    }

    /// Begins a batch.
    fn begin(&mut self) -> Result<Outcome> {
        if self.state.batch.is_some() {
            return Err(Error::new(Code::InBatch, "a batch cannot begin inside a batch"));
        }
        self.before_change()?;
        self.container.begin()?;
        self.state.batches += 1;
        self.state.batch = Some(self.state.batches);
        Ok(Outcome::Batch(self.state.batches))
    }

    /// Ends the open batch, and keeps or undoes its changes.
    fn end(&mut self, commit: bool) -> Result<Outcome> {
        if self.state.batch.take().is_none() {
            return Err(Error::new(Code::BatchEnded, "no batch is open"));
        }
        if !commit {
            self.container.rollback();
            return Ok(Outcome::Done);
        }
        if self.auto_flush
            && let Err(e) = self.commit_changes()
        {
            self.container.rollback();
            return Err(e);
        }
        self.container.keep();
        Ok(Outcome::Done)
    }

    fn flush(&mut self, force: bool) -> Result<Outcome> {
        if self.state.batch.is_some() {
            return Err(Error::new(
                Code::InBatch,
                "a batch cannot be flushed: it is committed when it ends",
            ));
        }
        self.before_change()?;
        if let Origin::Replaces(_) = self.origin {
            // Also without changes: the caller wants the state that it sees.
            return self.take_place(force).map(|()| Outcome::Done);
        }
        self.commit(force)?;
        self.compact_beside_changes();
        Ok(Outcome::Done)
    }

    /// Commits the changes that share a commit, and gives their answers.
    fn commit_group(&mut self) {
        if self.state.group.is_empty() {
            return;
        }
        match self.commit_changes() {
            Ok(()) => {
                self.container.keep();
                self.publish();
                for (answer, outcome) in self.state.group.drain(..) {
                    answer.give(Ok(outcome));
                }
                self.compact_beside_changes();
            }
            Err(e) => self.fail_group(&e),
        }
    }

    /// Undoes the changes that share a commit, and answers them with an error.
    fn fail_group(&mut self, error: &Error) {
        self.container.rollback();
        self.publish();
        for (answer, _) in self.state.group.drain(..) {
            answer.give(Err(error.clone()));
        }
    }

    /// Commits, and erases what is stale. The first commit of a legacy coffer converts it, and that of a coffer which replaces a
    /// file puts it in the place of that file.
    fn commit(&mut self, force: bool) -> Result<()> {
        if !(force || self.container.modified() || self.container.has_stale()) {
            return self.container.ready();
        }
        let committed = match self.origin {
            Origin::Coffer => self.container.commit(force, &self.locks),
            Origin::Legacy(_) => self.convert(&CallObserver::silent()),
            Origin::Replaces(_) => self.take_place(force),
        };
        self.end_scrub();
        committed
    }

    /// Whether the container writes the file at the path of the coffer.
    fn is_in_place(&self) -> bool {
        matches!(self.origin, Origin::Coffer)
    }

    /// Commits, compacts if it is worth it, and gives up the locks. An open batch is undone.
    fn close(mut self) -> Result<()> {
        self.commit_group();
        if self.state.batch.take().is_some() {
            self.container.rollback();
        }
        let result = if let Origin::Replaces(_) = self.origin {
            self.take_place(false)
        } else if self.container.modified() || self.container.has_stale() {
            self.commit(false)
        } else {
            Ok(())
        };
        self.state.compaction = None;
        let wanted = self.auto_compact && self.container.wants_compaction();
        if result.is_ok() && self.is_in_place() && wanted {
            // An error is ignored: the coffer is complete without it, and the next close tries again.
            // Damage stops it, because no caller asked for a rewrite.
            let _ = self.before_change().and_then(|()| {
                let (path, locks) = (&self.path, &self.locks);
                self.container.compact(path, locks, Damaged::Refused, &CallObserver::silent())
            });
        }
        if result.is_err() {
            self.container.abandon();
        } else if self.is_in_place() {
            self.container.note_durable(&self.locks);
        }
        self.publish_time();
        self.publish();
        self.release();
        self.uploads.close();
        self.container.view.close(&self.path);
        result
    }

    /// Releases the locks, even if readers of this handle still use the file. Nothing is written after
    /// this.
    fn release(&mut self) {
        self.container.locked_by(None);
        let storage = match std::mem::replace(&mut self.origin, Origin::Coffer) {
            Origin::Coffer => self.container.source.storage.clone(),
            Origin::Legacy(spooled) => spooled.original,
            // A new file that did not get its name is removed while the locks hold.
            Origin::Replaces(Replacement { old, .. }) => old,
        };
        if let Some(locks) = Arc::get_mut(&mut self.locks) {
            locks.release(&*storage);
        }
    }

    /// Publishes the status for the threads that ask for it.
    fn publish(&self) {
        let committed = self.container.committed();
        let commit = CommitId { generation: committed.generation, digest: committed.digest };
        let known = self.status.lock().unwrap_or_else(PoisonError::into_inner).commit == commit;
        if !known {
            self.publish_time();
        }
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.modified = self.container.modified();
        status.compacting = self.state.compaction.is_some();
        status.commit = commit;
    }

    /// Publishes the time of the file at the path, without holding the status meanwhile.
    pub(crate) fn publish_time(&self) {
        let file = match &self.origin {
            Origin::Coffer => &self.container.source.storage,
            Origin::Legacy(Spooled { original, .. }) => original,
            Origin::Replaces(Replacement { old, .. }) => old,
        };
        let mtime = file.modified().ok().flatten();
        self.status.lock().unwrap_or_else(PoisonError::into_inner).mtime = mtime;
    }
}
