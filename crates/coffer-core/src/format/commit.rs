//! Commits: what each says, how it is written, and the footer at its end.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::crypto::seal::Seal;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Piece, Place};
use crate::format::codec::{Decoder, Encoder, malformed};
use crate::format::record::{self, COMMIT_TAG, FOOTER_TAG, MARK, Mark, MetaSeal};
use crate::format::work;

/// Bytes of a coffer's random identity.
pub(crate) const ARCHIVE_ID: usize = 16;
/// Bytes of the compressed commit in each of its records.
const PART: usize = 60_000;
/// The zstd level of commits.
const LEVEL: i32 = 3;
/// The largest commit that is read or written, in bytes before compression.
const MAX_COMMIT: u64 = if cfg!(test) { 8 << 20 } else { 1 << 32 };
/// The most bytes that each compressed byte of a commit may stand for. Names of 3,800 bytes that
/// differ in one byte come to less than that.
const MAX_RATIO: u64 = 2048;
/// What a commit may have beside that.
const MIN_RAW: u64 = 64 << 10;
/// The most members that are set for each byte of the compressed commit, and the most names that are
/// removed: of a writer each takes more than two bytes, and more than a half.
const SET_IN_BYTE: u64 = 4;
const REMOVED_IN_BYTE: u64 = 8;
/// No block is shorter in the file: its frame must have room for the header of dead space.
const MIN_BLOCK: u64 = crate::format::frame::SKIPPABLE_HEADER as u64;
/// The most ancestors that are remembered of commits that are no longer in the file.
pub(crate) const MAX_HISTORY: usize = 4_096;
/// The most bytes that a commit is written together with, before a sync has covered them.
pub(crate) const MAX_AHEAD: u64 = 1 << 20;
/// Both marks of the header.
pub(crate) const HEADER_MARKS: usize = 2 * MARK;

/// A commit, for those who remember: its place in the order, and what pins all it says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CommitId {
    /// 1 for the first commit, and one more for each.
    pub generation: u64,
    /// The digest, which covers every commit before it too.
    pub digest: [u8; 32],
}

/// A commit's place in the file, and what pins its contents.
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

    /// Whether it may be the commit before the one at `next`.
    pub(crate) fn precedes(&self, next: &Self) -> bool {
        self.end() <= next.offset && self.generation < next.generation
    }
}

