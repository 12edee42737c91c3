//! What can be done to a coffer, and what comes of it.

use std::path::PathBuf;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::coffer::CommitId;
use crate::engine::credentials::NewSecret;
use crate::engine::upload::Stage;
use crate::error::{Code, Error, Result};
use crate::ops::add::{Added, Item};
use crate::ops::fs_tree::Symlinks;
use crate::progress::Watch;

/// Bytes that a caller hands over. Those of a large member are copied piece by piece, in order and
/// each once, on the thread that writes: they may still be coming.
pub trait Bytes: Send + Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Copies the bytes from `offset` on into all of `into`.
    ///
    /// # Errors
    /// [`Code::Aborted`] if they will never come.
    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()>;

    /// A copy of all of them, wiped when it is dropped.
    ///
    /// # Errors
    /// As [`Self::copy_to`].
    fn copied(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut copy = Zeroizing::new(vec![0; self.size()]);
        self.copy_to(0, &mut copy)?;
        Ok(copy)
    }
}

impl<T: AsRef<[u8]> + Send + Sync> Bytes for T {
    fn size(&self) -> usize {
        self.as_ref().len()
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let bytes = self.as_ref().get(offset..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(
            bytes.ok_or_else(|| Error::new(Code::InvalidArg, "there are fewer bytes"))?,
        );
        Ok(())
    }
}

/// Bytes that a caller hands over.
pub type Data = Arc<dyn Bytes>;

/// A change to a coffer.
pub enum Change {
    /// Puts a member, in place of whatever has its name.
    Write {
        /// Its name.
        name: String,
        /// Its bytes.
        data: Data,
        /// Its mode, in place of the old one or 0644.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, in place of now.
        mtime: Option<(i64, u32)>,
    },
    /// Appends to a member, or makes it.
    Append {
        /// Its name.
        name: String,
        /// What to append.
        data: Data,
    },
    /// Puts a member that came little by little, all of it or nothing.
    Staged {
        /// Its name.
        name: String,
        /// Its bytes.
        stage: Stage,
        /// What becomes of a member of that name.
        existing: Existing,
        /// Its mode, in place of the old one or 0644.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, in place of now.
        mtime: Option<(i64, u32)>,
    },
    /// Makes a directory a member, unless there are members in it, which say that it is there.
    Directory {
        /// Its name.
        name: String,
        /// Its mode, in place of the old one or 0755.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, in place of now.
        mtime: Option<(i64, u32)>,
    },
    /// Adds a file or a tree.
    Add {
        /// The file or directory.
        source: PathBuf,
        /// What it is called in the coffer; by default as it is.
        name: Option<String>,
        /// Whether members of the same names are replaced.
        replace: bool,
        /// What to do with symbolic links.
        symlinks: Symlinks,
        /// Who watches.
        watch: Watch,
    },
    /// Deletes members and adds files: all of it, or nothing.
    Update {
        /// The members to delete; what is gone already is no error.
        delete: Vec<String>,
        /// What to add, in place of whatever has the name. A file that has changed since it was
        /// looked at is [`Code::Stale`].
        add: Vec<Item>,
        /// Who watches.
        watch: Watch,
    },
    /// Deletes a member.
    Delete {
        /// Its name.
        name: String,
        /// With everything below it.
        recursive: bool,
    },
    /// Commits what has changed.
    Flush {
        /// Even if nothing has.
        force: bool,
    },
    /// Rewrites the coffer without its dead blocks.
    Compact {
        /// Who watches.
        watch: Watch,
    },
    /// Rewrites the coffer under new keys.
    Rekey {
        /// The new keys, or the passphrase they come from.
        to: NewSecret,
        /// Who watches.
        watch: Watch,
    },
    /// Begins a batch: see [`Outcome::Batch`].
    Begin,
    /// Ends the batch that the change belongs to.
    End {
        /// Keeps and commits its changes, or undoes them all.
        commit: bool,
    },
    /// Flushes and closes.
    Close,
}

impl Change {
    /// A write with the attributes it has by default.
    pub fn write(name: &str, data: Data) -> Self {
        Self::Write { name: name.to_owned(), data, mode: None, mtime: None }
    }
}

/// What becomes of a member whose name is given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The new one takes its place.
    Replace,
    /// The new bytes are appended to it.
    Extend,
    /// It stays, and the new one is an error.
    Keep,
}

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
