//! Programs of the machine that some tests need.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::scenarios::Impossible;

/// Where a command is. Administrators' commands are found though `PATH` leaves them out.
pub(crate) fn find(command: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(command))
        .find(|file| file.is_file());
    found.ok_or_else(|| Impossible(format!("{command} is not installed")).into())
}

/// Lets the firewall of the calling thread's network namespace drop what comes to a port.
pub(crate) fn drop_at_port(port: u16) -> Result<()> {
    let rules = format!(
        "table ip t {{\nchain c {{\ntype filter hook input priority 0\ntcp dport {port} drop\n}}\n}}\n"
    );
    let mut child = Command::new(find("nft")?)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut stdin = child.stdin.take().context("no pipe")?;
    stdin.write_all(rules.as_bytes())?;
    drop(stdin);
    ensure!(child.wait()?.success(), "nft refused its rules");
    Ok(())
}
