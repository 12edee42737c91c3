//! Salvage: what comes out of coffers of each kind when one region or another is destroyed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::support::*;
use coffer_core::coffer::{Coffer, Mode, Options};
use coffer_core::crypto::kdf::{KdfChoice, Passphrase};
use coffer_core::crypto::key::Key;
use coffer_core::error::{Code, Error};
use coffer_core::format::kind::Kind;
use coffer_core::ops::salvage::{APART, Reason, Salvaged, salvage};
use coffer_core::progress::CallObserver;

type Members = BTreeMap<String, Vec<u8>>;

/// A coffer with several commits, and where things stand in its file.
struct Sample {
    case: Case,
    dir: tempfile::TempDir,
    path: PathBuf,
    members: Members,
    /// The records of each kind: where they begin, in the order of the file.
    records: Vec<(String, usize)>,
    good: Vec<u8>,
}

const LARGE: usize = 300_000;

fn sample(case: Case) -> Sample {
    let dir = directory();
    let path = path(&dir);
    let mut options = case.options(Mode::Write);
    (options.piece_size, options.chunk_size) = (Some(64 << 10), Some(4 << 10));
    (options.durable, options.auto_flush) = (false, Some(false));
    let coffer = Coffer::open(&path, options).unwrap();
    let mut members = Members::new();
    let mut put = |name: &str, data: Vec<u8>| {
        write(&coffer, name, &data);
        members.insert(name.to_owned(), data);
    };
    for i in 0..40 {
        put(&format!("first/{i}"), noise(i, 100 + 50 * i as usize));
    }
    flush(&coffer);
    put("large", noise(77, LARGE));
    put("empty", Vec::new());
    flush(&coffer);
    for i in 0..20 {
        put(&format!("ключ/{i}"), noise(100 + i, 3_000));
    }
    put("first/3", b"replaced".to_vec());
    flush(&coffer);
    put("last", noise(9, 700));
    flush(&coffer);
    delete(&coffer, "first/5").unwrap();
    members.remove("first/5");
    flush(&coffer);
    coffer.close().unwrap();
    let good = std::fs::read(&path).unwrap();
    let records = records(&good, case.kind.container.cipher.is_some());
    Sample { case, dir, path, members, records, good }
}

/// The records, by their tags: what stands at its own offset, and headers by their version. The
/// text of a Fernet token may have a tag in it by chance.
fn records(file: &[u8], sealed: bool) -> Vec<(String, usize)> {
    let lead = if sealed { 4 } else { 8 };
    let tag = |w: &[u8]| match &w[..4] {
        b"cofC" | b"cofF" => Some(u64::from_le_bytes(w[4..12].try_into().unwrap()) as usize),
        b"cofH" if w[4] == 1 => None,
        b"cofK" => None,
        _ => Some(usize::MAX),
    };
    let found = file.windows(12).enumerate().filter(|(at, _)| *at >= lead);
    found
        .filter(|(at, w)| w.starts_with(b"cof") && tag(w).is_none_or(|own| own == at - lead))
        .map(|(at, w)| (String::from_utf8(w[..4].to_vec()).unwrap(), at - lead))
        .collect()
}

impl Sample {
    fn record(&self, tag: &str) -> Vec<usize> {
        self.records.iter().filter(|(t, _)| t == tag).map(|(_, at)| *at).collect()
    }

    /// Salvages what `bytes` are. Unverified members are in the map by the names that they claim.
    fn salvage(&self, bytes: &[u8]) -> (Salvaged, Members) {
        let (salvaged, members) = self.attempt(bytes).unwrap();
        assert_eq!(salvaged.members as usize, members.len(), "{}", self.case.name());
        assert_eq!(salvaged.bytes, members.values().map(|m| m.len() as u64).sum::<u64>());
        (salvaged, members)
    }

