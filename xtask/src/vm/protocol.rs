//! What host and guest tell each other: the host a plan, as a file in the guest's file system; the guest
//! what came of it, over a serial port.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, bail};

/// What the guest is to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Files of kernel modules, in the order of loading.
    pub(super) modules: Vec<String>,
    pub(super) commands: Vec<Task>,
}

/// A command to run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Task {
    pub(super) name: String,
    pub(super) limit_seconds: u64,
    pub(super) words: Vec<String>,
}

/// What came of a [`Task`].
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    pub(super) name: String,
    /// Exit code, or what ended the command instead.
    pub(super) status: String,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
}

impl Outcome {
    pub(super) fn succeeded(&self) -> bool {
        self.status == "0"
    }
}

impl Plan {
    pub(super) fn to_text(&self) -> Result<String> {
        let mut text = String::new();
        for file in &self.modules {
            writeln!(text, "module\t{file}")?;
        }
        for task in &self.commands {
            if task.words.iter().any(|word| word.contains(['\t', '\n'])) {
                bail!("a command with a tab or a line break cannot be passed to the guest");
            }
            let words = task.words.join("\t");
            writeln!(text, "run\t{}\t{}\t{words}", task.name, task.limit_seconds)?;
        }
        Ok(text)
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut plan = Self::default();
        for line in text.lines() {
            match *line.split('\t').collect::<Vec<_>>().as_slice() {
                ["module", file] => plan.modules.push(file.to_owned()),
                ["run", name, limit, ref words @ ..] => plan.commands.push(Task {
                    name: name.to_owned(),
                    limit_seconds: limit.parse().context("not a number of seconds")?,
                    words: words.iter().map(|word| (*word).to_owned()).collect(),
                }),
                _ => bail!("not a line of a plan: {line}"),
            }
        }
        Ok(plan)
    }
}

const OUTCOME: &str = "VMTEST-OUTCOME";
const EXIT: &str = "VMTEST-EXIT";

impl Outcome {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = format!(
            "{OUTCOME}\t{}\t{}\t{}\t{}\n",
            self.name,
            self.status,
            self.stdout.len(),
            self.stderr.len()
        )
        .into_bytes();
        bytes.extend_from_slice(&self.stdout);
        bytes.extend_from_slice(&self.stderr);
        bytes.push(b'\n');
        bytes
    }
}

/// The line that says that all outcomes were written.
pub(super) fn exit_marker(code: u8) -> String {
    format!("{EXIT} {code}\n")
}

/// All outcomes that arrived, and the exit code if the guest came to its end.
pub(super) fn parse_report(bytes: &[u8]) -> (Vec<Outcome>, Option<u8>) {
    let mut outcomes = Vec::new();
    let mut rest = bytes;
    loop {
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let text = String::from_utf8_lossy(line);
        if let Some(code) = text.strip_prefix(EXIT) {
            return (outcomes, code.trim().parse().ok());
        }
        let Some((outcome, after)) =
            parse_outcome(&text, rest.get(line.len() + 1..).unwrap_or_default())
        else {
            return (outcomes, None);
        };
        outcomes.push(outcome);
        rest = after;
    }
}

fn parse_outcome<'b>(line: &str, body: &'b [u8]) -> Option<(Outcome, &'b [u8])> {
    let mut words = line.split('\t');
    if words.next() != Some(OUTCOME) {
        return None;
    }
    let (name, status) = (words.next()?.to_owned(), words.next()?.to_owned());
    let (stdout, rest) = body.split_at_checked(words.next()?.parse().ok()?)?;
    let (stderr, rest) = rest.split_at_checked(words.next()?.parse().ok()?)?;
    let outcome = Outcome {
        name,
        status,
        stdout: stdout.to_owned(),
        stderr: stderr.to_owned(),
    };
    Some((outcome, rest.strip_prefix(b"\n")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plan_survives_its_file() {
        let plan = Plan {
            modules: vec!["/modules/veth.ko".into()],
            commands: vec![Task {
                name: "doctor".into(),
                limit_seconds: 60,
                words: vec!["tracer".into(), "--comm=a b".into(), String::new()],
            }],
        };
        assert_eq!(Plan::parse(&plan.to_text().unwrap()).unwrap(), plan);
        assert!(Plan::parse("walk\tx\n").is_err());
    }

    #[test]
    fn report_may_end_anywhere() {
        let outcome = || Outcome {
            name: "doctor".into(),
            status: "0".into(),
            stdout: b"VMTEST-EXIT 0\n\xff".to_vec(),
            stderr: b"oops".to_vec(),
        };
        let mut bytes = outcome().to_bytes();
        let first = bytes.len();
        bytes.extend(outcome().to_bytes());
        let both = bytes.len();
        bytes.extend(exit_marker(7).bytes());
        assert_eq!(parse_report(&bytes), (vec![outcome(), outcome()], Some(7)));
        for cut in 0..both {
            let (outcomes, code) = parse_report(&bytes[..cut]);
            assert_eq!(outcomes.len(), usize::from(cut >= first), "cut at {cut}");
            assert_eq!(code, None);
        }
    }
}
