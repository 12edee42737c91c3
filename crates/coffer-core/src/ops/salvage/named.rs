//! The members that commits name.

use std::collections::HashMap;
use std::sync::Arc;

use super::Reason;
use super::entries::{self, BlockTar};
use super::history::RecoveredState;
use super::marks::Search;
use super::rescue::{PutOutcome, Rescue};
use super::scan::{self, ScanHit};
use super::span::{Span, gaps};
use crate::engine::container::Raw;
use crate::engine::file::ArchiveFile;
use crate::engine::grouping::{Grouped, Named};
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Digest, Entry, Place};
use crate::format::chunk;
use crate::format::frame;
use crate::format::name;
use crate::io::pool;

/// A member that could not be brought over, and why.
type Failed = (Arc<str>, Entry, Error);

/// A block that no commit names.
pub(super) struct Stray {
    pub(super) span: Span,
    /// The block, unless it is the beginning of one.
    pub(super) block: Option<Block>,
    pub(super) tar: BlockTar,
}

/// What remains of the file when everything that commits name has been tried.
pub(super) struct Leftover {
    pub(super) source: Arc<ArchiveFile>,
    pub(super) records: Vec<Span>,
    pub(super) strays: Vec<Stray>,
}

/// Brings over the members that the catalog names. Blocks that are damaged are looked for elsewhere in
/// the file, and members in the intact beginning of a damaged pack are taken.
pub(super) fn bring(
    rescue: &mut Rescue<'_>,
    source: &Arc<ArchiveFile>,
    search: &Search<'_>,
    mut state: RecoveredState,
) -> Result<Leftover> {
    let members = valid_names(rescue, &state.catalog);
    let failed = members_of(rescue, source, &state.catalog, members)?;
    let whole = failed.is_empty() && state.complete;
    let mut scan = GapScan::default();
    if !whole || state.end < search.size {
        let bad = if whole { None } else { Some(bad_blocks(source, &state.catalog)?) };
        scan = scan_gaps(source, search, &state, bad.as_deref())?;
    }
    let failed = retry_moved(rescue, source, &mut state.catalog, &scan.moved, failed)?;
    let failed = from_prefixes(rescue, source, search, &state.catalog, failed)?;
    lose(rescue, source, search, &state.catalog, failed);
    Ok(Leftover { source: source.clone(), records: state.records, strays: scan.strays })
}

/// The members of the catalog. Those whose names are invalid are reported as lost.
fn valid_names(rescue: &mut Rescue<'_>, catalog: &Catalog) -> Vec<Named> {
    let all = catalog.iter().map(|(name, entry)| (Arc::from(name), entry));
    let (members, refused): (Vec<Named>, Vec<Named>) =
        all.partition(|(name, _)| name::fault(name).is_none());
    for (name, _) in refused {
        let error = Error::corrupt(format!("{name:?} is not a valid name of a member"));
        rescue.lose(&name, Reason::Refused, &error, Vec::new());
    }
    members
}

/// The blocks that were found in stretches of the file that no commit explains.
#[derive(Default)]
struct GapScan {
    /// Blocks of the catalog that stand at another offset, by their digests.
    moved: Vec<(BlockId, u64)>,
    strays: Vec<Stray>,
}

/// Searches the stretches of the file that are neither records nor intact blocks. `bad` are the
/// damaged blocks, in order; `None` if everything before the end of the newest commit is intact.
fn scan_gaps(
    source: &ArchiveFile,
    search: &Search<'_>,
    state: &RecoveredState,
    bad: Option<&[BlockId]>,
) -> Result<GapScan> {
    let blocks = &state.catalog.blocks;
    let mut explained: Vec<Span> = match bad {
        None => vec![Span { from: 0, to: state.end }],
        Some(bad) => {
            let good = blocks.iter().filter(|(id, _)| bad.binary_search(id).is_err());
            good.map(|(_, block)| Span::of(block)).collect()
        }
    };
    explained.extend(&state.records);
    let mut wanted: HashMap<Digest, Vec<BlockId>> = HashMap::new();
    for id in bad.unwrap_or_default() {
        if let Some(block) = blocks.get(id) {
            wanted.entry(block.digest).or_default().push(*id);
        }
    }
    let mut scan = GapScan::default();
    for gap in gaps(explained, search.size) {
        scan::blocks(search, source, gap, |hit| {
            scan.take(hit, &wanted, state);
            Ok(())
        })?;
    }
    Ok(scan)
}

impl GapScan {
    fn take(
        &mut self,
        hit: ScanHit,
        wanted: &HashMap<Digest, Vec<BlockId>>,
        state: &RecoveredState,
    ) {
        let (span, block, tar) = match hit {
            ScanHit::Block { block, tar, stored } => {
                if let Some(ids) = wanted.get(&block.digest) {
                    self.moved.extend(ids.iter().map(|id| (*id, block.offset)));
                    return;
                }
                (Span::of(&block), Some(block), entries::tell(&tar, stored))
            }
            ScanHit::Fragment { span, plain } => {
                let tar = frame::decompress_prefix(&plain, MAX_TAR);
                (span, None, BlockTar::Pack(entries::whole(&tar)))
            }
        };
        // If all commits are there, a block before the newest that none of them names is dead.
        let dead = state.complete && span.from < state.end
            || state.dead.iter().any(|dead| dead.overlaps(&span));
        if !dead {
            self.strays.push(Stray { span, block, tar });
        }
    }
}

