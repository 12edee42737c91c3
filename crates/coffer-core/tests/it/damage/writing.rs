//! Coffers that are opened for writing after their bytes were changed.

use std::path::Path;

use coffer_core::coffer::{Coffer, Mode};
use coffer_core::error::Code;

use super::mutation::{Mutation, cuts, moves, one_flip_each};
use super::specimen::{Members, Specimen, specimens};
use super::watched::{self, Bench};
use crate::support::{names, write};

/// What can be read of a coffer: whatever is not right is an error.
fn readable(coffer: &Coffer) -> Members {
    let read = |name: String| Some((name.clone(), coffer.read(&name).ok()?));
    names(coffer).into_iter().filter_map(read).collect()
}

/// Opens a changed file for writing, adds a member and closes. What could be read before can be
/// read after, and what is cut off behind the coffer's end is kept beside it, unless the file had
/// nothing there but a write that did not finish.
fn go_on(specimen: &Specimen, bench: &Bench, changed: &[u8], torn: bool) {
    let (path, kept) = (bench.file("box", changed), bench.path("box.torn"));
    let _ = std::fs::remove_file(&kept);
    let case = &specimen.case;
    let Ok(reader) = Coffer::open(&path, case.options(Mode::Read)) else {
        let refused = Coffer::open(&path, case.options(Mode::Append)).err().unwrap();
        assert_eq!(refused.code(), Code::Corrupt, "{refused:?}");
        assert!(std::fs::read(&path).unwrap() == changed, "a file was changed that did not open");
        return;
    };
    let generation = reader.status().commit.generation;
    let mut expected = readable(&reader);
    let listed = names(&reader);
    reader.close().unwrap();
    let mut options = case.options(Mode::Append);
    options.durable = false;
    let writer = Coffer::open(&path, options).unwrap();
    assert_eq!(writer.status().commit.generation, generation);
    let end = specimen.states.iter().find(|state| state.generation == generation).unwrap().end;
    let opened = std::fs::read(&path).unwrap();
    write(&writer, "later", b"goes on");
    writer.close().unwrap();
    expected.insert("later".to_owned(), b"goes on".to_vec());
    let reader = case.open(&path, Mode::Read);
    let written = names(&reader);
    assert!(listed.iter().all(|name| written.contains(name)), "{listed:?}, and then {written:?}");
    assert!(readable(&reader) == expected, "something was lost, or came back");
    assert!(!reader.notices().iter().any(|notice| notice.code != "damaged-header"));
    reader.close().unwrap();
    check_kept(specimen, &kept, changed, &opened, end, torn);
}

/// Every byte of a changed file is in the file that was opened for writing, or kept beside it.
fn check_kept(
    specimen: &Specimen,
    kept: &Path,
    changed: &[u8],
    opened: &[u8],
    end: usize,
    torn: bool,
) {
    let footers = specimen.newest().end == end;
    match std::fs::read(kept) {
        Ok(kept) => assert!(changed[end..].ends_with(&kept), "what is kept is something else"),
        // Footers say nothing that is not in their commit, and are written anew.
        Err(_) => assert!(torn || footers || opened.starts_with(changed), "bytes were thrown away"),
    }
}

#[test]
fn a_writer_loses_nothing_to_a_flipped_bit() {
    alone!("a_writer_loses_nothing_to_a_flipped_bit");
    for specimen in specimens() {
        let middles = specimen.middles();
        let flips = one_flip_each(specimen.file.len(), &middles);
        watched::each(&format!("flips and writes, {}", specimen.name), flips, |bench, flip| {
            go_on(&specimen, bench, &flip.apply(&specimen.file, &[]), false);
        });
    }
}

#[test]
fn a_writer_cuts_off_what_is_torn_and_goes_on() {
    alone!("a_writer_cuts_off_what_is_torn_and_goes_on");
    for specimen in specimens() {
        // Every eighth length, and those around each end of a commit and of its footers.
        let ends: Vec<usize> = specimen.pieces().iter().map(|piece| piece.end).collect();
        let cuts = cuts(specimen.file.len()).filter(|cut| {
            let Mutation::Cut(len) = cut else { unreachable!() };
            len % 8 == 0 || ends.iter().any(|end| end.abs_diff(*len) <= 1)
        });
        watched::each(&format!("cuts and writes, {}", specimen.name), cuts, |bench, cut| {
            let Mutation::Cut(len) = cut else { unreachable!() };
            go_on(&specimen, bench, &specimen.file[..len], true);
        });
    }
}

#[test]
fn a_writer_throws_nothing_away_that_was_moved_repeated_or_dropped() {
    alone!("a_writer_throws_nothing_away_that_was_moved_repeated_or_dropped");
    for specimen in specimens() {
        let pieces = specimen.pieces();
        let moves = moves(pieces.len());
        watched::each(&format!("moves and writes, {}", specimen.name), moves, |bench, change| {
            let changed = change.apply(&specimen.file, &pieces);
            go_on(&specimen, bench, &changed, specimen.file.starts_with(&changed));
        });
    }
}
