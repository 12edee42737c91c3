//! Coffers that PyCoffer wrote: the same layers, and no catalog.
//!
//! The tar of such a coffer is read once, member by member, into a container in the temp
//! directory, sealed with a key that only this process has. The first flush moves that container
//! to the coffer's place.

use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use crate::chunk;
use crate::container::{Attributes, Container, Raw, SMALL};
use crate::error::{Code, Error, Result};
use crate::frame;
use crate::header::{Header, Keys, container_seal};
use crate::kind::Kind;
use crate::name;
use crate::record;
use crate::seal::{self, Seal};
use crate::source::Source;
use crate::storage::Storage;
use crate::watch::Cancel;

const OWN_RECORD: &str =
    "a record of Coffer's own is in it: the file is no legacy coffer, its header was taken away";

/// How much of the file is read at once.
const READ: usize = 1 << 20;

/// Reads a legacy coffer into a new container, which is to take its place.
pub(crate) fn import(
    storage: &dyn Storage,
    source: Source,
    header: Header,
    keys: &Keys,
    durable: bool,
    cancel: &Cancel,
) -> Result<Container> {
    let kind = header.kind;
    let path = source.path.clone();
    let mut container = Container::create(source, header, durable)?;
    let stream = stream(storage, &path, &kind, keys)?;
    let mut archive = tar::Archive::new(stream);
    let mut directories = Vec::new();
    let entries = archive.entries().map_err(|e| damaged(&e))?;
    for entry in entries {
        cancel.check()?;
        let mut entry = entry.map_err(|e| damaged(&e))?;
        let raw = escaped(&entry.path_bytes());
        let member =
            raw.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/').to_owned();
        let attributes = attributes(&mut entry)?;
        match entry.header().entry_type() {
            tar::EntryType::Directory => {
                if !member.is_empty() {
                    directories.push((safe(&member)?.to_owned(), attributes));
                }
            }
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let member = safe(&member)?;
                let expected = entry.size();
                let mut counted = Counted { inner: &mut entry, read: 0 };
                let content = member_stream(&mut counted, &kind, keys)?;
                put(&mut container, member, attributes, content)
                    .map_err(|e| e.of_member(member))?;
                // The member layer may end before its entry does: then something else follows.
                if counted.read != expected {
                    return Err(
                        Error::corrupt("a member does not fill its entry").of_member(member)
                    );
                }
            }
            other => {
                return Err(Error::new(
                    Code::UnsafePath,
                    format!("{member:?} is neither a file nor a directory, but {other:?}: PyCoffer does not write that"),
                )
                .of_member(&member));
            }
        }
    }
    drain(archive.into_inner(), cancel)?;
    for (member, attributes) in directories {
        let known = {
            let view = container.view.read();
            view.catalog.get(&member).is_some() || view.catalog.has_below(&member)
        };
        if !known {
            container.put_small(&member, true, 0, attributes, Vec::new())?;
        }
    }
    container.settle()?;
    Ok(container)
}

/// Reads what follows the last entry. No member is in it, but it is to be as it was written, too.
fn drain(mut rest: impl Read, cancel: &Cancel) -> Result<()> {
    let mut buffer = vec![0; READ];
    while rest.read(&mut buffer).map_err(|e| damaged(&e))? > 0 {
        cancel.check()?;
    }
    Ok(())
}

/// The tar of a legacy coffer.
fn stream<'a>(
    storage: &'a dyn Storage,
    path: &Path,
    kind: &Kind,
    keys: &Keys,
) -> Result<Box<dyn Read + 'a>> {
    let size = storage.len().map_err(|e| Error::io("fstat", path, &e))?;
    let file = FileReader { storage, at: 0, size };
    let inner: Box<dyn Read + 'a> = match container_seal(kind, keys)? {
        Some(seal) => {
            let mut chunks = Chunks::new(io::BufReader::with_capacity(READ, file), seal);
            chunks.fill().map_err(|e| first_chunk(&e))?;
            Box::new(chunks)
        }
        None => {
            refuse_own_frames(storage, path, size)?;
            Box::new(file)
        }
    };
    let decoder = zstd::stream::read::Decoder::new(inner).map_err(|e| damaged(&e))?;
    Ok(Box::new(decoder))
}

