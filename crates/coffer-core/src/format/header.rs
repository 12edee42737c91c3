//! The header: the kind, the key check and the salt of a file in clear, and its layers sealed.

use crate::crypto::key::{self, CHECK_LEN};
use crate::crypto::seal::cipher_byte;
use crate::crypto::seal::cipher_name;
use crate::crypto::seal::cipher_of;
use crate::crypto::seal::{self, Seal};
use crate::error::{Code, Error, Result};
use crate::format::block::Layers;
use crate::format::codec::{Decoder, Encoder};
use crate::format::encrypted_file::FileKey;
use crate::format::key_source::{self, KeySource};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind, KindName, Layer};
use crate::format::record::{self, ClearFields, HEADER_TAG, MARK, MetaSeal, SALT_TAG};
use crate::format::record::{ARCHIVE_ID, HEADER_MARKS};

/// The version of the format that this engine writes.
pub(crate) const VERSION: u8 = 1;
/// The most bytes of a header. It is read in one call of this length.
pub(crate) const MAX_LEN: usize = 4096;

/// The contents of a header's clear bytes. None of it is authenticated.
pub(crate) struct Label {
    pub(crate) version: u8,
    pub(crate) kind: Option<KindName>,
    /// The container's cipher, where this version of the format knows it; `Some(None)` if the
    /// container is not sealed.
    pub(crate) cipher: Option<Option<Cipher>>,
    /// Whether the keys come from a passphrase.
    pub(crate) passphrase: bool,
}

/// A header: the kind of a coffer, its sizes and its identity.
#[derive(Debug, Clone)]
pub(crate) struct Header {
    pub(crate) marks: [u8; HEADER_MARKS],
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) kind: Kind,
    /// Plaintext bytes of a full chunk.
    pub(crate) chunk_plain: u32,
    /// Member bytes of a full piece.
    pub(crate) piece: u32,
    member_check: [u8; CHECK_LEN],
}

impl Header {
    /// The header of a new coffer.
    pub(crate) fn new(
        kind: Kind,
        keys: &Keys,
        key_source: &KeySource,
        chunk_plain: u32,
        piece: u32,
    ) -> Result<Self> {
        keys.check(&kind)?;
        let mut first: ClearFields = [0; MARK];
        first[..4].copy_from_slice(&HEADER_TAG);
        first[4] = VERSION;
        first[5] = kind.name as u8;
        first[6] = cipher_byte(kind.container.cipher);
        first[7] = key_source.features();
        if let Some(root) = keys.root(&kind) {
            first[8..].copy_from_slice(&key::key_check(root, &key_source.salt));
        }
        let mut marks = [0; HEADER_MARKS];
        marks[..MARK].copy_from_slice(&first);
        marks[MARK..].copy_from_slice(&key_source.mark());
        let member_check = match (&keys.secure, kind.member.cipher) {
            (Some(key), Some(_)) => key::member_key_check(key, &key_source.salt),
            _ => [0; CHECK_LEN],
        };
        Ok(Self { marks, archive: key::random_bytes(), kind, chunk_plain, piece, member_check })
    }

    /// Appends the header, or a copy of it, to `out`.
    pub(crate) fn write(&self, container: Option<&dyn Seal>, meta: &MetaSeal, out: &mut Vec<u8>) {
        let mut e = Encoder::default();
        e.raw(&self.archive);
        e.byte(self.kind.name as u8);
        encode_layer(&mut e, self.kind.member);
        encode_layer(&mut e, self.kind.container);
        e.uint(u64::from(self.chunk_plain));
        e.uint(u64::from(self.piece));
        e.raw(&self.member_check);
        let (first, second) = split(&self.marks);
        record::write(container, &first, &meta.seal(&e.finish()), out);
        record::write(container, &second, &meta.seal(&self.archive), out);
    }

    /// The clear bytes of the header that `bytes` begin with, if they begin with one.
    pub(crate) fn marks(bytes: &[u8]) -> Option<[u8; HEADER_MARKS]> {
        [true, false].into_iter().find_map(|sealed| {
            let (first, len) = record::peek(sealed, bytes)?;
            let (second, _) = record::peek(sealed, bytes.get(len..)?)?;
            let mut marks = [0; HEADER_MARKS];
            marks[..MARK].copy_from_slice(&first);
            marks[MARK..].copy_from_slice(&second);
            (first[..4] == HEADER_TAG && second[..4] == SALT_TAG).then_some(marks)
        })
    }

    /// The contents of the clear bytes, without any key.
    pub(crate) fn label(marks: &[u8; HEADER_MARKS]) -> Label {
        let (first, _) = split(marks);
        let known = first[4] == VERSION;
        Label {
            version: first[4],
            kind: KindName::from_byte(first[5]).filter(|_| known),
            cipher: cipher_of(first[6]).filter(|_| known),
            passphrase: known && key_source::is_passphrase(marks),
        }
    }

