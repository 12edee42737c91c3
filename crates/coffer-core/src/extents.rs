//! Which parts of the file belong to what: no two blocks may share a byte, nor lie in a commit.
//!
//! A writer overwrites the blocks that die. A commit that says of a live part of the file that it is
//! dead, or that it is two blocks, would have it destroy what is live.

use crate::catalog::{Block, Catalog};
use crate::error::{Error, Result};
use crate::header;

/// From where, to where.
type Extent = (u64, u64);

/// Checks the live blocks, and those that are still to be overwritten, in a file whose newest commit
/// begins at `end`. `commits` are the commits that the catalog was read from, and `copy` is where
/// the header's copy before the oldest of them lies.
pub(crate) fn check(
    catalog: &Catalog,
    scrub: &[Block],
    commits: &[Extent],
    copy: u64,
    end: u64,
) -> Result<()> {
    if !scrub.iter().all(Block::fits) {
        return Err(Error::corrupt("a commit names a block that is too large"));
    }
    let blocks = catalog.blocks.values().chain(scrub).map(|block| (block.offset, block.end()));
    let mut extents: Vec<Extent> = blocks.collect();
    let root = catalog.root()?.offset;
    if extents.iter().any(|(from, to)| *from < root || *to > end) {
        return Err(contradiction());
    }
    extents.extend(commits);
    if let Some((oldest, _)) = commits.iter().min()
        && oldest.checked_sub(copy).is_some_and(|len| len <= header::MAX_LEN as u64)
    {
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
