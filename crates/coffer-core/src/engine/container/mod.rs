//! The file as a writer has it: header, blocks, commits, and the changes that no commit has yet.
//!
//! One thread owns a [`Container`]. What it shares with readers is the [`View`]: the catalog as it
//! is now, unflushed changes included, and the file that the catalog is about.

mod changes;
mod compact;
mod flush;
mod pending;
mod put;
mod rekey;
mod savepoint;

use crate::engine::view::Shared;
use crate::engine::view::View;
use crate::io::protected_paths::suffixed;
use crate::io::protected_paths::torn;
use std::collections::VecDeque;
use std::sync::Arc;

use self::changes::{Changes, Savepoints};
pub(crate) use self::compact::Damaged;
pub(crate) use self::flush::Ancestry;
use self::pending::{Inflight, Pending};
pub(crate) use self::put::{Finished, Part, Raw, SMALL};
use crate::engine::file::ArchiveFile;
use crate::engine::recovery::{Loaded, Newest, Tail};
use crate::error::{Code, Error, Result};
use crate::format::block::{Encoded, Form};
use crate::format::catalog::{BlockId, Catalog, Entry, Place};
use crate::format::commit::{self, Position};
use crate::format::footer::Footer;
use crate::format::header::Header;
use crate::format::tar;
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;

/// In an uncommitted tail a copy of the last footer stands this often, so that a search for it
/// stays short.
const FOOTER_EVERY: u64 = if cfg!(any(test, feature = "fuzzing")) { 32 << 10 } else { 64 << 20 };

/// In an uncommitted tail the disk is set to work this often, so that the sync at its end is short.
const WRITE_BACK_EVERY: u64 = 8 << 20;

/// The most bytes that share the sync of the commit behind them.
const AHEAD: u64 = if cfg!(any(test, feature = "fuzzing")) { 16 << 10 } else { commit::MAX_AHEAD };

/// The writing side of one coffer.
pub(crate) struct Container {
    pub(crate) view: Arc<Shared>,
    pub(crate) source: Arc<ArchiveFile>,
    pub(crate) header: Header,
    durable: bool,
    /// Where the next block goes.
    tail: u64,
    /// Where the last commit and its footer end.
    end: u64,
    committed: Position,
    header_copy: u64,
    since_snapshot: u64,
    snapshot_len: u64,
    /// Where the last footer ends.
    last_footer: u64,
    /// Up to where the disk was set to work.
    written_back: u64,
    /// The file has bytes that no sync has covered.
    unsynced: bool,
    /// A hash of those bytes, as long as they are few, and all of them new at the tail.
    ahead: Option<blake3::Hasher>,
    /// A footer says of the last commit that all about it is done.
    footer_durable: bool,
    pending: Vec<Pending>,
    pending_len: usize,
    inflight: VecDeque<Inflight>,
    changes: Changes,
    savepoints: Savepoints,
    /// What is held while the file is written; nothing for a file that has no name yet.
    locks: Option<Arc<Locks>>,
    poisoned: Option<Error>,
}

impl Container {
    /// Begins a new file with its header and the root entry. It is no coffer before its first
    /// commit.
    pub(crate) fn create(source: ArchiveFile, header: Header, durable: bool) -> Result<Self> {
        let source = Arc::new(source);
        let mut bytes = Vec::new();
        header.write(source.layers.container.as_deref(), &source.meta, &mut bytes);
        write(&source, &bytes, 0)?;
        let view = Shared::new(View {
            catalog: Catalog::default(),
            source: source.clone(),
            header: Some(header.clone()),
        });
        let mut container = Self {
            view,
            source,
            header,
            durable,
            tail: bytes.len() as u64,
            end: 0,
            committed: Position { generation: 0, offset: 0, len: 0, digest: [0; 32] },
            header_copy: 0,
            since_snapshot: 0,
            snapshot_len: 0,
            last_footer: bytes.len() as u64,
            written_back: 0,
            unsynced: true,
            ahead: None,
            footer_durable: true,
            pending: Vec::new(),
            pending_len: 0,
            inflight: VecDeque::new(),
            changes: Changes::default(),
            savepoints: Savepoints::default(),
            locks: None,
            poisoned: None,
        };
        let block = container.source.layers.encode(&tar::root()?, Form::Compressed)?;
        container.append_block(&block)?;
        Ok(container)
    }

