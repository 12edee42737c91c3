//! The cost of opening a coffer with hostile bytes behind its end, in bytes read and in bytes
//! deciphered or hashed; and readers without a lock of a file that changes under them.

use crate::format::member::MemberType;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::coffer::{Change, Coffer, Mode, Options};
use crate::crypto::key::Key;
use crate::crypto::seal::Seal;
use crate::engine::container::Container;
use crate::engine::credentials::CredentialLookup;
use crate::engine::file::ArchiveFile;
use crate::engine::open::{self, Expected, OpenResult, Opened};
use crate::engine::recovery;
use crate::error::{Code, Result};
use crate::format::commit::{Commit, Position, UnsyncedPrefix};
use crate::format::footer::Footer;
use crate::format::frame;
use crate::format::header::Header;
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind};
use crate::format::member::Attributes;
use crate::format::record::{self, COMMIT_TAG, FOOTER_TAG, MARK, MetaSeal, SALT_TAG};
use crate::format::work;
use crate::io::disk::DiskDirectory;
use crate::io::lock_set::Locks;
use crate::io::storage::{Directory, Names, Storage, Wanted};
use crate::progress::CallObserver;

/// What happens to a file in memory when its length is asked for or bytes are read.
type Happening = Box<dyn FnMut(&mut Vec<u8>) + Send>;

/// A file in memory that counts what is read of it.
#[derive(Default)]
pub(crate) struct Memory {
    bytes: Mutex<Vec<u8>>,
    pub(crate) read: AtomicU64,
    at_len: Mutex<Option<Happening>>,
    at_read: Mutex<Option<Happening>>,
}

impl Memory {
    pub(crate) fn of(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self { bytes: Mutex::new(bytes.to_vec()), ..Self::default() })
    }

    fn happen(&self, what: &Mutex<Option<Happening>>) {
        if let Some(happening) = &mut *what.lock().unwrap() {
            happening(&mut self.bytes.lock().unwrap());
        }
    }
}

impl Storage for Memory {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.happen(&self.at_read);
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        let bytes = self.bytes.lock().unwrap();
        let found = bytes.get(offset as usize..offset as usize + buf.len());
        buf.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut bytes = self.bytes.lock().unwrap();
        let (from, to) = (offset as usize, offset as usize + buf.len());
        if bytes.len() < to {
            bytes.resize(to, 0);
        }
        bytes[from..to].copy_from_slice(buf);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.bytes.lock().unwrap().resize(len as usize, 0);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.happen(&self.at_len);
        Ok(self.bytes.lock().unwrap().len() as u64)
    }
}

/// A directory in which every name is one file in memory.
struct One(Arc<Memory>);

