//! Making changes part of the coffer: commit, then overwrite what died.

use std::sync::Arc;

use super::Container;
use super::changes::Changes;
use super::pending::repacked;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Digest, Entry, MAX_COUNT, Place};
use crate::format::commit::{Commit, Position, UnsyncedPrefix};
use crate::format::footer::Footer;
use crate::io::lock_set::Locks;

/// A snapshot replaces deltas once these outweigh it, but not before they have this many bytes.
const MIN_DELTAS: u64 = if cfg!(any(test, feature = "fuzzing")) { 2 << 10 } else { 64 << 10 };

/// What comes before a compacted file's first commit.
#[derive(Default)]
pub(crate) struct Ancestry {
    pub(super) previous: Option<Position>,
    pub(super) history: Vec<(u64, Digest)>,
}

impl Container {
    /// Commits what has changed; with `force` even if nothing has. The locks must still hold.
    ///
    /// When this returns, the changes are durable and what they replaced is gone.
    pub(crate) fn commit(&mut self, force: bool, locks: &Locks) -> Result<()> {
        self.ready()?;
        if !force && !self.modified() {
            return Ok(());
        }
        if let Err(e) = locks.check(&*self.source.storage) {
            return Err(self.poison(&e));
        }
        self.gather()?;
        let scrub: Vec<Block> = {
            let view = self.view.read();
            self.changes
                .doomed
                .iter()
                .filter_map(|id| view.catalog.blocks.get(id).cloned())
                .collect()
        };
        self.write_commit(scrub.clone(), Ancestry::default())?;
        if !scrub.is_empty() {
            self.scrub(&scrub)?;
        }
        Ok(())
    }

    /// Brings every live member into a block that is live throughout.
    pub(crate) fn gather(&mut self) -> Result<()> {
        self.flush_pending()?;
        self.repack()
    }

    /// Moves the members that share a pack with dead ones into new packs. A pack that cannot be
    /// read stays as it is while a member is in it: that member is damaged, and the others go on.
    fn repack(&mut self) -> Result<()> {
        let dirty = self.take_dirty();
        for id in &dirty {
            let block = {
                let view = self.view.read();
                let live = view.catalog.live_in_pack(*id);
                view.catalog.blocks.get(id).cloned().map(|b| (b, live))
            };
            let Some((block, live)) = block else { continue };
            let moved = if live.is_empty() { Ok(true) } else { self.unpack(&block, live) };
            match moved {
                Ok(true) => self.doom(*id),
                Ok(false) => {}
                Err(e) => {
                    dirty.iter().for_each(|id| self.soil(*id));
                    return Err(e);
                }
            }
        }
        self.flush_pending()
    }

    /// Takes members out of a pack, into the one that is being filled. `false` if the pack cannot be
    /// read, and nothing is moved.
    fn unpack(&mut self, block: &Block, names: Vec<Arc<str>>) -> Result<bool> {
        let Some(tar) = self.source.intact(|source| source.block(block))? else {
            return Ok(false);
        };
        for name in names {
            let Some(entry) = self.view.read().catalog.get(&name).cloned() else { continue };
            let Place::Packed { at, stored, .. } = entry.place else { continue };
            self.make_room(stored as usize)?;
            let stored = Arc::new(self.source.slice(&tar, block, at, stored)?.to_vec());
            let pending = repacked(name.clone(), &entry, stored.clone());
            let moved = Entry { place: Place::Memory(stored), ..entry };
            let old = self.view.write().catalog.set(name.clone(), moved);
            self.record(name, old);
            self.push(pending);
        }
        Ok(true)
    }

