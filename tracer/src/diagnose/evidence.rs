//! The questions that rules ask, each answered with yes, no, or "it cannot be known".

use super::{ClosedBy, Sources};
use crate::event::Protocol;
use crate::state::State;
use crate::track::{After, Connection, Ending, Gap, Gathered, Mini, MiniEnd, Role, TIMER_SLACK_NS};

/// Within one call or softirq of the kernel: what is reported this close together belongs together.
pub(super) const AT_ONCE_NS: u64 = 5_000_000;

/// `errno`s by number, which is the same on all machines that tracer runs on.
pub(super) mod errno {
    pub(crate) const EPIPE: u32 = 32;
    pub(crate) const ECONNABORTED: u32 = 103;
    pub(crate) const ECONNRESET: u32 = 104;
    pub(crate) const ETIMEDOUT: u32 = 110;
    pub(crate) const ECONNREFUSED: u32 = 111;

    /// What an ICMP message or a route that is gone becomes (`icmp_err_convert`, `tab_unreach`,
    /// `inet_sk_rebuild_header`), with its meaning. ICMP's "port unreachable" is `ECONNREFUSED`.
    pub(crate) const UNREACHABLE: [(u32, &str); 8] = [
        (13, "EACCES: prohibited by an administrator or a route"),
        (64, "ENONET: the host is isolated"),
        (71, "EPROTO: a header was refused"),
        (92, "ENOPROTOOPT: the host does not speak TCP"),
        (95, "EOPNOTSUPP: the source route failed"),
        (101, "ENETUNREACH: the network is unreachable"),
        (112, "EHOSTDOWN: the host is unknown"),
        (
            113,
            "EHOSTUNREACH: no route to the host, no answer on its link, or a firewall",
        ),
    ];
}

/// A connection and what can be said of it.
pub(super) struct Facts<'a> {
    pub(super) conn: &'a Connection,
    pub(super) ending: Ending,
    pub(super) sources: &'a Sources,
    /// The state before `CLOSED`, or the present one.
    pub(super) left: Option<State>,
    /// When it was closed, if it was.
    pub(super) closed_ns: Option<u64>,
}

impl<'a> Facts<'a> {
    pub(super) fn new(conn: &'a Connection, ending: Ending, sources: &'a Sources) -> Self {
        let last = conn.steps.last();
        let is_closed =
            ending == Ending::Closed && last.is_some_and(|last| last.state == State::Closed);
        Self {
            conn,
            ending,
            sources,
            left: conn
                .steps
                .iter()
                .rev()
                .map(|step| step.state)
                .find(|state| *state != State::Closed),
            closed_ns: last.and_then(|last| last.since_ns).filter(|_| is_closed),
        }
    }

    pub(super) fn evidence(&self) -> &Gathered {
        &self.conn.evidence
    }

    pub(super) fn left(&self, state: State) -> bool {
        self.left == Some(state)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed_ns.is_some()
    }

    /// The kernel keeps evidence at TCP sockets.
    pub(super) fn is_tcp(&self) -> bool {
        self.conn.protocol == Protocol::Tcp
    }

    /// Never got as far as `ESTABLISHED`.
    pub(super) fn is_opening(&self) -> bool {
        matches!(self.left, Some(State::SynSent | State::SynReceived))
    }

    /// Has no socket yet.
    pub(super) fn is_half_open(&self) -> bool {
        self.conn.sk == 0 && self.conn.listed_ns.is_none()
    }

    /// TCP fast open gives a connection its socket with the SYN. That shows where it was closed before the
    /// final ACK: any other connection of a listener has its socket from that ACK on.
    pub(super) fn had_a_socket_from_the_syn_on(&self) -> bool {
        let steps = self.conn.steps.iter();
        let mut moves = steps.clone().zip(steps.skip(1));
        self.conn.role == Role::Server
            && moves
                .any(|(from, to)| (from.state, to.state) == (State::SynReceived, State::FinWait1))
    }

