//! A member that is complete, in the spool.

use std::collections::VecDeque;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::engine::container::{Finished, Part, Raw};
use crate::error::{Error, Result};
use crate::format::block::{Encoded, Layers};
use crate::format::catalog::Digest;
use crate::io::spool::Spool;
use crate::io::storage::ReadAt;

/// A piece in the spool.
pub(super) struct Placed {
    at: u64,
    len: usize,
    raw: u32,
    stored: u32,
    frame: u32,
    tar: u32,
    digest: Digest,
}

impl Placed {
    pub(super) fn new(piece: &Finished, at: u64) -> Self {
        let Finished { raw, stored, block } = piece;
        let Encoded { bytes, frame, tar, digest } = block;
        Self {
            at,
            len: bytes.len(),
            raw: *raw,
            stored: *stored,
            frame: *frame,
            tar: *tar,
            digest: *digest,
        }
    }

    pub(super) fn read(&self, spool: &Spool) -> Result<Finished> {
        let mut bytes = vec![0; self.len];
        spool.read_at(&mut bytes, self.at).map_err(|e| Error::io("read", spool.path(), &e))?;
        let Self { raw, stored, frame, tar, digest, .. } = *self;
        Ok(Finished { raw, stored, block: Encoded { bytes: bytes.into(), frame, tar, digest } })
    }
}

/// A member that is complete, but for its place in a file.
pub(crate) struct SpooledUpload {
    pub(super) layers: Layers,
    pub(super) spool: Arc<Spool>,
    pub(super) pieces: Vec<Placed>,
    pub(super) tail: Zeroizing<Vec<u8>>,
}

impl SpooledUpload {
    /// The pieces of the member in order, for a coffer whose layers are `now`. `head` comes first.
    pub(crate) fn parts(
        self,
        head: Vec<u8>,
        now: &Layers,
    ) -> impl FnMut() -> Result<Option<Part>> + use<> {
        let Self { layers, spool, pieces, tail } = self;
        let as_it_is = layers.make_the_same(now);
        let layers = Arc::new(layers);
        let raw = |bytes: Vec<u8>, last| Raw { job: Box::new(move || Ok(bytes.into())), last };
        let mut heads: VecDeque<Vec<u8>> = head.chunks(now.piece).map(<[u8]>::to_vec).collect();
        let mut pieces = pieces.into_iter();
        let mut tail = Some(tail);
        move || {
            if let Some(head) = heads.pop_front() {
                return Ok(Some(raw(head, false).into()));
            }
            let Some(piece) = pieces.next() else {
                return Ok(tail.take().map(|tail| raw(tail.to_vec(), true).into()));
            };
            let piece = piece.read(&spool)?;
            if as_it_is {
                return Ok(Some(Part::Finished(piece)));
            }
            // The coffer got other keys since.
            let layers = layers.clone();
            let job = Box::new(move || {
                let Finished { raw, stored, block } = piece;
                let tar = layers.decode(&block.bytes, &block.at(0))?;
                layers.decode_member(tar.get(..stored as usize).unwrap_or_default(), raw as usize)
            });
            Ok(Some(Raw { job, last: false }.into()))
        }
    }
}
