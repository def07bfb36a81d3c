//! Options that several commands have.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the text of --help, where backticks would show"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use ipnet::IpNet;

use crate::cli::values;
use crate::event::Comm;
use crate::filter::{PortSet, TransitionPattern, parse_prefix};
use crate::kernel::HookChoice;
use crate::render::Format;
use crate::state::{Names, State};
use crate::track::TimeWait;

/// What is traced: the same for every command that listens to the kernel.
#[derive(Debug, Args)]
pub(in crate::cli) struct FilterArgs {
    /// Port of either side: numbers and ranges, such as 80,443,8000-8100
    #[arg(long, value_name = "PORTS", help_heading = "Filters")]
    pub(in crate::cli) port: Vec<PortSet>,

    /// Port of this side
    #[arg(long, value_name = "PORTS", help_heading = "Filters")]
    pub(in crate::cli) local_port: Vec<PortSet>,

    /// Port of the other side
    #[arg(long, value_name = "PORTS", help_heading = "Filters")]
    pub(in crate::cli) remote_port: Vec<PortSet>,

    /// Address or network of either side, such as 10.0.0.0/8 or 2001:db8::1; may be a list
    #[arg(long, value_name = "ADDR", value_delimiter = ',', value_parser = parse_prefix, help_heading = "Filters")]
    pub(in crate::cli) addr: Vec<IpNet>,

    /// IPv4 only, v4-mapped connections of IPv6 sockets included
    #[arg(short = '4', long, conflicts_with = "ipv6", help_heading = "Filters")]
    pub(in crate::cli) ipv4: bool,

    /// IPv6 only
    #[arg(short = '6', long, help_heading = "Filters")]
    pub(in crate::cli) ipv6: bool,

    /// Process that owns the connection; may be a list
    #[arg(long, value_name = "PID", value_delimiter = ',', value_parser = values::pid, help_heading = "Filters")]
    pub(in crate::cli) pid: Vec<u32>,

    /// Command name of the process that owns the connection; may be a list
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = values::comm, help_heading = "Filters")]
    pub(in crate::cli) comm: Vec<Comm>,

    /// Cgroup that the process is in or below, such as /system.slice/nginx.service; may be a list
    #[arg(long, value_name = "PATH", value_delimiter = ',', value_parser = values::cgroup, help_heading = "Filters")]
    pub(in crate::cli) cgroup: Vec<String>,

    /// Container that the process is in: its id, or the first 4 characters or more; may be a list
    #[arg(long, value_name = "ID", value_delimiter = ',', value_parser = values::container, help_heading = "Filters")]
    pub(in crate::cli) container: Vec<String>,

    /// Network namespace: a name of `ip netns`, a path, or an inode number; may be a list
    #[arg(long, value_name = "NS", value_delimiter = ',', value_parser = values::netns, help_heading = "Filters")]
    pub(in crate::cli) netns: Vec<u32>,

    /// Show only transitions from or to a state, by any name of `tracer states`; may be a list
    #[arg(long, value_name = "STATE", value_parser = values::states, help_heading = "Filters")]
    pub(in crate::cli) state: Vec<Vec<State>>,

    /// Show only these transitions, such as 'ESTABLISHED->CLOSE_WAIT' or '*:CLOSED'; may be a list
    #[arg(long, value_name = "FROM->TO", value_parser = values::transitions, help_heading = "Filters")]
    pub(in crate::cli) transition: Vec<Vec<TransitionPattern>>,
}

/// What is looked at.
#[derive(Debug, Args)]
pub(in crate::cli) struct SourceArgs {
    /// Recordings instead of what happens now: files of one session are put together; - for standard input
    #[arg(value_name = "FILE", conflicts_with_all = ["duration", "no_snapshot", "ring_size", "backlog", "hook", "no_functions"])]
    pub(in crate::cli) files: Vec<PathBuf>,
}

/// Where it goes to.
#[derive(Debug, Args)]
pub(in crate::cli) struct FileArgs {
    /// File to write, which is there once it is complete [default: standard output]
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Output")]
    pub(in crate::cli) output: Option<PathBuf>,

    /// Replace a file that exists
    #[arg(long, requires = "output", help_heading = "Output")]
    pub(in crate::cli) force: bool,
}

/// Connections kept in memory, where neither the command line nor a recording says otherwise.
pub(in crate::cli) const MAX_CONNECTIONS: usize = 1_000_000;

/// Within which bounds, likewise.
#[derive(Debug, Args)]
pub(in crate::cli) struct LimitArgs {
    /// Stop after this time, such as 10s or 5m
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Limits")]
    pub(in crate::cli) duration: Option<Duration>,

    /// Connections to keep in memory; beyond it the one silent for longest is forgotten [default: 1000000]
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Limits")]
    pub(in crate::cli) max_connections: Option<usize>,

    /// Leave out the connections and listeners that were there before the trace
    #[arg(long, help_heading = "Limits")]
    pub(in crate::cli) no_snapshot: bool,

    /// Buffer between kernel and tracer, 64K to 1G; a power of two is taken [default: by CPUs]
    #[arg(long, value_name = "SIZE", value_parser = values::ring_bytes, help_heading = "Limits")]
    pub(in crate::cli) ring_size: Option<u32>,

    /// Memory for what waits to be shown or recorded, 1M to 64G [default: 256M, or a sixteenth of all memory]
    #[arg(long, value_name = "SIZE", value_parser = values::backlog_bytes, help_heading = "Limits")]
    pub(in crate::cli) backlog: Option<usize>,

    /// How to listen: raw tracepoint where possible, or one of the two
    #[arg(
        long,
        value_name = "HOW",
        default_value = "auto",
        help_heading = "Limits"
    )]
    pub(in crate::cli) hook: Hook,

    /// Do not listen to functions of the kernel, as on one that does not allow it
    #[arg(long, hide = true)]
    pub(in crate::cli) no_functions: bool,

    /// Say more on stderr; twice for the kernel programs' own log
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(in crate::cli) verbose: u8,
}

/// `--hook`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum Hook {
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

/// How transitions are shown, live or from a recording.
#[derive(Debug, Args)]
pub(in crate::cli) struct ViewArgs {
    /// Output format: text, jsonl, csv or timeline
    #[arg(
        short = 'o',
        long,
        value_name = "FORMAT",
        default_value_t,
        help_heading = "Output"
    )]
    pub(in crate::cli) output: Format,

    /// Give a hint for each connection that is stuck in a state for TIME [default without TIME: 30s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "30s",
        value_parser = values::duration,
        help_heading = "Output"
    )]
    pub(in crate::cli) stuck: Option<Duration>,

    /// Names of the states in text and timeline: documented, rfc, kernel or ss
    #[arg(long, value_name = "NAMES", default_value_t, help_heading = "Output")]
    pub(in crate::cli) names: Names,

    /// When to use colour
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Output"
    )]
    pub(in crate::cli) color: ColorChoice,

    /// When to tell of the end of a connection that goes on in TIME_WAIT: when that is over, or as soon as it
    /// begins [default: wait for jsonl and csv, expect for text and timeline]
    #[arg(long, value_name = "HOW", help_heading = "Output")]
    pub(in crate::cli) time_wait: Option<TimeWaitChoice>,

    /// Stop after this many transitions shown (with -o timeline: connections)
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Limits")]
    pub(in crate::cli) count: Option<u64>,
}

/// `--color`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ColorChoice {
    /// On a terminal, unless `NO_COLOR` is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// `--time-wait`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum TimeWaitChoice {
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
