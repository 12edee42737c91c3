//! Small members that are written together.

use std::sync::mpsc;

use crate::support::{Case, cases, directory, names, write};
use coffer_core::coffer::{Change, Coffer, Mode, NewCredentials, Outcome, PackedMembers};
use coffer_core::crypto::kdf::KdfChoice;
use coffer_core::crypto::key::Key;
use coffer_core::error::{Code, Result};
use coffer_core::progress::CallObserver;

fn packed<'a>(members: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Change {
    let mut packed = PackedMembers::default();
    for (name, data) in members {
        packed.push(name, data, None, None);
    }
    Change::WriteMany { members: packed }
}

/// The positions of those that were not written, with the code and the member of each error.
fn unwritten(outcome: Result<Outcome>) -> Vec<(usize, Code, Option<String>)> {
    let Outcome::Wrote(failures) = outcome.unwrap() else { panic!("another outcome") };
    let shown = |(at, e): (usize, coffer_core::error::Error)| {
        assert!(e.path().is_some());
        (at, e.code(), e.member().map(str::to_owned))
    };
    failures.into_iter().map(shown).collect()
}

#[test]
fn each_of_many_has_its_own_result_and_the_last_of_a_name_counts() {
    for case in cases() {
        let dir = directory();
        let path = dir.path().join("box.coffer");
        let coffer = case.open(&path, Mode::Exclusive);
        write(&coffer, "file", b"x");
        let large = vec![7; (128 << 10) + 1];
        let change = packed([
            ("a", &b"one"[..]),
            ("file/below", b"two"),
            ("a/../b", b"three"),
            ("most", &large[1..]),
            ("large", &large),
            ("/a", b"last"),
        ]);
        let expected = [(1, Code::MemberExists, "file/below"), (2, Code::InvalidArg, "a/../b")]
            .into_iter()
            .chain([(4, Code::InvalidArg, "large")])
            .map(|(at, code, member)| (at, code, Some(member.to_owned())));
        assert_eq!(
            unwritten(coffer.change(change)),
            expected.collect::<Vec<_>>(),
            "{}",
            case.name()
        );
        coffer.close().unwrap();
        let again = case.open(&path, Mode::Read);
        assert_eq!(names(&again), ["a", "file", "most"]);
        assert_eq!(again.read("a").unwrap(), b"last");
        assert_eq!(again.read("most").unwrap(), large[1..]);
    }
}

#[test]
fn members_that_are_packed_otherwise_are_refused_and_change_nothing() {
    let case = &cases()[2];
    let dir = directory();
    let coffer = case.open(&dir.path().join("box.coffer"), Mode::Exclusive);
    let members = PackedMembers::from(vec![1; 30]);
    let refused = coffer.change(Change::WriteMany { members });
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArg);
    assert!(!coffer.status().modified);
    assert!(unwritten(coffer.change(packed([]))).is_empty());
}

/// What was sealed with the old keys while a change of keys waited is sealed anew.
#[test]
fn many_that_were_encoded_before_a_change_of_keys_are_under_the_new_ones() {
    for mut case in cases().into_iter().filter(|case| case.kind.is_sealed()) {
        let dir = directory();
        let path = dir.path().join("box.coffer");
        let coffer = case.open(&path, Mode::Exclusive);
        let many: Vec<(String, Vec<u8>)> =
            (0..500u32).map(|n| (format!("n/{n}"), n.to_le_bytes().repeat(30))).collect();
        let all = || many.iter().map(|(name, data)| (&**name, &**data));
        let new = Case {
            kind: case.kind,
            coffer_key: case.coffer_key.as_ref().map(|key| Key::generate(key.as_bytes().len())),
            secure_key: case.secure_key.as_ref().map(|_| Key::generate(32)),
        };
        let to = NewCredentials {
            coffer_key: new.coffer_key.clone(),
            secure_key: new.secure_key.clone(),
            passphrase: None,
            kdf: KdfChoice::default(),
            cipher: None,
        };
        write(&coffer, "before", b"x");
        let done = [Change::Rekey { to, watch: CallObserver::silent() }, packed(all())]
            .map(|change| submitted(&coffer, change));
        for done in done {
            done.recv().unwrap().unwrap();
        }
        coffer.close().unwrap();
        case = new;
        let again = case.open(&path, Mode::Read);
        for (name, data) in all() {
            assert_eq!(again.read(name).unwrap(), data, "{}", case.name());
        }
    }
}

fn submitted(coffer: &Coffer, change: Change) -> mpsc::Receiver<Result<Outcome>> {
    let (sender, receiver) = mpsc::channel();
    coffer.submit(change, None, Box::new(move |result| drop(sender.send(result))));
    receiver
}
