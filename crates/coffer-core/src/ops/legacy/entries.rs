//! The entries of an untrusted tar, as PyCoffer writes it.
//!
//! Readers of tars differ in how they resolve headers that give a name, size or type twice. Here
//! that is damage, so that no two readers see different members.

use std::io::{self, Read};

use super::{cut_short, invalid};
use crate::format::member::Attributes;
use crate::format::tar::{RECORD, checksum, padding};

/// The most bytes of an extension header: more than PyCoffer ever writes for a name and some numbers.
const MAX_EXTENSION: u64 = 1 << 20;
/// The most bytes of a name in a header of the oldest form.
const SHORT_NAME: usize = 100;
/// The name prefix in a ustar header. Other forms have other fields there.
const PREFIX: std::ops::Range<usize> = 345..500;

/// An entry of a tar, by its headers.
pub(crate) struct LegacyEntry {
    pub(crate) name: Vec<u8>,
    pub(crate) kind: tar::EntryType,
    mode: u32,
    /// Seconds and nanoseconds.
    mtime: (i64, u32),
}

impl LegacyEntry {
    /// The name as text, without a leading `./` and without slashes at its ends. Bytes that are not
    /// UTF-8 become `\xNN`. The result may be empty or unsafe.
    pub(crate) fn member_name(&self) -> String {
        let text = escaped(&self.name);
        text.trim_start_matches("./").trim_start_matches('/').trim_end_matches('/').to_owned()
    }

    pub(crate) fn attributes(&self) -> Attributes {
        let (mtime_s, mtime_ns) = self.mtime;
        Attributes { mode: self.mode & 0o777, mtime_s, mtime_ns }
    }
}

/// The entries of a tar, one after another.
pub(crate) struct Entries<R> {
    tar: R,
    /// Bytes of the entry's content that are still to be read.
    left: u64,
    /// Bytes of padding that follow them.
    padding: u64,
}

impl<R: Read> Entries<R> {
    pub(crate) fn new(tar: R) -> Self {
        Self { tar, left: 0, padding: 0 }
    }

    /// The next entry, after skipping the rest of the one before. The first record of zeros ends the
    /// tar.
    pub(crate) fn next(&mut self) -> io::Result<Option<LegacyEntry>> {
        let (mut pax, mut long_name) = (None, None);
        loop {
            let Some(header) = self.header()? else {
                return if pax.is_none() && long_name.is_none() {
                    Ok(None)
                } else {
                    Err(invalid("its tar ends where an entry should follow"))
                };
            };
            let twice = match header.entry_type() {
                tar::EntryType::XHeader => pax.replace(Pax::parse(&self.extension()?)?).is_some(),
                tar::EntryType::GNULongName => {
                    let mut name = self.extension()?;
                    if name.last() == Some(&0) {
                        name.pop();
                    }
                    long_name.replace(name).is_some()
                }
                _ => return self.entry(&header, pax.unwrap_or_default(), long_name).map(Some),
            };
            if twice {
                return Err(invalid("an entry of its tar has two headers of one type"));
            }
        }
    }

    /// Whether the content of the entry has been read to its end.
    pub(crate) fn is_read(&self) -> bool {
        self.left == 0
    }

