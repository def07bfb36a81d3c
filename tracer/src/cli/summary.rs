//! `tracer summary`: what a session comes to, told at its end.

use std::io::IsTerminal as _;

use jiff::tz::TimeZone;

use super::args::SummaryArgs;
use super::destination::Destination;
use super::exit::{Exit, Failure};
use super::live::OVER_THE_ECHO;
use super::source::{Source, Viewing};
use super::trace::use_color;
use crate::render::{RenderOptions, Summary, SummaryFormat};

pub(super) fn run(arguments: &SummaryArgs) -> Result<Exit, Failure> {
    let source = Source::open(&arguments.source, &arguments.filters, &arguments.limits)?;
    if arguments.output == SummaryFormat::Text {
        source.tell_what_is_missing();
    }
    // Nothing else shows that it is at work.
    source.tell_it_is_live("counting: Ctrl-C ends it and shows the summary");
    let options = RenderOptions {
        names: arguments.names,
        color: use_color(arguments.color),
        time_zone: match arguments.output {
            SummaryFormat::Text => TimeZone::system(),
            SummaryFormat::Jsonl => TimeZone::UTC,
        },
        width: None,
    };
    let over_the_echo = source.is_live() && std::io::stdout().is_terminal();
    let lead = match arguments.output {
        SummaryFormat::Text if over_the_echo => OVER_THE_ECHO,
        SummaryFormat::Text | SummaryFormat::Jsonl => "",
    };
    let summary = || {
        let summary = Summary::new(arguments.output, options.clone(), arguments.top, lead);
        match arguments.every {
            Some(_) => summary.of_intervals(),
            None => summary,
        }
    };
    let viewing = Viewing {
        every: arguments.every,
        ..Viewing::default()
    };
    // What was seen and lost stands in the summary itself.
    source.show(summary, viewing, Destination::Stdout, false)
}
