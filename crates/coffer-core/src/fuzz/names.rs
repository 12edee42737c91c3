//! The fuzz target of names and extraction: into a directory with links, files and directories.

use crate::format::member::MemberType;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::input::FuzzInput;
use super::scene::{Case, FuzzScene, same_file};
use crate::coffer::{Change, Coffer, Extraction, Limits, Mode, Selection, Symlinks};
use crate::engine::container::Container;
use crate::engine::file::ArchiveFile;
use crate::error::{Code, Result};
use crate::format::header::Header;
use crate::format::key_source::KeySource;
use crate::format::member::Attributes;
use crate::format::name;
use crate::io::disk::DiskNamespace;
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;
use crate::io::storage::Namespace;
use crate::progress::{CallObserver, Cancel};

/// The content of files outside the target, which must not change.
const SECRET: &[u8] = b"not a member";

/// `how, then names, each with its use`.
pub fn names(data: &[u8]) {
    let mut input = FuzzInput::new(data);
    let how = input.byte();
    let scene = FuzzScene::new();
    let target = scene.path("world/target");
    fs::create_dir_all(&target).unwrap();
    fs::create_dir_all(scene.path("world/outside/deep")).unwrap();
    for file in ["world/secret", "world/outside/secret", "world/outside/deep/secret"] {
        fs::write(scene.path(file), SECRET).unwrap();
    }
    let mut plan = Plan::default();
    while !input.is_empty() {
        plan.take(&mut input, &target);
    }
    let outside = Tree::of(&scene.path("world"), &target);

    let path = scene.path("names.coffer");
    let made = match how & 3 {
        0 => plan.written(&path),
        1 => plan.forged(&path),
        _ => plan.legacy(&path),
    };
    let Some(expected) = made else { return };
    let Some(coffer) = opened(&scene, &path, &expected, how) else { return };

    let what = match how >> 2 & 3 {
        0 | 1 => Selection::All,
        2 => Selection::Names(plan.chosen.clone()),
        _ => Selection::Exactly(plan.chosen.clone()),
    };
    let extraction = Extraction {
        what,
        from: plan.from.clone(),
        plugins: true,
        replace: how & 16 != 0,
        preserve: how & 32 != 0,
        limits: Limits::default(),
    };
    extract(&coffer, &extraction, &target);
    assert!(Tree::of(&scene.path("world"), &target) == outside, "something outside was touched");

    // The files in the target are removed by name, and added again.
    let _ = coffer.remove(&target, &plan.chosen, &Cancel::default());
    assert!(Tree::of(&scene.path("world"), &target) == outside, "something outside was removed");
    coffer.close().unwrap();
    added_again(&scene, &target, how);
    assert!(Tree::of(&scene.path("world"), &target) == outside, "adding changed something");
}

/// Opens the coffer and checks its names. `None` if it is refused, as it may be.
fn opened(scene: &FuzzScene, path: &Path, expected: &ExpectedNames, how: u8) -> Option<Coffer> {
    let mut options = Case::of(0).options(Mode::Read);
    options.legacy = true;
    options.temp_dir = Some(scene.root().to_owned());
    let opened = Coffer::open(path, options);
    let bad = expected.names().find(|n| name::fault(n).is_some());
    let coffer = match opened {
        Ok(coffer) => coffer,
        Err(e) => {
            assert!(bad.is_some() || how & 3 > 1, "{e:?}");
            return None;
        }
    };
    if how & 3 < 2 {
        assert_eq!(bad, None, "it opens with a name that leads somewhere else");
        let found: Vec<_> =
            coffer.members(None, None, None).unwrap().into_iter().map(|m| m.name).collect();
        assert!(expected.names().eq(found.iter()), "{found:?}");
    }
    for member in coffer.members(None, None, None).unwrap() {
        assert_eq!(name::fault(&member.name), None);
    }
    Some(coffer)
}

