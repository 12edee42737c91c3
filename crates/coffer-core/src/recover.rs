//! Finding the newest intact commit: from the end of the file backwards by footers, then forwards
//! by commits whose footers are damaged.

use crate::buffer::Buffer;
use crate::catalog::{Block, Catalog};
use crate::commit::{self, Commit, Footer, Part, Position, Room};
use crate::error::{self, Code, Error, Result};
use crate::extents;
use crate::key;
use crate::record::{self, COMMIT_TAG, FOOTER_TAG, TAG};
use crate::source::Source;
use crate::storage::Storage;

/// How much of the file a search reads at once.
const WINDOW: u64 = 1 << 20;

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
        if self.footer.as_ref().is_some_and(|f| f.settled) { &[] } else { &self.commit.scrub }
    }

    /// Whether everything about the commit is known to be done.
    pub(crate) fn settled(&self) -> bool {
        self.footer.as_ref().is_some_and(|f| f.settled)
            || (self.commit.ahead.is_none() && self.commit.scrub.is_empty())
    }
}

/// How often a reader without a lock looks again, and how long it waits before it does.
const LOOKS: usize = 8;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(2);

/// Looks at a file that somebody may be writing. What looked damaged while the file grew or was cut
/// is looked at again.
pub(crate) fn steadily<T>(storage: &dyn Storage, look: impl Fn() -> Result<T>) -> Result<T> {
    for _ in 1..LOOKS {
        let before = storage.len().ok();
        match look() {
            Err(e) if e.code() == Code::Corrupt && storage.len().ok() != before => {}
            looked => return looked,
        }
        std::thread::sleep(PAUSE);
    }
    look()
}

/// Finds the newest intact commit in a file of `size` bytes.
pub(crate) fn newest(source: &Source, size: u64) -> Result<Newest> {
    let mut upper = size;
    let mut damage = None;
    while let Some((offset, footer, _)) = footer_before(source, upper)? {
        let tail = if damage.is_some() { Tail::Authentic } else { Tail::Clean };
        let found = at(source, footer.commit, tail).and_then(|mut newest| {
            if newest.end < size {
                walk_forward(source, size, &mut newest)?;
            }
            // A copy behind a damaged footer says so as well.
            let settled = footer.settled && newest.position == footer.commit;
            if settled { Ok(newest) } else { finished(source, size, newest) }
        });
        match found {
            Ok(newest) => return Ok(newest),
            // What is too large, for the caller or for memory, is no damage.
            Err(e) if e.code() != Code::Corrupt => return Err(e),
            Err(e) => {
                damage.get_or_insert(e);
                upper = offset;
            }
        }
    }
    // Without any footer there may still be a commit: the first.
    if let Some(newest) = first_commit(source, size)? {
        return finished(source, size, newest);
    }
    Err(damage.unwrap_or_else(|| {
        Error::corrupt("the coffer has no intact commit: it is cut short, or damaged throughout")
    }))
}

/// The commit at a position.
fn at(source: &Source, position: Position, tail: Tail) -> Result<Newest> {
    let commit = read_commit(source, &position)?;
    let (end, footer) = own_footers(source, &position)?;
    Ok(Newest { position, commit, end, footer, tail })
}

/// The newest commit, or the one before it if a crash has kept it from being whole: what shared its
/// sync has not reached the disk, and nothing says that the sync returned.
fn finished(source: &Source, size: u64, newest: Newest) -> Result<Newest> {
    if newest.settled() || is_whole(source, &newest)? {
        return Ok(newest);
    }
    if source.storage.len().map_err(|e| Error::io("fstat", &source.path, &e))? > size {
        // Whoever has written on since had it whole, and may be overwriting what died then.
        return Ok(newest);
    }
    let previous = newest.commit.previous.filter(|p| p.len > 0).ok_or_else(|| {
        Error::corrupt("the only commit is damaged: what was written together with it is not there")
    })?;
    at(source, previous, Tail::Authentic)
}

