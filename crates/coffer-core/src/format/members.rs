//! The members of a catalog, by name: those that commits list, as they are encoded there, and in a
//! map those that were changed since. A member of a commit takes its encoding and eight bytes.

use std::collections::{BTreeMap, btree_map};
use std::iter::Peekable;
use std::ops::Bound;
use std::sync::Arc;

use crate::error::Result;
use crate::format::codec::{Decoder, malformed};
use crate::format::entry::{self, BlockId, Entry, Place};

/// The bit of a row that stands for a name which is removed.
const GONE: u64 = 1 << 63;

/// A member as a commit lists it.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) type Listed = (Arc<str>, Entry);

/// Where a name begins in the bytes of commits, and its entry behind it if it does not have [`GONE`].
type Row = u64;

/// The members that a commit removes and sets, as it encodes them.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemberRows {
    /// The bytes of the commit, up to the end of its members.
    bytes: Vec<u8>,
    /// Where its members begin.
    from: usize,
    /// First the names that it removes, then the members that it sets.
    rows: Vec<Row>,
    removed: usize,
    /// How many of them are in pieces, and how many pieces these have.
    large: usize,
    pub(crate) pieces: u64,
    /// Whether nothing is removed, and the names of what is set ascend.
    in_order: bool,
}

/// The longest lists of members that a commit may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemberRoom {
    pub(super) removed: u64,
    pub(super) set: u64,
    pub(super) pieces: u64,
}

impl MemberRows {
    /// Reads both lists from `d`, which reads a commit of `len` bytes. [`Self::keep`] completes them.
    pub(super) fn decode(d: &mut Decoder<'_>, len: usize, room: MemberRoom) -> Result<Self> {
        let from = len - d.left();
        let removed = d.list(room.removed, |d| {
            let at = (len - d.left()) as Row;
            d.string().map(|_| at | GONE)
        })?;
        let (mut pieces, mut large) = (room.pieces, 0);
        let (mut last, mut in_order) = (None, removed.is_empty());
        let set = d.list(room.set, |d| {
            let at = (len - d.left()) as Row;
            let name = d.string()?;
            in_order &= last.replace(name).is_none_or(|last| last < name);
            let entry = entry::decode(d, &mut pieces)?;
            large += usize::from(matches!(entry.place, Place::Pieces { .. }));
            Ok(at)
        })?;
        let count = removed.len();
        let rows = if count == 0 { set } else { [removed, set].concat() };
        let pieces = room.pieces - pieces;
        Ok(Self { bytes: Vec::new(), from, rows, removed: count, large, pieces, in_order })
    }

    /// The rows with the bytes that they were read from, whose members end at `end`.
    pub(super) fn keep(mut self, mut bytes: Vec<u8>, end: usize) -> Self {
        bytes.truncate(end);
        self.bytes = bytes;
        self
    }

    /// How many members are removed or set.
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// How many members are in pieces.
    pub(super) fn large(&self) -> usize {
        self.large
    }

    /// Fails if a member is set twice.
    pub(super) fn check_distinct(&self) -> Result<()> {
        if self.in_order {
            return Ok(());
        }
        let set = self.rows.iter().skip(self.removed);
        let mut names: Vec<&[u8]> = set.map(|row| name_at(&self.bytes, *row)).collect();
        names.sort_unstable();
        if names.is_sorted_by(|a, b| a < b) {
            return Ok(());
        }
        Err(malformed("it sets a member twice"))
    }

    /// The names that are removed, and the members that are set.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn lists(&self) -> (Vec<Arc<str>>, Vec<Listed>) {
        let (removed, set) = self.rows.split_at(self.removed);
        let member = |row: &Row| member_at(&self.bytes, *row).map(|(name, e)| (name.into(), e));
        let name = |row: &Row| std::str::from_utf8(name_at(&self.bytes, *row)).ok().map(Arc::from);
        (removed.iter().filter_map(name).collect(), set.iter().filter_map(member).collect())
    }
}

/// The members of commits, each name once and in order.
#[derive(Debug, Clone, Default)]
struct Stored {
    bytes: Vec<u8>,
    rows: Vec<Row>,
}

impl Stored {
    fn name(&self, row: usize) -> Option<&[u8]> {
        self.rows.get(row).map(|row| name_at(&self.bytes, *row))
    }

    fn member(&self, row: usize) -> Option<(&str, Entry)> {
        member_at(&self.bytes, *self.rows.get(row)?)
    }

