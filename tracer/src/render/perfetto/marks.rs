//! What happened to a connection beside its states, kept until the connection is told of.

use std::collections::HashMap;

use super::names::Arguments;
use crate::event::Evidence;
use crate::render::vocab::endpoint;
use crate::track::{ConnId, Connection};

/// Marks kept of one connection, and of all.
const OF_ONE: usize = 256;
const OF_ALL: usize = 1 << 20;

/// Marks of connections that are not over.
#[derive(Debug, Default)]
pub(super) struct Marks {
    of: HashMap<ConnId, Kept>,
    count: usize,
    unkept: u64,
}

#[derive(Debug, Default)]
struct Kept {
    marks: Vec<Mark>,
    left_out: u64,
}

/// One moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) mono_ns: u64,
    what: Evidence,
}

impl Marks {
    /// Keeps one, or counts it where there is no more room.
    pub(super) fn add(&mut self, conn: ConnId, mono_ns: u64, what: Evidence) {
        if self.count >= OF_ALL {
            self.unkept += 1;
            return;
        }
        let kept = self.of.entry(conn).or_default();
        if kept.marks.len() < OF_ONE {
            kept.marks.push(Mark { mono_ns, what });
            self.count += 1;
        } else {
            kept.left_out += 1;
        }
    }

    /// How many there was no room for at all.
    pub(super) fn unkept(&self) -> u64 {
        self.unkept
    }

    /// Those of a connection in the order of time, with what its end tells, and how many it had too many.
    pub(super) fn take(&mut self, conn: &Connection) -> (Vec<Mark>, u64) {
        let Kept {
            mut marks,
            left_out,
        } = self.of.remove(&conn.id).unwrap_or_default();
        self.count -= marks.len();
        // These are often reported when the socket is closed already.
        let reset = conn.evidence.reset_sent.map(|reset| Mark {
            mono_ns: reset.mono_ns,
            what: Evidence::ResetSent {
                reason: reset.reason,
            },
        });
        let error = conn.evidence.error.map(|error| Mark {
            mono_ns: error.mono_ns,
            what: Evidence::SocketError {
                error: error.errno,
                soft_error: 0,
            },
        });
        for mark in [reset, error].into_iter().flatten() {
            let is_known = |known: &Mark| {
                known.mono_ns == mark.mono_ns
                    && std::mem::discriminant(&known.what) == std::mem::discriminant(&mark.what)
            };
            if !marks.iter().any(is_known) {
                marks.push(mark);
            }
        }
        marks.sort_by_key(|mark| mark.mono_ns);
        (marks, left_out)
    }
}

impl Mark {
    /// Its name and what there is to say.
    pub(super) fn describe(&self, arguments: &mut Arguments) -> &'static str {
        match self.what {
            Evidence::Retransmit { .. } => "retransmit",
            Evidence::SynAckRetransmit { remote, .. } => {
                arguments.text("remote", Some(endpoint(remote, true).to_string()));
                "SYN-ACK retransmit"
            }
            Evidence::ResetReceived => "reset received",
            Evidence::ResetSent { reason } => {
                arguments.number("reason", reason);
                "reset sent"
            }
            Evidence::SocketError { error, soft_error } => {
                arguments.number("errno", (error != 0).then_some(error));
                arguments.number("soft_errno", (soft_error != 0).then_some(soft_error));
                "socket error"
            }
            Evidence::RequestBorn { .. } => "SYN received",
            Evidence::Destroyed => "socket freed",
            Evidence::HandedOver { .. } => "handed over to a mini-socket",
            Evidence::MiniBorn { .. } => "mini-socket made",
            Evidence::MiniTimer { .. } => "timer of the mini-socket set",
            Evidence::MiniEnd { .. } => "mini-socket gone",
        }
    }
}
