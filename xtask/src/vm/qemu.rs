//! One boot of a kernel in qemu.
//!
//! Always emulated, in one thread: that works on any machine, and qemu's multi-threaded emulation
//! crashes now and then where the kernel patches its own code.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::archive::Kernel;
use super::protocol::{Outcome, parse_report};

/// How a boot ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The guest did all it was told, with this exit code.
    Done(u8),
    /// The kernel panicked or printed an oops.
    Panic,
    /// It took too long.
    Timeout,
    /// qemu ended without the guest's last word.
    Silent,
}

/// What a boot gave.
#[derive(Debug)]
pub(super) struct Boot {
    pub(super) end: End,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) took: Duration,
}

/// Boots `kernel` with `initramfs`; leaves `console` and `report` in `folder`.
pub(super) fn boot(
    kernel: &Kernel,
    initramfs: &[u8],
    folder: &Path,
    limit: Duration,
) -> Result<Boot> {
    fs::create_dir_all(folder)?;
    let file = |name: &str| folder.join(name);
    fs::write(file("initramfs"), initramfs)?;
    for name in ["console", "report"] {
        fs::write(file(name), "")?;
    }
    let started = Instant::now();
    let mut child = Command::new("qemu-system-x86_64")
        .args("-accel tcg,thread=single -cpu max -smp 2 -m 1024".split(' '))
        .args("-nodefaults -no-user-config -no-reboot -display none".split(' '))
        .arg("-serial")
        .arg(format!("file:{}", file("console").display()))
        .arg("-serial")
        .arg(format!("file:{}", file("report").display()))
        .arg("-kernel")
        .arg(&kernel.vmlinux)
        .arg("-initrd")
        .arg(file("initramfs"))
        .arg("-append")
        .arg("console=ttyS0 panic=-1 oops=panic tsc=reliable no_timer_check mitigations=off")
        .stdin(Stdio::null())
        .spawn()
        .context("cannot run qemu-system-x86_64\nhint: `cargo xtask setup --vm`")?;
    let ended = loop {
        if child.try_wait()?.is_some() {
            break true;
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            break false;
        }
        thread::sleep(Duration::from_millis(20));
    };
    let (outcomes, code) = parse_report(&fs::read(file("report"))?);
    let console = fs::read(file("console"))?;
    let said = |text: &str| {
        console
            .windows(text.len())
            .any(|bytes| bytes == text.as_bytes())
    };
    let end = match code {
        _ if said("Kernel panic") => End::Panic,
        Some(code) => End::Done(code),
        None if ended => End::Silent,
        None => End::Timeout,
    };
    Ok(Boot {
        end,
        outcomes,
        took: started.elapsed(),
    })
}
