//! Coffers of which a block is damaged: what is damaged stays and is reported, everything else goes
//! on, and writing a damaged member again heals it.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use crate::support::*;
use coffer_core::coffer::{Change, Coffer, Mode, NewCredentials, Outcome, Symlinks};
use coffer_core::crypto::key::Key;
use coffer_core::error::{Code, Error, Result};
use coffer_core::progress::CallObserver;

const LARGE: usize = 3 << 20;

/// A coffer with `a`, `b` and `c` in a pack, `d` and `e` in another, and a large member.
struct Scene<'a> {
    case: &'a Case,
    path: PathBuf,
    _dir: tempfile::TempDir,
    pack: Range<usize>,
    large: Range<usize>,
}

fn bytes(name: &str) -> Vec<u8> {
    let mut bytes = vec![0; if name == "large" { LARGE } else { 3000 }];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

fn submit(coffer: &Coffer, change: Change, batch: Option<u64>) -> mpsc::Receiver<Result<Outcome>> {
    let (sender, receiver) = mpsc::channel();
    coffer.submit(change, batch, Box::new(move |result| drop(sender.send(result))));
    receiver
}

/// Writes members in one commit, and gives the part of the file that it added.
fn together(coffer: &Coffer, path: &Path, names: &[&str]) -> Range<usize> {
    let before = std::fs::read(path).unwrap().len();
    let Outcome::Batch(batch) = coffer.change(Change::Begin).unwrap() else { panic!() };
    for name in names {
        drop(submit(coffer, Change::write(name, Arc::new(bytes(name))), Some(batch)));
    }
    submit(coffer, Change::End { commit: true }, Some(batch)).recv().unwrap().unwrap();
    flush(coffer);
    before..std::fs::read(path).unwrap().len()
}

impl<'a> Scene<'a> {
    fn new(case: &'a Case) -> Self {
        let dir = directory();
        let path = path(&dir);
        let coffer = case.open(&path, Mode::Write);
        let pack = together(&coffer, &path, &["a", "b", "c"]);
        together(&coffer, &path, &["d", "e"]);
        let large = together(&coffer, &path, &["large"]);
        coffer.close().unwrap();
        Self { case, path, _dir: dir, pack, large }
    }

    /// Flips a byte of the pack with `a`, `b` and `c`. The pack stands first in what was added.
    fn damage(&self) {
        self.flip(self.pack.start + 200);
    }

    fn flip(&self, at: usize) {
        let mut file = std::fs::read(&self.path).unwrap();
        file[at] ^= 1;
        std::fs::write(&self.path, file).unwrap();
    }

    fn open(&self) -> Coffer {
        self.case.open(&self.path, Mode::Append)
    }
}

fn compact(coffer: &Coffer) -> Result<Outcome> {
    coffer.change(Change::Compact { watch: CallObserver::silent() })
}

/// These members are damaged and no others, whoever asks.
fn check(coffer: &Coffer, damaged: &[&str]) {
    for name in names(coffer) {
        let read = coffer.read(&name);
        if damaged.contains(&&*name) {
            let error = read.err().unwrap_or_else(|| panic!("{name} is not damaged"));
            assert_eq!((error.code(), error.member()), (Code::Corrupt, Some(&*name)));
        } else {
            assert!(read.unwrap() == bytes(&name), "{name} has wrong bytes");
        }
    }
    let verified = coffer.verify(&CallObserver::silent());
    let Err(error) = verified else { return assert!(damaged.is_empty()) };
    names_all(&error, damaged);
}

fn names_all(error: &Error, damaged: &[&str]) {
    assert_eq!(error.code(), Code::Corrupt, "{error:?}");
    assert!(error.message().contains(&format!("{} of ", damaged.len())), "{error:?}");
    let listed = error.message().split_once("are damaged: ").unwrap().1.split_once(". ").unwrap().0;
    let mut listed: Vec<_> = listed.split(", ").map(|name| name.trim_matches('"')).collect();
    listed.sort_unstable();
    assert_eq!(listed, damaged, "{error:?}");
}

#[test]
fn a_damaged_pack_stays_and_everything_else_goes_on() {
    for case in cases() {
        let scene = Scene::new(&case);
        scene.damage();
        let coffer = scene.open();
        delete(&coffer, "a").unwrap();
        flush(&coffer);
        write(&coffer, "new", &bytes("new"));
        delete(&coffer, "d").unwrap();
        flush(&coffer);
        check(&coffer, &["b", "c"]);
        coffer.close().unwrap();
        let coffer = scene.open();
        assert_eq!(names(&coffer), ["b", "c", "e", "large", "new"], "{}", case.name());
        check(&coffer, &["b", "c"]);
        coffer.close().unwrap();
    }
}

#[test]
fn writing_damaged_members_again_heals_them_and_nothing_of_the_pack_stays() {
    for case in cases() {
        let scene = Scene::new(&case);
        scene.damage();
        let coffer = scene.open();
        let pack = std::fs::read(&scene.path).unwrap()[scene.pack.clone()].to_vec();
        write(&coffer, "b", &bytes("b"));
        flush(&coffer);
        check(&coffer, &["a", "c"]);
        // A directory with the same names, as from a backup.
        let tree = scene.path.with_file_name("backup");
        std::fs::create_dir(&tree).unwrap();
        for name in ["a", "c"] {
            std::fs::write(tree.join(name), bytes(name)).unwrap();
        }
        let add = Change::Add {
            source: tree,
            name: Some(String::new()),
            replace: true,
            symlinks: Symlinks::Follow,
            watch: CallObserver::silent(),
        };
        coffer.change(add).unwrap();
        flush(&coffer);
        check(&coffer, &[]);
        coffer.close().unwrap();
        // Where the pack was is dead space now. Its first chunk begins with its length.
        let now = std::fs::read(&scene.path).unwrap();
        let same = pack[200..2000].windows(32).zip(now[scene.pack.start + 200..].windows(32));
        assert!(same.filter(|(old, new)| old == new).count() == 0, "{}", case.name());
        check(&case.open(&scene.path, Mode::Read), &[]);
    }
}

#[test]
fn compaction_keeps_what_is_damaged_as_it_is() {
    for case in cases() {
        let scene = Scene::new(&case);
        scene.damage();
        scene.flip(scene.large.start + LARGE / 2);
        let coffer = scene.open();
        delete(&coffer, "a").unwrap();
        for _ in 0..2 {
            compact(&coffer).unwrap();
            check(&coffer, &["b", "c", "large"]);
        }
        coffer.close().unwrap();
        let coffer = scene.open();
        check(&coffer, &["b", "c", "large"]);
        for name in ["b", "c", "large"] {
            write(&coffer, name, &bytes(name));
        }
        compact(&coffer).unwrap();
        check(&coffer, &[]);
        coffer.close().unwrap();
    }
}

#[test]
fn keys_are_not_changed_while_something_is_damaged() {
    for case in cases().iter().filter(|case| case.kind.is_sealed()) {
        let scene = Scene::new(case);
        scene.damage();
        let coffer = scene.open();
        delete(&coffer, "a").unwrap();
        let keys = |key: &Option<Key>| key.as_ref().map(|key| Key::generate(key.as_bytes().len()));
        let to = NewCredentials {
            coffer_key: keys(&case.coffer_key),
            secure_key: keys(&case.secure_key),
            passphrase: None,
            kdf: Default::default(),
            cipher: None,
        };
        let rekeyed = coffer.change(Change::Rekey { to, watch: CallObserver::silent() });
        names_all(&rekeyed.unwrap_err(), &["b", "c"]);
        write(&coffer, "new", &bytes("new"));
        coffer.close().unwrap();
        // With the old keys.
        check(&case.open(&scene.path, Mode::Read), &["b", "c"]);
    }
}

/// What shares a commit with it goes on. A large member is not opened to append to it, so damage that
/// its digests do not tell of stays in it.
#[test]
fn appending_to_a_damaged_member_concerns_no_other() {
    for case in cases() {
        for name in ["a", "large"] {
            let scene = Scene::new(&case);
            scene.damage();
            scene.flip(scene.large.start + LARGE / 3);
            let coffer = scene.open();
            let append = || Change::Append { name: name.to_owned(), data: Arc::new(vec![7; 10]) };
            let answers: Vec<_> = (0..6)
                .map(|number| {
                    let written = format!("new-{number}");
                    let change = Change::write(&written, Arc::new(bytes(&written)));
                    (submit(&coffer, change, None), submit(&coffer, append(), None))
                })
                .collect();
            for (written, appended) in answers {
                written.recv().unwrap().unwrap();
                match appended.recv().unwrap() {
                    Ok(_) => assert_eq!(name, "large"),
                    Err(e) => assert_eq!((e.code(), e.member()), (Code::Corrupt, Some(name))),
                }
            }
            flush(&coffer);
            check(&coffer, &["a", "b", "c", "large"]);
            coffer.close().unwrap();
            check(&case.open(&scene.path, Mode::Read), &["a", "b", "c", "large"]);
        }
    }
}

/// The change is one that other changes share a commit with.
#[test]
fn a_file_that_cannot_be_added_fails_alone() {
    for case in cases() {
        let dir = directory();
        let coffer = case.open(&path(&dir), Mode::Write);
        let missing = || Change::Add {
            source: dir.path().join("missing"),
            name: None,
            replace: false,
            symlinks: Symlinks::Follow,
            watch: CallObserver::silent(),
        };
        let answers: Vec<_> = (0..50)
            .map(|number| {
                let name = format!("new-{number}");
                let change = Change::write(&name, Arc::new(bytes(&name)));
                (submit(&coffer, change, None), submit(&coffer, missing(), None))
            })
            .collect();
        for (written, added) in answers {
            written.recv().unwrap().unwrap();
            added.recv().unwrap().unwrap_err();
        }
        check(&coffer, &[]);
        assert_eq!(names(&coffer).len(), 50);
        coffer.close().unwrap();
    }
}
