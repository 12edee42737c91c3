//! The ciphers that the engine has, for the facade's list to be compared with.

use coffer_core::format::kind::Cipher;
use napi_derive::napi;

/// A cipher, as the engine states it.
#[napi(object, object_from_js = false)]
pub struct NativeCipher {
    /// The name in options.
    pub name: String,
    /// The lengths in bytes that a key may have. The last is the one to generate.
    pub key_lengths: Vec<u32>,
    /// Whether the container of a Bank may be sealed with it.
    pub suits_banks: bool,
}

/// Every cipher of the engine, in the order of their numbers in a header.
#[napi]
#[must_use]
pub fn ciphers() -> Vec<NativeCipher> {
    Cipher::all()
        .map(|cipher| NativeCipher {
            name: cipher.as_str().to_owned(),
            key_lengths: cipher.key_lengths().iter().map(|len| *len as u32).collect(),
            suits_banks: cipher.suits_banks(),
        })
        .collect()
}
