//! The coffers that the target `reseal` takes apart: one of each kind, in `fuzz/base`, so that an
//! input means the same each time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::scene::{Case, KINDS};
use crate::format::block::Layers;
use crate::format::catalog::{Block, Catalog, Digest, Place};
use crate::format::chunk;
use crate::format::codec::Decoder;
use crate::format::commit::{Commit, Loading};
use crate::format::header::Header;
use crate::format::record::{
    self, COMMIT_TAG, ClearFields, FOOTER_TAG, HEADER_TAG, MetaSeal, SALT_TAG,
};

/// Their names in `fuzz/base`, in the order of [`Case::of`].
pub(super) const NAMES: [&str; KINDS] =
    ["null", "store", "market", "bank-fernet", "bank-aes-ocb", "custom"];

/// The path of `fuzz/`.
pub(super) fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

/// The path of the coffer of this kind.
pub(super) fn path(choice: usize) -> PathBuf {
    directory().join("base").join(NAMES[choice]).with_extension("coffer")
}

/// A part of the file, in plaintext.
#[derive(Clone)]
pub(super) enum FilePart {
    /// Either record of a header or of its copy.
    Header {
        mark: ClearFields,
        body: Vec<u8>,
    },
    /// A commit, before compression.
    Commit {
        raw: Vec<u8>,
    },
    /// A record of a commit: its plaintext, in which the commit is compressed.
    Record {
        plain: Vec<u8>,
    },
    Footer {
        body: Vec<u8>,
    },
    /// A block: its frame, and the block itself as long as nothing has changed.
    Block {
        frame: Vec<u8>,
        sealed: Option<Vec<u8>>,
        tar: u32,
    },
}

/// A part with the place it had.
#[derive(Clone)]
pub(super) struct PlacedPart {
    pub(super) offset: u64,
    pub(super) part: FilePart,
    /// The mark that replaces its own, if there is one.
    pub(super) mark: Option<ClearFields>,
}

/// A coffer taken apart.
#[derive(Clone)]
pub(super) struct Base {
    pub(super) case: Case,
    pub(super) layers: Layers,
    pub(super) meta: MetaSeal,
    pub(super) archive: [u8; crate::format::record::ARCHIVE_ID],
    pub(super) parts: Vec<PlacedPart>,
    /// The newest state.
    pub(super) catalog: Catalog,
    /// All contents that each name has had.
    pub(super) contents: HashMap<String, Vec<Vec<u8>>>,
}

impl Base {
    /// The coffer of this kind.
    pub(super) fn of(choice: u8) -> Self {
        static BASES: OnceLock<Vec<Base>> = OnceLock::new();
        let all = || (0..KINDS).map(|kind| Self::read(kind as u8)).collect();
        BASES.get_or_init(all)[usize::from(choice) % KINDS].clone()
    }

    fn read(choice: u8) -> Self {
        let case = Case::of(choice);
        let file = &std::fs::read(path(choice.into())).expect("a coffer in fuzz/base");
        let marks = Header::marks(file).unwrap();
        let header = Header::read(file, marks, &case.kind, &case.keys).unwrap();
        let layers = header.layers(&case.keys).unwrap();
        let meta = case.keys.meta(&case.kind);
        let mut base = Self {
            case,
            layers,
            meta,
            archive: header.archive,
            parts: Vec::new(),
            catalog: Catalog::default(),
            contents: HashMap::new(),
        };
        base.take_apart(file);
        base
    }

    fn take_apart(&mut self, file: &[u8]) {
        let container = self.layers.container.clone();
        let container = container.as_deref();
        // Records first, wherever they are: commits tell where the blocks are.
        let mut blocks: HashMap<u64, Block> = HashMap::new();
        let mut at = 0;
        while at < file.len() {
            let commit = crate::format::commit_parts::read_part(
                &file[at..],
                at as u64,
                container,
                &self.meta,
            )
            .and_then(|(part, len)| {
                Some((crate::format::commit_parts::assemble(&[&part], u64::MAX).ok()?.0, len))
            });
            let Some((commit, len)) = commit else {
                at += 1;
                continue;
            };
            blocks.extend(commit.blocks.iter().map(|(_, b)| (b.offset, b.clone())));
            self.remember(file, &commit);
            at += len;
        }
        let mut at = 0;
        while at < file.len() {
            let rest = &file[at..];
            let (part, len) = match blocks.get(&(at as u64)) {
                Some(block) => (self.block(&rest[..block.len as usize], block), block.len as usize),
                None => self.record(rest),
            };
            self.parts.push(PlacedPart { offset: at as u64, part, mark: None });
            at += len;
        }
    }

