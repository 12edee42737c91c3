//! Compaction: the live blocks are copied into a new file, which replaces the old one.

use std::path::Path;
use std::sync::Arc;

use super::Container;
use super::commit::Ancestry;
use super::pending::repacked;
use super::put::SPLIT_PACK;
use crate::engine::file::ArchiveFile;
use crate::engine::grouping::Grouped;
use crate::engine::pack_cache::PackCache;
use crate::engine::recovery;
use crate::engine::view::View;
use crate::error::{Code, Error, Result};
use crate::format::block::{Encoded, Layers};
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Piece, Place};
use crate::format::commit::{MAX_HISTORY, Position};
use crate::format::header::Header;
use crate::format::record::MetaSeal;
use crate::format::tar;
use crate::io::lock_set::Locks;
use crate::io::new_file::{NewFile, PublishError};
use crate::io::storage::{ReadAt, WriteAt};
use crate::progress::{CallObserver, Report};

/// The most bytes of live blocks that a coffer is compacted with when it closes.
const SMALL_LIVE: u64 = 64 << 20;
/// The bytes of dead blocks above which a coffer is compacted when it closes, if they also exceed the
/// live ones.
const LARGE_DEAD: u64 = 64 << 10;

/// The treatment of damaged blocks when live ones are copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damaged {
    /// They are copied byte for byte, and stay damaged under the digest that they had.
    Kept,
    /// The copy fails: the old file may be the only one left to salvage from.
    Refused,
}

/// The header of a new file, and the layers and keys that it is sealed with.
pub(super) struct Form {
    pub(super) header: Header,
    pub(super) layers: Layers,
    pub(super) meta: MetaSeal,
}

/// A new file that is to replace that of a coffer, and the container in it.
pub(super) struct Copy {
    file: NewFile,
    pub(super) container: Container,
}

/// The progress of a copy, reported after each member.
pub(super) struct Progress<'a> {
    pub(super) watch: &'a CallObserver,
    pub(super) report: Report,
}

impl<'a> Progress<'a> {
    /// Progress that is not reported.
    pub(super) fn silent(watch: &'a CallObserver) -> Self {
        Self { watch, report: Report::default() }
    }

    /// Counts a member, unless the caller has cancelled the call.
    pub(super) fn done(&mut self, name: &str, entry: &Entry) -> Result<()> {
        self.report.bytes += entry.size;
        self.report.members += 1;
        self.report.name = Some(name.to_owned());
        self.watch.report(|| self.report.clone());
        self.watch.cancel.check()
    }
}

impl Container {
    /// Whether compaction is worth its cost when the coffer closes: see [`LARGE_DEAD`].
    pub(crate) fn wants_compaction(&self) -> bool {
        let (live, dead) = (self.live_len(), self.dead_len());
        dead > live.max(LARGE_DEAD) && live <= SMALL_LIVE
    }

    /// Commits, and copies the coffer without its dead blocks into a new file at `path`, which replaces
    /// the file there.
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

    /// Copies everything that is live into a new file at `path`, which replaces `old`, and continues
    /// in it.
    pub(crate) fn move_to(
        &mut self,
        path: &Path,
        old: &dyn ReadAt,
        locks: &Locks,
        ancestry: Ancestry,
        damaged: Damaged,
        watch: &CallObserver,
    ) -> Result<()> {
        self.replace(path, old, locks, ancestry, self.form(), |new, old| {
            new.copy_live(old, damaged, watch)
        })
    }

    /// The form of a file with the same header and keys.
    pub(super) fn form(&self) -> Form {
        Form {
            header: self.header.clone(),
            layers: self.source.layers.clone(),
            meta: self.source.meta.clone(),
        }
    }

    /// Has `fill` copy the members into a new file at `path`, commits there, puts the file in the place
    /// of `old`, and continues in it.
    pub(super) fn replace(
        &mut self,
        path: &Path,
        old: &dyn ReadAt,
        locks: &Locks,
        ancestry: Ancestry,
        form: Form,
        fill: impl FnOnce(&mut Self, &Self) -> Result<()>,
    ) -> Result<()> {
        let mut new = self.new_copy(path, old, form)?;
        fill(&mut new.container, self)?;
        new.container.flush_pending()?;
        self.put_in_place(new, path, old, locks, ancestry)
    }

