//! The decryptor: from an encrypted file to its plaintext.

use std::collections::VecDeque;

use zeroize::Zeroizing;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};

use crate::crypto::key;
use crate::error::{Code, Error, Result};
use crate::format::chunk::{self, Chunk, MAX_SEALED};
use crate::format::encrypted_file::{FileId, FileKey, FileTail, damaged};
use crate::format::record::{self, FILE_HEAD_TAG};
use crate::io::pool;

/// Bytes of a chunk's length field, which stands before its mark.
const LENGTH: usize = 4;

/// The most bytes that one [`Decryptor::pull`] returns: 1 MiB.
pub const MAX_PULL: usize = 1 << 20;

/// Decrypts one file that is given in parts of any size.
///
/// Give it a part with [`push`](Self::push), take its plaintext with [`pull`](Self::pull) until there
/// is none, and at the end of the file call [`finish`](Self::finish). Each byte that is pulled was
/// encrypted with this key. That all of them are one file, whole and in order, is certain only when
/// `finish` has returned.
pub struct Decryptor {
    key: FileKey,
    legacy: bool,
    /// The form of the file; `None` before its first chunk was read.
    form: Option<FileForm>,
    /// Bytes of the file that are no whole chunk yet.
    input: Vec<u8>,
    /// The offset in the file at which they begin.
    offset: u64,
    frames: Frames,
}

/// The form of an encrypted file.
enum FileForm {
    /// Coffer's, with a head, and with a tail once it was read.
    Framed { id: FileId, hasher: Box<blake3::Hasher>, tail: Option<FileTail> },
    /// PyCoffer's, without either.
    Legacy,
}

impl Decryptor {
    pub(super) fn new(key: FileKey, legacy: bool) -> Result<Self> {
        let frames = Frames::new()?;
        Ok(Self { key, legacy, form: None, input: Vec::new(), offset: 0, frames })
    }

    /// Takes the next part of the file. Its chunks are opened in parallel, so memory grows with the
    /// part, and not with what it decompresses to.
    ///
    /// # Errors
    /// [`Code::Legacy`], [`Code::Version`], [`Code::WrongKind`], [`Code::WrongKey`],
    /// [`Code::Corrupt`]. After an error the file, and all that was pulled of it, must be discarded.
    pub fn push(&mut self, bytes: &[u8]) -> Result<()> {
        self.input.extend_from_slice(bytes);
        let input = std::mem::take(&mut self.input);
        let used = self.take(&input)?;
        self.input = input;
        self.input.drain(..used);
        self.offset += used as u64;
        Ok(())
    }

    /// The next plaintext, at most [`MAX_PULL`] bytes; empty when more of the file is needed.
    ///
    /// # Errors
    /// [`Code::Corrupt`].
    pub fn pull(&mut self) -> Result<Vec<u8>> {
        self.frames.pull()
    }

    /// Takes the end of the file, after everything was pulled.
    ///
    /// # Errors
    /// [`Code::Corrupt`] if what was pulled is not the whole file and nothing else.
    pub fn finish(self) -> Result<()> {
        let Some(form) = self.form else {
            return Err(if self.input.is_empty() {
                damaged("there is nothing in it")
            } else {
                foreign()
            });
        };
        if matches!(form, FileForm::Legacy) && self.offset == 0 {
            return Err(foreign());
        }
        if !self.input.is_empty() || !self.frames.complete() {
            return Err(damaged("it is cut short"));
        }
        let FileForm::Framed { id, hasher, tail } = form else {
            return if self.frames.any { Ok(()) } else { Err(damaged("there is nothing in it")) };
        };
        let Some(tail) = tail else { return Err(damaged("it is cut short")) };
        let whole = tail.id == id
            && tail.length == self.frames.length
            && key::same(&tail.digest, hasher.finalize().as_bytes());
        if whole { Ok(()) } else { Err(damaged("chunks of it were moved, dropped or repeated")) }
    }

    /// Takes whole chunks off the beginning of `input`, and gives their length in bytes.
    fn take(&mut self, input: &[u8]) -> Result<usize> {
        let start = match &self.form {
            None => self.begin(input)?,
            Some(FileForm::Framed { tail: Some(_), .. }) if !input.is_empty() => {
                return Err(damaged("something follows its end"));
            }
            Some(_) => 0,
        };
        if self.form.is_none() {
            return Ok(0);
        }
        let mut used = start;
        let mut chunks = Vec::new();
        let mut tail_at = None;
        while tail_at.is_none()
            && let Some(chunk) = whole_chunk(&input[used..], self.offset + used as u64)?
        {
            let at = self.offset + used as u64;
            if self.is_tail(&chunk, at)? {
                tail_at = Some(used);
            } else {
                chunks.push((at, chunk));
            }
            used += chunk.len;
        }
        self.open(&chunks)?;
        if let Some(FileForm::Framed { hasher, tail, .. }) = &mut self.form {
            hasher.update(&input[start..tail_at.unwrap_or(used)]);
            if let Some(at) = tail_at {
                *tail = Some(self.key.read_tail(&input[at..used])?);
                if used < input.len() {
                    return Err(damaged("something follows its end"));
                }
            }
        }
        Ok(used)
    }

