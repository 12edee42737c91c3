//! How many bytes were deciphered, hashed or decompressed in search of records: a test can bound
//! what a file costs without measuring time. Nothing is counted outside of tests.

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

/// The bytes that `act` worked on, in this thread.
#[cfg(test)]
pub(crate) fn of<T>(act: impl FnOnce() -> T) -> (T, u64) {
    let before = BYTES.with(std::cell::Cell::get);
    let done = act();
    (done, BYTES.with(std::cell::Cell::get) - before)
}
