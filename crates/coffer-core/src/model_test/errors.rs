//! Injected errors: every call of a session on the disk fails, once or from then on.
//!
//! A session of all kinds of changes runs on a simulated disk once for each call that it makes, and
//! that call fails. The caller must get the error with its code, the state before must stay readable,
//! a sync that failed must end all writing, no file may stay open or be left behind, and afterwards
//! the coffer must open at the last flush that returned or at a later one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::disk::{Disk, Fault, Image};
use super::state::{Members, lens};
use super::workload::{ERRNOS, new_keys};
use crate::coffer::{Change, Coffer, Existing, LockMode, Mode, Options, Outcome};
use crate::engine::credentials::NewCredentials;
use crate::error::{Code, Error, Result};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind, KindName};
use crate::progress::CallObserver;

/// A step of a session.
#[derive(Debug, Clone, Copy)]
enum SessionStep {
    Write(&'static str, usize),
    /// Bytes that come in parts.
    Upload(&'static str, usize),
    Append(&'static str, usize),
    Delete(&'static str),
    /// Two writes that are one.
    Batch(&'static str, &'static str),
    Flush,
    Compact,
    Rekey,
    Reopen,
    /// Closes, and opens to replace the coffer.
    Replace,
}

const LARGE: usize = 150 << 10;
const SESSION: [SessionStep; 20] = [
    SessionStep::Write("small", 900),
    SessionStep::Write("large", LARGE),
    SessionStep::Flush,
    SessionStep::Write("small", 5000),
    SessionStep::Upload("staged", LARGE + 5),
    SessionStep::Append("large", 7000),
    SessionStep::Flush,
    SessionStep::Delete("staged"),
    SessionStep::Batch("one", "two"),
    SessionStep::Flush,
    SessionStep::Reopen,
    SessionStep::Write("small", 300),
    SessionStep::Compact,
    SessionStep::Append("small", 20),
    SessionStep::Flush,
    SessionStep::Rekey,
    SessionStep::Write("after", 2000),
    SessionStep::Delete("one"),
    SessionStep::Flush,
    SessionStep::Reopen,
];

/// A session that replaces the coffer: with changes before its first commit, and with none.
const REPLACING: [SessionStep; 9] = [
    SessionStep::Write("old", 900),
    SessionStep::Replace,
    SessionStep::Write("small", 700),
    SessionStep::Write("large", LARGE),
    SessionStep::Delete("small"),
    SessionStep::Flush,
    SessionStep::Write("small", 30),
    SessionStep::Replace,
    SessionStep::Reopen,
];

/// The errors of a disk, how many bytes of a write that fails arrive, and whether all fails from then
/// on.
const FAULTS: [(i32, usize, bool); 6] = [
    (ERRNOS[0], 0, false),
    (ERRNOS[0], 700, true),
    (ERRNOS[1], 100, false),
    (ERRNOS[1], usize::MAX, false),
    (ERRNOS[1], 0, true),
    (ERRNOS[2], 1, false),
];

#[test]
fn every_call_of_a_session_may_fail() {
    let store = FAULTS.map(|fault| (&SESSION[..], Kind::store(), fault)).to_vec();
    let others = [Kind::bank(Cipher::AesOcb), Kind::null()]
        .into_iter()
        .flat_map(|kind| FAULTS[..3].iter().map(move |fault| (&SESSION[..], kind, *fault)));
    let replacing = [Kind::store(), Kind::market()]
        .into_iter()
        .flat_map(|kind| FAULTS.map(|fault| (&REPLACING[..], kind, fault)));
    let cases: Vec<_> = store.into_iter().chain(others).chain(replacing).collect();
    let (next, runs) = (AtomicU64::new(0), AtomicU64::new(0));
    let work = || {
        while let Some((steps, kind, (errno, torn, forever))) =
            cases.get(next.fetch_add(1, Ordering::Relaxed) as usize)
        {
            let mut untold = 0;
            for after in 0.. {
                let (errno, torn, forever) = (*errno, *torn, *forever);
                let fault = Fault { after, looks: true, forever, errno, torn };
                let Some(told) = Session::new(steps, *kind, fault).run() else {
                    assert!(after > 5 * steps.len() as u64, "the session makes but {after} calls");
                    break;
                };
                untold += usize::from(!told);
                runs.fetch_add(1, Ordering::Relaxed);
            }
            // Each flush writes one note.
            assert!(untold <= SESSION.len(), "{untold} writes failed without an error");
        }
    };
    std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(2, usize::from);
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    println!("{} sessions", runs.into_inner());
}

/// A session, and what may be in the coffer.
struct Session {
    steps: &'static [SessionStep],
    kind: Kind,
    fault: Fault,
    disk: Arc<Disk>,
    dir: tempfile::TempDir,
    path: PathBuf,
    keys: Keys,
    /// What the handle shows.
    shown: Members,
    /// The states that the file may have, with their keys: `None` before there is a coffer.
    durable: Vec<(Option<Members>, Keys)>,
    errors: usize,
    /// Whether the call that failed was not needed for any promise.
    spared: bool,
}

impl Session {
    fn new(steps: &'static [SessionStep], kind: Kind, fault: Fault) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("faulty.coffer");
        let keys = new_keys(&kind);
        let durable = vec![(None, keys.clone())];
        let (disk, shown) = (Disk::new(Image::default()), Members::new());
        let (errors, spared) = (0, false);
        Self { steps, kind, fault, disk, dir, path, keys, shown, durable, errors, spared }
    }

    /// Runs the session. If a call failed, gives whether the caller got an error or needed none.
    fn run(mut self) -> Option<bool> {
        self.disk.fail(Some(self.fault));
        self.steps();
        let (failed, again) = (self.disk.failed(), self.disk.read_again());
        self.disk.fail(None);
        // Removing and listing what was left unfinished may wait until the next opening.
        let may_wait = failed.is_none_or(|what| matches!(what, "list" | "remove"));
        // A block that a flush could not read is read once more.
        let again = failed == Some("read") && again;
        let told = may_wait || again || self.spared || self.errors > 0;
        // So may the note that dead blocks are overwritten.
        assert!(
            told || failed == Some("write"),
            "{:?}: {failed:?} failed without an error",
            self.fault
        );
        self.nothing_open();
        self.afterwards();
        failed.map(|_| told)
    }

    fn steps(&mut self) {
        self.durable.push((Some(Members::new()), self.keys.clone()));
        let Ok(mut coffer) = self.open(Mode::Exclusive) else { return };
        self.durable.remove(0);
        for (number, step) in self.steps.iter().enumerate() {
            let mode = match step {
                SessionStep::Reopen => Some(Mode::Append),
                SessionStep::Replace => Some(Mode::Write),
                _ => None,
            };
            if let Some(mode) = mode {
                if !self.close(coffer) {
                    return;
                }
                let Ok(opened) = self.open(mode) else { return };
                coffer = opened;
                self.shown = match mode {
                    // The old coffer stays until the first commit.
                    Mode::Write => Members::new(),
                    _ => self.durable.last().unwrap().0.clone().unwrap(),
                };
                continue;
            }
            let (before, failed) = (self.shown.clone(), self.disk.failed());
            let result = self.step(&coffer, *step, number);
            if let Err(error) = result {
                self.judge(&error);
                if matches!(step, SessionStep::Flush)
                    && self.disk.failed() == Some("sync")
                    && failed.is_none()
                    // The backup before the first commit changes nothing of the coffer.
                    && error.syscall() != Some("copy")
                {
                    let again = coffer.change(Change::Flush { force: true });
                    assert_eq!(again.unwrap_err().code(), Code::Poisoned, "{:?}", self.fault);
                }
                self.still_reads(&coffer, &before);
            }
        }
        self.close(coffer);
    }

    fn options(&self, mode: Mode, keys: &Keys) -> Options {
        let mut options = Options::new(mode, self.kind);
        options.coffer_key = keys.coffer.clone();
        options.secure_key = keys.secure.clone();
        options.accept_file_cipher = self.kind.name == KindName::Bank;
        options.piece_size = Some(64 << 10);
        // Only who holds locks removes what was left unfinished.
        options.lock = LockMode::ReadWrite;
        options.lock_timeout = std::time::Duration::from_secs(10);
        options.backup = Some(".bak".to_owned());
        // What no call waits for would fail without an error: a scrub of its own accord.
        options.scrub_delay = std::time::Duration::from_secs(3600);
        options.temp_dir = Some(self.dir.path().to_owned());
        options
    }

    fn open(&mut self, mode: Mode) -> Result<Coffer> {
        let options = self.options(mode, &self.keys);
        let opened = Coffer::open_in(self.disk.directory(), &self.path, options);
        opened.inspect_err(|error| self.judge(error))
    }

    /// Closes the coffer, and tells whether the session can go on.
    fn close(&mut self, coffer: Coffer) -> bool {
        self.durable.push((Some(self.shown.clone()), self.keys.clone()));
        let usable = self.errors == 0 || coffer.change(Change::Flush { force: true }).is_ok();
        let failed = self.disk.failed();
        let closed = coffer.close();
        // The same holds for a compaction while it was open, which a notice tells of.
        self.spared |= coffer.notices().iter().any(|notice| notice.code == "not-compacted");
        match closed {
            Ok(()) if usable => {
                // The coffer is whole without the compaction at its close.
                self.spared |= failed.is_none() && self.disk.failed().is_some();
                self.durable.drain(..self.durable.len() - 1);
            }
            Ok(()) => {}
            Err(error) => {
                self.judge(&error);
                return false;
            }
        }
        usable
    }

    /// Makes the changes of a step, and notes what may be in the file then.
    fn step(&mut self, coffer: &Coffer, step: SessionStep, number: usize) -> Result<()> {
        let mut after = self.shown.clone();
        let mut keys = self.keys.clone();
        let changes = self.changes(coffer, step, number, &mut after, &mut keys);
        let whole = matches!(step, SessionStep::Flush | SessionStep::Compact | SessionStep::Rekey);
        let flushes = !changes.is_empty() && (whole || self.kind.auto_flush);
        if flushes {
            self.durable.push((Some(after.clone()), self.keys.clone()));
            if let SessionStep::Rekey = step {
                self.durable.push((Some(after.clone()), keys.clone()));
            }
        }
        if let SessionStep::Batch(..) = step {
            batch(coffer, changes)?;
        } else {
            changes.into_iter().try_for_each(|change| coffer.change(change).map(drop))?;
        }
        if flushes {
            self.durable.drain(..self.durable.len() - 1);
        }
        (self.shown, self.keys) = (after, keys);
        Ok(())
    }

    /// The changes of a step, with the members and the keys after it.
    fn changes(
        &self,
        coffer: &Coffer,
        step: SessionStep,
        number: usize,
        after: &mut Members,
        keys: &mut Keys,
    ) -> Vec<Change> {
        let bytes = |len: usize| -> Arc<Vec<u8>> {
            let mut bytes = vec![0; len];
            blake3::Hasher::new().update(&[number as u8]).finalize_xof().fill(&mut bytes);
            Arc::new(bytes)
        };
        match step {
            SessionStep::Write(name, len) => {
                after.insert(name.to_owned(), bytes(len));
                vec![Change::write(name, bytes(len))]
            }
            SessionStep::Upload(name, len) => {
                after.insert(name.to_owned(), bytes(len));
                let stage = coffer.upload(name);
                for portion in bytes(len).chunks(50_000) {
                    stage.write(portion, Box::new(drop));
                }
                let (name, existing) = (name.to_owned(), Existing::Replace);
                vec![Change::Upload { name, upload: stage, existing, mode: None, mtime: None }]
            }
            SessionStep::Append(name, len) => {
                let old = after.get(name).map(|old| old.to_vec()).unwrap_or_default();
                after.insert(name.to_owned(), Arc::new([old, bytes(len).to_vec()].concat()));
                vec![Change::Append { name: name.to_owned(), data: bytes(len) }]
            }
            SessionStep::Delete(name) if !after.contains_key(name) => Vec::new(),
            SessionStep::Delete(name) => {
                after.remove(name);
                vec![Change::Delete { name: name.to_owned(), recursive: false }]
            }
            SessionStep::Batch(one, two) => {
                let names = [one, two];
                after.extend(names.map(|name| (name.to_owned(), bytes(400))));
                names.map(|name| Change::write(name, bytes(400))).into()
            }
            SessionStep::Flush => vec![Change::Flush { force: false }],
            SessionStep::Compact => vec![Change::Compact { watch: CallObserver::silent() }],
            SessionStep::Rekey if !self.kind.is_sealed() => Vec::new(),
            SessionStep::Rekey => {
                *keys = new_keys(&self.kind);
                vec![Change::Rekey { to: new_secret(keys), watch: CallObserver::silent() }]
            }
            SessionStep::Reopen | SessionStep::Replace => Vec::new(),
        }
    }

    /// Checks an error that a call returned.
    fn judge(&mut self, error: &Error) {
        let Fault { errno, .. } = self.fault;
        let refused = error.code() == Code::Io && error.errno() == Some(errno);
        let poisoned = error.code() == Code::Poisoned && self.errors > 0;
        assert!(
            self.disk.failed().is_some() && (refused || poisoned),
            "{:?}: {:?} failed, and the error is {error:?}",
            self.fault,
            self.disk.failed()
        );
        self.errors += 1;
    }

    /// After a change that failed the handle shows what was there before it.
    fn still_reads(&mut self, coffer: &Coffer, before: &Members) {
        if self.fault.forever {
            return;
        }
        let listed: Vec<String> = coffer
            .members(None, None, None)
            .unwrap()
            .into_iter()
            .map(|member| member.name)
            .collect();
        let seen: Members = listed
            .into_iter()
            .map(|name| {
                let bytes = coffer.read(&name);
                let bytes = bytes
                    .unwrap_or_else(|e| panic!("{:?}: {name} does not read: {e:?}", self.fault));
                (name, Arc::new(bytes))
            })
            .collect();
        // A commit that may be on the disk is not undone.
        let may = self.durable.iter().any(|(members, _)| members.as_ref() == Some(&seen));
        assert!(
            seen == *before || may,
            "{:?}: shows {:?}, before it was {:?}",
            self.fault,
            lens(&seen),
            lens(before)
        );
        self.shown = seen;
    }

    /// Waits until the writing thread has closed all files.
    fn nothing_open(&self) {
        for _ in 0..6000 {
            if self.disk.open() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}: {} files stay open", self.fault, self.disk.open());
    }

    /// Checks, with a disk that works again, that the coffer opens in an acceptable state and that no
    /// files are left beside it.
    fn afterwards(&self) {
        let there = self.disk.image().file(&self.path).is_some();
        if !there {
            let may = self.durable.iter().any(|(members, _)| members.is_none());
            return assert!(may, "{:?}: the coffer is gone", self.fault);
        }
        let opened = self.durable.iter().rev().find_map(|(_, keys)| {
            let options = self.options(Mode::Append, keys);
            match Coffer::open_in(self.disk.directory(), &self.path, options) {
                Err(e) if e.code() == Code::WrongKey => None,
                opened => Some(opened),
            }
        });
        let coffer = match opened {
            Some(Ok(coffer)) => coffer,
            Some(Err(e)) => panic!("{:?}: does not open: {e:?}", self.fault),
            None => panic!("{:?}: no key that it may have opens it", self.fault),
        };
        coffer.verify(&CallObserver::silent()).unwrap();
        let members = coffer.members(None, None, None).unwrap().into_iter();
        let found: Members =
            members.map(|m| (m.name.clone(), Arc::new(coffer.read(&m.name).unwrap()))).collect();
        assert!(
            self.durable.iter().any(|(members, _)| members.as_ref() == Some(&found)),
            "{:?}: has {:?}, may have {:?}",
            self.fault,
            lens(&found),
            self.durable.iter().map(|(m, _)| m.as_ref().map(lens)).collect::<Vec<_>>()
        );
        coffer.close().unwrap();
        self.nothing_open();
        let ours = |path: &Path| {
            let name = path.to_string_lossy().replace(&*self.path.to_string_lossy(), "");
            matches!(&*name, "" | ".bak" | ".torn" | ".torn.1")
        };
        let image = self.disk.image();
        let left: Vec<_> = image.names.keys().filter(|path| !ours(path)).collect();
        assert!(left.is_empty(), "{:?}: {left:?} are left behind", self.fault);
        self.nothing_left();
    }

    /// Waits until jobs of the pool that still hold an aborted upload have removed its spool, on the
    /// system's disk. The lock file stays there.
    fn nothing_left(&self) {
        let left = || -> Vec<PathBuf> {
            let all =
                std::fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path());
            all.filter(|path| !path.ends_with("faulty.coffer.lock")).collect()
        };
        for _ in 0..6000 {
            if left().is_empty() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("{:?}: {:?} are left behind", self.fault, left());
    }
}

/// Makes changes as one batch, and rolls them back if one fails.
fn batch(coffer: &Coffer, changes: Vec<Change>) -> Result<()> {
    let Outcome::Batch(token) = coffer.change(Change::Begin)? else { panic!("no batch") };
    let ask = |change| {
        let (sender, receiver) = std::sync::mpsc::channel();
        coffer.submit(change, Some(token), Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap().map(drop)
    };
    let made = changes.into_iter().try_for_each(ask);
    let ended = ask(Change::End { commit: made.is_ok() });
    made.and(ended)
}

fn new_secret(keys: &Keys) -> NewCredentials {
    NewCredentials {
        coffer_key: keys.coffer.clone(),
        secure_key: keys.secure.clone(),
        passphrase: None,
        kdf: Default::default(),
        cipher: None,
    }
}
