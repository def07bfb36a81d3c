//! The words all formats share.

use std::fmt::{self, Write};
use std::net::IpAddr;

use anstyle::{AnsiColor, Style};
use bytes::{BufMut, BytesMut};

use super::digits::{write_addr, write_hex, write_number};
use super::plain::{push_name, push_plain};
use crate::diagnose::{ClosedBy, Diagnosis, SpanEvidence, Verdict};
use crate::event::{Endpoint, Family, Protocol};
use crate::hints::Hint;
use crate::session::{Lost, MissingEnd, SnapshotStatus};
use crate::state::{Names, State};
use crate::track::{After, Connection, Ending, Legality, Owner, OwnerSource, Role};

pub(crate) fn role(role: Role) -> &'static str {
    match role {
        Role::Client => "client",
        Role::Server => "server",
        Role::Listener => "listener",
        Role::Both => "both",
        Role::Unknown => "unknown",
    }
}

/// Between this side and the other, pointing to the one that was connected to.
pub(crate) fn arrow(role: Role) -> &'static str {
    match role {
        Role::Client => "->",
        Role::Server => "<-",
        Role::Both => "<->",
        Role::Listener | Role::Unknown => "--",
    }
}

pub(crate) fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Open => "open",
        Verdict::Closed => "closed",
        Verdict::Refused => "refused",
        Verdict::TimedOut => "timed_out",
        Verdict::Unreachable => "unreachable",
        Verdict::Cancelled => "cancelled",
        Verdict::ResetByPeer => "reset_by_peer",
        Verdict::ResetByUs => "reset_by_us",
        Verdict::Aborted => "aborted",
        Verdict::AcceptQueueLost => "accept_queue_lost",
        Verdict::Listener => "listener",
        Verdict::Unknown => "unknown",
    }
}

/// What a verdict says of a connection, in the words of `docs/schema.md`.
pub(crate) fn verdict_meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Open => "still open when the trace ended",
        Verdict::Closed => "established and closed in order, by FIN",
        Verdict::Refused => "not established: the peer answered the SYN with a reset",
        Verdict::TimedOut => "not established: nothing answered the SYN",
        Verdict::Unreachable => "not established: an ICMP error, or a route that went",
        Verdict::Cancelled => "not established: the application gave it up",
        Verdict::ResetByPeer => "ended by the peer's reset",
        Verdict::ResetByUs => "ended by a reset from this side",
        Verdict::Aborted => "ended by a timeout: data, a FIN or keepalives were not acknowledged",
        Verdict::AcceptQueueLost => {
            "established, but the listener closed, or had no room, before anybody accepted it"
        }
        Verdict::Listener => "no connection: a listener",
        Verdict::Unknown => "ended, or may have, in a way that what was seen does not tell",
    }
}

/// A verdict with the kernel's reason, if it gave one: `reset_by_us (TCP_ABORT_ON_CLOSE)`.
pub(crate) fn put_verdict(out: &mut BytesMut, diagnosis: &Diagnosis, color: bool) {
    let mut text = verdict(diagnosis.verdict).to_owned();
    if let Some(reason) = &diagnosis.reset_reason {
        text.push_str(" (");
        push_plain(&mut text, reason.as_bytes());
        text.push(')');
    }
    let style = if color {
        verdict_style(diagnosis.verdict)
    } else {
        Style::new()
    };
    let _ = write!(out, "{style}{text}{style:#}");
}

/// `hint: ` and its sentence.
pub(crate) fn put_hint(out: &mut BytesMut, hint: &Hint, color: bool) {
    let style = if color {
        AnsiColor::Yellow.on_default().bold()
    } else {
        Style::new()
    };
    let mut text = String::new();
    push_plain(&mut text, hint.text.as_bytes());
    let _ = write!(out, "{style}hint:{style:#} {text}");
}

/// Red where the connection failed, yellow where that is open to question, green where it did not.
fn verdict_style(verdict: Verdict) -> Style {
    let color = match verdict {
        Verdict::Refused
        | Verdict::TimedOut
        | Verdict::Unreachable
        | Verdict::ResetByPeer
        | Verdict::ResetByUs
        | Verdict::Aborted
        | Verdict::AcceptQueueLost => AnsiColor::Red,
        Verdict::Cancelled | Verdict::Unknown => AnsiColor::Yellow,
        Verdict::Open | Verdict::Closed => AnsiColor::Green,
        Verdict::Listener => AnsiColor::Cyan,
    };
    color.on_default().bold()
}

