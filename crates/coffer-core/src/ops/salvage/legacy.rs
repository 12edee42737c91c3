//! Salvage of a coffer in PyCoffer's format. Its tar is one stream of zstd frames, as a rule one frame
//! for each time it was written to. Of a damaged frame the bytes before the damage decompress; those
//! behind it do not, because zstd needs the bytes before them.
//!
//! Before the damage members are those that opening gives, and keep their names. Behind it the search
//! goes on for bytes that begin like a frame or a tar header, which may also be the content of a
//! member. What is found there is kept apart.

use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Reason;
use super::entries::is_header;
use super::keys::RecoveredHeader;
use super::marks::Search;
use super::rescue::{PutOutcome, Rescue, checked};
use super::scan;
use crate::coffer::Options;
use crate::crypto::seal::Seal;
use crate::engine::credentials::Credentials;
use crate::error::{Code, Error, Result};
use crate::format::chunk;
use crate::format::frame;
use crate::format::header::container_seal;
use crate::format::member::{Attributes, MemberType};
use crate::format::tar::RECORD;
use crate::format::work;
use crate::ops::legacy::{Entries, LegacyEntry, UnpackBudget, member_stream, put, safe};

/// Bytes of an unsealed file that are read at once.
const WINDOW: u64 = 1 << 20;
/// Bytes of the tar that are searched for a header at once.
const SEARCHED: usize = 64 << 10;

/// The header for a legacy coffer, which has none: from the caller's options.
pub(super) fn header(options: &Options, credentials: &Credentials) -> Result<RecoveredHeader> {
    Ok(RecoveredHeader::assumed(options.legacy_header(credentials)?, None))
}

/// Brings over the members in the frames of the file.
pub(super) fn salvage(
    search: &Search<'_>,
    recovered: &RecoveredHeader,
    rescue: &mut Rescue<'_>,
) -> Result<()> {
    rescue.notice(
        "legacy",
        "the coffer is in PyCoffer's format: nothing authenticates the order of its chunks"
            .to_owned(),
    );
    let seal = container_seal(&recovered.header.kind, &recovered.keys)?;
    let mut walk = FrameWalk::new(search, recovered, seal.as_deref());
    while let Some(start) = walk.next_frame()? {
        rescue.watch.cancel.check()?;
        if walk.frame(rescue, start)? {
            break;
        }
    }
    let opened = walk.opened;
    put_directories(rescue, walk.directories)?;
    if !rescue.is_empty() {
        return Ok(());
    }
    Err(if let Some(refusal) = rescue.refusal() {
        refusal
    } else if opened {
        Error::corrupt("no member was found in the file: it is no coffer, or damaged throughout")
    } else {
        Error::new(Code::WrongKey, "cofferKey opens no chunk of the file")
    })
}

/// A walk through the frames of a file, from its beginning to its end.
struct FrameWalk<'a> {
    search: &'a Search<'a>,
    recovered: &'a RecoveredHeader,
    seal: Option<&'a dyn Seal>,
    /// Where the search for the next frame begins.
    from: ChunkPosition,
    /// Whether any chunk opened, or the file is not sealed.
    opened: bool,
    /// Whether everything so far was read without a gap.
    untouched: bool,
    /// The cost so far, in bytes, of frames that held no member, and its limit. Contents may be full
    /// of bytes that begin like a frame: see [`scan::most_vain`].
    vain: u64,
    most_vain: u64,
    directories: Vec<DirectoryMember>,
}

impl<'a> FrameWalk<'a> {
    fn new(
        search: &'a Search<'a>,
        recovered: &'a RecoveredHeader,
        seal: Option<&'a dyn Seal>,
    ) -> Self {
        Self {
            search,
            recovered,
            seal,
            from: ChunkPosition::default(),
            opened: seal.is_none(),
            untouched: true,
            vain: 0,
            most_vain: scan::most_vain(search.size),
            directories: Vec::new(),
        }
    }

