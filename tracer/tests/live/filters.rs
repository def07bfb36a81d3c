//! Filters select the right connections, whole: one workload, many runs of tracer watching it at once,
//! each with a filter of its own, held against the same part of the kernel's record. A recording made with the
//! filter, and a replay with it of a recording of all, must hold the same.
//!
//! The record knows neither processes nor namespaces. Here each process has ports of its own, and
//! each namespace too, so that what belongs to whom can be told from it nevertheless.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::belonging::Cgroup;
use crate::compare;
use crate::harness::{Results, Verdict};
use crate::lives::{self, Life};
use crate::netns::Namespace;
use crate::oracle::{Oracle, Record};
use crate::recorder::{Recorder, Scratch};
use crate::scope::Scope;
use crate::stage::{self, Actor};
use crate::tracer::{Output, Tracer};

const PREFIX: &str = "filter::";
const SCOPE: Scope = Scope(201);
const BUFFER_KIB: u32 = 1024;

/// Alice and Bob each listen and talk to themselves, in different namespaces. Carol, in Alice's
/// namespace, talks to Alice.
const ALICE_V4: u16 = 0;
const ALICE_V6: u16 = 1;
const ALICE_BOTH: u16 = 2;
const BOB_V4: u16 = 10;
/// To this local port Carol binds one of her sockets.
const CAROL_BOUND: u16 = 20;

const ALICE_HOST: u8 = 1;
const BOB_HOST: u8 = 65;
const CAROL_HOST: u8 = 130;

const CAROLS_CONTAINER: &str = "ca201ca201ca201ca201ca201ca201ca201ca201ca201ca201ca201ca201ca20";

/// A filter, and which part of the kernel's record it must select.
struct Case {
    name: &'static str,
    arguments: fn(&Cast) -> Vec<String>,
    selects: fn(&Socket) -> bool,
    shows: fn(&Record) -> bool,
}

/// Who took part.
struct Cast {
    alice: u32,
    carol: u32,
    bobs_netns: u32,
    carols_cgroup: String,
}

/// What the record says of a life as a whole.
struct Socket {
    role: &'static str,
    local: (IpAddr, u16),
    remote: (IpAddr, u16),
}

impl Socket {
    fn of(life: &Life<Record>) -> Result<Self> {
        let last = life.steps.last().context("a life without a step")?;
        Ok(Self {
            role: life.role()?,
            local: (last.local.0.to_canonical(), last.local.1),
            remote: (last.remote.0.to_canonical(), last.remote.1),
        })
    }

    fn has_port(&self, number: u16) -> bool {
        self.is_at(number) || self.is_to(number)
    }

    fn is_at(&self, number: u16) -> bool {
        self.local.1 == SCOPE.port(number)
    }

    fn is_to(&self, number: u16) -> bool {
        self.remote.1 == SCOPE.port(number)
    }

    fn is_v4(&self) -> bool {
        self.remote.0.is_ipv4()
    }

    fn listens(&self) -> bool {
        self.role == "listener"
    }

    /// Connected by Carol.
    fn is_carols(&self) -> bool {
        self.local.0 == IpAddr::V4(SCOPE.loopback(CAROL_HOST))
    }

    fn is_bobs(&self) -> bool {
        self.has_port(BOB_V4)
    }
}

