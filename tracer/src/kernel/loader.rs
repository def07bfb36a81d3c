//! Loads and attaches the kernel programs, and reads what they deliver.

use std::fs;
use std::thread::{self, JoinHandle};

use aya::maps::{Array, MapData, PerCpuArray, RingBuf};
use aya::{Btf as AyaBtf, Ebpf, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use tracer_common::config::{ARGUMENT_RESET_REASON, ARGUMENT_RETRANSMIT_ERROR, Config};
use tracer_common::names;
use tracer_common::wire::Losses;
use zerocopy::IntoBytes as _;

use super::attach::{ACCEPT_HOOK, Attach, HookChoice, Link, TRACEPOINT};
use super::btf::Btf;
use super::error::{Error, is_file_limit, is_permission, not_permitted};
use super::format::Format;
use super::layout::{self, Layout};
use super::losses::{self, Refused};
use super::machine::counts_refused_classic_runs;
use super::poll::{Poller, Wish};
use super::sets;
use super::tracefs::{self, TraceFs};
use crate::batch::Batch;
use crate::decode::decode;
use crate::diagnose::Sources;
use crate::event::{Event, PlaceEvent, PlaceOf};
use crate::filter::Filter;
use crate::session::{HookReport, HookStatus, LOST_REENTRY};
use crate::track::MiniSight;

static OBJECT: &[u8] = include_bytes_aligned!("../../ebpf/tracer.bpf.o");

/// Function of the kernel that makes a half-open connection.
const REQUEST_FUNCTION: &str = ":inet_csk_reqsk_queue_hash_add";

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// How to load.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Which connections are wanted.
    pub filter: &'a Filter,
    /// Size of the ring buffer in bytes: a power of two, and at least a page.
    pub ring_bytes: u32,
    /// Which way to listen.
    pub hook: HookChoice,
    /// Whether to listen to functions of the kernel.
    pub functions: bool,
    /// Whether the programs log each transition.
    pub debug_log: bool,
}

/// A ring large enough for the time between two looks at it, on a machine of this size.
pub fn default_ring_bytes() -> u32 {
    let cpus = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mebibytes = u32::try_from(cpus).unwrap_or(u32::MAX).clamp(2, 8) * 8;
    mebibytes.next_power_of_two() << 20
}

/// Attached programs. Dropping it detaches and frees all of them.
pub struct Kernel {
    ring: RingBuf<MapData>,
    /// [`Losses`], and the sum that the programs have told.
    losses: Array<MapData, [u64; 4]>,
    recovered: PerCpuArray<MapData, u64>,
    logger: Option<EbpfLogger<&'static dyn log::Log>>,
    /// What tracer listens to.
    pub hooks: Vec<HookReport>,
    /// Data that this kernel does not give, each with the reason.
    pub missing: Vec<(String, String)>,
    /// Fields of the kernel found.
    pub found: Vec<String>,
    /// Where tracefs is, or why it is not to be had.
    pub tracefs: Result<TraceFs, String>,
    main_program: &'static str,
    /// Programs for evidence that are attached.
    evidence: Vec<&'static str>,
    reset_reasons: Vec<(u32, String)>,
    /// The filter, if it asks for cgroups.
    place_filter: Option<Filter>,
    links: Vec<Link>,
    ebpf: Ebpf,
}

