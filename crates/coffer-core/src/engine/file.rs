//! Reading a coffer's file: its bytes, its blocks, its members.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::buffer::Buffer;
use crate::engine::pack_cache::{PackCache, Tar};
use crate::error::{self, Error, Result};
use crate::format::block::Layers;
use crate::format::catalog::{Block, Entry, Piece, Place};
use crate::format::header::Header;
use crate::format::keys::Keys;
use crate::format::record::ARCHIVE_ID;
use crate::format::record::MetaSeal;
use crate::format::tar;
use crate::io::disk::DiskNamespace;
use crate::io::storage::{Namespace, ReadAt, WriteAt};

/// An open archive file, with the keys to read it.
pub(crate) struct ArchiveFile {
    pub(crate) storage: Arc<dyn WriteAt>,
    /// The length of the file when it was asked for last; a read beyond it asks again.
    pub(crate) known_len: AtomicU64,
    /// The namespace that `path` belongs to.
    pub(crate) directory: Arc<dyn Namespace>,
    pub(crate) path: PathBuf,
    pub(crate) layers: Layers,
    pub(crate) meta: MetaSeal,
    /// The archive id: records of another coffer are rejected, even under the same key.
    pub(crate) archive: [u8; ARCHIVE_ID],
    /// The most bytes that the commits of the catalog may have together before compression.
    pub(crate) max_catalog: u64,
    /// Its packs that were decoded last.
    pub(crate) packs: PackCache,
}

/// The storage of a closed coffer.
struct Nothing;

impl ReadAt for Nothing {
    fn read_at(&self, _buf: &mut [u8], _offset: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(0)
    }
}

impl WriteAt for Nothing {
    fn write_at(&self, _buf: &[u8], _offset: u64) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn sync(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _len: u64) -> std::io::Result<()> {
        Ok(())
    }
}

impl ArchiveFile {
    /// A file with this header and these keys, which is or will be at `path`.
    pub(crate) fn new(
        storage: Arc<dyn WriteAt>,
        directory: &Arc<dyn Namespace>,
        path: &Path,
        header: &Header,
        keys: &Keys,
    ) -> Result<Self> {
        Ok(Self {
            storage,
            known_len: AtomicU64::default(),
            directory: directory.clone(),
            path: path.to_path_buf(),
            layers: header.layers(keys)?,
            meta: keys.meta(&header.kind),
            archive: header.archive,
            max_catalog: u64::MAX,
            packs: PackCache::new(),
        })
    }

    /// The file of a closed coffer: no storage, and no keys.
    pub(crate) fn closed(path: &Path) -> Self {
        let layers = Layers {
            member_level: None,
            member: None,
            container_level: 1,
            container: None,
            chunk_plain: 1,
            piece: 1,
            files: None,
        };
        Self {
            storage: Arc::new(Nothing),
            known_len: AtomicU64::default(),
            directory: Arc::new(DiskNamespace),
            path: path.to_path_buf(),
            layers,
            meta: MetaSeal::new(None),
            archive: [0; ARCHIVE_ID],
            max_catalog: u64::MAX,
            packs: PackCache::new(),
        }
    }

    /// Reads bytes of the file.
    pub(crate) fn read(&self, offset: u64, len: usize) -> Result<Buffer> {
        let end = offset.saturating_add(len as u64);
        let mut size = self.known_len.load(Ordering::Relaxed);
        if end > size {
            size = self.storage.len().map_err(|e| Error::io("fstat", &self.path, &e))?;
            self.known_len.store(size, Ordering::Relaxed);
        }
        read(&*self.storage, &self.path, size, offset, len)
    }

