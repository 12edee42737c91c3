//! What changes replace and remove: when it is gone from the file, with and without `auto_flush`.

use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use crate::support::*;
use coffer_core::coffer::{Change, Coffer, Mode, Options, Outcome};
use coffer_core::format::kind::Kind;

const LONG: Duration = Duration::from_secs(3600);

fn options(mode: Mode, auto_flush: bool, delay: Duration) -> Options {
    let mut options = Options::new(mode, Kind::null());
    options.auto_flush = Some(auto_flush);
    options.scrub_delay = delay;
    options
}

/// What a member holds: bytes that do not compress, so that they stand in a Null as they are.
fn content(seed: u64) -> Vec<u8> {
    noise(seed, 1500)
}

fn holds(path: &Path, seed: u64) -> bool {
    let file = std::fs::read(path).unwrap();
    file.windows(64).any(|window| window == &content(seed)[500..564])
}

/// Makes a change in a batch.
fn change_in(coffer: &Coffer, batch: u64, change: Change) {
    let (sender, receiver) = mpsc::channel();
    coffer.submit(change, Some(batch), Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv().unwrap().unwrap();
}

fn begin(coffer: &Coffer) -> u64 {
    match coffer.change(Change::Begin).unwrap() {
        Outcome::Batch(batch) => batch,
        outcome => panic!("{outcome:?}"),
    }
}

/// A coffer with members in one pack and one in pieces, two of which were replaced and one deleted.
fn changed(path: &Path, auto_flush: bool, delay: Duration) -> Coffer {
    let coffer = Coffer::open(path, options(Mode::Exclusive, auto_flush, delay)).unwrap();
    let batch = begin(&coffer);
    for (name, seed) in [("kept", 1), ("replaced", 2), ("deleted", 3)] {
        change_in(&coffer, batch, Change::write(name, Arc::new(content(seed))));
    }
    change_in(&coffer, batch, Change::End { commit: true });
    let large: Vec<u8> = content(4).into_iter().chain(vec![0; 200 << 10]).collect();
    write(&coffer, "large", &large);
    flush(&coffer);
    assert!((1..=4).all(|seed| holds(path, seed)));
    write(&coffer, "replaced", &content(12));
    delete(&coffer, "deleted").unwrap();
    write(&coffer, "large", &content(14));
    coffer
}

fn check(coffer: &Coffer) {
    for (name, seed) in [("kept", 1), ("replaced", 12), ("large", 14)] {
        assert_eq!(coffer.read(name).unwrap(), content(seed), "{name}");
    }
    assert_eq!(names(coffer), ["kept", "large", "replaced"]);
}

fn is_gone(path: &Path) -> bool {
    !(2..=4).any(|seed| holds(path, seed))
}

#[test]
fn what_is_replaced_and_deleted_is_gone_after_a_flush_and_after_a_close() {
    for end in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("test.coffer");
        let coffer = changed(&path, true, LONG);
        check(&coffer);
        assert!((2..=4).all(|seed| holds(&path, seed)), "a change waits for no scrub");
        match end {
            0 => flush(&coffer),
            1 => coffer.close().unwrap(),
            _ => coffer.abandon(),
        }
        let options = options(Mode::Append, true, LONG);
        if end > 0 {
            // The lock is free once the thread has ended.
            check(&Coffer::open(&path, options).unwrap());
        }
        assert!(is_gone(&path), "{end}");
        assert!(holds(&path, 1) && holds(&path, 12));
    }
}

#[test]
fn without_a_delay_it_is_gone_when_the_change_returns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.coffer");
    let coffer = changed(&path, true, Duration::ZERO);
    assert!(is_gone(&path));
    check(&coffer);
}

#[test]
fn it_is_gone_soon_though_nothing_is_called() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.coffer");
    let coffer = changed(&path, true, Duration::from_millis(20));
    let until = Instant::now() + Duration::from_secs(60);
    while !is_gone(&path) {
        assert!(Instant::now() < until, "it is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    check(&coffer);
}

/// The batch is not committed early: what became stale before it is erased at its end.
#[test]
fn a_batch_keeps_the_scrub_waiting_and_is_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.coffer");
    let coffer = changed(&path, true, Duration::from_millis(20));
    let batch = begin(&coffer);
    change_in(&coffer, batch, Change::write("kept", Arc::new(content(20))));
    std::thread::sleep(Duration::from_millis(100));
    change_in(&coffer, batch, Change::End { commit: false });
    check(&coffer);
    flush(&coffer);
    assert!(is_gone(&path));
    check(&coffer);
}

/// A killed process leaves what it had not erased yet. The file is copied instead of killing one.
#[test]
fn the_next_writer_erases_what_a_killed_one_left() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.coffer");
    let left = dir.path().join("left.coffer");
    let coffer = changed(&path, true, LONG);
    std::fs::copy(&path, &left).unwrap();
    coffer.close().unwrap();
    let reader = Coffer::open(&left, options(Mode::Read, false, LONG)).unwrap();
    check(&reader);
    reader.verify(&coffer_core::progress::CallObserver::silent()).unwrap();
    reader.close().unwrap();
    assert!((2..=4).all(|seed| holds(&left, seed)), "a reader changes nothing");
    let writer = Coffer::open(&left, options(Mode::Update, false, LONG)).unwrap();
    assert!(is_gone(&left), "gone when it is open");
    check(&writer);
    writer.close().unwrap();
}

/// A service that replaces one of many members again and again, which share packs at first.
#[test]
fn members_that_change_come_to_stand_alone_and_their_neighbours_in_small_packs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("test.coffer");
    let coffer = Coffer::open(&path, options(Mode::Exclusive, false, LONG)).unwrap();
    for number in 0..300 {
        write(&coffer, &format!("member-{number}"), &content(100 + number));
    }
    flush(&coffer);
    let size = || std::fs::metadata(&path).unwrap().len();
    let grown = |from: u64| size() - from;
    let mut costs = Vec::new();
    for _ in 0..3 {
        let before = size();
        write(&coffer, "member-7", &content(2));
        flush(&coffer);
        costs.push(grown(before));
    }
    assert!(costs[0] > 10_000, "the neighbours move once: {costs:?}");
    assert!(costs[1] < 4_000 && costs[2] < 4_000, "and then it stands alone: {costs:?}");
    let before = size();
    write(&coffer, "member-9", &content(2));
    flush(&coffer);
    assert!(grown(before) < costs[0], "a neighbour moves few others: {}", grown(before));
}