const CASES: &[Case] = &[
    Case {
        name: "port_of_either_side",
        arguments: |_| of_port("--port", &[ALICE_V4]),
        selects: |socket| socket.has_port(ALICE_V4),
        shows: every,
    },
    Case {
        name: "port_list_and_range",
        arguments: |_| {
            let range = format!(
                "{},{}-{}",
                SCOPE.port(BOB_V4),
                SCOPE.port(ALICE_V6),
                SCOPE.port(ALICE_BOTH)
            );
            vec!["--port".to_owned(), range]
        },
        selects: |socket| {
            [BOB_V4, ALICE_V6, ALICE_BOTH]
                .iter()
                .any(|port| socket.has_port(*port))
        },
        shows: every,
    },
    Case {
        name: "local_port_of_the_server",
        arguments: |_| of_port("--local-port", &[ALICE_V4]),
        selects: |socket| socket.is_at(ALICE_V4),
        shows: every,
    },
    Case {
        name: "local_port_of_a_bound_client",
        arguments: |_| of_port("--local-port", &[CAROL_BOUND]),
        selects: |socket| socket.is_at(CAROL_BOUND),
        shows: every,
    },
    Case {
        name: "remote_port_of_an_unbound_client",
        arguments: |_| of_port("--remote-port", &[ALICE_V4]),
        selects: |socket| socket.is_to(ALICE_V4),
        shows: every,
    },
    Case {
        name: "remote_port_of_the_server_side",
        arguments: |_| of_port("--remote-port", &[CAROL_BOUND]),
        selects: |socket| socket.is_to(CAROL_BOUND),
        shows: every,
    },
    Case {
        name: "address",
        arguments: |_| of("--addr", SCOPE.loopback(CAROL_HOST)),
        selects: |socket| {
            let carol = IpAddr::V4(SCOPE.loopback(CAROL_HOST));
            socket.local.0 == carol || socket.remote.0 == carol
        },
        shows: every,
    },
    Case {
        name: "network",
        arguments: |_| of("--addr", format_args!("{}/26", SCOPE.loopback(64))),
        selects: Socket::is_bobs,
        shows: every,
    },
    Case {
        name: "network_of_mapped_addresses",
        arguments: |_| of("--addr", format_args!("{}/26", SCOPE.loopback(0))),
        selects: |socket| {
            let alice = IpAddr::V4(SCOPE.loopback(ALICE_HOST));
            socket.local.0 == alice || socket.remote.0 == alice
        },
        shows: every,
    },
    Case {
        name: "ipv6_network",
        arguments: |_| of("--addr", format_args!("{}/64", SCOPE.v6(0))),
        selects: |socket| {
            let v6 = IpAddr::V6(SCOPE.v6(1));
            socket.local.0 == v6 || socket.remote.0 == v6
        },
        shows: every,
    },
    Case {
        name: "ipv4_only",
        arguments: |_| with_all_ports("-4"),
        selects: |socket| socket.is_v4() || socket.listens() && !socket.is_at(ALICE_V6),
        shows: every,
    },
    Case {
        name: "ipv6_only",
        arguments: |_| with_all_ports("-6"),
        selects: |socket| !socket.is_v4(),
        shows: every,
    },
    Case {
        name: "pid",
        arguments: |cast| of("--pid", cast.alice),
        selects: |socket| !socket.is_bobs() && !socket.is_carols(),
        shows: every,
    },
    Case {
        name: "pid_of_a_client",
        arguments: |cast| of("--pid", cast.carol),
        selects: Socket::is_carols,
        shows: every,
    },
    Case {
        name: "command",
        arguments: |_| of("--comm", stage::comm_of("bob")),
        selects: Socket::is_bobs,
        shows: every,
    },
    Case {
        name: "cgroup",
        arguments: |cast| of("--cgroup", &cast.carols_cgroup),
        selects: Socket::is_carols,
        shows: every,
    },
    Case {
        name: "cgroup_above",
        arguments: |cast| {
            let above = cast.carols_cgroup.rsplit_once('/');
            of("--cgroup", above.map_or("/", |(above, _)| above))
        },
        selects: Socket::is_carols,
        shows: every,
    },
    Case {
        name: "container",
        arguments: |_| of("--container", CAROLS_CONTAINER.split_at(12).0),
        selects: Socket::is_carols,
        shows: every,
    },
    Case {
        name: "network_namespace",
        arguments: |cast| of("--netns", cast.bobs_netns),
        selects: Socket::is_bobs,
        shows: every,
    },
    Case {
        name: "port_and_pid",
        arguments: |cast| {
            let mut arguments = of_port("--port", &[ALICE_V4]);
            arguments.extend(of("--pid", cast.carol));
            arguments
        },
        selects: |socket| socket.is_carols() && socket.has_port(ALICE_V4),
        shows: every,
    },
    Case {
        name: "state_shows_only",
        arguments: |_| {
            let mut arguments = of_port("--port", &[ALICE_V4]);
            arguments.extend(of("--state", "established"));
            arguments
        },
        selects: |socket| socket.has_port(ALICE_V4),
        shows: |record| [&record.old, &record.new].contains(&&"TCP_ESTABLISHED".to_owned()),
    },
    Case {
        name: "transition_shows_only",
        arguments: |_| {
            let mut arguments = of_port("--port", &[ALICE_V4]);
            arguments.extend(of("--transition", "LAST_ACK->*"));
            arguments
        },
        selects: |socket| socket.has_port(ALICE_V4),
        shows: |record| record.old == "TCP_LAST_ACK",
    },
];

