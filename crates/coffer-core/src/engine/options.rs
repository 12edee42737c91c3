//! The options of opening a coffer.

use std::path::PathBuf;
use std::time::Duration;

use crate::crypto::kdf::{Kdf, KdfChoice, Passphrase};
use crate::crypto::key::Key;
use crate::engine::credentials::Credentials;
use crate::engine::limits::Limits;
use crate::error::{Code, Error, Result};
use crate::format::commit::CommitId;
use crate::format::header::{self, Header};
use crate::format::key_source::KeySource;
use crate::format::keys::Keys;
use crate::format::kind::Kind;
use crate::io::lock_set::LockMode;
use crate::progress::Cancel;

/// What a handle may do, and what becomes of a coffer that exists or does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `r`: to read; the coffer must exist.
    Read,
    /// `r+`: to read and write; the coffer must exist.
    Update,
    /// `w`: to write; the first commit replaces a coffer that exists.
    Write,
    /// `a`: to read and write; a coffer that does not exist is made.
    Append,
    /// `x`: to write a new coffer; one that exists is an error.
    Exclusive,
}

impl Mode {
    /// Reads `r`, `r+`, `w`, `a` or `x`, each also with a `b` behind it, and `rb+`.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for anything else.
    pub fn parse(mode: &str) -> Result<Self> {
        match mode {
            "r" | "rb" => Ok(Self::Read),
            "r+" | "r+b" | "rb+" => Ok(Self::Update),
            "w" | "wb" => Ok(Self::Write),
            "a" | "ab" => Ok(Self::Append),
            "x" | "xb" => Ok(Self::Exclusive),
            _ => Err(Error::new(
                Code::InvalidArg,
                format!(
                    "{mode:?} is not a mode: it is 'r', 'r+', 'w', 'a' or 'x', or one of them with 'b'"
                ),
            )),
        }
    }
}

/// The options of opening a coffer. Sizes are in bytes.
#[derive(Clone)]
pub struct Options {
    /// To read or to write.
    pub mode: Mode,
    /// Whether [`Mode::Write`] replaces any file: one that is no coffer, is damaged, is of another kind
    /// or has other keys, too. Such a file is an error otherwise.
    pub replace: bool,
    /// The kind that the coffer must have, or that a new one gets.
    pub kind: Kind,
    /// Whether the container's cipher may be the file's own: a Bank has one of two.
    pub accept_file_cipher: bool,
    /// The container's key.
    pub coffer_key: Option<Key>,
    /// The members' key.
    pub secure_key: Option<Key>,
    /// A passphrase in place of keys.
    pub passphrase: Option<Passphrase>,
    /// The cost of deriving keys from the passphrase of a new coffer, in place of [`Kdf::DEFAULT`]. A
    /// coffer that is opened for writing must have the same.
    pub kdf: KdfChoice,
    /// The most memory that the header of a file may ask for to derive keys, in KiB: that of
    /// [`Kdf::MAX`] by default.
    pub max_kdf_memory: Option<u32>,
    /// Whether each change is flushed before it returns; by default as the kind has it.
    pub auto_flush: Option<bool>,
    /// How long, with `auto_flush`, what a change replaced or removed may stay in the file after the
    /// change is durable. A flush and a close do not wait.
    pub scrub_delay: Duration,
    /// Whether a coffer with much dead space is compacted while it is open and when it closes.
    pub auto_compact: bool,
    /// The suffix of the path of a copy that is made before the first change.
    pub backup: Option<String>,
    /// Which locks to take.
    pub lock: LockMode,
    /// How long to wait for them.
    pub lock_timeout: Duration,
    /// The directory of sealed temporary files, in place of the system's temp directory.
    pub temp_dir: Option<PathBuf>,
    /// The zstd level for members, in place of the kind's.
    pub level: Option<i32>,
    /// Bytes of a full chunk, its 32 bytes of framing included, for a new coffer: 64 KiB. A coffer that
    /// is opened for writing must have the same.
    pub chunk_size: Option<u32>,
    /// Bytes of a member in a full block, for a new coffer: 1 MiB. A coffer that is opened for writing
    /// must have the same.
    pub piece_size: Option<u32>,
    /// Whether a flush waits for the disk.
    pub durable: bool,
    /// Whether a coffer in PyCoffer's format is accepted.
    pub legacy: bool,
    /// The most bytes of a member that is read or extracted, and of all that an extraction writes, or
    /// that a coffer in PyCoffer's format unpacks to: all of it is read at opening.
    pub limits: Limits,
    /// The most bytes, before compression, of all commits that the catalog is read from; no limit by
    /// default.
    pub max_catalog: Option<u64>,
    /// A commit that must be in the coffer's history; not for [`Mode::Write`] and [`Mode::Exclusive`].
    pub expect: Option<CommitId>,
    /// Cancels the opening.
    pub cancel: Cancel,
}

