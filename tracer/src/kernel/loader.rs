//! Loads and attaches the kernel programs, and reads what they deliver.

use std::fs;

use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::trace_point::TracePointLink;
use aya::programs::{ProgramError, RawTracePoint, TracePoint};
use aya::{Btf as AyaBtf, Ebpf, EbpfError, EbpfLoader, include_bytes_aligned};
use aya_log::EbpfLogger;
use tracer_common::config::Config;
use tracer_common::names;
use zerocopy::IntoBytes as _;

use super::btf::Btf;
use super::error::{Error, describe, is_permission};
use super::format::Format;
use super::layout::{self, Layout};
use super::tracefs::{self, TraceFs};
use super::{losses, sets};
use crate::filter::Filter;
use crate::session::{HookReport, HookStatus, Lost};

static OBJECT: &[u8] = include_bytes_aligned!("../../ebpf/tracer.bpf.o");

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";
const TRACEPOINT: &str = "inet_sock_set_state";

/// Which way to listen to state changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HookChoice {
    /// Raw tracepoint where possible, else the classic one.
    #[default]
    Auto,
    /// Raw tracepoint or nothing.
    Raw,
    /// Classic tracepoint or nothing.
    Classic,
}

/// How to load.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// Which connections are wanted.
    pub filter: &'a Filter,
    /// Size of the ring buffer in bytes: a power of two, and at least a page.
    pub ring_bytes: u32,
    /// Which way to listen.
    pub hook: HookChoice,
    /// Whether the programs log each transition.
    pub debug_log: bool,
}

/// A ring large enough for the time between two looks at it, on a machine of this size.
pub fn default_ring_bytes() -> u32 {
    let cpus = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mebibytes = u32::try_from(cpus).unwrap_or(u32::MAX).clamp(2, 16) * 4;
    mebibytes.next_power_of_two() << 20
}

/// Attached programs. Dropping it detaches and frees all of them.
pub struct Kernel {
    ring: RingBuf<MapData>,
    counters: PerCpuArray<MapData, u64>,
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
    has_twin: bool,
    links: Vec<Link>,
    ebpf: Ebpf,
}

/// An attached program; dropping it detaches.
#[expect(dead_code, reason = "held to be dropped")]
enum Link {
    Raw(RawTracePointLink),
    Classic(TracePointLink),
}

impl Kernel {
    /// Loads and attaches all that this kernel allows.
    pub fn load(options: &Options<'_>) -> Result<Self, Error> {
        let tracefs = tracefs::find_or_mount();
        let layout = read_layout(&tracefs);
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

        let mut ebpf = create(options, &config)?;
        sets::fill(&mut ebpf, options.filter)?;
        let mut attach = Attach {
            ebpf: &mut ebpf,
            hooks: Vec::new(),
            links: Vec::new(),
        };
        let main_program = attach.state_hooks(options.hook, &layout)?;
        attach.accept(&layout);
        let Attach { hooks, links, .. } = attach;
        let has_twin = hooks
            .iter()
            .any(|hook| hook.purpose == TWIN_PURPOSE && hook.status == HookStatus::Attached);

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
            counters: PerCpuArray::try_from(take(&mut ebpf, names::COUNTERS)?)
                .map_err(|source| map_error(names::COUNTERS, source))?,
            logger,
            hooks,
            missing,
            found: layout.found,
            tracefs,
            main_program,
            has_twin,
            links,
            ebpf,
        };
        if kernel.refused_runs().is_none() {
            kernel.missing.push((
                "lost.reentry".to_owned(),
                "the kernel does not count the runs it refuses (Linux 5.12 and later do)"
                    .to_owned(),
            ));
        }
        Ok(kernel)
    }

    /// Whether accepted sockets are reported.
    pub fn sees_accept(&self) -> bool {
        self.hooks
            .iter()
            .any(|hook| hook.name == ACCEPT_HOOK && hook.status == HookStatus::Attached)
    }

    /// Hands over at most `budget` records; yields how many there were.
    pub fn drain(&mut self, budget: usize, mut each: impl FnMut(&[u8])) -> usize {
        for count in 0..budget {
            match self.ring.next() {
                Some(record) => each(&record),
                None => return count,
            }
        }
        budget
    }

    /// Stops listening; what was recorded before can still be drained. The last attached goes first, so
    /// that the twin never runs alone.
    pub fn detach(&mut self) {
        while let Some(link) = self.links.pop() {
            drop(link);
        }
    }

    /// Passes on what the programs have logged.
    pub fn flush_log(&mut self) {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
    }

    /// Events that did not arrive, since the start.
    pub fn losses(&self) -> Result<Lost, Error> {
        let refused = self.refused_runs().unwrap_or(0);
        losses::read(&self.counters, refused, self.has_twin)
            .map_err(|source| map_error(names::COUNTERS, source))
    }

    fn refused_runs(&self) -> Option<u64> {
        use std::os::fd::AsFd as _;
        let program = self.ebpf.program(self.main_program)?;
        losses::refused_runs(program.fd().ok()?.as_fd())
    }
}

