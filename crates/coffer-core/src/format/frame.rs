//! zstd frames: data, stored or compressed, and skippable ones (RFC 8878, sections 3.1.1 and 3.1.2).

use std::cell::RefCell;
use std::io::{self, Read};
use std::sync::{Mutex, TryLockError};

use crate::buffer::Buffer;
use crate::error::{self, Code, Error, Result};

/// The magic number of Coffer's skippable frames, one of the sixteen zstd sets aside.
pub(crate) const SKIPPABLE_MAGIC: u32 = 0x184D_2A5C;
/// Bytes of a skippable frame before its content: magic and length.
pub(crate) const SKIPPABLE_HEADER: usize = 8;

const ZSTD_MAGIC: u32 = 0xFD2F_B528;
/// The first bytes of a frame of data.
pub(crate) const MAGIC: [u8; 4] = ZSTD_MAGIC.to_le_bytes();
/// Frame header descriptor: a content size of four bytes, a single segment.
const STORED_DESCRIPTOR: u8 = 0xA0;
/// The largest window that a decoder accepts, as a power of two: 128 MiB. Every level of zstd stays
/// within it unless long-distance matching is enabled.
pub(crate) const MAX_WINDOW_LOG: u32 = 27;
/// The largest block in a frame.
const MAX_STORED_BLOCK: usize = 128 * 1024;

/// The level for incompressible data, and for the samples that detect it.
const QUICK: i32 = 1;
/// The highest level at which zstd is fast on incompressible data.
const THOROUGH: i32 = 4;
/// The number of samples of data, and the bytes of each.
const SAMPLES: usize = 32;
const SAMPLE: usize = 1 << 10;
/// The least bytes for each of the threads that compress the same data.
const SHARE: usize = 1 << 20;
/// The overlap of their parts, as zstd's overlap log: half a window.
const LOOK_BACK: u32 = 8;

type Compressor = zstd::bulk::Compressor<'static>;

/// The compressor with threads of its own. There is one, since it holds much memory.
static SHARED: Mutex<Option<(i32, Compressor)>> = Mutex::new(None);

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor)>> = const { RefCell::new(None) };
    static SAMPLER: RefCell<Option<Compressor>> = const { RefCell::new(None) };
    static DECOMPRESSOR: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const { RefCell::new(None) };
}

/// The header of a skippable frame of `content` bytes.
#[must_use]
pub(crate) fn skippable_header(content: u32) -> [u8; SKIPPABLE_HEADER] {
    let mut header = [0; SKIPPABLE_HEADER];
    header[..4].copy_from_slice(&SKIPPABLE_MAGIC.to_le_bytes());
    header[4..].copy_from_slice(&content.to_le_bytes());
    header
}

/// The length of the content, if `bytes` begin with one of Coffer's skippable frames.
#[must_use]
pub(crate) fn skippable_content(bytes: &[u8]) -> Option<u32> {
    let (magic, rest) = bytes.split_first_chunk::<4>()?;
    let length = rest.first_chunk::<4>()?;
    (u32::from_le_bytes(*magic) == SKIPPABLE_MAGIC).then(|| u32::from_le_bytes(*length))
}

/// One frame with `data` compressed.
///
/// # Errors
/// [`Code::Limit`] if zstd refuses, which only memory can cause.
pub(crate) fn compress(level: i32, data: &[u8]) -> Result<Buffer> {
    compress_by(1, level, data)
}

/// One frame with `data` compressed, by several threads if there are enough bytes.
///
/// # Errors
/// [`Code::Limit`] if zstd refuses, which only memory or threads can cause.
pub(crate) fn compress_by(threads: usize, level: i32, data: &[u8]) -> Result<Buffer> {
    if level > THOROUGH && data.len() > SAMPLES * SAMPLE {
        if !is_compressible(data)? {
            return SAMPLER.with_borrow_mut(|slot| run(quick(slot)?, data));
        }
        if threads > 1
            && data.len() > SHARE
            && let Some(frame) = compress_shared(threads, level, data)
        {
            return Ok(frame);
        }
    }
    COMPRESSOR.with_borrow_mut(|slot| match slot {
        Some((of, compressor)) if *of == level => run(compressor, data),
        _ => run(&mut slot.insert((level, Compressor::new(level).map_err(refused)?)).1, data),
    })
}

