//! Members that no commit names, from the tar in blocks. Seals authenticate the chunks of such a block
//! one by one, but not that they were written as a block: where the member layer does not seal, the
//! bytes of a member may fill a chunk of their own, and may have the form of a block. So these members
//! are kept apart.

use std::sync::Arc;

use super::Reason;
use super::entries::{BlockTar, TarEntry};
use super::marks::Search;
use super::named::{Leftover, Stray, prefix};
use super::rescue::{PutOutcome, Rescue};
use super::span::{Span, gaps};
use crate::buffer::Buffer;
use crate::engine::container::Raw;
use crate::engine::file::ArchiveFile;
use crate::error::{Code, Error, Result};
use crate::format::catalog::Block;
use crate::format::tar;
use crate::io::pool;

/// Blocks that belong together, in the order of the file.
enum StrayUnit {
    Pack(Span, Option<Block>, Vec<TarEntry>),
    /// A large member, with the number of content bytes in each block's tar.
    Large(TarEntry, Vec<(Block, usize)>),
    /// A large member that is incomplete, and the span in which the rest of it should be.
    Broken(TarEntry, Span),
}

/// The bytes of a pack's entry after the member layer, and their number before it.
type PackedBytes = Result<(Vec<u8>, u64)>;

/// Brings over the members in blocks that no commit names, unless there is a member of that name. Of
/// two blocks the later one in the file counts, since it was written later.
pub(super) fn bring(
    rescue: &mut Rescue<'_>,
    search: &Search<'_>,
    leftover: Leftover,
) -> Result<()> {
    let Leftover { source, records, strays } = leftover;
    let units = units(rescue, strays, &records, search.size);
    let mut packs = Vec::new();
    for unit in units.into_iter().rev() {
        match unit {
            StrayUnit::Pack(span, block, entries) => {
                packs.push((span, block, entries));
                if packs.len() < pool::window() {
                    continue;
                }
                pack_window(rescue, &source, search, &mut packs)?;
            }
            StrayUnit::Large(entry, pieces) => {
                pack_window(rescue, &source, search, &mut packs)?;
                large(rescue, &source, entry, pieces)?;
            }
            StrayUnit::Broken(entry, span) => {
                pack_window(rescue, &source, search, &mut packs)?;
                if !rescue.is_known(&entry.name) {
                    let error = Error::corrupt("a part of it could not be found");
                    rescue.lose(&entry.name, Reason::Damaged, &error, vec![span]);
                }
            }
        }
    }
    pack_window(rescue, &source, search, &mut packs)
}

/// Joins the header of each large member with the blocks behind it.
fn units(
    rescue: &mut Rescue<'_>,
    strays: Vec<Stray>,
    records: &[Span],
    size: u64,
) -> Vec<StrayUnit> {
    let mut units = Vec::new();
    let mut strays = strays.into_iter().peekable();
    while let Some(Stray { span, block, tar }) = strays.next() {
        let head = match tar {
            BlockTar::Pack(entries) => {
                units.push(StrayUnit::Pack(span, block, entries));
                continue;
            }
            BlockTar::Content => {
                rescue.nameless(block.map_or(0, |block| u64::from(block.tar)));
                continue;
            }
            BlockTar::Head(head) => head,
        };
        // The header of a member that was never finished: its length is not known.
        if head.stored == 0 {
            continue;
        }
        let mut rest = head.stored.saturating_add(tar::padding(head.stored) as u64);
        let mut content = head.stored;
        let (mut end, mut pieces) = (span.to, Vec::new());
        while rest > 0 {
            let next = strays.next_if(|next| {
                next.block.as_ref().is_some_and(|b| b.tar > 0 && u64::from(b.tar) <= rest)
                    && adjoin(end, next.span.from, records)
            });
            let Some(Stray { span, block: Some(block), .. }) = next else { break };
            let tar = u64::from(block.tar);
            let used = tar.min(content);
            rest -= tar;
            content -= used;
            end = span.to;
            pieces.push((block, used as usize));
        }
        units.push(if rest == 0 {
            StrayUnit::Large(head, pieces)
        } else {
            let to = strays.peek().map_or(size, |next| next.span.from);
            StrayUnit::Broken(head, Span { from: end, to: to.max(end) })
        });
    }
    units
}

