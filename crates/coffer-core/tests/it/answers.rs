//! What calls answer: codes of refusals, limits on what is read, pages of members, the status.

use std::sync::Arc;

use crate::support::*;
use coffer_core::coffer::{
    Change, Coffer, Existing, Extraction, Limits, Mode, Options, Outcome, Selection,
};
use coffer_core::error::{Code, Result};
use coffer_core::format::kind::Kind;
use coffer_core::progress::CallObserver;

fn null(mode: Mode) -> Options {
    Options::new(mode, Kind::null())
}

fn code<T>(result: Result<T>) -> Code {
    result.map(drop).unwrap_err().code()
}

#[test]
fn a_directory_is_no_file_and_is_deleted_whole() {
    let dir = directory();
    let c = Coffer::open(&path(&dir), null(Mode::Exclusive)).unwrap();
    write(&c, "docs/a", b"a");
    c.change(Change::Directory { name: "empty".to_owned(), mode: None, mtime: None }).unwrap();
    for name in ["docs", "empty"] {
        assert_eq!(code(c.read(name)), Code::IsDirectory, "{name}");
        assert_eq!(code(c.read_range(name, 0, 1, None)), Code::IsDirectory, "{name}");
        let data = Arc::new(b"x".to_vec());
        assert_eq!(code(c.change(Change::write(name, data.clone()))), Code::IsDirectory, "{name}");
        let append = Change::Append { name: name.to_owned(), data };
        assert_eq!(code(c.change(append)), Code::IsDirectory, "{name}");
        let upload = c.upload(name);
        let (name, existing) = (name.to_owned(), Existing::Keep);
        let change = Change::Upload { name, upload, existing, mode: None, mtime: None };
        assert_eq!(code(c.change(change)), Code::IsDirectory);
    }
    let below_a_file = Change::write("docs/a/b", Arc::new(Vec::new()));
    assert_eq!(code(c.change(below_a_file)), Code::MemberExists);
    let alone = |name: &str| Change::Delete { name: name.to_owned(), recursive: false };
    assert_eq!(code(c.change(alone("docs"))), Code::NotEmpty);
    c.change(alone("empty")).unwrap();
    c.change(alone("docs/a")).unwrap();
    c.close().unwrap();
}

#[test]
fn a_batch_refuses_what_ends_it_and_what_comes_after_its_end() {
    let dir = directory();
    let c = Coffer::open(&path(&dir), null(Mode::Exclusive)).unwrap();
    let Outcome::Batch(token) = c.change(Change::Begin).unwrap() else { panic!("no batch") };
    let ask = |change| {
        let (sender, receiver) = std::sync::mpsc::channel();
        c.submit(change, Some(token), Box::new(move |result| sender.send(result).unwrap()));
        receiver.recv().unwrap()
    };
    let watch = CallObserver::silent;
    assert_eq!(code(ask(Change::Flush { force: true })), Code::InBatch);
    assert_eq!(code(ask(Change::Compact { watch: watch() })), Code::InBatch);
    assert_eq!(code(ask(Change::Begin)), Code::InBatch);
    ask(Change::write("a", Arc::new(b"a".to_vec()))).unwrap();
    ask(Change::End { commit: true }).unwrap();
    let late = || Change::write("late", Arc::new(Vec::new()));
    assert_eq!(code(ask(late())), Code::BatchEnded);
    assert_eq!(code(ask(Change::End { commit: true })), Code::BatchEnded);
    assert_eq!(names(&c), ["a"]);
    c.close().unwrap();
}

