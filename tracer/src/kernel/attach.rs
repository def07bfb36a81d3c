//! Attaches the kernel programs, hook by hook, and writes down how each went.

use aya::programs::fentry::FEntryLink;
use aya::programs::fexit::FExitLink;
use aya::programs::kprobe::KProbeLink;
use aya::programs::raw_trace_point::RawTracePointLink;
use aya::programs::trace_point::TracePointLink;
use aya::programs::{ProgramError, RawTracePoint, TracePoint};
use aya::{Ebpf, EbpfError};
use tracer_common::names;

use super::error::{Error, describe, is_file_limit, is_permission, not_permitted};
use super::layout::Layout;
use crate::session::{HookReport, HookStatus};

/// Tracepoint of the state programs.
pub(super) const TRACEPOINT: &str = "inet_sock_set_state";

/// Name under which the accept hook is reported.
pub(super) const ACCEPT_HOOK: &str = "tracepoint:syscalls:sys_exit_accept*";
const TWIN_PURPOSE: &str = "transitions that the kernel refuses to run the first program for";

/// Program, group and name of the tracepoint, purpose.
const EVIDENCE: [(&str, &str, &str, &str); 6] = [
    (
        names::RETRANSMIT,
        "tcp",
        "tcp_retransmit_skb",
        "segments sent again",
    ),
    (
        names::RESET_RECEIVED,
        "tcp",
        "tcp_receive_reset",
        "resets from the peer",
    ),
    (
        names::RESET_SENT,
        "tcp",
        "tcp_send_reset",
        "resets from this side, and why",
    ),
    (
        names::SOCKET_ERROR,
        "sock",
        "inet_sk_error_report",
        "errors told to the application",
    ),
    (
        names::SYNACK,
        "tcp",
        "tcp_retransmit_synack",
        "half-open connections without an answer",
    ),
    (
        names::DESTROYED,
        "tcp",
        "tcp_destroy_sock",
        "ends of connections, after a loss",
    ),
];

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

/// An attached program; dropping it detaches.
#[expect(dead_code, reason = "held to be dropped")]
pub(super) enum Link {
    Raw(RawTracePointLink),
    Classic(TracePointLink),
    FEntry(FEntryLink),
    FExit(FExitLink),
    KProbe(KProbeLink),
}

impl Link {
    /// The kernel waits, for some 60 ms each, until nobody can be in the program of a perf event any more.
    pub(super) fn is_slow_to_drop(&self) -> bool {
        matches!(self, Self::Classic(_) | Self::KProbe(_))
    }
}

/// Attaches hook by hook and writes down how each went.
pub(super) struct Attach<'e> {
    pub(super) ebpf: &'e mut Ebpf,
    /// The tracepoints of the accept calls are not needed.
    pub(super) accepts_by_function: bool,
    pub(super) hooks: Vec<HookReport>,
    pub(super) links: Vec<Link>,
    /// Programs for evidence that are attached.
    pub(super) evidence: Vec<&'static str>,
    /// Something was refused for lack of privileges.
    denied: bool,
}

impl<'e> Attach<'e> {
    pub(super) fn new(ebpf: &'e mut Ebpf) -> Self {
        Self {
            ebpf,
            accepts_by_function: false,
            hooks: Vec::new(),
            links: Vec::new(),
            evidence: Vec::new(),
            denied: false,
        }
    }

    /// The best way to hear of state changes; yields the name of the program in use.
    pub(super) fn state_hooks(
        &mut self,
        choice: HookChoice,
        layout: &Layout,
    ) -> Result<&'static str, Error> {
        let raw = match (choice, &layout.raw) {
            (HookChoice::Classic, _) => Err("left out by --hook classic".to_owned()),
            (_, Err(reason)) => Err(reason.clone()),
            (_, Ok(())) => self.raw(names::STATE_RAW, TRACEPOINT)?,
        };
        let attached = raw.is_ok();
        let twin = match &raw {
            Ok(()) => self.raw(names::STATE_RAW_TWIN, TRACEPOINT)?,
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
        if self.denied {
            return Err(not_permitted());
        }
        let reasons = self.hooks.iter().filter_map(|hook| match &hook.status {
            HookStatus::Unavailable(reason) => Some(format!("  {}: {reason}", hook.name)),
            HookStatus::Attached | HookStatus::NotNeeded => None,
        });
        Err(Error::NoHook {
            reasons: reasons.collect::<Vec<_>>().join("\n"),
        })
    }

