//! What a socket says of itself, from its structures or from the tracepoint's record.

use aya_ebpf::EbpfContext as _;
use aya_ebpf::programs::TracePointContext;
use tracer_common::config::FILTER_NETNS;
use tracer_common::select::{ESTABLISHED, Facts};
use tracer_common::wire::{
    AT_CLOSE_CGROUP, AT_CLOSE_CONGESTION, AT_CLOSE_FIN, AT_CLOSE_FIN_RECEIVED,
    AT_CLOSE_NETNS_COOKIE, AT_CLOSE_SEGMENTS, AT_CLOSE_UID, AtClose, Counts,
};

use crate::config::setting;
use crate::maps::{Scratch, TcpWindow};
use crate::read::{Plain, field};

const AF_INET6: u16 = 10;
pub(crate) const IPPROTO_TCP: u16 = 6;
const IPPROTO_MPTCP: u16 = 262;
/// Bits of the byte that holds `icsk_ca_state`, 5 or 6 of them, in which its values fit.
const CONGESTION_STATE: u8 = 0x1f;
/// Bit of `enum sock_flags` that `tcp_fin` alone sets of a TCP socket.
const SOCK_DONE: u64 = 1 << 1;
const SYN_SENT: u8 = 2;
/// Of `sock_extended_err.ee_origin`, the byte behind `ee_errno`.
const ORIGIN_ICMP: u8 = 2;
const ORIGIN_ICMP6: u8 = 3;

/// TCP and MPTCP; SCTP and DCCP run through the same tracepoint with the same numbers.
#[inline(always)]
fn is_tcp(protocol: u16) -> bool {
    protocol == IPPROTO_TCP || protocol == IPPROTO_MPTCP
}

/// Why a transition is not delivered.
pub(crate) enum Skip {
    /// Not TCP.
    OtherProtocol,
    /// The kernel refused a read.
    Unreadable,
}

/// Reads the ends of a socket as the tracepoint itself does (`TP_fast_assign` in
/// `include/trace/events/sock.h`), and leaves addresses and family in the record; the namespace only where the
/// filter asks for it. What is left out then has cost two reads: the rest is for those that stay.
#[inline(always)]
pub(crate) fn ends(
    scratch: &mut Scratch,
    sk: u64,
    old_state: i32,
    new_state: i32,
) -> Result<Facts, Skip> {
    scratch.out.state.header.sk = sk;
    read_ends(scratch, sk, old_state, new_state).ok_or(Skip::Unreadable)
}

/// Reads the protocol into the record, if it is one that is told of.
#[inline(always)]
pub(crate) fn protocol(scratch: &mut Scratch, sk: u64) -> Result<(), Skip> {
    let protocol = field::<u16>(sk, setting!(sk_protocol)).ok_or(Skip::Unreadable)?;
    scratch.out.state.protocol = protocol;
    if is_tcp(protocol) {
        Ok(())
    } else {
        Err(Skip::OtherProtocol)
    }
}

/// The port that the socket whose ends were read is bound to.
#[inline(always)]
pub(crate) fn bound_port(scratch: &Scratch) -> Option<u16> {
    scratch.common.get(setting!(skc_num))
}

/// The namespace of the socket whose ends were read.
#[inline(always)]
pub(crate) fn netns(scratch: &Scratch) -> Option<u32> {
    let net = scratch.common.get::<u64>(setting!(skc_net))?;
    field(net, setting!(net_inum))
}

#[inline(always)]
fn read_ends(scratch: &mut Scratch, sk: u64, old_state: i32, new_state: i32) -> Option<Facts> {
    let Scratch {
        out, common, inet, ..
    } = scratch;
    common.read(sk, 0)?;
    inet.read(sk, setting!(inet_window))?;
    let family = common.get::<u16>(setting!(skc_family))?;
    out.state.family = family;
    if family == AF_INET6 {
        out.state.local_addr = common.get(setting!(skc_v6_rcv_saddr))?;
        out.state.remote_addr = common.get(setting!(skc_v6_daddr))?;
    } else {
        out.state.local_addr = mapped(inet.get(setting!(inet_saddr))?);
        out.state.remote_addr = mapped(common.get(setting!(skc_daddr))?);
    }
    let mut facts = Facts {
        old_state,
        new_state,
        local_port: u16::from_be(inet.get(setting!(inet_sport))?),
        remote_port: u16::from_be(common.get(setting!(skc_dport))?),
        bound_port: common.get(setting!(skc_num)),
        netns: None,
    };
    if setting!(filters) & FILTER_NETNS != 0 {
        facts.netns = netns(scratch);
    }
    Some(facts)
}

