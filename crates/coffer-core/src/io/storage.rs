//! The file below a coffer, and the names beside it.
//!
//! Everything that the engine does to a disk goes through these traits, so that a test can put a
//! disk that fails, tears and loses power in its place.

use std::any::Any;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A file that is open for reading.
pub(crate) trait ReadAt: Any + Send + Sync {
    /// Reads exactly `buf.len()` bytes at `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// The length of the file in bytes now. This asks the storage: a caller that reads many ranges of
    /// one state of the file asks once.
    fn len(&self) -> io::Result<u64>;
    /// Announces ranges that are read soon, in this order, so that a storage whose reads take long
    /// fetches many of them at once and ahead. A hint: nothing is promised.
    fn will_read(&self, _ranges: &[Range<u64>]) {}
    /// The lock on the file itself, where there are such locks.
    fn lock(&self) -> Option<&dyn FileLock> {
        None
    }
    /// When the file was changed last, in seconds and nanoseconds since 1970, where that is known.
    fn modified(&self) -> io::Result<Option<(i64, u32)>> {
        Ok(None)
    }
    /// Owner, group and permissions, where files have them.
    fn ownership(&self) -> io::Result<Option<Ownership>> {
        Ok(None)
    }
}

/// A file that is open for reading and writing.
pub(crate) trait WriteAt: ReadAt {
    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Starts to write back bytes that were written, so that the next [`Self::sync`] has less to wait
    /// for. A hint: nothing is promised.
    fn write_back(&self, _bytes: Range<u64>) {}
    /// Makes every write so far durable.
    fn sync(&self) -> io::Result<()>;
    /// As [`Self::sync`], and the file's metadata too.
    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Copies a range of another file to `offset`.
    fn copy_from(&self, from: &dyn ReadAt, range: Range<u64>, offset: u64) -> io::Result<()> {
        copy_through_memory(from, range, self, offset)
    }
    /// Takes over the ownership of another file, as far as the system allows.
    fn adopt(&self, _ownership: &Ownership) -> io::Result<()> {
        Ok(())
    }
}

/// Who may hold a lock at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Share {
    /// Any number of readers.
    Shared,
    /// One writer and no reader.
    Exclusive,
}

/// An advisory lock on an open file. It belongs to the handle, so that two handles of one process
/// exclude each other too, and it ends when the handle is closed.
pub(crate) trait FileLock {
    /// One attempt to take the lock; `false` if another handle holds it.
    fn try_acquire(&self, share: Share) -> io::Result<bool>;
    /// Releases the lock before the handle is closed.
    fn release(&self) -> io::Result<()>;
    /// Whether the file is still the one that `path` names. Always true on systems without inodes,
    /// where a file that is open cannot be replaced.
    fn is_at(&self, path: &Path) -> bool;
}

/// Owner, group and permissions of a file.
#[derive(Debug, Clone)]
pub(crate) struct Ownership {
    #[cfg(unix)]
    pub(crate) user: u32,
    #[cfg(unix)]
    pub(crate) group: u32,
    pub(crate) permissions: std::fs::Permissions,
}

/// The names of files: which there are, and what can be done to them.
pub(crate) trait Namespace: Send + Sync {
    /// Whether there is something at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Whether there is a file at `path`, which is not opened. A directory, a pipe, a socket or a
    /// device is an error; see [`failed_to_open`](crate::io::disk::failed_to_open).
    fn has_file(&self, path: &Path) -> io::Result<bool>;
    /// Opens an existing file, for writing too where `write` is set.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn WriteAt>>;
    /// Creates an empty file, readable by its owner alone, and opens it for writing. An existing one
    /// is an error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteAt>>;
    /// Renames a file within its directory. Without `replace` an existing file is an error.
    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The regular files in `directory` that `wanted` picks by their paths, and that belong to this
    /// process's user or to the owner of the file that `wanted` names for them.
    fn leftovers(&self, directory: &Path, wanted: Wanted<'_>) -> io::Result<Vec<PathBuf>>;
    /// Opens the directory of `path`, so that its names can be made durable later, when no
    /// descriptor may be left.
    fn names(&self, path: &Path) -> io::Result<Arc<dyn Names>>;
}

/// Picks leftovers by their paths: gives the file that one was to become.
pub(crate) type Wanted<'a> = &'a dyn Fn(&Path) -> Option<&'a Path>;

/// The names in one directory.
pub(crate) trait Names: Send + Sync {
    /// Makes them durable: of new files, of renamed ones, of removed ones.
    fn sync(&self) -> io::Result<()>;
}

/// Copies a range of one file to an offset in another, a mebibyte at a time.
pub(crate) fn copy_through_memory<S: WriteAt + ?Sized>(
    from: &dyn ReadAt,
    range: Range<u64>,
    to: &S,
    offset: u64,
) -> io::Result<()> {
    const STEP: u64 = 1 << 20;
    let mut bytes = Vec::new();
    let mut at = range.start;
    while at < range.end {
        bytes.resize(STEP.min(range.end - at) as usize, 0);
        from.read_at(&mut bytes, at)?;
        to.write_at(&bytes, offset + (at - range.start))?;
        at += bytes.len() as u64;
    }
    Ok(())
}

/// The directory a file lies in.
#[must_use]
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether a path is a symbolic link, whether or not its target exists.
pub(crate) fn is_link(path: &Path) -> bool {
    path.is_symlink()
}

/// How owner and group of a file differ from those of the file that it replaced; `None` if both are
/// the same.
#[cfg(unix)]
pub(crate) fn owner_lost(old: &dyn ReadAt, new: &dyn ReadAt) -> Option<String> {
    let old = old.ownership().ok()??;
    let new = new.ownership().ok()??;
    ((old.user, old.group) != (new.user, new.group)).then(|| {
        format!(
            "belonged to user {} and group {}; the file in its place belongs to user {} and group {}, because only the superuser may give files away. Change it with chown",
            old.user, old.group, new.user, new.group
        )
    })
}

/// On this system a new file gets the owner that its directory implies.
#[cfg(not(unix))]
pub(crate) fn owner_lost(_old: &dyn ReadAt, _new: &dyn ReadAt) -> Option<String> {
    None
}
