//! What a handle that only reads holds: its locks, its file, the keys to open it again, and the readers of
//! the commits that it had before.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::engine::credentials::{CredentialLookup, Credentials};
use crate::engine::file::ArchiveFile;
use crate::engine::open::{self, Expected, Notice, OpenResult, Opened};
use crate::engine::reader::Reader;
use crate::engine::recovery;
use crate::engine::successor::{check_descent, rolled_back, successor};
use crate::engine::view::View;
use crate::error::Result;
use crate::format::commit::CommitId;
use crate::format::header::Header;
use crate::format::kind::Kind;
use crate::io::lock_set::Locks;
use crate::io::spool::SpoolDir;
use crate::io::storage::{Namespace, WriteAt};
use crate::progress::Cancel;

/// The part of a handle that only reads.
pub(super) struct Reads {
    /// `None` once it is closed.
    pub(super) resources: Mutex<Option<ReadResources>>,
    /// Held by a refresh: there is one at a time.
    pub(super) refreshing: Mutex<()>,
    /// The readers of older commits, as long as something reads with them.
    older: Mutex<Vec<Weak<Reader>>>,
}

/// The resources of a read-only handle, released when it closes.
pub(super) struct ReadResources {
    pub(super) locks: Locks,
    pub(super) file: Arc<dyn WriteAt>,
    /// What opens the file at the path again; `None` for a coffer in PyCoffer's format.
    pub(super) reopening: Option<Arc<Reopening>>,
    pub(super) _spool: Option<SpoolDir>,
}

/// What opens the file at the path of a handle again.
pub(super) struct Reopening {
    pub(super) directory: Arc<dyn Namespace>,
    /// The keys that opened the file.
    pub(super) credentials: Credentials,
    pub(super) kind: Kind,
    pub(super) accept_file_cipher: bool,
    pub(super) level: Option<i32>,
    pub(super) max_catalog: u64,
}

/// A newer state of the file at the path.
pub(super) struct Found {
    pub(super) view: View,
    pub(super) commit: CommitId,
    pub(super) notices: Vec<Notice>,
    /// The file, if another one is at the path.
    pub(super) file: Option<Arc<dyn WriteAt>>,
}

impl Reads {
    pub(super) fn new(resources: ReadResources) -> Self {
        Self {
            resources: Mutex::new(Some(resources)),
            refreshing: Mutex::default(),
            older: Mutex::default(),
        }
    }

    /// Keeps track of a reader that is replaced by another.
    pub(super) fn outdate(&self, reader: &Arc<Reader>) {
        let mut older = locked(&self.older);
        older.retain(|reader| reader.strong_count() > 0);
        older.push(Arc::downgrade(reader));
    }

    /// Releases the locks, and drops the keys and the files of older commits.
    pub(super) fn release(&self, path: &Path) {
        if let Some(mut held) = locked(&self.resources).take() {
            held.locks.release(&*held.file);
        }
        let older = std::mem::take(&mut *locked(&self.older));
        older.iter().filter_map(Weak::upgrade).for_each(|reader| drop(reader.view.close(path)));
    }
}

impl Reopening {
    /// Opens the file that is at the path in place of the one that `old` reads.
    pub(super) fn reopen(&self, path: &Path, old: &Reader) -> Result<Found> {
        let file = Locks::none(path).open(&*self.directory, false)?;
        let cancel = Cancel::default();
        let credentials = CredentialLookup::new(&self.credentials, &cancel);
        let expected = Expected {
            kind: &self.kind,
            accept_file_cipher: self.accept_file_cipher,
            credentials: &credentials,
            level: self.level,
            max_catalog: self.max_catalog,
            directory: self.directory.clone(),
        };
        let look = || open::open(file.clone(), path, &expected);
        let opened = recovery::steadily(&*file, look, |found| match found {
            OpenResult::Coffer(opened) => opened.is_sound(),
            OpenResult::Legacy => true,
        })?;
        let OpenResult::Coffer(opened) = opened else {
            return Err(rolled_back(
                "a file in PyCoffer's format was put in the place of the coffer",
            ));
        };
        let Opened { source, header, newest, loaded, notices, .. } = *opened;
        if source.archive != old.view.read().source.archive {
            return Err(rolled_back(
                "another coffer was put in the place of the one that was open",
            ));
        }
        check_descent(&source, &newest, &old.commit())?;
        let commit = newest.id();
        let view = View { catalog: loaded.catalog, source, header: Some(header) };
        Ok(Found { view, commit, notices, file: Some(file) })
    }
}

/// The newest commit of the file that `old` reads, if it is newer.
pub(super) fn in_place(old: &Reader) -> Result<Option<Found>> {
    let (source, header): (Arc<ArchiveFile>, Option<Header>) = {
        let view = old.view.read();
        (view.source.clone(), view.header.clone())
    };
    let Some(newer) = successor(&source, &old.commit())? else { return Ok(None) };
    let notices = open::notices(&newer.newest, newer.size);
    let commit = newer.newest.id();
    let view = View { catalog: newer.loaded.catalog, source, header };
    Ok(Some(Found { view, commit, notices, file: None }))
}

pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
