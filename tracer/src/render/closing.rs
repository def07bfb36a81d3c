//! What a run saw and what it lost, told at its end.

use std::fmt::Write;

use super::plain::plain;
use super::time::human;
use super::vocab::{self, loss_reasons};
use crate::diagnose::Verdict;
use crate::session::{Lost, Missing, MissingEnd, Totals, Verdicts};

/// The closing words for stderr: what was seen, shown and lost, and what to do about the loss. Ends
/// with a newline. `uncounted` is why more may be lost than was counted.
pub fn closing_words(totals: &Totals, uncounted: Option<&str>) -> String {
    let mut out = String::new();
    push_seen(&mut out, totals);
    push_verdicts(&mut out, &totals.verdicts);
    push_losses(&mut out, totals, uncounted);
    out
}

/// What was lost, as in [`closing_words`].
pub fn losses(lost: &Lost, uncounted: Option<&str>) -> String {
    let mut out = String::new();
    let totals = Totals {
        lost: *lost,
        ..Totals::default()
    };
    push_losses(&mut out, &totals, uncounted);
    out
}

/// What was seen and shown.
pub(super) fn push_seen(out: &mut String, totals: &Totals) {
    let _ = write!(
        out,
        "{} of {} shown in {}",
        count(totals.shown, "transition", "transitions"),
        count(
            totals.connections.saturating_sub(totals.unchanged),
            "connection or listener",
            "connections or listeners"
        ),
        human(totals.duration_ns),
    );
    if totals.events > totals.shown {
        let _ = write!(out, "; {} looked at", totals.events);
    }
    out.push('\n');
    if totals.unchanged > 0 {
        let older = count(totals.unchanged, "older one", "older ones");
        let _ = writeln!(out, "{older} did not change");
    }
}

/// What was lost, and what to do about it.
pub(super) fn push_losses(out: &mut String, totals: &Totals, uncounted: Option<&str>) {
    if totals.recovered > 0 {
        let _ = writeln!(
            out,
            "{} recorded by the second program where the first could not run",
            count(totals.recovered, "transition", "transitions"),
        );
    }
    if totals.aged_out > 0 {
        let _ = writeln!(
            out,
            "{} forgotten before the end\nhint: raise --max-connections",
            count(totals.aged_out, "connection", "connections"),
        );
    }
    if totals.unwatched > 0 {
        let _ = writeln!(
            out,
            "{} not watched by --stuck: too many at once",
            count(
                totals.unwatched,
                "stay in a state was",
                "stays in a state were"
            ),
        );
    }
    let lost = totals.lost.total();
    if lost > 0 {
        let transitions = count(lost, "transition was", "transitions were");
        let _ = writeln!(out, "{transitions} lost:");
    } else if totals.lost.evidence > 0 {
        out.push_str("no transition was lost, but:\n");
    } else {
        out.push_str(match uncounted {
            None if totals.missing.damages_uncounted > 0 => "no loss was counted\n",
            None if totals.missing.is_any() => "no event was lost in what was read\n",
            None => "no event was lost\n",
            Some(_) => "no loss was counted\n",
        });
    }
    for reason in loss_reasons(&totals.lost) {
        if reason.count > 0 {
            let _ = writeln!(out, "{:>8}  {}", reason.count, reason.what);
            let _ = writeln!(out, "          hint: {}", reason.hint);
        }
    }
    if let Some(reason) = uncounted {
        let _ = writeln!(out, "events may be lost uncounted: {}", plain(reason));
    }
    for part in missing_parts(&totals.missing) {
        let _ = writeln!(out, "missing: {}", part.words);
    }
    if let Some(words) = doubled(&totals.missing) {
        let _ = writeln!(out, "doubled: {words}");
    }
}

/// What the recording holds more than once.
pub(super) fn doubled(missing: &Missing) -> Option<String> {
    let records = count(missing.doubled_records, "record", "records");
    let words = format!("{records} of the recording more than once, looked at once");
    (missing.doubled_records > 0).then_some(words)
}

/// A part of a session that its recording does not hold.
pub(super) struct MissingPart {
    pub(super) place: MissingPlace,
    /// What, and why.
    pub(super) words: String,
}

/// Where a part is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MissingPlace {
    Before,
    Within,
    After,
}

/// What the recording does not hold, in the order of time.
pub(super) fn missing_parts(missing: &Missing) -> Vec<MissingPart> {
    let mut parts = Vec::new();
    if missing.files_before > 0 {
        let words = format!(
            "what was before the beginning: {} of the session not given, with {} in them",
            count(missing.files_before.into(), "earlier file", "earlier files"),
            count(missing.transitions_before, "transition", "transitions"),
        );
        let place = MissingPlace::Before;
        parts.push(MissingPart { place, words });
    }
    if missing.damages > 0 {
        let mut words = if missing.damaged_bytes == 0 {
            let parts = count(missing.damages, "part", "parts");
            format!("what stood in {parts} of the recording that cannot be found")
        } else {
            format!(
                "what stood in {} of the recording ({})",
                count(missing.damages, "damaged place", "damaged places"),
                count(missing.damaged_bytes, "byte", "bytes"),
            )
        };
        if missing.damages_uncounted > 0 {
            words.push_str(": how much that was is not known");
        }
        let place = MissingPlace::Within;
        parts.push(MissingPart { place, words });
    }
    if missing.misplaced_records > 0 {
        let words = format!(
            "{} behind later ones: name the files one by one instead of joining them",
            count(missing.misplaced_records, "record", "records"),
        );
        let place = MissingPlace::Within;
        parts.push(MissingPart { place, words });
    }
    if let Some(end) = missing.after {
        let words = match end {
            MissingEnd::OtherFile => {
                "what came after the end: the session goes on in a file that was not given"
            }
            MissingEnd::CutOff => "what came after the end: the recording was cut off",
            MissingEnd::StillWritten => {
                "what came after the end: the recording is still being written"
            }
            MissingEnd::Endless => {
                "what came after the end: the recording was cut off, or is still being written"
            }
            MissingEnd::Interrupted => "what came after the end: reading it was interrupted",
        };
        let (place, words) = (MissingPlace::After, words.to_owned());
        parts.push(MissingPart { place, words });
    }
    parts
}

