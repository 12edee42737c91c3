//! The header and the keys of a damaged coffer: from its header, from a copy of it, or from the
//! caller's options alone.

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
use crate::format::record::{ARCHIVE_ID, HEADER_MARKS, HEADER_TAG};
use crate::io::disk::DiskNamespace;
use crate::io::storage::{Namespace, WriteAt};

/// The most damaged headers that are tried: a crafted file may be full of their marks.
const MOST_HEADERS: usize = 1 << 10;

/// The header that a damaged coffer is read by, and that the new one is made from.
pub(super) struct RecoveredHeader {
    pub(super) header: Header,
    pub(super) keys: Keys,
    /// The archive id of the damaged coffer, where a header has it.
    pub(super) archive: Option<[u8; ARCHIVE_ID]>,
    /// Where the header was found; `None` if it is made from the caller's options.
    pub(super) header_at: Option<u64>,
    /// Why no header could be read: the error if nothing else can be read either.
    pub(super) doubt: Option<Error>,
}

impl RecoveredHeader {
    /// A header from the caller's options, where the file has none.
    pub(super) fn assumed((header, keys): (Header, Keys), doubt: Option<Error>) -> Self {
        Self { header, keys, archive: None, header_at: None, doubt }
    }

    /// The damaged file, to be read by this header.
    pub(super) fn source(&self, storage: Arc<dyn WriteAt>, path: &Path) -> Result<ArchiveFile> {
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
        let mut source = ArchiveFile::new(storage, &directory, path, &self.header, &self.keys)?;
        source.archive = self.archive.unwrap_or_default();
        Ok(source)
    }
}

/// Finds a header that opens: the one at the beginning, then its copies; or does without.
pub(super) fn find(
    search: &Search<'_>,
    options: &Options,
    credentials: &Credentials,
) -> Result<RecoveredHeader> {
    let lookup = CredentialLookup::new(credentials, &options.cancel).within(options.max_kdf_memory);
    let mut attempts = HeaderAttempts { search, options, lookup, refused: Vec::new(), found: None };
    attempts.attempt(0)?;
    for sealed in [true, false] {
        // Most files need no search: their header is where it belongs.
        if attempts.found.is_none() {
            search.any_record(sealed, &[HEADER_TAG], |offset| attempts.attempt(offset))?;
        }
    }
    if let Some((offset, header, keys)) = attempts.found {
        let archive = Some(header.archive);
        let header_at = Some(offset);
        return Ok(RecoveredHeader { header, keys, archive, header_at, doubt: None });
    }
    let refused = attempts.refused.into_iter().next();
    without(search, options, credentials, refused.map_or_else(nothing, |(_, error)| error))
}

/// The headers of a file, tried in the order of the file until one opens.
struct HeaderAttempts<'a> {
    search: &'a Search<'a>,
    options: &'a Options,
    lookup: CredentialLookup<'a>,
    refused: Vec<(Option<[u8; HEADER_MARKS]>, Error)>,
    found: Option<(u64, Header, Keys)>,
}

impl HeaderAttempts<'_> {
    /// Tries the header at an offset. Gives whether no further one needs to be tried.
    fn attempt(&mut self, offset: u64) -> Result<bool> {
        if self.found.is_some() || self.refused.len() >= MOST_HEADERS {
            return Ok(true);
        }
        if offset == 0 && !self.refused.is_empty() {
            return Ok(false);
        }
        let bytes = self.search.read(offset, header::MAX_LEN as u64)?;
        let marks = Header::marks(&bytes);
        let Options { kind, accept_file_cipher, .. } = self.options;
        let opened = match marks {
            Some(_) => self.lookup.open_header(&bytes, kind, *accept_file_cipher),
            None => Err(nothing()),
        };
        let error = match opened {
            Ok((header, keys)) => {
                self.found = Some((offset, header, keys));
                return Ok(true);
            }
            Err(e) if matches!(e.code(), Code::Aborted | Code::Io) => return Err(e),
            Err(e) => e,
        };
        // Two headers with the same clear bytes are not damaged.
        let repeated = !matches!(error.code(), Code::Corrupt | Code::Limit)
            && self.refused.iter().any(|(m, _)| m.is_some() && *m == marks);
        let intact = error.code() == Code::WrongKey
            && self.lookup.root_key_fits(&bytes, kind, *accept_file_cipher);
        if repeated || intact {
            return Err(error);
        }
        self.refused.push((marks, error));
        Ok(false)
    }
}

/// Goes on without a header: keys still open the chunks that they sealed. Keys cannot be derived from
/// a passphrase, because the salt is lost.
fn without(
    search: &Search<'_>,
    options: &Options,
    credentials: &Credentials,
    doubt: Error,
) -> Result<RecoveredHeader> {
    let decided = matches!(doubt.code(), Code::WrongKind | Code::Version);
    if decided || matches!(credentials, Credentials::Passphrase(_)) {
        return Err(doubt);
    }
    let mut options = options.clone();
    if options.accept_file_cipher {
        options.kind.container.cipher = Some(cipher(search, &options, credentials)?);
    }
    Ok(RecoveredHeader::assumed(options.header(credentials)?, Some(doubt)))
}

/// The cipher of a Bank's container: the first that opens a chunk of the file; Fernet if none does.
fn cipher(search: &Search<'_>, options: &Options, credentials: &Credentials) -> Result<Cipher> {
    let Credentials::Keys(keys) = credentials else { return Ok(Cipher::Fernet) };
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

fn nothing() -> Error {
    Error::corrupt(
        "the file is not a coffer, or nothing in it opens with what was given: neither a header nor anything else was found",
    )
}
