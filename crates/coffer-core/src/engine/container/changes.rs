//! What has changed since the last commit, and the savepoints among the changes.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::pending::Pending;
use crate::engine::commit_log::TailMark;
use crate::format::catalog::{BlockId, Entry};

/// What has changed since the last commit.
#[derive(Default)]
pub(super) struct Changes {
    pub(super) touched: BTreeSet<Arc<str>>,
    pub(super) added: Vec<BlockId>,
    /// PackCache with members that are no longer in them.
    pub(super) dirty: BTreeSet<BlockId>,
    /// Blocks that nothing needs any more.
    pub(super) doomed: BTreeSet<BlockId>,
}

/// A state to go back to.
pub(super) struct Savepoint {
    pub(super) tail: TailMark,
    pub(super) next_block: BlockId,
    /// How many blocks the changes had added.
    pub(super) added: usize,
    /// How long the log was.
    pub(super) log: usize,
    /// How many savepoints had been begun, this one included.
    pub(super) number: u64,
}

/// One step, and how it is taken back.
pub(super) enum Step {
    /// A member was set, moved or removed: what was in its place.
    Member(Arc<str>, Option<Entry>),
    /// A member that was waiting for its pack has come into the file.
    Packed(Pending),
    /// A name was touched for the first time.
    Touched(Arc<str>),
    /// A pack was entered among the dirty ones.
    Soiled(BlockId),
    /// A pack was taken from among the dirty ones.
    Cleaned(BlockId),
    /// A block was doomed.
    Doomed(BlockId),
}

/// The savepoints that are open, and what has been done since the first of them.
#[derive(Default)]
pub(super) struct Savepoints {
    pub(super) open: Vec<Savepoint>,
    pub(super) log: Vec<Step>,
    /// How many have been begun.
    pub(super) begun: u64,
}

impl Savepoints {
    pub(super) fn note(&mut self, step: impl FnOnce() -> Step) {
        if !self.open.is_empty() {
            self.log.push(step());
        }
    }

    /// How many have been begun.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// How many steps could be taken back.
    #[cfg(test)]
    pub(super) fn steps(&self) -> usize {
        self.log.len()
    }
}
