//! The changes to members that the workload makes.

use crate::format::member::MemberType;
use std::sync::Arc;

use super::state::Members;
use super::workload::{PIECE, Run};
use crate::engine::container::{Container, Raw};
use crate::engine::member::MemberLocation;
use crate::error::{Code, Error, Result};
use crate::format::catalog::Place;
use crate::format::member::Attributes;

impl Run {
    pub(super) fn name(&mut self) -> String {
        match self.rng.below(10) {
            0 => "long/".repeat(25) + "name",
            n => format!("member-{n}"),
        }
    }

    /// Attributes with a time of their own for each write: a block of an unsealed coffer that is written
    /// anew would be the same as a damaged one was, if a member of no bytes had the same time.
    fn attributes(&self) -> Attributes {
        Attributes { mode: 0o644, mtime_s: 1_700_000_000 + self.serial as i64, mtime_ns: 5 }
    }

    /// Bytes that identify the write they are of.
    pub(super) fn bytes(&mut self, len: usize) -> Vec<u8> {
        self.serial += 1;
        let mut bytes = vec![0; len];
        if self.rng.one_in(3) {
            let text = format!("{} ", self.serial);
            bytes.iter_mut().zip(text.bytes().cycle()).for_each(|(b, t)| *b = t);
        } else {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&self.serial.to_le_bytes()).finalize_xof().fill(&mut bytes);
        }
        bytes
    }

    pub(super) fn put_small(
        &mut self,
        container: &mut Container,
        model: &mut Members,
    ) -> Result<()> {
        let name = self.name();
        let len = match self.rng.below(4) {
            0 => self.rng.below(3),
            1 => self.rng.below(12_000),
            _ => self.rng.below(900),
        } as usize;
        self.put(container, model, name, len)
    }

    pub(super) fn put(
        &mut self,
        container: &mut Container,
        model: &mut Members,
        name: String,
        len: usize,
    ) -> Result<()> {
        let bytes = self.bytes(len);
        self.tell(|| format!("put {name} {len}"));
        let stored = container.source.layers.encode_member(&bytes)?.into_vec();
        let (size, attributes) = (bytes.len() as u64, self.attributes());
        container.put_small(&name, MemberType::File, size, attributes, stored)?;
        model.insert(name, Arc::new(bytes));
        Ok(())
    }

    pub(super) fn put_large(
        &mut self,
        container: &mut Container,
        model: &mut Members,
    ) -> Result<()> {
        let name = self.name();
        let len = self.rng.below(12 * PIECE as u64) as usize + 1;
        let bytes = self.bytes(len);
        self.pieces(container, &name, &[], bytes.clone())?;
        model.insert(name, Arc::new(bytes));
        Ok(())
    }

    /// Puts a member that was uploaded in parts, or aborts the upload.
    pub(super) fn put_staged(
        &mut self,
        container: &mut Container,
        model: &mut Members,
    ) -> Result<()> {
        let name = self.name();
        let len = self.rng.below(12 * PIECE as u64) as usize + 3 * PIECE;
        let bytes = self.bytes(len);
        let give_up = self.rng.one_in(6);
        self.tell(|| format!("stage {name} {len}, give up {give_up}"));
        let stage = self.stages.upload(container.source.layers.clone());
        for portion in bytes.chunks(self.rng.below(3 * PIECE as u64) as usize + 1) {
            stage.write(portion, Box::new(drop));
        }
        if give_up {
            return Ok(());
        }
        let parts = stage.finish()?.parts(Vec::new(), &container.source.layers);
        container.put_large(&name, self.attributes(), &[], parts)?;
        model.insert(name, Arc::new(bytes));
        Ok(())
    }

    /// Puts a large member, or aborts in the middle.
    pub(super) fn pieces(
        &mut self,
        container: &mut Container,
        name: &str,
        kept: &[(crate::format::catalog::Piece, crate::format::catalog::Block)],
        bytes: Vec<u8>,
    ) -> Result<()> {
        let pieces: Vec<Vec<u8>> = bytes.chunks(PIECE).map(<[u8]>::to_vec).collect();
        let stop = if self.rng.one_in(6) { self.rng.below(pieces.len() as u64) } else { u64::MAX };
        self.tell(|| format!("put {name} in {} pieces, stop at {stop}", pieces.len()));
        let mut at = 0;
        container.put_large(name, self.attributes(), kept, || {
            if at as u64 == stop {
                return Err(Error::new(Code::Aborted, "enough"));
            }
            let Some(piece) = pieces.get(at).cloned() else { return Ok(None) };
            at += 1;
            Ok(Some(Raw { job: Box::new(move || Ok(piece.into())), last: at == pieces.len() }))
        })
    }

    pub(super) fn append(&mut self, container: &mut Container, model: &mut Members) -> Result<()> {
        let large = {
            let view = container.view.read();
            let large =
                |e: &crate::format::catalog::Entry| matches!(&e.place, Place::Pieces { .. });
            view.catalog
                .iter()
                // The model has the bytes before the damage, not those after an append.
                .find(|(n, e)| large(e) && self.opener.damaged(container, n, e).is_none())
                .map(|(n, e)| {
                    (n.to_string(), MemberLocation::in_catalog(&view.catalog, n, &e).unwrap())
                })
        };
        let Some((name, found)) = large else { return Ok(()) };
        let Place::Pieces { pieces, .. } = &found.entry.place else { return Ok(()) };
        let kept: Vec<_> = pieces
            .iter()
            .copied()
            .zip(found.blocks.iter().cloned())
            .take(pieces.len() - 1)
            .collect();
        let from: usize = kept.iter().map(|(p, _)| p.raw as usize).sum();
        let more = self.rng.below(2 * PIECE as u64) as usize + 1;
        let more = self.bytes(more);
        let whole = [&model[&name][..], &more].concat();
        self.pieces(container, &name, &kept, whole[from..].to_vec())?;
        model.insert(name, Arc::new(whole));
        Ok(())
    }

    pub(super) fn remove(&mut self, container: &mut Container, model: &mut Members) -> Result<()> {
        let name = self.name();
        self.tell(|| format!("remove {name}"));
        container.remove(&name)?;
        model.remove(&name);
        Ok(())
    }
}
