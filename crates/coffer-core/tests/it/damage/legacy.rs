//! Coffers in PyCoffer's format whose bytes were changed. Chunks are authentic one by one, and
//! where the container is not sealed its tar is not even that.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use coffer_core::coffer::{Coffer, Mode, Selection};
use coffer_core::crypto::seal::{self, Seal};
use coffer_core::error::{Code, Error, Result};
use coffer_core::format::chunk;
use coffer_core::format::kind::Layer;
use coffer_core::progress::CallObserver;

use super::mutation::{cuts, flips, middle, moves};
use super::specimen::Members;
use super::watched::{self, Bench};
use crate::support::{Case, cases, names, noise};

/// A legacy coffer of a kind: a frame for each entry, in small chunks.
struct Specimen {
    case: Case,
    member: Option<Arc<dyn Seal>>,
    container: Option<Arc<dyn Seal>>,
    members: Vec<(&'static str, Vec<u8>)>,
    file: Vec<u8>,
    chunks: Vec<Range<usize>>,
}

const CHUNK: usize = 256;

fn layered(layer: Layer, seal: Option<&dyn Seal>, bytes: &[u8]) -> Vec<u8> {
    let packed = match layer.level {
        Some(level) => zstd::encode_all(bytes, level).unwrap(),
        None => bytes.to_vec(),
    };
    let Some(seal) = seal else { return packed };
    let mut out = Vec::new();
    chunk::put_all(seal, &packed, CHUNK, &mut out);
    out
}

impl Specimen {
    fn new(case: Case) -> Self {
        let seal = |layer: Layer, key| {
            layer.cipher.map(|cipher| seal::make(cipher, Option::as_ref(key).unwrap()).unwrap())
        };
        let member = seal(case.kind.member, &case.secure_key);
        let container = seal(case.kind.container, &case.coffer_key);
        let members = vec![("a", noise(7, 500)), ("b/c", b"c".to_vec()), ("b/d", noise(8, 300))];
        let (mut file, mut frames) = (Vec::new(), Vec::new());
        for (name, data) in &members {
            let content = layered(case.kind.member, member.as_deref(), data);
            let mut header = tar::Header::new_gnu();
            header.set_path(name).unwrap();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_mtime(1_700_000_000);
            header.set_cksum();
            let padding = vec![0; content.len().next_multiple_of(512) - content.len()];
            let entry = [&header.as_bytes()[..], &content, &padding].concat();
            let start = file.len();
            file.extend(layered(case.kind.container, container.as_deref(), &entry));
            frames.push(start..file.len());
        }
        let chunks = if container.is_some() { chunks(&file) } else { frames };
        Self { case, member, container, members, file, chunks }
    }

    /// The middles of its sealed chunks.
    fn middles(&self) -> Vec<Range<usize>> {
        if self.container.is_none() {
            return Vec::new();
        }
        let sealed = |chunk: &Range<usize>| chunk.start + chunk::HEADER..chunk.end;
        self.chunks.iter().map(|chunk| middle(&sealed(chunk))).collect()
    }

    /// What the coffer opens as, if it opens, and what its files are on the disk.
    fn open(&self, bench: &Bench, bytes: &[u8]) -> Result<Members> {
        let mut options = self.case.options(Mode::Read);
        options.legacy = true;
        options.temp_dir = Some(bench.path(""));
        let coffer = Coffer::open(&bench.file("box", bytes), options)?;
        let read = |name: String| coffer.read(&name).map(|data| (name, data));
        let members = coffer
            .members(None, None, None)?
            .into_iter()
            .filter(|member| !member.member_type.is_directory());
        let members: Members = members.map(|member| read(member.name)).collect::<Result<_>>()?;
        let target = bench.empty("target");
        coffer.extract(&Selection::All.into(), &target, &CallObserver::silent())?;
        for (name, data) in &members {
            assert!(std::fs::read(target.join(name)).unwrap() == *data, "{name}");
        }
        assert!(!names(&coffer).is_empty() || members.is_empty());
        coffer.close()?;
        Ok(members)
    }

