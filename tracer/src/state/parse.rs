//! Reads a state's name, whatever system it was copied from.
//!
//! Case and punctuation do not count. A name that several systems use for different sets of states
//! does not occur; a name that means several states (`FIN_WAIT` of conntrack, the groups of `ss`) is
//! read by [`State::parse_group`] only.

use std::str::FromStr;

use super::unknown::suggest;
use super::vocabulary::{ALIASES, System};
use super::{GROUPS, Group, Names, State, UnknownState};

/// Prefixes of constants: Linux, BPF, Linux bit masks, BSD, Windows.
const PREFIXES: [&str; 5] = ["tcp", "bpftcp", "tcpf", "tcps", "mibtcpstate"];

impl FromStr for State {
    type Err = UnknownState;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl State {
    /// Reads a state's name of any [`System`], in any case and punctuation, the kernel's number (`3`),
    /// its hexadecimal form of `/proc/net/tcp` (`0A`), or `UNKNOWN(17)` as tracer writes it.
    pub fn parse(text: &str) -> Result<Self, UnknownState> {
        let key = normalise(text);
        find(&key)
            .or_else(|| parse_number(text.trim()))
            .ok_or_else(|| match find_group(&key) {
                Some(group) => UnknownState::SeveralStates { group: *group },
                None => UnknownState::NoSuchName {
                    text: text.to_owned(),
                    suggestion: suggest(&key),
                },
            })
    }

    /// Like [`State::parse`], and understands the names of [`GROUPS`] too.
    pub fn parse_group(text: &str) -> Result<Vec<Self>, UnknownState> {
        Self::parse(text)
            .map(|state| vec![state])
            .or_else(|err| match err {
                UnknownState::SeveralStates { group } => Ok(group.states.to_vec()),
                other @ UnknownState::NoSuchName { .. } => Err(other),
            })
    }

    /// Every name that means this state and no other.
    pub(super) fn own_names(self) -> impl Iterator<Item = &'static str> {
        let aliases = ALIASES
            .into_iter()
            .filter_map(move |(name, state)| (state == self).then_some(name));
        self.known_name(Names::Documented)
            .into_iter()
            .chain(
                System::ALL
                    .into_iter()
                    .filter_map(move |system| self.term(system).own_name()),
            )
            .chain(aliases)
    }
}

/// Lower case, letters and digits only.
pub(super) fn normalise(text: &str) -> String {
    text.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

fn find(key: &str) -> Option<State> {
    let named = |key: &str| {
        State::ALL
            .into_iter()
            .find(|state| state.own_names().any(|name| normalise(name) == key))
    };
    named(key).or_else(|| {
        PREFIXES
            .into_iter()
            .filter_map(|prefix| key.strip_prefix(prefix))
            .find_map(named)
    })
}

fn find_group(key: &str) -> Option<&'static Group> {
    GROUPS.iter().find(|group| normalise(group.name) == key)
}

