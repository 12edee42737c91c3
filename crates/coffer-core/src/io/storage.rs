//! The file below a coffer, and the directory it lies in.
//!
//! Everything the engine does to a disk goes through these two traits, so that a test can put a
//! disk that fails, tears and loses power in their place.

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One open file.
pub(crate) trait Storage: Send + Sync {
    /// Reads exactly `buf.len()` bytes at `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Asks for bytes that were written to be on their way to the disk by the time of the next
    /// [`Self::sync`], so that it has less to wait for. Nothing is promised.
    fn write_back(&self, _bytes: Range<u64>) {}
    /// Makes every write so far durable.
    fn sync(&self) -> io::Result<()>;
    /// As [`Self::sync`], and what is said of the file besides: its permissions.
    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Writes at `offset` what another file has in a range.
    fn copy_from(&self, from: &dyn Storage, range: Range<u64>, offset: u64) -> io::Result<()> {
        copy_through_memory(from, range, self, offset)
    }
    /// The operating system's file, where there is one: for locks and identity.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// The directory a file lies in: what can be done to names.
pub(crate) trait Directory: Send + Sync {
    /// Whether there is something at `path`.
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// Whether there is a file at `path`, which is not opened. A directory, a pipe, a socket or a
    /// device is an error; see [`failed_to_open`].
    fn has_file(&self, path: &Path) -> io::Result<bool>;
    /// Opens an existing file, for writing too where `write` is set.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Storage>>;
    /// Makes an empty file, readable by its owner alone, and opens it for writing. An existing one
    /// is an error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Storage>>;
    /// Gives a file another name beside its own. Without `replace` an existing file is an error.
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
pub(crate) fn copy_through_memory<S: Storage + ?Sized>(
    from: &dyn Storage,
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

/// Whether a path is a link, whatever it leads to.
pub(crate) fn is_link(path: &Path) -> bool {
    path.is_symlink()
}

/// What has become of the owner and the group of a file that another one replaced, if the system did
/// not let both stay.
#[cfg(unix)]
pub(crate) fn owner_lost(old: &dyn Storage, new: &dyn Storage) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let about = |file: &dyn Storage| file.file()?.metadata().ok();
    let (old, new) = (about(old)?, about(new)?);
    let is = |about: &Metadata| (about.uid(), about.gid());
    let ((old_uid, old_gid), (uid, gid)) = (is(&old), is(&new));
    ((old_uid, old_gid) != (uid, gid)).then(|| {
        format!(
            "belonged to user {old_uid} and group {old_gid}; the file in its place belongs to user {uid} and group {gid}, because only the superuser may give files away. Change it with chown"
        )
    })
}

/// On this system a new file gets the owner that its directory implies.
#[cfg(not(unix))]
pub(crate) fn owner_lost(_old: &dyn Storage, _new: &dyn Storage) -> Option<String> {
    None
}