    /// The beginning of the next frame.
    fn next_frame(&mut self) -> Result<Option<ChunkPosition>> {
        let Self { search, from, .. } = self;
        let Some(seal) = self.seal else {
            let at = from.offset.saturating_add(from.inside);
            let found = scan::next_magic(search, at, search.size)?;
            return Ok(found.map(|offset| ChunkPosition { offset, inside: 0 }));
        };
        let mut at = *from;
        while let Some(chunk) = scan::next_open_chunk(search, seal, at.offset, search.size)? {
            self.opened = true;
            let offset = chunk.offset;
            let inside = if offset == at.offset { at.inside } else { 0 };
            let rest = chunk.plain.get(inside as usize..).unwrap_or_default();
            if let Some(i) = rest.windows(frame::MAGIC.len()).position(|w| w == frame::MAGIC) {
                return Ok(Some(ChunkPosition { offset, inside: inside + i as u64 }));
            }
            at = ChunkPosition { offset: chunk.end(), inside: 0 };
        }
        Ok(None)
    }

    /// Brings over the members of the frame at `start`, up to damage. Gives whether it was read to the
    /// end of the file.
    fn frame(&mut self, rescue: &mut Rescue<'_>, start: ChunkPosition) -> Result<bool> {
        // Bytes before the first frame are damage, too.
        self.untouched &= start.offset == 0 && start.inside == 0;
        let before = rescue.count();
        let reached = Arc::new(AtomicU64::new(start.offset));
        let stream = FrameStream::new(*self.search, self.seal, start, reached.clone());
        let mut decoded = 0;
        let mut whole = false;
        if let Ok(inner) = zstd::stream::read::Decoder::with_buffer(stream) {
            let tar = CountedRead { inner, bytes: &mut decoded };
            let (recovered, directories) = (self.recovered, &mut self.directories);
            whole = entries(rescue, recovered, tar, self.untouched, directories)?;
        }
        let reached = reached.load(Ordering::Relaxed);
        if whole && reached >= self.search.size {
            rescue.complete(self.untouched);
            return Ok(true);
        }
        self.untouched = false;
        let behind = ChunkPosition { offset: reached.max(start.offset + 1), inside: 0 };
        self.from = if rescue.count() > before {
            rescue.notice(
                "damaged-frame",
                format!(
                    "the frame that begins at byte {} can be read no further than byte {reached}; what it held behind that is lost, its names as well",
                    start.offset
                ),
            );
            behind
        } else if self.vain > self.most_vain {
            behind
        } else {
            let cost = decoded.saturating_add(reached - start.offset.min(reached));
            self.vain = self.vain.saturating_add(cost);
            ChunkPosition { inside: start.inside + 1, ..start }
        };
        Ok(false)
    }
}

/// Puts the directories that no member is in.
fn put_directories(rescue: &mut Rescue<'_>, directories: Vec<DirectoryMember>) -> Result<()> {
    for (name, attributes, order) in directories {
        let placed = order.place(rescue, &name);
        if !rescue.implies(&placed)
            && let PutOutcome::Done =
                rescue.small(&placed, MemberType::Directory, 0, attributes, Vec::new())?
        {
            order.unverified(rescue, &name);
        }
    }
    Ok(())
}

/// Whether the order of entries is certain.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// They were read from the beginning of the file without a gap, as opening reads them.
    Kept,
    /// They were found behind damage.
    Lost,
}

impl Order {
    /// The name of a member in the new coffer.
    fn place(self, rescue: &mut Rescue<'_>, name: &str) -> String {
        match self {
            Self::Kept => name.to_owned(),
            Self::Lost => rescue.place(name),
        }
    }

    /// Whether there is another entry of that name.
    fn has(self, rescue: &mut Rescue<'_>, name: &str) -> bool {
        let placed = self.place(rescue, name);
        rescue.has(&placed)
    }

    /// Notes that no commit authenticates a member.
    fn unverified(self, rescue: &mut Rescue<'_>, name: &str) {
        match self {
            Self::Kept => rescue.unverified_in_place(name),
            Self::Lost => rescue.unverified(name),
        }
    }
}

