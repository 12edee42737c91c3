//! The operating system's error numbers, as Node.js has them: negative, and on Windows those of libuv.

/// The number that Node.js has for the system's `errno`.
#[cfg(unix)]
pub(crate) fn node_errno(errno: i32) -> i32 {
    errno.saturating_neg()
}

/// The number that Node.js has for an error of Windows: that of libuv (`uv/errno.h`), by the kind of the
/// error, or its `UV_UNKNOWN`.
#[cfg(not(unix))]
pub(crate) fn node_errno(errno: i32) -> i32 {
    use std::io::ErrorKind;
    match std::io::Error::from_raw_os_error(errno).kind() {
        ErrorKind::PermissionDenied => -4092,
        ErrorKind::WouldBlock => -4088,
        ErrorKind::ResourceBusy => -4082,
        ErrorKind::AlreadyExists => -4075,
        ErrorKind::Interrupted => -4072,
        ErrorKind::InvalidInput => -4071,
        ErrorKind::IsADirectory => -4068,
        ErrorKind::InvalidFilename | ErrorKind::NotFound => -4058,
        ErrorKind::OutOfMemory => -4057,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => -4055,
        ErrorKind::NotADirectory => -4052,
        ErrorKind::DirectoryNotEmpty => -4051,
        ErrorKind::Unsupported => -4049,
        ErrorKind::BrokenPipe => -4047,
        ErrorKind::ReadOnlyFilesystem => -4043,
        ErrorKind::TimedOut => -4039,
        ErrorKind::CrossesDevices => -4037,
        ErrorKind::FileTooLarge => -4036,
        _ => -4094,
    }
}
