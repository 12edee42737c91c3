//! The options of `open`.

use std::path::PathBuf;
use std::time::Duration;

use coffer_core::coffer::{CommitId, Limits, LockMode, Mode, NewCredentials, Options};
use coffer_core::crypto::kdf::{Kdf, KdfChoice, Passphrase, SALT_LEN};
use coffer_core::crypto::key::Key;
use coffer_core::error::{Code, Error, Result};
use coffer_core::format::kind::{Cipher, Kind, Layer};
use napi::bindgen_prelude::Uint8Array;
use napi_derive::napi;

/// A layer: compress, then seal.
#[napi(object)]
pub struct NativeLayer {
    /// The zstd level; absent where bytes pass as they are.
    pub level: Option<i32>,
    /// `secretbox`, `fernet` or `aes-ocb`; absent where nothing is sealed.
    pub cipher: Option<String>,
}

/// A kind of coffer.
#[napi(object)]
pub struct NativeKind {
    /// `bank`, `store`, `market`, `null` or `custom`.
    pub name: String,
    /// A bank's container cipher; absent to accept that of the file.
    pub cipher: Option<String>,
    /// A custom kind's member layer.
    pub member: Option<NativeLayer>,
    /// A custom kind's container layer.
    pub container: Option<NativeLayer>,
}

/// The cost of Argon2id; an absent field takes the value before.
#[napi(object)]
pub struct NativeKdf {
    /// Memory, in KiB.
    pub memory: Option<u32>,
    /// Passes over that memory.
    pub passes: Option<u16>,
}

impl NativeKdf {
    pub(crate) fn into_core(self) -> KdfChoice {
        KdfChoice { memory: self.memory, passes: self.passes }
    }
}

/// The credentials that a coffer gets by rekeying, checked by the facade.
#[napi(object)]
pub struct NativeSecret {
    /// The container's key.
    pub coffer_key: Option<Uint8Array>,
    /// The members' key.
    pub secure_key: Option<Uint8Array>,
    /// A passphrase in place of keys.
    pub passphrase: Option<Uint8Array>,
    /// The cost of deriving keys from the passphrase.
    pub kdf: Option<NativeKdf>,
    /// A bank's container cipher; absent to keep it.
    pub cipher: Option<String>,
}

impl NativeSecret {
    pub(crate) fn into_core(self) -> Result<NewCredentials> {
        Ok(NewCredentials {
            coffer_key: self.coffer_key.map(key).transpose()?,
            secure_key: self.secure_key.map(key).transpose()?,
            passphrase: self.passphrase.map(passphrase).transpose()?,
            kdf: self.kdf.map(NativeKdf::into_core).unwrap_or_default(),
            cipher: self.cipher.as_deref().map(cipher).transpose()?,
        })
    }
}

/// A commit of a coffer.
#[napi(object)]
pub struct NativeCommit {
    /// Its number, which grows by one from commit to commit.
    pub generation: f64,
    /// Its digest in hexadecimal.
    pub digest: String,
}

/// The options of `open`, checked by the facade.
#[napi(object)]
pub struct NativeOptions {
    /// `r`, `r+`, `w`, `a` or `x`.
    pub mode: String,
    /// Whether `w` replaces any file.
    pub replace: Option<bool>,
    /// The kind of coffer.
    pub kind: NativeKind,
    /// The container's key.
    pub coffer_key: Option<Uint8Array>,
    /// The members' key.
    pub secure_key: Option<Uint8Array>,
    /// A passphrase in place of keys.
    pub passphrase: Option<Uint8Array>,
    /// The cost of deriving keys from the passphrase of a new coffer.
    pub kdf: Option<NativeKdf>,
    /// The most memory that the file may ask for to derive keys, in KiB.
    pub max_kdf_memory: Option<u32>,
    /// Whether each change is flushed before its promise is settled.
    pub auto_flush: Option<bool>,
    /// How long what a change replaced may stay in the file, in milliseconds.
    pub scrub_delay: Option<u32>,
    /// Whether a file with much dead space is compacted.
    pub auto_compact: Option<bool>,
    /// The suffix of the copy made before the first change.
    pub backup: Option<String>,
    /// `rw`, `w` or `none`.
    pub lock: Option<String>,
    /// How long to wait for a lock, in milliseconds.
    pub lock_timeout: Option<u32>,
    /// Where temporary files go.
    pub temp_dir: Option<String>,
    /// The zstd level for members.
    pub level: Option<i32>,
    /// Bytes in a chunk.
    pub chunk_size: Option<u32>,
    /// Bytes in a block.
    pub block_size: Option<u32>,
    /// `full` or `none`.
    pub durability: Option<String>,
    /// Whether a coffer in PyCoffer's format is accepted.
    pub legacy: Option<bool>,
    /// The most bytes of a member that is read or extracted, or unpacked at opening.
    pub max_member_size: Option<f64>,
    /// The most bytes of all members that are extracted, or unpacked at opening.
    pub max_total_size: Option<f64>,
    /// The most bytes that the commits of the catalog may have before compression.
    pub max_catalog_size: Option<f64>,
    /// A commit that must be in the history.
    pub expect: Option<NativeCommit>,
}

