//! What a boot shows: whether tracer does on that kernel what it says.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use super::protocol::Outcome;
use super::qemu::{Boot, End};
use super::storm::Storm;

/// Names of the tasks of a test run.
pub(super) const VERSION: &str = "version";
pub(super) const DOCTOR: &str = "doctor";
pub(super) const DOCTOR_JSON: &str = "doctor-json";
pub(super) const LIVE: &str = "live";
/// Without functions of the kernel.
pub(super) const LIVE_POLLING: &str = "live-polling";
pub(super) const STORMS: [(&str, &str); 2] = [("storm-raw", "raw"), ("storm-classic", "classic")];

/// What `tracer doctor --json` says.
#[derive(Debug, Deserialize)]
pub(super) struct Doctor {
    pub(super) ok: bool,
    pub(super) checks: Vec<Check>,
}

/// One line of it.
#[derive(Debug, Deserialize)]
pub(super) struct Check {
    pub(super) name: String,
    pub(super) status: String,
    pub(super) detail: String,
}

/// What the live tests said, by the first part of their names.
pub(super) type Live = BTreeMap<String, Group>;

/// Live tests of one kind.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) passed: usize,
    /// Names of tests, each with why it could not be run.
    pub(super) skipped: Vec<(String, String)>,
    pub(super) failed: Vec<String>,
}

/// All that a test run showed.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) doctor: Option<Doctor>,
    /// For each of [`STORMS`] that came to its end.
    pub(super) storms: Vec<(&'static str, Storm)>,
    pub(super) live: Live,
    /// What is wrong; empty if nothing is.
    pub(super) failures: Vec<String>,
}

impl Findings {
    pub(super) fn of(boot: &Boot) -> Self {
        let mut findings = Self::default();
        match boot.end {
            End::Done(_) => {}
            End::Panic => findings.fail("the kernel panicked"),
            End::Timeout => findings.fail("the machine did not come to its end in time"),
            End::Silent => findings.fail("the machine ended without a word"),
        }
        for outcome in &boot.outcomes {
            if outcome.name == LIVE {
                findings.judge_live(outcome, "");
            } else if outcome.name == LIVE_POLLING {
                findings.judge_live(outcome, " without functions");
            } else if !outcome.succeeded() {
                let said = String::from_utf8_lossy(&outcome.stderr);
                let said = said.trim();
                findings.fail(format!(
                    "{}: status {} {said}",
                    outcome.name, outcome.status
                ));
            }
        }
        match doctor(&boot.outcomes) {
            Ok(doctor) => {
                findings.judge_doctor(&doctor);
                findings.doctor = Some(doctor);
            }
            Err(error) => findings.fail(format!("{error:#}")),
        }
        for (task, hook) in STORMS {
            match storm(&boot.outcomes, task) {
                Ok(storm) => findings.storms.push((hook, storm)),
                Err(error) => findings.fail(format!("{error:#}")),
            }
        }
        findings
    }

    fn judge_doctor(&mut self, doctor: &Doctor) {
        if !doctor.ok {
            self.fail("doctor: tracer cannot run");
        }
        for name in [
            "self-test",
            "raw_tracepoint:inet_sock_set_state",
            "raw_tracepoint:inet_sock_set_state (twin)",
        ] {
            match doctor.checks.iter().find(|check| check.name == name) {
                Some(check) if check.status == "ok" => {}
                Some(check) => self.fail(format!("{name}: {}", check.detail)),
                None => self.fail(format!("doctor has no line {name}")),
            }
        }
        // All kernels that are tested have them, and let us listen.
        for check in &doctor.checks {
            if check.name.starts_with("function:") && check.status != "ok" {
                self.fail(format!("{}: {}", check.name, check.detail));
            }
        }
    }

    /// `how` they were run is added to their kinds.
    fn judge_live(&mut self, outcome: &Outcome, how: &str) {
        let groups = live(&String::from_utf8_lossy(&outcome.stdout));
        let failed: Vec<String> = groups
            .values()
            .flat_map(|group| group.failed.clone())
            .collect();
        for name in &failed {
            self.fail(format!("live test {name}{how}"));
        }
        let groups = groups.into_iter();
        self.live
            .extend(groups.map(|(kind, group)| (kind + how, group)));
        if !outcome.succeeded() && failed.is_empty() {
            let said = String::from_utf8_lossy(&outcome.stderr);
            self.fail(format!(
                "live tests{how}: status {} {}",
                outcome.status,
                said.trim()
            ));
        }
    }

    fn fail(&mut self, what: impl Into<String>) {
        self.failures.push(what.into());
    }

    /// All lines of `doctor`.
    pub(super) fn checks(&self) -> impl Iterator<Item = &Check> {
        self.doctor.iter().flat_map(|doctor| &doctor.checks)
    }

    /// Checks that are neither well nor failed, each with the reason.
    pub(super) fn degraded(&self) -> impl Iterator<Item = &Check> {
        self.checks().filter(|check| check.status == "degraded")
    }
}