    /// Announces blocks that are read next, in this order.
    pub(crate) fn will_read<'a>(&self, blocks: impl IntoIterator<Item = &'a Block>) {
        let range = |block: &Block| block.offset..block.offset.saturating_add(block.len.into());
        self.storage.will_read(&blocks.into_iter().map(range).collect::<Vec<_>>());
    }

    /// The tar in a block.
    pub(crate) fn block(&self, block: &Block) -> Result<Buffer> {
        let bytes = self.read(block.offset, block.len as usize)?;
        self.layers.decode(&bytes, block).map_err(|e| damaged(block, &e))
    }

    /// The result of `read`, or `None` where it finds damage twice: a read error may be transient.
    pub(crate) fn intact<T>(&self, read: impl Fn(&Self) -> Result<T>) -> Result<Option<T>> {
        match read(self).or_else(|e| if e.is_damage() { read(self) } else { Err(e) }) {
            Ok(value) => Ok(Some(value)),
            Err(e) if e.is_damage() => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// The tar in a block, whose frame must be as long as the commit says.
    pub(crate) fn block_exactly(&self, block: &Block) -> Result<Buffer> {
        let bytes = self.read(block.offset, block.len as usize)?;
        self.layers.decode_exactly(&bytes, block).map_err(|e| damaged(block, &e))
    }

    /// The tar in a pack, from the cache or decoded.
    pub(crate) fn pack(&self, block: &Block) -> Result<Tar> {
        self.packs.get(&block.digest, || self.block(block).map(Buffer::into_vec))
    }

    /// The stored bytes of a block, checked but not opened.
    pub(crate) fn sealed_block(&self, block: &Block) -> Result<Buffer> {
        let bytes = self.read(block.offset, block.len as usize)?;
        self.layers.check(&bytes, block).map_err(|e| damaged(block, &e))?;
        Ok(bytes)
    }

    /// The stored bytes of a damaged block, with zeros where the disk cannot read it.
    pub(crate) fn remains(&self, block: &Block) -> Result<Buffer> {
        const PAGE: u64 = 4096;
        match self.read(block.offset, block.len as usize) {
            Err(e) if e.is_damage() => {}
            read => return read,
        }
        let mut bytes = vec![0; block.len as usize];
        let mut at = block.offset;
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            let len = rest.len().min((PAGE - at % PAGE) as usize);
            let (page, behind) = rest.split_at_mut(len);
            match self.read(at, len) {
                Ok(read) => page.copy_from_slice(&read),
                Err(e) if e.is_damage() => {}
                Err(e) => return Err(e),
            }
            (at, rest) = (at + len as u64, behind);
        }
        Ok(bytes.into())
    }

    /// The stored bytes of a member in a pack. Its tar header must agree with the catalog, because
    /// other readers of the tar rely on it.
    pub(crate) fn packed<'a>(
        &self,
        tar: &'a [u8],
        block: &Block,
        name: &str,
        entry: &Entry,
    ) -> Result<&'a [u8]> {
        let Place::Packed { at, stored, .. } = entry.place else {
            return Err(Error::corrupt("a member is in no pack"));
        };
        let before = tar.get(..at as usize).unwrap_or_default();
        if !before.ends_with(&heading(name, entry)?) {
            return Err(contradiction(block));
        }
        self.slice(tar, block, at, stored)
    }

    /// Compares the tar header of a large member, which is in a block of its own, with the catalog.
    pub(crate) fn check_header(&self, block: &Block, name: &str, entry: &Entry) -> Result<()> {
        if *self.block_exactly(block)? == heading(name, entry)? {
            Ok(())
        } else {
            Err(contradiction(block))
        }
    }

    /// The bytes of a piece of a large member.
    pub(crate) fn piece(&self, piece: &Piece, block: &Block) -> Result<Buffer> {
        let tar = self.block(block)?;
        let stored = self.slice(&tar, block, 0, piece.stored)?;
        self.layers.decode_member(stored, piece.raw as usize)
    }

    /// A part of a block's tar.
    pub(crate) fn slice<'a>(
        &self,
        tar: &'a [u8],
        block: &Block,
        at: u32,
        len: u32,
    ) -> Result<&'a [u8]> {
        let end = at as usize + len as usize;
        tar.get(at as usize..end).ok_or_else(|| {
            Error::corrupt(format!(
                "the block at byte {} is shorter than the catalog says",
                block.offset
            ))
        })
    }
}

/// The tar header of a member.
fn heading(name: &str, entry: &Entry) -> Result<Vec<u8>> {
    tar::header(&tar::Heading {
        name,
        member_type: entry.member_type,
        stored: entry.stored(),
        attributes: entry.attributes,
    })
}

/// The error of a block whose tar disagrees with the catalog.
pub(crate) fn contradiction(block: &Block) -> Error {
    Error::corrupt(format!(
        "in the block at byte {} the tar and the catalog contradict each other",
        block.offset
    ))
}

fn damaged(block: &Block, error: &Error) -> Error {
    Error::new(
        error.code(),
        format!("the block at byte {} is damaged: {}", block.offset, error.message()),
    )
}

/// Reads exactly `len` bytes of a file that has `size` bytes. A file that ends before is damage, not
/// an I/O error, also where it is truncated between asking for its length and the read.
pub(crate) fn read(
    storage: &dyn ReadAt,
    path: &Path,
    size: u64,
    offset: u64,
    len: usize,
) -> Result<Buffer> {
    let short = |size: &dyn std::fmt::Display| {
        Error::corrupt(format!(
            "the file ends {size}, but bytes {offset} to {} are needed",
            offset.saturating_add(len as u64)
        ))
    };
    if offset.checked_add(len as u64).is_none_or(|end| end > size) {
        return Err(short(&format_args!("at byte {size}")));
    }
    error::check_memory(len, "what is read of the file")?;
    let mut bytes = Buffer::of_len(len);
    match storage.read_at(&mut bytes, offset) {
        Ok(()) => Ok(bytes),
        Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(short(&"before them")),
        Err(e) => Err(Error::io("read", path, &e)),
    }
}
