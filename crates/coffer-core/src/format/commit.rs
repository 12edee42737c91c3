//! Commits: the fields of each, their encoding, and the rules between one commit and the next.

use crate::format::record::ARCHIVE_ID;
use crate::format::record::HEADER_MARKS;
use std::sync::Arc;

use crate::error::Result;
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry};
use crate::format::codec::{Decoder, Encoder, malformed};
use crate::format::entry;
use crate::format::members::{MemberRoom, MemberRows};

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

/// One commit: one that is written has its members in `removed` and `set`, one that was read in `rows`.
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
    pub(crate) rows: MemberRows,
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
            entry::encode(e, entry);
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

    /// Decodes a commit of any size, as a reader does.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn read(bytes: &[u8]) -> Result<Self> {
        Self::decode_within(bytes.to_vec(), Room::ANY)
    }

    /// Decodes a commit of any size into the form in which one is written.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut commit = Self::read(bytes)?;
        (commit.removed, commit.set) = std::mem::take(&mut commit.rows).lists();
        Ok(commit)
    }

    /// Decodes a commit whose lists are no longer than `room` allows.
    pub(super) fn decode_within(bytes: Vec<u8>, room: Room) -> Result<Self> {
        let mut d = Decoder::new(&bytes);
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
        let Room { removed, set, blocks: pieces } = room;
        let rows = MemberRows::decode(&mut d, bytes.len(), MemberRoom { removed, set, pieces })?;
        let members_end = bytes.len() - d.left();
        let mut end = 0;
        let scrub = d.list(room.blocks, |d| {
            let block = decode_block(d, end)?;
            end = block.end();
            Ok(block)
        })?;
        let history = d.list(MAX_HISTORY as u64, |d| Ok((d.uint()?, d.array()?)))?;
        let ahead = if d.is_empty() { None } else { Some(decode_ahead(&mut d)?) };
        d.finish()?;
        let raw_len = bytes.len() as u64;
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
            removed: Vec::new(),
            set: Vec::new(),
            rows: rows.keep(bytes, members_end),
            scrub,
            history,
            ahead,
            raw_len,
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
    pub(super) fn check_after(&self, before: &Catalog) -> Result<()> {
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
        self.rows.check_distinct()
    }

    /// The number of blocks that it names: added, dropped, and as pieces of members.
    pub(crate) fn blocks_named(&self) -> u64 {
        self.dropped.len() as u64 + self.blocks.len() as u64 + self.rows.pieces
    }

    /// About the bytes of memory that its blocks and members take in a catalog.
    pub(crate) fn memory(&self) -> usize {
        self.blocks.len().saturating_mul(BLOCK_MEMORY)
            + self.rows.len().saturating_mul(ROW_MEMORY)
            + self.rows.large().saturating_mul(LARGE_MEMORY)
    }
}

/// A catalog that is put together from commits.
#[derive(Default)]
pub(crate) struct Loading {
    /// The catalog without the members of the commits.
    catalog: Catalog,
    rows: Vec<MemberRows>,
}

impl Loading {
    /// A catalog that further commits follow.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn behind(catalog: Catalog) -> Self {
        Self { catalog, rows: Vec::new() }
    }

    /// Checks that a commit can follow those before it.
    pub(crate) fn check(&self, next: &Commit) -> Result<()> {
        next.check_after(&self.catalog)
    }

    /// Goes on to the next commit. Its blocks and members move out of it.
    pub(crate) fn apply(&mut self, commit: &mut Commit) {
        let catalog = &mut self.catalog;
        for id in commit.dropped.drain(..) {
            catalog.drop_block(id);
        }
        let blocks = std::mem::take(&mut commit.blocks);
        if catalog.blocks.is_empty() {
            // All at once, since those of a snapshot are sorted.
            catalog.blocks = blocks.into_iter().collect();
        } else {
            catalog.blocks.extend(blocks);
        }
        self.rows.push(std::mem::take(&mut commit.rows));
        catalog.next_block = commit.next_block;
        catalog.next_version = commit.next_version;
        catalog.dead = commit.dead;
    }

    /// The catalog as of the last commit.
    pub(crate) fn finish(self) -> Catalog {
        let Self { mut catalog, rows } = self;
        catalog.merge(rows);
        catalog
    }
}

/// About the bytes of memory that a block, a member and a member in pieces take in a catalog, beside
/// the encoding of members.
pub(super) const BLOCK_MEMORY: usize = 128;
pub(super) const ROW_MEMORY: usize = 24;
pub(super) const LARGE_MEMORY: usize = 320;

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