    /// Goes on with an existing file: cuts or saves what follows the last commit, and finishes
    /// what a crash left undone.
    pub(crate) fn resume(
        source: Arc<ArchiveFile>,
        header: Header,
        durable: bool,
        newest: Newest,
        loaded: Loaded,
        size: u64,
    ) -> Result<Self> {
        if newest.tail == Tail::Authentic {
            save_tail(&source, newest.end, size)?;
        }
        if newest.end < size {
            source
                .storage
                .truncate(newest.end)
                .map_err(|e| Error::io("ftruncate", &source.path, &e))?;
        }
        let view = Shared::new(View {
            catalog: loaded.catalog,
            source: source.clone(),
            header: Some(header.clone()),
        });
        let mut container = Self {
            view,
            source,
            header,
            durable,
            tail: newest.end,
            end: newest.end,
            committed: newest.position,
            // Where the header was taken from a copy behind the end, that is cut off.
            header_copy: Some(newest.commit.header_copy)
                .filter(|copy| *copy < newest.position.offset)
                .unwrap_or(0),
            since_snapshot: loaded.since_snapshot,
            snapshot_len: loaded.snapshot_len,
            last_footer: newest.end,
            written_back: newest.end,
            unsynced: true,
            ahead: None,
            footer_durable: newest.durable(),
            pending: Vec::new(),
            pending_len: 0,
            inflight: VecDeque::new(),
            changes: Changes::default(),
            savepoints: Savepoints::default(),
            locks: None,
            poisoned: None,
        };
        let scrub = newest.unscrubbed();
        // A process that was killed may have left the commit where no sync has covered it.
        if durable || !newest.durable() {
            container.sync()?;
        }
        if !scrub.is_empty() {
            container.scrub(scrub)?;
        } else if newest.footer.is_none() {
            container.append_footer(true)?;
            container.sync()?;
            container.end = container.tail;
            container.footer_durable = true;
        }
        Ok(container)
    }

    /// The last commit.
    pub(crate) fn committed(&self) -> Position {
        self.committed
    }

    /// Takes everything there is as the state that changes are told from.
    pub(crate) fn forget_changes(&mut self) {
        self.changes = Changes::default();
    }

    /// Leaves the file as the last commit has it.
    pub(crate) fn abandon(&mut self) {
        if self.poisoned.is_none() {
            self.tail = self.end;
            self.cut();
        }
    }

    /// Has these locks checked before each block that is written and before the tail is cut, whatever
    /// the reason: another writer may be at work there by now.
    pub(crate) fn locked_by(&mut self, locks: Option<Arc<Locks>>) {
        self.locks = locks;
    }

    fn check_locks(&mut self) -> Result<()> {
        let Some(locks) = &self.locks else { return Ok(()) };
        let checked = locks.check(&*self.source.storage);
        checked.map_err(|e| self.poison(&e))
    }

    /// Whether there are changes that no commit has.
    pub(crate) fn modified(&self) -> bool {
        !self.changes.touched.is_empty()
    }

    /// Fails if an earlier failure left the state of the file unknown.
    pub(crate) fn ready(&self) -> Result<()> {
        self.poisoned.clone().map_or(Ok(()), Err)
    }

    /// Refuses everything from now on.
    pub(crate) fn poison(&mut self, cause: &Error) -> Error {
        let error = Error::new(
            Code::Poisoned,
            format!(
                "the coffer cannot be written any more, close and reopen it: {}",
                cause.message()
            ),
        )
        .at(&self.source.path);
        self.poisoned.get_or_insert_with(|| error.clone());
        error
    }

    /// Removes a member.
    pub(crate) fn remove(&mut self, name: &str) -> Result<()> {
        self.ready()?;
        let removed = {
            let mut view = self.view.write();
            let key = view.catalog.get_key_value(name).map(|(key, _)| key.clone());
            key.and_then(|key| view.catalog.remove(name).map(|entry| (key, entry)))
        };
        if let Some((name, old)) = removed {
            self.retire(&name, &old);
            self.record(name, Some(old));
        }
        Ok(())
    }

    /// Puts a member in place of whatever has its name.
    fn set(&mut self, name: Arc<str>, entry: Entry) {
        let old = self.view.write().catalog.set(name.clone(), entry);
        if let Some(old) = &old {
            self.retire(&name, old);
        }
        self.record(name, old);
    }

