//! The kind, the keys and the sizes of a coffer.

use std::path::Path;

use crate::crypto::kdf::{Kdf, SALT_LEN};
use crate::engine::reader::Reader;
use crate::error::{Error, Result};
use crate::format::chunk;
use crate::format::header::Header;
use crate::format::key_source::KeySource;
use crate::format::kind::Kind;
use crate::format::record::ARCHIVE_ID;
use crate::io::beneath;

/// The kind, the keys and the sizes of a coffer. Sizes are in bytes.
#[derive(Debug, Clone)]
pub struct Info {
    /// Its kind, with its layers.
    pub kind: Kind,
    /// A full chunk, framing included.
    pub chunk_size: u32,
    /// What a full block holds of a member.
    pub piece_size: u32,
    /// How its keys come from a passphrase, if they do.
    pub passphrase: Option<([u8; SALT_LEN], Kdf)>,
    /// The archive id of its header, which stays for the life of the coffer; none in a legacy one.
    pub archive: Option<[u8; ARCHIVE_ID]>,
    /// Whether the file is still in PyCoffer's format.
    pub legacy: bool,
    /// The number of the last commit; 0 in a legacy coffer.
    pub generation: u64,
    /// Members that are files.
    pub files: u64,
    /// Members that are directories.
    pub directories: u64,
    /// Bytes of the members.
    pub bytes: u64,
    /// The same after the member layer.
    pub stored_bytes: u64,
    /// Blocks; none in a legacy coffer.
    pub blocks: u64,
    /// The file.
    pub file_size: u64,
    /// What its live blocks take. The rest that is not dead is headers and commits.
    pub live_bytes: u64,
    /// What dead blocks, superseded commits and old footers take, which compaction gives back.
    pub dead_bytes: u64,
    /// Whether the handle is compacting the file.
    pub compacting: bool,
}

/// Describes the coffer that `reader` reads, at the commit with this number or, for a handle that
/// writes, in its current state.
pub(crate) fn info(reader: &Reader, path: &Path, generation: u64) -> Result<Info> {
    let view = reader.view.read();
    let Some(Header { kind, marks, archive, chunk_plain, piece, .. }) = &view.header else {
        return Err(crate::error::closed());
    };
    let KeySource { salt, kdf } = KeySource::in_marks(marks)?;
    let catalog = &view.catalog;
    let legacy = generation == 0;
    let file_size = if legacy {
        // The view describes a sealed copy in the temp directory.
        beneath::at(path, true).map_err(|e| Error::io("stat", path, &e))?.size
    } else {
        view.source.storage.len().map_err(|e| Error::io("fstat", path, &e))?
    };
    let mut info = Info {
        kind: *kind,
        chunk_size: chunk_plain + chunk::HEADER as u32,
        piece_size: *piece,
        passphrase: kdf.map(|kdf| (salt, kdf)),
        archive: (!legacy).then_some(*archive),
        legacy,
        generation,
        files: 0,
        directories: 0,
        bytes: 0,
        stored_bytes: 0,
        blocks: catalog.blocks.len() as u64,
        file_size,
        live_bytes: catalog.blocks.values().map(|block| u64::from(block.len)).sum(),
        dead_bytes: catalog.dead,
        compacting: false,
    };
    if legacy {
        // The blocks of the view are those of that copy.
        (info.blocks, info.live_bytes, info.dead_bytes) = (0, file_size, 0);
    }
    for (_, entry) in catalog.iter() {
        *(if entry.is_directory() { &mut info.directories } else { &mut info.files }) += 1;
        info.bytes = info.bytes.saturating_add(entry.size);
        info.stored_bytes = info.stored_bytes.saturating_add(entry.stored());
    }
    Ok(info)
}
