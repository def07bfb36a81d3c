//! The programs that run in the guest: static, since there is nothing else in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Contents of the programs.
pub(super) struct Programs {
    /// The guest's first process: this program.
    pub(super) init: Vec<u8>,
    pub(super) tracer: Vec<u8>,
}

/// Builds them as they are released, but static, in a folder of their own under `cache`.
pub(super) fn programs(root: &Path, cache: &Path) -> Result<Programs> {
    let folder = cache.join("guest");
    cargo(root, &folder, &["build", "-p", "tracer", "-p", "xtask"])?;
    let read = |name: &str| {
        let file = folder.join(TARGET).join("release").join(name);
        fs::read(&file).with_context(|| format!("cannot read {}", file.display()))
    };
    Ok(Programs {
        init: read("xtask")?,
        tracer: read("tracer")?,
    })
}

fn cargo(root: &Path, folder: &Path, arguments: &[&str]) -> Result<()> {
    let status = Command::new(std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from))
        .current_dir(root)
        .args(arguments)
        .args(["--release", "--locked", "--quiet", "--target", TARGET])
        .arg("--target-dir")
        .arg(folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env("CARGO_PROFILE_RELEASE_STRIP", "symbols")
        .status()
        .context("cannot run cargo")?;
    if !status.success() {
        bail!("building the guest's programs failed ({status})");
    }
    Ok(())
}
