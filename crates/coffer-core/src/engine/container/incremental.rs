//! Incremental compaction: the live blocks are copied into a new file in steps, between which the
//! coffer is read and changed.
//!
//! The file at the path stays the coffer until the last step: what is copied is committed there, and
//! what changes meanwhile changes there first and is copied again. A crash leaves that file, and an
//! unfinished one that the next writer removes.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::Container;
use super::compact::{Copy, Damaged, Progress};
use crate::engine::commit_log::TailMark;
use crate::engine::grouping::Grouped;
use crate::error::{Error, Result};
use crate::format::catalog::{BlockId, Entry, Piece, Place};
use crate::io::lock_set::Locks;
use crate::progress::CallObserver;

/// The bytes of dead blocks above which compaction begins, beside three quarters of the live ones.
const MIN_DEAD: u64 = if cfg!(any(test, feature = "fuzzing")) { 32 << 10 } else { 8 << 20 };
/// The most names that the last step has to copy once more.
const LAST_NAMES: usize = 256;

/// A compaction that is under way. It belongs to the file that the container writes now: who replaces
/// that file otherwise drops it first. Dropped, it removes its own.
pub(crate) struct Compaction {
    new: Copy,
    /// Packs that are still to be copied.
    packs: VecDeque<BlockId>,
    /// Large members that are still to be copied.
    large: VecDeque<Arc<str>>,
    /// The large member that is being copied.
    partial: Option<Partial>,
}

/// A large member of which some pieces are copied. Nothing else is appended until it is whole.
struct Partial {
    name: Arc<str>,
    entry: Entry,
    /// The end of the new file, and its number of blocks, before the member.
    mark: TailMark,
    added: usize,
    header: BlockId,
    copied: Vec<Piece>,
}

impl Container {
    /// Whether so much of the file is dead that compaction is worth its cost: see [`MIN_DEAD`].
    pub(crate) fn wants_incremental_compaction(&self) -> bool {
        let dead = self.dead_len();
        let live = self.log.tail().saturating_sub(dead);
        dead.saturating_sub(MIN_DEAD) > live - live / 4
    }

    /// Cuts off what was appended since a mark, with its blocks.
    pub(super) fn cut_back(&mut self, mark: TailMark, added: usize) {
        // The tar must end with a complete entry.
        let mut view = self.view.write();
        for id in self.changes.added.drain(added..) {
            view.catalog.drop_block(id);
        }
        drop(view);
        self.log.cut_back(mark);
    }

    /// Notes changes no longer: the compaction that was begun was given up.
    pub(crate) fn forget_touched(&mut self) {
        self.touched = None;
    }

    /// Whether a compaction was begun in this file, and not given up.
    #[cfg(test)]
    pub(crate) fn is_being_copied(&self) -> bool {
        self.touched.is_some()
    }

    fn touched(&mut self) -> &mut BTreeSet<Arc<str>> {
        self.touched.get_or_insert_default()
    }
}

impl Compaction {
    /// Begins a compaction into a new file, which is to replace the one at `path`. There must be no
    /// change that no commit has.
    pub(crate) fn begin(old: &mut Container, path: &Path) -> Result<Self> {
        let new = old.new_copy(path, &*old.source.storage, old.form())?;
        let grouped = {
            let view = old.view.read();
            let members = view.catalog.iter().map(|(name, entry)| (Arc::from(name), entry));
            Grouped::in_file(members.collect::<Vec<(Arc<str>, Entry)>>())?
        };
        old.touched = Some(BTreeSet::new());
        Ok(Self {
            new,
            packs: grouped.packs.into_keys().collect(),
            large: grouped.large.into_iter().map(|(name, _)| name).collect(),
            partial: None,
        })
    }

    /// Copies about `budget` bytes. There must be no change that no commit has. `true` if the rest is
    /// for [`Self::finish`]. After an error the compaction is of no use, and the coffer is as it was.
    pub(crate) fn step(&mut self, old: &mut Container, budget: u64) -> Result<bool> {
        let end = self.new.container.log.tail().saturating_add(budget);
        while !self.is_caught_up(old) && self.new.container.log.tail() < end {
            self.copy_next(old)?;
        }
        Ok(self.is_caught_up(old))
    }

    /// Commits, copies what is left, and puts the new file in place of the old one, in which the
    /// container goes on. An error before that leaves the coffer as it was.
    pub(crate) fn finish(mut self, old: &mut Container, path: &Path, locks: &Locks) -> Result<()> {
        old.commit(false, locks)?;
        let ancestry = old.ancestry()?;
        while !(self.is_caught_up(old) && old.touched().is_empty()) {
            self.copy_next(old)?;
        }
        self.new.container.gather()?;
        let next_version = old.view.read().catalog.next_version;
        self.new.container.view.write().catalog.next_version = next_version;
        let storage = old.source.storage.clone();
        old.put_in_place(self.new, path, &*storage, locks, ancestry)
    }