const CHUNK_SIZE: u32 = 64 << 10;
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);
const SCRUB_DELAY: Duration = Duration::from_secs(1);

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new(mode: Mode, kind: Kind) -> Self {
        Self {
            mode,
            replace: false,
            kind,
            accept_file_cipher: false,
            coffer_key: None,
            secure_key: None,
            passphrase: None,
            kdf: KdfChoice::default(),
            max_kdf_memory: None,
            auto_flush: None,
            scrub_delay: SCRUB_DELAY,
            auto_compact: true,
            backup: None,
            lock: LockMode::default(),
            lock_timeout: LOCK_TIMEOUT,
            temp_dir: None,
            level: None,
            chunk_size: None,
            piece_size: None,
            durable: true,
            legacy: false,
            limits: Limits::default(),
            max_catalog: None,
            expect: None,
            cancel: Cancel::default(),
        }
    }

    /// The credentials that the caller offers.
    pub(crate) fn credentials(&self) -> Result<Credentials> {
        Credentials::new(self.coffer_key.clone(), self.secure_key.clone(), self.passphrase.clone())
    }

    /// The header of a new coffer, and its keys.
    pub(crate) fn header(&self, credentials: &Credentials) -> Result<(Header, Keys)> {
        let chunk = self
            .chunk_size
            .unwrap_or(CHUNK_SIZE)
            .saturating_sub(crate::format::chunk::HEADER as u32);
        let kind = self.level.map_or(self.kind, |level| self.kind.with_level(level));
        let piece = self.piece_size.unwrap_or(kind.piece_size());
        header::check_sizes(chunk, piece).map_err(|_| {
            Error::new(
                Code::InvalidArg,
                "chunkSize must be from 288 bytes to 4 MiB, and blockSize from 4 KiB to 16 MiB",
            )
        })?;
        credentials.check(&kind)?;
        let (keys, key_source) = credentials.make(self.kdf.over(Kdf::DEFAULT)?, &self.cancel)?;
        Ok((Header::new(kind, &keys, &key_source, chunk, piece)?, keys))
    }

    /// Checks the options of a new coffer against the header of one that exists: nothing changes them
    /// but new keys and a new file.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for one that the coffer has another value of.
    pub(crate) fn check_made(&self, header: &Header) -> Result<()> {
        let chunk = header.chunk_plain.saturating_add(crate::format::chunk::HEADER as u32);
        let kdf = KeySource::in_marks(&header.marks)?.kdf;
        let KdfChoice { memory, passes } = self.kdf;
        let made = [
            ("chunkSize", self.chunk_size, Some(chunk)),
            ("blockSize", self.piece_size, Some(header.piece)),
            ("kdf.memory", memory, kdf.map(|kdf| kdf.memory)),
            ("kdf.passes", passes.map(u32::from), kdf.map(|kdf| kdf.passes.into())),
        ];
        for (option, asked, has) in made {
            let Some(asked) = asked.filter(|asked| Some(*asked) != has) else { continue };
            let has = has.map_or_else(
                || "its keys come from no passphrase".to_owned(),
                |has| format!("the coffer has {has}"),
            );
            return Err(Error::new(
                Code::InvalidArg,
                format!(
                    "{option} is {asked}, but {has}: it is chosen when a coffer is made. Leave it out, or give what the coffer has"
                ),
            ));
        }
        Ok(())
    }

    /// A header for the members of a coffer in PyCoffer's format, which has none, and its keys.
    ///
    /// # Errors
    /// [`Code::WrongKey`] for a passphrase; as [`Self::header`].
    pub(crate) fn legacy_header(&self, credentials: &Credentials) -> Result<(Header, Keys)> {
        credentials.check_legacy()?;
        self.header(credentials)
    }
}
