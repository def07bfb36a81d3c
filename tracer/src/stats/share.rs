//! What one peer, port or process has of the connections.

use super::Sum;
use crate::diagnose::Diagnosis;
use crate::session::Verdicts;
use crate::track::{Connection, Role};

/// Connections put together. Numbers that are not known of a connection are not in the sums, and the
/// connection is counted as such.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// What became of them.
    pub verdicts: Verdicts,
    /// Payload sent.
    pub bytes_sent: u64,
    /// Connections of which that is not known.
    pub without_bytes_sent: u64,
    /// Payload received.
    pub bytes_received: u64,
    /// Connections of which that is not known.
    pub without_bytes_received: u64,
    /// Connections whose bytes are not known, in one direction or both.
    pub without_bytes: u64,
    /// SYNs, SYN-ACKs, data and FINs sent again.
    pub retransmits: u64,
    /// Connections whose retransmissions are not known, of one kind or all.
    pub without_retransmits: u64,
}

/// What [`Share`]s can be ranked by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShareBy {
    /// Connections that failed.
    Failures,
    /// Payload of both directions.
    Bytes,
    /// Segments sent again.
    Retransmits,
    /// All connections.
    Connections,
}

impl ShareBy {
    const ALL: [Self; 4] = [
        Self::Failures,
        Self::Bytes,
        Self::Retransmits,
        Self::Connections,
    ];

    /// Its number as a measure of a [`super::Ranking`].
    pub fn measure(self) -> usize {
        match self {
            Self::Failures => 0,
            Self::Bytes => 1,
            Self::Retransmits => 2,
            Self::Connections => 3,
        }
    }
}

impl Share {
    /// Takes in a connection at its end.
    pub fn add_connection(&mut self, diagnosis: &Diagnosis) {
        let Diagnosis {
            bytes_sent,
            bytes_received,
            ..
        } = *diagnosis;
        self.verdicts.add(diagnosis.verdict);
        add(&mut self.bytes_sent, bytes_sent.unwrap_or_default());
        add(&mut self.bytes_received, bytes_received.unwrap_or_default());
        self.without_bytes_sent += u64::from(bytes_sent.is_none());
        self.without_bytes_received += u64::from(bytes_received.is_none());
        self.without_bytes += u64::from(bytes_sent.is_none() || bytes_received.is_none());
        let (known, all_known) = retransmits(diagnosis);
        add(&mut self.retransmits, known);
        self.without_retransmits += u64::from(!all_known);
    }

    /// Payload of both directions.
    pub fn bytes(&self) -> u64 {
        self.bytes_sent.saturating_add(self.bytes_received)
    }
}

impl Sum for Share {
    const MEASURES: usize = ShareBy::ALL.len();

    fn weight(&self, measure: usize) -> u64 {
        match ShareBy::ALL.get(measure) {
            Some(ShareBy::Failures) => self.verdicts.failures(),
            Some(ShareBy::Bytes) => self.bytes(),
            Some(ShareBy::Retransmits) => self.retransmits,
            Some(ShareBy::Connections) => self.verdicts.connections(),
            None => 0,
        }
    }

    fn add(&mut self, other: &Self) {
        self.verdicts.add_all(&other.verdicts);
        for (sum, more) in [
            (&mut self.bytes_sent, other.bytes_sent),
            (&mut self.without_bytes_sent, other.without_bytes_sent),
            (&mut self.bytes_received, other.bytes_received),
            (
                &mut self.without_bytes_received,
                other.without_bytes_received,
            ),
            (&mut self.without_bytes, other.without_bytes),
            (&mut self.retransmits, other.retransmits),
            (&mut self.without_retransmits, other.without_retransmits),
        ] {
            add(sum, more);
        }
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

/// What was sent again, as far as it is known, and whether that is all.
pub(super) fn retransmits(diagnosis: &Diagnosis) -> (u64, bool) {
    let kinds = [
        diagnosis.syn_retransmits,
        diagnosis.synack_retransmits,
        diagnosis.retransmits,
    ];
    let known = kinds.iter().flatten().map(|count| u64::from(*count)).sum();
    (known, kinds.iter().all(Option::is_some))
}

/// The port that a connection is to: the remote one of a client, the local one of a server. `None` where
/// it is not known which side serves.
pub fn service_port(conn: &Connection) -> Option<u16> {
    match conn.role {
        Role::Client => Some(conn.remote.port),
        Role::Server | Role::Listener => Some(conn.local.port),
        Role::Both | Role::Unknown => None,
    }
}
