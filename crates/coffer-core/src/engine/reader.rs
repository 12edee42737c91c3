//! Reading members through a handle, while compaction may move them and other handles change them.

use crate::engine::limits::Limits;
use crate::engine::member::no_member;
use crate::format::member::MemberType;
use std::sync::{Arc, Mutex, PoisonError};

use zeroize::Zeroizing;

use crate::engine::file::ArchiveFile;
use crate::engine::member::MemberLocation;
use crate::engine::recovery;
use crate::engine::selection::{Selection, choose};
use crate::engine::view::Shared;
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Catalog, Entry};
use crate::format::commit::CommitId;
use crate::format::name;

/// A member, as a caller sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// A directory: one that is a member itself, or that the names below it imply.
    pub member_type: MemberType,
    /// Bytes.
    pub size: u64,
    /// Bytes after the member layer: what stands in the tar.
    pub stored_size: u64,
    /// Modification time, seconds since 1970.
    pub mtime_s: i64,
    /// Modification time, nanoseconds of the second.
    pub mtime_ns: u32,
    /// Permission bits.
    pub mode: u32,
}

impl Member {
    fn new(name: &str, entry: &Entry) -> Self {
        Self {
            name: name.to_owned(),
            member_type: entry.member_type,
            size: entry.size,
            stored_size: entry.stored(),
            mtime_s: entry.attributes.mtime_s,
            mtime_ns: entry.attributes.mtime_ns,
            mode: entry.attributes.mode,
        }
    }
}

/// A part of a member.
#[derive(Debug)]
pub struct Range {
    /// The bytes; fewer than were asked for where the member ends.
    pub bytes: Vec<u8>,
    /// The version of the member they are from.
    pub version: u64,
    /// The size of the whole member.
    pub size: u64,
}

/// The most bytes of a member that is opened on the caller's thread: handing a larger one to the
/// pool costs less than opening it.
const AT_ONCE: u64 = 8 << 10;

/// How often a member that moves while it is read is located again.
const ATTEMPTS: usize = 16;

/// Reads members by name.
pub(crate) struct Reader {
    pub(crate) view: Arc<Shared>,
    /// For a handle that only reads: a newer commit than its own, read when a block that it needs is
    /// gone. A handle that writes always has the newest.
    newer: Option<Mutex<Option<Arc<Newer>>>>,
    /// The commit that such a handle stays on.
    own: CommitId,
    /// The limits on what callers get.
    pub(crate) limits: Limits,
}

struct Newer {
    generation: u64,
    catalog: Catalog,
}

impl Reader {
    /// For a handle that writes.
    pub(crate) fn of_writer(view: Arc<Shared>) -> Self {
        Self { view, newer: None, own: CommitId::default(), limits: Limits::default() }
    }

    /// For a handle that stays on a commit.
    pub(crate) fn of_commit(view: Arc<Shared>, own: CommitId) -> Self {
        Self { view, newer: Some(Mutex::new(None)), own, limits: Limits::default() }
    }

    /// The commit that a handle for reading stays on.
    pub(crate) fn commit(&self) -> CommitId {
        self.own
    }