impl NativeOptions {
    /// The engine's form.
    pub(crate) fn into_core(self) -> Result<Options> {
        let accept_file_cipher = self.kind.name == "bank" && self.kind.cipher.is_none();
        let mut options = Options::new(Mode::parse(&self.mode)?, self.kind.into_core()?);
        options.replace = self.replace.unwrap_or_default();
        options.accept_file_cipher = accept_file_cipher;
        options.coffer_key = self.coffer_key.map(key).transpose()?;
        options.secure_key = self.secure_key.map(key).transpose()?;
        options.passphrase = self.passphrase.map(passphrase).transpose()?;
        options.kdf = self.kdf.map(NativeKdf::into_core).unwrap_or_default();
        options.max_kdf_memory = self.max_kdf_memory;
        options.auto_flush = self.auto_flush;
        if let Some(millis) = self.scrub_delay {
            options.scrub_delay = Duration::from_millis(millis.into());
        }
        if let Some(auto_compact) = self.auto_compact {
            options.auto_compact = auto_compact;
        }
        options.backup = self.backup;
        options.temp_dir = self.temp_dir.map(PathBuf::from);
        options.level = self.level;
        options.chunk_size = self.chunk_size;
        options.piece_size = self.block_size;
        if let Some(lock) = self.lock {
            options.lock = lock_mode(&lock)?;
        }
        if let Some(millis) = self.lock_timeout {
            options.lock_timeout = Duration::from_millis(millis.into());
        }
        if let Some(durability) = self.durability {
            options.durable = durability != "none";
        }
        if let Some(legacy) = self.legacy {
            options.legacy = legacy;
        }
        options.limits = limits(self.max_member_size, self.max_total_size);
        options.max_catalog = self.max_catalog_size.map(|size| size as u64);
        options.expect = self.expect.map(commit_id).transpose()?;
        Ok(options)
    }
}

impl NativeKind {
    fn into_core(self) -> Result<Kind> {
        Ok(match self.name.as_str() {
            "bank" => Kind::bank(self.cipher.as_deref().map_or(Ok(Cipher::Fernet), cipher)?),
            "store" => Kind::store(),
            "market" => Kind::market(),
            "null" => Kind::null(),
            "custom" => Kind::custom(layer(self.member)?, layer(self.container)?),
            other => return Err(unknown("kind", other)),
        })
    }
}

fn layer(layer: Option<NativeLayer>) -> Result<Layer> {
    let layer = layer.ok_or_else(|| unknown("layer", "nothing"))?;
    Ok(Layer { level: layer.level, cipher: layer.cipher.as_deref().map(cipher).transpose()? })
}

fn cipher(name: &str) -> Result<Cipher> {
    Cipher::parse(name).ok_or_else(|| unknown("cipher", name))
}

fn key(bytes: Uint8Array) -> Result<Key> {
    Key::from_bytes(&bytes)
}

pub(crate) fn passphrase(bytes: Uint8Array) -> Result<Passphrase> {
    Passphrase::new(&bytes)
}

fn lock_mode(name: &str) -> Result<LockMode> {
    match name {
        "rw" => Ok(LockMode::ReadWrite),
        "w" => Ok(LockMode::Write),
        "none" => Ok(LockMode::None),
        other => Err(unknown("lock", other)),
    }
}

impl From<CommitId> for NativeCommit {
    fn from(commit: CommitId) -> Self {
        let digest = commit.digest.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { generation: commit.generation as f64, digest }
    }
}

fn commit_id(commit: NativeCommit) -> Result<CommitId> {
    let mut digest = [0; 32];
    for (at, byte) in digest.iter_mut().enumerate() {
        *byte = commit
            .digest
            .get(at * 2..at * 2 + 2)
            .and_then(|pair| u8::from_str_radix(pair, 16).ok())
            .ok_or_else(|| unknown("digest", &commit.digest))?;
    }
    Ok(CommitId { generation: commit.generation as u64, digest })
}

/// The error for an unknown name. The facade checks all names, so it shows a fault in the facade.
fn unknown(what: &str, given: &str) -> Error {
    Error::new(Code::InvalidArg, format!("{given:?} is not a {what} that the engine knows"))
}

/// Limits, in the engine's form.
pub(crate) fn limits(member: Option<f64>, total: Option<f64>) -> Limits {
    Limits { member: member.map(|size| size as u64), total: total.map(|size| size as u64) }
}

/// The derivation of keys from a passphrase.
#[napi(object)]
pub struct NativeDerivation {
    /// The salt.
    pub salt: Uint8Array,
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over that memory.
    pub passes: u16,
}

impl From<([u8; SALT_LEN], Kdf)> for NativeDerivation {
    fn from((salt, Kdf { memory, passes }): ([u8; SALT_LEN], Kdf)) -> Self {
        Self { salt: salt.to_vec().into(), memory, passes }
    }
}
