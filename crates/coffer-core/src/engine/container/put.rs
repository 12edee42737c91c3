//! Putting members in: small ones into packs, large ones in pieces of their own.

use crate::format::member::MemberType;
use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use super::Container;
use super::pending::{HEADING, Inflight, Packed, Pending};
use crate::buffer::Buffer;
use crate::error::{Code, Error, Result};
use crate::format::block::{Encoded, Form, Layers};
use crate::format::catalog::{BlockId, Entry, Piece, Place, Placed};
use crate::format::member::Attributes;
use crate::format::tar::{self, Heading};
use crate::io::pool;

/// The most bytes of a member that goes into a pack.
pub(crate) const SMALL: u64 = 128 << 10;
/// A pack is closed once its tar has this many bytes.
const PACK: usize = if cfg!(any(test, feature = "fuzzing")) { 16 << 10 } else { 256 << 10 };
/// Gives the bytes of one piece, on whichever thread.
pub(crate) type RawJob = Box<dyn FnOnce() -> Result<Buffer> + Send>;

/// Encodes a pack.
type PackJob = Box<dyn FnOnce() -> Packed + Send>;

/// One piece of a large member, to be read and encoded.
pub(crate) struct Raw {
    pub(crate) job: RawJob,
    /// No piece follows.
    pub(crate) last: bool,
}

/// A piece with its block, which has no place yet.
pub(crate) struct Finished {
    /// Bytes of the member.
    pub(crate) raw: u32,
    /// The same bytes after the member layer.
    pub(crate) stored: u32,
    pub(crate) block: Encoded,
}

impl Finished {
    /// Puts a piece that others follow through both layers.
    pub(crate) fn encode(layers: &Layers, raw: &[u8]) -> Result<Self> {
        Self::seal(layers, raw.len(), &layers.encode_member(raw)?, 0)
    }

    /// Puts a piece that is through the member layer, and the padding behind it, through the other.
    fn seal(layers: &Layers, raw: usize, stored: &[u8], padding: usize) -> Result<Self> {
        let form = layers.piece_form();
        let block = if padding == 0 {
            layers.encode(stored, form)?
        } else {
            layers.encode(&[stored, &vec![0; padding]].concat(), form)?
        };
        Ok(Self { raw: raw as u32, stored: stored.len() as u32, block })
    }
}

/// One piece of a large member.
pub(crate) enum Part {
    /// To be read and encoded.
    Raw(Raw),
    /// To be written as it is. Never the last one, which carries the padding of the tar.
    Finished(Finished),
}

impl From<Raw> for Part {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}

/// A piece on its way into the file.
enum Made {
    Finished(Finished),
    /// The last of several, whose padding depends on those before it.
    Last {
        raw: usize,
        stored: Buffer,
    },
}

impl Container {
    /// Puts a small member, or a directory, into the pack that is being filled. `stored` are its
    /// bytes after the member layer.
    pub(crate) fn put_small(
        &mut self,
        name: &str,
        member_type: MemberType,
        size: u64,
        attributes: Attributes,
        stored: Vec<u8>,
    ) -> Result<()> {
        self.ready()?;
        // What can fail comes first: after it the member is in.
        self.make_room(stored.len())?;
        let version = self.next_version(name, member_type)?;
        let name: Arc<str> = name.into();
        let stored = Arc::new(stored);
        self.set(
            name.clone(),
            Entry { version, member_type, size, attributes, place: Place::Memory(stored.clone()) },
        );
        self.push(Pending { name, version, member_type, attributes, stored, begun: 0 });
        Ok(())
    }

    /// Closes the pack that is being filled if `len` more bytes of content would be too many.
    pub(super) fn make_room(&mut self, len: usize) -> Result<()> {
        if self.pending_len + len + HEADING > PACK { self.close_pack(pool::start) } else { Ok(()) }
    }

    /// Adds to the pack that is being filled.
    pub(super) fn push(&mut self, mut pending: Pending) {
        pending.begun = self.savepoints.begun();
        self.pending_len += pending.stored.len() + HEADING;
        self.pending.push(pending);
    }

