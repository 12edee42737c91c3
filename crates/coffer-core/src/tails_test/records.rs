//! Which damaged, moved and malformed records opening accepts, keeps or refuses.

use super::scene::ThreeCommits;
use super::{codes, kinds};
use crate::engine::recovery;
use crate::error::Code;
use crate::format::commit::{Commit, Position};
use crate::format::footer::Footer;
use crate::format::frame;
use crate::format::kind::Kind;
use crate::format::record::{self, COMMIT_TAG};

/// The marks of records end in zeros, and a footer of another coffer is none of this one.
#[test]
fn marks_have_their_zeros_and_footers_their_archive() {
    for kind in kinds() {
        let scene = ThreeCommits::new(kind);
        let lead = record::mark_offset(scene.sealed());
        let (newest, end) = scene.commits[2];
        for at in [12, 27] {
            // Of the newest commit: it does not count.
            let mut bytes = scene.bytes.clone();
            bytes[newest.offset as usize + lead + at] = 1;
            let opened = scene.open(&bytes).unwrap();
            assert_eq!(opened.newest.position, scene.commits[1].0);
            assert_eq!(codes(&opened), ["damaged-commit"]);
        }
        // Of its footer: the commit counts without it.
        let mut bytes = scene.bytes.clone();
        bytes[newest.end() as usize + lead + 20] = 1;
        let opened = scene.open(&bytes).unwrap();
        assert_eq!(
            (opened.newest.position, codes(&opened)),
            (newest, vec!["torn-tail", "damaged-footer"])
        );
        // The footer of another archive id is ignored, and makes no tail that must be kept.
        let other =
            Footer { archive: [7; 16], commit: scene.commits[0].0, header_copy: 1, durable: true };
        let mut bytes = scene.bytes.clone();
        other.write(scene.container(), &scene.source.meta, end, &mut bytes);
        let opened = scene.open(&bytes).unwrap();
        assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["torn-tail"]));
    }
}

/// Damage makes a reader go back; an authentic commit that breaks a rule is an error.
#[test]
fn damage_falls_back_and_a_malformed_commit_is_an_error() {
    let scene = ThreeCommits::new(Kind::store());
    let end = scene.bytes.len() as u64;
    // A flag that is neither 0 nor 1, under the right digest.
    let (position, _) = scene.commit_at(end, |_| {});
    let mut commit = recovery::read_commit(&scene.source, &scene.commits[2].0).unwrap();
    commit.generation = position.generation;
    commit.previous = Some(scene.commits[2].0);
    let mut raw = commit.encode();
    let flag = raw.len() - commit_rest(&commit);
    raw[flag] = 2;
    let packed = frame::compress(3, &raw).unwrap();
    let mut body = crate::format::codec::Encoder::default();
    body.raw(&scene.source.archive);
    body.raw(&end.to_le_bytes());
    body.uint(commit.generation);
    body.uint(0);
    body.uint(1);
    body.uint(raw.len() as u64);
    body.raw(&packed);
    let mut tail = Vec::new();
    let mark = record::mark_at(COMMIT_TAG, end);
    record::write(scene.container(), &mark, &scene.source.meta.seal(&body.finish()), &mut tail);
    let position = Position {
        generation: commit.generation,
        offset: end,
        len: tail.len() as u64,
        digest: *blake3::hash(&raw).as_bytes(),
    };
    // Without a footer nothing says that it was committed: it is a tail to keep.
    let opened = scene.open(&scene.with(&tail)).unwrap();
    assert_eq!(
        (opened.newest.position, codes(&opened)),
        (scene.commits[2].0, vec!["damaged-commit"])
    );
    scene.footer_at(end + tail.len() as u64, position, &mut tail);
    let error = scene.open(&scene.with(&tail)).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.message().contains("malformed"), "{}", error.message());
}

/// The bytes of a commit from its first flag on.
fn commit_rest(commit: &Commit) -> usize {
    let mut e = crate::format::codec::Encoder::default();
    e.raw(&commit.archive);
    e.uint(commit.generation);
    e.raw(&commit.header);
    e.uint(commit.header_copy);
    commit.encode().len() - e.finish().len()
}

/// What a commit's *previous* names must verify, however good the newest commit is.
#[test]
fn a_damaged_previous_commit_is_an_error_and_no_older_state() {
    for kind in kinds() {
        let scene = ThreeCommits::new(kind);
        let mut bytes = scene.bytes.clone();
        bytes[scene.commits[1].0.end() as usize - 1] ^= 1;
        let error = scene.open(&bytes).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
    }
}

/// A record of this coffer that opens makes a tail one that must be kept, with any offset in its mark.
#[test]
fn a_record_that_opens_makes_a_tail_authentic_and_a_copy_of_the_footer_does_not() {
    for kind in kinds() {
        let scene = ThreeCommits::new(kind);
        let newest = scene.commits[2].0;
        let end = scene.bytes.len();
        let lead = record::mark_offset(scene.sealed());
        let commit = &scene.bytes[newest.offset as usize..newest.end() as usize];
        let footer = &scene.bytes[newest.end() as usize..];
        for moved in [commit, footer] {
            let tail = [&[0x5A; 100][..], moved].concat();
            let opened = scene.open(&scene.with(&tail)).unwrap();
            assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));
            // Its mark is in clear, so it can be corrected without a key.
            let mut tail = tail;
            let at = (end + 100) as u64;
            tail[100 + lead + 4..100 + lead + 12].copy_from_slice(&at.to_le_bytes());
            let opened = scene.open(&scene.with(&tail)).unwrap();
            assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));
        }
        let mut tail = vec![0x5A; 100];
        scene.footer_at((end + 100) as u64, newest, &mut tail);
        let opened = scene.open(&scene.with(&tail)).unwrap();
        assert_eq!((opened.newest.end, codes(&opened)), (end as u64, vec!["torn-tail"]));
    }
}
