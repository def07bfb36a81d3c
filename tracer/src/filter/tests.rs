use std::net::Ipv4Addr;

use super::Verdict::{No, Undecided, Yes};
use super::*;
use crate::state::State;

fn ports(text: &str) -> PortSet {
    text.parse().unwrap()
}

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

fn end(text: &str) -> Endpoint {
    let (addr, port) = text.rsplit_once(' ').unwrap();
    Endpoint {
        addr: addr.parse().unwrap(),
        port: port.parse().unwrap(),
    }
}

fn known(family: Family, local: &str, remote: &str) -> Known {
    Known {
        netns: Some(1),
        family,
        local: end(local),
        remote: end(remote),
        listener: false,
        owner: Undecided,
    }
}

fn listener(family: Family, local: &str) -> Known {
    Known {
        listener: true,
        ..known(family, local, "0.0.0.0 0")
    }
}

#[test]
fn the_default_selects_everything() {
    let nothing_known = Known {
        netns: None,
        ..known(Family::Other(99), "0.0.0.0 0", "0.0.0.0 0")
    };
    assert_eq!(Filter::default().verdict(&nothing_known), Yes);
}

#[test]
fn ports_wait_for_a_side_that_is_not_known_yet() {
    let either = Filter {
        ports: ports("80,443"),
        ..Filter::default()
    };
    let local = Filter {
        local_ports: ports("80"),
        ..Filter::default()
    };
    let remote = Filter {
        remote_ports: ports("443"),
        ..Filter::default()
    };
    for (local_port, remote_port, by_either, by_local, by_remote) in [
        (0, 0, Undecided, Undecided, Undecided),
        (0, 443, Yes, Undecided, Yes),
        (0, 22, Undecided, Undecided, No),
        (80, 0, Yes, Yes, Undecided),
        (443, 0, Yes, No, Undecided),
        (22, 0, Undecided, No, Undecided),
        (80, 443, Yes, Yes, Yes),
        (22, 23, No, No, No),
    ] {
        let seen = known(
            Family::Inet,
            &format!("10.0.0.1 {local_port}"),
            &format!("10.0.0.2 {remote_port}"),
        );
        let case = format!("{local_port} {remote_port}");
        assert_eq!(either.verdict(&seen), by_either, "{case}");
        assert_eq!(local.verdict(&seen), by_local, "{case}");
        assert_eq!(remote.verdict(&seen), by_remote, "{case}");
    }
    for (port, by_either, by_local) in [
        (80, Yes, Yes),
        (443, Yes, No),
        (22, No, No),
        (0, Undecided, Undecided),
    ] {
        let seen = listener(Family::Inet, &format!("0.0.0.0 {port}"));
        assert_eq!(either.verdict(&seen), by_either, "{port}");
        assert_eq!(local.verdict(&seen), by_local, "{port}");
        assert_eq!(remote.verdict(&seen), No, "{port}");
    }
}

#[test]
fn networks_match_either_side_by_the_address_on_the_wire() {
    let by = |prefix: &str| Filter {
        prefixes: vec![
            parse_prefix("198.51.100.1").unwrap(),
            parse_prefix(prefix).unwrap(),
        ],
        ..Filter::default()
    };
    use Family::{Inet, Inet6};
    for (prefix, seen, verdict) in [
        ("10.0.0.0/8", known(Inet, "10.1.2.3 1", "192.0.2.1 1"), Yes),
        ("10.0.0.0/8", known(Inet, "192.0.2.1 1", "10.1.2.3 1"), Yes),
        ("10.0.0.0/8", known(Inet, "192.0.2.1 1", "192.0.2.2 1"), No),
        (
            "10.0.0.0/8",
            known(Inet, "192.0.2.1 1", "0.0.0.0 0"),
            Undecided,
        ),
        (
            "10.0.0.0/8",
            known(Inet6, "::ffff:10.1.2.3 1", "::ffff:192.0.2.1 1"),
            Yes,
        ),
        ("10.0.0.0/8", known(Inet6, ":: 1", "::ffff:10.1.2.3 1"), Yes),
        ("10.0.0.0/8", known(Inet6, ":: 1", ":: 0"), Undecided),
        (
            "10.0.0.0/8",
            known(Inet6, ":: 1", "::ffff:0.0.0.0 0"),
            Undecided,
        ),
        (
            "10.0.0.0/8",
            known(Inet6, "2001:db8::1 1", "2001:db8::2 1"),
            No,
        ),
        (
            "2001:db8::/64",
            known(Inet6, "2001:db8:1::1 1", "2001:db8::2 1"),
            Yes,
        ),
        (
            "::/0",
            known(Inet6, "::ffff:10.1.2.3 1", "::ffff:10.1.2.4 1"),
            No,
        ),
        ("10.0.0.0/8", listener(Inet, "10.1.2.3 80"), Yes),
        ("10.0.0.0/8", listener(Inet, "0.0.0.0 80"), No),
        ("10.0.0.0/8", listener(Inet6, ":: 80"), No),
        ("0.0.0.0", listener(Inet, "0.0.0.0 80"), Yes),
        ("0.0.0.0/0", listener(Inet6, ":: 80"), Yes),
        ("::", listener(Inet6, ":: 80"), Yes),
        ("::", listener(Inet, "0.0.0.0 80"), No),
        ("::/0", listener(Inet6, "::1 80"), Yes),
    ] {
        assert_eq!(by(prefix).verdict(&seen), verdict, "{prefix} {seen:?}");
    }
}

