//! The extents of blocks and commits in the file: no two of them may overlap.
//!
//! A writer overwrites dead blocks. A commit that lists a live part of the file as dead, or as two
//! blocks, would make it overwrite live data.

use crate::error::{Error, Result};
use crate::format::block::Layers;
use crate::format::catalog::{Block, Catalog};
use crate::format::header;

/// The offsets of the first byte, and of the first one behind the last.
type ByteRange = (u64, u64);

/// Checks the live blocks, and those that the newest commit scrubs, in a file whose newest commit
/// begins at `end`. `commits` are the commits that the catalog was read from, and `copy` is the
/// offset of the header's copy before the oldest of them.
pub(crate) fn check(
    layers: &Layers,
    catalog: &Catalog,
    scrub: &[Block],
    commits: &[ByteRange],
    copy: u64,
    end: u64,
) -> Result<()> {
    let blocks = || catalog.blocks.values().chain(scrub);
    if let Some(block) = blocks().find(|block| !layers.can_be(block)) {
        return Err(Error::corrupt(format!(
            "a commit names a block at byte {} with impossible lengths",
            block.offset
        )));
    }
    let mut extents: Vec<ByteRange> = blocks().map(|block| (block.offset, block.end())).collect();
    let root = catalog.root()?.offset;
    if extents.iter().any(|(from, to)| *from < root || *to > end) {
        return Err(contradiction());
    }
    extents.extend(commits);
    if let Some((oldest, _)) = commits.iter().min() {
        if oldest.checked_sub(copy).is_none_or(|len| len > header::MAX_LEN as u64) {
            return Err(Error::corrupt("the copy of the header does not stand before its commit"));
        }
        extents.push((copy, *oldest));
    }
    extents.sort_unstable();
    if extents.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(contradiction());
    }
    Ok(())
}

fn contradiction() -> Error {
    Error::corrupt("the catalog contradicts itself: it names one part of the file twice")
}
