//! From arguments to a running pipeline, whatever becomes of what the kernel reports.

use std::io::IsTerminal as _;

use tokio::runtime::Runtime;

use super::args::{FilterArgs, LimitArgs, MAX_CONNECTIONS};
use super::destination::Destination;
use super::exit::{Exit, Failure, talk, talk_after};
use super::source::{End, Viewing};
use super::{logging, places};
use crate::batch::Batch;
use crate::enrich::Enricher;
use crate::filter::{FamilyFilter, Filter, PortSet, Show};
use crate::flow::Flow;
use crate::kernel::{
    Kernel, Options, Poller, Wish, clock_map, default_backlog_bytes, default_ring_bytes,
    machine_facts, port_limits, raise_file_limit,
};
use crate::pipeline::{self, Feed, Stop, View};
use crate::render::{Render, plain};
use crate::session::{ClockMap, HookReport, HookStatus, Session, SnapshotReport};
use crate::state::State;
use crate::track::{MiniSight, TimeWait, Tracker, TrackerConfig};

/// All is attached; nothing was taken in yet.
pub(super) struct Live<'a> {
    filters: &'a FilterArgs,
    pub(super) limits: &'a LimitArgs,
    pub(super) kernel: Kernel,
    pub(super) filter: Filter,
    pub(super) session: Session,
    /// What is to be asked for, if the kernel can be asked.
    wish: Option<Wish>,
    /// Until the run begins.
    begun: Option<Begun>,
}

/// What was there before the run began.
struct Begun {
    runtime: Runtime,
    stop: Stop,
    /// The sockets listed, and what has happened since all is attached.
    early: Batch,
    enricher: Enricher,
}

/// What [`pipeline::run`] needs.
pub(super) struct Run {
    pub(super) runtime: Runtime,
    pub(super) stop: Stop,
    pub(super) feed: Feed,
}

impl<'a> Live<'a> {
    /// Attaches what the arguments ask for.
    pub(super) fn open(filters: &'a FilterArgs, limits: &'a LimitArgs) -> Result<Self, Failure> {
        logging::init(limits.verbose);
        // First of all: a signal that comes while all is attached ends the run as it begins.
        let runtime = runtime()?;
        let mut stop = {
            let _context = runtime.enter();
            Stop::new()
        };
        raise_file_limit();
        let filter = filter(filters);
        tell_what_cannot_match(filters);
        let enricher = Enricher::default();
        places::require(&filter, &enricher)?;
        let mut kernel = Kernel::load(&Options {
            filter: &filter,
            ring_bytes: limits.ring_size.unwrap_or_else(default_ring_bytes),
            hook: limits.hook.into(),
            functions: !limits.no_functions,
            debug_log: limits.verbose > 1,
        })?;
        let wish = kernel.ask_for_fates();
        tell_what_is_never_seen(filters, mini_sight(&kernel, wish));
        let clock = clock_map();
        if let Some(duration) = limits.duration {
            stop.after(duration);
        }
        let (early, snapshot) = if limits.no_snapshot {
            (Batch::default(), SnapshotReport::default())
        } else {
            runtime.block_on(pipeline::list_sockets(
                &mut kernel,
                &mut stop,
                &filter.netns,
            ))
        };
        let missing = missing_fields(&kernel, &enricher);
        let session = session(filters, &kernel, clock, missing, snapshot);
        Ok(Self {
            filters,
            limits,
            kernel,
            filter,
            session,
            wish,
            begun: Some(Begun {
                runtime,
                stop,
                early,
                enricher,
            }),
        })
    }

    /// Starts to ask the kernel, until each connection is over or only as long as its end is waited for. To be
    /// called once.
    pub(super) fn start(&mut self, time_wait: TimeWait) -> Result<Run, Failure> {
        let taken = || cannot_start(&std::io::ErrorKind::AlreadyExists.into());
        let begun = self.begun.take().ok_or_else(taken)?;
        let poller = self.wish.map(|wish| Poller::start(wish, time_wait));
        let poller = poller.transpose().map_err(|error| cannot_start(&error))?;
        Ok(Run {
            runtime: begun.runtime,
            stop: begun.stop,
            feed: Feed::new(
                begun.early,
                begun.enricher,
                self.session.clock,
                poller,
                self.limits.backlog.unwrap_or_else(default_backlog_bytes),
            ),
        })
    }

