//! Finding the newest intact commit: from the end of the file backwards by footers, then forwards
//! by commits whose footers are damaged.

use std::collections::{HashMap, HashSet};

use crate::buffer::Buffer;
use crate::crypto::key;
use crate::engine::file::ArchiveFile;
use crate::error::{self, Code, Error, Result};
use crate::format::catalog::{Block, Catalog};
use crate::format::commit::{Commit, Position, Room};
use crate::format::commit_parts::CommitPart;
use crate::format::extents;
use crate::format::footer::Footer;
use crate::format::mark_search::Seek;
use crate::format::record::{self, COMMIT_TAG, ClearFields, FOOTER_TAG};
use crate::format::work;
use crate::io::storage::Storage;

/// What follows the newest intact commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// Bytes of a write that was not finished: no part of a commit is among them.
    Torn,
    /// Bytes with an authentic part of a commit that cannot be completed.
    Authentic,
}

/// The newest intact commit.
pub(crate) struct Newest {
    pub(crate) position: Position,
    pub(crate) commit: Commit,
    /// Where the coffer ends: behind the commit and its footer.
    pub(crate) end: u64,
    /// The footer, if one names the commit.
    pub(crate) footer: Option<Footer>,
    pub(crate) tail: Tail,
}

impl Newest {
    /// The dead blocks that nobody has overwritten yet, as far as is known.
    pub(crate) fn unscrubbed(&self) -> &[Block] {
        if self.footer.as_ref().is_some_and(|f| f.durable) { &[] } else { &self.commit.scrub }
    }

    /// Whether everything about the commit is known to be done.
    pub(crate) fn durable(&self) -> bool {
        self.footer.as_ref().is_some_and(|f| f.durable)
            || (self.commit.ahead.is_none() && self.commit.scrub.is_empty())
    }
}

/// How often a reader without a lock looks again.
const LOOKS: usize = 8;
/// How often, and for how long each time, such a reader waits for a write that is under way.
const WAITS: usize = 10;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Looks, without a lock, at a file that another process may be writing. What is damaged, or not `sound`, is
/// looked at again if the file grows or is cut within a short time: a write that is under way looks
/// like damage, and a file that is cut while it is read like one that ends too early.
pub(crate) fn steadily<T>(
    storage: &dyn Storage,
    look: impl Fn() -> Result<T>,
    sound: impl Fn(&T) -> bool,
) -> Result<T> {
    for _ in 1..LOOKS {
        let before = storage.len().ok();
        let looked = look();
        let doubtful = match &looked {
            Ok(found) => !sound(found),
            Err(e) => e.code() == Code::Corrupt,
        };
        if !doubtful || !changes(storage, before) {
            return looked;
        }
    }
    look()
}

/// Whether the length of a file is, or soon becomes, another than it was.
fn changes(storage: &dyn Storage, before: Option<u64>) -> bool {
    for _ in 0..WAITS {
        if storage.len().ok() != before {
            return true;
        }
        std::thread::sleep(PAUSE);
    }
    storage.len().ok() != before
}

/// Finds the newest intact commit in a file of `size` bytes.
pub(crate) fn newest(source: &ArchiveFile, size: u64) -> Result<Newest> {
    let mut footers = Footers::new(source, size, reader(source));
    let mut looked = Looked::default();
    let mut damage = None;
    while let Some(footer) = footers.next()? {
        let Some(commit) = looked.commit(source, size, &footer.commit)? else {
            damage.get_or_insert_with(|| {
                crate::format::commit_parts::damaged(
                    &footer.commit,
                    "it is not what its footer says",
                )
            });
            continue;
        };
        let newest = at(source, footer.commit, commit)?;
        let newest = forwards(source, size, newest, damage.is_some())?;
        // A copy behind a damaged footer says so as well.
        let durable = footer.durable && newest.position.is(&footer.commit);
        if durable || damage.is_some() {
            return Ok(newest);
        }
        match finished(source, size, newest, &mut looked)? {
            Ok(newest) => return Ok(newest),
            Err(e) => damage = Some(e),
        }
    }
    // Without any footer there may still be a commit: the first.
    if let Some(newest) = first_commit(source, size, damage.is_some())? {
        if damage.is_some() {
            return Ok(newest);
        }
        return finished(source, size, newest, &mut looked)?;
    }
    Err(damage.unwrap_or_else(|| {
        Error::corrupt("the coffer has no intact commit: it is cut short, or damaged throughout")
    }))
}

