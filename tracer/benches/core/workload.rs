//! Records as the kernel programs write them.

use tracer::session::ClockMap;
use tracer_common::wire::{
    Counts, FLAG_BOUND_PORT, FLAG_COUNTS, FLAG_NETNS, FLAG_TASK, Header, KIND_STATE, StateRecord,
    Task,
};
use zerocopy::{FromZeros as _, IntoBytes as _};

/// Kernel numbers of the states between which a client passes when it closes first.
const LIFE: [(i32, i32); 5] = [(7, 2), (2, 1), (1, 4), (4, 5), (5, 7)];
/// Between two records.
const STEP_NS: u64 = 4_000;

/// A number of connections that open and close for ever.
pub(crate) struct Workload {
    /// Of each socket, how far it is in [`LIFE`].
    places: Vec<u8>,
    random: u64,
    now_ns: u64,
}

/// Records in a row.
#[derive(Default)]
pub(crate) struct Records {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Records {
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .filter_map(|(start, end)| self.bytes.get(*start..*end))
    }

    fn end(&mut self) {
        self.ends.push(self.bytes.len());
    }
}

impl Workload {
    pub(crate) fn new(open: usize) -> Self {
        Self {
            places: vec![0; open],
            random: 0x9E37_79B9_7F4A_7C15,
            now_ns: CLOCK.mono_ns,
        }
    }

    /// The next records.
    pub(crate) fn take(&mut self, count: usize) -> Records {
        let mut records = Records::default();
        for _ in 0..count {
            self.push_next(&mut records);
        }
        records
    }

    fn push_next(&mut self, records: &mut Records) {
        let index = usize::try_from(self.draw() % self.places.len() as u64).unwrap_or_default();
        let Some(place) = self.places.get_mut(index) else {
            return;
        };
        let Some(&(old_state, new_state)) = LIFE.get(usize::from(*place)) else {
            return;
        };
        *place = (*place + 1) % 5;
        self.now_ns += STEP_NS;
        let follows = match (old_state, new_state) {
            (7, _) | (_, 4) => FLAG_TASK,
            (_, 1 | 7) => FLAG_COUNTS,
            _ => 0,
        };
        let port = 32_768 + u16::try_from(index % 28_000).unwrap_or_default();
        let mut record = StateRecord::new_zeroed();
        record.header = Header {
            kind: KIND_STATE,
            flags: FLAG_NETNS | FLAG_BOUND_PORT | follows,
            cpu: 0,
            mono_ns: self.now_ns,
            sk: 0xffff_8880_0000_0000 + (index as u64) * 2_304,
        };
        record.old_state = old_state;
        record.new_state = new_state;
        record.netns = 4_026_531_840;
        record.family = 2;
        record.protocol = 6;
        record.local_port = port;
        record.remote_port = 443;
        record.bound_port = port;
        record.local_addr = mapped([10, 0, 0, 1]);
        record.remote_addr = mapped([10, 9, 0, 1]);
        records.bytes.extend_from_slice(record.as_bytes());
        if follows == FLAG_TASK {
            records.bytes.extend_from_slice(task().as_bytes());
        } else if follows == FLAG_COUNTS {
            records.bytes.extend_from_slice(counts().as_bytes());
        }
        records.end();
    }

    /// Xorshift: the same in each run.
    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn mapped([a, b, c, d]: [u8; 4]) -> [u8; 16] {
    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, a, b, c, d]
}

fn task() -> Task {
    let mut task = Task::new_zeroed();
    task.pid = 4711;
    task.comm = *b"curl\0\0\0\0\0\0\0\0\0\0\0\0";
    task
}

fn counts() -> Counts {
    let mut counts = Counts::new_zeroed();
    counts.bytes_sent = 80;
    counts.bytes_acked = 82;
    counts.bytes_received = 5_433;
    counts.srtt_us_times_8 = 9_600;
    counts
}

/// Where the workload's time begins.
pub(crate) const CLOCK: ClockMap = ClockMap {
    mono_ns: 1_000_000_000,
    wall_ns: 1_772_366_400_000_000_000,
};
