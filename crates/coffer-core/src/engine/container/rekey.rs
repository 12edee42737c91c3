//! Rekeying: everything that is live, opened with the old keys and sealed with new ones, in a new
//! file that takes the old one's place.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::Container;
use super::compact::Form;
use super::flush::Ancestry;
use super::pending::repacked;
use super::put::{Part, Raw};
use crate::engine::credentials::NewCredentials;
use crate::engine::file::ArchiveFile;
use crate::error::{Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Entry, Place};
use crate::io::lock_set::Locks;
use crate::io::pool;
use crate::io::storage::ReadAt;
use crate::progress::{CallObserver, Report};

/// A member as the catalog has it.
type Named = (Arc<str>, Entry);

impl Container {
    /// Commits, and rewrites the coffer under new keys into a new file at `path`, which replaces
    /// what is there.
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

    /// As [`Self::rekey`], for a legacy coffer that nothing has rewritten yet: `old` is its file.
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

    /// What the new file is sealed with.
    fn rekeyed(&self, to: &NewCredentials, watch: &CallObserver) -> Result<Form> {
        let (header, keys) = to.header(&self.header, &watch.cancel)?;
        let mut layers = header.layers(&keys)?;
        // The level may have been asked for at opening, in place of the file's own.
        layers.member_level = self.source.layers.member_level;
        layers.container_level = self.source.layers.container_level;
        Ok(Form { meta: keys.meta(&header.kind), layers, header })
    }

    fn transcode_live(&mut self, from: &Self, watch: &CallObserver) -> Result<()> {
        let old: Catalog = from.view.read().catalog.clone();
        let mut packs: BTreeMap<BlockId, Vec<Named>> = BTreeMap::new();
        let mut large = Vec::new();
        let mut report = Report { total_bytes: Some(0), ..Report::default() };
        for (name, entry) in old.iter() {
            report.total_bytes = report.total_bytes.map(|total| total + entry.size);
            let named = (name.clone(), entry.clone());
            match entry.place {
                Place::Packed { block, .. } => packs.entry(block).or_default().push(named),
                Place::Pieces { .. } => large.push(named),
                Place::Memory(_) => return Err(Error::corrupt("a member was left behind")),
            }
        }
        let mut done = |name: &Arc<str>, size: u64| {
            report.bytes += size;
            report.members += 1;
            report.name = Some(name.to_string());
            watch.report(|| report.clone());
        };
        let packs: Vec<(&Block, Vec<Named>)> = packs
            .into_iter()
            .map(|(id, members)| Ok((old.block(id)?, members)))
            .collect::<Result<_>>()?;
        let new = self.source.clone();
        for window in packs.chunks(pool::window()) {
            watch.cancel.check()?;
            let transcoded = pool::each(window, |(block, members)| {
                transcode_pack(&from.source, &new, block, members)
            })?;
            for ((_, members), stored) in window.iter().zip(transcoded) {
                for ((name, entry), stored) in members.iter().zip(stored) {
                    self.make_room(stored.len())?;
                    self.push(repacked(name.clone(), entry, stored.clone()));
                    self.set(name.clone(), Entry { place: Place::Memory(stored), ..entry.clone() });
                    done(name, entry.size);
                }
            }
        }
        self.flush_pending()?;
        for (name, entry) in large {
            let place = self
                .transcode_pieces(&from.source, &old, &name, &entry, watch)
                .map_err(|e| e.of_member(&name))?;
            done(&name, entry.size);
            self.set(name, Entry { place, ..entry });
        }
        self.view.write().catalog.next_version = old.next_version;
        // The last moment: after it there are new keys.
        watch.cancel.check()
    }

    /// Writes a large member piece by piece, so that memory is bounded whatever its size.
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
            let job = Box::new(move || {
                let tar = source.block(&block)?;
                let stored = source.slice(&tar, &block, 0, piece.stored)?;
                source.layers.decode_member(stored, piece.raw as usize)
            });
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
    members: &[Named],
) -> Result<Vec<Arc<Vec<u8>>>> {
    let tar = from.block(block)?;
    let transcode = |(name, entry): &Named| {
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