fn parse_number(text: &str) -> Option<State> {
    let unknown = text
        .get(..8)
        .filter(|start| start.eq_ignore_ascii_case("unknown("))
        .and_then(|_| text.get(8..)?.strip_suffix(')'));
    if let Some(number) = unknown {
        return number.parse().ok().map(State::from_kernel);
    }
    let prefixed = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X"));
    let proc_net_tcp = (text.len() == 2 && text.starts_with('0')).then_some(text);
    let (digits, radix) = match prefixed.or(proc_net_tcp) {
        Some(digits) => (digits, 16),
        None => (text, 10),
    };
    if !digits.chars().all(|c| c.is_digit(radix)) {
        return None; // a sign, which `from_str_radix` would take
    }
    let state = State::from_kernel(i32::from_str_radix(digits, radix).ok()?);
    state.row().is_some().then_some(state)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_every_origin() {
        let cases = [
            ("synrecv", State::SynReceived),
            ("SYN-RECV", State::SynReceived),
            ("SYN_RECEIVED", State::SynReceived),
            ("SynReceived", State::SynReceived),
            ("TCP_SYN_RECV", State::SynReceived),
            ("syn_rcvd", State::SynReceived),
            ("syn-rcv", State::SynReceived),
            ("MIB_TCP_STATE_SYN_RCVD", State::SynReceived),
            ("TCPS_SYN_RECEIVED", State::SynReceived),
            ("BPF_TCP_SYN_RECV", State::SynReceived),
            ("3", State::SynReceived),
            ("03", State::SynReceived),
            ("fin wait 1", State::FinWait1),
            ("FIN-WAIT-1", State::FinWait1),
            ("FINWAIT1", State::FinWait1),
            ("  fin_wait_2\n", State::FinWait2),
            ("estab", State::Established),
            ("ESTABLISHED", State::Established),
            ("UNCONN", State::Closed),
            ("unconnected", State::Closed),
            ("close", State::Closed),
            ("DELETE_TCB", State::Closed),
            ("7", State::Closed),
            ("LISTENING", State::Listen),
            ("listen", State::Listen),
            ("0A", State::Listen),
            ("0x0a", State::Listen),
            ("10", State::Listen),
            ("SYN_SEND", State::SynSent),
            ("timed_wait", State::TimeWait),
            ("closing", State::Closing),
            ("new-syn-recv", State::NewSynReceived),
            ("12", State::NewSynReceived),
            ("Bound", State::BoundInactive),
            ("bound-inactive", State::BoundInactive),
            ("0D", State::BoundInactive),
            ("UNKNOWN(17)", State::Unknown(17)),
            ("unknown(-5)", State::Unknown(-5)),
        ];
        for (text, state) in cases {
            assert_eq!(State::parse(text), Ok(state), "{text:?}");
            assert_eq!(State::parse_group(text), Ok(vec![state]), "{text:?}");
        }
    }

    #[test]
    fn every_name_of_every_system_reads_back() {
        for state in State::ALL {
            for name in state.own_names() {
                assert_eq!(State::parse(name), Ok(state), "{name}");
                assert_eq!(State::parse(&name.to_lowercase()), Ok(state), "{name}");
                let spaced = name.replace(['_', '-'], " ");
                assert_eq!(State::parse(&spaced), Ok(state), "{spaced}");
            }
        }
    }

    #[test]
    fn a_name_shown_for_two_states_means_the_one_that_owns_it() {
        for state in State::ALL {
            for system in System::ALL {
                let term = state.term(system);
                if let (Some(shown), None) = (term.shown(), term.own_name()) {
                    let owner = State::parse(shown).unwrap();
                    assert_ne!(owner, state);
                    assert_eq!(owner.term(system).own_name(), Some(shown));
                }
            }
        }
    }

    #[test]
    fn what_is_no_state() {
        for text in [
            "",
            " ",
            "-",
            "_",
            "tcp",
            "TCP_",
            "0",
            "00",
            "14",
            "99",
            "0x",
            "0xFF",
            "0E",
            "-1",
            "3.0",
            "UNKNOWN",
            "UNKNOWN()",
            "UNKNOWN(x)",
            "UNKNOWN(99999999999)",
            "99999999999",
            "établi",
        ] {
            let err = State::parse(text).unwrap_err();
            assert!(
                matches!(err, UnknownState::NoSuchName { .. }),
                "{text:?}: {err}"
            );
        }
    }

    #[test]
    fn groups() {
        let names = |text| {
            let states = State::parse_group(text).unwrap();
            states
                .iter()
                .map(State::to_string)
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(names("FIN_WAIT"), "FIN_WAIT_1 FIN_WAIT_2");
        assert_eq!(names("finwait"), "FIN_WAIT_1 FIN_WAIT_2");
        assert_eq!(names("all").split(' ').count(), 13);
        assert_eq!(names("bucket"), "SYN_RECEIVED TIME_WAIT NEW_SYN_RECEIVED");
        let without = |left_out: &[State]| {
            let kept: Vec<_> = State::BY_LIFE
                .into_iter()
                .filter(|s| !left_out.contains(s))
                .collect();
            kept
        };
        let closed = [State::Closed, State::BoundInactive, State::Listen];
        assert_eq!(State::parse_group("Connected"), Ok(without(&closed)));
        let not_synchronized = [&closed[..], &[State::SynSent]].concat();
        assert_eq!(
            State::parse_group("synchronized"),
            Ok(without(&not_synchronized))
        );
        let bucket = State::parse_group("bucket").unwrap();
        assert_eq!(State::parse_group("big"), Ok(without(&bucket)));
    }

    #[test]
    fn no_group_hides_a_state() {
        for group in GROUPS {
            assert_eq!(find(&normalise(group.name)), None, "{}", group.name);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let state = State::parse(&text);
            let states = State::parse_group(&text);
            prop_assert_eq!(state.is_ok() && states.is_err(), false);
        }

        #[test]
        fn case_and_punctuation_do_not_count(
            state in 0usize..13,
            name in 0usize..16,
            noise in proptest::collection::vec((any::<bool>(), "[-_ .,:/()]{0,3}"), 40),
        ) {
            let state = State::ALL[state];
            let names: Vec<_> = state.own_names().collect();
            let name = names[name % names.len()];
            let mut noisy = String::new();
            for (c, (upper, between)) in name.chars().zip(noise) {
                noisy.push(if upper { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() });
                noisy.push_str(&between);
            }
            prop_assert_eq!(State::parse(&noisy), Ok(state), "{}", noisy);
        }
    }
}
