//! Opening a coffer: from a path to a handle.

use crate::io::disk::DiskNamespace;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, RwLock};
use std::time::Instant;

use crossbeam_channel::unbounded;

use super::reads::{ReadResources, Reads, Reopening};
use super::{Coffer, CommitId, Inner, Mode, Notice, Options, Side, Status};
use crate::engine::container::Container;
use crate::engine::credentials::{CredentialLookup, Credentials};
use crate::engine::file::ArchiveFile;
use crate::engine::open::{self, Expected, OpenResult, Opened};
use crate::engine::reader::Reader;
use crate::engine::recovery;
use crate::engine::successor::rolled_back;
use crate::engine::upload::Uploads;
use crate::engine::view::{Shared, View};
use crate::engine::writer::{Origin, Replacement, Spooled, State, Writer};
use crate::error::{Code, Error, Result};
use crate::format::keys::Keys;
use crate::io::disk::failed_to_open;
use crate::io::file_lock;
use crate::io::lock_set::{Locks, Patience};
use crate::io::new_file::{NewFile, PublishError, sweep_unfinished};
use crate::io::pool;
use crate::io::protected_paths::{suffixed, swept};
use crate::io::spool::SpoolDir;
use crate::io::storage::{Namespace, ReadAt, Share, WriteAt, is_link};
use crate::ops::legacy;

impl Coffer {
    /// Opens a coffer, or makes one. Waits for its lock, and reads its catalog.
    ///
    /// # Errors
    /// [`Code::Locked`], [`Code::Exists`], [`Code::NotFound`], [`Code::WrongKey`],
    /// [`Code::WrongKind`], [`Code::Corrupt`], [`Code::RolledBack`], [`Code::Legacy`], [`Code::Version`],
    /// [`Code::InvalidArg`], [`Code::Aborted`], [`Code::Io`].
    pub fn open(path: &Path, options: Options) -> Result<Self> {
        Self::open_in(Arc::new(DiskNamespace), path, options)
    }

    /// As [`Self::open`], in a directory that may be another than the system's.
    pub(crate) fn open_in(
        directory: Arc<dyn Namespace>,
        path: &Path,
        options: Options,
    ) -> Result<Self> {
        let path = std::path::absolute(path).map_err(|e| Error::io("open", path, &e))?;
        OpenCall { directory, path: &path, options: &options }.open().map_err(|e| e.at(&path))
    }
}

/// One call of [`Coffer::open`]: its arguments, and the steps from a path to a handle.
pub(super) struct OpenCall<'a> {
    pub(super) directory: Arc<dyn Namespace>,
    /// Absolute.
    pub(super) path: &'a Path,
    pub(super) options: &'a Options,
}

