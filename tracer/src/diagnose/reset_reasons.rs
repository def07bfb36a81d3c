//! Why the kernel sends a reset, in words.
//!
//! The names are those of `enum sk_rst_reason` in `include/net/rstreason.h`, of Linux 6.10 and later; what
//! each stands for was read where the kernel gives it, in `net/ipv4`.

/// The kernel's names, and what each means.
#[rustfmt::skip]
pub static RESET_REASONS: [(&str, &str); 25] = [
    ("NOT_SPECIFIED", "the kernel says no more"),
    ("NO_SOCKET", "a segment came that belongs to no connection here"),
    ("TCP_INVALID_ACK_SEQUENCE", "an ACK came that does not fit what was sent"),
    ("TCP_RFC7323_PAWS", "a segment came with a timestamp that is too old (PAWS)"),
    ("TCP_TOO_OLD_ACK", "an ACK came that is far too old"),
    ("TCP_ACK_UNSENT_DATA", "an ACK came for data that was not sent yet"),
    ("TCP_FLAGS", "a segment came whose flags do not fit"),
    ("TCP_OLD_ACK", "an ACK came that is old"),
    ("TCP_ABORT_ON_DATA", "data came after close, or after a shutdown of reading; or closed, and TCP_LINGER2 is negative"),
    ("TCP_TIMEWAIT_SOCKET", "a segment came that does not fit a connection in TIME_WAIT"),
    ("INVALID_SYN", "a SYN came in the handshake that does not fit, or the accept queue was full and tcp_abort_on_overflow set"),
    ("TCP_ABORT_ON_CLOSE", "closed while received data was unread"),
    ("TCP_ABORT_ON_LINGER", "closed with a negative TCP_LINGER2"),
    ("TCP_ABORT_ON_MEMORY", "memory for TCP ran short, or there were too many orphaned sockets"),
    ("TCP_STATE", "closed with SO_LINGER 0, disconnected, destroyed from outside, its listener closed, or FIN_WAIT_2 took too long"),
    ("TCP_KEEPALIVE_TIMEOUT", "the peer answered no keepalive probe"),
    ("TCP_DISCONNECT_WITH_DATA", "disconnected before its last data was sent"),
    ("MPTCP_RST_EUNSPEC", "MPTCP: the subflow is of no more use"),
    ("MPTCP_RST_EMPTCP", "MPTCP: its options are wrong"),
    ("MPTCP_RST_ERESOURCE", "MPTCP: resources ran short"),
    ("MPTCP_RST_EPROHIBIT", "MPTCP: a policy forbids the subflow"),
    ("MPTCP_RST_EWQ2BIG", "MPTCP: too much data was outstanding on the subflow"),
    ("MPTCP_RST_EBADPERF", "MPTCP: the subflow was too slow beside the others"),
    ("MPTCP_RST_EMIDDLEBOX", "MPTCP: something on the way changed its options"),
    ("ERROR", "the kernel met an error it does not name"),
];

/// What a reason of this name means; `None` where only a later kernel has it.
pub fn reset_reason_meaning(name: &str) -> Option<&'static str> {
    let mut known = RESET_REASONS.iter();
    known.find_map(|(known, meaning)| (*known == name).then_some(*meaning))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `docs/schema.md` has the same table.
    #[test]
    fn every_reason_is_documented() {
        let schema = include_str!("../../../docs/schema.md");
        let (_, section) = schema.split_once("## Reset reasons\n").unwrap();
        let (section, _) = section.split_once("\n## ").unwrap();
        let rows: Vec<_> = section
            .lines()
            .filter(|line| line.starts_with("| `"))
            .collect();
        let expected = RESET_REASONS.map(|(name, meaning)| format!("| `{name}` | {meaning} |"));
        assert_eq!(rows, expected);
    }
}
