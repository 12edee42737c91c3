//! The fuzz target of operations: an arbitrary list of them, on a coffer and on a map.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, mpsc};

use super::input::{FuzzInput, noise};
use super::scene::{Case, FuzzScene};
use crate::coffer::{Change, Coffer, Existing, Mode, NewCredentials, Options, Outcome};
use crate::crypto::kdf::KdfChoice;
use crate::crypto::key::Key;
use crate::error::{Code, Result};
use crate::progress::CallObserver;

/// Names that conflict: files where others have directories.
const NAMES: [&str; 16] = [
    "a", "a/b", "a/b/c", "a/c", "ab", "b", "b/a", "b/b", "c/d/e/f", "c/d", "ü/語", "z.txt", "0",
    "a b", "a.b/c", "/d",
];
/// The most operations on one coffer.
const MOST: usize = 64;

type Model = BTreeMap<String, Vec<u8>>;

/// `kind, flags, operations`.
pub fn operations(data: &[u8]) {
    let mut input = FuzzInput::new(data);
    let case = Case::of(input.byte());
    let flags = input.byte();
    let scene = FuzzScene::new();
    let path = scene.path("model.coffer");
    let mut run = OperationsRun::new(case, flags, path);
    for _ in 0..MOST {
        if input.is_empty() {
            break;
        }
        run.step(&mut input);
    }
    run.end();
}

struct OperationsRun {
    case: Case,
    auto_flush: bool,
    /// Whether everything is compared after each operation.
    watchful: bool,
    path: PathBuf,
    coffer: Coffer,
    model: Model,
    /// The state that a commit has.
    committed: Model,
    batch: Option<(u64, Model)>,
}

fn done(code: Result<Outcome>) -> std::result::Result<(), Code> {
    code.map(|_| ()).map_err(|e| e.code())
}

impl OperationsRun {
    fn new(case: Case, flags: u8, path: PathBuf) -> Self {
        let auto_flush = flags & 1 != 0;
        let mut options = case.options(Mode::Exclusive);
        options.auto_flush = Some(auto_flush);
        let coffer = Coffer::open(&path, options).unwrap();
        Self {
            case,
            auto_flush,
            watchful: flags & 2 != 0,
            path,
            coffer,
            model: Model::new(),
            committed: Model::new(),
            batch: None,
        }
    }

    fn options(&self, mode: Mode) -> Options {
        let mut options = self.case.options(mode);
        options.auto_flush = Some(self.auto_flush);
        options
    }

    fn change(&self, change: Change) -> std::result::Result<(), Code> {
        let (sender, receiver) = mpsc::channel();
        let batch = self.batch.as_ref().map(|(token, _)| *token);
        self.coffer.submit(change, batch, Box::new(move |result| drop(sender.send(result))));
        done(receiver.recv().expect("an answer"))
    }

    fn step(&mut self, input: &mut FuzzInput<'_>) {
        let operation = input.byte();
        match operation % 16 {
            0..=2 => self.write(input),
            3 => self.append(input),
            4..=5 => self.stage(input),
            6..=7 => self.delete(input),
            8 => self.begin(),
            9 => self.finish(operation & 16 != 0),
            10 => self.flush(),
            11 => self.compact(),
            12 => self.reopen(operation & 16 != 0),
            13 => self.range(input),
            14 => self.rekey(operation),
            _ => self.look(),
        }
        if self.watchful {
            self.look();
        }
    }

    /// A name as given, and as the coffer calls it.
    fn name(input: &mut FuzzInput<'_>) -> (&'static str, &'static str) {
        let name = NAMES[usize::from(input.byte()) % NAMES.len()];
        (name, name.trim_start_matches('/'))
    }

    /// Content of up to 255 bytes, or much more of it.
    fn content(input: &mut FuzzInput<'_>) -> Vec<u8> {
        let (seed, len) = (input.byte(), usize::from(input.byte()));
        match seed % 8 {
            0 => noise(seed, len * 600),
            1 => vec![seed; len * 600],
            2 | 3 => noise(seed, len * 33),
            4 => input.bytes(len).to_vec(),
            _ => vec![seed; len],
        }
    }

