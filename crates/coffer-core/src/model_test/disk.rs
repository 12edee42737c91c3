//! A simulated disk: files, their names, a journal of all calls that change them, and injected faults.
//! [`super::crash`] gives its states after a crash.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use crate::io::storage::{self, Namespace, ReadAt, Wanted, WriteAt};

/// A file, whatever its name.
pub(super) type Inode = usize;

/// The contents of a disk.
#[derive(Clone, Default)]
pub(super) struct Image {
    pub(super) names: BTreeMap<PathBuf, Inode>,
    pub(super) files: BTreeMap<Inode, Arc<Vec<u8>>>,
}

/// A call that changes a disk.
#[derive(Debug, Clone)]
pub(super) enum Call {
    Write {
        file: Inode,
        offset: usize,
        bytes: Arc<Vec<u8>>,
    },
    Truncate {
        file: Inode,
        len: usize,
    },
    Sync {
        file: Inode,
    },
    /// Writes before it may be lost even if a later sync succeeds.
    FailedSync {
        file: Inode,
    },
    Create {
        path: PathBuf,
        file: Inode,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        file: Inode,
    },
    Remove {
        path: PathBuf,
    },
    SyncNames,
}

impl Image {
    pub(super) fn file(&self, path: &Path) -> Option<&Vec<u8>> {
        self.files.get(self.names.get(path)?).map(|bytes| &**bytes)
    }

    pub(super) fn bytes(&mut self, file: Inode) -> &mut Vec<u8> {
        Arc::make_mut(self.files.entry(file).or_default())
    }

    /// Applies a call, as a process sees it.
    pub(super) fn apply(&mut self, call: &Call) {
        match call {
            Call::Write { file, offset, bytes } => put(self.bytes(*file), *offset, bytes),
            Call::Truncate { file, len } => self.bytes(*file).resize(*len, 0),
            Call::Sync { .. } | Call::FailedSync { .. } | Call::SyncNames => {}
            Call::Create { path, file } => {
                self.files.entry(*file).or_default();
                self.names.insert(path.clone(), *file);
            }
            Call::Rename { from, to, file } => {
                self.names.remove(from);
                self.names.insert(to.clone(), *file);
            }
            Call::Remove { path } => {
                self.names.remove(path);
            }
        }
    }
}

/// Writes into a file, which grows as needed.
pub(super) fn put(file: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if file.len() < end {
        file.resize(end, 0);
    }
    file[offset..end].copy_from_slice(bytes);
}

/// A journal: the contents of a disk, and the calls since.
#[derive(Clone, Default)]
pub(super) struct Journal {
    pub(super) start: Image,
    pub(super) calls: Vec<Call>,
}

/// Calls that fail.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fault {
    /// The number of calls that succeed before.
    pub(super) after: u64,
    /// Whether calls that only look are counted, and may fail, too.
    pub(super) looks: bool,
    /// Whether all calls fail from then on, not one.
    pub(super) forever: bool,
    pub(super) errno: i32,
    /// The most bytes that a failing write writes.
    pub(super) torn: usize,
}

/// A range of every file in which reads fail.
pub(super) struct Bad {
    pub(super) bytes: std::ops::Range<usize>,
    pub(super) errno: i32,
    /// The number of reads that fail.
    pub(super) times: usize,
}

/// A read that failed, and whether the same was read later.
#[derive(Clone, Copy)]
struct Missed {
    file: Inode,
    from: usize,
    len: usize,
    again: bool,
}

#[derive(Default)]
struct DiskState {
    now: Image,
    journal: Journal,
    next: Inode,
    fault: Option<Fault>,
    /// The name of the call that failed first.
    failed: Option<&'static str>,
    missed: Option<Missed>,
    bad: Option<Bad>,
    open: usize,
}

/// The disk.
pub(super) struct Disk(Mutex<DiskState>);

impl Disk {
    pub(super) fn new(image: Image) -> Arc<Self> {
        let next = image.files.keys().max().map_or(0, |last| last + 1);
        let journal = Journal { start: image.clone(), calls: Vec::new() };
        Arc::new(Self(Mutex::new(DiskState { now: image, journal, next, ..DiskState::default() })))
    }

    pub(super) fn directory(self: &Arc<Self>) -> Arc<dyn Namespace> {
        Arc::new(DiskNames(self.clone()))
    }

    /// The contents that a process sees.
    pub(super) fn image(&self) -> Image {
        self.state().now.clone()
    }

    pub(super) fn journal(&self) -> Journal {
        self.state().journal.clone()
    }

    /// How many calls are in the journal.
    pub(super) fn recorded(&self) -> usize {
        self.state().journal.calls.len()
    }

    /// How many files are open.
    pub(super) fn open(&self) -> usize {
        self.state().open
    }

    /// Sets or clears the fault.
    pub(super) fn fail(&self, fault: Option<Fault>) {
        let mut state = self.state();
        state.fault = fault;
        state.failed = None;
        state.missed = None;
    }

    /// Sets or clears the range in which reads fail.
    pub(super) fn refuse(&self, bad: Option<Bad>) {
        self.state().bad = bad;
    }

    /// Whether the first call that failed was a read that was repeated later.
    pub(super) fn read_again(&self) -> bool {
        self.state().missed.is_some_and(|missed| missed.again)
    }

