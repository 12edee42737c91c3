//! Extraction: members are written as files and directories below one directory.
//!
//! A [`TargetTree`] does not leave the target whatever links another process makes meanwhile. Links
//! that are there already are refused, not followed.
//!
//! Modes are those of the members less the process's umask, unless they are to be preserved. A
//! member that is damaged, or that the system refuses to create, does not stop the others.

mod failures;
mod names;

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use self::failures::{failure, is_of_one_member};
use self::names::{check_names, leave_out_directory, same_name, selection};
use crate::engine::limits::Limits;
use crate::engine::reader::Reader;
use crate::engine::selection::Selection;
use crate::error::{Code, Error, Result};
use crate::format::catalog::Entry;
use crate::format::name;
use crate::io::disk::DiskFile;
use crate::io::protected_paths::ProtectedPaths;
use crate::io::storage::WriteAt;
use crate::io::target_tree::{NotPlaced, PERMISSIONS, TargetFile, TargetTree};
use crate::ops::bulk_read::BulkRead;
use crate::ops::fs_tree;
use crate::progress::{CallObserver, Report};

/// What to extract, and how.
#[derive(Debug, Clone)]
pub struct Extraction {
    /// Which members.
    pub what: Selection,
    /// The directory that names are taken relative to: nothing outside it is extracted.
    pub from: Option<String>,
    /// Whether [`Selection::All`] includes the records of plugins. They come out when they are named,
    /// and belong to their owner alone then.
    pub plugins: bool,
    /// Whether existing files are replaced. If not, one of them is an error, and none is touched.
    pub replace: bool,
    /// Whether modes are those of the members whatever the umask, and whether an existing directory
    /// gets the mode of its member.
    pub preserve: bool,
    /// The most bytes that may be written; those of the handle hold besides.
    pub limits: Limits,
}

impl From<Selection> for Extraction {
    fn from(what: Selection) -> Self {
        Self {
            what,
            from: None,
            plugins: true,
            replace: true,
            preserve: false,
            limits: Limits::default(),
        }
    }
}

/// What an extraction did.
#[derive(Debug, Default, Clone)]
pub struct Extracted {
    /// Files written.
    pub files: u64,
    /// Directories that are members.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// Modes and times that the system refused to set. The files and directories are written.
    pub refused: Vec<Refused>,
}

/// A mode or time that the system refused to set on a file or directory that is written.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The member.
    pub member: String,
    /// The file or directory.
    pub path: PathBuf,
    /// What was refused, and why.
    pub reason: String,
    /// The system's error number.
    pub errno: Option<i32>,
}

/// Bytes of a large member that are written before others get their turn.
const STEP: u64 = 32 << 20;

/// Extracts members below `target`, which is made if it is missing.
pub(crate) fn extract(
    reader: &Reader,
    extraction: &Extraction,
    target: &Path,
    own: &ProtectedPaths,
    watch: &CallObserver,
) -> Result<Extracted> {
    let from = extraction.from.as_deref().map(name::check).transpose()?;
    let mut sweep = BulkRead::new(reader, &selection(&extraction.what, from)?, watch)?;
    if let Some(from) = from {
        leave_out_directory(&mut sweep.members, from)?;
    } else if !extraction.plugins && matches!(extraction.what, Selection::All) {
        sweep.members.retain(|(name, _)| !name::is_of_plugins(name));
    }
    let files = sweep.members.iter().filter(|(_, entry)| !entry.is_directory());
    let limits = extraction.limits.and(reader.limits);
    limits.check_all(files.map(|(name, entry)| (&**name, entry.size)))?;
    check_names(&sweep.members)?;
    let out = Out {
        reader,
        tree: TargetTree::create(target)?,
        target,
        own,
        from: from.map(|from| format!("{from}/")).unwrap_or_default(),
        replace: extraction.replace,
        watch,
        bytes: AtomicU64::new(0),
        members: AtomicU64::new(0),
        total: sweep.members.iter().map(|(_, e)| e.size).sum(),
        preserve: extraction.preserve,
        refused: Mutex::default(),
        failed: Mutex::default(),
    };
    if !extraction.replace {
        out.check_free(&sweep.members)?;
    }
    let directories = out.directories(&sweep.members)?;
    let written = out.files(&sweep, &directories)?;
    let mut extracted = Extracted {
        files: written.len() as u64,
        bytes: written.iter().sum(),
        ..Extracted::default()
    };
    // Times of directories last: making files in them changed those.
    for (name, entry) in sweep.members.iter().rev().filter(|(_, entry)| entry.is_directory()) {
        if !directories.lacks(name) {
            out.finish_directory(name, entry, directories.new.contains(&**name));
            extracted.directories += 1;
        }
    }
    extracted.refused = out.refused.into_inner().unwrap_or_else(PoisonError::into_inner);
    extracted.refused.sort_by(|one, other| one.member.cmp(&other.member));
    let failed = out.failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    failure(failed, target, extracted.files, extracted.bytes).map_or(Ok(extracted), Err)
}

