//! `tracer record`: what the kernel reports, into files.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::time::{Duration, Instant};

use super::args::{MAX_CONNECTIONS, RecordArgs};
use super::destination::Destination;
use super::exit::{Exit, Failure, talk};
use super::live::{Live, Run, cannot_start, talk_at_the_end};
use super::recorded::time;
use super::source::Viewing;
use super::trace::{renderer, time_wait};
use crate::flow::Flow;
use crate::input::Input;
use crate::kernel::port_limits;
use crate::output::Handed;
use crate::pipeline::{self, Consumer, View};
use crate::record::frame::Counts;
use crate::record::{
    Header, Limits, Place, RecordedFilter, Recorder, Target, WriteError, Written, sudo_caller,
};
use crate::render::{Format, Renderer, closing_words, losses};
use crate::session::{Lost, Session};
use crate::state::Names;
use crate::track::TimeWait;

/// The least for all files together: a block, its head and the end of a file are to fit into a quarter.
const MAX_SIZE_OF_MANY: u64 = 512 << 10;

pub(super) fn run(arguments: &RecordArgs) -> Result<Exit, Failure> {
    check(arguments)?;
    let target = target(arguments)?;
    let mut live = Live::open(&arguments.filters, &arguments.limits)?;
    if arguments.tee != Some(Format::Jsonl) {
        live.tell_what_is_missing();
    }
    let mut header = Header::new(
        session_id(),
        live.session.clone(),
        live.kernel.sources(),
        RecordedFilter::from(&live.filter),
    );
    header.minis = live.mini_sight();
    header.port_limits = port_limits();
    header.max_connections = arguments
        .tee
        .is_some()
        .then_some(arguments.limits.max_connections.unwrap_or(MAX_CONNECTIONS));
    let viewing = Viewing {
        stuck: arguments.stuck,
        time_wait: time_wait(arguments.time_wait, arguments.tee.unwrap_or_default()),
        count: arguments.count,
        every: None,
    };
    let limits = Limits {
        rotate_size: arguments.rotate_size,
        rotate_time: arguments.rotate_time,
        keep: arguments.keep,
        max_size: arguments.max_size,
    };
    // Whoever replays it may want to wait for each end.
    let Run {
        runtime,
        stop,
        feed,
    } = live.start(TimeWait::Wait)?;
    runtime.block_on(async {
        let beside = match (arguments.tee, arguments.count) {
            (Some(format), _) => {
                let renderer = renderer(format, arguments.names, arguments.color);
                let output = Destination::Stdout.output()?;
                Beside::View(Box::new(View::new(live.flow(renderer, viewing), output)))
            }
            (None, Some(_)) => {
                let renderer = renderer(Format::Csv, Names::default(), arguments.color);
                Beside::Count(Box::new(live.flow(renderer, viewing)))
            }
            (None, None) => Beside::Nothing,
        };
        let recorder = Recorder::start(target, limits, header)?;
        let mut recording = Recording {
            progress: ProgressLine::new(arguments.tee.is_some(), &live.session),
            recorder,
            beside,
        };
        let clock = live.session.clock;
        let end_ns = pipeline::run(&mut live.kernel, feed, &mut recording, stop).await?;
        let run = Duration::from_nanos(end_ns.saturating_sub(clock.mono_ns));
        recording.finish(end_ns, run, &live.session).await
    })
}