#[test]
fn families_go_by_what_is_on_the_wire() {
    use Family::{Inet, Inet6, Other};
    for (seen, v4, v6) in [
        (known(Inet, "10.0.0.1 1", "0.0.0.0 0"), Yes, No),
        (known(Inet6, "2001:db8::1 1", "2001:db8::2 2"), No, Yes),
        (known(Inet6, ":: 0", "2001:db8::2 2"), No, Yes),
        (known(Inet6, ":: 0", "::ffff:10.0.0.1 2"), Yes, No),
        (known(Inet6, "::ffff:10.0.0.1 2", ":: 0"), Yes, No),
        (known(Inet6, ":: 80", ":: 0"), Undecided, Undecided),
        (listener(Inet, "0.0.0.0 80"), Yes, No),
        (listener(Inet6, ":: 80"), Yes, Yes),
        (listener(Inet6, "::1 80"), No, Yes),
        (listener(Inet6, "::ffff:127.0.0.1 80"), Yes, No),
        (known(Other(1), "0.0.0.0 0", "0.0.0.0 0"), No, No),
    ] {
        for (families, verdict) in [
            (FamilyFilter::Any, Yes),
            (FamilyFilter::V4, v4),
            (FamilyFilter::V6, v6),
        ] {
            let filter = Filter {
                families,
                ..Filter::default()
            };
            assert_eq!(filter.verdict(&seen), verdict, "{families:?} {seen:?}");
        }
    }
}

#[test]
fn an_unknown_namespace_never_matches() {
    let filter = Filter {
        netns: vec![4, 5],
        ..Filter::default()
    };
    for (netns, verdict) in [(Some(4), Yes), (Some(5), Yes), (Some(6), No), (None, No)] {
        let seen = Known {
            netns,
            ..known(Family::Inet, "10.0.0.1 1", "10.0.0.2 2")
        };
        assert_eq!(filter.verdict(&seen), verdict, "{netns:?}");
    }
}

#[test]
fn an_owner_must_match_pid_and_command_at_once() {
    let filter = Filter {
        pids: vec![1, 2],
        comms: vec![Comm::from("nginx"), Comm::from("a name longer than 15")],
        ..Filter::default()
    };
    for (pid, comm, matches) in [
        (1, "nginx", true),
        (2, "nginx", true),
        (3, "nginx", false),
        (1, "nginx2", false),
        (1, "Nginx", false),
        (1, "a name longer t", true),
    ] {
        assert_eq!(
            filter.owner_matches(pid, &Comm::from(comm)),
            matches,
            "{pid} {comm}"
        );
    }
    let after_nul = Comm(*b"nginx\0leftover\0\0");
    assert!(filter.owner_matches(1, &after_nul));
    for owner in [Yes, No, Undecided] {
        let seen = Known {
            owner,
            ..known(Family::Inet, "10.0.0.1 1", "10.0.0.2 2")
        };
        assert_eq!(filter.verdict(&seen), owner);
        assert_eq!(Filter::default().verdict(&seen), Yes);
    }
}

#[test]
fn options_must_all_match() {
    let filter = Filter {
        remote_ports: ports("443"),
        prefixes: vec![parse_prefix("10.0.0.0/8").unwrap()],
        pids: vec![7],
        ..Filter::default()
    };
    let seen = |remote: &str, owner| Known {
        owner,
        ..known(Family::Inet, "192.0.2.1 0", remote)
    };
    for (remote, owner, verdict) in [
        ("10.0.0.1 443", Yes, Yes),
        ("10.0.0.1 443", Undecided, Undecided),
        ("10.0.0.1 80", Undecided, No),
        ("192.0.2.2 443", Undecided, No),
        ("10.0.0.1 443", No, No),
        ("0.0.0.0 0", Yes, Undecided),
    ] {
        assert_eq!(
            filter.verdict(&seen(remote, owner)),
            verdict,
            "{remote} {owner:?}"
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

#[test]
fn unspecified_is_not_an_address_of_a_connection() {
    let filter = Filter {
        prefixes: vec![parse_prefix("0.0.0.0/0").unwrap()],
        ..Filter::default()
    };
    let seen = Known {
        local: Endpoint {
            addr: Ipv4Addr::UNSPECIFIED.into(),
            port: 80,
        },
        ..known(Family::Inet, "10.0.0.1 1", "0.0.0.0 0")
    };
    assert_eq!(filter.verdict(&seen), Undecided);
}
