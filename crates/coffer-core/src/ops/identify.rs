//! Identifying a file, without keys and without a lock.

use std::path::Path;

use crate::crypto::kdf::{Kdf, SALT_LEN};
use crate::engine::file;
use crate::engine::open;
use crate::error::{Code, Error, Result};
use crate::format::header::{self, Header, Label};
use crate::format::key_source::KeySource;
use crate::format::kind::{Cipher, KindName};
use crate::io::beneath::{self, What};
use crate::io::disk::{DiskFile, is_no_file};
use crate::io::storage::ReadAt;

/// What a file is, by the clear fields of its header. Nothing of it is authenticated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// A coffer.
    Coffer {
        /// The version of its format.
        version: u8,
        /// Its kind, where the version is one that this engine knows.
        kind: Option<KindName>,
        /// The cipher of its container, where that is known; `Some(None)` if it is not sealed.
        cipher: Option<Option<Cipher>>,
        /// Its keys come from a passphrase.
        passphrase: bool,
        /// Salt and key derivation, where this engine knows the derivation.
        kdf: Option<([u8; SALT_LEN], Kdf)>,
    },
    /// Perhaps a coffer that PyCoffer wrote: it begins like one.
    Legacy,
    /// Something else, or a coffer whose beginning is damaged.
    Unknown,
}

/// Looks at the beginning of a file.
///
/// # Errors
/// [`Code::NotFound`], [`Code::Io`].
pub fn identify(path: &Path) -> Result<Identity> {
    let failed = |call, e: &std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::new(Code::NotFound, format!("there is no file at {}", path.display())).at(path)
        }
        _ => Error::io(call, path, e),
    };
    let what = beneath::at(path, true).map(|about| about.what).map_err(|e| failed("stat", &e))?;
    // Opening a pipe may wait, and opening a device may have effects.
    if !matches!(what, What::File | What::Directory) {
        return Ok(Identity::Unknown);
    }
    let file = match DiskFile::open(path, false) {
        // It was put there after the `stat`.
        Err(e) if is_no_file(&e) && what != What::Directory => return Ok(Identity::Unknown),
        opened => opened.map_err(|e| failed("open", &e))?,
    };
    let size = file.len().map_err(|e| failed("fstat", &e))?;
    let start = file::read(&file, path, size, 0, size.min(header::MAX_LEN as u64) as usize)?;
    let Some(marks) = Header::marks(&start) else {
        return Ok(if open::looks_legacy(&start) { Identity::Legacy } else { Identity::Unknown });
    };
    let Label { version, kind, cipher, passphrase } = Header::label(&marks);
    let kdf = KeySource::in_marks(&marks).ok().filter(|_| passphrase);
    let kdf = kdf.and_then(|KeySource { salt, kdf }| kdf.map(|kdf| (salt, kdf)));
    Ok(Identity::Coffer { version, kind, cipher, passphrase, kdf })
}
