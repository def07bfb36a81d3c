//! What the rules say, each with its evidence: no evidence, no sentence.

use super::case::{Case, Stay};
use super::rules::Many;
use crate::diagnose;
use crate::diagnose::Verdict::{Aborted, Cancelled, Unreachable};
use crate::render::time::human;
use crate::state::State::{CloseWait, Closed, Closing, Established, FinWait1, LastAck, SynSent};
use crate::track::Connection;

pub(super) fn because(f: &Case<'_>, likely: &str) -> Option<String> {
    let because = &f.diagnosis.because;
    (!because.is_empty()).then(|| format!("{because}: {likely}"))
}

/// `CLOSE_WAIT for 30.00s`, `CLOSE_WAIT for at least 30.00s`
fn stays(f: &Case<'_>) -> Option<String> {
    let stay = f.stay?;
    Some(format!("{} for {}", stay.state, lasted(&stay)))
}

/// Of one that goes on it is clear that it is so far.
fn lasted(stay: &Stay) -> String {
    let at_least = if stay.began_before { "at least " } else { "" };
    format!("{at_least}{}", human(stay.lasted_ns))
}

/// `7 times`, `once`.
pub(super) fn times(count: u32) -> String {
    match count {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{count} times"),
    }
}

/// While it still tries, what ICMP or routing said has not ended it.
pub(super) fn no_way(f: &Case<'_>) -> Option<String> {
    const LIKELY: &str = "likely no route, the host is down, or a firewall rejects it";
    if f.diagnosis.verdict == Unreachable {
        return because(f, LIKELY);
    }
    if f.diagnosis.verdict == Cancelled {
        return f
            .conn
            .evidence
            .syn_error_told
            .then(|| {
                because(
                    f,
                    "likely nothing listens there, no route, or a firewall rejects it",
                )
            })
            .flatten();
    }
    let said = match diagnose::unreachable(f.conn.evidence.soft_error) {
        Some(said) => said,
        None if f.conn.evidence.syn_error_told && f.last_state() == Some(SynSent) => {
            "an ICMP error came"
        }
        None => return None,
    };
    Some(format!("{}, {said}: {LIKELY}", stays(f)?))
}

/// An application that gives up at once has not waited for an answer: only a repeated SYN tells that
/// none came. What is answered by ICMP, or by segments of another connection, is not unanswered.
pub(super) fn syn_unanswered(f: &Case<'_>) -> Option<String> {
    let evidence = &f.conn.evidence;
    let left_unanswered = f.last_state() == Some(SynSent);
    if !left_unanswered || evidence.soft_error != 0 || evidence.syn_error_told {
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
        .map_or_else(String::new, |stay| format!(" in {}", lasted(&stay)));
    Some(if evidence.reset_sent.is_some() {
        format!("{tries}{within} answered only with segments of another connection")
    } else {
        let likely = if is_on_this_machine(f.conn) {
            "a full accept queue (the server too busy to accept) or a firewall"
        } else {
            "a firewall, wrong host or route, or a server too busy to accept"
        };
        format!("no answer to {tries}{within}: likely {likely}")
    })
}

/// No other host and no route can be wrong then.
fn is_on_this_machine(conn: &Connection) -> bool {
    let remote = conn.remote.wire_addr();
    remote.is_loopback() || remote == conn.local.wire_addr()
}

/// The evidence is that of the verdict: the socket of a `connect` has no port when it is closed.
pub(super) fn no_local_port(f: &Case<'_>) -> Option<String> {
    let failed = f.conn.from_birth
        && f.last_state() == Some(SynSent)
        && f.conn.local.port == 0
        && f.conn.steps.last()?.state == Closed;
    failed.then(|| "connect failed before it had a local port: likely none was free".to_owned())
}

pub(super) fn handshake_incomplete(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    Some(match f.diagnosis.synack_retransmits {
        None | Some(0) => format!("{stays}: the final ACK did not come"),
        Some(again) => format!(
            "{stays}, SYN-ACK sent again {}: likely the way back is broken, or a SYN flood",
            times(again)
        ),
    })
}

pub(super) fn data_unacknowledged(f: &Case<'_>) -> Option<String> {
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

pub(super) fn closed_unread(f: &Case<'_>) -> Option<String> {
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

pub(super) fn peer_silent(f: &Case<'_>) -> Option<String> {
    let silent = f.diagnosis.reset_reason.as_deref() == Some("TCP_KEEPALIVE_TIMEOUT");
    silent
        .then(|| because(f, "likely the peer or the path is gone"))
        .flatten()
}

pub(super) fn close_wait(f: &Case<'_>) -> Option<String> {
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

pub(super) fn fin_unacknowledged(f: &Case<'_>) -> Option<String> {
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
pub(super) fn fin_unsent(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    f.nothing_resent_in_stay()
        .then(|| format!("{stays}, nothing sent again: likely the peer does not read"))
}

pub(super) fn fin_wait_2(f: &Case<'_>) -> Option<String> {
    let stays = stays(f)?;
    Some(if f.stay?.is_over {
        format!("{stays}: closed here, the peer's application was slow to close")
    } else {
        format!("{stays}: closed here, the peer's application has not closed")
    })
}

pub(super) fn time_wait_many(m: &Many) -> String {
    let of = match m.limit {
        Some(ports) => format!(" of {ports} there are"),
        None => String::new(),
    };
    format!(
        "{} local ports in TIME_WAIT{of}: likely connects fail when none is left",
        m.count
    )
}

pub(super) fn churn(m: &Many) -> String {
    let lives = match m.median_ns {
        // The median is cut, not rounded.
        Some(ns) => format!(
            ", half of the last ones lived less than {}",
            human(ns + 1000)
        ),
        None => String::new(),
    };
    format!(
        "{} connections ended in {}{lives}: short-lived, check keep-alive",
        m.count,
        human(m.within_ns),
    )
}
