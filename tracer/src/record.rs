//! Recordings: the inputs of the core in a file, and out of it again.
//!
//! Live, the core ([`crate::flow`]) is fed with a sequence of [`crate::input::Input`]s. A recording is that sequence and
//! what else the core was started with, so a replay goes through the very same code as the live view and
//! says the same. `docs/format.md` describes the file and says why it is as it is.
//!
//! - [`row`]: inputs as rows of bytes
//! - `columns`: rows to columns and back, whatever they hold
//! - [`frame`]: blocks of columns, compressed, with checksums

mod bytes;
mod columns;
mod compat;
mod files;
mod filter;
pub mod frame;
mod header;
mod open;
mod reader;
mod recorder;
mod recording;
pub mod row;
mod writer;

pub use bytes::Corrupt;
pub use compat::{Layout, Translation};
pub use files::{Draft, FileError, Place, shown, sudo_caller};
pub use filter::{FilterError, RecordedFilter};
pub use header::{FORMAT, Header, HeaderError};
pub use open::{OpenError, open};
pub use reader::{Damage, Found, Reader};
pub use recorder::Recorder;
pub use recording::{Author, Close, End, Inputs, Recording, Step};
pub use writer::{Limits, Progress, Target, WriteError, Written};

#[cfg(test)]
pub(crate) mod tests;
