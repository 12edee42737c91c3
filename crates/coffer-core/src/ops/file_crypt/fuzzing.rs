//! The parts of an encrypted file for the fuzz target: sealed with any contents.

use super::Cryptor;
use crate::format::chunk;
use crate::format::encrypted_file::{FileId, FileTail};
use crate::format::record::{self, MARK};

/// The head that an encryptor writes.
pub(crate) fn head(cryptor: &Cryptor, id: &FileId, out: &mut Vec<u8>) {
    cryptor.key.write_head(id, out);
}

/// The tail of all that is in `out`.
pub(crate) fn tail(cryptor: &Cryptor, id: &FileId, length: u64, out: &mut Vec<u8>) {
    let digest = *blake3::hash(out).as_bytes();
    cryptor.key.write_tail(&FileTail { id: *id, length, digest }, out);
}

/// A record with any mark and any body.
pub(crate) fn record(cryptor: &Cryptor, given: &[u8], body: &[u8], out: &mut Vec<u8>) {
    let mut mark = [0; MARK];
    mark[..given.len()].copy_from_slice(given);
    record::write(Some(&*cryptor.key.seal), &mark, &cryptor.key.records.seal(body), out);
}

/// A chunk with any reserved bytes and any plaintext.
pub(crate) fn chunk(cryptor: &Cryptor, reserved: &[u8; MARK], plain: &[u8], out: &mut Vec<u8>) {
    chunk::put(&*cryptor.key.seal, reserved, plain, out);
}

/// A piece as an encryptor writes it.
pub(crate) fn piece(cryptor: &Cryptor, plain: &[u8], out: &mut Vec<u8>) {
    out.extend(cryptor.encode(plain).unwrap_or_default());
}
