//! Watching a long call from outside: its progress, and a way to stop it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Code, Error, Result};

/// Asks a call to stop at its next safe point. Clones share the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Asks.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether somebody asked.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// An error if somebody asked.
    ///
    /// # Errors
    /// [`Code::Aborted`].
    pub fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(Code::Aborted, "the call was aborted"));
        }
        Ok(())
    }
}

/// How far a call has come.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Bytes of members done.
    pub bytes: u64,
    /// Bytes of members in all, where that is known.
    pub total_bytes: Option<u64>,
    /// Members done.
    pub members: u64,
    /// The member at hand.
    pub name: Option<String>,
}

/// Hears how far a call has come. Called from the core's threads, often: be quick.
pub trait Progress: Send + Sync {
    /// Something more is done.
    fn advance(&self, report: Report);
}

/// What a long call is given by whoever watches it.
#[derive(Clone, Default)]
pub struct CallObserver {
    /// Stops the call.
    pub cancel: Cancel,
    /// Hears how far it is, if anybody listens.
    pub progress: Option<Arc<dyn Progress>>,
}

impl CallObserver {
    /// Nobody watches.
    #[must_use]
    pub fn silent() -> Self {
        Self::default()
    }

    /// Tells whoever listens.
    pub fn report(&self, report: impl FnOnce() -> Report) {
        if let Some(progress) = &self.progress {
            progress.advance(report());
        }
    }
}
