//! The fuzz target of sealed contents: a sound coffer is taken apart, plaintexts in it are replaced, and
//! it is sealed again with the right keys.
//!
//! The input is `kind, flags` and sections `layer, index, length, bytes`: each puts its bytes in the
//! place of one plaintext, so that the fuzzer itself changes headers, commits, footers, zstd frames,
//! tars and the chunks of members.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::base::{Base, FilePart, PlacedPart};
use super::input::FuzzInput;
use super::scene::{FuzzScene, change, look};
use crate::buffer::Buffer;
use crate::coffer::{Coffer, Mode};
use crate::format::catalog::{Block, BlockId, Digest, Place};
use crate::format::chunk;
use crate::format::codec::{Decoder, Encoder};
use crate::format::commit::{Commit, Position};
use crate::format::frame;
use crate::format::record::ARCHIVE_ID;
use crate::format::record::{self, COMMIT_TAG, ClearFields, FOOTER_TAG, MARK};
use crate::format::tar::{self, Heading};

/// What a section replaces.
pub(super) const HEADER: u8 = 0;
pub(super) const COMMIT: u8 = 1;
pub(super) const RECORD: u8 = 2;
pub(super) const FOOTER: u8 = 3;
pub(super) const FRAME: u8 = 4;
pub(super) const TAR: u8 = 5;
pub(super) const MEMBER_FRAME: u8 = 6;
pub(super) const MEMBER: u8 = 7;
pub(super) const MARKS: u8 = 8;
/// Bytes of the finished file: `place u16, bytes`.
pub(super) const FILE: u8 = 9;
/// A commit more, with its footer.
pub(super) const MORE: u8 = 10;
const LAYERS: u8 = 11;

/// Digests, offsets and lengths are made to fit what was replaced.
pub(super) const HONEST: u8 = 1;
/// The coffer is written to, too.
pub(super) const WRITE: u8 = 2;
/// And compacted.
pub(super) const COMPACT: u8 = 4;
/// The file ends early, by the index of the last section.
pub(super) const CUT: u8 = 8;

pub fn reseal(data: &[u8]) {
    let mut input = FuzzInput::new(data);
    let base = Base::of(input.byte());
    let flags = input.byte();
    let contents = base.contents.clone();
    let case = base.case.clone();
    let mut forge = Forge::new(base, flags & HONEST != 0);
    let mut pokes = Vec::new();
    // Whether a person without the key could have made the file, as far as contents go.
    let mut pinned = !forge.honest;
    while !input.is_empty() {
        let layer = input.byte() % LAYERS;
        let index = input.byte();
        let bytes = input.long();
        pinned &= matches!(layer, FRAME..=FILE);
        if layer == FILE {
            pokes.push(bytes);
        } else {
            forge.replace(layer, usize::from(index), bytes);
        }
    }
    let mut file = forge.build();
    for bytes in pokes {
        let mut poke = FuzzInput::new(bytes);
        let at = usize::from(poke.u16()) % (file.len() + 1);
        let bytes = poke.rest();
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }
    if flags & CUT != 0 {
        file.truncate(file.len() - usize::from(data.last().copied().unwrap_or(0)).min(file.len()));
    }

    let scene = FuzzScene::new();
    let path = scene.path("any.coffer");
    std::fs::write(&path, &file).unwrap();
    let options = |mode| case.options(mode);
    let Ok(coffer) = Coffer::open(&path, options(Mode::Read)) else { return };
    let seen = look(&coffer, &scene);
    coffer.close().unwrap();
    if pinned {
        for (name, bytes) in &seen.files {
            assert!(contents[name].contains(bytes), "{name:?} has bytes that it never had");
        }
    }
    if flags & WRITE != 0 {
        change(&options, &scene, &path, &seen, flags & COMPACT != 0);
    }
}

/// A member's bytes, or a piece of them, as they stand in a tar.
struct MemberUnit {
    name: Arc<str>,
    block: BlockId,
    /// Which piece of a large member.
    piece: Option<usize>,
}

/// A coffer that is being rebuilt.
pub(super) struct Forge {
    base: Base,
    honest: bool,
    /// New bytes of units, by block and name.
    stored: BTreeMap<(BlockId, Arc<str>), Vec<u8>>,
}

impl Forge {
    pub(super) fn new(base: Base, honest: bool) -> Self {
        Self { base, honest, stored: BTreeMap::new() }
    }

    fn units(&self) -> Vec<MemberUnit> {
        let mut units = Vec::new();
        for (name, entry) in self.base.catalog.iter() {
            let unit = |block, piece| MemberUnit { name: name.into(), block, piece };
            match &entry.place {
                Place::Packed { block, .. } => units.push(unit(*block, None)),
                Place::Pieces { pieces, .. } => {
                    units.extend(pieces.iter().enumerate().map(|(i, p)| unit(p.block, Some(i))));
                }
                Place::Memory(_) => {}
            }
        }
        units
    }