/// Whether there are only records between two offsets.
fn adjoin(end: u64, from: u64, records: &[Span]) -> bool {
    if end >= from {
        return end == from;
    }
    let inside = records.iter().filter(|r| r.from >= end && r.to <= from);
    let spans = inside.map(|r| Span { from: r.from - end, to: r.to - end }).collect();
    gaps(spans, from - end).is_empty()
}

fn pack_window(
    rescue: &mut Rescue<'_>,
    source: &ArchiveFile,
    search: &Search<'_>,
    packs: &mut Vec<(Span, Option<Block>, Vec<TarEntry>)>,
) -> Result<()> {
    rescue.watch.cancel.check()?;
    let window = std::mem::take(packs);
    let opened = pool::each(&window, |(span, block, entries)| {
        open_pack(source, search, *span, block.as_ref(), entries)
    })?;
    for ((span, _, entries), taken) in window.iter().zip(opened) {
        for (entry, taken) in entries.iter().zip(taken).rev() {
            if rescue.is_known(&entry.name) {
                continue;
            }
            let TarEntry { name, member_type, attributes, .. } = entry;
            let placed = rescue.place(name);
            let put = match taken {
                Ok((stored, size)) => {
                    rescue.small(&placed, *member_type, size, *attributes, stored)?
                }
                Err(e) => PutOutcome::Failed(e),
            };
            match put {
                PutOutcome::Done => rescue.unverified(name),
                PutOutcome::Failed(error) => lose(rescue, name, &error, vec![*span]),
            }
        }
    }
    Ok(())
}

fn open_pack(
    source: &ArchiveFile,
    search: &Search<'_>,
    span: Span,
    block: Option<&Block>,
    entries: &[TarEntry],
) -> Result<Vec<PackedBytes>> {
    let tar = match block {
        Some(block) => source.block(block),
        None => prefix(source, search, span).map(Buffer::from),
    };
    let taken = |entry: &TarEntry| {
        let tar = tar.as_ref().map_err(Clone::clone)?;
        if entry.member_type.is_directory() {
            return Ok((Vec::new(), 0));
        }
        let stored = usize::try_from(entry.stored)
            .ok()
            .and_then(|len| tar.get(entry.at..entry.at.checked_add(len)?))
            .ok_or_else(|| Error::corrupt("an entry is longer than its block"))?;
        let size = source.layers.decode_unsized(stored)?.len() as u64;
        Ok((stored.to_vec(), size))
    };
    Ok(entries.iter().map(taken).collect())
}

fn large(
    rescue: &mut Rescue<'_>,
    source: &Arc<ArchiveFile>,
    entry: TarEntry,
    pieces: Vec<(Block, usize)>,
) -> Result<()> {
    if rescue.is_known(&entry.name) {
        return Ok(());
    }
    let damage = pieces.iter().map(|(block, _)| Span::of(block)).collect();
    // A block of padding alone has nothing of the member.
    let mut rest = pieces.into_iter().filter(|(_, len)| *len > 0).peekable();
    let placed = rescue.place(&entry.name);
    let put = rescue.large(&placed, entry.attributes, || {
        let (block, len) = rest.next()?;
        let last = rest.peek().is_none();
        let source = source.clone();
        let job = Box::new(move || {
            let tar = source.block(&block)?;
            source.layers.decode_unsized(tar.get(..len).unwrap_or_default())
        });
        Some(Raw { job, last })
    })?;
    match put {
        PutOutcome::Done => rescue.unverified(&entry.name),
        PutOutcome::Failed(error) => lose(rescue, &entry.name, &error, damage),
    }
    Ok(())
}

fn lose(rescue: &mut Rescue<'_>, name: &str, error: &Error, damage: Vec<Span>) {
    let refused = matches!(error.code(), Code::MemberExists | Code::IsDirectory | Code::UnsafePath);
    rescue.lose(name, if refused { Reason::Refused } else { Reason::Damaged }, error, damage);
}
