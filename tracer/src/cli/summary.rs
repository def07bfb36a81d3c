//! `tracer summary`: what a run comes to, told at its end.

use std::io::IsTerminal as _;

use jiff::tz::TimeZone;

use super::args::SummaryArgs;
use super::exit::{Exit, Failure, talk};
use super::live::{Live, OVER_THE_ECHO};
use super::trace::use_color;
use crate::render::{RenderOptions, Summary, SummaryFormat};

pub(super) fn run(arguments: &SummaryArgs) -> Result<Exit, Failure> {
    let live = Live::open(&arguments.filters, &arguments.limits)?;
    if arguments.output == SummaryFormat::Text {
        live.tell_what_is_missing();
    }
    // Nothing else shows that it is at work.
    talk("counting: Ctrl-C ends it and shows the summary");
    let options = RenderOptions {
        names: arguments.names,
        color: use_color(arguments.color),
        time_zone: match arguments.output {
            SummaryFormat::Text => TimeZone::system(),
            SummaryFormat::Jsonl => TimeZone::UTC,
        },
        width: None,
    };
    let lead = match arguments.output {
        SummaryFormat::Text if std::io::stdout().is_terminal() => OVER_THE_ECHO,
        SummaryFormat::Text | SummaryFormat::Jsonl => "",
    };
    let summary = Summary::new(arguments.output, options, arguments.top, lead);
    let Some(end) = live.run(summary, None)? else {
        return Ok(Exit::Ok);
    };
    // What was seen and lost stands in the summary itself.
    end.written.map(|()| Exit::Ok)
}
