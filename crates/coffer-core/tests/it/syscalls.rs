//! A session in a process of its own, whose system calls fail: injected by strace, and by a limit
//! on the size of files, which truly cuts writes short.
//!
//! Afterwards the coffer must open, as the last round that returned left it or as the next one
//! would; nothing may lie beside it or in the temp directory, its lock must be free, and the
//! process must have let go of all it opened.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use coffer_core::coffer::{Change, Coffer, Existing, Mode, NewCredentials, Options, Selection};
use coffer_core::crypto::key::Key;
use coffer_core::error::{Code, Error, Result};
use coffer_core::format::kind::Kind;
use coffer_core::progress::CallObserver;

/// Says where the session of a child has its files.
const DIRECTORY: &str = "COFFER_SESSION";
/// How many rounds a session has: each ends with a state of the coffer made durable.
const ROUNDS: usize = 6;
/// Longer than what a stage keeps in memory.
const LARGE: usize = 700 << 10;

type Members = BTreeMap<String, Vec<u8>>;

fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What the coffer holds after a round.
fn members(round: usize) -> Members {
    let mut members = Members::new();
    for round in 1..=round {
        match round {
            1 => {
                members.insert("small".to_owned(), noise(1, 900));
                members.insert("notes/two".to_owned(), noise(2, 30_000));
            }
            2 => drop(members.insert("staged".to_owned(), noise(3, LARGE))),
            3 => {
                members.remove("small");
                members.entry("notes/two".to_owned()).or_default().extend(noise(4, 5000));
            }
            5 => drop(members.insert("small".to_owned(), noise(5, 70))),
            _ => {}
        }
    }
    members
}

/// One round. The fourth compacts, the fifth closes and opens, the sixth changes the key.
fn play(coffer: &mut Coffer, directory: &Path, round: usize) -> Result<()> {
    let write = |coffer: &Coffer, name: &str, bytes| {
        coffer.change(Change::write(name, Arc::new(bytes))).map(drop)
    };
    match round {
        1 => {
            write(coffer, "small", noise(1, 900))?;
            write(coffer, "notes/two", noise(2, 30_000))?;
        }
        2 => {
            let stage = coffer.upload("staged");
            for portion in noise(3, LARGE).chunks(50_000) {
                let (sender, receiver) = mpsc::channel();
                stage.write(portion, Box::new(move |result| sender.send(result).unwrap()));
                receiver.recv().unwrap()?;
            }
            let (name, existing) = ("staged".to_owned(), Existing::Replace);
            coffer.change(Change::Upload {
                name,
                upload: stage,
                existing,
                mode: None,
                mtime: None,
            })?;
        }
        3 => {
            coffer.change(Change::Delete { name: "small".to_owned(), recursive: false })?;
            let data = Arc::new(noise(4, 5000));
            coffer.change(Change::Append { name: "notes/two".to_owned(), data })?;
        }
        4 => return coffer.change(Change::Compact { watch: CallObserver::silent() }).map(drop),
        5 => {
            coffer.close()?;
            *coffer = open(directory, Mode::Append, 0, AT_ONCE)?;
            write(coffer, "small", noise(5, 70))?;
        }
        _ => {
            let watch = CallObserver::silent();
            let (out, sealed) = (directory.join("out"), directory.join("out/sealed"));
            let extracted = coffer.extract(&Selection::All.into(), &out, &watch)?;
            if let Some(refused) = extracted.refused.first() {
                return Err(Error::new(Code::Io, refused.reason.clone()));
            }
            coffer.cryptor()?.encrypt_file(&out.join("staged"), &sealed, true, &watch)?;
            let to = NewCredentials {
                coffer_key: Some(key(1)),
                secure_key: None,
                passphrase: None,
                kdf: Default::default(),
                cipher: None,
            };
            return coffer.change(Change::Rekey { to, watch }).map(drop);
        }
    }
    coffer.change(Change::Flush { force: false }).map(drop)
}

fn key(number: u8) -> Key {
    Key::from_bytes(&[number; 32]).unwrap()
}

/// For a process that is alone with its coffer.
const AT_ONCE: Duration = Duration::ZERO;

/// For this process, whose children have its locks for a moment, between fork and exec.
const SOON: Duration = Duration::from_secs(10);

