//! A storage for files on a failing disk: unreadable sectors read as zeros.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::io::storage::{ReadAt, WriteAt};

/// The smallest unit in bytes that a disk reads or fails to read.
const SECTOR: u64 = 512;

/// A read-only file whose unreadable sectors read as zeros, which count as damage.
pub(super) struct LenientStorage {
    inner: Arc<dyn WriteAt>,
    /// The number of failed reads of a sector.
    refused: AtomicU64,
}

impl LenientStorage {
    pub(super) fn new(inner: Arc<dyn WriteAt>) -> Self {
        Self { inner, refused: AtomicU64::new(0) }
    }

    /// Whether any sector could not be read.
    pub(super) fn has_refused(&self) -> bool {
        self.refused.load(Ordering::Relaxed) > 0
    }
}

impl ReadAt for LenientStorage {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if self.inner.read_at(buf, offset).is_ok() {
            return Ok(());
        }
        let (mut rest, mut at) = (buf, offset);
        while !rest.is_empty() {
            let len = (SECTOR - at % SECTOR).min(rest.len() as u64) as usize;
            let (sector, behind) = rest.split_at_mut(len);
            if self.inner.read_at(sector, at).is_err() {
                sector.fill(0);
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            rest = behind;
            at += len as u64;
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.inner.len()
    }
}

impl WriteAt for LenientStorage {
    fn write_at(&self, _buf: &[u8], _offset: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _len: u64) -> io::Result<()> {
        Err(io::ErrorKind::PermissionDenied.into())
    }
}
