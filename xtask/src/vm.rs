//! Real kernels of many years, booted in qemu: does tracer work there, and does it say the truth?
//!
//! Each guest consists of a kernel of Debian's, this program as its first process, and tracer. Nothing is
//! installed, and nothing of this machine is visible in the guest.

mod archive;
mod build;
pub(crate) mod guest;
mod image;
mod initramfs;
mod process;
mod protocol;
mod qemu;
pub(crate) mod storm;
mod table;
mod verdict;

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;

use archive::{Archive, Kernel};
use build::Programs;
use protocol::{Plan, Task};
use table::Row;
use verdict::{DOCTOR, DOCTOR_JSON, Findings, LIVE, LIVE_POLLING, STORMS, VERSION};

/// What is tested when nothing is named: long-term kernels since the first that tracer supports, and the
/// newest.
const SERIES: [&str; 5] = ["5.10", "6.1", "6.12", "6.18", "7.3"];

const TABLE: &str = "docs/kernels.md";

/// What the live tests take from the kernel as modules, and from this machine.
const LIVE_MODULES: [&str; 7] = [
    "veth",
    "sch_tbf",
    "nf_tables",
    "nft_ct",
    "nft_reject_inet",
    "tcp_diag",
    "mptcp_diag",
];
const LIVE_PROGRAMS: [&str; 1] = ["nft"];
/// How long they may take together; `unseen`, `expiry` and `older` alone take four minutes.
const LIVE_SECONDS: u64 = 900;
/// Those that are played once more where the kernel is asked instead of listened to.
const POLLING: [&str; 3] = ["unseen::", "packets::", "older::"];

#[derive(Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of the command line"
)]
pub(crate) struct VmArgs {
    /// Series of kernels, such as 6.12; may be repeated [default: 5.10 6.1 6.12 6.18 7.3]
    #[arg(long, value_name = "SERIES")]
    kernel: Vec<String>,
    /// Say which series there are
    #[arg(long)]
    list: bool,
    /// Fetch the newest release of each series, even where one is in the cache
    #[arg(long)]
    update: bool,
    /// Kernel modules to load, with those they need; may be a list
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    module: Vec<String>,
    /// Seconds that a command in the guest may take
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    limit: u64,
    /// Play the live tests as well; takes minutes for each kernel
    #[arg(long)]
    live: bool,
    /// Play only those live tests that have one of these in their names; may be a list
    #[arg(long, value_name = "PARTS", value_delimiter = ',', requires = "live")]
    only: Vec<String>,
    /// Write what was found into docs/kernels.md
    #[arg(long, conflicts_with = "command")]
    write_table: bool,
    /// Run this in the guest instead of the tests; a path of this machine is copied there
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Boots the kernels one after the other.
pub(crate) fn run(arguments: &VmArgs, root: &Path) -> Result<()> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the guests are x86-64 machines, and so must this one be, to build for them");
    }
    archive::check_tools()?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or(root.join("target"), PathBuf::from);
    let cache = target.join("vm");
    fs::create_dir_all(&cache)?;
    let mut archive = Archive::new(fs::canonicalize(&cache)?);
    if arguments.list {
        for series in archive.series()? {
            println!("{series}");
        }
        return Ok(());
    }
    let programs = build::programs(root, &cache, arguments.live)?;
    let mut rows = Vec::new();
    let mut failed = 0;
    let series = if arguments.kernel.is_empty() {
        SERIES.map(ToOwned::to_owned).to_vec()
    } else {
        arguments.kernel.clone()
    };
    for series in &series {
        let examined = archive.kernel(series, arguments.update).and_then(|kernel| {
            let (good, findings) = examine(arguments, &kernel, &programs, &cache)?;
            rows.extend(findings.map(|findings| Row {
                series: series.clone(),
                release: kernel.release,
                findings,
            }));
            Ok(good)
        });
        let good = examined.unwrap_or_else(|error| {
            println!("{series}: FAILED\n  {error:#}");
            false
        });
        failed += usize::from(!good);
    }
    if arguments.write_table {
        fs::write(root.join(TABLE), table::to_markdown(&rows)?)?;
    }
    if failed > 0 {
        bail!("{failed} of {} kernels failed", series.len());
    }
    Ok(())
}

