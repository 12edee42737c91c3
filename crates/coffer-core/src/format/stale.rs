//! Stale blocks: blocks of the catalog with entries of the tar that are no members any more.
//!
//! A commit may replace and remove members and leave their bytes to a later one, which drops and
//! scrubs them. Nothing in the file lists these blocks; they follow from the commits since the last
//! snapshot, which has none.

use std::collections::{BTreeSet, HashMap};

use crate::format::catalog::{BlockId, Catalog, Place};
use crate::format::commit::Commit;
use crate::format::tar;

/// The stale blocks of a chain of commits, as far as it was followed.
#[derive(Debug, Default)]
pub(crate) struct StaleBlocks(BTreeSet<BlockId>);

impl StaleBlocks {
    /// Follows a commit, which is not applied yet to the catalog of the commit before it.
    pub(crate) fn follow(&mut self, before: &Catalog, commit: &Commit) {
        if commit.snapshot {
            self.0.clear();
            return;
        }
        let set = commit.set.iter().map(|(name, _)| name);
        for old in commit.removed.iter().chain(set).filter_map(|name| before.get(name)) {
            self.0.extend(Catalog::blocks_of(old));
        }
        // What the members of a new block leave of its tar is of members that came and went.
        let mut unowned: HashMap<BlockId, u64> =
            commit.blocks.iter().map(|(id, block)| (*id, u64::from(block.tar))).collect();
        for (name, entry) in &commit.set {
            match &entry.place {
                Place::Packed { block, .. } => {
                    let len = tar::entry_len(name, entry.member_type, entry.stored());
                    if let Some(left) = unowned.get_mut(block) {
                        *left = left.saturating_sub(len);
                    }
                }
                place @ Place::Pieces { .. } => {
                    for block in Catalog::blocks_at(place) {
                        unowned.remove(&block);
                    }
                }
                Place::Memory(_) => {}
            }
        }
        self.0.extend(unowned.into_iter().filter(|(_, left)| *left > 0).map(|(id, _)| id));
        for dropped in &commit.dropped {
            self.0.remove(dropped);
        }
    }

    /// Those that are in a catalog.
    pub(crate) fn in_catalog(mut self, catalog: &Catalog) -> BTreeSet<BlockId> {
        self.0.retain(|id| catalog.blocks.contains_key(id));
        self.0
    }
}
