//! The encoding of the fields of commits: unsigned LEB128 integers, and byte strings after their
//! length. Each value is checked when it is read.

use crate::error::{self, Error, Result};

/// Writes values one after another.
#[derive(Default)]
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.0.push(value);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub(crate) fn uint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }

    /// A signed integer, zigzag: small magnitudes are short.
    pub(crate) fn int(&mut self, value: i64) {
        self.uint(((value << 1) ^ (value >> 63)) as u64);
    }

    pub(crate) fn string(&mut self, value: &str) {
        self.uint(value.len() as u64);
        self.raw(value.as_bytes());
    }

    pub(crate) fn list<T>(&mut self, items: &[T], mut each: impl FnMut(&mut Self, &T)) {
        self.uint(items.len() as u64);
        for item in items {
            each(self, item);
        }
    }
}

/// The most bytes of an unsigned integer.
const MAX_UINT: usize = 10;

/// The top bit of each of eight bytes.
const TOP_BITS: u64 = 0x8080_8080_8080_8080;

/// The low seven bits of eight bytes, one behind the other: all at once, since a catalog has ten
/// integers for each member.
const fn joined(word: u64) -> u64 {
    let pairs = (word & 0x007f_007f_007f_007f) | ((word & 0x7f00_7f00_7f00_7f00) >> 1);
    let fours = (pairs & 0x0000_3fff_0000_3fff) | ((pairs & 0x3fff_0000_3fff_0000) >> 2);
    (fours & 0x0fff_ffff) | ((fours & 0x0fff_ffff_0000_0000) >> 4)
}

/// Reads values in the order they were written.
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Everything has been read.
    pub(crate) fn finish(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(malformed("bytes are left over")) }
    }

    #[inline]
    pub(crate) fn byte(&mut self) -> Result<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) =
            self.0.split_first_chunk::<N>().ok_or_else(|| malformed("it ends early"))?;
        self.0 = rest;
        Ok(*head)
    }

    #[inline]
    pub(crate) fn raw(&mut self, len: usize) -> Result<&'a [u8]> {
        let (head, rest) =
            self.0.split_at_checked(len).ok_or_else(|| malformed("it ends early"))?;
        self.0 = rest;
        Ok(head)
    }

    /// How many bytes have not been read.
    pub(crate) fn left(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }

    #[inline]
    pub(crate) fn uint(&mut self) -> Result<u64> {
        if let Some(chunk) = self.0.first_chunk() {
            let word = u64::from_le_bytes(*chunk);
            // The top bit of the last byte is the first that is clear.
            let clear = !word & TOP_BITS;
            if clear != 0 {
                let len = clear.trailing_zeros() as usize / 8 + 1;
                self.0 = self.0.get(len..).unwrap_or_default();
                return Ok(joined(word & !TOP_BITS & (u64::MAX >> (64 - 8 * len))));
            }
        }
        self.long_uint()
    }

    /// An integer of more than eight bytes, or near the end.
    #[cold]
    fn long_uint(&mut self) -> Result<u64> {
        let mut value = 0u64;
        for (at, byte) in self.0.iter().enumerate().take(MAX_UINT) {
            let bits = u64::from(byte & 0x7f);
            if at + 1 == MAX_UINT && bits > 1 {
                return Err(malformed("a number is too large"));
            }
            value |= bits << (7 * at);
            if byte & 0x80 == 0 {
                self.0 = self.0.get(at + 1..).unwrap_or_default();
                return Ok(value);
            }
        }
        let whole = self.0.len() >= MAX_UINT;
        Err(malformed(if whole { "a number is too long" } else { "it ends early" }))
    }

    #[inline]
    pub(crate) fn uint32(&mut self) -> Result<u32> {
        u32::try_from(self.uint()?).map_err(|_| malformed("a number is too large"))
    }

    #[inline]
    pub(crate) fn int(&mut self) -> Result<i64> {
        let value = self.uint()?;
        Ok((value >> 1) as i64 ^ -((value & 1) as i64))
    }

    #[inline]
    pub(crate) fn string(&mut self) -> Result<&'a str> {
        std::str::from_utf8(self.bytes()?).map_err(|_| malformed("a name is not UTF-8"))
    }

    /// The bytes of a string.
    #[inline]
    pub(crate) fn bytes(&mut self) -> Result<&'a [u8]> {
        let len = usize::try_from(self.uint()?).map_err(|_| malformed("a number is too large"))?;
        self.raw(len)
    }

    /// Reads a list of at most `most` items. The count is checked first, memory grows with the items
    /// that are read, and a failed allocation is an error.
    pub(crate) fn list<T>(
        &mut self,
        most: u64,
        mut each: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        let count = self.uint()?;
        if count > most {
            return Err(malformed("it lists more than its file could hold"));
        }
        // Every item has a byte at least.
        if count > self.0.len() as u64 {
            return Err(malformed("it ends early"));
        }
        let mut items = Vec::new();
        for _ in 0..count {
            if items.len() == items.capacity() {
                items.try_reserve(1).map_err(|_| error::no_memory("a commit"))?;
            }
            items.push(each(self)?);
        }
        Ok(items)
    }
}

