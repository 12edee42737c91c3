//! The source of a coffer's keys: the salt and, for a passphrase, the cost of deriving them, as the
//! header's clear bytes have it.

use crate::crypto::kdf::{Kdf, SALT_LEN};
use crate::crypto::key;
use crate::error::{Code, Error, Result};
use crate::format::record::HEADER_MARKS;
use crate::format::record::{ClearFields, MARK, SALT_TAG, TAG};

/// The feature bit of a coffer whose keys come from a passphrase.
pub(crate) const PASSPHRASE: u8 = 0x01;
/// The offset of the feature bits in the first mark.
const FEATURES_AT: usize = 7;
/// The offset of the salt in the second mark, and of the cost behind it.
const SALT_AT: usize = TAG;
const KDF_AT: usize = SALT_AT + SALT_LEN;
/// The number of Argon2id in the header.
const ARGON2ID: u8 = 1;
/// The number of lanes of Argon2id, the only one that is supported.
const LANES: u8 = 1;

/// The source of a coffer's keys: what its file asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeySource {
    pub(crate) salt: [u8; SALT_LEN],
    /// The cost of deriving them from a passphrase; `None` for keys that the caller gave.
    pub(crate) kdf: Option<Kdf>,
}

impl KeySource {
    /// Keys that the caller gave, with a new salt for the key checks.
    pub(crate) fn of_keys() -> Self {
        Self { salt: key::random_bytes(), kdf: None }
    }

    /// From a passphrase, with a new salt.
    pub(crate) fn of_passphrase(kdf: Kdf) -> Self {
        Self { salt: key::random_bytes(), kdf: Some(kdf) }
    }

    /// The source in a header's clear bytes.
    ///
    /// # Errors
    /// [`Code::Version`] for a derivation that this engine does not know.
    pub(crate) fn in_marks(marks: &[u8; HEADER_MARKS]) -> Result<Self> {
        let mut source = Self { salt: salt(marks), kdf: None };
        if !is_passphrase(marks) {
            return Ok(source);
        }
        let [algorithm, lanes, p0, p1, m0, m1, m2, m3] = marks[MARK + KDF_AT..] else {
            return Err(Error::corrupt("the header does not say how keys are derived"));
        };
        if algorithm != ARGON2ID || lanes != LANES {
            return Err(Error::new(
                Code::Version,
                format!(
                    "the coffer's keys are derived from its passphrase by method {algorithm} with {lanes} lanes; this Coffer knows method {ARGON2ID} (Argon2id) with {LANES}. Install a newer one"
                ),
            ));
        }
        source.kdf = Some(Kdf {
            passes: u16::from_le_bytes([p0, p1]),
            memory: u32::from_le_bytes([m0, m1, m2, m3]),
        });
        Ok(source)
    }

    /// The feature bits for a header.
    pub(crate) fn features(&self) -> u8 {
        if self.kdf.is_some() { PASSPHRASE } else { 0 }
    }

    /// The second mark for a header.
    pub(crate) fn mark(&self) -> ClearFields {
        let mut mark: ClearFields = [0; MARK];
        mark[..SALT_AT].copy_from_slice(&SALT_TAG);
        mark[SALT_AT..KDF_AT].copy_from_slice(&self.salt);
        if let Some(Kdf { memory, passes }) = self.kdf {
            mark[KDF_AT] = ARGON2ID;
            mark[KDF_AT + 1] = LANES;
            mark[KDF_AT + 2..KDF_AT + 4].copy_from_slice(&passes.to_le_bytes());
            mark[KDF_AT + 4..].copy_from_slice(&memory.to_le_bytes());
        }
        mark
    }
}

/// Whether the clear bytes of a header have the feature [`PASSPHRASE`].
pub(crate) fn is_passphrase(marks: &[u8; HEADER_MARKS]) -> bool {
    marks[FEATURES_AT] & PASSPHRASE != 0
}

/// The salt in a header: of the key checks, and of the derivation where there is one.
pub(crate) fn salt(marks: &[u8; HEADER_MARKS]) -> [u8; SALT_LEN] {
    let mut salt = [0; SALT_LEN];
    salt.copy_from_slice(&marks[MARK + SALT_AT..MARK + KDF_AT]);
    salt
}
