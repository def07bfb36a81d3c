//! What is true of a whole run: the machine, the clocks, what is attached, what was lost.

use serde::{Deserialize, Serialize};

use crate::diagnose::Verdict;

/// Maps `CLOCK_MONOTONIC` to wall-clock time: one reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockMap {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub mono_ns: u64,
    /// `CLOCK_REALTIME` at the same moment, nanoseconds since the Unix epoch.
    pub wall_ns: i64,
}

impl ClockMap {
    /// Wall-clock time, in nanoseconds since the Unix epoch, of a monotonic time.
    pub fn wall_ns(&self, mono_ns: u64) -> i64 {
        let delta = i128::from(mono_ns) - i128::from(self.mono_ns);
        let wall = i128::from(self.wall_ns) + delta;
        i64::try_from(wall).unwrap_or(if wall < 0 { i64::MIN } else { i64::MAX })
    }

    /// Whether a later reading of the clocks tells the same, to within a millisecond.
    pub fn agrees_with(&self, later: &Self) -> bool {
        const STEP_NS: u64 = 1_000_000;
        self.wall_ns(later.mono_ns).abs_diff(later.wall_ns) <= STEP_NS
    }
}

/// Facts that stand at the head of every recording.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Session {
    /// Version of tracer.
    pub tracer_version: String,
    /// Host name.
    pub host: String,
    /// Kernel release (`uname -r`).
    pub kernel: String,
    /// Machine architecture (`uname -m`).
    pub arch: String,
    /// `/proc/sys/kernel/random/boot_id`; monotonic times compare only within one boot.
    pub boot_id: Option<String>,
    /// Clocks at the start.
    pub clock: ClockMap,
    /// Filters in force, each as `name=value`, in the order of the command line's help.
    pub filters: Vec<(String, String)>,
    /// Hooks of the kernel and whether each is in use.
    pub hooks: Vec<HookReport>,
    /// Data of an event that this kernel does not give, each with the reason.
    pub missing_fields: Vec<(String, String)>,
    /// What was asked of the connections that were there before.
    pub snapshot: SnapshotReport,
}

/// The list of connections and listeners that were there when the trace began.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotReport {
    /// Whether there is one.
    pub status: SnapshotStatus,
    /// Connections and listeners in it.
    pub sockets: u64,
    /// Network namespaces in it.
    pub namespaces: u64,
    /// Nanoseconds it took.
    pub duration_ns: u64,
    /// What is not in it, each with the reason.
    pub missing: Vec<(String, String)>,
}

/// Whether there is a list of the connections that were there before the trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotStatus {
    /// It was not asked for.
    #[default]
    Off,
    /// With all that was to be had.
    Complete,
    /// Without what [`SnapshotReport::missing`] names.
    Partial,
    /// None, for the reasons that [`SnapshotReport::missing`] gives.
    Unavailable,
}

/// One place in the kernel where tracer listens, or would.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookReport {
    /// Name as the kernel has it, with the way it is used: `raw_tracepoint:inet_sock_set_state`.
    pub name: String,
    /// What it is for, in a few words.
    pub purpose: String,
    /// Attached, or why not.
    pub status: HookStatus,
}

/// Name in [`Session::missing_fields`] of losses that the kernel does not count.
pub const LOST_REENTRY: &str = "lost.reentry";

impl Session {
    /// Why events may be missing that [`Lost`] does not count.
    pub fn uncounted_losses(&self) -> Option<&str> {
        self.missing_fields
            .iter()
            .find_map(|(field, reason)| (field == LOST_REENTRY).then_some(reason.as_str()))
    }
}

/// Whether a hook is in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HookStatus {
    /// In use.
    Attached,
    /// Not in use because a better one is.
    NotNeeded,
    /// Not to be had here, and why.
    Unavailable(String),
}

/// Events that did not reach the output, by reason. All zero means that none was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lost {
    /// The ring buffer was full.
    pub ring_full: u64,
    /// The kernel refused to re-enter the program, and the twin did not see the event either.
    pub reentry: u64,
    /// The kernel program could not read the socket.
    pub unreadable: u64,
    /// Records that could not be decoded.
    pub undecodable: u64,
    /// Transitions in parts of a recording that are damaged or missing.
    pub damaged: u64,
    /// Accepts and evidence, not transitions, lost for any of these reasons: owners and verdicts may lack
    /// them. Not part of the total.
    pub evidence: u64,
}

