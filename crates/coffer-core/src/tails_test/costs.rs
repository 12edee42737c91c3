//! The cost of opening a coffer with hostile bytes behind its end.

use super::scene::ThreeCommits;
use super::{codes, kinds};
use crate::engine::recovery;
use crate::error::Code;
use crate::format::commit::{Position, UnsyncedPrefix};
use crate::format::footer::Footer;
use crate::format::frame;
use crate::format::kind::Kind;
use crate::format::record::{self, COMMIT_TAG, FOOTER_TAG, MARK, MetaSeal, SALT_TAG};

const TAIL: usize = 256 << 10;

#[test]
fn a_tail_of_marks_costs_no_more_than_a_few_times_its_bytes() {
    for kind in kinds() {
        let scene = ThreeCommits::new(kind);
        let footer = Footer::len(scene.container(), &scene.source.meta);
        for tag in [COMMIT_TAG, FOOTER_TAG] {
            // With their own offsets, as records of the greatest length and of a footer's; then with
            // other offsets.
            for (len, away) in [(250_000, 0), (footer, 0), (250_000, 8), (footer, 8), (100, 0)] {
                for step in [0, 64, len] {
                    let tail = scene.fakes(tag, len, step, away, TAIL);
                    let what = format!("records of {len} bytes, {away} away, every {step}");
                    let opened = scene.expect_cost(&what, &scene.with(&tail), 3, 12).unwrap();
                    assert_eq!(opened.newest.position, scene.commits[2].0);
                    assert_eq!(codes(&opened), ["torn-tail"], "{what}");
                }
            }
        }
    }
}

#[test]
fn a_file_without_any_commit_costs_no_more_than_a_few_times_its_bytes() {
    for kind in kinds() {
        let scene = ThreeCommits::new(kind);
        let first = scene.commits[0].0.offset as usize;
        for (tag, len) in [(COMMIT_TAG, 250_000), (FOOTER_TAG, 250_000), (SALT_TAG, 100)] {
            let tail = scene.fakes(tag, len, 0, 0, TAIL);
            let mut bytes = scene.with(&tail);
            bytes[first..scene.bytes.len()].fill(7);
            let opened = scene.expect_cost("no commit", &bytes, 5, 14);
            assert_eq!(opened.map(|_| ()).unwrap_err().code(), Code::Corrupt);
        }
    }
}

/// In a Null all of this can be made without a key, in a Store with its key.
#[test]
fn authentic_records_behind_the_end_cost_no_more_than_a_few_times_their_bytes() {
    for kind in [Kind::null(), Kind::store()] {
        let scene = ThreeCommits::new(kind);
        let end = scene.bytes.len() as u64;
        let newest = scene.commits[2].0;
        // Whole commits that would be the next, but follow another one.
        let mut tail = Vec::new();
        while tail.len() < TAIL {
            let (_, bytes) = scene.commit_at(end + tail.len() as u64, |commit| {
                commit.previous = Some(Position { digest: [7; 32], ..newest });
                commit.removed = (0..1000).map(|i| format!("{i:010}").into()).collect();
            });
            tail.extend(bytes);
        }
        let opened = scene.expect_cost("strangers", &scene.with(&tail), 6, 12).unwrap();
        assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));

        // One commit that is damaged, and footers that name it.
        let (position, mut tail) = scene.commit_at(end, |commit| {
            commit.removed =
                (0..50_000_u64).map(|i| format!("{:x}", i * i * 7919).into()).collect();
        });
        let at = tail.len() - 1;
        tail[at] ^= 1;
        let named = tail.len();
        while tail.len() < named * 4 {
            scene.footer_at(end + tail.len() as u64, position, &mut tail);
        }
        let opened = scene.expect_cost("one for many", &scene.with(&tail), 6, 12).unwrap();
        assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));

        // A good commit, and footers with wrong digests of it.
        tail[at] ^= 1;
        tail.truncate(named);
        while tail.len() < named * 4 {
            let wrong = Position { digest: *blake3::hash(&tail).as_bytes(), ..position };
            scene.footer_at(end + tail.len() as u64, wrong, &mut tail);
        }
        let opened = scene.expect_cost("many for one", &scene.with(&tail), 20, 12).unwrap();
        assert_eq!(
            (opened.newest.position, codes(&opened)),
            (position, vec!["damaged-commit", "damaged-footer"])
        );

        // Commits that a crash kept from being whole, and whose predecessors are damaged, too.
        let mut tail = vec![0x5A; 1 << 20];
        while tail.len() < (1 << 20) + TAIL {
            let offset = end + tail.len() as u64;
            let (position, bytes) = scene.commit_at(offset, |commit| {
                commit.previous = Some(Position { digest: [7; 32], ..newest });
                commit.ahead = Some(UnsyncedPrefix { len: 1 << 20, digest: [7; 32] });
            });
            tail.extend(bytes);
            scene.footer_at(end + tail.len() as u64, position, &mut tail);
        }
        let _ = scene.expect_cost("not whole", &scene.with(&tail), 6, 12);
    }
}

