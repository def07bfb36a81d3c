//! What becomes of a file: cut, flipped, overwritten, mixed.

use proptest::prelude::*;

use super::*;
use crate::record::frame::{Context, Maker};
use crate::record::row;

const TAG: u32 = 7;
/// Blocks of a file, and records in each.
const BLOCKS: u64 = 5;
const RECORDS: u64 = 20;

/// A header and [`BLOCKS`] blocks; where each frame begins, and the end.
fn file() -> (Vec<u8>, Vec<usize>) {
    let mut maker = Maker::new().unwrap();
    let mut file = Vec::new();
    let mut context = Context {
        session: TAG,
        ..Context::default()
    };
    let mut starts = vec![0];
    maker
        .header(br#"{"format":1,"id":"test"}"#, 0, &context, &mut file)
        .unwrap();
    for block in 0..BLOCKS {
        starts.push(file.len());
        let mut rows = Batch::default();
        for record in 0..RECORDS {
            rows.push(&record_bytes(block * RECORDS + record));
        }
        let counts = maker.block(&rows, &context, &mut file).unwrap();
        context.before = context.before.plus(counts);
    }
    starts.push(file.len());
    (file, starts)
}

/// Bytes that say which record it is.
fn record_bytes(number: u64) -> Vec<u8> {
    let mut record = vec![0; 80];
    // Each second one a transition.
    record[0] = u8::try_from(number % 2).unwrap() + 1;
    record[8..16].copy_from_slice(&(1_000 + number).to_le_bytes());
    record[16..24].copy_from_slice(&(number % 3).to_le_bytes());
    record[30] = u8::try_from(number).unwrap();
    record
}

/// Reads it all: the numbers of the records, the damage, and the bytes torn off at the end.
fn read(file: &[u8]) -> (Vec<u8>, Vec<Damage>, u64) {
    let mut reader = Reader::new(file).unwrap();
    reader.expect(TAG, Counts::default());
    let (mut numbers, mut damage) = (Vec::new(), Vec::new());
    loop {
        match reader.read().unwrap() {
            Found::Header(_) | Found::Unknown(_) | Found::Late(_) | Found::Searching => {}
            Found::Block(_) => numbers.extend(reader.rows().iter().map(|row| row[30])),
            Found::Damage(found) => damage.push(found),
            Found::Nothing { torn, .. } => return (numbers, damage, torn),
        }
    }
}

fn all() -> Vec<u8> {
    (0..BLOCKS * RECORDS)
        .map(|number| u8::try_from(number).unwrap())
        .collect()
}

#[test]
fn a_whole_file_is_read_whole() {
    assert_eq!(read(&file().0), (all(), Vec::new(), 0));
}

#[test]
fn cut_at_every_byte_all_whole_blocks_are_read() {
    let (file, starts) = file();
    for length in 0..file.len() {
        let whole = starts.iter().filter(|start| **start <= length).count();
        let blocks = whole.saturating_sub(2);
        let torn = length
            - starts
                .iter()
                .filter(|start| **start <= length)
                .max()
                .unwrap();
        let (numbers, damage, left) = read(&file[..length]);
        assert_eq!(numbers, all()[..blocks * 20], "{length} bytes");
        assert_eq!((damage, left), (Vec::new(), torn as u64), "{length} bytes");
    }
}

/// All but one block is read, and what is missing is told exactly.
fn ensure_one_block_is_missing(file: &[u8], block: usize, what: &str) {
    let (numbers, damage, torn) = read(file);
    let mut expected = all();
    expected.drain(block * 20..(block + 1) * 20);
    assert_eq!(numbers, expected, "{what}");
    assert_eq!(torn, 0, "{what}");
    let [damage] = damage.as_slice() else {
        panic!("{what}: {damage:?}");
    };
    let missing = Counts {
        records: RECORDS,
        transitions: RECORDS / 2,
    };
    assert_eq!(damage.missing, Some(missing), "{what}: {damage:?}");
    let first_ns = 1_000 + block as u64 * RECORDS;
    assert!(damage.after_ns.unwrap() + 1 >= first_ns, "{what}");
    assert!(damage.before_ns.unwrap() <= first_ns + RECORDS, "{what}");
}

#[test]
fn every_flipped_bit_costs_one_block_and_is_told() {
    let (whole, starts) = file();
    let block = 2;
    let (start, end) = (starts[block + 1], starts[block + 2]);
    for bit in start * 8..end * 8 {
        let mut file = whole.clone();
        file[bit / 8] ^= 1 << (bit % 8);
        ensure_one_block_is_missing(&file, block, &format!("bit {bit}"));
    }
}

#[test]
fn a_hole_is_told_though_no_byte_is_wrong() {
    let (mut file, starts) = file();
    file.drain(starts[2]..starts[3]);
    ensure_one_block_is_missing(&file, 1, "hole");
    let damage = &read(&file).1[0];
    assert_eq!((damage.bytes, damage.offset), (0, starts[2] as u64));
}

#[test]
fn bytes_in_between_are_passed_over() {
    let (whole, starts) = file();
    let foreign = {
        let mut frame = Vec::new();
        let context = Context {
            session: TAG + 1,
            ..Context::default()
        };
        let mut rows = Batch::default();
        rows.push(&record_bytes(99));
        Maker::new()
            .unwrap()
            .block(&rows, &context, &mut frame)
            .unwrap();
        frame
    };
    for rubbish in [
        vec![0; 1],
        vec![0x89; 600_000],
        MAGIC.repeat(50),
        whole[starts[1]..starts[1] + HEAD - 1].to_vec(),
        foreign,
    ] {
        let mut file = whole.clone();
        let at = starts[3];
        file.splice(at..at, rubbish.iter().copied());
        let (numbers, damage, torn) = read(&file);
        assert_eq!((numbers, torn), (all(), 0));
        let [damage] = damage.as_slice() else {
            panic!("{damage:?}");
        };
        assert_eq!(damage.missing, Some(Counts::default()));
        assert_eq!(
            (damage.offset, damage.bytes),
            (at as u64, rubbish.len() as u64)
        );
    }
}

#[test]
fn a_file_that_grows_is_read_as_it_grows() {
    /// Gives one byte more each time it is asked.
    struct Growing<'a> {
        file: &'a [u8],
        turn: bool,
    }
    impl Read for Growing<'_> {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            self.turn = !self.turn;
            match self.file.split_first() {
                Some((byte, rest)) if self.turn => {
                    space[0] = *byte;
                    self.file = rest;
                    Ok(1)
                }
                _ => Ok(0),
            }
        }
    }
    let (file, _) = file();
    let growing = Growing {
        file: &file,
        turn: false,
    };
    let mut reader = Reader::new(growing).unwrap();
    reader.expect(TAG, Counts::default());
    let mut numbers = Vec::new();
    let mut idle = 0;
    while idle < 3 {
        match reader.read().unwrap() {
            Found::Block(_) => numbers.extend(reader.rows().iter().map(|row| row[30])),
            Found::Nothing { .. } if reader.source.file.is_empty() => idle += 1,
            Found::Header(_) | Found::Nothing { .. } => {}
            other @ (Found::Damage(_) | Found::Unknown(_) | Found::Late(_) | Found::Searching) => {
                panic!("{other:?}")
            }
        }
    }
    assert_eq!(numbers, all());
}

