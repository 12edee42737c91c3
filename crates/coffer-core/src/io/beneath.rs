//! Reading below a directory without following links: each component of a path is opened relative
//! to the directory before it.
//!
//! A path may name another file at each call, so that a `stat` of it does not tell what a later
//! `open` finds. An open directory stays the same directory.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::Path;

use crate::io::disk::DiskFile;

/// The identity of a file: device and inode.
pub(crate) type Id = (u64, u64);

/// The type of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    File,
    Directory,
    Link,
    Pipe,
    Socket,
    Device,
}

/// The metadata of a file.
#[derive(Debug, Clone)]
pub(crate) struct About {
    pub(crate) what: What,
    /// `None` on systems without inodes.
    pub(crate) id: Option<Id>,
    /// Bytes. Virtual files, such as those in `/proc`, have 0 here, or a page.
    pub(crate) size: u64,
    /// Permission bits, with those for set-user-ID, set-group-ID and sticky.
    pub(crate) mode: u32,
    /// Modification time: seconds since 1970, and nanoseconds of the second.
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
}

pub(crate) use self::system::{Opened, about, at, open};

impl Opened {
    /// Opens what is at a path relative to this directory, every component of it but the last a
    /// directory and no link.
    ///
    /// # Errors
    /// Those of the system; see [`is_link_in_the_way`].
    pub(crate) fn directory_below(self, path: &Path) -> io::Result<Self> {
        let mut at = self;
        for component in path.components() {
            at = at.enter(component.as_os_str())?;
        }
        Ok(at)
    }
}

/// Whether a call failed because of a link, or of a file in place of a directory.
pub(crate) fn is_link_in_the_way(error: &io::Error) -> bool {
    #[cfg(unix)]
    if let Some(errno) = rustix::io::Errno::from_io_error(error) {
        // FreeBSD calls a link that is not followed EMLINK.
        use rustix::io::Errno;
        return matches!(errno, Errno::LOOP | Errno::NOTDIR | Errno::MLINK);
    }
    error.kind() == io::ErrorKind::NotADirectory
}

#[cfg(unix)]
mod system {
    use std::os::fd::OwnedFd;
    use std::os::unix::ffi::OsStrExt;

    use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};

    use super::*;

    /// A directory that is open.
    pub(crate) struct Opened {
        fd: OwnedFd,
    }

    const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
    /// The opening of a pipe, and of some devices, would wait otherwise.
    const FILE: OFlags =
        OFlags::RDONLY.union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

    impl Opened {
        /// Opens the directory at a path, which may be a link.
        pub(crate) fn at(path: &Path) -> io::Result<Self> {
            Ok(Self { fd: openat(CWD, path, DIRECTORY, Mode::empty())? })
        }

        /// Opens a directory in this one, which is no link.
        pub(crate) fn enter(&self, name: &OsStr) -> io::Result<Self> {
            let flags = DIRECTORY | OFlags::NOFOLLOW;
            Ok(Self { fd: openat(&self.fd, name, flags, Mode::empty())? })
        }

        /// Opens a file in this directory for reading. A link is followed only if that is asked for.
        pub(crate) fn open(&self, name: &OsStr, follow: bool) -> io::Result<DiskFile> {
            let flags = if follow { FILE } else { FILE | OFlags::NOFOLLOW };
            Ok(DiskFile::new(openat(&self.fd, name, flags, Mode::empty())?.into()))
        }

        /// What a name in this directory is.
        pub(crate) fn about(&self, name: &OsStr, follow: bool) -> io::Result<About> {
            let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
            Ok(convert(&statat(&self.fd, name, flags)?))
        }

        /// What this directory is.
        pub(crate) fn itself(&self) -> io::Result<About> {
            Ok(convert(&fstat(&self.fd)?))
        }

        /// The names in this directory, in no order.
        pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
            let mut names = Vec::new();
            for entry in Dir::read_from(&self.fd)? {
                let entry = entry?;
                let name = entry.file_name().to_bytes();
                if name != b"." && name != b".." {
                    names.push(OsStr::from_bytes(name).to_owned());
                }
            }
            Ok(names)
        }
    }

    /// Opens the file at a path for reading, following links.
    pub(crate) fn open(path: &Path) -> io::Result<DiskFile> {
        Ok(DiskFile::new(openat(CWD, path, FILE, Mode::empty())?.into()))
    }

    /// What is at a path.
    pub(crate) fn at(path: &Path, follow: bool) -> io::Result<About> {
        let flags = if follow { AtFlags::empty() } else { AtFlags::SYMLINK_NOFOLLOW };
        Ok(convert(&statat(CWD, path, flags)?))
    }

    /// What a file that is open is.
    pub(crate) fn about(file: &DiskFile) -> io::Result<About> {
        Ok(convert(&fstat(&file.file)?))
    }

    // What these fields are differs between the systems.
    #[allow(clippy::unnecessary_cast, clippy::cast_lossless)]
    fn convert(stat: &Stat) -> About {
        let what = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => What::File,
            FileType::Directory => What::Directory,
            FileType::Symlink => What::Link,
            FileType::Fifo => What::Pipe,
            FileType::Socket => What::Socket,
            _ => What::Device,
        };
        About {
            what,
            id: Some((stat.st_dev as u64, stat.st_ino as u64)),
            size: u64::try_from(stat.st_size).unwrap_or(0),
            mode: stat.st_mode as u32 & 0o7777,
            mtime_s: stat.st_mtime as i64,
            mtime_ns: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        }
    }
}

