//! Recordings that do not end as they should.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::views::await_word;
use super::{before, now_ns, oracle, pause_before, ports, talk, told_before, with};
use crate::compare;
use crate::harness::Verdict;
use crate::netns::Namespace;
use crate::recorder::{Recorder, Scratch, run};
use crate::stage;
use crate::tools;
use crate::tracer::{self, Tracer};

const CANNOT_WRITE: i32 = 5;

pub(super) fn killed() -> Result<Verdict> {
    const LAST: u64 = 1_000_000_000;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    let oracle = oracle()?;
    let recorder = Recorder::start(&file, &ports())?;
    let start = Instant::now();
    while start.elapsed() < Duration::from_millis(2500) {
        talk(&namespace)?;
    }
    recorder.signal(Signal::KILL)?;
    let killed_ns = now_ns();
    recorder.wait()?;
    let records = oracle.finish()?;
    let replay = Tracer::replay(&[file], &[""; 0])?.wait()?;
    replay.ensure_complete()?;
    let safe_ns = pause_before(&records, killed_ns - LAST)?;
    compare::ensure_equal(
        &before(&records, safe_ns),
        &told_before(&replay.transitions, safe_ns),
    )?;
    compare::ensure_part(&records, &replay.transitions)?;
    ensure!(
        replay.transitions.len() < records.len(),
        "nothing was lost: the test does not test"
    );
    ensure!(
        replay.stderr.contains("has no end, it was cut off after"),
        "it does not say what is missing: {}",
        replay.stderr
    );
    Ok(Verdict::Passed)
}

/// Ended while it starts, it leaves a whole recording or none.
pub(super) fn ended_at_the_start() -> Result<Verdict> {
    let mut whole = 0;
    for delay_ms in [1, 10, 20, 40, 80, 160, 320, 640] {
        let scratch = Scratch::new()?;
        let file = scratch.path("s.tracer");
        let mut command = Command::new(tracer::binary());
        command.args(["record", "-o"]).arg(&file).args(ports());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let recorder = Recorder::of(command)?;
        thread::sleep(Duration::from_millis(delay_ms));
        recorder.signal(Signal::TERM)?;
        let ended = recorder.wait()?;
        let before_it_listened = ended.status.signal() == Some(Signal::TERM.as_raw());
        ensure!(
            ended.status.success() || before_it_listened,
            "after {delay_ms} ms: {ended:?}"
        );
        let names = scratch.names()?;
        if ended.status.success() {
            ensure!(names == ["s.tracer"], "{names:?}");
            let replay = Tracer::replay(&[file], &[""; 0])?.wait()?;
            replay.ensure_complete()?;
            ensure!(!replay.stderr.contains("no end"), "{}", replay.stderr);
            whole += 1;
        } else {
            ensure!(names.is_empty(), "{names:?}");
        }
    }
    ensure!(whole > 0, "it never starts");
    Ok(Verdict::Passed)
}

/// Wherever a change of files stood when it was killed, what is left can be read together.
pub(super) fn killed_between_files() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    for round in 0..6 {
        let scratch = Scratch::new()?;
        let rotating = with(&["--rotate-time", "1ms", "--keep", "3"]);
        let recorder = Recorder::start(&scratch.path("s.tracer"), &rotating)?;
        let start = Instant::now();
        while start.elapsed() < Duration::from_millis(600 + round * 37) {
            talk(&namespace)?;
        }
        recorder.signal(Signal::KILL)?;
        recorder.wait()?;
        let mut files = scratch.paths()?;
        files.retain(|file| {
            file.extension()
                .is_some_and(|extension| extension == "tracer")
        });
        ensure!(files.len() > 1, "{files:?}: the test does not test");
        let replay = Tracer::replay(&files, &[""; 0])?.wait()?;
        replay.ensure_complete()?;
        let after = replay.end.pointer("/missing/after");
        ensure!(
            after.is_some_and(|after| after == "cut_off"),
            "{}",
            replay.end
        );
    }
    Ok(Verdict::Passed)
}

