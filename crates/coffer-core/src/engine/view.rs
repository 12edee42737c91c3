//! What readers see of a coffer: one catalog and the file it is about, which a writer changes while
//! they look.

use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::buffer;
use crate::engine::file::ArchiveFile;
use crate::format::catalog::Catalog;
use crate::format::frame;
use crate::format::header::Header;

/// What readers see.
pub(crate) struct View {
    pub(crate) catalog: Catalog,
    pub(crate) source: Arc<ArchiveFile>,
    /// What the file says of itself; `None` once the handle is closed.
    pub(crate) header: Option<Header>,
}

/// A view that a writer changes while readers look.
pub(crate) struct Shared(RwLock<View>);

impl Shared {
    pub(crate) fn new(view: View) -> Arc<Self> {
        Arc::new(Self(RwLock::new(view)))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, View> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// A look for one who cannot wait for a writer.
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

    /// Lets go of the file and the keys, and gives the catalog, which takes its time to free.
    pub(crate) fn close(&self, path: &Path) -> Catalog {
        buffer::forget();
        frame::forget();
        let source = Arc::new(ArchiveFile::closed(path));
        let closed = View { catalog: Catalog::default(), source, header: None };
        std::mem::replace(&mut *self.write(), closed).catalog
    }
}
