//! The edge to the kernel: the only place that knows aya.
//!
//! Everything optional is decided by trying, and each thing that is not to be had leaves a reason
//! that the user can see.

mod attach;
pub mod btf;
mod error;
pub mod format;
mod functions;
pub mod layout;
mod loader;
mod losses;
mod machine;
mod netns;
mod poll;
mod processes;
mod sets;
mod snapshot;
mod sock_diag;
mod tracefs;

pub use attach::HookChoice;
pub use error::Error;
pub use loader::{Kernel, Options, btf_bytes, default_ring_bytes};
pub use losses::{Ledger, Refused, told_by};
pub use machine::{
    clock_map, default_backlog_bytes, ignored_signals, machine_facts, port_limits, raise_file_limit,
};
pub use poll::{Poller, Wish};
pub use snapshot::{Snapshot, Taking};
pub use tracefs::{TraceFs, find_or_mount};
