//! What tracer tells of a connection as a whole, against what was written down of it beforehand, against
//! its own transitions, and against the kernel's record of what was sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};

use crate::lives::Life;
use crate::oracle::{self, Resent};
use crate::scenarios::Expected;
use crate::tracer::{Connection, Span, Transition};

/// What can be told on this kernel with the hooks in use.
#[derive(Clone, Copy)]
pub(crate) struct Means {
    /// The kernel says why it sends a reset.
    reset_reasons: bool,
    /// The sockets without which a connection goes on, or begins, are seen as well.
    small_sockets: bool,
}

impl Means {
    pub(crate) fn here() -> Result<Self> {
        Ok(Self {
            reset_reasons: oracle::has_reset_reasons()?,
            small_sockets: false,
        })
    }
}

/// The `connection` lines of one run, by their connection.
pub(crate) struct Told<'a> {
    lines: BTreeMap<String, &'a Connection>,
}

impl<'a> Told<'a> {
    /// Fails if one connection is told of twice.
    pub(crate) fn new(lines: &'a [Connection]) -> Result<Self> {
        let mut told = BTreeMap::new();
        for line in lines {
            if let Some(other) = told.insert(line.conn.to_string(), line) {
                bail!("a connection told of twice: {other:?} and {line:?}");
            }
        }
        Ok(Self { lines: told })
    }

    /// What is told of a connection with these transitions.
    pub(crate) fn of(&self, life: &Life<Transition>) -> Result<&'a Connection> {
        let first = life.steps.first().context("a life without a step")?;
        self.lines
            .get(&first.conn.to_string())
            .copied()
            .with_context(|| format!("a connection that is not told of: {first:?}"))
    }

    /// Fails unless there is a transition to each connection.
    pub(crate) fn ensure_none_besides(&self, transitions: &[Transition]) -> Result<()> {
        let known: BTreeSet<_> = transitions
            .iter()
            .map(|line| line.conn.to_string())
            .collect();
        for (conn, line) in &self.lines {
            ensure!(
                known.contains(conn),
                "a connection of which no transition was shown: {line:?}"
            );
        }
        Ok(())
    }
}

/// How the end of a connection is described: verdict, who closed first, why this side reset it; then
/// the states, each with how it is known.
pub(crate) fn describe(line: &Connection) -> String {
    let mut text = line.verdict.clone();
    for part in [&line.closed_by, &line.reset_reason].into_iter().flatten() {
        text.push(' ');
        text.push_str(part);
    }
    text.push_str(" |");
    for span in &line.states {
        let _ = write!(text, " {}", span.state);
        if span.evidence != "observed" {
            let _ = write!(text, "({})", span.evidence);
        }
    }
    text
}

/// The same of what is expected.
pub(crate) fn describe_expected(expected: &Expected, means: Means) -> String {
    let mut end = expected.end.split(' ').collect::<Vec<_>>();
    if !means.reset_reasons {
        end.truncate(2);
    }
    let mut text = end.join(" ");
    text.push_str(" |");
    for state in expected.states.split(' ') {
        match state.strip_prefix('~') {
            Some(state) if !means.small_sockets => {
                let _ = write!(text, " {state}(inferred)");
            }
            Some(state) => {
                let _ = write!(text, " {state}");
            }
            None => {
                let _ = write!(text, " {state}");
            }
        }
    }
    text
}

/// Fails unless a `connection` line and the transitions of its connection tell the same, and nothing in
/// the line contradicts itself.
pub(crate) fn ensure_consistent(line: &Connection, life: &Life<Transition>) -> Result<()> {
    let last = life.steps.last().context("a life without a step")?;
    let same = [
        (&line.sk, &last.sk),
        (&line.family, &last.family),
        (&line.protocol, &last.protocol),
        (&line.role, &last.role),
        (&line.owner_source, &last.owner_source),
    ]
    .iter()
    .all(|(one, other)| one == other);
    ensure!(
        same && (line.netns, line.pid, &line.comm) == (last.netns, last.pid, &last.comm)
            && (line.local, line.remote) == (last.local, last.remote),
        "a connection is not that of its transitions: {line:?}\nafter {last:?}"
    );
    ensure!(
        line.ending == "closed" && line.from_birth && !line.has_gap,
        "a connection that was seen from birth to end is said not to be: {line:?}"
    );
    ensure!(
        line.because
            .as_deref()
            .is_some_and(|because| !because.is_empty()),
        "a verdict without a reason: {line:?}"
    );
    spans_follow(&line.states).with_context(|| format!("in {line:?}"))?;
    spans_are_as_reported(line, life)
}

