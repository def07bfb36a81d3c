//! States of a connection that opens, and of one that is open.

use super::{Check, Facts, Side, note, run};

pub(super) static LISTEN: Facts = Facts {
    side: Side::Server,
    summary: "waits for connections",
    meaning: "A server's socket that waits for connections on its port. It is not a connection \
              itself: each connection gets a socket of its own and the listener stays in LISTEN.",
    lasts: "Until the application closes it. There is no timeout.",
    checks: &[
        run(
            "ss -ltnp",
            "Who listens, on which address (127.0.0.1 and [::1] cannot be reached from other \
             hosts). Recv-Q is the number of connections nobody has accepted yet, Send-Q how many \
             may wait. Recv-Q above Send-Q: the queue is full, new connections are dropped because \
             the application does not accept them fast enough.",
        ),
        run(
            "nstat -az TcpExtListenOverflows TcpExtListenDrops",
            "How many connections were dropped because such a queue was full (Overflows), or for \
             any reason (Drops). All listeners together; look whether the figures grow.",
        ),
        run(
            "sysctl net.core.somaxconn",
            "Upper limit of Send-Q, 4096 by default (128 before Linux 5.4). The application's own \
             limit, given to listen(), may be lower.",
        ),
        run(
            "nft list ruleset",
            "Does a local firewall drop or reject the port (iptables-save where iptables is used).",
        ),
    ],
    on_tracepoint: "CLOSED -> LISTEN at listen(), LISTEN -> CLOSED at close. LISTEN -> SYN_RECEIVED \
                    is the birth of a new socket that starts as a copy of the listener; the \
                    listener's own state does not change.",
    sources: &[
        "RFC 9293 section 3.3.2",
        "net/ipv4/inet_connection_sock.c inet_csk_listen_start, inet_csk_clone_lock",
    ],
};

pub(super) static SYN_SENT: Facts = Facts {
    side: Side::Client,
    summary: "SYN sent, no answer yet",
    meaning: "This side wants to connect: it has sent a SYN and waits for the SYN-ACK.",
    lasts: "One round trip. Without an answer the kernel repeats the SYN and gives up \
            (ETIMEDOUT, connection timed out) after about 131 s by default, about 127 s before \
            Linux 6.5. Applications often give up earlier.",
    checks: &[
        note(
            "Nothing answers: a firewall drops the SYN or the SYN-ACK, the address or the route is \
             wrong, the host is down, or the server's accept queue is full. A closed port does not \
             look like this: it answers with a reset at once (ECONNREFUSED, connection refused).",
        ),
        run(
            "ss -tnpo state syn-sent",
            "Who tries to connect where. timer:(on,TIME,N): the SYN was repeated N times.",
        ),
        run(
            "ip route get ADDRESS",
            "Which interface and which source address are used.",
        ),
        run(
            "tcpdump -ni any host ADDRESS and port PORT",
            "Does the SYN leave, does anything come back. Then the same on the server: does the SYN \
             arrive, does a SYN-ACK leave.",
        ),
        run(
            "nft list ruleset",
            "Local firewall (iptables-save where iptables is used).",
        ),
        run(
            "nstat -az TcpExtListenOverflows TcpExtListenDrops",
            "On the server: figures that grow mean that it drops SYNs because an accept queue is \
             full.",
        ),
        run(
            "sysctl net.ipv4.tcp_syn_retries net.ipv4.tcp_syn_linear_timeouts",
            "How often the SYN is repeated: 6 by default, and since Linux 6.5 another 4 at \
             intervals of 1 s first.",
        ),
    ],
    on_tracepoint: "All of it, from connect() on. In CLOSED -> SYN_SENT the local port is still 0 \
                    unless the application bound one. SYN_SENT -> CLOSED alone does not say whether \
                    the connection was refused, timed out, found unreachable, or given up by the \
                    application.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.5",
        "net/ipv4/tcp_ipv4.c tcp_v4_connect",
        "net/ipv4/tcp_timer.c tcp_write_timeout",
    ],
};

/// The same for a request socket and for a full one.
const HALF_OPEN_CHECKS: [Check; 5] = [
    note(
        "The SYN-ACK or the client's ACK gets lost: check the way back to the client, asymmetric \
         routing, firewalls on the way. Very many from many addresses: a SYN flood.",
    ),
    note(
        "The client says ESTABLISHED and this side stays here: the accept queue is full (see \
         LISTEN), or the listener uses TCP_DEFER_ACCEPT and the client has sent no data.",
    ),
    run(
        "ss -tno state syn-recv",
        "The half-open connections. timer:(on,TIME,N): the SYN-ACK was repeated N times.",
    ),
    run(
        "nstat -az TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop",
        "Figures that grow: a listener has as many half-open connections as it may (its Send-Q in \
         ss -ltn). Further ones get a SYN cookie (DoCookies), and no half-open connection is kept \
         or shown for them, or are dropped (Drop) where net.ipv4.tcp_syncookies is 0.",
    ),
    run(
        "sysctl net.ipv4.tcp_synack_retries net.ipv4.tcp_syncookies",
        "How often the SYN-ACK is repeated, and whether SYN cookies are used. \
         net.ipv4.tcp_max_syn_backlog counts only where they are not.",
    ),
];