    /// Has the pack encoded, and waits while too many are under way.
    fn close_pack(&mut self, start: impl FnOnce(PackJob) -> Receiver<Packed>) -> Result<()> {
        self.pending_len = 0;
        let members = std::mem::take(&mut self.pending);
        if members.is_empty() {
            return Ok(());
        }
        let entries = members.clone();
        let layers = self.source.layers.clone();
        let result = start(Box::new(move || pack(&layers, &entries)));
        self.inflight.push_back(Inflight { members, result });
        while self.inflight.len() > pool::window() {
            self.flush_oldest()?;
        }
        Ok(())
    }

    /// Brings every pending member into the file.
    pub(crate) fn flush_pending(&mut self) -> Result<()> {
        // The last one is waited for, so to hand it to another thread would only take longer.
        self.close_pack(|job| {
            let (sender, receiver) = bounded(1);
            let _ = sender.send(job());
            receiver
        })?;
        self.drain()
    }

    /// Waits for the packs under way and writes them.
    pub(super) fn drain(&mut self) -> Result<()> {
        while !self.inflight.is_empty() {
            self.flush_oldest()?;
        }
        Ok(())
    }

    fn flush_oldest(&mut self) -> Result<()> {
        let Some(Inflight { members, result }) = self.inflight.pop_front() else { return Ok(()) };
        let written = pool::receive(&result).and_then(|(block, places)| {
            let id = self.append_block(&block)?;
            Ok((id, places))
        });
        let (id, places) = match written {
            Ok(written) => written,
            Err(e) => {
                // The members stay where they were, so that a later flush can try again.
                self.pending_len += members.iter().map(|m| m.stored.len() + HEADING).sum::<usize>();
                self.pending.splice(0..0, members);
                self.cut();
                return Err(e);
            }
        };
        let (mut arrived, mut gone) = (Vec::new(), false);
        let mut view = self.view.write();
        for (member, at) in members.iter().zip(places) {
            let current = view
                .catalog
                .get(&member.name)
                .filter(|e| e.version == member.version && matches!(e.place, Place::Memory(_)));
            match current.cloned() {
                Some(mut entry) => {
                    entry.place =
                        Place::Packed { block: id, at, stored: member.stored.len() as u32 };
                    view.catalog.set(member.name.clone(), entry);
                    arrived.push(member);
                }
                None => gone = true,
            }
        }
        drop(view);
        arrived.into_iter().for_each(|member| self.note_packed(member));
        if gone {
            self.soil(id);
        }
        Ok(())
    }

    /// Writes a large member: `next` gives its pieces in order. `kept` are pieces it already has,
    /// which are copied as they are.
    pub(crate) fn put_large<P: Into<Part>>(
        &mut self,
        name: &str,
        attributes: Attributes,
        kept: &[Placed],
        mut next: impl FnMut() -> Result<Option<P>>,
    ) -> Result<()> {
        self.ready()?;
        self.drain()?;
        let version = self.next_version(name, MemberType::File)?;
        let (tail, last_footer, added) = (self.tail, self.last_footer, self.changes.added.len());
        let mut next = || Ok(next()?.map(Into::into));
        match self.write_pieces(name, attributes, kept, &mut next) {
            Ok((header, pieces)) => {
                let size = pieces.iter().map(|p| u64::from(p.raw)).sum();
                let place = Place::Pieces { header, pieces: Arc::new(pieces) };
                let member_type = MemberType::File;
                self.set(name.into(), Entry { version, member_type, size, attributes, place });
                Ok(())
            }
            Err(e) => {
                // Back to the last complete entry.
                let mut view = self.view.write();
                for id in self.changes.added.drain(added..) {
                    view.catalog.drop_block(id);
                }
                drop(view);
                self.tail = tail;
                self.last_footer = last_footer;
                self.cut();
                Err(e)
            }
        }
    }