    fn attempt(&self, bytes: &[u8]) -> Result<(Salvaged, Members), Error> {
        std::fs::write(&self.path, bytes).unwrap();
        let salvaged = to_target(&self.path, &self.target(), &self.case.options(Mode::Read))?;
        assert_eq!(std::fs::read(&self.path).unwrap(), bytes, "the damaged file was changed");
        let members = everything(&self.target(), self.case.options(Mode::Read));
        std::fs::remove_file(self.target()).unwrap();
        let below = format!("{APART}/");
        let apart: Vec<&String> = members.keys().filter(|name| name.starts_with(&below)).collect();
        assert_eq!(salvaged.unverified.iter().collect::<Vec<_>>(), apart, "{}", self.case.name());
        assert_eq!(salvaged.apart.as_deref(), (!apart.is_empty()).then_some(APART));
        let claimed = |name: String| name.strip_prefix(&below).map(str::to_owned).unwrap_or(name);
        let members: Members =
            members.into_iter().map(|(name, data)| (claimed(name), data)).collect();
        Ok((salvaged, members))
    }

    fn target(&self) -> PathBuf {
        self.dir.path().join("salvaged.coffer")
    }

    fn wiped(&self, range: Range<usize>) -> Vec<u8> {
        let mut bad = self.good.clone();
        bad[range].fill(0x55);
        bad
    }

    /// All that came out is right, and all that is missing is reported, unless names are unknown.
    fn check(&self, what: &str, salvaged: &Salvaged, members: &Members) {
        let lost: BTreeSet<&str> = salvaged.lost.iter().map(|l| l.name.as_str()).collect();
        for (name, data) in members {
            assert!(!lost.contains(name.as_str()), "{} {what}: {name}", self.case.name());
            if let Some(right) = self.members.get(name) {
                assert!(right == data, "{} {what}: {name} is wrong", self.case.name());
            }
        }
    }

    fn missing(&self, members: &Members) -> Vec<&str> {
        let names = self.members.keys().filter(|name| !members.contains_key(*name));
        names.map(String::as_str).collect()
    }
}

fn to_target(path: &Path, target: &Path, options: &Options) -> Result<Salvaged, Error> {
    let mut options = options.clone();
    options.durable = false;
    salvage(path, target, &options, false, &CallObserver::silent())
}

/// Reads a coffer, which must be a good one.
fn everything(path: &Path, options: Options) -> Members {
    let coffer = Coffer::open(path, options).unwrap();
    assert!(coffer.notices().is_empty());
    coffer.verify(&CallObserver::silent()).unwrap();
    let all = names(&coffer).into_iter().map(|n| (n.clone(), coffer.read(&n).unwrap())).collect();
    coffer.close().unwrap();
    all
}

fn each(mut test: impl FnMut(&Sample)) {
    for case in cases() {
        test(&sample(case));
    }
}

#[test]
fn where_nothing_is_damaged_everything_is_brought_over() {
    each(|s| {
        let (salvaged, members) = s.salvage(&s.good);
        assert_eq!(members, s.members);
        assert!(salvaged.complete && salvaged.commit.unwrap().generation == 6);
        assert!(salvaged.lost.is_empty() && salvaged.unverified.is_empty());
        assert!(salvaged.notices.is_empty() && salvaged.nameless == 0, "{salvaged:?}");
    });
}

#[test]
fn attributes_come_with_members() {
    each(|s| {
        let attributes = |path: &Path| {
            let coffer = Coffer::open(path, s.case.options(Mode::Read)).unwrap();
            let all = coffer.members(None, None, None).unwrap();
            let claimed = |name: String| name.trim_start_matches(&format!("{APART}/")).to_owned();
            all.into_iter()
                .map(|m| (claimed(m.name), m.mode, m.mtime_s, m.mtime_ns))
                .collect::<Vec<_>>()
        };
        let before = attributes(&s.path);
        to_target(&s.path, &s.target(), &s.case.options(Mode::Read)).unwrap();
        assert_eq!(attributes(&s.target()), before);
        std::fs::remove_file(s.target()).unwrap();
        // Without commits the tar has whole seconds.
        let first = s.record("cofC")[0];
        let mut bad = s.good.clone();
        for at in s.record("cofC").into_iter().chain(s.record("cofF")) {
            bad[at..at + 40].fill(0);
        }
        assert!(first > 0);
        std::fs::write(&s.path, &bad).unwrap();
        to_target(&s.path, &s.target(), &s.case.options(Mode::Read)).unwrap();
        let known: BTreeMap<_, _> = before.into_iter().map(|m| (m.0.clone(), m)).collect();
        for (name, mode, mtime_s, _) in attributes(&s.target()) {
            if let Some(right) = known.get(&name) {
                assert_eq!((mode, mtime_s), (right.1, right.2), "{name}");
            }
        }
    });
}

