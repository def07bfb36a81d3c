//! Asks the kernel what becomes of connections that the programs see no more, or not yet: in `FIN_WAIT_2` and
//! `TIME_WAIT` after their socket was closed, and half-open. For kernels whose functions tell nothing of it.
//!
//! The records say which connections these are (`Wish::of`), whoever takes the records in. A thread of its
//! own asks, so that nothing waits for it, and answers come back as records ([`tracer_common::wire::KIND_POLLED`]): only
//! those that are news. Few are asked for one by one (5 us each), many by a list of all there are in
//! the namespace: 0.3 ms to walk an empty table of 2^18 buckets, and 0.8 us for each socket. After each
//! round the thread rests for a hundred times the CPU time that it took, so it takes one percent at most, and with very many
//! connections asks less often; each answer holds when there was the one before.
//!
//! A list can leave out a socket that is there, when its bucket changes while the kernel pauses there; and
//! the question for one does not find it where it is bound to an interface that is not named. So what is in
//! a list is there, and only what neither finds is gone.
//!
//! A netlink socket keeps its namespace alive, so none is kept. A namespace is entered by its inode number, which
//! the kernel gives to the next one soon after the last process has left it; whether it is still the same one is
//! told by its cookie. There is nothing in another one, which says nothing of what was in the first.
//!
//! Known gap: where a namespace cannot be found, nor is it known whether what was in it is gone.

mod fates;

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::machine::mono_ns;
use super::netns;
use super::processes::Processes;
use super::sock_diag::{
    INET, INET6, Listed, Message, SockDiag, SocketId, TCP, TIMER_MINI_SOCKET, mapped, unmapped,
};
use crate::batch::Batch;
use crate::track::TimeWait;
pub use fates::Wish;
use fates::{Answer, Ends, Fate, Fates, Identity, Wanted};

/// Kernel numbers of states.
const SYN_RECV: u8 = 3;
const FIN_WAIT_2: u8 = 5;
const TIME_WAIT: u8 = 6;
const CLOSING: u8 = 11;
const NEW_SYN_RECV: u8 = 12;
/// Those that are listed.
const STATES: u32 = 1 << SYN_RECV | 1 << FIN_WAIT_2 | 1 << TIME_WAIT | 1 << NEW_SYN_RECV;
/// More than so many in one namespace are asked for by a list.
const FEW: usize = 64;
/// Between two rounds of questions.
const PAUSE: Duration = Duration::from_millis(100);
/// The thread rests so many times longer than it works.
const REST: u32 = 100;
/// For a list.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two searches for a namespace.
const SEARCH_PAUSE: Duration = Duration::from_secs(5);

/// What is asked for, and a thread that asks.
#[derive(Debug)]
pub struct Poller {
    wish: Wish,
    wanted: Option<Sender<Vec<Wanted>>>,
    news: Receiver<Batch>,
    fresh: Vec<Wanted>,
    /// Something was asked for.
    is_used: bool,
}

/// Whether it takes too long from now on.
fn patience() -> impl Fn() -> bool {
    let deadline = Instant::now() + PATIENCE;
    move || Instant::now() >= deadline
}

impl Poller {
    /// Whether the kernel can be asked at all; else why not.
    pub fn try_it() -> Result<(), String> {
        let ask = || {
            let mut diag = SockDiag::open()?;
            // Hardly any socket is in this state.
            diag.list(INET, TCP, 1 << CLOSING, patience(), |_| {})
        };
        ask().map_err(|error| error.reason())
    }

    /// Asks for these, until they are over, or as `time_wait` says only until they are in `TIME_WAIT`.
    pub fn start(wish: Wish, time_wait: TimeWait) -> Result<Self, std::io::Error> {
        let (wanted, to_ask) = channel();
        let (tell, news) = channel();
        let thread = std::thread::Builder::new().name("poll".to_owned());
        thread.spawn(move || Asking::new(time_wait).run(&to_ask, &tell))?;
        Ok(Self {
            wish,
            wanted: Some(wanted),
            news,
            fresh: Vec::new(),
            is_used: false,
        })
    }

    /// Takes note of what the records tell of.
    pub fn note(&mut self, events: &Batch) {
        let Some(wanted) = &self.wanted else { return };
        self.fresh
            .extend(events.iter().filter_map(|record| self.wish.of(record)));
        if !self.fresh.is_empty() {
            self.is_used = true;
            // The thread has ended only where it failed; then there are no answers.
            let _ = wanted.send(std::mem::take(&mut self.fresh));
        }
    }

