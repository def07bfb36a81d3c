//! The programs that run in the guest: static, since there is nothing else in it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use super::initramfs::Archive;
use super::process::output_of;

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Contents of the programs.
pub(super) struct Programs {
    /// The guest's first process: this program.
    pub(super) init: Vec<u8>,
    pub(super) tracer: Vec<u8>,
    /// The live tests, if they are wanted.
    pub(super) live: Option<Vec<u8>>,
}

/// Builds them much as they are released, but static and in a third of the time, in a folder of their own under
/// `cache`.
pub(super) fn programs(root: &Path, cache: &Path, with_live: bool) -> Result<Programs> {
    let folder = cache.join("guest");
    cargo(root, &folder, &["build", "-p", "tracer", "-p", "xtask"])?;
    let built = |name: &str| read(&folder.join(TARGET).join("release").join(name));
    let live = if with_live {
        let tests = ["test", "--no-run", "-p", "tracer", "--test", "live"];
        let messages = cargo(root, &folder, &tests)?;
        let executable = executable(&messages, "live").context("cargo built no live tests")?;
        Some(read(&executable)?)
    } else {
        None
    };
    Ok(Programs {
        init: built("xtask")?,
        tracer: built("tracer")?,
        live,
    })
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Yields cargo's messages.
fn cargo(root: &Path, folder: &Path, arguments: &[&str]) -> Result<String> {
    let output = Command::new(std::env::var_os("CARGO").map_or("cargo".into(), PathBuf::from))
        .current_dir(root)
        .args(arguments)
        .args(["--release", "--locked", "--quiet", "--target", TARGET])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(folder)
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .envs([
            ("CARGO_PROFILE_RELEASE_STRIP", "symbols"),
            ("CARGO_PROFILE_RELEASE_DEBUG", "0"),
            ("CARGO_PROFILE_RELEASE_LTO", "off"),
            ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
            ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
        ])
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    if !output.status.success() {
        bail!("building the guest's programs failed ({})", output.status);
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[derive(Deserialize)]
struct Artifact {
    target: Target,
    executable: PathBuf,
}

#[derive(Deserialize)]
struct Target {
    name: String,
}

/// Where cargo's messages say that it put a program. Messages of other kinds are passed over.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Artifact>(line).ok())
        .find(|artifact| artifact.target.name == name)
        .map(|artifact| artifact.executable)
}

/// Copies a program of this machine into the guest, with the libraries it needs. A program that is not
/// here is left out: what needs it says so.
pub(super) fn copy_from_host(name: &str, image: &mut Archive) -> Result<()> {
    let Some(file) = ["/usr/bin", "/usr/sbin"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
    else {
        return Ok(());
    };
    let libraries = output_of(Command::new("ldd").arg(&file))?;
    for library in libraries
        .split_whitespace()
        .filter(|word| word.starts_with('/'))
    {
        image.file_with_folders(library.trim_start_matches('/'), &read(Path::new(library))?)?;
    }
    image.file_with_folders(&format!("bin/{name}"), &read(&file)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn executable_among_messages() {
        let messages = "{\"reason\":\"build-script-executed\"}\n\
            {\"target\":{\"name\":\"live\"},\"executable\":null}\n\
            {\"target\":{\"name\":\"live\"},\"executable\":\"/t/live-1\"}\n\
            {\"target\":{\"name\":\"tracer\"},\"executable\":\"/t/tracer\"}\n\
            {\"reason\":\"build-finished\",\"success\":true}\n";
        assert_eq!(
            executable(messages, "live"),
            Some(PathBuf::from("/t/live-1"))
        );
        assert_eq!(executable(messages, "other"), None);
    }
}
