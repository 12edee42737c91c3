//! The random workload on a coffer, and the crashes that are tried on its journal.

use std::sync::Arc;

use super::check::{ModelOpener, OpenedModel, Trouble};
use super::disk::{Disk, Fault, Image, Journal};
use super::rng::Rng;
use super::state::{Members, ModelState, Timeline, Trace, lens};
use crate::coffer::{Change, Coffer, LockMode, Mode, Options};
use crate::crypto::key::Key;
use crate::engine::container::{Compaction, Container, Damaged};
use crate::engine::credentials::NewCredentials;
use crate::engine::upload::Uploads;
use crate::error::{Code, Result};
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind, KindName, Layer};
use crate::io::lock_set::Locks;
use crate::progress::CallObserver;

/// Bytes of a piece.
pub(super) const PIECE: usize = 4096;
/// The number of crashes that are tried on a session.
const CRASHES: u64 = 24;
/// The system's error number for a full disk.
pub(super) const NO_SPACE: i32 = if cfg!(windows) { 112 } else { 28 };
/// The injected errors of a disk: it is full, it fails, or a signal interrupted the call.
pub(super) const ERRNOS: [i32; 3] =
    if cfg!(windows) { [NO_SPACE, 1117, 10004] } else { [NO_SPACE, 5, 4] };

/// One seed's run.
pub(super) struct Run {
    pub(super) rng: Rng,
    pub(super) opener: ModelOpener,
    pub(super) disk: Arc<Disk>,
    pub(super) timeline: Timeline,
    /// The number of the coffer's keys.
    keys: usize,
    pub(super) stages: Arc<Uploads>,
    dir: tempfile::TempDir,
    pub(super) serial: u64,
    /// The number of crash states that were checked.
    seen: u64,
    trace: bool,
}

/// A state of the disk after a crash, and the acceptable states of its coffer.
struct Crash {
    how: String,
    image: Image,
    acceptable: Vec<ModelState>,
}

