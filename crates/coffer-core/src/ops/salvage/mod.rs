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

use self::keys::RecoveredHeader;
use self::lenient_storage::LenientStorage;
use self::marks::Search;
pub use self::report::{Lost, Reason, Salvaged};
use self::rescue::Rescue;
pub use self::span::Span;
use crate::coffer::Options;
use crate::crypto::key;
use crate::engine::container::Container;
use crate::engine::credentials::Credentials;
use crate::engine::file::ArchiveFile;
use crate::engine::open;
use crate::error::{Code, Error, Result};
use crate::format::header::{self, Header};
use crate::format::keys::Keys;
use crate::io::beneath;
use crate::io::disk::{DiskNamespace, failed_to_open};
use crate::io::lock_set::{Locks, Patience};
use crate::io::new_file::{NewFile, PublishError};
use crate::io::storage::{Namespace, WriteAt};
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
    let call = SalvageCall { path, target, options: &options, claimed_names, watch };
    call.run().map_err(|e| e.at(path))
}

/// One call of [`salvage`]: its arguments, both paths absolute.
struct SalvageCall<'a> {
    path: &'a Path,
    target: &'a Path,
    options: &'a Options,
    /// Whether unverified members get the names that they claim.
    claimed_names: bool,
    watch: &'a CallObserver,
}

impl SalvageCall<'_> {
    fn run(&self) -> Result<Salvaged> {
        let Self { path, target, options, .. } = self;
        crate::io::pool::ready()?;
        let credentials = options.credentials()?;
        if !options.accept_file_cipher {
            credentials.check(&options.kind)?;
        }
        if beneath::at(target, false).is_ok() {
            return Err(exists(target));
        }
        // A lock file beside a coffer that is not there, or beside a pipe, would be left behind.
        if !DiskNamespace.has_file(path).map_err(|e| failed_to_open(path, &e))? {
            let message = format!("there is no coffer at {}", path.display());
            return Err(Error::new(Code::NotFound, message).at(path));
        }
        let patience = Patience {
            deadline: Instant::now() + options.lock_timeout,
            cancel: options.cancel.clone(),
        };
        let locks = Locks::acquire(path, options.lock, false, patience)?;
        let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
        let damaged = locks.open(&*directory, false)?;
        let file =
            NewFile::create(&directory, target).map_err(|e| Error::io("open", target, &e))?;
        let salvaged = self.salvage_into(damaged, file.storage(), &credentials)?;
        self.watch.cancel.check()?;
        file.publish(false).map_err(|e| match &e {
            PublishError::Unnamed(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                exists(target)
            }
            _ => e.at(target),
        })?;
        Ok(salvaged)
    }

    /// Salvages into a new and empty file.
    fn salvage_into(
        &self,
        damaged: Arc<dyn WriteAt>,
        new: Arc<dyn WriteAt>,
        credentials: &Credentials,
    ) -> Result<Salvaged> {
        let size = damaged.len().map_err(|e| Error::io("fstat", self.path, &e))?;
        let damaged = Arc::new(LenientStorage::new(damaged));
        let cancel = &self.watch.cancel;
        let search = Search { storage: &*damaged, path: self.path, size, cancel };
        let start = search.read(0, header::MAX_LEN as u64)?;
        let legacy =
            self.options.legacy && Header::marks(&start).is_none() && !search.has_records()?;
        let recovered = if legacy {
            legacy::header(self.options, credentials)?
        } else {
            keys::find(&search, self.options, credentials)?
        };
        let RecoveredHeader { header, keys, .. } = &recovered;
        let container = create(header, keys, new, self.target, self.options.durable)?;
        let mut rescue = Rescue::new(container, self.claimed_names, self.watch);
        if legacy {
            legacy::salvage(&search, &recovered, &mut rescue)?;
        } else {
            let source = recovered.source(damaged.clone(), self.path)?;
            if !bring_members(&search, &recovered, source, &mut rescue)? {
                return Err(nothing_found(&recovered, &start));
            }
        }
        if damaged.has_refused() {
            rescue.notice(
                "unreadable",
                "the disk refused to read parts of the file; they count as damaged".to_owned(),
            );
        }
        rescue.finish()
    }
}

/// Brings over the members that commits name, and what else is in blocks. Gives whether anything of
/// a coffer was found: a member, a commit or a header.
fn bring_members(
    search: &Search<'_>,
    recovered: &RecoveredHeader,
    mut source: ArchiveFile,
    rescue: &mut Rescue<'_>,
) -> Result<bool> {
    match recovered.header_at {
        Some(0) => {}
        Some(at) => rescue.notice(
            "damaged-header",
            format!("the header at the beginning is damaged; its copy at byte {at} was used"),
        ),
        None => rescue.notice(
            "damaged-header",
            "no header is left: kind and keys are what the caller says".to_owned(),
        ),
    }
    let state = history::read(search, &mut source, recovered.archive.is_some())?;
    let known = state.commit.is_some();
    rescue.begin(&state);
    let leftover = named::bring(rescue, &Arc::new(source), search, state)?;
    unnamed::bring(rescue, search, leftover)?;
    Ok(!rescue.is_empty() || known || recovered.header_at.is_some())
}

/// The new coffer, with an archive id of its own, so that it cannot pass for a state of the old one.
fn create(
    header: &Header,
    keys: &Keys,
    storage: Arc<dyn WriteAt>,
    target: &Path,
    durable: bool,
) -> Result<Container> {
    let mut header = header.clone();
    header.archive = key::random_bytes();
    let directory: Arc<dyn Namespace> = Arc::new(DiskNamespace);
    let source = ArchiveFile::new(storage, &directory, target, &header, keys)?;
    Container::create(source, header, durable)
}

fn nothing_found(recovered: &RecoveredHeader, start: &[u8]) -> Error {
    if Header::marks(start).is_none() && open::looks_legacy(start) {
        return Error::new(
            Code::Legacy,
            "nothing was found in the file, which may be in PyCoffer's format: pass legacy: true if that is what you expect",
        );
    }
    let doubt = recovered.doubt.clone();
    doubt.unwrap_or_else(|| Error::corrupt("nothing was found in the file"))
}

fn exists(target: &Path) -> Error {
    let message = format!("there is a file at {} already: give another target", target.display());
    Error::new(Code::Exists, message).at(target)
}
