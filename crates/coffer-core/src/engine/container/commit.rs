//! Commits: which changes, blocks and dead blocks each of them lists.

use std::sync::Arc;

use super::Container;
use super::changes::Changes;
use super::pending::repacked;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Place};
use crate::format::commit::{Commit, Position};
use crate::format::members::MemberRows;
use crate::io::lock_set::Locks;

/// The commits that came before the first commit of a compacted file.
#[derive(Default)]
pub(crate) struct Ancestry {
    pub(super) previous: Option<Position>,
    pub(super) history: Vec<(u64, Digest)>,
}

impl Container {
    /// Commits the changes; with `force` also if there are none. The locks must still hold.
    ///
    /// When this returns, the changes are durable and the bytes that they replaced are overwritten.
    pub(crate) fn commit(&mut self, force: bool, locks: &Locks) -> Result<()> {
        self.ready()?;
        if !force && !self.modified() {
            return Ok(());
        }
        self.log.check(locks)?;
        self.gather()?;
        let scrub = self.dead_blocks();
        self.write_commit(scrub.clone(), Ancestry::default())?;
        if scrub.is_empty() { Ok(()) } else { self.log.scrub(&scrub) }
    }

    fn dead_blocks(&self) -> Vec<Block> {
        let view = self.view.read();
        let dead = self.changes.dead.iter();
        dead.filter_map(|id| view.catalog.blocks.get(id).cloned()).collect()
    }

    /// Moves every live member into a block that is live throughout.
    pub(crate) fn gather(&mut self) -> Result<()> {
        self.flush_pending()?;
        self.repack()
    }

    /// Moves the live members of dirty packs into new packs. A pack that cannot be read is left as it
    /// is while it has live members: those are damaged, and all others are still committed.
    fn repack(&mut self) -> Result<()> {
        let dirty = self.take_dirty();
        for id in &dirty {
            match self.empty_pack(*id) {
                Ok(true) => self.mark_dead(*id),
                Ok(false) => {}
                Err(e) => {
                    dirty.iter().for_each(|id| self.mark_dirty(*id));
                    return Err(e);
                }
            }
        }
        self.flush_pending()
    }

    /// Moves the live members of a pack into the one that is being filled. `false` if the pack cannot
    /// be read or is not there: then nothing is moved.
    fn empty_pack(&mut self, id: BlockId) -> Result<bool> {
        let (block, live) = {
            let view = self.view.read();
            let Some(block) = view.catalog.blocks.get(&id).cloned() else { return Ok(false) };
            (block, view.catalog.live_in_pack(id))
        };
        if live.is_empty() {
            return Ok(true);
        }
        let Some(tar) = self.source.intact(|source| source.block(&block))? else {
            return Ok(false);
        };
        for name in live {
            let Some(entry) = self.view.read().catalog.get(&name) else { continue };
            let Place::Packed { at, stored, .. } = entry.place else { continue };
            self.make_room(stored as usize)?;
            let stored = Arc::new(self.source.slice(&tar, &block, at, stored)?.to_vec());
            let pending = repacked(name.clone(), &entry, stored.clone());
            let moved = Entry { place: Place::Memory(stored), ..entry };
            let old = self.view.write().catalog.set(name.clone(), moved);
            self.record(name, old);
            self.push(pending);
        }
        Ok(true)
    }

    /// Writes a commit of all changes, and begins to collect those of the next.
    pub(super) fn write_commit(&mut self, scrub: Vec<Block>, ancestry: Ancestry) -> Result<()> {
        let mut commit = self.next_commit(scrub, ancestry)?;
        self.log.commit(&self.header, self.added_len(), &mut commit)?;
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
