//! Commits: the fields of each, their encoding, and the rules between one commit and the next.

use crate::format::member::Attributes;
use crate::format::member::MemberType;
use crate::format::record::ARCHIVE_ID;
use crate::format::record::HEADER_MARKS;
use std::sync::Arc;

use crate::error::Result;
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Piece, Place};
use crate::format::codec::{Decoder, Encoder, malformed};

/// The highest ratio of a commit's bytes before compression to those after it. Names of 3,800 bytes
/// that differ in one byte compress less.
pub(super) const MAX_RATIO: u64 = 2048;
/// Bytes before compression that a commit may have in addition to that ratio.
pub(super) const MIN_RAW: u64 = 64 << 10;
/// The most members that are set, and the most names that are removed, for each byte of the
/// compressed commit. In a writer's commits one set takes more than two bytes, one removal more than
/// half a byte.
pub(super) const SET_IN_BYTE: u64 = 4;
pub(super) const REMOVED_IN_BYTE: u64 = 8;
/// The least bytes of a block in the file: its frame must have room for the header of dead space.
pub(super) const MIN_BLOCK: u64 = crate::format::frame::SKIPPABLE_HEADER as u64;
/// The most ancestors that a commit lists of those that are no longer in the file.
pub(crate) const MAX_HISTORY: usize = 4_096;
/// The most bytes of unsynced blocks that one sync may cover together with their commit.
pub(crate) const MAX_AHEAD: u64 = 1 << 20;

/// The identity of a commit: its place in the order, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitId {
    /// 1 for the first commit, and one more for each.
    pub generation: u64,
    /// The digest, which covers every commit before it too.
    pub digest: [u8; 32],
}

/// A commit's place in the file, and its digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) generation: u64,
    pub(crate) offset: u64,
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

impl Position {
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }

    /// Whether both name the same commit at the same place.
    pub(crate) fn is(&self, other: &Self) -> bool {
        let place = |p: &Self| (p.generation, p.offset, p.len);
        place(self) == place(other) && crate::crypto::key::same(&self.digest, &other.digest)
    }

    /// Whether it can be the commit before the one at `next`.
    pub(crate) fn precedes(&self, next: &Self) -> bool {
        self.end() <= next.offset && self.generation < next.generation
    }
}

/// The bytes right before a commit that no sync had covered when it was written, and the digest that
/// shows whether they have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct UnsyncedPrefix {
    pub(crate) len: u64,
    pub(crate) digest: Digest,
}

/// One commit.
#[derive(Debug, Clone)]
pub(crate) struct Commit {
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) generation: u64,
    /// The clear bytes of the header, which are authenticated here.
    pub(crate) header: [u8; HEADER_MARKS],
    /// Where the newest copy of the header lies.
    pub(crate) header_copy: u64,
    /// The commit before; in a compacted file it has a digest but no place.
    pub(crate) previous: Option<Position>,
    /// Whether this is the whole catalog, or the changes since the commit before.
    pub(crate) snapshot: bool,
    pub(crate) next_block: BlockId,
    pub(crate) next_version: u64,
    pub(crate) dead: u64,
    pub(crate) dropped: Vec<BlockId>,
    pub(crate) blocks: Vec<(BlockId, Block)>,
    pub(crate) removed: Vec<Arc<str>>,
    pub(crate) set: Vec<(Arc<str>, Entry)>,
    /// Dead blocks to overwrite before the next commit.
    pub(crate) scrub: Vec<Block>,
    /// Ancestors that are no longer in the file, oldest first.
    pub(crate) history: Vec<(u64, Digest)>,
    /// The bytes that share its sync, if there are any.
    pub(crate) ahead: Option<UnsyncedPrefix>,
    /// The bytes before compression of a commit that was read.
    pub(crate) raw_len: u64,
    /// Whether its parts had the lengths that a writer gives them.
    pub(crate) well_cut: bool,
}

