#![cfg(unix)]

use super::*;
use crate::engine::file::ArchiveFile;
use crate::engine::view::{Shared, View};
use crate::format::catalog::{Catalog, Place};
use crate::format::member::{Attributes, MemberType};

/// Two members come to one place, as on a file system that takes their names for the same: here
/// because what is cut off the front of the one leaves the name of the other. Only where files have
/// an identity: elsewhere `check_names` comes first.
#[test]
fn a_member_does_not_replace_another_whose_name_leads_to_the_same_file() {
    let nothing = Path::new("nothing");
    let source = Arc::new(ArchiveFile::closed(nothing));
    let view = Shared::new(View { catalog: Catalog::default(), source, header: None });
    let reader = Reader::of_writer(view);
    let entry = Entry {
        version: 0,
        member_type: MemberType::File,
        size: 1,
        attributes: Attributes { mode: 0o644, mtime_s: 0, mtime_ns: 0 },
        place: Place::Memory(Arc::default()),
    };
    let fill = |file: &DiskFile, bytes: &[u8]| {
        file.write_at(bytes, 0).map_err(|e| Error::io("write", nothing, &e))
    };
    for (before, replace) in [(false, true), (true, true), (false, false)] {
        let target = tempfile::tempdir().unwrap();
        if before {
            std::fs::write(target.path().join("a"), "old").unwrap();
        }
        let out = Out {
            reader: &reader,
            tree: TargetTree::open(target.path()).unwrap(),
            target: target.path(),
            own: &ProtectedPaths::of(nothing, None),
            from: "x/".to_owned(),
            replace,
            watch: &CallObserver::silent(),
            bytes: AtomicU64::new(0),
            members: AtomicU64::new(0),
            total: 0,
            preserve: false,
            refused: Mutex::default(),
            failed: Mutex::default(),
        };
        out.file("a", &entry, true, |file| fill(file, b"1")).unwrap();
        let error = out.file("x/a", &entry, true, |file| fill(file, b"2")).unwrap_err();
        assert_eq!((error.code(), error.member()), (Code::NameCollision, Some("x/a")));
        let late = out.put_in_place("x/a", "late", "a").unwrap_err();
        assert_eq!(late.code(), Code::NameCollision);
        assert_eq!(std::fs::read_to_string(target.path().join("a")).unwrap(), "1");
        assert_eq!(std::fs::read_dir(target.path()).unwrap().count(), 1);
    }
}
