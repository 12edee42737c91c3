//! The commits that can be read, and the newest state that they give.

use std::collections::BTreeMap;

use super::marks::Search;
use super::span::Span;
use crate::buffer::Buffer;
use crate::coffer::CommitId;
use crate::engine::file::ArchiveFile;
use crate::engine::recovery;
use crate::error::Result;
use crate::format::catalog::Catalog;
use crate::format::commit::{Commit, Loading, Position};
use crate::format::commit_parts::CommitPart;
use crate::format::footer::Footer;
use crate::format::mark_search::Seek;
use crate::format::record::ARCHIVE_ID;
use crate::format::record::{self, COMMIT_TAG};

/// A commit that is whole and authentic.
struct Known {
    archive: [u8; ARCHIVE_ID],
    /// The position in its records.
    position: Position,
    /// The actual offset. It differs if bytes before the commit were lost or inserted.
    at: u64,
    snapshot: bool,
    previous: Option<Position>,
    scrub: Vec<Span>,
}

impl Known {
    fn read(&self, source: &ArchiveFile) -> Result<Commit> {
        let (container, most) = (source.layers.container.as_deref(), source.max_catalog);
        let moved = |offset: u64| {
            let within = offset.checked_sub(self.position.offset);
            within.and_then(|within| self.at.checked_add(within)).unwrap_or(u64::MAX)
        };
        crate::format::commit_parts::read_at(
            &self.position,
            container,
            &source.meta,
            most,
            recovery::in_pool,
            |offset, len| source.read(moved(offset), len).map(Buffer::into_vec),
        )
    }

    fn span(&self) -> Span {
        Span { from: self.at, to: self.at.saturating_add(self.position.len) }
    }
}

/// The newest state that a damaged file gives.
pub(super) struct RecoveredState {
    pub(super) catalog: Catalog,
    /// The newest commit that could be read.
    pub(super) commit: Option<CommitId>,
    /// Whether no commit is missing between a snapshot and the newest one of which there is a trace.
    pub(super) complete: bool,
    /// Where the newest commit and its footers end.
    pub(super) end: u64,
    /// The spans of records, which hold no members.
    pub(super) records: Vec<Span>,
    /// Blocks that commits list as dead. After a crash they may not be overwritten yet.
    pub(super) dead: Vec<Span>,
}

/// Reads all commits that can be read. The source's archive id is kept if `sure`; otherwise it becomes
/// that of the last record in the file.
pub(super) fn read(
    search: &Search<'_>,
    source: &mut ArchiveFile,
    sure: bool,
) -> Result<RecoveredState> {
    let mut found = HistoryScan::default();
    let sealed = source.layers.container.is_some();
    let read = |offset, len: usize| {
        search.cancel.check()?;
        search.read(offset, len as u64)
    };
    let mut seek = Seek::forwards(sealed, 0, search.size, read);
    while let Some(candidate) = seek.next()? {
        let bytes = seek.bytes(&candidate)?;
        let claimed = record::offset_in(&candidate.mark);
        if candidate.mark.starts_with(&COMMIT_TAG) {
            found.part(source, &bytes, candidate.offset, claimed);
        } else {
            found.footer(source, &bytes, candidate.offset, claimed);
        }
    }
    if !sure && let Some(archive) = found.last {
        source.archive = archive;
    }
    found.state(source)
}

#[derive(Default)]
struct HistoryScan {
    known: Vec<Known>,
    footers: Vec<(Span, Footer)>,
    /// The archive of the last record.
    last: Option<[u8; ARCHIVE_ID]>,
    /// The parts so far of the commit that is being read.
    parts: Vec<CommitPart>,
    /// Where that commit begins in the file, and where its first part's mark says that it does.
    at: u64,
    claimed: u64,
    /// Where the parts so far end.
    end: u64,
}

