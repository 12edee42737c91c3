//! The bodies of the fuzz targets in `fuzz/`: each takes any bytes, and panics at a finding.
//!
//! They are here so that they reach what is behind the seals, and so that `cargo test` replays the
//! corpus without cargo-fuzz. No package has them: the feature `fuzzing` is off there.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod base;
mod crypt;
#[cfg(test)]
mod hostile;
mod input;
mod legacy;
mod names;
mod open;
mod operations;
#[cfg(test)]
mod replay;
mod reseal;
mod scene;
#[cfg(test)]
mod seeds;

pub use self::crypt::crypt;
pub use self::legacy::legacy;
pub use self::names::names;
pub use self::open::open;
pub use self::operations::operations;
pub use self::reseal::reseal;