    /// The part at the old place of a live block.
    fn part_of(&mut self, block: BlockId) -> Option<&mut FilePart> {
        let offset = self.base.catalog.block(block).ok()?.offset;
        self.base.parts.iter_mut().find(|p| p.offset == offset).map(|p| &mut p.part)
    }

    /// The `index`th of the parts that `select` takes.
    fn nth(&mut self, index: usize, select: impl Fn(&FilePart) -> bool) -> Option<&mut PlacedPart> {
        let count = self.base.parts.iter().filter(|p| select(&p.part)).count();
        let index = index.checked_rem(count)?;
        self.base.parts.iter_mut().filter(|p| select(&p.part)).nth(index)
    }

    /// Puts bytes in the place of one plaintext.
    pub(super) fn replace(&mut self, layer: u8, index: usize, bytes: &[u8]) {
        let new = bytes.to_vec();
        match layer {
            HEADER => {
                let placed = self.nth(index, |p| matches!(p, FilePart::Header { .. }));
                if let Some(PlacedPart { part: FilePart::Header { body, .. }, .. }) = placed {
                    *body = new;
                }
            }
            COMMIT | RECORD => {
                let is =
                    |p: &FilePart| matches!(p, FilePart::Commit { .. } | FilePart::Record { .. });
                let part = if layer == COMMIT {
                    FilePart::Commit { raw: new }
                } else {
                    FilePart::Record { plain: new }
                };
                if let Some(placed) = self.nth(index, is) {
                    placed.part = part;
                }
            }
            FOOTER => {
                let placed = self.nth(index, |p| matches!(p, FilePart::Footer { .. }));
                if let Some(PlacedPart { part: FilePart::Footer { body }, .. }) = placed {
                    *body = new;
                }
            }
            FRAME | TAR => {
                let len = bytes.len();
                let (frame, tar_len) = if layer == FRAME {
                    let said = frame_content(bytes).unwrap_or(len);
                    (new, said)
                } else {
                    (frame::compress(1, bytes).unwrap().into_vec(), len)
                };
                let placed = self.nth(index, |p| matches!(p, FilePart::Block { .. }));
                if let Some(placed) = placed {
                    placed.part = FilePart::Block { frame, sealed: None, tar: tar_len as u32 };
                }
            }
            MEMBER_FRAME | MEMBER => self.member(index, bytes, layer == MEMBER_FRAME),
            MARKS => self.mark(index, bytes),
            MORE => {
                let footer = FilePart::Footer { body: Vec::new() };
                for part in [FilePart::Commit { raw: new }, footer] {
                    self.base.parts.push(PlacedPart { offset: u64::MAX, part, mark: None });
                }
            }
            _ => {}
        }
    }

    /// Replaces the mark of a record.
    fn mark(&mut self, index: usize, bytes: &[u8]) {
        if let Some(placed) = self.nth(index, |p| !matches!(p, FilePart::Block { .. })) {
            let mut mark: ClearFields = [0; MARK];
            let len = bytes.len().min(MARK);
            mark[..len].copy_from_slice(&bytes[..len]);
            placed.mark = Some(mark);
        }
    }

    /// Replaces the stored bytes of a member in the tar, or the frame within them.
    fn member(&mut self, index: usize, bytes: &[u8], frame: bool) {
        let units = self.units();
        let Some(unit) = index.checked_rem(units.len()).and_then(|i| units.get(i)) else { return };
        let mut stored = Vec::new();
        match &self.base.layers.member {
            Some(seal) if frame => {
                chunk::put_all(&**seal, bytes, self.base.layers.chunk_plain, &mut stored);
            }
            _ => stored.extend_from_slice(bytes),
        }
        let (id, name) = (unit.block, unit.name.clone());
        if let Some(i) = unit.piece {
            let Some(entry) = self.base.catalog.get(&name) else { return };
            let Place::Pieces { pieces, .. } = &entry.place else { return };
            let mut tar = stored.clone();
            if i + 1 == pieces.len() {
                let before: u64 = pieces[..i].iter().map(|p| u64::from(p.stored)).sum();
                tar.resize(tar.len() + tar::padding(before + stored.len() as u64), 0);
            }
            let compressed = frame::compress(1, &tar).unwrap().into_vec();
            if let Some(part) = self.part_of(id) {
                *part = FilePart::Block { frame: compressed, sealed: None, tar: tar.len() as u32 };
            }
        }
        self.stored.insert((id, name), stored);
    }

