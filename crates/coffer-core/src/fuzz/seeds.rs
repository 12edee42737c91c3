//! The generator of the corpus's seeds.

use crate::format::member::MemberType;
use std::fs;
use std::sync::Arc;

use super::base::{self, Base, FilePart};
use super::input::noise;
use super::reseal;
use super::scene::{Case, KINDS};
use crate::engine::container::{Container, Raw};
use crate::engine::file::ArchiveFile;
use crate::engine::pack_cache::PackCache;
use crate::format::catalog::Place;
use crate::format::header::Header;
use crate::format::key_source::KeySource;
use crate::format::member::Attributes;
use crate::io::disk::{DiskFile, DiskNamespace};
use crate::io::lock_set::Locks;
use crate::ops::file_crypt::{Cryptor, fuzzing};

#[test]
#[ignore = "makes the files in fuzz/base and the seeds in fuzz/corpus anew"]
fn make() {
    fs::create_dir_all(base::directory().join("base")).unwrap();
    for kind in 0..KINDS {
        make_base(kind);
    }
    for kind in 0..KINDS as u8 {
        seed_open(kind);
        seed_reseal(kind);
        seed_legacy(kind);
        seed_crypt(kind);
    }
    seed_fixtures();
    seed_names();
    seed_operations();
}

fn seed(target: &str, name: &str, bytes: &[u8]) {
    let directory = base::directory().join("corpus").join(target);
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join(name), bytes).unwrap();
}

/// A coffer with packs, a large member, a directory, dead blocks and several commits.
fn make_base(kind: usize) {
    let case = Case::of(kind as u8);
    let header = Header::new(case.kind, &case.keys, &KeySource::of_keys(), 256, 4096).unwrap();
    let path = base::path(kind);
    fs::write(&path, []).unwrap();
    let source = ArchiveFile {
        known_len: Default::default(),
        directory: Arc::new(DiskNamespace),
        storage: Arc::new(DiskFile::open(&path, true).unwrap()),
        path: path.clone(),
        layers: header.layers(&case.keys).unwrap(),
        meta: case.keys.meta(&case.kind),
        archive: header.archive,
        max_catalog: u64::MAX,
        packs: PackCache::new(),
    };
    let layers = source.layers.clone();
    let attributes = Attributes { mode: 0o640, mtime_s: 1_700_000_000, mtime_ns: 5 };
    let small = |container: &mut Container, name: &str, bytes: &[u8]| {
        let stored = layers.encode_member(bytes).unwrap().into_vec();
        container
            .put_small(name, MemberType::File, bytes.len() as u64, attributes, stored)
            .unwrap();
    };
    let mut container = Container::create(source, header, false).unwrap();
    small(&mut container, "empty", b"");
    small(&mut container, "notes/todo.txt", b"buy milk\n");
    small(&mut container, "notes/gone.txt", b"buy bread\n");
    container.put_small("rooms", MemberType::Directory, 0, attributes, Vec::new()).unwrap();
    container.commit(true, &Locks::none(&path)).unwrap();
    let mut pieces = vec![vec![b'x'; 100], vec![b'l'; 4096], noise(1, 4096)];
    container
        .put_large("large.bin", attributes, &[], || {
            let Some(bytes) = pieces.pop() else { return Ok(None) };
            let last = pieces.is_empty();
            Ok(Some(Raw { job: Box::new(move || Ok(bytes.into())), last }))
        })
        .unwrap();
    container.commit(true, &Locks::none(&path)).unwrap();
    container.remove("notes/gone.txt").unwrap();
    small(&mut container, "ünïcode/語.txt", &noise(2, 300));
    container.commit(true, &Locks::none(&path)).unwrap();
    small(&mut container, "empty", b"no more");
    container.commit(true, &Locks::none(&path)).unwrap();
}