    /// Has said FIN: the application may be gone.
    pub(super) fn is_closing(&self) -> bool {
        matches!(
            self.left,
            Some(State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck)
        )
    }

    /// What `hook` would have told of did not happen.
    fn absent(&self, hook: bool) -> Option<bool> {
        (hook && !self.evidence().incomplete).then_some(false)
    }

    /// The kernel handled a reset as one of the peer's. `tcp_reset` leaves an error in the socket before
    /// it closes it, so without an error there was none.
    pub(super) fn reset_received(&self) -> Option<bool> {
        if self.evidence().reset_received {
            return Some(true);
        }
        if self.closed_with_error() == Some(0) {
            return Some(false);
        }
        self.absent(self.sources.reset_received)
    }

    /// A reset was sent as it ended. One sent in `SYN_SENT` answers what is not acceptable, and ends
    /// nothing.
    pub(super) fn reset_sent(&self) -> Option<bool> {
        if self.left(State::SynSent) {
            return Some(false);
        }
        match (self.closed_ns, self.evidence().reset_sent) {
            (Some(closed_ns), Some(reset)) if belongs(reset.mono_ns, closed_ns) => Some(true),
            _ => self.absent(self.sources.reset_sent),
        }
    }

    /// The reset was sent in the last state, not after it.
    pub(super) fn reset_sent_before_close(&self) -> bool {
        match (self.closed_ns, self.evidence().reset_sent) {
            (Some(closed_ns), Some(reset)) => reset.mono_ns < closed_ns,
            _ => false,
        }
    }

    /// The kernel's name of the reason for the reset sent as it ended.
    pub(super) fn reason(&self) -> Option<&str> {
        let number = self.reset_reason_number()?;
        self.sources
            .reset_reasons
            .iter()
            .find_map(|(known, name)| (*known == number).then_some(name.as_str()))
    }

    /// The same, or the number that has no name.
    pub(super) fn reset_reason(&self) -> Option<String> {
        let number = self.reset_reason_number()?;
        Some(self.reason().map_or(number.to_string(), str::to_owned))
    }

    fn reset_reason_number(&self) -> Option<u32> {
        let reset = self.evidence().reset_sent?;
        (self.reset_sent() == Some(true))
            .then_some(reset.reason)
            .flatten()
    }

    /// The kernel gave no reason that tells anything.
    pub(super) fn is_unexplained(&self) -> bool {
        matches!(self.reason(), None | Some("NOT_SPECIFIED"))
    }

    /// What `sk_err` was when the socket was closed; 0 for none.
    fn closed_with_error(&self) -> Option<u32> {
        self.evidence().closed.map(|counts| counts.error)
    }

    /// The error that was reported as it ended.
    fn reported_error(&self) -> Option<u32> {
        let error = self.evidence().error?;
        let closed_ns = self.closed_ns?;
        belongs(error.mono_ns, closed_ns).then_some(error.errno)
    }

    /// The error it ended with; 0 for none.
    pub(super) fn error(&self) -> Option<u32> {
        let closed_with = self.closed_with_error();
        closed_with
            .filter(|errno| *errno != 0)
            .or_else(|| self.reported_error())
            .or(closed_with)
            .or_else(|| self.no_error())
    }

    /// Without a look into the socket: nothing is reported to an application that is gone, but a timeout
    /// comes after retransmissions.
    fn no_error(&self) -> Option<u32> {
        let tells = if self.is_closing() {
            let no_timeout = self.conn.from_birth
                && self.evidence().retransmits == 0
                && self.absent(self.sources.retransmit) == Some(false);
            no_timeout && self.reset_received() == Some(false)
        } else {
            self.absent(self.sources.socket_error) == Some(false)
        };
        tells.then_some(0)
    }

    /// `tcp_disconnect` tells the application of `ECONNRESET` when the socket is closed already.
    pub(super) fn is_disconnect(&self) -> bool {
        self.evidence().error.is_some_and(|error| {
            error.errno == errno::ECONNRESET
                && self
                    .closed_ns
                    .is_some_and(|closed_ns| error.mono_ns >= closed_ns)
        })
    }

