//! The engine of Coffer: encrypted, compressed single-file archives.
//!
//! One file holds many named members: compressed, sealed chunk by chunk, indexed, and safe against
//! crashes. Taken apart with standard tools it is a tar inside zstd inside sealed chunks.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used, clippy::panic))]

#[cfg(test)]
mod attacks_test;
mod buffer;
pub mod coffer;
pub mod crypto;
#[cfg(test)]
mod disk_test;
mod engine;
pub mod error;
pub mod format;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz;
pub mod io;
#[cfg(test)]
mod model_test;
pub mod ops;
pub mod progress;
#[cfg(test)]
mod tails_test;
