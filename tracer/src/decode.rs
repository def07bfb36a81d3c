//! Bytes of the ring buffer to events. Whatever the bytes are, the answer is an event or an error.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use thiserror::Error;
use tracer_common::select::{Facts, local_port_known, runs_in_caller};
use tracer_common::wire;
use zerocopy::FromBytes;

use crate::event::{
    AcceptEvent, AtClose, Comm, Congestion, Counts, Endpoint, Event, Evidence, EvidenceEvent,
    Family, HolderEvent, PlaceEvent, PlaceOf, Polled, PolledEvent, Process, Protocol, Segments,
    SocketEvent, StateEvent, Task,
};
use crate::place::Place;
use crate::state::State;

/// Why a record is not an event.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than its kind needs.
    #[error("record of kind {kind} is cut short: {got} bytes")]
    Truncated {
        /// `KIND_*`, 0 if not even that can be read.
        kind: u16,
        /// Bytes there are.
        got: usize,
    },
    /// A kind that this version does not know.
    #[error("unknown kind of record: {0}")]
    UnknownKind(u16),
}

/// Decodes one record.
pub fn decode(bytes: &[u8]) -> Result<Event, DecodeError> {
    let (kind, _) = u16::read_from_prefix(bytes).map_err(|_| DecodeError::Truncated {
        kind: 0,
        got: bytes.len(),
    })?;
    let cut = DecodeError::Truncated {
        kind,
        got: bytes.len(),
    };
    match kind {
        wire::KIND_STATE => {
            let (record, rest) = take::<wire::StateRecord>(bytes).ok_or(cut.clone())?;
            let (task, rest) = trailer::<wire::Task>(&record, wire::FLAG_TASK, rest, &cut)?;
            let (counted, rest) = trailer::<wire::Counts>(&record, wire::FLAG_COUNTS, rest, &cut)?;
            let (at_end, _) = trailer::<wire::AtClose>(&record, wire::FLAG_AT_CLOSE, rest, &cut)?;
            Ok(Event::State(state_event(
                &record,
                task.as_ref(),
                counted.as_ref(),
                at_end.as_ref(),
            )))
        }
        wire::KIND_SYNACK_RETRANSMIT | wire::KIND_REQUEST_BORN => {
            let (record, _) = take::<wire::RequestRecord>(bytes).ok_or(cut)?;
            Ok(evidence_event(&record.header, request(&record)))
        }
        wire::KIND_MINI_BORN | wire::KIND_MINI_TIMER | wire::KIND_MINI_END => {
            let (record, _) = take::<wire::MiniRecord>(bytes).ok_or(cut)?;
            Ok(mini_event(&record))
        }
        wire::KIND_POLLED => {
            let (record, _) = take::<wire::PolledRecord>(bytes).ok_or(cut)?;
            Ok(Event::Polled(polled_event(&record)))
        }
        wire::KIND_RETRANSMIT
        | wire::KIND_RESET_RECEIVED
        | wire::KIND_RESET_SENT
        | wire::KIND_SOCKET_ERROR
        | wire::KIND_DESTROYED
        | wire::KIND_HANDED_OVER => {
            let (record, _) = take::<wire::EvidenceRecord>(bytes).ok_or(cut)?;
            Ok(evidence_event(&record.header, evidence(&record)))
        }
        wire::KIND_ACCEPT => {
            let (record, _) = take::<wire::AcceptRecord>(bytes).ok_or(cut)?;
            Ok(Event::Accept(AcceptEvent {
                mono_ns: record.header.mono_ns,
                sk: record.header.sk,
                task: task(&record.task),
                presumed: record.header.flags & wire::FLAG_PRESUMED != 0,
            }))
        }
        wire::KIND_CGROUP => {
            let (record, path) = take::<wire::CgroupRecord>(bytes).ok_or(cut)?;
            Ok(place_event(
                &record.header,
                PlaceOf::Cgroup(record.cgroup_id),
                path,
            ))
        }
        wire::KIND_PROCESS => {
            let (record, path) = take::<wire::ProcessRecord>(bytes).ok_or(cut)?;
            Ok(place_event(
                &record.header,
                PlaceOf::Process(record.pid, record.start_ns),
                path,
            ))
        }
        wire::KIND_HOLDER => {
            let (record, path) = take::<wire::HolderRecord>(bytes).ok_or(cut)?;
            Ok(Event::Holder(holder_event(&record, path)))
        }
        wire::KIND_SOCKET => {
            let (record, rest) = take::<wire::SocketRecord>(bytes).ok_or(cut.clone())?;
            let owners = processes(rest, record.owners)
                .map(|owner| owner.as_ref().map(process))
                .collect::<Option<_>>()
                .ok_or(cut)?;
            Ok(Event::Socket(Box::new(socket_event(&record, owners))))
        }
        other => Err(DecodeError::UnknownKind(other)),
    }
}

