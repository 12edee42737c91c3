//! A coffer of three commits, and hostile bytes for its end.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memory::Memory;
use crate::coffer::{Mode, Options};
use crate::crypto::key::Key;
use crate::crypto::seal::Seal;
use crate::engine::container::Container;
use crate::engine::credentials::CredentialLookup;
use crate::engine::file::ArchiveFile;
use crate::engine::open::{self, Expected, OpenResult, Opened};
use crate::engine::recovery;
use crate::error::Result;
use crate::format::commit::{Commit, Position};
use crate::format::footer::Footer;
use crate::format::frame;
use crate::format::header::Header;
use crate::format::keys::Keys;
use crate::format::kind::Kind;
use crate::format::member::{Attributes, MemberType};
use crate::format::record;
use crate::format::work;
use crate::io::disk::DiskNamespace;
use crate::io::lock_set::Locks;
use crate::io::storage::{Namespace, ReadAt};

/// A coffer of three commits in memory.
pub(crate) struct ThreeCommits {
    pub(super) options: Options,
    pub(crate) header: Header,
    pub(crate) keys: Keys,
    pub(crate) bytes: Vec<u8>,
    /// Where each commit stands, and where its footer ends.
    pub(super) commits: Vec<(Position, u64)>,
    pub(crate) source: Arc<ArchiveFile>,
}

pub(super) const PATH: &str = "/in memory/box.coffer";

impl ThreeCommits {
    pub(crate) fn new(kind: Kind) -> Self {
        let mut options = Options::new(Mode::Read, kind);
        options.coffer_key = kind.container.cipher.map(|c| Key::generate(c.key_lengths()[0]));
        options.secure_key = kind.member.cipher.map(|_| Key::generate(32));
        let (header, keys) = options.header(&options.credentials().unwrap()).unwrap();
        let storage = Arc::new(Memory::default());
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
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

    pub(super) fn sealed(&self) -> bool {
        self.source.layers.container.is_some()
    }

    pub(super) fn container(&self) -> Option<&dyn Seal> {
        self.source.layers.container.as_deref()
    }

    /// The coffer with other bytes behind it.
    pub(crate) fn with(&self, tail: &[u8]) -> Vec<u8> {
        [&self.bytes, tail].concat()
    }

    pub(super) fn open_file(&self, file: Arc<Memory>) -> Result<Opened> {
        let credentials = self.options.credentials().unwrap();
        let expected = Expected {
            max_catalog: u64::MAX,
            kind: &self.options.kind,
            accept_file_cipher: false,
            credentials: &CredentialLookup::new(&credentials, &self.options.cancel),
            level: None,
            directory: Arc::new(DiskNamespace),
        };
        match open::open(file, Path::new(PATH), &expected)? {
            OpenResult::Coffer(opened) => Ok(*opened),
            OpenResult::Legacy => panic!("taken for a legacy coffer"),
        }
    }

    pub(super) fn open(&self, bytes: &[u8]) -> Result<Opened> {
        self.open_file(Memory::of(bytes))
    }

    /// Opens a file, with any result, and expects that at most `reads` times its length is read, and at
    /// most `works` times its length deciphered or hashed.
    pub(super) fn expect_cost(
        &self,
        what: &str,
        bytes: &[u8],
        works: u64,
        reads: u64,
    ) -> Result<Opened> {
        let file = Memory::of(bytes);
        let (opened, worked) = work::of(|| self.open_file(file.clone()));
        let (len, read) = (bytes.len() as u64, file.read.load(Ordering::Relaxed));
        let kind = self.options.kind.name.as_str();
        assert!(worked <= works * len, "{kind}, {what}: {worked} bytes of work for {len}");
        assert!(read <= reads * len + (3 << 20), "{kind}, {what}: {read} bytes read of {len}");
        opened
    }

    /// The framing of a record of `len` bytes, up to its mark.
    pub(super) fn framing(&self, len: usize) -> Vec<u8> {
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
    pub(super) fn commit_at(
        &self,
        offset: u64,
        change: impl FnOnce(&mut Commit),
    ) -> (Position, Vec<u8>) {
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

    pub(super) fn footer_at(&self, offset: u64, commit: Position, out: &mut Vec<u8>) {
        let footer = Footer { archive: self.source.archive, commit, header_copy: 1, durable: true };
        footer.write(self.container(), &self.source.meta, offset, out);
    }
}
