use super::*;

#[test]
fn overview_on_80_columns() {
    insta::assert_snapshot!(table(80), @r"
    STATE             SEEN BY                  MEANING
    LISTEN            server                   waits for connections
    SYN_SENT          client                   SYN sent, no answer yet
    SYN_RECEIVED      server                   SYN-ACK sent, final ACK awaited
    ESTABLISHED       both sides               open, data can flow
    FIN_WAIT_1        side that closes first   closed here, FIN not yet acknowledged
    FIN_WAIT_2        side that closes first   closed here, peer has not closed yet
    CLOSE_WAIT        side that closes second  peer closed, application has not
    CLOSING           both, closing at once    both closed at once, ACK awaited
    LAST_ACK          side that closes second  both closed, last ACK awaited
    TIME_WAIT         side that closes first   closed, late packets awaited
    CLOSED            both sides               no connection
    NEW_SYN_RECEIVED  server                   half-open, as Linux keeps it
    BOUND_INACTIVE    both sides               bound to a port, otherwise idle

    STATE             LINUX KERNEL        SS          NETSTAT      RFC 9293
    LISTEN            TCP_LISTEN          LISTEN      LISTEN       LISTEN
    SYN_SENT          TCP_SYN_SENT        SYN-SENT    SYN_SENT     SYN-SENT
    SYN_RECEIVED      TCP_SYN_RECV        SYN-RECV    SYN_RECV     SYN-RECEIVED
    ESTABLISHED       TCP_ESTABLISHED     ESTAB       ESTABLISHED  ESTABLISHED
    FIN_WAIT_1        TCP_FIN_WAIT1       FIN-WAIT-1  FIN_WAIT1    FIN-WAIT-1
    FIN_WAIT_2        TCP_FIN_WAIT2       FIN-WAIT-2  FIN_WAIT2    FIN-WAIT-2
    CLOSE_WAIT        TCP_CLOSE_WAIT      CLOSE-WAIT  CLOSE_WAIT   CLOSE-WAIT
    CLOSING           TCP_CLOSING         CLOSING     CLOSING      CLOSING
    LAST_ACK          TCP_LAST_ACK        LAST-ACK    LAST_ACK     LAST-ACK
    TIME_WAIT         TCP_TIME_WAIT       TIME-WAIT   TIME_WAIT    TIME-WAIT
    CLOSED            TCP_CLOSE           UNCONN      CLOSE        CLOSED
    NEW_SYN_RECEIVED  TCP_NEW_SYN_RECV    (SYN-RECV)  (SYN_RECV)   (SYN-RECEIVED)
    BOUND_INACTIVE    TCP_BOUND_INACTIVE  (UNCONN)    -            (CLOSED)

    STATE             macOS, BSD   WINDOWS       POWERSHELL   OPENTELEMETRY
    LISTEN            LISTEN       LISTENING     Listen       listen
    SYN_SENT          SYN_SENT     SYN_SENT      SynSent      syn_sent
    SYN_RECEIVED      SYN_RCVD     SYN_RECEIVED  SynReceived  syn_received
    ESTABLISHED       ESTABLISHED  ESTABLISHED   Established  established
    FIN_WAIT_1        FIN_WAIT_1   FIN_WAIT_1    FinWait1     fin_wait_1
    FIN_WAIT_2        FIN_WAIT_2   FIN_WAIT_2    FinWait2     fin_wait_2
    CLOSE_WAIT        CLOSE_WAIT   CLOSE_WAIT    CloseWait    close_wait
    CLOSING           CLOSING      CLOSING       Closing      closing
    LAST_ACK          LAST_ACK     LAST_ACK      LastAck      last_ack
    TIME_WAIT         TIME_WAIT    TIME_WAIT     TimeWait     time_wait
    CLOSED            CLOSED       CLOSED        Closed       closed
    NEW_SYN_RECEIVED  -            -             -            -
    BOUND_INACTIVE    (CLOSED)     BOUND         Bound        -

    -: no such state there. (NAME): shown there under the name of another state.
    Names for several states at once: fin_wait, all, connected, synchronized,
    bucket, big.
    `tracer states NAME` tells what a state means and what to check when a
    connection stays in it.
    ");
}

#[test]
fn details_of_syn_received() {
    insta::assert_snapshot!(details(State::SynReceived, 80), @r"
    SYN_RECEIVED: SYN-ACK sent, final ACK awaited

      Linux kernel        TCP_SYN_RECV, 3 (03 in /proc/net/tcp)
      Linux ss            SYN-RECV
      Linux netstat       SYN_RECV
      RFC 9293            SYN-RECEIVED
      macOS, BSD netstat  SYN_RCVD
      Windows netstat     SYN_RECEIVED
      Windows PowerShell  SynReceived
      OpenTelemetry       syn_received
      Seen by             server

    Meaning
      A SYN came, the SYN-ACK went out, and the ACK that completes the handshake is
      awaited: the connection is half-open. A client is in this state too when both
      sides connect to each other at the same time.

    How long
      One round trip. Without the ACK the kernel repeats the SYN-ACK 5 times by
      default and gives up after about 63 s.

    What to check when a connection stays here
      The SYN-ACK or the client's ACK gets lost: check the way back to the client,
      asymmetric routing, firewalls on the way. Very many from many addresses: a SYN
      flood.
      The client says ESTABLISHED and this side stays here: the accept queue is full
      (see LISTEN), or the listener uses TCP_DEFER_ACCEPT and the client has sent no
      data.
      $ ss -tno state syn-recv
        The half-open connections. timer:(on,TIME,N): the SYN-ACK was repeated N
        times.
      $ nstat -az TcpExtTCPReqQFullDoCookies TcpExtTCPReqQFullDrop
        Figures that grow: a listener has as many half-open connections as it may
        (its Send-Q in ss -ltn). Further ones get a SYN cookie (DoCookies), and no
        half-open connection is kept or shown for them, or are dropped (Drop) where
        net.ipv4.tcp_syncookies is 0.
      $ sysctl net.ipv4.tcp_synack_retries net.ipv4.tcp_syncookies
        How often the SYN-ACK is repeated, and whether SYN cookies are used.
        net.ipv4.tcp_max_syn_backlog counts only where they are not.

    What may follow
      ESTABLISHED   the final ACK came
      FIN_WAIT_1    closed before the handshake completed
      CLOSE_WAIT    the peer's FIN came before the handshake completed
      CLOSED        reset, timed out or dropped by the kernel

    What tracer's tracepoint shows of it
      A few microseconds only. While a server waits, Linux keeps a request socket
      (NEW_SYN_RECEIVED), which the tracepoint does not report; the full socket
      passes through SYN_RECEIVED when the final ACK has arrived. Only with TCP Fast
      Open, or when both sides connect at once, is the time shown the real one.

    Sources
      RFC 9293 sections 3.3.2, 3.5
      net/ipv4/inet_connection_sock.c inet_csk_clone_lock
      net/ipv4/tcp_minisocks.c tcp_check_req
    ");
}

#[test]
fn details_of_time_wait() {
    insta::assert_snapshot!(details(State::TimeWait, 80), @r"
    TIME_WAIT: closed, late packets awaited

      Linux kernel        TCP_TIME_WAIT, 6 (06 in /proc/net/tcp)
      Linux ss            TIME-WAIT
      Linux netstat       TIME_WAIT
      RFC 9293            TIME-WAIT
      macOS, BSD netstat  TIME_WAIT
      Windows netstat     TIME_WAIT
      Windows PowerShell  TimeWait
      OpenTelemetry       time_wait
      Seen by             side that closes first

    Meaning
      Both sides have closed. The side that closed first (both, after CLOSING) keeps
      the addresses and ports for a while, so that late packets cannot hit a new
      connection and the last ACK can be repeated. This is normal, not an error.

    How long
      60 s, fixed in the kernel; net.ipv4.tcp_fin_timeout does not change it. A
      packet of the old connection can start the time anew, a reset or a new SYN can
      end it early.

    What to check when a connection stays here
      $ ss -Htn state time-wait | awk '{print $4}' | sort | uniq -c | sort -rn
        Many are a problem mainly for a client that opens many short connections to
        one address and port: it runs out of local ports (EADDRNOTAVAIL, cannot
        assign requested address). Keep connections open and use them again.
      $ sysctl net.ipv4.ip_local_port_range net.ipv4.tcp_tw_reuse
        The local ports to choose from, 32768 to 60999 by default. tcp_tw_reuse = 1
        lets new outgoing connections take over a port in TIME_WAIT (needs TCP
        timestamps); 2, the default, does so for loopback only. tcp_tw_recycle no
        longer exists.
      A server that cannot bind its port after a restart (EADDRINUSE) must set
      SO_REUSEADDR before bind().
      $ cat /proc/net/sockstat; sysctl net.ipv4.tcp_max_tw_buckets
        tw is how many there are, tcp_max_tw_buckets how many there may be. Beyond
        that they are dropped at once, counted in TcpExtTCPTimeWaitOverflow.

    What tracer's tracepoint shows of it
      Nothing, ever. The kernel puts a mini-socket in the connection's place, which
      reports no state changes, and the full socket goes to CLOSED: look for
      FIN_WAIT_2 -> CLOSED and CLOSING -> CLOSED. ss shows TIME_WAIT with the time
      left.

    Sources
      RFC 9293 sections 3.3.2, 3.6.1
      include/net/tcp.h TCP_TIMEWAIT_LEN
      net/ipv4/tcp_minisocks.c tcp_time_wait, tcp_timewait_state_process
    ");
}

#[test]
fn details_of_a_number_without_a_name() {
    insta::assert_snapshot!(details(State::Unknown(17), 40), @r"
    UNKNOWN(17): a number of the kernel that
    this version of tracer has no name for
    ");
}

#[test]
fn nothing_is_wider_than_the_terminal() {
    for width in [80, 100, 132] {
        let texts = State::ALL.map(|state| details(state, width));
        for line in texts
            .iter()
            .map(String::as_str)
            .chain([table(width).as_str()])
            .flat_map(str::lines)
        {
            assert!(line.len() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn one_table_where_there_is_room() {
    assert_eq!(fitted(columns(), 80).len(), 3);
    assert_eq!(fitted(columns(), 200).len(), 1);
    assert_eq!(fitted(columns(), 0).len(), columns().len());
}

#[test]
fn json_of_a_state() {
    let states = json(&[State::FinWait1, State::BoundInactive, State::Unknown(17)]);
    assert_eq!(states[0]["state"], "FIN_WAIT_1");
    assert_eq!(states[0]["kernel_number"], 4);
    assert_eq!(
        states[0]["names"],
        json!({
            "kernel": "TCP_FIN_WAIT1",
            "ss": "FIN-WAIT-1",
            "netstat": "FIN_WAIT1",
            "rfc": "FIN-WAIT-1",
            "bsd": "FIN_WAIT_1",
            "windows": "FIN_WAIT_1",
            "powershell": "FinWait1",
            "opentelemetry": "fin_wait_1",
        })
    );
    assert_eq!(states[0]["seen_by"], "first_closer");
    assert_eq!(states[0]["next"][0]["state"], "FIN_WAIT_2");
    assert_eq!(states[1]["names"]["ss"], Value::Null);
    assert_eq!(states[1]["shown_as"]["ss"], "UNCONN");
    assert_eq!(states[2]["state"], "UNKNOWN(17)");
    assert_eq!(states[2].get("meaning"), None);
}
