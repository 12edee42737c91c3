//! Opening a coffer's file: telling what it is, and finding its newest commit.

use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use crate::engine::credentials::CredentialLookup;
use crate::engine::file::{self, ArchiveFile};
use crate::engine::recovery::{self, Loaded, Newest, Tail};
use crate::error::{Code, Error, Result};
use crate::format::chunk;
use crate::format::frame;
use crate::format::header::{self, Header};
use crate::format::keys::Keys;
use crate::format::kind::Kind;
use crate::format::mark_search;
use crate::format::record::{self, ARCHIVE_ID, COMMIT_TAG, FOOTER_TAG, HEADER_MARKS, HEADER_TAG};
use crate::io::storage::{self, Namespace, ReadAt, WriteAt};

/// Something unusual that was found at opening or later, and was repaired or ignored. Not an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `torn-tail`, `damaged-commit`, `damaged-footer`, `damaged-header`, `legacy`, `owner`, `created` or
    /// `not-compacted`.
    pub code: &'static str,
    /// What was found, and what was done about it.
    pub message: String,
}

/// The notices of a handle, which its writing thread adds to.
pub(crate) type Notices = Arc<Mutex<Vec<Notice>>>;

impl Notice {
    /// The file at `path` has another owner or group than the one it replaced; see
    /// [`owner_lost`](storage::owner_lost).
    pub(crate) fn owner(path: &Path, old: &dyn ReadAt, new: &dyn ReadAt) -> Option<Self> {
        let lost = storage::owner_lost(old, new)?;
        Some(Self { code: "owner", message: format!("{} {lost}", path.display()) })
    }
}

/// What the caller expects of a file.
pub(crate) struct Expected<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) accept_file_cipher: bool,
    pub(crate) credentials: &'a CredentialLookup<'a>,
    /// The level for what is written now, in place of the file's own.
    pub(crate) level: Option<i32>,
    /// The most bytes that the commits of the catalog may have together before compression.
    pub(crate) max_catalog: u64,
    /// Where the file lies.
    pub(crate) directory: Arc<dyn Namespace>,
}

/// A coffer that was found to be one.
pub(crate) struct Opened {
    pub(crate) source: Arc<ArchiveFile>,
    pub(crate) header: Header,
    /// The keys that opened it.
    pub(crate) keys: Keys,
    pub(crate) newest: Newest,
    pub(crate) loaded: Loaded,
    pub(crate) size: u64,
    pub(crate) notices: Vec<Notice>,
}

impl Opened {
    /// Whether nothing about it looks like damage: a write that is under way may.
    pub(crate) fn is_sound(&self) -> bool {
        let torn = |notice: &Notice| notice.code == "torn-tail";
        self.notices.iter().all(torn)
    }
}

/// What a file turned out to be.
pub(crate) enum OpenResult {
    Coffer(Box<Opened>),
    /// Not in this format, but perhaps PyCoffer's.
    Legacy,
}

/// Opens the file of a coffer.
pub(crate) fn open(
    storage: Arc<dyn WriteAt>,
    path: &Path,
    expected: &Expected<'_>,
) -> Result<OpenResult> {
    let size = storage.len().map_err(|e| Error::io("fstat", path, &e))?;
    let start = file::read(&*storage, path, size, 0, size.min(header::MAX_LEN as u64) as usize)?;
    let mut opening = Opening { storage: &storage, path, expected, size, followed: Vec::new() };
    let error = match opening.by_header(&start) {
        Ok(opened) => return Ok(OpenResult::Coffer(Box::new(opened))),
        Err(e) if is_final(&e) => return Err(e),
        Err(e) => e,
    };
    // The beginning is damaged, or it is not what the caller thinks: a copy of the header tells.
    for sealed in [true, false] {
        let mut copies = recovery::header_copies(&*storage, path, sealed, size);
        while let Some(copy) = copies()? {
            let len = (size - copy).min(header::MAX_LEN as u64) as usize;
            let bytes = file::read(&*storage, path, size, copy, len)?;
            let marks = Header::marks(&bytes);
            // An equal copy gives the same error, unless that error is damage.
            let same = marks == Header::marks(&start) && error.code() != Code::Corrupt;
            if marks.is_none() || same {
                continue;
            }
            let mut opened = match opening.by_header(&bytes) {
                Ok(opened) => opened,
                Err(e) if is_final(&e) => return Err(e),
                Err(_) => continue,
            };
            // Whatever the commit says: what is written next must name a copy that is there.
            opened.newest.commit.header_copy = copy;
            opened.notices.push(Notice {
                code: "damaged-header",
                message: format!(
                    "the header at the beginning is damaged ({}); its copy at byte {copy} was used. compact() writes it anew",
                    error.message()
                ),
            });
            return Ok(OpenResult::Coffer(Box::new(opened)));
        }
    }
    if Header::marks(&start).is_some() || has_marks(&*storage, path, size)? {
        return Err(error);
    }
    if looks_legacy(&start) { Ok(OpenResult::Legacy) } else { Err(not_a_coffer()) }
}

