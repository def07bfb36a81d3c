//! `tracer replay` and its like on files that are not what they should be: words, exit codes, memory.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tracer::batch::Batch;
use tracer::diagnose::Sources;
use tracer::record::frame::{Context, HEAD, Head, Kind, MAGIC, Maker, Opener};
use tracer::record::row;
use tracer::record::{Header, RecordedFilter};
use tracer::session::{
    HookReport, HookStatus, LOST_REENTRY, Session, SnapshotReport, SnapshotStatus,
};

mod search;

/// Of a process that reads a recording, above what it takes to read a small one.
const MOST_BYTES: u64 = 48 << 20;

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let name = format!("tracer-hostile-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn put(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Ran {
    code: Option<i32>,
    stdout: Vec<u8>,
    stderr: String,
}

fn tracer(arguments: &[&str], path: &Path, stdin: Stdio) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(arguments)
        .arg(path)
        .stdin(stdin)
        .output()
        .unwrap();
    Ran {
        code: output.status.code(),
        stdout: output.stdout,
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// As it is on the command line: with each of the commands that read recordings.
fn each_command(mut check: impl FnMut(&[&str])) {
    check(&["replay", "-o", "jsonl"]);
    check(&["summary"]);
    check(&["report"]);
    check(&["export", "--format", "jsonl"]);
}

fn sample(name: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/format-1");
    Path::new(directory).join(name)
}

fn header(json: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    Maker::new()
        .unwrap()
        .header(json.as_bytes(), 1, &context(), &mut bytes)
        .unwrap();
    bytes
}

fn context() -> Context {
    Context {
        session: crc32c::crc32c(b"x"),
        ..Context::default()
    }
}

#[test]
fn the_output_itself_says_what_is_not_in_it() {
    let scratch = Scratch::new("missing");
    let whole = fs::read(sample("outcomes.tracer")).unwrap();
    let cut = scratch.put("cut", &whole[..whole.len() - 500]);
    let middle = sample("rotated.000002.tracer");
    let [before, other, cut_off] = [
        "1 earlier file of the session not given",
        "the session goes on in a file that was not given",
        "the recording was cut off",
    ];
    let cases = [(middle, vec![before, other]), (cut, vec![cut_off])];
    for (file, told) in cases {
        for command in ["summary", "report"] {
            let run = tracer(&[command], &file, Stdio::null());
            let out = String::from_utf8(run.stdout).unwrap();
            let flat = out.replace('\n', " ").replace("  ", " ");
            for words in &told {
                assert!(flat.contains(words), "{command}: {words}\n{flat:.2000}");
            }
            assert!(
                !out.contains("no event was lost\n"),
                "{command}: {out:.2000}"
            );
        }
        let run = tracer(&["replay", "-o", "jsonl"], &file, Stdio::null());
        let out = String::from_utf8(run.stdout).unwrap();
        let end: Value = serde_json::from_str(out.lines().last().unwrap()).unwrap();
        let after = &end["missing"]["after"];
        assert_eq!(
            *after,
            if told.len() == 2 {
                "other_file"
            } else {
                "cut_off"
            },
            "{end}"
        );
        assert_eq!(
            end["missing"]["files_before"],
            told.len() as u64 - 1,
            "{end}"
        );
    }
}

#[test]
fn the_output_itself_says_what_stands_in_it_twice_or_too_late() {
    let scratch = Scratch::new("twice");
    let parts = ["1", "2", "3"].map(|number| {
        let name = format!("rotated.00000{number}.tracer");
        fs::read(sample(&name)).unwrap()
    });
    let [first, second, third] = parts.each_ref().map(Vec::as_slice);
    let doubled = scratch.put("doubled", [first, first, second, third].concat());
    let misplaced = scratch.put("misplaced", [first, third, second].concat());
    for (file, field, words) in [
        (
            &doubled,
            "doubled_records",
            "more than once, looked at once",
        ),
        (&misplaced, "misplaced_records", "behind later ones"),
    ] {
        each_command(|command| {
            let run = tracer(command, file, Stdio::null());
            assert_eq!(run.code, Some(1), "{command:?}: {}", run.stderr);
            let out = String::from_utf8(run.stdout).unwrap();
            if command.contains(&"jsonl") {
                let end = out.lines().last().unwrap();
                let end: Value = serde_json::from_str(end).unwrap();
                assert!(end["missing"][field].as_u64() > Some(0), "{end}");
                assert!(run.stderr.contains(words), "{command:?}: {}", run.stderr);
            } else {
                let flat = out.replace('\n', " ").replace("  ", " ");
                assert!(flat.contains(words), "{command:?}: {flat:.2000}");
            }
        });
    }
}

#[test]
fn what_is_in_the_way_of_a_recording_is_said_before_anything_else() {
    let scratch = Scratch::new("in_the_way");
    let there = scratch.put("there.tracer", "theirs");
    let part = scratch.put("set.000002.tracer", "theirs");
    let set = scratch.0.join("set.tracer");
    let plain = tracer(&["record", "-o"], &there, Stdio::null());
    let rotating = ["record", "--rotate-time", "1h", "-o"];
    let rotating = tracer(&rotating, &set, Stdio::null());
    for (run, file) in [(plain, &there), (rotating, &part)] {
        let expected = format!("{} exists", file.display());
        let first = run.stderr.lines().next().unwrap();
        assert!(first.ends_with(&expected), "{}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 2, "{}", run.stderr);
        assert_eq!(run.code, Some(5));
    }
}

#[test]
fn what_is_no_recording_is_refused_in_words() {
    let scratch = Scratch::new("refused");
    let pipe = scratch.0.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let whole = fs::read(sample("outcomes.tracer")).unwrap();
    let files = [
        (scratch.put("empty", ""), "is empty"),
        (
            scratch.put("text", "type,ts,mono_ns\n".repeat(99)),
            "is no recording of tracer",
        ),
        (scratch.put("zeros", [0; 4096]), "is no recording of tracer"),
        (
            scratch.put("short", &whole[..300]),
            "its header is cut short",
        ),
        (
            scratch.put("newer", header(r#"{"format":2}"#)),
            "format version 2",
        ),
        (
            scratch.put("odd", header(r#"{"format":1,"id":7}"#)),
            "cannot be understood",
        ),
        (
            scratch.put(
                "layout",
                header(r#"{"format":1,"wire":{"kinds":{"1":{"parts":[{"flag":3}]}}}}"#),
            ),
            "describes records in an impossible way",
        ),
        (scratch.0.clone(), "is a directory"),
        (pipe, "no regular file"),
        (PathBuf::from("/dev/zero"), "no regular file"),
        (PathBuf::from("/proc/self/mem"), "cannot read"),
        (scratch.0.join("missing"), "No such file"),
        (scratch.0.join("text/below"), "Not a directory"),
    ];
    each_command(|command| {
        for (path, words) in &files {
            let ran = tracer(command, path, Stdio::null());
            let told = format!("{command:?} {}: {}", path.display(), ran.stderr);
            assert_eq!(ran.code, Some(1), "{told}");
            assert!(ran.stdout.is_empty(), "{told}");
            assert!(ran.stderr.contains(words), "{told}");
            assert!(!ran.stderr.contains("panicked"), "{told}");
        }
    });
}

#[test]
fn what_may_not_be_read_is_told() {
    let scratch = Scratch::new("closed");
    let path = scratch.put("closed", fs::read(sample("outcomes.tracer")).unwrap());
    fs::set_permissions(&path, fs::Permissions::from_mode(0o0)).unwrap();
    if File::open(&path).is_ok() {
        // Root may read everything.
        return;
    }
    let ran = tracer(&["replay"], &path, Stdio::null());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("Permission denied"), "{}", ran.stderr);
}

#[test]
fn standard_input_is_read_as_a_file_is() {
    let path = sample("outcomes.tracer");
    let from_file = tracer(&["replay", "-o", "csv"], &path, Stdio::null());
    let stdin = File::open(&path).unwrap();
    let from_pipe = tracer(&["replay", "-o", "csv"], Path::new("-"), stdin.into());
    assert_eq!(from_file.code, Some(0), "{}", from_file.stderr);
    assert_eq!(from_pipe.code, Some(0), "{}", from_pipe.stderr);
    assert!(from_file.stdout == from_pipe.stdout && from_file.stdout.len() > 10_000);
    let zeros = File::open("/dev/zero").unwrap();
    let ran = tracer(&["replay"], Path::new("-"), zeros.into());
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("is no recording"), "{}", ran.stderr);
}

#[test]
fn half_a_copy_of_the_header_is_told_as_what_it_is() {
    let scratch = Scratch::new("half");
    let whole = fs::read(sample("outcomes.tracer")).unwrap();
    let last = whole.windows(MAGIC.len()).rposition(|at| *at == MAGIC);
    let last = Head::parse(whole[last.unwrap()..].first_chunk().unwrap()).unwrap();
    let context = Context {
        session: last.session,
        before: last.before.plus(last.counts),
        lost: last.lost,
    };
    let mut bytes = whole.clone();
    let mut maker = Maker::new().unwrap();
    maker
        .header(b"{}", last.last_ns, &context, &mut bytes)
        .unwrap();
    bytes.pop();
    let path = scratch.put("half", bytes);
    each_command(|arguments| {
        let ran = tracer(arguments, &path, Stdio::null());
        assert_eq!(ran.code, Some(0), "{arguments:?}: {}", ran.stderr);
        let words = "nothing of the session is missing by it";
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
        assert!(!ran.stderr.contains("are no part of it"), "{}", ran.stderr);
    });
}

#[test]
fn two_sessions_in_one_file_are_told() {
    let scratch = Scratch::new("two");
    let outcomes = fs::read(sample("outcomes.tracer")).unwrap();
    let rotated = fs::read(sample("rotated.000003.tracer")).unwrap();
    let path = scratch.put("two", [outcomes, rotated].concat());
    let ran = tracer(&["replay", "-o", "jsonl"], &path, Stdio::null());
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("bytes behind the end of the session"),
        "{}",
        ran.stderr
    );
    let alone = tracer(
        &["replay", "-o", "jsonl"],
        &sample("outcomes.tracer"),
        Stdio::null(),
    );
    assert!(ran.stdout == alone.stdout);
}

#[test]
fn what_a_file_says_does_not_reach_the_terminal_as_it_is() {
    let scratch = Scratch::new("escape");
    let session = Session {
        host: "\u{1b}[2Jhost".to_owned(),
        ..Session::default()
    };
    let json = |id: &str| {
        let session = serde_json::to_string(&session).unwrap();
        header(&format!(
            r#"{{"format":1,"id":"{id}\u001b[31m","session":{session}}}"#
        ))
    };
    let (one, other) = (
        scratch.put("one", json("1")),
        scratch.put("other", json("2")),
    );
    let output = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["replay", "-o", "timeline"])
        .args([one, other])
        .output()
        .unwrap();
    for bytes in [output.stdout, output.stderr] {
        assert!(
            !bytes.contains(&0x1b),
            "{}",
            String::from_utf8_lossy(&bytes)
        );
    }
}

/// The places of all strings in it, as JSON pointers.
fn strings(value: &Value, place: &str, found: &mut Vec<String>) {
    match value {
        Value::String(_) => found.push(place.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                strings(item, &format!("{place}/{index}"), found);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                strings(
                    member,
                    &format!("{place}/{}", name.replace('/', "~1")),
                    found,
                );
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[test]
fn no_string_of_a_header_reaches_the_reader_as_it_is() {
    const HOSTILE: &str = "a\u{1b}[2J\u{9b}1m\u{202e}b\rc\nforged";
    let scratch = Scratch::new("strings");
    let pair = |name: &str| (name.to_owned(), "because".to_owned());
    let hook = |status| HookReport {
        name: "hook".to_owned(),
        purpose: "purpose".to_owned(),
        status,
    };
    let session = Session {
        tracer_version: "1".to_owned(),
        host: "host".to_owned(),
        kernel: "6".to_owned(),
        arch: "arch".to_owned(),
        boot_id: Some("boot".to_owned()),
        filters: vec![pair("port")],
        hooks: vec![
            hook(HookStatus::Attached),
            hook(HookStatus::Unavailable("why".to_owned())),
        ],
        missing_fields: vec![pair(LOST_REENTRY), pair("field")],
        snapshot: SnapshotReport {
            status: SnapshotStatus::Partial,
            missing: vec![pair("netns")],
            ..SnapshotReport::default()
        },
        ..Session::default()
    };
    let whole = Header::new(
        "x".to_owned(),
        session,
        Sources::default(),
        RecordedFilter::default(),
    );
    let whole = serde_json::to_value(whole).unwrap();
    let mut places = Vec::new();
    strings(&whole, "", &mut places);
    assert!(places.len() > 20, "{places:?}");
    for place in places {
        let mut crafted = whole.clone();
        *crafted.pointer_mut(&place).unwrap() = HOSTILE.into();
        let path = scratch.put("crafted", header(&crafted.to_string()));
        for arguments in [
            &["replay", "-o", "text"][..],
            &["replay", "-o", "timeline"],
            &["replay", "-o", "jsonl"],
            &["replay", "-o", "csv"],
            &["summary"],
            &["summary", "-o", "jsonl"],
            &["report"],
        ] {
            let ran = tracer(arguments, &path, Stdio::null());
            for text in [String::from_utf8(ran.stdout).unwrap(), ran.stderr] {
                let is_raw = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
                let raw = text
                    .lines()
                    .find(|line| line.contains(is_raw) || line.starts_with("forged"));
                assert_eq!(raw, None, "{place}: {arguments:?}");
            }
        }
    }
}

#[test]
fn what_is_read_is_not_replaced() {
    let scratch = Scratch::new("replaced");
    let bytes = fs::read(sample("outcomes.tracer")).unwrap();
    let path = scratch.put("one", &bytes);
    let link = scratch.0.join("link");
    fs::hard_link(&path, &link).unwrap();
    let export = ["export", "--format", "jsonl"];
    for command in [&["report"][..], &export] {
        for output in [&path, &link] {
            for (input, stdin) in [
                (path.as_path(), Stdio::null()),
                (Path::new("-"), File::open(&path).unwrap().into()),
            ] {
                let to = ["--force", "-o", output.to_str().unwrap()];
                let ran = tracer(&[command, &to].concat(), input, stdin);
                assert_eq!(ran.code, Some(5), "{}", ran.stderr);
                assert!(ran.stderr.contains("is what is read"), "{}", ran.stderr);
                assert!(fs::read(&path).unwrap() == bytes);
            }
        }
    }
}

#[test]
fn a_recording_that_nobody_writes_to_is_not_said_to_be_still_written() {
    let scratch = Scratch::new("gone");
    let boot_id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot_id = boot_id.trim();
    for (arguments, locked, words) in [
        (&["replay", "-f"][..], true, "the recording was cut off\n"),
        (
            &["replay"],
            false,
            "was cut off, or is still being written\n",
        ),
    ] {
        let json = format!(
            r#"{{"format":1,"id":"x","locked":{locked},"session":{{"boot_id":"{boot_id}"}}}}"#
        );
        let path = scratch.put("cut", header(&json));
        let ran = tracer(arguments, &path, Stdio::null());
        assert_eq!(
            locked,
            ran.stderr.contains("nobody writes to it any more"),
            "{}",
            ran.stderr
        );
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

#[test]
fn what_cannot_be_asked_for_is_refused_in_words() {
    let cases: [(&[&str], &str, i32, &str); 2] = [
        (&["replay", "-"], "-", 1, "standard input is named twice"),
        (
            &["record", "--keep", "4294967296", "-o"],
            "-",
            2,
            "1 to 4294967295",
        ),
    ];
    for (arguments, last, code, words) in cases {
        let ran = tracer(arguments, Path::new(last), Stdio::null());
        assert_eq!(ran.code, Some(code), "{}", ran.stderr);
        assert!(ran.stderr.contains(words), "{}", ran.stderr);
    }
}

/// The most memory that it takes to read a file, in bytes, and what was said.
fn peak(path: &Path) -> (u64, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tracer"))
        .args(["replay", "-o", "jsonl"])
        .arg(path)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        // The line is missing once the process has ended.
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")) {
            peak = kib.parse::<u64>().unwrap() * 1024;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code().is_some_and(|code| code < 2), "{told}");
    assert!(!told.contains("panicked"), "{told}");
    (peak, told)
}

#[test]
fn what_a_file_claims_takes_no_memory() {
    let scratch = Scratch::new("bomb");
    let (small, _) = peak(&sample("outcomes.tracer"));

    // Blocks that grow a thousandfold, with right checksums.
    let mut rows = Batch::default();
    for _ in 0..65_535 {
        rows.push(&[1; 60]);
    }
    assert!(rows.size() > 3 << 20);
    let mut maker = Maker::new().unwrap();
    let mut bytes = header(r#"{"format":1,"id":"x"}"#);
    let mut context = context();
    for _ in 0..12 {
        let counts = maker.block(&rows, &context, &mut bytes).unwrap();
        context.before = context.before.plus(counts);
    }
    assert_eq!(row::summary(&rows).counts.records, 65_535);
    assert!(bytes.len() < 64 << 10, "{} bytes", bytes.len());
    let blocks = scratch.put("blocks", &bytes);

    // One claims more than is there, and than may be.
    let mut claims = header(r#"{"format":1,"id":"x"}"#);
    let mut small_rows = Batch::default();
    small_rows.push(&[1; 80]);
    for at in [12, 16, 20] {
        let mut frame = Vec::new();
        maker.block(&small_rows, &context, &mut frame).unwrap();
        if let Some(field) = frame.get_mut(at..at + 4) {
            field.fill(0xff);
        }
        mend(&mut frame);
        claims.extend(frame);
    }
    let claims = scratch.put("claims", claims);

    // A header that is all small things.
    let reasons = vec![r#"[1,""]"#; 140_000].join(",");
    let json = format!(r#"{{"format":1,"id":"x","sources":{{"reset_reasons":[{reasons}]}}}}"#);
    let reasons = scratch.put("reasons", header(&json));

    for (path, lost) in [
        (blocks, "786420"),
        (claims, "lost"),
        (reasons, "no event was lost"),
    ] {
        let (peak, told) = peak(&path);
        let taken = peak.saturating_sub(small);
        assert!(
            taken < MOST_BYTES,
            "{} took {taken} bytes more",
            path.display()
        );
        assert!(told.contains(lost), "{told}");
    }
}

/// A recording of so many blocks: the overflow of the sample again and again, later each time.
fn long(blocks: u64) -> Vec<u8> {
    let sample = fs::read(sample("outcomes.tracer")).unwrap();
    let (mut rest, mut largest) = (sample.as_slice(), Batch::default());
    let mut opener = Opener::new().unwrap();
    let mut rows = Batch::default();
    let mut bytes = Vec::new();
    while let Some((head, after)) = rest.split_first_chunk::<HEAD>() {
        let head = Head::parse(head).unwrap();
        let (payload, after) = after.split_at(head.stored as usize);
        rest = after;
        if head.kind == Kind::Block {
            opener.rows(&head, payload, &mut rows).unwrap();
            if rows.len() > largest.len() {
                std::mem::swap(&mut rows, &mut largest);
            }
        } else if bytes.is_empty() {
            let json = opener.plain(&head, payload).unwrap();
            let context = Context {
                session: head.session,
                ..Context::default()
            };
            let mut maker = Maker::new().unwrap();
            maker.header(json, 1, &context, &mut bytes).unwrap();
        }
    }
    let mut context = Context {
        session: Head::parse(sample.first_chunk().unwrap()).unwrap().session,
        ..Context::default()
    };
    let mut maker = Maker::new().unwrap();
    for number in 0..blocks {
        let mut later = Batch::default();
        for row in largest.iter() {
            let (_, row) = later.push_copy(row);
            let Some((_, rest)) = row.split_first_chunk_mut::<8>() else {
                continue;
            };
            if let Some(mono_ns) = rest.first_chunk_mut() {
                *mono_ns = (u64::from_le_bytes(*mono_ns) + number * 1_000_000_000).to_le_bytes();
            }
        }
        let counts = maker.block(&later, &context, &mut bytes).unwrap();
        context.before = context.before.plus(counts);
    }
    bytes
}

#[test]
fn a_long_recording_takes_no_more_than_a_short_one() {
    let scratch = Scratch::new("long");
    // Long enough for connections to be over and forgotten.
    let (short, _) = peak(&scratch.put("short", long(80)));
    let path = scratch.put("long", long(320));
    let (long, told) = peak(&path);
    assert!(told.contains("transitions of"), "{told}");
    let more = long.saturating_sub(short);
    assert!(more < 8 << 20, "{more} bytes more, after {short}: {told}");
}

/// Puts the checksum of a head right.
fn mend(frame: &mut [u8]) {
    let Some((head, _)) = frame.split_first_chunk_mut::<112>() else {
        panic!("no head");
    };
    let Some((covered, crc)) = head.split_last_chunk_mut::<4>() else {
        panic!("no head");
    };
    *crc = crc32c::crc32c(covered).to_le_bytes();
}
