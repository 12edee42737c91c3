//! Where a member lies in the file, and reading its bytes from there.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::engine::file::ArchiveFile;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, Catalog, Entry, Piece, Place};

/// A member as it is to be read: what the catalog says of it, and the blocks that hold it.
#[derive(Clone)]
pub(crate) struct MemberLocation {
    name: Arc<str>,
    pub(crate) entry: Entry,
    pub(crate) blocks: Vec<Block>,
    /// The block with the tar header of a large member.
    header: Option<Block>,
}

impl MemberLocation {
    pub(crate) fn in_catalog(catalog: &Catalog, name: &str, entry: &Entry) -> Result<Self> {
        let header = match &entry.place {
            Place::Pieces { header, .. } => Some(catalog.block(*header)?.clone()),
            _ => None,
        };
        let blocks = match &entry.place {
            Place::Pieces { pieces, .. } => {
                pieces.iter().map(|p| catalog.block(p.block).cloned()).collect::<Result<_>>()?
            }
            Place::Packed { block, .. } => vec![catalog.block(*block)?.clone()],
            Place::Memory(_) => Vec::new(),
        };
        Ok(Self { name: name.into(), entry: entry.clone(), blocks, header })
    }

    /// Where the bytes end that are decoded with those before `end`, which is within the member.
    pub(crate) fn decoded_to(&self, end: u64) -> u64 {
        let Place::Pieces { pieces, .. } = &self.entry.place else { return self.entry.size };
        let mut at = 0;
        for piece in pieces.iter() {
            if at >= end {
                break;
            }
            at += u64::from(piece.raw);
        }
        at
    }

    /// All bytes of a small member, if its pack is in the cache and the member is intact.
    pub(crate) fn cached(&self, source: &ArchiveFile) -> Option<Zeroizing<Vec<u8>>> {
        let size = usize::try_from(self.entry.size).ok()?;
        let bytes = match (&self.entry.place, self.blocks.first()) {
            (Place::Memory(stored), _) => source.layers.decode_member(stored, size),
            (Place::Packed { .. }, Some(block)) => {
                let tar = source.packs.cached(&block.digest)?;
                let stored = source.packed(&tar, block, &self.name, &self.entry).ok()?;
                source.layers.decode_member(stored, size)
            }
            _ => return None,
        };
        bytes.ok().map(|bytes| Zeroizing::new(bytes.into_vec()))
    }

    /// Gives the pieces that begin in `len` bytes from `start` to `take`, with the offset of each, in
    /// parallel and in no order. Returns where the last of them ends. From the beginning, the tar
    /// header is compared with the catalog as well.
    pub(crate) fn each_piece(
        &self,
        source: &ArchiveFile,
        start: u64,
        len: u64,
        take: &(impl Fn(u64, &[u8]) -> Result<()> + Sync),
    ) -> Result<u64> {
        use rayon::prelude::*;
        let Place::Pieces { pieces, .. } = &self.entry.place else {
            let len = usize::try_from(self.entry.size - start).map_err(|_| too_large())?;
            take(start, &self.read(source, start, len)?)?;
            return Ok(self.entry.size);
        };
        if let (0, Some(header)) = (start, &self.header) {
            source.check_header(header, &self.name, &self.entry)?;
        }
        let mut chosen = Vec::new();
        let mut at = 0u64;
        for (piece, block) in pieces.iter().zip(&self.blocks) {
            if at >= start.saturating_add(len) {
                break;
            }
            if at >= start {
                chosen.push((at, piece, block));
            }
            at += u64::from(piece.raw);
        }
        source.will_read(chosen.iter().map(|(_, _, block)| *block));
        crate::io::pool::within(|| {
            chosen
                .par_iter()
                .try_for_each(|(at, piece, block)| take(*at, &source.piece(piece, block)?))
        })?;
        Ok(at)
    }

    /// Reads `len` bytes from `start`, decoding only the pieces they touch, in parallel. From the
    /// beginning, the tar header is compared with the catalog as well.
    pub(crate) fn read(&self, source: &ArchiveFile, start: u64, len: usize) -> Result<Vec<u8>> {
        use rayon::prelude::*;
        let layers = &source.layers;
        let size = usize::try_from(self.entry.size).map_err(|_| too_large())?;
        let whole = match &self.entry.place {
            Place::Memory(stored) => layers.decode_member(stored, size)?,
            Place::Packed { .. } => {
                let Some(block) = self.blocks.first() else {
                    return Err(Error::corrupt("a member has no block"));
                };
                let tar = source.pack(block)?;
                layers.decode_member(source.packed(&tar, block, &self.name, &self.entry)?, size)?
            }
            Place::Pieces { pieces, .. } => {
                if let (0, Some(header)) = (start, &self.header) {
                    source.check_header(header, &self.name, &self.entry)?;
                }
                let mut from = 0u64;
                let end = start + len as u64;
                let mut touched = Vec::new();
                for (piece, block) in pieces.iter().zip(&self.blocks) {
                    let to = from + u64::from(piece.raw);
                    if to > start && from < end {
                        touched.push((from, piece, block));
                    }
                    from = to;
                }
                source.will_read(touched.iter().map(|(_, _, block)| *block));
                let decode = |(from, piece, block): &(u64, &Piece, &Block)| {
                    let raw = source.piece(piece, block)?;
                    let skip = start.saturating_sub(*from) as usize;
                    let keep = ((end - from) as usize).min(raw.len());
                    Ok((skip, keep, raw))
                };
                let mut out = Vec::new();
                out.try_reserve_exact(len).map_err(|_| too_large())?;
                for window in touched.chunks(crate::io::pool::window()) {
                    let decoded: Vec<_> = crate::io::pool::within(|| {
                        window.par_iter().map(decode).collect::<Result<_>>()
                    })?;
                    for (skip, keep, raw) in decoded {
                        out.extend_from_slice(&raw[skip..keep]);
                    }
                }
                return Ok(out);
            }
        };
        let start = usize::try_from(start).map_err(|_| too_large())?;
        if start == 0 && len == whole.len() {
            return Ok(whole.into_vec());
        }
        Ok(whole.get(start..start + len).unwrap_or_default().to_vec())
    }
}

fn too_large() -> Error {
    Error::new(Code::Limit, "the member does not fit into memory: read it in ranges")
}

pub(crate) fn no_member(member: &str) -> Error {
    Error::new(Code::MemberNotFound, format!("there is no member {member:?}")).of_member(member)
}