    /// Rebuilds the tars of packs in which members were replaced. Gives the places of all members in
    /// them.
    fn packs(&mut self) -> HashMap<(BlockId, Arc<str>), (u32, u32)> {
        let mut places = HashMap::new();
        let replaced = std::mem::take(&mut self.stored);
        let mut packs: BTreeMap<BlockId, Vec<u8>> = BTreeMap::new();
        for (id, name) in replaced.keys() {
            let packed = self.base.catalog.get(name).map(|e| e.place);
            if matches!(packed, Some(Place::Packed { .. })) {
                packs.insert(*id, Vec::new());
            }
        }
        for (id, tar) in &mut packs {
            let old = self.tar(*id);
            for name in self.base.catalog.live_in_pack(*id) {
                let Some(entry) = self.base.catalog.get(&name) else { continue };
                let Place::Packed { at, stored, .. } = entry.place else { continue };
                let own = old.get(at as usize..(at + stored) as usize).unwrap_or_default().to_vec();
                let stored = replaced.get(&(*id, name.clone())).cloned().unwrap_or(own);
                let heading = Heading {
                    name: &name,
                    member_type: entry.member_type,
                    stored: stored.len() as u64,
                    attributes: entry.attributes,
                };
                let at = tar::append(tar, &heading, &stored).unwrap();
                places.insert((*id, name), (at, stored.len() as u32));
            }
        }
        for (id, tar) in packs {
            let compressed = frame::compress(1, &tar).unwrap().into_vec();
            if let Some(part) = self.part_of(id) {
                *part = FilePart::Block { frame: compressed, sealed: None, tar: tar.len() as u32 };
            }
        }
        for ((id, name), stored) in replaced {
            places.entry((id, name)).or_insert((0, stored.len() as u32));
        }
        places
    }

    /// The original tar of a live block.
    fn tar(&mut self, id: BlockId) -> Vec<u8> {
        match self.part_of(id) {
            Some(FilePart::Block { frame, tar, .. }) => {
                frame::decompress(frame, *tar as usize).map(Buffer::into_vec).unwrap_or_default()
            }
            _ => Vec::new(),
        }
    }

    /// Seals everything again.
    pub(super) fn build(mut self) -> Vec<u8> {
        let places = self.packs();
        let Self { base, honest, .. } = self;
        let mut out = Vec::new();
        let mut moved = Moved { places, ..Moved::default() };
        for (index, PlacedPart { offset, part, mark }) in base.parts.iter().enumerate() {
            let at = out.len() as u64;
            moved.offsets.insert(*offset, at);
            match part {
                FilePart::Header { mark: own, body } => {
                    base.put_record(&mark.unwrap_or(*own), body, &mut out);
                    moved.header(*own, index, at);
                }
                FilePart::Block { frame, sealed, tar } => match sealed {
                    Some(sealed) => out.extend_from_slice(sealed),
                    None => {
                        let (bytes, digest) = base.seal_block(frame);
                        let (len, frame) = (bytes.len() as u32, frame.len() as u32);
                        let block = Block { offset: at, len, frame, tar: *tar, digest };
                        moved.blocks.insert(*offset, block);
                        out.extend(bytes);
                    }
                },
                FilePart::Commit { raw } => {
                    let raw = if honest { moved.commit(raw) } else { raw.clone() };
                    let commit = Commit::decode(&raw).ok();
                    let generation = commit.map_or(moved.last.generation + 1, |c| c.generation);
                    let own = record::mark_at(COMMIT_TAG, at);
                    let body = commit_body(&base.archive, at, generation, &raw);
                    base.put_record(&mark.unwrap_or(own), &body, &mut out);
                    let digest = *blake3::hash(&raw).as_bytes();
                    moved.last(generation, at, out.len() as u64 - at, digest);
                }
                FilePart::Record { plain } => {
                    let mut plain = plain.clone();
                    if honest && plain.len() >= ARCHIVE_ID + 8 {
                        plain[ARCHIVE_ID..ARCHIVE_ID + 8].copy_from_slice(&at.to_le_bytes());
                    }
                    let own = record::mark_at(COMMIT_TAG, at);
                    base.put_record(&mark.unwrap_or(own), &plain, &mut out);
                    if let Some((generation, digest)) = commit_in(&plain) {
                        moved.last(generation, at, out.len() as u64 - at, digest);
                    }
                }
                FilePart::Footer { body } => {
                    let body = if honest || body.is_empty() {
                        moved.footer(&base.archive, body, at)
                    } else {
                        body.clone()
                    };
                    let mut own = record::mark_at(FOOTER_TAG, at);
                    own[12..20].copy_from_slice(&moved.copy.to_le_bytes());
                    base.put_record(&mark.unwrap_or(own), &body, &mut out);
                }
            }
        }
        out
    }
}

