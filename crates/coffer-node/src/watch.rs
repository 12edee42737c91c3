//! The progress and cancellation of a long call.
//!
//! JavaScript polls the progress, so reports are not queued and the engine never waits for JavaScript.

use std::sync::{Arc, Mutex, PoisonError};

use coffer_core::progress::{CallObserver, Cancel, Progress, Report};
use napi_derive::napi;

/// The progress of a call.
#[napi(object)]
pub struct NativeProgress {
    /// Bytes of members done.
    pub bytes: f64,
    /// Bytes of members in all, where that is known.
    pub total_bytes: Option<f64>,
    /// Members done.
    pub members: f64,
    /// The member in progress.
    pub name: Option<String>,
}

/// The newest report that JavaScript has not polled yet.
#[derive(Default)]
struct Latest(Mutex<Option<Report>>);

impl Latest {
    fn take(&self) -> Option<Report> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Progress for Latest {
    fn advance(&self, report: Report) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(report);
    }
}

/// The cancellation flag and the progress of one call.
#[napi]
#[derive(Default)]
pub struct NativeWatch {
    cancel: Cancel,
    latest: Arc<Latest>,
}

#[napi]
impl NativeWatch {
    /// A watch for one call.
    #[napi(constructor)]
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the call to stop at its next safe point.
    #[napi]
    pub fn cancel(&self) {
        self.cancel.cancel();
    }

    /// The newest progress, unless it was taken before.
    #[napi]
    #[must_use]
    pub fn take_progress(&self) -> Option<NativeProgress> {
        self.latest.take().map(|report| NativeProgress {
            bytes: report.bytes as f64,
            total_bytes: report.total_bytes.map(|bytes| bytes as f64),
            members: report.members as f64,
            name: report.name,
        })
    }
}

impl NativeWatch {
    /// The cancellation flag.
    pub(crate) fn cancel_flag(&self) -> Cancel {
        self.cancel.clone()
    }

    /// The observer for a long call.
    pub(crate) fn watch(&self) -> CallObserver {
        CallObserver { cancel: self.cancel.clone(), progress: Some(self.latest.clone()) }
    }
}