/// Reads what a TCP socket has counted, with a window to read through; `None` where the kernel's layout is not
/// known.
#[inline(always)]
pub(crate) fn counts(window: &mut TcpWindow, sk: u64) -> Option<Counts> {
    window.read(sk, setting!(tcp_bytes_sent))?;
    Some(Counts {
        bytes_sent: window.get(0)?,
        bytes_acked: counter(window, sk, setting!(tcp_bytes_acked))?,
        bytes_received: counter(window, sk, setting!(tcp_bytes_received))?,
        srtt_us_times_8: counter(window, sk, setting!(tcp_srtt_us))?,
        total_retransmits: counter(window, sk, setting!(tcp_total_retrans))?,
        error: field(sk, setting!(sk_err))?,
        soft_error: field(sk, setting!(sk_err_soft))?,
    })
}

/// One of the counters, once [`counts`] are read: most lie in the window that begins with the first of them.
#[inline(always)]
fn counter<T: Plain>(window: &TcpWindow, sk: u64, offset: u32) -> Option<T> {
    window
        .get(offset.wrapping_sub(setting!(tcp_bytes_sent)))
        .or_else(|| field(sk, offset))
}

/// Reads what is asked of a socket once, at its end, after its [`counts`]; what cannot be read is left out.
#[inline(always)]
pub(crate) fn at_close(window: &TcpWindow, sk: u64) -> AtClose {
    let mut known = 0;
    let mut keep = |flag, value: Option<u32>| {
        known |= if value.is_some() { flag } else { 0 };
        value.unwrap_or(0)
    };
    let uid = keep(AT_CLOSE_UID, field(sk, setting!(sk_uid)));
    let congestion = field::<u8>(sk, setting!(congestion_state));
    let congestion_state = keep(
        AT_CLOSE_CONGESTION,
        congestion.map(|byte| u32::from(byte & CONGESTION_STATE)),
    );
    let netns_cookie = keep(AT_CLOSE_NETNS_COOKIE, netns_cookie(sk));
    if let Some(flags) = field::<u64>(sk, setting!(skc_flags)) {
        known |= AT_CLOSE_FIN;
        if flags & SOCK_DONE != 0 {
            known |= AT_CLOSE_FIN_RECEIVED;
        }
    }
    let segments = segments(window, sk);
    if segments.is_some() {
        known |= AT_CLOSE_SEGMENTS;
    }
    let [
        segments_in,
        data_segments_in,
        segments_out,
        data_segments_out,
    ] = segments.unwrap_or_default();
    let mut cgroup_id = 0;
    if let Some(id) = cgroup(sk) {
        cgroup_id = id;
        known |= AT_CLOSE_CGROUP;
    }
    AtClose {
        known,
        uid,
        cgroup_id,
        segments_in,
        data_segments_in,
        segments_out,
        data_segments_out,
        congestion_state,
        netns_cookie,
    }
}

/// The lower half of the number that no other namespace ever has.
#[inline(always)]
fn netns_cookie(sk: u64) -> Option<u32> {
    let net = field::<u64>(sk, setting!(skc_net))?;
    let cookie = field::<u64>(net, setting!(net_cookie))?;
    Some(cookie as u32)
}

/// Segments received, those of them with data, and likewise sent. Side by side before Linux 7.3.
#[inline(always)]
fn segments(window: &TcpWindow, sk: u64) -> Option<[u32; 4]> {
    Some([
        counter(window, sk, setting!(tcp_segments_in))?,
        counter(window, sk, setting!(tcp_data_segments_in))?,
        counter(window, sk, setting!(tcp_segments_out))?,
        counter(window, sk, setting!(tcp_data_segments_out))?,
    ])
}

/// Id of the cgroup that a socket is counted to.
#[inline(always)]
fn cgroup(sk: u64) -> Option<u64> {
    let cgroup = field::<u64>(sk, setting!(sk_cgroup))?;
    let node = field::<u64>(cgroup, setting!(cgroup_node))?;
    field(node, setting!(node_id))
}

/// Reads the state of a socket of any kind.
#[inline(always)]
pub(crate) fn state(sk: u64) -> Option<u8> {
    field(sk, setting!(skc_state))
}

/// Reads both errors of a socket of which the application is told.
#[inline(always)]
pub(crate) fn errors(sk: u64) -> Option<(u32, u32)> {
    let (error, soft_error) = (
        field(sk, setting!(sk_err))?,
        field(sk, setting!(sk_err_soft))?,
    );
    if error == 0 && soft_error == 0 && state(sk) == Some(SYN_SENT) {
        return Some((0, icmp_error(sk).unwrap_or(0)));
    }
    Some((error, soft_error))
}

/// What an ICMP message has just told. While the caller of `connect` holds the socket, the kernel queues the message,
/// reports an error, and only then makes it the soft one (`tcp_v4_err`, `ip_icmp_error`).
#[inline(always)]
fn icmp_error(sk: u64) -> Option<u32> {
    let prev = setting!(sk_error_queue_prev);
    let skb = field::<u64>(sk, prev)?;
    // An empty queue leads to itself; `prev` is its second pointer.
    if skb == sk + u64::from(prev) - 8 {
        return None;
    }
    let errno = setting!(skb_ee_errno);
    let origin = field::<u8>(skb, errno + 4)?;
    if matches!(origin, ORIGIN_ICMP | ORIGIN_ICMP6) {
        field(skb, errno)
    } else {
        None
    }
}

