//! The 32-byte framing of sealed chunks, byte for byte PyCoffer's:
//! `length u32le ‖ reserved 28 ‖ sealed payload`.
//!
//! The length is the payload's. The reserved bytes are not authenticated: Coffer keeps the marks of
//! records in them, PyCoffer writes zeros and ignores them.

use std::fmt;

use crate::crypto::seal::Seal;

/// Bytes before a chunk's payload.
pub const HEADER: usize = LENGTH + RESERVED;
/// Reserved bytes in a chunk's header.
pub const RESERVED: usize = 28;
/// The longest payload that is accepted from a file: 16 MiB.
pub const MAX_SEALED: usize = 16 << 20;
/// The most plaintext that one chunk may take, so that its payload stays below [`MAX_SEALED`]
/// under every seal (Fernet's base64 adds a third): 8 MiB.
pub const MAX_PLAIN: usize = 8 << 20;

const LENGTH: usize = 4;
const NO_RESERVED: [u8; RESERVED] = [0; RESERVED];

/// One chunk, as it lies in a file. What it seals has not been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The reserved bytes of the header.
    pub reserved: &'a [u8; RESERVED],
    /// The sealed payload.
    pub sealed: &'a [u8],
    /// The length of the whole chunk, its header included.
    pub len: usize,
}

/// The bytes at `offset` are not a chunk of this seal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadChunk {
    /// Where the bad chunk begins, in the bytes that were given.
    pub offset: usize,
}

impl fmt::Display for BadChunk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the chunk at byte {} is damaged", self.offset)
    }
}

impl std::error::Error for BadChunk {}

/// Appends one chunk to `out`.
///
/// # Panics
///
/// If `plain` is longer than [`MAX_PLAIN`]: no reader would accept that chunk.
pub fn put(seal: &dyn Seal, reserved: &[u8; RESERVED], plain: &[u8], out: &mut Vec<u8>) {
    assert!(plain.len() <= MAX_PLAIN, "a chunk of {} bytes", plain.len());
    let sealed_len = seal.sealed_len(plain.len());
    out.reserve(HEADER + sealed_len);
    // Below MAX_SEALED, so nothing is cut off.
    out.extend_from_slice(&(sealed_len as u32).to_le_bytes());
    out.extend_from_slice(reserved);
    let payload_at = out.len();
    seal.seal(plain, out);
    debug_assert_eq!(out.len() - payload_at, sealed_len);
}

/// Appends `plain` to `out` in chunks of `chunk_plain` bytes, the last one shorter, their reserved
/// bytes zero. Nothing is written for nothing.
///
/// # Panics
///
/// If `chunk_plain` is zero or more than [`MAX_PLAIN`].
pub fn put_all(seal: &dyn Seal, plain: &[u8], chunk_plain: usize, out: &mut Vec<u8>) {
    out.reserve(len_all(seal, plain.len(), chunk_plain));
    for piece in plain.chunks(chunk_plain) {
        put(seal, &NO_RESERVED, piece, out);
    }
}

/// As [`put_all`], with the bytes of several slices behind each other.
pub(crate) fn put_parts<'a>(
    seal: &dyn Seal,
    parts: impl Iterator<Item = &'a [u8]>,
    chunk_plain: usize,
    out: &mut Vec<u8>,
) {
    // What lies within one slice is sealed from where it is.
    let mut across = Vec::with_capacity(chunk_plain);
    for mut part in parts {
        while !part.is_empty() {
            let (now, later) = part.split_at(part.len().min(chunk_plain - across.len()));
            part = later;
            if now.len() == chunk_plain {
                put(seal, &NO_RESERVED, now, out);
                continue;
            }
            across.extend_from_slice(now);
            if across.len() == chunk_plain {
                put(seal, &NO_RESERVED, &across, out);
                across.clear();
            }
        }
    }
    if !across.is_empty() {
        put(seal, &NO_RESERVED, &across, out);
    }
}