    /// Skips the rest of an entry, and reads the next header. `None` at the end.
    fn header(&mut self) -> io::Result<Option<tar::Header>> {
        let rest = self.left + self.padding;
        if io::copy(&mut self.tar.by_ref().take(rest), &mut io::sink())? < rest {
            return Err(cut_short());
        }
        (self.left, self.padding) = (0, 0);
        let mut header = tar::Header::new_old();
        let mut block = Vec::with_capacity(RECORD);
        self.tar.by_ref().take(RECORD as u64).read_to_end(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        if block.len() < RECORD {
            return Err(cut_short());
        }
        header.as_mut_bytes().copy_from_slice(&block);
        if header.cksum()? != checksum(&block) {
            return Err(invalid("a checksum in its tar is wrong"));
        }
        self.expect(header.entry_size()?)?;
        Ok(Some(header))
    }

    /// Sets the length of the content that follows.
    fn expect(&mut self, size: u64) -> io::Result<()> {
        if size > i64::MAX as u64 {
            return Err(invalid("an entry of its tar is too large"));
        }
        (self.left, self.padding) = (size, padding(size) as u64);
        Ok(())
    }

    /// Reads the bytes behind the last entry, which must be zeros.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            match self.tar.read(&mut buffer)? {
                0 => return Ok(()),
                n if buffer[..n].iter().all(|byte| *byte == 0) => {}
                _ => return Err(invalid("something follows the end of its tar")),
            }
        }
    }

    /// The content of an extension header, which belongs to the next entry.
    fn extension(&mut self) -> io::Result<Vec<u8>> {
        if self.left > MAX_EXTENSION {
            return Err(invalid("a header in its tar is too long"));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content)?;
        Ok(content)
    }

    /// The entry that these headers describe, if they agree.
    fn entry(
        &mut self,
        header: &tar::Header,
        pax: Pax,
        long_name: Option<Vec<u8>>,
    ) -> io::Result<LegacyEntry> {
        let short = header.path_bytes();
        if header.as_ustar().is_none() && header.as_bytes()[PREFIX].iter().any(|byte| *byte != 0) {
            return Err(contradiction("name"));
        }
        let name = match (pax.path, long_name) {
            (None, None) => short.into_owned(),
            (Some(name), None) | (None, Some(name)) if abbreviates(&short, &name) => name,
            _ => return Err(contradiction("name")),
        };
        let said = header.entry_size()?;
        let size = pax.size.unwrap_or(said);
        // Where it does not fit, the old field is zero.
        if said != size && said != 0 {
            return Err(contradiction("size"));
        }
        let kind = header.entry_type();
        if kind.is_dir() && size != 0 || kind.is_file() && name.ends_with(b"/") {
            return Err(contradiction("type"));
        }
        self.expect(size)?;
        let mtime = match pax.mtime {
            Some(mtime) => mtime,
            None => (header.mtime()? as i64, 0),
        };
        Ok(LegacyEntry { name, kind, mode: header.mode()?, mtime })
    }
}

/// Reads the content of the entry.
impl<R: Read> Read for Entries<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let n = self.tar.by_ref().take(self.left).read(out)?;
        if n == 0 && self.left > 0 && !out.is_empty() {
            return Err(cut_short());
        }
        self.left -= n as u64;
        Ok(n)
    }
}

/// The fields of a PAX header that are used here.
#[derive(Default)]
struct Pax {
    path: Option<Vec<u8>>,
    size: Option<u64>,
    mtime: Option<(i64, u32)>,
}

impl Pax {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, none of them twice.
    fn parse(mut bytes: &[u8]) -> io::Result<Self> {
        let mut pax = Self::default();
        let mut keys = std::collections::BTreeSet::new();
        while !bytes.is_empty() {
            let (key, value, rest) =
                record(bytes).ok_or_else(|| invalid("a PAX header in its tar is malformed"))?;
            if !keys.insert(key) {
                return Err(invalid("a PAX header in its tar says something twice"));
            }
            let text = std::str::from_utf8(value).unwrap_or_default();
            match key {
                b"path" => pax.path = Some(value.to_vec()),
                b"size" => match decimal_digits(value).and_then(|()| text.parse().ok()) {
                    Some(size) => pax.size = Some(size),
                    None => return Err(invalid("a size in its tar is not a number")),
                },
                b"mtime" => pax.mtime = decimal(text),
                // Such a record replaces the name and the size of a file.
                _ if key.starts_with(b"GNU.sparse.") => {
                    return Err(invalid("it has a sparse file, which PyCoffer does not write"));
                }
                _ => {}
            }
            bytes = rest;
        }
        Ok(pax)
    }
}

/// The key and the value of the first PAX record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().position(|byte| *byte == b' ')?;
    decimal_digits(&bytes[..space])?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let (line, rest) = bytes.split_at_checked(length)?;
    let pair = line.get(space + 1..)?.strip_suffix(b"\n")?;
    let equals = pair.iter().position(|byte| *byte == b'=')?;
    Some((&pair[..equals], &pair[equals + 1..], rest))
}

