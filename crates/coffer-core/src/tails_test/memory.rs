//! A file in memory, and a directory that holds it.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::io::storage::{Names, Namespace, ReadAt, Wanted, WriteAt};

/// A hook that changes a file in memory when its length is asked for, or when bytes are read.
type Hook = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// A file in memory that counts what is read of it.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) bytes: Mutex<Vec<u8>>,
    pub(crate) read: AtomicU64,
    /// The number of ranges that were announced.
    pub(super) announced: AtomicU64,
    /// Bytes that cannot be read, as on a failing disk: from one offset to another.
    broken: Option<(u64, u64)>,
    pub(super) at_len: Mutex<Option<Hook>>,
    pub(super) at_read: Mutex<Option<Hook>>,
}

impl Memory {
    pub(crate) fn of(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self { bytes: Mutex::new(bytes.to_vec()), ..Self::default() })
    }

    /// A file of which the bytes from one offset to another cannot be read.
    pub(crate) fn failing(bytes: &[u8], broken: (u64, u64)) -> Arc<Self> {
        let (bytes, broken) = (Mutex::new(bytes.to_vec()), Some(broken));
        Arc::new(Self { bytes, broken, ..Self::default() })
    }

    fn run(&self, what: &Mutex<Option<Hook>>) {
        if let Some(hook) = &mut *what.lock().unwrap() {
            hook(&mut self.bytes.lock().unwrap());
        }
    }
}

impl ReadAt for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.run(&self.at_read);
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let end = offset + buf.len() as u64;
        if self.broken.is_some_and(|(from, to)| from < end && offset < to) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let bytes = self.bytes.lock().unwrap();
        let found = bytes.get(offset as usize..offset as usize + buf.len());
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.run(&self.at_len);
        Ok(self.bytes.lock().unwrap().len() as u64)
    }

    fn will_read(&self, ranges: &[std::ops::Range<u64>]) {
        self.announced.fetch_add(ranges.len() as u64, Ordering::Relaxed);
    }
}

impl WriteAt for Memory {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let (from, to) = (offset as usize, offset as usize + buf.len());
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }
}

/// A directory in which every name is one file in memory.
pub(super) struct One(pub(super) Arc<Memory>);

impl Namespace for One {
    fn exists(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn open(&self, _path: &Path, _write: bool) -> io::Result<Arc<dyn WriteAt>> {
        Ok(self.0.clone())
    }

    fn create(&self, _path: &Path) -> io::Result<Arc<dyn WriteAt>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _from: &Path, _to: &Path, _replace: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn has_file(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn leftovers(&self, _: &Path, _: Wanted<'_>) -> io::Result<Vec<std::path::PathBuf>> {
        Ok(Vec::new())
    }

    fn names(&self, _path: &Path) -> io::Result<Arc<dyn Names>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