    /// The error that did not end it; 0 for none.
    pub(super) fn soft_error(&self) -> Option<u32> {
        let seen = self.evidence().soft_error;
        if seen != 0 {
            return Some(seen);
        }
        self.evidence().closed.map(|counts| counts.soft_error)
    }

    /// The error of a `connect` that failed by what the network said, ended by it or not.
    pub(super) fn connect_error(&self) -> Option<u32> {
        let not_ours = |errno: &u32| !matches!(*errno, 0 | errno::ECONNRESET);
        self.error()
            .filter(not_ours)
            .or_else(|| self.soft_error().filter(not_ours))
    }

    /// Ended because nothing was acknowledged for too long: with `ETIMEDOUT`, or with the last error
    /// that ICMP or routing reported before (`tcp_write_err`).
    pub(super) fn is_timeout(&self) -> bool {
        match self.error() {
            Some(errno::ETIMEDOUT) => true,
            Some(0 | errno::EPIPE | errno::ECONNABORTED | errno::ECONNRESET) | None => false,
            error => self.soft_error() == error,
        }
    }

    /// Which side's FIN came first, if any. Each state after `ESTABLISHED` has but one way in.
    pub(super) fn first_fin(&self) -> Option<ClosedBy> {
        let states = || self.conn.steps.iter().map(|step| step.state);
        if states().any(|state| state == State::Closing) {
            return Some(ClosedBy::Both);
        }
        states().find_map(|state| match state {
            State::FinWait1 | State::FinWait2 | State::TimeWait => Some(ClosedBy::Local),
            State::CloseWait | State::LastAck => Some(ClosedBy::Remote),
            State::Established
            | State::SynSent
            | State::SynReceived
            | State::Closed
            | State::Listen
            | State::Closing
            | State::NewSynReceived
            | State::BoundInactive
            | State::Unknown(_) => None,
        })
    }

    /// Nothing but FINs ended it: no reset either way, and no error.
    pub(super) fn is_undisturbed(&self) -> Option<bool> {
        // The kernel makes a mini-socket of nothing else.
        if self.mini().is_some() {
            return Some(true);
        }
        Some(!self.reset_received()? && !self.reset_sent()? && self.error()? == 0)
    }

    /// The mini-socket that went on with it.
    pub(super) fn mini(&self) -> Option<Mini> {
        self.evidence().after.mini().filter(|_| self.is_closed())
    }

    /// How long after its socket was closed the kernel was asked for its mini-socket, and had none.
    pub(super) fn missing_after_ns(&self) -> Option<u64> {
        match self.evidence().after {
            After::Missing(asked_ns) => asked_ns.checked_sub(self.closed_ns?),
            After::Mini(_)
            | After::NotKnown
            | After::Nothing
            | After::Replaced(_)
            | After::NoNamespace => None,
        }
    }

    /// How long after its socket was closed another connection had its ends, if it is by that that it is known to be
    /// over.
    pub(super) fn replaced_after_ns(&self) -> Option<u64> {
        let after = self.evidence().after;
        let mini_end = after.mini().map(|mini| mini.end);
        let ((After::Replaced(replaced_ns), _) | (_, Some(MiniEnd::Replaced(replaced_ns)))) =
            (after, mini_end)
        else {
            return None;
        };
        replaced_ns.checked_sub(self.closed_ns?)
    }

    /// Its network namespace was gone when the kernel was to be asked for it, or could not be found.
    pub(super) fn is_namespace_gone(&self) -> bool {
        let after = self.evidence().after;
        after == After::NoNamespace
            || after
                .mini()
                .is_some_and(|mini| mini.end == MiniEnd::NoNamespace)
    }

    /// Its mini-socket was gone in `FIN_WAIT_2` before its timer could have ended it.
    pub(super) fn was_cut_short(&self) -> bool {
        self.mini()
            .is_some_and(|mini| match (mini.end, mini.due_ns) {
                (MiniEnd::At(end_ns), Some(due_ns)) => {
                    mini.state == State::FinWait2 && end_ns.saturating_add(TIMER_SLACK_NS) < due_ns
                }
                (MiniEnd::NotSeen | MiniEnd::Replaced(_) | MiniEnd::NoNamespace, _) | (_, None) => {
                    false
                }
            })
    }

