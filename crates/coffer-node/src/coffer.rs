//! The class `NativeCoffer`, which the facade wraps.

use std::path::{Path, PathBuf};

use coffer_core::coffer::{Change, Coffer, Entry, Extraction, Item, Outcome, Selection, Symlinks};
use coffer_core::crypto::key::Key;
use coffer_core::error::Result;
use coffer_core::io::pool;
use napi::Env;
use napi::bindgen_prelude::{BigInt, Buffer, BufferSlice, Either, Object, ToNapiValue, Uint8Array};
use napi_derive::napi;

use crate::bytes::{self, NativeFeed};
use crate::ended::Handle;
use crate::options::{NativeCommit, NativeOptions, NativeSecret};
use crate::pages::NativePages;
use crate::promise::{self, Promise, Settled, done, unexpected, whole};
use crate::stage::NativeStage;
use crate::values::{
    NativeAdded, NativeEntry, NativeExtracted, NativeExtraction, NativeInfo, NativeItem,
    NativeMember, NativeNotice, NativeRange, NativeStatus, NativeTime, NativeVerified,
    NativeVersion,
};
use crate::watch::NativeWatch;

/// An open coffer.
#[napi]
pub struct NativeCoffer {
    pub(crate) coffer: Coffer,
}

/// Opens a coffer, on a thread of its own, since it may wait for a lock.
#[napi(ts_return_type = "Promise<Settled<NativeCoffer>>")]
pub fn open_coffer<'env>(
    env: &'env Env,
    path: String,
    options: NativeOptions,
    watch: &NativeWatch,
) -> napi::Result<Object<'env>> {
    let (promise, object) = Promise::new(env)?;
    let options = options.into_core().map(|mut options| {
        options.cancel = watch.cancel_flag();
        options
    });
    let handle = Handle::new(env, watch.cancel_flag())?;
    let open = move |started: Result<()>| {
        let open = |options| Coffer::open(Path::new(&path), options);
        let opened = handle.opened(started.and(options).and_then(open));
        promise.settle(opened.map(|coffer| NativeCoffer { coffer }));
    };
    pool::thread(open);
    Ok(object)
}

/// A new random key of `bytes` bytes. The facade zeroes it.
#[napi]
#[must_use]
pub fn generate_key(bytes: u32) -> Buffer {
    Key::generate(bytes as usize).as_bytes().into()
}