impl Directory for One {
    fn exists(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn open(&self, _path: &Path, _write: bool) -> io::Result<Arc<dyn Storage>> {
        Ok(self.0.clone())
    }

    fn create(&self, _path: &Path) -> io::Result<Arc<dyn Storage>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn rename(&self, _from: &Path, _to: &Path, _replace: bool) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn remove(&self, _path: &Path) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn has_file(&self, _path: &Path) -> io::Result<bool> {
        Ok(true)
    }

    fn leftovers(&self, _: &Path, _: Wanted<'_>) -> io::Result<Vec<std::path::PathBuf>> {
        Ok(Vec::new())
    }

    fn names(&self, _path: &Path) -> io::Result<Arc<dyn Names>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A coffer of three commits in memory.
pub(crate) struct Scene {
    options: Options,
    pub(crate) header: Header,
    pub(crate) keys: Keys,
    pub(crate) bytes: Vec<u8>,
    /// Where each commit stands, and where its footer ends.
    commits: Vec<(Position, u64)>,
    pub(crate) source: Arc<ArchiveFile>,
}

const PATH: &str = "/in memory/box.coffer";

impl Scene {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut options = Options::new(Mode::Read, kind);
        options.coffer_key = kind.container.cipher.map(|c| Key::generate(c.key_lengths()[0]));
        options.secure_key = kind.member.cipher.map(|_| Key::generate(32));
        let (header, keys) = options.header(&options.credentials().unwrap()).unwrap();
        let storage = Arc::new(Memory::default());
        let directory: Arc<dyn Directory> = Arc::new(DiskDirectory);
        let path = Path::new(PATH);
        let source = ArchiveFile::new(storage.clone(), &directory, path, &header, &keys).unwrap();
        let mut container = Container::create(source, header.clone(), false).unwrap();
        let attributes = Attributes { mode: 0o644, mtime_s: 5, mtime_ns: 0 };
        let mut commits = Vec::new();
        for i in 0..3 {
            let data = vec![i; 1000];
            let stored = container.source.layers.encode_member(&data).unwrap().into_vec();
            container
                .put_small(&format!("member-{i}"), MemberType::File, 1000, attributes, stored)
                .unwrap();
            container.commit(true, &Locks::none(path)).unwrap();
            commits.push((container.committed(), storage.len().unwrap()));
        }
        let bytes = storage.bytes.lock().unwrap().clone();
        Self { options, header, keys, bytes, commits, source: container.source.clone() }
    }

    fn sealed(&self) -> bool {
        self.source.layers.container.is_some()
    }

    fn container(&self) -> Option<&dyn Seal> {
        self.source.layers.container.as_deref()
    }

    /// The coffer with other bytes behind it.
    pub(crate) fn with(&self, tail: &[u8]) -> Vec<u8> {
        [&self.bytes, tail].concat()
    }

    fn open_file(&self, file: Arc<Memory>) -> Result<Opened> {
        let credentials = self.options.credentials().unwrap();
        let expected = Expected {
            max_catalog: u64::MAX,
            kind: &self.options.kind,
            accept_file_cipher: false,
            credentials: &CredentialLookup::new(&credentials, &self.options.cancel),
            level: None,
            directory: Arc::new(DiskDirectory),
        };
        match open::open(file, Path::new(PATH), &expected)? {
            OpenResult::Coffer(opened) => Ok(*opened),
            OpenResult::Legacy => panic!("taken for a legacy coffer"),
        }
    }

    fn open(&self, bytes: &[u8]) -> Result<Opened> {
        self.open_file(Memory::of(bytes))
    }

    /// Opens a file, whatever comes of it, and expects that no more is read than `reads` times its
    /// length, and no more worked on than `works` times.
    fn expect_cost(&self, what: &str, bytes: &[u8], works: u64, reads: u64) -> Result<Opened> {
        let file = Memory::of(bytes);
        let (opened, worked) = work::of(|| self.open_file(file.clone()));
        let (len, read) = (bytes.len() as u64, file.read.load(Ordering::Relaxed));
        let kind = self.options.kind.name.as_str();
        assert!(worked <= works * len, "{kind}, {what}: {worked} bytes of work for {len}");
        assert!(read <= reads * len + (3 << 20), "{kind}, {what}: {read} bytes read of {len}");
        opened
    }

    /// What a record begins with, up to its mark, if it is to have `len` bytes.
    fn framing(&self, len: usize) -> Vec<u8> {
        if self.sealed() {
            ((len - crate::format::chunk::HEADER) as u32).to_le_bytes().to_vec()
        } else {
            frame::skippable_header((len - frame::SKIPPABLE_HEADER) as u32).to_vec()
        }
    }

    /// A tail full of marks, each at the beginning of a record of `len` bytes if its framing were
    /// true, and each `step` bytes behind the one before.
    pub(crate) fn fakes(
        &self,
        tag: [u8; 4],
        len: usize,
        step: usize,
        away: u64,
        total: usize,
    ) -> Vec<u8> {
        let mut tail = Vec::new();
        while tail.len() < total {
            let start = tail.len();
            let offset = (self.bytes.len() + start) as u64;
            tail.extend(self.framing(len));
            tail.extend(record::mark_at(tag, offset + away));
            tail.resize(tail.len().max(start + step), 0x5A);
        }
        tail
    }

    /// A commit behind the file, and the bytes of its parts.
    fn commit_at(&self, offset: u64, change: impl FnOnce(&mut Commit)) -> (Position, Vec<u8>) {
        let (last, _) = self.commits.last().unwrap();
        let mut commit = recovery::read_commit(&self.source, last).unwrap();
        commit.generation = last.generation + 1;
        commit.previous = Some(*last);
        commit.snapshot = false;
        (commit.blocks, commit.set, commit.dropped) = (Vec::new(), Vec::new(), Vec::new());
        (commit.removed, commit.scrub, commit.ahead) = (Vec::new(), Vec::new(), None);
        change(&mut commit);
        let mut out = Vec::new();
        let digest = crate::format::commit_parts::write(
            &commit,
            self.container(),
            &self.source.meta,
            offset,
            &mut out,
        )
        .unwrap();
        let len = out.len() as u64;
        (Position { generation: commit.generation, offset, len, digest }, out)
    }

    fn footer_at(&self, offset: u64, commit: Position, out: &mut Vec<u8>) {
        let footer = Footer { archive: self.source.archive, commit, header_copy: 1, durable: true };
        footer.write(self.container(), &self.source.meta, offset, out);
    }
}

fn kinds() -> [Kind; 5] {
    [
        Kind::bank(Cipher::Fernet),
        Kind::bank(Cipher::AesOcb),
        Kind::store(),
        Kind::market(),
        Kind::null(),
    ]
}

fn codes(opened: &Opened) -> Vec<&'static str> {
    opened.notices.iter().map(|notice| notice.code).collect()
}

