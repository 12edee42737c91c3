//! Coffers that are read after their bytes were changed.

use std::path::Path;

use coffer_core::coffer::{Coffer, Mode, Selection};
use coffer_core::error::{Code, Error, Result};
use coffer_core::progress::CallObserver;

use super::mutation::{Mutation, cuts, flips, moves, rotating};
use super::specimen::{Region, Specimen, State, specimens};
use super::watched::{self, Bench};
use crate::support::names;

/// A coffer that opened, and of which everything it gave was compared with what is right.
pub struct Look<'a> {
    coffer: Coffer,
    pub state: &'a State,
    pub notices: Vec<&'static str>,
    /// Members that could not be read.
    pub damaged: Vec<String>,
}

/// Opens a file and reads every member. No byte is wrong, whatever was done to the file; where it
/// does not open, the error says that it is damaged.
pub fn look<'a>(specimen: &'a Specimen, path: &Path) -> Option<Look<'a>> {
    let coffer = match Coffer::open(path, specimen.case.options(Mode::Read)) {
        Ok(coffer) => coffer,
        Err(e) => {
            assert_damage(&e, "open");
            return None;
        }
    };
    let generation = coffer.status().commit.generation;
    let state = specimen.states.iter().find(|state| state.generation == generation).unwrap();
    let listed: Vec<_> = state.members.keys().cloned().collect();
    assert_eq!(names(&coffer), listed, "at commit {generation}");
    let mut damaged = Vec::new();
    for (name, right) in &state.members {
        match coffer.read(name) {
            Ok(data) => assert!(data == *right, "{name}: wrong bytes"),
            Err(e) => {
                assert_damage(&e, name);
                damaged.push(name.clone());
            }
        }
    }
    let notices = coffer.notices().iter().map(|notice| notice.code).collect();
    Some(Look { coffer, state, notices, damaged })
}

impl Look<'_> {
    /// Whether verification finds everything sound, which it does not where a member is damaged.
    pub fn is_sound(&self) -> bool {
        let verified = self.coffer.verify(&CallObserver::silent());
        let sound = verified.inspect_err(|e| assert_damage(e, "verify")).is_ok();
        assert!(self.damaged.is_empty() || !sound, "verify has not seen {:?}", self.damaged);
        sound
    }

    /// Whether anybody is told of anything.
    pub fn is_noticed(&self) -> bool {
        !self.notices.is_empty() || !self.is_sound()
    }

    /// Checks what is released before an error: of ranges, and on the disk.
    pub fn check_released(&self, bench: &Bench) {
        check_ranges(&self.coffer, self.state, &self.damaged);
        check_extraction(&self.coffer, self.state, &self.damaged, bench);
    }
}

fn assert_damage(error: &Error, what: &str) {
    assert_eq!(error.code(), Code::Corrupt, "{what}: {error:?}");
}

/// What is released of a member piece by piece, before an error or to the end.
fn released(coffer: &Coffer, name: &str) -> (Vec<u8>, Result<()>) {
    let mut out = Vec::new();
    loop {
        match coffer.read_on(name, out.len() as u64, 64, 20_000, None) {
            Ok(range) if range.bytes.is_empty() => return (out, Ok(())),
            Ok(range) => out.extend(range.bytes),
            Err(e) => return (out, Err(e)),
        }
    }
}

fn check_ranges(coffer: &Coffer, state: &State, damaged: &[String]) {
    for (name, right) in &state.members {
        let (bytes, end) = released(coffer, name);
        assert!(right.starts_with(&bytes), "{name}: wrong bytes were released");
        assert_eq!(end.is_err(), damaged.contains(name), "{name}: {end:?}");
        assert!(end.is_err() || bytes == *right, "{name}: it ended early, and nobody said so");
    }
}

/// Nothing wrong and nothing partial has the name of a member, in place of nothing or of a file.
fn check_extraction(coffer: &Coffer, state: &State, damaged: &[String], bench: &Bench) {
    let target = bench.empty("target");
    let result = coffer.extract(&Selection::All.into(), &target, &CallObserver::silent());
    assert_eq!(result.is_ok(), damaged.is_empty(), "{result:?}");
    for (name, right) in &state.members {
        match std::fs::read(target.join(name)) {
            Ok(data) => assert!(data == *right, "{name}: extracted wrong or in part"),
            Err(_) => assert!(result.is_err(), "{name} is missing"),
        }
    }
    let mut there = files_below(&target);
    there.retain(|name| !state.members.contains_key(name));
    assert!(there.is_empty(), "{there:?} were left");
    if let Some(name) = damaged.first() {
        let only = Selection::Exactly(vec![name.clone()]).into();
        let place = target.join(name);
        std::fs::create_dir_all(place.parent().unwrap()).unwrap();
        std::fs::write(&place, b"before").unwrap();
        coffer.extract(&only, &target, &CallObserver::silent()).unwrap_err();
        assert_eq!(std::fs::read(&place).unwrap(), b"before", "{name} was replaced");
    }
}

/// The files below a directory, by their names relative to it.
fn files_below(directory: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files_below(&path).into_iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found
}