#[test]
fn every_region_may_be_destroyed() {
    each(|s| {
        let (commits, footers) = (s.record("cofC"), s.record("cofF"));
        let header = s.record("cofH");
        // The header: its copy says the same, and nothing is lost.
        let (salvaged, members) = s.salvage(&s.wiped(0..100));
        assert_eq!(members, s.members);
        assert!(salvaged.complete && salvaged.notices[0].code == "damaged-header");

        // Each commit in turn: members are found in the blocks.
        for (i, at) in commits.iter().enumerate() {
            let (salvaged, members) = s.salvage(&s.wiped(*at..at + 64));
            s.check("commit", &salvaged, &members);
            assert_eq!(s.missing(&members), Vec::<&str>::new(), "{} commit {i}", s.case.name());
            assert!(!salvaged.complete, "{} commit {i}", s.case.name());
            // In a null, a damaged commit has a frame in it like any other.
            assert!(salvaged.nameless == 0 || !s.case.kind.is_sealed(), "{}", s.case.name());
        }
        // Each footer: nothing depends on one.
        for at in &footers {
            let (salvaged, members) = s.salvage(&s.wiped(*at..at + 64));
            assert!(members == s.members && salvaged.complete, "{}", s.case.name());
        }
        // All commits and footers.
        let mut bad = s.good.clone();
        for at in commits.iter().chain(&footers) {
            bad[*at..at + 64].fill(0);
        }
        let (salvaged, members) = s.salvage(&bad);
        s.check("all commits", &salvaged, &members);
        assert_eq!(s.missing(&members), Vec::<&str>::new(), "{}", s.case.name());
        assert!(salvaged.commit.is_none() && salvaged.unverified.len() == members.len());
        // And all headers: the caller's keys are enough.
        for at in header {
            bad[at..at + 100].fill(0);
        }
        let (salvaged, members) = s.salvage(&bad);
        s.check("all records", &salvaged, &members);
        assert_eq!(s.missing(&members), Vec::<&str>::new(), "{}", s.case.name());
        assert!(salvaged.notices.iter().any(|n| n.code == "damaged-header"));
    });
}

#[test]
fn a_file_may_be_cut_off_anywhere() {
    each(|s| {
        let (mut before, steps) = (0, 24);
        for step in 1..=steps {
            let len = s.good.len() * step / steps;
            let found = match s.attempt(&s.good[..len]) {
                Ok((salvaged, members)) => {
                    s.check("cut", &salvaged, &members);
                    members.len()
                }
                Err(e) => panic!("{} cut at {len}: {e:?}", s.case.name()),
            };
            before = before.max(found);
        }
        assert_eq!(before, s.members.len());
        // Without the last commits and footers nothing else is lost.
        let cut = s.record("cofC")[4];
        let (_, members) = s.salvage(&s.good[..cut]);
        let missing: Vec<_> = s.missing(&members);
        assert!(missing.iter().all(|name| name.starts_with("first/")), "{missing:?}");
    });
}