/// When a record was made, `CLOCK_MONOTONIC`, nanoseconds.
pub fn time_of(bytes: &[u8]) -> Option<u64> {
    Some(take::<wire::Header>(bytes)?.0.mono_ns)
}

/// The address of the socket that a record is about; 0 for none.
pub fn socket_of(bytes: &[u8]) -> Option<u64> {
    Some(take::<wire::Header>(bytes)?.0.sk)
}

/// The process that a record of the kernel programs tells of.
pub fn task_of(bytes: &[u8]) -> Option<wire::Task> {
    let (header, _) = wire::Header::read_from_prefix(bytes).ok()?;
    match header.kind {
        wire::KIND_STATE if header.flags & wire::FLAG_TASK != 0 => {
            let (_, rest) = take::<wire::StateRecord>(bytes)?;
            Some(take::<wire::Task>(rest)?.0)
        }
        wire::KIND_ACCEPT => Some(take::<wire::AcceptRecord>(bytes)?.0.task),
        _ => None,
    }
}

/// The cgroup that a record of the kernel programs says a socket was made in.
pub fn socket_cgroup_of(bytes: &[u8]) -> Option<u64> {
    at_close(&at_close_of(bytes)?).cgroup_id
}

/// The lower half of the cookie of the namespace in which a record of the kernel programs says that a
/// connection ended.
pub fn netns_cookie_of(bytes: &[u8]) -> Option<u32> {
    let record = at_close_of(bytes)?;
    (record.known & wire::AT_CLOSE_NETNS_COOKIE != 0).then_some(record.netns_cookie)
}

fn at_close_of(bytes: &[u8]) -> Option<wire::AtClose> {
    const AT_END: u16 = wire::FLAG_COUNTS | wire::FLAG_AT_CLOSE;
    let (header, _) = wire::Header::read_from_prefix(bytes).ok()?;
    if header.kind != wire::KIND_STATE || header.flags & (AT_END | wire::FLAG_TASK) != AT_END {
        return None;
    }
    let (_, rest) = take::<wire::StateRecord>(bytes)?;
    let (_, rest) = take::<wire::Counts>(rest)?;
    Some(take::<wire::AtClose>(rest)?.0)
}

/// The processes that hold the socket that a record is about.
pub fn holders_of(bytes: &[u8]) -> impl Iterator<Item = wire::Process> {
    let socket = wire::Header::read_from_prefix(bytes)
        .ok()
        .filter(|(header, _)| header.kind == wire::KIND_SOCKET)
        .and_then(|_| take::<wire::SocketRecord>(bytes));
    let (count, rest) = socket.map_or((0, &[][..]), |(socket, rest)| (socket.owners, rest));
    processes(rest, count).map_while(|process| process)
}

fn place_event(header: &wire::Header, of: PlaceOf, path: &[u8]) -> Event {
    Event::Place(PlaceEvent {
        mono_ns: header.mono_ns,
        of,
        place: place(path),
    })
}

fn holder_event(record: &wire::HolderRecord, path: &[u8]) -> HolderEvent {
    let known = |flag| record.known & flag != 0;
    HolderEvent {
        mono_ns: record.header.mono_ns,
        pid: record.pid,
        ns_pid: known(wire::HOLDER_NS_PID).then_some(record.ns_pid),
        uid: known(wire::HOLDER_UID).then_some(record.uid),
        place: known(wire::HOLDER_CGROUP).then(|| place(path)),
    }
}

fn place(path: &[u8]) -> Arc<Place> {
    Arc::new(Place::from_path(&String::from_utf8_lossy(path)))
}

/// As many processes as there are to be; `None` for those that are not there.
fn processes(mut rest: &[u8], count: u32) -> impl Iterator<Item = Option<wire::Process>> {
    (0..count).map(move |_| {
        let (process, after) = take(rest)?;
        rest = after;
        Some(process)
    })
}

