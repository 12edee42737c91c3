//! The one error type of the engine.
//!
//! An error says what happened, where, and what to do about it. Its [`Code`] is stable: programs
//! may match on it, and it is the same string in JavaScript. Messages may change. No error ever
//! carries key material or member contents.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What kind of failure an [`Error`] is. The string forms are part of the public interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Another process or handle holds the lock.
    Locked,
    /// The coffer, or a file that is to be extracted, exists and was to be created.
    Exists,
    /// The coffer does not exist.
    NotFound,
    /// The member exists and was not to be replaced, or a file has the name of a directory above it.
    MemberExists,
    /// No such member.
    MemberNotFound,
    /// The name of a file is that of a directory.
    IsDirectory,
    /// A directory with members in it is to be deleted alone.
    NotEmpty,
    /// Two members have one name on the file system that they are extracted to.
    NameCollision,
    /// The key is not the one the coffer was made with.
    WrongKey,
    /// The coffer is of another kind, or has another cipher.
    WrongKind,
    /// Damage or tampering.
    Corrupt,
    /// The coffer is older than the commit that was expected, or no successor of it.
    RolledBack,
    /// A coffer in PyCoffer's format, and `legacy` was not given.
    Legacy,
    /// A coffer in a newer version of the format than this engine reads.
    Version,
    /// The handle is closed.
    Closed,
    /// The handle was opened for reading.
    ReadOnly,
    /// A path that leads, or may lead, out of the directory that it must stay in.
    UnsafePath,
    /// A limit of the format or of this machine.
    Limit,
    /// More bytes than the caller allowed.
    TooLarge,
    /// The member or the file changed while it was read.
    Stale,
    /// An earlier failure left the handle unusable: reopen.
    Poisoned,
    /// A system call failed.
    Io,
    /// An invalid argument.
    InvalidArg,
    /// A call that a batch must end before.
    InBatch,
    /// A change of a batch that has ended.
    BatchEnded,
    /// The caller cancelled the call.
    Aborted,
}

impl Code {
    /// The stable name, such as `ERR_COFFER_LOCKED`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Locked => "ERR_COFFER_LOCKED",
            Self::Exists => "ERR_COFFER_EXISTS",
            Self::NotFound => "ERR_COFFER_NOT_FOUND",
            Self::MemberExists => "ERR_COFFER_MEMBER_EXISTS",
            Self::MemberNotFound => "ERR_COFFER_MEMBER_NOT_FOUND",
            Self::IsDirectory => "ERR_COFFER_IS_DIRECTORY",
            Self::NotEmpty => "ERR_COFFER_NOT_EMPTY",
            Self::NameCollision => "ERR_COFFER_NAME_COLLISION",
            Self::WrongKey => "ERR_COFFER_WRONG_KEY",
            Self::WrongKind => "ERR_COFFER_WRONG_KIND",
            Self::Corrupt => "ERR_COFFER_CORRUPT",
            Self::RolledBack => "ERR_COFFER_ROLLED_BACK",
            Self::Legacy => "ERR_COFFER_LEGACY",
            Self::Version => "ERR_COFFER_VERSION",
            Self::Closed => "ERR_COFFER_CLOSED",
            Self::ReadOnly => "ERR_COFFER_READ_ONLY",
            Self::UnsafePath => "ERR_COFFER_UNSAFE_PATH",
            Self::Limit => "ERR_COFFER_LIMIT",
            Self::TooLarge => "ERR_COFFER_TOO_LARGE",
            Self::Stale => "ERR_COFFER_STALE",
            Self::Poisoned => "ERR_COFFER_POISONED",
            Self::Io => "ERR_COFFER_IO",
            Self::InvalidArg => "ERR_COFFER_INVALID_ARG",
            Self::InBatch => "ERR_COFFER_IN_BATCH",
            Self::BatchEnded => "ERR_COFFER_BATCH_ENDED",
            Self::Aborted => "ERR_COFFER_ABORTED",
        }
    }
}

/// A failure, cheap to clone: writes that share a commit share its error.
#[derive(Clone)]
pub struct Error(Arc<Detail>);

#[derive(Clone)]
struct Detail {
    code: Code,
    message: String,
    path: Option<PathBuf>,
    member: Option<String>,
    errno: Option<i32>,
    syscall: Option<&'static str>,
}

