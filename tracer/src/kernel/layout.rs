//! Where the running kernel keeps what tracer reads: pure, from BTF and `format` files to [`Config`].

use tracer_common::config::{
    ABSENT, ARGUMENT_COMPLETION, Config, INET_WINDOW, RECORD_WINDOW, SOCK_COMMON_WINDOW,
};

use super::btf::{Btf, BtfError};
use super::format::Format;
use super::functions;

// Names under which it is told what cannot be read at the end of a connection: those of the output.
const SOCKET_UID: &str = "socket_uid";
const SOCKET_CGROUP: &str = "socket_cgroup";
const SEGMENTS: &str = "segments";
const CONGESTION_STATE: &str = "congestion_state";
const BYTES_RECEIVED: &str = "bytes_received of the side that closes first";

/// Offsets found, and what they allow.
#[derive(Clone, Debug)]
pub struct Layout {
    /// Offsets, without filters.
    pub config: Config,
    /// The raw tracepoint programs can read a socket, or why not.
    pub raw: Result<(), String>,
    /// The classic tracepoint program can read its record, or why not.
    pub classic: Result<(), String>,
    /// An accepted socket can be found behind its file descriptor, or why not.
    pub accept: Result<(), String>,
    /// The completion of an accept by `io_uring` can be told from others, or why not.
    pub io_uring: Result<(), String>,
    /// The programs for evidence can read a socket, or why not.
    pub evidence: Result<(), String>,
    /// The programs on functions can read what they are passed, or why not.
    pub functions: Result<(), String>,
    /// BTF that knows of these functions alone.
    pub function_index: Vec<u8>,
    /// Optional data, each with why it is not to be had.
    pub missing: Vec<(String, String)>,
    /// Fields of the kernel found, as `where.field@offset`.
    pub found: Vec<String>,
}

/// Resolves all offsets. Each source may be missing, for the reason given.
pub fn resolve(
    btf: Result<&Btf<'_>, String>,
    state: Result<&Format, String>,
    accept: Result<&Format, String>,
) -> Layout {
    let mut layout = Layout {
        config: Config::UNSET,
        raw: Ok(()),
        classic: Ok(()),
        accept: Ok(()),
        io_uring: Ok(()),
        evidence: Ok(()),
        functions: Ok(()),
        function_index: Vec::new(),
        missing: Vec::new(),
        found: Vec::new(),
    };
    match btf {
        Ok(btf) => layout.resolve_btf(btf),
        Err(reason) => {
            layout.raw = Err(reason.clone());
            layout.accept = Err(reason.clone());
            layout.io_uring = Err(reason.clone());
            layout.evidence = Err(reason.clone());
            layout.functions = Err(reason.clone());
            layout.missing.push(("netns".to_owned(), reason.clone()));
            layout.missing.push(("counts".to_owned(), reason.clone()));
            layout.miss_all_of_the_end(&reason);
            for field in ["kernel_thread", "process_comm", "ns_pid"] {
                layout.missing.push((field.to_owned(), reason.clone()));
            }
        }
    }
    layout.classic = state.and_then(|format| layout.resolve_record(format));
    let ret = accept.and_then(|format| {
        let offset = format.offset("ret", 8).map_err(|error| error.to_string())?;
        layout.config.rec_accept_ret = offset;
        Ok(())
    });
    layout.accept = layout.accept.clone().and(ret);
    layout
}

