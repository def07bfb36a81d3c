//! `tracer record` as its users run it, and what other commands make of the files.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::tools;
use crate::tracer;

/// Loading, attaching and draining take far less.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of a test's own; gone when dropped.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tracer-live-{}-{number}", process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).context("cannot make a directory")?;
        Ok(Self(path))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// What is there, in the order of the names.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }

    /// Likewise, with where it is.
    pub(crate) fn paths(&self) -> Result<Vec<PathBuf>> {
        let names = self.names()?;
        Ok(names.iter().map(|name| self.path(name)).collect())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) status: ExitStatus,
    pub(crate) stderr: String,
}

impl Ended {
    pub(crate) fn ensure_success(&self) -> Result<()> {
        ensure!(self.status.success(), "{}: {}", self.status, self.stderr);
        Ok(())
    }
}

/// A running `tracer record`; killed when dropped.
pub(crate) struct Recorder {
    pub(crate) child: Child,
    stderr: Option<JoinHandle<String>>,
}

impl Recorder {
    /// Starts it and waits until all is attached: then there is a file.
    pub(crate) fn start<S: AsRef<OsStr>>(path: &Path, arguments: &[S]) -> Result<Self> {
        Self::start_with(path, arguments, |_| {})
    }

    /// Likewise, with environment and standard output as `change` makes them.
    pub(crate) fn start_with<S: AsRef<OsStr>>(
        path: &Path,
        arguments: &[S],
        change: impl FnOnce(&mut Command),
    ) -> Result<Self> {
        let mut command = Command::new(tracer::binary());
        command
            .arg("record")
            .arg("-o")
            .arg(path)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        change(&mut command);
        let mut recorder = Self::of(command)?;
        let first_part = path.with_extension("000001.tracer");
        let deadline = Instant::now() + PATIENCE;
        let is_begun = || [path, &first_part].iter().any(|path| path.exists());
        while path != Path::new("-") && !is_begun() {
            if recorder.child.try_wait()?.is_some() {
                bail!("it ended at once: {:?}", recorder.wait()?);
            }
            ensure!(Instant::now() < deadline, "it does not start");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(recorder)
    }

    /// Starts any command.
    pub(crate) fn of(mut command: Command) -> Result<Self> {
        let mut child = command
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", tracer::binary()))?;
        let stderr = tracer::collect(child.stderr.take().context("no pipe")?);
        Ok(Self {
            child,
            stderr: Some(stderr),
        })
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill_process(Pid::from_child(&self.child), signal)?;
        Ok(())
    }

    /// Ends it as Ctrl-C does, and fails if it fails.
    pub(crate) fn stop(self) -> Result<String> {
        self.signal(Signal::INT)?;
        let ended = self.wait()?;
        ended.ensure_success()?;
        Ok(ended.stderr)
    }

    /// Whether it still runs.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    /// Waits for it to end by itself.
    pub(crate) fn wait(mut self) -> Result<Ended> {
        let status = tools::await_end(&mut self.child, PATIENCE, || Ok(()))?;
        let stderr = self.stderr.take().map(JoinHandle::join);
        Ok(Ended {
            status,
            stderr: stderr.and_then(Result::ok).unwrap_or_default(),
        })
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a command of tracer gives, of these files.
pub(crate) fn run(arguments: &[&str], files: &[PathBuf]) -> Result<(Vec<u8>, Ended)> {
    let output = Command::new(tracer::binary())
        .args(arguments)
        .args(files)
        .stdin(Stdio::null())
        .output()?;
    let ended = Ended {
        status: output.status,
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    Ok((output.stdout, ended))
}

/// Likewise, where it must go well.
pub(crate) fn run_well(arguments: &[&str], files: &[PathBuf]) -> Result<Vec<u8>> {
    let (stdout, ended) = run(arguments, files)?;
    ended
        .ensure_success()
        .with_context(|| format!("{arguments:?} of {files:?}"))?;
    Ok(stdout)
}
