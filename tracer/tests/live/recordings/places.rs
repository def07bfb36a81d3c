//! Where files are made, and whose they are.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};

use super::{ports, with};
use crate::harness::Verdict;
use crate::recorder::{Ended, Recorder, Scratch};
use crate::tracer;

const USER: u32 = 12_345;
const GROUP: u32 = 23_456;
const CANNOT_WRITE: i32 = 5;

/// Commands that make files, live or of a recording.
fn commands(recording: &Path) -> Vec<Vec<String>> {
    let recording = recording.display().to_string();
    let words = |words: &[&str]| {
        words
            .iter()
            .map(|&word| word.to_owned())
            .collect::<Vec<_>>()
    };
    let live = |words_: &[&str]| {
        let mut line = words(words_);
        line.extend(with(&["--duration", "200ms"]));
        line
    };
    vec![
        live(&["record"]),
        live(&["report"]),
        live(&["export", "--format", "csv"]),
        words(&["report", &recording]),
        words(&["export", "--format", "perfetto", &recording]),
    ]
}

fn run_to(file: &Path, command: &[String], more: &[&str], sudo: bool) -> Result<Ended> {
    let mut line = Command::new(tracer::binary());
    line.args(command)
        .arg("-o")
        .arg(file)
        .args(more)
        .env_remove("SUDO_UID")
        .env_remove("SUDO_GID")
        .stdin(Stdio::null());
    if sudo {
        line.env("SUDO_UID", USER.to_string());
        line.env("SUDO_GID", GROUP.to_string());
    }
    let output = line.output()?;
    Ok(Ended {
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// A recording to make something of.
fn recording(scratch: &Scratch) -> Result<PathBuf> {
    let file = scratch.path("source.tracer");
    Recorder::start(&file, &ports())?.stop()?;
    Ok(file)
}

pub(super) fn sudo() -> Result<Verdict> {
    let scratch = Scratch::new()?;
    let source = recording(&scratch)?;
    let is_private = |metadata: &Metadata| metadata.permissions().mode() & 0o7777 == 0o600;
    for (number, command) in commands(&source).iter().enumerate() {
        for sudo in [true, false] {
            let file = scratch.path(&format!("file-{number}-{sudo}"));
            run_to(&file, command, &[], sudo)?.ensure_success()?;
            let metadata = std::fs::metadata(&file)?;
            let owner = if sudo { (USER, GROUP) } else { (0, 0) };
            ensure!(
                (metadata.uid(), metadata.gid()) == owner && is_private(&metadata),
                "{command:?}: {metadata:?}"
            );
        }
    }
    // Every file of a set.
    let set = Scratch::new()?;
    let record = commands(&source).swap_remove(0);
    let rotating = ["--rotate-time", "60ms"];
    run_to(&set.path("s.tracer"), &record, &rotating, true)?.ensure_success()?;
    let files = set.paths()?;
    ensure!(files.len() > 1, "{files:?}");
    for file in files {
        let metadata = std::fs::metadata(&file)?;
        ensure!(
            (metadata.uid(), metadata.gid()) == (USER, GROUP) && is_private(&metadata),
            "{}: {metadata:?}",
            file.display()
        );
    }
    Ok(Verdict::Passed)
}

/// Neither the file nor its directory may be one: whoever made it would choose where root writes.
pub(super) fn links() -> Result<Verdict> {
    let scratch = Scratch::new()?;
    let source = recording(&scratch)?;
    let (target, directory) = (scratch.path("target"), scratch.path("directory"));
    let (link, to_directory) = (scratch.path("link"), scratch.path("to-directory"));
    std::fs::create_dir(&directory)?;
    symlink(&target, &link)?;
    symlink(&directory, &to_directory)?;
    let before = scratch.names()?;
    for command in commands(&source) {
        for file in [link.clone(), to_directory.join("file")] {
            for more in [&[][..], &["--force"]] {
                let ended = run_to(&file, &command, more, false)?;
                ensure!(
                    ended.status.code() == Some(CANNOT_WRITE) && ended.stderr.contains("symbolic"),
                    "{command:?}: {ended:?}"
                );
            }
        }
    }
    ensure!(scratch.names()? == before, "{:?}", scratch.names()?);
    ensure!(std::fs::read_dir(&directory)?.next().is_none());
    Ok(Verdict::Passed)
}

pub(super) fn existing() -> Result<Verdict> {
    const THEIRS: &str = "theirs";
    let scratch = Scratch::new()?;
    let source = recording(&scratch)?;
    let file = scratch.path("file");
    for command in commands(&source) {
        std::fs::write(&file, THEIRS)?;
        let inode = std::fs::metadata(&file)?.ino();
        let ended = run_to(&file, &command, &[], false)?;
        ensure!(
            ended.status.code() == Some(CANNOT_WRITE) && ended.stderr.contains("--force"),
            "{command:?}: {ended:?}"
        );
        ensure!(std::fs::read_to_string(&file)? == THEIRS, "{command:?}");
        run_to(&file, &command, &["--force"], false)?.ensure_success()?;
        let metadata = std::fs::metadata(&file)?;
        ensure!(
            metadata.ino() != inode && metadata.len() > 100,
            "{command:?}"
        );
        // Nothing else is left behind.
        ensure!(scratch.names()? == ["file", "source.tracer"]);
    }
    // A file of an earlier set is in the way of a later one, even if it would be reached in an hour only.
    let set = Scratch::new()?;
    let old = set.path("s.000007.tracer");
    std::fs::write(&old, THEIRS)?;
    let record = commands(&source).swap_remove(0);
    let rotating = ["--rotate-time", "1h"];
    let ended = run_to(&set.path("s.tracer"), &record, &rotating, false)?;
    ensure!(
        ended.status.code() == Some(CANNOT_WRITE)
            && ended.stderr.contains("s.000007.tracer exists"),
        "{ended:?}"
    );
    ensure!(set.names()? == ["s.000007.tracer"], "{:?}", set.names()?);
    let forced = ["--rotate-time", "1h", "--force"];
    run_to(&set.path("s.tracer"), &record, &forced, false)?.ensure_success()?;
    ensure!(set.names()? == ["s.000001.tracer"], "{:?}", set.names()?);
    Ok(Verdict::Passed)
}