/// Whether samples of `data` become smaller.
fn is_compressible(data: &[u8]) -> Result<bool> {
    let samples = data.chunks(data.len() / SAMPLES).take(SAMPLES);
    let samples: Vec<u8> = samples.flat_map(|part| &part[..SAMPLE]).copied().collect();
    let packed = SAMPLER.with_borrow_mut(|slot| run(quick(slot)?, &samples))?;
    Ok(packed.len() < samples.len())
}

fn quick(slot: &mut Option<Compressor>) -> Result<&mut Compressor> {
    match slot {
        Some(compressor) => Ok(compressor),
        None => Ok(slot.insert(Compressor::new(QUICK).map_err(refused)?)),
    }
}

/// One frame with `data` compressed by several threads, unless they are busy, or the system has no
/// threads or no memory for them.
fn compress_shared(threads: usize, level: i32, data: &[u8]) -> Option<Buffer> {
    let mut slot = match SHARED.try_lock() {
        Ok(slot) => slot,
        Err(TryLockError::Poisoned(slot)) => slot.into_inner(),
        Err(TryLockError::WouldBlock) => return None,
    };
    if slot.as_ref().is_none_or(|(of, _)| *of != level) {
        *slot = Some((level, with_threads(threads, level).ok()?));
    }
    let frame = slot.as_mut().and_then(|(_, compressor)| run(compressor, data).ok());
    if frame.is_none() {
        *slot = None;
    }
    frame
}

/// Drops the compressor with threads of its own.
pub(crate) fn forget() {
    if let Ok(mut slot) = SHARED.try_lock() {
        *slot = None;
    }
}

fn with_threads(threads: usize, level: i32) -> Result<Compressor> {
    use zstd::zstd_safe::CParameter::{JobSize, NbWorkers, OverlapSizeLog};
    let mut compressor = Compressor::new(level).map_err(refused)?;
    let parameters = [NbWorkers(threads as u32), JobSize(SHARE as u32), OverlapSizeLog(LOOK_BACK)];
    for parameter in parameters {
        compressor.set_parameter(parameter).map_err(refused)?;
    }
    Ok(compressor)
}

fn run(compressor: &mut Compressor, data: &[u8]) -> Result<Buffer> {
    let mut out = Buffer::with_capacity(zstd::zstd_safe::compress_bound(data.len()));
    compressor.compress_to_buffer(data, &mut *out).map_err(refused)?;
    Ok(out)
}

/// One frame with `data` stored. Its length is a function of the length of `data`.
pub(crate) struct Stored<'a> {
    /// The header of each block; the first one includes the header of the frame.
    heads: Vec<Vec<u8>>,
    data: &'a [u8],
}

impl<'a> Stored<'a> {
    #[must_use]
    pub(crate) fn new(data: &'a [u8]) -> Self {
        let mut head = ZSTD_MAGIC.to_le_bytes().to_vec();
        head.push(STORED_DESCRIPTOR);
        head.extend_from_slice(&(data.len() as u32).to_le_bytes());
        let mut heads = Vec::new();
        let mut rest = data.len();
        loop {
            let block = rest.min(MAX_STORED_BLOCK);
            rest -= block;
            let header = ((block as u32) << 3) | u32::from(rest == 0);
            head.extend_from_slice(&header.to_le_bytes()[..3]);
            heads.push(std::mem::take(&mut head));
            if rest == 0 {
                return Self { heads, data };
            }
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.data.len() + self.heads.iter().map(Vec::len).sum::<usize>()
    }

    /// Its bytes, one slice behind the other.
    pub(crate) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        let mut blocks = self.data.chunks(MAX_STORED_BLOCK);
        self.heads.iter().flat_map(move |head| [head.as_slice(), blocks.next().unwrap_or_default()])
    }

    /// Its bytes, in one piece.
    pub(crate) fn joined(&self) -> Buffer {
        let mut out = Buffer::with_capacity(self.len());
        self.parts().for_each(|part| out.extend_from_slice(part));
        out
    }
}

/// The extent of a frame of data, by its headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FrameExtent {
    /// It ends within the given bytes: its length, and the content size in its header, if it has one.
    Whole { len: usize, content: Option<u64> },
    /// It continues behind the given bytes.
    Short,
    /// It is no frame.
    Malformed,
}

