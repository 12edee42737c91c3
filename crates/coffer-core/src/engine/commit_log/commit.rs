//! Commits, and the scrub that follows them.

use super::CommitLog;
use crate::error::Result;
use crate::format::catalog::{Block, MAX_COUNT};
use crate::format::commit::{Commit, Position, UnsyncedPrefix};
use crate::format::commit_parts;
use crate::format::footer::Footer;
use crate::format::header::Header;
use crate::io::lock_set::Locks;

/// The fewest bytes of deltas that a snapshot replaces; it also waits until they are longer than the
/// last snapshot.
const MIN_DELTAS: u64 = if cfg!(any(test, feature = "fuzzing")) { 2 << 10 } else { 64 << 10 };

impl CommitLog {
    /// Whether the next commit must be a snapshot.
    pub(crate) fn snapshot_is_due(&self) -> bool {
        self.last.position.generation == 0
            || self.since_snapshot > self.snapshot_len.max(MIN_DELTAS)
    }

    /// Appends a commit and its footer, behind a copy of `header` if it is a snapshot, and syncs it if
    /// the log is durable or a scrub follows. `added` is the length in bytes of the blocks that were
    /// appended since the last commit.
    ///
    /// Completes the commit with what depends on the log: the offset of the header's copy, the unsynced
    /// prefix, and the dead bytes of commits, footers and copies that it supersedes.
    pub(crate) fn commit(
        &mut self,
        header: &Header,
        added: u64,
        commit: &mut Commit,
    ) -> Result<()> {
        let start = self.tail;
        let mut superseded = self.footers_len(added);
        commit.header_copy = self.last.header_copy;
        if commit.snapshot {
            // Before the sync: a whole commit must not stand behind a torn copy.
            commit.header_copy = self.append_header(header)?;
            superseded += self.since_snapshot + self.snapshot_len;
            if self.last.header_copy > 0 {
                superseded += self.tail - commit.header_copy;
            }
        }
        commit.dead = (commit.dead + superseded).min(MAX_COUNT);
        // The scrub must not reach the disk before the commit that it follows.
        let durable = self.durable || !commit.scrub.is_empty();
        commit.ahead = if durable { self.cover_prefix(commit)? } else { None };

        let (bytes, position, footer) = self.encode(commit).inspect_err(|_| {
            self.tail = start;
            self.cut();
        })?;
        self.append(&bytes).inspect_err(|_| self.cut())?;
        if durable {
            self.sync()?;
        }
        self.advance(commit, position, &footer);
        Ok(())
    }

    /// Appends a copy of the header, and gives its offset.
    fn append_header(&mut self, header: &Header) -> Result<u64> {
        let mut bytes = Vec::new();
        header.write(self.file.layers.container.as_deref(), &self.file.meta, &mut bytes);
        self.append(&bytes).inspect_err(|_| self.cut())
    }

    /// Ensures that a durable commit never stands behind bytes that were lost: few bytes are covered
    /// by a hash in the commit and share its sync; otherwise they are synced first.
    fn cover_prefix(&mut self, commit: &Commit) -> Result<Option<UnsyncedPrefix>> {
        if !self.unsynced {
            return Ok(None);
        }
        let prefix = self.unsynced_prefix().filter(|_| commit.scrub.is_empty());
        if prefix.is_none() {
            self.sync()?;
        }
        Ok(prefix)
    }

    /// The hash of the unsynced bytes, if it covers all of them and there is an earlier commit to fall
    /// back to.
    fn unsynced_prefix(&self) -> Option<UnsyncedPrefix> {
        let hasher = self.prefix.as_ref().filter(|_| self.last.position.generation > 0)?;
        Some(UnsyncedPrefix { len: hasher.count(), digest: *hasher.finalize().as_bytes() })
    }

    /// The bytes of a commit at the tail and of its footer.
    fn encode(&self, commit: &Commit) -> Result<(Vec<u8>, Position, Footer)> {
        let (container, meta) = (self.file.layers.container.as_deref(), &self.file.meta);
        let mut bytes = Vec::new();
        let digest = commit_parts::write(commit, container, meta, self.tail, &mut bytes)?;
        let position = Position {
            generation: commit.generation,
            offset: self.tail,
            len: bytes.len() as u64,
            digest,
        };
        let footer = Footer {
            archive: self.file.archive,
            commit: position,
            header_copy: commit.header_copy,
            durable: commit.scrub.is_empty() && commit.ahead.is_none(),
        };
        footer.write(container, meta, position.end(), &mut bytes);
        Ok((bytes, position, footer))
    }

    /// Takes a commit that was written as the last one.
    fn advance(&mut self, commit: &Commit, position: Position, footer: &Footer) {
        self.last = super::LastCommit {
            position,
            end: self.tail,
            header_copy: footer.header_copy,
            settled: footer.durable,
        };
        self.last_footer = self.tail;
        if commit.snapshot {
            self.since_snapshot = 0;
            self.snapshot_len = position.len;
        } else {
            self.since_snapshot += position.len;
        }
    }

    /// The length of the footers behind the last commit, in bytes: everything there that is no block.
    /// The next commit makes them dead.
    fn footers_len(&self, added: u64) -> u64 {
        if self.last.position.generation == 0 {
            return 0;
        }
        self.tail.saturating_sub(self.last.position.end() + added)
    }

    /// Overwrites dead blocks, durably, and then appends a footer that says so. An overwrite that fails
    /// poisons the log.
    pub(crate) fn scrub(&mut self, blocks: &[Block]) -> Result<()> {
        let overwritten = self.overwrite(blocks);
        self.file.packs.forget(blocks.iter().map(|block| &block.digest));
        overwritten.inspect_err(|e| {
            self.poison(e);
        })?;
        // The blocks are overwritten even if there is no room left for the footer; without it the next
        // writer only overwrites them again.
        if let Err(e) = self.append_settled() {
            self.cut();
            return self.ready().map_err(|_| e);
        }
        Ok(())
    }

    fn overwrite(&mut self, blocks: &[Block]) -> Result<()> {
        for block in blocks {
            // A block behind the end of the file is gone already: a crash cut it off.
            if block.end() <= self.tail {
                self.write(&self.file.layers.dead(block)?, block.offset)?;
            }
        }
        self.sync()
    }

    /// Appends a footer that says that the last commit, whose sync has returned, is durable. Without it
    /// damage to that commit could pass for a crash. Nothing is written if the log is poisoned, has an
    /// uncommitted tail, or `locks` no longer hold.
    pub(crate) fn settle(&mut self, locks: &Locks) {
        let unable = self.poisoned.is_some() || self.tail != self.last.end;
        if self.last.settled || unable || locks.check(&*self.file.storage).is_err() {
            return;
        }
        if self.append_settled().is_err() {
            self.cut();
        }
    }
}