/// The system's numbers for a part of a file that its disk cannot read: EIO everywhere, and on Linux
/// EBADMSG and EUCLEAN where the file system's own checksum is wrong.
#[cfg(target_os = "linux")]
const UNREADABLE: &[i32] = &[5, 74, 117];
#[cfg(all(unix, not(target_os = "linux")))]
const UNREADABLE: &[i32] = &[5];
/// A wrong checksum, a sector that is not found, a fault in reading, a device that fails, a damaged
/// file or disk.
#[cfg(not(unix))]
const UNREADABLE: &[i32] = &[23, 27, 30, 1117, 1392, 1393];

/// The result of the engine's calls.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with a code and a message that says what happened and what to do.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Arc::new(Detail {
            code,
            message: message.into(),
            path: None,
            member: None,
            errno: None,
            syscall: None,
        }))
    }

    /// An error of the operating system, in the call named `syscall` on `path`.
    #[must_use]
    pub fn io(syscall: &'static str, path: &Path, source: &io::Error) -> Self {
        Self(Arc::new(Detail {
            code: Code::Io,
            message: format!("{syscall} failed on {}: {source}", path.display()),
            path: Some(path.to_path_buf()),
            member: None,
            errno: errno(source),
            syscall: Some(syscall),
        }))
    }

    /// The system has no thread left.
    #[must_use]
    pub(crate) fn thread(source: &io::Error) -> Self {
        Self(Arc::new(Detail {
            code: Code::Io,
            message: format!(
                "the system has no thread left for the engine: {source}. End other work, or raise the limit of threads (ulimit -u, pids.max)"
            ),
            path: None,
            member: None,
            errno: errno(source),
            syscall: Some("clone"),
        }))
    }

    /// Damage or tampering.
    pub fn corrupt(message: impl Into<String>) -> Self {
        Self::new(Code::Corrupt, message)
    }

    /// The same error, saying which file it is about unless it says so already.
    #[must_use]
    pub fn at(mut self, path: &Path) -> Self {
        if self.0.path.is_none() {
            Arc::make_mut(&mut self.0).path = Some(path.to_path_buf());
        }
        self
    }

    /// The same error, saying which member it is about unless it says so already.
    #[must_use]
    pub fn of_member(mut self, name: &str) -> Self {
        if self.0.member.is_none() {
            Arc::make_mut(&mut self.0).member = Some(name.to_owned());
        }
        self
    }

    /// The same error with another message.
    #[must_use]
    pub fn saying(mut self, message: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).message = message.into();
        self
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Whether bytes of a file are damaged: they are not what was written, or the disk cannot read
    /// them. Without memory or descriptors, say, a system refuses for other reasons, which pass.
    pub(crate) fn is_damage(&self) -> bool {
        let unreadable = self.0.syscall == Some("read")
            && self.0.errno.is_some_and(|errno| UNREADABLE.contains(&errno));
        self.0.code == Code::Corrupt || unreadable
    }

    /// What happened, where, and what to do.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The file the error is about.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The member the error is about.
    #[must_use]
    pub fn member(&self) -> Option<&str> {
        self.0.member.as_deref()
    }

    /// The operating system's error number, for [`Code::Io`].
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        self.0.errno
    }

    /// The call that failed, for [`Code::Io`].
    #[must_use]
    pub fn syscall(&self) -> Option<&'static str> {
        self.0.syscall
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.code.as_str(), self.0.message)?;
        if let Some(member) = &self.0.member {
            write!(f, " (member {member:?})")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// The error for an allocation that failed, for `what`.
pub(crate) fn no_memory(what: &str) -> Error {
    Error::new(Code::Limit, format!("there is not enough memory for {what}"))
}

/// Fails if the system cannot allocate `len` bytes for `what`: without this check a failed
/// allocation would end the process. The allocation is freed at once. Below 1 MiB nothing is tried.
pub(crate) fn check_memory(len: usize, what: &str) -> Result<()> {
    if len < 1 << 20 {
        return Ok(());
    }
    Vec::<u8>::new().try_reserve_exact(len).map_err(|_| no_memory(what))
}

/// The system's error number, also of an error that wraps the system's.
fn errno(error: &io::Error) -> Option<i32> {
    let inner = || error.get_ref()?.source()?.downcast_ref::<io::Error>();
    error.raw_os_error().or_else(|| inner()?.raw_os_error())
}

/// The error of every call on a coffer that is closed.
pub(crate) fn closed() -> Error {
    Error::new(Code::Closed, "the coffer is closed: open it again")
}
