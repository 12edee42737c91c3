//! Searching a whole file for records by their marks, wherever they stand.

use std::path::Path;

use crate::buffer::Buffer;
use crate::engine::file;
use crate::error::Result;
use crate::format::record::{self, ClearFields, MARK, TAG};
use crate::io::storage::ReadAt;
use crate::progress::Cancel;

/// How much of the file a search reads at once.
const WINDOW: u64 = 1 << 20;

/// A file to be searched.
#[derive(Clone, Copy)]
pub(super) struct Search<'a> {
    pub(super) storage: &'a dyn ReadAt,
    pub(super) path: &'a Path,
    pub(super) size: u64,
    pub(super) cancel: &'a Cancel,
}

impl Search<'_> {
    /// At most `len` bytes from `offset`, fewer where the file ends.
    pub(super) fn read(&self, offset: u64, len: u64) -> Result<Vec<u8>> {
        let len = len.min(self.size.saturating_sub(offset)) as usize;
        file::read(self.storage, self.path, self.size, offset.min(self.size), len)
            .map(Buffer::into_vec)
    }

    /// Calls `found` with the offset and the mark of whatever looks like a record with one of
    /// `tags`, in the order of the file.
    pub(super) fn marks(
        &self,
        sealed: bool,
        tags: &[[u8; TAG]],
        mut found: impl FnMut(u64, &ClearFields) -> Result<()>,
    ) -> Result<()> {
        let lead = record::mark_offset(sealed) as u64;
        let mut from = 0;
        while from < self.size {
            self.cancel.check()?;
            // Windows overlap by a mark less one byte, so that none is cut in two.
            let bytes = self.read(from, WINDOW + MARK as u64 - 1)?;
            for (at, window) in bytes.windows(MARK).enumerate() {
                if window[0] != b'c' || !tags.iter().any(|tag| window[..TAG] == *tag) {
                    continue;
                }
                let (Some(offset), Some(mark)) =
                    ((from + at as u64).checked_sub(lead), window.first_chunk::<MARK>())
                else {
                    continue;
                };
                found(offset, mark)?;
            }
            from += WINDOW;
        }
        Ok(())
    }
}
