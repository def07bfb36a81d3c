//! A recording through the same code as a live trace, whatever is made of it.

mod notes;

use std::cell::LazyCell;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

use super::args::{FilterArgs, MAX_CONNECTIONS};
use super::destination::Destination;
use super::exit::{Exit, Failure, talk};
use super::live::{
    cannot_start, describe_filters, filter, runtime, show, tell_what_is_lacking,
    tell_what_is_never_seen,
};
use super::logging;
use super::source::{End, Viewing};
use crate::flow::Flow;
use crate::kernel::machine_facts;
use crate::pipeline::{Consumer as _, Stop, View};
use crate::record::{self, Author, OpenError, Recording, Step, open};
use crate::render::{Render, plain};
use crate::session::{ClockMap, Session};
use crate::track::{MiniSight, Tracker, TrackerConfig, WARM_GROUP};
use notes::Notes;

/// Between two looks at a file that is still being written.
const FOLLOW_POLL: Duration = Duration::from_millis(100);
/// Searching a file for more of a recording, before it is said.
const LONG_SEARCH: Duration = Duration::from_secs(1);
/// Longer than a recorder is silent though nothing happens: every 5 s it says so.
const SILENCE: Duration = Duration::from_secs(10);

/// Sessions in files; nothing was read of them yet but their headers.
pub(super) struct Recorded<'a> {
    filters: &'a FilterArgs,
    max_connections: Option<usize>,
    sessions: VecDeque<Recording>,
    follow: bool,
    runtime: Runtime,
    stop: Stop,
}

impl<'a> Recorded<'a> {
    /// The sessions in these files, in the order of their beginnings; none if a signal ends the run meanwhile.
    pub(super) fn open(
        files: &[PathBuf],
        filters: &'a FilterArgs,
        max_connections: Option<usize>,
        verbose: u8,
    ) -> Result<Self, Failure> {
        logging::init(verbose);
        let runtime = runtime()?;
        let (recordings, stop) = runtime.block_on(open_unless_stopped(files))?;
        let sights = recordings.iter().map(|recording| recording.header().minis);
        let minis = sights.reduce(|one, other| MiniSight {
            births: one.births || other.births,
            ends: one.ends || other.ends,
            polled: one.polled || other.polled,
        });
        if let Some(minis) = minis {
            tell_what_is_never_seen(filters, minis);
        }
        tell_of_several(&recordings);
        recordings.iter().for_each(tell_what_was_before);
        Ok(Self {
            filters,
            max_connections,
            sessions: recordings.into(),
            follow: false,
            runtime,
            stop,
        })
    }

    /// Waits for more where the last file ends without the end of the session. That is for one session.
    pub(super) fn follow(&mut self) -> Result<(), Failure> {
        if self.sessions.len() > 1 {
            return Err(Failure::new(
                Exit::Usage,
                "--follow is for one session, and these files hold several",
            ));
        }
        self.follow = true;
        for recording in &mut self.sessions {
            recording.set_follow(true);
        }
        Ok(())
    }

    /// Which sessions they are, for people: a line for each.
    pub(super) fn describe(&self) -> Vec<String> {
        let describe = |recording: &Recording| {
            let header = recording.header();
            let session = &header.session;
            format!(
                "session {} of {}, begun {}",
                plain(&header.id),
                plain(&session.host),
                time(&session.clock, session.clock.mono_ns)
            )
        };
        self.sessions.iter().map(describe).collect()
    }

    /// What the session lines say, for people: a line for each reason.
    pub(super) fn tell_what_is_missing(&self) {
        for recording in &self.sessions {
            tell_what_is_lacking(&recording.header().session);
        }
    }

