//! Uploads: members whose bytes arrive as a stream.
//!
//! An [`Upload`] keeps its first bytes in memory. Beyond `IN_MEMORY` it encodes each full piece
//! on the pool, and writes the finished block to a spool. Only the thread that writes the coffer
//! waits for an upload, when all bytes are there.

mod spooled;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use zeroize::Zeroizing;

use self::spooled::Placed;
pub(crate) use self::spooled::SpooledUpload;
use crate::engine::container::{Finished, SMALL};
use crate::error::closed;
use crate::error::{Code, Error, Result};
use crate::format::block::Layers;
use crate::io::data::Data;
use crate::io::pool;
use crate::io::spool::{Spool, SpoolDir};
use crate::io::storage::WriteAt;

/// What stays in memory until the member is finished.
const IN_MEMORY: u64 = if cfg!(any(test, feature = "fuzzing")) { 8 << 10 } else { SMALL };

/// Called once when there is room for more bytes, or with the error of the upload.
pub type Ready = Box<dyn FnOnce(Result<()>) + Send>;

/// A member whose bytes are still arriving. It becomes part of its coffer with
/// [`Change::Upload`](crate::coffer::Change::Upload); dropped before that, it is discarded.
pub struct Upload(Arc<Shared>);

impl Upload {
    /// An upload that takes nothing, for this reason.
    pub(crate) fn refused(error: Error) -> Self {
        Self(Arc::new(Shared {
            uploads: Weak::new(),
            work: Mutex::new(Err(error)),
            progressed: Condvar::new(),
        }))
    }

    /// Takes bytes, which are copied. `ready` is called when the next ones may come, perhaps at
    /// once: a caller that waits for it each time keeps memory bounded. After a failure every call fails.
    pub fn write(&self, bytes: &[u8], ready: Ready) {
        let refused = match &mut *self.0.lock() {
            Ok(work) => {
                work.add(bytes);
                work.waiting.push(ready);
                None
            }
            Err(e) => Some((ready, e.clone())),
        };
        match refused {
            Some((ready, error)) => ready(Err(error)),
            None => self.0.go_on(),
        }
    }

    /// Discards the upload, and fails all calls that wait.
    pub fn abort(&self) {
        self.0.fail(Error::new(Code::Aborted, "the member was given up before it was complete"));
    }

    /// The bytes, where all of them are still in memory.
    ///
    /// # Errors
    /// Whatever failed before.
    pub(crate) fn in_memory(&self) -> Result<Option<Data>> {
        match &mut *self.0.lock() {
            Ok(work) => Ok(work.take_if_in_memory()),
            Err(e) => Err(e.clone()),
        }
    }

    /// Waits until all pieces are encoded. Not for a thread of the pool.
    ///
    /// # Errors
    /// Whatever failed before.
    pub(crate) fn finish(self) -> Result<SpooledUpload> {
        let mut work = self.0.lock();
        loop {
            match &mut *work {
                Err(e) => return Err(e.clone()),
                Ok(done) if done.under_way == 0 && done.raw.len() <= 1 => break,
                Ok(_) => {
                    work = self.0.progressed.wait(work).unwrap_or_else(PoisonError::into_inner)
                }
            }
        }
        let done = std::mem::replace(&mut *work, Err(closed()))?;
        let pieces: Option<Vec<_>> = done.pieces.into_iter().collect();
        let (Some(pieces), Some(spool)) = (pieces, done.spool) else {
            return Err(pool::worker_failed());
        };
        let tail = done.raw.into_iter().next().unwrap_or_default();
        Ok(SpooledUpload { layers: done.layers, spool, pieces, tail })
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.abort();
    }
}

/// An upload, as the jobs on the pool have it.
struct Shared {
    uploads: Weak<Uploads>,
    /// What there is, or why there is nothing any more.
    work: Mutex<Result<Work>>,
    /// Pieces were encoded, or everything failed.
    progressed: Condvar,
}

