//! The transfer of bytes from JavaScript to the engine.
//!
//! The memory of an array may become invalid between two calls: JavaScript can transfer it to another
//! thread, which frees it, or shrink it. The binding cannot prevent that, so only JavaScript's own
//! thread reads it, within a call: small arrays are copied at the call, larger ones part by part.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use coffer_core::coffer::{Bytes, Data};
use coffer_core::error::{Code, Error, Result};
use napi::Env;
use napi::bindgen_prelude::{Object, Uint8Array};
use napi_derive::napi;

use crate::promise::Promise;

/// The bytes in a feed from which on JavaScript must wait: enough for the largest piece while the next
/// parts come.
const WAITING: usize = 8 << 20;

/// A copy of bytes for the engine.
pub(crate) fn take(bytes: &Uint8Array) -> Data {
    Arc::new(bytes.to_vec())
}

/// A feed: the bytes of a large array on their way to the engine, in order. It serves one change.
#[napi]
pub struct NativeFeed {
    pipe: Arc<Pipe>,
}

#[napi]
impl NativeFeed {
    /// A feed of so many bytes.
    #[napi(constructor)]
    #[allow(clippy::new_without_default)]
    pub fn new(env: &Env, size: f64) -> napi::Result<Self> {
        let pipe = Arc::new(Pipe {
            size: size as usize,
            state: Mutex::new(FeedState::default()),
            changed: Condvar::new(),
        });
        fail_at_exit(env, &pipe)?;
        Ok(Self { pipe })
    }

    /// Copies the next bytes, and resolves when more may follow: with false if no more are needed.
    #[napi(ts_return_type = "Promise<Settled<boolean>>")]
    pub fn push<'env>(&self, env: &'env Env, bytes: Uint8Array) -> napi::Result<Object<'env>> {
        let (promise, object) = Promise::new(env)?;
        self.pipe.push(bytes.to_vec(), promise);
        Ok(object)
    }

    /// Ends the feed early, which fails its change.
    #[napi]
    pub fn fail(&self) {
        self.pipe.fail();
    }
}

impl NativeFeed {
    /// The engine's end.
    pub(crate) fn data(&self) -> Data {
        Arc::new(Fed(self.pipe.clone()))
    }
}

impl Drop for NativeFeed {
    fn drop(&mut self) {
        self.pipe.fail();
    }
}

struct Pipe {
    size: usize,
    state: Mutex<FeedState>,
    /// Notified when bytes come, and when the feed fails.
    changed: Condvar,
}

#[derive(Default)]
struct FeedState {
    parts: VecDeque<Vec<u8>>,
    /// Bytes of the first part that the engine has read.
    taken: usize,
    /// Bytes in all parts that the engine has not read.
    waiting: usize,
    /// Bytes pushed so far, and bytes read so far.
    come: usize,
    gone: usize,
    /// Whether the feed ended early.
    failed: bool,
    /// Whether the engine needs no more.
    over: bool,
    /// Settled when fewer than [`WAITING`] bytes are left.
    room: Option<Promise<bool>>,
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, FeedState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, part: Vec<u8>, promise: Promise<bool>) {
        let mut state = self.lock();
        if state.over || state.failed {
            drop(state);
            return promise.settle(Ok(false));
        }
        state.waiting += part.len();
        state.come += part.len();
        state.parts.push_back(part);
        let full = state.waiting >= WAITING && state.come < self.size;
        let answer = if full { state.room.replace(promise) } else { Some(promise) };
        drop(state);
        self.changed.notify_all();
        if let Some(promise) = answer {
            promise.settle(Ok(true));
        }
    }

    /// Ends the feed early, unless all bytes have come.
    fn fail(&self) {
        let room = {
            let mut state = self.lock();
            if state.come >= self.size {
                return;
            }
            state.failed = true;
            state.room.take()
        };
        self.changed.notify_all();
        if let Some(promise) = room {
            promise.settle(Ok(false));
        }
    }
}

/// The engine's end of a feed. It is read in order, each byte once.
struct Fed(Arc<Pipe>);

impl Bytes for Fed {
    fn size(&self) -> usize {
        self.0.size
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let mut state = self.0.lock();
        if state.gone != offset {
            return Err(Error::new(Code::Aborted, "the bytes of an array are read in order"));
        }
        let mut at = 0;
        while let Some(rest) = into.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let taken = state.taken;
            let Some(part) = state.parts.front().and_then(|part| part.get(taken..)) else {
                if state.failed {
                    return Err(Error::new(
                        Code::Aborted,
                        "the thread that gave these bytes has ended, or taken them back",
                    ));
                }
                state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let count = part.len().min(rest.len());
            if let (Some(to), Some(from)) = (rest.get_mut(..count), part.get(..count)) {
                to.copy_from_slice(from);
            }
            at += count;
            if count == part.len() {
                state.parts.pop_front();
                state.taken = 0;
            } else {
                state.taken += count;
            }
            state.waiting -= count;
            state.gone += count;
        }
        let room = if state.waiting < WAITING { state.room.take() } else { None };
        drop(state);
        if let Some(promise) = room {
            promise.settle(Ok(true));
        }
        Ok(())
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        let room = {
            let mut state = self.0.lock();
            state.over = true;
            state.parts.clear();
            state.room.take()
        };
        if let Some(promise) = room {
            promise.settle(Ok(false));
        }
    }
}

thread_local! {
    /// The feeds of this thread's environment. Node.js runs one environment per thread.
    static FEEDS: RefCell<Option<Vec<Weak<Pipe>>>> = const { RefCell::new(None) };
}

/// At the end of a worker thread, or of the process, the engine may still wait for bytes.
fn fail_at_exit(env: &Env, pipe: &Arc<Pipe>) -> napi::Result<()> {
    FEEDS.with_borrow_mut(|feeds| {
        if feeds.is_none() {
            env.add_env_cleanup_hook((), |()| {
                let feeds = FEEDS.take().unwrap_or_default();
                feeds.iter().filter_map(Weak::upgrade).for_each(|pipe| pipe.fail());
            })?;
        }
        let feeds = feeds.get_or_insert_default();
        feeds.retain(|pipe| pipe.strong_count() > 0);
        feeds.push(Arc::downgrade(pipe));
        Ok(())
    })
}
