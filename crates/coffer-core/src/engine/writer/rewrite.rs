//! Rewriting a coffer into a new file: conversion, compaction, new keys, and the backup before a change.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use super::{Origin, Replacement, Verification, Writer};
use crate::engine::container::{Ancestry, Damaged};
use crate::engine::credentials::NewCredentials;
use crate::engine::open::Notice;
use crate::engine::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;
use crate::io::storage::{Namespace, ReadAt, WriteAt};
use crate::progress::CallObserver;

impl Writer {
    /// Converts a legacy coffer: its members are moved into a new file that replaces it.
    pub(super) fn convert(&mut self, watch: &CallObserver) -> Result<()> {
        let Some(original) = self.original()? else { return Ok(()) };
        self.container.gather()?;
        let ancestry = Ancestry::default();
        let (path, locks) = (&self.path, &self.locks);
        // The blocks are copies that were readable when the coffer was opened, and the original is kept
        // until the end.
        let damaged = Damaged::Refused;
        self.container.move_to(path, &*original, locks, ancestry, damaged, watch)?;
        self.origin = Origin::Coffer;
        self.replaced(&*original);
        Ok(())
    }

    /// Commits a coffer whose file has no name yet, with `force` also without changes, and puts it in
    /// the place of the file that it replaces. Does nothing for any other coffer.
    ///
    /// An error before the commit changes nothing. If the new file does not get its name after it, the
    /// container is poisoned, and the old file is whole.
    pub(super) fn take_place(&mut self, force: bool) -> Result<()> {
        let Origin::Replaces(Replacement { file, old }) = &self.origin else { return Ok(()) };
        let path = &self.path;
        self.container.ready()?;
        if let Err(e) = self.locks.check(&**old) {
            return Err(self.container.poison(&e));
        }
        file.permit_as(&**old).map_err(|e| Error::io("fchmod", path, &e))?;
        self.make_backup()?;
        self.container.commit(force, &Locks::none(&self.path))?;
        let Origin::Replaces(Replacement { file, old }) =
            std::mem::replace(&mut self.origin, Origin::Coffer)
        else {
            return Ok(());
        };
        let lost = Notice::owner(&self.path, &*old, &*file.storage());
        // On Windows some file systems do not replace an open file, and the old one has no lock that
        // must be kept.
        if cfg!(windows) {
            drop(old);
        }
        if let Err(e) = file.publish(true) {
            // Its changes are committed in a file that has no name, or whose name may not last.
            let error = e.at(&self.path);
            self.container.poison(&error);
            return Err(error);
        }
        self.container.locked_by(Some(self.locks.clone()));
        self.publish_time();
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend(lost);
        Ok(())
    }

    /// The file of a legacy coffer that is still to be converted. Another file at its path poisons the
    /// container.
    fn original(&mut self) -> Result<Option<Arc<dyn WriteAt>>> {
        let Origin::Legacy(spooled) = &self.origin else { return Ok(None) };
        let original = spooled.original.clone();
        self.container.ready()?;
        if let Err(e) = self.locks.check(&*original) {
            return Err(self.container.poison(&e));
        }
        Ok(Some(original))
    }

    pub(super) fn compact(&mut self, watch: &CallObserver) -> Result<()> {
        if self.state.batch.is_some() {
            return Err(Error::new(Code::InBatch, "a coffer cannot be compacted inside a batch"));
        }
        self.before_change()?;
        if let Origin::Legacy(_) = self.origin {
            return self.convert(watch);
        }
        self.take_place(false)?;
        self.state.compaction = None;
        let old = self.container.source.storage.clone();
        self.container.compact(&self.path, &self.locks, Damaged::Kept, watch)?;
        self.replaced(&*old);
        Ok(())
    }

    pub(super) fn rekey(
        &mut self,
        to: &NewCredentials,
        watch: &CallObserver,
        verify: Verification,
    ) -> Result<()> {
        if self.state.batch.is_some() {
            return Err(Error::new(
                Code::InBatch,
                "the keys of a coffer cannot be changed inside a batch",
            ));
        }
        self.before_change()?;
        self.take_place(false)?;
        self.state.compaction = None;
        let Some(original) = self.original()? else {
            let old = self.container.source.storage.clone();
            let rekeyed = self.container.rekey(&self.path, to, &self.locks, watch);
            rekeyed.map_err(|e| match e.code() {
                Code::Corrupt => self.not_rekeyed(e, watch, verify),
                // An error of the disk may pass, so it is not reported as damage.
                _ => e,
            })?;
            self.replaced(&*old);
            return Ok(());
        };
        self.container.rekey_legacy(&self.path, &*original, to, &self.locks, watch)?;
        self.origin = Origin::Coffer;
        self.replaced(&*original);
        Ok(())
    }

    /// The error of a change of keys that met damage and left the coffer as it was. It names all damaged
    /// members, or is `first` if `verify` finds none.
    fn not_rekeyed(&self, first: Error, watch: &CallObserver, verify: Verification) -> Error {
        let watch = CallObserver { cancel: watch.cancel.clone(), progress: None };
        let reader = Reader::of_writer(self.container.view.clone());
        let Err(damage) = verify(&reader, &watch) else { return first };
        let message = format!(
            "the keys were not changed, because damaged members cannot be sealed with new ones: {}. Delete the damaged members or write them again, then change the keys",
            damage.message()
        );
        damage.saying(message)
    }

    /// Adds a notice if the file that replaced `old` has another owner.
    pub(super) fn replaced(&self, old: &dyn ReadAt) {
        let lost = Notice::owner(&self.path, old, &*self.container.source.storage);
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend(lost);
    }

    /// Makes the backup that the caller asked for, before the first change. A file that is to be
    /// replaced is whole until the first commit, which makes the backup then.
    pub(super) fn before_change(&mut self) -> Result<()> {
        self.container.ready()?;
        match self.origin {
            Origin::Replaces(_) => Ok(()),
            _ => self.make_backup(),
        }
    }

    fn make_backup(&mut self) -> Result<()> {
        match self.backup.take() {
            None => Ok(()),
            Some(to) => {
                let lost = back_up(&self.container.source.directory, &self.path, &to)
                    .inspect_err(|_| self.backup = Some(to.clone()))?;
                self.notices.lock().unwrap_or_else(PoisonError::into_inner).extend(lost);
                Ok(())
            }
        }
    }
}

/// Copies the coffer at `path` durably to `to`, in place of an older copy. Gives a notice if the copy has
/// another owner.
fn back_up(directory: &Arc<dyn Namespace>, path: &Path, to: &Path) -> Result<Option<Notice>> {
    let copy = || {
        let coffer = directory.open(path, false)?;
        let copy = NewFile::create(directory, to)?;
        copy.permit_as(&*coffer)?;
        copy.storage().copy_from(&*coffer, 0..coffer.len()?, 0)?;
        let storage = copy.storage();
        copy.publish(true)?;
        Ok(Notice::owner(to, &*coffer, &*storage))
    };
    copy().map_err(|e: std::io::Error| Error::io("copy", to, &e))
}
