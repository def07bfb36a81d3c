//! `tracer replay`: a recording through the same code as a live trace.

use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::args::ReplayArgs;
use super::exit::{Exit, Failure, talk};
use super::live::{
    cannot_start, describe_filters, filter, runtime, show, talk_at_the_end,
    tell_what_is_never_seen, written,
};
use super::logging;
use super::trace::{renderer, time_wait};
use crate::flow::Flow;
use crate::input::Input;
use crate::output::Output;
use crate::pipeline::{Consumer as _, Stop, View};
use crate::record::{Close, Damage, End, OpenError, Recording, Step, open};
use crate::render::{Renderer, closing_words};
use crate::session::{ClockMap, Session};
use crate::track::{Tracker, TrackerConfig};

/// Between two looks at a file that is still being written.
const FOLLOW_POLL: Duration = Duration::from_millis(100);
/// As of `tracer trace`.
const MAX_CONNECTIONS: usize = 1_000_000;

pub(super) fn run(arguments: &ReplayArgs) -> Result<Exit, Failure> {
    logging::init(arguments.verbose);
    tell_what_is_never_seen(&arguments.filters);
    let recordings = open(&arguments.files)?;
    if arguments.follow && recordings.len() > 1 {
        return Err(Failure::new(
            Exit::Usage,
            "--follow is for one session, and these files hold several",
        ));
    }
    tell_of_several(&recordings);
    let mut exit = Exit::Ok;
    for recording in recordings {
        match replay(arguments, recording)? {
            None => return Ok(Exit::Ok),
            Some(Exit::Ok) => {}
            Some(other) => exit = other,
        }
    }
    Ok(exit)
}

/// Shows one session. `None` if the reader of the output has what it wanted.
fn replay(arguments: &ReplayArgs, mut recording: Recording) -> Result<Option<Exit>, Failure> {
    recording.set_follow(arguments.follow);
    let flow = flow(arguments, &recording)?;
    let clock = recording.header().session.clock;
    let uncounted = recording
        .header()
        .session
        .uncounted_losses()
        .map(str::to_owned);
    let (notes, totals, ending) = runtime()?.block_on(async {
        let output = Output::to_stdout().map_err(|error| cannot_start(&error))?;
        let mut view = View::new(flow, output);
        let mut notes = Notes::new(clock);
        let end_ns = feed(&mut recording, &mut view, &mut notes).await?;
        let (totals, ending) = view.finish(end_ns).await;
        Ok::<_, Failure>((notes, totals, ending))
    })?;
    let Some(written) = written(ending) else {
        return Ok(None);
    };
    let text = closing_words(&totals, uncounted.as_deref());
    talk_at_the_end(&text);
    notes.tell_end();
    written.map(|()| Some(notes.exit()))
}

