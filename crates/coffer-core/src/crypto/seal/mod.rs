//! Seals: authenticated encryption of one chunk, in the forms that PyCoffer writes.
//!
//! Each cipher is one file, so that the library behind it can be replaced.

mod aes_ocb;
mod fernet;
mod secretbox;

use std::fmt;
use std::sync::Arc;

pub use self::secretbox::SecretboxSeal;
use crate::crypto::key::Key;
use crate::crypto::zeroing;
use crate::error::{Code, Error, Result};

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

/// The ciphers that a layer can be sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cipher {
    /// `XSalsa20` and Poly1305, as in NaCl's `crypto_secretbox`.
    Secretbox,
    /// Fernet tokens: AES-128-CBC and HMAC-SHA256, in base64.
    Fernet,
    /// AES in OCB mode (RFC 7253), with a key of any AES size.
    AesOcb,
}

impl Cipher {
    /// The cipher's name: `secretbox`, `fernet` or `aes-ocb`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Secretbox => "secretbox",
            Self::Fernet => "fernet",
            Self::AesOcb => "aes-ocb",
        }
    }

    /// The cipher of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Secretbox, Self::Fernet, Self::AesOcb]
            .into_iter()
            .find(|cipher| cipher.as_str() == name)
    }

    /// The lengths in bytes that a key may have. The last is the one to generate.
    #[must_use]
    pub const fn key_lengths(self) -> &'static [usize] {
        match self {
            Self::Secretbox | Self::Fernet => &[32],
            Self::AesOcb => &[16, 24, 32],
        }
    }

    /// Checks that `key` has a length this cipher takes.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArg`], naming the lengths it takes.
    pub fn check_len(self, key: &Key) -> Result<()> {
        let len = key.as_bytes().len();
        if self.key_lengths().contains(&len) {
            return Ok(());
        }
        let expected = match self {
            Self::Secretbox | Self::Fernet => "32",
            Self::AesOcb => "16, 24 or 32",
        };
        let name = self.as_str();
        Err(Error::new(
            Code::InvalidArg,
            format!("{name} takes a key of {expected} bytes, but the key given has {len}"),
        ))
    }
}

/// The seal of `cipher` under `key`.
///
/// # Errors
///
/// [`Code::InvalidArg`] if the key's length does not suit the cipher.
pub fn make(cipher: Cipher, key: &Key) -> Result<Arc<dyn Seal>> {
    cipher.check_len(key)?;
    let seal: Option<Arc<dyn Seal>> = zeroing::stack_after(|| match cipher {
        Cipher::Secretbox => key
            .as_bytes()
            .try_into()
            .ok()
            .map(|key| Arc::new(SecretboxSeal::new(key)) as Arc<dyn Seal>),
        Cipher::Fernet => fernet::make(key),
        Cipher::AesOcb => aes_ocb::make(key.as_bytes()),
    });
    seal.ok_or_else(|| Error::new(Code::InvalidArg, "the key does not suit the cipher"))
}

pub(crate) fn cipher_byte(cipher: Option<Cipher>) -> u8 {
    match cipher {
        None => 0,
        Some(Cipher::Secretbox) => 1,
        Some(Cipher::Fernet) => 2,
        Some(Cipher::AesOcb) => 3,
    }
}

pub(crate) fn cipher_of(byte: u8) -> Option<Option<Cipher>> {
    [None, Some(Cipher::Secretbox), Some(Cipher::Fernet), Some(Cipher::AesOcb)]
        .get(usize::from(byte))
        .copied()
}

