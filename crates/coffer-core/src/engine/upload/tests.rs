//! Uploads by themselves: portions, room, failures, other keys.

use std::path::Path;

use crossbeam_channel::{Receiver, bounded};

use super::*;
use crate::crypto::key::Key;
use crate::engine::container::Container;
use crate::engine::file::ArchiveFile;
use crate::engine::member::MemberLocation;
use crate::format::block::Form;
use crate::format::header::Header;
use crate::format::key_source::KeySource;
use crate::format::keys::Keys;
use crate::format::kind::{Cipher, Kind};
use crate::format::member::Attributes;
use crate::io::disk::DiskNamespace;

const PIECE: usize = 4096;

struct Case {
    temp: tempfile::TempDir,
    uploads: Arc<Uploads>,
    header: Header,
    keys: Keys,
}

impl Case {
    fn new(kind: Kind) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let keys = Keys {
            coffer: kind.container.cipher.map(|_| Key::generate(32)),
            secure: kind.member.cipher.map(|_| Key::generate(32)),
            derived: false,
        };
        let header = Header::new(kind, &keys, &KeySource::of_keys(), 1000, PIECE as u32).unwrap();
        Self { uploads: Uploads::new(Some(temp.path().to_owned())), temp, header, keys }
    }

    fn layers(&self) -> Layers {
        self.header.layers(&self.keys).unwrap()
    }

    fn upload(&self) -> Upload {
        self.uploads.upload(self.layers())
    }

    /// A container in a spool of its own.
    fn container(&self) -> Container {
        let dir = SpoolDir::create(Some(self.temp.path())).unwrap();
        let (spool, directory) = (Arc::new(dir.file().unwrap()), Arc::new(DiskNamespace) as _);
        let path = Path::new("test.coffer");
        let source = ArchiveFile::new(spool, &directory, path, &self.header, &self.keys).unwrap();
        Container::create(source, self.header.clone(), false).unwrap()
    }

    /// The bytes of all files in the temp directory, and how many directories are there.
    fn left(&self) -> (Vec<u8>, usize) {
        let mut bytes = Vec::new();
        let mut directories = 0;
        for dir in std::fs::read_dir(self.temp.path()).unwrap() {
            directories += 1;
            for file in std::fs::read_dir(dir.unwrap().path()).into_iter().flatten() {
                bytes.extend(std::fs::read(file.unwrap().path()).unwrap());
            }
        }
        (bytes, directories)
    }
}

fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut out);
    out
}

fn write(upload: &Upload, bytes: &[u8]) -> Receiver<Result<()>> {
    let (sender, receiver) = bounded(1);
    upload.write(bytes, Box::new(move |result| drop(sender.send(result))));
    receiver
}

fn put(container: &mut Container, head: Vec<u8>, staged: SpooledUpload) -> Vec<u8> {
    let attributes = Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 };
    let parts = staged.parts(head, &container.source.layers);
    container.put_large("member", attributes, &[], parts).unwrap();
    let view = container.view.read();
    let entry = view.catalog.get("member").unwrap();
    let found = MemberLocation::in_catalog(&view.catalog, "member", &entry).unwrap();
    found.read(&view.source, 0, entry.size as usize).unwrap()
}

fn kinds() -> [Kind; 4] {
    [Kind::bank(Cipher::AesOcb), Kind::store(), Kind::market(), Kind::null()]
}

#[test]
fn bytes_in_any_portions_are_the_member_in_the_end() {
    for kind in kinds() {
        let case = Case::new(kind);
        for total in [0, 1, PIECE, 2 * PIECE, 2 * PIECE + 1, 5 * PIECE, 100_001] {
            for portion in [700, PIECE, 3 * PIECE + 5, usize::MAX] {
                let bytes = noise(total as u64, total);
                let mut container = case.container();
                let upload = case.uploads.upload(container.source.layers.clone());
                let portions = bytes.chunks(portion.min(total.max(1)));
                portions.for_each(|bytes| write(&upload, bytes).recv().unwrap().unwrap());
                match upload.in_memory().unwrap() {
                    Some(data) => {
                        assert!(total as u64 <= IN_MEMORY);
                        let mut found = vec![0; data.size()];
                        data.copy_to(0, &mut found).unwrap();
                        assert_eq!(found, bytes);
                    }
                    None => {
                        assert!(total as u64 > IN_MEMORY);
                        let staged = upload.finish().unwrap();
                        assert_eq!(staged.pieces.len(), (total - 1) / PIECE);
                        let head = noise(1, 5000);
                        let found = put(&mut container, head.clone(), staged);
                        assert!(found == [head, bytes].concat(), "{total} by {portion}");
                    }
                }
            }
        }
    }
}