/// The exact length of what [`put_all`] writes for `plain_len` bytes.
///
/// # Panics
///
/// If `chunk_plain` is zero.
#[must_use]
pub fn len_all(seal: &dyn Seal, plain_len: usize, chunk_plain: usize) -> usize {
    let whole = (HEADER + seal.sealed_len(chunk_plain)) * (plain_len / chunk_plain);
    match plain_len % chunk_plain {
        0 => whole,
        rest => whole + HEADER + seal.sealed_len(rest),
    }
}

/// The first chunk of `bytes`. `None` if it is not all there or claims to be longer than
/// [`MAX_SEALED`].
#[must_use]
pub fn parse(bytes: &[u8]) -> Option<Chunk<'_>> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let (reserved, rest) = rest.split_first_chunk::<RESERVED>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    if length > MAX_SEALED {
        return None;
    }
    Some(Chunk { reserved, sealed: rest.get(..length)?, len: HEADER + length })
}

/// Appends the plaintext of all chunks of `bytes` to `out`.
///
/// # Errors
///
/// [`BadChunk`] if `bytes` are not whole chunks of this seal up to the end. `out` is then as it was.
pub fn open_all(seal: &dyn Seal, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadChunk> {
    let start = out.len();
    let opened = each(bytes, |chunk| seal.open(chunk.sealed, out).ok());
    if opened.is_err() {
        out.truncate(start);
    }
    opened
}

/// Feeds `hasher` with what pins all chunks of `bytes`, in order, to anyone without the key: for
/// each its payload's length (u32le), its nonce and its tag.
///
/// # Errors
///
/// [`BadChunk`] if `bytes` are not whole chunks up to the end, or one is too short for this seal.
pub fn bind(seal: &dyn Seal, bytes: &[u8], hasher: &mut blake3::Hasher) -> Result<(), BadChunk> {
    each(bytes, |chunk| {
        let [nonce, tag] = seal.binding(chunk.sealed)?;
        hasher.update(&(chunk.sealed.len() as u32).to_le_bytes());
        hasher.update(nonce);
        hasher.update(tag);
        Some(())
    })
}

/// Calls `take` with each chunk of `bytes`, until it returns `None`.
fn each(bytes: &[u8], mut take: impl FnMut(Chunk<'_>) -> Option<()>) -> Result<(), BadChunk> {
    let mut offset = 0;
    while offset < bytes.len() {
        let chunk = parse(&bytes[offset..]).ok_or(BadChunk { offset })?;
        take(chunk).ok_or(BadChunk { offset })?;
        offset += chunk.len;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::crypto::key::Key;
    use crate::crypto::seal::tests::every_seal;
    use crate::crypto::seal::{Cipher, make};
    use proptest::prelude::*;

    fn digest(seal: &dyn Seal, bytes: &[u8]) -> Result<blake3::Hash, BadChunk> {
        let mut hasher = blake3::Hasher::new();
        bind(seal, bytes, &mut hasher).map(|()| hasher.finalize())
    }

    fn opened(seal: &dyn Seal, bytes: &[u8]) -> Result<Vec<u8>, BadChunk> {
        let mut out = Vec::new();
        open_all(seal, bytes, &mut out).map(|()| out)
    }

    /// Three chunks of ten, ten and four bytes, and where the second and third begin.
    fn three(seal: &dyn Seal) -> (Vec<u8>, usize, usize) {
        let mut bytes = Vec::new();
        put_all(seal, b"0123456789abcdefghijWXYZ", 10, &mut bytes);
        let one = HEADER + seal.sealed_len(10);
        (bytes, one, 2 * one)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_put_opens_and_has_the_length_foretold(plain: Vec<u8>, chunk_plain in 1usize..64) {
            for (name, seal) in every_seal() {
                let mut bytes = b"before".to_vec();
                put_all(&*seal, &plain, chunk_plain, &mut bytes);
                let bytes = bytes.strip_prefix(b"before").unwrap();
                prop_assert_eq!(bytes.len(), len_all(&*seal, plain.len(), chunk_plain), "{}", name);
                prop_assert_eq!(opened(&*seal, bytes).unwrap(), plain.clone(), "{}", name);
                prop_assert!(digest(&*seal, bytes).is_ok(), "{}", name);
            }
        }

        #[test]
        fn parts_become_the_chunks_that_they_would_become_as_one(
            parts: Vec<Vec<u8>>,
            chunk_plain in 1usize..64,
        ) {
            let plain = parts.concat();
            for (name, seal) in every_seal() {
                let mut bytes = Vec::new();
                put_parts(&*seal, parts.iter().map(Vec::as_slice), chunk_plain, &mut bytes);
                prop_assert_eq!(bytes.len(), len_all(&*seal, plain.len(), chunk_plain), "{}", name);
                prop_assert_eq!(opened(&*seal, &bytes).unwrap(), plain.clone(), "{}", name);
            }
        }

        #[test]
        fn no_bytes_make_parse_fail_or_exceed_them(bytes: Vec<u8>, length in 0u32..300) {
            let framed = [&length.to_le_bytes()[..], &bytes].concat();
            for bytes in [&bytes, &framed] {
                if let Some(chunk) = parse(bytes) {
                    prop_assert!(chunk.len <= bytes.len());
                    prop_assert_eq!(chunk.len, HEADER + chunk.sealed.len());
                }
            }
        }
    }

    /// Made with PyCoffer's own parts: `naclfile.NaclCryptor(chunk_size=8,
    /// secret_key=bytes(range(32))).crypt(b'buy milk\n')`.
    #[test]
    fn chunks_of_naclfile_open() {
        let bytes = [
            &b"\x30\0\0\0"[..],
            &[0; 28],
            &NACLFILE_FIRST,
            b"\x29\0\0\0",
            &[0; 28],
            &NACLFILE_SECOND,
        ]
        .concat();
        let key = Key::from_bytes(&(0..32).collect::<Vec<_>>()).unwrap();
        let seal = make(Cipher::Secretbox, &key).unwrap();
        assert_eq!(opened(&*seal, &bytes).unwrap(), b"buy milk\n");
        assert_eq!(len_all(&*seal, 9, 8), bytes.len());
    }
    const NACLFILE_FIRST: [u8; 48] = [
        34, 160, 54, 135, 249, 215, 225, 212, 249, 212, 48, 82, 53, 68, 15, 142, 175, 187, 209,
        178, 96, 75, 55, 141, 240, 245, 236, 27, 154, 30, 160, 250, 154, 228, 129, 232, 174, 171,
        112, 208, 29, 146, 150, 181, 237, 209, 51, 132,
    ];
    const NACLFILE_SECOND: [u8; 41] = [
        187, 254, 7, 155, 68, 64, 29, 189, 133, 190, 238, 184, 168, 112, 161, 146, 154, 191, 239,
        38, 217, 148, 85, 218, 14, 190, 107, 184, 14, 89, 177, 221, 114, 112, 228, 46, 183, 16, 71,
        116, 46,
    ];

    #[test]
    fn nothing_writes_nothing() {
        for (name, seal) in every_seal() {
            let mut out = Vec::new();
            put_all(&*seal, b"", 8, &mut out);
            assert!(out.is_empty(), "{name}");
            assert_eq!(len_all(&*seal, 0, 8), 0, "{name}");
            assert_eq!(opened(&*seal, b"").unwrap(), b"", "{name}");
        }
    }

    #[test]
    fn reserved_bytes_are_kept_and_do_not_disturb() {
        for (name, seal) in every_seal() {
            let reserved = std::array::from_fn(|at| at as u8);
            let mut bytes = Vec::new();
            put(&*seal, &reserved, b"milk", &mut bytes);
            let chunk = parse(&bytes).unwrap();
            assert_eq!((chunk.reserved, chunk.len), (&reserved, bytes.len()), "{name}");
            assert_eq!(opened(&*seal, &bytes).unwrap(), b"milk", "{name}");
        }
    }

    #[test]
    fn the_longest_chunk_is_accepted_back_under_every_seal() {
        for (name, seal) in every_seal() {
            assert!(seal.sealed_len(MAX_PLAIN) <= MAX_SEALED, "{name}");
        }
    }

    #[test]
    fn a_length_over_the_limit_is_refused_before_anything_is_read() {
        let mut bytes = vec![0; HEADER + MAX_SEALED + 1];
        bytes[..4].copy_from_slice(&(MAX_SEALED as u32 + 1).to_le_bytes());
        assert_eq!(parse(&bytes), None);
        bytes[..4].copy_from_slice(&(MAX_SEALED as u32).to_le_bytes());
        assert_eq!(parse(&bytes).unwrap().len, HEADER + MAX_SEALED);
        assert_eq!(parse(&[0xFF; 64]), None);
    }

    #[test]
    fn a_bad_chunk_is_named_by_its_offset_and_nothing_is_released() {
        for (name, seal) in every_seal() {
            let (bytes, second, third) = three(&*seal);
            for (offset, at) in
                [(0, second - 1), (second, second + HEADER), (third, bytes.len() - 1)]
            {
                let mut bytes = bytes.clone();
                bytes[at] ^= 1;
                let mut out = b"before".to_vec();
                assert_eq!(open_all(&*seal, &bytes, &mut out), Err(BadChunk { offset }), "{name}");
                assert_eq!(out, b"before", "{name}");
            }
        }
    }

    #[test]
    fn bytes_that_are_not_whole_chunks_are_refused() {
        for (name, seal) in every_seal() {
            let (bytes, second, third) = three(&*seal);
            for len in 0..bytes.len() {
                if [0, second, third].contains(&len) {
                    continue;
                }
                let offset = len.saturating_sub(1) / second * second;
                assert_eq!(
                    opened(&*seal, &bytes[..len]),
                    Err(BadChunk { offset }),
                    "{name}, {len}"
                );
                assert_eq!(
                    digest(&*seal, &bytes[..len]),
                    Err(BadChunk { offset }),
                    "{name}, {len}"
                );
            }
            let longer = [&bytes[..], b"\0"].concat();
            assert_eq!(opened(&*seal, &longer), Err(BadChunk { offset: bytes.len() }), "{name}");
            let empty_chunk = [&bytes[..], &[0; HEADER]].concat();
            assert_eq!(
                opened(&*seal, &empty_chunk),
                Err(BadChunk { offset: bytes.len() }),
                "{name}"
            );
            assert_eq!(
                digest(&*seal, &empty_chunk),
                Err(BadChunk { offset: bytes.len() }),
                "{name}"
            );
        }
    }

    #[test]
    fn the_digest_covers_length_nonce_and_tag_of_each_chunk_in_order() {
        for (name, seal) in every_seal() {
            let (bytes, second, third) = three(&*seal);
            let mut covered = Vec::new();
            for start in [0, second, third] {
                let chunk = parse(&bytes[start..]).unwrap();
                covered.extend_from_slice(&bytes[start..start + 4]);
                covered.extend_from_slice(&seal.binding(chunk.sealed).unwrap().concat());
            }
            assert_eq!(digest(&*seal, &bytes), Ok(blake3::hash(&covered)), "{name}");
        }
    }

    #[test]
    fn moved_dropped_repeated_and_resealed_chunks_change_the_digest() {
        for (name, seal) in every_seal() {
            let (bytes, second, third) = three(&*seal);
            let whole = digest(&*seal, &bytes).unwrap();
            let (one, two, rest) = (&bytes[..second], &bytes[second..third], &bytes[third..]);
            let resealed = three(&*seal).0;
            for (what, other) in [
                ("moved", [two, one, rest].concat()),
                ("dropped", [one, rest].concat()),
                ("cut", [one, two].concat()),
                ("repeated", [one, two, two, rest].concat()),
                ("replaced", [&resealed[..second], two, rest].concat()),
            ] {
                assert!(opened(&*seal, &other).is_ok(), "{name}, {what}");
                assert_ne!(digest(&*seal, &other).unwrap(), whole, "{name}, {what}");
            }
        }
    }
}
