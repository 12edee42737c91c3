//! Encrypted temporary files.
//!
//! What does not fit into memory and does not belong into the coffer yet goes to a [`Spool`]: a
//! file of pages, each sealed under a random key that never leaves memory. A process that dies
//! leaves ciphertext whose key is lost, and the next one removes it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use fs4::FileExt;
use tempfile::{Builder, TempPath};
use zeroize::Zeroizing;

use crate::crypto::key;
use crate::crypto::seal::{Seal, SecretboxSeal};
use crate::error::{Error, Result};
use crate::io::disk::{DiskFile, advised, is_unsupported};
use crate::io::storage::{self, FileLock, ReadAt, Share, WriteAt};

const PREFIX: &str = ".coffer-";
/// The file that its directory's process keeps locked while it lives.
const OWNER: &str = "owner";
/// The owner file's name until it is locked.
const OWNER_UNLOCKED: &str = "owner.new";
/// How the name of a spool's file begins, and how many letters and digits follow.
const SPOOL: &str = ".tmp";
const SPOOL_RANDOM: usize = 6;
/// How long a directory may go without an owner file before it counts as dead.
const GRACE: Duration = Duration::from_secs(60);

/// Plaintext bytes in a page.
const PAGE: usize = 64 << 10;
/// Bytes of the file between the beginnings of two pages: secretbox adds nonce and tag.
const SLOT: usize = PAGE + 40;

/// A directory for spools: `.coffer-<random>`, closed to other users. Removed when it and the last
/// of its spools are dropped. If it is gone before, as cleaners of temp directories remove what is
/// old, the next spool gets a new one.
#[derive(Clone)]
pub(crate) struct SpoolDir(Arc<Mutex<Arc<OwnedDir>>>);

struct OwnedDir {
    // Closed before the directory is removed: not every file system of Windows removes an open file.
    _owner: File,
    dir: OwnDir,
}

/// A directory that is removed with all that this module makes in it.
struct OwnDir(PathBuf);

impl OwnDir {
    /// Makes it in `parent`, under a free name.
    fn create(parent: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        let builder = {
            use std::os::unix::fs::DirBuilderExt as _;
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700);
            builder
        };
        // Elsewhere it inherits its permissions.
        #[cfg(not(unix))]
        let builder = fs::DirBuilder::new();
        crate::io::new_file::under_free_name(|random| {
            let path = parent.join(format!("{PREFIX}{random}"));
            builder.create(&path).map(|()| Self(path))
        })
    }
}

impl Drop for OwnDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process that makes such a directory.
        let _ = remove(&self.0);
    }
}

impl OwnedDir {
    /// Makes a directory in `parent`.
    fn create(parent: &Path) -> Result<Arc<Self>> {
        let dir = OwnDir::create(parent).map_err(|error| Error::io("mkdir", parent, &error))?;
        let owner = own(&dir.0).map_err(|error| Error::io("open", &dir.0, &error))?;
        Ok(Arc::new(Self { _owner: owner, dir }))
    }

    /// A new empty file in it.
    fn file(&self) -> io::Result<(DiskFile, TempPath)> {
        let mut builder = Builder::new();
        builder.prefix(SPOOL).rand_bytes(SPOOL_RANDOM);
        Ok(builder.make_in(&self.dir.0, DiskFile::create)?.into_parts())
    }
}

impl SpoolDir {
    /// Makes a directory in `temp_dir`, or in the system's own temp directory, and removes what
    /// dead processes have left there.
    ///
    /// # Errors
    ///
    /// [`Code::Io`](crate::error::Code::Io) if it cannot be made.
    pub(crate) fn create(temp_dir: Option<&Path>) -> Result<Self> {
        let system = std::env::temp_dir();
        let parent = temp_dir.unwrap_or(&system);
        sweep(parent);
        Ok(Self(Arc::new(Mutex::new(OwnedDir::create(parent)?))))
    }

