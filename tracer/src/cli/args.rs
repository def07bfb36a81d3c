//! What the command line looks like; nothing here does anything.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the text of --help, where backticks would show"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use ipnet::IpNet;

use super::values;
use crate::event::Comm;
use crate::filter::{PortSet, TransitionPattern, parse_prefix};
use crate::kernel::HookChoice;
use crate::render::{Format, SummaryFormat};
use crate::state::{Names, State};
use crate::track::TimeWait;

/// Trace TCP state transitions of every connection, live from the kernel.
#[derive(Debug, Parser)]
#[command(
    name = "tracer",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_precedence_over_arg = true,
    disable_help_subcommand = true,
    after_help = AFTER_HELP
)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) trace: TraceArgs,
}

const AFTER_HELP: &str = "\
Without a command, tracer traces: `tracer --port 443` is `tracer trace --port 443`.
Several filters must all match; within one, any value of a list will do.

Exit codes: 0 done (also by Ctrl-C, SIGTERM, a limit or a closed pipe), 1 failed while running,
2 bad command line, 3 not permitted (run it with sudo), 4 this kernel lacks what is needed,
5 the output cannot be written.

Examples:
  sudo tracer --port 443                     every state change of connections to or from port 443
  sudo tracer -o timeline --addr 10.0.0.0/8  one block per connection, when it ends
  sudo tracer -o jsonl --duration 60s > s.jsonl
  sudo tracer summary --duration 60s         what went wrong in the next minute, and how much there was
  sudo tracer record -o s.tracer             record now, look at it later, in any way:
  tracer replay s.tracer                       as it would have been traced
  tracer summary s.tracer                      summed up
  tracer report s.tracer -o s.html             as a page to look at, with every connection on a time axis
  tracer states CLOSE_WAIT                   what it means when a connection stays there
  sudo tracer doctor                         whether this machine can run it, and how to mend it";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Trace state transitions (the default)
    Trace(Box<TraceArgs>),
    /// Sum up a session at its end: failures, resets, leaks, slow handshakes, traffic, times in the states
    Summary(Box<SummaryArgs>),
    /// Write a session as one HTML page, to look at in a browser
    Report(Box<ReportArgs>),
    /// Write a session for another program: a Perfetto trace, JSON lines or CSV
    Export(Box<ExportArgs>),
    /// Record to a file, to be looked at later
    Record(Box<RecordArgs>),
    /// Show what was recorded
    Replay(Box<ReplayArgs>),
    /// Explain the TCP states: names on every system, what they mean, what to check
    States(StatesArgs),
    /// Say whether this machine can run tracer, and how to mend what is missing
    Doctor(DoctorArgs),
}

/// What is traced: the same for every command that listens to the kernel.
#[derive(Debug, Args)]
pub(super) struct FilterArgs {
    /// Port of either side: numbers and ranges, such as 80,443,8000-8100
    #[arg(long, value_name = "PORTS", help_heading = "Filters")]
    pub(super) port: Vec<PortSet>,

    /// Port of this side
    #[arg(long, value_name = "PORTS", help_heading = "Filters")]
    pub(super) local_port: Vec<PortSet>,

    /// Port of the other side
    #[arg(long, value_name = "PORTS", help_heading = "Filters")]
    pub(super) remote_port: Vec<PortSet>,

