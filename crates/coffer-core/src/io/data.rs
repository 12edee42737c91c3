//! Bytes of a caller, which may still be arriving.

use std::sync::Arc;

use zeroize::Zeroizing;

use crate::error::{Code, Error, Result};

/// Bytes of a caller. Those of a large member are copied piece by piece, in order and each once, on
/// the thread that writes: they may still be arriving.
pub trait Bytes: Send + Sync {
    /// How many there are.
    fn size(&self) -> usize;

    /// Copies the bytes from `offset` on into all of `into`.
    ///
    /// # Errors
    /// [`Code::Aborted`] if they will never come.
    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()>;

    /// A copy of all of them, wiped when it is dropped.
    ///
    /// # Errors
    /// As [`Self::copy_to`].
    fn copied(&self) -> Result<Zeroizing<Vec<u8>>> {
        let mut copy = Zeroizing::new(vec![0; self.size()]);
        self.copy_to(0, &mut copy)?;
        Ok(copy)
    }
}

impl<T: AsRef<[u8]> + Send + Sync> Bytes for T {
    fn size(&self) -> usize {
        self.as_ref().len()
    }

    fn copy_to(&self, offset: usize, into: &mut [u8]) -> Result<()> {
        let bytes = self.as_ref().get(offset..).and_then(|rest| rest.get(..into.len()));
        into.copy_from_slice(
            bytes.ok_or_else(|| Error::new(Code::InvalidArg, "there are fewer bytes"))?,
        );
        Ok(())
    }
}

/// Shared bytes of a caller.
pub type Data = Arc<dyn Bytes>;
