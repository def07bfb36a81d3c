//! What is said of a recording beside the output: damage, where it ends, and what that comes to.

use std::path::Path;

use super::time;
use crate::cli::exit::{Exit, talk};
use crate::cli::live::talk_at_the_end;
use crate::input::Input;
use crate::record::frame::Counts;
use crate::record::{self, Author, Close, Damage, Header};
use crate::session::{ClockMap, Missing, MissingEnd};

/// What is to be told beside the output.
pub(super) struct Notes {
    clock: ClockMap,
    pub(super) last_ns: u64,
    how_it_ends: HowItEnds,
    /// Where it has no end.
    pub(super) author: Author,
    /// But for its end.
    missing: Missing,
}

/// Where showing it ended.
enum HowItEnds {
    /// At the end of what there is.
    Read(record::End),
    /// Nothing more was wanted.
    Enough,
    /// By a signal.
    Interrupted {
        /// The session was over: it was what stands behind its end that was being looked at.
        is_over: bool,
    },
}

impl Notes {
    pub(super) fn new(header: &Header) -> Self {
        let clock = header.session.clock;
        Self {
            clock,
            last_ns: clock.mono_ns,
            how_it_ends: HowItEnds::Enough,
            author: Author::Unknown,
            missing: Missing {
                files_before: header.part.saturating_sub(1),
                transitions_before: header.before.transitions,
                ..Missing::default()
            },
        }
    }

    /// There is no more. Yields when that was.
    pub(super) fn end(&mut self, end: record::End) -> u64 {
        self.how_it_ends = HowItEnds::Read(end);
        end.at_ns
    }

    /// There may be more. Yields up to when it was looked at.
    pub(super) fn interrupt(&mut self, end: record::End) -> u64 {
        let is_over = end.how == Close::Whole;
        self.how_it_ends = HowItEnds::Interrupted { is_over };
        if is_over { end.at_ns } else { self.last_ns }
    }

    /// What was not there to be shown. What was not asked for is not missing.
    pub(super) fn missing(&self, follow: bool) -> Missing {
        let after = match self.how_it_ends {
            HowItEnds::Enough => None,
            HowItEnds::Interrupted { is_over } => {
                (!follow && !is_over).then_some(MissingEnd::Interrupted)
            }
            HowItEnds::Read(end) => match end.how {
                Close::Whole => None,
                Close::ContinuedElsewhere => Some(MissingEnd::OtherFile),
                Close::Cut { .. } => Some(match self.author {
                    Author::Gone => MissingEnd::CutOff,
                    Author::AtWork => MissingEnd::StillWritten,
                    Author::Unknown => MissingEnd::Endless,
                }),
            },
        };
        let (misplaced, doubled) = match self.how_it_ends {
            HowItEnds::Read(end) => (end.too_late, end.twice),
            HowItEnds::Enough | HowItEnds::Interrupted { .. } => Default::default(),
        };
        Missing {
            after,
            misplaced_records: misplaced.records,
            doubled_records: doubled.records,
            ..self.missing
        }
    }

    pub(super) fn note(&mut self, input: &Input<'_>) {
        match input {
            Input::Clock(clock) => self.clock = *clock,
            Input::Tick(now_ns) => self.last_ns = *now_ns,
            Input::Record(_) | Input::Losses { .. } => {}
        }
    }

