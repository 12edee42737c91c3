//! What a salvage says in the end.

use super::span::Span;
use crate::engine::open::Notice;
use crate::format::commit::CommitId;

/// Why a member is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Bytes of it are damaged.
    Damaged,
    /// The file ends before it, or nothing that could be read says where it is.
    Missing,
    /// Something that was deleted left dead space where it was: it was deleted, or moved, by a commit
    /// that cannot be read.
    Overwritten,
    /// Its name, or what it is, is refused, or another member has its place.
    Refused,
}

impl Reason {
    /// The name, such as `damaged`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Damaged => "damaged",
            Self::Missing => "missing",
            Self::Overwritten => "overwritten",
            Self::Refused => "refused",
        }
    }
}

/// A member that could not be brought over.
#[derive(Debug, Clone)]
pub struct Lost {
    /// Its name.
    pub name: String,
    /// Why it is lost.
    pub reason: Reason,
    /// What is known beyond that.
    pub message: String,
    /// Where in the damaged file the blocks lie that could not be read.
    pub damage: Vec<Span>,
}

/// What a salvage brought over, and what is lost.
#[derive(Debug, Clone, Default)]
pub struct Salvaged {
    /// Members in the new coffer.
    pub members: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of them that no commit vouches for: anyone who chose contents may have made them up.
    pub unverified: Vec<String>,
    /// The directory that they are below, each under the name that it claims; `None` if there are
    /// none, or they have the names themselves.
    pub apart: Option<String>,
    /// Members whose names are known, and that could not be brought over.
    pub lost: Vec<Lost>,
    /// Bytes that open but belong to no member whose name is known.
    pub nameless: u64,
    /// The newest commit that could be read.
    pub commit: Option<CommitId>,
    /// Nothing is missing between a snapshot and that commit, and there is no trace of a newer one:
    /// `lost` are all that is lost.
    pub complete: bool,
    /// What was found beside.
    pub notices: Vec<Notice>,
}