    fn find(&self, name: &str) -> Option<usize> {
        let order = |row: &Row| name_at(&self.bytes, *row).cmp(name.as_bytes());
        self.rows.binary_search_by(order).ok()
    }

    /// The number of the first row at or behind a bound.
    fn first(&self, start: Bound<&str>) -> usize {
        self.rows.partition_point(|row| {
            let name = name_at(&self.bytes, *row);
            match start {
                Bound::Included(start) => name < start.as_bytes(),
                Bound::Excluded(start) => name <= start.as_bytes(),
                Bound::Unbounded => false,
            }
        })
    }
}

/// The bytes of the name at a row. All rows were read once when their commit was decoded, so that
/// nothing here fails.
fn name_at(bytes: &[u8], row: Row) -> &[u8] {
    let at = (row & !GONE) as usize;
    bytes.get(at..).and_then(|bytes| Decoder::new(bytes).bytes().ok()).unwrap_or_default()
}

/// The member at a row that is set.
fn member_at(bytes: &[u8], row: Row) -> Option<(&str, Entry)> {
    let mut d = Decoder::new(bytes.get(row as usize..)?);
    Some((d.string().ok()?, entry::decode(&mut d, &mut u64::MAX.clone()).ok()?))
}

/// Whether the member at a row that is set is in pieces.
fn is_large(bytes: &[u8], row: Row) -> bool {
    let mut d = Decoder::new(bytes.get(row as usize..).unwrap_or_default());
    d.bytes().is_ok() && d.byte().is_ok_and(entry::is_in_pieces)
}

/// The members of a catalog.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members {
    /// All of them packed.
    stored: Arc<Stored>,
    /// Those that differ from what is stored, or are in pieces; `None` for one that was removed.
    changed: BTreeMap<Arc<str>, Option<Entry>>,
    len: usize,
}

impl Members {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn get(&self, name: &str) -> Option<Entry> {
        match self.changed.get(name) {
            Some(changed) => changed.clone(),
            None => self.stored_entry(name),
        }
    }

    fn stored_entry(&self, name: &str) -> Option<Entry> {
        self.stored.member(self.stored.find(name)?).map(|(_, entry)| entry)
    }

