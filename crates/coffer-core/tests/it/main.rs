//! The tests of the engine through its public API, in one binary: it is linked once.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[macro_use]
mod alone;
mod support;

mod answers;
mod coffer;
mod compaction;
mod damage;
mod damaged;
mod format;
mod many;
#[cfg(target_os = "linux")]
mod memory;
mod opening;
mod passphrase;
mod refresh;
mod regressions;
mod rules;
mod salvage;
mod scrub;
#[cfg(target_os = "linux")]
mod syscalls;
mod tree;

/// Counts what is allocated, for the tests with a bound on it.
#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