/// Whoever follows hears why nothing comes, and does not wait for what cannot come.
pub(super) fn silence() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let files = ["stopped.tracer", "killed.tracer"].map(|name| scratch.path(name));
    let [stopped_file, killed_file] = &files;
    let stopped = Recorder::start(stopped_file, &ports())?;
    let killed = Recorder::start(killed_file, &ports())?;
    let follow = |file: &Path| {
        let mut command = Command::new(tracer::binary());
        command.args(["replay", "--follow"]).arg(file);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    };
    let mut waiting = follow(stopped_file).stderr(Stdio::piped()).spawn()?;
    let leaving = Tracer::replay(std::slice::from_ref(killed_file), &["--follow"])?;
    talk(&namespace)?;
    stopped.signal(Signal::STOP)?;
    killed.signal(Signal::KILL)?;
    killed.wait()?;
    await_word(&mut waiting, "its recorder is there")?;
    let left = leaving.wait()?;
    left.ensure_complete()?;
    ensure!(
        left.stderr.contains("nobody writes to it any more"),
        "{}",
        left.stderr
    );
    let after = left.end.pointer("/missing/after");
    ensure!(
        after.is_some_and(|after| after == "cut_off"),
        "{}",
        left.end
    );
    ensure!(
        waiting.try_wait()?.is_none(),
        "it does not wait for a recorder that is there"
    );
    stopped.signal(Signal::CONT)?;
    stopped.stop()?;
    let ended = tools::await_end(&mut waiting, Duration::from_secs(20), || Ok(()))
        .context("it waits though all is there")?;
    ensure!(ended.success(), "{ended}");
    Ok(Verdict::Passed)
}

/// A file system that is gone when dropped.
struct SmallDisk<'a>(&'a Path);

impl<'a> SmallDisk<'a> {
    fn mount(path: &'a Path, size: &str) -> Result<Self> {
        std::fs::create_dir(path)?;
        let status = Command::new(tools::find("mount")?)
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tracer-live"])
            .arg(path)
            .status()?;
        ensure!(status.success(), "cannot mount a small disk: {status}");
        Ok(Self(path))
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0).status();
    }
}

pub(super) fn full_disk() -> Result<Verdict> {
    /// Records of other CPUs may be in blocks that were not written.
    const REORDERED: u64 = 100_000_000;
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let directory = scratch.path("disk");
    let disk = SmallDisk::mount(&directory, "96k")?;
    let file = directory.join("s.tracer");
    let oracle = oracle()?;
    let mut recorder = Recorder::start(&file, &ports())?;
    let deadline = Instant::now() + Duration::from_secs(30);
    while recorder.runs()? {
        talk(&namespace)?;
        ensure!(Instant::now() < deadline, "the disk is never full");
    }
    let ended = recorder.wait()?;
    let records = oracle.finish()?;
    ensure!(ended.status.code() == Some(CANNOT_WRITE), "{ended:?}");
    for word in ["cannot write to", "No space left on device", "hint:"] {
        ensure!(ended.stderr.contains(word), "no {word}: {}", ended.stderr);
    }
    let replay = Tracer::replay(&[file], &[""; 0])?.wait()?;
    replay.ensure_complete()?;
    let last = replay.transitions.iter().map(|line| line.mono_ns).max();
    let last_ns = last.context("nothing was recorded")?;
    let safe_ns = pause_before(&records, last_ns - REORDERED)?;
    compare::ensure_equal(
        &before(&records, safe_ns),
        &told_before(&replay.transitions, safe_ns),
    )?;
    compare::ensure_part(&records, &replay.transitions)?;
    ensure!(replay.stderr.contains("has no end"), "{}", replay.stderr);
    let told = ended.stderr.lines().find_map(|line| {
        let (missing, time) = line.split_once(" transitions after ")?;
        Some((missing, time.strip_suffix(" are not in the recording")?))
    });
    let (missing, _) = told.with_context(|| format!("no loss is told: {}", ended.stderr))?;
    let (missing, replayed) = (missing.parse::<usize>()?, replay.transitions.len());
    ensure!(
        (1..=records.len() - replayed).contains(&missing),
        "{missing} are said to be missing, {replayed} of {} are there",
        records.len()
    );
    drop(disk);
    Ok(Verdict::Passed)
}

