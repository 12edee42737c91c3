//! Adding files and directories as members.

mod outside_file;

use crate::engine::writer::Added;
use crate::engine::writer::Skipped;
use crate::format::member::MemberType;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crossbeam_channel::Receiver;

use self::outside_file::{Check, OutsideFile};
use crate::buffer::Buffer;
use crate::engine::container::{Container, Raw, SMALL};
use crate::error::{Code, Error, Result};
use crate::format::member::Attributes;
use crate::format::name;
use crate::io::input::Input;
use crate::io::pool;
use crate::io::protected_paths::ProtectedPaths;
use crate::ops::fs_tree::{self, Entry, Kind, Opener, Symlinks};
use crate::progress::{CallObserver, Report};

/// What to add, and how.
pub(crate) struct Request {
    pub(crate) source: PathBuf,
    pub(crate) name: Option<String>,
    pub(crate) replace: bool,
    pub(crate) symlinks: Symlinks,
    /// The suffix of the coffer's backups.
    pub(crate) backup: Option<String>,
    pub(crate) watch: CallObserver,
}

/// A file or an empty directory that is to become a member.
#[derive(Debug, Clone)]
pub struct Item {
    /// What it is called in the coffer.
    pub name: String,
    /// What it is, and where.
    pub entry: Entry,
}

/// An update that is applied whole or not at all.
pub(crate) struct Update {
    pub(crate) delete: Vec<String>,
    pub(crate) add: Vec<Item>,
    pub(crate) watch: CallObserver,
}

/// Small files that one job reads, in number and in bytes.
const BATCH: usize = 64;
const BATCH_BYTES: u64 = 256 << 10;
/// Adds a file or a tree.
pub(crate) fn add(container: &mut Container, request: &Request) -> Result<Added> {
    let own = ProtectedPaths::of(&container.source.path, request.backup.as_deref());
    let walk = Walk { request, own };
    let (items, skipped) = walk.run()?;
    if !request.replace {
        let view = container.view.read();
        if let Some(item) = items.iter().find(|i| view.catalog.get(&i.name).is_some()) {
            return Err(Error::new(
                Code::MemberExists,
                format!("{:?} is a member already: delete it, or allow replacing it", item.name),
            )
            .of_member(&item.name));
        }
    }
    Ok(Added { skipped, ..put(container, items, Check::Size, &request.watch)? })
}

/// Deletes members and adds files, which must still be as the items say.
pub(crate) fn update(container: &mut Container, mut update: Update) -> Result<Added> {
    for name in &update.delete {
        update.watch.cancel.check()?;
        container.remove(name::check(name)?)?;
    }
    for item in &mut update.add {
        item.name = name::check(&item.name)?.to_owned();
    }
    put(container, update.add, Check::SizeAndTime, &update.watch)
}

fn put(
    container: &mut Container,
    items: Vec<Item>,
    check: Check,
    watch: &CallObserver,
) -> Result<Added> {
    let mut added = Added::default();
    let mut put = Put {
        container,
        watch,
        check,
        batch: Vec::new(),
        batch_bytes: 0,
        queue: VecDeque::new(),
        opener: Opener::default(),
        report: Report {
            // The size of a pipe is known at its end.
            total_bytes: items.iter().map(Item::bytes).sum(),
            ..Report::default()
        },
    };
    for item in items {
        added.files += u64::from(!item.is_directory());
        added.directories += u64::from(item.is_directory());
        put.item(item)?;
    }
    put.finish()?;
    added.bytes = put.report.bytes;
    Ok(added)
}

impl Item {
    fn is_directory(&self) -> bool {
        self.entry.kind == Kind::Directory
    }

    /// How many bytes there are, as far as that is known.
    fn bytes(&self) -> Option<u64> {
        match self.entry.kind {
            Kind::Directory => Some(0),
            Kind::Pipe => None,
            _ => Some(self.entry.size),
        }
    }

    fn attributes(&self) -> Attributes {
        let Entry { mode, mtime_s, mtime_ns, .. } = self.entry;
        Attributes { mode, mtime_s, mtime_ns }
    }
}

/// A walk through all that is to be added. Each directory is listed once, many in parallel.
struct Walk<'a> {
    request: &'a Request,
    own: ProtectedPaths,
}

/// What is found in a directory, in the order of the names.
#[derive(Default)]
struct Listed {
    found: Vec<WalkItem>,
    directories: Vec<Item>,
}

enum WalkItem {
    Item(Item),
    Skipped(Skipped),
    /// One of the directories of the same list.
    Directory(usize),
}

