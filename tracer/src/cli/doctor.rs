//! `tracer doctor`: can this machine run tracer, and if not, what mends it. Decided by trying: the
//! programs are loaded and attached, and one loopback connection has to show up.

mod selftest;

use serde::Serialize;

use super::args::DoctorArgs;
use super::exit::{Exit, Failure, print};
use super::logging;
use crate::enrich::Enricher;
use crate::filter::Filter;
use crate::kernel::{self, Kernel, Options, Snapshot, Taking, default_ring_bytes, machine_facts};
use crate::session::{HookStatus, SnapshotReport, SnapshotStatus};

/// One line of the report.
#[derive(Debug, Serialize)]
struct Check {
    name: String,
    status: Status,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fix: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    /// As it should be.
    Ok,
    /// tracer runs, with less.
    Degraded,
    /// tracer cannot run.
    Failed,
    /// Could not be tried, because of a failure above.
    Skipped,
}

#[derive(Debug, Serialize)]
struct Report {
    #[serde(rename = "type")]
    kind: &'static str,
    tracer: &'static str,
    ok: bool,
    checks: Vec<Check>,
    /// Fields of the kernel found, as `structure.field@offset`.
    fields: Vec<String>,
}

pub(super) fn run(arguments: &DoctorArgs) -> Result<Exit, Failure> {
    logging::init(0);
    kernel::raise_file_limit();
    let mut doctor = Doctor::default();
    let exit = doctor.examine();
    let report = Report {
        kind: "doctor",
        tracer: env!("CARGO_PKG_VERSION"),
        ok: exit == Exit::Ok,
        checks: doctor.checks,
        fields: doctor.fields,
    };
    let text = if arguments.json {
        serde_json::to_string_pretty(&report).map_err(|error| Failure::new(Exit::Failed, error))?
            + "\n"
    } else {
        report.to_text()
    };
    print(&text).map(|_| exit)
}

impl Report {
    fn to_text(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::new();
        for check in &self.checks {
            let mark = match check.status {
                Status::Ok => "ok      ",
                Status::Degraded => "degraded",
                Status::Failed => "FAILED  ",
                Status::Skipped => "skipped ",
            };
            let _ = writeln!(text, "{mark}  {}: {}", check.name, check.detail);
            if let Some(fix) = &check.fix {
                let _ = writeln!(text, "          hint: {fix}");
            }
        }
        let degraded = self
            .checks
            .iter()
            .any(|check| check.status == Status::Degraded);
        text.push_str(match (self.ok, degraded) {
            (true, false) => "\ntracer runs here with everything it has\n",
            (true, true) => "\ntracer runs here, without what is marked degraded\n",
            (false, _) => "\ntracer cannot run here\n",
        });
        text
    }
}

#[derive(Default)]
struct Doctor {
    checks: Vec<Check>,
    fields: Vec<String>,
}

impl Doctor {
    fn examine(&mut self) -> Exit {
        let (_, release, arch, _) = machine_facts();
        self.add(
            "kernel",
            Status::Ok,
            format!("Linux {release} on {arch}"),
            None,
        );
        self.privileges();
        self.btf();

        self.cgroups();

        let listener = selftest::listen();
        let port = listener.as_ref().map_or(0, selftest::Loopback::port);
        let filter = Filter {
            ports: port.to_string().parse().unwrap_or_default(),
            ..Filter::default()
        };
        let loaded = Kernel::load(&Options {
            filter: &filter,
            ring_bytes: default_ring_bytes(),
            hook: kernel::HookChoice::Auto,
            functions: true,
            debug_log: false,
        });
        match loaded {
            Ok(mut kernel) => {
                kernel.ask_for_fates();
                self.loaded(&kernel);
                self.snapshot();
                self.self_test(&mut kernel, listener)
            }
            Err(error) => {
                self.tracefs(&kernel::find_or_mount().map(|tracefs| tracefs.describe()));
                self.not_loaded(error)
            }
        }
    }

    fn add(&mut self, name: &str, status: Status, detail: impl Into<String>, fix: Option<String>) {
        self.checks.push(Check {
            name: name.to_owned(),
            status,
            detail: detail.into(),
            fix,
        });
    }

