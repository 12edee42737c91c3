//! Encryption of files outside of coffers: as streams, or from file to file.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coffer_core::error::{Code, Error, Result};
use coffer_core::io::pool;
use coffer_core::ops::file_crypt::{Cryptor, DecryptOptions, Decryptor, Encryptor, Output};
use napi::Env;
use napi::bindgen_prelude::{Buffer, Object, ToNapiValue, Uint8Array};
use napi_derive::napi;

use crate::bytes;
use crate::coffer::NativeCoffer;
use crate::promise::Promise;
use crate::watch::NativeWatch;

/// Encryption and decryption of files.
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
            cryptor.decrypt_file(&source, &target, DecryptOptions { legacy, replace }, &watch)
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
            Ok(NativeEncryptor { slot: JobSlot::new(encryptor) })
        })
    }

    /// Begins a file that takes its name when it is finished.
    #[napi(ts_return_type = "Promise<Settled<NativeOutput>>")]
    pub fn output<'env>(
        &self,
        env: &'env Env,
        target: String,
        replace: bool,
    ) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            let output = coffer.cryptor()?.output(Path::new(&target), replace)?;
            Ok(NativeOutput { slot: JobSlot::new(output) })
        })
    }

    /// Begins a stream that decrypts.
    #[napi(ts_return_type = "Promise<Settled<NativeDecryptor>>")]
    pub fn decryptor<'env>(&self, env: &'env Env, legacy: bool) -> napi::Result<Object<'env>> {
        self.ask(env, move |coffer| {
            let decryptor = coffer.cryptor()?.decryptor(legacy)?;
            Ok(NativeDecryptor { slot: JobSlot::new(decryptor) })
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

/// A file that is being encrypted. It takes one call at a time.
#[napi]
pub struct NativeEncryptor {
    slot: Arc<JobSlot<Encryptor>>,
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

    /// Drops the key and all buffered bytes.
    #[napi]
    pub fn release(&self) {
        self.slot.release();
    }
}

/// A file that is being decrypted. It takes one call at a time.
#[napi]
pub struct NativeDecryptor {
    slot: Arc<JobSlot<Decryptor>>,
}

#[napi]
impl NativeDecryptor {
    /// Takes the next bytes of the file.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn push<'env>(&self, env: &'env Env, sealed: Uint8Array) -> napi::Result<Object<'env>> {
        let sealed = bytes::take(&sealed);
        self.slot.work(env, move |decryptor| decryptor.push(&sealed.copied()?))
    }

    /// Resolves with the next plaintext; with no bytes where more of the file is needed.
    #[napi(ts_return_type = "Promise<Settled<Buffer>>")]
    pub fn pull<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.slot.work(env, |decryptor| decryptor.pull().map(Buffer::from))
    }

    /// Checks, at the end of the file, that it was whole.
    #[napi(ts_return_type = "Promise<Settled<undefined>>")]
    pub fn finish<'env>(&self, env: &'env Env) -> napi::Result<Object<'env>> {
        self.slot.end(env, Decryptor::finish)
    }

    /// Drops the key and all buffered bytes.
    #[napi]
    pub fn release(&self) {
        self.slot.release();
    }
}

/// A file that is being written. It takes one call at a time.
#[napi]
pub struct NativeOutput {
    slot: Arc<JobSlot<Output>>,
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

/// The state of a stream that jobs on the pool work with, one at a time.
struct JobSlot<T>(Mutex<JobSlotState<T>>);

enum JobSlotState<T> {
    /// No job is running.
    Idle(Box<T>),
    /// A job has taken it.
    Busy,
    /// It has ended.
    Ended,
}

impl<T: Send + 'static> JobSlot<T> {
    fn new(stream: T) -> Arc<Self> {
        Arc::new(Self(Mutex::new(JobSlotState::Idle(Box::new(stream)))))
    }

    /// Runs a job with the stream on the pool, and puts the stream back.
    fn work<'env, R: ToNapiValue + Send + 'static>(
        self: &Arc<Self>,
        env: &'env Env,
        job: impl FnOnce(&mut T) -> Result<R> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let slot = self.clone();
        self.take(env, move |mut stream| {
            let done = job(&mut stream);
            slot.put_back(stream);
            done
        })
    }

    /// Runs the last job with the stream on the pool.
    fn end<'env, R: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        job: impl FnOnce(T) -> Result<R> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        self.take(env, move |stream| job(*stream))
    }

    fn release(&self) {
        *self.lock() = JobSlotState::Ended;
    }

    fn take<'env, R: ToNapiValue + Send + 'static>(
        &self,
        env: &'env Env,
        job: impl FnOnce(Box<T>) -> Result<R> + Send + 'static,
    ) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        match self.take_idle() {
            Some(stream) => pool::spawn(move || promise.settle(job(stream))),
            None => promise.settle(Err(Error::new(Code::Closed, "the stream has ended"))),
        }
        Ok(object)
    }

    /// The stream, if no job is running. The lock is released before the job is started, since the
    /// job may run at once.
    fn take_idle(&self) -> Option<Box<T>> {
        let mut state = self.lock();
        match std::mem::replace(&mut *state, JobSlotState::Busy) {
            JobSlotState::Idle(stream) => Some(stream),
            other => {
                *state = other;
                None
            }
        }
    }

    fn put_back(&self, stream: Box<T>) {
        let mut state = self.lock();
        if matches!(*state, JobSlotState::Busy) {
            *state = JobSlotState::Idle(stream);
        }
    }

    fn lock(&self) -> MutexGuard<'_, JobSlotState<T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
