//! Modes and options of opening: what is made, what is replaced and when, and what is refused.

use std::sync::Arc;

use crate::support::*;
use coffer_core::coffer::{Change, Coffer, LockMode, Mode, Options};
use coffer_core::crypto::kdf::{Kdf, KdfChoice, Passphrase};
use coffer_core::crypto::key::Key;
use coffer_core::error::{Code, Result};
use coffer_core::format::kind::{Cipher, Kind};

fn store(key: u8, mode: Mode) -> Options {
    let mut options = Options::new(mode, Kind::store());
    options.coffer_key = Some(Key::from_bytes(&[key; 32]).unwrap());
    options.auto_flush = Some(false);
    options
}

fn code<T>(result: Result<T>) -> Code {
    result.map(drop).unwrap_err().code()
}

fn listing(dir: &tempfile::TempDir) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.ends_with(".lock"))
        .collect();
    names.sort();
    names
}

/// Makes a coffer with one member.
fn make(path: &std::path::Path) -> Vec<u8> {
    let coffer = Coffer::open(path, store(1, Mode::Exclusive)).unwrap();
    write(&coffer, "old", b"old");
    coffer.close().unwrap();
    std::fs::read(path).unwrap()
}

/// What a handle without locks sees at the path.
fn seen(path: &std::path::Path) -> Vec<String> {
    let mut options = store(1, Mode::Read);
    options.lock = LockMode::None;
    let coffer = Coffer::open(path, options).unwrap();
    let names = names(&coffer);
    coffer.close().unwrap();
    names
}

#[test]
fn to_update_needs_a_coffer_and_to_append_makes_one_with_a_notice() {
    let dir = directory();
    let path = path(&dir);
    assert_eq!(code(Coffer::open(&path, store(1, Mode::Update))), Code::NotFound);
    assert!(listing(&dir).is_empty());
    let coffer = Coffer::open(&path, store(1, Mode::Append)).unwrap();
    let notices: Vec<_> = coffer.notices().iter().map(|notice| notice.code).collect();
    assert_eq!(notices, ["created"]);
    coffer.close().unwrap();
    for mode in [Mode::Append, Mode::Update] {
        let coffer = Coffer::open(&path, store(1, mode)).unwrap();
        assert!(coffer.notices().is_empty());
        write(&coffer, "a", b"a");
        let mut expecting = store(1, mode);
        coffer.change(Change::Flush { force: false }).unwrap();
        expecting.expect = Some(coffer.status().commit);
        coffer.close().unwrap();
        Coffer::open(&path, expecting).unwrap().close().unwrap();
    }
    for (text, mode) in [("r+", Mode::Update), ("r+b", Mode::Update), ("rb+", Mode::Update)] {
        assert_eq!(Mode::parse(text).unwrap(), mode);
    }
    for text in ["+", "rb+b", "w+", "r++", "b"] {
        assert_eq!(Mode::parse(text).unwrap_err().code(), Code::InvalidArg, "{text}");
    }
}

#[test]
fn a_file_that_would_not_open_is_replaced_only_on_request() {
    let dir = directory();
    let path = path(&dir);
    let whole = make(&path);
    let mut damaged = whole.clone();
    damaged.iter_mut().for_each(|byte| *byte ^= 0x55);
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 100]].concat();
    let cases = [
        (b"dear diary".to_vec(), store(1, Mode::Write), Code::Corrupt),
        (damaged, store(1, Mode::Write), Code::Corrupt),
        (whole.clone(), store(2, Mode::Write), Code::WrongKey),
        (whole.clone(), Options::new(Mode::Write, Kind::null()), Code::WrongKind),
        (zstd, Options::new(Mode::Write, Kind::null()), Code::Legacy),
    ];
    for (bytes, mut options, expected) in cases {
        std::fs::write(&path, &bytes).unwrap();
        options.backup = Some(".bak".to_owned());
        let error = Coffer::open(&path, options.clone()).map(drop).unwrap_err();
        assert_eq!(error.code(), expected, "{error}");
        let says = ["was left as it is", "replace: true"];
        assert!(says.iter().all(|part| error.message().contains(part)), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!(listing(&dir), ["test.coffer"]);
        options.replace = true;
        let coffer = Coffer::open(&path, options.clone()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "it stays until the first commit");
        coffer.close().unwrap();
        assert_eq!(std::fs::read(dir.path().join("test.coffer.bak")).unwrap(), bytes);
        std::fs::remove_file(dir.path().join("test.coffer.bak")).unwrap();
        options.mode = Mode::Read;
        assert!(names(&Coffer::open(&path, options).unwrap()).is_empty());
    }
    std::fs::write(&path, []).unwrap();
    Coffer::open(&path, store(1, Mode::Write)).unwrap().close().unwrap();
    assert!(seen(&path).is_empty());
}

