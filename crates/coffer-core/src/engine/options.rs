//! How a coffer is opened.

use std::path::PathBuf;
use std::time::Duration;

use crate::crypto::kdf::{Kdf, KdfChoice, Passphrase};
use crate::crypto::key::Key;
use crate::engine::credentials::Credentials;
use crate::engine::limits::Limits;
use crate::error::{Code, Error, Result};
use crate::format::commit::CommitId;
use crate::format::header::{self, Header};
use crate::format::keys::Keys;
use crate::format::kind::Kind;
use crate::io::lock_set::LockMode;
use crate::progress::Cancel;

/// How a coffer is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `r`: to read; the coffer must exist.
    Read,
    /// `w`: to write; a coffer that exists is replaced by an empty one.
    Write,
    /// `a`: to read and write; a coffer that does not exist is made.
    Append,
    /// `x`: to write a new coffer; one that exists is an error.
    Exclusive,
}

impl Mode {
    /// Reads `r`, `w`, `a` or `x`, each also with a `b` behind it.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for anything else.
    pub fn parse(mode: &str) -> Result<Self> {
        match mode.strip_suffix('b').unwrap_or(mode) {
            "r" => Ok(Self::Read),
            "w" => Ok(Self::Write),
            "a" => Ok(Self::Append),
            "x" => Ok(Self::Exclusive),
            _ => Err(Error::new(
                Code::InvalidArg,
                format!(
                    "{mode:?} is not a mode: it is 'r', 'w', 'a' or 'x', or one of them with 'b'"
                ),
            )),
        }
    }
}

/// How to open a coffer. Sizes are in bytes.
#[derive(Clone)]
pub struct Options {
    /// To read or to write.
    pub mode: Mode,
    /// What it is, or is to be.
    pub kind: Kind,
    /// The container's cipher was left to the file: a Bank may have one of two.
    pub accept_file_cipher: bool,
    /// The container's key.
    pub coffer_key: Option<Key>,
    /// The members' key.
    pub secure_key: Option<Key>,
    /// A passphrase in place of keys.
    pub passphrase: Option<Passphrase>,
    /// How hard the passphrase of a new coffer is to guess, in place of [`Kdf::DEFAULT`].
    pub kdf: KdfChoice,
    /// The most memory that deriving keys may take where the file says how much it takes, in KiB: that
    /// of [`Kdf::MAX`] by default.
    pub max_kdf_memory: Option<u32>,
    /// Whether each change is flushed before it returns; by default what the kind says.
    pub auto_flush: Option<bool>,
    /// What is appended to the path for a copy made before the first change.
    pub backup: Option<String>,
    /// Which locks to take.
    pub lock: LockMode,
    /// How long to wait for them.
    pub lock_timeout: Duration,
    /// Where to keep what legacy coffers need, in place of the system's temp directory.
    pub temp_dir: Option<PathBuf>,
    /// The zstd level for members, in place of the kind's.
    pub level: Option<i32>,
    /// Bytes of a full chunk, its 32 bytes of framing included, for a new coffer: 64 KiB.
    pub chunk_size: Option<u32>,
    /// Bytes of a member in a full block, for a new coffer: 1 MiB.
    pub piece_size: Option<u32>,
    /// Whether a flush waits for the disk.
    pub durable: bool,
    /// Whether a coffer in PyCoffer's format is accepted.
    pub legacy: bool,
    /// The most bytes that a coffer in PyCoffer's format may unpack to: it is read whole when it is
    /// opened.
    pub limits: Limits,
    /// The most bytes that the commits which the catalog is read from may have together before
    /// compression; any number by default.
    pub max_catalog: Option<u64>,
    /// A commit that must be in the coffer's history.
    pub expect: Option<CommitId>,
    /// Calls the opening off.
    pub cancel: Cancel,
}

const CHUNK_SIZE: u32 = 64 << 10;
const LOCK_TIMEOUT: Duration = Duration::from_secs(1);

impl Options {
    /// The defaults.
    #[must_use]
    pub fn new(mode: Mode, kind: Kind) -> Self {
        Self {
            mode,
            kind,
            accept_file_cipher: false,
            coffer_key: None,
            secure_key: None,
            passphrase: None,
            kdf: KdfChoice::default(),
            max_kdf_memory: None,
            auto_flush: None,
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

    /// What opens the coffer.
    pub(crate) fn secret(&self) -> Result<Credentials> {
        Credentials::new(self.coffer_key.clone(), self.secure_key.clone(), self.passphrase.clone())
    }

    /// The header of a new coffer, and its keys.
    pub(crate) fn header(&self, secret: &Credentials) -> Result<(Header, Keys)> {
        let chunk = self
            .chunk_size
            .unwrap_or(CHUNK_SIZE)
            .saturating_sub(crate::format::chunk::HEADER as u32);
        let kind = self.level.map_or(self.kind, |level| self.kind.with_level(level));
        let block = self.piece_size.unwrap_or(kind.piece_size());
        header::check_sizes(chunk, block).map_err(|_| {
            Error::new(
                Code::InvalidArg,
                "chunkSize must be from 288 bytes to 4 MiB, and blockSize from 4 KiB to 16 MiB",
            )
        })?;
        secret.check(&kind)?;
        let (keys, origin) = secret.make(self.kdf.over(Kdf::DEFAULT)?, &self.cancel)?;
        Ok((Header::new(kind, &keys, &origin, chunk, block)?, keys))
    }
}
