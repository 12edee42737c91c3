//! Savepoints: uncommitted changes can be rolled back to an earlier state.
//!
//! While a savepoint is open, every step of a change is appended to one undo log. A savepoint is a
//! position in that log. So beginning and keeping one take constant time, and rolling back takes time
//! in proportion to the changes since it was begun.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Container;
use super::changes::{Savepoint, Step};
use super::pending::{HEADING, Pending, repacked};
use crate::error::Result;
use crate::format::catalog::{BlockId, Entry, Place};

impl Container {
    /// Begins a savepoint at the current state, for [`Self::rollback`] or [`Self::keep`].
    pub(crate) fn begin(&mut self) -> Result<()> {
        self.ready()?;
        // The packs under way are written first, so that a rollback can cut off everything that is
        // written later. The pack that is being filled stays open.
        self.drain()?;
        // A rollback does not reset the counter: a reader must not take a later block for one that was
        // undone.
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

    /// Ends the last savepoint, and keeps the changes since.
    pub(crate) fn keep(&mut self) {
        self.savepoints.open.pop();
        if self.savepoints.open.is_empty() {
            self.savepoints.log = Vec::new();
        }
    }

    /// Ends the last savepoint, and undoes the changes since. A poisoned container keeps them: its commit
    /// may be on the disk, and the bytes that it replaced overwritten.
    pub(crate) fn rollback(&mut self) {
        if self.ready().is_err() {
            return self.keep();
        }
        let Some(savepoint) = self.savepoints.open.pop() else { return };
        let steps = self.savepoints.log.split_off(savepoint.log);
        let mut waiting = std::mem::take(&mut self.pending);
        waiting.extend(self.inflight.drain(..).flat_map(|pack| pack.members));
        for step in steps.into_iter().rev() {
            self.undo(step, &mut waiting);
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

    /// Undoes a step. Members that wait for a pack again are added to `waiting`.
    fn undo(&mut self, step: Step, waiting: &mut Vec<Pending>) {
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
                let entry = view.catalog.get(&member.name);
                if let Some(entry) = entry.filter(|entry| entry.version == member.version) {
                    let place = Place::Memory(member.stored.clone());
                    view.catalog.set(member.name.clone(), Entry { place, ..entry });
                }
                waiting.push(member);
            }
            Step::Touched(name) => {
                self.changes.touched.remove(&name);
            }
            Step::Dirty(id) => {
                self.changes.dirty.remove(&id);
            }
            Step::Clean(id) => {
                self.changes.dirty.insert(id);
            }
            Step::Dead(id) => {
                self.changes.dead.remove(&id);
            }
        }
    }

    /// Makes those of `waiting` the pending members that are in the catalog and not in the file.
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

    /// Records that a member was set, moved or removed; `old` is the entry that it had before.
    pub(super) fn record(&mut self, name: Arc<str>, old: Option<Entry>) {
        if let Some(touched) = &mut self.touched {
            touched.insert(name.clone());
        }
        self.savepoints.note(|| Step::Member(name.clone(), old));
        if self.changes.touched.insert(name.clone()) {
            self.savepoints.note(|| Step::Touched(name));
        }
    }

    /// Records that a member was written, if it was already waiting when the last savepoint was begun. A
    /// later member needs no step: a rollback removes it altogether.
    pub(super) fn note_packed(&mut self, member: &Pending) {
        let waited = |savepoint: &Savepoint| member.begun < savepoint.number;
        if self.savepoints.open.last().is_some_and(waited) {
            self.savepoints.note(|| Step::Packed(member.clone()));
        }
    }

    /// Marks a pack as dirty: it holds a member that was replaced or removed.
    pub(super) fn mark_dirty(&mut self, pack: BlockId) {
        if self.changes.dirty.insert(pack) {
            self.savepoints.note(|| Step::Dirty(pack));
        }
    }

    /// Takes the dirty packs, to empty them.
    pub(super) fn take_dirty(&mut self) -> BTreeSet<BlockId> {
        let dirty = std::mem::take(&mut self.changes.dirty);
        for pack in &dirty {
            self.savepoints.note(|| Step::Clean(*pack));
        }
        dirty
    }

    /// Marks a block as dead: the next commit drops it, and it is overwritten.
    pub(super) fn mark_dead(&mut self, block: BlockId) {
        if self.changes.dead.insert(block) {
            self.savepoints.note(|| Step::Dead(block));
        }
    }
}

#[cfg(test)]
mod tests;