impl Lost {
    /// What was lost since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            ring_full: self.ring_full.saturating_sub(earlier.ring_full),
            reentry: self.reentry.saturating_sub(earlier.reentry),
            unreadable: self.unreadable.saturating_sub(earlier.unreadable),
            undecodable: self.undecodable.saturating_sub(earlier.undecodable),
            damaged: self.damaged.saturating_sub(earlier.damaged),
            evidence: self.evidence.saturating_sub(earlier.evidence),
        }
    }

    /// Transitions lost: the sum over all reasons.
    pub fn total(&self) -> u64 {
        self.ring_full
            .saturating_add(self.reentry)
            .saturating_add(self.unreadable)
            .saturating_add(self.undecodable)
            .saturating_add(self.damaged)
    }

    /// What was lost here and there.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        Self {
            ring_full: self.ring_full.saturating_add(other.ring_full),
            reentry: self.reentry.saturating_add(other.reentry),
            unreadable: self.unreadable.saturating_add(other.unreadable),
            undecodable: self.undecodable.saturating_add(other.undecodable),
            damaged: self.damaged.saturating_add(other.damaged),
            evidence: self.evidence.saturating_add(other.evidence),
        }
    }
}

/// Parts of a session that the recording of it does not hold, as far as that is known. Nothing of a live run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missing {
    /// Files of the session before the first one given.
    pub files_before: u32,
    /// Transitions in them.
    pub transitions_before: u64,
    /// Why it ends before the session did, if it does.
    pub after: Option<MissingEnd>,
    /// Stretches that could not be read, or were not there.
    pub damages: u64,
    /// Bytes of them.
    pub damaged_bytes: u64,
    /// Of the stretches, those of which it is not known what they held: [`Lost`] does not count it.
    pub damages_uncounted: u64,
    /// Records that stand behind later ones, and were not read.
    pub misplaced_records: u64,
    /// Records that stand there once more. Nothing is missing by it: they were read once.
    pub doubled_records: u64,
}

impl Missing {
    /// Whether anything is.
    pub fn is_any(&self) -> bool {
        *self != Self::default()
    }
}

/// Why what was read of a session ends before the session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MissingEnd {
    /// It goes on in a file that was not given.
    OtherFile,
    /// The last file has no end, and nobody writes to it.
    CutOff,
    /// The last file has no end yet.
    StillWritten,
    /// The last file has no end: it was cut off, or is still being written.
    Endless,
    /// Reading was interrupted.
    Interrupted,
}

/// What stands at the end of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// State transitions received from the kernel.
    pub events: u64,
    /// Transitions that were shown: not left out by a filter, `--state` or `--transition`.
    pub shown: u64,
    /// Connections and listeners told of, or of which a transition was shown.
    pub connections: u64,
    /// Those of them that were there before the trace and had no transition in it.
    pub unchanged: u64,
    /// Connections forgotten before their end because `--max-connections` was reached.
    pub aged_out: u64,
    /// Transitions that the kernel refused to run the first program for and the twin recorded.
    pub recovered: u64,
    /// Hints told while the run went on.
    pub hints: u64,
    /// Connections that `--stuck` did not watch because there were too many at once.
    pub unwatched: u64,
    /// What became of the connections and listeners that were told of.
    pub verdicts: Verdicts,
    /// Events that did not arrive.
    pub lost: Lost,
    /// What the recording does not hold.
    pub missing: Missing,
    /// Nanoseconds from start to end.
    pub duration_ns: u64,
}

impl Totals {
    /// What has come since `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        Self {
            events: self.events.saturating_sub(earlier.events),
            shown: self.shown.saturating_sub(earlier.shown),
            connections: self.connections.saturating_sub(earlier.connections),
            unchanged: self.unchanged.saturating_sub(earlier.unchanged),
            aged_out: self.aged_out.saturating_sub(earlier.aged_out),
            recovered: self.recovered.saturating_sub(earlier.recovered),
            hints: self.hints.saturating_sub(earlier.hints),
            unwatched: self.unwatched.saturating_sub(earlier.unwatched),
            verdicts: self.verdicts.since(&earlier.verdicts),
            lost: self.lost.since(&earlier.lost),
            // Known at the end of the whole only.
            missing: Missing::default(),
            duration_ns: self.duration_ns.saturating_sub(earlier.duration_ns),
        }
    }
}

