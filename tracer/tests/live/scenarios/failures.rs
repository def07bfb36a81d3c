//! Connections that do not come about.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, ensure};
use socket2::{Domain, Socket};

use super::{Scenario, never_connected};
use crate::netns::rtnl::Hop;
use crate::netns::{Cable, Side};
use crate::stage::{self, Stage};
use crate::tools;

pub(super) const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "refused",
        play: refused,
        sockets: &[never_connected("refused remote")],
    },
    Scenario {
        name: "unreachable_without_route",
        play: unreachable_without_route,
        sockets: &[],
    },
    Scenario {
        name: "unreachable_by_icmp",
        play: unreachable_by_icmp,
        sockets: &[never_connected("unreachable")],
    },
    Scenario {
        name: "unreachable_by_icmp_then_given_up",
        play: unreachable_by_icmp_then_given_up,
        sockets: &[never_connected("unreachable")],
    },
    Scenario {
        name: "unreachable_by_icmp_and_told",
        play: unreachable_by_icmp_and_told,
        sockets: &[never_connected("unreachable")],
    },
    Scenario {
        name: "syn_dropped_by_firewall",
        play: syn_dropped_by_firewall,
        sockets: &[never_connected("timed_out").resent(&["SYN"])],
    },
    Scenario {
        name: "syn_lost_on_the_wire",
        play: syn_lost_on_the_wire,
        sockets: &[never_connected("timed_out")],
    },
    Scenario {
        name: "connect_cancelled",
        play: connect_cancelled,
        sockets: &[never_connected("cancelled local")],
    },
    Scenario {
        name: "connect_disconnected",
        play: connect_disconnected,
        sockets: &[never_connected("cancelled local")],
    },
];

fn refused(stage: &Stage) -> Result<()> {
    expect_error(
        &stage::socket(Domain::IPV4)?,
        stage.place(),
        ErrorKind::ConnectionRefused,
    )
}

/// The kernel knows before it sends anything: the socket never leaves CLOSED.
fn unreachable_without_route(stage: &Stage) -> Result<()> {
    let place = SocketAddr::from((stage.wire(0, 1), stage.port(0)));
    expect_error(
        &stage::socket(Domain::IPV4)?,
        place,
        ErrorKind::NetworkUnreachable,
    )
}

/// A router answers that there is no way; the caller waits and is told.
fn unreachable_by_icmp(stage: &Stage) -> Result<()> {
    let place = behind_router(stage)?;
    expect_error(
        &stage::socket(Domain::IPV4)?,
        place,
        ErrorKind::HostUnreachable,
    )
}

/// As before, but the caller gives up before the kernel does.
fn unreachable_by_icmp_then_given_up(stage: &Stage) -> Result<()> {
    let place = behind_router(stage)?;
    let socket = stage::socket(Domain::IPV4)?;
    stage::start_connect(&socket, place)
}

/// As before, and the caller asks the socket for its error, which takes it out of that.
fn unreachable_by_icmp_and_told(stage: &Stage) -> Result<()> {
    let place = behind_router(stage)?;
    let socket = stage::socket(Domain::IPV4)?;
    stage::start_connect(&socket, place)?;
    stage::await_writable(&socket)?;
    let error = socket.take_error()?.map(|error| error.kind());
    ensure!(error == Some(ErrorKind::HostUnreachable), "{error:?}");
    Ok(())
}

/// A place that a router, the only way to it, calls unreachable.
fn behind_router(stage: &Stage) -> Result<SocketAddr> {
    let router = stage.namespace()?;
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    Cable::lay(["left", "right"], [stage.home(), &router], addrs)?;
    let beyond = stage.wire(1, 0);
    stage
        .home()
        .route(beyond, 24, &Hop::Via(stage.wire(0, 2).into()))?;
    router.route(beyond, 24, &Hop::Unreachable)?;
    router.sysctl("ipv4/ip_forward", "1")?;
    Ok((stage.wire(1, 1), stage.port(0)).into())
}

fn syn_dropped_by_firewall(stage: &Stage) -> Result<()> {
    stage.home().sysctl("ipv4/tcp_syn_retries", "1")?;
    tools::drop_at_port(stage.port(0))?;
    expect_error(
        &stage::socket(Domain::IPV4)?,
        stage.place(),
        ErrorKind::TimedOut,
    )
}

fn syn_lost_on_the_wire(stage: &Stage) -> Result<()> {
    let (socket, place) = cut_off(stage)?;
    socket.set_tcp_user_timeout(Some(Duration::from_millis(500)))?;
    expect_error(&socket, place, ErrorKind::TimedOut)
}

fn connect_cancelled(stage: &Stage) -> Result<()> {
    let (socket, place) = cut_off(stage)?;
    stage::start_connect(&socket, place)
}

/// Given up by `connect` with `AF_UNSPEC`; the socket lives on.
fn connect_disconnected(stage: &Stage) -> Result<()> {
    let (socket, place) = cut_off(stage)?;
    stage::start_connect(&socket, place)?;
    Ok(rustix::net::connect_unspec(&socket)?)
}

/// A socket, and a place to which nothing gets through.
fn cut_off(stage: &Stage) -> Result<(Socket, SocketAddr)> {
    let other = stage.namespace()?;
    let addrs = [stage.wire(0, 1), stage.wire(0, 2)];
    Cable::lay(["left", "right"], [stage.home(), &other], addrs)?.cut(Side::First)?;
    let place = (stage.wire(0, 2), stage.port(0)).into();
    Ok((stage::socket(Domain::IPV4)?, place))
}

fn expect_error(socket: &Socket, place: SocketAddr, kind: ErrorKind) -> Result<()> {
    let result = socket.connect(&place.into());
    let error = result.err().map(|error| error.kind());
    ensure!(error == Some(kind), "connect: {error:?}, not {kind:?}");
    Ok(())
}
