//! The engine's results, as plain data for JavaScript.
//!
//! Sizes are JavaScript numbers, exact up to 2^53.

use std::borrow::Cow;
use std::sync::Arc;

use coffer_core::coffer::{
    Added, Entry, Extracted, Extraction, Info, Item, Kind, Member, Notice, Range, Refused, Root,
    Selection, Skipped, Status, Verified,
};
use coffer_core::format::kind::Layer;
use napi::bindgen_prelude::{BigInt, Buffer};
use napi_derive::napi;

use crate::errno::node_errno;
use crate::options::{NativeCommit, NativeDerivation, NativeLayer, limits};

/// A time: whole seconds since 1970, rounded down, and the nanoseconds after them.
#[napi(object)]
pub struct NativeTime {
    /// Seconds.
    pub seconds: f64,
    /// Nanoseconds, below 1,000,000,000.
    pub nanoseconds: u32,
    /// The seconds where `seconds` cannot hold them exactly.
    pub exact: Option<BigInt>,
}

/// The number of seconds from which on a JavaScript number may be inexact.
const ROUNDED: u64 = 1 << 53;

impl NativeTime {
    pub(crate) fn into_core(self) -> (i64, u32) {
        let seconds = self.exact.map_or(self.seconds as i64, |exact| exact.get_i64().0);
        (seconds, self.nanoseconds)
    }

    pub(crate) fn from_core(seconds: i64, nanoseconds: u32) -> Self {
        let exact = (seconds.unsigned_abs() >= ROUNDED).then(|| BigInt::from(seconds));
        Self { seconds: seconds as f64, nanoseconds, exact }
    }
}

/// A member or a directory.
#[napi(object)]
pub struct NativeMember {
    /// Its name.
    pub name: String,
    /// Whether it is a directory.
    pub directory: bool,
    /// Its bytes.
    pub size: f64,
    /// Its bytes in the coffer.
    pub stored_size: f64,
    /// When it was changed last.
    pub mtime: NativeTime,
    /// Its permission bits.
    pub mode: u32,
}

impl From<Member> for NativeMember {
    fn from(member: Member) -> Self {
        Self {
            name: member.name,
            directory: member.member_type.is_directory(),
            size: member.size as f64,
            stored_size: member.stored_size as f64,
            mtime: NativeTime::from_core(member.mtime_s, member.mtime_ns),
            mode: member.mode,
        }
    }
}

/// A version of a member.
#[napi(object, object_from_js = false)]
pub struct NativeVersion {
    /// The member.
    pub member: NativeMember,
    /// Its version.
    pub version: BigInt,
}

impl From<(Member, u64)> for NativeVersion {
    fn from((member, version): (Member, u64)) -> Self {
        Self { member: member.into(), version: version.into() }
    }
}

/// A range of a member.
#[napi(object, object_from_js = false)]
pub struct NativeRange {
    /// The bytes: fewer than asked for at the end of the member.
    pub bytes: Buffer,
    /// The version of the member.
    pub version: BigInt,
    /// The bytes of the whole member.
    pub size: f64,
}

impl From<Range> for NativeRange {
    fn from(range: Range) -> Self {
        Self { bytes: range.bytes.into(), version: range.version.into(), size: range.size as f64 }
    }
}

/// A file that `add` left out, or that `extract` left incomplete.
#[napi(object)]
pub struct NativeSkipped {
    /// Its path.
    pub path: String,
    /// The reason.
    pub reason: String,
    /// The member, where there is one.
    pub member: Option<String>,
    /// The system's error number as Node.js has it, where it refused something.
    pub errno: Option<i32>,
}

impl From<Skipped> for NativeSkipped {
    fn from(skipped: Skipped) -> Self {
        Self { path: skipped.path, reason: skipped.reason, member: None, errno: None }
    }
}

impl From<Refused> for NativeSkipped {
    fn from(Refused { member, path, reason, errno }: Refused) -> Self {
        let path = path.to_string_lossy().into_owned();
        Self { path, reason, member: Some(member), errno: errno.map(node_errno) }
    }
}

/// The result of `add`.
#[napi(object)]
pub struct NativeAdded {
    /// Files.
    pub files: f64,
    /// Directories.
    pub directories: f64,
    /// Bytes of the files.
    pub bytes: f64,
    /// The files that were left out.
    pub skipped: Vec<NativeSkipped>,
}

