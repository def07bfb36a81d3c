//! The summary for people: what failed first, then what looks wrong, then how much there was.
//!
//! No line is wider than 80 columns. A table has a limited number of rows; what it leaves out stands in
//! its last row or in a remark. Nothing is said of what did not happen, but that no connection failed.

use std::hash::Hash;

use bytes::{BufMut, BytesMut};

use super::table::{Align, Table, WIDTH};
use super::{Sheet, times, traffic, words};
use crate::diagnose::{Verdict, reset_reason_meaning};
use crate::render::closing::{push_losses, push_seen};
use crate::render::plain::{plain, push_plain};
use crate::render::states::wrapped;
use crate::render::time::{LocalClock, human};
use crate::render::vocab;
use crate::session::{Lost, Session};
use crate::state::Names;
use crate::stats::{Others, Ranked, Ranking, Reset, Share, ShareBy, Sum};
use Align::{Left, Right};

pub(super) fn write(out: &mut BytesMut, sheet: &Sheet<'_>) {
    let page = Page {
        sheet,
        color: sheet.options.color,
    };
    if sheet.is_interval {
        page.interval_head(out);
    } else {
        page.head(out);
    }
    page.verdicts(out);
    page.failures(out);
    page.resets(out);
    page.held(out);
    page.handshakes(out);
    page.retransmits(out);
    traffic::write(out, &page);
    times::states(out, &page);
    times::edges(out, &page);
}

/// Lines for people, none too long, and an empty one.
fn write_words(out: &mut BytesMut, words: &str) {
    for line in words.lines() {
        let indent = line.len() - line.trim_start().len();
        let lead = " ".repeat(indent);
        out.put_slice(wrapped(line.trim_start(), WIDTH, &lead).as_bytes());
    }
    out.put_u8(b'\n');
}

pub(super) struct Page<'a> {
    pub(super) sheet: &'a Sheet<'a>,
    pub(super) color: bool,
}

