//! The temp directory, in which nothing is readable.
//!
//! What does not fit into memory and does not belong into the coffer yet goes to a [`Spool`]: a
//! file of pages, each sealed under a random key that never leaves memory. A process that dies
//! leaves ciphertext that nobody can open, and the next one removes it.

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
    /// Makes it, under a name that nobody has, in `parent`.
    fn create(parent: &Path) -> io::Result<Self> {
        #[cfg(unix)]
        let builder = {
            use std::os::unix::fs::DirBuilderExt as _;
            let mut builder = fs::DirBuilder::new();
            builder.mode(0o700);
            builder
        };
        // Elsewhere it inherits who may read it.
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
        // What was opened may be something else than what was looked at: nothing but a directory of
        // this user's own is touched, through a link or not.
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
        // In a temp directory anybody may have put a link or a pipe there.
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

/// The beginning of a page's random nonce, which tells this sealing of this page from every other:
/// an older one, or another page, put in its place is noticed.
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
                let message = "a temporary file of Coffer was changed by somebody else";
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
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::path::PathBuf;
    #[cfg(unix)]
    use std::time::SystemTime;

    fn spool() -> (tempfile::TempDir, SpoolDir, Spool) {
        let parent = tempfile::tempdir().unwrap();
        let dir = SpoolDir::create(Some(parent.path())).unwrap();
        let spool = dir.file().unwrap();
        (parent, dir, spool)
    }

    fn contents(spool: &Spool) -> Vec<u8> {
        let mut bytes = vec![0; spool.len().unwrap() as usize];
        spool.read_at(&mut bytes, 0).unwrap();
        bytes
    }

    /// The files of a spool directory, without the owner file.
    fn files(dir: &SpoolDir) -> Vec<PathBuf> {
        let mut paths: Vec<_> =
            fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| !path.ends_with(OWNER));
        paths
    }

    #[derive(Debug, Clone)]
    enum Step {
        Write(u64, Vec<u8>),
        Append(Vec<u8>),
        Read(u64, usize),
        Truncate(u64),
        Sync,
    }

    /// Offsets and lengths that often meet the ends of pages.
    fn offsets() -> impl Strategy<Value = u64> {
        let page = PAGE as u64;
        prop_oneof![
            0..4 * page,
            (0..4u64, 0..5u64).prop_map(move |(n, d)| (n * page + d).saturating_sub(2)),
        ]
    }

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        (offsets(), any::<u8>()).prop_map(|(len, first)| {
            (0..len % (2 * PAGE as u64 + 9)).map(|at| first ^ (at % 251) as u8).collect()
        })
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (offsets(), bytes()).prop_map(|(at, bytes)| Step::Write(at, bytes)),
            bytes().prop_map(Step::Append),
            (offsets(), offsets()).prop_map(|(at, len)| Step::Read(at, len as usize)),
            offsets().prop_map(Step::Truncate),
            Just(Step::Sync),
        ];
        proptest::collection::vec(step, 1..24)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        #[test]
        fn a_spool_behaves_as_a_file_does(steps in steps()) {
            let (_parent, _dir, spool) = spool();
            let mut model: Vec<u8> = Vec::new();
            for step in steps {
                match step {
                    Step::Write(at, bytes) => {
                        spool.write_at(&bytes, at).unwrap();
                        let end = at as usize + bytes.len();
                        if model.len() < end && !bytes.is_empty() {
                            model.resize(end, 0);
                        }
                        if !bytes.is_empty() {
                            model[at as usize..end].copy_from_slice(&bytes);
                        }
                    }
                    Step::Append(bytes) => {
                        spool.write_at(&bytes, model.len() as u64).unwrap();
                        model.extend(bytes);
                    }
                    Step::Read(at, len) => {
                        let mut found = vec![0xEE; len];
                        let read = spool.read_at(&mut found, at);
                        match model.get(at as usize..at as usize + len) {
                            Some(expected) => {
                                prop_assert!(read.is_ok());
                                prop_assert!(found == expected);
                            }
                            None => prop_assert_eq!(
                                read.unwrap_err().kind(),
                                io::ErrorKind::UnexpectedEof
                            ),
                        }
                    }
                    Step::Truncate(len) => {
                        spool.truncate(len).unwrap();
                        model.resize(len as usize, 0);
                    }
                    Step::Sync => spool.sync().unwrap(),
                }
                prop_assert_eq!(spool.len().unwrap(), model.len() as u64);
            }
            prop_assert!(contents(&spool) == model);
        }
    }

    #[test]
    fn nothing_written_is_readable_in_the_file() {
        let (_parent, dir, spool) = spool();
        let marker = b"the marker that must not be found";
        let bytes: Vec<u8> = marker.iter().copied().cycle().take(3 * PAGE + 5).collect();
        spool.write_at(&bytes, 0).unwrap();
        spool.write_at(marker, 7).unwrap();
        contents(&spool);
        let files = files(&dir);
        assert_eq!(files.len(), 1);
        let raw = fs::read(&files[0]).unwrap();
        assert!(raw.len() > 3 * SLOT);
        assert!(!raw.windows(8).any(|window| window == &marker[..8]));
    }

    #[test]
    fn a_page_changed_moved_or_put_back_is_refused() {
        let (_parent, dir, spool) = spool();
        spool.write_at(&vec![1; 3 * PAGE], 0).unwrap();
        spool.read_at(&mut [0], 0).unwrap();
        let path = files(&dir).remove(0);
        let honest = fs::read(&path).unwrap();
        let mut other_page = honest.clone();
        other_page.copy_within(..SLOT, SLOT);
        let mut flipped = honest.clone();
        flipped[SLOT + 100] ^= 1;
        let mut cut = honest.clone();
        cut.truncate(SLOT + 100);
        for (what, bytes) in [("moved", other_page), ("flipped", flipped), ("cut", cut)] {
            fs::write(&path, bytes).unwrap();
            spool.read_at(&mut [0], 0).unwrap();
            assert!(spool.read_at(&mut [0], PAGE as u64).is_err(), "{what}");
        }
        fs::write(&path, &honest).unwrap();
        spool.write_at(&[2], PAGE as u64).unwrap();
        spool.read_at(&mut [0], 0).unwrap();
        fs::write(&path, &honest).unwrap();
        let refused = spool.read_at(&mut [0], PAGE as u64).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
    }

    #[test]
    fn offsets_beyond_any_file_are_refused() {
        let (_parent, _dir, spool) = spool();
        for offset in [u64::MAX, u64::MAX - 1, i64::MAX as u64] {
            let kind = io::ErrorKind::FileTooLarge;
            assert_eq!(spool.write_at(&[1; 2], offset).unwrap_err().kind(), kind);
            assert_eq!(spool.read_at(&mut [1; 2], offset).unwrap_err().kind(), kind);
        }
        assert_eq!(spool.len().unwrap(), 0);
    }

    #[test]
    fn spools_and_their_directory_go_when_dropped() {
        let (parent, dir, one) = spool();
        let two = dir.file().unwrap();
        one.write_at(b"one", 0).unwrap();
        two.write_at(b"two", 0).unwrap();
        assert_eq!(files(&dir).len(), 2);
        drop(one);
        assert_eq!(files(&dir).len(), 1);
        drop(dir);
        assert_eq!(contents(&two), b"two");
        drop(two);
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    /// Makes a directory as this module does, with files in it.
    fn left(parent: &Path, name: &str, files: &[&str]) -> PathBuf {
        let path = parent.join(name);
        fs::create_dir(&path).unwrap();
        #[cfg(unix)]
        allow(&path, 0o700);
        for file in files {
            fs::write(path.join(file), b"left behind").unwrap();
        }
        path
    }

    #[cfg(unix)]
    fn allow(path: &Path, mode: u32) {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Long ago. Where the standard library can set the time of a directory.
    #[cfg(unix)]
    fn age(path: &Path) {
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        File::open(path).unwrap().set_modified(hour_ago).unwrap();
    }

    #[test]
    fn the_directory_of_a_dead_process_is_swept_and_that_of_a_live_one_kept() {
        let parent = tempfile::tempdir().unwrap();
        let live = SpoolDir::create(Some(parent.path())).unwrap();
        let spool = live.file().unwrap();
        let dead = left(parent.path(), ".coffer-dead00", &[OWNER, ".tmpAb3xY9", ".tmp000000"]);
        SpoolDir::create(Some(parent.path())).unwrap();
        assert!(!dead.exists());
        assert!(live.path().exists());
        spool.write_at(&vec![1; 2 * PAGE], 0).unwrap();
        assert_eq!(contents(&spool), vec![1; 2 * PAGE]);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_without_owner_is_swept_once_it_is_old() {
        let parent = tempfile::tempdir().unwrap();
        let [young, old, unlocked] =
            [("young0", None), ("old000", None), ("old001", Some(OWNER_UNLOCKED))].map(
                |(name, file)| left(parent.path(), &format!("{PREFIX}{name}"), file.as_slice()),
            );
        age(&old);
        age(&unlocked);
        SpoolDir::create(Some(parent.path())).unwrap();
        assert!(young.exists());
        assert!(!old.exists() && !unlocked.exists());
    }

    #[test]
    fn what_is_not_a_spool_directory_is_not_swept() {
        let parent = tempfile::tempdir().unwrap();
        let other = left(parent.path(), "other", &[OWNER]);
        fs::write(parent.path().join(".coffer-file00"), b"").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(&other, parent.path().join(".coffer-link00")).unwrap();
        SpoolDir::create(Some(parent.path())).unwrap();
        assert!(other.join(OWNER).exists());
        assert!(parent.path().join(".coffer-file00").exists());
    }

    #[cfg(unix)]
    #[test]
    fn no_sweep_removes_anything_that_was_not_made_here() {
        let parent = tempfile::tempdir().unwrap();
        let make = |name: &str, files: &[&str]| left(parent.path(), name, files);
        // The names of directories that other programs and people make.
        let names = [
            ".coffer-backups",
            ".coffer-",
            ".coffer-a",
            ".coffer-ABCDEF",
            ".coffer-abcde",
            ".coffer-abcde\u{fc}",
            ".coffer-abcdef2",
            ".coffer-ab.def",
            ".coffer-abcde~",
        ];
        let mut kept: Vec<PathBuf> = names.map(|name| make(name, &[OWNER, ".tmpAb3xY9"])).into();
        // The right name, and something in it besides: then not even the rest is touched.
        let strange = ["precious.txt", ".tmp", ".tmpAb3xY", ".tmpAb3xY99", ".tmpAb3x/9", "owner2"];
        for (n, file) in strange.into_iter().enumerate() {
            let dir = make(&format!(".coffer-file0{n}"), &[OWNER, ".tmpAb3xY9"]);
            let path = dir.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, b"precious").unwrap();
            kept.extend([dir.join(".tmpAb3xY9"), path]);
        }
        let tree = make(".coffer-backup", &[]);
        fs::create_dir_all(tree.join("2026")).unwrap();
        fs::write(tree.join("2026/precious.txt"), b"precious").unwrap();
        kept.push(tree.join("2026/precious.txt"));
        let link = make(".coffer-links0", &[OWNER]);
        std::os::unix::fs::symlink(&tree, link.join(".tmpAb3xY9")).unwrap();
        kept.push(link.join(OWNER));
        // Open to others, as no directory of this module is.
        let open = make(".coffer-open00", &[OWNER]);
        allow(&open, 0o755);
        kept.push(open.join(OWNER));
        for path in &kept {
            age(if path.is_dir() { path } else { path.parent().unwrap() });
        }
        // Of another user, if that can be arranged.
        let foreign = make(".coffer-others", &[OWNER]);
        if std::os::unix::fs::chown(&foreign, Some(54321), None).is_ok() {
            kept.push(foreign.join(OWNER));
        }
        SpoolDir::create(Some(parent.path())).unwrap();
        for path in kept {
            assert!(path.exists(), "{} is gone", path.display());
        }
    }

    #[test]
    fn what_another_program_puts_into_a_live_directory_stays() {
        let (parent, dir, spool) = spool();
        let path = dir.path().join("precious.txt");
        fs::write(&path, b"precious").unwrap();
        drop((dir, spool));
        assert_eq!(fs::read(path).unwrap(), b"precious");
        drop(parent);
    }

    /// Where a file that is open can be removed.
    #[cfg(unix)]
    #[test]
    fn a_directory_that_a_cleaner_removed_is_made_again() {
        let (parent, dir, before) = spool();
        before.write_at(b"before", 0).unwrap();
        let first = dir.path();
        fs::remove_dir_all(&first).unwrap();
        let after = dir.file().unwrap();
        after.write_at(&vec![7; 2 * PAGE], 0).unwrap();
        assert_ne!(dir.path(), first);
        assert_eq!(contents(&before), b"before");
        assert_eq!(contents(&after), vec![7; 2 * PAGE]);
        drop((dir, before, after));
        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn directory_and_files_are_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let (_parent, dir, _spool) = spool();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&dir.path()), 0o700);
        assert_eq!(mode(&files(&dir)[0]), 0o600);
    }

    #[test]
    fn a_temp_directory_that_does_not_exist_is_an_error_that_names_it() {
        let parent = tempfile::tempdir().unwrap();
        let missing = parent.path().join("missing");
        let Err(error) = SpoolDir::create(Some(&missing)) else {
            unreachable!("made in nothing");
        };
        assert_eq!(error.path(), Some(missing.as_path()));
    }
}