    /// Which ways there are to hear of mini-sockets.
    pub(super) fn mini_sight(&self) -> MiniSight {
        mini_sight(&self.kernel, self.wish)
    }

    /// What the session line says, for people: a line for each reason.
    pub(super) fn tell_what_is_missing(&self) {
        let is_a_hook_missing = tell_what_is_lacking(&self.session);
        if is_a_hook_missing {
            talk("hint: `tracer doctor` says what each is for and what mends it");
        }
    }

    /// Renders until the run ends. `None` if the reader of a pipe has what it wanted.
    pub(super) fn run(
        mut self,
        renderer: impl Render,
        viewing: Viewing,
        to: &mut Destination,
    ) -> Result<Option<End>, Failure> {
        let Run {
            runtime,
            stop,
            feed,
        } = self.start(viewing.time_wait)?;
        let flow = self.flow(renderer, viewing);
        let (totals, ending) = runtime.block_on(async {
            let mut view = View::new(flow, to.output()?);
            let end_ns = pipeline::run(&mut self.kernel, feed, &mut view, stop).await?;
            Ok::<_, Failure>(view.finish(end_ns).await)
        })?;
        Ok(to.written(ending).map(|written| End {
            totals,
            session: self.session,
            written,
            exit: Exit::Ok,
        }))
    }

    /// From the kernel's records to a renderer.
    pub(super) fn flow<R: Render>(&self, renderer: R, viewing: Viewing) -> Flow<R> {
        let tracker = Tracker::new(TrackerConfig {
            max_connections: self.limits.max_connections.unwrap_or(MAX_CONNECTIONS),
            filter: self.filter.clone(),
            time_wait: viewing.time_wait,
            minis: self.mini_sight(),
        });
        let show = show(self.filters);
        let sources = self.kernel.sources();
        let mut flow = Flow::start(
            tracker,
            renderer,
            show,
            viewing.count,
            &self.session,
            sources,
        );
        viewing.apply(&mut flow, port_limits());
        flow
    }
}

fn mini_sight(kernel: &Kernel, wish: Option<Wish>) -> MiniSight {
    MiniSight {
        polled: wish.is_some_and(|wish| wish.minis),
        ..kernel.mini_sight()
    }
}

pub(super) fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| cannot_start(&error))
}

pub(super) fn cannot_start(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("cannot start: {error}"))
}

pub(super) fn show(filters: &FilterArgs) -> Show {
    Show {
        states: filters.state.concat(),
        transitions: filters.transition.concat(),
    }
}

/// To the beginning of the line, over the ^C that a terminal has echoed.
pub(super) const OVER_THE_ECHO: &str = "\r";

/// Tells the closing words.
pub(super) fn talk_at_the_end(words: &str) {
    let home = if std::io::stderr().is_terminal() {
        OVER_THE_ECHO
    } else {
        ""
    };
    talk_after(home, words.trim_end());
}

pub(super) fn filter(arguments: &FilterArgs) -> Filter {
    Filter {
        ports: union(&arguments.port),
        local_ports: union(&arguments.local_port),
        remote_ports: union(&arguments.remote_port),
        prefixes: arguments.addr.clone(),
        families: if arguments.ipv4 {
            FamilyFilter::V4
        } else if arguments.ipv6 {
            FamilyFilter::V6
        } else {
            FamilyFilter::Any
        },
        pids: arguments.pid.clone(),
        comms: arguments.comm.clone(),
        cgroups: arguments.cgroup.clone(),
        containers: arguments.container.clone(),
        netns: arguments.netns.clone(),
        within: None,
    }
}

fn union(sets: &[PortSet]) -> PortSet {
    sets.iter().flat_map(PortSet::ranges).collect()
}

fn session(
    filters: &FilterArgs,
    kernel: &Kernel,
    clock: ClockMap,
    missing_fields: Vec<(String, String)>,
    snapshot: SnapshotReport,
) -> Session {
    let (host, release, arch, boot_id) = machine_facts();
    Session {
        tracer_version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
        kernel: release,
        arch,
        boot_id,
        clock,
        filters: describe_filters(filters),
        hooks: kernel.hooks.clone(),
        missing_fields,
        snapshot,
    }
}

