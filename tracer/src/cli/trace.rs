//! `tracer trace`: what the kernel reports, as it happens.

use std::io::IsTerminal as _;

use jiff::tz::TimeZone;

use super::args::{ColorChoice, TimeWaitChoice, TraceArgs};
use super::destination::Destination;
use super::exit::{Exit, Failure};
use super::live::Live;
use super::source::{Source, Viewing};
use crate::render::{Format, RenderOptions, Renderer};
use crate::state::Names;
use crate::track::TimeWait;

pub(super) fn run(arguments: &TraceArgs) -> Result<Exit, Failure> {
    let view = &arguments.view;
    let live = Live::open(&arguments.filters, &arguments.limits)?;
    if view.output != Format::Jsonl {
        live.tell_what_is_missing();
    }
    let viewing = Viewing {
        stuck: view.stuck,
        time_wait: time_wait(view.time_wait, view.output),
        count: view.count,
        every: None,
    };
    Source::Live(Box::new(live)).show(
        || renderer(view.output, view.names, view.color),
        viewing,
        Destination::Stdout,
        true,
    )
}

/// The renderer that the arguments ask for.
pub(super) fn renderer(format: Format, names: Names, color: ColorChoice) -> Renderer {
    Renderer::new(
        format,
        RenderOptions {
            names,
            color: use_color(color),
            time_zone: match format {
                Format::Text | Format::Timeline => TimeZone::system(),
                Format::Jsonl | Format::Csv => TimeZone::UTC,
            },
            width: terminal_width(),
        },
    )
}

/// Programs get connections when they are over, people when nothing more is to be learnt of them.
pub(super) fn time_wait(choice: Option<TimeWaitChoice>, format: Format) -> TimeWait {
    choice.map_or(format.time_wait(), TimeWait::from)
}

/// Columns of the terminal that is written to: what `COLUMNS` says, else what it says itself. None of a file
/// or a pipe.
pub(super) fn terminal_width() -> Option<usize> {
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    let asked = std::env::var("COLUMNS").ok();
    asked
        .and_then(|columns| columns.parse().ok())
        .or_else(|| {
            let size = rustix::termios::tcgetwinsize(stdout).ok()?;
            Some(usize::from(size.ws_col))
        })
        .filter(|columns| *columns > 0)
}

pub(super) fn use_color(choice: ColorChoice) -> bool {
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
