//! The entries of the tar in a block that no commit names.

use crate::format::member::Attributes;
use crate::format::member::MemberType;
use crate::format::name;
use crate::format::tar::{RECORD, ROOT, checksum, padding};

/// An entry of a tar.
#[derive(Debug, Clone)]
pub(super) struct TarEntry {
    pub(super) name: String,
    pub(super) member_type: MemberType,
    /// The offset of its content in the tar.
    pub(super) at: usize,
    /// Bytes of its content, after the member layer.
    pub(super) stored: u64,
    pub(super) attributes: Attributes,
}

/// The kind of tar in a block.
#[derive(Debug)]
pub(super) enum BlockTar {
    /// Whole entries.
    Pack(Vec<TarEntry>),
    /// The header of one entry, whose content is in the blocks behind it.
    Head(TarEntry),
    /// Other bytes: as a rule a part of an entry's content.
    Content,
}

/// Determines the kind of the tar of a whole block. `stored` is set if its frame is stored, as the
/// frames of headers are.
pub(super) fn tell(tar: &[u8], stored: bool) -> BlockTar {
    let (mut entries, at) = walk(tar);
    match entries.pop() {
        Some(head)
            if entries.is_empty() && !head.member_type.is_directory() && head.at == tar.len() =>
        {
            // The header of an unfinished member looks like an empty member, but its frame is stored.
            if head.stored > 0 || stored {
                BlockTar::Head(head)
            } else {
                BlockTar::Pack(vec![head])
            }
        }
        Some(last) if at == Some(tar.len()) => {
            entries.push(last);
            entries.retain(|entry| entry.name != ROOT);
            BlockTar::Pack(entries)
        }
        _ => BlockTar::Content,
    }
}

/// The whole entries at the beginning of a tar.
pub(super) fn whole(tar: &[u8]) -> Vec<TarEntry> {
    let (mut entries, _) = walk(tar);
    entries.retain(|entry| end(entry).is_some_and(|end| end <= tar.len()) && entry.name != ROOT);
    entries
}

/// The entries from the beginning on; and where the last one ends, if there are no other bytes.
fn walk(tar: &[u8]) -> (Vec<TarEntry>, Option<usize>) {
    let mut entries = Vec::new();
    let mut at = 0;
    while at < tar.len() {
        let Some(entry) = entry(tar, at) else { return (entries, None) };
        let Some(next) = end(&entry) else { return (entries, None) };
        entries.push(entry);
        at = next;
    }
    (entries, Some(at))
}

fn end(entry: &TarEntry) -> Option<usize> {
    let padded = entry.stored.checked_add(padding(entry.stored) as u64)?;
    entry.at.checked_add(usize::try_from(padded).ok()?)
}

/// The entry at an offset, with the name that a PAX record before it gives.
fn entry(tar: &[u8], at: usize) -> Option<TarEntry> {
    let mut header = header_at(tar, at)?;
    let mut content = at.checked_add(RECORD)?;
    let mut path = None;
    if header.entry_type() == tar::EntryType::XHeader {
        let len = usize::try_from(header.entry_size().ok()?).ok()?;
        path = Some(pax_path(tar.get(content..content.checked_add(len)?)?)?);
        let next = content.checked_add(len.checked_next_multiple_of(RECORD)?)?;
        header = header_at(tar, next)?;
        content = next.checked_add(RECORD)?;
    }
    let directory = match header.entry_type() {
        tar::EntryType::Directory => true,
        tar::EntryType::Regular => false,
        _ => return None,
    };
    let given = match path {
        Some(path) => path,
        None => String::from_utf8(header.path_bytes().into_owned()).ok()?,
    };
    let name = if directory && given != ROOT { given.strip_suffix('/')? } else { &given };
    if given != ROOT && name::fault(name).is_some() {
        return None;
    }
    let attributes = Attributes {
        mode: header.mode().ok()?,
        mtime_s: i64::try_from(header.mtime().ok()?).ok()?,
        mtime_ns: 0,
    };
    Some(TarEntry {
        name: name.to_owned(),
        member_type: if directory { MemberType::Directory } else { MemberType::File },
        at: content,
        stored: header.entry_size().ok()?,
        attributes,
    })
}

/// The header at an offset, if its checksum is right.
fn header_at(tar: &[u8], at: usize) -> Option<&tar::Header> {
    let bytes = tar.get(at..at.checked_add(RECORD)?)?;
    is_header(bytes).then(|| tar::Header::from_byte_slice(bytes))
}

/// Whether a tar record is a header: it has the magic of ustar and the right checksum.
pub(super) fn is_header(bytes: &[u8]) -> bool {
    let Some(record) = bytes.get(..RECORD) else { return false };
    if !record[257..].starts_with(b"ustar") {
        return false;
    }
    tar::Header::from_byte_slice(record).cksum().is_ok_and(|sum| sum == checksum(record))
}

/// The name in a PAX record of the form that Coffer writes: one line, `n path=NAME`.
fn pax_path(record: &[u8]) -> Option<String> {
    let line = std::str::from_utf8(record).ok()?.strip_suffix('\n')?;
    let (len, rest) = line.split_once(' ')?;
    let fits = len.parse() == Ok(record.len());
    rest.strip_prefix("path=").filter(|_| fits).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use crate::format::tar::tests::heading;
    use crate::format::tar::{append, header};

    #[test]
    fn a_pack_is_told_from_a_head_and_from_content() {
        let long = "д".repeat(100);
        let mut pack = Vec::new();
        for (name, size) in [("a", 0usize), ("b/c", 1), (&long, 513)] {
            append(&mut pack, &heading(name, size as u64), &vec![7; size]).unwrap();
        }
        let BlockTar::Pack(entries) = tell(&pack, false) else { panic!() };
        let names: Vec<_> = entries.iter().map(|e| (e.name.as_str(), e.stored)).collect();
        assert_eq!(names, [("a", 0), ("b/c", 1), (&long, 513)]);
        assert!(entries.iter().all(|e| e.attributes.mode == 0o640));
        assert!(pack[entries[2].at..][..513].iter().all(|b| *b == 7));
        assert_eq!(whole(&pack[..pack.len() - 1]).len(), 2);

        let head = header(&heading(&long, 9_000)).unwrap();
        assert!(
            matches!(tell(&head, true), BlockTar::Head(e) if e.stored == 9_000 && e.name == long)
        );
        let empty = header(&heading("empty", 0)).unwrap();
        assert!(matches!(tell(&empty, false), BlockTar::Pack(_)));
        assert!(matches!(tell(&empty, true), BlockTar::Head(_)));
        for content in [&b""[..], &[0; 512], &[7; 700], &pack[512..], &pack[..pack.len() - 512]] {
            assert!(!matches!(tell(content, false), BlockTar::Head(_)), "{}", content.len());
        }
        assert!(matches!(tell(&[7; 1024], false), BlockTar::Content));
        let mut bad = pack.clone();
        bad[3] ^= 1;
        assert!(matches!(tell(&bad, false), BlockTar::Content));
    }

    #[test]
    fn names_that_no_member_has_are_refused() {
        let mut pack = Vec::new();
        append(&mut pack, &heading("../outside", 1), b"x").unwrap();
        assert!(matches!(tell(&pack, false), BlockTar::Content));
    }
}
