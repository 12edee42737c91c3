//! Members in pages of columns: an object with properties for each of a million members would hold
//! JavaScript's thread for seconds.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use coffer_core::coffer::Member;
use napi::bindgen_prelude::{BigInt64Array, Float64Array};
use napi_derive::napi;

/// The most members in a page: converting them takes JavaScript's thread about two milliseconds.
const PAGE: usize = 2048;
/// The number in the last column of a directory is larger by this than its mode.
const DIRECTORY: f64 = 4_294_967_296.0;
/// Seconds from which on a JavaScript number may be inexact.
const ROUNDED: u64 = 1 << 53;

/// Some members, in the order of their names.
#[napi(object, object_from_js = false)]
pub struct NativePage {
    /// The names.
    pub names: Vec<String>,
    /// Five numbers for each: its bytes, its bytes in the coffer, the seconds and nanoseconds of its time, and
    /// its permission bits, to which 2^32 is added for a directory.
    pub numbers: Float64Array,
    /// The seconds of all, if some of `numbers` may not hold them exactly.
    pub exact: Option<BigInt64Array>,
}

/// What a query has found, page by page.
#[napi]
#[derive(Default)]
pub struct NativePages(Mutex<VecDeque<Page>>);

/// The columns of a page.
#[derive(Default)]
struct Page {
    /// The names, with NUL behind each, which is in none.
    names: String,
    numbers: Vec<f64>,
    seconds: Vec<i64>,
}

#[napi]
impl NativePages {
    /// The next page, in which there is a member at least; null behind the last one.
    #[napi]
    pub fn next(&self) -> Option<NativePage> {
        let Page { names, numbers, seconds } = self.lock().pop_front()?;
        let inexact = seconds.iter().any(|seconds| seconds.unsigned_abs() >= ROUNDED);
        Some(NativePage {
            names: names.split_terminator('\0').map(str::to_owned).collect(),
            numbers: numbers.into(),
            exact: inexact.then(|| seconds.into()),
        })
    }
}

impl NativePages {
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Page>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn push(&mut self, member: &Member) {
        let pages = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        if pages.back().is_none_or(|page| page.seconds.len() >= PAGE) {
            pages.push_back(Page::default());
        }
        let Some(page) = pages.back_mut() else { return };
        page.names.push_str(&member.name);
        page.names.push('\0');
        let directory = if member.member_type.is_directory() { DIRECTORY } else { 0.0 };
        page.numbers.extend([
            member.size as f64,
            member.stored_size as f64,
            member.mtime_s as f64,
            f64::from(member.mtime_ns),
            f64::from(member.mode) + directory,
        ]);
        page.seconds.push(member.mtime_s);
    }
}
