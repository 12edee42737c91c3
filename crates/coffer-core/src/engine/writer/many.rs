//! Small members that are written together: the pool has encoded them, and the writer thread puts them into
//! packs one after the other.

use crossbeam_channel::Receiver;

use super::Writer;
use super::outcome::Outcome;
use super::packed::EncodedMember;
use super::task::Given;
use crate::engine::file::ArchiveFile;
use crate::error::Result;
use crate::format::member::MemberType;
use crate::io::pool;

impl Writer {
    /// Puts members that the pool encodes into packs. A member that fails leaves the others; an error of
    /// the container, after which nothing can be written, fails them all.
    pub(super) fn write_many(
        &mut self,
        encoded: &Receiver<Result<Vec<Result<EncodedMember>>>>,
        source: &ArchiveFile,
    ) -> Result<Outcome> {
        let mut failures = Vec::new();
        for (index, member) in pool::receive(encoded)?.into_iter().enumerate() {
            if let Err(e) = member.and_then(|member| self.put_encoded(member, source)) {
                self.container.ready()?;
                failures.push((index, e.at(&self.path)));
            }
        }
        Ok(Outcome::Wrote(failures))
    }

    fn put_encoded(&mut self, member: EncodedMember, source: &ArchiveFile) -> Result<()> {
        let EncodedMember { name, size, mode, mtime, stored } = member;
        let given = Given { mode, mtime, exclusive: false };
        self.put_stored(&name, size, given, stored, source).map_err(|e| e.of_member(&name))
    }

    /// Puts a small member into a pack. `stored` holds its bytes after the member layer of `source`.
    pub(super) fn put_stored(
        &mut self,
        name: &str,
        size: u64,
        given: Given,
        mut stored: Vec<u8>,
        source: &ArchiveFile,
    ) -> Result<()> {
        let layers = &self.container.source.layers;
        if !layers.seals_members_as(&source.layers) {
            // It was sealed before the keys of the coffer were changed.
            stored = layers.transcode_member(&source.layers, &stored, size)?.into_vec();
        }
        let attributes = self.attributes(name, given)?;
        self.container.put_small(name, MemberType::File, size, attributes, stored)
    }
}
