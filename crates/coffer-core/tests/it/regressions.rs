//! Defects that were found, each with the test that found it.

use crate::support::*;
use coffer_core::coffer::*;
use coffer_core::format::kind::Kind;
use coffer_core::progress::*;
use std::sync::atomic::*;
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn null() -> Case {
    Case { kind: Kind::null(), coffer_key: None, secure_key: None }
}

fn send(
    c: &Coffer,
    change: Change,
    batch: Option<u64>,
) -> mpsc::Receiver<coffer_core::error::Result<Outcome>> {
    let (s, r) = mpsc::channel();
    c.submit(change, batch, Box::new(move |x| drop(s.send(x))));
    r
}

#[test]
fn closing_waits_for_a_batch_that_is_open() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    let Outcome::Batch(b) = c.change(Change::Begin).unwrap() else { panic!() };
    let closing = send(&c, Change::Close, None);
    std::thread::sleep(Duration::from_millis(100));
    let end = send(&c, Change::End { commit: true }, Some(b)).recv().unwrap();
    assert!(end.is_ok(), "{end:?}");
    closing.recv_timeout(Duration::from_secs(30)).unwrap().unwrap();
}

struct Once {
    fired: AtomicBool,
    coffer: Mutex<Option<Coffer>>,
}
impl Progress for Once {
    fn advance(&self, _r: Report) {
        if !self.fired.swap(true, Ordering::SeqCst) {
            let c = self.coffer.lock().unwrap().take().unwrap();
            c.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
        }
    }
}

/// extract + compaction in the middle: the packs' numbers change under it.
#[test]
fn extraction_gives_the_right_bytes_while_the_coffer_is_compacted() {
    for case in cases().iter().rev() {
        let dir = directory();
        let p = path(&dir);
        let c = case.open(&p, Mode::Write);
        let Outcome::Batch(b) = c.change(Change::Begin).unwrap() else { panic!() };
        for i in 0..3000u32 {
            let data: Vec<u8> = i.to_le_bytes().iter().copied().cycle().take(15_000).collect();
            drop(send(&c, Change::write(&format!("m{i:04}"), Arc::new(data)), Some(b)));
        }
        send(&c, Change::End { commit: true }, Some(b)).recv().unwrap().unwrap();
        flush(&c);
        for i in 0..600 {
            c.submit(
                Change::Delete { name: format!("m{i:04}"), recursive: false },
                None,
                Box::new(drop),
            );
        }
        flush(&c);
        let out = dir.path().join(case.name());
        let once =
            Arc::new(Once { fired: AtomicBool::new(false), coffer: Mutex::new(Some(c.clone())) });
        let watch = CallObserver { cancel: Cancel::default(), progress: Some(once) };
        let r = c.extract(&Selection::All.into(), &out, &watch);
        let mut bad = 0;
        for i in 600..3000u32 {
            let got = std::fs::read(out.join(format!("m{i:04}"))).unwrap();
            let want: Vec<u8> = i.to_le_bytes().iter().copied().cycle().take(15_000).collect();
            bad += u32::from(got != want);
        }
        assert_eq!((r.unwrap().files, bad), (2_400, 0), "{}", case.name());
        c.close().unwrap();
    }
}

#[test]
fn the_cancel_flag_of_an_open_says_nothing_to_later_calls() {
    let dir = directory();
    let cancel = Cancel::default();
    let mut o = null().options(Mode::Write);
    o.cancel = cancel.clone();
    let c = Coffer::open(&path(&dir), o).unwrap();
    write(&c, "a", b"x");
    cancel.cancel();
    c.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
}

#[test]
fn the_status_is_new_when_a_flush_returns() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    let mut stale = 0;
    for i in 0..300 {
        write(&c, "a", &[i as u8]);
        flush(&c);
        let s = c.status();
        if s.modified || s.commit.generation != i + 2 {
            stale += 1;
        }
    }
    assert_eq!(stale, 0);
}

/// A version given again after a batch was undone.
#[test]
fn a_version_that_was_undone_is_not_given_again() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    let Outcome::Batch(b) = c.change(Change::Begin).unwrap() else { panic!() };
    send(&c, Change::write("x", Arc::new(b"AAAA".to_vec())), Some(b)).recv().unwrap().unwrap();
    let first = c.read_range("x", 0, 2, None).unwrap();
    send(&c, Change::End { commit: false }, Some(b)).recv().unwrap().unwrap();
    write(&c, "x", b"BBBB");
    let second = c.read_range("x", 2, 2, Some(first.version));
    assert!(second.is_err(), "two versions in one stream");
}