#[test]
fn bytes_may_be_missing_or_come_in_between() {
    each(|s| {
        let commit = s.record("cofC")[1];
        for at in [commit, s.good.len() / 3, s.good.len() / 2] {
            let more = [&s.good[..at], &noise(1, 1001), &s.good[at..]].concat();
            let (salvaged, members) = s.salvage(&more);
            s.check("more", &salvaged, &members);
            let missing = s.missing(&members);
            assert!(missing.len() <= 40, "{} at {at}: {missing:?}", s.case.name());
            assert!(members.contains_key("last"), "{}", s.case.name());
            let fewer = [&s.good[..at], &s.good[at + 1001..]].concat();
            let (salvaged, members) = s.salvage(&fewer);
            s.check("fewer", &salvaged, &members);
            assert!(members.contains_key("last"), "{}", s.case.name());
        }
        // In front of everything, not even blocks are where commits say.
        let shifted = [&noise(2, 777)[..], &s.good].concat();
        let (salvaged, members) = s.salvage(&shifted);
        assert_eq!(members, s.members);
        assert!(salvaged.complete && salvaged.unverified.is_empty(), "{salvaged:?}");
    });
}

#[test]
fn a_bad_piece_costs_the_member_and_a_bad_pack_costs_its_members() {
    each(|s| {
        // The large member fills the middle of the file.
        let middle = s.record("cofC")[2] - LARGE / 2;
        let mut bad = s.good.clone();
        bad[middle] ^= 0x10;
        let (salvaged, members) = s.salvage(&bad);
        assert_eq!(s.missing(&members), ["large"], "{}", s.case.name());
        let lost = &salvaged.lost[0];
        assert_eq!((lost.name.as_str(), lost.reason), ("large", Reason::Damaged));
        let [damage] = lost.damage[..] else { panic!("{lost:?}") };
        assert!(damage.from <= middle as u64 && (middle as u64) < damage.to, "{damage:?}");
        assert!(damage.to - damage.from < 128 << 10);
        assert!(salvaged.complete && salvaged.lost.len() == 1);
        assert!(salvaged.unverified.is_empty() && salvaged.nameless == 0);

        // A pack: those that the last commits moved stand in front of it, between dead blocks and records.
        let end = s.record("cofC")[5];
        let hit = (300..6_000).step_by(300).find_map(|back| {
            let mut bad = s.good.clone();
            bad[end - back] ^= 1;
            let (salvaged, members) = s.salvage(&bad);
            s.check("pack", &salvaged, &members);
            // In a market the byte may hit a tar header, and every member opens all the same.
            let is_hit = !s.missing(&members).is_empty() || !salvaged.unverified.is_empty();
            is_hit.then_some((salvaged, s.missing(&members)))
        });
        let (salvaged, missing) = hit.unwrap_or_else(|| panic!("{}", s.case.name()));
        assert_eq!(missing.len(), salvaged.lost.len(), "{missing:?}");
        if s.case.kind == Kind::null() {
            // Nothing vouches for a part of a block.
            assert!(salvaged.unverified.is_empty());
        }
    });
}

#[test]
fn what_was_deleted_does_not_come_back() {
    each(|s| {
        let (_, members) = s.salvage(&s.good);
        assert!(!members.contains_key("first/5"));
        let mut bad = s.good.clone();
        for at in s.record("cofC").into_iter().chain(s.record("cofF")) {
            bad[at..at + 64].fill(0);
        }
        let (_, members) = s.salvage(&bad);
        assert!(!members.contains_key("first/5"), "{}: it was overwritten", s.case.name());
        assert_eq!(members["first/3"], b"replaced");
    });
}

#[test]
fn a_commit_in_the_middle_may_be_zeros_as_after_a_power_failure() {
    each(|s| {
        let (commits, footers) = (s.record("cofC"), s.record("cofF"));
        // The third commit and its footer, with the blocks before it.
        let from = footers.iter().copied().filter(|at| *at < commits[3]).max().unwrap() + 400;
        let to = footers.iter().copied().find(|at| *at > commits[3]).unwrap() + 64;
        let mut bad = s.good.clone();
        bad[from..to].fill(0);
        std::fs::write(&s.path, &bad).unwrap();
        let opened = Coffer::open(&s.path, s.case.options(Mode::Read));
        assert_eq!(opened.err().map(|e| e.code()), Some(Code::Corrupt));
        let (salvaged, members) = s.salvage(&bad);
        s.check("zeros", &salvaged, &members);
        assert!(!salvaged.complete);
        assert!(
            members.contains_key("large") && members.contains_key("last"),
            "{}: {:?} of {salvaged:?}",
            s.case.name(),
            s.missing(&members)
        );
    });
}

