//! How fast the engine is beside what it is made of: the ciphers beside libsodium's own functions,
//! and compression and sealing on all cores beside one.
//!
//! Prints a JSON object per line: `{"case": …, "unit": "MB/s", "samples": […]}`. Cases that are to
//! be compared take turns. `ENGINE_SAMPLES` says how many samples to take, which is 9 by default.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use coffer_core::coffer::{Change, Coffer, Mode, Options};
use coffer_core::crypto::key::Key;
use coffer_core::crypto::seal::{self, Seal};
use coffer_core::format::chunk;
use coffer_core::format::kind::{Cipher, Kind};
use coffer_core::io::pool;
use sodiumoxide::crypto::secretbox;

const SAMPLES: usize = 9;
const CHUNK: usize = 64 << 10;
/// Bytes that a sample of a cipher seals or opens.
const SEALED: usize = 64 << 20;
/// Bytes of a member in a block.
const PIECE: usize = 1 << 20;
/// Bytes of a sample of compression and sealing.
const MEMBER: usize = 256 << 20;
const LEVEL: i32 = 3;

fn main() {
    let samples =
        std::env::var("ENGINE_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(SAMPLES);
    let mut results = Results::default();
    // The first time everything is slower.
    ciphers(&mut Results::default());
    for _ in 0..samples {
        ciphers(&mut results);
    }
    let data = half_compressible(MEMBER);
    for _ in 0..samples.div_ceil(2) {
        pieces(&mut results, &data);
    }
    results.print();
}

/// Samples of each case, in MB/s.
#[derive(Default)]
struct Results {
    cases: BTreeMap<String, Vec<f64>>,
}

impl Results {
    fn add(&mut self, case: impl Into<String>, bytes: usize, time: Duration) {
        let rate = bytes as f64 / 1e6 / time.as_secs_f64();
        self.cases.entry(case.into()).or_default().push(rate);
    }

    fn print(&self) {
        for (case, samples) in &self.cases {
            let samples: Vec<String> = samples.iter().map(|rate| format!("{rate:.1}")).collect();
            let samples = samples.join(", ");
            println!(r#"{{"case": "{case}", "unit": "MB/s", "samples": [{samples}]}}"#);
        }
    }
}

fn timed(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Chunks sealed and opened on one core, and the same bytes by libsodium alone.
fn ciphers(results: &mut Results) {
    let plain = noise(1, PIECE);

    let key = secretbox::gen_key();
    let nonce = secretbox::gen_nonce();
    let mut bytes = plain.clone();
    let mut tags = Vec::with_capacity(PIECE / CHUNK);
    let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..SEALED / PIECE {
        tags.clear();
        sealing += timed(|| {
            let chunks = bytes.chunks_mut(CHUNK);
            tags.extend(chunks.map(|chunk| secretbox::seal_detached(chunk, &nonce, &key)));
        });
        opening += timed(|| {
            for (chunk, tag) in bytes.chunks_mut(CHUNK).zip(&tags) {
                secretbox::open_detached(chunk, tag, &nonce, &key).unwrap();
            }
        });
    }
    results.add("libsodium: secretbox_detached", SEALED, sealing);
    results.add("libsodium: secretbox_open_detached", SEALED, opening);

    for cipher in [Cipher::Secretbox, Cipher::Fernet, Cipher::AesOcb] {
        let key = Key::generate(*cipher.key_lengths().last().unwrap());
        let seal = seal::make(cipher, &key).unwrap();
        let name = cipher.as_str();
        let (mut sealed, mut opened) = (Vec::new(), Vec::new());
        let (mut sealing, mut opening) = (Duration::ZERO, Duration::ZERO);
        for _ in 0..SEALED / PIECE {
            sealed.clear();
            sealing += timed(|| chunk::put_all(&*seal, black_box(&plain), CHUNK, &mut sealed));
            opened.clear();
            opening += timed(|| chunk::open_all(&*seal, &sealed, &mut opened).unwrap());
        }
        assert_eq!(opened, plain);
        results.add(format!("{name}: seal chunks"), SEALED, sealing);
        results.add(format!("{name}: open chunks"), SEALED, opening);
    }
}

/// Pieces compressed and sealed: by what the cores do when nothing else is asked of them, and by a
/// Store that they become a member of.
fn pieces(results: &mut Results, data: &Arc<Vec<u8>>) {
    let seal = seal::make(Cipher::Secretbox, &Key::generate(32)).unwrap();
    let threads = pool::threads();
    let one = &data[..MEMBER / threads];
    results.add("one core: zstd and secretbox", one.len(), timed(|| in_isolation(one, &*seal)));
    let start = Barrier::new(threads + 1);
    let time = std::thread::scope(|scope| {
        for part in data.chunks(MEMBER / threads) {
            let (start, seal) = (&start, &seal);
            scope.spawn(move || {
                start.wait();
                in_isolation(part, &**seal);
                start.wait();
            });
        }
        start.wait();
        timed(|| {
            start.wait();
        })
    });
    results.add("all cores: zstd and secretbox", MEMBER, time);

    let place = Place::new();
    let mut options = Options::new(Mode::Write, Kind::store());
    options.coffer_key = Some(Key::generate(32));
    options.level = Some(LEVEL);
    options.durable = false;
    let coffer = Coffer::open(&place.0, options).unwrap();
    let time = timed(|| {
        coffer.change(Change::write("data", data.clone())).unwrap();
    });
    results.add("all cores: a member of a Store", MEMBER, time);
    let time = timed(|| {
        assert_eq!(coffer.read("data").unwrap().len(), MEMBER);
    });
    results.add("all cores: the member read", MEMBER, time);
    coffer.close().unwrap();
}

fn in_isolation(data: &[u8], seal: &dyn Seal) {
    let mut compressor = zstd::bulk::Compressor::new(LEVEL).unwrap();
    let mut frame = Vec::with_capacity(zstd::zstd_safe::compress_bound(PIECE));
    let mut sealed = Vec::new();
    for piece in data.chunks(PIECE) {
        frame.clear();
        compressor.compress_to_buffer(piece, &mut frame).unwrap();
        sealed.clear();
        chunk::put_all(seal, &frame, CHUNK - chunk::HEADER, &mut sealed);
        black_box(&sealed);
    }
}

/// Where the Store is: in memory, where the system has files there.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        Self(directory.join(format!("engine-{}.coffer", std::process::id())))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for path in [self.0.clone(), self.0.with_extension("coffer.lock")] {
            // What cannot be removed stays behind.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A piece of noise after a piece of text, and so on.
fn half_compressible(len: usize) -> Arc<Vec<u8>> {
    let text = text(PIECE);
    let mut data = Vec::with_capacity(len);
    for piece in 0..(len / PIECE) as u64 {
        if piece % 2 == 0 {
            data.extend(noise(piece, PIECE));
        } else {
            // Each piece is another.
            let (one, other) = text.split_at(piece as usize * 64);
            data.extend_from_slice(other);
            data.extend_from_slice(one);
        }
    }
    Arc::new(data)
}

/// Words in the frequencies of a language, about: zstd makes a third of them.
fn text(len: usize) -> Vec<u8> {
    let random = noise(7, 4 * len);
    let words: Vec<String> = random[..32 << 10]
        .chunks_exact(8)
        .map(|seed| {
            let letters = seed.iter().take(2 + usize::from(seed[7] % 7));
            letters.map(|byte| char::from(b'a' + byte % 26)).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(len + 16);
    for at in random.chunks_exact(4) {
        let at = f64::from(u32::from_le_bytes(at.try_into().unwrap())) / 2f64.powi(32);
        text.extend_from_slice(words[(at.powi(4) * words.len() as f64) as usize].as_bytes());
        text.push(b' ');
        if text.len() >= len {
            break;
        }
    }
    text.truncate(len);
    text
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}
