//! Salvage: every member that a damaged coffer still holds, brought into a new one.
//!
//! What commits name comes first: it is checked against their digests. Where commits are gone, or
//! name what is damaged, the rest of the file is searched for blocks, and members are taken from
//! the tar in them. Those are *unverified*: seals authenticate the chunks, but nothing says that
//! chunks belong together, that members are the newest, or that they were ever members. They are
//! kept apart from what commits name, in a directory of their own.

#[cfg(test)]
mod cost_tests;
mod entries;
#[cfg(test)]
mod forged_tests;
mod history;
mod keys;
mod legacy;
mod lenient_storage;
mod marks;
mod named;
mod report;
mod rescue;
mod scan;
mod span;
#[cfg(test)]
mod tests;
mod unnamed;

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use self::keys::Opening;
use self::lenient_storage::LenientStorage;
use self::marks::Search;
pub use self::report::{Lost, Reason, Salvaged};
use self::rescue::Rescue;
pub use self::span::Span;
use crate::coffer::Options;
use crate::crypto::key;
use crate::engine::container::Container;
use crate::engine::credentials::{Credentials, without_passphrase};
use crate::engine::file::ArchiveFile;
use crate::engine::open;
use crate::error::{Code, Error, Result};
use crate::format::header::Header;
use crate::io::disk::{DiskDirectory, failed_to_open};
use crate::io::lock_set::{Locks, Patience};
use crate::io::new_file::NewFile;
use crate::io::storage::{Directory, Storage};
use crate::progress::CallObserver;

/// The directory of the new coffer that unverified members go below.
pub use crate::format::name::APART;

/// Brings every member of the coffer at `path` that is not damaged into a new coffer at `target`, of
/// the same kind and with the same keys. The damaged file is only read. Not for a thread of the
/// pool.
///
/// What no commit vouches for goes below [`APART`], unless `claimed_names` is set.
///
/// Of `options`, the mode counts as [`Mode::Read`](crate::coffer::Mode::Read), and what is about new
/// files is ignored but for `durable`.
///
/// # Errors
/// [`Code::Exists`] if there is something at `target`, [`Code::NotFound`], [`Code::Locked`],
/// [`Code::WrongKey`], [`Code::WrongKind`], [`Code::Version`], [`Code::Legacy`], [`Code::Corrupt`] if
/// nothing at all could be read, [`Code::InvalidArg`], [`Code::Aborted`], [`Code::Io`] for the new
/// file. There is no new file then.
pub fn salvage(
    path: &Path,
    target: &Path,
    options: &Options,
    claimed_names: bool,
    watch: &CallObserver,
) -> Result<Salvaged> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Error::io("open", path, &e));
    let (path, target) = (&absolute(path)?, &absolute(target)?);
    let mut options = options.clone();
    options.cancel = watch.cancel.clone();
    run(path, target, &options, claimed_names, watch).map_err(|e| e.at(path))
}

fn run(
    path: &Path,
    target: &Path,
    options: &Options,
    claimed_names: bool,
    watch: &CallObserver,
) -> Result<Salvaged> {
    crate::io::pool::ready()?;
    let secret = options.secret()?;
    if !options.accept_file_cipher {
        secret.check(&options.kind)?;
    }
    if std::fs::symlink_metadata(target).is_ok() {
        return Err(exists(target));
    }
    // A lock file beside a coffer that is not there, or beside a pipe, would be left behind.
    if !DiskDirectory.has_file(path).map_err(|e| failed_to_open(path, &e))? {
        let message = format!("there is no coffer at {}", path.display());
        return Err(Error::new(Code::NotFound, message).at(path));
    }
    let patience = Patience {
        deadline: Instant::now() + options.lock_timeout,
        cancel: options.cancel.clone(),
    };
    let locks = Locks::acquire(path, options.lock, false, patience)?;
    let directory: Arc<dyn Directory> = Arc::new(DiskDirectory);
    let damaged = Damaged { storage: locks.open(&*directory, false)?, path, claimed_names };
    let file = NewFile::create(&directory, target).map_err(|e| Error::io("open", target, &e))?;
    let salvaged = into(&damaged, file.storage(), target, options, &secret, watch)?;
    watch.cancel.check()?;
    let names = file.publish(false).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => exists(target),
        _ => Error::io("rename", target, &e),
    })?;
    names.sync().map_err(|e| Error::io("fsync", target, &e))?;
    Ok(salvaged)
}