/// Whether the bytes that were written together with a commit are there.
fn is_whole(source: &Source, newest: &Newest) -> Result<bool> {
    let Some(ahead) = newest.commit.ahead else { return Ok(true) };
    let Some(from) = newest.position.offset.checked_sub(ahead.len) else { return Ok(false) };
    let bytes = source.read(from, ahead.len as usize)?;
    Ok(key::same(blake3::hash(&bytes).as_bytes(), &ahead.digest))
}

/// The footers that stand right behind a commit: where they end, and the last of them. Copies that
/// stand further on are in a tail that no commit has.
fn own_footers(source: &Source, position: &Position) -> Result<(u64, Option<Footer>)> {
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
            Some((footer, len)) if footer.commit == *position => {
                end += len as u64;
                last = Some(footer);
            }
            _ => return Ok((end, last)),
        }
    }
}

/// Reads the chain of commits back to a snapshot, and the catalog it makes: the newest commit has no
/// blocks and members of its own any more then.
pub(crate) fn catalog(source: &Source, newest: &mut Newest) -> Result<Loaded> {
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
        commit::check_size(raw, source.max_catalog)?;
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
        if previous.end() > at.offset || previous.generation >= at.generation {
            return Err(Error::corrupt("a commit names one before it that is not before it"));
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
    source: &Source,
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
pub(crate) fn read_commit(source: &Source, position: &Position) -> Result<Commit> {
    let container = source.layers.container.as_deref();
    commit::read_at(position, container, &source.meta, source.max_catalog, |offset, len| {
        let len = usize::try_from(len).map_err(|_| Error::corrupt("a commit is too long"))?;
        source.read(offset, len).map(Buffer::into_vec)
    })
}

/// The last authentic footer that ends at or before `upper`.
fn footer_before(source: &Source, upper: u64) -> Result<Option<(u64, Footer, usize)>> {
    let container = source.layers.container.as_deref();
    let len = Footer::len(container, &source.meta);
    let at_end = |end: u64| -> Result<Option<(u64, Footer, usize)>> {
        let Some(offset) = end.checked_sub(len as u64) else { return Ok(None) };
        let bytes = source.read(offset, len)?;
        Ok(Footer::read(&bytes, offset, container, &source.meta)
            .filter(|(footer, _)| footer.archive == source.archive)
            .map(|(footer, len)| (offset, footer, len)))
    };
    if let Some(found) = at_end(upper)? {
        return Ok(Some(found));
    }
    let mut marks = Marks::backwards(source, FOOTER_TAG, upper);
    while let Some(offset) = marks.next()? {
        let end = offset + len as u64;
        if end <= upper
            && let Some(found) = at_end(end)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Adopts commits behind `newest` that are whole though their footers are not, and judges the rest.
fn walk_forward(source: &Source, size: u64, newest: &mut Newest) -> Result<()> {
    let parts = parts_from(source, newest.end, size)?;
    let mut authentic = !parts.is_empty();
    let mut at = 0;
    while let Some((commit, digest, offset, len, next)) = whole_commit(source, &parts, at)? {
        let follows = commit.archive == newest.commit.archive
            && commit.previous.is_some_and(|p| {
                p.digest == newest.position.digest && p.generation == newest.position.generation
            });
        if follows {
            newest.position = Position { generation: commit.generation, offset, len, digest };
            newest.end = newest.position.end();
            newest.footer = None;
            newest.commit = commit;
            authentic = parts.get(next..).is_some_and(|rest| !rest.is_empty());
        }
        at = next;
    }
    newest.tail = if newest.end == size {
        Tail::Clean
    } else if authentic || newest.tail == Tail::Authentic || displaced(source, newest.end, size)? {
        Tail::Authentic
    } else {
        Tail::Torn
    };
    Ok(())
}

/// The very first commit, where no footer is left.
fn first_commit(source: &Source, size: u64) -> Result<Option<Newest>> {
    let parts = parts_from(source, 0, size)?;
    let mut at = 0;
    while at < parts.len() {
        let Some((commit, digest, offset, len, next)) = whole_commit(source, &parts, at)? else {
            at += 1;
            continue;
        };
        at = next;
        if commit.previous.is_none_or(|p| p.len == 0) && commit.snapshot {
            let position = Position { generation: commit.generation, offset, len, digest };
            let mut newest =
                Newest { position, commit, end: position.end(), footer: None, tail: Tail::Clean };
            walk_forward(source, size, &mut newest)?;
            return Ok(Some(newest));
        }
    }
    Ok(None)
}

/// A commit that is whole: the commit, its digest, its offset and length, and the index of the part
/// behind it.
type Whole = (Commit, [u8; 32], u64, u64, usize);

/// The commit whose first part is the first at or after `parts[at]`, if it is whole: the commit,
/// its digest, its offset and length, and the index of the part behind it.
fn whole_commit(
    source: &Source,
    parts: &[(u64, u64, Part)],
    mut at: usize,
) -> Result<Option<Whole>> {
    while let Some((offset, _, first)) = parts.get(at) {
        let count = first.count as usize;
        let Some(group) = at.checked_add(count).and_then(|end| parts.get(at..end)) else {
            return Ok(None);
        };
        let contiguous = first.index == 0 && group.windows(2).all(|w| w[0].0 + w[0].1 == w[1].0);
        if contiguous {
            let borrowed: Vec<&Part> = group.iter().map(|(_, _, part)| part).collect();
            match commit::assemble(&borrowed, source.max_catalog) {
                Ok((commit, digest)) => {
                    let end = group.last().map_or(*offset, |(offset, len, _)| offset + len);
                    return Ok(Some((commit, digest, *offset, end - offset, at + count)));
                }
                Err(e) if e.code() != Code::Corrupt => return Err(e),
                Err(_) => {}
            }
        }
        at += 1;
    }
    Ok(None)
}

/// The authentic parts of commits between two offsets: their offsets, lengths and contents.
fn parts_from(source: &Source, from: u64, size: u64) -> Result<Vec<(u64, u64, Part)>> {
    let container = source.layers.container.as_deref();
    let mut parts = Vec::new();
    let mut marks = Marks::forwards(source, COMMIT_TAG, from, size);
    while let Some(offset) = marks.next()? {
        let available = |most: usize| usize::try_from(size - offset).unwrap_or(most).min(most);
        let start = source.read(offset, available(2 * record::MARK))?;
        let Some((_, len)) = record::peek(container.is_some(), &start) else { continue };
        let bytes = source.read(offset, available(len))?;
        if let Some((part, len)) = commit::read_part(&bytes, offset, container, &source.meta)
            && part.archive == source.archive
        {
            parts.push((offset, len as u64, part));
        }
    }
    Ok(parts)
}

/// Whether an authentic record stands where it was not written: bytes before it were lost or came
/// in between, and what follows the coffer's end is more than an unfinished write.
fn displaced(source: &Source, from: u64, size: u64) -> Result<bool> {
    let container = source.layers.container.as_deref();
    for tag in [COMMIT_TAG, FOOTER_TAG] {
        let mut marks = Marks { displaced: true, ..Marks::forwards(source, tag, from, size) };
        while let Some(offset) = marks.next()? {
            let most = 2 * record::MAX_BODY + record::MARK;
            let len = usize::try_from(size - offset).unwrap_or(most).min(most);
            let body = record::read(container, &source.read(offset, len)?)
                .and_then(|record| source.meta.open(&record.body));
            if body.is_some_and(|body| body.starts_with(&source.archive)) {
                return Ok(true);
            }
        }
    }
    Ok(false)
}

/// A search for records by their marks: the tag, followed by the record's own offset.
struct Marks<'a> {
    source: &'a Source,
    tag: [u8; TAG],
    /// How far into a record its mark lies.
    lead: u64,
    range: (u64, u64),
    backwards: bool,
    /// Looks for records that are not at their own offset instead.
    displaced: bool,
    found: Vec<u64>,
}

/// Bytes of a mark that the search looks at.
const SIGNATURE: u64 = TAG as u64 + 8;

impl<'a> Marks<'a> {
    fn new(source: &'a Source, tag: [u8; TAG], range: (u64, u64), backwards: bool) -> Self {
        let lead = record::mark_offset(source.layers.container.is_some()) as u64;
        Self { source, tag, lead, range, backwards, displaced: false, found: Vec::new() }
    }

    fn backwards(source: &'a Source, tag: [u8; TAG], upper: u64) -> Self {
        Self::new(source, tag, (0, upper), true)
    }

    fn forwards(source: &'a Source, tag: [u8; TAG], from: u64, size: u64) -> Self {
        Self::new(source, tag, (from, size), false)
    }

    /// The offset of the next record with a fitting mark, in the direction of the search.
    fn next(&mut self) -> Result<Option<u64>> {
        loop {
            if let Some(offset) = self.found.pop() {
                return Ok(Some(offset));
            }
            let (from, to) = self.range;
            if from >= to {
                return Ok(None);
            }
            // Windows overlap by a signature less one byte, so that none is cut in two.
            let window = if self.backwards {
                let start = to.saturating_sub(WINDOW).max(from);
                self.range = (from, start);
                (start, (to + SIGNATURE - 1).min(self.source_len()?))
            } else {
                let end = (from + WINDOW).min(to);
                self.range = (end, to);
                (from, (end + SIGNATURE - 1).min(to))
            };
            let bytes = self.source.read(window.0, (window.1 - window.0) as usize)?;
            self.found = bytes
                .windows(SIGNATURE as usize)
                .enumerate()
                .filter(|(_, w)| w[..TAG] == self.tag)
                .filter_map(|(i, w)| {
                    let offset = (window.0 + i as u64).checked_sub(self.lead)?;
                    let at_home = w[TAG..] == offset.to_le_bytes();
                    (at_home != self.displaced).then_some(offset)
                })
                .collect();
            if !self.backwards {
                self.found.reverse();
            }
        }
    }

    fn source_len(&self) -> Result<u64> {
        self.source.storage.len().map_err(|e| Error::io("fstat", &self.source.path, &e))
    }
}

/// How much of the end of a file is searched for a footer whose header copy can be trusted: footers
/// stand every 64 MiB.
const COPY_SEARCH: u64 = 256 << 20;

/// Where copies of the header may lie, by the clear marks of the last footers: for a file whose
/// beginning is damaged, and whose keys are therefore not known to fit yet.
pub(crate) fn header_copies(
    storage: &dyn Storage,
    path: &std::path::Path,
    sealed: bool,
    size: u64,
) -> Result<Vec<u64>> {
    let lead = record::mark_offset(sealed) as u64;
    let mut copies = Vec::new();
    let mut to = size;
    let stop = size.saturating_sub(COPY_SEARCH);
    while to > stop && copies.is_empty() {
        let from = to.saturating_sub(WINDOW);
        let end = (to + record::MARK as u64 - 1).min(size);
        let bytes = crate::source::read(storage, path, from, (end - from) as usize)?;
        for (i, window) in bytes.windows(record::MARK).enumerate().rev() {
            if window[..TAG] != FOOTER_TAG {
                continue;
            }
            let mut mark = [0; record::MARK];
            mark.copy_from_slice(window);
            let offset = (from + i as u64).checked_sub(lead);
            let copy = commit::header_copy_in(&mark);
            if offset == Some(record::offset_in(&mark))
                && copy > 0
                && copy < size
                && !copies.contains(&copy)
            {
                copies.push(copy);
            }
        }
        to = from;
    }
    Ok(copies)
}
