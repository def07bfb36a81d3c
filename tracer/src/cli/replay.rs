//! `tracer replay`: a recording as if it happened now.

use super::args::ReplayArgs;
use super::destination::Destination;
use super::exit::{Exit, Failure};
use super::recorded::Recorded;
use super::source::{Source, Viewing};
use super::trace::{renderer, time_wait};
use crate::render::Format;

pub(super) fn run(arguments: &ReplayArgs) -> Result<Exit, Failure> {
    let view = &arguments.view;
    let mut recorded = Recorded::open(
        &arguments.files,
        &arguments.filters,
        arguments.max_connections,
        arguments.verbose,
    )?;
    if arguments.follow {
        recorded.follow()?;
    }
    let source = Source::Recorded(Box::new(recorded));
    if view.output == Format::Csv {
        source.require_one("a table")?;
    }
    let viewing = Viewing {
        stuck: view.stuck,
        time_wait: time_wait(view.time_wait, view.output),
        count: view.count,
        every: None,
    };
    source.show(
        || renderer(view.output, view.names, view.color),
        viewing,
        Destination::Stdout,
        true,
    )
}
