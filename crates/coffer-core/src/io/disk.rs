//! The file system of the operating system, as [`ReadAt`], [`WriteAt`] and [`Namespace`].

use std::fmt;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Code, Error};
use crate::io::storage::{
    FileLock, Names, Namespace, Ownership, ReadAt, Wanted, WriteAt, copy_through_memory, directory,
};

/// A file of the operating system.
pub(crate) struct DiskFile {
    pub(super) file: File,
}

impl DiskFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    /// Opens an existing regular file, for writing too where `write` is set. Anything else is an
    /// error, without waiting; see [`failed_to_open`].
    pub(crate) fn open(path: &Path, write: bool) -> io::Result<Self> {
        // Opening a pipe waits for its other end, and opening a device may have effects.
        regular(&std::fs::metadata(path)?)?;
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            // Another process may have put a pipe or a terminal there since.
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits() as i32);
        }
        let file = opened(&options, path)?;
        regular(&file.metadata()?)?;
        Ok(Self { file })
    }

    /// Reads the next bytes from the file's own position, at least one unless it ends, and says how
    /// many: for pipes, and for files whose length only their end tells.
    pub(crate) fn read_next(&self, buf: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buf)
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

impl ReadAt for DiskFile {
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

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn lock(&self) -> Option<&dyn FileLock> {
        Some(&self.file)
    }

    fn modified(&self) -> io::Result<Option<(i64, u32)>> {
        let about = self.file.metadata()?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            Ok(Some((about.mtime(), u32::try_from(about.mtime_nsec()).unwrap_or(0))))
        }
        #[cfg(not(unix))]
        {
            let since = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            Ok(Some((i64::try_from(since.as_secs()).unwrap_or(i64::MAX), since.subsec_nanos())))
        }
    }

    fn ownership(&self) -> io::Result<Option<Ownership>> {
        let about = self.file.metadata()?;
        Ok(Some(Ownership {
            #[cfg(unix)]
            user: std::os::unix::fs::MetadataExt::uid(&about),
            #[cfg(unix)]
            group: std::os::unix::fs::MetadataExt::gid(&about),
            permissions: about.permissions(),
        }))
    }
}

impl WriteAt for DiskFile {
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

    /// `POSIX_FADV_DONTNEED` makes Linux start to write dirty pages, which stay cached until they are
    /// written.
    #[cfg(target_os = "linux")]
    fn write_back(&self, bytes: Range<u64>) {
        let len = std::num::NonZeroU64::new(bytes.end.saturating_sub(bytes.start));
        if len.is_some() {
            // Where this fails, the sync does all the work.
            let _ = rustix::fs::fadvise(&self.file, bytes.start, len, rustix::fs::Advice::DontNeed);
        }
    }

    fn sync(&self) -> io::Result<()> {
        durable(&self.file, File::sync_data)
    }

