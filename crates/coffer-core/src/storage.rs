//! The file below a coffer, and the directory it lies in.
//!
//! Everything the engine does to a disk goes through these two traits, so that a test can put a
//! disk that fails, tears and loses power in their place.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::key;

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
    /// Opens an existing file, for writing too where `write` is set.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Storage>>;
    /// Makes an empty file, readable by its owner alone, and opens it for writing. An existing one
    /// is an error.
    fn create(&self, path: &Path) -> io::Result<Arc<dyn Storage>>;
    /// Gives a file another name beside its own. Without `replace` an existing file is an error.
    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Everything in the directory of `path`.
    fn beside(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the names in the directory of `path`, which exists, durable.
    fn sync_names(&self, path: &Path) -> io::Result<()>;
}

/// A file of the operating system.
pub(crate) struct DiskFile {
    file: File,
}

impl DiskFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    /// Opens an existing file, for writing too where `write` is set.
    pub(crate) fn open(path: &Path, write: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(Self { file })
    }

    /// Makes a file, readable by its owner alone. An existing one is an error.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        Ok(Self { file: options.open(path)? })
    }
}

impl Storage for DiskFile {
    #[cfg(unix)]
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buf.is_empty() {
            match self.file.seek_read(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => {
                    buf = buf.split_at_mut(n).1;
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    #[cfg(unix)]
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(&self.file, buf, offset)
    }

    #[cfg(windows)]
    fn write_at(&self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        use std::os::windows::fs::FileExt;
        while !buf.is_empty() {
            match self.file.seek_write(buf, offset) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    buf = buf.split_at(n).1;
                    offset += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }

    /// Linux starts to write what it is told to forget, and forgets only what is on the disk.
    #[cfg(target_os = "linux")]
    fn write_back(&self, bytes: Range<u64>) {
        let len = std::num::NonZeroU64::new(bytes.end.saturating_sub(bytes.start));
        if len.is_some() {
            // A system that cannot leaves it to the sync.
            let _ = rustix::fs::fadvise(&self.file, bytes.start, len, rustix::fs::Advice::DontNeed);
        }
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Within the system, or by sharing the bytes on the disk, where it can.
    #[cfg(target_os = "linux")]
    fn copy_from(
        &self,
        from: &dyn Storage,
        mut range: Range<u64>,
        mut offset: u64,
    ) -> io::Result<()> {
        use rustix::fs::copy_file_range;
        // The system may copy less than it is asked for, and calls that are interrupted begin anew.
        const STEP: u64 = 1 << 30;
        let Some(source) = from.file() else {
            return copy_through_memory(from, range, self, offset);
        };
        while range.start < range.end {
            let len = (range.end - range.start).min(STEP) as usize;
            let (read, write) = (Some(&mut range.start), Some(&mut offset));
            match copy_file_range(source, read, &self.file, write, len) {
                Err(e) if e == rustix::io::Errno::INTR => {}
                Ok(copied) if copied > 0 => {}
                // Not within this system, or not between these files: what is wrong with them
                // besides, the other way tells as well.
                _ => return copy_through_memory(from, range, self, offset),
            }
        }
        Ok(())
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// The directories of the operating system.
pub(crate) struct DiskDirectory;

impl Directory for DiskDirectory {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(DiskFile::open(path, write)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(DiskFile::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        if replace {
            return std::fs::rename(from, to);
        }
        tempfile::TempPath::try_from_path(from)?.persist_noclobber(to).map_err(|e| {
            // It is not for the failed renaming to remove the file.
            let _ = e.path.keep();
            e.error
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn beside(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(std::fs::read_dir(directory(path))?.flatten().map(|entry| entry.path()).collect())
    }

    #[cfg(unix)]
    fn sync_names(&self, path: &Path) -> io::Result<()> {
        File::open(directory(&std::fs::canonicalize(path)?))?.sync_all()
    }

    /// This system does so by itself.
    #[cfg(not(unix))]
    fn sync_names(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// How the names of files that are not finished yet end.
pub(crate) const UNFINISHED: &str = ".coffer-new";
/// How many random characters come before that.
const RANDOM: usize = 6;
/// How many names are tried.
const ATTEMPTS: usize = 64;

/// A file that is being made beside its final place, and is removed again unless it is published.
pub(crate) struct NewFile {
    directory: Arc<dyn Directory>,
    storage: Arc<dyn Storage>,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl NewFile {
    /// Creates the file, readable by its owner alone, in the directory of `target`.
    pub(crate) fn create(directory: &Arc<dyn Directory>, target: &Path) -> io::Result<Self> {
        let target = resolved(target);
        let (storage, path) = under_free_name(|random| {
            let name = unfinished_prefix(&target) + random + UNFINISHED;
            let path = target.with_file_name(name);
            Ok((directory.create(&path)?, path))
        })?;
        Ok(Self { directory: directory.clone(), storage, path, target, published: false })
    }

    /// The file's contents.
    #[must_use]
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }

    /// Gives the file the permissions of the one it is to replace, or is a copy of.
    pub(crate) fn permit_as(&self, old: &dyn Storage) -> io::Result<()> {
        match (old.file(), self.storage.file()) {
            (Some(old), Some(new)) => new.set_permissions(old.metadata()?.permissions()),
            _ => Ok(()),
        }
    }

    /// Gives the file, which is made durable first, its final name; see
    /// [`Directory::sync_names`]. Without `replace` an existing file is an error.
    pub(crate) fn publish(mut self, replace: bool) -> io::Result<()> {
        self.storage.sync_all()?;
        self.directory.rename(&self.path, &self.target, replace)?;
        self.published = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed at the next open.
            let _ = self.directory.remove(&self.path);
        }
    }
}

/// Removes what a killed process left unfinished beside `target`. Only for who holds its lock.
pub(crate) fn sweep_unfinished(directory: &dyn Directory, target: &Path) {
    let target = resolved(target);
    for path in directory.beside(&target).unwrap_or_default() {
        if is_unfinished(&target, &path) {
            // What cannot be removed now is removed at the next open.
            let _ = directory.remove(&path);
        }
    }
}

/// Whether a path is one that an unfinished file beside `target` has.
pub(crate) fn is_unfinished(target: &Path, path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = name
        .strip_prefix(&unfinished_prefix(target))
        .and_then(|rest| rest.strip_suffix(UNFINISHED));
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_alphanumeric()))
}

/// The name of the file that an unfinished file is to become, if a name is one of an unfinished file.
pub(crate) fn target_of_unfinished(name: &str) -> Option<&str> {
    let (target, random) = name.strip_prefix('.')?.strip_suffix(UNFINISHED)?.rsplit_once('.')?;
    let made = random.len() == RANDOM && random.bytes().all(|b| b.is_ascii_alphanumeric());
    made.then_some(target)
}

fn copy_through_memory<S: Storage + ?Sized>(
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

/// Where a file is or is to be: a link to a coffer stays a link.
fn resolved(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf())
}

fn unfinished_prefix(target: &Path) -> String {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format!(".{name}.")
}

/// Makes something under a name that nobody has, of six random letters and what `make` adds.
pub(crate) fn under_free_name<T>(mut make: impl FnMut(&str) -> io::Result<T>) -> io::Result<T> {
    const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    let mut tried = 0;
    loop {
        let random: String = key::random_bytes::<RANDOM>().into_iter().map(letter).collect();
        tried += 1;
        match make(&random) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tried < ATTEMPTS => {}
            made => return made,
        }
    }
}