    /// Whether there are no more sessions to be shown.
    pub(super) fn is_done(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Renders the next session until it ends. `None` where there is none, or the reader of a pipe has what it
    /// wanted.
    pub(super) fn run_next(
        &mut self,
        renderer: impl Render,
        viewing: Viewing,
        to: &mut Destination,
    ) -> Result<Option<End>, Failure> {
        let Some(mut recording) = self.sessions.pop_front() else {
            return Ok(None);
        };
        let mut session = recording.header().session.clone();
        session.filters.extend(describe_filters(self.filters));
        let flow = self.flow(&recording, renderer, viewing, &session)?;
        let stop = &mut self.stop;
        let (notes, totals, ending) = self.runtime.block_on(async {
            let mut view = View::new(flow, to.output()?);
            let mut notes = Notes::new(recording.header());
            let end_ns = feed(&mut recording, &mut view, &mut notes, stop).await?;
            view.set_missing(notes.missing(self.follow));
            let (totals, ending) = view.finish(end_ns).await;
            Ok::<_, Failure>((notes, totals, ending))
        })?;
        let Some(written) = to.written(ending) else {
            return Ok(None);
        };
        notes.tell_end(self.follow);
        if self.stop.is_due() && !self.sessions.is_empty() {
            let what = match self.sessions.len() {
                1 => "1 more session was".to_owned(),
                many => format!("{many} more sessions were"),
            };
            talk(&format!("note: interrupted: {what} not looked at"));
            self.sessions.clear();
        }
        Ok(Some(End {
            totals,
            session,
            written,
            exit: notes.exit(),
        }))
    }

    /// A file alone does not make tracer take more memory than it would by itself.
    fn max_connections(&self, recording: &Recording) -> usize {
        if let Some(asked) = self.max_connections {
            return asked;
        }
        let recorded = recording.header().max_connections;
        if let Some(recorded) = recorded.filter(|recorded| *recorded > MAX_CONNECTIONS) {
            talk(&format!(
                "note: it was recorded with --max-connections {recorded}; give that to keep more than \
                 {MAX_CONNECTIONS} in memory"
            ));
        }
        recorded.unwrap_or(MAX_CONNECTIONS).min(MAX_CONNECTIONS)
    }

    fn flow<R: Render>(
        &self,
        recording: &Recording,
        renderer: R,
        viewing: Viewing,
        session: &Session,
    ) -> Result<Flow<R>, Failure> {
        let header = recording.header();
        let recorded = header
            .filter
            .to_filter()
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        let tracker = Tracker::new(TrackerConfig {
            max_connections: self.max_connections(recording),
            filter: filter(self.filters).and_within(recorded),
            time_wait: viewing.time_wait,
            minis: header.minis,
        });
        let mut flow = Flow::start(
            tracker,
            renderer,
            show(self.filters),
            viewing.count,
            session,
            header.sources.clone(),
        );
        viewing.apply(&mut flow, header.port_limits);
        Ok(flow)
    }
}

/// Opens the recordings in these files, unless it is time to stop before: not even standard input, where nothing
/// may come, is waited for then.
async fn open_unless_stopped(files: &[PathBuf]) -> Result<(Vec<Recording>, Stop), Failure> {
    let mut stop = Stop::new();
    let (report, opened) = oneshot::channel();
    let files = files.to_vec();
    std::thread::Builder::new()
        .name("open".to_owned())
        // Nobody may be waiting any more.
        .spawn(move || report.send(open(&files)).is_ok())
        .map_err(|error| cannot_start(&error))?;
    tokio::select! {
        biased;
        () = stop.wait() => {
            talk("note: interrupted before the files were opened: nothing was looked at");
            Ok((Vec::new(), stop))
        }
        opened = opened => {
            let died = |_| Failure::new(Exit::Failed, "the thread that opens files died");
            Ok((opened.map_err(died)??, stop))
        }
    }
}

/// Passes the inputs on until there are no more, or no more are wanted; yields when that was.
async fn feed<R: Render>(
    recording: &mut Recording,
    view: &mut View<R>,
    notes: &mut Notes,
    stop: &mut Stop,
) -> Result<u64, OpenError> {
    let mut silence = Silence::new();
    let mut search = Search::default();
    loop {
        let mut wait = Duration::ZERO;
        match recording.step()? {
            Step::Inputs(mut inputs) => {
                silence.is_broken();
                for index in 0.. {
                    if index % WARM_GROUP == 0 {
                        view.warm(inputs.ahead().take(WARM_GROUP));
                    }
                    let Some(input) = inputs.input() else { break };
                    notes.note(&input);
                    view.input(input);
                }
            }
            Step::Damage { damage, path, loss } => {
                notes.tell_damage(&damage, &path);
                view.input(loss);
            }
            Step::Passed => search.goes_on(recording),
            Step::Wait if silence.is_final => {
                notes.author = Author::Gone;
                return Ok(notes.end(recording.leave()));
            }
            Step::Wait => {
                wait = FOLLOW_POLL;
                silence.goes_on(recording);
            }
            Step::End(end) => {
                // Of which machine it is does not matter for that.
                notes.author = recording.author(None);
                return Ok(notes.end(end));
            }
        }
        // Signals are heard only where the runtime has its turn.
        tokio::task::yield_now().await;
        tokio::select! {
            biased;
            () = stop.wait() => return Ok(notes.interrupt(recording.leave())),
            goes_on = view.hand_on() => if !goes_on { break },
        }
        if !view.look_after() {
            break;
        }
        if !wait.is_zero() {
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

/// That a file holds no recording for long.
#[derive(Default)]
struct Search {
    /// Where in the file it begins, and when it was begun.
    began: Option<(u64, Instant)>,
    told: bool,
}

impl Search {
    /// Says so once it takes long.
    fn goes_on(&mut self, recording: &Recording) {
        let from = recording.searches_from();
        match (self.began, from) {
            (Some((began, since)), Some(from)) if began == from => {
                if since.elapsed() > LONG_SEARCH && !self.told {
                    self.told = true;
                    talk(&format!(
                        "note: {}: what follows offset {from} is no part of a recording; searching it for more",
                        record::shown(recording.path()),
                    ));
                }
            }
            _ => {
                self.began = from.map(|from| (from, Instant::now()));
                self.told = false;
            }
        }
    }
}

/// That nothing comes from a file that is followed.
struct Silence {
    since: Instant,
    told: bool,
    /// Nobody writes any more; what was written before that was known is still to be read.
    is_final: bool,
    /// Of this machine; hardly ever asked for.
    boot_id: LazyCell<Option<String>>,
}

impl Silence {
    fn new() -> Self {
        Self {
            since: Instant::now(),
            told: false,
            is_final: false,
            boot_id: LazyCell::new(|| {
                let (.., boot_id) = machine_facts();
                boot_id
            }),
        }
    }

    fn is_broken(&mut self) {
        self.since = Instant::now();
        self.is_final = false;
    }

    /// Looks for the reason once it is too long to have none.
    fn goes_on(&mut self, recording: &Recording) {
        if self.since.elapsed() < SILENCE {
            return;
        }
        let why = match recording.author(self.boot_id.as_deref()) {
            Author::Gone => {
                self.is_final = true;
                return;
            }
            Author::AtWork => "its recorder is there: it may be stopped, or wait for the disk",
            Author::Unknown => {
                "whether it is still being recorded is not known\nhint: Ctrl-C ends this"
            }
        };
        if !self.told {
            self.told = true;
            talk(&format!(
                "note: for {}s nothing was written to {}: {why}",
                SILENCE.as_secs(),
                record::shown(recording.path()),
            ));
        }
    }
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

/// Says that the first files of a session are missing.
fn tell_what_was_before(recording: &Recording) {
    let header = recording.header();
    if header.part <= 1 {
        return;
    }
    talk(&format!(
        "note: the files begin in the middle of the session: {} transitions before {} are not looked at",
        header.before.transitions,
        time(&header.session.clock, header.session.clock.mono_ns),
    ));
}

/// A time for people.
pub(super) fn time(clock: &ClockMap, mono_ns: u64) -> String {
    let wall_ns = i128::from(clock.wall_ns(mono_ns));
    Timestamp::from_nanosecond(wall_ns).map_or_else(
        |_| format!("{mono_ns} ns"),
        |time| {
            let zoned = time.to_zoned(TimeZone::system());
            zoned.strftime("%Y-%m-%d %H:%M:%S%.6f").to_string()
        },
    )
}

impl From<OpenError> for Failure {
    fn from(error: OpenError) -> Self {
        Self::new(Exit::Failed, error)
    }
}
