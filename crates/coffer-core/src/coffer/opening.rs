//! From a path to a handle: locks, a new file or the one that is there, and who works on it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use crossbeam_channel::unbounded;

use super::{Coffer, CommitId, Holding, Inner, Mode, Notice, Options, Side, Status};
use crate::container::{Container, Shared, View};
use crate::error::{Code, Error, Result};
use crate::legacy;
use crate::locks::{Locks, Patience};
use crate::open::{self, Expected, Found, Opened};
use crate::read::Reader;
use crate::recover;
use crate::secret::{self, Keyring, Secret};
use crate::source::Source;
use crate::spool::SpoolDir;
use crate::stage::Stages;
use crate::storage::{DiskFile, NewFile, sweep_unfinished, sync_directory};
use crate::writer::{self, Spooled, State, Writer};

/// Opens or makes the coffer at an absolute path.
pub(super) fn open_coffer(path: &Path, options: &Options) -> Result<Coffer> {
    let secret = options.secret()?;
    let writes = options.mode != Mode::Read;
    if !options.cipher_is_free {
        secret.check(&options.kind)?;
    }
    let exists = path.try_exists().map_err(|e| Error::io("stat", path, &e))?;
    if !writes && !exists {
        return Err(missing(path));
    }
    let patience = Patience {
        deadline: Instant::now() + options.lock_timeout,
        cancel: options.cancel.clone(),
    };
    let locks = Locks::acquire(path, options.lock, writes, patience)?;
    if writes && options.mode != Mode::Append && options.expect.is_some() {
        return Err(Error::new(
            Code::InvalidArg,
            "expect needs a coffer that is there: open it with 'r' or 'a'",
        ));
    }
    if !writes {
        return open_to_read(path, options, &secret, locks);
    }
    sweep_unfinished(path);
    // Only now is it certain, with the lock, whether there is a coffer.
    let exists = path.try_exists().map_err(|e| Error::io("stat", path, &e))?;
    match (options.mode, exists) {
        (Mode::Exclusive, true) => Err(Error::new(
            Code::Exists,
            format!(
                "there is a coffer at {} already: open it with 'a' to change it",
                path.display()
            ),
        )),
        (Mode::Append, true) => open_to_write(path, options, &secret, locks),
        (Mode::Append, false) if options.expect.is_some() => Err(missing(path)),
        _ => create(path, options, &secret, locks, exists),
    }
}

/// Makes a new coffer, in place of an old one where the mode says so.
fn create(
    path: &Path,
    options: &Options,
    secret: &Secret,
    locks: Locks,
    exists: bool,
) -> Result<Coffer> {
    let (header, keys) = options.header(secret)?;
    // Whoever holds the old file is waited for.
    let old = if exists { Some(locks.open(true)?) } else { None };
    if let (Some(suffix), true) = (&options.backup, exists) {
        writer::back_up(path, &suffixed(path, suffix))?;
    }
    let file = NewFile::create(path).map_err(|e| Error::io("open", path, &e))?;
    let source = Source {
        storage: file.storage(),
        path: path.to_path_buf(),
        layers: header.layers(&keys)?,
        meta: keys.meta(&header.kind),
        archive: header.archive,
    };
    if let Some(inner) = source.storage.file() {
        locks.take(inner)?;
    }
    let mut container = Container::create(source, header, options.durable)?;
    container.commit(true, &Locks::none(path))?;
    if let Some(old) = &old {
        locks.check(old)?;
    }
    file.publish(exists).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Error::new(Code::Exists, format!("somebody else has just made {}", path.display()))
        }
        _ => Error::io("rename", path, &e),
    })?;
    sync_directory(path).map_err(|e| Error::io("fsync", path, &e))?;
    drop(old);
    start_writer(path, options, container, locks, None, None, Vec::new())
}

fn open_to_write(path: &Path, options: &Options, secret: &Secret, locks: Locks) -> Result<Coffer> {
    let file = Arc::new(locks.open(true)?);
    let keyring = Keyring::new(secret, &options.cancel);
    let backup = options.backup.as_ref().map(|suffix| suffixed(path, suffix));
    match open::open(file.clone(), path, &expected(options, &keyring))? {
        Found::Coffer(opened) => {
            check_history(options, &opened)?;
            let Opened { source, header, newest, loaded, size, notices } = *opened;
            let container =
                Container::resume(source, header, options.durable, newest, loaded, size)?;
            start_writer(path, options, container, locks, backup, None, notices)
        }
        Found::Legacy => {
            let (container, dir, notices) = import(path, options, secret, &file)?;
            let spooled = Spooled { original: file, _dir: dir };
            start_writer(path, options, container, locks, backup, Some(spooled), notices)
        }
    }
}