    pub(super) fn tell_damage(&mut self, damage: &Damage, path: &Path) {
        let missing = &mut self.missing;
        missing.damages += 1;
        missing.damaged_bytes = missing.damaged_bytes.saturating_add(damage.bytes);
        missing.damages_uncounted += u64::from(damage.missing.is_none());
        let between = match (damage.after_ns, damage.before_ns) {
            (Some(after), Some(before)) => {
                format!(
                    " between {} and {}",
                    time(&self.clock, after),
                    time(&self.clock, before)
                )
            }
            (None, Some(before)) => format!(" before {}", time(&self.clock, before)),
            (Some(after), None) => format!(" after {}", time(&self.clock, after)),
            (None, None) => String::new(),
        };
        let missing = match damage.missing {
            Some(missing) if missing == Counts::default() => "no record is lost by it".to_owned(),
            Some(missing) => format!("{}{between} are lost", in_words(missing)),
            None => format!("an unknown number of records{between} are lost"),
        };
        let place = match (damage.bytes, damage.offset) {
            (0, 0) => String::new(),
            (0, offset) => format!(" (at offset {offset})"),
            (bytes, offset) => format!(" ({bytes} bytes at offset {offset})"),
        };
        talk(&format!(
            "tracer: {}: {}{place}: {missing}",
            record::shown(path),
            damage.what,
        ));
    }

    pub(super) fn tell_end(&self, follow: bool) {
        let end = match self.how_it_ends {
            HowItEnds::Enough => return,
            HowItEnds::Interrupted { is_over: true } => {
                talk_at_the_end(
                    "note: interrupted: what stands behind the end of the session was not looked at",
                );
                return;
            }
            HowItEnds::Interrupted { .. } if follow => return,
            HowItEnds::Interrupted { .. } => {
                let time = time(&self.clock, self.last_ns);
                talk_at_the_end(&format!(
                    "note: interrupted: what the recording holds after {time} was not looked at"
                ));
                return;
            }
            HowItEnds::Read(end) => end,
        };
        match end.how {
            Close::Whole => {}
            Close::ContinuedElsewhere => {
                talk("note: the session goes on in a file that was not given");
            }
            Close::Cut { torn } => {
                let time = time(&self.clock, end.at_ns);
                let torn = if torn > 0 {
                    format!("; the last {torn} bytes are no whole block")
                } else {
                    String::new()
                };
                let why = match self.author {
                    Author::AtWork => {
                        format!(" yet, it is still being written; this is until {time}")
                    }
                    Author::Gone => {
                        format!(", it was cut off after {time}: nobody writes to it any more")
                    }
                    Author::Unknown => {
                        format!(", it was cut off after {time} or is still being written")
                    }
                };
                talk(&format!("note: the recording has no end{why}{torn}"));
            }
        }
        if end.beyond > 0 {
            talk(&format!(
                "tracer: {} bytes behind the end of the session are no part of it, and were not read",
                end.beyond
            ));
        }
        if end.cut_behind > 0 {
            let is_needless = if end.how == Close::Whole {
                ": nothing of the session is missing by it"
            } else {
                ""
            };
            talk(&format!(
                "note: the last {} bytes are the beginning of a frame that was cut off{is_needless}",
                end.cut_behind
            ));
        }
        if end.twice != Counts::default() {
            talk(&format!(
                "tracer: {} are there more than once: they were looked at once",
                in_words(end.twice)
            ));
        }
        if end.too_late != Counts::default() {
            talk(&format!(
                "tracer: out of order: {} come after later ones and were not looked at\n\
                 hint: name the files one by one, in any order, instead of joining them",
                in_words(end.too_late)
            ));
        }
        if end.unknown > 0 {
            talk(&format!(
                "note: {} items of a newer version of tracer were passed over",
                end.unknown
            ));
        }
    }

    pub(super) fn exit(&self) -> Exit {
        let is_odd = match self.how_it_ends {
            HowItEnds::Read(end) => {
                let misplaced = end.twice.plus(end.too_late);
                end.beyond > 0 || misplaced != Counts::default()
            }
            HowItEnds::Enough | HowItEnds::Interrupted { .. } => false,
        };
        if self.missing.damages > 0 || is_odd {
            Exit::Failed
        } else {
            Exit::Ok
        }
    }
}

fn in_words(counts: Counts) -> String {
    format!(
        "{} transitions and {} other records",
        counts.transitions,
        counts.records.saturating_sub(counts.transitions)
    )
}
