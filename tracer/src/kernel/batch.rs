//! Records copied out of the ring buffer.
//!
//! The copy makes room in the ring at once, and lets the counters of lost events be read after the
//! records and before they are handled: what was lost before any of them is then known in time.

use bytes::BytesMut;

/// Records in the order of the ring buffer.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: BytesMut,
    ends: Vec<usize>,
}

impl Batch {
    /// Empties it; the memory stays.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
    }

    /// Appends a record.
    pub fn push(&mut self, record: &[u8]) {
        self.bytes.extend_from_slice(record);
        self.ends.push(self.bytes.len());
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No records.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_pushed() {
        let records: [&[u8]; 4] = [b"one", b"", b"three", b"4"];
        let mut batch = Batch::default();
        for _ in 0..2 {
            batch.clear();
            assert!(batch.is_empty());
            for record in records {
                batch.push(record);
            }
            assert_eq!(batch.iter().collect::<Vec<_>>(), records);
            assert_eq!(batch.len(), 4);
        }
    }
}
