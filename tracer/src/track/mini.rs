//! What a connection goes on with after its socket was closed: the mini-socket (`struct
//! inet_timewait_sock`), in which the kernel keeps the end of `FIN_WAIT_2`, and `TIME_WAIT`.
//!
//! What is known of one comes from functions of the kernel, each call of which is seen, or from asking the
//! kernel now and then: its timer then tells when `TIME_WAIT` began. It does not tell when it is over, as the
//! kernel's timers are coarse: one of 60 s can be some seconds late.

use serde::{Deserialize, Serialize};

use crate::state::State;

/// How long `TIME_WAIT` lasts at least: `TCP_TIMEWAIT_LEN`, a constant of the kernel. Its timer is coarse and
/// can be some seconds late.
pub const TIME_WAIT_NS: u64 = 60_000_000_000;

/// The kernel's timers count ticks of its clock: 10 ms at most (`CONFIG_HZ`). By so much, to either side, a
/// beginning of `TIME_WAIT` may be off that was calculated from one.
const TIMER_GRAIN_NS: u64 = 10_000_000;

/// By so much a timer can differ from what the kernel tells of it, without having been set again.
pub const TIMER_SLACK_NS: u64 = 100_000_000;

/// What is known of the time after the socket was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum After {
    /// Nothing: nobody would have told.
    #[default]
    NotKnown,
    /// The connection was over with its socket: a mini-socket would have been seen.
    Nothing,
    /// When the kernel was asked for its mini-socket, first at this time (`CLOCK_MONOTONIC`, ns), it had none: there was none at
    /// all, as for want of room, or it was gone already.
    Missing(u64),
    /// A mini-socket went on with it.
    Mini(Mini),
    /// Another connection had its ends, at this time (`CLOCK_MONOTONIC`, ns): it was over by then.
    Replaced(u64),
    /// When the kernel was to be asked, its network namespace was gone, or no way led into it any more.
    NoNamespace,
}

impl After {
    /// The mini-socket, where one is known.
    pub fn mini(self) -> Option<Mini> {
        match self {
            Self::Mini(mini) => Some(mini),
            Self::NotKnown
            | Self::Nothing
            | Self::Missing(_)
            | Self::Replaced(_)
            | Self::NoNamespace => None,
        }
    }
}

/// The life of a mini-socket, as far as it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mini {
    /// Its kernel address, reused by the kernel as soon as it is gone; 0 where it is not known.
    pub address: u64,
    /// The state it began with; `FIN_WAIT_2` where that was not seen.
    pub first: State,
    /// The last state known.
    pub state: State,
    /// When `TIME_WAIT` began (`CLOCK_MONOTONIC`, ns); `None` where it did not, or where that is not known.
    pub time_wait_ns: Option<u64>,
    /// By so much, to either side, that may be off; 0 where it was seen.
    pub within_ns: u64,
    /// Its end.
    pub end: MiniEnd,
    /// When it was last known to be there.
    pub seen_ns: u64,
    /// When its timer is to end it, by what the kernel said last; `None` where it said nothing.
    pub due_ns: Option<u64>,
    /// Known by asking, not by functions of the kernel.
    pub polled: bool,
    /// It was seen in `FIN_WAIT_2`: the peer's FIN had not come when the socket was closed.
    pub was_in_fin_wait_2: bool,
}

/// How a mini-socket ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MiniEnd {
    /// It may be there still.
    NotSeen,
    /// It ended at this time; where [`Mini::polled`], at the latest, and after [`Mini::seen_ns`].
    At(u64),
    /// It was over by this time, when another connection had its ends, in which state is not known.
    Replaced(u64),
    /// Its network namespace is gone, or no way leads into it any more: whether it is over is not known.
    NoNamespace,
}

/// Which ways there are to hear of mini-sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MiniSight {
    /// Their birth is seen (`inet_twsk_hashdance*`).
    pub births: bool,
    /// Their change to `TIME_WAIT` and their end are seen (`__inet_twsk_schedule`, `inet_twsk_kill`).
    pub ends: bool,
    /// Somebody asks the kernel what became of a connection, and the answers come as
    /// [`crate::event::PolledEvent`]s.
    pub polled: bool,
}

