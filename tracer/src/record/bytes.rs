//! Numbers in bytes, read without trust.

use thiserror::Error;

/// What is wrong with a block whose checksum is right: it was written so.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Corrupt(pub(super) &'static str);

/// Appends a number in LEB128: seven bits a byte, the lowest first.
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// Appends the difference (modulo 2^64) between two numbers, small if it is near zero on either side.
pub(super) fn put_zigzag(out: &mut Vec<u8>, value: u64, before: u64) {
    let difference = value.wrapping_sub(before).cast_signed();
    let folded = (difference << 1) ^ (difference >> 63);
    put_varint(out, folded.cast_unsigned());
}

/// Bytes not read yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cursor<'a>(pub(super) &'a [u8]);

impl<'a> Cursor<'a> {
    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Corrupt> {
        let (taken, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(Corrupt("a column is cut short"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Corrupt> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or(Corrupt("a column is cut short"))?;
        self.0 = rest;
        Ok(*first)
    }

    /// What [`put_varint`] wrote.
    pub(super) fn varint(&mut self) -> Result<u64, Corrupt> {
        // Most are small.
        if let Some((byte @ ..0x80, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Corrupt("a number without an end"))
    }

    /// What [`put_zigzag`] wrote.
    pub(super) fn zigzag(&mut self, before: u64) -> Result<u64, Corrupt> {
        let folded = self.varint()?;
        let difference = (folded >> 1) ^ (folded & 1).wrapping_neg();
        Ok(before.wrapping_add(difference))
    }

    pub(super) fn size(&mut self) -> Result<usize, Corrupt> {
        usize::try_from(self.varint()?).map_err(|_| Corrupt("a size beyond reason"))
    }

    /// A length, and that many bytes.
    pub(super) fn stream(&mut self) -> Result<&'a [u8], Corrupt> {
        let length = self.size()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, before: u64) {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, value);
            put_zigzag(&mut bytes, value, before);
            let mut cursor = Cursor(&bytes);
            prop_assert_eq!(cursor.varint(), Ok(value));
            prop_assert_eq!(cursor.zigzag(before), Ok(value));
            prop_assert!(cursor.0.is_empty());
        }
    }

    #[test]
    fn a_number_ends() {
        assert!(Cursor(&[0x80; 20]).varint().is_err());
        assert!(Cursor(&[0x80]).varint().is_err());
    }
}
