//! Readers without a lock, of a file that a writer changes meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::memory::{Memory, One};
use super::scene::{PATH, ThreeCommits};
use crate::coffer::{Change, Coffer, Mode, Options};
use crate::crypto::key::Key;
use crate::error::{Code, Result};
use crate::format::kind::Kind;
use crate::progress::CallObserver;

fn read_without_lock(scene: &ThreeCommits, file: Arc<Memory>) -> Result<Coffer> {
    let mut options = scene.options.clone();
    options.lock = crate::coffer::LockMode::None;
    Coffer::open_in(Arc::new(One(file)), Path::new(PATH), options)
}

#[test]
fn a_reader_without_a_lock_waits_for_the_footer_of_a_commit_that_is_being_written() {
    let scene = ThreeCommits::new(Kind::store());
    let (position, _) = scene.commits[2];
    let whole = scene.bytes.clone();
    let file = Memory::of(&whole[..position.end() as usize]);
    // One attempt reads many times; the footer comes while the reader only asks for the length.
    let asked = Arc::new(AtomicU64::new(0));
    let since_read = asked.clone();
    *file.at_read.lock().unwrap() = Some(Box::new(move |_| since_read.store(0, Ordering::Relaxed)));
    *file.at_len.lock().unwrap() = Some(Box::new(move |bytes| {
        if asked.fetch_add(1, Ordering::Relaxed) == 5 {
            bytes.clone_from(&whole);
        }
    }));
    let coffer = read_without_lock(&scene, file.clone()).unwrap();
    assert_eq!(coffer.notices(), []);
    // Where it does not come, it is damaged.
    let file = Memory::of(&scene.bytes[..position.end() as usize]);
    let coffer = read_without_lock(&scene, file).unwrap();
    assert_eq!(coffer.notices()[0].code, "damaged-footer");
}

#[test]
fn a_file_that_is_cut_between_a_look_at_its_length_and_a_read_is_looked_at_again() {
    let scene = ThreeCommits::new(Kind::store());
    for cut in [0, 1, 2, 3] {
        let file = Memory::of(&scene.with(&[0x5A; 5000]));
        let end = scene.bytes.len();
        let mut reads = 0;
        *file.at_read.lock().unwrap() = Some(Box::new(move |bytes| {
            if reads == cut {
                bytes.truncate(end);
            }
            reads += 1;
        }));
        let coffer = read_without_lock(&scene, file).unwrap();
        assert_eq!(coffer.notices(), []);
        assert_eq!(coffer.read("member-1").unwrap(), vec![1; 1000]);
    }
    // A block that is read where the file has just been cut is damaged, and no failing disk.
    let file = Memory::of(&scene.bytes);
    let coffer = read_without_lock(&scene, file.clone()).unwrap();
    *file.at_read.lock().unwrap() = Some(Box::new(|bytes| bytes.truncate(400)));
    assert_eq!(coffer.read("member-1").unwrap_err().code(), Code::Corrupt);
}

/// A reader that stays on its commit verifies members although the writer moves them repeatedly.
#[test]
fn verifying_beside_a_writer_that_moves_members_finds_no_damage() {
    for lock in [crate::coffer::LockMode::None, crate::coffer::LockMode::Write] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.coffer");
        let mut options = Options::new(Mode::Write, Kind::store());
        options.coffer_key = Some(Key::generate(32));
        options.auto_flush = Some(false);
        let writer = Coffer::open(&path, options.clone()).unwrap();
        // Each pack has a member that stays and one that goes.
        for pack in 0..4 {
            for name in [format!("stays-{pack}"), format!("goes-{pack}")] {
                writer.change(Change::write(&name, Arc::new(vec![pack; 1000]))).unwrap();
            }
            writer.change(Change::Flush { force: false }).unwrap();
        }
        (options.mode, options.lock) = (Mode::Read, lock);
        let reader = Coffer::open(&path, options).unwrap();
        for pack in 0..4 {
            let name = format!("goes-{pack}");
            writer.change(Change::Delete { name, recursive: false }).unwrap();
            writer.change(Change::Flush { force: false }).unwrap();
            let verified = reader.verify(&CallObserver::silent());
            assert!(verified.is_ok(), "after move {pack}: {verified:?}");
        }
        writer.change(Change::Close).unwrap();
    }
}

#[test]
fn reading_does_not_ask_for_the_length_again_and_announces_blocks_ahead() {
    let scene = ThreeCommits::new(Kind::store());
    let file = Memory::of(&scene.bytes);
    let coffer = read_without_lock(&scene, file.clone()).unwrap();
    let asked = Arc::new(AtomicU64::new(0));
    let count = asked.clone();
    *file.at_len.lock().unwrap() = Some(Box::new(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    assert_eq!(coffer.read("member-1").unwrap(), vec![1; 1000]);
    coffer.verify(&CallObserver::silent()).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    assert!(file.announced.load(Ordering::Relaxed) > 0);
}
