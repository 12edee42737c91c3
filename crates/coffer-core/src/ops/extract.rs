//! Members on their way out: into one directory, and nowhere else.
//!
//! Every path is opened below the target by `cap-std`, which does not leave it whatever links
//! another process plants meanwhile. Links that are there already are refused, not followed.
//!
//! Modes are those of the members less what the process masks, unless they are to be preserved. A
//! member that is damaged, or that the system refuses to make, does not stop the others.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, OpenOptions};

use crate::engine::limits::Limits;
use crate::engine::reader::Reader;
use crate::engine::selection::Selection;
use crate::error::{Code, Error, Result};
use crate::format::catalog::Entry;
use crate::format::name;
use crate::io::disk::DiskFile;
use crate::io::output;
use crate::io::protected_paths::ProtectedPaths;
use crate::io::storage::Storage;
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
    /// Whether files that are there are replaced. If not, one of them is an error, and none is
    /// touched.
    pub replace: bool,
    /// Whether modes are those of the members, whatever the process masks, and whether a directory
    /// that is there gets that of its member.
    pub preserve: bool,
    /// The most bytes that may be written.
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
    /// Modes and times that the system refused to set, of files and directories that are there.
    pub refused: Vec<Refused>,
}

/// What the system refused to do to a file or directory that is there otherwise.
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
        // The directory itself is the target.
        if sweep.members.iter().any(|(name, entry)| **name == *from && !entry.is_directory()) {
            return Err(not_a_directory(from));
        }
        sweep.members.retain(|(name, _)| **name != *from);
    }
    if from.is_none() && !extraction.plugins && matches!(extraction.what, Selection::All) {
        sweep.members.retain(|(name, _)| !name::is_of_plugins(name));
    }
    let files = sweep.members.iter().filter(|(_, entry)| !entry.is_directory());
    extraction.limits.check_all(files.map(|(name, entry)| (&**name, entry.size)))?;
    check_names(&sweep.members)?;
    std::fs::create_dir_all(target).map_err(|e| Error::io("mkdir", target, &e))?;
    let dir = Dir::open_ambient_dir(target, ambient_authority())
        .map_err(|e| Error::io("open", target, &e))?;
    let out = Out {
        reader,
        dir,
        target,
        own,
        from: from.map(|from| format!("{from}/")).unwrap_or_default(),
        replace: extraction.replace,
        watch,
        made: Made::default(),
        bytes: AtomicU64::new(0),
        members: AtomicU64::new(0),
        total: sweep.members.iter().map(|(_, e)| e.size).sum(),
        preserve: extraction.preserve,
        swept: Mutex::default(),
        refused: Mutex::default(),
        failed: Mutex::default(),
    };
    if !extraction.replace {
        out.check_free(&sweep.members)?;
    }
    let directories = out.directories(&sweep.members)?;
    let written = sweep.files(
        |name, entry, bytes| {
            out.attempt(name, &directories, || {
                let bytes = bytes?;
                out.file(name, entry, true, |file| {
                    file.write_at(bytes, 0).map_err(|e| out.io("write", name, &e))
                })?;
                out.advance(name, entry.size, true);
                Ok(entry.size)
            })
        },
        |name, entry| {
            out.attempt(name, &directories, || {
                out.large(name, entry)?;
                Ok(entry.size)
            })
        },
    )?;
    let written: Vec<u64> = written.into_iter().flatten().collect();
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
    failure(failed, &extracted, target).map_or(Ok(extracted), Err)
}

/// How many members an error names.
const NAMED: usize = 20;

/// The error about the members that could not be extracted, if there are any.
fn failure(mut failed: Vec<(String, Error)>, done: &Extracted, target: &Path) -> Option<Error> {
    failed.sort_by(|(one, _), (other, _)| one.cmp(other));
    let (_, first) = failed.first()?;
    let names: Vec<_> = failed.iter().take(NAMED).map(|(name, _)| format!("{name:?}")).collect();
    let more = match failed.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "{}. Not extracted: {}{more}. Everything else was written to {}: {} files, {} bytes",
        first.message(),
        names.join(", "),
        target.display(),
        done.files,
        done.bytes
    );
    Some(first.clone().saying(message))
}

/// Whether an error is about one member, so that others may still be extracted.
fn is_of_one_member(error: &Error) -> bool {
    use std::io::ErrorKind;
    match (error.code(), error.errno()) {
        (Code::Corrupt, _) => true,
        (Code::Io, Some(errno)) => {
            #[cfg(unix)]
            if errno == rustix::io::Errno::ILSEQ.raw_os_error() {
                return true;
            }
            matches!(
                std::io::Error::from_raw_os_error(errno).kind(),
                ErrorKind::PermissionDenied
                    | ErrorKind::InvalidFilename
                    | ErrorKind::InvalidInput
                    | ErrorKind::Unsupported
            )
        }
        _ => false,
    }
}

