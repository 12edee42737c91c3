//! Coffers that the right key seals and that break a rule of `docs/format.md`: what cannot be
//! written to safely is refused when it is opened, and nothing makes a coffer unreadable.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::MEMORY;
use crate::support::{Case, delete, directory, flush, names, write};
use coffer_core::coffer::{Change, Coffer, Mode};
use coffer_core::crypto::key::Key;
use coffer_core::error::Code;
use coffer_core::format::kind::{Cipher, Kind};
use coffer_core::progress::CallObserver;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/rules").join(name)
}

fn key(bytes: std::ops::Range<u8>) -> Option<Key> {
    Some(Key::from_bytes(&bytes.collect::<Vec<_>>()).unwrap())
}

fn case(name: &str) -> Case {
    match name.split('.').nth(1).unwrap() {
        "store" => Case { kind: Kind::store(), coffer_key: key(0..32), secure_key: None },
        "null" => Case { kind: Kind::null(), coffer_key: None, secure_key: None },
        "bank-ocb16" => Case {
            kind: Kind::bank(Cipher::AesOcb),
            coffer_key: key(0..16),
            secure_key: key(32..64),
        },
        other => panic!("{other}"),
    }
}

/// A copy of a fixture, which may be written to.
fn copy(dir: &tempfile::TempDir, name: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::copy(fixture(name), &path).unwrap();
    path
}

#[test]
fn what_a_writer_cannot_live_with_and_what_is_forbidden_is_refused() {
    let dir = directory();
    let mut opened = Vec::new();
    for name in [
        "ahead-with-scrub.store.coffer",
        "block-in-short-chunks.store.coffer",
        "block-number-twice.store.coffer",
        "commit-header-copy-outside.store.coffer",
        "container-not-compressed.store.coffer",
        "directory-of-5-bytes.store.coffer",
        "frame-length-off-by-one.store.coffer",
        "record-above-256-KiB.store.coffer",
        "scrub-frame-below-8.store.coffer",
        "snapshot-that-drops.store.coffer",
    ] {
        let path = copy(&dir, name);
        let before = std::fs::read(&path).unwrap();
        for mode in [Mode::Read, Mode::Append] {
            match Coffer::open(&path, case(name).options(mode)) {
                Ok(_) => opened.push(format!("{name}, {mode:?}")),
                Err(e) => assert_eq!(e.code(), Code::Corrupt, "{name}: {e:?}"),
            }
        }
        assert!(std::fs::read(&path).unwrap() == before, "{name} was written to");
    }
    assert_eq!(opened, Vec::<String>::new());
}

#[test]
fn counters_at_their_end_are_read_and_never_exceeded() {
    let dir = directory();
    for (name, code) in [
        ("next-block-2-62.store.coffer", Some(Code::Limit)),
        ("next-version-2-62.store.coffer", Some(Code::Limit)),
        // Bytes that are dead are advice, and stop counting.
        ("dead-2-62.store.coffer", None),
    ] {
        let path = copy(&dir, name);
        let case = case(name);
        let coffer = case.open(&path, Mode::Append);
        let members = names(&coffer);
        let written = coffer
            .change(Change::write("new", Arc::new(b"more".to_vec())))
            .and_then(|_| coffer.change(Change::Flush { force: true }));
        assert_eq!(written.err().map(|e| e.code()), code, "{name}");
        if code.is_none() {
            // Makes a block die.
            delete(&coffer, "new").unwrap();
            flush(&coffer);
            write(&coffer, "new", b"again");
        }
        let _ = coffer.close();
        let coffer = case.open(&path, Mode::Append);
        let mut expected = members.clone();
        expected.extend(code.is_none().then(|| "new".to_owned()));
        expected.sort();
        assert_eq!(names(&coffer), expected, "{name}");
        coffer.verify(&CallObserver::silent()).unwrap();
        // A new file counts its blocks anew.
        coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
        coffer.close().unwrap();
        let coffer = case.open(&path, Mode::Append);
        for member in &members {
            delete(&coffer, member).unwrap();
            flush(&coffer);
        }
        coffer.close().unwrap();
        case.open(&path, Mode::Read).verify(&CallObserver::silent()).unwrap();
    }
}

#[test]
fn blocks_that_no_commit_added_may_be_dropped() {
    let dir = directory();
    let name = "dropped-unknown.bank-ocb16.coffer";
    let path = copy(&dir, name);
    let coffer = case(name).open(&path, Mode::Append);
    coffer.verify(&CallObserver::silent()).unwrap();
    write(&coffer, "new", b"more");
    flush(&coffer);
    coffer.close().unwrap();
    case(name).open(&path, Mode::Read).verify(&CallObserver::silent()).unwrap();
}

/// 28 KB that say of themselves that they are 900 MB.
#[test]
fn a_commit_takes_memory_in_proportion_to_its_file() {
    alone!("a_commit_takes_memory_in_proportion_to_its_file");
    let name = "commit-bomb.null.coffer";
    MEMORY.reset_peak_usage();
    let before = MEMORY.current_usage();
    for mode in [Mode::Read, Mode::Append] {
        let dir = directory();
        let opened = Coffer::open(&copy(&dir, name), case(name).options(mode)).map(|_| ());
        assert_eq!(opened.unwrap_err().code(), Code::Corrupt);
    }
    let taken = MEMORY.peak_usage().saturating_sub(before);
    assert!(taken < 32 << 20, "{taken} bytes");
}
