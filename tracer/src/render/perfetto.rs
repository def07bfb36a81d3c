//! A Perfetto trace, for <https://ui.perfetto.dev>: for each process a group "TCP connections", in it a
//! track for each connection, on that a slice for the connection and one for each of its states.
//!
//! Times are those of `CLOCK_MONOTONIC`, declared as such, with the wall clock beside it. The two ends of
//! a connection within the machine are joined by a flow, from the client's first state to the server's.
//! What was seen to happen at a moment (a retransmission, a reset, an error) is an instant. Only what is
//! known is drawn: a state whose end was not seen is an instant at its beginning, and one whose
//! beginning was not seen is named in the arguments of the connection.
//!
//! All of a connection is written when nothing more will come of it, so that memory does not grow with
//! the trace. Perfetto sorts by time itself.
//!
//! Known gap: processes are told apart by id and command name, so that two with the same of both share
//! a track.

mod life;
mod marks;
mod names;
mod pairs;
mod proto;

use std::hash::{DefaultHasher, Hash, Hasher as _};

use bytes::{BufMut as _, BytesMut};
use hashlink::LruCache;
use prost::Message as _;

use super::Render;
use super::vocab::endpoint;
use crate::diagnose::Diagnosis;
use crate::event::{Comm, EvidenceEvent};
use crate::session::{ClockMap, Lost, Session, Totals};
use crate::track::{Connection, Ending, Role, Transition};
use life::Life;
use marks::Marks;
use names::Arguments;
use pairs::Pairs;
use proto::{
    Clock, ClockSnapshot, ProcessDescriptor, SystemInfo, TracePacket, TracePacketDefaults,
    TrackDescriptor, TrackEvent, Utsname,
};

/// Renders a Perfetto trace of one session.
#[derive(Debug)]
pub struct Perfetto {
    marks: Marks,
    pairs: Pairs,
    /// Groups that are described already. One that is forgotten is described once more.
    groups: LruCache<u64, ()>,
    losses_described: bool,
}

const GROUPS: usize = 65_536;
/// The only sequence of packets.
const SEQUENCE: u32 = 1;
const NAMES_BEGIN: u32 = 1;
const NAMES_NEEDED: u32 = 2;
const LOSSES_UUID: u64 = 1;

impl Default for Perfetto {
    fn default() -> Self {
        Self {
            marks: Marks::default(),
            pairs: Pairs::new(),
            groups: LruCache::new(GROUPS),
            losses_described: false,
        }
    }
}

/// A number for a track, the same for the same thing.
fn uuid(of: impl Hash) -> u64 {
    // Its keys are fixed.
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish().max(LOSSES_UUID + 1)
}

fn put(out: &mut BytesMut, packet: TracePacket) {
    let flags = if packet.interned_data.is_some() {
        NAMES_BEGIN
    } else {
        NAMES_NEEDED
    };
    let packet = TracePacket {
        trusted_packet_sequence_id: SEQUENCE,
        sequence_flags: flags,
        ..packet
    };
    out.put_u8(proto::PACKET_TAG);
    // A buffer in memory grows, which is the only way to fail.
    let _ = packet.encode_length_delimited(out);
}

fn put_track(out: &mut BytesMut, track: TrackDescriptor) {
    put(
        out,
        TracePacket {
            track_descriptor: Some(track),
            ..TracePacket::default()
        },
    );
}

fn put_event(out: &mut BytesMut, mono_ns: u64, event: TrackEvent) {
    put(
        out,
        TracePacket {
            timestamp: Some(mono_ns),
            track_event: Some(event),
            ..TracePacket::default()
        },
    );
}

fn put_clocks(out: &mut BytesMut, clock: &ClockMap) {
    let clocks = [
        (proto::CLOCK_MONOTONIC, clock.mono_ns),
        // Before 1970 nothing can be said in this format.
        (
            proto::CLOCK_REALTIME,
            u64::try_from(clock.wall_ns).unwrap_or_default(),
        ),
    ];
    let clocks = clocks.map(|(clock_id, timestamp)| Clock {
        clock_id,
        timestamp,
    });
    put(
        out,
        TracePacket {
            clock_snapshot: Some(ClockSnapshot {
                clocks: clocks.to_vec(),
                primary_trace_clock: proto::CLOCK_MONOTONIC,
            }),
            ..TracePacket::default()
        },
    );
}

impl Perfetto {
    /// Describes the group of a connection's process, if it is not yet; its number.
    fn group(&mut self, out: &mut BytesMut, conn: &Connection) -> u64 {
        let owner = (conn.owner.pid, conn.owner.comm);
        let group = uuid(("group", owner));
        if self.groups.insert(group, ()).is_some() {
            return group;
        }
        let name = |comm: Option<Comm>| match comm {
            Some(comm) => comm.to_string_lossy().into_owned(),
            None => "?".to_owned(),
        };
        let process = owner.0.and_then(|pid| i32::try_from(pid).ok());
        let parent_uuid = process.map(|pid| {
            let uuid = uuid(("process", owner));
            let process = ProcessDescriptor {
                pid,
                process_name: name(owner.1),
            };
            put_track(
                out,
                TrackDescriptor {
                    uuid,
                    process: Some(process),
                    ..TrackDescriptor::default()
                },
            );
            uuid
        });
        let title = match (parent_uuid, owner.1) {
            (Some(_), _) => "TCP connections".to_owned(),
            (None, Some(_)) => format!("TCP connections of {}", name(owner.1)),
            (None, None) => "TCP connections, owner not known".to_owned(),
        };
        put_track(
            out,
            TrackDescriptor {
                uuid: group,
                name: Some(title),
                parent_uuid,
                sibling_merge_behavior: Some(proto::MERGE_NONE),
                ..TrackDescriptor::default()
            },
        );
        group
    }

