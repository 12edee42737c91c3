//! What is left of a coffer that PyCoffer wrote. Its tar is one stream of zstd frames, as a rule one
//! frame for each time it was written to. What a frame holds before the damage comes out; what
//! comes behind the damage in the same frame does not, because zstd needs what was before it.
//!
//! Up to the damage members are what opening gives, and keep their names. Behind it the search goes
//! on for anything that begins like a frame or a tar header: the content of a member may, too. What
//! is found there is kept apart.

use crate::format::member::MemberType;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Reason;
use super::entries::is_header;
use super::keys::Opening;
use super::marks::Search;
use super::rescue::{Put, Rescue, checked};
use super::scan;
use crate::coffer::Options;
use crate::crypto::seal::Seal;
use crate::engine::credentials::Credentials;
use crate::error::{Code, Error, Result};
use crate::format::chunk;
use crate::format::frame;
use crate::format::header::container_seal;
use crate::format::member::Attributes;
use crate::format::tar::RECORD;
use crate::format::work;
use crate::ops::legacy::{Entries, Unpacked, escaped, member_stream, put, safe};

/// How much of an unsealed file is read at once.
const WINDOW: u64 = 1 << 20;
/// How much of the tar is searched for a header at once.
const SEARCHED: usize = 64 << 10;

/// A legacy coffer says nothing of itself: the caller does.
pub(super) fn opening(options: &Options, secret: &Credentials) -> Result<Opening> {
    let (header, keys) = options.header(secret)?;
    Ok(Opening { header, keys, archive: None, header_at: None, doubt: None })
}

/// Brings over what the frames of the file hold.
pub(super) fn salvage(
    search: &Search<'_>,
    opening: &Opening,
    rescue: &mut Rescue<'_>,
) -> Result<()> {
    let seal = container_seal(&opening.header.kind, &opening.keys)?;
    let seal = seal.as_deref();
    rescue.notice(
        "legacy",
        "the coffer is in PyCoffer's format: nothing authenticates the order of its chunks"
            .to_owned(),
    );
    let mut directories = Vec::new();
    let mut from = Place::default();
    let (mut opened, mut untouched) = (seal.is_none(), true);
    // Contents may be full of what begins like a frame: see `scan::most_vain`.
    let (most, mut vain) = (scan::most_vain(search.size), 0u64);
    while let Some(start) = next_frame(search, seal, from, &mut opened)? {
        rescue.watch.cancel.check()?;
        // Something in front of the first frame is damage, too.
        untouched &= start.offset == 0 && start.inside == 0;
        let before = rescue.count();
        let reached = Arc::new(AtomicU64::new(start.offset));
        let stream = Stream::new(*search, seal, start, reached.clone());
        let mut decoded = 0;
        let mut whole = false;
        if let Ok(inner) = zstd::stream::read::Decoder::with_buffer(stream) {
            let tar = Counted { inner, bytes: &mut decoded };
            whole = entries(rescue, opening, tar, untouched, &mut directories)?;
        }
        let reached = reached.load(Ordering::Relaxed);
        if whole && reached >= search.size {
            rescue.complete(untouched);
            break;
        }
        untouched = false;
        from = if rescue.count() > before {
            rescue.notice(
                "damaged-frame",
                format!(
                    "the frame that begins at byte {} can be read no further than byte {reached}; what it held behind that is lost, its names as well",
                    start.offset
                ),
            );
            Place { offset: reached.max(start.offset + 1), inside: 0 }
        } else if vain > most {
            Place { offset: reached.max(start.offset + 1), inside: 0 }
        } else {
            // It was none, or nothing of it is left.
            vain = vain.saturating_add(decoded).saturating_add(reached - start.offset.min(reached));
            Place { inside: start.inside + 1, ..start }
        };
    }
    for (name, attributes, order) in directories {
        let placed = order.place(rescue, &name);
        // Others exist by what is in them.
        if !rescue.implies(&placed)
            && let Put::Done =
                rescue.small(&placed, MemberType::Directory, 0, attributes, Vec::new())?
        {
            order.unverified(rescue, &name);
        }
    }
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

/// Whether entries were read from the beginning of the file without a gap, as opening reads them.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Kept,
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

    /// Takes note that no commit vouches for a member.
    fn unverified(self, rescue: &mut Rescue<'_>, name: &str) {
        match self {
            Self::Kept => rescue.unverified_in_place(name),
            Self::Lost => rescue.unverified(name),
        }
    }
}

/// A directory that is a member if nothing is in it.
type Directory = (String, Attributes, Order);

/// A place in the file: an offset, and how far behind it, in the plaintext of the chunk there.
#[derive(Debug, Clone, Copy, Default)]
struct Place {
    offset: u64,
    inside: u64,
}

