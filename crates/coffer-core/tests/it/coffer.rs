//! The everyday life of a coffer of each kind.

use std::collections::BTreeMap;

use crate::support::*;
use coffer_core::coffer::{Change, Mode, Selection, Symlinks};
use coffer_core::progress::CallObserver;

#[test]
fn members_of_every_size_are_read_back_before_and_after_a_flush_and_a_reopen() {
    for case in cases() {
        let dir = directory();
        let path = path(&dir);
        let mut expected = BTreeMap::new();
        let coffer = case.open(&path, Mode::Write);
        for (i, size) in [0, 1, 511, 65_503, 65_504, 65_505, 131_072, 131_073, 1 << 20, 3_000_001]
            .into_iter()
            .enumerate()
        {
            let name = format!("dir{}/member-{size}", i % 3);
            let data = noise(i as u64, size);
            write(&coffer, &name, &data);
            assert_eq!(coffer.read(&name).unwrap(), data);
            expected.insert(name, data);
        }
        flush(&coffer);
        for (name, data) in &expected {
            assert_eq!(&coffer.read(name).unwrap(), data, "{} {name}", case.name());
        }
        coffer.close().unwrap();
        let coffer = case.open(&path, Mode::Read);
        assert_eq!(names(&coffer), expected.keys().cloned().collect::<Vec<_>>());
        for (name, data) in &expected {
            assert_eq!(&coffer.read(name).unwrap(), data, "{} {name}", case.name());
        }
        let range = coffer.read_range("dir0/member-3000001", 2_000_000, 100, None);
        assert!(range.is_err() || range.unwrap().bytes.len() == 100);
        assert_eq!(coffer.verify(&CallObserver::silent()).unwrap().members, 10);
        coffer.close().unwrap();
    }
}

#[test]
fn replace_append_delete_and_compact_leave_exactly_the_live_members() {
    for case in cases() {
        let dir = directory();
        let path = path(&dir);
        let mut model: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        let coffer = case.open(&path, Mode::Append);
        for i in 0..40u64 {
            let data = noise(i, (i * 3_000) as usize);
            write(&coffer, &format!("m{i:02}"), &data);
            model.insert(format!("m{i:02}"), data);
        }
        flush(&coffer);
        for i in (0..40).step_by(3) {
            delete(&coffer, &format!("m{i:02}")).unwrap();
            model.remove(&format!("m{i:02}"));
        }
        for i in (1..40).step_by(3) {
            let more = noise(100 + i, 70_000);
            append(&coffer, &format!("m{i:02}"), &more);
            model.get_mut(&format!("m{i:02}")).unwrap().extend(&more);
        }
        let big = noise(7, 2_500_000);
        append(&coffer, "big", &big);
        append(&coffer, "big", b"tail");
        append(&coffer, "big", &big);
        model.insert("big".into(), [&big[..], b"tail", &big[..]].concat());
        for round in 0..3 {
            match round {
                0 => flush(&coffer),
                1 => {
                    drop(coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap())
                }
                _ => flush(&coffer),
            }
            coffer.verify(&CallObserver::silent()).unwrap();
            assert_eq!(names(&coffer), model.keys().cloned().collect::<Vec<_>>());
            for (name, data) in &model {
                assert_eq!(&coffer.read(name).unwrap(), data, "{} {name} {round}", case.name());
            }
        }
        coffer.close().unwrap();
        let coffer = case.open(&path, Mode::Append);
        assert!(coffer.notices().is_empty(), "{:?}", coffer.notices());
        for (name, data) in &model {
            assert_eq!(&coffer.read(name).unwrap(), data, "{} {name}", case.name());
        }
        coffer.close().unwrap();
    }
}

#[test]
fn a_tree_goes_in_and_comes_out_the_same() {
    for case in cases() {
        let dir = directory();
        let source = dir.path().join("tree");
        std::fs::create_dir_all(source.join("a/b/empty")).unwrap();
        for i in 0..300u64 {
            let file = source.join(format!("a/f{i}"));
            std::fs::write(file, noise(i, (i * 100) as usize)).unwrap();
        }
        std::fs::write(source.join("large"), noise(9, 5_000_000)).unwrap();
        let coffer = case.open(&path(&dir), Mode::Exclusive);
        let add = Change::Add {
            source: source.clone(),
            name: None,
            replace: true,
            symlinks: Symlinks::Follow,
            watch: CallObserver::silent(),
        };
        coffer.change(add).unwrap();
        let out = dir.path().join("out");
        let extracted =
            coffer.extract(&Selection::All.into(), &out, &CallObserver::silent()).unwrap();
        assert_eq!((extracted.files, extracted.directories), (301, 1));
        let diff = std::process::Command::new("diff")
            .arg("-r")
            .arg(&source)
            .arg(out.join("tree"))
            .output()
            .unwrap();
        assert!(diff.status.success(), "{}", String::from_utf8_lossy(&diff.stdout));
        coffer.close().unwrap();
    }
}
