//! Locks: PyCoffer's lock file beside the coffer, and the coffer's own inode.
//!
//! The lock file is what PyCoffer locks, so that the two exclude each other. PyCoffer, or the
//! `filelock` package below it, may remove that file after releasing it, and whoever waited for
//! the removed file then holds a lock that nobody else can see. That race cannot be closed from
//! outside, only noticed: the inode is compared after locking and may be compared again, with
//! [`LockFile::intact`], before anything that matters. Coffer never removes the file. The lock on
//! the coffer's own inode ([`lock_inode`]) holds among Coffer's own handles in any case.
//!
//! All locks are `flock` locks: they belong to the open file, so two handles in one process
//! exclude each other too, and the system releases them when a process dies.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use fs4::{FileExt, TryLockError};

use crate::error::{Code, Error, Result};
use crate::io::storage;

/// How long to wait between two attempts, at first and at most: `flock` has no timeout of its own.
const PAUSE: Duration = Duration::from_micros(200);
const LONGEST_PAUSE: Duration = Duration::from_millis(8);

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Any number of readers.
    Shared,
    /// One writer and no reader.
    Exclusive,
}

/// A held lock on PyCoffer's lock file, `<coffer>.lock`. Released when dropped.
#[derive(Debug)]
pub(crate) struct LockFile {
    file: File,
    path: PathBuf,
}

impl LockFile {
    /// Locks the lock file of `coffer`, creating it if need be. It has the coffer's owner, group and
    /// permissions: who may not open the coffer may not hold its lock either. At least one attempt is
    /// made, even after the deadline.
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
        same_inode(&self.file, &self.path)
    }
}

/// Locks the inode of the coffer at `path` through `file`, until `file` is closed. On systems
/// where such a lock would keep others from reading, nothing is done.
///
/// # Errors
///
/// - [`Code::Locked`] if the lock could not be had until `deadline`;
/// - [`Code::Aborted`] if `cancel` returned true meanwhile;
/// - [`Code::Io`] if the file cannot be locked at all.
pub(crate) fn lock_inode(
    file: &File,
    path: &Path,
    share: Share,
    deadline: Instant,
    cancel: &dyn Fn() -> bool,
) -> Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    let attempt = || Ok(try_lock(file, path, share)?.then_some(()));
    until(deadline, cancel, attempt)?.ok_or_else(|| locked(path, path, share))
}

