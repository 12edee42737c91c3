//! Directory trees outside: brought in, compared, removed from, and extracted to.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::support::*;
#[cfg(unix)]
use coffer_core::coffer::Kind as What;
use coffer_core::coffer::{Change, Coffer, Extraction, Item, Mode, Outcome, Selection, Symlinks};
use coffer_core::error::{Code, Result};
use coffer_core::progress::CallObserver;
use coffer_core::progress::Cancel;

fn update(coffer: &Coffer, delete: &[&str], add: Vec<Item>) -> Result<Outcome> {
    let delete = delete.iter().map(|&name| name.to_owned()).collect();
    coffer.change(Change::Update { delete, add, watch: CallObserver::silent() })
}

/// The files and directories of a directory, as items under their own names.
fn items(coffer: &Coffer, directory: &Path) -> Vec<Item> {
    let directory = coffer.look(directory, true).unwrap().unwrap();
    let entries = coffer.list(&directory, Symlinks::Follow).unwrap();
    let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    entries.into_iter().map(|entry| Item { name: name(&entry.path), entry }).collect()
}

#[test]
fn an_update_deletes_before_it_adds_and_is_all_or_nothing() {
    for case in cases() {
        let dir = directory();
        let tree = dir.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let large = noise(1, 2_500_000);
        fs::write(tree.join("a"), b"now a file").unwrap();
        fs::write(tree.join("large"), &large).unwrap();
        fs::write(tree.join("z"), b"z").unwrap();
        let coffer = case.open(&path(&dir), Mode::Write);
        write(&coffer, "a/b", b"below a directory");
        flush(&coffer);
        let add = items(&coffer, &tree);

        fs::write(tree.join("z"), b"another").unwrap();
        let error = update(&coffer, &["a/b"], add).unwrap_err();
        assert_eq!(error.code(), Code::Stale);
        assert_eq!(error.path().unwrap(), tree.join("z"));
        assert_eq!(names(&coffer), ["a/b"]);

        let add = items(&coffer, &tree);
        fs::remove_file(tree.join("z")).unwrap();
        let error = update(&coffer, &["a/b"], add).unwrap_err();
        assert_eq!((error.code(), error.path().unwrap()), (Code::Io, tree.join("z").as_path()));
        assert_eq!(coffer.read("a/b").unwrap(), b"below a directory");

        let add = items(&coffer, &tree);
        update(&coffer, &["a/b", "gone already"], add).unwrap();
        assert_eq!(names(&coffer), ["a", "large"]);
        assert_eq!(coffer.read("large").unwrap(), large);
        let unsafe_name = update(
            &coffer,
            &[],
            vec![Item {
                name: "../x".to_owned(),
                entry: coffer.look(&tree.join("a"), true).unwrap().unwrap(),
            }],
        );
        assert_eq!(unsafe_name.unwrap_err().code(), Code::InvalidArg);
        assert_eq!(coffer.verify(&CallObserver::silent()).unwrap().members, 2);
        coffer.close().unwrap();
    }
}

#[test]
fn members_differ_from_files_in_any_byte_and_in_length() {
    for case in cases() {
        let dir = directory();
        let coffer = case.open(&path(&dir), Mode::Write);
        let mut pairs = BTreeMap::new();
        let mut expected = Vec::new();
        for size in [0usize, 1, 1_000, 131_072, 131_073, 9 << 20] {
            let data = noise(size as u64, size);
            let mut cases = vec![("same", data.clone()), ("longer", [&data[..], b"x"].concat())];
            for at in [0, size / 2, size.saturating_sub(1)] {
                let mut other = data.clone();
                if let Some(byte) = other.get_mut(at) {
                    *byte ^= 1;
                    cases.push((["first", "last"][usize::from(at > 0)], other));
                }
            }
            for (i, (what, other)) in cases.into_iter().enumerate() {
                let name = format!("{size}-{i}-{what}");
                let file = dir.path().join(&name);
                fs::write(&file, other).unwrap();
                write(&coffer, &name, &data);
                if what != "same" {
                    expected.push(name.clone());
                }
                pairs.insert(name, coffer.look(&file, true).unwrap().unwrap());
            }
        }
        expected.sort();
        for flushed in [false, true] {
            if flushed {
                flush(&coffer);
            }
            assert_eq!(coffer.differing(&pairs, &CallObserver::silent()).unwrap(), expected);
        }
        let watch = CallObserver::silent();
        watch.cancel.cancel();
        assert_eq!(coffer.differing(&pairs, &watch).unwrap_err().code(), Code::Aborted);
        let other = coffer.look(&dir.path().join("1-0-same"), true).unwrap().unwrap();
        pairs.insert("nothing".to_owned(), other);
        let error = coffer.differing(&pairs, &CallObserver::silent()).unwrap_err();
        assert_eq!(error.code(), Code::MemberNotFound);
        coffer.close().unwrap();
    }
}