impl Page<'_> {
    pub(super) fn names(&self) -> Names {
        self.sheet.options.names
    }

    fn head(&self, out: &mut BytesMut) {
        let totals = self.sheet.totals;
        let mut remarks = Vec::new();
        if let Some(session) = self.sheet.session {
            let mut clock = LocalClock::new(self.sheet.options.time_zone.clone());
            let (day, time) = clock.format(session.clock.wall_ns);
            let time = time.split('.').next().unwrap_or_default();
            remarks.push(format!(
                "{}, Linux {}: {} from {time} on {day}",
                plain(&session.host),
                plain(&session.kernel),
                human(totals.duration_ns)
            ));
            let filters: Vec<_> = session
                .filters
                .iter()
                .map(|(name, value)| plain(&format!("{name}={value}")))
                .collect();
            if !filters.is_empty() {
                remarks.push(format!("only {}", filters.join(" ")));
            }
        }
        for remark in remarks {
            out.put_slice(wrapped(&remark, WIDTH, "# ").as_bytes());
        }
        let mut words = String::new();
        push_seen(&mut words, totals);
        push_losses(&mut words, totals, self.uncounted());
        write_words(out, &words);
    }

    /// Of an interval it is said when it ended, what came in it, and what was lost.
    fn interval_head(&self, out: &mut BytesMut) {
        let Sheet {
            totals,
            clock,
            now_ns,
            options,
            ..
        } = self.sheet;
        let mut local = LocalClock::new(options.time_zone.clone());
        let (_, time) = local.format(clock.wall_ns(*now_ns));
        let time = time.split('.').next().unwrap_or_default();
        let remark = format!(
            "{} until {time}: {} transitions, {} connections or listeners ended",
            human(totals.duration_ns),
            totals.shown,
            totals.connections,
        );
        out.put_slice(wrapped(&remark, WIDTH, "# ").as_bytes());
        let mut words = String::new();
        if totals.lost != Lost::default() || self.uncounted().is_some() {
            push_losses(&mut words, totals, self.uncounted());
        }
        write_words(out, &words);
    }

    fn uncounted(&self) -> Option<&str> {
        let session = self.sheet.session;
        session.and_then(Session::uncounted_losses)
    }

    fn verdicts(&self, out: &mut BytesMut) {
        let verdicts = &self.sheet.stats.verdicts;
        let mut table = Table::new(&[("VERDICT", Left), ("COUNT", Right), ("", Left)]);
        for (verdict, count) in verdicts.all() {
            if count > 0 {
                let meaning = words::meaning(verdict).to_owned();
                table.push([
                    vocab::verdict(verdict).to_owned(),
                    count.to_string(),
                    meaning,
                ]);
            }
        }
        let none_failed = verdicts.failures() == 0 && verdicts.connections() > 0;
        let note = none_failed.then(|| "no connection failed".to_owned());
        table.write(out, self.color, note.as_slice());
    }

    fn failures(&self, out: &mut BytesMut) {
        let stats = &self.sheet.stats;
        self.failures_by(
            out,
            "FAILED, BY REMOTE ADDRESS",
            &stats.remotes,
            ToString::to_string,
        );
        self.failures_by(out, "FAILED, BY PORT", &stats.ports, |port| {
            words::port(*port)
        });
        self.failures_by(out, "FAILED, BY PROCESS", &stats.processes, |comm| {
            words::comm(*comm)
        });
    }

    fn failures_by<K: Eq + Hash + Ord + Clone>(
        &self,
        out: &mut BytesMut,
        title: &'static str,
        ranking: &Ranking<K, Share>,
        name: impl Fn(&K) -> String,
    ) {
        let mut table = Table::new(&[
            (title, Left),
            ("FAILED", Right),
            ("OF", Right),
            ("HOW", Left),
        ]);
        self.rank(
            ranking,
            ShareBy::Failures.measure(),
            name,
            |name, share, mark| {
                table.push([
                    name,
                    format!("{mark}{}", share.verdicts.failures()),
                    format!("{mark}{}", share.verdicts.connections()),
                    words::verdicts(share, Verdict::is_failure),
                ]);
            },
        );
        table.write(out, self.color, &[]);
    }

    /// Hands on the heaviest of a ranking and the rest, each with the mark of what is a minimum.
    pub(super) fn rank<K: Eq + Hash + Ord + Clone, S: Sum>(
        &self,
        ranking: &Ranking<K, S>,
        measure: usize,
        name: impl Fn(&K) -> String,
        mut row: impl FnMut(String, &S, &str),
    ) {
        let (top, others) = ranking.top(measure, self.sheet.rows);
        for Ranked {
            key,
            sum,
            is_minimum,
        } in top
        {
            row(name(key), sum, if is_minimum { ">" } else { "" });
        }
        if let Some(Others {
            keys,
            keys_is_maximum,
            sum,
        }) = others
        {
            let most = if keys_is_maximum { "at most " } else { "" };
            row(format!("others: {most}{keys}"), &sum, "");
        }
    }

    fn resets(&self, out: &mut BytesMut) {
        let names = self.names();
        let mut table = Table::new(&[("RESETS", Left), ("COUNT", Right)]);
        let name = |reset: &Reset| match reset {
            Reset::Sent(Some(reason)) => {
                let mut text = "sent: ".to_owned();
                push_plain(&mut text, reason.as_bytes());
                text
            }
            Reset::Sent(None) => "sent: the kernel gives no reason".to_owned(),
            Reset::Received(state) => format!("received in {}", vocab::state(*state, names)),
        };
        let resets = &self.sheet.stats.resets;
        self.rank(resets, 0, name, |name, count, mark| {
            table.push([name, format!("{mark}{}", count.0)]);
        });
        let (told, _) = resets.top(0, self.sheet.rows);
        let meanings: Vec<String> = told
            .iter()
            .filter_map(|told| match told.key {
                Reset::Sent(Some(reason)) => {
                    let meaning = reset_reason_meaning(reason)?;
                    Some(format!("{reason}: {meaning}"))
                }
                Reset::Sent(None) | Reset::Received(_) => None,
            })
            .collect();
        table.write(out, self.color, &meanings);
    }

    fn held(&self, out: &mut BytesMut) {
        let mut table = Table::new(&[
            ("HELD IN CLOSE_WAIT BY", Left),
            ("SOCKETS", Right),
            ("10s OR LONGER", Right),
            ("LONGEST", Right),
        ]);
        self.rank(
            &self.sheet.stats.held,
            0,
            words::process,
            |name, held, mark| {
                table.push([
                    name,
                    format!("{mark}{}", held.connections),
                    match held.long_unknown {
                        0 => format!("{mark}{}", held.long),
                        more => format!("{mark}{} to {}", held.long, held.long + more),
                    },
                    held.longest_ns
                        .map_or_else(|| "?".to_owned(), |ns| format!(">{}", human(ns))),
                ]);
            },
        );
        let note = "the peer has closed, the process has not: if it does not soon, it leaks \
                    sockets; (name/pid): not accepted yet";
        table.write(out, self.color, &[note.to_owned()]);
    }

    fn handshakes(&self, out: &mut BytesMut) {
        let handshakes = &self.sheet.stats.handshakes;
        let mut table = Table::new(&[
            ("SLOWEST HANDSHAKE", Left),
            ("TIME", Right),
            ("RESENT", Right),
            ("OWNER", Left),
        ]);
        for (ns, handshake) in handshakes.items() {
            let tilde = if handshake.is_estimate { "~" } else { "" };
            table.push([
                words::peer(&handshake.who),
                format!("{tilde}{}", human(*ns)),
                words::or_unknown(handshake.retransmits),
                words::owner(&handshake.who.owner),
            ]);
        }
        let note = words::more(handshakes.count(), handshakes.items().len(), "handshakes");
        table.write(out, self.color, note.as_slice());
    }

    fn retransmits(&self, out: &mut BytesMut) {
        let retransmits = &self.sheet.stats.retransmits;
        let mut table = Table::new(&[
            ("MOST RESENT", Left),
            ("SYN", Right),
            ("SYN-ACK", Right),
            ("DATA", Right),
            ("OWNER", Left),
        ]);
        for (_, item) in retransmits.items() {
            table.push([
                words::peer(&item.who),
                words::or_unknown(item.syn),
                words::or_unknown(item.synack),
                words::or_unknown(item.data),
                words::owner(&item.who.owner),
            ]);
        }
        let note = words::more(
            retransmits.count(),
            retransmits.items().len(),
            "connections that sent segments again",
        );
        table.write(out, self.color, note.as_slice());
    }
}
