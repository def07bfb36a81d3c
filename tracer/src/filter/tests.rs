mod parsing;

use std::net::Ipv4Addr;

use super::Verdict::{No, Undecided, Yes};
use super::*;
use crate::event::Family::{Inet, Inet6, Other};

fn ports(text: &str) -> PortSet {
    text.parse().unwrap()
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
        ..known(Other(99), "0.0.0.0 0", "0.0.0.0 0")
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
            Inet,
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
        let seen = listener(Inet, &format!("0.0.0.0 {port}"));
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
            ..known(Inet, "10.0.0.1 1", "10.0.0.2 2")
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
            filter.owner_matches(pid, &Comm::from(comm), None),
            matches,
            "{pid} {comm}"
        );
    }
    let after_nul = Comm(*b"nginx\0leftover\0\0");
    assert!(filter.owner_matches(1, &after_nul, None));
    for owner in [Yes, No, Undecided] {
        let seen = Known {
            owner,
            ..known(Inet, "10.0.0.1 1", "10.0.0.2 2")
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
        ..known(Inet, "192.0.2.1 0", remote)
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
        ..known(Inet, "10.0.0.1 1", "0.0.0.0 0")
    };
    assert_eq!(filter.verdict(&seen), Undecided);
}

#[test]
fn a_process_belongs_to_its_cgroup_and_all_above() {
    const ID: &str = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";
    let docker = Place::from_path(&format!("/system.slice/docker-{ID}.scope/app"));
    let service = Place::from_path("/system.slice/nginx.service");
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    for (cgroups, containers, matches) in [
        (&["/system.slice"][..], &[][..], [true, true, false]),
        (&["/system.slice/nginx.service"], &[], [false, true, false]),
        (&["/system.slice/nginx"], &[], [false, false, false]),
        (&["/user.slice", "/"], &[], [true, true, false]),
        (&[], &["3f2a"], [true, false, false]),
        (&[], &["3f2b", "3f2a9c1b7d4e"], [true, false, false]),
        (&[], &["2a9c"], [false, false, false]),
        (&["/user.slice"], &["3f2a"], [false, false, false]),
    ] {
        let filter = Filter {
            cgroups: list(cgroups),
            containers: list(containers),
            ..Filter::default()
        };
        assert!(filter.asks_place());
        let places = [Some(&docker), Some(&service), None];
        let seen = places.map(|place| filter.owner_matches(1, &Comm::from("app"), place));
        assert_eq!(seen, matches, "{cgroups:?} {containers:?}");
        let unowned = known(Inet, "10.0.0.1 1", "10.0.0.2 2");
        let owner = Undecided;
        assert_eq!(filter.verdict(&Known { owner, ..unowned }), Undecided);
    }
}
