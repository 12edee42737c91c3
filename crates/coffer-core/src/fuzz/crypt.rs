//! Decrypting files outside of coffers: arbitrary bytes, and records and chunks that are sealed
//! with the right key.

use super::input::FuzzInput;
use super::scene::Case;
use crate::error::Code;
use crate::format::chunk;
use crate::format::header::Header;
use crate::format::key_source::KeySource;
use crate::format::record::ARCHIVE_ID;
use crate::ops::file_crypt::{Cryptor, fuzzing};

/// The most bytes that are decrypted from one input: few bytes may decompress to many.
const MOST: usize = 4 << 20;

/// `kind, how, then one of: a file; a head, chunks and a tail; a plaintext`.
pub fn crypt(data: &[u8]) {
    let mut input = FuzzInput::new(data);
    let case = Case::of(1 + input.byte() % 5);
    let how = input.byte();
    let header = Header::new(case.kind, &case.keys, &KeySource::of_keys(), 256, 4096).unwrap();
    let layers = header.layers(&case.keys).unwrap();
    let cryptor = Cryptor::of(&layers, "a.coffer".as_ref()).unwrap();
    let legacy = how & 4 != 0;
    let step = usize::from(input.byte()) * 3 + 1;
    match how % 4 {
        0 => same_in_parts(&cryptor, input.rest(), legacy, step),
        1 => round_trip(&cryptor, input.rest(), step),
        _ => {
            let file = forged(&cryptor, &mut input, how);
            same_in_parts(&cryptor, &file, legacy, step);
        }
    }
}

/// A file of sections `type, length, plaintext`, each sealed as what it is to be.
fn forged(cryptor: &Cryptor, input: &mut FuzzInput<'_>, how: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let mut length = 0u64;
    let id = [7; ARCHIVE_ID];
    if how & 8 == 0 {
        fuzzing::head(cryptor, &id, &mut out);
    }
    while !input.is_empty() {
        match input.byte() % 8 {
            0 => fuzzing::record(cryptor, input.bytes(chunk::RESERVED), input.short(), &mut out),
            1 => fuzzing::chunk(cryptor, &[0; chunk::RESERVED], input.long(), &mut out),
            2 => {
                let mut mark = [0; chunk::RESERVED];
                let given = input.bytes(chunk::RESERVED);
                mark[..given.len()].copy_from_slice(given);
                fuzzing::chunk(cryptor, &mark, input.long(), &mut out);
            }
            3 => out.extend_from_slice(input.short()),
            4 => fuzzing::tail(cryptor, &id, u64::from(input.u16()), &mut out),
            _ => {
                let plain = input.long();
                length += plain.len() as u64;
                fuzzing::piece(cryptor, plain, &mut out);
            }
        }
    }
    if how & 16 == 0 {
        fuzzing::tail(cryptor, &id, length, &mut out);
    }
    out
}

/// Checks that the plaintext does not depend on how the file is divided into parts.
fn same_in_parts(cryptor: &Cryptor, file: &[u8], legacy: bool, step: usize) {
    let whole = decrypted(cryptor, file, legacy, file.len().max(1));
    let parts = decrypted(cryptor, file, legacy, step);
    match (whole, parts) {
        (Some(Ok(one)), Some(Ok(other))) => assert!(one == other, "parts give other bytes"),
        (Some(Err(_)), Some(Err(_))) | (None, _) | (_, None) => {}
        (one, other) => {
            panic!("whole: {:?}, in parts: {:?}", one.map(|r| r.is_ok()), other.map(|r| r.is_ok()))
        }
    }
}

/// `None` where there was too much to go on.
fn decrypted(
    cryptor: &Cryptor,
    file: &[u8],
    legacy: bool,
    step: usize,
) -> Option<Result<Vec<u8>, Code>> {
    let mut decryptor = cryptor.decryptor(legacy).unwrap();
    let mut plain = Vec::new();
    for part in file.chunks(step) {
        if let Err(e) = decryptor.push(part) {
            return Some(Err(e.code()));
        }
        loop {
            match decryptor.pull() {
                Ok(bytes) if bytes.is_empty() => break,
                Ok(bytes) => plain.extend(bytes),
                Err(e) => return Some(Err(e.code())),
            }
            if plain.len() > MOST {
                return None;
            }
        }
    }
    Some(decryptor.finish().map(|()| plain).map_err(|e| e.code()))
}

/// Checks that encryption round-trips, and that one changed byte is detected.
fn round_trip(cryptor: &Cryptor, plain: &[u8], step: usize) {
    let mut encryptor = cryptor.encryptor();
    let mut file = Vec::new();
    for part in plain.chunks(step) {
        file.extend(encryptor.push(part).unwrap());
    }
    file.extend(encryptor.finish().unwrap());
    let back = decrypted(cryptor, &file, false, step);
    assert!(back == Some(Ok(plain.to_vec())), "it does not come back");
    let at = step * 31 % file.len();
    file[at] ^= 1 << (step % 8);
    assert!(
        !matches!(decrypted(cryptor, &file, false, step), Some(Ok(_))),
        "byte {at} is not checked"
    );
}
