//! The newest intact commit of a file, and what follows it.

use crate::buffer::Buffer;
use crate::engine::file::ArchiveFile;
use crate::error::Result;
use crate::format::catalog::Block;
use crate::format::commit::{Commit, CommitId, Position};
use crate::format::footer::Footer;

/// What follows the newest intact commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// Nothing.
    Clean,
    /// Bytes of a write that was not finished: no part of a commit is among them.
    Torn,
    /// Bytes with an authentic part of a commit that cannot be completed.
    Authentic,
}

/// The newest intact commit.
pub(crate) struct Newest {
    pub(crate) position: Position,
    pub(crate) commit: Commit,
    /// Where the coffer ends: behind the commit and its footer.
    pub(crate) end: u64,
    /// The footer, if one names the commit.
    pub(crate) footer: Option<Footer>,
    pub(crate) tail: Tail,
}

impl Newest {
    /// What identifies the commit.
    pub(crate) fn id(&self) -> CommitId {
        CommitId { generation: self.position.generation, digest: self.position.digest }
    }

    /// The dead blocks that are not known to be overwritten.
    pub(crate) fn unscrubbed(&self) -> &[Block] {
        if self.footer.as_ref().is_some_and(|f| f.durable) { &[] } else { &self.commit.scrub }
    }

    /// Whether everything about the commit is known to be done.
    pub(crate) fn durable(&self) -> bool {
        self.footer.as_ref().is_some_and(|f| f.durable)
            || (self.commit.ahead.is_none() && self.commit.scrub.is_empty())
    }
}

/// Reads the file for a search of marks.
pub(super) fn reader(source: &ArchiveFile) -> impl FnMut(u64, usize) -> Result<Vec<u8>> + '_ {
    |offset, len| source.read(offset, len).map(Buffer::into_vec)
}
