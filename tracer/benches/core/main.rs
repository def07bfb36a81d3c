//! What userspace does with each record: decode, track, render. `cargo bench -p tracer --bench core`.
//!
//! The connections are clients that open and close in order, in a random order among each other: the more
//! are open at once, the further apart in memory are those that two records in a row concern.

mod files;
mod workload;

use std::hint::black_box;

use bytes::BytesMut;
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use jiff::tz::TimeZone;
use tracer::decode::{decode, socket_of};
use tracer::diagnose::{Sources, diagnose};
use tracer::event::Event;
use tracer::render::{Format, Render as _, RenderOptions, Renderer};
use tracer::session::ClockMap;
use tracer::state::Names;
use tracer::track::{
    Connection, Continued, Ending, Sink, Tracker, TrackerConfig, Transition, WARM_GROUP,
};

use workload::{Records, Workload};

/// Records of one measurement.
const RECORDS: usize = 200_000;
/// Connections open at once.
const OPEN: [usize; 4] = [1_000, 10_000, 100_000, 1_000_000];

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10);
    targets = decoding, tracking, rendering, files::files
}
criterion_main!(benches);

fn decoding(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    let records = Workload::new(1_000).take(RECORDS);
    group.throughput(Throughput::Elements(records.len() as u64));
    group.bench_function("records", |b| {
        b.iter(|| {
            for record in records.iter() {
                let _ = black_box(decode(record));
            }
        });
    });
    group.finish();
}

fn tracking(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode and track");
    for open in OPEN {
        let mut workload = Workload::new(open);
        // Enough for all to be open before it is measured.
        let before = workload.take(open * 4);
        let records = workload.take(RECORDS);
        group.throughput(Throughput::Elements(records.len() as u64));
        group.bench_function(BenchmarkId::new("open", open), |b| {
            b.iter_batched_ref(
                || {
                    let mut tracker = tracker();
                    handle_all(&mut tracker, &before, &mut Deaf);
                    tracker
                },
                |tracker| handle_all(tracker, &records, &mut Deaf),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn rendering(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode, track, diagnose and render");
    let records = Workload::new(1_000).take(RECORDS);
    group.throughput(Throughput::Elements(records.len() as u64));
    for format in Format::ALL {
        group.bench_function(format.name(), |b| {
            b.iter_batched_ref(
                || (tracker(), Scribe::new(format)),
                |(tracker, scribe)| {
                    for record in records.iter() {
                        handle(tracker, record, scribe);
                        if scribe.written.len() > 1 << 16 {
                            scribe.written.clear();
                        }
                    }
                },
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn tracker() -> Tracker {
    Tracker::new(TrackerConfig {
        max_connections: 2_000_000,
        ..TrackerConfig::default()
    })
}

/// As [`tracer::flow::Flow`] does it.
fn handle_all(tracker: &mut Tracker, records: &Records, sink: &mut impl Sink) {
    let mut ahead = records.iter().filter_map(socket_of);
    for (index, record) in records.iter().enumerate() {
        if index % WARM_GROUP == 0 {
            tracker.warm(ahead.by_ref().take(WARM_GROUP));
        }
        handle(tracker, record, sink);
    }
}

fn handle(tracker: &mut Tracker, record: &[u8], sink: &mut impl Sink) {
    if let Ok(event) = decode(record) {
        tracker.handle(&event, sink);
        if let Event::State(event) = event {
            // As the loop does it after each batch.
            tracker.handle_timeout(event.mono_ns, sink);
        }
    }
}

/// Is told everything and looks at it.
struct Deaf;

impl Sink for Deaf {
    fn transition(&mut self, conn: &Connection, transition: &Transition) {
        black_box((conn.id, transition.in_state_ns));
    }

    fn continued(&mut self, conn: &Connection, change: &Continued) {
        black_box((conn.id, change.in_state_ns));
    }

    fn ended(&mut self, conn: &Connection, ending: Ending) {
        black_box((conn.id, ending));
    }
}

/// Writes everything down.
struct Scribe {
    renderer: Renderer,
    sources: Sources,
    clock: ClockMap,
    written: BytesMut,
}

impl Scribe {
    fn new(format: Format) -> Self {
        let options = RenderOptions {
            names: Names::Documented,
            color: false,
            time_zone: TimeZone::UTC,
            width: None,
        };
        Self {
            renderer: Renderer::new(format, options),
            sources: Sources {
                counts: true,
                ..Sources::default()
            },
            clock: workload::CLOCK,
            written: BytesMut::new(),
        }
    }
}

impl Sink for Scribe {
    fn transition(&mut self, conn: &Connection, transition: &Transition) {
        self.renderer
            .transition(&mut self.written, &self.clock, conn, transition);
    }

    fn continued(&mut self, conn: &Connection, change: &Continued) {
        self.renderer
            .continued(&mut self.written, &self.clock, conn, change);
    }

    fn ended(&mut self, conn: &Connection, ending: Ending) {
        let diagnosis = diagnose(conn, ending, &self.sources);
        self.renderer.ended(
            &mut self.written,
            &self.clock,
            conn,
            &diagnosis,
            ending,
            conn.as_of_ns,
        );
    }
}