/// Bytes right before a commit that no sync had covered when it was written, and what tells whether
/// they have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ahead {
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
    /// Whether this is the whole catalog, or what changed.
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
    /// What shares its sync, if anything does.
    pub(crate) ahead: Option<Ahead>,
    /// Bytes before compression, of a commit that was read.
    pub(crate) raw_len: u64,
    /// Whether its parts were as long as they must be.
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

    /// Decodes a commit that has no more in it than there is room for.
    fn decode_within(bytes: &[u8], room: Room) -> Result<Self> {
        let mut d = Decoder::new(bytes);
        let archive = d.array()?;
        let generation = d.uint()?;
        let header = d.array()?;
        let header_copy = d.uint()?;
        let snapshot = flag(&mut d)?;
        let previous = if flag(&mut d)? {
            Some(Position {
                generation: d.uint()?,
                offset: d.uint()?,
                len: d.uint()?,
                digest: d.array()?,
            })
        } else {
            None
        };
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

    /// Checks what the commit says beside the catalog; it stands at `offset`.
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

    /// Checks that the commit can follow the one that `before` is the catalog of, or nothing.
    pub(crate) fn check_after(&self, before: &Catalog) -> Result<()> {
        let first = if self.snapshot {
            0
        } else if self.next_block < before.next_block || self.next_version < before.next_version {
            return Err(malformed("it counts back"));
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

    /// How many blocks it names, live and dead, those of members included.
    pub(crate) fn blocks_named(&self) -> u64 {
        let pieces = self.set.iter().map(|(_, entry)| match &entry.place {
            Place::Pieces { pieces, .. } => pieces.len() as u64,
            _ => 0,
        });
        self.dropped.len() as u64 + self.blocks.len() as u64 + pieces.sum::<u64>()
    }

    /// About how many bytes of memory the catalog takes for what it adds.
    pub(crate) fn memory(&self) -> usize {
        self.blocks.len().saturating_mul(BLOCK_MEMORY)
            + self.set.len().saturating_mul(MEMBER_MEMORY)
    }

    /// Brings `catalog` from the commit before to this one, which has no blocks and members left then.
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

/// About the memory that a block and a member take in a catalog, beside the name.
const BLOCK_MEMORY: usize = 128;
const MEMBER_MEMORY: usize = 320;

/// The most that a commit may have of each, so that reading it takes memory in proportion to the
/// file and no more.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Room {
    /// Blocks that are added, dropped or scrubbed, and pieces of members: all have their place in
    /// the file.
    pub(crate) blocks: u64,
    set: u64,
    removed: u64,
}

impl Room {
    #[cfg(any(test, feature = "fuzzing"))]
    const ANY: Self = Self { blocks: u64::MAX, set: u64::MAX, removed: u64::MAX };

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
    fn allows(packed: usize, raw: u64) -> bool {
        raw <= (packed as u64).saturating_mul(MAX_RATIO).saturating_add(MIN_RAW)
    }
}

/// Whether no item is there twice.
fn distinct<T: Ord>(items: impl Iterator<Item = T> + Clone) -> bool {
    if items.clone().is_sorted_by(|a, b| a < b) {
        return true;
    }
    let mut items: Vec<T> = items.collect();
    items.sort_unstable();
    items.is_sorted_by(|a, b| a < b)
}

fn decode_ahead(d: &mut Decoder<'_>) -> Result<Ahead> {
    let ahead = Ahead { len: d.uint()?, digest: d.array()? };
    if (1..=MAX_AHEAD).contains(&ahead.len) {
        return Ok(ahead);
    }
    Err(malformed("it is said to be written together with nothing, or with too much"))
}

fn flag(d: &mut Decoder<'_>) -> Result<bool> {
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
        _ if entry.directory => DIRECTORY,
        _ => PACKED,
    };
    e.byte(place);
    e.uint(entry.version);
    e.uint(entry.size);
    e.uint(u64::from(entry.mode));
    e.int(entry.mtime_s);
    e.uint(u64::from(entry.mtime_ns));
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

/// Reads a member, which takes its pieces off those that may still come.
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
        directory: place == DIRECTORY,
        size,
        mode,
        mtime_s,
        mtime_ns,
        place: place_of,
    })
}

/// One authenticated part of a commit.
pub(crate) struct Part {
    /// Where it says that it stands.
    offset: u64,
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) generation: u64,
    pub(crate) index: u32,
    pub(crate) count: u32,
    raw_len: u64,
    bytes: Vec<u8>,
}

/// Writes a commit's records as they stand at `offset`, and gives its digest.
///
/// # Errors
/// [`Code::Limit`] if no reader takes it. `out` is then as it was.
pub(crate) fn write(
    commit: &Commit,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    offset: u64,
    out: &mut Vec<u8>,
) -> Result<Digest> {
    let raw = commit.encode();
    if raw.len() as u64 >= MAX_COMMIT {
        return Err(Error::new(
            Code::Limit,
            format!(
                "the coffer has too many members: its commit would have {} bytes, and {MAX_COMMIT} are the most. Delete members, or put some into another coffer",
                raw.len()
            ),
        ));
    }
    let mut packed = crate::format::frame::compress(LEVEL, &raw)?;
    let fits = |packed: usize| {
        let room = Room::new(packed, offset);
        Room::allows(packed, raw.len() as u64)
            && commit.set.len() as u64 <= room.set
            && commit.removed.len() as u64 <= room.removed
    };
    if !fits(packed.len()) {
        // It compresses to less than a reader believes.
        packed = crate::format::frame::Stored::new(&raw).joined();
    }
    let count = packed.len().div_ceil(PART) as u32;
    let start = out.len();
    for (index, bytes) in packed.chunks(PART).enumerate() {
        let at = offset + (out.len() - start) as u64;
        let mut e = Encoder::default();
        e.raw(&commit.archive);
        e.raw(&at.to_le_bytes());
        e.uint(commit.generation);
        e.uint(index as u64);
        e.uint(u64::from(count));
        e.uint(raw.len() as u64);
        e.raw(bytes);
        record::write(container, &record::mark_at(COMMIT_TAG, at), &meta.seal(&e.finish()), out);
    }
    Ok(*blake3::hash(&raw).as_bytes())
}

