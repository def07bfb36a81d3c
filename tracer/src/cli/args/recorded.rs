//! `tracer replay`, and what is made of a session, live or recorded: `summary`, `report`, `export`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::shared::{ColorChoice, FileArgs, FilterArgs, LimitArgs, SourceArgs, ViewArgs};
use crate::cli::values;
use crate::render::SummaryFormat;
use crate::state::Names;

#[derive(Debug, Args)]
pub(in crate::cli) struct SummaryArgs {
    #[command(flatten)]
    pub(in crate::cli) source: SourceArgs,

    #[command(flatten)]
    pub(in crate::cli) filters: FilterArgs,

    /// Form of the summary: text or jsonl
    #[arg(
        short = 'o',
        long,
        value_name = "FORM",
        default_value_t,
        help_heading = "Output"
    )]
    pub(in crate::cli) output: SummaryFormat,

    /// Sum up each interval of this time as well, such as 10s; 20ms is the shortest
    #[arg(long, value_name = "TIME", value_parser = values::interval, help_heading = "Output")]
    pub(in crate::cli) every: Option<Duration>,

    /// The most rows of a table; what does not fit is summed up
    #[arg(long, value_name = "ROWS", default_value = "10", value_parser = values::rows, help_heading = "Output")]
    pub(in crate::cli) top: usize,

    /// Names of the states in text: documented, rfc, kernel or ss
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

    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReportArgs {
    #[command(flatten)]
    pub(in crate::cli) source: SourceArgs,

    #[command(flatten)]
    pub(in crate::cli) file: FileArgs,

    #[command(flatten)]
    pub(in crate::cli) filters: FilterArgs,

    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ExportArgs {
    #[command(flatten)]
    pub(in crate::cli) source: SourceArgs,

    /// Format of the file
    #[arg(long, value_name = "FORMAT", help_heading = "Output")]
    pub(in crate::cli) format: ExportFormat,

    #[command(flatten)]
    pub(in crate::cli) file: FileArgs,

    #[command(flatten)]
    pub(in crate::cli) filters: FilterArgs,

    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}

/// `--format`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum ExportFormat {
    /// A trace for ui.perfetto.dev: a track per connection, a slice per state
    Perfetto,
    /// One JSON object per line
    Jsonl,
    /// Comma-separated values
    Csv,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct ReplayArgs {
    /// Recordings: files of one session are put together, several sessions shown one after another; - for
    /// standard input
    #[arg(value_name = "FILE", required = true)]
    pub(in crate::cli) files: Vec<PathBuf>,

    /// Go on while it is being recorded
    #[arg(short = 'f', long, help_heading = "Output")]
    pub(in crate::cli) follow: bool,

    #[command(flatten)]
    pub(in crate::cli) filters: FilterArgs,

    #[command(flatten)]
    pub(in crate::cli) view: ViewArgs,

    /// Connections to keep in memory [default: as when it was recorded]
    #[arg(long, value_name = "N", value_parser = values::connections, help_heading = "Limits")]
    pub(in crate::cli) max_connections: Option<usize>,

    /// Say more on stderr
    #[arg(short = 'v', long, action = clap::ArgAction::Count)]
    pub(in crate::cli) verbose: u8,
}