/// Boots one kernel; whether all went well, and what was found if the tests were run.
fn examine(
    arguments: &VmArgs,
    kernel: &Kernel,
    programs: &Programs,
    cache: &Path,
) -> Result<(bool, Option<Findings>)> {
    let mut wanted: Vec<&str> = arguments.module.iter().map(String::as_str).collect();
    if programs.live.is_some() {
        wanted.extend(LIVE_MODULES);
    }
    let mut image = initramfs::Archive::default();
    for folder in ["bin", "dev", "modules", "proc", "sys", "tmp"] {
        image.folder(folder)?;
    }
    let mut plan = Plan::default();
    for (name, content) in initramfs::modules(&kernel.modules, &wanted)? {
        let file = format!("modules/{name}.ko");
        image.file(&file, &content)?;
        plan.modules.push(format!("/{file}"));
    }
    image.file("init", &programs.init)?;
    image.file("bin/tracer", &programs.tracer)?;
    if let Some(live) = &programs.live {
        image.file("bin/live", live)?;
        for program in LIVE_PROGRAMS {
            build::copy_from_host(program, &mut image)?;
        }
    }
    plan.commands = if arguments.command.is_empty() {
        tests(arguments)
    } else {
        vec![given(arguments, &mut image)?]
    };
    image.file(
        guest::PLAN.trim_start_matches('/'),
        plan.to_text()?.as_bytes(),
    )?;

    let folder = cache.join("runs").join(&kernel.release);
    let seconds: u64 = plan.commands.iter().map(|task| task.limit_seconds).sum();
    let limit = Duration::from_secs(60 + seconds);
    let boot = qemu::boot(kernel, &image.finish()?, &folder, limit)?;
    for outcome in &boot.outcomes {
        fs::write(
            folder.join(format!("{}.out", outcome.name)),
            &outcome.stdout,
        )?;
        fs::write(
            folder.join(format!("{}.err", outcome.name)),
            &outcome.stderr,
        )?;
    }
    if !arguments.command.is_empty() {
        for outcome in &boot.outcomes {
            std::io::stdout().write_all(&outcome.stdout)?;
            std::io::stderr().write_all(&outcome.stderr)?;
        }
        let statuses: Vec<_> = boot
            .outcomes
            .iter()
            .map(|outcome| &outcome.status)
            .collect();
        println!("{}: {:?}, status {statuses:?}", kernel.release, boot.end);
        return Ok((boot.end == qemu::End::Done(0), None));
    }
    let findings = Findings::of(&boot);
    print(kernel, boot.took, &findings, &folder);
    Ok((findings.failures.is_empty(), Some(findings)))
}

fn tests(arguments: &VmArgs) -> Vec<Task> {
    let tracer: [(&str, &[&str]); 3] = [
        (VERSION, &["tracer", "--version"]),
        (DOCTOR, &["tracer", "doctor"]),
        (DOCTOR_JSON, &["tracer", "doctor", "--json"]),
    ];
    let storms = STORMS.map(|(name, hook)| (name, vec![guest::INIT, "guest-storm", hook]));
    tracer
        .into_iter()
        .map(|(name, words)| (name, words.to_vec()))
        .chain(storms)
        .chain(live(arguments))
        .map(|(name, words)| Task {
            name: name.to_owned(),
            limit_seconds: if [LIVE, LIVE_POLLING].contains(&name) {
                LIVE_SECONDS
            } else {
                arguments.limit
            },
            words: words.into_iter().map(ToOwned::to_owned).collect(),
        })
        .collect()
}

/// The live tests, and those of them that are played without functions of the kernel.
fn live(arguments: &VmArgs) -> Vec<(&'static str, Vec<&str>)> {
    if !arguments.live {
        return Vec::new();
    }
    let only = || arguments.only.iter().map(String::as_str);
    let mut tasks = vec![(LIVE, ["live"].into_iter().chain(only()).collect())];
    let polling: Vec<_> = if arguments.only.is_empty() {
        POLLING.to_vec()
    } else {
        let is_one = |part: &&str| POLLING.iter().any(|kind| part.starts_with(kind));
        only().filter(is_one).collect()
    };
    if !polling.is_empty() {
        let words = ["live", "--without-functions"];
        tasks.push((LIVE_POLLING, words.into_iter().chain(polling).collect()));
    }
    tasks
}

fn given(arguments: &VmArgs, image: &mut initramfs::Archive) -> Result<Task> {
    let mut words = arguments.command.clone();
    if let Some(program) = words.first_mut()
        && program.contains('/')
        && program != guest::INIT
    {
        let content = fs::read(&*program).with_context(|| format!("cannot read {program}"))?;
        image.file("bin/command", &content)?;
        "/bin/command".clone_into(program);
    }
    Ok(Task {
        name: "command".to_owned(),
        limit_seconds: arguments.limit,
        words,
    })
}

fn print(kernel: &Kernel, took: Duration, findings: &Findings, folder: &Path) {
    let verdict = if findings.failures.is_empty() {
        "ok"
    } else {
        "FAILED"
    };
    println!("{}: {verdict}, {:.1} s", kernel.release, took.as_secs_f64());
    for (hook, storm) in &findings.storms {
        println!(
            "  {hook}: {} transitions, {} printed, {} of them recovered, {} counted as lost{}",
            storm.by_kernel,
            storm.by_tracer,
            storm.recovered,
            storm.lost,
            if storm.losses_unknown {
                " (not all are counted)"
            } else {
                ""
            }
        );
    }
    for (kind, group) in &findings.live {
        println!(
            "  live tests, {kind}: {} passed, {} failed, {} could not be run",
            group.passed,
            group.failed.len(),
            group.skipped.len()
        );
    }
    for check in findings.degraded() {
        println!("  degraded: {}: {}", check.name, check.detail);
    }
    for failure in &findings.failures {
        println!("  failed: {failure}");
    }
    if !findings.failures.is_empty() {
        println!("  hint: everything it said is in {}", folder.display());
    }
}
