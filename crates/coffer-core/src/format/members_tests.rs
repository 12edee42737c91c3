//! The members of a catalog, compared with a map; what they take in memory; and checks in spans.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use proptest::prelude::*;

use super::catalog::{Block, Catalog, Entry, Piece, Place};
use super::commit::{Commit, Loading};
use super::member::{Attributes, MemberType};
use super::members::MemberRows;
use crate::error::Code;

fn commit(removed: Vec<Arc<str>>, set: Vec<(Arc<str>, Entry)>) -> Commit {
    Commit {
        archive: [1; 16],
        generation: 1,
        header: [2; 56],
        header_copy: 0,
        previous: None,
        snapshot: removed.is_empty(),
        next_block: 1 << 20,
        next_version: 1 << 40,
        dead: 0,
        dropped: Vec::new(),
        blocks: Vec::new(),
        removed,
        set,
        rows: MemberRows::default(),
        scrub: Vec::new(),
        history: Vec::new(),
        ahead: None,
        raw_len: 0,
        well_cut: true,
    }
}

/// The commit as a reader has it.
fn read(commit: &Commit) -> Commit {
    Commit::read(&commit.encode()).unwrap()
}

fn entry(version: u64, large: bool) -> Entry {
    let block = 1 + version % 5;
    let place = if large {
        let pieces = Arc::new(vec![Piece { block: block + 10, raw: 3, stored: 4 }]);
        Place::Pieces { header: block, pieces }
    } else {
        Place::Packed { block, at: 512, stored: 7 }
    };
    let attributes = Attributes {
        mode: 0o644,
        mtime_s: 1_764_000_000,
        mtime_ns: (version % 1_000_000_000) as u32,
    };
    Entry { version, member_type: MemberType::File, size: 100, attributes, place }
}