/// Whether `file` is what `path` names now. Always true on systems without inodes, where nobody can
/// remove a lock file that is held.
#[must_use]
pub(crate) fn same_inode(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        match (file.metadata(), std::fs::metadata(path)) {
            (Ok(ours), Ok(theirs)) => {
                ours.nlink() > 0 && (ours.dev(), ours.ino()) == (theirs.dev(), theirs.ino())
            }
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = (file, path);
        true
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
const NO_LOCKS: &str = "this file system may have no file locks (flock): keep the coffer on one that has them, or, if \
    nothing else ever opens it at the same time, take none (lock: 'none')";

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

/// Here a new file inherits who may use it from its directory.
#[cfg(not(unix))]
fn permit_as(_lock: &File, _coffer: &Path, _made: bool) {}

fn is_permission(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem)
}

/// One attempt, made again when a signal interrupts it.
pub(crate) fn uninterrupted(file: &File, share: Share) -> std::result::Result<(), TryLockError> {
    loop {
        // Named in full: the standard library's methods of these names would win.
        let result = match share {
            Share::Shared => FileExt::try_lock_shared(file),
            Share::Exclusive => FileExt::try_lock(file),
        };
        match result {
            Err(TryLockError::Error(e)) if e.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

/// One attempt; `false` if somebody else has the lock.
fn try_lock(file: &File, path: &Path, share: Share) -> Result<bool> {
    let result = uninterrupted(file, share);
    match result {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) if crate::io::disk::is_unsupported(&error) => {
            Err(Error::io("flock", path, &crate::io::disk::advised(error, NO_LOCKS)))
        }
        Err(TryLockError::Error(error)) => Err(Error::io("flock", path, &error)),
    }
}

/// Repeats `attempt` until it returns something or the deadline has passed (`None`).
fn until<T>(
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::fs;

    const NEVER: &dyn Fn() -> bool = &|| false;

    fn acquire(coffer: &Path, share: Share) -> Result<Option<LockFile>> {
        LockFile::acquire(coffer, share, Instant::now(), NEVER)
    }

    fn code<T: std::fmt::Debug>(result: Result<T>) -> Code {
        result.unwrap_err().code()
    }

    fn scratch() -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let coffer = directory.path().join("vault.coffer");
        (directory, coffer)
    }

    #[test]
    fn the_lock_file_lies_beside_the_coffer_and_stays() {
        let (directory, coffer) = scratch();
        let lock = acquire(&coffer, Share::Exclusive).unwrap().unwrap();
        let beside = directory.path().join("vault.coffer.lock");
        assert!(lock.intact() && beside.exists());
        drop(lock);
        assert!(beside.exists() && !coffer.exists());
        assert_eq!(fs::metadata(beside).unwrap().len(), 0);
    }

    #[test]
    fn readers_share_and_a_writer_excludes() {
        let (_directory, coffer) = scratch();
        let one = acquire(&coffer, Share::Shared).unwrap();
        let two = acquire(&coffer, Share::Shared).unwrap();
        assert_eq!(code(acquire(&coffer, Share::Exclusive)), Code::Locked);
        drop((one, two));
        let writer = acquire(&coffer, Share::Exclusive).unwrap();
        assert_eq!(code(acquire(&coffer, Share::Exclusive)), Code::Locked);
        assert_eq!(code(acquire(&coffer, Share::Shared)), Code::Locked);
        drop(writer);
        assert!(acquire(&coffer, Share::Shared).unwrap().is_some());
    }

    #[test]
    fn the_refusal_names_the_files_and_a_remedy() {
        let (_directory, coffer) = scratch();
        let _held = acquire(&coffer, Share::Exclusive).unwrap();
        let error = acquire(&coffer, Share::Shared).unwrap_err();
        assert_eq!(error.path(), Some(coffer.as_path()));
        assert!(error.message().contains("vault.coffer.lock"), "{error}");
        assert!(error.message().contains("lockTimeout"), "{error}");
    }

    #[test]
    fn a_waiter_gets_the_lock_when_it_is_released() {
        let (_directory, coffer) = scratch();
        let held = acquire(&coffer, Share::Exclusive).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        thread::scope(|scope| {
            let waiter = scope
                .spawn(|| LockFile::acquire(&coffer, Share::Exclusive, deadline, NEVER).unwrap());
            thread::sleep(Duration::from_millis(50));
            assert!(!waiter.is_finished());
            drop(held);
            assert!(waiter.join().unwrap().unwrap().intact());
        });
        assert!(Instant::now() < deadline);
    }

    #[test]
    fn waiting_ends_at_the_deadline() {
        let (_directory, coffer) = scratch();
        let _held = acquire(&coffer, Share::Exclusive).unwrap();
        let start = Instant::now();
        let deadline = start + Duration::from_millis(60);
        let result = LockFile::acquire(&coffer, Share::Shared, deadline, NEVER);
        assert_eq!(code(result), Code::Locked);
        assert!(start.elapsed() >= Duration::from_millis(60));
    }

    #[test]
    fn waiting_ends_when_cancelled() {
        let (_directory, coffer) = scratch();
        let _held = acquire(&coffer, Share::Exclusive).unwrap();
        let asked = Cell::new(0);
        let third_time = || {
            asked.set(asked.get() + 1);
            asked.get() == 3
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        let result = LockFile::acquire(&coffer, Share::Shared, deadline, &third_time);
        assert_eq!(code(result), Code::Aborted);
        assert_eq!(asked.get(), 3);
    }

    #[test]
    fn a_missing_directory_is_not_found() {
        let (directory, _) = scratch();
        let coffer = directory.path().join("no/vault.coffer");
        assert_eq!(code(acquire(&coffer, Share::Shared)), Code::NotFound);
        assert_eq!(code(acquire(&coffer, Share::Exclusive)), Code::NotFound);
    }

    #[cfg(windows)]
    #[test]
    fn a_lock_file_cannot_be_removed_while_it_is_held() {
        let (_directory, coffer) = scratch();
        let held = acquire(&coffer, Share::Exclusive).unwrap().unwrap();
        fs::remove_file(lock_path(&coffer)).unwrap_err();
        drop(held);
        fs::remove_file(lock_path(&coffer)).unwrap();
    }

    #[cfg(unix)]
    mod unix {
        use super::*;
        use std::os::unix::fs::{PermissionsExt, symlink};

        #[test]
        fn a_removed_lock_file_is_noticed_and_its_lock_not_taken_for_one() {
            let (_directory, coffer) = scratch();
            let stale = acquire(&coffer, Share::Exclusive).unwrap().unwrap();
            fs::remove_file(lock_path(&coffer)).unwrap();
            assert!(!stale.intact());
            let fresh = acquire(&coffer, Share::Exclusive).unwrap().unwrap();
            assert!(fresh.intact() && !stale.intact());
        }

        #[test]
        fn a_lock_file_removed_between_opening_and_locking_is_not_held() {
            let (_directory, coffer) = scratch();
            let path = lock_path(&coffer);
            for replaced in [false, true] {
                let file = open(&path, &coffer, Share::Exclusive).unwrap().unwrap();
                fs::remove_file(&path).unwrap();
                if replaced {
                    fs::write(&path, b"").unwrap();
                }
                assert!(LockFile::hold(file, &path, Share::Exclusive).unwrap().is_none());
            }
        }

        #[test]
        fn a_waiter_whose_lock_file_is_removed_locks_the_one_that_counts() {
            let (_directory, coffer) = scratch();
            let held = acquire(&coffer, Share::Exclusive).unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            thread::scope(|scope| {
                let waiter = scope.spawn(|| {
                    LockFile::acquire(&coffer, Share::Exclusive, deadline, NEVER).unwrap()
                });
                thread::sleep(Duration::from_millis(30));
                fs::remove_file(lock_path(&coffer)).unwrap();
                drop(held);
                let lock = waiter.join().unwrap().unwrap();
                assert!(lock.intact());
                assert_eq!(code(acquire(&coffer, Share::Shared)), Code::Locked);
            });
        }

        #[test]
        fn the_coffers_inode_is_locked_through_its_file() {
            let (_directory, coffer) = scratch();
            fs::write(&coffer, b"").unwrap();
            let [one, two] = [(); 2].map(|()| File::open(&coffer).unwrap());
            let lock = |file: &File, share| lock_inode(file, &coffer, share, Instant::now(), NEVER);
            lock(&one, Share::Shared).unwrap();
            lock(&two, Share::Shared).unwrap();
            assert_eq!(code(lock(&two, Share::Exclusive)), Code::Locked);
            drop(one);
            lock(&two, Share::Exclusive).unwrap();
            let three = File::open(&coffer).unwrap();
            assert_eq!(code(lock(&three, Share::Shared)), Code::Locked);
        }

        #[test]
        fn a_replaced_file_is_another_inode() {
            let (directory, coffer) = scratch();
            fs::write(&coffer, b"old").unwrap();
            let file = File::open(&coffer).unwrap();
            assert!(same_inode(&file, &coffer));
            let new = directory.path().join("new");
            fs::write(&new, b"new").unwrap();
            fs::rename(&new, &coffer).unwrap();
            assert!(!same_inode(&file, &coffer));
            assert!(!same_inode(&file, &new));
        }

        #[test]
        fn a_link_in_place_of_the_lock_file_is_not_followed() {
            let (directory, coffer) = scratch();
            let victim = directory.path().join("victim");
            symlink(&victim, lock_path(&coffer)).unwrap();
            assert_eq!(code(acquire(&coffer, Share::Shared)), Code::Io);
            assert_eq!(code(acquire(&coffer, Share::Exclusive)), Code::Io);
            assert!(!victim.exists());
        }

        fn mode(path: &Path) -> u32 {
            fs::metadata(path).unwrap().permissions().mode() & 0o777
        }

        fn allow(path: &Path, mode: u32) {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        }

        #[test]
        fn a_lock_file_is_open_to_whom_the_coffer_is_open() {
            for (coffer_mode, expected) in
                [(0o600, 0o600), (0o640, 0o640), (0o664, 0o664), (0o440, 0o640), (0o755, 0o644)]
            {
                let (_directory, coffer) = scratch();
                fs::write(&coffer, b"").unwrap();
                allow(&coffer, coffer_mode);
                acquire(&coffer, Share::Shared).unwrap();
                assert_eq!(mode(&lock_path(&coffer)), expected, "new, for {coffer_mode:o}");
                allow(&lock_path(&coffer), 0o644);
                acquire(&coffer, Share::Exclusive).unwrap();
                assert_eq!(mode(&lock_path(&coffer)), expected, "there, for {coffer_mode:o}");
            }
        }

        #[test]
        fn the_lock_file_of_a_coffer_to_be_is_for_its_owner_alone() {
            let (_directory, coffer) = scratch();
            acquire(&coffer, Share::Exclusive).unwrap();
            assert_eq!(mode(&lock_path(&coffer)), 0o600);
        }

        #[test]
        fn a_file_that_may_be_somebody_elses_keeps_its_permissions() {
            let (directory, coffer) = scratch();
            fs::write(&coffer, b"").unwrap();
            allow(&coffer, 0o666);
            let other = directory.path().join("other");
            fs::write(&other, b"").unwrap();
            fs::hard_link(&other, lock_path(&coffer)).unwrap();
            allow(&other, 0o600);
            acquire(&coffer, Share::Exclusive).unwrap();
            assert_eq!(mode(&other), 0o600);
            fs::remove_file(&other).unwrap();
            fs::write(lock_path(&coffer), b"not empty").unwrap();
            acquire(&coffer, Share::Exclusive).unwrap();
            assert_eq!(mode(&lock_path(&coffer)), 0o600);
        }

        /// Only the superuser gives files away.
        #[test]
        fn a_lock_file_that_the_superuser_makes_belongs_to_the_coffers_owner() {
            use std::os::unix::fs::{MetadataExt, chown};
            let (_directory, coffer) = scratch();
            fs::write(&coffer, b"").unwrap();
            if chown(&coffer, Some(54321), Some(54322)).is_err() {
                return;
            }
            for share in [Share::Shared, Share::Exclusive] {
                acquire(&coffer, share).unwrap();
                let lock = fs::metadata(lock_path(&coffer)).unwrap();
                assert_eq!((lock.uid(), lock.gid()), (54321, 54322));
                fs::remove_file(lock_path(&coffer)).unwrap();
            }
        }

        /// Makes the directory read-only; `false` if that stops nobody, as for the superuser.
        fn forbid_writing(directory: &Path) -> bool {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o555)).unwrap();
            File::create(directory.join("probe")).is_err()
        }

        #[test]
        fn in_a_read_only_directory_a_reader_goes_without_and_a_writer_fails() {
            let (directory, coffer) = scratch();
            if !forbid_writing(directory.path()) {
                return;
            }
            assert!(acquire(&coffer, Share::Shared).unwrap().is_none());
            assert_eq!(code(acquire(&coffer, Share::Exclusive)), Code::Io);
        }

        #[test]
        fn in_a_read_only_directory_a_lock_file_that_is_there_is_used() {
            let (directory, coffer) = scratch();
            fs::write(lock_path(&coffer), b"").unwrap();
            let readable = fs::Permissions::from_mode(0o444);
            fs::set_permissions(lock_path(&coffer), readable).unwrap();
            if !forbid_writing(directory.path()) {
                return;
            }
            let _writer = acquire(&coffer, Share::Exclusive).unwrap().unwrap();
            assert_eq!(code(acquire(&coffer, Share::Shared)), Code::Locked);
        }
    }
}
