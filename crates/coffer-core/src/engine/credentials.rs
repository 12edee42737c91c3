//! Credentials: what a caller offers to open a coffer, and the look-up of the keys that they give for
//! what a file's header asks.

use std::sync::{Mutex, PoisonError};

use crate::crypto::kdf::{self, Kdf, KdfChoice, Passphrase};
use crate::crypto::key::Key;
use crate::error::{Code, Error, Result};
use crate::format::header::{self, Header};
use crate::format::key_source::KeySource;
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind, KindName};
use crate::format::record::{self, HEADER_MARKS};
use crate::progress::Cancel;

/// The most derivations for one file: one for the header at its beginning, and one for a copy that
/// contradicts it. Without this bound a crafted file could make a machine derive for hours.
const MOST_DERIVATIONS: usize = 2;

/// The credentials that a caller offers: keys, or the passphrase that they are derived from.
#[derive(Debug, Clone)]
pub(crate) enum Credentials {
    Keys(Keys),
    Passphrase(Passphrase),
}

impl Credentials {
    /// The credentials among the options of a call.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if there are keys and a passphrase.
    pub(crate) fn new(
        coffer: Option<Key>,
        secure: Option<Key>,
        passphrase: Option<Passphrase>,
    ) -> Result<Self> {
        match passphrase {
            None => Ok(Self::Keys(Keys { coffer, secure, derived: false })),
            Some(passphrase) if coffer.is_none() && secure.is_none() => {
                Ok(Self::Passphrase(passphrase))
            }
            Some(_) => Err(Error::new(
                Code::InvalidArg,
                "give either keys or a passphrase: the keys of a passphrase come from it alone",
            )),
        }
    }

    /// Checks that the credentials suit a kind: a key of the right length for each sealed layer, or a
    /// passphrase and at least one sealed layer.
    pub(crate) fn check(&self, kind: &Kind) -> Result<()> {
        match self {
            Self::Keys(keys) => keys.check(kind),
            Self::Passphrase(_) if kind.is_sealed() => Ok(()),
            Self::Passphrase(_) => Err(Error::new(
                Code::InvalidArg,
                "no layer of this coffer is sealed, so there is nothing that a passphrase would protect",
            )),
        }
    }

    /// Checks that the credentials can open a coffer in PyCoffer's format. It has no header, and so
    /// no salt to derive keys with.
    pub(crate) fn check_legacy(&self) -> Result<()> {
        match self {
            Self::Keys(_) => Ok(()),
            Self::Passphrase(_) => Err(without_passphrase()),
        }
    }

    /// The keys of a new coffer, and their source for its header: a new salt, and for a passphrase
    /// `kdf`.
    pub(crate) fn make(&self, kdf: Kdf, cancel: &Cancel) -> Result<(Keys, KeySource)> {
        match self {
            Self::Keys(keys) => Ok((keys.clone(), KeySource::of_keys())),
            Self::Passphrase(passphrase) => {
                let key_source = KeySource::of_passphrase(kdf);
                let keys = derive(passphrase, key_source.salt, kdf, cancel)?;
                cancel.check()?;
                Ok((keys, key_source))
            }
        }
    }
}

/// The credentials that a coffer gets by rekeying, in place of those it has.
pub struct NewCredentials {
    /// The container's key.
    pub coffer_key: Option<Key>,
    /// The members' key.
    pub secure_key: Option<Key>,
    /// A passphrase in place of keys.
    pub passphrase: Option<Passphrase>,
    /// The cost of deriving keys from the passphrase; by default the coffer's, or [`Kdf::DEFAULT`].
    pub kdf: KdfChoice,
    /// A Bank's container cipher, in place of the one it has.
    pub cipher: Option<Cipher>,
}

impl NewCredentials {
    /// The header of the same coffer under these credentials, and their keys.
    pub(crate) fn header(&self, old: &Header, cancel: &Cancel) -> Result<(Header, Keys)> {
        let mut kind = old.kind;
        if let Some(cipher) = self.cipher {
            if kind.name != KindName::Bank || !cipher.suits_banks() {
                return Err(Error::new(
                    Code::InvalidArg,
                    "only a bank has a choice of ciphers: 'fernet' or 'aes-ocb'",
                ));
            }
            kind.container.cipher = Some(cipher);
        }
        if !kind.is_sealed() {
            return Err(Error::new(
                Code::InvalidArg,
                "no layer of this coffer is sealed, so it has no keys to change",
            ));
        }
        let credentials = Credentials::new(
            self.coffer_key.clone(),
            self.secure_key.clone(),
            self.passphrase.clone(),
        )?;
        credentials.check(&kind)?;
        let before = KeySource::in_marks(&old.marks)?.kdf.unwrap_or(Kdf::DEFAULT);
        let (keys, key_source) = credentials.make(self.kdf.over(before)?, cancel)?;
        let mut header = Header::new(kind, &keys, &key_source, old.chunk_plain, old.piece)?;
        header.archive = old.archive;
        Ok((header, keys))
    }
}

