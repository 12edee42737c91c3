//! Uploads: members whose bytes JavaScript gives in parts.

use std::sync::{Mutex, PoisonError};

use coffer_core::coffer::{Change, Coffer, Existing, Outcome, Upload};
use coffer_core::error::{Code, Error, Result};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Object, Uint8Array};
use napi_derive::napi;

use crate::promise::{Promise, done, whole};
use crate::values::NativeTime;

/// An upload. One that is garbage-collected before it is finished leaves nothing.
#[napi]
pub struct NativeStage {
    coffer: Coffer,
    name: String,
    /// `None` once it is finished.
    stage: Mutex<Option<Upload>>,
}

#[napi]
impl NativeStage {
    /// Copies bytes, and resolves when more may follow.
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

    /// Makes the written bytes a member: `w` replaces one of that name, `a` appends to it, `x` fails if
    /// there is one.
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

    /// Discards the upload, and fails the calls that wait.
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
