//! The rules, as documentation and as code: [`RULES`].
//!
//! A rule is asked when a connection has been in one of its states for the time of `--stuck`, and when one
//! ended with one of its verdicts. Its sentence says what was seen, with figures, then what is likely
//! behind it; without evidence there is no sentence, and the rule does not apply.

use super::Hint;
use super::case::{Case, Stay};
use crate::diagnose::{self, Diagnosis, SpanEvidence, Verdict};
use crate::render::time::human;
use crate::state::State;
use crate::track::{Connection, Ending, Role};

use State::{
    CloseWait, Closed, Closing, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived,
    SynSent, TimeWait,
};
use Verdict::{
    Aborted, AcceptQueueLost, Cancelled, Refused, ResetByPeer, ResetByUs, TimedOut, Unknown,
    Unreachable,
};

/// One rule.
pub struct Rule {
    /// Its name for programs. Stays the same from release to release.
    pub name: &'static str,
    /// States that it is a problem to stay in.
    pub states: &'static [State],
    /// Verdicts that it has something to say to.
    pub verdicts: &'static [Verdict],
    /// What to look at.
    pub advice: &'static str,
    /// The command that tells more: the state whose [facts](crate::state::facts) have it, and how it
    /// begins.
    pub check: (State, &'static str),
    /// Where it is written: a section of an RFC, functions of the kernel.
    pub source: &'static str,
    text: fn(&Case<'_>) -> Option<String>,
}

/// The rule for data that is not acknowledged: the only one that a [`super::Watch`] asks by name, when a
/// retransmission is seen.
pub(super) const DATA_UNACKNOWLEDGED: &str = "data_unacknowledged";

/// All rules about one connection. The order is that of the hints.
#[rustfmt::skip]
pub static RULES: [Rule; 14] = [
    // It does not open.
    rule("syn_unanswered", &[SynSent], &[TimedOut, Cancelled],
        "a firewall on the way, the address, the route, the server's accept queue",
        (SynSent, "tcpdump"), "RFC 9293 3.8.3; tcp_write_timeout", syn_unanswered),
    rule("no_local_port", &[], &[Unknown],
        "connections in TIME_WAIT or open to the same address and port",
        (TimeWait, "sysctl"), "inet_hash_connect", no_local_port),
    rule("refused", &[], &[Refused],
        "on the peer: does anything listen there, and on that address",
        (Listen, "ss -ltnp"), "RFC 9293 3.10.7.1; tcp_v4_send_reset",
        |f| because(f, "likely nothing listens there, or a firewall rejects it")),
    rule("unreachable", &[SynSent], &[Unreachable],
        "the route, whether the host is up, a firewall that rejects",
        (SynSent, "ip route"), "RFC 1122 4.2.3.9; tcp_v4_err",
        no_way),
    rule("handshake_incomplete", &[SynReceived], &[],
        "the way back to the client, a firewall, asymmetric routing",
        (SynReceived, "ss -tno"), "RFC 9293 3.5; tcp_rtx_synack, reqsk_timer_handler", handshake_incomplete),
    rule("accept_queue_lost", &[], &[AcceptQueueLost],
        "whether the server restarted, and whether it accepts fast enough",
        (Listen, "ss -ltnp"), "inet_csk_listen_stop",
        |f| because(f, "likely the server stopped, or never accepts")),

    // It does not move on, or was cut short.
    rule(DATA_UNACKNOWLEDGED, &[], &[Aborted],
        "the path and the peer: does anything come back",
        (LastAck, "tcpdump"), "RFC 9293 3.8.3; tcp_retransmit_timer", data_unacknowledged),
    rule("reset_by_peer", &[], &[ResetByPeer],
        "the peer's log; a firewall, NAT or load balancer with a short idle timeout",
        (LastAck, "tcpdump"), "RFC 9293 3.10.7.4; tcp_reset",
        |f| because(f, "likely the peer's process ended, closed with data unread, or lost the connection")),
    rule("closed_unread", &[], &[ResetByUs],
        "why the application closes before it has read everything",
        (Closed, "nstat"), "RFC 2525 2.17; __tcp_close", closed_unread),
    rule("peer_silent", &[], &[ResetByUs],
        "whether the peer is up; a firewall or NAT that forgets idle connections",
        (Established, "sysctl"), "RFC 9293 3.8.4; tcp_keepalive_timer", peer_silent),

    // It does not close.
    rule("close_wait", &[CloseWait], &[],
        "why the application here does not close: a leak, a hang, or it still sends",
        (CloseWait, "ss -tnpo"), "RFC 9293 3.6; tcp_fin", close_wait),
    rule("fin_unacknowledged", &[FinWait1, Closing, LastAck], &[Aborted],
        "the path and the peer: does an ACK or a reset come back",
        (LastAck, "tcpdump"), "RFC 9293 3.6; tcp_orphan_retries, tcp_write_timeout", fin_unacknowledged),
    rule("fin_unsent", &[FinWait1, Closing, LastAck], &[],
        "on the peer: an application that does not read (Recv-Q of ss -tn)",
        (FinWait1, "ss -tnpo"), "RFC 9293 3.8.6.1; tcp_probe_timer", fin_unsent),
    rule("fin_wait_2", &[FinWait2], &[],
        "on the peer: which process is in CLOSE_WAIT",
        (CloseWait, "ss -tnpo"), "RFC 9293 3.6; tcp_time_wait, __tcp_close", fin_wait_2),
];

const fn rule(
    name: &'static str,
    states: &'static [State],
    verdicts: &'static [Verdict],
    advice: &'static str,
    check: (State, &'static str),
    source: &'static str,
    text: fn(&Case<'_>) -> Option<String>,
) -> Rule {
    Rule {
        name,
        states,
        verdicts,
        advice,
        check,
        source,
        text,
    }
}

/// The rules that are asked when a connection has been in a state for long.
pub(super) fn of_stay(state: State) -> impl Iterator<Item = &'static Rule> {
    RULES
        .iter()
        .filter(move |rule| rule.states.contains(&state))
}

/// A bit for each rule.
pub(super) fn bit(name: &str) -> u32 {
    RULES
        .iter()
        .position(|rule| rule.name == name)
        .map_or(0, |index| 1 << index)
}

/// A rule by its name.
pub(super) fn named(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}

impl Rule {
    pub(super) fn hint(&self, case: &Case<'_>) -> Option<Hint> {
        Some(Hint {
            name: self.name,
            text: (self.text)(case)?,
            advice: self.advice,
            check: self.command(case.conn),
        })
    }

    /// The command, with what it needs to know of the connection.
    fn command(&self, conn: &Connection) -> Option<String> {
        let (state, begins) = self.check;
        let command = state.facts()?.check(begins)?.command?;
        let service = match conn.role {
            Role::Server | Role::Listener => conn.local.port,
            Role::Client | Role::Both | Role::Unknown => conn.remote.port,
        };
        let mut filled = command
            .replace("ADDRESS", &conn.remote.wire_addr().to_string())
            .replace("PORT", &service.to_string());
        if let Some(pid) = conn.owner.pid {
            filled = filled.replace("PID", &pid.to_string());
        }
        Some(filled)
    }

    /// The longest stay in one of the rule's states whose length is known.
    pub(super) fn longest_stay(
        &self,
        conn: &Connection,
        ending: Ending,
        diagnosis: &Diagnosis,
    ) -> Option<Stay> {
        let last = diagnosis.states.len().saturating_sub(1);
        let spans = diagnosis.states.iter().enumerate();
        spans
            .filter(|(_, span)| self.states.contains(&span.state))
            .filter_map(|(index, span)| {
                let goes_on =
                    index == last && matches!(ending, Ending::StillOpen | Ending::AgedOut);
                Some(Stay {
                    state: span.state,
                    since_ns: span.since_ns.unwrap_or(conn.as_of_ns),
                    lasted_ns: span.duration_ns?,
                    is_minimum: goes_on || span.evidence != SpanEvidence::Observed,
                    is_over: !goes_on,
                })
            })
            .max_by_key(|stay| stay.lasted_ns)
    }
}

// Sentences.

fn because(f: &Case<'_>, likely: &str) -> Option<String> {
    let because = &f.diagnosis.because;
    (!because.is_empty()).then(|| format!("{because}: {likely}"))
}

/// `CLOSE_WAIT for 30.00s`
fn stays(f: &Case<'_>) -> Option<String> {
    let stay = f.stay?;
    Some(format!("{} for {}", stay.state, human(stay.lasted_ns)))
}

/// `7 times`, `once`.
fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

/// While it still tries, what ICMP or routing said has not ended it.
fn no_way(f: &Case<'_>) -> Option<String> {
    const LIKELY: &str = "likely no route, the host is down, or a firewall rejects it";
    if f.diagnosis.verdict == Unreachable {
        return because(f, LIKELY);
    }
    let said = diagnose::unreachable(f.conn.evidence.soft_error)?;
    Some(format!("{}, {said}: {LIKELY}", stays(f)?))
}

/// An application that gives up at once has not waited for an answer: only a repeated SYN tells that
/// none came. What is answered by ICMP, or by segments of another connection, is not unanswered.
fn syn_unanswered(f: &Case<'_>) -> Option<String> {
    let evidence = &f.conn.evidence;
    let left_unanswered = f.last_state() == Some(SynSent);
    if !left_unanswered || evidence.soft_error != 0 {
        return None;
    }
    let sent = f.diagnosis.syn_retransmits;
    if f.diagnosis.verdict == Cancelled && sent.unwrap_or_default() == 0 {
        return None;
    }
    let tries = match sent {
        Some(0) => "the SYN".to_owned(),
        Some(again) => format!("{} SYNs", u64::from(again) + 1),
        None => "any SYN".to_owned(),
    };
    let within = f
        .stay
        .map_or_else(String::new, |stay| format!(" in {}", human(stay.lasted_ns)));
    Some(if evidence.reset_sent.is_some() {
        format!("{tries}{within} answered only with segments of another connection")
    } else {
        format!("no answer to {tries}{within}: likely a firewall, wrong host or wrong route")
    })
}

/// The evidence is that of the verdict: the socket of a `connect` has no port when it is closed.
fn no_local_port(f: &Case<'_>) -> Option<String> {
    let failed = f.conn.from_birth
        && f.last_state() == Some(SynSent)
        && f.conn.local.port == 0
        && f.conn.steps.last()?.state == Closed;
    failed.then(|| "connect failed before it had a local port: likely none was free".to_owned())
}

fn handshake_incomplete(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    Some(match f.diagnosis.synack_retransmits {
        None | Some(0) => format!("{stays}: the final ACK did not come"),
        Some(again) => format!(
            "{stays}, SYN-ACK sent again {}: likely the way back is broken, or a SYN flood",
            times(again)
        ),
    })
}

fn data_unacknowledged(f: &Case<'_>) -> Option<String> {
    if !matches!(f.last_state(), Some(Established | CloseWait)) {
        return None;
    }
    if f.diagnosis.verdict == Aborted {
        return because(f, "likely the peer or the path is gone");
    }
    let run = f.backoff()?;
    Some(format!(
        "data sent again {} in {} without an ACK: likely the peer or the path is gone",
        times(run.count),
        human(run.last_ns.saturating_sub(run.first_ns)),
    ))
}

fn closed_unread(f: &Case<'_>) -> Option<String> {
    let unread = f.diagnosis.reset_reason.as_deref() == Some("TCP_ABORT_ON_CLOSE");
    unread
        .then(|| {
            because(
                f,
                "the peer got a reset and may have lost what it had not read",
            )
        })
        .flatten()
}

fn peer_silent(f: &Case<'_>) -> Option<String> {
    let silent = f.diagnosis.reset_reason.as_deref() == Some("TCP_KEEPALIVE_TIMEOUT");
    silent
        .then(|| because(f, "likely the peer or the path is gone"))
        .flatten()
}

fn close_wait(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    if f.is_not_accepted() {
        return Some(format!(
            "{stays}: peer closed, and nobody was seen to accept it"
        ));
    }
    let who = match f.conn.owner.pid {
        Some(pid) => format!("pid {pid}"),
        None => "the application here".to_owned(),
    };
    Some(if f.stay?.is_over {
        format!("{stays}: peer closed, {who} was slow to close")
    } else {
        format!("{stays}: peer closed, {who} has not; likely a leak or a hang")
    })
}

fn fin_unacknowledged(f: &Case<'_>) -> Option<String> {
    if f.diagnosis.verdict == Aborted {
        let fin = matches!(f.last_state(), Some(FinWait1 | Closing | LastAck));
        return fin
            .then(|| because(f, "likely the peer or the path is gone"))
            .flatten();
    }
    let stays = stays(f)?;
    match f.resent_in_stay() {
        Some(again) => Some(format!(
            "{stays}, sent again {}: likely the peer or the path is gone",
            times(again)
        )),
        None if f.nothing_resent_in_stay() => None,
        None => Some(format!("{stays}: the FIN is not acknowledged")),
    }
}

/// What waits to be sent is not sent again: the peer's window is closed, or it is a very slow transfer.
fn fin_unsent(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    f.nothing_resent_in_stay()
        .then(|| format!("{stays}, nothing sent again: likely the peer does not read"))
}

fn fin_wait_2(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    Some(if f.stay?.is_over {
        format!("{stays}: closed here, the peer's application was slow to close")
    } else {
        format!("{stays}: closed here, the peer's application has not closed")
    })
}
