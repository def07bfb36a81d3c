//! Which connections are wanted, and which of their transitions are shown.
//!
//! A kernel event often says less than the filter asks: the local port of `CLOSED -> SYN_SENT` may
//! still have to be chosen, older kernels report `LISTEN -> SYN_RECEIVED` without a remote side, and
//! nobody owns a connection that has not been accepted. So [`Filter::verdict`] has three answers, and
//! [`Verdict::Undecided`] means: ask again when more is known. Several options must all match; within
//! one option any entry will do.

mod ports;
mod prefix;
mod show;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;

use crate::event::{Comm, Endpoint, Family};
use crate::place::Place;

pub use ports::{PortSet, PortSetError};
pub use prefix::{PrefixError, parse_prefix};
pub use show::{Show, TransitionError, TransitionPattern, parse_transition};

/// Selects connections. The default selects every one; an empty list asks nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Port of either side.
    pub ports: PortSet,
    /// Port of this side.
    pub local_ports: PortSet,
    /// Port of the other side. Selects no listener: it has no other side.
    pub remote_ports: PortSet,
    /// Address of either side. An IPv4 network matches v4-mapped addresses of IPv6 sockets.
    ///
    /// A listener is selected when the address it is bound to is in the network, and a wildcard bind
    /// counts as the address `0.0.0.0` or `::` (`::` as both): a network mostly names a peer, and that
    /// every wildcard listener of the machine could be reached from it would only bury the answer.
    /// The connections that come out of such a listener have addresses of their own.
    pub prefixes: Vec<IpNet>,
    /// Internet protocol on the wire.
    pub families: FamilyFilter,
    /// Process id of the owner.
    pub pids: Vec<u32>,
    /// Command name of the owner, exact.
    pub comms: Vec<Comm>,
    /// Path of a cgroup: the owner's process was in it or below it. Where that is not known it was not.
    pub cgroups: Vec<String>,
    /// Beginning of the id of the container that the owner's process was in.
    pub containers: Vec<String>,
    /// Inode number of the network namespace. A connection whose namespace is not known never matches.
    pub netns: Vec<u32>,
    /// One that must select the connection as well: that of the recording it comes from.
    pub within: Option<Box<Self>>,
}

/// Internet protocol wanted, by what is on the wire: a v4-mapped connection is IPv4. A listener on
/// `::` can serve both, so either selects it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FamilyFilter {
    /// Both.
    #[default]
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Whether a connection is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is.
    Yes,
    /// It is not.
    No,
    /// What is known so far does not say.
    Undecided,
}

impl Verdict {
    fn of(selected: bool) -> Self {
        if selected { Self::Yes } else { Self::No }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::No, _) | (_, Self::No) => Self::No,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::Yes, Self::Yes) => Self::Yes,
        }
    }

    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Yes, _) | (_, Self::Yes) => Self::Yes,
            (Self::Undecided, _) | (_, Self::Undecided) => Self::Undecided,
            (Self::No, Self::No) => Self::No,
        }
    }
}

/// What is known so far of a connection, as far as a filter asks. Port 0 and the unspecified address
/// mean "not known yet".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Inode number of the network namespace.
    pub netns: Option<u32>,
    /// Address family of the socket.
    pub family: Family,
    /// This side.
    pub local: Endpoint,
    /// The other side.
    pub remote: Endpoint,
    /// It is a listener: there is no other side, and an unspecified address is the one it is bound to.
    pub listener: bool,
    /// What [`Filter::owner_matches`] said of the owners known so far.
    pub owner: Verdict,
}

impl Filter {
    /// Both filters at once. Where both ask for the owner, one process must satisfy both.
    #[must_use]
    pub fn and_within(self, outer: Self) -> Self {
        if outer == Self::default() {
            self
        } else if self == Self::default() {
            outer
        } else {
            Self {
                within: Some(Box::new(outer)),
                ..self
            }
        }
    }

    /// Whether a connection is wanted, from what is known of it. `Yes` and `No` are final.
    pub fn verdict(&self, known: &Known) -> Verdict {
        let own = self.own_verdict(known);
        match &self.within {
            Some(outer) => own.and(outer.verdict(known)),
            None => own,
        }
    }

