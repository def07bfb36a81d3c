//! IPv6, IPv4 in IPv6 sockets, and a real network between the two sides.

use std::net::{Ipv6Addr, SocketAddr};

use anyhow::Result;
use socket2::{Domain, SockAddr};

use super::{CLIENT_FIRST, LISTENER, SERVER_SECOND, Scenario};
use crate::netns::Cable;
use crate::stage::{self, Stage};

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "ipv6",
        play: ipv6,
        sockets: &[LISTENER.v6(), CLIENT_FIRST.v6(), SERVER_SECOND.v6()],
    },
    Scenario {
        name: "mapped_client",
        play: mapped_client,
        sockets: &[LISTENER, CLIENT_FIRST.v6(), SERVER_SECOND],
    },
    Scenario {
        name: "dual_stack_listener",
        play: dual_stack_listener,
        sockets: &[
            LISTENER.v6(),
            CLIENT_FIRST,
            CLIENT_FIRST.v6(),
            SERVER_SECOND.v6().times(2),
        ],
    },
    Scenario {
        name: "between_namespaces",
        play: between_namespaces,
        sockets: &[
            LISTENER,
            CLIENT_FIRST.bytes(8, 8).times(20),
            SERVER_SECOND.bytes(8, 8).times(20),
        ],
    },
];

fn ipv6(stage: &Stage) -> Result<()> {
    let place = (stage.loopback_v6(1)?, stage.port(0)).into();
    let (_listener, client, server) = stage::pair_at(place)?;
    stage::close_in_order(client, server)
}

/// An IPv6 socket that talks IPv4.
fn mapped_client(stage: &Stage) -> Result<()> {
    let listener = stage::listen(stage.place())?;
    let mapped = stage.loopback(1).to_ipv6_mapped();
    let socket = stage::socket(Domain::IPV6)?;
    socket.connect(&SockAddr::from(SocketAddr::from((mapped, stage.port(0)))))?;
    let server = stage::accept(&listener)?;
    stage::close_in_order(socket.into(), server)
}

/// One IPv6 socket that listens for both.
fn dual_stack_listener(stage: &Stage) -> Result<()> {
    let v6 = stage.loopback_v6(1)?;
    let socket = stage::socket(Domain::IPV6)?;
    socket.set_only_v6(false)?;
    let everywhere = SocketAddr::from((Ipv6Addr::UNSPECIFIED, stage.port(0)));
    socket.bind(&everywhere.into())?;
    socket.listen(16)?;
    let listener = socket.into();
    let places = [stage.place(), (v6, stage.port(0)).into()];
    places.into_iter().try_for_each(|place: SocketAddr| {
        let client = stage::connect(place)?;
        let server = stage::accept(&listener)?;
        stage::close_in_order(client, server)
    })
}

fn between_namespaces(stage: &Stage) -> Result<()> {
    let other = stage.namespace()?;
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    Cable::lay(["left", "right"], [stage.home(), &other], addrs)?;
    let place = SocketAddr::from((stage.wire(0, 2), stage.port(0)));
    let listener = other.run(|| stage::listen(place))?;
    (0..20).try_for_each(|_| {
        let mut client = stage::connect(place)?;
        let server = stage::accept(&listener)?;
        std::thread::scope(|scope| {
            let asked = scope.spawn(|| stage::ask(&mut client));
            stage::answer(server)?;
            asked
                .join()
                .map_err(|_| anyhow::anyhow!("a thread panicked"))?
        })
    })
}