/// In a Null a part can hold another one, and that one a third.
#[test]
fn parts_within_parts_are_no_parts() {
    let scene = ThreeCommits::new(Kind::null());
    let end = scene.bytes.len() as u64;
    let meta = MetaSeal::new(None);
    let head = frame::SKIPPABLE_HEADER + MARK + 32;
    let mut inner = Vec::new();
    let depth = 1000;
    for level in (0..depth).rev() {
        let offset = end + (level * 100) as u64;
        let mut body = scene.source.archive.to_vec();
        body.extend(offset.to_le_bytes());
        body.extend([4, 0, 1, 10]);
        // The next one begins 100 bytes behind this one.
        body.resize(100 - head, 0x5A);
        body.extend(&inner);
        inner.clear();
        record::write(None, &record::mark_at(COMMIT_TAG, offset), &meta.seal(&body), &mut inner);
    }
    let opened = scene.expect_cost("nested parts", &scene.with(&inner), 3, 12).unwrap();
    assert_eq!(opened.newest.position, scene.commits[2].0);
    // The innermost part is valid.
    assert_eq!(codes(&opened), ["damaged-commit"]);
    let outermost = crate::format::commit_parts::read_part(&inner, end, None, &meta);
    assert!(outermost.is_none());
}

/// Without a key every commit in a file can be damaged and its footers left.
#[test]
fn footers_of_damaged_commits_cost_no_more_than_a_few_times_the_file() {
    for kind in [Kind::store(), Kind::null()] {
        let scene = ThreeCommits::new(kind);
        let mut bytes = scene.bytes.clone();
        let mut last = scene.commits[2].0;
        while bytes.len() < TAIL {
            let (position, parts) = scene.commit_at(bytes.len() as u64, |commit| {
                commit.generation = last.generation + 1;
                commit.previous = Some(last);
            });
            bytes.extend(parts);
            scene.footer_at(bytes.len() as u64, position, &mut bytes);
            let end = position.end() as usize;
            bytes[end - 1] ^= 1;
            last = position;
        }
        let opened = scene.expect_cost("damaged commits", &bytes, 4, 6).unwrap();
        assert_eq!(opened.newest.position, scene.commits[2].0);
        assert_eq!(codes(&opened), ["damaged-commit"]);
    }
}

#[test]
fn copies_of_the_header_are_tried_at_a_bounded_cost() {
    for kind in kinds() {
        let scene = ThreeCommits::new(kind);
        let mut tail = Vec::new();
        let footer = Footer::len(scene.container(), &scene.source.meta);
        // Each fake footer names another copy, and at each there is a header that does not open.
        let first = scene.commits[0].0.offset as usize;
        let copy = recovery::read_commit(&scene.source, &scene.commits[0].0).unwrap().header_copy;
        let header = &scene.bytes[copy as usize..first];
        while tail.len() < TAIL {
            let at = scene.bytes.len() + tail.len();
            let mut false_header = header.to_vec();
            *false_header.last_mut().unwrap() ^= 1;
            tail.extend(false_header);
            let offset = (scene.bytes.len() + tail.len()) as u64;
            let mut mark = record::mark_at(FOOTER_TAG, offset);
            mark[12..20].copy_from_slice(&(at as u64).to_le_bytes());
            let start = tail.len();
            tail.extend(scene.framing(footer));
            tail.extend(mark);
            tail.resize(start + footer, 0x5A);
        }
        let mut bytes = scene.with(&tail);
        bytes[40] ^= 1;
        let opened = scene.expect_cost("header copies", &bytes, 4, 14).unwrap();
        assert_eq!(codes(&opened), ["torn-tail", "damaged-header"]);
    }
}
