//! Lines of `text` and `timeline` that begin with `#`: what is not about one connection.

use std::fmt::Write;

use bytes::{BufMut, BytesMut};

use super::time::human;
use super::vocab::loss_reasons;
use crate::session::{ClockMap, Lost};

/// A remark that wall-clock times before and after do not compare, unless the clock was only slewed.
pub(super) fn clock_step(out: &mut BytesMut, before: Option<ClockMap>, clock: &ClockMap) {
    const SLEWED_BELOW_NS: u64 = 1_000_000;
    let Some(before) = before else { return };
    let step_ns = clock.wall_ns.saturating_sub(before.wall_ns(clock.mono_ns));
    if step_ns.unsigned_abs() >= SLEWED_BELOW_NS {
        let sign = if step_ns < 0 { '-' } else { '+' };
        let step = human(step_ns.unsigned_abs());
        let _ = writeln!(
            out,
            "# the wall clock was set: {sign}{step}; durations are not affected"
        );
    }
}

/// A remark on events lost since the last such remark.
pub(super) fn lost(out: &mut BytesMut, time: &str, lost: &Lost) {
    let total = lost.total();
    if total == 0 && lost.evidence == 0 {
        return;
    }
    let what = match total {
        0 => "no transition was lost".to_owned(),
        1 => "lost 1 transition".to_owned(),
        _ => format!("lost {total} transitions"),
    };
    let but = if total == 0 { ", but" } else { "" };
    let _ = write!(
        out,
        "# {time}  {what} since the start or the last such line{but}"
    );
    let mut separator = ": ";
    for reason in loss_reasons(lost) {
        if reason.count > 0 {
            let _ = write!(out, "{separator}{} ({})", reason.what, reason.count);
            separator = "; ";
        }
    }
    out.put_u8(b'\n');
}
