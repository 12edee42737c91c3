#![cfg(unix)]

use std::fs;
use std::os::unix::fs::symlink;

use super::*;

fn own() -> ProtectedPaths {
    ProtectedPaths::of(Path::new("/nowhere/box.coffer"), None)
}

#[test]
fn a_link_that_takes_the_place_of_a_directory_is_not_listed_wherever_in_the_path_it_is() {
    for (swapped, listed) in [("tree/a/b", "tree/a/b"), ("tree/a", "tree/a/b"), ("tree", "tree")] {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        fs::create_dir_all(at("tree/a/b")).unwrap();
        fs::write(at("tree/a/b/file"), "x").unwrap();
        let found = look(&at("tree"), true, &own()).unwrap().unwrap();
        assert!(list(&found.root, &at(listed), Symlinks::Skip, &own()).is_ok());
        // What the link leads to is just like what was there.
        fs::rename(at(swapped), at("aside")).unwrap();
        fs::create_dir_all(at("other/a/b")).unwrap();
        let to = if swapped == "tree" { "other" } else { "aside" };
        symlink(at(to), at(swapped)).unwrap();
        for symlinks in [Symlinks::Follow, Symlinks::Skip, Symlinks::Error] {
            let error = list(&found.root, &at(listed), symlinks, &own()).unwrap_err();
            assert_eq!((error.code(), error.errno()), (Code::UnsafePath, None), "{swapped}");
        }
    }
}

#[test]
fn a_file_is_opened_as_it_was_found_a_link_only_if_it_was_one() {
    let temp = tempfile::tempdir().unwrap();
    let at = |path: &str| temp.path().join(path);
    fs::create_dir(at("tree")).unwrap();
    fs::write(at("tree/file"), "x").unwrap();
    fs::write(at("outside"), "secret").unwrap();
    symlink(at("outside"), at("tree/link")).unwrap();
    let found = look(&at("tree"), true, &own()).unwrap().unwrap();
    let entries = list(&found.root, &at("tree"), Symlinks::Follow, &own()).unwrap();
    let [file, link] = &*entries else { panic!("{entries:?}") };
    assert_eq!((file.linked, link.linked, link.size), (false, true, 6));
    let mut opener = Opener::default();
    assert_eq!(opener.open(link).unwrap().1.size, 6);
    assert_eq!(opener.open(file).unwrap().1.size, 1);
    fs::remove_file(at("tree/file")).unwrap();
    symlink(at("outside"), at("tree/file")).unwrap();
    assert_eq!(opener.open(file).err().unwrap().code(), Code::UnsafePath);
    rustix::fs::mkfifoat(rustix::fs::CWD, at("tree/pipe"), rustix::fs::Mode::RUSR).unwrap();
    fs::rename(at("tree/pipe"), at("tree/file")).unwrap();
    assert_eq!(Opener::default().open(file).err().unwrap().code(), Code::UnsafePath);
}

#[test]
fn what_belongs_to_a_coffer_is_known_by_its_names_and_by_what_it_is() {
    let temp = tempfile::tempdir().unwrap();
    let coffer = temp.path().join("box.coffer");
    fs::write(&coffer, "").unwrap();
    fs::hard_link(&coffer, temp.path().join("hard")).unwrap();
    for name in ["box.coffer.lock", "box.coffer.old"] {
        fs::write(temp.path().join(name), "").unwrap();
    }
    let own = ProtectedPaths::of(&coffer, Some(".old"));
    let yes = [
        ("box.coffer", true),
        ("hard", true),
        ("box.coffer.lock", true),
        ("box.coffer.bak", true),
        ("box.coffer.old", true),
        ("box.coffer.torn", true),
        ("box.coffer.torn.12", true),
        (".box.coffer.ab3xy9.coffer-new", true),
        (".box.coffer.torn.2.ab3xy9.coffer-new", true),
        ("box.coffer.torn.", false),
        ("box.coffer.torn.x", false),
        ("box.coffer.older", false),
        ("other.coffer.bak", false),
        (".box.coffer.ab3xy.coffer-new", false),
        (".box.coffer.aB3xY9.coffer-new", false),
        (".other.ab3xy9.coffer-new", false),
    ];
    for (name, expected) in yes {
        let path = temp.path().join(name);
        if !path.exists() {
            fs::write(&path, "").unwrap();
        }
        assert_eq!(own.spare(&path).is_err(), expected, "{name}");
        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join(name);
        fs::write(&copy, "").unwrap();
        assert!(own.spare(&copy).is_ok(), "{name} elsewhere");
    }
}