    /// A new empty spool, removed when dropped.
    ///
    /// # Errors
    ///
    /// [`Code::Io`](crate::error::Code::Io) if its file cannot be made.
    pub(crate) fn file(&self) -> Result<Spool> {
        let mut dir = self.lock();
        let mut made = dir.file();
        if made.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            let parent = storage::directory(&dir.dir.0).to_path_buf();
            *dir = OwnedDir::create(&parent)?;
            made = dir.file();
        }
        let (disk, path) = made.map_err(|error| Error::io("open", &dir.dir.0, &error))?;
        let mut key = Zeroizing::new([0; 32]);
        key::fill_random(&mut *key);
        Ok(Spool {
            pages: Mutex::new(Pages::new(disk, SecretboxSeal::new(&key))),
            path,
            _dir: dir.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Arc<OwnedDir>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the directory is.
    #[cfg(test)]
    pub(crate) fn path(&self) -> PathBuf {
        self.lock().dir.0.clone()
    }
}

/// Makes the locked owner file. It gets its name only when it is locked: a sweep in between would
/// take it for a dead one.
fn own(dir: &Path) -> io::Result<File> {
    let unlocked = dir.join(OWNER_UNLOCKED);
    let file = OpenOptions::new().write(true).create_new(true).open(&unlocked)?;
    let locked = file
        .try_acquire(Share::Exclusive)
        .map_err(|error| if is_unsupported(&error) { advised(error, NO_LOCKS) } else { error })?;
    if !locked {
        return Err(io::ErrorKind::WouldBlock.into());
    }
    fs::rename(&unlocked, dir.join(OWNER))?;
    Ok(file)
}

const NO_LOCKS: &str = "the temp directory's file system may have no file locks (flock): give another (tempDir, or \
    TMPDIR)";

/// Removes the directories of dead processes. What cannot be removed is left: it may belong to
/// another user.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let random = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
        if !random.is_some_and(crate::io::new_file::is_random) || !is_ours(&entry.path()) {
            continue;
        }
        // Closed before the directory is removed. Two sweeps that meet in it do no harm.
        let Dead::Yes(owner) = dead(&entry.path()) else {
            continue;
        };
        drop(owner);
        let _ = remove(&entry.path());
    }
}

/// Whether there is a directory, not a link to one, that this process's user made as this module
/// does: closed to others.
fn is_ours(dir: &Path) -> bool {
    let Ok(about) = dir.symlink_metadata() else { return false };
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let user = rustix::process::geteuid().as_raw();
        about.is_dir() && about.uid() == user && about.mode() & 0o077 == 0
    }
    #[cfg(not(unix))]
    {
        about.is_dir()
    }
}

/// Removes a directory and its files, one by one, if all of them are such as this module makes; else
/// nothing at all. What is put in it meanwhile stays, and so does the directory then.
fn remove(path: &Path) -> io::Result<()> {
    let dir = Dir::open_ambient_dir(path, ambient_authority())?;
    #[cfg(unix)]
    {
        // Another directory may have been put there since `is_ours`: only one of this user is
        // touched, through a link or not.
        use cap_std::fs::MetadataExt;
        let about = dir.dir_metadata()?;
        if about.uid() != rustix::process::geteuid().as_raw() || about.mode() & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    let mut files = Vec::new();
    for entry in dir.entries()? {
        let entry = entry?;
        let name = entry.file_name();
        if !entry.file_type()?.is_file() || !name.to_str().is_some_and(is_own_file) {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        files.push(name);
    }
    for name in files {
        dir.remove_file(name)?;
    }
    drop(dir);
    fs::remove_dir(path)
}

/// Whether a file of this name is one that this module makes in its directories.
fn is_own_file(name: &str) -> bool {
    let random = |rest: &str| {
        rest.len() == SPOOL_RANDOM && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    name == OWNER || name == OWNER_UNLOCKED || name.strip_prefix(SPOOL).is_some_and(random)
}

enum Dead {
    Yes(Option<File>),
    No,
}

fn dead(dir: &Path) -> Dead {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use rustix::fs::OFlags;
        use std::os::unix::fs::OpenOptionsExt;
        // In a temp directory another user may have put a link or a pipe there.
        options.custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32);
    }
    match options.open(dir.join(OWNER)) {
        Ok(owner) if FileExt::try_lock(&owner).is_ok() => Dead::Yes(Some(owner)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && older_than(dir, GRACE) => {
            Dead::Yes(None)
        }
        _ => Dead::No,
    }
}

fn older_than(dir: &Path, age: Duration) -> bool {
    let modified = dir.symlink_metadata().and_then(|metadata| metadata.modified());
    modified.is_ok_and(|time| time.elapsed().is_ok_and(|elapsed| elapsed > age))
}

/// A file whose contents are sealed. It need not survive anything, so syncing does nothing.
pub(crate) struct Spool {
    pages: Mutex<Pages>,
    // Removed before the directory is.
    path: TempPath,
    _dir: Arc<OwnedDir>,
}

impl Spool {
    /// Where the file is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Each step leaves the pages consistent, so a panic elsewhere does not matter.
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ReadAt for Spool {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.pages().read(buf, offset)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.pages().len)
    }
}

impl WriteAt for Spool {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.pages().write(buf, offset)
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.pages().truncate(len)
    }
}

/// The beginning of a page's random nonce. It identifies one sealing of one page, so that an older
/// one, or another page, in its place is detected.
type Nonce = [u8; 8];

/// The pages of a spool. Page `n` holds the bytes from `n * PAGE`; all but the last are full. One
/// page at a time is open in memory and may be ahead of the file.
struct Pages {
    disk: DiskFile,
    seal: SecretboxSeal,
    len: u64,
    /// Of each page in the file.
    marks: Vec<Nonce>,
    /// Which page is open. It may be the one after the last in the file.
    open: Option<usize>,
    plain: Zeroizing<Vec<u8>>,
    dirty: bool,
    sealed: Vec<u8>,
}

