//! The making of files, as root in a directory of somebody else's: never through a symbolic link, never over
//! another file unasked, readable by their owner alone. And the names of the files of a recording.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, RenameFlags, fchown, flock, openat,
    renameat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use thiserror::Error;

use crate::render::push_plain;

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
    /// It is there and not complete yet.
    #[error("{0} is still being written by another tracer, and is not replaced")]
    Busy(String),
    /// It is what is to be read.
    #[error("{0} is what is read, and is not replaced\nhint: choose another name")]
    Input(String),
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
    /// It is to give way, and the system says no.
    #[error("cannot remove {path}: {source}")]
    Remove {
        /// The file.
        path: String,
        /// Why.
        source: io::Error,
    },
}

/// Where files are made: a recording's, or the one of another output. The directory is looked up once: what becomes of its name
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
        // `file_name` passes over both.
        let bytes = path.as_os_str().as_bytes();
        let is_directory = bytes.ends_with(b"/") || bytes.ends_with(b"/.");
        let Some(name) = path.file_name().filter(|_| !is_directory) else {
            return Err(FileError::NoName(shown(path)));
        };
        let directory_path = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            Some(_) | None => PathBuf::from("."),
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let directory =
            rustix::fs::open(&directory_path, flags, Mode::empty()).map_err(|error| {
                let is_link = std::fs::symlink_metadata(&directory_path)
                    .is_ok_and(|metadata| metadata.is_symlink());
                if is_link {
                    FileError::Link(shown(&directory_path))
                } else {
                    FileError::Io {
                        path: shown(path),
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
            shown(Path::new(name))
        } else {
            shown(&self.directory_path.join(name))
        }
    }

    /// Makes a file that is there only once `fill` has written what it has to begin with, whatever ends this
    /// run before: a file that is replaced is there until then. `fill` is told whether the file is locked for as
    /// long as it is open; what it yields comes along.
    pub fn create<T>(
        &self,
        name: &OsStr,
        fill: impl FnOnce(&mut File, bool) -> io::Result<T>,
    ) -> Result<(File, T), FileError> {
        self.may_replace(name)?;
        let temporary = temporary_name(name);
        let (mut file, is_locked) = self.open_new(&temporary, name)?;
        let filled = self
            .give_away(&file)
            .and_then(|()| fill(&mut file, is_locked))
            .map_err(|error| self.failed(name, error));
        let written = filled
            .and_then(|written| self.rename(&temporary, name).map(|()| written))
            .inspect_err(|_| {
                // Nothing of use is in it.
                let _ = unlinkat(&self.directory, &temporary, AtFlags::empty());
            })?;
        Ok((file, written))
    }

    /// Gives a new file its name.
    fn rename(&self, temporary: &OsStr, name: &OsStr) -> Result<(), FileError> {
        let directory = &self.directory;
        let renamed = if self.may_replace(name)? {
            renameat(directory, temporary, directory, name)
        } else {
            match renameat_with(
                directory,
                temporary,
                directory,
                name,
                RenameFlags::NOREPLACE,
            ) {
                // Not every file system can: then there is a moment between asking and renaming.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                    renameat(directory, temporary, directory, name)
                }
                renamed => renamed,
            }
        };
        renamed.map_err(|errno| match errno {
            Errno::EXIST => FileError::Exists(self.path(name)),
            other => self.failed(name, other.into()),
        })?;
        self.sync();
        Ok(())
    }

    /// Begins a file that is there under its name only once it is complete.
    pub fn draft(self) -> Result<Draft, FileError> {
        self.may_replace(&self.name)?;
        let temporary = temporary_name(&self.name);
        let (file, _) = self.open_new(&temporary, &self.name)?;
        let draft = Draft {
            place: self,
            file,
            temporary: Some(temporary),
        };
        draft
            .place
            .give_away(&draft.file)
            .map_err(|error| draft.place.failed(&draft.place.name, error))?;
        Ok(draft)
    }

    /// Fails if a file of this place's name must not be made.
    pub fn check(&self) -> Result<(), FileError> {
        self.may_replace(&self.name).map(drop)
    }

    /// Fails if what a file of this place's name would replace is one of these, whatever its path. `-` is
    /// standard input.
    pub fn check_apart_from(&self, inputs: &[PathBuf]) -> Result<(), FileError> {
        let Ok(there) = statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) else {
            return Ok(());
        };
        let is_there = |input: &PathBuf| {
            let status = if input == Path::new("-") {
                rustix::fs::fstat(io::stdin())
            } else {
                rustix::fs::stat(input)
            };
            status.is_ok_and(|read| (read.st_dev, read.st_ino) == (there.st_dev, there.st_ino))
        };
        if inputs.iter().any(is_there) {
            return Err(FileError::Input(self.path(&self.name)));
        }
        Ok(())
    }

    /// Fails if a part of an earlier recording of this name must not be replaced, however late it would be
    /// reached.
    pub fn check_parts(&self) -> Result<(), FileError> {
        let mut parts = self.parts()?.into_iter();
        parts.try_for_each(|name| self.may_replace(&name).map(drop))
    }

    /// Removes the parts of an earlier recording of this name: beside those of another one they would be taken
    /// for more of it. `begun` is the first of these.
    pub(super) fn remove_earlier_parts(&self, begun: &OsStr) -> Result<(), FileError> {
        for name in self.parts()?.iter().filter(|name| *name != begun) {
            if self.may_replace(name)? {
                self.remove(name).map_err(|error| FileError::Remove {
                    path: self.path(name),
                    source: error,
                })?;
            }
        }
        Ok(())
    }

    fn parts(&self) -> Result<Vec<OsString>, FileError> {
        let (before, after) = around_the_number(&self.name);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let failed = |errno: Errno| self.failed(&self.name, errno.into());
        let directory = openat(&self.directory, ".", flags, Mode::empty()).map_err(failed)?;
        let mut parts = Vec::new();
        for entry in Dir::new(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_bytes();
            if number_of_part(name, before.as_bytes(), after.as_bytes()).is_some() {
                parts.push(OsStr::from_bytes(name).to_owned());
            }
        }
        parts.sort();
        Ok(parts)
    }

    /// A new file, and whether it is locked: not every file system can. An error is one of the file `wanted`.
    fn open_new(&self, name: &OsStr, wanted: &OsStr) -> Result<(File, bool), FileError> {
        let flags =
            OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::RUSR | Mode::WUSR;
        let file = openat(&self.directory, name, flags, mode).map_err(|errno| match errno {
            Errno::EXIST => FileError::Exists(self.path(name)),
            Errno::LOOP => FileError::Link(self.path(name)),
            other => self.failed(wanted, other.into()),
        })?;
        let is_locked = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
        Ok((File::from(file), is_locked))
    }

    /// Whether a run holds a file open that it made.
    fn is_busy(&self, name: &OsStr) -> bool {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        openat(&self.directory, name, flags, Mode::empty())
            .is_ok_and(|file| is_locked(&file) == Some(true))
    }

    /// Whether a file that this run made, and wrote `size` bytes to, is no longer there as it should be.
    pub(super) fn what_became_of(
        &self,
        name: &OsStr,
        file: &File,
        size: u64,
    ) -> io::Result<Option<&'static str>> {
        let held = file.metadata()?;
        let there = match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) => Some((there.st_dev, there.st_ino)),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(errno.into()),
        };
        Ok(match there {
            None if held.nlink() == 0 => Some("was removed"),
            None => Some("was moved away"),
            Some(there) if there != (held.dev(), held.ino()) => Some("was replaced"),
            Some(_) if held.len() < size => Some("was cut short"),
            Some(_) if held.len() > size => Some("was written to by others"),
            Some(_) => None,
        })
    }

    fn give_away(&self, file: &File) -> io::Result<()> {
        if let Some((user, group)) = self.owner {
            fchown(file, Some(user), Some(group))?;
        }
        Ok(())
    }

    fn failed(&self, name: &OsStr, source: io::Error) -> FileError {
        FileError::Io {
            path: self.path(name),
            source,
        }
    }

    /// Whether there is a file to be replaced. An error if it must not be.
    fn may_replace(&self, name: &OsStr) -> Result<bool, FileError> {
        let there = match statat(&self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(self.failed(name, errno.into())),
            Ok(there) => FileType::from_raw_mode(there.st_mode),
        };
        match there {
            FileType::Symlink => Err(FileError::Link(self.path(name))),
            FileType::RegularFile if self.force && self.is_busy(name) => {
                Err(FileError::Busy(self.path(name)))
            }
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

/// A file that is not there under its name yet; removed if it is dropped before.
#[derive(Debug)]
pub struct Draft {
    place: Place,
    file: File,
    /// Its name until then.
    temporary: Option<OsString>,
}

impl Draft {
    /// To write to.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Brings it to the disk, and puts it where it belongs.
    pub fn publish(mut self) -> Result<(), FileError> {
        let Some(temporary) = self.temporary.take() else {
            return Ok(());
        };
        let published = self
            .file
            .sync_data()
            .map_err(|error| self.place.failed(&self.place.name, error))
            .and_then(|()| self.place.rename(&temporary, &self.place.name));
        if published.is_err() {
            self.temporary = Some(temporary);
        }
        published
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(temporary) = &self.temporary {
            // Nothing of use is in it.
            let _ = unlinkat(&self.place.directory, temporary, AtFlags::empty());
        }
    }
}

/// A path for people: what could end a line, or move a cursor, is an escape.
pub fn shown(path: &Path) -> String {
    let mut text = String::new();
    push_plain(&mut text, path.as_os_str().as_bytes());
    text
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
    let (mut part_name, after) = around_the_number(name);
    part_name.push(format!("{part:0DIGITS$}"));
    part_name.push(after);
    part_name
}

/// What is before and after the number in the name of a part.
fn around_the_number(name: &OsStr) -> (OsString, OsString) {
    let path = Path::new(name);
    let mut before = path.file_stem().unwrap_or(name).to_owned();
    before.push(".");
    let mut after = OsString::new();
    if let Some(extension) = path.extension() {
        after.push(".");
        after.push(extension);
    }
    (before, after)
}

/// The number in the name of a part, if it is one.
fn number_of_part(name: &[u8], before: &[u8], after: &[u8]) -> Option<u32> {
    let digits = name.strip_prefix(before)?.strip_suffix(after)?;
    let is_number = digits.len() >= DIGITS && digits.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()
}

/// Whether somebody has a file open that locked it when it was made. `None` where that cannot be known.
pub(super) fn is_locked(file: impl AsFd) -> Option<bool> {
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => {
            // It would end with the file as well.
            let _ = flock(&file, FlockOperation::Unlock);
            Some(false)
        }
        Err(Errno::WOULDBLOCK) => Some(true),
        Err(_) => None,
    }
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
        let middle = number_of_part(&name, before, after);
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
