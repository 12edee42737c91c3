//! Encrypted files whose bytes were changed: as a stream, and from file to file.

use std::io::Read;
use std::ops::Range;

use coffer_core::coffer::{Coffer, Mode, Options};
use coffer_core::crypto::key::Key;
use coffer_core::crypto::seal::{self, Seal};
use coffer_core::error::{Code, Result};
use coffer_core::format::chunk;
use coffer_core::format::kind::{Cipher, Kind, Layer};
use coffer_core::ops::file_crypt::{Cryptor, DecryptOptions};
use coffer_core::progress::CallObserver;

use std::sync::Arc;

use super::mutation::{Mutation, cuts, flips, middle, moves};
use super::watched::{self, Bench};
use crate::support::{directory, noise, path};

/// An encrypted file, and what opens it.
struct Specimen {
    name: String,
    cryptor: Cryptor,
    seal: Arc<dyn Seal>,
    plain: Vec<u8>,
    file: Vec<u8>,
    chunks: Vec<Range<usize>>,
}

impl Specimen {
    fn new(cipher: Cipher, plain: Vec<u8>) -> Self {
        let dir = directory();
        let layer = Layer { level: Some(3), cipher: Some(cipher) };
        let kind = Kind::custom(layer, Kind::null().container);
        let key = Key::generate(cipher.key_lengths()[0]);
        let mut options = Options::new(Mode::Write, kind);
        options.secure_key = Some(key.clone());
        options.chunk_size = Some(288);
        options.piece_size = Some(4096);
        let coffer = Coffer::open(&path(&dir), options).unwrap();
        let cryptor = coffer.cryptor().unwrap();
        coffer.close().unwrap();
        let mut encryptor = cryptor.encryptor();
        let mut file = encryptor.push(&plain).unwrap();
        file.extend(encryptor.finish().unwrap());
        let chunks = chunks(&file);
        let seal = seal::make(cipher, &key).unwrap();
        Self {
            name: format!("{cipher:?}, {} bytes", plain.len()),
            cryptor,
            seal,
            plain,
            file,
            chunks,
        }
    }

    /// What is released of a changed file that comes in parts of some length, and how it ends.
    fn released(&self, file: &[u8], part: usize, legacy: bool) -> (Vec<u8>, Result<()>) {
        let mut decryptor = self.cryptor.decryptor(legacy).unwrap();
        let mut out = Vec::new();
        for part in file.chunks(part) {
            let mut take = || -> Result<()> {
                decryptor.push(part)?;
                loop {
                    match decryptor.pull()? {
                        plain if plain.is_empty() => return Ok(()),
                        plain => out.extend(plain),
                    }
                }
            };
            if let Err(e) = take() {
                return (out, Err(e));
            }
        }
        (out, decryptor.finish())
    }

    /// Fails unless a changed file is refused, as a stream in parts and as a file, and nothing is
    /// released but the beginning of `most`. Returns what the errors are.
    fn refused(&self, bench: &Bench, changed: &[u8], most: &[u8]) -> Vec<Code> {
        let mut codes = Vec::new();
        for (part, legacy) in
            [(changed.len().max(1), false), (100, false), (changed.len().max(1), true)]
        {
            let (out, end) = self.released(changed, part, legacy);
            assert!(most.starts_with(&out), "{} wrong bytes were released", out.len());
            codes.push(end.expect_err("it passes for whole").code());
        }
        let (source, target) = (bench.file("source", changed), bench.file("target", b"before"));
        let watch = CallObserver::silent();
        let options = DecryptOptions { replace: true, ..DecryptOptions::default() };
        let file = self.cryptor.decrypt_file(&source, &target, options, &watch).unwrap_err();
        assert_eq!(file.code(), codes[0], "{file:?}");
        assert_eq!(std::fs::read(&target).unwrap(), b"before");
        assert_eq!(std::fs::read_dir(bench.path("")).unwrap().count(), 2, "something was left");
        codes
    }

