//! The core's thread pool: one bounded pool for the whole process, apart from libuv's.
//!
//! Jobs on the pool never wait for a lock that another job must release, nor for a message:
//! what has to wait (a writer, an open that waits for a lock) has a thread of its own.
//!
//! There are as many threads for jobs as for the parts into which jobs divide their work. A thread
//! that waits for parts runs other parts meanwhile, on top of its stack. If those were whole jobs,
//! which divide their work again, the stack would grow while calls are queued; so jobs have threads
//! of their own, and parts nest no deeper than there are such threads.

use std::error::Error as _;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, OnceLock, PoisonError};

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};

use crate::error::{Code, Error, Result};

const MIN_THREADS: usize = 2;
/// By how much the niceness of the pool's threads exceeds that of the process, and its maximum.
#[cfg(target_os = "linux")]
const NICE: i32 = 10;
#[cfg(target_os = "linux")]
const NICEST: i32 = 19;
/// Bytes of members under way for each thread, where blocks are large.
const FEW_BYTES: usize = 2 << 20;

type Job = Box<dyn FnOnce() + Send>;

struct Pool {
    jobs: Sender<Job>,
    parts: rayon::ThreadPool,
}

impl Pool {
    fn new(threads: usize) -> Result<Self> {
        let parts = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("coffer-part-{i}"))
            .start_handler(|_| give_way())
            .panic_handler(|_| {})
            .build()
            .map_err(|e| no_thread(e.source().and_then(|e| e.downcast_ref())))?;
        let (jobs, waiting) = unbounded::<Job>();
        for number in 0..threads {
            let waiting = waiting.clone();
            let work = move || {
                give_way();
                for job in waiting {
                    // A job that panicked is noticed by its receiver: its channel is closed.
                    let _ = catch_unwind(AssertUnwindSafe(job));
                }
            };
            // Threads that were started before one that cannot be end with the channel.
            std::thread::Builder::new()
                .name(format!("coffer-{number}"))
                .spawn(work)
                .map_err(|e| no_thread(Some(&e)))?;
        }
        Ok(Self { jobs, parts })
    }

    fn spawn(&self, job: Job) {
        if let Err(unsent) = self.jobs.send(job) {
            unsent.into_inner()();
        }
    }

    fn within<T: Send>(&self, job: impl FnOnce() -> T + Send) -> T {
        self.parts.install(job)
    }
}

/// The pool, which is made when it is needed first. Where the system has no threads for it now, the
/// next call tries again.
fn pool() -> Result<&'static Pool> {
    static POOL: OnceLock<Pool> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::new(());
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let _alone = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(pool) = POOL.get() {
        return Ok(pool);
    }
    let made = Pool::new(threads())?;
    Ok(POOL.get_or_init(|| made))
}

/// Makes the pool, unless there is one: the calls that cannot fail count on it.
///
/// # Errors
/// [`Code::Io`] if the system has no threads for it.
pub fn ready() -> Result<()> {
    pool().map(drop)
}

/// The error of a thread that could not be made.
fn no_thread(error: Option<&io::Error>) -> Error {
    let errno = error.and_then(io::Error::raw_os_error);
    let again = errno.map_or(io::ErrorKind::WouldBlock.into(), io::Error::from_raw_os_error);
    Error::thread(&again)
}

/// Lowers the priority of a thread, so that threads that serve requests run first.
fn give_way() {
    // On Linux each thread has a niceness of its own; elsewhere it is the whole process's. Where the
    // system refuses, the thread works on as it is.
    #[cfg(target_os = "linux")]
    if let Ok(nice) = rustix::process::getpriority_process(None) {
        let _ = rustix::process::setpriority_process(None, (nice + NICE).min(NICEST));
    }
}

