//! The calls of a handle that read: members, the coffer itself, and files outside beside it.

use std::collections::BTreeMap;
use std::path::Path;

use zeroize::Zeroizing;

use super::Coffer;
use crate::engine::reader::{Member, Range};
use crate::engine::selection::Selection;
use crate::engine::writer::Status;
#[cfg(doc)]
use crate::error::Code;
use crate::error::Result;
use crate::io::protected_paths::ProtectedPaths;
use crate::ops::compare;
use crate::ops::extract::{self, Extracted, Extraction};
use crate::ops::file_crypt::Cryptor;
use crate::ops::fs_tree::{self, Entry, Symlinks};
use crate::ops::info::{self, Info};
use crate::ops::verify::{self, Verified};
use crate::progress::{CallObserver, Cancel};

impl Coffer {
    /// Reads a member whole.
    ///
    /// # Errors
    /// [`Code::MemberNotFound`], [`Code::IsDirectory`], [`Code::TooLarge`], [`Code::Corrupt`],
    /// [`Code::Stale`], [`Code::Limit`], [`Code::Closed`], [`Code::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        self.read_whole(name, u64::MAX)
    }

    /// Reads a member of at most `most` bytes whole. Nothing is decoded of a larger one.
    ///
    /// # Errors
    /// As [`Self::read`]; [`Code::Limit`] also for a member that has more.
    pub fn read_whole(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        self.reading(|reader| Ok(reader.read_whole(name, most)?.bytes))
    }

    /// Reads a small member whole, if its bytes are in memory already: for a thread that must not
    /// block. For `None`, use [`Self::ask`].
    #[must_use]
    pub fn read_at_once(&self, name: &str) -> Option<Zeroizing<Vec<u8>>> {
        if self.status().closed { None } else { self.reader().read_at_once(name) }
    }

    /// Reads at most `len` bytes of a member from `start`, decoding only the blocks they are in.
    /// With `version`, fails unless the member is still of that version.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_range(
        &self,
        name: &str,
        start: u64,
        len: u64,
        version: Option<u64>,
    ) -> Result<Range> {
        self.reading(|reader| reader.read_on(name, start, len, len, version))
    }

    /// Reads as [`Self::read_range`] does, and goes on to the end of the last block it decodes, up
    /// to `most` bytes, so that a sequential reader decodes no block twice.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_on(
        &self,
        name: &str,
        start: u64,
        len: u64,
        most: u64,
        version: Option<u64>,
    ) -> Result<Range> {
        self.reading(|reader| reader.read_on(name, start, len, most.max(len), version))
    }

    /// The members whose names begin with `prefix` and come behind `after`, in the order of their
    /// bytes, as one consistent state: at most `limit` of them. The cost is that of what is returned,
    /// however many members there are.
    ///
    /// # Errors
    /// [`Code::Closed`].
    pub fn members(
        &self,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Vec<Member>> {
        let mut members = Vec::new();
        self.each_member(prefix, after, limit, |member| members.push(member))?;
        Ok(members)
    }

    /// As [`Self::members`], which are given to `take` one after another. The coffer does not change
    /// meanwhile.
    ///
    /// # Errors
    /// [`Code::Closed`].
    pub fn each_member(
        &self,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: Option<usize>,
        take: impl FnMut(Member),
    ) -> Result<()> {
        self.reading(|reader| {
            reader.each_member(prefix, after, limit, take);
            Ok(())
        })
    }

    /// Members and their versions, as one consistent state, in the order of their names.
    ///
    /// # Errors
    /// [`Code::MemberNotFound`], [`Code::InvalidArg`], [`Code::Closed`].
    pub fn versions(&self, selection: &Selection) -> Result<Vec<(Member, u64)>> {
        self.reading(|reader| reader.versions(selection))
    }

    /// Whether there is a member of a name, or a directory, also one that names of members imply.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for an invalid name, [`Code::Closed`].
    pub fn has(&self, name: &str) -> Result<bool> {
        self.reading(|reader| reader.has(name))
    }

    /// As [`Self::has`], for a thread that must not block; `None` where it would.
    #[must_use]
    pub fn has_at_once(&self, name: &str) -> Option<bool> {
        if self.status().closed { None } else { self.reader().has_at_once(name) }
    }

    /// A member, or a directory that the names of members imply.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] for an invalid name, [`Code::Closed`].
    pub fn stat(&self, name: &str) -> Result<Option<Member>> {
        self.reading(|reader| reader.stat(name))
    }

    /// As [`Self::stat`], for a thread that must not block; `None` where more than a look-up is needed.
    #[must_use]
    pub fn stat_at_once(&self, name: &str) -> Option<Member> {
        if self.status().closed { None } else { self.reader().stat_at_once(name) }
    }

    /// Extracts members below a directory.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::NameCollision`], [`Code::UnsafePath`], [`Code::MemberNotFound`],
    /// [`Code::InvalidArg`], [`Code::TooLarge`], [`Code::Aborted`], and as [`Self::read`].
    pub fn extract(
        &self,
        what: &Extraction,
        target: &Path,
        watch: &CallObserver,
    ) -> Result<Extracted> {
        let protected = self.protected();
        self.reading(|reader| extract::extract(reader, what, target, &protected, watch))
    }

    /// The names of those members whose bytes differ from those of their files. `pairs` has the file
    /// for each name.
    ///
    /// # Errors
    /// [`Code::MemberNotFound`], [`Code::Aborted`], [`Code::Io`] for a file that cannot be read,
    /// and as [`Self::read`].
    pub fn differing(
        &self,
        pairs: &BTreeMap<String, Entry>,
        watch: &CallObserver,
    ) -> Result<Vec<String>> {
        self.reading(|reader| compare::differing(reader, pairs, watch))
    }

    /// The file, directory or link at a path outside; `follow` says whether a link is followed.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn look(&self, path: &Path, follow: bool) -> Result<Option<Entry>> {
        fs_tree::look(path, follow, &self.protected())
    }

    /// The entries of a directory outside that was found before, in the order of their names. It is
    /// opened without following links below the root of its tree.
    ///
    /// # Errors
    /// [`Code::UnsafePath`] if it was replaced meanwhile, [`Code::Io`].
    pub fn list(&self, directory: &Entry, symlinks: Symlinks) -> Result<Vec<Entry>> {
        fs_tree::list(&directory.root, &directory.path, symlinks, &self.protected())
    }

    fn protected(&self) -> ProtectedPaths {
        ProtectedPaths::of(&self.0.path, self.0.backup.as_deref())
    }

    /// Removes files, links and empty directories below a directory outside, in the given order.
    /// Their paths are relative to it, as names are; a path that does not exist is no error.
    ///
    /// # Errors
    /// [`Code::UnsafePath`] for a path that would leave the directory, [`Code::InvalidArg`],
    /// [`Code::Aborted`], [`Code::Io`].
    pub fn remove(&self, root: &Path, paths: &[String], cancel: &Cancel) -> Result<()> {
        fs_tree::remove(root, paths, cancel)
    }

    /// The kind of the coffer, its sizes, and the use of its file.
    ///
    /// # Errors
    /// [`Code::Closed`], [`Code::Io`].
    pub fn info(&self) -> Result<Info> {
        let Status { commit, compacting, .. } = self.status();
        let info = self.reading(|reader| info::info(reader, &self.0.path, commit.generation))?;
        Ok(Info { compacting, ..info })
    }

    /// Reads and checks every member and every block.
    ///
    /// # Errors
    /// [`Code::Corrupt`], naming the members that are damaged; [`Code::Aborted`].
    pub fn verify(&self, watch: &CallObserver) -> Result<Verified> {
        self.reading(|reader| verify::verify(reader, watch))
    }

    /// A cryptor for files outside, with the coffer's key. It outlives the coffer.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if the coffer seals nothing, [`Code::Closed`].
    pub fn cryptor(&self) -> Result<Cryptor> {
        self.reading(|reader| Cryptor::of(&reader.view.read().source.layers, &self.0.path))
    }
}
