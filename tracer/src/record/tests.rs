//! From inputs through files to inputs.

mod hostile;
mod sample;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::frame::Counts;
use super::*;
use crate::diagnose::Sources;
use crate::input::Input;
use crate::session::{ClockMap, Lost, Session};

/// A directory that goes away with the test.
pub(crate) struct Scratch(PathBuf);

impl Scratch {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("tracer-test-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// Names of what is there, in order.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.0).unwrap();
        let mut names: Vec<_> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.names().iter().map(|name| self.path(name)).collect()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An input that lives by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Record(Vec<u8>),
    Clock(ClockMap),
    Losses(Lost, u64),
    Tick(u64),
}

impl From<Input<'_>> for Owned {
    fn from(input: Input<'_>) -> Self {
        match input {
            Input::Record(record) => Self::Record(record.to_vec()),
            Input::Clock(clock) => Self::Clock(clock),
            Input::Losses { lost, now_ns } => Self::Losses(lost, now_ns),
            Input::Tick(now_ns) => Self::Tick(now_ns),
        }
    }
}

impl Owned {
    fn input(&self) -> Input<'_> {
        match self {
            Self::Record(record) => Input::Record(record),
            Self::Clock(clock) => Input::Clock(*clock),
            Self::Losses(lost, now_ns) => Input::Losses {
                lost: *lost,
                now_ns: *now_ns,
            },
            Self::Tick(now_ns) => Input::Tick(*now_ns),
        }
    }
}

const START_NS: u64 = 1_000_000;
const BOOT: &str = "boot";

fn record(number: u64) -> Owned {
    let mut record = vec![0; 80 + usize::try_from(number % 3).unwrap() * 24];
    record[0] = 1;
    record[8..16].copy_from_slice(&(START_NS + number).to_le_bytes());
    record[16..24].copy_from_slice(&(number % 50).to_le_bytes());
    // Nothing that compresses, so that files fill.
    for (index, byte) in record[48..].iter_mut().enumerate() {
        *byte = mixed(number * 131 + index as u64);
    }
    Owned::Record(record)
}

/// splitmix64
fn mixed(value: u64) -> u8 {
    let mut value = value.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value.to_be_bytes()[0]
}

fn lost(ring_full: u64) -> Lost {
    Lost {
        ring_full,
        ..Lost::default()
    }
}

/// Records with all other inputs in between.
fn story(records: u64) -> Vec<Owned> {
    let mut story = Vec::new();
    for number in 0..records {
        let now_ns = START_NS + number;
        if number % 100 == 50 {
            story.push(Owned::Losses(lost(number), now_ns));
        }
        story.push(record(number));
        if number % 64 == 63 {
            story.push(Owned::Tick(now_ns));
        }
        if number % 500 == 250 {
            story.push(Owned::Clock(ClockMap {
                mono_ns: now_ns,
                wall_ns: -5,
            }));
        }
    }
    story
}

fn header() -> Header {
    let session = Session {
        boot_id: Some(BOOT.to_owned()),
        clock: ClockMap {
            mono_ns: START_NS,
            wall_ns: 77,
        },
        ..Session::default()
    };
    let sources = Sources::default();
    Header::new(
        "test".to_owned(),
        session,
        sources,
        RecordedFilter::default(),
    )
}

const END_NS: u64 = 9_000_000_000;

fn write(path: &Path, limits: Limits, story: &[Owned]) -> Result<Written, WriteError> {
    let place = Place::new(path, false, None)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut recorder = Recorder::start(Target::Files(place), limits, header())?;
        for input in story {
            recorder.input(input.input());
            if !recorder.hand_on().await {
                break;
            }
        }
        recorder.finish(END_NS).await
    })
}

/// All that one session gives: inputs, damage, and the end.
fn read(paths: &[PathBuf]) -> (Vec<Owned>, Vec<Damage>, End) {
    let mut recordings = open(paths).unwrap();
    assert_eq!(recordings.len(), 1);
    read_one(&mut recordings[0])
}

