//! Encrypting and decrypting files outside of coffers: part by part, or from file to file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coffer_core::error::{Code, Error, Result};
use coffer_core::io::pool;
use coffer_core::ops::file_crypt::{Cryptor, Decryptor, Encryptor, Output};
use napi::Env;
use napi::bindgen_prelude::{Buffer, Object, ToNapiValue, Uint8Array};
use napi_derive::napi;

use crate::bytes;
use crate::coffer::NativeCoffer;
use crate::promise::Promise;
use crate::watch::NativeWatch;

/// From file to file, and beginnings of streams.
#[napi]
impl NativeCoffer {
    /// Encrypts a file into another.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn encrypt_file<'env>(
        &self,
        env: &'env Env,
        source: String,
        target: String,
        level: Option<i32>,
        replace: bool,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let (source, target) = (PathBuf::from(source), PathBuf::from(target));
        let watch = watch.watch();
        self.convert(env, move |cryptor| {
            at_level(cryptor, level).encrypt_file(&source, &target, replace, &watch)
        })
    }

    /// Decrypts a file into another.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn decrypt_file<'env>(
        &self,
        env: &'env Env,
        source: String,
        target: String,
        legacy: bool,
        replace: bool,
        watch: &NativeWatch,
    ) -> napi::Result<Object<'env>> {
        let (source, target) = (PathBuf::from(source), PathBuf::from(target));
        let watch = watch.watch();
        self.convert(env, move |cryptor| {
            cryptor.decrypt_file(&source, &target, legacy, replace, &watch)
        })
    }

    /// Begins a stream that encrypts.
    #[napi(ts_return_type = "Promise<Settled<NativeEncryptor>>")]
    pub fn encryptor<'env>(
        &self,
        env: &'env Env,
        level: Option<i32>,
    ) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            let encryptor = at_level(coffer.cryptor()?, level).encryptor();
            Ok(NativeEncryptor { slot: Slot::new(encryptor) })
        })
    }

    /// Begins a file that appears when it is finished.
    #[napi(ts_return_type = "Promise<Settled<NativeOutput>>")]
    pub fn output<'env>(
        &self,
        env: &'env Env,
        target: String,
        replace: bool,
    ) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            let output = coffer.cryptor()?.output(Path::new(&target), replace)?;
            Ok(NativeOutput { slot: Slot::new(output) })
        })
    }

    /// Begins a stream that decrypts.
    #[napi(ts_return_type = "Promise<Settled<NativeDecryptor>>")]
    pub fn decryptor<'env>(&self, env: &'env Env, legacy: bool) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            let decryptor = coffer.cryptor()?.decryptor(legacy)?;
            Ok(NativeDecryptor { slot: Slot::new(decryptor) })
        })
    }
}

impl NativeCoffer {
    fn convert<'env>(
        &self,
        env: &'env Env,
        convert: impl FnOnce(Cryptor) -> Result<()> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        self.coffer.ask_apart(
            move |coffer| convert(coffer.cryptor()?),
            move |answer| promise.settle(answer),
        );
        Ok(object)
    }
}

/// A file that is being encrypted. One call at a time.
#[napi]
pub struct NativeEncryptor {
    slot: Arc<Slot<Encryptor>>,
}

#[napi]
impl NativeEncryptor {
    /// Takes the next plaintext; resolves with the next bytes of the file.
    #[napi(ts_return_type = "Promise<Settled<Buffer>>")]
    pub fn push<'env>(&self, env: &'env Env, plain: Uint8Array) -> napi::Result<Object<'env>> {
        let plain = bytes::take(&plain);
        self.slot.work(env, move |encryptor| encryptor.push(&plain.copied()?).map(Buffer::from))
    }

    /// Resolves with the rest of the file.
    #[napi(ts_return_type = "Promise<Settled<Buffer>>")]
    pub fn finish<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.slot.end(env, |encryptor| encryptor.finish().map(Buffer::from))
    }

    /// Lets go of the key and of what is held.
    #[napi]
    pub fn release(&self) {
        self.slot.release();
    }
}

/// A file that is being decrypted. One call at a time.
#[napi]
pub struct NativeDecryptor {
    slot: Arc<Slot<Decryptor>>,
}

#[napi]
impl NativeDecryptor {
    /// Takes the next bytes of the file.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn push<'env>(&self, env: &'env Env, sealed: Uint8Array) -> napi::Result<Object<'env>> {
        let sealed = bytes::take(&sealed);
        self.slot.work(env, move |decryptor| decryptor.push(&sealed.copied()?))
    }

    /// Resolves with the next plaintext; with none where more of the file is needed.
    #[napi(ts_return_type = "Promise<Settled<Buffer>>")]
    pub fn pull<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.slot.work(env, |decryptor| decryptor.pull().map(Buffer::from))
    }

    /// Checks, at the end of the file, that all of it was there.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn finish<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.slot.end(env, Decryptor::finish)
    }

    /// Lets go of the key and of what is held.
    #[napi]
    pub fn release(&self) {
        self.slot.release();
    }
}

/// A file that is being made. One call at a time.
#[napi]
pub struct NativeOutput {
    slot: Arc<Slot<Output>>,
}

#[napi]
impl NativeOutput {
    /// Adds bytes.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn write<'env>(&self, env: &'env Env, bytes: Uint8Array) -> napi::Result<Object<'env>> {
        let bytes = bytes::take(&bytes);
        self.slot.work(env, move |output| output.write(&bytes.copied()?))
    }

    /// Gives the file its name.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn finish<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.slot.end(env, Output::finish)
    }

    /// Removes the file, unless it has its name.
    #[napi]
    pub fn release(&self) {
        self.slot.release();
    }
}

fn at_level(cryptor: Cryptor, level: Option<i32>) -> Cryptor {
    match level {
        Some(level) => cryptor.with_level(level),
        None => cryptor,
    }
}

/// Something that is here, or away at work on the pool, or gone for good.
struct Slot<T>(Mutex<Place<T>>);

enum Place<T> {
    Here(Box<T>),
    Away,
    Gone,
}

impl<T: Send + 'static> Slot<T> {
    fn new(thing: T) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Place::Here(Box::new(thing)))))
    }

    /// Works with the thing on the pool, and brings it back.
    fn work<'env, R: ToNapiValue + Send + 'static>(
        self: &Arc<Self>,
        env: &'env Env,
        job: impl FnOnce(&mut T) -> Result<R> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let slot = self.clone();
        self.take(env, move |mut thing| {
            let done = job(&mut thing);
            slot.bring_back(thing);
            done
        })
    }

    /// Works with the thing on the pool for the last time.
    fn end<'env, R: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        job: impl FnOnce(T) -> Result<R> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        self.take(env, move |thing| job(*thing))
    }

    fn release(&self) {
        *self.lock() = Place::Gone;
    }

    fn take<'env, R: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        job: impl FnOnce(Box<T>) -> Result<R> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        match self.send_away() {
            Some(thing) => pool::spawn(move || promise.settle(job(thing))),
            None => promise.settle(Err(Error::new(Code::Closed, "the stream has ended"))),
        }
        Ok(object)
    }

    /// The thing, if it is here. The lock is free again afterwards: the job may run at once.
    fn send_away(&self) -> Option<Box<T>> {
        let mut place = self.lock();
        match std::mem::replace(&mut *place, Place::Away) {
            Place::Here(thing) => Some(thing),
            other => {
                *place = other;
                None
            }
        }
    }

    fn bring_back(&self, thing: Box<T>) {
        let mut place = self.lock();
        if matches!(*place, Place::Away) {
            *place = Place::Here(thing);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Place<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
