#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use std::path::PathBuf;
#[cfg(unix)]
use std::time::SystemTime;

fn spool() -> (tempfile::TempDir, SpoolDir, Spool) {
    let parent = tempfile::tempdir().unwrap();
    let dir = SpoolDir::create(Some(parent.path())).unwrap();
    let spool = dir.file().unwrap();
    (parent, dir, spool)
}

fn contents(spool: &Spool) -> Vec<u8> {
    let mut bytes = vec![0; spool.len().unwrap() as usize];
    spool.read_at(&mut bytes, 0).unwrap();
    bytes
}

/// The files of a spool directory, without the owner file.
fn files(dir: &SpoolDir) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| !path.ends_with(OWNER));
    paths
}

#[derive(Debug, Clone)]
enum Step {
    Write(u64, Vec<u8>),
    Append(Vec<u8>),
    Read(u64, usize),
    Truncate(u64),
    Sync,
}

/// Offsets and lengths that often meet the ends of pages.
fn offsets() -> impl Strategy<Value = u64> {
    let page = PAGE as u64;
    prop_oneof![
        0..4 * page,
        (0..4u64, 0..5u64).prop_map(move |(n, d)| (n * page + d).saturating_sub(2)),
    ]
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    (offsets(), any::<u8>()).prop_map(|(len, first)| {
        (0..len % (2 * PAGE as u64 + 9)).map(|at| first ^ (at % 251) as u8).collect()
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (offsets(), bytes()).prop_map(|(at, bytes)| Step::Write(at, bytes)),
        bytes().prop_map(Step::Append),
        (offsets(), offsets()).prop_map(|(at, len)| Step::Read(at, len as usize)),
        offsets().prop_map(Step::Truncate),
        Just(Step::Sync),
    ];
    proptest::collection::vec(step, 1..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn a_spool_behaves_as_a_file_does(steps in steps()) {
        let (_parent, _dir, spool) = spool();
        let mut model: Vec<u8> = Vec::new();
        for step in steps {
            match step {
                Step::Write(at, bytes) => {
                    spool.write_at(&bytes, at).unwrap();
                    let end = at as usize + bytes.len();
                    if model.len() < end && !bytes.is_empty() {
                        model.resize(end, 0);
                    }
                    if !bytes.is_empty() {
                        model[at as usize..end].copy_from_slice(&bytes);
                    }
                }
                Step::Append(bytes) => {
                    spool.write_at(&bytes, model.len() as u64).unwrap();
                    model.extend(bytes);
                }
                Step::Read(at, len) => {
                    let mut found = vec![0xEE; len];
                    let read = spool.read_at(&mut found, at);
                    match model.get(at as usize..at as usize + len) {
                        Some(expected) => {
                            prop_assert!(read.is_ok());
                            prop_assert!(found == expected);
                        }
                        None => prop_assert_eq!(
                            read.unwrap_err().kind(),
                            io::ErrorKind::UnexpectedEof
                        ),
                    }
                }
                Step::Truncate(len) => {
                    spool.truncate(len).unwrap();
                    model.resize(len as usize, 0);
                }
                Step::Sync => spool.sync().unwrap(),
            }
            prop_assert_eq!(spool.len().unwrap(), model.len() as u64);
        }
        prop_assert!(contents(&spool) == model);
    }
}

#[test]
fn nothing_written_is_readable_in_the_file() {
    let (_parent, dir, spool) = spool();
    let marker = b"the marker that must not be found";
    let bytes: Vec<u8> = marker.iter().copied().cycle().take(3 * PAGE + 5).collect();
    spool.write_at(&bytes, 0).unwrap();
    spool.write_at(marker, 7).unwrap();
    contents(&spool);
    let files = files(&dir);
    assert_eq!(files.len(), 1);
    let raw = fs::read(&files[0]).unwrap();
    assert!(raw.len() > 3 * SLOT);
    assert!(!raw.windows(8).any(|window| window == &marker[..8]));
}

#[test]
fn a_page_changed_moved_or_put_back_is_refused() {
    let (_parent, dir, spool) = spool();
    spool.write_at(&vec![1; 3 * PAGE], 0).unwrap();
    spool.read_at(&mut [0], 0).unwrap();
    let path = files(&dir).remove(0);
    let honest = fs::read(&path).unwrap();
    let mut other_page = honest.clone();
    other_page.copy_within(..SLOT, SLOT);
    let mut flipped = honest.clone();
    flipped[SLOT + 100] ^= 1;
    let mut cut = honest.clone();
    cut.truncate(SLOT + 100);
    for (what, bytes) in [("moved", other_page), ("flipped", flipped), ("cut", cut)] {
        fs::write(&path, bytes).unwrap();
        spool.read_at(&mut [0], 0).unwrap();
        assert!(spool.read_at(&mut [0], PAGE as u64).is_err(), "{what}");
    }
    fs::write(&path, &honest).unwrap();
    spool.write_at(&[2], PAGE as u64).unwrap();
    spool.read_at(&mut [0], 0).unwrap();
    fs::write(&path, &honest).unwrap();
    let refused = spool.read_at(&mut [0], PAGE as u64).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::InvalidData);
}

#[test]
fn offsets_beyond_any_file_are_refused() {
    let (_parent, _dir, spool) = spool();
    for offset in [u64::MAX, u64::MAX - 1, i64::MAX as u64] {
        let kind = io::ErrorKind::FileTooLarge;
        assert_eq!(spool.write_at(&[1; 2], offset).unwrap_err().kind(), kind);
        assert_eq!(spool.read_at(&mut [1; 2], offset).unwrap_err().kind(), kind);
    }
    assert_eq!(spool.len().unwrap(), 0);
}

#[test]
fn spools_and_their_directory_go_when_dropped() {
    let (parent, dir, one) = spool();
    let two = dir.file().unwrap();
    one.write_at(b"one", 0).unwrap();
    two.write_at(b"two", 0).unwrap();
    assert_eq!(files(&dir).len(), 2);
    drop(one);
    assert_eq!(files(&dir).len(), 1);
    drop(dir);
    assert_eq!(contents(&two), b"two");
    drop(two);
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

/// Makes a directory as this module does, with files in it.
fn left(parent: &Path, name: &str, files: &[&str]) -> PathBuf {
    let path = parent.join(name);
    fs::create_dir(&path).unwrap();
    #[cfg(unix)]
    allow(&path, 0o700);
    for file in files {
        fs::write(path.join(file), b"left behind").unwrap();
    }
    path
}

#[cfg(unix)]
fn allow(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Long ago. Where the standard library can set the time of a directory.
#[cfg(unix)]
fn age(path: &Path) {
    let hour_ago = SystemTime::now() - Duration::from_secs(3600);
    File::open(path).unwrap().set_modified(hour_ago).unwrap();
}

#[test]
fn the_directory_of_a_dead_process_is_swept_and_that_of_a_live_one_kept() {
    let parent = tempfile::tempdir().unwrap();
    let live = SpoolDir::create(Some(parent.path())).unwrap();
    let spool = live.file().unwrap();
    let dead = left(parent.path(), ".coffer-dead00", &[OWNER, ".tmpAb3xY9", ".tmp000000"]);
    SpoolDir::create(Some(parent.path())).unwrap();
    assert!(!dead.exists());
    assert!(live.path().exists());
    spool.write_at(&vec![1; 2 * PAGE], 0).unwrap();
    assert_eq!(contents(&spool), vec![1; 2 * PAGE]);
}

#[cfg(unix)]
#[test]
fn a_directory_without_owner_is_swept_once_it_is_old() {
    let parent = tempfile::tempdir().unwrap();
    let [young, old, unlocked] =
        [("young0", None), ("old000", None), ("old001", Some(OWNER_UNLOCKED))]
            .map(|(name, file)| left(parent.path(), &format!("{PREFIX}{name}"), file.as_slice()));
    age(&old);
    age(&unlocked);
    SpoolDir::create(Some(parent.path())).unwrap();
    assert!(young.exists());
    assert!(!old.exists() && !unlocked.exists());
}

#[test]
fn what_is_not_a_spool_directory_is_not_swept() {
    let parent = tempfile::tempdir().unwrap();
    let other = left(parent.path(), "other", &[OWNER]);
    fs::write(parent.path().join(".coffer-file00"), b"").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(&other, parent.path().join(".coffer-link00")).unwrap();
    SpoolDir::create(Some(parent.path())).unwrap();
    assert!(other.join(OWNER).exists());
    assert!(parent.path().join(".coffer-file00").exists());
}

#[cfg(unix)]
#[test]
fn no_sweep_removes_anything_that_was_not_made_here() {
    let parent = tempfile::tempdir().unwrap();
    let make = |name: &str, files: &[&str]| left(parent.path(), name, files);
    // The names of directories that other programs and people make.
    let names = [
        ".coffer-backups",
        ".coffer-",
        ".coffer-a",
        ".coffer-ABCDEF",
        ".coffer-abcde",
        ".coffer-abcde\u{fc}",
        ".coffer-abcdef2",
        ".coffer-ab.def",
        ".coffer-abcde~",
    ];
    let mut kept: Vec<PathBuf> = names.map(|name| make(name, &[OWNER, ".tmpAb3xY9"])).into();
    // The right name, and something in it besides: then not even the rest is touched.
    let strange = ["precious.txt", ".tmp", ".tmpAb3xY", ".tmpAb3xY99", ".tmpAb3x/9", "owner2"];
    for (n, file) in strange.into_iter().enumerate() {
        let dir = make(&format!(".coffer-file0{n}"), &[OWNER, ".tmpAb3xY9"]);
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, b"precious").unwrap();
        kept.extend([dir.join(".tmpAb3xY9"), path]);
    }
    let tree = make(".coffer-backup", &[]);
    fs::create_dir_all(tree.join("2026")).unwrap();
    fs::write(tree.join("2026/precious.txt"), b"precious").unwrap();
    kept.push(tree.join("2026/precious.txt"));
    let link = make(".coffer-links0", &[OWNER]);
    std::os::unix::fs::symlink(&tree, link.join(".tmpAb3xY9")).unwrap();
    kept.push(link.join(OWNER));
    // Open to others, as no directory of this module is.
    let open = make(".coffer-open00", &[OWNER]);
    allow(&open, 0o755);
    kept.push(open.join(OWNER));
    for path in &kept {
        age(if path.is_dir() { path } else { path.parent().unwrap() });
    }
    // Of another user, if that can be arranged.
    let foreign = make(".coffer-others", &[OWNER]);
    if std::os::unix::fs::chown(&foreign, Some(54321), None).is_ok() {
        kept.push(foreign.join(OWNER));
    }
    SpoolDir::create(Some(parent.path())).unwrap();
    for path in kept {
        assert!(path.exists(), "{} is gone", path.display());
    }
}

#[test]
fn what_another_program_puts_into_a_live_directory_stays() {
    let (parent, dir, spool) = spool();
    let path = dir.path().join("precious.txt");
    fs::write(&path, b"precious").unwrap();
    drop((dir, spool));
    assert_eq!(fs::read(path).unwrap(), b"precious");
    drop(parent);
}

/// Where a file that is open can be removed.
#[cfg(unix)]
#[test]
fn a_directory_that_a_cleaner_removed_is_made_again() {
    let (parent, dir, before) = spool();
    before.write_at(b"before", 0).unwrap();
    let first = dir.path();
    fs::remove_dir_all(&first).unwrap();
    let after = dir.file().unwrap();
    after.write_at(&vec![7; 2 * PAGE], 0).unwrap();
    assert_ne!(dir.path(), first);
    assert_eq!(contents(&before), b"before");
    assert_eq!(contents(&after), vec![7; 2 * PAGE]);
    drop((dir, before, after));
    assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
}

#[cfg(unix)]
#[test]
fn directory_and_files_are_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let (_parent, dir, _spool) = spool();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir.path()), 0o700);
    assert_eq!(mode(&files(&dir)[0]), 0o600);
}

#[test]
fn a_temp_directory_that_does_not_exist_is_an_error_that_names_it() {
    let parent = tempfile::tempdir().unwrap();
    let missing = parent.path().join("missing");
    let Err(error) = SpoolDir::create(Some(&missing)) else {
        unreachable!("made in nothing");
    };
    assert_eq!(error.path(), Some(missing.as_path()));
}
