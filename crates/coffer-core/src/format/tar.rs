//! The entries of the tar: ustar, with a PAX record for a name that ustar cannot hold.
//!
//! Sizes and times are for other readers of the tar; Coffer itself uses the catalog, which also has
//! the nanoseconds. No end-of-archive marker is written, since it would hide entries that are appended
//! later.

use crate::format::member::Attributes;
use crate::format::member::MemberType;
use std::io;

use crate::error::{Code, Error, Result};

/// Bytes of a tar record, the unit of a tar.
pub(crate) const RECORD: usize = 512;
/// The name of the permanent first entry: Python's tarfile refuses a tar without any entry.
pub(crate) const ROOT: &str = "./";
/// The most bytes of a name in the name field of a header.
const SHORT_NAME: usize = 100;
/// Bytes of the end-of-archive marker that the `tar` crate appends, and that is cut off.
const END: usize = 2 * RECORD;

/// The fields of an entry's header.
#[derive(Debug, Clone)]
pub(crate) struct Heading<'a> {
    pub(crate) name: &'a str,
    pub(crate) member_type: MemberType,
    /// Bytes after the member layer.
    pub(crate) stored: u64,
    pub(crate) attributes: Attributes,
}

/// Appends an entry with its content, and gives the content's offset in `out`.
pub(crate) fn append(out: &mut Vec<u8>, heading: &Heading<'_>, content: &[u8]) -> Result<u32> {
    write(out, heading, content)?;
    let padded = content.len().div_ceil(RECORD) * RECORD;
    u32::try_from(out.len() - padded).map_err(|_| Error::new(Code::Limit, "a pack is too large"))
}

/// The header of an entry whose content follows in blocks of its own. Its length is a function of the
/// name.
pub(crate) fn header(heading: &Heading<'_>) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    write(&mut out, heading, &[])?;
    Ok(out)
}

/// The length of the header of an entry, in bytes: one record, and for a name that ustar cannot hold a
/// PAX record of a header and its lines before it.
pub(crate) fn header_len(name: &str, member_type: MemberType) -> usize {
    let slash = usize::from(member_type.is_directory() && !name.ends_with('/'));
    let len = name.len() + slash;
    if len <= SHORT_NAME && name.is_ascii() {
        return RECORD;
    }
    // "<length> path=<name>\n", whose length counts its own digits.
    let rest = " path=\n".len() + len;
    let digits = |number: usize| number.to_string().len();
    let line = rest + digits(rest + digits(rest));
    RECORD + line.div_ceil(RECORD) * RECORD + RECORD
}

/// The length of an entry, in bytes: its header, and its content of `stored` bytes with its padding.
pub(crate) fn entry_len(name: &str, member_type: MemberType, stored: u64) -> u64 {
    let padded = stored.saturating_add(padding(stored) as u64);
    padded.saturating_add(header_len(name, member_type) as u64)
}

/// The permanent first entry, whole.
pub(crate) fn root() -> Result<Vec<u8>> {
    header(&Heading {
        name: ROOT,
        member_type: MemberType::Directory,
        stored: 0,
        attributes: Attributes { mode: 0o755, mtime_s: 0, mtime_ns: 0 },
    })
}

/// The zeros that follow `stored` bytes of content.
pub(crate) fn padding(stored: u64) -> usize {
    (RECORD - (stored % RECORD as u64) as usize) % RECORD
}

/// The checksum of a header record of 512 bytes: the sum of its bytes, those of the checksum field
/// counted as spaces.
pub(crate) fn checksum(record: &[u8]) -> u32 {
    let field = 148..156;
    let byte_at = |(at, byte): (usize, &u8)| if field.contains(&at) { b' ' } else { *byte };
    record.iter().enumerate().map(byte_at).map(u32::from).sum()
}

fn write(out: &mut Vec<u8>, heading: &Heading<'_>, content: &[u8]) -> Result<()> {
    let mut name = heading.name.to_owned();
    if heading.member_type.is_directory() && !name.ends_with('/') {
        name.push('/');
    }
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(if heading.member_type.is_directory() {
        tar::EntryType::Directory
    } else {
        tar::EntryType::Regular
    });
    header.set_size(heading.stored);
    header.set_mode(heading.attributes.mode & 0o7777);
    header.set_mtime(u64::try_from(heading.attributes.mtime_s).unwrap_or(0));
    header.set_uid(0);
    header.set_gid(0);
    let short: Vec<u8> = name.bytes().filter(u8::is_ascii).take(SHORT_NAME).collect();
    let fits = short.len() == name.len();
    header.as_old_mut().name[..short.len()].copy_from_slice(&short);
    header.set_cksum();

    let mut builder = tar::Builder::new(std::mem::take(out));
    let written = (|| -> io::Result<Vec<u8>> {
        if !fits {
            builder.append_pax_extensions([("path", name.as_bytes())])?;
        }
        builder.append(&header, content)?;
        builder.into_inner()
    })();
    *out = written.map_err(|e| Error::new(Code::Limit, format!("tar refused an entry: {e}")))?;
    out.truncate(out.len().saturating_sub(END));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::io::Read;

    pub(crate) fn heading(name: &str, stored: u64) -> Heading<'_> {
        Heading {
            name,
            member_type: MemberType::File,
            stored,
            attributes: Attributes { mode: 0o640, mtime_s: 1_700_000_000, mtime_ns: 0 },
        }
    }

    #[test]
    fn entries_are_read_by_the_tar_crate_and_content_is_where_it_says() {
        let long = "д".repeat(200);
        let mut out = Vec::new();
        let dir = Heading {
            name: ROOT,
            member_type: MemberType::Directory,
            stored: 0,
            attributes: Attributes { mode: 0o755, mtime_s: 0, mtime_ns: 0 },
        };
        append(&mut out, &dir, &[]).unwrap();
        let mut places = Vec::new();
        for (name, size) in [("a", 0usize), ("b/c", 1), (long.as_str(), 513)] {
            let content = vec![size as u8; size];
            let at = append(&mut out, &heading(name, size as u64), &content).unwrap() as usize;
            assert_eq!(out[at..at + size], content);
            places.push((name.to_owned(), content));
        }
        let mut archive = tar::Archive::new(out.as_slice());
        let mut found = Vec::new();
        for entry in archive.entries().unwrap().skip(1) {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            found.push((entry.path().unwrap().to_str().unwrap().to_owned(), content));
        }
        assert_eq!(found, places);
    }

    #[test]
    fn the_length_of_an_entry_is_known_from_its_name() {
        let lengths = (1..260).chain([489, 490, 491, 960, 980, 990, 993, 1000, 3799, 3800]);
        for len in lengths {
            for letter in ["a", "é"] {
                let name = letter.repeat(len.max(2) / letter.len());
                for member_type in [MemberType::File, MemberType::Directory] {
                    let heading = Heading { member_type, ..heading(&name, 700) };
                    let written = header(&heading).unwrap().len();
                    assert_eq!(header_len(&name, member_type), written, "{len} of {letter}");
                    assert_eq!(entry_len(&name, member_type, 700), written as u64 + 1024);
                }
            }
        }
    }

    #[test]
    fn a_header_is_as_long_whatever_the_size() {
        for name in ["a".to_owned(), "é".repeat(300)] {
            let lengths: Vec<_> = [0, 1, 1 << 33, u64::from(u32::MAX), 1 << 50]
                .iter()
                .map(|s| header(&heading(&name, *s)).unwrap().len())
                .collect();
            assert!(lengths.windows(2).all(|w| w[0] == w[1]), "{lengths:?}");
        }
    }
}
