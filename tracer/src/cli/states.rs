//! `tracer states`: what every state is called, means, and wants checked.

use super::args::StatesArgs;
use super::exit::{Exit, Failure, print};
use crate::render::states;
use crate::state::State;

/// For a pipe, and the most that reads well on a wide terminal.
const WIDTH: usize = 100;

pub(super) fn run(arguments: &StatesArgs) -> Result<Exit, Failure> {
    let selected = match &arguments.name {
        None => None,
        Some(name) => Some(State::parse_group(name).map_err(|error| {
            Failure::new(Exit::Usage, format!("{error}\nhint: {}", error.hint()))
        })?),
    };
    if arguments.json {
        let json = states::json(selected.as_deref().unwrap_or(&State::ALL));
        return print(&format!("{json:#}\n"));
    }
    let width = rustix::termios::tcgetwinsize(std::io::stdout())
        .map_or(WIDTH, |size| usize::from(size.ws_col).clamp(60, WIDTH));
    let text = match selected {
        None => states::table(width),
        Some(selected) => selected
            .into_iter()
            .map(|state| states::details(state, width))
            .collect::<Vec<_>>()
            .join("\n"),
    };
    print(&text)
}
