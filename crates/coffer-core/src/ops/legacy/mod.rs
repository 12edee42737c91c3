//! The import of coffers in PyCoffer's format: the same layers, and no catalog.
//!
//! The tar of such a coffer is read once, member by member, into a container in the temp
//! directory, sealed with a key that only this process has. The first flush moves that container
//! to the coffer's path.

mod entries;

pub(crate) use entries::{Entries, LegacyEntry};

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::crypto::seal::{self, Seal};
use crate::engine::container::{Container, Raw, SMALL};
use crate::engine::file::ArchiveFile;
use crate::engine::limits::Limits;
use crate::error::{Code, Error, Result};
use crate::format::chunk;
use crate::format::commit_parts;
use crate::format::frame;
use crate::format::header::{Header, container_seal};
use crate::format::keys::Keys;
use crate::format::kind::Kind;
use crate::format::member::{Attributes, MemberType};
use crate::format::name;
use crate::format::record;
use crate::io::storage::ReadAt;
use crate::progress::Cancel;

const OWN_RECORD: &str =
    "it has a record of Coffer's own: the file is no legacy coffer, its header was removed";

/// Bytes of the file that are read at once.
const READ: usize = 1 << 20;

/// About the bytes that a commit takes to list a member, its name not counted.
const MEMBER: u64 = 40;

/// The options of importing a legacy coffer.
pub(crate) struct ImportOptions<'a> {
    pub(crate) durable: bool,
    /// The most bytes that it may unpack to.
    pub(crate) limits: Limits,
    /// The most bytes of the list of its members, as a commit would list them.
    pub(crate) max_catalog: u64,
    pub(crate) cancel: &'a Cancel,
}

/// Imports a legacy coffer into a new container, `source`, which is to replace it.
pub(crate) fn import(
    storage: &dyn ReadAt,
    source: ArchiveFile,
    header: Header,
    keys: &Keys,
    options: &ImportOptions<'_>,
) -> Result<Container> {
    let kind = header.kind;
    let path = source.path.clone();
    let container = Container::create(source, header, options.durable)?;
    let unpacked = UnpackBudget { limits: options.limits, total: 0 };
    let directories = Vec::new();
    let mut import = Import { container, kind, keys, options, unpacked, catalog: 0, directories };
    let mut entries = Entries::new(stream(storage, &path, &kind, keys)?);
    while let Some(entry) = entries.next().map_err(|e| damaged(&e))? {
        options.cancel.check()?;
        import.entry(&entry, &mut entries)?;
    }
    entries.end().map_err(|e| damaged(&e))?;
    import.finish()
}

/// An import under way.
struct Import<'a> {
    container: Container,
    kind: Kind,
    keys: &'a Keys,
    options: &'a ImportOptions<'a>,
    unpacked: UnpackBudget,
    /// Bytes that a commit would take to list the members so far.
    catalog: u64,
    /// The directories. They are put last: one with members in it is no member itself.
    directories: Vec<(String, Attributes)>,
}

impl Import<'_> {
    /// Puts the member of one entry, whose content `entries` gives.
    fn entry<R: Read>(&mut self, entry: &LegacyEntry, entries: &mut Entries<R>) -> Result<()> {
        let member = entry.member_name();
        self.catalog = self.catalog.saturating_add(MEMBER + member.len() as u64);
        commit_parts::check_size(self.catalog, self.options.max_catalog)?;
        match entry.kind {
            tar::EntryType::Directory if member.is_empty() => Ok(()),
            tar::EntryType::Directory => {
                self.directories.push((safe(&member)?.to_owned(), entry.attributes()));
                Ok(())
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let member = safe(&member)?;
                let content = member_stream(&mut *entries, &self.kind, self.keys)?;
                put(&mut self.container, member, entry.attributes(), content, &mut self.unpacked)
                    .map_err(|e| conflict(e).of_member(member))?;
                // The member layer may end before its entry does.
                if entries.is_read() {
                    return Ok(());
                }
                Err(Error::corrupt("a member does not fill its entry").of_member(member))
            }
            other => Err(Error::new(
                Code::UnsafePath,
                format!("{member:?} is neither a file nor a directory, but {other:?}: PyCoffer does not write that"),
            )
            .of_member(&member)),
        }
    }

    /// Puts the directories that no member is in.
    fn finish(mut self) -> Result<Container> {
        for (member, attributes) in self.directories {
            let known = {
                let view = self.container.view.read();
                match view.catalog.get(&member) {
                    Some(entry) => entry.is_directory(),
                    None => view.catalog.has_below(&member),
                }
            };
            if !known {
                self.container
                    .put_small(&member, MemberType::Directory, 0, attributes, Vec::new())
                    .map_err(|e| conflict(e).of_member(&member))?;
            }
        }
        self.container.flush_pending()?;
        Ok(self.container)
    }
}

