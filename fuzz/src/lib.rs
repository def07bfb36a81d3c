//! What is fuzzed: all that tracer does with bytes that others choose.
//!
//! `cargo test` runs the same functions on the corpus (`tracer/tests/corpus.rs`), without a fuzzer.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsRawFd as _;
use std::path::PathBuf;

use jiff::tz::TimeZone;
use rustix::fs::{MemfdFlags, memfd_create};
use tracer::diagnose::Sources;
use tracer::filter::Show;
use tracer::flow::Flow;
use tracer::hints::Limits;
use tracer::input::Input;
use tracer::record::frame::{HEAD, Head, MAGIC};
use tracer::record::{Recording, Step, open};
use tracer::render::{
    Format, Perfetto, Render, RenderOptions, Renderer, Report, Summary, SummaryFormat,
};
use tracer::session::{ClockMap, Lost, Session};
use tracer::state::Names;
use tracer::track::{MiniSight, TimeWait, Tracker, TrackerConfig};

/// Inputs of a recording that are looked at. A few bytes can stand for millions, which teaches nothing more.
const INPUTS: usize = 20_000;

/// A recording that consists of these bytes, replayed; then once more with all checksums put right, as one
/// who means harm would write it.
pub fn recording(data: &[u8]) {
    replay(data);
    let mended = mended(data);
    if mended != data {
        replay(&mended);
    }
}

