//! The interface of a cipher: its seal, and the facts about its keys.

use std::fmt;
use std::sync::Arc;

use crate::crypto::key::Key;

/// An authenticated cipher with its key.
pub trait Seal: Send + Sync {
    /// Appends the sealed form of `plain` to `out`, under a fresh random nonce.
    ///
    /// # Panics
    ///
    /// If `plain` has 1 GB or more. Chunks are far smaller; their size is checked in the header.
    fn seal(&self, plain: &[u8], out: &mut Vec<u8>);

    /// Appends the plaintext of `sealed` to `out`.
    ///
    /// # Errors
    ///
    /// [`Unauthentic`] if `sealed` was not made with this key or has been changed. `out` is then
    /// as it was.
    fn open(&self, sealed: &[u8], out: &mut Vec<u8>) -> std::result::Result<(), Unauthentic>;

    /// The exact length of the sealed form of `plain_len` bytes.
    fn sealed_len(&self, plain_len: usize) -> usize;

    /// The parts of a sealed chunk that determine all of it for a person without the key: the nonce and
    /// the tag. `None` if `sealed` is shorter than any sealed chunk.
    fn binding<'a>(&self, sealed: &'a [u8]) -> Option<[&'a [u8]; 2]>;
}

/// The chunk was not sealed with this key, or has been changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unauthentic;

impl fmt::Display for Unauthentic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sealed with another key, or changed since")
    }
}

impl std::error::Error for Unauthentic {}

/// A cipher that a layer can be sealed with. The numbers are those of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Cipher {
    /// `XSalsa20` and Poly1305, as in NaCl's `crypto_secretbox`.
    Secretbox = 1,
    /// Fernet tokens: AES-128-CBC and HMAC-SHA256, in base64.
    Fernet = 2,
    /// AES in OCB mode (RFC 7253), with a key of any AES size.
    AesOcb = 3,
}

/// The facts about a cipher, which its own file states.
pub(super) struct Suite {
    pub(super) cipher: Cipher,
    /// The name in options, messages and documents.
    pub(super) name: &'static str,
    /// The lengths in bytes that a key may have. The last is the one to generate.
    pub(super) key_lengths: &'static [usize],
    /// Whether the container of a Bank may be sealed with it.
    pub(super) suits_banks: bool,
    /// The seal under a key of one of those lengths.
    pub(super) make: fn(&Key) -> Option<Arc<dyn Seal>>,
}