pub(crate) fn closed_by(side: ClosedBy) -> &'static str {
    match side {
        ClosedBy::Local => "local",
        ClosedBy::Remote => "remote",
        ClosedBy::Both => "both",
    }
}

pub(crate) fn evidence(evidence: SpanEvidence) -> &'static str {
    match evidence {
        SpanEvidence::Observed => "observed",
        SpanEvidence::Polled => "polled",
        SpanEvidence::Inferred => "inferred",
    }
}

pub(crate) fn ending(ending: Ending) -> &'static str {
    match ending {
        Ending::Closed => "closed",
        Ending::EndUnseen => "end_unseen",
        Ending::AgedOut => "aged_out",
        Ending::StillOpen => "still_open",
        Ending::MayBeOver => "may_be_over",
        Ending::NeverCompleted => "never_completed",
    }
}

pub(crate) fn owner_source(source: OwnerSource) -> &'static str {
    match source {
        OwnerSource::Accept => "accept",
        OwnerSource::Connect => "connect",
        OwnerSource::Listen => "listen",
        OwnerSource::Snapshot => "snapshot",
        OwnerSource::Close => "close",
        OwnerSource::Listener => "listener",
        OwnerSource::Unknown => "unknown",
    }
}

pub(crate) fn snapshot_status(status: SnapshotStatus) -> &'static str {
    match status {
        SnapshotStatus::Off => "off",
        SnapshotStatus::Complete => "complete",
        SnapshotStatus::Partial => "partial",
        SnapshotStatus::Unavailable => "unavailable",
    }
}

pub(crate) fn missing_end(end: MissingEnd) -> &'static str {
    match end {
        MissingEnd::OtherFile => "other_file",
        MissingEnd::CutOff | MissingEnd::StillWritten | MissingEnd::Endless => "cut_off",
        MissingEnd::Interrupted => "interrupted",
    }
}

pub(crate) fn legality(legality: Legality) -> &'static str {
    match legality {
        Legality::Rfc => "rfc",
        Legality::Linux(_) => "linux",
        Legality::Unexpected => "unexpected",
    }
}

/// Kernel address of a socket.
pub(crate) fn socket(sk: u64) -> impl fmt::Display {
    fmt::from_fn(move |f| write_hex(f, sk))
}

/// `inet`, `inet6`, or the number.
pub(crate) fn family(family: Family) -> impl fmt::Display {
    fmt::from_fn(move |f| match family {
        Family::Inet => f.write_str("inet"),
        Family::Inet6 => f.write_str("inet6"),
        Family::Other(number) => write!(f, "{number}"),
    })
}

/// `tcp`, `mptcp`, or the number.
pub(crate) fn protocol(protocol: Protocol) -> impl fmt::Display {
    fmt::from_fn(move |f| match protocol {
        Protocol::Tcp => f.write_str("tcp"),
        Protocol::Mptcp => f.write_str("mptcp"),
        Protocol::Other(number) => write!(f, "{number}"),
    })
}

/// The name of a state; `UNKNOWN(17)` for a number without one.
pub(crate) fn state(state: State, names: Names) -> impl fmt::Display {
    fmt::from_fn(move |f| match state.known_name(names) {
        Some(name) => f.write_str(name),
        None => write!(f, "UNKNOWN({})", state.to_kernel()),
    })
}

/// Appends the name of a state.
pub(crate) fn push_state(out: &mut String, one: State, names: Names) {
    match one.known_name(names) {
        Some(name) => out.push_str(name),
        None => {
            let _ = write!(out, "{}", state(one, names));
        }
    }
}

/// Several states: `FIN_WAIT_2 or TIME_WAIT`.
pub(crate) fn states(states: &[State], names: Names, separator: &str) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        for (index, &one) in states.iter().enumerate() {
            if index > 0 {
                f.write_str(separator)?;
            }
            write!(f, "{}", state(one, names))?;
        }
        Ok(())
    })
}

