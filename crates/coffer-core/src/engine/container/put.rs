//! Writing members: small ones share packs, large ones are cut into pieces with a block each.

use std::collections::VecDeque;
use std::sync::Arc;

use crossbeam_channel::{Receiver, bounded};

use super::Container;
use super::pending::{HEADING, Inflight, Packed, Pending};
use crate::buffer::Buffer;
use crate::error::{Code, Error, Result};
use crate::format::block::{Encoded, Form, Layers};
use crate::format::catalog::{BlockId, Entry, Piece, Place, Placed};
use crate::format::member::{Attributes, MemberType};
use crate::format::tar::{self, Heading};
use crate::io::pool;

/// The most bytes of a member that is put into a pack.
pub(crate) const SMALL: u64 = 128 << 10;
/// The bytes of tar from which a pack is closed.
const PACK: usize = if cfg!(any(test, feature = "fuzzing")) { 16 << 10 } else { 256 << 10 };
/// A job that gives the bytes of one piece; the pool runs it.
pub(crate) type RawJob = Box<dyn FnOnce() -> Result<Buffer> + Send>;

/// A job that encodes a pack.
type PackJob = Box<dyn FnOnce() -> Packed + Send>;

/// A piece of a large member that is still to be read and encoded.
pub(crate) struct Raw {
    pub(crate) job: RawJob,
    /// It is the last piece of the member.
    pub(crate) last: bool,
}

/// An encoded piece, which has no offset yet.
pub(crate) struct Finished {
    /// Its length in the member, in bytes.
    pub(crate) raw: u32,
    /// Its length after the member layer, in bytes.
    pub(crate) stored: u32,
    pub(crate) block: Encoded,
}

impl Finished {
    /// Encodes a piece that is not the last one of its member.
    pub(crate) fn encode(layers: &Layers, raw: &[u8]) -> Result<Self> {
        Self::seal(layers, raw.len(), &layers.encode_member(raw)?, 0)
    }