#[test]
fn the_old_coffer_stays_until_the_first_commit() {
    type End = fn(&Coffer);
    let ends: [(End, bool); 5] = [
        (|_| {}, false),
        (Coffer::abandon, false),
        (|coffer| drop(coffer.change(Change::Flush { force: true }).unwrap()), true),
        (|coffer| drop(coffer.change(Change::Flush { force: false }).unwrap()), true),
        (|coffer| coffer.close().unwrap(), true),
    ];
    for (number, (end, replaces)) in ends.into_iter().enumerate() {
        for changes in [false, true] {
            let dir = directory();
            let path = path(&dir);
            let before = make(&path);
            let mut options = store(1, Mode::Write);
            options.backup = Some(".bak".to_owned());
            let coffer = Coffer::open(&path, options).unwrap();
            if changes {
                write(&coffer, "new", &noise(1, 3_000_000));
                assert_eq!(coffer.read("new").unwrap(), noise(1, 3_000_000));
            }
            assert_eq!(names(&coffer).len(), usize::from(changes));
            assert_eq!(
                (std::fs::read(&path).unwrap(), seen(&path)),
                (before.clone(), vec!["old".to_owned()])
            );
            assert!(!dir.path().join("test.coffer.bak").exists());
            end(&coffer);
            drop(coffer);
            // Waits for the lock.
            let mut options = store(1, Mode::Update);
            options.lock_timeout = std::time::Duration::from_secs(10);
            Coffer::open(&path, options).unwrap().close().unwrap();
            let expected: &[&str] = match (replaces, changes) {
                (false, _) => &["old"],
                (true, true) => &["new"],
                (true, false) => &[],
            };
            assert_eq!(seen(&path), expected, "end {number}, changes {changes}");
            let files: &[&str] =
                if replaces { &["test.coffer", "test.coffer.bak"] } else { &["test.coffer"] };
            assert_eq!(listing(&dir), files, "end {number}, changes {changes}");
            if replaces {
                assert_eq!(std::fs::read(dir.path().join("test.coffer.bak")).unwrap(), before);
            }
        }
    }
}

#[test]
fn a_coffer_that_is_to_be_replaced_is_locked_until_it_is_and_after() {
    let dir = directory();
    let path = path(&dir);
    make(&path);
    let coffer = Coffer::open(&path, store(1, Mode::Write)).unwrap();
    let locked = || {
        for mode in [Mode::Read, Mode::Update, Mode::Write] {
            let mut options = store(1, mode);
            options.lock_timeout = std::time::Duration::ZERO;
            assert_eq!(code(Coffer::open(&path, options)), Code::Locked, "{mode:?}");
        }
    };
    locked();
    // Without PyCoffer's lock file the lock on the file itself is left.
    std::fs::remove_file(dir.path().join("test.coffer.lock")).unwrap();
    locked();
    drop(coffer);
    let mut options = store(1, Mode::Write);
    options.lock_timeout = std::time::Duration::from_secs(10);
    let coffer = Coffer::open(&path, options).unwrap();
    flush(&coffer);
    locked();
    let change = Change::write("a", Arc::new(b"a".to_vec()));
    coffer.change(change).unwrap();
    coffer
        .change(Change::Compact { watch: coffer_core::progress::CallObserver::silent() })
        .unwrap();
    locked();
    coffer.close().unwrap();
    assert_eq!(seen(&path), ["a"]);
}

#[test]
fn a_file_put_in_place_of_the_old_one_is_not_replaced() {
    let dir = directory();
    let path = path(&dir);
    make(&path);
    let coffer = Coffer::open(&path, store(1, Mode::Write)).unwrap();
    let other = dir.path().join("other");
    std::fs::write(&other, "another").unwrap();
    std::fs::rename(&other, &path).unwrap();
    assert_eq!(code(coffer.change(Change::Flush { force: true })), Code::Poisoned);
    assert_eq!(code(coffer.close()), Code::Poisoned);
    assert_eq!(std::fs::read(&path).unwrap(), b"another");
    assert_eq!(listing(&dir), ["test.coffer"]);
}

