//! Why the kernel cannot be listened to.

use std::io;

use aya::EbpfError;
use aya::maps::MapError;
use aya::programs::ProgramError;
use thiserror::Error;

/// Why the kernel cannot be listened to.
#[derive(Debug, Error)]
pub enum Error {
    /// The user may not load BPF programs.
    #[error("the kernel does not let this user load BPF programs\n{hint}")]
    NotPermitted {
        /// What to do.
        hint: String,
    },
    /// The kernel has no way of telling state changes that tracer could use.
    #[error("this kernel gives no access to TCP state changes\n{reasons}")]
    NoHook {
        /// One line for each way that was tried.
        reasons: String,
    },
    /// The kernel cannot apply a filter.
    #[error("cannot filter by {filter} on this kernel: {reason}")]
    FilterUnavailable {
        /// Option on the command line.
        filter: &'static str,
        /// Why.
        reason: String,
    },
    /// Too many files are open.
    #[error("too many open files\nhint: `ulimit -n 64` or more is enough")]
    FileLimit,
    /// The kernel refused the maps.
    #[error("cannot create the kernel's buffers and tables: {0}")]
    Maps(#[source] EbpfError),
    /// A map could not be written or read.
    #[error("cannot use the kernel's table {name}")]
    Map {
        /// Its name.
        name: &'static str,
        /// Cause.
        #[source]
        source: MapError,
    },
    /// The object has no such program or map: it does not belong to this binary.
    #[error("the embedded kernel object lacks {0}")]
    Incomplete(&'static str),
}

/// The user lacks a privilege.
pub(super) fn not_permitted() -> Error {
    let hint = if rustix::process::geteuid().is_root() {
        "hint: root may not either: a container without CAP_BPF and CAP_PERFMON, or a kernel that is \
         locked down; run it on the host"
    } else {
        "hint: run it as root, for example with sudo"
    };
    Error::NotPermitted {
        hint: hint.to_owned(),
    }
}

/// Whether the process has as many files open as it may.
pub(super) fn is_file_limit(error: &(dyn std::error::Error + 'static)) -> bool {
    has_os_error(error, &[23, 24])
}

/// Whether the cause at the bottom is a lack of privileges.
pub(super) fn is_permission(error: &(dyn std::error::Error + 'static)) -> bool {
    has_os_error(error, &[1, 13])
}

/// Whether the cause at the bottom is one of these errors of the kernel.
pub(super) fn has_os_error(error: &(dyn std::error::Error + 'static), wanted: &[i32]) -> bool {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(io) = current.downcast_ref::<io::Error>()
            && io.raw_os_error().is_some_and(|code| wanted.contains(&code))
        {
            return true;
        }
        cause = current.source();
    }
    false
}

/// One line for people; the verifier's log goes to the debug log.
pub(super) fn describe(error: &ProgramError) -> String {
    if let ProgramError::LoadError {
        io_error,
        verifier_log,
    } = error
    {
        log::debug!("verifier: {verifier_log}");
        format!("the kernel refused the program: {io_error}")
    } else if let ProgramError::SyscallError(error) = error {
        format!("{}: {}", error.call, error.io_error)
    } else {
        error.to_string()
    }
}