    /// Address or network of either side, such as 10.0.0.0/8 or 2001:db8::1; may be a list
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = parse_prefix, help_heading = "Filters")]
    pub(super) addr: Vec<IpNet>,

    /// IPv4 only, v4-mapped connections of IPv6 sockets included
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = "Filters")]
    pub(super) ipv4: bool,

    /// IPv6 only
    #[arg(short = '6', long, help_heading = "Filters")]
    pub(super) ipv6: bool,

    /// Process that owns the connection; may be a list
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = values::pid, help_heading = "Filters")]
    pub(super) pid: Vec<u32>,

    /// Command name of the process that owns the connection; may be a list
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::comm, help_heading = "Filters")]
    pub(super) comm: Vec<Comm>,

    /// Cgroup that the process is in or below, such as /system.slice/nginx.service; may be a list
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = values::cgroup, help_heading = "Filters")]
    pub(super) cgroup: Vec<String>,

    /// Container that the process is in: its id, or the first 4 characters or more; may be a list
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = values::container, help_heading = "Filters")]
    pub(super) container: Vec<String>,

    /// Network namespace: a name of `ip netns`, a path, or an inode number; may be a list
    #[arg(long, value_name = "NS", value_delimiter = ',', value_parser = values::netns, help_heading = "Filters")]
    pub(super) netns: Vec<u32>,

    /// Show only transitions from or to a state, by any name of `tracer states`; may be a list
    #[arg(long, value_name = "STATE", value_parser = values::states, help_heading = "Filters")]
    pub(super) state: Vec<Vec<State>>,

    /// Show only these transitions, such as 'ESTABLISHED->CLOSE_WAIT' or '*:CLOSED'; may be a list
    #[arg(long, value_name = "FROM->TO", value_parser = values::transitions, help_heading = "Filters")]
    pub(super) transition: Vec<Vec<TransitionPattern>>,
}

/// Connections kept in memory, where neither the command line nor a recording says otherwise.
pub(super) const MAX_CONNECTIONS: usize = 1_000_000;

/// What is looked at.
#[derive(Debug, Args)]
pub(super) struct SourceArgs {
    /// Recordings instead of what happens now: files of one session are put together; - for standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["duration", "no_snapshot", "ring_size", "hook"])]
    pub(super) files: Vec<PathBuf>,
}

/// Where it goes to.
#[derive(Debug, Args)]
pub(super) struct FileArgs {
    /// File to write, which is there once it is complete [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: Option<PathBuf>,

    /// Replace a file that exists
    #[arg(long, requires = "output", help_heading = "Output")]
    pub(super) force: bool,
}

/// Within which bounds, likewise.
#[derive(Debug, Args)]
pub(super) struct LimitArgs {
    /// Stop after this time, such as 10s or 5m
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Limits")]
    pub(super) duration: Option<Duration>,

    /// Connections to keep in memory; beyond it the one silent for longest is forgotten [default: 1000000]
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Limits")]
    pub(super) max_connections: Option<usize>,

    /// Leave out the connections and listeners that were there before the trace
    #[arg(long, help_heading = "Limits")]
    pub(super) no_snapshot: bool,

    /// Buffer between kernel and tracer, such as 16M; a power of two is taken [default: by CPUs]
    #[arg(long, value_name = "SIZE", value_parser = values::ring_bytes, help_heading = "Limits")]
    pub(super) ring_size: Option<u32>,

    /// How to listen: raw tracepoint where possible, or one of the two
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        help_heading = "Limits"
    )]
    pub(super) hook: Hook,

    /// Say more on stderr; twice for the kernel programs' own log
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

/// How transitions are shown, live or from a recording.
#[derive(Debug, Args)]
pub(super) struct ViewArgs {
    /// Output format: text, jsonl, csv or timeline
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub(super) output: Format,

