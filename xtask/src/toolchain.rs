//! Finds a compiler that can build for BPF, and the linker.
//!
//! The target has no prebuilt `core`, so the compiler must come with the sources of the standard
//! library: a nightly of rustup with its `rust-src` component, or a distribution's compiler.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

/// A compiler with sources of `core`, and the BPF linker.
pub(crate) struct Toolchain {
    cargo: PathBuf,
    rustc: PathBuf,
    sources: PathBuf,
    linker: PathBuf,
    rustc_version: String,
    linker_version: String,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", self.rustc_version, self.linker_version)
    }
}

impl Toolchain {
    /// The first that is complete: rustup's nightly, then the system's compiler.
    pub(crate) fn find() -> Result<Self> {
        let linker = find_linker()?;
        let linker_version = output_of(Command::new(&linker).arg("--version"))?;
        let mut tried = Vec::new();
        for rustc in candidates() {
            match sources_of(&rustc) {
                Ok(sources) => {
                    let cargo = rustc.with_file_name("cargo");
                    if !cargo.is_file() {
                        tried.push(format!("{}: no cargo beside it", rustc.display()));
                        continue;
                    }
                    return Ok(Self {
                        rustc_version: output_of(Command::new(&rustc).arg("--version"))?,
                        cargo,
                        rustc,
                        sources,
                        linker,
                        linker_version,
                    });
                }
                Err(error) => tried.push(format!("{}: {error:#}", rustc.display())),
            }
        }
        bail!(
            "no compiler with the sources of `core` was found\n  {}\n\
             hint: `cargo xtask setup` on Debian, elsewhere \
             `rustup toolchain install nightly --component rust-src`",
            tried.join("\n  ")
        )
    }

    /// Builds the crate in `crate_dir` into `target_dir`; yields the path of the object.
    pub(crate) fn build(&self, crate_dir: &Path, target_dir: &Path) -> Result<PathBuf> {
        let workspace = crate_dir
            .parent()
            .context("the crate has no parent folder")?;
        let cargo_home = std::env::var_os("CARGO_HOME").map_or_else(
            || {
                let home = std::env::var_os("HOME").unwrap_or_default();
                Path::new(&home).join(".cargo")
            },
            PathBuf::from,
        );
        // Without these the object would hold the paths of the machine that built it.
        let remaps = [
            (workspace, "/tracer"),
            (cargo_home.as_path(), "/cargo"),
            (self.sources.as_path(), "/rust"),
        ];
        let flags: Vec<String> = remaps
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()))
            .collect();
        let status = Command::new(&self.cargo)
            .current_dir(crate_dir)
            .args(["build", "--release", "--locked", "-Zbuild-std=core"])
            .args(["--target", "bpfel-unknown-none"])
            .arg("--target-dir")
            .arg(target_dir)
            .env("RUSTC", &self.rustc)
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            // Set by the outer cargo for its own toolchain.
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("RUSTFLAGS")
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .with_context(|| format!("cannot run {}", self.cargo.display()))?;
        if !status.success() {
            bail!("building the kernel programs failed ({status})");
        }
        Ok(target_dir.join("bpfel-unknown-none/release/tracer"))
    }
}

fn candidates() -> Vec<PathBuf> {
    let nightly = Command::new("rustup")
        .args(["which", "rustc", "--toolchain", "nightly"])
        .output()
        .ok()
        .filter(|output| output.status.success())
        .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    nightly
        .into_iter()
        .chain(std::iter::once(PathBuf::from("/usr/bin/rustc")))
        .collect()
}

fn sources_of(rustc: &Path) -> Result<PathBuf> {
    let sysroot = output_of(Command::new(rustc).args(["--print", "sysroot"]))?;
    let sources = Path::new(&sysroot).join("lib/rustlib/src/rust/library");
    if !sources.join("core/src/lib.rs").is_file() {
        bail!("has no sources of `core` in {}", sources.display());
    }
    Ok(std::fs::canonicalize(sources)?)
}

fn find_linker() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let home = std::env::var_os("HOME").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(std::iter::once(Path::new(&home).join(".cargo/bin")))
        .map(|dir| dir.join("bpf-linker"))
        .find(|file| file.is_file())
        .context(
            "bpf-linker was not found\nhint: `cargo xtask setup` on Debian, elsewhere \
             `cargo binstall bpf-linker`",
        )
}

fn output_of(command: &mut Command) -> Result<String> {
    let output = command
        .output()
        .with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if !output.status.success() {
        bail!(
            "{} failed: {}",
            command.get_program().display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