/// The extent of the frame of data that `bytes` begin with. Its data is not decompressed.
#[must_use]
pub(crate) fn extent(bytes: &[u8]) -> FrameExtent {
    extent_on(bytes, &mut 0)
}

/// As [`extent`], for a frame that is given in growing prefixes: `walked` is the offset up to which its
/// blocks were parsed, 0 at first, so that each is parsed once.
#[must_use]
pub(crate) fn extent_on(bytes: &[u8], walked: &mut usize) -> FrameExtent {
    let Some((magic, rest)) = bytes.split_first_chunk::<4>() else { return FrameExtent::Short };
    if *magic != MAGIC {
        return FrameExtent::Malformed;
    }
    let Some((&descriptor, rest)) = rest.split_first() else { return FrameExtent::Short };
    let single = descriptor & 0x20 != 0;
    if descriptor & 0x08 != 0 {
        return FrameExtent::Malformed;
    }
    let window = usize::from(!single);
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = match descriptor >> 6 {
        0 => usize::from(single),
        flag => 1 << flag,
    };
    let Some(field) = rest.get(window + dictionary..window + dictionary + size) else {
        return FrameExtent::Short;
    };
    let mut number = [0; 8];
    number[..size].copy_from_slice(field);
    let content = match size {
        0 => None,
        // Two bytes count from 256, since one byte counts to 255.
        2 => Some(u64::from_le_bytes(number) + 256),
        _ => Some(u64::from_le_bytes(number)),
    };
    let mut len = (5 + window + dictionary + size).max(*walked);
    loop {
        *walked = len;
        let Some(header) = bytes.get(len..len + 3) else { return FrameExtent::Short };
        let header = u32::from_le_bytes([header[0], header[1], header[2], 0]);
        let block = (header >> 3) as usize;
        let stored = match (header >> 1) & 3 {
            1 => 1,
            3 => return FrameExtent::Malformed,
            _ if block > MAX_STORED_BLOCK => return FrameExtent::Malformed,
            _ => block,
        };
        len += 3 + stored;
        if header & 1 == 1 {
            break;
        }
    }
    len += if descriptor & 4 == 0 { 0 } else { 4 };
    if len > bytes.len() { FrameExtent::Short } else { FrameExtent::Whole { len, content } }
}

/// Whether a frame is a [`Stored`] one.
#[must_use]
pub(crate) fn is_stored(frame: &[u8]) -> bool {
    frame.get(4) == Some(&STORED_DESCRIPTOR)
}

/// The data of the frame that `bytes` begin with, up to damage or to `most` bytes.
#[must_use]
pub(crate) fn decompress_prefix(bytes: &[u8], most: usize) -> Vec<u8> {
    use std::io::Read;
    let mut out = Vec::new();
    if let Ok(decoder) = zstd::stream::read::Decoder::with_buffer(bytes) {
        // Bytes before an error stay in the vector.
        let _ = decoder.single_frame().take(most as u64).read_to_end(&mut out);
    }
    out
}

/// The data of one frame, which must be exactly `len` bytes.
///
/// # Errors
/// [`Code::Corrupt`] if the frame is malformed or holds anything else. [`Code::Limit`] if there is
/// not enough memory.
pub(crate) fn decompress(frame: &[u8], len: usize) -> Result<Buffer> {
    error::check_memory(len, "what a zstd frame holds")?;
    let mut out = Buffer::with_capacity(len);
    DECOMPRESSOR.with_borrow_mut(|slot| {
        if slot.is_none() {
            *slot = Some(zstd::bulk::Decompressor::new().map_err(refused)?);
        }
        match slot {
            Some(d) => d
                .decompress_to_buffer(frame, &mut *out)
                .map_err(|e| Error::corrupt(format!("a zstd frame does not decompress: {e}"))),
            None => Err(Error::new(Code::Limit, "no decompressor")),
        }
    })?;
    if out.len() != len {
        return Err(Error::corrupt("a zstd frame holds less than it should"));
    }
    Ok(out)
}