const TAIL: usize = 256 << 10;

#[test]
fn a_tail_of_marks_costs_no_more_than_a_few_times_its_bytes() {
    for kind in kinds() {
        let scene = Scene::new(kind);
        let footer = Footer::len(scene.container(), &scene.source.meta);
        for tag in [COMMIT_TAG, FOOTER_TAG] {
            // At home, as records that are as long as may be, and as long as a footer; then elsewhere.
            for (len, away) in [(250_000, 0), (footer, 0), (250_000, 8), (footer, 8), (100, 0)] {
                for step in [0, 64, len] {
                    let tail = scene.fakes(tag, len, step, away, TAIL);
                    let what = format!("records of {len} bytes, {away} away, every {step}");
                    let opened = scene.expect_cost(&what, &scene.with(&tail), 3, 12).unwrap();
                    assert_eq!(opened.newest.position, scene.commits[2].0);
                    assert_eq!(codes(&opened), ["torn-tail"], "{what}");
                }
            }
        }
    }
}

#[test]
fn a_file_without_any_commit_costs_no_more_than_a_few_times_its_bytes() {
    for kind in kinds() {
        let scene = Scene::new(kind);
        let first = scene.commits[0].0.offset as usize;
        for (tag, len) in [(COMMIT_TAG, 250_000), (FOOTER_TAG, 250_000), (SALT_TAG, 100)] {
            let tail = scene.fakes(tag, len, 0, 0, TAIL);
            let mut bytes = scene.with(&tail);
            bytes[first..scene.bytes.len()].fill(7);
            let opened = scene.expect_cost("no commit", &bytes, 5, 14);
            assert_eq!(opened.map(|_| ()).unwrap_err().code(), Code::Corrupt);
        }
    }
}

