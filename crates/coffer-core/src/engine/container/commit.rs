//! Commits: which changes, blocks and dead blocks each of them lists.

use std::sync::Arc;

use super::Container;
use super::changes::Changes;
use super::pending::repacked;
use super::put::SPLIT_PACK;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Place};
use crate::format::commit::{Commit, MAX_HISTORY, Position};
use crate::format::members::MemberRows;
use crate::io::lock_set::Locks;
use crate::io::pool;

/// The commits that came before the first commit of a compacted file.
#[derive(Default)]
pub(crate) struct Ancestry {
    pub(super) previous: Option<Position>,
    pub(super) history: Vec<(u64, Digest)>,
}

impl Container {
    /// Commits the changes, and erases what is stale; with `force` also if there is neither. The locks
    /// must still hold.
    ///
    /// When this returns, the changes are durable and the bytes that they, and all changes before
    /// them, replaced are overwritten.
    pub(crate) fn commit(&mut self, force: bool, locks: &Locks) -> Result<()> {
        self.ready()?;
        if !(force || self.modified() || self.has_stale()) {
            return Ok(());
        }
        self.log.check(locks)?;
        self.gather()?;
        if !(force || self.modified() || self.has_stale()) {
            // All that was stale are damaged packs with live members, which stay.
            return Ok(());
        }
        let scrub = self.dead_blocks();
        self.write_commit(scrub.clone(), Ancestry::default())?;
        if scrub.is_empty() { Ok(()) } else { self.log.scrub(&scrub) }
    }

    /// Commits the changes, and leaves the bytes that they replaced in the file until the next
    /// [`Self::commit`]: blocks are only added, so that one sync is enough.
    pub(crate) fn commit_without_scrub(&mut self, locks: &Locks) -> Result<()> {
        self.ready()?;
        if !self.modified() {
            return Ok(());
        }
        self.log.check(locks)?;
        self.flush_pending()?;
        let Changes { dirty, dead, .. } = &mut self.changes;
        let (dirty, dead) = (std::mem::take(dirty), std::mem::take(dead));
        let written = self.write_commit(Vec::new(), Ancestry::default());
        // Also after an error: they are as stale as before.
        (self.changes.dirty, self.changes.dead) = (dirty, dead);
        written
    }

    /// As [`Self::commit`], but erases only those stale packs that are in `part`, and all dead blocks.
    pub(crate) fn commit_scrubbing(&mut self, part: &[BlockId], locks: &Locks) -> Result<()> {
        let mut rest = std::mem::take(&mut self.changes.dirty);
        self.changes.dirty = part.iter().filter(|id| rest.remove(id)).copied().collect();
        let committed = self.commit(false, locks);
        self.changes.dirty.append(&mut rest);
        committed
    }

    /// The packs with dead entries.
    pub(crate) fn stale_packs(&self) -> impl Iterator<Item = BlockId> {
        self.changes.dirty.iter().copied()
    }

    /// Erases what the writer before left stale. If there is no room for that now, or memory, the blocks
    /// stay stale until the next [`Self::commit`].
    ///
    /// # Errors
    /// Only if the container is poisoned by it.
    pub(crate) fn erase_stale(&mut self, locks: &Locks) -> Result<()> {
        match self.commit(false, locks) {
            Err(e) if self.ready().is_err() => Err(e),
            _ => Ok(()),
        }
    }

    pub(super) fn dead_blocks(&self) -> Vec<Block> {
        let view = self.view.read();
        let dead = self.changes.dead.iter();
        dead.filter_map(|id| view.catalog.blocks.get(id).cloned()).collect()
    }

    /// Moves every live member into a block that is live throughout.
    pub(crate) fn gather(&mut self) -> Result<()> {
        self.flush_pending()?;
        self.repack()
    }

