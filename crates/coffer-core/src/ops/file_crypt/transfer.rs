//! Encryption and decryption of a file into another one.

use std::path::Path;

use zeroize::Zeroizing;

#[cfg(doc)]
use crate::error::Code;
use crate::error::Result;
use crate::io::input::Input;
use crate::io::output::Output;
use crate::io::pool;
use crate::io::protected_paths::ProtectedPaths;
use crate::ops::file_crypt::Cryptor;
use crate::progress::{CallObserver, Report};

/// The most bytes that are read at once, unless a piece has more than a quarter of them.
const MAX_PART: usize = 32 << 20;

/// The options of decrypting a file into another one.
#[derive(Debug, Clone, Copy, Default)]
pub struct DecryptOptions {
    /// Whether a file in PyCoffer's form is accepted, in which nothing authenticates the order and the
    /// number of the chunks.
    pub legacy: bool,
    /// Whether the target may replace a file.
    pub replace: bool,
}

/// A transfer under way: the file that is read, and the one that is written, which takes its name at
/// the end.
struct Transfer<'a> {
    from: Input,
    into: Output,
    /// Bytes read so far.
    read: u64,
    watch: &'a CallObserver,
}

impl Cryptor {
    /// Encrypts a file into another one, which appears when it is whole, and replaces a file only with
    /// `replace`. Progress counts the bytes that were read. Not for a thread of the pool.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::InvalidArg`] if the source is no file and no pipe, the target is
    /// there and no file, or it is the coffer, [`Code::Limit`], [`Code::Aborted`], [`Code::Io`]. The
    /// target is then as it was.
    pub fn encrypt_file(
        &self,
        source: &Path,
        target: &Path,
        replace: bool,
        watch: &CallObserver,
    ) -> Result<()> {
        let from = Input::open(source)?;
        let mut transfer = Transfer { from, into: self.output(target, replace)?, read: 0, watch };
        let mut encryptor = self.encryptor();
        let mut part = self.part();
        loop {
            let bytes = transfer.read(&mut part)?;
            if bytes.is_empty() {
                break;
            }
            transfer.write(&encryptor.push(bytes)?)?;
        }
        transfer.write(&encryptor.finish()?)?;
        transfer.finish()
    }

    /// Decrypts a file into another one, which appears when all of it has been checked. Otherwise as
    /// [`Self::encrypt_file`].
    ///
    /// # Errors
    /// As [`Self::encrypt_file`] and [`Decryptor`](super::Decryptor).
    pub fn decrypt_file(
        &self,
        source: &Path,
        target: &Path,
        options: DecryptOptions,
        watch: &CallObserver,
    ) -> Result<()> {
        let from = Input::open(source)?;
        let into = self.output(target, options.replace)?;
        let mut transfer = Transfer { from, into, read: 0, watch };
        let mut decryptor = self.decryptor(options.legacy)?;
        let mut part = self.part();
        loop {
            let bytes = transfer.read(&mut part)?;
            if bytes.is_empty() {
                break;
            }
            decryptor.push(bytes).map_err(|e| e.at(source))?;
            loop {
                let plain = Zeroizing::new(decryptor.pull().map_err(|e| e.at(source))?);
                if plain.is_empty() {
                    break;
                }
                transfer.write(&plain)?;
            }
        }
        decryptor.finish().map_err(|e| e.at(source))?;
        transfer.finish()
    }

    /// Begins a file for encrypted or decrypted bytes, which are written to it in parts. It appears
    /// when it is finished, and replaces a file only with `replace`. It must not be the coffer itself.
    ///
    /// # Errors
    /// As [`Self::encrypt_file`].
    pub fn output(&self, target: &Path, replace: bool) -> Result<Output> {
        Output::create(target, replace, &ProtectedPaths::of(&self.coffer, None))
    }

    /// A buffer with room for enough pieces to keep the pool busy.
    fn part(&self) -> Zeroizing<Vec<u8>> {
        let len = (pool::window() * self.piece).min(MAX_PART).max(4 * self.piece);
        Zeroizing::new(vec![0; len])
    }
}

impl Transfer<'_> {
    /// The next bytes of the source, as many as fit unless it ends; none at its end.
    fn read<'b>(&mut self, part: &'b mut [u8]) -> Result<&'b [u8]> {
        self.watch.cancel.check()?;
        self.watch.report(|| Report {
            bytes: self.read,
            total_bytes: self.from.size(),
            ..Report::default()
        });
        let have = self.from.read(part, &self.watch.cancel)?;
        self.read += have as u64;
        Ok(&part[..have])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        // A few bytes that were read may decompress to many.
        self.watch.cancel.check()?;
        self.into.write(bytes)
    }

    /// Gives the new file its name.
    fn finish(self) -> Result<()> {
        self.watch.cancel.check()?;
        self.into.finish()
    }
}
