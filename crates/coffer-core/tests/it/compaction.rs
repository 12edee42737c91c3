//! Compaction of a coffer that stays open: its file stays small, and nothing that it holds changes.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::*;
use coffer_core::coffer::{Coffer, LockMode, Mode, Options};
use coffer_core::format::kind::Kind;

/// A generator of numbers, the same ones every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn size(path: &std::path::Path) -> u64 {
    std::fs::metadata(path).unwrap().len()
}

#[test]
fn a_coffer_that_is_open_for_long_stays_small_and_right() {
    let ways = [(true, 0), (true, 4), (false, 0)];
    for (number, case) in cases().iter().enumerate() {
        let (auto_flush, delay) = ways[number % ways.len()];
        let dir = directory();
        let path = path(&dir);
        let mut options = case.options(Mode::Exclusive);
        options.auto_flush = Some(auto_flush);
        options.scrub_delay = Duration::from_millis(delay);
        options.durable = false;
        options.lock = LockMode::Write;
        let coffer = Coffer::open(&path, options.clone()).unwrap();
        options.mode = Mode::Read;
        let (mut numbers, mut model) = (Numbers(delay), BTreeMap::new());
        let (mut largest, mut compacted) = (0, 0);
        for round in 0..800u64 {
            let name = format!("member-{}", numbers.below(30));
            // One in eight is large.
            let limit = if numbers.below(8) == 0 { 400 << 10 } else { 60 << 10 };
            let len = 1 + numbers.below(limit);
            match numbers.below(10) {
                0 => drop(delete(&coffer, &name).ok().map(|_| model.remove(&name))),
                1 => {
                    append(&coffer, &name, &noise(round, 100));
                    model.entry(name).or_insert_with(Vec::new).extend(noise(round, 100));
                }
                _ => {
                    write(&coffer, &name, &noise(round, len as usize));
                    model.insert(name, noise(round, len as usize));
                }
            }
            if !auto_flush && round % 8 == 7 {
                flush(&coffer);
            }
            let before = largest;
            largest = size(&path);
            compacted += u32::from(largest < before);
            let live: usize = model.values().map(Vec::len).sum();
            // A Fernet token is a third longer than what is in it.
            let most = 3 * live as u64 + (16 << 20);
            assert!(largest < most, "{}: {largest} bytes for {live} in round {round}", case.name());
            if round % 200 == 199 {
                flush(&coffer);
                let reader = Coffer::open(&path, options.clone()).unwrap();
                let found = |name: &String| (name.clone(), reader.read(name).unwrap());
                let all: BTreeMap<_, _> = names(&reader).iter().map(found).collect();
                assert!(all == model, "{}, round {round}", case.name());
            }
        }
        assert!(compacted > 0, "{}: it was never compacted", case.name());
        coffer.close().unwrap();
        let reader = Coffer::open(&path, options).unwrap();
        assert!(names(&reader).iter().all(|name| reader.read(name).unwrap() == model[name]));
        assert_eq!(names(&reader).len(), model.len());
    }
}

#[test]
fn without_auto_compact_the_file_is_left_as_it_is() {
    let dir = directory();
    let path = path(&dir);
    let mut options = Options::new(Mode::Exclusive, Kind::null());
    options.auto_compact = false;
    let coffer = Coffer::open(&path, options).unwrap();
    let mut before = 0;
    for round in 0..20 {
        write(&coffer, "member", &noise(round, 2_000_000));
        flush(&coffer);
        assert!(size(&path) > before);
        before = size(&path);
    }
    coffer.close().unwrap();
    assert!(size(&path) >= before);
}

/// Salvage may find more in the old file.
#[test]
fn damage_stops_a_compaction_and_a_notice_tells_it() {
    let dir = directory();
    let path = path(&dir);
    let coffer = Coffer::open(&path, Options::new(Mode::Exclusive, Kind::null())).unwrap();
    write(&coffer, "damaged", &noise(1, 3_000));
    flush(&coffer);
    let mut file = std::fs::read(&path).unwrap();
    let at = file.windows(64).position(|window| window == &noise(1, 3_000)[500..564]).unwrap();
    file[at] ^= 1;
    std::fs::write(&path, file).unwrap();
    for round in 0..20 {
        write(&coffer, "member", &noise(round, 2_000_000));
        flush(&coffer);
    }
    let notices = coffer.notices();
    let told: Vec<_> = notices.iter().filter(|notice| notice.code == "not-compacted").collect();
    assert_eq!(told.len(), 1, "{notices:?}");
    assert!(told[0].message.contains("damaged"), "{:?}", told[0]);
    assert_eq!(coffer.read("member").unwrap(), noise(19, 2_000_000));
    coffer.close().unwrap();
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "the coffer and its lock file");
}