/// The look-up of keys for the headers of one file. Derived keys are cached: opening may read the
/// same header several times.
pub(crate) struct CredentialLookup<'a> {
    credentials: &'a Credentials,
    cancel: &'a Cancel,
    /// The most memory that a file may ask for, in KiB.
    max_memory: u32,
    derived: Mutex<Vec<([u8; kdf::SALT_LEN], Kdf, Keys)>>,
}

impl<'a> CredentialLookup<'a> {
    pub(crate) fn new(credentials: &'a Credentials, cancel: &'a Cancel) -> Self {
        Self { credentials, cancel, max_memory: Kdf::MAX.memory, derived: Mutex::default() }
    }

    /// The same with a bound on the memory that a file may ask for, in KiB: [`Kdf::MAX`] by default.
    pub(crate) fn within(self, max_memory: Option<u32>) -> Self {
        Self { max_memory: max_memory.unwrap_or(self.max_memory), ..self }
    }

    /// Opens the header that `bytes` begin with, of a coffer of the `wanted` kind. The result has the
    /// file's own container cipher where `accept_file_cipher` allows it.
    ///
    /// # Errors
    /// [`Code::Corrupt`], [`Code::Version`], [`Code::WrongKind`], [`Code::WrongKey`],
    /// [`Code::InvalidArg`], [`Code::Limit`], [`Code::Aborted`].
    pub(crate) fn open_header(
        &self,
        bytes: &[u8],
        wanted: &Kind,
        accept_file_cipher: bool,
    ) -> Result<(Header, Keys)> {
        let marks = Header::marks(bytes).ok_or_else(|| header::damaged("it is not whole"))?;
        let kind = Header::judge(&marks, wanted, accept_file_cipher)?;
        let keys = self.keys(&marks)?;
        let header = Header::read(bytes, marks, &kind, &keys).map_err(|e| {
            let swapped = e.code() == Code::WrongKey && fit_swapped(bytes, marks, &kind, &keys);
            if swapped { e.saying(SWAPPED) } else { e }
        })?;
        Ok((header, keys))
    }

    /// Whether the root key, which the caller gave, opens the first record of the header that `bytes`
    /// begin with: then that header is intact, and another key is the wrong one.
    pub(crate) fn root_key_fits(
        &self,
        bytes: &[u8],
        wanted: &Kind,
        accept_file_cipher: bool,
    ) -> bool {
        let Credentials::Keys(keys) = self.credentials else { return false };
        let Some(marks) = Header::marks(bytes) else { return false };
        let Ok(kind) = Header::judge(&marks, wanted, accept_file_cipher) else { return false };
        let Ok(container) = header::container_seal(&kind, keys) else { return false };
        Header::check_keys(&marks, &kind, keys).is_ok()
            && record::read(container.as_deref(), bytes)
                .is_some_and(|record| keys.meta(&kind).open(&record.body).is_some())
    }

    /// The keys for a header with these clear bytes: those of the caller, or those derived from the
    /// passphrase with the salt and the cost in the header.
    fn keys(&self, marks: &[u8; HEADER_MARKS]) -> Result<Keys> {
        let passphrase = match self.credentials {
            Credentials::Keys(keys) => return Ok(keys.clone()),
            Credentials::Passphrase(passphrase) => passphrase,
        };
        let KeySource { salt, kdf } = KeySource::in_marks(marks)?;
        let Some(kdf) = kdf else { return Err(without_passphrase()) };
        let mut derived = self.derived.lock().unwrap_or_else(PoisonError::into_inner);
        let known = derived.iter().find(|(s, k, _)| *s == salt && *k == kdf);
        if let Some((_, _, keys)) = known {
            return Ok(keys.clone());
        }
        if derived.len() >= MOST_DERIVATIONS {
            return Err(Error::new(
                Code::Limit,
                "the copies of the coffer's header contradict each other, and the passphrase is not tried on all of them",
            ));
        }
        if kdf.memory > self.max_memory {
            return Err(Error::new(
                Code::Limit,
                format!(
                    "deriving the keys from the passphrase asks for {} KiB of memory, and maxKdfMemory allows {} KiB: allow more if you trust the file",
                    kdf.memory, self.max_memory
                ),
            ));
        }
        let keys = derive(passphrase, salt, kdf, self.cancel)?;
        self.cancel.check()?;
        derived.push((salt, kdf, keys.clone()));
        Ok(keys)
    }
}

const SWAPPED: &str =
    "cofferKey and secureKey are swapped: each opens the coffer in the place of the other";

/// Whether two keys that do not open a header do so in the place of each other.
fn fit_swapped(bytes: &[u8], marks: [u8; HEADER_MARKS], kind: &Kind, keys: &Keys) -> bool {
    if keys.derived || keys.coffer.is_none() || keys.secure.is_none() {
        return false;
    }
    let swapped = Keys { coffer: keys.secure.clone(), secure: keys.coffer.clone(), derived: false };
    Header::read(bytes, marks, kind, &swapped).is_ok()
}

