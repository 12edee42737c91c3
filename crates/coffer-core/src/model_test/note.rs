//! One call fails in a flush that deletes: the coffer is in the state before the flush or after it. The
//! last footer only notes that the dead blocks are overwritten, so the flush counts without it.

use super::disk::Fault;
use super::workload::{NO_SPACE, Run};

#[test]
fn a_deletion_is_done_though_there_is_no_room_for_the_note_of_it() {
    let mut without_note = 0;
    for (seed, after) in (0..10).flat_map(|seed| (0..12).map(move |after| (seed, after))) {
        let mut run = Run::new(seed);
        run.opener.durable = true;
        let at = format!("seed {seed}, refused after {after}");
        without_note += u32::from(run.delete_with(Fault {
            after,
            looks: false,
            forever: false,
            errno: NO_SPACE,
            torn: 10,
        }));
        run.opener.open(&run.disk, run.timeline.now()).unwrap_or_else(|e| panic!("{at}: {e:?}"));
    }
    assert_eq!(without_note, 10);
}