    /// Whether a file may have this name beside those that are there.
    fn fits(&self, name: &str) -> bool {
        let below = format!("{name}/");
        let taken = self.model.keys().any(|n| n.starts_with(&below));
        !taken && crate::format::name::parents(name).all(|parent| !self.model.contains_key(parent))
    }

    fn put(&mut self, name: &str, data: Vec<u8>, changed: std::result::Result<(), Code>) {
        if self.fits(name) {
            assert_eq!(changed, Ok(()), "{name}");
            self.model.insert(name.to_owned(), data);
            self.flushed();
        } else {
            let below = format!("{name}/");
            let is_directory = self.model.keys().any(|n| n.starts_with(&below));
            let above = crate::format::name::parents(name).any(|n| self.model.contains_key(n));
            let expected =
                if is_directory && !above { Code::IsDirectory } else { Code::MemberExists };
            assert_eq!(changed, Err(expected), "{name}");
        }
    }

    /// What an operation does that flushes by itself.
    fn flushed(&mut self) {
        if self.auto_flush && self.batch.is_none() {
            self.committed = self.model.clone();
        }
    }

    fn write(&mut self, input: &mut FuzzInput<'_>) {
        let (given, name) = Self::name(input);
        let data = Self::content(input);
        let changed = self.change(Change::write(given, Arc::new(data.clone())));
        self.put(name, data, changed);
    }

    fn append(&mut self, input: &mut FuzzInput<'_>) {
        let (given, name) = Self::name(input);
        let data = Self::content(input);
        let change = Change::Append { name: given.to_owned(), data: Arc::new(data.clone()) };
        let changed = self.change(change);
        let all = [self.model.get(name).cloned().unwrap_or_default(), data].concat();
        self.put(name, all, changed);
    }

    fn stage(&mut self, input: &mut FuzzInput<'_>) {
        let (given, name) = Self::name(input);
        let existing = [Existing::Replace, Existing::Extend, Existing::Keep];
        let how = input.byte();
        let existing = existing[usize::from(how) % 3];
        let stage = self.coffer.upload(given);
        let mut data = Vec::new();
        for _ in 0..how / 3 % 4 {
            let part = Self::content(input);
            stage.write(&part, Box::new(|_| {}));
            data.extend(part);
        }
        if how & 128 != 0 {
            // Aborted: nothing is left of it.
            return;
        }
        let change = Change::Upload {
            name: given.to_owned(),
            upload: stage,
            existing,
            mode: None,
            mtime: None,
        };
        let changed = self.change(change);
        let old = self.model.get(name).cloned();
        match (existing, old) {
            (Existing::Keep, Some(_)) => assert_eq!(changed, Err(Code::MemberExists)),
            (Existing::Extend, Some(old)) => self.put(name, [old, data].concat(), changed),
            _ => self.put(name, data, changed),
        }
    }

    fn delete(&mut self, input: &mut FuzzInput<'_>) {
        let (given, name) = Self::name(input);
        let recursive = input.byte() & 1 != 0;
        let changed = self.change(Change::Delete { name: given.to_owned(), recursive });
        let below = format!("{name}/");
        let has_below = self.model.keys().any(|n| n.starts_with(&below));
        if !has_below && !self.model.contains_key(name) {
            return assert_eq!(changed, Err(Code::MemberNotFound), "{name}");
        }
        if has_below && !recursive {
            return assert_eq!(changed, Err(Code::NotEmpty), "{name}");
        }
        assert_eq!(changed, Ok(()), "{name}");
        self.model.retain(|n, _| n != name && !n.starts_with(&below));
        self.flushed();
    }

    fn begin(&mut self) {
        if self.batch.is_some() {
            return assert_eq!(self.change(Change::Begin), Err(Code::InBatch));
        }
        match self.coffer.change(Change::Begin) {
            Ok(Outcome::Batch(token)) => self.batch = Some((token, self.model.clone())),
            other => panic!("{other:?}"),
        }
    }