    /// Give a hint for each connection that is stuck in a state for TIME [default without TIME: 30s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "30s",
        value_parser = values::duration,
        help_heading = "Output"
    )]
    pub(super) stuck: Option<Duration>,

    /// Names of the states in text and timeline: documented, rfc, kernel or ss
    #[arg(long, value_name = "NAMES", default_value_t, help_heading = "Output")]
    pub(super) names: Names,

    /// When to use colour
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) color: ColorChoice,

    /// When to tell of the end of a connection that goes on in TIME_WAIT: when that is over, or as soon as it
    /// begins [default: wait for jsonl and csv, expect for text and timeline]
    #[arg(long, value_name = "HOW", help_heading = "Output")]
    pub(super) time_wait: Option<TimeWaitChoice>,

    /// Stop after this many transitions shown (with -o timeline: connections)
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Limits")]
    pub(super) count: Option<u64>,
}

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    #[command(flatten)]
    pub(super) filters: FilterArgs,

    #[command(flatten)]
    pub(super) view: ViewArgs,

    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct SummaryArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) filters: FilterArgs,

    /// Form of the summary: text or jsonl
    #[arg(
        short = 'o',
        long,
        value_name = "FORM",
        default_value_t,
        help_heading = "Output"
    )]
    pub(super) output: SummaryFormat,

    /// The most rows of a table; what does not fit is summed up
    #[arg(long, value_name = "ROWS", default_value = "10", value_parser = values::rows, help_heading = "Output")]
    pub(super) top: usize,

    /// Names of the states in text: documented, rfc, kernel or ss
    #[arg(long, value_name = "NAMES", default_value_t, help_heading = "Output")]
    pub(super) names: Names,

    /// When to use colour
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(super) color: ColorChoice,

    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct ReportArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    #[command(flatten)]
    pub(super) file: FileArgs,

    #[command(flatten)]
    pub(super) filters: FilterArgs,

    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    pub(super) source: SourceArgs,

    /// Format of the file
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(super) format: ExportFormat,

    #[command(flatten)]
    pub(super) file: FileArgs,

    #[command(flatten)]
    pub(super) filters: FilterArgs,

    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(super) struct RecordArgs {
    /// File to record to; - for standard output
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Output")]
    pub(super) output: PathBuf,

    /// Replace a file that exists
    #[arg(long, help_heading = "Output")]
    pub(super) force: bool,

    /// Begin a new file at this size, such as 100M: FILE.000001, FILE.000002 ... (before the extension)
    #[arg(long, value_name = "SIZE", value_parser = values::file_bytes, help_heading = "Output")]
    pub(super) rotate_size: Option<u64>,

    /// Begin a new file after this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Output")]
    pub(super) rotate_time: Option<Duration>,

    /// Keep this many files, the latest
    #[arg(long, value_name = "N", value_parser = values::files, help_heading = "Output")]
    pub(super) keep: Option<u32>,

    /// Size of all files together: then the oldest is removed, or without rotation recording ends
    #[arg(long, value_name = "SIZE", value_parser = values::file_bytes, help_heading = "Output")]
    pub(super) max_size: Option<u64>,

    /// Show it as well, in this format: text, jsonl, csv or timeline
    #[arg(long, value_name = "FORMAT", help_heading = "Live view")]
    pub(super) tee: Option<Format>,

    /// Give a hint for each connection that is stuck in a state for TIME [default without TIME: 30s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "30s",
        value_parser = values::duration,
        help_heading = "Live view"
    )]
    pub(super) stuck: Option<Duration>,

    /// Names of the states in text and timeline: documented, rfc, kernel or ss
    #[arg(
        long,
        value_name = "NAMES",
        default_value_t,
        help_heading = "Live view"
    )]
    pub(super) names: Names,

    /// When to use colour
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Live view"
    )]
    pub(super) color: ColorChoice,

    /// When to tell of the end of a connection that goes on in TIME_WAIT: when that is over, or as soon as it
    /// begins [default: wait for jsonl and csv, expect for text and timeline]
    #[arg(long, value_name = "HOW", help_heading = "Live view")]
    pub(super) time_wait: Option<TimeWaitChoice>,

    #[command(flatten)]
    pub(super) filters: FilterArgs,

    /// Stop after this many transitions (with --tee timeline: connections)
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Limits")]
    pub(super) count: Option<u64>,

    #[command(flatten)]
    pub(super) limits: LimitArgs,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ExportFormat {
    /// A trace for ui.perfetto.dev: a track per connection, a slice per state
    Perfetto,
    /// One JSON object per line
    Jsonl,
    /// Comma-separated values
    Csv,
}

#[derive(Debug, Args)]
pub(super) struct ReplayArgs {
    /// Recordings: files of one session are put together, several sessions shown one after another; - for
    /// standard input
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,

