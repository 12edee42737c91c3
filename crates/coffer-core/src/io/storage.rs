//! The file below a coffer, and the directory it lies in.
//!
//! Everything the engine does to a disk goes through these two traits, so that a test can put a
//! disk that fails, tears and loses power in their place.

use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypto::key;
use crate::error::{Code, Error};

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

/// A file of the operating system.
pub(crate) struct DiskFile {
    file: File,
}

impl DiskFile {
    pub(crate) fn new(file: File) -> Self {
        Self { file }
    }

    /// Opens an existing file, for writing too where `write` is set. What is no regular file is
    /// refused without waiting; see [`failed_to_open`].
    pub(crate) fn open(path: &Path, write: bool) -> io::Result<Self> {
        // Opening a pipe waits for its other end, and opening a device may have effects.
        regular(&std::fs::metadata(path)?)?;
        let mut options = OpenOptions::new();
        options.read(true).write(write);
        #[cfg(unix)]
        {
            use rustix::fs::OFlags;
            // Another process may put a pipe or a terminal there in between.
            let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
            std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, flags.bits() as i32);
        }
        let file = opened(&options, path)?;
        regular(&file.metadata()?)?;
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
        durable(&self.file, File::sync_data)
    }

    fn sync_all(&self) -> io::Result<()> {
        durable(&self.file, File::sync_all)
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

    fn has_file(&self, path: &Path) -> io::Result<bool> {
        match std::fs::metadata(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            found => regular(&found?).map(|()| true),
        }
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(DiskFile::open(path, write)?))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(DiskFile::create(path)?))
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        if replace {
            return std::fs::rename(from, to).map_err(not_over_an_open_file);
        }
        tempfile::TempPath::try_from_path(from)?.persist_noclobber(to).map_err(|e| {
            // It is not for the failed renaming to remove the file.
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
            // Some file systems, network and FUSE ones above all, know no sync of a directory: there
            // is nothing that could be done better.
            Err(e) if is_unsupported(&e) => Ok(()),
            synced => synced,
        }
    }
}

/// Makes a file durable with the strongest call that its file system knows.
///
/// `strongest` is a call of the standard library, which on Apple's systems asks the drive itself
/// (`F_FULLFSYNC`). Network shares refuse that, and what they have is `fsync`.
fn durable(file: &File, strongest: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    let synced = strongest(file);
    #[cfg(unix)]
    if synced.as_ref().is_err_and(is_unsupported) {
        return Ok(rustix::io::retry_on_intr(|| rustix::fs::fsync(file))?);
    }
    synced
}

/// Whether a call failed because the file system does not know it.
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

/// A failure, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("{source}; {advice}")]
struct Advised {
    source: io::Error,
    advice: &'static str,
}

/// The same failure, saying what to do about it.
pub(crate) fn advised(error: io::Error, advice: &'static str) -> io::Error {
    io::Error::new(error.kind(), Advised { source: error, advice })
}

const NO_NEW_NAME: &str = "this file system may not be able to name a file without replacing one that is there \
    (neither RENAME_NOREPLACE nor hard links): make the file in another directory and move it here";

#[cfg(windows)]
const OPEN_FILE: &str = "this file system (FAT, or a network share) may not replace a file that is open: close every \
    other handle on it, or keep it on NTFS";

/// Says what to do where a file cannot be replaced while it is open. NTFS can do that, FAT and many
/// network shares cannot.
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

/// A path leads to something that is no regular file.
#[derive(Debug, thiserror::Error)]
#[error("it is {0}, not a regular file")]
struct NotAFile(&'static str);

fn regular(about: &Metadata) -> io::Result<()> {
    if about.is_file() {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, NotAFile(what(about))))
}

/// What it is that is no regular file.
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

/// Whether something was refused for being no regular file.
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

/// Opens a file. Where another process has a lease on it, as file servers do, the system asks that one
/// to give it back and would have this call wait: it is made again instead.
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