/// What a flipped bit may do depends on the region that it is in, and on nothing else.
fn check_region(specimen: &Specimen, region: Region, look: Option<&Look<'_>>) {
    let newest = |look: &Look<'_>| look.state.generation == specimen.newest().generation;
    let Some(look) = look else {
        let all = region == Region::EarlierCommit
            || (region == Region::NewestCommit && specimen.states.len() == 1);
        assert!(all, "the coffer does not open, though only a part of it is damaged");
        return;
    };
    assert!(newest(look) || region == Region::NewestCommit, "it opened at an earlier commit");
    let elsewhere = region != Region::Data && newest(look);
    assert!(look.damaged.is_empty() || !elsewhere, "{:?} are damaged", look.damaged);
    match region {
        Region::Unused => assert!(look.notices.is_empty(), "{:?}", look.notices),
        Region::Header => assert_eq!(look.notices, ["damaged-header"]),
        Region::Data => {
            assert!(look.notices.is_empty(), "{:?}", look.notices);
            assert!(!look.damaged.is_empty() || !look.is_sound(), "nobody is told");
            // The compacted coffer has all its members in one block, the others each in its own.
            let shared = if specimen.states.len() == 1 { look.state.members.len() } else { 1 };
            assert!([0, shared].contains(&look.damaged.len()), "{:?} are damaged", look.damaged);
        }
        Region::EarlierCommit => panic!("it opened without a commit that later ones build on"),
        Region::NewestCommit => {
            assert!(look.notices.contains(&"damaged-commit"), "{:?}", look.notices);
            assert_eq!(look.state.generation + 1, specimen.newest().generation);
            assert_eq!(look.damaged, overwritten(specimen, look.state));
        }
        Region::NewestFooter => assert!(!look.notices.is_empty(), "nobody is told"),
    }
}

/// The members of a state that were overwritten since: what is deleted is gone, also from the past.
fn overwritten(specimen: &Specimen, state: &State) -> Vec<String> {
    let newest = &specimen.newest().members;
    let gone = state.members.iter().filter(|(name, data)| newest.get(*name) != Some(data));
    gone.map(|(name, _)| name.clone()).collect()
}

/// Whether a commit, where the file is cut behind it, looks as if what was written together with it
/// had not reached the disk: it only added, and a later one has overwritten that.
fn looks_unfinished(specimen: &Specimen, last: usize) -> bool {
    let state = &specimen.states[last];
    let Some(before) = last.checked_sub(1).map(|before| &specimen.states[before]) else {
        return false;
    };
    let added = |name: &String| !before.members.contains_key(name);
    overwritten(specimen, state).iter().any(added)
}

#[test]
fn every_flipped_bit_costs_what_it_is_in_and_no_more() {
    alone!("every_flipped_bit_costs_what_it_is_in_and_no_more");
    for specimen in specimens() {
        let middles = specimen.middles();
        let flips = flips(specimen.file.len(), &middles);
        watched::each(&format!("flips, {}", specimen.name), flips, |bench, flip| {
            let Mutation::Flip { at, bit } = flip else { unreachable!() };
            let path = bench.file("box", &flip.apply(&specimen.file, &[]));
            let region = specimen.region(at);
            let look = look(&specimen, &path);
            check_region(&specimen, region, look.as_ref());
            let Some(look) = look.filter(|_| bit == rotating(at)) else { return };
            assert!(look.is_sound() || matches!(region, Region::Data | Region::NewestCommit));
            if region == Region::Data {
                look.check_released(bench);
            }
        });
    }
}

#[test]
fn a_coffer_cut_anywhere_opens_at_its_last_whole_commit() {
    alone!("a_coffer_cut_anywhere_opens_at_its_last_whole_commit");
    for specimen in specimens() {
        let cuts = cuts(specimen.file.len());
        watched::each(&format!("cuts, {}", specimen.name), cuts, |bench, cut| {
            let Mutation::Cut(len) = cut else { unreachable!() };
            let path = bench.file("box", &specimen.file[..len]);
            let whole = specimen.states.iter().rposition(|state| state.end <= len);
            let last = whole.map(|last| last - usize::from(looks_unfinished(&specimen, last)));
            let look = look(&specimen, &path);
            let generation = look.as_ref().map(|look| look.state.generation);
            assert_eq!(generation, last.map(|last| specimen.states[last].generation));
            let Some(look) = look else { return };
            assert!(last == whole || look.notices == ["damaged-commit"], "{:?}", look.notices);
            assert_eq!(look.damaged, overwritten(&specimen, look.state));
            if len % 16 == 0 {
                look.check_released(bench);
            }
        });
    }
}

#[test]
fn every_chunk_moved_repeated_or_dropped_is_noticed() {
    alone!("every_chunk_moved_repeated_or_dropped_is_noticed");
    for specimen in specimens() {
        let pieces = specimen.pieces();
        let moves = moves(pieces.len());
        watched::each(&format!("moves, {}", specimen.name), moves, |bench, change| {
            let changed = change.apply(&specimen.file, &pieces);
            if changed == specimen.file {
                return;
            }
            let Some(look) = look(&specimen, &bench.file("box", &changed)) else { return };
            look.check_released(bench);
            let cut = specimen.file.starts_with(&changed);
            if look.state.generation < specimen.newest().generation {
                assert!(cut || look.notices.contains(&"damaged-commit"), "{:?}", look.notices);
            }
            // The header and its copies say the same, and what nobody reads may be anything.
            let region = |piece: &usize| specimen.region(pieces[*piece].start);
            let harmless = |piece| matches!(region(piece), Region::Header | Region::Unused);
            let in_place = changed.len() == specimen.file.len();
            let like = in_place && change.pieces().iter().all(harmless);
            assert!(cut || like || look.is_noticed(), "nobody is told");
        });
    }
}
