//! The summary for programs, by `docs/summary.md`: one JSON object per line.

use std::hash::Hash;

use bytes::{BufMut, BytesMut};

use super::Sheet;
use crate::render::fields::Fields as _;
use crate::render::json::Object;
use crate::render::{Jsonl, jsonl, vocab};
use crate::state::{Names, State};
use crate::stats::{Durations, Held, Others, Process, Ranked, Ranking, Reset, Share, Sum, Who};

pub(super) fn write(out: &mut BytesMut, sheet: &Sheet<'_>) {
    let mut page = Page {
        out,
        sheet,
        rows: sheet.rows,
    };
    page.overview();
    page.edges();
    page.states();
    page.shares();
    page.resets();
    page.held();
    page.handshakes();
    page.retransmits();
}

struct Page<'a> {
    out: &'a mut BytesMut,
    sheet: &'a Sheet<'a>,
    rows: usize,
}

/// More than there are pairs of states.
const ALL: usize = usize::MAX;

impl Page<'_> {
    fn line(&mut self, kind: &str, fill: impl FnOnce(&mut Object<'_>)) {
        Object::write(self.out, |line| {
            line.word("type", kind);
            fill(line);
        });
        self.out.put_u8(b'\n');
    }

    /// One line for each leader of a ranking, and one for the others.
    fn ranking<K: Eq + Hash + Ord + Clone, S: Sum>(
        &mut self,
        kind: &str,
        rows: usize,
        ranking: &Ranking<K, S>,
        key: impl Fn(&mut Object<'_>, Option<&K>),
        sum: impl Fn(&mut Object<'_>, &S),
    ) {
        let (leaders, others) = ranking.leaders(rows);
        for Ranked {
            key: name,
            sum: of,
            is_minimum,
        } in leaders
        {
            self.line(kind, |line| {
                key(line, Some(name));
                line.number("others", None);
                line.flag("is_minimum", is_minimum);
                sum(line, of);
            });
        }
        if let Some(others) = others {
            let Others { keys, sum: of, .. } = others;
            self.line(kind, |line| {
                key(line, None);
                line.number("others", Some(keys));
                line.flag("is_minimum", false);
                sum(line, &of);
            });
        }
    }

    fn overview(&mut self) {
        let Sheet {
            stats,
            totals,
            clock,
            now_ns,
            ..
        } = self.sheet;
        let rows = self.rows as u64;
        let of = if self.sheet.is_interval {
            "interval"
        } else {
            "session"
        };
        let (handshakes, retransmits) = (stats.handshakes.count(), stats.retransmits.count());
        Jsonl::default().line(self.out, "summary", clock, *now_ns, |line| {
            line.word("of", of);
            line.number("duration_ns", Some(totals.duration_ns));
            line.number("shown", Some(totals.shown));
            line.number("ended", Some(totals.connections));
            jsonl::put_verdicts(line, &stats.verdicts);
            jsonl::put_lost(line, &totals.lost);
            jsonl::put_missing(line, &totals.missing);
            line.number("rows", Some(rows));
            line.number("handshakes", Some(handshakes));
            line.number("retransmitting", Some(retransmits));
        });
    }

    fn edges(&mut self) {
        let key = |line: &mut Object<'_>, edge: Option<&(_, _)>| {
            put_state(line, "from", edge.map(|(from, _)| *from));
            put_state(line, "to", edge.map(|(_, to)| *to));
        };
        self.ranking("edge", ALL, &self.sheet.stats.edges, key, |line, edge| {
            line.number("count", Some(edge.count));
            line.number("unexpected", Some(edge.unexpected));
            put_durations(line, "in_state", &edge.exact);
            put_durations(line, "in_state_minimum", &edge.minimum);
        });
    }

    fn states(&mut self) {
        let key =
            |line: &mut Object<'_>, state: Option<&_>| put_state(line, "state", state.copied());
        self.ranking(
            "state",
            ALL,
            &self.sheet.stats.states,
            key,
            |line, times| {
                put_durations(line, "measured", &times.measured);
                put_durations(line, "estimated", &times.estimated);
                put_durations(line, "minimum", &times.minimum);
                line.number("unknown", Some(times.unknown));
            },
        );
    }

    fn shares(&mut self) {
        let (stats, rows) = (self.sheet.stats, self.rows);
        let addr = |line: &mut Object<'_>, addr: Option<&std::net::IpAddr>| match addr {
            Some(addr) => line.shown("addr", addr),
            None => line.text("addr", None),
        };
        self.ranking("remote", rows, &stats.remotes, addr, put_share);
        let port = |line: &mut Object<'_>, port: Option<&Option<u16>>| {
            line.number("port", port.copied().flatten().map(u64::from));
        };
        self.ranking("port", rows, &stats.ports, port, put_share);
        let comm = |line: &mut Object<'_>, comm: Option<&Option<_>>| {
            line.comm("comm", comm.copied().flatten());
        };
        self.ranking("process", rows, &stats.processes, comm, put_share);
    }

    fn resets(&mut self) {
        let key = |line: &mut Object<'_>, reset: Option<&Reset>| {
            let (direction, reason, state) = match reset {
                Some(Reset::Sent(reason)) => (Some("sent"), reason.as_deref(), None),
                Some(Reset::Received(state)) => (Some("received"), None, Some(*state)),
                None => (None, None, None),
            };
            line.text("direction", direction);
            line.text("reason", reason);
            put_state(line, "state", state);
        };
        let resets = &self.sheet.stats.resets;
        self.ranking("reset", self.rows, resets, key, |line, count| {
            line.number("count", Some(count.0));
        });
    }

    fn held(&mut self) {
        let key = |line: &mut Object<'_>, process: Option<&Process>| {
            line.number(
                "pid",
                process.and_then(|process| process.pid).map(u64::from),
            );
            line.comm("comm", process.and_then(|process| process.comm));
            line.flag(
                "not_accepted",
                process.is_some_and(|process| process.not_accepted),
            );
        };
        let held = &self.sheet.stats.held;
        self.ranking("close_wait", self.rows, held, key, |line, held| {
            let Held {
                connections,
                long,
                long_unknown,
                since_unknown,
                longest_ns,
            } = *held;
            line.number("connections", Some(connections));
            line.number("long", Some(long));
            line.number("since_unknown", Some(since_unknown));
            line.number("longest_ns", longest_ns);
            line.number("long_unknown", Some(long_unknown));
        });
    }

    fn handshakes(&mut self) {
        for (ns, handshake) in self.sheet.stats.handshakes.items() {
            self.line("handshake", |line| {
                put_who(line, &handshake.who);
                line.number("duration_ns", Some(*ns));
                line.flag("is_estimate", handshake.is_estimate);
                line.number("retransmits", handshake.retransmits.map(u64::from));
            });
        }
    }

    fn retransmits(&mut self) {
        for (_, item) in self.sheet.stats.retransmits.items() {
            self.line("retransmits", |line| {
                put_who(line, &item.who);
                line.number("syn_retransmits", item.syn.map(u64::from));
                line.number("synack_retransmits", item.synack.map(u64::from));
                line.number("retransmits", item.data.map(u64::from));
            });
        }
    }
}