/// Changes. They take effect in the order of the calls.
#[napi]
impl NativeCoffer {
    /// Creates or replaces a member.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn write<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        name: String,
        data: Uint8Array,
        mode: Option<u32>,
        mtime: Option<NativeTime>,
    ) -> napi::Result<Object<'env>> {
        let mtime = mtime.map(NativeTime::into_core);
        let change = Change::Write { name, data: bytes::take(&data), mode, mtime };
        self.submit(env, batch, change, done)
    }

    /// Creates or replaces a member whose bytes a feed brings.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn write_fed<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        name: String,
        feed: &NativeFeed,
        mode: Option<u32>,
        mtime: Option<NativeTime>,
    ) -> napi::Result<Object<'env>> {
        let mtime = mtime.map(NativeTime::into_core);
        let change = Change::Write { name, data: feed.data(), mode, mtime };
        self.submit(env, batch, change, done)
    }

    /// Adds bytes to the end of a member.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn append<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        name: String,
        data: Uint8Array,
    ) -> napi::Result<Object<'env>> {
        let change = Change::Append { name, data: bytes::take(&data) };
        self.submit(env, batch, change, done)
    }

    /// Adds bytes that a feed brings to the end of a member.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn append_fed<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        name: String,
        feed: &NativeFeed,
    ) -> napi::Result<Object<'env>> {
        self.submit(env, batch, Change::Append { name, data: feed.data() }, done)
    }

    /// An upload: a member whose bytes come in parts.
    #[napi]
    #[must_use]
    pub fn stage(&self, name: String) -> NativeStage {
        NativeStage::new(self.coffer.clone(), name)
    }

    /// Adds a file or a tree.
    #[napi(ts_return_type = "Promise<Settled<NativeAdded>>")]
    #[allow(clippy::too_many_arguments)]
    pub fn add<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        source: String,
        name: String,
        replace: bool,
        symlinks: String,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let symlinks = links(&symlinks);
        let source = PathBuf::from(source);
        let name = Some(name);
        let watch = watch.watch();
        let change = Change::Add { source, name, replace, symlinks, watch };
        self.submit(env, batch, change, added)
    }

    /// Makes a directory a member, unless there are members in it.
    #[napi(ts_return_type = "Promise<Settled<NativeAdded>>")]
    pub fn make_directory<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        name: String,
        mode: Option<u32>,
        mtime: Option<NativeTime>,
    ) -> napi::Result<Object<'env>> {
        let mtime = mtime.map(NativeTime::into_core);
        self.submit(env, batch, Change::Directory { name, mode, mtime }, added)
    }

    /// Deletes members and adds files, all or nothing.
    #[napi(ts_return_type = "Promise<Settled<NativeAdded>>")]
    pub fn update<'env>(
        &self,
        env: &'env Env,
        gone: Vec<String>,
        items: Vec<NativeItem>,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let add = items.into_iter().map(Item::from).collect();
        let change = Change::Update { delete: gone, add, watch: watch.watch() };
        self.submit(env, None, change, added)
    }

    /// Removes a member, or a tree.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn delete<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        name: String,
        recursive: bool,
    ) -> napi::Result<Object<'env>> {
        self.submit(env, batch, Change::Delete { name, recursive }, done)
    }

    /// Commits the changes since the last commit.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn flush<'env>(&self, env: &'env Env, force: bool) -> napi::Result<Object<'env>> {
        self.submit(env, None, Change::Flush { force }, done)
    }

    /// Rewrites the coffer without its dead blocks.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn compact<'env>(&self, env: &'env Env, watch: &NativeWatch) -> napi::Result<Object<'env>> {
        self.submit(env, None, Change::Compact { watch: watch.watch() }, done)
    }

    /// Rewrites the coffer under new keys.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn rekey<'env>(
        &self,
        env: &'env Env,
        to: NativeSecret,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        match to.into_core() {
            Ok(to) => self.submit(env, None, Change::Rekey { to, watch: watch.watch() }, done),
            Err(error) => Promise::<()>::failed(env, error),
        }
    }

    /// Begins a batch and resolves with its token.
    #[napi(ts_return_type = "Promise<Settled<bigint>>")]
    pub fn begin<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.submit(env, None, Change::Begin, |outcome| match outcome {
            Outcome::Batch(token) => Ok(BigInt::from(token)),
            _ => Err(unexpected()),
        })
    }

    /// Ends a batch: commits all of it, or rolls all of it back.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn end<'env>(
        &self,
        env: &'env Env,
        batch: BigInt,
        commit: bool,
    ) -> napi::Result<Object<'env>> {
        self.submit(env, Some(batch), Change::End { commit }, done)
    }

    /// Flushes, waits for reads in progress, and closes the file.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn close<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.submit(env, None, Change::Close, done)
    }
}

