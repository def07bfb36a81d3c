//! Who has most of the traffic.

use std::hash::Hash;
use std::net::IpAddr;

use bytes::BytesMut;

use super::table::{Align, Table};
use super::text::Page;
use super::words;
use crate::stats::{Ranking, Share, ShareBy};
use Align::{Left, Right};

pub(super) fn write(out: &mut BytesMut, page: &Page<'_>) {
    let stats = &page.sheet.stats;
    let addr = IpAddr::to_string;
    let port = |port: &Option<_>| words::port(*port);
    let comm = |comm: &Option<_>| words::comm(*comm);

    let (by_addr, uncounted) = bytes(page, "MOST BYTES, BY REMOTE ADDRESS", &stats.remotes, addr);
    by_addr.write(out, page.color, &[]);
    let (by_comm, more) = bytes(page, "MOST BYTES, BY PROCESS", &stats.processes, comm);
    let note = (uncounted || more).then(|| {
        "KNOWN OF: of how many connections the bytes before it are the sum; they are not known of \
         open ones"
            .to_owned()
    });
    by_comm.write(out, page.color, note.as_slice());

    let remotes = "MOST CONNECTIONS, BY REMOTE ADDRESS";
    connections(out, page, remotes, &stats.remotes, addr);
    connections(out, page, "MOST CONNECTIONS, BY PORT", &stats.ports, port);
    connections(
        out,
        page,
        "MOST CONNECTIONS, BY PROCESS",
        &stats.processes,
        comm,
    );
}

/// Payload by key, of how many connections each sum is, and whether some are in none.
fn bytes<K: Eq + Hash + Ord + Clone>(
    page: &Page<'_>,
    title: &'static str,
    ranking: &Ranking<K, Share>,
    name: impl Fn(&K) -> String,
) -> (Table, bool) {
    let mut table = Table::new(&[
        (title, Left),
        ("SENT", Right),
        ("KNOWN OF", Right),
        ("RECEIVED", Right),
        ("KNOWN OF", Right),
        ("CONNS", Right),
    ]);
    let mut uncounted = false;
    page.rank(
        ranking,
        ShareBy::Bytes.measure(),
        name,
        |name, share, mark| {
            uncounted |= share.without_bytes > 0;
            let connections = share.verdicts.connections();
            let known_of = |without| format!("{mark}{}", connections.saturating_sub(without));
            table.push([
                name,
                format!("{mark}{}", words::bytes(share.bytes_sent)),
                known_of(share.without_bytes_sent),
                format!("{mark}{}", words::bytes(share.bytes_received)),
                known_of(share.without_bytes_received),
                known_of(0),
            ]);
        },
    );
    (table, uncounted)
}

/// How many connections there were, and how they fared.
fn connections<K: Eq + Hash + Ord + Clone>(
    out: &mut BytesMut,
    page: &Page<'_>,
    title: &'static str,
    ranking: &Ranking<K, Share>,
    name: impl Fn(&K) -> String,
) {
    let mut table = Table::new(&[(title, Left), ("CONNS", Right), ("VERDICTS", Left)]);
    let by = ShareBy::Connections.measure();
    page.rank(ranking, by, name, |name, share, mark| {
        table.push([
            name,
            format!("{mark}{}", share.verdicts.connections()),
            words::verdicts(share, |_| true),
        ]);
    });
    table.write(out, page.color, &[]);
}