impl From<Added> for NativeAdded {
    fn from(added: Added) -> Self {
        Self {
            files: added.files as f64,
            directories: added.directories as f64,
            bytes: added.bytes as f64,
            skipped: added.skipped.into_iter().map(NativeSkipped::from).collect(),
        }
    }
}

/// The options of `extract`.
#[napi(object)]
pub struct NativeExtraction {
    /// The names of the members; absent for all.
    pub names: Option<Vec<String>>,
    /// Whether members below those that are directories are included.
    pub recursive: bool,
    /// The directory that names are taken relative to.
    pub from: Option<String>,
    /// Whether the plugins' records below `.plugins/` are included where all members are extracted.
    pub plugins: bool,
    /// Whether existing files are replaced.
    pub replace: bool,
    /// Whether the members' modes are set regardless of the umask.
    pub preserve: bool,
    /// The most bytes of one member.
    pub max_member_size: Option<f64>,
    /// The most bytes of all members together.
    pub max_total_size: Option<f64>,
}

impl From<NativeExtraction> for Extraction {
    fn from(extraction: NativeExtraction) -> Self {
        let what = match extraction.names {
            None => Selection::All,
            Some(names) if extraction.recursive => Selection::Names(names),
            Some(names) => Selection::Exactly(names),
        };
        let limits = limits(extraction.max_member_size, extraction.max_total_size);
        let NativeExtraction { from, plugins, replace, preserve, .. } = extraction;
        Self { what, from, plugins, replace, preserve, limits }
    }
}

/// An entry of a directory outside.
#[napi(object)]
pub struct NativeEntry {
    /// The root of the tree that it was found in.
    pub root: String,
    /// The device and the inode of that root.
    pub root_id: Option<Vec<BigInt>>,
    /// Its path.
    pub path: String,
    /// Its type.
    #[napi(ts_type = "'file' | 'directory' | 'link' | 'pipe' | 'other'")]
    pub kind: String,
    /// Whether it is a link that is followed to a file.
    pub linked: bool,
    /// The system's error number as Node.js has it, if its type could not be determined.
    pub errno: Option<i32>,
    /// The reason why it is left out, if it is neither a file nor a directory.
    pub reason: Option<String>,
    /// The bytes of a file.
    pub size: f64,
    /// When it was changed last.
    pub mtime: NativeTime,
    /// Its permission bits.
    pub mode: u32,
}

impl From<Entry> for NativeEntry {
    fn from(entry: Entry) -> Self {
        let kind = match entry.kind {
            Kind::File => "file",
            Kind::Directory => "directory",
            Kind::Link => "link",
            Kind::Pipe => "pipe",
            Kind::Other => "other",
        };
        Self {
            root: entry.root.path.to_string_lossy().into_owned(),
            root_id: entry.root.id.map(|(device, number)| vec![device.into(), number.into()]),
            linked: entry.linked,
            errno: entry.errno.map(node_errno),
            path: entry.path.to_string_lossy().into_owned(),
            kind: kind.to_owned(),
            reason: entry.reason.map(Cow::into_owned),
            size: entry.size as f64,
            mtime: NativeTime::from_core(entry.mtime_s, entry.mtime_ns),
            mode: entry.mode,
        }
    }
}

/// A file or directory outside that is added as a member.
#[napi(object)]
pub struct NativeItem {
    /// Its name in the coffer.
    pub name: String,
    /// The file or directory.
    pub entry: NativeEntry,
}

impl From<NativeItem> for Item {
    fn from(NativeItem { name, entry }: NativeItem) -> Self {
        Self { name, entry: entry.into() }
    }
}

impl From<NativeEntry> for Entry {
    fn from(entry: NativeEntry) -> Self {
        let kind = if entry.kind == "directory" { Kind::Directory } else { Kind::File };
        let (mtime_s, mtime_ns) = entry.mtime.into_core();
        Self {
            root: Arc::new(root(entry.root, entry.root_id.as_deref())),
            path: entry.path.into(),
            kind,
            linked: entry.linked,
            reason: None,
            errno: None,
            size: entry.size as u64,
            mode: entry.mode,
            mtime_s,
            mtime_ns,
        }
    }
}

/// The root of a tree, in the engine's form.
pub(crate) fn root(path: String, id: Option<&[BigInt]>) -> Root {
    let id = match id {
        Some([device, number]) => Some((device.get_u64().1, number.get_u64().1)),
        _ => None,
    };
    Root { path: path.into(), id }
}

