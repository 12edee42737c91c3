//! Changes of members, as the writer thread makes them.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::outcome::{Added, Outcome};
use super::{BulkWork, Edit, Given, Writer};
use crate::buffer::Buffer;
use crate::engine::container::{Raw, SMALL};
use crate::engine::file::ArchiveFile;
use crate::engine::member::{MemberLocation, no_member};
use crate::error::{Code, Error, Result};
use crate::format::catalog::{Entry, Place, Placed};
use crate::format::member::{Attributes, MemberType};
use crate::io::data::Data;
use crate::io::pool;

/// The mode of a new member whose mode the caller does not give.
const NEW_FILE: u32 = 0o644;
/// The mode of a new directory whose mode the caller does not give.
const NEW_DIRECTORY: u32 = 0o755;

impl Writer {
    /// Makes a change of members.
    pub(super) fn apply(&mut self, edit: Edit) -> Result<Outcome> {
        match edit {
            Edit::Small { name, size, given, stored, source } => {
                let stored = pool::receive(&stored)?;
                self.put_stored(&name, size, given, stored, &source)?;
            }
            Edit::Many { encoded, source } => return self.write_many(&encoded, &source),
            Edit::Write { name, data, append, given } => {
                let attributes = self.attributes(&name, given)?;
                let (kept, head) = if append { self.kept(&name)? } else { Default::default() };
                self.put(&name, attributes, &kept, head, &data)?;
            }
            Edit::Upload { name, upload, append, given } => {
                let staged = upload.finish()?;
                let attributes = self.attributes(&name, given)?;
                let (kept, head) = if append { self.kept(&name)? } else { Default::default() };
                let parts = staged.parts(head, &self.container.source.layers);
                self.container.put_large(&name, attributes, &kept, parts)?;
            }
            Edit::Directory { name, given } => return self.directory(&name, given),
            Edit::Bulk(work) => return self.atomically(work),
            Edit::Delete { name, recursive } => self.delete(&name, recursive)?,
        }
        Ok(Outcome::Done)
    }

    /// Makes a directory a member. Nothing is done if there are members below it, which imply it.
    fn directory(&mut self, name: &str, given: Given) -> Result<Outcome> {
        let mut added = Added::default();
        if !self.container.view.read().catalog.has_below(name) {
            let old =
                self.container.view.read().catalog.get(name).map(|entry| entry.attributes.mode);
            let (mtime_s, mtime_ns) = given.mtime.unwrap_or_else(now);
            let mode = given.mode.or(old).unwrap_or(NEW_DIRECTORY);
            let attributes = Attributes { mode, mtime_s, mtime_ns };
            self.container.put_small(name, MemberType::Directory, 0, attributes, Vec::new())?;
            added.directories = 1;
        }
        Ok(Outcome::Added(added))
    }

    /// Makes several changes, all or none of them.
    fn atomically(&mut self, work: BulkWork) -> Result<Outcome> {
        self.container.begin()?;
        let added = work(&mut self.container);
        if added.is_ok() {
            self.container.keep();
        } else {
            self.container.rollback();
        }
        added.map(Outcome::Added)
    }

    /// The attributes of a file that is written: those that the caller gave, or else the mode that it had
    /// and the current time.
    pub(super) fn attributes(&self, name: &str, given: Given) -> Result<Attributes> {
        let view = self.container.view.read();
        let old = view.catalog.get(name).map(|e| e.attributes.mode);
        let is_file = |entry: Entry| !entry.is_directory();
        if given.exclusive && view.catalog.get(name).is_some_and(is_file) {
            return Err(Error::new(
                Code::MemberExists,
                format!("there is a member {name:?} already: write it with 'w' to replace it"),
            )
            .of_member(name));
        }
        let (mtime_s, mtime_ns) = given.mtime.unwrap_or_else(now);
        Ok(Attributes { mode: given.mode.or(old).unwrap_or(NEW_FILE), mtime_s, mtime_ns })
    }

