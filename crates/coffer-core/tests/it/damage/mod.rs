//! Damage, exhaustively: every bit of small coffers and encrypted files flipped (in the middle of a
//! sealed text, where all bits fail alike, one of each byte), every length cut, every chunk swapped
//! with every other, repeated and dropped. What comes out is right, or an error,
//! and what [`specimen::Region`] a byte is in says which.

mod files;
mod legacy;
mod mutation;
mod reading;
mod specimen;
mod watched;
mod writing;