pub(super) fn pipe() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let oracle = oracle()?;
    let mut recorder = Recorder::start_with(Path::new("-"), &ports(), |command| {
        command.stdout(Stdio::piped());
    })?;
    let mut stdout = recorder.child.stdout.take().context("no pipe")?;
    let mut bytes = vec![0; 8];
    // The header comes when all is attached.
    stdout.read_exact(&mut bytes)?;
    for _ in 0..20 {
        talk(&namespace)?;
    }
    stage::await_open_sockets(&namespace, 0)?;
    recorder.signal(Signal::INT)?;
    stdout.read_to_end(&mut bytes)?;
    recorder.wait()?.ensure_success()?;
    let records = oracle.finish()?;
    let copy = scratch.path("copy");
    std::fs::write(&copy, &bytes)?;
    let replay = Tracer::replay(&[copy], &[""; 0])?.wait()?;
    replay.ensure_complete()?;
    compare::ensure_equal(&records, &replay.transitions)?;

    // Out of a pipe it says the same.
    let mut from_pipe = Command::new(tracer::binary())
        .args(["replay", "-o", "jsonl", "-"])
        .stdin(Stdio::piped())
        .stdout(File::create(scratch.path("out"))?)
        .stderr(Stdio::null())
        .spawn()?;
    from_pipe
        .stdin
        .take()
        .context("no pipe")?
        .write_all(&bytes)?;
    ensure!(from_pipe.wait()?.success());
    let (of_file, _) = run(&["replay", "-o", "jsonl"], &[scratch.path("copy")])?;
    ensure!(of_file == std::fs::read(scratch.path("out"))?);
    Ok(Verdict::Passed)
}

/// A reader that has enough is no error.
pub(super) fn closed_pipe() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let mut recorder = Recorder::start_with(Path::new("-"), &ports(), |command| {
        command.stdout(Stdio::piped());
    })?;
    let mut stdout = recorder.child.stdout.take().context("no pipe")?;
    stdout.read_exact(&mut [0; 8])?;
    drop(stdout);
    let deadline = Instant::now() + Duration::from_secs(10);
    while recorder.runs()? {
        talk(&namespace)?;
        ensure!(Instant::now() < deadline, "it does not notice");
        thread::sleep(Duration::from_millis(10));
    }
    let ended = recorder.wait()?;
    ended.ensure_success()?;
    for word in ["tracer: ", "Broken pipe", "panic"] {
        ensure!(
            !ended.stderr.contains(word),
            "it complains: {}",
            ended.stderr
        );
    }
    Ok(Verdict::Passed)
}

/// Recording goes on when whoever looked at the live view has gone.
pub(super) fn view_gone() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let file = scratch.path("s.tracer");
    let oracle = oracle()?;
    let mut recorder = Recorder::start_with(&file, &with(&["--tee", "text"]), |command| {
        command.stdout(Stdio::piped());
    })?;
    let mut stdout = recorder.child.stdout.take().context("no pipe")?;
    talk(&namespace)?;
    stdout.read_exact(&mut [0; 8])?;
    drop(stdout);
    let start = Instant::now();
    while start.elapsed() < Duration::from_secs(1) {
        talk(&namespace)?;
    }
    stage::await_open_sockets(&namespace, 0)?;
    ensure!(recorder.runs()?, "it ended with its view");
    let stderr = recorder.stop()?;
    ensure!(stderr.contains("the live view has ended"), "{stderr}");
    let replay = Tracer::replay(&[file], &[""; 0])?.wait()?;
    replay.ensure_complete()?;
    compare::ensure_equal(&oracle.finish()?, &replay.transitions)?;
    Ok(Verdict::Passed)
}

/// Under the name that was asked for there is a whole page or none.
pub(super) fn killed_report() -> Result<Verdict> {
    let namespace = Namespace::new()?;
    let scratch = Scratch::new()?;
    let page = scratch.path("page.html");
    let start = || -> Result<Recorder> {
        let mut command = Command::new(tracer::binary());
        command
            .args(["report", "-o"])
            .arg(&page)
            .args(with(&[]))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let mut recorder = Recorder::of(command)?;
        let deadline = Instant::now() + Duration::from_secs(20);
        // It is begun under another name.
        while scratch.names()?.iter().all(|name| !name.starts_with('.')) {
            ensure!(recorder.runs()? && Instant::now() < deadline, "no start");
            thread::sleep(Duration::from_millis(2));
        }
        Ok(recorder)
    };
    let report = start()?;
    talk(&namespace)?;
    ensure!(!page.exists(), "it is there before it is complete");
    report.signal(Signal::KILL)?;
    report.wait()?;
    ensure!(!page.exists(), "half a page");
    for left in scratch.paths()? {
        std::fs::remove_file(left)?;
    }
    let report = start()?;
    talk(&namespace)?;
    report.signal(Signal::TERM)?;
    let ended = report.wait()?;
    ended.ensure_success()?;
    ensure!(ended.stderr.contains("written: "), "{}", ended.stderr);
    ensure!(scratch.names()? == ["page.html"], "{:?}", scratch.names());
    ensure!(std::fs::read_to_string(&page)?.ends_with("</html>\n"));
    Ok(Verdict::Passed)
}
