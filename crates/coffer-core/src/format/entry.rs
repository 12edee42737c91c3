//! An entry of the catalog: what a member is besides its name, where its bytes are, and how commits
//! encode it.

use std::sync::Arc;

use crate::error::Result;
use crate::format::codec::{Decoder, Encoder, malformed};
use crate::format::member::{Attributes, MemberType};

/// The number of a block. Numbers are given in the order in which blocks are written, and never reused.
pub(crate) type BlockId = u64;

/// A part of a large member, alone in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) block: BlockId,
    /// Bytes of the member.
    pub(crate) raw: u32,
    /// The same bytes after the member layer: what stands in the tar.
    pub(crate) stored: u32,
}

/// The place of a member's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a pack, `at` bytes into its tar.
    Packed { block: BlockId, at: u32, stored: u32 },
    /// In blocks of their own, behind a block with the tar header.
    Pieces { header: BlockId, pieces: Arc<Vec<Piece>> },
    /// Not in the file yet: the bytes after the member layer.
    Memory(Arc<Vec<u8>>),
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The version: it changes with the contents, and not when they only move.
    pub(crate) version: u64,
    pub(crate) member_type: MemberType,
    pub(crate) size: u64,
    pub(crate) attributes: Attributes,
    pub(crate) place: Place,
}

impl Entry {
    pub(crate) fn is_directory(&self) -> bool {
        self.member_type.is_directory()
    }

    /// Bytes after the member layer.
    pub(crate) fn stored(&self) -> u64 {
        match &self.place {
            Place::Packed { stored, .. } => u64::from(*stored),
            Place::Pieces { pieces, .. } => pieces.iter().map(|p| u64::from(p.stored)).sum(),
            Place::Memory(bytes) => bytes.len() as u64,
        }
    }
}

const PACKED: u8 = 0;
const PIECES: u8 = 1;
const DIRECTORY: u8 = 2;

/// Whether the first byte of an encoded entry says that the member is in pieces.
pub(super) fn is_in_pieces(place: u8) -> bool {
    place == PIECES
}

pub(super) fn encode(e: &mut Encoder, entry: &Entry) {
    let place = match &entry.place {
        Place::Pieces { .. } => PIECES,
        _ if entry.is_directory() => DIRECTORY,
        _ => PACKED,
    };
    e.byte(place);
    e.uint(entry.version);
    e.uint(entry.size);
    e.uint(u64::from(entry.attributes.mode));
    e.int(entry.attributes.mtime_s);
    e.uint(u64::from(entry.attributes.mtime_ns));
    match &entry.place {
        Place::Packed { block, at, stored } => {
            e.uint(*block);
            e.uint(u64::from(*at));
            e.uint(u64::from(*stored));
        }
        Place::Pieces { header, pieces } => {
            e.uint(*header);
            let mut last = *header;
            e.list(pieces, |e, piece| {
                e.int(piece.block.wrapping_sub(last) as i64);
                e.uint(u64::from(piece.raw));
                e.uint(u64::from(piece.stored));
                last = piece.block;
            });
        }
        // A commit is written after every pack, so nothing is in memory alone.
        Place::Memory(_) => {}
    }
}

/// Reads what [`encode`] wrote, and takes the number of its pieces off `left`, which bounds those of the commit.
#[inline]
pub(super) fn decode(d: &mut Decoder<'_>, left: &mut u64) -> Result<Entry> {
    let place = d.byte()?;
    let version = d.uint()?;
    let size = d.uint()?;
    let mode = d.uint32()?;
    let mtime_s = d.int()?;
    let mtime_ns = d.uint32()?;
    let place_of = match place {
        PACKED | DIRECTORY => {
            Place::Packed { block: d.uint()?, at: d.uint32()?, stored: d.uint32()? }
        }
        PIECES => {
            let header = d.uint()?;
            let mut last = header;
            let pieces = d.list(*left, |d| {
                last = last.wrapping_add(d.int()? as u64);
                Ok(Piece { block: last, raw: d.uint32()?, stored: d.uint32()? })
            })?;
            *left = left.saturating_sub(pieces.len() as u64);
            Place::Pieces { header, pieces: Arc::new(pieces) }
        }
        _ => return Err(malformed("a member is of no known type")),
    };
    Ok(Entry {
        version,
        member_type: if place == DIRECTORY { MemberType::Directory } else { MemberType::File },
        size,
        attributes: Attributes { mode, mtime_s, mtime_ns },
        place: place_of,
    })
}
