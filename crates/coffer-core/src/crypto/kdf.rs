//! Keys from a passphrase: Argon2id makes one secret of it, and BLAKE3 a key for each layer.
//!
//! Argon2id is that of RFC 9106, version 0x13, with one lane and a salt of 16 bytes, which is all
//! that libsodium offers. Its cost is the [`Kdf`], which stands in the coffer's header in clear. A
//! person who can change the file can change it: so it has a floor, below which a passphrase would
//! be cheap to guess, and a ceiling, above which a file would exhaust the machine.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sodiumoxide::crypto::pwhash::argon2id13::{self, MemLimit, OpsLimit, Salt};
use zeroize::Zeroizing;

use crate::crypto::key::{self, Key};
use crate::crypto::zeroing;
use crate::error::{Code, Error, Result};
use crate::progress::Cancel;

/// Bytes of a salt.
pub const SALT_LEN: usize = argon2id13::SALTBYTES;

const COFFER_CONTEXT: &str = "coffer v1 passphrase coffer key";
const SECURE_CONTEXT: &str = "coffer v1 passphrase secure key";
/// Bytes that Argon2id is asked for.
const SECRET_LEN: usize = 32;

/// A passphrase: zeroed when dropped, never shown.
#[derive(Clone)]
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// A passphrase from its bytes, copied. Text is UTF-8 in Unicode's form NFC, so that it is the
    /// same from every keyboard.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if there are none.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Err(Error::new(Code::InvalidArg, "the passphrase is empty"));
        }
        Ok(Self(Zeroizing::new(bytes.to_vec())))
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// What Argon2id spends on a passphrase, and so on each guess at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kdf {
    /// Memory, in KiB.
    pub memory: u32,
    /// Passes over that memory.
    pub passes: u16,
}

impl Kdf {
    /// The cost for a new coffer by default: libsodium's "moderate".
    pub const DEFAULT: Self = Self { memory: 256 << 10, passes: 3 };
    /// The floor: the least that OWASP's Password Storage Cheat Sheet recommends for one lane.
    pub const MIN: Self = Self { memory: 19 << 10, passes: 2 };
    /// The ceiling: about twenty seconds, and memory that a small machine still has.
    pub const MAX: Self = Self { memory: 1 << 20, passes: 16 };

    /// Which of the two is out of range, if one is.
    fn fault(self) -> Option<String> {
        let Self { memory, passes } = self;
        if !(Self::MIN.memory..=Self::MAX.memory).contains(&memory) {
            return Some(format!(
                "{memory} KiB of memory, and Coffer takes from {} to {} KiB",
                Self::MIN.memory,
                Self::MAX.memory
            ));
        }
        if !(Self::MIN.passes..=Self::MAX.passes).contains(&passes) {
            return Some(format!(
                "{passes} passes, and Coffer takes from {} to {}",
                Self::MIN.passes,
                Self::MAX.passes
            ));
        }
        None
    }
}

/// The cost of Argon2id that a caller asks for. An absent field takes the value before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct KdfChoice {
    /// Memory, in KiB.
    pub memory: Option<u32>,
    /// Passes over that memory.
    pub passes: Option<u16>,
}

impl KdfChoice {
    /// The choice, completed from `before`.
    ///
    /// # Errors
    /// [`Code::InvalidArg`] if it is below [`Kdf::MIN`] or above [`Kdf::MAX`].
    pub fn over(self, before: Kdf) -> Result<Kdf> {
        let kdf = Kdf {
            memory: self.memory.unwrap_or(before.memory),
            passes: self.passes.unwrap_or(before.passes),
        };
        match kdf.fault() {
            None => Ok(kdf),
            Some(fault) => Err(Error::new(Code::InvalidArg, format!("kdf asks for {fault}"))),
        }
    }
}

/// The keys that a passphrase makes: 32 bytes each, whatever cipher they are for.
#[derive(Debug, Clone)]
pub struct DerivedKeys {
    /// For the container.
    pub coffer: Key,
    /// For the members.
    pub secure: Key,
}

/// A budget of memory, in KiB, that all derivations of the process share. A request that does not
/// fit waits.
///
/// Requests are served first come, first served, so small ones do not starve a large one.
struct MemoryBudget {
    turns: Mutex<Turns>,
    changed: Condvar,
}

struct Turns {
    free: u32,
    next: u64,
    waiting: VecDeque<u64>,
}

/// One derivation of the largest size, or several smaller ones, for the whole process.
static MEMORY: MemoryBudget = MemoryBudget::new(Kdf::MAX.memory);

/// How often a request that waits checks whether it was cancelled.
const LOOK: Duration = Duration::from_millis(10);