/// Green while data can flow both ways, yellow on the way up, magenta on the way down.
pub(crate) fn state_style(state: State) -> Style {
    let color = match state {
        State::Established => AnsiColor::Green,
        State::SynSent | State::SynReceived | State::NewSynReceived => AnsiColor::Yellow,
        State::FinWait1
        | State::FinWait2
        | State::TimeWait
        | State::CloseWait
        | State::LastAck
        | State::Closing => AnsiColor::Magenta,
        State::Listen | State::BoundInactive => AnsiColor::Cyan,
        State::Closed => AnsiColor::Blue,
        State::Unknown(_) => AnsiColor::Red,
    };
    color.on_default()
}

/// A state's name, in its colour.
pub(crate) fn put_state(out: &mut BytesMut, name: &str, state: State, color: bool) {
    if color {
        let style = state_style(state);
        let _ = write!(out, "{style}{name}{style:#}");
    } else {
        out.put_slice(name.as_bytes());
    }
}

/// Appends `10.0.0.1:443`, `[::1]:443`; `*` for a port that is not chosen yet, alone where the address is
/// unspecified too.
pub(crate) fn write_endpoint(
    out: &mut impl Write,
    Endpoint { addr, port }: Endpoint,
    port_known: bool,
) -> fmt::Result {
    let port_known = port_known && port != 0;
    if !port_known && addr.is_unspecified() {
        return out.write_char('*');
    }
    match addr {
        IpAddr::V4(_) => write_addr(out, addr)?,
        IpAddr::V6(v6) => write!(out, "[{v6}]")?,
    }
    out.write_char(':')?;
    if port_known {
        write_number(out, port)
    } else {
        out.write_char('*')
    }
}

/// An endpoint as [`write_endpoint`] shows it.
pub(crate) fn endpoint(endpoint: Endpoint, port_known: bool) -> impl fmt::Display {
    fmt::from_fn(move |f| write_endpoint(f, endpoint, port_known))
}

/// Appends the owner, and how many others hold the connection: `nginx/812+4`.
pub(crate) fn push_owners(out: &mut String, conn: &Connection) {
    push_owner(out, &conn.owner, others(conn));
}

/// How many processes hold a connection beside its owner.
pub(crate) fn others(conn: &Connection) -> usize {
    let holders = conn.holders.as_ref();
    holders.map_or(0, |holders| holders.len().saturating_sub(1))
}

/// Appends `curl/1234`; in parentheses while it is only the listener's owner; `-` for nobody known.
/// `others` more hold the connection.
pub(crate) fn push_owner(out: &mut String, owner: &Owner, others: usize) {
    let Owner { pid, comm, source } = owner;
    if pid.is_none() && comm.is_none() {
        out.push('-');
        return;
    }
    let provisional = *source == OwnerSource::Listener;
    if provisional {
        out.push('(');
    }
    match comm {
        Some(comm) => push_name(out, comm.as_bytes()),
        None => out.push('?'),
    }
    out.push('/');
    match pid {
        Some(pid) => out.push_str(itoa::Buffer::new().format(*pid)),
        None => out.push('?'),
    }
    if others > 0 {
        let _ = write!(out, "+{others}");
    }
    if provisional {
        out.push(')');
    }
}

/// Appends a note, after `; ` if there is one already.
pub(crate) fn push_note(notes: &mut String, note: &str) {
    if !notes.is_empty() {
        notes.push_str("; ");
    }
    notes.push_str(note);
}

/// Appends what there is to say of a transition besides itself: nothing most of the time.
pub(crate) fn push_transition_notes(
    notes: &mut String,
    after: After,
    protocol: Protocol,
    from: State,
    to: State,
    legality: Legality,
    names: Names,
) {
    let unseen = super::unseen::next(after, protocol, from, to);
    match legality {
        Legality::Unexpected => push_note(notes, "unexpected transition"),
        Legality::Linux(why) if unseen.is_empty() => push_note(notes, why),
        Legality::Rfc | Legality::Linux(_) => {}
    }
    if !unseen.is_empty() {
        // Of one found by asking it is not known what it was in when the socket was closed.
        push_note(
            notes,
            if after.mini().is_some_and(|mini| !mini.polled) {
                "goes on in "
            } else {
                "usually goes on unseen in "
            },
        );
        let _ = write!(notes, "{}", states(unseen, names, " or "));
    }
}

