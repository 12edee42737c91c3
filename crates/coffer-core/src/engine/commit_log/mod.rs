//! The commit log: how the tail of a coffer's file grows.
//!
//! A file is a header, and behind it blocks, commits and footers in the order in which they were
//! written. [`CommitLog`] is the only writer. It appends blocks, ends a group of them with a commit
//! and its footer, overwrites dead blocks once the commit that drops them is durable, and records in
//! a further footer that this is done. The container above it decides what is written.
//!
//! Bytes before the end of the last commit never change, except that dead blocks are overwritten.
//! After a failed sync or a lost lock the log is poisoned and refuses every change, because the state
//! of the file is unknown from then on.

mod commit;
mod resume;

use std::sync::Arc;

use crate::engine::file::ArchiveFile;
use crate::error::{Code, Error, Result};
use crate::format::commit::{MAX_AHEAD, Position};
use crate::format::footer::Footer;
use crate::io::lock_set::Locks;

/// The distance in bytes between copies of the last footer in an uncommitted tail. It bounds the
/// search for the last footer.
const FOOTER_EVERY: u64 = if cfg!(any(test, feature = "fuzzing")) { 32 << 10 } else { 64 << 20 };

/// The bytes of an uncommitted tail after which write-back is started, so that the sync at the end
/// has little left to wait for.
const WRITE_BACK_EVERY: u64 = 8 << 20;

/// The most bytes before a commit that share its sync: a hash in the commit covers them instead of a
/// sync of their own.
const MAX_PREFIX: u64 = if cfg!(any(test, feature = "fuzzing")) { 16 << 10 } else { MAX_AHEAD };

/// The log of one coffer, as its writer has it.
pub(crate) struct CommitLog {
    file: Arc<ArchiveFile>,
    /// Every commit is synced, not only those that a scrub follows.
    durable: bool,
    /// The locks under which the file is written; none for a file that has no name yet.
    locks: Option<Arc<Locks>>,
    /// The error that every further change is refused with.
    poisoned: Option<Error>,
    last: LastCommit,
    /// The offset of the next write.
    tail: u64,
    /// The offset behind the last footer or its last copy.
    last_footer: u64,
    /// The offset up to which write-back was started.
    written_back: u64,
    /// Bytes were written that no sync has covered.
    unsynced: bool,
    /// A hash of the unsynced bytes; `None` if they are more than [`MAX_PREFIX`], or not all of them
    /// were appended.
    prefix: Option<blake3::Hasher>,
    /// The length of the last snapshot, in bytes.
    snapshot_len: u64,
    /// The length of the commits after the last snapshot, in bytes.
    since_snapshot: u64,
}

/// The last commit, and what the file says of it.
struct LastCommit {
    /// Generation 0 if there is none.
    position: Position,
    /// The offset behind the commit and its footers.
    end: u64,
    /// The offset of the newest copy of the header, 0 if there is none.
    header_copy: u64,
    /// A footer says that the commit is durable and its scrub done, or nothing needs to be said.
    settled: bool,
}

/// A place in an uncommitted tail that the log can be cut back to.
#[derive(Clone, Copy)]
pub(crate) struct TailMark {
    tail: u64,
    last_footer: u64,
}

impl CommitLog {
    /// The last commit; its generation is 0 if there is none.
    pub(crate) fn committed(&self) -> Position {
        self.last.position
    }

    /// The offset of the next write: the length of the file.
    pub(crate) fn tail(&self) -> u64 {
        self.tail
    }