    /// Checks the clear bytes against the kind that the caller wants. Gives that kind with the file's
    /// own container cipher, which may differ from the wanted one if `accept_file_cipher` is set.
    pub(crate) fn judge(
        marks: &[u8; HEADER_MARKS],
        wanted: &Kind,
        accept_file_cipher: bool,
    ) -> Result<Kind> {
        let (first, _) = split(marks);
        if first[4] > VERSION || first[7] & !key_source::PASSPHRASE != 0 {
            return Err(Error::new(
                Code::Version,
                format!(
                    "the coffer is in version {} of the format, with features {:#04x}; this Coffer reads version {VERSION}. Install a newer one",
                    first[4], first[7]
                ),
            ));
        }
        let name = KindName::from_byte(first[5]).filter(|_| first[4] == VERSION);
        let cipher = cipher_of(first[6]);
        let (Some(name), Some(cipher)) = (name, cipher) else {
            return Err(Error::corrupt("the header names no known kind or cipher"));
        };
        let mut kind = *wanted;
        if wanted.name != KindName::Custom && name != wanted.name {
            return Err(Error::new(
                Code::WrongKind,
                format!(
                    "the coffer is a {}, but was opened as a {}: open it with the class of its kind",
                    name.as_str(),
                    wanted.name.as_str()
                ),
            ));
        }
        if cipher != wanted.container.cipher {
            if !(accept_file_cipher && cipher.is_some_and(Cipher::suits_banks)) {
                return Err(Error::new(
                    Code::WrongKind,
                    format!(
                        "the coffer's container is sealed with {}, not with {}",
                        cipher_name(cipher),
                        cipher_name(wanted.container.cipher)
                    ),
                ));
            }
            kind.container.cipher = cipher;
        }
        Ok(kind)
    }

    /// Checks the root key against the key check in the clear bytes, and that the other key is there.
    pub(crate) fn check_keys(marks: &[u8; HEADER_MARKS], kind: &Kind, keys: &Keys) -> Result<()> {
        let (first, _) = split(marks);
        if let Some(root) = keys.root(kind) {
            let cipher = kind.container.cipher;
            let fits = cipher.is_none_or(|c| c.key_lengths().contains(&root.as_bytes().len()));
            let check = key::key_check(root, &key_source::salt(marks));
            if !fits || !key::same(&check, &first[8..]) {
                let which = if cipher.is_some() { "cofferKey" } else { "secureKey" };
                return Err(wrong_key(which, marks, keys));
            }
        }
        keys.check(kind)
    }

    /// Reads the header that `bytes` begin with, of a kind that [`Self::judge`] gave.
    pub(crate) fn read(
        bytes: &[u8],
        marks: [u8; HEADER_MARKS],
        kind: &Kind,
        keys: &Keys,
    ) -> Result<Self> {
        Self::check_keys(&marks, kind, keys)?;
        let header = Self::open(bytes, marks, kind, keys, true)?;
        let member = header.kind.member;
        if member.cipher != kind.member.cipher
            || member.level.is_none() != kind.member.level.is_none()
        {
            return Err(Error::new(
                Code::WrongKind,
                format!(
                    "the coffer's members are sealed with {}: give the layers it was made with",
                    cipher_name(member.cipher)
                ),
            ));
        }
        if let (Some(key), Some(_)) = (&keys.secure, member.cipher)
            && !key::same(
                &key::member_key_check(key, &key_source::salt(&marks)),
                &header.member_check,
            )
        {
            return Err(wrong_key("secureKey", &marks, keys));
        }
        Ok(header)
    }

    /// Opens the sealed part of the header, without checking keys and flags.
    #[cfg(test)]
    pub(crate) fn parse(
        bytes: &[u8],
        marks: [u8; HEADER_MARKS],
        kind: &Kind,
        keys: &Keys,
    ) -> Result<Self> {
        Self::open(bytes, marks, kind, keys, false)
    }

    /// Opens the sealed part of the header. Invalid flags are refused if `strict` is set.
    fn open(
        bytes: &[u8],
        marks: [u8; HEADER_MARKS],
        kind: &Kind,
        keys: &Keys,
        strict: bool,
    ) -> Result<Self> {
        let container = container_seal(kind, keys)?;
        let meta = keys.meta(kind);
        let record = record::read(container.as_deref(), bytes)
            .ok_or_else(|| damaged("its first part does not open"))?;
        let body = meta
            .open(&record.body)
            .ok_or_else(|| damaged("its first part does not authenticate"))?;
        let second = bytes
            .get(record.len..)
            .and_then(|rest| record::read(container.as_deref(), rest))
            .and_then(|second| meta.open(&second.body))
            .ok_or_else(|| damaged("its second part does not authenticate"))?;
        let mut d = Decoder::new(&body);
        let archive = d.array()?;
        let name =
            KindName::from_byte(d.byte()?).ok_or_else(|| damaged("it names no known kind"))?;
        let member = decode_layer(&mut d, strict)?;
        let container = decode_layer(&mut d, strict)?;
        if strict && container.level.is_none() {
            return Err(damaged("its container is not compressed"));
        }
        let header = Self {
            marks,
            archive,
            kind: Kind { name, member, container, auto_flush: kind.auto_flush },
            chunk_plain: d.uint32()?,
            piece: d.uint32()?,
            member_check: d.array()?,
        };
        d.finish()?;
        if second != archive || name as u8 != marks[5] || container.cipher != kind.container.cipher
        {
            return Err(damaged("its parts contradict each other"));
        }
        check_sizes(header.chunk_plain, header.piece)?;
        Ok(header)
    }

