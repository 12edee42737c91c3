//! A coffer's file while it is open: opening and recovery, the catalog that readers see, reading of
//! members, and the one thread that writes.

pub(crate) mod commit_log;
pub(crate) mod container;
pub(crate) mod credentials;
pub(crate) mod file;
pub(crate) mod grouping;
pub(crate) mod limits;
pub(crate) mod member;
pub(crate) mod open;
pub(crate) mod options;
pub(crate) mod pack_cache;
pub(crate) mod reader;
pub(crate) mod recovery;
pub(crate) mod selection;
pub(crate) mod successor;
pub(crate) mod upload;
pub(crate) mod view;
pub(crate) mod writer;
