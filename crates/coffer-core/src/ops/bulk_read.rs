//! Going through many members, so that each pack is decoded once.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::engine::file::Source;
use crate::engine::reader::{Reader, no_member};
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Entry, Place};
use crate::format::name;
use crate::io::pool;
use crate::progress::Watch;

/// Which members.
#[derive(Debug, Clone)]
pub enum Selection {
    /// All of them.
    All,
    /// These, and what is below those that are directories.
    Names(Vec<String>),
    /// These, and nothing else.
    Exactly(Vec<String>),
}

/// Members, as one look at the coffer found them.
pub(crate) struct Sweep<'a> {
    reader: &'a Reader,
    watch: &'a Watch,
    /// The members in the order of their names.
    pub(crate) members: Vec<(Arc<str>, Entry)>,
    /// The packs that hold members of it. Their numbers mean nothing in another catalog.
    blocks: BTreeMap<BlockId, Block>,
    source: Arc<Source>,
}

impl<'a> Sweep<'a> {
    pub(crate) fn new(reader: &'a Reader, selection: &Selection, watch: &'a Watch) -> Result<Self> {
        let view = reader.view.read();
        let members = choose(&view.catalog, selection)?;
        let mut blocks = BTreeMap::new();
        for (_, entry) in &members {
            if let Place::Packed { block, .. } = entry.place {
                blocks.insert(block, view.catalog.block(block)?.clone());
            }
        }
        Ok(Self { reader, watch, members, blocks, source: view.source.clone() })
    }

    /// Does something for each file, many at once: `small` with the bytes of one that is in a pack, or
    /// why they cannot be read, and `large` with the others.
    pub(crate) fn files<R: Send>(
        &self,
        small: impl Fn(&str, &Entry, Result<&[u8]>) -> Result<R> + Sync,
        large: impl Fn(&str, &Entry) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let mut packs: BTreeMap<BlockId, Vec<(&str, &Entry)>> = BTreeMap::new();
        let mut rest = Vec::new();
        for (name, entry) in self.members.iter().filter(|(_, entry)| !entry.directory) {
            match entry.place {
                Place::Packed { block, .. } => packs.entry(block).or_default().push((name, entry)),
                _ => rest.push((name, entry)),
            }
        }
        let packs: Vec<_> = packs.into_iter().collect();
        let mut results =
            pool::each(&packs, |(id, members)| self.pack(&self.blocks[id], members, &small))?
                .into_iter()
                .flatten()
                .collect::<Vec<_>>();
        results.extend(pool::each(&rest, |(name, entry)| large(name, entry))?);
        Ok(results)
    }

    /// Goes through the members of one pack, which is decoded once.
    fn pack<R>(
        &self,
        block: &Block,
        members: &[(&str, &Entry)],
        small: &impl Fn(&str, &Entry, Result<&[u8]>) -> Result<R>,
    ) -> Result<Vec<R>> {
        self.watch.cancel.check()?;
        let tar = self.source.block(block).ok();
        let mut results = Vec::with_capacity(members.len());
        for (name, entry) in members {
            let from_pack = tar
                .as_ref()
                .and_then(|tar| bytes_in_pack(&self.source, block, tar, name, entry).ok());
            let bytes = match from_pack {
                Some(bytes) => Ok(bytes),
                // The pack moved meanwhile, or is damaged: reading the member by itself tells which.
                None => self
                    .reader
                    .read_range(name, 0, u64::MAX, Some(entry.version))
                    .map(|range| range.bytes.into()),
            };
            let bytes = bytes.as_ref().map(|bytes: &Buffer| bytes.as_slice()).map_err(Error::clone);
            results.push(small(name, entry, bytes)?);
        }
        Ok(results)
    }
}

/// The members of a selection, each once, in the order of their names. A name that is below another
/// one costs a look-up alone: names that lie in each other do not multiply.
pub(crate) fn choose(catalog: &Catalog, selection: &Selection) -> Result<Vec<(Arc<str>, Entry)>> {
    let own = |(name, entry): (&Arc<str>, &Entry)| (name.clone(), entry.clone());
    let (names, below) = match selection {
        Selection::All => return Ok(catalog.iter().map(own).collect()),
        Selection::Names(names) => (names, true),
        Selection::Exactly(names) => (names, false),
    };
    let mut chosen = BTreeMap::new();
    for wanted in names {
        let wanted = name::check(wanted)?;
        let member = catalog.get_key_value(wanted).map(own);
        if member.is_none() && !(below && catalog.has_below(wanted)) {
            return Err(no_member(wanted));
        }
        chosen.extend(member);
    }
    if below {
        for directory in outermost(names) {
            chosen.extend(catalog.with_prefix(&directory).map(own));
        }
    }
    Ok(chosen.into_iter().collect())
}

/// The names that are in no other one as directories, with a slash behind each: no member is below
/// two of them.
fn outermost(names: &[String]) -> Vec<String> {
    let checked = names.iter().filter_map(|name| name::check(name).ok());
    let mut directories: Vec<String> = checked.map(|name| format!("{name}/")).collect();
    // A directory comes right before what is in it.
    directories.sort_unstable();
    directories.dedup_by(|inner, outer| inner.starts_with(outer.as_str()));
    directories
}

fn bytes_in_pack(
    source: &Source,
    block: &Block,
    tar: &[u8],
    name: &str,
    entry: &Entry,
) -> Result<Buffer> {
    let size = usize::try_from(entry.size).map_err(|_| Error::new(Code::Limit, "too large"))?;
    source.layers.decode_member(source.packed(tar, block, name, entry)?, size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lie_in_each_other_do_not_go_through_a_member_twice() {
        let names = ["a/b/c", "/a", "ab", "a", "a/b", "x/y", "a-b", "x/y/z", "ab"];
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(outermost(&names), ["a-b/", "a/", "ab/", "x/y/"]);
    }
}
