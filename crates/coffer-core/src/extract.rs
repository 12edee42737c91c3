//! Members on their way out: into one directory, and nowhere else.
//!
//! Every path is opened below the target by `cap-std`, which does not leave it whatever links
//! another process plants meanwhile. Links that are there already are refused, not followed.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

use crate::catalog::Entry;
use crate::error::{Code, Error, Result};
use crate::key::random_bytes;
use crate::limits::Limits;
use crate::name;
use crate::read::Reader;
use crate::storage::{DiskFile, Storage, UNFINISHED};
use crate::sweep::{Selection, Sweep};
use crate::tree;
use crate::tree::Own;
use crate::watch::{Report, Watch};

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
    /// The most bytes that may be written.
    pub limits: Limits,
}

impl From<Selection> for Extraction {
    fn from(what: Selection) -> Self {
        Self { what, from: None, plugins: true, replace: true, limits: Limits::default() }
    }
}

/// What an extraction did.
#[derive(Debug, Default, Clone, Copy)]
pub struct Extracted {
    /// Files written.
    pub files: u64,
    /// Directories that are members.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Bytes of a large member that are written before others get their turn.
const STEP: u64 = 32 << 20;

/// Extracts members below `target`, which is made if it is missing.
pub(crate) fn extract(
    reader: &Reader,
    extraction: &Extraction,
    target: &Path,
    own: &Own,
    watch: &Watch,
) -> Result<Extracted> {
    let from = extraction.from.as_deref().map(name::check).transpose()?;
    let mut sweep = Sweep::new(reader, &selection(&extraction.what, from)?, watch)?;
    if let Some(from) = from {
        // The directory itself is the target.
        if sweep.members.iter().any(|(name, entry)| **name == *from && !entry.directory) {
            return Err(not_a_directory(from));
        }
        sweep.members.retain(|(name, _)| **name != *from);
    }
    if from.is_none() && !extraction.plugins && matches!(extraction.what, Selection::All) {
        sweep.members.retain(|(name, _)| !name::is_of_plugins(name));
    }
    let files = sweep.members.iter().filter(|(_, entry)| !entry.directory);
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
    };
    if !extraction.replace {
        out.check_free(&sweep.members)?;
    }
    out.directories(&sweep.members)?;
    let files = sweep.files(
        |name, entry, bytes| {
            out.file(name, entry, |file| {
                file.write_at(bytes, 0).map_err(|e| out.io("write", name, &e))
            })?;
            out.advance(name, entry.size, true);
            Ok(())
        },
        |name, entry| out.large(name, entry),
    )?;
    // Times of directories last: making files in them changed those.
    let directories = sweep.members.iter().rev().filter(|(_, entry)| entry.directory);
    let mut extracted = Extracted { files: files.len() as u64, directories: 0, bytes: out.total };
    for (name, entry) in directories {
        out.finish_directory(name, entry)?;
        extracted.directories += 1;
    }
    Ok(extracted)
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

struct Out<'a> {
    reader: &'a Reader,
    dir: Dir,
    target: &'a Path,
    own: &'a Own,
    /// What is cut off the front of each name.
    from: String,
    replace: bool,
    watch: &'a Watch,
    made: Made,
    bytes: AtomicU64,
    members: AtomicU64,
    total: u64,
}

