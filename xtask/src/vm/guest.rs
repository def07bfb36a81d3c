//! The first process of a guest: this very program, as `/init`.
//!
//! tracefs is left unmounted, as it is on many machines: tracer has to find its own way.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, mount};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::system::{RebootCommand, finit_module, reboot};
use rustix::termios::{OptionalActions, tcdrain, tcgetattr, tcsetattr};

use super::protocol::{Outcome, Plan, Task, exit_marker};

/// Name under which the kernel starts the first process.
pub(crate) const INIT: &str = "/init";
/// Where the plan lies in the guest.
pub(super) const PLAN: &str = "/plan";

/// Does what the plan says and ends the machine. Never returns.
pub(crate) fn main() -> ! {
    if let Err(error) = work() {
        // Goes to the console.
        eprintln!("guest: {error:#}");
    }
    // With `-no-reboot` that ends qemu.
    let _ = reboot(RebootCommand::Restart);
    loop {
        thread::park();
    }
}

fn work() -> Result<()> {
    for (kind, place) in [
        ("proc", "/proc"),
        ("sysfs", "/sys"),
        ("devtmpfs", "/dev"),
        ("tmpfs", "/tmp"),
        ("cgroup2", "/sys/fs/cgroup"),
    ] {
        mount(kind, place, kind, MountFlags::empty(), None)
            .with_context(|| format!("cannot mount {place}"))?;
    }
    let mut report = OpenOptions::new()
        .write(true)
        .open("/dev/ttyS1")
        .context("cannot open the second serial port")?;
    let mut settings = tcgetattr(&report)?;
    settings.make_raw();
    tcsetattr(&report, OptionalActions::Now, &settings)?;

    // IFF_UP: `ip link set lo up`.
    fs::write("/sys/class/net/lo/flags", "0x9").context("cannot bring lo up")?;
    let plan = Plan::parse(&fs::read_to_string(PLAN)?)?;
    for file in &plan.modules {
        let module = File::open(file)?;
        if let Err(error) = finit_module(&module, c"", 0) {
            eprintln!("guest: cannot load {file}: {error}");
        }
    }
    let mut code = 0;
    for task in &plan.commands {
        let outcome = run(task).unwrap_or_else(|error| Outcome {
            name: task.name.clone(),
            status: format!("cannot be run: {error:#}"),
            stdout: Vec::new(),
            stderr: Vec::new(),
        });
        if !outcome.succeeded() {
            code = 1;
        }
        report.write_all(&outcome.to_bytes())?;
        tcdrain(&report)?;
    }
    report.write_all(exit_marker(code).as_bytes())?;
    tcdrain(&report)?;
    Ok(())
}

fn run(task: &Task) -> Result<Outcome> {
    let files = ["out", "err"].map(|kind| format!("/tmp/{}.{kind}", task.name));
    let [stdout, stderr] = &files;
    let (program, arguments) = task.words.split_first().context("no command")?;
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs([
            ("PATH", "/bin"),
            ("HOME", "/tmp"),
            ("TRACER_BIN", "/bin/tracer"),
            ("LIVE_EMULATED", "1"),
        ])
        .stdin(Stdio::null())
        .stdout(File::create(stdout)?)
        .stderr(File::create(stderr)?)
        .process_group(0)
        .spawn()?;
    let limit = Duration::from_secs(task.limit_seconds);
    let status = if let Some(status) = wait(&mut child, limit)? {
        describe(status)
    } else {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process_group(group.context("no process")?, Signal::KILL)?;
        child.wait()?;
        format!("took more than {} s", task.limit_seconds)
    };
    Ok(Outcome {
        name: task.name.clone(),
        status,
        stdout: fs::read(stdout)?,
        stderr: fs::read(stderr)?,
    })
}

/// Nothing if the child is still there after `limit`.
pub(super) fn wait(child: &mut Child, limit: Duration) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > deadline {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => code.to_string(),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
