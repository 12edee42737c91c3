//! Forgeries by a holder of the keys, or of some of them: catalogs that contradict the file, and a
//! header that opens under two keys. Attacks without a key are in `test/attacks.test.ts`.

use crate::format::member::MemberType;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sodiumoxide::crypto::stream::xsalsa20;

use crate::coffer::{Coffer, Mode, Options, Selection};
use crate::crypto::key::{self, Key};
use crate::engine::container::{Container, Raw};
use crate::engine::file::ArchiveFile;
use crate::error::{Code, Result};
use crate::format::catalog::{Catalog, Entry, Place};
use crate::format::codec::Encoder;
use crate::format::frame::{self, SKIPPABLE_HEADER};
use crate::format::header::Header;
use crate::format::key_source::KeySource;
use crate::format::keys::Keys;
use crate::format::kind::Kind;
use crate::format::member::Attributes;
use crate::format::record::HEADER_MARKS;
use crate::format::record::{HEADER_TAG, MARK, SALT_TAG};
use crate::io::disk::DiskNamespace;
use crate::io::lock_set::Locks;
use crate::io::new_file::NewFile;
use crate::io::storage::Namespace;
use crate::progress::CallObserver;

const SMALL: usize = 100_000;
const LARGE: usize = 3_000_000;

struct Forged {
    _dir: tempfile::TempDir,
    path: PathBuf,
    key: Key,
}

/// A Store with the members `small` and `large`. `lie` changes the catalog of its only commit.
fn forged(lie: impl FnOnce(&mut Catalog)) -> Forged {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forged.coffer");
    let key = Key::generate(32);
    let keys = Keys { coffer: Some(key.clone()), ..Keys::default() };
    let header = Header::new(Kind::store(), &keys, &KeySource::of_keys(), 65_504, 1 << 20).unwrap();
    let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
    let file = NewFile::create(&directory, &path).unwrap();
    let source = ArchiveFile::new(file.storage(), &directory, &path, &header, &keys).unwrap();
    let mut container = Container::create(source, header, false).unwrap();
    let attributes = Attributes { mode: 0o644, mtime_s: 5, mtime_ns: 0 };
    let stored = container.source.layers.encode_member(&vec![7; SMALL]).unwrap().into_vec();
    container.put_small("small", MemberType::File, SMALL as u64, attributes, stored).unwrap();
    let mut left = LARGE;
    let pieces = || {
        let len = left.min(1 << 20);
        left -= len;
        let job = Box::new(move || Ok(vec![7; len].into()));
        Ok((len > 0).then_some(Raw { job, last: left == 0 }))
    };
    container.put_large("large", attributes, &[], pieces).unwrap();
    container.flush_pending().unwrap();
    lie(&mut container.view.write().catalog);
    container.commit(true, &Locks::none(&path)).unwrap();
    file.publish(false).unwrap();
    Forged { _dir: dir, path, key }
}

impl Forged {
    fn open(&self) -> Result<Coffer> {
        let mut options = Options::new(Mode::Read, Kind::store());
        options.coffer_key = Some(self.key.clone());
        Coffer::open(&self.path, options)
    }

    /// Expects that every call that reads one member reports damage, and that the other one reads back.
    fn expect_damage(&self, member: &str) {
        let coffer = self.open().unwrap();
        let out = tempfile::tempdir().unwrap();
        for (name, len) in [("small", SMALL), ("large", LARGE)] {
            let what = Selection::Names(vec![name.to_owned()]).into();
            let extracted = coffer.extract(&what, out.path(), &CallObserver::silent());
            if name == member {
                assert_eq!(coffer.read(name).unwrap_err().code(), Code::Corrupt);
                assert_eq!(extracted.unwrap_err().code(), Code::Corrupt);
                assert_eq!(std::fs::read_dir(out.path()).unwrap().count(), 0);
            } else {
                assert_eq!(coffer.read(name).unwrap(), vec![7; len]);
                extracted.unwrap();
            }
            for entry in std::fs::read_dir(out.path()).unwrap() {
                std::fs::remove_file(entry.unwrap().path()).unwrap();
            }
        }
        let error = coffer.verify(&CallObserver::silent()).unwrap_err();
        assert_eq!((error.code(), error.member()), (Code::Corrupt, Some(member)));
    }
}