/// An uncommitted tail of more than 64 MiB, then death: the tar must still be a tar.
#[test]
fn a_long_uncommitted_tail_is_cut_off_whole() {
    let dir = directory();
    let p = path(&dir);
    let case = null();
    let c = case.open(&p, Mode::Write);
    write(&c, "first", b"1");
    flush(&c);
    let size = std::fs::metadata(&p).unwrap().len();
    write(&c, "big", &noise(1, 100 << 20));
    // "Killed": copy the file as it is now.
    let q = dir.path().join("copy.coffer");
    std::fs::copy(&p, &q).unwrap();
    let d = case.open(&q, Mode::Append);
    write(&d, "second", b"2");
    flush(&d);
    d.close().unwrap();
    let now = std::fs::metadata(&q).unwrap().len();
    let tar = zstd::decode_all(std::fs::File::open(&q).unwrap()).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let seen: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|e| {
            e.map_or_else(|e| format!("ERROR {e}"), |e| e.path().unwrap().display().to_string())
        })
        .collect();
    assert_eq!(seen.len(), 3, "committed {size} bytes, now {now}; tar: {seen:?}");
}

/// The footer of one commit and the whole next commit are in one bad sector.
#[test]
fn an_authentic_footer_behind_damage_is_not_cut_away_silently() {
    let dir = directory();
    let p = path(&dir);
    let case = &cases()[2];
    let c = case.open(&p, Mode::Write);
    write(&c, "a", b"1");
    flush(&c);
    let l0 = std::fs::metadata(&p).unwrap().len();
    write(&c, "b", b"2");
    flush(&c);
    let l1 = std::fs::metadata(&p).unwrap().len();
    write(&c, "c", b"3");
    flush(&c);
    drop(c);
    std::thread::sleep(Duration::from_millis(100));
    let mut bytes = std::fs::read(&p).unwrap();
    let find = |tag: &[u8], from: u64| {
        bytes.windows(4).enumerate().find(|(i, w)| *i as u64 >= from && *w == tag).unwrap().0
    };
    let f1 = find(b"cofF", l0);
    let c2 = find(b"cofC", l1);
    for b in &mut bytes[f1 + 40..f1 + 60] {
        *b ^= 1
    }
    for b in &mut bytes[c2 + 40..c2 + 60] {
        *b ^= 1
    }
    std::fs::write(&p, &bytes).unwrap();
    let d = case.open(&p, Mode::Append);
    assert!(d.notices().iter().any(|n| n.code == "damaged-commit"), "{:?}", d.notices());
    d.close().unwrap();
    let torn = p.with_file_name("test.coffer.torn");
    assert!(torn.exists(), "cut away silently");
}

/// Damaged twice: is the first .torn kept?
#[test]
fn what_was_saved_as_torn_stays_when_more_is_saved() {
    let dir = directory();
    let p = path(&dir);
    let case = &cases()[2];
    let torn = p.with_file_name("test.coffer.torn");
    let mut first = None;
    case.open(&p, Mode::Write).close().unwrap();
    for round in 0..2 {
        let c = case.open(&p, Mode::Append);
        write(&c, "a", format!("round {round}").as_bytes());
        c.close().unwrap();
        let mut bytes = std::fs::read(&p).unwrap();
        let at = bytes.windows(4).enumerate().rfind(|(_, w)| *w == b"cofC").unwrap().0;
        bytes[at + 60] ^= 1;
        std::fs::write(&p, &bytes).unwrap();
        let d = case.open(&p, Mode::Append);
        d.close().unwrap();
        let now = std::fs::read(&torn).unwrap();
        if round == 0 {
            first = Some(now)
        } else {
            let all: Vec<Vec<u8>> = std::fs::read_dir(dir.path())
                .unwrap()
                .map(|e| std::fs::read(e.unwrap().path()).unwrap())
                .collect();
            assert!(all.contains(first.as_ref().unwrap()), "the first .torn is lost");
        }
    }
}

struct Deletes(Mutex<Option<Coffer>>);
impl Progress for Deletes {
    fn advance(&self, _r: Report) {
        let Some(c) = self.0.lock().unwrap().take() else { return };
        for i in 100..400 {
            c.submit(
                Change::Delete { name: format!("m{i}"), recursive: false },
                None,
                Box::new(drop),
            );
        }
        flush(&c);
    }
}