/// The body of the only part of a commit that stands at `at`.
fn commit_body(archive: &[u8; ARCHIVE_ID], at: u64, generation: u64, raw: &[u8]) -> Vec<u8> {
    let mut e = Encoder::default();
    e.raw(archive);
    e.raw(&at.to_le_bytes());
    e.uint(generation);
    e.uint(0);
    e.uint(1);
    e.uint(raw.len() as u64);
    e.raw(&frame::compress(3, raw).unwrap());
    e.finish()
}

/// The content size in a frame's header.
fn frame_content(bytes: &[u8]) -> Option<usize> {
    let said = zstd::zstd_safe::get_frame_content_size(bytes).ok()??;
    usize::try_from(said).ok().filter(|len| *len <= 64 << 20)
}

/// The commit that the only record of it holds.
fn commit_in(plain: &[u8]) -> Option<(u64, Digest)> {
    let mut d = Decoder::new(plain);
    d.raw(ARCHIVE_ID + 8).ok()?;
    let generation = d.uint().ok()?;
    let (_, _, len) = (d.uint().ok()?, d.uint().ok()?, d.uint().ok()?);
    let raw = frame::decompress(d.rest(), usize::try_from(len).ok().filter(|len| *len < 1 << 20)?);
    Some((generation, *blake3::hash(&raw.ok()?).as_bytes()))
}

/// The new places, lengths and digests of what the file holds.
struct Moved {
    offsets: HashMap<u64, u64>,
    blocks: HashMap<u64, Block>,
    places: HashMap<(BlockId, Arc<str>), (u32, u32)>,
    commits: HashMap<u64, Position>,
    last: Position,
    copy: u64,
}

impl Default for Moved {
    fn default() -> Self {
        Self {
            offsets: HashMap::new(),
            blocks: HashMap::new(),
            places: HashMap::new(),
            commits: HashMap::new(),
            last: Position { generation: 0, offset: 0, len: 0, digest: [0; 32] },
            copy: 0,
        }
    }
}

impl Moved {
    fn header(&mut self, mark: ClearFields, index: usize, at: u64) {
        if index > 0 && mark.starts_with(&record::HEADER_TAG) {
            self.copy = at;
        }
    }

    fn last(&mut self, generation: u64, offset: u64, len: u64, digest: Digest) {
        self.last = Position { generation, offset, len, digest };
        self.commits.insert(generation, self.last);
    }

    fn offset(&self, old: u64) -> u64 {
        self.offsets.get(&old).copied().unwrap_or(old)
    }

    fn block(&self, block: &mut Block) {
        match self.blocks.get(&block.offset) {
            Some(new) => *block = new.clone(),
            None => block.offset = self.offset(block.offset),
        }
    }

    /// The commit as it must be to fit the file, if it can be read at all.
    fn commit(&self, raw: &[u8]) -> Vec<u8> {
        let Ok(mut commit) = Commit::decode(raw) else { return raw.to_vec() };
        let before = commit.encode();
        commit.header_copy = self.offset(commit.header_copy);
        if let Some(previous) = &mut commit.previous
            && let Some(new) = self.commits.get(&previous.generation)
        {
            *previous = *new;
        }
        for (_, block) in &mut commit.blocks {
            self.block(block);
        }
        for block in &mut commit.scrub {
            let digest = block.digest;
            self.block(block);
            block.digest = digest;
        }
        for (name, entry) in &mut commit.set {
            self.place(name, &mut entry.place);
        }
        // An unchanged commit keeps its encoding, however it was written.
        let after = commit.encode();
        if before == after { raw.to_vec() } else { after }
    }

    /// Corrects where the bytes of a member are.
    fn place(&self, name: &Arc<str>, place: &mut Place) {
        match place {
            Place::Packed { block, at, stored } => {
                if let Some(new) = self.places.get(&(*block, name.clone())) {
                    (*at, *stored) = *new;
                }
            }
            Place::Pieces { pieces, .. } => {
                for piece in Arc::make_mut(pieces) {
                    if let Some((_, new)) = self.places.get(&(piece.block, name.clone())) {
                        piece.stored = *new;
                    }
                }
            }
            Place::Memory(_) => {}
        }
    }

    /// The footer of the last commit. Of a given body only the flag at its end is kept.
    fn footer(&self, archive: &[u8; ARCHIVE_ID], given: &[u8], at: u64) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(archive);
        body.extend_from_slice(&at.to_le_bytes());
        body.extend_from_slice(&self.last.generation.to_le_bytes());
        body.extend_from_slice(&self.last.offset.to_le_bytes());
        body.extend_from_slice(&self.last.len.to_le_bytes());
        body.extend_from_slice(&self.last.digest);
        body.extend_from_slice(&self.copy.to_le_bytes());
        body.push(given.get(body.len()).copied().unwrap_or(1));
        body
    }
}
