//! Seals: authenticated encryption of one chunk, in the forms that PyCoffer writes.
//!
//! Each cipher is one file, so that the library behind it can be replaced.

mod aes_ocb;
mod fernet;
mod secretbox;
mod suite;

use std::sync::Arc;

pub use self::secretbox::SecretboxSeal;
use self::suite::Suite;
pub use self::suite::{Cipher, Seal, Unauthentic};
use crate::crypto::key::Key;
use crate::crypto::zeroing;
use crate::error::{Code, Error, Result};

/// Every cipher, in the order of their numbers, which begin with 1.
const SUITES: [&Suite; 3] = [&secretbox::SUITE, &fernet::SUITE, &aes_ocb::SUITE];

impl Cipher {
    /// Every cipher.
    pub fn all() -> impl Iterator<Item = Self> {
        SUITES.iter().map(|suite| suite.cipher)
    }

    const fn suite(self) -> &'static Suite {
        SUITES[self as usize - 1]
    }

    /// The cipher's name: `secretbox`, `fernet` or `aes-ocb`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.suite().name
    }

    /// The cipher of this name, if there is one.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::all().find(|cipher| cipher.as_str() == name)
    }

    /// The lengths in bytes that a key may have. The last is the one to generate.
    #[must_use]
    pub const fn key_lengths(self) -> &'static [usize] {
        self.suite().key_lengths
    }

    /// Whether the container of a Bank may be sealed with it.
    #[must_use]
    pub const fn suits_banks(self) -> bool {
        self.suite().suits_banks
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
        let lengths: Vec<String> = self.key_lengths().iter().map(ToString::to_string).collect();
        let expected = match lengths.split_last() {
            Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
            _ => lengths.join(""),
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
    let seal = zeroing::stack_after(|| (cipher.suite().make)(key));
    seal.ok_or_else(|| Error::new(Code::InvalidArg, "the key does not suit the cipher"))
}

/// The number of a layer's cipher in a header: 0 where the layer is not sealed.
pub(crate) const fn cipher_byte(cipher: Option<Cipher>) -> u8 {
    match cipher {
        None => 0,
        Some(cipher) => cipher as u8,
    }
}

/// The cipher of a number in a header, if that is known. Of 0 it is no cipher.
pub(crate) fn cipher_of(byte: u8) -> Option<Option<Cipher>> {
    match byte {
        0 => Some(None),
        number => Cipher::all().find(|cipher| *cipher as u8 == number).map(Some),
    }
}

/// The name of a layer's cipher in messages.
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
        for cipher in Cipher::all() {
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
    fn names_and_numbers_are_read_back() {
        for (at, cipher) in Cipher::all().enumerate() {
            assert_eq!(cipher as usize, at + 1);
            assert_eq!(cipher_of(cipher_byte(Some(cipher))), Some(Some(cipher)));
        }
        assert_eq!((cipher_of(0), cipher_of(SUITES.len() as u8 + 1)), (Some(None), None));
        for cipher in Cipher::all() {
            assert_eq!(Cipher::parse(cipher.as_str()), Some(cipher));
        }
        assert_eq!(Cipher::parse("none"), None);
    }
}
