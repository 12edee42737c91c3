//! The progress of a long call, and its cancellation.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Code, Error, Result};

/// A flag that asks a call to stop at its next safe point. Clones share the same flag.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// Sets the flag.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether the flag is set.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }

    /// Fails if the flag is set.
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
    /// The member in progress.
    pub name: Option<String>,
}

/// A receiver of progress reports. It is called from the core's threads, often: be quick.
pub trait Progress: Send + Sync {
    /// Takes the newest report.
    fn advance(&self, report: Report);
}

/// What a caller passes to a long call: its cancellation flag, and where its progress goes.
#[derive(Clone, Default)]
pub struct CallObserver {
    /// Stops the call.
    pub cancel: Cancel,
    /// Receives the call's progress; `None` if it is not wanted.
    pub progress: Option<Arc<dyn Progress>>,
}

impl CallObserver {
    /// An observer that neither cancels nor receives progress.
    #[must_use]
    pub fn silent() -> Self {
        Self::default()
    }

    /// Reports progress, if it is wanted.
    pub fn report(&self, report: impl FnOnce() -> Report) {
        if let Some(progress) = &self.progress {
            progress.advance(report());
        }
    }
}