/// A reader of the data of a stream of frames.
///
/// # Errors
/// [`Code::Limit`] if zstd refuses, which only memory can cause.
pub(crate) fn decoder<'a, R: Read + 'a>(
    frames: R,
) -> Result<zstd::stream::read::Decoder<'static, io::BufReader<R>>> {
    let mut decoder = zstd::stream::read::Decoder::new(frames).map_err(refused)?;
    decoder.window_log_max(MAX_WINDOW_LOG).map_err(refused)?;
    Ok(decoder)
}

fn refused(error: std::io::Error) -> Error {
    Error::new(Code::Limit, format!("zstd refused: {error}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn store(data: &[u8]) -> Buffer {
        Stored::new(data).joined()
    }

    #[test]
    fn stored_frames_are_read_by_zstd() {
        for len in [0, 1, 511, 131_071, 131_072, 131_073, 1 << 20] {
            let data: Vec<u8> = (0..len).map(|i| (i % 251) as u8).collect();
            let frame = store(&data);
            assert_eq!(decompress(&frame, data.len()).unwrap(), data.into());
            assert_eq!(frame.len(), store(&vec![0; len]).len());
        }
    }

    #[test]
    fn a_frame_that_holds_more_or_less_than_it_should_is_damage() {
        let frame = compress(3, &[7; 1000]).unwrap();
        for len in [0, 999, 1001] {
            assert_eq!(decompress(&frame, len).unwrap_err().code(), Code::Corrupt);
        }
    }

    #[test]
    fn the_extent_of_a_frame_is_its_length() {
        for len in [0, 1, 255, 256, 300, 65_791, 65_792, 131_073, 1 << 20] {
            let noise: Vec<u8> = (0..len).map(|i| (i * i % 253) as u8).collect();
            for frame in
                [store(&noise), compress(3, &noise).unwrap(), compress(1, &vec![7; len]).unwrap()]
            {
                let more = [&frame[..], b"what follows"].concat();
                let whole = FrameExtent::Whole { len: frame.len(), content: Some(len as u64) };
                assert_eq!((extent(&frame), extent(&more)), (whole, whole), "{len}");
                for short in [0, 3, 4, 8, frame.len() - 1] {
                    assert_eq!(extent(&frame[..short]), FrameExtent::Short, "{len} {short}");
                }
            }
        }
        assert_eq!(extent(b"no frame"), FrameExtent::Malformed);
    }

    #[test]
    fn what_a_cut_frame_holds_comes_out_up_to_the_cut() {
        let data: Vec<u8> = (0..1_u64 << 20).map(|i| (i * i % 251) as u8).collect();
        let frame = store(&data);
        let prefix = decompress_prefix(&frame[..frame.len() / 2], data.len());
        assert!(prefix.len() >= 256 << 10 && data.starts_with(&prefix), "{}", prefix.len());
        assert_eq!(decompress_prefix(&frame, data.len()), data);
    }

    #[test]
    fn skippable_frames_name_their_length() {
        assert_eq!(skippable_content(&skippable_header(77)), Some(77));
        assert_eq!(skippable_content(&store(b"x")), None);
    }

    /// Bytes that do not compress.
    fn noise(len: usize) -> Vec<u8> {
        let mut out = vec![0; len];
        blake3::Hasher::new().finalize_xof().fill(&mut out);
        out
    }

    #[test]
    fn what_does_not_compress_is_not_tried_for_long() {
        let noise = noise(1 << 20);
        assert_eq!(compress(19, &noise).unwrap(), compress(QUICK, &noise).unwrap());
        // What does in parts is tried as a whole.
        let mixed = [noise.clone(), vec![7; 1 << 20]].concat();
        assert_ne!(compress(9, &mixed).unwrap(), compress(QUICK, &mixed).unwrap());
    }

    #[test]
    fn several_threads_make_one_frame() {
        let text: Vec<u8> = noise(3 << 20).iter().map(|byte| byte % 16).collect();
        let alone = compress(9, &text).unwrap();
        for threads in [2, 3] {
            let frame = compress_by(threads, 9, &text).unwrap();
            assert!(frame.len() < alone.len() + alone.len() / 50);
            assert!(*decompress(&frame, text.len()).unwrap() == text);
            let whole = FrameExtent::Whole { len: frame.len(), content: Some(text.len() as u64) };
            assert_eq!(extent(&frame), whole);
        }
        forget();
    }
}
