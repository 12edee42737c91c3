//! A scan for blocks in stretches of a file that no commit explains: runs of chunks that open, and the
//! zstd frames in them.

use super::marks::Search;
use super::span::Span;
use crate::crypto::seal::Seal;
use crate::engine::file::ArchiveFile;
use crate::error::Result;
use crate::format::catalog::{Block, Digest, MAX_BLOCK};
use crate::format::chunk::{self, HEADER, RESERVED};
use crate::format::frame::{self, FrameExtent};
use crate::format::work;

/// The most bytes of the file that are searched at once.
const WINDOW: u64 = 1 << 20;
/// Bytes of a frame that are read at first, to find its length.
const FIRST_LOOK: u64 = 64 << 10;

/// A find of a scan.
pub(super) enum ScanHit {
    /// A whole block: its tar, and whether its frame is of the form that headers have.
    Block { block: Block, tar: Vec<u8>, stored: bool },
    /// The beginning of a block whose rest is damaged, in whole chunks.
    Fragment { span: Span, plain: Vec<u8> },
}

/// Calls `found` with each block in a stretch of the file.
pub(super) fn blocks(
    search: &Search<'_>,
    source: &ArchiveFile,
    within: Span,
    mut found: impl FnMut(ScanHit) -> Result<()>,
) -> Result<()> {
    match source.layers.container.clone() {
        Some(seal) => {
            let mut joined = Joined::default();
            let mut at = within.from;
            while let Some(chunk) = next_open_chunk(search, &*seal, at, within.to)? {
                at = chunk.end();
                if let Some(fragment) = joined.push(chunk) {
                    found(fragment)?;
                }
                if let Some(whole) = joined.take_whole(source)? {
                    found(whole)?;
                }
            }
            joined.give_up().map_or(Ok(()), found)
        }
        None => frames(search, source, within, found),
    }
}

/// Whether any chunk of the file opens.
pub(super) fn opens_anything(search: &Search<'_>, seal: &dyn Seal) -> Result<bool> {
    Ok(next_open_chunk(search, seal, 0, search.size)?.is_some())
}

/// A data chunk that opened.
pub(super) struct OpenChunk {
    pub(super) offset: u64,
    bytes: Vec<u8>,
    pub(super) plain: Vec<u8>,
}

impl OpenChunk {
    pub(super) fn end(&self) -> u64 {
        self.offset + self.bytes.len() as u64
    }
}

/// The next data chunk that opens. Behind damage the search goes on at every byte, so it relies on no
/// length in the file.
///
/// A chunk in which the header of another one stands is none: ciphertext has no such run of zeros. So
/// the bytes deciphered are linear in the length of the stretch, however many headers are in it.
pub(super) fn next_open_chunk(
    search: &Search<'_>,
    seal: &dyn Seal,
    mut at: u64,
    to: u64,
) -> Result<Option<OpenChunk>> {
    while let Some((offset, len)) = next_chunk(search, seal, at, to, to)? {
        let inside = next_chunk(search, seal, offset + HEADER as u64, offset + len, to)?;
        if inside.is_some() {
            at = offset + 1;
            continue;
        }
        let bytes = search.read(offset, len)?;
        work::count(bytes.len());
        let mut plain = Vec::new();
        let chunk = chunk::parse(&bytes);
        if chunk.is_some_and(|chunk| seal.open(chunk.sealed, &mut plain).is_ok()) {
            return Ok(Some(OpenChunk { offset, bytes, plain }));
        }
        at = offset + 1;
    }
    Ok(None)
}

