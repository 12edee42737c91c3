//! Small members that cross into the engine together: one call and one promise for many of them.

use coffer_core::coffer::{Change, Outcome, PackedMembers};
use coffer_core::error::{Error, Result};
use napi::Env;
use napi::bindgen_prelude::{BigInt, Object, Uint8Array};
use napi_derive::napi;

use crate::coffer::NativeCoffer;
use crate::promise::{Failure, unexpected};

/// A member among many that was not written.
#[napi(object)]
pub struct NativeUnwritten {
    /// Its position, from 0 on.
    pub index: u32,
    /// The reason.
    pub failure: Failure,
}

#[napi]
impl NativeCoffer {
    /// Creates or replaces small members in their order, and resolves with those that failed. `packed` has
    /// them one behind the other: see the engine's `PackedMembers`.
    #[napi(ts_return_type = "Promise<Settled<NativeUnwritten[]>>")]
    pub fn write_many<'env>(
        &self,
        env: &'env Env,
        batch: Option<BigInt>,
        packed: Uint8Array,
    ) -> napi::Result<Object<'env>> {
        let members = PackedMembers::from(packed.to_vec());
        self.submit(env, batch, Change::WriteMany { members }, unwritten)
    }
}

fn unwritten(outcome: Outcome) -> Result<Vec<NativeUnwritten>> {
    let Outcome::Wrote(failures) = outcome else { return Err(unexpected()) };
    let one = |(index, error): (usize, Error)| NativeUnwritten {
        index: u32::try_from(index).unwrap_or(u32::MAX),
        failure: error.into(),
    };
    Ok(failures.into_iter().map(one).collect())
}