    fn sync_all(&self) -> io::Result<()> {
        durable(&self.file, File::sync_all)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    /// In the kernel, by reflink where the file system has it; else through memory.
    #[cfg(target_os = "linux")]
    fn copy_from(
        &self,
        from: &dyn ReadAt,
        mut range: Range<u64>,
        mut offset: u64,
    ) -> io::Result<()> {
        use rustix::fs::copy_file_range;
        // The kernel may copy less than it is asked for, and interrupted calls are repeated.
        const STEP: u64 = 1 << 30;
        let any: &dyn std::any::Any = from;
        let Some(source) = any.downcast_ref::<Self>() else {
            return copy_through_memory(from, range, self, offset);
        };
        while range.start < range.end {
            let len = (range.end - range.start).min(STEP) as usize;
            let (read, write) = (Some(&mut range.start), Some(&mut offset));
            match copy_file_range(&source.file, read, &self.file, write, len) {
                Err(e) if e == rustix::io::Errno::INTR => {}
                Ok(copied) if copied > 0 => {}
                // Not supported, or not between these files. Any other error comes again
                // from the copy through memory.
                _ => return copy_through_memory(from, range, self, offset),
            }
        }
        Ok(())
    }

    /// Only the superuser gives files away, and others may choose among their own groups. Where the
    /// group cannot stay, no permission is given to the one that takes its place.
    #[cfg(unix)]
    fn adopt(&self, ownership: &Ownership) -> io::Result<()> {
        use rustix::fs::fchown;
        use rustix::process::{Gid, Uid};
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let mut permissions = ownership.permissions.clone();
        let own = self.file.metadata()?;
        let (uid, gid) = (Uid::from_raw(ownership.user), Gid::from_raw(ownership.group));
        if (own.uid(), own.gid()) != (ownership.user, ownership.group)
            && fchown(&self.file, Some(uid), Some(gid)).is_err()
            && own.gid() != ownership.group
            && fchown(&self.file, None, Some(gid)).is_err()
        {
            permissions.set_mode(permissions.mode() & !0o070);
        }
        // Changing the owner takes permissions away.
        self.file.set_permissions(permissions)
    }

    #[cfg(not(unix))]
    fn adopt(&self, ownership: &Ownership) -> io::Result<()> {
        self.file.set_permissions(ownership.permissions.clone())
    }
}

/// The names in the directories of the operating system.
pub(crate) struct DiskNamespace;

impl Namespace for DiskNamespace {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn has_file(&self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            found => regular(&found?).map(|()| true),
        }
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn WriteAt>> {
        Ok(Arc::new(DiskFile::open(path, write)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteAt>> {
        Ok(Arc::new(DiskFile::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        if replace {
            return std::fs::rename(from, to).map_err(not_over_an_open_file);
        }
        tempfile::TempPath::try_from_path(from)?.persist_noclobber(to).map_err(|e| {
            // A failed rename must not remove the file.
            let _ = e.path.keep();
            let refused = e.error.kind() == io::ErrorKind::PermissionDenied;
            if cfg!(unix) && (refused || is_unsupported(&e.error)) {
                return advised(e.error, NO_NEW_NAME);
            }
            e.error
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn leftovers(&self, directory: &Path, wanted: Wanted<'_>) -> io::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(directory)?.flatten().map(|entry| entry.path());
        Ok(entries.filter(|path| wanted(path).is_some_and(|of| is_leftover(path, of))).collect())
    }

    #[cfg(unix)]
    fn names(&self, path: &Path) -> io::Result<Arc<dyn Names>> {
        match File::open(directory(path)) {
            Ok(directory) => Ok(Arc::new(DiskNames(Some(directory)))),
            // A directory that may be written to but not read cannot be made durable.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(Arc::new(DiskNames(None))),
            Err(e) => Err(e),
        }
    }

    /// This system makes names durable by itself.
    #[cfg(not(unix))]
    fn names(&self, _path: &Path) -> io::Result<Arc<dyn Names>> {
        Ok(Arc::new(DiskNames(None)))
    }
}

/// A directory of the operating system, if it could be opened.
struct DiskNames(Option<File>);

impl Names for DiskNames {
    fn sync(&self) -> io::Result<()> {
        let Some(directory) = &self.0 else { return Ok(()) };
        match durable(directory, File::sync_all) {
            // Some file systems, network and FUSE ones above all, cannot sync a directory, and
            // have nothing in its place.
            Err(e) if is_unsupported(&e) => Ok(()),
            synced => synced,
        }
    }
}

/// Makes a file durable with the strongest call that its file system knows.
///
/// `strongest` is a call of the standard library, which on Apple's systems asks the drive itself
/// (`F_FULLFSYNC`). Network shares refuse that, and `fsync` is tried there.
fn durable(file: &File, strongest: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let synced = strongest(file);
    #[cfg(unix)]
    if synced.as_ref().is_err_and(is_unsupported) {
        return Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(file))?);
    }
    synced
}

/// Whether a call failed because the file system does not support it.
pub(crate) fn is_unsupported(error: &io::Error) -> bool {
    #[cfg(unix)]
    {
        use rustix::io::Errno;
        const UNKNOWN: [Errno; 6] = [
            Errno::NOTSUP,
            Errno::OPNOTSUPP,
            Errno::NOSYS,
            Errno::NOTTY,
            Errno::INVAL,
            Errno::NOLCK,
        ];
        Errno::from_io_error(error).is_some_and(|errno| UNKNOWN.contains(&errno))
    }
    #[cfg(not(unix))]
    {
        matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
    }
}

/// An error with advice.
#[derive(Debug)]
struct Advised {
    source: io::Error,
    advice: &'static str,
}

impl fmt::Display for Advised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.source, self.advice)
    }
}

impl std::error::Error for Advised {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// The same error with advice.
pub(crate) fn advised(error: io::Error, advice: &'static str) -> io::Error {
    io::Error::new(error.kind(), Advised { source: error, advice })
}

const NO_NEW_NAME: &str = "this file system may not be able to name a file without replacing one that is there \
    (neither RENAME_NOREPLACE nor hard links): make the file in another directory and move it here";

#[cfg(windows)]
const OPEN_FILE: &str = "this file system (FAT, or a network share) may not replace a file that is open: close every \
    other handle on it, or keep it on NTFS";

/// Adds advice to the error of a file system that cannot replace a file while it is open, as FAT and
/// many network shares. NTFS can.
fn not_over_an_open_file(error: io::Error) -> io::Error {
    #[cfg(windows)]
    {
        // ERROR_INVALID_FUNCTION, _ACCESS_DENIED, _SHARING_VIOLATION, _NOT_SUPPORTED and
        // _INVALID_PARAMETER: which one depends on the file system's driver.
        const REFUSALS: [i32; 5] = [1, 5, 32, 50, 87];
        if error.raw_os_error().is_some_and(|code| REFUSALS.contains(&code)) {
            return advised(error, OPEN_FILE);
        }
    }
    error
}

/// The error of a path that names no regular file; it says what is there.
#[derive(Debug)]
struct NotAFile(&'static str);

impl fmt::Display for NotAFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "it is {}, not a regular file", self.0)
    }
}

impl std::error::Error for NotAFile {}

fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NotAFile(what(about))))
}