#[test]
fn a_member_that_was_not_committed_is_unverified() {
    each(|s| {
        std::fs::write(&s.path, &s.good).unwrap();
        let mut options = s.case.options(Mode::Append);
        (options.auto_flush, options.durable) = (Some(false), false);
        let coffer = Coffer::open(&s.path, options).unwrap();
        write(&coffer, "uncommitted/large", &noise(5, 400_000));
        write(&coffer, "last", &noise(6, 200_000));
        for i in 0..300 {
            write(&coffer, &format!("uncommitted/{i}"), &noise(i, 2_000));
        }
        // What is in the file before any commit is there.
        let torn = std::fs::read(&s.path).unwrap();
        assert!(torn.len() > s.good.len() + 400_000);
        coffer.close().unwrap();
        let (salvaged, members) = s.salvage(&torn);
        assert!(s.members.iter().all(|(name, data)| members.get(name) == Some(data)));
        assert_eq!(members.get("uncommitted/large"), Some(&noise(5, 400_000)));
        let large = format!("{APART}/uncommitted/large");
        assert!(salvaged.complete && salvaged.unverified.contains(&large));
        assert_eq!(salvaged.unverified.len(), members.len() - s.members.len());
    });
}

#[test]
fn what_opens_nothing_is_a_clear_error() {
    each(|s| {
        let other = cases().into_iter().find(|c| c.kind == s.case.kind).unwrap();
        if s.case.kind.is_sealed() {
            let error = to_target(&s.path, &s.target(), &other.options(Mode::Read)).unwrap_err();
            assert_eq!(error.code(), Code::WrongKey, "{}", s.case.name());
        }
        if s.case.kind.container.cipher.is_some() && s.case.secure_key.is_some() {
            let mut options = s.case.options(Mode::Read);
            options.secure_key = Some(Key::generate(32));
            let error = to_target(&s.path, &s.target(), &options).unwrap_err();
            assert_eq!(error.code(), Code::WrongKey);
        }
        for stranger in cases().into_iter().filter(|c| c.kind.name != s.case.kind.name) {
            let error = to_target(&s.path, &s.target(), &stranger.options(Mode::Read)).unwrap_err();
            assert_eq!(error.code(), Code::WrongKind, "{}", s.case.name());
        }
        for nonsense in [noise(3, 100_000), Vec::new(), vec![0; 10_000], b"text".repeat(999)] {
            let error = s.attempt(&nonsense).unwrap_err();
            assert_eq!(error.code(), Code::Corrupt, "{}", s.case.name());
            assert!(!s.target().exists());
        }
        std::fs::write(&s.path, &s.good).unwrap();
        let absent = s.dir.path().join("absent");
        let error = to_target(&absent, &s.target(), &s.case.options(Mode::Read)).unwrap_err();
        assert_eq!(error.code(), Code::NotFound);
        let error = to_target(&s.path, &s.path, &s.case.options(Mode::Read)).unwrap_err();
        assert_eq!(error.code(), Code::Exists);
        assert_eq!(std::fs::read(&s.path).unwrap(), s.good);
        // Nothing is left beside them.
        let left = std::fs::read_dir(s.dir.path()).unwrap().flatten();
        let left: BTreeSet<_> = left.map(|e| e.file_name().into_string().unwrap()).collect();
        assert!(
            left.iter().all(|name| ["test.coffer", "test.coffer.lock"].contains(&name.as_str())),
            "{left:?}"
        );
    });
}