    pub(super) fn accept(&mut self, layout: &Layout) {
        if self.accepts_by_function {
            self.hooks.push(HookReport {
                name: ACCEPT_HOOK.to_owned(),
                purpose: "which process accepts a connection".to_owned(),
                status: HookStatus::NotNeeded,
            });
            return;
        }
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

    pub(super) fn accept_io_uring(&mut self, layout: &Layout) {
        let name = "raw_tracepoint:io_uring:io_uring_complete";
        let purpose = "which process accepts a connection by io_uring";
        if self.accepts_by_function {
            self.hooks.push(HookReport {
                name: name.to_owned(),
                purpose: purpose.to_owned(),
                status: HookStatus::NotNeeded,
            });
            return;
        }
        let attached = layout.io_uring.clone().and_then(|()| {
            self.raw(names::ACCEPT_IO_URING, "io_uring_complete")
                .unwrap_or_else(|error| Err(error.to_string()))
        });
        if attached.is_ok() {
            self.evidence.push(names::ACCEPT_IO_URING);
        }
        self.report(name, purpose, &attached);
    }

    pub(super) fn evidence(&mut self, layout: &Layout) {
        for (program, group, tracepoint, purpose) in EVIDENCE {
            let attached = layout.evidence.clone().and_then(|()| {
                self.raw(program, tracepoint)
                    .unwrap_or_else(|error| Err(error.to_string()))
            });
            if attached.is_ok() {
                self.evidence.push(program);
            }
            self.report(
                &format!("raw_tracepoint:{group}:{tracepoint}"),
                purpose,
                &attached,
            );
        }
    }

    /// The outer error is final, the inner one a reason to do without.
    fn raw(&mut self, name: &'static str, tracepoint: &str) -> Result<Result<(), String>, Error> {
        let program: &mut RawTracePoint = program(self.ebpf, name)?;
        let links = &mut self.links;
        let attached = (|| {
            program.load()?;
            let id = program.attach(tracepoint)?;
            links.push(Link::Raw(program.take_link(id)?));
            Ok(())
        })();
        self.outcome(attached)
    }

    fn classic(
        &mut self,
        name: &'static str,
        tracepoints: &[(&str, &str)],
    ) -> Result<Result<(), String>, Error> {
        let program: &mut TracePoint = program(self.ebpf, name)?;
        let links = &mut self.links;
        let attached = (|| {
            program.load()?;
            for (group, name) in tracepoints {
                let id = program.attach(group, name)?;
                links.push(Link::Classic(program.take_link(id)?));
            }
            Ok(())
        })();
        self.outcome(attached)
    }

    fn outcome(&mut self, attached: Result<(), ProgramError>) -> Result<Result<(), String>, Error> {
        let Err(error) = attached else {
            return Ok(Ok(()));
        };
        let reason = describe(&error);
        let error = EbpfError::from(error);
        if is_file_limit(&error) {
            return Err(Error::FileLimit);
        }
        self.denied |= is_permission(&error);
        Ok(Err(reason))
    }

    pub(super) fn report(&mut self, name: &str, purpose: &str, outcome: &Result<(), String>) {
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

pub(super) fn program<'e, P>(ebpf: &'e mut Ebpf, name: &'static str) -> Result<&'e mut P, Error>
where
    &'e mut P: TryFrom<&'e mut aya::programs::Program, Error = ProgramError>,
{
    let program = ebpf.program_mut(name).ok_or(Error::Incomplete(name))?;
    program.try_into().map_err(|_| Error::Incomplete(name))
}