fn replay(bytes: &[u8]) {
    let mut file = File::from(memfd_create("recording", MemfdFlags::CLOEXEC).expect("a memfd"));
    file.write_all(bytes).expect("memory");
    let path = PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()));
    match open(&[path]) {
        Ok(recordings) => recordings.into_iter().for_each(show),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn show(mut recording: Recording) {
    let header = recording.header();
    let Ok(filter) = header.filter.to_filter() else {
        return;
    };
    let tracker = Tracker::new(TrackerConfig {
        max_connections: header.max_connections.unwrap_or(1_000).min(1_000),
        filter,
        minis: header.minis,
        ..TrackerConfig::default()
    });
    let renderer = Renderer::new(Format::Jsonl, options(false));
    let mut flow = Flow::start(
        tracker,
        renderer,
        Show::default(),
        None,
        &header.session,
        header.sources.clone(),
    );
    let mut left = INPUTS;
    loop {
        match recording.step().expect("memory can be read") {
            Step::Inputs(mut inputs) => {
                while let Some(input) = inputs.input() {
                    flow.input(input);
                    left = left.saturating_sub(1);
                }
            }
            Step::Damage { damage, loss, .. } => {
                assert!(!damage.what.is_empty());
                flow.input(loss);
            }
            Step::Passed => {}
            Step::Wait => panic!("it waits for more of a whole file"),
            Step::End(end) => {
                flow.finish(end.at_ns);
                break;
            }
        }
        ensure_lines(flow.buffer(), true);
        flow.buffer().clear();
        if left == 0 {
            return;
        }
    }
    ensure_lines(flow.buffer(), true);
}

/// With the checksums of all that looks like a frame.
pub fn mended(data: &[u8]) -> Vec<u8> {
    let mut bytes = data.to_vec();
    let mut at = 0;
    while at + HEAD <= bytes.len() {
        if !bytes[at..].starts_with(&MAGIC) {
            at += 1;
            continue;
        }
        let rest = bytes.len() - at - HEAD;
        let claimed = u32::from_le_bytes([
            bytes[at + 12],
            bytes[at + 13],
            bytes[at + 14],
            bytes[at + 15],
        ]);
        let stored = (claimed as usize).min(rest);
        let payload = crc32c::crc32c(&bytes[at + HEAD..at + HEAD + stored]);
        bytes[at + 104..at + 108].copy_from_slice(&payload.to_le_bytes());
        let head = crc32c::crc32c(&bytes[at..at + 108]);
        bytes[at + 108..at + HEAD].copy_from_slice(&head.to_le_bytes());
        debug_assert!(bytes[at..].first_chunk().and_then(Head::parse).is_some());
        at += HEAD + stored;
    }
    bytes
}

/// Inputs as the kernel or a recording could hand them over, through decoder, tracker, diagnosis, hints and each
/// output.
///
/// Two bytes choose the output and settings; each input follows as a u16, four bits of kind and twelve of
/// length, and its bytes.
pub fn records(data: &[u8]) {
    let Some((&[output, settings], inputs)) = data.split_first_chunk() else {
        return;
    };
    let format = |index: u8| Format::ALL[usize::from(index) % Format::ALL.len()];
    match output % 8 {
        index @ 0..4 => {
            let clean = format(index) != Format::Jsonl;
            let renderer = Renderer::new(format(index), options(false));
            let out = run(renderer, settings, inputs);
            ensure_lines(&out, !clean);
        }
        4 => drop(run(
            Renderer::new(format(output / 8), options(true)),
            settings,
            inputs,
        )),
        5 => drop(run(Perfetto::default(), settings, inputs)),
        6 => {
            let page = run(Report::default(), settings, inputs);
            let page = String::from_utf8(page).expect("a page is text");
            assert!(page.trim_end().ends_with("</html>"), "no whole page");
        }
        _ => {
            let form = if output & 8 == 0 {
                SummaryFormat::Text
            } else {
                SummaryFormat::Jsonl
            };
            let out = run(Summary::new(form, options(false), 10, ""), settings, inputs);
            ensure_lines(&out, form == SummaryFormat::Jsonl);
        }
    }
}

fn options(color: bool) -> RenderOptions {
    RenderOptions {
        names: Names::Documented,
        color,
        width: None,
        time_zone: TimeZone::UTC,
    }
}

fn run<R: Render>(renderer: R, settings: u8, mut inputs: &[u8]) -> Vec<u8> {
    let is_set = |bit: u8| settings & (1 << bit) != 0;
    let tracker = Tracker::new(TrackerConfig {
        max_connections: if is_set(0) { 3 } else { 1_000 },
        time_wait: if is_set(1) {
            TimeWait::Wait
        } else {
            TimeWait::Expect
        },
        minis: MiniSight {
            births: is_set(4),
            ends: is_set(5),
            polled: is_set(6),
        },
        ..TrackerConfig::default()
    });
    let sources = Sources {
        counts: is_set(2),
        ..Sources::default()
    };
    let session = Session::default();
    let mut flow = Flow::start(tracker, renderer, Show::default(), None, &session, sources);
    if is_set(3) {
        flow.watch(1_000_000, Limits::default());
    }
    let mut last_ns = 0;
    while let Some((&prefix, rest)) = inputs.split_first_chunk() {
        let prefix = u16::from_le_bytes(prefix);
        let (bytes, rest) = rest.split_at(rest.len().min(usize::from(prefix & 0x0fff)));
        inputs = rest;
        let number = |index: usize| {
            let number = bytes.get(index * 8..).and_then(<[u8]>::first_chunk);
            number.map_or(0, |number| u64::from_le_bytes(*number))
        };
        flow.input(match prefix >> 12 {
            13 => {
                last_ns = number(0);
                Input::Tick(last_ns)
            }
            14 => Input::Losses {
                lost: Lost {
                    ring_full: number(1),
                    reentry: number(2),
                    evidence: number(3),
                    ..Lost::default()
                },
                now_ns: number(0),
            },
            15 => Input::Clock(ClockMap {
                mono_ns: number(0),
                wall_ns: number(1).cast_signed(),
            }),
            _ => Input::Record(bytes),
        });
    }
    flow.finish(last_ns);
    flow.buffer().to_vec()
}

/// Whole lines that no terminal takes for more than text; of JSON if so said.
fn ensure_lines(out: &[u8], is_json: bool) {
    let text = std::str::from_utf8(out).expect("output is text");
    assert!(text.is_empty() || text.ends_with('\n'), "half a line");
    for line in text.lines() {
        assert!(!line.chars().any(char::is_control), "{line:?}");
        if is_json && let Err(error) = serde_json::from_str::<serde_json::Value>(line) {
            panic!("{error}: {line}");
        }
    }
}
