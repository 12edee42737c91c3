//! Bytes that JavaScript gives to the engine.

use std::cell::RefCell;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use coffer_core::coffer::{Bytes, Data};
use coffer_core::error::{Code, Error, Result};
use napi::Env;
use napi::bindgen_prelude::Uint8Array;

/// Up to this size bytes are copied at the call, so that the caller may reuse its buffer at once.
/// Larger ones stay where they are and are copied piece by piece by the engine's threads.
const COPY_LIMIT: usize = 1024 * 1024;

/// Takes over bytes for the engine.
pub(crate) fn take(env: &Env, bytes: Uint8Array) -> napi::Result<Data> {
    if bytes.len() <= COPY_LIMIT {
        return Ok(Arc::new(bytes.to_vec()));
    }
    let held = Arc::new(Held { size: bytes.len(), bytes: RwLock::new(Some(bytes)) });
    revoke_at_exit(env, &held)?;
    Ok(held)
}

/// JavaScript's memory, which goes away with its environment: at the end of a worker thread, or
/// of the process, the engine may still be reading.
struct Held {
    size: usize,
    bytes: RwLock<Option<Uint8Array>>,
}

impl Held {
    /// Waits for the piece being copied, and lets nobody read after it.
    fn revoke(&self) {
        self.bytes.write().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Bytes for Held {
    fn size(&self) -> usize {
        self.size
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let bytes = self.bytes.read().unwrap_or_else(PoisonError::into_inner);
        let piece = bytes
            .as_ref()
            .and_then(|bytes| bytes.get(offset..offset.checked_add(into.len())?))
            .ok_or_else(|| {
                Error::new(Code::Aborted, "the thread that gave these bytes has ended")
            })?;
        into.copy_from_slice(piece);
        Ok(())
    }
}

thread_local! {
    /// What this thread's environment has lent out. Node.js runs one environment per thread.
    static LENT: RefCell<Option<Vec<Weak<Held>>>> = const { RefCell::new(None) };
}

fn revoke_at_exit(env: &Env, held: &Arc<Held>) -> napi::Result<()> {
    LENT.with_borrow_mut(|lent| {
        if lent.is_none() {
            env.add_env_cleanup_hook((), |()| {
                let lent = LENT.take().unwrap_or_default();
                lent.iter().filter_map(Weak::upgrade).for_each(|held| held.revoke());
            })?;
        }
        let lent = lent.get_or_insert_default();
        lent.retain(|held| held.strong_count() > 0);
        lent.push(Arc::downgrade(held));
        Ok(())
    })
}