impl Kernel {
    /// Loads and attaches all that this kernel allows.
    pub fn load(options: &Options<'_>) -> Result<Self, Error> {
        // aya's loader reads all of the kernel's types first, which takes longer than all else here, and none is
        // needed of it: so it does that while offsets are looked for.
        let loader = thread::spawn(EbpfLoader::new);
        let tracefs = tracefs::find_or_mount();
        let (layout, reset_reasons) = read_layout(&tracefs);
        let config = Config {
            filters: sets::flags(options.filter),
            ..layout.config
        };
        if !options.filter.netns.is_empty()
            && let Some((_, reason)) = layout.missing.iter().find(|(field, _)| field == "netns")
        {
            return Err(Error::FilterUnavailable {
                filter: "--netns",
                reason: reason.clone(),
            });
        }

        let mut ebpf = create(join(loader), options, &config)?;
        sets::fill(&mut ebpf, options.filter)?;
        let mut attach = Attach::new(&mut ebpf);
        // Evidence first, and detached last: a state is never seen without it.
        attach.functions(&layout, options.functions);
        attach.accept(&layout);
        attach.accept_io_uring(&layout);
        attach.evidence(&layout);
        let main_program = attach.state_hooks(options.hook, &layout)?;
        let Attach {
            hooks,
            links,
            evidence,
            ..
        } = attach;

        let logger = EbpfLogger::init(&mut ebpf)
            .inspect_err(|error| log::debug!("no log of the kernel programs: {error}"))
            .ok();
        let mut missing = layout.missing;
        if let Some(hook) = hooks.iter().find(|hook| hook.name == ACCEPT_HOOK)
            && let HookStatus::Unavailable(reason) = &hook.status
        {
            missing.push(("owner_source=accept".to_owned(), reason.clone()));
        }
        let mut kernel = Self {
            ring: RingBuf::try_from(take(&mut ebpf, names::EVENTS)?)
                .map_err(|source| map_error(names::EVENTS, source))?,
            losses: Array::try_from(take(&mut ebpf, names::LOSSES)?)
                .map_err(|source| map_error(names::LOSSES, source))?,
            recovered: PerCpuArray::try_from(take(&mut ebpf, names::RECOVERED)?)
                .map_err(|source| map_error(names::RECOVERED, source))?,
            logger,
            hooks,
            missing,
            found: layout.found,
            tracefs,
            main_program,
            evidence,
            reset_reasons,
            place_filter: options.filter.asks_place().then(|| options.filter.clone()),
            links,
            ebpf,
        };
        if main_program == names::STATE_CLASSIC && !counts_refused_classic_runs() {
            kernel.missing.push((
                LOST_REENTRY.to_owned(),
                "before Linux 6.7 the kernel does not count the runs it refuses a program of a classic \
                 tracepoint"
                    .to_owned(),
            ));
        }
        Ok(kernel)
    }

    /// Whether accepted sockets are reported.
    pub fn sees_accept(&self) -> bool {
        let by_function = [names::ACCEPTED, names::ACCEPTED_KRETPROBE];
        self.evidence
            .iter()
            .any(|program| by_function.contains(program))
            || self
                .hooks
                .iter()
                .any(|hook| hook.name == ACCEPT_HOOK && hook.status == HookStatus::Attached)
    }

    /// Which evidence the kernel programs deliver.
    pub fn sources(&self) -> Sources {
        let attached = |program: &str| self.evidence.contains(&program);
        Sources {
            retransmit: attached(names::RETRANSMIT),
            synack_retransmit: attached(names::SYNACK),
            reset_received: attached(names::RESET_RECEIVED),
            reset_sent: attached(names::RESET_SENT),
            socket_error: attached(names::SOCKET_ERROR),
            counts: self.missing.iter().all(|(field, _)| field != "counts"),
            accept: self.sees_accept(),
            reset_reasons: self.reset_reasons.clone(),
        }
    }

    /// Takes note of cgroups that were found, each a record of its own: processes of those that the filter
    /// leaves out make no more records.
    pub fn note_cgroups(&mut self, found: &Batch) -> Result<(), Error> {
        let Some(filter) = &self.place_filter else {
            return Ok(());
        };
        for record in found.iter() {
            if let Ok(Event::Place(PlaceEvent {
                of: PlaceOf::Cgroup(id),
                place,
                ..
            })) = decode(record)
                && !filter.place_matches(Some(&place))
            {
                sets::exclude_cgroup(&mut self.ebpf, id)?;
            }
        }
        Ok(())
    }

