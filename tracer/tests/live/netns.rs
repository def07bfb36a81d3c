//! Network namespaces and the small networks between them.
//!
//! A namespace lives as long as its handle or a process in it: nothing is left behind, whatever
//! becomes of the test.

pub(crate) mod rtnl;

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use nix::sched::CloneFlags;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use rtnl::{Hop, Rtnl};

/// A network namespace whose loopback interface is up.
pub(crate) struct Namespace {
    file: File,
    inode: u32,
}

impl Namespace {
    /// A new one; the calling thread stays where it is.
    pub(crate) fn new() -> Result<Self> {
        on_own_thread(Self::enter_new)
    }

    /// A new one, with the calling thread in it. Threads and processes it starts are in it as well.
    pub(crate) fn enter_new() -> Result<Self> {
        nix::sched::unshare(CloneFlags::CLONE_NEWNET).context("cannot make a network namespace")?;
        let namespace = Self::current()?;
        Rtnl::open()?.link_up("lo").context("cannot bring lo up")?;
        Ok(namespace)
    }

    /// That of the calling thread.
    pub(crate) fn current() -> Result<Self> {
        let file = File::open("/proc/thread-self/ns/net")?;
        let inode = u32::try_from(file.metadata()?.ino())?;
        Ok(Self { file, inode })
    }

    /// The number by which the kernel, `lsns` and tracer know it.
    pub(crate) fn inode(&self) -> u32 {
        self.inode
    }

    /// Runs `work` in the namespace, on a thread of its own. Sockets made there stay there.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        on_own_thread(|| {
            move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                .context("cannot enter a network namespace")?;
            work()
        })
    }

    /// Sets a `net.*` sysctl, by its path below `/proc/sys/net`.
    pub(crate) fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        self.run(|| {
            std::fs::write(format!("/proc/sys/net/{path}"), value)
                .with_context(|| format!("cannot set {path}"))
        })
    }

    /// Adds a route.
    pub(crate) fn route(&self, to: Ipv4Addr, prefix: u8, hop: &Hop) -> Result<()> {
        self.run(|| Ok(Rtnl::open()?.add_route(to.into(), prefix, hop)?))
    }

    /// Gives the loopback interface one more address, and waits until it is used: the kernel completes
    /// an IPv6 one a little later.
    pub(crate) fn loopback_address(&self, addr: IpAddr) -> Result<()> {
        let (prefix, unspecified) = match addr {
            IpAddr::V4(_) => (32, SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))),
            IpAddr::V6(_) => (128, SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))),
        };
        self.run(|| {
            Rtnl::open()?.add_address("lo", addr, prefix)?;
            let receiver = UdpSocket::bind((addr, 0))?;
            receiver.set_read_timeout(Some(Duration::from_millis(5)))?;
            for _ in 0..1000 {
                let sent = UdpSocket::bind(unspecified)?.send_to(&[0], receiver.local_addr()?);
                if sent.is_ok()
                    && receiver
                        .recv_from(&mut [0])
                        .is_ok_and(|(_, by)| by.ip() == addr)
                {
                    return Ok(());
                }
            }
            bail!("the address {addr} does not come into use")
        })
    }
}

fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .map_err(|_| anyhow!("a thread in a network namespace panicked"))?
    })
}

/// A cable between two namespaces that can be cut and slowed down, each direction on its own.
pub(crate) struct Cable<'a> {
    ends: [End<'a>; 2],
}

#[derive(Clone, Copy)]
struct End<'a> {
    namespace: &'a Namespace,
    interface: &'static str,
    addr: Ipv4Addr,
    mac: [u8; 6],
}

/// One end of a [`Cable`], by the order in which they were given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    First,
    Second,
}

/// Of no interface: a frame sent there is not received by anyone.
pub(crate) const NOBODY: [u8; 6] = [2, 0, 0, 0, 0, 0xff];

