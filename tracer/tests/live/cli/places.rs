//! Places where it cannot work as usual, and what it leaves behind and says of itself.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use rustix::process::{Signal, kill_process};
use serde_json::Value;

use super::port;
use crate::harness::Verdict;
use crate::tools;
use crate::tracer::{self, Tracer};

/// Exit codes, as `--help` documents them.
const NOT_PERMITTED: i32 = 3;
const CANNOT_WRITE: i32 = 5;

/// What a run of a second gives, with arguments and standard streams as `change` makes them.
fn run_briefly(change: impl FnOnce(&mut Command)) -> Result<Output> {
    let mut command = Command::new(tracer::binary());
    command
        .args(["--port", &port(), "--duration", "1s"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    change(&mut command);
    Ok(command.spawn()?.wait_with_output()?)
}

pub(super) fn full_disk() -> Result<Verdict> {
    let full = File::options().write(true).open("/dev/full")?;
    let output = run_briefly(|command| {
        command.stdout(full);
    })?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(CANNOT_WRITE),
        "{}: {stderr}",
        output.status
    );
    ensure!(
        stderr.contains("cannot write") && stderr.contains("No space left on device"),
        "it does not say why: {stderr}"
    );
    ensure!(
        !stderr.contains("shown in"),
        "it says that it was shown: {stderr}"
    );
    Ok(Verdict::Passed)
}

/// A service manager or a careless script may start it so.
pub(super) fn closed_standard_streams() -> Result<Verdict> {
    for (closing, code) in [("<&-", 0), (">&-", 0), ("2>&-", 0), ("<&- >&- 2>&-", 0)] {
        let script = format!(
            "exec {} --port {} --duration 300ms {closing}",
            tracer::binary(),
            port()
        );
        let output = Command::new(tools::find("sh")?)
            .args(["-c", &script])
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.code() == Some(code) && !stderr.contains("panicked"),
            "{closing}: {}: {stderr}",
            output.status
        );
    }
    Ok(Verdict::Passed)
}

pub(super) fn not_root() -> Result<Verdict> {
    const NOBODY: u32 = 65_534;
    // Where the build directory is closed to others, so is the command.
    let copy = std::env::temp_dir().join(format!("tracer-live-{}", std::process::id()));
    std::fs::copy(tracer::binary(), &copy)?;
    let output = Command::new(&copy)
        .args(["--duration", "1s"])
        .uid(NOBODY)
        .gid(NOBODY)
        .current_dir("/")
        .output();
    std::fs::remove_file(&copy)?;
    let output = output?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(NOT_PERMITTED),
        "{}: {stderr}",
        output.status
    );
    ensure!(
        stderr.contains("hint:") && stderr.contains("sudo"),
        "it does not say what to do: {stderr}"
    );
    Ok(Verdict::Passed)
}

/// Even SIGKILL leaves no program of it in the kernel.
pub(super) fn killed_leaves_nothing() -> Result<Verdict> {
    let before = programs()?;
    let tracer = Tracer::start(&["--port", &port()])?;
    let during = programs()?;
    let own: BTreeSet<&u64> = during.difference(&before).collect();
    ensure!(
        !own.is_empty(),
        "bpftool shows no program of a running tracer"
    );
    kill_process(tracer.pid(), Signal::KILL)?;
    drop(tracer);
    // The kernel frees them a little later.
    let deadline = Instant::now() + Duration::from_secs(5);
    while programs()?.iter().any(|program| own.contains(program)) {
        ensure!(Instant::now() < deadline, "programs are left: {own:?}");
        thread::sleep(Duration::from_millis(20));
    }
    Ok(Verdict::Passed)
}

/// Ids of the BPF programs in the kernel.
fn programs() -> Result<BTreeSet<u64>> {
    let output = Command::new(tools::find("bpftool")?)
        .args(["--json", "prog", "show"])
        .output()?;
    ensure!(output.status.success(), "bpftool failed: {output:?}");
    let list: Vec<Value> = serde_json::from_slice(&output.stdout)?;
    let id = |program: &Value| program.get("id").and_then(Value::as_u64);
    Ok(list.iter().filter_map(id).collect())
}

pub(super) fn doctor() -> Result<Verdict> {
    let output = Command::new(tracer::binary()).arg("doctor").output()?;
    let stdout = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {stdout}", output.status);
    for check in [
        "kernel",
        "privileges",
        "tracefs",
        "ring buffer",
        "self-test",
    ] {
        ensure!(stdout.contains(check), "nothing on {check}:\n{stdout}");
    }
    Ok(Verdict::Passed)
}

pub(super) fn doctor_as_json() -> Result<Verdict> {
    let output = Command::new(tracer::binary())
        .args(["doctor", "--json"])
        .output()?;
    ensure!(output.status.success(), "{}", output.status);
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let good = report.get("ok").and_then(Value::as_bool);
    ensure!(good == Some(true), "{report}");
    let checks = report.get("checks").and_then(Value::as_array);
    ensure!(checks.is_some_and(|checks| checks.len() > 5), "{report}");
    Ok(Verdict::Passed)
}