/// When the end of a connection is told that goes on after its socket was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeWait {
    /// When it is over.
    Wait,
    /// As soon as it is in `TIME_WAIT`, of which it is known how long it lasts.
    #[default]
    Expect,
}

/// A connection changed its state after its socket was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Continued {
    /// When (`CLOCK_MONOTONIC`, ns).
    pub mono_ns: u64,
    /// State left: `FIN_WAIT_2` or `TIME_WAIT`.
    pub from: State,
    /// State entered: `TIME_WAIT` or `CLOSED`.
    pub to: State,
    /// Time spent in `from`, the socket's part included; `None` where its beginning is not known.
    pub in_state_ns: Option<u64>,
    /// Found by asking: it happened by `mono_ns`, and not earlier than so many nanoseconds before. `None`
    /// where it was observed.
    pub polled_within_ns: Option<u64>,
}

impl Mini {
    /// One whose birth was seen.
    pub(super) fn born(address: u64, state: State, now_ns: u64) -> Self {
        Self {
            address,
            first: state,
            state,
            time_wait_ns: (state == State::TimeWait).then_some(now_ns),
            within_ns: 0,
            end: MiniEnd::NotSeen,
            seen_ns: now_ns,
            due_ns: None,
            polled: false,
            was_in_fin_wait_2: state == State::FinWait2,
        }
    }

    /// One that there may be since its socket was closed, to be asked for. After `CLOSING` it can only have
    /// begun with `TIME_WAIT`, and when the socket was closed.
    pub(super) fn unseen(closed_ns: u64, after_closing: bool) -> Self {
        let first = if after_closing {
            State::TimeWait
        } else {
            State::FinWait2
        };
        Self {
            polled: true,
            was_in_fin_wait_2: false,
            ..Self::born(0, first, closed_ns)
        }
    }

    /// Its timer was set again.
    pub(super) fn rearm(&mut self, state: State, now_ns: u64) {
        if state == State::TimeWait && self.state != State::TimeWait {
            self.time_wait_ns = Some(now_ns);
        }
        self.state = state;
        self.seen_ns = now_ns;
    }

    /// The kernel says that it is there; it took so long to say so.
    pub(super) fn answer(
        &mut self,
        state: State,
        timer_ns: Option<u64>,
        now_ns: u64,
        took_ns: u64,
    ) {
        if state == State::TimeWait && self.state != State::TimeWait {
            self.within_ns = TIMER_GRAIN_NS.saturating_add(took_ns);
            // Not before it was last seen in FIN_WAIT_2, nor after now: the clock tick has its grain.
            self.time_wait_ns = timer_ns.map(|timer_ns| {
                (now_ns.saturating_add(timer_ns))
                    .saturating_sub(TIME_WAIT_NS)
                    .clamp(self.seen_ns.min(now_ns), now_ns)
            });
        }
        self.was_in_fin_wait_2 |= state == State::FinWait2;
        self.state = state;
        self.seen_ns = now_ns;
        self.due_ns = timer_ns.map(|timer_ns| now_ns.saturating_add(timer_ns));
    }

    /// The kernel says that it is gone by now. Before, it was last there at `seen_ns`.
    pub(super) fn is_gone(&mut self, seen_ns: Option<u64>, now_ns: u64) {
        self.seen_ns = self.seen_ns.max(seen_ns.unwrap_or(0)).min(now_ns);
        self.end = MiniEnd::At(now_ns);
    }

    /// Another connection has its ends by now. One in `FIN_WAIT_2` may have gone on to `TIME_WAIT` before.
    pub(super) fn replaced(&mut self, now_ns: u64) {
        self.end = if self.polled && self.state == State::TimeWait {
            MiniEnd::At(now_ns)
        } else {
            MiniEnd::Replaced(now_ns)
        };
    }

    /// It ended.
    pub(super) fn ended(&mut self, state: State, now_ns: u64) {
        self.state = state;
        self.end = MiniEnd::At(now_ns);
    }
}
