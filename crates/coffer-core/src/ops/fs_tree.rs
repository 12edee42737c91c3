//! A directory tree outside of any coffer: listing it, and removing entries of it.

use crate::io::protected_paths::DirectoryIdentity;
use crate::io::protected_paths::ProtectedPaths;
use std::borrow::Cow;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Code, Error, Result};
use crate::format::name;
use crate::io::beneath::{self, About, Opened, What};
use crate::io::disk::DiskFile;
use crate::io::target_tree::TargetTree;
use crate::progress::Cancel;

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
    /// A pipe that was asked for by its own path.
    Pipe,
    /// An entry that is left out: the coffer itself, a device or the like, one whose name is not UTF-8,
    /// or one that could not be examined.
    Other,
}

/// The path that a tree begins at: links in it are followed, links below it are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root {
    /// The path.
    pub path: PathBuf,
    /// Device and inode of the directory there, on systems that have inodes.
    pub id: Option<(u64, u64)>,
}

/// An entry of a tree.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where the tree begins.
    pub root: Arc<Root>,
    /// Its path: that of the root, or one below it.
    pub path: PathBuf,
    /// What it is.
    pub kind: Kind,
    /// Whether it is a link that is followed to a file.
    pub linked: bool,
    /// Why it is left out, if it is neither a file nor a directory.
    pub reason: Option<Cow<'static, str>>,
    /// The system's error number, if the entry could not be examined.
    pub errno: Option<i32>,
    /// Bytes of a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time, seconds since 1970.
    pub mtime_s: i64,
    /// Modification time, nanoseconds of the second.
    pub mtime_ns: u32,
}

/// What is at a path, if anything is. The path itself may be a link, which is followed unless
/// `follow` says otherwise.
pub(crate) fn look(path: &Path, follow: bool, own: &ProtectedPaths) -> Result<Option<Entry>> {
    match beneath::at(path, follow) {
        Ok(about) => Ok(Some(found(path, &about, own))),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io("stat", path, &e)),
    }
}

/// What is at a path that is to be added.
///
/// # Errors
/// [`Code::InvalidArg`] if it is a device or a socket; [`Code::Io`] also if nothing is there.
pub(crate) fn source(path: &Path, own: &ProtectedPaths) -> Result<Entry> {
    let about = beneath::at(path, true).map_err(|e| Error::io("stat", path, &e))?;
    let what = match about.what {
        What::Socket => "a socket",
        What::Device => "a device",
        _ => return Ok(found(path, &about, own)),
    };
    let message = format!("{} is {what}: name a file, a directory or a pipe", path.display());
    Err(Error::new(Code::InvalidArg, message).at(path))
}

/// The entry of a path that the caller named.
fn found(path: &Path, about: &About, own: &ProtectedPaths) -> Entry {
    let root = Arc::new(Root { path: path.to_path_buf(), id: about.id });
    let entry = entry(&root, path.to_path_buf(), about, &DirectoryIdentity::above(path), own);
    if about.what == What::Pipe {
        return Entry { kind: Kind::Pipe, reason: None, ..entry };
    }
    entry
}