/// Reads the part of a commit that `bytes`, which lie at `offset`, begin with; with its length.
/// `None` unless it is authentic and was written at that very offset.
pub(crate) fn read_part(
    bytes: &[u8],
    offset: u64,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
) -> Option<(Part, usize)> {
    let home = record::mark_at(COMMIT_TAG, offset);
    let (_, plain, len) = record::open(container, meta, bytes, |mark| *mark == home)?;
    Some((Part::decode(&plain, offset)?, len))
}

impl Part {
    /// The part in the plaintext of a record's body, if it says that the record stands at `offset`.
    pub(crate) fn decode(plain: &[u8], offset: u64) -> Option<Self> {
        let mut d = Decoder::new(plain);
        let archive = d.array().ok()?;
        if u64::from_le_bytes(d.array().ok()?) != offset {
            return None;
        }
        Some(Self {
            offset,
            archive,
            generation: d.uint().ok()?,
            index: d.uint32().ok()?,
            count: d.uint32().ok()?,
            raw_len: d.uint().ok()?,
            bytes: d.rest().to_vec(),
        })
    }

    /// Whether it is the part that follows `before`, which begin with the first.
    pub(crate) fn follows(&self, before: &[Self]) -> bool {
        self.index as usize == before.len()
            && before.first().is_none_or(|first| {
                self.count == first.count
                    && self.generation == first.generation
                    && self.archive == first.archive
                    && self.raw_len == first.raw_len
            })
    }
}

/// Puts a commit's parts together.
///
/// # Errors
/// [`Code::Corrupt`]; [`Code::TooLarge`] if it has more than `most` bytes before compression;
/// [`Code::Limit`] if there is not enough memory.
pub(crate) fn assemble(parts: &[&Part], most: u64) -> Result<(Commit, Digest)> {
    let first = parts.first().ok_or_else(|| malformed("it has no parts"))?;
    let raw = unpack(parts, most)?;
    let digest = *blake3::hash(&raw.bytes).as_bytes();
    Ok((raw.decode(first.generation, &first.archive)?, digest))
}

/// The bytes of a commit before compression, and what is known of it from its parts.
struct Unpacked {
    bytes: Buffer,
    room: Room,
    /// Whether its parts were as long as they must be.
    well_cut: bool,
}

impl Unpacked {
    /// The commit, which must be the one that its parts say.
    fn decode(&self, generation: u64, archive: &[u8; ARCHIVE_ID]) -> Result<Commit> {
        let mut commit = Commit::decode_within(&self.bytes, self.room)?;
        commit.well_cut = self.well_cut;
        if commit.generation != generation || commit.archive != *archive {
            return Err(malformed("its parts speak of another commit"));
        }
        Ok(commit)
    }
}

