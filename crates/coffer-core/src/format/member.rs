//! The type and the attributes of a member.

/// The type of a member, as a tar entry has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberType {
    /// A file.
    File,
    /// A directory. It has no bytes.
    Directory,
}

impl MemberType {
    /// Whether it is a directory.
    #[must_use]
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::Directory)
    }
}

/// The attributes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Modification time: seconds since 1970, and nanoseconds of the second.
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
}