fn open_to_read(path: &Path, options: &Options, secret: &Secret, locks: Locks) -> Result<Coffer> {
    let file = Arc::new(locks.open(false)?);
    let keyring = Keyring::new(secret, &options.cancel);
    let (reader, status, notices, spool) = match recover::steadily(&*file, || {
        open::open(file.clone(), path, &expected(options, &keyring))
    })? {
        Found::Coffer(opened) => {
            check_history(options, &opened)?;
            let Opened { source, header, newest, loaded, mut notices, .. } = *opened;
            if !locks.held() {
                // Without a lock, what looks torn may be somebody writing.
                notices.retain(|n| n.code != "torn-tail");
            }
            let view = Shared::new(View { catalog: loaded.catalog, source, header: Some(header) });
            let position = newest.position;
            let commit = CommitId { generation: position.generation, digest: position.digest };
            let status = Status { closed: false, modified: false, commit };
            (Reader::of_commit(view, commit), status, notices, None)
        }
        Found::Legacy => {
            let (container, dir, notices) = import(path, options, secret, &file)?;
            (Reader::of_writer(container.view.clone()), Status::default(), notices, Some(dir))
        }
    };
    Ok(Coffer(Arc::new(Inner {
        path: path.to_path_buf(),
        reader,
        status: Arc::new(Mutex::new(status)),
        notices,
        active: Mutex::new(0),
        idle: Condvar::new(),
        side: Side::Reads(Mutex::new(Some(Holding { locks, file, _spool: spool }))),
    })))
}

fn import(
    path: &Path,
    options: &Options,
    secret: &Secret,
    file: &DiskFile,
) -> Result<(Container, SpoolDir, Vec<Notice>)> {
    if !options.legacy {
        return Err(Error::new(
            Code::Legacy,
            "the coffer is in PyCoffer's format, without Coffer's checks: pass legacy: true if that is what you expect",
        ));
    }
    if options.expect.is_some() {
        return Err(Error::corrupt(
            "a commit was expected, but the coffer is in PyCoffer's format",
        ));
    }
    if let Secret::Passphrase(_) = secret {
        return Err(secret::without_passphrase());
    }
    let dir = SpoolDir::create(options.temp_dir.as_deref())?;
    let (header, keys) = options.header(secret)?;
    let how =
        legacy::How { durable: options.durable, limits: options.limits, cancel: &options.cancel };
    let mut container = legacy::import(file, path, &dir, header, &keys, &how)?;
    container.gather()?;
    container.forget_changes();
    let notice = Notice {
        code: "legacy",
        message: "the coffer is in PyCoffer's format; the first flush rewrites it".to_owned(),
    };
    Ok((container, dir, vec![notice]))
}

fn start_writer(
    path: &Path,
    options: &Options,
    container: Container,
    mut locks: Locks,
    backup: Option<PathBuf>,
    legacy: Option<Spooled>,
    notices: Vec<Notice>,
) -> Result<Coffer> {
    locks.forget_caller();
    let committed = container.committed();
    let commit = CommitId { generation: committed.generation, digest: committed.digest };
    let status = Arc::new(Mutex::new(Status { closed: false, modified: false, commit }));
    let view = container.view.clone();
    let (sender, receiver) = unbounded();
    let stages = Stages::new(options.temp_dir.clone());
    let writer = Writer {
        container,
        locks,
        path: path.to_path_buf(),
        auto_flush: options.auto_flush.unwrap_or(options.kind.auto_flush),
        backup,
        legacy,
        status: status.clone(),
        receiver,
        stages: stages.clone(),
        state: State::default(),
    };
    std::thread::Builder::new()
        .name("coffer-writer".to_owned())
        .spawn(move || writer.run())
        .map_err(|e| Error::io("clone", path, &e))?;
    Ok(Coffer(Arc::new(Inner {
        path: path.to_path_buf(),
        reader: Reader::of_writer(view),
        status,
        notices,
        active: Mutex::new(0),
        idle: Condvar::new(),
        side: Side::Writes(sender, stages),
    })))
}

fn expected<'a>(options: &'a Options, keyring: &'a Keyring<'a>) -> Expected<'a> {
    Expected {
        kind: &options.kind,
        cipher_is_free: options.cipher_is_free,
        keyring,
        level: options.level,
    }
}

fn check_history(options: &Options, opened: &Opened) -> Result<()> {
    let Some(expected) = &options.expect else { return Ok(()) };
    let known = recover::has_ancestor(
        &opened.source,
        &opened.newest,
        expected.generation,
        &expected.digest,
    )?;
    if known {
        return Ok(());
    }
    Err(Error::corrupt(format!(
        "the coffer does not contain the expected commit {}: it was rolled back, forked or replaced; its newest commit is {}",
        expected.generation, opened.newest.position.generation
    )))
}

fn suffixed(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn missing(path: &Path) -> Error {
    let message = format!(
        "there is no coffer at {}: open it with 'a', 'w' or 'x' to make one",
        path.display()
    );
    Error::new(Code::NotFound, message).at(path)
}
