//! The results of changes to a coffer, and its status.

use crate::error::Error;
use crate::format::commit::CommitId;

/// The result of a change.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// The change was made.
    Done,
    /// The members that an add or an update added, or that a directory became.
    Added(Added),
    /// The members among many that were not written: the position of each, from 0 on, and its error.
    Wrote(Vec<(usize, Error)>),
    /// The batch's token. Changes given with it belong to the batch, all others wait until it ends.
    Batch(u64),
}

/// The status of a coffer.
#[derive(Debug, Clone, Copy, Default)]
pub struct Status {
    /// It is closed, or being closed.
    pub closed: bool,
    /// It has changes that no commit has.
    pub modified: bool,
    /// Its file is being compacted, between changes.
    pub compacting: bool,
    /// The last commit; all zero in a legacy coffer. That of a coffer which replaces a file is in the
    /// new file.
    pub commit: CommitId,
    /// When the file at the path was changed last, in seconds and nanoseconds since 1970: as it was
    /// when the coffer was opened, or after the last commit. `None` where the system does not say.
    pub mtime: Option<(i64, u32)>,
}

/// The members that were added, and the files that were left out.
#[derive(Debug, Default, Clone)]
pub struct Added {
    /// Files added.
    pub files: u64,
    /// Empty directories added.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// The files that were left out.
    pub skipped: Vec<Skipped>,
}

/// A file that was not added.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// The reason, in words.
    pub reason: String,
}