/// The next place from `at` on where a data chunk may begin, and its length: its header ends at or
/// before `until`, its reserved bytes are zeros, its length is possible, and it ends at or before
/// `to`.
fn next_chunk(
    search: &Search<'_>,
    seal: &dyn Seal,
    mut at: u64,
    until: u64,
    to: u64,
) -> Result<Option<(u64, u64)>> {
    let least = seal.sealed_len(0);
    // Most chunks follow each other, so the first window is small; it grows with the bytes skipped.
    let mut window = HEADER as u64;
    while at + HEADER as u64 <= until {
        search.cancel.check()?;
        let bytes = search.read(at, window.min(until - at))?;
        let fits = |i: usize, length: usize| {
            (least..=chunk::MAX_SEALED).contains(&length) && at + (i + HEADER + length) as u64 <= to
        };
        match first_header(&bytes, fits) {
            Ok((i, length)) => return Ok(Some((at + i as u64, (HEADER + length) as u64))),
            Err(passed) => at += passed as u64,
        }
        window = (window * 2).min(WINDOW);
    }
    Ok(None)
}

/// The first header of a chunk in `bytes`, whose reserved bytes are zeros and whose length `fits`: its
/// index and that length. Without one, the index of the first byte at which a header may still begin.
fn first_header(
    bytes: &[u8],
    fits: impl Fn(usize, usize) -> bool,
) -> std::result::Result<(usize, usize), usize> {
    let mut i = 0;
    while let Some(header) = bytes.get(i..i + HEADER) {
        let (length, reserved) = header.split_at(HEADER - RESERVED);
        if let Some(last) = reserved.iter().rposition(|byte| *byte != 0) {
            // A header can only begin where the byte that is not zero belongs to its length.
            i += last + 1;
            continue;
        }
        let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
        if fits(i, length) {
            return Ok((i, length));
        }
        // Among zeros alone no length is possible.
        let zeros = bytes[i..].iter().position(|byte| *byte != 0);
        i += zeros.unwrap_or(bytes.len() - i).saturating_sub(HEADER - 1).max(1);
    }
    Err(i)
}

/// A run of adjacent chunks that make up a frame.
#[derive(Default)]
struct Joined {
    /// The chunks so far; `None` between frames.
    span: Option<Span>,
    plain: Vec<u8>,
    raw: Vec<u8>,
    /// How far the frame's blocks were parsed.
    walked: usize,
    /// Bytes of dead space that are still to be skipped.
    dead: usize,
    /// Where the last chunk ended.
    end: u64,
}

impl Joined {
    /// Takes the next chunk. Gives the incomplete block before it, if this chunk does not continue it.
    fn push(&mut self, chunk: OpenChunk) -> Option<ScanHit> {
        let follows = chunk.offset == self.end;
        self.end = chunk.end();
        let OpenChunk { offset, bytes, plain } = chunk;
        let given_up = if follows { None } else { self.give_up() };
        if !follows {
            self.dead = 0;
        }
        if self.dead > 0 {
            // Bytes that a scrub has not overwritten yet are dead all the same.
            self.dead = self.dead.saturating_sub(plain.len());
            return given_up;
        }
        if let Some(span) = &mut self.span {
            span.to = self.end;
            self.plain.extend_from_slice(&plain);
            self.raw.extend_from_slice(&bytes);
        } else if let Some(content) = frame::skippable_content(&plain) {
            self.dead = (frame::SKIPPABLE_HEADER + content as usize).saturating_sub(plain.len());
        } else if plain.starts_with(&frame::MAGIC) {
            self.span = Some(Span { from: offset, to: self.end });
            self.plain = plain;
            self.raw = bytes;
        }
        given_up
    }

    /// The block that the chunks so far make up, if it is complete.
    fn take_whole(&mut self, source: &ArchiveFile) -> Result<Option<ScanHit>> {
        let Some(span) = self.span else { return Ok(None) };
        match frame::extent_on(&self.plain, &mut self.walked) {
            FrameExtent::Short if self.plain.len() <= MAX_BLOCK as usize => Ok(None),
            FrameExtent::Whole { len, content: Some(content) } if len == self.plain.len() => {
                let found = block(source, span, &self.raw, &self.plain, content)?;
                self.clear();
                Ok(found)
            }
            _ => {
                self.clear();
                Ok(None)
            }
        }
    }

    /// The incomplete block so far.
    fn give_up(&mut self) -> Option<ScanHit> {
        let span = self.span?;
        let plain = std::mem::take(&mut self.plain);
        self.clear();
        Some(ScanHit::Fragment { span, plain })
    }

