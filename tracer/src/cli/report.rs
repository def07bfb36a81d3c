//! `tracer report`: a run as one HTML page, written at its end.

use std::io::IsTerminal as _;
use std::time::Duration;

use super::args::ReportArgs;
use super::exit::{Exit, Failure, talk};
use super::live::{Live, OVER_THE_ECHO};
use crate::hints::STUCK_AFTER_NS;
use crate::render::{Report, closing_words};
use crate::track::TimeWait;

pub(super) fn run(arguments: &ReportArgs) -> Result<Exit, Failure> {
    if std::io::stdout().is_terminal() {
        return Err(Failure::new(
            Exit::Usage,
            "a report is a page for a browser, nothing for a terminal\n\
             hint: sudo tracer report > report.html",
        ));
    }
    let live = Live::open(&arguments.filters, &arguments.limits)?
        .watch(Some(Duration::from_nanos(STUCK_AFTER_NS)))
        .time_wait(TimeWait::Wait);
    live.tell_what_is_missing();
    // Nothing else shows that it is at work.
    talk("recording: Ctrl-C ends it and writes the report");
    let Some(end) = live.run(Report::default(), None)? else {
        return Ok(Exit::Ok);
    };
    talk(&format!(
        "{OVER_THE_ECHO}{}",
        closing_words(&end.totals, end.session.uncounted_losses()).trim_end()
    ));
    end.written.map(|()| Exit::Ok)
}
