//! Savepoints: going back to an earlier state of the changes that no commit has yet.
//!
//! What is changed while a savepoint is open is noted in one log, the newest last. A savepoint is a
//! place in that log, so beginning and keeping one cost nothing that grows with what was changed
//! before, and undoing one costs what was changed since.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Container;
use super::changes::{Savepoint, Step};
use super::pending::{HEADING, Pending, repacked};
use crate::error::Result;
use crate::format::catalog::{BlockId, Entry, Place};

impl Container {
    /// Remembers the state as it is now, to come back to it with [`Self::rollback`].
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.ready()?;
        // What is under way goes into the file now: then all that is written from here on can be
        // cut off. The pack that is being filled goes on being filled.
        self.drain()?;
        // Numbers are not given twice, so a reader can tell what was undone from what came after.
        let next_block = self.view.read().catalog.next_block;
        self.savepoints.begun += 1;
        self.savepoints.open.push(Savepoint {
            tail: self.log.mark(),
            next_block,
            added: self.changes.added.len(),
            log: self.savepoints.log.len(),
            number: self.savepoints.begun,
        });
        Ok(())
    }

    /// Forgets the last savepoint and keeps what was done since.
    pub(crate) fn keep(&mut self) {
        self.savepoints.open.pop();
        if self.savepoints.open.is_empty() {
            self.savepoints.log = Vec::new();
        }
    }

    /// Goes back to the last savepoint. A poisoned container stays as it is: its commit may be on
    /// the disk, and what it replaced may be gone.
    pub(crate) fn rollback(&mut self) {
        if self.ready().is_err() {
            return self.keep();
        }
        let Some(savepoint) = self.savepoints.open.pop() else { return };
        let steps = self.savepoints.log.split_off(savepoint.log);
        let mut waiting = std::mem::take(&mut self.pending);
        waiting.extend(self.inflight.drain(..).flat_map(|pack| pack.members));
        for step in steps.into_iter().rev() {
            match step {
                Step::Member(name, Some(entry)) => {
                    if let Place::Memory(stored) = &entry.place {
                        waiting.push(repacked(name.clone(), &entry, stored.clone()));
                    }
                    self.view.write().catalog.set(name, entry);
                }
                Step::Member(name, None) => {
                    self.view.write().catalog.remove(&name);
                }
                Step::Packed(member) => {
                    let mut view = self.view.write();
                    let entry = view.catalog.get(&member.name).cloned();
                    if let Some(entry) = entry.filter(|entry| entry.version == member.version) {
                        let place = Place::Memory(member.stored.clone());
                        view.catalog.set(member.name.clone(), Entry { place, ..entry });
                    }
                    waiting.push(member);
                }
                Step::Touched(name) => {
                    self.changes.touched.remove(&name);
                }
                Step::Soiled(id) => {
                    self.changes.dirty.remove(&id);
                }
                Step::Cleaned(id) => {
                    self.changes.dirty.insert(id);
                }
                Step::Doomed(id) => {
                    self.changes.doomed.remove(&id);
                }
            }
        }
        self.changes.added.truncate(savepoint.added);
        {
            let mut view = self.view.write();
            for id in savepoint.next_block..view.catalog.next_block {
                view.catalog.drop_block(id);
            }
        }
        self.wait_for_pack(waiting);
        self.log.cut_back(savepoint.tail);
    }

    /// Has those of `waiting` that are members, and not in the file, wait for the next pack.
    fn wait_for_pack(&mut self, mut waiting: Vec<Pending>) {
        waiting.sort_by_key(|member| member.version);
        waiting.dedup_by_key(|member| member.version);
        let view = self.view.read();
        waiting.retain(|member| {
            let now = view.catalog.get(&member.name).filter(|now| now.version == member.version);
            now.is_some_and(|now| matches!(now.place, Place::Memory(_)))
        });
        drop(view);
        self.pending_len = waiting.iter().map(|member| member.stored.len() + HEADING).sum();
        self.pending = waiting;
    }

    /// Notes that a member is not what it was: `old` was in its place.
    pub(super) fn record(&mut self, name: Arc<str>, old: Option<Entry>) {
        self.savepoints.note(|| Step::Member(name.clone(), old));
        if !self.changes.touched.contains(&name) {
            self.savepoints.note(|| Step::Touched(name.clone()));
            self.changes.touched.insert(name);
        }
    }

    /// Notes that a member has come into the file, if it was waiting for that when the last savepoint
    /// was begun. Of others nothing need be kept: what is undone with them is all there is of them.
    pub(super) fn note_packed(&mut self, member: &Pending) {
        let waited = |savepoint: &Savepoint| member.begun < savepoint.number;
        if self.savepoints.open.last().is_some_and(waited) {
            self.savepoints.note(|| Step::Packed(member.clone()));
        }
    }

    /// Notes that a pack has members that are no longer in it.
    pub(super) fn soil(&mut self, pack: BlockId) {
        if self.changes.dirty.insert(pack) {
            self.savepoints.note(|| Step::Soiled(pack));
        }
    }

    /// Takes the packs that have members that are no longer in them.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<BlockId> {
        let dirty = std::mem::take(&mut self.changes.dirty);
        for pack in &dirty {
            self.savepoints.note(|| Step::Cleaned(*pack));
        }
        dirty
    }

    /// Notes that nothing needs a block any more.
    pub(super) fn doom(&mut self, block: BlockId) {
        if self.changes.doomed.insert(block) {
            self.savepoints.note(|| Step::Doomed(block));
        }
    }
}

#[cfg(test)]
mod tests;
