//! The catalog: the members of a coffer, and the blocks that hold them, in memory.

use crate::format::member::Attributes;
use crate::format::member::MemberType;
use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use crate::error::{Code, Error, Result};
use crate::format::name;

/// The number of a block. Numbers are given in the order in which blocks are written, and never reused.
pub(crate) type BlockId = u64;

/// The digest of a block (see [`crate::format::block`]).
pub(crate) type Digest = [u8; 32];

/// The most bytes of a block, in the file and decoded. A piece has at most 16 MiB.
pub(crate) const MAX_BLOCK: u32 = 64 << 20;

/// The number of the root block.
pub(crate) const ROOT: BlockId = 0;

/// The highest number of blocks, versions or dead bytes that a commit may have.
pub(crate) const MAX_COUNT: u64 = 1 << 62;

/// One block of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it begins in the file.
    pub(crate) offset: u64,
    /// Its length in the file.
    pub(crate) len: u32,
    /// The length of its zstd frame, which is what its chunks hold.
    pub(crate) frame: u32,
    /// The bytes of tar in the frame.
    pub(crate) tar: u32,
    pub(crate) digest: Digest,
}

impl Block {
    pub(crate) fn end(&self) -> u64 {
        self.offset.saturating_add(u64::from(self.len))
    }

    /// Whether its lengths are within [`MAX_BLOCK`].
    pub(crate) fn fits(&self) -> bool {
        [self.len, self.frame, self.tar].iter().all(|len| *len <= MAX_BLOCK)
    }
}

/// A part of a large member, alone in its block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) block: BlockId,
    /// Bytes of the member.
    pub(crate) raw: u32,
    /// The same bytes after the member layer: what stands in the tar.
    pub(crate) stored: u32,
}

/// A piece with the block it is in.
pub(crate) type Placed = (Piece, Block);

/// The place of a member's bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a pack, `at` bytes into its tar.
    Packed { block: BlockId, at: u32, stored: u32 },
    /// In blocks of their own, behind a block with the tar header.
    Pieces { header: BlockId, pieces: Arc<Vec<Piece>> },
    /// Not in the file yet: the bytes after the member layer.
    Memory(Arc<Vec<u8>>),
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// The version: it changes with the contents, and not when they only move.
    pub(crate) version: u64,
    pub(crate) member_type: MemberType,
    pub(crate) size: u64,
    pub(crate) attributes: Attributes,
    pub(crate) place: Place,
}

impl Entry {
    pub(crate) fn is_directory(&self) -> bool {
        self.member_type.is_directory()
    }

    /// Bytes after the member layer.
    pub(crate) fn stored(&self) -> u64 {
        match &self.place {
            Place::Packed { stored, .. } => u64::from(*stored),
            Place::Pieces { pieces, .. } => pieces.iter().map(|p| u64::from(p.stored)).sum(),
            Place::Memory(bytes) => bytes.len() as u64,
        }
    }
}

/// Members and blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    members: BTreeMap<Arc<str>, Entry>,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    /// An index of the members that were put into each pack, built at the first query. It may still
    /// name members that have moved to another pack.
    packs: OnceLock<HashMap<BlockId, Vec<Arc<str>>>>,
    pub(crate) next_block: BlockId,
    pub(crate) next_version: u64,
    /// Bytes of the file that belong to no live block and no living commit.
    pub(crate) dead: u64,
}

impl Catalog {
    pub(crate) fn get(&self, name: &str) -> Option<&Entry> {
        self.members.get(name)
    }

    pub(crate) fn get_key_value(&self, name: &str) -> Option<(&Arc<str>, &Entry)> {
        self.members.get_key_value(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.members.iter()
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Members whose names begin with `prefix`, in order.
    pub(crate) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Entry)> {
        self.page(prefix, None)
    }

    /// Members whose names begin with `prefix` and come behind `after`, in order.
    pub(crate) fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a Arc<str>, &'a Entry)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.members
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Members below a directory.
    pub(crate) fn below(&self, directory: &str) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        let start = format!("{directory}/");
        self.members
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
            .take_while(move |(name, _)| name.starts_with(&start))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// Whether members lie below `directory`.
    pub(crate) fn has_below(&self, directory: &str) -> bool {
        let start = format!("{directory}/");
        self.members
            .range::<str, _>((Bound::Included(start.as_str()), Bound::Unbounded))
            .next()
            .is_some_and(|(name, _)| name.starts_with(&start))
    }

    /// Whether there is a member of a name, or a directory that names of members imply.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name) || self.has_below(name)
    }

