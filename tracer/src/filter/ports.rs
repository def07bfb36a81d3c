//! Lists and ranges of ports.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A set of ports, written `80,443,8000-8100`. The default is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortSet {
    /// Ascending, with at least one port between two ranges.
    ranges: Vec<RangeInclusive<u16>>,
}

/// Why a text is not a [`PortSet`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortSetError {
    /// Nothing where a port should be.
    #[error("a port is missing in `{0}`")]
    Empty(String),
    /// Not a decimal number.
    #[error("`{0}` is not a port number")]
    NotANumber(String),
    /// 0 or above 65535.
    #[error("`{0}` is not a port: ports are 1 to 65535")]
    OutOfRange(String),
    /// The end of a range lies before its start.
    #[error("`{0}-{1}` runs backwards: write `{1}-{0}`")]
    Reversed(u16, u16),
}

impl PortSet {
    /// Whether `port` is in the set.
    pub fn contains(&self, port: u16) -> bool {
        let after = self.ranges.partition_point(|range| *range.start() <= port);
        after
            .checked_sub(1)
            .and_then(|index| self.ranges.get(index))
            .is_some_and(|range| port <= *range.end())
    }

    /// Whether there is no port in it.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// Its ports as ascending ranges that neither overlap nor touch.
    pub fn ranges(&self) -> impl Iterator<Item = RangeInclusive<u16>> + '_ {
        self.ranges.iter().cloned()
    }
}

impl FromIterator<RangeInclusive<u16>> for PortSet {
    fn from_iter<I: IntoIterator<Item = RangeInclusive<u16>>>(ranges: I) -> Self {
        let mut given: Vec<_> = ranges.into_iter().filter(|r| !r.is_empty()).collect();
        given.sort_unstable_by_key(|range| *range.start());
        let mut merged: Vec<RangeInclusive<u16>> = Vec::with_capacity(given.len());
        for range in given {
            match merged.last_mut() {
                Some(last) if *range.start() <= last.end().saturating_add(1) => {
                    *last = *last.start()..=*last.end().max(range.end());
                }
                _ => merged.push(range),
            }
        }
        Self { ranges: merged }
    }
}

impl FromStr for PortSet {
    type Err = PortSetError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.split(',')
            .map(|part| match part.split_once('-') {
                None => {
                    let port = parse_port(part, text)?;
                    Ok(port..=port)
                }
                Some((first, last)) => {
                    let first = parse_port(first, text)?;
                    let last = parse_port(last, text)?;
                    if last < first {
                        return Err(PortSetError::Reversed(first, last));
                    }
                    Ok(first..=last)
                }
            })
            .collect()
    }
}

fn parse_port(part: &str, whole: &str) -> Result<u16, PortSetError> {
    let part = part.trim();
    if part.is_empty() {
        return Err(PortSetError::Empty(whole.to_owned()));
    }
    if !part.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(PortSetError::NotANumber(part.to_owned()));
    }
    part.parse()
        .ok()
        .filter(|port| *port != 0)
        .ok_or_else(|| PortSetError::OutOfRange(part.to_owned()))
}

impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.ranges.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}