fn read_one(recording: &mut Recording) -> (Vec<Owned>, Vec<Damage>, End) {
    let (mut inputs, mut all_damage) = (Vec::new(), Vec::new());
    loop {
        match recording.step().unwrap() {
            Step::Inputs(mut block) => {
                while let Some(input) = block.input() {
                    inputs.push(input.into());
                }
            }
            Step::Damage { damage, loss, .. } => {
                inputs.push(loss.into());
                all_damage.push(damage);
            }
            Step::Passed => {}
            Step::Wait => panic!("it waits"),
            Step::End(end) => return (inputs, all_damage, end),
        }
    }
}

fn records(inputs: &[Owned]) -> Vec<Owned> {
    let records = inputs
        .iter()
        .filter(|input| matches!(input, Owned::Record(_)));
    records.cloned().collect()
}

const WHOLE: End = End {
    at_ns: END_NS,
    how: Close::Whole,
    beyond: 0,
    cut_behind: 0,
    unknown: 0,
    twice: NONE,
    too_late: NONE,
};

const NONE: Counts = Counts {
    records: 0,
    transitions: 0,
};

#[test]
fn a_session_comes_back() {
    let scratch = Scratch::new();
    let path = scratch.path("s.tracer");
    let story = story(10_000);
    let written = write(&path, Limits::default(), &story).unwrap();
    assert_eq!((written.files, written.full), (1, false));
    assert_eq!(written.bytes, std::fs::metadata(&path).unwrap().len());
    assert_eq!(read(&[path]), (story, Vec::new(), WHOLE));
}

#[test]
fn rotated_files_are_one_session_whatever_their_order() {
    let scratch = Scratch::new();
    let limits = Limits {
        rotate_size: Some(64 << 10),
        ..Limits::default()
    };
    let story = story(20_000);
    let written = write(&scratch.path("s.tracer"), limits, &story).unwrap();
    assert!(written.files > 3);
    let mut paths = scratch.paths();
    assert_eq!(paths.len(), written.files as usize);
    paths.reverse();
    assert_eq!(read(&paths), (story, Vec::new(), WHOLE));
}

#[test]
fn a_later_file_alone_tells_only_its_own_losses() {
    let scratch = Scratch::new();
    let limits = Limits {
        rotate_size: Some(64 << 10),
        ..Limits::default()
    };
    let story = story(20_000);
    write(&scratch.path("s"), limits, &story).unwrap();
    let paths = scratch.paths();
    let mut recordings = open(&paths[2..3]).unwrap();
    let before = recordings[0].header().lost_before;
    assert!(before.ring_full > 0);
    let clock = recordings[0].header().session.clock;
    assert!(clock.mono_ns > START_NS, "{clock:?}");
    let (inputs, damage, end) = read_one(&mut recordings[0]);
    assert!(damage.is_empty());
    assert_eq!(end.how, Close::ContinuedElsewhere);
    let told = inputs.iter().find_map(|input| match input {
        Owned::Losses(lost, _) => Some(lost.ring_full),
        Owned::Record(_) | Owned::Clock(_) | Owned::Tick(_) => None,
    });
    assert!(told.unwrap() <= 100, "{told:?}");
}

#[test]
fn a_missing_file_of_a_set_is_told() {
    let scratch = Scratch::new();
    let limits = Limits {
        rotate_size: Some(64 << 10),
        ..Limits::default()
    };
    write(&scratch.path("s"), limits, &story(20_000)).unwrap();
    let mut paths = scratch.paths();
    paths.remove(1);
    let (inputs, damage, end) = read(&paths);
    let [damage] = damage.as_slice() else {
        panic!("{damage:?}");
    };
    let missing = damage.missing.unwrap();
    assert!(damage.what.contains("part 2 of"), "{}", damage.what);
    let records = inputs
        .iter()
        .filter(|input| matches!(input, Owned::Record(_)))
        .count() as u64;
    assert_eq!(records + missing.records, 20_000);
    assert_eq!(missing.transitions, missing.records);
    // The core hears of it, now and in all later losses.
    let last = inputs.iter().rev().find_map(|input| match input {
        Owned::Losses(lost, _) => Some(*lost),
        Owned::Record(_) | Owned::Clock(_) | Owned::Tick(_) => None,
    });
    assert_eq!(last.unwrap().damaged, missing.transitions);
    assert_eq!(last.unwrap().ring_full, 19_950);
    assert_eq!(end, WHOLE);
}

