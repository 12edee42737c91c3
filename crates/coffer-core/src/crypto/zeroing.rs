//! Leaving no secret behind in memory that is given back.
//!
//! What holds a secret overwrites it when it is dropped. That does not reach the copies that
//! functions leave on the stack: of arrays that were moved, of round keys, of the blocks of a hash.
//! A thread of the pool never ends, so they would stay there.

use std::hint::black_box;

/// More of the stack than any function that is called with a secret uses.
const STACK: usize = 32 << 10;
/// Blocks of one length that an allocator keeps at hand for a thread: glibc 7, others a page full.
const BLOCKS: usize = 128;

/// Many bytes that are overwritten when they are dropped: a block at a time, where `Zeroizing` takes
/// one byte after another.
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
        // Whoever looks at it must find it overwritten, so the compiler cannot leave that out.
        black_box(&mut self.0);
    }
}

/// Calls `work`, and overwrites the stack that it has used. What it returns is moved through that
/// stack's upper end: a secret must be behind a pointer in it.
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

/// Calls `work`, which gives back blocks of `len` bytes without wiping them, and overwrites those:
/// takes more blocks of that length than an allocator has at hand, and fills them. Allocators hand
/// out first what they got last.
pub(crate) fn heap_after<T>(len: usize, work: impl FnOnce() -> T) -> T {
    let result = work();
    let blocks: Vec<Vec<u8>> = (0..BLOCKS).map(|_| vec![0xFF; len]).collect();
    black_box(blocks);
    result
}