/// Gives a file the owner, the group and the permissions of another, as far as the system allows:
/// only the superuser gives files away, and others may choose among their own groups. Where the
/// group cannot stay, no permission is given to the one that takes its place.
fn adopt(file: &File, about: &Metadata) -> io::Result<()> {
    #[cfg(unix)]
    {
        use rustix::fs::fchown;
        use rustix::process::{Gid, Uid};
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let mut permissions = about.permissions();
        let own = file.metadata()?;
        let (uid, gid) = (Uid::from_raw(about.uid()), Gid::from_raw(about.gid()));
        if (own.uid(), own.gid()) != (about.uid(), about.gid())
            && fchown(file, Some(uid), Some(gid)).is_err()
            && own.gid() != about.gid()
            && fchown(file, None, Some(gid)).is_err()
        {
            permissions.set_mode(permissions.mode() & !0o070);
        }
        // Changing the owner takes permissions away.
        file.set_permissions(permissions)
    }
    #[cfg(not(unix))]
    {
        file.set_permissions(about.permissions())
    }
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

/// How the names of files that are not finished yet end.
pub(crate) const UNFINISHED: &str = ".coffer-new";
/// How many random characters come before that.
const RANDOM: usize = 6;
/// Which characters those are.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";
/// How many links are followed to a file that is not there yet, as many as Linux follows.
const MOST_LINKS: usize = 40;
/// How many names are tried.
const ATTEMPTS: usize = 64;

/// A file that is being made beside its final place, and is removed again unless it is published.
pub(crate) struct NewFile {
    directory: Arc<dyn Directory>,
    storage: Arc<dyn Storage>,
    names: Arc<dyn Names>,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl NewFile {
    /// Creates the file, readable by its owner alone, in the directory of `target`.
    pub(crate) fn create(directory: &Arc<dyn Directory>, target: &Path) -> io::Result<Self> {
        let target = resolved(target);
        // Before there is anything: a file in place whose name cannot be made durable, for want of a
        // descriptor, would be a failure that has done its work.
        let names = directory.names(&target)?;
        let (storage, path) = under_free_name(|random| {
            let name = unfinished_prefix(&target) + random + UNFINISHED;
            let path = target.with_file_name(name);
            Ok((directory.create(&path)?, path))
        })?;
        Ok(Self { directory: directory.clone(), storage, names, path, target, published: false })
    }

    /// The file's contents.
    #[must_use]
    pub(crate) fn storage(&self) -> Arc<dyn Storage> {
        self.storage.clone()
    }

    /// Gives the file the permissions of the one it is to replace, or is a copy of, and as far as the
    /// system allows its owner and group; [`owner_lost`] tells whether it did.
    pub(crate) fn permit_as(&self, old: &dyn Storage) -> io::Result<()> {
        match (old.file(), self.storage.file()) {
            (Some(old), Some(new)) => adopt(new, &old.metadata()?),
            _ => Ok(()),
        }
    }

    /// Gives the file, which is made durable first, its final name, which is not durable before what
    /// is returned is synced. Without `replace` an existing file is an error.
    pub(crate) fn publish(mut self, replace: bool) -> io::Result<Arc<dyn Names>> {
        self.storage.sync_all()?;
        self.directory.rename(&self.path, &self.target, replace)?;
        self.published = true;
        Ok(self.names.clone())
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

/// Removes what a killed process left unfinished beside each target. Each directory is listed once:
/// it may be large. Only for who holds the locks of all.
pub(crate) fn sweep_unfinished(directory: &dyn Directory, targets: &[PathBuf]) {
    let mut targets: Vec<PathBuf> = targets.iter().map(|target| resolved(target)).collect();
    targets.sort_by(|one, other| one.parent().cmp(&other.parent()));
    for together in targets.chunk_by(|one, other| one.parent() == other.parent()) {
        let Some(first) = together.first() else { continue };
        let wanted = |path: &Path| {
            together.iter().find(|target| is_made_by_us(target, path)).map(PathBuf::as_path)
        };
        let found = directory.leftovers(self::directory(first), &wanted).unwrap_or_default();
        for path in found {
            // What cannot be removed now is removed at the next open.
            let _ = directory.remove(&path);
        }
    }
}

/// The name of the file that an unfinished file is to become, if a name is one of an unfinished file.
pub(crate) fn target_of_unfinished(name: &str) -> Option<&str> {
    let (target, random) = name.strip_prefix('.')?.strip_suffix(UNFINISHED)?.rsplit_once('.')?;
    is_random(random).then_some(target)
}

/// Whether a path is exactly one that [`NewFile`] chooses for `target`.
fn is_made_by_us(target: &Path, path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(std::ffi::OsStr::to_str) else { return false };
    let random = name
        .strip_prefix(&unfinished_prefix(target))
        .and_then(|rest| rest.strip_suffix(UNFINISHED));
    random.is_some_and(is_random)
}

/// Whether a part of a name is one that [`under_free_name`] chooses.
pub(crate) fn is_random(part: &str) -> bool {
    part.len() == RANDOM && part.bytes().all(|b| LETTERS.contains(&b))
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

/// Where a file is or is to be: a link to a coffer stays a link, and one to nothing leads to where
/// the file will be.
fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match std::fs::canonicalize(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            found => return found.unwrap_or(path),
        }
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = directory(&path).join(target);
    }
    path
}

/// Whether a path is a link, whatever it leads to.
pub(crate) fn is_link(path: &Path) -> bool {
    path.is_symlink()
}

fn unfinished_prefix(target: &Path) -> String {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format!(".{name}.")
}

/// Makes something under a name that nobody has, of six random letters and what `make` adds.
pub(crate) fn under_free_name<T>(mut make: impl FnMut(&str) -> io::Result<T>) -> io::Result<T> {
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
