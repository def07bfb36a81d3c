//! The connections and listeners that are there when the trace begins.
//!
//! Taken after the programs are attached, on a thread of its own, while the ring buffer is drained into
//! memory: what changes meanwhile is in the events as well, and the tracker puts both together.
//!
//! Known gaps: mini-sockets (`TIME_WAIT`, the end of an orphan's `FIN_WAIT_2`) and half-open connections
//! are left out, as no event would tell of their end; likewise what has no namespace that can be found.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tracer_common::wire::{FLAG_NETNS, Header, KIND_SOCKET, Process, SocketRecord};
use zerocopy::IntoBytes as _;

use super::machine::{lists_mptcp, mono_ns};
use super::netns;
use super::processes::{Names, Processes, sees_kernels_pids};
use super::sock_diag::{
    Error, INET, INET6, Listed, MPTCP, SockDiag, TCP, TIMER_MINI_SOCKET, mapped,
};
use crate::batch::Batch;
use crate::session::{SnapshotReport, SnapshotStatus};

/// After this it is content with what it has.
const PATIENCE: Duration = Duration::from_secs(2);
/// Kernel number of `TCP_LISTEN`.
const LISTEN: u8 = 10;
/// States that are asked for, by kernel number: not `TIME_WAIT` (6), `CLOSE` (7), `NEW_SYN_RECV` (12), nor
/// `BOUND_INACTIVE` (13).
const STATES: [u8; 9] = [1, 2, 3, 4, 5, 8, 9, LISTEN, 11];

/// Namespaces that were not come to.
const FURTHER: &str = "further namespaces";

/// What was found.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// A record for each socket, the listeners first.
    pub records: Batch,
    /// What it holds and what not.
    pub report: SnapshotReport,
}

/// One that is being taken.
#[derive(Debug)]
pub struct Taking {
    thread: JoinHandle<Snapshot>,
    limit: Limit,
}

impl Taking {
    /// Starts it: of these network namespaces, or of all if there are none.
    pub fn start(namespaces: &[u32]) -> Result<Self, std::io::Error> {
        let namespaces = namespaces.to_vec();
        let limit = Limit::new(PATIENCE);
        let thread = std::thread::Builder::new().name("snapshot".to_owned());
        Ok(Self {
            limit: limit.clone(),
            thread: thread.spawn(move || take(&namespaces, &limit))?,
        })
    }

    /// It can be had without waiting.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// What was found by now is enough.
    pub fn give_up(&self) {
        self.limit.given_up.store(true, Ordering::Relaxed);
    }

    /// Waits for it.
    pub fn finish(self) -> Snapshot {
        self.thread
            .join()
            .unwrap_or_else(|_| Snapshot::unavailable("the thread that takes it failed".to_owned()))
    }
}

impl Snapshot {
    /// None, for this reason.
    pub fn unavailable(reason: String) -> Self {
        Self {
            records: Batch::default(),
            report: SnapshotReport {
                status: SnapshotStatus::Unavailable,
                missing: vec![("all".to_owned(), reason)],
                ..SnapshotReport::default()
            },
        }
    }
}

/// How long it may take.
#[derive(Clone, Debug)]
struct Limit {
    deadline: Instant,
    given_up: Arc<AtomicBool>,
}

impl Limit {
    fn new(patience: Duration) -> Self {
        Self {
            deadline: Instant::now() + patience,
            given_up: Arc::default(),
        }
    }

    fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.is_given_up() || Instant::now() >= self.deadline
    }

    /// Why what is missing is.
    fn reason(&self) -> &'static str {
        if self.is_given_up() {
            "the run ended before all were listed"
        } else {
            "it took too long"
        }
    }
}

/// A socket and where it is.
struct Socket {
    netns: u32,
    protocol: u16,
    listed: Listed,
}

#[derive(Default)]
struct Collected {
    sockets: Vec<Socket>,
    /// A socket that is moved while the list is read can come twice.
    cookies: HashSet<[u32; 2]>,
    missing: Vec<(String, String)>,
}

