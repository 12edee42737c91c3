//! Tests that measure their process: each runs in a process of its own, with no other test in it.

use std::process::Command;

/// Set, to the test's name, in the process that is a test's own.
const ALONE: &str = "COFFER_TEST_ALONE";

/// Returns from the calling test, named by its function, unless its process is its own: there the test has then passed.
macro_rules! alone {
    ($test:literal) => {
        if !$crate::alone::is_alone(concat!(module_path!(), "::", $test)) {
            return;
        }
    };
}

/// Whether this process runs that test alone. If it does not, another one does, before this returns.
///
/// # Panics
///
/// When the test fails there.
pub fn is_alone(path: &str) -> bool {
    // A path begins with the crate, which libtest leaves out.
    let (_, test) = path.split_once("::").unwrap();
    if std::env::var_os(ALONE).is_some_and(|name| name == test) {
        return true;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([test, "--exact", "--nocapture"])
        .env(ALONE, test)
        .output()
        .unwrap();
    print!("{}", String::from_utf8_lossy(&output.stdout));
    eprint!("{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "it failed in its own process: {}", output.status);
    // A name that no test has runs nothing, and succeeds.
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("1 passed"),
        "there is no test {test}"
    );
    false
}