/// Extracts, and checks that no link was replaced and that the files of all members are there.
fn extract(coffer: &Coffer, extraction: &Extraction, target: &Path) {
    let links = links(target);
    let extracted = coffer.extract(extraction, target, &CallObserver::silent());
    for (link, to) in &links {
        assert_eq!(fs::read_link(link).ok().as_ref(), Some(to), "a link was replaced");
    }
    let all = extraction.from.is_none() && matches!(extraction.what, Selection::All);
    if extracted.is_ok() && all {
        for member in coffer
            .members(None, None, None)
            .unwrap()
            .iter()
            .filter(|m| !m.member_type.is_directory())
        {
            same_file(&target.join(&member.name), &coffer.read(&member.name).unwrap());
        }
    }
}

/// The plan that the input gives.
#[derive(Default)]
struct Plan {
    members: Vec<(String, bool, Vec<u8>)>,
    chosen: Vec<String>,
    from: Option<String>,
}

/// The names that a coffer must hold.
struct ExpectedNames(BTreeMap<String, bool>);

impl ExpectedNames {
    fn names(&self) -> impl Iterator<Item = &String> {
        self.0.keys()
    }
}

impl Plan {
    fn take(&mut self, input: &mut FuzzInput<'_>, target: &Path) {
        let what = input.byte();
        let mut name = String::from_utf8_lossy(input.short()).into_owned();
        if what & 64 != 0 {
            // Long names take few bytes of input.
            name = name.repeat(1 + usize::from(what >> 3 & 7) * 40);
        }
        let place = target.join(name.trim_start_matches('/'));
        // The fuzzer's own links must not lead it outside.
        let inside = !name.split('/').any(|c| c == "..") && !name.contains('\0');
        match what & 7 {
            0..=2 => self.members.push((name.clone(), false, name.clone().into_bytes())),
            3 => self.members.push((name.clone(), true, Vec::new())),
            4 if inside => drop(fs::create_dir_all(&place)),
            5 if inside && parent_is_own(&place, target) => {
                let _ = fs::write(&place, b"was there");
            }
            #[cfg(unix)]
            6 if inside && parent_is_own(&place, target) => {
                let to =
                    ["../outside", "../secret", ".", "..", "/", "../outside/new", "a", "nowhere"];
                let to = to[usize::from(what >> 3 & 7)];
                let _ = std::os::unix::fs::symlink(to, &place);
            }
            _ if what & 128 != 0 => self.from = Some(name),
            _ => self.chosen.push(name),
        }
    }

    /// A coffer written through the public API: exactly the valid names are accepted.
    fn written(&self, path: &Path) -> Option<ExpectedNames> {
        let coffer = Coffer::open(path, Case::of(0).options(Mode::Exclusive)).unwrap();
        let mut expected = BTreeMap::new();
        for (given, _, bytes) in &self.members {
            let written = coffer.change(Change::write(given, Arc::new(bytes.clone())));
            match name::check(given) {
                Ok(name) if written.is_ok() => drop(expected.insert(name.to_owned(), false)),
                Ok(_) => {
                    let code = code(written);
                    let taken = matches!(code, Code::MemberExists | Code::IsDirectory);
                    assert!(taken, "{given:?}: {code:?}");
                }
                Err(_) => assert_eq!(code(written), Code::InvalidArg, "{given:?}"),
            }
        }
        coffer.close().unwrap();
        Some(ExpectedNames(expected))
    }

