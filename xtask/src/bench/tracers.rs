//! The tools that are compared, and how each is run.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use super::storm::PORTS;

/// A tool that records state transitions, or something near to them.
pub(super) struct Tracer {
    pub(super) name: &'static str,
    /// It is the tracer of this repository.
    pub(super) ours: bool,
    program: PathBuf,
    /// Debian's package.
    package: &'static str,
    arguments: &'static [&'static str],
    output: Output,
    /// Turns what it wrote into a line for each transition.
    reader: Option<&'static [&'static str]>,
    /// Its output has a line for each transition, or would have after the reader.
    pub(super) counts: bool,
    /// How long it takes to attach.
    pub(super) settle: Duration,
}

/// Where it writes to.
#[derive(Clone, Copy)]
enum Output {
    Stdout,
    /// The file named by the argument that follows.
    File,
}

const OURS: Duration = Duration::from_millis(500);
const QUICK: Duration = Duration::from_millis(1500);
const SLOW: Duration = Duration::from_secs(4);

/// The output of these is what `trace-cmd` or `perf` decode from their files.
const BPFTRACE: &str = "tracepoint:sock:inet_sock_set_state { printf(\"%lld %d %d %d %d %d %s\\n\", nsecs, \
     args->sport, args->dport, args->oldstate, args->newstate, pid, comm) }";

/// All of them, ours first.
#[expect(clippy::too_many_lines, reason = "a table")]
pub(super) fn all(tracer: &Path) -> Vec<Tracer> {
    let ours = |name, arguments, counts| Tracer {
        name,
        ours: true,
        program: tracer.to_owned(),
        package: "",
        arguments,
        output: Output::Stdout,
        reader: None,
        counts,
        settle: OURS,
    };
    let peer = |name, program: &str, package, arguments| Tracer {
        name,
        ours: false,
        program: PathBuf::from(program),
        package,
        arguments,
        output: Output::Stdout,
        reader: None,
        counts: true,
        settle: QUICK,
    };
    vec![
        ours("tracer -o text", &["-o", "text"], true),
        ours("tracer -o jsonl", &["-o", "jsonl"], true),
        Tracer {
            output: Output::File,
            reader: Some(&["replay"]),
            ..ours("tracer record", &["record", "-o"], true)
        },
        ours("tracer --port of others", &["--port", "1"], false),
        Tracer {
            counts: false,
            settle: SLOW,
            ..peer(
                "an empty program (bpftrace)",
                "bpftrace",
                "bpftrace",
                &["-q", "-e", "tracepoint:sock:inet_sock_set_state { }"],
            )
        },
        Tracer {
            output: Output::File,
            reader: Some(&["script", "-F", "event,trace", "-i"]),
            ..peer(
                "perf record",
                "perf",
                "linux-perf",
                &["record", "-q", "-a", "-e", "sock:inet_sock_set_state", "-o"],
            )
        },
        Tracer {
            output: Output::File,
            reader: Some(&["report", "-i"]),
            ..peer(
                "trace-cmd record",
                "trace-cmd",
                "trace-cmd",
                &["record", "-q", "-e", "sock:inet_sock_set_state", "-o"],
            )
        },
        Tracer {
            output: Output::File,
            counts: false,
            ..peer(
                "tcpdump, SYN, FIN and RST",
                "tcpdump",
                "tcpdump",
                &[
                    "-q",
                    "-i",
                    "lo",
                    "tcp[tcpflags] & (tcp-syn|tcp-fin|tcp-rst) != 0",
                    "-w",
                ],
            )
        },
        peer(
            "tcpstates, libbpf",
            "/usr/sbin/tcpstates",
            "libbpf-tools",
            &[],
        ),
        Tracer {
            counts: false,
            ..peer("tcplife, libbpf", "/usr/sbin/tcplife", "libbpf-tools", &[])
        },
        Tracer {
            settle: SLOW,
            ..peer(
                "bpftrace, text",
                "bpftrace",
                "bpftrace",
                &["-q", "-e", BPFTRACE],
            )
        },
        Tracer {
            settle: SLOW,
            ..peer(
                "tcpstates, python",
                "/usr/sbin/tcpstates-bpfcc",
                "bpfcc-tools",
                &[],
            )
        },
    ]
}

impl Tracer {
    /// What to install, if it is not there.
    pub(super) fn missing(&self) -> Option<String> {
        let found = if self.program.is_absolute() {
            self.program.exists()
        } else {
            std::env::var_os("PATH").is_some_and(|path| {
                std::env::split_paths(&path).any(|folder| folder.join(&self.program).exists())
            })
        };
        (!found).then(|| format!("not installed (Debian: {})", self.package))
    }

    /// Ready to be started, writing to `file`.
    pub(super) fn command(&self, file: &Path) -> Result<Command> {
        let mut command = Command::new(&self.program);
        command.args(self.arguments).stdin(Stdio::null());
        match self.output {
            Output::Stdout => command.stdout(std::fs::File::create(file)?),
            Output::File => command.arg(file).stdout(Stdio::null()),
        };
        Ok(command)
    }

    /// Transitions of the storm in what it wrote; `None` where it records something else.
    pub(super) fn count(&self, file: &Path) -> Result<Option<u64>> {
        if !self.counts {
            return Ok(None);
        }
        let text = match self.reader {
            None => std::fs::read(file)?,
            Some(arguments) => {
                let output = Command::new(&self.program)
                    .args(arguments)
                    .arg(file)
                    .stderr(Stdio::null())
                    .output()?;
                ensure!(output.status.success(), "{} cannot be read", file.display());
                output.stdout
            }
        };
        let lines = text.split(|byte| *byte == b'\n');
        let count = lines.filter(|line| is_of_the_storm(line)).count();
        Ok(Some(u64::try_from(count).context("too many lines")?))
    }
}

/// What a line of text says of a change that the tracepoint does not tell of.
const UNTOLD: &[u8] = b"after the socket was closed";

/// Whether a line is about a transition, and one of its numbers is a port of the storm.
fn is_of_the_storm(line: &[u8]) -> bool {
    let is_told = !line.windows(UNTOLD.len()).any(|part| part == UNTOLD);
    let about_one_transition = !line.starts_with(b"#") && !line.starts_with(b"{") && is_told
        || line.starts_with(b"{\"type\":\"transition\"");
    about_one_transition
        && line
            .split(|byte| !byte.is_ascii_digit())
            .filter_map(|digits| std::str::from_utf8(digits).ok()?.parse::<u16>().ok())
            .any(|number| PORTS.contains(&number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_about_the_storm_are_told_from_others() {
        for (line, expected) in [
            ("12:00:00.1 x/1 127.0.0.1:20000 *  CLOSED -> LISTEN ?", true),
            ("12:00:00.1 x/1 127.0.0.1:2000 *  CLOSED -> LISTEN ?", false),
            ("{\"type\":\"transition\",\"local\":{\"port\":20001}}", true),
            (
                "{\"type\":\"connection\",\"local\":{\"port\":20001}}",
                false,
            ),
            ("# lost 20000", false),
            (
                "12:00:00.1 x/1 127.0.0.1:20000 127.0.0.1:7 FIN_WAIT_2 -> TIME_WAIT 1s after the socket was closed",
                false,
            ),
        ] {
            assert_eq!(is_of_the_storm(line.as_bytes()), expected, "{line}");
        }
    }
}