/// What is at a path in place of a regular file.
fn what(about: &Metadata) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        let kind = about.file_type();
        if kind.is_fifo() {
            return "a pipe";
        }
        if kind.is_socket() {
            return "a socket";
        }
        if kind.is_block_device() || kind.is_char_device() {
            return "a device";
        }
    }
    if about.is_dir() { "a directory" } else { "something else" }
}

/// Whether an error is that of a path that names no regular file.
pub(crate) fn is_no_file(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotAFile>())
}

/// The error of a coffer that could not be opened.
pub(crate) fn failed_to_open(path: &Path, error: &io::Error) -> Error {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<NotAFile>()) {
        Some(NotAFile(what)) => {
            let message = format!(
                "{} is {what}, and a coffer is a regular file: give the path of one",
                path.display()
            );
            Error::new(Code::InvalidArg, message).at(path)
        }
        None => Error::io("open", path, error),
    }
}

/// Opens a file. Where another process holds a lease on it, as file servers do, the kernel asks that
/// process to release it and a call that does not block fails: it is repeated.
fn opened(options: &OpenOptions, path: &Path) -> io::Result<File> {
    const ATTEMPTS: usize = 100;
    const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);
    for _ in 1..ATTEMPTS {
        match options.open(path) {
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(PAUSE),
            opened => return opened,
        }
    }
    options.open(path)
}

/// Whether a file that has the name of a leftover is one: a regular file of this process's user, or
/// of the owner of the file `of` that it was to become.
fn is_leftover(path: &Path, of: &Path) -> bool {
    let Ok(about) = path.symlink_metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let owner = std::fs::metadata(of).map(|of| of.uid()).ok();
        let mine = [Some(rustix::process::geteuid().as_raw()), owner];
        about.is_file() && mine.contains(&Some(about.uid()))
    }
    #[cfg(not(unix))]
    {
        let _ = of;
        about.is_file()
    }
}
