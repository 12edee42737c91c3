//! Rekeying: the live members are opened with the old keys and sealed with new ones, into a new file
//! that replaces the old one.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Container;
use super::commit::Ancestry;
use super::compact::{Form, Progress};
use super::put::{Part, Raw};
use crate::engine::credentials::NewCredentials;
use crate::engine::file::ArchiveFile;
use crate::engine::grouping::Grouped;
use crate::error::{Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Entry, Place};
use crate::io::lock_set::Locks;
use crate::io::pool;
use crate::io::storage::ReadAt;
use crate::progress::{CallObserver, Report};

/// A member with its name, as the old catalog has it.
type Member<'a> = (&'a str, Entry);

impl Container {
    /// Commits, and rewrites the coffer under new keys into a new file at `path`, which replaces the
    /// file there.
    pub(crate) fn rekey(
        &mut self,
        path: &Path,
        to: &NewCredentials,
        locks: &Locks,
        watch: &CallObserver,
    ) -> Result<()> {
        let form = self.rekeyed(to, watch)?;
        self.commit(false, locks)?;
        let ancestry = self.ancestry()?;
        let old = self.source.storage.clone();
        self.replace(path, &*old, locks, ancestry, form, |new, old| new.transcode_live(old, watch))
    }

    /// As [`Self::rekey`], for a legacy coffer that has not been converted yet: `old` is its file.
    pub(crate) fn rekey_legacy(
        &mut self,
        path: &Path,
        old: &dyn ReadAt,
        to: &NewCredentials,
        locks: &Locks,
        watch: &CallObserver,
    ) -> Result<()> {
        let form = self.rekeyed(to, watch)?;
        self.gather()?;
        let ancestry = Ancestry::default();
        self.replace(path, old, locks, ancestry, form, |new, old| new.transcode_live(old, watch))
    }

    /// The header and layers of the file under new keys.
    fn rekeyed(&self, to: &NewCredentials, watch: &CallObserver) -> Result<Form> {
        let (header, keys) = to.header(&self.header, &watch.cancel)?;
        let mut layers = header.layers(&keys)?;
        // The caller may have chosen other levels at opening than the header records.
        layers.member_level = self.source.layers.member_level;
        layers.container_level = self.source.layers.container_level;
        Ok(Form { meta: keys.meta(&header.kind), layers, header })
    }

    fn transcode_live(&mut self, from: &Self, watch: &CallObserver) -> Result<()> {
        let old: Catalog = from.view.read().catalog.clone();
        let members = Grouped::in_file(old.iter())?;
        let total_bytes = Some(old.iter().map(|(_, entry)| entry.size).sum());
        let mut progress = Progress { watch, report: Report { total_bytes, ..Report::default() } };
        self.transcode_packs(&from.source, &old, members.packs, &mut progress)?;
        self.flush_pending()?;
        for (name, entry) in members.large {
            let place = self
                .transcode_pieces(&from.source, &old, name, &entry, watch)
                .map_err(|e| e.of_member(name))?;
            progress.done(name, &entry)?;
            self.set(name.into(), Entry { place, ..entry });
        }
        self.view.write().catalog.next_version = old.next_version;
        // The last chance to cancel: the new file is published next.
        watch.cancel.check()
    }

    /// Writes the members of all packs into new packs, as many packs at once as the pool takes.
    fn transcode_packs(
        &mut self,
        from: &ArchiveFile,
        old: &Catalog,
        packs: BTreeMap<BlockId, Vec<Member<'_>>>,
        progress: &mut Progress<'_>,
    ) -> Result<()> {
        let packs: Vec<(&Block, Vec<Member<'_>>)> = packs
            .into_iter()
            .map(|(id, members)| Ok((old.block(id)?, members)))
            .collect::<Result<_>>()?;
        let new = self.source.clone();
        for window in packs.chunks(pool::window()) {
            progress.watch.cancel.check()?;
            let transcoded =
                pool::each(window, |(block, members)| transcode_pack(from, &new, block, members))?;
            let members = window.iter().flat_map(|(_, members)| members);
            for ((name, entry), stored) in members.zip(transcoded.into_iter().flatten()) {
                self.make_room(stored.len())?;
                self.put_repacked(name, entry, stored);
                progress.done(name, entry)?;
            }
        }
        Ok(())
    }

    /// Writes a large member piece by piece, and gives its place. Memory is bounded by the pieces under
    /// way, not by the size of the member.
    fn transcode_pieces(
        &mut self,
        from: &Arc<ArchiveFile>,
        old: &Catalog,
        name: &str,
        entry: &Entry,
        watch: &CallObserver,
    ) -> Result<Place> {
        let Place::Pieces { pieces, .. } = &entry.place else {
            return Err(Error::corrupt("a large member has no pieces"));
        };
        let attributes = entry.attributes;
        let mut rest = pieces.iter().copied().peekable();
        let (header, pieces) = self.write_pieces(name, attributes, &[], &mut || {
            watch.cancel.check()?;
            let Some(piece) = rest.next() else { return Ok(None) };
            let (source, block) = (from.clone(), old.block(piece.block)?.clone());
            let job = Box::new(move || source.piece(&piece, &block));
            Ok(Some(Part::Raw(Raw { job, last: rest.peek().is_none() })))
        })?;
        Ok(Place::Pieces { header, pieces: Arc::new(pieces) })
    }
}

/// The members of a pack, opened with the layers of one source and sealed with those of another.
fn transcode_pack(
    from: &ArchiveFile,
    to: &ArchiveFile,
    block: &Block,
    members: &[Member<'_>],
) -> Result<Vec<Arc<Vec<u8>>>> {
    let tar = from.block(block)?;
    let transcode = |(name, entry): &Member<'_>| {
        let Place::Packed { at, stored, .. } = entry.place else {
            return Err(Error::corrupt("a small member is in no pack"));
        };
        if entry.is_directory() {
            return Ok(Arc::default());
        }
        let transcoded = from
            .slice(&tar, block, at, stored)
            .and_then(|stored| to.layers.transcode_member(&from.layers, stored, entry.size));
        transcoded.map(|bytes| Arc::new(bytes.into_vec())).map_err(|e| e.of_member(name))
    };
    members.iter().map(transcode).collect()
}
