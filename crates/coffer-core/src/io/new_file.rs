//! A file that gets its name when it is complete, and the removal of what killed processes left.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::crypto::key;
use crate::error::Error;
use crate::io::storage::{Names, Namespace, ReadAt, WriteAt, directory};

/// The suffix of unfinished files.
pub(crate) const UNFINISHED: &str = ".coffer-new";

/// How many random characters come before the suffix.
const RANDOM: usize = 6;

/// The characters to draw from.
const LETTERS: &[u8] = b"abcdefghijklmnopqrstuvwxyz0123456789";

/// How many links are followed to a file that is not there yet, as many as Linux follows.
const MOST_LINKS: usize = 40;

/// How many names are tried.
const ATTEMPTS: usize = 64;

/// A file that is written beside its target under a temporary name; [`NewFile::publish`] renames it.
/// Dropped before that, it is removed.
pub(crate) struct NewFile {
    directory: Arc<dyn Namespace>,
    storage: Arc<dyn WriteAt>,
    names: Arc<dyn Names>,
    path: PathBuf,
    target: PathBuf,
    published: bool,
}

impl NewFile {
    /// Creates the file, readable by its owner alone, in the directory of `target`.
    pub(crate) fn create(directory: &Arc<dyn Namespace>, target: &Path) -> io::Result<Self> {
        let target = resolved(target);
        // First of all: a file that has its name, but no descriptor to make the name durable, would
        // be an error after the change is made.
        let names = directory.names(&target)?;
        let (storage, path) = under_free_name(|random| {
            let name = unfinished_prefix(&target) + random + UNFINISHED;
            let path = target.with_file_name(name);
            Ok((directory.create(&path)?, path))
        })?;
        Ok(Self { directory: directory.clone(), storage, names, path, target, published: false })
    }

    /// The file's contents.
    #[must_use]
    pub(crate) fn storage(&self) -> Arc<dyn WriteAt> {
        self.storage.clone()
    }

    /// Gives the file the permissions of the one it is to replace, or is a copy of, and as far as the
    /// system allows its owner and group; [`owner_lost`](crate::io::storage::owner_lost) tells whether it did.
    pub(crate) fn permit_as(&self, old: &dyn ReadAt) -> io::Result<()> {
        old.ownership()?.map_or(Ok(()), |ownership| self.storage.adopt(&ownership))
    }

    /// Makes the file durable, gives it its final name, and makes the name durable. Without `replace`
    /// an existing file is an error.
    pub(crate) fn publish(mut self, replace: bool) -> Result<(), PublishError> {
        let named = self
            .storage
            .sync_all()
            .and_then(|()| self.directory.rename(&self.path, &self.target, replace));
        named.map_err(PublishError::Unnamed)?;
        self.published = true;
        self.names.sync().map_err(PublishError::NotDurable)
    }
}

/// Why a new file was not published.
#[derive(Debug)]
pub(crate) enum PublishError {
    /// The file did not get its name, and is removed.
    Unnamed(io::Error),
    /// The file has its name, which may not survive a power failure.
    NotDurable(io::Error),
}

impl PublishError {
    /// The same as an error at `path`.
    pub(crate) fn at(&self, path: &Path) -> Error {
        match self {
            Self::Unnamed(e) => Error::io("rename", path, e),
            Self::NotDurable(e) => Error::io("fsync", path, e),
        }
    }
}

impl From<PublishError> for io::Error {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Unnamed(e) | PublishError::NotDurable(e) => e,
        }
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.published {
            // What cannot be removed now is removed at the next open.
            let _ = self.directory.remove(&self.path);
        }
    }
}

/// A file whose unfinished successors are removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SweepTarget {
    /// The file at a path.
    One(PathBuf),
    /// The file at a path, and those with a dot and a number behind that name.
    Numbered(PathBuf),
}

impl SweepTarget {
    fn path(&self) -> &Path {
        let (Self::One(path) | Self::Numbered(path)) = self;
        path
    }

    fn resolved(&self) -> Self {
        match self {
            Self::One(path) => Self::One(resolved(path)),
            Self::Numbered(path) => Self::Numbered(resolved(path)),
        }
    }