    /// Which ways there are to hear of mini-sockets.
    pub fn mini_sight(&self) -> MiniSight {
        let attached = |fentry: &str, kprobe: &str| {
            self.evidence
                .iter()
                .any(|program| *program == fentry || *program == kprobe)
        };
        MiniSight {
            births: attached(names::MINI_BORN, names::MINI_BORN_KPROBE),
            ends: attached(names::MINI_TIMER, names::MINI_TIMER_KPROBE)
                && attached(names::MINI_END, names::MINI_END_KPROBE),
            polled: false,
        }
    }

    /// What of the fate of connections no function of the kernel tells, so that it has to be asked for. None if it
    /// cannot be, for the reason that [`Kernel::hooks`] then gives: decided by trying.
    pub fn ask_for_fates(&mut self) -> Option<Wish> {
        let sees_requests = self.hooks.iter().any(|hook| {
            hook.status == HookStatus::Attached && hook.name.ends_with(REQUEST_FUNCTION)
        });
        let sight = self.mini_sight();
        let wish = Wish {
            minis: !(sight.births && sight.ends),
            half_open: !sees_requests,
        };
        let netns = self.missing.iter().find(|(field, _)| field == "netns");
        let possible = match netns {
            Some((_, reason)) => Err(format!("the network namespace is not known: {reason}")),
            None => Poller::try_it(),
        };
        let status = match possible {
            _ if wish.is_empty() => HookStatus::NotNeeded,
            Ok(()) => HookStatus::Attached,
            Err(reason) => HookStatus::Unavailable(reason),
        };
        let used = status == HookStatus::Attached;
        self.hooks.push(HookReport {
            name: "netlink:sock_diag".to_owned(),
            purpose:
                "FIN_WAIT_2 and TIME_WAIT of closed sockets, and half-open connections, by asking"
                    .to_owned(),
            status,
        });
        used.then_some(wish)
    }

    /// Adds what is in the ring buffer to `batch`, until that holds `limit` records.
    pub fn fill(&mut self, batch: &mut Batch, limit: usize) {
        while batch.len() < limit
            && let Some(record) = self.ring.next()
        {
            batch.push(&record);
        }
    }

    /// Stops listening; what was recorded before can still be drained. The last attached goes first, so
    /// that the twin never runs alone.
    pub fn detach(&mut self) {
        thread::scope(|scope| {
            while let Some(link) = self.links.pop() {
                if link.is_slow_to_drop() {
                    let drop_it = move || drop(link);
                    // Without a thread it is dropped here.
                    let _ = thread::Builder::new().spawn_scoped(scope, drop_it);
                }
            }
        });
    }

    /// Passes on what the programs have logged.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// What the programs have not delivered, since the start.
    pub fn losses(&self) -> Result<Losses, Error> {
        let [ring_full, unreadable, evidence, _] = self
            .losses
            .get(&0, 0)
            .map_err(|source| map_error(names::LOSSES, source))?;
        Ok(Losses {
            ring_full,
            unreadable,
            evidence,
        })
    }

    /// Asks the kernel how often it refused to run the programs, since the start; takes some ten microseconds for
    /// each.
    pub fn refused(&self) -> Result<Refused, Error> {
        let others = std::iter::once(names::ACCEPT_EXIT).chain(self.evidence.iter().copied());
        let transitions = self.refused_runs(self.main_program).unwrap_or(0);
        Ok(Refused {
            transitions: transitions.saturating_sub(self.recovered()?),
            evidence: others.filter_map(|name| self.refused_runs(name)).sum(),
        })
    }

    /// What the twin makes up for. To be read after the refused runs, as it runs after them.
    fn recovered(&self) -> Result<u64, Error> {
        let counts = self.recovered.get(&0, 0);
        let counts = counts.map_err(|source| map_error(names::RECOVERED, source))?;
        Ok(counts.iter().sum())
    }