    /// Moves the live members of dirty packs into new packs of their own, apart from what was just
    /// written, so that what changes often comes to stand alone. A pack that cannot be read is left as it
    /// is while it has live members: those are damaged, and all others are still committed.
    fn repack(&mut self) -> Result<()> {
        let dirty = self.take_dirty();
        let packs: Vec<BlockId> = dirty.iter().copied().collect();
        // Decoded together, they take memory by the largest of them.
        let largest = {
            let view = self.view.read();
            let tar = |id: &BlockId| view.catalog.blocks.get(id).map(|block| block.tar);
            packs.iter().filter_map(tar).max().unwrap_or_default()
        };
        for some in packs.chunks(pool::window_of(largest as usize)) {
            if let Err(e) = self.empty_packs(some) {
                dirty.iter().for_each(|id| self.mark_dirty(*id));
                return Err(e);
            }
        }
        self.flush_pending()
    }

    /// Moves the live members of packs into the one that is being filled, and marks as dead those that
    /// are empty then. Nothing is moved out of a pack that cannot be read.
    fn empty_packs(&mut self, ids: &[BlockId]) -> Result<()> {
        let packs: Vec<(BlockId, Block, Vec<Arc<str>>)> = {
            let view = self.view.read();
            let pack = |id: &BlockId| {
                Some((*id, view.catalog.blocks.get(id)?.clone(), view.catalog.live_in_pack(*id)))
            };
            ids.iter().filter_map(pack).collect()
        };
        let source = self.source.clone();
        let tars = pool::each(&packs, |(_, block, live)| {
            if live.is_empty() { Ok(None) } else { source.intact(|source| source.block(block)) }
        })?;
        for ((id, block, live), tar) in packs.into_iter().zip(tars) {
            let is_empty = live.is_empty() || tar.is_some();
            if let Some(tar) = tar {
                self.move_members(&block, &tar, live)?;
            }
            if is_empty {
                self.mark_dead(id);
            }
        }
        Ok(())
    }

    /// Moves members out of a pack with this tar.
    fn move_members(&mut self, block: &Block, tar: &[u8], members: Vec<Arc<str>>) -> Result<()> {
        for name in members {
            let Some(entry) = self.view.read().catalog.get(&name) else { continue };
            let Place::Packed { at, stored, .. } = entry.place else { continue };
            self.make_room_within(SPLIT_PACK, stored as usize)?;
            let stored = Arc::new(self.source.slice(tar, block, at, stored)?.to_vec());
            let pending = repacked(name.clone(), &entry, stored.clone());
            let moved = Entry { place: Place::Memory(stored), ..entry };
            let old = self.view.write().catalog.set(name.clone(), moved);
            self.record(name, old);
            self.push(pending);
        }
        Ok(())
    }

    /// Writes a commit of all changes, and begins to collect those of the next.
    pub(super) fn write_commit(&mut self, scrub: Vec<Block>, ancestry: Ancestry) -> Result<()> {
        let mut commit = self.next_commit(scrub, ancestry)?;
        self.log.commit(&self.header, self.added_len(), &mut commit)?;
        let Position { generation, digest, .. } = self.log.committed();
        if let Some(known) = &mut self.ancestors {
            known.push((generation, digest));
            let most = known.len().saturating_sub(MAX_HISTORY);
            known.drain(..most);
        }
        let changes = std::mem::take(&mut self.changes);
        let mut view = self.view.write();
        view.catalog.dead = commit.dead;
        for id in changes.dead {
            view.catalog.drop_block(id);
        }
        Ok(())
    }

