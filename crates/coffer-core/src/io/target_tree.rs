//! Files and directories that are made below one directory, and nowhere else.
//!
//! Every path is opened below the directory by `cap-std`, which does not leave it whatever links
//! another process makes meanwhile. What is at a path is looked at without following links.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::{Mutex, PoisonError, RwLock};
use std::time::SystemTime;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, DirBuilder, Metadata, OpenOptions};

use crate::error::{Error, Result};
use crate::io::disk::DiskFile;
use crate::io::output;

/// Permission bits without set-user-ID, set-group-ID and sticky.
pub(crate) const PERMISSIONS: u32 = 0o777;

/// A directory below which files are made.
pub(crate) struct TargetTree {
    dir: Dir,
    made: Made,
    /// Directories in which the files of killed processes were looked for.
    swept: Mutex<HashSet<String>>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) is_file: bool,
    pub(crate) is_directory: bool,
    /// It is a file that was made through the same [`TargetTree`], perhaps under another name.
    pub(crate) is_made: bool,
}

/// Why a file was not renamed to its path.
pub(crate) enum NotPlaced {
    /// The file at the path was made through the same [`TargetTree`].
    Made,
    /// There is a file, which may not be replaced.
    Exists,
    /// A system call failed.
    Failed(&'static str, io::Error),
}

impl TargetTree {
    /// Opens a directory, which is made if it is missing, as are those above it.
    ///
    /// # Errors
    /// [`Code::Io`](crate::error::Code::Io).
    pub(crate) fn create(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path).map_err(|e| Error::io("mkdir", path, &e))?;
        Self::open(path)
    }

    /// Opens a directory.
    ///
    /// # Errors
    /// [`Code::Io`](crate::error::Code::Io).
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(|e| Error::io("open", path, &e))?;
        Ok(Self { dir, made: Made::default(), swept: Mutex::default() })
    }

    /// What is at a path.
    pub(crate) fn look(&self, path: &str) -> io::Result<Found> {
        let _alone = self.made.making.write().unwrap_or_else(PoisonError::into_inner);
        let found = self.dir.symlink_metadata(path)?;
        let is_made = self.made.has(&found);
        Ok(Found { is_file: found.is_file(), is_directory: found.is_dir(), is_made })
    }

    /// Makes a directory, with these permissions less what the process masks.
    pub(crate) fn make_directory(&self, path: &str, mode: Option<u32>) -> io::Result<()> {
        let mut builder = DirBuilder::new();
        if let Some(mode) = mode {
            permit_directory(&mut builder, mode);
        }
        self.dir.create_dir_with(path, &builder)
    }

    /// Makes a file, with these permissions less what the process masks. An existing one is an error.
    pub(crate) fn make(&self, path: &str, mode: u32) -> io::Result<TargetFile> {
        let _making = self.made.making.read().unwrap_or_else(PoisonError::into_inner);
        let file = self.dir.open_with(path, &new_file(mode))?;
        let meta = file.metadata()?;
        self.made.add(&meta);
        Ok(TargetFile::made(file.into_std(), &meta))
    }

    /// Makes a file under a temporary name in the directory of `path`, and gives that name; see
    /// [`Self::put_in_place`].
    pub(crate) fn make_beside(&self, path: &str, mode: u32) -> io::Result<(TargetFile, String)> {
        let directory = path.rfind('/').and_then(|at| path.get(..=at)).unwrap_or_default();
        if self.swept.lock().unwrap_or_else(PoisonError::into_inner).insert(directory.to_owned()) {
            output::sweep(&self.dir, directory);
        }
        let _making = self.made.making.read().unwrap_or_else(PoisonError::into_inner);
        let (file, meta, name) = output::create(&self.dir, directory, &new_file(mode))?;
        self.made.add(&meta);
        Ok((TargetFile::made(file, &meta), name))
    }

    /// Renames a file that was made beside `path`. It replaces no file that was made here, and others
    /// only with `replace`.
    pub(crate) fn put_in_place(
        &self,
        made: &str,
        path: &str,
        replace: bool,
    ) -> std::result::Result<(), NotPlaced> {
        let _alone = self.made.making.write().unwrap_or_else(PoisonError::into_inner);
        if self.dir.symlink_metadata(path).is_ok_and(|found| self.made.has(&found)) {
            return Err(NotPlaced::Made);
        }
        if !replace {
            // Only one process can make this, and what it made is then its own to replace.
            let mut free = OpenOptions::new();
            free.write(true).create_new(true);
            self.dir.open_with(path, &free).map_err(|e| match e.kind() {
                ErrorKind::AlreadyExists => NotPlaced::Exists,
                _ => NotPlaced::Failed("open", e),
            })?;
        }
        self.dir.rename(made, &self.dir, path).map_err(|e| {
            if !replace {
                let _ = self.dir.remove_file(path);
            }
            NotPlaced::Failed("rename", e)
        })
    }

    /// Opens a directory, so that its mode and its time may be set.
    pub(crate) fn open_directory(&self, path: &str) -> io::Result<TargetFile> {
        let mut options = OpenOptions::new();
        #[cfg(not(windows))]
        options.read(true);
        #[cfg(windows)]
        {
            use cap_std::fs::OpenOptionsExt;
            const FILE_WRITE_ATTRIBUTES: u32 = 0x100;
            const FILE_FLAG_BACKUP_SEMANTICS: u32 = 0x0200_0000;
            options.access_mode(FILE_WRITE_ATTRIBUTES).custom_flags(FILE_FLAG_BACKUP_SEMANTICS);
        }
        let file = self.dir.open_with(path, &options)?.into_std();
        Ok(TargetFile { file: DiskFile::new(file), mode: None })
    }

    /// Removes a file or a link.
    pub(crate) fn remove_file(&self, path: &str) -> io::Result<()> {
        self.dir.remove_file(path)
    }

    /// Removes a file, a link or an empty directory.
    pub(crate) fn remove(&self, path: &str) -> io::Result<()> {
        let found = self.dir.symlink_metadata(path)?;
        if found.is_dir() { self.dir.remove_dir(path) } else { self.dir.remove_file(path) }
    }
}

