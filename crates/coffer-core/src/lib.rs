//! The engine of Coffer: encrypted, compressed single-file archives.
//!
//! One file holds many named members: compressed, sealed chunk by chunk, indexed, and safe against
//! crashes. Taken apart with standard tools it is a tar inside zstd inside sealed chunks.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(test)]
mod attacks_test;
mod block;
mod buffer;
mod catalog;
pub mod chunk;
mod codec;
pub mod coffer;
mod commit;
mod compare;
mod container;
pub mod crypt;
#[cfg(test)]
mod disk_test;
pub mod error;
mod extents;
mod extract;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
mod header;
pub mod identify;
mod info;
mod ingest;
pub mod key;
pub mod kind;
mod legacy;
mod limits;
mod lock;
mod locks;
#[cfg(test)]
mod model_test;
mod name;
mod open;
mod origin;
mod packs;
pub mod passphrase;
pub mod pool;
mod read;
mod record;
mod recover;
pub mod salvage;
pub mod seal;
mod secret;
mod source;
mod spool;
mod stage;
mod storage;
mod sweep;
mod tar;
mod tree;
mod verify;
pub mod watch;
mod wipe;
mod writer;
