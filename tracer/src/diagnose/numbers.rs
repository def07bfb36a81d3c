//! What was sent, received and sent again.
//!
//! The kernel's own counters come first: no lost event can falsify them. Without them retransmissions
//! seen are counted, where none can have been missed.

use super::evidence::Facts;
use crate::event::Counts;
use crate::state::State;
use crate::track::{Gathered, Role};

pub(super) fn syn_retransmits(f: &Facts<'_>) -> Option<u32> {
    let evidence = tcp_evidence(f)?;
    match f.conn.role {
        Role::Client => match (evidence.opened, evidence.closed) {
            (Some(opened), _) => Some(opened.retransmits),
            (None, Some(closed)) if f.left(State::SynSent) => Some(closed.retransmits),
            _ => counted(f, evidence.syn_retransmits),
        },
        // The kernel counts a SYN-ACK of its own as well.
        Role::Both => counted(f, evidence.syn_retransmits),
        Role::Server => Some(0),
        Role::Listener | Role::Unknown => None,
    }
}

pub(super) fn synack_retransmits(f: &Facts<'_>) -> Option<u32> {
    let evidence = tcp_evidence(f)?;
    match f.conn.role {
        Role::Server => match evidence.opened {
            Some(opened) => Some(opened.retransmits),
            None => (f.sources.synack_retransmit
                && (evidence.synacks_counted || f.had_a_socket_from_the_syn_on()))
            .then(|| counted(f, evidence.synack_retransmits))
            .flatten(),
        },
        Role::Both => counted(f, evidence.synack_retransmits),
        Role::Client => Some(0),
        Role::Listener | Role::Unknown => None,
    }
}

pub(super) fn retransmits(f: &Facts<'_>) -> Option<u32> {
    let evidence = tcp_evidence(f)?;
    if let (Some(opened), Some(closed)) = (evidence.opened, evidence.closed) {
        return closed.retransmits.checked_sub(opened.retransmits);
    }
    if f.conn.from_birth && f.left(State::SynSent) {
        return Some(0);
    }
    counted(f, evidence.retransmits)
}

/// What was counted by events, if none can have been missed.
fn counted(f: &Facts<'_>, seen: u32) -> Option<u32> {
    let all = f.conn.from_birth && f.sources.retransmit && !f.evidence().incomplete;
    all.then_some(seen)
}

/// `bytes_acked` starts at the initial sequence number of whoever sent a SYN of its own: it holds 1 for
/// that (a child of a listener starts behind it, `tcp_create_openreq_child`), and 1 for an acknowledged FIN.
pub(super) fn bytes_sent(f: &Facts<'_>) -> Option<u64> {
    let counts = closed_counts(f)?;
    if f.all_acknowledged() {
        let syn = match f.conn.role {
            Role::Client | Role::Both => Some(1),
            Role::Server => Some(0),
            Role::Listener | Role::Unknown => None,
        };
        if let Some(syn) = syn {
            return counts.bytes_acked.checked_sub(syn + 1);
        }
    }
    // What was sent but once.
    let again = retransmits(f).unwrap_or(counts.retransmits);
    (again == 0).then_some(counts.bytes_sent)
}

/// `bytes_received` holds 1 for a FIN (`tcp_rcv_nxt_update`), and nothing for a SYN.
pub(super) fn bytes_received(f: &Facts<'_>) -> Option<u64> {
    let counts = closed_counts(f)?;
    counts
        .bytes_received
        .checked_sub(u64::from(f.fin_received()?))
}

pub(super) fn rtt_us(f: &Facts<'_>) -> Option<u32> {
    let evidence = f.evidence();
    evidence
        .closed
        .and_then(|closed| closed.rtt_us)
        .or_else(|| evidence.opened.and_then(|opened| opened.rtt_us))
}

fn closed_counts(f: &Facts<'_>) -> Option<Counts> {
    tcp_evidence(f)?.closed
}

fn tcp_evidence<'a>(f: &'a Facts<'_>) -> Option<&'a Gathered> {
    (f.is_tcp() && f.conn.role != Role::Listener).then(|| f.evidence())
}
