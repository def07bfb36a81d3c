//! `tracer trace`: from arguments to a running pipeline.

use std::io::IsTerminal as _;

use jiff::tz::TimeZone;

use super::args::{ColorChoice, TraceArgs};
use super::exit::{Exit, Failure, talk};
use super::logging;
use crate::filter::{FamilyFilter, Filter, PortSet, Show};
use crate::flow::Flow;
use crate::kernel::{
    Kernel, Options, clock_map, default_ring_bytes, machine_facts, raise_file_limit,
};
use crate::output::{Ending, Output};
use crate::pipeline;
use crate::render::{Format, RenderOptions, Renderer, summary};
use crate::session::{HookStatus, Session};
use crate::state::State;
use crate::track::{Tracker, TrackerConfig};

pub(super) fn run(arguments: &TraceArgs) -> Result<Exit, Failure> {
    logging::init(arguments.verbose);
    raise_file_limit();
    let filter = filter(arguments);
    tell_what_cannot_match(arguments);
    let mut kernel = Kernel::load(&Options {
        filter: &filter,
        ring_bytes: arguments.ring_size.unwrap_or_else(default_ring_bytes),
        hook: arguments.hook.into(),
        debug_log: arguments.verbose > 1,
    })?;
    let session = session(arguments, &kernel);
    if arguments.output != Format::Jsonl {
        tell_what_is_missing(&session);
    }
    let tracker = Tracker::new(TrackerConfig {
        max_connections: arguments.max_connections,
        filter,
    });
    let renderer = Renderer::new(
        arguments.output,
        RenderOptions {
            names: arguments.names,
            color: use_color(arguments.color),
            time_zone: match arguments.output {
                Format::Text | Format::Timeline => TimeZone::system(),
                Format::Jsonl | Format::Csv => TimeZone::UTC,
            },
        },
    );
    let show = Show {
        states: arguments.state.concat(),
        transitions: arguments.transition.concat(),
    };
    let mut flow = Flow::start(
        tracker,
        renderer,
        arguments.output,
        show,
        arguments.count,
        &session,
        kernel.sources(),
    );

    let failed = |error| Failure::new(Exit::Failed, format!("cannot start: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let (totals, ending) = runtime.block_on(async {
        let output = Output::to_stdout().map_err(failed)?;
        pipeline::run(&mut kernel, &mut flow, output, arguments.duration)
            .await
            .map_err(Failure::from)
    })?;
    let outcome = match ending {
        // It has what it wanted, and nobody asked how it ended.
        Ending::ReaderGone => return Ok(Exit::Ok),
        Ending::Complete => Ok(Exit::Ok),
        Ending::Failed(error) => Err(Failure::new(
            Exit::Output,
            format!("cannot write to standard output: {error}"),
        )),
        Ending::Stuck => Err(Failure::new(
            Exit::Output,
            "the reader of standard output stopped reading; the last lines are not written",
        )),
    };
    // Over the ^C that a terminal has echoed.
    let home = if std::io::stderr().is_terminal() {
        "\r"
    } else {
        ""
    };
    talk(&format!(
        "{home}{}",
        summary(&totals, session.uncounted_losses()).trim_end()
    ));
    outcome
}

fn filter(arguments: &TraceArgs) -> Filter {
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
        netns: arguments.netns.clone(),
    }
}

fn union(sets: &[PortSet]) -> PortSet {
    sets.iter().flat_map(PortSet::ranges).collect()
}

fn session(arguments: &TraceArgs, kernel: &Kernel) -> Session {
    let (host, release, arch, boot_id) = machine_facts();
    Session {
        tracer_version: env!("CARGO_PKG_VERSION").to_owned(),
        host,
        kernel: release,
        arch,
        boot_id,
        clock: clock_map(),
        filters: describe_filters(arguments),
        hooks: kernel.hooks.clone(),
        missing_fields: kernel.missing.clone(),
    }
}

fn describe_filters(arguments: &TraceArgs) -> Vec<(String, String)> {
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
fn tell_what_cannot_match(arguments: &TraceArgs) {
    let asked = arguments.state.iter().flatten().copied().chain(
        arguments
            .transition
            .iter()
            .flatten()
            .flat_map(|(from, to)| [*from, *to].into_iter().flatten()),
    );
    for state in asked.filter(|state| NEVER_SEEN.contains(state)) {
        talk(&format!(
            "note: the kernel reports no transition from or to {state}: see `tracer states {state}`"
        ));
    }
    for pid in &arguments.pid {
        if std::path::Path::new("/proc/self").exists()
            && !std::path::Path::new(&format!("/proc/{pid}")).exists()
        {
            talk(&format!("note: there is no process {pid} now"));
        }
    }
}

/// States that `sock:inet_sock_set_state` has no transitions for.
const NEVER_SEEN: [State; 3] = [State::TimeWait, State::NewSynReceived, State::BoundInactive];

/// What the JSON says in its first line, for people: a line for each reason.
fn tell_what_is_missing(session: &Session) {
    let hooks = session.hooks.iter().filter_map(|hook| match &hook.status {
        HookStatus::Unavailable(reason) => Some((&hook.name, reason)),
        HookStatus::Attached | HookStatus::NotNeeded => None,
    });
    let fields = session
        .missing_fields
        .iter()
        .map(|(field, why)| (field, why));
    let mut by_reason: Vec<(&String, Vec<&str>)> = Vec::new();
    for (name, reason) in hooks.chain(fields) {
        match by_reason.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, names)) => names.push(name),
            None => by_reason.push((reason, vec![name])),
        }
    }
    for (reason, names) in by_reason {
        talk(&format!("note: without {}: {reason}", names.join(", ")));
    }
    if session
        .hooks
        .iter()
        .any(|hook| matches!(hook.status, HookStatus::Unavailable(_)))
    {
        talk("hint: `tracer doctor` says what each is for and what mends it");
    }
}

fn use_color(choice: ColorChoice) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        // https://no-color.org: set and not empty.
        ColorChoice::Auto => {
            std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    }
}