#[test]
fn limits_are_kept() {
    let scratch = Scratch::new();
    let story = story(20_000);
    let keep = Limits {
        rotate_size: Some(64 << 10),
        keep: Some(2),
        ..Limits::default()
    };
    let written = write(&scratch.path("keep"), keep, &story).unwrap();
    assert_eq!(scratch.names().len(), 2);
    assert_eq!(written.paths.len(), 2);
    let (inputs, damage, end) = read(&scratch.paths());
    assert!(damage.is_empty() && end == WHOLE);
    assert!(records(&story).ends_with(&records(&inputs)));

    let scratch = Scratch::new();
    let most = 300 << 10;
    let ring = Limits {
        rotate_size: Some(64 << 10),
        max_size: Some(most),
        ..Limits::default()
    };
    write(&scratch.path("ring"), ring, &story).unwrap();
    let sizes = scratch.paths().into_iter();
    let total: u64 = sizes
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    assert!(total <= most && total > most / 3, "{total}");

    let scratch = Scratch::new();
    let stop = Limits {
        max_size: Some(most),
        ..Limits::default()
    };
    let path = scratch.path("stop");
    let written = write(&path, stop, &story).unwrap();
    assert!(written.full);
    let size = std::fs::metadata(&path).unwrap().len();
    // But for two copies of the header and what is less than a block worth having.
    assert!((most * 19 / 20..=most).contains(&size), "{size}");
    let (inputs, damage, end) = read(&[path]);
    assert_eq!((damage, end.how), (Vec::new(), Close::Whole));
    assert!(story.starts_with(&inputs), "{} inputs", inputs.len());
    let recorded = records(&inputs).len() as u64;
    assert_eq!(recorded, written.counts.records);
}

#[test]
fn the_least_of_sizes_is_used() {
    let scratch = Scratch::new();
    let most = 64 << 10;
    let limits = Limits {
        max_size: Some(most),
        ..Limits::default()
    };
    let path = scratch.path("s");
    let story = story(20_000);
    let written = write(&path, limits, &story).unwrap();
    assert!(written.full);
    let size = std::fs::metadata(&path).unwrap().len();
    assert!((most * 9 / 10..=most).contains(&size), "{size}");
    let (inputs, damage, end) = read(&[path]);
    assert_eq!((damage, end.how), (Vec::new(), Close::Whole));
    assert!(story.starts_with(&inputs), "{} inputs", inputs.len());
}

#[test]
fn whoever_follows_can_tell_whether_the_recorder_is_there() {
    let scratch = Scratch::new();
    let path = scratch.path("s");
    let author = |path: &Path, boot_id| {
        let mut recordings = open(&[path.to_owned()]).unwrap();
        let recording = &mut recordings[0];
        recording.set_follow(true);
        while !matches!(recording.step().unwrap(), Step::Wait) {}
        assert_eq!(recording.leave().how, Close::Cut { torn: 0 });
        recording.author(boot_id)
    };
    let place = Place::new(&path, false, None).unwrap();
    let start = |target| Recorder::start(target, Limits::default(), header()).unwrap();
    let recorder = start(Target::Files(place));
    let boots = [Some(BOOT), Some("another"), None];
    for boot_id in boots {
        assert_eq!(author(&path, boot_id), Author::AtWork, "{boot_id:?}");
    }
    let left = scratch.path("left");
    std::fs::copy(&path, &left).unwrap();
    let expected = [Author::Gone, Author::Unknown, Author::Unknown];
    for (boot_id, expected) in boots.into_iter().zip(expected) {
        assert_eq!(author(&left, boot_id), expected, "{boot_id:?}");
    }
    drop(recorder);

    // Who writes what comes out of a pipe locks nothing.
    let piped = scratch.path("piped");
    let stream = std::fs::File::create(&piped).unwrap();
    let recorder = start(Target::Stream(stream));
    assert_eq!(author(&piped, Some(BOOT)), Author::Unknown);
    drop(recorder);
}

