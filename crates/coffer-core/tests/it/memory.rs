//! Nothing of a key or a passphrase stays in memory when a coffer is closed.
//!
//! A process of its own lives the life of a coffer with new random keys, stops at each stage of it,
//! and its memory is searched from outside. It tells its secrets masked, so that it does not hold
//! what it must not.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::support::memory::Wanted;
use crate::support::{directory, flush, noise, write};
use coffer_core::coffer::{
    Change, Coffer, Existing, LockMode, Mode, NewCredentials, Options, Outcome,
};
use coffer_core::crypto::kdf::{self, Kdf, KdfChoice, Passphrase};
use coffer_core::crypto::key::{self, Key};
use coffer_core::crypto::seal;
use coffer_core::error::Code;
use coffer_core::format::kind::{Cipher, Kind};
use coffer_core::ops::file_crypt::DecryptOptions;
use coffer_core::progress::{CallObserver, Cancel};

/// Set in the process whose memory is searched: whose life it lives, and where.
const CASE: &str = "COFFER_MEMORY_CASE";
const PLACE: &str = "COFFER_MEMORY_PLACE";
const MASK: u8 = 0xA5;

/// A life: its name, and how the coffer is opened.
const CASES: [(&str, Lived); 9] = [
    ("a bank with Fernet", Lived::ByKeys(|| Kind::bank(Cipher::Fernet))),
    ("a bank with AES-OCB", Lived::ByKeys(|| Kind::bank(Cipher::AesOcb))),
    ("a store", Lived::ByKeys(Kind::store)),
    ("a market", Lived::ByKeys(Kind::market)),
    ("a bank with a passphrase", Lived::ByPassphrase(|| Kind::bank(Cipher::Fernet))),
    ("a store with a passphrase", Lived::ByPassphrase(Kind::store)),
    ("a secretbox", Lived::Seal(Cipher::Secretbox)),
    ("a Fernet", Lived::Seal(Cipher::Fernet)),
    ("an AES-OCB", Lived::Seal(Cipher::AesOcb)),
];

#[derive(Clone, Copy)]
enum Lived {
    ByKeys(fn() -> Kind),
    ByPassphrase(fn() -> Kind),
    /// A cipher alone, after which nothing else overwrites by chance what it has left.
    Seal(Cipher),
}

#[test]
fn no_secret_outlives_the_coffer_in_memory() {
    if let Ok(case) = std::env::var(CASE) {
        let place = std::env::var_os(PLACE).unwrap();
        let (_, lived) = CASES.into_iter().find(|(name, _)| *name == case).unwrap();
        return match lived {
            Lived::ByKeys(kind) => live(kind(), false, Path::new(&place)),
            Lived::ByPassphrase(kind) => live(kind(), true, Path::new(&place)),
            Lived::Seal(cipher) => live_sealing(cipher),
        };
    }
    let mut left = Vec::new();
    for (case, _) in CASES {
        let dir = directory();
        let mut subject = Subject::start(case, dir.path());
        let (secrets, stage) = subject.hear();
        assert_eq!(stage, "made");
        let mut wanted = Wanted::new(&secrets);
        let Ok(found) = wanted.found_in(subject.child.id()) else {
            println!("skipped: this system lets no process look into its child's memory");
            return;
        };
        // The search sees each of them as long as it is held.
        for (name, _) in &secrets {
            assert!(
                found.iter().any(|found| found.what == *name),
                "{case}: {name} is not seen when held"
            );
        }
        let (kept, stage) = subject.go_on();
        assert_eq!(stage, "open");
        wanted.add(&kept);
        let found = wanted.found_in(subject.child.id()).unwrap();
        // A passphrase is needed for no longer than it takes to derive keys from it.
        for (name, _) in kept.iter().filter(|(name, _)| !name.contains("passphrase")) {
            assert!(
                found.iter().any(|found| found.what == *name),
                "{case}: {name} is not seen in use"
            );
        }
        let (_, stage) = subject.go_on();
        assert_eq!(stage, "closed");
        let found = wanted.found_in(subject.child.id()).unwrap();
        left.extend(found.iter().map(|found| format!("{case}: {found}")));
        subject.end();
    }
    assert!(left.is_empty(), "left in memory:\n{}", left.join("\n"));
}

/// The process whose memory is searched.
struct Subject {
    child: Child,
    orders: ChildStdin,
    words: BufReader<std::process::ChildStdout>,
}

