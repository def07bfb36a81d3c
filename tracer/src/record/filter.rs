//! The filter of a session, as its header holds it.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::event::Comm;
use crate::filter::{FamilyFilter, Filter, PortSet, parse_prefix};

/// A [`Filter`] in words and numbers. What was recorded is what the kernel's half of it let through; a
/// replay asks the whole of it once more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordedFilter {
    /// Ranges of ports of either side.
    pub ports: Vec<(u16, u16)>,
    /// Of this side.
    pub local_ports: Vec<(u16, u16)>,
    /// Of the other side.
    pub remote_ports: Vec<(u16, u16)>,
    /// Networks, as `10.0.0.0/8`.
    pub prefixes: Vec<String>,
    /// `ipv4`, `ipv6` or nothing.
    pub family: Option<String>,
    /// Processes.
    pub pids: Vec<u32>,
    /// Command names: bytes, for a process can call itself anything.
    pub comms: Vec<Vec<u8>>,
    /// Paths of cgroups.
    pub cgroups: Vec<String>,
    /// Beginnings of ids of containers.
    pub containers: Vec<String>,
    /// Inode numbers of network namespaces.
    pub netns: Vec<u32>,
}

/// A filter this version cannot apply.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("the header's filter cannot be understood: {0}")]
pub struct FilterError(String);

impl From<&Filter> for RecordedFilter {
    fn from(filter: &Filter) -> Self {
        let Filter {
            ports,
            local_ports,
            remote_ports,
            prefixes,
            families,
            pids,
            comms,
            cgroups,
            containers,
            netns,
            // A session has one filter.
            within: _,
        } = filter;
        let ranges = |set: &PortSet| {
            let ranges = set.ranges().map(|range| (*range.start(), *range.end()));
            ranges.collect()
        };
        Self {
            ports: ranges(ports),
            local_ports: ranges(local_ports),
            remote_ports: ranges(remote_ports),
            prefixes: prefixes.iter().map(ToString::to_string).collect(),
            family: match families {
                FamilyFilter::Any => None,
                FamilyFilter::V4 => Some("ipv4".to_owned()),
                FamilyFilter::V6 => Some("ipv6".to_owned()),
            },
            pids: pids.clone(),
            comms: comms.iter().map(|comm| comm.as_bytes().to_vec()).collect(),
            cgroups: cgroups.clone(),
            containers: containers.clone(),
            netns: netns.clone(),
        }
    }
}

impl RecordedFilter {
    /// The filter again.
    pub fn to_filter(&self) -> Result<Filter, FilterError> {
        let set = |ranges: &[(u16, u16)]| -> PortSet {
            ranges.iter().map(|(first, last)| *first..=*last).collect()
        };
        let comm = |bytes: &Vec<u8>| {
            let mut comm = [0; 16];
            let fits = bytes.len() < comm.len();
            for (place, byte) in comm.iter_mut().zip(bytes) {
                *place = *byte;
            }
            fits.then_some(Comm(comm))
                .ok_or_else(|| FilterError("a command name of more than 15 bytes".to_owned()))
        };
        Ok(Filter {
            ports: set(&self.ports),
            local_ports: set(&self.local_ports),
            remote_ports: set(&self.remote_ports),
            prefixes: self
                .prefixes
                .iter()
                .map(|text| parse_prefix(text).map_err(|error| FilterError(error.to_string())))
                .collect::<Result<_, _>>()?,
            families: match self.family.as_deref() {
                None => FamilyFilter::Any,
                Some("ipv4") => FamilyFilter::V4,
                Some("ipv6") => FamilyFilter::V6,
                Some(other) => return Err(FilterError(format!("family '{other}'"))),
            },
            pids: self.pids.clone(),
            comms: self.comms.iter().map(comm).collect::<Result<_, _>>()?,
            cgroups: self.cgroups.clone(),
            containers: self.containers.clone(),
            netns: self.netns.clone(),
            within: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_comes_back() {
        let filter = Filter {
            ports: "80,443,8000-8100".parse().unwrap(),
            local_ports: "1".parse().unwrap(),
            remote_ports: "65535".parse().unwrap(),
            prefixes: vec![
                parse_prefix("10.0.0.0/8").unwrap(),
                parse_prefix("2001:db8::1").unwrap(),
            ],
            families: FamilyFilter::V6,
            pids: vec![1, 2],
            comms: vec![Comm(*b"\xff\x1b[2J\0\0\0\0\0\0\0\0\0\0\0")],
            cgroups: vec!["/system.slice".to_owned()],
            containers: vec!["0123456789ab".to_owned()],
            netns: vec![4_026_531_840],
            within: None,
        };
        let recorded = RecordedFilter::from(&filter);
        let json = serde_json::to_string(&recorded).unwrap();
        let read: RecordedFilter = serde_json::from_str(&json).unwrap();
        assert_eq!(read.to_filter().unwrap(), filter);
    }

    #[test]
    fn what_is_not_understood_is_no_filter() {
        let odd = RecordedFilter {
            family: Some("ipv9".to_owned()),
            ..RecordedFilter::default()
        };
        assert!(odd.to_filter().is_err());
    }
}