/// In a Null all of this can be made without a key, in a Store with its key.
#[test]
fn authentic_records_behind_the_end_cost_no_more_than_a_few_times_their_bytes() {
    for kind in [Kind::null(), Kind::store()] {
        let scene = Scene::new(kind);
        let end = scene.bytes.len() as u64;
        let newest = scene.commits[2].0;
        // Whole commits that would be the next, but follow another one.
        let mut tail = Vec::new();
        while tail.len() < TAIL {
            let (_, bytes) = scene.commit_at(end + tail.len() as u64, |commit| {
                commit.previous = Some(Position { digest: [7; 32], ..newest });
                commit.removed = (0..1000).map(|i| format!("{i:010}").into()).collect();
            });
            tail.extend(bytes);
        }
        let opened = scene.expect_cost("strangers", &scene.with(&tail), 6, 12).unwrap();
        assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));

        // One commit that is damaged, and footers that name it.
        let (position, mut tail) = scene.commit_at(end, |commit| {
            commit.removed =
                (0..50_000_u64).map(|i| format!("{:x}", i * i * 7919).into()).collect();
        });
        let at = tail.len() - 1;
        tail[at] ^= 1;
        let named = tail.len();
        while tail.len() < named * 4 {
            scene.footer_at(end + tail.len() as u64, position, &mut tail);
        }
        let opened = scene.expect_cost("one for many", &scene.with(&tail), 6, 12).unwrap();
        assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));

        // A good commit, and footers that say of it what is not true.
        tail[at] ^= 1;
        tail.truncate(named);
        while tail.len() < named * 4 {
            let wrong = Position { digest: *blake3::hash(&tail).as_bytes(), ..position };
            scene.footer_at(end + tail.len() as u64, wrong, &mut tail);
        }
        let opened = scene.expect_cost("many for one", &scene.with(&tail), 20, 12).unwrap();
        assert_eq!(
            (opened.newest.position, codes(&opened)),
            (position, vec!["damaged-commit", "damaged-footer"])
        );

        // Commits that a crash kept from being whole, and whose predecessors are damaged, too.
        let mut tail = vec![0x5A; 1 << 20];
        while tail.len() < (1 << 20) + TAIL {
            let offset = end + tail.len() as u64;
            let (position, bytes) = scene.commit_at(offset, |commit| {
                commit.previous = Some(Position { digest: [7; 32], ..newest });
                commit.ahead = Some(UnsyncedPrefix { len: 1 << 20, digest: [7; 32] });
            });
            tail.extend(bytes);
            scene.footer_at(end + tail.len() as u64, position, &mut tail);
        }
        let _ = scene.expect_cost("not whole", &scene.with(&tail), 6, 12);
    }
}

/// In a Null a part can hold another one, and that one a third.
#[test]
fn parts_within_parts_are_no_parts() {
    let scene = Scene::new(Kind::null());
    let end = scene.bytes.len() as u64;
    let meta = MetaSeal::new(None);
    let head = frame::SKIPPABLE_HEADER + MARK + 32;
    let mut inner = Vec::new();
    let depth = 1000;
    for level in (0..depth).rev() {
        let offset = end + (level * 100) as u64;
        let mut body = scene.source.archive.to_vec();
        body.extend(offset.to_le_bytes());
        body.extend([4, 0, 1, 10]);
        // The next one begins 100 bytes behind this one.
        body.resize(100 - head, 0x5A);
        body.extend(&inner);
        inner.clear();
        record::write(None, &record::mark_at(COMMIT_TAG, offset), &meta.seal(&body), &mut inner);
    }
    let opened = scene.expect_cost("nested parts", &scene.with(&inner), 3, 12).unwrap();
    assert_eq!(opened.newest.position, scene.commits[2].0);
    // The innermost is a part like any other.
    assert_eq!(codes(&opened), ["damaged-commit"]);
    let outermost = crate::format::commit_parts::read_part(&inner, end, None, &meta);
    assert!(outermost.is_none());
}