    /// Encodes a piece that has the member layer already, followed by padding of the tar.
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

/// A piece of a large member.
pub(crate) enum Part {
    /// It is still to be read and encoded.
    Raw(Raw),
    /// It is encoded. Never the last piece, which carries the padding of the tar.
    Finished(Finished),
}

impl From<Raw> for Part {
    fn from(raw: Raw) -> Self {
        Self::Raw(raw)
    }
}

/// A piece that a job of the pool gives.
enum Made {
    Finished(Finished),
    /// The last of several pieces, with the member layer only: its padding depends on the lengths of
    /// those before it.
    Last {
        raw: usize,
        stored: Buffer,
    },
}

impl Container {
    /// Puts a small member, or a directory, into the pack that is being filled. `stored` holds its bytes
    /// after the member layer.
    pub(crate) fn put_small(
        &mut self,
        name: &str,
        member_type: MemberType,
        size: u64,
        attributes: Attributes,
        stored: Vec<u8>,
    ) -> Result<()> {
        self.ready()?;
        // Before the catalog changes, because it can fail.
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

    /// Closes the pack that is being filled if it has no room for `len` more bytes of content.
    pub(super) fn make_room(&mut self, len: usize) -> Result<()> {
        if self.pending_len + len + HEADING > PACK { self.close_pack(pool::start) } else { Ok(()) }
    }

    /// Adds a member to the pack that is being filled.
    pub(super) fn push(&mut self, mut pending: Pending) {
        pending.begun = self.savepoints.begun;
        self.pending_len += pending.stored.len() + HEADING;
        self.pending.push(pending);
    }

    /// Starts encoding the pack that is being filled. Writes finished packs while more than
    /// [`pool::window`] are under way.
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

    /// Writes every pending member.
    pub(crate) fn flush_pending(&mut self) -> Result<()> {
        // This thread encodes the last pack: it would only wait for another thread.
        self.close_pack(|job| finished(job()))?;
        self.drain()
    }

    /// Writes the packs under way, as they are finished.
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
                // The members are pending again, so that a later flush can try once more.
                self.pending_len += members.iter().map(|m| m.stored.len() + HEADING).sum::<usize>();
                self.pending.splice(0..0, members);
                self.log.cut();
                return Err(e);
            }
        };
        self.enter_packed(id, &members, places);
        Ok(())
    }

    /// Enters the places of a pack's members in the catalog. Members that were replaced or removed
    /// while the pack was encoded make it dirty.
    fn enter_packed(&mut self, block: BlockId, members: &[Pending], places: Vec<u32>) {
        let (mut entered, mut gone) = (Vec::new(), false);
        let mut view = self.view.write();
        for (member, at) in members.iter().zip(places) {
            let current = view
                .catalog
                .get(&member.name)
                .filter(|e| e.version == member.version && matches!(e.place, Place::Memory(_)));
            let Some(entry) = current else {
                gone = true;
                continue;
            };
            let place = Place::Packed { block, at, stored: member.stored.len() as u32 };
            view.catalog.set(member.name.clone(), Entry { place, ..entry });
            entered.push(member);
        }
        drop(view);
        entered.into_iter().for_each(|member| self.note_packed(member));
        if gone {
            self.mark_dirty(block);
        }
    }

    /// Writes a large member. `kept` are pieces that it already has, whose blocks are copied; `next`
    /// gives the pieces behind them, in order.
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
        let (mark, added) = (self.log.mark(), self.changes.added.len());
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
                // The tar must end with a complete entry.
                let mut view = self.view.write();
                for id in self.changes.added.drain(added..) {
                    view.catalog.drop_block(id);
                }
                drop(view);
                self.log.cut_back(mark);
                Err(e)
            }
        }
    }

    /// Writes the blocks of a large member, and gives the block of its tar header and its pieces.
    pub(super) fn write_pieces(
        &mut self,
        name: &str,
        attributes: Attributes,
        kept: &[Placed],
        next: &mut dyn FnMut() -> Result<Option<Part>>,
    ) -> Result<(BlockId, Vec<Piece>)> {
        let layers = self.source.layers.clone();
        let heading = |stored| Heading { name, member_type: MemberType::File, stored, attributes };
        // The size is known at the end: then a header of the same length replaces this one.
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
                        window.push_back(finished(Ok(Made::Finished(piece))));
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

    /// Replaces the block with the tar header of a large member, once its size is known.
    fn rewrite_header(&mut self, id: BlockId, encoded: &Encoded) -> Result<()> {
        let offset = self.view.read().catalog.block(id)?.offset;
        let block = encoded.at(offset);
        if block.len != self.view.read().catalog.block(id)?.len {
            return Err(Error::new(Code::Limit, "the tar header of a member changed its length"));
        }
        self.log.rewrite(&encoded.bytes, offset)?;
        self.view.write().catalog.blocks.insert(id, block);
        Ok(())
    }

    /// Takes the version of a member that is about to be written. Fails if its name would make a file of
    /// a directory, or the reverse.
    fn next_version(&mut self, name: &str, member_type: MemberType) -> Result<u64> {
        let mut view = self.view.write();
        view.catalog.check_fits(name, member_type)?;
        view.catalog.take_version()
    }
}

/// Encodes a pack.
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

/// Reads and encodes a piece; the last of several only gets the member layer. `only` says that the
/// member has no other piece.
fn make(layers: &Layers, raw: Raw, only: bool) -> Result<Made> {
    let bytes = (raw.job)()?;
    if !raw.last {
        return Finished::encode(layers, &bytes).map(Made::Finished);
    }
    // An only piece has all threads of the pool to itself.
    let threads = if only { pool::threads() } else { 1 };
    let (raw, stored) = (bytes.len(), layers.encode_member_by(threads, &bytes)?);
    if !only {
        return Ok(Made::Last { raw, stored });
    }
    let padding = tar::padding(stored.len() as u64);
    Finished::seal(layers, raw, &stored, padding).map(Made::Finished)
}

/// A result that needed no job of the pool.
fn finished<T>(result: T) -> Receiver<T> {
    let (sender, receiver) = bounded(1);
    let _ = sender.send(result);
    receiver
}