    /// What the chunks of a file hold, one after another in the order they have, up to the first
    /// that does not open and as far as it decompresses: the most that single chunks vouch for.
    fn vouched_for(&self, file: &[u8]) -> Vec<u8> {
        let mut packed = Vec::new();
        for range in chunks(file) {
            let chunk = chunk::parse(&file[range]).unwrap();
            if chunk.reserved.iter().all(|byte| *byte == 0)
                && self.seal.open(chunk.sealed, &mut packed).is_err()
            {
                break;
            }
        }
        let mut decoder = zstd::stream::read::Decoder::with_buffer(packed.as_slice()).unwrap();
        let mut out = Vec::new();
        let mut byte = [0];
        while let Ok(1) = decoder.read(&mut byte) {
            out.push(byte[0]);
        }
        out
    }
}

fn chunks(file: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(chunk) = chunk::parse(&file[at..]) {
        found.push(at..at + chunk.len);
        at += chunk.len;
    }
    found
}

/// Files of one frame and of several, of one chunk to each frame and of several.
fn specimens() -> Vec<Specimen> {
    let runs: Vec<u8> = (0..3 * 4096 + 100).map(|at| (at / 4096) as u8 + b'a').collect();
    let mut made = Vec::new();
    for cipher in [Cipher::Secretbox, Cipher::Fernet, Cipher::AesOcb] {
        made.extend(
            [Vec::new(), noise(5, 600), runs.clone()].map(|plain| Specimen::new(cipher, plain)),
        );
    }
    made
}

#[test]
fn every_flipped_bit_of_an_encrypted_file_is_an_error() {
    alone!("every_flipped_bit_of_an_encrypted_file_is_an_error");
    for specimen in specimens() {
        let sealed = |chunk: &Range<usize>| chunk.start + chunk::HEADER..chunk.end;
        let middles: Vec<_> = specimen.chunks.iter().map(|chunk| middle(&sealed(chunk))).collect();
        let flips = flips(specimen.file.len(), &middles);
        watched::each(&format!("flips, {}", specimen.name), flips, |bench, flip| {
            let Mutation::Flip { at, .. } = flip else { unreachable!() };
            let head = specimen.chunks[0].contains(&at);
            let most = if head { &[] } else { specimen.plain.as_slice() };
            let codes = specimen.refused(bench, &flip.apply(&specimen.file, &[]), most);
            // What stands in clear at the very beginning says who can open the file.
            let clear = at < 12;
            for code in codes {
                let says = matches!(code, Code::Version | Code::WrongKind | Code::Legacy);
                assert!(code == Code::Corrupt || (clear && says), "{code:?}");
            }
        });
    }
}

#[test]
fn an_encrypted_file_cut_anywhere_is_an_error() {
    alone!("an_encrypted_file_cut_anywhere_is_an_error");
    for specimen in specimens() {
        let cuts = cuts(specimen.file.len());
        watched::each(&format!("cuts, {}", specimen.name), cuts, |bench, cut| {
            let cut = cut.apply(&specimen.file, &[]);
            for code in specimen.refused(bench, &cut, &specimen.plain) {
                assert_eq!(code, Code::Corrupt);
            }
        });
    }
}

/// What is released before the end is authentic chunk by chunk, and the tail tells the rest.
#[test]
fn every_chunk_of_an_encrypted_file_moved_repeated_or_dropped_is_an_error() {
    alone!("every_chunk_of_an_encrypted_file_moved_repeated_or_dropped_is_an_error");
    let mut specimens = specimens();
    specimens.push(Specimen::new(Cipher::Secretbox, noise(6, 4096 + 100)));
    for specimen in specimens {
        let moves = moves(specimen.chunks.len());
        watched::each(&format!("moves, {}", specimen.name), moves, |bench, change| {
            let changed = change.apply(&specimen.file, &specimen.chunks);
            let codes = specimen.refused(bench, &changed, &specimen.vouched_for(&changed));
            assert_eq!(codes[2], Code::Corrupt);
        });
    }
}