    fn privileges(&mut self) {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let uid = rustix::process::geteuid().as_raw();
        let Some(missing) = missing_capabilities(&status) else {
            let detail = format!("user id {uid}; cannot read capabilities from /proc/self/status");
            return self.add("privileges", Status::Degraded, detail, None);
        };
        let mapped = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        if !mapped.is_empty() && !covers_all_users(&mapped) {
            let detail =
                format!("user id {uid} of a user namespace, which has no say over the kernel");
            let fix = "run it outside the namespace or container".to_owned();
            return self.add("privileges", Status::Failed, detail, Some(fix));
        }
        if missing.is_empty() {
            let detail = format!("user id {uid}, with the capabilities to load BPF programs");
            return self.add("privileges", Status::Ok, detail, None);
        }
        self.add(
            "privileges",
            Status::Failed,
            format!("user id {uid}, without {}", missing.join(", ")),
            Some("run it as root: sudo tracer doctor".to_owned()),
        );
    }

    fn btf(&mut self) {
        match kernel::btf_bytes() {
            Ok(bytes) => {
                let detail = format!("{} MiB of type information", bytes.div_ceil(1 << 20));
                self.add("BTF", Status::Ok, detail, None);
            }
            Err(reason) => self.add(
                "BTF",
                Status::Degraded,
                reason,
                Some("use a kernel built with CONFIG_DEBUG_INFO_BTF=y (the default of all large distributions)".to_owned()),
            ),
        }
    }

    fn cgroups(&mut self) {
        let enricher = Enricher::default();
        match enricher.missing() {
            None => self.add("cgroups", Status::Ok, enricher.describe(), None),
            Some((_, reason)) => self.add("cgroups", Status::Degraded, reason, None),
        }
    }

    fn tracefs(&mut self, found: &Result<String, String>) {
        match found {
            Ok(detail) => self.add("tracefs", Status::Ok, detail, None),
            Err(reason) => self.add("tracefs", Status::Degraded, reason, None),
        }
    }

    fn loaded(&mut self, kernel: &Kernel) {
        let tracefs = kernel.tracefs.as_ref();
        self.tracefs(&tracefs.map(kernel::TraceFs::describe).map_err(Clone::clone));
        let ring = format!("{} MiB", default_ring_bytes() >> 20);
        self.add("ring buffer", Status::Ok, ring, None);
        for hook in &kernel.hooks {
            let (status, detail) = match &hook.status {
                HookStatus::Attached => (Status::Ok, format!("attached: {}", hook.purpose)),
                HookStatus::NotNeeded => (
                    Status::Ok,
                    "not needed: a better hook is attached".to_owned(),
                ),
                HookStatus::Unavailable(reason) => (
                    Status::Degraded,
                    format!("{reason} (for: {})", hook.purpose),
                ),
            };
            self.add(&hook.name, status, detail, None);
        }
        let found = format!("{} of the running kernel's are known", kernel.found.len());
        self.add("event fields", Status::Ok, found, None);
        self.fields.clone_from(&kernel.found);
        for (field, reason) in &kernel.missing {
            self.add(
                &format!("event field {field}"),
                Status::Degraded,
                reason,
                None,
            );
        }
    }

    /// Takes the list that a trace begins with.
    fn snapshot(&mut self) {
        let report = Taking::start(&[]).map_or_else(
            |error| Snapshot::unavailable(error.to_string()).report,
            |taking| taking.finish().report,
        );
        let (status, detail) = describe_snapshot(&report);
        self.add("connections older than a trace", status, detail, None);
    }

    fn not_loaded(&mut self, error: kernel::Error) -> Exit {
        let failure = Failure::from(error);
        let (message, hint) = failure.message_and_hint();
        self.add("kernel programs", Status::Failed, message, hint);
        self.add(
            "self-test",
            Status::Skipped,
            "the kernel programs are not loaded",
            None,
        );
        failure.exit()
    }