    /// The next commit, without what [`CommitLog::commit`] completes it with.
    ///
    /// [`CommitLog::commit`]: crate::engine::commit_log::CommitLog::commit
    fn next_commit(&self, scrub: Vec<Block>, ancestry: Ancestry) -> Result<Commit> {
        let view = self.view.read();
        let catalog = &view.catalog;
        let committed = self.log.committed();
        let previous = ancestry.previous.or((committed.generation > 0).then_some(committed));
        let generation =
            previous.map_or(Some(1), |p| p.generation.checked_add(1)).ok_or_else(|| {
                Error::new(Code::Limit, "the coffer has as many commits as the format allows")
            })?;
        let mut commit = Commit {
            archive: self.header.archive,
            generation,
            header: self.header.marks,
            header_copy: 0,
            previous,
            snapshot: self.log.snapshot_is_due(),
            next_block: catalog.next_block,
            next_version: catalog.next_version,
            dead: catalog.dead + scrub.iter().map(|block| u64::from(block.len)).sum::<u64>(),
            dropped: Vec::new(),
            blocks: Vec::new(),
            removed: Vec::new(),
            set: Vec::new(),
            rows: MemberRows::default(),
            scrub,
            history: ancestry.history,
            ahead: None,
            raw_len: 0,
            well_cut: true,
        };
        if commit.snapshot {
            self.list_all(catalog, &mut commit);
        } else {
            self.list_changes(catalog, &mut commit);
        }
        Ok(commit)
    }

    /// Lists everything that is live, as a snapshot does.
    fn list_all(&self, catalog: &Catalog, commit: &mut Commit) {
        let dead = &self.changes.dead;
        let live = catalog.blocks.iter().filter(|(id, _)| !dead.contains(id));
        commit.blocks = live.map(|(id, block)| (*id, block.clone())).collect();
        commit.set = catalog.iter().map(|(name, entry)| (name.into(), entry)).collect();
    }

    /// Lists what has changed since the last commit, as a delta does.
    fn list_changes(&self, catalog: &Catalog, commit: &mut Commit) {
        let Changes { touched, added, dead, .. } = &self.changes;
        // A block that was added since the last commit is in none, so none has to drop it.
        let committed = |id: &&BlockId| added.binary_search(id).is_err();
        commit.dropped = dead.iter().filter(committed).copied().collect();
        let live = added.iter().filter(|id| !dead.contains(id));
        commit.blocks = live
            .filter_map(|id| catalog.blocks.get(id).map(|block| (*id, block.clone())))
            .collect();
        for name in touched {
            match catalog.get(name) {
                Some(entry) => commit.set.push((name.clone(), entry)),
                None => commit.removed.push(name.clone()),
            }
        }
    }

    /// The length of the blocks that were added since the last commit, in bytes.
    fn added_len(&self) -> u64 {
        let view = self.view.read();
        let added = self.changes.added.iter().filter_map(|id| view.catalog.blocks.get(id));
        added.map(|block| u64::from(block.len)).sum()
    }

    /// The length of the live part of the file, in bytes.
    pub(super) fn live_len(&self) -> u64 {
        let view = self.view.read();
        let blocks = view.catalog.blocks.values().map(|block| u64::from(block.len));
        blocks.sum::<u64>() + self.log.snapshot_len()
    }

    /// The length of the dead part of the file, in bytes.
    pub(super) fn dead_len(&self) -> u64 {
        self.view.read().catalog.dead
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::engine::file::ArchiveFile;
    use crate::engine::recovery;
    use crate::format::catalog::MAX_COUNT;
    use crate::format::header::Header;
    use crate::format::key_source::KeySource;
    use crate::format::keys::Keys;
    use crate::format::kind::Kind;
    use crate::format::member::Attributes;
    use crate::format::member::MemberType;
    use crate::io::disk::{DiskFile, DiskNamespace};
    use crate::io::storage::Namespace;

    /// A coffer of kind Null in a directory of its own, with one commit.
    fn container(dir: &tempfile::TempDir) -> (Container, Locks) {
        let path = dir.path().join("test.coffer");
        std::fs::write(&path, []).unwrap();
        let (kind, keys) = (Kind::null(), Keys::default());
        let header = Header::new(kind, &keys, &KeySource::of_keys(), 65_504, 1 << 20).unwrap();
        let storage = Arc::new(DiskFile::open(&path, true).unwrap());
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
        let source = ArchiveFile::new(storage, &directory, &path, &header, &keys).unwrap();
        let mut container = Container::create(source, header, false).unwrap();
        let locks = Locks::none(&path);
        container.commit(true, &locks).unwrap();
        (container, locks)
    }

    fn put(container: &mut Container, name: &str) -> Result<()> {
        let attributes = Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 };
        container.put_small(name, MemberType::File, 1, attributes, vec![1])
    }

