//! Reading many members, each pack decoded once.

use crate::engine::selection::Selection;
use crate::engine::selection::choose;
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::buffer::Buffer;
use crate::engine::file::ArchiveFile;
use crate::engine::grouping::Grouped;
use crate::engine::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Entry, Place};
use crate::io::pool;
use crate::progress::CallObserver;

/// Members of one state of the catalog.
pub(crate) struct BulkRead<'a> {
    reader: &'a Reader,
    watch: &'a CallObserver,
    /// The members in the order of their names.
    pub(crate) members: Vec<(Arc<str>, Entry)>,
    /// The packs that hold these members. Block ids are those of one catalog alone.
    blocks: BTreeMap<BlockId, Block>,
    source: Arc<ArchiveFile>,
}

impl<'a> BulkRead<'a> {
    pub(crate) fn new(
        reader: &'a Reader,
        selection: &Selection,
        watch: &'a CallObserver,
    ) -> Result<Self> {
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

    /// Calls `small` for each file in a pack, with its bytes or the error of reading them, and `large`
    /// for each other file, many in parallel.
    pub(crate) fn files<R: Send>(
        &self,
        small: impl Fn(&str, &Entry, Result<&[u8]>) -> Result<R> + Sync,
        large: impl Fn(&str, &Entry) -> Result<R> + Sync,
    ) -> Result<Vec<R>> {
        let files = self.members.iter().filter(|(_, entry)| !entry.is_directory());
        let Grouped { packs, large: mut rest, waiting } =
            Grouped::new(files.map(|(name, entry)| (&**name, entry)));
        rest.extend(waiting);
        let packs: Vec<_> = packs.into_iter().collect();
        self.source.will_read(self.blocks.values());
        let mut results =
            pool::each(&packs, |(id, members)| self.pack(&self.blocks[id], members, &small))?
                .into_iter()
                .flatten()
                .collect::<Vec<_>>();
        results.extend(pool::each(&rest, |(name, entry)| large(name, entry))?);
        Ok(results)
    }

    /// Calls `small` for the members of one pack, which is decoded once.
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
                None => {
                    self.reader.read_version(name, entry.version).map(|range| range.bytes.into())
                }
            };
            let bytes = bytes.as_ref().map(|bytes: &Buffer| bytes.as_slice()).map_err(Error::clone);
            results.push(small(name, entry, bytes)?);
        }
        Ok(results)
    }
}

fn bytes_in_pack(
    source: &ArchiveFile,
    block: &Block,
    tar: &[u8],
    name: &str,
    entry: &Entry,
) -> Result<Buffer> {
    let size = usize::try_from(entry.size).map_err(|_| Error::new(Code::Limit, "too large"))?;
    source.layers.decode_member(source.packed(tar, block, name, entry)?, size)
}