/// However far a change of files has come.
#[test]
fn what_is_killed_between_two_files_can_be_read() {
    let scratch = Scratch::new();
    let (story, files) = set(&scratch);
    let frames = |file: &[u8]| {
        let mut ends = vec![0];
        while let Some(head) = file[*ends.last().unwrap()..].first_chunk() {
            let stored = frame::Head::parse(head).unwrap().stored;
            ends.push(ends.last().unwrap() + frame::HEAD + usize::try_from(stored).unwrap());
        }
        ends
    };
    let first = frames(&files[0]);
    let header = &files[1][..frames(&files[1])[1]];
    // Without the promise of the next file, without the copy of the header, in the midst of one, and with both.
    let lengths = first.iter().rev().copied().take(3);
    for length in lengths.chain([first[first.len() - 2] + 50]) {
        let paths = [
            joined(&scratch, "first", &[&files[0][..length]]),
            joined(&scratch, "second", &[header]),
        ];
        let (inputs, damage, end) = read(&paths);
        assert!(damage.is_empty(), "{length}: {damage:?}");
        assert!(matches!(end.how, Close::Cut { .. }), "{length}: {end:?}");
        assert!(story.starts_with(&inputs) && !inputs.is_empty(), "{length}");
    }
}

#[test]
fn a_forced_set_leaves_nothing_of_the_one_before() {
    let scratch = Scratch::new();
    let limits = Limits {
        rotate_size: Some(64 << 10),
        ..Limits::default()
    };
    let path = scratch.path("s.tracer");
    let files = write(&path, limits, &story(20_000)).unwrap().files;
    assert!(files > 3);
    for other in ["s.tracer", "s.00001.tracer", "t.000009.tracer"] {
        std::fs::write(scratch.path(other), "theirs").unwrap();
    }
    let start = |force| {
        let place = Place::new(&path, force, None)?;
        Recorder::start(Target::Files(place), limits, header())
    };
    let before = scratch.names();
    let refused = start(false).err();
    assert!(
        matches!(refused, Some(WriteError::File(FileError::Exists(_)))),
        "{refused:?}"
    );
    // One that is in the way for good, however late.
    let link = scratch.path("s.000099.tracer");
    std::os::unix::fs::symlink("elsewhere", &link).unwrap();
    let refused = start(true).err();
    assert!(
        matches!(refused, Some(WriteError::File(FileError::Link(_)))),
        "{refused:?}"
    );
    std::fs::remove_file(link).unwrap();
    assert_eq!(scratch.names(), before);

    let recorder = start(true).unwrap();
    let left = [
        "s.00001.tracer",
        "s.000001.tracer",
        "s.tracer",
        "t.000009.tracer",
    ];
    let mut names = scratch.names();
    names.sort_by_key(|name| left.iter().position(|left| left == name));
    assert_eq!(names, left);
    drop(recorder);
}

#[test]
fn a_file_that_is_taken_away_is_told() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("removed", |path| std::fs::remove_file(path).unwrap()),
        ("moved", |path| {
            std::fs::rename(path, path.with_extension("old")).unwrap();
        }),
        ("replaced", |path| {
            std::fs::remove_file(path).unwrap();
            std::fs::write(path, "").unwrap();
        }),
        ("cut short", |path| std::fs::write(path, "").unwrap()),
        ("by others", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path);
            file.unwrap().set_len(5 << 20).unwrap();
        }),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    for (word, change) in changes {
        let scratch = Scratch::new();
        let path = scratch.path("s");
        let place = Place::new(&path, false, None).unwrap();
        let ended = runtime.block_on(async {
            let target = Target::Files(place);
            let recorder = Recorder::start(target, Limits::default(), header()).unwrap();
            change(&path);
            recorder.finish(END_NS).await
        });
        let Err(WriteError::Gone { what, .. }) = ended else {
            panic!("{word}: {ended:?}");
        };
        assert!(what.contains(word), "{what}");
    }
}

#[test]
fn a_file_that_is_being_recorded_is_not_replaced() {
    let scratch = Scratch::new();
    let path = scratch.path("s");
    let first = Place::new(&path, false, None).unwrap();
    let recorder = Recorder::start(Target::Files(first), Limits::default(), header()).unwrap();
    let second = Place::new(&path, true, None).unwrap();
    assert!(matches!(second.check(), Err(FileError::Busy(_))));
    drop(recorder);
}

