//! Files outside of coffers that get their names when they are complete.
//!
//! Until then a file has a temporary name in the same directory, `.<16 hex digits>.coffer-out`, and
//! is locked by the process that makes it. What a killed process leaves is removed by the next one
//! that makes such a file in the same directory: a file of exactly such a name, of the same user, that
//! nothing has locked.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, Metadata, OpenOptions};
use fs4::{FileExt, TryLockError};

use crate::crypto::key::random_bytes;
use crate::error::{Code, Error, Result};
use crate::io::disk::{DiskFile, DiskNamespace};
use crate::io::protected_paths::ProtectedPaths;
use crate::io::storage::{self, Namespace, WriteAt};

const SUFFIX: &str = ".coffer-out";
const RANDOM: usize = 16;
/// How many names are tried.
const ATTEMPTS: usize = 16;

/// Makes a file under a temporary name, and locks it. `directory` is a path below `dir`: empty, or
/// one that ends in a slash. `options` say that the file is new, and may be written.
pub(crate) fn create(
    dir: &Dir,
    directory: &str,
    options: &OpenOptions,
) -> io::Result<(File, Metadata, String)> {
    let mut tried = 0;
    loop {
        let path = format!("{directory}.{:016x}{SUFFIX}", u64::from_le_bytes(random_bytes()));
        tried += 1;
        match dir.open_with(&path, options) {
            Ok(file) => {
                let meta = file.metadata()?;
                let file = file.into_std();
                // A sweep may have come before the lock.
                let swept = matches!(FileExt::try_lock(&file), Err(TryLockError::WouldBlock))
                    || dir.symlink_metadata(&path).is_err();
                if !swept {
                    return Ok((file, meta, path));
                }
                if tried >= ATTEMPTS {
                    return Err(ErrorKind::AlreadyExists.into());
                }
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists && tried < ATTEMPTS => {}
            Err(e) => return Err(e),
        }
    }
}

/// Removes what processes that were killed have left in a directory. What cannot be removed is left.
pub(crate) fn sweep(dir: &Dir, directory: &str) {
    let entries = if directory.is_empty() { dir.entries() } else { dir.read_dir(directory) };
    for entry in entries.into_iter().flatten().flatten() {
        let name = entry.file_name();
        if let Some(name) = name.to_str().filter(|name| is_made_here(name)) {
            let _ = remove_dead(dir, &format!("{directory}{name}"));
        }
    }
}

fn is_made_here(name: &str) -> bool {
    let random = name.strip_prefix('.').and_then(|name| name.strip_suffix(SUFFIX));
    random.is_some_and(|r| r.len() == RANDOM && r.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn remove_dead(dir: &Dir, path: &str) -> io::Result<()> {
    let found = dir.symlink_metadata(path)?;
    if !found.is_file() || !is_ours(&found) {
        return Ok(());
    }
    let file = dir.open(path)?;
    if !same(&file.metadata()?, &found) {
        return Ok(());
    }
    let file = file.into_std();
    match FileExt::try_lock(&file) {
        Ok(()) => dir.remove_file(path),
        // It is in use, or this file system has no locks.
        Err(_) => Ok(()),
    }
}

#[cfg(unix)]
fn is_ours(found: &Metadata) -> bool {
    use cap_std::fs::MetadataExt;
    found.uid() == rustix::process::geteuid().as_raw()
}

#[cfg(not(unix))]
fn is_ours(_found: &Metadata) -> bool {
    true
}

#[cfg(unix)]
fn same(one: &Metadata, other: &Metadata) -> bool {
    use cap_std::fs::MetadataExt;
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

#[cfg(not(unix))]
fn same(_one: &Metadata, _other: &Metadata) -> bool {
    true
}

/// A file that is being written, readable by its owner alone. [`Output::finish`] gives it the name
/// of its target; dropped before that, it is removed.
pub struct Output {
    dir: Dir,
    /// The same directory, to be made durable: `dir` is not opened for that.
    #[cfg(unix)]
    durable: File,
    file: DiskFile,
    /// Its name until then.
    made: String,
    target: PathBuf,
    /// What a link at the target leads to, or the target itself.
    resolved: PathBuf,
    replace: bool,
    written: u64,
    published: bool,
}

impl Output {
    /// Begins a file. With `replace` it may take the place of one that is there. `own` is not written over.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::InvalidArg`] if the target is there and no file, or the coffer,
    /// [`Code::Io`].
    pub(crate) fn create(target: &Path, replace: bool, own: &ProtectedPaths) -> Result<Self> {
        own.spare(target)?;
        match std::fs::metadata(target) {
            // A device or a pipe would be replaced, not written to.
            Ok(found) if !found.is_file() => {
                let message =
                    format!("{} is not a file: take a stream to write there", target.display());
                return Err(Error::new(Code::InvalidArg, message).at(target));
            }
            Ok(_) if !replace => return Err(exists(target)),
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("stat", target, &e)),
            _ => {}
        }
        let resolved = std::fs::canonicalize(target).unwrap_or_else(|_| target.to_path_buf());
        let failed = |e: io::Error| Error::io("open", target, &e);
        // Opened first, and kept: once the file has its name, nothing may fail because no descriptor
        // is left.
        let directory = storage::directory(&resolved);
        #[cfg(unix)]
        let durable = File::open(directory).map_err(failed)?;
        let dir = Dir::open_ambient_dir(directory, ambient_authority()).map_err(failed)?;
        sweep(&dir, "");
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let (file, _, made) = create(&dir, "", &options).map_err(failed)?;
        let (file, target) = (DiskFile::new(file), target.to_path_buf());
        Ok(Self {
            dir,
            #[cfg(unix)]
            durable,
            file,
            made,
            target,
            resolved,
            replace,
            written: 0,
            published: false,
        })
    }

    /// Adds bytes at the end.
    ///
    /// # Errors
    /// [`Code::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_at(bytes, self.written)
            .map_err(|e| Error::io("write", &self.target, &e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Gives the file its name.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::Io`]. What was there is then as it was.
    pub fn finish(mut self) -> Result<()> {
        let target = self.target.clone();
        let publish = || {
            self.file.sync_all()?;
            let made = self.resolved.with_file_name(&self.made);
            DiskNamespace.rename(&made, &self.resolved, self.replace)
        };
        publish().map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => exists(&target),
            _ => Error::io("rename", &target, &e),
        })?;
        self.published = true;
        self.sync_names().map_err(|e| Error::io("fsync", &target, &e))
    }

    /// Makes the names in the directory durable, where the file system can sync a directory.
    #[cfg(unix)]
    fn sync_names(&self) -> io::Result<()> {
        match rustix::fs::fsync(&self.durable) {
            Ok(()) | Err(rustix::io::Errno::INVAL) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// This system does so by itself.
    #[cfg(not(unix))]
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed by the next sweep.
            let _ = self.dir.remove_file(&self.made);
        }
    }
}

fn exists(target: &Path) -> Error {
    let message = format!("there is a file at {} already: pass replace: true", target.display());
    Error::new(Code::Exists, message).at(target)
}
