//! Files and directories on their way in.

use std::collections::VecDeque;
use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crossbeam_channel::Receiver;

use crate::container::{Attributes, Container, Raw, SMALL};
use crate::error::{Code, Error, Result};
use crate::name;
use crate::pool;
use crate::storage::{DiskFile, Storage};
use crate::watch::{Report, Watch};

/// What to do with symbolic links in a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Symlinks {
    /// A link to a file is added as the file it names. Links to directories are not entered.
    #[default]
    Follow,
    /// Links are left out.
    Skip,
    /// A link is an error.
    Error,
}

/// What an add did.
#[derive(Debug, Default, Clone)]
pub struct Added {
    /// Files added.
    pub files: u64,
    /// Empty directories added.
    pub directories: u64,
    /// Bytes of the files.
    pub bytes: u64,
    /// What was left out.
    pub skipped: Vec<Skipped>,
}

/// Something that was not added.
#[derive(Debug, Clone)]
pub struct Skipped {
    /// Its path.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// What to add, and how.
pub(crate) struct Request {
    pub(crate) source: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) replace: bool,
    pub(crate) symlinks: Symlinks,
    pub(crate) watch: Watch,
}

struct Item {
    path: PathBuf,
    name: String,
    directory: bool,
    size: u64,
    attributes: Attributes,
}

/// Small files under way at once, in number and in bytes.
const MAX_QUEUED: usize = 256;
const MAX_QUEUED_BYTES: u64 = 16 << 20;

/// Adds a file or a tree.
pub(crate) fn add(container: &mut Container, request: &Request) -> Result<Added> {
    let mut walk = Walk {
        request,
        coffer: &container.source.path.clone(),
        items: Vec::new(),
        added: Added::default(),
    };
    walk.start()?;
    let Walk { items, mut added, .. } = walk;
    if !request.replace {
        let view = container.view.read();
        if let Some(item) = items.iter().find(|i| view.catalog.get(&i.name).is_some()) {
            return Err(Error::new(
                Code::MemberExists,
                format!("{:?} is a member already, and replace is off", item.name),
            )
            .of_member(&item.name));
        }
    }
    let mut put = Put {
        container,
        watch: &request.watch,
        queue: VecDeque::new(),
        queued: 0,
        report: Report {
            total_bytes: Some(items.iter().map(|i| i.size).sum()),
            ..Report::default()
        },
    };
    for item in items {
        added.files += u64::from(!item.directory);
        added.directories += u64::from(item.directory);
        added.bytes += item.size;
        put.item(item)?;
    }
    put.drain(0, 0)?;
    Ok(added)
}

struct Walk<'a> {
    request: &'a Request,
    coffer: &'a Path,
    items: Vec<Item>,
    added: Added,
}

impl Walk<'_> {
    fn start(&mut self) -> Result<()> {
        let source = std::path::absolute(&self.request.source)
            .map_err(|e| Error::io("stat", &self.request.source, &e))?;
        let meta = std::fs::metadata(&source).map_err(|e| Error::io("stat", &source, &e))?;
        let base = match &self.request.name {
            Some(name) => name.clone(),
            None => source.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned(),
        };
        if meta.is_dir() {
            let root = matches!(base.as_str(), "" | "." | "/");
            let base = if root { "" } else { name::check(&base)? };
            return self.directory(&source, base.to_owned(), &meta);
        }
        self.file(source, name::check(&base)?.to_owned(), &meta)
    }

    fn directory(&mut self, path: &Path, name: String, meta: &Metadata) -> Result<()> {
        self.request.watch.cancel.check()?;
        let failed = |e: std::io::Error| Error::io("readdir", path, &e);
        let mut entries = std::fs::read_dir(path)
            .map_err(failed)?
            .collect::<std::io::Result<Vec<_>>>()
            .map_err(failed)?;
        entries.sort_by_key(std::fs::DirEntry::file_name);
        if entries.is_empty() && !name.is_empty() {
            let attributes = attributes(meta);
            self.items.push(Item {
                path: path.to_path_buf(),
                name,
                directory: true,
                size: 0,
                attributes,
            });
            return Ok(());
        }
        for entry in entries {
            let path = entry.path();
            let Some(file_name) = entry.file_name().to_str().map(str::to_owned) else {
                self.skip(&path, "its name is not UTF-8");
                continue;
            };
            let child = if name.is_empty() { file_name } else { format!("{name}/{file_name}") };
            let meta = entry.metadata().map_err(|e| Error::io("stat", &path, &e))?;
            if meta.is_symlink() {
                self.link(path, child)?;
            } else if meta.is_dir() {
                self.directory(&path, child, &meta)?;
            } else {
                self.file(path, child, &meta)?;
            }
        }
        Ok(())
    }

    fn link(&mut self, path: PathBuf, child: String) -> Result<()> {
        match self.request.symlinks {
            Symlinks::Skip => self.skip(&path, "it is a symbolic link"),
            Symlinks::Error => {
                return Err(Error::new(
                    Code::UnsafePath,
                    format!("{} is a symbolic link, and symlinks is 'error'", path.display()),
                )
                .at(&path));
            }
            Symlinks::Follow => match std::fs::metadata(&path) {
                Ok(meta) if meta.is_dir() => {
                    self.skip(&path, "it is a symbolic link to a directory")
                }
                Ok(meta) => return self.file(path, child, &meta),
                Err(_) => self.skip(&path, "it is a symbolic link to nothing"),
            },
        }
        Ok(())
    }

    fn file(&mut self, path: PathBuf, name: String, meta: &Metadata) -> Result<()> {
        if !meta.is_file() {
            self.skip(&path, "it is not a regular file");
        } else if self.is_coffer(&path, meta) {
            self.skip(&path, "it is this coffer, or its lock");
        } else {
            name::check(&name)?;
            let attributes = attributes(meta);
            self.items.push(Item { path, name, directory: false, size: meta.len(), attributes });
        }
        Ok(())
    }

    fn skip(&mut self, path: &Path, reason: &str) {
        let path = path.to_string_lossy().into_owned();
        self.added.skipped.push(Skipped { path, reason: reason.to_owned() });
    }

    #[cfg(unix)]
    fn is_coffer(&self, path: &Path, meta: &Metadata) -> bool {
        use std::os::unix::fs::MetadataExt;
        let same = |other: &Path| {
            std::fs::metadata(other).is_ok_and(|m| (m.dev(), m.ino()) == (meta.dev(), meta.ino()))
        };
        let mut lock = self.coffer.as_os_str().to_owned();
        lock.push(".lock");
        path == self.coffer || same(self.coffer) || same(Path::new(&lock))
    }

    #[cfg(not(unix))]
    fn is_coffer(&self, path: &Path, _meta: &Metadata) -> bool {
        path == self.coffer
    }
}