    /// The members from a bound on, in the order of their names.
    pub(crate) fn range(&self, start: Bound<&str>) -> Range<'_> {
        let changed = self.changed.range::<str, _>((start, Bound::Unbounded)).peekable();
        Range { stored: &self.stored, row: self.stored.first(start), changed }
    }

    /// The names of `count` members that lie about equally far from each other, the first among them.
    pub(crate) fn starts(&self, count: usize) -> Vec<&str> {
        let rows = self.stored.rows.len();
        let row = |part: usize| rows.saturating_mul(part).checked_div(count).unwrap_or_default();
        (0..count).filter_map(|part| Some(self.stored.member(row(part))?.0)).collect()
    }

    /// A member that differs from what commits list, or is in pieces.
    pub(crate) fn changed_mut(&mut self, name: &str) -> Option<&mut Entry> {
        self.changed.get_mut(name)?.as_mut()
    }

    /// Puts a member in place, and gives what was there.
    pub(crate) fn set(&mut self, name: Arc<str>, entry: Entry) -> Option<Entry> {
        let old = self.get(&name);
        self.changed.insert(name, Some(entry));
        self.len += usize::from(old.is_none());
        old
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Entry> {
        let old = self.get(name)?;
        if self.stored.find(name).is_some() {
            self.changed.insert(name.into(), None);
        } else {
            self.changed.remove(name);
        }
        self.len -= 1;
        Some(old)
    }

    /// Removes and sets what commits list, in the order in which they follow each other.
    pub(crate) fn merge(&mut self, commits: Vec<MemberRows>) {
        let mut stored = Arc::unwrap_or_clone(std::mem::take(&mut self.stored));
        let mut plain = true;
        for commit in commits {
            if commit.rows.is_empty() {
                continue;
            }
            if !self.changed.is_empty() {
                for row in &commit.rows {
                    let name = std::str::from_utf8(name_at(&commit.bytes, *row));
                    self.changed.remove(name.unwrap_or_default());
                }
            }
            let (last, first) =
                (stored.name(stored.rows.len().wrapping_sub(1)), commit.rows.first());
            let behind = first.is_some_and(|row| last < Some(name_at(&commit.bytes, *row)));
            plain &= behind && commit.in_order && commit.large == 0;
            if stored.rows.is_empty() {
                stored = Stored { bytes: commit.bytes, rows: commit.rows };
                continue;
            }
            let (from, to) = (commit.from as u64, stored.bytes.len() as u64);
            stored.bytes.extend_from_slice(commit.bytes.get(commit.from..).unwrap_or_default());
            stored.rows.extend(commit.rows.iter().map(|row| row - from + to));
        }
        if !plain {
            self.settle(&mut stored);
        }
        stored.bytes.shrink_to_fit();
        stored.rows.shrink_to_fit();
        let new = |(name, entry): (&Arc<str>, &Option<Entry>)| {
            i64::from(entry.is_some()) - i64::from(stored.find(name).is_some())
        };
        let more: i64 = self.changed.iter().map(new).sum();
        self.len = stored.rows.len().saturating_add_signed(more as isize);
        self.stored = Arc::new(stored);
    }

    /// Sorts rows, and keeps the last of each name unless it is removed.
    fn settle(&mut self, Stored { bytes, rows }: &mut Stored) {
        // The sort is stable: of one name the row of the later commit stays behind.
        rows.sort_by(|a, b| name_at(bytes, *a).cmp(name_at(bytes, *b)));
        let mut next = rows.iter().skip(1).copied().collect::<Vec<_>>().into_iter();
        rows.retain(|row| {
            let name = name_at(bytes, *row);
            if next.next().is_some_and(|next| name_at(bytes, next) == name) {
                return false;
            }
            if row & GONE != 0 {
                return false;
            }
            // The pieces of a member are decoded once.
            if !is_large(bytes, *row) {
                return true;
            }
            self.changed
                .extend(member_at(bytes, *row).map(|(name, entry)| (name.into(), Some(entry))));
            false
        });
    }

    /// The packed members of commits by the blocks that hold them.
    pub(crate) fn by_pack(&self) -> RowsByPack {
        let packed = |row| match self.stored.member(row)?.1.place {
            Place::Packed { block, .. } => Some((block, row)),
            _ => None,
        };
        let mut rows: Vec<_> = (0..self.stored.rows.len()).filter_map(packed).collect();
        rows.sort_unstable();
        RowsByPack(rows)
    }

    /// The names of the members that commits have put into a pack.
    pub(crate) fn stored_in(&self, block: BlockId, index: &RowsByPack) -> Vec<Arc<str>> {
        let RowsByPack(rows) = index;
        let first = rows.partition_point(|(id, _)| *id < block);
        let own = rows.iter().skip(first).take_while(|(id, _)| *id == block);
        own.filter_map(|(_, row)| Some(self.stored.member(*row)?.0.into())).collect()
    }

    /// The bytes of memory that members take which are as commits list them; the others are none.
    #[cfg(test)]
    pub(super) fn stored_memory(&self) -> usize {
        assert!(self.changed.is_empty());
        self.stored.bytes.capacity() + size_of::<Row>() * self.stored.rows.capacity()
    }

    /// The members that differ from what commits list, or are in pieces.
    pub(crate) fn changed(&self) -> impl Iterator<Item = (&Arc<str>, &Entry)> {
        self.changed.iter().filter_map(|(name, entry)| Some((name, entry.as_ref()?)))
    }
}

/// The numbers of rows by their blocks.
#[derive(Debug, Clone)]
pub(crate) struct RowsByPack(Vec<(BlockId, usize)>);

/// Members in the order of their names.
pub(crate) struct Range<'a> {
    stored: &'a Stored,
    row: usize,
    changed: Peekable<btree_map::Range<'a, Arc<str>, Option<Entry>>>,
}

impl<'a> Iterator for Range<'a> {
    type Item = (&'a str, Entry);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.changed.peek().is_none() {
                self.row += 1;
                return self.stored.member(self.row - 1);
            }
            let stored = self.stored.name(self.row);
            let changed = self.changed.peek().map(|(name, _)| name.as_bytes());
            let (is_stored, is_changed) = match (stored, changed) {
                (Some(stored), Some(changed)) => (stored <= changed, changed <= stored),
                (stored, changed) => (stored.is_some(), changed.is_some()),
            };
            self.row += usize::from(is_stored);
            if is_changed {
                // It counts in place of what is stored.
                let (name, entry) = self.changed.next()?;
                if let Some(entry) = entry {
                    return Some((name, entry.clone()));
                }
            } else if is_stored {
                return self.stored.member(self.row - 1);
            } else {
                return None;
            }
        }
    }
}
