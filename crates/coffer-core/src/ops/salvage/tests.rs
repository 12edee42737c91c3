//! One damaged byte, anywhere: what it costs a coffer of many members.
//!
//! `COFFER_SALVAGE_MEMBERS` is the number of members (2,000; a weekly run takes 10,000),
//! `COFFER_SALVAGE_PLACES` the number of places in each coffer (334, so 1,000 or more in all), and
//! `COFFER_SALVAGE_SEED` the seed that they are drawn from.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use crate::format::member::MemberType;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use super::*;
use crate::coffer::Mode;
use crate::crypto::key::Key;
use crate::engine::container::Raw;
use crate::engine::credentials::CredentialLookup;
use crate::engine::open::{Expected, OpenResult, Opened};
use crate::format::catalog::{BlockId, Catalog, Place};
use crate::format::kind::{Cipher, Kind};
use crate::format::member::Attributes;
use crate::model_test::rng::Rng;
use crate::tails_test::memory::Memory;

pub(super) fn noise(name: &str, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut out);
    out
}

struct Sample {
    options: Options,
    good: Vec<u8>,
    members: BTreeMap<String, Vec<u8>>,
    catalog: Catalog,
}

impl Sample {
    fn new(kind: Kind, members: u64, rng: &mut Rng) -> Self {
        let mut options = Options::new(Mode::Write, kind);
        options.coffer_key = kind.container.cipher.map(|c| Key::generate(c.key_lengths()[0]));
        options.secure_key = kind.member.cipher.map(|_| Key::generate(32));
        options.durable = false;
        options.piece_size = Some(16 << 10);
        let (header, keys) = options.header(&options.credentials().unwrap()).unwrap();
        let storage = Arc::new(Memory::default());
        let path = Path::new("in memory");
        let mut container = create(&header, &keys, storage.clone(), path, false).unwrap();
        let attributes = Attributes { mode: 0o644, mtime_s: 1_700_000_000, mtime_ns: 7 };
        let mut all = BTreeMap::new();
        for i in 0..members {
            let name = format!("directory-{}/member-{i}", i % 40);
            let data = noise(&name, 50 + rng.below(250) as usize);
            let stored = container.source.layers.encode_member(&data).unwrap().into_vec();
            container
                .put_small(&name, MemberType::File, data.len() as u64, attributes, stored)
                .unwrap();
            all.insert(name, data);
            if i % (members / 4).max(500) == 499 {
                let name = format!("large-{i}");
                let data = noise(&name, 60_000);
                let mut pieces = data.chunks(16 << 10).map(<[u8]>::to_vec).peekable();
                let next = || {
                    let Some(piece) = pieces.next() else { return Ok(None) };
                    let last = pieces.peek().is_none();
                    Ok(Some(Raw { job: Box::new(move || Ok(piece.into())), last }))
                };
                container.put_large(&name, attributes, &[], next).unwrap();
                all.insert(name, data);
                container.commit(true, &Locks::none(path)).unwrap();
            }
        }
        container.commit(true, &Locks::none(path)).unwrap();
        let catalog = container.view.read().catalog.clone();
        let good = storage.bytes.lock().unwrap().clone();
        Self { options, good, members: all, catalog }
    }

    /// Salvages a file, and reads what came of it: unverified members by the names that they claim.
    fn salvage(&self, damaged: Arc<Memory>) -> (Salvaged, BTreeMap<String, Vec<u8>>) {
        let (salvaged, opened) = salvaged(damaged, &self.options, false);
        let found = contents(&opened.source, &opened.loaded.catalog);
        let below = format!("{APART}/");
        let apart: Vec<&String> = found.keys().filter(|name| name.starts_with(&below)).collect();
        assert_eq!(salvaged.unverified.iter().collect::<Vec<_>>(), apart);
        let claimed = |name: String| name.strip_prefix(&below).map(str::to_owned).unwrap_or(name);
        let found = found.into_iter().map(|(name, data)| (claimed(name), data)).collect();
        (salvaged, found)
    }

    fn flipped(&self, at: usize, bit: u64) -> Arc<Memory> {
        let mut bytes = self.good.clone();
        bytes[at] ^= 1 << bit;
        Memory::of(&bytes)
    }

    /// Checks a salvage of the file with one damaged byte, and gives how many members it cost.
    fn check(&self, at: usize, bit: u64) -> usize {
        let (salvaged, found) = self.salvage(self.flipped(at, bit));
        let missing: BTreeSet<&String> =
            self.members.keys().filter(|name| !found.contains_key(*name)).collect();
        for (name, data) in &found {
            assert!(self.members.get(name) == Some(data), "byte {at}: {name} is wrong");
        }
        let lost: BTreeSet<&String> = salvaged.lost.iter().map(|lost| &lost.name).collect();
        assert_eq!(lost, missing, "byte {at}: what is lost is what is reported");
        let homes: BTreeSet<BlockId> = missing
            .iter()
            .map(|name| match &self.catalog.get(name).unwrap().place {
                Place::Packed { block, .. } => *block,
                Place::Pieces { header, .. } => *header,
                Place::Memory(_) => panic!("{name} is in no block"),
            })
            .collect();
        assert!(homes.len() <= 1, "byte {at} cost members of {} blocks", homes.len());
        let hit = |block: &crate::format::catalog::Block| {
            Span::of(block).overlaps(&Span { from: at as u64, to: at as u64 + 1 })
        };
        if !self.catalog.blocks.values().any(hit) {
            assert_eq!(missing.len(), 0, "byte {at} is in no block");
        }
        missing.len()
    }
}

