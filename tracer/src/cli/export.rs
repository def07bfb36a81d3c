//! `tracer export`: a session as a file for another program.

use super::args::{ExportArgs, ExportFormat};
use super::destination::Destination;
use super::exit::{Exit, Failure};
use super::source::{Source, Viewing};
use crate::render::{Csv, Jsonl, Perfetto};
use crate::track::TimeWait;

pub(super) fn run(arguments: &ExportArgs) -> Result<Exit, Failure> {
    let format = arguments.format;
    let to = Destination::new(&arguments.file, &arguments.source.files)?;
    if format == ExportFormat::Perfetto && to.is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "a Perfetto trace is nothing for a terminal\n\
             hint: name a file for it: tracer export --format perfetto -o session.pftrace",
        ));
    }
    let source = Source::open(&arguments.source, &arguments.filters, &arguments.limits)?;
    match format {
        ExportFormat::Perfetto => source.require_one("a Perfetto trace")?,
        ExportFormat::Csv => source.require_one("a table")?,
        // Each has a line of its own at its beginning.
        ExportFormat::Jsonl => {}
    }
    if format != ExportFormat::Jsonl {
        source.tell_what_is_missing();
    }
    // A connection is written when it is over: for a while nothing shows that it is at work.
    source.tell_it_is_live("exporting: Ctrl-C ends it");
    let viewing = Viewing {
        time_wait: TimeWait::Wait,
        ..Viewing::default()
    };
    match format {
        ExportFormat::Perfetto => source.show(Perfetto::default, viewing, to, true),
        ExportFormat::Jsonl => source.show(Jsonl::default, viewing, to, true),
        ExportFormat::Csv => source.show(Csv::default, viewing, to, true),
    }
}