fn derive(
    passphrase: &Passphrase,
    salt: [u8; kdf::SALT_LEN],
    kdf: Kdf,
    cancel: &Cancel,
) -> Result<Keys> {
    let keys = kdf::derive(passphrase, salt, kdf, cancel)?;
    Ok(Keys { coffer: Some(keys.coffer), secure: Some(keys.secure), derived: true })
}

/// The error for a passphrase where the file's keys come from none.
fn without_passphrase() -> Error {
    Error::new(
        Code::WrongKey,
        "the coffer was made with keys, not from a passphrase: open it with its keys",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passphrase() -> Credentials {
        Credentials::Passphrase(Passphrase::new(b"buy milk").unwrap())
    }

    fn marks() -> [u8; HEADER_MARKS] {
        let (keys, key_source) = passphrase().make(Kdf::MIN, &Cancel::default()).unwrap();
        Header::new(Kind::store(), &keys, &key_source, 1000, 4096).unwrap().marks
    }

    #[test]
    fn a_passphrase_is_tried_on_two_headers_of_a_file_and_on_no_third() {
        let (credentials, cancel) = (passphrase(), Cancel::default());
        let lookup = CredentialLookup::new(&credentials, &cancel);
        let headers = [marks(), marks(), marks()];
        let key = |marks| lookup.keys(marks).map(|keys| keys.coffer.unwrap().as_bytes().to_vec());
        let first = key(&headers[0]).unwrap();
        assert_ne!(key(&headers[1]).unwrap(), first);
        assert_eq!(key(&headers[2]).unwrap_err().code(), Code::Limit);
        assert_eq!(key(&headers[0]).unwrap(), first);
    }

    #[test]
    fn a_file_that_asks_for_more_memory_than_the_caller_allows_is_refused() {
        let (credentials, marks, cancel) = (passphrase(), marks(), Cancel::default());
        let within =
            |memory| CredentialLookup::new(&credentials, &cancel).within(memory).keys(&marks);
        let error = within(Some(Kdf::MIN.memory - 1)).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
        assert!(error.message().contains("maxKdfMemory"), "{error}");
        within(Some(Kdf::MIN.memory)).unwrap();
        within(None).unwrap();
    }

    #[test]
    fn a_call_that_was_cancelled_gets_no_keys() {
        let (credentials, cancel) = (passphrase(), Cancel::default());
        cancel.cancel();
        let lookup = CredentialLookup::new(&credentials, &cancel);
        assert_eq!(lookup.keys(&marks()).unwrap_err().code(), Code::Aborted);
        assert_eq!(credentials.make(Kdf::MIN, &cancel).unwrap_err().code(), Code::Aborted);
    }

    #[test]
    fn an_unknown_key_derivation_is_a_newer_version() {
        let (credentials, cancel) = (passphrase(), Cancel::default());
        for at in [48, 49] {
            let mut marks = marks();
            marks[at] += 1;
            let error = CredentialLookup::new(&credentials, &cancel).keys(&marks).unwrap_err();
            assert_eq!(error.code(), Code::Version, "byte {at}");
        }
    }

    /// Every form in which a debug output may show bytes.
    fn forms(secret: &[u8]) -> Vec<String> {
        use base64::Engine;
        use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
        let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
        let numbers = format!("{secret:?}");
        vec![
            String::from_utf8_lossy(secret).into_owned(),
            hex.to_uppercase(),
            hex,
            STANDARD_NO_PAD.encode(secret),
            URL_SAFE_NO_PAD.encode(secret),
            numbers.trim_matches(['[', ']']).to_owned(),
            format!("{secret:#?}"),
        ]
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let key = Key::from_bytes(b"a key of thirty-two bytes, no less").unwrap();
        let phrase = Passphrase::new(b"buy milk").unwrap();
        let salt = [7; kdf::SALT_LEN];
        let derived = kdf::derive(&phrase, salt, Kdf::MIN, &Cancel::default()).unwrap();
        let keys = Credentials::new(Some(key.clone()), Some(key.clone()), None).unwrap();
        let from_phrase = Credentials::new(None, None, Some(phrase.clone())).unwrap();
        let (made, _) = from_phrase.make(Kdf::MIN, &Cancel::default()).unwrap();
        let header = Header::new(Kind::store(), &made, &KeySource::of_keys(), 1000, 4096).unwrap();
        let wrong = keys.check(&Kind::bank(Cipher::AesOcb)).unwrap_err();
        macro_rules! shown {
            ($($value:expr),*) => { [$(format!("{:?}\n{:#?}", $value, $value)),*].concat() };
        }
        let shown =
            shown!(key, phrase, derived, keys, from_phrase, made, header, wrong, Some(&wrong));
        let secrets = [
            key.as_bytes(),
            b"buy milk",
            derived.coffer.as_bytes(),
            derived.secure.as_bytes(),
            made.coffer.as_ref().unwrap().as_bytes(),
            made.secure.as_ref().unwrap().as_bytes(),
        ];
        for form in secrets.into_iter().flat_map(forms) {
            assert!(!shown.contains(&form), "{form} is in {shown}");
        }
        assert!(shown.contains("Key(..)") && shown.contains("Passphrase(..)"));
    }
}