    /// Go on while it is being recorded
    #[arg(short = 'f', long, help_heading = "Output")]
    pub(super) follow: bool,

    #[command(flatten)]
    pub(super) filters: FilterArgs,

    #[command(flatten)]
    pub(super) view: ViewArgs,

    /// Connections to keep in memory [default: as when it was recorded]
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Limits")]
    pub(super) max_connections: Option<usize>,

    /// Say more on stderr
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(super) verbose: u8,
}

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `--time-wait`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum TimeWaitChoice {
    /// When it is over
    Wait,
    /// As soon as it begins: it lasts 60 seconds
    Expect,
}

impl From<TimeWaitChoice> for TimeWait {
    fn from(choice: TimeWaitChoice) -> Self {
        match choice {
            TimeWaitChoice::Wait => Self::Wait,
            TimeWaitChoice::Expect => Self::Expect,
        }
    }
}

/// `--hook`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Hook {
    /// Raw tracepoint where possible, else classic
    Auto,
    /// Raw tracepoint (loses nothing to re-entry)
    Raw,
    /// Classic tracepoint (needs no BTF)
    Classic,
}

impl From<Hook> for HookChoice {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Auto => Self::Auto,
            Hook::Raw => Self::Raw,
            Hook::Classic => Self::Classic,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct StatesArgs {
    /// A state by any name, in any case and punctuation: synrecv, SYN-RECV, TCP_SYN_RECV, SynReceived
    #[arg(value_name = "NAME")]
    pub(super) name: Option<String>,

    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// As JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn trace_is_the_default_command() {
        for arguments in [
            &["tracer", "--port", "80,443"][..],
            &["tracer", "trace", "--port", "80,443"],
        ] {
            let cli = Cli::try_parse_from(arguments).unwrap();
            let trace = match cli.command {
                Some(Command::Trace(trace)) => *trace,
                None => cli.trace,
                Some(other) => panic!("{other:?}"),
            };
            assert!(trace.filters.port.iter().any(|set| set.contains(443)));
        }
    }

    #[test]
    fn recordings_take_no_limits_of_a_live_run() {
        for command in [
            &["summary"][..],
            &["report"],
            &["export", "--format", "csv"],
        ] {
            let parse = |more: &[&str]| {
                let line = [&["tracer"], command, more].concat();
                Cli::try_parse_from(line)
            };
            assert!(parse(&[]).is_ok());
            assert!(parse(&["--duration", "1s"]).is_ok());
            let both = [
                "a.tracer",
                "b.tracer",
                "--port",
                "443",
                "--max-connections",
                "9",
            ];
            assert!(parse(&both).is_ok(), "{command:?}");
            for live in [
                &["--duration", "1s"][..],
                &["--no-snapshot"],
                &["--ring-size", "1M"],
                &["--hook", "raw"],
            ] {
                let line = [&["a.tracer"], live].concat();
                assert!(parse(&line).is_err(), "{command:?} {live:?}");
            }
        }
        let force_nothing = ["tracer", "report", "--force"];
        assert!(Cli::try_parse_from(force_nothing).is_err());
    }

    #[test]
    fn bad_values_are_refused() {
        for arguments in [
            &["--port", "0"][..],
            &["--port", "99999"],
            &["--port", "90-80"],
            &["--addr", "10.0.0.0/33"],
            &["--duration", "soon"],
            &["--duration", "0s"],
            &["--count", "0"],
            &["--state", "HALF_OPEN"],
            &["--transition", "LISTEN"],
            &["--ring-size", "1"],
            &["--comm", ""],
            &["--cgroup", ""],
            &["--cgroup", "/a/../b"],
            &["--container", "3f2"],
            &["--container", "a/b/c/d"],
            &["-4", "-6"],
            &["--max-connections", "0"],
            &["-o", "xml"],
        ] {
            let line = std::iter::once(&"tracer").chain(arguments);
            assert!(Cli::try_parse_from(line).is_err(), "{arguments:?}");
        }
    }
}
