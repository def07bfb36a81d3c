//! How costs grow, as SVG.

use std::fmt::Write as _;

use super::figures::Series;
use super::growth::Point;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 360.0;
const MARGIN: f64 = 56.0;
const COLOURS: [&str; 4] = ["#0b6e99", "#b5542d", "#4f7d3a", "#6b4fa0"];

/// What is drawn: x is logarithmic.
struct Plot<'a> {
    /// Name of each line, and its points.
    lines: Vec<(&'a str, Vec<(f64, f64)>)>,
    x: &'a str,
    y: &'a str,
}

/// A line for each tracer: microseconds added to each connection, by the rate.
pub(super) fn rates(rates: &[Series]) -> String {
    let mut names: Vec<&str> = rates.iter().map(|one| one.tracer).collect();
    names.sort_unstable();
    names.dedup();
    let points = |name: &str| -> Vec<(f64, f64)> {
        rates
            .iter()
            .filter(|one| one.tracer == name)
            .filter_map(|one| {
                let rate = f64::from(one.load.arguments.rate()?);
                Some((rate, one.added_us()?.median.max(0.0)))
            })
            .collect()
    };
    svg(&Plot {
        lines: names.iter().map(|name| (*name, points(name))).collect(),
        x: "connections a second (ten transitions each)",
        y: "microseconds of processor time added to each connection",
    })
}

/// Nanoseconds for each event, by how many connections are open.
pub(super) fn growth(points: &[Point]) -> String {
    let line = points
        .iter()
        .map(|point| (f64::from(point.open), point.event_ns.median))
        .collect();
    svg(&Plot {
        lines: vec![("decode and track", line)],
        x: "connections open",
        y: "nanoseconds for each event",
    })
}

fn svg(plot: &Plot<'_>) -> String {
    let all: Vec<(f64, f64)> = plot
        .lines
        .iter()
        .flat_map(|(_, points)| points)
        .map(|(x, y)| (x.log10(), *y))
        .collect();
    let bound = |pick: fn(&(f64, f64)) -> f64, fold: fn(f64, f64) -> f64| {
        all.iter().map(pick).reduce(fold).unwrap_or(1.0)
    };
    let (left, right) = (bound(|p| p.0, f64::min), bound(|p| p.0, f64::max));
    let top = bound(|p| p.1, f64::max).max(1.0);
    let x = |logarithm: f64| {
        MARGIN + (logarithm - left) / (right - left).max(f64::EPSILON) * (WIDTH - 2.0 * MARGIN)
    };
    let y = |value: f64| HEIGHT - MARGIN - value / top * (HEIGHT - 2.0 * MARGIN);

    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for step in 0..=4 {
        let value = top * f64::from(step) / 4.0;
        let _ = writeln!(
            out,
            "<line x1=\"{MARGIN}\" x2=\"{:.1}\" y1=\"{1:.1}\" y2=\"{1:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{2:.1}\" y=\"{3:.1}\" text-anchor=\"end\">{value:.1}</text>",
            WIDTH - MARGIN,
            y(value),
            MARGIN - 6.0,
            y(value) + 4.0
        );
    }
    let mut ticks: Vec<f64> = all.iter().map(|point| point.0).collect();
    ticks.sort_unstable_by(f64::total_cmp);
    ticks.dedup();
    for tick in ticks {
        let _ = writeln!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0}</text>",
            x(tick),
            HEIGHT - MARGIN + 18.0,
            10_f64.powf(tick)
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text x=\"{MARGIN}\" y=\"20\">{}</text>",
        WIDTH / 2.0,
        HEIGHT - 12.0,
        plot.x,
        plot.y
    );
    for (index, (name, points)) in plot.lines.iter().enumerate() {
        let colour = COLOURS.get(index % COLOURS.len()).unwrap_or(&"#000");
        let line: Vec<String> = points
            .iter()
            .map(|(across, up)| format!("{:.1},{:.1}", x(across.log10()), y(*up)))
            .collect();
        let row = MARGIN + 16.0 * f64::from(u8::try_from(index).unwrap_or(u8::MAX));
        let _ = writeln!(
            out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>\
             <text x=\"{:.1}\" y=\"{row:.1}\" text-anchor=\"end\" fill=\"{colour}\">{name}</text>",
            line.join(" "),
            WIDTH - MARGIN
        );
    }
    out.push_str("</svg>\n");
    out
}