/// Without a key every commit in a file can be damaged and its footers left.
#[test]
fn footers_of_damaged_commits_cost_no_more_than_a_few_times_the_file() {
    for kind in [Kind::store(), Kind::null()] {
        let scene = Scene::new(kind);
        let mut bytes = scene.bytes.clone();
        let mut last = scene.commits[2].0;
        while bytes.len() < TAIL {
            let (position, parts) = scene.commit_at(bytes.len() as u64, |commit| {
                commit.generation = last.generation + 1;
                commit.previous = Some(last);
            });
            bytes.extend(parts);
            scene.footer_at(bytes.len() as u64, position, &mut bytes);
            let end = position.end() as usize;
            bytes[end - 1] ^= 1;
            last = position;
        }
        let opened = scene.expect_cost("damaged commits", &bytes, 4, 6).unwrap();
        assert_eq!(opened.newest.position, scene.commits[2].0);
        assert_eq!(codes(&opened), ["damaged-commit"]);
    }
}

#[test]
fn copies_of_the_header_are_tried_at_a_bounded_cost() {
    for kind in kinds() {
        let scene = Scene::new(kind);
        let mut tail = Vec::new();
        let footer = Footer::len(scene.container(), &scene.source.meta);
        // Each fake footer names another copy, and at each there is a header that does not open.
        let first = scene.commits[0].0.offset as usize;
        let copy = recovery::read_commit(&scene.source, &scene.commits[0].0).unwrap().header_copy;
        let header = &scene.bytes[copy as usize..first];
        while tail.len() < TAIL {
            let at = scene.bytes.len() + tail.len();
            let mut false_header = header.to_vec();
            *false_header.last_mut().unwrap() ^= 1;
            tail.extend(false_header);
            let offset = (scene.bytes.len() + tail.len()) as u64;
            let mut mark = record::mark_at(FOOTER_TAG, offset);
            mark[12..20].copy_from_slice(&(at as u64).to_le_bytes());
            let start = tail.len();
            tail.extend(scene.framing(footer));
            tail.extend(mark);
            tail.resize(start + footer, 0x5A);
        }
        let mut bytes = scene.with(&tail);
        bytes[40] ^= 1;
        let opened = scene.expect_cost("header copies", &bytes, 4, 14).unwrap();
        assert_eq!(codes(&opened), ["torn-tail", "damaged-header"]);
    }
}

/// The marks of records end in zeros, and a footer of another coffer is none of this one.
#[test]
fn marks_have_their_zeros_and_footers_their_archive() {
    for kind in kinds() {
        let scene = Scene::new(kind);
        let lead = record::mark_offset(scene.sealed());
        let (newest, end) = scene.commits[2];
        for at in [12, 27] {
            // Of the newest commit: it does not count.
            let mut bytes = scene.bytes.clone();
            bytes[newest.offset as usize + lead + at] = 1;
            let opened = scene.open(&bytes).unwrap();
            assert_eq!(opened.newest.position, scene.commits[1].0);
            assert_eq!(codes(&opened), ["damaged-commit"]);
        }
        // Of its footer: the commit counts without it.
        let mut bytes = scene.bytes.clone();
        bytes[newest.end() as usize + lead + 20] = 1;
        let opened = scene.open(&bytes).unwrap();
        assert_eq!(
            (opened.newest.position, codes(&opened)),
            (newest, vec!["torn-tail", "damaged-footer"])
        );
        // The footer of another archive id says nothing, and is not a tail to keep.
        let other =
            Footer { archive: [7; 16], commit: scene.commits[0].0, header_copy: 1, durable: true };
        let mut bytes = scene.bytes.clone();
        other.write(scene.container(), &scene.source.meta, end, &mut bytes);
        let opened = scene.open(&bytes).unwrap();
        assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["torn-tail"]));
    }
}