fn decimal_digits(text: &[u8]) -> Option<()> {
    (!text.is_empty() && text.iter().all(u8::is_ascii_digit)).then_some(())
}

/// Seconds and nanoseconds of a decimal number, rounded down.
fn decimal(value: &str) -> Option<(i64, u32)> {
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    let seconds: i64 = whole.parse().ok()?;
    let digits: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let nanoseconds: u32 = digits.parse().ok()?;
    match (value.starts_with('-'), nanoseconds) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

/// Whether `short`, from a header of the oldest form, is `name` cut to its 100 bytes: its bytes, or, as
/// Python's tarfile writes it, its characters with `?` for those that are not ASCII.
fn abbreviates(short: &[u8], name: &[u8]) -> bool {
    let mut ascii = Vec::with_capacity(SHORT_NAME);
    for chunk in name.utf8_chunks() {
        ascii.extend(chunk.valid().chars().map(|c| if c.is_ascii() { c as u8 } else { b'?' }));
        ascii.extend(chunk.invalid().iter().map(|_| b'?'));
    }
    [name, &ascii].iter().any(|name| short == &name[..name.len().min(SHORT_NAME)])
}

/// A name as text. Bytes that are not UTF-8 become `\xNN`.
fn escaped(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    text
}

fn contradiction(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the headers of an entry of its tar disagree about its {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, kind: u8, size: u64) -> tar::Header {
        let mut header = tar::Header::new_ustar();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_mode(0o644);
        header.set_mtime(5);
        header.set_size(size);
        header.set_cksum();
        header
    }

    fn entry(name: &str, kind: u8, content: &[u8]) -> Vec<u8> {
        let mut out = header(name, kind, content.len() as u64).as_bytes().to_vec();
        out.extend_from_slice(content);
        out.resize(out.len().next_multiple_of(RECORD), 0);
        out
    }

    fn pax(records: &[(&str, &str)]) -> Vec<u8> {
        let line = |(key, value): &(&str, &str)| {
            let rest = 3 + key.len() + value.len();
            let length = (rest + 1..).find(|n| n.to_string().len() + rest == *n).unwrap();
            format!("{length} {key}={value}\n")
        };
        entry("PaxHeader", b'x', records.iter().map(line).collect::<String>().as_bytes())
    }

    /// The names and contents of a tar, or what is wrong with it.
    fn read(parts: &[&[u8]]) -> io::Result<Vec<(String, Vec<u8>)>> {
        let tar = parts.concat();
        let mut entries = Entries::new(tar.as_slice());
        let mut found = Vec::new();
        while let Some(entry) = entries.next()? {
            let mut content = Vec::new();
            entries.read_to_end(&mut content)?;
            found.push((String::from_utf8_lossy(&entry.name).into_owned(), content));
        }
        entries.end()?;
        Ok(found)
    }

    fn fault(parts: &[&[u8]]) -> String {
        read(parts).unwrap_err().to_string()
    }

    #[test]
    fn names_and_contents_are_read_in_every_form_that_tarfile_writes() {
        let long = format!("{}/é.txt", "d".repeat(110));
        let zeros = [0; 1024];
        let tar: [&[u8]; 8] = [
            &entry("a", b'0', b"one"),
            &entry("dir/", b'5', b""),
            &pax(&[("path", "ü/é"), ("mtime", "-1.5")]),
            &entry("?/?", b'0', b"two"),
            &pax(&[("path", &long)]),
            &entry(&long[..100], b'0', b""),
            &entry("././@LongLink", b'L', format!("{long}\0").as_bytes()),
            &entry(&long[..100], b'0', b"three"),
        ];
        let found = read(&tar).unwrap();
        let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a", "dir/", "ü/é", &long, &long]);
        assert_eq!(found[4].1, b"three");
        assert_eq!(read(&[&tar.concat(), &zeros]).unwrap(), found);
    }

    #[test]
    fn times_before_1970_and_parts_of_a_second_are_kept() {
        let times = [("-1.5", (-2, 500_000_000)), ("7", (7, 0)), ("1.25", (1, 250_000_000))];
        for (text, mtime) in times {
            let tar = [pax(&[("mtime", text)]), entry("a", b'0', b"")].concat();
            assert_eq!(Entries::new(tar.as_slice()).next().unwrap().unwrap().mtime, mtime);
        }
    }

    #[test]
    fn a_size_that_does_not_fit_ustar_is_that_of_the_pax_header() {
        let mut tar = [pax(&[("size", "3")]), entry("a", b'0', b"")].concat();
        tar.extend_from_slice(&entry("b", b'0', b"")[..RECORD]);
        // What follows the header is content now.
        assert_eq!(read(&[&tar]).unwrap(), [("a".to_owned(), b"b\0\0".to_vec())]);
    }

    #[test]
    fn headers_that_disagree_are_damage() {
        let file = entry("a", b'0', b"one");
        let twice = [("path", "a"), ("path", "b")];
        assert!(fault(&[&pax(&twice), &file]).contains("twice"));
        assert!(fault(&[&pax(&[("size", "3"), ("size", "3")]), &file]).contains("twice"));
        assert!(fault(&[&pax(&[("path", "b")]), &file]).contains("name"));
        assert!(fault(&[&pax(&[("size", "2")]), &file]).contains("size"));
        assert!(fault(&[&pax(&[("size", "+3")]), &file]).contains("number"));
        assert!(fault(&[&pax(&[("GNU.sparse.name", "b")]), &file]).contains("sparse"));
        assert!(fault(&[&entry("././@LongLink", b'L', b"b\0"), &file]).contains("name"));
        let both = [entry("././@LongLink", b'L', b"a\0"), pax(&[("path", "a")])].concat();
        assert!(fault(&[&both, &file]).contains("name"));
        let pair = [pax(&[("path", "a")]), pax(&[("path", "a")])].concat();
        assert!(fault(&[&pair, &file]).contains("two headers"));
        assert!(fault(&[&entry("a/", b'0', b"one")]).contains("type"));
        assert!(fault(&[&entry("a/", b'5', b"one")]).contains("type"));
        let mut gnu = tar::Header::new_gnu();
        gnu.as_mut_bytes()[..1].copy_from_slice(b"a");
        gnu.as_mut_bytes()[345] = b'b';
        gnu.set_size(0);
        gnu.set_mode(0);
        gnu.set_cksum();
        assert!(fault(&[gnu.as_bytes()]).contains("name"));
    }

    #[test]
    fn malformed_pax_headers_are_damage() {
        let file = entry("a", b'0', b"");
        for content in [
            "8 path=a\n",
            "x path=a\n",
            "99999999999999999999 path=a\n",
            "10 path=ab",
            "6 path\n",
            "0 path=a\n",
            "\n",
            "10 path=a\n\n",
            "9 path=b\npath=b\n",
        ] {
            let header = entry("x", b'x', content.as_bytes());
            assert!(fault(&[&header, &file]).contains("malformed"), "{content:?}");
        }
        assert!(fault(&[&pax(&[("path", "a")])]).contains("ends"));
        let huge = header("x", b'x', MAX_EXTENSION + 1);
        assert!(fault(&[huge.as_bytes()]).contains("too long"));
    }

    #[test]
    fn what_is_cut_short_or_goes_on_behind_its_end_is_damage() {
        let file = entry("a", b'0', b"one");
        for len in (1..file.len()).filter(|len| *len != RECORD + 3) {
            assert!(read(&[&file[..len]]).is_err(), "{len}");
        }
        let end = [0; 1024];
        assert!(read(&[&file, &end]).is_ok());
        assert!(fault(&[&file, &end, &[0; 9000], b"x"]).contains("follows"));
        assert!(fault(&[&file, &end, &file]).contains("follows"));
        assert!(fault(&[&file, b"x"]).contains("cut short"));
        let mut lying = file.clone();
        lying[0] = b'b';
        assert!(fault(&[&lying]).contains("checksum"));
    }
}
