//! What is shown: the kernel's reports as they come, or recordings. Each is shown through the same code.

use std::time::Duration;

use super::args::{FilterArgs, LimitArgs, SourceArgs};
use super::destination::Destination;
use super::exit::{Exit, Failure, talk};
use super::live::{Live, talk_at_the_end};
use super::recorded::Recorded;
use crate::flow::Flow;
use crate::hints::Limits;
use crate::render::{Render, closing_words, losses};
use crate::session::{Lost, Session, Totals};
use crate::track::TimeWait;

/// How the core looks at a session.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Viewing {
    /// Tells of connections that are in a state for as long as this.
    pub(super) stuck: Option<Duration>,
    /// When to tell of the end of a connection that goes on in `TIME_WAIT`.
    pub(super) time_wait: TimeWait,
    /// `--count`
    pub(super) count: Option<u64>,
    /// `--every`
    pub(super) every: Option<Duration>,
}

impl Viewing {
    /// Has the flow do what it is to do in between.
    pub(super) fn apply<R: Render>(&self, flow: &mut Flow<R>, limits: Limits) {
        let ns = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        if let Some(stuck) = self.stuck {
            flow.watch(ns(stuck), limits);
        }
        if let Some(every) = self.every {
            flow.every(ns(every));
        }
    }
}

/// How a session ended.
pub(super) struct End {
    pub(super) totals: Totals,
    pub(super) session: Session,
    /// Whether all of the output was written.
    pub(super) written: Result<(), Failure>,
    /// What the session leads to, if it was.
    pub(super) exit: Exit,
}

/// One live session, or those of some recordings.
pub(super) enum Source<'a> {
    Live(Box<Live<'a>>),
    Recorded(Box<Recorded<'a>>),
}

impl<'a> Source<'a> {
    /// The recordings that are given; without any, what happens from now on.
    pub(super) fn open(
        source: &SourceArgs,
        filters: &'a FilterArgs,
        limits: &'a LimitArgs,
    ) -> Result<Self, Failure> {
        if source.files.is_empty() {
            let live = Live::open(filters, limits)?;
            return Ok(Self::Live(Box::new(live)));
        }
        let recorded = Recorded::open(
            &source.files,
            filters,
            limits.max_connections,
            limits.verbose,
        )?;
        Ok(Self::Recorded(Box::new(recorded)))
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Live(_))
    }

    /// For an output that has no place for more than one session.
    pub(super) fn require_one(&self, what: &str) -> Result<(), Failure> {
        let sessions = match self {
            Self::Live(_) => return Ok(()),
            Self::Recorded(recorded) => recorded.describe(),
        };
        if sessions.len() <= 1 {
            return Ok(());
        }
        let mut message = format!(
            "{what} holds one session, and these files are of {}:",
            sessions.len()
        );
        for session in sessions {
            message.push_str("\n  ");
            message.push_str(&session);
        }
        message.push_str("\nhint: give the files of one session");
        Err(Failure::new(Exit::Usage, message))
    }

    /// What the session lines say is missing, for people.
    pub(super) fn tell_what_is_missing(&self) {
        match self {
            Self::Live(live) => live.tell_what_is_missing(),
            Self::Recorded(recorded) => recorded.tell_what_is_missing(),
        }
    }

    /// Says, where nothing else shows it for a while, that it is at work.
    pub(super) fn tell_it_is_live(&self, words: &str) {
        if self.is_live() {
            talk(words);
        }
    }

    /// Shows one session after another, each through a renderer of its own. With `tell` it is said at the end
    /// of each what was seen and lost.
    pub(super) fn show<R: Render>(
        self,
        renderer: impl Fn() -> R,
        viewing: Viewing,
        mut to: Destination,
        tell: bool,
    ) -> Result<Exit, Failure> {
        let is_live = self.is_live();
        let mut exit = Exit::Ok;
        let mut show = |end: Option<End>| -> Result<bool, Failure> {
            // The reader of the output has what it wanted: nobody asks how the run ended.
            let Some(end) = end else {
                return Ok(false);
            };
            let uncounted = end.session.uncounted_losses();
            if let Err(failure) = end.written {
                // What was not written was not shown either: no totals of it, but of what never arrived.
                if tell && end.totals.lost != Lost::default() {
                    talk_at_the_end(&losses(&end.totals.lost, uncounted));
                }
                return Err(failure);
            }
            if tell {
                talk_at_the_end(&closing_words(&end.totals, uncounted));
            }
            if end.exit != Exit::Ok {
                exit = end.exit;
            }
            Ok(true)
        };
        let shown = match self {
            Self::Live(live) => live.run(renderer(), viewing, &mut to).and_then(show),
            Self::Recorded(mut recorded) => loop {
                if recorded.is_done() {
                    break Ok(true);
                }
                let end = recorded.run_next(renderer(), viewing, &mut to);
                match end.and_then(&mut show) {
                    Ok(true) => {}
                    ended => break ended,
                }
            },
        };
        match shown {
            Ok(true) => to.complete().map(|()| exit),
            Ok(false) => Ok(Exit::Ok),
            // A recording can be read again, what has happened does not come back.
            Err(failure) if is_live => Err(to.keep(failure)),
            Err(failure) => Err(failure),
        }
    }
}
