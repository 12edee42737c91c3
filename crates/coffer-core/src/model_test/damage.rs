//! Damage to the bytes of a file: a bit that flips between two sessions, and parts of the disk that
//! cannot be read.
//!
//! Members in a damaged block stay and fail to read, wherever the block is copied to. All others read
//! back, also after a crash; and once the last member of the block is gone, so are its bytes.

use std::path::PathBuf;
use std::sync::Arc;

use super::check::ModelOpener;
use super::disk::{Bad, Disk, Image};
use super::state::{Members, Timeline};
use super::workload::{Run, new_keys};
use crate::coffer::{Change, Coffer, Mode, Options};
use crate::engine::container::Container;
use crate::error::Code;
use crate::format::catalog::{Block, Catalog, Digest, Entry};
use crate::format::kind::{Cipher, Kind};
use crate::format::record::HEADER_MARKS;
use crate::progress::CallObserver;

/// A damaged byte of a block. Rekeying rewrites the header of a large member from the catalog; in an
/// unsealed container this restores the bytes.
#[derive(Clone)]
pub(super) struct Flip {
    /// Of the file under the keys that it has.
    pub(super) marks: [u8; HEADER_MARKS],
    pub(super) digest: Digest,
    /// Where in the block.
    pub(super) at: usize,
    /// The members that were in the block then, wholly or in part.
    pub(super) held: Members,
}

/// Behind the framing of a chunk and what comes first in a frame, where each byte counts.
const AT: usize = 72;

impl Run {
    /// Flips a byte of a block, if there is one, whatever a crash leaves later.
    pub(super) fn damage(&mut self) {
        let Some(mut container) = self.open() else { return };
        // Until this is noted, damage to what was written last passes for a crash.
        container.note_durable(&self.locks());
        let (catalog, members) = (container.view.read().catalog.clone(), self.members());
        let marks = container.header.marks;
        drop(container);
        let known = |block: &Block| self.opener.flip_of(&marks, block).is_some();
        let blocks: Vec<_> = catalog
            .blocks
            .iter()
            .filter(|(id, block)| **id > 0 && block.len as usize > AT + 8 && !known(block))
            .collect();
        if blocks.is_empty() {
            return;
        }
        let (id, block) = blocks[self.rng.below(blocks.len() as u64) as usize];
        self.tell(|| format!("a flip in the block at {}", block.offset));
        let held = catalog.iter().filter(|(_, entry)| Catalog::blocks_of(entry).contains(id));
        let held = held.map(|(name, _)| (name.to_string(), members[name].clone())).collect();
        self.opener.flips.push(Flip { marks, digest: block.digest, at: AT, held });
        let mut image = self.disk.image();
        let file = image.names[&self.opener.path];
        image.bytes(file)[block.offset as usize + AT] ^= 1;
        self.disk = Disk::new(image);
        self.timeline = Timeline::new(self.timeline.now().to_vec());
    }
}

impl ModelOpener {
    /// The damage to a block, in a file with these marks in its header.
    pub(super) fn flip_of(&self, marks: &[u8; HEADER_MARKS], block: &Block) -> Option<&Flip> {
        self.flips.iter().find(|flip| flip.marks == *marks && flip.digest == block.digest)
    }

    /// What a member held before a block of it was damaged, if one is.
    pub(super) fn damaged(
        &self,
        container: &Container,
        name: &str,
        entry: &Entry,
    ) -> Option<Vec<u8>> {
        let (marks, view) = (&container.header.marks, container.view.read());
        let blocks = Catalog::blocks_of(entry);
        let flip = blocks.iter().find_map(|id| self.flip_of(marks, &view.catalog.blocks[id]))?;
        Some(flip.held[name].to_vec())
    }
}

/// A Store with `a`, `b` and `c` in a pack and `d` in another, on a disk whose reads can be made to fail.
struct DamageScene {
    disk: Arc<Disk>,
    path: PathBuf,
    options: Options,
    pack: std::ops::Range<usize>,
    _dir: tempfile::TempDir,
}

const EIO: i32 = if cfg!(windows) { 1117 } else { 5 };
const ENOMEM: i32 = if cfg!(windows) { 8 } else { 12 };

impl DamageScene {
    fn new(kind: Kind) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (disk, path) = (Disk::new(Image::default()), dir.path().join("bad.coffer"));
        let mut options = Options::new(Mode::Exclusive, kind);
        let keys = new_keys(&kind);
        (options.coffer_key, options.secure_key) = (keys.coffer, keys.secure);
        options.auto_flush = Some(false);
        let coffer = Coffer::open_in(disk.directory(), &path, options.clone()).unwrap();
        let size = || disk.image().file(&path).unwrap().len();
        let before = size();
        ["a", "b", "c"].into_iter().for_each(|name| write(&coffer, name));
        coffer.change(Change::Flush { force: false }).unwrap();
        let pack = before..size();
        write(&coffer, "d");
        coffer.close().unwrap();
        options.mode = Mode::Append;
        Self { disk, path, options, pack, _dir: dir }
    }

    fn open(&self) -> Coffer {
        Coffer::open_in(self.disk.directory(), &self.path, self.options.clone()).unwrap()
    }

    /// Opens the coffer, and then makes reads of the pack fail: opening reads all of such a small file.
    fn open_bad(&self) -> Coffer {
        self.disk.refuse(None);
        let coffer = self.open();
        self.fail(EIO, usize::MAX);
        coffer
    }

    /// Lets reads of the pack fail so many times.
    fn fail(&self, errno: i32, times: usize) {
        let at = self.pack.start + 100;
        self.disk.refuse(Some(Bad { bytes: at..at + 1, errno, times }));
    }
}

