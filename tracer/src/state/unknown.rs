//! What to tell a person whose word names no state.

use super::parse::normalise;
use super::{GROUPS, Group, Names, State};

/// A text that names no state, or more than one where one is wanted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownState {
    /// Nothing is called so.
    #[error("unknown TCP state `{}`{}", .text.escape_debug(), did_you_mean(*.suggestion))]
    NoSuchName {
        /// What was given.
        text: String,
        /// The documented name, or the group, whose name is nearest.
        suggestion: Option<&'static str>,
    },
    /// The name of a group, where a single state is wanted.
    #[error("`{}` means several TCP states: {}", .group.name, list(.group.states))]
    SeveralStates {
        /// The group.
        group: Group,
    },
}

impl UnknownState {
    /// What may be written instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NoSuchName { .. } => format!(
                "states are {}; groups are {}; `tracer states` lists their names on other systems, \
                 which are understood as well",
                list(&State::BY_LIFE),
                GROUPS.map(|group| group.name).join(", ")
            ),
            Self::SeveralStates { .. } => "name one of them".to_owned(),
        }
    }
}

fn did_you_mean(suggestion: Option<&'static str>) -> String {
    suggestion.map_or_else(String::new, |name| format!(", did you mean `{name}`?"))
}

fn list(states: &[State]) -> String {
    let names: Vec<_> = states.iter().map(State::to_string).collect();
    names.join(", ")
}

/// The nearest name, if it is near: one slip in three characters.
pub(super) fn suggest(key: &str) -> Option<&'static str> {
    const LONGEST_KEY: usize = 32;
    let length = key.chars().count();
    if length == 0 || length > LONGEST_KEY {
        return None;
    }
    let states = State::BY_LIFE.into_iter().flat_map(|state| {
        let documented = state.known_name(Names::Documented).unwrap_or_default();
        state
            .own_names()
            .map(move |name| (normalise(name), documented))
    });
    let groups = GROUPS
        .iter()
        .map(|group| (normalise(group.name), group.name));
    states
        .chain(groups)
        .map(|(name, written)| (distance(key, &name), written))
        .filter(|(distance, _)| distance * 3 <= length)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, written)| written)
}

/// Edit distance: insert, delete, replace.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        if let Some(first) = row.first_mut() {
            *first = left;
        }
        for (cell, cb) in row.iter_mut().skip(1).zip(b.chars()) {
            let replaced = diagonal + usize::from(ca != cb);
            diagonal = *cell;
            left = replaced.min(diagonal + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_suggest() {
        let message = |text| State::parse(text).unwrap_err().to_string();
        let expected = [
            (
                "SYN_RECEIVE",
                "unknown TCP state `SYN_RECEIVE`, did you mean `SYN_RECEIVED`?",
            ),
            (
                "establishd",
                "unknown TCP state `establishd`, did you mean `ESTABLISHED`?",
            ),
            (
                "listne",
                "unknown TCP state `listne`, did you mean `LISTEN`?",
            ),
            (
                "FIN_WAIT3",
                "unknown TCP state `FIN_WAIT3`, did you mean `FIN_WAIT_1`?",
            ),
            (
                "conected",
                "unknown TCP state `conected`, did you mean `connected`?",
            ),
            ("banana", "unknown TCP state `banana`"),
            ("\u{1b}[31m", "unknown TCP state `\\u{1b}[31m`"),
            (
                "fin_wait",
                "`fin_wait` means several TCP states: FIN_WAIT_1, FIN_WAIT_2",
            ),
        ];
        for (text, expected) in expected {
            assert_eq!(message(text), expected);
        }
    }

    #[test]
    fn the_hint_lists_states_and_groups() {
        let hint = State::parse("banana").unwrap_err().hint();
        for name in State::ALL.map(|s| s.to_string()) {
            assert!(hint.contains(&name), "{name}");
        }
        assert!(
            hint.contains("groups are fin_wait, all, connected"),
            "{hint}"
        );
    }

    #[test]
    fn edit_distance() {
        for (a, b, expected) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("closed", "close", 1),
        ] {
            assert_eq!(distance(a, b), expected, "{a} {b}");
        }
    }
}
