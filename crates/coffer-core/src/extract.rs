//! Members on their way out: into one directory, and nowhere else.
//!
//! Every path is opened below the target by `cap-std`, which does not leave it whatever links
//! another process plants meanwhile. Links that are there already are refused, not followed.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use crate::catalog::{Block, BlockId, Catalog, Entry, Place};
use crate::error::{Code, Error, Result};
use crate::name;
use crate::pool;
use crate::read::{Reader, no_member};
use crate::source::Source;
use crate::watch::{Report, Watch};
use cap_std::ambient_authority;
use cap_std::fs::{Dir, OpenOptions};

/// Which members.
#[derive(Debug, Clone)]
pub enum Selection {
    /// All of them.
    All,
    /// These, and what is below those that are directories.
    Names(Vec<String>),
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

/// Bytes of a large member that are decoded ahead of being written.
const STEP: usize = 8 << 20;

/// Extracts members below `target`, which is made if it is missing.
pub(crate) fn extract(
    reader: &Reader,
    selection: &Selection,
    target: &Path,
    watch: &Watch,
) -> Result<Extracted> {
    let Chosen { members, blocks, source } = select(reader, selection)?;
    std::fs::create_dir_all(target).map_err(|e| Error::io("mkdir", target, &e))?;
    let dir = Dir::open_ambient_dir(target, ambient_authority())
        .map_err(|e| Error::io("open", target, &e))?;
    let out = Out {
        reader,
        dir,
        target,
        watch,
        bytes: AtomicU64::new(0),
        members: AtomicU64::new(0),
        total: members.iter().map(|(_, e)| e.size).sum(),
    };
    out.directories(&members)?;
    let mut extracted = Extracted { bytes: out.total, ..Extracted::default() };
    let mut packs: BTreeMap<BlockId, Vec<(Arc<str>, Entry)>> = BTreeMap::new();
    let mut rest = Vec::new();
    let mut directories = Vec::new();
    for (name, entry) in members {
        if entry.directory {
            directories.push((name, entry));
            continue;
        }
        extracted.files += 1;
        match entry.place {
            Place::Packed { block, .. } => packs.entry(block).or_default().push((name, entry)),
            _ => rest.push((name, entry)),
        }
    }
    let packs: Vec<_> = packs.into_iter().collect();
    pool::each(&packs, |(id, members)| out.pack(&source, &blocks[id], members))?;
    for (name, entry) in rest {
        out.large(&name, &entry)?;
    }
    // Times of directories last: making files in them changed those.
    for (name, entry) in directories.iter().rev() {
        out.finish_directory(name, entry)?;
        extracted.directories += 1;
    }
    Ok(extracted)
}

/// What is extracted, as one look at the coffer found it.
struct Chosen {
    members: Vec<(Arc<str>, Entry)>,
    /// The packs that hold members of it. Their numbers mean nothing in another catalog.
    blocks: BTreeMap<BlockId, Block>,
    source: Arc<Source>,
}

fn select(reader: &Reader, selection: &Selection) -> Result<Chosen> {
    let view = reader.view.read();
    let members = choose(&view.catalog, selection)?;
    let mut blocks = BTreeMap::new();
    for (_, entry) in &members {
        if let Place::Packed { block, .. } = entry.place {
            blocks.insert(block, view.catalog.block(block)?.clone());
        }
    }
    Ok(Chosen { members, blocks, source: view.source.clone() })
}

fn choose(catalog: &Catalog, selection: &Selection) -> Result<Vec<(Arc<str>, Entry)>> {
    let own = |(name, entry): (&Arc<str>, &Entry)| (name.clone(), entry.clone());
    let Selection::Names(names) = selection else {
        return Ok(catalog.iter().map(own).collect());
    };
    let mut chosen = BTreeMap::new();
    for wanted in names {
        let wanted = name::check(wanted)?;
        let before = chosen.len();
        let known = chosen.contains_key(wanted);
        chosen.extend(catalog.get_key_value(wanted).map(own));
        chosen.extend(catalog.below(wanted).map(own));
        if chosen.len() == before && !known && !catalog.has_below(wanted) {
            return Err(no_member(wanted));
        }
    }
    Ok(chosen.into_iter().collect())
}

struct Out<'a> {
    reader: &'a Reader,
    dir: Dir,
    target: &'a Path,
    watch: &'a Watch,
    bytes: AtomicU64,
    members: AtomicU64,
    total: u64,
}

