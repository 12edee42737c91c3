//! The file below a coffer, and the directory it lies in.
//!
//! Everything the engine does to a disk goes through these two traits, so that a test can put a
//! disk that fails, tears and loses power in their place.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// One open file.
pub(crate) trait Storage: Send + Sync {
    /// Reads exactly `buf.len()` bytes at `offset`.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;
    /// Writes all of `buf` at `offset`.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;
    /// Makes every write so far durable.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file to `len` bytes.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// The operating system's file, where there is one: for locks and identity.
    fn file(&self) -> Option<&File> {
        None
    }
}

/// A file of the operating system.
pub(crate) struct DiskFile {
    file: File,
}

impl DiskFile {
    /// Opens an existing file, for writing too where `write` is set.
    pub(crate) fn open(path: &Path, write: bool) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(write).open(path)?;
        Ok(Self { file })
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

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

/// How the names of files that are not finished yet end.
pub(crate) const UNFINISHED: &str = ".coffer-new";
/// How many random characters come before that.
const RANDOM: usize = 6;

/// A file that is being made beside its final place, and is removed again unless it is published.
pub(crate) struct NewFile {
    storage: std::sync::Arc<DiskFile>,
    path: tempfile::TempPath,
    target: PathBuf,
}

impl NewFile {
    /// Creates the file, readable by its owner alone, in the directory of `target`.
    pub(crate) fn create(target: &Path) -> io::Result<Self> {
        // A link to a coffer stays a link.
        let target = &std::fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
        let (file, path) = temporary_file(
            tempfile::Builder::new()
                .prefix(&unfinished_prefix(target))
                .suffix(UNFINISHED)
                .rand_bytes(RANDOM),
            directory(target),
        )?
        .into_parts();
        Ok(Self {
            storage: std::sync::Arc::new(DiskFile { file }),
            path,
            target: target.to_path_buf(),
        })
    }

    /// The file's contents.
    #[must_use]
    pub(crate) fn storage(&self) -> std::sync::Arc<DiskFile> {
        self.storage.clone()
    }

    /// Gives the file the permissions of the one it is to replace.
    pub(crate) fn permit_as(&self, old: &File) -> io::Result<()> {
        self.storage.file.set_permissions(old.metadata()?.permissions())
    }

    /// Gives the file, which is made durable first, its final name; see [`sync_directory`]. Without `replace` an existing file is an error.
    pub(crate) fn publish(self, replace: bool) -> io::Result<()> {
        self.storage.file.sync_all()?;
        if replace {
            self.path.persist(&self.target).map_err(|e| e.error)?;
        } else {
            self.path.persist_noclobber(&self.target).map_err(|e| e.error)?;
        }
        Ok(())
    }
}

/// A new file in a directory, readable by its owner alone and removed when dropped. Its errors are
/// the system's own: those of `Builder::tempfile_in` have lost their number.
pub(crate) fn temporary_file(
    named: &tempfile::Builder<'_, '_>,
    directory: &Path,
) -> io::Result<tempfile::NamedTempFile> {
    named.make_in(directory, |path| {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path)
    })
}

/// Removes what a killed process left unfinished beside `target`. Only for who holds its lock.
pub(crate) fn sweep_unfinished(target: &Path) {
    let target = &std::fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
    let Ok(entries) = std::fs::read_dir(directory(target)) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if is_unfinished(target, &path) {
            // What cannot be removed now is removed at the next open.
            let _ = std::fs::remove_file(path);
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

/// The directory a file lies in.
#[must_use]
pub(crate) fn directory(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn unfinished_prefix(target: &Path) -> String {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format!(".{name}.")
}

/// Makes the names in the directory of `target` durable.
#[cfg(unix)]
pub(crate) fn sync_directory(target: &Path) -> io::Result<()> {
    let target = std::fs::canonicalize(target)?;
    File::open(directory(&target))?.sync_all()
}

/// Makes the names in the directory of `target` durable, as this system does by itself.
#[cfg(not(unix))]
pub(crate) fn sync_directory(_path: &Path) -> io::Result<()> {
    Ok(())
}