fn check(arguments: &RecordArgs) -> Result<(), Failure> {
    let usage = |message| Err(Failure::new(Exit::Usage, message));
    let rotates = arguments.rotate_size.is_some() || arguments.rotate_time.is_some();
    let to_stdout = is_stdout(&arguments.output);
    let shows_part =
        !arguments.filters.state.is_empty() || !arguments.filters.transition.is_empty();
    if arguments.keep.is_some() && !rotates {
        return usage("--keep is of use with --rotate-size or --rotate-time only");
    }
    if to_stdout && (rotates || arguments.tee.is_some()) {
        return usage("-o - leaves no room for --tee, --rotate-size or --rotate-time");
    }
    if to_stdout && io::stdout().is_terminal() {
        return usage(
            "a recording is not for a terminal\nhint: name a file, or lead standard output to a pipe",
        );
    }
    if shows_part && arguments.tee.is_none() && arguments.count.is_none() {
        return usage(
            "--state and --transition choose what is shown, and whole connections are recorded\nhint: \
             give them to `tracer replay`, or show it beside with --tee",
        );
    }
    if let Some(most) = arguments.max_size.filter(|_| rotates) {
        // The oldest can give way only where there are several.
        if arguments.rotate_size.is_some_and(|size| size > most / 2) {
            return usage("--rotate-size is at most half of --max-size");
        }
        if most < MAX_SIZE_OF_MANY {
            return usage("with rotation, 512K is the least for --max-size");
        }
    }
    Ok(())
}

fn is_stdout(path: &Path) -> bool {
    path == Path::new("-")
}

fn target(arguments: &RecordArgs) -> Result<Target, Failure> {
    if is_stdout(&arguments.output) {
        let stdout = io::stdout().as_fd().try_clone_to_owned();
        return Ok(Target::Stream(File::from(
            stdout.map_err(|error| cannot_start(&error))?,
        )));
    }
    let place = Place::new(&arguments.output, arguments.force, sudo_caller())?;
    // What is in the way is known before anything is traced.
    if arguments.rotate_size.is_some() || arguments.rotate_time.is_some() {
        place.check_parts()?;
    } else {
        place.check()?;
    }
    Ok(Target::Files(place))
}

/// Something that no other session has.
fn session_id() -> String {
    std::fs::read_to_string("/proc/sys/kernel/random/uuid").map_or_else(
        |_| {
            let clock = crate::kernel::clock_map();
            format!("{}-{}-{}", clock.wall_ns, clock.mono_ns, std::process::id())
        },
        |uuid| uuid.trim().to_owned(),
    )
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Self {
        let exit = match &error {
            WriteError::Io { .. }
            | WriteError::File(_)
            | WriteError::Gone { .. }
            | WriteError::ReaderGone
            | WriteError::Stuck => Exit::Output,
            WriteError::Start(_) => Exit::Failed,
        };
        Self::new(exit, error)
    }
}

/// Records, and shows it beside if asked to.
struct Recording {
    recorder: Recorder,
    beside: Beside,
    progress: ProgressLine,
}

/// What happens beside recording.
enum Beside {
    Nothing,
    /// A live view.
    View(Box<View<Renderer>>),
    /// Transitions are counted as a live view would.
    Count(Box<Flow<Renderer>>),
}

impl Consumer for Recording {
    fn warm<'a>(&self, records: impl Iterator<Item = &'a [u8]>) {
        match &self.beside {
            Beside::Nothing => {}
            Beside::View(view) => view.warm(records),
            Beside::Count(flow) => flow.warm(records),
        }
    }

    fn input(&mut self, input: Input<'_>) {
        self.recorder.input(input);
        match &mut self.beside {
            Beside::Nothing => {}
            Beside::View(view) => view.input(input),
            Beside::Count(flow) => flow.input(input),
        }
    }

    async fn hand_on(&mut self) -> bool {
        let goes_on = self.hand_on_beside();
        self.recorder.hand_on().await && goes_on
    }

    async fn hand_on_at_last(&mut self) -> Handed {
        let goes_on = self.hand_on_beside();
        let handed = self.recorder.hand_on_at_last().await;
        if handed == Handed::On && !goes_on {
            return Handed::Enough;
        }
        handed
    }

    async fn closed(&self) {
        self.recorder.closed().await;
    }

    fn look_after(&mut self) -> bool {
        self.recorder.look_after();
        self.progress.show(&self.recorder);
        true
    }
}

