//! The head and the tail of an encrypted file, and the key that seals them.

use std::sync::Arc;

use crate::crypto::key::{self, Key};
use crate::crypto::seal::{self, Seal};
use crate::crypto::seal::{cipher_byte, cipher_name, cipher_of};
use crate::error::{Code, Error, Result};
use crate::format::chunk;
use crate::format::codec::{Decoder, Encoder};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind};
use crate::format::record::{self, ClearFields, FILE_HEAD_TAG, FILE_TAIL_TAG, MARK, MetaSeal, TAG};

/// The version of the form of encrypted files.
const VERSION: u8 = 1;
const SALT: usize = 8;
const CHECK: usize = 12;
/// Bytes of a file's id.
const ID: usize = 16;
const DIGEST: usize = 32;

/// The identity of one encryption of one file.
pub(crate) type FileId = [u8; ID];

/// The contents of a tail.
pub(crate) struct FileTail {
    pub(crate) id: FileId,
    /// Bytes of plaintext.
    pub(crate) length: u64,
    /// Of all bytes of the file before the tail.
    pub(crate) digest: [u8; DIGEST],
}

/// The key of encrypted files, and what is derived from it.
#[derive(Clone)]
pub(crate) struct FileKey {
    pub(crate) seal: Arc<dyn Seal>,
    /// The name of the option that the key was given as.
    pub(crate) name: &'static str,
    cipher: Cipher,
    key: Key,
    /// The seal of the bodies of heads and tails. Its key seals nothing else, so no encrypted content
    /// can pass for one.
    pub(crate) records: MetaSeal,
}

impl FileKey {
    /// The members' key of a kind, or that of the container where members are not sealed.
    pub(crate) fn new(kind: &Kind, keys: &Keys) -> Result<Option<Self>> {
        let (cipher, key, name) = match (kind.member.cipher, &keys.secure) {
            (Some(cipher), Some(key)) => (cipher, key, "secureKey"),
            _ => match (kind.container.cipher, &keys.coffer) {
                (Some(cipher), Some(key)) => (cipher, key, "cofferKey"),
                _ => return Ok(None),
            },
        };
        Ok(Some(Self {
            seal: seal::make(cipher, key)?,
            name,
            cipher,
            key: key.clone(),
            records: MetaSeal::with(&key::crypt_key(key)),
        }))
    }

    /// Whether a file whose first chunk has this mark has a head.
    pub(crate) fn is_head(mark: &ClearFields) -> bool {
        mark.starts_with(&FILE_HEAD_TAG)
    }

    /// Whether a chunk with this mark is a tail.
    pub(crate) fn is_tail(mark: &ClearFields) -> bool {
        mark.starts_with(&FILE_TAIL_TAG)
    }

    /// The length of a head in the file.
    pub(crate) fn head_len(&self) -> usize {
        record::len(Some(&*self.seal), self.records.sealed_len(MARK + ID))
    }

    /// Appends a head to `out`.
    pub(crate) fn write_head(&self, id: &FileId, out: &mut Vec<u8>) {
        let salt = key::random_bytes::<SALT>();
        let mut e = Encoder::default();
        e.raw(&FILE_HEAD_TAG);
        e.byte(VERSION);
        e.byte(cipher_byte(Some(self.cipher)));
        e.raw(&[0; 2]);
        e.raw(&salt);
        e.raw(&key::crypt_key_check::<CHECK>(&self.key, &salt));
        let mut body = e.finish();
        let mut mark: ClearFields = [0; MARK];
        mark.copy_from_slice(&body);
        body.extend_from_slice(id);
        record::write(Some(&*self.seal), &mark, &self.records.seal(&body), out);
    }

    /// Checks the mark of a head: that this engine knows the version, and that the cipher is this
    /// key's.
    ///
    /// # Errors
    /// [`Code::Version`], [`Code::WrongKind`], [`Code::Corrupt`].
    pub(crate) fn check_mark(&self, mark: &ClearFields) -> Result<()> {
        let mut d = Decoder::new(&mark[TAG..]);
        let (version, cipher) = (d.byte()?, cipher_of(d.byte()?));
        let features = u16::from_le_bytes(d.array()?);
        if version > VERSION || features != 0 {
            return Err(Error::new(
                Code::Version,
                format!(
                    "the encrypted file is in version {version} of its form, with features {features:#06x}; this Coffer reads version {VERSION}. Install a newer one"
                ),
            ));
        }
        match cipher {
            Some(Some(cipher)) if version == VERSION && cipher == self.cipher => Ok(()),
            Some(Some(cipher)) if version == VERSION => Err(Error::new(
                Code::WrongKind,
                format!(
                    "the file is encrypted with {}, but this coffer encrypts with {}: take the coffer it was encrypted with",
                    cipher_name(Some(cipher)),
                    cipher_name(Some(self.cipher))
                ),
            )),
            _ => Err(damaged("its head names no known version or cipher")),
        }
    }

    /// Reads the head that `bytes` are, whose mark was checked.
    ///
    /// # Errors
    /// [`Code::WrongKey`], [`Code::Corrupt`].
    pub(crate) fn read_head(&self, bytes: &[u8]) -> Result<FileId> {
        let mark = chunk::parse(bytes).ok_or_else(|| damaged("its head is damaged"))?.reserved;
        let Some(body) = self.open(bytes) else {
            let mut d = Decoder::new(&mark[TAG + 4..]);
            let salt = d.array::<SALT>()?;
            if key::same(&key::crypt_key_check::<CHECK>(&self.key, &salt), d.rest()) {
                return Err(damaged("its head is damaged"));
            }
            let message = format!(
                "the file was not encrypted with this {}, or the first bytes of it are damaged",
                self.name
            );
            return Err(Error::new(Code::WrongKey, message));
        };
        let mut d = Decoder::new(&body);
        if d.array::<MARK>()? != *mark {
            return Err(damaged("the clear bytes of its head are damaged"));
        }
        let id = d.array()?;
        d.finish()?;
        Ok(id)
    }

    /// Appends a tail to `out`.
    pub(crate) fn write_tail(&self, tail: &FileTail, out: &mut Vec<u8>) {
        let mut mark: ClearFields = [0; MARK];
        mark[..TAG].copy_from_slice(&FILE_TAIL_TAG);
        let mut e = Encoder::default();
        e.raw(&tail.id);
        e.raw(&tail.length.to_le_bytes());
        e.raw(&tail.digest);
        record::write(Some(&*self.seal), &mark, &self.records.seal(&e.finish()), out);
    }

    /// Reads the tail that `bytes` are.
    ///
    /// # Errors
    /// [`Code::Corrupt`].
    pub(crate) fn read_tail(&self, bytes: &[u8]) -> Result<FileTail> {
        let broken = || damaged("its tail is damaged");
        let mark = chunk::parse(bytes).ok_or_else(broken)?.reserved;
        if mark[TAG..].iter().any(|byte| *byte != 0) {
            return Err(broken());
        }
        let body = self.open(bytes).ok_or_else(broken)?;
        let mut d = Decoder::new(&body);
        let tail =
            FileTail { id: d.array()?, length: u64::from_le_bytes(d.array()?), digest: d.array()? };
        d.finish()?;
        Ok(tail)
    }

    fn open(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let record = record::read(Some(&*self.seal), bytes)?;
        if record.len == bytes.len() { self.records.open(&record.body) } else { None }
    }
}

/// The error for an encrypted file that is not as it was written.
pub(crate) fn damaged(what: &str) -> Error {
    Error::corrupt(format!("the encrypted file is damaged: {what}"))
}
