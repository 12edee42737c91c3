//! What the tests share: coffers of every kind, in a directory of their own.

#[cfg(target_os = "linux")]
pub mod memory;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use coffer_core::coffer::{Change, Coffer, Mode, Options, Outcome};
use coffer_core::crypto::key::Key;
use coffer_core::error::Result;
use coffer_core::format::kind::{Cipher, Kind};

pub struct Case {
    pub kind: Kind,
    pub coffer_key: Option<Key>,
    pub secure_key: Option<Key>,
}

impl Case {
    pub fn options(&self, mode: Mode) -> Options {
        let mut options = Options::new(mode, self.kind);
        options.coffer_key = self.coffer_key.clone();
        options.secure_key = self.secure_key.clone();
        // A flush of its own erases what a change replaced, so that a story has one commit for each of its
        // changes; `scrub` and `compaction` have their own delays.
        options.scrub_delay = std::time::Duration::ZERO;
        options
    }

    pub fn open(&self, path: &Path, mode: Mode) -> Coffer {
        Coffer::open(path, self.options(mode)).unwrap()
    }

    pub fn name(&self) -> String {
        format!("{:?}-{:?}", self.kind.name, self.kind.container.cipher)
    }
}

/// A coffer of each kind, with fresh keys.
pub fn cases() -> Vec<Case> {
    let kinds = [
        Kind::bank(Cipher::Fernet),
        Kind::bank(Cipher::AesOcb),
        Kind::store(),
        Kind::market(),
        Kind::null(),
    ];
    kinds
        .into_iter()
        .map(|kind| Case {
            kind,
            coffer_key: kind.container.cipher.map(|c| Key::generate(c.key_lengths()[0])),
            secure_key: kind.member.cipher.map(|_| Key::generate(32)),
        })
        .collect()
}

/// A directory of its own, in RAM where the system has one there: these tests sync a lot.
pub fn directory() -> tempfile::TempDir {
    let ram = Path::new("/dev/shm");
    if ram.is_dir() { tempfile::tempdir_in(ram).unwrap() } else { tempfile::tempdir().unwrap() }
}

pub fn write(coffer: &Coffer, name: &str, data: &[u8]) {
    coffer.change(Change::write(name, Arc::new(data.to_vec()))).unwrap();
}

pub fn append(coffer: &Coffer, name: &str, data: &[u8]) {
    let change = Change::Append { name: name.to_owned(), data: Arc::new(data.to_vec()) };
    coffer.change(change).unwrap();
}

pub fn delete(coffer: &Coffer, name: &str) -> Result<Outcome> {
    coffer.change(Change::Delete { name: name.to_owned(), recursive: true })
}

pub fn flush(coffer: &Coffer) {
    coffer.change(Change::Flush { force: false }).unwrap();
}

pub fn names(coffer: &Coffer) -> Vec<String> {
    coffer.members(None, None, None).unwrap().into_iter().map(|m| m.name).collect()
}

/// Bytes that do not compress, the same for the same seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

pub fn path(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("test.coffer")
}
