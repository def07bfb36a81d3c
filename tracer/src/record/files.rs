//! Names of the files of a recording, and their making: never through a symbolic link, never over
//! another file unasked, readable by their owner alone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, fchown, openat, renameat, statat, unlinkat};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use thiserror::Error;

/// Digits of the number in a part's name, at least.
const DIGITS: usize = 6;

/// Why a file cannot be made.
#[derive(Debug, Error)]
pub enum FileError {
    /// It is there already.
    #[error("{0} exists\nhint: choose another name, or replace it with --force")]
    Exists(String),
    /// It, or the directory it is to be in, is a symbolic link.
    #[error(
        "{0} is a symbolic link, and tracer writes through none\nhint: give the path it leads to"
    )]
    Link(String),
    /// It is there and no regular file.
    #[error("{0} is no regular file, and is not replaced")]
    Special(String),
    /// The path has no file name.
    #[error("{0} names no file")]
    NoName(String),
    /// The system says no.
    #[error("cannot create {path}: {source}")]
    Io {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Where the files of a recording are made. The directory is looked up once: what becomes of its name
/// later does not matter.
#[derive(Debug)]
pub struct Place {
    directory: OwnedFd,
    directory_path: PathBuf,
    name: OsString,
    force: bool,
    owner: Option<(Uid, Gid)>,
}

impl Place {
    /// A place for a file of this path. `force`: files of that name may be replaced. `owner`: to whom they
    /// are given.
    pub fn new(path: &Path, force: bool, owner: Option<(u32, u32)>) -> Result<Self, FileError> {
        let shown = path.display().to_string();
        let Some(name) = path.file_name() else {
            return Err(FileError::NoName(shown));
        };
        let directory_path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(&directory_path, flags, Mode::empty()).map_err(|error| {
                let shown = directory_path.display().to_string();
                let is_link = std::fs::symlink_metadata(&directory_path)
                    .is_ok_and(|metadata| metadata.is_symlink());
                if is_link {
                    FileError::Link(shown)
                } else {
                    FileError::Io {
                        path: path.display().to_string(),
                        source: error.into(),
                    }
                }
            })?;
        Ok(Self {
            directory,
            directory_path,
            name: name.to_owned(),
            force,
            owner: owner.map(|(user, group)| (Uid::from_raw(user), Gid::from_raw(group))),
        })
    }

    /// Name of the one file, or of a part.
    pub fn name(&self, part: Option<u32>) -> OsString {
        match part {
            None => self.name.clone(),
            Some(part) => part_name(&self.name, part),
        }
    }

    /// Path of a file here, for people.
    pub fn path(&self, name: &OsStr) -> String {
        if self.directory_path == Path::new(".") {
            name.display().to_string()
        } else {
            self.directory_path.join(name).display().to_string()
        }
    }

    /// Makes a file that is there only once `fill` has written what it has to begin with: a file that
    /// is replaced is there until then.
    pub fn create(
        &self,
        name: &OsStr,
        fill: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<File, FileError> {
        let failed = |source: io::Error| FileError::Io {
            path: self.path(name),
            source,
        };
        let replace = self.may_replace(name)?;
        let temporary = temporary_name(name);
        let created = if replace { &temporary } else { name };
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.directory, created, flags, mode).map_err(|errno| match errno {
            Errno::EXIST => FileError::Exists(self.path(created)),
            Errno::LOOP => FileError::Link(self.path(created)),
            other => failed(other.into()),
        })?;
        let mut file = File::from(file);
        let finish = |file: &mut File| -> io::Result<()> {
            if let Some((user, group)) = self.owner {
                fchown(&*file, Some(user), Some(group))?;
            }
            fill(file)?;
            if replace {
                renameat(&self.directory, created, &self.directory, name)?;
            }
            self.sync();
            Ok(())
        };
        finish(&mut file).map_err(|error| {
            // Nothing of use is in it.
            let _ = unlinkat(&self.directory, created, AtFlags::empty());
            failed(error)
        })?;
        Ok(file)
    }

    /// Whether there is a file to be replaced. An error if it must not be.
    fn may_replace(&self, name: &OsStr) -> Result<bool, FileError> {
        let there = match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => {
                return Err(FileError::Io {
                    path: self.path(name),
                    source: errno.into(),
                });
            }
            Ok(there) => FileType::from_raw_mode(there.st_mode),
        };
        match there {
            FileType::Symlink => Err(FileError::Link(self.path(name))),
            FileType::RegularFile if self.force => Ok(true),
            FileType::RegularFile => Err(FileError::Exists(self.path(name))),
            FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Err(FileError::Special(self.path(name))),
        }
    }

    /// Removes a file that this run made.
    pub fn remove(&self, name: &OsStr) -> io::Result<()> {
        unlinkat(&self.directory, name, AtFlags::empty())?;
        Ok(())
    }

    /// Brings the directory itself to the disk, so that a new file is still there after a power failure.
    /// Not every file system can.
    fn sync(&self) {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        if let Ok(directory) = openat(&self.directory, ".", flags, Mode::empty()) {
            let _ = rustix::fs::fsync(directory);
        }
    }
}

/// The user who called sudo, to whom the files are to belong.
pub fn sudo_caller() -> Option<(u32, u32)> {
    let number = |name| std::env::var(name).ok()?.parse().ok();
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    Some((number("SUDO_UID")?, number("SUDO_GID")?))
}

/// `web.tracer` is `web.000001.tracer`.
fn part_name(name: &OsStr, part: u32) -> OsString {
    let path = Path::new(name);
    let mut part_name = path.file_stem().unwrap_or(name).to_owned();
    part_name.push(format!(".{part:0DIGITS$}"));
    if let Some(extension) = path.extension() {
        part_name.push(".");
        part_name.push(extension);
    }
    part_name
}

fn temporary_name(name: &OsStr) -> OsString {
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.new", std::process::id()));
    temporary
}

/// The file that follows part `number` at `path`: the next part, or where that was removed already the
/// first one after it.
pub(super) fn successor(path: &Path, number: u32) -> Option<(PathBuf, u32)> {
    let name = path.file_name()?.as_bytes();
    let digits = format!("{number:0DIGITS$}");
    let at = name
        .windows(digits.len())
        .rposition(|window| window == digits.as_bytes())?;
    let (before, rest) = name.split_at_checked(at)?;
    let after = rest.get(digits.len()..)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    let mut names = std::fs::read_dir(directory).ok()?;
    let mut best: Option<(PathBuf, u32)> = None;
    while let Some(Ok(entry)) = names.next() {
        let name = entry.file_name().into_vec();
        let middle = name
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .filter(|digits| digits.len() >= DIGITS && digits.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|digits| digits.parse().ok());
        if let Some(found) = middle
            && found > number
            && best.as_ref().is_none_or(|(_, best)| found < *best)
        {
            best = Some((directory.join(OsStr::from_bytes(&name)), found));
        }
    }
    best
}

#[cfg(test)]
mod tests;