    /// Whether a path is one that [`NewFile`] chooses for this target.
    fn is_of(&self, unfinished: &Path) -> bool {
        let name = unfinished.file_name().and_then(OsStr::to_str).and_then(target_of_unfinished);
        let Some(name) = name else { return false };
        let target = self.path().file_name().unwrap_or_default().to_string_lossy();
        let Some(behind) = name.strip_prefix(&*target) else { return false };
        behind.is_empty() || matches!(self, Self::Numbered(_)) && is_number(behind)
    }
}

/// Whether a part of a name is a dot and a number.
pub(crate) fn is_number(part: &str) -> bool {
    part.strip_prefix('.').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
    })
}

/// Removes what a killed process left unfinished beside each target. Each directory is listed once:
/// it may be large. The caller must hold the locks of all targets.
pub(crate) fn sweep_unfinished(directory: &dyn Namespace, targets: &[SweepTarget]) {
    let mut targets: Vec<SweepTarget> = targets.iter().map(SweepTarget::resolved).collect();
    targets.sort_by(|one, other| one.path().parent().cmp(&other.path().parent()));
    for together in targets.chunk_by(|one, other| one.path().parent() == other.path().parent()) {
        let Some(first) = together.first() else { continue };
        let wanted =
            |path: &Path| together.iter().find(|target| target.is_of(path)).map(SweepTarget::path);
        let found = directory.leftovers(self::directory(first.path()), &wanted).unwrap_or_default();
        for path in found {
            // What cannot be removed now is removed at the next open.
            let _ = directory.remove(&path);
        }
    }
}

/// The name of the file that an unfinished file is to become, if a name is one of an unfinished file.
pub(crate) fn target_of_unfinished(name: &str) -> Option<&str> {
    let (target, random) = name.strip_prefix('.')?.strip_suffix(UNFINISHED)?.rsplit_once('.')?;
    is_random(random).then_some(target)
}

/// Whether a part of a name is one that [`under_free_name`] chooses.
pub(crate) fn is_random(part: &str) -> bool {
    part.len() == RANDOM && part.bytes().all(|b| LETTERS.contains(&b))
}

/// The path with links resolved, also where the last one leads to a file that does not exist yet.
pub(crate) fn resolved(path: &Path) -> PathBuf {
    let mut path = path.to_path_buf();
    for _ in 0..MOST_LINKS {
        match std::fs::canonicalize(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            found => return found.unwrap_or(path),
        }
        let Ok(target) = std::fs::read_link(&path) else { break };
        path = directory(&path).join(target);
    }
    path
}

fn unfinished_prefix(target: &Path) -> String {
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    format!(".{name}.")
}

/// Makes something under a free name, of six random letters and what `make` adds.
pub(crate) fn under_free_name<T>(mut make: impl FnMut(&str) -> io::Result<T>) -> io::Result<T> {
    let letter = |byte: u8| char::from(LETTERS[usize::from(byte) % LETTERS.len()]);
    let mut tried = 0;
    loop {
        let random: String = key::random_bytes::<RANDOM>().into_iter().map(letter).collect();
        tried += 1;
        match make(&random) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && tried < ATTEMPTS => {}
            made => return made,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unfinished_files_of_numbered_targets_are_known() {
        let of = |target: &SweepTarget, name: &str| target.is_of(&Path::new("/d").join(name));
        let one = SweepTarget::One("/d/x.coffer".into());
        let torn = SweepTarget::Numbered("/d/x.coffer.torn".into());
        assert!(of(&one, ".x.coffer.abc012.coffer-new"));
        assert!(of(&torn, ".x.coffer.torn.abc012.coffer-new"));
        assert!(of(&torn, ".x.coffer.torn.1.abc012.coffer-new"));
        assert!(of(&torn, ".x.coffer.torn.20.abc012.coffer-new"));
        // Those of other files.
        for name in [
            ".x.coffer.1.abc012.coffer-new",
            ".x.coffer.torn.abc012.coffer-new",
            ".y.coffer.abc012.coffer-new",
            "x.coffer.abc012.coffer-new",
            ".x.coffer.ABC012.coffer-new",
            ".x.coffer.abc01.coffer-new",
        ] {
            assert!(!of(&one, name), "{name}");
        }
        for name in [".x.coffer.torn.a.abc012.coffer-new", ".x.coffer.torn..abc012.coffer-new"] {
            assert!(!of(&torn, name), "{name}");
        }
    }
}