/// Queries.
#[napi]
impl NativeCoffer {
    /// The bytes of a member of at most `most` bytes.
    #[napi(ts_return_type = "Settled<Buffer> | Promise<Settled<Buffer>>")]
    pub fn read<'env>(
        &self,
        env: &'env Env,
        name: String,
        most: f64,
    ) -> napi::Result<Either<Settled<BufferSlice<'env>>, Object<'env>>> {
        let at_once = || {
            let bytes = self.coffer.read_at_once(&name)?;
            BufferSlice::copy_from(env, &*bytes).ok()
        };
        match promise::at_once(at_once) {
            Some(settled) => Ok(Either::A(settled)),
            None => {
                let most = most as u64;
                self.ask(env, move |coffer| coffer.read_whole(&name, most).map(Buffer::from))
                    .map(Either::B)
            }
        }
    }

    /// A range of a member, which must still have the given version. With `most`, more than `len` bytes
    /// if their blocks are decoded anyway.
    #[napi(ts_return_type = "Promise<Settled<NativeRange>>")]
    pub fn read_range<'env>(
        &self,
        env: &'env Env,
        name: String,
        start: f64,
        len: f64,
        version: Option<BigInt>,
        most: Option<f64>,
    ) -> napi::Result<Object<'env>> {
        let version = version.map(whole);
        let (start, len, most) = (start as u64, len as u64, most.unwrap_or(len) as u64);
        self.ask(env, move |coffer| {
            coffer.read_on(&name, start, len, most, version).map(NativeRange::from)
        })
    }

    /// The members whose names begin with a prefix and come behind another name, or all: at most `limit`
    /// of them.
    #[napi(ts_return_type = "Promise<Settled<NativePages>>")]
    pub fn members<'env>(
        &self,
        env: &'env Env,
        prefix: Option<String>,
        after: Option<String>,
        limit: Option<u32>,
    ) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            let limit = limit.map(|limit| limit as usize);
            let mut pages = NativePages::default();
            let take = |member| pages.push(&member);
            coffer.each_member(prefix.as_deref(), after.as_deref(), limit, take)?;
            Ok(pages)
        })
    }

    /// Members with their versions, as one consistent state: those of the names and below them, or all.
    #[napi(ts_return_type = "Promise<Settled<NativeVersion[]>>")]
    pub fn versions<'env>(
        &self,
        env: &'env Env,
        names: Option<Vec<String>>,
    ) -> napi::Result<Object<'env>> {
        let selection = names.map_or(Selection::All, Selection::Names);
        self.ask(env, move |coffer| {
            let versions = coffer.versions(&selection)?;
            Ok(versions.into_iter().map(NativeVersion::from).collect::<Vec<_>>())
        })
    }

    /// Whether there is a member or directory of a name.
    #[napi(ts_return_type = "Settled<boolean> | Promise<Settled<boolean>>")]
    pub fn has<'env>(
        &self,
        env: &'env Env,
        name: String,
    ) -> napi::Result<Either<Settled<bool>, Object<'env>>> {
        match promise::at_once(|| self.coffer.has_at_once(&name)) {
            Some(settled) => Ok(Either::A(settled)),
            None => self.ask(env, move |coffer| coffer.has(&name)).map(Either::B),
        }
    }

    /// A member or directory; null if there is none of that name.
    #[napi(ts_return_type = "Settled<NativeMember | null> | Promise<Settled<NativeMember | null>>")]
    pub fn stat<'env>(
        &self,
        env: &'env Env,
        name: String,
    ) -> napi::Result<Either<Settled<NativeMember>, Object<'env>>> {
        match promise::at_once(|| self.coffer.stat_at_once(&name).map(NativeMember::from)) {
            Some(settled) => Ok(Either::A(settled)),
            None => self
                .ask(env, move |coffer| Ok(coffer.stat(&name)?.map(NativeMember::from)))
                .map(Either::B),
        }
    }

    /// Extracts members below a directory.
    #[napi(ts_return_type = "Promise<Settled<NativeExtracted>>")]
    pub fn extract<'env>(
        &self,
        env: &'env Env,
        extraction: NativeExtraction,
        target: String,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let extraction = Extraction::from(extraction);
        let watch = watch.watch();
        self.ask(env, move |coffer| {
            coffer.extract(&extraction, Path::new(&target), &watch).map(NativeExtracted::from)
        })
    }

    /// The names of those members whose bytes differ from those of their files.
    #[napi(ts_return_type = "Promise<Settled<string[]>>")]
    pub fn differing<'env>(
        &self,
        env: &'env Env,
        names: Vec<String>,
        files: Vec<NativeEntry>,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let pairs = names.into_iter().zip(files.into_iter().map(Entry::from)).collect();
        let watch = watch.watch();
        self.ask(env, move |coffer| coffer.differing(&pairs, &watch))
    }

    /// The file, directory or link at a path outside; null if there is none.
    #[napi(ts_return_type = "Promise<Settled<NativeEntry | null>>")]
    pub fn look<'env>(
        &self,
        env: &'env Env,
        path: String,
        follow: bool,
    ) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            Ok(coffer.look(Path::new(&path), follow)?.map(NativeEntry::from))
        })
    }

    /// The entries of a directory outside that was found in a tree.
    #[napi(ts_return_type = "Promise<Settled<NativeEntry[]>>")]
    pub fn list<'env>(
        &self,
        env: &'env Env,
        directory: NativeEntry,
        symlinks: String,
    ) -> napi::Result<Object<'env>> {
        let directory = Entry::from(directory);
        self.ask(env, move |coffer| {
            let entries = coffer.list(&directory, links(&symlinks))?;
            Ok(entries.into_iter().map(NativeEntry::from).collect::<Vec<_>>())
        })
    }

    /// Removes files, links and empty directories below a directory outside.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn remove<'env>(
        &self,
        env: &'env Env,
        root: String,
        paths: Vec<String>,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let cancel = watch.cancel_flag();
        self.ask(env, move |coffer| coffer.remove(Path::new(&root), &paths, &cancel))
    }

    /// The kind of the coffer, its sizes, and the use of its file.
    #[napi(ts_return_type = "Promise<Settled<NativeInfo>>")]
    pub fn info<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| coffer.info().map(NativeInfo::from))
    }

    /// Reads and checks every member and every block.
    #[napi(ts_return_type = "Promise<Settled<NativeVerified>>")]
    pub fn verify<'env>(&self, env: &'env Env, watch: &NativeWatch) -> napi::Result<Object<'env>> {
        let watch = watch.watch();
        self.ask(env, move |coffer| coffer.verify(&watch).map(NativeVerified::from))
    }

    /// Goes on to the newest commit of the file, on a thread of its own, since it may wait for a write that is
    /// under way. Resolves with the commit.
    #[napi(ts_return_type = "Promise<Settled<NativeCommit>>")]
    pub fn refresh<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        let refresh = |coffer: &Coffer| coffer.refresh().map(NativeCommit::from);
        self.coffer.ask_apart(refresh, move |answer| promise.settle(answer));
        Ok(object)
    }

    /// The same coffer at the commit that is its newest now, which stays so; null if it is open for writing.
    #[napi]
    #[must_use]
    pub fn pinned(&self) -> Option<NativeCoffer> {
        self.coffer.pinned().map(|coffer| NativeCoffer { coffer })
    }

    /// Releases the coffer without a commit, for a handle that was collected as garbage.
    #[napi]
    pub fn abandon(&self) {
        self.coffer.abandon();
    }

    /// The status, without reading the disk.
    #[napi]
    #[must_use]
    pub fn status(&self) -> NativeStatus {
        self.coffer.status().into()
    }

    /// The notices of opening, and those since.
    #[napi]
    #[must_use]
    pub fn notices(&self) -> Vec<NativeNotice> {
        self.coffer.notices().iter().map(NativeNotice::from).collect()
    }
}