fn every(_: &Record) -> bool {
    true
}

fn of(option: &str, value: impl Display) -> Vec<String> {
    vec![option.to_owned(), format!("{value}")]
}

fn of_port(option: &str, numbers: &[u16]) -> Vec<String> {
    let ports = numbers.iter().map(|number| SCOPE.port(*number).to_string());
    of(option, ports.collect::<Vec<_>>().join(","))
}

fn with_all_ports(option: &str) -> Vec<String> {
    let ports = SCOPE.ports();
    let mut arguments = of("--port", format_args!("{}-{}", ports.start, ports.end - 1));
    arguments.push(option.to_owned());
    arguments
}

/// Names of the tests.
pub(crate) fn names() -> Vec<String> {
    CASES
        .iter()
        .map(|case| format!("{PREFIX}{}", case.name))
        .collect()
}

/// Runs those that are wanted.
pub(crate) fn run(wanted: &[String]) -> Results {
    let cases: Vec<&Case> = CASES
        .iter()
        .filter(|case| wanted.contains(&format!("{PREFIX}{}", case.name)))
        .collect();
    match observe(&cases) {
        Ok((records, outputs)) => cases
            .into_iter()
            .zip(outputs)
            .map(|(case, output)| {
                let verdict = output.and_then(|outputs| judge_each(case, &records, &outputs));
                (format!("{PREFIX}{}", case.name), verdict)
            })
            .collect(),
        Err(error) => {
            let failure = |name: &String| (name.clone(), Err(anyhow::anyhow!("{error:#}")));
            wanted.iter().map(failure).collect()
        }
    }
}

/// The ways to what a filter selects.
struct Outputs {
    live: Output,
    /// Of what was recorded with the filter.
    recorded: Output,
    /// With the filter, of a recording of all.
    replayed: Output,
}

fn judge_each(case: &Case, records: &[Record], outputs: &Outputs) -> Result<Verdict> {
    judge(case, records, &outputs.recorded).context("recorded with the filter")?;
    judge(case, records, &outputs.replayed).context("replayed with the filter")?;
    judge(case, records, &outputs.live)
}

fn judge(case: &Case, records: &[Record], output: &Output) -> Result<Verdict> {
    output.ensure_complete()?;
    let mut selected = Vec::new();
    for life in lives::lives(records)? {
        if (case.selects)(&Socket::of(&life)?) {
            selected.extend(life.steps.into_iter().filter(case.shows));
        }
    }
    ensure!(!selected.is_empty(), "the workload has nothing to select");
    ensure!(
        selected.len() < records.len(),
        "the workload has nothing to leave out"
    );
    compare::ensure_equal(&selected, &output.transitions)?;
    Ok(Verdict::Passed)
}

