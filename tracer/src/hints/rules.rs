//! The rules, as documentation and as code: [`RULES`].
//!
//! A rule is asked when a connection has been in one of its states for the time of `--stuck`, and when one
//! ended with one of its verdicts. Its sentence says what was seen, with figures, then what is likely
//! behind it; without evidence there is no sentence, and the rule does not apply.

use super::Hint;
use super::case::{Case, Stay};
use super::sentences::{
    because, churn, close_wait, closed_unread, data_unacknowledged, fin_unacknowledged, fin_unsent,
    fin_wait_2, handshake_incomplete, no_local_port, no_way, peer_silent, syn_unanswered,
    time_wait_many, times,
};
use crate::diagnose::{Diagnosis, SpanEvidence, Verdict};
use crate::render::time::human;
use crate::state::State;
use crate::track::{Connection, Ending, HalfOpenConnection, Role};

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
    text: Text,
}

/// How a rule puts it.
enum Text {
    OfOne(fn(&Case<'_>) -> Option<String>),
    OfMany(fn(&Many) -> String),
}

/// Connections that have something in common.
#[derive(Clone, Copy)]
pub(super) struct Many {
    pub(super) count: u64,
    pub(super) within_ns: u64,
    /// How many there can be.
    pub(super) limit: Option<u64>,
    /// How long the one in the middle lived.
    pub(super) median_ns: Option<u64>,
}

impl Many {
    pub(super) fn new(count: u64, within_ns: u64) -> Self {
        Self {
            count,
            within_ns,
            limit: None,
            median_ns: None,
        }
    }
}

/// The rule for data that is not acknowledged: the only one that a [`super::Watch`] asks by name, when a
/// retransmission is seen.
pub(super) const DATA_UNACKNOWLEDGED: &str = "data_unacknowledged";

/// All rules. The order is that of the hints about a connection.
#[rustfmt::skip]
pub static RULES: [Rule; 19] = [
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
    rule("unreachable", &[SynSent], &[Unreachable, Cancelled],
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

    // Many: the thresholds are constants of `crowds`.
    many("half_open_many",
        "the way back to the clients, a SYN flood, a full accept queue",
        (SynReceived, "nstat"), "RFC 4987; reqsk_timer_handler",
        |m| format!("{} half-open connections in {} had their SYN-ACK sent again: likely a SYN flood or no \
            way back", m.count, human(m.within_ns))),
    many("refused_often",
        "on the peer: does anything listen there, and on that address",
        (Listen, "ss -ltnp"), "RFC 9293 3.10.7.1; tcp_v4_send_reset",
        |m| format!("refused {} times in {}: likely the service is down", m.count, human(m.within_ns))),
    many("close_wait_many",
        "how near the process is to its limit of open files",
        (CloseWait, "ls /proc"), "RFC 9293 3.6; tcp_fin",
        |m| format!("{} connections of the process in CLOSE_WAIT for {} or longer: likely a leak", m.count,
            human(m.within_ns))),
    many("time_wait_many",
        "keep connections open and use them again; the range of local ports",
        (TimeWait, "sysctl"), "RFC 9293 3.6.1; inet_hash_connect, TCP_TIMEWAIT_LEN", time_wait_many),
    many("churn",
        "keep connections open and use them again (keep-alive, a pool)",
        (TimeWait, "ss -Htn"), "RFC 9293 3.5, 3.6", churn),
];

const fn many(
    name: &'static str,
    advice: &'static str,
    check: (State, &'static str),
    source: &'static str,
    text: fn(&Many) -> String,
) -> Rule {
    Rule {
        name,
        states: &[],
        verdicts: &[],
        advice,
        check,
        source,
        text: Text::OfMany(text),
    }
}

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
        text: Text::OfOne(text),
    }
}

/// The rules that are asked when a connection has been in a state for long.
pub(super) fn of_stay(state: State) -> impl Iterator<Item = &'static Rule> {
    RULES
        .iter()
        .filter(move |rule| rule.states.contains(&state))
}

/// The hint about a connection that has no socket yet.
pub(super) fn half_open(half_open: &HalfOpenConnection) -> Option<Hint> {
    let rule = named("handshake_incomplete")?;
    let again = times(half_open.retransmits);
    let since = |ns| human(half_open.last_ns.saturating_sub(ns));
    let seen = match half_open.born_ns {
        Some(born_ns) => format!(
            "half-open for {}, SYN-ACK sent again {again}",
            since(born_ns)
        ),
        // How often before, and since when, is not known.
        None => format!(
            "half-open, SYN-ACK seen sent again {again}, the last {} after the first of these",
            since(half_open.first_ns)
        ),
    };
    Some(Hint {
        name: rule.name,
        text: format!("{seen}: likely no way back, or the accept queue is full"),
        advice: rule.advice,
        check: rule.command().map(str::to_owned),
    })
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
        let Text::OfOne(text) = self.text else {
            return None;
        };
        Some(Hint {
            name: self.name,
            text: text(case)?,
            advice: self.advice,
            check: self.command_for(case.conn),
        })
    }

    pub(super) fn hint_of_many(&self, many: &Many, pid: Option<u32>) -> Option<Hint> {
        let Text::OfMany(text) = self.text else {
            return None;
        };
        let command = self.command()?;
        Some(Hint {
            name: self.name,
            text: text(many),
            advice: self.advice,
            check: Some(match pid {
                Some(pid) => command.replace("PID", &pid.to_string()),
                None => command.to_owned(),
            }),
        })
    }

    fn command(&self) -> Option<&'static str> {
        let (state, begins) = self.check;
        state.facts()?.check(begins)?.command
    }

    /// The command, with what it needs to know of the connection.
    fn command_for(&self, conn: &Connection) -> Option<String> {
        let command = self.command()?;
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
                    began_before: span.is_minimum || span.since_ns.is_none(),
                    is_over: !goes_on,
                })
            })
            .max_by_key(|stay| stay.lasted_ns)
    }
}
