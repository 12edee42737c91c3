//! Blocks: the encoding of members and of the tar into the bytes of the file, and back.
//!
//! A block is one zstd frame in whole chunks. Its digest covers the length, the nonce and the tag of
//! each chunk, in order; where nothing is sealed, all of its bytes. The digest stands in a commit, so
//! a chunk can be neither changed nor moved, dropped, repeated or taken from elsewhere.

use std::sync::Arc;

use crate::buffer::Buffer;
use crate::crypto::key;
use crate::crypto::seal::Seal;
use crate::error::{Error, Result};
use crate::format::catalog::{Block, Digest, MAX_BLOCK};
use crate::format::chunk;
use crate::format::encrypted_file::FileKey;
use crate::format::frame::{self, FrameExtent, SKIPPABLE_HEADER};

/// The member layer and the container layer of a coffer, with their keys.
#[derive(Clone)]
pub(crate) struct Layers {
    pub(crate) member_level: Option<i32>,
    pub(crate) member: Option<Arc<dyn Seal>>,
    pub(crate) container_level: i32,
    pub(crate) container: Option<Arc<dyn Seal>>,
    /// Plaintext bytes of a full chunk.
    pub(crate) chunk_plain: usize,
    /// Member bytes of a full piece.
    pub(crate) piece: usize,
    /// The key for files outside the coffer, where a layer is sealed.
    pub(crate) files: Option<FileKey>,
}

/// How the tar of a block enters its frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Compressed,
    Stored,
}

/// An encoded block that has no offset yet.
pub(crate) struct Encoded {
    pub(crate) bytes: Buffer,
    pub(crate) frame: u32,
    pub(crate) tar: u32,
    pub(crate) digest: Digest,
}

impl Encoded {
    /// The block at an offset.
    pub(crate) fn at(&self, offset: u64) -> Block {
        Block {
            offset,
            len: self.bytes.len() as u32,
            frame: self.frame,
            tar: self.tar,
            digest: self.digest,
        }
    }
}

impl Layers {
    /// The member layer: one zstd frame, in sealed chunks.
    pub(crate) fn encode_member(&self, raw: &[u8]) -> Result<Buffer> {
        self.encode_member_by(1, raw)
    }

    /// The same by several threads, if there are enough bytes.
    pub(crate) fn encode_member_by(&self, threads: usize, raw: &[u8]) -> Result<Buffer> {
        let compressed;
        let packed = match self.member_level {
            Some(level) => {
                compressed = frame::compress_by(threads, level, raw)?;
                &compressed
            }
            None => raw,
        };
        match &self.member {
            Some(seal) => Ok(self.chunks(&**seal, packed)),
            None => Ok(packed.to_vec().into()),
        }
    }

    /// The `len` bytes of a member, or of a piece of one.
    pub(crate) fn decode_member(&self, stored: &[u8], len: usize) -> Result<Buffer> {
        let mut opened;
        let packed = match &self.member {
            Some(seal) => {
                opened = Buffer::with_capacity(stored.len());
                chunk::open_all(&**seal, stored, &mut opened)
                    .map_err(|e| Error::corrupt(format!("in the member layer, {e}")))?;
                opened.as_slice()
            }
            None => stored,
        };
        match self.member_level {
            Some(_) => frame::decompress(packed, len),
            None if packed.len() != len => {
                Err(Error::corrupt("a member is not as long as it should be"))
            }
            None => Ok(packed.to_vec().into()),
        }
    }

    /// The bytes of a member, or of a piece of one, whose length no commit has.
    pub(crate) fn decode_unsized(&self, stored: &[u8]) -> Result<Buffer> {
        let mut opened = Vec::new();
        let packed = match &self.member {
            Some(seal) => {
                chunk::open_all(&**seal, stored, &mut opened)
                    .map_err(|e| Error::corrupt(format!("in the member layer, {e}")))?;
                opened.as_slice()
            }
            None => stored,
        };
        if self.member_level.is_none() {
            return Ok(packed.to_vec().into());
        }
        match frame::extent(packed) {
            FrameExtent::Whole { len, content: Some(content) }
                if len == packed.len() && content <= u64::from(MAX_BLOCK) =>
            {
                frame::decompress(packed, content as usize)
            }
            _ => Err(Error::corrupt("a member is not one zstd frame")),
        }
    }

