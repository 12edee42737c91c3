//! A file outside of the coffer while it is read to become a member.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::buffer::Buffer;
use crate::engine::container::SMALL;
use crate::error::{Code, Error, Result};
use crate::io::beneath::{self, About};
use crate::io::disk::DiskFile;
use crate::io::storage::ReadAt;
use crate::ops::fs_tree::{Entry, Opener};

/// Bytes to read first of a file whose metadata says that it has none.
const SHORT: u64 = 4 << 10;

/// How much of a file must still be as it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Check {
    /// It has not become shorter.
    Size,
    /// Neither its size nor its time has changed, before nor while it was read.
    SizeAndTime,
}

/// A file being read.
pub(super) struct OutsideFile {
    file: DiskFile,
    entry: Entry,
    check: Check,
    /// It ended before the size that its metadata still says: a virtual file, such as those in `/proc`.
    pub(super) ended_early: AtomicBool,
}

impl OutsideFile {
    pub(super) fn new(opener: &mut Opener, entry: &Entry, check: Check) -> Result<Self> {
        let (file, about) = opener.open(entry)?;
        let opened =
            Self { file, entry: entry.clone(), check, ended_early: AtomicBool::new(false) };
        opened.compare(&about)?;
        Ok(opened)
    }

    /// Fills `bytes` from the file at `offset`.
    pub(super) fn read(&self, bytes: &mut [u8], offset: u64) -> Result<()> {
        self.file.read_at(bytes, offset).map_err(|e| {
            if e.kind() != std::io::ErrorKind::UnexpectedEof {
                return Error::io("read", &self.entry.path, &e);
            }
            match self.about() {
                Ok(about) if about.size >= self.entry.size => {
                    self.ended_early.store(true, Ordering::Relaxed);
                    self.shorter()
                }
                Ok(_) => self.shorter(),
                Err(e) => e,
            }
        })
    }

    /// Reads all of a file that is small by its metadata. Returns false if it has more than [`SMALL`]
    /// bytes.
    pub(super) fn read_small(&self, bytes: &mut Buffer) -> Result<bool> {
        let Entry { path, size, .. } = &self.entry;
        // The metadata of virtual files says that they are empty.
        let steps = if *size == 0 { [SHORT, SMALL + 1] } else { [*size, *size] };
        let mut have = 0;
        for most in steps {
            bytes.resize(most as usize, 0);
            have += self.fill(&mut bytes[have..]).map_err(|e| Error::io("read", path, &e))?;
            if have < bytes.len() {
                break;
            }
        }
        bytes.truncate(have);
        if (have as u64) < *size && self.about()?.size < *size {
            return Err(self.shorter());
        }
        self.check()?;
        Ok(have as u64 <= SMALL)
    }

    /// Reads from the file's position until `bytes` is full or the file ends. Returns how many bytes.
    fn fill(&self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let mut have = 0;
        while have < bytes.len() {
            match self.file.read_next(&mut bytes[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(have)
    }

    fn about(&self) -> Result<About> {
        let path = &self.entry.path;
        beneath::about(&self.file).map_err(|e| Error::io("fstat", path, &e))
    }

    fn shorter(&self) -> Error {
        let path = &self.entry.path;
        let message = format!("{} became shorter while it was read: add it again", path.display());
        Error::new(Code::Io, message).at(path)
    }

    /// Whether the file is still as it was found.
    pub(super) fn check(&self) -> Result<()> {
        if self.check == Check::SizeAndTime { self.compare(&self.about()?) } else { Ok(()) }
    }

    fn compare(&self, about: &About) -> Result<()> {
        let Entry { path, size, mtime_s, mtime_ns, .. } = &self.entry;
        if self.check == Check::Size
            || (about.size, about.mtime_s, about.mtime_ns) == (*size, *mtime_s, *mtime_ns)
        {
            return Ok(());
        }
        let message = format!("{} has changed since it was looked at: do it again", path.display());
        Err(Error::new(Code::Stale, message).at(path))
    }
}
