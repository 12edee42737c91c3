//! The derivation of keys from a passphrase and a salt that the caller keeps.

use coffer_core::crypto::kdf::{DerivedKeys, Kdf, SALT_LEN, derive};
use coffer_core::error::{Code, Error};
use coffer_core::io::pool;
use coffer_core::progress::Cancel;
use napi::Env;
use napi::bindgen_prelude::{Buffer, Object, Uint8Array};
use napi_derive::napi;

use crate::options::{NativeKdf, passphrase};
use crate::promise::Promise;

/// The keys derived from a passphrase. The facade zeroes them.
#[napi(object)]
pub struct NativeDerivedKeys {
    /// The container's key.
    pub coffer_key: Buffer,
    /// The members' key.
    pub secure_key: Buffer,
}

impl From<DerivedKeys> for NativeDerivedKeys {
    fn from(keys: DerivedKeys) -> Self {
        Self {
            coffer_key: keys.coffer.as_bytes().into(),
            secure_key: keys.secure.as_bytes().into(),
        }
    }
}

/// Derives keys, on a thread of its own, since the cost may be high.
#[napi(ts_return_type = "Promise<Settled<NativeDerivedKeys>>")]
pub fn derive_keys(
    env: &Env,
    secret: Uint8Array,
    salt: Uint8Array,
    kdf: NativeKdf,
) -> napi::Result<Object<'_>> {
    let (promise, object) = Promise::new(env)?;
    let asked = passphrase(secret).and_then(|secret| {
        let salt = <[u8; SALT_LEN]>::try_from(&*salt)
            .map_err(|_| Error::new(Code::InvalidArg, "a salt has 16 bytes"))?;
        Ok((secret, salt, kdf.into_core().over(Kdf::DEFAULT)?))
    });
    pool::thread(move |started| {
        let keys = started
            .and(asked)
            .and_then(|(secret, salt, kdf)| derive(&secret, salt, kdf, &Cancel::default()));
        promise.settle(keys.map(NativeDerivedKeys::from));
    });
    Ok(object)
}