impl Pages {
    fn new(disk: DiskFile, seal: SecretboxSeal) -> Self {
        Self {
            disk,
            seal,
            len: 0,
            marks: Vec::new(),
            open: None,
            plain: Zeroizing::new(Vec::with_capacity(PAGE)),
            dirty: false,
            sealed: Vec::with_capacity(SLOT),
        }
    }

    fn read(&mut self, mut buf: &mut [u8], mut offset: u64) -> io::Result<()> {
        if end_of(buf.len(), offset)? > self.len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        while !buf.is_empty() {
            let (page, start) = position(offset)?;
            self.turn_to(page)?;
            let piece = buf.len().min(PAGE - start);
            let (now, later) = buf.split_at_mut(piece);
            now.copy_from_slice(&self.plain[start..start + piece]);
            buf = later;
            offset += piece as u64;
        }
        Ok(())
    }

    fn write(&mut self, mut buf: &[u8], mut offset: u64) -> io::Result<()> {
        end_of(buf.len(), offset)?;
        if offset > self.len && !buf.is_empty() {
            self.zero_to(offset)?;
        }
        while !buf.is_empty() {
            let (page, start) = position(offset)?;
            self.turn_to(page)?;
            let (now, later) = buf.split_at(buf.len().min(PAGE - start));
            let end = start + now.len();
            if self.plain.len() < end {
                self.plain.resize(end, 0);
            }
            self.plain[start..end].copy_from_slice(now);
            self.dirty = true;
            buf = later;
            offset += now.len() as u64;
            self.len = self.len.max(offset);
        }
        Ok(())
    }

    /// Extends the file with zeros.
    fn zero_to(&mut self, end: u64) -> io::Result<()> {
        while self.len < end {
            let (page, start) = position(self.len)?;
            self.turn_to(page)?;
            let piece = (end - self.len).min((PAGE - start) as u64);
            self.plain.resize(start + piece as usize, 0);
            self.dirty = true;
            self.len += piece;
        }
        Ok(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        if len > self.len {
            return self.zero_to(len);
        }
        let (page, rest) = position(len)?;
        if rest > 0 {
            self.turn_to(page)?;
            self.plain.truncate(rest);
            self.dirty = true;
        }
        let kept = page + usize::from(rest > 0);
        if self.open.is_some_and(|open| open >= kept) {
            self.open = None;
            self.dirty = false;
        }
        self.marks.truncate(kept);
        self.len = len;
        // The page that was cut, if any, is open and will be written again.
        self.disk.truncate(slot(page))
    }

    /// Opens `page`, which exists or is the next to exist, after writing back the one that was.
    fn turn_to(&mut self, page: usize) -> io::Result<()> {
        if self.open == Some(page) {
            return Ok(());
        }
        self.write_back()?;
        self.open = None;
        self.plain.clear();
        if let Some(mark) = self.marks.get(page) {
            let before = page as u64 * PAGE as u64;
            let plain_len = (self.len - before).min(PAGE as u64) as usize;
            self.sealed.resize(self.seal.sealed_len(plain_len), 0);
            self.disk.read_at(&mut self.sealed, slot(page))?;
            let opened = self.seal.open(&self.sealed, &mut self.plain);
            if opened.is_err() || !self.sealed.starts_with(mark) {
                self.plain.clear();
                let message = "a temporary file of Coffer was changed by another process";
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        self.open = Some(page);
        Ok(())
    }

    /// Writes the open page to the file, if it is ahead of it.
    fn write_back(&mut self) -> io::Result<()> {
        let (Some(page), true) = (self.open, self.dirty) else {
            return Ok(());
        };
        self.sealed.clear();
        self.seal.seal(&self.plain, &mut self.sealed);
        self.disk.write_at(&self.sealed, slot(page))?;
        let mut mark = Nonce::default();
        mark.copy_from_slice(&self.sealed[..size_of::<Nonce>()]);
        match self.marks.get_mut(page) {
            Some(old) => *old = mark,
            None => self.marks.push(mark),
        }
        self.dirty = false;
        Ok(())
    }
}

/// The page that holds the byte at `offset`, and where in it.
fn position(offset: u64) -> io::Result<(usize, usize)> {
    let page = usize::try_from(offset / PAGE as u64).map_err(|_| too_large())?;
    Ok((page, (offset % PAGE as u64) as usize))
}

/// Where `page` begins in the file. Pages exist up to the length of a file, which fits.
fn slot(page: usize) -> u64 {
    page as u64 * SLOT as u64
}

/// Where `len` bytes from `offset` end. The limit leaves room for what sealing adds.
fn end_of(len: usize, offset: u64) -> io::Result<u64> {
    let end = offset.checked_add(len as u64).ok_or_else(too_large)?;
    if end > i64::MAX as u64 / 2 {
        return Err(too_large());
    }
    Ok(end)
}

fn too_large() -> io::Error {
    io::ErrorKind::FileTooLarge.into()
}

#[cfg(test)]
mod tests;
