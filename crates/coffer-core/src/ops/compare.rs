//! Comparing members with files outside of the coffer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::engine::member::no_member;
use crate::engine::reader::Reader;
use crate::engine::selection::Selection;
use crate::error::{Error, Result};
use crate::io::disk::DiskFile;
use crate::io::storage::ReadAt;
use crate::ops::bulk_read::BulkRead;
use crate::ops::fs_tree::{Entry, Opener};
use crate::progress::{CallObserver, Report};

/// Bytes of a large member that are compared at a time.
const STEP: u64 = 8 << 20;

/// The names of those members whose bytes are not those of the file that is given for each. A
/// file is read little further than its first difference. A damaged member differs, so that the file
/// can replace it.
pub(crate) fn differing(
    reader: &Reader,
    pairs: &BTreeMap<String, Entry>,
    watch: &CallObserver,
) -> Result<Vec<String>> {
    let sweep = BulkRead::new(reader, &Selection::Exactly(pairs.keys().cloned().collect()), watch)?;
    let total = sweep.members.iter().map(|(_, entry)| entry.size).sum();
    let (bytes, members) = (AtomicU64::new(0), AtomicU64::new(0));
    let advance = |name: &str, compared: u64, whole: bool| {
        let bytes = bytes.fetch_add(compared, Ordering::Relaxed) + compared;
        let members = members.fetch_add(u64::from(whole), Ordering::Relaxed) + u64::from(whole);
        let (total_bytes, name) = (Some(total), Some(name.to_owned()));
        watch.report(|| Report { bytes, total_bytes, members, name });
    };
    let open = |name: &str| Outside::open(pairs.get(name).ok_or_else(|| no_member(name))?);
    let found = sweep.files(
        |name, entry, bytes| {
            watch.cancel.check()?;
            let file = open(name)?;
            let same = file.size == entry.size
                && match bytes {
                    Ok(bytes) => file.matches(0, bytes)?,
                    Err(e) if e.is_damage() => false,
                    Err(e) => return Err(e),
                };
            advance(name, entry.size, true);
            Ok((!same).then(|| name.to_owned()))
        },
        |name, entry| {
            let file = open(name)?;
            let same = AtomicBool::new(file.size == entry.size);
            let compare = |at, bytes: &[u8]| {
                watch.cancel.check()?;
                if same.load(Ordering::Relaxed) && !file.matches(at, bytes)? {
                    same.store(false, Ordering::Relaxed);
                }
                advance(name, bytes.len() as u64, false);
                Ok(())
            };
            let mut at = 0;
            while same.load(Ordering::Relaxed) && at < entry.size {
                at = match reader.each_piece(name, entry.version, at, STEP, &compare) {
                    Ok(at) => at,
                    Err(e) if e.is_damage() => {
                        same.store(false, Ordering::Relaxed);
                        at
                    }
                    Err(e) => return Err(e),
                };
            }
            advance(name, entry.size - at, true);
            Ok((!same.into_inner()).then(|| name.to_owned()))
        },
    )?;
    let mut names: Vec<_> = found.into_iter().flatten().collect();
    names.sort_unstable();
    Ok(names)
}

/// A file outside of the coffer.
struct Outside<'a> {
    path: &'a Path,
    file: DiskFile,
    size: u64,
}

impl<'a> Outside<'a> {
    fn open(entry: &'a Entry) -> Result<Self> {
        let (file, about) = Opener::default().open(entry)?;
        Ok(Self { path: &entry.path, file, size: about.size })
    }

    /// Whether these bytes are in the file at `offset`.
    fn matches(&self, offset: u64, bytes: &[u8]) -> Result<bool> {
        let mut own = vec![0; bytes.len()];
        match self.file.read_at(&mut own, offset) {
            Ok(()) => Ok(own == bytes),
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Ok(false),
            Err(e) => Err(Error::io("read", self.path, &e)),
        }
    }
}