/// A directory that is a member if nothing is in it.
type DirectoryMember = (String, Attributes, Order);

/// A position in the plaintext of a chunk: the chunk's offset in the file, and bytes behind the
/// beginning of its plaintext. In an unsealed file `offset` is the position.
#[derive(Debug, Clone, Copy, Default)]
struct ChunkPosition {
    offset: u64,
    inside: u64,
}

/// Brings over the entries of a stream, up to its end or to damage. Whether it came to the end.
fn entries(
    rescue: &mut Rescue<'_>,
    recovered: &RecoveredHeader,
    tar: impl Read,
    first: bool,
    directories: &mut Vec<DirectoryMember>,
) -> Result<bool> {
    let mut tar = Lookahead { inner: tar, ahead: Vec::new(), at: 0 };
    let mut first = first;
    loop {
        match tar.seek_header() {
            Ok(Some(passed)) => {
                let order = if first && !passed { Order::Kept } else { Order::Lost };
                archive(rescue, recovered, &mut tar, order, directories)?;
            }
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        }
        first = false;
    }
}

/// Brings over the entries of a tar, up to its end marker or to bytes that are no entry.
fn archive(
    rescue: &mut Rescue<'_>,
    recovered: &RecoveredHeader,
    tar: &mut impl Read,
    order: Order,
    directories: &mut Vec<DirectoryMember>,
) -> Result<()> {
    let mut entries = Entries::new(tar);
    loop {
        rescue.watch.cancel.check()?;
        let Ok(Some(entry)) = entries.next() else { return Ok(()) };
        let name = entry.member_name();
        let directory = entry.kind.is_dir();
        if directory && name.is_empty() {
            continue;
        }
        let brought = match safe(&name) {
            Err(e) => PutOutcome::Failed(e),
            Ok(name) if directory => {
                directories.push((name.to_owned(), entry.attributes(), order));
                continue;
            }
            Ok(name) => {
                let placed = order.place(rescue, name);
                file(rescue, recovered, &mut entries, &entry, &placed)?
            }
        };
        match brought {
            PutOutcome::Done => order.unverified(rescue, &name),
            PutOutcome::Failed(_) if order.has(rescue, &name) => {}
            PutOutcome::Failed(error) => {
                let refused = matches!(
                    error.code(),
                    Code::UnsafePath | Code::MemberExists | Code::IsDirectory
                );
                let reason = if refused { Reason::Refused } else { Reason::Damaged };
                rescue.lose(&name, reason, &error, Vec::new());
            }
        }
    }
}

/// Brings over the file of an entry under the name `placed`. Its content must fill the entry.
fn file<R: Read>(
    rescue: &mut Rescue<'_>,
    recovered: &RecoveredHeader,
    entries: &mut Entries<R>,
    entry: &LegacyEntry,
    placed: &str,
) -> Result<PutOutcome> {
    if !entry.kind.is_file() && !entry.kind.is_contiguous() {
        let error = Error::new(Code::UnsafePath, "it is neither a file nor a directory");
        return Ok(PutOutcome::Failed(error));
    }
    let written = checked(placed)
        .and_then(|()| member_stream(&mut *entries, &recovered.header.kind, &recovered.keys))
        .and_then(|content| {
            let unlimited = &mut UnpackBudget::default();
            put(&mut rescue.container, placed, entry.attributes(), content, unlimited)
        });
    let size = rescue.size_of(placed);
    match rescue.put(placed, size, written)? {
        PutOutcome::Done if !entries.is_read() => {
            rescue.take_back(placed)?;
            Ok(PutOutcome::Failed(Error::corrupt("a member does not fill its entry")))
        }
        outcome => Ok(outcome),
    }
}

/// A reader that counts the bytes that are read through it.
struct CountedRead<'a, R> {
    inner: R,
    bytes: &'a mut u64,
}

impl<R: Read> Read for CountedRead<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        *self.bytes += n as u64;
        work::count(n);
        Ok(n)
    }
}