pub(crate) fn malformed(what: &str) -> Error {
    Error::corrupt(format!("a commit is malformed: {what}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_written_is_read_back(a: u64, b: i64, s: String, l: Vec<u32>) {
            let mut e = Encoder::default();
            e.uint(a);
            e.int(b);
            e.string(&s);
            e.list(&l, |e, x| e.uint(u64::from(*x)));
            let bytes = e.finish();
            let mut d = Decoder::new(&bytes);
            prop_assert_eq!(d.uint().unwrap(), a);
            prop_assert_eq!(d.int().unwrap(), b);
            prop_assert_eq!(d.string().unwrap(), s);
            prop_assert_eq!(d.list(u64::MAX, Decoder::uint32).unwrap(), l);
            d.finish().unwrap();
        }

        #[test]
        fn an_integer_is_the_same_wherever_it_stands(mut bytes in proptest::collection::vec(any::<u8>(), 0..11), ends: bool) {
            if ends && let Some(last) = bytes.last_mut() {
                *last &= 0x7f;
            }
            let mut far = bytes.clone();
            far.extend([0xff; 10]);
            let (mut near, mut far) = (Decoder::new(&bytes), Decoder::new(&far));
            let value = near.uint();
            let whole = bytes.iter().position(|byte| byte & 0x80 == 0).filter(|at| *at < 9);
            if let Some(at) = whole {
                let parts = bytes.iter().take(at + 1).enumerate();
                let sum: u64 = parts.map(|(at, byte)| u64::from(byte & 0x7f) << (7 * at)).sum();
                prop_assert_eq!(value.unwrap(), sum);
                prop_assert_eq!(far.uint().unwrap(), sum);
                prop_assert_eq!(near.left() + 10, far.left());
            } else if bytes.len() >= 10 {
                prop_assert_eq!(value.ok(), far.uint().ok());
            } else {
                prop_assert!(value.is_err());
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes: Vec<u8>) {
            let mut d = Decoder::new(&bytes);
            let _ = d.list(u64::MAX, |d| { d.uint()?; d.string().map(str::len) });
        }
    }

    #[test]
    fn a_count_is_refused_before_an_item_is_read() {
        let mut e = Encoder::default();
        e.list(&[1u32; 5], |e, x| e.uint(u64::from(*x)));
        let bytes = e.finish();
        assert_eq!(Decoder::new(&bytes).list(5, Decoder::uint32).unwrap(), [1; 5]);
        let mut lying = bytes.clone();
        lying[0] = 6;
        for (bytes, most) in [(&bytes, 4), (&lying, u64::MAX)] {
            let read = Decoder::new(bytes).list(most, |_| -> Result<()> { panic!("it is read") });
            assert_eq!(read.unwrap_err().code(), error::Code::Corrupt);
        }
    }
}
