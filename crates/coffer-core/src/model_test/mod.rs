//! A coffer on a disk that crashes, against a map.
//!
//! A random workload runs on a simulated disk: puts, replacements, appends, removals, savepoints,
//! flushes, compaction, rekeying, reopening, replacing; at random, calls of the disk fail. Afterwards the
//! journal of the disk's calls is cut at many places, and each cut gives many states that a crash
//! there may leave. Each must open at the last flush that had returned, or at a later complete one;
//! every member must read back, deleted bytes must be gone, and the tar that other tools see must
//! hold exactly the live members. The calls of that opening are recorded too, and cut in the same
//! way. At random a bit flips between two sessions: then the members in this block are listed as
//! damaged, and no others.
//!
//! `COFFER_MODEL_SEEDS=from..to` chooses the seeds, `COFFER_MODEL_TRACE=1` prints the steps.

mod changes;
mod check;
mod crash;
mod damage;
mod disk;
mod errors;
mod note;
pub(crate) mod rng;
mod scrub;
mod state;
mod workload;

use std::io::Write;
use std::ops::Range;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use self::workload::Run;

/// How many states the run of every build looks at, at least.
const STATES: u64 = 20_000;

#[test]
fn a_coffer_on_a_disk_that_crashes_is_like_a_map() {
    let asked = std::env::var("COFFER_MODEL_SEEDS").ok();
    let seeds = asked.as_deref().map_or(0..160, range);
    let (next, states) = (AtomicU64::new(seeds.start), AtomicU64::new(0));
    let failed = Mutex::new(Vec::new());
    let work = || loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        if seed >= seeds.end {
            return;
        }
        match catch_unwind(|| Run::new(seed).all()) {
            Ok(seen) => {
                states.fetch_add(seen, Ordering::Relaxed);
            }
            Err(panic) => failed.lock().unwrap().push((seed, message(&*panic))),
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(work);
        }
    });
    let states = states.into_inner();
    // Past the harness, which shows nothing of a test that passes.
    let _ = writeln!(std::io::stderr(), "crash model: seeds {seeds:?}, {states} crash states");
    let mut failed = failed.into_inner().unwrap();
    failed.sort();
    let lines: Vec<String> = failed.iter().map(|(seed, text)| format!("{seed}: {text}")).collect();
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), lines.join("\n"));
    assert!(asked.is_some() || states >= STATES, "only {states} crash states");
}

fn range(text: &str) -> Range<u64> {
    let (from, to) = text.split_once("..").expect("COFFER_MODEL_SEEDS is from..to");
    from.parse().unwrap()..to.parse().unwrap()
}

fn message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
    text.unwrap_or_default().chars().take(400).collect()
}
