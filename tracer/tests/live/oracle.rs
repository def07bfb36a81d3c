//! The kernel's own record of `sock:inet_sock_set_state`, to hold tracer's output against.
//!
//! An ftrace instance of its own on the same tracepoint shares nothing with tracer but the
//! tracepoint: neither BPF nor the ring buffer nor the decoder. ftrace's text leaves the socket's
//! address out, so the pages of its buffer are read in binary ([`ring`]) by the `format` file.
//!
//! The record names no network namespace: tests tell their sockets apart by addresses and ports that
//! nothing else on the machine uses. Every TCP socket of a test has one of those ports on one of its
//! sides in each of its events, so only these are recorded, however busy the machine is; and all of
//! MPTCP, where the first event of a client has no port at all.

mod format;
mod ring;

use std::fs;
use std::io::{self, Read};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

use format::Format;
use ring::PageLayout;

const TRACEFS: &str = "/sys/kernel/tracing";
const EVENT: &str = "events/sock/inet_sock_set_state";

/// One record of the tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) mono_ns: u64,
    pub(crate) skaddr: u64,
    /// As the kernel names it in the event's print format, or its number.
    pub(crate) old: String,
    pub(crate) new: String,
    pub(crate) family: u16,
    pub(crate) protocol: u16,
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
    /// The task that ran, or was interrupted: a thread id.
    pub(crate) task: u32,
}

/// An ftrace instance that records; gone when dropped.
pub(crate) struct Oracle {
    instance: PathBuf,
    format: Format,
}

impl Oracle {
    /// Starts recording sockets with one of these ports on either side, with room for `buffer_kib` of
    /// events on each CPU.
    pub(crate) fn start(ports: &Range<u16>, buffer_kib: u32) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let tracefs = tracefs()?;
        let name = format!(
            "tracer-test-{}-{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let instance = tracefs.join("instances").join(name);
        fs::create_dir(&instance).context("cannot make an ftrace instance")?;
        // From here on dropping it removes the instance.
        let mut oracle = Self {
            instance,
            format: Format::default(),
        };
        let description = fs::read_to_string(tracefs.join(EVENT).join("format"))?;
        oracle.format = Format::parse(&description)?;
        oracle.set("trace_clock", "mono")?;
        oracle.set("buffer_size_kb", &buffer_kib.to_string())?;
        let Range { start, end } = ports;
        let within = |field| format!("({field} >= {start} && {field} < {end})");
        let (local, remote) = (within("sport"), within("dport"));
        let filter = format!("{local} || {remote} || protocol == 262");
        oracle.set(&format!("{EVENT}/filter"), &filter)?;
        oracle.set(&format!("{EVENT}/enable"), "1")?;
        Ok(oracle)
    }

    /// Stops recording and gives what was recorded, in the order of time. Fails if anything is missing.
    pub(crate) fn finish(self) -> Result<Vec<Record>> {
        self.set(&format!("{EVENT}/enable"), "0")?;
        self.set("tracing_on", "0")?;
        // The kernel gives this file to one read, whatever its size.
        let mut header_page = [0; 4096];
        let filled =
            fs::File::open(tracefs()?.join("events/header_page"))?.read(&mut header_page)?;
        let header_page = String::from_utf8_lossy(header_page.get(..filled).unwrap_or_default());
        let layout = PageLayout::parse(&header_page)?;
        let mut records = Vec::new();
        for cpu in fs::read_dir(self.instance.join("per_cpu"))? {
            let cpu = cpu?.path();
            refuse_gaps(&cpu)?;
            let mut pipe = open_nonblocking(&cpu.join("trace_pipe_raw"))?;
            let mut page = vec![0; layout.page_bytes()];
            loop {
                match pipe.read(&mut page) {
                    Ok(0) => break,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error).context("cannot read trace_pipe_raw"),
                    Ok(filled) => {
                        for entry in layout.entries(page.get(..filled).unwrap_or_default())? {
                            records.extend(self.format.record(entry.mono_ns, entry.payload)?);
                        }
                    }
                }
            }
            refuse_gaps(&cpu)?;
        }
        records.sort_by_key(|record| record.mono_ns);
        Ok(records)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.set(&format!("{EVENT}/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Where tracefs is; mounts it if it is nowhere.
fn tracefs() -> Result<PathBuf> {
    for place in [TRACEFS, "/sys/kernel/debug/tracing"] {
        if Path::new(place).join("instances").is_dir() {
            return Ok(place.into());
        }
    }
    rustix::mount::mount(
        "tracefs",
        TRACEFS,
        "tracefs",
        rustix::mount::MountFlags::empty(),
        None,
    )
    .context("cannot mount tracefs")?;
    Ok(TRACEFS.into())
}

/// Fails if a CPU's buffer lost events.
fn refuse_gaps(cpu: &Path) -> Result<()> {
    let stats = fs::read_to_string(cpu.join("stats"))?;
    for name in ["overrun", "commit overrun", "dropped events"] {
        let count = stats
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
            .with_context(|| format!("ftrace has no count of {name}"))?;
        ensure!(
            count.trim() == "0",
            "the oracle lost events ({name}: {count}): give it a larger buffer"
        );
    }
    Ok(())
}

fn open_nonblocking(path: &Path) -> Result<fs::File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let fd = rustix::fs::open(path, flags, Mode::empty())
        .with_context(|| format!("cannot open {}", path.display()))?;
    Ok(fd.into())
}

impl Format {
    /// One event of the buffer; nothing if it is of another kind.
    fn record(&self, mono_ns: u64, payload: &[u8]) -> Result<Option<Record>> {
        if self.number(payload, "common_type")? != self.id {
            return Ok(None);
        }
        let family = u16::try_from(self.number(payload, "family")?)?;
        let (local, remote) = match family {
            2 => (
                self.v4(payload, "saddr", "saddr_v6")?.into(),
                self.v4(payload, "daddr", "daddr_v6")?.into(),
            ),
            10 => (
                self.v6(payload, "saddr_v6")?.into(),
                self.v6(payload, "daddr_v6")?.into(),
            ),
            other => bail!("address family {other}"),
        };
        let port = |name| anyhow::Ok(u16::try_from(self.number(payload, name)?)?);
        Ok(Some(Record {
            mono_ns,
            skaddr: self.number(payload, "skaddr")?,
            old: self.state(self.number(payload, "oldstate")?),
            new: self.state(self.number(payload, "newstate")?),
            family,
            protocol: u16::try_from(self.number(payload, "protocol")?)?,
            local: (local, port("sport")?),
            remote: (remote, port("dport")?),
            task: u32::try_from(self.number(payload, "common_pid")?)?,
        }))
    }

    fn v6(&self, payload: &[u8], name: &str) -> Result<Ipv6Addr> {
        let octets: [u8; 16] = self.bytes(payload, name)?.try_into()?;
        Ok(octets.into())
    }

    /// An IPv4 address, which the record holds twice.
    fn v4(&self, payload: &[u8], name: &str, mapped: &str) -> Result<Ipv4Addr> {
        let octets: [u8; 4] = self.bytes(payload, name)?.try_into()?;
        let addr = Ipv4Addr::from(octets);
        ensure!(
            self.v6(payload, mapped)? == addr.to_ipv6_mapped(),
            "the kernel's record has two values for {name}"
        );
        Ok(addr)
    }
}
