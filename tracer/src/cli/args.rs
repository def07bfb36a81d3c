//! What the command line looks like; nothing here does anything.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the text of --help, where backticks would show"
)]

mod record;
mod recorded;
mod shared;

use clap::{Args, Parser, Subcommand};

pub(super) use record::RecordArgs;
pub(super) use recorded::{ExportArgs, ExportFormat, ReplayArgs, ReportArgs, SummaryArgs};
pub(super) use shared::{
    ColorChoice, FileArgs, FilterArgs, LimitArgs, MAX_CONNECTIONS, SourceArgs, TimeWaitChoice,
    ViewArgs,
};

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
                &["--backlog", "1M"],
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
            &["--backlog", "1023K"],
            &["--backlog", "65G"],
            &["--backlog", "256MB"],
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
