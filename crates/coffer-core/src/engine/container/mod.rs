//! The container: the catalog as its writer changes it, and the packs and pieces that it puts into
//! the file.
//!
//! One thread owns a [`Container`]. It shares the [`View`] with readers: the catalog, changes that no
//! commit has yet included, and the file that the catalog describes. The container decides which
//! blocks and commits are written; the [`CommitLog`] below it writes them.

mod changes;
mod commit;
mod compact;
mod incremental;
mod pending;
mod put;
mod rekey;
mod savepoint;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use self::changes::{Changes, Savepoints};
pub(crate) use self::commit::Ancestry;
pub(crate) use self::compact::Damaged;
pub(crate) use self::incremental::Compaction;
use self::pending::{Inflight, Pending};
pub(crate) use self::put::{Finished, Part, Raw, SMALL};
use crate::engine::commit_log::CommitLog;
use crate::engine::file::ArchiveFile;
use crate::engine::recovery::{Loaded, Newest};
use crate::engine::view::{Shared, View};
use crate::error::{Error, Result};
use crate::format::block::{Encoded, Form};
use crate::format::catalog::{BlockId, Catalog, Digest, Entry, Place};
use crate::format::commit::Position;
use crate::format::header::Header;
use crate::format::stale::stale_blocks;
use crate::format::tar;
use crate::io::lock_set::Locks;

/// The most bytes of tar in a pack that is taken apart when a coffer is opened. A writer closes a pack
/// at 256 KiB, with a member of 128 KiB more at most.
const MOST_STALE: u32 = 1 << 20;

/// The writing side of one coffer.
pub(crate) struct Container {
    pub(crate) view: Arc<Shared>,
    pub(crate) source: Arc<ArchiveFile>,
    pub(crate) header: Header,
    log: CommitLog,
    /// Small members that wait for the next pack.
    pending: Vec<Pending>,
    /// Bytes of tar that the pending members take.
    pending_len: usize,
    /// Packs that are being encoded, in the order of their blocks.
    inflight: VecDeque<Inflight>,
    changes: Changes,
    savepoints: Savepoints,
    /// The members that were set, moved or removed while a compaction is under way, and that it has not
    /// looked at since.
    touched: Option<BTreeSet<Arc<str>>>,
    /// The last commits by generation and digest, oldest first, at most
    /// [`MAX_HISTORY`](crate::format::commit::MAX_HISTORY). They are read when a compaction first needs them.
    ancestors: Option<Vec<(u64, Digest)>>,
}

impl Container {
    /// Starts a new file with its header and the root entry of the tar. It is no coffer before its
    /// first commit.
    pub(crate) fn create(source: ArchiveFile, header: Header, durable: bool) -> Result<Self> {
        let source = Arc::new(source);
        let log = CommitLog::create(source.clone(), &header, durable)?;
        let mut container = Self::new(source, header, Catalog::default(), log);
        let block = container.source.layers.encode(&tar::root()?, Form::Compressed)?;
        container.append_block(&block)?;
        Ok(container)
    }

    /// Continues an existing file of `size` bytes behind its newest commit: see
    /// [`CommitLog::resume`]. What that commit left to be erased is erased by the next
    /// [`Self::commit`].
    pub(crate) fn resume(
        source: Arc<ArchiveFile>,
        header: Header,
        durable: bool,
        newest: Newest,
        loaded: Loaded,
        size: u64,
    ) -> Result<Self> {
        let log = CommitLog::resume(source.clone(), durable, &newest, &loaded, size)?;
        let mut container = Self::new(source, header, loaded.catalog, log);
        container.changes.dirty = container.erasable();
        Ok(container)
    }

    /// The stale blocks, but for packs that are larger than a writer makes them: to take such a one apart
    /// when the coffer is opened could cost far more than the file has bytes.
    fn erasable(&self) -> BTreeSet<BlockId> {
        let view = self.view.read();
        let mut stale = stale_blocks(&view.catalog);
        let is_small = |id| view.catalog.block(id).is_ok_and(|block| block.tar <= MOST_STALE);
        stale.retain(|id| is_small(*id) || view.catalog.live_in_pack(*id).is_empty());
        stale
    }

    fn new(source: Arc<ArchiveFile>, header: Header, catalog: Catalog, log: CommitLog) -> Self {
        let view = View { catalog, source: source.clone(), header: Some(header.clone()) };
        Self {
            view: Shared::new(view),
            source,
            header,
            log,
            pending: Vec::new(),
            pending_len: 0,
            inflight: VecDeque::new(),
            changes: Changes::default(),
            savepoints: Savepoints::default(),
            touched: None,
            ancestors: None,
        }
    }

    /// The length of the file, in bytes.
    pub(crate) fn len(&self) -> u64 {
        self.log.tail()
    }

    /// The position of the last commit.
    pub(crate) fn committed(&self) -> Position {
        self.log.committed()
    }

    /// Treats the current state as unchanged: only later changes count as such.
    pub(crate) fn forget_changes(&mut self) {
        self.changes = Changes::default();
    }

    /// Cuts the file back to its last commit.
    pub(crate) fn abandon(&mut self) {
        self.log.abandon();
    }

    /// Sets the locks that are checked before each block that is written and before each cut.
    pub(crate) fn locked_by(&mut self, locks: Option<Arc<Locks>>) {
        self.log.set_locks(locks);
    }

    /// Whether there are changes that no commit has.
    pub(crate) fn modified(&self) -> bool {
        !self.changes.touched.is_empty()
    }

    /// Whether there are blocks with dead entries, which the next [`Self::commit`] erases.
    pub(crate) fn has_stale(&self) -> bool {
        !(self.changes.dirty.is_empty() && self.changes.dead.is_empty())
    }

    /// Fails if an earlier failure has left the state of the file unknown.
    pub(crate) fn ready(&self) -> Result<()> {
        self.log.ready()
    }

    /// Refuses every further change, and gives the error that says so.
    pub(crate) fn poison(&mut self, cause: &Error) -> Error {
        self.log.poison(cause)
    }

    /// Records that the last commit is durable: see [`CommitLog::settle`].
    pub(crate) fn note_durable(&mut self, locks: &Locks) {
        self.log.settle(locks);
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        self.ready()?;
        let removed = self.view.write().catalog.remove(name);
        if let Some(old) = removed {
            self.retire(name, &old);
            self.record(name.into(), Some(old));
        }
        Ok(())
    }

    /// Puts a member, in place of any member of its name.
    fn set(&mut self, name: Arc<str>, entry: Entry) {
        let old = self.view.write().catalog.set(name.clone(), entry);
        if let Some(old) = &old {
            self.retire(&name, old);
        }
        self.record(name, old);
    }

    /// Marks the blocks that a replaced or removed entry leaves dirty or dead.
    fn retire(&mut self, name: &str, old: &Entry) {
        match &old.place {
            Place::Packed { block, .. } => self.mark_dirty(*block),
            Place::Pieces { .. } => {
                Catalog::blocks_of(old).into_iter().for_each(|block| self.mark_dead(block));
            }
            Place::Memory(_) => {
                self.pending.retain(|p| p.version != old.version || &*p.name != name);
            }
        }
    }

    /// Appends a block, and enters it in the catalog.
    fn append_block(&mut self, encoded: &Encoded) -> Result<BlockId> {
        self.log.prepare_append()?;
        // Before the append: a block without a number must not be in the file.
        let id = self.view.write().catalog.take_block_number()?;
        let offset = self.log.append(&encoded.bytes)?;
        self.view.write().catalog.blocks.insert(id, encoded.at(offset));
        self.changes.added.push(id);
        Ok(id)
    }
}
