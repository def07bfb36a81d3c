//! Recordings: what a record costs to be written, and to be read again.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput};
use tracer::batch::Batch;
use tracer::decode::socket_of;
use tracer::record::frame::{Context, HEAD, Head, Maker, Opener};
use tracer::track::WARM_GROUP;

use super::workload::Workload;
use super::{Deaf, RECORDS, handle, tracker};

/// As recorded: 256 KiB of rows.
const BLOCK_BYTES: usize = 256 << 10;

pub(crate) fn files(c: &mut Criterion) {
    let mut group = c.benchmark_group("recording");
    let mut blocks = vec![Batch::default()];
    for record in Workload::new(1_000).take(RECORDS).iter() {
        if blocks.last().is_some_and(|last| last.size() >= BLOCK_BYTES) {
            blocks.push(Batch::default());
        }
        if let Some(last) = blocks.last_mut() {
            last.push(record);
        }
    }
    let frames = write(&blocks);
    group.throughput(Throughput::Elements(RECORDS as u64));
    group.bench_function("write", |b| b.iter(|| write(&blocks)));
    group.bench_function("read", |b| {
        b.iter(|| {
            read(&frames, |rows| {
                black_box(rows.len());
            });
        });
    });
    group.bench_function("read, decode and track", |b| {
        b.iter_batched_ref(
            tracker,
            |tracker| {
                read(&frames, |rows| {
                    let mut ahead = rows.iter().filter_map(socket_of);
                    for (index, record) in rows.iter().enumerate() {
                        if index % WARM_GROUP == 0 {
                            tracker.warm(ahead.by_ref().take(WARM_GROUP));
                        }
                        handle(tracker, record, &mut Deaf);
                    }
                });
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// All blocks as frames, as the writing thread makes them.
fn write(blocks: &[Batch]) -> Vec<u8> {
    let mut frames = Vec::new();
    let Ok(mut maker) = Maker::new() else {
        return frames;
    };
    for rows in blocks {
        let made = maker.block(rows, &Context::default(), &mut frames);
        debug_assert!(made.is_ok(), "{made:?}");
    }
    frames
}

fn read(mut frames: &[u8], mut take: impl FnMut(&Batch)) {
    let Ok(mut opener) = Opener::new() else {
        return;
    };
    let mut rows = Batch::default();
    while let Some((head, rest)) = frames.split_first_chunk::<HEAD>() {
        let Some(head) = Head::parse(head) else {
            return;
        };
        let (payload, rest) = rest.split_at(rest.len().min(head.stored as usize));
        frames = rest;
        if head.is_whole(payload) && opener.rows(&head, payload, &mut rows).is_ok() {
            take(&rows);
        }
    }
}