    /// Whether every commit is synced, not only those that a scrub follows.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable
    }

    /// The length of the last snapshot, in bytes.
    pub(crate) fn snapshot_len(&self) -> u64 {
        self.snapshot_len
    }

    /// Sets the locks that are checked before each block that is written and before each cut. Another
    /// process may have become the writer by then.
    pub(crate) fn set_locks(&mut self, locks: Option<Arc<Locks>>) {
        self.locks = locks;
    }

    /// Takes the locks out, for the log of the file that replaces this one.
    pub(crate) fn take_locks(&mut self) -> Option<Arc<Locks>> {
        self.locks.take()
    }

    /// Poisons the log unless `locks` still hold.
    pub(crate) fn check(&mut self, locks: &Locks) -> Result<()> {
        locks.check(&*self.file.storage).map_err(|e| self.poison(&e))
    }

    fn check_own_locks(&mut self) -> Result<()> {
        self.locks.clone().map_or(Ok(()), |locks| self.check(&locks))
    }

    /// Fails if the log is poisoned.
    pub(crate) fn ready(&self) -> Result<()> {
        self.poisoned.clone().map_or(Ok(()), Err)
    }

    /// Poisons the log, and gives the error that every further change is refused with.
    pub(crate) fn poison(&mut self, cause: &Error) -> Error {
        let error = Error::new(
            Code::Poisoned,
            format!(
                "the coffer cannot be written any more, close and reopen it: {}",
                cause.message()
            ),
        )
        .at(&self.file.path);
        self.poisoned.get_or_insert_with(|| error.clone());
        error
    }

    /// Prepares the append of a block: checks the locks, and writes a copy of the last footer if one
    /// is due.
    pub(crate) fn prepare_append(&mut self) -> Result<()> {
        self.check_own_locks()?;
        let distance = self.tail - self.last_footer;
        if self.last.position.generation > 0 && distance >= FOOTER_EVERY {
            self.append_footer(false)?;
        }
        Ok(())
    }

    /// Appends bytes, and gives their offset. After an error the caller cuts the tail: part of them
    /// may be in the file.
    pub(crate) fn append(&mut self, bytes: &[u8]) -> Result<u64> {
        let offset = self.tail;
        self.write(bytes, offset)?;
        self.tail += bytes.len() as u64;
        self.unsynced = true;
        let fits = |hasher: &blake3::Hasher| hasher.count() + bytes.len() as u64 <= MAX_PREFIX;
        self.prefix = self.prefix.take().filter(fits);
        if let Some(hasher) = &mut self.prefix {
            hasher.update(bytes);
        }
        self.start_write_back();
        Ok(offset)
    }

    /// Writes bytes once more that were appended since the last commit.
    pub(crate) fn rewrite(&mut self, bytes: &[u8], offset: u64) -> Result<()> {
        self.write(bytes, offset)?;
        self.prefix = None;
        Ok(())
    }

    /// The tail as it is now, for [`Self::cut_back`].
    pub(crate) fn mark(&self) -> TailMark {
        TailMark { tail: self.tail, last_footer: self.last_footer }
    }

    /// Cuts off what was appended since a mark.
    pub(crate) fn cut_back(&mut self, mark: TailMark) {
        self.tail = mark.tail;
        self.last_footer = mark.last_footer;
        self.cut();
    }

    /// Cuts off what a failed write left behind the tail. A failed cut poisons the log.
    pub(crate) fn cut(&mut self) {
        self.unsynced = true;
        self.prefix = None;
        if self.check_own_locks().is_err() {
            return;
        }
        if let Err(e) = self.file.storage.truncate(self.tail) {
            let error = Error::io("ftruncate", &self.file.path, &e);
            self.poison(&error);
        }
    }

    /// Cuts off everything behind the last commit.
    pub(crate) fn abandon(&mut self) {
        if self.poisoned.is_none() {
            self.tail = self.last.end;
            self.cut();
        }
    }

    /// Makes every write durable. A failure poisons the log: after it the system no longer says which
    /// writes have reached the disk.
    pub(crate) fn sync(&mut self) -> Result<()> {
        if let Err(e) = self.file.storage.sync() {
            let error = Error::io("fdatasync", &self.file.path, &e);
            self.poison(&error);
            return Err(error);
        }
        self.unsynced = false;
        self.prefix = Some(blake3::Hasher::new());
        Ok(())
    }

    /// Appends a footer of the last commit.
    fn append_footer(&mut self, durable: bool) -> Result<()> {
        let footer = Footer {
            archive: self.file.archive,
            commit: self.last.position,
            header_copy: self.last.header_copy,
            durable,
        };
        let mut bytes = Vec::new();
        let container = self.file.layers.container.as_deref();
        footer.write(container, &self.file.meta, self.tail, &mut bytes);
        self.append(&bytes)?;
        self.last_footer = self.tail;
        Ok(())
    }

    /// Appends a footer that says that the last commit is settled.
    fn append_settled(&mut self) -> Result<()> {
        self.append_footer(true)?;
        self.last.end = self.tail;
        self.last.settled = true;
        Ok(())
    }

    fn start_write_back(&mut self) {
        let from = self.written_back.min(self.tail);
        if self.durable && self.tail - from >= WRITE_BACK_EVERY {
            self.file.storage.write_back(from..self.tail);
            self.written_back = self.tail;
        }
    }

    fn write(&self, bytes: &[u8], offset: u64) -> Result<()> {
        let written = self.file.storage.write_at(bytes, offset);
        written.map_err(|e| Error::io("write", &self.file.path, &e))
    }

    /// Makes the next commit a snapshot.
    #[cfg(test)]
    pub(crate) fn make_snapshot_due(&mut self) {
        self.since_snapshot = u64::MAX >> 1;
        self.snapshot_len = 0;
    }
}
