//! The clean-up at the end of a JavaScript environment, such as that of a Worker.
//!
//! A Worker that is terminated closes nothing. Node.js drops its objects, and the coffers with them;
//! Deno drops none, and their locks would be held until the process ends. So each environment has a
//! hook that releases the coffers that are open in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use coffer_core::coffer::{Coffer, WeakCoffer};
use coffer_core::error::{Code, Error, Result};
use coffer_core::progress::Cancel;
use napi::Env;

/// The open coffers of each environment, by its address, which is unique among live environments.
static OPEN: Mutex<Option<HashMap<usize, Vec<Handle>>>> = Mutex::new(None);

enum HandleState {
    Opening(Cancel),
    Open(WeakCoffer),
    Ended,
}

/// A coffer that belongs to an environment, from the call that opens it on.
#[derive(Clone)]
pub(crate) struct Handle(Arc<Mutex<HandleState>>);

impl Handle {
    /// Registers a coffer that is being opened. `cancel` cancels that.
    pub(crate) fn new(env: &Env, cancel: Cancel) -> napi::Result<Self> {
        let key = env.raw() as usize;
        let handle = Self(Arc::new(Mutex::new(HandleState::Opening(cancel))));
        let mut open = locked(&OPEN);
        let open = open.get_or_insert_default();
        if !open.contains_key(&key) {
            env.add_env_cleanup_hook(key, end)?;
        }
        let handles = open.entry(key).or_default();
        handles.retain(|handle| !handle.is_gone());
        handles.push(handle.clone());
        Ok(handle)
    }

    /// Registers the result of opening.
    pub(crate) fn opened(&self, opened: Result<Coffer>) -> Result<Coffer> {
        let mut state = locked(&self.0);
        match (&*state, opened) {
            (HandleState::Opening(_), Ok(coffer)) => {
                *state = HandleState::Open(coffer.downgrade());
                Ok(coffer)
            }
            (_, Ok(coffer)) => {
                coffer.abandon();
                Err(Error::new(Code::Aborted, "the environment has ended"))
            }
            (_, failed) => {
                *state = HandleState::Ended;
                failed
            }
        }
    }

    /// Whether there is nothing to release.
    fn is_gone(&self) -> bool {
        match &*locked(&self.0) {
            HandleState::Opening(_) => false,
            HandleState::Open(coffer) => coffer.upgrade().is_none(),
            HandleState::Ended => true,
        }
    }

    fn end(&self) {
        match std::mem::replace(&mut *locked(&self.0), HandleState::Ended) {
            HandleState::Opening(cancel) => cancel.cancel(),
            HandleState::Open(coffer) => {
                if let Some(coffer) = coffer.upgrade() {
                    coffer.abandon();
                }
            }
            HandleState::Ended => {}
        }
    }
}

/// Releases all coffers that are open in an environment that ends.
fn end(key: usize) {
    let handles = locked(&OPEN).as_mut().and_then(|open| open.remove(&key));
    handles.into_iter().flatten().for_each(|handle| handle.end());
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