fn take(namespaces: &[u32], limit: &Limit) -> Snapshot {
    let began_ns = mono_ns();
    let mut collected = Collected::default();
    let mut processes = Processes::look(|| limit.is_over());
    for (inode, path) in netns::mounted() {
        processes.add_namespace(inode, path);
    }
    collected.miss_of(&processes, limit);
    let asked = collected.ask_all(namespaces, &processes, limit);
    let Collected {
        mut sockets,
        missing,
        ..
    } = collected;
    sockets.sort_by_key(|socket| socket.listed.message.state != LISTEN);
    let mut records = Batch::default();
    let mut names = Names::default();
    let knows_pids = sees_kernels_pids();
    for socket in &sockets {
        let holders = processes.holders(socket.listed.message.inode);
        let holders = if knows_pids { holders } else { &[] };
        let owners: Vec<Process> = holders.iter().map(|pid| names.of(*pid)).collect();
        push(&mut records, socket, &owners);
    }
    let status = match (asked, missing.is_empty()) {
        (0, _) => SnapshotStatus::Unavailable,
        (_, true) => SnapshotStatus::Complete,
        (_, false) => SnapshotStatus::Partial,
    };
    Snapshot {
        report: SnapshotReport {
            status,
            sockets: sockets.len() as u64,
            namespaces: asked,
            duration_ns: mono_ns().saturating_sub(began_ns),
            missing,
        },
        records,
    }
}

impl Collected {
    /// Asks in each namespace; yields in how many there was an answer.
    fn ask_all(&mut self, wanted: &[u32], processes: &Processes, limit: &Limit) -> u64 {
        let own = netns::own();
        let found = &processes.namespaces;
        let is_wanted = |inode: u32| wanted.is_empty() || wanted.contains(&inode);
        for inode in wanted {
            if own != Some(*inode) && !found.contains_key(inode) {
                let reason = if processes.late {
                    limit.reason()
                } else {
                    "no process and no mount leads to it"
                };
                self.miss(&format!("netns {inode}"), reason.to_owned());
            }
        }
        if wanted.is_empty() && processes.late {
            self.miss(FURTHER, limit.reason().to_owned());
        }
        let mut asked = 0;
        if let Some(own) = own.filter(|own| is_wanted(*own)) {
            asked += u64::from(self.ask(own, SockDiag::open(), limit));
        }
        for (inode, ways) in found {
            if own == Some(*inode) || !is_wanted(*inode) {
                continue;
            }
            if limit.is_over() {
                if !self.missing.iter().any(|(what, _)| what == FURTHER) {
                    self.miss(FURTHER, limit.reason().to_owned());
                }
                break;
            }
            match netns::enter(*inode, ways, SockDiag::open) {
                Ok(diag) => asked += u64::from(self.ask(*inode, diag, limit)),
                // It went as it was looked at, and its sockets with it.
                Err(error) if is_gone(&error) => {
                    log::debug!("netns {inode} is gone: {error}");
                }
                Err(error) => {
                    self.miss(&format!("netns {inode}"), format!("cannot enter: {error}"));
                }
            }
        }
        asked
    }

    fn ask(&mut self, netns: u32, diag: Result<SockDiag, Error>, limit: &Limit) -> bool {
        let mut diag = match diag {
            Ok(diag) => diag,
            Err(error) => {
                self.miss(&format!("netns {netns}"), error.reason());
                return false;
            }
        };
        let states = STATES.iter().fold(0, |mask, state| mask | 1 << state);
        let mut answered = false;
        for (family, protocol, name) in [
            (INET, TCP, "TCP over IPv4"),
            (INET6, TCP, "TCP over IPv6"),
            (INET, MPTCP, "MPTCP over IPv4"),
            (INET6, MPTCP, "MPTCP over IPv6"),
        ] {
            if protocol == MPTCP && !lists_mptcp() {
                continue;
            }
            let (is_over, before) = (|| limit.is_over(), self.sockets.len());
            let result = diag.list(family, protocol, states, is_over, |listed| {
                self.add(netns, protocol, listed);
            });
            answered |= result.is_ok() || self.sockets.len() > before;
            let reason = match result {
                Ok(()) => continue,
                Err(Error::Late) => limit.reason().to_owned(),
                Err(error) => error.reason(),
            };
            self.miss(&format!("{name} in netns {netns}"), reason);
        }
        answered
    }

    fn add(&mut self, netns: u32, protocol: u32, listed: Listed) {
        let message = &listed.message;
        if message.timer != TIMER_MINI_SOCKET
            && STATES.contains(&message.state)
            && self.cookies.insert(message.id.cookie)
        {
            self.sockets.push(Socket {
                netns,
                protocol: u16::try_from(protocol).unwrap_or_default(),
                listed,
            });
        }
    }

    /// What the look at the processes did not find, whatever is asked.
    fn miss_of(&mut self, processes: &Processes, limit: &Limit) {
        const OWNERS: &str = "owners";
        if !sees_kernels_pids() {
            let reason = "process ids here are not the kernel's: this is another pid namespace";
            self.miss(OWNERS, reason.to_owned());
        }
        if let Some(reason) = hidden(processes.hidden, processes.first_hidden) {
            self.miss(OWNERS, reason);
        }
        if processes.late {
            self.miss(OWNERS, limit.reason().to_owned());
        }
    }

