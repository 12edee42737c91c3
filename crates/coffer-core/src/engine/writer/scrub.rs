//! The scrub of what changes replaced and removed: after them, in parts, and within a delay.
//!
//! A change with `auto_flush` only adds to the file. The blocks that it leaves stale are erased
//! together, from half the delay on, in parts between changes that keep none of them waiting long.

use std::time::Instant;

use super::{Scrub, Writer};
use crate::error::Result;
use crate::format::catalog::BlockId;

/// The fewest stale packs that a part of a scrub erases, if there are so many.
const MIN_PART: usize = 32;
/// The most parts of a scrub. Changes between them leave more packs stale, which wait for the next one:
/// with smaller parts it would always have more to do than the one before.
const MOST_PARTS: usize = 16;
/// The most bytes that changes append before a scrub begins, however short the time since the first.
const MOST_APPENDED: u64 = 8 << 20;

impl Writer {
    /// Commits changes that no flush asked for. What they replace is erased with them if there is no
    /// delay. Or else it stays for a while, and a part of what is due is erased with them.
    pub(super) fn commit_changes(&mut self) -> Result<()> {
        if self.scrub_delay.is_zero() || !self.is_in_place() {
            return self.commit(false);
        }
        if self.scrub_is_due() {
            return self.commit_scrubbing();
        }
        let committed = self.container.commit_without_scrub(&self.locks);
        self.schedule_scrub();
        committed
    }

    /// Whether a scrub has begun, or is to begin now.
    pub(super) fn scrub_is_due(&self) -> bool {
        let appended = self.container.len().saturating_sub(self.state.stale_from);
        let begins = |at| at <= Instant::now() || appended > MOST_APPENDED;
        self.state.scrubbing.is_some() || self.state.scrub_at.is_some_and(begins)
    }

    /// Erases a part of the stale blocks while no change waits. An error is not lost: the blocks stay
    /// stale, and the next flush tries again and tells.
    pub(super) fn scrub_part(&mut self) {
        if self.container.modified() || self.commit_scrubbing().is_err() {
            self.end_scrub();
        }
        self.begin_compaction();
    }

    /// Erases all stale blocks at the end of the thread, unless there are changes that no flush asked for:
    /// those are lost.
    pub(super) fn scrub_all(&mut self) {
        if !self.container.modified() {
            // What it leaves stale is erased by the next writer.
            let _ = self.container.commit(false, &self.locks);
        }
    }

    /// Commits, and erases the next part of what was stale when the scrub began.
    fn commit_scrubbing(&mut self) -> Result<()> {
        let Scrub { mut left, part } = self.state.scrubbing.take().unwrap_or_else(|| {
            let left: Vec<BlockId> = self.container.stale_packs().collect();
            let part = left.len().div_ceil(MOST_PARTS).max(MIN_PART);
            Scrub { left, part }
        });
        let now = left.split_off(left.len().saturating_sub(part));
        let committed = self.container.commit_scrubbing(&now, &self.locks);
        if left.is_empty() || committed.is_err() {
            self.end_scrub();
        } else {
            self.state.scrubbing = Some(Scrub { left, part });
        }
        committed
    }

    /// Ends a scrub, and notes when the next is to begin.
    pub(super) fn end_scrub(&mut self) {
        (self.state.scrub_at, self.state.scrubbing) = (None, None);
        self.schedule_scrub();
    }

    /// Notes when a scrub is to begin, if there is none yet and anything is stale: early enough that it
    /// ends within the delay.
    pub(super) fn schedule_scrub(&mut self) {
        if !self.container.has_stale() || self.container.ready().is_err() {
            self.state.scrub_at = None;
        } else if self.state.scrub_at.is_none() {
            self.state.scrub_at = Instant::now().checked_add(self.scrub_delay / 2);
            self.state.stale_from = self.container.len();
        }
    }
}