    /// The stored bytes of a small member under these layers, from those under the layers `from`.
    pub(crate) fn transcode_member(&self, from: &Self, stored: &[u8], size: u64) -> Result<Buffer> {
        let len = usize::try_from(size)
            .map_err(|_| Error::corrupt("a small member is larger than memory"))?;
        self.encode_member(&from.decode_member(stored, len)?)
    }

    /// Whether both seal members with the same key.
    pub(crate) fn seals_members_as(&self, other: &Self) -> bool {
        same_seal(self.member.as_ref(), other.member.as_ref())
    }

    /// Whether both encode a block alike: with the same keys and the same chunk size.
    pub(crate) fn make_the_same(&self, other: &Self) -> bool {
        self.seals_members_as(other)
            && same_seal(self.container.as_ref(), other.container.as_ref())
            && self.member_level.is_some() == other.member_level.is_some()
            && self.chunk_plain == other.chunk_plain
    }

    /// The form of the blocks of large members: stored, unless the member layer leaves bytes as they are.
    pub(crate) fn piece_form(&self) -> Form {
        if self.member_level.is_none() && self.member.is_none() {
            Form::Compressed
        } else {
            Form::Stored
        }
    }

    /// The container layer: the tar in one frame, in sealed chunks.
    pub(crate) fn encode(&self, tar: &[u8], form: Form) -> Result<Encoded> {
        let seal = self.container.as_deref();
        let (frame, bytes) = match (form, seal) {
            (Form::Compressed, _) => {
                let packed = frame::compress(self.container_level, tar)?;
                let len = packed.len();
                let bytes = match seal {
                    Some(seal) => self.chunks(seal, &packed),
                    None => packed,
                };
                (len, bytes)
            }
            (Form::Stored, None) => {
                let stored = frame::Stored::new(tar);
                (stored.len(), stored.joined())
            }
            (Form::Stored, Some(seal)) => {
                let stored = frame::Stored::new(tar);
                let len = chunk::len_all(seal, stored.len(), self.chunk_plain);
                let mut bytes = Buffer::with_capacity(len);
                chunk::put_parts(seal, stored.parts(), self.chunk_plain, &mut bytes);
                (stored.len(), bytes)
            }
        };
        let frame = frame as u32;
        let digest = self.digest(&bytes)?;
        Ok(Encoded { bytes, frame, tar: tar.len() as u32, digest })
    }

    /// Checks that `bytes` are the block that a commit names.
    pub(crate) fn check(&self, bytes: &[u8], block: &Block) -> Result<()> {
        if key::same(&self.digest(bytes)?, &block.digest) {
            return Ok(());
        }
        Err(Error::corrupt("its digest differs from what the commit says"))
    }

    /// The tar of a block, whose bytes are checked first.
    pub(crate) fn decode(&self, bytes: &[u8], block: &Block) -> Result<Buffer> {
        self.open(bytes, block, false)
    }

    /// The same for a block whose frame must have the length in the commit. A reader does not depend
    /// on that length; a writer does, when it overwrites the block with dead space.
    pub(crate) fn decode_exactly(&self, bytes: &[u8], block: &Block) -> Result<Buffer> {
        self.open(bytes, block, true)
    }

    fn open(&self, bytes: &[u8], block: &Block, exactly: bool) -> Result<Buffer> {
        self.check(bytes, block)?;
        let Some(seal) = &self.container else {
            return frame::decompress(bytes, block.tar as usize);
        };
        let mut packed = Buffer::with_capacity(block.frame as usize);
        chunk::open_all(&**seal, bytes, &mut packed).map_err(|e| Error::corrupt(e.to_string()))?;
        if exactly && packed.len() != block.frame as usize {
            return Err(Error::corrupt("its frame is not as long as the commit says"));
        }
        frame::decompress(&packed, block.tar as usize)
    }

    /// The dead space for a dead block: a skippable frame of the same length.
    pub(crate) fn dead(&self, block: &Block) -> Result<Buffer> {
        let frame = block.frame as usize;
        if frame < SKIPPABLE_HEADER {
            return Err(Error::corrupt("a dead block is too short to be one"));
        }
        let mut plain = frame::skippable_header((frame - SKIPPABLE_HEADER) as u32).to_vec();
        plain.resize(frame, 0);
        let bytes = match &self.container {
            Some(seal) => self.chunks(&**seal, &plain),
            None => plain.into(),
        };
        if bytes.len() == block.len as usize {
            Ok(bytes)
        } else {
            Err(Error::corrupt("a dead block is not as long as it should be"))
        }
    }