struct Work {
    /// The layers that every piece goes through, whatever becomes of the coffer meanwhile.
    layers: Layers,
    total: u64,
    /// Bytes as they came, in buffers of a piece. All but the last are full, and it is not empty.
    raw: VecDeque<Zeroizing<Vec<u8>>>,
    /// In order; `None` while it is under way.
    pieces: Vec<Option<Placed>>,
    under_way: usize,
    /// Encoded pieces that the spool does not have yet, with their numbers.
    encoded: VecDeque<(usize, Finished)>,
    /// A job is writing to the spool.
    spooling: bool,
    spool: Option<Arc<Spool>>,
    spooled: u64,
    waiting: Vec<Ready>,
}

impl Work {
    fn new(layers: Layers) -> Self {
        Self {
            layers,
            total: 0,
            raw: VecDeque::new(),
            pieces: Vec::new(),
            under_way: 0,
            encoded: VecDeque::new(),
            spooling: false,
            spool: None,
            spooled: 0,
            waiting: Vec::new(),
        }
    }

    fn add(&mut self, mut bytes: &[u8]) {
        let piece = self.layers.piece;
        self.total += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.raw.back().is_none_or(|last| last.len() >= piece) {
                let room = piece.min(bytes.len().max(IN_MEMORY as usize));
                self.raw.push_back(Zeroizing::new(Vec::with_capacity(room)));
            }
            let Some(last) = self.raw.back_mut() else { return };
            let (now, later) = bytes.split_at(bytes.len().min(piece - last.len()));
            if last.capacity() - last.len() < now.len() {
                // A vector that grows by itself leaves the old bytes behind.
                let mut larger = Zeroizing::new(Vec::with_capacity(piece));
                larger.extend_from_slice(last);
                *last = larger;
            }
            last.extend_from_slice(now);
            bytes = later;
        }
    }

    /// A full piece to be encoded, while not too many are. The last one stays: it will carry the
    /// padding of the tar.
    fn cut(&mut self) -> Option<(usize, Zeroizing<Vec<u8>>)> {
        let due = self.total > IN_MEMORY
            && self.raw.len() > 1
            && self.under_way < pool::window_of(self.layers.piece);
        let raw = if due { self.raw.pop_front()? } else { return None };
        self.under_way += 1;
        self.pieces.push(None);
        Some((self.pieces.len() - 1, raw))
    }

    fn has_room(&self) -> bool {
        self.total <= IN_MEMORY || self.raw.len() <= 1
    }

    fn take_if_in_memory(&mut self) -> Option<Data> {
        if !self.pieces.is_empty() || !self.has_room() {
            return None;
        }
        let raw = std::mem::take(&mut self.raw);
        if raw.len() <= 1 {
            return Some(Arc::new(raw.into_iter().next().unwrap_or_default()));
        }
        let mut all = Zeroizing::new(Vec::with_capacity(self.total as usize));
        raw.iter().for_each(|buffer| all.extend_from_slice(buffer));
        Some(Arc::new(all))
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Result<Work>> {
        self.work.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts jobs that encode pieces, and calls those that waited for room.
    fn go_on(self: &Arc<Self>) {
        loop {
            let (cut, ready) = match &mut *self.lock() {
                Err(_) => return,
                Ok(work) => {
                    let cut = work.cut().map(|(number, raw)| (number, raw, work.layers.clone()));
                    let ready = if work.has_room() {
                        std::mem::take(&mut work.waiting)
                    } else {
                        Vec::new()
                    };
                    (cut, ready)
                }
            };
            ready.into_iter().for_each(|ready| ready(Ok(())));
            let Some((number, raw, layers)) = cut else { break };
            let shared = self.clone();
            pool::spawn(move || shared.encode(number, &raw, &layers));
        }
        self.progressed.notify_all();
    }

    fn encode(self: Arc<Self>, number: usize, raw: &[u8], layers: &Layers) {
        let _watched = Watched(&self);
        if self.lock().is_err() {
            return;
        }
        let done = Finished::encode(layers, raw).and_then(|piece| {
            if let Ok(work) = &mut *self.lock() {
                work.encoded.push_back((number, piece));
            }
            self.spool_encoded()
        });
        if let Err(e) = done {
            self.fail(e);
        }
    }

    /// Writes encoded pieces to the spool, in the order they come in. While one job does this, the
    /// others leave theirs to it, so that none waits.
    fn spool_encoded(self: &Arc<Self>) -> Result<()> {
        {
            let mut work = self.lock();
            let Ok(work) = &mut *work else { return Ok(()) };
            if std::mem::replace(&mut work.spooling, true) {
                return Ok(());
            }
        }
        loop {
            let ((number, piece), spool, at) = {
                let mut work = self.lock();
                let Ok(work) = &mut *work else { return Ok(()) };
                let Some(next) = work.encoded.pop_front() else {
                    work.spooling = false;
                    return Ok(());
                };
                (next, work.spool.clone(), work.spooled)
            };
            let spool = match (spool, self.uploads.upgrade()) {
                (Some(spool), _) => spool,
                (None, Some(uploads)) => Arc::new(uploads.spool()?),
                (None, None) => return Err(closed()),
            };
            spool
                .write_at(&piece.block.bytes, at)
                .map_err(|e| Error::io("write", spool.path(), &e))?;
            if let Ok(work) = &mut *self.lock() {
                work.spooled += piece.block.bytes.len() as u64;
                work.spool = Some(spool);
                work.under_way -= 1;
                if let Some(place) = work.pieces.get_mut(number) {
                    *place = Some(Placed::new(&piece, at));
                }
            }
            self.go_on();
        }
    }

    /// Discards all bytes. The first error stays.
    fn fail(&self, error: Error) {
        let given_up = {
            let mut work = self.lock();
            if work.is_err() {
                return;
            }
            std::mem::replace(&mut *work, Err(error.clone()))
        };
        self.progressed.notify_all();
        for ready in given_up.into_iter().flat_map(|work| work.waiting) {
            ready(Err(error.clone()));
        }
    }
}

/// Fails an upload whose job panics, which nothing else would notice.
struct Watched<'a>(&'a Arc<Shared>);

