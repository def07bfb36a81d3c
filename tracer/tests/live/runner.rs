//! Plays scenarios under one run of tracer and of the oracle, and judges each.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};

use crate::compare::{self, Inconclusive};
use crate::harness::{Results, Suite, Verdict};
use crate::lives::{self, Life, Step};
use crate::oracle::{Oracle, Record, Recording};
use crate::outcome::{self, Means, SentAgain, Told};
use crate::scenarios::{self, Expected, Impossible, Scenario};
use crate::scope::{ALL_PORTS, Scope};
use crate::stage::{self, Stage};
use crate::tools;
use crate::tracer::{self, Output, Tracer, Transition};

/// A way to run tracer under which all scenarios are played.
struct Mode {
    /// Before the scenario's name in that of the test.
    prefix: &'static str,
    arguments: fn() -> Vec<String>,
    /// Start of the name of the hook that must be in use.
    hook: &'static str,
    /// Whether the kernel may refuse to run the programs, on a busy machine. It counts that.
    may_be_refused: bool,
}

const MODES: [Mode; 3] = [
    Mode {
        prefix: "scenario::",
        arguments: Vec::new,
        hook: "raw_tracepoint:inet_sock_set_state",
        may_be_refused: false,
    },
    Mode {
        prefix: "classic_tracepoint::",
        arguments: || vec!["--hook".to_owned(), "classic".to_owned()],
        hook: "tracepoint:sock:inet_sock_set_state",
        may_be_refused: true,
    },
    // Leaves nothing of the scenarios out.
    Mode {
        prefix: "port_filter::",
        arguments: || {
            let ports = format!("{}-{}", ALL_PORTS.start, ALL_PORTS.end - 1);
            vec!["--port".to_owned(), ports]
        },
        hook: "raw_tracepoint:inet_sock_set_state",
        may_be_refused: false,
    },
];

impl Mode {
    fn test_of(&self, scenario: &Scenario) -> String {
        format!("{}{}", self.prefix, scenario.name)
    }
}

/// The scenarios as tests.
pub(crate) fn suites() -> impl Iterator<Item = Suite> {
    MODES.iter().map(|mode| {
        let names = scenarios::all().map(|scenario| mode.test_of(scenario));
        Suite::Group(names.collect(), Box::new(|wanted| run(mode, wanted)))
    })
}

/// How many scenarios are played at a time; most of them wait.
const AT_A_TIME: usize = 6;
/// A scenario that takes longer hangs.
const LIMIT: Duration = Duration::from_secs(40);
/// Room for the events of all scenarios on each CPU.
const BUFFER_KIB: u32 = 8 * 1024;
/// Exit code of a scenario that needs what is not here.
const IMPOSSIBLE: u8 = 77;

fn numbered() -> impl Iterator<Item = (Scope, &'static Scenario)> {
    (1..).map(Scope).zip(scenarios::all())
}

/// Plays one scenario in this process. Returns its exit code.
pub(crate) fn play(name: &str) -> Result<u8> {
    let (scope, scenario) = numbered()
        .find(|(_, scenario)| scenario.name == name)
        .with_context(|| format!("no scenario {name}"))?;
    let stage = Stage::enter(scope)?;
    match (scenario.play)(&stage) {
        Ok(()) => {}
        Err(error) => {
            let Some(Impossible(why)) = error.downcast_ref() else {
                return Err(error);
            };
            stage::report("impossible", why);
            return Ok(IMPOSSIBLE);
        }
    }
    stage.settle()?;
    Ok(0)
}

/// Plays the scenarios of these names and judges them.
fn run(mode: &Mode, wanted: &[String]) -> Results {
    let failed = |error: &anyhow::Error| {
        let failure = |name: &String| (name.clone(), Err(copy(error)));
        wanted.iter().map(failure).collect()
    };
    let observed = match observe(mode, wanted) {
        Ok(observed) => observed,
        Err(error) => return failed(&error),
    };
    let told = match observed.told() {
        Ok(told) => told,
        Err(error) => return failed(&error),
    };
    observed
        .plays
        .iter()
        .map(|(scope, scenario, play)| {
            let verdict = match play {
                Ok(facts) => {
                    judge(*scope, scenario, facts, &observed, &told).map_err(
                        |error| match &observed.missing {
                            Some(why) => Inconclusive(why.clone()).into(),
                            None => error,
                        },
                    )
                }
                Err(error) => Err(copy(error)),
            };
            (mode.test_of(scenario), verdict.map(|()| Verdict::Passed))
        })
        .collect()
}

/// An error once more, of the same kind.
fn copy(error: &anyhow::Error) -> anyhow::Error {
    if let Some(Impossible(why)) = error.downcast_ref() {
        return Impossible(why.clone()).into();
    }
    match error.downcast_ref() {
        Some(Inconclusive(why)) => Inconclusive(why.clone()).into(),
        None => anyhow!("{error:#}"),
    }
}

