//! The environment of a target: kinds with fixed keys, a directory in memory, and the checks that every
//! coffer must pass that opens.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::coffer::{Change, Coffer, Extraction, LockMode, Mode, Options, Selection};
use crate::crypto::key::Key;
use crate::error::{Code, Result};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind, Layer};
use crate::progress::CallObserver;

/// The number of kinds to choose from.
pub(super) const KINDS: usize = 6;

/// A kind with its keys: those of the fixtures.
#[derive(Clone)]
pub(super) struct Case {
    pub(super) kind: Kind,
    pub(super) keys: Keys,
}

impl Case {
    pub(super) fn of(choice: u8) -> Self {
        let kind = match usize::from(choice) % KINDS {
            0 => Kind::null(),
            1 => Kind::store(),
            2 => Kind::market(),
            3 => Kind::bank(Cipher::Fernet),
            4 => Kind::bank(Cipher::AesOcb),
            _ => Kind::custom(
                Layer { level: None, cipher: Some(Cipher::AesOcb) },
                Layer { level: Some(1), cipher: Some(Cipher::Secretbox) },
            ),
        };
        let key = |from: u8, cipher: Cipher| {
            let bytes: Vec<u8> = (from..).take(cipher.key_lengths()[0]).collect();
            Key::from_bytes(&bytes).unwrap()
        };
        let keys = Keys {
            coffer: kind.container.cipher.map(|c| key(0, c)),
            secure: kind.member.cipher.map(|c| key(100, c)),
            derived: false,
        };
        Self { kind, keys }
    }

    pub(super) fn options(&self, mode: Mode) -> Options {
        let mut options = Options::new(mode, self.kind);
        options.coffer_key = self.keys.coffer.clone();
        options.secure_key = self.keys.secure.clone();
        options.lock = LockMode::None;
        options.lock_timeout = Duration::ZERO;
        options.auto_flush = Some(false);
        options.durable = false;
        options.chunk_size = Some(288);
        options.piece_size = Some(4096);
        options
    }
}

/// A directory of its own, removed with all that is in it.
pub(super) struct FuzzScene {
    dir: tempfile::TempDir,
}

