use std::path::Path;

use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::crypto::key::Key;
use crate::format::chunk::{Chunk, HEADER};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind, Layer};
use crate::format::record;

const PIECE: usize = 4096;
const CHUNK: usize = 256;

fn cryptor(kind: &Kind, keys: &Keys) -> Cryptor {
    let key = FileKey::new(kind, keys).unwrap().unwrap();
    Cryptor { key, level: 3, chunk_plain: CHUNK, piece: PIECE, coffer: "box.coffer".into() }
}

/// A cryptor for each cipher and length of key.
fn every_cryptor() -> Vec<Cryptor> {
    let mut cryptors = Vec::new();
    for cipher in [Cipher::Secretbox, Cipher::Fernet, Cipher::AesOcb] {
        for &len in cipher.key_lengths() {
            let layer = Layer { level: Some(3), cipher: Some(cipher) };
            let keys = Keys { coffer: None, secure: Some(Key::generate(len)), derived: false };
            cryptors.push(cryptor(&Kind::custom(layer, Kind::null().container), &keys));
        }
    }
    cryptors
}

fn market() -> Cryptor {
    cryptor(
        &Kind::market(),
        &Keys { coffer: None, secure: Some(Key::generate(32)), derived: false },
    )
}

/// Bytes that do not compress.
fn noise(len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&len.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// Cuts bytes at some places.
fn split<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

fn encrypted(cryptor: &Cryptor, parts: &[&[u8]]) -> Vec<u8> {
    let mut encryptor = cryptor.encryptor();
    let mut out = Vec::new();
    for part in parts {
        out.extend(encryptor.push(part).unwrap());
    }
    out.extend(encryptor.finish().unwrap());
    out
}

/// What is released of a file, and how it ends.
fn decrypted(cryptor: &Cryptor, parts: &[&[u8]], legacy: bool) -> (Vec<u8>, Result<()>) {
    let mut decryptor = cryptor.decryptor(legacy).unwrap();
    let mut out = Vec::new();
    for part in parts {
        if let Err(e) = decryptor.push(part) {
            return (out, Err(e));
        }
        loop {
            match decryptor.pull() {
                Ok(plain) if plain.is_empty() => break,
                Ok(plain) => out.extend(plain),
                Err(e) => return (out, Err(e)),
            }
        }
    }
    let end = decryptor.finish();
    (out, end)
}

/// Where the chunks of a file begin, and where the last ends.
fn boundaries(file: &[u8]) -> Vec<usize> {
    let mut at = vec![0];
    while let Some(Chunk { len, .. }) = chunk::parse(&file[at[at.len() - 1]..]) {
        at.push(at[at.len() - 1] + len);
    }
    assert_eq!(at[at.len() - 1], file.len());
    at
}

fn code_of(result: (Vec<u8>, Result<()>)) -> Code {
    result.1.expect_err("it was taken for a good file").code()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_encrypted_in_any_parts_is_decrypted_in_any_parts(
        plain in prop::collection::vec(any::<u8>(), 0..5 * PIECE),
        cuts: Vec<Index>,
        later_cuts: Vec<Index>,
    ) {
        let cryptor = market();
        let file = encrypted(&cryptor, &split(&plain, &cuts));
        let (out, end) = decrypted(&cryptor, &split(&file, &later_cuts), false);
        prop_assert!(end.is_ok(), "{:?}", end);
        prop_assert_eq!(out, plain);
    }

    #[test]
    fn a_changed_file_ends_in_an_error_and_releases_nothing_but_chunks_of_its_own(
        len in 0..3 * PIECE,
        at: Index,
        bytes in prop::collection::vec(any::<u8>(), 0..100),
        dropped in 0usize..100,
        legacy: bool,
        cuts: Vec<Index>,
    ) {
        let cryptor = market();
        let plain = noise(len);
        let file = encrypted(&cryptor, &[&plain]);
        let at = at.index(file.len() + 1);
        let dropped = dropped.min(file.len() - at);
        let changed = [&file[..at], &bytes, &file[at + dropped..]].concat();
        prop_assume!(changed != file);
        let (out, end) = decrypted(&cryptor, &split(&changed, &cuts), legacy);
        prop_assert!(end.is_err());
        prop_assert!(plain.starts_with(&out));
    }

    #[test]
    fn no_bytes_make_decryption_panic(file: Vec<u8>, length in 0u32..300, legacy: bool) {
        let cryptor = market();
        let framed = [&length.to_le_bytes()[..], &[0; 28], &file].concat();
        let marked = [&length.to_le_bytes()[..], b"cofE\x01\x01\0\0", &[0; 20], &file].concat();
        for file in [&file, &framed, &marked] {
            prop_assert!(decrypted(&cryptor, &[file], legacy).1.is_err());
        }
    }
}

#[test]
fn every_cipher_round_trips_every_size_around_a_piece() {
    for cryptor in every_cryptor() {
        for len in [0, 1, CHUNK, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE, 3 * PIECE + 7] {
            let plain = noise(len);
            let file = encrypted(&cryptor, &[&plain]);
            let (out, end) = decrypted(&cryptor, &[&file], false);
            assert!(end.is_ok(), "{} {len}: {end:?}", cryptor.key.name);
            assert!(out == plain, "{len}");
        }
    }
}

#[test]
fn chunks_swapped_repeated_dropped_cut_off_or_added_are_damage() {
    // Frames of many chunks; and frames of one, which decompress in any order.
    tampered(&noise(2 * PIECE + 100), &noise(2 * PIECE + 101));
    let runs: Vec<u8> = (0..5 * PIECE).map(|at| (at / PIECE) as u8).collect();
    tampered(&runs, &runs);
}

fn tampered(plain: &[u8], others: &[u8]) {
    let cryptor = market();
    let (file, other) = (encrypted(&cryptor, &[plain]), encrypted(&cryptor, &[others]));
    let (at, theirs) = (boundaries(&file), boundaries(&other));
    let chunks: Vec<&[u8]> = at.windows(2).map(|pair| &file[pair[0]..pair[1]]).collect();
    let foreign: Vec<&[u8]> = theirs.windows(2).map(|pair| &other[pair[0]..pair[1]]).collect();
    let damage = |what: &str, chunks: &[&[u8]]| {
        let found = decrypted(&cryptor, &[&chunks.concat()], false);
        assert_eq!(code_of(found), Code::Corrupt, "{what}");
    };
    // The first is the head; a file without it is another test's.
    for index in 1..chunks.len() {
        let mut dropped = chunks.clone();
        dropped.remove(index);
        damage("dropped", &dropped);
        let mut repeated = chunks.clone();
        repeated.insert(index, chunks[index]);
        damage("repeated", &repeated);
        let mut replaced = chunks.clone();
        replaced[index] = foreign[index];
        damage("replaced", &replaced);
        for later in index + 1..chunks.len() {
            let mut swapped = chunks.clone();
            swapped.swap(index, later);
            damage("swapped", &swapped);
        }
        damage("cut off", &chunks[..index]);
    }
    damage("nothing left", &[]);
    damage("a second head", &[chunks[0], &file]);
    damage("another file's head", &[&[foreign[0]], &chunks[1..]].concat());
    for behind in [&other[..], b"\0"] {
        for parts in [&[&file[..], behind][..], &[&[&file, behind].concat()]] {
            let (_, end) = decrypted(&cryptor, parts, false);
            assert!(end.unwrap_err().message().contains("something follows"));
        }
    }
}

/// A chunk in the middle of a frame may hold anything: also what looks like a record.
#[test]
fn content_that_looks_like_a_record_is_content() {
    let cryptor = market();
    let mut plain = noise(PIECE);
    // What does not compress is stored, so that these bytes begin the second chunk and fill it.
    let packed = frame::compress(cryptor.level, &plain).unwrap();
    let stored = packed.windows(8).position(|bytes| *bytes == plain[..8]).unwrap();
    let at = CHUNK - stored;
    plain[at..at + 8].copy_from_slice(&frame::skippable_header((CHUNK - 8) as u32));
    let file = encrypted(&cryptor, &[&plain]);
    let second = &file[boundaries(&file)[2]..];
    let mut opened = Vec::new();
    cryptor.key.seal.open(chunk::parse(second).unwrap().sealed, &mut opened).unwrap();
    assert!(record::is_plain_record(&opened));
    let (out, end) = decrypted(&cryptor, &[&file], false);
    assert!(end.is_ok(), "{end:?}");
    assert!(out == plain);
}

/// What an attacker can make at most who chooses what is encrypted and writes marks as he likes:
/// the right body, sealed with the key that seals content.
#[test]
fn nothing_that_was_encrypted_passes_for_a_tail() {
    let cryptor = market();
    let FileKey { seal, records, .. } = &cryptor.key;
    let file = encrypted(&cryptor, &[b"buy milk"]);
    let (data, tail) = file.split_at(boundaries(&file)[2]);
    let mark = *chunk::parse(tail).unwrap().reserved;
    let body = records.open(&record::read(Some(&**seal), tail).unwrap().body).unwrap();
    let with = |body: &[u8]| {
        let mut file = data.to_vec();
        record::write(Some(&**seal), &mark, body, &mut file);
        decrypted(&cryptor, &[&file], false)
    };
    let mut content = Vec::new();
    seal.seal(&body, &mut content);
    assert_eq!(code_of(with(&content)), Code::Corrupt);
    assert_eq!(code_of(with(&body)), Code::Corrupt);
    assert!(with(&records.seal(&body)).1.is_ok());
}

#[test]
fn a_tail_that_lies_is_damage() {
    let cryptor = market();
    let file = encrypted(&cryptor, &[b"buy milk"]);
    let (data, tail) = file.split_at(boundaries(&file)[2]);
    let with = |change: fn(&mut crate::format::encrypted_file::FileTail)| {
        let mut tail = cryptor.key.read_tail(tail).unwrap();
        change(&mut tail);
        let mut file = data.to_vec();
        cryptor.key.write_tail(&tail, &mut file);
        decrypted(&cryptor, &[&file], false).1
    };
    assert!(with(|_| {}).is_ok());
    assert_eq!(with(|tail| tail.id[0] ^= 1).unwrap_err().code(), Code::Corrupt);
    assert_eq!(with(|tail| tail.length += 1).unwrap_err().code(), Code::Corrupt);
    assert_eq!(with(|tail| tail.digest[31] ^= 1).unwrap_err().code(), Code::Corrupt);
}

/// What PyCoffer writes: one frame over many chunks, or several, as it appends.
fn foreign(cryptor: &Cryptor, frames: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::new();
    for frame in frames {
        chunk::put_all(&*cryptor.key.seal, &frame::compress(3, frame).unwrap(), 100, &mut out);
    }
    out
}

#[test]
fn a_file_without_a_head_opens_only_as_a_legacy_one() {
    for cryptor in every_cryptor() {
        let plain = noise(3 * PIECE);
        let file = foreign(&cryptor, &[&plain, b"", b"and more"]);
        let (out, end) = decrypted(&cryptor, &[&file], true);
        assert!(end.is_ok(), "{end:?}");
        assert!(out == [&plain[..], b"and more"].concat());
        assert_eq!(code_of(decrypted(&cryptor, &[&file], false)), Code::Legacy);
        assert_eq!(code_of(decrypted(&cryptor, &[&file[..file.len() - 1]], true)), Code::Corrupt);
        let cut = boundaries(&file)[3];
        assert_eq!(code_of(decrypted(&cryptor, &[&file[..cut]], true)), Code::Corrupt);
        assert_eq!(code_of(decrypted(&cryptor, &[], true)), Code::Corrupt);
    }
}

#[test]
fn a_file_whose_head_was_taken_away_is_no_legacy_one() {
    let cryptor = market();
    let file = encrypted(&cryptor, &[&noise(2 * PIECE)]);
    let at = boundaries(&file);
    let tail = at[at.len() - 2];
    let clear = |file: &mut Vec<u8>, chunk: usize| file[chunk + 4..chunk + HEADER].fill(0);

    let stripped = file[at[1]..].to_vec();
    let mut cleared = stripped.clone();
    clear(&mut cleared, tail - at[1]);
    let mut both = file.clone();
    clear(&mut both, 0);
    clear(&mut both, tail);
    for file in [stripped, cleared, both] {
        assert_eq!(code_of(decrypted(&cryptor, &[&file], true)), Code::Corrupt);
        assert_eq!(code_of(decrypted(&cryptor, &[&file], false)), Code::Legacy);
    }
}

#[test]
fn wrong_keys_wrong_ciphers_newer_versions_and_other_files_are_told_apart() {
    let cryptors = every_cryptor();
    let file = encrypted(&cryptors[0], &[b"buy milk"]);
    for other in every_cryptor() {
        let (cipher, expected) =
            if other.key.seal.sealed_len(9) == cryptors[0].key.seal.sealed_len(9) {
                ("the same", Code::WrongKey)
            } else {
                ("another", Code::WrongKind)
            };
        assert_eq!(code_of(decrypted(&other, &[&file], false)), expected, "{cipher}");
        let theirs = foreign(&cryptors[0], &[b"buy milk"]);
        assert_eq!(code_of(decrypted(&other, &[&theirs], true)), Code::WrongKey, "{cipher}");
    }
    // Its version, and its features.
    for at in [8, 10, 11] {
        let mut newer = file.clone();
        newer[at] = 2;
        assert_eq!(code_of(decrypted(&cryptors[0], &[&newer], false)), Code::Version, "{at}");
    }
    for other in [&b"These are forty bytes of text, or more.."[..], &[0xFF; 100]] {
        for legacy in [false, true] {
            assert_eq!(code_of(decrypted(&cryptors[0], &[other], legacy)), Code::Corrupt);
        }
    }
}

#[test]
fn what_decompresses_to_much_comes_out_in_parts() {
    let cryptor = market();
    // The last block to be decompressed does not fit into the part it begins in.
    let file = foreign(&cryptor, &[b"x", &vec![0; 50 << 20]]);
    assert!(file.len() < 10_000);
    let mut decryptor = cryptor.decryptor(true).unwrap();
    decryptor.push(&file).unwrap();
    let mut length = 0;
    loop {
        let part = decryptor.pull().unwrap();
        if part.is_empty() {
            break;
        }
        assert!(part.len() <= MAX_PULL);
        length += part.len();
    }
    decryptor.finish().unwrap();
    assert_eq!(length, (50 << 20) + 1);
}

mod files {
    use std::fs;

    use super::*;
    use crate::progress::CallObserver;

    /// The names in a directory.
    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn files_round_trip_and_are_their_owners_alone() {
        let directory = tempfile::tempdir().unwrap();
        let [plain, file, back] = ["plain", "file", "back"].map(|name| directory.path().join(name));
        let (cryptor, silent) = (market(), CallObserver::silent());
        for len in [0, 1, 10 * PIECE + 1] {
            fs::write(&plain, noise(len)).unwrap();
            cryptor.encrypt_file(&plain, &file, true, &silent).unwrap();
            let options = DecryptOptions { replace: true, ..DecryptOptions::default() };
            cryptor.decrypt_file(&file, &back, options, &silent).unwrap();
            assert!(fs::read(&back).unwrap() == noise(len));
        }
        #[cfg(unix)]
        for path in [&file, &back] {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);
        }
        assert_eq!(names(directory.path()), ["back", "file", "plain"]);
    }

    #[test]
    fn a_file_that_fails_leaves_nothing_behind_and_what_was_there_untouched() {
        let directory = tempfile::tempdir().unwrap();
        let [file, there, missing] =
            ["file", "there", "gone"].map(|name| directory.path().join(name));
        let (cryptor, silent) = (market(), CallObserver::silent());
        fs::write(&there, "before").unwrap();
        let mut bytes = encrypted(&cryptor, &[&noise(200 * PIECE)]);
        bytes.pop();
        fs::write(&file, bytes).unwrap();
        let fails = |target: &Path, replace: bool, watch: &CallObserver| {
            let options = DecryptOptions { replace, legacy: false };
            let error = cryptor.decrypt_file(&file, target, options, watch).unwrap_err();
            assert_eq!(names(directory.path()), ["file", "there"]);
            assert_eq!(fs::read(&there).unwrap(), b"before");
            error.code()
        };
        assert_eq!(fails(&missing, false, &silent), Code::Corrupt);
        assert_eq!(fails(&there, true, &silent), Code::Corrupt);
        assert_eq!(fails(&there, false, &silent), Code::Exists);
        assert_eq!(fails(directory.path(), true, &silent), Code::InvalidArg);
        let watch = CallObserver::silent();
        watch.cancel.cancel();
        assert_eq!(fails(&missing, false, &watch), Code::Aborted);
        let error = cryptor.encrypt_file(&missing, &there, true, &silent).unwrap_err();
        assert_eq!((error.code(), error.path()), (Code::Io, Some(&*missing)));
    }
}
