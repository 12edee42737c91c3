//! Members grouped by the packs that hold them, so that each pack is decoded once.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::catalog::{BlockId, Entry, Place};

/// A member with its name, as the catalog has it.
pub(crate) type Named = (Arc<str>, Entry);

/// Members by where their bytes are. Each group keeps the order in which the members were given.
pub(crate) struct Grouped<M> {
    /// The members of each pack.
    pub(crate) packs: BTreeMap<BlockId, Vec<M>>,
    /// Members in blocks of their own.
    pub(crate) large: Vec<M>,
    /// Members that are not in the file yet.
    pub(crate) waiting: Vec<M>,
}

impl<N, E: Borrow<Entry>> Grouped<(N, E)> {
    pub(crate) fn new(members: impl IntoIterator<Item = (N, E)>) -> Self {
        let mut grouped = Self { packs: BTreeMap::new(), large: Vec::new(), waiting: Vec::new() };
        for member in members {
            match member.1.borrow().place {
                Place::Packed { block, .. } => grouped.packs.entry(block).or_default().push(member),
                Place::Pieces { .. } => grouped.large.push(member),
                Place::Memory(_) => grouped.waiting.push(member),
            }
        }
        grouped
    }

    /// As [`Self::new`], for members all of which must be in the file.
    pub(crate) fn in_file(members: impl IntoIterator<Item = (N, E)>) -> Result<Self> {
        let grouped = Self::new(members);
        if grouped.waiting.is_empty() {
            Ok(grouped)
        } else {
            Err(Error::corrupt("a member has no place in the file"))
        }
    }
}
