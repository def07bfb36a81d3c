//! Exit codes, and errors on their way to one.

use std::fmt::Display;
use std::io::Write as _;
use std::process::ExitCode;

use crate::kernel;
use crate::render::is_plain;

/// How the command ended. The numbers are part of the interface: README and `--help` list them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done; ended by Ctrl-C, SIGTERM, a limit or a closed pipe included.
    Ok = 0,
    /// Something failed while running.
    Failed = 1,
    /// The command line cannot be understood.
    Usage = 2,
    /// Privileges are missing.
    NotPermitted = 3,
    /// This kernel lacks what is needed.
    Unsupported = 4,
    /// The output cannot be written.
    Output = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error with the exit code it leads to.
#[derive(Debug)]
pub(super) struct Failure {
    exit: Exit,
    message: String,
}

impl Failure {
    pub(super) fn new(exit: Exit, message: impl Display) -> Self {
        Self {
            exit,
            message: message.to_string(),
        }
    }

    pub(super) fn exit(&self) -> Exit {
        self.exit
    }

    /// The message apart from its `hint:` line.
    pub(super) fn message_and_hint(&self) -> (String, Option<String>) {
        match self.message.split_once("\nhint: ") {
            Some((message, hint)) => (message.to_owned(), Some(hint.to_owned())),
            None => (self.message.clone(), None),
        }
    }

    /// Tells the person, and yields the exit code.
    pub(super) fn report(self) -> Exit {
        talk(&format!("tracer: {}", self.message));
        self.exit
    }
}

impl From<kernel::Error> for Failure {
    fn from(error: kernel::Error) -> Self {
        let exit = match error {
            kernel::Error::NotPermitted { .. } => Exit::NotPermitted,
            kernel::Error::NoHook { .. } | kernel::Error::FilterUnavailable { .. } => {
                Exit::Unsupported
            }
            kernel::Error::Maps(_)
            | kernel::Error::Map { .. }
            | kernel::Error::FileLimit
            | kernel::Error::Incomplete(_) => Exit::Failed,
        };
        Self::new(exit, format!("{:#}", anyhow::Error::from(error)))
    }
}

/// Writes lines to stderr; that nobody reads them is no error. What a file or a process could have put
/// into them to move the cursor or hide a line is shown as an escape.
pub(super) fn talk(lines: &str) {
    talk_after("", lines);
}

/// Likewise, behind something that is for the terminal.
pub(super) fn talk_after(control: &str, lines: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{control}{}", visible(lines));
}

/// The same lines with all else that is not plainly visible as an escape.
fn visible(lines: &str) -> String {
    let mut text = String::with_capacity(lines.len());
    for c in lines.chars() {
        if c == '\n' || is_plain(c) {
            text.push(c);
        } else {
            text.extend(c.escape_default());
        }
    }
    text
}

/// Writes data to stdout; a closed pipe is no error.
pub(super) fn print(text: &str) -> Result<Exit, Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(error) => Err(Failure::new(
            Exit::Output,
            format!("cannot write to standard output: {error}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_chose_does_not_reach_the_terminal() {
        let text = "session \u{1b}[2J of \u{202e}host\nhint: C:\\x";
        let shown = "session \\u{1b}[2J of \\u{202e}host\nhint: C:\\x";
        assert_eq!(visible(text), shown);
    }
}
