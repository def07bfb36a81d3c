//! The rules, in the order in which they are asked.
//!
//! `== Some(true)` asks for what was seen, `== Some(false)` and `== Some(0)` for what is known not to have
//! been.

use super::evidence::{Facts, errno};
use super::reset_reasons::reset_reason_meaning;
use super::{ClosedBy, Verdict};
use crate::event::Protocol;
use crate::render::time::human;
use crate::state::State;
use crate::track::{Ending, MiniEnd, Role};

/// One rule: what must hold, and what follows.
pub struct Rule {
    /// What became of the connection.
    pub verdict: Verdict,
    /// Who closed first.
    pub first: First,
    /// Where it is written: a section of RFC 9293, functions of the kernel.
    pub source: &'static str,
    pub(super) when: fn(&Facts<'_>) -> bool,
    pub(super) because: fn(&Facts<'_>) -> String,
}

/// How a rule finds out which side closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum First {
    /// Nobody closed.
    Nobody,
    /// The side whose FIN came first, if there was a FIN.
    Fin,
    /// The same, else this side.
    FinOrLocal,
    /// The same, else the peer.
    FinOrRemote,
}

use First::{Fin, FinOrLocal, FinOrRemote, Nobody};
use Verdict::{
    Aborted, AcceptQueueLost, Cancelled, Closed, Listener, Open, Refused, ResetByPeer, ResetByUs,
    TimedOut, Unknown, Unreachable,
};

/// All rules. The first that applies gives the verdict.
#[rustfmt::skip]
pub static RULES: [Rule; 40] = [
    // Not a connection, not over, or not to be judged.
    rule(Listener, Nobody, "RFC 9293 3.3.2", |f| f.conn.role == Role::Listener, listener),
    rule(Open, Fin, "RFC 9293 3.3.2", |f| f.ending == Ending::StillOpen, still_open),
    rule(Unknown, Nobody, "tcp_check_req",
        |f| f.ending == Ending::MayBeOver && f.is_half_open(),
        |_| say("half-open when it was last heard of: nothing tells of a reset that ended it since")),
    rule(Unknown, Fin, "",
        |f| f.ending == Ending::MayBeOver,
        |f| format!("transitions were lost since it was last seen, in {}: it may be over", left(f))),
    rule(Unknown, Fin, "mptcp_close_ssk", |f| f.conn.protocol == Protocol::Mptcp,
        |_| say("the evidence of an MPTCP connection is at its subflows")),
    rule(Unknown, Fin, "", |f| !f.is_tcp(), |_| say("only TCP is judged")),

    // Half-open on the server's side, and nothing more.
    rule(Unknown, Nobody, "inet_csk_listen_stop, reqsk_timer_handler",
        |f| never_completed(f) && f.evidence().listener_closed,
        |_| say("its listener was closed before the handshake was complete")),
    rule(TimedOut, Nobody, "RFC 9293 3.8.3; reqsk_timer_handler",
        |f| never_completed(f) && f.evidence().synack_retransmits > 0, never_acknowledged),
    rule(Unknown, Nobody, "tcp_check_req, reqsk_timer_handler",
        never_completed,
        |_| say("the handshake was not completed: a reset of the peer, or no room at the listener")),

    // Never established.
    rule(Refused, FinOrRemote, "RFC 9293 3.10.7.3; tcp_reset",
        |f| f.left(State::SynSent) && f.reset_received() == Some(true),
        |f| syn_then(f, "the peer answered with a reset")),
    rule(Refused, Nobody, "RFC 9293 3.9.2.2; tcp_v4_err, icmp_err_convert",
        |f| connect_failed(f) && f.connect_error() == Some(errno::ECONNREFUSED), refused),
    rule(Unreachable, Nobody, "RFC 9293 3.9.2.2; tcp_v4_err, icmp_err_convert, inet_sk_rebuild_header",
        |f| connect_failed(f) && f.connect_error().is_some_and(|e| unreachable(e).is_some()),
        |f| syn_then(f, f.connect_error().and_then(unreachable).unwrap_or_default())),
    rule(TimedOut, Nobody, "RFC 9293 3.8.3; tcp_write_timeout, tcp_write_err",
        |f| f.is_opening() && f.error() == Some(errno::ETIMEDOUT), never_answered),
    rule(Cancelled, FinOrLocal, "tcp_abort",
        |f| f.left(State::SynSent) && f.error() == Some(errno::ECONNABORTED),
        |f| syn_then(f, "destroyed from outside, as `ss -K` does")),
    rule(Unknown, Nobody, "tcp_v4_connect, inet_hash_connect",
        |f| connect_failed(f) && f.conn.from_birth && f.conn.local.port == 0,
        |_| say("no SYN was sent: connect failed before it had a local port, most likely because none was free")),
    rule(Cancelled, FinOrLocal, "RFC 9293 3.10.4; tcp_close_state, tcp_disconnect",
        |f| connect_failed(f) && f.reset_received() == Some(false)
            && f.soft_error() == Some(0) && matches!(f.error(), Some(0 | errno::ECONNRESET)),
        given_up),
    rule(Unknown, Nobody, "",
        connect_failed,
        |f| unknown(f, "refused, timed out, unreachable or given up")),

    // Lost in the queue of a listener.
    rule(AcceptQueueLost, FinOrLocal, "inet_csk_listen_stop, inet_child_forget, tcp_disconnect",
        |f| f.was_never_accepted() && f.evidence().listener_closed && f.reset_sent() == Some(true)
            && !f.reset_sent_before_close() && (f.is_unexplained() || f.reason() == Some("TCP_STATE")),
        |_| say("the listener was closed before anybody accepted it")),

    // A reset of this side. Before the peer's: the kernel takes data after close() for one of the
    // peer's resets, and then sends its own.
    rule(ResetByUs, FinOrLocal, "tcp_abort",
        |f| sent(f) && f.error() == Some(errno::ECONNABORTED),
        |_| say("destroyed from outside, as `ss -K` does")),
    rule(ResetByUs, FinOrLocal, "RFC 9293 3.8.4; tcp_keepalive_timer",
        |f| sent_for(f, "TCP_KEEPALIVE_TIMEOUT")
            || (sent(f) && f.is_unexplained() && f.reset_sent_before_close() && f.is_timeout()),
        |_| say("the peer answered no keepalive probe")),
    rule(ResetByUs, FinOrLocal, "RFC 9293 3.6.1, RFC 2525 2.17; __tcp_close",
        |f| sent_for(f, "TCP_ABORT_ON_CLOSE"), kernels_reason),
    rule(ResetByUs, FinOrLocal, "RFC 9293 3.6.1; tcp_rcv_state_process",
        |f| sent_for(f, "TCP_ABORT_ON_DATA"), kernels_reason),
    rule(ResetByUs, FinOrLocal, "RFC 9293 3.6.1; tcp_rcv_state_process",
        |f| sent(f) && f.is_unexplained() && in_fin_wait(f) && f.evidence().reset_received,
        |_| say("data came after close, or after a shutdown of reading")),
    rule(ResetByUs, FinOrLocal, "__tcp_close",
        |f| sent_for(f, "TCP_ABORT_ON_LINGER"), kernels_reason),
    rule(ResetByUs, FinOrLocal, "tcp_out_of_resources, __tcp_close",
        |f| sent_for(f, "TCP_ABORT_ON_MEMORY"), kernels_reason),
    rule(ResetByUs, FinOrLocal, "tcp_disconnect",
        |f| sent_for(f, "TCP_DISCONNECT_WITH_DATA"), kernels_reason),
    rule(ResetByUs, FinOrLocal, "tcp_keepalive_timer",
        |f| sent(f) && f.left(State::FinWait2) && f.reset_sent_before_close(),
        |_| say("closed here, and the peer did not close within tcp_fin_timeout")),
    rule(ResetByUs, FinOrLocal, "RFC 9293 3.10.5; tcp_disconnect",
        |f| sent(f) && !f.reset_sent_before_close() && (f.reason() == Some("TCP_STATE")
            || (f.is_unexplained() && f.is_disconnect())),
        |_| say("closed with SO_LINGER 0, or disconnected")),
    rule(ResetByUs, FinOrLocal, "RFC 9293 3.10.5; tcp_send_active_reset, tcp_v4_send_reset",
        sent, sent_in),

    // The peer's reset.
    rule(ResetByPeer, FinOrRemote, "RFC 9293 3.10.7.4; tcp_reset",
        |f| f.evidence().reset_received && (!in_fin_wait(f) || f.reset_sent() == Some(false)),
        |f| format!("reset received in {}", left(f))),
    rule(ResetByPeer, FinOrRemote, "tcp_reset",
        |f| matches!(f.error(), Some(errno::ECONNRESET | errno::EPIPE))
            && (f.reset_sent() == Some(false) || (f.evidence().closed.is_some_and(|c| c.error != 0) && !in_fin_wait(f))),
        |f| format!("reset received in {}", left(f))),

    // Timeouts and force without a reset.
    rule(Aborted, Fin, "RFC 9293 3.8.3; tcp_write_err",
        |f| f.is_closed() && f.is_timeout() && !f.evidence().reset_received, unacknowledged),
    rule(Unknown, Fin, "tcp_abort",
        |f| f.error() == Some(errno::ECONNABORTED),
        |_| say("destroyed from outside, as `ss -K` does")),

    // Out of sight.
    rule(Unknown, Fin, "",
        |f| f.ending == Ending::EndUnseen,
        |f| format!("its end was not seen: the kernel has freed its socket; last seen in {}", left(f))),
    rule(Unknown, Fin, "",
        |f| f.ending == Ending::AgedOut,
        |f| format!("forgotten to stay within --max-connections; last seen in {}", left(f))),

    // In order: absent are resets of either side, and errors.
    rule(Unknown, Fin, "tcp_timewait_state_process",
        |f| in_order(f) && f.was_cut_short(),
        |_| say("ended in FIN_WAIT_2 before its timer did: by late data of the peer, or by its reset, which is not known")),
    rule(Unknown, Fin, "tcp_timewait_state_process, inet_twsk_alloc",
        |f| in_order(f) && f.is_undisturbed() == Some(true) && f.fin_received() != Some(true)
            && f.missing_after_ns().is_some(),
        |f| format!("{}: late data or a reset of the peer ended it, or the kernel kept no TIME_WAIT, which is not known", not_found(f))),
    rule(Closed, Fin, "RFC 9293 3.6; tcp_rcv_state_process, tcp_time_wait",
        |f| in_order(f) && f.is_undisturbed() == Some(true), closed),
    rule(Unknown, Fin, "",
        in_order,
        |f| unknown(f, "closed in order, by a reset or by a timeout")),
    rule(Unknown, Fin, "",
        closed_somehow,
        |f| unknown(f, &format!("ended in {} by a reset, a timeout or force", left(f)))),
];

const fn rule(
    verdict: Verdict,
    first: First,
    source: &'static str,
    when: fn(&Facts<'_>) -> bool,
    because: fn(&Facts<'_>) -> String,
) -> Rule {
    Rule {
        verdict,
        first,
        source,
        when,
        because,
    }
}

/// The rule that gives the verdict.
pub(super) fn first(facts: &Facts<'_>) -> Option<&'static Rule> {
    RULES.iter().find(|rule| (rule.when)(facts))
}

impl Rule {
    pub(super) fn closed_by(&self, facts: &Facts<'_>) -> Option<ClosedBy> {
        let otherwise = match self.first {
            Nobody => return None,
            Fin => None,
            FinOrLocal => Some(ClosedBy::Local),
            FinOrRemote => Some(ClosedBy::Remote),
        };
        facts.first_fin().or(otherwise)
    }
}

// Conditions.

fn never_completed(f: &Facts<'_>) -> bool {
    f.ending == Ending::NeverCompleted
}

fn connect_failed(f: &Facts<'_>) -> bool {
    f.left(State::SynSent) && f.is_closed()
}

fn sent(f: &Facts<'_>) -> bool {
    f.reset_sent() == Some(true)
}

fn sent_for(f: &Facts<'_>, reason: &str) -> bool {
    sent(f) && f.reason() == Some(reason)
}

fn in_fin_wait(f: &Facts<'_>) -> bool {
    matches!(f.left, Some(State::FinWait1 | State::FinWait2))
}

fn in_order(f: &Facts<'_>) -> bool {
    f.is_closed()
        && matches!(
            f.left,
            Some(State::FinWait2 | State::Closing | State::LastAck)
        )
}

fn closed_somehow(f: &Facts<'_>) -> bool {
    f.is_closed()
}

/// The meaning of an `errno` that the network gave for having no way.
pub(crate) fn unreachable(error: u32) -> Option<&'static str> {
    errno::UNREACHABLE
        .iter()
        .find_map(|(errno, text)| (*errno == error).then_some(*text))
}

// Sentences.

fn say(text: &str) -> String {
    text.to_owned()
}

/// What the kernel's reason for the reset means.
fn kernels_reason(f: &Facts<'_>) -> String {
    let meaning = f.reason().and_then(reset_reason_meaning);
    meaning.map_or_else(|| sent_in(f), str::to_owned)
}

fn sent_in(f: &Facts<'_>) -> String {
    let sent = format!("reset sent in {}", left(f));
    match f.reason().and_then(reset_reason_meaning) {
        Some(meaning) => format!("{sent}: {meaning}"),
        None => sent,
    }
}

fn left(f: &Facts<'_>) -> String {
    f.left
        .map_or("an unknown state".to_owned(), |state| state.to_string())
}

fn unknown(f: &Facts<'_>, what: &str) -> String {
    format!("{what}: {}", f.why_unknown())
}

/// `SYN sent 4 times`, where it is known how often.
fn syn_sent(f: &Facts<'_>) -> Option<String> {
    let retransmits = super::numbers::syn_retransmits(f)?;
    Some(match retransmits {
        0 => "SYN sent once".to_owned(),
        1 => "SYN sent twice".to_owned(),
        _ => format!("SYN sent {} times", u64::from(retransmits) + 1),
    })
}

fn syn_then(f: &Facts<'_>, then: &str) -> String {
    match syn_sent(f) {
        Some(sent) => format!("{sent}, {then}"),
        None => then.to_owned(),
    }
}

/// `SO_ERROR` takes the soft error out of the socket, so that there is none at its end proves nothing. A SYN
/// that is sent again was not answered: but for that moment in `connect`, any answer ends the attempt.
fn given_up(f: &Facts<'_>) -> String {
    let how = if f.evidence().syn_error_told {
        "given up on this side after an ICMP error, of which kind is not known"
    } else if f.evidence().reset_sent.is_some() {
        "given up on this side, answered only with segments of another connection"
    } else if super::numbers::syn_retransmits(f).is_some_and(|again| again > 0) {
        "given up on this side without an answer"
    } else {
        "given up on this side; whether an ICMP error came is not known"
    };
    syn_then(f, how)
}

fn listener(f: &Facts<'_>) -> String {
    match f.ending {
        Ending::Closed => say("a listener, closed"),
        Ending::EndUnseen => say("a listener, its end was not seen"),
        Ending::AgedOut => say("a listener, forgotten to stay within --max-connections"),
        Ending::MayBeOver => {
            say("a listener; transitions were lost since it was last seen, it may be closed")
        }
        Ending::StillOpen | Ending::NeverCompleted => say("a listener"),
    }
}

fn still_open(f: &Facts<'_>) -> String {
    let state = left(f);
    let what = match f.left {
        Some(State::SynSent) => return format!("in {state}: {}", syn_then(f, still_opening(f))),
        Some(State::Established) if f.was_never_accepted() => "nobody was seen to accept it",
        Some(State::CloseWait) if f.was_never_accepted() => {
            "the peer has closed, and nobody was seen to accept it"
        }
        Some(State::SynReceived) => "the handshake is not complete",
        Some(State::FinWait1) => "its FIN is not acknowledged yet",
        Some(State::FinWait2) => "waits for the peer to close",
        Some(State::CloseWait) => "the peer has closed, the application here has not",
        Some(State::Closing | State::LastAck) => {
            "both have closed, its FIN is not acknowledged yet"
        }
        Some(
            State::Established
            | State::TimeWait
            | State::Closed
            | State::Listen
            | State::NewSynReceived
            | State::BoundInactive
            | State::Unknown(_),
        )
        | None => return format!("in {state}"),
    };
    format!("in {state}: {what}")
}

fn still_opening(f: &Facts<'_>) -> &'static str {
    if f.evidence().soft_error != 0 || f.evidence().syn_error_told {
        "an ICMP error came, or the route went, and has not ended it"
    } else if super::numbers::syn_retransmits(f).is_some_and(|again| again > 0) {
        "no answer yet"
    } else {
        "no answer seen yet"
    }
}

fn refused(f: &Facts<'_>) -> String {
    let by = match f.reset_received() {
        Some(false) => "an ICMP message said that the port is unreachable",
        Some(true) | None => "refused by a reset or by ICMP",
    };
    syn_then(f, by)
}

/// A host that answers with what is not acceptable gets a reset, and the SYN is repeated.
fn never_answered(f: &Facts<'_>) -> String {
    if f.left(State::SynReceived) {
        return say("the handshake was not completed in time");
    }
    if f.evidence().reset_sent.is_some() {
        return syn_then(f, "answered only with segments of another connection");
    }
    syn_then(f, "never answered")
}

/// Each SYN-ACK is waited for twice as long as the one before.
fn never_acknowledged(f: &Facts<'_>) -> String {
    let sent = u64::from(f.evidence().synack_retransmits) + 1;
    let least = if super::numbers::synack_retransmits(f).is_some() {
        ""
    } else {
        "at least "
    };
    format!("SYN-ACK sent {least}{sent} times, and the handshake was not completed")
}

fn unacknowledged(f: &Facts<'_>) -> String {
    let waited = match super::numbers::retransmits(f) {
        None | Some(0) => "no acknowledgement came in time".to_owned(),
        Some(1) => "no acknowledgement came, 1 segment sent again".to_owned(),
        Some(count) => format!("no acknowledgement came, {count} segments sent again"),
    };
    match f.error().and_then(unreachable) {
        Some(text) => format!("{waited}; {text}"),
        None => waited,
    }
}

fn closed(f: &Facts<'_>) -> String {
    let how = closed_how(f);
    if f.missing_after_ns().is_some() {
        format!("{how}; {}", not_found(f))
    } else if let Some(after_ns) = f.replaced_after_ns() {
        let after = human(after_ns);
        format!("{how}; another connection had its addresses and ports {after} after the close")
    } else if f.is_namespace_gone() {
        format!(
            "{how}; its network namespace was gone, or not to be found, when the kernel was to be asked"
        )
    } else {
        how
    }
}

/// The kernel had no mini-socket of it any more, or never.
fn not_found(f: &Facts<'_>) -> String {
    let after_ns = f.missing_after_ns().unwrap_or_default();
    format!(
        "neither FIN_WAIT_2 nor TIME_WAIT was found when the kernel was asked {} after the close",
        human(after_ns)
    )
}

fn closed_how(f: &Facts<'_>) -> String {
    match (f.first_fin(), f.left) {
        (Some(ClosedBy::Both), _) => say("both sides closed at once"),
        (Some(ClosedBy::Remote), _) => say("the peer closed first, then this side"),
        (_, Some(State::FinWait2)) if f.fin_received() != Some(true) => say(match f.mini() {
            Some(mini) if mini.state == State::TimeWait => "this side closed first, then the peer",
            Some(mini) if matches!(mini.end, MiniEnd::At(_)) => {
                if mini.due_ns.is_some_and(|due_ns| due_ns <= mini.seen_ns) {
                    "this side closed first, and the peer did not before the kernel gave it up"
                } else {
                    "this side closed first, and the peer did not before its timer, late data or a reset ended it"
                }
            }
            _ => "this side closed first and the peer acknowledged it",
        }),
        _ => say("this side closed first, then the peer"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_a_rule_and_every_certain_one_a_source() {
        for verdict in [
            Open,
            Closed,
            Refused,
            TimedOut,
            Unreachable,
            Cancelled,
            ResetByPeer,
            ResetByUs,
            Aborted,
            AcceptQueueLost,
            Listener,
            Unknown,
        ] {
            assert!(RULES.iter().any(|rule| rule.verdict == verdict));
        }
        for rule in &RULES {
            assert!(rule.verdict == Unknown || !rule.source.is_empty());
        }
    }
}