    /// A new file beside `path`, with the permissions of `old`, and the empty container in it.
    pub(super) fn new_copy(&self, path: &Path, old: &dyn ReadAt, form: Form) -> Result<Copy> {
        let file = NewFile::create(&self.source.directory, path)
            .map_err(|e| Error::io("open", path, &e))?;
        file.permit_as(old).map_err(|e| Error::io("fchmod", path, &e))?;
        let container = self.empty_copy(file.storage(), path, form)?;
        Ok(Copy { file, container })
    }

    /// Commits what was copied, erases what died in the new file meanwhile, puts it in the place of
    /// `old`, and continues in it.
    pub(super) fn put_in_place(
        &mut self,
        new: Copy,
        path: &Path,
        old: &dyn ReadAt,
        locks: &Locks,
        ancestry: Ancestry,
    ) -> Result<()> {
        let Copy { file, container: mut copy } = new;
        let (scrub, mut ancestors) = (copy.dead_blocks(), ancestry.history.clone());
        copy.write_commit(scrub.clone(), ancestry)?;
        copy.log.sync()?;
        if !scrub.is_empty() {
            copy.log.scrub(&scrub)?;
        }
        let committed = copy.committed();
        ancestors.push((committed.generation, committed.digest));
        copy.ancestors = Some(ancestors);
        locks.take(&*copy.source.storage)?;
        locks.check(old)?;
        let published = file.publish(true);
        if let Err(e @ PublishError::Unnamed(_)) = &published {
            return Err(e.at(path));
        }
        self.change_over(copy);
        if let Err(e) = published {
            // The new name may not survive a power failure, and the old file is gone.
            let error = e.at(path);
            self.poison(&error);
            return Err(error);
        }
        Ok(())
    }

    /// A container in an empty file that will be at `path`.
    fn empty_copy(&self, storage: Arc<dyn WriteAt>, path: &Path, form: Form) -> Result<Self> {
        let source = ArchiveFile {
            storage,
            known_len: Default::default(),
            directory: self.source.directory.clone(),
            path: path.to_path_buf(),
            layers: form.layers,
            meta: form.meta,
            archive: form.header.archive,
            max_catalog: self.source.max_catalog,
            packs: PackCache::new(),
        };
        Self::create(source, form.header, self.log.is_durable())
    }

    /// Continues in `copy`. Readers in this process change over to its file and its catalog in one
    /// step.
    fn change_over(&mut self, mut copy: Self) {
        let source = copy.source.clone();
        let catalog = std::mem::take(&mut copy.view.write().catalog);
        *self.view.write() = View { catalog, source, header: Some(copy.header.clone()) };
        copy.view = self.view.clone();
        copy.log.set_locks(self.log.take_locks());
        *self = copy;
    }

    fn copy_live(&mut self, from: &Self, damaged: Damaged, watch: &CallObserver) -> Result<()> {
        let old: Catalog = from.view.read().catalog.clone();
        let members = Grouped::in_file(old.iter())?;
        let mut progress = Progress { watch, report: Report::default() };
        for (id, members) in &members.packs {
            self.copy_pack(&from.source, old.block(*id)?, members, damaged, &mut progress)?;
        }
        self.flush_pending()?;
        for (name, entry) in members.large {
            let place = self.copy_pieces(&from.source, &old, &entry, damaged, watch)?;
            progress.done(name, &entry)?;
            self.set(name.into(), Entry { place, ..entry });
        }
        self.view.write().catalog.next_version = old.next_version;
        Ok(())
    }

    /// Copies the members of a pack: within its block, if they fill it or it cannot be read, or else
    /// into new packs.
    fn copy_pack(
        &mut self,
        from: &ArchiveFile,
        block: &Block,
        members: &[(&str, Entry)],
        damaged: Damaged,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        self.copy_pack_into(self.pack_size(), from, block, members, damaged, progress)
    }

    /// As [`Self::copy_pack`], into small packs: those of members that change would only be taken apart
    /// again. A damaged one is an error.
    pub(super) fn copy_small_pack(
        &mut self,
        from: &ArchiveFile,
        block: &Block,
        members: &[(&str, Entry)],
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        self.copy_pack_into(SPLIT_PACK, from, block, members, Damaged::Refused, progress)
    }

