//! Compaction while the coffer is open: steps between changes, and while no change waits.

use std::sync::PoisonError;

use super::Writer;
use crate::engine::container::Compaction;
use crate::engine::open::Notice;
use crate::error::{Error, Result};

/// The bytes that a step copies while no change waits.
const IDLE_STEP: u64 = 1 << 20;
/// The bytes that a step between changes copies for each byte that the changes appended: the new file
/// is whole long before the old one has grown by as much again.
const PACE: u64 = 4;
/// The fewest bytes that a step between changes copies.
const MIN_STEP: u64 = 64 << 10;

impl Writer {
    /// Begins a compaction if the file has become too large for what lives in it.
    pub(super) fn begin_compaction(&mut self) {
        let may = self.auto_compact
            && self.is_in_place()
            && self.state.batch.is_none()
            && !self.container.modified()
            && self.container.ready().is_ok();
        if !may || self.state.compaction.is_some() || !self.container.wants_incremental_compaction()
        {
            return;
        }
        self.state.compacted_at = self.container.len();
        let begun = self.before_change();
        match begun.and_then(|()| Compaction::begin(&mut self.container, &self.path)) {
            Ok(compaction) => self.state.compaction = Some(compaction),
            Err(e) => self.give_up_compaction(&e),
        }
    }

    /// Goes on with a compaction after changes were committed, in proportion to what they appended.
    pub(super) fn compact_beside_changes(&mut self) {
        self.begin_compaction();
        let appended = self.container.len().saturating_sub(self.state.compacted_at);
        self.go_on_compacting(appended.saturating_mul(PACE).max(MIN_STEP));
    }

    /// Goes on with a compaction while no change waits.
    pub(super) fn compact_while_idle(&mut self) {
        self.go_on_compacting(IDLE_STEP);
    }

    fn go_on_compacting(&mut self, budget: u64) {
        if self.container.modified() {
            return;
        }
        let Some(compaction) = self.state.compaction.take() else { return };
        self.state.compacted_at = self.container.len();
        if let Err(e) = self.compact_step(compaction, budget) {
            self.give_up_compaction(&e);
        }
    }

    fn compact_step(&mut self, mut compaction: Compaction, budget: u64) -> Result<()> {
        if !compaction.step(&mut self.container, budget)? {
            self.state.compaction = Some(compaction);
            return Ok(());
        }
        let old = self.container.source.storage.clone();
        compaction.finish(&mut self.container, &self.path, &self.locks)?;
        self.replaced(&*old);
        self.end_scrub();
        Ok(())
    }

    /// Leaves the file as it is until the coffer is opened again: what failed would only fail again, and
    /// cost as much. The coffer is whole without it.
    fn give_up_compaction(&mut self, error: &Error) {
        self.container.forget_touched();
        self.auto_compact = false;
        let message = format!(
            "the coffer was not compacted, and its file goes on growing until it is: {}. Call compact() when the cause is gone",
            error.message()
        );
        let notice = Notice { code: "not-compacted", message };
        self.notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
    }
}
