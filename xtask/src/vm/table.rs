//! `docs/kernels.md`: what works on which kernel, from the runs just made.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::Result;

use super::verdict::{Findings, Group};

/// One kernel and what was found on it.
pub(super) struct Row {
    pub(super) series: String,
    pub(super) release: String,
    pub(super) findings: Findings,
}

const HEAD: &str = "\
# What works on which kernel

Written by `cargo xtask vm --write-table`: each kernel is Debian's cloud kernel, booted in an emulated
machine of two CPUs, where `tracer doctor` and the tests were run. The columns are the series that were
tested, nothing in between.

";

const STORM: &str = "
\"Storm\" is some six thousand transitions of loopback connections that interrupt each other, compared with
the kernel's own record (ftrace). \"Losses counted\" means that every transition which tracer did not print
was counted and said to be lost; \"losses not counted\" that the kernel does not tell of all of them, and
tracer says so.
";

/// The whole file.
pub(super) fn to_markdown(rows: &[Row]) -> Result<String> {
    let mut table = Table {
        rows,
        text: HEAD.to_owned(),
        notes: Vec::new(),
    };
    table.line("", |row| row.series.clone());
    writeln!(table.text, "|---|{}", "---|".repeat(rows.len()))?;
    table.line("release tested", |row| row.release.clone());
    for name in check_names(rows) {
        let shown = format!("`{name}`");
        table.noted_line(&shown, |row| match status(&row.findings, &name) {
            None => ("not tried".to_owned(), None),
            Some(("ok", detail, _)) if detail.starts_with("not needed") => {
                ("not needed".to_owned(), None)
            }
            Some(("ok", _, hook)) => {
                let (kind, _) = function(hook).unwrap_or(("yes", hook));
                (kind.to_owned(), None)
            }
            Some((_, reason, _)) => ("no".to_owned(), Some(reason.to_owned())),
        });
    }
    for hook in ["raw", "classic"] {
        table.line(&format!("storm, `--hook {hook}`"), |row| {
            storm(&row.findings, hook)
        });
    }
    for kind in live_kinds(rows) {
        table.noted_line(&format!("live tests, {kind}"), |row| {
            row.findings
                .live
                .get(&kind)
                .map_or(("not run".to_owned(), None), live)
        });
    }
    table.text.push_str(STORM);
    for (number, note) in (1..).zip(&table.notes) {
        write!(table.text, "\n{number}. {note}")?;
    }
    if !table.notes.is_empty() {
        table.text.push('\n');
    }
    Ok(table.text)
}

struct Table<'r> {
    rows: &'r [Row],
    text: String,
    notes: Vec<String>,
}

impl Table<'_> {
    fn line(&mut self, name: &str, cell: impl Fn(&Row) -> String) {
        self.noted_line(name, |row| (cell(row), None));
    }

    fn noted_line(&mut self, name: &str, cell: impl Fn(&Row) -> (String, Option<String>)) {
        let mut line = format!("| {name} |");
        for row in self.rows {
            let (mut text, note) = cell(row);
            if let Some(note) = note {
                let known = self.notes.iter().position(|known| *known == note);
                let index = known.unwrap_or_else(|| {
                    self.notes.push(note);
                    self.notes.len() - 1
                });
                let _ = write!(text, " ({})", index + 1);
            }
            let _ = write!(line, " {text} |");
        }
        self.text += &line;
        self.text.push('\n');
    }
}

/// How a function of the kernel is listened to, and its name.
fn function(hook: &str) -> Option<(&str, &str)> {
    let (kind, name) = hook.split_once(':')?;
    ["fentry", "fexit", "kprobe", "kretprobe", "function"]
        .contains(&kind)
        .then_some((kind, name))
}

/// Under which name a check has its line: a function of the kernel has one, whatever listens to it.
fn line_of(check: &str) -> String {
    match function(check) {
        Some((_, name)) => format!("function:{name}"),
        None => check.to_owned(),
    }
}