    /// Writes a commit and its footer at the tail.
    pub(super) fn write_commit(&mut self, scrub: Vec<Block>, ancestry: Ancestry) -> Result<()> {
        let container = self.source.layers.container.clone();
        let container = container.as_deref();
        let mut snapshot = self.committed.generation == 0
            || self.since_snapshot > self.snapshot_len.max(MIN_DELTAS);
        if ancestry.previous.is_some() {
            snapshot = true;
        }
        let mut bytes = Vec::new();
        let tail = self.tail;
        let mut header_copy = self.header_copy;
        let mut superseded = self.footers();
        if snapshot {
            // Before the first sync: a commit that is whole must not stand behind a torn copy.
            header_copy = self.tail;
            self.header.write(container, &self.source.meta, &mut bytes);
            self.append(&bytes).inspect_err(|_| self.cut())?;
            superseded += self.since_snapshot + self.snapshot_len;
            if self.header_copy > 0 {
                superseded += bytes.len() as u64;
            }
            bytes.clear();
        }
        // A scrub must not come before what it follows is on the disk.
        let durable = self.durable || !scrub.is_empty();
        let mut ahead = None;
        if durable && self.unsynced {
            ahead = self.ahead().filter(|_| scrub.is_empty());
            if ahead.is_none() {
                self.sync()?;
            }
        }
        let offset = self.tail;
        let mut commit = self.next_commit(snapshot, header_copy, scrub, ancestry, superseded)?;
        commit.ahead = ahead;
        let written = crate::format::commit_parts::write(
            &commit,
            container,
            &self.source.meta,
            offset,
            &mut bytes,
        );
        let digest = written.inspect_err(|_| {
            self.tail = tail;
            self.cut();
        })?;
        let position = Position {
            generation: commit.generation,
            offset,
            len: self.tail + bytes.len() as u64 - offset,
            digest,
        };
        let footer = Footer {
            archive: self.header.archive,
            commit: position,
            header_copy,
            durable: commit.scrub.is_empty() && ahead.is_none(),
        };
        footer.write(container, &self.source.meta, position.end(), &mut bytes);

        self.append(&bytes).inspect_err(|_| self.cut())?;
        if durable {
            self.sync()?;
        }
        self.end = self.tail;
        self.last_footer = self.tail;
        self.header_copy = header_copy;
        self.committed = position;
        self.footer_durable = footer.durable;
        if snapshot {
            self.since_snapshot = 0;
            self.snapshot_len = position.len;
        } else {
            self.since_snapshot += position.len;
        }
        let changes = std::mem::take(&mut self.changes);
        let mut view = self.view.write();
        view.catalog.dead = commit.dead;
        for id in changes.doomed {
            view.catalog.drop_block(id);
        }
        Ok(())
    }

    fn next_commit(
        &self,
        snapshot: bool,
        header_copy: u64,
        scrub: Vec<Block>,
        ancestry: Ancestry,
        superseded: u64,
    ) -> Result<Commit> {
        let view = self.view.read();
        let catalog = &view.catalog;
        let Changes { touched, added, doomed, .. } = &self.changes;
        let previous =
            ancestry.previous.or_else(|| (self.committed.generation > 0).then_some(self.committed));
        let generation = previous
            .map_or(Some(1), |p| p.generation.checked_add(1))
            .ok_or_else(|| Error::new(Code::Limit, "the coffer cannot have another commit"))?;
        let mut commit = Commit {
            archive: self.header.archive,
            generation,
            header: self.header.marks,
            header_copy,
            previous,
            snapshot,
            next_block: catalog.next_block,
            next_version: catalog.next_version,
            dead: (catalog.dead + superseded + scrub.iter().map(|b| u64::from(b.len)).sum::<u64>())
                .min(MAX_COUNT),
            dropped: Vec::new(),
            blocks: Vec::new(),
            removed: Vec::new(),
            set: Vec::new(),
            scrub,
            history: ancestry.history,
            ahead: None,
            raw_len: 0,
            well_cut: true,
        };
        if snapshot {
            let live = catalog.blocks.iter().filter(|(id, _)| !doomed.contains(id));
            commit.blocks = live.map(|(id, block)| (*id, block.clone())).collect();
            commit.set =
                catalog.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect();
        } else {
            // What was added since the last commit is in none.
            let committed = |id: &&BlockId| added.binary_search(id).is_err();
            commit.dropped = doomed.iter().filter(committed).copied().collect();
            let live = added.iter().filter(|id| !doomed.contains(id));
            commit.blocks = live
                .filter_map(|id| catalog.blocks.get(id).map(|block| (*id, block.clone())))
                .collect();
            for name in touched {
                match catalog.get(name) {
                    Some(entry) => commit.set.push((name.clone(), entry.clone())),
                    None => commit.removed.push(name.clone()),
                }
            }
        }
        Ok(commit)
    }