    fn finish(&mut self, commit: bool) {
        if self.batch.is_none() {
            return assert_eq!(self.change(Change::End { commit }), Err(Code::BatchEnded));
        }
        assert_eq!(self.change(Change::End { commit }), Ok(()));
        let before = self.batch.take().map(|(_, before)| before);
        if commit {
            self.flushed();
        } else {
            self.model = before.unwrap();
        }
    }

    fn flush(&mut self) {
        let changed = self.change(Change::Flush { force: false });
        if self.batch.is_some() {
            return assert_eq!(changed, Err(Code::InBatch));
        }
        assert_eq!(changed, Ok(()));
        self.committed = self.model.clone();
    }

    fn compact(&mut self) {
        let changed = self.change(Change::Compact { watch: CallObserver::silent() });
        if self.batch.is_some() {
            return assert_eq!(changed, Err(Code::InBatch));
        }
        assert_eq!(changed, Ok(()));
        self.committed = self.model.clone();
    }

    fn rekey(&mut self, seed: u8) {
        let mut keys = self.case.keys.clone();
        let other = |key: &mut Option<Key>| {
            if let Some(key) = key {
                *key = Key::from_bytes(&noise(seed, key.as_bytes().len())).unwrap();
            }
        };
        other(&mut keys.coffer);
        other(&mut keys.secure);
        let to = NewCredentials {
            coffer_key: keys.coffer.clone(),
            secure_key: keys.secure.clone(),
            passphrase: None,
            kdf: KdfChoice::default(),
            cipher: None,
        };
        let changed = self.change(Change::Rekey { to, watch: CallObserver::silent() });
        if self.batch.is_some() {
            return assert_eq!(changed, Err(Code::InBatch));
        }
        if !self.case.kind.is_sealed() {
            return assert_eq!(changed, Err(Code::InvalidArg));
        }
        assert_eq!(changed, Ok(()));
        self.case.keys = keys;
        self.committed = self.model.clone();
    }

    /// Closes, or drops the handle without closing as a killed process does, and opens again.
    fn reopen(&mut self, close: bool) {
        if close {
            self.close();
        }
        let reader = Coffer::open(&self.path, self.options(Mode::Read)).unwrap();
        same(&reader, &self.committed);
        reader.verify(&CallObserver::silent()).unwrap();
        reader.close().unwrap();
        if close {
            self.coffer = Coffer::open(&self.path, self.options(Mode::Append)).unwrap();
            self.look();
        }
    }

    fn close(&mut self) {
        // Closing waits for the end of a batch.
        if self.batch.is_some() {
            self.finish(self.watchful);
        }
        self.coffer.close().unwrap();
        self.committed = self.model.clone();
    }

    fn range(&mut self, input: &mut FuzzInput<'_>) {
        let (given, name) = Self::name(input);
        let (start, len) = (u64::from(input.u16()), u64::from(input.u16()));
        let read = self.coffer.read_range(given, start, len, None);
        match self.model.get(name) {
            Some(data) => {
                let size = data.len() as u64;
                let (from, to) = (start.min(size) as usize, (start + len).min(size) as usize);
                let read = read.unwrap();
                assert!(read.bytes == data[from..to.max(from)], "{name}");
                assert_eq!(read.size, size);
            }
            None => assert!(read.is_err(), "{name}"),
        }
    }

    fn look(&self) {
        same(&self.coffer, &self.model);
        self.coffer.verify(&CallObserver::silent()).unwrap();
    }

    fn end(mut self) {
        self.reopen(true);
        self.close();
    }
}

/// Asserts that a coffer holds exactly these members.
fn same(coffer: &Coffer, model: &Model) {
    let members = coffer.members(None, None, None).unwrap();
    let names: Vec<&str> = members.iter().map(|m| m.name.as_str()).collect();
    assert_eq!(names, model.keys().map(String::as_str).collect::<Vec<_>>());
    for member in &members {
        assert!(coffer.read(&member.name).unwrap() == model[&member.name], "{:?}", member.name);
        assert_eq!(member.size, model[&member.name].len() as u64);
    }
}
