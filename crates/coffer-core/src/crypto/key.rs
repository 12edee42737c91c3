//! Key material: parsing, generating, deriving, comparing.
//!
//! Chunks are sealed with the user's raw keys, as PyCoffer seals them. Everything that is Coffer's
//! own uses a subkey from BLAKE3's `derive_key` mode, with a context string for each purpose, so
//! that nothing sealed for one purpose can pass for another.

use std::fmt;
use std::sync::OnceLock;

use base64::Engine;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose};
use zeroize::Zeroizing;

use crate::crypto::zeroing;
use crate::error::{Code, Error, Result};

const METADATA_CONTEXT: &str = "coffer v1 metadata key";
const CHECK_CONTEXT: &str = "coffer v1 key check";
const MEMBER_CHECK_CONTEXT: &str = "coffer v1 member key check";
const CRYPT_CONTEXT: &str = "coffer v1 crypt key";
const CRYPT_CHECK_CONTEXT: &str = "coffer v1 crypt key check";

/// Bytes in a derived key.
const DERIVED_LEN: usize = 32;
/// Bytes in a key check.
pub const CHECK_LEN: usize = 20;

/// The bytes of a key: zeroed when dropped, never shown.
#[derive(Clone)]
pub struct Key(Zeroizing<Vec<u8>>);

impl Key {
    /// A key from base64 text, in the standard or the url-safe alphabet, padded or not. White
    /// space around it is ignored, so that the content of a file will do.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArg`] if the text is not base64 or is empty. Whether the length suits a
    /// cipher is decided by [`crate::crypto::seal::make`].
    pub fn parse_text(text: &str) -> Result<Self> {
        const LENIENT: GeneralPurposeConfig =
            GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
        const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
        const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

        let text = text.trim();
        let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
        // Wiped also where the text stops being base64 halfway.
        let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        // The decoder's own message would name a byte of the key.
        let len = engine.decode_slice(text, &mut bytes).map_err(|_| {
            Error::new(
                Code::InvalidArg,
                "the key is not base64 or base64url text: pass it as generateKeys returned it, or as bytes",
            )
        })?;
        Self::from_bytes(&bytes[..len])
    }

    /// A key from raw bytes, copied.
    ///
    /// # Errors
    ///
    /// [`Code::InvalidArg`] if there are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::new(Code::InvalidArg, "the key is empty"));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }

    /// A new random key of `len` bytes.
    #[must_use]
    pub fn generate(len: usize) -> Self {
        let mut bytes = Zeroizing::new(vec![0; len]);
        fill_random(&mut bytes);
        Self(bytes)
    }

    /// The raw bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as url-safe base64 with padding, the form the Fernet specification gives its keys.
    #[must_use]
    pub fn to_base64url(&self) -> Zeroizing<String> {
        Zeroizing::new(general_purpose::URL_SAFE.encode(&*self.0))
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(..)")
    }
}

/// The 32-byte secretbox key that seals a coffer's own records.
#[must_use]
pub fn metadata_key(key: &Key) -> Key {
    derived(METADATA_CONTEXT, key.as_bytes())
}

/// The 32-byte secretbox key that seals the head and the tail of encrypted files.
#[must_use]
pub fn crypt_key(key: &Key) -> Key {
    derived(CRYPT_CONTEXT, key.as_bytes())
}

/// A key of [`DERIVED_LEN`] bytes from other key material, with BLAKE3's `derive_key`.
pub(crate) fn derived(context: &str, material: &[u8]) -> Key {
    let mut key = Zeroizing::new(vec![0; DERIVED_LEN]);
    zeroing::stack_after(|| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(material).finalize_xof().fill(&mut key);
    });
    Key(key)
}

/// A public value that commits to the whole container key: for a Fernet key both halves of it, of
/// which a token alone would only prove the first. `salt` has the same length in every coffer, so
/// the boundary between key and salt is never in doubt.
#[must_use]
pub fn key_check(key: &Key, salt: &[u8]) -> [u8; CHECK_LEN] {
    check(CHECK_CONTEXT, key, salt)
}

/// As [`key_check`], for the member key.
#[must_use]
pub fn member_key_check(key: &Key, salt: &[u8]) -> [u8; CHECK_LEN] {
    check(MEMBER_CHECK_CONTEXT, key, salt)
}

/// As [`key_check`], for the key of an encrypted file.
#[must_use]
pub fn crypt_key_check<const N: usize>(key: &Key, salt: &[u8]) -> [u8; N] {
    check(CRYPT_CHECK_CONTEXT, key, salt)
}