struct Put<'a> {
    container: &'a mut Container,
    watch: &'a Watch,
    queue: VecDeque<(Item, Receiver<Result<Vec<u8>>>)>,
    queued: u64,
    report: Report,
}

impl Put<'_> {
    fn item(&mut self, item: Item) -> Result<()> {
        self.watch.cancel.check()?;
        if item.directory {
            self.drain(0, 0)?;
            return self.container.put_small(&item.name, true, 0, item.attributes, Vec::new());
        }
        if item.size <= SMALL {
            let source = self.container.source.clone();
            let (path, size) = (item.path.clone(), item.size);
            let result = pool::start(move || source.layers.encode_member(&whole(&path, size)?));
            self.queued += item.size;
            self.queue.push_back((item, result));
            return self.drain(MAX_QUEUED, MAX_QUEUED_BYTES);
        }
        self.drain(0, 0)?;
        let file =
            DiskFile::open(&item.path, false).map_err(|e| Error::io("open", &item.path, &e))?;
        let file = Arc::new(file);
        let piece = self.container.source.layers.piece as u64;
        let mut at = 0;
        let (watch, report) = (self.watch, &mut self.report);
        report.name = Some(item.name.clone());
        self.container.put_large(&item.name, item.attributes, &[], || {
            watch.cancel.check()?;
            if at >= item.size {
                return Ok(None);
            }
            let (offset, len) = (at, piece.min(item.size - at));
            at += len;
            report.bytes += len;
            watch.report(|| report.clone());
            let (file, path) = (file.clone(), item.path.clone());
            let job = Box::new(move || {
                let mut bytes = vec![0; len as usize];
                file.read_at(&mut bytes, offset).map_err(|e| changed(&path, &e))?;
                Ok(bytes)
            });
            Ok(Some(Raw { job, last: at >= item.size }))
        })?;
        report.members += 1;
        watch.report(|| report.clone());
        Ok(())
    }

    /// Puts queued files in until at most so many, and so many bytes, are left.
    fn drain(&mut self, count: usize, bytes: u64) -> Result<()> {
        while self.queue.len() > count || self.queued > bytes {
            let Some((item, result)) = self.queue.pop_front() else { break };
            self.queued -= item.size;
            let stored = result
                .recv()
                .unwrap_or_else(|_| Err(Error::new(Code::Limit, "a worker thread failed")))?;
            self.container.put_small(&item.name, false, item.size, item.attributes, stored)?;
            self.report.bytes += item.size;
            self.report.members += 1;
            self.report.name = Some(item.name);
            self.watch.report(|| self.report.clone());
            self.watch.cancel.check()?;
        }
        Ok(())
    }
}

fn whole(path: &Path, size: u64) -> Result<Vec<u8>> {
    let file = DiskFile::open(path, false).map_err(|e| Error::io("open", path, &e))?;
    let mut bytes = vec![0; size as usize];
    file.read_at(&mut bytes, 0).map_err(|e| changed(path, &e))?;
    Ok(bytes)
}

fn changed(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        let message = format!("{} became shorter while it was read: add it again", path.display());
        return Error::new(Code::Io, message).at(path);
    }
    Error::io("read", path, error)
}

#[cfg(unix)]
fn attributes(meta: &Metadata) -> Attributes {
    use std::os::unix::fs::MetadataExt;
    Attributes {
        mode: meta.mode() & 0o7777,
        mtime_s: meta.mtime(),
        mtime_ns: u32::try_from(meta.mtime_nsec()).unwrap_or(0),
    }
}

#[cfg(not(unix))]
fn attributes(meta: &Metadata) -> Attributes {
    let since = meta.modified().ok().and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.unwrap_or_default();
    let mode = if meta.is_dir() { 0o755 } else { 0o644 };
    Attributes { mode, mtime_s: since.as_secs() as i64, mtime_ns: since.subsec_nanos() }
}
