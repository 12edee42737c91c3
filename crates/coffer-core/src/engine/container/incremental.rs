//! Incremental compaction: the live blocks are copied into a new file in steps, between which the
//! coffer is read and changed.
//!
//! The file at the path stays the coffer until the last step: what is copied is committed there, and
//! what changes meanwhile changes there first and is copied again. A crash leaves that file, and an
//! unfinished one that the next writer removes.

use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use super::compact::Damaged;
use super::{Container, Copy};
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

/// A compaction that is under way.
pub(super) struct Compaction {
    new: Copy,
    /// Packs that are still to be copied.
    packs: VecDeque<BlockId>,
    /// Large members that are still to be copied.
    large: VecDeque<Arc<str>>,
    /// The large member that is being copied.
    partial: Option<Partial>,
    /// Members that were set, moved or removed since the compaction began, and were not looked at
    /// since.
    touched: BTreeSet<Arc<str>>,
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

impl Compaction {
    /// Notes that a member was set, moved or removed.
    pub(super) fn touch(&mut self, name: &Arc<str>) {
        self.touched.insert(name.clone());
    }

    fn is_caught_up(&self) -> bool {
        let copied = self.packs.is_empty() && self.large.is_empty() && self.partial.is_none();
        copied && self.touched.len() <= LAST_NAMES
    }
}

impl Container {
    /// Whether so much of the file is dead that compaction is worth its cost: see [`MIN_DEAD`].
    pub(crate) fn wants_incremental_compaction(&self) -> bool {
        let dead = self.dead_len();
        let live = self.log.tail().saturating_sub(dead);
        dead.saturating_sub(MIN_DEAD) > live - live / 4
    }

    pub(crate) fn is_compacting(&self) -> bool {
        self.compaction.is_some()
    }

    /// Begins a compaction into a new file, which is to replace the one at `path`.
    pub(crate) fn begin_compaction(&mut self, path: &Path) -> Result<()> {
        let old = self.source.storage.clone();
        let new = self.new_copy(path, &*old, self.form())?;
        let grouped = {
            let view = self.view.read();
            let members = view.catalog.iter().map(|(name, entry)| (Arc::from(name), entry));
            Grouped::new(members.collect::<Vec<(Arc<str>, Entry)>>())
        };
        self.compaction = Some(Box::new(Compaction {
            new,
            packs: grouped.packs.into_keys().collect(),
            large: grouped.large.into_iter().map(|(name, _)| name).collect(),
            partial: None,
            touched: grouped.waiting.into_iter().map(|(name, _)| name).collect(),
        }));
        Ok(())
    }

    /// Gives up a compaction that is under way, and removes its file.
    pub(crate) fn stop_compaction(&mut self) {
        self.compaction = None;
    }

    /// Copies about `budget` bytes. There must be no change that no commit has. `true` if the rest is
    /// for [`Self::finish_compaction`]. An error ends the compaction; the coffer is as it was.
    pub(crate) fn compact_step(&mut self, budget: u64) -> Result<bool> {
        let Some(mut compaction) = self.compaction.take() else { return Ok(false) };
        let end = compaction.new.container.log.tail().saturating_add(budget);
        while !compaction.is_caught_up() && compaction.new.container.log.tail() < end {
            self.copy_next(&mut compaction)?;
        }
        let is_caught_up = compaction.is_caught_up();
        self.compaction = Some(compaction);
        Ok(is_caught_up)
    }

    /// Commits, copies what is left, and puts the new file in place of the old one.
    ///
    /// An error before that ends the compaction, and the coffer is as it was.
    pub(crate) fn finish_compaction(&mut self, path: &Path, locks: &Locks) -> Result<()> {
        self.commit(false, locks)?;
        let ancestry = self.ancestry()?;
        let Some(mut compaction) = self.compaction.take() else { return Ok(()) };
        while !(compaction.is_caught_up() && compaction.touched.is_empty()) {
            self.copy_next(&mut compaction)?;
        }
        let Compaction { mut new, .. } = *compaction;
        new.container.gather()?;
        new.container.view.write().catalog.next_version = self.view.read().catalog.next_version;
        let old = self.source.storage.clone();
        self.put_in_place(new, path, &*old, locks, ancestry)
    }