fn change(catalog: &mut Catalog, member: &str, lie: impl FnOnce(&mut Entry)) {
    let mut entry = catalog.get(member).unwrap().clone();
    lie(&mut entry);
    catalog.set(member.into(), entry);
}

#[test]
fn a_catalog_that_fits_the_file_opens() {
    let forged = forged(|_| {});
    let coffer = forged.open().unwrap();
    assert_eq!(coffer.read("small").unwrap().len(), SMALL);
    assert_eq!(coffer.verify(&CallObserver::silent()).unwrap().members, 2);
}

#[test]
fn a_wrong_size_is_damage_and_no_more_bytes_than_it_are_unpacked() {
    for size in [0, 10, SMALL as u64 - 1, SMALL as u64 + 1, 64 << 20] {
        forged(|catalog| change(catalog, "small", |entry| entry.size = size))
            .expect_damage("small");
    }
    for more in [-1_i64, 1] {
        forged(|catalog| {
            change(catalog, "large", |entry| {
                let Place::Pieces { pieces, .. } = &mut entry.place else { panic!() };
                let piece = &mut Arc::make_mut(pieces)[0];
                piece.raw = piece.raw.checked_add_signed(more as i32).unwrap();
                entry.size = entry.size.checked_add_signed(more).unwrap();
            });
        })
        .expect_damage("large");
    }
}

#[test]
fn a_tar_header_that_differs_from_the_catalog_is_damage_to_every_reader() {
    for member in ["small", "large"] {
        forged(|catalog| change(catalog, member, |entry| entry.attributes.mode = 0o4755))
            .expect_damage(member);
        forged(|catalog| change(catalog, member, |entry| entry.attributes.mtime_s += 1))
            .expect_damage(member);
    }
    // The catalog gives one member the bytes of another, whose tar header has another name.
    let coffer = forged(|catalog| {
        let entry = catalog.get("small").unwrap().clone();
        change(catalog, "large", |large| *large = entry);
    });
    let coffer = coffer.open().unwrap();
    assert_eq!(coffer.read("large").unwrap_err().code(), Code::Corrupt);
    assert_eq!(coffer.verify(&CallObserver::silent()).unwrap_err().code(), Code::Corrupt);
}

#[test]
fn a_catalog_with_names_or_lengths_that_no_writer_makes_does_not_open() {
    let long = "a".repeat(1 << 16);
    let deep = "a/".repeat(1 << 15);
    for name in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../a",
        "a/../../b",
        "a/..",
        ".",
        "./a",
        "a//b",
        "a/",
        "a\0b",
        &long,
        &deep,
        "small/inner",
        "large/a/b",
    ] {
        let forged = forged(|catalog| {
            let entry = catalog.get("small").unwrap().clone();
            catalog.set(name.into(), entry);
        });
        assert_eq!(forged.open().err().map(|e| e.code()), Some(Code::Corrupt), "{name:.20}");
    }
    for lie in [
        |entry: &mut Entry| entry.size = (64 << 20) + 1,
        |entry: &mut Entry| entry.size = u64::MAX,
        |entry: &mut Entry| {
            let Place::Packed { at, .. } = &mut entry.place else { panic!() };
            *at = u32::MAX;
        },
        |entry: &mut Entry| {
            let Place::Packed { stored, .. } = &mut entry.place else { panic!() };
            *stored = u32::MAX;
        },
        |entry: &mut Entry| {
            let Place::Packed { block, .. } = &mut entry.place else { panic!() };
            *block = u64::MAX;
        },
    ] {
        let forged = forged(|catalog| change(catalog, "small", lie));
        assert_eq!(forged.open().err().map(|e| e.code()), Some(Code::Corrupt));
    }
    for lie in [
        |block: &mut crate::format::catalog::Block| block.tar = u32::MAX,
        |block: &mut crate::format::catalog::Block| block.len = u32::MAX,
        |block: &mut crate::format::catalog::Block| block.frame = u32::MAX,
    ] {
        let forged = forged(|catalog| catalog.blocks.values_mut().for_each(lie));
        assert_eq!(forged.open().err().map(|e| e.code()), Some(Code::Corrupt));
    }
}