fn open(directory: &Path, mode: Mode, with: u8, lock_timeout: Duration) -> Result<Coffer> {
    let mut options = Options::new(mode, Kind::store());
    options.coffer_key = Some(key(with));
    options.piece_size = Some(64 << 10);
    options.backup = Some(".bak".to_owned());
    options.temp_dir = Some(directory.join("temp"));
    options.lock_timeout = lock_timeout;
    Coffer::open(&directory.join("box.coffer"), options)
}

/// What is open. The pool and the harness have what they have from the beginning.
fn descriptors() -> Vec<PathBuf> {
    // A fault may hit this call, too.
    let mut looks = std::iter::repeat_with(|| fs::read_dir("/proc/self/fd"));
    let entries = looks.find_map(std::result::Result::ok).unwrap().flatten();
    let mut open: Vec<_> = entries.filter_map(|entry| fs::read_link(entry.path()).ok()).collect();
    open.retain(|path| !path.starts_with("/proc"));
    open.sort();
    open
}

/// A session until something fails: how many rounds went well, and the error.
fn session(directory: &Path) -> (usize, Option<coffer_core::error::Error>) {
    let mut coffer = match open(directory, Mode::Exclusive, 0, AT_ONCE) {
        Ok(coffer) => coffer,
        Err(error) => return (0, Some(error)),
    };
    for round in 1..=ROUNDS {
        if let Err(error) = play(&mut coffer, directory, round) {
            return (round - 1, Some(error));
        }
    }
    match coffer.close() {
        Ok(()) => (ROUNDS, None),
        Err(error) => (ROUNDS, Some(error)),
    }
}

/// Without a fault everything goes well. The other tests run this one in a child.
#[test]
fn a_session() {
    let here = tempfile::tempdir().unwrap();
    let child = std::env::var_os(DIRECTORY).map(PathBuf::from);
    let directory = child.as_deref().unwrap_or(here.path());
    for made in ["temp", "out"] {
        fs::create_dir_all(directory.join(made)).unwrap();
    }
    if child.is_none() {
        let (rounds, error) = session(directory);
        assert!(rounds == ROUNDS && error.is_none(), "{error:?}");
        return afterwards(directory, ROUNDS).unwrap();
    }
    let before = descriptors();
    println!("\n@ready");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    let (rounds, error) = session(directory);
    let mut after = descriptors();
    for _ in 0..3000 {
        // A handle that was dropped is closed by its thread.
        if after == before {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
        after = descriptors();
    }
    let error = error.map(|e| format!("{} {} {}", e.code().as_str(), e.errno().unwrap_or(0), e));
    let done = format!("\n@done {rounds} {} {}\n", after == before, error.unwrap_or_default());
    let mut out = std::io::stdout();
    while out.write_all(done.as_bytes()).and_then(|()| out.flush()).is_err() {}
    assert_eq!(after, before);
}

/// What a child told: the rounds that went well, whether it let go of everything, and its error.
#[derive(Debug)]
struct Told {
    rounds: usize,
    closed: bool,
    error: String,
}

/// A child that waits to begin its session.
struct Waiting {
    child: Child,
    out: BufReader<std::process::ChildStdout>,
}

impl Waiting {
    fn start(directory: &Path, mut command: Command) -> Self {
        let mut child = command
            .env(DIRECTORY, directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        line(&mut out, "@ready").expect("the child does not begin");
        Self { child, out }
    }

    fn finish(mut self) -> Told {
        self.child.stdin.take().unwrap().write_all(b"\n").unwrap();
        let done = line(&mut self.out, "@done ").expect("the child ended early");
        let _ = self.out.read_to_end(&mut Vec::new());
        self.child.wait().unwrap();
        let mut words = done.splitn(3, ' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        Told { rounds: word().parse().unwrap(), closed: word() == "true", error: word() }
    }
}

fn line(out: &mut impl BufRead, prefix: &str) -> Option<String> {
    out.lines()
        .map_while(std::result::Result::ok)
        .find_map(|line| line.strip_prefix(prefix).map(str::to_owned))
}

fn myself() -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "syscalls::a_session", "--nocapture", "--test-threads=1"]);
    command
}

