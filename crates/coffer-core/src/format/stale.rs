//! Stale blocks: blocks of the catalog with entries of the tar that are no members any more.
//!
//! A commit may replace and remove members and leave their bytes to a later one, which drops and
//! scrubs them. Nothing in the file lists these blocks; they follow from the catalog.

use std::collections::{BTreeSet, HashMap};

use crate::format::catalog::{BlockId, Catalog, Place, ROOT};
use crate::format::tar;

/// The blocks whose tar is not exactly the entries that members have there.
pub(crate) fn stale_blocks(catalog: &Catalog) -> BTreeSet<BlockId> {
    let mut unowned: HashMap<BlockId, u64> =
        catalog.blocks.iter().map(|(id, block)| (*id, u64::from(block.tar))).collect();
    unowned.remove(&ROOT);
    // Neighbours by name were mostly written together.
    let (mut pack, mut len) = (ROOT, 0u64);
    for (name, entry) in catalog.iter() {
        match &entry.place {
            Place::Packed { block, .. } => {
                if *block != pack {
                    disown(&mut unowned, pack, len);
                    (pack, len) = (*block, 0);
                }
                let entry_len = tar::entry_len(name, entry.member_type, entry.stored());
                len = len.saturating_add(entry_len);
            }
            Place::Pieces { .. } => {
                for block in Catalog::blocks_of(&entry) {
                    unowned.remove(&block);
                }
            }
            Place::Memory(_) => {}
        }
    }
    disown(&mut unowned, pack, len);
    unowned.into_iter().filter(|(_, left)| *left > 0).map(|(id, _)| id).collect()
}

fn disown(unowned: &mut HashMap<BlockId, u64>, block: BlockId, len: u64) {
    if let Some(left) = unowned.get_mut(&block) {
        *left = left.saturating_sub(len);
    }
}
