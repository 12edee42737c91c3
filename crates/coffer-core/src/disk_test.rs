//! The effects of opening and rewriting on the coffer's directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::coffer::{Change, Coffer, LockMode, Mode, NewCredentials, Options};
use crate::crypto::key::Key;
use crate::error::{Code, Result};
use crate::format::kind::Kind;
use crate::io::disk::DiskNamespace;
use crate::io::protected_paths::torn;
use crate::io::storage::{Names, Namespace, Wanted, WriteAt};
use crate::progress::CallObserver;

/// The system's directories. It counts how often they are listed, and has no descriptor left while
/// `scarce` is set.
#[derive(Default)]
struct Observed {
    listed: AtomicUsize,
    scarce: AtomicBool,
}

impl Namespace for Observed {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        DiskNamespace.exists(path)
    }

    fn has_file(&self, path: &Path) -> io::Result<bool> {
        DiskNamespace.has_file(path)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn WriteAt>> {
        DiskNamespace.open(path, write)
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteAt>> {
        DiskNamespace.create(path)
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        DiskNamespace.rename(from, to, replace)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        DiskNamespace.remove(path)
    }

    fn leftovers(&self, directory: &Path, wanted: Wanted<'_>) -> io::Result<Vec<PathBuf>> {
        self.listed.fetch_add(1, Ordering::SeqCst);
        DiskNamespace.leftovers(directory, wanted)
    }

    fn names(&self, path: &Path) -> io::Result<Arc<dyn Names>> {
        if self.scarce.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(24));
        }
        DiskNamespace.names(path)
    }
}

fn options(mode: Mode) -> Options {
    let mut options = Options::new(mode, Kind::store());
    options.coffer_key = Some(Key::from_bytes(&[1; 32]).unwrap());
    // Children of other tests have the locks of this process for a moment, between fork and exec.
    options.lock_timeout = Duration::from_secs(5);
    options
}

fn scratch() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = fs::canonicalize(directory.path()).unwrap().join("box.coffer");
    (directory, path)
}

fn make(path: &Path) {
    let coffer = Coffer::open(path, options(Mode::Exclusive)).unwrap();
    coffer.change(Change::write("a", Arc::new(b"contents".to_vec()))).unwrap();
    coffer.close().unwrap();
}

fn code<T>(result: Result<T>) -> Code {
    match result {
        Ok(_) => unreachable!("it went well"),
        Err(e) => e.code(),
    }
}

/// A file that a killed process may have left to become `target`.
fn unfinished(target: &Path, random: &str) -> PathBuf {
    let name = target.file_name().unwrap().to_string_lossy();
    let path = target.with_file_name(format!(".{name}.{random}.coffer-new"));
    fs::write(&path, b"unfinished").unwrap();
    path
}

fn rekey() -> Change {
    let to = NewCredentials {
        coffer_key: Some(Key::from_bytes(&[2; 32]).unwrap()),
        secure_key: None,
        passphrase: None,
        kdf: crate::crypto::kdf::KdfChoice::default(),
        cipher: None,
    };
    Change::Rekey { to, watch: CallObserver::silent() }
}

#[test]
fn opening_for_writing_lists_the_directory_once_and_opening_for_reading_never() {
    let (_directory, path) = scratch();
    for (mode, most) in [(Mode::Exclusive, 1), (Mode::Append, 1), (Mode::Write, 1), (Mode::Read, 0)]
    {
        let observed = Arc::new(Observed::default());
        let mut options = options(mode);
        options.backup = Some(".bak".to_owned());
        Coffer::open_in(observed.clone(), &path, options).unwrap().close().unwrap();
        assert_eq!(observed.listed.load(Ordering::SeqCst), most, "{mode:?}");
    }
}

#[test]
fn a_writer_sweeps_what_a_killed_one_left_and_nothing_else() {
    for mode in [Mode::Append, Mode::Write] {
        let (_directory, path) = scratch();
        make(&path);
        let backup = path.with_file_name("box.coffer.bak");
        let gone: Vec<PathBuf> =
            [&path, &torn(&path), &backup].map(|target| unfinished(target, "abc123")).into();
        let mut kept: Vec<PathBuf> = ["abc12", "abc1234", "abc.23", "ABC123", "abc-23", ""]
            .map(|random| unfinished(&path, random))
            .into();
        kept.push(unfinished(&path.with_file_name("other.coffer"), "abc123"));
        let directory = path.with_file_name(".box.coffer.dddddd.coffer-new");
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("precious.txt"), b"precious").unwrap();
        kept.push(directory.join("precious.txt"));
        #[cfg(unix)]
        {
            let link = path.with_file_name(".box.coffer.llllll.coffer-new");
            std::os::unix::fs::symlink(&directory, &link).unwrap();
            kept.push(link);
            let foreign = unfinished(&path, "abc456");
            if std::os::unix::fs::chown(&foreign, Some(54321), None).is_ok() {
                kept.push(foreign);
            }
        }
        let mut options = options(mode);
        options.backup = Some(".bak".to_owned());
        Coffer::open(&path, options).unwrap().close().unwrap();
        for path in gone {
            assert!(!path.exists(), "{mode:?}: {} is left", path.display());
        }
        for path in kept {
            assert!(path.symlink_metadata().is_ok(), "{mode:?}: {} is gone", path.display());
        }
    }
}