    fn self_test(
        &mut self,
        kernel: &mut Kernel,
        listener: Result<selftest::Loopback, std::io::Error>,
    ) -> Exit {
        match selftest::run(kernel, listener) {
            Ok((complete, detail)) => {
                let status = if complete {
                    Status::Ok
                } else {
                    Status::Degraded
                };
                self.add("self-test", status, detail, None);
                Exit::Ok
            }
            Err(reason) => {
                self.add("self-test", Status::Failed, reason, None);
                Exit::Unsupported
            }
        }
    }
}

fn describe_snapshot(report: &SnapshotReport) -> (Status, String) {
    let missing: Vec<String> = report
        .missing
        .iter()
        .map(|(what, reason)| format!("{what}: {reason}"))
        .collect();
    if report.status == SnapshotStatus::Unavailable {
        return (
            Status::Degraded,
            format!("not known: {}", missing.join("; ")),
        );
    }
    let mut detail = format!(
        "{} connections and listeners in {} network namespaces, listed within {} ms",
        report.sockets,
        report.namespaces,
        report.duration_ns.div_ceil(1_000_000)
    );
    if missing.is_empty() {
        return (Status::Ok, detail);
    }
    detail.push_str("; without ");
    detail.push_str(&missing.join("; "));
    (Status::Degraded, detail)
}

/// Whether this is the initial user namespace: all ids map to themselves.
fn covers_all_users(uid_map: &str) -> bool {
    uid_map.split_whitespace().eq(["0", "0", "4294967295"])
}

/// Of those needed to load and attach the programs: `None` if the text does not tell.
fn missing_capabilities(status: &str) -> Option<Vec<&'static str>> {
    const SYS_ADMIN: u32 = 21;
    const NEEDED: [(&str, u32); 2] = [("CAP_PERFMON", 38), ("CAP_BPF", 39)];
    let text = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    let effective = u64::from_str_radix(text.trim(), 16).ok()?;
    let has = |bit: u32| effective & (1 << bit) != 0;
    if has(SYS_ADMIN) {
        return Some(Vec::new());
    }
    Some(
        NEEDED
            .iter()
            .filter(|(_, bit)| !has(*bit))
            .map(|(name, _)| *name)
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities() {
        let status = |mask: &str| format!("Name:\tx\nCapEff:\t{mask}\nCapBnd:\t0\n");
        assert_eq!(
            missing_capabilities(&status("000001fffeffffff")),
            Some(vec![])
        );
        assert_eq!(
            missing_capabilities(&status("000000c000000000")),
            Some(vec![])
        );
        assert_eq!(
            missing_capabilities(&status("0000000000000000")),
            Some(vec!["CAP_PERFMON", "CAP_BPF"])
        );
        assert_eq!(missing_capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn a_list_says_what_it_lacks() {
        let mut report = SnapshotReport {
            status: SnapshotStatus::Complete,
            sockets: 41,
            namespaces: 2,
            duration_ns: 3_100_000,
            missing: Vec::new(),
        };
        let listed = "41 connections and listeners in 2 network namespaces, listed within 4 ms";
        assert_eq!(describe_snapshot(&report), (Status::Ok, listed.to_owned()));
        report.status = SnapshotStatus::Partial;
        report.missing.push((
            "owners".to_owned(),
            "3 processes cannot be looked at".to_owned(),
        ));
        let partial = format!("{listed}; without owners: 3 processes cannot be looked at");
        assert_eq!(describe_snapshot(&report), (Status::Degraded, partial));
        report.status = SnapshotStatus::Unavailable;
        let none = "not known: owners: 3 processes cannot be looked at".to_owned();
        assert_eq!(describe_snapshot(&report), (Status::Degraded, none));
    }

    #[test]
    fn report_says_what_mends_it() {
        let mut doctor = Doctor::default();
        doctor.add(
            "BTF",
            Status::Degraded,
            "cannot be read",
            Some("do this".into()),
        );
        let report = Report {
            kind: "doctor",
            tracer: "0",
            ok: true,
            checks: doctor.checks,
            fields: Vec::new(),
        };
        assert_eq!(
            report.to_text(),
            "degraded  BTF: cannot be read\n          hint: do this\n\n\
             tracer runs here, without what is marked degraded\n"
        );
    }
}