/// Lets Alice, Bob and Carol talk while tracer watches with each of the filters.
fn observe(cases: &[&Case]) -> Result<(Vec<Record>, Vec<Result<Outputs>>)> {
    let here = Namespace::new()?;
    let there = Namespace::new()?;
    here.loopback_address(SCOPE.v6(1).into())?;

    let start = |name: &str, namespace: &Namespace, meetings: &[String]| {
        namespace.run(|| Actor::start(name, "talk", meetings, Stdio::piped()))
    };
    let mut alice = start("alice", &here, &alices_meetings())?;
    let mut bob = start("bob", &there, &bobs_meetings())?;
    let mut carol = start("carol", &here, &carols_meetings())?;
    let cgroup = Cgroup::new(&format!("carol.slice/docker-{CAROLS_CONTAINER}.scope"))?;
    cgroup.take_in(carol.pid())?;
    let cast = Cast {
        alice: alice.pid(),
        carol: carol.pid(),
        bobs_netns: there.inode(),
        carols_cgroup: cgroup.path(),
    };

    let oracle = Oracle::start(&SCOPE.ports(), BUFFER_KIB)?;
    let tracers = cases
        .iter()
        .map(|case| Tracer::start(&(case.arguments)(&cast)))
        .collect::<Result<Vec<_>>>()?;
    let scratch = Scratch::new()?;
    let file = |number: usize| scratch.path(&format!("{number}.tracer"));
    let recorders = cases
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let mut arguments = (case.arguments)(&cast);
            // Whole connections are recorded, whatever part of them is shown.
            if let Some(at) = arguments.iter().position(|argument| is_of_view(argument)) {
                arguments.truncate(at);
            }
            Recorder::start(&file(number), &arguments)
        })
        .collect::<Result<Vec<_>>>()?;
    let everything = scratch.path("everything.tracer");
    let of_all = Recorder::start(&everything, &[""; 0])?;
    alice.go()?;
    alice.await_ready()?;
    bob.go()?;
    bob.await_ready()?;
    carol.go()?;
    carol.await_ready()?;
    for actor in [carol, bob, alice] {
        actor.finish()?;
    }
    for namespace in [&here, &there] {
        stage::await_open_sockets(namespace, 0)?;
    }
    let lives = tracers.into_iter().map(Tracer::stop).collect::<Vec<_>>();
    for recorder in recorders {
        recorder.stop()?;
    }
    of_all.stop()?;
    let files = [everything];
    let outputs = cases.iter().zip(lives).enumerate();
    let outputs = outputs.map(|(number, (case, live))| {
        let arguments = (case.arguments)(&cast);
        let of_view = arguments.iter().position(|argument| is_of_view(argument));
        let (_, shown) = arguments.split_at(of_view.unwrap_or(arguments.len()));
        Ok(Outputs {
            live: live?,
            recorded: Tracer::replay(&[file(number)], shown)?.wait()?,
            replayed: Tracer::replay(&files, &arguments)?.wait()?,
        })
    });
    Ok((oracle.finish()?, outputs.collect()))
}

/// Whether it chooses what is shown of connections.
fn is_of_view(argument: &str) -> bool {
    ["--state", "--transition"].contains(&argument)
}

/// Meetings, in the words of the role `talk`.
fn alices_meetings() -> Vec<String> {
    let mapped = SCOPE.loopback(ALICE_HOST).to_ipv6_mapped();
    let v4 = SocketAddr::from((SCOPE.loopback(ALICE_HOST), SCOPE.port(ALICE_V4)));
    let v6 = SocketAddr::from((SCOPE.v6(1), SCOPE.port(ALICE_V6)));
    let both = SCOPE.port(ALICE_BOTH);
    vec![
        format!("listen={v4}"),
        format!("listen={v6}"),
        format!("listen=[::]:{both}"),
        format!("meet={v4}"),
        format!("meet={v6}"),
        format!("meet={}:{both}", SCOPE.loopback(ALICE_HOST)),
        format!("meet=[{mapped}]:{both}"),
        format!("meet=[{}]:{both}", SCOPE.v6(1)),
    ]
}

fn bobs_meetings() -> Vec<String> {
    let v4 = SocketAddr::from((SCOPE.loopback(BOB_HOST), SCOPE.port(BOB_V4)));
    vec![
        format!("listen={v4}"),
        format!("meet={v4}"),
        format!("meet={v4}"),
    ]
}

fn carols_meetings() -> Vec<String> {
    let alice = SocketAddr::from((SCOPE.loopback(ALICE_HOST), SCOPE.port(ALICE_V4)));
    let carol = SCOPE.loopback(CAROL_HOST);
    vec![
        format!("from={carol}:0"),
        format!("ask={alice}"),
        format!("from={carol}:{}", SCOPE.port(CAROL_BOUND)),
        format!("ask={alice}"),
    ]
}
