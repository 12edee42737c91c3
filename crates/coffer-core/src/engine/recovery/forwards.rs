//! Finding commits behind the newest one that a footer names, by the records themselves.

use super::newest::{Newest, Tail, reader};
use crate::crypto::key;
use crate::engine::file::ArchiveFile;
use crate::error::{Code, Error, Result};
use crate::format::commit::Position;
use crate::format::commit_parts::CommitPart;
use crate::format::footer::Footer;
use crate::format::mark_search::Seek;
use crate::format::record::{self, COMMIT_TAG, ClearFields, FOOTER_TAG};

/// Adopts complete commits behind `newest` whose footers are damaged, and classifies the rest of the
/// file. `damaged` is set if a footer names a commit that does not verify.
pub(super) fn forwards(
    source: &ArchiveFile,
    size: u64,
    newest: Newest,
    damaged: bool,
) -> Result<Newest> {
    if newest.end >= size {
        return Ok(newest);
    }
    let from = newest.end;
    let mut walk = Walk { newest: Some(newest), ..Walk::new(source) };
    walk.run(from, size)?;
    walk.judged(size, damaged).ok_or_else(lost)
}

/// The very first commit, where no footer is left, or whatever follows it without one.
pub(super) fn first_commit(
    source: &ArchiveFile,
    size: u64,
    damaged: bool,
) -> Result<Option<Newest>> {
    let mut walk = Walk::new(source);
    walk.run(0, size)?;
    Ok(walk.judged(size, damaged))
}

fn lost() -> Error {
    Error::corrupt("the newest commit was lost while the end of the file was read")
}

/// A walk through what stands behind the newest commit.
struct Walk<'a> {
    source: &'a ArchiveFile,
    /// The newest commit so far; `None` if the first one is looked for.
    newest: Option<Newest>,
    /// Something authentic stands behind it.
    authentic: bool,
    /// A whole commit was found that does not follow the newest.
    stopped: bool,
    /// The parts so far of a commit that may follow; where they begin, and where they end.
    parts: Vec<CommitPart>,
    at: u64,
    end: u64,
}

impl<'a> Walk<'a> {
    fn new(source: &'a ArchiveFile) -> Self {
        let (parts, at, end) = (Vec::new(), 0, 0);
        Self { source, newest: None, authentic: false, stopped: false, parts, at, end }
    }

    fn run(&mut self, from: u64, size: u64) -> Result<()> {
        let (source, container) = (self.source, self.source.layers.container.as_deref());
        let mut seek = Seek::forwards(container.is_some(), from, size, reader(source));
        while let Some(candidate) = seek.next()? {
            let bytes = seek.bytes(&candidate)?;
            let opened = record::open(container, &source.meta, &bytes, |_| true)
                .filter(|(_, plain, _)| plain.starts_with(&source.archive));
            if let Some((mark, plain, len)) = opened {
                self.take(candidate.offset, &mark, &plain, len as u64)?;
            }
        }
        Ok(())
    }

    /// Processes a record of this coffer that opens, whatever offset it claims.
    fn take(&mut self, offset: u64, mark: &ClearFields, plain: &[u8], len: u64) -> Result<()> {
        if mark.starts_with(&FOOTER_TAG) {
            let footer = Footer::decode(mark, plain, offset);
            if let (Some(footer), Some(newest)) = (footer, &mut self.newest)
                && footer.commit.is(&newest.position)
            {
                // Copies stand further on.
                if offset == newest.end {
                    newest.end += len;
                    newest.footer = Some(footer);
                }
                return Ok(());
            }
            self.authentic = true;
            return Ok(());
        }
        self.authentic = true;
        if self.stopped || *mark != record::mark_at(COMMIT_TAG, offset) {
            return Ok(());
        }
        let Some(part) = CommitPart::decode(plain, offset) else { return Ok(()) };
        if part.index == 0 {
            self.parts.clear();
            (self.at, self.end) = (offset, offset);
        }
        let next = self.newest.as_ref().map(|newest| newest.position.generation.checked_add(1));
        let wanted = next.is_none_or(|next| next == Some(part.generation));
        if !wanted || offset != self.end || !part.follows(&self.parts) {
            self.parts.clear();
            return Ok(());
        }
        self.end = offset + len;
        let count = part.count as usize;
        self.parts.push(part);
        if self.parts.len() == count {
            self.whole()?;
        }
        Ok(())
    }

    /// Processes a complete commit: it becomes the newest, or the walk adopts no other.
    fn whole(&mut self) -> Result<()> {
        let parts = std::mem::take(&mut self.parts);
        let (commit, digest) = match crate::format::commit_parts::assemble(
            &parts.iter().collect::<Vec<_>>(),
            self.source.max_catalog,
        ) {
            Ok(whole) => whole,
            Err(e) if e.code() == Code::Corrupt => {
                self.stopped = true;
                return Ok(());
            }
            Err(e) => return Err(e),
        };
        let follows = match &self.newest {
            Some(Newest { position, .. }) => commit.previous.is_some_and(|p| {
                p.generation == position.generation && key::same(&p.digest, &position.digest)
            }),
            None => commit.snapshot && commit.previous.is_none_or(|p| p.len == 0),
        };
        if !follows {
            self.stopped = true;
            return Ok(());
        }
        let (generation, offset, len) = (commit.generation, self.at, self.end - self.at);
        let position = Position { generation, offset, len, digest };
        let (end, footer, tail) = (self.end, None, Tail::Clean);
        self.newest = Some(Newest { position, commit, end, footer, tail });
        self.authentic = false;
        Ok(())
    }

    /// The newest commit, and the type of the rest of the file.
    fn judged(self, size: u64, damaged: bool) -> Option<Newest> {
        let newest = self.newest?;
        let tail = if newest.end >= size {
            Tail::Clean
        } else if damaged || self.authentic {
            Tail::Authentic
        } else {
            Tail::Torn
        };
        Some(Newest { tail, ..newest })
    }
}