/// What is done with a catalog: a commit that is read, with what it removes and sets, or single changes.
#[derive(Debug, Clone)]
enum Step {
    Read(Vec<u8>, Vec<(u8, bool)>),
    Set(u8, bool),
    Remove(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let name = 0u8..40;
    let read = (
        proptest::collection::vec(name.clone(), 0..6),
        proptest::collection::vec((name.clone(), any::<bool>()), 0..30),
    );
    let step = prop_oneof![
        2 => read.prop_map(|(removed, set)| Step::Read(removed, set)),
        3 => (name.clone(), any::<bool>()).prop_map(|(name, large)| Step::Set(name, large)),
        2 => name.prop_map(Step::Remove),
    ];
    proptest::collection::vec(step, 1..20)
}

fn name(number: u8) -> Arc<str> {
    format!("d{}/{}", number % 3, number / 3).into()
}

fn same(catalog: &Catalog, model: &BTreeMap<Arc<str>, Entry>) {
    let all: Vec<_> = catalog.iter().map(|(name, entry)| (Arc::from(name), entry)).collect();
    assert_eq!(all, model.clone().into_iter().collect::<Vec<_>>());
    assert_eq!(catalog.len(), model.len());
    for number in 0..40 {
        let name = name(number);
        assert_eq!(catalog.get(&name), model.get(&name).cloned(), "{name}");
        let behind = catalog.page("d", Some(&name)).next().map(|(name, _)| Arc::from(name));
        let bounds = (Bound::Excluded(name.clone()), Bound::Unbounded);
        assert_eq!(behind, model.range(bounds).next().map(|(name, _)| name.clone()));
    }
    for block in 0..8 {
        let of_block = |(name, entry): (&Arc<str>, &Entry)| match entry.place {
            Place::Packed { block: id, .. } if id == block => Some(name.clone()),
            _ => None,
        };
        let live: Vec<_> = model.iter().filter_map(of_block).collect();
        assert_eq!(catalog.live_in_pack(block), live, "block {block}");
    }
}

proptest! {
    #[test]
    fn members_are_what_commits_and_changes_make_them(steps in steps()) {
        let (mut catalog, mut model, mut version) = (Catalog::default(), BTreeMap::new(), 0);
        let mut entry = |large| {
            version += 1;
            entry(version, large)
        };
        for step in steps {
            match step {
                Step::Read(removed, set) => {
                    let removed: Vec<_> = removed.into_iter().map(name).collect();
                    let set: BTreeMap<_, _> =
                        set.into_iter().map(|(number, large)| (name(number), entry(large))).collect();
                    removed.iter().for_each(|name| { model.remove(name); });
                    model.extend(set.clone());
                    let mut loading = Loading::behind(catalog);
                    loading.apply(&mut read(&commit(removed, set.into_iter().collect())));
                    catalog = loading.finish();
                }
                Step::Set(number, large) => {
                    let entry = entry(large);
                    let old = model.insert(name(number), entry.clone());
                    prop_assert_eq!(catalog.set(name(number), entry), old);
                }
                Step::Remove(number) => {
                    prop_assert_eq!(catalog.remove(&name(number)), model.remove(&name(number)));
                }
            }
            same(&catalog, &model);
        }
    }

    #[test]
    fn commits_that_are_read_together_add_up(
        commits in proptest::collection::vec(
            (
                proptest::collection::vec(0u8..40, 0..6),
                proptest::collection::vec((0u8..40, any::<bool>()), 0..30),
            ),
            1..8,
        ),
    ) {
        let (mut loading, mut model, mut version) = (Loading::default(), BTreeMap::new(), 0);
        for (removed, set) in commits {
            let removed: Vec<_> = removed.into_iter().map(name).collect();
            let mut listed = BTreeMap::new();
            for (number, large) in set {
                version += 1;
                listed.insert(name(number), entry(version, large));
            }
            removed.iter().for_each(|name| { model.remove(name); });
            model.extend(listed.clone());
            loading.apply(&mut read(&commit(removed, listed.into_iter().collect())));
        }
        same(&loading.finish(), &model);
    }
}

#[test]
fn a_member_of_a_commit_takes_its_encoding_and_eight_bytes() {
    let count = 10_000u64;
    let set = (0..count).map(|n| (format!("records/2026/{n:06}.json").into(), entry(n, false)));
    let mut whole = read(&commit(Vec::new(), set.collect()));
    let delta: Vec<_> = (0..100u64)
        .map(|n| (format!("records/2026/{n:06}.json").into(), entry(n, false)))
        .collect();
    let mut delta = read(&commit(Vec::new(), delta));
    let encoded = (whole.raw_len + delta.raw_len) as usize;
    let mut loading = Loading::default();
    loading.apply(&mut whole);
    loading.apply(&mut delta);
    let catalog = loading.finish();
    assert_eq!(catalog.len() as u64, count);
    let memory = catalog.members_memory();
    assert!(memory <= encoded + 8 * catalog.len() + 1024, "{memory} bytes for {encoded} encoded");
}

/// A catalog whose members are packed in one block.
fn packed(names: &[&str]) -> Catalog {
    let set = names.iter().map(|name| ((*name).into(), entry(5, false))).collect();
    let mut commit = commit(Vec::new(), set);
    let block = Block { offset: 0, len: 8, frame: 8, tar: 4096, digest: [0; 32] };
    commit.blocks = vec![(0, block.clone()), (1, block)];
    let mut loading = Loading::default();
    loading.apply(&mut read(&commit));
    loading.finish()
}

fn checked(catalog: &Catalog, most: usize) -> Result<(), Code> {
    let spans = catalog.spans(most);
    assert!(spans.len() <= most);
    let held = spans.iter().map(|span| catalog.check_members(span)).collect::<Result<_, _>>();
    held.and_then(Catalog::check_held).map_err(|e| e.code())
}

#[test]
fn a_file_that_is_a_directory_is_found_wherever_spans_begin() {
    let all: Vec<String> = (0..30).map(|n| format!("a-{n:02}")).collect();
    let mut names: Vec<&str> = all.iter().map(String::as_str).collect();
    names.push("a");
    names.sort_unstable();
    for most in 1..9 {
        let catalog = packed(&names);
        assert!(catalog.spans(most).len() == most.min(31 / 4));
        assert_eq!(checked(&catalog, most), Ok(()));
        let mut with = names.clone();
        with.push("a/b");
        assert_eq!(checked(&packed(&with), most), Err(Code::Corrupt), "{most}");
    }
}

#[test]
fn every_member_is_checked_in_some_span() {
    let all: Vec<String> = (0..30).map(|n| format!("m{n:02}")).collect();
    let names: Vec<&str> = all.iter().map(String::as_str).collect();
    for bad in 0..30 {
        let mut names = names.clone();
        let long = "x".repeat(256);
        let wrong = format!("{}/{long}", names[bad]);
        names[bad] = &wrong;
        for most in [1, 2, 5] {
            assert_eq!(checked(&packed(&names), most), Err(Code::Corrupt), "{bad} of {most}");
        }
    }
}