/// Hooks and the self-test, in the order of `doctor`; what any kernel lacks besides.
fn check_names(rows: &[Row]) -> Vec<String> {
    let mut names = Vec::new();
    for check in rows.iter().flat_map(|row| row.findings.checks()) {
        let name = line_of(&check.name);
        let wanted = name.contains("tracepoint:")
            || function(&name).is_some()
            || name == "self-test"
            || check.status == "degraded";
        if wanted && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Status, detail and name of the check for a line. A field is only spoken of where it is missing.
fn status<'f>(findings: &'f Findings, line: &str) -> Option<(&'f str, &'f str, &'f str)> {
    let found = findings.checks().find(|check| line_of(&check.name) == line);
    match found {
        Some(check) => Some((&check.status, &check.detail, &check.name)),
        None if line.starts_with("event field") && findings.doctor.is_some() => {
            Some(("ok", "", ""))
        }
        None => None,
    }
}

fn storm(findings: &Findings, hook: &str) -> String {
    let storm = findings.storms.iter().find(|(name, _)| *name == hook);
    match storm {
        None => "not run",
        Some((_, storm)) if !storm.is_true() => "FAILED",
        Some((_, storm)) if storm.losses_unknown => "losses not counted",
        Some(("raw", storm)) if storm.lost == 0 => "all printed",
        Some(_) => "losses counted",
    }
    .to_owned()
}

fn live_kinds(rows: &[Row]) -> BTreeSet<String> {
    let kinds = rows.iter().flat_map(|row| row.findings.live.keys());
    kinds.cloned().collect()
}

fn live(group: &Group) -> (String, Option<String>) {
    let mut text = format!("{} passed", group.passed);
    if !group.failed.is_empty() {
        let _ = write!(text, ", {} FAILED", group.failed.len());
    }
    if group.skipped.is_empty() {
        return (text, None);
    }
    let _ = write!(text, ", {} not run", group.skipped.len());
    let reasons: BTreeSet<&str> = group.skipped.iter().map(|(_, why)| why.as_str()).collect();
    let reasons: Vec<&str> = reasons.into_iter().collect();
    (text, Some(reasons.join("; ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::verdict::{Check, Doctor};

    fn row(series: &str, checks: &[(&str, &str, &str)]) -> Row {
        let checks = checks.iter().map(|(name, status, detail)| Check {
            name: (*name).to_owned(),
            status: (*status).to_owned(),
            detail: (*detail).to_owned(),
        });
        Row {
            series: series.to_owned(),
            release: format!("{series}.1"),
            findings: Findings {
                doctor: Some(Doctor {
                    ok: true,
                    checks: checks.collect(),
                }),
                ..Findings::default()
            },
        }
    }

    #[test]
    fn reasons_are_noted_once() {
        let mut old = row(
            "5.10",
            &[
                ("raw_tracepoint:x", "degraded", "no such file"),
                ("event field y", "degraded", "no such file"),
                ("kprobe:f", "ok", "attached"),
            ],
        );
        old.findings.live.insert(
            "cli".into(),
            Group {
                passed: 2,
                skipped: vec![("cli::a".into(), "no sh".into())],
                failed: vec![],
            },
        );
        let new = row(
            "6.12",
            &[
                ("raw_tracepoint:x", "ok", "attached"),
                ("fentry:f", "ok", "attached"),
            ],
        );
        let text = to_markdown(&[old, new]).unwrap();
        for line in [
            "|  | 5.10 | 6.12 |\n|---|---|---|\n",
            "| `raw_tracepoint:x` | no (1) | yes |\n",
            "| `event field y` | no (1) | yes |\n",
            "| `function:f` | kprobe | fentry |\n",
            "| storm, `--hook raw` | not run | not run |\n",
            "| live tests, cli | 2 passed, 1 not run (2) | not run |\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
        assert!(text.ends_with("\n1. no such file\n2. no sh\n"), "{text}");
    }
}