    /// An instant on the track of losses.
    fn put_loss(&mut self, out: &mut BytesMut, mono_ns: u64, name: &str, arguments: Arguments) {
        if !std::mem::replace(&mut self.losses_described, true) {
            put_track(
                out,
                TrackDescriptor {
                    uuid: LOSSES_UUID,
                    name: Some("events lost".to_owned()),
                    ..TrackDescriptor::default()
                },
            );
        }
        put_event(
            out,
            mono_ns,
            TrackEvent {
                category_iids: vec![names::CATEGORY],
                debug_annotations: arguments.0,
                r#type: proto::INSTANT,
                track_uuid: LOSSES_UUID,
                name: Some(name.to_owned()),
                ..TrackEvent::default()
            },
        );
    }
}

/// With whom, and an arrow from who opened it.
fn title(conn: &Connection) -> String {
    let peer = endpoint(conn.remote, true);
    match conn.role {
        Role::Client => format!("-> {peer}"),
        Role::Server => format!("<- {peer}"),
        Role::Both => format!("<-> {peer}"),
        Role::Unknown => format!("-- {peer}"),
        Role::Listener => format!("listens on {}", endpoint(conn.local, true)),
    }
}

impl Render for Perfetto {
    fn start(&mut self, out: &mut BytesMut, session: &Session) {
        put_clocks(out, &session.clock);
        put(
            out,
            TracePacket {
                interned_data: Some(names::all()),
                defaults: Some(TracePacketDefaults {
                    timestamp_clock_id: proto::CLOCK_MONOTONIC,
                }),
                system_info: Some(SystemInfo {
                    utsname: Some(Utsname {
                        sysname: "Linux".to_owned(),
                        release: session.kernel.clone(),
                        machine: session.arch.clone(),
                    }),
                    tracing_service_version: format!("tracer {}", session.tracer_version),
                }),
                ..TracePacket::default()
            },
        );
    }

    fn transition(
        &mut self,
        _out: &mut BytesMut,
        _clock: &ClockMap,
        _conn: &Connection,
        _transition: &Transition,
    ) {
    }

    fn wants_evidence(&self) -> bool {
        true
    }

    fn evidence(&mut self, conn: &Connection, event: &EvidenceEvent) {
        self.marks.add(conn.id, event.mono_ns, event.what);
    }

    fn ended(
        &mut self,
        out: &mut BytesMut,
        _clock: &ClockMap,
        conn: &Connection,
        diagnosis: &Diagnosis,
        ending: Ending,
        now_ns: u64,
    ) {
        let parent_uuid = Some(self.group(out, conn));
        let uuid = uuid(("connection", conn.id));
        let name = title(conn);
        put_track(
            out,
            TrackDescriptor {
                uuid,
                name: Some(name.clone()),
                parent_uuid,
                sibling_merge_behavior: Some(proto::MERGE_NONE),
                ..TrackDescriptor::default()
            },
        );
        let life = Life::new(conn, diagnosis, ending, now_ns);
        let flow = self.pairs.flow(conn, life.begin_ns, life.end_ns);
        let (marks, left_out) = self.marks.take(conn);
        for (mono_ns, event) in life.events(name, flow, &marks, left_out) {
            let track_uuid = uuid;
            put_event(
                out,
                mono_ns,
                TrackEvent {
                    track_uuid,
                    ..event
                },
            );
        }
    }

    fn clock_changed(&mut self, out: &mut BytesMut, clock: &ClockMap) {
        put_clocks(out, clock);
    }

    fn lost(&mut self, out: &mut BytesMut, _clock: &ClockMap, now_ns: u64, since_last: &Lost) {
        let mut arguments = Arguments::default();
        for (name, count) in [
            ("ring_full", since_last.ring_full),
            ("reentry", since_last.reentry),
            ("unreadable", since_last.unreadable),
            ("undecodable", since_last.undecodable),
            ("lost_evidence", since_last.evidence),
        ] {
            arguments.number(name, (count > 0).then_some(count));
        }
        self.put_loss(
            out,
            now_ns,
            "lost since the last mark or the start",
            arguments,
        );
    }

    fn end(&mut self, out: &mut BytesMut, _clock: &ClockMap, now_ns: u64, _totals: &Totals) {
        let unkept = self.marks.unkept();
        if unkept > 0 {
            let mut arguments = Arguments::default();
            arguments.number("marks_left_out", Some(unkept));
            self.put_loss(out, now_ns, "no room for so many instants", arguments);
        }
    }
}