fn process(record: &wire::Process) -> Process {
    Process {
        pid: record.pid,
        comm: Comm(record.comm),
    }
}

fn socket_event(record: &wire::SocketRecord, owners: Vec<Process>) -> SocketEvent {
    let family = Family::from_number(record.family);
    SocketEvent {
        asked_ns: record.asked_ns,
        seen_ns: record.header.mono_ns,
        netns: (record.header.flags & wire::FLAG_NETNS != 0).then_some(record.netns),
        family,
        protocol: Protocol::from_number(record.protocol),
        local: endpoint(family, record.local_addr, record.local_port),
        remote: endpoint(family, record.remote_addr, record.remote_port),
        state: State::from_kernel(record.state.into()),
        has_file: record.inode != 0,
        owners,
    }
}

/// What follows a state record if a flag says so, and what follows that.
fn trailer<'a, T: FromBytes>(
    record: &wire::StateRecord,
    flag: u16,
    rest: &'a [u8],
    cut: &DecodeError,
) -> Result<(Option<T>, &'a [u8]), DecodeError> {
    if record.header.flags & flag == 0 {
        return Ok((None, rest));
    }
    let (value, rest) = take::<T>(rest).ok_or_else(|| cut.clone())?;
    Ok((Some(value), rest))
}

fn take<T: FromBytes>(bytes: &[u8]) -> Option<(T, &[u8])> {
    T::read_from_prefix(bytes).ok()
}

fn evidence_event(header: &wire::Header, what: Evidence) -> Event {
    Event::Evidence(EvidenceEvent {
        mono_ns: header.mono_ns,
        sk: header.sk,
        what,
    })
}

fn evidence(record: &wire::EvidenceRecord) -> Evidence {
    let given = record.header.flags & wire::FLAG_DETAIL != 0;
    match record.header.kind {
        wire::KIND_RETRANSMIT => Evidence::Retransmit {
            local_port: u16::try_from(record.detail)
                .ok()
                .filter(|port| given && *port != 0),
        },
        wire::KIND_RESET_RECEIVED => Evidence::ResetReceived,
        wire::KIND_RESET_SENT => Evidence::ResetSent {
            reason: given.then_some(record.detail),
        },
        wire::KIND_DESTROYED => Evidence::Destroyed,
        wire::KIND_HANDED_OVER => Evidence::HandedOver {
            state: kernel_state(record.detail),
        },
        _ => Evidence::SocketError {
            error: record.detail,
            soft_error: record.detail2,
        },
    }
}

fn request(record: &wire::RequestRecord) -> Evidence {
    let family = Family::from_number(record.family);
    let netns = (record.header.flags & wire::FLAG_NETNS != 0).then_some(record.netns);
    let local = endpoint(family, record.local_addr, record.local_port);
    let remote = endpoint(family, record.remote_addr, record.remote_port);
    if record.header.kind == wire::KIND_REQUEST_BORN {
        Evidence::RequestBorn {
            netns,
            local,
            remote,
        }
    } else {
        Evidence::SynAckRetransmit {
            netns,
            local,
            remote,
        }
    }
}

fn mini_event(record: &wire::MiniRecord) -> Event {
    let state = kernel_state(record.state);
    let (sk, what) = match record.header.kind {
        wire::KIND_MINI_BORN => {
            let mini = record.header.sk;
            (record.full_sk, Evidence::MiniBorn { mini, state })
        }
        wire::KIND_MINI_TIMER => (record.header.sk, Evidence::MiniTimer { state }),
        _ => (record.header.sk, Evidence::MiniEnd { state }),
    };
    Event::Evidence(EvidenceEvent {
        mono_ns: record.header.mono_ns,
        sk,
        what,
    })
}

fn polled_event(record: &wire::PolledRecord) -> PolledEvent {
    let flags = record.header.flags;
    let family = Family::from_number(record.family);
    PolledEvent {
        mono_ns: record.header.mono_ns,
        took_ns: record.took_ns.into(),
        seen_ns: (record.seen_ns != 0).then_some(record.seen_ns),
        netns: (flags & wire::FLAG_NETNS != 0).then_some(record.netns),
        local: endpoint(family, record.local_addr, record.local_port),
        remote: endpoint(family, record.remote_addr, record.remote_port),
        found: match record.found {
            wire::POLLED_MINI => Polled::Mini {
                state: kernel_state(record.state),
                timer_ns: (flags & wire::FLAG_DETAIL != 0).then_some(record.timer_ns),
            },
            wire::POLLED_HALF_OPEN => Polled::HalfOpen {
                retransmits: record.retransmits,
            },
            wire::POLLED_NOTHING => Polled::Nothing,
            wire::POLLED_ANOTHER => Polled::Another,
            wire::POLLED_NO_NAMESPACE => Polled::NoNamespace,
            _ => Polled::NotKnown,
        },
    }
}

