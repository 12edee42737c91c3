//! The worked example of `docs/format.md`, held to its word.
//!
//! The decoder below is written from the document and shares nothing with the engine. It takes the
//! example files apart, checks every digest and key on the way, and makes the listings that the
//! document must print, whose bytes must be those of the files. Then the engine opens them.

use std::fmt::Write as _;
use std::path::Path;

use coffer_core::coffer::{Coffer, Mode, Options};
use coffer_core::crypto::kdf::Passphrase;
use coffer_core::crypto::key::Key;
use coffer_core::format::kind::Kind;
use coffer_core::ops::file_crypt::DecryptOptions;
use coffer_core::progress::CallObserver;
use sodiumoxide::crypto::pwhash::argon2id13::{self, MemLimit, OpsLimit};
use sodiumoxide::crypto::secretbox;

const MARK: usize = 28;
const CHUNK_HEAD: usize = 32;
const SKIPPABLE: [u8; 4] = [0x5c, 0x2a, 0x4d, 0x18];
const MEMBER: (&str, &[u8]) = ("notes/todo.txt", b"buy milk\n");
/// What `passphrase.coffer` was made from.
const PASSPHRASE: &str = "correct horse battery staple";
/// Bytes in a line of a listing.
const WIDTH: usize = 16;
/// Between the zero and the count, where a listing has more zeros than fit into a line.
const REPEATED: &str = " x ";

/// The key of the example: the bytes 0 to 31.
fn example_key() -> Vec<u8> {
    (0..32).collect()
}

#[test]
fn the_store_of_the_format_document_is_what_it_says() {
    let key = example_key();
    check("store.coffer", Some(&key));
    let mut options = Options::new(Mode::Read, Kind::store());
    options.coffer_key = Some(Key::from_bytes(&key).unwrap());
    check_engine("store.coffer", options);
}

#[test]
fn the_null_coffer_of_the_format_document_is_what_it_says() {
    check("null.coffer", None);
    check_engine("null.coffer", Options::new(Mode::Read, Kind::null()));
}

#[test]
fn the_encrypted_file_of_the_format_document_is_what_it_says() {
    const FILE: &str = "todo.encrypted";
    let key = example_key();
    let bytes = std::fs::read(fixture(FILE)).unwrap();
    compare(FILE, &bytes, &Decoder::new(FILE, &bytes, Some(&key)).encrypted_file(&key));
    let directory = tempfile::tempdir().unwrap();
    let mut options = Options::new(Mode::Write, Kind::market());
    options.secure_key = Some(Key::from_bytes(&key).unwrap());
    let coffer = Coffer::open(&directory.path().join("market.coffer"), options).unwrap();
    let target = directory.path().join("todo.txt");
    let cryptor = coffer.cryptor().unwrap();
    let (options, silent) = (DecryptOptions::default(), CallObserver::silent());
    cryptor.decrypt_file(&fixture(FILE), &target, options, &silent).unwrap();
    assert_eq!(std::fs::read(&target).unwrap(), MEMBER.1);
    coffer.close().unwrap();
}

/// The document prints what differs from the other Store: the clear bytes of the header.
#[test]
fn the_coffer_from_a_passphrase_is_what_the_format_document_says() {
    let file = "passphrase.coffer";
    let bytes = std::fs::read(fixture(file)).unwrap();
    let second = CHUNK_HEAD + u32::from_le_bytes(bytes[..4].try_into().unwrap()) as usize;
    let mark: &[u8; MARK] = bytes[second + 4..second + CHUNK_HEAD].try_into().unwrap();
    let key = derived_key(PASSPHRASE.as_bytes(), mark, "coffer v1 passphrase coffer key");
    let listings = Decoder::new(file, &bytes, Some(&key)).run();
    let heads = [0..CHUNK_HEAD, second..second + CHUNK_HEAD];
    let clear: String = listings[0]
        .1
        .split_inclusive('\n')
        .filter(|line| {
            let offset = usize::from_str_radix(line.split(' ').next().unwrap(), 16).unwrap();
            heads.iter().any(|head| head.contains(&offset))
        })
        .collect();
    let title = format!("{file}: the clear bytes of the header");
    let expected = vec![(title, clear)];
    assert!(document(file) == expected, "docs/format.md should have{}", markdown(&expected));

    let mut options = Options::new(Mode::Read, Kind::store());
    options.passphrase = Some(Passphrase::new(PASSPHRASE.as_bytes()).unwrap());
    check_engine(file, options);
    let mut options = Options::new(Mode::Read, Kind::store());
    options.coffer_key = Some(Key::from_bytes(&key).unwrap());
    check_engine(file, options);
}