/// Damage makes a reader go back; a commit that is what was committed and breaks a rule does not.
#[test]
fn damage_falls_back_and_a_malformed_commit_is_an_error() {
    let scene = Scene::new(Kind::store());
    let end = scene.bytes.len() as u64;
    // A flag that is neither 0 nor 1, under the right digest.
    let (position, _) = scene.commit_at(end, |_| {});
    let mut commit = recovery::read_commit(&scene.source, &scene.commits[2].0).unwrap();
    commit.generation = position.generation;
    commit.previous = Some(scene.commits[2].0);
    let mut raw = commit.encode();
    let flag = raw.len() - commit_rest(&commit);
    raw[flag] = 2;
    let packed = frame::compress(3, &raw).unwrap();
    let mut body = crate::format::codec::Encoder::default();
    body.raw(&scene.source.archive);
    body.raw(&end.to_le_bytes());
    body.uint(commit.generation);
    body.uint(0);
    body.uint(1);
    body.uint(raw.len() as u64);
    body.raw(&packed);
    let mut tail = Vec::new();
    let mark = record::mark_at(COMMIT_TAG, end);
    record::write(scene.container(), &mark, &scene.source.meta.seal(&body.finish()), &mut tail);
    let position = Position {
        generation: commit.generation,
        offset: end,
        len: tail.len() as u64,
        digest: *blake3::hash(&raw).as_bytes(),
    };
    // Without a footer nothing says that it was committed: it is a tail to keep.
    let opened = scene.open(&scene.with(&tail)).unwrap();
    assert_eq!(
        (opened.newest.position, codes(&opened)),
        (scene.commits[2].0, vec!["damaged-commit"])
    );
    scene.footer_at(end + tail.len() as u64, position, &mut tail);
    let error = scene.open(&scene.with(&tail)).map(|_| ()).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.message().contains("malformed"), "{}", error.message());
}

/// The bytes of a commit from its first flag on.
fn commit_rest(commit: &Commit) -> usize {
    let mut e = crate::format::codec::Encoder::default();
    e.raw(&commit.archive);
    e.uint(commit.generation);
    e.raw(&commit.header);
    e.uint(commit.header_copy);
    commit.encode().len() - e.finish().len()
}

/// What a commit's *previous* names must verify, however good the newest commit is.
#[test]
fn a_damaged_previous_commit_is_an_error_and_no_older_state() {
    for kind in kinds() {
        let scene = Scene::new(kind);
        let mut bytes = scene.bytes.clone();
        bytes[scene.commits[1].0.end() as usize - 1] ^= 1;
        let error = scene.open(&bytes).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), Code::Corrupt);
    }
}

/// A record of this coffer that opens makes a tail one to keep, wherever it says that it stands.
#[test]
fn a_record_that_opens_makes_a_tail_authentic_and_a_copy_of_the_footer_does_not() {
    for kind in kinds() {
        let scene = Scene::new(kind);
        let newest = scene.commits[2].0;
        let end = scene.bytes.len();
        let lead = record::mark_offset(scene.sealed());
        let commit = &scene.bytes[newest.offset as usize..newest.end() as usize];
        let footer = &scene.bytes[newest.end() as usize..];
        for moved in [commit, footer] {
            let tail = [&[0x5A; 100][..], moved].concat();
            let opened = scene.open(&scene.with(&tail)).unwrap();
            assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));
            // Its mark is in clear, so it can be corrected without a key.
            let mut tail = tail;
            let at = (end + 100) as u64;
            tail[100 + lead + 4..100 + lead + 12].copy_from_slice(&at.to_le_bytes());
            let opened = scene.open(&scene.with(&tail)).unwrap();
            assert_eq!((opened.newest.position, codes(&opened)), (newest, vec!["damaged-commit"]));
        }
        let mut tail = vec![0x5A; 100];
        scene.footer_at((end + 100) as u64, newest, &mut tail);
        let opened = scene.open(&scene.with(&tail)).unwrap();
        assert_eq!((opened.newest.end, codes(&opened)), (end as u64, vec!["torn-tail"]));
    }
}

