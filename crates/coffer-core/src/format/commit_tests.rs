//! Commits written and read again, and what malformed ones cost.

use super::commit::*;
use super::commit_parts::*;
use crate::error::Code;
use crate::error::Result;
use crate::format::catalog::Block;
use crate::format::catalog::Catalog;
use crate::format::catalog::Entry;
use crate::format::catalog::Piece;
use crate::format::catalog::Place;
use crate::format::member::Attributes;
use crate::format::member::MemberType;
use crate::format::members::MemberRows;
use crate::format::record::HEADER_MARKS;
use crate::format::record::MetaSeal;
use std::sync::Arc;

fn commit(set: Vec<(Arc<str>, Entry)>, removed: Vec<Arc<str>>) -> Commit {
    let header: [u8; HEADER_MARKS] = crate::crypto::key::random_bytes();
    Commit {
        archive: crate::crypto::key::random_bytes(),
        generation: 7,
        header,
        header_copy: 442,
        previous: None,
        snapshot: removed.is_empty(),
        next_block: 1 << 20,
        next_version: 1 << 20,
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

/// An empty member, as one of many in packs.
fn packed(number: u64) -> Entry {
    Entry {
        version: number,
        member_type: MemberType::File,
        size: 0,
        attributes: Attributes { mode: 0o644, mtime_s: 1_700_000_000, mtime_ns: 0 },
        place: Place::Packed {
            block: 1 + number / 256,
            at: (512 * (number % 256) + 512) as u32,
            stored: 0,
        },
    }
}

/// The parts of what `raw` is compressed to, at an offset, and the length of that.
fn parts(commit: &Commit, raw: &[u8], offset: u64) -> (Vec<CommitPart>, usize) {
    let packed = crate::format::frame::compress(LEVEL, raw).unwrap();
    let count = packed.len().div_ceil(PART) as u32;
    let part = |(index, bytes): (usize, &[u8])| CommitPart {
        offset,
        archive: commit.archive,
        generation: commit.generation,
        index: index as u32,
        count,
        raw_len: raw.len() as u64,
        bytes: bytes.to_vec(),
    };
    (packed.chunks(PART).enumerate().map(part).collect(), packed.len())
}

fn read(commit: &Commit, offset: u64, most: u64) -> (Result<Commit>, usize) {
    let (parts, packed) = parts(commit, &commit.encode(), offset);
    let read = assemble(&parts.iter().collect::<Vec<_>>(), most);
    (read.map(|(commit, _)| commit), packed)
}

fn code(read: (Result<Commit>, usize)) -> Option<Code> {
    read.0.err().map(|e| e.code())
}

#[test]
fn the_most_regular_commits_of_a_writer_are_far_from_the_bounds() {
    let names: [fn(u64) -> Arc<str>; 2] =
        [|n| format!("{n:06x}").into(), |n| format!("{}/{n:06}", "long/".repeat(700)).into()];
    for name in names {
        let count = if name(0).len() > 99 { 2_000 } else { 100_000 };
        let set: Vec<_> = (0..count).map(|n| (name(n), packed(n))).collect();
        let (one, packed) = read(&commit(set, Vec::new()), 1 << 30, u64::MAX);
        let one = one.unwrap();
        assert_eq!(one.rows.len() as u64, count);
        let raw = one.raw_len;
        println!("{count} members: {raw} bytes, compressed {packed}");
        assert!(count * 2 < packed as u64, "{count} members in {packed} bytes");
        assert!(raw < packed as u64 * MAX_RATIO / 2, "{raw} in {packed} bytes");
    }
}

#[test]
fn more_than_a_file_can_hold_is_refused() {
    let refused = Some(Code::Corrupt);
    // The same member again and again.
    let set: Vec<_> = (0..100_000).map(|_| ("a".into(), packed(1))).collect();
    assert_eq!(code(read(&commit(set, Vec::new()), 1 << 30, u64::MAX)), refused);
    let names: Vec<Arc<str>> = vec!["a".into(); 1_000_000];
    assert_eq!(code(read(&commit(Vec::new(), names), 1 << 30, u64::MAX)), refused);
    // Blocks, whatever they are for, take up room in the file.
    let block = Block { offset: 8, len: 8, frame: 8, tar: 0, digest: [0; 32] };
    let pieces = vec![Piece { block: 1, raw: 0, stored: 0 }; 601];
    let place = Place::Pieces { header: 1, pieces: Arc::new(pieces) };
    let large = Entry { place, ..packed(1) };
    let with: [fn(&mut Commit, &Block, &Entry); 5] = [
        |c, _, _| c.dropped = vec![1; 1_001],
        |c, b, _| c.blocks = vec![(1, b.clone()); 1_001],
        |c, b, _| c.scrub = vec![b.clone(); 1_001],
        |c, _, e| c.set = vec![("a".into(), e.clone()), ("b".into(), e.clone())],
        |c, _, _| c.history = vec![(1, [0; 32]); MAX_HISTORY + 1],
    ];
    for (index, fill) in with.iter().enumerate() {
        let mut bomb = commit(Vec::new(), Vec::new());
        fill(&mut bomb, &block, &large);
        assert_eq!(code(read(&bomb, 8_000, u64::MAX)), refused, "{index}");
        let larger = if index == 4 { refused } else { None };
        assert_eq!(code(read(&bomb, 10_000, u64::MAX)), larger, "{index}");
    }
}

#[test]
fn a_length_that_no_compression_gives_is_refused_before_anything_is_decompressed() {
    let one = commit(Vec::new(), Vec::new());
    let (mut parts, packed) = parts(&one, &one.encode(), 1 << 30);
    for part in &mut parts {
        part.raw_len = packed as u64 * MAX_RATIO + MIN_RAW + 1;
    }
    let error = assemble(&parts.iter().collect::<Vec<_>>(), u64::MAX).unwrap_err();
    assert!(error.message().contains("impossible for its compressed bytes"), "{error:?}");
}

#[test]
fn a_caller_allows_so_much_and_no_more() {
    let set: Vec<_> = (0..1_000).map(|n| (format!("{n}").into(), packed(n))).collect();
    let one = commit(set, Vec::new());
    let len = one.encode().len() as u64;
    assert_eq!(code(read(&one, 1 << 30, len)), None);
    assert_eq!(code(read(&one, 1 << 30, len - 1)), Some(Code::TooLarge));
}

#[test]
fn what_says_that_a_number_or_a_name_counts_twice_does_not_follow() {
    let mut before = Catalog::default();
    (before.next_block, before.next_version) = (5, 9);
    let delta = |edit: fn(&mut Commit)| {
        let mut commit = commit(Vec::new(), vec!["gone".into(), "gone".into()]);
        (commit.next_block, commit.next_version) = (7, 9);
        let block = Block { offset: 0, len: 8, frame: 8, tar: 0, digest: [0; 32] };
        commit.blocks = vec![(6, block.clone()), (5, block)];
        commit.set = vec![("b".into(), packed(1)), ("a".into(), packed(2))];
        edit(&mut commit);
        read(&commit, 1 << 30, u64::MAX).0.unwrap().check_after(&before)
    };
    delta(|_| {}).unwrap();
    delta(|c| c.next_block = 4).unwrap_err();
    delta(|c| c.next_version = 8).unwrap_err();
    delta(|c| c.blocks[1].0 = 4).unwrap_err();
    delta(|c| c.blocks[1].0 = 6).unwrap_err();
    delta(|c| c.set[1].0 = "b".into()).unwrap_err();
    // A snapshot begins anew.
    delta(|c| {
        c.snapshot = true;
        c.blocks[1].0 = 4;
    })
    .unwrap();
}

#[test]
fn parts_are_cut_as_a_writer_cuts_them() {
    let one = commit(Vec::new(), vec!["a".into()]);
    let (parts, packed) = parts(&one, &one.encode(), 1 << 30);
    let [whole] = &parts[..] else { panic!("it has one part") };
    let cut = |at: usize| {
        let part = |index: u32, bytes: &[u8]| CommitPart {
            index,
            count: 2,
            bytes: bytes.to_vec(),
            ..*whole
        };
        let (head, tail) = whole.bytes.split_at(at);
        let (commit, _) = assemble(&[&part(0, head), &part(1, tail)], u64::MAX).unwrap();
        commit.check(1 << 30).map_err(|e| e.code())
    };
    let read = assemble(&[whole], u64::MAX).unwrap().0;
    read.check(1 << 30).unwrap();
    assert_eq!(cut(packed / 2), Err(Code::Corrupt));
}

fn written(one: &Commit, offset: u64) -> Result<Commit> {
    let meta = MetaSeal::new(None);
    let mut out = vec![1];
    if let Err(e) = write(one, None, &meta, offset, &mut out) {
        assert_eq!(out, [1], "nothing is written");
        return Err(e);
    }
    let (mut parts, mut at) = (Vec::new(), 1);
    while at < out.len() {
        let here = offset + at as u64 - 1;
        let (part, len) = read_part(&out[at..], here, None, &meta).unwrap();
        parts.push(part);
        at += len;
    }
    assemble(&parts.iter().collect::<Vec<_>>(), u64::MAX).map(|(commit, _)| commit)
}

#[test]
fn what_compresses_too_well_for_a_reader_is_stored() {
    let names: Vec<Arc<str>> = vec!["a".into(); 1_000_000];
    let one = commit(Vec::new(), names);
    assert_eq!(written(&one, 1 << 30).unwrap().rows.len(), 1_000_000);
}

#[test]
fn a_commit_that_no_reader_takes_is_not_written() {
    let name: Arc<str> = "n".repeat(1 << 20).into();
    let one = commit(Vec::new(), vec![name.clone(); 7]);
    assert_eq!(written(&one, 1 << 30).unwrap().rows.len(), 7);
    let error = written(&commit(Vec::new(), vec![name; 8]), 1 << 30).unwrap_err();
    assert_eq!(error.code(), Code::Limit);
}