/// The result of `extract`.
#[napi(object)]
pub struct NativeExtracted {
    /// Files.
    pub files: f64,
    /// Directories.
    pub directories: f64,
    /// Bytes of the files.
    pub bytes: f64,
    /// The files and directories on which a system call failed.
    pub skipped: Vec<NativeSkipped>,
}

impl From<Extracted> for NativeExtracted {
    fn from(extracted: Extracted) -> Self {
        Self {
            files: extracted.files as f64,
            directories: extracted.directories as f64,
            bytes: extracted.bytes as f64,
            skipped: extracted.refused.into_iter().map(NativeSkipped::from).collect(),
        }
    }
}

/// The result of `verify`.
#[napi(object)]
pub struct NativeVerified {
    /// Members.
    pub members: f64,
    /// Blocks.
    pub blocks: f64,
    /// Bytes of the members.
    pub bytes: f64,
}

impl From<Verified> for NativeVerified {
    fn from(verified: Verified) -> Self {
        Self {
            members: verified.members as f64,
            blocks: verified.blocks as f64,
            bytes: verified.bytes as f64,
        }
    }
}

/// The kind of a coffer, its sizes, and the use of its file.
#[napi(object)]
pub struct NativeInfo {
    /// `bank`, `store`, `market`, `null` or `custom`.
    pub kind: String,
    /// The member layer.
    pub member: NativeLayer,
    /// The container layer.
    pub container: NativeLayer,
    /// Bytes in a chunk.
    pub chunk_size: u32,
    /// Bytes in a block.
    pub block_size: u32,
    /// The derivation of its keys, if they come from a passphrase.
    pub kdf: Option<NativeDerivation>,
    /// Its archive id in hexadecimal; absent in PyCoffer's format.
    pub archive_id: Option<String>,
    /// Whether the file is still in PyCoffer's format.
    pub legacy: bool,
    /// The number of the last commit.
    pub generation: f64,
    /// Members that are files.
    pub files: f64,
    /// Members that are directories.
    pub directories: f64,
    /// Bytes of the members.
    pub bytes: f64,
    /// The same after the member layer.
    pub stored_bytes: f64,
    /// Blocks.
    pub blocks: f64,
    /// Bytes of the file.
    pub file_size: f64,
    /// Bytes of live blocks.
    pub live_bytes: f64,
    /// Bytes that compaction gives back.
    pub dead_bytes: f64,
    /// Whether the handle is compacting the file.
    pub compacting: bool,
}

impl From<Info> for NativeInfo {
    fn from(info: Info) -> Self {
        let layer = |layer: Layer| NativeLayer {
            level: layer.level,
            cipher: layer.cipher.map(|cipher| cipher.as_str().to_owned()),
        };
        Self {
            kind: info.kind.name.as_str().to_owned(),
            member: layer(info.kind.member),
            container: layer(info.kind.container),
            chunk_size: info.chunk_size,
            block_size: info.piece_size,
            kdf: info.passphrase.map(NativeDerivation::from),
            archive_id: info
                .archive
                .map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect()),
            legacy: info.legacy,
            generation: info.generation as f64,
            files: info.files as f64,
            directories: info.directories as f64,
            bytes: info.bytes as f64,
            stored_bytes: info.stored_bytes as f64,
            blocks: info.blocks as f64,
            file_size: info.file_size as f64,
            live_bytes: info.live_bytes as f64,
            dead_bytes: info.dead_bytes as f64,
            compacting: info.compacting,
        }
    }
}

/// The status of a handle.
#[napi(object)]
pub struct NativeStatus {
    /// Whether it was closed.
    pub closed: bool,
    /// Whether there are changes that no commit holds yet.
    pub modified: bool,
    /// The newest commit.
    pub commit: NativeCommit,
    /// When the file was changed last, as of opening or the newest commit; absent where the system
    /// does not say.
    pub mtime: Option<NativeTime>,
}

impl From<Status> for NativeStatus {
    fn from(status: Status) -> Self {
        Self {
            closed: status.closed,
            modified: status.modified,
            commit: status.commit.into(),
            mtime: status.mtime.map(|(seconds, nanos)| NativeTime::from_core(seconds, nanos)),
        }
    }
}

/// A notice.
#[napi(object)]
pub struct NativeNotice {
    /// Its stable code.
    pub code: String,
    /// What was found, and what was done about it.
    pub message: String,
}

impl From<&Notice> for NativeNotice {
    fn from(notice: &Notice) -> Self {
        Self { code: notice.code.to_owned(), message: notice.message.clone() }
    }
}
