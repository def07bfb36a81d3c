//! One run: start a tracer, let the storm blow, stop the tracer, read the meters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::resource::{Usage, UsageWho, getrusage};
use rustix::param::clock_ticks_per_second;
use rustix::process::{Pid, Signal, kill_process};

use super::figures::{Said, Traced};
use super::storm::{Load, Storm};
use super::tracers::Tracer;

/// A tracer that does not end by then is stuck.
const PATIENCE: Duration = Duration::from_mins(2);
/// Where a tracer's messages go.
const WORDS: &str = "words";
const STATISTICS: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// Where runs leave their output.
pub(super) struct Bench {
    folder: PathBuf,
}

impl Bench {
    /// In memory, where there is such a place: the disk is not what is measured.
    pub(super) fn new() -> Result<Self> {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = parent.join(format!("tracer-bench-{}", std::process::id()));
        fs::create_dir(&folder)?;
        Ok(Self { folder })
    }

    /// The storm alone.
    pub(super) fn storm(&self, load: &Load) -> Result<Storm> {
        let output = self.storm_command(load)?.output()?;
        ensure!(
            output.status.success(),
            "the storm failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// To be run, in a process of its own.
    #[expect(clippy::unused_self, reason = "a run like the others")]
    pub(super) fn storm_command(&self, load: &Load) -> Result<Command> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(load.command_line()).stdin(Stdio::null());
        Ok(command)
    }

    /// Whether a tracer runs here, or why not.
    pub(super) fn try_out(&self, tracer: &Tracer) -> Result<()> {
        self.run(tracer, |_| Ok(())).map(drop)
    }

    /// The storm under a tracer.
    pub(super) fn traced(&self, tracer: &Tracer, load: &Load) -> Result<Traced> {
        let mut peak_bytes = 0;
        let run = self.run(tracer, |child| {
            let storm = self.storm(load)?;
            peak_bytes = peak_of(child)?;
            Ok(storm)
        })?;
        Ok(Traced {
            storm: run.value,
            events: tracer.count(&run.file)?,
            start_cpu_ns: run.start_cpu_ns,
            cpu_ns: run.cpu_ns,
            output_bytes: fs::metadata(&run.file)?.len(),
            peak_bytes,
            said: if tracer.ours {
                said(&fs::read_to_string(self.folder.join(WORDS))?)
            } else {
                Said::default()
            },
        })
    }

    /// Time in a tracer's kernel programs for each transition of the storm. The kernel's own measuring
    /// costs more than is measured here, so this is a run apart.
    pub(super) fn program_ns(&self, tracer: &Tracer, load: &Load) -> Result<Option<f64>> {
        let before = fs::read_to_string(STATISTICS).unwrap_or_default();
        if fs::write(STATISTICS, "1").is_err() {
            return Ok(None);
        }
        let run = self.run(tracer, |child| {
            let storm = self.storm(load)?;
            Ok((programs_ns(child)?, storm.transitions))
        });
        fs::write(STATISTICS, before.trim())?;
        let (ns, transitions) = run?.value;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        Ok(Some(ns as f64 / transitions.max(1) as f64))
    }

    fn run<T>(&self, tracer: &Tracer, work: impl FnOnce(&Child) -> Result<T>) -> Result<Run<T>> {
        let file = self.folder.join("output");
        let _ = fs::remove_file(&file);
        let words = fs::File::create(self.folder.join(WORDS))?;
        let mut child = tracer.command(&file)?.stderr(words).spawn()?;
        thread::sleep(tracer.settle);
        if let Some(status) = child.try_wait()? {
            bail!("{} ended by itself: {status}", tracer.name);
        }
        let start_cpu_ns = cpu_of(&child)?;
        let value = work(&child);
        let before = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        stop(&mut child)?;
        let after = getrusage(UsageWho::RUSAGE_CHILDREN)?;
        Ok(Run {
            value: value?,
            file,
            start_cpu_ns,
            cpu_ns: cpu_ns(&after) - cpu_ns(&before) - start_cpu_ns,
        })
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

struct Run<T> {
    value: T,
    file: PathBuf,
    start_cpu_ns: f64,
    cpu_ns: f64,
}

/// Processor time, kernel included, in nanoseconds.
pub(super) fn cpu_ns(usage: &Usage) -> f64 {
    [usage.user_time(), usage.system_time()]
        .into_iter()
        .map(|time| {
            #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
            let (seconds, microseconds) = (time.tv_sec() as f64, time.tv_usec() as f64);
            seconds * 1e9 + microseconds * 1e3
        })
        .sum()
}

/// Asks it to end, as Ctrl-C does.
pub(super) fn interrupt(child: &Child) -> Result<()> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    kill_process(pid.context("no process id")?, Signal::INT)?;
    Ok(())
}

fn stop(child: &mut Child) -> Result<()> {
    interrupt(child)?;
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("it did not end within {PATIENCE:?} of SIGINT");
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn peak_of(child: &Child) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id()))?;
    let kibibytes = number_after(&status, "VmHWM:").context("no VmHWM")?;
    Ok(kibibytes * 1024)
}