#[test]
fn options_of_a_new_coffer_must_be_those_of_one_that_exists() {
    let dir = directory();
    let path = path(&dir);
    let passphrase = |mode| {
        let mut options = Options::new(mode, Kind::store());
        options.passphrase = Some(Passphrase::new(b"buy milk").unwrap());
        options
    };
    let mut options = passphrase(Mode::Exclusive);
    options.kdf = KdfChoice { memory: Some(Kdf::MIN.memory), passes: Some(Kdf::MIN.passes) };
    options.chunk_size = Some(4096);
    options.piece_size = Some(65_536);
    Coffer::open(&path, options.clone()).unwrap().close().unwrap();
    let before = std::fs::read(&path).unwrap();
    for mode in [Mode::Append, Mode::Update] {
        let mut equal = options.clone();
        equal.mode = mode;
        Coffer::open(&path, equal).unwrap().close().unwrap();
        type Set = fn(&mut Options);
        let others: [(Set, &str); 4] = [
            (|o| o.chunk_size = Some(8192), "chunkSize is 8192, but the coffer has 4096"),
            (|o| o.piece_size = Some(8192), "blockSize is 8192, but the coffer has 65536"),
            (|o| o.kdf.memory = Some(Kdf::MIN.memory + 1), "kdf.memory is"),
            (|o| o.kdf.passes = Some(Kdf::MIN.passes + 1), "kdf.passes is"),
        ];
        for (set, says) in others {
            let mut other = passphrase(mode);
            set(&mut other);
            let error = Coffer::open(&path, other).map(drop).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArg, "{error}");
            assert!(error.message().contains(says), "{error}");
        }
    }
    assert_eq!(std::fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_without_the_expected_commit_was_rolled_back() {
    let dir = directory();
    let path = path(&dir);
    let older = make(&path);
    let coffer = Coffer::open(&path, store(1, Mode::Update)).unwrap();
    write(&coffer, "new", b"new");
    flush(&coffer);
    let expect = Some(coffer.status().commit);
    coffer.close().unwrap();
    let zstd = [&[0x28, 0xb5, 0x2f, 0xfd][..], &[7; 100]].concat();
    for (bytes, legacy) in [(older, false), (zstd, true)] {
        std::fs::write(&path, &bytes).unwrap();
        for mode in [Mode::Read, Mode::Update, Mode::Append] {
            let mut options = store(1, mode);
            if legacy {
                options.kind = Kind::null();
                options.coffer_key = None;
                options.legacy = true;
            }
            options.expect = expect;
            let error = Coffer::open(&path, options).map(drop).unwrap_err();
            assert_eq!(error.code(), Code::RolledBack, "{error}");
            assert!(error.message().contains("do not put a backup in its place"), "{error}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn keys_that_are_swapped_are_said_to_be() {
    let dir = directory();
    for (number, cipher) in [Cipher::Fernet, Cipher::AesOcb].into_iter().enumerate() {
        let path = dir.path().join(format!("bank-{number}"));
        let mut options = Options::new(Mode::Exclusive, Kind::bank(cipher));
        options.coffer_key = Some(Key::from_bytes(&[1; 32]).unwrap());
        options.secure_key = Some(Key::from_bytes(&[2; 32]).unwrap());
        Coffer::open(&path, options.clone()).unwrap().close().unwrap();
        options.mode = Mode::Read;
        let says = |coffer: u8, secure: u8| {
            let mut options = options.clone();
            options.coffer_key = Some(Key::from_bytes(&[coffer; 32]).unwrap());
            options.secure_key = Some(Key::from_bytes(&[secure; 32]).unwrap());
            let error = Coffer::open(&path, options).map(drop).unwrap_err();
            assert_eq!(error.code(), Code::WrongKey, "{error}");
            error.message().contains("cofferKey and secureKey are swapped")
        };
        assert!(says(2, 1));
        for (coffer, secure) in [(1, 1), (2, 2), (1, 3), (2, 3), (3, 1)] {
            assert!(!says(coffer, secure), "{coffer} {secure}");
        }
    }
}
