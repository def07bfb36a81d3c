//! The documented timeline, of what the kernel reported and what follows from it.
//!
//! On Linux a socket leaves the tracepoint's sight before its connection is over, and enters it after it
//! began: `TIME_WAIT` and the end of an orphan's `FIN_WAIT_2` are spent in a mini-socket
//! (`tcp_time_wait`), and `SYN_RECEIVED` in a request socket.

use super::evidence::Facts;
use super::{SpanEvidence, StateSpan};
use crate::state::State;
use crate::track::{After, Ending, HALF_OPEN_WITHIN_NS, Mini, MiniEnd, Role, TIME_WAIT_NS};

pub(super) fn timeline(f: &Facts<'_>) -> Vec<StateSpan> {
    let mut spans = observed(f);
    if !f.is_tcp() || f.conn.role == Role::Listener {
        return spans;
    }
    if f.conn.role == Role::Server {
        half_open(f, &mut spans);
    }
    if f.is_closed() {
        out_of_sight(f, &mut spans);
    }
    spans
}

/// One span for each run of a state.
fn observed(f: &Facts<'_>) -> Vec<StateSpan> {
    let mut spans: Vec<StateSpan> = Vec::with_capacity(f.conn.steps.len() + 1);
    for step in &f.conn.steps {
        if let Some(last) = spans.last_mut() {
            if last.state == step.state {
                continue;
            }
            last.duration_ns = between(last.since_ns, step.since_ns);
        }
        spans.push(StateSpan {
            state: step.state,
            since_ns: step.since_ns,
            duration_ns: None,
            is_minimum: false,
            evidence: SpanEvidence::Observed,
            expected_ns: None,
            within_ns: None,
        });
    }
    if f.conn.is_cut_off(f.ending)
        && let Some(last) = spans.last_mut()
    {
        last.duration_ns = between(last.since_ns, Some(f.conn.as_of_ns));
    }
    since_listed(f, &mut spans);
    spans
}

/// Of a connection that was there before the trace, the time its first state lasted from when it was found.
fn since_listed(f: &Facts<'_>, spans: &mut [StateSpan]) {
    let Some(listed_ns) = f.conn.listed_ns else {
        return;
    };
    let left = spans.len() > 1;
    let end_ns = match spans.get(1) {
        Some(next) => next.since_ns,
        None => (f.conn.is_cut_off(f.ending)).then_some(f.conn.as_of_ns),
    };
    if let Some(first) = spans.first_mut()
        && first.since_ns.is_none()
    {
        first.duration_ns = between(Some(listed_ns), end_ns);
        first.is_minimum = first.duration_ns.is_some();
        if !left {
            first.evidence = SpanEvidence::Polled;
        }
    }
}

/// The socket of a server comes with the end of the handshake. Where the SYN was not seen, the handshake took a round trip if the
/// SYN-ACK was sent once, else it is not known since when it was half-open.
fn half_open(f: &Facts<'_>, spans: &mut [StateSpan]) {
    let opened = f.evidence().opened;
    if f.had_a_socket_from_the_syn_on() {
        return;
    }
    let established_ns = spans
        .iter()
        .find(|span| span.state == State::Established)
        .and_then(|span| span.since_ns);
    let Some(first) = spans
        .first_mut()
        .filter(|span| span.state == State::SynReceived)
    else {
        return;
    };
    if let Some(born_ns) = f.evidence().half_open_ns {
        first.since_ns = Some(born_ns);
        first.duration_ns = between(Some(born_ns), established_ns.or(there_until_ns(f)));
        first.is_minimum = f.ending == Ending::MayBeOver && f.is_half_open();
        if f.evidence().half_open_polled {
            first.evidence = SpanEvidence::Polled;
            first.within_ns = Some(HALF_OPEN_WITHIN_NS);
        }
        return;
    }
    let lasted_ns = opened
        .filter(|opened| opened.retransmits == 0)
        .and_then(|opened| opened.rtt_us)
        .map(|rtt_us| u64::from(rtt_us) * 1000);
    // What the kernel reported is the last few microseconds.
    first.since_ns = established_ns
        .zip(lasted_ns)
        .and_then(|(end_ns, lasted_ns)| end_ns.checked_sub(lasted_ns));
    first.duration_ns = lasted_ns.filter(|_| first.since_ns.is_some());
    if first.duration_ns.is_some() {
        first.evidence = SpanEvidence::Inferred;
    }
}

