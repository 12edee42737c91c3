//! What a damaged coffer is, and what opens it: from its header, a copy of it, or the caller alone.

use std::path::Path;
use std::sync::Arc;

use super::marks::Search;
use crate::coffer::Options;
use crate::engine::credentials::{CredentialLookup, Credentials};
use crate::engine::file::ArchiveFile;
use crate::error::{Code, Error, Result};
use crate::format::header::{self, Header, container_seal};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind};
use crate::format::record::{self, HEADER_TAG};
use crate::format::record::{ARCHIVE_ID, HEADER_MARKS};
use crate::io::disk::DiskNamespace;
use crate::io::storage::{Namespace, WriteAt};

/// How many damaged headers are looked at: a file may be full of what looks like them.
const MOST_HEADERS: usize = 1 << 10;

/// A header for the new coffer, and the keys of both.
pub(super) struct Opening {
    pub(super) header: Header,
    pub(super) keys: Keys,
    /// The identity of the damaged coffer, where a header says it.
    pub(super) archive: Option<[u8; ARCHIVE_ID]>,
    /// Where the header was found; `None` if there is none.
    pub(super) header_at: Option<u64>,
    /// Why no header could be read: what to say if nothing else can be read either.
    pub(super) doubt: Option<Error>,
}

impl Opening {
    /// What reads the damaged file.
    pub(super) fn source(&self, storage: Arc<dyn WriteAt>, path: &Path) -> Result<ArchiveFile> {
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
        let mut source = ArchiveFile::new(storage, &directory, path, &self.header, &self.keys)?;
        source.archive = self.archive.unwrap_or_default();
        Ok(source)
    }
}

/// Finds the header, or does without.
pub(super) fn find(
    search: &Search<'_>,
    options: &Options,
    secret: &Credentials,
) -> Result<Opening> {
    let keyring = CredentialLookup::new(secret, &options.cancel).within(options.max_kdf_memory);
    let mut tried = Tried { search, options, secret, keyring, refused: Vec::new(), found: None };
    tried.attempt(0)?;
    for sealed in [true, false] {
        // Most files need no search: their header is where it belongs.
        if tried.found.is_none() {
            search.marks(sealed, &[HEADER_TAG], |offset, _| tried.attempt(offset))?;
        }
    }
    if let Some((offset, header, keys)) = tried.found {
        let archive = Some(header.archive);
        return Ok(Opening { header, keys, archive, header_at: Some(offset), doubt: None });
    }
    let error = tried.refused.into_iter().next().map_or_else(nothing, |(_, error)| error);
    without(search, options, secret, error)
}

/// The headers of a file, tried one after another until one opens.
struct Tried<'a> {
    search: &'a Search<'a>,
    options: &'a Options,
    secret: &'a Credentials,
    keyring: CredentialLookup<'a>,
    refused: Vec<(Option<[u8; HEADER_MARKS]>, Error)>,
    found: Option<(u64, Header, Keys)>,
}

impl Tried<'_> {
    fn attempt(&mut self, offset: u64) -> Result<()> {
        let again = offset == 0 && !self.refused.is_empty();
        if self.found.is_some() || again || self.refused.len() >= MOST_HEADERS {
            return Ok(());
        }
        let bytes = self.search.read(offset, header::MAX_LEN as u64)?;
        match open(&bytes, self.options, &self.keyring) {
            Ok((header, keys)) => self.found = Some((offset, header, keys)),
            Err(e) if matches!(e.code(), Code::Aborted | Code::Io) => return Err(e),
            Err(e) => {
                let marks = Header::marks(&bytes);
                // Two that say the same are not damaged.
                let sure = !matches!(e.code(), Code::Corrupt | Code::Limit)
                    && self.refused.iter().any(|(m, _)| m.is_some() && *m == marks);
                if sure || is_intact(&bytes, &e, self.options, self.secret) {
                    return Err(e);
                }
                self.refused.push((marks, e));
            }
        }
        Ok(())
    }
}

/// Goes on without a header: keys open what they sealed. What a passphrase makes of itself depends
/// on the salt, which is lost.
fn without(
    search: &Search<'_>,
    options: &Options,
    secret: &Credentials,
    doubt: Error,
) -> Result<Opening> {
    let decided = matches!(doubt.code(), Code::WrongKind | Code::Version);
    if decided || matches!(secret, Credentials::Passphrase(_)) {
        return Err(doubt);
    }
    let mut options = options.clone();
    if options.accept_file_cipher {
        options.kind.container.cipher = Some(cipher(search, &options, secret)?);
    }
    let (header, keys) = options.header(secret)?;
    Ok(Opening { header, keys, archive: None, header_at: None, doubt: Some(doubt) })
}

/// The cipher of a Bank's container: the first that opens a chunk of the file.
fn cipher(search: &Search<'_>, options: &Options, secret: &Credentials) -> Result<Cipher> {
    let Credentials::Keys(keys) = secret else { return Ok(Cipher::Fernet) };
    for cipher in Cipher::all().filter(|cipher| cipher.suits_banks()) {
        let kind = Kind::bank(cipher);
        if options.coffer_key.as_ref().is_none_or(|key| cipher.check_len(key).is_err()) {
            continue;
        }
        if let Some(seal) = container_seal(&kind, keys)?
            && super::scan::opens_anything(search, &*seal)?
        {
            return Ok(cipher);
        }
    }
    Ok(Cipher::Fernet)
}

fn open(bytes: &[u8], options: &Options, keyring: &CredentialLookup<'_>) -> Result<(Header, Keys)> {
    let marks = Header::marks(bytes).ok_or_else(nothing)?;
    let kind = Header::judge(&marks, &options.kind, options.accept_file_cipher)?;
    let keys = keyring.keys(&marks)?;
    Ok((Header::read(bytes, marks, &kind, &keys)?, keys))
}

/// Whether a header that was refused is a good one: its own key fits, and the members' does not.
fn is_intact(bytes: &[u8], error: &Error, options: &Options, secret: &Credentials) -> bool {
    let (Credentials::Keys(keys), Code::WrongKey) = (secret, error.code()) else { return false };
    let Some(marks) = Header::marks(bytes) else { return false };
    let Ok(kind) = Header::judge(&marks, &options.kind, options.accept_file_cipher) else {
        return false;
    };
    let Ok(container) = container_seal(&kind, keys) else { return false };
    Header::check_keys(&marks, &kind, keys).is_ok()
        && record::read(container.as_deref(), bytes)
            .is_some_and(|record| keys.meta(&kind).open(&record.body).is_some())
}

fn nothing() -> Error {
    Error::corrupt(
        "the file is not a coffer, or nothing in it opens with what was given: neither a header nor anything else was found",
    )
}