/// Checks what a session left, which went well for so many rounds.
fn afterwards(directory: &Path, rounds: usize) -> std::result::Result<(), String> {
    let path = directory.join("box.coffer");
    if !path.exists() {
        return if rounds == 0 { Ok(()) } else { Err("the coffer is gone".to_owned()) };
    }
    let coffer = match open(directory, Mode::Append, 0, SOON) {
        Err(e) if e.code() == Code::WrongKey && rounds + 1 >= ROUNDS => {
            open(directory, Mode::Append, 1, SOON)
        }
        opened => opened,
    };
    let coffer = coffer.map_err(|e| format!("does not open: {e:?}"))?;
    coffer.verify(&CallObserver::silent()).map_err(|e| format!("is damaged: {e:?}"))?;
    let temp = directory.join("temp");
    if fs::read_dir(&temp).unwrap().count() > 0 {
        // A directory that could not be removed is removed with the next one.
        let (sender, receiver) = mpsc::channel();
        let stage = coffer.upload("next");
        stage.write(&noise(6, LARGE), Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap().unwrap();
    }
    let names = coffer.members(None, None, None).unwrap().into_iter().map(|member| member.name);
    let found: Members = names.map(|name| (name.clone(), coffer.read(&name).unwrap())).collect();
    coffer.close().map_err(|e| format!("does not close: {e:?}"))?;
    if fs::read_dir(temp).unwrap().count() > 0 {
        return Err("something is left in the temp directory".to_owned());
    }
    if found != members(rounds) && found != members((rounds + 1).min(ROUNDS)) {
        return Err(format!("after {rounds} rounds it holds {:?}", found.keys()));
    }
    let entries =
        fs::read_dir(directory).unwrap().chain(fs::read_dir(directory.join("out")).unwrap());
    let unfinished = |name: &str| {
        name.contains("coffer-new") || name.contains("coffer-out") || name.starts_with(".tmp")
    };
    for entry in entries {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        if unfinished(&name) {
            return Err(format!("{name} is left behind"));
        }
    }
    Ok(())
}

/// Runs a session in which strace lets calls fail. `None` where strace cannot be attached.
fn injected(directory: &Path, fault: &str) -> Option<Told> {
    injected_where(directory, &[fault], &[])
}

/// The same with several faults, only in calls about `paths` if there are any.
fn injected_where(directory: &Path, faults: &[&str], paths: &[&Path]) -> Option<Told> {
    let waiting = Waiting::start(directory, myself());
    let mut strace = Command::new("strace")
        .args(["-f", "-o", "/dev/null", "-e", "signal=none"])
        .args(faults.iter().map(|fault| format!("--inject={fault}")))
        .args(paths.iter().map(|path| format!("--trace-path={}", path.display())))
        .args(["-p", &waiting.child.id().to_string()])
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    let mut said = BufReader::new(strace.stderr.take().unwrap());
    let mut first = String::new();
    let attached = said.read_line(&mut first).is_ok() && first.contains("attached");
    let told = waiting.finish();
    let _ = said.read_to_end(&mut Vec::new());
    strace.wait().unwrap();
    if !attached {
        println!("skipped: strace cannot be attached: {first}");
    }
    attached.then_some(told)
}

/// The system calls that change files, what they may say, and whether to go on saying it.
const FAULTS: [(&str, &str, i32, &str); 20] = [
    ("pwrite64", "ENOSPC", 28, "+"),
    ("pwrite64", "EIO", 5, ""),
    ("pwrite64", "EINTR", 0, ""),
    ("fdatasync", "EIO", 5, ""),
    ("fsync", "EIO", 5, ""),
    ("fdatasync,fsync", "EINTR", 0, ""),
    ("ftruncate", "EIO", 5, ""),
    ("rename,renameat,renameat2", "EIO", 5, ""),
    ("openat", "EMFILE", 24, ""),
    ("openat", "EINTR", 0, ""),
    ("pread64", "EIO", 5, ""),
    ("write", "ENOSPC", 28, ""),
    ("flock", "EINTR", 0, ""),
    ("copy_file_range", "EXDEV", 0, "+"),
    ("copy_file_range", "EINTR", 0, ""),
    // What a file system does not know is done another way, or refused with advice.
    ("fdatasync", "ENOTSUP", 0, "+"),
    ("renameat2", "EINVAL", 0, "+"),
    ("fchown", "EPERM", 0, "+"),
    ("flock", "ENOLCK", 37, ""),
    // No thread is left.
    ("clone3", "EAGAIN", 11, ""),
];

#[test]
fn a_directory_that_cannot_be_synced_is_no_failure() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: there is no strace");
    }
    for error in ["EINVAL", "ENOTSUP"] {
        let here = tempfile::tempdir().unwrap();
        let directories = [here.path(), &here.path().join("out")];
        let fault = format!("fsync:error={error}:when=1+");
        let Some(told) = injected_where(here.path(), &[&fault], &directories) else { return };
        assert!(told.rounds == ROUNDS && told.error.is_empty(), "{error}: {told:?}");
        afterwards(here.path(), ROUNDS).unwrap();
    }
}

