//! Records of other versions: what each kind consists of, and rows brought to the sizes of this one.
//!
//! Records only ever grow: a new field is appended to one of the parts below and guarded by a flag of
//! its own. So a row of an older version lacks bytes at the end of a part, which become zero, and one of
//! a newer version has bytes there that this one does not know, which are dropped.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tracer_common::wire;
use zerocopy::FromBytes as _;

/// Sizes of the records of a version.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Layout {
    /// Bytes of the header of every record.
    pub header_bytes: usize,
    /// The kinds of records, by their numbers.
    pub kinds: BTreeMap<u16, Kind>,
}

/// What a record of a kind consists of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kind {
    /// Its name.
    pub name: String,
    /// Bytes of the part that is always there, header included.
    pub bytes: usize,
    /// What follows if a flag says so, in this order. Behind all there may be text.
    pub parts: Vec<Part>,
}

/// A part of a record that is not always there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Part {
    /// Its name.
    pub name: String,
    /// The flag in the header.
    pub flag: u16,
    /// Its size.
    pub bytes: usize,
}

/// Kinds without parts.
const PLAIN: [(u16, &str, usize); 17] = [
    (wire::KIND_SOCKET, "socket", size_of::<wire::SocketRecord>()),
    (wire::KIND_ACCEPT, "accept", size_of::<wire::AcceptRecord>()),
    (
        wire::KIND_RETRANSMIT,
        "retransmit",
        size_of::<wire::EvidenceRecord>(),
    ),
    (
        wire::KIND_RESET_RECEIVED,
        "reset_received",
        size_of::<wire::EvidenceRecord>(),
    ),
    (
        wire::KIND_RESET_SENT,
        "reset_sent",
        size_of::<wire::EvidenceRecord>(),
    ),
    (
        wire::KIND_SOCKET_ERROR,
        "socket_error",
        size_of::<wire::EvidenceRecord>(),
    ),
    (
        wire::KIND_SYNACK_RETRANSMIT,
        "synack_retransmit",
        size_of::<wire::RequestRecord>(),
    ),
    (
        wire::KIND_DESTROYED,
        "destroyed",
        size_of::<wire::EvidenceRecord>(),
    ),
    (
        wire::KIND_HANDED_OVER,
        "handed_over",
        size_of::<wire::EvidenceRecord>(),
    ),
    (
        wire::KIND_MINI_BORN,
        "mini_born",
        size_of::<wire::MiniRecord>(),
    ),
    (
        wire::KIND_MINI_TIMER,
        "mini_timer",
        size_of::<wire::MiniRecord>(),
    ),
    (
        wire::KIND_MINI_END,
        "mini_end",
        size_of::<wire::MiniRecord>(),
    ),
    (
        wire::KIND_REQUEST_BORN,
        "request_born",
        size_of::<wire::RequestRecord>(),
    ),
    (wire::KIND_POLLED, "polled", size_of::<wire::PolledRecord>()),
    (wire::KIND_CGROUP, "cgroup", size_of::<wire::CgroupRecord>()),
    (
        wire::KIND_PROCESS,
        "process",
        size_of::<wire::ProcessRecord>(),
    ),
    (wire::KIND_HOLDER, "holder", size_of::<wire::HolderRecord>()),
];

impl Layout {
    /// Whether it can be true: each part has a flag of its own, and the header has 16 bits for them.
    pub fn is_possible(&self) -> bool {
        self.kinds.values().all(|kind| {
            let mut known = 0;
            kind.parts.iter().all(|part| {
                let is_new = part.flag.is_power_of_two() && known & part.flag == 0;
                known |= part.flag;
                is_new
            })
        })
    }

    /// That of this version.
    pub fn of_this_version() -> Self {
        let part = |name: &str, flag, bytes| Part {
            name: name.to_owned(),
            flag,
            bytes,
        };
        let state = Kind {
            name: "state".to_owned(),
            bytes: size_of::<wire::StateRecord>(),
            parts: vec![
                part("task", wire::FLAG_TASK, size_of::<wire::Task>()),
                part("counts", wire::FLAG_COUNTS, size_of::<wire::Counts>()),
                part("at_close", wire::FLAG_AT_CLOSE, size_of::<wire::AtClose>()),
            ],
        };
        let plain = PLAIN.into_iter().map(|(number, name, bytes)| {
            let kind = Kind {
                name: name.to_owned(),
                bytes,
                parts: Vec::new(),
            };
            (number, kind)
        });
        Self {
            header_bytes: size_of::<wire::Header>(),
            kinds: plain.chain([(wire::KIND_STATE, state)]).collect(),
        }
    }
}

/// Brings rows of one layout to another.
#[derive(Clone, Debug)]
pub struct Translation {
    /// Kinds that differ: what they are in the file and here.
    kinds: BTreeMap<u16, (Kind, Kind)>,
    row: Vec<u8>,
}

impl Translation {
    /// From a file's layout to that of this version. `None` if their records are the same, as far as both
    /// know them.
    pub fn from(theirs: &Layout) -> Option<Self> {
        Self::between(theirs, &Layout::of_this_version())
    }

    fn between(theirs: &Layout, ours: &Layout) -> Option<Self> {
        let sizes = |kind: &Kind| {
            let parts = kind.parts.iter().map(|part| (part.flag, part.bytes));
            (kind.bytes, parts.collect::<Vec<_>>())
        };
        let kinds: BTreeMap<_, _> = theirs
            .kinds
            .iter()
            .filter_map(|(number, theirs)| {
                let ours = ours.kinds.get(number)?;
                (sizes(theirs) != sizes(ours)).then(|| (*number, (theirs.clone(), ours.clone())))
            })
            .collect();
        (!kinds.is_empty()).then(|| Self {
            kinds,
            row: Vec::new(),
        })
    }