#[test]
#[cfg(unix)]
fn a_tree_is_listed_without_entering_links_and_without_the_coffer() {
    let dir = directory();
    let case = &cases()[4];
    let coffer = case.open(&path(&dir), Mode::Write);
    fs::write(dir.path().join("file"), b"12345").unwrap();
    fs::create_dir(dir.path().join("directory")).unwrap();
    std::os::unix::fs::symlink("file", dir.path().join("to-file")).unwrap();
    std::os::unix::fs::symlink("directory", dir.path().join("to-directory")).unwrap();
    std::os::unix::fs::symlink("test.coffer", dir.path().join("to-coffer")).unwrap();
    std::os::unix::fs::symlink("nothing", dir.path().join("to-nothing")).unwrap();
    let listed = |symlinks| {
        let directory = coffer.look(dir.path(), true).unwrap().unwrap();
        let entries = coffer.list(&directory, symlinks).unwrap();
        entries.iter().map(|e| (e.kind, e.reason.is_some())).collect::<Vec<_>>()
    };
    let (left, right) = (
        [(What::Directory, false), (What::File, false), (What::Other, true), (What::Other, true)],
        |file, coffer| {
            [(coffer, true), (What::Link, true), (file, file == What::Link), (What::Link, true)]
        },
    );
    let all = |right: [(What, bool); 4]| [left, right].concat();
    assert_eq!(listed(Symlinks::Follow), all(right(What::File, What::Other)));
    assert_eq!(listed(Symlinks::Skip), all(right(What::Link, What::Link)));
    assert!(coffer.look(&dir.path().join("nothing"), true).unwrap().is_none());
    let link = dir.path().join("to-directory");
    assert_eq!(coffer.look(&link, true).unwrap().unwrap().kind, What::Directory);
    assert_eq!(coffer.look(&link, false).unwrap().unwrap().kind, What::Link);
    coffer.close().unwrap();
}

#[test]
#[cfg(unix)]
fn nothing_is_removed_outside_a_directory() {
    let dir = directory();
    let coffer = cases()[4].open(&path(&dir), Mode::Write);
    let root = dir.path().join("root");
    fs::create_dir_all(root.join("full")).unwrap();
    fs::create_dir(dir.path().join("outside")).unwrap();
    for file in ["outside/file", "root/full/file", "root/file"] {
        fs::write(dir.path().join(file), b"precious").unwrap();
    }
    std::os::unix::fs::symlink("../outside", root.join("link")).unwrap();
    let remove = |path: &str| {
        coffer.remove(&root, &[path.to_owned()], &Cancel::default()).map_err(|e| e.code())
    };
    assert_eq!(remove("link/file"), Err(Code::UnsafePath));
    assert_eq!(remove("../outside/file"), Err(Code::InvalidArg));
    assert_eq!(remove("full"), Err(Code::Io));
    assert_eq!(remove("not there"), Ok(()));
    for path in ["link", "full/file", "full", "file"] {
        assert_eq!(remove(path), Ok(()), "{path}");
    }
    assert_eq!(fs::read_dir(&root).unwrap().count(), 0);
    assert_eq!(fs::read(dir.path().join("outside/file")).unwrap(), b"precious");
    coffer.close().unwrap();
}

#[test]
fn an_extraction_takes_exactly_what_is_named_relative_to_a_directory_and_replaces_only_if_told() {
    for case in cases() {
        let dir = directory();
        let coffer = case.open(&path(&dir), Mode::Write);
        for name in ["docs/a/b", "docs/c", "docs2"] {
            write(&coffer, name, name.as_bytes());
        }
        let out = dir.path().join("out");
        let extract = |what: Selection, replace: bool| {
            let extraction = Extraction { from: Some("docs".to_owned()), replace, ..what.into() };
            coffer
                .extract(&extraction, &out, &CallObserver::silent())
                .map(|extracted| extracted.files)
                .map_err(|e| e.code())
        };
        let exactly = |name: &str| Selection::Exactly(vec![name.to_owned()]);
        assert_eq!(extract(exactly("docs/c"), false), Ok(1));
        assert_eq!(fs::read(out.join("c")).unwrap(), b"docs/c");
        assert_eq!(extract(exactly("docs/a"), true), Err(Code::MemberNotFound));
        assert_eq!(extract(exactly("docs2"), true), Err(Code::InvalidArg));
        assert_eq!(extract(Selection::All, false), Err(Code::Exists));
        assert!(!out.join("a").exists());
        assert_eq!(extract(Selection::All, true), Ok(2));
        assert_eq!(fs::read(out.join("a/b")).unwrap(), b"docs/a/b");
        coffer.close().unwrap();
    }
}