/// The tar of a legacy coffer.
fn stream<'a>(
    storage: &'a dyn ReadAt,
    path: &Path,
    kind: &Kind,
    keys: &Keys,
) -> Result<Box<dyn Read + 'a>> {
    let size = storage.len().map_err(|e| Error::io("fstat", path, &e))?;
    let file = FileReader { storage, at: 0, size };
    let inner: Box<dyn Read + 'a> = match container_seal(kind, keys)? {
        Some(seal) => {
            let mut chunks = ChunkReader::new(io::BufReader::with_capacity(READ, file), seal);
            chunks.fill().map_err(|e| first_chunk(&e))?;
            Box::new(chunks)
        }
        None => {
            refuse_own_frames(storage, path, size)?;
            Box::new(file)
        }
    };
    Ok(Box::new(frame::decoder(inner)?))
}

/// A member's bytes, the member layer taken off.
pub(crate) fn member_stream<'a>(
    entry: impl Read + 'a,
    kind: &Kind,
    keys: &Keys,
) -> Result<Box<dyn Read + 'a>> {
    let opened: Box<dyn Read + 'a> = match (kind.member.cipher, &keys.secure) {
        (Some(cipher), Some(key)) => Box::new(ChunkReader::new(entry, seal::make(cipher, key)?)),
        _ => Box::new(entry),
    };
    if kind.member.level.is_none() {
        return Ok(opened);
    }
    Ok(Box::new(frame::decoder(opened)?))
}

/// The bytes unpacked so far, and their limits.
#[derive(Default)]
pub(crate) struct UnpackBudget {
    limits: Limits,
    total: u64,
}

impl UnpackBudget {
    /// Counts bytes more of a member, which has `size` bytes so far.
    fn add(&mut self, member: &str, size: u64, more: u64) -> Result<()> {
        self.total = self.total.saturating_add(more);
        self.limits.check_so_far(member, size, self.total)
    }
}

/// The error for a member that could not be put: a name that is a file and a directory is damage.
fn conflict(error: Error) -> Error {
    match error.code() {
        Code::MemberExists | Code::IsDirectory => {
            Error::corrupt("the legacy coffer is damaged: a name is a file and a directory in it")
        }
        _ => error,
    }
}

/// Puts a member of unknown length.
pub(crate) fn put(
    container: &mut Container,
    member: &str,
    attributes: Attributes,
    mut content: Box<dyn Read + '_>,
    unpacked: &mut UnpackBudget,
) -> Result<()> {
    let mut size = 0;
    let mut read = |limit: usize| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        content
            .by_ref()
            .take(limit as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| member_error(&e))?;
        size += bytes.len() as u64;
        unpacked.add(member, size, bytes.len() as u64)?;
        Ok(bytes)
    };
    let piece = container.source.layers.piece;
    let mut ahead = read(piece)?;
    if ahead.len() as u64 <= SMALL && ahead.len() < piece {
        let stored = container.source.layers.encode_member(&ahead)?.into_vec();
        return container.put_small(
            member,
            MemberType::File,
            ahead.len() as u64,
            attributes,
            stored,
        );
    }
    container.put_large(member, attributes, &[], || {
        if ahead.is_empty() {
            return Ok(None);
        }
        let bytes = std::mem::replace(&mut ahead, read(piece)?);
        Ok(Some(Raw { job: Box::new(move || Ok(bytes.into())), last: ahead.is_empty() }))
    })
}