#[test]
fn names_that_are_harmless_here_stay_as_they_are_and_below_the_target() {
    let names = ["..\\..\\a", "C:a", "aux", "a.", "a ", "\u{e9}", "e\u{301}", "A", "a"];
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("names.coffer");
    let coffer = Coffer::open(&path, Options::new(Mode::Write, Kind::null())).unwrap();
    for name in names {
        coffer
            .change(crate::coffer::Change::write(name, Arc::new(name.as_bytes().to_vec())))
            .unwrap();
    }
    let out = root.path().join("out");
    let extracted = coffer.extract(&Selection::All.into(), &out, &CallObserver::silent());
    if cfg!(windows) {
        assert_eq!(extracted.unwrap_err().code(), Code::UnsafePath);
        return;
    }
    match extracted {
        Ok(_) => {
            for name in names {
                assert_eq!(std::fs::read_to_string(out.join(name)).unwrap(), name);
            }
        }
        // The file system does not distinguish some of these names.
        Err(error) => assert_eq!(error.code(), Code::Exists),
    }
    assert!(!root.path().join("a").exists());
    coffer.close().unwrap();
}

/// Numbers modulo 2^130 - 5, as Poly1305 uses them, in limbs of 26 bits, lowest first.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Field([u64; 5]);

const LIMB: u64 = (1 << 26) - 1;

impl Field {
    const ZERO: Self = Self([0; 5]);

    fn carried(mut limbs: [u64; 5]) -> Self {
        for _ in 0..3 {
            for i in 0..4 {
                limbs[i + 1] += limbs[i] >> 26;
                limbs[i] &= LIMB;
            }
            limbs[0] += 5 * (limbs[4] >> 26);
            limbs[4] &= LIMB;
        }
        let prime = limbs[1..].iter().all(|limb| *limb == LIMB) && limbs[0] >= LIMB - 4;
        if prime { Self([limbs[0] - (LIMB - 4), 0, 0, 0, 0]) } else { Self(limbs) }
    }

    /// `low + high * 2^128`.
    fn new(low: u128, high: u64) -> Self {
        let limb = |i: u32| (low >> (26 * i)) as u64 & LIMB;
        Self::carried([limb(0), limb(1), limb(2), limb(3), (low >> 104) as u64 + (high << 24)])
    }

    /// The lowest 128 bits, and the two above them.
    fn split(self) -> (u128, u64) {
        let low = (0..4).map(|i| u128::from(self.0[i]) << (26 * i)).sum::<u128>();
        (low + (u128::from(self.0[4] & ((1 << 24) - 1)) << 104), self.0[4] >> 24)
    }

