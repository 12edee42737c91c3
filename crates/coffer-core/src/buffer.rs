//! Memory for the bytes of blocks, kept for the next one: to get megabytes from the system for each
//! block, and to give them back, takes longer than to seal it.

use std::ops::{Deref, DerefMut};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is smaller, the allocator keeps itself.
const SMALLEST: usize = 128 << 10;
/// The most bytes that are kept.
const MOST: usize = 24 << 20;
/// Memory is not used for less than its length divided by this.
const SLACK: usize = 4;

static KEPT: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());

/// Bytes whose memory is used again.
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

    /// A buffer of `len` bytes to be written over: nobody knows what they are.
    pub(crate) fn of_len(len: usize) -> Self {
        match kept(len) {
            Some(mut bytes) => {
                bytes.resize(len, 0);
                Self(bytes)
            }
            None => Self(vec![0; len]),
        }
    }

    /// The bytes, whose memory is not used again.
    pub(crate) fn into_vec(mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}

/// Gives back to the system what is kept.
pub(crate) fn forget() {
    let kept = std::mem::take(&mut *lock());
    drop(kept);
}

/// The smallest memory that is kept and has room for `len` bytes.
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