/// A writer without locks cannot exclude that another one is writing.
#[test]
fn a_writer_without_locks_sweeps_nothing() {
    let (_directory, path) = scratch();
    make(&path);
    let left = unfinished(&path, "abc123");
    let mut unlocked = options(Mode::Append);
    unlocked.lock = LockMode::None;
    Coffer::open(&path, unlocked).unwrap().close().unwrap();
    assert!(left.exists());
}

/// A descriptor for the directory is needed to make names durable. Without one a call fails before it
/// changes a file.
#[test]
fn without_a_descriptor_for_the_directory_no_file_changes() {
    let (_directory, path) = scratch();
    let observed = Arc::new(Observed::default());
    let open = |mode| Coffer::open_in(observed.clone(), &path, options(mode));
    let scarce = |scarce| observed.scarce.store(scarce, Ordering::SeqCst);
    scarce(true);
    assert_eq!(code(open(Mode::Exclusive)), Code::Io);
    assert!(!path.exists());
    scarce(false);
    make(&path);
    let before = fs::read(&path).unwrap();
    scarce(true);
    assert_eq!(code(open(Mode::Write)), Code::Io);
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(code(open(Mode::Append)), Code::Io);
    assert_eq!(fs::read(&path).unwrap(), before);
    scarce(false);
    let coffer = open(Mode::Append).unwrap();
    scarce(true);
    assert_eq!(code(coffer.change(Change::Compact { watch: CallObserver::silent() })), Code::Io);
    assert_eq!(code(coffer.change(rekey())), Code::Io);
    // The coffer stays usable.
    coffer.change(Change::write("b", Arc::new(b"more".to_vec()))).unwrap();
    assert_eq!(coffer.read("b").unwrap(), b"more");
    coffer.close().unwrap();
    let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
    assert_eq!(left, 2, "the coffer and its lock file");
}

/// This is how an environment of JavaScript ends that drops none of its objects.
#[test]
fn an_abandoned_coffer_is_free_though_handles_are_left() {
    let (_directory, path) = scratch();
    let writer = Coffer::open(&path, options(Mode::Exclusive)).unwrap();
    writer.change(Change::write("kept", Arc::new(b"kept".to_vec()))).unwrap();
    writer.change(Change::Flush { force: false }).unwrap();
    writer.change(Change::write("lost", Arc::new(b"lost".to_vec()))).unwrap();
    let (stage, other) = (writer.upload("staged"), writer.clone());
    writer.abandon();
    writer.abandon();
    let again = Coffer::open(&path, options(Mode::Append)).unwrap();
    assert_eq!(again.read("kept").unwrap(), b"kept");
    assert_eq!(code(again.read("lost")), Code::MemberNotFound);
    again.close().unwrap();
    assert_eq!(code(other.read("kept")), Code::Closed);
    let change = Change::write("late", Arc::new(Vec::new()));
    assert_eq!(code(other.change(change)), Code::Closed);
    other.close().unwrap();
    drop(stage);

    let reader = Coffer::open(&path, options(Mode::Read)).unwrap();
    reader.abandon();
    reader.abandon();
    Coffer::open(&path, options(Mode::Append)).unwrap().close().unwrap();
    assert_eq!(code(reader.read("kept")), Code::Closed);
    reader.close().unwrap();
}

#[cfg(unix)]
mod unix {
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::process::Command;

    /// One that came by another path has another lock file; the lock on the inode is the same.
    #[test]
    fn through_a_link_nothing_is_swept_while_another_writer_is_open() {
        let (_directory, path) = scratch();
        make(&path);
        let elsewhere = tempfile::tempdir().unwrap();
        let link = elsewhere.path().join("link.coffer");
        symlink(&path, &link).unwrap();
        let writer = Coffer::open(&path, options(Mode::Append)).unwrap();
        let working = unfinished(&path, "abc123");
        for mode in [Mode::Append, Mode::Write] {
            let mut options = options(mode);
            options.lock_timeout = Duration::ZERO;
            assert_eq!(code(Coffer::open(&link, options)), Code::Locked);
            assert!(working.exists(), "{mode:?}");
        }
        writer.close().unwrap();
        Coffer::open(&link, options(Mode::Append)).unwrap().close().unwrap();
        assert!(!working.exists());
    }