/// Reads the state of a mini-socket.
#[inline(always)]
pub(crate) fn mini_state(mini: u64) -> Option<u8> {
    field(mini, setting!(tw_substate))
}

/// The MPTCP socket above an accepted TCP socket, if it has one.
#[inline(always)]
pub(crate) fn mptcp_of(sk: u64) -> Option<u64> {
    if field::<u8>(sk, setting!(tcp_is_mptcp))? == 0 {
        return None;
    }
    let subflow = field::<u64>(sk, setting!(icsk_ulp_data))?;
    field::<u64>(subflow, setting!(subflow_conn)).filter(|above| *above != 0)
}

/// Reads the addresses of a half-open connection or of a mini-socket into the record, as that of `sk`: `struct
/// request_sock` and `struct inet_timewait_sock` begin with a `sock_common`.
#[inline(always)]
pub(crate) fn from_common(scratch: &mut Scratch, sk: u64, address: u64) -> Option<Facts> {
    let Scratch { out, common, .. } = scratch;
    common.read(address, 0)?;
    out.state.header.sk = sk;
    let family = common.get(setting!(skc_family))?;
    out.state.family = family;
    if family == AF_INET6 {
        out.state.local_addr = common.get(setting!(skc_v6_rcv_saddr))?;
        out.state.remote_addr = common.get(setting!(skc_v6_daddr))?;
    } else {
        out.state.local_addr = mapped(common.get(setting!(skc_rcv_saddr))?);
        out.state.remote_addr = mapped(common.get(setting!(skc_daddr))?);
    }
    let net = common.get::<u64>(setting!(skc_net)).unwrap_or(0);
    let netns = field::<u32>(net, setting!(net_inum));
    // By way of memory: else the compiler leaves the number of an unknown one undefined in a register that it
    // then saves, which the verifier refuses.
    let memory = &raw mut out.state.netns;
    // SAFETY: a field of memory that is this run's alone.
    let number = unsafe {
        memory.write_volatile(netns.unwrap_or(0));
        memory.read_volatile()
    };
    Some(Facts {
        old_state: ESTABLISHED,
        new_state: ESTABLISHED,
        local_port: common.get(setting!(skc_num))?,
        remote_port: u16::from_be(common.get(setting!(skc_dport))?),
        bound_port: None,
        netns: netns.is_some().then_some(number),
    })
}

/// Reads the record of the classic tracepoint, at the offsets of its `format` file.
#[inline(always)]
pub(crate) fn from_record(scratch: &mut Scratch, ctx: &TracePointContext) -> Result<Facts, Skip> {
    let record = &mut scratch.common;
    record
        .read(ctx.as_ptr() as u64, 0)
        .ok_or(Skip::Unreadable)?;
    let protocol = if setting!(rec_protocol_bytes) == 1 {
        record.get::<u8>(setting!(rec_protocol)).map(u16::from)
    } else {
        record.get::<u16>(setting!(rec_protocol))
    };
    let protocol = protocol.ok_or(Skip::Unreadable)?;
    if !is_tcp(protocol) {
        return Err(Skip::OtherProtocol);
    }
    scratch.out.state.protocol = protocol;
    read_record(scratch).ok_or(Skip::Unreadable)
}

#[inline(always)]
fn read_record(scratch: &mut Scratch) -> Option<Facts> {
    let Scratch {
        out,
        common: record,
        ..
    } = scratch;
    let sk = record.get::<u64>(setting!(rec_skaddr))?;
    out.state.header.sk = sk;
    let family = record.get::<u16>(setting!(rec_family))?;
    out.state.family = family;
    if family == AF_INET6 {
        out.state.local_addr = record.get(setting!(rec_saddr_v6))?;
        out.state.remote_addr = record.get(setting!(rec_daddr_v6))?;
    } else {
        out.state.local_addr = mapped(record.get(setting!(rec_saddr))?);
        out.state.remote_addr = mapped(record.get(setting!(rec_daddr))?);
    }
    let net = field::<u64>(sk, setting!(skc_net)).unwrap_or(0);
    Some(Facts {
        old_state: record.get(setting!(rec_oldstate))?,
        new_state: record.get(setting!(rec_newstate))?,
        local_port: record.get(setting!(rec_sport))?,
        remote_port: record.get(setting!(rec_dport))?,
        bound_port: field(sk, setting!(skc_num)),
        netns: field(net, setting!(net_inum)),
    })
}

#[inline(always)]
fn mapped(v4: [u8; 4]) -> [u8; 16] {
    let [a, b, c, d] = v4;
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d]
}