impl Subject {
    fn start(case: &str, place: &Path) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["memory::no_secret_outlives_the_coffer_in_memory", "--exact", "--nocapture"])
            .env(CASE, case)
            .env(PLACE, place)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (orders, words) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, orders, words: BufReader::new(words) }
    }

    /// What the subject tells, up to the stage at which it waits.
    fn hear(&mut self) -> (Vec<(String, Vec<u8>)>, String) {
        let mut secrets = Vec::new();
        loop {
            let mut line = String::new();
            assert!(self.words.read_line(&mut line).unwrap() > 0, "the subject died");
            if let Some((_, stage)) = line.split_once("stage: ") {
                return (secrets, stage.trim().to_owned());
            }
            if let Some((name, masked)) =
                line.strip_prefix("secret: ").and_then(|l| l.split_once(" = "))
            {
                let bytes = masked.trim().split(' ').map(|b| b.parse::<u8>().unwrap() ^ MASK);
                secrets.push((name.to_owned(), bytes.collect()));
            }
        }
    }

    fn go_on(&mut self) -> (Vec<(String, Vec<u8>)>, String) {
        self.orders.write_all(b"\n").unwrap();
        self.hear()
    }

    fn end(mut self) {
        self.orders.write_all(b"\n").unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

/// What the subject knows.
struct Secrets {
    coffer: Key,
    secure: Key,
    new_coffer: Key,
    new_secure: Key,
    phrase: Key,
    new_phrase: Key,
}

impl Secrets {
    fn new() -> Self {
        let key = || Key::generate(32);
        Self {
            coffer: key(),
            secure: key(),
            new_coffer: key(),
            new_secure: key(),
            phrase: key(),
            new_phrase: key(),
        }
    }

    fn passphrase(key: &Key) -> Passphrase {
        Passphrase::new(key.as_bytes()).unwrap()
    }

    /// Options with which the coffer opens.
    fn options(&self, kind: Kind, by_passphrase: bool, mode: Mode) -> Options {
        let mut options = Options::new(mode, kind);
        if by_passphrase {
            options.passphrase = Some(Self::passphrase(&self.phrase));
            options.kdf = CHEAP;
        } else {
            options.coffer_key = kind.container.cipher.map(|_| self.coffer.clone());
            options.secure_key = kind.member.cipher.map(|_| self.secure.clone());
        }
        options
    }

    /// What the coffer gets later.
    fn next(&self, kind: Kind, by_passphrase: bool) -> NewCredentials {
        let keyed = |cipher: Option<Cipher>, key: &Key| {
            cipher.filter(|_| !by_passphrase).map(|_| key.clone())
        };
        NewCredentials {
            coffer_key: keyed(kind.container.cipher, &self.new_coffer),
            secure_key: keyed(kind.member.cipher, &self.new_secure),
            passphrase: by_passphrase.then(|| Self::passphrase(&self.new_phrase)),
            kdf: CHEAP,
            cipher: None,
        }
    }
}

const CHEAP: KdfChoice = KdfChoice { memory: Some(Kdf::MIN.memory), passes: Some(Kdf::MIN.passes) };

fn tell(name: &str, key: &Key) {
    let mut line = format!("secret: {name} =");
    for byte in key.as_bytes() {
        write!(line, " {}", byte ^ MASK).unwrap();
    }
    println!("{line}");
}

fn wait(stage: &str) {
    println!("stage: {stage}");
    std::io::stdout().flush().unwrap();
    let mut line = String::new();
    std::io::stdin().lock().read_line(&mut line).unwrap();
}

/// A new coffer, and the secrets that matter to it, all that come of them among them.
fn make(
    secrets: &Secrets,
    kind: Kind,
    by_passphrase: bool,
    path: &Path,
) -> Vec<(&'static str, Key)> {
    let coffer = Coffer::open(path, secrets.options(kind, by_passphrase, Mode::Exclusive)).unwrap();
    write(&coffer, "small", b"buy milk");
    let all = secrets_of(&coffer, &secrets.coffer, &secrets.secure, &secrets.phrase);
    coffer.close().unwrap();
    all
}

fn secrets_of(
    coffer: &Coffer,
    container: &Key,
    secure: &Key,
    phrase: &Key,
) -> Vec<(&'static str, Key)> {
    let info = coffer.info().unwrap();
    let mut all = Vec::new();
    let (container, secure) = match info.passphrase {
        None => (container.clone(), secure.clone()),
        Some((salt, kdf)) => {
            let keys =
                kdf::derive(&Secrets::passphrase(phrase), salt, kdf, &Cancel::default()).unwrap();
            all.push(("the passphrase", phrase.clone()));
            (keys.coffer, keys.secure)
        }
    };
    let sealed = info.kind.container.cipher.is_some();
    let root = if sealed { &container } else { &secure };
    all.push(("the metadata key", key::metadata_key(root)));
    if info.kind.member.cipher.is_some() {
        all.push(("the key of encrypted files", key::crypt_key(&secure)));
        all.push(("the secure key", secure));
    } else {
        all.push(("the key of encrypted files", key::crypt_key(&container)));
    }
    if sealed {
        all.push(("the coffer key", container));
    }
    all
}

/// Everything that uses a key.
fn use_it(coffer: &Coffer, place: &Path) {
    write(coffer, "small", b"buy milk");
    write(coffer, "large", &noise(1, 2_500_000));
    let stage = coffer.upload("staged");
    let (ready, waiting) = std::sync::mpsc::channel();
    for part in noise(2, 1_500_000).chunks(100_000) {
        let ready = ready.clone();
        stage.write(part, Box::new(move |taken| ready.send(taken).unwrap()));
        waiting.recv().unwrap().unwrap();
    }
    let (name, existing) = ("staged".to_owned(), Existing::Replace);
    let staged = Change::Upload { name, upload: stage, existing, mode: None, mtime: None };
    assert!(matches!(coffer.change(staged).unwrap(), Outcome::Done));
    flush(coffer);
    assert_eq!(coffer.read("large").unwrap(), noise(1, 2_500_000));
    assert_eq!(coffer.read_range("staged", 1_200_000, 10, None).unwrap().bytes.len(), 10);
    coffer.change(Change::Compact { watch: CallObserver::silent() }).unwrap();
    coffer.verify(&CallObserver::silent()).unwrap();

    let cryptor = coffer.cryptor().unwrap();
    let mut encryptor = cryptor.encryptor();
    let mut file = encryptor.push(&noise(3, 200_000)).unwrap();
    file.extend(encryptor.finish().unwrap());
    let mut decryptor = cryptor.decryptor(false).unwrap();
    decryptor.push(&file).unwrap();
    while !decryptor.pull().unwrap().is_empty() {}
    decryptor.finish().unwrap();
    let [plain, sealed, opened] = ["plain", "sealed", "opened"].map(|name| place.join(name));
    std::fs::write(&plain, noise(4, 200_000)).unwrap();
    cryptor.encrypt_file(&plain, &sealed, true, &CallObserver::silent()).unwrap();
    let options = DecryptOptions { replace: true, ..DecryptOptions::default() };
    cryptor.decrypt_file(&sealed, &opened, options, &CallObserver::silent()).unwrap();
}

/// The life of one coffer.
fn live(kind: Kind, by_passphrase: bool, place: &Path) {
    let secrets = Secrets::new();
    let path = place.join("test.coffer");
    let old = make(&secrets, kind, by_passphrase, &path);
    for (name, key) in &old {
        tell(name, key);
    }
    wait("made");
    drop(old);

    // Keys that do not fit must leave nothing behind either.
    let wrong = Secrets::new();
    let refused =
        Coffer::open(&path, wrong.options(kind, by_passphrase, Mode::Read)).err().unwrap();
    assert_eq!(refused.code(), Code::WrongKey);
    drop(wrong);

    let reader =
        Options { lock: LockMode::None, ..secrets.options(kind, by_passphrase, Mode::Read) };
    let coffer = Coffer::open(&path, secrets.options(kind, by_passphrase, Mode::Append)).unwrap();
    use_it(&coffer, place);
    let reader = Coffer::open(&path, reader).unwrap();
    assert_eq!(reader.read("small").unwrap(), b"buy milk");
    reader.verify(&CallObserver::silent()).unwrap();
    reader.close().unwrap();
    let to = secrets.next(kind, by_passphrase);
    coffer.change(Change::Rekey { to, watch: CallObserver::silent() }).unwrap();
    use_it(&coffer, place);
    let new = [&secrets.new_coffer, &secrets.new_secure, &secrets.new_phrase];
    for (name, key) in secrets_of(&coffer, new[0], new[1], new[2]) {
        tell(&format!("{name} after rekeying"), &key);
    }
    drop(secrets);
    wait("open");
    coffer.close().unwrap();
    wait("closed");
    // The handle is still there: that the coffer is closed is enough.
    assert_eq!(coffer.read("small").unwrap_err().code(), Code::Closed);
}

/// The life of a cipher.
fn live_sealing(cipher: Cipher) {
    let key = Key::generate(32);
    tell("the key", &key);
    wait("made");
    let seal = seal::make(cipher, &key).unwrap();
    tell("the key", &key);
    drop(key);
    wait("open");
    drop(seal);
    wait("closed");
}