    /// Copies a pack, a piece of a large member, or some members that were changed.
    fn copy_next(&self, compaction: &mut Compaction) -> Result<()> {
        if compaction.partial.is_some() {
            return self.copy_piece(compaction);
        }
        if let Some(id) = compaction.packs.pop_front() {
            return self.copy_live_of(&mut compaction.new.container, id, None);
        }
        if let Some(name) = compaction.large.pop_front() {
            return self.begin_large(compaction, name);
        }
        self.copy_touched(compaction)
    }

    /// Copies the live members of a pack, or those of them that are `wanted`.
    fn copy_live_of(
        &self,
        new: &mut Container,
        id: BlockId,
        wanted: Option<&[Arc<str>]>,
    ) -> Result<()> {
        let (block, members) = {
            let view = self.view.read();
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
        let mut progress = super::compact::Progress::silent(&silent);
        new.copy_small_pack(&self.source, &block, &members, &mut progress)
    }

    /// Begins to copy a large member, unless it is not there any more.
    fn begin_large(&self, compaction: &mut Compaction, name: Arc<str>) -> Result<()> {
        let entry = self.view.read().catalog.get(&name);
        let Some(entry) = entry else { return Ok(()) };
        let Place::Pieces { header, .. } = &entry.place else {
            // It became a small one.
            compaction.touched.insert(name);
            return Ok(());
        };
        let block = self.view.read().catalog.block(*header)?.clone();
        let new = &mut compaction.new.container;
        new.flush_pending()?;
        let (mark, added) = (new.log.mark(), new.changes.added.len());
        let header = new.copy_block(&self.source, &block, Damaged::Refused)?;
        let copied = Vec::new();
        compaction.partial = Some(Partial { name, entry, mark, added, header, copied });
        Ok(())
    }

    /// Copies the next piece of a large member, and puts the member in the new catalog when it is
    /// whole. One that was replaced or removed meanwhile is cut off again.
    fn copy_piece(&self, compaction: &mut Compaction) -> Result<()> {
        let Some(mut partial) = compaction.partial.take() else { return Ok(()) };
        let new = &mut compaction.new.container;
        let Place::Pieces { pieces, .. } = &partial.entry.place else {
            return Err(Error::corrupt("a large member has no pieces"));
        };
        let is_there = {
            let view = self.view.read();
            view.catalog.get(&partial.name).is_some_and(|now| now.version == partial.entry.version)
        };
        if !is_there {
            new.cut_back(partial.mark, partial.added);
            compaction.touched.insert(partial.name);
            return Ok(());
        }
        if let Some(piece) = pieces.get(partial.copied.len()) {
            let block = self.view.read().catalog.block(piece.block)?.clone();
            let block = new.copy_block(&self.source, &block, Damaged::Refused)?;
            partial.copied.push(Piece { block, ..*piece });
            compaction.partial = Some(partial);
            return Ok(());
        }
        let Partial { name, entry, header, copied, .. } = partial;
        new.set(name, Entry { place: Place::Pieces { header, pieces: Arc::new(copied) }, ..entry });
        Ok(())
    }

    /// Brings some of the members that were touched up to date in the new file.
    fn copy_touched(&self, compaction: &mut Compaction) -> Result<()> {
        let mut changed = Vec::new();
        for _ in 0..LAST_NAMES {
            let Some(name) = compaction.touched.pop_first() else { break };
            let entry = self.view.read().catalog.get(&name);
            let new = &mut compaction.new.container;
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
            self.copy_live_of(&mut compaction.new.container, id, Some(&names))?;
        }
        compaction.large.extend(grouped.large.into_iter().map(|(name, _)| name));
        Ok(())
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
}
