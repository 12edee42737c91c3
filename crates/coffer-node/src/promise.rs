//! Promises that are settled from the engine's threads.
//!
//! A promise made here never rejects. It resolves with `[failure, value]`, one of them null, and
//! the facade throws: an error raised across threads would lose everything but its message.

use std::cell::Cell;

use coffer_core::coffer::Outcome;
use coffer_core::error::{Code, Error, Result};
use napi::bindgen_prelude::{BigInt, Object, ToNapiValue};
use napi::{Env, JsDeferred};
use napi_derive::napi;

use crate::errno::node_errno;

/// Why a call failed, as plain data.
#[napi(object)]
pub struct Failure {
    /// The stable code, such as `ERR_COFFER_LOCKED`.
    pub code: String,
    /// What happened, where, and what to do.
    pub message: String,
    /// The file that the error is about.
    pub path: Option<String>,
    /// The member that the error is about.
    pub member: Option<String>,
    /// The operating system's error number as Node.js has it, negative.
    pub errno: Option<i32>,
    /// The call that failed.
    pub syscall: Option<String>,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            code: error.code().as_str().to_owned(),
            message: error.message().to_owned(),
            path: error.path().map(|path| path.to_string_lossy().into_owned()),
            member: error.member().map(str::to_owned),
            errno: error.errno().map(node_errno),
            syscall: error.syscall().map(str::to_owned),
        }
    }
}

/// How many calls in a row are answered synchronously before one goes through the event loop, so
/// that a loop of such calls does not starve it: about a millisecond's work.
const AT_ONCE: u32 = 64;

thread_local! {
    /// How many synchronous answers this thread has given since its event loop turned.
    static GIVEN: Cell<u32> = const { Cell::new(0) };
}

/// What every promise resolves with.
pub(crate) type Settled<T> = (Option<Failure>, Option<T>);
type Resolver<T> = Box<dyn FnOnce(Env) -> napi::Result<Settled<T>> + Send>;

/// The engine's end of a promise. May be settled on any thread, also after the JavaScript
/// environment is gone; one that is dropped unsettled reports a failure instead of hanging.
pub(crate) struct Promise<T: ToNapiValue + Send + 'static>(
    Option<JsDeferred<Settled<T>, Resolver<T>>>,
);

impl<T: ToNapiValue + Send + 'static> Promise<T> {
    /// Both ends of a new promise: the engine's, and JavaScript's.
    pub(crate) fn new(env: &Env) -> napi::Result<(Self, Object<'_>)> {
        let (deferred, promise) = env.create_deferred()?;
        Ok((Self(Some(deferred)), promise))
    }

    /// A promise of something that failed before it began.
    pub(crate) fn failed(env: &Env, error: Error) -> napi::Result<Object<'_>> {
        let (promise, object) = Self::new(env)?;
        promise.settle(Err(error));
        Ok(object)
    }

    /// Hands over the outcome.
    pub(crate) fn settle(mut self, outcome: Result<T>) {
        self.resolve(outcome);
    }

    fn resolve(&mut self, outcome: Result<T>) {
        if let Some(deferred) = self.0.take() {
            let settled = match outcome {
                Ok(value) => (None, Some(value)),
                Err(error) => (Some(error.into()), None),
            };
            deferred.resolve(Box::new(move |_| {
                GIVEN.set(0);
                Ok(settled)
            }));
        }
    }
}

/// An answer that needs no promise, unless it is time for the event loop to turn.
pub(crate) fn at_once<T>(answer: impl FnOnce() -> Option<T>) -> Option<Settled<T>> {
    let given = GIVEN.get();
    let answer = if given < AT_ONCE { answer() } else { None }?;
    GIVEN.set(given + 1);
    Some((None, Some(answer)))
}

impl<T: ToNapiValue + Send + 'static> Drop for Promise<T> {
    fn drop(&mut self) {
        self.resolve(Err(Error::new(
            Code::Poisoned,
            "the engine gave up this call because of an internal error: reopen the coffer",
        )));
    }
}

pub(crate) fn done(_: Outcome) -> Result<()> {
    Ok(())
}

pub(crate) fn whole(number: BigInt) -> u64 {
    number.get_u64().1
}

pub(crate) fn unexpected() -> Error {
    Error::new(Code::Poisoned, "the engine returned a result of another call: reopen the coffer")
}