/// What a mini-socket goes on with when the socket is closed.
fn out_of_sight(f: &Facts<'_>, spans: &mut Vec<StateSpan>) {
    if !matches!(f.left, Some(State::FinWait2 | State::Closing)) {
        return;
    }
    let Some(closed) = spans.pop() else { return };
    match f.evidence().after {
        After::Mini(mini) => return in_mini_socket(&mini, f.conn.listed_ns, spans, closed),
        After::Nothing => return spans.push(closed),
        After::NotKnown | After::Missing(_) | After::Replaced(_) | After::NoNamespace => {}
    }
    let undisturbed = f.is_undisturbed();
    if undisturbed == Some(false) {
        spans.push(closed);
        return;
    }
    let fin_received = f.fin_received();
    if fin_received != Some(true)
        && let Some(last) = spans.last_mut()
        // How long it was there at least since it was found, stays true.
        && !last.is_minimum
    {
        last.duration_ns = None;
    }
    if undisturbed == Some(true) && f.missing_after_ns().is_none() {
        spans.push(StateSpan {
            state: State::TimeWait,
            since_ns: closed.since_ns.filter(|_| fin_received == Some(true)),
            duration_ns: None,
            is_minimum: false,
            evidence: SpanEvidence::Inferred,
            // Where it was cut off, or may have been, it did not last as long as the rules say.
            expected_ns: (f.evidence().after == After::NotKnown).then_some(TIME_WAIT_NS),
            within_ns: None,
        });
    }
    let after_ns = f.replaced_after_ns();
    spans.push(StateSpan {
        since_ns: (closed.since_ns.zip(after_ns)).map(|(closed_ns, ns)| closed_ns + ns),
        evidence: SpanEvidence::Inferred,
        within_ns: after_ns,
        ..closed
    });
}

/// The life of the mini-socket. `closed` is when the socket was; `listed_ns` when the trace found the connection, if it
/// is older.
fn in_mini_socket(
    mini: &Mini,
    listed_ns: Option<u64>,
    spans: &mut Vec<StateSpan>,
    closed: StateSpan,
) {
    let is_only = spans.len() == 1;
    let evidence = if mini.polled {
        SpanEvidence::Polled
    } else {
        SpanEvidence::Observed
    };
    let within_ns = |ns: u64| (mini.polled && ns > 0).then_some(ns);
    let end_ns = match mini.end {
        MiniEnd::At(end_ns) => Some(end_ns),
        MiniEnd::NotSeen | MiniEnd::Replaced(_) | MiniEnd::NoNamespace => None,
    };
    let is_in_time_wait = mini.state == State::TimeWait;
    if let Some(last) = spans.last_mut()
        && matches!(last.state, State::FinWait2 | State::Closing)
    {
        let left_ns = if is_in_time_wait {
            mini.time_wait_ns
        } else {
            end_ns
        };
        last.is_minimum = left_ns.is_none() || last.since_ns.is_none();
        let since_ns = last.since_ns.or(listed_ns.filter(|_| is_only));
        last.duration_ns = between(since_ns, left_ns.or(Some(mini.seen_ns)));
        if is_in_time_wait && left_ns.is_none() {
            last.duration_ns = None;
        }
        // CLOSING ended with its socket, which was observed.
        if mini.polled && last.state == State::FinWait2 {
            last.evidence = evidence;
        }
    }
    if is_in_time_wait {
        spans.push(StateSpan {
            state: State::TimeWait,
            since_ns: mini.time_wait_ns,
            duration_ns: between(mini.time_wait_ns, end_ns.or(Some(mini.seen_ns))),
            is_minimum: end_ns.is_none(),
            evidence,
            expected_ns: (mini.end == MiniEnd::NotSeen).then_some(TIME_WAIT_NS),
            within_ns: mini.time_wait_ns.and(within_ns(mini.within_ns)),
        });
    } else if matches!(mini.end, MiniEnd::NotSeen | MiniEnd::NoNamespace) {
        // In FIN_WAIT_2 as far as is known.
        return;
    }
    let unseen_ns = |end_ns: u64| end_ns.saturating_sub(mini.seen_ns);
    let (since_ns, evidence, within_ns) = match mini.end {
        MiniEnd::At(ns) => (Some(ns), evidence, within_ns(unseen_ns(ns))),
        MiniEnd::Replaced(ns) => (Some(ns), SpanEvidence::Inferred, Some(unseen_ns(ns))),
        MiniEnd::NotSeen | MiniEnd::NoNamespace => (None, SpanEvidence::Inferred, None),
    };
    spans.push(StateSpan {
        since_ns,
        evidence,
        within_ns,
        ..closed
    });
}

/// Until when it is known to have been in its last state.
fn there_until_ns(f: &Facts<'_>) -> Option<u64> {
    (!f.conn.in_doubt).then_some(f.conn.as_of_ns)
}

fn between(start_ns: Option<u64>, end_ns: Option<u64>) -> Option<u64> {
    end_ns?.checked_sub(start_ns?)
}