/// Tries members again whose blocks stand at other offsets. Gives those that still fail.
fn retry_moved(
    rescue: &mut Rescue<'_>,
    source: &Arc<ArchiveFile>,
    catalog: &mut Catalog,
    moved: &[(BlockId, u64)],
    failed: Vec<Failed>,
) -> Result<Vec<Failed>> {
    if moved.is_empty() {
        return Ok(failed);
    }
    for (id, offset) in moved {
        if let Some(block) = catalog.blocks.get_mut(id) {
            block.offset = *offset;
        }
    }
    let again = failed.into_iter().map(|(name, entry, _)| (name, entry)).collect();
    members_of(rescue, source, catalog, again)
}

/// Reports members as lost.
fn lose(
    rescue: &mut Rescue<'_>,
    source: &ArchiveFile,
    search: &Search<'_>,
    catalog: &Catalog,
    failed: Vec<Failed>,
) {
    for (name, entry, error) in failed {
        let damage = damage(source, catalog, &entry);
        let reason = match error.code() {
            Code::MemberExists | Code::IsDirectory => Reason::Refused,
            _ => reason(source, search, catalog, &entry, &damage),
        };
        rescue.lose(&name, reason, &error, damage);
    }
}

/// The most bytes of tar in a block.
const MAX_TAR: usize = crate::format::catalog::MAX_BLOCK as usize;

/// Brings over the members whose blocks are intact. Gives the others.
fn members_of(
    rescue: &mut Rescue<'_>,
    source: &Arc<ArchiveFile>,
    catalog: &Catalog,
    members: Vec<Named>,
) -> Result<Vec<Failed>> {
    let mut failed = Vec::new();
    let (located, lost): (Vec<Named>, Vec<Named>) =
        members.into_iter().partition(|(_, entry)| catalog.has_content(entry));
    for (name, entry) in lost {
        let error = Error::corrupt("its blocks are not known, since a commit could not be read");
        failed.push((name, entry, error));
    }
    let Grouped { packs, large, .. } = Grouped::new(located);
    let packs: Vec<(&Block, Vec<Named>)> = packs
        .into_iter()
        .filter_map(|(id, members)| Some((catalog.blocks.get(&id)?, members)))
        .collect();
    for window in packs.chunks(pool::window()) {
        rescue.watch.cancel.check()?;
        let opened = pool::each(window, |(block, members)| Ok(open_pack(source, block, members)))?;
        for ((_, members), stored) in window.iter().zip(opened) {
            for ((name, entry), stored) in members.iter().zip(stored) {
                let put = match stored {
                    Ok(stored) => rescue.small(
                        name,
                        entry.member_type,
                        entry.size,
                        entry.attributes,
                        stored,
                    )?,
                    Err(e) => PutOutcome::Failed(e),
                };
                if let PutOutcome::Failed(error) = put {
                    failed.push((name.clone(), entry.clone(), error));
                }
            }
        }
    }
    for (name, entry) in large {
        if let PutOutcome::Failed(error) = pieces(rescue, source, catalog, &name, &entry)? {
            failed.push((name, entry, error));
        }
    }
    Ok(failed)
}

/// The stored bytes of each member in a pack, if the member layer opens them.
fn open_pack(source: &ArchiveFile, block: &Block, members: &[Named]) -> Vec<Result<Vec<u8>>> {
    let tar = source.block(block);
    let stored = |(_, entry): &Named| {
        let tar = tar.as_ref().map_err(Clone::clone)?;
        let Place::Packed { at, stored, .. } = entry.place else {
            return Err(Error::corrupt("a small member is in no pack"));
        };
        checked(source, source.slice(tar, block, at, stored)?, entry)
    };
    members.iter().map(stored).collect()
}

/// The stored bytes of a member, if the member layer opens them.
fn checked(source: &ArchiveFile, stored: &[u8], entry: &Entry) -> Result<Vec<u8>> {
    if entry.is_directory() {
        return Ok(Vec::new());
    }
    let size = usize::try_from(entry.size)
        .map_err(|_| Error::corrupt("a small member is larger than memory"))?;
    source.layers.decode_member(stored, size)?;
    Ok(stored.to_vec())
}

/// Brings a large member over, piece by piece: all of them or none.
fn pieces(
    rescue: &mut Rescue<'_>,
    source: &Arc<ArchiveFile>,
    catalog: &Catalog,
    name: &str,
    entry: &Entry,
) -> Result<PutOutcome> {
    let Place::Pieces { pieces, .. } = &entry.place else {
        return Ok(PutOutcome::Failed(Error::corrupt("a large member has no pieces")));
    };
    let mut rest = pieces.iter().copied().peekable();
    rescue.large(name, entry.attributes, || {
        let piece = rest.next()?;
        let last = rest.peek().is_none();
        let (source, block) = (source.clone(), catalog.blocks.get(&piece.block).cloned());
        let job = Box::new(move || {
            let block = block.ok_or_else(|| Error::corrupt("a piece has no block"))?;
            source.piece(&piece, &block)
        });
        Some(Raw { job, last })
    })
}