/// Name under which the accept hook is reported.
const ACCEPT_HOOK: &str = "tracepoint:syscalls:sys_exit_accept*";
const TWIN_PURPOSE: &str = "transitions that the kernel refuses to run the first program for";

/// Size of the kernel's type information, or why it is not to be had.
pub fn btf_bytes() -> Result<u64, String> {
    fs::metadata(BTF_PATH)
        .map(|metadata| metadata.len())
        .map_err(|error| format!("cannot read {BTF_PATH}: {error}"))
}

fn read_layout(tracefs: &Result<TraceFs, String>) -> Layout {
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
    layout::resolve(
        btf.as_ref().map_err(Clone::clone),
        state.as_ref().map_err(Clone::clone),
        accept.as_ref().map_err(Clone::clone),
    )
}

fn create(options: &Options<'_>, config: &Config) -> Result<Ebpf, Error> {
    let level = if options.debug_log {
        aya_log::Level::Debug
    } else {
        aya_log::Level::Warn
    } as u8;
    let no_btf: Option<&AyaBtf> = None;
    let mut loader = EbpfLoader::new();
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
        } else {
            Error::Maps(error)
        }
    })
}

fn not_permitted() -> Error {
    let hint = if rustix::process::geteuid().is_root() {
        "hint: root may not either: a container without CAP_BPF and CAP_PERFMON, or a kernel that is \
         locked down; run it on the host"
    } else {
        "hint: run it as root, for example with sudo"
    };
    Error::NotPermitted {
        hint: hint.to_owned(),
    }
}

/// Attaches hook by hook and writes down how each went.
struct Attach<'e> {
    ebpf: &'e mut Ebpf,
    hooks: Vec<HookReport>,
    links: Vec<Link>,
}

