//! Commits: what each says, how it is written, and the footer at its end.

use std::sync::Arc;

use crate::catalog::{Block, BlockId, Catalog, Digest, Entry, Piece, Place};
use crate::codec::{Decoder, Encoder, malformed};
use crate::error::{Code, Error, Result};
use crate::record::{self, COMMIT_TAG, FOOTER_TAG, MARK, Mark, MetaSeal};
use crate::seal::Seal;
use crate::work;

/// Bytes of a coffer's random identity.
pub(crate) const ARCHIVE_ID: usize = 16;
/// Bytes of the compressed commit in each of its records.
const PART: usize = 60_000;
/// The zstd level of commits.
const LEVEL: i32 = 3;
/// The largest commit that is read, in bytes before compression.
const MAX_COMMIT: u64 = 1 << 32;
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
        place(self) == place(other) && crate::key::same(&self.digest, &other.digest)
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

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
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
        let dropped = d.list(Decoder::uint)?;
        let mut last = (0u64, 0u64);
        let blocks = d.list(|d| {
            let id = last.0.wrapping_add(d.int()? as u64);
            let mut block = decode_block(d, last.1)?;
            block.digest = d.array()?;
            last = (id, block.end());
            Ok((id, block))
        })?;
        let removed = d.list(|d| d.string().map(Arc::from))?;
        let set = d.list(|d| Ok((Arc::from(d.string()?), decode_entry(d)?)))?;
        let mut end = 0;
        let scrub = d.list(|d| {
            let block = decode_block(d, end)?;
            end = block.end();
            Ok(block)
        })?;
        let history = d.list(|d| Ok((d.uint()?, d.array()?)))?;
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
        })
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

fn decode_entry(d: &mut Decoder<'_>) -> Result<Entry> {
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
            let pieces = d.list(|d| {
                last = last.wrapping_add(d.int()? as u64);
                Ok(Piece { block: last, raw: d.uint32()?, stored: d.uint32()? })
            })?;
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
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) generation: u64,
    pub(crate) index: u32,
    pub(crate) count: u32,
    raw_len: u64,
    bytes: Vec<u8>,
}

/// Writes a commit's records as they stand at `offset`, and gives its digest.
pub(crate) fn write(
    commit: &Commit,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    offset: u64,
    out: &mut Vec<u8>,
) -> Result<Digest> {
    let raw = commit.encode();
    let packed = crate::frame::compress(LEVEL, &raw)?;
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
pub(crate) fn assemble(parts: &[&Part]) -> Result<(Commit, Digest)> {
    let first = parts.first().ok_or_else(|| malformed("it has no parts"))?;
    let raw = unpack(parts)?;
    let digest = *blake3::hash(&raw).as_bytes();
    Ok((decode(&raw, first.generation, &first.archive)?, digest))
}

/// The commit in the bytes that its parts hold.
fn decode(raw: &[u8], generation: u64, archive: &[u8; ARCHIVE_ID]) -> Result<Commit> {
    let commit = Commit::decode(raw)?;
    if commit.generation != generation || commit.archive != *archive {
        return Err(malformed("its parts speak of another commit"));
    }
    Ok(commit)
}

/// The bytes of a commit, from its parts.
fn unpack(parts: &[&Part]) -> Result<Vec<u8>> {
    let first = parts.first().ok_or_else(|| malformed("it has no parts"))?;
    let orderly = parts.len() == first.count as usize
        && parts.iter().enumerate().all(|(i, p)| {
            p.index as usize == i
                && p.count == first.count
                && p.generation == first.generation
                && p.archive == first.archive
                && p.raw_len == first.raw_len
        });
    if !orderly || first.raw_len > MAX_COMMIT {
        return Err(malformed("its parts do not fit together"));
    }
    let packed: Vec<u8> = parts.iter().flat_map(|p| p.bytes.iter().copied()).collect();
    let mut raw = Vec::new();
    let decoder = zstd::stream::read::Decoder::with_buffer(packed.as_slice())
        .map_err(|_| malformed("it does not decompress"))?;
    std::io::Read::read_to_end(&mut std::io::Read::take(decoder, first.raw_len + 1), &mut raw)
        .map_err(|_| malformed("it does not decompress"))?;
    if raw.len() as u64 != first.raw_len {
        return Err(malformed("it is not as long as it says"));
    }
    work::count(raw.len());
    Ok(raw)
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
    raw: Vec<u8>,
}

impl Standing {
    /// What it says. Its bytes are what was committed, so an error here is no damage.
    pub(crate) fn decode(&self) -> Result<Commit> {
        decode(&self.raw, self.position.generation, &self.archive)
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
    let raw = match unpack(&parts.iter().collect::<Vec<_>>()) {
        Ok(raw) => raw,
        Err(e) if e.code() == Code::Corrupt => return Ok(None),
        Err(e) => return Err(e),
    };
    let digest = *blake3::hash(&raw).as_bytes();
    let position = Position { generation, offset, len: at - offset, digest };
    Ok(Some(Standing { position, archive, raw }))
}

/// Reads and checks the commit at a position.
pub(crate) fn read_at(
    position: &Position,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    read: impl FnMut(u64, usize) -> Result<Vec<u8>>,
) -> Result<Commit> {
    match standing_at(position.offset, position.end(), container, meta, read)? {
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