#[test]
fn a_handle_gives_no_member_above_its_limit() {
    let dir = directory();
    let path = path(&dir);
    let c = Coffer::open(&path, null(Mode::Exclusive)).unwrap();
    for (name, size) in [("five", 5), ("large", 300_000), ("ten", 10)] {
        write(&c, name, &noise(1, size));
    }
    c.close().unwrap();
    for mode in [Mode::Read, Mode::Update] {
        let open = |limits| {
            let mut options = null(mode);
            options.limits = limits;
            Coffer::open(&path, options).unwrap()
        };
        let c = open(Limits { member: Some(9), total: None });
        assert_eq!(c.read("five").unwrap().len(), 5);
        assert_eq!(c.read_range("five", 1, 2, None).unwrap().bytes.len(), 2);
        for (name, size) in [("ten", 10), ("large", 300_000)] {
            let refused = |error: coffer_core::error::Error| {
                assert_eq!((error.code(), error.member()), (Code::TooLarge, Some(name)));
                let says = format!("has {size} bytes, and maxMemberSize allows 9");
                assert!(error.message().contains(&says), "{error}");
            };
            // A pack that was decoded for the first is in memory at the second.
            for _ in 0..2 {
                refused(c.read(name).unwrap_err());
                assert!(c.read_at_once(name).is_none());
            }
            refused(c.read_range(name, 0, 1, None).unwrap_err());
            refused(c.read_on(name, 3, 1, 5, None).map(drop).unwrap_err());
        }
        // Nothing of a member is given out here.
        assert_eq!(c.verify(&CallObserver::silent()).unwrap().members, 3);
        c.close().unwrap();

        let extract = |handle: Limits, call: Limits, name: &str| {
            let c = open(handle);
            let mut extraction = Extraction::from(Selection::Exactly(
                name.split(' ').map(str::to_owned).collect::<Vec<_>>(),
            ));
            extraction.limits = call;
            let target = directory();
            let extracted = c.extract(&extraction, target.path(), &CallObserver::silent());
            c.close().unwrap();
            extracted.map(|extracted| extracted.files).map_err(|e| e.code())
        };
        let (none, nine) = (Limits::default(), Limits { member: Some(9), total: None });
        let fourteen = Limits { member: None, total: Some(14) };
        let fifteen = Limits { member: None, total: Some(15) };
        assert_eq!(extract(nine, none, "five ten"), Err(Code::TooLarge));
        assert_eq!(extract(none, nine, "five ten"), Err(Code::TooLarge));
        assert_eq!(extract(nine, fifteen, "five"), Ok(1));
        assert_eq!(extract(fourteen, fifteen, "five ten"), Err(Code::TooLarge));
        assert_eq!(extract(fifteen, fourteen, "five ten"), Err(Code::TooLarge));
        assert_eq!(extract(fifteen, fifteen, "five ten"), Ok(2));
    }
}

#[test]
fn members_come_in_pages_in_the_order_of_their_bytes() {
    let dir = directory();
    let c = Coffer::open(&path(&dir), null(Mode::Exclusive)).unwrap();
    let all = ["Z", "a", "a/b", "a/c", "a/d/e", "ab", "b", "ä"];
    for name in all.iter().filter(|name| **name != "a") {
        write(&c, name, b"x");
    }
    let page = |prefix: Option<&str>, after: Option<&str>, limit: Option<usize>| {
        let members = c.members(prefix, after, limit).unwrap();
        members.into_iter().map(|member| member.name).collect::<Vec<_>>()
    };
    let files: Vec<&str> = all.into_iter().filter(|name| *name != "a").collect();
    assert_eq!(page(None, None, None), files);
    let mut paged = Vec::new();
    loop {
        let next = page(None, paged.last().map(String::as_str), Some(2));
        assert!(next.len() <= 2);
        if next.is_empty() {
            break;
        }
        paged.extend(next);
    }
    assert_eq!(paged, files);
    assert_eq!(page(Some("a"), None, Some(2)), ["a/b", "a/c"]);
    assert_eq!(page(Some("a"), Some("a/c"), Some(2)), ["a/d/e", "ab"]);
    assert_eq!(page(Some("a/"), Some("a/c"), None), ["a/d/e"]);
    assert_eq!(page(Some("a/"), Some("Z"), None), ["a/b", "a/c", "a/d/e"]);
    assert!(page(Some("a/"), Some("ab"), None).is_empty());
    assert!(page(None, None, Some(0)).is_empty());
    // What `after` names need not be there.
    assert_eq!(page(None, Some("a/bb"), Some(1)), ["a/c"]);
    c.close().unwrap();
}

#[test]
fn the_status_has_the_time_of_the_file_as_of_the_last_commit() {
    let dir = directory();
    let path = path(&dir);
    let time = || {
        let since = std::fs::metadata(&path).unwrap().modified().unwrap();
        let since = since.duration_since(std::time::UNIX_EPOCH).unwrap();
        Some((since.as_secs() as i64, since.subsec_nanos()))
    };
    let set = |seconds| {
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        let then = std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        file.set_modified(then).unwrap();
    };
    let mut options = null(Mode::Append);
    options.auto_flush = Some(false);
    let c = Coffer::open(&path, options.clone()).unwrap();
    assert_eq!(c.status().mtime, time());
    set(1_000);
    assert_ne!(c.status().mtime, time());
    write(&c, "a", b"a");
    flush(&c);
    assert_eq!(c.status().mtime, time());
    assert!(time() > Some((1_000, 0)));
    c.close().unwrap();
    assert_eq!(c.status().mtime, time());
    set(2_000);
    for mode in [Mode::Read, Mode::Write] {
        options.mode = mode;
        let c = Coffer::open(&path, options.clone()).unwrap();
        // In the mode `w` it is that of the old file until the first commit.
        assert_eq!(c.status().mtime, Some((2_000, 0)), "{mode:?}");
        if mode == Mode::Write {
            flush(&c);
            assert_eq!(c.status().mtime, time());
            assert_ne!(time(), Some((2_000, 0)));
        }
        c.close().unwrap();
    }
}