    /// Puts what became known into `found`.
    pub fn collect(&self, found: &mut Batch) {
        for news in self.news.try_iter() {
            found.append(&news);
        }
    }

    /// Has everything asked that was not yet, and ends it; yields what became known within `patience`.
    pub fn finish(mut self, patience: Duration) -> Batch {
        self.wanted = None;
        let mut found = Batch::default();
        let deadline = Instant::now() + patience;
        while let Ok(news) = self
            .news
            .recv_timeout(deadline.saturating_duration_since(Instant::now()))
        {
            found.append(&news);
        }
        found
    }

    /// Something was asked for, so that there may be answers.
    pub fn is_used(&self) -> bool {
        self.is_used
    }
}

/// The thread's part.
struct Asking {
    fates: Fates,
    /// Ways into namespaces that were found.
    ways: HashMap<u32, Vec<PathBuf>>,
    searched: Option<Instant>,
    /// There is no later round.
    is_last: bool,
}

impl Asking {
    fn new(time_wait: TimeWait) -> Self {
        Self {
            fates: Fates::new(time_wait),
            ways: HashMap::new(),
            searched: None,
            is_last: false,
        }
    }

    /// Until nobody wants to know any more.
    fn run(mut self, to_ask: &Receiver<Vec<Wanted>>, tell: &Sender<Batch>) {
        let mut rested = Instant::now();
        loop {
            let wanted = match self.fates.next_ns() {
                None => to_ask.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(next_ns) => {
                    let wait = Duration::from_nanos(next_ns.saturating_sub(mono_ns()));
                    let rest = rested.saturating_duration_since(Instant::now());
                    to_ask.recv_timeout(wait.max(rest))
                }
            };
            let is_over = matches!(wanted, Err(RecvTimeoutError::Disconnected));
            let now_ns = mono_ns();
            for wanted in wanted.into_iter().chain(to_ask.try_iter()).flatten() {
                self.fates.add(&wanted, now_ns);
            }
            if is_over {
                self.fates.hurry();
                self.is_last = true;
                self.searched = None;
            } else if Instant::now() < rested || self.fates.next_ns() > Some(mono_ns()) {
                continue;
            }
            let worked = self.ask();
            rested = Instant::now() + PAUSE.max(worked * REST);
            if let Some(news) = self.fates.take_news()
                && tell.send(news).is_err()
            {
                return;
            }
            if is_over {
                return;
            }
        }
    }

    /// One round; yields the CPU time that it took.
    fn ask(&mut self) -> Duration {
        let began = cpu_time();
        for netns in self.fates.due(mono_ns()) {
            match self.enter(netns) {
                Entered::In(diag, identity) => {
                    self.fates.entered(netns, identity, mono_ns());
                    self.ask_in(netns, diag);
                }
                Entered::Later => {
                    for (ends, _) in self.fates.due_in(netns, mono_ns()) {
                        self.fates.postpone(netns, &ends, mono_ns());
                    }
                }
                Entered::NoWay => self.fates.give_up_all(netns, mono_ns()),
            }
        }
        self.fates.plan();
        cpu_time().saturating_sub(began)
    }

    /// Finds a way into a namespace.
    fn enter(&mut self, netns: u32) -> Entered {
        if netns::own() == Some(netns) {
            return match SockDiag::open() {
                Ok(diag) => Entered::In(diag, Identity::Own),
                Err(error) => {
                    log::debug!("netns {netns}: {}", error.reason());
                    Entered::Later
                }
            };
        }
        if let Some(diag) = self.enter_known(netns) {
            return Entered::other(diag);
        }
        let is_fresh = self
            .searched
            .is_some_and(|searched| searched.elapsed() < SEARCH_PAUSE);
        if is_fresh && !self.is_last {
            return Entered::Later;
        }
        if !is_fresh {
            let mut processes = Processes::look(patience());
            for (inode, path) in netns::mounted() {
                processes.add_namespace(inode, path);
            }
            self.ways = processes.namespaces.into_iter().collect();
            self.searched = Some(Instant::now());
        }
        match self.enter_known(netns) {
            Some(diag) => Entered::other(diag),
            None => Entered::NoWay,
        }
    }

    fn enter_known(&self, netns: u32) -> Option<SockDiag> {
        let ways = self.ways.get(&netns)?;
        match netns::enter(netns, ways, SockDiag::open) {
            Ok(Ok(diag)) => Some(diag),
            Ok(Err(error)) => {
                log::debug!("netns {netns}: {}", error.reason());
                None
            }
            Err(error) => {
                log::debug!("netns {netns}: cannot enter: {error}");
                None
            }
        }
    }