/// Processor time that a process has taken, and its children that have ended, in nanoseconds.
fn cpu_of(child: &Child) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id()))?;
    let ticks = cpu_ticks(&stat).context("no times in /proc/PID/stat")?;
    #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
    let seconds = ticks as f64 / clock_ticks_per_second() as f64;
    Ok(seconds * 1e9)
}

/// The sum of `utime`, `stime`, `cutime` and `cstime` (`proc_pid_stat(5)`).
fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name before may have spaces and parentheses in it.
    let (_, fields) = stat.rsplit_once(')')?;
    let times = fields.split_whitespace().skip(11).take(4);
    times.map(|time| time.parse::<u64>().ok()).sum()
}

/// Run time of all programs that a process holds.
fn programs_ns(child: &Child) -> Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(format!("/proc/{}/fdinfo", child.id()))? {
        // It may have been closed since.
        let info = fs::read_to_string(entry?.path()).unwrap_or_default();
        sum += number_after(&info, "run_time_ns:").unwrap_or(0);
    }
    Ok(sum)
}

/// What the closing words of ours say.
fn said(words: &str) -> Said {
    let number_before = |what: &str| {
        let line = words.lines().find(|line| line.contains(what))?;
        line.split_whitespace().next()?.parse().ok()
    };
    let nothing = ["no event was lost", "no transition was lost"]
        .iter()
        .any(|nothing| words.contains(nothing));
    let lost = if nothing {
        Some(0)
    } else {
        number_before(" lost:")
    };
    Said {
        // It says nothing where there was none, but always whether something was lost.
        recovered: number_before("recorded by the second program").or(lost.and(Some(0))),
        lost,
    }
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_proc_files() {
        let status = "Name:\tx\nVmHWM:\t    1234 kB\n";
        assert_eq!(number_after(status, "VmHWM:"), Some(1234));
        assert_eq!(number_after("run_time_ns:\t77\n", "run_time_ns:"), Some(77));
        assert_eq!(number_after("", "run_time_ns:"), None);
    }

    #[test]
    fn times_of_a_process() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 10 20 3 4 20 0 1 0 99\n";
        assert_eq!(cpu_ticks(stat), Some(37));
        assert_eq!(cpu_ticks(""), None);
    }

    #[test]
    fn closing_words() {
        let numbers = |recovered, lost| Said { recovered, lost };
        for (words, expected) in [
            ("", numbers(None, None)),
            ("9 shown\nno event was lost\n", numbers(Some(0), Some(0))),
            (
                "3 transitions recorded by the second program where the first could not run\n\
                 17 transitions were lost:\n      17  tracer could not keep up\n",
                numbers(Some(3), Some(17)),
            ),
            ("no transition was lost, but:\n", numbers(Some(0), Some(0))),
        ] {
            assert_eq!(said(words), expected, "{words}");
        }
    }
}