/// The file that is salvaged.
struct Damaged<'a> {
    storage: Arc<dyn Storage>,
    path: &'a Path,
    /// Unverified members get the names that they claim.
    claimed_names: bool,
}

/// Salvages into a new and empty file.
fn into(
    damaged: &Damaged<'_>,
    new: Arc<dyn Storage>,
    target: &Path,
    options: &Options,
    secret: &Credentials,
    watch: &CallObserver,
) -> Result<Salvaged> {
    let path = damaged.path;
    let size = damaged.storage.len().map_err(|e| Error::io("fstat", path, &e))?;
    let worn = Arc::new(LenientStorage::new(damaged.storage.clone()));
    let search = Search { storage: &*worn, path, size, cancel: &watch.cancel };
    let start = search.read(0, crate::format::header::MAX_LEN as u64)?;
    let legacy = options.legacy && Header::marks(&start).is_none() && !has_records(&search)?;
    let opening = if legacy {
        if matches!(secret, Credentials::Passphrase(_)) {
            return Err(without_passphrase());
        }
        legacy::opening(options, secret)?
    } else {
        keys::find(&search, options, secret)?
    };
    let mut source = opening.source(worn.clone(), path)?;
    let container = create(&opening, new, target, options)?;
    let mut rescue = Rescue::new(container, damaged.claimed_names, watch);
    if let Some(at) = opening.header_at.filter(|at| *at > 0) {
        rescue.notice(
            "damaged-header",
            format!("the header at the beginning is damaged; its copy at byte {at} was used"),
        );
    }
    if legacy {
        legacy::salvage(&search, &opening, &mut rescue)?;
    } else {
        if opening.doubt.is_some() {
            rescue.notice(
                "damaged-header",
                "no header is left: kind and keys are what the caller says".to_owned(),
            );
        }
        let state = history::read(&search, &mut source, opening.archive.is_some())?;
        let known = state.commit.is_some();
        rescue.begin(&state);
        let named = named::bring(&mut rescue, &Arc::new(source), &search, state)?;
        unnamed::bring(&mut rescue, &search, named)?;
        if rescue.is_empty() && !known && opening.header_at.is_none() {
            return Err(nothing_found(opening.doubt, &start));
        }
    }
    if worn.has_refused() {
        rescue.notice(
            "unreadable",
            "the disk refused to read parts of the file; they count as damaged".to_owned(),
        );
    }
    rescue.finish()
}

/// The new coffer, with an archive id of its own, so that it cannot pass for a state of the old one.
fn create(
    opening: &Opening,
    storage: Arc<dyn Storage>,
    target: &Path,
    options: &Options,
) -> Result<Container> {
    let mut header = opening.header.clone();
    header.archive = key::random_bytes();
    let directory: Arc<dyn Directory> = Arc::new(DiskDirectory);
    let source = ArchiveFile::new(storage, &directory, target, &header, &opening.keys)?;
    Container::create(source, header, options.durable)
}

/// Whether anything in the file looks like a record of Coffer's own.
fn has_records(search: &Search<'_>) -> Result<bool> {
    use crate::format::record::{self, COMMIT_TAG, FOOTER_TAG, HEADER_TAG, SALT_TAG};
    let mut any = false;
    for sealed in [true, false] {
        search.marks(sealed, &[HEADER_TAG, SALT_TAG, COMMIT_TAG, FOOTER_TAG], |offset, _| {
            if !any {
                let bytes = search.read(offset, 2 * record::MARK as u64)?;
                any = record::peek(sealed, &bytes)
                    .is_some_and(|(_, len)| offset.saturating_add(len as u64) <= search.size);
            }
            Ok(())
        })?;
    }
    Ok(any)
}

fn nothing_found(doubt: Option<Error>, start: &[u8]) -> Error {
    if Header::marks(start).is_none() && open::looks_legacy(start) {
        return Error::new(
            Code::Legacy,
            "nothing was found in the file, which may be in PyCoffer's format: pass legacy: true if that is what you expect",
        );
    }
    doubt.unwrap_or_else(|| Error::corrupt("nothing was found in the file"))
}

fn exists(target: &Path) -> Error {
    let message = format!("there is a file at {} already: give another target", target.display());
    Error::new(Code::Exists, message).at(target)
}