    /// Notes which blocks an entry leaves behind.
    fn retire(&mut self, name: &str, old: &Entry) {
        match &old.place {
            Place::Packed { block, .. } => self.soil(*block),
            Place::Pieces { .. } => {
                Catalog::blocks_of(old).into_iter().for_each(|block| self.doom(block));
            }
            Place::Memory(_) => {
                self.pending.retain(|p| p.version != old.version || &*p.name != name);
            }
        }
    }

    /// Writes a block at the tail and enters it in the catalog.
    fn append_block(&mut self, encoded: &Encoded) -> Result<BlockId> {
        self.check_locks()?;
        if self.committed.generation > 0 && self.tail - self.last_footer >= FOOTER_EVERY {
            self.append_footer(false)?;
        }
        // First, since what no number is left for must not be in the file.
        let id = self.view.write().catalog.take_block_number()?;
        let block = encoded.at(self.tail);
        self.append(&encoded.bytes)?;
        let mut view = self.view.write();
        view.catalog.blocks.insert(id, block);
        self.changes.added.push(id);
        Ok(id)
    }

    /// Writes a footer for the last commit.
    fn append_footer(&mut self, durable: bool) -> Result<()> {
        let footer = Footer {
            archive: self.header.archive,
            commit: self.committed,
            header_copy: self.header_copy,
            durable,
        };
        let mut bytes = Vec::new();
        footer.write(
            self.source.layers.container.as_deref(),
            &self.source.meta,
            self.tail,
            &mut bytes,
        );
        self.append(&bytes)?;
        self.last_footer = self.tail;
        Ok(())
    }

    /// Writes at the tail.
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        write(&self.source, bytes, self.tail)?;
        self.tail += bytes.len() as u64;
        self.unsynced = true;
        let room = |hasher: &blake3::Hasher| hasher.count() + bytes.len() as u64 <= AHEAD;
        self.ahead = self.ahead.take().filter(room);
        if let Some(hasher) = &mut self.ahead {
            hasher.update(bytes);
        }
        self.write_back();
        Ok(())
    }

    /// Sets the disk to work, if a sync will follow and there is enough to do.
    fn write_back(&mut self) {
        let from = self.written_back.min(self.tail);
        if self.durable && self.tail - from >= WRITE_BACK_EVERY {
            self.source.storage.write_back(from..self.tail);
            self.written_back = self.tail;
        }
    }

    /// Cuts off what a failed write left behind the tail.
    fn cut(&mut self) {
        self.unsynced = true;
        self.ahead = None;
        if self.check_locks().is_err() {
            return;
        }
        if let Err(e) = self.source.storage.truncate(self.tail) {
            let error = Error::io("ftruncate", &self.source.path, &e);
            self.poison(&error);
        }
    }

    /// Makes every write durable. Once this failed nobody knows what is on the disk.
    fn sync(&mut self) -> Result<()> {
        if let Err(e) = self.source.storage.sync() {
            let error = Error::io("fdatasync", &self.source.path, &e);
            self.poison(&error);
            return Err(error);
        }
        self.unsynced = false;
        self.ahead = Some(blake3::Hasher::new());
        Ok(())
    }
}

fn write(source: &ArchiveFile, bytes: &[u8], offset: u64) -> Result<()> {
    source.storage.write_at(bytes, offset).map_err(|e| Error::io("write", &source.path, &e))
}

/// Copies the end of a file to `<path>.torn`: it may hold parts of a commit that somebody can use.
fn save_tail(source: &ArchiveFile, from: u64, to: u64) -> Result<()> {
    let torn = torn(&source.path);
    let save = || {
        // What was saved before stays.
        let mut path = torn.clone();
        for number in 1.. {
            if !source.directory.exists(&path)? {
                break;
            }
            path = suffixed(&torn, &format!(".{number}"));
        }
        let file = NewFile::create(&source.directory, &path)?;
        // Whose coffer it is can do something with it.
        file.permit_as(&*source.storage)?;
        file.storage().copy_from(&*source.storage, from..to, 0)?;
        file.publish(false)?.sync()
    };
    save().map_err(|e| Error::io("write", &torn, &e))
}
