//! Metadata records: the header's two parts, the parts of commits, and footers.
//!
//! A record is a skippable zstd frame, so every reader of the tar skips it. It has a *mark* of 28 bytes
//! in clear, with its type and its offset, and a body that is sealed with Coffer's metadata key. In a
//! sealed container a record is a chunk of its own, and the mark is the chunk's reserved bytes; in an
//! unsealed one the mark is the beginning of the frame's content.

use std::sync::Arc;

use crate::crypto::key::Key;
use crate::crypto::seal::{Seal, SecretboxSeal};
use crate::format::chunk;
use crate::format::frame::{self, SKIPPABLE_HEADER};
use crate::format::work;

/// Bytes of a mark.
pub(crate) const MARK: usize = chunk::RESERVED;
/// Both marks of the header.
pub(crate) const HEADER_MARKS: usize = 2 * MARK;
/// Bytes of a coffer's random identity.
pub(crate) const ARCHIVE_ID: usize = 16;
/// Bytes of the tag that a mark begins with.
pub(crate) const TAG: usize = 4;
/// The first part of the header.
pub(crate) const HEADER_TAG: [u8; TAG] = *b"cofH";
/// The second part of the header, with the key's salt.
pub(crate) const SALT_TAG: [u8; TAG] = *b"cofK";
/// A part of a commit.
pub(crate) const COMMIT_TAG: [u8; TAG] = *b"cofC";
/// A footer.
pub(crate) const FOOTER_TAG: [u8; TAG] = *b"cofF";
/// The first chunk of an encrypted file.
pub(crate) const FILE_HEAD_TAG: [u8; TAG] = *b"cofE";
/// The last chunk of an encrypted file.
pub(crate) const FILE_TAIL_TAG: [u8; TAG] = *b"cofT";
/// The most bytes of a record's body.
pub(crate) const MAX_BODY: usize = 128 * 1024;
/// The most bytes that a record takes in the file, its framing included.
pub(crate) const MAX_LEN: usize = 2 * MAX_BODY;

/// The mark of a record: its fields in clear.
pub(crate) type ClearFields = [u8; MARK];

/// A mark with the offset of its record.
pub(crate) fn mark_at(tag: [u8; TAG], offset: u64) -> ClearFields {
    let mut mark = [0; MARK];
    mark[..4].copy_from_slice(&tag);
    mark[4..12].copy_from_slice(&offset.to_le_bytes());
    mark
}

/// The offset in a mark made by [`mark_at`].
pub(crate) fn offset_in(mark: &ClearFields) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&mark[4..12]);
    u64::from_le_bytes(bytes)
}

/// The seal of the bodies of records: with the metadata key, or without a key a digest.
#[derive(Clone)]
pub(crate) struct MetaSeal(Option<Arc<SecretboxSeal>>);

const DIGEST: usize = 32;

impl MetaSeal {
    /// With the metadata key derived from `key`, or with none.
    pub(crate) fn new(key: Option<&Key>) -> Self {
        key.map_or(Self(None), |key| Self::with(&crate::crypto::key::metadata_key(key)))
    }

    /// With a derived key of 32 bytes.
    pub(crate) fn with(derived: &Key) -> Self {
        let mut bytes = zeroize::Zeroizing::new([0u8; 32]);
        bytes.copy_from_slice(&derived.as_bytes()[..32]);
        Self(Some(Arc::new(SecretboxSeal::new(&bytes))))
    }

    pub(crate) fn seal(&self, plain: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.sealed_len(plain.len()));
        match &self.0 {
            Some(seal) => seal.seal(plain, &mut out),
            None => {
                out.extend_from_slice(blake3::hash(plain).as_bytes());
                out.extend_from_slice(plain);
            }
        }
        out
    }

    pub(crate) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        work::count(sealed.len());
        match &self.0 {
            Some(seal) => {
                let mut out = Vec::with_capacity(sealed.len());
                seal.open(sealed, &mut out).ok()?;
                Some(out)
            }
            None => {
                let (digest, plain) = sealed.split_first_chunk::<DIGEST>()?;
                (blake3::hash(plain) == *digest).then(|| plain.to_vec())
            }
        }
    }

    pub(crate) fn sealed_len(&self, plain: usize) -> usize {
        match &self.0 {
            Some(seal) => seal.sealed_len(plain),
            None => plain + DIGEST,
        }
    }
}

/// A record whose body is still sealed.
pub(crate) struct Record {
    pub(crate) mark: ClearFields,
    pub(crate) body: Vec<u8>,
    /// Its length in the file.
    pub(crate) len: usize,
}

/// Appends a record to `out`.
pub(crate) fn write(
    container: Option<&dyn Seal>,
    mark: &ClearFields,
    body: &[u8],
    out: &mut Vec<u8>,
) {
    match container {
        Some(seal) => {
            let mut plain = Vec::with_capacity(SKIPPABLE_HEADER + body.len());
            plain.extend_from_slice(&frame::skippable_header(body.len() as u32));
            plain.extend_from_slice(body);
            chunk::put(seal, mark, &plain, out);
        }
        None => {
            out.extend_from_slice(&frame::skippable_header((MARK + body.len()) as u32));
            out.extend_from_slice(mark);
            out.extend_from_slice(body);
        }
    }
}

