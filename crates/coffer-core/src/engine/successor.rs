//! The newest commit of a file that a reader has open already, if it is newer than the reader's own.

use crate::engine::file::ArchiveFile;
use crate::engine::recovery::{self, Loaded, Newest};
use crate::error::{Code, Error, Result};
use crate::format::commit::CommitId;
use crate::format::footer::Footer;

/// A newer commit, which descends from the reader's own.
pub(crate) struct Successor {
    pub(crate) newest: Newest,
    pub(crate) loaded: Loaded,
    /// The length of the file when it was looked for.
    pub(crate) size: u64,
}

/// Looks for a commit that is newer than `own`, without a lock. `None` if there is none.
///
/// # Errors
/// [`Code::RolledBack`] if the newest commit is older than `own`, or does not descend from it;
/// [`Code::Corrupt`], [`Code::Io`].
pub(crate) fn successor(source: &ArchiveFile, own: &CommitId) -> Result<Option<Successor>> {
    let look = || -> Result<Option<Successor>> {
        let size = source.storage.len().map_err(|e| Error::io("fstat", &source.path, &e))?;
        if ends_with(source, size, own)? {
            return Ok(None);
        }
        let mut newest = recovery::newest(source, size)?;
        if newest.id() == *own {
            return Ok(None);
        }
        check_descent(source, &newest, own)?;
        let loaded = recovery::catalog(source, &mut newest)?;
        Ok(Some(Successor { newest, loaded, size }))
    };
    // A commit that is being written looks like an older state of the file for a moment.
    let steady = || match look() {
        Err(e) if e.code() == Code::RolledBack => Ok(Err(e)),
        looked => looked.map(Ok),
    };
    recovery::steadily(&*source.storage, steady, Result::is_ok)?
}

/// Fails unless `own` is an ancestor of the newest commit.
///
/// # Errors
/// [`Code::RolledBack`].
pub(crate) fn check_descent(source: &ArchiveFile, newest: &Newest, own: &CommitId) -> Result<()> {
    if recovery::has_ancestor(source, newest, own.generation, &own.digest)? {
        return Ok(());
    }
    Err(rolled_back(&format!(
        "commit {}, which this handle has read, is not in the history of the file, whose newest commit is {}: the file is older than it was, or not a successor of it",
        own.generation, newest.position.generation
    )))
}

/// The error of a file that is not what the caller had before, though it may be whole.
pub(crate) fn rolled_back(what: &str) -> Error {
    let message = format!(
        "{what}. Find out who or what replaced it before you go on; do not put a backup in its place"
    );
    Error::new(Code::RolledBack, message)
}

/// Whether the file ends with a footer of the commit: then there is none behind it.
fn ends_with(source: &ArchiveFile, size: u64, own: &CommitId) -> Result<bool> {
    let container = source.layers.container.as_deref();
    let len = Footer::len(container, &source.meta);
    let Some(at) = size.checked_sub(len as u64) else { return Ok(false) };
    let bytes = source.read(at, len)?;
    Ok(Footer::read(&bytes, at, container, &source.meta).is_some_and(|(footer, _)| {
        footer.archive == source.archive
            && footer.commit.generation == own.generation
            && footer.commit.digest == own.digest
    }))
}