/// The bytes of a commit, from its parts.
fn unpack(parts: &[&Part], most: u64) -> Result<Unpacked> {
    let first = parts.first().ok_or_else(|| malformed("it has no parts"))?;
    let orderly = parts.len() == first.count as usize
        && parts.iter().enumerate().all(|(i, p)| {
            p.index as usize == i
                && p.count == first.count
                && p.generation == first.generation
                && p.archive == first.archive
                && p.raw_len == first.raw_len
        });
    if !orderly || first.raw_len > MAX_COMMIT || usize::try_from(first.raw_len).is_err() {
        return Err(malformed("its parts do not fit together"));
    }
    check_size(first.raw_len, most)?;
    let packed: usize = parts.iter().map(|p| p.bytes.len()).sum();
    if !Room::allows(packed, first.raw_len) {
        return Err(malformed("it is said to be larger than its bytes can stand for"));
    }
    let room = Room::new(packed, first.offset);
    let packed: Vec<u8> = parts.iter().flat_map(|p| p.bytes.iter().copied()).collect();
    // In one piece, since a stream would take the window that the frame asks for as well.
    let bytes = crate::format::frame::decompress(&packed, first.raw_len as usize).map_err(|e| {
        if e.code() == Code::Corrupt {
            malformed("it does not decompress to the length that it says")
        } else {
            e
        }
    })?;
    work::count(bytes.len());
    let full = parts.iter().rev().skip(1).all(|part| part.bytes.len() == PART);
    let well_cut = full && parts.last().is_some_and(|part| part.bytes.len() <= PART);
    Ok(Unpacked { bytes, room, well_cut })
}

/// Checks what commits have before compression against what the caller allows.
///
/// # Errors
/// [`Code::TooLarge`].
pub(crate) fn check_size(len: u64, most: u64) -> Result<()> {
    if len <= most {
        return Ok(());
    }
    let message = format!("the catalog has {len} bytes or more, and {most} were allowed");
    Err(Error::new(Code::TooLarge, message))
}

/// The end of a commit: found from the end of the file, it names the commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) commit: Position,
    pub(crate) header_copy: u64,
    /// The commit is durable, and its scrub is done.
    pub(crate) settled: bool,
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
        body.push(u8::from(self.settled));
        record::write(container, &footer_mark(offset, self.header_copy), &meta.seal(&body), out);
    }

    /// Reads the footer that `bytes`, which lie at `offset`, begin with; with its length.
    pub(crate) fn read(
        bytes: &[u8],
        offset: u64,
        container: Option<&dyn Seal>,
        meta: &MetaSeal,
    ) -> Option<(Self, usize)> {
        let mut len = Self::len(container, meta);
        let fits = |mark: &Mark| record::offset_in(mark) == offset;
        let (mark, body);
        (mark, body, len) = record::open(container, meta, bytes.get(..len)?, fits)?;
        Some((Self::decode(&mark, &body, offset)?, len))
    }

    /// The footer with this mark and this plaintext, if both say that it stands at `offset`.
    pub(crate) fn decode(mark: &Mark, body: &[u8], offset: u64) -> Option<Self> {
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
        let settled = flag(&mut d).ok()?;
        let ends = commit.offset.checked_add(commit.len)?;
        if at != offset || *mark != footer_mark(offset, header_copy) || ends > offset {
            return None;
        }
        Some(Self { archive, commit, header_copy, settled })
    }
}

/// A footer's mark also names the newest copy of the header, so that a file whose beginning is
/// damaged can be opened from its end.
fn footer_mark(offset: u64, header_copy: u64) -> Mark {
    let mut mark = record::mark_at(FOOTER_TAG, offset);
    mark[12..20].copy_from_slice(&header_copy.to_le_bytes());
    mark
}

/// The place of the header's newest copy, as a footer's mark has it in clear.
pub(crate) fn header_copy_in(mark: &Mark) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&mark[12..20]);
    u64::from_le_bytes(bytes)
}

/// A commit as it stands in the file.
pub(crate) struct Standing {
    /// Where it stands, and what its bytes are.
    pub(crate) position: Position,
    pub(crate) archive: [u8; ARCHIVE_ID],
    raw: Unpacked,
}

impl Standing {
    /// What it says. Its bytes are what was committed, so an error here is no damage.
    pub(crate) fn decode(&self) -> Result<Commit> {
        self.raw.decode(self.position.generation, &self.archive)
    }
}

/// How much is read at first, to see how long a part is. Most commits are shorter.
const FIRST_LOOK: u64 = 1 << 10;

