//! The Node.js binding of Coffer: conversions of arguments and results, and nothing else.
//!
//! Every call that may take time returns a promise at once, which the engine's threads settle (see
//! [`promise`]). Arguments are checked by the facade in TypeScript.

// JavaScript's numbers are 64-bit floats; sizes and times are exact in them up to 2^53.
#![allow(clippy::cast_possible_truncation, clippy::cast_precision_loss, clippy::cast_sign_loss)]

pub mod bytes;
pub mod ciphers;
pub mod coffer;
pub mod crypt;
pub mod ended;
mod errno;
pub mod identify;
pub mod many;
pub mod options;
mod pages;
pub mod passphrase;
pub mod promise;
pub mod salvage;
pub mod stage;
pub mod values;
pub mod watch;

use napi_derive::napi;

/// The version of the binary, which the facade compares with its own.
#[napi]
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