/// verify while a writer in the same process deletes.
#[test]
fn a_sound_coffer_verifies_while_members_are_deleted() {
    let dir = directory();
    let c = cases()[2].open(&path(&dir), Mode::Write);
    for i in 0..400 {
        write(&c, &format!("m{i}"), &noise(i, 20_000));
    }
    flush(&c);
    let watch = CallObserver {
        cancel: Cancel::default(),
        progress: Some(Arc::new(Deletes(Mutex::new(Some(c.clone()))))),
    };
    c.verify(&watch).unwrap();
}

#[test]
fn the_status_is_new_when_a_change_is_answered() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    write(&c, "a", b"1");
    let (s, r) = mpsc::channel();
    let d = c.clone();
    c.submit(Change::Flush { force: false }, None, Box::new(move |_| s.send(d.status()).unwrap()));
    let st = r.recv().unwrap();
    assert!(!st.modified && st.commit.generation == 2, "{} {}", st.modified, st.commit.generation);
}

/// A panic on the pool.
#[test]
fn a_panic_on_the_pool_fails_the_call_and_not_the_process() {
    let r = coffer_core::io::pool::start(|| -> u8 { panic!("boom") });
    assert!(r.recv().is_err());
}

struct Stop(Cancel);
impl Progress for Stop {
    fn advance(&self, _report: Report) {
        self.0.cancel();
    }
}

#[test]
fn an_extraction_that_is_stopped_leaves_the_file_that_it_was_to_replace() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    write(&c, "sub/large", &vec![7; 20_000_000]);
    let out = dir.path().join("out");
    std::fs::create_dir_all(out.join("sub")).unwrap();
    let old = out.join("sub/large");
    std::fs::write(&old, "mine").unwrap();
    let cancel = Cancel::default();
    let watch = CallObserver { cancel: cancel.clone(), progress: Some(Arc::new(Stop(cancel))) };
    c.extract(&Selection::All.into(), &out, &watch).unwrap_err();
    assert_eq!(std::fs::read(&old).unwrap(), b"mine");
    assert_eq!(std::fs::read_dir(out.join("sub")).unwrap().count(), 1);
    c.extract(&Selection::All.into(), &out, &CallObserver::silent()).unwrap();
    assert_eq!(std::fs::read(&old).unwrap(), vec![7; 20_000_000]);
    assert_eq!(std::fs::read_dir(out.join("sub")).unwrap().count(), 1);
    c.close().unwrap();
}

#[cfg(unix)]
#[test]
fn an_extraction_that_replaces_nothing_writes_nothing_where_a_link_is_in_the_way() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    write(&c, "a", b"1");
    write(&c, "b", b"2");
    let out = dir.path().join("out");
    std::fs::create_dir(&out).unwrap();
    std::os::unix::fs::symlink("nowhere", out.join("b")).unwrap();
    let extraction = Extraction { replace: false, ..Selection::All.into() };
    let error = c.extract(&extraction, &out, &CallObserver::silent()).unwrap_err();
    assert_eq!(error.code(), coffer_core::error::Code::UnsafePath);
    assert_eq!(std::fs::read_dir(&out).unwrap().count(), 1);
    c.close().unwrap();
}

/// Everything is rewritten already, but the new file has not taken the old one's place.
#[test]
fn rekeying_is_called_off_until_the_new_file_is_there() {
    let dir = directory();
    let p = path(&dir);
    let case = &cases()[2];
    let c = case.open(&p, Mode::Write);
    write(&c, "small", b"1");
    let cancel = Cancel::default();
    let progress = Some(Arc::new(Stop(cancel.clone())) as Arc<dyn Progress>);
    let to = NewCredentials {
        coffer_key: Some(coffer_core::crypto::key::Key::generate(32)),
        secure_key: None,
        passphrase: None,
        kdf: coffer_core::crypto::kdf::KdfChoice::default(),
        cipher: None,
    };
    let stopped =
        c.change(Change::Rekey { to, watch: CallObserver { cancel, progress } }).unwrap_err();
    assert_eq!(stopped.code(), coffer_core::error::Code::Aborted);
    c.close().unwrap();
    assert_eq!(case.open(&p, Mode::Read).read("small").unwrap(), b"1");
}

/// No member is in the first block, but other readers of the tar begin with it.
#[test]
fn verification_sees_damage_to_the_first_block() {
    for case in cases().iter().filter(|case| case.kind.container.cipher.is_none()) {
        let dir = directory();
        let p = path(&dir);
        let c = case.open(&p, Mode::Write);
        write(&c, "a", b"1");
        c.close().unwrap();
        let mut file = std::fs::read(&p).unwrap();
        let root = file.windows(4).position(|bytes| bytes == [0x28, 0xB5, 0x2F, 0xFD]).unwrap();
        file[root + 10] ^= 1;
        std::fs::write(&p, file).unwrap();
        let c = case.open(&p, Mode::Read);
        assert_eq!(c.read("a").unwrap(), b"1");
        let error = c.verify(&CallObserver::silent()).unwrap_err();
        assert_eq!(error.code(), coffer_core::error::Code::Corrupt);
        assert_eq!(error.member(), None);
    }
}