impl Attach<'_> {
    /// The best way to hear of state changes; yields the name of the program in use.
    fn state_hooks(&mut self, choice: HookChoice, layout: &Layout) -> Result<&'static str, Error> {
        let raw = match (choice, &layout.raw) {
            (HookChoice::Classic, _) => Err("left out by --hook classic".to_owned()),
            (_, Err(reason)) => Err(reason.clone()),
            (_, Ok(())) => self.raw(names::STATE_RAW)?,
        };
        let attached = raw.is_ok();
        let twin = match &raw {
            Ok(()) => self.raw(names::STATE_RAW_TWIN)?,
            Err(_) => Err("only beside the raw tracepoint".to_owned()),
        };
        self.report(
            "raw_tracepoint:inet_sock_set_state",
            "state transitions",
            &raw,
        );
        self.report(
            "raw_tracepoint:inet_sock_set_state (twin)",
            TWIN_PURPOSE,
            &twin,
        );

        let classic_name = "tracepoint:sock:inet_sock_set_state";
        if attached {
            self.hooks.push(HookReport {
                name: classic_name.to_owned(),
                purpose: "state transitions, without the raw tracepoint".to_owned(),
                status: HookStatus::NotNeeded,
            });
            return Ok(names::STATE_RAW);
        }
        let classic = match (choice, &layout.classic) {
            (HookChoice::Raw, _) => Err("left out by --hook raw".to_owned()),
            (_, Err(reason)) => Err(reason.clone()),
            (_, Ok(())) => self.classic(names::STATE_CLASSIC, &[("sock", TRACEPOINT)])?,
        };
        self.report(
            classic_name,
            "state transitions, without the raw tracepoint",
            &classic,
        );
        if classic.is_ok() {
            return Ok(names::STATE_CLASSIC);
        }
        let reasons = self.hooks.iter().filter_map(|hook| match &hook.status {
            HookStatus::Unavailable(reason) => Some(format!("  {}: {reason}", hook.name)),
            HookStatus::Attached | HookStatus::NotNeeded => None,
        });
        Err(Error::NoHook {
            reasons: reasons.collect::<Vec<_>>().join("\n"),
        })
    }

    fn accept(&mut self, layout: &Layout) {
        let attached = layout.accept.clone().and_then(|()| {
            let calls = [
                ("syscalls", "sys_exit_accept4"),
                ("syscalls", "sys_exit_accept"),
            ];
            self.classic(names::ACCEPT_EXIT, &calls)
                .unwrap_or_else(|error| Err(error.to_string()))
        });
        self.report(ACCEPT_HOOK, "which process accepts a connection", &attached);
    }

    /// The outer error is final, the inner one a reason to do without.
    fn raw(&mut self, name: &'static str) -> Result<Result<(), String>, Error> {
        let program: &mut RawTracePoint = program(self.ebpf, name)?;
        let links = &mut self.links;
        outcome((|| {
            program.load()?;
            let id = program.attach(TRACEPOINT)?;
            links.push(Link::Raw(program.take_link(id)?));
            Ok(())
        })())
    }

    fn classic(
        &mut self,
        name: &'static str,
        tracepoints: &[(&str, &str)],
    ) -> Result<Result<(), String>, Error> {
        let program: &mut TracePoint = program(self.ebpf, name)?;
        let links = &mut self.links;
        outcome((|| {
            program.load()?;
            for (group, name) in tracepoints {
                let id = program.attach(group, name)?;
                links.push(Link::Classic(program.take_link(id)?));
            }
            Ok(())
        })())
    }

    fn report(&mut self, name: &str, purpose: &str, outcome: &Result<(), String>) {
        self.hooks.push(HookReport {
            name: name.to_owned(),
            purpose: purpose.to_owned(),
            status: match outcome {
                Ok(()) => HookStatus::Attached,
                Err(reason) => HookStatus::Unavailable(reason.clone()),
            },
        });
    }
}

fn outcome(attached: Result<(), ProgramError>) -> Result<Result<(), String>, Error> {
    match attached {
        Ok(()) => Ok(Ok(())),
        Err(error) => {
            let reason = describe(&error);
            if is_permission(&EbpfError::from(error)) && !rustix::process::geteuid().is_root() {
                return Err(not_permitted());
            }
            Ok(Err(reason))
        }
    }
}

fn program<'e, P>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut P, Error>
where
    &'e mut P: TryFrom<&'e mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(Error::Incomplete(name))?;
    program.try_into().map_err(|_| Error::Incomplete(name))
}

fn take(ebpf: &mut Ebpf, name: &'static str) -> Result<aya::maps::Map, Error> {
    ebpf.take_map(name).ok_or(Error::Incomplete(name))
}

fn map_error(name: &'static str, source: aya::maps::MapError) -> Error {
    Error::Map { name, source }
}
