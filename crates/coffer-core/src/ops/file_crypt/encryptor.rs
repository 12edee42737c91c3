//! The encryptor: from plaintext to an encrypted file.

use zeroize::Zeroizing;

use super::Cryptor;
use crate::crypto::key;
use crate::error::Result;
use crate::format::encrypted_file::{FileId, FileTail};
use crate::io::pool;

/// Encrypts one file that is given in parts of any size. The pieces in a part are encoded in
/// parallel.
pub struct Encryptor {
    cryptor: Cryptor,
    id: FileId,
    /// The beginning of a piece whose rest is still to come.
    ahead: Zeroizing<Vec<u8>>,
    /// Bytes of plaintext encoded so far.
    length: u64,
    /// The digest of all bytes of the file so far.
    hasher: blake3::Hasher,
    /// Whether the head was written.
    begun: bool,
}

impl Encryptor {
    pub(super) fn new(cryptor: Cryptor) -> Self {
        // Never longer than this: a vector that grows leaves copies of its contents behind.
        let ahead = Zeroizing::new(Vec::with_capacity(cryptor.piece));
        let hasher = blake3::Hasher::new();
        Self { cryptor, id: key::random_bytes(), ahead, length: 0, hasher, begun: false }
    }

    /// Takes the next part of the plaintext, and returns the next part of the file, which may be
    /// empty. It is about as long as what was given, or shorter by up to a piece.
    ///
    /// # Errors
    /// [`Code::Limit`](crate::error::Code::Limit) if zstd has no memory. The file is to be given up
    /// then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<Vec<u8>> {
        let piece = self.cryptor.piece;
        let missing = if self.ahead.is_empty() { 0 } else { piece - self.ahead.len() };
        let (first, rest) = bytes.split_at(missing.min(bytes.len()));
        self.ahead.extend_from_slice(first);
        let filled = self.ahead.len() == piece;
        let whole = rest.chunks_exact(piece);
        let later = whole.remainder();
        let pieces: Vec<&[u8]> = filled.then_some(&**self.ahead).into_iter().chain(whole).collect();
        let encoded = pool::each(&pieces, |piece| self.cryptor.encode(piece))?;
        self.length += pieces.iter().map(|piece| piece.len() as u64).sum::<u64>();
        if filled {
            self.ahead.clear();
        }
        self.ahead.extend_from_slice(later);
        Ok(self.next(&encoded))
    }

    /// Takes the end of the plaintext, and returns the rest of the file.
    ///
    /// # Errors
    /// As [`Self::push`].
    pub fn finish(mut self) -> Result<Vec<u8>> {
        let mut last = Vec::new();
        // PyCoffer does not read a file without any frame.
        if !self.ahead.is_empty() || self.length == 0 {
            last.push(self.cryptor.encode(&self.ahead)?);
            self.length += self.ahead.len() as u64;
        }
        let mut out = self.next(&last);
        let digest = *self.hasher.finalize().as_bytes();
        let tail = FileTail { id: self.id, length: self.length, digest };
        self.cryptor.key.write_tail(&tail, &mut out);
        Ok(out)
    }

    /// The next bytes of the file: its head, if it is not written yet, and these pieces.
    fn next(&mut self, pieces: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        if !std::mem::replace(&mut self.begun, true) {
            self.cryptor.key.write_head(&self.id, &mut out);
        }
        out.reserve(pieces.iter().map(Vec::len).sum());
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        self.hasher.update(&out);
        out
    }
}