    fn copy_pack_into(
        &mut self,
        size: usize,
        from: &ArchiveFile,
        block: &Block,
        members: &[(&str, Entry)],
        damaged: Damaged,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        // Smaller packs are merged.
        let copied = block.tar as usize >= size / 2 && is_filled(block, members);
        let tar = if copied { None } else { from.intact(|file| file.block(block))? };
        let Some(tar) = tar else {
            let block = self.copy_block(from, block, damaged)?;
            for (name, entry) in members {
                progress.done(name, entry)?;
                let Place::Packed { at, stored, .. } = entry.place else { continue };
                let place = Place::Packed { block, at, stored };
                self.set((*name).into(), Entry { place, ..entry.clone() });
            }
            return Ok(());
        };
        for (name, entry) in members {
            progress.done(name, entry)?;
            let Place::Packed { at, stored, .. } = entry.place else { continue };
            self.make_room_within(size, stored as usize)?;
            let stored = Arc::new(from.slice(&tar, block, at, stored)?.to_vec());
            self.put_repacked(name, entry, stored);
        }
        Ok(())
    }

    /// Copies the blocks of a large member, and gives its place.
    fn copy_pieces(
        &mut self,
        from: &ArchiveFile,
        old: &Catalog,
        entry: &Entry,
        damaged: Damaged,
        watch: &CallObserver,
    ) -> Result<Place> {
        let Place::Pieces { header, pieces } = &entry.place else {
            return Err(Error::corrupt("a large member has no pieces"));
        };
        let header = self.copy_block(from, old.block(*header)?, damaged)?;
        let mut copied = Vec::with_capacity(pieces.len());
        for piece in pieces.iter() {
            let block = self.copy_block(from, old.block(piece.block)?, damaged)?;
            copied.push(Piece { block, ..*piece });
            watch.cancel.check()?;
        }
        Ok(Place::Pieces { header, pieces: Arc::new(copied) })
    }

    pub(super) fn copy_block(
        &mut self,
        from: &ArchiveFile,
        block: &Block,
        damaged: Damaged,
    ) -> Result<BlockId> {
        let bytes = match from.intact(|file| file.sealed_block(block))? {
            Some(bytes) => bytes,
            None if damaged == Damaged::Kept => from.remains(block)?,
            None => return Err(Error::corrupt("a block is damaged")),
        };
        self.append_block(&Encoded {
            bytes,
            frame: block.frame,
            tar: block.tar,
            digest: block.digest,
        })
    }

    /// Puts a member of another file into the pack that is being filled, for which there must be room.
    pub(super) fn put_repacked(&mut self, name: &str, entry: &Entry, stored: Arc<Vec<u8>>) {
        let name: Arc<str> = name.into();
        let pending = repacked(name.clone(), entry, stored.clone());
        self.set(name, Entry { place: Place::Memory(stored), ..entry.clone() });
        self.push(pending);
    }

    /// The commits that a compacted file remembers without holding them: the last
    /// [`MAX_HISTORY`], as far as they can be read.
    pub(super) fn ancestry(&mut self) -> Result<Ancestry> {
        let history = match self.ancestors.take() {
            Some(known) => known,
            None => self.read_ancestors()?,
        };
        self.ancestors = Some(history.clone());
        let previous = Position { offset: 0, len: 0, ..self.committed() };
        Ok(Ancestry { previous: Some(previous), history })
    }

    fn read_ancestors(&self) -> Result<Vec<(u64, Digest)>> {
        let mut history: Vec<(u64, Digest)> = Vec::new();
        let mut at = self.committed();
        loop {
            history.push((at.generation, at.digest));
            let commit = match self.source.intact(|source| recovery::read_commit(source, &at)) {
                Ok(Some(commit)) => commit,
                Err(e) if e.code() == Code::Io => return Err(e),
                // Damaged commits end the history; they do not prevent compaction.
                Ok(None) | Err(_) => break,
            };
            match commit.previous {
                Some(previous) if previous.len > 0 && history.len() < MAX_HISTORY => at = previous,
                _ => {
                    history.extend(commit.history.iter().rev());
                    break;
                }
            }
        }
        history.truncate(MAX_HISTORY);
        history.reverse();
        history.dedup();
        Ok(history)
    }
}

/// Whether these members are all that a pack holds. A pack that could not be read at a flush still
/// holds the members that were deleted then.
fn is_filled(block: &Block, members: &[(&str, Entry)]) -> bool {
    let mut len = 0;
    for (name, entry) in members {
        len += tar::entry_len(name, entry.member_type, entry.stored());
    }
    len == u64::from(block.tar)
}