/// Checks the name of a member.
///
/// # Errors
/// [`Code::UnsafePath`].
pub(crate) fn safe(member: &str) -> Result<&str> {
    match name::fault(member) {
        None => Ok(member),
        Some(fault) => Err(Error::new(
            Code::UnsafePath,
            format!("the coffer names a member {member:?}, which is refused: {fault}"),
        )),
    }
}

/// A reader of the plaintext of a stream of sealed chunks.
struct ChunkReader<R> {
    inner: R,
    seal: Arc<dyn Seal>,
    /// The plaintext of the chunk that is being read, and how much of it was read.
    plain: Vec<u8>,
    at: usize,
    done: bool,
}

impl<R: Read> ChunkReader<R> {
    fn new(inner: R, seal: Arc<dyn Seal>) -> Self {
        Self { inner, seal, plain: Vec::new(), at: 0, done: false }
    }

    /// Opens the next chunk, unless the stream ends here.
    fn fill(&mut self) -> io::Result<()> {
        let mut header = [0; chunk::HEADER];
        let mut have = 0;
        while have < header.len() {
            match self.inner.read(&mut header[have..])? {
                0 => break,
                n => have += n,
            }
        }
        if have == 0 {
            self.done = true;
            return Ok(());
        }
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
        if have < header.len() || len > chunk::MAX_SEALED {
            return Err(invalid("a chunk is cut short or too long"));
        }
        if header[4..].iter().any(|b| *b != 0) {
            return Err(invalid(OWN_RECORD));
        }
        let mut sealed = Vec::new();
        self.inner.by_ref().take(len as u64).read_to_end(&mut sealed)?;
        if sealed.len() < len {
            return Err(invalid("a chunk is cut short or too long"));
        }
        self.plain.clear();
        self.at = 0;
        self.seal
            .open(&sealed, &mut self.plain)
            .map_err(|_| invalid("a chunk does not authenticate"))?;
        if record::is_plain_record(&self.plain) { Err(invalid(OWN_RECORD)) } else { Ok(()) }
    }
}

impl<R: Read> Read for ChunkReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.at == self.plain.len() && !self.done {
            self.fill()?;
        }
        let rest = self.plain.get(self.at..).unwrap_or_default();
        let n = rest.len().min(out.len());
        out[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Ok(n)
    }
}

struct FileReader<'a> {
    storage: &'a dyn ReadAt,
    at: u64,
    size: u64,
}

impl Read for FileReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = (self.size - self.at).min(out.len() as u64) as usize;
        self.storage.read_at(&mut out[..n], self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

/// Refuses an unsealed file that has one of Coffer's records.
fn refuse_own_frames(storage: &dyn ReadAt, path: &Path, size: u64) -> Result<()> {
    let magic = frame::SKIPPABLE_MAGIC.to_le_bytes();
    let tags = [record::HEADER_TAG, record::SALT_TAG, record::COMMIT_TAG, record::FOOTER_TAG];
    let mut at = 0;
    while at < size {
        let len = (size - at).min(READ as u64 + 12) as usize;
        let bytes = crate::engine::file::read(storage, path, size, at, len)?;
        let own = bytes.windows(12).any(|w| w[..4] == magic && tags.iter().any(|t| w[8..] == *t));
        if own {
            return Err(Error::corrupt(
                "the file begins like a legacy coffer, but has a record of Coffer's own: its header was removed",
            ));
        }
        at += READ as u64;
    }
    Ok(())
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it is cut short")
}

fn first_chunk(error: &io::Error) -> Error {
    if error.to_string().contains("authenticate") {
        return Error::new(Code::WrongKey, "cofferKey does not open the coffer's first chunk");
    }
    damaged(error)
}

fn damaged(error: &io::Error) -> Error {
    Error::corrupt(format!("the legacy coffer is damaged: {error}"))
}

fn member_error(error: &io::Error) -> Error {
    if error.to_string().contains("authenticate") {
        return Error::new(
            Code::WrongKey,
            "secureKey does not open the member, or the member is damaged",
        );
    }
    damaged(error)
}