impl Recording {
    /// Whether more is wanted.
    fn hand_on_beside(&mut self) -> bool {
        match &mut self.beside {
            Beside::Nothing => true,
            Beside::View(view) => {
                let done = view.is_done();
                if !view.offer() && !done {
                    // Recording must not wait for whoever reads the view.
                    self.beside = Beside::Nothing;
                    talk(
                        "note: the live view has ended, its reader is gone or too slow; recording goes on",
                    );
                }
                !done
            }
            Beside::Count(flow) => {
                flow.buffer().clear();
                !flow.is_done()
            }
        }
    }

    async fn finish(self, end_ns: u64, run: Duration, session: &Session) -> Result<Exit, Failure> {
        self.progress.clear();
        let lost = self.recorder.lost();
        let taken_in = self.recorder.counts();
        let progress = self.recorder.progress();
        let files = self.recorder.finish(end_ns).await;
        let mut shown = Ok(());
        if let Beside::View(view) = self.beside {
            let (totals, ending) = view.finish(end_ns).await;
            shown = Destination::Stdout.written(ending).unwrap_or(Ok(()));
            let text = closing_words(&totals, session.uncounted_losses());
            talk_at_the_end(&text);
        } else if files.is_ok() || lost != Lost::default() {
            tell_losses(&lost, session);
        }
        let files = match files {
            Ok(files) => files,
            Err(WriteError::ReaderGone) => return Ok(Exit::Ok),
            Err(error) => {
                let mut what = error.to_string();
                let missing = progress.counts().until(taken_in).transitions;
                let hint = "hint: what was written before can be replayed";
                let is_gone = matches!(error, WriteError::Gone { .. });
                if missing > 0 && !is_gone {
                    let last = time(
                        &session.clock,
                        progress.last_ns().max(session.clock.mono_ns),
                    );
                    let lines =
                        format!("\n{missing} transitions after {last} are not in the recording");
                    what.insert_str(what.find("\nhint: ").unwrap_or(what.len()), &lines);
                }
                if !what.contains("\nhint: ") {
                    let _ = write!(what, "\n{hint}");
                }
                return Err(Failure::new(Failure::from(error).exit(), what));
            }
        };
        talk(&told(&files, run));
        shown.map(|()| Exit::Ok)
    }
}

fn tell_losses(lost: &Lost, session: &Session) {
    let text = losses(lost, session.uncounted_losses());
    talk_at_the_end(&text);
}

/// What was recorded, and where it is.
fn told(files: &Written, run: Duration) -> String {
    let Counts {
        transitions,
        records,
    } = files.counts;
    let place = match files.paths.as_slice() {
        [one] => one.clone(),
        [first, .., last] => format!("{first} to {last}"),
        [] => "no file".to_owned(),
    };
    let removed = (files.files as usize).saturating_sub(files.paths.len());
    let seconds = run.as_secs_f64();
    // Not transitions: of one that the second program repeats there are two records.
    let mut text = format!(
        "recorded {records} records in {seconds:.1}s, {transitions} of them of transitions: "
    );
    let _ = if removed > 0 {
        let oldest = match removed {
            1 => "the oldest file was".to_owned(),
            _ => format!("the {removed} oldest files were"),
        };
        write!(
            text,
            "{} in {} files\nnote: {oldest} removed again; left: {place}, {}",
            bytes(files.bytes),
            files.files,
            bytes(files.bytes_left)
        )
    } else {
        write!(text, "{place}, {}", bytes(files.bytes))
    };
    if files.full {
        text.push_str("\nnote: recording ended because --max-size was reached");
    }
    text
}

/// A line on a terminal that is written over again and again.
struct ProgressLine {
    shown: bool,
    /// Why more may be lost than is counted.
    uncounted: bool,
    /// When the rate was taken last, and how many records there were.
    since: Instant,
    counted: u64,
    per_second: Option<u64>,
}

impl ProgressLine {
    /// Over which a rate is taken.
    const SPAN: Duration = Duration::from_secs(1);

    /// Not where lines of a live view would get in between.
    fn new(beside: bool, session: &Session) -> Self {
        let same_terminal = beside && io::stdout().is_terminal();
        Self {
            shown: io::stderr().is_terminal() && !same_terminal,
            uncounted: session.uncounted_losses().is_some(),
            since: Instant::now(),
            counted: 0,
            per_second: None,
        }
    }