    #[test]
    fn a_commit_drops_what_an_earlier_one_added_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let (mut container, locks) = container(&dir);
        put(&mut container, "a").unwrap();
        container.commit(false, &locks).unwrap();
        put(&mut container, "b").unwrap();
        container.flush_pending().unwrap();
        put(&mut container, "a").unwrap();
        put(&mut container, "b").unwrap();
        container.commit(false, &locks).unwrap();
        let commit = recovery::read_commit(&container.source, &container.committed()).unwrap();
        assert_eq!(commit.dropped, [1]);
        assert_eq!(commit.scrub.len(), 2, "the bytes of both die");
        assert_eq!(commit.blocks.len(), 1);
    }

    /// A hostile file may have packs that decode to far more than they take.
    #[test]
    fn opening_takes_no_pack_apart_that_is_larger_than_a_writer_makes_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut container, locks) = container(&dir);
        put(&mut container, "a").unwrap();
        container.commit(false, &locks).unwrap();
        assert!(container.erasable().is_empty());
        let set_tar = |container: &Container, tar: u32| {
            container.view.write().catalog.blocks.get_mut(&1).unwrap().tar = tar;
        };
        set_tar(&container, super::super::MOST_STALE);
        assert_eq!(container.erasable().into_iter().collect::<Vec<_>>(), [1]);
        set_tar(&container, super::super::MOST_STALE + 1);
        assert!(container.erasable().is_empty());
        // Without a live member nothing is decoded to erase it.
        container.view.write().catalog.remove("a");
        assert_eq!(container.erasable().into_iter().collect::<Vec<_>>(), [1]);
    }

    #[test]
    fn a_count_at_its_end_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let (mut container, locks) = container(&dir);
        let len = |container: &Container| container.source.storage.len().unwrap();
        let before = len(&container);
        container.view.write().catalog.next_version = MAX_COUNT;
        assert_eq!(put(&mut container, "a").unwrap_err().code(), Code::Limit);
        container.view.write().catalog.next_version = 0;
        container.view.write().catalog.next_block = MAX_COUNT;
        put(&mut container, "a").unwrap();
        let refused = container.commit(false, &locks).unwrap_err();
        assert_eq!((refused.code(), len(&container)), (Code::Limit, before));
        // The change is kept, and committed once the count allows it.
        container.view.write().catalog.next_block = MAX_COUNT - 1;
        container.view.write().catalog.dead = MAX_COUNT;
        container.commit(false, &locks).unwrap();
        let commit = recovery::read_commit(&container.source, &container.committed()).unwrap();
        assert_eq!((commit.next_block, commit.dead), (MAX_COUNT, MAX_COUNT));
    }

    #[test]
    fn a_commit_that_is_too_large_leaves_the_file_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (mut container, locks) = container(&dir);
        let len = container.source.storage.len().unwrap();
        // About 9 MB of names; the limit of a commit is 8 MiB here.
        let long = "long".repeat(900);
        for number in 0..2_500 {
            container.view.write().catalog.set(
                format!("{long}{number}").into(),
                Entry {
                    version: 0,
                    member_type: MemberType::File,
                    size: 0,
                    attributes: Attributes { mode: 0, mtime_s: 0, mtime_ns: 0 },
                    place: Place::Packed { block: 1, at: 0, stored: 0 },
                },
            );
        }
        // A snapshot, so that a copy of the header was written before the refusal.
        container.log.make_snapshot_due();
        let refused = container.commit(true, &locks).unwrap_err();
        assert_eq!(refused.code(), Code::Limit);
        assert_eq!(container.source.storage.len().unwrap(), len);
        container.ready().unwrap();
    }
}