/// Salvages a file, and opens the new coffer.
pub(super) fn salvaged(
    damaged: Arc<Memory>,
    options: &Options,
    claimed_names: bool,
) -> (Salvaged, Box<Opened>) {
    let path = Path::new("in memory");
    let new = Arc::new(Memory::default());
    let (credentials, watch) = (options.credentials().unwrap(), CallObserver::silent());
    let call = SalvageCall { path, target: path, options, claimed_names, watch: &watch };
    let salvaged = call.salvage_into(damaged, new.clone(), &credentials).unwrap();
    let expected = Expected {
        kind: &options.kind,
        accept_file_cipher: false,
        credentials: &CredentialLookup::new(&credentials, &watch.cancel),
        level: None,
        max_catalog: u64::MAX,
        directory: Arc::new(DiskNamespace),
    };
    match crate::engine::open::open(new, path, &expected).unwrap() {
        OpenResult::Coffer(opened) => (salvaged, opened),
        OpenResult::Legacy => panic!("taken for a legacy coffer"),
    }
}

/// All members, each block decoded once.
pub(super) fn contents(source: &ArchiveFile, catalog: &Catalog) -> BTreeMap<String, Vec<u8>> {
    let mut blocks: BTreeMap<BlockId, Vec<u8>> = BTreeMap::new();
    let mut tar = |id: &BlockId, at: usize, len: usize| {
        let tar = blocks
            .entry(*id)
            .or_insert_with(|| source.block(catalog.block(*id).unwrap()).unwrap().into_vec());
        tar[at..at + len].to_vec()
    };
    let mut all = BTreeMap::new();
    for (name, entry) in catalog.iter() {
        let data = match &entry.place {
            Place::Packed { block, at, stored } => {
                let stored = tar(block, *at as usize, *stored as usize);
                source.layers.decode_member(&stored, entry.size as usize).unwrap()
            }
            Place::Pieces { pieces, .. } => {
                let mut piece = |p: &crate::format::catalog::Piece| {
                    let stored = tar(&p.block, 0, p.stored as usize);
                    source.layers.decode_member(&stored, p.raw as usize).unwrap()
                };
                pieces.iter().flat_map(|p| piece(p).into_vec()).collect::<Vec<u8>>().into()
            }
            Place::Memory(_) => panic!("{name} is in no block"),
        };
        all.insert(name.to_string(), data.into_vec());
    }
    all
}

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).ok().map_or(otherwise, |text| text.parse().unwrap())
}

fn one_byte_anywhere(kind: Kind) {
    let (places, seed) =
        (number("COFFER_SALVAGE_PLACES", 334), number("COFFER_SALVAGE_SEED", 20_260_801));
    let mut rng = Rng(seed);
    let sample = Sample::new(kind, number("COFFER_SALVAGE_MEMBERS", 2_000), &mut rng);
    let (mut worst, mut sum) = (0, 0);
    for _ in 0..places {
        let at = rng.below(sample.good.len() as u64) as usize;
        let cost = sample.check(at, rng.below(8));
        (worst, sum) = (worst.max(cost), sum + cost);
    }
    println!(
        "{} of {} bytes, {} members, seed {seed}: one byte at {places} places cost at most {worst} members, {:.2} on average",
        kind.name.as_str(),
        sample.good.len(),
        sample.members.len(),
        sum as f64 / places.max(1) as f64,
    );
}

#[test]
fn one_byte_costs_a_bank_the_members_of_one_block() {
    one_byte_anywhere(Kind::bank(Cipher::AesOcb));
}

#[test]
fn one_byte_costs_a_store_the_members_of_one_block() {
    one_byte_anywhere(Kind::store());
}

#[test]
fn one_byte_costs_a_null_the_members_of_one_block() {
    one_byte_anywhere(Kind::null());
}

#[test]
fn what_the_disk_does_not_read_costs_what_stands_there() {
    let sample = Sample::new(Kind::store(), 200, &mut Rng(1));
    let block = sample.catalog.blocks.values().nth(3).unwrap();
    let broken = (block.offset + 9, block.offset + 10);
    let (salvaged, found) = sample.salvage(Memory::failing(&sample.good, broken));
    assert!(!salvaged.lost.is_empty() && salvaged.lost.len() < 30, "{}", salvaged.lost.len());
    assert!(salvaged.lost.iter().all(|lost| lost.damage == [Span::of(block)]));
    assert_eq!(found.len() + salvaged.lost.len(), sample.members.len());
    assert!(salvaged.notices.iter().any(|notice| notice.code == "unreadable"));
}
