//! The thread that writes: it takes changes in the order they were asked for, and lets those that
//! come together share a commit.

mod apply;
mod outcome;

use crate::error::closed;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::{Receiver, TryRecvError};

pub use self::outcome::{Added, Outcome, Skipped, Status};
use crate::engine::container::{Ancestry, Container, Damaged};
use crate::engine::credentials::NewCredentials;
use crate::engine::file::ArchiveFile;
use crate::engine::open::{Notice, Notices};
use crate::engine::reader::Reader;
use crate::engine::upload::{Upload, Uploads};
use crate::error::{Code, Error, Result};
use crate::format::commit::CommitId;
use crate::io::data::Data;
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;
use crate::io::spool::SpoolDir;
use crate::io::storage::{Namespace, ReadAt, WriteAt};
use crate::progress::CallObserver;

/// Told once what came of a change.
pub(crate) type Done = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// The answer to a change. A change that is dropped before anything came of it has met the end of
/// the thread: it is answered like one that comes after that.
pub(crate) struct Answer {
    done: Option<Done>,
    closing: bool,
}

impl Answer {
    pub(crate) fn new(done: Done, task: &Task) -> Self {
        Self { done: Some(done), closing: matches!(task, Task::Close) }
    }

    fn give(mut self, result: Result<Outcome>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // If the thread failed, it is not known how the coffer stands.
        if !std::thread::panicking()
            && let Some(done) = self.done.take()
        {
            done(if self.closing { Ok(Outcome::Done) } else { Err(closed()) });
        }
    }
}

/// A change of many members, all of which is undone where it fails.
pub(crate) type BulkWork = Box<dyn FnOnce(&mut Container) -> Result<Added> + Send>;

/// Looks for damage: an error names every member that cannot be read.
pub(crate) type Verification = fn(&Reader, &CallObserver) -> Result<()>;

/// How many changes share a commit at most.
const GROUP: usize = 1024;

/// What is to be done.
pub(crate) enum Task {
    Small {
        name: String,
        size: u64,
        given: Given,
        stored: Receiver<Result<Vec<u8>>>,
        /// Whose member layer `stored` comes from.
        source: Arc<ArchiveFile>,
    },
    /// A small member that the writer encodes itself: it has nothing else to do, and to hand so
    /// little to another thread takes longer.
    Tiny {
        name: String,
        data: Data,
        given: Given,
    },
    Large {
        name: String,
        data: Data,
        given: Given,
    },
    Append {
        name: String,
        data: Data,
        given: Given,
    },
    Upload {
        name: String,
        upload: Upload,
        append: bool,
        given: Given,
    },
    Directory {
        name: String,
        given: Given,
    },
    Bulk(BulkWork),
    Delete {
        name: String,
        recursive: bool,
    },
    Flush {
        force: bool,
    },
    Compact {
        watch: CallObserver,
    },
    Rekey {
        to: NewCredentials,
        watch: CallObserver,
        /// Names what is damaged, where damage forbids new keys.
        verify: Verification,
    },
    Begin,
    End {
        commit: bool,
    },
    Close,
    /// Ends the thread as the last handle does that is dropped.
    Abandon,
}

/// What a caller may say of a member.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) mode: Option<u32>,
    pub(crate) mtime: Option<(i64, u32)>,
    /// There must be no member of that name yet.
    pub(crate) exclusive: bool,
}

/// A task on its way to the thread.
pub(crate) struct Message {
    pub(crate) task: Task,
    pub(crate) batch: Option<u64>,
    pub(crate) answer: Answer,
}

/// A legacy coffer that no flush has rewritten yet.
pub(crate) struct Spooled {
    pub(crate) original: Arc<dyn WriteAt>,
    pub(crate) _dir: SpoolDir,
}

/// The thread's state.
pub(crate) struct Writer {
    pub(crate) container: Container,
    /// The container has them too, until they are given back.
    pub(crate) locks: Arc<Locks>,
    pub(crate) path: PathBuf,
    pub(crate) auto_flush: bool,
    /// Where the coffer is copied before its first change.
    pub(crate) backup: Option<PathBuf>,
    pub(crate) legacy: Option<Spooled>,
    pub(crate) notices: Notices,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) receiver: Receiver<Message>,
    pub(crate) uploads: Arc<Uploads>,
    pub(crate) state: State,
}

/// What is under way.
#[derive(Default)]
pub(crate) struct State {
    /// Changes that wait for the commit they share.
    group: Vec<(Answer, Outcome)>,
    batch: Option<u64>,
    batches: u64,
    /// What waits for the batch to end.
    deferred: VecDeque<Message>,
}

