//! The locks of one handle: PyCoffer's lock file, and a lock on the coffer's own inode.
//!
//! PyCoffer unlinks its lock file after releasing it, a race that cannot be closed from outside. So
//! both are checked again before each commit and each rename: a handle that finds another file at
//! the path stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::error::{Code, Error, Result};
use crate::io::disk::failed_to_open;
use crate::io::file_lock::lock_inode;
use crate::io::lock_file::LockFile;
use crate::io::storage::{Namespace, ReadAt, Share, WriteAt};
use crate::progress::Cancel;

/// Which handles take locks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LockMode {
    /// Readers share, a writer excludes.
    #[default]
    ReadWrite,
    /// Only writers take locks: readers may look while one writes.
    Write,
    /// No handle takes locks.
    None,
}

/// How long to wait for a lock, and what cancels the wait.
#[derive(Clone)]
pub(crate) struct Patience {
    pub(crate) deadline: Instant,
    pub(crate) cancel: Cancel,
}

/// The locks of one handle, released when dropped.
pub(crate) struct Locks {
    path: PathBuf,
    share: Share,
    held: bool,
    file: Option<LockFile>,
    patience: Patience,
}

impl Locks {
    /// No locks at all, for a file that no other process can find.
    pub(crate) fn none(path: &Path) -> Self {
        let patience = Patience { deadline: Instant::now(), cancel: Cancel::default() };
        Self {
            path: path.to_path_buf(),
            share: Share::Exclusive,
            held: false,
            file: None,
            patience,
        }
    }

    /// Takes the lock file, where the mode asks for it.
    pub(crate) fn acquire(
        path: &Path,
        mode: LockMode,
        writes: bool,
        patience: Patience,
    ) -> Result<Self> {
        let held = match mode {
            LockMode::ReadWrite => true,
            LockMode::Write => writes,
            LockMode::None => false,
        };
        let share = if writes { Share::Exclusive } else { Share::Shared };
        let cancel = || patience.cancel.is_cancelled();
        let file =
            if held { LockFile::acquire(path, share, patience.deadline, &cancel)? } else { None };
        Ok(Self { path: path.to_path_buf(), share, held, file, patience })
    }

    /// Opens the coffer and locks its inode, which must still be the one at the path then.
    pub(crate) fn open(&self, directory: &dyn Namespace, write: bool) -> Result<Arc<dyn WriteAt>> {
        loop {
            let file = directory.open(&self.path, write).map_err(|e| match e.kind() {
                std::io::ErrorKind::NotFound => Error::new(
                    Code::NotFound,
                    format!(
                        "there is no coffer at {}: open it with 'a', 'w' or 'x' to make one",
                        self.path.display()
                    ),
                )
                .at(&self.path),
                _ => failed_to_open(&self.path, &e),
            })?;
            self.take(&*file)?;
            if !self.held || file.lock().is_none_or(|lock| lock.is_at(&self.path)) {
                return Ok(file);
            }
        }
    }

    /// Locks the inode of a file that is, or is about to be, the coffer.
    pub(crate) fn take(&self, storage: &dyn ReadAt) -> Result<()> {
        let Some(lock) = storage.lock().filter(|_| self.held) else { return Ok(()) };
        let cancel = || self.patience.cancel.is_cancelled();
        lock_inode(lock, &self.path, self.share, self.patience.deadline, &cancel)
    }

    /// Whether locks are held at all.
    pub(crate) fn held(&self) -> bool {
        self.held
    }

    /// Drops the caller's cancellation: its call to open the coffer has returned.
    pub(crate) fn forget_caller(&mut self) {
        self.patience.cancel = Cancel::default();
    }

    /// Releases the lock file and the lock on `storage`, even while `storage` is still read from.
    pub(crate) fn release(&mut self, storage: &dyn ReadAt) {
        self.file = None;
        if let Some(lock) = storage.lock().filter(|_| self.held) {
            // Closing the file releases it anyway.
            let _ = lock.release();
        }
        self.held = false;
    }

    /// Fails if another lock file or another coffer is at the path.
    pub(crate) fn check(&self, storage: &dyn ReadAt) -> Result<()> {
        let Some(what) = self.lost(storage) else { return Ok(()) };
        Err(Error::new(
            Code::Poisoned,
            format!(
                "{what} of {} was replaced while it was held: another process may be writing",
                self.path.display()
            ),
        )
        .at(&self.path))
    }

    /// Which file was replaced at its path: the lock file, or the coffer.
    pub(crate) fn lost(&self, storage: &dyn ReadAt) -> Option<&'static str> {
        if !self.held {
            return None;
        }
        if self.file.as_ref().is_some_and(|file| !file.intact()) {
            return Some("the lock file");
        }
        storage.lock().filter(|lock| !lock.is_at(&self.path)).map(|_| "the file")
    }
}