type Plays = Vec<(Scope, &'static Scenario, Result<Facts>)>;

/// All that was recorded and told while scenarios were played.
struct Observed {
    plays: Plays,
    by_kernel: Recording,
    by_tracer: Output,
    means: Means,
    /// Why something may rightly be missing from what tracer tells.
    missing: Option<String>,
}

impl Observed {
    /// What tracer tells of the connections.
    fn told(&self) -> Result<Told<'_>> {
        let told = Told::new(&self.by_tracer)?;
        told.ensure_none_besides(&self.by_tracer.transitions)?;
        Ok(told)
    }
}

fn observe(mode: &Mode, wanted: &[String]) -> Result<Observed> {
    let oracle = Oracle::start(&ALL_PORTS, BUFFER_KIB)?;
    let tracer = Tracer::start(&(mode.arguments)())?;
    let plays = play_all(mode, wanted);
    let output = tracer.stop()?;
    let by_kernel = oracle.finish_all()?;
    let missing = output.what_is_missing(mode.may_be_refused)?;
    if missing.is_none() {
        output.ensure_complete()?;
    }
    ensure!(
        output.is_attached(mode.hook),
        "{} is not in use: {}",
        mode.hook,
        output.session
    );
    Ok(Observed {
        plays,
        by_kernel,
        means: Means::of(&output)?,
        by_tracer: output,
        missing,
    })
}

/// What a scenario told about itself.
#[derive(Default)]
struct Facts {
    /// The names of each process: it takes another one when it becomes another program.
    actors: BTreeMap<u32, Vec<String>>,
    namespaces: BTreeSet<u32>,
}