/// What is in a directory at or below `root`, in the order of the names. Entries that
/// vanish meanwhile are left out; one that cannot be examined has the number of the error.
pub(crate) fn list(
    root: &Arc<Root>,
    directory: &Path,
    symlinks: Symlinks,
    own: &ProtectedPaths,
) -> Result<Vec<Entry>> {
    let opened = open_directory(root, directory)?;
    let failed = |e: io::Error| Error::io("readdir", directory, &e);
    let place = DirectoryIdentity::of(directory, opened.itself().map_err(failed)?.id);
    let mut names = opened.names().map_err(failed)?;
    names.sort_unstable();
    let mut entries = Vec::with_capacity(names.len());
    for name in names {
        let path = directory.join(&name);
        match opened.about(&name, false) {
            Ok(about) if about.what == What::Link => {
                entries.push(link(root, path, &about, &place, symlinks, &opened, own));
            }
            Ok(about) if about.what == What::Directory && is_temporary(&opened, &name) => {
                let reason = "it is a temporary directory of a coffer";
                entries.push(left_out(entry(root, path, &about, &place, own), reason));
            }
            Ok(about) => entries.push(entry(root, path, &about, &place, own)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => entries.push(unknown(root, path, &e)),
        }
    }
    Ok(entries)
}

/// Whether a directory is a temporary one of a coffer, with its spools.
fn is_temporary(parent: &Opened, name: &OsStr) -> bool {
    name.to_str().and_then(|name| name.strip_prefix(".coffer-")).is_some_and(|random| {
        random.len() == 6 && random.bytes().all(|b| b.is_ascii_alphanumeric())
    }) && parent.enter(name).is_ok_and(|inside| inside.about("owner".as_ref(), false).is_ok())
}

/// Opens a directory at or below `root`, which must still be the directory that was listed.
fn open_directory(root: &Root, directory: &Path) -> Result<Opened> {
    let opened = Opened::at(&root.path).map_err(|e| Error::io("open", &root.path, &e))?;
    let about = opened.itself().map_err(|e| Error::io("fstat", &root.path, &e))?;
    if about.id != root.id {
        return Err(replaced(&root.path));
    }
    let below = directory.strip_prefix(&root.path).unwrap_or(directory);
    opened.directory_below(below).map_err(|e| failed_to_open(directory, &e))
}

/// Files that are opened one after the other. The directory of the last one stays open: most lie
/// beside the one before.
#[derive(Default)]
pub(crate) struct Opener {
    last: Option<(PathBuf, Opened)>,
}

impl Opener {
    /// Opens a file for reading that was found in a tree. Below the root no link is followed, but for
    /// the file itself where it is a link that was to be followed.
    ///
    /// # Errors
    /// [`Code::UnsafePath`] if a link, or something that is no file, has been put in its place;
    /// [`Code::Io`].
    pub(crate) fn open(&mut self, entry: &Entry) -> Result<(DiskFile, About)> {
        let path = &entry.path;
        let parent = match path.parent() {
            Some(parent) if *path != entry.root.path => parent,
            _ => return open(path),
        };
        if self.last.as_ref().is_none_or(|(last, _)| last != parent) {
            self.last = Some((parent.to_path_buf(), open_directory(&entry.root, parent)?));
        }
        let name = path.file_name().unwrap_or_default();
        let opened = match &self.last {
            Some((_, directory)) => directory.open(name, entry.linked),
            None => beneath::open(path),
        };
        checked(path, opened.map_err(|e| failed_to_open(path, &e))?)
    }
}

/// Opens the file at a path for reading, following links. Never waits for the other end of a pipe.
///
/// # Errors
/// [`Code::UnsafePath`] if it is no file; [`Code::Io`].
pub(crate) fn open(path: &Path) -> Result<(DiskFile, About)> {
    checked(path, beneath::open(path).map_err(|e| Error::io("open", path, &e))?)
}

fn checked(path: &Path, file: DiskFile) -> Result<(DiskFile, About)> {
    let about = beneath::about(&file).map_err(|e| Error::io("fstat", path, &e))?;
    if about.what == What::File { Ok((file, about)) } else { Err(replaced(path)) }
}

fn failed_to_open(path: &Path, error: &io::Error) -> Error {
    if beneath::is_link_in_the_way(error) { replaced(path) } else { Error::io("open", path, error) }
}

fn replaced(path: &Path) -> Error {
    let message = format!(
        "{} is not what it was when it was looked at: a link, or something of another type, is in its place, or in that of a directory above it",
        path.display()
    );
    Error::new(Code::UnsafePath, message).at(path)
}

fn link(
    root: &Arc<Root>,
    path: PathBuf,
    about: &About,
    place: &DirectoryIdentity,
    symlinks: Symlinks,
    opened: &Opened,
    own: &ProtectedPaths,
) -> Entry {
    let reason = match symlinks {
        Symlinks::Skip | Symlinks::Error => "it is a symbolic link",
        Symlinks::Follow => match opened.about(path.file_name().unwrap_or_default(), true) {
            Ok(target) if target.what == What::Directory => "it is a symbolic link to a directory",
            Ok(target) => {
                return Entry { linked: true, ..entry(root, path, &target, place, own) };
            }
            Err(e)
                if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
            {
                "it is a symbolic link to nothing"
            }
            Err(e) => {
                let reason = format!("it is a symbolic link that cannot be followed: {e}");
                let reason = Some(Cow::Owned(reason));
                return Entry { kind: Kind::Link, reason, ..unknown(root, path, &e) };
            }
        },
    };
    let found = entry(root, path, about, place, own);
    Entry { kind: Kind::Link, reason: Some(Cow::Borrowed(reason)), ..found }
}

/// An entry that could not be examined.
fn unknown(root: &Arc<Root>, path: PathBuf, error: &io::Error) -> Entry {
    Entry {
        root: root.clone(),
        path,
        kind: Kind::Other,
        linked: false,
        reason: Some(Cow::Owned(error.to_string())),
        errno: Some(error.raw_os_error().unwrap_or(0)),
        size: 0,
        mode: 0,
        mtime_s: 0,
        mtime_ns: 0,
    }
}

fn left_out(entry: Entry, reason: &'static str) -> Entry {
    Entry { kind: Kind::Other, reason: Some(Cow::Borrowed(reason)), ..entry }
}

fn entry(
    root: &Arc<Root>,
    path: PathBuf,
    about: &About,
    place: &DirectoryIdentity,
    own: &ProtectedPaths,
) -> Entry {
    let reason = if path.file_name().is_some_and(|name| name.to_str().is_none()) {
        Some("its name is not UTF-8")
    } else {
        match about.what {
            What::Directory => None,
            What::File if own.has(place, path.file_name(), about) => {
                Some("it is this coffer, its lock, a backup, or another file of its own")
            }
            What::File => None,
            What::Link => Some("it is a symbolic link"),
            What::Pipe => Some("it is not a regular file, but a pipe"),
            What::Socket => Some("it is not a regular file, but a socket"),
            What::Device => Some("it is not a regular file, but a device"),
        }
    };
    let kind = match (reason, about.what) {
        (None, What::Directory) => Kind::Directory,
        (None, _) => Kind::File,
        (_, What::Link) => Kind::Link,
        _ => Kind::Other,
    };
    let About { mode, mtime_s, mtime_ns, .. } = *about;
    Entry {
        root: root.clone(),
        path,
        kind,
        linked: false,
        reason: reason.map(Cow::Borrowed),
        errno: None,
        size: about.size,
        mode,
        mtime_s,
        mtime_ns,
    }
}

/// Removes files, links and empty directories below `root`, in the given order; what is gone
/// already is no error. Nothing outside `root` is removed, whatever links another process makes meanwhile.
pub(crate) fn remove(root: &Path, paths: &[String], cancel: &Cancel) -> Result<()> {
    let tree = TargetTree::open(root)?;
    for path in paths {
        cancel.check()?;
        let path = name::check(path)?;
        match tree.remove(path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(refused("unlink", &root.join(path), &e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The error of a call on a path below a [`TargetTree`].
pub(crate) fn refused(syscall: &'static str, path: &Path, error: &std::io::Error) -> Error {
    // The error of cap-std where a component of the path is a link that leads outside.
    if error.kind() == std::io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
        return in_the_way(path, "the path would leave the target");
    }
    Error::io(syscall, path, error)
}

/// The error of a path at which there is something of another type.
pub(crate) fn in_the_way(path: &Path, what: &str) -> Error {
    let message =
        format!("{} is a link or of another type, and {what}: remove it first", path.display());
    Error::new(Code::UnsafePath, message).at(path)
}

#[cfg(test)]
mod tests;
