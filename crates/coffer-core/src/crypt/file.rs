//! From file to file.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use super::Cryptor;
use crate::error::{Code, Error, Result};
use crate::pool;
use crate::storage::{Directory, DiskDirectory, NewFile};
use crate::tree::Own;
use crate::watch::{Report, Watch};

/// The most that is read at once, but for pieces that are larger than a quarter of it.
const MAX_PART: usize = 32 << 20;

/// Two files: one is read, the other takes its place when all is done.
struct Transfer<'a> {
    from: File,
    source: &'a Path,
    into: NewFile,
    target: &'a Path,
    replace: bool,
    read: u64,
    written: u64,
    total: Option<u64>,
    watch: &'a Watch,
}

impl Cryptor {
    /// Encrypts a file into another, which appears when it is whole. With `replace` it may take the
    /// place of one that is there. The watch hears of the bytes read. Not for a thread of the pool.
    ///
    /// # Errors
    /// [`Code::Exists`], [`Code::InvalidArg`] if the target is there and no file, or the coffer,
    /// [`Code::Limit`], [`Code::Aborted`], [`Code::Io`]. The target is then as it was.
    pub fn encrypt_file(
        &self,
        source: &Path,
        target: &Path,
        replace: bool,
        watch: &Watch,
    ) -> Result<()> {
        Own::of(&self.coffer).spare(target)?;
        let mut transfer = Transfer::begin(source, target, replace, watch)?;
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
        watch: &Watch,
    ) -> Result<()> {
        Own::of(&self.coffer).spare(target)?;
        let mut transfer = Transfer::begin(source, target, replace, watch)?;
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

    /// A buffer that holds enough to keep the pool busy.
    fn part(&self) -> Zeroizing<Vec<u8>> {
        let len = (pool::window() * self.piece).min(MAX_PART).max(4 * self.piece);
        Zeroizing::new(vec![0; len])
    }
}

impl<'a> Transfer<'a> {
    fn begin(source: &'a Path, target: &'a Path, replace: bool, watch: &'a Watch) -> Result<Self> {
        let from = File::open(source).map_err(|e| Error::io("open", source, &e))?;
        let about = from.metadata().map_err(|e| Error::io("fstat", source, &e))?;
        match std::fs::metadata(target) {
            // A device or a pipe would be replaced, not written to.
            Ok(found) if !found.is_file() => {
                let message =
                    format!("{} is not a file: take a stream to write there", target.display());
                return Err(Error::new(Code::InvalidArg, message).at(target));
            }
            Ok(_) if !replace => return Err(exists(target)),
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(Error::io("stat", target, &e)),
            _ => {}
        }
        let directory: Arc<dyn Directory> = Arc::new(DiskDirectory);
        let into =
            NewFile::create(&directory, target).map_err(|e| Error::io("open", target, &e))?;
        let total = about.is_file().then_some(about.len());
        Ok(Self { from, source, into, target, replace, read: 0, written: 0, total, watch })
    }

    /// The next bytes of the source, as many as fit unless it ends. At the end there are none.
    fn read<'b>(&mut self, part: &'b mut [u8]) -> Result<&'b [u8]> {
        self.watch.cancel.check()?;
        self.watch.report(|| Report {
            bytes: self.read,
            total_bytes: self.total,
            ..Report::default()
        });
        let mut have = 0;
        while have < part.len() {
            match self.from.read(&mut part[have..]) {
                Ok(0) => break,
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(Error::io("read", self.source, &e)),
            }
        }
        self.read += have as u64;
        Ok(&part[..have])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        // A little that is read may decompress to much.
        self.watch.cancel.check()?;
        let storage = self.into.storage();
        storage.write_at(bytes, self.written).map_err(|e| Error::io("write", self.target, &e))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Gives the new file its name.
    fn finish(self) -> Result<()> {
        self.watch.cancel.check()?;
        let names = self.into.publish(self.replace).map_err(|e| match e.kind() {
            ErrorKind::AlreadyExists => exists(self.target),
            _ => Error::io("rename", self.target, &e),
        })?;
        names.sync().map_err(|e| Error::io("fsync", self.target, &e))
    }
}

fn exists(target: &Path) -> Error {
    let message = format!("there is a file at {} already: pass replace: true", target.display());
    Error::new(Code::Exists, message).at(target)
}