    pub(super) fn write_pieces(
        &mut self,
        name: &str,
        attributes: Attributes,
        kept: &[Placed],
        next: &mut dyn FnMut() -> Result<Option<Part>>,
    ) -> Result<(BlockId, Vec<Piece>)> {
        let layers = self.source.layers.clone();
        let heading = |stored| Heading { name, member_type: MemberType::File, stored, attributes };
        // The size is not known yet: the header is written again at the end, as long as now.
        let header =
            self.append_block(&layers.encode(&tar::header(&heading(0))?, Form::Stored)?)?;
        let mut pieces = Vec::new();
        for (piece, block) in kept {
            let bytes = self.source.sealed_block(block).map_err(|e| e.of_member(name))?;
            let copy = Encoded { bytes, frame: block.frame, tar: block.tar, digest: block.digest };
            pieces.push(Piece { block: self.append_block(&copy)?, ..*piece });
        }
        let mut total: u64 = pieces.iter().map(|p| u64::from(p.stored)).sum();
        let mut window: VecDeque<Receiver<Result<Made>>> = VecDeque::new();
        let mut more = true;
        let most = pool::window_of(layers.piece);
        loop {
            while more && window.len() < most {
                match next()? {
                    None => more = false,
                    Some(Part::Finished(piece)) => {
                        let (sender, receiver) = bounded(1);
                        let _ = sender.send(Ok(Made::Finished(piece)));
                        window.push_back(receiver);
                    }
                    Some(Part::Raw(raw)) => {
                        more = !raw.last;
                        let only = raw.last && pieces.is_empty() && window.is_empty();
                        let layers = layers.clone();
                        window.push_back(pool::start(move || make(&layers, raw, only)));
                    }
                }
            }
            let Some(receiver) = window.pop_front() else { break };
            let piece = match pool::receive(&receiver)? {
                Made::Finished(piece) => piece,
                Made::Last { raw, stored } => {
                    let padding = tar::padding(total + stored.len() as u64);
                    Finished::seal(&layers, raw, &stored, padding)?
                }
            };
            total += u64::from(piece.stored);
            let block = self.append_block(&piece.block)?;
            pieces.push(Piece { block, raw: piece.raw, stored: piece.stored });
        }
        self.rewrite_header(header, &layers.encode(&tar::header(&heading(total))?, Form::Stored)?)?;
        Ok((header, pieces))
    }

    /// Writes the tar header of a large member once more, now that its size is known.
    fn rewrite_header(&mut self, id: BlockId, encoded: &Encoded) -> Result<()> {
        let offset = self.view.read().catalog.block(id)?.offset;
        let block = encoded.at(offset);
        if block.len != self.view.read().catalog.block(id)?.len {
            return Err(Error::new(Code::Limit, "a tar header changed its length"));
        }
        super::write(&self.source, &encoded.bytes, offset)?;
        self.ahead = None;
        self.view.write().catalog.blocks.insert(id, block);
        Ok(())
    }

    /// The version of a member about to be put, if its name fits among the others.
    fn next_version(&mut self, name: &str, member_type: MemberType) -> Result<u64> {
        let mut view = self.view.write();
        view.catalog.check_fits(name, member_type)?;
        view.catalog.take_version()
    }
}

/// The tar of a pack, encoded.
fn pack(layers: &Layers, members: &[Pending]) -> Packed {
    let mut tar = Vec::new();
    let mut places = Vec::with_capacity(members.len());
    for member in members {
        let heading = Heading {
            name: &member.name,
            member_type: member.member_type,
            stored: member.stored.len() as u64,
            attributes: member.attributes,
        };
        places.push(tar::append(&mut tar, &heading, &member.stored)?);
    }
    Ok((layers.encode(&tar, Form::Compressed)?, places))
}

/// Encodes a piece. The last of several waits for its padding, which depends on those before it.
fn make(layers: &Layers, raw: Raw, only: bool) -> Result<Made> {
    let bytes = (raw.job)()?;
    if !raw.last {
        return Finished::encode(layers, &bytes).map(Made::Finished);
    }
    // One alone has all threads to itself.
    let threads = if only { pool::threads() } else { 1 };
    let (raw, stored) = (bytes.len(), layers.encode_member_by(threads, &bytes)?);
    if !only {
        return Ok(Made::Last { raw, stored });
    }
    let padding = tar::padding(stored.len() as u64);
    Finished::seal(layers, raw, &stored, padding).map(Made::Finished)
}