impl<'a> Cable<'a> {
    /// Lays a cable; both ends get their address (of a /24) and know the other's: no packet besides
    /// those of the test is sent.
    pub(crate) fn lay(
        names: [&'static str; 2],
        namespaces: [&'a Namespace; 2],
        addrs: [Ipv4Addr; 2],
    ) -> Result<Self> {
        let [first_name, second_name] = names;
        let [first, second] = namespaces;
        let [first_addr, second_addr] = addrs;
        let end = |namespace, interface, addr: Ipv4Addr| {
            let [a, b, c, d] = addr.octets();
            End {
                namespace,
                interface,
                addr,
                mac: [2, 0, a, b, c, d],
            }
        };
        let cable = Self {
            ends: [
                end(first, first_name, first_addr),
                end(second, second_name, second_addr),
            ],
        };
        let [one, two] = cable.ends;
        one.namespace
            .run(|| {
                Rtnl::open()?.add_veth(
                    one.interface,
                    one.mac,
                    two.interface,
                    two.mac,
                    &two.namespace.file,
                )?;
                Ok(())
            })
            .context("cannot make a veth pair")?;
        for (end, other) in [(one, two), (two, one)] {
            end.namespace
                .run(|| {
                    let mut rtnl = Rtnl::open()?;
                    rtnl.add_address(end.interface, end.addr.into(), 24)?;
                    rtnl.link_up(end.interface)?;
                    rtnl.set_neighbour(end.interface, other.addr.into(), other.mac)?;
                    Ok(())
                })
                .context("cannot set up a veth interface")?;
        }
        cable.await_carrier(Side::First)?;
        cable.await_carrier(Side::Second)?;
        Ok(cable)
    }

    /// Waits until what `from` sends arrives: the kernel drops packets for a moment after both
    /// interfaces are up.
    fn await_carrier(&self, from: Side) -> Result<()> {
        const PORT: u16 = 9;
        const PAUSE: Duration = Duration::from_millis(10);
        let (end, other) = self.direction(from);
        let receiver = other
            .namespace
            .run(|| Ok(UdpSocket::bind((other.addr, PORT))?))?;
        receiver.set_read_timeout(Some(PAUSE))?;
        let sender = end
            .namespace
            .run(|| Ok(UdpSocket::bind((end.addr, PORT))?))?;
        for _ in 0..500 {
            sender.send_to(&[0], (other.addr, PORT))?;
            if receiver.recv(&mut [0]).is_ok() {
                return Ok(());
            }
        }
        bail!("nothing gets through a veth pair")
    }

    fn direction(&self, from: Side) -> (End<'a>, End<'a>) {
        let [one, two] = self.ends;
        match from {
            Side::First => (one, two),
            Side::Second => (two, one),
        }
    }

    /// From now on nothing that `from` sends arrives, and nobody is told.
    pub(crate) fn cut(&self, from: Side) -> Result<()> {
        let (end, other) = self.direction(from);
        end.namespace
            .run(|| Ok(Rtnl::open()?.set_neighbour(end.interface, other.addr.into(), NOBODY)?))
    }

    /// Undoes [`Self::cut`].
    pub(crate) fn mend(&self, from: Side) -> Result<()> {
        let (end, other) = self.direction(from);
        end.namespace
            .run(|| Ok(Rtnl::open()?.set_neighbour(end.interface, other.addr.into(), other.mac)?))
    }

    /// Holds back what both ends send, as [`Self::hold`] does.
    pub(crate) fn hold_both(&self) -> Result<()> {
        self.hold(Side::First)?;
        self.hold(Side::Second)
    }

    /// Ends what [`Self::hold_both`] began. What is still waiting is lost.
    pub(crate) fn unhold_both(&self) -> Result<()> {
        self.unhold(Side::First)?;
        self.unhold(Side::Second)
    }

    /// Holds back what `from` sends for a tenth of a second, in order: a slow interface and datagrams in
    /// front of everything else.
    pub(crate) fn hold(&self, from: Side) -> Result<()> {
        const DATAGRAM: [u8; 1400] = [0; 1400];
        const BYTES_PER_SECOND: u32 = 8_000;
        const BURST_BYTES: u32 = 2_000;
        const DATAGRAMS: usize = 2;
        let (end, other) = self.direction(from);
        end.namespace.run(|| {
            Rtnl::open()?.set_rate(end.interface, BYTES_PER_SECOND, BURST_BYTES)?;
            let socket = UdpSocket::bind((end.addr, 0))?;
            for _ in 0..DATAGRAMS {
                socket.send_to(&DATAGRAM, (other.addr, 9))?;
            }
            Ok(())
        })
    }

    /// Ends what [`Self::hold`] began. What is still waiting is lost.
    pub(crate) fn unhold(&self, from: Side) -> Result<()> {
        let (end, _) = self.direction(from);
        end.namespace
            .run(|| Ok(Rtnl::open()?.clear_rate(end.interface)?))
    }

    /// Waits until all that `from` has sent so far has arrived.
    pub(crate) fn await_through(&self, from: Side) -> Result<()> {
        const PORT: u16 = 10;
        let (end, other) = self.direction(from);
        let receiver = other
            .namespace
            .run(|| Ok(UdpSocket::bind((other.addr, PORT))?))?;
        receiver.set_read_timeout(Some(Duration::from_secs(10)))?;
        let sender = end.namespace.run(|| Ok(UdpSocket::bind((end.addr, 0))?))?;
        sender.send_to(&[0], (other.addr, PORT))?;
        receiver.recv(&mut [0]).context("nothing gets through")?;
        Ok(())
    }
}
