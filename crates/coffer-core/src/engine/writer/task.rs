//! The requests to the writer thread, and their answers.

use std::sync::Arc;

use crossbeam_channel::Receiver;

use super::outcome::{Added, Outcome};
use super::packed::EncodedMember;
use crate::engine::container::Container;
use crate::engine::credentials::NewCredentials;
use crate::engine::file::ArchiveFile;
use crate::engine::reader::Reader;
use crate::engine::upload::Upload;
use crate::error::{Result, closed};
use crate::io::data::Data;
use crate::progress::CallObserver;

/// A callback that is called once, with the result of a request.
pub(crate) type Done = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// The answer to a request, given exactly once. A request that is dropped unanswered was overtaken by
/// the end of the thread, and is answered as one to a closed coffer.
pub(crate) struct Answer {
    done: Option<Done>,
    closing: bool,
}

impl Answer {
    pub(crate) fn new(done: Done, task: &Task) -> Self {
        Self { done: Some(done), closing: matches!(task, Task::Close) }
    }

    pub(super) fn give(mut self, result: Result<Outcome>) {
        if let Some(done) = self.done.take() {
            done(result);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // After a panic the state of the coffer is unknown: no answer is better than a wrong one.
        if !std::thread::panicking()
            && let Some(done) = self.done.take()
        {
            done(if self.closing { Ok(Outcome::Done) } else { Err(closed()) });
        }
    }
}

/// A change of many members, all of which is undone if it fails.
pub(crate) type BulkWork = Box<dyn FnOnce(&mut Container) -> Result<Added> + Send>;

/// A check of a coffer; its error names every member that cannot be read.
pub(crate) type Verification = fn(&Reader, &CallObserver) -> Result<()>;

/// A request to the writer thread.
pub(crate) enum Task {
    /// Changes members.
    Edit(Edit),
    /// Commits the changes; with `force` also if there are none.
    Flush { force: bool },
    /// Rewrites the coffer without its dead blocks.
    Compact { watch: CallObserver },
    /// Rewrites the coffer under new keys.
    Rekey {
        to: NewCredentials,
        watch: CallObserver,
        /// Names the damaged members, which cannot be sealed with new keys.
        verify: Verification,
    },
    /// Begins a batch.
    Begin,
    /// Ends the batch that the request belongs to: commits its changes, or undoes them.
    End { commit: bool },
    /// Commits the changes and ends the thread.
    Close,
    /// Ends the thread after the last handle was dropped without a close. Changes that no flush
    /// has committed are lost.
    Abandon,
}

/// A change of members, which belongs to a batch or shares the next commit.
pub(crate) enum Edit {
    /// Writes a small member that the pool encodes.
    Small {
        name: String,
        size: u64,
        given: Given,
        /// The bytes after the member layer of `source`.
        stored: Receiver<Result<Vec<u8>>>,
        source: Arc<ArchiveFile>,
    },
    /// Writes small members that the pool encodes, each with its own result.
    Many {
        /// The members after the member layer of `source`, in their order.
        encoded: Receiver<Result<Vec<Result<EncodedMember>>>>,
        source: Arc<ArchiveFile>,
    },
    /// Writes a member, or appends to it, with bytes that the writer thread encodes or cuts into pieces.
    Write { name: String, data: Data, append: bool, given: Given },
    /// Writes a member, or appends to it, with the pieces of an upload.
    Upload { name: String, upload: Upload, append: bool, given: Given },
    /// Makes a directory a member.
    Directory { name: String, given: Given },
    /// Makes several changes, all or none of them.
    Bulk(BulkWork),
    /// Removes a member, and with `recursive` those below it.
    Delete { name: String, recursive: bool },
}

/// The attributes that a caller gives for a member, and a condition.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Given {
    pub(crate) mode: Option<u32>,
    /// Seconds and nanoseconds since 1970.
    pub(crate) mtime: Option<(i64, u32)>,
    /// The write fails if the member exists.
    pub(crate) exclusive: bool,
}

/// A request in the queue of the writer thread.
pub(crate) struct Message {
    pub(crate) task: Task,
    /// The token of the batch that the request belongs to.
    pub(crate) batch: Option<u64>,
    pub(crate) answer: Answer,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;

    /// Requests between the thread's last look at its queue and the end of the queue.
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
        // Requests after the end of the queue.
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