/// One reason for which events are lost.
pub(crate) struct LossReason {
    /// How many were.
    pub(crate) count: u64,
    /// What happened.
    pub(crate) what: &'static str,
    /// What to do about it.
    pub(crate) hint: &'static str,
}

/// Every reason, those with a count of zero too.
pub(crate) fn loss_reasons(lost: &Lost) -> [LossReason; 6] {
    let Lost {
        ring_full,
        reentry,
        unreadable,
        undecodable,
        damaged,
        evidence,
    } = *lost;
    [
        LossReason {
            count: ring_full,
            what: "tracer could not keep up",
            hint: "raise --ring-size and --backlog, or trace less: --port, --addr",
        },
        LossReason {
            count: reentry,
            what: "the kernel refused to run the program inside itself",
            hint: "nothing to set; where the loss shows, lines say 'after a gap'",
        },
        LossReason {
            count: unreadable,
            what: "the kernel program could not read the socket",
            hint: "see what 'tracer doctor' says of the event fields",
        },
        LossReason {
            count: undecodable,
            what: "the record could not be decoded",
            hint: "kernel program and tracer disagree: please report it with 'tracer doctor --json'",
        },
        LossReason {
            count: damaged,
            what: "in a part of the recording that is damaged or missing",
            hint: "what is left is exact; what was open across it says 'after a gap', or is 'unknown'",
        },
        LossReason {
            count: evidence,
            what: "accepts, resets, errors or retransmissions did not arrive (no transitions)",
            hint: "owners and verdicts of that time may be unknown; if tracer could not keep up, raise --ring-size and --backlog",
        },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(addr: &str, port: u16, known: bool) -> String {
        let addr = addr.parse().unwrap();
        endpoint(Endpoint { addr, port }, known).to_string()
    }

    #[test]
    fn endpoints() {
        assert_eq!(shown("10.0.0.1", 443, true), "10.0.0.1:443");
        assert_eq!(shown("10.0.0.1", 443, false), "10.0.0.1:*");
        assert_eq!(shown("0.0.0.0", 80, true), "0.0.0.0:80");
        assert_eq!(shown("0.0.0.0", 0, true), "*");
        assert_eq!(shown("::1", 443, true), "[::1]:443");
        assert_eq!(shown("::", 0, true), "*");
        assert_eq!(shown("::ffff:1.2.3.4", 80, true), "[::ffff:1.2.3.4]:80");
    }

    #[test]
    fn owners() {
        let shown = |pid, comm: Option<&str>, source| {
            let mut out = String::new();
            let comm = comm.map(crate::event::Comm::from);
            push_owner(&mut out, &Owner { pid, comm, source }, 0);
            out
        };
        let sshd = Owner {
            pid: Some(7),
            comm: Some("sshd".into()),
            source: OwnerSource::Listener,
        };
        let mut of_several = String::new();
        push_owner(&mut of_several, &sshd, 3);
        assert_eq!(of_several, "(sshd/7+3)");
        assert_eq!(shown(Some(7), Some("sshd"), OwnerSource::Accept), "sshd/7");
        assert_eq!(
            shown(Some(7), Some("sshd"), OwnerSource::Listener),
            "(sshd/7)"
        );
        assert_eq!(shown(Some(7), None, OwnerSource::Close), "?/7");
        assert_eq!(shown(None, Some("sshd"), OwnerSource::Close), "sshd/?");
        assert_eq!(shown(Some(7), Some(""), OwnerSource::Connect), "\"\"/7");
        assert_eq!(shown(None, None, OwnerSource::Unknown), "-");
    }

    #[test]
    fn unknown_states_keep_their_number() {
        for names in [Names::Documented, Names::Rfc, Names::Kernel, Names::Ss] {
            assert_eq!(
                state(State::from_kernel(17), names).to_string(),
                "UNKNOWN(17)"
            );
            assert_eq!(
                state(State::from_kernel(-1), names).to_string(),
                "UNKNOWN(-1)"
            );
        }
    }

    #[test]
    fn the_reasons_add_up() {
        let lost = Lost {
            ring_full: 1,
            reentry: 20,
            unreadable: 300,
            undecodable: 4000,
            damaged: 50_000,
            evidence: 0,
        };
        let sum: u64 = loss_reasons(&lost).iter().map(|reason| reason.count).sum();
        assert_eq!(sum, lost.total());
    }
}