    /// The row as this version has it. One that is not as its layout says stays as it is, for the decoder
    /// to judge.
    pub fn row<'a>(&'a mut self, row: &'a [u8]) -> &'a [u8] {
        let Some((theirs, ours)) = kind_of(row).and_then(|kind| self.kinds.get(&kind)) else {
            return row;
        };
        self.row.clear();
        if translate(row, theirs, ours, &mut self.row).is_some() {
            &self.row
        } else {
            row
        }
    }
}

fn kind_of(row: &[u8]) -> Option<u16> {
    Some(u16::read_from_prefix(row).ok()?.0)
}

fn translate(row: &[u8], theirs: &Kind, ours: &Kind, out: &mut Vec<u8>) -> Option<()> {
    let (header, _) = wire::Header::read_from_prefix(row).ok()?;
    let (fixed, mut rest) = row.split_at_checked(theirs.bytes)?;
    put_sized(out, fixed, ours.bytes);
    for part in &theirs.parts {
        if header.flags & part.flag == 0 {
            continue;
        }
        let (bytes, after) = rest.split_at_checked(part.bytes)?;
        rest = after;
        // A part of a newer version's own is dropped.
        if let Some(own) = ours.parts.iter().find(|own| own.flag == part.flag) {
            put_sized(out, bytes, own.bytes);
        }
    }
    out.extend_from_slice(rest);
    Some(())
}

/// Appends the first `size` of these bytes, and zeros where there are not so many.
fn put_sized(out: &mut Vec<u8>, bytes: &[u8], size: usize) {
    let end = out.len() + size;
    out.extend(bytes.iter().take(size));
    out.resize(end, 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decode::decode;

    #[test]
    fn a_layout_with_more_parts_than_flags_is_impossible() {
        assert!(Layout::of_this_version().is_possible());
        for flags in [&[1, 2, 1][..], &[3], &[0]] {
            let parts = flags.iter().map(|flag| Part {
                flag: *flag,
                ..Part::default()
            });
            let kind = Kind {
                parts: parts.collect(),
                ..Kind::default()
            };
            let layout = Layout {
                kinds: [(1, kind)].into(),
                ..Layout::default()
            };
            assert!(!layout.is_possible(), "{flags:?}");
        }
    }

    /// Adding a kind to the wire without saying here what it consists of would make files that no
    /// later version can read.
    #[test]
    fn every_kind_of_record_is_described() {
        let wire = include_str!("../../../tracer-common/src/wire.rs");
        let kinds: Vec<u16> = wire
            .lines()
            .filter_map(|line| line.strip_prefix("pub const KIND_"))
            .map(|rest| {
                let value = rest.split("= ").nth(1).unwrap();
                value.trim_end_matches(';').parse().unwrap()
            })
            .collect();
        assert!(kinds.len() >= 7);
        let layout = Layout::of_this_version();
        for kind in &kinds {
            // A loss is an input of its own.
            let is_row = *kind != wire::KIND_LOSS;
            assert_eq!(layout.kinds.contains_key(kind), is_row, "kind {kind}");
        }
        assert_eq!(kinds.len(), layout.kinds.len() + 1);
    }

    #[test]
    fn sizes_are_those_the_decoder_asks_for() {
        for (number, kind) in Layout::of_this_version().kinds {
            let mut row = vec![0; kind.bytes];
            let flags = kind.parts.iter().fold(0, |flags, part| flags | part.flag);
            row[..2].copy_from_slice(&number.to_le_bytes());
            row[2..4].copy_from_slice(&flags.to_le_bytes());
            row.resize(
                row.len() + kind.parts.iter().map(|part| part.bytes).sum::<usize>(),
                0,
            );
            assert!(decode(&row).is_ok(), "{}", kind.name);
            row.pop();
            assert!(decode(&row).is_err(), "{}", kind.name);
        }
    }

    #[test]
    fn parts_are_stretched_and_cut() {
        let layout = |bytes, parts: &[(u16, usize)]| Layout {
            header_bytes: 24,
            kinds: [(
                1,
                Kind {
                    name: "state".to_owned(),
                    bytes,
                    parts: parts
                        .iter()
                        .map(|&(flag, bytes)| Part {
                            name: String::new(),
                            flag,
                            bytes,
                        })
                        .collect(),
                },
            )]
            .into(),
        };
        let row = |bytes: &[(u8, usize)]| {
            let mut row = vec![1, 0, 0b11, 0];
            row.resize(24, 0);
            for (value, count) in bytes {
                row.resize(row.len() + count, *value);
            }
            row
        };
        let small = layout(26, &[(1, 2), (2, 2)]);
        let large = layout(28, &[(1, 3), (2, 4)]);
        let of_small = row(&[(7, 2), (8, 2), (9, 2)]);
        let of_large = row(&[(7, 2), (0, 2), (8, 2), (0, 1), (9, 2), (0, 2)]);
        let mut up = Translation::between(&small, &large).unwrap();
        assert_eq!(up.row(&of_small), of_large);
        let mut down = Translation::between(&large, &small).unwrap();
        assert_eq!(down.row(&of_large), of_small);
        assert!(Translation::between(&small, &small).is_none());
        // A part that is not there takes no place; one unknown here is dropped.
        let mut bare = of_small.clone();
        bare[2] = 2;
        bare.truncate(28);
        assert_eq!(up.row(&bare).len(), 28 + 4);
        let without = layout(26, &[(2, 2)]);
        let mut drop = Translation::between(&small, &without).unwrap();
        assert_eq!(drop.row(&of_small), row(&[(7, 2), (9, 2)]));
        // Not as its layout says.
        assert_eq!(up.row(&of_small[..27]), &of_small[..27]);
    }
}
