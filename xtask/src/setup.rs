//! Installs what chores need: the BPF toolchain from Debian's packages and crates.io, the emulator of
//! the virtual machines.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

const LLVM: &str = "22";
const BPF_LINKER: &str = "0.13.0";

/// Debian's compiler comes with its sources, and with the LLVM that the linker must be built against.
pub(crate) fn run() -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!(
            "this is not Debian or Ubuntu\nhint: `rustup toolchain install nightly --component \
             rust-src` and `cargo binstall bpf-linker`"
        );
    }
    let llvm_dev = format!("llvm-{LLVM}-dev");
    let polly_dev = format!("libpolly-{LLVM}-dev");
    step("apt-get", &["update", "-q"], &[])?;
    step(
        "apt-get",
        &[
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
            "rustc-web",
            "cargo-web",
            "rust-web-src",
            &llvm_dev,
            &polly_dev,
            "zlib1g-dev",
            "libzstd-dev",
        ],
        &[("DEBIAN_FRONTEND", "noninteractive")],
    )?;
    let installed = Command::new("bpf-linker")
        .arg("--version")
        .output()
        .is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(BPF_LINKER));
    if !installed {
        let feature = format!("llvm-{LLVM}");
        let prefix = format!("/usr/lib/llvm-{LLVM}");
        step(
            "cargo",
            &[
                "install",
                "bpf-linker",
                "--version",
                BPF_LINKER,
                "--locked",
                "--no-default-features",
                "--features",
                &feature,
            ],
            &[("LLVM_PREFIX", &prefix)],
        )?;
    }
    Ok(())
}

/// Programs that are not ours and read what tracer exports: Python packages in an environment of their own.
pub(crate) fn readers(root: &Path) -> Result<()> {
    let environment = root.join("target/readers");
    let python = environment.join("bin/python");
    let needed = root.join("tracer/tests/foreign/requirements.txt");
    let path = |path: &Path| path.to_string_lossy().into_owned();
    step("python3", &["-m", "venv", &path(&environment)], &[])
        .context("hint: on Debian, apt install python3-venv nodejs")?;
    let install = [
        "-m",
        "pip",
        "install",
        "-q",
        "--timeout",
        "30",
        "-r",
        &path(&needed),
    ];
    step(&path(&python), &install, &[])?;
    step("node", &["--version"], &[]).context("hint: on Debian, apt install nodejs")
}

/// The emulator, and what unpacks kernels.
pub(crate) fn vm() -> Result<()> {
    if !Path::new("/etc/debian_version").exists() {
        bail!(
            "this is not Debian or Ubuntu\nhint: needed are qemu-system-x86_64, apt, dpkg, Debian's \
             archive keys, lz4, zstd and xz"
        );
    }
    step("apt-get", &["update", "-q"], &[])?;
    step(
        "apt-get",
        &[
            "install",
            "-q",
            "-y",
            "--no-install-recommends",
            "debian-archive-keyring",
            "lz4",
            "qemu-system-x86",
            "xz-utils",
            "zstd",
        ],
        &[("DEBIAN_FRONTEND", "noninteractive")],
    )
}

fn step(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Result<()> {
    eprintln!("+ {program} {}", arguments.join(" "));
    let status = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    if !status.success() {
        bail!("{program} failed ({status})");
    }
    Ok(())
}