    fn clear(&mut self) {
        self.span = None;
        self.walked = 0;
        self.plain = Vec::new();
        self.raw = Vec::new();
    }
}

/// A block that was found, if its frame decompresses.
fn block(
    source: &ArchiveFile,
    span: Span,
    raw: &[u8],
    plain: &[u8],
    content: u64,
) -> Result<Option<ScanHit>> {
    if content > u64::from(MAX_BLOCK) {
        return Ok(None);
    }
    let Ok(tar) = frame::decompress(plain, content as usize) else { return Ok(None) };
    let digest: Digest = source.layers.digest(raw)?;
    let block = Block {
        offset: span.from,
        len: raw.len() as u32,
        frame: plain.len() as u32,
        tar: content as u32,
        digest,
    };
    Ok(Some(ScanHit::Block { block, tar: tar.into_vec(), stored: frame::is_stored(plain) }))
}

/// The bound of [`most_vain`]: a multiple of the length, and bytes besides.
const MOST_VAIN: (u64, u64) = (4, 64 << 20);

/// The most bytes that may be read and decompressed in a stretch of `len` bytes for frames that turn
/// out to be none.
pub(super) fn most_vain(len: u64) -> u64 {
    len.saturating_mul(MOST_VAIN.0).saturating_add(MOST_VAIN.1)
}

/// The frames of an unsealed stretch.
///
/// Behind a frame that is none the search goes on at the next byte. Where that has cost more than
/// [`most_vain`], the file was crafted to be costly: then the search goes on behind the bytes that
/// were read.
fn frames(
    search: &Search<'_>,
    source: &ArchiveFile,
    within: Span,
    mut found: impl FnMut(ScanHit) -> Result<()>,
) -> Result<()> {
    let most = most_vain(within.len());
    let mut vain = 0u64;
    let mut at = within.from;
    while let Some(offset) = next_magic(search, at, within.to)? {
        let (extent, bytes) = reach(search, offset, within.to)?;
        work::count(bytes.len());
        let (whole, len, cost) = match extent {
            FrameExtent::Whole { len, content: Some(content) } => {
                let raw = &bytes[..len];
                let span = Span { from: offset, to: offset + len as u64 };
                work::count(content.min(u64::from(MAX_BLOCK)) as usize);
                (block(source, span, raw, raw, content)?, len, bytes.len() as u64 + content)
            }
            _ => (None, bytes.len(), bytes.len() as u64),
        };
        at = match whole {
            Some(whole) => {
                let ScanHit::Block { block, .. } = &whole else { continue };
                let end = block.end();
                found(whole)?;
                end
            }
            None if vain > most => offset + len.max(1) as u64,
            None => {
                vain = vain.saturating_add(cost);
                offset + 1
            }
        };
    }
    Ok(())
}

/// The extent of the frame at an offset, and at least its bytes.
fn reach(search: &Search<'_>, offset: u64, to: u64) -> Result<(FrameExtent, Vec<u8>)> {
    let most = (to - offset).min(u64::from(MAX_BLOCK) + (1 << 20));
    let mut look = FIRST_LOOK.min(most);
    loop {
        search.cancel.check()?;
        let bytes = search.read(offset, look)?;
        match frame::extent(&bytes) {
            FrameExtent::Short if look < most => look = (look * 4).min(most),
            extent => return Ok((extent, bytes)),
        }
    }
}

/// Where the next frame of data may begin.
pub(super) fn next_magic(search: &Search<'_>, mut at: u64, to: u64) -> Result<Option<u64>> {
    let len = frame::MAGIC.len() as u64;
    // The window grows with the bytes skipped.
    let mut window = HEADER as u64;
    while at + len <= to {
        search.cancel.check()?;
        window = (window * 2).min(WINDOW);
        let bytes = search.read(at, window.min(to - at))?;
        if let Some(i) = bytes.windows(frame::MAGIC.len()).position(|w| w == frame::MAGIC) {
            return Ok(Some(at + i as u64));
        }
        at += bytes.len() as u64 - len + 1;
    }
    Ok(None)
}