    /// The same with limits on what callers get.
    pub(crate) fn within(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// Gives `take` the members whose names begin with `prefix` and come behind `after`, at most `limit`.
    pub(crate) fn each_member(
        &self,
        prefix: Option<&str>,
        after: Option<&str>,
        limit: Option<usize>,
        take: impl FnMut(Member),
    ) {
        let view = self.view.read();
        let page = view.catalog.page(prefix.unwrap_or_default(), after);
        let page = page.take(limit.unwrap_or(usize::MAX));
        page.map(|(name, entry)| Member::new(name, &entry)).for_each(take);
    }

    pub(crate) fn stat(&self, member: &str) -> Result<Option<Member>> {
        let member = name::check(member)?;
        let view = self.view.read();
        if let Some(entry) = view.catalog.get(member) {
            return Ok(Some(Member::new(member, &entry)));
        }
        // A directory that exists by what is in it is as new as the newest of that.
        let newest = view
            .catalog
            .below(member)
            .map(|(_, e)| (e.attributes.mtime_s, e.attributes.mtime_ns))
            .max();
        Ok(newest.map(|(mtime_s, mtime_ns)| Member {
            name: member.to_owned(),
            member_type: MemberType::Directory,
            size: 0,
            stored_size: 0,
            mtime_s,
            mtime_ns,
            mode: 0o755,
        }))
    }

    pub(crate) fn versions(&self, selection: &Selection) -> Result<Vec<(Member, u64)>> {
        let view = self.view.read();
        let members = choose(&view.catalog, selection)?;
        Ok(members.iter().map(|(name, e)| (Member::new(name, e), e.version)).collect())
    }

    pub(crate) fn has(&self, member: &str) -> Result<bool> {
        let member = name::check(member)?;
        Ok(self.view.read().catalog.has(member))
    }

    /// Whether there is a member, unless the writer holds the catalog.
    pub(crate) fn has_at_once(&self, member: &str) -> Option<bool> {
        let member = name::check(member).ok()?;
        Some(self.view.try_read()?.catalog.has(member))
    }

    /// A member, if it is there and the catalog is not locked by the writer.
    pub(crate) fn stat_at_once(&self, member: &str) -> Option<Member> {
        let member = name::check(member).ok()?;
        Some(Member::new(member, &self.view.try_read()?.catalog.get(member)?))
    }

    /// The bytes of a small member, if they are in memory already and no lock has to be waited for.
    /// In every other case `None`: [`Self::read_whole`] reads the member or gives the error.
    pub(crate) fn read_at_once(&self, member: &str) -> Option<Zeroizing<Vec<u8>>> {
        let member = name::check(member).ok()?;
        let view = self.view.try_read()?;
        let entry = view.catalog.get(member)?;
        let large = entry.size > AT_ONCE || entry.stored() > AT_ONCE;
        if entry.is_directory() || large || self.limits.check_one(member, entry.size).is_err() {
            return None;
        }
        let found = MemberLocation::in_catalog(&view.catalog, member, &entry).ok()?;
        let source = view.source.clone();
        drop(view);
        found.cached(&source)
    }

    /// Reads a version of a member whole, whatever the limits: for calls that check them themselves, or
    /// hand out no bytes.
    pub(crate) fn read_version(&self, member: &str, version: u64) -> Result<Range> {
        self.read_within(&Limits::default(), member, 0..u64::MAX, u64::MAX, Some(version))
    }

    /// Reads a member whole, unless it has more than `most` bytes.
    pub(crate) fn read_whole(&self, member: &str, most: u64) -> Result<Range> {
        let member = name::check(member)?;
        self.with(member, None, |found, source| {
            let size = found.entry.size;
            self.limits.check_one(member, size)?;
            let count = usize::try_from(size).ok().filter(|_| size <= most).ok_or_else(|| {
                Error::new(
                    Code::Limit,
                    format!(
                        "{member:?} has {size} bytes, more than can be returned at once: read it in ranges, or as a stream"
                    ),
                )
            })?;
            Ok(Range { bytes: found.read(source, 0, count)?, version: found.entry.version, size })
        })
        .map_err(|e| e.of_member(member))
    }

    /// Reads from `start` at least `len` bytes, and up to `most` where they have to be decoded
    /// anyway. Fewer where the member ends. With `version`, only of that version.
    pub(crate) fn read_on(
        &self,
        member: &str,
        start: u64,
        len: u64,
        most: u64,
        version: Option<u64>,
    ) -> Result<Range> {
        let wanted = start..start.saturating_add(len);
        self.read_within(&self.limits, member, wanted, most, version)
    }

    fn read_within(
        &self,
        limits: &Limits,
        member: &str,
        wanted: std::ops::Range<u64>,
        most: u64,
        version: Option<u64>,
    ) -> Result<Range> {
        let member = name::check(member)?;
        self.with(member, version, |found, source| {
            let size = found.entry.size;
            limits.check_one(member, size)?;
            let start = wanted.start.min(size);
            let end = found.decoded_to(wanted.end.min(size));
            let len = (end - start).min(most);
            let count = usize::try_from(len).map_err(|_| {
                Error::new(Code::Limit, "the member does not fit into memory: read it in ranges")
            })?;
            Ok(Range {
                bytes: found.read(source, start, count)?,
                version: found.entry.version,
                size,
            })
        })
        .map_err(|e| e.of_member(member))
    }

    /// Gives the pieces of a version of a member that begin in `len` bytes from `start` to `take`,
    /// with the offset of each, in parallel and in no order; some of them twice if they moved
    /// meanwhile. Returns where the last of them ends.
    pub(crate) fn each_piece(
        &self,
        member: &str,
        version: u64,
        start: u64,
        len: u64,
        take: &(impl Fn(u64, &[u8]) -> Result<()> + Sync),
    ) -> Result<u64> {
        self.with(member, Some(version), |found, source| found.each_piece(source, start, len, take))
            .map_err(|e| e.of_member(member))
    }

    /// Calls `act` with a member's blocks, and again if they moved meanwhile.
    pub(crate) fn with<T>(
        &self,
        member: &str,
        version: Option<u64>,
        act: impl Fn(&MemberLocation, &ArchiveFile) -> Result<T>,
    ) -> Result<T> {
        let (mut found, mut source) = self.find(member, version)?;
        let mut generation = self.own.generation;
        for _ in 0..ATTEMPTS {
            let error = match act(&found, &source) {
                Err(e) if e.code() == Code::Corrupt => e,
                other => return other,
            };
            let Some(newer) = &self.newer else {
                let (now, now_source) = self.find(member, version)?;
                if now.entry == found.entry && Arc::ptr_eq(&source, &now_source) {
                    return Err(error);
                }
                (found, source) = (now, now_source);
                continue;
            };
            let Some(latest) = latest(newer, &source, &self.own, generation)? else {
                return Err(error);
            };
            let same = latest.catalog.get(member).filter(|e| e.version == found.entry.version);
            let Some(entry) = same else { return Err(stale(member)) };
            found = MemberLocation::in_catalog(&latest.catalog, member, &entry)?;
            generation = latest.generation;
        }
        Err(stale(member))
    }

    /// Whether a member is still what and where `entry` says, in the newest state there is.
    pub(crate) fn still_there(
        &self,
        member: &str,
        entry: &Entry,
        source: &ArchiveFile,
    ) -> Result<bool> {
        let Some(newer) = &self.newer else {
            // In a file that was compacted since, another block may have the same number.
            let view = self.view.read();
            let here = std::ptr::eq(&*view.source, source);
            return Ok(here && view.catalog.get(member).as_ref() == Some(entry));
        };
        // A commit that was read before may be older than the one that freed the block: only one that
        // is read now, behind it, tells.
        let mut generation = self.own.generation;
        for _ in 0..ATTEMPTS {
            let Some(latest) = latest(newer, source, &self.own, generation)? else {
                return Ok(true);
            };
            if latest.catalog.get(member).as_ref() != Some(entry) {
                break;
            }
            generation = latest.generation;
        }
        Ok(false)
    }

    fn find(
        &self,
        member: &str,
        version: Option<u64>,
    ) -> Result<(MemberLocation, Arc<ArchiveFile>)> {
        let view = self.view.read();
        let Some(entry) = view.catalog.get(member) else {
            return Err(match version {
                Some(_) => stale(member),
                None if view.catalog.has_below(member) => is_directory(member),
                None => no_member(member),
            });
        };
        if version.is_some_and(|v| v != entry.version) {
            return Err(stale(member));
        }
        if entry.is_directory() {
            return Err(is_directory(member));
        }
        Ok((MemberLocation::in_catalog(&view.catalog, member, &entry)?, view.source.clone()))
    }
}

/// The newest commit in the file, if it is newer than `generation` and descends from `own`. One that
/// does not is no later state of the coffer that was opened: the file was put in its place.
fn latest(
    newer: &Mutex<Option<Arc<Newer>>>,
    source: &ArchiveFile,
    own: &CommitId,
    generation: u64,
) -> Result<Option<Arc<Newer>>> {
    let mut newer = newer.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = newer.as_ref().filter(|n| n.generation > generation) {
        return Ok(Some(known.clone()));
    }
    let look = || {
        let size = source.storage.len().map_err(|e| Error::io("fstat", &source.path, &e))?;
        let mut newest = recovery::newest(source, size)?;
        if newest.position.generation <= generation {
            return Ok(None);
        }
        if !recovery::has_ancestor(source, &newest, own.generation, &own.digest)? {
            return Ok(None);
        }
        let catalog = recovery::catalog(source, &mut newest)?.catalog;
        Ok(Some(Arc::new(Newer { generation: newest.position.generation, catalog })))
    };
    let found = recovery::steadily(&*source.storage, look, |_| true)?;
    if let Some(found) = &found {
        *newer = Some(found.clone());
    }
    Ok(found)
}

fn is_directory(member: &str) -> Error {
    let message = format!("{member:?} is a directory, not a file: give the name of a file in it");
    Error::new(Code::IsDirectory, message).of_member(member)
}

fn stale(member: &str) -> Error {
    Error::new(
        Code::Stale,
        format!("{member:?} was replaced or deleted since this handle looked at the coffer: open the coffer again"),
    )
    .of_member(member)
}