    #[test]
    fn a_link_to_nothing_leads_to_where_the_coffer_is_made() {
        for mode in [Mode::Write, Mode::Append, Mode::Exclusive] {
            let (directory, path) = scratch();
            let far = directory.path().join("far");
            fs::create_dir(&far).unwrap();
            // One link leads to another, and that one by a relative path.
            symlink("far/real.coffer", directory.path().join("middle")).unwrap();
            symlink(directory.path().join("middle"), &path).unwrap();
            let coffer = Coffer::open(&path, options(mode)).unwrap();
            coffer.change(Change::write("a", Arc::new(b"contents".to_vec()))).unwrap();
            coffer.close().unwrap();
            assert!(path.is_symlink() && far.join("real.coffer").is_file(), "{mode:?}");
            let coffer = Coffer::open(&far.join("real.coffer"), options(Mode::Read)).unwrap();
            assert_eq!(coffer.read("a").unwrap(), b"contents");
            coffer.close().unwrap();
            assert_eq!(code(Coffer::open(&path, options(Mode::Exclusive))), Code::Exists);
        }
    }

    #[test]
    fn links_in_a_ring_and_into_no_directory_are_errors() {
        let (_directory, path) = scratch();
        symlink(&path, &path).unwrap();
        assert_eq!(code(Coffer::open(&path, options(Mode::Append))), Code::Io);
        fs::remove_file(&path).unwrap();
        symlink("/nonexistent/box.coffer", &path).unwrap();
        assert_eq!(code(Coffer::open(&path, options(Mode::Append))), Code::Io);
    }

    /// Opening a pipe would wait for its other end, whatever the lock's time-out.
    #[test]
    fn a_path_to_no_regular_file_is_refused_at_once_in_every_mode() {
        let (directory, path) = scratch();
        let at = |name: &str| directory.path().join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        fs::create_dir(at("directory")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        symlink("pipe", at("link")).unwrap();
        let device = PathBuf::from("/dev/null");
        let all = [
            (at("pipe"), "a pipe"),
            (at("link"), "a pipe"),
            (at("directory"), "a directory"),
            (at("socket"), "a socket"),
            (device, "a device"),
        ];
        for (path, what) in &all {
            for mode in [Mode::Read, Mode::Write, Mode::Append, Mode::Exclusive] {
                for lock in [LockMode::ReadWrite, LockMode::None] {
                    let mut options = options(mode);
                    options.lock = lock;
                    let error = Coffer::open(path, options).err().unwrap();
                    assert_eq!(error.code(), Code::InvalidArg, "{error}");
                    assert!(error.message().contains(what), "{error}");
                }
            }
            let target = at("salvaged");
            let silent = CallObserver::silent();
            let error =
                crate::ops::salvage::salvage(path, &target, &options(Mode::Read), false, &silent);
            assert_eq!(error.unwrap_err().code(), Code::InvalidArg);
            assert!(!target.exists());
            // `identify` returns at once, too, with any result.
            let _ = crate::ops::identify::identify(path);
            let mut lock = path.clone().into_os_string();
            lock.push(".lock");
            assert!(!PathBuf::from(lock).exists(), "a lock file beside {}", path.display());
        }
        // The pipe was created between the check and the opening.
        for write in [false, true] {
            let refused = DiskNamespace.open(&at("pipe"), write).err().unwrap();
            assert_eq!(refused.kind(), io::ErrorKind::InvalidInput);
        }
        drop(path);
    }

    fn owner(path: &Path) -> (u32, u32, u32) {
        let about = fs::metadata(path).unwrap();
        (about.uid(), about.gid(), about.permissions().mode() & 0o7777)
    }

    /// Only the superuser gives files away.
    #[test]
    fn a_coffer_that_the_superuser_rewrites_keeps_its_owner() {
        let (_directory, path) = scratch();
        make(&path);
        let theirs = (54321, 54322, 0o640);
        let give = || {
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            chown(&path, Some(54321), Some(54322))
        };
        if give().is_err() {
            return;
        }
        let backup = path.with_file_name("box.coffer.bak");
        let mut with_backup = options(Mode::Append);
        with_backup.backup = Some(".bak".to_owned());
        let coffer = Coffer::open(&path, with_backup.clone()).unwrap();
        coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
        assert_eq!((owner(&path), owner(&backup)), (theirs, theirs));
        coffer.change(rekey()).unwrap();
        assert_eq!(owner(&path), theirs);
        assert!(coffer.notices().is_empty());
        coffer.close().unwrap();
        fs::remove_file(&backup).unwrap();
        with_backup.mode = Mode::Write;
        with_backup.replace = true;
        let coffer = Coffer::open(&path, with_backup).unwrap();
        assert!(!backup.exists());
        coffer.change(Change::Flush { force: false }).unwrap();
        assert_eq!((owner(&path), owner(&backup)), (theirs, theirs));
        assert!(coffer.notices().is_empty());
        coffer.close().unwrap();
        let lock = path.with_file_name("box.coffer.lock");
        assert_eq!(owner(&lock), theirs);
    }
}