/// From lines such as `test group::name ... ok`.
fn live(report: &str) -> Live {
    let mut live = Live::new();
    for line in report.lines() {
        let Some((name, result)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        else {
            continue;
        };
        // How it went in the end, another line says.
        if result.starts_with("repeated: ") {
            continue;
        }
        let (kind, _) = name.split_once("::").unwrap_or((name, ""));
        let group = live.entry(kind.to_owned()).or_default();
        match result.strip_prefix("skipped: ") {
            Some(why) => group.skipped.push((name.to_owned(), why.to_owned())),
            None if result == "ok" => group.passed += 1,
            None => group.failed.push(name.to_owned()),
        }
    }
    live
}

fn doctor(outcomes: &[Outcome]) -> Result<Doctor> {
    serde_json::from_slice(&find(outcomes, DOCTOR_JSON)?.stdout)
        .with_context(|| format!("{DOCTOR_JSON} gave no report"))
}

fn storm(outcomes: &[Outcome], task: &str) -> Result<Storm> {
    let outcome = find(outcomes, task)?;
    ensure!(!outcome.stdout.is_empty(), "{task} gave no result");
    serde_json::from_slice(&outcome.stdout).with_context(|| format!("{task} gave no result"))
}

fn find<'o>(outcomes: &'o [Outcome], task: &str) -> Result<&'o Outcome> {
    outcomes
        .iter()
        .find(|outcome| outcome.name == task)
        .with_context(|| format!("{task} did not run"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn outcome(name: &str, stdout: &str) -> Outcome {
        Outcome {
            name: name.into(),
            status: "0".into(),
            stdout: stdout.into(),
            stderr: Vec::new(),
        }
    }

    fn good() -> Vec<Outcome> {
        let check =
            |name: &str| format!("{{\"name\":\"{name}\",\"status\":\"ok\",\"detail\":\"\"}}");
        let checks = [
            check("self-test"),
            check("raw_tracepoint:inet_sock_set_state"),
            check("raw_tracepoint:inet_sock_set_state (twin)"),
        ];
        let storm = "{\"by_kernel\":1,\"by_tracer\":1,\"lost\":0,\"recovered\":0,\
                     \"losses_unknown\":false,\"differences\":{},\"broken_chains\":0}";
        vec![
            outcome(
                DOCTOR_JSON,
                &format!("{{\"ok\":true,\"checks\":[{}]}}", checks.join(",")),
            ),
            outcome("storm-raw", storm),
            outcome("storm-classic", storm),
        ]
    }

    fn findings(end: End, outcomes: Vec<Outcome>) -> Findings {
        Findings::of(&Boot {
            end,
            outcomes,
            took: Duration::ZERO,
        })
    }

    #[test]
    fn live_tests_by_kind() {
        let report = "\nrunning 4 live tests\ntest a::x ... repeated: slow\ntest a::x ... ok\ntest a::y ... skipped: no z\n\
                      test b ... FAILED\n\ntest result: FAILED. 1 passed; 1 failed\n";
        let mut outcomes = good();
        outcomes.push(Outcome {
            status: "1".into(),
            ..outcome(LIVE, report)
        });
        outcomes.push(outcome(LIVE_POLLING, "test a::x ... ok\n"));
        let findings = findings(End::Done(1), outcomes);
        assert_eq!(findings.failures, ["live test b"]);
        assert_eq!(findings.live["a without functions"].passed, 1);
        assert_eq!(
            findings.live["a"],
            Group {
                passed: 1,
                skipped: vec![("a::y".into(), "no z".into())],
                failed: vec![],
            }
        );
    }

    #[test]
    fn live_tests_without_a_word() {
        let mut outcomes = good();
        outcomes.push(Outcome {
            status: "took more than 1 s".into(),
            ..outcome(LIVE, "test a::x ... ok\n")
        });
        let findings = findings(End::Done(1), outcomes);
        assert_eq!(findings.failures.len(), 1, "{findings:?}");
    }

    #[test]
    fn all_well() {
        let findings = findings(End::Done(0), good());
        assert!(findings.failures.is_empty(), "{findings:?}");
        assert_eq!(findings.storms.len(), 2);
    }

    #[test]
    fn each_lack_is_a_failure() {
        for missing in 0..3 {
            let mut outcomes = good();
            outcomes.remove(missing);
            let findings = findings(End::Done(0), outcomes);
            assert_eq!(findings.failures.len(), 1, "{missing}: {findings:?}");
        }
        assert_eq!(findings(End::Panic, good()).failures.len(), 1);
        let mut outcomes = good();
        outcomes[0].stdout = String::from_utf8(outcomes[0].stdout.clone())
            .unwrap()
            .replacen("\"ok\",", "\"degraded\",", 2)
            .into_bytes();
        assert_eq!(findings(End::Done(0), outcomes).failures.len(), 2);
        let mut outcomes = good();
        let refused = "{\"name\":\"function:f\",\"status\":\"degraded\",\"detail\":\"\"},";
        outcomes[0].stdout = String::from_utf8(outcomes[0].stdout.clone())
            .unwrap()
            .replacen('[', &format!("[{refused}"), 1)
            .into_bytes();
        assert_eq!(findings(End::Done(0), outcomes).failures.len(), 1);
    }
}