/// The whole and authentic commit whose first part stands at `offset` and whose last one ends at or
/// before `limit`. `read` gives bytes of the file, whose offsets may be other ones than the parts
/// name where bytes before them were lost.
pub(crate) fn standing_at(
    offset: u64,
    limit: u64,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    most: u64,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>>,
) -> Result<Option<Standing>> {
    let mut parts = Vec::<Part>::new();
    let mut at = offset;
    loop {
        let rest = limit.saturating_sub(at);
        let mut bytes = read(at, rest.min(FIRST_LOOK) as usize)?;
        let Some((_, len)) = record::peek(container.is_some(), &bytes) else { return Ok(None) };
        if len as u64 > rest {
            return Ok(None);
        }
        if len > bytes.len() {
            bytes = read(at, len)?;
        }
        let part = read_part(&bytes, at, container, meta).filter(|(part, _)| part.follows(&parts));
        let Some((part, len)) = part else { return Ok(None) };
        at += len as u64;
        let count = part.count as usize;
        parts.push(part);
        if parts.len() >= count {
            break;
        }
    }
    let [first, ..] = parts.as_slice() else { return Ok(None) };
    let (generation, archive) = (first.generation, first.archive);
    let raw = match unpack(&parts.iter().collect::<Vec<_>>(), most) {
        Ok(raw) => raw,
        Err(e) if e.code() == Code::Corrupt => return Ok(None),
        Err(e) => return Err(e),
    };
    let digest = *blake3::hash(&raw.bytes).as_bytes();
    let position = Position { generation, offset, len: at - offset, digest };
    Ok(Some(Standing { position, archive, raw }))
}

/// Reads and checks the commit at a position.
pub(crate) fn read_at(
    position: &Position,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    most: u64,
    read: impl FnMut(u64, usize) -> Result<Vec<u8>>,
) -> Result<Commit> {
    match standing_at(position.offset, position.end(), container, meta, most, read)? {
        None => Err(damaged(position, "a part of it does not authenticate")),
        Some(standing) if !standing.position.is(position) => {
            Err(damaged(position, "its digest differs from what names it"))
        }
        Some(standing) => standing.decode(),
    }
}

