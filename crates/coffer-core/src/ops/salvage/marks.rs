//! A search of a whole file for records by their marks, at any offset.

use std::path::Path;

use crate::buffer::Buffer;
use crate::engine::file;
use crate::error::Result;
use crate::format::mark_search::marks_in;
use crate::format::record::{self, COMMIT_TAG, FOOTER_TAG, HEADER_TAG, MARK, SALT_TAG, TAG};
use crate::io::storage::ReadAt;
use crate::progress::Cancel;

/// Bytes of the file that a search reads at once.
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

    /// Calls `found` with the offset at which each record with one of `tags` would begin, in the order
    /// of the file, until it returns true. Gives whether it did.
    pub(super) fn any_record(
        &self,
        sealed: bool,
        tags: &[[u8; TAG]],
        mut found: impl FnMut(u64) -> Result<bool>,
    ) -> Result<bool> {
        let lead = record::mark_offset(sealed) as u64;
        let mut from = 0;
        while from < self.size {
            self.cancel.check()?;
            // Windows overlap by a mark less one byte, so that none is cut in two.
            let bytes = self.read(from, WINDOW + MARK as u64 - 1)?;
            for (at, _) in marks_in(&bytes, tags) {
                let Some(offset) = (from + at as u64).checked_sub(lead) else { continue };
                if found(offset)? {
                    return Ok(true);
                }
            }
            from += WINDOW;
        }
        Ok(false)
    }

    /// Whether there is a mark in the file whose framing is that of a record within the file.
    pub(super) fn has_records(&self) -> Result<bool> {
        for sealed in [true, false] {
            let tags = [HEADER_TAG, SALT_TAG, COMMIT_TAG, FOOTER_TAG];
            let is_record = |offset: u64| {
                let bytes = self.read(offset, 2 * MARK as u64)?;
                Ok(record::peek(sealed, &bytes)
                    .is_some_and(|(_, len)| offset.saturating_add(len as u64) <= self.size))
            };
            if self.any_record(sealed, &tags, is_record)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
