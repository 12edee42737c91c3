//! Small members that cross into the engine together, and their member layer.

use rayon::prelude::*;

use crate::engine::container::SMALL;
use crate::error::{Code, Error, Result};
use crate::format::block::Layers;
use crate::format::name;
use crate::io::pool;

/// Members that one thread of the pool encodes in a row.
const PART: usize = 64;
/// Bytes of the head of a packed member: the length of its name and that of its data, its mode and the
/// nanoseconds of its time, each in 4 bytes, and the seconds of its time as a double, all little-endian.
/// The name in UTF-8 and the data follow.
const HEAD: usize = 24;
/// A mode or a time that is not given.
const NOT_GIVEN: u32 = u32::MAX;

/// Small members one behind the other, as the binding hands them over.
#[derive(Debug, Default)]
pub struct PackedMembers(Vec<u8>);

impl From<Vec<u8>> for PackedMembers {
    /// Takes bytes that were packed elsewhere. They are checked when they are encoded.
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

/// One of [`PackedMembers`].
#[derive(Debug, PartialEq)]
struct SmallMember<'a> {
    name: &'a str,
    data: &'a [u8],
    mode: Option<u32>,
    /// Seconds and nanoseconds since 1970.
    mtime: Option<(i64, u32)>,
}

/// A small member after the member layer.
pub(crate) struct EncodedMember {
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) mode: Option<u32>,
    pub(super) mtime: Option<(i64, u32)>,
    pub(super) stored: Vec<u8>,
}

impl PackedMembers {
    /// Adds a member. Seconds are exact up to 2^53 from 1970.
    pub fn push(&mut self, name: &str, data: &[u8], mode: Option<u32>, mtime: Option<(i64, u32)>) {
        let (seconds, nanoseconds) = mtime.unwrap_or((0, NOT_GIVEN));
        let numbers =
            [name.len() as u32, data.len() as u32, mode.unwrap_or(NOT_GIVEN), nanoseconds];
        self.0.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        self.0.extend((seconds as f64).to_le_bytes());
        self.0.extend(name.as_bytes());
        self.0.extend(data);
    }

    /// Puts the members through the member layer, in parallel. The results are in the order of the members.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if the bytes are not packed as they should be.
    pub(crate) fn encode(&self, layers: &Layers) -> Result<Vec<Result<EncodedMember>>> {
        let members = self.members()?;
        let encode =
            |member: &SmallMember<'_>| member.encode(layers).map_err(|e| e.of_member(member.name));
        if members.len() <= PART {
            return Ok(members.iter().map(encode).collect());
        }
        Ok(pool::within(|| members.par_iter().with_min_len(PART).map(encode).collect()))
    }

    fn members(&self) -> Result<Vec<SmallMember<'_>>> {
        let (mut members, mut rest) = (Vec::new(), &*self.0);
        while !rest.is_empty() {
            let malformed = || Error::new(Code::InvalidArg, "members are packed in another form");
            let (member, behind) = SmallMember::split(rest).ok_or_else(malformed)?;
            members.push(member);
            rest = behind;
        }
        Ok(members)
    }
}

impl<'a> SmallMember<'a> {
    /// The first member, and the bytes behind it.
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>()?;
        let number = |at: usize| {
            let bytes = head.get(at..)?.first_chunk()?;
            Some(u32::from_le_bytes(*bytes))
        };
        let (mode, nanoseconds) = (number(8)?, number(12)?);
        let seconds = f64::from_le_bytes(*head.get(16..)?.first_chunk()?);
        let (name, rest) = rest.split_at_checked(number(0)? as usize)?;
        let (data, rest) = rest.split_at_checked(number(4)? as usize)?;
        let member = Self {
            name: std::str::from_utf8(name).ok()?,
            data,
            mode: (mode != NOT_GIVEN).then_some(mode),
            mtime: (nanoseconds != NOT_GIVEN).then_some((seconds as i64, nanoseconds)),
        };
        Some((member, rest))
    }

    fn encode(&self, layers: &Layers) -> Result<EncodedMember> {
        let name = name::check(self.name)?.to_owned();
        let size = self.data.len() as u64;
        if size > SMALL {
            let large = "a member of more than 128 KiB is written by itself";
            return Err(Error::new(Code::InvalidArg, large));
        }
        let stored = layers.encode_member(self.data)?.into_vec();
        let Self { mode, mtime, .. } = *self;
        Ok(EncodedMember { name, size, mode, mtime, stored })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn members_are_read_as_they_were_packed() {
        let mut packed = PackedMembers::default();
        packed.push("a", b"one", None, None);
        packed.push("\u{e4}", b"", Some(0o600), Some((-2, 7)));
        let (mode, mtime) = (Some(0o600), Some((-2, 7)));
        let expected = [
            SmallMember { name: "a", data: b"one", mode: None, mtime: None },
            SmallMember { name: "\u{e4}", data: b"", mode, mtime },
        ];
        assert_eq!(packed.members().unwrap(), expected);
    }

    #[test]
    fn bytes_that_end_within_a_member_or_have_a_name_that_is_not_utf_8_are_refused() {
        let mut packed = PackedMembers::default();
        packed.push("name", b"data", None, None);
        let read = |bytes: &[u8]| PackedMembers::from(bytes.to_vec()).members().map(|m| m.len());
        let refused = |bytes: &[u8]| read(bytes).unwrap_err().code() == Code::InvalidArg;
        assert_eq!(read(&packed.0).unwrap(), 1);
        assert!((1..packed.0.len()).all(|len| refused(&packed.0[..len])));
        assert!(refused(&[0xff; 64]));
        let broken: Vec<u8> = packed.0.iter().map(|b| if *b == b'n' { 0xff } else { *b }).collect();
        assert!(refused(&broken));
    }
}
