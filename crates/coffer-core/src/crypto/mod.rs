//! Keys, key derivation, zeroing of secrets, and the authenticated ciphers that seal chunks.

pub mod kdf;
pub mod key;
pub mod seal;
pub(crate) mod zeroing;