/// Whether an error does not come from the header, so that no copy of the header can help.
fn is_final(error: &Error) -> bool {
    matches!(error.code(), Code::Io | Code::Aborted | Code::TooLarge)
}

/// How many headers that open are followed to a commit: the first, and a copy that differs. Each
/// may cost a search of the whole file.
const MOST_FOLLOWED: usize = 2;

/// One file that is being opened, whichever of its headers it takes.
struct Opening<'a> {
    storage: &'a Arc<dyn WriteAt>,
    path: &'a Path,
    expected: &'a Expected<'a>,
    size: u64,
    /// The headers that opened.
    followed: Vec<([u8; HEADER_MARKS], [u8; ARCHIVE_ID])>,
}

impl Opening<'_> {
    /// Opens the coffer by the header that `bytes` begin with.
    fn by_header(&mut self, bytes: &[u8]) -> Result<Opened> {
        let Self { storage, path, expected, size, followed } = self;
        let (path, size) = (*path, *size);
        let Expected { credentials, kind, accept_file_cipher, .. } = expected;
        let (header, keys) = credentials.open_header(bytes, kind, *accept_file_cipher)?;
        let name = (header.marks, header.archive);
        if followed.contains(&name) || followed.len() >= MOST_FOLLOWED {
            return Err(header::damaged("what it leads to is damaged"));
        }
        followed.push(name);
        let mut wanted = header.clone();
        if let Some(level) = expected.level {
            wanted.kind = wanted.kind.with_level(level);
        }
        let storage = (*storage).clone();
        let mut source = ArchiveFile::new(storage, &expected.directory, path, &wanted, &keys)?;
        source.max_catalog = expected.max_catalog;
        let source = Arc::new(source);
        let mut newest = recovery::newest(&source, size)?;
        check_header(&header, &newest)?;
        let loaded = recovery::catalog(&source, &mut newest)?;
        let notices = notices(&newest, size);
        Ok(Opened { source, header, keys, newest, loaded, size, notices })
    }
}

/// The commits authenticate what the header says in clear.
fn check_header(header: &Header, newest: &Newest) -> Result<()> {
    let marks: &[u8; HEADER_MARKS] = &newest.commit.header;
    if header.marks == *marks && header.archive == newest.commit.archive {
        return Ok(());
    }
    Err(Error::corrupt("the header is damaged: the newest commit authenticates another"))
}

/// The notices about the end of a file of `size` bytes.
pub(crate) fn notices(newest: &Newest, size: u64) -> Vec<Notice> {
    let mut notices = Vec::new();
    // Another process may have written the newest commit after the size was asked for.
    let behind = size.saturating_sub(newest.end);
    match newest.tail {
        Tail::Clean => {}
        Tail::Torn => notices.push(Notice {
            code: "torn-tail",
            message: format!(
                "{behind} bytes of an unfinished write follow commit {}; they are not part of the coffer",
                newest.position.generation
            ),
        }),
        Tail::Authentic => notices.push(Notice {
            code: "damaged-commit",
            message: format!(
                "the coffer is open at commit {}; a later commit in the last {behind} bytes is damaged, or did not reach the disk before a crash. Opening for writing moves those bytes to a file that ends in .torn",
                newest.position.generation
            ),
        }),
    }
    if newest.footer.is_none() {
        notices.push(Notice {
            code: "damaged-footer",
            message: format!(
                "the footer of commit {} is damaged; nothing is lost",
                newest.position.generation
            ),
        });
    }
    notices
}

/// Whether the file ends with one of Coffer's footers, whatever offset it claims: then the
/// file is a coffer whose beginning is missing.
fn has_marks(storage: &dyn ReadAt, path: &Path, size: u64) -> Result<bool> {
    let from = size.saturating_sub(record::MAX_LEN as u64);
    let end = file::read(storage, path, size, from, (size - from) as usize)?;
    let is_formed = |mark: &[u8]| mark.starts_with(&HEADER_TAG) || record::is_formed(mark);
    let tags = [HEADER_TAG, COMMIT_TAG, FOOTER_TAG];
    Ok(mark_search::marks_in(&end, &tags)
        .any(|(at, mark)| is_formed(mark) && mark_search::is_in_record(&end, at)))
}

/// Whether a file may be PyCoffer's: a chunk with empty reserved bytes, or a zstd frame.
pub(crate) fn looks_legacy(start: &[u8]) -> bool {
    let sealed = start.first_chunk::<{ chunk::HEADER }>().is_some_and(|h| {
        let len = u32::from_le_bytes([h[0], h[1], h[2], h[3]]) as usize;
        len > 0 && len <= chunk::MAX_SEALED && h[4..].iter().all(|b| *b == 0)
    });
    sealed || start.starts_with(&frame::MAGIC)
}

fn not_a_coffer() -> Error {
    Error::corrupt("the file is not a coffer, or is damaged from its beginning to its end")
}