fn put_state(line: &mut Object<'_>, name: &'static str, state: Option<State>) {
    match state {
        Some(state) => line.state(name, state, Names::Documented),
        None => line.text(name, None),
    }
}

fn put_durations(line: &mut Object<'_>, name: &'static str, durations: &Durations) {
    line.object(name, |object| {
        object.number("count", Some(durations.count()));
        object.number("p50_ns", durations.quantile_ns(0.5));
        object.number("p90_ns", durations.quantile_ns(0.9));
        object.number("p99_ns", durations.quantile_ns(0.99));
        object.number("max_ns", durations.max_ns());
    });
}

fn put_share(line: &mut Object<'_>, share: &Share) {
    line.number("connections", Some(share.verdicts.connections()));
    line.number("failed", Some(share.verdicts.failures()));
    line.object("verdicts", |counts| {
        for (verdict, count) in share.verdicts.all() {
            counts.number(vocab::verdict(verdict), Some(count));
        }
    });
    line.number("bytes_sent", Some(share.bytes_sent));
    line.number("bytes_received", Some(share.bytes_received));
    line.number("without_bytes", Some(share.without_bytes));
    line.number("retransmits", Some(share.retransmits));
    line.number("without_retransmits", Some(share.without_retransmits));
    line.number("without_bytes_sent", Some(share.without_bytes_sent));
    line.number("without_bytes_received", Some(share.without_bytes_received));
}

fn put_who(line: &mut Object<'_>, who: &Who) {
    line.shown("conn", who.id.0);
    line.word("role", vocab::role(who.role));
    line.endpoint("local", who.local);
    line.endpoint("remote", who.remote);
    line.number("pid", who.owner.pid.map(u64::from));
    line.comm("comm", who.owner.comm);
    line.word("owner_source", vocab::owner_source(who.owner.source));
}
