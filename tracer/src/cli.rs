//! The command line: arguments in, exit code out.

mod args;
mod destination;
mod doctor;
mod exit;
mod export;
mod live;
mod logging;
mod places;
mod record;
mod recorded;
mod replay;
mod report;
mod source;
mod states;
mod summary;
mod trace;
mod values;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser as _;

use args::{Cli, Command};
pub use exit::Exit;

/// Runs the command with the process's arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are data and go to stdout; a closed pipe is no error there either.
            let _ = error.print();
            return if error.use_stderr() {
                Exit::Usage
            } else {
                Exit::Ok
            }
            .into();
        }
    };
    let result = match cli.command {
        None => trace::run(&cli.trace),
        Some(Command::Trace(arguments)) => trace::run(&arguments),
        Some(Command::Summary(arguments)) => summary::run(&arguments),
        Some(Command::Report(arguments)) => report::run(&arguments),
        Some(Command::Export(arguments)) => export::run(&arguments),
        Some(Command::Record(arguments)) => record::run(&arguments),
        Some(Command::Replay(arguments)) => replay::run(&arguments),
        Some(Command::States(arguments)) => states::run(&arguments),
        Some(Command::Doctor(arguments)) => doctor::run(&arguments),
    };
    result.unwrap_or_else(exit::Failure::report).into()
}
