//! Damage, exhaustively: every bit of small coffers and encrypted files flipped, every length cut,
//! every chunk swapped with every other, repeated and dropped. What comes out is right, or an error,
//! and what [`specimen::Region`] a byte is in says which.

mod files;
mod legacy;
mod mutation;
mod reading;
mod specimen;
mod watched;
mod writing;