    fn miss(&mut self, what: &str, reason: String) {
        self.missing.push((what.to_owned(), reason));
    }
}

/// Whose connections have no owners, as some processes cannot be looked at.
fn hidden(count: u64, first: Option<u32>) -> Option<String> {
    let first = first?;
    Some(match count {
        0 | 1 => format!("those of process {first}, which cannot be looked at"),
        _ => format!(
            "those of {count} processes that cannot be looked at, process {first} the first"
        ),
    })
}

fn is_gone(error: &std::io::Error) -> bool {
    const ESRCH: i32 = 3;
    error.kind() == std::io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH)
}

fn push(records: &mut Batch, socket: &Socket, owners: &[Process]) {
    let Listed {
        message,
        asked_ns,
        seen_ns,
    } = &socket.listed;
    let [low, high] = message.id.cookie;
    let record = SocketRecord {
        header: Header {
            kind: KIND_SOCKET,
            flags: FLAG_NETNS,
            cpu: 0,
            mono_ns: *seen_ns,
            sk: 0,
        },
        asked_ns: *asked_ns,
        cookie: u64::from(high) << 32 | u64::from(low),
        netns: socket.netns,
        inode: message.inode,
        uid: message.uid,
        expires_ms: message.expires_ms,
        receive_queue: message.receive_queue,
        send_queue: message.send_queue,
        family: message.family.into(),
        protocol: socket.protocol,
        local_port: message.id.local_port.get(),
        remote_port: message.id.remote_port.get(),
        state: message.state,
        timer: message.timer,
        retransmits: message.retransmits,
        reserved: 0,
        owners: u32::try_from(owners.len()).unwrap_or_default(),
        local_addr: mapped(message.family, message.id.local_addr),
        remote_addr: mapped(message.family, message.id.remote_addr),
    };
    let mut bytes = record.as_bytes().to_vec();
    for owner in owners {
        bytes.extend_from_slice(owner.as_bytes());
    }
    records.push(&bytes);
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::decode::decode;
    use crate::event::{Event, SocketEvent};
    use crate::state::State;

    fn sockets(snapshot: &Snapshot) -> Vec<SocketEvent> {
        let events = snapshot
            .records
            .iter()
            .map(|record| decode(record).unwrap());
        let sockets = events.map(|event| {
            let Event::Socket(socket) = event else {
                panic!("{event:?}");
            };
            *socket
        });
        sockets.collect()
    }

    #[test]
    fn who_is_hidden_is_named() {
        assert_eq!(hidden(0, None), None);
        assert_eq!(
            hidden(1, Some(1)).as_deref(),
            Some("those of process 1, which cannot be looked at")
        );
        assert_eq!(
            hidden(3, Some(1)).as_deref(),
            Some("those of 3 processes that cannot be looked at, process 1 the first")
        );
    }

    #[test]
    fn own_sockets_are_in_it_once() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let here = listener.local_addr().unwrap();
        let client = TcpStream::connect(here).unwrap();
        let there = client.local_addr().unwrap();
        let own = netns::own().unwrap();
        let snapshot = Taking::start(&[own]).unwrap().finish();
        assert_ne!(snapshot.report.status, SnapshotStatus::Unavailable);
        let sockets = sockets(&snapshot);
        assert_eq!(snapshot.report.sockets, sockets.len() as u64);
        let mine: Vec<_> = sockets
            .iter()
            .filter(|socket| [here.port(), there.port()].contains(&socket.local.port))
            .map(|socket| {
                assert_eq!(socket.netns, Some(own));
                assert!(socket.asked_ns <= socket.seen_ns);
                let pids: Vec<u32> = socket.owners.iter().map(|owner| owner.pid).collect();
                assert_eq!(pids == [std::process::id()], socket.has_file, "{socket:?}");
                (socket.local.port, socket.state, socket.has_file)
            })
            .collect();
        let expected = [
            (here.port(), State::Listen, true),
            // Nobody has accepted it.
            (here.port(), State::Established, false),
            (there.port(), State::Established, true),
        ];
        assert_eq!(mine.len(), expected.len(), "{mine:?}");
        assert!(expected.iter().all(|one| mine.contains(one)), "{mine:?}");
        assert_eq!(mine[0].1, State::Listen, "listeners come first");
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let snapshot = Taking::start(&[1]).unwrap().finish();
        assert_eq!(snapshot.report.status, SnapshotStatus::Unavailable);
        let missing = &snapshot.report.missing;
        assert!(missing.iter().any(|(what, _)| what == "netns 1"));
        assert!(snapshot.records.is_empty());
    }
}
