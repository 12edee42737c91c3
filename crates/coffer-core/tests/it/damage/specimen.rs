//! Small coffers of each kind, taken apart.

use std::collections::BTreeMap;
use std::ops::Range;

use coffer_core::coffer::{Change, Coffer, Mode};
use coffer_core::crypto::seal::{self, Seal};
use coffer_core::format::chunk;
use coffer_core::progress::CallObserver;

use super::mutation::middle;
use crate::support::{Case, cases, delete, directory, noise, path, write};

pub type Members = BTreeMap<String, Vec<u8>>;

/// What a coffer was after a commit.
pub struct State {
    pub generation: u64,
    pub members: Members,
    /// Where in the file the commit ends; its footers come behind that.
    pub end: usize,
}

/// A coffer, what it was after each of its commits, and what its bytes are.
pub struct Specimen {
    pub name: String,
    pub case: Case,
    pub file: Vec<u8>,
    pub states: Vec<State>,
    pieces: Vec<(Range<usize>, What)>,
}

/// What a chunk is, or a frame where nothing is sealed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    Header,
    HeaderCopy,
    Data,
    Dead,
    Commit,
    Footer,
}

/// What depends on a byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Region {
    /// Nothing that the newest commit needs: reserved bytes of chunks with data, dead space, copies
    /// of the header, footers of earlier commits.
    Unused,
    /// The header at the beginning. There is a copy.
    Header,
    /// Live blocks: the members in it, and no others.
    Data,
    /// A commit that later ones build on: everything.
    EarlierCommit,
    /// The newest commit: what it changed.
    NewestCommit,
    /// The footers of the newest commit: nothing, it is found without them.
    NewestFooter,
}

impl Specimen {
    pub fn newest(&self) -> &State {
        self.states.last().unwrap()
    }

    pub fn pieces(&self) -> Vec<Range<usize>> {
        self.pieces.iter().map(|(range, _)| range.clone()).collect()
    }

    /// The middles of its sealed chunks.
    pub fn middles(&self) -> Vec<Range<usize>> {
        if self.case.kind.container.cipher.is_none() {
            return Vec::new();
        }
        let sealed = |piece: Range<usize>| piece.start + chunk::HEADER..piece.end;
        self.pieces().into_iter().map(|piece| middle(&sealed(piece))).collect()
    }

    pub fn region(&self, at: usize) -> Region {
        let (range, what) = self.pieces.iter().find(|(range, _)| range.contains(&at)).unwrap();
        let newest = self.newest().end;
        match what {
            What::HeaderCopy | What::Dead => Region::Unused,
            What::Header => Region::Header,
            What::Data if self.case.kind.container.cipher.is_some() => {
                let reserved = range.start + 4..range.start + chunk::HEADER;
                if reserved.contains(&at) { Region::Unused } else { Region::Data }
            }
            What::Data => Region::Data,
            What::Commit if range.end == newest => Region::NewestCommit,
            What::Commit => Region::EarlierCommit,
            What::Footer if range.start >= newest => Region::NewestFooter,
            What::Footer => Region::Unused,
        }
    }

    fn take(name: &str, case: Case, file: Vec<u8>, states: Vec<(u64, Members)>) -> Self {
        let seal = case.kind.container.cipher.zip(case.coffer_key.as_ref());
        let seal = seal.map(|(cipher, key)| seal::make(cipher, key).unwrap());
        let pieces = pieces(&file, seal.as_deref());
        let commits = pieces.iter().filter(|(_, what)| *what == What::Commit);
        let ends: Vec<usize> = commits.map(|(range, _)| range.end).collect();
        assert_eq!(ends.len(), states.len(), "{name}: each commit is of one part");
        let states = states.into_iter().zip(ends);
        let states =
            states.map(|((generation, members), end)| State { generation, members, end }).collect();
        Self { name: format!("{name}, {}", case.name()), case, file, states, pieces }
    }
}

/// A coffer of each kind for each story.
pub fn specimens() -> Vec<Specimen> {
    let stories: [(&str, Story, bool); 3] =
        [("changed", changed, false), ("large", large, false), ("compacted", changed, true)];
    let made = stories.into_iter().flat_map(|(name, story, compact)| {
        cases().into_iter().map(move |case| make(name, case, story, compact))
    });
    made.collect()
}