fn play_all(mode: &Mode, wanted: &[String]) -> Plays {
    let queue: VecDeque<_> = numbered()
        .filter(|(_, scenario)| wanted.contains(&mode.test_of(scenario)))
        .collect();
    let queue = Mutex::new(queue);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_A_TIME {
            scope.spawn(|| {
                loop {
                    let next = lock(&queue).pop_front();
                    let Some((addresses, scenario)) = next else {
                        break;
                    };
                    let play = play_apart(scenario);
                    lock(&done).push((addresses, scenario, play));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(addresses, ..)| addresses.0);
    done
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Plays a scenario in a process of its own.
fn play_apart(scenario: &Scenario) -> Result<Facts> {
    let mut child = Command::new("/proc/self/exe")
        .args(["--scenario", scenario.name])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let stdout = tracer::collect(child.stdout.take().context("no pipe")?);
    let stderr = tracer::collect(child.stderr.take().context("no pipe")?);
    let status = tools::await_end(&mut child, LIMIT, || Ok(())).context("the scenario")?;
    let said = stdout.join().unwrap_or_default();
    let complaint = stderr.join().unwrap_or_default();

    let mut facts = Facts::default();
    for line in said.lines() {
        match *line.splitn(3, ' ').collect::<Vec<_>>().as_slice() {
            ["actor", name, pid] => {
                let names = facts.actors.entry(pid.parse()?).or_default();
                names.push(name.to_owned());
            }
            ["netns", inode] => {
                facts.namespaces.insert(inode.parse()?);
            }
            ["impossible", ..] if status.code() == Some(IMPOSSIBLE.into()) => {
                let why = line.trim_start_matches("impossible ");
                return Err(Impossible(why.to_owned()).into());
            }
            _ => bail!("the scenario said: {line}"),
        }
    }
    if status.success() {
        return Ok(facts);
    }
    let what = format!("the scenario could not be played: {status}\n{complaint}");
    // Some of them want two things to happen at once, which an emulated machine may not manage.
    if compare::is_emulated() {
        return Err(Inconclusive(what).into());
    }
    bail!(what)
}

/// Holds a scenario's expectations against the kernel's record, and tracer's lines against both.
fn judge(
    scope: Scope,
    scenario: &Scenario,
    facts: &Facts,
    observed: &Observed,
    told: &Told<'_>,
) -> Result<()> {
    let records = lives::part_of(scope, &observed.by_kernel.records)?;
    let lines = lives::part_of(scope, &observed.by_tracer.transitions)?;
    let means = observed.means;
    let seen = described(&records, describe_record)?;
    let expected = |describe: &dyn Fn(&Expected) -> String| -> Vec<(String, usize)> {
        let sockets = scenario.sockets.iter();
        sockets.map(|one| (describe(one), one.times)).collect()
    };
    ensure_expected(
        "in the kernel's own record",
        expected(&|one| describe_expected(one, "")),
        seen,
    )?;

    compare::ensure_equal(&records, &lines)?;
    compare::ensure_consistent(&lines)?;
    for line in &lines {
        ensure!(
            line.netns
                .is_some_and(|netns| facts.namespaces.contains(&netns)),
            "a network namespace that is not the scenario's: {line:?}"
        );
        ensure!(
            !line.recovered || compare::is_emulated(),
            "recovered without need: {line:?}"
        );
    }
    // The first stands for those it may be described by as well.
    let in_full = |one: &Expected| -> Vec<String> {
        let ends = outcome::describe_expected(one, means);
        let life = describe_expected(one, &means.owners(one.owner));
        ends.iter().map(|end| format!("{life} | {end}")).collect()
    };
    let describe = |life: &Life<Transition>| -> Result<String> {
        let line = told.of(life)?;
        let end = outcome::describe(line, means);
        let description = format!("{} | {end}", describe_lines(life, facts)?);
        let mut alike = scenario.sockets.iter().map(in_full);
        let same = alike.find(|all| all.contains(&description));
        Ok(same
            .and_then(|all| all.into_iter().next())
            .unwrap_or(description))
    };
    let seen = described(&lines, describe)?;
    let first = |one: &Expected| in_full(one).swap_remove(0);
    ensure_expected("in what tracer says", expected(&first), seen)?;

    let mut ended_ns: BTreeMap<_, u64> = BTreeMap::new();
    for life in lives::lives(&lines)? {
        let line = told.of(&life)?;
        let last = life.steps.last().context("a life without a step")?;
        let endpoints = [last.local, last.remote].map(|end| (end.addr, end.port));
        let since_ns = ended_ns.insert(endpoints, last.mono_ns).unwrap_or_default();
        if life.is_epilogue()? {
            continue;
        }
        outcome::ensure_consistent(line, &life, told)?;
        let again = SentAgain::of(&life, since_ns, &observed.by_kernel.resent)?;
        let description = describe(&life)?;
        let alike = scenario.sockets.iter();
        let mut verdicts = alike
            .filter(|one| first(one) == description)
            .map(|one| outcome::ensure_numbers(line, again, one));
        // Those that differ in numbers alone: any will do.
        let best = verdicts.next().context("a life that is not expected")?;
        if best.is_err() && !verdicts.any(|verdict| verdict.is_ok()) {
            best?;
        }
    }
    Ok(())
}

fn described<T: Step + Clone>(
    steps: &[T],
    describe: impl Fn(&Life<T>) -> Result<String>,
) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for life in lives::lives(steps)? {
        if !life.is_epilogue()? {
            all.push(describe(&life)?);
        }
    }
    Ok(all)
}

fn describe(role: &str, family: &str, protocol: &str, path: &str, owner: &str) -> String {
    format!("{role} {family} {protocol}: {path} {owner}")
}

fn describe_expected(expected: &Expected, owner: &str) -> String {
    describe(
        expected.role,
        expected.family,
        expected.protocol,
        expected.path,
        owner,
    )
}

fn describe_record(life: &Life<Record>) -> Result<String> {
    let first = life.steps.first().context("a life without a step")?;
    let family = compare::family_name(first.family)?;
    let protocol = match first.protocol {
        6 => "tcp".to_owned(),
        262 => "mptcp".to_owned(),
        other => other.to_string(),
    };
    Ok(describe(life.role()?, family, &protocol, &life.path()?, ""))
}

/// With the owners from first to last, each once.
fn describe_lines(life: &Life<Transition>, facts: &Facts) -> Result<String> {
    let mut owners: Vec<String> = Vec::new();
    for line in &life.steps {
        let owner = match line.pid {
            Some(pid) => {
                let names = facts.actors.get(&pid).into_iter().flatten();
                let is_its = |name: &&String| line.comm.as_deref() == Some(&stage::comm_of(name));
                let actor = names.clone().find(is_its).with_context(|| {
                    let names: Vec<_> = names.collect();
                    format!("process {pid} is {names:?}: {line:?}")
                })?;
                format!("{}:{actor}", line.owner_source)
            }
            None => line.owner_source.clone(),
        };
        if owners.last() != Some(&owner) {
            owners.push(owner);
        }
    }
    let last = life.steps.last().context("a life without a step")?;
    Ok(describe(
        &last.role,
        &last.family,
        &last.protocol,
        &life.path()?,
        &owners.join(" "),
    ))
}

/// Fails, with the difference, unless the sockets seen are those expected.
fn ensure_expected(place: &str, expected: Vec<(String, usize)>, seen: Vec<String>) -> Result<()> {
    let mut balance: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (description, times) in expected {
        balance.entry(description).or_default().0 += times;
    }
    for description in seen {
        balance.entry(description).or_default().1 += 1;
    }
    let mut report = String::new();
    for (description, (expected, seen)) in &balance {
        if expected != seen {
            writeln!(report, "  {expected} expected, {seen} seen: {description}")?;
        }
    }
    ensure!(report.is_empty(), "not as expected {place}:\n{report}");
    Ok(())
}