impl Writer {
    /// Works until the coffer is closed, or nobody has a handle any more.
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
                // What waits, and what is sent until the channel is gone, is answered by being dropped.
                drop((waiting, receiver));
                return;
            }
            self.publish();
        }
        self.commit_group();
        self.container.abandon();
        if self.legacy.is_none() {
            self.container.note_durable(&self.locks);
        }
        self.release();
        self.uploads.close();
        self.container.view.close(&self.path);
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
    fn take(&mut self, message: Message) -> Option<Answer> {
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
                message.answer.give(Err(ended));
                return None;
            }
        }
        let Message { task, answer, .. } = message;
        match task {
            Task::Close => return Some(answer),
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
                self.tell(answer, result.map(|()| Outcome::Done));
            }
            Task::Compact { watch } => {
                self.commit_group();
                let result = self.compact(&watch).map(|()| Outcome::Done);
                self.tell(answer, result);
            }
            Task::Rekey { to, watch, verify } => {
                self.commit_group();
                let result = self.rekey(&to, &watch, verify).map(|()| Outcome::Done);
                self.tell(answer, result);
            }
            Task::Begin => {
                self.commit_group();
                let result = self.begin();
                self.tell(answer, result);
            }
            Task::End { commit } => {
                let result = self.end(commit);
                self.tell(answer, result);
            }
            change => self.change(change, answer),
        }
        None
    }

    fn change(&mut self, task: Task, answer: Answer) {
        let alone = self.state.batch.is_none() && self.auto_flush;
        if alone && self.state.group.is_empty() {
            // The changes that share a commit share its fate.
            if let Err(e) = self.before_change().and_then(|()| self.container.begin()) {
                return self.tell(answer, Err(e));
            }
        }
        let result = self.before_change().and_then(|()| self.apply(task));
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

    /// Answers, when everybody can see what the answer is about.
    fn tell(&self, answer: Answer, result: Result<Outcome>) {
        self.publish();
        answer.give(result);
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
                for (answer, outcome) in self.state.group.drain(..) {
                    answer.give(Ok(outcome));
                }
            }
            Err(e) => self.fail_group(&e),
        }
    }

    fn fail_group(&mut self, error: &Error) {
        self.container.rollback();
        self.publish();
        for (answer, _) in self.state.group.drain(..) {
            answer.give(Err(error.clone()));
        }
    }

    /// Commits; the first commit of a legacy coffer puts a new file in its place.
    fn commit(&mut self, force: bool) -> Result<()> {
        if self.legacy.is_none() {
            return self.container.commit(force, &self.locks);
        }
        if force || self.container.modified() {
            self.convert(&CallObserver::silent())?;
        }
        Ok(())
    }

    fn convert(&mut self, watch: &CallObserver) -> Result<()> {
        let Some(original) = self.original()? else { return Ok(()) };
        self.container.gather()?;
        let ancestry = Ancestry::default();
        let (path, locks) = (&self.path, &self.locks);
        // What is here could be read when it was opened; the original is still there.
        let damaged = Damaged::Refused;
        self.container.move_to(path, &*original, locks, ancestry, damaged, watch)?;
        self.legacy = None;
        self.replaced(&*original);
        Ok(())
    }

    /// The file of a legacy coffer that is still to be rewritten, if it still is the one at the
    /// path.
    fn original(&mut self) -> Result<Option<Arc<dyn WriteAt>>> {
        let Some(spooled) = &self.legacy else { return Ok(None) };
        let original = spooled.original.clone();
        self.container.ready()?;
        if let Err(e) = self.locks.check(&*original) {
            return Err(self.container.poison(&e));
        }
        Ok(Some(original))
    }

    fn compact(&mut self, watch: &CallObserver) -> Result<()> {
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
        let old = self.container.source.storage.clone();
        self.container.compact(&self.path, &self.locks, Damaged::Kept, watch)?;
        self.replaced(&*old);
        Ok(())
    }

    fn rekey(
        &mut self,
        to: &NewCredentials,
        watch: &CallObserver,
        verify: Verification,
    ) -> Result<()> {
        if self.state.batch.is_some() {
            return Err(Error::new(
                Code::InvalidArg,
                "the keys of a coffer cannot be changed inside a batch",
            ));
        }
        self.before_change()?;
        let Some(original) = self.original()? else {
            let old = self.container.source.storage.clone();
            let rekeyed = self.container.rekey(&self.path, to, &self.locks, watch);
            // An error of the disk stays what it is: it may pass.
            let corrupt = |e: &Error| e.code() == Code::Corrupt;
            rekeyed
                .map_err(|e| if corrupt(&e) { self.not_rekeyed(e, watch, verify) } else { e })?;
            self.replaced(&*old);
            return Ok(());
        };
        self.container.rekey_legacy(&self.path, &*original, to, &self.locks, watch)?;
        self.legacy = None;
        self.replaced(&*original);
        Ok(())
    }

    /// Why the keys were not changed: an error that names all members that are damaged, or the first
    /// failure if a second look finds none. The coffer is as it was.
    fn not_rekeyed(&self, first: Error, watch: &CallObserver, verify: Verification) -> Error {
        let watch = CallObserver { cancel: watch.cancel.clone(), progress: None };
        let reader = Reader::of_writer(self.container.view.clone());
        let Err(damage) = verify(&reader, &watch) else { return first };
        let message = format!(
            "the keys were not changed, because what is damaged cannot be sealed with new ones: {}. Delete the damaged members or write them again, then change the keys",
            damage.message()
        );
        damage.saying(message)
    }

    /// Notes whether the coffer changed hands when a new file took the place of `old`.
    fn replaced(&self, old: &dyn ReadAt) {
        let lost = Notice::owner(&self.path, old, &*self.container.source.storage);
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend(lost);
    }

    /// Copies the coffer as it was when opened, before the first change to it.
    fn before_change(&mut self) -> Result<()> {
        self.container.ready()?;
        match self.backup.take() {
            None => Ok(()),
            Some(to) => {
                let lost = back_up(&self.container.source.directory, &self.path, &to)
                    .inspect_err(|_| self.backup = Some(to.clone()))?;
                self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend(lost);
                Ok(())
            }
        }
    }

    fn close(mut self) -> Result<()> {
        self.commit_group();
        if self.state.batch.take().is_some() {
            self.container.rollback();
        }
        let result = if self.container.modified() { self.commit(false) } else { Ok(()) };
        if result.is_ok() && self.legacy.is_none() && self.container.wants_compaction() {
            // The coffer is whole without it, and the next close tries again. No call asked for it, so
            // what is damaged stays where it is.
            let _ = self.before_change().and_then(|()| {
                let (path, locks) = (&self.path, &self.locks);
                self.container.compact(path, locks, Damaged::Refused, &CallObserver::silent())
            });
        }
        if result.is_err() {
            self.container.abandon();
        } else if self.legacy.is_none() {
            self.container.note_durable(&self.locks);
        }
        self.publish();
        self.release();
        self.uploads.close();
        self.container.view.close(&self.path);
        result
    }

    /// Gives the locks back, even if readers of this handle still use the file. Nothing is written after
    /// this.
    fn release(&mut self) {
        self.container.locked_by(None);
        let storage = match &self.legacy {
            Some(spooled) => spooled.original.clone(),
            None => self.container.source.storage.clone(),
        };
        if let Some(locks) = Arc::get_mut(&mut self.locks) {
            locks.release(&*storage);
        }
    }

    /// Lets everybody see how things stand.
    fn publish(&self) {
        let committed = self.container.committed();
        let mut status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.modified = self.container.modified();
        status.commit = CommitId { generation: committed.generation, digest: committed.digest };
    }
}