/// A state that the kernel keeps in a byte.
fn kernel_state(number: u32) -> State {
    State::from_kernel(i32::try_from(number).unwrap_or(i32::MAX))
}

fn counts(record: &wire::Counts) -> Counts {
    Counts {
        bytes_sent: record.bytes_sent,
        bytes_acked: record.bytes_acked,
        bytes_received: record.bytes_received,
        rtt_us: (record.srtt_us_times_8 != 0).then_some(record.srtt_us_times_8 >> 3),
        retransmits: record.total_retransmits,
        error: record.error,
        soft_error: record.soft_error,
    }
}

fn at_close(record: &wire::AtClose) -> AtClose {
    let known = |flag| record.known & flag != 0;
    AtClose {
        uid: known(wire::AT_CLOSE_UID).then_some(record.uid),
        cgroup_id: known(wire::AT_CLOSE_CGROUP).then_some(record.cgroup_id),
        segments: known(wire::AT_CLOSE_SEGMENTS).then_some(Segments {
            sent: record.segments_out,
            received: record.segments_in,
            data_sent: record.data_segments_out,
            data_received: record.data_segments_in,
        }),
        congestion: known(wire::AT_CLOSE_CONGESTION)
            .then(|| Congestion::from_kernel(record.congestion_state))
            .flatten(),
        fin_received: known(wire::AT_CLOSE_FIN).then(|| known(wire::AT_CLOSE_FIN_RECEIVED)),
    }
}

fn state_event(
    record: &wire::StateRecord,
    current: Option<&wire::Task>,
    counted: Option<&wire::Counts>,
    at_end: Option<&wire::AtClose>,
) -> StateEvent {
    let flags = record.header.flags;
    let family = Family::from_number(record.family);
    let facts = Facts {
        old_state: record.old_state,
        new_state: record.new_state,
        local_port: record.local_port,
        remote_port: record.remote_port,
        bound_port: (flags & wire::FLAG_BOUND_PORT != 0).then_some(record.bound_port),
        netns: (flags & wire::FLAG_NETNS != 0).then_some(record.netns),
    };
    StateEvent {
        mono_ns: record.header.mono_ns,
        sk: record.header.sk,
        netns: facts.netns,
        family,
        protocol: Protocol::from_number(record.protocol),
        local: endpoint(family, record.local_addr, record.local_port),
        remote: endpoint(family, record.remote_addr, record.remote_port),
        from: State::from_kernel(record.old_state),
        to: State::from_kernel(record.new_state),
        local_port_known: local_port_known(&facts),
        task: current
            .filter(|_| runs_in_caller(record.old_state, record.new_state))
            .map(task),
        counts: counted.map(counts),
        at_close: at_end.map(at_close),
        from_twin: flags & wire::FLAG_TWIN != 0,
    }
}

/// The wire carries IPv4 addresses v4-mapped; only an IPv6 socket keeps them so.
fn endpoint(family: Family, addr: [u8; 16], port: u16) -> Endpoint {
    let v6 = Ipv6Addr::from(addr);
    let addr = match (family, v6.to_ipv4_mapped()) {
        (Family::Inet, Some(v4)) => IpAddr::V4(v4),
        (Family::Inet | Family::Inet6 | Family::Other(_), _) => IpAddr::V6(v6),
    };
    Endpoint { addr, port }
}