/// The length in the file of a record with a body of `body` bytes.
pub(crate) fn len(container: Option<&dyn Seal>, body: usize) -> usize {
    match container {
        Some(seal) => chunk::HEADER + seal.sealed_len(SKIPPABLE_HEADER + body),
        None => SKIPPABLE_HEADER + MARK + body,
    }
}

/// Whether the plaintext of a chunk is that of a record, whatever its mark says: the reserved bytes
/// are not authenticated, so the mark can be cleared without a key.
pub(crate) fn is_plain_record(plain: &[u8]) -> bool {
    frame::skippable_content(plain)
        .is_some_and(|len| SKIPPABLE_HEADER + len as usize == plain.len())
}

/// The offset of the mark in a record.
pub(crate) fn mark_offset(sealed: bool) -> usize {
    if sealed { chunk::HEADER - MARK } else { SKIPPABLE_HEADER }
}

/// Whether a mark is one that a writer gives to a part of a commit or to a footer, at any offset: it
/// has the tag, and zeros at its end.
pub(crate) fn is_formed(mark: &[u8]) -> bool {
    let zeros = match mark.first_chunk::<TAG>() {
        Some(&COMMIT_TAG) => mark.get(TAG + 8..MARK),
        Some(&FOOTER_TAG) => mark.get(TAG + 16..MARK),
        _ => None,
    };
    zeros.is_some_and(|zeros| zeros.iter().all(|byte| *byte == 0))
}

/// The index of the first whole mark of a part of a commit or of a footer in `bytes`.
pub(crate) fn find_mark(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(i) = bytes.get(at..)?.iter().position(|byte| *byte == COMMIT_TAG[0]) {
        at += i;
        if is_formed(bytes.get(at..)?) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// The mark of the record that `bytes` begin with, without opening it; with the record's length.
pub(crate) fn peek(sealed: bool, bytes: &[u8]) -> Option<(ClearFields, usize)> {
    let at = mark_offset(sealed);
    let mark = *bytes.get(at..)?.first_chunk::<MARK>()?;
    let len = if sealed {
        let length = u32::from_le_bytes(*bytes.first_chunk::<4>()?) as usize;
        chunk::HEADER.checked_add(length)?
    } else {
        SKIPPABLE_HEADER + frame::skippable_content(bytes)? as usize
    };
    (len <= MAX_LEN && len >= at + MARK).then_some((mark, len))
}

/// The record that `bytes` begin with, if its mark is of the form of a commit's part or a footer's
/// and `fits`, and it opens: its mark, the plaintext of its body, and its length.
///
/// A record in which the mark of another one stands is refused. No writer makes one, since bodies are
/// sealed and names have no zero bytes. So the records that remain do not overlap, and each byte of a
/// file is deciphered once, however many marks a crafted file has.
pub(crate) fn open(
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    bytes: &[u8],
    fits: impl FnOnce(&ClearFields) -> bool,
) -> Option<(ClearFields, Vec<u8>, usize)> {
    let sealed = container.is_some();
    let (mark, len) = peek(sealed, bytes)?;
    let bytes = bytes.get(..len)?;
    if !is_formed(&mark) || !fits(&mark) {
        return None;
    }
    if find_mark(bytes.get(mark_offset(sealed) + MARK..)?).is_some() {
        return None;
    }
    let record = read(container, bytes)?;
    Some((record.mark, meta.open(&record.body)?, record.len))
}

/// The record that `bytes` begin with, if it is whole and the container's key opens it.
pub(crate) fn read(container: Option<&dyn Seal>, bytes: &[u8]) -> Option<Record> {
    match container {
        Some(seal) => {
            let chunk = chunk::parse(bytes).filter(|chunk| chunk.len <= MAX_LEN)?;
            work::count(chunk.sealed.len());
            let mut plain = Vec::new();
            seal.open(chunk.sealed, &mut plain).ok()?;
            let content = frame::skippable_content(&plain)? as usize;
            if SKIPPABLE_HEADER + content != plain.len() {
                return None;
            }
            let body = plain.split_off(SKIPPABLE_HEADER);
            Some(Record { mark: *chunk.reserved, body, len: chunk.len })
        }
        None => {
            let content = frame::skippable_content(bytes)? as usize;
            if content > MAX_LEN - SKIPPABLE_HEADER {
                return None;
            }
            let content = bytes.get(SKIPPABLE_HEADER..SKIPPABLE_HEADER + content)?;
            let (mark, body) = content.split_first_chunk::<MARK>()?;
            Some(Record {
                mark: *mark,
                body: body.to_vec(),
                len: SKIPPABLE_HEADER + MARK + body.len(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::seal::tests::every_seal;

    /// What counts is the record as it stands in the file.
    #[test]
    fn a_record_has_256_kib_at_most_in_every_container() {
        let seals = every_seal();
        let seals = seals.iter().map(|(name, seal)| (name.as_str(), Some(&**seal)));
        for (name, seal) in seals.chain([("none", None)]) {
            let longest = (0..=MAX_LEN).rev().find(|body| len(seal, *body) <= MAX_LEN).unwrap();
            for (body, fits) in [(longest, true), (longest + 1, len(seal, longest + 1) <= MAX_LEN)]
            {
                let mut bytes = Vec::new();
                write(seal, &mark_at(COMMIT_TAG, 0), &vec![0; body], &mut bytes);
                assert_eq!(read(seal, &bytes).is_some(), fits, "{name}, {body}");
                assert_eq!(peek(seal.is_some(), &bytes).is_some(), fits, "{name}, {body}");
            }
        }
    }
}
