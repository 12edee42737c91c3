//! What can be done to a coffer, and what comes of it.

use crate::io::data::Data;
use std::path::PathBuf;

use crate::engine::credentials::NewCredentials;
use crate::engine::upload::Upload;
use crate::ops::add::Item;
use crate::ops::fs_tree::Symlinks;
use crate::progress::CallObserver;

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
    /// Puts a member whose bytes came in parts, all of it or nothing.
    Upload {
        /// Its name.
        name: String,
        /// Its bytes.
        upload: Upload,
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
        watch: CallObserver,
    },
    /// Deletes members and adds files: all of it, or nothing.
    Update {
        /// The members to delete; what is gone already is no error.
        delete: Vec<String>,
        /// What to add, in place of whatever has the name. A file that has changed since it was
        /// looked at is [`Code::Stale`].
        add: Vec<Item>,
        /// Who watches.
        watch: CallObserver,
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
        watch: CallObserver,
    },
    /// Rewrites the coffer under new keys.
    Rekey {
        /// The new keys, or the passphrase they come from.
        to: NewCredentials,
        /// Who watches.
        watch: CallObserver,
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