    /// Put into the catalog past all checks.
    fn forged(&self, path: &Path) -> Option<ExpectedNames> {
        let case = Case::of(0);
        let header = Header::new(case.kind, &case.keys, &KeySource::of_keys(), 256, 4096).unwrap();
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
        let file = NewFile::create(&directory, path).unwrap();
        let source =
            ArchiveFile::new(file.storage(), &directory, path, &header, &case.keys).unwrap();
        let mut container = Container::create(source, header, false).unwrap();
        let mut expected = BTreeMap::new();
        for (name, directory, bytes) in &self.members {
            let attributes = Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 };
            let stored = if *directory { Vec::new() } else { bytes.clone() };
            let size = stored.len() as u64;
            let member_type = if *directory { MemberType::Directory } else { MemberType::File };
            if container.put_small(name, member_type, size, attributes, stored).is_ok() {
                expected.insert(name.clone(), *directory);
            }
        }
        // A tar does not take every name.
        container.commit(true, &Locks::none(path)).ok()?;
        file.publish(true).unwrap();
        Some(ExpectedNames(expected))
    }

    /// In a tar, as PyCoffer leaves it.
    fn legacy(&self, path: &Path) -> Option<ExpectedNames> {
        let mut tar = Vec::new();
        for (name, directory, bytes) in &self.members {
            let heading = crate::format::tar::Heading {
                name,
                member_type: if *directory { MemberType::Directory } else { MemberType::File },
                stored: if *directory { 0 } else { bytes.len() as u64 },
                attributes: Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 },
            };
            let bytes: &[u8] = if *directory { &[] } else { bytes };
            crate::format::tar::append(&mut tar, &heading, bytes).ok()?;
        }
        fs::write(path, &**crate::format::frame::compress(1, &tar).unwrap()).unwrap();
        let names = self.members.iter().map(|(name, directory, _)| (name.clone(), *directory));
        Some(ExpectedNames(names.collect()))
    }
}

/// Whether a path's directory can be reached from the target without a link.
fn parent_is_own(place: &Path, target: &Path) -> bool {
    let parent = place.parent().unwrap_or(place);
    fs::canonicalize(parent).is_ok_and(|p| p == parent) && parent.starts_with(target)
}

fn code<T>(result: Result<T>) -> Code {
    result.err().expect("an error").code()
}

/// Adds what is in the target to a new coffer.
fn added_again(scene: &FuzzScene, target: &Path, how: u8) {
    let path = scene.path("again.coffer");
    let coffer = Coffer::open(&path, Case::of(0).options(Mode::Exclusive)).unwrap();
    let symlinks = if how & 32 == 0 { Symlinks::Skip } else { Symlinks::Error };
    let added = coffer.change(Change::Add {
        source: target.to_owned(),
        name: Some("t".to_owned()),
        replace: how & 64 != 0,
        symlinks,
        watch: CallObserver::silent(),
    });
    if symlinks == Symlinks::Error && !links(target).is_empty() {
        assert!(added.is_err(), "a link was followed");
    }
    for member in coffer.members(None, None, None).unwrap() {
        assert_eq!(name::fault(&member.name), None);
        if !member.member_type.is_directory() {
            assert!(
                coffer.read(&member.name).unwrap() != SECRET,
                "{:?} leads outside",
                member.name
            );
        }
    }
    coffer.close().unwrap();
}

/// The links below a directory, and where they lead.
fn links(directory: &Path) -> Vec<(PathBuf, PathBuf)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        match fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_symlink() => {
                found.push((path.clone(), fs::read_link(&path).unwrap()))
            }
            Ok(meta) if meta.is_dir() => found.extend(links(&path)),
            _ => {}
        }
    }
    found
}

/// A tree without the target: paths with what is there, and since when.
#[derive(PartialEq)]
struct Tree(BTreeMap<PathBuf, (fs::FileType, u32, std::time::SystemTime, Vec<u8>)>);

impl Tree {
    fn of(root: &Path, target: &Path) -> Self {
        let mut tree = Self(BTreeMap::new());
        tree.walk(root, target);
        tree
    }

    fn walk(&mut self, directory: &Path, target: &Path) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path == target {
                continue;
            }
            let meta = fs::symlink_metadata(&path).unwrap();
            let bytes = if meta.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
            let kept = (meta.file_type(), mode(&meta), meta.modified().unwrap(), bytes);
            self.0.insert(path.clone(), kept);
            if meta.is_dir() {
                self.walk(&path, target);
            }
        }
    }
}

#[cfg(unix)]
fn mode(meta: &fs::Metadata) -> u32 {
    std::os::unix::fs::PermissionsExt::mode(&meta.permissions())
}

#[cfg(not(unix))]
fn mode(_: &fs::Metadata) -> u32 {
    0
}
