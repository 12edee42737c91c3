//! A process is killed in a flush that replaces a member, and the power fails while the next one
//! opens: the blocks that the flush would have scrubbed must be intact unless the flush took effect.

use std::sync::Arc;

use super::disk::{Call, Disk, Image};
use super::workload::Run;
use crate::coffer::{Change, Coffer, LockMode, Mode, Options};
use crate::format::kind::Kind;

#[test]
fn a_scrub_is_not_redone_before_its_commit_is_durable() {
    for seed in 0..60 {
        let mut run = Run::new(seed);
        run.opener.durable = true;
        run.replace_a_member();
        let (journal, timeline) = (run.disk.journal(), &run.timeline);
        for first in 0..=journal.calls.len() {
            let acceptable = timeline.at(first);
            if acceptable.iter().any(|state| state.members.is_none()) {
                continue;
            }
            let left = Disk::new(journal.killed(first));
            let at = |e| panic!("seed {seed}, killed after {first}: {e:?}");
            drop(run.opener.open(&left, acceptable).unwrap_or_else(at));
            let recovery = left.journal();
            for second in 0..=recovery.calls.len() {
                let at =
                    |e| panic!("seed {seed}, killed after {first}, no power after {second}: {e:?}");
                let again = Disk::new(recovery.unpowered(second, &mut run.rng));
                run.opener.open(&again, acceptable).unwrap_or_else(at);
            }
        }
    }
}

/// Calls of the disk since `from`: how many syncs and how many writes.
fn calls(disk: &Disk, from: usize) -> (usize, usize) {
    let journal = disk.journal();
    let since = &journal.calls[from..];
    let count = |is: fn(&Call) -> bool| since.iter().filter(|call| is(call)).count();
    let sync = |call: &Call| matches!(call, Call::Sync { .. });
    (count(sync), count(|call| matches!(call, Call::Write { .. })))
}

#[test]
fn a_replacement_takes_one_sync_and_many_share_their_scrub() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Disk::new(Image::default());
    let mut options = Options::new(Mode::Exclusive, Kind::null());
    options.auto_flush = Some(true);
    options.lock = LockMode::None;
    options.scrub_delay = std::time::Duration::from_secs(3600);
    let path = dir.path().join("model.coffer");
    let coffer = Coffer::open_in(disk.directory(), &path, options).unwrap();
    let write = |name: &str, byte: u8| {
        let before = disk.recorded();
        coffer.change(Change::write(name, Arc::new(vec![byte; 3000]))).unwrap();
        calls(&disk, before)
    };
    for number in 0..10 {
        write(&format!("member-{number}"), 1);
    }
    // A snapshot among them is a full commit.
    let costs: Vec<_> = (0..10).map(|number| write(&format!("member-{number}"), 2)).collect();
    let single = costs.iter().filter(|cost| **cost == (1, 2)).count();
    assert!(single >= 8, "a block, a commit with its footer, and a sync: {costs:?}");
    let before = disk.recorded();
    coffer.change(Change::Flush { force: false }).unwrap();
    let (syncs, writes) = calls(&disk, before);
    assert!(syncs <= 3 && writes > 3, "{syncs} syncs and {writes} writes scrub all");
    coffer.close().unwrap();
}
