//! The state of a coffer that readers share with its writer: one catalog and the file it describes.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::buffer;
use crate::engine::file::ArchiveFile;
use crate::format::catalog::Catalog;
use crate::format::frame;
use crate::format::header::Header;

/// A catalog and the file that it describes.
pub(crate) struct View {
    pub(crate) catalog: Catalog,
    pub(crate) source: Arc<ArchiveFile>,
    /// What the file says of itself; `None` once the handle is closed.
    pub(crate) header: Option<Header>,
}

/// A view that the writer changes while readers use it.
pub(crate) struct Shared(RwLock<View>);

impl Shared {
    pub(crate) fn new(view: View) -> Arc<Self> {
        Arc::new(Self(RwLock::new(view)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The view, unless the writer holds it.
    pub(crate) fn try_read(&self) -> Option<RwLockReadGuard<'_, View>> {
        match self.0.try_read() {
            Ok(view) => Some(view),
            Err(TryLockError::Poisoned(view)) => Some(view.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    pub(crate) fn write(&self) -> RwLockWriteGuard<'_, View> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops the file and the keys, and returns the catalog, which takes long to free.
    pub(crate) fn close(&self, path: &Path) -> Catalog {
        buffer::forget();
        frame::forget();
        let source = Arc::new(ArchiveFile::closed(path));
        let closed = View { catalog: Catalog::default(), source, header: None };
        std::mem::replace(&mut *self.write(), closed).catalog
    }
}
