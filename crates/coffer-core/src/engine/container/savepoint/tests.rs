#![allow(clippy::unwrap_used)]
use super::*;
use crate::coffer::{Mode, Options};
use crate::engine::file::ArchiveFile;
use crate::engine::member::MemberLocation;
use crate::format::kind::Kind;
use crate::format::member::Attributes;
use crate::format::member::MemberType;
use crate::io::disk::{DiskFile, DiskNamespace};
use crate::io::lock_set::Locks;
use crate::io::storage::{Namespace, WriteAt};

/// A coffer without keys in a directory of its own.
struct Scene {
    container: Container,
    locks: Locks,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("box.coffer");
        let options = Options::new(Mode::Exclusive, Kind::null());
        let (header, keys) = options.header(&options.credentials().unwrap()).unwrap();
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
        let file: Arc<dyn WriteAt> = Arc::new(DiskFile::create(&path).unwrap());
        let source = ArchiveFile::new(file, &directory, &path, &header, &keys).unwrap();
        let container = Container::create(source, header, false).unwrap();
        let mut scene = Self { container, locks: Locks::none(&path), _dir: dir };
        scene.commit();
        scene
    }

    fn put(&mut self, name: &str, bytes: &[u8]) {
        let stored = self.container.source.layers.encode_member(bytes).unwrap().into_vec();
        let attributes = Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 };
        let size = bytes.len() as u64;
        self.container.put_small(name, MemberType::File, size, attributes, stored).unwrap();
    }

    fn commit(&mut self) {
        self.container.commit(true, &self.locks).unwrap();
    }

    fn read(&self, name: &str) -> Option<Vec<u8>> {
        let view = self.container.view.read();
        let entry = view.catalog.get(name)?;
        let found = MemberLocation::in_catalog(&view.catalog, name, &entry).unwrap();
        Some(found.read(&view.source, 0, entry.size as usize).unwrap())
    }

    fn blocks(&self) -> usize {
        self.container.view.read().catalog.blocks.len()
    }

    /// As many members as fill several packs.
    fn put_many(&mut self) {
        for number in 0..100 {
            self.put(&format!("many-{number}"), &[number; 900]);
        }
    }
}

#[test]
fn small_members_that_are_kept_one_by_one_share_packs() {
    let mut scene = Scene::new();
    let before = scene.blocks();
    for number in 0..1000u32 {
        scene.container.begin().unwrap();
        scene.put(&format!("member-{number}"), &number.to_le_bytes());
        scene.container.keep();
    }
    scene.commit();
    let packs = scene.blocks() - before;
    assert!(packs <= 100, "1000 members are in {packs} packs");
    assert_eq!(scene.read("member-77").unwrap(), 77u32.to_le_bytes());
}

/// A savepoint is a position in a log: earlier changes are neither copied nor kept.
#[test]
fn a_savepoint_costs_what_is_changed_after_it() {
    let mut scene = Scene::new();
    for number in 0..1000u32 {
        scene.container.begin().unwrap();
        assert_eq!(scene.container.savepoints.steps(), 0, "after {number} savepoints");
        scene.put(&format!("member-{number}"), &[1; 500]);
        // Two steps, one for the member and one for its name, and one for each member of an earlier
        // savepoint in a pack that was closed meanwhile.
        let steps = scene.container.savepoints.steps();
        assert!((2..=2 + 16).contains(&steps), "{steps} steps after {number} savepoints");
        scene.container.keep();
    }
    scene.container.begin().unwrap();
    scene.put_many();
    let waited = 16;
    let steps = scene.container.savepoints.steps();
    assert!((200..=200 + waited).contains(&steps), "{steps} steps for 100 members");
}

#[test]
fn what_waited_for_its_pack_is_there_after_a_rollback() {
    for change in 0..4 {
        let mut scene = Scene::new();
        scene.put("waits", b"as it was");
        scene.put("beside", b"it too");
        scene.container.begin().unwrap();
        match change {
            0 => scene.put("waits", b"replaced"),
            1 => scene.container.remove("waits").unwrap(),
            2 => {
                scene.container.begin().unwrap();
                scene.put_many();
                scene.container.rollback();
                assert_eq!(scene.read("waits").unwrap(), b"as it was");
            }
            _ => scene.put("beside", b"replaced"),
        }
        // The pack that the member waited for is closed and written.
        scene.put_many();
        scene.container.drain().unwrap();
        scene.container.rollback();
        for _ in 0..2 {
            assert_eq!(scene.read("waits").unwrap(), b"as it was", "{change}");
            assert_eq!(scene.read("beside").unwrap(), b"it too", "{change}");
            assert_eq!(scene.read("many-1"), None);
            scene.commit();
        }
        assert_eq!(scene.blocks(), 2, "{change}: the root, and one pack");
    }
}

#[test]
fn what_is_undone_leaves_no_trace_in_the_changes() {
    let mut scene = Scene::new();
    for name in ["a", "b", "c"] {
        scene.put(name, name.as_bytes());
    }
    scene.commit();
    scene.container.remove("a").unwrap();
    scene.container.begin().unwrap();
    scene.put("a", b"again");
    scene.container.remove("b").unwrap();
    scene.put_many();
    scene.container.rollback();
    let changes = &scene.container.changes;
    assert_eq!(changes.touched.iter().map(|name| &**name).collect::<Vec<_>>(), ["a"]);
    assert_eq!((changes.added.len(), changes.dirty.len(), changes.dead.len()), (0, 1, 0));
    scene.commit();
    assert_eq!((scene.read("a"), scene.read("b").as_deref()), (None, Some(&b"b"[..])));
}