impl Drop for Watched<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.fail(pool::worker_failed());
        }
    }
}

/// The uploads of one coffer, and the directory that their spools share.
pub(crate) struct Uploads {
    temp_dir: Option<PathBuf>,
    /// `None` once the coffer is closed.
    open: Mutex<Option<Open>>,
}

#[derive(Default)]
struct Open {
    /// Made when the first spool is.
    dir: Option<SpoolDir>,
    uploads: Vec<Weak<Shared>>,
}

impl Uploads {
    /// None yet. Their spools will be in `temp_dir`, or in the system's temp directory.
    pub(crate) fn new(temp_dir: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self { temp_dir, open: Mutex::new(Some(Open::default())) })
    }

    /// A new empty upload.
    pub(crate) fn upload(self: &Arc<Self>, layers: Layers) -> Upload {
        match &mut *self.lock() {
            None => Upload::refused(closed()),
            Some(open) => {
                let shared = Arc::new(Shared {
                    uploads: Arc::downgrade(self),
                    work: Mutex::new(Ok(Work::new(layers))),
                    progressed: Condvar::new(),
                });
                open.uploads.retain(|upload| upload.strong_count() > 0);
                open.uploads.push(Arc::downgrade(&shared));
                Upload(shared)
            }
        }
    }

    /// Fails every upload, so that neither keys nor files of theirs are left.
    pub(crate) fn close(&self) {
        let open = self.lock().take();
        for upload in open.iter().flat_map(|open| &open.uploads).filter_map(Weak::upgrade) {
            upload.fail(closed());
        }
    }

    fn spool(&self) -> Result<Spool> {
        let known = self.lock().as_ref().ok_or_else(closed)?.dir.clone();
        let dir = match known {
            Some(dir) => dir,
            None => {
                // Made without a lock: of two that are made at once, one is removed again.
                let made = SpoolDir::create(self.temp_dir.as_deref())?;
                self.lock().as_mut().ok_or_else(closed)?.dir.get_or_insert(made).clone()
            }
        };
        dir.file()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
