//! `flock` locks on open files, and waiting for one.

use std::fs::File;
use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use fs4::{FileExt, TryLockError};

use crate::error::{Code, Error, Result};
use crate::io::disk::{advised, is_unsupported};
use crate::io::storage::{FileLock, Share};

/// How long to wait between two attempts, at first and at most: `flock` has no timeout of its own.
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(8);

const NO_LOCKS: &str = "this file system may have no file locks (flock): keep the coffer on one that has them, or, if \
    nothing else ever opens it at the same time, take none (lock: 'none')";

impl FileLock for File {
    /// Makes the attempt again when a signal interrupts it.
    fn try_acquire(&self, share: Share) -> io::Result<bool> {
        loop {
            // Named in full: the standard library's methods of these names would win.
            let result = match share {
                Share::Shared => FileExt::try_lock_shared(self),
                Share::Exclusive => FileExt::try_lock(self),
            };
            match result {
                Ok(()) => return Ok(true),
                Err(TryLockError::WouldBlock) => return Ok(false),
                Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(TryLockError::Error(e)) => return Err(e),
            }
        }
    }

    fn release(&self) -> io::Result<()> {
        FileExt::unlock(self)
    }

    fn is_at(&self, path: &Path) -> bool {
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            match (self.metadata(), std::fs::metadata(path)) {
                (Ok(ours), Ok(theirs)) => {
                    ours.nlink() > 0 && (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
                }
                _ => false,
            }
        }
        #[cfg(not(unix))]
        {
            let _ = path;
            true
        }
    }
}

/// One attempt to lock the file at `path`; `false` if another handle holds the lock.
pub(crate) fn try_lock(lock: &dyn FileLock, path: &Path, share: Share) -> Result<bool> {
    lock.try_acquire(share).map_err(|error| {
        let error = if is_unsupported(&error) { advised(error, NO_LOCKS) } else { error };
        Error::io("flock", path, &error)
    })
}

/// Locks the inode of the coffer at `path`, until its file is closed. On systems where such a lock
/// would keep others from reading, nothing is done.
///
/// # Errors
///
/// - [`Code::Locked`] if the lock could not be taken until `deadline`;
/// - [`Code::Aborted`] if `cancel` returned true meanwhile;
/// - [`Code::Io`] if the file cannot be locked at all.
pub(crate) fn lock_inode(
    lock: &dyn FileLock,
    path: &Path,
    share: Share,
    deadline: Instant,
    cancel: &dyn Fn() -> bool,
) -> Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let attempt = || Ok(try_lock(lock, path, share)?.then_some(()));
    until(deadline, cancel, attempt)?.ok_or_else(|| locked(path, path, share))
}

/// Repeats `attempt` until it returns something or the deadline has passed (`None`).
pub(crate) fn until<T>(
    deadline: Instant,
    cancel: &dyn Fn() -> bool,
    mut attempt: impl FnMut() -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut pause = PAUSE;
    loop {
        if cancel() {
            let message = "cancelled while waiting for the lock";
            return Err(Error::new(Code::Aborted, message));
        }
        if let Some(done) = attempt()? {
            return Ok(Some(done));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        thread::sleep(left.min(pause));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// The error of a lock that another handle holds on `held`, which guards `coffer`.
pub(crate) fn locked(coffer: &Path, held: &Path, share: Share) -> Error {
    let (coffer_name, held) = (coffer.display(), held.display());
    let by = match share {
        Share::Shared => "a writer",
        Share::Exclusive => "another reader or writer",
    };
    let message = format!(
        "{coffer_name} is locked: {by} holds {held}; close the coffer there, or wait longer with lockTimeout"
    );
    Error::new(Code::Locked, message).at(coffer)
}