/// A key of a passphrase, by what the second mark of a header says.
fn derived_key(passphrase: &[u8], mark: &[u8; MARK], context: &str) -> Vec<u8> {
    assert_eq!(mark[20..22], [1, 1], "Argon2id with one lane");
    let salt = argon2id13::Salt::from_slice(&mark[4..20]).unwrap();
    let passes = u16::from_le_bytes(mark[22..24].try_into().unwrap());
    let kib = u32::from_le_bytes(mark[24..28].try_into().unwrap());
    let (passes, memory) = (OpsLimit(passes.into()), MemLimit(kib as usize * 1024));
    let mut secret = [0; 32];
    argon2id13::derive_key(&mut secret, passphrase, &salt, passes, memory).unwrap();
    blake3::derive_key(context, &secret).to_vec()
}

/// Compares a fixture with the bytes that the document prints, and the document's listings with
/// what the decoder makes of those bytes.
fn check(file: &str, key: Option<&[u8]>) {
    let bytes = std::fs::read(fixture(file)).unwrap();
    compare(file, &bytes, &Decoder::new(file, &bytes, key).run());
}

fn compare(file: &str, bytes: &[u8], listings: &[(String, String)]) {
    let document = document(file);
    for (title, text) in listings {
        let printed = document.iter().find(|(t, _)| t == title).map(|(_, text)| text.as_str());
        assert_eq!(
            printed,
            Some(text.as_str()),
            "docs/format.md should have{}",
            markdown(listings)
        );
    }
    assert_eq!(document.len(), listings.len(), "a listing of {file} stands for nothing");
    assert!(bytes_of(&document[0].1) == bytes, "{file} is not what the document prints");
}

fn markdown(listings: &[(String, String)]) -> String {
    listings.iter().map(|(title, text)| format!("\n```hex {title}\n{text}```\n")).collect()
}

fn check_engine(file: &str, options: Options) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(file);
    std::fs::copy(fixture(file), &path).unwrap();
    let coffer = Coffer::open(&path, options).unwrap();
    assert!(coffer.notices().is_empty(), "{:?}", coffer.notices());
    assert_eq!(coffer.read(MEMBER.0).unwrap(), MEMBER.1);
    let member = coffer.stat(MEMBER.0).unwrap().unwrap();
    assert_eq!((member.mode, member.mtime_s, member.mtime_ns), (0o644, 1_700_000_000, 123_456_789));
    assert_eq!(coffer.verify(&CallObserver::silent()).unwrap().members, 1);
    coffer.close().unwrap();
}

fn fixture(file: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(file)
}

/// The document's blocks of hex about a file: their titles and their text.
fn document(file: &str) -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/format.md");
    let text = std::fs::read_to_string(path).unwrap();
    let mut blocks = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some(title) = line.strip_prefix("```hex ") else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        if title.starts_with(file) {
            blocks.push((title.to_owned(), block.join("\n") + "\n"));
        }
    }
    blocks
}

/// The bytes of a listing, which must follow each other without a gap.
fn bytes_of(listing: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in listing.lines() {
        let (offset, rest) = line.split_once("  ").unwrap();
        assert_eq!(usize::from_str_radix(offset, 16).unwrap(), bytes.len(), "{line}");
        let hex = rest.split("  ").next().unwrap();
        match hex.split_once(REPEATED) {
            Some((_, count)) => bytes.resize(bytes.len() + count.parse::<usize>().unwrap(), 0),
            None => bytes.extend(hex.split(' ').map(|b| u8::from_str_radix(b, 16).unwrap())),
        }
    }
    bytes
}