/// The error for a commit that does not verify.
pub(crate) fn damaged(position: &Position, what: &str) -> Error {
    Error::corrupt(format!(
        "commit {} at byte {} is damaged: {what}",
        position.generation, position.offset
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn commit(set: Vec<(Arc<str>, Entry)>, removed: Vec<Arc<str>>) -> Commit {
        let header: [u8; HEADER_MARKS] = crate::crypto::key::random_bytes();
        Commit {
            archive: crate::crypto::key::random_bytes(),
            generation: 7,
            header,
            header_copy: 442,
            previous: None,
            snapshot: removed.is_empty(),
            next_block: 1 << 20,
            next_version: 1 << 20,
            dead: 0,
            dropped: Vec::new(),
            blocks: Vec::new(),
            removed,
            set,
            scrub: Vec::new(),
            history: Vec::new(),
            ahead: None,
            raw_len: 0,
            well_cut: true,
        }
    }

    /// An empty member, as one of many in packs.
    fn packed(number: u64) -> Entry {
        Entry {
            version: number,
            directory: false,
            size: 0,
            mode: 0o644,
            mtime_s: 1_700_000_000,
            mtime_ns: 0,
            place: Place::Packed {
                block: 1 + number / 256,
                at: (512 * (number % 256) + 512) as u32,
                stored: 0,
            },
        }
    }

    /// The parts of what `raw` is compressed to, at an offset, and the length of that.
    fn parts(commit: &Commit, raw: &[u8], offset: u64) -> (Vec<Part>, usize) {
        let packed = crate::format::frame::compress(LEVEL, raw).unwrap();
        let count = packed.len().div_ceil(PART) as u32;
        let part = |(index, bytes): (usize, &[u8])| Part {
            offset,
            archive: commit.archive,
            generation: commit.generation,
            index: index as u32,
            count,
            raw_len: raw.len() as u64,
            bytes: bytes.to_vec(),
        };
        (packed.chunks(PART).enumerate().map(part).collect(), packed.len())
    }

    fn read(commit: &Commit, offset: u64, most: u64) -> (Result<Commit>, usize) {
        let (parts, packed) = parts(commit, &commit.encode(), offset);
        let read = assemble(&parts.iter().collect::<Vec<_>>(), most);
        (read.map(|(commit, _)| commit), packed)
    }

    fn code(read: (Result<Commit>, usize)) -> Option<Code> {
        read.0.err().map(|e| e.code())
    }

    #[test]
    fn the_most_regular_commits_of_a_writer_are_far_from_the_bounds() {
        let names: [fn(u64) -> Arc<str>; 2] =
            [|n| format!("{n:06x}").into(), |n| format!("{}/{n:06}", "long/".repeat(700)).into()];
        for name in names {
            let count = if name(0).len() > 99 { 2_000 } else { 100_000 };
            let set: Vec<_> = (0..count).map(|n| (name(n), packed(n))).collect();
            let (one, packed) = read(&commit(set, Vec::new()), 1 << 30, u64::MAX);
            let one = one.unwrap();
            assert_eq!(one.set.len() as u64, count);
            let raw = one.raw_len;
            println!("{count} members: {raw} bytes, compressed {packed}");
            assert!(count * 2 < packed as u64, "{count} members in {packed} bytes");
            assert!(raw < packed as u64 * MAX_RATIO / 2, "{raw} in {packed} bytes");
        }
    }

    #[test]
    fn more_than_a_file_can_hold_is_refused() {
        let refused = Some(Code::Corrupt);
        // The same member again and again.
        let set: Vec<_> = (0..100_000).map(|_| ("a".into(), packed(1))).collect();
        assert_eq!(code(read(&commit(set, Vec::new()), 1 << 30, u64::MAX)), refused);
        let names: Vec<Arc<str>> = vec!["a".into(); 1_000_000];
        assert_eq!(code(read(&commit(Vec::new(), names), 1 << 30, u64::MAX)), refused);
        // Blocks, whatever they are for, take up room in the file.
        let block = Block { offset: 8, len: 8, frame: 8, tar: 0, digest: [0; 32] };
        let pieces = vec![Piece { block: 1, raw: 0, stored: 0 }; 601];
        let place = Place::Pieces { header: 1, pieces: Arc::new(pieces) };
        let large = Entry { place, ..packed(1) };
        let with: [fn(&mut Commit, &Block, &Entry); 5] = [
            |c, _, _| c.dropped = vec![1; 1_001],
            |c, b, _| c.blocks = vec![(1, b.clone()); 1_001],
            |c, b, _| c.scrub = vec![b.clone(); 1_001],
            |c, _, e| c.set = vec![("a".into(), e.clone()), ("b".into(), e.clone())],
            |c, _, _| c.history = vec![(1, [0; 32]); MAX_HISTORY + 1],
        ];
        for (index, fill) in with.iter().enumerate() {
            let mut bomb = commit(Vec::new(), Vec::new());
            fill(&mut bomb, &block, &large);
            assert_eq!(code(read(&bomb, 8_000, u64::MAX)), refused, "{index}");
            let larger = if index == 4 { refused } else { None };
            assert_eq!(code(read(&bomb, 10_000, u64::MAX)), larger, "{index}");
        }
    }

    #[test]
    fn a_length_that_no_compression_gives_is_refused_before_anything_is_decompressed() {
        let one = commit(Vec::new(), Vec::new());
        let (mut parts, packed) = parts(&one, &one.encode(), 1 << 30);
        for part in &mut parts {
            part.raw_len = packed as u64 * MAX_RATIO + MIN_RAW + 1;
        }
        let error = assemble(&parts.iter().collect::<Vec<_>>(), u64::MAX).unwrap_err();
        assert!(error.message().contains("can stand for"), "{error:?}");
    }

    #[test]
    fn a_caller_allows_so_much_and_no_more() {
        let set: Vec<_> = (0..1_000).map(|n| (format!("{n}").into(), packed(n))).collect();
        let one = commit(set, Vec::new());
        let len = one.encode().len() as u64;
        assert_eq!(code(read(&one, 1 << 30, len)), None);
        assert_eq!(code(read(&one, 1 << 30, len - 1)), Some(Code::TooLarge));
    }

    #[test]
    fn what_says_that_a_number_or_a_name_counts_twice_does_not_follow() {
        let mut before = Catalog::default();
        (before.next_block, before.next_version) = (5, 9);
        let delta = |edit: fn(&mut Commit)| {
            let mut commit = commit(Vec::new(), vec!["gone".into(), "gone".into()]);
            (commit.next_block, commit.next_version) = (7, 9);
            let block = Block { offset: 0, len: 8, frame: 8, tar: 0, digest: [0; 32] };
            commit.blocks = vec![(6, block.clone()), (5, block)];
            commit.set = vec![("b".into(), packed(1)), ("a".into(), packed(2))];
            edit(&mut commit);
            commit.check_after(&before)
        };
        delta(|_| {}).unwrap();
        delta(|c| c.next_block = 4).unwrap_err();
        delta(|c| c.next_version = 8).unwrap_err();
        delta(|c| c.blocks[1].0 = 4).unwrap_err();
        delta(|c| c.blocks[1].0 = 6).unwrap_err();
        delta(|c| c.set[1].0 = "b".into()).unwrap_err();
        // A snapshot begins anew.
        delta(|c| {
            c.snapshot = true;
            c.blocks[1].0 = 4;
        })
        .unwrap();
    }

    #[test]
    fn parts_are_cut_as_a_writer_cuts_them() {
        let one = commit(Vec::new(), vec!["a".into()]);
        let (parts, packed) = parts(&one, &one.encode(), 1 << 30);
        let [whole] = &parts[..] else { panic!("it has one part") };
        let cut = |at: usize| {
            let part = |index: u32, bytes: &[u8]| Part {
                index,
                count: 2,
                bytes: bytes.to_vec(),
                ..*whole
            };
            let (head, tail) = whole.bytes.split_at(at);
            let (commit, _) = assemble(&[&part(0, head), &part(1, tail)], u64::MAX).unwrap();
            commit.check(1 << 30).map_err(|e| e.code())
        };
        let read = assemble(&[whole], u64::MAX).unwrap().0;
        read.check(1 << 30).unwrap();
        assert_eq!(cut(packed / 2), Err(Code::Corrupt));
    }

    fn written(one: &Commit, offset: u64) -> Result<Commit> {
        let meta = MetaSeal::new(None);
        let mut out = vec![1];
        if let Err(e) = write(one, None, &meta, offset, &mut out) {
            assert_eq!(out, [1], "nothing is written");
            return Err(e);
        }
        let (mut parts, mut at) = (Vec::new(), 1);
        while at < out.len() {
            let here = offset + at as u64 - 1;
            let (part, len) = read_part(&out[at..], here, None, &meta).unwrap();
            parts.push(part);
            at += len;
        }
        assemble(&parts.iter().collect::<Vec<_>>(), u64::MAX).map(|(commit, _)| commit)
    }

    #[test]
    fn what_compresses_too_well_for_a_reader_is_stored() {
        let names: Vec<Arc<str>> = vec!["a".into(); 1_000_000];
        let one = commit(Vec::new(), names);
        assert_eq!(written(&one, 1 << 30).unwrap().removed.len(), 1_000_000);
    }

    #[test]
    fn a_commit_that_no_reader_takes_is_not_written() {
        let name: Arc<str> = "n".repeat(1 << 20).into();
        let one = commit(Vec::new(), vec![name.clone(); 7]);
        assert_eq!(written(&one, 1 << 30).unwrap().removed.len(), 7);
        let error = written(&commit(Vec::new(), vec![name; 8]), 1 << 30).unwrap_err();
        assert_eq!(error.code(), Code::Limit);
    }
}