/// Reads a file for a search.
fn reader(source: &ArchiveFile) -> impl FnMut(u64, usize) -> Result<Vec<u8>> + '_ {
    |offset, len| source.read(offset, len).map(Buffer::into_vec)
}

/// A commit that verified, and the footers right behind it.
fn at(source: &ArchiveFile, position: Position, commit: Commit) -> Result<Newest> {
    let (end, footer) = own_footers(source, &position)?;
    Ok(Newest { position, commit, end, footer, tail: Tail::Clean })
}

/// The most commits that are authentic and still not what a footer says: no crash leaves so many.
const MOST_OTHERS: usize = 8;

/// Where commits were looked for, and what stands there. However many footers name one place, it
/// is read once.
#[derive(Default)]
struct Looked {
    at: HashMap<u64, Option<Position>>,
    others: usize,
}

impl Looked {
    /// The commit at a position, if it verifies.
    fn commit(
        &mut self,
        source: &ArchiveFile,
        size: u64,
        position: &Position,
    ) -> Result<Option<Commit>> {
        if self.at.get(&position.offset).is_some_and(|at| at.is_none_or(|at| !at.is(position))) {
            return Ok(None);
        }
        let container = source.layers.container.as_deref();
        let most = source.max_catalog;
        let standing = crate::format::commit_parts::standing_at(
            position.offset,
            size,
            container,
            &source.meta,
            most,
            reader(source),
        )?
        .filter(|standing| standing.archive == source.archive);
        self.at.insert(position.offset, standing.as_ref().map(|standing| standing.position));
        let Some(standing) = standing else { return Ok(None) };
        if standing.position.is(position) {
            return standing.decode().map(Some);
        }
        self.others += 1;
        if self.others > MOST_OTHERS {
            return Err(Error::corrupt(
                "many commits are not what footers say of them: the file was put together from parts of others",
            ));
        }
        Ok(None)
    }
}

/// The newest commit, or the one before it if a crash has kept it from being whole: what shared its
/// sync has not reached the disk, and nothing says that the sync returned. The inner error is damage
/// to both.
fn finished(
    source: &ArchiveFile,
    size: u64,
    newest: Newest,
    looked: &mut Looked,
) -> Result<Result<Newest>> {
    if newest.durable() || is_whole(source, &newest)? {
        return Ok(Ok(newest));
    }
    if source.storage.len().map_err(|e| Error::io("fstat", &source.path, &e))? > size {
        // Whoever has written on since had it whole, and may be overwriting what died then.
        return Ok(Ok(newest));
    }
    let Some(previous) = newest.commit.previous.filter(|p| p.len > 0) else {
        return Ok(Err(Error::corrupt(
            "the only commit is damaged: what was written together with it is not there",
        )));
    };
    if !previous.precedes(&newest.position) {
        return Err(misplaced());
    }
    let Some(commit) = looked.commit(source, size, &previous)? else {
        return Ok(Err(crate::format::commit_parts::damaged(
            &previous,
            "it is not what the commit after it says",
        )));
    };
    Ok(Ok(Newest { tail: Tail::Authentic, ..at(source, previous, commit)? }))
}

fn misplaced() -> Error {
    Error::corrupt("a commit names one before it that is not before it")
}

/// Whether the bytes that were written together with a commit are there.
fn is_whole(source: &ArchiveFile, newest: &Newest) -> Result<bool> {
    let Some(ahead) = newest.commit.ahead else { return Ok(true) };
    let Some(from) = newest.position.offset.checked_sub(ahead.len) else { return Ok(false) };
    let bytes = source.read(from, ahead.len as usize)?;
    work::count(bytes.len());
    Ok(key::same(blake3::hash(&bytes).as_bytes(), &ahead.digest))
}

