//! What the options are read from, and what is said of bad ones.

use super::*;
use crate::state::State;

#[test]
fn port_sets_merge_and_print_canonically() {
    for (text, printed) in [
        ("80", "80"),
        ("443,80", "80,443"),
        ("80,443,8000-8100", "80,443,8000-8100"),
        ("80,81,82", "80-82"),
        ("8000-8100,8050-8200,8201", "8000-8201"),
        (" 1 , 65535 ", "1,65535"),
        ("1-65535", "1-65535"),
        ("65535,1-65534", "1-65535"),
        ("7-7", "7"),
        ("0080", "80"),
    ] {
        let set = ports(text);
        assert_eq!(set.to_string(), printed, "{text}");
        assert_eq!(ports(printed), set, "{text}");
    }
}

#[test]
fn port_sets_contain_their_ranges_and_nothing_else() {
    let set = ports("80,443,8000-8100,65535");
    for (port, inside) in [
        (0, false),
        (79, false),
        (80, true),
        (81, false),
        (443, true),
        (7999, false),
        (8000, true),
        (8050, true),
        (8100, true),
        (8101, false),
        (65534, false),
        (65535, true),
    ] {
        assert_eq!(set.contains(port), inside, "{port}");
    }
    assert!(!PortSet::default().contains(80));
    assert!(PortSet::default().is_empty() && !set.is_empty());
    assert_eq!(
        set.ranges().collect::<Vec<_>>(),
        [80..=80, 443..=443, 8000..=8100, 65535..=65535]
    );
}

#[test]
fn port_set_errors_name_the_bad_part() {
    for (text, message) in [
        ("", "a port is missing in ``"),
        ("80,,443", "a port is missing in `80,,443`"),
        ("80,", "a port is missing in `80,`"),
        ("80-", "a port is missing in `80-`"),
        ("-80", "a port is missing in `-80`"),
        ("http", "`http` is not a port number"),
        ("80,+81", "`+81` is not a port number"),
        ("1-2-3", "`2-3` is not a port number"),
        ("80;443", "`80;443` is not a port number"),
        ("0", "`0` is not a port: ports are 1 to 65535"),
        ("0-80", "`0` is not a port: ports are 1 to 65535"),
        ("65536", "`65536` is not a port: ports are 1 to 65535"),
        (
            "99999999999999999999",
            "`99999999999999999999` is not a port: ports are 1 to 65535",
        ),
        ("90-80", "`90-80` runs backwards: write `80-90`"),
    ] {
        let error = text.parse::<PortSet>().unwrap_err();
        assert_eq!(error.to_string(), message, "{text}");
    }
}

#[test]
fn prefixes_are_truncated_and_mapped_ones_become_ipv4() {
    for (text, expected) in [
        ("192.0.2.1", "192.0.2.1/32"),
        ("192.0.2.0/24", "192.0.2.0/24"),
        ("192.0.2.7/24", "192.0.2.0/24"),
        ("0.0.0.0/0", "0.0.0.0/0"),
        ("2001:db8::1", "2001:db8::1/128"),
        ("2001:db8::1/32", "2001:db8::/32"),
        ("::/0", "::/0"),
        ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ("::ffff:192.0.2.1/120", "192.0.2.0/24"),
        ("::ffff:0:0/96", "0.0.0.0/0"),
        ("::ffff:0:0/95", "::fffe:0:0/95"),
        (" 10.0.0.0/8 ", "10.0.0.0/8"),
    ] {
        assert_eq!(parse_prefix(text).unwrap().to_string(), expected, "{text}");
    }
}

