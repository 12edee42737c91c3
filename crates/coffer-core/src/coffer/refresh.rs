//! Refreshing a handle that only reads: it goes on to the newest commit of the file at its path, while
//! reads that have begun, and handles that are pinned, stay on the commit that they began with.

use std::sync::{Arc, PoisonError};

use super::reads::{Found, Reads, in_place, locked};
use super::{Coffer, CommitId, Inner, Side};
use crate::engine::reader::Reader;
use crate::engine::view::Shared;
#[cfg(doc)]
use crate::error::Code;
use crate::error::{Result, closed};

impl Coffer {
    /// Brings a handle that only reads to the newest commit of the file at its path, and gives that
    /// commit. If it fails, the handle stays as it was. A handle that holds a lock has the newest commit
    /// already, one that writes has its own last one, and a coffer in PyCoffer's format has none.
    ///
    /// It may wait for a write that is under way, so it is for a thread that may block.
    ///
    /// # Errors
    /// [`Code::RolledBack`] if the file at the path does not descend from the commit of this handle;
    /// [`Code::WrongKey`] if its keys were changed; [`Code::NotFound`]; [`Code::Closed`]; and as
    /// [`Self::open`].
    pub fn refresh(&self) -> Result<CommitId> {
        self.reading(|_| match &self.0.side {
            Side::Writes(..) => Ok(self.status().commit),
            Side::Reads(reads) => self.0.refresh(reads),
        })
    }

    /// A handle of the same coffer that stays on the commit which is the newest one now, whatever
    /// [`Self::refresh`] does. `None` if this handle writes: it has one state only.
    #[must_use]
    pub fn pinned(&self) -> Option<Self> {
        match &self.0.side {
            Side::Writes(..) => None,
            Side::Reads(_) => Some(Self(self.0.clone(), Some(self.reader()))),
        }
    }
}

impl Inner {
    fn refresh(&self, reads: &Reads) -> Result<CommitId> {
        let _alone = locked(&reads.refreshing);
        let (file, reopening) = {
            let resources = locked(&reads.resources);
            let held = resources.as_ref().ok_or_else(closed)?;
            match &held.reopening {
                // Under the lock nothing has changed.
                Some(reopening) if !held.locks.held() => (held.file.clone(), reopening.clone()),
                _ => return Ok(self.lock_status().commit),
            }
        };
        let old = self.reader();
        let moved = file.lock().is_some_and(|lock| !lock.is_at(&self.path));
        let found =
            if moved { reopening.reopen(&self.path, &old).map(Some)? } else { in_place(&old)? };
        let Some(Found { view, commit, notices, file: new }) = found else {
            return Ok(old.commit());
        };
        let reader = Reader::of_commit(Shared::new(view), commit).within(old.limits);
        let mtime = new.as_ref().unwrap_or(&file).modified().ok().flatten();
        let mut resources = locked(&reads.resources);
        // A handle that was given up meanwhile has dropped its keys.
        let held = resources.as_mut().ok_or_else(closed)?;
        if let Some(new) = new {
            held.file = new;
        }
        reads.outdate(&old);
        *self.reader.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(reader);
        {
            let mut status = self.lock_status();
            (status.commit, status.mtime) = (commit, mtime);
        }
        drop(resources);
        let mut known = locked(&self.notices);
        for notice in notices {
            // Without a lock, a torn tail may be another process's write under way.
            if notice.code != "torn-tail" && !known.contains(&notice) {
                known.push(notice);
            }
        }
        Ok(commit)
    }
}
