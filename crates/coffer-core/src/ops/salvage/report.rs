//! The report of a salvage.

use super::span::Span;
use crate::engine::open::Notice;
use crate::format::commit::CommitId;

/// Why a member is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Bytes of it are damaged.
    Damaged,
    /// The file ends before it, or its place is not known.
    Missing,
    /// Dead space stands in its place: it was deleted, or moved, by a commit that cannot be read.
    Overwritten,
    /// Its name or its type is refused, or another member has its name.
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
    /// The reason in detail.
    pub message: String,
    /// The blocks of the damaged file that could not be read.
    pub damage: Vec<Span>,
}

/// The report of a salvage: the members brought over, and those that are lost.
#[derive(Debug, Clone, Default)]
pub struct Salvaged {
    /// Members in the new coffer.
    pub members: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The names of those that no commit authenticates: a person who chose contents may have forged
    /// them.
    pub unverified: Vec<String>,
    /// The directory that they are below, each under its claimed name; `None` if there are none, or
    /// they have their claimed names.
    pub apart: Option<String>,
    /// Members of known names that could not be brought over.
    pub lost: Vec<Lost>,
    /// Bytes that were decrypted but belong to no member of a known name.
    pub nameless: u64,
    /// The newest commit that could be read.
    pub commit: Option<CommitId>,
    /// Whether `lost` is complete: no commit is missing between a snapshot and that one, and there is no
    /// trace of a newer one.
    pub complete: bool,
    /// Further findings.
    pub notices: Vec<Notice>,
}