/// What is extracted of a selection when names are taken relative to `from`.
fn selection(what: &Selection, from: Option<&str>) -> Result<Selection> {
    let Some(from) = from else { return Ok(what.clone()) };
    let names = match what {
        Selection::All => return Ok(Selection::Names(vec![from.to_owned()])),
        Selection::Names(names) | Selection::Exactly(names) => names,
    };
    for wanted in names {
        let wanted = name::check(wanted)?;
        let rest = wanted.strip_prefix(from);
        if !rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
            let message = format!("{wanted:?} is not below {from:?}, where names are taken from");
            return Err(Error::new(Code::InvalidArg, message).of_member(wanted));
        }
    }
    Ok(what.clone())
}

fn not_a_directory(from: &str) -> Error {
    Error::new(Code::InvalidArg, format!("names are taken from {from:?}, which is a file"))
        .of_member(from)
}

/// Refuses names that mean something else than a file of that name below the target.
fn check_names(members: &[(Arc<str>, Entry)]) -> Result<()> {
    if cfg!(unix) {
        return Ok(());
    }
    let mut names = HashSet::new();
    for (name, _) in members {
        if let Some(fault) = name::windows_fault(name) {
            let message = format!("{name:?} is refused as the name of a file: {fault}");
            return Err(Error::new(Code::UnsafePath, message).of_member(name));
        }
        if !names.insert(name.to_lowercase()) {
            return Err(Error::new(Code::Exists, same_name(name)).of_member(name));
        }
    }
    Ok(())
}

fn same_name(name: &str) -> String {
    format!("on this file system {name:?} is the name of another member, too")
}

/// The files that an extraction has made. By these it knows one again that another member's name
/// leads to, on a file system that does not tell upper from lower case, or forms of Unicode apart.
#[derive(Default)]
struct Made {
    files: Mutex<HashSet<(u64, u64)>>,
    /// Held shared from the making of a file until it is among these, and alone by whoever looks.
    making: RwLock<()>,
}

impl Made {
    fn add(&self, made: &cap_std::fs::Metadata) {
        if let Some(id) = identity(made) {
            self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        }
    }

    fn has(&self, found: &cap_std::fs::Metadata) -> bool {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        identity(found).is_some_and(|id| files.contains(&id))
    }
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