fn task(record: &wire::Task) -> Task {
    let known = |flag| record.flags & flag != 0;
    Task {
        pid: record.pid,
        comm: Comm(record.comm),
        kernel_thread: known(wire::TASK_KIND_KNOWN).then(|| known(wire::TASK_KERNEL_THREAD)),
        ns_pid: known(wire::TASK_NS_PID).then_some(record.ns_pid),
        uid: record.uid,
        start_ns: known(wire::TASK_START).then_some(record.start_ns),
        cgroup_id: known(wire::TASK_CGROUP).then_some(record.cgroup_id),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use zerocopy::{FromZeros as _, IntoBytes};

    use super::*;

    fn state_record(flags: u16) -> wire::StateRecord {
        wire::StateRecord {
            header: wire::Header {
                kind: wire::KIND_STATE,
                flags,
                cpu: 1,
                mono_ns: 42,
                sk: 0xffff_8880_0000_1000,
            },
            old_state: 7,
            new_state: 2,
            netns: 4_026_531_840,
            family: 2,
            protocol: 6,
            local_port: 40_000,
            remote_port: 443,
            bound_port: 0,
            reserved: 0,
            local_addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 1],
            remote_addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2],
        }
    }

    const TASK: wire::Task = wire::Task {
        pid: 77,
        flags: wire::TASK_KIND_KNOWN | wire::TASK_NS_PID | wire::TASK_CGROUP,
        comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        cgroup_id: 4242,
        start_ns: 5,
        ns_pid: 7,
        uid: 33,
    };

    fn state(bytes: &[u8]) -> StateEvent {
        let event = decode(bytes).unwrap();
        let Event::State(event) = event else {
            panic!("not a state record: {event:?}");
        };
        event
    }

    #[test]
    fn state_record_with_task() {
        let flags = wire::FLAG_TASK | wire::FLAG_NETNS | wire::FLAG_BOUND_PORT;
        let mut bytes = state_record(flags).as_bytes().to_vec();
        bytes.extend_from_slice(TASK.as_bytes());
        let event = state(&bytes);
        assert_eq!((event.from, event.to), (State::Closed, State::SynSent));
        assert_eq!(event.local.addr, IpAddr::from([10, 0, 0, 1]));
        assert_eq!(event.remote.port, 443);
        assert_eq!(event.netns, Some(4_026_531_840));
        // The port is left over: the socket is not bound.
        assert!(!event.local_port_known);
        let task = event.task.unwrap();
        assert_eq!((task.pid, task.comm.as_bytes()), (77, &b"curl"[..]));
        assert_eq!(task.kernel_thread, Some(false));
        assert_eq!((task.ns_pid, task.uid), (Some(7), 33));
        assert_eq!((task.cgroup_id, task.start_ns), (Some(4242), None));
        for length in 0..bytes.len() {
            assert!(matches!(
                decode(&bytes[..length]),
                Err(DecodeError::Truncated { got, .. }) if got == length
            ));
        }
    }

    #[test]
    fn places_and_whose_they_are() {
        let header = wire::Header {
            kind: wire::KIND_CGROUP,
            flags: 0,
            cpu: 0,
            mono_ns: 1,
            sk: 0,
        };
        let cgroup = wire::CgroupRecord {
            header,
            cgroup_id: 4242,
        };
        let process = wire::ProcessRecord {
            header: wire::Header {
                kind: wire::KIND_PROCESS,
                ..header
            },
            start_ns: 5,
            pid: 77,
            reserved: 0,
        };
        let of_cgroup = (cgroup.as_bytes(), PlaceOf::Cgroup(4242));
        let of_process = (process.as_bytes(), PlaceOf::Process(77, 5));
        for (fixed, of) in [of_cgroup, of_process] {
            let bytes = [fixed, b"/a.slice/b.service"].concat();
            let Ok(Event::Place(event)) = decode(&bytes) else {
                panic!("no place");
            };
            assert_eq!(
                (event.of, event.place.unit.as_deref()),
                (of, Some("b.service"))
            );
            assert_eq!(task_of(&bytes), None);
            for length in 0..fixed.len() {
                assert!(decode(&bytes[..length]).is_err());
            }
        }
    }

    #[test]
    fn a_holder_with_what_was_read_of_it() {
        let record = wire::HolderRecord {
            header: wire::Header {
                kind: wire::KIND_HOLDER,
                ..state_record(0).header
            },
            pid: 77,
            known: wire::HOLDER_NS_PID | wire::HOLDER_UID | wire::HOLDER_CGROUP,
            ns_pid: 7,
            uid: 33,
        };
        let decoded = |known| {
            let record = wire::HolderRecord { known, ..record };
            let bytes = [record.as_bytes(), b"/a.slice/b.service"].concat();
            for length in 0..size_of::<wire::HolderRecord>() {
                assert!(decode(&bytes[..length]).is_err());
            }
            let Ok(Event::Holder(holder)) = decode(&bytes) else {
                panic!("no holder");
            };
            let unit = holder.place.as_ref().and_then(|place| place.unit.clone());
            (holder.pid, holder.ns_pid, holder.uid, unit)
        };
        let unit = Some("b.service".to_owned());
        assert_eq!(decoded(record.known), (77, Some(7), Some(33), unit));
        assert_eq!(decoded(0), (77, None, None, None));
    }

    #[test]
    fn socket_record_with_owners() {
        let record = wire::SocketRecord {
            header: wire::Header {
                kind: wire::KIND_SOCKET,
                flags: wire::FLAG_NETNS,
                cpu: 0,
                mono_ns: 42,
                sk: 0,
            },
            asked_ns: 40,
            cookie: 7,
            netns: 4_026_531_840,
            inode: 0,
            uid: 0,
            expires_ms: 0,
            receive_queue: 0,
            send_queue: 0,
            family: 10,
            protocol: 262,
            local_port: 443,
            remote_port: 40_000,
            state: 8,
            timer: 0,
            retransmits: 0,
            reserved: 0,
            owners: 2,
            local_addr: [0; 16],
            remote_addr: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 10, 0, 0, 2],
        };
        let mut bytes = record.as_bytes().to_vec();
        for pid in [7, 8] {
            let comm = TASK.comm;
            bytes.extend_from_slice(wire::Process { pid, comm }.as_bytes());
        }
        let Event::Socket(socket) = decode(&bytes).unwrap() else {
            panic!("not a socket record");
        };
        assert_eq!((socket.asked_ns, socket.seen_ns), (40, 42));
        assert_eq!(
            (socket.netns, socket.has_file),
            (Some(4_026_531_840), false)
        );
        assert_eq!(
            (socket.state, socket.protocol),
            (State::CloseWait, Protocol::Mptcp)
        );
        assert_eq!(socket.remote.addr.to_string(), "::ffff:10.0.0.2");
        let owners: Vec<_> = socket.owners.iter().map(|owner| owner.pid).collect();
        assert_eq!(owners, [7, 8]);
        assert!(holders_of(&bytes).map(|holder| holder.pid).eq([7, 8]));
        assert_eq!(holders_of(state_record(0).as_bytes()).count(), 0);
        assert_eq!(socket.owners[0].comm.as_bytes(), b"curl");
        for length in 0..bytes.len() {
            assert!(matches!(
                decode(&bytes[..length]),
                Err(DecodeError::Truncated { got, .. }) if got == length
            ));
        }
    }

    #[test]
    fn the_process_of_a_record_is_found_without_decoding_it() {
        let mut bytes = state_record(wire::FLAG_TASK).as_bytes().to_vec();
        bytes.extend_from_slice(TASK.as_bytes());
        assert_eq!(task_of(&bytes), Some(TASK));
        assert_eq!(task_of(&bytes[..bytes.len() - 1]), None);
        assert_eq!(task_of(state_record(0).as_bytes()), None);
        let accept = wire::AcceptRecord {
            header: wire::Header {
                kind: wire::KIND_ACCEPT,
                flags: wire::FLAG_TASK,
                cpu: 0,
                mono_ns: 1,
                sk: 64,
            },
            task: TASK,
        };
        assert_eq!(task_of(accept.as_bytes()), Some(TASK));
    }

    #[test]
    fn the_end_of_a_socket_tells_more_of_it() {
        let mut record = state_record(wire::FLAG_COUNTS | wire::FLAG_AT_CLOSE);
        (record.old_state, record.new_state) = (9, 7);
        let counted = wire::Counts {
            bytes_sent: 5,
            ..wire::Counts::new_zeroed()
        };
        let at_close = wire::AtClose {
            known: wire::AT_CLOSE_UID
                | wire::AT_CLOSE_CGROUP
                | wire::AT_CLOSE_SEGMENTS
                | wire::AT_CLOSE_CONGESTION
                | wire::AT_CLOSE_NETNS_COOKIE
                | wire::AT_CLOSE_FIN
                | wire::AT_CLOSE_FIN_RECEIVED,
            uid: 33,
            cgroup_id: 4242,
            segments_in: 1,
            data_segments_in: 2,
            segments_out: 3,
            data_segments_out: 4,
            congestion_state: 4,
            netns_cookie: 17,
        };
        let bytes = |at_close: wire::AtClose| {
            [record.as_bytes(), counted.as_bytes(), at_close.as_bytes()].concat()
        };
        let event = state(&bytes(at_close));
        assert_eq!(event.counts.unwrap().bytes_sent, 5);
        let expected = AtClose {
            uid: Some(33),
            cgroup_id: Some(4242),
            segments: Some(Segments {
                sent: 3,
                received: 1,
                data_sent: 4,
                data_received: 2,
            }),
            congestion: Some(Congestion::Loss),
            fin_received: Some(true),
        };
        assert_eq!(event.at_close, Some(expected));
        assert_eq!(socket_cgroup_of(&bytes(at_close)), Some(4242));
        assert_eq!(netns_cookie_of(&bytes(at_close)), Some(17));

        let unread = bytes(wire::AtClose {
            known: 0,
            ..at_close
        });
        assert_eq!(state(&unread).at_close, Some(AtClose::default()));
        assert_eq!(socket_cgroup_of(&unread), None);
        assert_eq!(netns_cookie_of(&unread), None);
        let unheard_of = wire::AtClose {
            congestion_state: 5,
            ..at_close
        };
        let event = state(&bytes(unheard_of));
        assert_eq!(event.at_close.unwrap().congestion, None);
        for length in 0..unread.len() {
            assert!(decode(&unread[..length]).is_err());
            assert_eq!(socket_cgroup_of(&unread[..length]), None);
        }
    }

    #[test]
    fn a_retransmission_tells_the_port_where_it_was_read() {
        for (flags, detail, local_port) in [
            (wire::FLAG_DETAIL, 40_000, Some(40_000)),
            (wire::FLAG_DETAIL, 0, None),
            (wire::FLAG_DETAIL, 65_536, None),
            (0, 40_000, None),
        ] {
            let record = wire::EvidenceRecord {
                header: wire::Header {
                    kind: wire::KIND_RETRANSMIT,
                    flags,
                    ..state_record(0).header
                },
                detail,
                detail2: 0,
            };
            let Ok(Event::Evidence(event)) = decode(record.as_bytes()) else {
                panic!("no evidence");
            };
            assert_eq!(event.what, Evidence::Retransmit { local_port });
        }
    }

    #[test]
    fn what_was_not_read_is_unknown() {
        let event = state(state_record(0).as_bytes());
        assert_eq!((event.netns, event.task), (None, None));
        assert!(!event.from_twin);
    }

    #[test]
    fn task_of_a_softirq_is_never_taken() {
        let mut record = state_record(wire::FLAG_TASK);
        (record.old_state, record.new_state) = (4, 5);
        let mut bytes = record.as_bytes().to_vec();
        bytes.extend_from_slice(TASK.as_bytes());
        assert_eq!(state(&bytes).task, None);
    }

    #[test]
    fn v4_mapped_stays_ipv6_on_an_ipv6_socket() {
        let mut record = state_record(0);
        record.family = 10;
        let event = state(record.as_bytes());
        assert_eq!(event.local.addr.to_string(), "::ffff:10.0.0.1");
        assert_eq!(event.local.wire_addr().to_string(), "10.0.0.1");
    }

    #[test]
    fn unknown_numbers_are_kept() {
        let mut record = state_record(0);
        record.new_state = -5;
        record.old_state = 14;
        record.family = 99;
        record.protocol = 132;
        let event = state(record.as_bytes());
        assert_eq!(
            (event.from, event.to),
            (State::Unknown(14), State::Unknown(-5))
        );
        assert_eq!(event.family, Family::Other(99));
        assert_eq!(event.protocol, Protocol::Other(132));
    }

    #[test]
    fn unknown_kind_is_an_error() {
        assert_eq!(decode(&[63, 0, 1, 2]), Err(DecodeError::UnknownKind(63)));
        assert_eq!(
            decode(&[1]),
            Err(DecodeError::Truncated { kind: 0, got: 1 })
        );
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
            let _ = task_of(&bytes);
            let _ = socket_cgroup_of(&bytes);
        }

        #[test]
        fn any_state_record_decodes(tail in proptest::collection::vec(any::<u8>(), 206)) {
            let mut bytes = wire::KIND_STATE.as_bytes().to_vec();
            bytes.extend(tail);
            prop_assert!(decode(&bytes).is_ok());
        }
    }
}
