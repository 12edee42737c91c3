//! The states of a disk after a crash, as in SQLite's crash VFS: writes are queued until they are
//! synced, and a power failure keeps, drops, cuts or replaces each queued one with junk.
//!
//! One journal gives many states: by the number of calls before the crash, and at random.

use super::disk::{Call, Image, Inode, Journal, put};
use super::rng::Rng;

/// The smallest part of a write that a power failure keeps or drops.
const SECTOR: usize = 512;

impl Journal {
    /// The state after a process was killed: all its calls took effect.
    pub(super) fn killed(&self, calls: usize) -> Image {
        let mut image = self.start.clone();
        self.calls[..calls].iter().for_each(|call| image.apply(call));
        image
    }

    /// The state after a process was killed within its last call: a write took effect in part.
    pub(super) fn killed_within(&self, calls: usize, rng: &mut Rng) -> Image {
        let Some((last, before)) = self.calls[..calls].split_last() else { return self.killed(0) };
        let mut image = self.killed(before.len());
        if let Call::Write { file, offset, bytes } = last {
            let len = rng.below(bytes.len() as u64 + 1) as usize;
            put(image.bytes(*file), *offset, &bytes[..len]);
        }
        image
    }

    /// The state after a power failure: synced calls, and a random part of the others.
    pub(super) fn unpowered(&self, calls: usize, rng: &mut Rng) -> Image {
        let mut image = self.start.clone();
        let mut waiting: Vec<&Call> = Vec::new();
        for call in &self.calls[..calls] {
            match call {
                Call::Sync { file } => {
                    take(&mut waiting, |c| file_of(c) == Some(*file))
                        .into_iter()
                        .for_each(|call| image.apply(call));
                }
                Call::FailedSync { file } => {
                    let lost = take(&mut waiting, |c| file_of(c) == Some(*file));
                    tear(image.bytes(*file), &lost, rng);
                }
                Call::SyncNames => {
                    take(&mut waiting, |c| file_of(c).is_none())
                        .into_iter()
                        .for_each(|call| image.apply(call));
                }
                call => waiting.push(call),
            }
        }
        let names = take(&mut waiting, |call| file_of(call).is_none());
        let odds = odds(rng);
        for call in names {
            if rng.below(100) < odds {
                image.apply(call);
            }
        }
        while let Some(file) = waiting.first().and_then(|call| file_of(call)) {
            let calls = take(&mut waiting, |call| file_of(call) == Some(file));
            tear(image.bytes(file), &calls, rng);
        }
        // Files without a name are gone.
        let named: Vec<Inode> = image.names.values().copied().collect();
        image.files.retain(|file, _| named.contains(file));
        for file in named {
            image.files.entry(file).or_default();
        }
        image
    }
}

/// The unsynced calls that take effect: all, none, or a random part.
fn odds(rng: &mut Rng) -> u64 {
    rng.pick(&[0, 1, 50, 90, 100])
}

/// The file that a call changes the contents of.
fn file_of(call: &Call) -> Option<Inode> {
    match call {
        Call::Write { file, .. } | Call::Truncate { file, .. } => Some(*file),
        _ => None,
    }
}

fn take<'a>(from: &mut Vec<&'a Call>, which: impl Fn(&Call) -> bool) -> Vec<&'a Call> {
    let (taken, left) = from.iter().partition(|call| which(call));
    *from = left;
    taken
}

/// Applies to a file those of some calls that take effect.
fn tear(file: &mut Vec<u8>, calls: &[&Call], rng: &mut Rng) {
    if calls.is_empty() {
        return;
    }
    let nothing = rng.one_in(5);
    let odds = odds(rng);
    let mut seen = file.len();
    let mut lens = vec![seen];
    for call in calls {
        let kept = !nothing && rng.below(100) < odds;
        match call {
            Call::Truncate { len, .. } => {
                seen = *len;
                if kept {
                    file.resize(*len, 0);
                }
            }
            Call::Write { offset, bytes, .. } => {
                seen = seen.max(offset + bytes.len());
                if kept {
                    put(file, *offset, bytes);
                } else if !nothing {
                    tear_write(file, *offset, bytes, rng);
                }
            }
            _ => {}
        }
        lens.push(seen);
    }
    // A file system writes the length separately from the data, before it or after it.
    if rng.one_in(2) {
        let len = rng.pick(&lens);
        if len > file.len() && rng.one_in(2) {
            let junk = rng.junk(len - file.len());
            file.extend(junk);
        }
        file.resize(len, 0);
    }
}

/// Applies to a file a write that takes effect in part.
fn tear_write(file: &mut Vec<u8>, offset: usize, bytes: &[u8], rng: &mut Rng) {
    let sector = |at: usize| (SECTOR - (offset + at) % SECTOR).min(bytes.len() - at);
    match rng.below(4) {
        // None of it.
        _ if bytes.is_empty() => {}
        0 => {}
        // The sectors at its beginning.
        1 => {
            let sectors = rng.below(bytes.len().div_ceil(SECTOR) as u64);
            let len = (0..sectors).fold(0, |at, _| at + sector(at));
            put(file, offset, &bytes[..len]);
        }
        // Junk.
        2 => put(file, offset, &rng.junk(bytes.len())),
        // Random sectors, some of them junk.
        _ => {
            let mut at = 0;
            while at < bytes.len() {
                let len = sector(at);
                match rng.below(3) {
                    0 => {}
                    1 => put(file, offset + at, &bytes[at..at + len]),
                    _ => put(file, offset + at, &rng.junk(len)),
                }
                at += len;
            }
        }
    }
}