#[test]
fn a_coffer_that_got_other_keys_gets_the_member_under_them() {
    for kind in kinds() {
        let (before, after) = (Case::new(kind), Case::new(kind));
        let bytes = noise(7, 10 * PIECE + 3);
        let upload = before.upload();
        write(&upload, &bytes).recv().unwrap().unwrap();
        let staged = upload.finish().unwrap();
        let now = after.layers();
        let keyed = now.member.is_some() || now.container.is_some();
        assert_eq!(staged.layers.make_the_same(&now), !keyed);
        assert!(put(&mut after.container(), Vec::new(), staged) == bytes);
    }
}

#[test]
fn there_is_no_room_while_as_many_pieces_are_under_way_as_may_be() {
    let case = Case::new(Kind::null());
    let upload = case.upload();
    // Threads of the pool that do nothing until they are told.
    let (go, wait) = bounded::<()>(0);
    let (busy, started) = bounded(pool::threads());
    for _ in 0..pool::threads() {
        let (wait, busy) = (wait.clone(), busy.clone());
        pool::spawn(move || {
            busy.send(()).unwrap();
            let _ = wait.recv();
        });
    }
    (0..pool::threads()).for_each(|_| started.recv().unwrap());
    let mut taken = 0;
    let withheld = loop {
        let ready = write(&upload, &noise(taken, PIECE));
        taken += 1;
        if ready.try_recv().is_err() {
            break ready;
        }
        assert!(taken <= pool::window() as u64 + 2);
    };
    assert!(taken >= 3);
    drop(go);
    withheld.recv().unwrap().unwrap();
    upload.finish().unwrap();
}

#[test]
fn what_is_given_up_leaves_nothing_and_says_so_to_who_waits() {
    let case = Case::new(Kind::null());
    let upload = case.upload();
    write(&upload, &noise(1, 60 * PIECE)).recv().unwrap().unwrap();
    while case.left().0.is_empty() {
        std::thread::yield_now();
    }
    let waiting = write(&upload, &noise(2, 200 * PIECE));
    upload.abort();
    let told = waiting.recv().unwrap();
    assert!(told.is_ok() || told.unwrap_err().code() == Code::Aborted);
    assert_eq!(write(&upload, b"x").recv().unwrap().unwrap_err().code(), Code::Aborted);
    // A job may be writing at this moment.
    while !case.left().0.is_empty() {
        std::thread::yield_now();
    }
    case.uploads.close();
    while case.left().1 > 0 {
        std::thread::yield_now();
    }
    let Err(error) = upload.finish() else { unreachable!("it was given up") };
    assert_eq!(error.code(), Code::Aborted);
}

#[test]
fn a_coffer_that_closes_takes_its_stages_with_it() {
    let case = Case::new(Kind::market());
    let upload = case.upload();
    write(&upload, &noise(3, 9 * PIECE)).recv().unwrap().unwrap();
    case.uploads.close();
    assert_eq!(write(&upload, b"x").recv().unwrap().unwrap_err().code(), Code::Closed);
    assert_eq!(upload.in_memory().err().unwrap().code(), Code::Closed);
    assert_eq!(write(&case.upload(), b"x").recv().unwrap().unwrap_err().code(), Code::Closed);
    while case.left().1 > 0 {
        std::thread::yield_now();
    }
}

#[test]
fn a_temp_directory_that_is_not_there_fails_the_stage_for_good() {
    let uploads = Uploads::new(Some("/nonexistent/temp".into()));
    let upload = uploads.upload(Case::new(Kind::null()).layers());
    write(&upload, &[0; 100]).recv().unwrap().unwrap();
    let _ = write(&upload, &noise(1, 40 * PIECE)).recv().unwrap();
    let Err(error) = upload.finish() else { unreachable!("there was no place for it") };
    assert_eq!((error.code(), error.path()), (Code::Io, Some(Path::new("/nonexistent/temp"))));
}

#[test]
fn a_block_in_the_spool_is_what_the_coffer_gets() {
    let case = Case::new(Kind::store());
    let mut container = case.container();
    let upload = case.uploads.upload(container.source.layers.clone());
    write(&upload, &noise(5, 3 * PIECE)).recv().unwrap().unwrap();
    let staged = upload.finish().unwrap();
    let spooled = staged.pieces[0].read(&staged.spool).unwrap().block;
    put(&mut container, Vec::new(), staged);
    let view = container.view.read();
    let block = view.catalog.blocks.values().find(|b| b.digest == spooled.digest).unwrap();
    assert!(container.source.sealed_block(block).unwrap() == spooled.bytes);
    assert_ne!(case.layers().encode(b"x", Form::Stored).unwrap().digest, spooled.digest);
}
