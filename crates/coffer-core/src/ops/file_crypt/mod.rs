//! Encryption of files outside of coffers with a coffer's key: zstd frames in sealed chunks, as
//! PyCoffer's `crypt` writes and reads them.
//!
//! PyCoffer's form authenticates chunks one by one. To authenticate their order and number as well, a
//! file begins with a *head* and ends with a *tail*: records in skippable frames, which PyCoffer
//! passes over. The tail holds the digest of all bytes before it.

mod decryptor;
mod encryptor;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
#[cfg(test)]
mod tests;
mod transfer;

use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

pub use self::decryptor::{Decryptor, MAX_PULL};
pub use self::encryptor::Encryptor;
pub use self::transfer::DecryptOptions;
use crate::error::{Code, Error, Result};
use crate::format::block::Layers;
use crate::format::chunk;
use crate::format::encrypted_file::FileKey;
use crate::format::frame;
pub use crate::io::output::Output;

/// A cryptor encrypts and decrypts files outside of a coffer with the coffer's key: that of its
/// members, or that of its container where members are not sealed.
///
/// It has a copy of the key, so it outlives the coffer.
#[derive(Clone)]
pub struct Cryptor {
    key: FileKey,
    level: i32,
    /// Plaintext bytes of a full chunk.
    chunk_plain: usize,
    /// Bytes of plaintext in a full piece. Each piece is a frame of its own.
    piece: usize,
    /// The coffer's path: its own files are refused as targets.
    coffer: PathBuf,
}

impl Cryptor {
    /// The cryptor of a coffer with these layers, at this path.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if they seal nothing.
    pub(crate) fn of(layers: &Layers, coffer: &Path) -> Result<Self> {
        let key = layers.files.clone().ok_or_else(|| {
            Error::new(
                Code::InvalidArg,
                "the coffer has no key, so it cannot encrypt files: take one of a kind that seals",
            )
        })?;
        Ok(Self {
            key,
            level: layers.member_level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL),
            chunk_plain: layers.chunk_plain,
            piece: layers.piece,
            coffer: coffer.to_path_buf(),
        })
    }

    /// The same with another zstd level than that of the coffer's members.
    #[must_use]
    pub fn with_level(self, level: i32) -> Self {
        Self { level, ..self }
    }

    /// Begins a file to encrypt.
    #[must_use]
    pub fn encryptor(&self) -> Encryptor {
        Encryptor::new(self.clone())
    }

    /// Begins a file to decrypt. With `legacy` it may be in PyCoffer's form, in which nothing
    /// authenticates the order and the number of the chunks.
    ///
    /// # Errors
    /// [`Code::Limit`] if there is no memory for a decompressor.
    pub fn decryptor(&self, legacy: bool) -> Result<Decryptor> {
        Decryptor::new(self.key.clone(), legacy)
    }

    /// One piece: a frame, in sealed chunks.
    fn encode(&self, piece: &[u8]) -> Result<Vec<u8>> {
        let packed = Zeroizing::new(frame::compress(self.level, piece)?.into_vec());
        let mut out = Vec::new();
        chunk::put_all(&*self.key.seal, &packed, self.chunk_plain, &mut out);
        Ok(out)
    }
}