impl Layout {
    fn resolve_btf(&mut self, btf: &Btf<'_>) {
        self.raw = self.resolve_sock(btf).map_err(|error| error.to_string());
        self.evidence = self.raw.clone();
        let functions = self
            .resolve_functions(btf)
            .map_err(|error| error.to_string());
        self.functions = self.raw.clone().and(functions);
        if let Err(error) = self.resolve_counts(btf) {
            self.config.tcp_bytes_sent = ABSENT;
            self.missing.push(("counts".to_owned(), error.to_string()));
            self.miss_all_of_the_end("read only together with counts");
        } else {
            self.resolve_at_close(btf);
        }
        if let Err(error) = self.resolve_netns(btf) {
            self.config.skc_net = ABSENT;
            self.missing.push(("netns".to_owned(), error.to_string()));
        }
        match self.find(btf, "task_struct", "flags", Some(4)) {
            Ok(offset) => self.config.task_flags = offset,
            Err(error) => self
                .missing
                .push(("kernel_thread".to_owned(), error.to_string())),
        }
        if let Err(error) = self.resolve_process(btf) {
            self.config.task_leader = ABSENT;
            for field in ["process_comm", "ns_pid"] {
                self.missing.push((field.to_owned(), error.to_string()));
            }
        } else if let Err(error) = self.resolve_pid(btf) {
            self.config.task_thread_pid = ABSENT;
            self.missing.push(("ns_pid".to_owned(), error.to_string()));
        }
        self.accept = self.resolve_files(btf).map_err(|error| error.to_string());
        self.io_uring = self
            .accept
            .clone()
            .and_then(|()| self.resolve_io_uring(btf));
    }

    fn resolve_sock(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        let common = |layout: &mut Self, name: &str, size| {
            let offset = layout.find(btf, "sock_common", name, Some(size))?;
            fits(offset, size, SOCK_COMMON_WINDOW)
        };
        self.config.skc_family = common(self, "skc_family", 2)?;
        self.config.skc_state = common(self, "skc_state", 1)?;
        self.config.skc_daddr = common(self, "skc_daddr", 4)?;
        self.config.skc_rcv_saddr = common(self, "skc_rcv_saddr", 4)?;
        self.config.skc_dport = common(self, "skc_dport", 2)?;
        self.config.skc_num = common(self, "skc_num", 2)?;
        // A kernel without IPv6 has no IPv6 sockets either.
        self.config.skc_v6_daddr = common(self, "skc_v6_daddr", 16).unwrap_or(ABSENT);
        self.config.skc_v6_rcv_saddr = common(self, "skc_v6_rcv_saddr", 16).unwrap_or(ABSENT);
        let sport = self.find(btf, "inet_sock", "inet_sport", Some(2))?;
        let saddr = self.find(btf, "inet_sock", "inet_saddr", Some(4))?;
        let window = sport.min(saddr) & !7;
        self.config.inet_window = window;
        self.config.inet_sport = fits(sport - window, 2, INET_WINDOW)?;
        self.config.inet_saddr = fits(saddr - window, 4, INET_WINDOW)?;
        // Last, since the programs do nothing without it.
        self.config.sk_protocol = self.find(btf, "sock", "sk_protocol", Some(2))?;
        Ok(())
    }

    /// Registers by the names of x86-64 and arm64. Without them kprobes read nothing; without MPTCP there is
    /// nothing to read.
    fn resolve_functions(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.tw_substate = self.find(btf, "inet_timewait_sock", "tw_substate", Some(1))?;
        self.function_index = btf.index_of(&functions::NAMES);
        self.config.accept_arguments = btf.function_arguments("inet_csk_accept").unwrap_or(0);
        let numbered = btf.offset("pt_regs", "regs", None).ok();
        let mut register = |name: &str, index: u32| match numbered {
            Some(offset) => offset + 8 * index,
            None => self.find(btf, "pt_regs", name, Some(8)).unwrap_or(ABSENT),
        };
        let first = register("di", 0);
        let second = register("si", 1);
        let third = register("dx", 2);
        let returned = register("ax", 0);
        self.config.regs_first = first;
        self.config.regs_second = second;
        self.config.regs_third = third;
        self.config.regs_returned = returned;
        if let Ok(conn) = btf.offset("mptcp_subflow_context", "conn", Some(8))
            && let Ok(is_mptcp) = btf.offset("tcp_sock", "is_mptcp", Some(1))
            && let Ok(data) = btf.offset("inet_connection_sock", "icsk_ulp_data", Some(8))
        {
            self.config.subflow_conn = conn;
            self.config.tcp_is_mptcp = is_mptcp;
            self.config.icsk_ulp_data = data;
        }
        Ok(())
    }