    fn show(&mut self, recorder: &Recorder) {
        if !self.shown {
            return;
        }
        let records = recorder.counts().records;
        let elapsed = self.since.elapsed();
        if elapsed >= Self::SPAN {
            let more = u128::from(records.saturating_sub(self.counted));
            let per_second = more * 1_000_000_000 / elapsed.as_nanos().max(1);
            self.per_second = u64::try_from(per_second).ok();
            (self.since, self.counted) = (Instant::now(), records);
        }
        let progress = recorder.progress();
        let lost = recorder.lost().total();
        let mut line = format!("recording: {records} records");
        if let Some(per_second) = self.per_second {
            let _ = write!(line, ", {per_second}/s");
        }
        let _ = write!(line, ", {}", bytes(progress.bytes()));
        if progress.files() > 1 {
            let _ = write!(line, ", file {}", progress.files());
        }
        let _ = match (lost, self.uncounted) {
            (0, true) => write!(line, ", losses are not counted"),
            (lost, _) => write!(line, ", {lost} lost"),
        };
        let columns = rustix::termios::tcgetwinsize(io::stderr())
            .ok()
            .map(|size| usize::from(size.ws_col));
        put(&format!("\r\x1b[K{}", fitted(&line, columns)));
    }

    fn clear(&self) {
        if self.shown {
            put("\r\x1b[K");
        }
    }
}

/// As much of an ASCII line as leaves the cursor in it: one that goes on in the next row is not written over.
/// A terminal that says 0 columns does not know.
fn fitted(line: &str, columns: Option<usize>) -> &str {
    let room = columns
        .filter(|columns| *columns > 0)
        .map_or(line.len(), |columns| columns - 1);
    line.get(..room).unwrap_or(line)
}

/// Writes to stderr as it is; that nobody reads it is no error.
fn put(text: &str) {
    let _ = io::Write::write_all(&mut io::stderr().lock(), text.as_bytes());
}

/// `12.3 MB`.
pub(super) fn bytes(count: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let (value, unit) = match count {
        0..1000 => return format!("{count} bytes"),
        1000..1_000_000 => (count as f64 / 1e3, "kB"),
        1_000_000..1_000_000_000 => (count as f64 / 1e6, "MB"),
        _ => (count as f64 / 1e9, "GB"),
    };
    format!("{value:.1} {unit}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{fitted, told};
    use crate::record::Written;
    use crate::record::frame::Counts;

    #[test]
    fn only_what_is_left_is_said_to_be_there() {
        let mut files = Written {
            files: 2,
            bytes: 2_600_000,
            bytes_left: 2_600_000,
            counts: Counts {
                records: 12,
                transitions: 10,
            },
            paths: vec!["x.000001.tracer".to_owned(), "x.000002.tracer".to_owned()],
            full: false,
        };
        let run = Duration::from_secs(3);
        let recorded = "recorded 12 records in 3.0s, 10 of them of transitions: ";
        assert_eq!(
            told(&files, run),
            format!("{recorded}x.000001.tracer to x.000002.tracer, 2.6 MB")
        );
        (files.files, files.bytes_left) = (21, 442_000);
        assert_eq!(
            told(&files, run),
            format!(
                "{recorded}2.6 MB in 21 files\nnote: the 19 oldest files were removed again; left: \
                 x.000001.tracer to x.000002.tracer, 442.0 kB"
            )
        );
    }

    #[test]
    fn the_progress_line_stays_in_its_row() {
        let line = "recording: 1234 records";
        for (columns, shown) in [
            (None, line),
            (Some(0), line),
            (Some(1), ""),
            (Some(10), "recording"),
            (Some(23), "recording: 1234 record"),
            (Some(24), line),
            (Some(200), line),
        ] {
            assert_eq!(fitted(line, columns), shown, "{columns:?}");
        }
    }
}
