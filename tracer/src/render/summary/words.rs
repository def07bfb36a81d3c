//! Cells of the tables.

use std::fmt::Write as _;

use crate::diagnose::Verdict;
use crate::event::Comm;
use crate::render::plain::push_name;
use crate::render::vocab::{self, push_owner};
use crate::state::State;
use crate::stats::{Process, Share, Who};
use crate::track::{Owner, OwnerSource, Role};

/// What a verdict says, in a few words: `docs/schema.md` has the whole.
pub(super) fn meaning(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Refused => "the peer answered the SYN with a reset",
        Verdict::TimedOut => "nothing answered the SYN",
        Verdict::Unreachable => "an ICMP error, or a route that went",
        Verdict::Cancelled => "given up by the application while connecting",
        Verdict::ResetByPeer => "ended by the peer's reset",
        Verdict::ResetByUs => "ended by a reset from this side",
        Verdict::Aborted => "data, FIN or keepalive not acknowledged",
        Verdict::AcceptQueueLost => "lost before anybody accepted it",
        Verdict::Unknown => "what was seen does not tell",
        Verdict::Closed => "closed in order",
        Verdict::Open => "still open when the trace ended",
        Verdict::Listener => "no connection",
    }
}

/// `12 refused, 3 timed_out`: those that are wanted, the most frequent first.
pub(super) fn verdicts(share: &Share, wanted: impl Fn(Verdict) -> bool) -> String {
    let mut counts: Vec<_> = share
        .verdicts
        .all()
        .into_iter()
        .filter(|(verdict, count)| wanted(*verdict) && *count > 0)
        .collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let words = counts
        .into_iter()
        .map(|(verdict, count)| format!("{count} {}", vocab::verdict(verdict)));
    words.collect::<Vec<_>>().join(", ")
}

/// Of the port a connection is to.
pub(super) fn port(port: Option<u16>) -> String {
    port.map_or_else(
        || "? (who serves is not known)".to_owned(),
        |port| port.to_string(),
    )
}

/// Of a command name.
pub(super) fn comm(comm: Option<Comm>) -> String {
    match comm {
        None => "-".to_owned(),
        Some(comm) => {
            let mut text = String::new();
            push_name(&mut text, comm.as_bytes());
            text
        }
    }
}

/// `nginx/77`; in parentheses while nobody has accepted.
pub(super) fn process(process: &Process) -> String {
    let Process {
        pid,
        comm,
        not_accepted,
    } = *process;
    let source = if not_accepted {
        OwnerSource::Listener
    } else {
        OwnerSource::Unknown
    };
    owner(&Owner { pid, comm, source })
}

pub(super) fn owner(owner: &Owner) -> String {
    let mut text = String::new();
    push_owner(&mut text, owner, 0);
    text
}

/// The other end, with an arrow from who opened the connection.
pub(super) fn peer(who: &Who) -> String {
    let arrow = match who.role {
        Role::Client => "->",
        Role::Server => "<-",
        Role::Both => "<->",
        Role::Listener | Role::Unknown => "--",
    };
    format!("{arrow} {}", vocab::endpoint(who.remote, true))
}

pub(super) fn or_unknown(count: Option<u32>) -> String {
    count.map_or_else(|| "?".to_owned(), |count| count.to_string())
}

/// `5432 B`, `12.3 KiB`: cut, not rounded.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 10_000 {
        return format!("{bytes} B");
    }
    let mut unit = 1_u64 << 10;
    let mut text = String::new();
    for name in UNITS {
        let (whole, rest) = (bytes / unit, bytes % unit);
        // No overflow: the rest is less than 2^60.
        let tenth = rest * 10 / unit;
        if whole < 1024 {
            let _ = write!(text, "{whole}.{tenth} {name}");
            break;
        }
        unit <<= 10;
    }
    text
}

/// What a list leaves out.
pub(super) fn more(all: u64, shown: usize, what: &str) -> Option<String> {
    let shown = shown as u64;
    (all > shown).then(|| format!("the first {shown} of {all} {what}"))
}

/// Where a state stands in the order of a life.
pub(super) fn by_life(state: State) -> (usize, State) {
    let position = State::BY_LIFE.iter().position(|known| *known == state);
    (position.unwrap_or(State::BY_LIFE.len()), state)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_for_people() {
        let cases = [
            (0, "0 B"),
            (9_999, "9999 B"),
            (10_000, "9.7 KiB"),
            (1_048_575, "1023.9 KiB"),
            (1_048_576, "1.0 MiB"),
            (u64::MAX, "15.9 EiB"),
        ];
        for (number, text) in cases {
            assert_eq!(bytes(number), text);
        }
    }

    #[test]
    fn only_what_is_left_out_is_told() {
        assert_eq!(more(10, 10, "handshakes"), None);
        let text = more(11, 10, "handshakes");
        assert_eq!(text.as_deref(), Some("the first 10 of 11 handshakes"));
    }
}