#[test]
fn what_a_file_system_cannot_do_is_an_error_that_says_what_to_do() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: there is no strace");
    }
    let no_name: &[&str] = &["renameat2:error=EINVAL", "link,linkat:error=EPERM"];
    for (faults, errno, advice) in [
        (no_name, 1, "RENAME_NOREPLACE"),
        (&["flock:error=ENOLCK"], 37, "lock: 'none'"),
        (&["flock:error=ENOSYS"], 38, "lock: 'none'"),
        (&["clone3:error=EAGAIN"], 11, "no thread left"),
    ] {
        let here = tempfile::tempdir().unwrap();
        let Some(told) = injected_where(here.path(), faults, &[]) else { return };
        assert_eq!(told.rounds, 0, "{told:?}");
        assert!(told.error.starts_with(&format!("ERR_COFFER_IO {errno} ")), "{told:?}");
        assert!(told.error.contains(advice), "{told:?}");
        afterwards(here.path(), 0).unwrap();
        assert!(!here.path().join("box.coffer").exists());
    }
}

#[test]
fn every_system_call_may_fail() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: there is no strace");
    }
    let began = Instant::now();
    let mut sessions = 0;
    let mut failed = Vec::new();
    for (call, error, errno, ever) in FAULTS {
        let mut harmless = 0;
        // A block that cannot be read is read once more, so many of these do no harm in a row.
        let enough = if call == "pread64" { 40 } else { 2 };
        for number in 1.. {
            let here = tempfile::tempdir().unwrap();
            let fault = format!("{call}:error={error}:when={number}{ever}");
            let Some(told) = injected(here.path(), &fault) else { return };
            sessions += 1;
            let refused = errno > 0 && told.error.contains(&format!(" {errno} "));
            let left = afterwards(here.path(), told.rounds);
            if !told.closed || !(told.error.is_empty() || refused) || left.is_err() {
                failed.push(format!("{fault}: {told:?}, {left:?}"));
            }
            // Calls are counted in each thread, so the last ones are reached after a while.
            harmless = if told.error.is_empty() { harmless + 1 } else { 0 };
            if harmless > enough {
                break;
            }
        }
    }
    println!("{sessions} sessions in {:?}", began.elapsed());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A write that crosses the limit is cut there, and the next one fails: with the coffer's own file,
/// with a new one, and with the temporary file that a stream goes to.
#[test]
fn files_may_not_grow() {
    let directory = tempfile::tempdir().unwrap();
    for kilobytes in (0..40).chain((40..1000).step_by(60)) {
        let here = tempfile::tempdir_in(directory.path()).unwrap();
        let mut shell = Command::new("bash");
        shell.args(["-c", "trap '' XFSZ; ulimit -f $0; exec \"$@\"", &kilobytes.to_string()]);
        let me = myself();
        shell.arg(me.get_program()).args(me.get_args());
        let told = Waiting::start(here.path(), shell).finish();
        let refused = told.error.starts_with("ERR_COFFER_IO 27 ");
        assert!(told.closed && (refused || told.rounds == ROUNDS), "{kilobytes} KiB: {told:?}");
        assert!(refused || kilobytes > 600, "{kilobytes} KiB are enough");
        let left = afterwards(here.path(), told.rounds);
        left.unwrap_or_else(|e| panic!("{kilobytes} KiB: {told:?}: {e}"));
    }
}