impl Walk<'_> {
    /// The files and empty directories in the order of their paths, and what is left out.
    fn run(&self) -> Result<(Vec<Item>, Vec<Skipped>)> {
        let start = self.start()?;
        // Each list with the number of its first directory: directories are numbered in the order found.
        let mut lists = vec![(start.found.into_iter(), 1)];
        let mut directories = start.directories;
        let mut known = 1 + directories.len();
        while !directories.is_empty() {
            let listed = pool::each(&directories, |directory| self.directory(directory))?;
            directories = Vec::new();
            for list in listed {
                lists.push((list.found.into_iter(), known));
                known += list.directories.len();
                directories.extend(list.directories);
            }
        }
        let (mut items, mut skipped) = (Vec::new(), Vec::new());
        let mut path = vec![0];
        while let Some((list, first)) = path.last().and_then(|at| lists.get_mut(*at)) {
            match list.next() {
                Some(WalkItem::Item(item)) => items.push(item),
                Some(WalkItem::Skipped(other)) => skipped.push(other),
                Some(WalkItem::Directory(number)) => path.push(*first + number),
                None => drop(path.pop()),
            }
        }
        Ok((items, skipped))
    }

    /// The source itself, as the only entry of a list.
    fn start(&self) -> Result<Listed> {
        let source = std::path::absolute(&self.request.source)
            .map_err(|e| Error::io("stat", &self.request.source, &e))?;
        let base = match &self.request.name {
            Some(name) => name.clone(),
            None => source.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned(),
        };
        let entry = fs_tree::source(&source, &self.own)?;
        let root = entry.kind == Kind::Directory && matches!(base.as_str(), "" | "." | "/");
        let name = if root { "" } else { name::check(&base)? };
        let mut start = Listed::default();
        self.entry(entry, name.to_owned(), &mut start)?;
        Ok(start)
    }

    fn entry(&self, entry: Entry, name: String, list: &mut Listed) -> Result<()> {
        match entry.kind {
            Kind::Directory => {
                list.found.push(WalkItem::Directory(list.directories.len()));
                list.directories.push(Item { name, entry });
            }
            Kind::File | Kind::Pipe => {
                name::check(&name)?;
                list.found.push(WalkItem::Item(Item { name, entry }));
            }
            Kind::Link if self.request.symlinks == Symlinks::Error => {
                let path = entry.path;
                return Err(Error::new(
                    Code::UnsafePath,
                    format!("{} is a symbolic link, and symlinks is 'error'", path.display()),
                )
                .at(&path));
            }
            Kind::Other if entry.errno.is_some() => return Err(unknown(&entry)),
            Kind::Link | Kind::Other => list.found.push(WalkItem::Skipped(Skipped {
                path: entry.path.to_string_lossy().into_owned(),
                reason: entry.reason.unwrap_or_default().into_owned(),
            })),
        }
        Ok(())
    }

    fn directory(&self, directory: &Item) -> Result<Listed> {
        self.request.watch.cancel.check()?;
        let name = &directory.name;
        let Entry { root, path, .. } = &directory.entry;
        let entries = fs_tree::list(root, path, self.request.symlinks, &self.own)?;
        let mut list = Listed::default();
        if entries.is_empty() && !name.is_empty() {
            name::check(name)?;
            list.found.push(WalkItem::Item(directory.clone()));
        }
        for entry in entries {
            let last = entry.path.file_name().unwrap_or_default().to_string_lossy();
            let child = if name.is_empty() { last.into_owned() } else { format!("{name}/{last}") };
            self.entry(entry, child, &mut list)?;
        }
        Ok(list)
    }
}

/// The error of an entry that could not be examined.
fn unknown(Entry { path, errno, .. }: &Entry) -> Error {
    Error::io("stat", path, &std::io::Error::from_raw_os_error(errno.unwrap_or(0)))
}

/// A small file that was read.
enum Encoded {
    /// Its size, and its bytes after the member layer.
    Small(Item, u64, Vec<u8>),
    /// It has more bytes than its metadata says, too many for a small file.
    Long(Item),
}

struct Put<'a> {
    container: &'a mut Container,
    watch: &'a CallObserver,
    check: Check,
    /// Small files for the next job.
    batch: Vec<Item>,
    batch_bytes: u64,
    queue: VecDeque<Receiver<Result<Vec<Encoded>>>>,
    opener: Opener,
    report: Report,
}

