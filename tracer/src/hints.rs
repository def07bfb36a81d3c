//! What a person should look at: connections that are stuck or failed, and what is likely behind it.
//!
//! Pure: knows no clock. All rules are in one table ([`RULES`]). [`at_end`] asks them about a connection
//! that is over, or that the trace leaves behind; a [`Watch`] finds those that are stuck while they
//! still are. What to check is taken from [`crate::state::facts`], with the connection's own addresses
//! filled in.
//!
//! A hint is given for what was seen only. That the cause is a guess is said with "likely".

mod case;
mod crowds;
mod rules;
mod sentences;
#[cfg(test)]
mod tests;
mod watch;

use serde::{Deserialize, Serialize};

use crate::diagnose::{Diagnosis, Verdict};
use crate::event::{Endpoint, Family, Protocol};
use crate::state::State;
use crate::track::{ConnId, Connection, Ending, Owner, Role};

use case::Case;
pub use case::Stay;
pub use rules::{RULES, Rule};
pub use watch::{At, Due, Watch};

/// How long a connection has to be in a state before it counts as stuck, unless `--stuck` says otherwise:
/// 30 s, in nanoseconds. Longer than any of these states lasts in a network that works, shorter than
/// most of the kernel's own timeouts.
pub const STUCK_AFTER_NS: u64 = 30_000_000_000;

/// One hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// Its stable name: [`Rule::name`].
    pub name: &'static str,
    /// What was seen, with its figures, and what is likely behind it.
    pub text: String,
    /// What is likely behind it, alone.
    pub advice: &'static str,
    /// A command that tells more, with what is known of the connection filled in.
    pub check: Option<String>,
}

/// A hint that is given while the trace goes on, and what it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The hint.
    pub hint: Hint,
    /// When it was found (`CLOCK_MONOTONIC`, ns).
    pub mono_ns: u64,
    /// Identity and socket of the connection; `None` if it is about several, or about one without a
    /// socket.
    pub conn: Option<(ConnId, u64)>,
    /// Network namespace.
    pub netns: Option<u32>,
    /// Address family of the socket.
    pub family: Option<Family>,
    /// Transport protocol.
    pub protocol: Protocol,
    /// Which part it plays.
    pub role: Role,
    /// Whom it belongs to.
    pub owner: Owner,
    /// This side; `None` if it is about connections with several.
    pub local: Option<Endpoint>,
    /// The other side; likewise.
    pub remote: Option<Endpoint>,
    /// The state it is stuck in, and for how long it has been.
    pub stay: Option<Stay>,
    /// How many connections it is about, if about several.
    pub count: Option<u64>,
    /// How many there may be, where that is known.
    pub limit: Option<u64>,
}

/// Settings of the machine that connections can run into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The network namespace they are of.
    pub netns: Option<u32>,
    /// Local ports for outgoing connections (`net.ipv4.ip_local_port_range`).
    pub local_ports: Option<u64>,
    /// `net.ipv4.tcp_tw_reuse`: 1 lets outgoing connections take over a port in `TIME_WAIT`, 2 on loopback
    /// only.
    pub tw_reuse: Option<u8>,
}

impl Limits {
    fn apply_to(&self, conn: &Connection) -> bool {
        self.netns.is_some() && self.netns == conn.netns
    }

    fn local_ports(&self, conn: &Connection) -> Option<u64> {
        self.local_ports.filter(|_| self.apply_to(conn))
    }

    /// A port in `TIME_WAIT` does not stand in the way of a new connection.
    fn reuses_ports(&self, conn: &Connection) -> bool {
        let on_loopback = conn.remote.wire_addr().is_loopback();
        match self.tw_reuse.filter(|_| self.apply_to(conn)) {
            Some(1) => true,
            Some(2) => on_loopback,
            _ => false,
        }
    }
}

impl Told {
    fn about(conn: &Connection, hint: Hint, stay: Option<Stay>, mono_ns: u64) -> Self {
        Self {
            hint,
            mono_ns,
            conn: Some((conn.id, conn.sk)),
            netns: conn.netns,
            family: Some(conn.family),
            protocol: conn.protocol,
            role: conn.role,
            owner: conn.owner,
            local: Some(conn.local),
            remote: Some(conn.remote),
            stay,
            count: None,
            limit: None,
        }
    }
}

/// The hints about a connection of which nothing more will come: why it failed, and in which states it
/// was for `stuck_after_ns` or longer. At most one for each rule.
pub fn at_end(
    conn: &Connection,
    ending: Ending,
    diagnosis: &Diagnosis,
    stuck_after_ns: u64,
) -> Vec<Hint> {
    if conn.protocol != Protocol::Tcp || conn.role == Role::Listener {
        return Vec::new();
    }
    let is_long = |ns: u64| ns >= stuck_after_ns;
    let mut stays = diagnosis.states.iter().filter_map(|span| span.duration_ns);
    if diagnosis.verdict == Verdict::Closed && !stays.any(is_long) {
        return Vec::new();
    }
    let mut hints = Vec::new();
    for rule in &RULES {
        let stay = rule.longest_stay(conn, ending, diagnosis);
        let is_stuck = stay.is_some_and(|stay| is_long(stay.lasted_ns));
        if is_stuck || rule.verdicts.contains(&diagnosis.verdict) {
            hints.extend(rule.hint(&Case {
                conn,
                diagnosis,
                stay,
            }));
        }
    }
    hints
}

/// Which states a rule is about.
fn is_watched(state: State) -> bool {
    RULES.iter().any(|rule| rule.states.contains(&state))
}
