//! Checking a coffer: every live block, every entry of the tar, every member.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::file::{ArchiveFile, contradiction};
use crate::engine::grouping::{Grouped, Named};
use crate::engine::reader::Reader;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Block, BlockId, Catalog, Entry, Place};
use crate::format::tar;
use crate::io::pool;
use crate::progress::{CallObserver, Report};

/// What was checked and is intact.
#[derive(Debug, Default, Clone, Copy)]
pub struct Verified {
    /// Members.
    pub members: u64,
    /// Blocks.
    pub blocks: u64,
    /// Bytes of the members.
    pub bytes: u64,
}

/// The id of the block that a file begins with, which stays through deletions and compaction.
const ROOT: BlockId = 0;

/// One unit of work: blocks, and the members that they should hold.
enum Unit {
    Pack(Block, Vec<Named>),
    Large(Named, Vec<Block>),
}

/// Reads and checks everything that is live.
pub(crate) fn verify(reader: &Reader, watch: &CallObserver) -> Result<Verified> {
    let Contents { units, root, source, mut verified } = contents(reader)?;
    verified.bytes = units.iter().map(Unit::size).sum();
    let bytes = AtomicU64::new(0);
    let members = AtomicU64::new(0);
    let check = |unit: &Unit| -> Result<Vec<Problem>> {
        watch.cancel.check()?;
        let problems = unit.check(&source, watch)?;
        let problems: Vec<_> =
            problems.into_iter().filter_map(|p| p.confirmed(reader, &source)).collect();
        let bytes = bytes.fetch_add(unit.size(), Ordering::Relaxed) + unit.size();
        let members = members.fetch_add(unit.members(), Ordering::Relaxed) + unit.members();
        watch.report(|| Report { bytes, total_bytes: Some(verified.bytes), members, name: None });
        Ok(problems)
    };
    source.will_read(units.iter().flat_map(Unit::blocks));
    let problems: Vec<Problem> = pool::each(&units, check)?.concat();
    let Some(Problem { error: first, .. }) = problems.first() else {
        return root.map_or(Ok(()), |root| check_root(&source, &root)).map(|()| verified);
    };
    let mut names: Vec<&str> = problems.iter().map(|p| &*p.name).collect();
    names.dedup();
    let shown = names.iter().take(20).map(|n| format!("{n:?}")).collect::<Vec<_>>().join(", ");
    let more =
        if names.len() > 20 { format!(" and {} more", names.len() - 20) } else { String::new() };
    let error = Error::new(
        Code::Corrupt,
        format!(
            "{} of {} members are damaged: {shown}{more}. The first: {}",
            names.len(),
            verified.members,
            first.message()
        ),
    );
    Err(match names.first() {
        Some(name) => error.of_member(name),
        None => error,
    })
}

/// Everything to check, of one state of the catalog.
struct Contents {
    units: Vec<Unit>,
    /// The block of the tar's first entry, which belongs to no member.
    root: Option<Block>,
    source: Arc<ArchiveFile>,
    verified: Verified,
}

fn contents(reader: &Reader) -> Result<Contents> {
    let view = reader.view.read();
    let catalog = &view.catalog;
    let members = catalog.iter().map(|(name, entry)| (Arc::from(name), entry));
    // What waits for its pack is not in the file yet.
    let Grouped { packs, large, waiting: _ } = Grouped::new(members);
    let mut units = Vec::new();
    for member in large {
        let ids = Catalog::blocks_of(&member.1).into_iter();
        let blocks = ids.map(|id| catalog.block(id).cloned()).collect::<Result<_>>()?;
        units.push(Unit::Large(member, blocks));
    }
    for (id, members) in packs {
        units.push(Unit::Pack(catalog.block(id)?.clone(), members));
    }
    let verified =
        Verified { members: catalog.len() as u64, blocks: catalog.blocks.len() as u64, bytes: 0 };
    let root = catalog.blocks.get(&ROOT).cloned();
    Ok(Contents { units, root, source: view.source.clone(), verified })
}

