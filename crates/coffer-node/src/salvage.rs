//! The salvage of a damaged coffer into a new one.

use std::path::Path;

use coffer_core::coffer::Notice;
use coffer_core::io::pool;
use coffer_core::ops::salvage::{self, Lost, Salvaged, Span};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::options::{NativeCommit, NativeOptions};
use crate::promise::Promise;
use crate::values::NativeNotice;
use crate::watch::NativeWatch;

/// A span of bytes in a file.
#[napi(object)]
pub struct NativeSpan {
    /// The first byte.
    pub from: f64,
    /// Behind the last byte.
    pub to: f64,
}

impl From<Span> for NativeSpan {
    fn from(Span { from, to }: Span) -> Self {
        Self { from: from as f64, to: to as f64 }
    }
}

/// A member that could not be brought over.
#[napi(object)]
pub struct NativeLost {
    /// Its name.
    pub name: String,
    /// `damaged`, `missing`, `overwritten` or `refused`.
    pub reason: String,
    /// The reason in detail.
    pub message: String,
    /// The blocks of it that could not be read.
    pub damage: Vec<NativeSpan>,
}

impl From<Lost> for NativeLost {
    fn from(lost: Lost) -> Self {
        Self {
            name: lost.name,
            reason: lost.reason.as_str().to_owned(),
            message: lost.message,
            damage: lost.damage.into_iter().map(NativeSpan::from).collect(),
        }
    }
}

/// The report of a salvage.
#[napi(object)]
pub struct NativeSalvaged {
    /// Members in the new coffer.
    pub members: f64,
    /// Their bytes.
    pub bytes: f64,
    /// The names of those that no commit authenticates.
    pub unverified: Vec<String>,
    /// The directory that those are below, unless they have their claimed names.
    pub apart: Option<String>,
    /// Members that could not be brought over.
    pub lost: Vec<NativeLost>,
    /// Bytes that were decrypted but belong to no member of a known name.
    pub nameless: f64,
    /// The newest commit that could be read.
    pub commit: Option<NativeCommit>,
    /// Whether `lost` is complete.
    pub complete: bool,
    /// Further findings.
    pub notices: Vec<NativeNotice>,
}

impl From<Salvaged> for NativeSalvaged {
    fn from(salvaged: Salvaged) -> Self {
        Self {
            members: salvaged.members as f64,
            bytes: salvaged.bytes as f64,
            unverified: salvaged.unverified,
            apart: salvaged.apart,
            lost: salvaged.lost.into_iter().map(NativeLost::from).collect(),
            nameless: salvaged.nameless as f64,
            commit: salvaged.commit.map(NativeCommit::from),
            complete: salvaged.complete,
            notices: salvaged.notices.iter().map(|notice: &Notice| notice.into()).collect(),
        }
    }
}

/// Brings undamaged members into a new coffer, on a thread of its own. With `claimed_names`, members that
/// no commit authenticates get the names that they claim.
#[napi(ts_return_type = "Promise<Settled<NativeSalvaged>>")]
pub fn salvage<'env>(
    env: &'env Env,
    path: String,
    target: String,
    options: NativeOptions,
    claimed_names: bool,
    watch: &NativeWatch,
) -> napi::Result<Object<'env>> {
    let (promise, object) = Promise::new(env)?;
    let (options, watch) = (options.into_core(), watch.watch());
    pool::thread(move |started| {
        let salvaged = started.and(options).and_then(|options| {
            salvage::salvage(Path::new(&path), Path::new(&target), &options, claimed_names, &watch)
        });
        promise.settle(salvaged.map(NativeSalvaged::from));
    });
    Ok(object)
}
