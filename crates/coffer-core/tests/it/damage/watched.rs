//! Runs many cases at once, and sees to it that none of them hangs, panics in a thread of its own,
//! or takes memory beyond a bound.

use std::fmt::Debug;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};
use std::time::{Duration, Instant};

use crate::MEMORY;
use crate::support::directory;

/// What all cases under way, and everything else in the process, may have allocated together.
const MEMORY_BOUND: usize = 32 << 20;
/// What may be resident: also what zstd and libsodium allocate, which are written in C. A frame of
/// a legacy coffer or an encrypted file may ask for the largest window that zstd gives unasked.
const RESIDENT_BOUND: u64 = 384 << 20;
/// No case takes a second. This long on a busy machine, it hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Panics on Coffer's own threads, where nobody would see them.
static PANICS: AtomicUsize = AtomicUsize::new(0);
/// A test has failed. What it then prints, and where from, takes memory that is not Coffer's.
static FAILED: AtomicBool = AtomicBool::new(false);

fn count_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            FAILED.store(true, Ordering::SeqCst);
            let thread = std::thread::current();
            if thread.name().is_some_and(|name| name.starts_with("coffer")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

/// A directory of its own for each worker.
pub struct Bench {
    dir: tempfile::TempDir,
}

impl Bench {
    pub fn new() -> Self {
        Self { dir: directory() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts a file there, in place of one of the same name.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    /// An empty directory.
    pub fn empty(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir(&path).unwrap();
        path
    }
}

/// Does `job` for each case, on a thread for each core, and says how many cases there were.
pub fn each<T: Debug + Copy + Send + Sync>(
    what: &str,
    cases: impl IntoIterator<Item = T>,
    job: impl Fn(&Bench, T) + Sync,
) -> usize {
    count_panics();
    let cases: Vec<T> = cases.into_iter().collect();
    assert!(!cases.is_empty(), "{what}: no cases");
    let workers = std::thread::available_parallelism().map_or(2, usize::from);
    let next = AtomicUsize::new(0);
    let done = AtomicBool::new(false);
    let under_way: Vec<Mutex<Option<(Instant, T)>>> =
        (0..workers).map(|_| Mutex::default()).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        let watchdog = scope.spawn(|| watch(what, &under_way, &done));
        let running: Vec<_> = under_way
            .iter()
            .map(|slot| {
                let (next, cases, job) = (&next, &cases, &job);
                scope.spawn(move || {
                    let bench = Bench::new();
                    while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                        *slot.lock().unwrap() = Some((Instant::now(), *case));
                        let named = Named { what, case };
                        job(&bench, *case);
                        let peak = MEMORY.peak_usage();
                        let within = peak < MEMORY_BOUND || FAILED.load(Ordering::SeqCst);
                        assert!(within, "{peak} bytes of memory");
                        drop(named);
                    }
                    *slot.lock().unwrap() = None;
                })
            })
            .collect();
        // A worker that failed has said why; the watchdog must not wait for it.
        let failed = running.into_iter().filter_map(|worker| worker.join().err()).next();
        done.store(true, Ordering::SeqCst);
        watchdog.thread().unpark();
        if let Some(failure) = failed {
            std::panic::resume_unwind(failure);
        }
    });
    assert_eq!(PANICS.load(Ordering::SeqCst), 0, "{what}: a thread of Coffer's panicked");
    if let Some(resident) = resident_peak() {
        assert!(resident < RESIDENT_BOUND, "{what}: {resident} bytes resident");
    }
    let (count, peak) = (cases.len(), MEMORY.peak_usage() >> 20);
    println!("{what}: {count} cases in {:.1?}, at most {peak} MiB", started.elapsed());
    cases.len()
}

/// Says which case it was that failed.
struct Named<'a, T: Debug> {
    what: &'a str,
    case: &'a T,
}

impl<T: Debug> Drop for Named<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = writeln!(std::io::stderr(), "{} {:?} failed", self.what, self.case);
        }
    }
}

fn watch<T: Debug>(what: &str, under_way: &[Mutex<Option<(Instant, T)>>], done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        std::thread::park_timeout(Duration::from_millis(500));
        for slot in under_way {
            // A worker that failed has poisoned nothing: it holds no lock while it works.
            let Ok(slot) = slot.lock() else { continue };
            if let Some((_, case)) = slot.as_ref().filter(|(began, _)| began.elapsed() > PATIENCE) {
                // No test can be failed from here, and the case will not come back.
                let _ = writeln!(std::io::stderr(), "{what} {case:?} hangs");
                std::process::abort();
            }
        }
    }
}

/// The most memory that the process ever had in use, where the system tells.
fn resident_peak() -> Option<u64> {
    let status = std::fs::read_to_string(Path::new("/proc/self/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
