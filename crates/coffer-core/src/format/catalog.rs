//! The catalog: the members of a coffer, and the blocks that hold them, in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, OnceLock};

use crate::error::{Code, Error, Result};
use crate::format::member::MemberType;
use crate::format::members::{MemberRows, Members, RowsByPack};
use crate::format::name;

pub(crate) use crate::format::entry::{BlockId, Entry, Piece, Place};

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

/// A piece with the block it is in.
pub(crate) type Placed = (Piece, Block);

/// The fewest members that are worth a thread of their own to check.
const LEAST_SPAN: usize = if cfg!(test) { 4 } else { 16 << 10 };

/// The names from `start` on, and before `end`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NameSpan<'a> {
    start: &'a str,
    end: Option<&'a str>,
}

/// The blocks that members are in: packs, and blocks of one member alone.
#[derive(Debug, Default)]
pub(crate) struct Held {
    packs: Vec<BlockId>,
    own: Vec<BlockId>,
}

/// Members and blocks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Catalog {
    members: Members,
    pub(crate) blocks: BTreeMap<BlockId, Block>,
    /// Built at the first query.
    packs: OnceLock<PackIndex>,
    pub(crate) next_block: BlockId,
    pub(crate) next_version: u64,
    /// Bytes of the file that belong to no live block and no living commit.
    pub(crate) dead: u64,
}

/// An index of the members that were put into each pack. It may still name members that have moved to
/// another pack.
#[derive(Debug, Clone)]
struct PackIndex {
    stored: RowsByPack,
    changed: HashMap<BlockId, Vec<Arc<str>>>,
}