    fn add(self, other: Self) -> Self {
        Self::carried(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }

    fn negated(self) -> Self {
        let prime = [LIMB - 4, LIMB, LIMB, LIMB, LIMB];
        Self::carried(std::array::from_fn(|i| prime[i] - self.0[i]))
    }

    fn times(self, other: Self) -> Self {
        let mut limbs = [0; 5];
        for i in 0..5 {
            for j in 0..5 {
                let wrapped = if i + j >= 5 { 5 } else { 1 };
                limbs[(i + j) % 5] += self.0[i] * other.0[j] * wrapped;
            }
        }
        Self::carried(limbs)
    }

    /// The inverse: the power of the prime less two.
    fn inverse(self) -> Self {
        let mut out = self;
        // 2^130 - 7 is 127 ones, and 001 below them.
        let bits = std::iter::repeat_n(true, 126).chain([false, false, true]);
        for bit in bits {
            out = out.times(out);
            if bit {
                out = out.times(self);
            }
        }
        out
    }
}

/// The stream and the Poly1305 key of secretbox for one key and a nonce.
struct Stream {
    key: Key,
    r: Field,
    s: u128,
    bytes: [u8; 96],
}

const NONCE: [u8; 24] = *b"one nonce for both keys.";

/// The member key with a number.
fn numbered(number: u64) -> Key {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Key::from_bytes(&bytes).unwrap()
}

fn stream(number: u64) -> Stream {
    let key = numbered(number);
    let mut meta = [0; 32];
    meta.copy_from_slice(key::metadata_key(&key).as_bytes());
    let out = xsalsa20::stream(96, &xsalsa20::Nonce(NONCE), &xsalsa20::Key(meta));
    let word = |at: usize| u128::from_le_bytes(out[at..at + 16].try_into().unwrap());
    let r = word(0) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    Stream { key, r: Field::new(r, 0), s: word(16), bytes: out.try_into().unwrap() }
}

impl Stream {
    /// Poly1305 of a ciphertext.
    fn tag(&self, text: &[u8]) -> u128 {
        self.hash(text).split().0.wrapping_add(self.s)
    }

    fn hash(&self, text: &[u8]) -> Field {
        text.chunks(16).fold(Field::ZERO, |sum, chunk| {
            let mut block = [0; 17];
            block[..chunk.len()].copy_from_slice(chunk);
            block[chunk.len()] = 1;
            let low = u128::from_le_bytes(block[..16].try_into().unwrap());
            sum.add(Field::new(low, block[16].into())).times(self.r)
        })
    }