/// A member's bytes, the member layer taken off.
pub(crate) fn member_stream<'a>(
    entry: impl Read + 'a,
    kind: &Kind,
    keys: &Keys,
) -> Result<Box<dyn Read + 'a>> {
    let opened: Box<dyn Read + 'a> = match (kind.member.cipher, &keys.secure) {
        (Some(cipher), Some(key)) => Box::new(Chunks::new(entry, seal::make(cipher, key)?)),
        _ => Box::new(entry),
    };
    if kind.member.level.is_none() {
        return Ok(opened);
    }
    let decoder = zstd::stream::read::Decoder::new(opened).map_err(|e| damaged(&e))?;
    Ok(Box::new(decoder))
}

/// Puts a member whose length is not known.
pub(crate) fn put(
    container: &mut Container,
    member: &str,
    attributes: Attributes,
    mut content: Box<dyn Read + '_>,
) -> Result<()> {
    let mut read = |limit: usize| -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        content
            .by_ref()
            .take(limit as u64)
            .read_to_end(&mut bytes)
            .map_err(|e| member_error(&e))?;
        Ok(bytes)
    };
    let piece = container.source.layers.piece;
    let mut ahead = read(piece)?;
    if ahead.len() as u64 <= SMALL && ahead.len() < piece {
        let stored = container.source.layers.encode_member(&ahead)?;
        return container.put_small(member, false, ahead.len() as u64, attributes, stored);
    }
    container.put_large(member, attributes, &[], || {
        if ahead.is_empty() {
            return Ok(None);
        }
        let bytes = std::mem::replace(&mut ahead, read(piece)?);
        Ok(Some(Raw { job: Box::new(move || Ok(bytes)), last: ahead.is_empty() }))
    })
}

pub(crate) fn attributes<R: Read>(entry: &mut tar::Entry<'_, R>) -> Result<Attributes> {
    let mode = entry.header().mode().map_err(|e| damaged(&e))? & 0o777;
    let mut mtime = (entry.header().mtime().map_err(|e| damaged(&e))? as i64, 0);
    if let Some(extensions) = entry.pax_extensions().map_err(|e| damaged(&e))? {
        for extension in extensions.flatten() {
            if let (Ok("mtime"), Ok(value)) = (extension.key(), extension.value()) {
                mtime = decimal(value).unwrap_or(mtime);
            }
        }
    }
    Ok(Attributes { mode, mtime_s: mtime.0, mtime_ns: mtime.1 })
}

/// Seconds and nanoseconds of a decimal number, rounded down.
fn decimal(value: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    match (value.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds - 1, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

pub(crate) fn safe(member: &str) -> Result<&str> {
    match name::fault(member) {
        None => Ok(member),
        Some(fault) => Err(Error::new(
            Code::UnsafePath,
            format!("the coffer names a member {member:?}, which is refused: {fault}"),
        )),
    }
}

/// A name as text. Bytes that are not UTF-8 become `\xNN`.
pub(crate) fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

/// The sealed chunks of a stream, opened one after another.
struct Chunks<R> {
    inner: R,
    seal: Arc<dyn Seal>,
    plain: Vec<u8>,
    at: usize,
    done: bool,
}

impl<R: Read> Chunks<R> {
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

impl<R: Read> Read for Chunks<R> {
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
    storage: &'a dyn Storage,
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

struct Counted<R> {
    inner: R,
    read: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(out)?;
        self.read += n as u64;
        Ok(n)
    }
}

/// Refuses an unsealed file with a record of Coffer's own in it.
fn refuse_own_frames(storage: &dyn Storage, path: &Path, size: u64) -> Result<()> {
    let magic = frame::SKIPPABLE_MAGIC.to_le_bytes();
    let tags = [record::HEADER_TAG, record::SALT_TAG, record::COMMIT_TAG, record::FOOTER_TAG];
    let mut at = 0;
    while at < size {
        let len = (size - at).min(READ as u64 + 12) as usize;
        let bytes = crate::source::read(storage, path, at, len)?;
        let own = bytes.windows(12).any(|w| w[..4] == magic && tags.iter().any(|t| w[8..] == *t));
        if own {
            return Err(Error::corrupt(
                "the file begins like a legacy coffer, but a record of Coffer's own is in it: its header was taken away",
            ));
        }
        at += READ as u64;
    }
    Ok(())
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
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
