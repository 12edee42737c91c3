//! A file outside of coffers that is read once from beginning to end: a regular file, a virtual one
//! such as those in `/proc`, or a pipe.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::error::{Code, Error, Result};
use crate::io::beneath::{self, What};
use crate::io::disk::DiskFile;
use crate::progress::Cancel;

/// A file that is being read.
pub(crate) struct Input {
    file: DiskFile,
    path: PathBuf,
    /// How many bytes the system says there are; `None` for a pipe.
    size: Option<u64>,
}

impl Input {
    /// Takes an open file, whose position must be its beginning.
    pub(crate) fn new(file: DiskFile, path: &Path, size: u64) -> Self {
        Self { file, path: path.to_path_buf(), size: Some(size) }
    }

    /// Opens a file or a pipe by its path, following links. Does not wait for the other end of a pipe.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if it is a directory, a device or a socket; [`Code::Io`].
    pub(crate) fn open(path: &Path) -> Result<Self> {
        // Opening a device may already have an effect.
        let about = beneath::at(path, true).map_err(|e| Error::io("open", path, &e))?;
        readable(path, about.what)?;
        let file = beneath::open(path).map_err(|e| Error::io("open", path, &e))?;
        let about = beneath::about(&file).map_err(|e| Error::io("fstat", path, &e))?;
        readable(path, about.what)?;
        let size = (about.what == What::File).then_some(about.size);
        Ok(Self { file, path: path.to_path_buf(), size })
    }

    /// How many bytes the system says there are, if it says so.
    pub(crate) fn size(&self) -> Option<u64> {
        self.size
    }

    /// Reads the next bytes, as many as fit unless the file ends, and says how many. A pipe is waited
    /// for until the call is cancelled.
    pub(crate) fn read(&mut self, into: &mut [u8], cancel: &Cancel) -> Result<usize> {
        let mut have = 0;
        while have < into.len() {
            if self.size.is_none() {
                self.wait(cancel)?;
            }
            match self.file.read_next(&mut into[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if e.kind() == ErrorKind::WouldBlock && self.size.is_none() => {}
                Err(e) => return Err(Error::io("read", &self.path, &e)),
            }
        }
        Ok(have)
    }

    /// Waits until a pipe has bytes, or has ended.
    #[cfg(unix)]
    fn wait(&self, cancel: &Cancel) -> Result<()> {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        const STEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
        loop {
            cancel.check()?;
            match poll(&mut [PollFd::new(&self.file.file, PollFlags::IN)], Some(&STEP)) {
                Ok(0) | Err(rustix::io::Errno::INTR) => {}
                Ok(_) => return Ok(()),
                Err(e) => return Err(Error::io("poll", &self.path, &io::Error::from(e))),
            }
        }
    }

    #[cfg(not(unix))]
    fn wait(&self, cancel: &Cancel) -> Result<()> {
        cancel.check()
    }
}

fn readable(path: &Path, what: What) -> Result<()> {
    let what = match what {
        What::Directory => "a directory",
        What::Socket => "a socket",
        What::Device => "a device",
        What::File | What::Link | What::Pipe => return Ok(()),
    };
    let message = format!("{} is {what}: name a file, or a pipe", path.display());
    Err(Error::new(Code::InvalidArg, message).at(path))
}
