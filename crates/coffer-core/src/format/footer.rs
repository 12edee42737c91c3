//! The footer: the last record of a file, which names the newest commit.

use crate::crypto::seal::Seal;
use crate::format::codec::Decoder;
use crate::format::commit::{Position, flag};
use crate::format::record::{self, ARCHIVE_ID, ClearFields, FOOTER_TAG, MetaSeal};

/// A footer: it is found from the end of the file, and gives the position of the newest commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) commit: Position,
    pub(crate) header_copy: u64,
    /// Whether the commit is durable and its scrub is done.
    pub(crate) durable: bool,
}

const FOOTER_BODY: usize = ARCHIVE_ID + 8 + 8 + 8 + 8 + 32 + 8 + 1;

impl Footer {
    /// The length of a footer in the file.
    pub(crate) fn len(container: Option<&dyn Seal>, meta: &MetaSeal) -> usize {
        record::len(container, meta.sealed_len(FOOTER_BODY))
    }

    pub(crate) fn write(
        &self,
        container: Option<&dyn Seal>,
        meta: &MetaSeal,
        offset: u64,
        out: &mut Vec<u8>,
    ) {
        let mut body = Vec::with_capacity(FOOTER_BODY);
        body.extend_from_slice(&self.archive);
        body.extend_from_slice(&offset.to_le_bytes());
        body.extend_from_slice(&self.commit.generation.to_le_bytes());
        body.extend_from_slice(&self.commit.offset.to_le_bytes());
        body.extend_from_slice(&self.commit.len.to_le_bytes());
        body.extend_from_slice(&self.commit.digest);
        body.extend_from_slice(&self.header_copy.to_le_bytes());
        body.push(u8::from(self.durable));
        record::write(container, &footer_mark(offset, self.header_copy), &meta.seal(&body), out);
    }

    /// Reads the footer that `bytes`, which stand at `offset`, begin with. Gives its length, too.
    pub(crate) fn read(
        bytes: &[u8],
        offset: u64,
        container: Option<&dyn Seal>,
        meta: &MetaSeal,
    ) -> Option<(Self, usize)> {
        let mut len = Self::len(container, meta);
        let fits = |mark: &ClearFields| record::offset_in(mark) == offset;
        let (mark, body);
        (mark, body, len) = record::open(container, meta, bytes.get(..len)?, fits)?;
        Some((Self::decode(&mark, &body, offset)?, len))
    }

    /// The footer with this mark and this plaintext, if both have the offset `offset`.
    pub(crate) fn decode(mark: &ClearFields, body: &[u8], offset: u64) -> Option<Self> {
        if body.len() != FOOTER_BODY {
            return None;
        }
        let mut d = Decoder::new(body);
        let archive = d.array().ok()?;
        let at = u64::from_le_bytes(d.array().ok()?);
        let commit = Position {
            generation: u64::from_le_bytes(d.array().ok()?),
            offset: u64::from_le_bytes(d.array().ok()?),
            len: u64::from_le_bytes(d.array().ok()?),
            digest: d.array().ok()?,
        };
        let header_copy = u64::from_le_bytes(d.array().ok()?);
        let durable = flag(&mut d).ok()?;
        let ends = commit.offset.checked_add(commit.len)?;
        if at != offset || *mark != footer_mark(offset, header_copy) || ends > offset {
            return None;
        }
        Some(Self { archive, commit, header_copy, durable })
    }
}

/// A footer's mark also names the newest copy of the header, so that a file whose beginning is
/// damaged can be opened from its end.
fn footer_mark(offset: u64, header_copy: u64) -> ClearFields {
    let mut mark = record::mark_at(FOOTER_TAG, offset);
    mark[12..20].copy_from_slice(&header_copy.to_le_bytes());
    mark
}

/// The offset of the header's newest copy in a footer's mark.
pub(crate) fn header_copy_in(mark: &ClearFields) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&mark[12..20]);
    u64::from_le_bytes(bytes)
}
