//! Handles that only read and go on to newer commits.

use std::path::Path;

use crate::support::{Case, cases, directory, flush, names, write};
use coffer_core::coffer::{Change, Coffer, LockMode, Mode};
use coffer_core::error::Code;
use coffer_core::progress::CallObserver;

fn beside(case: &Case, path: &Path) -> Coffer {
    let mut options = case.options(Mode::Read);
    options.lock = LockMode::Write;
    Coffer::open(path, options).unwrap()
}

#[test]
fn a_reader_goes_on_and_what_is_pinned_stays_until_the_coffer_closes() {
    for case in cases() {
        let dir = directory();
        let path = dir.path().join("box.coffer");
        let writer = case.open(&path, Mode::Exclusive);
        write(&writer, "a", b"one");
        flush(&writer);
        let reader = beside(&case, &path);
        assert_eq!(reader.refresh().unwrap(), reader.status().commit);
        let pinned = reader.pinned().unwrap();
        assert!(writer.pinned().is_none());
        // A compaction leaves the old file to those that have it open.
        writer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
        write(&writer, "a", b"two");
        write(&writer, "b", b"new");
        flush(&writer);
        let newest = writer.status().commit;
        assert_eq!(reader.refresh().unwrap(), newest, "{}", case.name());
        assert_eq!(reader.status().commit, newest);
        assert_eq!(reader.status().mtime, writer.status().mtime);
        assert_eq!(reader.read("a").unwrap(), b"two");
        assert_eq!(names(&reader), ["a", "b"]);
        assert_eq!(pinned.read("a").unwrap(), b"one");
        assert_eq!(names(&pinned), ["a"]);
        // It is the same coffer, which goes on again.
        write(&writer, "a", b"three");
        flush(&writer);
        pinned.refresh().unwrap();
        assert_eq!(reader.read("a").unwrap(), b"three");
        assert_eq!(pinned.read("a").unwrap(), b"one");
        reader.close().unwrap();
        assert_eq!(pinned.read("a").unwrap_err().code(), Code::Closed);
        assert_eq!(pinned.refresh().unwrap_err().code(), Code::Closed);
        writer.close().unwrap();
    }
}

#[test]
fn a_reader_that_was_given_up_is_not_refreshed() {
    let case = &cases()[0];
    let dir = directory();
    let path = dir.path().join("box.coffer");
    let writer = case.open(&path, Mode::Exclusive);
    write(&writer, "a", b"one");
    flush(&writer);
    let reader = beside(case, &path);
    let pinned = reader.pinned().unwrap();
    write(&writer, "a", b"two");
    flush(&writer);
    reader.abandon();
    assert_eq!(reader.refresh().unwrap_err().code(), Code::Closed);
    assert_eq!(pinned.read("a").unwrap_err().code(), Code::Closed);
}

/// Commits that are cut off by a crash, or put back, are no newer state.
#[test]
fn a_file_that_lost_commits_is_no_newer_one() {
    let case = &cases()[2];
    let dir = directory();
    let path = dir.path().join("box.coffer");
    let writer = case.open(&path, Mode::Exclusive);
    write(&writer, "a", b"one");
    flush(&writer);
    let before = std::fs::read(&path).unwrap();
    write(&writer, "b", b"two");
    flush(&writer);
    let reader = beside(case, &path);
    let own = reader.status().commit;
    writer.close().unwrap();
    std::fs::write(&path, &before).unwrap();
    assert_eq!(reader.refresh().unwrap_err().code(), Code::RolledBack);
    assert_eq!(reader.status().commit, own);
    // Another history from there is none of the reader's.
    let other = case.open(&path, Mode::Update);
    for name in ["c", "d", "e"] {
        write(&other, name, b"three");
        flush(&other);
    }
    assert!(other.status().commit.generation > own.generation);
    assert_eq!(reader.refresh().unwrap_err().code(), Code::RolledBack);
    assert_eq!(names(&reader), ["a", "b"]);
}
