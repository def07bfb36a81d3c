//! `tracer record`.

#![expect(
    clippy::doc_markdown,
    reason = "these comments are the text of --help, where backticks would show"
)]

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::shared::{ColorChoice, FilterArgs, LimitArgs, TimeWaitChoice};
use crate::cli::values;
use crate::render::Format;
use crate::state::Names;

#[derive(Debug, Args)]
pub(in crate::cli) struct RecordArgs {
    /// File to record to; - for standard output
    #[arg(short = 'o', long, value_name = "FILE", help_heading = "Output")]
    pub(in crate::cli) output: PathBuf,

    /// Replace a file that exists; with --rotate-size or --rotate-time, all numbered files of that name
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) force: bool,

    /// Begin a new file at this size, such as 100M, at least 64K: FILE.000001, FILE.000002 ... (before the extension)
    #[arg(long, value_name = "SIZE", value_parser = values::file_bytes, help_heading = "Output")]
    pub(in crate::cli) rotate_size: Option<u64>,

    /// Begin a new file after this time, such as 1h
    #[arg(long, value_name = "TIME", value_parser = values::duration, help_heading = "Output")]
    pub(in crate::cli) rotate_time: Option<Duration>,

    /// Keep this many files, the latest
    #[arg(long, value_name = "N", value_parser = values::files, help_heading = "Output")]
    pub(in crate::cli) keep: Option<u32>,

    /// Size of all files together, at least 64K, with rotation 512K: then the oldest is removed, or without
    /// rotation recording ends
    #[arg(long, value_name = "SIZE", value_parser = values::file_bytes, help_heading = "Output")]
    pub(in crate::cli) max_size: Option<u64>,

    /// Show it as well, in this format: text, jsonl, csv or timeline
    #[arg(long, value_name = "FORMAT", help_heading = "Live view")]
    pub(in crate::cli) tee: Option<Format>,

    /// Give a hint for each connection that is stuck in a state for TIME [default without TIME: 30s]
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        default_missing_value = "30s",
        value_parser = values::duration,
        help_heading = "Live view"
    )]
    pub(in crate::cli) stuck: Option<Duration>,

    /// Names of the states in text and timeline: documented, rfc, kernel or ss
    #[arg(
        long,
        value_name = "NAMES",
        default_value_t,
        help_heading = "Live view"
    )]
    pub(in crate::cli) names: Names,

    /// When to use colour
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        help_heading = "Live view"
    )]
    pub(in crate::cli) color: ColorChoice,

    /// When to tell of the end of a connection that goes on in TIME_WAIT: when that is over, or as soon as it
    /// begins [default: wait for jsonl and csv, expect for text and timeline]
    #[arg(long, value_name = "HOW", help_heading = "Live view")]
    pub(in crate::cli) time_wait: Option<TimeWaitChoice>,

    #[command(flatten)]
    pub(in crate::cli) filters: FilterArgs,

    /// Stop after this many transitions (with --tee timeline: connections)
    #[arg(long, value_name = "N", value_parser = values::count, help_heading = "Limits")]
    pub(in crate::cli) count: Option<u64>,

    #[command(flatten)]
    pub(in crate::cli) limits: LimitArgs,
}
