//! The few rtnetlink requests needed to build small networks, without `ip` or `tc`.
//!
//! A virtual machine that runs these tests holds one static binary and nothing else.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_REPLACE: u16 = 0x100;
const NLM_F_EXCL: u16 = 0x200;
const NLM_F_CREATE: u16 = 0x400;
const NLMSG_ERROR: u16 = 2;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_NEWROUTE: u16 = 24;
const RTM_NEWNEIGH: u16 = 28;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;

/// A socket to the kernel's routing tables, in the network namespace of the thread that opened it.
pub(crate) struct Rtnl {
    socket: OwnedFd,
    sequence: u32,
}

/// What a route does with packets.
pub(crate) enum Hop {
    /// Sends them to this router.
    Via(IpAddr),
    /// Answers with ICMP host unreachable.
    Unreachable,
}

impl Rtnl {
    pub(crate) fn open() -> io::Result<Self> {
        // Protocol 0 of netlink is `NETLINK_ROUTE`.
        let socket = rustix::net::socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            None,
        )?;
        rustix::net::bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }

    /// Brings an interface up.
    pub(crate) fn link_up(&mut self, name: &str) -> io::Result<()> {
        let mut message = Message::default();
        message.link_header(self.index(name)?, true);
        self.request(RTM_NEWLINK, 0, message)
    }

    /// Creates a veth pair: `name` here, `peer_name` in the namespace `peer_netns`.
    pub(crate) fn add_veth(
        &mut self,
        name: &str,
        mac: [u8; 6],
        peer_name: &str,
        peer_mac: [u8; 6],
        peer_netns: impl AsFd,
    ) -> io::Result<()> {
        let netns = peer_netns.as_fd().as_raw_fd();
        let mut message = Message::default();
        message.link_header(0, false);
        message.text(IFLA_IFNAME, name);
        message.attribute(IFLA_ADDRESS, &mac);
        message.nested(IFLA_LINKINFO, |info| {
            info.text(IFLA_INFO_KIND, "veth");
            info.nested(IFLA_INFO_DATA, |data| {
                data.nested(VETH_INFO_PEER, |peer| {
                    peer.link_header(0, false);
                    peer.text(IFLA_IFNAME, peer_name);
                    peer.attribute(IFLA_ADDRESS, &peer_mac);
                    peer.attribute(IFLA_NET_NS_FD, &netns.to_ne_bytes());
                });
            });
        });
        self.request(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, message)
    }

    /// Gives an interface an address. IPv6 ones are usable at once (no duplicate detection).
    pub(crate) fn add_address(&mut self, name: &str, addr: IpAddr, prefix: u8) -> io::Result<()> {
        const IFA_F_NODAD: u8 = 0x02;
        let mut message = Message::default();
        message.bytes(&[family(addr), prefix, IFA_F_NODAD, 0]);
        message.bytes(&self.index(name)?.to_ne_bytes());
        message.address(IFA_LOCAL, addr);
        message.address(IFA_ADDRESS, addr);
        self.request(RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, message)
    }

    /// Adds a route.
    pub(crate) fn add_route(&mut self, to: IpAddr, prefix: u8, hop: &Hop) -> io::Result<()> {
        const RT_TABLE_MAIN: u8 = 254;
        const RTPROT_STATIC: u8 = 4;
        const RT_SCOPE_UNIVERSE: u8 = 0;
        let kind = match hop {
            Hop::Via(_) => 1,
            Hop::Unreachable => 7,
        };
        let mut message = Message::default();
        message.bytes(&[family(to), prefix, 0, 0]);
        message.bytes(&[RT_TABLE_MAIN, RTPROT_STATIC, RT_SCOPE_UNIVERSE, kind]);
        message.bytes(&[0; 4]);
        message.address(RTA_DST, to);
        if let Hop::Via(gateway) = hop {
            message.address(RTA_GATEWAY, *gateway);
        }
        self.request(RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, message)
    }

    /// Fixes the link-layer address of a neighbour, replacing what was known.
    pub(crate) fn set_neighbour(&mut self, name: &str, of: IpAddr, mac: [u8; 6]) -> io::Result<()> {
        const NUD_PERMANENT: u16 = 0x80;
        let mut message = Message::default();
        message.bytes(&[family(of), 0, 0, 0]);
        message.bytes(&self.index(name)?.to_ne_bytes());
        message.bytes(&NUD_PERMANENT.to_ne_bytes());
        message.bytes(&[0, 0]);
        message.address(NDA_DST, of);
        message.attribute(NDA_LLADDR, &mac);
        self.request(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE, message)
    }

    /// Limits what an interface sends to `bytes_per_second` with a token bucket of `burst_bytes`;
    /// what exceeds it waits its turn.
    pub(crate) fn set_rate(
        &mut self,
        name: &str,
        bytes_per_second: u32,
        burst_bytes: u32,
    ) -> io::Result<()> {
        const LINKLAYER_ETHERNET: u8 = 1;
        const QUEUE_LIMIT_BYTES: u32 = 1 << 20;
        let mut message = Message::default();
        message.traffic_header(self.index(name)?);
        message.text(TCA_KIND, "tbf");
        message.nested(TCA_OPTIONS, |options| {
            let mut parameters = Vec::new();
            parameters.extend([0, LINKLAYER_ETHERNET, 0, 0, 0, 0, 0, 0]);
            parameters.extend(bytes_per_second.to_ne_bytes());
            parameters.extend([0; 12]);
            parameters.extend(QUEUE_LIMIT_BYTES.to_ne_bytes());
            parameters.extend([0; 8]);
            options.attribute(TCA_TBF_PARMS, &parameters);
            options.attribute(TCA_TBF_BURST, &burst_bytes.to_ne_bytes());
        });
        self.request(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE, message)
    }

    /// Takes the limit of [`Self::set_rate`] away, with all that still waits there.
    pub(crate) fn clear_rate(&mut self, name: &str) -> io::Result<()> {
        let mut message = Message::default();
        message.traffic_header(self.index(name)?);
        self.request(RTM_DELQDISC, 0, message)
    }

    fn index(&self, name: &str) -> io::Result<i32> {
        let index = rustix::net::netdevice::name_to_index(&self.socket, name)?;
        i32::try_from(index).map_err(io::Error::other)
    }

    fn request(&mut self, kind: u16, flags: u16, message: Message) -> io::Result<()> {
        self.sequence += 1;
        let body = message.0;
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut packet = Vec::with_capacity(16 + body.len());
        packet.extend(length.to_ne_bytes());
        packet.extend(kind.to_ne_bytes());
        packet.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
        packet.extend(self.sequence.to_ne_bytes());
        packet.extend([0; 4]);
        packet.extend(body);
        rustix::net::send(&self.socket, &packet, SendFlags::empty())?;

        let mut answer = [0_u8; 4096];
        let (filled, _) = rustix::net::recv(&self.socket, &mut answer, RecvFlags::empty())?;
        let answer = answer.get(..filled).unwrap_or_default();
        let kind = field(answer, 4).map(u16::from_ne_bytes);
        let code = field(answer, 16).map(i32::from_ne_bytes);
        match (kind, code) {
            (Some(NLMSG_ERROR), Some(0)) => Ok(()),
            (Some(NLMSG_ERROR), Some(code)) => Err(io::Error::from_raw_os_error(-code)),
            _ => Err(io::Error::other("rtnetlink sent no acknowledgement")),
        }
    }
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