    /// The peer's FIN was received by the socket.
    pub(super) fn fin_received(&self) -> Option<bool> {
        let at_close = self.evidence().at_close.filter(|_| self.is_closed());
        if let Some(received) = at_close.and_then(|at_close| at_close.fin_received) {
            return Some(received);
        }
        match (self.first_fin(), self.left) {
            (Some(ClosedBy::Remote | ClosedBy::Both), _) => Some(true),
            (_, Some(State::FinWait2)) if self.mini().is_some_and(|m| m.was_in_fin_wait_2) => {
                Some(false)
            }
            (_, Some(State::FinWait2)) if let Some(mini) = self.mini().filter(|m| !m.polled) => {
                Some(mini.first == State::TimeWait)
            }
            (_, Some(State::FinWait2)) if self.is_closed() => match self.is_undisturbed() {
                Some(true) => self.fin_ended_fin_wait_2(),
                // With its FIN the peer would have ended the socket in order.
                Some(false) => Some(false),
                None => None,
            },
            _ if self.conn.gap != Gap::None => None,
            _ => Some(false),
        }
    }

    /// `FIN_WAIT_2` ended undisturbed: by the peer's FIN, or only for the eye, because the application
    /// was gone and a mini-socket went on with it.
    ///
    /// The mini-socket comes at once: with the ACK of the FIN if the application had closed by then, else
    /// when it closes, which leaves a `FIN_WAIT_2 -> FIN_WAIT_2` behind.
    fn fin_ended_fin_wait_2(&self) -> Option<bool> {
        if self
            .evidence()
            .closed
            .is_some_and(|counts| counts.bytes_received == 0)
        {
            return Some(false);
        }
        let entered = self.conn.steps.iter().rev().nth(1)?;
        let lasted_ns = self.closed_ns?.checked_sub(entered.since_ns?)?;
        (lasted_ns > AT_ONCE_NS).then_some(true)
    }

    /// This side's FIN was acknowledged, and with it everything it ever sent.
    pub(super) fn all_acknowledged(&self) -> bool {
        let was_in_fin_wait_2 = self
            .conn
            .steps
            .iter()
            .any(|step| step.state == State::FinWait2);
        was_in_fin_wait_2
            || (matches!(self.left, Some(State::Closing | State::LastAck))
                && self.is_closed()
                && self.is_undisturbed() == Some(true))
    }

    /// Nobody accepted it, for certain.
    pub(super) fn was_never_accepted(&self) -> bool {
        self.conn.role == Role::Server
            && (self.conn.from_birth || self.evidence().queued_when_listed)
            && self.conn.owner.source != crate::track::OwnerSource::Accept
            && self.absent(self.sources.accept) == Some(false)
    }

    /// What is missing for a certain verdict.
    pub(super) fn why_unknown(&self) -> String {
        let hooks = [
            (self.sources.reset_received, "tcp_receive_reset"),
            (self.sources.reset_sent, "tcp_send_reset"),
            (
                self.sources.counts || self.sources.socket_error,
                "inet_sk_error_report",
            ),
        ];
        let missing: Vec<&str> = hooks
            .into_iter()
            .filter_map(|(attached, name)| (!attached).then_some(name))
            .collect();
        if self.evidence().incomplete {
            "some of what happened to it may have been missed".to_owned()
        } else if missing.is_empty() {
            "nothing that was reported explains it".to_owned()
        } else {
            format!(
                "without {}, which could not be attached",
                missing.join(", ")
            )
        }
    }
}

/// Whether something belongs to the end of a connection: it comes in the same call or softirq, or after.
fn belongs(mono_ns: u64, closed_ns: u64) -> bool {
    mono_ns.saturating_add(AT_ONCE_NS) >= closed_ns
}
