use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::record::bytes::put_varint;

fn encode(rows: &Batch) -> Vec<u8> {
    let mut columns = Vec::new();
    let mut encoder = Encoder::default();
    // What an earlier block left must not show.
    encoder.encode(&batch(&[vec![1; 40], vec![1; 40]]), &mut columns);
    columns.clear();
    encoder.encode(rows, &mut columns);
    columns
}

fn batch(rows: &[Vec<u8>]) -> Batch {
    let mut batch = Batch::default();
    for row in rows {
        batch.push(row);
    }
    batch
}

fn row(kind: u8, mono_ns: u64, sk: u64, body: &[u8]) -> Vec<u8> {
    let mut row = vec![kind, 0, 3, 0, 1, 0, 0, 0];
    row.extend(mono_ns.to_le_bytes());
    row.extend(sk.to_le_bytes());
    row.extend(body);
    row
}

fn round_trip(rows: &Batch) {
    let columns = encode(rows);
    let mut decoded = Batch::default();
    decoded.push(b"one from an earlier block");
    decode(&columns, rows.len(), &mut decoded).unwrap();
    assert_eq!(decoded.len(), rows.len() + 1);
    for (index, row) in rows.iter().enumerate() {
        assert_eq!(decoded.get(index + 1), Some(row), "row {index}");
    }
}

#[test]
fn no_rows() {
    round_trip(&Batch::default());
}

#[test]
fn what_a_socket_repeats_costs_next_to_nothing() {
    let body: Vec<u8> = (0..56).collect();
    let rows: Vec<_> = (0..1000)
        .map(|index| row(1, index * 1000, 7, &body))
        .collect();
    let rows = batch(&rows);
    round_trip(&rows);
    // A group, a time of two bytes and a distance a row.
    let columns = encode(&rows);
    assert!(columns.len() < 4 * 1000 + 300, "{}", columns.len());
}

#[test]
fn more_groups_than_fit_in_a_byte() {
    let rows: Vec<_> = (0..700)
        .map(|length| row(200, 5, 9, &vec![b'x'; length]))
        .collect();
    round_trip(&batch(&rows));
}

#[test]
fn a_socket_displaced_from_the_table_counts_as_new() {
    let rows: Vec<_> = (0..40_000u64)
        .map(|index| row(1, index, index % 20_011 * 64, b"body"))
        .collect();
    round_trip(&batch(&rows));
}

#[test]
fn a_bomb_does_not_go_off() {
    // 65,535 rows of 65,535 equal bytes.
    let mut columns = vec![1, 1, 1, 0, 0, 0];
    put_varint(&mut columns, 65_535);
    put_varint(&mut columns, 65_535);
    columns.resize(columns.len() + 400_000, 0);
    let mut out = Batch::default();
    assert!(decode(&columns, 65_535, &mut out).is_err());
    assert_eq!(out.size(), 0);
}

/// Rows as they might be: few sockets and kinds, some too short for a header.
fn any_rows() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let with_header = (
        0u8..3,
        0u8..2,
        any::<u32>(),
        0u64..6,
        proptest::collection::vec(0u8..4, 0..70),
    )
        .prop_map(|(kind, flags, time, sk, body)| {
            let mut row = row(kind, time.into(), sk * 0x40, &body);
            row[2] = flags;
            row
        });
    let any = proptest::collection::vec(any::<u8>(), 0..60);
    proptest::collection::vec(prop_oneof![8 => with_header, 1 => any], 0..200)
}

proptest! {
    #[test]
    fn rows_come_back(rows in any_rows()) {
        round_trip(&batch(&rows));
    }

    #[test]
    fn any_bytes_decode_or_fail(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        count in 0usize..300,
    ) {
        let _ = decode(&bytes, count, &mut Batch::default());
    }

    #[test]
    fn a_changed_block_decodes_or_fails(
        rows in any_rows(),
        at: proptest::sample::Index,
        value: u8,
        cut: proptest::sample::Index,
    ) {
        let rows = batch(&rows);
        let mut columns = encode(&rows);
        let at = at.index(columns.len());
        columns[at] = value;
        let mut out = Batch::default();
        let _ = decode(&columns, rows.len(), &mut out);
        prop_assert!(out.size() <= MAX_ROW_BYTES && out.len() <= rows.len());
        columns.truncate(cut.index(columns.len()));
        let _ = decode(&columns, rows.len(), &mut Batch::default());
    }
}

/// One group of one long row, each byte of which is a lane of its own: the most to be kept for each byte.
#[test]
fn lanes_take_little() {
    let length = 1 << 20;
    let mut columns = vec![1, 1, 1, 0, 0, 0];
    put_varint(&mut columns, length);
    put_varint(&mut columns, 1);
    columns.push(0);
    let lanes = usize::try_from(length).unwrap() - HEADER + 4;
    for stream in [&[0][..], &[0], &[2], &vec![0; lanes], &[], &vec![7; lanes]] {
        put_varint(&mut columns, stream.len() as u64);
        columns.extend(stream);
    }
    let mut out = Batch::default();
    decode(&columns, 1, &mut out).unwrap();
    let row = out.get(0).unwrap();
    assert_eq!(
        (row.len() as u64, row[4], row[8], row[24]),
        (length, 7, 0, 7)
    );
    // One byte too long for a block.
    let too_long = MAX_ROW_BYTES as u64 + 1;
    let mut columns = vec![1, 1, 1, 0, 0, 0];
    put_varint(&mut columns, too_long);
    put_varint(&mut columns, 1);
    assert_eq!(
        decode(&columns, 1, &mut out),
        Err(Corrupt("groups larger than the block"))
    );
}
