//! The start of a commit log: in a new file, or behind the last commit of an existing one.

use std::sync::Arc;

use super::{CommitLog, LastCommit};
use crate::engine::file::ArchiveFile;
use crate::engine::recovery::{Loaded, Newest, Tail};
use crate::error::{Error, Result};
use crate::format::commit::Position;
use crate::format::header::Header;
use crate::io::new_file::{NewFile, resolved};
use crate::io::protected_paths::{suffixed, torn};

impl CommitLog {
    /// Starts a new file with its header. It is no coffer before its first commit.
    pub(crate) fn create(file: Arc<ArchiveFile>, header: &Header, durable: bool) -> Result<Self> {
        let mut bytes = Vec::new();
        header.write(file.layers.container.as_deref(), &file.meta, &mut bytes);
        let none = LastCommit {
            position: Position { generation: 0, offset: 0, len: 0, digest: [0; 32] },
            end: 0,
            header_copy: 0,
            settled: true,
        };
        let mut log = Self::at(file, durable, none, bytes.len() as u64);
        log.written_back = 0;
        log.write(&bytes, 0)?;
        Ok(log)
    }

    /// Continues a file of `size` bytes behind its newest commit: cuts off what follows, after saving
    /// it if it holds authentic parts of a commit, and does what a crash left undone of that commit. With
    /// `durable` the name of the file is made durable first.
    pub(crate) fn resume(
        file: Arc<ArchiveFile>,
        durable: bool,
        newest: &Newest,
        loaded: &Loaded,
        size: u64,
    ) -> Result<Self> {
        if durable {
            sync_name(&file)?;
        }
        if newest.tail == Tail::Authentic {
            save_tail(&file, newest.end, size)?;
        }
        if newest.end < size {
            let cut = file.storage.truncate(newest.end);
            cut.map_err(|e| Error::io("ftruncate", &file.path, &e))?;
        }
        let last = LastCommit {
            position: newest.position,
            end: newest.end,
            // A copy behind the end, which the header may have been read from, is cut off.
            header_copy: Some(newest.commit.header_copy)
                .filter(|copy| *copy < newest.position.offset)
                .unwrap_or(0),
            settled: newest.durable(),
        };
        let mut log = Self::at(file, durable, last, newest.end);
        log.since_snapshot = loaded.since_snapshot;
        log.snapshot_len = loaded.snapshot_len;
        log.finish(newest)?;
        Ok(log)
    }

    /// Does what is left to do for the newest commit: its sync, its scrub, its footer.
    fn finish(&mut self, newest: &Newest) -> Result<()> {
        // A process that was killed may have left the commit without a sync.
        if self.durable || !newest.durable() {
            self.sync()?;
        }
        let scrub = newest.unscrubbed();
        if !scrub.is_empty() {
            return self.scrub(scrub);
        }
        if newest.footer.is_none() {
            self.append_settled()?;
            self.sync()?;
        }
        Ok(())
    }

    fn at(file: Arc<ArchiveFile>, durable: bool, last: LastCommit, tail: u64) -> Self {
        Self {
            file,
            durable,
            locks: None,
            poisoned: None,
            last,
            tail,
            last_footer: tail,
            written_back: tail,
            unsynced: true,
            prefix: None,
            snapshot_len: 0,
            since_snapshot: 0,
        }
    }
}

/// Makes the name of a file durable: the process that renamed it into its place may have been killed
/// before it did so, and a power failure would then bring the file before it back, without what is
/// committed to this one.
fn sync_name(file: &ArchiveFile) -> Result<()> {
    let at = |call| move |e: std::io::Error| Error::io(call, &file.path, &e);
    let names = file.directory.names(&resolved(&file.path)).map_err(at("open"))?;
    names.sync().map_err(at("fsync"))
}

/// Saves the bytes behind the newest commit as `<path>.torn`: they hold parts of a commit that can
/// still be of use. A file saved earlier is kept.
fn save_tail(file: &ArchiveFile, from: u64, to: u64) -> Result<()> {
    let torn = torn(&file.path);
    let save = || {
        let mut path = torn.clone();
        for number in 1.. {
            if !file.directory.exists(&path)? {
                break;
            }
            path = suffixed(&torn, &format!(".{number}"));
        }
        let copy = NewFile::create(&file.directory, &path)?;
        // The owner of the coffer must be able to use it.
        copy.permit_as(&*file.storage)?;
        copy.storage().copy_from(&*file.storage, from..to, 0)?;
        copy.publish(false)?;
        Ok(())
    };
    save().map_err(|e: std::io::Error| Error::io("write", &torn, &e))
}
