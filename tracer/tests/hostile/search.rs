//! Files with a stretch that is no recording, too long to be searched while anybody waits: a signal and a reader
//! that is gone are answered all the same.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::{Ran, Scratch, each_command, sample, tracer};

/// More than any machine searches in the time of a test; it takes no room on the disk.
const HOLE_BYTES: u64 = 1 << 40;
/// To answer a signal, on a busy machine.
const PROMPT: Duration = Duration::from_secs(2);

/// A recording with nothing behind these bytes for long, and then the rest.
fn with_a_hole(path: &Path, before: &[u8], behind: &[u8]) {
    let file = File::create(path).unwrap();
    file.write_all_at(before, 0).unwrap();
    file.write_all_at(behind, before.len() as u64 + HOLE_BYTES)
        .unwrap();
    file.set_len(before.len() as u64 + HOLE_BYTES + behind.len() as u64)
        .unwrap();
}

/// Runs it until it says that it searches, and then does what is to end it: what it wrote and said.
fn end_a_search(arguments: &[&str], paths: &[&Path], end: impl FnOnce(&mut Child)) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(arguments)
        .args(paths)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut told = BufReader::new(child.stderr.take().unwrap());
    let mut stderr = String::new();
    while !stderr.contains("searching") {
        assert!(told.read_line(&mut stderr).unwrap() > 0, "{stderr}");
    }
    end(&mut child);
    let since = Instant::now();
    let mut stdout = Vec::new();
    if let Some(mut from) = child.stdout.take() {
        from.read_to_end(&mut stdout).unwrap();
    }
    let code = child.wait().unwrap().code();
    assert!(since.elapsed() < PROMPT, "{:?}: {stderr}", since.elapsed());
    told.read_to_string(&mut stderr).unwrap();
    Ran {
        code,
        stdout,
        stderr,
    }
}

fn interrupt(child: &mut Child) {
    kill_process(Pid::from_child(child), Signal::INT).unwrap();
}

#[test]
fn a_search_ends_when_it_is_told_to() {
    let scratch = Scratch::new("search");
    let whole = fs::read(sample("outcomes.tracer")).unwrap();
    let (behind, within) = (scratch.0.join("behind"), scratch.0.join("within"));
    with_a_hole(&behind, &whole, b"");
    let (half, rest) = whole.split_at(whole.len() / 2);
    with_a_hole(&within, half, rest);
    each_command(|arguments| {
        let ran = end_a_search(arguments, &[&behind], interrupt);
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        let from = format!("what follows offset {} is no part", whole.len());
        assert!(ran.stderr.contains(&from), "{}", ran.stderr);
        assert_eq!(ran.stderr.matches("searching").count(), 1, "{}", ran.stderr);
        let words = "interrupted: what stands behind the end";
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    });
    let jsonl = ["replay", "-o", "jsonl"];
    let alone = tracer(&jsonl, &sample("outcomes.tracer"), Stdio::null());
    let ran = end_a_search(&jsonl, &[&behind], interrupt);
    assert!(ran.stdout == alone.stdout, "{}", ran.stderr);
    let ran = end_a_search(&jsonl, &[&within], interrupt);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let missing = r#""after":"interrupted""#;
    assert!(String::from_utf8(ran.stdout).unwrap().contains(missing));
    // Nobody reads it any more.
    let ran = end_a_search(&jsonl, &[&behind], |child| drop(child.stdout.take()));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn a_signal_ends_all_sessions() {
    let scratch = Scratch::new("sessions");
    let paths = ["outcomes.tracer", "rotated.000003.tracer"].map(|name| {
        let path = scratch.0.join(name);
        with_a_hole(&path, &fs::read(sample(name)).unwrap(), b"");
        path
    });
    let paths = paths.each_ref().map(PathBuf::as_path);
    let ran = end_a_search(&["replay", "-o", "jsonl"], &paths, interrupt);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = String::from_utf8(ran.stdout).unwrap();
    assert_eq!(
        told.matches(r#"{"type":"session""#).count(),
        1,
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("1 more session"), "{}", ran.stderr);
}

#[test]
fn nothing_is_waited_for_once_it_is_to_end() {
    let whole = fs::read(sample("outcomes.tracer")).unwrap();
    let is_caught = |child: &Child| {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        caught & 1 << (Signal::TERM.as_raw() - 1) != 0
    };
    for (length, words) in [
        (0, "nothing was looked at"),
        (whole.len() / 2, "what the recording holds after"),
    ] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tracer"))
            .args(["replay", "-o", "jsonl", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&whole[..length]).unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        if length > 0 {
            stdout.read_line(&mut String::new()).unwrap();
        }
        while !is_caught(&child) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let reader = std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()));
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let since = Instant::now();
        let status = child.wait().unwrap();
        assert!(since.elapsed() < PROMPT, "{length} bytes");
        let mut stderr = String::new();
        (child.stderr.take().unwrap())
            .read_to_string(&mut stderr)
            .unwrap();
        assert_eq!(status.code(), Some(0), "{length} bytes: {stderr}");
        assert!(stderr.contains(words), "{length} bytes: {stderr}");
        reader.join().unwrap().unwrap();
        drop(stdin);
    }
}
