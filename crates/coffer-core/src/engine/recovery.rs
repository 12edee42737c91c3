//! Finding the newest intact commit: from the end of the file backwards by footers, then forwards
//! by commits whose footers are damaged.

mod forwards;
mod newest;

use std::collections::{HashMap, HashSet};

use crate::buffer::Buffer;
use crate::crypto::key;
use crate::engine::file::ArchiveFile;
use crate::error::{self, Code, Error, Result};
use crate::format::catalog::Catalog;
use crate::format::commit::{Commit, Loading, Position, Room};
use crate::format::commit_parts::{Open, OpenedPart, RawPart};
use crate::format::extents;
use crate::format::footer::Footer;
use crate::format::mark_search::Seek;
use crate::format::record::FOOTER_TAG;
use crate::format::work;
use crate::io::pool;
use crate::io::storage::ReadAt;

use self::forwards::{first_commit, forwards};
use self::newest::reader;
pub(crate) use self::newest::{Newest, Tail};

/// How often a reader without a lock reads a doubtful file again.
const LOOKS: usize = 8;
/// How often, and for how long each time, such a reader waits for a write that is under way.
const WAITS: usize = 10;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Calls `look` without a lock on a file that another process may be writing. A result that is
/// damage, or not `sound`, is discarded and `look` called again if the length of the file changes
/// within a short time: a write in progress looks like damage, and so does a truncation.
pub(crate) fn steadily<T>(
    storage: &dyn ReadAt,
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

/// Whether the length of a file differs from `before`, now or within a short time.
fn changes(storage: &dyn ReadAt, before: Option<u64>) -> bool {
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

/// A commit that verified, with the footers that directly follow it.
fn at(source: &ArchiveFile, position: Position, commit: Commit) -> Result<Newest> {
    let (end, footer) = own_footers(source, &position)?;
    Ok(Newest { position, commit, end, footer, tail: Tail::Clean })
}

/// The most authentic commits that differ from what a footer names: no crash leaves so many.
const MOST_OTHERS: usize = 8;

/// The commits at offsets that footers name. Each offset is read once, however many footers name
/// it.
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
            in_pool,
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

/// The newest commit, or the one before it if a crash left the newest incomplete: the blocks of its
/// sync have not reached the disk, and no footer says that the sync returned. The inner error is
/// damage to both.
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
        // The process that has written on since had it whole, and may be scrubbing what died then.
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

/// Whether the blocks that were written together with a commit are intact.
fn is_whole(source: &ArchiveFile, newest: &Newest) -> Result<bool> {
    let Some(ahead) = newest.commit.ahead else { return Ok(true) };
    let Some(from) = newest.position.offset.checked_sub(ahead.len) else { return Ok(false) };
    let bytes = source.read(from, ahead.len as usize)?;
    work::count(bytes.len());
    Ok(key::same(blake3::hash(&bytes).as_bytes(), &ahead.digest))
}

/// The footers that directly follow a commit: where they end, and the last of them. Copies further
/// on are in a tail that belongs to no commit.
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

/// Reads the chain of commits back to a snapshot, and builds the catalog. The blocks and members of
/// the newest commit are moved into it.
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
    let mut loading = Loading::default();
    for commit in older.iter_mut().rev().chain([&mut newest.commit]) {
        loading.check(commit)?;
        loading.apply(commit);
    }
    drop(older);
    let catalog = loading.finish();
    check(&catalog)?;
    let (scrub, end) = (&newest.commit.scrub, newest.position.offset);
    extents::check(&source.layers, &catalog, scrub, &extents, copy, end)?;
    Ok(Loaded { catalog, since_snapshot, snapshot_len: at.len })
}

/// Checks a catalog, in parallel if it has many members.
fn check(catalog: &Catalog) -> Result<()> {
    catalog.check()?;
    let held = match catalog.spans(pool::threads()).as_slice() {
        [all] => vec![catalog.check_members(all)?],
        spans => pool::each(spans, |span| catalog.check_members(span))?,
    };
    Catalog::check_held(held)
}

/// A catalog, and the sizes of the commits that it was read from.
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
    let (mut history, mut previous) = (newest.commit.history.clone(), newest.commit.previous);
    loop {
        if position.generation <= generation {
            return Ok(position.generation == generation && position.digest == *digest);
        }
        if history.iter().any(|(g, d)| *g == generation && d == digest) {
            return Ok(true);
        }
        let Some(before) = previous.filter(|previous| previous.len > 0) else { return Ok(false) };
        if !before.precedes(&position) {
            return Err(misplaced());
        }
        position = before;
        if position.generation > generation {
            let commit = read_commit(source, &position)?;
            (history, previous) = (commit.history, commit.previous);
        }
    }
}

/// Reads the commit at a position.
pub(crate) fn read_commit(source: &ArchiveFile, position: &Position) -> Result<Commit> {
    let (container, most) = (source.layers.container.as_deref(), source.max_catalog);
    let read = reader(source);
    crate::format::commit_parts::read_at(position, container, &source.meta, most, in_pool, read)
}

/// Opens the parts of a commit in parallel.
pub(crate) fn in_pool(parts: &[RawPart], open: Open<'_>) -> Vec<OpenedPart> {
    pool::each(parts, |part| Ok(open(part))).unwrap_or_default()
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

/// How much of the end of a file is searched for a footer whose header copy can be trusted: footers
/// stand every 64 MiB.
const COPY_SEARCH: u64 = 256 << 20;
/// The most copies of the header that are tried.
const MOST_COPIES: usize = 1 << 10;

/// The offsets of header copies by the clear marks of footers, the last one first: for a file whose
/// beginning is damaged, before it is known whether the keys fit.
pub(crate) fn header_copies<'a>(
    storage: &'a dyn ReadAt,
    path: &'a std::path::Path,
    sealed: bool,
    size: u64,
) -> impl FnMut() -> Result<Option<u64>> + 'a {
    let read = move |offset, len| {
        crate::engine::file::read(storage, path, size, offset, len).map(Buffer::into_vec)
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