#[test]
fn files_are_rotated_by_time_though_nothing_happens() {
    let scratch = Scratch::new();
    let limits = Limits {
        rotate_time: Some(Duration::from_millis(50)),
        ..Limits::default()
    };
    let place = Place::new(&scratch.path("s"), false, None).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let recorder = Recorder::start(Target::Files(place), limits, header()).unwrap();
        for _ in 0..10 {
            tokio::time::sleep(Duration::from_millis(30)).await;
            recorder.look_after();
        }
        recorder.finish(END_NS).await.unwrap();
    });
    assert!(scratch.names().len() > 2);
    assert_eq!(read(&scratch.paths()), (Vec::new(), Vec::new(), WHOLE));
}

#[test]
fn a_damaged_header_is_taken_from_its_copy() {
    let scratch = Scratch::new();
    let limits = Limits {
        rotate_size: Some(1 << 20),
        ..Limits::default()
    };
    let story = story(30_000);
    write(&scratch.path("s"), limits, &story).unwrap();
    let path = scratch.path("s.000001");
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[50] ^= 1;
    std::fs::write(&path, &bytes).unwrap();
    let (inputs, damage, end) = read(&scratch.paths());
    assert_eq!(end, WHOLE);
    assert_eq!(damage.len(), 1);
    assert!(
        damage[0].what.contains("the header is damaged"),
        "{damage:?}"
    );
    assert_eq!(records(&inputs), records(&story));
}

#[test]
fn the_same_part_twice_is_refused() {
    let scratch = Scratch::new();
    let (one, other) = (scratch.path("one"), scratch.path("other"));
    write(&one, Limits::default(), &story(10)).unwrap();
    std::fs::copy(&one, &other).unwrap();
    let error = open(&[one, other]).err().unwrap();
    assert!(matches!(error, OpenError::Twice { .. }), "{error}");
}

/// A session in several files, and what is in each.
fn set(scratch: &Scratch) -> (Vec<Owned>, Vec<Vec<u8>>) {
    let limits = Limits {
        rotate_size: Some(64 << 10),
        ..Limits::default()
    };
    let story = story(20_000);
    write(&scratch.path("s.tracer"), limits, &story).unwrap();
    let files = scratch.paths().into_iter();
    (
        story,
        files.map(|path| std::fs::read(path).unwrap()).collect(),
    )
}

fn joined(scratch: &Scratch, name: &str, pieces: &[&[u8]]) -> PathBuf {
    let path = scratch.path(name);
    std::fs::write(&path, pieces.concat()).unwrap();
    path
}

#[test]
fn what_is_there_twice_is_read_once_and_told() {
    let scratch = Scratch::new();
    let (story, files) = set(&scratch);
    let whole = files.concat();
    let files: Vec<&[u8]> = files.iter().map(Vec::as_slice).collect();
    let all = Counts {
        records: 20_000,
        transitions: 20_000,
    };

    let twice = joined(&scratch, "whole-whole", &[&whole, &whole]);
    let expected = End {
        twice: all,
        ..WHOLE
    };
    assert_eq!(read(&[twice]), (story.clone(), Vec::new(), expected));

    let again = joined(&scratch, "1-1-2", &[files[0], &files.concat()]);
    let (inputs, damage, end) = read(&[again]);
    assert_eq!((inputs, damage), (story.clone(), Vec::new()));
    assert_eq!((end.how, end.too_late), (Close::Whole, NONE));
    let of_the_first = end.twice;
    assert!(of_the_first.records > 0 && of_the_first.records < 20_000);

    // A file that is in another one too, and the end of the session before it.
    let overlapping = [
        joined(&scratch, "1-to-last", &[&whole]),
        joined(&scratch, "2", &[files[1]]),
    ];
    let (inputs, damage, end) = read(&overlapping);
    assert_eq!((inputs, damage), (story.clone(), Vec::new()));
    assert!(end.twice.records > 0 && end.how == Close::Whole, "{end:?}");

    // What the first lacks is taken from the second.
    let torn = joined(&scratch, "torn-whole", &[&whole[..whole.len() / 2], &whole]);
    let (inputs, damage, end) = read(&[torn]);
    assert_eq!(records(&inputs), records(&story));
    let [damage] = damage.as_slice() else {
        panic!("{damage:?}");
    };
    assert_eq!((damage.missing, damage.before_ns), (Some(NONE), None));
    assert!(end.twice.records > 0 && end.how == Close::Whole, "{end:?}");
}