impl MemoryBudget {
    const fn new(total: u32) -> Self {
        let turns = Turns { free: total, next: 0, waiting: VecDeque::new() };
        Self { turns: Mutex::new(turns), changed: Condvar::new() }
    }

    /// Waits until `memory` KiB are free, and reserves them until the reservation is dropped.
    /// `memory` must not exceed the whole budget.
    ///
    /// # Errors
    /// [`Code::Aborted`] if `cancel` says so before there is enough.
    fn take(&self, memory: u32, cancel: &Cancel) -> Result<Reservation<'_>> {
        let mut turns = self.lock();
        let turn = turns.next;
        turns.next += 1;
        turns.waiting.push_back(turn);
        loop {
            if let Err(aborted) = cancel.check() {
                turns.waiting.retain(|waits| *waits != turn);
                self.changed.notify_all();
                return Err(aborted);
            }
            if turns.waiting.front() == Some(&turn) && turns.free >= memory {
                turns.waiting.pop_front();
                turns.free -= memory;
                // There may be enough for the next one as well.
                self.changed.notify_all();
                return Ok(Reservation { budget: self, memory });
            }
            let waited = self.changed.wait_timeout(turns, LOOK);
            turns = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Turns> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Memory that one derivation may use.
struct Reservation<'a> {
    budget: &'a MemoryBudget,
    memory: u32,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        self.budget.lock().free += self.memory;
        self.budget.changed.notify_all();
    }
}