fn blake3_of(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

fn open_secretbox(key: &[u8], sealed: &[u8]) -> Vec<u8> {
    let nonce = secretbox::Nonce::from_slice(&sealed[..24]).unwrap();
    let key = secretbox::Key::from_slice(key).unwrap();
    secretbox::open(&sealed[24..], &nonce, &key).expect("the box opens")
}

fn unzstd(frame: &[u8], len: usize) -> Vec<u8> {
    let plain = zstd::bulk::decompress(frame, len).unwrap();
    assert_eq!(plain.len(), len);
    plain
}

/// Reads bytes field by field, and writes down what it read.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
    text: String,
}

impl<'a> Fields<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, text: String::new() }
    }

    /// The next `len` bytes, under a label.
    fn take(&mut self, len: usize, label: &str) -> &'a [u8] {
        let field = &self.bytes[self.at..self.at + len];
        let mut rest = field;
        while !rest.is_empty() {
            let zeros = rest.len() > WIDTH && rest.iter().all(|byte| *byte == 0);
            let (line, later) =
                rest.split_at(if zeros { rest.len() } else { rest.len().min(WIDTH) });
            let hex = if zeros {
                format!("00{REPEATED}{}", line.len())
            } else {
                line.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ")
            };
            let label = if rest.len() == len { label } else { "" };
            let text = format!("{:04x}  {hex:<47}  {label}", self.at + len - rest.len());
            writeln!(self.text, "{}", text.trim_end()).unwrap();
            rest = later;
        }
        self.at += len;
        field
    }

    fn array<const N: usize>(&mut self, label: &str) -> [u8; N] {
        self.take(N, label).try_into().unwrap()
    }

    fn byte(&mut self, label: impl FnOnce(u8) -> String) -> u8 {
        let value = self.bytes[self.at];
        self.take(1, &label(value));
        value
    }

    fn u16(&mut self, label: &str) -> u16 {
        let value = u16::from_le_bytes(self.bytes[self.at..self.at + 2].try_into().unwrap());
        self.take(2, &format!("{label} {value}"));
        value
    }

    fn u32(&mut self, label: &str) -> u32 {
        let value = u32::from_le_bytes(self.bytes[self.at..self.at + 4].try_into().unwrap());
        self.take(4, &format!("{label} {value}"));
        value
    }

    fn u64(&mut self, label: &str) -> u64 {
        let value = u64::from_le_bytes(self.bytes[self.at..self.at + 8].try_into().unwrap());
        self.take(8, &format!("{label} {value}"));
        value
    }

    /// LEB128.
    fn uint(&mut self, label: &str) -> u64 {
        self.number(|value| format!("{label} {value}"))
    }

    /// Zigzag LEB128.
    fn int(&mut self, label: &str) -> i64 {
        let signed = |value: u64| (value >> 1) as i64 ^ -((value & 1) as i64);
        signed(self.number(|value| format!("{label} {}", signed(value))))
    }

    fn number(&mut self, label: impl FnOnce(u64) -> String) -> u64 {
        let rest = &self.bytes[self.at..];
        let len = rest.iter().position(|byte| byte & 0x80 == 0).unwrap() + 1;
        let value =
            rest[..len].iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
        self.take(len, &label(value));
        value
    }

    fn string(&mut self, label: &str) -> String {
        let len = self.uint("length of the name") as usize;
        let text = std::str::from_utf8(&self.bytes[self.at..self.at + len]).unwrap().to_owned();
        self.take(len, &format!("{label} {text}"));
        text
    }

    /// A block as commits and scrub lists write it, and where it ends.
    fn block(&mut self, after: u64) -> Block {
        let offset = after.wrapping_add(self.int("offset, from the end of the one before") as u64);
        let len = self.uint("length in the file");
        let frame = self.uint("length of its frame");
        let tar = self.uint("bytes of tar");
        Block {
            offset: offset as usize,
            len: len as usize,
            frame: frame as usize,
            tar: tar as usize,
        }
    }

    fn done(self) -> String {
        assert_eq!(self.at, self.bytes.len(), "bytes are left over after\n{}", self.text);
        self.text
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Block {
    offset: usize,
    len: usize,
    frame: usize,
    tar: usize,
}

/// What a commit said that the footer and the next commit repeat.
#[derive(Default)]
struct Committed {
    generation: u64,
    offset: u64,
    len: u64,
    digest: [u8; 32],
}

/// The mark of a second header record where keys do not come from a passphrase.
fn salt_mark(f: &mut Fields<'_>) {
    assert_eq!(f.take(4, "tag cofK"), b"cofK");
    f.take(16, "salt");
    assert_eq!(f.take(8, "zero"), [0; 8]);
}

/// The mark of a second header record where they do.
fn derivation_mark(f: &mut Fields<'_>) {
    assert_eq!(f.take(4, "tag cofK"), b"cofK");
    f.take(16, "salt");
    assert_eq!(f.byte(|b| format!("derivation {b}: Argon2id")), 1);
    assert_eq!(f.byte(|b| format!("lanes {b}")), 1);
    f.u16("passes");
    f.u32("memory in KiB");
}

struct Decoder<'a> {
    file: &'a str,
    outer: Fields<'a>,
    key: Option<&'a [u8]>,
    metadata_key: Option<[u8; 32]>,
    /// The listings of what was opened.
    listings: Vec<(String, String)>,
    marks: Vec<u8>,
    archive: [u8; 16],
    header_copy: u64,
    committed: Committed,
    /// The blocks of the tar that have been met: where, and what pins them.
    blocks: Vec<(Block, [u8; 32])>,
}