    fn own_verdict(&self, known: &Known) -> Verdict {
        self.netns_verdict(known)
            .and(self.port_verdict(known))
            .and(self.prefix_verdict(known))
            .and(self.family_verdict(known))
            .and(if self.asks_owner() {
                known.owner
            } else {
                Verdict::Yes
            })
    }

    /// Whether `pids`, `comms`, `cgroups` and `containers` all accept this process.
    pub fn owner_matches(&self, pid: u32, comm: &Comm, place: Option<&Place>) -> bool {
        (self.pids.is_empty() || self.pids.contains(&pid))
            && (self.comms.is_empty()
                || self
                    .comms
                    .iter()
                    .any(|wanted| wanted.as_bytes() == comm.as_bytes()))
            && self.place_matches(place)
            && self
                .within
                .as_ref()
                .is_none_or(|outer| outer.owner_matches(pid, comm, place))
    }

    /// Whether `cgroups` and `containers` both accept a process that belongs there.
    pub fn place_matches(&self, place: Option<&Place>) -> bool {
        let container = place.and_then(|place| place.container.as_ref());
        (self.cgroups.is_empty()
            || place.is_some_and(|place| self.cgroups.iter().any(|path| place.is_within(path))))
            && (self.containers.is_empty()
                || container.is_some_and(|container| {
                    let begins = |wanted: &String| container.id.starts_with(wanted);
                    self.containers.iter().any(begins)
                }))
    }

    /// Whether it matters where a process belongs.
    pub fn asks_place(&self) -> bool {
        !(self.cgroups.is_empty() && self.containers.is_empty())
    }

    fn asks_owner(&self) -> bool {
        !(self.pids.is_empty() && self.comms.is_empty()) || self.asks_place()
    }

    fn netns_verdict(&self, known: &Known) -> Verdict {
        Verdict::of(
            self.netns.is_empty() || known.netns.is_some_and(|inode| self.netns.contains(&inode)),
        )
    }

    fn port_verdict(&self, known: &Known) -> Verdict {
        let remote = |set: &PortSet| {
            if known.listener {
                Verdict::No
            } else {
                port_in(set, known.remote.port)
            }
        };
        let local = |set: &PortSet| port_in(set, known.local.port);
        let asked = |set: &PortSet, answer: &dyn Fn(&PortSet) -> Verdict| {
            if set.is_empty() {
                Verdict::Yes
            } else {
                answer(set)
            }
        };
        asked(&self.ports, &|set| local(set).or(remote(set)))
            .and(asked(&self.local_ports, &local))
            .and(asked(&self.remote_ports, &remote))
    }

    fn prefix_verdict(&self, known: &Known) -> Verdict {
        if self.prefixes.is_empty() {
            return Verdict::Yes;
        }
        let contains = |addr: IpAddr| self.prefixes.iter().any(|prefix| prefix.contains(&addr));
        let local = known.local.wire_addr();
        if known.listener {
            let serves_ipv4 = known.family == Family::Inet6 && local.is_unspecified();
            return Verdict::of(
                contains(local) || serves_ipv4 && contains(Ipv4Addr::UNSPECIFIED.into()),
            );
        }
        let side = |addr: IpAddr| {
            if addr.is_unspecified() {
                Verdict::Undecided
            } else {
                Verdict::of(contains(addr))
            }
        };
        side(local).or(side(known.remote.wire_addr()))
    }

    fn family_verdict(&self, known: &Known) -> Verdict {
        let wanted_v4 = match self.families {
            FamilyFilter::Any => return Verdict::Yes,
            FamilyFilter::V4 => true,
            FamilyFilter::V6 => false,
        };
        match known.family {
            Family::Inet => Verdict::of(wanted_v4),
            Family::Inet6 => [known.remote, known.local]
                .iter()
                .map(Endpoint::wire_addr)
                .find(|addr| !addr.is_unspecified())
                .map_or(
                    if known.listener {
                        Verdict::Yes
                    } else {
                        Verdict::Undecided
                    },
                    |addr| Verdict::of(addr.is_ipv4() == wanted_v4),
                ),
            Family::Other(_) => Verdict::No,
        }
    }
}

fn port_in(set: &PortSet, port: u16) -> Verdict {
    if port == 0 {
        Verdict::Undecided
    } else {
        Verdict::of(set.contains(port))
    }
}
