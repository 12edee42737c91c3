//! A cache of decoded packs, so that reading many members of a pack decodes it once.
//!
//! A pack is known by its digest, so it is never mistaken for what was in its place before or comes
//! after. It is forgotten when it is scrubbed, and when the file is closed or its coffer moves to
//! another, and overwritten then.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use crate::crypto::zeroing::Wiped;
use crate::error::Result;
use crate::format::catalog::Digest;

/// What the packs of all open coffers may take, in bytes.
const ROOM: usize = 32 << 20;
/// What a pack takes besides its tar.
const OVERHEAD: usize = 512;

/// The tar in a pack.
pub(crate) type Tar = Arc<Wiped>;

/// The decoded packs of one file.
pub(crate) struct PackCache {
    file: u64,
    process: Arc<ProcessCache>,
}

/// The packs of all files of the process, as many as there is room for.
struct ProcessCache {
    room: usize,
    packs: Mutex<CachedPacks>,
}

#[derive(Default)]
struct CachedPacks {
    slots: BTreeMap<Key, Slot>,
    /// Those that are decoded, the least recently used first.
    order: BTreeMap<u64, Key>,
    clock: u64,
    bytes: usize,
}

type Key = (u64, Digest);

/// A pack, or the place of one that is being decoded.
#[derive(Clone, Default)]
struct Slot {
    tar: Arc<Mutex<Option<Tar>>>,
    /// When it was used last, and what it takes; zero while it is decoded.
    used: u64,
    bytes: usize,
}

impl PackCache {
    /// For one file, beside all others of the process.
    pub(crate) fn new() -> Self {
        static CACHE: OnceLock<Arc<ProcessCache>> = OnceLock::new();
        Self::on(CACHE.get_or_init(|| ProcessCache::new(ROOM)))
    }

    fn on(process: &Arc<ProcessCache>) -> Self {
        static FILES: AtomicU64 = AtomicU64::new(0);
        Self { file: FILES.fetch_add(1, Ordering::Relaxed), process: process.clone() }
    }

    /// The pack with this digest, decoded unless it is cached. A second caller waits while the first
    /// decodes it, so `decode` must not wait for other threads.
    pub(crate) fn get(
        &self,
        digest: &Digest,
        decode: impl FnOnce() -> Result<Vec<u8>>,
    ) -> Result<Tar> {
        let key = (self.file, *digest);
        let place = self.process.lock().place(key);
        let mut place_for = place.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tar) = &*place_for {
            return Ok(tar.clone());
        }
        let decoded = decode().map(|tar| Arc::new(Wiped::new(tar)));
        place_for.clone_from(&decoded.as_ref().ok().cloned());
        drop(place_for);
        let len = decoded.as_ref().ok().map(|tar| tar.len());
        // Dropped, and so overwritten, after the lock is released.
        let gone = self.process.lock().put(key, &place, len, self.process.room);
        drop(gone);
        decoded
    }

    /// The pack with this digest, if it is cached and not locked.
    pub(crate) fn cached(&self, digest: &Digest) -> Option<Tar> {
        let place = self.process.lock().find((self.file, *digest))?;
        let tar = place.try_lock().ok()?;
        tar.clone()
    }

    /// Forgets packs that are not in the file any more.
    pub(crate) fn forget<'a>(&self, digests: impl Iterator<Item = &'a Digest>) {
        let mut process = self.process.lock();
        let gone: Vec<_> = digests.map(|digest| process.take(&(self.file, *digest))).collect();
        drop(process);
        drop(gone);
    }
}

impl Drop for PackCache {
    fn drop(&mut self) {
        let mut process = self.process.lock();
        let all = (self.file, [0; 32])..=(self.file, [0xFF; 32]);
        let keys: Vec<Key> = process.slots.range(all).map(|(key, _)| *key).collect();
        let gone: Vec<_> = keys.iter().map(|key| process.take(key)).collect();
        drop(process);
        drop(gone);
    }
}

impl ProcessCache {
    fn new(room: usize) -> Arc<Self> {
        Arc::new(Self { room, packs: Mutex::default() })
    }

    fn lock(&self) -> MutexGuard<'_, CachedPacks> {
        self.packs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CachedPacks {
    /// The place of a pack; a new one, if there is none.
    fn place(&mut self, key: Key) -> Arc<Mutex<Option<Tar>>> {
        match self.find(key) {
            Some(place) => place,
            None => self.slots.entry(key).or_default().tar.clone(),
        }
    }

    fn find(&mut self, key: Key) -> Option<Arc<Mutex<Option<Tar>>>> {
        let slot = self.slots.get_mut(&key)?;
        if slot.bytes > 0 {
            self.clock += 1;
            self.order.remove(&slot.used);
            self.order.insert(self.clock, key);
            slot.used = self.clock;
        }
        Some(slot.tar.clone())
    }

    /// Keeps a pack of `len` bytes, unless it was forgotten while it was decoded, and makes room for
    /// it. One that could not be decoded, or that would take the room of too many, is not kept.
    fn put(
        &mut self,
        key: Key,
        place: &Arc<Mutex<Option<Tar>>>,
        len: Option<usize>,
        room: usize,
    ) -> Vec<Slot> {
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| Arc::ptr_eq(&slot.tar, place))
        else {
            return Vec::new();
        };
        let Some(bytes) = len.map(|len| len + OVERHEAD).filter(|bytes| *bytes <= room / 8) else {
            return self.take(&key).into_iter().collect();
        };
        self.clock += 1;
        (slot.used, slot.bytes) = (self.clock, bytes);
        self.order.insert(self.clock, key);
        self.bytes += bytes;
        let mut gone = Vec::new();
        while self.bytes > room
            && let Some((_, oldest)) = self.order.first_key_value()
        {
            let oldest = *oldest;
            gone.extend(self.take(&oldest));
        }
        gone
    }

    fn take(&mut self, key: &Key) -> Option<Slot> {
        let slot = self.slots.remove(key)?;
        if slot.bytes > 0 {
            self.order.remove(&slot.used);
            self.bytes -= slot.bytes;
        }
        Some(slot)
    }
}

#[cfg(test)]
mod tests;