impl FuzzScene {
    pub(super) fn new() -> Self {
        let ram = Path::new("/dev/shm");
        let parent = if ram.is_dir() { ram.to_path_buf() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("coffer-fuzz-").tempdir_in(parent).unwrap();
        Self { dir }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn root(&self) -> &Path {
        self.dir.path()
    }
}

/// The contents of a coffer.
#[derive(Default)]
pub(super) struct Seen {
    /// The files that could be read, with their bytes.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    /// The names of all members.
    pub(super) names: Vec<String>,
    /// Whether `verify` found no damage and everything was read.
    pub(super) sound: bool,
}

/// Members of more bytes than this are not read: the limit on memory is the format's, and time is
/// short.
const MOST: u64 = 4 << 20;

/// Reads all members by every call that reads, and compares the results.
pub(super) fn look(coffer: &Coffer, scene: &FuzzScene) -> Seen {
    let members = coffer.members(None, None, None).unwrap();
    let total = members.iter().map(|m| m.size).fold(0u64, u64::saturating_add);
    let small = total <= MOST;
    let mut seen = Seen::default();
    for member in &members {
        assert_eq!(crate::format::name::fault(&member.name), None, "{:?}", member.name);
        assert_eq!(coffer.stat(&member.name).unwrap().as_ref(), Some(member));
        seen.names.push(member.name.clone());
        if member.member_type.is_directory() {
            assert_eq!(coffer.read(&member.name).unwrap_err().code(), Code::IsDirectory);
            continue;
        }
        let (start, len) = (member.size / 3, member.size.min(5000) / 2);
        let range = coffer.read_range(&member.name, start, len, None);
        if small && let Ok(bytes) = coffer.read(&member.name) {
            assert_eq!(bytes.len() as u64, member.size, "{:?}", member.name);
            let part = &bytes[start as usize..(start + len) as usize];
            assert_eq!(range.unwrap().bytes, part, "{:?}", member.name);
            seen.files.insert(member.name.clone(), bytes);
        }
    }
    let _ = coffer.info();
    if !small {
        return seen;
    }
    let files = members.iter().filter(|m| !m.member_type.is_directory()).count();
    if coffer.verify(&CallObserver::silent()).is_ok() {
        assert_eq!(seen.files.len(), files, "verify did not see what a read does");
        seen.sound = true;
    }
    let out = scene.path("out");
    if coffer.extract(&Extraction::from(Selection::All), &out, &CallObserver::silent()).is_ok() {
        assert_eq!(seen.files.len(), files, "extract wrote what a read does not give");
        for (name, bytes) in &seen.files {
            same_file(&out.join(name), bytes);
        }
    }
    let _ = std::fs::remove_dir_all(&out);
    seen
}

/// Asserts that a regular file with these bytes is at a path.
pub(super) fn same_file(path: &Path, bytes: &[u8]) {
    match std::fs::symlink_metadata(path) {
        Ok(found) => assert!(found.is_file(), "{}", path.display()),
        // Without the right to look there is nothing to compare.
        Err(e) => return assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied, "{path:?}"),
    }
    match std::fs::read(path) {
        Ok(found) => assert!(found == bytes, "{} has other bytes", path.display()),
        Err(e) => assert_eq!(e.kind(), std::io::ErrorKind::PermissionDenied, "{path:?}"),
    }
}

/// What a change adds.
const NEW: &[u8] = b"what the target wrote";

/// Opens the coffer for writing, changes it, and reads it again. If it was sound, it must stay so.
pub(super) fn change(
    options: &dyn Fn(Mode) -> Options,
    scene: &FuzzScene,
    path: &Path,
    seen: &Seen,
    compact: bool,
) {
    let Ok(coffer) = Coffer::open(path, options(Mode::Append)) else { return };
    let mut new = "new".to_owned();
    while seen.names.iter().any(|n| n.starts_with(&new)) {
        new.push('x');
    }
    // Makes its pack die, where there is one with others in it.
    let gone = seen.names.first().filter(|first| seen.files.contains_key(*first));
    let mut done: Vec<Result<_>> = Vec::new();
    done.push(coffer.change(Change::write(&new, Arc::new(NEW.to_vec()))));
    done.push(coffer.change(Change::Flush { force: false }));
    if let Some(gone) = gone {
        done.push(coffer.change(Change::Delete { name: gone.clone(), recursive: false }));
        done.push(coffer.change(Change::Flush { force: false }));
    }
    if compact {
        done.push(coffer.change(Change::Compact { watch: CallObserver::silent() }));
    }
    let closed = coffer.close();
    let failure = done.into_iter().find_map(Result::err).or(closed.err());
    if let Some(error) = failure {
        // Its counters may be at their end. What could be done is whole all the same.
        let limit = error.code() == Code::Limit;
        assert!(!seen.sound || limit, "a sound coffer could not be changed: {error:?}");
        if seen.sound {
            let coffer = Coffer::open(path, options(Mode::Read)).expect("it was a coffer");
            assert!(look(&coffer, scene).sound, "a refusal made a sound coffer unsound");
        }
        return;
    }
    let coffer = Coffer::open(path, options(Mode::Read)).expect("it was committed");
    let again = look(&coffer, scene);
    coffer.close().unwrap();
    assert_eq!(again.files.get(&new).map(Vec::as_slice), Some(NEW));
    if seen.sound {
        assert!(again.sound, "a change made a sound coffer unsound");
        for (name, bytes) in &seen.files {
            let expected = (gone != Some(name)).then_some(bytes);
            assert!(again.files.get(name) == expected, "{name:?} has other bytes");
        }
    }
}
