//! The header of a coffer whose keys come from a passphrase, with each of its bytes changed. Its
//! parameters stand in clear, so whoever changes them says what opening costs, between the bounds.

use crate::support::{directory, path, write};
use coffer_core::coffer::{Coffer, Mode, Options};
use coffer_core::crypto::kdf::{Kdf, KdfChoice, Passphrase};
use coffer_core::error::Code;
use coffer_core::format::chunk;
use coffer_core::format::kind::Kind;

/// What Argon2id may be asked for, and what all else takes.
const RESIDENT_BOUND: u64 = ((Kdf::MAX.memory as u64) << 10) + (64 << 20);

fn options(mode: Mode) -> Options {
    let mut options = Options::new(mode, Kind::store());
    options.passphrase = Some(Passphrase::new(b"correct horse").unwrap());
    let Kdf { memory, passes } = Kdf::MIN;
    options.kdf = KdfChoice { memory: Some(memory), passes: Some(passes) };
    options
}

#[test]
fn a_damaged_header_is_noticed_and_its_copy_opens_the_coffer() {
    let dir = directory();
    let path = path(&dir);
    let coffer = Coffer::open(&path, options(Mode::Write)).unwrap();
    write(&coffer, "a", b"right");
    coffer.close().unwrap();
    let file = std::fs::read(&path).unwrap();
    let first = chunk::parse(&file).unwrap().len;
    let second = chunk::parse(&file[first..]).unwrap().len;
    let mut cases = 0;
    for at in 0..first + second {
        // All that a reader goes by before it has derived a key; of the rest one bit of some bytes,
        // as each case takes a derivation or two.
        let clear = at % first < chunk::HEADER;
        let bits = if clear { 0..8 } else { at % 8..at % 8 + usize::from(at % 5 == 0) };
        for bit in bits {
            let mut bad = file.clone();
            bad[at] ^= 1 << bit;
            std::fs::write(&path, &bad).unwrap();
            let coffer = Coffer::open(&path, options(Mode::Read)).unwrap();
            let notices: Vec<_> = coffer.notices().iter().map(|notice| notice.code).collect();
            assert_eq!(notices, ["damaged-header"], "byte {at}, bit {bit}");
            assert_eq!(coffer.read("a").unwrap(), b"right", "byte {at}, bit {bit}");
            coffer.close().unwrap();
            cases += 1;
        }
    }
    println!("{cases} headers");
    assert!(resident_peak().is_none_or(|peak| peak < RESIDENT_BOUND), "{:?}", resident_peak());
}

/// Where no copy is left that is whole, no passphrase opens what is there, and no error says that
/// the passphrase is right.
#[test]
fn a_header_damaged_in_every_copy_does_not_open() {
    let dir = directory();
    let path = path(&dir);
    Coffer::open(&path, options(Mode::Write)).unwrap().close().unwrap();
    let file = std::fs::read(&path).unwrap();
    let marks = |tag: &[u8]| -> Vec<usize> {
        file.windows(4).enumerate().filter(|(_, w)| *w == tag).map(|(at, _)| at).collect()
    };
    for (tag, field) in [(b"cofH", 4..28), (b"cofK", 4..28)] {
        let copies = marks(tag);
        assert_eq!(copies.len(), 2);
        for at in field {
            let mut bad = file.clone();
            copies.iter().for_each(|copy| bad[copy + at] ^= 1 << (at % 8));
            std::fs::write(&path, &bad).unwrap();
            let error = Coffer::open(&path, options(Mode::Read)).err().unwrap();
            let clear =
                [Code::WrongKey, Code::WrongKind, Code::Version, Code::Limit, Code::Corrupt];
            assert!(clear.contains(&error.code()), "byte {at}: {error:?}");
        }
    }
}

/// The most memory that the process ever had in use, where the system tells.
fn resident_peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}
