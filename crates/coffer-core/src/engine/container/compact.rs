//! Compaction: the live blocks in a new file, which takes the old one's place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Container;
use super::flush::Ancestry;
use super::pending::repacked;
use crate::engine::file::{self, ArchiveFile};
use crate::engine::pack_cache::PackCache;
use crate::engine::recovery;
use crate::engine::view::View;
use crate::error::{Code, Error, Result};
use crate::format::block::{Encoded, Layers};
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Piece, Place};
use crate::format::header::Header;
use crate::format::record::MetaSeal;
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;
use crate::io::storage::ReadAt;
use crate::progress::{CallObserver, Report};

/// PackCache with at least this much tar are copied as they are; smaller ones are merged.
const FULL_PACK: u32 = 128 << 10;
/// How many ancestors a compacted file remembers.
const HISTORY: usize = crate::format::commit::MAX_HISTORY;
/// A coffer is compacted at close only if its live part is smaller than this...
const SMALL_LIVE: u64 = 64 << 20;
/// ...and its dead part is larger than this, and than the live part.
const LARGE_DEAD: u64 = 64 << 10;

/// What becomes of blocks that are damaged when the live ones are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// They are copied as they stand, so that they stay damaged and are not taken for anything else.
    Kept,
    /// Nothing is copied: the old file may be all there is to save something from.
    Refused,
}

/// What a new file is sealed with, and says of itself.
pub(super) struct Form {
    pub(super) header: Header,
    pub(super) layers: Layers,
    pub(super) meta: MetaSeal,
}

impl Container {
    /// Whether compaction is worth its cost when the coffer closes.
    pub(crate) fn wants_compaction(&self) -> bool {
        let (live, dead) = (self.live_len(), self.dead_len());
        dead > live.max(LARGE_DEAD) && live <= SMALL_LIVE
    }

    /// Commits, and rewrites the coffer without its dead blocks into a new file at `path`, which
    /// replaces what is there.
    pub(crate) fn compact(
        &mut self,
        path: &Path,
        locks: &Locks,
        damaged: Damaged,
        watch: &CallObserver,
    ) -> Result<()> {
        self.commit(false, locks)?;
        let ancestry = self.ancestry()?;
        let old = self.source.storage.clone();
        self.move_to(path, &*old, locks, ancestry, damaged, watch)
    }

    /// Copies everything that is live into a new file at `path`, and goes on there.
    ///
    /// `old` is the file that is replaced.
    pub(crate) fn move_to(
        &mut self,
        path: &Path,
        old: &dyn ReadAt,
        locks: &Locks,
        ancestry: Ancestry,
        damaged: Damaged,
        watch: &CallObserver,
    ) -> Result<()> {
        let form = Form {
            header: self.header.clone(),
            layers: self.source.layers.clone(),
            meta: self.source.meta.clone(),
        };
        self.replace(path, old, locks, ancestry, form, |new, old| {
            new.copy_live(old, damaged, watch)
        })
    }

    /// Has a new file filled, puts it in the place of `old`, and goes on there.
    pub(super) fn replace(
        &mut self,
        path: &Path,
        old: &dyn ReadAt,
        locks: &Locks,
        ancestry: Ancestry,
        form: Form,
        fill: impl FnOnce(&mut Self, &Self) -> Result<()>,
    ) -> Result<()> {
        let failed = |e: &std::io::Error| Error::io("rename", path, e);
        let directory = self.source.directory.clone();
        let file = NewFile::create(&directory, path).map_err(|e| Error::io("open", path, &e))?;
        file.permit_as(old).map_err(|e| Error::io("fchmod", path, &e))?;
        let source = ArchiveFile {
            storage: file.storage(),
            known_len: Default::default(),
            directory: directory.clone(),
            path: path.to_path_buf(),
            layers: form.layers,
            meta: form.meta,
            archive: form.header.archive,
            max_catalog: self.source.max_catalog,
            packs: PackCache::new(),
        };
        let mut copy = Self::create(source, form.header, self.durable)?;
        fill(&mut copy, self)?;
        copy.flush_pending()?;
        copy.write_commit(Vec::new(), ancestry)?;
        copy.sync()?;
        locks.take(&*copy.source.storage)?;
        locks.check(old)?;
        let names = file.publish(true).map_err(|e| failed(&e))?;
        let named = names.sync();

        // Readers in this process change over to the new file and its catalog in one step.
        let source = copy.source.clone();
        let catalog = std::mem::take(&mut copy.view.write().catalog);
        *self.view.write() = View { catalog, source, header: Some(copy.header.clone()) };
        copy.view = self.view.clone();
        copy.locks = self.locks.take();
        *self = copy;
        if let Err(e) = named {
            // The new name may not survive a power failure, and the old file is gone.
            let error = Error::io("fsync", path, &e);
            self.poison(&error);
            return Err(error);
        }
        Ok(())
    }

