//! The core's own threads: one bounded pool for the whole process, apart from libuv's.
//!
//! Jobs on the pool never wait for a lock that another job must release, nor for a message:
//! whoever has to wait (a writer, an open that waits for a lock) has a thread of its own.

use std::sync::OnceLock;

use crossbeam_channel::{Receiver, bounded};

const MIN_THREADS: usize = 2;
/// How far threads of the pool step back.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
/// Bytes of members under way for each thread, where blocks are large.
const FEW_BYTES: usize = 2 << 20;

fn pool() -> Option<&'static rayon::ThreadPool> {
    static POOL: OnceLock<Option<rayon::ThreadPool>> = OnceLock::new();
    POOL.get_or_init(|| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads())
            .thread_name(|i| format!("coffer-{i}"))
            .start_handler(|_| give_way())
            // Whoever waits for a job that panicked learns it from the channel.
            .panic_handler(|_| {})
            .build()
            .ok()
    })
    .as_ref()
}

/// Lets other threads go first, those that serve requests, where there are more than processors.
fn give_way() {
    // On Linux each thread has a niceness of its own; elsewhere it is the whole process's. Where the
    // system refuses, the thread works on as it is.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICE);
}

/// How many jobs run at once.
#[must_use]
pub fn threads() -> usize {
    // To ask the system takes it a dozen calls.
    static THREADS: OnceLock<usize> = OnceLock::new();
    *THREADS.get_or_init(|| {
        std::thread::available_parallelism().map_or(MIN_THREADS, usize::from).max(MIN_THREADS)
    })
}

/// How many blocks may be under way at once, which bounds memory.
#[must_use]
pub fn window() -> usize {
    threads() * 2
}

/// How many blocks with so many bytes of a member may be under way at once: fewer if they are large.
pub(crate) fn window_of(piece: usize) -> usize {
    let few = threads() * FEW_BYTES / piece.max(1);
    window().min(few.max(threads() + 1))
}

/// Runs `job` on the pool, when a thread is free.
pub fn spawn(job: impl FnOnce() + Send + 'static) {
    match pool() {
        Some(pool) => pool.spawn(job),
        // Without threads there is only this one.
        None => job(),
    }
}

/// Runs `job` on the pool; its result can be received from the channel.
pub fn start<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = bounded(1);
    spawn(move || {
        // Nobody waits any more when the call was given up.
        let _ = sender.send(job());
    });
    receiver
}

/// Does `job` for each item, in parallel. It comes back to the pool often, so that other calls get
/// their turn while a long one runs.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    job: impl Fn(&T) -> crate::error::Result<R> + Sync,
) -> crate::error::Result<Vec<R>> {
    use rayon::prelude::*;
    let mut results = Vec::with_capacity(items.len());
    for window in items.chunks(2 * self::window()) {
        let done: Vec<R> =
            within(|| window.par_iter().map(&job).collect::<crate::error::Result<_>>())?;
        results.extend(done);
    }
    Ok(results)
}

/// Runs `job` within the pool and waits, so that parallel iterators inside it use the pool.
pub fn within<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    match pool() {
        Some(pool) => pool.install(job),
        None => job(),
    }
}

/// Runs `job` on a thread of its own: for what has to wait.
pub fn thread(job: impl FnOnce() + Send + 'static) {
    // Where the system has no thread left, the job is done here, late rather than never.
    let job = std::sync::Arc::new(std::sync::Mutex::new(Some(job)));
    let given = job.clone();
    let take = move |job: &std::sync::Mutex<Option<_>>| {
        job.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
    };
    let started = std::thread::Builder::new().name("coffer-wait".to_owned()).spawn(move || {
        if let Some(job) = take(&given) {
            job();
        }
    });
    if started.is_err()
        && let Some(job) = take(&job)
    {
        job();
    }
}
