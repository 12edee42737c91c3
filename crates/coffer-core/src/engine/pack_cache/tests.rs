#![allow(clippy::unwrap_used, clippy::panic)]
use super::*;
use crate::coffer::{Change, Coffer, Mode, Options};
use crate::crypto::key::Key;
use crate::error::{Code, Error};
use crate::format::kind::Kind;
use crate::progress::CallObserver;
use std::sync::Barrier;

const PACK: usize = 1000;

fn digest(number: usize) -> Digest {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&number.to_le_bytes());
    digest
}

fn put(packs: &PackCache, number: usize) {
    assert_eq!(packs.get(&digest(number), || Ok(vec![1; PACK])).unwrap().len(), PACK);
}

fn has(packs: &PackCache, number: usize) -> bool {
    packs.cached(&digest(number)).is_some()
}

#[test]
fn there_are_never_more_than_there_is_room_for_and_the_oldest_go_first() {
    let process = ProcessCache::new(20 * (PACK + OVERHEAD));
    let packs = PackCache::on(&process);
    for number in 0..100 {
        put(&packs, number);
        assert!(has(&packs, 0), "what is used stays");
        let kept = process.lock();
        assert!(kept.bytes <= process.room && kept.slots.len() == kept.order.len());
        assert_eq!(kept.bytes, kept.order.len() * (PACK + OVERHEAD));
    }
    assert_eq!((0..100).filter(|n| has(&packs, *n)).count(), 20);
    assert!(!has(&packs, 1) && has(&packs, 99));
}

#[test]
fn a_pack_that_would_take_the_room_of_many_is_not_kept() {
    let process = ProcessCache::new(20 * (PACK + OVERHEAD));
    let packs = PackCache::on(&process);
    put(&packs, 0);
    assert_eq!(packs.get(&digest(1), || Ok(vec![1; 5 * PACK])).unwrap().len(), 5 * PACK);
    assert!(has(&packs, 0) && !has(&packs, 1));
}

#[test]
fn a_file_that_is_let_go_of_leaves_nothing_and_takes_nothing_from_others() {
    let process = ProcessCache::new(1 << 20);
    let (one, other) = (PackCache::on(&process), PackCache::on(&process));
    for number in 0..9 {
        put(&one, number);
        put(&other, number);
    }
    drop(one);
    assert!((0..9).all(|n| has(&other, n)));
    drop(other);
    let kept = process.lock();
    assert!(kept.slots.is_empty() && kept.order.is_empty() && kept.bytes == 0);
}

#[test]
fn who_comes_while_a_pack_is_decoded_waits_for_it() {
    let process = ProcessCache::new(1 << 20);
    let packs = PackCache::on(&process);
    let (begun, decoded) = (Barrier::new(2), AtomicU64::new(0));
    let decode = |begin: bool| {
        packs.get(&digest(1), || {
            decoded.fetch_add(1, Ordering::Relaxed);
            if begin {
                begun.wait();
                // Time for the others to come, if they are to decode it as well.
                std::thread::sleep(std::time::Duration::from_millis(50));
            }
            Ok(vec![7; PACK])
        })
    };
    std::thread::scope(|scope| {
        scope.spawn(|| decode(true));
        begun.wait();
        assert!(packs.cached(&digest(1)).is_none(), "a caller that cannot wait does not");
        for _ in 0..3 {
            scope.spawn(|| assert_eq!(**decode(false).unwrap(), [7; PACK]));
        }
    });
    assert_eq!(decoded.into_inner(), 1);
}

#[test]
fn what_could_not_be_decoded_is_tried_again() {
    let packs = PackCache::on(&ProcessCache::new(1 << 20));
    let failed = packs.get(&digest(1), || Err(Error::corrupt("damaged")));
    assert_eq!(failed.err().map(|e| e.code()), Some(Code::Corrupt));
    assert!(packs.process.lock().slots.is_empty());
    put(&packs, 1);
    assert!(has(&packs, 1));
}

#[test]
fn what_is_forgotten_while_it_is_decoded_is_not_kept() {
    let packs = PackCache::on(&ProcessCache::new(1 << 20));
    put(&packs, 1);
    let decode = || {
        packs.forget([digest(1), digest(2), digest(3)].iter());
        Ok(vec![1; PACK])
    };
    packs.get(&digest(2), decode).unwrap();
    assert!((1..4).all(|n| !has(&packs, n)));
    assert_eq!(packs.process.lock().bytes, 0);
}

/// How many packs of a coffer's file are kept.
fn kept(coffer: &Coffer) -> usize {
    let source = coffer.source();
    let process = source.packs.process.lock();
    process.slots.keys().filter(|(file, _)| *file == source.packs.file).count()
}

#[test]
fn a_coffer_keeps_what_is_live_in_its_file_and_nothing_when_it_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.coffer");
    let key = Key::generate(32);
    let open = |mode| {
        let mut options = Options::new(mode, Kind::store());
        options.coffer_key = Some(key.clone());
        Coffer::open(&path, options).unwrap()
    };
    let change = |coffer: &Coffer, change| drop(coffer.change(change).unwrap());
    let coffer = open(Mode::Write);
    for (flush, name) in ["one", "two", "three"].into_iter().enumerate() {
        change(&coffer, Change::write(name, Arc::new(vec![flush as u8; 5000])));
        change(&coffer, Change::Flush { force: false });
    }
    assert!(coffer.read_at_once("one").is_none(), "it is not decoded yet");
    for name in ["one", "two", "three", "one"] {
        coffer.read(name).unwrap();
    }
    assert_eq!(kept(&coffer), 3);
    assert_eq!(**coffer.read_at_once("two").unwrap(), [1; 5000]);

    change(&coffer, Change::Delete { name: "two".to_owned(), recursive: false });
    assert!(coffer.read_at_once("two").is_none());
    change(&coffer, Change::Flush { force: false });
    assert_eq!(kept(&coffer), 2);

    let before = Arc::downgrade(&coffer.source());
    change(&coffer, Change::Compact { watch: CallObserver::silent() });
    assert!(before.upgrade().is_none(), "it is in another file now");
    assert_eq!((kept(&coffer), coffer.read("one").unwrap()), (0, vec![0; 5000]));
    let before = Arc::downgrade(&coffer.source());
    coffer.close().unwrap();
    assert!(before.upgrade().is_none() && kept(&coffer) == 0);

    let coffer = open(Mode::Read);
    coffer.read("one").unwrap();
    coffer.read("three").unwrap();
    assert_eq!((kept(&coffer), coffer.read_at_once("three").unwrap().len()), (1, 5000));
    coffer.close().unwrap();
    assert!(kept(&coffer) == 0 && coffer.read_at_once("three").is_none());
}
