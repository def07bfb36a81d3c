//! `tracer export`: a run as a file for another program.

use std::io::IsTerminal as _;

use super::args::{ExportArgs, ExportFormat};
use super::exit::{Exit, Failure, talk};
use super::live::{Live, OVER_THE_ECHO};
use crate::render::{Csv, Jsonl, Perfetto, closing_words};
use crate::track::TimeWait;

pub(super) fn run(arguments: &ExportArgs) -> Result<Exit, Failure> {
    let format = arguments.format;
    if format == ExportFormat::Perfetto && std::io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "a Perfetto trace is nothing for a terminal\n\
             hint: sudo tracer export --format perfetto > session.pftrace",
        ));
    }
    let live = Live::open(&arguments.filters, &arguments.limits)?.time_wait(TimeWait::Wait);
    if format != ExportFormat::Jsonl {
        live.tell_what_is_missing();
    }
    // A connection is written when it is over: for a while nothing shows that it is at work.
    talk("exporting: Ctrl-C ends it");
    let end = match format {
        ExportFormat::Perfetto => live.run(Perfetto::default(), None),
        ExportFormat::Jsonl => live.run(Jsonl::default(), None),
        ExportFormat::Csv => live.run(Csv::default(), None),
    };
    let Some(end) = end? else {
        return Ok(Exit::Ok);
    };
    talk(&format!(
        "{OVER_THE_ECHO}{}",
        closing_words(&end.totals, end.session.uncounted_losses()).trim_end()
    ));
    end.written.map(|()| Exit::Ok)
}