/// The footers that stand right behind a commit: where they end, and the last of them. Copies that
/// stand further on are in a tail that no commit has.
fn own_footers(source: &ArchiveFile, position: &Position) -> Result<(u64, Option<Footer>)> {
    let container = source.layers.container.as_deref();
    let len = Footer::len(container, &source.meta);
    let (mut end, mut last) = (position.end(), None);
    loop {
        let bytes = match source.read(end, len) {
            Ok(bytes) => bytes,
            Err(e) if e.code() == Code::Io => return Err(e),
            Err(_) => return Ok((end, last)),
        };
        match Footer::read(&bytes, end, container, &source.meta) {
            Some((footer, len))
                if footer.archive == source.archive && footer.commit.is(position) =>
            {
                end += len as u64;
                last = Some(footer);
            }
            _ => return Ok((end, last)),
        }
    }
}

/// Reads the chain of commits back to a snapshot, and the catalog it makes: the newest commit has no
/// blocks and members of its own any more then.
pub(crate) fn catalog(source: &ArchiveFile, newest: &mut Newest) -> Result<Loaded> {
    let mut since_snapshot = 0;
    let mut older = Vec::<Commit>::new();
    let mut at = newest.position;
    let mut extents = vec![(at.offset, at.end())];
    // Each block is added, dropped, and a piece of a member, once.
    let (mut named, room) = (0u64, Room::new(0, at.offset).blocks);
    let (mut raw, mut memory) = (0u64, 0usize);
    let copy = loop {
        let last = older.last().unwrap_or(&newest.commit);
        last.check(at.offset)?;
        raw = raw.saturating_add(last.raw_len);
        crate::format::commit_parts::check_size(raw, source.max_catalog)?;
        named = named.saturating_add(last.blocks_named());
        memory = memory.saturating_add(last.memory());
        if named > room.saturating_mul(3) {
            return Err(Error::corrupt("the commits name more blocks than the file could hold"));
        }
        if last.snapshot {
            break last.header_copy;
        }
        let Some(previous) = last.previous else {
            return Err(Error::corrupt("a commit that is not a snapshot has none before it"));
        };
        if !previous.precedes(&at) {
            return Err(misplaced());
        }
        since_snapshot += at.len;
        at = previous;
        extents.push((at.offset, at.end()));
        let mut commit = read_commit(source, &previous)?;
        // Only the newest commit's count.
        (commit.scrub, commit.history) = (Vec::new(), Vec::new());
        if commit.archive != newest.commit.archive {
            return Err(Error::corrupt("a commit is of another coffer"));
        }
        older.push(commit);
    };
    error::check_memory(memory, "the catalog")?;
    let mut catalog = Catalog::default();
    for commit in older.iter_mut().rev().chain([&mut newest.commit]) {
        commit.check_after(&catalog)?;
        commit.apply(&mut catalog);
    }
    catalog.check()?;
    let (scrub, end) = (&newest.commit.scrub, newest.position.offset);
    extents::check(&source.layers, &catalog, scrub, &extents, copy, end)?;
    Ok(Loaded { catalog, since_snapshot, snapshot_len: at.len })
}

/// A catalog, and what reading it cost.
pub(crate) struct Loaded {
    pub(crate) catalog: Catalog,
    /// Bytes of the commits after the snapshot.
    pub(crate) since_snapshot: u64,
    pub(crate) snapshot_len: u64,
}

/// Whether a commit is `newest` or one of its ancestors.
pub(crate) fn has_ancestor(
    source: &ArchiveFile,
    newest: &Newest,
    generation: u64,
    digest: &[u8; 32],
) -> Result<bool> {
    let mut position = newest.position;
    let mut commit = newest.commit.clone();
    loop {
        if position.generation <= generation {
            return Ok(position.generation == generation && position.digest == *digest);
        }
        if commit.history.iter().any(|(g, d)| *g == generation && d == digest) {
            return Ok(true);
        }
        match commit.previous {
            Some(previous) if previous.len > 0 => {
                if !previous.precedes(&position) {
                    return Err(misplaced());
                }
                position = previous;
                if position.generation > generation {
                    commit = read_commit(source, &previous)?;
                }
            }
            _ => return Ok(false),
        }
    }
}

/// Reads the commit at a position.
pub(crate) fn read_commit(source: &ArchiveFile, position: &Position) -> Result<Commit> {
    let (container, most) = (source.layers.container.as_deref(), source.max_catalog);
    crate::format::commit_parts::read_at(position, container, &source.meta, most, reader(source))
}