/// Systems whose directories cannot be opened: links are looked for before each step, so that one
/// that appears between the look and the step is followed.
#[cfg(not(unix))]
mod system {
    use std::path::PathBuf;
    use std::time::UNIX_EPOCH;

    use super::*;

    /// A directory by its path.
    pub(crate) struct Opened {
        path: PathBuf,
    }

    impl Opened {
        /// The directory at a path, which may be a link.
        pub(crate) fn at(path: &Path) -> io::Result<Self> {
            if std::fs::metadata(path)?.is_dir() {
                return Ok(Self { path: path.to_path_buf() });
            }
            Err(io::ErrorKind::NotADirectory.into())
        }

        /// A directory in this one, which is no link.
        pub(crate) fn enter(&self, name: &OsStr) -> io::Result<Self> {
            let path = self.path.join(name);
            if std::fs::symlink_metadata(&path)?.is_dir() {
                return Ok(Self { path });
            }
            Err(io::ErrorKind::NotADirectory.into())
        }

        /// Opens a file in this directory for reading. A link is followed only if that is asked for.
        pub(crate) fn open(&self, name: &OsStr, follow: bool) -> io::Result<DiskFile> {
            let path = self.path.join(name);
            if !follow && std::fs::symlink_metadata(&path)?.is_symlink() {
                return Err(io::ErrorKind::NotADirectory.into());
            }
            open(&path)
        }

        /// What a name in this directory is.
        pub(crate) fn about(&self, name: &OsStr, follow: bool) -> io::Result<About> {
            at(&self.path.join(name), follow)
        }

        /// What this directory is.
        pub(crate) fn itself(&self) -> io::Result<About> {
            Ok(convert(&std::fs::metadata(&self.path)?))
        }

        /// The names in this directory, in no order.
        pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
            std::fs::read_dir(&self.path)?.map(|entry| Ok(entry?.file_name())).collect()
        }
    }

    /// Opens the file at a path for reading, following links.
    pub(crate) fn open(path: &Path) -> io::Result<DiskFile> {
        Ok(DiskFile::new(std::fs::File::open(path)?))
    }

    /// What is at a path.
    pub(crate) fn at(path: &Path, follow: bool) -> io::Result<About> {
        let found = if follow { std::fs::metadata(path) } else { std::fs::symlink_metadata(path) };
        Ok(convert(&found?))
    }

    /// What a file that is open is.
    pub(crate) fn about(file: &DiskFile) -> io::Result<About> {
        Ok(convert(&file.file.metadata()?))
    }

    fn convert(meta: &std::fs::Metadata) -> About {
        let what = if meta.is_dir() {
            What::Directory
        } else if meta.is_symlink() {
            What::Link
        } else if meta.is_file() {
            What::File
        } else {
            What::Device
        };
        let since = meta.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let since = since.unwrap_or_default();
        let mode = if meta.is_dir() { 0o755 } else { 0o644 };
        About {
            what,
            id: None,
            size: meta.len(),
            mode,
            mtime_s: since.as_secs() as i64,
            mtime_ns: since.subsec_nanos(),
        }
    }
}
