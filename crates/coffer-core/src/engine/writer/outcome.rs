//! What comes of changes to a coffer.

use crate::format::commit::CommitId;

/// What came of a change.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It is done.
    Done,
    /// What an add or an update did, or whether a directory became a member.
    Added(Added),
    /// The batch's token. Changes given with it belong to the batch, all others wait until it ends.
    Batch(u64),
}

/// How a coffer stands.
#[derive(Debug, Clone, Copy, Default)]
pub struct Status {
    /// It is closed, or being closed.
    pub closed: bool,
    /// It has changes that no commit has.
    pub modified: bool,
    /// The last commit; all zero in a legacy coffer.
    pub commit: CommitId,
}

/// What an add did.
#[derive(Debug, Default, Clone)]
pub struct Added {
    /// Files added.
    pub files: u64,
    /// Empty directories added.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// Something that was not added.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: String,
}