/// What is done to a coffer that is new.
type Story = fn(&Coffer, &mut History);

/// What a story leaves: the members after each commit.
#[derive(Default)]
struct History(Vec<(u64, Members)>);

impl History {
    fn note(&mut self, coffer: &Coffer, change: impl FnOnce(&mut Members)) {
        let mut members = self.0.last().map(|(_, members)| members.clone()).unwrap_or_default();
        change(&mut members);
        self.0.push((coffer.status().commit.generation, members));
    }

    fn write(&mut self, coffer: &Coffer, name: &str, data: Vec<u8>) {
        write(coffer, name, &data);
        self.note(coffer, |members| drop(members.insert(name.to_owned(), data)));
    }
}

fn make(name: &str, case: Case, story: Story, compact: bool) -> Specimen {
    let dir = directory();
    let path = path(&dir);
    let mut options = case.options(Mode::Write);
    options.auto_flush = Some(true);
    options.chunk_size = Some(288);
    options.piece_size = Some(48 << 10);
    let coffer = Coffer::open(&path, options).unwrap();
    let mut history = History::default();
    history.note(&coffer, |_| {});
    story(&coffer, &mut history);
    if compact {
        coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
        history.note(&coffer, |_| {});
        history.0.drain(..history.0.len() - 1);
    }
    coffer.close().unwrap();
    Specimen::take(name, case, std::fs::read(&path).unwrap(), history.0)
}

/// Members written, replaced and deleted: deltas, and dead space between the blocks.
fn changed(coffer: &Coffer, history: &mut History) {
    history.write(coffer, "a", noise(1, 300));
    history.write(coffer, "b/c", noise(2, 10));
    history.write(coffer, "a", noise(3, 200));
    history.write(coffer, "b/d", b"stays".to_vec());
    history.write(coffer, "b/e", Vec::new());
    delete(coffer, "b/c").unwrap();
    history.note(coffer, |members| drop(members.remove("b/c")));
}

/// A member of several pieces, and one in a pack.
fn large(coffer: &Coffer, history: &mut History) {
    history.write(coffer, "small", noise(4, 20));
    let pieces = (0..131_100usize).map(|at| (at / (48 << 10)) as u8 + b'a').collect();
    history.write(coffer, "large", pieces);
}

/// What a file is made of, from its beginning to its end.
fn pieces(file: &[u8], seal: Option<&dyn Seal>) -> Vec<(Range<usize>, What)> {
    let mut found = Vec::new();
    let mut at = 0;
    // Bytes of a dead block that are still to come.
    let mut dead = 0;
    while at < file.len() {
        let rest = &file[at..];
        let mut plain = Vec::new();
        let (len, mark) = match seal {
            Some(seal) => {
                let chunk = chunk::parse(rest).unwrap();
                seal.open(chunk.sealed, &mut plain).unwrap();
                (chunk.len, &chunk.reserved[..4])
            }
            None if rest.starts_with(&SKIPPABLE) => {
                let len = 8 + u32::from_le_bytes(rest[4..8].try_into().unwrap()) as usize;
                plain.extend_from_slice(&rest[..len]);
                (len, rest.get(8..12).unwrap_or_default())
            }
            None => {
                let len = zstd::zstd_safe::find_frame_compressed_size(rest).unwrap();
                plain.extend_from_slice(&rest[..len]);
                (len, &[][..])
            }
        };
        let what = match mark {
            b"cofH" | b"cofK" if found.len() < 2 => What::Header,
            b"cofH" | b"cofK" => What::HeaderCopy,
            b"cofC" => What::Commit,
            b"cofF" => What::Footer,
            _ => {
                if dead == 0 && plain.starts_with(&SKIPPABLE) {
                    dead = 8 + u32::from_le_bytes(plain[4..8].try_into().unwrap()) as usize;
                }
                if dead == 0 { What::Data } else { What::Dead }
            }
        };
        if what == What::Dead {
            dead -= plain.len();
        }
        found.push((at..at + len, what));
        at += len;
    }
    found
}

const SKIPPABLE: [u8; 4] = [0x5C, 0x2A, 0x4D, 0x18];