/// Copies a coffer, durably, in place of an older copy. Tells if the copy has another owner.
pub(crate) fn back_up(
    directory: &Arc<dyn Namespace>,
    path: &Path,
    to: &Path,
) -> Result<Option<Notice>> {
    let copy = || {
        let coffer = directory.open(path, false)?;
        let copy = NewFile::create(directory, to)?;
        copy.permit_as(&*coffer)?;
        copy.storage().copy_from(&*coffer, 0..coffer.len()?, 0)?;
        let storage = copy.storage();
        copy.publish(true)?.sync()?;
        Ok(Notice::owner(to, &*coffer, &*storage))
    };
    copy().map_err(|e: std::io::Error| Error::io("copy", to, &e))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Between the last look for messages and the end of the channel.
    #[test]
    fn what_is_sent_while_the_thread_ends_is_answered() {
        let (sender, receiver) = crossbeam_channel::unbounded();
        let (told, answers) = std::sync::mpsc::channel();
        let send = |task: Task| {
            let told = told.clone();
            let done = Box::new(move |result: Result<Outcome>| told.send(result).unwrap());
            let answer = Answer::new(done, &task);
            drop(sender.send(Message { task, batch: None, answer }));
        };
        for _ in 0..2 {
            send(Task::Close);
            send(Task::Begin);
        }
        drop(receiver);
        // And after it.
        send(Task::Close);
        send(Task::Begin);
        for _ in 0..3 {
            assert!(answers.try_recv().unwrap().is_ok(), "a second close");
            assert_eq!(answers.try_recv().unwrap().unwrap_err().code(), Code::Closed);
        }
        assert!(answers.try_recv().is_err());
    }

    #[test]
    fn a_change_that_is_answered_is_not_answered_again() {
        let (told, answers) = std::sync::mpsc::channel();
        let done = Box::new(move |result: Result<Outcome>| told.send(result).unwrap());
        Answer::new(done, &Task::Begin).give(Ok(Outcome::Batch(1)));
        assert!(matches!(answers.try_recv().unwrap(), Ok(Outcome::Batch(1))));
        assert!(answers.try_recv().is_err());
    }
}
