//! A process is killed in a flush that replaces a member, and the power fails while the next one
//! opens: the blocks that the flush would have scrubbed must be intact unless the flush took effect.

use super::disk::Disk;
use super::workload::Run;

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
