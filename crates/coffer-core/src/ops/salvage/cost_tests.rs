//! What hostile bytes may cost a salvage, counted in bytes that are read and bytes that are
//! deciphered, hashed or decompressed.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::marks::Search;
use super::scan::{self, ScanHit};
use super::{Path, Span, history};
use crate::crypto::key::Key;
use crate::crypto::seal::{Cipher, make};
use crate::engine::file::ArchiveFile;
use crate::format::chunk;
use crate::format::header::Header;
use crate::format::kind::Kind;
use crate::format::record::{COMMIT_TAG, FOOTER_TAG};
use crate::format::work;
use crate::io::disk::DiskNamespace;
use crate::io::storage::Namespace;
use crate::progress::Cancel;
use crate::tails_test::memory::Memory;
use crate::tails_test::scene::ThreeCommits;

/// Calls `act` with a search of some bytes, and gives what it worked on and what it read.
fn cost(bytes: &[u8], act: impl FnOnce(&Search<'_>)) -> (u64, u64) {
    let file = Memory::of(bytes);
    let cancel = Cancel::default();
    let size = bytes.len() as u64;
    let search = Search { storage: &*file, path: Path::new("in memory"), size, cancel: &cancel };
    let ((), worked) = work::of(|| act(&search));
    (worked, file.read.load(Ordering::Relaxed))
}

const LEN: usize = 2 << 20;

/// Headers of chunks, each as long as the file allows, every `step` bytes.
fn headers(len: usize, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while bytes.len() < LEN {
        let start = bytes.len();
        bytes.extend((len.min(LEN * 2 - start) as u32).to_le_bytes());
        bytes.extend([0; chunk::RESERVED]);
        bytes.resize(bytes.len().max(start + step), 0x5A);
    }
    bytes.resize(LEN * 2 + chunk::HEADER, 0x5A);
    bytes
}

#[test]
fn a_search_for_chunks_deciphers_no_more_than_a_few_times_the_bytes() {
    for cipher in [Cipher::Secretbox, Cipher::Fernet, Cipher::AesOcb] {
        let key = Key::generate(cipher.key_lengths()[0]);
        let seal = make(cipher, &key).unwrap();
        for (len, step) in [(LEN, 0), (LEN, 33), (LEN, 100), (1000, 32), (100, 132), (200, 72)] {
            let mut bytes = headers(len, step);
            let fakes = bytes.len() as u64;
            // A good chunk among them is found.
            chunk::put(&*seal, &[0; chunk::RESERVED], b"buy milk", &mut bytes);
            bytes.extend(headers(len, step));
            let (worked, read) = cost(&bytes, |search| {
                let found = scan::next_open_chunk(search, &*seal, 0, search.size).unwrap();
                let chunk = found.expect("the good chunk is found");
                assert_eq!((chunk.offset, &*chunk.plain), (fakes, &b"buy milk"[..]));
                let more = scan::next_open_chunk(search, &*seal, chunk.end(), search.size);
                assert!(more.unwrap().is_none());
            });
            let total = bytes.len() as u64;
            let what = format!("{cipher:?}, {len} every {step}");
            assert!(worked <= 2 * total, "{what}: {worked} bytes deciphered of {total}");
            assert!(read <= 20 * total, "{what}: {read} bytes read of {total}");
        }
    }
}

#[test]
fn a_search_for_frames_costs_no_more_than_a_few_times_the_bytes() {
    let header = Header::new(
        Kind::null(),
        &crate::format::keys::Keys::default(),
        &crate::format::key_source::KeySource::of_keys(),
        65_504,
        1 << 20,
    )
    .unwrap();
    let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
    let keys = crate::format::keys::Keys::default();
    let path = Path::new("in memory");
    // A frame that goes on with blocks of no bytes; one that is said to be all there, and whose
    // last block does not decompress.
    for block in [[0_u8, 0, 0], [2, 0, 4]] {
        let mut bytes = Vec::new();
        while bytes.len() < 8 << 20 {
            bytes.extend(crate::format::frame::MAGIC);
            bytes.extend([0xA0, 0, 0, 0, 1]);
            bytes.extend(block);
        }
        let file = Memory::of(&bytes);
        let source = ArchiveFile::new(file, &directory, path, &header, &keys).unwrap();
        let (worked, read) = cost(&bytes, |search| {
            let within = Span { from: 0, to: search.size };
            scan::blocks(search, &source, within, |found| {
                assert!(matches!(found, ScanHit::Fragment { .. }));
                Ok(())
            })
            .unwrap();
        });
        let most = 10 * bytes.len() as u64 + (256 << 20);
        assert!(worked <= most && read <= 2 * most, "{block:?}: {worked} and {read}");
    }
}

#[test]
fn a_search_for_commits_costs_no_more_than_a_few_times_the_bytes() {
    for kind in [Kind::bank(Cipher::Fernet), Kind::store(), Kind::market(), Kind::null()] {
        let scene = ThreeCommits::new(kind);
        for (tag, away) in [(COMMIT_TAG, 0), (COMMIT_TAG, 9), (FOOTER_TAG, 0), (FOOTER_TAG, 9)] {
            let tail = scene.fakes(tag, 250_000, 0, away, 512 << 10);
            let bytes = scene.with(&tail);
            let mut source = ArchiveFile::new(
                Memory::of(&bytes),
                &scene.source.directory,
                Path::new("in memory"),
                &scene.header,
                &scene.keys,
            )
            .unwrap();
            let (worked, read) = cost(&bytes, |search| {
                let state = history::read(search, &mut source, true).unwrap();
                assert_eq!(state.commit.map(|commit| commit.generation), Some(3));
                assert!(state.complete);
            });
            let total = bytes.len() as u64;
            assert!(worked <= 3 * total, "{kind:?}: {worked} bytes of work for {total}");
            assert!(read <= 12 * total + (3 << 20), "{kind:?}: {read} bytes read of {total}");
        }
    }
}

#[test]
fn the_frames_of_a_file_of_pycoffer_cost_no_more_than_a_few_times_the_bytes() {
    let key = Key::generate(32);
    let seal = make(Cipher::Secretbox, &key).unwrap();
    let mut bytes = Vec::new();
    let chunk: Vec<u8> =
        std::iter::repeat_n(crate::format::frame::MAGIC, 65_504 / 4).flatten().collect();
    while bytes.len() < LEN {
        chunk::put(&*seal, &[0; chunk::RESERVED], &chunk, &mut bytes);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("box.coffer");
    std::fs::write(&path, &bytes).unwrap();
    let mut options = crate::coffer::Options::new(crate::coffer::Mode::Read, Kind::store());
    (options.coffer_key, options.legacy) = (Some(key), true);
    let watch = crate::progress::CallObserver::silent();
    let target = dir.path().join("salvaged");
    let (salvaged, worked) = work::of(|| super::salvage(&path, &target, &options, false, &watch));
    assert_eq!(salvaged.unwrap_err().code(), crate::error::Code::Corrupt);
    let most = 20 * bytes.len() as u64 + (256 << 20);
    assert!(worked <= most, "{worked} bytes of work for {}", bytes.len());
}
