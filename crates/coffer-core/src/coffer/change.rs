//! The changes that can be made to a coffer.

use crate::io::data::Data;
use std::path::PathBuf;

use crate::engine::credentials::NewCredentials;
use crate::engine::upload::Upload;
use crate::engine::writer::PackedMembers;
use crate::ops::add::Item;
use crate::ops::fs_tree::Symlinks;
use crate::progress::CallObserver;

/// A change to a coffer.
pub enum Change {
    /// Puts a member, which replaces one of the same name.
    Write {
        /// Its name.
        name: String,
        /// Its bytes.
        data: Data,
        /// Its mode, by default the old one or 0644.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, by default now.
        mtime: Option<(i64, u32)>,
    },
    /// Puts small members in their order, each as [`Self::Write`] does: one that fails leaves the others.
    /// See [`Outcome::Wrote`](super::Outcome::Wrote).
    WriteMany {
        /// The members, of at most 128 KiB each.
        members: PackedMembers,
    },
    /// Appends to a member, or creates it.
    Append {
        /// Its name.
        name: String,
        /// The bytes to append.
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
        /// Its mode, by default the old one or 0644.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, by default now.
        mtime: Option<(i64, u32)>,
    },
    /// Makes a directory a member, unless there are members in it: their names imply it.
    Directory {
        /// Its name.
        name: String,
        /// Its mode, by default the old one or 0755.
        mode: Option<u32>,
        /// Its time in seconds and nanoseconds, by default now.
        mtime: Option<(i64, u32)>,
    },
    /// Adds a file or a tree.
    Add {
        /// The file or directory.
        source: PathBuf,
        /// Its name in the coffer; by default that of the file.
        name: Option<String>,
        /// Whether members of the same names are replaced.
        replace: bool,
        /// How symbolic links are treated.
        symlinks: Symlinks,
        /// Cancellation and progress.
        watch: CallObserver,
    },
    /// Deletes members and adds files, all of it or nothing.
    Update {
        /// The members to delete; one that does not exist is no error.
        delete: Vec<String>,
        /// The files to add; they replace members of the same names. A file that has changed since it
        /// was listed is [`Code::Stale`](crate::error::Code::Stale).
        add: Vec<Item>,
        /// Cancellation and progress.
        watch: CallObserver,
    },
    /// Deletes a member.
    Delete {
        /// Its name.
        name: String,
        /// Whether everything below it is deleted, too.
        recursive: bool,
    },
    /// Commits the changes since the last commit.
    Flush {
        /// Whether to commit even if there are none.
        force: bool,
    },
    /// Rewrites the coffer without its dead blocks.
    Compact {
        /// Cancellation and progress.
        watch: CallObserver,
    },
    /// Rewrites the coffer under new keys.
    Rekey {
        /// The new keys, or the passphrase they come from.
        to: NewCredentials,
        /// Cancellation and progress.
        watch: CallObserver,
    },
    /// Begins a batch: see [`Outcome::Batch`](super::Outcome::Batch).
    Begin,
    /// Ends the batch that the change belongs to.
    End {
        /// Whether its changes are committed or all undone.
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

/// What becomes of an existing member when an upload gets its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existing {
    /// The upload replaces it.
    Replace,
    /// The upload is appended to it.
    Extend,
    /// It stays, and the upload fails.
    Keep,
}
