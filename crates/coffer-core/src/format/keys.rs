//! The keys of a coffer, and which layers need them.

use crate::crypto::key::Key;
use crate::error::{Code, Error, Result};
use crate::format::kind::Kind;
use crate::format::record::MetaSeal;

/// The keys of a coffer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Keys {
    /// For the container.
    pub(crate) coffer: Option<Key>,
    /// For the members.
    pub(crate) secure: Option<Key>,
    /// Whether they are derived from a passphrase, not given by the caller.
    pub(crate) derived: bool,
}

impl Keys {
    /// The key that Coffer's own records and the key check are derived from.
    pub(crate) fn root(&self, kind: &Kind) -> Option<&Key> {
        if kind.container.cipher.is_some() {
            self.coffer.as_ref()
        } else if kind.member.cipher.is_some() {
            self.secure.as_ref()
        } else {
            None
        }
    }

    /// Checks that the keys the layers need are there and have a length that fits.
    pub(crate) fn check(&self, kind: &Kind) -> Result<()> {
        for (layer, key, name) in
            [(kind.container, &self.coffer, "cofferKey"), (kind.member, &self.secure, "secureKey")]
        {
            let Some(cipher) = layer.cipher else { continue };
            let key = key.as_ref().ok_or_else(|| {
                Error::new(
                    Code::InvalidArg,
                    format!("{name} is missing: a {} coffer needs it", kind.name.as_str()),
                )
            })?;
            cipher.check_len(key)?;
        }
        Ok(())
    }

    /// The seal of the bodies of records in a coffer of this kind.
    pub(crate) fn meta(&self, kind: &Kind) -> MetaSeal {
        MetaSeal::new(self.root(kind))
    }
}
