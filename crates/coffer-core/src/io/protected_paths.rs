//! The files of an open coffer, which are neither added to it nor written over.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::io::beneath::{self, About, Id};
use crate::io::lock_file;
use crate::io::new_file::{SweepTarget, is_number, target_of_unfinished};
use crate::io::storage;

/// The files of a coffer that may lie in a tree that is added to it: the coffer, its lock file, the
/// `.torn` files, its backups, and the unfinished new files of all these.
pub(crate) struct ProtectedPaths {
    files: Vec<Id>,
    /// Directory and name of the coffer, and of a link to it where its path is one.
    homes: Vec<Home>,
    backup: Option<String>,
}

struct Home {
    directory: DirectoryIdentity,
    name: String,
}

/// The identity of a directory: by device and inode where there are such.
#[derive(PartialEq, Eq)]
pub(crate) enum DirectoryIdentity {
    Number(Id),
    Path(PathBuf),
}

impl DirectoryIdentity {
    pub(crate) fn of(directory: &Path, id: Option<Id>) -> Self {
        match id {
            Some(id) => Self::Number(id),
            None => Self::Path(
                std::fs::canonicalize(directory).unwrap_or_else(|_| directory.to_path_buf()),
            ),
        }
    }

    /// The directory that a path is in.
    pub(crate) fn above(path: &Path) -> Self {
        let directory = storage::directory(path);
        Self::of(directory, beneath::at(directory, true).ok().and_then(|about| about.id))
    }
}

/// The suffix of backups unless another is given.
const BACKUP: &str = ".bak";

/// The suffix of the damaged ends of coffers.
const TORN: &str = ".torn";

impl ProtectedPaths {
    /// `backup` is the suffix of the backups that this handle makes.
    pub(crate) fn of(coffer: &Path, backup: Option<&str>) -> Self {
        let mut paths = vec![coffer.to_path_buf()];
        paths.extend(std::fs::canonicalize(coffer).ok().filter(|path| path != coffer));
        let (mut files, mut homes) = (Vec::new(), Vec::new());
        for path in paths {
            let suffixes = [BACKUP].into_iter().chain(backup);
            let beside = suffixes.map(|suffix| suffixed(&path, suffix));
            let all =
                [path.clone(), lock_file::lock_path(&path), torn(&path)].into_iter().chain(beside);
            files.extend(all.filter_map(|path| beneath::at(&path, true).ok()?.id));
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            homes.push(Home { directory: DirectoryIdentity::above(&path), name });
        }
        Self { files, homes, backup: backup.map(str::to_owned) }
    }

    /// Refuses to let a file of the coffer be written over.
    pub(crate) fn spare(&self, path: &Path) -> Result<()> {
        match beneath::at(path, true) {
            Ok(about) if self.has(&DirectoryIdentity::above(path), path.file_name(), &about) => {
                Err(Error::new(
                    Code::InvalidArg,
                    format!("{} belongs to the open coffer: choose another place", path.display()),
                )
                .at(path))
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn has(
        &self,
        directory: &DirectoryIdentity,
        name: Option<&OsStr>,
        about: &About,
    ) -> bool {
        if about.id.is_some_and(|id| self.files.contains(&id)) {
            return true;
        }
        let name = name.unwrap_or_default().to_string_lossy();
        self.homes.iter().any(|home| home.directory == *directory && self.is_name(home, &name))
    }

    /// Whether `name` is that of the coffer at `home`, or of a file that is made beside it.
    fn is_name(&self, home: &Home, name: &str) -> bool {
        let is_final = |name: &str| {
            name.strip_prefix(&home.name).is_some_and(|suffix| {
                matches!(suffix, "" | lock_file::SUFFIX | BACKUP)
                    || self.backup.as_deref() == Some(suffix)
                    || suffix
                        .strip_prefix(TORN)
                        .is_some_and(|number| number.is_empty() || is_number(number))
            })
        };
        is_final(name) || target_of_unfinished(name).is_some_and(is_final)
    }
}

/// Where the damaged end of a coffer is moved to: a dot and a number follow where that is taken.
pub(crate) fn torn(coffer: &Path) -> PathBuf {
    suffixed(coffer, TORN)
}

/// The files whose unfinished successors a writer of a coffer removes.
pub(crate) fn swept(coffer: &Path, backup: Option<PathBuf>) -> Vec<SweepTarget> {
    let own = [SweepTarget::One(coffer.to_path_buf()), SweepTarget::Numbered(torn(coffer))];
    own.into_iter().chain(backup.map(SweepTarget::One)).collect()
}

/// A path with `suffix` appended to its name.
pub(crate) fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}