/// The directories that an extraction needs.
#[derive(Default)]
struct Directories {
    /// Those that it made for a member of its own.
    new: HashSet<String>,
    /// Those that could not be made.
    missing: Vec<(String, Error)>,
}

impl Directories {
    /// Whether a directory, or one above it, could not be made.
    fn lacks(&self, name: &str) -> bool {
        self.why(name).is_some()
    }

    /// Why a member with this name cannot be made.
    fn why(&self, name: &str) -> Option<&Error> {
        let is_in = |directory: &str| {
            name.strip_prefix(directory)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        self.missing.iter().find(|(directory, _)| is_in(directory)).map(|(_, error)| error)
    }
}

struct Out<'a> {
    reader: &'a Reader,
    tree: TargetTree,
    target: &'a Path,
    own: &'a ProtectedPaths,
    /// What is cut off the front of each name.
    from: String,
    replace: bool,
    watch: &'a CallObserver,
    bytes: AtomicU64,
    members: AtomicU64,
    total: u64,
    preserve: bool,
    refused: Mutex<Vec<Refused>>,
    failed: Mutex<Vec<(String, Error)>>,
}

impl Out<'_> {
    /// Where a member goes, relative to the target.
    fn place<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(&self.from).unwrap_or(name)
    }

    /// Fails if anything is where a file is to go.
    fn check_free(&self, members: &[(Arc<str>, Entry)]) -> Result<()> {
        for (name, _) in members.iter().filter(|(_, entry)| !entry.is_directory()) {
            self.watch.cancel.check()?;
            match self.tree.look(self.place(name)) {
                Ok(found) if found.is_file => return Err(self.exists(name)),
                Ok(_) => return Err(self.in_the_way(name, "a file is to go there")),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Extracts all files, and gives the sizes of those that could be extracted.
    fn files(&self, sweep: &BulkRead<'_>, directories: &Directories) -> Result<Vec<u64>> {
        let written = sweep.files(
            |name, entry, bytes| {
                self.attempt(name, directories, || {
                    let bytes = bytes?;
                    self.file(name, entry, true, |file| {
                        file.write_at(bytes, 0).map_err(|e| self.io("write", name, &e))
                    })?;
                    self.advance(name, entry.size, true);
                    Ok(entry.size)
                })
            },
            |name, entry| {
                self.attempt(name, directories, || {
                    self.large(name, entry)?;
                    Ok(entry.size)
                })
            },
        )?;
        Ok(written.into_iter().flatten().collect())
    }

    /// Extracts a file and returns the result of `extract`, or `None` if it fails but others may not.
    fn attempt<T>(
        &self,
        name: &str,
        directories: &Directories,
        extract: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        let done = match directories.why(name) {
            Some(error) => Err(error.clone()),
            None => extract().map_err(|e| e.of_member(name)),
        };
        match done {
            Ok(done) => Ok(Some(done)),
            Err(e) if is_of_one_member(&e) => {
                self.fail(name, e);
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    fn fail(&self, name: &str, error: Error) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.push((name.to_owned(), error));
    }

    /// Records a mode or time that the system refused to set.
    fn refused(&self, name: &str, what: &str, error: &std::io::Error) {
        let path = self.target.join(self.place(name));
        let reason = format!("{what} could not be set: {error}");
        let (member, errno) = (name.to_owned(), error.raw_os_error());
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.push(Refused { member, path, reason, errno });
    }

    /// Makes every directory that is needed, from the top. A link in place of one is an error.
    fn directories(&self, members: &[(Arc<str>, Entry)]) -> Result<Directories> {
        // Those that are members with their modes.
        let mut needed: BTreeMap<&str, Option<u32>> = BTreeMap::new();
        let mut last = None;
        for (name, entry) in members {
            // Most members lie beside the one before.
            let parent = name.rsplit_once('/').map(|(parent, _)| parent);
            if parent != last {
                for parent in name::parents(name).filter(|parent| parent.starts_with(&self.from)) {
                    needed.entry(parent).or_default();
                }
                last = parent;
            }
            if entry.is_directory() {
                needed.insert(name, Some(entry.attributes.mode & PERMISSIONS));
            }
        }
        let mut directories = Directories::default();
        for (name, mode) in needed {
            if directories.lacks(name) {
                continue;
            }
            let path = self.place(name);
            // Its owner must be able to make files in it, until all are made.
            match self.tree.make_directory(path, mode.map(|mode| mode | OWNER)) {
                Ok(()) if mode.is_some() => drop(directories.new.insert(name.to_owned())),
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    let found = self.tree.look(path).map_err(|e| self.io("stat", name, &e))?;
                    if !found.is_directory {
                        return Err(self.in_the_way(name, "a directory is needed there"));
                    }
                }
                Err(e) => {
                    let error = self.io("mkdir", name, &e);
                    if !is_of_one_member(&error) {
                        return Err(error);
                    }
                    if mode.is_some() {
                        self.fail(name, error.clone());
                    }
                    directories.missing.push((name.to_owned(), error));
                }
            }
        }
        Ok(directories)
    }

    /// Writes a large member, each piece by the thread that decodes it.
    fn large(&self, name: &str, entry: &Entry) -> Result<()> {
        self.file(name, entry, false, |file| {
            let write = |at, bytes: &[u8]| {
                self.watch.cancel.check()?;
                file.write_at(bytes, at).map_err(|e| self.io("write", name, &e))?;
                self.advance(name, bytes.len() as u64, false);
                Ok(())
            };
            let mut at = 0;
            while at < entry.size {
                at = self.reader.each_piece(name, entry.version, at, STEP, &write)?;
            }
            Ok(())
        })?;
        self.advance(name, 0, true);
        Ok(())
    }

    /// Makes a new file, which replaces an existing file but nothing else. If this fails, the new file
    /// is removed and the existing one is unchanged.
    ///
    /// A file whose bytes are `whole`, all known before it is made, gets its own name at once where
    /// that is free. Otherwise it gets its name when it has all bytes.
    fn file(
        &self,
        name: &str,
        entry: &Entry,
        whole: bool,
        fill: impl FnOnce(&DiskFile) -> Result<()>,
    ) -> Result<()> {
        let mode = permissions(name, entry);
        let path = self.place(name);
        let at_once = match whole.then(|| self.tree.make(path, mode)) {
            Some(Err(e)) if e.kind() == std::io::ErrorKind::AlreadyExists => None,
            made => made.transpose().map_err(|e| self.io("open", name, &e))?,
        };
        let (made, beside) = match at_once {
            Some(made) => (made, None),
            None => {
                self.check_place(name, path)?;
                let made = self.tree.make_beside(path, mode);
                let (made, beside) = made.map_err(|e| self.io("open", name, &e))?;
                (made, Some(beside))
            }
        };
        let done = fill(&made.file).and_then(|()| {
            self.finish_file(name, &made, mode, entry);
            match &beside {
                Some(made) => self.put_in_place(name, made, path),
                None => Ok(()),
            }
        });
        if done.is_err() {
            // If this fails too, its reason is that of the error.
            let _ = self.tree.remove_file(beside.as_deref().unwrap_or(path));
        }
        done
    }

    fn finish_file(&self, name: &str, file: &TargetFile, mode: u32, entry: &Entry) {
        if self.preserve
            && let Err(e) = file.set_mode(mode)
        {
            self.refused(name, "its mode", &e);
        }
        if let Err(e) = file.set_modified(time(entry)) {
            self.refused(name, "its time", &e);
        }
    }

    /// Fails if there is something that a file may not replace.
    fn check_place(&self, name: &str, path: &str) -> Result<()> {
        let found = match self.tree.look(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            found => found.map_err(|e| self.io("stat", name, &e))?,
        };
        if !found.is_file {
            return Err(self.in_the_way(name, "a file is to go there"));
        }
        if found.is_made {
            return Err(self.same(name));
        }
        if !self.replace {
            return Err(self.exists(name));
        }
        self.own.spare(&self.target.join(path)).map_err(|e| e.of_member(name))
    }

    /// Renames a file that was made beside `path`, unless this extraction has made the file there.
    fn put_in_place(&self, name: &str, made: &str, path: &str) -> Result<()> {
        self.tree.put_in_place(made, path, self.replace).map_err(|refused| match refused {
            NotPlaced::Made => self.same(name),
            NotPlaced::Exists => self.exists(name),
            NotPlaced::Failed(syscall, e) => self.io(syscall, name, &e),
        })
    }

    /// Gives a directory its time, and its mode if it is `new` or modes are preserved.
    fn finish_directory(&self, name: &str, entry: &Entry, new: bool) {
        let file = match self.tree.open_directory(self.place(name)) {
            Ok(file) => file,
            Err(e) => return self.refused(name, "its time", &e),
        };
        let mode = permissions(name, entry);
        let moded = if self.preserve {
            file.set_mode(mode)
        } else if new && mode & OWNER != OWNER {
            // It was made with the mode that the umask left.
            file.keep_mode(mode | !OWNER)
        } else {
            Ok(())
        };
        if let Err(e) = moded {
            self.refused(name, "its mode", &e);
        }
        if let Err(e) = file.set_modified(time(entry)) {
            self.refused(name, "its time", &e);
        }
    }

    fn advance(&self, name: &str, bytes: u64, whole: bool) {
        let bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let members =
            self.members.fetch_add(u64::from(whole), Ordering::Relaxed) + u64::from(whole);
        self.watch.report(|| Report {
            bytes,
            total_bytes: Some(self.total),
            members,
            name: Some(name.to_owned()),
        });
    }

    fn in_the_way(&self, name: &str, what: &str) -> Error {
        fs_tree::in_the_way(&self.target.join(self.place(name)), what).of_member(name)
    }

    fn exists(&self, name: &str) -> Error {
        let path = self.target.join(self.place(name));
        let message =
            format!("{} exists already: remove it, or allow replacing it", path.display());
        Error::new(Code::Exists, message).at(&path).of_member(name)
    }

    fn same(&self, name: &str) -> Error {
        Error::new(Code::NameCollision, same_name(name))
            .at(&self.target.join(self.place(name)))
            .of_member(name)
    }

    fn io(&self, syscall: &'static str, name: &str, error: &std::io::Error) -> Error {
        fs_tree::refused(syscall, &self.target.join(self.place(name)), error).of_member(name)
    }
}

/// The permissions of a member's file or directory. Records of plugins are for their owner alone.
fn permissions(name: &str, entry: &Entry) -> u32 {
    let mode = entry.attributes.mode & PERMISSIONS;
    if name::is_of_plugins(name) { mode & OWNER } else { mode }
}

fn time(entry: &Entry) -> SystemTime {
    let seconds = Duration::from_secs(entry.attributes.mtime_s.unsigned_abs());
    let whole = if entry.attributes.mtime_s < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|t| t.checked_add(Duration::from_nanos(u64::from(entry.attributes.mtime_ns))))
        .unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What its owner may do.
const OWNER: u32 = 0o700;

#[cfg(test)]
mod tests;