/// The authentic footers of a coffer, from the end of its file backwards.
struct Footers<'a, R> {
    source: &'a ArchiveFile,
    size: u64,
    len: usize,
    /// `None` before the last bytes of the file were tried: as a rule they are one.
    seek: Option<Seek<R>>,
    /// What a search is made with.
    read: Option<R>,
    /// The one at the end of the file, which a search finds as well.
    last: Option<u64>,
}

impl<'a, R: FnMut(u64, usize) -> Result<Vec<u8>>> Footers<'a, R> {
    fn new(source: &'a ArchiveFile, size: u64, read: R) -> Self {
        let len = Footer::len(source.layers.container.as_deref(), &source.meta);
        Self { source, size, len, seek: None, read: Some(read), last: None }
    }

    fn next(&mut self) -> Result<Option<Footer>> {
        let container = self.source.layers.container.as_deref();
        let footer_in = |bytes: &[u8], offset| {
            Footer::read(bytes, offset, container, &self.source.meta)
                .map(|(footer, _)| footer)
                .filter(|footer| footer.archive == self.source.archive)
        };
        if let Some(mut read) = self.read.take()
            && let Some(offset) = self.size.checked_sub(self.len as u64)
        {
            let footer = footer_in(&read(offset, self.len)?, offset);
            self.last = footer.as_ref().map(|_| offset);
            self.seek = Some(Seek::backwards(container.is_some(), 0, self.size, read));
            if footer.is_some() {
                return Ok(footer);
            }
        }
        let Some(seek) = &mut self.seek else { return Ok(None) };
        while let Some(candidate) = seek.next()? {
            let may_be = candidate.mark.starts_with(&FOOTER_TAG)
                && candidate.is_home()
                && candidate.len() == self.len
                && Some(candidate.offset) != self.last;
            if may_be && let Some(footer) = footer_in(&seek.bytes(&candidate)?, candidate.offset) {
                return Ok(Some(footer));
            }
        }
        Ok(None)
    }
}

/// Adopts commits behind `newest` that are whole though their footers are not, and judges the rest.
/// `damaged` is set if a footer names a commit that does not verify.
fn forwards(source: &ArchiveFile, size: u64, newest: Newest, damaged: bool) -> Result<Newest> {
    if newest.end >= size {
        return Ok(newest);
    }
    let from = newest.end;
    let mut walk = Walk { newest: Some(newest), ..Walk::new(source) };
    walk.run(from, size)?;
    walk.judged(size, damaged).ok_or_else(lost)
}

/// The very first commit, where no footer is left, or whatever follows it without one.
fn first_commit(source: &ArchiveFile, size: u64, damaged: bool) -> Result<Option<Newest>> {
    let mut walk = Walk::new(source);
    walk.run(0, size)?;
    Ok(walk.judged(size, damaged))
}

fn lost() -> Error {
    Error::corrupt("the newest commit was lost while the end of the file was read")
}

/// A walk through what stands behind the newest commit.
struct Walk<'a> {
    source: &'a ArchiveFile,
    /// The newest commit so far; `None` if the first one is looked for.
    newest: Option<Newest>,
    /// Something authentic stands behind it.
    authentic: bool,
    /// A whole commit was found that does not follow the newest.
    stopped: bool,
    /// The parts so far of a commit that may follow; where they begin, and where they end.
    parts: Vec<CommitPart>,
    at: u64,
    end: u64,
}

impl<'a> Walk<'a> {
    fn new(source: &'a ArchiveFile) -> Self {
        let (parts, at, end) = (Vec::new(), 0, 0);
        Self { source, newest: None, authentic: false, stopped: false, parts, at, end }
    }

    fn run(&mut self, from: u64, size: u64) -> Result<()> {
        let (source, container) = (self.source, self.source.layers.container.as_deref());
        let mut seek = Seek::forwards(container.is_some(), from, size, reader(source));
        while let Some(candidate) = seek.next()? {
            let bytes = seek.bytes(&candidate)?;
            let opened = record::open(container, &source.meta, &bytes, |_| true)
                .filter(|(_, plain, _)| plain.starts_with(&source.archive));
            if let Some((mark, plain, len)) = opened {
                self.take(candidate.offset, &mark, &plain, len as u64)?;
            }
        }
        Ok(())
    }