    /// Overwrites dead blocks, durably, and notes in a footer, if it can, that it is done.
    pub(super) fn scrub(&mut self, blocks: &[Block]) -> Result<()> {
        let mut overwrite = || -> Result<()> {
            for block in blocks {
                // A block that a crash left behind the end of the file is gone already.
                if block.end() <= self.tail {
                    super::write(&self.source, &self.source.layers.dead(block)?, block.offset)?;
                }
            }
            self.sync()
        };
        let overwritten = overwrite();
        self.source.packs.forget(blocks.iter().map(|block| &block.digest));
        overwritten.inspect_err(|e| {
            self.poison(e);
        })?;
        // All that was promised is done. Without the note, for which there may be no room on the
        // disk, the next writer overwrites the same blocks again.
        if let Err(e) = self.append_footer(true) {
            self.cut();
            return self.ready().map_err(|_| e);
        }
        self.end = self.tail;
        self.footer_durable = true;
        Ok(())
    }

    /// The bytes of the footers behind the last commit: what stands there and is no block. The next
    /// commit leaves them dead.
    fn footers(&self) -> u64 {
        if self.committed.generation == 0 {
            return 0;
        }
        let view = self.view.read();
        let added = self.changes.added.iter().filter_map(|id| view.catalog.blocks.get(id));
        let added: u64 = added.map(|block| u64::from(block.len)).sum();
        self.tail.saturating_sub(self.committed.end() + added)
    }

    /// What has been written at the tail and not been synced, if that is little enough to share the
    /// sync of the commit behind it, and if there is a commit to go back to.
    fn ahead(&self) -> Option<UnsyncedPrefix> {
        let written = self.ahead.as_ref().filter(|_| self.committed.generation > 0)?;
        Some(UnsyncedPrefix { len: written.count(), digest: *written.finalize().as_bytes() })
    }

    /// Notes, once its sync has returned, that the last commit is durable. Without the note damage to
    /// it could pass for a crash.
    pub(crate) fn note_durable(&mut self, locks: &Locks) {
        let unable = self.poisoned.is_some() || self.tail != self.end;
        if self.footer_durable || unable || locks.check(&*self.source.storage).is_err() {
            return;
        }
        match self.append_footer(true) {
            Ok(()) => (self.end, self.footer_durable) = (self.tail, true),
            Err(_) => self.cut(),
        }
    }

    /// What the live part of the file takes, in bytes.
    pub(super) fn live_len(&self) -> u64 {
        let view = self.view.read();
        view.catalog.blocks.values().map(|b| u64::from(b.len)).sum::<u64>() + self.snapshot_len
    }

    /// What the dead part of the file takes, in bytes.
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
    use crate::format::header::Header;
    use crate::format::key_source::KeySource;
    use crate::format::keys::Keys;
    use crate::format::kind::Kind;
    use crate::format::member::Attributes;
    use crate::format::member::MemberType;
    use crate::io::disk::{DiskFile, DiskNamespace};
    use crate::io::storage::Namespace;

    /// A Null in a directory of its own, with one commit.
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
        // Nothing is lost: as soon as it can be, it is committed.
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
        // 8 MiB are the most here.
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
        // A snapshot, before which the header is copied.
        container.since_snapshot = u64::MAX >> 1;
        container.snapshot_len = 0;
        let refused = container.commit(true, &locks).unwrap_err();
        assert_eq!(refused.code(), Code::Limit);
        assert_eq!(container.source.storage.len().unwrap(), len);
        container.ready().unwrap();
    }
}
