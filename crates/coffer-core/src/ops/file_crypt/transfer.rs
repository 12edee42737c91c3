//! From file to file.

use std::path::Path;

use zeroize::Zeroizing;

use crate::error::Result;
use crate::io::input::Input;
use crate::io::output::Output;
use crate::io::pool;
use crate::io::protected_paths::ProtectedPaths;
use crate::ops::file_crypt::Cryptor;
use crate::progress::{CallObserver, Report};

/// The most that is read at once, but for pieces that are larger than a quarter of it.
const MAX_PART: usize = 32 << 20;

/// Two files: one is read, the other takes its place when all is done.
struct Transfer<'a> {
    from: Input,
    into: Output,
    read: u64,
    watch: &'a CallObserver,
}

impl Cryptor {
    /// Encrypts a file into another, which appears when it is whole. With `replace` it may take the
    /// place of one that is there. The watch hears of the bytes read. Not for a thread of the pool.
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

    /// Decrypts a file into another, which appears when all of it has been checked. Otherwise as
    /// [`Self::encrypt_file`]; for `legacy` see [`Self::decryptor`].
    ///
    /// # Errors
    /// As [`Self::encrypt_file`] and [`Decryptor`](super::Decryptor).
    pub fn decrypt_file(
        &self,
        source: &Path,
        target: &Path,
        legacy: bool,
        replace: bool,
        watch: &CallObserver,
    ) -> Result<()> {
        let from = Input::open(source)?;
        let mut transfer = Transfer { from, into: self.output(target, replace)?, read: 0, watch };
        let mut decryptor = self.decryptor(legacy)?;
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

    /// Begins a file that something encrypted or decrypted with this is written to, part by part. It
    /// appears when it is whole. With `replace` it may take the place of one that is there.
    ///
    /// # Errors
    /// As [`Self::encrypt_file`].
    pub fn output(&self, target: &Path, replace: bool) -> Result<Output> {
        Output::create(target, replace, &ProtectedPaths::of(&self.coffer, None))
    }

    /// A buffer that holds enough to keep the pool busy.
    fn part(&self) -> Zeroizing<Vec<u8>> {
        let len = (pool::window() * self.piece).min(MAX_PART).max(4 * self.piece);
        Zeroizing::new(vec![0; len])
    }
}

impl Transfer<'_> {
    /// The next bytes of the source, as many as fit unless it ends. At the end there are none.
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
        // A little that is read may decompress to much.
        self.watch.cancel.check()?;
        self.into.write(bytes)
    }

    /// Gives the new file its name.
    fn finish(self) -> Result<()> {
        self.watch.cancel.check()?;
        self.into.finish()
    }
}