impl Catalog {
    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        self.members.get(name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, Entry)> {
        self.members.range(Bound::Unbounded)
    }

    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Members whose names begin with `prefix`, in order.
    pub(crate) fn with_prefix<'a>(
        &'a self,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a str, Entry)> {
        self.page(prefix, None)
    }

    /// Members whose names begin with `prefix` and come behind `after`, in order.
    pub(crate) fn page<'a>(
        &'a self,
        prefix: &'a str,
        after: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, Entry)> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        self.members.range(start).take_while(move |(name, _)| name.starts_with(prefix))
    }

    /// Members below a directory.
    pub(crate) fn below(&self, directory: &str) -> impl Iterator<Item = (&str, Entry)> {
        let start = format!("{directory}/");
        self.members
            .range(Bound::Included(&start))
            .take_while(move |(name, _)| name.starts_with(&start))
    }

    /// Whether members lie below `directory`.
    pub(crate) fn has_below(&self, directory: &str) -> bool {
        self.below(directory).next().is_some()
    }

    /// Whether there is a member of a name, or a directory that names of members imply.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.get(name).is_some() || self.has_below(name)
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
        let next = self.members.range(Bound::Included(member)).next();
        let Some((name, entry)) = next.filter(|(name, _)| name.starts_with(member)) else {
            return Ok(());
        };
        let is_own = name == member;
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
            packs.changed.entry(*block).or_default().push(name.clone());
        }
        self.members.set(name, entry)
    }

    /// Moves a version of a member from memory to a place in a pack; false if it is not there any more.
    pub(crate) fn place(&mut self, name: &Arc<str>, version: u64, place: Place) -> bool {
        let Some(entry) = self.members.changed_mut(name) else { return false };
        if entry.version != version || !matches!(entry.place, Place::Memory(_)) {
            return false;
        }
        if let (Place::Packed { block, .. }, Some(packs)) = (&place, self.packs.get_mut()) {
            packs.changed.entry(*block).or_default().push(name.clone());
        }
        entry.place = place;
        true
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        self.members.remove(name)
    }

    /// Removes and sets what commits list, in the order in which they follow each other.
    pub(crate) fn merge(&mut self, commits: Vec<MemberRows>) {
        self.packs.take();
        self.members.merge(commits);
    }

    /// The members that a pack still holds.
    pub(crate) fn live_in_pack(&self, block: BlockId) -> Vec<Arc<str>> {
        let holds = |name: &Arc<str>| {
            self.get(name)
                .is_some_and(|e| matches!(e.place, Place::Packed { block: b, .. } if b == block))
        };
        let packs = self.packs.get_or_init(|| self.members_by_pack());
        let mut names = self.members.stored_in(block, &packs.stored);
        names.extend(packs.changed.get(&block).into_iter().flatten().cloned());
        names.retain(holds);
        names.sort_unstable();
        names.dedup();
        names
    }

    fn members_by_pack(&self) -> PackIndex {
        let mut changed = HashMap::<_, Vec<_>>::new();
        for (name, entry) in self.members.changed() {
            if let Place::Packed { block, .. } = entry.place {
                changed.entry(block).or_default().push(name.clone());
            }
        }
        PackIndex { stored: self.members.by_pack(), changed }
    }

    /// The bytes of memory that members take which are as commits list them.
    #[cfg(test)]
    pub(super) fn members_memory(&self) -> usize {
        self.members.stored_memory()
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
            packs.changed.remove(&id);
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

    /// Checks that the counters are in range, and no block is larger than a writer makes it.
    ///
    /// With [`Self::check_members`] and [`Self::check_held`], whether every member's blocks are there and
    /// its own, and everything is as small as a writer makes it: a commit that says otherwise is
    /// malformed. After this no length needs to be doubted.
    pub(crate) fn check(&self) -> Result<()> {
        let counts = [self.next_block, self.next_version, self.dead];
        let behind = self.blocks.keys().next_back().is_some_and(|last| *last >= self.next_block);
        if behind || counts.iter().any(|count| *count > MAX_COUNT) {
            return Err(Error::corrupt("a counter of the catalog is out of range"));
        }
        if !self.blocks.values().all(Block::fits) {
            return Err(Error::corrupt("the catalog names a block that is too large"));
        }
        Ok(())
    }

    /// The members in up to `most` spans of names, which can be checked in parallel; in one, if they are
    /// few.
    pub(crate) fn spans(&self, most: usize) -> Vec<NameSpan<'_>> {
        let starts = self.members.starts((self.len() / LEAST_SPAN).clamp(1, most));
        let ends = starts.iter().skip(1).copied().map(Some).chain([None]);
        std::iter::once("")
            .chain(starts.iter().skip(1).copied())
            .zip(ends)
            .map(|(start, end)| NameSpan { start, end })
            .collect()
    }

    /// Checks the members of a span by themselves, and gives the blocks that they are in.
    pub(crate) fn check_members(&self, span: &NameSpan<'_>) -> Result<Held> {
        let mut held = Held::default();
        // The files whose names the next name begins with.
        let mut files = self.files_before(span.start);
        // The pack of the last member, and the bytes of its tar: the next one is likely to be in it.
        let mut pack = (ROOT, None);
        let members = self.members.range(Bound::Included(span.start));
        for (name, entry) in members.take_while(|(name, _)| span.end.is_none_or(|end| *name < end))
        {
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
                    if pack.0 != *block {
                        pack = (*block, self.blocks.get(block).map(|block| block.tar));
                        held.packs.push(*block);
                    }
                    *block != ROOT && pack.1.is_some_and(|tar| is_within(tar, &entry))
                }
                Place::Pieces { header, .. } => {
                    held.own.extend(Self::blocks_of(&entry));
                    self.blocks.contains_key(header) && self.has_content(&entry)
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
        Ok(held)
    }

    /// The files before a name that it begins with. Longer names than [`name::MAX_NAME`] are refused
    /// where they are checked.
    fn files_before<'a>(&self, name: &'a str) -> Vec<&'a str> {
        let shorter = (1..name.len().min(name::MAX_NAME)).filter_map(|len| name.get(..len));
        shorter.filter(|name| self.get(name).is_some_and(|e| !e.is_directory())).collect()
    }

    /// Checks that no block of one member is that of another: what one leaves behind dies, and with it
    /// what another has there.
    pub(crate) fn check_held(held: Vec<Held>) -> Result<()> {
        let (mut packs, mut own) = (vec![ROOT], Vec::new());
        for held in held {
            packs.extend(held.packs);
            own.extend(held.own);
        }
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
            Place::Packed { block, .. } => {
                self.blocks.get(block).is_some_and(|block| is_within(block.tar, entry))
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

/// Whether a packed member has a size that a pack can hold, and its bytes are within the `tar` bytes of
/// its pack.
fn is_within(tar: u32, entry: &Entry) -> bool {
    let Place::Packed { at, stored, .. } = entry.place else { return false };
    entry.size <= u64::from(MAX_BLOCK) && at.checked_add(stored).is_some_and(|end| end <= tar)
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
