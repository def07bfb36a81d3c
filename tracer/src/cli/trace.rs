//! `tracer trace`: what the kernel reports, as it happens.

use std::io::IsTerminal as _;

use jiff::tz::TimeZone;

use super::args::{ColorChoice, TraceArgs};
use super::exit::{Exit, Failure, talk};
use super::live::{Live, OVER_THE_ECHO};
use crate::render::{Format, RenderOptions, Renderer, closing_words};
use crate::track::TimeWait;

pub(super) fn run(arguments: &TraceArgs) -> Result<Exit, Failure> {
    let live = Live::open(&arguments.filters, &arguments.limits)?;
    if arguments.output != Format::Jsonl {
        live.tell_what_is_missing();
    }
    let renderer = Renderer::new(
        arguments.output,
        RenderOptions {
            names: arguments.names,
            color: use_color(arguments.color),
            time_zone: match arguments.output {
                Format::Text | Format::Timeline => TimeZone::system(),
                Format::Jsonl | Format::Csv => TimeZone::UTC,
            },
        },
    );
    let Some(end) = live
        .watch(arguments.stuck)
        .time_wait(time_wait(arguments))
        .run(renderer, arguments.count)?
    else {
        return Ok(Exit::Ok);
    };
    let home = if std::io::stderr().is_terminal() {
        OVER_THE_ECHO
    } else {
        ""
    };
    talk(&format!(
        "{home}{}",
        closing_words(&end.totals, end.session.uncounted_losses()).trim_end()
    ));
    end.written.map(|()| Exit::Ok)
}

/// Programs get connections when they are over, people when nothing more is to be learnt of them.
fn time_wait(arguments: &TraceArgs) -> TimeWait {
    arguments
        .time_wait
        .map_or(arguments.output.time_wait(), TimeWait::from)
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
