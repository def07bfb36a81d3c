//! What tracer tells of a connection as a whole, against what was written down of it beforehand, against
//! its own transitions, and against the kernel's record of what was sent again.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use anyhow::{Context, Result, bail, ensure};

use crate::lives::Life;
use crate::oracle::{self, Resent};
use crate::scenarios::Expected;
use crate::scope::ALL_PORTS;
use crate::tracer::{Connection, Continued, Output, Span, Transition};

/// What can be told on this kernel with the hooks in use.
#[derive(Clone, Copy)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is there or not, on its own"
)]
pub(crate) struct Means {
    /// The kernel says why it sends a reset.
    reset_reasons: bool,
    /// Half-open connections are seen from the SYN on.
    requests: bool,
    /// An accept is seen by whatever call, and of whatever socket.
    accepts: bool,
    /// The mini-sockets are seen in which connections go on after their socket.
    pub(crate) mini_sockets: bool,
    /// The kernel is asked for mini-sockets now and then.
    pub(crate) polled: bool,
}

impl Means {
    pub(crate) fn of(output: &Output) -> Result<Self> {
        Ok(Self {
            reset_reasons: oracle::has_reset_reasons()?,
            requests: output.is_function_attached("inet_csk_reqsk_queue_hash_add"),
            accepts: output.is_function_attached("inet_csk_accept"),
            mini_sockets: output.is_function_attached("inet_twsk_kill"),
            polled: output.is_attached("netlink:sock_diag"),
        })
    }

    /// The owners that are seen of those expected.
    pub(crate) fn owners(self, expected: &str) -> String {
        let seen = expected.split(' ').filter_map(|owner| {
            let unseen = owner.strip_prefix('~');
            unseen.map_or(Some(owner), |owner| self.accepts.then_some(owner))
        });
        seen.collect::<Vec<_>>().join(" ")
    }

    /// Whether it is right that a state is known in this way.
    fn allows(self, state: &Stay, evidence: &str) -> bool {
        match evidence {
            "observed" => match state {
                Stay::InSocket | Stay::InEither => true,
                Stay::HalfOpen => self.requests,
                Stay::Mini | Stay::AfterMini => self.mini_sockets,
            },
            "inferred" => match state {
                Stay::InSocket | Stay::InEither => false,
                Stay::HalfOpen => !self.requests,
                Stay::Mini => !self.mini_sockets,
                // Where the trace ended first.
                Stay::AfterMini => true,
            },
            "polled" => self.polled && !matches!(state, Stay::InSocket),
            _ => false,
        }
    }
}

/// Where a connection spends its time in a state.
enum Stay {
    InSocket,
    /// In its socket or in a mini-socket.
    InEither,
    /// Before it has a socket.
    HalfOpen,
    /// In a mini-socket.
    Mini,
    /// Over, at the end of a mini-socket.
    AfterMini,
}

/// The `connection` lines of one run, by their connection, and what went before them.
pub(crate) struct Told<'a> {
    lines: BTreeMap<String, &'a Connection>,
    continued: &'a [Continued],
}

impl<'a> Told<'a> {
    /// Fails if one connection is told of twice.
    pub(crate) fn new(output: &'a Output) -> Result<Self> {
        let mut lines = BTreeMap::new();
        for line in &output.connections {
            if let Some(other) = lines.insert(line.conn.to_string(), line) {
                bail!("a connection told of twice: {other:?} and {line:?}");
            }
        }
        let told = Self {
            lines,
            continued: &output.continued,
        };
        told.ensure_continued_as_told()?;
        Ok(told)
    }

    /// What was told of a connection after its socket was closed is in its line as well.
    fn ensure_continued_as_told(&self) -> Result<()> {
        for step in self.continued {
            let line = self
                .lines
                .get(&step.conn.to_string())
                .with_context(|| format!("a connection goes on that does not end: {step:?}"))?;
            let start = line.wall_clock(step.mono_ns)?;
            let begins = |span: &Span| span.state == step.to && span.start == Some(start);
            let ends = |span: &Span| {
                span.state == step.from
                    && (step.in_state_ns.is_none() || span.duration_ns == step.in_state_ns)
            };
            ensure!(
                line.states.iter().any(begins) && line.states.iter().any(ends),
                "{step:?} is not in {line:?}"
            );
        }
        Ok(())
    }

    /// What is told of a connection with these transitions.
    pub(crate) fn of(&self, life: &Life<Transition>) -> Result<&'a Connection> {
        let first = life.steps.first().context("a life without a step")?;
        self.lines
            .get(&first.conn.to_string())
            .copied()
            .with_context(|| format!("a connection that is not told of: {first:?}"))
    }

    /// Fails unless there is a transition to each connection, but those of others that were there before.
    pub(crate) fn ensure_none_besides(&self, transitions: &[Transition]) -> Result<()> {
        let known: BTreeSet<_> = transitions
            .iter()
            .map(|line| line.conn.to_string())
            .collect();
        for (conn, line) in &self.lines {
            let ports = [line.local.port, line.remote.port];
            let of_others = !ports.iter().any(|port| ALL_PORTS.contains(port));
            ensure!(
                known.contains(conn) || line.sk.is_none() && of_others,
                "a connection of which no transition was shown: {line:?}"
            );
        }
        Ok(())
    }
}