    /// The parts of a member that an append keeps: see [`kept`]. Nothing if there is no such file.
    fn kept(&self, name: &str) -> Result<(Vec<Placed>, Vec<u8>)> {
        let old = {
            let view = self.container.view.read();
            match view.catalog.get(name).filter(|e| !e.is_directory()) {
                Some(entry) => MemberLocation::in_catalog(&view.catalog, name, &entry)?,
                None => return Ok(Default::default()),
            }
        };
        kept(&self.container.source, &old).map_err(|e| e.of_member(name))
    }

    /// Writes a file that consists of `kept` pieces, the bytes in `head`, and `data`.
    fn put(
        &mut self,
        name: &str,
        attributes: Attributes,
        kept: &[Placed],
        head: Vec<u8>,
        data: &Data,
    ) -> Result<()> {
        let total = head.len() as u64 + data.size() as u64;
        let layers = self.container.source.layers.clone();
        if kept.is_empty() && total <= SMALL {
            let mut raw = head;
            let before = raw.len();
            raw.resize(before + data.size(), 0);
            data.copy_to(0, raw.split_at_mut(before).1)?;
            let stored = layers.encode_member(&raw)?.into_vec();
            return self.container.put_small(name, MemberType::File, total, attributes, stored);
        }
        let mut at = 0usize;
        let total = usize::try_from(total)
            .map_err(|_| Error::new(Code::Limit, "the member does not fit into memory"))?;
        self.container.put_large(name, attributes, kept, || {
            if at >= total {
                return Ok(None);
            }
            let range = at..(at + layers.piece).min(total);
            at = range.end;
            // This thread copies the bytes, not the pool: they may still have to arrive, and no job of
            // the pool may wait.
            let split = head.len().clamp(range.start, range.end);
            let head_part = head.get(range.start..split).unwrap_or_default();
            let mut bytes = Buffer::of_len(range.len());
            let (before, rest) = bytes.split_at_mut(head_part.len());
            before.copy_from_slice(head_part);
            data.copy_to(split.saturating_sub(head.len()), rest)?;
            let job = Box::new(move || Ok(bytes));
            Ok(Some(Raw { job, last: at >= total }))
        })
    }

    /// Removes a member, and with `recursive` those below it.
    fn delete(&mut self, name: &str, recursive: bool) -> Result<()> {
        let below: Vec<Arc<str>> = {
            let view = self.container.view.read();
            let below: Vec<Arc<str>> =
                view.catalog.below(name).map(|(name, _)| name.into()).collect();
            if below.is_empty() && view.catalog.get(name).is_none() {
                return Err(no_member(name));
            }
            below
        };
        if !below.is_empty() && !recursive {
            return Err(Error::new(
                Code::NotEmpty,
                format!(
                    "{name:?} is a directory with members in it: pass recursive to delete them"
                ),
            )
            .of_member(name));
        }
        for member in &below {
            self.container.remove(member)?;
        }
        self.container.remove(name)
    }
}

/// The pieces of a member that an append keeps, and the bytes of the member behind them.
fn kept(source: &ArchiveFile, old: &MemberLocation) -> Result<(Vec<Placed>, Vec<u8>)> {
    let Entry { size, place, .. } = &old.entry;
    let (kept, from) = match place {
        Place::Pieces { pieces, .. } => {
            // The last piece carries the padding of the tar, so it is always encoded again.
            let keep = pieces.len().saturating_sub(1);
            let kept: Vec<_> =
                pieces.iter().copied().zip(old.blocks.iter().cloned()).take(keep).collect();
            let from = kept.iter().map(|(p, _)| u64::from(p.raw)).sum();
            (kept, from)
        }
        _ => (Vec::new(), 0),
    };
    let len = usize::try_from(size - from)
        .map_err(|_| Error::new(Code::Limit, "the last piece does not fit into memory"))?;
    Ok((kept, old.read(source, from, len)?))
}

fn now() -> (i64, u32) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (since.as_secs() as i64, since.subsec_nanos())
}