impl NativeCoffer {
    pub(crate) fn submit<'env, T>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        change: Change,
        convert: impl FnOnce(Outcome) -> Result<T> + Send + 'static,
    ) -> napi::Result<Object<'env>>
    where
        T: ToNapiValue + Send + 'static,
    {
        let (promise, object) = Promise::new(env)?;
        let done = move |outcome: Result<Outcome>| promise.settle(outcome.and_then(convert));
        self.coffer.submit(change, batch.map(whole), Box::new(done));
        Ok(object)
    }

    pub(crate) fn ask<'env, T>(
        &self,
        env: &'env Env,
        question: impl FnOnce(&Coffer) -> Result<T> + Send + 'static,
    ) -> napi::Result<Object<'env>>
    where
        T: ToNapiValue + Send + 'static,
    {
        let (promise, object) = Promise::new(env)?;
        self.coffer.ask(question, move |answer| promise.settle(answer));
        Ok(object)
    }
}

fn links(symlinks: &str) -> Symlinks {
    match symlinks {
        "skip" => Symlinks::Skip,
        "error" => Symlinks::Error,
        _ => Symlinks::Follow,
    }
}

fn added(outcome: Outcome) -> Result<NativeAdded> {
    match outcome {
        Outcome::Added(added) => Ok(added.into()),
        _ => Err(unexpected()),
    }
}
