//! The identification of files.

use std::path::Path;

use coffer_core::io::pool;
use coffer_core::ops::identify::{self, Identity};
use napi::Env;
use napi::bindgen_prelude::Object;
use napi_derive::napi;

use crate::options::NativeDerivation;
use crate::promise::Promise;

/// The identity of a file, by its beginning.
#[napi(object)]
#[derive(Default)]
pub struct NativeIdentity {
    /// `coffer`, `legacy` or `unknown`.
    pub format: String,
    /// The version of a coffer's format.
    pub version: Option<u8>,
    /// A coffer's kind.
    pub kind: Option<String>,
    /// The cipher of a coffer's container; `none` if it is not sealed.
    pub cipher: Option<String>,
    /// Whether a coffer's keys come from a passphrase.
    pub passphrase: Option<bool>,
    /// The cost of deriving them.
    pub kdf: Option<NativeDerivation>,
}

impl From<Identity> for NativeIdentity {
    fn from(identity: Identity) -> Self {
        match identity {
            Identity::Coffer { version, kind, cipher, passphrase, kdf } => Self {
                format: "coffer".to_owned(),
                version: Some(version),
                kind: kind.map(|kind| kind.as_str().to_owned()),
                cipher: cipher.map(|cipher| cipher.map_or("none", |c| c.as_str()).to_owned()),
                passphrase: Some(passphrase),
                kdf: kdf.map(NativeDerivation::from),
            },
            Identity::Legacy => Self { format: "legacy".to_owned(), ..Self::default() },
            Identity::Unknown => Self { format: "unknown".to_owned(), ..Self::default() },
        }
    }
}

/// Identifies a file by its beginning, without keys and without a lock.
#[napi(ts_return_type = "Promise<Settled<NativeIdentity>>")]
pub fn identify(env: &Env, path: String) -> napi::Result<Object<'_>> {
    let (promise, object) = Promise::new(env)?;
    pool::thread(move |started| {
        let identity = started.and_then(|()| identify::identify(Path::new(&path)));
        promise.settle(identity.map(NativeIdentity::from));
    });
    Ok(object)
}