#[test]
fn a_frame_too_large_is_passed_over_without_holding_it() {
    struct Endless;
    impl Read for Endless {
        fn read(&mut self, space: &mut [u8]) -> io::Result<usize> {
            space.fill(0);
            Ok(space.len())
        }
    }
    let mut huge = Vec::new();
    let mut rows = Batch::default();
    rows.push(&record_bytes(1));
    let context = Context {
        session: TAG,
        ..Context::default()
    };
    Maker::new()
        .unwrap()
        .block(&rows, &context, &mut huge)
        .unwrap();
    huge[12..16].copy_from_slice(&(1u32 << 26).to_le_bytes());
    let crc = crc32c::crc32c(&huge[..HEAD - 4]);
    huge[HEAD - 4..HEAD].copy_from_slice(&crc.to_le_bytes());
    huge.truncate(HEAD);
    let source = huge.as_slice().chain(Endless.take(1 << 26));
    let mut reader = Reader::new(source).unwrap();
    reader.expect(TAG, Counts::default());
    let Found::Damage(damage) = reader.read().unwrap() else {
        panic!("not told");
    };
    assert_eq!(damage.bytes, (1 << 26) + HEAD as u64);
    assert_eq!(read_far(&mut reader), 0);
    assert!(reader.buffer.capacity() < 1 << 20);
}

#[test]
fn zeros_without_end_are_not_held() {
    let zeros = io::repeat(0).take(10 * STRETCH);
    let mut reader = Reader::new(zeros).unwrap();
    assert_eq!(read_far(&mut reader), 10 * STRETCH);
    assert!(reader.buffer.capacity() < 1 << 20);
}

/// Reads to the end where there is nothing more, never far at once: what is torn off there.
fn read_far(reader: &mut Reader<impl Read>) -> u64 {
    loop {
        let before = reader.offset;
        let found = reader.read().unwrap();
        let passed = reader.offset - before;
        assert!(passed <= STRETCH + CHUNK as u64, "{passed} bytes at once");
        match found {
            Found::Searching => {}
            Found::Nothing { torn, .. } => return torn,
            other @ (Found::Header(_)
            | Found::Block(_)
            | Found::Damage(_)
            | Found::Unknown(_)
            | Found::Late(_)) => panic!("{other:?}"),
        }
    }
}

proptest! {
    /// Whatever happens to a file: every record that is read is one that was written, in order, none
    /// twice; and nothing is missing in the middle without being told.
    #[test]
    fn nothing_is_invented(
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>(), 1usize..300), 1..4),
        cut: proptest::sample::Index,
    ) {
        let (mut file, _) = file();
        for (at, value, length) in damage {
            let at = at.index(file.len());
            let end = (at + length).min(file.len());
            file[at..end].fill(value);
        }
        file.truncate(file.len() - cut.index(file.len() / 4));
        let (numbers, damage, _) = read(&file);
        prop_assert!(numbers.is_sorted_by(|one, next| one < next));
        let told: u64 = damage.iter().filter_map(|damage| damage.missing).map(|missing| missing.records).sum();
        let last = numbers.last().map_or(0, |last| u64::from(*last) + 1);
        prop_assert!(told + numbers.len() as u64 >= last, "{damage:?}");
    }

    #[test]
    fn any_bytes_are_read_to_the_end(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let (numbers, _, torn) = read(&bytes);
        prop_assert!(numbers.is_empty());
        prop_assert_eq!(torn, bytes.len() as u64);
    }
}

#[test]
fn rows_of_the_test_are_records() {
    let mut rows = Batch::default();
    rows.push(&record_bytes(2));
    rows.push(&record_bytes(3));
    let counts = row::summary(&rows).counts;
    assert_eq!((counts.records, counts.transitions), (2, 1));
}
