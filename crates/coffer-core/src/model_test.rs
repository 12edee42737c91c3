//! A container on a disk that crashes, against a map.
//!
//! Random puts, removals, appends, commits, savepoints and rollbacks; at a random write, sync or
//! truncation the process is killed or the power fails, or the disk refuses for once. Of what no
//! sync has covered, a power failure keeps any sectors it likes. Then the file is opened again: it
//! must be at the last commit that returned, or at a later complete one, every member must read
//! back, and the tar that other tools see must hold exactly the live members.
//!
//! `COFFER_MODEL_SEEDS=from..to` chooses the seeds, `COFFER_MODEL_TRACE=1` tells what is done.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::catalog::Place;
use crate::container::{Attributes, Container, Raw};
use crate::error::{Code, Error, Result};
use crate::header::{Header, Keys};
use crate::key::Key;
use crate::kind::{Cipher, Kind};
use crate::locks::Locks;
use crate::origin::Origin;
use crate::recover;
use crate::source::{Found, Source};
use crate::stage::Stages;
use crate::storage::Storage;

/// A small random generator, so that a seed says everything.
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// The smallest part of a write that a power failure keeps or drops.
const SECTOR: usize = 512;

#[derive(Clone)]
enum Op {
    Write(u64, Vec<u8>),
    Truncate(u64),
}

fn apply(file: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, bytes) => {
            let (from, to) = (*offset as usize, *offset as usize + bytes.len());
            if file.len() < to {
                file.resize(to, 0);
            }
            file[from..to].copy_from_slice(bytes);
        }
        Op::Truncate(len) => file.resize(*len as usize, 0),
    }
}

/// What goes wrong, once.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    /// Nothing works any more; the file stays as it is in the system's memory.
    Kill,
    /// Nothing works any more, and what was not synced is lost in part.
    Power,
    /// One operation fails, a write after some of its bytes.
    Refuse,
}

#[derive(Default)]
struct State {
    /// As a process sees it.
    file: Vec<u8>,
    /// As it was after the last sync.
    durable: Vec<u8>,
    /// What has happened since.
    since: Vec<Op>,
    /// How many operations go well before the fault.
    left: Option<(u64, Fault)>,
    /// How much of the failing write is done.
    torn: u64,
    fired: Option<Fault>,
    dead: bool,
}

/// The simulated disk.
#[derive(Default)]
struct Disk(Mutex<State>);

impl Disk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn act(&self, op: Option<Op>) -> io::Result<()> {
        let mut state = self.state();
        if state.dead {
            return Err(io::Error::other("the machine is off"));
        }
        let fault = match &mut state.left {
            Some((0, fault)) => Some(*fault),
            Some((left, _)) => {
                *left -= 1;
                None
            }
            None => None,
        };
        let done = match (fault, op) {
            (None, op) => op,
            (Some(_), Some(Op::Write(offset, bytes))) => {
                let len = (state.torn % (bytes.len() as u64 + 1)) as usize;
                Some(Op::Write(offset, bytes[..len].to_vec()))
            }
            (Some(_), _) => None,
        };
        match done {
            Some(op) => {
                apply(&mut state.file, &op);
                state.since.push(op);
            }
            None if fault.is_none() => {
                state.durable = state.file.clone();
                state.since.clear();
            }
            None => {}
        }
        let Some(fault) = fault else { return Ok(()) };
        state.left = None;
        state.fired = Some(fault);
        state.dead = fault != Fault::Refuse;
        Err(io::Error::from_raw_os_error(28))
    }

    /// What is there after the machine comes back.
    fn restart(&self, rng: &mut Rng) {
        let mut state = self.state();
        if state.fired == Some(Fault::Power) {
            let mut file = state.durable.clone();
            // Sometimes everything arrives, sometimes nothing, sometimes any of it.
            let odds = [0, 1, 50, 90, 100][rng.below(5) as usize];
            let keep = |rng: &mut Rng| rng.below(100) < odds;
            for op in std::mem::take(&mut state.since) {
                match op {
                    Op::Truncate(_) => {
                        if keep(rng) {
                            apply(&mut file, &op);
                        }
                    }
                    Op::Write(offset, bytes) => {
                        let mut at = 0;
                        while at < bytes.len() {
                            let here = offset as usize + at;
                            let len = (SECTOR - here % SECTOR).min(bytes.len() - at);
                            if keep(rng) {
                                let part = bytes[at..at + len].to_vec();
                                apply(&mut file, &Op::Write(here as u64, part));
                            }
                            at += len;
                        }
                    }
                }
            }
            state.file = file.clone();
            state.durable = file;
        }
        state.left = None;
        state.fired = None;
        state.dead = false;
    }
}