/// Checks the first entry of the tar: other readers begin with it, and stop where it is damaged.
fn check_root(source: &ArchiveFile, root: &Block) -> Result<()> {
    if *source.block_exactly(root)? == tar::root()? { Ok(()) } else { Err(contradiction(root)) }
}

impl Unit {
    fn size(&self) -> u64 {
        match self {
            Self::Pack(_, members) => members.iter().map(|(_, e)| e.size).sum(),
            Self::Large((_, entry), _) => entry.size,
        }
    }

    fn blocks(&self) -> &[Block] {
        match self {
            Self::Pack(block, _) => std::slice::from_ref(block),
            Self::Large(_, blocks) => blocks,
        }
    }

    fn members(&self) -> u64 {
        match self {
            Self::Pack(_, members) => members.len() as u64,
            Self::Large(..) => 1,
        }
    }

    /// The damaged members of this unit.
    fn check(&self, source: &ArchiveFile, watch: &CallObserver) -> Result<Vec<Problem>> {
        let problem = |(name, entry): &Named, error: Error| Problem {
            name: name.clone(),
            entry: entry.clone(),
            error,
        };
        match self {
            Self::Pack(block, members) => Ok(match source.block_exactly(block) {
                Ok(bytes) => members
                    .iter()
                    .filter_map(|member| {
                        let checked = check_packed(source, block, &bytes, &member.0, &member.1);
                        checked.err().map(|e| problem(member, e))
                    })
                    .collect(),
                Err(e) => members.iter().map(|member| problem(member, e.clone())).collect(),
            }),
            Self::Large(member, blocks) => {
                match check_large(source, &member.0, &member.1, blocks, watch) {
                    Err(e) if e.code() == Code::Aborted => Err(e),
                    checked => Ok(checked.err().map(|e| problem(member, e)).into_iter().collect()),
                }
            }
        }
    }
}

/// A member that could not be read where the catalog said.
#[derive(Clone)]
struct Problem {
    name: Arc<str>,
    entry: Entry,
    error: Error,
}

impl Problem {
    /// A member that was moved or replaced meanwhile is not damaged: it is read at its new place.
    fn confirmed(self, reader: &Reader, source: &ArchiveFile) -> Option<Self> {
        match reader.still_there(&self.name, &self.entry, source) {
            Ok(true) => return Some(self),
            Ok(false) if self.entry.is_directory() => return None,
            Ok(false) => {}
            Err(error) => return Some(Self { error, ..self }),
        }
        let read = reader.with(&self.name, Some(self.entry.version), |found, source| {
            let size = usize::try_from(found.entry.size)
                .map_err(|_| Error::new(Code::Limit, "the member does not fit into memory"))?;
            found.read(source, 0, size)
        });
        match read {
            Err(error) if error.code() != Code::Stale => Some(Self { error, ..self }),
            _ => None,
        }
    }
}

fn check_packed(
    source: &ArchiveFile,
    block: &Block,
    bytes: &[u8],
    name: &str,
    entry: &Entry,
) -> Result<()> {
    let stored = source.packed(bytes, block, name, entry)?;
    if !entry.is_directory() {
        let size = usize::try_from(entry.size).map_err(|_| contradiction(block))?;
        source.layers.decode_member(stored, size)?;
    }
    Ok(())
}

fn check_large(
    source: &ArchiveFile,
    name: &str,
    entry: &Entry,
    blocks: &[Block],
    watch: &CallObserver,
) -> Result<()> {
    let Place::Pieces { pieces, .. } = &entry.place else { return Ok(()) };
    let Some((header, blocks)) = blocks.split_first() else { return Ok(()) };
    let stored = entry.stored();
    source.check_header(header, name, entry)?;
    for (i, (piece, block)) in pieces.iter().zip(blocks).enumerate() {
        watch.cancel.check()?;
        let bytes = source.block_exactly(block)?;
        let padding = if i + 1 == pieces.len() { tar::padding(stored) } else { 0 };
        if bytes.len() != piece.stored as usize + padding {
            return Err(contradiction(block));
        }
        source
            .layers
            .decode_member(source.slice(&bytes, block, 0, piece.stored)?, piece.raw as usize)?;
    }
    Ok(())
}