    /// The layers with their keys.
    pub(crate) fn layers(&self, keys: &Keys) -> Result<Layers> {
        let member = match (self.kind.member.cipher, &keys.secure) {
            (Some(cipher), Some(key)) => Some(seal::make(cipher, key)?),
            _ => None,
        };
        Ok(Layers {
            member_level: self.kind.member.level,
            member,
            container_level: self.kind.container.level.unwrap_or(1),
            container: container_seal(&self.kind, keys)?,
            chunk_plain: self.chunk_plain as usize,
            piece: self.piece as usize,
            files: FileKey::new(&self.kind, keys)?,
        })
    }
}

/// The seal of the container, if it is sealed.
pub(crate) fn container_seal(kind: &Kind, keys: &Keys) -> Result<Option<std::sync::Arc<dyn Seal>>> {
    match (kind.container.cipher, &keys.coffer) {
        (Some(cipher), Some(key)) => Ok(Some(seal::make(cipher, key)?)),
        _ => Ok(None),
    }
}

/// Checks the sizes in a header: of a chunk 256 bytes to 4 MiB, of a piece 4 KiB to 16 MiB.
pub(crate) fn check_sizes(chunk_plain: u32, piece: u32) -> Result<()> {
    if (256..=4 << 20).contains(&chunk_plain) && (4096..=16 << 20).contains(&piece) {
        return Ok(());
    }
    Err(damaged("its chunk or block size is out of range"))
}

fn split(marks: &[u8; HEADER_MARKS]) -> (ClearFields, ClearFields) {
    let (mut first, mut second) = ([0; MARK], [0; MARK]);
    first.copy_from_slice(&marks[..MARK]);
    second.copy_from_slice(&marks[MARK..]);
    (first, second)
}

pub(crate) fn damaged(what: &str) -> Error {
    Error::corrupt(format!("the header is damaged: {what}"))
}

fn wrong_key(which: &str, marks: &[u8; HEADER_MARKS], keys: &Keys) -> Error {
    let message = if keys.derived {
        "the passphrase is not the one this coffer was made with".to_owned()
    } else if key_source::is_passphrase(marks) {
        format!("{which} is not the key of this coffer, which was made from a passphrase")
    } else {
        format!("{which} is not the key this coffer was made with")
    };
    Error::new(Code::WrongKey, message)
}

fn encode_layer(e: &mut Encoder, layer: Layer) {
    e.byte(cipher_byte(layer.cipher));
    e.byte(u8::from(layer.level.is_some()));
    e.int(i64::from(layer.level.unwrap_or(0)));
}

fn decode_layer(d: &mut Decoder<'_>, strict: bool) -> Result<Layer> {
    let cipher = cipher_of(d.byte()?).ok_or_else(|| damaged("it names no known cipher"))?;
    let flag = d.byte()?;
    if strict && flag > 1 {
        return Err(damaged("a flag is neither 0 nor 1"));
    }
    let compressed = flag == 1;
    let level = i32::try_from(d.int()?).map_err(|_| damaged("a level is out of range"))?;
    Ok(Layer { level: compressed.then_some(level), cipher })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_layer_is_compressed_or_not_and_a_container_always() {
        for (flag, expected) in [(0, Some(None)), (1, Some(Some(5))), (2, None), (255, None)] {
            let layer = decode_layer(&mut Decoder::new(&[0, flag, 10]), true);
            assert_eq!(layer.ok().map(|layer| layer.level), expected, "{flag}");
        }
        assert!(decode_layer(&mut Decoder::new(&[4, 1, 10]), false).is_err(), "an unknown cipher");
        let read = |kind: Kind| {
            let keys = Keys::default();
            let header = Header::new(kind, &keys, &KeySource::of_keys(), 65_504, 1 << 20).unwrap();
            let mut bytes = Vec::new();
            header.write(None, &keys.meta(&kind), &mut bytes);
            let marks = Header::marks(&bytes).unwrap();
            Header::read(&bytes, marks, &kind, &keys).map(|_| ()).map_err(|e| e.code())
        };
        let mut kind = Kind::null();
        assert_eq!(read(kind), Ok(()));
        kind.container.level = None;
        assert_eq!(read(kind), Err(Code::Corrupt));
    }
}
