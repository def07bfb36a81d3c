//! Functions of the kernel, listened to by fentry where the kernel lets us, else by kprobe: each is tried.

use std::path::Path;

use aya::programs::{FEntry, FExit, KProbe, ProgramError};
use aya::{Btf as AyaBtf, Endianness};
use tracer_common::names;

use super::attach::{Attach, Link, program};
use super::error::{Error, describe, has_os_error};
use super::layout::Layout;
use crate::session::{HookReport, HookStatus};

/// Under all their names.
pub(super) const NAMES: [&str; 7] = [
    "inet_csk_accept",
    "inet_twsk_hashdance_schedule",
    "inet_twsk_hashdance",
    "tcp_time_wait",
    "__inet_twsk_schedule",
    "inet_twsk_kill",
    "inet_csk_reqsk_queue_hash_add",
];

const EPERM: i32 = 1;

/// A function and the programs for it.
struct Function {
    /// Its names, of which a kernel has one.
    names: &'static [&'static str],
    /// All of them, for people.
    shown: &'static str,
    purpose: &'static str,
    fentry: &'static str,
    kprobe: &'static str,
    returns: bool,
}

const ACCEPT: Function = Function {
    names: &["inet_csk_accept"],
    shown: "inet_csk_accept",
    purpose: "which process accepts a connection, by whatever call",
    fentry: names::ACCEPTED,
    kprobe: names::ACCEPTED_KRETPROBE,
    returns: true,
};

const MINI_BORN: Function = Function {
    names: &["inet_twsk_hashdance_schedule", "inet_twsk_hashdance"],
    shown: "inet_twsk_hashdance*",
    purpose: "FIN_WAIT_2 and TIME_WAIT of closed sockets",
    fentry: names::MINI_BORN,
    kprobe: names::MINI_BORN_KPROBE,
    returns: false,
};

const TIME_WAIT: Function = Function {
    names: &["tcp_time_wait"],
    shown: "tcp_time_wait",
    purpose: "the same, where their beginning cannot be seen",
    fentry: names::TIME_WAIT,
    kprobe: names::TIME_WAIT_KPROBE,
    returns: false,
};

const REST: [Function; 3] = [
    Function {
        names: &["__inet_twsk_schedule"],
        shown: "__inet_twsk_schedule",
        purpose: "when FIN_WAIT_2 becomes TIME_WAIT",
        fentry: names::MINI_TIMER,
        kprobe: names::MINI_TIMER_KPROBE,
        returns: false,
    },
    Function {
        names: &["inet_twsk_kill"],
        shown: "inet_twsk_kill",
        purpose: "the end of FIN_WAIT_2 and TIME_WAIT",
        fentry: names::MINI_END,
        kprobe: names::MINI_END_KPROBE,
        returns: false,
    },
    Function {
        names: &["inet_csk_reqsk_queue_hash_add"],
        shown: "inet_csk_reqsk_queue_hash_add",
        purpose: "half-open connections, from their SYN on",
        fentry: names::REQUEST,
        kprobe: names::REQUEST_KPROBE,
        returns: false,
    },
];

/// Ways to listen to functions, each with why it is closed to all of them.
struct Ways {
    fentry: Result<AyaBtf, String>,
    kprobe: Result<(), String>,
}

impl Ways {
    fn find(layout: &Layout, wanted: bool) -> Self {
        let index = AyaBtf::parse(&layout.function_index, Endianness::Little);
        let kprobes = Path::new("/sys/bus/event_source/devices/kprobe").exists();
        let known = if wanted {
            layout.functions.clone()
        } else {
            Err("left out by --no-functions".to_owned())
        };
        Self {
            fentry: known
                .clone()
                .and_then(|()| index.map_err(|error| format!("kernel BTF: {error}"))),
            kprobe: known.and_then(|()| {
                let has_none = || "kprobe: this kernel has none".to_owned();
                kprobes.then_some(()).ok_or_else(has_none)
            }),
        }
    }
}