fn check<const N: usize>(context: &str, key: &Key, salt: &[u8]) -> [u8; N] {
    zeroing::stack_after(|| {
        let mut hasher = blake3::Hasher::new_derive_key(context);
        hasher.update(key.as_bytes()).update(salt);
        let mut check = [0; N];
        hasher.finalize_xof().fill(&mut check);
        check
    })
}

/// Whether `a` and `b` are equal, in a time that does not depend on where they differ.
#[must_use]
pub fn same(a: &[u8], b: &[u8]) -> bool {
    // Comparing BLAKE3 hashes takes constant time.
    blake3::hash(a) == blake3::hash(b)
}

/// `N` random bytes from libsodium, for nonces, salts and ids.
#[must_use]
pub fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill_random(&mut bytes);
    bytes
}

/// Random bytes from libsodium, in place: a key that is returned by value leaves a copy behind.
pub(crate) fn fill_random(bytes: &mut [u8]) {
    init_sodium();
    sodiumoxide::randombytes::randombytes_into(bytes);
}

/// Prepares libsodium, once, for use from many threads.
///
/// # Panics
///
/// If it has no source of randomness: nothing can be sealed on such a system.
pub(crate) fn init_sodium() {
    static READY: OnceLock<bool> = OnceLock::new();
    assert!(
        *READY.get_or_init(|| sodiumoxide::init().is_ok()),
        "libsodium could not be initialized"
    );
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn counting(len: u8) -> Key {
        Key::from_bytes(&(0..len).collect::<Vec<_>>()).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn text_is_accepted_in_both_alphabets_padded_or_not() {
        let bytes = [251, 239, 255, 0];
        for text in ["++//AA==", "++//AA", "--__AA==", "--__AA", " --__AA==\n"] {
            assert_eq!(Key::parse_text(text).unwrap().as_bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn text_that_is_not_canonical_base64_is_refused_without_showing_it() {
        for text in ["", "  ", "AAA*", "A", "AB", "++__AA", "AA AA"] {
            let error = Key::parse_text(text).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArg, "{text}");
            assert!(!error.message().contains('*'));
        }
        assert_eq!(Key::from_bytes(&[]).unwrap_err().code(), Code::InvalidArg);
    }

    #[test]
    fn text_form_is_read_back() {
        for len in [16, 24, 32] {
            let key = Key::generate(len);
            assert_eq!(key.as_bytes().len(), len);
            assert_eq!(Key::parse_text(&key.to_base64url()).unwrap().as_bytes(), key.as_bytes());
        }
        assert_eq!(
            counting(32).to_base64url().as_str(),
            "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
        );
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", counting(32)), "Key(..)");
    }

    /// Made with the `blake3` package of Python:
    /// `blake3(key + salt, derive_key_context=...).hexdigest()`.
    #[test]
    fn derived_values_are_those_of_another_blake3() {
        let salt: Vec<u8> = (64..80).collect();
        assert_eq!(
            hex(metadata_key(&counting(32)).as_bytes()),
            "688fe4cac65d3b50818b8d7d85290159ecc0175e2d3aceb60c6847efa9c1c57a"
        );
        assert_eq!(
            hex(&key_check(&counting(32), &salt)),
            "653ff33f3486e0168044006d8e447e814dcab7da"
        );
        assert_eq!(
            hex(&member_key_check(&counting(32), &salt)),
            "717d0b9c9d889810c09e42d2cc67a781e5b41737"
        );
    }

    #[test]
    fn check_depends_on_every_byte_of_key_and_salt() {
        let (key, salt) = ([7; 32], [9; 16]);
        let whole = key_check(&Key::from_bytes(&key).unwrap(), &salt);
        for at in 0..32 {
            let mut other = key;
            other[at] ^= 1;
            assert_ne!(key_check(&Key::from_bytes(&other).unwrap(), &salt), whole);
        }
        for at in 0..16 {
            let mut other = salt;
            other[at] ^= 1;
            assert_ne!(key_check(&Key::from_bytes(&key).unwrap(), &other), whole);
        }
    }

    #[test]
    fn same_compares_length_and_content() {
        assert!(same(b"", b""));
        assert!(same(b"abc", b"abc"));
        assert!(!same(b"abc", b"abd"));
        assert!(!same(b"abc", b"abc\0"));
    }

    #[test]
    fn random_bytes_differ() {
        assert_ne!(random_bytes::<32>(), random_bytes::<32>());
        assert_ne!(Key::generate(32).as_bytes(), Key::generate(32).as_bytes());
    }
}