    /// The name of the call that failed first, if one did.
    pub(super) fn failed(&self) -> Option<&'static str> {
        self.state().failed
    }

    fn state(&self) -> MutexGuard<'_, DiskState> {
        self.0.lock().unwrap()
    }

    /// Begins a call that changes nothing.
    fn look(&self, name: &'static str) -> io::Result<MutexGuard<'_, DiskState>> {
        let mut state = self.state();
        match state.fault.filter(|fault| fault.looks).and_then(|_| state.strike(name)) {
            Some(fault) => Err(io::Error::from_raw_os_error(fault.errno)),
            None => Ok(state),
        }
    }

    /// Applies and records a call that changes the disk.
    fn act(&self, name: &'static str, call: Call) -> io::Result<()> {
        let mut state = self.state();
        state.act(name, call)
    }
}

impl DiskState {
    /// The fault, if this call is the one to fail.
    fn strike(&mut self, name: &'static str) -> Option<Fault> {
        let fault = self.fault.as_mut()?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let struck = *fault;
        self.failed.get_or_insert(name);
        if !struck.forever {
            self.fault = None;
        }
        Some(struck)
    }

    fn act(&mut self, name: &'static str, call: Call) -> io::Result<()> {
        let fault = self.strike(name);
        let done = match (fault, call) {
            (None, call) => Some(call),
            (Some(fault), Call::Write { file, offset, bytes }) => {
                let len = fault.torn.min(bytes.len());
                Some(Call::Write { file, offset, bytes: Arc::new(bytes[..len].to_vec()) })
            }
            (Some(_), Call::Sync { file }) => Some(Call::FailedSync { file }),
            (Some(_), _) => None,
        };
        if let Some(call) = done {
            self.now.apply(&call);
            self.journal.calls.push(call);
        }
        fault.map_or(Ok(()), |fault| Err(io::Error::from_raw_os_error(fault.errno)))
    }
}

/// An open file.
struct OpenFile {
    disk: Arc<Disk>,
    file: Inode,
}

impl OpenFile {
    fn begin(disk: &Arc<Disk>, file: Inode, state: &mut DiskState) -> Arc<dyn WriteAt> {
        state.open += 1;
        Arc::new(Self { disk: disk.clone(), file })
    }
}

impl Drop for OpenFile {
    fn drop(&mut self) {
        self.disk.state().open -= 1;
    }
}

impl ReadAt for OpenFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let (from, file) = (offset as usize, self.file);
        let looked = self.disk.look("read");
        let mut state = match looked {
            Err(e) => {
                let mut state = self.disk.state();
                let missed = Missed { file, from, len: buf.len(), again: false };
                if state.failed == Some("read") {
                    state.missed.get_or_insert(missed);
                }
                return Err(e);
            }
            Ok(state) => state,
        };
        let to = from + buf.len();
        if let Some(bad) = &mut state.bad
            && bad.bytes.start < to
            && from < bad.bytes.end
            && bad.times > 0
        {
            bad.times -= 1;
            return Err(io::Error::from_raw_os_error(bad.errno));
        }
        if let Some(missed) = &mut state.missed {
            missed.again |= (missed.file, missed.from, missed.len) == (file, from, buf.len());
        }
        let bytes = state.now.files[&self.file].get(from..from + buf.len());
        buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.look("len")?.now.files[&self.file].len() as u64)
    }
}

impl WriteAt for OpenFile {
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let bytes = Arc::new(buf.to_vec());
        self.disk.act("write", Call::Write { file: self.file, offset: offset as usize, bytes })
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.act("sync", Call::Sync { file: self.file })
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.disk.act("truncate", Call::Truncate { file: self.file, len: len as usize })
    }
}

/// The one directory of the disk.
struct DiskNames(Arc<Disk>);

impl storage::Names for DiskNames {
    fn sync(&self) -> io::Result<()> {
        self.0.act("sync names", Call::SyncNames)
    }
}

impl Namespace for DiskNames {
    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.look("exists")?.now.names.contains_key(path))
    }

    fn has_file(&self, path: &Path) -> io::Result<bool> {
        self.exists(path)
    }

    fn open(&self, path: &Path, _write: bool) -> io::Result<Arc<dyn WriteAt>> {
        let mut state = self.0.look("open")?;
        let file = *state.now.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(OpenFile::begin(&self.0, file, &mut state))
    }

    fn create(&self, path: &Path) -> io::Result<Arc<dyn WriteAt>> {
        let mut state = self.0.state();
        if state.now.names.contains_key(path) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let file = state.next;
        state.next += 1;
        state.act("create", Call::Create { path: path.to_path_buf(), file })?;
        Ok(OpenFile::begin(&self.0, file, &mut state))
    }

    fn rename(&self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let mut state = self.0.state();
        let file = *state.now.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        if !replace && state.now.names.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (from, to) = (from.to_path_buf(), to.to_path_buf());
        state.act("rename", Call::Rename { from, to, file })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        if !self.0.state().now.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.0.act("remove", Call::Remove { path: path.to_path_buf() })
    }

    fn leftovers(&self, _directory: &Path, wanted: Wanted<'_>) -> io::Result<Vec<PathBuf>> {
        let state = self.0.look("list")?;
        Ok(state.now.names.keys().filter(|path| wanted(path).is_some()).cloned().collect())
    }

    fn names(&self, _path: &Path) -> io::Result<Arc<dyn storage::Names>> {
        drop(self.0.look("open directory")?);
        Ok(Arc::new(Self(self.0.clone())))
    }
}