fn seed_open(kind: u8) {
    let file = fs::read(base::path(kind.into())).unwrap();
    seed("open", &format!("base-{kind}"), &[&[kind, 6], file.as_slice()].concat());
    let cut = file.len() * 2 / 3;
    seed("open", &format!("cut-{kind}"), &[&[kind, 2], &file[..cut]].concat());
    let behind = [&[kind, 7], file.as_slice(), &file[cut..]].concat();
    seed("open", &format!("behind-{kind}"), &behind);
    let mut header = file.clone();
    header[..40].fill(0);
    seed("open", &format!("header-{kind}"), &[&[kind, 6], header.as_slice()].concat());
}

fn seed_reseal(kind: u8) {
    let base = Base::of(kind);
    let flags = reseal::HONEST | reseal::WRITE;
    let mut counts = std::collections::HashMap::<u8, u8>::new();
    let mut put = |layer: u8, bytes: &[u8]| {
        let index = counts.entry(layer).or_default();
        let mut input =
            vec![kind, if index.is_multiple_of(2) { flags | reseal::COMPACT } else { flags }];
        input.extend([layer, *index]);
        input.extend((bytes.len() as u16).to_le_bytes());
        input.extend(bytes);
        seed("reseal", &format!("{kind}-{layer}-{index}"), &input);
        *index += 1;
    };
    for placed in &base.parts {
        match &placed.part {
            FilePart::Header { body, mark } => {
                put(reseal::HEADER, body);
                put(reseal::MARKS, mark);
            }
            FilePart::Commit { raw } => {
                put(reseal::COMMIT, raw);
                put(reseal::MORE, raw);
            }
            FilePart::Record { plain } => put(reseal::RECORD, plain),
            FilePart::Footer { body } => put(reseal::FOOTER, body),
            FilePart::Block { frame, tar, .. } => {
                put(reseal::FRAME, frame);
                put(
                    reseal::TAR,
                    &crate::format::frame::decompress(frame, *tar as usize).unwrap_or_default(),
                );
            }
        }
    }
    for (_, entry) in base.catalog.iter() {
        let count = match &entry.place {
            Place::Pieces { pieces, .. } => pieces.len(),
            _ => 1,
        };
        for _ in 0..count {
            put(reseal::MEMBER_FRAME, &crate::format::frame::compress(3, &noise(3, 40)).unwrap());
            put(reseal::MEMBER, &base.layers.encode_member(b"another one").unwrap());
        }
    }
    put(reseal::FILE, &[9, 1, 0xff, 0, 1]);
}

fn seed_legacy(kind: u8) {
    let mut tar = Vec::new();
    let mut members = vec![kind, 7];
    for (name, bytes) in [("hello.txt", &b"hello"[..]), ("a/b", &[7; 600]), ("empty", b"")] {
        let heading = crate::format::tar::Heading {
            name,
            member_type: MemberType::File,
            stored: bytes.len() as u64,
            attributes: Attributes { mode: 0o644, mtime_s: 5, mtime_ns: 0 },
        };
        crate::format::tar::append(&mut tar, &heading, bytes).unwrap();
        members.extend([0, name.len() as u8]);
        members.extend(name.as_bytes());
        members.extend((bytes.len() as u16).to_le_bytes());
        members.extend(bytes);
    }
    seed("legacy", &format!("tar-{kind}"), &[&[kind, 6], tar.as_slice()].concat());
    let frame = crate::format::frame::compress(3, &tar).unwrap();
    seed("legacy", &format!("frame-{kind}"), &[&[kind, 13], frame.as_slice()].concat());
    seed("legacy", &format!("members-{kind}"), &members);
}