impl OpenCall<'_> {
    /// Opens or makes the coffer.
    pub(super) fn open(&self) -> Result<Coffer> {
        let options = self.options;
        pool::ready()?;
        let secret = options.credentials()?;
        if !options.accept_file_cipher {
            secret.check(&options.kind)?;
        }
        let patience = Patience {
            deadline: Instant::now() + options.lock_timeout,
            cancel: options.cancel.clone(),
        };
        loop {
            if let Some(coffer) = self.attempt(&secret, patience.clone())? {
                return Ok(coffer);
            }
            if Instant::now() >= patience.deadline {
                return Err(file_lock::locked(self.path, self.path, Share::Exclusive));
            }
        }
    }

    /// Opens or creates the coffer. `None` if the lock was lost before anything was written: PyCoffer
    /// removes a lock file after it has released it.
    fn attempt(&self, secret: &Credentials, patience: Patience) -> Result<Option<Coffer>> {
        let Self { path, options, .. } = self;
        let writes = options.mode != Mode::Read;
        let exists = self.exists()?;
        if matches!(options.mode, Mode::Read | Mode::Update) && !exists {
            return Err(missing(path));
        }
        let locks = Locks::acquire(path, options.lock, writes, patience)?;
        if matches!(options.mode, Mode::Write | Mode::Exclusive) && options.expect.is_some() {
            return Err(Error::new(
                Code::InvalidArg,
                "expect needs a coffer that is there: open it with 'r', 'r+' or 'a'",
            ));
        }
        if !writes {
            return self.to_read(secret, locks).map(Some);
        }
        // Without the lock another process may create or remove the coffer.
        let exists = self.exists()?;
        match (options.mode, exists) {
            (Mode::Exclusive, true) => Err(Error::new(
                Code::Exists,
                format!(
                    "there is a coffer at {} already: open it with 'r+' to change it",
                    path.display()
                ),
            )),
            (Mode::Append | Mode::Update, true) => self.to_write(secret, locks),
            (Mode::Update, false) => Err(missing(path)),
            (Mode::Append, false) if options.expect.is_some() => Err(missing(path)),
            (Mode::Write, true) => self.replace(secret, locks),
            _ => self.create(secret, locks).map(Some),
        }
    }

    /// Creates a coffer where no file is.
    fn create(&self, secret: &Credentials, locks: Locks) -> Result<Coffer> {
        let path = self.path;
        let (file, container) = self.empty(secret, &locks)?;
        file.publish(false).map_err(|e| match &e {
            PublishError::Unnamed(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                Error::new(
                    Code::Exists,
                    format!("another process has just made {}", path.display()),
                )
            }
            _ => e.at(path),
        })?;
        self.sweep(&locks);
        let created = || Notice {
            code: "created",
            message: format!("{} did not exist: an empty coffer was created there", path.display()),
        };
        let notices = (self.options.mode == Mode::Append).then(created);
        self.start_writer(container, locks, None, Origin::Coffer, notices.into_iter().collect())
    }

    /// Creates a coffer that replaces the file at its path at its first commit. Until then that file
    /// is whole.
    fn replace(&self, secret: &Credentials, locks: Locks) -> Result<Option<Coffer>> {
        // The locks on the old file are waited for.
        let old = locks.open(&*self.directory, true)?;
        if !self.options.replace {
            self.check_replaceable(secret, &old)?;
        }
        self.sweep(&locks);
        let (file, container) = self.empty(secret, &locks)?;
        // Deriving keys takes time, in which the lock may have been lost.
        if locks.lost(&*old).is_some() {
            return Ok(None);
        }
        let origin = Origin::Replaces(Replacement { file, old });
        self.start_writer(container, locks, self.backup(), origin, Vec::new()).map(Some)
    }

    /// A new file without its name, and the empty coffer in it.
    fn empty(&self, secret: &Credentials, locks: &Locks) -> Result<(NewFile, Container)> {
        let Self { directory, path, options } = self;
        let (header, keys) = options.header(secret)?;
        let file = NewFile::create(directory, path).map_err(|e| Error::io("open", path, &e))?;
        let source = ArchiveFile::new(file.storage(), directory, path, &header, &keys)?;
        locks.take(&*source.storage)?;
        let mut container = Container::create(source, header, options.durable)?;
        container.commit(true, &Locks::none(path))?;
        Ok((file, container))
    }

    /// Fails unless a file is empty, or a coffer that this call would open: no other file is replaced
    /// without the option for it.
    fn check_replaceable(&self, secret: &Credentials, old: &Arc<dyn WriteAt>) -> Result<()> {
        let len = old.len().map_err(|e| Error::io("fstat", self.path, &e))?;
        if len == 0 {
            return Ok(());
        }
        let opened = match self.find(old, &self.lookup(secret)) {
            Ok(OpenResult::Coffer(_)) => Ok(()),
            // Without a header only the members themselves tell whether the keys open it.
            Ok(OpenResult::Legacy) => self.import(secret, &**old).map(drop),
            Err(e) => Err(e),
        };
        opened.map_err(|e| {
            if e.code() == Code::Aborted {
                return e;
            }
            let message = format!(
                "{}. {} was left as it is: open it with replace: true to replace it all the same",
                e.message(),
                self.path.display()
            );
            e.saying(message)
        })
    }

    /// Removes the unfinished files of killed processes beside the coffer. Its inode must be locked: the
    /// lock file alone is not enough, since a process that opened it by a link has another one.
    fn sweep(&self, locks: &Locks) {
        if !locks.held() || cfg!(not(unix)) && is_link(self.path) {
            return;
        }
        sweep_unfinished(&*self.directory, &swept(self.path, self.backup()));
    }

    fn to_write(&self, secret: &Credentials, locks: Locks) -> Result<Option<Coffer>> {
        let file = locks.open(&*self.directory, true)?;
        self.sweep(&locks);
        match self.find(&file, &self.lookup(secret))? {
            OpenResult::Coffer(opened) => {
                self.check_history(&opened)?;
                self.options.check_made(&opened.header)?;
                let Opened { source, header, newest, loaded, size, notices, .. } = *opened;
                let durable = self.options.durable;
                // Deriving keys takes time, in which the lock may have been lost; from here on the file
                // is written.
                if locks.lost(&*file).is_some() {
                    return Ok(None);
                }
                let mut container =
                    Container::resume(source, header, durable, newest, loaded, size)?;
                container.erase_stale(&locks)?;
                self.start_writer(container, locks, self.backup(), Origin::Coffer, notices)
                    .map(Some)
            }
            OpenResult::Legacy => {
                let (container, dir, notices) = self.import(secret, &*file)?;
                let origin = Origin::Legacy(Spooled { original: file, _dir: dir });
                self.start_writer(container, locks, self.backup(), origin, notices).map(Some)
            }
        }
    }

    fn to_read(&self, secret: &Credentials, locks: Locks) -> Result<Coffer> {
        let file = locks.open(&*self.directory, false)?;
        let lookup = self.lookup(secret);
        let look = || self.find(&file, &lookup);
        let found = if locks.held() {
            look()
        } else {
            recovery::steadily(&*file, look, |found| match found {
                OpenResult::Coffer(opened) => opened.is_sound(),
                OpenResult::Legacy => true,
            })
        };
        let mtime = file.modified().ok().flatten();
        let (reader, status, notices, spool, reopening) = match found? {
            OpenResult::Coffer(opened) => {
                self.check_history(&opened)?;
                let Opened { source, header, keys, newest, loaded, mut notices, .. } = *opened;
                if !locks.held() {
                    // Without a lock, a torn tail may be another process's write under way.
                    notices.retain(|n| n.code != "torn-tail");
                }
                let view =
                    Shared::new(View { catalog: loaded.catalog, source, header: Some(header) });
                let position = newest.position;
                let commit = CommitId { generation: position.generation, digest: position.digest };
                let status = Status { commit, mtime, ..Status::default() };
                (Reader::of_commit(view, commit), status, notices, None, Some(self.reopening(keys)))
            }
            OpenResult::Legacy => {
                let (container, dir, notices) = self.import(secret, &*file)?;
                let reader = Reader::of_writer(container.view.clone());
                (reader, Status { mtime, ..Status::default() }, notices, Some(dir), None)
            }
        };
        Ok(Coffer::of(Inner {
            path: self.path.to_path_buf(),
            backup: self.options.backup.clone(),
            reader: RwLock::new(Arc::new(reader.within(self.options.limits))),
            status: Arc::new(Mutex::new(status)),
            notices: Arc::new(Mutex::new(notices)),
            active: Mutex::new(0),
            idle: Condvar::new(),
            side: Side::Reads(Reads::new(ReadResources { locks, file, reopening, _spool: spool })),
        }))
    }

    /// What opens the file at the path again, without the passphrase: its keys are kept, which a new salt
    /// makes useless.
    fn reopening(&self, keys: Keys) -> Arc<Reopening> {
        let options = self.options;
        Arc::new(Reopening {
            directory: self.directory.clone(),
            credentials: Credentials::Keys(keys),
            kind: options.kind,
            accept_file_cipher: options.accept_file_cipher,
            level: options.level,
            max_catalog: options.max_catalog.unwrap_or(u64::MAX),
        })
    }

    fn import(
        &self,
        secret: &Credentials,
        file: &dyn ReadAt,
    ) -> Result<(Container, SpoolDir, Vec<Notice>)> {
        let options = self.options;
        if !options.legacy {
            return Err(Error::new(
                Code::Legacy,
                "the coffer is in PyCoffer's format, without Coffer's checks: pass legacy: true if that is what you expect",
            ));
        }
        if options.expect.is_some() {
            return Err(rolled_back(
                "a commit was expected, but the file is in PyCoffer's format, which has none",
            ));
        }
        secret.check_legacy()?;
        let dir = SpoolDir::create(options.temp_dir.as_deref())?;
        let (header, keys) = options.header(secret)?;
        let spool = Arc::new(dir.file()?);
        let source = ArchiveFile::new(spool, &self.directory, self.path, &header, &keys)?;
        let import = legacy::ImportOptions {
            durable: options.durable,
            limits: options.limits,
            max_catalog: options.max_catalog.unwrap_or(u64::MAX),
            cancel: &options.cancel,
        };
        let mut container = legacy::import(file, source, header, &keys, &import)?;
        container.gather()?;
        container.forget_changes();
        let notice = Notice {
            code: "legacy",
            message: "the coffer is in PyCoffer's format; the first flush rewrites it".to_owned(),
        };
        Ok((container, dir, vec![notice]))
    }

    fn start_writer(
        &self,
        mut container: Container,
        mut locks: Locks,
        backup: Option<PathBuf>,
        origin: Origin,
        notices: Vec<Notice>,
    ) -> Result<Coffer> {
        let Self { path, options, .. } = self;
        locks.forget_caller();
        let locks = Arc::new(locks);
        // No other process finds a file that has no name yet.
        if !matches!(origin, Origin::Replaces(_)) {
            container.locked_by(Some(locks.clone()));
        }
        let committed = container.committed();
        let commit = CommitId { generation: committed.generation, digest: committed.digest };
        let status = Arc::new(Mutex::new(Status { commit, ..Status::default() }));
        let view = container.view.clone();
        let notices = Arc::new(Mutex::new(notices));
        let (sender, receiver) = unbounded();
        let uploads = Uploads::new(options.temp_dir.clone());
        let writer = Writer {
            container,
            locks,
            path: path.to_path_buf(),
            auto_flush: options.auto_flush.unwrap_or(options.kind.auto_flush),
            scrub_delay: options.scrub_delay,
            auto_compact: options.auto_compact,
            backup,
            origin,
            notices: notices.clone(),
            status: status.clone(),
            receiver,
            uploads: uploads.clone(),
            state: State::default(),
        };
        writer.publish_time();
        std::thread::Builder::new()
            .name("coffer-writer".to_owned())
            .spawn(move || writer.run())
            .map_err(|e| Error::thread(&e))?;
        Ok(Coffer::of(Inner {
            path: path.to_path_buf(),
            backup: self.options.backup.clone(),
            reader: RwLock::new(Arc::new(Reader::of_writer(view).within(options.limits))),
            status,
            notices,
            active: Mutex::new(0),
            idle: Condvar::new(),
            side: Side::Writes(sender, uploads),
        }))
    }

    fn lookup<'b>(&'b self, credentials: &'b Credentials) -> CredentialLookup<'b> {
        CredentialLookup::new(credentials, &self.options.cancel).within(self.options.max_kdf_memory)
    }

    /// Opens the file by its header.
    fn find(
        &self,
        file: &Arc<dyn WriteAt>,
        credentials: &CredentialLookup<'_>,
    ) -> Result<OpenResult> {
        let expected = Expected {
            kind: &self.options.kind,
            accept_file_cipher: self.options.accept_file_cipher,
            credentials,
            level: self.options.level,
            max_catalog: self.options.max_catalog.unwrap_or(u64::MAX),
            directory: self.directory.clone(),
        };
        open::open(file.clone(), self.path, &expected)
    }

    fn check_history(&self, opened: &Opened) -> Result<()> {
        let Some(expected) = &self.options.expect else { return Ok(()) };
        let known = recovery::has_ancestor(
            &opened.source,
            &opened.newest,
            expected.generation,
            &expected.digest,
        )?;
        if known {
            return Ok(());
        }
        Err(rolled_back(&format!(
            "the expected commit {} is not in the history of the coffer, whose newest commit is {}: the file is older than what was expected, or not a successor of it",
            expected.generation, opened.newest.position.generation
        )))
    }

    fn exists(&self) -> Result<bool> {
        self.directory.has_file(self.path).map_err(|e| failed_to_open(self.path, &e))
    }

    /// The path of the copy before the first change, if the options ask for one.
    fn backup(&self) -> Option<PathBuf> {
        let suffix = self.options.backup.as_ref()?;
        Some(suffixed(self.path, suffix))
    }
}

fn missing(path: &Path) -> Error {
    let message = format!(
        "there is no coffer at {}: open it with 'a', 'w' or 'x' to make one",
        path.display()
    );
    Error::new(Code::NotFound, message).at(path)
}