impl Out<'_> {
    /// Makes every directory that is needed, from the top, none of them a link.
    fn directories(&self, members: &[(Arc<str>, Entry)]) -> Result<()> {
        let mut needed: BTreeSet<&str> = BTreeSet::new();
        for (name, entry) in members {
            needed.extend(name::parents(name));
            if entry.directory {
                needed.insert(name);
            }
        }
        for path in needed {
            match self.dir.create_dir(path) {
                Ok(()) => {}
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    let found =
                        self.dir.symlink_metadata(path).map_err(|e| self.io("stat", path, &e))?;
                    if !found.is_dir() {
                        return Err(self.in_the_way(path, "a directory is needed there"));
                    }
                }
                Err(e) => return Err(self.io("mkdir", path, &e)),
            }
        }
        Ok(())
    }

    /// Writes the members of one pack, which is decoded once.
    fn pack(&self, source: &Source, block: &Block, members: &[(Arc<str>, Entry)]) -> Result<()> {
        self.watch.cancel.check()?;
        let tar = source.block(block).ok();
        for (name, entry) in members {
            let from_pack =
                tar.as_ref().and_then(|tar| bytes_in_pack(source, block, tar, entry).ok());
            let bytes = match from_pack {
                Some(bytes) => bytes,
                // The pack moved meanwhile, or is damaged: reading the member by itself tells which.
                None => self.reader.read_range(name, 0, u64::MAX, Some(entry.version))?.bytes,
            };
            self.file(name, entry, |file| file.write_all(&bytes))?;
            self.advance(name, entry.size, true);
        }
        Ok(())
    }

    fn large(&self, name: &str, entry: &Entry) -> Result<()> {
        let mut at = 0;
        let mut failure = None;
        let written = self.file(name, entry, |file| {
            while at < entry.size {
                let read = self.watch.cancel.check().and_then(|()| {
                    self.reader.read_range(name, at, STEP as u64, Some(entry.version))
                });
                match read {
                    Ok(range) => {
                        file.write_all(&range.bytes)?;
                        at += range.bytes.len() as u64;
                        self.advance(name, range.bytes.len() as u64, false);
                    }
                    Err(e) => {
                        failure = Some(e);
                        return Err(std::io::ErrorKind::Other.into());
                    }
                }
            }
            Ok(())
        });
        self.advance(name, 0, true);
        match failure {
            Some(e) => Err(e),
            None => written,
        }
    }

    /// Makes a file of its own in place of a file that is there, and of nothing else. Nothing of
    /// it is left if that fails.
    fn file(
        &self,
        name: &str,
        entry: &Entry,
        fill: impl FnOnce(&mut std::fs::File) -> std::io::Result<()>,
    ) -> Result<()> {
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        private(&mut options);
        let mut opened = self.dir.open_with(name, &options);
        if opened.as_ref().is_err_and(|e| e.kind() == std::io::ErrorKind::AlreadyExists) {
            let found = self.dir.symlink_metadata(name).map_err(|e| self.io("stat", name, &e))?;
            if !found.is_file() {
                return Err(self.in_the_way(name, "a file is to go there"));
            }
            self.dir.remove_file(name).map_err(|e| self.io("unlink", name, &e))?;
            opened = self.dir.open_with(name, &options);
        }
        let mut file = opened.map_err(|e| self.io("open", name, &e))?.into_std();
        let filled = fill(&mut file)
            .and_then(|()| set_mode(&file, entry.mode))
            .and_then(|()| file.set_modified(time(entry)));
        filled.map_err(|e| {
            // What cannot be removed now is what the error is about, too.
            let _ = self.dir.remove_file(name);
            self.io("write", name, &e)
        })
    }

    fn finish_directory(&self, name: &str, entry: &Entry) -> Result<()> {
        let file = self.dir.open(name).map_err(|e| self.io("open", name, &e))?.into_std();
        set_mode(&file, entry.mode)
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
        let path = self.target.join(name);
        let message =
            format!("{} is a link or of another type, and {what}: remove it first", path.display());
        Error::new(Code::UnsafePath, message).at(&path).of_member(name)
    }

    fn io(&self, syscall: &'static str, name: &str, error: &std::io::Error) -> Error {
        // cap-std answers so where a component of the path is a link that leads outside.
        if error.kind() == std::io::ErrorKind::PermissionDenied && error.raw_os_error().is_none() {
            return self.in_the_way(name, "the path would leave the target");
        }
        Error::io(syscall, &self.target.join(name), error).of_member(name)
    }
}

fn bytes_in_pack(source: &Source, block: &Block, tar: &[u8], entry: &Entry) -> Result<Vec<u8>> {
    let Place::Packed { at, stored, .. } = entry.place else {
        return Err(Error::corrupt("not in a pack"));
    };
    let size = usize::try_from(entry.size).map_err(|_| Error::new(Code::Limit, "too large"))?;
    source.layers.decode_member(source.slice(tar, block, at, stored)?, size)
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

/// Nobody else may look at a file before its own mode says who may.
#[cfg(unix)]
fn private(options: &mut OpenOptions) {
    cap_std::fs::OpenOptionsExt::mode(options, 0o600);
}

#[cfg(not(unix))]
fn private(_options: &mut OpenOptions) {}

#[cfg(unix)]
fn set_mode(file: &std::fs::File, mode: u32) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    // Set-user-id and its like do not survive: what comes out of an archive asks for no rights.
    file.set_permissions(std::fs::Permissions::from_mode(mode & 0o777))
}

#[cfg(not(unix))]
fn set_mode(_file: &std::fs::File, _mode: u32) -> std::io::Result<()> {
    Ok(())
}
