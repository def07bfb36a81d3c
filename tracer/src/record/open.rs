//! Files to sessions: which files there are, what their headers say, and what is no recording.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use thiserror::Error;

use super::files;
use super::header::{Header, HeaderError};
use super::reader::{Found, Reader};
use super::recording::Recording;

/// How far into a file whose header is damaged a copy of it is looked for; the writer puts one in more
/// often than that.
const HEADER_WITHIN: u64 = 64 << 20;

/// Why a file cannot be read at all.
#[derive(Debug, Error)]
pub enum OpenError {
    /// It cannot be opened or read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// It is no regular file.
    #[error("{path} is {what}, not a recording{hint}")]
    NoFile {
        /// The file.
        path: String,
        /// What it is.
        what: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// It can be read once only.
    #[error("standard input is named twice, and can be read once")]
    StdinTwice,
    /// There is nothing in it.
    #[error("{path} is empty")]
    Empty {
        /// The file.
        path: String,
    },
    /// It has no header.
    #[error("{path} is no recording of tracer{detail}")]
    Foreign {
        /// The file.
        path: String,
        /// What was found.
        detail: &'static str,
    },
    /// It has a header that cannot be used.
    #[error("cannot read {path}: {source}")]
    Header {
        /// The file.
        path: String,
        /// Why.
        source: HeaderError,
    },
    /// The same part twice.
    #[error("{one} and {other} hold the same part of one session")]
    Twice {
        /// A file.
        one: String,
        /// Another.
        other: String,
    },
}

pub(super) type Source = Box<dyn Read + Send>;

/// A file of a session.
pub(super) struct Part {
    pub(super) path: PathBuf,
    pub(super) number: u32,
    /// Of what can be read only once.
    pub(super) opened: Option<Reader<Source>>,
}

/// Opens the recordings in these files, each session once, in the order of their beginnings. `-` is
/// standard input.
pub fn open(paths: &[PathBuf]) -> Result<Vec<Recording>, OpenError> {
    let from_stdin = paths.iter().filter(|path| is_stdin(path));
    if from_stdin.count() > 1 {
        return Err(OpenError::StdinTwice);
    }
    let mut found: Vec<(Header, Vec<Part>)> = Vec::new();
    for path in paths {
        let (header, opened) = open_part(path)?;
        let part = Part {
            path: path.clone(),
            number: header.part,
            opened,
        };
        match found.iter_mut().find(|(known, _)| known.id == header.id) {
            None => found.push((header, vec![part])),
            Some((known, parts)) => {
                if let Some(twin) = parts.iter().find(|known| known.number == part.number) {
                    return Err(OpenError::Twice {
                        one: name(&twin.path),
                        other: name(path),
                    });
                }
                if part.number < known.part {
                    *known = header;
                }
                parts.push(part);
            }
        }
    }
    found.sort_by_key(|(header, _)| header.session.clock.wall_ns);
    Ok(found
        .into_iter()
        .map(|(header, parts)| Recording::new(header, parts))
        .collect())
}

/// Opens a file as far as its header. The reader comes along where it cannot be had again.
fn open_part(path: &Path) -> Result<(Header, Option<Reader<Source>>), OpenError> {
    if is_stdin(path) {
        let stdin = Stdin::new().map_err(|source| OpenError::Io {
            path: name(path),
            source,
        })?;
        let mut reader = reader_of(Box::new(stdin), path)?;
        let header = first_header(&mut reader, path)?;
        return Ok((header, Some(reader)));
    }
    let file = open_file(path)?;
    let mut reader = reader_of(Box::new(file), path)?;
    match first_header(&mut reader, path) {
        Ok(header) => Ok((header, None)),
        Err(error) => match search_header(path)? {
            Some(header) => Ok((header, None)),
            None => Err(error),
        },
    }
}

pub(super) fn reader_of(source: Source, path: &Path) -> Result<Reader<Source>, OpenError> {
    Reader::new(source).map_err(|source| OpenError::Io {
        path: name(path),
        source,
    })
}

fn first_header(reader: &mut Reader<Source>, path: &Path) -> Result<Header, OpenError> {
    let foreign = |detail| {
        Err(OpenError::Foreign {
            path: name(path),
            detail,
        })
    };
    let found = loop {
        match reader.first() {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            found => break found,
        }
    };
    let found = found.map_err(|source| OpenError::Io {
        path: name(path),
        source,
    })?;
    match found {
        Found::Header(_) => parse_header(reader.payload(), path),
        Found::Nothing { torn: 0, .. } => Err(OpenError::Empty { path: name(path) }),
        Found::Nothing { .. } => foreign(": its header is cut short"),
        Found::Damage(_) | Found::Searching => {
            foreign(": its header is damaged, or it never was one")
        }
        Found::Block(_) | Found::Unknown(_) | Found::Late(_) => foreign(": it has no header"),
    }
}

fn parse_header(json: &[u8], path: &Path) -> Result<Header, OpenError> {
    Header::parse(json).map_err(|source| OpenError::Header {
        path: name(path),
        source,
    })
}

/// Looks for a copy of the header behind a damaged one.
fn search_header(path: &Path) -> Result<Option<Header>, OpenError> {
    let file = open_file(path)?.take(HEADER_WITHIN);
    let mut reader = reader_of(Box::new(file), path)?;
    loop {
        let found = reader.read().map_err(|source| OpenError::Io {
            path: name(path),
            source,
        })?;
        match found {
            Found::Header(_) => return parse_header(reader.payload(), path).map(Some),
            Found::Nothing { .. } => return Ok(None),
            Found::Block(_)
            | Found::Unknown(_)
            | Found::Late(_)
            | Found::Damage(_)
            | Found::Searching => {}
        }
    }
}

/// Opens a regular file, without waiting for the other end of a pipe.
pub(super) fn open_file(path: &Path) -> Result<File, OpenError> {
    let failed = |source| OpenError::Io {
        path: name(path),
        source,
    };
    let flags = OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(failed)?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let what = if kind.is_dir() {
        "a directory"
    } else {
        "no regular file"
    };
    let hint = if kind.is_dir() {
        "\nhint: name the files in it"
    } else {
        "\nhint: `-` reads standard input"
    };
    Err(OpenError::NoFile {
        path: name(path),
        what,
        hint,
    })
}

/// Standard input. Where nothing comes, that is an error soon ([`io::ErrorKind::WouldBlock`]), after which it can be
/// read again: whoever reads it may want to stop.
struct Stdin(File);

impl Stdin {
    /// As long as a signal may wait for its answer.
    const PATIENCE: Timespec = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };

    fn new() -> io::Result<Self> {
        let file = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self(File::from(file)))
    }
}

impl Read for Stdin {
    fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
        let mut asked = [PollFd::new(&self.0, PollFlags::IN)];
        if poll(&mut asked, Some(&Self::PATIENCE))? == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.0.read(space)
    }
}

fn is_stdin(path: &Path) -> bool {
    path == Path::new("-")
}

pub(super) fn name(path: &Path) -> String {
    if is_stdin(path) {
        "standard input".to_owned()
    } else {
        files::shown(path)
    }
}