    /// Applies a commit, and notes what can be read.
    fn remember(&mut self, file: &[u8], commit: &Commit) {
        let mut loading = Loading::behind(std::mem::take(&mut self.catalog));
        loading.apply(&mut commit.clone());
        self.catalog = loading.finish();
        for (name, entry) in self.catalog.iter() {
            let units: Vec<(u64, usize, usize, usize)> = match &entry.place {
                Place::Packed { block, at, stored } => {
                    vec![(*block, *at as usize, *stored as usize, entry.size as usize)]
                }
                Place::Pieces { pieces, .. } => {
                    pieces.iter().map(|p| (p.block, 0, p.stored as usize, p.raw as usize)).collect()
                }
                Place::Memory(_) => Vec::new(),
            };
            let content: Option<Vec<Vec<u8>>> = units
                .iter()
                .map(|(block, at, stored, raw)| {
                    let block = self.catalog.block(*block).ok()?;
                    let bytes = &file[block.offset as usize..block.end() as usize];
                    // What was scrubbed since is not what the commit says.
                    let tar = self.layers.decode(bytes, block).ok()?;
                    let raw = self.layers.decode_member(tar.get(*at..at + stored)?, *raw).ok()?;
                    Some(raw.into_vec())
                })
                .collect();
            if let Some(content) = content.filter(|_| !entry.is_directory()) {
                self.contents.entry(name.to_string()).or_default().push(content.concat());
            }
        }
    }

    fn block(&self, sealed: &[u8], block: &Block) -> FilePart {
        let mut frame = Vec::new();
        match &self.layers.container {
            Some(seal) => chunk::open_all(&**seal, sealed, &mut frame).unwrap(),
            None => frame.extend_from_slice(sealed),
        }
        FilePart::Block { frame, sealed: Some(sealed.to_vec()), tar: block.tar }
    }

    fn record(&self, bytes: &[u8]) -> (FilePart, usize) {
        let found = record::read(self.layers.container.as_deref(), bytes).unwrap();
        let body = self.meta.open(&found.body).unwrap();
        let tag = found.mark.first_chunk::<4>().copied().unwrap();
        let part = match tag {
            HEADER_TAG | SALT_TAG => FilePart::Header { mark: found.mark, body },
            COMMIT_TAG => FilePart::Commit { raw: raw_of(&body) },
            FOOTER_TAG => FilePart::Footer { body },
            _ => unreachable!("{tag:?}"),
        };
        (part, found.len)
    }

    /// A record with any mark and any body.
    pub(super) fn put_record(&self, mark: &ClearFields, body: &[u8], out: &mut Vec<u8>) {
        // No writer makes longer ones, and readers skip them.
        let body = &body[..body.len().min(record::MAX_BODY)];
        record::write(self.layers.container.as_deref(), mark, &self.meta.seal(body), out);
    }

    /// A block with any frame.
    pub(super) fn seal_block(&self, frame: &[u8]) -> (Vec<u8>, Digest) {
        let bytes = match &self.layers.container {
            Some(seal) => {
                let mut out = Vec::new();
                chunk::put_all(&**seal, frame, self.layers.chunk_plain, &mut out);
                out
            }
            None => frame.to_vec(),
        };
        let digest = self.layers.digest(&bytes).unwrap();
        (bytes, digest)
    }
}

/// The commit in the plaintext of the only record that it has.
fn raw_of(plain: &[u8]) -> Vec<u8> {
    let mut d = Decoder::new(plain);
    let _ = d.raw(crate::format::record::ARCHIVE_ID + 8);
    let [_generation, _index, _count, len] = [(); 4].map(|()| d.uint().unwrap());
    crate::format::frame::decompress(d.rest(), len as usize).unwrap().into_vec()
}