    /// Sets the field that the programs look at first only when all are known.
    fn resolve_counts(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.sk_err = self.find(btf, "sock", "sk_err", Some(4))?;
        self.config.sk_err_soft = self.find(btf, "sock", "sk_err_soft", Some(4))?;
        // Without these the kind of an ICMP error is not always known.
        if let Ok(queue) = btf.offset("sock", "sk_error_queue.prev", Some(8))
            && let Ok(cb) = btf.offset("sk_buff", "cb", None)
            && let Ok(errno) = btf.offset("sock_exterr_skb", "ee.ee_errno", Some(4))
        {
            self.config.sk_error_queue_prev = queue;
            self.config.skb_ee_errno = cb + errno;
        }
        self.config.tcp_bytes_acked = self.find(btf, "tcp_sock", "bytes_acked", Some(8))?;
        self.config.tcp_bytes_received = self.find(btf, "tcp_sock", "bytes_received", Some(8))?;
        self.config.tcp_srtt_us = self.find(btf, "tcp_sock", "srtt_us", Some(4))?;
        self.config.tcp_total_retrans = self.find(btf, "tcp_sock", "total_retrans", Some(4))?;
        self.config.tcp_bytes_sent = self.find(btf, "tcp_sock", "bytes_sent", Some(8))?;
        Ok(())
    }

    /// What is read when a socket is closed, each for itself.
    fn resolve_at_close(&mut self, btf: &Btf<'_>) {
        match self.find(btf, "sock", "sk_uid", Some(4)) {
            Ok(offset) => self.config.sk_uid = offset,
            Err(error) => self.miss(SOCKET_UID, &error.to_string()),
        }
        if let Err(error) = self.resolve_socket_cgroup(btf) {
            self.config.sk_cgroup = ABSENT;
            self.miss(SOCKET_CGROUP, &error.to_string());
        }
        if let Err(error) = self.resolve_segments(btf) {
            self.miss(SEGMENTS, &error.to_string());
        }
        match self.find(btf, "sock_common", "skc_flags", Some(8)) {
            Ok(offset) => self.config.skc_flags = offset,
            Err(error) => self.miss(BYTES_RECEIVED, &error.to_string()),
        }
        match btf.bits("inet_connection_sock", "icsk_ca_state") {
            Ok(bits) if bits % 8 == 0 => {
                let offset = bits / 8;
                self.found
                    .push(format!("inet_connection_sock.icsk_ca_state@{offset}"));
                self.config.congestion_state = offset;
            }
            Ok(_) => self.miss(CONGESTION_STATE, "it lies where no kernel has it"),
            Err(error) => self.miss(CONGESTION_STATE, &error.to_string()),
        }
    }

    /// Before Linux 5.15 the place can hold something else, and has no name of its own.
    fn resolve_socket_cgroup(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.cgroup_node = self.find(btf, "cgroup", "kn", Some(8))?;
        self.config.node_id = self.find(btf, "kernfs_node", "id", Some(8))?;
        self.config.sk_cgroup = self.find(btf, "sock", "sk_cgrp_data.cgroup", Some(8))?;
        Ok(())
    }

    fn resolve_segments(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.tcp_data_segments_in = self.find(btf, "tcp_sock", "data_segs_in", Some(4))?;
        self.config.tcp_segments_out = self.find(btf, "tcp_sock", "segs_out", Some(4))?;
        self.config.tcp_data_segments_out = self.find(btf, "tcp_sock", "data_segs_out", Some(4))?;
        // Last, since the programs look at it first.
        self.config.tcp_segments_in = self.find(btf, "tcp_sock", "segs_in", Some(4))?;
        Ok(())
    }

    fn miss(&mut self, field: &str, reason: &str) {
        self.missing.push((field.to_owned(), reason.to_owned()));
    }

    fn miss_all_of_the_end(&mut self, reason: &str) {
        for field in [SOCKET_UID, SOCKET_CGROUP, SEGMENTS, CONGESTION_STATE] {
            self.miss(field, reason);
        }
    }

    fn resolve_netns(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        let net = self.find(btf, "sock_common", "skc_net.net", Some(8))?;
        self.config.skc_net = fits(net, 8, SOCK_COMMON_WINDOW)?;
        self.config.net_inum = self.find(btf, "net", "ns.inum", Some(4))?;
        // Of an older kernel it cannot be told what became of connections in namespaces that are gone.
        self.config.net_cookie = self
            .find(btf, "net", "net_cookie", Some(8))
            .unwrap_or(ABSENT);
        Ok(())
    }