impl Storage for Disk {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.state();
        let from = offset as usize;
        let bytes = state.file.get(from..from + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.act(Some(Op::Write(offset, buf.to_vec())))
    }

    fn sync(&self) -> io::Result<()> {
        self.act(None)
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.act(Some(Op::Truncate(len)))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.state().file.len() as u64)
    }
}

type Model = BTreeMap<String, Vec<u8>>;

struct Run {
    disk: Arc<Disk>,
    header: Header,
    keys: Keys,
    rng: Rng,
    durable: bool,
    trace: bool,
    stages: Arc<Stages>,
    dir: tempfile::TempDir,
    /// What an opening may find: the last commit that returned, and those that did not.
    acceptable: Vec<Model>,
    serial: u64,
}

const ATTRIBUTES: Attributes = Attributes { mode: 0o644, mtime_s: 1_700_000_000, mtime_ns: 5 };
/// Bytes of a piece.
const PIECE: usize = 4096;

impl Run {
    fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let kinds = [
            Kind::null(),
            Kind::store(),
            Kind::market(),
            Kind::bank(Cipher::AesOcb),
            Kind::bank(Cipher::Fernet),
        ];
        let kind = kinds[rng.below(kinds.len() as u64) as usize];
        let keys = Keys {
            coffer: kind.container.cipher.map(|_| Key::generate(32)),
            secure: kind.member.cipher.map(|_| Key::generate(32)),
            derived: false,
        };
        let header = Header::new(kind, &keys, &Origin::of_keys(), 1000, PIECE as u32).unwrap();
        let durable = !rng.one_in(8);
        let dir = tempfile::tempdir().unwrap();
        Self {
            disk: Arc::new(Disk::default()),
            header,
            keys,
            rng,
            durable,
            trace: std::env::var_os("COFFER_MODEL_TRACE").is_some(),
            stages: Stages::new(Some(dir.path().to_owned())),
            dir,
            acceptable: vec![Model::new()],
            serial: 0,
        }
    }

    fn tell(&self, what: impl FnOnce() -> String) {
        if self.trace {
            eprintln!("{}", what());
        }
    }

    fn source(&self) -> Source {
        Source {
            storage: self.disk.clone(),
            path: self.dir.path().join("model.coffer"),
            layers: self.header.layers(&self.keys).unwrap(),
            meta: self.keys.meta(&self.header.kind),
            archive: self.header.archive,
        }
    }

    fn locks() -> Locks {
        Locks::none(Path::new("model.coffer"))
    }

    fn all(mut self, seed: u64) {
        let at = |e: &dyn std::fmt::Debug| format!("seed {seed}: {e:?}");
        let mut container =
            Container::create(self.source(), self.header.clone(), self.durable).unwrap();
        container.commit(true, &Self::locks()).unwrap();
        drop(container);
        // A new file is synced before it gets its name.
        self.disk.sync().unwrap();
        for session in 0..6 {
            self.tell(|| format!("--- session {session}, durable {}", self.durable));
            if !self.rng.one_in(5) {
                let mut fault =
                    [Fault::Kill, Fault::Power, Fault::Refuse][self.rng.below(3) as usize];
                if !self.durable && fault == Fault::Power {
                    // Without durability nothing is promised after a power failure.
                    fault = Fault::Kill;
                }
                let most = if self.rng.one_in(3) { 6 } else { 60 };
                let left = self.rng.below(most);
                let mut state = self.disk.state();
                state.left = Some((left, fault));
                state.torn = left.wrapping_mul(0x9E37_79B9) ^ self.rng.0;
            }
            match self.open() {
                Ok(Some(container)) => self.work(container),
                Ok(None) => {}
                Err(e) => panic!("{}", at(&e)),
            }
            let fired = self.disk.state().fired;
            self.tell(|| format!("fired {fired:?}"));
            self.disk.restart(&mut self.rng);
        }
        match self.open() {
            Ok(Some(_)) => {}
            Ok(None) => panic!("seed {seed}: no fault, and yet it does not open"),
            Err(e) => panic!("{}", at(&e)),
        }
    }

    /// Opens for writing, and compares. `None` if the disk failed meanwhile.
    fn open(&mut self) -> std::result::Result<Option<Container>, String> {
        let source = Arc::new(self.source());
        let size = source.storage.len().unwrap();
        let newest = recover::newest(&source, size).map_err(|e| format!("newest: {e:?}"))?;
        let loaded = recover::catalog(&source, &newest).map_err(|e| format!("catalog: {e:?}"))?;
        self.tell(|| {
            format!(
                "open at {} of {size}: generation {}, {:?}, footer {:?}",
                newest.end,
                newest.position.generation,
                newest.tail,
                newest.footer.as_ref().map(|f| f.scrubbed)
            )
        });
        let resumed = Container::resume(
            source.clone(),
            self.header.clone(),
            self.durable,
            newest,
            loaded,
            size,
        );
        let container = match resumed {
            Ok(container) => container,
            Err(e) if self.disk.state().fired.is_some() => {
                self.tell(|| format!("resume: {e:?}"));
                return Ok(None);
            }
            Err(e) => return Err(format!("resume: {e:?}")),
        };
        let found = read_all(&container).map_err(|e| format!("a member does not read: {e:?}"))?;
        let Some(at) = self.acceptable.iter().rposition(|m| *m == found) else {
            return Err(format!(
                "opened at a state that never was: has {:?}, accepted are {:?}",
                lens(&found),
                self.acceptable.iter().map(lens).collect::<Vec<_>>()
            ));
        };
        self.tell(|| format!("is state {at} of {}", self.acceptable.len()));
        // Readers have seen it, but it may still be lost again.
        let seen = self.acceptable.remove(at);
        self.acceptable.push(seen);
        self.check_tar(&container, &found)?;
        Ok(Some(container))
    }

    fn work(&mut self, mut container: Container) {
        let mut model = self.acceptable.last().cloned().unwrap();
        let mut saved: Vec<Model> = Vec::new();
        for _ in 0..self.rng.below(40) {
            let before = model.clone();
            let result = match self.rng.below(20) {
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
                // A commit inside a savepoint is followed by its keeping or undoing at once.
                _ if saved.len() <= 1 => self.commit(&mut container, &mut model, &mut saved),
                _ => Ok(()),
            };
            if let Err(e) = result {
                self.tell(|| format!("failed: {e:?}"));
                if self.disk.state().dead || container.ready().is_err() {
                    return;
                }
                assert!(self.disk.state().fired.is_some() || e.code() == Code::Aborted, "{e:?}");
                if model != before && saved.is_empty() {
                    // A commit failed and nothing was undone: the changes are still there.
                    assert_eq!(lens(&model), lens(&read_all(&container).unwrap()));
                }
            }
            if self.disk.state().dead || container.ready().is_err() {
                return;
            }
            let now = read_all(&container).unwrap();
            assert_eq!(lens(&now), lens(&model), "seen through the writer's own view");
            assert!(now == model, "the writer's own view has wrong bytes");
        }
        if self.rng.one_in(2) {
            self.tell(|| "abandon".to_owned());
            container.abandon();
        }
    }

    fn name(&mut self) -> String {
        match self.rng.below(10) {
            0 => "long/".repeat(25) + "name",
            n => format!("member-{n}"),
        }
    }

    /// Bytes that tell which write they are of.
    fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.serial += 1;
        let mut bytes = vec![0; len];
        if self.rng.one_in(3) {
            let text = format!("{} ", self.serial);
            bytes.iter_mut().zip(text.bytes().cycle()).for_each(|(b, t)| *b = t);
        } else {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.serial.to_le_bytes()).finalize_xof().fill(&mut bytes);
        }
        bytes
    }

    fn put_small(&mut self, container: &mut Container, model: &mut Model) -> Result<()> {
        let name = self.name();
        let len = match self.rng.below(4) {
            0 => self.rng.below(3),
            1 => self.rng.below(12_000),
            _ => self.rng.below(900),
        } as usize;
        let bytes = self.bytes(len);
        self.tell(|| format!("put {name} {len}"));
        let stored = container.source.layers.encode_member(&bytes)?;
        container.put_small(&name, false, bytes.len() as u64, ATTRIBUTES, stored)?;
        model.insert(name, bytes);
        Ok(())
    }

    fn put_large(&mut self, container: &mut Container, model: &mut Model) -> Result<()> {
        let name = self.name();
        let len = self.rng.below(12 * PIECE as u64) as usize + 1;
        let bytes = self.bytes(len);
        self.pieces(container, &name, &[], bytes.clone())?;
        model.insert(name, bytes);
        Ok(())
    }

    /// Puts a member that came in portions, or gives it up.
    fn put_staged(&mut self, container: &mut Container, model: &mut Model) -> Result<()> {
        let name = self.name();
        let len = self.rng.below(12 * PIECE as u64) as usize + 3 * PIECE;
        let bytes = self.bytes(len);
        let give_up = self.rng.one_in(6);
        self.tell(|| format!("stage {name} {len}, give up {give_up}"));
        let stage = self.stages.stage(container.source.layers.clone());
        for portion in bytes.chunks(self.rng.below(3 * PIECE as u64) as usize + 1) {
            stage.write(portion, Box::new(drop));
        }
        if give_up {
            return Ok(());
        }
        let parts = stage.finish()?.parts(Vec::new(), &container.source.layers);
        container.put_large(&name, ATTRIBUTES, &[], parts)?;
        model.insert(name, bytes);
        Ok(())
    }

    /// Puts a large member, or gives up in the middle.
    fn pieces(
        &mut self,
        container: &mut Container,
        name: &str,
        kept: &[(crate::catalog::Piece, crate::catalog::Block)],
        bytes: Vec<u8>,
    ) -> Result<()> {
        let pieces: Vec<Vec<u8>> = bytes.chunks(PIECE).map(<[u8]>::to_vec).collect();
        let stop = if self.rng.one_in(6) { self.rng.below(pieces.len() as u64) } else { u64::MAX };
        self.tell(|| format!("put {name} in {} pieces, stop at {stop}", pieces.len()));
        let mut at = 0;
        container.put_large(name, ATTRIBUTES, kept, || {
            if at as u64 == stop {
                return Err(Error::new(Code::Aborted, "enough"));
            }
            let Some(piece) = pieces.get(at).cloned() else { return Ok(None) };
            at += 1;
            Ok(Some(Raw { job: Box::new(move || Ok(piece)), last: at == pieces.len() }))
        })
    }

    fn append(&mut self, container: &mut Container, model: &mut Model) -> Result<()> {
        let large = {
            let view = container.view.read();
            let large = |e: &&crate::catalog::Entry| matches!(&e.place, Place::Pieces { .. });
            view.catalog
                .iter()
                .find(|(_, e)| large(e))
                .map(|(n, e)| (n.to_string(), Found::in_catalog(&view.catalog, n, e).unwrap()))
        };
        let Some((name, found)) = large else { return Ok(()) };
        let Place::Pieces { pieces, .. } = &found.entry.place else { return Ok(()) };
        let kept: Vec<_> = pieces
            .iter()
            .copied()
            .zip(found.blocks.iter().cloned())
            .take(pieces.len() - 1)
            .collect();
        let from: usize = kept.iter().map(|(p, _)| p.raw as usize).sum();
        let more = self.rng.below(2 * PIECE as u64) as usize + 1;
        let more = self.bytes(more);
        let whole = [&model[&name][..], &more].concat();
        self.pieces(container, &name, &kept, whole[from..].to_vec())?;
        model.insert(name, whole);
        Ok(())
    }

    fn remove(&mut self, container: &mut Container, model: &mut Model) -> Result<()> {
        let name = self.name();
        self.tell(|| format!("remove {name}"));
        container.remove(&name)?;
        model.remove(&name);
        Ok(())
    }

    fn commit(
        &mut self,
        container: &mut Container,
        model: &mut Model,
        saved: &mut Vec<Model>,
    ) -> Result<()> {
        let force = self.rng.one_in(4);
        self.tell(|| format!("commit of {} members", model.len()));
        let blocks = container.view.read().catalog.blocks.clone();
        let old = self.disk.state().file.clone();
        let result = container.commit(force, &Self::locks());
        match &result {
            Ok(()) => {
                if !saved.is_empty() {
                    saved.clear();
                    container.keep();
                }
                let state = container.committed().generation;
                self.tell(|| format!("committed {state}"));
                if self.durable {
                    self.acceptable.clear();
                }
                self.acceptable.push(model.clone());
                let file = self.disk.state().file.clone();
                let view = container.view.read();
                for (id, block) in &blocks {
                    let range = block.offset as usize..block.end() as usize;
                    if !view.catalog.blocks.contains_key(id) {
                        let (old, new) = (&old[range.clone()], &file[range]);
                        let (old, new) = (&old[..old.len()], &new[..old.len()]);
                        let same = old
                            .windows(64)
                            .zip(new.windows(64))
                            .any(|(o, n)| o == n && o.iter().any(|b| *b != 0));
                        // A framed Fernet token begins with 44 bytes that are always the same.
                        assert!(!same, "a dead block still has its bytes");
                    }
                }
                drop(view);
                let checked = self.check_tar(container, model);
                assert!(checked.is_ok(), "after a commit: {checked:?}");
            }
            Err(_) => {
                self.acceptable.push(model.clone());
                if let Some(back) = saved.pop() {
                    container.rollback();
                    if container.ready().is_ok() {
                        *model = back;
                        // It was undone, so it must not come back.
                        if !self.disk.state().dead {
                            self.acceptable.pop();
                        }
                    }
                }
            }
        }
        result
    }

    /// Takes the layers off as other tools do: the tar has exactly the live members.
    fn check_tar(&self, container: &Container, model: &Model) -> std::result::Result<(), String> {
        let layers = &container.source.layers;
        let file = self.disk.state().file.clone();
        let mut frames = Vec::new();
        match &layers.container {
            Some(seal) => crate::chunk::open_all(&**seal, &file, &mut frames)
                .map_err(|e| format!("the file is not whole chunks: {e:?}"))?,
            None => frames = file,
        }
        let tar = zstd::decode_all(frames.as_slice()).map_err(|e| format!("not zstd: {e}"))?;
        let mut archive = tar::Archive::new(tar.as_slice());
        let mut seen = Model::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.map_err(|e| format!("not a tar: {e}"))?;
            let name = entry.path().unwrap().to_str().unwrap().to_owned();
            let mut stored = Vec::new();
            entry.read_to_end(&mut stored).map_err(|e| format!("{name}: {e}"))?;
            if matches!(name.as_str(), "./" | ".") {
                continue;
            }
            let mut bytes = Vec::new();
            match &layers.member {
                Some(seal) => crate::chunk::open_all(&**seal, &stored, &mut bytes)
                    .map_err(|e| format!("{name}: {e}"))?,
                None => bytes = stored,
            }
            if layers.member_level.is_some() {
                bytes = zstd::decode_all(bytes.as_slice()).map_err(|e| format!("{name}: {e}"))?;
            }
            if seen.insert(name.clone(), bytes).is_some() {
                return Err(format!("the tar has {name} twice"));
            }
        }
        if seen != *model {
            return Err(format!("the tar has {:?}, live are {:?}", lens(&seen), lens(model)));
        }
        Ok(())
    }
}