    /// Determines the form of the file by its first chunk, and gives the length of its head. The form
    /// stays unknown while that chunk is not whole.
    fn begin(&mut self, input: &[u8]) -> Result<usize> {
        let length = input.first_chunk().map(|length| u32::from_le_bytes(*length) as usize);
        if length.is_some_and(|length| length > MAX_SEALED) && !starts_head(input) {
            return Err(foreign());
        }
        let Some(mark) = input.get(LENGTH..).and_then(|rest| rest.first_chunk()) else {
            return Ok(0);
        };
        if FileKey::is_head(mark) {
            self.key.check_mark(mark)?;
            let Some(head) = input.get(..self.key.head_len()) else { return Ok(0) };
            let id = self.key.read_head(head)?;
            let mut hasher = Box::new(blake3::Hasher::new());
            hasher.update(head);
            self.form = Some(FileForm::Framed { id, hasher, tail: None });
            return Ok(head.len());
        }
        if !self.legacy {
            return Err(Error::new(
                Code::Legacy,
                "the file has no head: PyCoffer encrypted it, or the head was removed. Pass legacy: true if you expect a file of PyCoffer's",
            ));
        }
        self.form = Some(FileForm::Legacy);
        Ok(0)
    }

    /// Whether the chunk at byte `at` is the tail. Every other chunk must have no mark.
    fn is_tail(&self, chunk: &Chunk<'_>, at: u64) -> Result<bool> {
        if chunk.reserved.iter().all(|byte| *byte == 0) {
            return Ok(false);
        }
        match self.form {
            Some(FileForm::Legacy) => Err(own_record()),
            _ if FileKey::is_tail(chunk.reserved) => Ok(true),
            _ => Err(bad_chunk(at)),
        }
    }

    /// Opens chunks that hold data, each with the byte it begins at.
    fn open(&mut self, chunks: &[(u64, Chunk<'_>)]) -> Result<()> {
        let legacy = matches!(self.form, Some(FileForm::Legacy));
        let opened = pool::each(chunks, |(at, chunk)| {
            let mut plain = Zeroizing::new(Vec::with_capacity(chunk.sealed.len()));
            match self.key.seal.open(chunk.sealed, &mut plain) {
                Ok(()) if legacy && record::is_plain_record(&plain) => Err(own_record()),
                Ok(()) => Ok(plain),
                Err(_) if *at == 0 => Err(Error::new(
                    Code::WrongKey,
                    format!("{} does not open the first chunk of the file", self.key.name),
                )),
                Err(_) => Err(bad_chunk(*at)),
            }
        })?;
        self.frames.opened.extend(opened.into_iter().filter(|plain| !plain.is_empty()));
        Ok(())
    }
}

/// The zstd frames in the plaintexts of chunks: one stream, whose frames need not end with a chunk.
struct Frames {
    decoder: Decoder<'static>,
    /// The plaintexts that are not decompressed yet.
    opened: VecDeque<Zeroizing<Vec<u8>>>,
    /// Bytes of the first of them that are decompressed.
    at: usize,
    /// Whether a frame has begun and has not ended.
    within: bool,
    /// Whether there was any frame.
    any: bool,
    /// Bytes decompressed so far.
    length: u64,
}

impl Frames {
    fn new() -> Result<Self> {
        let decoder =
            Decoder::new().map_err(|e| Error::new(Code::Limit, format!("zstd refused: {e}")))?;
        Ok(Self { decoder, opened: VecDeque::new(), at: 0, within: false, any: false, length: 0 })
    }

    fn complete(&self) -> bool {
        self.opened.is_empty() && !self.within
    }

    fn pull(&mut self) -> Result<Vec<u8>> {
        if self.opened.is_empty() {
            return Ok(Vec::new());
        }
        let mut out = Zeroizing::new(Vec::with_capacity(MAX_PULL));
        let mut buffer = OutBuffer::around(&mut *out);
        while buffer.pos() < buffer.capacity()
            && let Some(first) = self.opened.front()
        {
            let mut input = InBuffer::around(&first[self.at..]);
            let wanted = self
                .decoder
                .run(&mut input, &mut buffer)
                .map_err(|e| damaged(&format!("a zstd frame does not decompress: {e}")))?;
            self.any = true;
            self.within = wanted != 0;
            self.at += input.pos();
            // While the output is full, the decoder may hold more of it.
            let flushed = buffer.pos() < buffer.capacity() || !self.within;
            if self.at == first.len() && flushed {
                self.opened.pop_front();
                self.at = 0;
            }
        }
        self.length += out.len() as u64;
        out.shrink_to_fit();
        Ok(std::mem::take(&mut *out))
    }
}

/// The chunk that `bytes`, which stand at byte `at` of the file, begin with, if it is whole.
fn whole_chunk(bytes: &[u8], at: u64) -> Result<Option<Chunk<'_>>> {
    match bytes.first_chunk().map(|length| u32::from_le_bytes(*length) as usize) {
        Some(length) if length > MAX_SEALED => Err(bad_chunk(at)),
        _ => Ok(chunk::parse(bytes)),
    }
}

fn bad_chunk(at: u64) -> Error {
    damaged(&format!("the chunk at byte {at} is not as it was written"))
}

/// Whether a file begins with the tag of a head, whatever length stands before it.
fn starts_head(input: &[u8]) -> bool {
    input.get(LENGTH..).is_some_and(|mark| mark.starts_with(&FILE_HEAD_TAG))
}

/// The error about a file whose first bytes are not those of an encrypted file.
fn foreign() -> Error {
    Error::corrupt("this is no encrypted file, or its first bytes are damaged or missing")
}

fn own_record() -> Error {
    damaged("it has records of Coffer's, which PyCoffer does not write: its head was removed")
}
