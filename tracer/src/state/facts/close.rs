//! States of a connection that closes, and of one that is closed.

use super::{Facts, Side, note, run};

pub(super) static FIN_WAIT_1: Facts = Facts {
    side: Side::FirstCloser,
    summary: "closed here, FIN not yet acknowledged",
    meaning: "The application here was the first to close (close or shutdown). Its FIN, and perhaps \
              data before it, is not acknowledged yet.",
    lasts: "One round trip. Without an acknowledgment the kernel gives up: after close() when \
            tcp_orphan_retries is used up (0, the default, means 8: more than 100 s), after \
            shutdown() alone as late as ESTABLISHED does.",
    checks: &[
        run(
            "ss -tnpo state fin-wait-1",
            "Send-Q: bytes not acknowledged, the FIN counts 1. No process: the application has \
             closed, the kernel finishes alone. timer:(on,TIME,N): repeated N times, the path or \
             the peer is gone. timer:(persist,..): the peer's window is closed, its application \
             does not read.",
        ),
        run(
            "tcpdump -ni any host ADDRESS and port PORT",
            "Does the FIN leave, does an ACK come back.",
        ),
        run(
            "cat /proc/net/sockstat",
            "orphan: how many connections without a process there are. Above \
             net.ipv4.tcp_max_orphans the kernel resets them.",
        ),
        run(
            "sysctl net.ipv4.tcp_orphan_retries net.ipv4.tcp_max_orphans",
            "The limits of connections that no process owns any more.",
        ),
    ],
    on_tracepoint: "All of it. Linux enters it when the application closes, even while data before \
                    the FIN still waits to be sent. FIN_WAIT_1 -> CLOSED is cut short: a reset, data \
                    that came after close(), or a timeout.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.6",
        "net/ipv4/tcp.c tcp_close_state, __tcp_close",
        "net/ipv4/tcp_timer.c tcp_orphan_retries",
    ],
};

pub(super) static FIN_WAIT_2: Facts = Facts {
    side: Side::FirstCloser,
    summary: "closed here, peer has not closed yet",
    meaning: "The peer has acknowledged our FIN and has not sent its own. It is in CLOSE_WAIT and \
              waits for its application to close.",
    lasts: "Until the peer closes. After close() at most tcp_fin_timeout, 60 s by default, then the \
            kernel forgets the connection without telling the peer. While the application keeps the \
            socket open (shutdown() only): no limit.",
    checks: &[
        note(
            "The peer's application does not close: the cause is there. Look for CLOSE_WAIT on the \
             peer.",
        ),
        run(
            "ss -tnpo state fin-wait-2",
            "No process and timer:(timewait,TIME,..): closed, the kernel forgets it after TIME. A \
             process: it has called shutdown() and keeps the socket.",
        ),
        run(
            "sysctl net.ipv4.tcp_fin_timeout",
            "The limit after close(). It has no influence on TIME_WAIT.",
        ),
    ],
    on_tracepoint: "Often cut short. After close() the kernel puts a mini-socket in the connection's \
                    place and reports FIN_WAIT_2 -> CLOSED at once: the connection is then still in \
                    FIN_WAIT_2 and goes to TIME_WAIT when the peer closes. The tracepoint shows \
                    neither; ss does. After shutdown() alone, FIN_WAIT_2 -> CLOSED is the beginning \
                    of TIME_WAIT. A reset looks the same.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.6",
        "net/ipv4/tcp_minisocks.c tcp_time_wait, tcp_timewait_state_process",
        "net/ipv4/tcp.c __tcp_close",
    ],
};

pub(super) static CLOSE_WAIT: Facts = Facts {
    side: Side::SecondCloser,
    summary: "peer closed, application has not",
    meaning: "The peer has closed. The application on this side reads end of file and has to close \
              its socket, which it has not done yet.",
    lasts: "Until the local application closes. No timeout of the kernel ends it: a leaked socket \
            stays for as long as the process lives, unless data or keepalive is sent and the peer \
            answers with a reset or not at all.",
    checks: &[
        note(
            "Staying here is the local application's doing: it leaks the socket, it hangs, or it \
             still sends (the peer may have closed its sending side only). Restarting the \
             application closes them all.",
        ),
        run(
            "ss -tnpo state close-wait",
            "The process that has to close. Recv-Q above 1: data it has not read (the FIN counts \
             1). No process on a server: nobody has accepted the connection yet, see LISTEN.",
        ),
        run(
            "ls /proc/PID/fd | wc -l; grep 'open files' /proc/PID/limits",
            "How near the process is to its limit of open files; at the limit it can accept and \
             open nothing more.",
        ),
        run(
            "strace -f -p PID -e trace=network,close",
            "Is it working, or does it hang. Strace slows the process down.",
        ),
    ],
    on_tracepoint: "All of it. CLOSE_WAIT -> CLOSED, without LAST_ACK, is cut short by a reset: the \
                    peer's, or our own because the application closed with data unread.",
    sources: &["RFC 9293 section 3.3.2", "net/ipv4/tcp_input.c tcp_fin"],
};

