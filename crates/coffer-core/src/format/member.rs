//! What a member is, and what is stored of it besides its name and its bytes.

/// The type of a member, as a tar entry has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberType {
    /// A file, which has bytes.
    File,
    /// A directory, which has none.
    Directory,
}

impl MemberType {
    /// Whether it is a directory.
    #[must_use]
    pub const fn is_directory(self) -> bool {
        matches!(self, Self::Directory)
    }
}

/// What a member has beside its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attributes {
    /// Permission bits.
    pub(crate) mode: u32,
    /// Modification time: seconds since 1970, and nanoseconds of the second.
    pub(crate) mtime_s: i64,
    pub(crate) mtime_ns: u32,
}
