//! Other programs, with errors that name them.

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result, bail};

/// Runs to the end; fails unless that was a success.
pub(super) fn run(command: &mut Command) -> Result<()> {
    output_of(command).map(drop)
}

/// Runs to the end; what it wrote.
pub(super) fn output_of(command: &mut Command) -> Result<String> {
    let bytes = filter(command, &[])?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Feeds `input` to a program; what it wrote.
pub(super) fn filter(command: &mut Command, input: &[u8]) -> Result<Vec<u8>> {
    let name = command.get_program().display().to_string();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {name}\nhint: `cargo xtask setup --vm`"))?;
    let stdin = child.stdin.take();
    let output = thread::scope(|scope| {
        scope.spawn(move || {
            // A program that does not want it all says so by its exit status.
            let _ = stdin.map(|mut stdin| stdin.write_all(input));
        });
        child.wait_with_output()
    })?;
    if !output.status.success() {
        bail!(
            "{name} failed ({}): {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}