pub(super) static SYN_RECEIVED: Facts = Facts {
    side: Side::Server,
    summary: "SYN-ACK sent, final ACK awaited",
    meaning: "A SYN came, the SYN-ACK went out, and the ACK that completes the handshake is awaited: \
              the connection is half-open. A client is in this state too when both sides connect to \
              each other at the same time.",
    lasts: "One round trip. Without the ACK the kernel repeats the SYN-ACK 5 times by default and \
            gives up after about 63 s.",
    checks: &HALF_OPEN_CHECKS,
    on_tracepoint: "A few microseconds only. While a server waits, Linux keeps a request socket \
                    (NEW_SYN_RECEIVED), which the tracepoint does not report; the full socket \
                    passes through SYN_RECEIVED when the final ACK has arrived. Only with TCP Fast \
                    Open, or when both sides connect at once, is the time shown the real one.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.5",
        "net/ipv4/inet_connection_sock.c inet_csk_clone_lock",
        "net/ipv4/tcp_minisocks.c tcp_check_req",
    ],
};

pub(super) static NEW_SYN_RECEIVED: Facts = Facts {
    side: Side::Server,
    summary: "half-open, as Linux keeps it",
    meaning: "A request socket: a SYN came and the SYN-ACK went out, and Linux does not make a full \
              socket before the final ACK arrives. This is SYN-RECEIVED of the RFC; ss and \
              /proc/net/tcp show it as SYN-RECV and 03.",
    lasts: "One round trip. Without the ACK the kernel repeats the SYN-ACK 5 times by default and \
            gives up after about 63 s.",
    checks: &HALF_OPEN_CHECKS,
    on_tracepoint: "Nothing: request sockets report no state changes.",
    sources: &[
        "include/net/tcp_states.h",
        "net/ipv4/tcp_minisocks.c tcp_check_req",
        "net/ipv4/inet_diag.c inet_req_diag_fill",
    ],
};

pub(super) static ESTABLISHED: Facts = Facts {
    side: Side::Both,
    summary: "open, data can flow",
    meaning: "The handshake is complete. It does not mean that the peer is alive: while nothing is \
              sent and keepalive is off, a dead peer is not noticed. It does not mean that the \
              server's application has accepted the connection either.",
    lasts: "As long as both sides want; there is no limit. Data that is never acknowledged ends it \
            after at least 924 s by default (tcp_retries2 = 15), a failed keepalive, where the \
            application has switched it on, after 7200 s of silence and 9 probes 75 s apart.",
    checks: &[
        run(
            "ss -tnpoi state established dst ADDRESS",
            "Recv-Q above 0 that stays: the application here does not read. Send-Q above 0 that \
             stays: the peer does not acknowledge. timer:(on,..): data is being repeated, the path \
             or the peer is gone. timer:(persist,..): the peer's window is closed, its application \
             does not read. No timer and both queues 0: idle.",
        ),
        note(
            "Idle for long and then dead: a firewall, NAT or load balancer in between may have \
             forgotten the connection. Its idle timeout must be longer than the keepalive interval.",
        ),
        run(
            "sysctl net.ipv4.tcp_keepalive_time net.ipv4.tcp_retries2",
            "Keepalive works only for sockets that ask for it (SO_KEEPALIVE); ss -o then shows \
             timer:(keepalive,..).",
        ),
        run(
            "ss -ltn",
            "No process shown for the connection on a server: nobody has accepted it yet; Recv-Q of \
             the listener counts those.",
        ),
    ],
    on_tracepoint: "All of it. ESTABLISHED -> CLOSED is a connection cut short: a reset from either \
                    side, or a timeout.",
    sources: &[
        "RFC 9293 section 3.3.2",
        "net/ipv4/tcp_input.c tcp_finish_connect, tcp_rcv_state_process",
        "net/ipv4/tcp_timer.c tcp_write_timeout, tcp_keepalive_timer",
    ],
};

pub(super) static BOUND_INACTIVE: Facts = Facts {
    side: Side::Both,
    summary: "bound to a port, otherwise idle",
    meaning: "A socket that has a local port (bind) but neither listens nor connects. It is a filter \
              for queries, since Linux 6.8: the kernel's own state of such a socket is CLOSED, and \
              ss prints UNCONN.",
    lasts: "Until the application listens, connects or closes. There is no timeout.",
    checks: &[
        run(
            "ss -tnpB",
            "The sockets, with their processes. Needs Linux 6.8 and an ss that knows -B.",
        ),
        note(
            "On older systems ss lists no such socket: a port can be taken (EADDRINUSE, address \
             already in use) though ss shows nobody on it.",
        ),
    ],
    on_tracepoint: "Nothing: bind() changes no state.",
    sources: &[
        "include/net/tcp_states.h",
        "net/ipv4/inet_diag.c inet_diag_dump_icsk",
    ],
};
