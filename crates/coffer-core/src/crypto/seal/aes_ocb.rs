//! AES-OCB ([RFC 7253](https://www.rfc-editor.org/rfc/rfc7253)): `tag 16 ‖ nonce 15 ‖ ciphertext`,
//! no associated data; the bytes that PyCoffer writes with pycryptodome's `MODE_OCB`.

use std::sync::Arc;

use aes::cipher::array::Array;
use aes::cipher::consts::{U15, U16};
use aes::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, BlockSizeUser};
use aes::{Aes128, Aes192, Aes256};
use ocb3::{AeadInOut, KeyInit, Ocb3};
use zeroize::Zeroize;

use super::suite::{Cipher, Seal, Suite, Unauthentic};
use crate::crypto::key::{self, Key};
use crate::crypto::zeroing;

const TAG: usize = 16;
const NONCE: usize = 15;
const OVERHEAD: usize = TAG + NONCE;

struct AesOcbSeal<Aes>(Ocb3<Aes, U15, U16>);

pub(super) const SUITE: Suite = Suite {
    cipher: Cipher::AesOcb,
    name: "aes-ocb",
    key_lengths: &[16, 24, 32],
    suits_banks: true,
    make,
};

/// The AES-OCB seal, if `key` has the length of an AES key.
fn make(key: &Key) -> Option<Arc<dyn Seal>> {
    let key = key.as_bytes();
    Some(match key.len() {
        16 => Arc::new(AesOcbSeal(Ocb3::<Aes128, _, _>::new_from_slice(key).ok()?)),
        24 => Arc::new(AesOcbSeal(Ocb3::<Aes192, _, _>::new_from_slice(key).ok()?)),
        32 => Arc::new(AesOcbSeal(Ocb3::<Aes256, _, _>::new_from_slice(key).ok()?)),
        _ => return None,
    })
}

impl<Aes> Seal for AesOcbSeal<Aes>
where
    Aes: BlockCipherEncrypt + BlockCipherDecrypt + BlockSizeUser<BlockSize = U16> + Send + Sync,
{
    fn seal(&self, plain: &[u8], out: &mut Vec<u8>) {
        let nonce: [u8; NONCE] = key::random_bytes();
        out.reserve(self.sealed_len(plain.len()));
        let tag_at = out.len();
        out.extend_from_slice(&[0; TAG]);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(plain);
        let (head, text) = out[tag_at..].split_at_mut(OVERHEAD);
        let nonce = Array(nonce);
        match zeroing::stack_after(|| self.0.encrypt_inout_detached(&nonce, &[], text.into())) {
            Ok(tag) => head[..TAG].copy_from_slice(&tag),
            Err(_) => unreachable!("a chunk is smaller than a gigabyte"),
        }
    }

    fn open(&self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Unauthentic> {
        let (tag, rest) = sealed.split_first_chunk::<TAG>().ok_or(Unauthentic)?;
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(Unauthentic)?;
        let start = out.len();
        out.extend_from_slice(text);
        let (tag, nonce) = (Array(*tag), Array(*nonce));
        zeroing::stack_after(|| {
            self.0.decrypt_inout_detached(&nonce, &[], (&mut out[start..]).into(), &tag)
        })
        .map_err(|_| {
            // OCB decrypts before it verifies: leave nothing of it behind the end.
            out[start..].zeroize();
            out.truncate(start);
            Unauthentic
        })
    }

    fn sealed_len(&self, plain_len: usize) -> usize {
        OVERHEAD + plain_len
    }

    fn binding<'a>(&self, sealed: &'a [u8]) -> Option<[&'a [u8]; 2]> {
        let (tag, nonce) = sealed.get(..OVERHEAD)?.split_at(TAG);
        Some([nonce, tag])
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::{opened, unhex};
    use super::*;

    /// Made with pycryptodome: `AES.new(bytes(range(key_len)), AES.MODE_OCB,
    /// nonce=bytes(range(200, 215))).encrypt_and_digest(bytes(range(len)))`.
    const PYCRYPTODOME: [(u8, u8, &str, &str); 12] = [
        (16, 0, "4add98ffab51bd036b48abeea2b752cf", ""),
        (16, 9, "649bf5b8c57454843ddc9ca637599d59", "db7212be9f072e4ffb"),
        (16, 16, "1490140e5b34c7f9bea5ae98858e767b", "883440eba8bbe5ed58274e76b01b9c7e"),
        (
            16,
            40,
            "8dde4fac2b2bf45031a8fbc0b3c5aaa1",
            "883440eba8bbe5ed58274e76b01b9c7ed02f07bae359d45f04f79a6504fdfe26a0a8e66a7dbd6e49",
        ),
        (24, 0, "c2aecff1fc4cc36ffc31f665f53678b7", ""),
        (24, 9, "1071849a273de478d75bf2b3faaa6a7b", "fe21ceeddaa9daf88e"),
        (24, 16, "546f1f6973aad332a2b9df7bdaa272ff", "710e3ceb7e3a46faec781c88baab54f4"),
        (
            24,
            40,
            "20656e3ccb54c7dc1196137e4365031a",
            "710e3ceb7e3a46faec781c88baab54f4ea0c74397a357ba7506394366f198fd380d7d0a26a5fe136",
        ),
        (32, 0, "c5806e3ae946801f7d92ed7f56ce3231", ""),
        (32, 9, "ef0dedc4e00df978955c0f28ea5607cd", "357b15e82dc919e3ac"),
        (32, 16, "d0817a368dbfe80f45bace7114198066", "860a97c90df9a2329f0db6af7c61a01c"),
        (
            32,
            40,
            "5778240d06368706cd82fb5c989da311",
            "860a97c90df9a2329f0db6af7c61a01cfd904cd7106ea77d74a7b345df630b2e652181d87f361891",
        ),
    ];

    #[test]
    fn chunks_of_pycryptodome_open() {
        let nonce = "c8c9cacbcccdcecfd0d1d2d3d4d5d6";
        for (key_len, len, tag, text) in PYCRYPTODOME {
            let seal = make(&Key::from_bytes(&(0..key_len).collect::<Vec<_>>()).unwrap()).unwrap();
            let plain: Vec<u8> = (0..len).collect();
            let sealed = unhex(&format!("{tag}{nonce}{text}"));
            assert_eq!(opened(&*seal, &sealed).unwrap(), plain, "{key_len}, {len}");
            assert_eq!(seal.sealed_len(plain.len()), sealed.len());
            assert_eq!(seal.binding(&sealed).unwrap(), [&sealed[16..31], &sealed[..16]]);
        }
    }
}
