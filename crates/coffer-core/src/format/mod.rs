//! The bytes of a coffer: chunks, frames, tar entries, records, the header, commits and the catalog.
//!
//! Everything here is pure: bytes in, values out. No file, no thread, no clock, so that a parser can
//! be fuzzed, and read beside `docs/format.md`, by itself.

pub(crate) mod block;
pub(crate) mod catalog;
pub mod chunk;
pub(crate) mod codec;
pub(crate) mod commit;
pub(crate) mod commit_parts;
#[cfg(test)]
mod commit_tests;
pub(crate) mod encrypted_file;
pub(crate) mod entry;
pub(crate) mod extents;
pub(crate) mod footer;
pub(crate) mod frame;
pub(crate) mod header;
pub(crate) mod key_source;
pub(crate) mod keys;
pub mod kind;
pub(crate) mod mark_search;
pub(crate) mod member;
pub(crate) mod members;
#[cfg(test)]
mod members_tests;
pub(crate) mod name;
pub(crate) mod record;
pub(crate) mod stale;
pub(crate) mod tar;
pub(crate) mod work;