impl Commit {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut e = Encoder::default();
        e.raw(&self.archive);
        e.uint(self.generation);
        e.raw(&self.header);
        e.uint(self.header_copy);
        e.byte(u8::from(self.snapshot));
        e.byte(u8::from(self.previous.is_some()));
        if let Some(p) = &self.previous {
            e.uint(p.generation);
            e.uint(p.offset);
            e.uint(p.len);
            e.raw(&p.digest);
        }
        e.uint(self.next_block);
        e.uint(self.next_version);
        e.uint(self.dead);
        e.list(&self.dropped, |e, id| e.uint(*id));
        let mut last = (0, 0);
        e.list(&self.blocks, |e, (id, block)| {
            e.int(id.wrapping_sub(last.0) as i64);
            encode_block(e, block, last.1);
            e.raw(&block.digest);
            last = (*id, block.end());
        });
        e.list(&self.removed, |e, name| e.string(name));
        e.list(&self.set, |e, (name, entry)| {
            e.string(name);
            encode_entry(e, entry);
        });
        let mut end = 0;
        e.list(&self.scrub, |e, block| {
            encode_block(e, block, end);
            end = block.end();
        });
        e.list(&self.history, |e, (generation, digest)| {
            e.uint(*generation);
            e.raw(digest);
        });
        if let Some(ahead) = &self.ahead {
            e.uint(ahead.len);
            e.raw(&ahead.digest);
        }
        e.finish()
    }

    /// Decodes a commit of any size.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        Self::decode_within(bytes, Room::ANY)
    }

    /// Decodes a commit whose lists are no longer than `room` allows.
    pub(super) fn decode_within(bytes: &[u8], room: Room) -> Result<Self> {
        let mut d = Decoder::new(bytes);
        let archive = d.array()?;
        let generation = d.uint()?;
        let header = d.array()?;
        let header_copy = d.uint()?;
        let snapshot = flag(&mut d)?;
        let previous = if flag(&mut d)? { Some(decode_position(&mut d)?) } else { None };
        let next_block = d.uint()?;
        let next_version = d.uint()?;
        let dead = d.uint()?;
        let dropped = d.list(room.blocks, Decoder::uint)?;
        let mut last = (0u64, 0u64);
        let blocks = d.list(room.blocks, |d| {
            let id = last.0.wrapping_add(d.int()? as u64);
            let mut block = decode_block(d, last.1)?;
            block.digest = d.array()?;
            last = (id, block.end());
            Ok((id, block))
        })?;
        let removed = d.list(room.removed, |d| d.string().map(Arc::from))?;
        let mut pieces = room.blocks;
        let set =
            d.list(room.set, |d| Ok((Arc::from(d.string()?), decode_entry(d, &mut pieces)?)))?;
        let mut end = 0;
        let scrub = d.list(room.blocks, |d| {
            let block = decode_block(d, end)?;
            end = block.end();
            Ok(block)
        })?;
        let history = d.list(MAX_HISTORY as u64, |d| Ok((d.uint()?, d.array()?)))?;
        let ahead = if d.is_empty() { None } else { Some(decode_ahead(&mut d)?) };
        d.finish()?;
        Ok(Self {
            archive,
            generation,
            header,
            header_copy,
            previous,
            snapshot,
            next_block,
            next_version,
            dead,
            dropped,
            blocks,
            removed,
            set,
            scrub,
            history,
            ahead,
            raw_len: bytes.len() as u64,
            well_cut: true,
        })
    }

    /// Checks the fields beside the catalog of a commit that stands at `offset`.
    pub(crate) fn check(&self, offset: u64) -> Result<()> {
        if self.snapshot && !(self.dropped.is_empty() && self.removed.is_empty()) {
            return Err(malformed("a snapshot drops blocks or removes members"));
        }
        if self.ahead.is_some()
            && !(self.scrub.is_empty() && self.previous.is_some_and(|p| p.len > 0))
        {
            return Err(malformed(
                "it shares its sync, though it has something to scrub, or is the first of its file",
            ));
        }
        if self.header_copy >= offset {
            return Err(malformed("its copy of the header does not lie before it"));
        }
        if !self.well_cut {
            return Err(malformed("its parts are longer or shorter than they must be"));
        }
        let generations = self.history.iter().map(|(generation, _)| *generation);
        if !generations.chain([self.generation]).is_sorted_by(|a, b| a < b) {
            return Err(malformed("the commits before it are out of order"));
        }
        Ok(())
    }

    /// Checks that the commit can follow the one with the catalog `before`, which is empty for none.
    pub(crate) fn check_after(&self, before: &Catalog) -> Result<()> {
        let first = if self.snapshot {
            0
        } else if self.next_block < before.next_block || self.next_version < before.next_version {
            return Err(malformed("its counters are below those of the commit before"));
        } else {
            before.next_block
        };
        if self.blocks.iter().any(|(id, _)| *id < first)
            || !distinct(self.blocks.iter().map(|(id, _)| id))
        {
            return Err(malformed("it gives the number of a block twice"));
        }
        if !distinct(self.set.iter().map(|(name, _)| name)) {
            return Err(malformed("it sets a member twice"));
        }
        Ok(())
    }

    /// The number of blocks that it names: added, dropped, and as pieces of members.
    pub(crate) fn blocks_named(&self) -> u64 {
        let pieces = self.set.iter().map(|(_, entry)| match &entry.place {
            Place::Pieces { pieces, .. } => pieces.len() as u64,
            _ => 0,
        });
        self.dropped.len() as u64 + self.blocks.len() as u64 + pieces.sum::<u64>()
    }

    /// About the bytes of memory that its blocks and members take in a catalog.
    pub(crate) fn memory(&self) -> usize {
        self.blocks.len().saturating_mul(BLOCK_MEMORY)
            + self.set.len().saturating_mul(MEMBER_MEMORY)
    }

    /// Brings `catalog` from the commit before to this one. Blocks and members move out of the commit.
    pub(crate) fn apply(&mut self, catalog: &mut Catalog) {
        for id in self.dropped.drain(..) {
            catalog.drop_block(id);
        }
        catalog.blocks.extend(self.blocks.drain(..));
        for name in self.removed.drain(..) {
            catalog.remove(&name);
        }
        catalog.set_all(std::mem::take(&mut self.set));
        catalog.next_block = self.next_block;
        catalog.next_version = self.next_version;
        catalog.dead = self.dead;
    }
}