/// How many connections came to each verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdicts {
    /// [`Verdict::Refused`]
    pub refused: u64,
    /// [`Verdict::TimedOut`]
    pub timed_out: u64,
    /// [`Verdict::Unreachable`]
    pub unreachable: u64,
    /// [`Verdict::Cancelled`]
    pub cancelled: u64,
    /// [`Verdict::ResetByPeer`]
    pub reset_by_peer: u64,
    /// [`Verdict::ResetByUs`]
    pub reset_by_us: u64,
    /// [`Verdict::Aborted`]
    pub aborted: u64,
    /// [`Verdict::AcceptQueueLost`]
    pub accept_queue_lost: u64,
    /// [`Verdict::Unknown`]
    pub unknown: u64,
    /// [`Verdict::Closed`]
    pub closed: u64,
    /// [`Verdict::Open`]
    pub open: u64,
    /// [`Verdict::Listener`]
    pub listener: u64,
}

impl Verdicts {
    /// Counts one more.
    pub fn add(&mut self, verdict: Verdict) {
        self.add_times(verdict, 1);
    }

    fn add_times(&mut self, verdict: Verdict, times: u64) {
        let count = match verdict {
            Verdict::Refused => &mut self.refused,
            Verdict::TimedOut => &mut self.timed_out,
            Verdict::Unreachable => &mut self.unreachable,
            Verdict::Cancelled => &mut self.cancelled,
            Verdict::ResetByPeer => &mut self.reset_by_peer,
            Verdict::ResetByUs => &mut self.reset_by_us,
            Verdict::Aborted => &mut self.aborted,
            Verdict::AcceptQueueLost => &mut self.accept_queue_lost,
            Verdict::Unknown => &mut self.unknown,
            Verdict::Closed => &mut self.closed,
            Verdict::Open => &mut self.open,
            Verdict::Listener => &mut self.listener,
        };
        *count = count.saturating_add(times);
    }

    /// Takes other counts in.
    pub fn add_all(&mut self, other: &Self) {
        for (verdict, count) in other.all() {
            self.add_times(verdict, count);
        }
    }

    /// How many connections there are: all but the listeners.
    pub fn connections(&self) -> u64 {
        self.sum(|verdict| verdict != Verdict::Listener)
    }

    /// How many connections failed ([`Verdict::is_failure`]).
    pub fn failures(&self) -> u64 {
        self.sum(Verdict::is_failure)
    }

    fn sum(&self, of: impl Fn(Verdict) -> bool) -> u64 {
        let counts = self.all().into_iter().filter(|(verdict, _)| of(*verdict));
        counts.fold(0, |sum, (_, count)| sum.saturating_add(count))
    }

    /// How many more there are than `earlier`.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let less = |now: u64, then: u64| now.saturating_sub(then);
        Self {
            refused: less(self.refused, earlier.refused),
            timed_out: less(self.timed_out, earlier.timed_out),
            unreachable: less(self.unreachable, earlier.unreachable),
            cancelled: less(self.cancelled, earlier.cancelled),
            reset_by_peer: less(self.reset_by_peer, earlier.reset_by_peer),
            reset_by_us: less(self.reset_by_us, earlier.reset_by_us),
            aborted: less(self.aborted, earlier.aborted),
            accept_queue_lost: less(self.accept_queue_lost, earlier.accept_queue_lost),
            unknown: less(self.unknown, earlier.unknown),
            closed: less(self.closed, earlier.closed),
            open: less(self.open, earlier.open),
            listener: less(self.listener, earlier.listener),
        }
    }

    /// All of them, the failures first.
    pub fn all(&self) -> [(Verdict, u64); 12] {
        [
            (Verdict::Refused, self.refused),
            (Verdict::TimedOut, self.timed_out),
            (Verdict::Unreachable, self.unreachable),
            (Verdict::Cancelled, self.cancelled),
            (Verdict::ResetByPeer, self.reset_by_peer),
            (Verdict::ResetByUs, self.reset_by_us),
            (Verdict::Aborted, self.aborted),
            (Verdict::AcceptQueueLost, self.accept_queue_lost),
            (Verdict::Unknown, self.unknown),
            (Verdict::Closed, self.closed),
            (Verdict::Open, self.open),
            (Verdict::Listener, self.listener),
        ]
    }
}