impl HistoryScan {
    fn part(&mut self, source: &ArchiveFile, bytes: &[u8], offset: u64, claimed: u64) {
        let container = source.layers.container.as_deref();
        let Some((part, len)) =
            crate::format::commit_parts::read_part(bytes, claimed, container, &source.meta)
        else {
            return;
        };
        self.last = Some(part.archive);
        if part.index == 0 {
            (self.at, self.claimed) = (offset, claimed);
            self.parts.clear();
        } else if self.parts.is_empty() || offset != self.end {
            self.parts.clear();
            return;
        }
        self.end = offset + len as u64;
        let count = part.count as usize;
        self.parts.push(part);
        if self.parts.len() == count {
            self.whole();
        }
    }

    fn whole(&mut self) {
        let parts = std::mem::take(&mut self.parts);
        let Ok((commit, digest)) =
            crate::format::commit_parts::assemble(&parts.iter().collect::<Vec<_>>(), u64::MAX)
        else {
            return;
        };
        self.known.push(Known {
            archive: commit.archive,
            position: Position {
                generation: commit.generation,
                offset: self.claimed,
                len: self.end - self.at,
                digest,
            },
            at: self.at,
            snapshot: commit.snapshot,
            previous: commit.previous,
            scrub: commit.scrub.iter().map(Span::of).collect(),
        });
    }

    fn footer(&mut self, source: &ArchiveFile, bytes: &[u8], offset: u64, claimed: u64) {
        let container = source.layers.container.as_deref();
        if let Some((footer, len)) = Footer::read(bytes, claimed, container, &source.meta) {
            self.last = Some(footer.archive);
            self.footers.push((Span { from: offset, to: offset + len as u64 }, footer));
        }
    }

    /// The newest state.
    fn state(self, source: &ArchiveFile) -> Result<RecoveredState> {
        let mut records: Vec<Span> = self.footers.iter().map(|(span, _)| *span).collect();
        records.extend(self.known.iter().map(Known::span));
        // Of two commits of one generation, the later one in the file.
        let mut known: BTreeMap<u64, Known> = BTreeMap::new();
        for commit in self.known {
            if commit.archive == source.archive {
                known.insert(commit.position.generation, commit);
            }
        }
        let footers = || self.footers.iter().filter(|(_, f)| f.archive == source.archive);
        let named = footers().map(|(_, footer)| footer.commit.generation).max();
        let newest = known.last_key_value().map(|(generation, _)| *generation);
        // The newest commit that goes back to a snapshot without a gap, and that snapshot.
        let base = known.keys().rev().find_map(|top| Some((*top, root(&known, *top)?)));
        let complete = base.is_some_and(|(top, _)| Some(top) >= newest.max(named));
        let first = base.map_or(0, |(_, snapshot)| snapshot);
        let mut loading = Loading::default();
        let mut reached = None;
        for (_, commit) in known.range(first..) {
            loading.apply(&mut commit.read(source)?);
            reached = Some(commit);
        }
        let mut catalog = loading.finish();
        catalog.blocks.retain(|_, block| block.fits());
        let end = reached.map_or(0, |commit| commit.span().to);
        // The footers that stand right behind it belong to it.
        let end =
            footers().fold(end, |end, (span, _)| if span.from == end { span.to } else { end });
        let commit = reached.map(|commit| CommitId {
            generation: commit.position.generation,
            digest: commit.position.digest,
        });
        let dead = known.values().flat_map(|commit| commit.scrub.iter().copied()).collect();
        Ok(RecoveredState { catalog, commit, complete, end, records, dead })
    }
}

/// The generation of the snapshot that a commit goes back to, if all between them are there.
fn root(known: &BTreeMap<u64, Known>, top: u64) -> Option<u64> {
    let mut commit = known.get(&top)?;
    while !commit.snapshot {
        let previous = commit.previous?;
        let before = known.get(&previous.generation)?;
        let follows = before.position.digest == previous.digest
            && before.position.generation < commit.position.generation;
        if !follows {
            return None;
        }
        commit = before;
    }
    Some(commit.position.generation)
}