/// A file or a directory below a [`TargetTree`].
pub(crate) struct TargetFile {
    pub(crate) file: DiskFile,
    /// The permission bits that it was made with, where they are known and the system has such.
    mode: Option<u32>,
}

impl TargetFile {
    fn made(file: File, meta: &Metadata) -> Self {
        Self { file: DiskFile::new(file), mode: mode_of(meta) }
    }

    /// Sets the permission bits, unless the file was made with exactly these.
    #[cfg(unix)]
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        if self.mode == Some(mode) {
            return Ok(());
        }
        self.file.file.set_permissions(std::fs::Permissions::from_mode(mode))
    }

    /// This system has no permission bits.
    #[cfg(not(unix))]
    pub(crate) fn set_mode(&self, _mode: u32) -> io::Result<()> {
        let _ = self.mode;
        Ok(())
    }

    /// Takes from the permission bits all that are not in `most`.
    #[cfg(unix)]
    pub(crate) fn keep_mode(&self, most: u32) -> io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let now = self.file.file.metadata()?.permissions().mode();
        self.file.file.set_permissions(std::fs::Permissions::from_mode(now & most & 0o7777))
    }

    /// This system has no permission bits.
    #[cfg(not(unix))]
    pub(crate) fn keep_mode(&self, _most: u32) -> io::Result<()> {
        Ok(())
    }

    /// Sets the modification time.
    pub(crate) fn set_modified(&self, time: SystemTime) -> io::Result<()> {
        self.file.file.set_modified(time)
    }
}

/// The identities of the files that were made. By these a file is known again that another name
/// leads to, on a file system that does not tell upper from lower case, or forms of Unicode apart.
#[derive(Default)]
struct Made {
    files: Mutex<HashSet<(u64, u64)>>,
    /// Held shared from the making of a file until it is among these, and exclusively by a look.
    making: RwLock<()>,
}

impl Made {
    fn add(&self, made: &Metadata) {
        if let Some(id) = identity(made) {
            self.files.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        }
    }

    fn has(&self, found: &Metadata) -> bool {
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        identity(found).is_some_and(|id| files.contains(&id))
    }
}

/// Device and inode of a file.
#[cfg(unix)]
fn identity(file: &Metadata) -> Option<(u64, u64)> {
    use cap_std::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

/// This system has no inodes: the extraction compares names instead.
#[cfg(not(unix))]
fn identity(_file: &Metadata) -> Option<(u64, u64)> {
    None
}

/// Makes a file with these permissions at once, less what the process masks.
fn new_file(mode: u32) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    cap_std::fs::OpenOptionsExt::mode(&mut options, mode);
    #[cfg(not(unix))]
    let _ = mode;
    options
}

#[cfg(unix)]
fn permit_directory(builder: &mut DirBuilder, mode: u32) {
    cap_std::fs::DirBuilderExt::mode(builder, mode);
}

#[cfg(not(unix))]
fn permit_directory(_builder: &mut DirBuilder, _mode: u32) {}

#[cfg(unix)]
fn mode_of(made: &Metadata) -> Option<u32> {
    use cap_std::fs::MetadataExt;
    Some(made.mode() & PERMISSIONS)
}

#[cfg(not(unix))]
fn mode_of(_made: &Metadata) -> Option<u32> {
    None
}

/// Whether the system refused a name because it cannot be written in its character encoding.
#[cfg(unix)]
pub(crate) fn is_illegal_sequence(errno: i32) -> bool {
    errno == rustix::io::Errno::ILSEQ.raw_os_error()
}

/// This system takes all names that are text.
#[cfg(not(unix))]
pub(crate) fn is_illegal_sequence(_errno: i32) -> bool {
    false
}
