//! Fernet tokens: base64url of `0x80 ‖ timestamp 8 ‖ iv 16 ‖ ciphertext ‖ hmac 32`, as the
//! [specification](https://github.com/fernet/spec/blob/master/Spec.md) has it.
//!
//! A token is written with timestamp 0 and opened whatever its timestamp is: data must not become
//! unreadable because a clock was wrong.

use std::sync::Arc;

use ::fernet::Fernet;

use super::suite::{Cipher, Seal, Suite, Unauthentic};
use crate::crypto::key::Key;
use crate::crypto::zeroing;

const KEY: usize = 32;
const AES_BLOCK: usize = 16;
/// Version, timestamp and iv before the ciphertext, hmac after it.
const OVERHEAD: usize = 1 + 8 + 16 + 32;
/// The characters that hold version, timestamp, iv and two bytes of ciphertext.
const HEAD: usize = 36;
/// The characters that hold at least the hmac's 32 bytes, wherever the padding begins.
const TAIL: usize = 48;
/// The length of the token of nothing, which is one block of padding.
const SHORTEST: usize = encoded_len(OVERHEAD + AES_BLOCK);
/// The crate refuses tokens from more than a minute after "now", and adds that minute unchecked:
/// with this as "now" no timestamp is refused and nothing overflows.
const END_OF_TIME: u64 = u64::MAX - 60;

const fn encoded_len(len: usize) -> usize {
    len.div_ceil(3) * 4
}

struct FernetSeal(Fernet);

pub(super) const SUITE: Suite =
    Suite { cipher: Cipher::Fernet, name: "fernet", key_lengths: &[KEY], suits_banks: true, make };

/// The Fernet seal, if `key` has 32 bytes.
fn make(key: &Key) -> Option<Arc<dyn Seal>> {
    // The crate does not wipe the bytes that it decodes the text to.
    let decoded = base64::decoded_len_estimate(encoded_len(KEY));
    let fernet = zeroing::heap_after(decoded, || Fernet::new(&key.to_base64url()))?;
    Some(Arc::new(FernetSeal(fernet)))
}

impl Seal for FernetSeal {
    fn seal(&self, plain: &[u8], out: &mut Vec<u8>) {
        let token = zeroing::stack_after(|| self.0.encrypt_at_time(plain, 0));
        out.extend_from_slice(token.as_bytes());
    }

    fn open(&self, sealed: &[u8], out: &mut Vec<u8>) -> Result<(), Unauthentic> {
        let token = canonical(sealed).ok_or(Unauthentic)?;
        let plain = zeroing::stack_after(|| self.0.decrypt_at_time(token, None, END_OF_TIME))
            .map_err(|_| Unauthentic)?;
        out.extend_from_slice(&plain);
        Ok(())
    }

    fn sealed_len(&self, plain_len: usize) -> usize {
        // PKCS #7 always pads.
        let ciphertext = (plain_len / AES_BLOCK + 1) * AES_BLOCK;
        encoded_len(OVERHEAD + ciphertext)
    }

    fn binding<'a>(&self, sealed: &'a [u8]) -> Option<[&'a [u8]; 2]> {
        if sealed.len() < SHORTEST {
            return None;
        }
        Some([&sealed[..HEAD], &sealed[sealed.len() - TAIL..]])
    }
}