fn bytes(name: &str) -> Vec<u8> {
    name.bytes().cycle().take(2000).collect()
}

fn write(coffer: &Coffer, name: &str) {
    coffer.change(Change::write(name, Arc::new(bytes(name)))).unwrap();
}

fn check(coffer: &Coffer, sound: &[&str], damaged: &[&str]) {
    for name in sound {
        assert!(coffer.read(name).unwrap() == bytes(name));
    }
    for name in damaged {
        coffer.read(name).unwrap_err();
    }
    let verified = coffer.verify(&CallObserver::silent());
    let Err(error) = verified else { return assert!(damaged.is_empty()) };
    let named: Vec<_> = damaged.iter().map(|name| format!("{name:?}")).collect();
    assert_eq!(error.code(), Code::Corrupt);
    assert!(error.message().contains(&format!("are damaged: {}.", named.join(", "))), "{error:?}");
}

fn delete(coffer: &Coffer, name: &str) {
    coffer.change(Change::Delete { name: name.to_owned(), recursive: false }).unwrap();
}

#[test]
fn a_pack_that_the_disk_cannot_read_stays_and_everything_else_goes_on() {
    for kind in [Kind::store(), Kind::bank(Cipher::AesOcb), Kind::null()] {
        let scene = DamageScene::new(kind);
        let coffer = scene.open_bad();
        delete(&coffer, "a");
        write(&coffer, "new");
        coffer.change(Change::Flush { force: false }).unwrap();
        check(&coffer, &["d", "new"], &["b", "c"]);
        coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
        check(&coffer, &["d", "new"], &["b", "c"]);
        coffer.close().unwrap();
        // It was copied: the bytes that the disk could not read are lost.
        scene.disk.refuse(None);
        let coffer = scene.open();
        check(&coffer, &["d", "new"], &["b", "c"]);
        write(&coffer, "b");
        write(&coffer, "c");
        coffer.close().unwrap();
        check(&scene.open(), &["b", "c", "d", "new"], &[]);
    }
}

#[test]
fn a_pack_that_can_be_read_again_is_erased_when_the_coffer_is_opened() {
    for kind in [Kind::store(), Kind::bank(Cipher::AesOcb), Kind::null()] {
        let scene = DamageScene::new(kind);
        let coffer = scene.open_bad();
        delete(&coffer, "a");
        coffer.change(Change::Flush { force: false }).unwrap();
        check(&coffer, &["d"], &["b", "c"]);
        coffer.close().unwrap();
        scene.disk.refuse(None);
        let held = || {
            let image = scene.disk.image();
            image.file(&scene.path).unwrap()[scene.pack.start + 32..][..40].to_vec()
        };
        let before = held();
        let coffer = scene.open();
        check(&coffer, &["b", "c", "d"], &[]);
        assert!(before.iter().zip(held()).filter(|(one, other)| *one != other).count() > 8);
        coffer.close().unwrap();
    }
}

#[test]
fn a_read_that_fails_once_is_tried_again() {
    let scene = DamageScene::new(Kind::store());
    let coffer = scene.open();
    delete(&coffer, "a");
    scene.fail(EIO, 1);
    coffer.change(Change::Flush { force: false }).unwrap();
    check(&coffer, &["b", "c", "d"], &[]);
    coffer.close().unwrap();
}

#[test]
fn a_system_that_is_short_of_memory_is_no_damage() {
    let scene = DamageScene::new(Kind::store());
    let coffer = scene.open();
    delete(&coffer, "a");
    for change in
        [Change::Flush { force: false }, Change::Compact { watch: CallObserver::silent() }]
    {
        scene.fail(ENOMEM, 1);
        let error = coffer.change(change).unwrap_err();
        assert_eq!((error.code(), error.errno()), (Code::Io, Some(ENOMEM)));
    }
    scene.disk.refuse(None);
    coffer.change(Change::Flush { force: false }).unwrap();
    check(&coffer, &["b", "c", "d"], &[]);
    coffer.close().unwrap();
}

/// A pack that could not be read for a while still has what was deleted meanwhile.
#[test]
fn compaction_leaves_nothing_of_what_was_deleted_while_the_pack_could_not_be_read() {
    let scene = DamageScene::new(Kind::null());
    let coffer = scene.open_bad();
    delete(&coffer, "a");
    coffer.change(Change::Flush { force: false }).unwrap();
    scene.disk.refuse(None);
    coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
    check(&coffer, &["b", "c", "d"], &[]);
    coffer.close().unwrap();
    let file = scene.disk.image().file(&scene.path).unwrap().clone();
    let tar = zstd::decode_all(file.as_slice()).unwrap();
    let mut archive = tar::Archive::new(tar.as_slice());
    let name = |entry: std::io::Result<tar::Entry<'_, _>>| {
        entry.unwrap().path().unwrap().to_str().unwrap().to_owned()
    };
    let names: Vec<_> = archive.entries().unwrap().map(name).collect();
    assert_eq!(names[1..], ["b", "c", "d"]);
}