/// Coffers of PyCoffer's, and those of the format's description.
fn seed_fixtures() {
    let root = base::directory().join("..");
    for (name, kind) in [
        ("null", 0),
        ("store", 1),
        ("market", 2),
        ("bank", 3),
        ("bank-aes-ocb", 4),
        ("bank-from-2100", 3),
        ("hostile-parent", 0),
        ("hostile-absolute", 0),
        ("hostile-symlink", 0),
        ("hostile-hardlink", 0),
        ("hostile-device", 0),
        ("hostile-twice", 0),
        ("hostile-file-as-directory", 0),
        ("not-utf8", 0),
        ("cut-tar", 0),
        ("bad-checksum", 0),
    ] {
        let file = fs::read(root.join(format!("test/fixtures/{name}.pycoffer"))).unwrap();
        seed("legacy", name, &[&[kind, 4], file.as_slice()].concat());
    }
    for (name, kind) in [("null", 0), ("store", 1)] {
        let path = root.join(format!("crates/coffer-core/tests/fixtures/{name}.coffer"));
        let file = fs::read(path).unwrap();
        seed("open", &format!("format-{name}"), &[&[kind, 6], file.as_slice()].concat());
    }
}

fn seed_crypt(kind: u8) {
    let case = Case::of(1 + kind % 5);
    let header = Header::new(case.kind, &case.keys, &KeySource::of_keys(), 256, 4096).unwrap();
    let cryptor = Cryptor::of(&header.layers(&case.keys).unwrap(), "a.coffer".as_ref()).unwrap();
    let plain = noise(kind, 5000);
    let mut encryptor = cryptor.encryptor();
    let mut file = encryptor.push(&plain).unwrap();
    file.extend(encryptor.finish().unwrap());
    seed("crypt", &format!("file-{kind}"), &[&[kind, 0, 90], file.as_slice()].concat());
    seed("crypt", &format!("plain-{kind}"), &[&[kind, 1, 200], plain.as_slice()].concat());
    let frame = crate::format::frame::compress(3, &plain[..300]).unwrap();
    let mut forged = vec![kind, 2, 50, 5, 9, 0];
    forged.extend(&plain[..9]);
    forged.push(1);
    forged.extend((frame.len() as u16).to_le_bytes());
    forged.extend(frame.iter());
    seed("crypt", &format!("forged-{kind}"), &forged);
    forged[1] = 2 | 4 | 8 | 16;
    seed("crypt", &format!("legacy-{kind}"), &forged);
    let mut whole = Vec::new();
    fuzzing::head(&cryptor, &[7; 16], &mut whole);
    fuzzing::tail(&cryptor, &[7; 16], 0, &mut whole);
    seed("crypt", &format!("ends-{kind}"), &[&[kind, 0, 3], whole.as_slice()].concat());
}

fn seed_names() {
    let list = |how: u8, names: &[(u8, &str)]| {
        let mut out = vec![how];
        for (what, name) in names {
            out.extend([*what, name.len() as u8]);
            out.extend(name.as_bytes());
        }
        out
    };
    for how in [0, 1, 2, 9, 16, 17, 18, 49] {
        seed(
            "names",
            &format!("plain-{how}"),
            &list(how, &[(0, "a/b"), (1, "ü/語"), (3, "d"), (7, "a")]),
        );
        let links =
            [(6, "a"), (0, "a/b"), (0, "c"), (14, "c"), (4, "e"), (0, "e"), (5, "f"), (0, "f")];
        seed("names", &format!("links-{how}"), &list(how, &links));
        let bad =
            [(0, "../secret"), (0, "/x"), (0, "a/../../b"), (0, "."), (64, "long/"), (0, "a\0b")];
        for (i, name) in bad.iter().enumerate() {
            seed("names", &format!("bad-{how}-{i}"), &list(how, &[*name, (0, "good")]));
        }
        let from = [(0, "a/b/c"), (0, "a/d"), (128 | 7, "a"), (7, "a/b"), (6, "b")];
        seed("names", &format!("from-{how}"), &list(how, &from));
    }
}

fn seed_operations() {
    let all: Vec<u8> = (0..16).collect();
    for kind in 0..KINDS as u8 {
        for flags in 0..4 {
            let mut input = vec![kind, flags];
            for i in 0..24u8 {
                input.extend([
                    all[usize::from(i * 7 % 16)] | (i & 1) << 4,
                    i,
                    i.wrapping_mul(37),
                    i * 3,
                    i,
                ]);
            }
            seed("operations", &format!("mix-{kind}-{flags}"), &input);
        }
    }
}
