//! A count, for tests, of the bytes that were deciphered, hashed or decompressed: it bounds the cost of
//! a crafted file without measuring time. Other builds count nothing.

#[cfg(test)]
thread_local! {
    static BYTES: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts work on `bytes` bytes.
#[cfg(test)]
pub(crate) fn count(bytes: usize) {
    BYTES.with(|counted| counted.set(counted.get() + bytes as u64));
}

/// Counts work on `bytes` bytes.
#[cfg(not(test))]
#[inline]
pub(crate) const fn count(_bytes: usize) {}

/// The result of `act`, and the bytes counted meanwhile in this thread.
#[cfg(test)]
pub(crate) fn of<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = BYTES.with(std::cell::Cell::get);
    let done = act();
    (done, BYTES.with(std::cell::Cell::get) - before)
}
