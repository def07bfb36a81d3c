//! The header of a file: all that the core was started with, and what a stranger needs to know.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::compat::Layout;
use super::filter::RecordedFilter;
use super::frame::Counts;
use crate::diagnose::Sources;
use crate::hints::Limits;
use crate::session::{Lost, Session};
use crate::state::State;
use crate::track::MiniSight;

/// Version of the format. Raised when an older reader would misunderstand a file; what it may skip
/// (new kinds of frames and rows, new fields, longer records) does not raise it.
pub const FORMAT: u32 = 1;

/// The JSON at the head of a file. Fields unknown to this version are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Header {
    /// Version of the format.
    pub format: u32,
    /// Identity of the session; the same in all its files.
    pub id: String,
    /// Number of the file in the session, from 1.
    pub part: u32,
    /// What was recorded of the session before this file.
    pub before: Counts,
    /// What the kernel had lost before this file.
    pub lost_before: Lost,
    /// Machine, clocks and hooks. In a later part the clocks are those at its beginning.
    pub session: Session,
    /// Which evidence there is to judge by.
    pub sources: Sources,
    /// Which connections were recorded.
    pub filter: RecordedFilter,
    /// Which ways there were to hear of mini-sockets.
    pub minis: MiniSight,
    /// Settings of the machine that outgoing connections can run into.
    pub port_limits: Limits,
    /// Whether the file is locked (`flock`) for as long as it is being written.
    pub locked: bool,
    /// `--max-connections`, where a live view beside the recording forgot connections by it.
    pub max_connections: Option<usize>,
    /// Kinds of records and their sizes, so that a newer version can take them.
    pub wire: Layout,
    /// The kernel's numbers of the states.
    pub states: BTreeMap<i32, String>,
    /// Units of the numbers.
    pub units: BTreeMap<String, String>,
}

/// Why a header cannot be used.
#[derive(Debug, Error)]
pub enum HeaderError {
    /// It is not JSON, or not as a header should be.
    #[error("the header cannot be understood")]
    Json(#[from] serde_json::Error),
    /// It says of records what cannot be.
    #[error("the header describes records in an impossible way")]
    Layout,
    /// Another version wrote the file.
    #[error(
        "it has format version {0}, and this tracer reads up to {FORMAT}\nhint: use the tracer that recorded it, or a newer one"
    )]
    Version(u32),
}

impl Header {
    /// A header of the first file of a session.
    pub fn new(id: String, session: Session, sources: Sources, filter: RecordedFilter) -> Self {
        let units = [
            ("*_ns", "nanoseconds"),
            ("mono_ns", "nanoseconds of CLOCK_MONOTONIC"),
            ("wall_ns", "nanoseconds since 1970-01-01T00:00:00Z"),
            ("bytes", "bytes"),
            ("byte order", "little endian"),
        ];
        let states = (1..=13).filter_map(|number| {
            let name = State::from_kernel(number);
            (!matches!(name, State::Unknown(_))).then(|| (number, name.to_string()))
        });
        Self {
            format: FORMAT,
            id,
            part: 1,
            before: Counts::default(),
            lost_before: Lost::default(),
            session,
            sources,
            filter,
            minis: MiniSight::default(),
            port_limits: Limits::default(),
            locked: false,
            max_connections: None,
            wire: Layout::of_this_version(),
            states: states.collect(),
            units: units
                .into_iter()
                .map(|(name, unit)| (name.to_owned(), unit.to_owned()))
                .collect(),
        }
    }

    /// As it is in the file.
    pub fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// Fails if this version cannot read what follows.
    pub fn parse(json: &[u8]) -> Result<Self, HeaderError> {
        // A later version may have given a field another type: ask for the version alone first.
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } = serde_json::from_slice(json)?;
        if format != FORMAT {
            return Err(HeaderError::Version(format));
        }
        let header: Self = serde_json::from_slice(json)?;
        if header.wire.is_possible() {
            Ok(header)
        } else {
            Err(HeaderError::Layout)
        }
    }

    /// Tells the frames of the session: see [`super::frame::Head::session`].
    pub fn tag(&self) -> u32 {
        crc32c::crc32c(self.id.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_pass_and_missing_ones_have_defaults() {
        let json = br#"{"format":1,"id":"x","later":{"than":"this"}}"#;
        let header = Header::parse(json).unwrap();
        assert_eq!(header.id, "x");
        assert_eq!(header.sources, Sources::default());
    }

    #[test]
    fn another_version_is_named() {
        let error = Header::parse(br#"{"format":2,"id":7}"#).unwrap_err();
        assert!(error.to_string().contains("format version 2"), "{error}");
        assert!(matches!(Header::parse(b"{}"), Err(HeaderError::Json(_))));
    }

    #[test]
    fn a_header_comes_back() {
        let mut header = Header::new(
            "id".to_owned(),
            Session::default(),
            Sources::default(),
            RecordedFilter::default(),
        );
        header.part = 3;
        assert_eq!(
            header.states.get(&1).map(String::as_str),
            Some("ESTABLISHED")
        );
        let json = header.to_json().unwrap();
        assert_eq!(Header::parse(&json).unwrap(), header);
    }
}
