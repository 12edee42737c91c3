//! Opening a coffer on a simulated disk, and comparing it with the model.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use super::damage::Flip;
use super::disk::Disk;
use super::state::{Members, ModelState, Trace, lens};
use crate::engine::container::Container;
use crate::engine::credentials::{CredentialLookup, Credentials};
use crate::engine::open::{self, Expected, OpenResult};
use crate::error::{Code, Error};
use crate::format::catalog::Entry;
use crate::format::keys::Keys;
use crate::format::kind::{Kind, KindName};
use crate::io::lock_set::Locks;
use crate::io::new_file::sweep_unfinished;
use crate::io::protected_paths::{swept, torn};
use crate::progress::Cancel;

/// The parameters of opening a coffer on a simulated disk.
pub(super) struct ModelOpener {
    pub(super) path: std::path::PathBuf,
    pub(super) kind: Kind,
    /// The keys that it has had.
    pub(super) keys: Vec<Keys>,
    pub(super) durable: bool,
    /// The bytes of it that were damaged.
    pub(super) flips: Vec<Flip>,
}

/// Why a coffer did not open.
pub(super) enum Trouble {
    /// A call of the disk failed.
    Io(Error),
    /// A rule of the model is violated.
    Wrong(String),
}

impl std::fmt::Debug for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

impl From<String> for Trouble {
    fn from(what: String) -> Self {
        Self::Wrong(what)
    }
}

/// A coffer that was opened for writing, and which of the acceptable states it is in.
pub(super) struct OpenedModel {
    pub(super) container: Container,
    pub(super) state: ModelState,
}

impl ModelOpener {
    /// Opens the coffer as a writer does, and compares it with the acceptable states. `None` if there
    /// is no coffer, and need not be.
    pub(super) fn open(
        &self,
        disk: &Arc<Disk>,
        acceptable: &[ModelState],
    ) -> Result<Option<OpenedModel>, Trouble> {
        let directory = disk.directory();
        let failed = |e: Error| match e.code() {
            Code::Io => Trouble::Io(e),
            _ => Trouble::Wrong(format!("{e:?}")),
        };
        sweep_unfinished(&*directory, &swept(&self.path, None));
        if disk.image().file(&self.path).is_none() {
            let may = acceptable.iter().any(|state| state.members.is_none());
            return if may { Ok(None) } else { Err("the coffer is gone".to_owned().into()) };
        }
        let storage = directory.open(&self.path, true);
        let storage = storage.map_err(|e| failed(Error::io("open", &self.path, &e)))?;
        let cancel = Cancel::default();
        for keys in (0..self.keys.len()).rev() {
            if !acceptable.iter().any(|state| state.keys == keys) {
                continue;
            }
            let secret = Credentials::Keys(self.keys[keys].clone());
            let expected = Expected {
                kind: &self.kind,
                accept_file_cipher: self.kind.name == KindName::Bank,
                credentials: &CredentialLookup::new(&secret, &cancel),
                level: None,
                max_catalog: u64::MAX,
                directory: directory.clone(),
            };
            let opened = match open::open(storage.clone(), &self.path, &expected) {
                Ok(OpenResult::Coffer(opened)) => *opened,
                Ok(OpenResult::Legacy) => {
                    return Err("it passes for a legacy coffer".to_owned().into());
                }
                Err(e) if e.code() == Code::WrongKey => continue,
                Err(e) => return Err(failed(e)),
            };
            let open::Opened { source, header, newest, loaded, size, .. } = opened;
            let mut container =
                Container::resume(source, header, self.durable, newest, loaded, size)
                    .map_err(failed)?;
            container.erase_stale(&Locks::none(&self.path)).map_err(failed)?;
            if container.has_stale() && disk.failed().is_none() {
                return Err("what a commit left stale is not erased".to_owned().into());
            }
            return Ok(Some(self.find(disk, container, keys, acceptable)?));
        }
        Err("no key that it may have opens it".to_owned().into())
    }

    fn find(
        &self,
        disk: &Disk,
        container: Container,
        keys: usize,
        acceptable: &[ModelState],
    ) -> Result<OpenedModel, String> {
        let members =
            self.read_all(&container).map_err(|e| format!("a member does not read: {e:?}"))?;
        let is =
            |state: &&ModelState| state.keys == keys && state.members.as_ref() == Some(&members);
        let Some(state) = acceptable.iter().rfind(is).cloned() else {
            let accepted: Vec<_> =
                acceptable.iter().map(|s| (s.keys, s.members.as_ref().map(lens))).collect();
            return Err(format!(
                "opened at a state that never was: has {:?}, accepted are {accepted:?}",
                lens(&members),
            ));
        };
        self.check_file(disk, &container, &state)?;
        Ok(OpenedModel { container, state })
    }

