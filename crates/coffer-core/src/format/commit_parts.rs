//! The parts of a commit in the file: its bytes, compressed, divided into one record each.

use crate::buffer::Buffer;
use crate::crypto::seal::Seal;
use crate::error::{Code, Error, Result};
use crate::format::catalog::Digest;
use crate::format::codec::{Decoder, Encoder, malformed};
use crate::format::commit::{Commit, Position, Room};
use crate::format::record::{self, ARCHIVE_ID, COMMIT_TAG, MetaSeal};
use crate::format::work;

/// Bytes of the compressed commit in each of its records.
pub(super) const PART: usize = 60_000;

/// The zstd level of commits.
pub(super) const LEVEL: i32 = 3;

/// The largest commit that is read or written, in bytes before compression.
pub(super) const MAX_COMMIT: u64 = if cfg!(test) { 8 << 20 } else { 1 << 32 };

/// One authenticated part of a commit.
pub(crate) struct CommitPart {
    /// The offset in its body, which is also that of its record.
    pub(super) offset: u64,
    pub(crate) archive: [u8; ARCHIVE_ID],
    pub(crate) generation: u64,
    pub(crate) index: u32,
    pub(crate) count: u32,
    pub(super) raw_len: u64,
    pub(super) bytes: Vec<u8>,
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
        // A reader would refuse so high a ratio.
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
) -> Option<(CommitPart, usize)> {
    let home = record::mark_at(COMMIT_TAG, offset);
    let (_, plain, len) = record::open(container, meta, bytes, |mark| *mark == home)?;
    Some((CommitPart::decode(&plain, offset)?, len))
}

impl CommitPart {
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
pub(crate) fn assemble(parts: &[&CommitPart], most: u64) -> Result<(Commit, Digest)> {
    let first = parts.first().ok_or_else(|| malformed("it has no parts"))?;
    let raw = unpack(parts, most)?;
    let digest = *blake3::hash(&raw.bytes).as_bytes();
    Ok((raw.decode(first.generation, &first.archive)?, digest))
}

/// The bytes of a commit before compression, and the limits that follow from its parts.
struct UnpackedCommit {
    bytes: Buffer,
    room: Room,
    /// Whether its parts had the lengths that a writer gives them.
    well_cut: bool,
}

impl UnpackedCommit {
    /// The commit, which must have the generation and the archive id of its parts.
    fn decode(self, generation: u64, archive: &[u8; ARCHIVE_ID]) -> Result<Commit> {
        let mut commit = Commit::decode_within(self.bytes.into_vec(), self.room)?;
        commit.well_cut = self.well_cut;
        if commit.generation != generation || commit.archive != *archive {
            return Err(malformed("its parts speak of another commit"));
        }
        Ok(commit)
    }
}

/// The bytes of a commit, from its parts.
fn unpack(parts: &[&CommitPart], most: u64) -> Result<UnpackedCommit> {
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
        return Err(malformed(
            "its length before compression is impossible for its compressed bytes",
        ));
    }
    let room = Room::new(packed, first.offset);
    let packed = parts.iter().map(|part| part.bytes.as_slice()).collect::<Vec<_>>().concat();
    // In one call, since a streaming decoder would also allocate the window that the frame asks for.
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
    Ok(UnpackedCommit { bytes, room, well_cut })
}

/// Checks the bytes of commits before compression against the caller's limit.
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

/// A commit as it stands in the file.
pub(crate) struct Standing {
    /// Where it stands, and what its bytes are.
    pub(crate) position: Position,
    pub(crate) archive: [u8; ARCHIVE_ID],
    raw: UnpackedCommit,
}

impl Standing {
    /// What it says. Its bytes are what was committed, so an error here is no damage.
    pub(crate) fn decode(self) -> Result<Commit> {
        self.raw.decode(self.position.generation, &self.archive)
    }
}

/// How much is read at first, to see how long a part is. Most commits are shorter.
const FIRST_LOOK: u64 = 1 << 10;

/// The parts of a commit that are read before they are opened: about a megabyte.
const AT_ONCE: usize = 16;

/// A record that may be a part of a commit.
pub(crate) struct RawPart {
    offset: u64,
    bytes: Vec<u8>,
}

/// Opens a part, and gives its length.
pub(crate) type Open<'a> = &'a (dyn Fn(&RawPart) -> OpenedPart + Sync);
pub(crate) type OpenedPart = Option<(CommitPart, usize)>;

/// Calls a function for each of several parts, perhaps in parallel, and gives the results in their order.
pub(crate) type MapParts = fn(&[RawPart], Open<'_>) -> Vec<OpenedPart>;

/// Reads up to `most` records from `at` on, as their clear bytes say where each ends; and why there are
/// fewer: no record follows, or the disk does not read.
fn read_raw(
    mut at: u64,
    limit: u64,
    most: usize,
    sealed: bool,
    read: &mut impl FnMut(u64, usize) -> Result<Vec<u8>>,
) -> (Vec<RawPart>, Option<Result<()>>) {
    let mut parts = Vec::new();
    while parts.len() < most {
        let rest = limit.saturating_sub(at);
        let mut bytes = match read(at, rest.min(FIRST_LOOK) as usize) {
            Ok(bytes) => bytes,
            Err(e) => return (parts, Some(Err(e))),
        };
        let len = record::peek(sealed, &bytes).map(|(_, len)| len);
        let Some(len) = len.filter(|len| *len as u64 <= rest) else { return (parts, Some(Ok(()))) };
        if len > bytes.len() {
            bytes = match read(at, len) {
                Ok(bytes) => bytes,
                Err(e) => return (parts, Some(Err(e))),
            };
        }
        parts.push(RawPart { offset: at, bytes });
        at += len as u64;
    }
    (parts, None)
}

/// The whole and authentic commit whose first part stands at `offset` and whose last one ends at or
/// before `limit`. `read` gives bytes of the file, whose offsets may be other ones than the parts
/// name where bytes before them were lost.
pub(crate) fn standing_at(
    offset: u64,
    limit: u64,
    container: Option<&dyn Seal>,
    meta: &MetaSeal,
    most: u64,
    map: MapParts,
    mut read: impl FnMut(u64, usize) -> Result<Vec<u8>>,
) -> Result<Option<Standing>> {
    let open = |raw: &RawPart| read_part(&raw.bytes, raw.offset, container, meta);
    let mut parts = Vec::<CommitPart>::new();
    let mut at = offset;
    loop {
        // The first one says how many follow.
        let left = parts.first().map_or(1, |first| first.count as usize - parts.len());
        let (raw, end) = read_raw(at, limit, left.min(AT_ONCE), container.is_some(), &mut read);
        let opened = if raw.len() > 1 { map(&raw, &open) } else { raw.iter().map(open).collect() };
        for opened in opened {
            let part = opened.filter(|(part, _)| part.follows(&parts));
            let Some((part, len)) = part else { return Ok(None) };
            at += len as u64;
            parts.push(part);
        }
        match end {
            Some(Ok(())) => return Ok(None),
            Some(Err(e)) => return Err(e),
            None if parts.first().is_none_or(|first| parts.len() >= first.count as usize) => break,
            None => {}
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
    map: MapParts,
    read: impl FnMut(u64, usize) -> Result<Vec<u8>>,
) -> Result<Commit> {
    match standing_at(position.offset, position.end(), container, meta, most, map, read)? {
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