/// Each state ends where the next begins.
fn spans_follow(spans: &[Span]) -> Result<()> {
    for (span, next) in spans.iter().zip(spans.iter().skip(1)) {
        let (Some(start), Some(end)) = (span.start, next.start) else {
            // Only what nobody saw the end of has no length.
            ensure!(
                span.duration_ns.is_none() || span.duration_is_minimum || span.start.is_some(),
                "{} has a length but no beginning",
                span.state
            );
            continue;
        };
        let between_ns = u64::try_from(end.as_nanosecond() - start.as_nanosecond())
            .with_context(|| format!("{} ends before it begins", span.state))?;
        ensure!(
            span.duration_ns == Some(between_ns) && !span.duration_is_minimum,
            "{} lasts {:?} ns, and {} begins {between_ns} ns after it",
            span.state,
            span.duration_ns,
            next.state
        );
    }
    if let Some(last) = spans.last() {
        ensure!(
            last.state == "CLOSED" && last.duration_ns.is_none() && last.expected_ns.is_none(),
            "the last state is not CLOSED for good"
        );
    }
    Ok(())
}

/// An observed state begins with the transition into it.
fn spans_are_as_reported(line: &Connection, life: &Life<Transition>) -> Result<()> {
    for span in line
        .states
        .iter()
        .filter(|span| span.evidence == "observed")
    {
        let mut steps = life.steps.iter();
        let Some(step) = steps.find(|step| step.to == span.state && step.from != step.to) else {
            continue;
        };
        // Without a socket the kernel has reported nothing of it.
        let began_unseen = span.state == "SYN_RECEIVED" && line.role == "server";
        ensure!(
            span.start == Some(step.ts) || (began_unseen && span.start <= Some(step.ts)),
            "{} does not begin with the transition into it, at {}: {line:?}",
            span.state,
            step.ts
        );
    }
    Ok(())
}

/// What the kernel's record says was sent again: SYNs, SYN-ACKs, data and FINs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SentAgain {
    syn: u64,
    synack: u64,
    data: u64,
}

impl SentAgain {
    /// Of one socket. `since_ns`: when an earlier connection between the same addresses had ended.
    pub(crate) fn of(life: &Life<Transition>, since_ns: u64, resent: &[Resent]) -> Result<Self> {
        let first = life.steps.first().context("a life without a step")?;
        let last = life.steps.last().context("a life without a step")?;
        let skaddr = first.skaddr()?;
        let mut again = Self::default();
        for one in resent {
            let half_open = one.local == (last.local.addr.to_canonical(), last.local.port)
                && one.remote == (last.remote.addr.to_canonical(), last.remote.port)
                && (since_ns..=first.mono_ns).contains(&one.mono_ns);
            let own = one.skaddr == skaddr && (first.mono_ns..=last.mono_ns).contains(&one.mono_ns);
            match one.state.as_deref() {
                // With TCP fast open it is the connection's own socket that sends it.
                None if own || (half_open && first.role == "server") => again.synack += 1,
                Some("TCP_SYN_SENT") if own => again.syn += 1,
                Some("TCP_SYN_RECV") if own => again.synack += 1,
                Some(_) if own => again.data += 1,
                None | Some(_) => {}
            }
        }
        Ok(again)
    }
}

/// Fails unless the numbers of a `connection` line are those of the kernel's record, and what is
/// expected.
pub(crate) fn ensure_numbers(
    line: &Connection,
    again: SentAgain,
    expected: &Expected,
    means: Means,
) -> Result<()> {
    let numbers = [
        ("syn_retransmits", line.syn_retransmits, again.syn, "SYN"),
        (
            "synack_retransmits",
            line.synack_retransmits,
            again.synack,
            "SYN-ACK",
        ),
        ("retransmits", line.retransmits, again.data, "data"),
    ];
    let is_tcp = expected.protocol == "tcp" && expected.role != "listener";
    for (name, told, recorded, what) in numbers {
        let right = if is_tcp { Some(recorded) } else { None };
        ensure!(
            told == right,
            "{name} is {told:?}, by the kernel's record {right:?}: {line:?}"
        );
        ensure!(
            recorded > 0 || !expected.resent.contains(&what),
            "no {what} was sent again: {line:?}"
        );
    }
    let [sent, received] = expected.bytes.map(|bytes| is_tcp.then_some(bytes));
    // Told only where all was acknowledged, or nothing sent twice.
    let sent_is_untold = line.bytes_sent.is_none() && again.data > 0;
    ensure!(
        line.bytes_sent == sent || sent_is_untold,
        "bytes_sent is {:?}, not {sent:?}: {line:?}",
        line.bytes_sent
    );
    // The kernel's counter holds the peer's FIN as well, if that came while there was a socket.
    let may_hold_fin = expected.states.contains("FIN_WAIT_2 ~");
    let received_is_untold = line.bytes_received.is_none() && may_hold_fin && !means.small_sockets;
    ensure!(
        line.bytes_received == received || received_is_untold,
        "bytes_received is {:?}, not {received:?}: {line:?}",
        line.bytes_received
    );
    Ok(())
}
