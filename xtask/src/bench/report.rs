//! The document: tables of what was measured.

use std::fmt::Write as _;

use anyhow::Result;

use super::figures::{Series, Spread};

const HEAD: &str = "\
# Benchmarks

Written by `cargo xtask bench --write`. A storm of short loopback connections, ten transitions each, runs
without and with a tracer in turn. Each figure is the median of the rounds, with its range; a figure that
compares takes both runs from the same round. Only ratios and differences say something: the machine is
shared, and absolute times are not those of another.

| column | meaning |
|---|---|
| + CPU | processor time added to each connection of the storm, kernel included: what tracing costs those who are traced |
| speed | connections a second, as a part of those without a tracer |
| own CPU | processor time of the tracer's process for a million transitions |
| program | time in its kernel programs for each transition, as the kernel measures it (`bpf_stats`) |
| missed | transitions of the storm that are not in the output, of a million |

";

/// Everything measured, as Markdown.
pub(super) fn markdown(series: &[Series], rates: &[Series], absent: &[String]) -> Result<String> {
    let mut out = HEAD.to_owned();
    let mut load = None;
    for one in series {
        if load != Some(&one.load.name) {
            load = Some(&one.load.name);
            let what = if one.load.name == "crossing" {
                "One thread connects, another accepts: transitions interrupt each other"
            } else {
                "As fast as the machine can: two threads, each both sides of its connections"
            };
            writeln!(
                out,
                "\n## {what}\n\n{} connections, {} rounds.\n\n\
                 | tracer | + CPU us/conn | speed | own CPU s/M | program ns | bytes/transition | peak MiB | missed ppm |\n\
                 |---|---|---|---|---|---|---|---|",
                one.rounds
                    .first()
                    .map_or(0, |round| round.without.connections),
                one.rounds.len(),
            )?;
        }
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            one.tracer,
            cell(one.added_us(), 1),
            cell(one.speed_kept(), 2),
            cell(one.own_seconds(), 2),
            one.program_ns
                .map_or("-".to_owned(), |ns| format!("{ns:.0}")),
            cell(one.bytes_per_event(), 1),
            cell(one.peak_mebibytes(), 0),
            cell(one.missed_ppm(), 0),
        )?;
    }
    if !rates.is_empty() {
        out.push_str(
            "\n## At fixed rates\n\n\
             ![Added processor time by rate](benchmarks-rate.svg)\n\n\
             | tracer | rate | + CPU us/conn | own CPU s/M | missed ppm |\n|---|---|---|---|---|\n",
        );
        for one in rates {
            writeln!(
                out,
                "| {} | {} | {} | {} | {} |",
                one.tracer,
                one.load.name,
                cell(one.added_us(), 1),
                cell(one.own_seconds(), 2),
                cell(one.missed_ppm(), 0),
            )?;
        }
    }
    if !absent.is_empty() {
        writeln!(out, "\nNot measured:\n")?;
        for line in absent {
            writeln!(out, "- {line}")?;
        }
    }
    Ok(out)
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".to_owned(), |Spread { low, median, high }| {
        format!("{median:.digits$} [{low:.digits$}, {high:.digits$}]")
    })
}