    /// Why what has this name has no place.
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
    dir: Dir,
    target: &'a Path,
    own: &'a ProtectedPaths,
    /// What is cut off the front of each name.
    from: String,
    replace: bool,
    watch: &'a CallObserver,
    made: Made,
    bytes: AtomicU64,
    members: AtomicU64,
    total: u64,
    preserve: bool,
    /// Directories of the target in which the remains of killed processes were looked for.
    swept: Mutex<HashSet<String>>,
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
            match self.dir.symlink_metadata(self.place(name)) {
                Ok(found) if found.is_file() => return Err(self.exists(name)),
                Ok(_) => return Err(self.in_the_way(name, "a file is to go there")),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Extracts a file, and gives what that gives, or nothing if it cannot be extracted but others may.
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

    /// Remembers what the system refused to do to something that is there otherwise.
    fn refused(&self, name: &str, what: &str, error: &std::io::Error) {
        let path = self.target.join(self.place(name));
        let reason = format!("{what} could not be set: {error}");
        let (member, errno) = (name.to_owned(), error.raw_os_error());
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.push(Refused { member, path, reason, errno });
    }

    /// Makes every directory that is needed, from the top, none of them a link.
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
            let mut builder = DirBuilder::new();
            if let Some(mode) = mode {
                // Its owner must be able to make files in it, until all are made.
                permit_directory(&mut builder, mode | OWNER);
            }
            match self.dir.create_dir_with(path, &builder) {
                Ok(()) if mode.is_some() => drop(directories.new.insert(name.to_owned())),
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    let found =
                        self.dir.symlink_metadata(path).map_err(|e| self.io("stat", name, &e))?;
                    if !found.is_dir() {
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

    /// Makes a file of its own in place of a file that is there, and of nothing else. Nothing of
    /// it is left if that fails, and what was there is left as it was.
    ///
    /// Bytes that are `whole`, all there before the file is made, go under its name at once where that
    /// is free. Otherwise the file gets its name when it has all bytes.
    fn file(
        &self,
        name: &str,
        entry: &Entry,
        whole: bool,
        fill: impl FnOnce(&DiskFile) -> Result<()>,
    ) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mode = permissions(name, entry);
        permit(&mut options, mode);
        let path = self.place(name);
        let at_once = match whole.then(|| self.make(path, &options)) {
            Some(Err(e)) if e.kind() == std::io::ErrorKind::AlreadyExists => None,
            made => made.transpose().map_err(|e| self.io("open", name, &e))?,
        };
        let (file, meta, beside) = match at_once {
            Some((file, meta)) => (file, meta, None),
            None => {
                self.check_place(name, path)?;
                let made = self.make_beside(path, &options);
                let (file, meta, beside) = made.map_err(|e| self.io("open", name, &e))?;
                (file, meta, Some(beside))
            }
        };
        let file = DiskFile::new(file);
        let done = fill(&file).and_then(|()| {
            if let Some(file) = file.file() {
                self.finish_file(name, file, &meta, mode, entry);
            }
            match &beside {
                Some(made) => self.put_in_place(name, made, path),
                None => Ok(()),
            }
        });
        if done.is_err() {
            // What cannot be removed now is what the error is about, too.
            let _ = self.dir.remove_file(beside.as_deref().unwrap_or(path));
        }
        done
    }

    fn finish_file(
        &self,
        name: &str,
        file: &std::fs::File,
        made: &cap_std::fs::Metadata,
        mode: u32,
        entry: &Entry,
    ) {
        if self.preserve
            && !permits(made, mode)
            && let Err(e) = set_mode(file, mode)
        {
            self.refused(name, "its mode", &e);
        }
        if let Err(e) = file.set_modified(time(entry)) {
            self.refused(name, "its time", &e);
        }
    }

    /// Refuses what may not be replaced by a file.
    fn check_place(&self, name: &str, path: &str) -> Result<()> {
        let found = {
            let _alone = self.made.making.write().unwrap_or_else(PoisonError::into_inner);
            match self.dir.symlink_metadata(path) {
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                found => found.map_err(|e| self.io("stat", name, &e))?,
            }
        };
        if !found.is_file() {
            return Err(self.in_the_way(name, "a file is to go there"));
        }
        if self.made.has(&found) {
            return Err(self.same(name));
        }
        if !self.replace {
            return Err(self.exists(name));
        }
        self.own.spare(&self.target.join(path)).map_err(|e| e.of_member(name))
    }

    /// Makes a file, and remembers it.
    fn make(
        &self,
        path: &str,
        options: &OpenOptions,
    ) -> std::io::Result<(std::fs::File, cap_std::fs::Metadata)> {
        let _making = self.made.making.read().unwrap_or_else(PoisonError::into_inner);
        let file = self.dir.open_with(path, options)?;
        let meta = file.metadata()?;
        self.made.add(&meta);
        Ok((file.into_std(), meta))
    }

    /// Makes a file under a name of its own in the directory that a path is in, and remembers it.
    fn make_beside(
        &self,
        path: &str,
        options: &OpenOptions,
    ) -> std::io::Result<(std::fs::File, cap_std::fs::Metadata, String)> {
        let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default();
        if self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned()) {
            output::sweep(&self.dir, directory);
        }
        let _making = self.made.making.read().unwrap_or_else(PoisonError::into_inner);
        let (file, meta, path) = output::create(&self.dir, directory, options)?;
        self.made.add(&meta);
        Ok((file, meta, path))
    }

    /// Puts a file that was made beside another in its place, unless that is one of ours.
    fn put_in_place(&self, name: &str, made: &str, path: &str) -> Result<()> {
        let _alone = self.made.making.write().unwrap_or_else(PoisonError::into_inner);
        if self.dir.symlink_metadata(path).is_ok_and(|found| self.made.has(&found)) {
            return Err(self.same(name));
        }
        if !self.replace {
            // Only one can make this, and what it made is then its own to replace.
            let mut free = OpenOptions::new();
            free.write(true).create_new(true);
            self.dir.open_with(path, &free).map_err(|e| match e.kind() {
                std::io::ErrorKind::AlreadyExists => self.exists(name),
                _ => self.io("open", name, &e),
            })?;
        }
        self.dir.rename(made, &self.dir, path).map_err(|e| {
            if !self.replace {
                let _ = self.dir.remove_file(path);
            }
            self.io("rename", name, &e)
        })
    }

    /// Gives a directory its time, and its mode if it is `new` or modes are preserved.
    fn finish_directory(&self, name: &str, entry: &Entry, new: bool) {
        let file = match self.dir.open_with(self.place(name), &of_directory()) {
            Ok(file) => file.into_std(),
            Err(e) => return self.refused(name, "its time", &e),
        };
        let mode = permissions(name, entry);
        let moded = if self.preserve {
            set_mode(&file, mode)
        } else if new && mode & OWNER != OWNER {
            // It was made with what the process does not mask.
            keep_mode(&file, mode | !OWNER)
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
        Error::new(Code::Exists, same_name(name))
            .at(&self.target.join(self.place(name)))
            .of_member(name)
    }

    fn io(&self, syscall: &'static str, name: &str, error: &std::io::Error) -> Error {
        fs_tree::refused(syscall, &self.target.join(self.place(name)), error).of_member(name)
    }
}

/// The permissions of a member's file or directory outside. What plugins keep is for its owner.
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

/// What a file is, whatever it is called.
#[cfg(unix)]
fn identity(file: &cap_std::fs::Metadata) -> Option<(u64, u64)> {
    use cap_std::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// The names are compared instead, see `check_names`.
#[cfg(not(unix))]
fn identity(_file: &cap_std::fs::Metadata) -> Option<(u64, u64)> {
    None
}

/// Set-user-id and its like do not survive: what comes out of an archive asks for no rights.
const PERMISSIONS: u32 = 0o777;
/// What its owner may do.
const OWNER: u32 = 0o700;

/// Makes a file with its own mode at once, less what the process masks.
#[cfg(unix)]
fn permit(options: &mut OpenOptions, mode: u32) {
    cap_std::fs::OpenOptionsExt::mode(options, mode);
}

#[cfg(not(unix))]
fn permit(_options: &mut OpenOptions, _mode: u32) {}

/// Makes a directory with its own mode at once, less what the process masks.
#[cfg(unix)]
fn permit_directory(builder: &mut DirBuilder, mode: u32) {
    cap_std::fs::DirBuilderExt::mode(builder, mode);
}

#[cfg(not(unix))]
fn permit_directory(_builder: &mut DirBuilder, _mode: u32) {}

/// Whether a file has this mode already.
#[cfg(unix)]
fn permits(made: &cap_std::fs::Metadata, mode: u32) -> bool {
    use cap_std::fs::MetadataExt;
    made.mode() & PERMISSIONS == mode
}

#[cfg(not(unix))]
fn permits(_made: &cap_std::fs::Metadata, _mode: u32) -> bool {
    true
}

/// Opens a directory, so that its mode and its time may be set.
fn of_directory() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(not(windows))]
    options.read(true);
    #[cfg(windows)]
    {
        use cap_std::fs::OpenOptionsExt;
        const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
        const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
        options.access_mode(FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
    }
    options
}

#[cfg(unix)]
fn set_mode(file: &std::fs::File, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    file.set_permissions(std::fs::Permissions::from_mode(mode))
}

/// Takes from a file's mode all that is not in `most`.
#[cfg(unix)]
fn keep_mode(file: &std::fs::File, most: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let now = file.metadata()?.permissions().mode();
    set_mode(file, now & most & 0o7777)
}

#[cfg(not(unix))]
fn keep_mode(_file: &std::fs::File, _most: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(not(unix))]
fn set_mode(_file: &std::fs::File, _mode: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::engine::file::ArchiveFile;
    use crate::engine::view::{Shared, View};
    use crate::format::catalog::{Catalog, Place};
    use crate::format::member::{Attributes, MemberType};

    /// Two members come to one place, as on a file system that takes their names for the same: here
    /// because what is cut off the front of the one leaves the name of the other. Only where files have
    /// an identity: elsewhere `check_names` comes first.
    #[test]
    fn a_member_does_not_replace_another_whose_name_leads_to_the_same_file() {
        let nothing = Path::new("nothing");
        let source = Arc::new(ArchiveFile::closed(nothing));
        let view = Shared::new(View { catalog: Catalog::default(), source, header: None });
        let reader = Reader::of_writer(view);
        let entry = Entry {
            version: 0,
            member_type: MemberType::File,
            size: 1,
            attributes: Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 },
            place: Place::Memory(Arc::default()),
        };
        let fill = |file: &DiskFile, bytes: &[u8]| {
            file.write_at(bytes, 0).map_err(|e| Error::io("write", nothing, &e))
        };
        for (before, replace) in [(false, true), (true, true), (false, false)] {
            let target = tempfile::tempdir().unwrap();
            if before {
                std::fs::write(target.path().join("a"), "old").unwrap();
            }
            let out = Out {
                reader: &reader,
                dir: Dir::open_ambient_dir(target.path(), ambient_authority()).unwrap(),
                target: target.path(),
                own: &ProtectedPaths::of(nothing, None),
                from: "x/".to_owned(),
                replace,
                watch: &CallObserver::silent(),
                made: Made::default(),
                bytes: AtomicU64::new(0),
                members: AtomicU64::new(0),
                total: 0,
                preserve: false,
                swept: Mutex::default(),
                refused: Mutex::default(),
                failed: Mutex::default(),
            };
            out.file("a", &entry, true, |file| fill(file, b"1")).unwrap();
            let error = out.file("x/a", &entry, true, |file| fill(file, b"2")).unwrap_err();
            assert_eq!((error.code(), error.member()), (Code::Exists, Some("x/a")));
            let late = out.put_in_place("x/a", "late", "a").unwrap_err();
            assert_eq!(late.code(), Code::Exists);
            assert_eq!(std::fs::read_to_string(target.path().join("a")).unwrap(), "1");
            assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
        }
    }
}