fn lens(model: &Model) -> Vec<(String, usize)> {
    let short =
        |n: &String| n.chars().rev().take(8).collect::<Vec<_>>().into_iter().rev().collect();
    model.iter().map(|(n, b)| (short(n), b.len())).collect()
}

fn read_all(container: &Container) -> Result<Model> {
    let view = container.view.read();
    view.catalog
        .iter()
        .map(|(name, entry)| {
            let found = Found::in_catalog(&view.catalog, name, entry)?;
            let bytes = found.read(&view.source, 0, entry.size as usize);
            Ok((name.to_string(), bytes.map_err(|e| e.of_member(name))?))
        })
        .collect()
}

/// A process is killed in a commit that replaces a member, and the power fails while the next one
/// opens: what the commit would have scrubbed must be there unless the commit is.
#[test]
fn a_scrub_is_not_redone_before_its_commit_is_durable() {
    for (first, second, seed) in
        (0..12).flat_map(|a| (0..6).flat_map(move |b| (0..12).map(move |c| (a, b, c))))
    {
        let mut run = Run::new(seed);
        run.durable = true;
        let mut container = Container::create(run.source(), run.header.clone(), true).unwrap();
        let mut model = Model::new();
        for (round, left) in [(0, None), (1, Some((first, Fault::Kill)))] {
            for name in ["kept", "replaced"].into_iter().skip(round) {
                let bytes = run.bytes(3000);
                let stored = container.source.layers.encode_member(&bytes).unwrap();
                container.put_small(name, false, 3000, ATTRIBUTES, stored).unwrap();
                model.insert(name.to_owned(), bytes);
            }
            run.disk.state().left = left;
            if container.commit(false, &Run::locks()).is_ok() {
                run.acceptable.clear();
            }
            run.acceptable.push(model.clone());
        }
        run.disk.restart(&mut run.rng);
        run.disk.state().left = Some((second, Fault::Power));
        let at = |e| panic!("killed at {first}, power lost at {second}, seed {seed}: {e}");
        drop(run.open().unwrap_or_else(at));
        run.disk.restart(&mut run.rng);
        run.open().unwrap_or_else(at);
    }
}

#[test]
fn a_container_on_a_disk_that_crashes_is_like_a_map() {
    let seeds = std::env::var("COFFER_MODEL_SEEDS").unwrap_or_else(|_| "0..200".to_owned());
    let (from, to) = seeds.split_once("..").unwrap();
    let mut failed = Vec::new();
    for seed in from.parse::<u64>().unwrap()..to.parse().unwrap() {
        let outcome = std::panic::catch_unwind(|| Run::new(seed).all(seed));
        if let Err(panic) = outcome {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()))
                .unwrap_or_default();
            failed.push(format!("{seed}: {}", text.chars().take(300).collect::<String>()));
        }
    }
    assert!(failed.is_empty(), "{} seeds failed:\n{}", failed.len(), failed.join("\n"));
}