impl<'a> Decoder<'a> {
    fn new(file: &'a str, bytes: &'a [u8], key: Option<&'a [u8]>) -> Self {
        Self {
            file,
            outer: Fields::new(bytes),
            key,
            metadata_key: key.map(|key| blake3::derive_key("coffer v1 metadata key", key)),
            listings: Vec::new(),
            marks: Vec::new(),
            archive: [0; 16],
            header_copy: 0,
            committed: Committed::default(),
            blocks: Vec::new(),
        }
    }

    /// The parts of the example, in the order of the file.
    fn run(mut self) -> Vec<(String, String)> {
        self.header("header");
        self.block("block 0", "./", b"");
        self.header_copy = self.outer.at as u64;
        self.header("header copy");
        self.commit("commit 1");
        self.footer("footer 1");
        self.block("block 1", MEMBER.0, MEMBER.1);
        self.commit("commit 2");
        self.footer("footer 2");
        let mut all = vec![(self.file.to_owned(), self.outer.done())];
        all.extend(self.listings);
        all
    }

    /// The parts of the encrypted file, in their order.
    fn encrypted_file(mut self, key: &[u8]) -> Vec<(String, String)> {
        self.metadata_key = Some(blake3::derive_key("coffer v1 crypt key", key));
        let (mark, body) = self.record("head", |f| {
            assert_eq!(f.take(4, "tag cofE"), b"cofE");
            assert_eq!(f.byte(|b| format!("version {b}")), 1);
            assert_eq!(f.byte(|b| format!("cipher {b}")), 1);
            assert_eq!(f.take(2, "features"), [0; 2]);
            f.take(8, "salt");
            f.take(12, "key check");
        });
        let salted = [key, &mark[8..16]].concat();
        assert_eq!(mark[16..], blake3::derive_key("coffer v1 crypt key check", &salted)[..12]);
        let mut id = [0; 16];
        self.body(Some("head"), &body, |f| {
            assert_eq!(f.take(MARK, "the mark"), mark);
            id = f.array("file id");
        });
        let len = self.outer.u32("data: chunk, payload of");
        assert_eq!(self.outer.take(28, "reserved"), [0; 28]);
        let frame = open_secretbox(key, self.sealed(len as usize));
        assert_eq!(unzstd(&frame, MEMBER.1.len()), MEMBER.1);
        let mut fields = Fields::new(&frame);
        fields.take(frame.len(), "zstd frame");
        self.publish("data, opened", fields);
        let digest = blake3_of(&self.outer.bytes[..self.outer.at]);
        let (_, body) = self.record("tail", |f| {
            assert_eq!(f.take(4, "tag cofT"), b"cofT");
            assert_eq!(f.take(24, "zero"), [0; 24]);
        });
        self.body(Some("tail"), &body, |f| {
            assert_eq!(f.array("file id"), id);
            assert_eq!(f.u64("bytes of plaintext"), MEMBER.1.len() as u64);
            assert_eq!(f.array("digest of all bytes before the tail"), digest);
        });
        let mut all = vec![(self.file.to_owned(), self.outer.done())];
        all.extend(self.listings);
        all
    }