    /// Whether the lengths of a block in a commit are possible: no larger than a writer makes it, and in
    /// the file as long as its frame is in chunks. Then dead space can replace it.
    pub(crate) fn can_be(&self, block: &Block) -> bool {
        let frame = block.frame as usize;
        let len = match &self.container {
            Some(seal) if block.fits() => chunk::len_all(&**seal, frame, self.chunk_plain),
            _ => frame,
        };
        block.fits() && frame >= SKIPPABLE_HEADER && len == block.len as usize
    }

    fn chunks(&self, seal: &dyn Seal, plain: &[u8]) -> Buffer {
        let mut out = Buffer::with_capacity(chunk::len_all(seal, plain.len(), self.chunk_plain));
        chunk::put_all(seal, plain, self.chunk_plain, &mut out);
        out
    }

    /// The digest of a block by its bytes in the file.
    pub(crate) fn digest(&self, bytes: &[u8]) -> Result<Digest> {
        let mut hasher = blake3::Hasher::new();
        match &self.container {
            Some(seal) => {
                chunk::bind(&**seal, bytes, &mut hasher)
                    .map_err(|e| Error::corrupt(e.to_string()))?;
            }
            None => {
                hasher.update(bytes);
            }
        }
        Ok(*hasher.finalize().as_bytes())
    }
}

/// Whether both seals are the same object, and so have the same key, or there are none.
fn same_seal(one: Option<&Arc<dyn Seal>>, other: Option<&Arc<dyn Seal>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (one, other) => one.is_none() && other.is_none(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::crypto::key::Key;
    use crate::format::header::Header;
    use crate::format::key_source::KeySource;
    use crate::format::keys::Keys;
    use crate::format::kind::{Cipher, Kind};

    fn layers(kind: Kind) -> Layers {
        let key = || Some(Key::generate(32));
        let keys = Keys { coffer: key(), secure: key(), derived: false };
        Header::new(kind, &keys, &KeySource::of_keys(), 256, 4096).unwrap().layers(&keys).unwrap()
    }

    /// How many of the lengths around it a frame may have by the length of its block.
    fn possible(layers: &Layers, block: &Block) -> usize {
        (0..2_000).filter(|frame| layers.can_be(&Block { frame: *frame, ..block.clone() })).count()
    }

    #[test]
    fn the_length_of_a_block_tells_that_of_its_frame() {
        for kind in [Kind::store(), Kind::market(), Kind::bank(Cipher::AesOcb)] {
            let layers = layers(kind);
            let tar: Vec<u8> = (0..800u32).map(|n| (n * n % 251) as u8).collect();
            let block = layers.encode(&tar, Form::Compressed).unwrap().at(1_000);
            assert!(layers.can_be(&block), "{kind:?}");
            assert_eq!(possible(&layers, &block), 1, "{kind:?}");
            assert!(!layers.can_be(&Block { len: block.len + 1, ..block.clone() }), "{kind:?}");
            let large = Block { len: MAX_BLOCK + 1, frame: MAX_BLOCK + 1, ..block };
            assert!(!layers.can_be(&large), "{kind:?}");
        }
        let short = Block { offset: 0, len: 4, frame: 4, tar: 0, digest: Digest::default() };
        assert!(!layers(Kind::null()).can_be(&short));
    }

    /// Fernet pads, so several lengths of a frame have one in the file.
    #[test]
    fn a_frame_whose_length_is_untrue_is_read_and_can_be_overwritten_and_is_reported() {
        let layers = layers(Kind::bank(Cipher::Fernet));
        let encoded = layers.encode(&[7; 600], Form::Stored).unwrap();
        let true_block = encoded.at(0);
        assert!(layers.decode_exactly(&encoded.bytes, &true_block).is_ok());
        let around = true_block.frame - 16..true_block.frame + 16;
        let untrue: Vec<Block> = around
            .filter(|frame| *frame != true_block.frame)
            .map(|frame| Block { frame, ..true_block.clone() })
            .filter(|block| layers.can_be(block))
            .collect();
        assert!(!untrue.is_empty());
        for block in untrue {
            assert_eq!(*layers.decode(&encoded.bytes, &block).unwrap(), [7; 600]);
            assert!(layers.decode_exactly(&encoded.bytes, &block).is_err());
            let dead = layers.dead(&block).unwrap();
            assert_eq!(dead.len(), encoded.bytes.len());
        }
    }
}