/// The token as text, if its padding is the only one its length allows. The crate's decoder drops
/// any number of `=`, but refuses every other byte outside the alphabet and stray bits in the last
/// character; so with this check no two tokens decode to the same bytes.
fn canonical(sealed: &[u8]) -> Option<&str> {
    let token = str::from_utf8(sealed).ok()?;
    let padding = token.len() - token.trim_end_matches('=').len();
    (token.len().is_multiple_of(4) && padding < 3).then_some(token)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::tests::opened;
    use super::*;
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE;

    fn seal_of(key: &str) -> Arc<dyn Seal> {
        make(&Key::parse_text(key).unwrap()).unwrap()
    }

    fn spec() -> Arc<dyn Seal> {
        seal_of("cw_0x689RpI-jtRR7oE8h_eQsKImvJapLeSbXpwF4e4=")
    }

    /// `verify.json` of the Fernet specification, and the two tokens of its `invalid.json` whose
    /// only fault is the time: ours to open.
    #[test]
    fn valid_tokens_of_the_specification_open_at_any_time() {
        for (token, plain) in [
            (
                "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==",
                &b"hello"[..],
            ),
            (
                "gAAAAAAdwStRAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAnja1xKYyhd-Y6mSkTOyTGJmw2Xc2a6kBd-iX9b_qXQcw==",
                b"",
            ),
            (
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
                b"",
            ),
        ] {
            assert_eq!(opened(&*spec(), token.as_bytes()).unwrap(), plain);
            assert_eq!(spec().sealed_len(plain.len()), token.len());
        }
    }

    /// The rest of `invalid.json` of the Fernet specification.
    #[test]
    fn invalid_tokens_of_the_specification_are_refused() {
        for (fault, token) in [
            (
                "incorrect mac",
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykQUFBQUFBQUFBQQ==",
            ),
            ("too short", "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPA=="),
            (
                "invalid base64",
                "%%%%%%%%%%%%%AECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAl1-szkFVzXTuGb4hR8AKtwcaX1YdykRtfsH-p1YsUD2Q==",
            ),
            (
                "payload size not multiple of block size",
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPOm73QeoCk9uGib28Xe5vz6oxq5nmxbx_v7mrfyudzUm",
            ),
            (
                "payload padding error",
                "gAAAAAAdwJ6xAAECAwQFBgcICQoLDA0ODz4LEpdELGQAad7aNEHbf-JkLPIpuiYRLQ3RtXatOYREu2FWke6CnJNYIbkuKNqOhw==",
            ),
            (
                "incorrect IV",
                "gAAAAAAdwJ6xBQECAwQFBgcICQoLDA0OD3HkMATM5lFqGaerZ-fWPAkLhFLHpGtDBRLRTZeUfWgHSv49TF2AUEZ1TIvcZjK1zQ==",
            ),
        ] {
            assert_eq!(opened(&*spec(), token.as_bytes()), Err(Unauthentic), "{fault}");
        }
    }

    /// Made with Python's `cryptography`: `_encrypt_from_parts(b'buy milk\n', time, bytes(range(16)))`
    /// with the key `bytes(range(32))`, at 1700000000 and at 2^64 - 1 (its body put together by
    /// hand, the HMAC from Python's `hmac`).
    #[test]
    fn tokens_of_cryptography_open_up_to_the_last_timestamp() {
        let seal = seal_of("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=");
        for token in [
            "gAAAAABlU_EAAAECAwQFBgcICQoLDA0OD5AUwvIrqHgWYDTnPX-7FB5sAUy1uEOJtGvmrc-PluUbx9vY9PO_GI1MyIkTAe_2xQ==",
            "gP__________AAECAwQFBgcICQoLDA0OD5AUwvIrqHgWYDTnPX-7FB5bZ93bENTyo_wdhDYxHm1lpcuToUTHhnK3-vDSXd6QoQ==",
        ] {
            assert_eq!(opened(&*seal, token.as_bytes()).unwrap(), b"buy milk\n");
        }
    }

    #[test]
    fn tokens_are_written_at_time_zero() {
        let mut token = Vec::new();
        spec().seal(b"hello", &mut token);
        assert_eq!(URL_SAFE.decode(&token).unwrap()[..9], [0x80, 0, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_token_has_one_spelling() {
        let token = "gAAAAAAdwJ6wAAECAwQFBgcICQoLDA0ODy021cpGVWKZ_eEwCGM4BLLF_5CV9dOPmrhuVUPgJobwOz7JcbmrR64jVmpU4IwqDA==";
        for other in [
            token.trim_end_matches('=').to_owned(),
            token[..token.len() - 1].to_owned(),
            format!("{token}="),
            format!("{token}===="),
            token.replace("DA==", "DB=="),
            token.replace('_', "/"),
            format!("{} {}", &token[..10], &token[10..]),
            format!("\n{token}"),
            format!("{token}\0"),
            format!("{}é", &token[..token.len() - 2]),
        ] {
            assert_eq!(opened(&*spec(), other.as_bytes()), Err(Unauthentic), "{other}");
        }
        assert_eq!(opened(&*spec(), &[0xFF; 100]), Err(Unauthentic));
    }

    #[test]
    fn binding_holds_iv_and_hmac() {
        for len in 0..100 {
            let mut token = Vec::new();
            spec().seal(&vec![0; len], &mut token);
            let raw = URL_SAFE.decode(&token).unwrap();
            let [head, tail] = spec().binding(&token).unwrap();
            assert_eq!(URL_SAFE.decode(head).unwrap(), raw[..27]);
            assert!(URL_SAFE.decode(tail).unwrap().ends_with(&raw[raw.len() - 32..]));
        }
    }
}