/// Passes the inputs on until there are no more, or no more are wanted; yields when that was.
async fn feed(
    recording: &mut Recording,
    view: &mut View<Renderer>,
    notes: &mut Notes,
) -> Result<u64, OpenError> {
    let mut stop = Stop::new(None);
    loop {
        let mut wait = Duration::ZERO;
        match recording.step()? {
            Step::Inputs(mut inputs) => {
                while let Some(input) = inputs.input() {
                    notes.note(&input);
                    view.input(input);
                }
            }
            Step::Damage { damage, path, loss } => {
                notes.tell_damage(&damage, &path);
                view.input(loss);
            }
            Step::Wait => wait = FOLLOW_POLL,
            Step::End(end) => {
                notes.end = Some(end);
                return Ok(end.at_ns);
            }
        }
        tokio::select! {
            biased;
            () = stop.wait() => break,
            goes_on = view.hand_on() => if !goes_on { break },
        }
        if !wait.is_zero() {
            if !view.look_after() {
                break;
            }
            tokio::select! {
                biased;
                () = stop.wait() => break,
                () = view.closed() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
    Ok(notes.last_ns)
}

fn flow(arguments: &ReplayArgs, recording: &Recording) -> Result<Flow<Renderer>, Failure> {
    let header = recording.header();
    let recorded = header
        .filter
        .to_filter()
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let tracker = Tracker::new(TrackerConfig {
        max_connections: arguments
            .max_connections
            .or(header.max_connections)
            .unwrap_or(MAX_CONNECTIONS),
        filter: filter(&arguments.filters).and_within(recorded),
        time_wait: time_wait(arguments.view.time_wait, arguments.view.output),
        minis: header.minis,
    });
    let mut session: Session = header.session.clone();
    session.filters.extend(describe_filters(&arguments.filters));
    let mut flow = Flow::start(
        tracker,
        renderer(
            arguments.view.output,
            arguments.view.names,
            arguments.view.color,
        ),
        show(&arguments.filters),
        arguments.view.count,
        &session,
        header.sources.clone(),
    );
    if let Some(stuck) = arguments.view.stuck {
        let after_ns = u64::try_from(stuck.as_nanos()).unwrap_or(u64::MAX);
        flow.watch(after_ns, header.port_limits);
    }
    Ok(flow)
}

/// Says that what follows is not of one piece.
fn tell_of_several(recordings: &[Recording]) {
    let [first, .., _] = recordings else {
        return;
    };
    let boot = |recording: &Recording| {
        let session = &recording.header().session;
        (session.host.clone(), session.boot_id.clone())
    };
    let same_boot = recordings
        .iter()
        .all(|recording| boot(recording) == boot(first));
    talk(&format!(
        "note: {} sessions {}: each is shown by itself, in the order of their beginnings",
        recordings.len(),
        if same_boot {
            "of one boot"
        } else {
            "of different boots or machines"
        },
    ));
}

/// What is to be told beside the output.
struct Notes {
    clock: ClockMap,
    last_ns: u64,
    end: Option<End>,
    damaged: bool,
}

impl Notes {
    fn new(clock: ClockMap) -> Self {
        Self {
            clock,
            last_ns: clock.mono_ns,
            end: None,
            damaged: false,
        }
    }

    fn note(&mut self, input: &Input<'_>) {
        match input {
            Input::Clock(clock) => self.clock = *clock,
            Input::Tick(now_ns) => self.last_ns = *now_ns,
            Input::Record(_) | Input::Losses { .. } => {}
        }
    }

    fn tell_damage(&mut self, damage: &Damage, path: &Path) {
        self.damaged = true;
        let between = match (damage.after_ns, damage.before_ns) {
            (Some(after), Some(before)) => {
                format!(" between {} and {}", self.time(after), self.time(before))
            }
            (None, Some(before)) => format!(" before {}", self.time(before)),
            (Some(after), None) => format!(" after {}", self.time(after)),
            (None, None) => String::new(),
        };
        let missing = match damage.missing {
            Some(missing) => format!(
                "{} transitions and {} other records",
                missing.transitions,
                missing.records.saturating_sub(missing.transitions)
            ),
            None => "an unknown number of records".to_owned(),
        };
        talk(&format!(
            "tracer: {}: {} ({} bytes at offset {}): {missing}{between} are lost",
            path.display(),
            damage.what,
            damage.bytes,
            damage.offset,
        ));
    }

    fn tell_end(&self) {
        let Some(end) = self.end else {
            return;
        };
        let time = self.time(end.at_ns);
        match end.how {
            Close::Whole => {}
            Close::ContinuedElsewhere => {
                talk("note: the session goes on in a file that was not given");
            }
            Close::Cut { torn } => {
                let torn = if torn > 0 {
                    format!("; the last {torn} bytes are no whole block")
                } else {
                    String::new()
                };
                talk(&format!(
                    "note: the recording has no end, it was cut off after {time} or is still being written{torn}"
                ));
            }
        }
        if end.unknown > 0 {
            talk(&format!(
                "note: {} items of a newer version of tracer were passed over",
                end.unknown
            ));
        }
    }

    fn exit(&self) -> Exit {
        if self.damaged { Exit::Failed } else { Exit::Ok }
    }

    /// A time for people.
    fn time(&self, mono_ns: u64) -> String {
        let wall_ns = i128::from(self.clock.wall_ns(mono_ns));
        Timestamp::from_nanosecond(wall_ns).map_or_else(
            |_| format!("{mono_ns} ns"),
            |time| {
                let zoned = time.to_zoned(TimeZone::system());
                zoned.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
            },
        )
    }
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(Exit::Failed, error)
    }
}