    fn resolve_process(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.task_comm = self.find(btf, "task_struct", "comm", Some(16))?;
        self.config.task_start = self
            .find(btf, "task_struct", "start_boottime", Some(8))
            .unwrap_or(ABSENT);
        self.config.task_leader = self.find(btf, "task_struct", "group_leader", Some(8))?;
        Ok(())
    }

    fn resolve_pid(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.pid_level = self.find(btf, "pid", "level", Some(4))?;
        self.config.pid_numbers = self.find(btf, "pid", "numbers", None)?;
        self.config.upid_nr = self.find(btf, "upid", "nr", Some(4))?;
        self.config.upid_bytes = btf.size("upid")?;
        self.config.task_thread_pid = self.find(btf, "task_struct", "thread_pid", Some(8))?;
        Ok(())
    }

    fn resolve_files(&mut self, btf: &Btf<'_>) -> Result<(), BtfError> {
        self.config.task_files = self.find(btf, "task_struct", "files", Some(8))?;
        self.config.files_fdt = self.find(btf, "files_struct", "fdt", Some(8))?;
        self.config.fdt_fd = self.find(btf, "fdtable", "fd", Some(8))?;
        self.config.file_private = self.find(btf, "file", "private_data", Some(8))?;
        self.config.socket_sk = self.find(btf, "socket", "sk", Some(8))?;
        Ok(())
    }

    fn resolve_io_uring(&mut self, btf: &Btf<'_>) -> Result<(), String> {
        const COMPLETION: u32 = 3;
        const NUMBERS: u32 = 7;
        match btf.arguments("io_uring_complete") {
            Some(COMPLETION) => self.config.hook_arguments |= ARGUMENT_COMPLETION,
            Some(NUMBERS) => {}
            Some(_) => {
                return Err("the tracepoint does not tell which request completed".to_owned());
            }
            None => {
                return Err("this kernel has no tracepoint io_uring:io_uring_complete".to_owned());
            }
        }
        let mut find = |parent: &str, name: &str, size| {
            let found = self.find(btf, parent, name, Some(size));
            found.map_err(|error| error.to_string())
        };
        let opcode = find("io_kiocb", "opcode", 1)?;
        let slot = find("io_accept", "file_slot", 4)?;
        let socket = find("sock", "sk_socket", 8)?;
        self.config.kiocb_opcode = opcode;
        self.config.accept_slot = slot;
        self.config.sk_socket = socket;
        Ok(())
    }

    fn find(
        &mut self,
        btf: &Btf<'_>,
        parent: &str,
        path: &str,
        size: Option<u32>,
    ) -> Result<u32, BtfError> {
        let offset = btf.offset(parent, path, size)?;
        self.found.push(format!("{parent}.{path}@{offset}"));
        Ok(offset)
    }

    fn resolve_record(&mut self, format: &Format) -> Result<(), String> {
        let mut find = |name: &str, size: u32| -> Result<u32, String> {
            let offset = format
                .offset(name, size)
                .map_err(|error| error.to_string())?;
            if !offset.is_multiple_of(size.min(8)) && size <= 8 || offset + size > RECORD_WINDOW {
                return Err(format!(
                    "the tracepoint's field `{name}` is at offset {offset}"
                ));
            }
            self.found
                .push(format!("inet_sock_set_state:{name}@{offset}"));
            Ok(offset)
        };
        let skaddr = find("skaddr", 8)?;
        let oldstate = find("oldstate", 4)?;
        let newstate = find("newstate", 4)?;
        let sport = find("sport", 2)?;
        let dport = find("dport", 2)?;
        let family = find("family", 2)?;
        // 8 bits wide before Linux 5.6.
        let (protocol, protocol_bytes) = match find("protocol", 2) {
            Ok(offset) => (offset, 2),
            Err(_) => (find("protocol", 1)?, 1),
        };
        let addresses = [
            find("saddr", 4)?,
            find("daddr", 4)?,
            find("saddr_v6", 16)?,
            find("daddr_v6", 16)?,
        ];
        let [saddr, daddr, saddr_v6, daddr_v6] = addresses;
        self.config = Config {
            rec_skaddr: skaddr,
            rec_oldstate: oldstate,
            rec_newstate: newstate,
            rec_sport: sport,
            rec_dport: dport,
            rec_family: family,
            rec_protocol: protocol,
            rec_protocol_bytes: protocol_bytes,
            rec_saddr: saddr,
            rec_daddr: daddr,
            rec_saddr_v6: saddr_v6,
            rec_daddr_v6: daddr_v6,
            ..self.config
        };
        Ok(())
    }
}