/// Derives the keys. It takes as long as `kdf` asks for, and waits while running derivations use so
/// much memory that the sum would exceed [`Kdf::MAX`]: not for a thread of the pool. `cancel` ends
/// the waiting.
///
/// # Errors
/// [`Code::Limit`] if `kdf` is out of range, which is checked before memory is reserved, or if there is
/// not enough memory; [`Code::Aborted`].
pub fn derive(
    passphrase: &Passphrase,
    salt: [u8; SALT_LEN],
    kdf: Kdf,
    cancel: &Cancel,
) -> Result<DerivedKeys> {
    if let Some(fault) = kdf.fault() {
        return Err(Error::new(
            Code::Limit,
            format!("deriving the keys from the passphrase asks for {fault}"),
        ));
    }
    let _reservation = MEMORY.take(kdf.memory, cancel)?;
    key::init_sodium();
    let mut secret = Zeroizing::new(vec![0; SECRET_LEN]);
    let memory = MemLimit((kdf.memory as usize) << 10);
    let passes = OpsLimit(usize::from(kdf.passes));
    let salt = Salt(salt);
    zeroing::stack_after(|| {
        argon2id13::derive_key(&mut secret, &passphrase.0, &salt, passes, memory).map(|_| ())
    })
    .map_err(|()| {
        let memory = kdf.memory;
        Error::new(
            Code::Limit,
            format!("there is not enough memory: deriving the keys takes {memory} KiB"),
        )
    })?;
    Ok(DerivedKeys {
        coffer: key::derived(COFFER_CONTEXT, &secret),
        secure: key::derived(SECURE_CONTEXT, &secret),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::thread;

    fn hex(key: &Key) -> String {
        key.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(text.as_bytes()).unwrap()
    }

    const SALT: [u8; SALT_LEN] = *b"0123456789abcdef";

    /// Made with `PyNaCl`, `nacl.pwhash.argon2id.kdf(32, passphrase, salt, passes, memory)`, and
    /// the `blake3` package of Python, `blake3(secret, derive_key_context=...)`.
    #[test]
    fn the_keys_are_those_of_another_argon2id_and_blake3() {
        let keys =
            derive(&passphrase("correct horse battery staple"), SALT, Kdf::MIN, &Cancel::default())
                .unwrap();
        assert_eq!(
            hex(&keys.coffer),
            "e36abc9d46273a5d29aa56f64f6b930a253771c12932ef3be2773a99981fae21"
        );
        assert_eq!(
            hex(&keys.secure),
            "3a33bd7e15abfdca20de42482a8ad5235178eeee4dd86831f837e883924b62e0"
        );
        let kdf = Kdf { memory: 64 << 10, passes: 3 };
        let keys =
            derive(&passphrase("Gr\u{fc}\u{df}e"), [0; SALT_LEN], kdf, &Cancel::default()).unwrap();
        assert_eq!(
            hex(&keys.coffer),
            "72a7079f865048d8d67c11ecddd579a904d472391280eac837f765b2600665ca"
        );
        assert_eq!(
            hex(&keys.secure),
            "39f84f5dd71d88ce027ff21b4f116ca28dab60b425dc241164bbee5ac8110568"
        );
    }

    #[test]
    fn each_part_of_what_is_derived_from_matters() {
        let of = |text, salt, kdf| {
            hex(&derive(&passphrase(text), salt, kdf, &Cancel::default()).unwrap().coffer)
        };
        let first = of("buy milk", SALT, Kdf::MIN);
        assert_eq!(of("buy milk", SALT, Kdf::MIN), first);
        assert_ne!(of("buy milk ", SALT, Kdf::MIN), first);
        assert_ne!(of("buy milk", [0; SALT_LEN], Kdf::MIN), first);
        assert_ne!(of("buy milk", SALT, Kdf { passes: 3, ..Kdf::MIN }), first);
        assert_ne!(of("buy milk", SALT, Kdf { memory: 20 << 10, ..Kdf::MIN }), first);
        let keys = derive(&passphrase("buy milk"), SALT, Kdf::MIN, &Cancel::default()).unwrap();
        assert_ne!(hex(&keys.coffer), hex(&keys.secure));
    }

    #[test]
    fn a_cost_out_of_range_is_refused_by_name_before_memory_is_reserved() {
        for (memory, passes, named) in [
            (Kdf::MIN.memory - 1, 2, "19455 KiB"),
            (Kdf::MAX.memory + 1, 2, "1048577 KiB"),
            (u32::MAX, 2, "4294967295 KiB"),
            (0, 2, "0 KiB"),
            (19 << 10, 1, "1 passes"),
            (19 << 10, 17, "17 passes"),
            (19 << 10, u16::MAX, "65535 passes"),
        ] {
            let kdf = Kdf { memory, passes };
            let error = derive(&passphrase("x"), SALT, kdf, &Cancel::default()).unwrap_err();
            assert_eq!(error.code(), Code::Limit);
            assert!(error.message().contains(named), "{error}");
            let choice = KdfChoice { memory: Some(memory), passes: Some(passes) };
            let error = choice.over(Kdf::DEFAULT).unwrap_err();
            assert_eq!(error.code(), Code::InvalidArg);
            assert!(error.message().contains(named), "{error}");
        }
    }

    #[test]
    fn a_choice_is_completed_from_what_was_there() {
        let choice = KdfChoice { memory: Some(20 << 10), passes: None };
        assert_eq!(choice.over(Kdf::DEFAULT).unwrap(), Kdf { memory: 20 << 10, passes: 3 });
        assert_eq!(KdfChoice::default().over(Kdf::MAX).unwrap(), Kdf::MAX);
    }

    #[test]
    fn a_passphrase_is_not_shown_and_an_empty_one_is_refused() {
        assert_eq!(format!("{:?}", passphrase("secret")), "Passphrase(..)");
        assert_eq!(Passphrase::new(b"").unwrap_err().code(), Code::InvalidArg);
    }

    #[test]
    fn memory_of_derivations_never_exceeds_the_budget() {
        let memory = MemoryBudget::new(10);
        let (used, most) = (AtomicU32::new(0), AtomicU32::new(0));
        thread::scope(|scope| {
            for need in [10, 4, 4, 4, 10, 1, 3, 10, 7, 6] {
                let (memory, used, most) = (&memory, &used, &most);
                scope.spawn(move || {
                    for _ in 0..20 {
                        let taken = memory.take(need, &Cancel::default()).unwrap();
                        let now = used.fetch_add(need, Ordering::SeqCst) + need;
                        most.fetch_max(now, Ordering::SeqCst);
                        thread::yield_now();
                        used.fetch_sub(need, Ordering::SeqCst);
                        drop(taken);
                    }
                });
            }
        });
        assert!((1..=10).contains(&most.into_inner()));
        let turns = memory.lock();
        assert!(turns.free == 10 && turns.waiting.is_empty());
    }

    #[test]
    fn a_derivation_that_waits_for_memory_can_be_cancelled_and_lets_the_next_one_pass() {
        let memory = MemoryBudget::new(10);
        let held = memory.take(6, &Cancel::default()).unwrap();
        let cancel = Cancel::default();
        thread::scope(|scope| {
            let large = scope.spawn(|| memory.take(10, &cancel).map(drop));
            while memory.lock().waiting.is_empty() {
                thread::yield_now();
            }
            // There is room for this one, but it came later.
            let small = scope.spawn(|| memory.take(4, &Cancel::default()).map(drop));
            while memory.lock().waiting.len() < 2 {
                thread::yield_now();
            }
            assert!(!large.is_finished() && !small.is_finished());
            cancel.cancel();
            assert_eq!(large.join().unwrap().unwrap_err().code(), Code::Aborted);
            small.join().unwrap().unwrap();
        });
        drop(held);
        assert_eq!(memory.lock().free, 10);
    }
}
