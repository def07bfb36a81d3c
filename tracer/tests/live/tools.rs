//! Programs of the machine that some tests need.

use std::path::PathBuf;

use anyhow::Result;

use crate::scenarios::Impossible;

/// Where a command is. Administrators' commands are found though `PATH` leaves them out.
pub(crate) fn find(command: &'static str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|directory| directory.join(command))
        .find(|file| file.is_file());
    found.ok_or_else(|| Impossible(format!("{command} is not installed")).into())
}