impl Out<'_> {
    /// Where a member goes, relative to the target.
    fn place<'n>(&self, name: &'n str) -> &'n str {
        name.strip_prefix(&self.from).unwrap_or(name)
    }

    /// Fails if anything is where a file is to go.
    fn check_free(&self, members: &[(Arc<str>, Entry)]) -> Result<()> {
        for (name, _) in members.iter().filter(|(_, entry)| !entry.directory) {
            self.watch.cancel.check()?;
            match self.dir.symlink_metadata(self.place(name)) {
                Ok(found) if found.is_file() => return Err(self.exists(name)),
                Ok(_) => return Err(self.in_the_way(name, "a file is to go there")),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// Makes every directory that is needed, from the top, none of them a link.
    fn directories(&self, members: &[(Arc<str>, Entry)]) -> Result<()> {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        let mut last = None;
        for (name, entry) in members {
            // Most members lie beside the one before.
            let parent = name.rsplit_once('/').map(|(parent, _)| parent);
            if parent != last {
                needed.extend(name::parents(name).filter(|parent| parent.starts_with(&self.from)));
                last = parent;
            }
            if entry.directory {
                needed.insert(name);
            }
        }
        for name in needed {
            let path = self.place(name);
            match self.dir.create_dir(path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    let found =
                        self.dir.symlink_metadata(path).map_err(|e| self.io("stat", name, &e))?;
                    if !found.is_dir() {
                        return Err(self.in_the_way(name, "a directory is needed there"));
                    }
                }
                Err(e) => return Err(self.io("mkdir", name, &e)),
            }
        }
        Ok(())
    }

    /// Writes a large member, each piece by the thread that decodes it.
    fn large(&self, name: &str, entry: &Entry) -> Result<()> {
        self.file(name, entry, |file| {
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
    fn file(
        &self,
        name: &str,
        entry: &Entry,
        fill: impl FnOnce(&DiskFile) -> Result<()>,
    ) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let mode = permissions(name, entry);
        permit(&mut options, mode);
        let path = self.place(name);
        let mut beside = None;
        let mut opened = self.make(path, &options);
        if opened.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::AlreadyExists) {
            let found = {
                let _alone = self.made.making.write().unwrap_or_else(PoisonError::into_inner);
                self.dir.symlink_metadata(path).map_err(|e| self.io("stat", name, &e))?
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
            self.own.spare(&self.target.join(path)).map_err(|e| e.of_member(name))?;
            opened = self.make(beside.insert(unfinished(path)), &options);
        }
        let made = beside.as_deref().unwrap_or(path);
        let (file, meta) = opened.map_err(|e| self.io("open", name, &e))?;
        let file = DiskFile::new(file.into_std());
        let finish = |file: &std::fs::File| {
            if !permits(&meta, mode) {
                set_mode(file, mode)?;
            }
            file.set_modified(time(entry))
        };
        let filled = fill(&file).and_then(|()| {
            file.file().map_or(Ok(()), finish).map_err(|e| self.io("utimensat", name, &e))
        });
        drop(file);
        let done = filled.and_then(|()| match &beside {
            Some(made) => self.put_in_place(name, made, path),
            None => Ok(()),
        });
        if done.is_err() {
            // What cannot be removed now is what the error is about, too.
            let _ = self.dir.remove_file(made);
        }
        done
    }

    /// Makes a file, and remembers it.
    fn make(
        &self,
        path: &str,
        options: &OpenOptions,
    ) -> std::io::Result<(cap_std::fs::File, cap_std::fs::Metadata)> {
        let _making = self.made.making.read().unwrap_or_else(PoisonError::into_inner);
        let file = self.dir.open_with(path, options)?;
        let meta = file.metadata()?;
        self.made.add(&meta);
        Ok((file, meta))
    }

    /// Puts a file that was made beside another in its place, unless that is one of ours.
    fn put_in_place(&self, name: &str, made: &str, path: &str) -> Result<()> {
        let _alone = self.made.making.write().unwrap_or_else(PoisonError::into_inner);
        if self.dir.symlink_metadata(path).is_ok_and(|found| self.made.has(&found)) {
            return Err(self.same(name));
        }
        self.dir.rename(made, &self.dir, path).map_err(|e| self.io("rename", name, &e))
    }

    fn finish_directory(&self, name: &str, entry: &Entry) -> Result<()> {
        let file = self
            .dir
            .open_with(self.place(name), &of_directory())
            .map_err(|e| self.io("open", name, &e))?
            .into_std();
        set_mode(&file, permissions(name, entry))
            .and_then(|()| file.set_modified(time(entry)))
            .map_err(|e| self.io("utimensat", name, &e))
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
        tree::in_the_way(&self.target.join(self.place(name)), what).of_member(name)
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
        tree::refused(syscall, &self.target.join(self.place(name)), error).of_member(name)
    }
}

/// The permissions of a member's file or directory outside. What plugins keep is for its owner.
fn permissions(name: &str, entry: &Entry) -> u32 {
    let mode = entry.mode & PERMISSIONS;
    if name::is_of_plugins(name) { mode & OWNER } else { mode }
}

/// A path beside another, for what is to come in its place.
fn unfinished(path: &str) -> String {
    let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default();
    let random = u64::from_le_bytes(random_bytes());
    format!("{directory}.{random:016x}{UNFINISHED}")
}

fn time(entry: &Entry) -> SystemTime {
    let seconds = Duration::from_secs(entry.mtime_s.unsigned_abs());
    let whole = if entry.mtime_s < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(seconds)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(seconds)
    };
    whole
        .and_then(|t| t.checked_add(Duration::from_nanos(u64::from(entry.mtime_ns))))
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
/// Those of the owner.
const OWNER: u32 = 0o700;

/// Makes a file with its own mode at once, less what the process masks.
#[cfg(unix)]
fn permit(options: &mut OpenOptions, mode: u32) {
    cap_std::fs::OpenOptionsExt::mode(options, mode);
}

#[cfg(not(unix))]
fn permit(_options: &mut OpenOptions, _mode: u32) {}

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

#[cfg(not(unix))]
fn set_mode(_file: &std::fs::File, _mode: u32) -> std::io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::catalog::{Catalog, Place};
    use crate::container::{Shared, View};
    use crate::source::Source;

    /// Two members come to one place, as on a file system that takes their names for the same: here
    /// because what is cut off the front of the one leaves the name of the other. Only where files have
    /// an identity: elsewhere `check_names` comes first.
    #[test]
    fn a_member_does_not_replace_another_whose_name_leads_to_the_same_file() {
        let nothing = Path::new("nothing");
        let source = Arc::new(Source::closed(nothing));
        let view = Shared::new(View { catalog: Catalog::default(), source, header: None });
        let reader = Reader::of_writer(view);
        let entry = Entry {
            version: 0,
            directory: false,
            size: 1,
            mode: 0o644,
            mtime_s: 0,
            mtime_ns: 0,
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
                own: &Own::of(nothing),
                from: "x/".to_owned(),
                replace,
                watch: &Watch::silent(),
                made: Made::default(),
                bytes: AtomicU64::new(0),
                members: AtomicU64::new(0),
                total: 0,
            };
            out.file("a", &entry, |file| fill(file, b"1")).unwrap();
            let error = out.file("x/a", &entry, |file| fill(file, b"2")).unwrap_err();
            assert_eq!((error.code(), error.member()), (Code::Exists, Some("x/a")));
            let late = out.put_in_place("x/a", "late", "a").unwrap_err();
            assert_eq!(late.code(), Code::Exists);
            assert_eq!(std::fs::read_to_string(target.path().join("a")).unwrap(), "1");
            assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
        }
    }
}