    fn ask_in(&mut self, netns: u32, mut diag: SockDiag) {
        let mut open = self.fates.due_in(netns, mono_ns());
        if open.len() <= FEW {
            // What was never there, as far as is known, may be where only a list finds it.
            open.retain(|(ends, fate)| {
                !self.ask_for(netns, &mut diag, ends, fate, fate.is_known())
            });
        }
        if open.is_empty() {
            return;
        }
        let (listed, complete) = self.list(netns, &mut diag, &open);
        for (ends, fate) in open.iter().filter(|(ends, _)| !listed.contains(ends)) {
            if complete {
                self.ask_for(netns, &mut diag, ends, fate, true);
            } else {
                self.fates.postpone(netns, ends, mono_ns());
            }
        }
    }

    /// Asks for one. False: it was not found, and that is not taken for an answer.
    fn ask_for(
        &mut self,
        netns: u32,
        diag: &mut SockDiag,
        ends: &Ends,
        fate: &Fate,
        is_gone_if_not_found: bool,
    ) -> bool {
        let (family, local_addr) = unmapped(ends.local_addr);
        let (_, remote_addr) = unmapped(ends.remote_addr);
        let id = SocketId {
            local_port: ends.local_port.into(),
            remote_port: ends.remote_port.into(),
            local_addr,
            remote_addr,
            interface: fate.interface,
            ..SocketId::default()
        };
        let asked_ns = mono_ns();
        let found = match diag.get(family, id) {
            Ok(found) => found,
            Err(error) => {
                log::debug!("netns {netns}: {}", error.reason());
                self.fates.postpone(netns, ends, mono_ns());
                return true;
            }
        };
        let answer = found
            .filter(|listed| ends_of(&listed.message) == *ends)
            .map_or(Answer::Nothing, |listed| answer(&listed.message));
        if answer == Answer::Nothing && !is_gone_if_not_found {
            return false;
        }
        let times = (asked_ns, mono_ns());
        self.fates
            .answered(netns, ends, answer, fate.interface, times);
        true
    }

    /// Lists what there is in the families of those in `open`; yields what of it is asked for, and whether
    /// the list is complete.
    fn list(
        &mut self,
        netns: u32,
        diag: &mut SockDiag,
        open: &[(Ends, Fate)],
    ) -> (HashSet<Ends>, bool) {
        let is_over = patience();
        let mut listed = HashSet::new();
        let mut complete = true;
        for family in [INET, INET6] {
            if !open.iter().any(|(ends, fate)| fate.can_be(family, ends)) {
                continue;
            }
            let fates = &mut self.fates;
            let each = |one: Listed| {
                let ends = ends_of(&one.message);
                let (answer, interface) = (answer(&one.message), one.message.id.interface);
                let times = (one.asked_ns, one.seen_ns);
                if answer != Answer::Another
                    && fates.answered(netns, &ends, answer, interface, times)
                {
                    listed.insert(ends);
                }
            };
            if let Err(error) = diag.list(family, TCP, STATES, &is_over, each) {
                log::debug!("netns {netns}: {}", error.reason());
                complete = false;
            }
        }
        (listed, complete)
    }
}

/// Whether a namespace could be entered.
enum Entered {
    In(SockDiag, Identity),
    /// Not now.
    Later,
    /// There is no way into it.
    NoWay,
}

impl Entered {
    fn other(diag: SockDiag) -> Self {
        let cookie = diag.netns_cookie();
        Self::In(diag, Identity::Cookie(cookie))
    }
}

fn ends_of(message: &Message) -> Ends {
    Ends {
        local_addr: mapped(message.family, message.id.local_addr),
        remote_addr: mapped(message.family, message.id.remote_addr),
        local_port: message.id.local_port.get(),
        remote_port: message.id.remote_port.get(),
    }
}

fn answer(message: &Message) -> Answer {
    match message.state {
        state @ (FIN_WAIT_2 | TIME_WAIT) if message.timer == TIMER_MINI_SOCKET => Answer::Mini {
            state: state.into(),
            timer_ns: u64::from(message.expires_ms) * 1_000_000,
        },
        SYN_RECV => Answer::HalfOpen {
            retransmits: message.retransmits,
        },
        _ => Answer::Another,
    }
}

/// Of the calling thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
