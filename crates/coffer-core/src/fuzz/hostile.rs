//! Commits that the right key seals and no writer makes: each is refused, and kept in the corpus.

use super::base::{Base, FilePart, directory};
use super::reseal::{self, Forge};
use super::scene::{FuzzScene, KINDS};
use crate::coffer::{Coffer, Mode};
use crate::error::Code;
use crate::format::catalog::{Block, Place};
use crate::format::commit::Commit;

/// Bytes of a footer's body. The last says whether the commit has been scrubbed.
const FOOTER_LEN: usize = 89;

/// Changes the newest commit of a coffer of each kind, and opens that.
fn refused(name: &str, edit: impl Fn(&Base, &mut Commit)) {
    for kind in 0..KINDS as u8 {
        let base = Base::of(kind);
        let commits: Vec<&[u8]> = base
            .parts
            .iter()
            .filter_map(
                |p| if let FilePart::Commit { raw } = &p.part { Some(&**raw) } else { None },
            )
            .collect();
        let index = commits.len() - 1;
        let mut commit = Commit::decode(commits[index]).unwrap();
        edit(&base, &mut commit);
        // No footer says that it has been scrubbed.
        let footers =
            base.parts.iter().filter(|p| matches!(p.part, FilePart::Footer { .. })).count();
        let mut sections: Vec<_> =
            (0..footers).map(|footer| (reseal::FOOTER, footer, vec![0; FOOTER_LEN])).collect();
        sections.push((reseal::COMMIT, index, commit.encode()));
        let case = base.case.clone();
        let mut input = vec![kind, reseal::HONEST | reseal::WRITE | reseal::COMPACT];
        let mut forge = Forge::new(base, true);
        for (layer, index, bytes) in &sections {
            forge.replace(*layer, *index, bytes);
            input.extend([*layer, *index as u8]);
            input.extend((bytes.len() as u16).to_le_bytes());
            input.extend(bytes);
        }
        let kept = directory().join("corpus/reseal").join(format!("hostile-{name}"));
        if kind == 0 && !kept.exists() {
            std::fs::write(kept, &input).unwrap();
        }
        let scene = FuzzScene::new();
        let path = scene.path("hostile.coffer");
        std::fs::write(&path, forge.build()).unwrap();
        for mode in [Mode::Read, Mode::Append] {
            let opened = Coffer::open(&path, case.options(mode)).map(|_| ());
            assert_eq!(opened.unwrap_err().code(), Code::Corrupt, "{name}, kind {kind}");
        }
    }
}

/// A live block of a member.
fn live(base: &Base) -> Block {
    let (_, entry) = base.catalog.iter().filter(|(_, e)| !e.is_directory()).last().unwrap();
    let Place::Packed { block, .. } = entry.place else { unreachable!("the last is small") };
    base.catalog.block(block).unwrap().clone()
}

#[test]
fn a_block_number_that_would_be_given_twice() {
    refused("next-block", |_, commit| commit.next_block = 1);
}

#[test]
fn a_version_that_would_be_given_twice() {
    refused("next-version", |_, commit| commit.next_version = 0);
}

#[test]
fn counts_at_their_end() {
    refused("blocks-end", |_, commit| commit.next_block = u64::MAX);
    refused("versions-end", |_, commit| commit.next_version = u64::MAX);
    refused("dead-end", |_, commit| commit.dead = u64::MAX);
}

#[test]
fn a_live_block_that_is_to_be_scrubbed() {
    refused("scrub-live", |base, commit| commit.scrub.push(live(base)));
}

#[test]
fn the_header_or_a_commit_that_is_to_be_scrubbed() {
    let at = |offset, len| Block { offset, len, frame: len, tar: 0, digest: [0; 32] };
    refused("scrub-header", |_, commit| commit.scrub.push(at(0, 64)));
    refused("scrub-commit", |_, commit| {
        let previous = commit.previous.unwrap();
        commit.scrub.push(at(previous.offset, previous.len as u32));
    });
    refused("scrub-copy", |_, commit| commit.scrub.push(at(commit.header_copy, 64)));
    refused("scrub-later", |_, commit| commit.scrub.push(at(1 << 20, 64)));
    refused("scrub-large", |base, commit| {
        commit.scrub.push(Block { frame: u32::MAX, ..at(base.catalog.root().unwrap().end(), 1) });
    });
}

#[test]
fn one_block_under_two_numbers() {
    refused("twice", |base, commit| {
        commit.blocks.push((commit.next_block, live(base)));
        commit.next_block += 1;
    });
}

#[test]
fn a_piece_of_two_members() {
    refused("shared", |base, commit| {
        let (_, entry) =
            base.catalog.iter().find(|(_, e)| matches!(e.place, Place::Pieces { .. })).unwrap();
        commit.set.push(("other".into(), entry.clone()));
    });
}

#[test]
fn a_member_in_the_root_block() {
    refused("root", |base, commit| {
        let (_, entry) = base.catalog.iter().find(|(_, e)| e.is_directory()).unwrap();
        let mut entry = entry.clone();
        entry.place = Place::Packed { block: 0, at: 512, stored: 0 };
        commit.set.push(("other".into(), entry));
    });
}

#[test]
fn a_root_block_that_is_gone() {
    refused("no-root", |_, commit| commit.dropped.push(0));
}

#[test]
fn a_block_number_or_a_member_twice() {
    refused("number-twice", |base, commit| {
        let offset = base.catalog.root().unwrap().end();
        commit.blocks.push((0, Block { offset, ..live(base) }));
    });
    refused("number-again", |_, commit| {
        let last = commit.blocks.last().cloned().unwrap();
        commit.blocks.push(last);
    });
    refused("set-twice", |_, commit| commit.set.extend(commit.set.last().cloned()));
}

#[test]
fn a_commit_that_contradicts_itself() {
    refused("snapshot-drops", |_, commit| {
        commit.snapshot = true;
        commit.removed.push("gone".into());
    });
    refused("history-order", |_, commit| commit.history = vec![(2, [0; 32]), (1, [0; 32])]);
    refused("history-later", |_, commit| commit.history = vec![(commit.generation, [0; 32])]);
}

#[test]
fn a_directory_with_bytes() {
    refused("directory", |base, commit| {
        let (name, entry) = base.catalog.iter().find(|(_, e)| e.is_directory()).unwrap();
        commit.set.push((name.into(), crate::format::catalog::Entry { size: 5, ..entry }));
    });
}

#[test]
fn a_block_whose_lengths_cannot_be() {
    for (name, by) in [("frame-longer", 1), ("frame-shorter", u32::MAX)] {
        refused(name, |_, commit| {
            let (_, block) = commit.blocks.last_mut().unwrap();
            // Longer than a Fernet chunk is padded.
            block.frame = block.frame.wrapping_add(by.wrapping_mul(17));
        });
    }
    refused("scrub-short", |base, commit| {
        let offset = base.catalog.root().unwrap().end();
        commit.scrub.push(Block { offset, len: 4, frame: 4, tar: 0, digest: [0; 32] });
    });
}