pub(super) static CLOSING: Facts = Facts {
    side: Side::BothClosers,
    summary: "both closed at once, ACK awaited",
    meaning: "Both sides have sent a FIN before that of the other arrived. The peer's FIN is here, \
              the ACK of our own is not.",
    lasts: "Less than a round trip, and rare. Without the ACK the kernel gives up as in FIN_WAIT_1. \
            After the ACK both sides go to TIME_WAIT.",
    checks: &[run(
        "ss -tnpo state closing",
        "timer:(on,TIME,N): our FIN was repeated N times, the path or the peer is gone.",
    )],
    on_tracepoint: "All of it. CLOSING -> CLOSED is the beginning of TIME_WAIT, which a mini-socket \
                    takes over; a reset looks the same.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.6",
        "net/ipv4/tcp_input.c tcp_fin, tcp_rcv_state_process",
    ],
};

pub(super) static LAST_ACK: Facts = Facts {
    side: Side::SecondCloser,
    summary: "both closed, last ACK awaited",
    meaning: "The peer closed first, the application here has closed too and its FIN is out. Only \
              the ACK of that FIN is missing.",
    lasts: "One round trip. After the ACK the connection is gone: this side has no TIME_WAIT. \
            Without it the kernel gives up as in FIN_WAIT_1.",
    checks: &[
        run(
            "ss -tnpo state last-ack",
            "timer:(on,TIME,N): the FIN was repeated N times. The peer is gone, or a firewall \
             forgot the connection when it saw the first FIN. Send-Q above 1: data is waiting too \
             (the FIN counts 1).",
        ),
        run(
            "tcpdump -ni any host ADDRESS and port PORT",
            "Does the FIN leave, does an ACK or a reset come back.",
        ),
        run(
            "sysctl net.ipv4.tcp_orphan_retries",
            "How often the FIN is repeated after close(); 0 means 8.",
        ),
    ],
    on_tracepoint: "All of it.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.6",
        "net/ipv4/tcp.c tcp_close_state",
        "net/ipv4/tcp_input.c tcp_rcv_state_process",
    ],
};

pub(super) static TIME_WAIT: Facts = Facts {
    side: Side::FirstCloser,
    summary: "closed, late packets awaited",
    meaning: "Both sides have closed. The side that closed first (both, after CLOSING) keeps the \
              addresses and ports for a while, so that late packets cannot hit a new connection and \
              the last ACK can be repeated. This is normal, not an error.",
    lasts: "60 s, fixed in the kernel; net.ipv4.tcp_fin_timeout does not change it. A packet of the \
            old connection can start the time anew, a reset or a new SYN can end it early.",
    checks: &[
        run(
            "ss -Htn state time-wait | awk '{print $4}' | sort | uniq -c | sort -rn",
            "Many are a problem mainly for a client that opens many short connections to one \
             address and port: it runs out of local ports (EADDRNOTAVAIL, cannot assign requested \
             address). Keep connections open and use them again.",
        ),
        run(
            "sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse",
            "The local ports to choose from, 32768 to 60999 by default. tcp_tw_reuse = 1 lets new \
             outgoing connections take over a port in TIME_WAIT (needs TCP timestamps); 2, the \
             default, does so for loopback only. tcp_tw_recycle no longer exists.",
        ),
        note(
            "A server that cannot bind its port after a restart (EADDRINUSE) must set SO_REUSEADDR \
             before bind().",
        ),
        run(
            "cat /proc/net/sockstat; sysctl net.ipv4.tcp_max_tw_buckets",
            "tw is how many there are, tcp_max_tw_buckets how many there may be. Beyond that they \
             are dropped at once, counted in TcpExtTCPTimeWaitOverflow.",
        ),
    ],
    on_tracepoint: "Nothing, ever. The kernel puts a mini-socket in the connection's place, which \
                    reports no state changes, and the full socket goes to CLOSED: look for \
                    FIN_WAIT_2 -> CLOSED and CLOSING -> CLOSED. ss shows TIME_WAIT with the time \
                    left.",
    sources: &[
        "RFC 9293 sections 3.3.2, 3.6.1",
        "include/net/tcp.h TCP_TIMEWAIT_LEN",
        "net/ipv4/tcp_minisocks.c tcp_time_wait, tcp_timewait_state_process",
    ],
};

pub(super) static CLOSED: Facts = Facts {
    side: Side::Both,
    summary: "no connection",
    meaning: "A socket that has no connection yet, or whose connection has ended. Windows has one \
              more name, DeleteTCB, for a connection whose memory is about to be freed.",
    lasts: "Until the application connects, listens or closes the socket. There is no timeout.",
    checks: &[
        note(
            "ss and netstat do not list such a socket. A process that keeps it still holds a file \
             descriptor.",
        ),
        run(
            "ls -l /proc/PID/fd | grep -c socket:",
            "How many sockets the process holds. Many more than ss -atunxp shows for it: it leaks \
             closed ones.",
        ),
        run(
            "nstat -az 'TcpExtTCPAbort*' TcpEstabResets TcpAttemptFails TcpOutRsts",
            "Why connections end early, all together: AbortOnTimeout (a timer gave up), \
             AbortOnClose (closed with data unread), AbortOnData (data came after close \
             or a shutdown of reading, or linger 0), AbortOnMemory (too many orphans, or out of memory).",
        ),
    ],
    on_tracepoint: "-> CLOSED is the end of the socket, not always of the connection: after \
                    FIN_WAIT_2 -> CLOSED and CLOSING -> CLOSED a mini-socket goes on in FIN_WAIT_2 \
                    or TIME_WAIT. CLOSED -> SYN_SENT and CLOSED -> LISTEN are the beginning of a \
                    connection and of a listener, perhaps on a socket that was used before.",
    sources: &[
        "RFC 9293 section 3.3.2",
        "net/ipv4/tcp.c tcp_done, tcp_set_state",
    ],
};
