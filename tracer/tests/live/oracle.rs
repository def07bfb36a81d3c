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
const RETRANSMIT: &str = "events/tcp/tcp_retransmit_skb";
const RETRANSMIT_SYNACK: &str = "events/tcp/tcp_retransmit_synack";

/// One record of the tracepoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) mono_ns: u64,
    /// Records of one CPU are in the order in which they were made.
    pub(crate) cpu: u32,
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

/// Something was sent again.
#[derive(Clone, Debug)]
pub(crate) struct Resent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub(crate) mono_ns: u64,
    /// Of the socket; of the listener where a half-open connection has none of its own.
    pub(crate) skaddr: u64,
    /// The kernel's name for the state of the socket; nothing for the SYN-ACK of a half-open connection.
    pub(crate) state: Option<String>,
    /// Not v4-mapped, here and below.
    pub(crate) local: (IpAddr, u16),
    pub(crate) remote: (IpAddr, u16),
    /// The task that ran, or was interrupted: a thread id.
    pub(crate) task: u32,
}

/// All that was recorded, each in the order of time.
pub(crate) struct Recording {
    pub(crate) records: Vec<Record>,
    pub(crate) resent: Vec<Resent>,
}

/// An ftrace instance that records; gone when dropped.
pub(crate) struct Oracle {
    instance: PathBuf,
    format: Format,
    retransmit: Format,
    retransmit_synack: Format,
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
        let oracle = Self {
            instance,
            format: format_of(&tracefs, EVENT)?,
            retransmit: format_of(&tracefs, RETRANSMIT)?,
            retransmit_synack: format_of(&tracefs, RETRANSMIT_SYNACK)?,
        };
        oracle.format.ensure_states()?;
        oracle.set("trace_clock", "mono")?;
        oracle.set("buffer_size_kb", &buffer_kib.to_string())?;
        let Range { start, end } = ports;
        let within = |field| format!("({field} >= {start} && {field} < {end})");
        let (local, remote) = (within("sport"), within("dport"));
        let ports = format!("{local} || {remote}");
        for (event, filter) in [
            (EVENT, format!("{ports} || protocol == 262")),
            (RETRANSMIT, ports.clone()),
            (RETRANSMIT_SYNACK, ports),
        ] {
            oracle.set(&format!("{event}/filter"), &filter)?;
            oracle.set(&format!("{event}/enable"), "1")?;
        }
        Ok(oracle)
    }

    /// Like [`Self::finish_all`], without what was sent again.
    pub(crate) fn finish(self) -> Result<Vec<Record>> {
        Ok(self.finish_all()?.records)
    }

    /// Stops recording and gives what was recorded. Fails if anything is missing.
    pub(crate) fn finish_all(self) -> Result<Recording> {
        self.disable()?;
        self.set("tracing_on", "0")?;
        // The kernel gives this file to one read, whatever its size.
        let mut header_page = [0; 4096];
        let filled =
            fs::File::open(tracefs()?.join("events/header_page"))?.read(&mut header_page)?;
        let header_page = String::from_utf8_lossy(header_page.get(..filled).unwrap_or_default());
        let layout = PageLayout::parse(&header_page)?;
        let (mut records, mut resent) = (Vec::new(), Vec::new());
        for cpu in fs::read_dir(self.instance.join("per_cpu"))? {
            let cpu = cpu?.path();
            let number = cpu_number(&cpu)?;
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
                            let record =
                                self.format.record(number, entry.mono_ns, entry.payload)?;
                            records.extend(record);
                            resent.extend(self.resent(entry.mono_ns, entry.payload)?);
                        }
                    }
                }
            }
            refuse_gaps(&cpu)?;
        }
        records.sort_by_key(|record| record.mono_ns);
        resent.sort_by_key(|resent| resent.mono_ns);
        Ok(Recording { records, resent })
    }

    fn disable(&self) -> Result<()> {
        [EVENT, RETRANSMIT, RETRANSMIT_SYNACK]
            .iter()
            .try_for_each(|event| self.set(&format!("{event}/enable"), "0"))
    }

    /// One event of the buffer; nothing if it is of another kind.
    fn resent(&self, mono_ns: u64, payload: &[u8]) -> Result<Option<Resent>> {
        let kind = self.format.number(payload, "common_type")?;
        let (format, state) = if kind == self.retransmit.id {
            let number = self.retransmit.number(payload, "state")?;
            (&self.retransmit, Some(self.format.state(number)))
        } else if kind == self.retransmit_synack.id {
            (&self.retransmit_synack, None)
        } else {
            return Ok(None);
        };
        // Older kernels do not record the family with these events.
        let end = |addr, port| -> Result<(IpAddr, u16)> {
            let addr = IpAddr::from(format.v6(payload, addr)?).to_canonical();
            Ok((addr, format.port(payload, port)?))
        };
        Ok(Some(Resent {
            mono_ns,
            skaddr: format.number(payload, "skaddr")?,
            state,
            local: end("saddr_v6", "sport")?,
            remote: end("daddr_v6", "dport")?,
            task: u32::try_from(format.number(payload, "common_pid")?)?,
        }))
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        let path = self.instance.join(file);
        fs::write(&path, value).with_context(|| format!("cannot write {}", path.display()))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        let _ = self.disable();
        let _ = fs::remove_dir(&self.instance);
    }
}

/// Whether the kernel has a field in the record of `tcp:tcp_send_reset` for why it was sent.
pub(crate) fn has_reset_reasons() -> Result<bool> {
    Ok(format_of(&tracefs()?, "events/tcp/tcp_send_reset")?.has("reason"))
}

fn format_of(tracefs: &Path, event: &str) -> Result<Format> {
    let file = tracefs.join(event).join("format");
    let description =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    Format::parse(&description)
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

/// Of a directory `cpu7`.
fn cpu_number(directory: &Path) -> Result<u32> {
    let name = directory.file_name().and_then(|name| name.to_str());
    let number = name.and_then(|name| name.strip_prefix("cpu")?.parse().ok());
    number.with_context(|| format!("no CPU: {}", directory.display()))
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
    fn record(&self, cpu: u32, mono_ns: u64, payload: &[u8]) -> Result<Option<Record>> {
        if self.number(payload, "common_type")? != self.id {
            return Ok(None);
        }
        let (local, remote) = self.endpoints(payload)?;
        Ok(Some(Record {
            mono_ns,
            cpu,
            skaddr: self.number(payload, "skaddr")?,
            old: self.state(self.number(payload, "oldstate")?),
            new: self.state(self.number(payload, "newstate")?),
            family: u16::try_from(self.number(payload, "family")?)?,
            protocol: u16::try_from(self.number(payload, "protocol")?)?,
            local,
            remote,
            task: u32::try_from(self.number(payload, "common_pid")?)?,
        }))
    }

    /// Both sides: address and port.
    fn endpoints(&self, payload: &[u8]) -> Result<((IpAddr, u16), (IpAddr, u16))> {
        let (local, remote) = match self.number(payload, "family")? {
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
        let port = |name| self.port(payload, name);
        Ok(((local, port("sport")?), (remote, port("dport")?)))
    }

    fn port(&self, payload: &[u8], name: &str) -> Result<u16> {
        Ok(u16::try_from(self.number(payload, name)?)?)
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
