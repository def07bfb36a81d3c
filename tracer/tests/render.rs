//! What each output format looks like, and that none of it can harm a terminal.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use bytes::BytesMut;
use proptest::prelude::*;
use tracer::event::{Comm, Family, Protocol};
use tracer::render::{Format, Render, Renderer};
use tracer::state::State;
use tracer::track::{ConnId, Connection, Ending, Legality, OwnerSource, Role, Step};

mod samples;
use samples::{CLOCK, MS, SECOND, client, options, step_as, transitions, whole_run};

#[test]
fn text_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Text, false), @"
    # 2026-03-01 +02:00
    # owner (name/pid): the listener's, not accepted yet; *: none yet; >5us: at least 5us; -, ?: not known
    TIME             OWNER             LOCAL                  REMOTE                 OLD          -> NEW             IN OLD  NOTE
    14:00:00.000123  curl/1234         192.168.1.17:*         93.184.215.14:443      CLOSED       -> SYN_SENT             ?
    14:00:00.012163  curl/1234         192.168.1.17:43210     93.184.215.14:443      SYN_SENT     -> ESTABLISHED    12.04ms
    14:00:01.215200  curl/1234         192.168.1.17:43210     93.184.215.14:443      ESTABLISHED  -> FIN_WAIT_1      1.203s
    14:00:01.227300  curl/1234         192.168.1.17:43210     93.184.215.14:443      FIN_WAIT_1   -> FIN_WAIT_2     12.10ms
    14:00:01.227306  curl/1234         192.168.1.17:43210     93.184.215.14:443      FIN_WAIT_2   -> CLOSED            >6us  usually goes on unseen in FIN_WAIT_2 or TIME_WAIT
    TIME             OWNER             LOCAL                  REMOTE                            OLD          -> NEW             IN OLD  NOTE
    14:00:00.002000  (nginx/77)        [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      LISTEN       -> SYN_RECEIVED         ?
    14:00:00.002005  (nginx/77)        [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      SYN_RECEIVED -> ESTABLISHED       >5us
    14:00:03.000000  nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      ESTABLISHED  -> CLOSE_WAIT      2.997s
    14:00:03.040000  nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      CLOSE_WAIT   -> LAST_ACK       40.00ms
    14:00:03.040035  nginx/77          [2001:db8::80]:443     [2001:db8:1:2:3:4:5:6]:51034      LAST_ACK     -> CLOSED            35us
    # the wall clock was set: +1.500s; durations are not affected
    # 14:00:05.500000  lost 12 events since the start or the last such line: the ring buffer was full (10); the kernel refused to run the program inside itself (2)
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
    TIME             OWNER                     NETNS       LOCAL                     REMOTE                    OLD          -> NEW                     IN OLD  NOTE
    14:00:05.000000  \x1b[2J\x1b]0;x\x07/1234  4026531840  192.168.1.17:43210        93.184.215.14:443         ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  a\x0ab\x0d\x09c,"d"/1234  4026531840  192.168.1.17:43210        93.184.215.14:443         ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  =cmd|'/C calc'!/1234      4026531840  192.168.1.17:43210        93.184.215.14:443         ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  \xff\xfe\u{202e}gnp/1234  4026531840  192.168.1.17:43210        93.184.215.14:443         ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  日本語/1234               4026531840  192.168.1.17:43210        93.184.215.14:443         ESTABLISHED  -> FIN_WAIT_1              4.000s
    14:00:05.000000  -                         4026531840  192.168.1.17:43210        93.184.215.14:443         ESTABLISHED  -> CLOSE_WAIT                   ?
    14:00:05.000000  curl/1234                 4026531840  192.168.1.17:*            93.184.215.14:443         CLOSED       -> SYN_SENT                     ?
    14:00:05.000000  curl/1234                 4026531840  192.168.1.17:43210        93.184.215.14:443         CLOSE_WAIT   -> LAST_ACK                     ?  after a gap; the text says why
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
    insta::assert_snapshot!(whole_run(Format::Csv, false), @"
    ts,mono_ns,conn,sk,netns,family,protocol,role,local_addr,local_port,local_port_known,remote_addr,remote_port,from,to,kernel_from,kernel_to,in_state_ns,in_state_is_minimum,unseen_next,legality,after_gap,recovered,pid,comm,owner_source
    2026-03-01T12:00:00.000123456Z,1000000123456,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,0,false,93.184.215.14,443,CLOSED,SYN_SENT,TCP_CLOSE,TCP_SYN_SENT,,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:00.012163456Z,1000012163456,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,SYN_SENT,ESTABLISHED,TCP_SYN_SENT,TCP_ESTABLISHED,12040000,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:01.215200000Z,1001215200000,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,1203036544,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:01.227300000Z,1001227300000,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,FIN_WAIT_1,FIN_WAIT_2,TCP_FIN_WAIT1,TCP_FIN_WAIT2,12100000,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:01.227306789Z,1001227306789,1,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,FIN_WAIT_2,CLOSED,TCP_FIN_WAIT2,TCP_CLOSE,6789,true,FIN_WAIT_2 TIME_WAIT,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:00.002000000Z,1000002000000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,LISTEN,SYN_RECEIVED,TCP_LISTEN,TCP_SYN_RECV,,false,,rfc,false,false,77,nginx,listener
    2026-03-01T12:00:00.002005100Z,1000002005100,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,SYN_RECEIVED,ESTABLISHED,TCP_SYN_RECV,TCP_ESTABLISHED,5100,true,,rfc,false,false,77,nginx,listener
    2026-03-01T12:00:03.000000000Z,1003000000000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,2997994900,false,,rfc,false,false,77,nginx,accept
    2026-03-01T12:00:03.040000000Z,1003040000000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,CLOSE_WAIT,LAST_ACK,TCP_CLOSE_WAIT,TCP_LAST_ACK,40000000,false,,rfc,false,false,77,nginx,accept
    2026-03-01T12:00:03.040035000Z,1003040035000,2,0xffff88810a3cd000,4026531840,inet6,tcp,server,2001:db8::80,443,true,2001:db8:1:2:3:4:5:6,51034,LAST_ACK,CLOSED,TCP_LAST_ACK,TCP_CLOSE,35000,false,,rfc,false,false,77,nginx,accept
    ");
}

#[test]
fn csv_of_oddities() {
    insta::assert_snapshot!(transitions(Format::Csv, false, &samples::oddities()), @r#"
    2026-03-01T12:00:05.000000000Z,1005000000000,10,0xffff88810a3cd000,4026531840,inet6,tcp,server,::ffff:192.168.1.17,80,true,::ffff:1.2.3.4,40000,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,4000000000,false,,rfc,false,false,4194304,,close
    2026-03-01T12:00:05.000000000Z,1005000000000,11,0xffff88810a3cd000,4026531840,inet6,tcp,listener,::,443,true,::,0,CLOSED,LISTEN,TCP_CLOSE,TCP_LISTEN,,false,,rfc,false,false,77,nginx,listen
    2026-03-01T12:00:05.000000000Z,1005000000000,13,0xffff88810a3cc000,4026531840,inet,mptcp,client,192.168.1.17,43210,true,93.184.215.14,443,FIN_WAIT_2,CLOSED,TCP_FIN_WAIT2,TCP_CLOSE,4000000000,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,14,0xffff88810a3cc000,,1,132,client,192.168.1.17,43210,true,93.184.215.14,443,UNKNOWN(17),UNKNOWN(-2147483648),UNKNOWN(17),UNKNOWN(-2147483648),4000000000,false,,unexpected,false,false,1234,curl,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,15,0xffff88810a3cc000,4026531840,inet,tcp,both,192.168.1.17,43210,true,93.184.215.14,443,SYN_RECEIVED,ESTABLISHED,TCP_SYN_RECV,TCP_ESTABLISHED,4000000000,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,16,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,CLOSING,CLOSED,TCP_CLOSING,TCP_CLOSE,4000000000,false,TIME_WAIT,linux,false,false,1234,curl,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,20,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,\x1b[2J\x1b]0;x\x07,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,21,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,"a\x0ab\x0d\x09c,""d""",connect
    2026-03-01T12:00:05.000000000Z,1005000000000,22,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,'=cmd|'/C calc'!,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,23,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,\xff\xfe\u{202e}gnp,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,24,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,FIN_WAIT_1,TCP_ESTABLISHED,TCP_FIN_WAIT1,4000000000,false,,rfc,false,false,1234,日本語,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,12,0xffff88810a3cc000,4026531840,inet,tcp,unknown,192.168.1.17,43210,true,93.184.215.14,443,ESTABLISHED,CLOSE_WAIT,TCP_ESTABLISHED,TCP_CLOSE_WAIT,,false,,rfc,false,false,,,unknown
    2026-03-01T12:00:05.000000000Z,1005000000000,29,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,false,93.184.215.14,443,CLOSED,SYN_SENT,TCP_CLOSE,TCP_SYN_SENT,,false,,rfc,false,false,1234,curl,connect
    2026-03-01T12:00:05.000000000Z,1005000000000,30,0xffff88810a3cc000,4026531840,inet,tcp,client,192.168.1.17,43210,true,93.184.215.14,443,CLOSE_WAIT,LAST_ACK,TCP_CLOSE_WAIT,TCP_LAST_ACK,,false,,linux,true,true,1234,curl,connect
    "#);
}

#[test]
fn jsonl_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Jsonl, false), @r#"
    {"type":"session","ts":"2026-03-01T12:00:00.000000000Z","mono_ns":1000000000000,"schema":1,"tracer_version":"0.1.0","host":"web-1","kernel":"6.18.5","arch":"x86_64","boot_id":"3e0bd1d4-5c2f-4a55-9c3e-0a0f6a1f9a11","filters":[{"name":"port","value":"80,443"}],"hooks":[{"name":"raw_tracepoint:inet_sock_set_state","purpose":"state transitions","status":"attached","reason":null},{"name":"tracepoint:sock:inet_sock_set_state","purpose":"state transitions","status":"not_needed","reason":null},{"name":"tracepoint:syscalls:sys_exit_accept4","purpose":"owner of accepted sockets","status":"unavailable","reason":"no syscall tracepoints in this kernel"}],"missing_fields":[{"name":"netns","reason":"no kernel BTF"}]}
    {"type":"transition","ts":"2026-03-01T12:00:00.000123456Z","mono_ns":1000000123456,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":0},"local_port_known":false,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSED","to":"SYN_SENT","kernel_from":"TCP_CLOSE","kernel_to":"TCP_SYN_SENT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:00.012163456Z","mono_ns":1000012163456,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"SYN_SENT","to":"ESTABLISHED","kernel_from":"TCP_SYN_SENT","kernel_to":"TCP_ESTABLISHED","in_state_ns":12040000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:01.215200000Z","mono_ns":1001215200000,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":1203036544,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:01.227300000Z","mono_ns":1001227300000,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_1","to":"FIN_WAIT_2","kernel_from":"TCP_FIN_WAIT1","kernel_to":"TCP_FIN_WAIT2","in_state_ns":12100000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:01.227306789Z","mono_ns":1001227306789,"conn":"1","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_2","to":"CLOSED","kernel_from":"TCP_FIN_WAIT2","kernel_to":"TCP_CLOSE","in_state_ns":6789,"in_state_is_minimum":true,"unseen_next":["FIN_WAIT_2","TIME_WAIT"],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:00.002000000Z","mono_ns":1000002000000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"LISTEN","to":"SYN_RECEIVED","kernel_from":"TCP_LISTEN","kernel_to":"TCP_SYN_RECV","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"listener"}
    {"type":"transition","ts":"2026-03-01T12:00:00.002005100Z","mono_ns":1000002005100,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"SYN_RECEIVED","to":"ESTABLISHED","kernel_from":"TCP_SYN_RECV","kernel_to":"TCP_ESTABLISHED","in_state_ns":5100,"in_state_is_minimum":true,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"listener"}
    {"type":"transition","ts":"2026-03-01T12:00:03.000000000Z","mono_ns":1003000000000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":2997994900,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"accept"}
    {"type":"transition","ts":"2026-03-01T12:00:03.040000000Z","mono_ns":1003040000000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"CLOSE_WAIT","to":"LAST_ACK","kernel_from":"TCP_CLOSE_WAIT","kernel_to":"TCP_LAST_ACK","in_state_ns":40000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"accept"}
    {"type":"transition","ts":"2026-03-01T12:00:03.040035000Z","mono_ns":1003040035000,"conn":"2","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"2001:db8::80","port":443},"local_port_known":true,"remote":{"addr":"2001:db8:1:2:3:4:5:6","port":51034},"from":"LAST_ACK","to":"CLOSED","kernel_from":"TCP_LAST_ACK","kernel_to":"TCP_CLOSE","in_state_ns":35000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"accept"}
    {"type":"clock","ts":"2026-03-01T12:00:05.500000000Z","mono_ns":1004000000000,"wall_step_ns":1500000000}
    {"type":"lost","ts":"2026-03-01T12:00:05.500000000Z","mono_ns":1004000000000,"lost":{"ring_full":10,"reentry":2,"unreadable":0,"undecodable":0,"total":12}}
    {"type":"end","ts":"2026-03-01T12:00:05.500000000Z","mono_ns":1004000000000,"duration_ns":4000000000,"events":10,"shown":10,"connections":2,"aged_out":0,"recovered":0,"lost":{"ring_full":10,"reentry":2,"unreadable":0,"undecodable":0,"total":12}}
    "#);
}

#[test]
fn jsonl_of_oddities() {
    insta::assert_snapshot!(transitions(Format::Jsonl, false, &samples::oddities()), @r#"
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"10","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"server","local":{"addr":"::ffff:192.168.1.17","port":80},"local_port_known":true,"remote":{"addr":"::ffff:1.2.3.4","port":40000},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":4194304,"comm":null,"owner_source":"close"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"11","sk":"0xffff88810a3cd000","netns":4026531840,"family":"inet6","protocol":"tcp","role":"listener","local":{"addr":"::","port":443},"local_port_known":true,"remote":{"addr":"::","port":0},"from":"CLOSED","to":"LISTEN","kernel_from":"TCP_CLOSE","kernel_to":"TCP_LISTEN","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":77,"comm":"nginx","owner_source":"listen"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"13","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"mptcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"FIN_WAIT_2","to":"CLOSED","kernel_from":"TCP_FIN_WAIT2","kernel_to":"TCP_CLOSE","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"14","sk":"0xffff88810a3cc000","netns":null,"family":"1","protocol":"132","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"UNKNOWN(17)","to":"UNKNOWN(-2147483648)","kernel_from":"UNKNOWN(17)","kernel_to":"UNKNOWN(-2147483648)","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"unexpected","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"15","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"both","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"SYN_RECEIVED","to":"ESTABLISHED","kernel_from":"TCP_SYN_RECV","kernel_to":"TCP_ESTABLISHED","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"16","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSING","to":"CLOSED","kernel_from":"TCP_CLOSING","kernel_to":"TCP_CLOSE","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":["TIME_WAIT"],"legality":"linux","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"20","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"\u001b[2J\u001b]0;x\u0007","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"21","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"a\u000ab\u000d\u0009c,\"d\"","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"22","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"=cmd|'/C calc'!","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"23","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"��\u202egnp","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"24","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"FIN_WAIT_1","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_FIN_WAIT1","in_state_ns":4000000000,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"日本語","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"12","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"unknown","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"ESTABLISHED","to":"CLOSE_WAIT","kernel_from":"TCP_ESTABLISHED","kernel_to":"TCP_CLOSE_WAIT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":null,"comm":null,"owner_source":"unknown"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"29","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":false,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSED","to":"SYN_SENT","kernel_from":"TCP_CLOSE","kernel_to":"TCP_SYN_SENT","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"rfc","after_gap":false,"recovered":false,"pid":1234,"comm":"curl","owner_source":"connect"}
    {"type":"transition","ts":"2026-03-01T12:00:05.000000000Z","mono_ns":1005000000000,"conn":"30","sk":"0xffff88810a3cc000","netns":4026531840,"family":"inet","protocol":"tcp","role":"client","local":{"addr":"192.168.1.17","port":43210},"local_port_known":true,"remote":{"addr":"93.184.215.14","port":443},"from":"CLOSE_WAIT","to":"LAST_ACK","kernel_from":"TCP_CLOSE_WAIT","kernel_to":"TCP_LAST_ACK","in_state_ns":null,"in_state_is_minimum":false,"unseen_next":[],"legality":"linux","after_gap":true,"recovered":true,"pid":1234,"comm":"curl","owner_source":"connect"}
    "#);
}

#[test]
fn timeline_of_a_run() {
    insta::assert_snapshot!(whole_run(Format::Timeline, false), @"
    # each state: when it began, how long it lasted (>: at least; ?: not known)

    #1 client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840
          +0 =  14:00:00.000123  2026-03-01 +02:00
            +0  SYN_SENT      12.04ms  [|                       ]
      +12.04ms  ESTABLISHED    1.203s  [|======================|]
       +1.215s  FIN_WAIT_1    12.10ms  [                       |]
       +1.227s  FIN_WAIT_2       >6us  [                       |]
       +1.227s  CLOSED                 usually goes on unseen in FIN_WAIT_2 or TIME_WAIT
      socket closed, 1.227s after the beginning

    #2 server  nginx/77 by accept  [2001:db8::80]:443 <- [2001:db8:1:2:3:4:5:6]:51034  netns 4026531840
          +0 =  14:00:00.002000  2026-03-01 +02:00
            +0  SYN_RECEIVED      >5us  [|                       ]
          +5us  ESTABLISHED     2.997s  [|======================|]
       +2.998s  CLOSE_WAIT     40.00ms  [                       |]
       +3.038s  LAST_ACK          35us  [                       |]
       +3.038s  CLOSED
      socket closed, 3.038s after the beginning

    # the wall clock was set: +1.500s; durations are not affected
    # 14:00:05.500000  2026-03-01 +02:00  lost 12 events since the start or the last such line: the ring buffer was full (10); the kernel refused to run the program inside itself (2)
    ");
}

fn timeline(list: &[(Connection, Ending)]) -> String {
    let mut renderer = Renderer::new(Format::Timeline, options(false));
    let mut out = BytesMut::new();
    for (conn, ending) in list {
        renderer.ended(&mut out, &CLOCK, conn, *ending, CLOCK.mono_ns + 10 * SECOND);
    }
    String::from_utf8(out.to_vec()).unwrap()
}

#[test]
fn timeline_of_endings() {
    let mut open = client();
    step_as(&mut open, MS, State::SynSent, Legality::Rfc);
    open.local.port = 43_210;
    step_as(&mut open, 5 * SECOND, State::Established, Legality::Rfc);
    let endings = [Ending::StillOpen, Ending::AgedOut, Ending::EndUnseen];
    insta::assert_snapshot!(timeline(&endings.map(|ending| (open.clone(), ending))), @"
    #1 client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT       4.999s  [===========|            ]
       +4.999s  ESTABLISHED   >5.000s  [           |============]
      still open when the trace ended, 9.999s after the beginning

    #1 client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT       4.999s  [===========|            ]
       +4.999s  ESTABLISHED   >5.000s  [           |============]
      forgotten to stay within --max-connections; end not seen, 9.999s after the beginning

    #1 client  curl/1234 by connect  192.168.1.17:43210 -> 93.184.215.14:443  netns 4026531840
          +0 =  14:00:00.001000  2026-03-01 +02:00
            +0  SYN_SENT       4.999s
       +4.999s  ESTABLISHED         ?
      end not seen: the kernel used the socket for another connection
    ");
}

#[test]
fn timeline_of_what_was_not_seen() {
    let mut mid_life = Connection {
        from_birth: false,
        has_gap: true,
        role: Role::Unknown,
        owner: samples::NOBODY,
        steps: vec![Step {
            state: State::Established,
            since_ns: None,
        }],
        ..client()
    };
    mid_life.local.port = 43_210;
    let never_moved = (mid_life.clone(), Ending::StillOpen);
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
    insta::assert_snapshot!(timeline(&[(mid_life, Ending::Closed), never_moved]), @"
    #1 unknown  -  192.168.1.17:43210 -- 93.184.215.14:443  netns 4026531840
          +0 =  14:00:01.000000  2026-03-01 +02:00
             ?  ESTABLISHED         ?  since before the trace
            +0  FIN_WAIT_1          ?
             ?  CLOSE_WAIT          ?  entered in a gap
       +1.000s  LAST_ACK       1.000s
       +2.000s  UNKNOWN(17)    1.000s  unexpected transition
       +3.000s  CLOSED                 unexpected transition
      socket closed, 3.000s after the first transition seen; at least one transition was not seen

    #1 unknown  -  192.168.1.17:43210 -- 93.184.215.14:443  netns 4026531840
             ?  ESTABLISHED         ?  since before the trace
      still open when the trace ended; at least one transition was not seen
    ");
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
    insta::assert_snapshot!(timeline(&[(listener, Ending::StillOpen)]), @r"
    #1 listener  ngi\x1bnx/77 by listen  [::]:443  protocol mptcp  netns 4026531840
          +0 =  14:00:01.000000  2026-03-01 +02:00
            +0  LISTEN   >9.000s
      still open when the trace ended, 9.000s after the beginning
    ");
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
        color: bool,
        after: u32,
    ) {
        let transition = step_as(&mut conn, u64::from(after), to, Legality::Unexpected);
        for format in Format::ALL {
            let mut renderer = Renderer::new(format, options(color));
            let mut out = BytesMut::new();
            renderer.transition(&mut out, &CLOCK, &conn, &transition);
            let now_ns = CLOCK.mono_ns + SECOND;
            renderer.ended(&mut out, &CLOCK, &conn, Ending::StillOpen, now_ns);
            let text = without_sgr(str::from_utf8(&out).unwrap());
            let raw = text.chars().find(|&c| c != '\n' && c.escape_debug().len() > 1
                && !matches!(c, '\\' | '"' | '\''));
            prop_assert_eq!(raw, None, "in {}", text);
            if matches!(format, Format::Jsonl | Format::Csv) {
                prop_assert_eq!(text.matches('\n').count(), 1);
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