/// Brings over members from the intact beginnings of damaged packs: from the chunks that open, as far as
/// their frame decompresses. Seals authenticate each chunk, but only the digest of the block shows that
/// they are its chunks: a person without the key may have replaced them with chunks whose contents they
/// chose. So these members are unverified.
fn from_prefixes(
    rescue: &mut Rescue<'_>,
    source: &ArchiveFile,
    search: &Search<'_>,
    catalog: &Catalog,
    failed: Vec<Failed>,
) -> Result<Vec<Failed>> {
    let mut failed = failed;
    // Members of one block follow each other, so that one prefix is held at a time.
    failed.sort_by_key(|(_, entry, _)| match entry.place {
        Place::Packed { block, .. } => block,
        _ => BlockId::MAX,
    });
    let mut held: Option<(BlockId, Vec<u8>)> = None;
    let mut still = Vec::new();
    for (name, entry, error) in failed {
        let Place::Packed { block: id, at, stored } = entry.place else {
            still.push((name, entry, error));
            continue;
        };
        let Some(block) = catalog.blocks.get(&id) else {
            still.push((name, entry, error));
            continue;
        };
        if held.as_ref().is_none_or(|(of, _)| *of != id) {
            held = Some((id, prefix(source, search, Span::of(block))?));
        }
        let tar = held.as_ref().map(|(_, tar)| tar.as_slice()).unwrap_or_default();
        let end = at as usize + stored as usize;
        let taken = tar.get(at as usize..end).and_then(|s| checked(source, s, &entry).ok());
        let put = match taken {
            Some(s) => {
                let placed = rescue.place(&name);
                rescue.small(&placed, entry.member_type, entry.size, entry.attributes, s)?
            }
            None => PutOutcome::Failed(error.clone()),
        };
        match put {
            PutOutcome::Done => rescue.unverified(&name),
            PutOutcome::Failed(_) => still.push((name, entry, error)),
        }
    }
    Ok(still)
}

/// The beginning of the tar of a damaged block, as far as a seal authenticates it or its members.
pub(super) fn prefix(source: &ArchiveFile, search: &Search<'_>, span: Span) -> Result<Vec<u8>> {
    let bytes = search.read(span.from, span.len())?;
    let plain = match &source.layers.container {
        Some(seal) => {
            let (mut plain, mut rest) = (Vec::new(), bytes.as_slice());
            while let Some(chunk) = chunk::parse(rest) {
                if seal.open(chunk.sealed, &mut plain).is_err() {
                    break;
                }
                rest = rest.get(chunk.len..).unwrap_or_default();
            }
            plain
        }
        None if source.layers.member.is_some() => bytes,
        None => return Ok(Vec::new()),
    };
    if !plain.starts_with(&frame::MAGIC) {
        return Ok(Vec::new());
    }
    Ok(frame::decompress_prefix(&plain, MAX_TAR))
}

/// The blocks whose digests differ from those in the commits, in the order of their numbers.
fn bad_blocks(source: &ArchiveFile, catalog: &Catalog) -> Result<Vec<BlockId>> {
    let blocks: Vec<(&BlockId, &Block)> = catalog.blocks.iter().collect();
    let bad =
        pool::each(&blocks, |(id, block)| Ok(source.sealed_block(block).is_err().then_some(**id)))?;
    Ok(bad.into_iter().flatten().collect())
}

/// The blocks of a member that cannot be read.
fn damage(source: &ArchiveFile, catalog: &Catalog, entry: &Entry) -> Vec<Span> {
    let ids: Vec<BlockId> = match &entry.place {
        Place::Pieces { pieces, .. } => pieces.iter().map(|piece| piece.block).collect(),
        _ => Catalog::blocks_of(entry),
    };
    let blocks = ids.iter().filter_map(|id| catalog.blocks.get(id));
    // Opened, not only compared: in a sealed container the digest covers nonces and tags alone.
    blocks.filter(|block| source.block(block).is_err()).map(Span::of).collect()
}

fn reason(
    source: &ArchiveFile,
    search: &Search<'_>,
    catalog: &Catalog,
    entry: &Entry,
    damage: &[Span],
) -> Reason {
    if !catalog.has_content(entry) || damage.iter().any(|span| span.to > search.size) {
        return Reason::Missing;
    }
    let Some(first) = damage.first() else { return Reason::Damaged };
    let start = search.read(first.from, first.len()).unwrap_or_default();
    let dead = match &source.layers.container {
        Some(seal) => {
            let mut plain = Vec::new();
            chunk::parse(&start).is_some_and(|chunk| {
                seal.open(chunk.sealed, &mut plain).is_ok()
                    && frame::skippable_content(&plain).is_some()
            })
        }
        None => frame::skippable_content(&start).is_some(),
    };
    if dead { Reason::Overwritten } else { Reason::Damaged }
}