    fn xor(&self, text: &[u8]) -> Vec<u8> {
        text.iter().zip(&self.bytes[32..]).map(|(a, b)| a ^ b).collect()
    }
}

/// Chooses the block of `text` at `at` so that both keys make the same tag of it: as the tags are
/// linear in that block, it is one equation modulo 2^130 - 5 for each way the sums may wrap around
/// 2^128. `None` if no solution is a block of 128 bits.
fn solve(one: &Stream, two: &Stream, text: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut text = text.to_vec();
    text[at..at + 16].fill(0);
    let power = |stream: &Stream| {
        (0..text.len().div_ceil(16) - at / 16).fold(Field::new(1, 0), |p, _| p.times(stream.r))
    };
    let slope = power(one).add(power(two).negated()).inverse();
    let rest = one.hash(&text).add(two.hash(&text).negated());
    let difference = Field::new(two.s, 0).add(Field::new(one.s, 0).negated());
    let wrap = Field::new(0, 1);
    (0..9).find_map(|turns| {
        let wraps = (0..turns).fold(wrap.times(Field::new(4, 0)).negated(), |sum, _| sum.add(wrap));
        let right = difference.add(wraps).add(rest.negated());
        let (block, high) = right.times(slope).split();
        text[at..at + 16].copy_from_slice(&block.to_le_bytes());
        (high == 0 && one.tag(&text) == two.tag(&text)).then(|| text.clone())
    })
}

/// A Market's header that opens under two keys but for the key checks, and the keys.
///
/// Both plaintexts must be headers of the same kind: 40 bits on which the streams of two keys have to
/// agree, which a birthday search over some two million keys finds. Both tags must be right: the
/// archive id is chosen for the second record, and 16 bytes of the member key check for the first.
fn header_of_two_keys() -> (Vec<u8>, [u8; HEADER_MARKS], Key, Key) {
    key::init_sodium();
    let mut e = Encoder::default();
    e.raw(&[0; 16]);
    e.raw(&[Kind::market().name as u8, 1, 1]);
    e.int(12);
    e.raw(&[0, 1]);
    e.int(1);
    e.uint(65_504);
    e.uint(1 << 20);
    e.raw(&[0; 20]);
    let plain = e.finish();
    let mut seen: HashMap<[u8; 10], u64> = HashMap::new();
    for number in 0.. {
        let two = stream(number);
        // Kind, member cipher and compression, container cipher; and where integers end.
        let s: [u8; 13] = two.bytes[48..61].try_into().unwrap();
        let top = |at: usize| s[at] & 0x80;
        let class = [
            s[0],
            s[1],
            s[2],
            top(3),
            s[4],
            top(6),
            top(7) | top(8) >> 1,
            top(9),
            top(10) | top(11) >> 1,
            top(12),
        ];
        let Some(other) = seen.insert(class, number) else { continue };
        let one = stream(other);
        let Some(second) = solve(&one, &two, &[0; 16], 0) else { continue };
        let mut text = one.xor(&plain);
        text[..16].copy_from_slice(&second);
        // If there is no solution, another chunk size makes another equation.
        let Some(first) = (0..64).find_map(|low| {
            let mut text = text.clone();
            text[23] ^= low;
            solve(&one, &two, &text, 32)
        }) else {
            continue;
        };
        let mut marks = [0; HEADER_MARKS];
        marks[..4].copy_from_slice(&HEADER_TAG);
        marks[4..8].copy_from_slice(&[1, Kind::market().name as u8, 0, 0]);
        marks[8..MARK].copy_from_slice(&key::key_check(&one.key, &[0; 16]));
        marks[MARK..MARK + 4].copy_from_slice(&SALT_TAG);
        let mut bytes = Vec::new();
        for (mark, text) in [(&marks[..MARK], &first), (&marks[MARK..], &second)] {
            let body = [&NONCE, &one.tag(text).to_le_bytes()[..], text].concat();
            bytes.extend_from_slice(&frame::skippable_header((MARK + body.len()) as u32));
            bytes.extend_from_slice(mark);
            bytes.extend_from_slice(&body);
        }
        assert!(bytes.len() > 2 * (SKIPPABLE_HEADER + MARK));
        return (bytes, marks, one.key, two.key);
    }
    unreachable!()
}

#[test]
fn the_key_check_refuses_the_second_key_of_a_header_that_opens_under_two() {
    let (bytes, marks, one, two) = header_of_two_keys();
    assert_eq!(Header::marks(&bytes), Some(marks));
    let keys = |key: &Key| Keys { secure: Some(key.clone()), ..Keys::default() };
    let kind = Header::judge(&marks, &Kind::market(), false).unwrap();
    // Without the key checks both keys open the header, to different contents.
    let [first, second] =
        [&one, &two].map(|key| Header::parse(&bytes, marks, &kind, &keys(key)).unwrap());
    assert_ne!(first.archive, second.archive);
    for header in [&first, &second] {
        assert_eq!((header.kind.name, header.kind.member.cipher), (kind.name, kind.member.cipher));
    }
    // The key check in the mark fits one key only, and the second is refused as a wrong key.
    Header::check_keys(&marks, &kind, &keys(&one)).unwrap();
    let check = Header::check_keys(&marks, &kind, &keys(&two)).unwrap_err();
    assert_eq!(check.code(), Code::WrongKey);
    let read = Header::read(&bytes, marks, &kind, &keys(&two)).unwrap_err();
    assert_eq!(read.code(), Code::WrongKey);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &bytes).unwrap();
    let opened = open_market(file.path(), &two).err();
    assert_eq!(opened.map(|e| e.code()), Some(Code::WrongKey));
    assert_ne!(key::key_check(&one, &[0; 16]), key::key_check(&two, &[0; 16]));
}

fn open_market(path: &Path, key: &Key) -> Result<Coffer> {
    let mut options = Options::new(Mode::Read, Kind::market());
    options.secure_key = Some(key.clone());
    Coffer::open(path, options)
}
