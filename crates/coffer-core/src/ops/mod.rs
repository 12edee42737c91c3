//! Operations on whole coffers and on files outside of them: adding, extracting, verifying,
//! comparing, salvage, PyCoffer's format, and encrypted files.

pub(crate) mod add;
pub(crate) mod bulk_read;
pub(crate) mod compare;
pub(crate) mod extract;
pub mod file_crypt;
pub(crate) mod fs_tree;
pub mod identify;
pub(crate) mod info;
pub(crate) mod legacy;
pub mod salvage;
pub(crate) mod verify;
