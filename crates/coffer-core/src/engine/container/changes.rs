//! The changes since the last commit, and the savepoints among them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pending::Pending;
use crate::engine::commit_log::TailMark;
use crate::format::catalog::{BlockId, Entry};

/// The changes since the last commit, and the blocks that are to be erased.
#[derive(Default)]
pub(super) struct Changes {
    /// Names of members that were set or removed.
    pub(super) touched: BTreeSet<Arc<str>>,
    /// Blocks that were appended, in ascending order.
    pub(super) added: Vec<BlockId>,
    /// Packs that hold members which were replaced or removed, since the last commit or before it.
    pub(super) dirty: BTreeSet<BlockId>,
    /// Blocks that no member is in any more, since the last commit or before it.
    pub(super) dead: BTreeSet<BlockId>,
}

/// A state that the changes can be rolled back to.
pub(super) struct Savepoint {
    pub(super) tail: TailMark,
    pub(super) next_block: BlockId,
    /// The length of [`Changes::added`].
    pub(super) added: usize,
    /// The length of [`Savepoints::log`].
    pub(super) log: usize,
    /// The number of savepoints that had been begun, this one included.
    pub(super) number: u64,
}

/// One step of a change, with what undoes it.
pub(super) enum Step {
    /// A member was set, moved or removed; the entry that it had before.
    Member(Arc<str>, Option<Entry>),
    /// A member that waited for its pack was written.
    Packed(Pending),
    /// A name was touched for the first time.
    Touched(Arc<str>),
    /// A pack became dirty.
    Dirty(BlockId),
    /// A pack was taken from the dirty ones, to be emptied.
    Clean(BlockId),
    /// A block died.
    Dead(BlockId),
}

/// The open savepoints, and the undo log since the first of them.
#[derive(Default)]
pub(super) struct Savepoints {
    pub(super) open: Vec<Savepoint>,
    /// The steps since the first open savepoint, oldest first.
    pub(super) log: Vec<Step>,
    /// The number of savepoints that were ever begun.
    pub(super) begun: u64,
}

impl Savepoints {
    /// Logs a step, if a savepoint is open.
    pub(super) fn note(&mut self, step: impl FnOnce() -> Step) {
        if !self.open.is_empty() {
            self.log.push(step());
        }
    }

    /// The number of steps that could be undone.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.log.len()
    }
}