    /// Checks a file without unfinished changes: its tar, that deleted bytes are gone, and the files
    /// beside it.
    pub(super) fn check_file(
        &self,
        disk: &Disk,
        container: &Container,
        state: &ModelState,
    ) -> Result<(), String> {
        let image = disk.image();
        let file = image.file(&self.path).ok_or("the coffer is gone")?;
        let view = container.view.read();
        // As it was before it was damaged; what was deleted of a damaged pack since is still there.
        let (mut whole, mut held) = (file.clone(), Vec::new());
        for block in view.catalog.blocks.values() {
            if let Some(flip) = self.flip_of(&container.header.marks, block) {
                whole[block.offset as usize + flip.at] ^= 1;
                held.extend(flip.held.clone());
            }
        }
        let members = state.members.as_ref().ok_or("there is to be no coffer")?;
        if container.has_stale() {
            // What was replaced and removed is still there, until the next full commit.
            return Ok(());
        }
        check_tar(&whole, container, members, held)?;
        let live = |trace: &Trace| {
            view.catalog
                .blocks
                .values()
                .any(|block| block.offset == trace.offset && block.digest == trace.digest)
        };
        let here = image.names[&self.path];
        for trace in state.blocks.iter().filter(|trace| trace.file == here && !live(trace)) {
            let now = file.get(trace.offset as usize..).unwrap_or_default();
            if have_in_common(&trace.bytes, now) {
                return Err(format!("the dead block at {} still has its bytes", trace.offset));
            }
        }
        let torn = torn(&self.path);
        let ours = |path: &Path| {
            path == self.path || path.to_string_lossy().starts_with(&*torn.to_string_lossy())
        };
        match image.names.keys().find(|path| !container.is_being_copied() && !ours(path)) {
            // If a call of the disk failed, it may be the removal of this file.
            Some(path) if disk.failed().is_none() => {
                Err(format!("{} was left behind", path.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Whether a stretch of bytes is at the same place in both. A framed Fernet token begins with 44
/// bytes that are always the same.
fn have_in_common(one: &[u8], other: &[u8]) -> bool {
    const STRETCH: usize = 64;
    let mut same = 0;
    let mut zeros = 0;
    for (a, b) in one.iter().zip(other) {
        same = if a == b { same + 1 } else { 0 };
        zeros = if a == b && *a == 0 { zeros + 1 } else { 0 };
        if same >= STRETCH && zeros < STRETCH {
            return true;
        }
    }
    false
}

/// Decodes the layers as other tools do: the tar must have exactly the live members, and of others at
/// most those that damaged packs `held`.
fn check_tar(
    file: &[u8],
    container: &Container,
    members: &Members,
    held: Vec<(String, Arc<Vec<u8>>)>,
) -> Result<(), String> {
    let layers = &container.source.layers;
    let mut frames = Vec::new();
    match &layers.container {
        Some(seal) => crate::format::chunk::open_all(&**seal, file, &mut frames)
            .map_err(|e| format!("the file is not whole chunks: {e:?}"))?,
        None => frames = file.to_vec(),
    }
    let tar = zstd::decode_all(frames.as_slice()).map_err(|e| format!("not zstd: {e}"))?;
    let mut archive = tar::Archive::new(tar.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.map_err(|e| format!("not a tar: {e}"))?;
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut stored = Vec::new();
        entry.read_to_end(&mut stored).map_err(|e| format!("{name}: {e}"))?;
        if matches!(name.as_str(), "./" | ".") {
            continue;
        }
        let mut bytes = Vec::new();
        match &layers.member {
            Some(seal) => crate::format::chunk::open_all(&**seal, &stored, &mut bytes)
                .map_err(|e| format!("{name}: {e}"))?,
            None => bytes = stored,
        }
        if layers.member_level.is_some() {
            bytes = zstd::decode_all(bytes.as_slice()).map_err(|e| format!("{name}: {e}"))?;
        }
        seen.push((name, Arc::new(bytes)));
    }
    for (name, bytes) in members {
        let at = seen.iter().position(|(n, b)| n == name && b == bytes);
        let at = at.ok_or_else(|| format!("the tar has no {name} of {} bytes", bytes.len()))?;
        seen.swap_remove(at);
    }
    match seen.iter().find(|entry| !held.contains(entry)) {
        Some((name, bytes)) => Err(format!("the tar has {name} of {} bytes too", bytes.len())),
        None => Ok(()),
    }
}

impl ModelOpener {
    /// Every member, read through the writer's own view. A damaged one must fail to read; its bytes
    /// before the damage are given.
    pub(super) fn read_all(&self, container: &Container) -> crate::error::Result<Members> {
        let view = container.view.read();
        let read = |name: &str, entry: &Entry| {
            let found =
                crate::engine::member::MemberLocation::in_catalog(&view.catalog, name, entry)?;
            let read = found.read(&view.source, 0, entry.size as usize);
            let Some(before) = self.damaged(container, name, entry) else {
                return read.map_err(|e| e.of_member(name));
            };
            match read {
                Err(e) if e.code() == Code::Corrupt => Ok(before),
                Err(e) => Err(e),
                Ok(_) => Err(Error::new(Code::Limit, "what is damaged reads").of_member(name)),
            }
        };
        view.catalog
            .iter()
            .map(|(name, entry)| Ok((name.to_string(), Arc::new(read(name, &entry)?))))
            .collect()
    }
}
