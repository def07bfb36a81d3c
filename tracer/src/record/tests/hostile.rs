//! A real recording with anything done to it: what is read was written, and what is missing is told.
//!
//! Here are samples of what can be done; `reader/tests.rs` tries every byte and every bit of a small file.

use std::path::{Path, PathBuf};

use super::{Close, Damage, End, OpenError, Owned, Scratch, open, read_one};
use crate::record::frame::{Counts, HEAD, Head, Kind};

/// One of the sample recordings that has a copy of its header.
const SAMPLE: &str = "rotated.000001.tracer";
const SAMPLE_END: Close = Close::ContinuedElsewhere;

fn sample() -> Vec<u8> {
    std::fs::read(sample_path(SAMPLE)).unwrap()
}

fn sample_path(name: &str) -> PathBuf {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recordings/format-1");
    Path::new(directory).join(name)
}

/// Where each frame begins, and its head.
fn frames(bytes: &[u8]) -> Vec<(usize, Head)> {
    let (mut at, mut frames) = (0, Vec::new());
    while let Some(head) = bytes
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .and_then(Head::parse)
    {
        frames.push((at, head));
        at += HEAD + head.stored as usize;
    }
    assert_eq!(at, bytes.len());
    frames
}

struct Told {
    records: Vec<Vec<u8>>,
    damage: Vec<Damage>,
    end: End,
}

impl Told {
    fn missing(&self) -> Counts {
        let missing = self.damage.iter().filter_map(|damage| damage.missing);
        missing.fold(Counts::default(), Counts::plus)
    }
}

fn tell(path: &Path) -> Result<Told, OpenError> {
    let mut recordings = open(&[path.to_owned()])?;
    let (inputs, damage, end) = read_one(&mut recordings[0]);
    let records = inputs.into_iter().filter_map(|input| match input {
        Owned::Record(record) => Some(record),
        Owned::Clock(_) | Owned::Losses(..) | Owned::Tick(_) => None,
    });
    Ok(Told {
        records: records.collect(),
        damage,
        end,
    })
}

/// Whether these are some of those, in their order.
fn are_some_of(some: &[Vec<u8>], all: &[Vec<u8>]) -> bool {
    let mut all = all.iter();
    some.iter().all(|one| all.any(|other| one == other))
}

#[test]
fn cut_anywhere() {
    let bytes = sample();
    let frames = frames(&bytes);
    let scratch = Scratch::new();
    let path = scratch.path("cut");
    std::fs::write(&path, &bytes).unwrap();
    let whole = tell(&path).unwrap();
    assert_eq!(whole.end.how, SAMPLE_END);
    let at_frames = frames
        .iter()
        .flat_map(|(at, _)| at.saturating_sub(1)..at + 2);
    let mut lengths: Vec<usize> = at_frames.chain((0..bytes.len()).step_by(23)).collect();
    lengths.sort_unstable_by(|one, other| other.cmp(one));
    for length in lengths {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let of_file = frames
            .iter()
            .take_while(|(at, head)| at + HEAD + head.stored as usize <= length);
        let Some((at, last)) = of_file.last() else {
            let error = tell(&path).err().unwrap();
            let is_empty = matches!(error, OpenError::Empty { .. });
            let is_foreign = matches!(error, OpenError::Foreign { .. });
            assert_eq!((is_empty, is_foreign), (length == 0, length > 0), "{error}");
            continue;
        };
        let told = tell(&path).unwrap();
        let torn = (length - at - HEAD - last.stored as usize) as u64;
        assert_eq!(told.end.how, Close::Cut { torn }, "{length} bytes");
        assert!(told.damage.is_empty(), "{length} bytes");
        assert!(whole.records.starts_with(&told.records), "{length} bytes");
        let before = frames[0].1.before.records;
        assert_eq!(
            told.records.len() as u64,
            last.before.records + last.counts.records - before
        );
    }
}

#[test]
fn with_a_bit_turned_anywhere() {
    let bytes = sample();
    let scratch = Scratch::new();
    let path = scratch.path("flipped");
    std::fs::write(&path, &bytes).unwrap();
    let whole = tell(&path).unwrap();
    let frames = frames(&bytes);
    let (last, _) = *frames.last().unwrap();
    for (at, head) in &frames {
        let payload = (HEAD..HEAD + head.stored as usize).step_by(41);
        for position in (0..HEAD).chain(payload) {
            let bit = position % 8;
            let mut flipped = bytes.clone();
            flipped[at + position] ^= 1 << bit;
            std::fs::write(&path, flipped).unwrap();
            let told = tell(&path).unwrap();
            let what = format!("bit {bit} of byte {position} of the frame at {at}");
            assert!(are_some_of(&told.records, &whole.records), "{what}");
            if *at == last {
                // Nothing behind it tells what it was.
                assert!(
                    told.end.how != SAMPLE_END || !told.damage.is_empty(),
                    "{what}"
                );
                continue;
            }
            assert!(!told.damage.is_empty(), "{what}");
            assert_eq!(
                told.records.len() as u64 + told.missing().records,
                whole.records.len() as u64,
                "{what}"
            );
            if head.kind == Kind::Block {
                assert_eq!(told.missing(), head.counts, "{what}");
            }
            assert_eq!(told.end.how, SAMPLE_END, "{what}");
        }
    }
}

#[test]
fn what_is_behind_the_end_is_told() {
    let scratch = Scratch::new();
    let whole = tell(&sample_path(SAMPLE)).unwrap();
    let other = std::fs::read(sample_path("outcomes.tracer")).unwrap();
    let path = scratch.path("two");
    std::fs::write(&path, [sample(), other.clone()].concat()).unwrap();
    let told = tell(&path).unwrap();
    assert_eq!(told.records, whole.records);
    assert_eq!(
        (told.end.how, told.end.beyond),
        (SAMPLE_END, other.len() as u64)
    );
}

/// As `cat web.*.tracer` puts them together.
#[test]
fn files_of_one_session_may_be_one() {
    let parts = [1, 2, 3].map(|part| sample_path(&format!("rotated.00000{part}.tracer")));
    let mut recordings = open(&parts).unwrap();
    let apart = read_one(&mut recordings[0]);
    let scratch = Scratch::new();
    let path = scratch.path("one");
    let bytes = parts.map(|part| std::fs::read(part).unwrap());
    std::fs::write(&path, bytes.concat()).unwrap();
    let mut recordings = open(&[path]).unwrap();
    assert_eq!(read_one(&mut recordings[0]), apart);
    assert_eq!(apart.2.how, Close::Whole);
}

#[test]
fn the_sample_has_what_the_others_rely_on() {
    let frames = frames(&sample());
    let kinds: Vec<Kind> = frames.iter().map(|(_, head)| head.kind).collect();
    // A copy of the header stands before the end.
    assert_eq!(
        kinds.iter().filter(|kind| **kind == Kind::Header).count(),
        2
    );
    assert!(
        frames
            .iter()
            .map(|(_, head)| head.counts.records)
            .sum::<u64>()
            > 5
    );
}