/// The programs read integers at their natural alignment, from a window of fixed size.
fn fits(offset: u32, size: u32, window: u32) -> Result<u32, BtfError> {
    let aligned = offset.is_multiple_of(size.min(8)) || size > 8;
    if aligned && offset.checked_add(size).is_some_and(|end| end <= window) {
        Ok(offset)
    } else {
        Err(BtfError::Malformed("a field lies where no kernel has it"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RECORD: &str = "
	field:const void * skaddr;	offset:8;	size:8;	signed:0;
	field:int oldstate;	offset:16;	size:4;	signed:1;
	field:int newstate;	offset:20;	size:4;	signed:1;
	field:__u16 sport;	offset:24;	size:2;	signed:0;
	field:__u16 dport;	offset:26;	size:2;	signed:0;
	field:__u16 family;	offset:28;	size:2;	signed:0;
	field:PROTOCOL;	signed:0;
	field:__u8 saddr[4];	offset:32;	size:4;	signed:0;
	field:__u8 daddr[4];	offset:36;	size:4;	signed:0;
	field:__u8 saddr_v6[16];	offset:40;	size:16;	signed:0;
	field:__u8 daddr_v6[16];	offset:56;	size:16;	signed:0;
";

    fn record(protocol: &str) -> Format {
        Format::parse(&RECORD.replace("PROTOCOL", protocol))
    }

    fn without_btf(state: Result<&Format, String>) -> Layout {
        resolve(Err("no BTF".into()), state, Err("no format".into()))
    }

    #[test]
    fn record_of_either_protocol_width() {
        let new = without_btf(Ok(&record("__u16 protocol;	offset:30;	size:2")));
        assert_eq!(new.classic, Ok(()));
        assert_eq!(
            (new.config.rec_protocol, new.config.rec_protocol_bytes),
            (30, 2)
        );
        let old = without_btf(Ok(&record("__u8 protocol;	offset:30;	size:1")));
        assert_eq!(
            (old.config.rec_protocol, old.config.rec_protocol_bytes),
            (30, 1)
        );
        assert_eq!(old.config.rec_daddr_v6, 56);
        assert_eq!(old.config.sk_protocol, ABSENT);
    }

    #[test]
    fn each_missing_source_leaves_its_reason() {
        let layout = without_btf(Err("no tracefs".into()));
        assert_eq!(layout.raw, Err("no BTF".into()));
        assert_eq!(layout.classic, Err("no tracefs".into()));
        assert_eq!(layout.accept, Err("no BTF".into()));
        assert_eq!(layout.missing.len(), 9);
    }

    #[test]
    fn record_out_of_reach_is_refused() {
        let layout = without_btf(Ok(&record("__u16 protocol;	offset:127;	size:2")));
        assert!(layout.classic.unwrap_err().contains("protocol"));
        let layout = without_btf(Ok(&record("__u32 protocol;	offset:30;	size:4")));
        assert!(layout.classic.unwrap_err().contains("4 bytes wide"));
    }

    #[test]
    fn running_kernel() {
        let Ok(data) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            return;
        };
        let btf = Btf::parse(&data).unwrap();
        let layout = resolve(Ok(&btf), Err("-".into()), Err("-".into()));
        assert_eq!(layout.raw, Ok(()));
        assert_eq!(
            layout.io_uring.is_ok(),
            layout.config.kiocb_opcode != ABSENT
        );
        assert!(layout.missing.is_empty(), "{:?}", layout.missing);
        assert_ne!(layout.config.socket_sk, ABSENT);
        assert_ne!(layout.config.net_cookie, ABSENT);
    }
}