impl Run {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let kind = [
            Kind::null(),
            Kind::store(),
            Kind::market(),
            Kind::bank(Cipher::AesOcb),
            Kind::bank(Cipher::Fernet),
            Kind::custom(
                Layer { level: None, cipher: Some(Cipher::Fernet) },
                Layer { level: Some(1), cipher: Some(Cipher::AesOcb) },
            ),
        ][(seed % 6) as usize];
        let dir = tempfile::tempdir().unwrap();
        let durable = !rng.one_in(8);
        // Nothing is really there.
        let path = dir.path().join("model.coffer");
        Self {
            rng,
            opener: ModelOpener {
                path,
                kind,
                keys: vec![new_keys(&kind)],
                durable,
                flips: Vec::new(),
            },
            disk: Disk::new(Image::default()),
            timeline: Timeline::new(vec![ModelState {
                members: None,
                keys: 0,
                blocks: Vec::new(),
            }]),
            keys: 0,
            stages: Uploads::new(Some(dir.path().to_owned())),
            dir,
            serial: 0,
            seen: 0,
            trace: std::env::var_os("COFFER_MODEL_TRACE").is_some(),
        }
    }

    pub(super) fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    /// Runs sessions, each on the state that a crash of the one before left. Gives the number of crash
    /// states that were checked.
    pub(super) fn all(mut self) -> u64 {
        for session in 0..4 {
            self.tell(|| format!("--- session {session}, durable {}", self.opener.durable));
            if session > 0 && self.rng.one_in(3) {
                self.damage();
            }
            if session > 0 && self.rng.one_in(2) {
                let most = if self.rng.one_in(3) { 6 } else { 60 };
                self.disk.fail(Some(Fault {
                    after: self.rng.below(most),
                    looks: false,
                    forever: self.rng.one_in(4),
                    errno: self.rng.pick(&ERRNOS),
                    torn: self.rng.pick(&[0, 1, 100, 1000, 10_000, usize::MAX]),
                }));
            }
            if session == 0 {
                self.create();
            }
            let mut container = self.open();
            if container.is_some() && self.rng.one_in(3) {
                drop(container);
                self.replace();
                container = self.open();
            }
            if let Some(container) = container {
                self.work(container);
            }
            self.tell(|| format!("failed: {:?}", self.disk.failed()));
            self.crashes();
        }
        assert!(self.open().is_some(), "no fault, and yet there is no coffer");
        self.seen
    }

    /// A flush of two members, and one that replaces one of them.
    pub(super) fn replace_a_member(&mut self) {
        self.create();
        let mut container = self.open().unwrap();
        let mut model = self.members();
        for name in ["kept", "replaced", "replaced"] {
            self.put(&mut container, &mut model, name.to_owned(), 3000).unwrap();
            if name == "replaced" {
                self.flush(&mut container, &mut model).unwrap();
            }
        }
    }

    /// A flush that deletes one of two members while something fails. Whether it is done even so.
    pub(super) fn delete_with(&mut self, fault: Fault) -> bool {
        self.create();
        let mut container = self.open().unwrap();
        let mut model = self.members();
        for name in ["kept", "deleted"] {
            self.put(&mut container, &mut model, name.to_owned(), 3000).unwrap();
        }
        self.flush(&mut container, &mut model).unwrap();
        container.remove("deleted").unwrap();
        model.remove("deleted");
        self.disk.fail(Some(fault));
        let done = self.flush(&mut container, &mut model).is_ok();
        let failed = self.disk.failed().is_some();
        self.disk.fail(None);
        done && container.ready().is_ok() && failed
    }

    /// Commits, and scrubs.
    fn flush(&mut self, container: &mut Container, model: &mut Members) -> Result<()> {
        self.commit_as(container, model, &mut Vec::new(), false, true)
    }

    fn options(&self, mode: Mode, keys: &Keys) -> Options {
        let mut options = Options::new(mode, self.opener.kind);
        options.coffer_key = keys.coffer.clone();
        options.secure_key = keys.secure.clone();
        options.chunk_size = Some(1032);
        options.piece_size = Some(PIECE as u32);
        options.durable = self.opener.durable;
        options.lock = LockMode::None;
        options.auto_flush = Some(false);
        options
    }

    /// Opens the coffer in the mode `w`, and writes members. Then it is dropped without a commit, and
    /// the old state stays, or flushed, or closed.
    fn replace(&mut self) {
        let mut keys = self.keys;
        let mut options = self.options(Mode::Write, &self.opener.keys[keys]);
        if self.opener.kind.is_sealed() && self.rng.one_in(2) {
            let new = new_keys(&self.opener.kind);
            options = self.options(Mode::Write, &new);
            self.opener.keys.push(new);
            keys = self.opener.keys.len() - 1;
            options.replace = true;
        }
        options.accept_file_cipher = self.opener.kind.name == KindName::Bank;
        let end = self.rng.below(3);
        self.tell(|| format!("replace, end {end}, keys {keys}"));
        let opened = Coffer::open_in(self.disk.directory(), &self.opener.path, options);
        let result = opened.and_then(|coffer| {
            let mut model = Members::new();
            for number in 0..self.rng.below(4) {
                let len = self.rng.below(12_000) as usize;
                let (name, bytes) = (format!("member-{number}"), Arc::new(self.bytes(len)));
                coffer.change(Change::write(&name, bytes.clone()))?;
                model.insert(name, bytes);
            }
            if end == 0 {
                return Ok(());
            }
            let state = self.state(model, keys);
            self.timeline.add(self.disk.recorded(), state.clone());
            if end == 1 {
                coffer.change(Change::Flush { force: self.rng.one_in(2) })?;
            } else {
                coffer.close()?;
            }
            self.settle(state);
            Ok(())
        });
        if let Err(e) = &result {
            self.check_failure(e);
        }
        // Its thread may still write.
        while self.disk.open() > 0 {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    }

    fn create(&mut self) {
        let options = self.options(Mode::Exclusive, &self.opener.keys[0]);
        let empty = self.state(Members::new(), 0);
        self.timeline.add(0, empty.clone());
        let coffer = Coffer::open_in(self.disk.directory(), &self.opener.path, options).unwrap();
        self.timeline.set(self.disk.recorded(), vec![empty]);
        coffer.close().unwrap();
    }

    /// Opens the coffer and goes on with it. `None` if a call of the disk fails.
    pub(super) fn open(&mut self) -> Option<Container> {
        let opened = self.opener.open(&self.disk, self.timeline.now());
        let OpenedModel { container, state } = match opened {
            Ok(opened) => opened?,
            Err(Trouble::Io(e)) if self.disk.failed().is_some() => {
                self.tell(|| format!("refused: {e:?}"));
                return None;
            }
            Err(trouble) => panic!("{trouble:?}"),
        };
        self.keys = state.keys;
        self.settle(state);
        self.stages.close();
        self.stages = Uploads::new(Some(self.dir.path().to_owned()));
        Some(container)
    }

    /// Makes this the only acceptable state from now on.
    fn settle(&mut self, state: ModelState) {
        self.timeline.set(self.disk.recorded(), vec![state]);
    }

    /// Tries crashes on the disk's journal, and goes on with the state that one of them left.
    fn crashes(&mut self) {
        self.disk.fail(None);
        let (disk, timeline) =
            (self.disk.clone(), std::mem::replace(&mut self.timeline, Timeline::new(Vec::new())));
        self.try_crashes(&disk, &timeline, CRASHES, 1);
        let crash = self.crash(&disk.journal(), &timeline);
        if crash.acceptable.iter().any(|state| state.members.is_none()) {
            // There is to be a coffer to go on with.
            self.disk = Disk::new(disk.image());
            self.timeline = Timeline::new(timeline.now().to_vec());
            return;
        }
        self.tell(|| format!("goes on: {}", crash.how));
        self.disk = Disk::new(crash.image);
        self.timeline = Timeline::new(crash.acceptable);
    }

    /// Opens many states that a crash may leave, and some that a crash of that opening may.
    fn try_crashes(&mut self, disk: &Disk, timeline: &Timeline, times: u64, again: u64) {
        let journal = disk.journal();
        for _ in 0..times {
            let Crash { how, image, acceptable } = self.crash(&journal, timeline);
            self.seen += 1;
            let left = Disk::new(image);
            let mut after = Timeline::new(acceptable);
            let opened = self.opener.open(&left, after.now());
            let opened = opened.unwrap_or_else(|trouble| panic!("{how}: {trouble:?}"));
            let Some(OpenedModel { mut container, state }) = opened else { continue };
            after.set(left.recorded(), vec![state]);
            if again == 0 || !self.rng.one_in(3) {
                continue;
            }
            if self.rng.one_in(2) {
                let (path, locks, kept) = (&self.opener.path, self.locks(), Damaged::Kept);
                let compacted = container.compact(path, &locks, kept, &CallObserver::silent());
                compacted.unwrap_or_else(|e| panic!("{how}, and then compaction: {e:?}"));
            }
            self.try_crashes(&left, &after, 3, again - 1);
        }
    }

    /// A crash at any time.
    fn crash(&mut self, journal: &Journal, timeline: &Timeline) -> Crash {
        let all = journal.calls.len();
        let calls = if self.rng.one_in(8) { all } else { self.rng.below(all as u64 + 1) as usize };
        // Without durability nothing is promised after a power failure.
        let power = self.opener.durable && !self.rng.one_in(5);
        let (what, image, before) = if power {
            ("the power fails after", journal.unpowered(calls, &mut self.rng), calls)
        } else if calls > 0 && self.rng.one_in(2) {
            ("it is killed in", journal.killed_within(calls, &mut self.rng), calls - 1)
        } else {
            ("it is killed after", journal.killed(calls), calls)
        };
        let how = format!("{what} {calls} of {all} calls");
        Crash { how, image, acceptable: timeline.at(before).to_vec() }
    }

    pub(super) fn locks(&self) -> Locks {
        Locks::none(&self.opener.path)
    }

    fn work(&mut self, mut container: Container) {
        let mut model = self.members();
        let mut saved: Vec<Members> = Vec::new();
        let mut compaction = None;
        for _ in 0..self.rng.below(30) {
            let go_on = compaction.is_some() && self.rng.one_in(3);
            let result = match if go_on { 20 } else { self.rng.below(25) } {
                0..=6 => self.put_small(&mut container, &mut model),
                7..=8 => self.put_large(&mut container, &mut model),
                9 => self.put_staged(&mut container, &mut model),
                10 => self.append(&mut container, &mut model),
                11..=13 => self.remove(&mut container, &mut model),
                14 if saved.len() < 3 => {
                    self.tell(|| "begin".to_owned());
                    container.begin().inspect(|()| saved.push(model.clone()))
                }
                15 => {
                    if let Some(back) = saved.pop() {
                        self.tell(|| "rollback".to_owned());
                        container.rollback();
                        model = back;
                    }
                    Ok(())
                }
                16 => {
                    if saved.pop().is_some() {
                        self.tell(|| "keep".to_owned());
                        container.keep();
                    }
                    Ok(())
                }
                17 if saved.is_empty() => {
                    compaction = None;
                    self.compact(&mut container, &model)
                }
                18 if saved.is_empty() => {
                    compaction = None;
                    self.rekey(&mut container, &model)
                }
                19 => {
                    self.tell(|| "reopen".to_owned());
                    compaction = None;
                    container.abandon();
                    let Some(opened) = self.open() else { return };
                    (container, saved, model) = (opened, Vec::new(), self.members());
                    Ok(())
                }
                20 if saved.is_empty() && !container.modified() => {
                    self.compact_in_steps(&mut container, &mut compaction, &model)
                }
                // A commit inside a savepoint is followed by its keeping or undoing at once.
                _ if saved.len() <= 1 => self.commit(&mut container, &mut model, &mut saved),
                _ => Ok(()),
            };
            if let Err(e) = &result {
                self.tell(|| format!("failed: {e:?}"));
            }
            if container.ready().is_err() {
                return;
            }
            if let Err(e) = result {
                self.check_failure(&e);
            }
            // Also after a commit that failed: nothing was undone, so its changes are still there.
            self.check_view(&container, &model);
        }
        if self.rng.one_in(2) {
            self.tell(|| "abandon".to_owned());
            container.abandon();
        }
    }

    /// Checks the members that the writer's own view shows.
    fn check_view(&self, container: &Container, model: &Members) {
        let now = self.opener.read_all(container).unwrap();
        assert_eq!(lens(&now), lens(model), "seen through the writer's own view");
        assert!(now == *model, "the writer's own view has wrong bytes");
    }

    /// Checks that an error has a cause: the disk failed, or a block is damaged or a call cancelled.
    fn check_failure(&self, error: &crate::error::Error) {
        // Damaged members cannot be sealed with other keys.
        let damaged = error.code() == Code::Corrupt && !self.opener.flips.is_empty();
        let gave_up = damaged || error.code() == Code::Aborted;
        assert!(self.disk.failed().is_some() || gave_up, "{error:?}");
    }

    /// The members of the last state.
    pub(super) fn members(&self) -> Members {
        self.timeline.now().last().unwrap().members.clone().unwrap()
    }

    /// A state with these members, and the blocks of all states before.
    fn state(&self, members: Members, keys: usize) -> ModelState {
        let blocks = self.timeline.now().last().unwrap().blocks.clone();
        ModelState { members: Some(members), keys, blocks }
    }

    fn commit(
        &mut self,
        container: &mut Container,
        model: &mut Members,
        saved: &mut Vec<Members>,
    ) -> Result<()> {
        let (force, scrub) = (self.rng.one_in(4), self.rng.one_in(2));
        self.commit_as(container, model, saved, force, scrub)
    }

    /// Commits with or without a scrub; with one and `force` also without changes.
    fn commit_as(
        &mut self,
        container: &mut Container,
        model: &mut Members,
        saved: &mut Vec<Members>,
        force: bool,
        scrub: bool,
    ) -> Result<()> {
        self.tell(|| format!("commit of {} members, scrub: {scrub}", model.len()));
        self.timeline.add(self.disk.recorded(), self.state(model.clone(), self.keys));
        let result = if scrub {
            container.commit(force, &self.locks())
        } else {
            container.commit_without_scrub(&self.locks())
        };
        match &result {
            Ok(()) => {
                if !saved.is_empty() {
                    saved.clear();
                    container.keep();
                }
                self.committed(container, model);
            }
            Err(_) => {
                if let Some(back) = saved.pop() {
                    container.rollback();
                    if container.ready().is_ok() {
                        // It was undone, so it must not come back.
                        let mut states = self.timeline.now().to_vec();
                        states.pop();
                        self.timeline.set(self.disk.recorded(), states);
                        *model = back;
                    }
                }
            }
        }
        result
    }

    fn compact(&mut self, container: &mut Container, model: &Members) -> Result<()> {
        self.tell(|| format!("compact {} members", model.len()));
        self.timeline.add(self.disk.recorded(), self.state(model.clone(), self.keys));
        let (path, locks) = (&self.opener.path, self.locks());
        container.compact(path, &locks, Damaged::Kept, &CallObserver::silent())?;
        self.committed(container, model);
        Ok(())
    }

    /// Begins a compaction, goes on with it, or ends it.
    fn compact_in_steps(
        &mut self,
        container: &mut Container,
        compaction: &mut Option<Compaction>,
        model: &Members,
    ) -> Result<()> {
        let Some(mut under_way) = compaction.take() else {
            self.tell(|| "begin to compact".to_owned());
            *compaction = Some(Compaction::begin(container, &self.opener.path)?);
            return Ok(());
        };
        let budget = self.rng.below(20_000);
        self.tell(|| format!("compact {budget} bytes"));
        if !under_way.step(container, budget)? || self.rng.one_in(2) {
            *compaction = Some(under_way);
            return Ok(());
        }
        self.tell(|| format!("end of the compaction, {} members", model.len()));
        self.timeline.add(self.disk.recorded(), self.state(model.clone(), self.keys));
        under_way.finish(container, &self.opener.path, &self.locks())?;
        self.committed(container, model);
        Ok(())
    }

    fn rekey(&mut self, container: &mut Container, model: &Members) -> Result<()> {
        let kind = self.opener.kind;
        if !kind.is_sealed() {
            return Ok(());
        }
        self.tell(|| format!("rekey {} members", model.len()));
        let keys = new_keys(&kind);
        let bank = kind.name == KindName::Bank;
        let to = NewCredentials {
            coffer_key: keys.coffer.clone(),
            secure_key: keys.secure.clone(),
            passphrase: None,
            kdf: Default::default(),
            cipher: bank.then(|| self.rng.pick(&[Cipher::Fernet, Cipher::AesOcb])),
        };
        self.opener.keys.push(keys);
        let new = self.opener.keys.len() - 1;
        for keys in [self.keys, new] {
            self.timeline.add(self.disk.recorded(), self.state(model.clone(), keys));
        }
        container.rekey(&self.opener.path.clone(), &to, &self.locks(), &CallObserver::silent())?;
        self.keys = new;
        self.committed(container, model);
        Ok(())
    }

    /// A flush has returned: notes what is durable now, and checks the file.
    fn committed(&mut self, container: &Container, model: &Members) {
        self.tell(|| format!("committed {}", container.committed().generation));
        let mut state = self.state(model.clone(), self.keys);
        let image = self.disk.image();
        let (id, file) = (image.names[&self.opener.path], image.file(&self.opener.path).unwrap());
        state.blocks.retain(|trace| trace.file == id);
        for block in container.view.read().catalog.blocks.values() {
            let known = |t: &Arc<Trace>| t.offset == block.offset && t.digest == block.digest;
            if !state.blocks.iter().any(known) {
                let bytes = file[block.offset as usize..block.end() as usize].to_vec();
                let (offset, digest) = (block.offset, block.digest);
                state.blocks.push(Arc::new(Trace { file: id, offset, digest, bytes }));
            }
        }
        let checked = self.opener.check_file(&self.disk, container, &state);
        assert!(checked.is_ok(), "after a commit: {checked:?}");
        self.settle(state);
    }
}

pub(super) fn new_keys(kind: &Kind) -> Keys {
    Keys {
        coffer: kind.container.cipher.map(|_| Key::generate(32)),
        secure: kind.member.cipher.map(|_| Key::generate(32)),
        derived: false,
    }
}