fn family(addr: IpAddr) -> u8 {
    if addr.is_ipv4() { 2 } else { 10 }
}

const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_LINKINFO: u16 = 18;
const IFLA_NET_NS_FD: u16 = 28;
const IFLA_INFO_KIND: u16 = 1;
const IFLA_INFO_DATA: u16 = 2;
const VETH_INFO_PEER: u16 = 1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const RTA_DST: u16 = 1;
const RTA_GATEWAY: u16 = 5;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_BURST: u16 = 6;

/// The body of a request: a fixed header, then attributes.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend(bytes);
    }

    /// `struct ifinfomsg`
    fn link_header(&mut self, index: i32, up: bool) {
        const IFF_UP: u32 = 1;
        let flags = if up { IFF_UP } else { 0 };
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
        self.bytes(&flags.to_ne_bytes());
    }

    /// `struct tcmsg` of the root queue
    fn traffic_header(&mut self, index: i32) {
        const TC_H_ROOT: u32 = u32::MAX;
        self.bytes(&[0; 4]);
        self.bytes(&index.to_ne_bytes());
        self.bytes(&[0; 4]);
        self.bytes(&TC_H_ROOT.to_ne_bytes());
        self.bytes(&[0; 4]);
    }

    fn attribute(&mut self, kind: u16, value: &[u8]) {
        self.nested(kind, |inside| inside.bytes(value));
    }

    fn text(&mut self, kind: u16, text: &str) {
        self.nested(kind, |inside| {
            inside.bytes(text.as_bytes());
            inside.bytes(&[0]);
        });
    }

    fn address(&mut self, kind: u16, addr: IpAddr) {
        match addr {
            IpAddr::V4(v4) => self.attribute(kind, &v4.octets()),
            IpAddr::V6(v6) => self.attribute(kind, &v6.octets()),
        }
    }

    fn nested(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let mut inside = Self::default();
        fill(&mut inside);
        let length = u16::try_from(4 + inside.0.len()).unwrap_or(u16::MAX);
        self.bytes(&length.to_ne_bytes());
        self.bytes(&kind.to_ne_bytes());
        self.bytes(&inside.0);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
