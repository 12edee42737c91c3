//! A replay of each target's corpus as a test, without cargo-fuzz.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{base, crypt, legacy, names, open, operations, reseal};

fn corpus(target: &str) -> PathBuf {
    base::directory().join("corpus").join(target)
}

/// The number of panics on the engine's own threads, which no test harness reports.
static PANICS: AtomicUsize = AtomicUsize::new(0);

fn listen() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if std::thread::current().name().is_some_and(|n| n.starts_with("coffer-")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(info);
        }));
    });
}

/// Gives a target each file of its corpus.
fn replay(target: &str, body: fn(&[u8])) {
    listen();
    let mut files: Vec<_> =
        fs::read_dir(corpus(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {target} is empty");
    for file in &files {
        let bytes = fs::read(file).unwrap();
        let panics = PANICS.load(Ordering::SeqCst);
        let done = std::panic::catch_unwind(|| body(&bytes));
        assert!(done.is_ok(), "{}", file.display());
        assert_eq!(PANICS.load(Ordering::SeqCst), panics, "{}", file.display());
    }
    println!("{target}: {} files", files.len());
}

#[test]
fn the_corpus_of_open_is_taken() {
    replay("open", open);
}

#[test]
fn the_corpus_of_reseal_is_taken() {
    replay("reseal", reseal);
}

#[test]
fn the_corpus_of_legacy_is_taken() {
    replay("legacy", legacy);
}

#[test]
fn the_corpus_of_names_is_taken() {
    replay("names", names);
}

#[test]
fn the_corpus_of_operations_is_taken() {
    replay("operations", operations);
}

#[test]
fn the_corpus_of_crypt_is_taken() {
    replay("crypt", crypt);
}