#[test]
fn a_wrong_key_is_told_from_a_damaged_salt() {
    each(|s| {
        // The salt of the first header: its key check does not fit any more.
        let salt =
            s.record("cofK")[0] + if s.case.kind.container.cipher.is_some() { 10 } else { 14 };
        let mut bad = s.good.clone();
        bad[salt] ^= 1;
        let (salvaged, members) = s.salvage(&bad);
        assert_eq!(members, s.members, "{}", s.case.name());
        assert!(salvaged.complete);
    });
}

#[test]
fn a_coffer_from_a_passphrase_is_salvaged_with_it() {
    let dir = directory();
    let path = path(&dir);
    let target = dir.path().join("salvaged.coffer");
    let options = |mode, text: &[u8]| {
        let mut options = Options::new(mode, Kind::store());
        options.passphrase = Some(Passphrase::new(text).unwrap());
        options.kdf = KdfChoice { memory: Some(19 << 10), passes: Some(2) };
        options.durable = false;
        options
    };
    let coffer = Coffer::open(&path, options(Mode::Write, b"buy milk")).unwrap();
    write(&coffer, "a", b"kept");
    coffer.close().unwrap();
    let good = std::fs::read(&path).unwrap();
    let read = || everything(&target, options(Mode::Read, b"buy milk"));
    let apart = format!("{APART}/a");
    for (wiped, name) in
        [(0..0, "a"), (0..200, "a"), (good.len() - 300..good.len(), apart.as_str())]
    {
        let mut bad = good.clone();
        bad[wiped].fill(0);
        std::fs::write(&path, &bad).unwrap();
        to_target(&path, &target, &options(Mode::Read, b"buy milk")).unwrap();
        assert_eq!(read()[name], b"kept");
        std::fs::remove_file(&target).unwrap();
    }
    let error = to_target(&path, &target, &options(Mode::Read, b"buy bread")).unwrap_err();
    assert_eq!(error.code(), Code::WrongKey);
    // Without any header the salt is lost.
    let mut bad = good.clone();
    for (_, at) in records(&good, true).iter().filter(|(tag, _)| tag == "cofK") {
        bad[*at..at + 60].fill(0);
    }
    std::fs::write(&path, &bad).unwrap();
    let error = to_target(&path, &target, &options(Mode::Read, b"buy milk")).unwrap_err();
    assert_eq!(error.code(), Code::Corrupt);
}

#[test]
fn a_bank_says_itself_which_cipher_it_has() {
    for case in cases()
        .into_iter()
        .filter(|c| c.kind.name == Kind::bank(coffer_core::format::kind::Cipher::Fernet).name)
    {
        let cipher = case.kind.container.cipher;
        let s = sample(case);
        let mut options = s.case.options(Mode::Read);
        options.kind = Kind::bank(coffer_core::format::kind::Cipher::Fernet);
        options.accept_file_cipher = true;
        let mut bad = s.good.clone();
        to_target(&s.path, &s.target(), &options).unwrap();
        std::fs::remove_file(s.target()).unwrap();
        for at in s.record("cofH") {
            bad[at..at + 100].fill(0);
        }
        std::fs::write(&s.path, &bad).unwrap();
        if s.case.coffer_key.as_ref().is_some_and(|k| k.as_bytes().len() < 32) {
            assert_eq!(cipher, Some(coffer_core::format::kind::Cipher::AesOcb));
        }
        to_target(&s.path, &s.target(), &options).unwrap();
        assert_eq!(everything(&s.target(), s.case.options(Mode::Read)), s.members);
    }
}

#[test]
fn an_aborted_salvage_leaves_nothing() {
    let s = sample(cases().remove(2));
    let watch = CallObserver::silent();
    watch.cancel.cancel();
    let options = s.case.options(Mode::Read);
    let error = salvage(&s.path, &s.target(), &options, false, &watch).unwrap_err();
    assert_eq!(error.code(), Code::Aborted);
    assert!(!s.target().exists());
}