    fn copy_live(&mut self, from: &Self, damaged: Damaged, watch: &CallObserver) -> Result<()> {
        let (members, old): (Vec<(Arc<str>, Entry)>, Catalog) = {
            let view = from.view.read();
            (
                view.catalog.iter().map(|(n, e)| (n.clone(), e.clone())).collect(),
                view.catalog.clone(),
            )
        };
        let mut packs: BTreeMap<BlockId, Vec<(Arc<str>, Entry)>> = BTreeMap::new();
        let mut large = Vec::new();
        for (name, entry) in members {
            match entry.place {
                Place::Packed { block, .. } => packs.entry(block).or_default().push((name, entry)),
                Place::Pieces { .. } => large.push((name, entry)),
                Place::Memory(_) => return Err(Error::corrupt("a member was left behind")),
            }
        }
        let mut report = Report::default();
        let mut done = |name: &Arc<str>, size: u64| {
            report.bytes += size;
            report.members += 1;
            report.name = Some(name.to_string());
            watch.report(|| report.clone());
            watch.cancel.check()
        };
        for (id, members) in packs {
            let block = old.block(id)?;
            let copied = block.tar >= FULL_PACK && is_filled(block, &members)?;
            let tar =
                if copied { None } else { from.source.intact(|source| source.block(block))? };
            if let Some(tar) = tar {
                for (name, entry) in members {
                    done(&name, entry.size)?;
                    let Place::Packed { at, stored, .. } = entry.place else { continue };
                    self.make_room(stored as usize)?;
                    let stored = Arc::new(from.source.slice(&tar, block, at, stored)?.to_vec());
                    let pending = repacked(name.clone(), &entry, stored.clone());
                    self.set(name, Entry { place: Place::Memory(stored), ..entry });
                    self.push(pending);
                }
            } else {
                let block = self.copy_block(from, block, damaged)?;
                for (name, entry) in members {
                    done(&name, entry.size)?;
                    let Place::Packed { at, stored, .. } = entry.place else { continue };
                    self.set(name, Entry { place: Place::Packed { block, at, stored }, ..entry });
                }
            }
        }
        self.flush_pending()?;
        for (name, entry) in large {
            let Place::Pieces { header, pieces } = &entry.place else { continue };
            let header = self.copy_block(from, old.block(*header)?, damaged)?;
            let mut moved = Vec::with_capacity(pieces.len());
            for piece in pieces.iter() {
                moved.push(Piece {
                    block: self.copy_block(from, old.block(piece.block)?, damaged)?,
                    ..*piece
                });
                watch.cancel.check()?;
            }
            done(&name, entry.size)?;
            self.set(
                name,
                Entry { place: Place::Pieces { header, pieces: Arc::new(moved) }, ..entry },
            );
        }
        self.view.write().catalog.next_version = old.next_version;
        Ok(())
    }

    fn copy_block(&mut self, from: &Self, block: &Block, damaged: Damaged) -> Result<BlockId> {
        let bytes = match from.source.intact(|source| source.sealed_block(block))? {
            Some(bytes) => bytes,
            None if damaged == Damaged::Kept => from.source.remains(block)?,
            None => return Err(Error::corrupt("a block is damaged")),
        };
        self.append_block(&Encoded {
            bytes,
            frame: block.frame,
            tar: block.tar,
            digest: block.digest,
        })
    }

    /// What a compacted file says of the commits it no longer holds.
    pub(super) fn ancestry(&self) -> Result<Ancestry> {
        let mut history: Vec<(u64, Digest)> = Vec::new();
        let mut at = self.committed;
        loop {
            history.push((at.generation, at.digest));
            let commit = match self.source.intact(|source| recovery::read_commit(source, &at)) {
                Ok(Some(commit)) => commit,
                Err(e) if e.code() == Code::Io => return Err(e),
                // History that is damaged is history that is not remembered.
                Ok(None) | Err(_) => break,
            };
            match commit.previous {
                Some(previous) if previous.len > 0 && history.len() < HISTORY => at = previous,
                _ => {
                    history.extend(commit.history.iter().rev());
                    break;
                }
            }
        }
        history.truncate(HISTORY);
        history.reverse();
        history.dedup();
        let previous = crate::format::commit::Position { offset: 0, len: 0, ..self.committed };
        Ok(Ancestry { previous: Some(previous), history })
    }
}

/// Whether a pack holds nothing but these members: one that could not be read at a flush still has
/// those that were deleted then.
fn is_filled(block: &Block, members: &[(Arc<str>, Entry)]) -> Result<bool> {
    let mut len = 0;
    for (name, entry) in members {
        len += file::entry_len(name, entry)?;
    }
    Ok(len == u64::from(block.tar))
}