fn read_without_lock(scene: &Scene, file: Arc<Memory>) -> Result<Coffer> {
    let mut options = scene.options.clone();
    options.lock = crate::coffer::LockMode::None;
    Coffer::open_in(Arc::new(One(file)), Path::new(PATH), options)
}

#[test]
fn a_reader_without_a_lock_waits_for_the_footer_of_a_commit_that_is_being_written() {
    let scene = Scene::new(Kind::store());
    let (position, _) = scene.commits[2];
    let whole = scene.bytes.clone();
    let file = Memory::of(&whole[..position.end() as usize]);
    // A look reads again and again; the footer comes while the reader only asks for the length.
    let asked = Arc::new(AtomicU64::new(0));
    let since_read = asked.clone();
    *file.at_read.lock().unwrap() = Some(Box::new(move |_| since_read.store(0, Ordering::Relaxed)));
    *file.at_len.lock().unwrap() = Some(Box::new(move |bytes| {
        if asked.fetch_add(1, Ordering::Relaxed) == 5 {
            bytes.clone_from(&whole);
        }
    }));
    let coffer = read_without_lock(&scene, file.clone()).unwrap();
    assert_eq!(coffer.notices(), []);
    // Where it does not come, it is damaged.
    let file = Memory::of(&scene.bytes[..position.end() as usize]);
    let coffer = read_without_lock(&scene, file).unwrap();
    assert_eq!(coffer.notices()[0].code, "damaged-footer");
}

#[test]
fn a_file_that_is_cut_between_a_look_at_its_length_and_a_read_is_looked_at_again() {
    let scene = Scene::new(Kind::store());
    for cut in [0, 1, 2, 3] {
        let file = Memory::of(&scene.with(&[0x5A; 5000]));
        let end = scene.bytes.len();
        let mut reads = 0;
        *file.at_read.lock().unwrap() = Some(Box::new(move |bytes| {
            if reads == cut {
                bytes.truncate(end);
            }
            reads += 1;
        }));
        let coffer = read_without_lock(&scene, file).unwrap();
        assert_eq!(coffer.notices(), []);
        assert_eq!(coffer.read("member-1").unwrap(), vec![1; 1000]);
    }
    // A block that is read where the file has just been cut is damaged, and no failing disk.
    let file = Memory::of(&scene.bytes);
    let coffer = read_without_lock(&scene, file.clone()).unwrap();
    *file.at_read.lock().unwrap() = Some(Box::new(|bytes| bytes.truncate(400)));
    assert_eq!(coffer.read("member-1").unwrap_err().code(), Code::Corrupt);
}

/// A reader that stays on its commit verifies what the writer has moved, however often it moves.
#[test]
fn verifying_beside_a_writer_that_moves_members_finds_no_damage() {
    for lock in [crate::coffer::LockMode::None, crate::coffer::LockMode::Write] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.coffer");
        let mut options = Options::new(Mode::Write, Kind::store());
        options.coffer_key = Some(Key::generate(32));
        options.auto_flush = Some(false);
        let writer = Coffer::open(&path, options.clone()).unwrap();
        // Each pack has a member that stays and one that goes.
        for pack in 0..4 {
            for name in [format!("stays-{pack}"), format!("goes-{pack}")] {
                writer.change(Change::write(&name, Arc::new(vec![pack; 1000]))).unwrap();
            }
            writer.change(Change::Flush { force: false }).unwrap();
        }
        (options.mode, options.lock) = (Mode::Read, lock);
        let reader = Coffer::open(&path, options).unwrap();
        for pack in 0..4 {
            let name = format!("goes-{pack}");
            writer.change(Change::Delete { name, recursive: false }).unwrap();
            writer.change(Change::Flush { force: false }).unwrap();
            let verified = reader.verify(&CallObserver::silent());
            assert!(verified.is_ok(), "after move {pack}: {verified:?}");
        }
        writer.change(Change::Close).unwrap();
    }
}