#[test]
fn half_a_copy_of_the_header_is_not_taken_for_foreign_bytes() {
    let scratch = Scratch::new();
    let path = scratch.path("s");
    let story = story(100);
    write(&path, Limits::default(), &story).unwrap();
    let whole = std::fs::read(&path).unwrap();
    let last = memchr::memmem::rfind(&whole, &frame::MAGIC).unwrap();
    for length in [last, last + 1, last + frame::HEAD, whole.len() - 1] {
        std::fs::write(&path, &whole[..length]).unwrap();
        let (inputs, damage, end) = read(std::slice::from_ref(&path));
        assert_eq!((inputs, damage), (story.clone(), Vec::new()));
        let cut_behind = (length - last) as u64;
        assert_eq!(
            end,
            End {
                cut_behind,
                ..WHOLE
            },
            "{length} bytes"
        );
    }
}

#[test]
fn what_stands_behind_later_blocks_is_not_read_and_told() {
    let scratch = Scratch::new();
    let (story, files) = set(&scratch);
    let [first, second, rest @ ..] = files.as_slice() else {
        panic!("{} files", files.len());
    };
    let path = joined(&scratch, "2-1", &[second, first]);
    let (inputs, damage, end) = read(&[path]);
    assert!(damage.is_empty(), "{damage:?}");
    assert!(end.too_late.records > 0 && end.twice == NONE, "{end:?}");
    let late = usize::try_from(end.too_late.records).unwrap();
    let inputs = records(&inputs);
    assert_eq!(inputs, records(&story)[late..late + inputs.len()]);

    let rest = rest.concat();
    let path = joined(&scratch, "1-3-2", &[first, &rest, second]);
    let (inputs, damage, end) = read(&[path]);
    let [damage] = damage.as_slice() else {
        panic!("{damage:?}");
    };
    assert_eq!(damage.missing, Some(end.too_late));
    assert_eq!((end.twice, end.how), (NONE, Close::Whole));

    // A file of the first two parts, and one of the fourth.
    let given = [
        joined(&scratch, "1-2", &[first, second]),
        joined(&scratch, "4", &[&files[3]]),
    ];
    let (_, damage, _) = read(&given);
    assert!(damage[0].what.contains("part 3 of"), "{damage:?}");
    let read = records(&inputs).len() as u64;
    assert_eq!(read + end.too_late.records, 20_000);
}

#[test]
fn what_is_no_recording_is_refused() {
    let scratch = Scratch::new();
    let empty = scratch.path("empty");
    std::fs::write(&empty, "").unwrap();
    let text = scratch.path("text");
    std::fs::write(&text, "type,ts,mono_ns\n".repeat(100)).unwrap();
    let short = scratch.path("short");
    std::fs::write(&short, frame::MAGIC).unwrap();
    let newer = scratch.path("newer");
    let mut bytes = Vec::new();
    frame::Maker::new()
        .unwrap()
        .header(
            br#"{"format":9}"#,
            0,
            &frame::Context::default(),
            &mut bytes,
        )
        .unwrap();
    std::fs::write(&newer, bytes).unwrap();
    let pipe = scratch.path("pipe");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    for (path, words) in [
        (empty, "is empty"),
        (text, "is no recording of tracer"),
        (short, "cut short"),
        (newer, "format version 9"),
        (scratch.path("."), "is a directory"),
        (pipe, "no regular file"),
        (PathBuf::from("/dev/zero"), "no regular file"),
        (scratch.path("missing"), "No such file"),
    ] {
        let error = open(&[path]).err().unwrap().to_string();
        assert!(error.contains(words), "{error}");
    }
}