/// Where the next frame begins, from a place on.
fn next_frame(
    search: &Search<'_>,
    seal: Option<&dyn Seal>,
    from: Place,
    opened: &mut bool,
) -> Result<Option<Place>> {
    let Some(seal) = seal else {
        let at = from.offset.saturating_add(from.inside);
        let found = scan::next_magic(search, at, search.size)?;
        return Ok(found.map(|offset| Place { offset, inside: 0 }));
    };
    let mut at = from;
    while let Some(chunk) = scan::next_open_chunk(search, seal, at.offset, search.size)? {
        *opened = true;
        let offset = chunk.offset;
        let inside = if offset == at.offset { at.inside } else { 0 };
        let rest = chunk.plain.get(inside as usize..).unwrap_or_default();
        if let Some(i) = rest.windows(frame::MAGIC.len()).position(|w| w == frame::MAGIC) {
            return Ok(Some(Place { offset, inside: inside + i as u64 }));
        }
        at = Place { offset: chunk.end(), inside: 0 };
    }
    Ok(None)
}

/// Brings over the entries of a stream, up to its end or to damage. Whether it came to the end.
fn entries(
    rescue: &mut Rescue<'_>,
    opening: &Opening,
    tar: impl Read,
    first: bool,
    directories: &mut Vec<Directory>,
) -> Result<bool> {
    let mut tar = Lookahead { inner: tar, ahead: Vec::new(), at: 0 };
    let mut first = first;
    loop {
        match tar.seek_header() {
            Ok(Some(passed)) => {
                let order = if first && !passed { Order::Kept } else { Order::Lost };
                archive(rescue, opening, &mut tar, order, directories)?;
            }
            Ok(None) => return Ok(true),
            Err(_) => return Ok(false),
        }
        first = false;
    }
}

/// Brings over the entries of a tar, up to its end marker or to what is no entry.
fn archive(
    rescue: &mut Rescue<'_>,
    opening: &Opening,
    tar: &mut impl Read,
    order: Order,
    directories: &mut Vec<Directory>,
) -> Result<()> {
    let mut entries = Entries::new(tar);
    loop {
        rescue.watch.cancel.check()?;
        let Ok(Some(entry)) = entries.next() else { return Ok(()) };
        let raw = escaped(&entry.name);
        let name = raw.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/');
        let directory = entry.kind.is_dir();
        if directory && name.is_empty() {
            continue;
        }
        let brought = match safe(name) {
            Err(e) => Put::Failed(e),
            Ok(name) if directory => {
                directories.push((name.to_owned(), entry.attributes(), order));
                continue;
            }
            Ok(_) if !entry.kind.is_file() && !entry.kind.is_contiguous() => {
                Put::Failed(Error::new(Code::UnsafePath, "it is neither a file nor a directory"))
            }
            Ok(name) => {
                let about = entry.attributes();
                let placed = order.place(rescue, name);
                let written = checked(&placed)
                    .and_then(|()| member_stream(&mut entries, &opening.header.kind, &opening.keys))
                    .and_then(|content| {
                        let unlimited = &mut Unpacked::default();
                        put(&mut rescue.container, &placed, about, content, unlimited)
                    });
                let size = rescue.size_of(&placed);
                match rescue.put(&placed, size, written)? {
                    Put::Done if !entries.is_read() => {
                        rescue.take_back(&placed)?;
                        Put::Failed(Error::corrupt("a member does not fill its entry"))
                    }
                    put => put,
                }
            }
        };
        match brought {
            Put::Done => order.unverified(rescue, name),
            Put::Failed(_) if order.has(rescue, name) => {}
            Put::Failed(error) => {
                let refused = matches!(error.code(), Code::UnsafePath | Code::MemberExists);
                let reason = if refused { Reason::Refused } else { Reason::Damaged };
                rescue.lose(name, reason, &error, Vec::new());
            }
        }
    }
}

/// A stream that counts what is read of it.
struct Counted<'a, R> {
    inner: R,
    bytes: &'a mut u64,
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        *self.bytes += n as u64;
        work::count(n);
        Ok(n)
    }
}

/// A stream of which something was read ahead.
struct Lookahead<R> {
    inner: R,
    ahead: Vec<u8>,
    at: usize,
}

impl<R: Read> Lookahead<R> {
    /// Passes over everything before the next header of a tar, if there is one. Gives whether there
    /// was anything.
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

/// The zstd stream of a file from one place on, up to damage. How far it was read stands in
/// `reached`.
struct Stream<'a> {
    search: Search<'a>,
    seal: Option<&'a dyn Seal>,
    /// What was read and is not used yet, and where it begins in `plain`.
    plain: Vec<u8>,
    at: usize,
    /// Where the file goes on.
    next: u64,
    skip: usize,
    reached: Arc<AtomicU64>,
}

impl<'a> Stream<'a> {
    fn new(
        search: Search<'a>,
        seal: Option<&'a dyn Seal>,
        start: Place,
        reached: Arc<AtomicU64>,
    ) -> Self {
        let skip = start.inside as usize;
        Self { search, seal, plain: Vec::new(), at: 0, next: start.offset, skip, reached }
    }

    /// Reads on; nothing if the file ends here.
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

impl Read for Stream<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let have = self.fill_buf()?;
        let n = have.len().min(out.len());
        out[..n].copy_from_slice(&have[..n]);
        self.consume(n);
        Ok(n)
    }
}

impl BufRead for Stream<'_> {
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