    /// Fails if a name would make a directory of a file, or a file of a directory.
    ///
    /// # Errors
    /// [`Code::MemberExists`], [`Code::IsDirectory`].
    pub(crate) fn check_fits(&self, member: &str, member_type: MemberType) -> Result<()> {
        for parent in name::parents(member) {
            if self.get(parent).is_some_and(|e| !e.is_directory()) {
                return Err(taken(Code::MemberExists, member, parent, "a file"));
            }
        }
        // Most names are new, and begin no other: one look-up tells.
        let next = self.members.range::<str, _>((Bound::Included(member), Bound::Unbounded)).next();
        let Some((name, entry)) = next.filter(|(name, _)| name.starts_with(member)) else {
            return Ok(());
        };
        let is_own = &**name == member;
        if member_type.is_directory() {
            return if is_own && !entry.is_directory() {
                Err(taken(Code::MemberExists, member, member, "a file"))
            } else {
                Ok(())
            };
        }
        // Nothing is below a file.
        let is_directory = if is_own { entry.is_directory() } else { self.has_below(member) };
        if is_directory {
            return Err(taken(Code::IsDirectory, member, member, "a directory"));
        }
        Ok(())
    }

    /// Puts a member in place, and gives what was there.
    pub(crate) fn set(&mut self, name: Arc<str>, entry: Entry) -> Option<Entry> {
        if let (Place::Packed { block, .. }, Some(packs)) = (&entry.place, self.packs.get_mut()) {
            packs.entry(*block).or_default().push(name.clone());
        }
        self.members.insert(name, entry)
    }

    /// As [`Self::set`] for each of many: those of a snapshot, which are sorted, at once.
    pub(crate) fn set_all(&mut self, members: Vec<(Arc<str>, Entry)>) {
        if self.members.is_empty() {
            self.packs.take();
            self.members = members.into_iter().collect();
            return;
        }
        for (name, entry) in members {
            self.set(name, entry);
        }
    }

    /// Moves a version of a member from memory to a place in a pack; false if it is not there any more.
    pub(crate) fn place(&mut self, name: &Arc<str>, version: u64, place: Place) -> bool {
        let Some(entry) = self.members.get_mut(name) else { return false };
        if entry.version != version || !matches!(entry.place, Place::Memory(_)) {
            return false;
        }
        if let (Place::Packed { block, .. }, Some(packs)) = (&place, self.packs.get_mut()) {
            packs.entry(*block).or_default().push(name.clone());
        }
        entry.place = place;
        true
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        self.members.remove(name)
    }