    /// What is authentic of a file, chunk by chunk, taken for the whole: another reader, which
    /// knows nothing of Coffer.
    fn vouched_for(&self, bytes: &[u8]) -> io::Result<Members> {
        let packed = opened(self.container.as_deref(), bytes)?;
        let mut tar = tar::Archive::new(zstd::stream::read::Decoder::with_buffer(&packed[..])?);
        let mut members = Members::new();
        for entry in tar.entries()? {
            let mut entry = entry?;
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            let mut content = opened(self.member.as_deref(), &content)?;
            if self.case.kind.member.level.is_some() {
                content = zstd::decode_all(&content[..])?;
            }
            members.insert(entry.path()?.to_str().unwrap_or_default().to_owned(), content);
        }
        Ok(members)
    }

    /// The first members, as many as there are.
    fn first(&self, count: usize) -> Members {
        let members = self.members.iter().take(count);
        members.map(|(name, data)| ((*name).to_owned(), data.clone())).collect()
    }
}

fn opened(seal: Option<&dyn Seal>, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let Some(seal) = seal else { return Ok(bytes.to_vec()) };
    let mut out = Vec::new();
    chunk::open_all(seal, bytes, &mut out).map_err(io::Error::other)?;
    Ok(out)
}

fn chunks(file: &[u8]) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(chunk) = chunk::parse(&file[at..]) {
        found.push(at..at + chunk.len);
        at += chunk.len;
    }
    found
}

fn assert_clear(error: &Error) {
    let clear = matches!(error.code(), Code::Corrupt | Code::WrongKey | Code::UnsafePath);
    assert!(clear, "{error:?}");
}

#[test]
fn a_flipped_bit_of_a_sealed_legacy_coffer_is_an_error() {
    alone!("a_flipped_bit_of_a_sealed_legacy_coffer_is_an_error");
    for specimen in cases().into_iter().map(Specimen::new) {
        let middles = specimen.middles();
        let flips = flips(specimen.file.len(), &middles);
        let name = specimen.case.name();
        watched::each(&format!("flips, legacy, {name}"), flips, |bench, flip| {
            let members = match specimen.open(bench, &flip.apply(&specimen.file, &[])) {
                Ok(members) => members,
                Err(e) => return assert_clear(&e),
            };
            assert!(specimen.container.is_none(), "it opened");
            // Names and sizes stand in clear, and contents that are sealed are still whole.
            if specimen.member.is_some() {
                let right = |data| specimen.members.iter().any(|(_, right)| right == data);
                assert!(members.values().all(right), "wrong bytes");
            }
        });
    }
}

#[test]
fn a_legacy_coffer_cut_anywhere_has_its_first_members_or_does_not_open() {
    alone!("a_legacy_coffer_cut_anywhere_has_its_first_members_or_does_not_open");
    for specimen in cases().into_iter().map(Specimen::new) {
        let cuts = cuts(specimen.file.len());
        let name = specimen.case.name();
        watched::each(&format!("cuts, legacy, {name}"), cuts, |bench, cut| {
            match specimen.open(bench, &cut.apply(&specimen.file, &[])) {
                Ok(members) => assert!(members == specimen.first(members.len())),
                Err(e) => assert_clear(&e),
            }
        });
    }
}

/// Their order and number are authenticated by nothing: what opens is what they are in that order.
#[test]
fn chunks_of_a_legacy_coffer_moved_repeated_or_dropped_are_read_as_they_are_or_refused() {
    alone!("chunks_of_a_legacy_coffer_moved_repeated_or_dropped_are_read_as_they_are_or_refused");
    for specimen in cases().into_iter().map(Specimen::new) {
        let moves = moves(specimen.chunks.len());
        let name = specimen.case.name();
        watched::each(&format!("moves, legacy, {name}"), moves, |bench, change| {
            let changed = change.apply(&specimen.file, &specimen.chunks);
            match specimen.open(bench, &changed) {
                Ok(members) => assert!(members == specimen.vouched_for(&changed).unwrap()),
                Err(e) => assert_clear(&e),
            }
        });
    }
}