/// What follows the tar's end was not looked at, nor whether the last chunk is all there.
#[test]
fn a_legacy_coffer_is_checked_to_its_end() {
    let dir = directory();
    let p = path(&dir);
    let case = &cases()[2];
    let mut header = tar::Header::new_gnu();
    header.set_path("a").unwrap();
    header.set_entry_type(tar::EntryType::Directory);
    header.set_size(0);
    header.set_mode(0o644);
    header.set_mtime(0);
    header.set_cksum();
    let key = case.coffer_key.as_ref().unwrap();
    let seal =
        coffer_core::crypto::seal::make(coffer_core::format::kind::Cipher::Secretbox, key).unwrap();
    let mut file = Vec::new();
    let mut chunks = Vec::new();
    for tar in [&header.as_bytes()[..], &[0; 1024], &[0; 8192]] {
        chunks.push(file.len());
        let packed = zstd::encode_all(tar, 1).unwrap();
        coffer_core::format::chunk::put_all(&*seal, &packed, 1 << 16, &mut file);
    }
    let open = |file: &[u8]| {
        std::fs::write(&p, file).unwrap();
        Coffer::open(&p, Options { legacy: true, ..case.options(Mode::Read) })
    };
    assert_eq!(names(&open(&file).unwrap()), ["a"]);
    for at in [file.len() - 1, chunks[2] + 1] {
        let mut bad = file.clone();
        bad[at] ^= 1;
        let error = open(&bad).err().unwrap();
        assert_eq!(error.code(), coffer_core::error::Code::Corrupt, "byte {at}");
    }
}

/// Such a name in the catalog would keep the coffer from opening again.
#[test]
fn an_empty_directory_whose_name_is_too_long_is_not_added() {
    let dir = directory();
    let c = null().open(&path(&dir), Mode::Write);
    write(&c, "kept", b"1");
    let source = dir.path().join("tree");
    let deep = vec!["d".repeat(200); 18].join("/");
    std::fs::create_dir_all(source.join(deep)).unwrap();
    let change = Change::Add {
        source,
        name: Some("n".repeat(200)),
        replace: false,
        symlinks: Symlinks::Follow,
        watch: CallObserver::silent(),
    };
    assert_eq!(c.change(change).unwrap_err().code(), coffer_core::error::Code::InvalidArg);
    c.close().unwrap();
    assert_eq!(null().open(&path(&dir), Mode::Read).read("kept").unwrap(), b"1");
}

/// Deletes a member beside the last one, so that this moves, and compacts: then it is where it was,
/// with the same numbers, but in another file.
struct Compacts(Mutex<Option<Coffer>>);
impl Progress for Compacts {
    fn advance(&self, _r: Report) {
        let Some(c) = self.0.lock().unwrap().take() else { return };
        delete(&c, "last-1").unwrap();
        flush(&c);
        c.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
    }
}

/// verify while a writer in the same process compacts.
#[test]
fn a_sound_coffer_verifies_while_it_is_compacted() {
    for case in cases() {
        let dir = directory();
        let mut options = case.options(Mode::Write);
        options.auto_flush = Some(false);
        let c = Coffer::open(&path(&dir), options).unwrap();
        // Two to a pack, and so many packs that the last one is looked at after the first report.
        for i in 0..4 * coffer_core::io::pool::window() as u64 + 4 {
            write(&c, &format!("m{i}"), &noise(i, 120_000));
        }
        flush(&c);
        write(&c, "last-0", &noise(7, 120_000));
        write(&c, "last-1", &noise(8, 120_000));
        flush(&c);
        let watch = CallObserver {
            cancel: Cancel::default(),
            progress: Some(Arc::new(Compacts(Mutex::new(Some(c.clone()))))),
        };
        c.verify(&watch).unwrap();
        c.close().unwrap();
    }
}

/// Some were not answered at all, which the facade calls an internal error.
#[test]
fn closes_that_meet_are_all_answered() {
    let dir = directory();
    for _ in 0..100 {
        let c = null().open(&path(&dir), Mode::Write);
        let closing: Vec<_> = (0..4)
            .map(|_| {
                let c = c.clone();
                std::thread::spawn(move || send(&c, Change::Close, None).recv())
            })
            .collect();
        for thread in closing {
            // An answer that was dropped is an error of the channel.
            thread.join().unwrap().unwrap().unwrap();
        }
    }
}

