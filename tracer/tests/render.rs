//! What each output format looks like, and that none of it can harm a terminal.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::Value;
use tracer::diagnose::{Diagnosis, Sources, Verdict, diagnose};
use tracer::event::{Comm, Family, Protocol};
use tracer::hints::Told;
use tracer::render::{Format, Render, RenderOptions, Renderer};
use tracer::session::Verdicts;
use tracer::state::State;
use tracer::track::{
    After, ConnId, Connection, Ending, Gap, Legality, Mini, MiniEnd, OwnerProcess, OwnerSource,
    Role, Step,
};

mod samples;
use samples::outcomes::{diagnosis, outcomes};
use samples::{CLOCK, MS, SECOND, client, ended, options, step_as, transitions, whole_run};

#[test]
fn text_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Text, false), @"
    # 2026-03-01 +02:00
    # owner (name/pid): the listener's, not accepted yet; *: none known; >5us: at least 5us; -, ?: not known
    TIME             OWNER             LOCAL                  REMOTE                 OLD          -> NEW             IN OLD  NOTE
    14:00:00.000123  curl/1234         192.168.1.17:*         93.184.215.14:443      CLOSED       -> SYN_SENT             ?
    14:00:00.012163  curl/1234         192.168.1.17:43210     93.184.215.14:443      SYN_SENT     -> ESTABLISHED    12.04ms
    14:00:01.215200  curl/1234         192.168.1.17:43210     93.184.215.14:443      ESTABLISHED  -> FIN_WAIT_1      1.203s
    14:00:01.227300  curl/1234         192.168.1.17:43210     93.184.215.14:443      FIN_WAIT_1   -> FIN_WAIT_2     12.10ms
    14:00:01.227306  curl/1234         192.168.1.17:43210     93.184.215.14:443      FIN_WAIT_2   -> CLOSED            >6us  usually goes on unseen in FIN_WAIT_2 or TIME_WAIT
    14:00:01.477306  curl/1234         192.168.1.17:43210     93.184.215.14:443      FIN_WAIT_2   -> TIME_WAIT      250.0ms  after the socket was closed
    TIME             OWNER             LOCAL                  REMOTE                            OLD          -> NEW             IN OLD  NOTE
    14:00:00.002000  (nginx/77)        [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      LISTEN       -> SYN_RECEIVED         ?
    14:00:00.002005  (nginx/77)        [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      SYN_RECEIVED -> ESTABLISHED       >5us
    14:00:03.000000  nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      ESTABLISHED  -> CLOSE_WAIT      2.997s
    14:00:03.040000  nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      CLOSE_WAIT   -> LAST_ACK       40.00ms
    14:00:03.040035  nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      LAST_ACK     -> CLOSED            35us
    14:00:03.500000  curl/1234         192.168.1.17:*         10.0.0.1:8080                     CLOSED       -> SYN_SENT             ?
    14:00:03.500210  curl/1234         192.168.1.17:43212     10.0.0.1:8080                     SYN_SENT     -> CLOSED           210us
    #14:00:03.500210 curl/1234         192.168.1.17:43212     10.0.0.1:8080                     refused: the peer answered the SYN with a reset
    # hint: a connection to look at; `tracer states STATE` says what to check
    #14:00:03.700000 nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      hint: CLOSE_WAIT for 2.000s: peer closed, pid 77 has not; likely a leak or a hang
    # the wall clock was set: +1.500s; durations are not affected
    # 14:00:05.500000  lost 12 transitions since the start or the last such line: tracer could not keep up (10); the kernel refused to run the program inside itself (2)
    ");
}

#[test]
fn text_of_oddities() {
    insta::assert_snapshot!(transitions(Format::Text, false, &samples::oddities()), @r#"
    # 2026-03-01 +02:00
    TIME             OWNER             LOCAL                     REMOTE                    OLD          -> NEW             IN OLD  NOTE
    14:00:05.000000  ?/4194304         [::ffff:192.168.1.17]:80  [::ffff:1.2.3.4]:40000    ESTABLISHED  -> CLOSE_WAIT      4.000s
    14:00:05.000000  nginx/77          [::]:443                  *                         CLOSED       -> LISTEN               ?
    14:00:05.000000  curl/1234         192.168.1.17:43210        93.184.215.14:443         FIN_WAIT_2   -> CLOSED          4.000s  mptcp
    # all lines above are of network namespace 4026531840
    TIME             OWNER             NETNS       LOCAL                     REMOTE                    OLD          -> NEW                     IN OLD  NOTE
    14:00:05.000000  curl/1234         ?           192.168.1.17:43210        93.184.215.14:443         UNKNOWN(17)  -> UNKNOWN(-2147483648)    4.000s  protocol 132; unexpected transition
    14:00:05.000000  curl/1234         4026531840  192.168.1.17:43210        93.184.215.14:443         SYN_RECEIVED -> ESTABLISHED             4.000s
    14:00:05.000000  curl/1234         4026531840  192.168.1.17:43210        93.184.215.14:443         CLOSING      -> CLOSED                  4.000s  usually goes on unseen in TIME_WAIT
    TIME             OWNER             NETNS       LOCAL                     REMOTE                            OLD          -> NEW                     IN OLD  NOTE
    14:00:05.000000  nginx/812+2       4026531840  [2001:db8::80]:443        [2001:db8:1:2:3:4:5:6]:51034      ESTABLISHED  -> CLOSE_WAIT             >4.997s
    TIME             OWNER                     NETNS       LOCAL                     REMOTE                            OLD          -> NEW                     IN OLD  NOTE
    14:00:05.000000  \x1b[2J\x1b]0;x\x07/1234  4026531840  192.168.1.17:43210        93.184.215.14:443                 ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  a\x0ab\x0d\x09c,"d"/1234  4026531840  192.168.1.17:43210        93.184.215.14:443                 ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  =cmd|'/C calc'!/1234      4026531840  192.168.1.17:43210        93.184.215.14:443                 ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  \xff\xfe\u{202e}gnp/1234  4026531840  192.168.1.17:43210        93.184.215.14:443                 ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  日本語/1234               4026531840  192.168.1.17:43210        93.184.215.14:443                 ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  -                         4026531840  192.168.1.17:43210        93.184.215.14:443                 ESTABLISHED  -> CLOSE_WAIT                   ?
    14:00:05.000000  curl/1234                 4026531840  192.168.1.17:*            93.184.215.14:443                 CLOSED       -> SYN_SENT                     ?
    14:00:05.000000  curl/1234                 4026531840  192.168.1.17:43210        93.184.215.14:443                 CLOSE_WAIT   -> LAST_ACK                     ?  after a gap; the text says why
    "#);
}

#[test]
fn text_in_colour() {
    let life = samples::client_life();
    insta::assert_snapshot!(transitions(Format::Text, true, &life[..2]).escape_debug(), @r"# 2026-03-01 +02:00\n14:00:00.000123  curl/1234         192.168.1.17:*         93.184.215.14:443      \u{1b}[34mCLOSED\u{1b}[0m       -> \u{1b}[33mSYN_SENT\u{1b}[0m             ?\n14:00:00.012163  curl/1234         192.168.1.17:43210     93.184.215.14:443      \u{1b}[33mSYN_SENT\u{1b}[0m     -> \u{1b}[32mESTABLISHED\u{1b}[0m    12.04ms\n");
}

#[test]
fn text_fits_120_columns_for_ipv4() {
    let mut conn = client();
    conn.local = samples::endpoint("255.255.255.255", 65535);
    conn.remote = conn.local;
    conn.owner.pid = Some(4_194_304);
    let list = [
        (
            conn.clone(),
            step_as(&mut conn, SECOND, State::SynReceived, Legality::Rfc),
        ),
        (
            conn.clone(),
            step_as(&mut conn, 2 * SECOND, State::SynReceived, Legality::Rfc),
        ),
    ];
    let text = transitions(Format::Text, false, &list);
    let longest = text.lines().map(str::len).max();
    assert!(longest <= Some(120), "{longest:?} columns:\n{text}");
}

/// The run as a terminal of so many columns gets it.
fn run_on_terminal(format: Format, color: bool, columns: usize) -> String {
    let options = RenderOptions {
        width: Some(columns),
        ..options(color)
    };
    samples::whole_run_by(Renderer::new(format, options), &[])
}

#[test]
fn text_on_a_narrow_terminal() {
    insta::assert_snapshot!(run_on_terminal(Format::Text, false, 80), @"
    # 2026-03-01 +02:00
    # owner (name/pid): the listener's, not accepted yet; *: none known; >5us: at
    #     least 5us; -, ?: not known
    TIME             OLD          -> NEW             IN OLD
    #1 curl/1234  192.168.1.17:* -> 93.184.215.14:443
    14:00:00.000123  CLOSED       -> SYN_SENT             ?
    #1 curl/1234  192.168.1.17:43210 -> 93.184.215.14:443
    14:00:00.012163  SYN_SENT     -> ESTABLISHED    12.04ms
    14:00:01.215200  ESTABLISHED  -> FIN_WAIT_1      1.203s
    14:00:01.227300  FIN_WAIT_1   -> FIN_WAIT_2     12.10ms
    14:00:01.227306  FIN_WAIT_2   -> CLOSED            >6us
          usually goes on unseen in FIN_WAIT_2 or TIME_WAIT
    14:00:01.477306  FIN_WAIT_2   -> TIME_WAIT      250.0ms
          after the socket was closed
    #2 (nginx/77)  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034
    14:00:00.002000  LISTEN       -> SYN_RECEIVED         ?
    14:00:00.002005  SYN_RECEIVED -> ESTABLISHED       >5us
    #2 nginx/77  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034
    14:00:03.000000  ESTABLISHED  -> CLOSE_WAIT      2.997s
    14:00:03.040000  CLOSE_WAIT   -> LAST_ACK       40.00ms
    14:00:03.040035  LAST_ACK     -> CLOSED            35us
    #3 curl/1234  192.168.1.17:* -> 10.0.0.1:8080
    14:00:03.500000  CLOSED       -> SYN_SENT             ?
    #3 curl/1234  192.168.1.17:43212 -> 10.0.0.1:8080
    14:00:03.500210  SYN_SENT     -> CLOSED           210us
    #14:00:03.500210 refused: the peer answered the SYN with a reset
    # hint: a connection to look at; `tracer states STATE` says what to check
    #4 nginx/77  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034
    #14:00:03.700000 hint: CLOSE_WAIT for 2.000s: peer closed, pid 77 has not;
    #     likely a leak or a hang
    # the wall clock was set: +1.500s; durations are not affected
    # 14:00:05.500000  lost 12 transitions since the start or the last such line:
    #     tracer could not keep up (10); the kernel refused to run the program
    #     inside itself (2)
    ");
}

#[test]
fn timeline_on_a_narrow_terminal() {
    insta::assert_snapshot!(run_on_terminal(Format::Timeline, false, 80), @"
    # each state: when it began, how long it lasted (>: at least; ~: not measured;
    #     ?: not known)

    #1 closed  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443
    #     netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      both sides sent FIN, this side first
          +0 =  14:00:00.000123  2026-03-01 +02:00
            +0  SYN_SENT      12.04ms  [|                       ]
      +12.04ms  ESTABLISHED    1.203s  [|======================|]
       +1.215s  FIN_WAIT_1    12.10ms  [                       |]
       +1.227s  FIN_WAIT_2       >6us  [                       |]
             ?  TIME_WAIT      ~1m00s  inferred, not seen
             ?  CLOSED                 inferred, not seen
      socket closed, 1.227s after the beginning; this side closed first
      bytes: 78 sent, 5432 received; round trip: 11.98ms; retransmits: 0 SYN, 1 data
          or FIN
      segments: 8 sent, 2 of them with data; 7 received, 4 of them with data

    #2 closed  server  nginx/77 by accept
    #     [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034  netns 4026531840
    #     unit nginx.service
      both sides sent FIN, the peer first
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_RECEIVED   1.005ms  [|                       ]
      +1.005ms  ESTABLISHED     2.997s  [|======================|]
       +2.999s  CLOSE_WAIT     40.00ms  [                       |]
       +3.039s  LAST_ACK          35us  [                       |]
       +3.039s  CLOSED
      socket closed, 3.039s after the beginning; the peer closed first
      bytes, round trip, retransmits: not known

    #3 refused  client  curl/1234 by connect  192.168.1.17:43212 -> 10.0.0.1:8080
    #     netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      the peer answered the SYN with a reset
      check: on the peer: does anything listen there
             ss -ltnp
          +0 =  14:00:03.500000  2026-03-01 +02:00
            +0  SYN_SENT     210us  [========================]
        +210us  CLOSED
      socket closed, 210us after the beginning
      bytes: 0 sent, 0 received; round trip: ?; retransmits: 0 SYN, ? data or FIN

    # 14:00:03.700000  #4  nginx/77
    #     [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034
    #     hint: CLOSE_WAIT for 2.000s: peer closed, pid 77 has not; likely a leak or
    #     a hang

    # the wall clock was set: +1.500s; durations are not affected
    # 14:00:05.500000  2026-03-01 +02:00
    #     lost 12 transitions since the start or the last such line: tracer could
    #     not keep up (10); the kernel refused to run the program inside itself (2)
    ");
}

#[test]
fn text_gives_way_where_addresses_are_too_long() {
    let wide = run_on_terminal(Format::Text, false, 120);
    let (before, after) = wide
        .split_once("# the terminal has no room for the columns")
        .unwrap();
    assert!(before.contains("FIN_WAIT_2   -> CLOSED"), "{wide}");
    assert!(!before.contains("2001:db8"), "{wide}");
    let heading = "\n#2 (nginx/77)  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034\n";
    assert!(after.contains(heading), "{wide}");
    assert!(!run_on_terminal(Format::Text, false, 160).contains("no room"));
}

#[test]
fn no_line_is_wider_than_the_terminal_and_nothing_is_left_out() {
    const WORDS: [&str; 5] = [
        "reset",
        "CLOSE_WAIT",
        "lost",
        "2001:db8:1:2:3:4:5:6",
        "TIME_WAIT",
    ];
    for format in [Format::Text, Format::Timeline] {
        for columns in [80, 100, 119, 120, 140, 160, 200] {
            let text = without_sgr(&run_on_terminal(format, true, columns));
            for line in text.lines() {
                assert!(
                    line.len() <= columns,
                    "{format} {columns}: {line:?}\n{text}"
                );
            }
            for word in WORDS {
                assert!(
                    text.contains(word),
                    "{format} {columns}: no {word} in\n{text}"
                );
            }
        }
    }
    // Programs read what is not made to fit.
    for format in [Format::Jsonl, Format::Csv] {
        let on_terminal = run_on_terminal(format, false, 80);
        assert_eq!(on_terminal, whole_run(format, false));
    }
}

#[test]
fn the_day_is_told_when_it_changes() {
    let mut conn = client();
    // The samples begin at 14:00 in their zone.
    let midnight = 10 * 3600 * SECOND;
    let mut list = Vec::new();
    for at_ns in [midnight - 1, midnight, midnight + 1] {
        let transition = step_as(&mut conn, at_ns, State::SynSent, Legality::Rfc);
        list.push((conn.clone(), transition));
    }
    let text = transitions(Format::Text, false, &list);
    let heads: Vec<&str> = text
        .lines()
        .map(|line| line.get(..19).unwrap_or(line).trim())
        .collect();
    insta::assert_debug_snapshot!(heads, @r##"
    [
        "# 2026-03-01 +02:00",
        "23:59:59.999999  cu",
        "# 2026-03-02 +02:00",
        "00:00:00.000000  cu",
        "00:00:00.000000  cu",
    ]
    "##);
}

#[test]
fn csv_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Csv, false), @r#"
    type,ts,mono_ns,conn,sk,netns,family,protocol,role,local_addr,local_port,local_port_known,remote_addr,remote_port,from,to,kernel_from,kernel_to,in_state_ns,in_state_is_minimum,unseen_next,legality,after_gap,recovered,pid,comm,owner_source,verdict,closed_by,reset_reason,because,syn_retransmits,synack_retransmits,retransmits,bytes_sent,bytes_received,rtt_us,states,ending,from_birth,has_gap,hints,uid,ns_pid,cgroup,container,runtime,pod,unit,owners,segments_sent,segments_received,data_segments_sent,data_segments_received,congestion_state,socket_uid,socket_cgroup
    transition,2026-03-01T12:00:00.000123456Z,1000000123456,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,0,false,93.184.215.14,443,CLOSED,SYN_SENT,TCP_CLOSE,TCP_SYN_SENT,,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:00.012163456Z,1000012163456,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,SYN_SENT,ESTABLISHED,TCP_SYN_SENT,TCP_ESTABLISHED,12040000,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:01.215200000Z,1001215200000,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,1203036544,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:01.227300000Z,1001227300000,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,FIN_WAIT_1,FIN_WAIT_2,TCP_FIN_WAIT1,TCP_FIN_WAIT2,12100000,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:01.227306789Z,1001227306789,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,FIN_WAIT_2,CLOSED,TCP_FIN_WAIT2,TCP_CLOSE,6789,true,FIN_WAIT_2 TIME_WAIT,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    connection,2026-03-01T12:00:01.227306789Z,1001227306789,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,closed,local,,"both sides sent FIN, this side first",0,0,1,78,5432,11987,SYN_SENT ESTABLISHED FIN_WAIT_1 FIN_WAIT_2 TIME_WAIT(inferred) CLOSED(inferred),closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,8,7,2,4,open,1000,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope
    transition,2026-03-01T12:00:00.002000000Z,1000002000000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,LISTEN,SYN_RECEIVED,TCP_LISTEN,TCP_SYN_RECV,,false,,rfc,false,false,77,nginx,listener,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:00.002005100Z,1000002005100,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,SYN_RECEIVED,ESTABLISHED,TCP_SYN_RECV,TCP_ESTABLISHED,5100,true,,rfc,false,false,77,nginx,listener,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:03.000000000Z,1003000000000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,2997994900,false,,rfc,false,false,77,nginx,accept,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:03.040000000Z,1003040000000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,CLOSE_WAIT,LAST_ACK,TCP_CLOSE_WAIT,TCP_LAST_ACK,40000000,false,,rfc,false,false,77,nginx,accept,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:03.040035000Z,1003040035000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,LAST_ACK,CLOSED,TCP_LAST_ACK,TCP_CLOSE,35000,false,,rfc,false,false,77,nginx,accept,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    connection,2026-03-01T12:00:03.040035000Z,1003040035000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,,2001:db8:1:2:3:4:5:6,51034,,,,,,,,,,,77,nginx,accept,closed,remote,,"both sides sent FIN, the peer first",,,,,,,SYN_RECEIVED ESTABLISHED CLOSE_WAIT LAST_ACK CLOSED,closed,true,false,,33,77,/system.slice/nginx.service,,,,nginx.service,77,,,,,,,
    transition,2026-03-01T12:00:03.500000000Z,1003500000000,3,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,0,false,10.0.0.1,8080,CLOSED,SYN_SENT,TCP_CLOSE,TCP_SYN_SENT,,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:03.500210000Z,1003500210000,3,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43212,true,10.0.0.1,8080,SYN_SENT,CLOSED,TCP_SYN_SENT,TCP_CLOSE,210000,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    connection,2026-03-01T12:00:03.500210000Z,1003500210000,3,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43212,,10.0.0.1,8080,,,,,,,,,,,1234,curl,connect,refused,,,the peer answered the SYN with a reset,0,,,0,0,,SYN_SENT CLOSED,closed,true,false,refused,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    hint,2026-03-01T12:00:03.700000000Z,1003700000000,4,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,,2001:db8:1:2:3:4:5:6,51034,,,,,2000000000,true,,,,,77,nginx,accept,,,,"CLOSE_WAIT for 2.000s: peer closed, pid 77 has not; likely a leak or a hang",,,,,,,CLOSE_WAIT,,,,close_wait,,,,,,,,,,,,,,,
    "#);
}

#[test]
fn csv_of_oddities() {
    insta::assert_snapshot!(transitions(Format::Csv, false, &samples::oddities()), @r#"
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,10,0xffff88810a3cd000,4026531840,inet6,tcp,server,::ffff:192.168.1.17,80,true,::ffff:1.2.3.4,40000,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,4000000000,false,,rfc,false,false,4194304,,close,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,11,0xffff88810a3cd000,4026531840,inet6,tcp,listener,::,443,true,::,0,CLOSED,LISTEN,TCP_CLOSE,TCP_LISTEN,,false,,rfc,false,false,77,nginx,listen,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,13,0xffff88810a3cc000,4026531840,inet,mptcp,client,192.168.1.17,43210,true,93.184.215.14,443,FIN_WAIT_2,CLOSED,TCP_FIN_WAIT2,TCP_CLOSE,4000000000,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,14,0xffff88810a3cc000,,1,132,client,192.168.1.17,43210,true,93.184.215.14,443,UNKNOWN(17),UNKNOWN(-2147483648),UNKNOWN(17),UNKNOWN(-2147483648),4000000000,false,,unexpected,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,15,0xffff88810a3cc000,4026531840,inet,tcp,both,192.168.1.17,43210,true,93.184.215.14,443,SYN_RECEIVED,ESTABLISHED,TCP_SYN_RECV,TCP_ESTABLISHED,4000000000,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,16,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,CLOSING,CLOSED,TCP_CLOSING,TCP_CLOSE,4000000000,false,TIME_WAIT,linux,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,17,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,4997000000,true,,rfc,false,false,812,nginx,snapshot,,,,,,,,,,,,,,,,33,77,/system.slice/nginx.service,,,,nginx.service,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,20,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,\x1b[2J\x1b]0;x\x07,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,21,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,"a\x0ab\x0d\x09c,""d""",connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,22,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,'=cmd|'/C calc'!,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,23,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,\xff\xfe\u{202e}gnp,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,24,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,日本語,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,12,0xffff88810a3cc000,4026531840,inet,tcp,unknown,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,,false,,rfc,false,false,,,unknown,,,,,,,,,,,,,,,,,,,,,,,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,29,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,false,93.184.215.14,443,CLOSED,SYN_SENT,TCP_CLOSE,TCP_SYN_SENT,,false,,rfc,false,false,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    transition,2026-03-01T12:00:05.000000000Z,1005000000000,30,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,CLOSE_WAIT,LAST_ACK,TCP_CLOSE_WAIT,TCP_LAST_ACK,,false,,linux,true,true,1234,curl,connect,,,,,,,,,,,,,,,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,,,,,,,,
    "#);
}

#[test]
fn jsonl_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Jsonl, false), @r#"
    {"type":"session","ts":"2026-03-01T12:00:00.000000000Z","mono_ns":1000000000000,"schema":1,"tracer_version":"0.1.0","host":"web-1","kernel":"6.18.5","arch":"x86_64","boot_id":"3e0bd1d4-5c2f-4a55-9c3e-0a0f6a1f9a11","filters":[{"name":"port","value":"80,443"}],"hooks":[{"name":"raw_tracepoint:inet_sock_set_state","purpose":"state transitions","status":"attached","reason":null},{"name":"tracepoint:sock:inet_sock_set_state","purpose":"state transitions","status":"not_needed","reason":null},{"name":"tracepoint:syscalls:sys_exit_accept4","purpose":"owner of accepted sockets","status":"unavailable","reason":"no syscall tracepoints in this kernel"}],"missing_fields":[{"name":"netns","reason":"no kernel BTF"}],"snapshot":{"status":"partial","sockets":41,"namespaces":2,"duration_ns":3100000,"missing":[{"what":"owners","reason":"3 processes cannot be looked at"}]}}
    {"type":"transition","ts":"2026-03-01T12:00:00.000123456Z","mono_ns":1000000123456,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":0},"local_port_known":false,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSED","to":"SYN_SENT","kernel_from":"TCP_CLOSE","kernel_to":"TCP_SYN_SENT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:00.012163456Z","mono_ns":1000012163456,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"SYN_SENT","to":"ESTABLISHED","kernel_from":"TCP_SYN_SENT","kernel_to":"TCP_ESTABLISHED","in_state_ns":12040000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:01.215200000Z","mono_ns":1001215200000,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":1203036544,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:01.227300000Z","mono_ns":1001227300000,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_1","to":"FIN_WAIT_2","kernel_from":"TCP_FIN_WAIT1","kernel_to":"TCP_FIN_WAIT2","in_state_ns":12100000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:01.227306789Z","mono_ns":1001227306789,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_2","to":"CLOSED","kernel_from":"TCP_FIN_WAIT2","kernel_to":"TCP_CLOSE","in_state_ns":6789,"in_state_is_minimum":true,"unseen_next":["FIN_WAIT_2","TIME_WAIT"],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"continued","ts":"2026-03-01T12:00:01.477306789Z","mono_ns":1001477306789,"conn":"1","netns":4026531840,"family":"inet","role":"client","local":{"addr":"192.168.1.17","port":43210},"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_2","to":"TIME_WAIT","in_state_ns":250006789,"evidence":"observed","within_ns":null,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"connection","ts":"2026-03-01T12:00:01.227306789Z","mono_ns":1001227306789,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"remote":{"addr":"93.184.215.14","port":443},"pid":1234,"comm":"curl","owner_source":"connect","verdict":"closed","closed_by":"local","reset_reason":null,"because":"both sides sent FIN, this side first","syn_retransmits":0,"synack_retransmits":0,"retransmits":1,"bytes_sent":78,"bytes_received":5432,"rtt_us":11987,"states":[{"state":"SYN_SENT","start":"2026-03-01T12:00:00.000123456Z","duration_ns":12040000,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"ESTABLISHED","start":"2026-03-01T12:00:00.012163456Z","duration_ns":1203036544,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"FIN_WAIT_1","start":"2026-03-01T12:00:01.215200000Z","duration_ns":12100000,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"FIN_WAIT_2","start":"2026-03-01T12:00:01.227300000Z","duration_ns":6789,"duration_is_minimum":true,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"TIME_WAIT","start":null,"duration_ns":null,"duration_is_minimum":false,"evidence":"inferred","expected_ns":60000000000,"within_ns":null},{"state":"CLOSED","start":null,"duration_ns":null,"duration_is_minimum":false,"evidence":"inferred","expected_ns":null,"within_ns":null}],"ending":"closed","from_birth":true,"has_gap":false,"hints":[],"uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","owners":[{"pid":1234,"comm":"curl"}],"segments_sent":8,"segments_received":7,"data_segments_sent":2,"data_segments_received":4,"congestion_state":"open","socket_uid":1000,"socket_cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:00.002000000Z","mono_ns":1000002000000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"LISTEN","to":"SYN_RECEIVED","kernel_from":"TCP_LISTEN","kernel_to":"TCP_SYN_RECV","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"listener","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:00.002005100Z","mono_ns":1000002005100,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"SYN_RECEIVED","to":"ESTABLISHED","kernel_from":"TCP_SYN_RECV","kernel_to":"TCP_ESTABLISHED","in_state_ns":5100,"in_state_is_minimum":true,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"listener","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:03.000000000Z","mono_ns":1003000000000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":2997994900,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"accept","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:03.040000000Z","mono_ns":1003040000000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"CLOSE_WAIT","to":"LAST_ACK","kernel_from":"TCP_CLOSE_WAIT","kernel_to":"TCP_LAST_ACK","in_state_ns":40000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"accept","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:03.040035000Z","mono_ns":1003040035000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"LAST_ACK","to":"CLOSED","kernel_from":"TCP_LAST_ACK","kernel_to":"TCP_CLOSE","in_state_ns":35000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"accept","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"connection","ts":"2026-03-01T12:00:03.040035000Z","mono_ns":1003040035000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"pid":77,"comm":"nginx","owner_source":"accept","verdict":"closed","closed_by":"remote","reset_reason":null,"because":"both sides sent FIN, the peer first","syn_retransmits":null,"synack_retransmits":null,"retransmits":null,"bytes_sent":null,"bytes_received":null,"rtt_us":null,"states":[{"state":"SYN_RECEIVED","start":"2026-03-01T12:00:00.001000000Z","duration_ns":1005100,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"ESTABLISHED","start":"2026-03-01T12:00:00.002005100Z","duration_ns":2997994900,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"CLOSE_WAIT","start":"2026-03-01T12:00:03.000000000Z","duration_ns":40000000,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"LAST_ACK","start":"2026-03-01T12:00:03.040000000Z","duration_ns":35000,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"CLOSED","start":"2026-03-01T12:00:03.040035000Z","duration_ns":null,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null}],"ending":"closed","from_birth":true,"has_gap":false,"hints":[],"uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service","owners":[{"pid":77,"comm":"nginx"}],"segments_sent":null,"segments_received":null,"data_segments_sent":null,"data_segments_received":null,"congestion_state":null,"socket_uid":null,"socket_cgroup":null}
    {"type":"transition","ts":"2026-03-01T12:00:03.500000000Z","mono_ns":1003500000000,"conn":"3","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":0},"local_port_known":false,"remote":{"addr":"10.0.0.1","port":8080},"from":"CLOSED","to":"SYN_SENT","kernel_from":"TCP_CLOSE","kernel_to":"TCP_SYN_SENT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:03.500210000Z","mono_ns":1003500210000,"conn":"3","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43212},"local_port_known":true,"remote":{"addr":"10.0.0.1","port":8080},"from":"SYN_SENT","to":"CLOSED","kernel_from":"TCP_SYN_SENT","kernel_to":"TCP_CLOSE","in_state_ns":210000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"connection","ts":"2026-03-01T12:00:03.500210000Z","mono_ns":1003500210000,"conn":"3","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43212},"remote":{"addr":"10.0.0.1","port":8080},"pid":1234,"comm":"curl","owner_source":"connect","verdict":"refused","closed_by":null,"reset_reason":null,"because":"the peer answered the SYN with a reset","syn_retransmits":0,"synack_retransmits":null,"retransmits":null,"bytes_sent":0,"bytes_received":0,"rtt_us":null,"states":[{"state":"SYN_SENT","start":"2026-03-01T12:00:03.500000000Z","duration_ns":210000,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null},{"state":"CLOSED","start":"2026-03-01T12:00:03.500210000Z","duration_ns":null,"duration_is_minimum":false,"evidence":"observed","expected_ns":null,"within_ns":null}],"ending":"closed","from_birth":true,"has_gap":false,"hints":[{"name":"refused","text":"the peer answered the SYN with a reset: likely nothing listens there","check":"ss -ltnp"}],"uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","owners":[{"pid":1234,"comm":"curl"}],"segments_sent":null,"segments_received":null,"data_segments_sent":null,"data_segments_received":null,"congestion_state":null,"socket_uid":null,"socket_cgroup":null}
    {"type":"hint","ts":"2026-03-01T12:00:03.700000000Z","mono_ns":1003700000000,"name":"close_wait","text":"CLOSE_WAIT for 2.000s: peer closed, pid 77 has not; likely a leak or a hang","check":"ls /proc/77/fd | wc -l","conn":"4","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"pid":77,"comm":"nginx","owner_source":"accept","state":"CLOSE_WAIT","in_state_ns":2000000000,"in_state_is_minimum":true,"count":null,"limit":null}
    {"type":"clock","ts":"2026-03-01T12:00:05.500000000Z","mono_ns":1004000000000,"wall_step_ns":1500000000}
    {"type":"lost","ts":"2026-03-01T12:00:05.500000000Z","mono_ns":1004000000000,"lost":{"ring_full":10,"reentry":2,"unreadable":0,"undecodable":0,"damaged":0,"total":12,"evidence":0}}
    {"type":"end","ts":"2026-03-01T12:00:05.500000000Z","mono_ns":1004000000000,"duration_ns":4000000000,"events":12,"shown":12,"connections":3,"unchanged":0,"aged_out":0,"recovered":0,"hints":1,"unwatched":0,"verdicts":{"refused":1,"timed_out":0,"unreachable":0,"cancelled":0,"reset_by_peer":0,"reset_by_us":0,"aborted":0,"accept_queue_lost":0,"unknown":0,"closed":2,"open":0,"listener":0},"lost":{"ring_full":10,"reentry":2,"unreadable":0,"undecodable":0,"damaged":0,"total":12,"evidence":0},"missing":{"files_before":0,"transitions_before":0,"after":null,"damages":0,"damaged_bytes":0,"damages_uncounted":0,"misplaced_records":0,"doubled_records":0}}
    "#);
}

#[test]
fn jsonl_of_oddities() {
    insta::assert_snapshot!(transitions(Format::Jsonl, false, &samples::oddities()), @r#"
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"10","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"::ffff:192.168.1.17","port":80},"local_port_known":true,"remote":{"addr":"::ffff:1.2.3.4","port":40000},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":4194304,"comm":null,"owner_source":"close","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"11","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"listener","local":{"addr":"::","port":443},"local_port_known":true,"remote":{"addr":"::","port":0},"from":"CLOSED","to":"LISTEN","kernel_from":"TCP_CLOSE","kernel_to":"TCP_LISTEN","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"listen","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"13","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"mptcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_2","to":"CLOSED","kernel_from":"TCP_FIN_WAIT2","kernel_to":"TCP_CLOSE","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"14","sk":"0xffff88810a3cc000","netns":null,"family":"1","protocol":"132","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"UNKNOWN(17)","to":"UNKNOWN(-2147483648)","kernel_from":"UNKNOWN(17)","kernel_to":"UNKNOWN(-2147483648)","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"unexpected","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"15","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"both","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"SYN_RECEIVED","to":"ESTABLISHED","kernel_from":"TCP_SYN_RECV","kernel_to":"TCP_ESTABLISHED","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"16","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSING","to":"CLOSED","kernel_from":"TCP_CLOSING","kernel_to":"TCP_CLOSE","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":["TIME_WAIT"],"legality":"linux","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"17","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":4997000000,"in_state_is_minimum":true,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":812,"comm":"nginx","owner_source":"snapshot","uid":33,"ns_pid":77,"cgroup":"/system.slice/nginx.service","container":null,"unit":"nginx.service"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"20","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"\u001b[2J\u001b]0;x\u0007","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"21","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"a\u000ab\u000d\u0009c,\"d\"","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"22","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"=cmd|'/C calc'!","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"23","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"��\u202egnp","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"24","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"日本語","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"12","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"unknown","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":null,"comm":null,"owner_source":"unknown","uid":null,"ns_pid":null,"cgroup":null,"container":null,"unit":null}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"29","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":false,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSED","to":"SYN_SENT","kernel_from":"TCP_CLOSE","kernel_to":"TCP_SYN_SENT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"30","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSE_WAIT","to":"LAST_ACK","kernel_from":"TCP_CLOSE_WAIT","kernel_to":"TCP_LAST_ACK","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"linux","after_gap":true,"recovered":true,"pid":1234,"comm":"curl","owner_source":"connect","uid":1000,"ns_pid":7,"cgroup":"/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope","container":{"id":"3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8","runtime":"docker","pod":null},"unit":"docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope"}
    "#);
}

#[test]
fn timeline_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Timeline, false), @"
    # each state: when it began, how long it lasted (>: at least; ~: not measured; ?: not known)

    #1 closed  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      both sides sent FIN, this side first
          +0 =  14:00:00.000123  2026-03-01 +02:00
            +0  SYN_SENT      12.04ms  [|                       ]
      +12.04ms  ESTABLISHED    1.203s  [|======================|]
       +1.215s  FIN_WAIT_1    12.10ms  [                       |]
       +1.227s  FIN_WAIT_2       >6us  [                       |]
             ?  TIME_WAIT      ~1m00s  inferred, not seen
             ?  CLOSED                 inferred, not seen
      socket closed, 1.227s after the beginning; this side closed first
      bytes: 78 sent, 5432 received; round trip: 11.98ms; retransmits: 0 SYN, 1 data or FIN
      segments: 8 sent, 2 of them with data; 7 received, 4 of them with data

    #2 closed  server  nginx/77 by accept  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034  netns 4026531840  unit nginx.service
      both sides sent FIN, the peer first
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_RECEIVED   1.005ms  [|                       ]
      +1.005ms  ESTABLISHED     2.997s  [|======================|]
       +2.999s  CLOSE_WAIT     40.00ms  [                       |]
       +3.039s  LAST_ACK          35us  [                       |]
       +3.039s  CLOSED
      socket closed, 3.039s after the beginning; the peer closed first
      bytes, round trip, retransmits: not known

    #3 refused  client  curl/1234 by connect  192.168.1.17:43212 -> 10.0.0.1:8080  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      the peer answered the SYN with a reset
      check: on the peer: does anything listen there
             ss -ltnp
          +0 =  14:00:03.500000  2026-03-01 +02:00
            +0  SYN_SENT     210us  [========================]
        +210us  CLOSED
      socket closed, 210us after the beginning
      bytes: 0 sent, 0 received; round trip: ?; retransmits: 0 SYN, ? data or FIN

    # 14:00:03.700000  #4  nginx/77  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034  hint: CLOSE_WAIT for 2.000s: peer closed, pid 77 has not; likely a leak or a hang

    # the wall clock was set: +1.500s; durations are not affected
    # 14:00:05.500000  2026-03-01 +02:00  lost 12 transitions since the start or the last such line: tracer could not keep up (10); the kernel refused to run the program inside itself (2)
    ");
}

