//! `tracer report`: a session as one HTML page, written at its end.

use std::time::Duration;

use super::args::ReportArgs;
use super::destination::Destination;
use super::exit::{Exit, Failure};
use super::source::{Source, Viewing};
use crate::hints::STUCK_AFTER_NS;
use crate::render::Report;
use crate::track::TimeWait;

pub(super) fn run(arguments: &ReportArgs) -> Result<Exit, Failure> {
    let to = Destination::new(&arguments.file, &arguments.source.files)?;
    if to.is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "a report is a page for a browser, nothing for a terminal\n\
             hint: name a file for it: tracer report -o report.html",
        ));
    }
    let source = Source::open(&arguments.source, &arguments.filters, &arguments.limits)?;
    source.require_one("a report")?;
    source.tell_what_is_missing();
    source.tell_it_is_live("recording: Ctrl-C ends it and writes the report");
    let viewing = Viewing {
        stuck: Some(Duration::from_nanos(STUCK_AFTER_NS)),
        time_wait: TimeWait::Wait,
        count: None,
        every: None,
    };
    source.show(Report::default, viewing, to, true)
}