/// Removes the lock file and puts another one in its place, as PyCoffer may, and appends what
/// another writer would have. Gives the file as it is then.
#[cfg(unix)]
fn intrude(p: &std::path::Path) -> Vec<u8> {
    use std::io::Write;
    let lock = p.with_file_name("test.coffer.lock");
    // The number of the old file is not given to the new one.
    let _old = std::fs::File::open(&lock).unwrap();
    std::fs::remove_file(&lock).unwrap();
    std::fs::write(&lock, "").unwrap();
    let mut file = std::fs::OpenOptions::new().append(true).open(p).unwrap();
    file.write_all(b"what another process writes").unwrap();
    std::fs::read(p).unwrap()
}

/// A full pack was written, and a tail cut off, where another process had written since.
#[cfg(unix)]
#[test]
fn nothing_is_written_or_cut_off_after_the_lock_was_lost() {
    use coffer_core::error::Code;
    let case = &cases()[2];
    for how in ["full packs", "a tree", "a batch undone", "a change undone", "a handle dropped"] {
        let dir = directory();
        let p = path(&dir);
        let mut options = case.options(Mode::Write);
        options.auto_flush = Some(how == "a change undone");
        let c = Coffer::open(&p, options).unwrap();
        write(&c, "first", b"1");
        flush(&c);
        let small = |i: u64| Change::write(&format!("m{i}"), Arc::new(noise(i, 60_000)));
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        (0..40).for_each(|i| std::fs::write(tree.join(i.to_string()), noise(i, 60_000)).unwrap());
        let add = || Change::Add {
            source: tree.clone(),
            name: None,
            replace: false,
            symlinks: Symlinks::Follow,
            watch: CallObserver::silent(),
        };
        let left = match how {
            "full packs" => {
                let left = intrude(&p);
                let failed = (0..100).find_map(|i| c.change(small(i)).err()).unwrap();
                assert_eq!(failed.code(), Code::Poisoned, "{how}");
                left
            }
            "a tree" => {
                let left = intrude(&p);
                assert_eq!(c.change(add()).unwrap_err().code(), Code::Poisoned, "{how}");
                left
            }
            "a batch undone" => {
                let Outcome::Batch(b) = c.change(Change::Begin).unwrap() else { panic!() };
                let large = Change::write("large", Arc::new(noise(1, 2 << 20)));
                send(&c, large, Some(b)).recv().unwrap().unwrap();
                let left = intrude(&p);
                drop(send(&c, Change::End { commit: false }, Some(b)).recv().unwrap());
                left
            }
            "a change undone" => {
                let left = intrude(&p);
                let missing = Change::Add {
                    source: dir.path().join("missing"),
                    name: None,
                    replace: false,
                    symlinks: Symlinks::Follow,
                    watch: CallObserver::silent(),
                };
                c.change(missing).unwrap_err();
                left
            }
            _ => {
                write(&c, "large", &noise(1, 2 << 20));
                let left = intrude(&p);
                let file = std::fs::File::open(&p).unwrap();
                drop(c);
                // The thread holds this lock until it has ended.
                file.lock().unwrap();
                assert!(std::fs::read(&p).unwrap() == left, "{how}");
                continue;
            }
        };
        assert!(std::fs::read(&p).unwrap() == left, "{how}: something was written or cut off");
        drop(c.close());
        assert!(std::fs::read(&p).unwrap() == left, "{how}, closed");
    }
}

/// What compaction gives back is all that is neither live nor needed to open the coffer.
#[test]
fn footers_count_as_dead_once_a_commit_follows() {
    let dir = directory();
    let c = cases()[2].open(&path(&dir), Mode::Write);
    for i in 0..1500u32 {
        write(&c, "counter", &i.to_le_bytes());
        flush(&c);
    }
    let info = c.info().unwrap();
    let rest = info.file_size - info.live_bytes - info.dead_bytes;
    // The header and its copy, and the commits since the last snapshot.
    assert!(rest < 140 << 10, "{rest} of {} bytes are neither live nor dead", info.file_size);
    c.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
    // The new file remembers each commit, in 33 bytes and its number.
    let saved = info.file_size - c.info().unwrap().file_size + 1501 * 35;
    assert!(info.dead_bytes <= saved, "{} dead, but {saved} were given back", info.dead_bytes);
}
