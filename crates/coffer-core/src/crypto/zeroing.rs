//! Zeroing of secrets that library functions leave on the stack and in freed memory.
//!
//! Types that hold a secret zero it on drop. That does not reach the copies that functions leave on
//! the stack: of moved arrays, of round keys, of the blocks of a hash. A thread of the pool never
//! ends, so they would stay there.

use std::hint::black_box;

/// Bytes of stack that are overwritten: more than any function that is called with a secret uses.
const STACK: usize = 32 << 10;
/// More free blocks of one length than an allocator caches for a thread: glibc 7, others a page full.
const BLOCKS: usize = 128;

/// A byte vector that is zeroed on drop, in words, where `Zeroizing` writes one byte after another.
pub(crate) struct Wiped(Vec<u8>);

impl Wiped {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl std::ops::Deref for Wiped {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.fill(0);
        // An observable use of the zeros, so that the compiler cannot remove the write.
        black_box(&mut self.0);
    }
}

/// Calls `work`, and overwrites the stack that it has used. Its result is moved through that
/// stack's upper end, so a secret in it must be behind a pointer.
pub(crate) fn stack_after<T>(work: impl FnOnce() -> T) -> T {
    let result = apart(work);
    overwrite();
    result
}

#[inline(never)]
fn apart<T>(work: impl FnOnce() -> T) -> T {
    work()
}

#[inline(never)]
fn overwrite() {
    black_box(&mut [0_u8; STACK]);
}

/// Calls `work`, which frees blocks of `len` bytes without zeroing them, and overwrites those blocks:
/// it allocates and fills more blocks of that length than an allocator caches, since allocators hand
/// out the block that was freed last first.
pub(crate) fn heap_after<T>(len: usize, work: impl FnOnce() -> T) -> T {
    let result = work();
    let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![0xFF; len]).collect();
    black_box(blocks);
    result
}