impl Attach<'_> {
    /// Listens to the functions that tell of what has no socket. The end of a mini-socket before its birth:
    /// none is born whose end could be missed. Where they are not `wanted`, each is said to be left out.
    pub(super) fn functions(&mut self, layout: &Layout, wanted: bool) {
        let mut ways = Ways::find(layout, wanted);
        for function in REST.iter().rev() {
            self.function(function, &mut ways);
        }
        if self.function(&MINI_BORN, &mut ways) {
            self.hooks.push(HookReport {
                name: "function:tcp_time_wait".to_owned(),
                purpose: TIME_WAIT.purpose.to_owned(),
                status: HookStatus::NotNeeded,
            });
        } else {
            self.function(&TIME_WAIT, &mut ways);
        }
        self.accepts_by_function = self.function(&ACCEPT, &mut ways);
    }

    fn function(&mut self, function: &Function, ways: &mut Ways) -> bool {
        let mut reasons: Vec<String> = Vec::new();
        let mut note = |reason: &String| {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        };
        for fentry in [true, false] {
            let (kind, used) = match (fentry, function.returns) {
                (true, false) => ("fentry", function.fentry),
                (true, true) => ("fexit", function.fentry),
                (false, false) => ("kprobe", function.kprobe),
                (false, true) => ("kretprobe", function.kprobe),
            };
            for name in function.names {
                let attached = if fentry {
                    self.fentry(function, name, ways)
                } else if let Err(reason) = &ways.kprobe {
                    Err(reason.clone())
                } else {
                    self.kprobe(used, name)
                        .map_err(|reason| format!("{kind}: {reason}"))
                };
                match attached {
                    Ok(()) => {
                        self.evidence.push(used);
                        let hook = format!("{kind}:{}", function.shown);
                        self.report(&hook, function.purpose, &Ok(()));
                        return true;
                    }
                    Err(reason) => note(&reason),
                }
            }
        }
        let hook = format!("function:{}", function.shown);
        self.report(&hook, function.purpose, &Err(reasons.join("; ")));
        false
    }

    fn fentry(
        &mut self,
        function: &Function,
        name: &'static str,
        ways: &mut Ways,
    ) -> Result<(), String> {
        let btf = ways.fentry.as_ref().map_err(Clone::clone)?;
        let attached = if function.returns {
            let program: &mut FExit = named(program(self.ebpf, function.fentry))?;
            (|| {
                if program.fd().is_err() {
                    program.load(name, btf)?;
                }
                let id = program.attach()?;
                program.take_link(id).map(Link::FExit)
            })()
        } else {
            let program: &mut FEntry = named(program(self.ebpf, function.fentry))?;
            (|| {
                if program.fd().is_err() {
                    program.load(name, btf)?;
                }
                let id = program.attach()?;
                program.take_link(id).map(Link::FEntry)
            })()
        };
        match attached {
            Ok(link) => {
                self.links.push(link);
                Ok(())
            }
            Err(error) => {
                let reason = format!("fentry: {}", describe(&error));
                // Not this program, but all of its type.
                if has_os_error(&error, &[EPERM]) {
                    ways.fentry = Err(reason.clone());
                }
                Err(reason)
            }
        }
    }

    fn kprobe(&mut self, used: &'static str, name: &str) -> Result<(), String> {
        let program: &mut KProbe = named(program(self.ebpf, used))?;
        let link = (|| -> Result<_, ProgramError> {
            if program.fd().is_err() {
                program.load()?;
            }
            let id = program.attach(name, 0)?;
            program.take_link(id)
        })();
        self.links
            .push(Link::KProbe(link.map_err(|error| describe(&error))?));
        Ok(())
    }
}

fn named<T>(found: Result<T, Error>) -> Result<T, String> {
    found.map_err(|error| error.to_string())
}
