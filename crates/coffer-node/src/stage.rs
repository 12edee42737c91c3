//! Uploads: members whose bytes JavaScript gives in parts.

use std::sync::{Mutex, PoisonError};

use coffer_core::coffer::{Change, Coffer, Existing, Outcome, Upload};
use coffer_core::error::{Code, Error, Result};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Object, Uint8Array};
use napi_derive::napi;

use crate::promise::{Promise, done, whole};
use crate::values::NativeTime;

/// A member to be. One that is collected as garbage before it is finished leaves nothing.
#[napi]
pub struct NativeStage {
    coffer: Coffer,
    name: String,
    /// Gone once it is finished.
    stage: Mutex<Option<Upload>>,
}

#[napi]
impl NativeStage {
    /// Takes bytes, which are copied at the call, and resolves when there is room for more.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn write<'env>(&self, env: &'env Env, bytes: Uint8Array) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        let stage = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        match &*stage {
            Some(stage) => stage.write(&bytes, Box::new(move |ready| promise.settle(ready))),
            None => promise.settle(Err(finished())),
        }
        Ok(object)
    }

    /// Makes a member of what was written: in place of the one of that name (`w`), behind it (`a`),
    /// or only if there is none (`x`).
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn finish<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        flag: String,
        mode: Option<u32>,
        mtime: Option<NativeTime>,
    ) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        let Some(stage) = self.stage.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            promise.settle(Err(finished()));
            return Ok(object);
        };
        let existing = match flag.as_str() {
            "a" => Existing::Extend,
            "x" => Existing::Keep,
            _ => Existing::Replace,
        };
        let mtime = mtime.map(NativeTime::into_core);
        let name = self.name.clone();
        let change = Change::Upload { name, upload: stage, existing, mode, mtime };
        let settle = move |outcome: Result<Outcome>| promise.settle(outcome.and_then(done));
        self.coffer.submit(change, batch.map(whole), Box::new(settle));
        Ok(object)
    }

    /// Gives everything up, and fails whatever waits.
    #[napi]
    pub fn abort(&self) {
        if let Some(stage) = &*self.stage.lock().unwrap_or_else(PoisonError::into_inner) {
            stage.abort();
        }
    }
}

impl NativeStage {
    pub(crate) fn new(coffer: Coffer, name: String) -> Self {
        let stage = coffer.upload(&name);
        Self { coffer, name, stage: Mutex::new(Some(stage)) }
    }
}

fn finished() -> Error {
    Error::new(Code::Closed, "the member is finished: nothing can be added to it here")
}
