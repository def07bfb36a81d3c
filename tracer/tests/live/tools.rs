//! Programs of the machine that some tests need.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

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

/// Waits for a process to end by itself, doing something meanwhile. One that takes longer is killed.
pub(crate) fn await_end(
    child: &mut Child,
    most: Duration,
    mut meanwhile: impl FnMut() -> Result<()>,
) -> Result<ExitStatus> {
    let deadline = Instant::now() + most;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it does not end within {most:?}");
        }
        meanwhile()?;
        thread::sleep(Duration::from_millis(2));
    }
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
