//! A process-wide cache of allocations for the bytes of blocks: at most [`MOST`] bytes in
//! allocations of [`SMALLEST`] bytes and more. Megabytes allocated and freed for each block take
//! longer than sealing it.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The smallest allocation that is cached, in bytes: the allocator caches smaller ones itself.
const SMALLEST: usize = 128 << 10;
/// The most bytes that the cache holds.
const MOST: usize = 24 << 20;
/// How many times larger than the requested length a reused allocation may be.
const SLACK: usize = 4;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// A byte vector whose allocation goes back to the cache when it is dropped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Buffer(Vec<u8>);

impl Buffer {
    /// An empty buffer for `capacity` bytes.
    pub(crate) fn with_capacity(capacity: usize) -> Self {
        let mut bytes = kept(capacity).unwrap_or_default();
        bytes.clear();
        bytes.reserve_exact(capacity);
        Self(bytes)
    }

    /// A buffer of `len` bytes with unspecified contents, to be overwritten.
    pub(crate) fn of_len(len: usize) -> Self {
        match kept(len) {
            Some(mut bytes) => {
                bytes.resize(len, 0);
                Self(bytes)
            }
            None => Self(vec![0; len]),
        }
    }

    /// The bytes; their allocation does not go back to the cache.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Empties the cache.
pub(crate) fn forget() {
    let kept = std::mem::take(&mut *lock());
    drop(kept);
}

/// Takes the smallest cached allocation with room for `len` bytes.
fn kept(len: usize) -> Option<Vec<u8>> {
    if len < SMALLEST {
        return None;
    }
    let mut all = lock();
    let fitting = |bytes: &Vec<u8>| (len..=len.saturating_mul(SLACK)).contains(&bytes.capacity());
    let fits = all.iter().enumerate().filter(|(_, bytes)| fitting(bytes));
    let (at, _) = fits.min_by_key(|(_, bytes)| bytes.capacity())?;
    Some(all.swap_remove(at))
}

fn lock() -> MutexGuard<'static, Vec<Vec<u8>>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.capacity() < SMALLEST {
            return;
        }
        let bytes = std::mem::take(&mut self.0);
        let mut all = lock();
        if all.iter().map(Vec::capacity).sum::<usize>() + bytes.capacity() <= MOST {
            all.push(bytes);
        }
    }
}

impl From<Vec<u8>> for Buffer {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl Deref for Buffer {
    type Target = Vec<u8>;

    fn deref(&self) -> &Vec<u8> {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut Vec<u8> {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_has_the_length_or_the_room_that_is_asked_for() {
        for len in [0, 1, SMALLEST, SMALLEST + 1, 5 * SMALLEST, 2 * SMALLEST, SMALLEST] {
            let mut buffer = Buffer::of_len(len);
            assert_eq!(buffer.len(), len);
            buffer.fill(1);
            drop(buffer);
            let buffer = Buffer::with_capacity(len);
            assert!(buffer.is_empty());
            assert!(buffer.capacity() >= len);
        }
    }

    #[test]
    fn little_is_kept() {
        let all: Vec<_> = (0..64).map(|_| Buffer::of_len(1 << 20)).collect();
        drop(all);
        assert!(lock().iter().map(Vec::capacity).sum::<usize>() <= MOST);
    }
}