#[test]
fn prefix_errors_name_the_bad_part() {
    for (text, message) in [
        ("", "`` is not an IP address"),
        ("localhost", "`localhost` is not an IP address"),
        ("10.0.0", "`10.0.0` is not an IP address"),
        ("10.0.0.0/", "`/` is not a prefix length"),
        ("10.0.0.0/x", "`/x` is not a prefix length"),
        ("10.0.0.0/+8", "`/+8` is not a prefix length"),
        ("10.0.0.0/8/8", "`/8/8` is not a prefix length"),
        ("10.0.0.0/999", "`/999` is not a prefix length"),
        (
            "10.0.0.0/33",
            "`/33` is too long: IPv4 addresses have 32 bits",
        ),
        (
            "::1/129",
            "`/129` is too long: IPv6 addresses have 128 bits",
        ),
        (
            "fe80::1%eth0",
            "`fe80::1%eth0` names an interface: give the address without `%`",
        ),
    ] {
        assert_eq!(
            parse_prefix(text).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
}

#[test]
fn shown_transitions_satisfy_both_lists() {
    use State::{Closed, Established, FinWait1, SynSent};
    let all = Show::default();
    assert!(all.shows(SynSent, Established));
    let by_state = Show {
        states: vec![SynSent, FinWait1],
        ..Show::default()
    };
    let by_pair = Show {
        transitions: vec![
            (Some(SynSent), None),
            (None, Some(FinWait1)),
            (Some(Closed), Some(SynSent)),
        ],
        ..Show::default()
    };
    let by_both = Show {
        states: vec![Closed],
        transitions: by_pair.transitions.clone(),
    };
    for (from, to, state, pair, both) in [
        (SynSent, Established, true, true, false),
        (Closed, SynSent, true, true, true),
        (SynSent, Closed, true, true, true),
        (Established, FinWait1, true, true, false),
        (FinWait1, Closed, true, false, false),
        (Established, Closed, false, false, false),
    ] {
        assert_eq!(by_state.shows(from, to), state, "{from:?} {to:?}");
        assert_eq!(by_pair.shows(from, to), pair, "{from:?} {to:?}");
        assert_eq!(by_both.shows(from, to), both, "{from:?} {to:?}");
    }
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("no state `{0}`")]
struct NoState(String);

fn states(name: &str) -> Result<Vec<State>, NoState> {
    match name {
        "SYN-SENT" => Ok(vec![State::SynSent]),
        "CLOSED" => Ok(vec![State::Closed]),
        "opening" => Ok(vec![State::SynSent, State::SynReceived]),
        other => Err(NoState(other.to_owned())),
    }
}

#[test]
fn transitions_are_read_in_every_spelling() {
    let (sent, received, closed) = (
        Some(State::SynSent),
        Some(State::SynReceived),
        Some(State::Closed),
    );
    for (text, expected) in [
        ("SYN-SENT->CLOSED", vec![(sent, closed)]),
        (" SYN-SENT -> CLOSED ", vec![(sent, closed)]),
        ("SYN-SENT:CLOSED", vec![(sent, closed)]),
        ("SYN-SENT → CLOSED", vec![(sent, closed)]),
        ("*->CLOSED", vec![(None, closed)]),
        ("SYN-SENT->*", vec![(sent, None)]),
        ("*:*", vec![(None, None)]),
        ("opening->CLOSED", vec![(sent, closed), (received, closed)]),
        (
            "opening->opening",
            vec![
                (sent, sent),
                (sent, received),
                (received, sent),
                (received, received),
            ],
        ),
    ] {
        assert_eq!(parse_transition(text, states), Ok(expected), "{text}");
    }
    for (text, message) in [
        (
            "CLOSED",
            "`CLOSED` is not a transition: write `FROM->TO`, with `*` for any state",
        ),
        (
            "CLOSED->",
            "`CLOSED->` is not a transition: write `FROM->TO`, with `*` for any state",
        ),
        (
            "->CLOSED",
            "`->CLOSED` is not a transition: write `FROM->TO`, with `*` for any state",
        ),
        ("CLOSED->OPEN", "no state `OPEN`"),
        ("SHUT->*", "no state `SHUT`"),
        ("CLOSED->CLOSED->CLOSED", "no state `CLOSED->CLOSED`"),
    ] {
        assert_eq!(
            parse_transition(text, states).unwrap_err().to_string(),
            message,
            "{text}"
        );
    }
}
