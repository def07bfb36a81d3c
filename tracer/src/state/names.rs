//! How states are printed.

use std::fmt;
use std::str::FromStr;

use super::State;
use super::vocabulary::System;

/// Whose names to print.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Names {
    /// tracer's own, the same in every recording: `SYN_RECEIVED`, `FIN_WAIT_1`, `CLOSED`.
    #[default]
    Documented,
    /// RFC 9293: `SYN-RECEIVED`, `FIN-WAIT-1`, `CLOSED`.
    Rfc,
    /// Linux kernel: `TCP_SYN_RECV`, `TCP_FIN_WAIT1`, `TCP_CLOSE`.
    Kernel,
    /// `ss` of iproute2: `SYN-RECV`, `FIN-WAIT-1`, `UNCONN`.
    Ss,
}

impl Names {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Documented, Self::Rfc, Self::Kernel, Self::Ss];

    /// As on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Documented => "documented",
            Self::Rfc => "rfc",
            Self::Kernel => "kernel",
            Self::Ss => "ss",
        }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Not the name of a vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown vocabulary `{}`, expected documented, rfc, kernel or ss", .0.escape_debug())]
pub struct UnknownNames(pub String);

impl FromStr for Names {
    type Err = UnknownNames;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|names| names.as_str().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownNames(text.to_owned()))
    }
}

impl State {
    /// The name, for a state that has one: all but [`State::Unknown`].
    ///
    /// Only the documented and the kernel's names tell all states apart: RFC 9293 and `ss` have no
    /// names of their own for the kernel's request sockets and bound sockets.
    pub fn known_name(self, names: Names) -> Option<&'static str> {
        match names {
            Names::Documented => self.row().map(|row| row.documented),
            Names::Rfc => self.term(System::Rfc).shown(),
            Names::Kernel => self.term(System::Kernel).shown(),
            Names::Ss => self.term(System::Ss).shown(),
        }
    }

    /// The name, to be printed: `UNKNOWN(17)` for a number without one. Honours width and alignment.
    pub fn name(self, names: Names) -> StateName {
        StateName { state: self, names }
    }
}

/// Prints a [`State`] in one vocabulary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateName {
    state: State,
    names: Names,
}

impl fmt::Display for StateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.state.known_name(self.names) {
            Some(name) => f.pad(name),
            None => f.pad(&format!("UNKNOWN({})", self.state.to_kernel())),
        }
    }
}

impl fmt::Display for State {
    /// The documented name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name(Names::Documented).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_known_state_has_a_name_in_every_vocabulary() {
        for names in Names::ALL {
            for state in State::ALL {
                assert!(state.known_name(names).is_some(), "{state:?} {names}");
            }
        }
    }

    #[test]
    fn documented_and_kernel_names_are_distinct() {
        for names in [Names::Documented, Names::Kernel] {
            let distinct: HashSet<_> = State::ALL.map(|state| state.known_name(names)).into();
            assert_eq!(distinct.len(), State::ALL.len(), "{names}");
        }
    }

    #[test]
    fn names_of_the_states_that_differ_most() {
        let in_all = |state: State| Names::ALL.map(|names| state.name(names).to_string());
        assert_eq!(
            in_all(State::SynReceived),
            ["SYN_RECEIVED", "SYN-RECEIVED", "TCP_SYN_RECV", "SYN-RECV"]
        );
        assert_eq!(
            in_all(State::Closed),
            ["CLOSED", "CLOSED", "TCP_CLOSE", "UNCONN"]
        );
        assert_eq!(
            in_all(State::FinWait1),
            ["FIN_WAIT_1", "FIN-WAIT-1", "TCP_FIN_WAIT1", "FIN-WAIT-1"]
        );
        assert_eq!(in_all(State::Unknown(17)), ["UNKNOWN(17)"; 4]);
    }

    #[test]
    fn padding_is_honoured_for_known_and_unknown_states() {
        assert_eq!(format!("[{:<8}]", State::Listen), "[LISTEN  ]");
        assert_eq!(format!("[{:>13}]", State::Unknown(-1)), "[  UNKNOWN(-1)]");
    }

    #[test]
    fn vocabularies_parse_by_name() {
        for names in Names::ALL {
            assert_eq!(names.as_str().parse(), Ok(names));
            assert_eq!(names.as_str().to_uppercase().parse(), Ok(names));
        }
        assert_eq!(
            "BSD".parse::<Names>().unwrap_err().to_string(),
            "unknown vocabulary `BSD`, expected documented, rfc, kernel or ss"
        );
    }

    proptest! {
        #[test]
        fn documented_names_read_back(number in any::<i32>()) {
            let state = State::from_kernel(number);
            prop_assert_eq!(State::parse(&state.to_string()), Ok(state));
        }
    }
}