/// How connections fared, unless nothing is to be said but that they closed or are open.
fn push_verdicts(out: &mut String, verdicts: &Verdicts) {
    let all = verdicts.all();
    let is_news = |&(verdict, count): &(Verdict, u64)| {
        let ordinary = matches!(verdict, Verdict::Closed | Verdict::Open | Verdict::Listener);
        count > 0 && !ordinary
    };
    if !all.iter().any(is_news) {
        return;
    }
    let mut separator = "verdicts: ";
    for (verdict, count) in all.into_iter().filter(|&(_, count)| count > 0) {
        let _ = write!(out, "{separator}{count} {}", vocab::verdict(verdict));
        separator = ", ";
    }
    out.push('\n');
}

/// `1 event`, `2 events`.
fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_lost() {
        let totals = Totals {
            events: 1,
            shown: 0,
            connections: 1,
            duration_ns: 12_400_000_000,
            ..Totals::default()
        };
        insta::assert_snapshot!(closing_words(&totals, None), @r"
        0 transitions of 1 connection or listener shown in 12.40s; 1 looked at
        no event was lost
        ");
    }

    #[test]
    fn failures_come_first_and_alone_make_the_line_appear() {
        let mut totals = Totals::default();
        for verdict in [Verdict::Closed, Verdict::Open, Verdict::Listener] {
            totals.verdicts.add(verdict);
        }
        assert!(!closing_words(&totals, None).contains("verdicts"));
        for verdict in [Verdict::Unknown, Verdict::Refused, Verdict::Refused] {
            totals.verdicts.add(verdict);
        }
        let text = closing_words(&totals, None);
        assert_eq!(
            text.lines().nth(1),
            Some("verdicts: 2 refused, 1 unknown, 1 closed, 1 open, 1 listener")
        );
    }

    #[test]
    fn what_is_not_counted_is_not_denied() {
        let text = closing_words(&Totals::default(), Some("the kernel does not tell"));
        assert!(
            text.ends_with(
                "no loss was counted\nevents may be lost uncounted: the kernel does not tell\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn what_the_recording_does_not_hold_is_told() {
        let totals = Totals {
            missing: Missing {
                files_before: 2,
                transitions_before: 1,
                after: Some(MissingEnd::Endless),
                damages: 1,
                damaged_bytes: 40,
                damages_uncounted: 1,
                misplaced_records: 7,
                doubled_records: 30,
            },
            ..Totals::default()
        };
        insta::assert_snapshot!(closing_words(&totals, None), @r"
        0 transitions of 0 connections or listeners shown in 0ns
        no loss was counted
        missing: what was before the beginning: 2 earlier files of the session not given, with 1 transition in them
        missing: what stood in 1 damaged place of the recording (40 bytes): how much that was is not known
        missing: 7 records behind later ones: name the files one by one instead of joining them
        missing: what came after the end: the recording was cut off, or is still being written
        doubled: 30 records of the recording more than once, looked at once
        ");
    }

    #[test]
    fn what_is_not_there_is_not_called_damaged() {
        let totals = Totals {
            missing: Missing {
                damages: 2,
                ..Missing::default()
            },
            ..Totals::default()
        };
        insta::assert_snapshot!(closing_words(&totals, None), @r"
        0 transitions of 0 connections or listeners shown in 0ns
        no event was lost in what was read
        missing: what stood in 2 parts of the recording that cannot be found
        ");
    }

    #[test]
    fn every_loss_has_its_hint() {
        let totals = Totals {
            events: 123_456,
            shown: 120_000,
            connections: 20_004,
            unchanged: 4,
            aged_out: 1,
            recovered: 3,
            hints: 0,
            unwatched: 5,
            verdicts: Verdicts::default(),
            lost: Lost {
                ring_full: 1000,
                reentry: 2,
                unreadable: 30,
                undecodable: 4,
                damaged: 0,
                evidence: 0,
            },
            missing: Missing::default(),
            duration_ns: 3_725_000_000_000,
        };
        insta::assert_snapshot!(closing_words(&totals, None), @"
        120000 transitions of 20000 connections or listeners shown in 1h02m; 123456 looked at
        4 older ones did not change
        3 transitions recorded by the second program where the first could not run
        1 connection forgotten before the end
        hint: raise --max-connections
        5 stays in a state were not watched by --stuck: too many at once
        1036 transitions were lost:
            1000  tracer could not keep up
                  hint: raise --ring-size and --backlog, or trace less: --port, --addr
               2  the kernel refused to run the program inside itself
                  hint: nothing to set; where the loss shows, lines say 'after a gap'
              30  the kernel program could not read the socket
                  hint: see what 'tracer doctor' says of the event fields
               4  the record could not be decoded
                  hint: kernel program and tracer disagree: please report it with 'tracer doctor --json'
        ");
    }

    #[test]
    fn one_reason_alone() {
        let totals = Totals {
            lost: Lost {
                reentry: 1,
                ..Lost::default()
            },
            ..Totals::default()
        };
        let text = closing_words(&totals, None);
        assert!(text.contains("1 transition was lost:"), "{text}");
        assert!(!text.contains("ring"), "{text}");
    }
}