/// How the end of a connection is described: verdict, who closed first, why this side reset it; then
/// the states, each with how it is known where that is not as it should be.
pub(crate) fn describe(line: &Connection, means: Means) -> String {
    let mut text = line.verdict.clone();
    for part in [&line.closed_by, &line.reset_reason].into_iter().flatten() {
        text.push(' ');
        text.push_str(part);
    }
    text.push_str(" |");
    let states = line.states.iter();
    let befores = [""]
        .into_iter()
        .chain(states.clone().map(|span| span.state.as_str()));
    let nexts = states.clone().skip(1).map(|span| span.state.as_str());
    for ((span, before), next) in states.zip(befores).zip(nexts.chain([""])) {
        let stay = match (before, span.state.as_str(), next) {
            // A fast open closed before the final ACK has its socket from the SYN on.
            ("", "SYN_RECEIVED", "FIN_WAIT_1") => Stay::InSocket,
            ("", "SYN_RECEIVED", _) if line.role == "server" => Stay::HalfOpen,
            (_, "TIME_WAIT", _) => Stay::Mini,
            ("TIME_WAIT", "CLOSED", _) => Stay::AfterMini,
            (_, "FIN_WAIT_2", _) | ("FIN_WAIT_2", "CLOSED", _) => Stay::InEither,
            _ => Stay::InSocket,
        };
        let _ = write!(text, " {}", span.state);
        if !means.allows(&stay, &span.evidence) {
            let _ = write!(text, "({})", span.evidence);
        }
    }
    text
}

/// The same of what is expected. More than one where it depends on what happens to be seen.
pub(crate) fn describe_expected(expected: &Expected, means: Means) -> Vec<String> {
    let mut end = expected.end.split(' ').collect::<Vec<_>>();
    if !means.reset_reasons {
        end.truncate(2);
    }
    let describe = |with_unsure: bool| {
        let mut text = end.join(" ");
        text.push_str(" |");
        for state in expected.states.split(' ') {
            match state.strip_prefix('?') {
                Some(state) if with_unsure => text.extend([" ", state]),
                Some(_) => {}
                None => text.extend([" ", state.trim_start_matches('~')]),
            }
        }
        text
    };
    let is_unsure = expected.states.contains('?');
    let mut all = Vec::new();
    if !is_unsure || !means.mini_sockets {
        all.push(describe(true));
    }
    if is_unsure && (means.mini_sockets || means.polled) {
        all.push(describe(false));
    }
    all
}

/// Fails unless a `connection` line and the transitions of its connection tell the same, and nothing in
/// the line contradicts itself.
pub(crate) fn ensure_consistent(
    line: &Connection,
    life: &Life<Transition>,
    told: &Told<'_>,
) -> Result<()> {
    let last = life.steps.last().context("a life without a step")?;
    let same = [
        (line.sk.as_ref().unwrap_or(&last.sk), &last.sk),
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
    at_close_fits(line)?;
    spans_follow(&line.states).with_context(|| format!("in {line:?}"))?;
    spans_are_as_reported(line, life, told)
}

/// What the socket was at its end does not contradict what became of it.
fn at_close_fits(line: &Connection) -> Result<()> {
    let is_part =
        |data: Option<u64>, all: Option<u64>| data <= all && data.is_some() == all.is_some();
    ensure!(
        is_part(line.data_segments_sent, line.segments_sent)
            && is_part(line.data_segments_received, line.segments_received),
        "more segments with data than segments: {line:?}"
    );
    let gave_up = line.verdict == "aborted" && line.retransmits.is_some_and(|count| count > 0);
    ensure!(
        !gave_up
            || line
                .congestion_state
                .as_deref()
                .is_none_or(|state| state == "loss"),
        "given up after retransmissions, and congestion control is not in loss: {line:?}"
    );
    if let (Some(sent), Some(again)) = (line.segments_sent, line.retransmits) {
        let syns = line.syn_retransmits.unwrap_or_default();
        ensure!(again + syns <= sent, "sent again more than sent: {line:?}");
    }
    Ok(())
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
        let may_be_nothing = next
            .within_ns
            .is_some_and(|within_ns| within_ns >= between_ns);
        if may_be_nothing && span.duration_ns.is_none() {
            continue;
        }
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
fn spans_are_as_reported(
    line: &Connection,
    life: &Life<Transition>,
    told: &Told<'_>,
) -> Result<()> {
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
        let began_later = || {
            let mut later = told.continued.iter();
            later.any(|later| later.conn == line.conn && later.to == span.state)
        };
        let start = Some(line.wall_clock(step.mono_ns)?);
        ensure!(
            span.start == start
                || (began_unseen && span.start <= start)
                || (span.start >= start && began_later()),
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
    ensure!(
        line.bytes_received == received,
        "bytes_received is {:?}, not {received:?}: {line:?}",
        line.bytes_received
    );
    Ok(())
}
