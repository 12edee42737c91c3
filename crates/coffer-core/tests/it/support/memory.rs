//! Looking for secrets in the memory of another process.

use std::collections::HashMap;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;

/// So much of a secret in one place is no accident.
const WINDOW: usize = 8;
const PART: usize = 1 << 20;

/// What is searched for: every eight bytes of every form of each secret.
pub(crate) struct Wanted {
    names: Vec<String>,
    windows: HashMap<[u8; WINDOW], usize>,
    /// The first two bytes of some window, so that few places need a closer look.
    beginnings: Vec<bool>,
}

/// A part of a secret that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) what: String,
    pub(crate) region: String,
    pub(crate) address: u64,
    pub(crate) len: usize,
}

impl Found {
    fn end(&self) -> u64 {
        self.address + self.len as u64
    }
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, region, address, len } = self;
        write!(f, "{len} bytes of {what} in {region} at {address:#x}")
    }
}

impl Wanted {
    pub(crate) fn new(secrets: &[(String, Vec<u8>)]) -> Self {
        let mut wanted =
            Self { names: Vec::new(), windows: HashMap::new(), beginnings: vec![false; 1 << 16] };
        wanted.add(secrets);
        wanted
    }

    pub(crate) fn add(&mut self, secrets: &[(String, Vec<u8>)]) {
        for (name, secret) in secrets {
            for (form, bytes) in forms(secret) {
                let index = self.names.len();
                self.names.push(format!("{name}{form}"));
                for window in bytes.windows(WINDOW) {
                    let window: [u8; WINDOW] = window.try_into().unwrap();
                    self.beginnings[beginning(&window)] = true;
                    self.windows.entry(window).or_insert(index);
                }
            }
        }
    }

    /// What of it lies in the memory of the process `pid`.
    pub(crate) fn found_in(&self, pid: u32) -> io::Result<Vec<Found>> {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut found = Vec::new();
        let mut searched = 0;
        for line in maps.lines() {
            let mut fields = line.split_ascii_whitespace();
            let (range, access) = (fields.next().unwrap(), fields.next().unwrap());
            let region = fields.nth(3).unwrap_or("anonymous");
            if !access.starts_with('r') || ["[vvar]", "[vsyscall]"].contains(&region) {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let start = u64::from_str_radix(start, 16).unwrap();
            let end = u64::from_str_radix(end, 16).unwrap();
            searched += self.search(&memory, start, end, region, &mut found);
        }
        assert!(searched > PART as u64, "only {searched} bytes of memory could be read");
        Ok(found)
    }

    fn search(
        &self,
        memory: &File,
        start: u64,
        end: u64,
        region: &str,
        found: &mut Vec<Found>,
    ) -> u64 {
        let mut part = vec![0; PART + WINDOW - 1];
        let mut at = start;
        while at < end {
            let len = part.len().min((end - at) as usize);
            // What cannot be read, as a page behind the end of a mapped file, holds nothing.
            let Ok(read) = memory.read_at(&mut part[..len], at) else { break };
            if read == 0 {
                break;
            }
            for (offset, window) in part[..read].windows(WINDOW).enumerate() {
                if self.beginnings[beginning(window)]
                    && let Some(&index) = self.windows.get(window)
                {
                    let (what, address) = (self.names[index].clone(), at + offset as u64);
                    match found.last_mut() {
                        Some(last) if last.end() == address + WINDOW as u64 - 1 => last.len += 1,
                        _ => {
                            found.push(Found { what, region: region.into(), address, len: WINDOW })
                        }
                    }
                }
            }
            at += read.min(PART) as u64;
        }
        at - start
    }
}

fn beginning(window: &[u8]) -> usize {
    usize::from(window[0]) << 8 | usize::from(window[1])
}

/// The forms in which a secret may lie about: as it is, as text, and as HMAC pads a key.
fn forms(secret: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut forms = vec![
        (String::new(), secret.to_vec()),
        (" in base64".into(), URL_SAFE.encode(secret).into_bytes()),
        (" in hex".into(), secret.iter().flat_map(|b| format!("{b:02x}").into_bytes()).collect()),
    ];
    for pad in [0x36, 0x5c] {
        let padded: Vec<u8> = secret.iter().map(|b| b ^ pad).collect();
        // SHA-256 takes its block as big-endian words.
        let words = padded.chunks_exact(4).flat_map(|w| [w[3], w[2], w[1], w[0]]).collect();
        forms.push((format!(" padded with {pad:#x}"), padded));
        forms.push((format!(" padded with {pad:#x}, as words"), words));
    }
    forms
}
