//! Files, names, locks, temp files and threads: everything that the engine asks of the system.

pub(crate) mod beneath;
pub(crate) mod data;
pub(crate) mod disk;
pub(crate) mod file_lock;
pub(crate) mod input;
pub(crate) mod lock_file;
pub(crate) mod lock_set;
pub(crate) mod new_file;
pub(crate) mod output;
pub mod pool;
pub(crate) mod protected_paths;
pub(crate) mod spool;
pub(crate) mod storage;
pub(crate) mod target_tree;