/// How many jobs run at once.
#[must_use]
pub fn threads() -> usize {
    // Asking the system takes a dozen calls.
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

/// How many blocks of `piece` bytes may be in flight at once: fewer if they are large.
pub(crate) fn window_of(piece: usize) -> usize {
    let few = threads() * FEW_BYTES / piece.max(1);
    window().min(few.max(threads() + 1))
}

/// Runs `job` on the pool, when a thread is free. Without a pool, which [`ready`] sees to before
/// there is a coffer, it runs here.
pub fn spawn(job: impl FnOnce() + Send + 'static) {
    match pool() {
        Ok(pool) => pool.spawn(Box::new(job)),
        Err(_) => job(),
    }
}

/// Runs `job` on the pool; its result can be received from the channel.
pub fn start<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> Receiver<T> {
    let (sender, receiver) = bounded(1);
    spawn(move || {
        // There is no receiver any more when the call was cancelled.
        let _ = sender.send(job());
    });
    receiver
}

/// Waits for the result of a job that was started.
///
/// # Errors
/// Those of the job; [`worker_failed`] if it panicked.
pub(crate) fn receive<T>(job: &Receiver<Result<T>>) -> Result<T> {
    job.recv().unwrap_or_else(|_| Err(worker_failed()))
}

/// The error of a job that panicked.
pub(crate) fn worker_failed() -> Error {
    Error::new(Code::Limit, "a worker thread failed")
}

/// Does `job` for each item, in parallel. It comes back to the pool often, so that other calls get
/// their turn while a long one runs. Of several errors it gives that of the first item, whichever
/// came first: what is wrong with a file does not depend on the timing of threads.
pub(crate) fn each<T: Sync, R: Send>(
    items: &[T],
    job: impl Fn(&T) -> crate::error::Result<R> + Sync,
) -> crate::error::Result<Vec<R>> {
    use rayon::prelude::*;
    let mut results = Vec::with_capacity(items.len());
    for window in items.chunks(2 * self::window()) {
        let done: Vec<crate::error::Result<R>> = within(|| window.par_iter().map(&job).collect());
        for result in done {
            results.push(result?);
        }
    }
    Ok(results)
}

/// Runs `job` within the pool and waits, so that parallel iterators inside it use the pool.
pub fn within<T: Send>(job: impl FnOnce() -> T + Send) -> T {
    match pool() {
        Ok(pool) => pool.within(job),
        Err(_) => job(),
    }
}

/// Runs a `job` that waits on a thread of its own. Where the system has no thread left, the job gets
/// the error on the caller's thread, and must not do its work there: it may be JavaScript's thread.
pub fn thread(job: impl FnOnce(Result<()>) + Send + 'static) {
    let job = std::sync::Arc::new(Mutex::new(Some(job)));
    let given = job.clone();
    let take =
        move |job: &Mutex<Option<_>>| job.lock().unwrap_or_else(PoisonError::into_inner).take();
    let started = std::thread::Builder::new().name("coffer-wait".to_owned()).spawn(move || {
        if let Some(job) = take(&given) {
            job(Ok(()));
        }
    });
    if let Err(e) = started
        && let Some(job) = take(&job)
    {
        job(Err(no_thread(Some(&e))));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use rayon::prelude::*;
    use std::cell::Cell;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    thread_local! {
        static DEPTH: Cell<usize> = const { Cell::new(0) };
    }

    /// How many of something are under way on this thread, one within another.
    fn nested<T>(most: &AtomicUsize, act: impl FnOnce() -> T) -> T {
        let depth = DEPTH.get() + 1;
        DEPTH.set(depth);
        most.fetch_max(depth, Ordering::Relaxed);
        let done = act();
        DEPTH.set(depth - 1);
        done
    }

    const THREADS: usize = 4;
    const JOBS: usize = 400;

    /// Work in parts that take a while, so that the thread that waits for them steals other work.
    fn divide() {
        (0..16).into_par_iter().for_each(|_| {
            let mut hash = [0; 32];
            (0..2000).for_each(|_| hash = *blake3::hash(&hash).as_bytes());
            assert_ne!(hash, [0; 32]);
        });
    }

    #[test]
    fn a_job_that_waits_for_its_parts_takes_no_other_job_and_parts_nest_no_deeper_than_jobs_wait() {
        let pool = Arc::new(Pool::new(THREADS).unwrap());
        let (jobs, parts) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (done, all) = bounded(JOBS);
        for _ in 0..JOBS {
            let (jobs, parts, done) = (jobs.clone(), parts.clone(), done.clone());
            let inner = pool.clone();
            let job = move || {
                nested(&jobs, || inner.within(|| nested(&parts, divide)));
                done.send(()).unwrap();
            };
            pool.spawn(Box::new(job));
        }
        (0..JOBS).for_each(|_| all.recv().unwrap());
        assert_eq!(jobs.load(Ordering::Relaxed), 1);
        let parts = parts.load(Ordering::Relaxed);
        assert!((1..=THREADS).contains(&parts), "{parts} deep");
    }

    /// On Linux every user may raise the niceness of a thread, which is the thread's own.
    #[cfg(target_os = "linux")]
    #[test]
    fn threads_step_back_behind_the_rest_of_the_process_whatever_its_niceness() {
        use rustix::process::{getpriority_process, setpriority_process};
        let own = getpriority_process(None).unwrap();
        for nice in own..=19 {
            let after = std::thread::spawn(move || {
                setpriority_process(None, nice).unwrap();
                super::give_way();
                getpriority_process(None).unwrap()
            });
            assert_eq!(after.join().unwrap(), (nice + 10).min(19), "from {nice}");
        }
    }

    #[test]
    fn of_several_errors_that_of_the_first_item_counts() {
        let items: Vec<usize> = (0..16).collect();
        let failed = AtomicUsize::new(0);
        let error = each(&items, |item| -> Result<()> {
            // The first item fails last.
            let patience = std::time::Instant::now() + std::time::Duration::from_millis(200);
            while *item == 0
                && failed.load(Ordering::SeqCst) == 0
                && std::time::Instant::now() < patience
            {
                std::thread::yield_now();
            }
            failed.fetch_add(1, Ordering::SeqCst);
            Err(Error::corrupt(format!("item {item}")))
        });
        assert_eq!(error.unwrap_err().message(), "item 0");
    }
}