/// A reader with a look-ahead buffer, to search for the next header of a tar.
struct Lookahead<R> {
    inner: R,
    ahead: Vec<u8>,
    at: usize,
}

impl<R: Read> Lookahead<R> {
    /// Skips to the next header of a tar. Gives whether bytes were skipped; `None` if there is none.
    fn seek_header(&mut self) -> io::Result<Option<bool>> {
        let mut have = self.ahead.split_off(self.at);
        let mut passed = false;
        loop {
            if let Some(last) = have.len().checked_sub(RECORD) {
                if let Some(at) = (0..=last).find(|at| is_header(&have[*at..])) {
                    (self.ahead, self.at) = (have, at);
                    return Ok(Some(passed || at > 0));
                }
                have.drain(..=last);
                passed = true;
            }
            let before = have.len();
            have.resize(before + SEARCHED, 0);
            let n = self.inner.read(&mut have[before..])?;
            have.truncate(before + n);
            if n == 0 {
                (self.ahead, self.at) = (Vec::new(), 0);
                return Ok(None);
            }
        }
    }
}

impl<R: Read> Read for Lookahead<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.ahead.get(self.at..).unwrap_or_default();
        if have.is_empty() {
            return self.inner.read(out);
        }
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.at += n;
        Ok(n)
    }
}

/// A reader of the zstd stream of a file from a position up to damage. `reached` is the offset in the
/// file up to which it was read.
struct FrameStream<'a> {
    search: Search<'a>,
    seal: Option<&'a dyn Seal>,
    /// The plaintext that was read last, and how much of it is consumed.
    plain: Vec<u8>,
    at: usize,
    /// The offset of the next bytes in the file.
    next: u64,
    /// Bytes to skip of the next plaintext.
    skip: usize,
    reached: Arc<AtomicU64>,
}

impl<'a> FrameStream<'a> {
    fn new(
        search: Search<'a>,
        seal: Option<&'a dyn Seal>,
        start: ChunkPosition,
        reached: Arc<AtomicU64>,
    ) -> Self {
        let skip = start.inside as usize;
        Self { search, seal, plain: Vec::new(), at: 0, next: start.offset, skip, reached }
    }

    /// Reads the next plaintext; none at the end of the file.
    fn fill(&mut self) -> io::Result<()> {
        let failed = |e: Error| io::Error::new(io::ErrorKind::InvalidData, e.message().to_owned());
        self.at = 0;
        self.plain.clear();
        match self.seal {
            None => {
                self.plain = self.search.read(self.next, WINDOW).map_err(failed)?;
                self.next += self.plain.len() as u64;
            }
            Some(seal) if self.next < self.search.size => {
                let header = self.search.read(self.next, chunk::HEADER as u64).map_err(failed)?;
                let len = header.first_chunk::<4>().map_or(0, |len| u32::from_le_bytes(*len));
                let whole = chunk::HEADER as u64 + u64::from(len);
                let most = (chunk::HEADER + chunk::MAX_SEALED) as u64;
                let bytes = self.search.read(self.next, whole.min(most)).map_err(failed)?;
                work::count(bytes.len());
                let opened = chunk::parse(&bytes)
                    .is_some_and(|chunk| seal.open(chunk.sealed, &mut self.plain).is_ok());
                if !opened {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "a damaged chunk"));
                }
                self.next += whole;
                self.reached.store(self.next, Ordering::Relaxed);
            }
            Some(_) => {}
        }
        self.at = std::mem::take(&mut self.skip).min(self.plain.len());
        Ok(())
    }
}

impl Read for FrameStream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for FrameStream<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.at == self.plain.len() {
            let before = self.next;
            self.fill()?;
            if self.next == before {
                break;
            }
        }
        Ok(self.plain.get(self.at..).unwrap_or_default())
    }

    fn consume(&mut self, n: usize) {
        self.at += n;
        if self.seal.is_none() {
            let unused = (self.plain.len() - self.at) as u64;
            self.reached.store(self.next - unused, Ordering::Relaxed);
        }
    }
}