    fn publish(&mut self, title: &str, fields: Fields<'_>) {
        self.listings.push((format!("{}: {title}", self.file), fields.done()));
    }

    /// A record up to its mark; gives the mark, and the body opened by the container's key alone.
    fn record(&mut self, what: &str, mark: fn(&mut Fields<'_>)) -> (Vec<u8>, Vec<u8>) {
        let Some(key) = self.key else {
            assert_eq!(self.outer.take(4, &format!("{what}: skippable frame")), SKIPPABLE);
            let len = self.outer.u32("of content:") as usize;
            let start = self.outer.at;
            mark(&mut self.outer);
            assert_eq!(self.outer.at, start + MARK);
            let mark = self.outer.bytes[start..start + MARK].to_vec();
            return (mark, self.outer.bytes[start + MARK..start + len].to_vec());
        };
        let len = self.outer.u32(&format!("{what}: chunk, payload of")) as usize;
        let start = self.outer.at;
        mark(&mut self.outer);
        assert_eq!(self.outer.at, start + MARK);
        let plain = open_secretbox(key, self.sealed(len));
        let mut fields = Fields::new(&plain);
        assert_eq!(fields.take(4, "skippable frame"), SKIPPABLE);
        let len = fields.u32("of content:") as usize;
        let body = fields.bytes[fields.at..].to_vec();
        fields.take(24, "nonce");
        fields.take(16, "mac");
        fields.take(len - 40, "ciphertext, under the metadata key");
        if what == "header, first record" {
            self.publish("header, first record, opened with the container key", fields);
        } else {
            fields.done();
        }
        (self.outer.bytes[start..start + MARK].to_vec(), body)
    }

    /// The payload of a secretbox chunk in the file.
    fn sealed(&mut self, len: usize) -> &'a [u8] {
        let start = self.outer.at;
        self.outer.take(24, "nonce");
        self.outer.take(16, "mac");
        self.outer.take(len - 40, "ciphertext");
        &self.outer.bytes[start..start + len]
    }