/// What the kernel programs cannot tell here, and what cannot be looked up.
fn missing_fields(kernel: &Kernel, enricher: &Enricher) -> Vec<(String, String)> {
    kernel
        .missing
        .iter()
        .cloned()
        .chain(enricher.missing())
        .collect()
}

pub(super) fn describe_filters(arguments: &FilterArgs) -> Vec<(String, String)> {
    fn list<T: ToString>(values: &[T]) -> Option<String> {
        let values: Vec<_> = values.iter().map(T::to_string).collect();
        (!values.is_empty()).then(|| values.join(","))
    }
    let comms: Vec<_> = arguments
        .comm
        .iter()
        .map(|comm| comm.to_string_lossy())
        .collect();
    let states: Vec<_> = arguments.state.concat();
    let transitions: Vec<_> = arguments
        .transition
        .concat()
        .iter()
        .map(|(from, to)| {
            let name = |state: &Option<State>| {
                state.map_or_else(|| "*".to_owned(), |state| state.to_string())
            };
            format!("{}->{}", name(from), name(to))
        })
        .collect();
    let values = [
        ("port", list(&arguments.port)),
        ("local-port", list(&arguments.local_port)),
        ("remote-port", list(&arguments.remote_port)),
        ("addr", list(&arguments.addr)),
        ("ipv4", arguments.ipv4.then(|| "true".to_owned())),
        ("ipv6", arguments.ipv6.then(|| "true".to_owned())),
        ("pid", list(&arguments.pid)),
        ("comm", list(&comms)),
        ("cgroup", list(&arguments.cgroup)),
        ("container", list(&arguments.container)),
        ("netns", list(&arguments.netns)),
        ("state", list(&states)),
        ("transition", list(&transitions)),
    ];
    values
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Asks for what would silently show nothing.
fn tell_what_cannot_match(arguments: &FilterArgs) {
    for pid in &arguments.pid {
        if std::path::Path::new("/proc/self").exists()
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            talk(&format!("note: there is no process {pid} now"));
        }
    }
}

/// Likewise, of states that are asked for.
pub(super) fn tell_what_is_never_seen(arguments: &FilterArgs, minis: MiniSight) {
    let seen_without_socket = minis.ends || minis.polled;
    let asked = arguments.state.iter().flatten().copied().chain(
        arguments
            .transition
            .iter()
            .flatten()
            .flat_map(|(from, to)| [*from, *to].into_iter().flatten()),
    );
    let never_seen = |state: &State| {
        NEVER_SEEN.contains(state) || (*state == State::TimeWait && !seen_without_socket)
    };
    for state in asked.filter(never_seen) {
        talk(&format!(
            "note: the kernel reports no transition from or to {state}: see `tracer states {state}`"
        ));
    }
}

/// States that there are no transitions for.
const NEVER_SEEN: [State; 2] = [State::NewSynReceived, State::BoundInactive];

/// What the JSON says in its first line, for people: a line for each reason. Whether a hook is missing.
pub(super) fn tell_what_is_lacking(session: &Session) -> bool {
    let hooks = session.hooks.iter().filter_map(|hook| match &hook.status {
        HookStatus::Unavailable(reason) => Some((&hook.name, reason)),
        HookStatus::Attached | HookStatus::NotNeeded => None,
    });
    let fields = session
        .missing_fields
        .iter()
        .map(|(field, why)| (field, why));
    let snapshot = session.snapshot.missing.iter();
    for (what, reason) in snapshot {
        talk(&plain(&format!(
            "note: connections older than the trace, without {what}: {reason}"
        )));
    }
    let mut by_reason: Vec<(&String, Vec<&str>)> = Vec::new();
    for (name, reason) in hooks.chain(fields) {
        match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((reason, vec![name])),
        }
    }
    for (reason, names) in by_reason {
        let line = format!("note: without {}: {reason}", enumerate(&names));
        talk(&plain(&line));
    }
    let is_missing = |hook: &HookReport| matches!(hook.status, HookStatus::Unavailable(_));
    session.hooks.iter().any(is_missing)
}

/// Names for a line; of many only the first.
fn enumerate(names: &[&str]) -> String {
    match names {
        [first, _, _, _, ..] => format!("{first} and {} more", names.len() - 1),
        _ => names.join(", "),
    }
}