    fn refused_runs(&self, program: &str) -> Option<u64> {
        use std::os::fd::AsFd as _;
        losses::refused_runs(self.ebpf.program(program)?.fd().ok()?.as_fd())
    }
}

/// Size of the kernel's type information, or why it is not to be had.
pub fn btf_bytes() -> Result<u64, String> {
    fs::metadata(BTF_PATH)
        .map(|metadata| metadata.len())
        .map_err(|error| format!("cannot read {BTF_PATH}: {error}"))
}

/// Offsets, and the names of the reasons for which a reset is sent.
fn read_layout(tracefs: &Result<TraceFs, String>) -> (Layout, Vec<(u32, String)>) {
    let data = fs::read(BTF_PATH).map_err(|error| format!("cannot read {BTF_PATH}: {error}"));
    let btf = data
        .as_deref()
        .map_err(Clone::clone)
        .and_then(|data| Btf::parse(data).map_err(|error| error.to_string()));
    let format = |group: &str, name: &str| -> Result<Format, String> {
        tracefs.as_ref().map_err(Clone::clone)?.format(group, name)
    };
    let state = format("sock", TRACEPOINT);
    // Both accept calls have the same record.
    let accept = format("syscalls", "sys_exit_accept4");
    let mut layout = layout::resolve(
        btf.as_ref().map_err(Clone::clone),
        state.as_ref().map_err(Clone::clone),
        accept.as_ref().map_err(Clone::clone),
    );
    // An argument is there if the record has a field made from it.
    let has = |format: &Result<Format, String>, name| {
        format
            .as_ref()
            .is_ok_and(|format| format.field(name).is_ok())
    };
    let reset = format("tcp", "tcp_send_reset");
    if has(&reset, "reason") {
        layout.config.hook_arguments |= ARGUMENT_RESET_REASON;
    }
    if has(&format("tcp", "tcp_retransmit_skb"), "err") {
        layout.config.hook_arguments |= ARGUMENT_RETRANSMIT_ERROR;
    }
    layout.io_uring = layout.io_uring.and_then(|()| {
        let complete = format("io_uring", "io_uring_complete")?;
        let told = complete.field("req").map(|_| ());
        told.map_err(|_| {
            "before Linux 5.18 the tracepoint does not tell which request completed".to_owned()
        })
    });
    // Without cgroups the kernel refuses the very call.
    layout.config.has_cgroups = u32::from(std::path::Path::new("/proc/self/cgroup").exists());
    let reasons = reset.map_or_else(|_| Vec::new(), |format| format.symbols("reason"));
    (layout, reasons)
}

fn join(loader: JoinHandle<EbpfLoader<'static>>) -> EbpfLoader<'static> {
    loader.join().unwrap_or_else(|_| EbpfLoader::new())
}

fn create(
    loader: EbpfLoader<'static>,
    options: &Options<'_>,
    config: &Config,
) -> Result<Ebpf, Error> {
    let level = if options.debug_log {
        aya_log::Level::Debug
    } else {
        aya_log::Level::Warn
    } as u8;
    let no_btf: Option<&AyaBtf> = None;
    let mut loader: EbpfLoader<'_> = loader;
    loader
        // The object has no relocations that would need it.
        .btf(no_btf)
        .override_global(names::CONFIG, config.as_bytes(), true)
        .override_global(aya_log::LEVEL, &level, true)
        .map_max_entries(names::EVENTS, options.ring_bytes);
    sets::size(&mut loader, options.filter, config);
    loader.load(OBJECT).map_err(|error| {
        if is_permission(&error) {
            not_permitted()
        } else if is_file_limit(&error) {
            Error::FileLimit
        } else {
            Error::Maps(error)
        }
    })
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, Error> {
    ebpf.take_map(name).ok_or(Error::Incomplete(name))
}

fn map_error(name: &'static str, source: aya::maps::MapError) -> Error {
    Error::Map { name, source }
}