#[test]
fn a_writer_keeps_a_salvage_out() {
    let s = sample(cases().remove(2));
    let coffer = s.case.open(&s.path, Mode::Append);
    let mut options = s.case.options(Mode::Read);
    options.lock_timeout = std::time::Duration::ZERO;
    let error = to_target(&s.path, &s.target(), &options).unwrap_err();
    assert_eq!(error.code(), Code::Locked);
    coffer.close().unwrap();
    to_target(&s.path, &s.target(), &options).unwrap();
}

#[test]
fn unverified_members_get_the_names_they_claim_when_asked() {
    each(|s| {
        let mut bad = s.good.clone();
        for at in s.record("cofC").into_iter().chain(s.record("cofF")) {
            bad[at..at + 64].fill(0);
        }
        std::fs::write(&s.path, &bad).unwrap();
        let options = s.case.options(Mode::Read);
        let salvaged =
            salvage(&s.path, &s.target(), &options, true, &CallObserver::silent()).unwrap();
        let members = everything(&s.target(), options);
        assert_eq!(salvaged.unverified, members.keys().cloned().collect::<Vec<_>>());
        assert_eq!(salvaged.apart, None);
        assert!(members.contains_key("large") && members.contains_key("first/7"));
        std::fs::remove_file(s.target()).unwrap();
    });
}

#[test]
fn a_coffer_that_was_salvaged_before_keeps_its_unverified_members_where_they_are() {
    let case = cases().remove(2);
    let dir = directory();
    let path = path(&dir);
    let coffer = case.open(&path, Mode::Write);
    write(&coffer, &format!("{APART}/a"), b"of an earlier salvage");
    flush(&coffer);
    write(&coffer, "a", b"never mind");
    coffer.close().unwrap();
    let mut bad = std::fs::read(&path).unwrap();
    let sealed = case.kind.container.cipher.is_some();
    let commits = records(&bad, sealed).into_iter().filter(|(tag, _)| tag == "cofC");
    let last = commits.map(|(_, at)| at).max().unwrap();
    bad.truncate(last);
    std::fs::write(&path, &bad).unwrap();
    let target = dir.path().join("salvaged.coffer");
    let salvaged = to_target(&path, &target, &case.options(Mode::Read)).unwrap();
    assert_eq!(salvaged.unverified, [format!("{APART}-2/a")]);
    assert_eq!(salvaged.apart.as_deref(), Some(".salvaged-2"));
    let members = everything(&target, case.options(Mode::Read));
    assert_eq!(members[&format!("{APART}/a")], b"of an earlier salvage");
    assert_eq!(members[&format!("{APART}-2/a")], b"never mind");
}

#[test]
fn a_name_that_is_too_long_to_be_kept_apart_is_lost_and_said_to_be() {
    let case = cases().remove(2);
    let dir = directory();
    let path = path(&dir);
    let coffer = case.open(&path, Mode::Write);
    flush(&coffer);
    let name = format!("{}x", "x/".repeat(1_899));
    write(&coffer, &name, b"far down");
    coffer.close().unwrap();
    let mut bad = std::fs::read(&path).unwrap();
    let sealed = case.kind.container.cipher.is_some();
    let commits = records(&bad, sealed).into_iter().filter(|(tag, _)| tag == "cofC");
    bad.truncate(commits.map(|(_, at)| at).max().unwrap());
    std::fs::write(&path, &bad).unwrap();
    let target = dir.path().join("salvaged.coffer");
    let salvaged = to_target(&path, &target, &case.options(Mode::Read)).unwrap();
    assert!(salvaged.unverified.is_empty());
    let [lost] = &salvaged.lost[..] else { panic!("{salvaged:?}") };
    assert_eq!((lost.name.as_str(), lost.reason), (name.as_str(), Reason::Refused));
    assert!(lost.message.contains("longer than 3,800 bytes"), "{}", lost.message);
    std::fs::remove_file(&target).unwrap();
    let options = case.options(Mode::Read);
    let salvaged = salvage(&path, &target, &options, true, &CallObserver::silent()).unwrap();
    assert_eq!(salvaged.unverified, [name]);
}