#[test]
fn timeline_of_endings() {
    let mut open = client();
    step_as(&mut open, MS, State::SynSent, Legality::Rfc);
    open.local.port = 43_210;
    step_as(&mut open, 5 * SECOND, State::Established, Legality::Rfc);
    let endings = [Ending::StillOpen, Ending::AgedOut, Ending::EndUnseen];
    let list = endings.map(|ending| {
        let diagnosis = diagnosis(&open, Verdict::Open, "");
        (open.clone(), diagnosis, ending)
    });
    insta::assert_snapshot!(ended(Format::Timeline, false, &list), @"
    #1 open  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT       4.999s  [===========|            ]
       +4.999s  ESTABLISHED   >5.000s  [           |============]
      still open when the trace ended, 9.999s after the beginning
      bytes, round trip, retransmits: not known

    #1 open  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT       4.999s  [===========|            ]
       +4.999s  ESTABLISHED   >5.000s  [           |============]
      forgotten to stay within --max-connections; end not seen, 9.999s after the beginning
      bytes, round trip, retransmits: not known

    #1 open  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT       4.999s
       +4.999s  ESTABLISHED         ?
      end not seen: the kernel has freed its socket
      bytes, round trip, retransmits: not known
    ");
}

#[test]
fn timeline_of_what_was_not_seen() {
    let mut mid_life = Connection {
        from_birth: false,
        gap: Gap::Certain,
        role: Role::Unknown,
        owner: samples::NOBODY,
        owner_process: OwnerProcess::default(),
        steps: vec![Step {
            state: State::Established,
            since_ns: None,
        }],
        ..client()
    };
    mid_life.local.port = 43_210;
    let nothing_known = |conn: &Connection, verdict, ending| {
        let diagnosis = diagnosis(conn, verdict, "");
        (conn.clone(), diagnosis, ending)
    };
    let never_moved = nothing_known(&mid_life, Verdict::Open, Ending::StillOpen);
    step_as(&mut mid_life, SECOND, State::FinWait1, Legality::Rfc);
    mid_life.steps.push(Step {
        state: State::CloseWait,
        since_ns: None,
    });
    step_as(&mut mid_life, 2 * SECOND, State::LastAck, Legality::Rfc);
    step_as(
        &mut mid_life,
        3 * SECOND,
        State::from_kernel(17),
        Legality::Unexpected,
    );
    step_as(
        &mut mid_life,
        4 * SECOND,
        State::Closed,
        Legality::Unexpected,
    );
    let moved = nothing_known(&mid_life, Verdict::Unknown, Ending::Closed);
    insta::assert_snapshot!(ended(Format::Timeline, false, &[moved, never_moved]), @"
    #1 unknown  role unknown  -  192.168.1.17:43210 -- 93.184.215.14:443  netns 4026531840
          +0 =  14:00:01.000000  2026-03-01 +02:00
             ?  ESTABLISHED         ?  since before the trace
            +0  FIN_WAIT_1          ?
             ?  CLOSE_WAIT          ?  entered in a gap
       +1.000s  LAST_ACK       1.000s
       +2.000s  UNKNOWN(17)    1.000s  unexpected transition
       +3.000s  CLOSED                 unexpected transition
      socket closed, 3.000s after the first transition seen; at least one transition was not seen
      bytes, round trip, retransmits: not known

    #1 open  role unknown  -  192.168.1.17:43210 -- 93.184.215.14:443  netns 4026531840
             ?  ESTABLISHED         ?  since before the trace
      still open when the trace ended; at least one transition was not seen
      bytes, round trip, retransmits: not known
    ");
}

#[test]
fn the_end_of_a_mini_socket_is_not_said_to_go_on() {
    let (mut conn, _) = samples::client_life().pop().unwrap();
    let closed_ns = conn.steps.last().unwrap().since_ns.unwrap();
    for polled in [true, false] {
        conn.evidence.after = After::Mini(Mini {
            due_ns: None,
            address: 0,
            first: State::FinWait2,
            state: State::FinWait2,
            time_wait_ns: None,
            within_ns: 0,
            end: MiniEnd::At(closed_ns + 60 * SECOND),
            seen_ns: closed_ns + 59 * SECOND,
            polled,
            was_in_fin_wait_2: true,
        });
        let found = diagnose(&conn, Ending::Closed, &Sources::default());
        let text = ended(
            Format::Timeline,
            false,
            &[(conn.clone(), found, Ending::Closed)],
        );
        assert!(text.contains("  FIN_WAIT_2"), "{text}");
        let closed = text.lines().find(|line| line.contains("  CLOSED")).unwrap();
        assert!(!closed.contains("goes on"), "{text}");
    }
}

#[test]
fn a_polled_time_is_no_more_exact_than_it_is() {
    let (mut conn, _) = samples::client_life().pop().unwrap();
    let closed_ns = conn.steps.last().unwrap().since_ns.unwrap();
    let mini = Mini {
        due_ns: None,
        address: 0,
        first: State::FinWait2,
        state: State::TimeWait,
        time_wait_ns: None,
        within_ns: 10 * MS,
        end: MiniEnd::At(closed_ns + 61 * SECOND),
        seen_ns: closed_ns + 60 * SECOND,
        was_in_fin_wait_2: true,
        polled: true,
    };
    for (after_ns, fin_wait_2) in [
        (
            0,
            "FIN_WAIT_2   <10.00ms  seen by polling to within 10.00ms",
        ),
        (
            100 * MS,
            "FIN_WAIT_2   ~100.0ms  seen by polling to within 10.00ms",
        ),
    ] {
        let time_wait_ns = Some(closed_ns + after_ns);
        conn.evidence.after = After::Mini(Mini {
            due_ns: None,
            time_wait_ns,
            ..mini
        });
        let found = diagnose(&conn, Ending::Closed, &Sources::default());
        let text = ended(
            Format::Timeline,
            false,
            &[(conn.clone(), found, Ending::Closed)],
        );
        let bare: String = text
            .lines()
            .map(|line| match line.split_once("  [") {
                Some((begin, bar)) => format!("{begin}{}\n", bar.split_once(']').unwrap().1),
                None => format!("{line}\n"),
            })
            .collect();
        assert!(bare.contains(fin_wait_2), "{bare}");
        assert!(bare.contains("seen by polling to within 1.010s"), "{bare}");
    }
}

#[test]
fn the_only_transition_seen_is_not_told_to_be_after_itself() {
    let (mut conn, _) = samples::client_life().pop().unwrap();
    let closed_ns = conn.steps.last().unwrap().since_ns.unwrap();
    conn.steps.drain(..conn.steps.len() - 2);
    conn.steps[0].since_ns = None;
    conn.from_birth = false;
    conn.listed_ns = Some(closed_ns - 480 * MS);
    let found = diagnose(&conn, Ending::Closed, &Sources::default());
    let text = ended(Format::Timeline, false, &[(conn, found, Ending::Closed)]);
    assert!(text.contains("FIN_WAIT_2  >480.0ms"), "{text}");
    assert!(!text.contains("0ns after"), "{text}");
}

#[test]
fn a_crowds_hint_does_not_change_the_columns() {
    let crowd = Told {
        conn: None,
        netns: None,
        local: None,
        remote: None,
        stay: None,
        count: Some(10),
        ..samples::stuck()
    };
    let life = samples::client_life();
    let (mut renderer, mut out) = (Renderer::new(Format::Text, options(false)), BytesMut::new());
    renderer.hint(&mut out, &CLOCK, &crowd);
    for (conn, transition) in &life {
        renderer.transition(&mut out, &CLOCK, conn, transition);
        renderer.hint(&mut out, &CLOCK, &crowd);
    }
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(!text.contains("network namespace"), "{text}");
    assert!(!text.contains("NETNS"), "{text}");
}

#[test]
fn timeline_of_a_listener() {
    let mut listener = Connection {
        protocol: Protocol::Mptcp,
        local: samples::endpoint("::", 443),
        remote: samples::endpoint("::", 0),
        role: Role::Listener,
        owner: samples::owner("ngi\x1bnx", 77, OwnerSource::Listen),
        ..client()
    };
    step_as(&mut listener, SECOND, State::Listen, Legality::Rfc);
    let of_listener = diagnosis(&listener, Verdict::Listener, "");
    let list = [(listener, of_listener, Ending::StillOpen)];
    insta::assert_snapshot!(ended(Format::Timeline, false, &list), @r"
    #1 listener  ngi\x1bnx/77 by listen  [::]:443  protocol mptcp  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  LISTEN   >9.000s
      still open when the trace ended, 9.000s after the beginning
    ");
}

#[test]
fn text_of_verdicts() {
    insta::assert_snapshot!(ended(Format::Text, false, &outcomes()), @"
    # 2026-03-01 +02:00
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      refused: the peer answered the SYN with a reset
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      timed_out: SYN sent 4 times, never answered
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      unreachable: no route to host (EHOSTUNREACH)
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      cancelled: SYN sent 2 times, given up by the application
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      reset_by_peer: a reset arrived in CLOSE_WAIT
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      reset_by_us (TCP_ABORT_ON_CLOSE): closed with unread data
    #14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      aborted: FIN sent 9 times, never acknowledged
    TIME             OWNER             LOCAL                  REMOTE                            OLD          -> NEW             IN OLD  NOTE
    #14:00:10.000000 (nginx/77)        [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      accept_queue_lost: the listener closed before anybody accepted it
    ");
}

#[test]
fn csv_of_verdicts() {
    insta::assert_snapshot!(ended(Format::Csv, false, &outcomes()), @r#"
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,51,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,refused,,,the peer answered the SYN with a reset,0,,,,,,SYN_SENT CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,52,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,timed_out,,,"SYN sent 4 times, never answered",3,,0,,,,SYN_SENT CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,53,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,unreachable,,,no route to host (EHOSTUNREACH),,,,,,,SYN_SENT CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,54,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,cancelled,,,"SYN sent 2 times, given up by the application",,,,,,,SYN_SENT CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,55,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,reset_by_peer,remote,,a reset arrived in CLOSE_WAIT,,,,,,,SYN_SENT ESTABLISHED CLOSE_WAIT CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,56,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,reset_by_us,local,TCP_ABORT_ON_CLOSE,closed with unread data,,,,,,,SYN_SENT ESTABLISHED CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,57,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,aborted,,,"FIN sent 9 times, never acknowledged",,,,,,,SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,8,7,2,4,loss,0,/system.slice/inetd.service
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,58,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,,2001:db8:1:2:3:4:5:6,51034,,,,,,,,,,,77,nginx,listener,accept_queue_lost,,,the listener closed before anybody accepted it,,,,,,,SYN_RECEIVED ESTABLISHED CLOSED,closed,true,false,,33,77,/system.slice/nginx.service,,,,nginx.service,77,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,59,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,closed,both,,both sides sent FIN at once,,,,,,,SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSING CLOSED,closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,60,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,open,,,,,,,,,,SYN_SENT ESTABLISHED,still_open,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,64,,4026531840,inet6,tcp,server,2001:db8::80,443,,2001:db8:1:2:3:4:5:6,51034,,,,,,,,,,,812,nginx,snapshot,open,,,in ESTABLISHED,,,,,,,ESTABLISHED(polled),still_open,false,false,,33,77,/system.slice/nginx.service,,,,nginx.service,812 813 814,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,61,0xffff88810a3cd000,4026531840,inet6,tcp,listener,2001:db8::80,443,,::,0,,,,,,,,,,,77,nginx,listener,listener,,,,,,,,,,LISTEN,still_open,true,false,,33,77,/system.slice/nginx.service,,,,nginx.service,77,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,62,0xffff88810a3cc000,4026531840,inet,tcp,unknown,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,,,unknown,unknown,,,its end was not seen,,,,,,,ESTABLISHED CLOSE_WAIT,end_unseen,false,true,,,,,,,,,,,,,,,,
    connection,2026-03-01T12:00:10.000000000Z,1010000000000,63,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,,93.184.215.14,443,,,,,,,,,,,1234,curl,connect,closed,,,both sides sent FIN at once,,,,,,,SYN_SENT ESTABLISHED FIN_WAIT_1 CLOSING TIME_WAIT(polled) CLOSED(inferred),closed,true,false,,1000,7,/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8,docker,,docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8.scope,1234,,,,,,,
    "#);
}

#[test]
fn timeline_of_failures() {
    insta::assert_snapshot!(ended(Format::Timeline, false, &outcomes()[..8]), @"
    #51 refused  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      the peer answered the SYN with a reset
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT    9.000s  [========================]
       +9.000s  CLOSED
      socket closed, 9.000s after the beginning
      bytes: ? sent, ? received; round trip: ?; retransmits: 0 SYN, ? data or FIN

    #52 timed_out  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      SYN sent 4 times, never answered
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT    9.000s  [========================]
       +9.000s  CLOSED
      socket closed, 9.000s after the beginning
      bytes: ? sent, ? received; round trip: ?; retransmits: 3 SYN, 0 data or FIN

    #53 unreachable  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      no route to host (EHOSTUNREACH)
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT    9.000s  [========================]
       +9.000s  CLOSED
      socket closed, 9.000s after the beginning
      bytes, round trip, retransmits: not known

    #54 cancelled  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      SYN sent 2 times, given up by the application
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT    9.000s  [========================]
       +9.000s  CLOSED
      socket closed, 9.000s after the beginning
      bytes, round trip, retransmits: not known

    #55 reset_by_peer  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      a reset arrived in CLOSE_WAIT
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT      12.00ms  [|                       ]
      +12.00ms  ESTABLISHED    8.987s  [|====================|  ]
       +8.999s  CLOSE_WAIT     1.000s  [                     |==]
       +9.999s  CLOSED
      socket closed, 9.999s after the beginning; the peer closed first
      bytes, round trip, retransmits: not known

    #56 reset_by_us (TCP_ABORT_ON_CLOSE)  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      closed with unread data
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT      12.00ms  [|                       ]
      +12.00ms  ESTABLISHED    9.987s  [|=======================]
       +9.999s  CLOSED
      socket closed, 9.999s after the beginning; this side reset it
      bytes, round trip, retransmits: not known

    #57 aborted  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      FIN sent 9 times, never acknowledged
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT      12.00ms  [|                       ]
      +12.00ms  ESTABLISHED    8.987s  [|====================|  ]
       +8.999s  FIN_WAIT_1     1.000s  [                     |==]
       +9.999s  CLOSED
      socket closed, 9.999s after the beginning
      bytes, round trip, retransmits: not known
      segments: 8 sent, 2 of them with data; 7 received, 4 of them with data; congestion control at the end: loss
      its socket itself: uid 0 (the process's: 1000), cgroup /system.slice/inetd.service

    #58 accept_queue_lost  server  (nginx/77) by listener  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034  netns 4026531840  unit nginx.service
      the listener closed before anybody accepted it
          +0 =  14:00:09.000000  2026-03-01 +02:00
            +0  SYN_RECEIVED      >5us  [|                       ]
          +5us  ESTABLISHED    999.9ms  [|=======================]
       +1.000s  CLOSED
      socket closed, 1.000s after the beginning
      bytes, round trip, retransmits: not known
    ");
}

#[test]
fn timeline_of_connections_that_did_not_fail() {
    insta::assert_snapshot!(ended(Format::Timeline, false, &outcomes()[8..]), @r"
    #59 closed  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      both sides sent FIN at once
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT      12.00ms  [|                       ]
      +12.00ms  ESTABLISHED    7.988s  [|====================|  ]
       +8.000s  FIN_WAIT_1     1.000s  [                     |==]
       +9.000s  CLOSING           0ns  [                        ]
       +9.000s  CLOSED                 usually goes on unseen in TIME_WAIT
      socket closed, 9.000s after the beginning; both sides closed at once
      bytes, round trip, retransmits: not known

    #60 open  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT      12.00ms  [|                       ]
      +12.00ms  ESTABLISHED   >8.988s  [|=======================]
      still open when the trace ended, 9.000s after the beginning
      bytes, round trip, retransmits: not known

    #64 open  server  nginx/812+2 by snapshot  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034  netns 4026531840  unit nginx.service
      in ESTABLISHED
             ?  ESTABLISHED   >9.997s  seen by polling; since before the trace
      still open when the trace ended
      bytes, round trip, retransmits: not known

    #61 listener  (nginx/77) by listener  [2001:db8::80]:443  netns 4026531840  unit nginx.service
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  LISTEN   >9.000s
      still open when the trace ended, 9.000s after the beginning

    #62 unknown  role unknown  -  192.168.1.17:43210 -- 93.184.215.14:443  netns 4026531840
      its end was not seen
          +0 =  14:00:10.000000  2026-03-01 +02:00
             ?  ESTABLISHED         ?  since before the trace
            +0  CLOSE_WAIT          ?
      end not seen: the kernel has freed its socket; at least one transition was not seen
      bytes, round trip, retransmits: not known

    #63 closed  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside
      both sides sent FIN at once
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  SYN_SENT      12.00ms  [|                       ]
      +12.00ms  ESTABLISHED    7.988s  [|=|                     ]
       +8.000s  FIN_WAIT_1     1.000s  [  ||                    ]
       +9.000s  CLOSING           0ns  [   |                    ]
       +9.000s  TIME_WAIT      ~1m00s  [   |====================]  seen by polling
             ?  CLOSED                 inferred, not seen
      socket closed, 9.000s after the beginning
      bytes, round trip, retransmits: not known
    ");
}

#[test]
fn verdicts_in_colour() {
    let list = &outcomes()[..1];
    insta::assert_snapshot!(ended(Format::Text, true, list).escape_debug(), @r"# 2026-03-01 +02:00\n#14:00:10.000000 curl/1234         192.168.1.17:43210     93.184.215.14:443      \u{1b}[1m\u{1b}[31mrefused\u{1b}[0m: the peer answered the SYN with a reset\n");
    insta::assert_snapshot!(ended(Format::Timeline, true, list).escape_debug(), @r"\u{1b}[1m#51\u{1b}[0m \u{1b}[1m\u{1b}[31mrefused\u{1b}[0m\u{1b}[1m  client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840  container 3f2a9c1b7d4e (docker), pid 7 inside\u{1b}[0m\n  the peer answered the SYN with a reset\n      +0 =  14:00:01.000000  2026-03-01 +02:00\n        +0  \u{1b}[33mSYN_SENT\u{1b}[0m    9.000s  [========================]\n   +9.000s  \u{1b}[34mCLOSED\u{1b}[0m\n  socket closed, 9.000s after the beginning\n  bytes: ? sent, ? received; round trip: ?; retransmits: 0 SYN, ? data or FIN\n\n");
}

/// Every verdict has an outcome, so that no word goes untested.
#[test]
fn every_verdict_is_shown() {
    let timeline = ended(Format::Timeline, false, &outcomes());
    for (verdict, _) in Verdicts::default().all() {
        let shown = outcomes()
            .iter()
            .any(|(_, known, _)| known.verdict == verdict);
        assert!(shown, "{verdict:?} has no sample");
    }
    assert_eq!(timeline.matches("\n\n").count(), outcomes().len());
}

/// A verdict stands where the states of a transition do, under any header.
#[test]
fn remarks_keep_to_the_columns() {
    let mut renderer = Renderer::new(Format::Text, options(false));
    let mut out = BytesMut::new();
    renderer.start(&mut out, &samples::session());
    for (conn, diagnosis, ending) in &outcomes() {
        let mut moving = conn.clone();
        let transition = step_as(&mut moving, 10 * SECOND, State::Closed, Legality::Rfc);
        renderer.transition(&mut out, &CLOCK, &moving, &transition);
        renderer.ended(&mut out, &CLOCK, conn, diagnosis, *ending, conn.as_of_ns);
    }
    let text = String::from_utf8(out.to_vec()).unwrap();
    let (mut columns, mut remarks) = (Vec::new(), 0);
    for line in text.lines() {
        let at = |column: &usize| {
            let (before, after) = line.split_at(*column);
            before.ends_with(' ') && !after.starts_with(' ')
        };
        if line.starts_with("TIME") {
            let names = ["OWNER", "LOCAL", "REMOTE", "OLD"];
            columns = names.map(|name| line.find(name).unwrap()).to_vec();
        } else if line.starts_with("#1") {
            remarks += 1;
            assert!(columns.iter().all(at), "{line:?} of\n{text}");
        }
    }
    assert_eq!(remarks, 8, "in\n{text}");
}

/// Fields of a JSON line by the names of the columns of CSV.
fn flattened(line: &Value) -> BTreeMap<String, String> {
    fn cell(value: &Value) -> String {
        match value {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            Value::Array(list) => list.iter().map(cell).collect::<Vec<_>>().join(" "),
            Value::Object(hint) if hint.contains_key("check") => cell(&hint["name"]),
            Value::Object(owner) if owner.contains_key("pid") => cell(&owner["pid"]),
            // One of the states.
            Value::Object(span) => match span["evidence"].as_str() {
                Some("observed") => cell(&span["state"]),
                _ => format!("{}({})", cell(&span["state"]), cell(&span["evidence"])),
            },
            Value::Bool(_) | Value::Number(_) => value.to_string(),
        }
    }
    let mut cells = BTreeMap::new();
    let of_hint = line["type"] == "hint";
    for (name, value) in line.as_object().unwrap() {
        let name = match name.as_str() {
            "name" if of_hint => "hints",
            "text" if of_hint => "because",
            "state" if of_hint => "states",
            // What tells more is not for a table.
            "check" | "count" | "limit" if of_hint => continue,
            name => name,
        };
        if let ("local" | "remote", Value::Object(endpoint)) = (name, value) {
            for (part, value) in endpoint {
                cells.insert(format!("{name}_{part}"), cell(value));
            }
        } else if let ("container", Value::Object(container)) = (name, value) {
            for (part, value) in container {
                let column = if part == "id" { name } else { part };
                cells.insert(column.to_owned(), cell(value));
            }
        } else {
            cells.insert(name.to_owned(), cell(value));
        }
    }
    cells
}

/// Cells of a line without line breaks in them.
fn cells(line: &str) -> Vec<String> {
    let mut cells = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => cells.push(String::new()),
            c => cells.last_mut().unwrap().push(c),
        }
    }
    cells
}

#[test]
fn csv_holds_what_jsonl_holds_under_the_same_names() {
    let run = whole_run(Format::Csv, false);
    let header = cells(run.lines().next().unwrap());
    let rows = run.lines().skip(1).map(str::to_owned);
    let rows: Vec<String> = rows
        .chain(
            ended(Format::Csv, false, &outcomes())
                .lines()
                .map(str::to_owned),
        )
        .collect();
    let json = whole_run(Format::Jsonl, false) + &ended(Format::Jsonl, false, &outcomes());
    let json: Vec<Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| {
            matches!(
                line["type"].as_str(),
                Some("transition" | "connection" | "hint")
            )
        })
        .collect();
    assert_eq!(rows.len(), json.len());
    for (row, json) in rows.iter().zip(&json) {
        let row = cells(row);
        assert_eq!(row.len(), header.len(), "{row:?}");
        let row = header.iter().cloned().zip(row);
        let mut expected = flattened(json);
        for (name, cell) in row {
            assert_eq!(cell, expected.remove(&name).unwrap_or_default(), "{name}");
        }
        assert!(expected.is_empty(), "not in csv: {expected:?}");
    }
}

/// Takes out the SGR sequences (`ESC [ digits and semicolons m`) that colouring writes.
fn without_sgr(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part
            .find(|c: char| !c.is_ascii_digit() && c != ';')
            .unwrap();
        assert_eq!(
            part.as_bytes()[end],
            b'm',
            "an escape sequence that is no colour: {part:?}"
        );
        out.push_str(&part[end + 1..]);
    }
    out
}

fn any_connection() -> impl Strategy<Value = (Connection, State, Option<u32>)> {
    (
        any::<[u8; 16]>(),
        any::<Option<u32>>(),
        any::<(u128, u128, u16, u16)>(),
        prop_oneof![1..=14, any::<i32>()],
        prop_oneof![1..=14, any::<i32>()],
        any::<(u16, u16, u64)>(),
    )
        .prop_map(
            |(comm, pid, (local, remote, local_port, remote_port), from, to, other)| {
                let (family, protocol, id) = other;
                let mut conn = Connection {
                    id: ConnId(id),
                    family: Family::from_number(family),
                    protocol: Protocol::from_number(protocol % 300),
                    netns: pid,
                    steps: vec![Step {
                        state: State::from_kernel(from),
                        since_ns: Some(CLOCK.mono_ns),
                    }],
                    ..client()
                };
                conn.local.addr = std::net::Ipv6Addr::from(local).into();
                conn.remote.addr = std::net::Ipv6Addr::from(remote).into();
                conn.local.port = local_port;
                conn.remote.port = remote_port;
                conn.owner.comm = Some(Comm(comm));
                conn.owner.pid = pid;
                (conn, State::from_kernel(to), pid)
            },
        )
}

proptest! {
    #[test]
    fn nothing_reaches_the_terminal_raw(
        (mut conn, to, _) in any_connection(),
        (color, after) in any::<(bool, u32)>(),
        (because, reset_reason) in any::<(String, Option<String>)>(),
        name: String,
    ) {
        // The name of a container, a unit and a cgroup at once.
        conn.owner_process = samples::process(0, 1, &format!("/lxc/{name}.service"));
        let transition = step_as(&mut conn, u64::from(after), to, Legality::Unexpected);
        let known = Diagnosis {
            reset_reason,
            ..diagnosis(&conn, Verdict::ResetByUs, &because)
        };
        for format in Format::ALL {
            let mut renderer = Renderer::new(format, options(color));
            let mut out = BytesMut::new();
            renderer.transition(&mut out, &CLOCK, &conn, &transition);
            let now_ns = CLOCK.mono_ns + SECOND;
            renderer.ended(&mut out, &CLOCK, &conn, &known, Ending::StillOpen, now_ns);
            let text = without_sgr(str::from_utf8(&out).unwrap());
            let raw = text.chars().find(|&c| c != '\n' && c.escape_debug().len() > 1
                && !matches!(c, '\\' | '"' | '\''));
            prop_assert_eq!(raw, None, "in {}", text);
            if matches!(format, Format::Jsonl | Format::Csv) {
                prop_assert_eq!(text.matches('\n').count(), 2);
                prop_assert!(text.ends_with('\n'));
            }
        }
    }

    #[test]
    fn colour_changes_no_text((mut conn, to, _) in any_connection(), after: u32) {
        let transition = step_as(&mut conn, u64::from(after), to, Legality::Rfc);
        let list = [(conn, transition)];
        let coloured = transitions(Format::Text, true, &list);
        prop_assert_eq!(without_sgr(&coloured), transitions(Format::Text, false, &list));
    }

    #[test]
    fn columns_stay_aligned((mut conn, to, _) in any_connection(), after: u32) {
        conn.owner = samples::owner("curl", 1, OwnerSource::Connect);
        let transition = step_as(&mut conn, u64::from(after), to, Legality::Rfc);
        let mut list = samples::client_life();
        list.push((conn, transition));
        list.extend(samples::server_life());
        let text = transitions(Format::Text, false, &list);
        let mut arrow = None;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            if line.starts_with("TIME") {
                arrow = line.find(" -> ");
            }
            // Where no header has been printed yet, the first line sets the columns.
            arrow = arrow.or_else(|| line.find(" -> "));
            prop_assert_eq!(line.find(" -> "), arrow, "in\n{}", text);
        }
    }
}
