//! Runs the tests one after the other and reports as `cargo test` does.
//!
//! Not the standard harness: the tests need root, run this program again as the processes they
//! watch, and share one run of tracer among many.

use std::env;
use std::io::Write;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::compare::Inconclusive;
use crate::scenarios::Impossible;

/// Whether a test could be run.
pub(crate) enum Verdict {
    Passed,
    /// Not run, and why.
    Skipped(String),
}

/// Names of tests, each with how it went.
pub(crate) type Results = Vec<(String, Result<Verdict>)>;

/// Runs one test.
pub(crate) type RunOne = fn() -> Result<Verdict>;
/// Runs those tests of a group that are wanted.
pub(crate) type RunGroup = Box<dyn Fn(&[String]) -> Results>;

/// A test, or a group of tests that are run together.
pub(crate) enum Suite {
    One(&'static str, RunOne),
    Group(Vec<String>, RunGroup),
}

impl Suite {
    fn names(&self) -> Vec<String> {
        match self {
            Self::One(name, _) => vec![(*name).to_owned()],
            Self::Group(names, _) => names.clone(),
        }
    }

    fn run(&self, wanted: &[String]) -> Results {
        match self {
            Self::One(name, run) => vec![((*name).to_owned(), run())],
            Self::Group(_, run) => run(wanted),
        }
    }
}

/// The command line of `cargo test`, as far as it makes sense here.
#[derive(Default)]
struct Wanted {
    filters: Vec<String>,
    skips: Vec<String>,
    exact: bool,
    list: bool,
}

impl Wanted {
    fn parse(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut wanted = Self::default();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => wanted.list = true,
                "--exact" => wanted.exact = true,
                "--skip" => wanted.skips.extend(arguments.next()),
                "--test-threads" | "--format" | "--color" | "--logfile" | "-Z" => {
                    arguments.next();
                }
                flag if flag.starts_with('-') => {}
                filter => wanted.filters.push(filter.to_owned()),
            }
        }
        wanted
    }

    fn wants(&self, name: &str) -> bool {
        let matches = |filter: &String| {
            if self.exact {
                name == filter
            } else {
                name.contains(filter.as_str())
            }
        };
        (self.filters.is_empty() || self.filters.iter().any(matches))
            && !self.skips.iter().any(matches)
    }
}

/// Whether a test that cannot be run is a failure.
fn in_ci() -> bool {
    env::var_os("CI").is_some_and(|value| !value.is_empty())
}

/// Runs what the command line asks for. `unable` tells why none can be run. True if all went well.
pub(crate) fn run(
    suites: &[Suite],
    arguments: impl Iterator<Item = String>,
    unable: impl FnOnce() -> Option<String>,
) -> Result<bool> {
    let wanted = Wanted::parse(arguments);
    let selected: Vec<(&Suite, Vec<String>)> = suites
        .iter()
        .map(|suite| {
            let mut names = suite.names();
            names.retain(|name| wanted.wants(name));
            (suite, names)
        })
        .collect();
    let count: usize = selected.iter().map(|(_, names)| names.len()).sum();
    let total: usize = suites.iter().map(|suite| suite.names().len()).sum();
    let mut out = std::io::stdout().lock();
    if wanted.list {
        for name in selected.iter().flat_map(|(_, names)| names) {
            writeln!(out, "{name}: test")?;
        }
        return Ok(true);
    }

    writeln!(out, "\nrunning {count} live tests")?;
    let start = Instant::now();
    let unable = if count == 0 { None } else { unable() };
    let mut tally = Tally::default();
    for (suite, names) in selected {
        if names.is_empty() {
            continue;
        }
        let results = match &unable {
            None => run_until_conclusive(&mut out, suite, &names)?,
            Some(why) => names
                .into_iter()
                .map(|name| (name, Ok(Verdict::Skipped(why.clone()))))
                .collect(),
        };
        for (name, result) in results {
            tally.add(&mut out, &name, result)?;
        }
    }
    for same in tally.failures.chunk_by(|(_, one), (_, other)| one == other) {
        writeln!(out)?;
        for (name, _) in same {
            writeln!(out, "---- {name} ----")?;
        }
        if let Some((_, failure)) = same.first() {
            writeln!(out, "{failure}")?;
        }
    }
    let word = if tally.failures.is_empty() {
        "ok"
    } else {
        "FAILED"
    };
    writeln!(
        out,
        "\ntest result: {word}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        tally.passed,
        tally.failures.len(),
        tally.skipped,
        total - count,
        start.elapsed().as_secs_f64()
    )?;
    Ok(tally.failures.is_empty())
}

/// Runs tests again as long as they are inconclusive, a few times.
fn run_until_conclusive(out: &mut impl Write, suite: &Suite, names: &[String]) -> Result<Results> {
    const REPETITIONS: usize = 4;
    let mut results = suite.run(names);
    for _ in 0..REPETITIONS {
        let mut again = Vec::new();
        for (name, result) in &results {
            let error = result.as_ref().err();
            if let Some(why) = error.and_then(|error| error.downcast_ref::<Inconclusive>()) {
                writeln!(out, "test {name} ... repeated: {why}")?;
                again.push(name.clone());
            }
        }
        if again.is_empty() {
            break;
        }
        for (name, result) in suite.run(&again) {
            if let Some(place) = results.iter_mut().find(|(other, _)| *other == name) {
                place.1 = result;
            }
        }
    }
    Ok(results)
}

#[derive(Default)]
struct Tally {
    passed: usize,
    skipped: usize,
    failures: Vec<(String, String)>,
}

impl Tally {
    fn add(&mut self, out: &mut impl Write, name: &str, result: Result<Verdict>) -> Result<()> {
        let result = match result {
            Err(error) => match error.downcast::<Impossible>() {
                Ok(Impossible(why)) => Ok(Verdict::Skipped(why)),
                Err(error) => Err(error),
            },
            other => other,
        };
        match result {
            Ok(Verdict::Passed) => {
                self.passed += 1;
                writeln!(out, "test {name} ... ok")
            }
            Ok(Verdict::Skipped(why)) if in_ci() => {
                let failure = format!("cannot be run: {why} (with CI set that is a failure)");
                self.failures.push((name.to_owned(), failure));
                writeln!(out, "test {name} ... FAILED, {why}")
            }
            Ok(Verdict::Skipped(why)) => {
                self.skipped += 1;
                writeln!(out, "test {name} ... skipped: {why}")
            }
            Err(error) => {
                self.failures.push((name.to_owned(), format!("{error:#}")));
                writeln!(out, "test {name} ... FAILED")
            }
        }
        .context("cannot write the report")?;
        out.flush().context("cannot write the report")
    }
}
