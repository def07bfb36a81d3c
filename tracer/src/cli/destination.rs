//! Where an output goes: to standard output, or into a file that is there once it is complete.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use super::args::FileArgs;
use super::exit::{Exit, Failure, talk};
use super::live::cannot_start;
use super::record::bytes;
use crate::output::{Ending, Output};
use crate::record::{Draft, FileError, Place, shown, sudo_caller};

/// Where an output goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// Standard output.
    Stdout,
    /// A file: see [`Place`]. It is begun when the first output is.
    File {
        /// For people.
        path: String,
        /// Until it is begun.
        place: Option<Place>,
        /// Since it is begun.
        draft: Option<Draft>,
    },
}

impl Destination {
    /// What `-o` says. Fails if there is something that must not be replaced, as the `inputs` are.
    pub(super) fn new(arguments: &FileArgs, inputs: &[PathBuf]) -> Result<Self, Failure> {
        let Some(path) = &arguments.output else {
            return Ok(Self::Stdout);
        };
        if path == Path::new("-") {
            return Ok(Self::Stdout);
        }
        let place = Place::new(path, arguments.force, sudo_caller())?;
        place.check()?;
        place.check_apart_from(inputs)?;
        Ok(Self::File {
            path: shown(path),
            place: Some(place),
            draft: None,
        })
    }

    /// Whether it is a terminal, for what is nothing for one.
    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Self::Stdout) && std::io::stdout().is_terminal()
    }

    /// For the next session.
    pub(super) fn output(&mut self) -> Result<Output, Failure> {
        let output = match self {
            Self::Stdout => Output::to_stdout(),
            Self::File { place, draft, .. } => {
                if let Some(place) = place.take() {
                    *draft = Some(place.draft()?);
                }
                let draft = draft.as_ref().ok_or(std::io::ErrorKind::NotFound.into());
                draft
                    .and_then(|draft| draft.file().try_clone())
                    .and_then(Output::to_file)
            }
        };
        output.map_err(|error| cannot_start(&error))
    }

    /// Whether all of an output was written. `None` if the reader of a pipe has what it wanted.
    pub(super) fn written(&self, ending: Ending) -> Option<Result<(), Failure>> {
        let target = match self {
            Self::Stdout => "standard output",
            Self::File { path, .. } => path,
        };
        let message = match ending {
            Ending::ReaderGone => return None,
            Ending::Complete => return Some(Ok(())),
            Ending::Failed(error) => format!("cannot write to {target}: {error}"),
            Ending::Stuck if matches!(self, Self::Stdout) => {
                "the reader of standard output stopped reading; the last lines are not written"
                    .to_owned()
            }
            Ending::Stuck => format!("cannot write to {target}: the disk does not answer"),
        };
        Some(Err(Failure::new(Exit::Output, message)))
    }

    /// All is written: the file takes its name, and it is said which.
    pub(super) fn complete(self) -> Result<(), Failure> {
        let Self::File {
            path,
            draft: Some(draft),
            ..
        } = self
        else {
            return Ok(());
        };
        let size = draft.file().metadata().map(|metadata| metadata.len());
        draft.publish()?;
        let size = size.map_or_else(|_| String::new(), |size| format!(", {}", bytes(size)));
        talk(&format!("written: {path}{size}"));
        Ok(())
    }

    /// Not all is written, and there will be no other chance: what is there is better than nothing.
    pub(super) fn keep(self, failure: Failure) -> Failure {
        let is_file = matches!(self, Self::File { .. });
        if is_file && self.complete().is_ok() {
            let (message, _) = failure.message_and_hint();
            let hint = "hint: what was written before is in the file";
            return Failure::new(failure.exit(), format!("{message}\n{hint}"));
        }
        failure
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(Exit::Output, error)
    }
}
