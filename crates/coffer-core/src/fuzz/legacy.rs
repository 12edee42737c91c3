//! The fuzz target of coffers in PyCoffer's format: arbitrary bytes, and tars, frames and members that
//! are sealed with the right keys.

use super::input::FuzzInput;
use super::scene::{Case, FuzzScene, change, look};
use crate::coffer::{Coffer, Mode};
use crate::format::chunk;
use crate::format::frame;
use crate::format::header::container_seal;

/// The most bytes that are unpacked from one input: few bytes may decompress to many.
const MOST: usize = 16 << 10;

/// `kind, how, then one of: a file; a frame; a tar; members`.
pub fn legacy(data: &[u8]) {
    if data.len() > MOST {
        return;
    }
    let mut input = FuzzInput::new(data);
    let case = Case::of(input.byte());
    let how = input.byte();
    let file = match how % 4 {
        0 => input.rest().to_vec(),
        1 => sealed(&case, input.rest()),
        2 => sealed(&case, &frame::compress(1, input.rest()).unwrap()),
        _ => sealed(&case, &frame::compress(1, &members(&case, &mut input)).unwrap()),
    };
    let scene = FuzzScene::new();
    let path = scene.path("any.coffer");
    std::fs::write(&path, &file).unwrap();
    let options = |mode| {
        let mut options = case.options(mode);
        options.legacy = true;
        options.temp_dir = Some(scene.root().to_owned());
        options
    };
    let Ok(coffer) = Coffer::open(&path, options(Mode::Read)) else { return };
    let seen = look(&coffer, &scene);
    coffer.close().unwrap();
    assert!(std::fs::read(&path).unwrap() == file, "reading changed the file");
    if how & 4 != 0 {
        change(&options, &scene, &path, &seen, how & 8 != 0);
    }
}

/// The container layer of any contents.
fn sealed(case: &Case, frame: &[u8]) -> Vec<u8> {
    match container_seal(&case.kind, &case.keys).unwrap() {
        Some(seal) => {
            let mut out = Vec::new();
            chunk::put_all(&*seal, frame, 256, &mut out);
            out
        }
        None => frame.to_vec(),
    }
}

/// A tar of members: `type, name, mode, what is in it`.
fn members(case: &Case, input: &mut FuzzInput<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    while !input.is_empty() {
        let how = input.byte();
        let name = input.short();
        let content = input.long();
        let stored = if how & 1 == 0 { stored(case, content, how) } else { content.to_vec() };
        let mut header =
            if how & 2 == 0 { tar::Header::new_ustar() } else { tar::Header::new_gnu() };
        let kinds = [b'0', b'5', b'2', b'x', b'L', b'g', b'S', b'1'];
        header.set_entry_type(tar::EntryType::new(kinds[usize::from(how >> 2) % kinds.len()]));
        header.set_size(stored.len() as u64);
        header.set_mode(0o600 | u32::from(how));
        header.set_mtime(u64::from(how) << 30);
        let field = &mut header.as_old_mut().name;
        let len = name.len().min(field.len());
        field[..len].copy_from_slice(&name[..len]);
        header.set_cksum();
        builder.append(&header, stored.as_slice()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// The member layer; with some of `how`, with bytes in the place of its frame.
fn stored(case: &Case, content: &[u8], how: u8) -> Vec<u8> {
    let packed = match case.kind.member.level {
        Some(level) if how & 32 == 0 => frame::compress(level, content).unwrap(),
        _ => content.to_vec().into(),
    };
    let (Some(cipher), Some(key)) = (case.kind.member.cipher, &case.keys.secure) else {
        return packed.into_vec();
    };
    let mut out = Vec::new();
    chunk::put_all(&*crate::crypto::seal::make(cipher, key).unwrap(), &packed, 256, &mut out);
    out
}
