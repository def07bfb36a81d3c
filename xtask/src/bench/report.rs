//! The document: tables of what was measured.

use std::fmt::Write as _;

use anyhow::Result;

use super::delay::Delays;
use super::figures::{Series, Spread};
use super::growth::Growth;

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
| own CPU | processor time of the tracer's process for a million transitions, without what starting it took |
| start | that: processor time of the tracer's process until the storm began |
| program | time in its kernel programs for each transition, as the kernel measures it (`bpf_stats`) |
| missed | transitions of the storm that are not in the output, of a million |
| recovered | transitions for which the kernel refused to run a program, and which the second of the pair recorded, of a million |
| lost | transitions that the tracer itself says it has lost, in all rounds |

";

/// All that was measured.
pub(super) struct Measured {
    pub(super) storms: Vec<Series>,
    pub(super) rates: Vec<Series>,
    pub(super) delays: Option<Delays>,
    pub(super) growth: Option<Growth>,
    /// What could not be measured, and why.
    pub(super) absent: Vec<String>,
}

/// Everything measured, as Markdown.
pub(super) fn markdown(measured: &Measured) -> Result<String> {
    let mut out = HEAD.to_owned();
    push_storms(&mut out, &measured.storms)?;
    push_rates(&mut out, &measured.rates)?;
    if let Some(delays) = &measured.delays {
        writeln!(
            out,
            "\n## Start and stop\n\n\
             | from | to | milliseconds |\n|---|---|---|\n\
             | start of the process | first transition told | {} |\n\
             | SIGINT | end of the process | {} |",
            cell(Some(delays.start_ms), 0),
            cell(Some(delays.stop_ms), 0),
        )?;
    }
    if let Some(growth) = &measured.growth {
        push_growth(&mut out, growth)?;
    }
    if !measured.absent.is_empty() {
        writeln!(out, "\n## Not measured\n")?;
        for line in &measured.absent {
            writeln!(out, "- {line}")?;
        }
    }
    Ok(out)
}

fn push_storms(out: &mut String, series: &[Series]) -> Result<()> {
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
                 | tracer | + CPU us/conn | speed | own CPU s/M | start ms | program ns | bytes/transition | peak MiB | missed ppm | recovered ppm | lost |\n\
                 |---|---|---|---|---|---|---|---|---|---|---|",
                one.rounds
                    .first()
                    .map_or(0, |round| round.without.connections),
                one.rounds.len(),
            )?;
        }
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            one.tracer,
            cell(one.added_us(), 1),
            cell(one.speed_kept(), 2),
            cell(one.own_seconds(), 2),
            cell(one.start_ms(), 0),
            one.program_ns
                .map_or("-".to_owned(), |ns| format!("{ns:.0}")),
            cell(one.bytes_per_event(), 1),
            cell(one.peak_mebibytes(), 0),
            cell(one.missed_ppm(), 0),
            cell(one.recovered_ppm(), 0),
            one.lost().map_or("-".to_owned(), |count| count.to_string()),
        )?;
    }
    Ok(())
}

fn push_rates(out: &mut String, rates: &[Series]) -> Result<()> {
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
    Ok(())
}

fn push_growth(out: &mut String, growth: &Growth) -> Result<()> {
    out.push_str(
        "\n## The core, by connections open\n\n\
         What one processor needs to decode a transition and to follow its connection, each transition of another\n\
         connection than the one before (`cargo bench -p tracer --bench core`). The ranges are Criterion's.\n\n\
         ![Time for each event by connections open](benchmarks-growth.svg)\n\n\
         | connections open | ns/event | M events/s |\n|---|---|---|\n",
    );
    for point in &growth.points {
        writeln!(
            out,
            "| {} | {} | {:.1} |",
            point.open,
            cell(Some(point.event_ns), 0),
            1e3 / point.event_ns.median,
        )?;
    }
    writeln!(
        out,
        "\nMemory (`tracer/tests/memory.rs`): {}.",
        growth.memory
    )?;
    Ok(())
}

fn cell(spread: Option<Spread>, digits: usize) -> String {
    spread.map_or("-".to_owned(), |Spread { low, median, high }| {
        format!("{median:.digits$} [{low:.digits$}, {high:.digits$}]")
    })
}