    /// Opens a record's body, and has its fields read: into a listing of its own where it was
    /// sealed, and in place where it was not.
    fn body(&mut self, title: Option<&str>, body: &[u8], read: impl FnOnce(&mut Fields<'_>)) {
        let Some(key) = self.metadata_key else {
            let digest = self.outer.array("digest of the rest");
            assert_eq!(digest, blake3_of(&body[32..]));
            return read(&mut self.outer);
        };
        let plain = open_secretbox(&key, body);
        let mut fields = Fields::new(&plain);
        read(&mut fields);
        match title {
            Some(title) => self.publish(&format!("{title}, opened"), fields),
            None => drop(fields.done()),
        }
    }

    /// Both records of a header, or of a copy of it, which must say the same.
    fn header(&mut self, what: &str) {
        let copy = what != "header";
        let (first, body) = self.record(&format!("{what}, first record"), |f| {
            assert_eq!(f.take(4, "tag cofH"), b"cofH");
            assert_eq!(f.byte(|b| format!("version {b}")), 1);
            f.byte(|b| format!("kind {b}"));
            f.byte(|b| format!("container cipher {b}"));
            f.byte(|b| format!("features {b}"));
            f.take(20, "key check");
        });
        let mut archive = [0; 16];
        self.body((!copy).then_some("header, first record"), &body, |f| {
            archive = f.array("archive id");
            f.byte(|b| format!("kind {b}"));
            for layer in ["member", "container"] {
                f.byte(|b| format!("{layer} cipher {b}"));
                f.byte(|b| format!("{layer} layer compressed: {b}"));
                f.int(&format!("{layer} level"));
            }
            f.uint("bytes in a full chunk");
            f.uint("bytes in a full piece");
            f.take(20, "member key check");
        });
        let derives = match first[7] {
            0 => false,
            1 => true,
            other => panic!("unknown features {other}"),
        };
        let second_mark = if derives { derivation_mark } else { salt_mark };
        let (second, body) = self.record(&format!("{what}, second record"), second_mark);
        self.body((!copy).then_some("header, second record"), &body, |f| {
            assert_eq!(f.array("archive id"), archive);
        });
        let mut check = [0; 32];
        if let Some(key) = self.key {
            let salted = [key, &second[4..20]].concat();
            check = blake3::derive_key("coffer v1 key check", &salted);
        }
        assert_eq!(first[8..], check[..20]);
        let marks = [first, second].concat();
        assert!(!copy || (self.marks == marks && self.archive == archive));
        (self.marks, self.archive) = (marks, archive);
    }

    /// A data block: its place and digest are kept for the commit, its tar is listed.
    fn block(&mut self, what: &str, name: &str, content: &[u8]) {
        let offset = self.outer.at;
        let (frame, digest) = if let Some(key) = self.key {
            let len = self.outer.u32(&format!("{what}: chunk, payload of"));
            assert_eq!(self.outer.take(28, "reserved"), [0; 28]);
            let sealed = self.sealed(len as usize);
            let bound = [&len.to_le_bytes()[..], &sealed[..40]].concat();
            let frame = open_secretbox(key, sealed);
            let mut fields = Fields::new(&frame);
            fields.take(frame.len(), "zstd frame");
            self.publish(&format!("{what}, opened"), fields);
            (frame, blake3_of(&bound))
        } else {
            let rest = &self.outer.bytes[offset..];
            let len = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
            let frame = self.outer.take(len, &format!("{what}: zstd frame")).to_vec();
            let digest = blake3_of(&frame);
            (frame, digest)
        };
        let tar = zstd::bulk::decompress(&frame, 1 << 20).unwrap();
        self.tar(what, &tar, name, content);
        let len = self.outer.at - offset;
        let block = Block { offset, len, frame: frame.len(), tar: tar.len() };
        self.blocks.push((block, digest));
    }

    fn tar(&mut self, what: &str, tar: &[u8], name: &str, content: &[u8]) {
        let mut f = Fields::new(tar);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned();
        assert_eq!(text(f.take(100, "name")), name);
        f.take(8, "mode");
        f.take(8, "uid");
        f.take(8, "gid");
        let size = usize::from_str_radix(&text(f.take(12, "size")), 8).unwrap();
        f.take(12, "mtime");
        let sum: u32 = tar[..512]
            .iter()
            .enumerate()
            .map(|(i, b)| if (148..156).contains(&i) { 32 } else { u32::from(*b) })
            .sum();
        assert_eq!(u32::from_str_radix(&text(f.take(8, "checksum")), 8).unwrap(), sum);
        f.byte(|b| format!("type {}", char::from(b)));
        f.take(100, "linkname");
        assert_eq!(f.take(8, "magic ustar, version 00"), b"ustar\x0000");
        f.take(512 - 265, "uname, gname, devmajor, devminor, prefix and rest");
        if size > 0 {
            let stored = f.take(size, "content after the member layer");
            let plain =
                if self.key.is_some() { unzstd(stored, content.len()) } else { stored.to_vec() };
            assert_eq!(plain, content);
            let padding = f.take(tar.len() - 512 - size, "padding");
            assert!(padding.iter().all(|byte| *byte == 0));
        }
        self.publish(&format!("{what}, tar"), f);
    }

    fn commit(&mut self, what: &str) {
        let start = self.outer.at as u64;
        let (mark, body) = self.record(what, |f| {
            assert_eq!(f.take(4, "tag cofC"), b"cofC");
            f.u64("its own offset");
            assert_eq!(f.take(16, "zero"), [0; 16]);
        });
        assert_eq!(mark[4..12], start.to_le_bytes());
        let (mut raw, mut generation) = (Vec::new(), 0);
        let archive = self.archive;
        self.body(Some(what), &body, |f| {
            assert_eq!(f.array("archive id"), archive);
            assert_eq!(f.u64("its own offset"), start);
            generation = f.uint("generation");
            assert_eq!(f.uint("part"), 0);
            assert_eq!(f.uint("of parts:"), 1);
            let len = f.uint("length when decompressed:") as usize;
            // In an unsealed container the part ends where its frame does.
            let rest = &f.bytes[f.at..];
            let end = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
            raw = unzstd(f.take(end, "zstd frame"), len);
        });
        let committed = Committed {
            generation,
            offset: start,
            len: self.outer.at as u64 - start,
            digest: blake3_of(&raw),
        };
        self.committed = self.statement(what, &raw, committed);
    }

    /// What a commit states.
    fn statement(&mut self, what: &str, raw: &[u8], committed: Committed) -> Committed {
        let mut f = Fields::new(raw);
        assert_eq!(f.array("archive id"), self.archive);
        assert_eq!(f.uint("generation"), committed.generation);
        assert_eq!(f.take(2 * MARK, "the marks of both header records"), self.marks);
        assert_eq!(f.uint("offset of the newest header copy"), self.header_copy);
        let snapshot = f.byte(|b| format!("snapshot: {b}"));
        assert_eq!(snapshot == 1, committed.generation == 1);
        let previous = f.byte(|b| format!("has a commit before it: {b}"));
        assert_eq!(previous == 1, committed.generation > 1);
        if previous == 1 {
            assert_eq!(f.uint("its generation"), self.committed.generation);
            assert_eq!(f.uint("its offset"), self.committed.offset);
            assert_eq!(f.uint("its length"), self.committed.len);
            assert_eq!(f.array("its digest"), self.committed.digest);
        }
        assert_eq!(f.uint("next block"), self.blocks.len() as u64);
        f.uint("next member version");
        assert_eq!(f.uint("dead bytes"), 0);
        assert_eq!(f.uint("blocks dropped:"), 0);
        let added = f.uint("blocks added:");
        let (mut id, mut end) = (0i64, 0u64);
        for _ in 0..added {
            id += f.int("block number, from the one before");
            let block = f.block(end);
            end = (block.offset + block.len) as u64;
            let digest = f.array("its digest");
            assert_eq!((block, digest), self.blocks[id as usize], "block {id}");
        }
        assert_eq!(f.uint("members removed:"), 0);
        for _ in 0..f.uint("members set:") {
            let name = f.string("name:");
            assert_eq!(name, MEMBER.0);
            assert_eq!(f.byte(|b| format!("place {b}: in a pack")), 0);
            f.uint("version");
            assert_eq!(f.uint("size"), MEMBER.1.len() as u64);
            assert_eq!(f.number(|mode| format!("mode {mode:#o}")), 0o644);
            f.int("mtime, seconds");
            f.uint("mtime, nanoseconds");
            let block = f.uint("block");
            let (block, _) = self.blocks[block as usize];
            let (at, stored) = (f.uint("offset in its tar"), f.uint("bytes in its tar"));
            assert!((at + stored) as usize <= block.tar);
        }
        assert_eq!(f.uint("blocks to scrub:"), 0);
        assert_eq!(f.uint("commits that are no longer in the file:"), 0);
        self.publish(&format!("{what}, decompressed"), f);
        committed
    }

    fn footer(&mut self, what: &str) {
        let start = self.outer.at as u64;
        let (mark, body) = self.record(what, |f| {
            assert_eq!(f.take(4, "tag cofF"), b"cofF");
            f.u64("its own offset");
            f.u64("offset of the newest header copy");
            assert_eq!(f.take(8, "zero"), [0; 8]);
        });
        let (archive, header_copy) = (self.archive, self.header_copy);
        assert_eq!(mark[4..20], [start.to_le_bytes(), header_copy.to_le_bytes()].concat());
        let mut named = Committed::default();
        self.body(Some(what), &body, |f| {
            assert_eq!(f.array("archive id"), archive);
            assert_eq!(f.u64("its own offset"), start);
            named.generation = f.u64("generation of its commit");
            named.offset = f.u64("offset of its commit");
            named.len = f.u64("length of its commit");
            named.digest = f.array("digest of its commit");
            assert_eq!(f.u64("offset of the newest header copy"), header_copy);
            assert_eq!(f.byte(|b| format!("settled: {b}")), 1);
        });
        let Committed { generation, offset, len, digest } = &self.committed;
        assert_eq!((named.generation, named.offset, named.len), (*generation, *offset, *len));
        assert_eq!(named.digest, *digest);
        assert_eq!(offset + len, start);
    }
}