/// About the bytes of memory that a block, and a member without its name, take in a catalog.
pub(super) const BLOCK_MEMORY: usize = 128;
pub(super) const MEMBER_MEMORY: usize = 320;

/// The longest lists that a commit may have, so that decoding it takes memory in proportion to the
/// file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Blocks that are added, dropped or scrubbed, and pieces of members: all have their place in
    /// the file.
    pub(crate) blocks: u64,
    pub(super) set: u64,
    pub(super) removed: u64,
}

impl Room {
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) const ANY: Self = Self { blocks: u64::MAX, set: u64::MAX, removed: u64::MAX };

    /// For a commit of `packed` bytes after compression that stands at `offset`.
    pub(crate) fn new(packed: usize, offset: u64) -> Self {
        let packed = packed as u64;
        Self {
            blocks: offset / MIN_BLOCK,
            set: packed.saturating_mul(SET_IN_BYTE),
            removed: packed.saturating_mul(REMOVED_IN_BYTE),
        }
    }

    /// Whether `packed` bytes may become `raw` bytes.
    pub(super) fn allows(packed: usize, raw: u64) -> bool {
        raw <= (packed as u64).saturating_mul(MAX_RATIO).saturating_add(MIN_RAW)
    }
}

/// Whether all items differ.
fn distinct<T: Ord>(items: impl Iterator<Item = T> + Clone) -> bool {
    if items.clone().is_sorted_by(|a, b| a < b) {
        return true;
    }
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.is_sorted_by(|a, b| a < b)
}

fn decode_position(d: &mut Decoder<'_>) -> Result<Position> {
    Ok(Position { generation: d.uint()?, offset: d.uint()?, len: d.uint()?, digest: d.array()? })
}

fn decode_ahead(d: &mut Decoder<'_>) -> Result<UnsyncedPrefix> {
    let ahead = UnsyncedPrefix { len: d.uint()?, digest: d.array()? };
    if (1..=MAX_AHEAD).contains(&ahead.len) {
        return Ok(ahead);
    }
    Err(malformed("the length of the bytes that share its sync is zero or too large"))
}

pub(super) fn flag(d: &mut Decoder<'_>) -> Result<bool> {
    match d.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(malformed("a flag is neither 0 nor 1")),
    }
}

fn encode_block(e: &mut Encoder, block: &Block, after: u64) {
    e.int(block.offset.wrapping_sub(after) as i64);
    e.uint(u64::from(block.len));
    e.uint(u64::from(block.frame));
    e.uint(u64::from(block.tar));
}

fn decode_block(d: &mut Decoder<'_>, after: u64) -> Result<Block> {
    Ok(Block {
        offset: after.wrapping_add(d.int()? as u64),
        len: d.uint32()?,
        frame: d.uint32()?,
        tar: d.uint32()?,
        digest: Digest::default(),
    })
}

const PACKED: u8 = 0;
const PIECES: u8 = 1;
const DIRECTORY: u8 = 2;

fn encode_entry(e: &mut Encoder, entry: &Entry) {
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

/// Reads a member, and takes the number of its pieces off `left`, which bounds those of the commit.
fn decode_entry(d: &mut Decoder<'_>, left: &mut u64) -> Result<Entry> {
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