pub(crate) fn cipher_name(cipher: Option<Cipher>) -> &'static str {
    cipher.map_or("nothing", Cipher::as_str)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every cipher with every length of key, named.
    pub(crate) fn every_seal() -> Vec<(String, Arc<dyn Seal>)> {
        let mut seals = Vec::new();
        for cipher in [Cipher::Secretbox, Cipher::Fernet, Cipher::AesOcb] {
            for &len in cipher.key_lengths() {
                let name = format!("{} with {len} bytes of key", cipher.as_str());
                seals.push((name, make(cipher, &Key::generate(len)).unwrap()));
            }
        }
        seals
    }

    pub(super) fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    pub(super) fn opened(
        seal: &dyn Seal,
        sealed: &[u8],
    ) -> std::result::Result<Vec<u8>, Unauthentic> {
        let mut out = Vec::new();
        seal.open(sealed, &mut out).map(|()| out)
    }

    fn sealed(seal: &dyn Seal, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        seal.seal(plain, &mut out);
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_sealed_opens_and_has_the_length_foretold(plain: Vec<u8>, before: Vec<u8>) {
            for (name, seal) in every_seal() {
                let mut out = before.clone();
                seal.seal(&plain, &mut out);
                let chunk = out.split_off(before.len());
                prop_assert_eq!(&out, &before, "{}", name);
                prop_assert_eq!(chunk.len(), seal.sealed_len(plain.len()), "{}", name);
                prop_assert_eq!(seal.open(&chunk, &mut out), Ok(()), "{}", name);
                prop_assert_eq!(&out[..before.len()], &before[..], "{}", name);
                prop_assert_eq!(&out[before.len()..], &plain[..], "{}", name);
            }
        }
    }

    #[test]
    fn chunks_of_every_size_keep_their_length() {
        for (name, seal) in every_seal() {
            for len in (0..70).chain([4095, 4096, 65535, 65536, 65537]) {
                let chunk = sealed(&*seal, &vec![5; len]);
                assert_eq!(chunk.len(), seal.sealed_len(len), "{name}, {len} bytes");
                assert_eq!(opened(&*seal, &chunk).unwrap(), vec![5; len], "{name}, {len} bytes");
            }
        }
    }

    #[test]
    fn no_flipped_bit_goes_unseen() {
        for (name, seal) in every_seal() {
            let mut chunk = sealed(&*seal, b"buy milk, and bread");
            for bit in 0..chunk.len() * 8 {
                chunk[bit / 8] ^= 1 << (bit % 8);
                let mut out = b"before".to_vec();
                assert_eq!(seal.open(&chunk, &mut out), Err(Unauthentic), "{name}, bit {bit}");
                assert_eq!(out, b"before", "{name}, bit {bit}");
                chunk[bit / 8] ^= 1 << (bit % 8);
            }
            assert!(opened(&*seal, &chunk).is_ok(), "{name}");
        }
    }

    #[test]
    fn nothing_truncated_or_extended_opens() {
        for (name, seal) in every_seal() {
            let chunk = sealed(&*seal, b"buy milk, and bread");
            for len in 0..chunk.len() {
                assert_eq!(opened(&*seal, &chunk[..len]), Err(Unauthentic), "{name}, {len} bytes");
                assert_eq!(
                    opened(&*seal, &chunk[len + 1..]),
                    Err(Unauthentic),
                    "{name}, {len} bytes"
                );
            }
            for more in [&b"\0"[..], b"=", b"A", b"AAAA", b"====", b"\n", b" "] {
                let longer = [&chunk, more].concat();
                assert_eq!(opened(&*seal, &longer), Err(Unauthentic), "{name}, {more:?}");
            }
        }
    }

    #[test]
    fn another_key_or_another_cipher_does_not_open() {
        let plain = b"buy milk";
        for (made_by, maker) in every_seal() {
            let chunk = sealed(&*maker, plain);
            for (name, other) in every_seal() {
                assert_eq!(opened(&*other, &chunk), Err(Unauthentic), "{made_by} by {name}");
            }
        }
    }

    #[test]
    fn sealing_twice_gives_different_chunks_with_different_bindings() {
        for (name, seal) in every_seal() {
            let (one, two) = (sealed(&*seal, b"milk"), sealed(&*seal, b"milk"));
            assert_ne!(one, two, "{name}");
            let (one, two) = (seal.binding(&one).unwrap(), seal.binding(&two).unwrap());
            assert_ne!(one[0], two[0], "{name}");
            assert_ne!(one[1], two[1], "{name}");
        }
    }

    #[test]
    fn what_is_too_short_has_no_binding() {
        for (name, seal) in every_seal() {
            let shortest = sealed(&*seal, b"");
            for len in 0..shortest.len() {
                assert_eq!(seal.binding(&shortest[..len]), None, "{name}, {len} bytes");
            }
            assert!(seal.binding(&shortest).is_some(), "{name}");
        }
    }

    #[test]
    fn keys_of_other_lengths_are_refused_by_name() {
        for (cipher, lens, expected) in [
            (Cipher::Secretbox, &[1, 16, 24, 31, 33, 64][..], "32 bytes"),
            (Cipher::Fernet, &[1, 16, 24, 31, 33, 44], "32 bytes"),
            (Cipher::AesOcb, &[1, 15, 17, 31, 33, 64], "16, 24 or 32 bytes"),
        ] {
            for &len in lens {
                let Err(error) = make(cipher, &Key::generate(len)) else {
                    unreachable!("{cipher:?} took {len} bytes");
                };
                assert_eq!(error.code(), Code::InvalidArg);
                assert!(error.message().contains(cipher.as_str()));
                assert!(error.message().contains(expected), "{error}");
                assert!(error.message().contains(&len.to_string()), "{error}");
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for cipher in [Cipher::Secretbox, Cipher::Fernet, Cipher::AesOcb] {
            assert_eq!(Cipher::parse(cipher.as_str()), Some(cipher));
        }
        assert_eq!(Cipher::parse("none"), None);
    }
}
