//! A directory tree outside of any coffer: what is in it, and removing some of that.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::container::Attributes;
use crate::error::{Code, Error, Result};
use crate::name;
use crate::storage;
use crate::watch::Cancel;

/// What to do with symbolic links in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symlinks {
    /// A link to a file is added as the file it names. Links to directories are not entered.
    #[default]
    Follow,
    /// Links are left out.
    Skip,
    /// A link is an error.
    Error,
}

/// What an entry of a tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A file, or a link that is followed to one.
    File,
    /// A directory.
    Directory,
    /// A symbolic link that is not followed.
    Link,
    /// What is left alone: the coffer itself, devices and their like, names that are not UTF-8.
    Other,
}

/// An entry of a tree.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its path, below the path that was asked for.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Why it is left out, if it is neither a file nor a directory.
    pub reason: Option<&'static str>,
    /// Bytes of a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time, seconds since 1970.
    pub mtime_s: i64,
    /// Modification time, nanoseconds of the second.
    pub mtime_ns: u32,
}

/// The files of a coffer that may lie in a tree that is brought into it.
pub(crate) struct Own {
    path: PathBuf,
    #[cfg(unix)]
    files: Vec<(u64, u64)>,
}

impl Own {
    pub(crate) fn of(coffer: &Path) -> Self {
        #[cfg(unix)]
        let files = {
            let mut lock = coffer.as_os_str().to_owned();
            lock.push(".lock");
            let metas = [coffer, Path::new(&lock)].into_iter().map(std::fs::metadata);
            metas.flatten().map(|meta| identity(&meta)).collect()
        };
        Self {
            path: coffer.to_path_buf(),
            #[cfg(unix)]
            files,
        }
    }

    /// Refuses to let a file of the coffer be written over.
    pub(crate) fn spare(&self, path: &Path) -> Result<()> {
        match std::fs::metadata(path) {
            Ok(meta) if self.has(path, &meta) => Err(Error::new(
                Code::InvalidArg,
                format!("{} belongs to the open coffer: choose another place", path.display()),
            )
            .at(path)),
            _ => Ok(()),
        }
    }

    fn has(&self, path: &Path, meta: &Metadata) -> bool {
        self.is_one_of(meta)
            || path == self.path
            || path.parent() == self.path.parent() && storage::is_unfinished(&self.path, path)
    }

    #[cfg(unix)]
    fn is_one_of(&self, meta: &Metadata) -> bool {
        self.files.contains(&identity(meta))
    }

    /// Here files have no numbers to know them by.
    #[cfg(not(unix))]
    fn is_one_of(&self, _meta: &Metadata) -> bool {
        false
    }
}

#[cfg(unix)]
fn identity(meta: &Metadata) -> (u64, u64) {
    use std::os::unix::fs::MetadataExt;
    (meta.dev(), meta.ino())
}

/// What is at a path, if anything is. The path itself may be a link, which is followed unless
/// `follow` says otherwise.
pub(crate) fn look(path: &Path, follow: bool, own: &Own) -> Result<Option<Entry>> {
    let found = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
    match found {
        Ok(meta) if meta.is_symlink() => {
            Ok(Some(link(path.to_path_buf(), &meta, Symlinks::Skip, own)))
        }
        Ok(meta) => Ok(Some(entry(path.to_path_buf(), &meta, own))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("stat", path, &e)),
    }
}

/// What is in a directory, in the order of the names. What vanishes meanwhile is not in it.
pub(crate) fn list(directory: &Path, symlinks: Symlinks, own: &Own) -> Result<Vec<Entry>> {
    let failed = |e: std::io::Error| Error::io("readdir", directory, &e);
    let mut found = std::fs::read_dir(directory)
        .map_err(failed)?
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(failed)?;
    found.sort_by_cached_key(std::fs::DirEntry::file_name);
    let mut entries = Vec::with_capacity(found.len());
    for item in found {
        let path = item.path();
        match item.metadata() {
            Ok(meta) if meta.is_symlink() => entries.push(link(path, &meta, symlinks, own)),
            Ok(meta) => entries.push(entry(path, &meta, own)),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(Error::io("stat", &path, &e)),
        }
    }
    Ok(entries)
}

fn link(path: PathBuf, meta: &Metadata, symlinks: Symlinks, own: &Own) -> Entry {
    let reason = match symlinks {
        Symlinks::Skip | Symlinks::Error => "it is a symbolic link",
        Symlinks::Follow => match std::fs::metadata(&path) {
            Ok(target) if target.is_dir() => "it is a symbolic link to a directory",
            Ok(target) => return entry(path, &target, own),
            Err(_) => "it is a symbolic link to nothing",
        },
    };
    Entry { kind: Kind::Link, reason: Some(reason), ..entry(path, meta, own) }
}

fn entry(path: PathBuf, meta: &Metadata, own: &Own) -> Entry {
    let (kind, reason) = if path.file_name().is_some_and(|name| name.to_str().is_none()) {
        (Kind::Other, Some("its name is not UTF-8"))
    } else if meta.is_dir() {
        (Kind::Directory, None)
    } else if !meta.is_file() {
        (Kind::Other, Some("it is not a regular file"))
    } else if own.has(&path, meta) {
        (Kind::Other, Some("it is this coffer, or its lock"))
    } else {
        (Kind::File, None)
    };
    let Attributes { mode, mtime_s, mtime_ns } = attributes(meta);
    Entry { path, kind, reason, size: meta.len(), mode, mtime_s, mtime_ns }
}

#[cfg(unix)]
pub(crate) fn attributes(meta: &Metadata) -> Attributes {
    use std::os::unix::fs::MetadataExt;
    Attributes {
        mode: meta.mode() & 0o7777,
        mtime_s: meta.mtime(),
        mtime_ns: u32::try_from(meta.mtime_nsec()).unwrap_or(0),
    }
}

#[cfg(not(unix))]
pub(crate) fn attributes(meta: &Metadata) -> Attributes {
    let since = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.unwrap_or_default();
    let mode = if meta.is_dir() { 0o755 } else { 0o644 };
    Attributes { mode, mtime_s: since.as_secs() as i64, mtime_ns: since.subsec_nanos() }
}

/// Removes files, links and empty directories below `root`, in the given order; what is gone
/// already is no error. Nothing outside `root` is removed, whatever links somebody plants meanwhile.
pub(crate) fn remove(root: &Path, paths: &[String], cancel: &Cancel) -> Result<()> {
    let dir = Dir::open_ambient_dir(root, ambient_authority())
        .map_err(|e| Error::io("open", root, &e))?;
    for path in paths {
        cancel.check()?;
        let path = name::check(path)?;
        let removed = dir.symlink_metadata(path).and_then(|meta| {
            if meta.is_dir() { dir.remove_dir(path) } else { dir.remove_file(path) }
        });
        match removed {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused("unlink", &root.join(path), &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The error of a call below a directory that is not to be left.
pub(crate) fn refused(syscall: &'static str, path: &Path, error: &std::io::Error) -> Error {
    // cap-std answers so where a component of the path is a link that leads outside.
    if error.kind() == std::io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
        return in_the_way(path, "the path would leave the target");
    }
    Error::io(syscall, path, error)
}

/// The error about what is where something else is to go.
pub(crate) fn in_the_way(path: &Path, what: &str) -> Error {
    let message =
        format!("{} is a link or of another type, and {what}: remove it first", path.display());
    Error::new(Code::UnsafePath, message).at(path)
}
