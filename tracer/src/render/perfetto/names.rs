//! Names that occur again and again: written once, at the beginning, and referred to by number.

use super::proto::{DebugAnnotation, InternedData, InternedName};
use crate::render::vocab;
use crate::state::{Names, State};

/// Number of the only category, `tcp`.
pub(super) const CATEGORY: u64 = 1;

/// Names of arguments, each the field's of `docs/schema.md` where there is one.
const ARGUMENTS: [&str; 45] = [
    "conn",
    "netns",
    "family",
    "protocol",
    "role",
    "local",
    "remote",
    "owner_source",
    "verdict",
    "closed_by",
    "reset_reason",
    "because",
    "syn_retransmits",
    "synack_retransmits",
    "retransmits",
    "bytes_sent",
    "bytes_received",
    "rtt_us",
    "hint",
    "ending",
    "from_birth",
    "has_gap",
    "states_of_unknown_time",
    "marks_left_out",
    "evidence",
    "duration_is_minimum",
    "expected_ns",
    "errno",
    "soft_errno",
    "reason",
    "ring_full",
    "reentry",
    "unreadable",
    "undecodable",
    "lost_evidence",
    "container",
    "unit",
    "segments_sent",
    "segments_received",
    "data_segments_sent",
    "data_segments_received",
    "congestion_state",
    "socket_uid",
    "socket_cgroup",
    "within_ns",
];

/// What stands in the first packet.
pub(super) fn all() -> InternedData {
    let list = |names: &mut dyn Iterator<Item = String>| -> Vec<InternedName> {
        (1..)
            .zip(names)
            .map(|(iid, name)| InternedName { iid, name })
            .collect()
    };
    let states = State::ALL.into_iter();
    InternedData {
        event_categories: list(&mut std::iter::once("tcp".to_owned())),
        event_names: list(
            &mut states.map(|state| vocab::state(state, Names::Documented).to_string()),
        ),
        debug_annotation_names: list(&mut ARGUMENTS.into_iter().map(str::to_owned)),
    }
}

/// The number of a state's name, or the name itself where it has none.
pub(super) fn state(state: State) -> (Option<u64>, Option<String>) {
    match State::ALL.iter().position(|known| *known == state) {
        Some(index) => (Some(index as u64 + 1), None),
        None => (
            None,
            Some(vocab::state(state, Names::Documented).to_string()),
        ),
    }
}

/// Arguments of a slice, in the order they were added.
#[derive(Debug, Default)]
pub(super) struct Arguments(pub(super) Vec<DebugAnnotation>);

impl Arguments {
    fn add(&mut self, name: &str, value: DebugAnnotation) {
        let index = ARGUMENTS.iter().position(|known| *known == name);
        debug_assert!(index.is_some(), "{name} is not in the list");
        self.0.push(DebugAnnotation {
            name_iid: index.map_or(0, |index| index as u64 + 1),
            ..value
        });
    }

    /// A number; nothing where it is not known.
    pub(super) fn number(&mut self, name: &str, value: Option<impl Into<u64>>) {
        if let Some(value) = value {
            let uint_value = Some(value.into());
            self.add(
                name,
                DebugAnnotation {
                    uint_value,
                    ..DebugAnnotation::default()
                },
            );
        }
    }

    /// Text; nothing where it is not known.
    pub(super) fn text(&mut self, name: &str, value: Option<impl Into<String>>) {
        if let Some(value) = value {
            let string_value = Some(value.into());
            self.add(
                name,
                DebugAnnotation {
                    string_value,
                    ..DebugAnnotation::default()
                },
            );
        }
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, name: &str, value: bool) {
        let bool_value = Some(value);
        self.add(
            name,
            DebugAnnotation {
                bool_value,
                ..DebugAnnotation::default()
            },
        );
    }
}
