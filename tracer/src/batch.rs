//! Records copied out of the ring buffer, or read from a recording.
//!
//! The copy makes room in the ring at once, before the records are handled.

/// Records in the order of the ring buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Vec<u8>,
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

    /// Appends all records of another one.
    pub fn append(&mut self, other: &Self) {
        for record in other.iter() {
            self.push(record);
        }
    }

    /// Number of records.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// No records.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Bytes of all records.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The record of this number.
    pub fn get(&self, index: usize) -> Option<&[u8]> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(index)?)
    }

    /// Makes room for so many records, of so many bytes together.
    pub fn reserve(&mut self, records: usize, bytes: usize) {
        self.ends.reserve_exact(records);
        self.bytes.reserve_exact(bytes);
    }

    /// Appends a record, to be changed at once; yields those before it and itself.
    pub fn push_copy(&mut self, record: &[u8]) -> (Rows<'_>, &mut [u8]) {
        let start = self.bytes.len();
        self.push(record);
        let (bytes, fresh) = self.bytes.split_at_mut(start);
        let rows = Rows {
            bytes,
            ends: &self.ends,
        };
        (rows, fresh)
    }

    /// The records.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts
            .zip(&self.ends)
            .filter_map(|(start, end)| self.bytes.get(*start..*end))
    }
}

/// Records that may only be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    bytes: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Rows<'a> {
    /// The record of this number.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let start = match index.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.bytes.get(start..*self.ends.get(index)?)
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
            assert_eq!(batch.size(), 9);
            for (index, record) in records.iter().enumerate() {
                assert_eq!(batch.get(index), Some(*record));
            }
            assert_eq!(batch.get(4), None);
        }
    }

    #[test]
    fn a_record_is_changed_beside_those_before_it() {
        let mut batch = Batch::default();
        batch.push(b"one");
        let (before, fresh) = batch.push_copy(b"tx");
        assert_eq!((before.get(0), before.get(1)), (Some(&b"one"[..]), None));
        fresh.copy_from_slice(b"to");
        assert_eq!(batch.iter().collect::<Vec<_>>(), [&b"one"[..], b"to"]);
    }
}