    /// Takes note of a record of this coffer that opens, wherever it says that it stands.
    fn take(&mut self, offset: u64, mark: &ClearFields, plain: &[u8], len: u64) -> Result<()> {
        if mark.starts_with(&FOOTER_TAG) {
            let footer = Footer::decode(mark, plain, offset);
            if let (Some(footer), Some(newest)) = (footer, &mut self.newest)
                && footer.commit.is(&newest.position)
            {
                // Copies stand further on.
                if offset == newest.end {
                    newest.end += len;
                    newest.footer = Some(footer);
                }
                return Ok(());
            }
            self.authentic = true;
            return Ok(());
        }
        self.authentic = true;
        if self.stopped || *mark != record::mark_at(COMMIT_TAG, offset) {
            return Ok(());
        }
        let Some(part) = CommitPart::decode(plain, offset) else { return Ok(()) };
        if part.index == 0 {
            self.parts.clear();
            (self.at, self.end) = (offset, offset);
        }
        let next = self.newest.as_ref().map(|newest| newest.position.generation.checked_add(1));
        let wanted = next.is_none_or(|next| next == Some(part.generation));
        if !wanted || offset != self.end || !part.follows(&self.parts) {
            self.parts.clear();
            return Ok(());
        }
        self.end = offset + len;
        let count = part.count as usize;
        self.parts.push(part);
        if self.parts.len() == count {
            self.whole()?;
        }
        Ok(())
    }

    /// A commit is whole: it is the newest, or the walk adopts no other.
    fn whole(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.parts);
        let (commit, digest) = match crate::format::commit_parts::assemble(
            &parts.iter().collect::<Vec<_>>(),
            self.source.max_catalog,
        ) {
            Ok(whole) => whole,
            Err(e) if e.code() == Code::Corrupt => {
                self.stopped = true;
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let follows = match &self.newest {
            Some(Newest { position, .. }) => commit.previous.is_some_and(|p| {
                p.generation == position.generation && key::same(&p.digest, &position.digest)
            }),
            None => commit.snapshot && commit.previous.is_none_or(|p| p.len == 0),
        };
        if !follows {
            self.stopped = true;
            return Ok(());
        }
        let (generation, offset, len) = (commit.generation, self.at, self.end - self.at);
        let position = Position { generation, offset, len, digest };
        let (end, footer, tail) = (self.end, None, Tail::Clean);
        self.newest = Some(Newest { position, commit, end, footer, tail });
        self.authentic = false;
        Ok(())
    }

    /// The newest commit, and what the rest of the file is.
    fn judged(self, size: u64, damaged: bool) -> Option<Newest> {
        let newest = self.newest?;
        let tail = if newest.end >= size {
            Tail::Clean
        } else if damaged || self.authentic {
            Tail::Authentic
        } else {
            Tail::Torn
        };
        Some(Newest { tail, ..newest })
    }
}

/// How much of the end of a file is searched for a footer whose header copy can be trusted: footers
/// stand every 64 MiB.
const COPY_SEARCH: u64 = 256 << 20;
/// The most copies of the header that are tried.
const MOST_COPIES: usize = 1 << 10;

/// Where copies of the header may lie, by the clear marks of footers, the last one first: for a file
/// whose beginning is damaged, and whose keys are therefore not known to fit yet.
pub(crate) fn header_copies<'a>(
    storage: &'a dyn Storage,
    path: &'a std::path::Path,
    sealed: bool,
    size: u64,
) -> impl FnMut() -> Result<Option<u64>> + 'a {
    let read = move |offset, len| {
        crate::engine::file::read(storage, path, offset, len).map(Buffer::into_vec)
    };
    let mut seek = Seek::backwards(sealed, size.saturating_sub(COPY_SEARCH), size, read);
    let mut copies = HashSet::new();
    move || {
        while copies.len() < MOST_COPIES
            && let Some(candidate) = seek.next()?
        {
            let copy = crate::format::footer::header_copy_in(&candidate.mark);
            let names_one = candidate.mark.starts_with(&FOOTER_TAG)
                && candidate.is_home()
                && copy > 0
                && copy < size;
            if names_one && copies.insert(copy) {
                return Ok(Some(copy));
            }
        }
        Ok(None)
    }
}
