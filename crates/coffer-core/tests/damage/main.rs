//! Damage, exhaustively: every bit of small coffers and encrypted files flipped, every length cut,
//! every chunk swapped with every other, repeated and dropped. What comes out is right, or an error,
//! and what [`specimen::Region`] a byte is in says which.
#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/mod.rs"]
mod support;

mod files;
mod legacy;
mod mutation;
mod reading;
mod specimen;
mod watched;
mod writing;

#[global_allocator]
static MEMORY: peak_alloc::PeakAlloc = peak_alloc::PeakAlloc;
