//! The cost of opening a coffer with hostile bytes behind its end, in bytes read and in bytes
//! deciphered or hashed; and readers without a lock of a file that changes under them.

mod costs;
pub(crate) mod memory;
mod readers;
mod records;
pub(crate) mod scene;

use crate::engine::open::Opened;
use crate::format::kind::{Cipher, Kind};

fn kinds() -> [Kind; 5] {
    [
        Kind::bank(Cipher::Fernet),
        Kind::bank(Cipher::AesOcb),
        Kind::store(),
        Kind::market(),
        Kind::null(),
    ]
}

fn codes(opened: &Opened) -> Vec<&'static str> {
    opened.notices.iter().map(|notice| notice.code).collect()
}