    /// The members that a pack still holds.
    pub(crate) fn live_in_pack(&self, block: BlockId) -> Vec<Arc<str>> {
        let holds = |name: &&Arc<str>| {
            self.get(name)
                .is_some_and(|e| matches!(e.place, Place::Packed { block: b, .. } if b == block))
        };
        let packs = self.packs.get_or_init(|| self.members_by_pack());
        let mut names: Vec<_> =
            packs.get(&block).into_iter().flatten().filter(holds).cloned().collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    fn members_by_pack(&self) -> HashMap<BlockId, Vec<Arc<str>>> {
        let mut packs = HashMap::<_, Vec<_>>::new();
        for (name, entry) in &self.members {
            if let Place::Packed { block, .. } = entry.place {
                packs.entry(block).or_default().push(name.clone());
            }
        }
        packs
    }

    /// Takes the number of the next block.
    ///
    /// # Errors
    /// [`Code::Limit`] where a reader would refuse the count.
    pub(crate) fn take_block_number(&mut self) -> Result<BlockId> {
        counted(&mut self.next_block, "no block can be added. compact() numbers blocks anew")
    }

    /// Takes the next version of a member.
    ///
    /// # Errors
    /// [`Code::Limit`] where a reader would refuse the count.
    pub(crate) fn take_version(&mut self) -> Result<u64> {
        counted(
            &mut self.next_version,
            "no member can be written. Copy the members into a new coffer",
        )
    }

    /// Forgets a block.
    pub(crate) fn drop_block(&mut self, id: BlockId) -> Option<Block> {
        if let Some(packs) = self.packs.get_mut() {
            packs.remove(&id);
        }
        self.blocks.remove(&id)
    }

    /// The block with this number.
    pub(crate) fn block(&self, id: BlockId) -> Result<&Block> {
        self.blocks
            .get(&id)
            .ok_or_else(|| Error::corrupt("a member names a block that is not there"))
    }

    /// The block with the first entry of the tar, which no member is in.
    pub(crate) fn root(&self) -> Result<&Block> {
        self.block(ROOT)
    }

    /// Whether every member's blocks are there and its own, and everything is as small as a writer
    /// makes it: a commit that says otherwise is malformed. After this no length needs to be doubted.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [self.next_block, self.next_version, self.dead];
        let behind = self.blocks.keys().next_back().is_some_and(|last| *last >= self.next_block);
        if behind || counts.iter().any(|count| *count > MAX_COUNT) {
            return Err(Error::corrupt("a counter of the catalog is out of range"));
        }
        if !self.blocks.values().all(Block::fits) {
            return Err(Error::corrupt("the catalog names a block that is too large"));
        }
        let (mut packs, mut own) = (vec![ROOT], Vec::new());
        // The files whose names the next name begins with.
        let mut files: Vec<&str> = Vec::new();
        for (name, entry) in &self.members {
            while files.last().is_some_and(|file| !name.starts_with(file)) {
                files.pop();
            }
            if files.iter().any(|file| name.as_bytes().get(file.len()) == Some(&b'/')) {
                return Err(
                    Error::corrupt("the catalog makes a directory of a file").of_member(name)
                );
            }
            if !entry.is_directory() {
                files.push(name);
            }
            let complete = match &entry.place {
                Place::Packed { block, .. } => {
                    packs.push(*block);
                    *block != ROOT && self.has_content(entry)
                }
                Place::Pieces { header, .. } => {
                    own.extend(Self::blocks_of(entry));
                    self.blocks.contains_key(header) && self.has_content(entry)
                }
                Place::Memory(_) => true,
            };
            let complete = complete && entry.version < self.next_version;
            let empty = entry.size == 0 && entry.stored() == 0;
            let complete = complete && (empty || !entry.is_directory());
            if !complete || name::fault(name).is_some() {
                return Err(Error::corrupt("the catalog contradicts itself").of_member(name));
            }
        }
        // What one member leaves behind dies, and with it what another has there.
        packs.sort_unstable();
        own.sort_unstable();
        let shared = own.windows(2).any(|pair| pair[0] == pair[1])
            || own.iter().any(|block| packs.binary_search(block).is_ok());
        if shared {
            return Err(Error::corrupt("the catalog gives a block to several members"));
        }
        Ok(())
    }

    /// Whether the blocks with a member's content are there, and it fits into them.
    pub(crate) fn has_content(&self, entry: &Entry) -> bool {
        match &entry.place {
            Place::Packed { block, at, stored } => {
                entry.size <= u64::from(MAX_BLOCK)
                    && self
                        .blocks
                        .get(block)
                        .is_some_and(|b| at.checked_add(*stored).is_some_and(|end| end <= b.tar))
            }
            Place::Pieces { pieces, .. } => {
                let raw: u64 = pieces.iter().map(|p| u64::from(p.raw)).sum();
                raw == entry.size
                    && pieces.iter().all(|p| p.raw <= MAX_BLOCK)
                    && pieces
                        .iter()
                        .all(|p| self.blocks.get(&p.block).is_some_and(|b| p.stored <= b.tar))
            }
            Place::Memory(_) => true,
        }
    }

    /// The blocks that hold a member.
    pub(crate) fn blocks_of(entry: &Entry) -> Vec<BlockId> {
        match &entry.place {
            Place::Packed { block, .. } => vec![*block],
            Place::Pieces { header, pieces } => {
                std::iter::once(*header).chain(pieces.iter().map(|p| p.block)).collect()
            }
            Place::Memory(_) => Vec::new(),
        }
    }
}

fn counted(next: &mut u64, what: &str) -> Result<u64> {
    let number = *next;
    if number >= MAX_COUNT {
        return Err(Error::new(
            Code::Limit,
            format!("the coffer has counted as far as the format allows, and {what}"),
        ));
    }
    *next += 1;
    Ok(number)
}

fn taken(code: Code, member: &str, by: &str, what: &str) -> Error {
    Error::new(
        code,
        format!("{member:?} cannot be a member: {by:?} is {what}. Delete it first, or choose another name"),
    )
    .of_member(member)
}
