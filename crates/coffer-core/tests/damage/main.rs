//! Damage: every byte and every length of a small coffer of each kind.
#![allow(missing_docs, clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::path::Path;

use coffer_core::coffer::{Coffer, Mode};
use coffer_core::error::Code;
use support::*;

type Members = BTreeMap<String, Vec<u8>>;

fn read_all(coffer: &Coffer) -> Result<Members, coffer_core::error::Error> {
    names(coffer).into_iter().map(|n| coffer.read(&n).map(|data| (n, data))).collect()
}

/// A coffer with a few commits, and the members after each.
fn history(case: &Case, path: &Path) -> Vec<Members> {
    let mut options = case.options(Mode::Write);
    options.auto_flush = Some(true);
    options.chunk_size = Some(1024);
    options.block_size = Some(4096);
    let coffer = Coffer::open(path, options).unwrap();
    let mut members = Members::new();
    let mut states = vec![members.clone()];
    for (name, data) in [("a", noise(1, 300)), ("b/c", noise(2, 10)), ("a", noise(3, 200))] {
        write(&coffer, name, &data);
        members.insert(name.to_owned(), data);
        states.push(members.clone());
    }
    delete(&coffer, "b/c").unwrap();
    members.remove("b/c");
    states.push(members);
    coffer.close().unwrap();
    states
}

#[test]
fn a_flipped_bit_gives_the_right_bytes_or_an_error() {
    for case in cases() {
        let dir = directory();
        let path = path(&dir);
        let states = history(&case, &path);
        let good = std::fs::read(&path).unwrap();
        let copy = dir.path().join("copy");
        let mut refused = 0;
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1 << (at % 8);
            std::fs::write(&copy, &bad).unwrap();
            match Coffer::open(&copy, case.options(Mode::Read)).and_then(|c| {
                // A state before the last is only right if the damage is reported.
                let clean = c.notices().is_empty();
                read_all(&c).map(|members| (members, clean))
            }) {
                Ok((members, clean)) => {
                    let right = if clean { &states[states.len() - 1..] } else { &states[..] };
                    assert!(right.contains(&members), "{} byte {at}", case.name());
                }
                Err(e) => {
                    refused += 1;
                    assert_eq!(e.code(), Code::Corrupt, "{} byte {at}: {e:?}", case.name());
                }
            }
        }
        assert!(refused > 0);
    }
}

#[test]
fn a_coffer_cut_anywhere_opens_at_a_commit_or_says_that_it_is_damaged() {
    for case in cases() {
        let dir = directory();
        let path = path(&dir);
        let states = history(&case, &path);
        let good = std::fs::read(&path).unwrap();
        let copy = dir.path().join("copy");
        for len in 0..good.len() {
            for mode in [Mode::Read, Mode::Append] {
                std::fs::write(&copy, &good[..len]).unwrap();
                match Coffer::open(&copy, case.options(mode)).and_then(|c| read_all(&c)) {
                    Ok(members) => assert!(states.contains(&members), "{} {len}", case.name()),
                    Err(e) => {
                        let code = e.code();
                        let fits = matches!(code, Code::Corrupt | Code::Legacy);
                        assert!(fits, "{} {len}: {e:?}", case.name());
                    }
                }
            }
        }
    }
}