impl Put<'_> {
    fn item(&mut self, item: Item) -> Result<()> {
        self.watch.cancel.check()?;
        if item.is_directory() {
            self.finish()?;
            return self.container.put_small(
                &item.name,
                MemberType::Directory,
                0,
                item.attributes(),
                Vec::new(),
            );
        }
        if item.entry.kind == Kind::Pipe {
            self.finish()?;
            let input = Input::open(&item.entry.path)?;
            return self.stream(&item, input);
        }
        if item.entry.size > SMALL {
            self.finish()?;
            return self.large(item);
        }
        self.batch_bytes += item.entry.size;
        self.batch.push(item);
        if self.batch.len() < BATCH && self.batch_bytes < BATCH_BYTES {
            return Ok(());
        }
        self.send();
        self.drain(pool::window())
    }

    /// Adds a large file. Its pieces are read in parallel.
    fn large(&mut self, item: Item) -> Result<()> {
        let file = Arc::new(OutsideFile::new(&mut self.opener, &item.entry, self.check)?);
        let (attributes, size) = (item.attributes(), item.entry.size);
        let piece = self.container.source.layers.piece as u64;
        let mut at = 0;
        let (watch, report) = (self.watch, &mut self.report);
        let before = report.bytes;
        report.name = Some(item.name.clone());
        let put = self.container.put_large(&item.name, attributes, &[], || {
            watch.cancel.check()?;
            if at >= size {
                return Ok(None);
            }
            let (offset, len) = (at, piece.min(size - at));
            at += len;
            report.bytes += len;
            watch.report(|| report.clone());
            let file = file.clone();
            let job = Box::new(move || {
                let mut bytes = Buffer::of_len(len as usize);
                file.read(&mut bytes, offset)?;
                Ok(bytes)
            });
            Ok(Some(Raw { job, last: at >= size }))
        });
        if put.is_err() && file.ended_early.load(Ordering::Relaxed) {
            self.report.bytes = before;
            let (file, about) = self.opener.open(&item.entry)?;
            let input = Input::new(file, &item.entry.path, about.size);
            return self.stream(&item, input);
        }
        put?;
        file.check()?;
        self.report.members += 1;
        self.watch.report(|| self.report.clone());
        Ok(())
    }

    /// Adds a file whose size is known at its end.
    fn stream(&mut self, item: &Item, mut input: Input) -> Result<()> {
        let layers = self.container.source.layers.clone();
        let (watch, report) = (self.watch, &mut self.report);
        report.name = Some(item.name.clone());
        let mut read = || {
            let mut bytes = Buffer::of_len(layers.piece);
            let len = input.read(&mut bytes, &watch.cancel)?;
            bytes.truncate(len);
            report.bytes += len as u64;
            watch.report(|| report.clone());
            Ok::<_, Error>(bytes)
        };
        let whole = |bytes: &Buffer| bytes.len() == layers.piece;
        let first = read()?;
        let mut later = if whole(&first) { read()? } else { Buffer::default() };
        if later.is_empty() && first.len() as u64 <= SMALL {
            let size = first.len() as u64;
            let stored = layers.encode_member(&first)?.into_vec();
            self.container.put_small(
                &item.name,
                MemberType::File,
                size,
                item.attributes(),
                stored,
            )?;
        } else {
            let mut now = Some(first);
            self.container.put_large(&item.name, item.attributes(), &[], || {
                let Some(bytes) = now.take() else { return Ok(None) };
                let last = later.is_empty();
                if !last {
                    let following = if whole(&later) { read()? } else { Buffer::default() };
                    now = Some(std::mem::replace(&mut later, following));
                }
                Ok(Some(Raw { job: Box::new(move || Ok(bytes)), last }))
            })?;
        }
        self.report.members += 1;
        self.watch.report(|| self.report.clone());
        Ok(())
    }

    /// Starts a job that reads and encodes the files of the batch.
    fn send(&mut self) {
        self.batch_bytes = 0;
        let items = std::mem::take(&mut self.batch);
        if items.is_empty() {
            return;
        }
        let (source, check) = (self.container.source.clone(), self.check);
        self.queue.push_back(pool::start(move || {
            let mut bytes = Buffer::default();
            let mut opener = Opener::default();
            let encode = |item: Item| {
                let file = OutsideFile::new(&mut opener, &item.entry, check)?;
                if !file.read_small(&mut bytes)? {
                    return Ok(Encoded::Long(item));
                }
                let stored = source.layers.encode_member(&bytes)?.into_vec();
                Ok(Encoded::Small(item, bytes.len() as u64, stored))
            };
            items.into_iter().map(encode).collect()
        }));
    }

    /// Adds all files of batches that are in flight.
    fn finish(&mut self) -> Result<()> {
        self.send();
        self.drain(0)
    }

    /// Adds the files of batches until at most `left` batches are in flight.
    fn drain(&mut self, left: usize) -> Result<()> {
        while self.queue.len() > left {
            let Some(result) = self.queue.pop_front() else { break };
            for file in pool::receive(&result)? {
                let (item, size, stored) = match file {
                    Encoded::Small(item, size, stored) => (item, size, stored),
                    Encoded::Long(item) => {
                        let (file, about) = self.opener.open(&item.entry)?;
                        let input = Input::new(file, &item.entry.path, about.size);
                        self.stream(&item, input)?;
                        continue;
                    }
                };
                self.container.put_small(
                    &item.name,
                    MemberType::File,
                    size,
                    item.attributes(),
                    stored,
                )?;
                self.report.bytes += size;
                self.report.members += 1;
                self.report.name = Some(item.name);
                self.watch.report(|| self.report.clone());
                self.watch.cancel.check()?;
            }
        }
        Ok(())
    }
}
