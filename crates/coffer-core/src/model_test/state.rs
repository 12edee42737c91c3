//! The model of a coffer, and the states that an opening may find.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::disk::Inode;

/// The members, with their bytes.
pub(super) type Members = BTreeMap<String, Arc<Vec<u8>>>;

/// A block that a commit had, as it stood in the file.
pub(super) struct Trace {
    pub(super) file: Inode,
    pub(super) offset: u64,
    pub(super) digest: [u8; 32],
    pub(super) bytes: Vec<u8>,
}

/// A state of a coffer.
#[derive(Clone)]
pub(super) struct ModelState {
    /// `None` before there is a coffer.
    pub(super) members: Option<Members>,
    /// The number of its keys.
    pub(super) keys: usize,
    /// The blocks of its commits, as far as they are known.
    pub(super) blocks: Vec<Arc<Trace>>,
}

/// The states that an opening may find, by the number of calls in the disk's journal.
pub(super) struct Timeline(Vec<(usize, Vec<ModelState>)>);

impl Timeline {
    pub(super) fn new(states: Vec<ModelState>) -> Self {
        Self(vec![(0, states)])
    }

    /// Makes these the only acceptable states from now on.
    pub(super) fn set(&mut self, calls: usize, states: Vec<ModelState>) {
        self.0.push((calls, states));
    }

    /// Makes a further state acceptable from now on.
    pub(super) fn add(&mut self, calls: usize, state: ModelState) {
        let mut states = self.now().to_vec();
        states.push(state);
        self.set(calls, states);
    }

    pub(super) fn now(&self) -> &[ModelState] {
        self.at(usize::MAX)
    }

    pub(super) fn at(&self, calls: usize) -> &[ModelState] {
        let at = self.0.partition_point(|(from, _)| *from <= calls);
        &self.0[at - 1].1
    }
}

/// Names and lengths, for messages.
pub(super) fn lens(members: &Members) -> Vec<(String, usize)> {
    let short = |name: &str| name.chars().skip(name.chars().count().saturating_sub(8)).collect();
    members.iter().map(|(name, bytes)| (short(name), bytes.len())).collect()
}
