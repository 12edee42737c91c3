//! PyCoffer's lock file, `<coffer>.lock`.
//!
//! PyCoffer locks it, so that PyCoffer and Coffer exclude each other. PyCoffer, or the `filelock`
//! package below it, may remove that file after releasing it, and a process that waited for the
//! removed file then holds a lock that no other process can see. That race cannot be closed from
//! outside, only noticed: the inode is compared after locking and may be compared again, with
//! [`LockFile::intact`], before anything that matters. Coffer never removes the file. The lock on
//! the coffer's own inode ([`lock_inode`](crate::io::file_lock::lock_inode)) holds among Coffer's own handles in any case.
//!
//! All locks are `flock` locks: they belong to the open file, so two handles in one process
//! exclude each other too, and the system releases them when a process dies.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::error::{Code, Error, Result};
use crate::io::file_lock::{locked, try_lock, until};
use crate::io::storage::{self, FileLock, Share};

/// A held lock on PyCoffer's lock file, `<coffer>.lock`. Released when dropped.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Locks the lock file of `coffer`, creating it if need be. It has the coffer's owner, group and
    /// permissions: a user who may not open the coffer may not hold its lock either. At least one
    /// attempt is made, even after the deadline.
    ///
    /// Returns `None` to a reader who may not open the lock file, or for whom there is none and who
    /// may not create one: it has the lock on the coffer's inode alone.
    ///
    /// # Errors
    ///
    /// - [`Code::Locked`] if the lock could not be had until `deadline`;
    /// - [`Code::Aborted`] if `cancel` returned true meanwhile;
    /// - [`Code::NotFound`] if the coffer's directory does not exist;
    /// - [`Code::Io`] if the lock file cannot be created, opened or locked.
    pub(crate) fn acquire(
        coffer: &Path,
        share: Share,
        deadline: Instant,
        cancel: &dyn Fn() -> bool,
    ) -> Result<Option<Self>> {
        let path = lock_path(coffer);
        let attempt = || match open(&path, coffer, share)? {
            Some(file) => Ok(Self::hold(file, &path, share)?.map(Some)),
            None => Ok(Some(None)),
        };
        until(deadline, cancel, attempt)?.ok_or_else(|| locked(coffer, &path, share))
    }

    /// One attempt to lock `file`, which was opened at `path`. A lock on a file that has been removed
    /// since guards nothing, so it is none.
    fn hold(file: File, path: &Path, share: Share) -> Result<Option<Self>> {
        if !try_lock(&file, path, share)? {
            return Ok(None);
        }
        let path = path.to_path_buf();
        let lock = Self { file, path };
        Ok(lock.intact().then_some(lock))
    }

    /// Whether the file that is locked is still the one at its path. If not, others may hold a
    /// lock of the same name.
    #[must_use]
    pub(crate) fn intact(&self) -> bool {
        self.file.is_at(&self.path)
    }
}

/// How the name of a lock file ends.
pub(crate) const SUFFIX: &str = ".lock";

pub(crate) fn lock_path(coffer: &Path) -> PathBuf {
    let mut path = OsString::from(coffer);
    path.push(SUFFIX);
    path.into()
}

/// How often a lock file that vanishes between two looks is opened.
const ATTEMPTS: usize = 16;

const NO_ACCESS: &str = "the users who may open the coffer must be able to open its lock file: give it the coffer's owner, \
    group and permissions";

/// Opens the lock file, with as much as is allowed. `None` to a reader if it may not be opened, or if
/// there is none and none can be created.
fn open(path: &Path, coffer: &Path, share: Share) -> Result<Option<File>> {
    let failed = |error: io::Error| Err(Error::io("open", path, &error));
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // In a directory that others may write to, neither follow their links nor wait on their
        // pipes. `filelock` opens it the same way.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
        options.mode(0o600);
    }
    #[cfg(windows)]
    {
        use std::os::windows::fs::OpenOptionsExt;
        // Others may read and write it, which a lock needs, but not remove it.
        const FILE_SHARE_READ: u32 = 1;
        const FILE_SHARE_WRITE: u32 = 2;
        options.share_mode(FILE_SHARE_READ | FILE_SHARE_WRITE);
    }
    let mut writing = options.clone();
    writing.write(true);
    let mut creating = writing.clone();
    creating.create_new(true);
    for _ in 0..ATTEMPTS {
        // Not with O_CREAT: in a sticky directory the system refuses that on a file of another user.
        match writing.open(path) {
            Ok(file) => {
                permit_as(&file, coffer, false);
                return Ok(Some(file));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) if is_permission(&e) => match options.open(path) {
                Ok(file) => return Ok(Some(file)),
                Err(again) if again.kind() == io::ErrorKind::NotFound => {}
                // It has the lock on the coffer's inode, if it may open that.
                Err(_) if cfg!(unix) && share == Share::Shared => return Ok(None),
                Err(_) => return failed(crate::io::disk::advised(e, NO_ACCESS)),
            },
            Err(e) => return failed(e),
        }
        match creating.open(path) {
            Ok(file) => {
                permit_as(&file, coffer, true);
                return Ok(Some(file));
            }
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let directory = storage::directory(path).display();
                let message = format!("there is no directory {directory}: create it first");
                return Err(Error::new(Code::NotFound, message).at(path));
            }
            Err(e) if is_permission(&e) && share == Share::Shared => return Ok(None),
            Err(e) => return failed(e),
        }
    }
    failed(io::ErrorKind::AlreadyExists.into())
}

/// Gives the lock file the coffer's owner, group and permissions, as far as the system allows. A
/// coffer that is not there yet will be for its owner alone, as a lock file that was just `made` is.
///
/// One that was there already may be a file of another user that was put there on purpose: it is left
/// alone unless it is this user's or the coffer's owner's, empty, and has no other name.
#[cfg(unix)]
fn permit_as(lock: &File, coffer: &Path, made: bool) {
    use rustix::fs::{Mode, fchmod, fchown};
    use rustix::process::{Gid, Uid};
    use std::os::unix::fs::MetadataExt;
    // PyCoffer opens it for writing, also to read the coffer.
    const OWNER: u32 = 0o600;
    const GROUP: u32 = 0o070;
    const OTHERS_READ: u32 = 0o044;
    let (Ok(about), Ok(coffer)) = (lock.metadata(), std::fs::metadata(coffer)) else { return };
    let mut mode = coffer.mode() & 0o666 | OWNER;
    let another = about.uid() != coffer.uid();
    let foreign = another && about.uid() != rustix::process::geteuid().as_raw();
    let strange = !about.is_file() || about.nlink() != 1 || about.len() > 0;
    if !coffer.is_file() || !made && (foreign || strange) {
        return;
    }
    let (uid, gid) = (Uid::from_raw(coffer.uid()), Gid::from_raw(coffer.gid()));
    let kept = another && fchown(lock, Some(uid), None).is_err();
    if about.gid() != coffer.gid() && fchown(lock, None, Some(gid)).is_err() {
        mode &= !GROUP;
    }
    if kept {
        // The owner of the coffer must not be shut out.
        mode |= OTHERS_READ;
    }
    if about.mode() & 0o777 != mode {
        let _ = fchmod(lock, Mode::from_raw_mode(mode as rustix::fs::RawMode));
    }
}

/// On this system a new file inherits its permissions from its directory.
#[cfg(not(unix))]
fn permit_as(_lock: &File, _coffer: &Path, _made: bool) {}

fn is_permission(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

#[cfg(test)]
mod tests;
