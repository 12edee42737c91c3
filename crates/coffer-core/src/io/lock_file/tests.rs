#![allow(clippy::unwrap_used)]

use super::*;
use std::cell::Cell;
use std::fs;
use std::thread;
use std::time::Duration;

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
        let waiter =
            scope.spawn(|| LockFile::acquire(&coffer, Share::Exclusive, deadline, NEVER).unwrap());
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
    use crate::io::file_lock::lock_inode;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::thread;
    use std::time::Duration;

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
            let waiter = scope
                .spawn(|| LockFile::acquire(&coffer, Share::Exclusive, deadline, NEVER).unwrap());
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
        assert!(file.is_at(&coffer));
        let new = directory.path().join("new");
        fs::write(&new, b"new").unwrap();
        fs::rename(&new, &coffer).unwrap();
        assert!(!file.is_at(&coffer));
        assert!(!file.is_at(&new));
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
    fn a_file_that_may_be_of_another_user_keeps_its_permissions() {
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

    /// Makes the directory read-only; `false` if that has no effect, as for the superuser.
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
