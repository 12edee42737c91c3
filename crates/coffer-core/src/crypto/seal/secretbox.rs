//! `XSalsa20`-Poly1305 from libsodium: `nonce 24 ‖ mac 16 ‖ ciphertext`, the bytes of `PyNaCl`'s
//! `SecretBox.encrypt`.

use sodiumoxide::crypto::secretbox::{self, MACBYTES, NONCEBYTES, Nonce, Tag};

use super::suite::{Cipher, Seal, Suite, Unauthentic};
use std::sync::Arc;

use crate::crypto::key::{self, Key};
use crate::crypto::zeroing;

const OVERHEAD: usize = NONCEBYTES + MACBYTES;

pub(super) const SUITE: Suite = Suite {
    cipher: Cipher::Secretbox,
    name: "secretbox",
    key_lengths: &[32],
    suits_banks: false,
    make,
};

fn make(key: &Key) -> Option<Arc<dyn Seal>> {
    Some(Arc::new(SecretboxSeal::new(key.as_bytes().try_into().ok()?)))
}

/// The secretbox seal. Coffer's own records use it too, whatever seals the chunks.
pub struct SecretboxSeal(Box<secretbox::Key>);

impl SecretboxSeal {
    /// The seal under `key`.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        key::init_sodium();
        Self(zeroing::stack_after(|| Box::new(secretbox::Key(*key))))
    }
}

impl Seal for SecretboxSeal {
    fn seal(&self, plain: &[u8], out: &mut Vec<u8>) {
        let nonce = Nonce(key::random_bytes());
        out.reserve(self.sealed_len(plain.len()));
        out.extend_from_slice(&nonce.0);
        let mac_at = out.len();
        out.extend_from_slice(&[0; MACBYTES]);
        out.extend_from_slice(plain);
        let (mac, text) = out[mac_at..].split_at_mut(MACBYTES);
        let tag = zeroing::stack_after(|| secretbox::seal_detached(text, &nonce, &self.0));
        mac.copy_from_slice(&tag.0);
    }

    fn open(&self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Unauthentic> {
        let (nonce, rest) = sealed.split_first_chunk().ok_or(Unauthentic)?;
        let (mac, text) = rest.split_first_chunk().ok_or(Unauthentic)?;
        let start = out.len();
        out.extend_from_slice(text);
        // Nothing is decrypted before the tag has been verified.
        let (tag, nonce) = (Tag(*mac), Nonce(*nonce));
        zeroing::stack_after(|| secretbox::open_detached(&mut out[start..], &tag, &nonce, &self.0))
            .map_err(|()| {
                out.truncate(start);
                Unauthentic
            })
    }

    fn sealed_len(&self, plain_len: usize) -> usize {
        OVERHEAD + plain_len
    }

    fn binding<'a>(&self, sealed: &'a [u8]) -> Option<[&'a [u8]; 2]> {
        let (nonce, mac) = sealed.get(..OVERHEAD)?.split_at(NONCEBYTES);
        Some([nonce, mac])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{opened, unhex};
    use super::*;

    /// Made with `PyNaCl` 1.6: `SecretBox(bytes(range(32))).encrypt(plain, bytes(range(100, 124)))`.
    #[test]
    fn chunks_of_pynacl_open() {
        let key: Vec<u8> = (0..32).collect();
        let seal = SecretboxSeal::new(key.as_slice().try_into().unwrap());
        let nonce = "6465666768696a6b6c6d6e6f707172737475767778797a7b";
        for (sealed, plain) in [
            ("07f3f313bf159bff805dbeb3b7546a8f60cce0e957dfa282ba", &b"buy milk\n"[..]),
            ("f49572d6194281e3c87fbb4e2106932c", b""),
        ] {
            let sealed = unhex(&format!("{nonce}{sealed}"));
            assert_eq!(opened(&seal, &sealed).unwrap(), plain);
            assert_eq!(seal.sealed_len(plain.len()), sealed.len());
            assert_eq!(seal.binding(&sealed).unwrap(), [&sealed[..24], &sealed[24..40]]);
        }
    }
}