    fn is_caught_up(&self, old: &mut Container) -> bool {
        let copied = self.packs.is_empty() && self.large.is_empty() && self.partial.is_none();
        copied && old.touched().len() <= LAST_NAMES
    }

    /// Copies a pack, a piece of a large member, or some members that were changed.
    fn copy_next(&mut self, old: &mut Container) -> Result<()> {
        if self.partial.is_some() {
            return self.copy_piece(old);
        }
        if let Some(id) = self.packs.pop_front() {
            return self.copy_live_of(old, id, None);
        }
        if let Some(name) = self.large.pop_front() {
            return self.begin_large(old, name);
        }
        self.copy_touched(old)
    }

    /// Copies the live members of a pack, or those of them that are `wanted`.
    fn copy_live_of(
        &mut self,
        old: &Container,
        id: BlockId,
        wanted: Option<&[Arc<str>]>,
    ) -> Result<()> {
        let (block, members) = {
            let view = old.view.read();
            let Some(block) = view.catalog.blocks.get(&id).cloned() else { return Ok(()) };
            let live = view.catalog.live_in_pack(id);
            let live = live.into_iter().filter(|n| wanted.is_none_or(|wanted| wanted.contains(n)));
            let entry = |name: Arc<str>| Some((name.clone(), view.catalog.get(&name)?));
            (block, live.filter_map(entry).collect::<Vec<_>>())
        };
        if members.is_empty() {
            return Ok(());
        }
        let members: Vec<_> =
            members.iter().map(|(name, entry)| (&**name, entry.clone())).collect();
        let silent = CallObserver::silent();
        let mut progress = Progress::silent(&silent);
        self.new.container.copy_small_pack(&old.source, &block, &members, &mut progress)
    }

    /// Begins to copy a large member, unless it is not there any more.
    fn begin_large(&mut self, old: &mut Container, name: Arc<str>) -> Result<()> {
        let entry = old.view.read().catalog.get(&name);
        let Some(entry) = entry else { return Ok(()) };
        let Place::Pieces { header, .. } = entry.place else {
            // It became a small one.
            old.touched().insert(name);
            return Ok(());
        };
        let block = old.view.read().catalog.block(header)?.clone();
        let new = &mut self.new.container;
        new.flush_pending()?;
        let (mark, added) = (new.log.mark(), new.changes.added.len());
        let header = new.copy_block(&old.source, &block, Damaged::Refused)?;
        self.partial = Some(Partial { name, entry, mark, added, header, copied: Vec::new() });
        Ok(())
    }

    /// Copies the next piece of a large member, and puts the member in the new catalog when it is
    /// whole. One that was replaced or removed meanwhile is cut off again.
    fn copy_piece(&mut self, old: &mut Container) -> Result<()> {
        let Some(mut partial) = self.partial.take() else { return Ok(()) };
        let new = &mut self.new.container;
        let Place::Pieces { pieces, .. } = &partial.entry.place else {
            return Err(Error::corrupt("a large member has no pieces"));
        };
        let is_there = {
            let view = old.view.read();
            view.catalog.get(&partial.name).is_some_and(|now| now.version == partial.entry.version)
        };
        if !is_there {
            new.cut_back(partial.mark, partial.added);
            old.touched().insert(partial.name);
            return Ok(());
        }
        if let Some(piece) = pieces.get(partial.copied.len()) {
            let block = old.view.read().catalog.block(piece.block)?.clone();
            let block = new.copy_block(&old.source, &block, Damaged::Refused)?;
            partial.copied.push(Piece { block, ..*piece });
            self.partial = Some(partial);
            return Ok(());
        }
        let Partial { name, entry, header, copied, .. } = partial;
        new.set(name, Entry { place: Place::Pieces { header, pieces: Arc::new(copied) }, ..entry });
        Ok(())
    }

    /// Brings some of the members that were touched up to date in the new file.
    fn copy_touched(&mut self, old: &mut Container) -> Result<()> {
        let mut changed = Vec::new();
        for _ in 0..LAST_NAMES {
            let Some(name) = old.touched().pop_first() else { break };
            let entry = old.view.read().catalog.get(&name);
            let new = &mut self.new.container;
            let copied = new.view.read().catalog.get(&name).map(|copied| copied.version);
            match entry {
                None => new.remove(&name)?,
                Some(entry) if copied == Some(entry.version) => {}
                Some(entry) => changed.push((name, entry)),
            }
        }
        let grouped = Grouped::in_file(changed)?;
        for (id, members) in grouped.packs {
            let names: Vec<_> = members.into_iter().map(|(name, _)| name).collect();
            self.copy_live_of(old, id, Some(&names))?;
        }
        self.large.extend(grouped.large.into_iter().map(|(name, _)| name));
        Ok(())
    }
}
