//! What is exported, read by programs that are not ours.
//!
//! They are Python packages in a virtual environment: `TRACER_READERS`, or `target/readers`, made by
//! `cargo xtask setup --readers`. Without it these tests say what they leave out; with `CI` set they fail.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test fails by panicking, and says what it leaves out"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

#[expect(dead_code, reason = "shared with other tests")]
mod samples;

mod foreign {
    pub(crate) mod perfetto;
    pub(crate) mod tables;
}

/// The interpreter that has the readers; `None` if they are not installed.
pub(crate) fn python() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let readers = std::env::var_os("TRACER_READERS")
        .map_or_else(|| root.join("target/readers"), PathBuf::from);
    let python = readers.join("bin/python");
    if python.exists() {
        return Some(python);
    }
    assert!(
        std::env::var_os("CI").is_none(),
        "the readers are not installed: cargo xtask setup --readers"
    );
    eprintln!("left out, as the readers are not installed: cargo xtask setup --readers");
    None
}

/// Runs a script in `tests/foreign` and takes its JSON.
pub(crate) fn ask(python: &Path, script: &str, file: &Path, arguments: &[&str]) -> Value {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    let answer = Command::new(python)
        .arg(scripts.join(script))
        .arg(file)
        .args(arguments)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&answer.stderr);
    assert!(answer.status.success(), "{script}: {said}");
    serde_json::from_slice(&answer.stdout)
        .unwrap_or_else(|error| panic!("{script}: {error}: {said}"))
}

/// A file for a test, in the directory that Cargo has for them.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}
