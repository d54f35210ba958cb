//! The primitives of our layouts: LEB128 varints, zigzag for signed numbers, length-prefixed bytes. A reader never
//! trusts a length: it fails, it does not panic or allocate ahead of the bytes it holds.

/// Bytes that are not the layout they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed {what}")]
pub struct Malformed {
    /// What could not be read.
    pub what: &'static str,
}

/// Appends a varint.
pub fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag varint.
pub fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends a zigzag varint of 128 bits.
pub fn put_i128(out: &mut Vec<u8>, value: i128) {
    let mut value = ((value << 1) ^ (value >> 127)) as u128;
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends bytes behind their length.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u64(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Reads a layout front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    what: &'static str,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`; `what` names the layout in errors.
    pub fn new(bytes: &'a [u8], what: &'static str) -> Self {
        Self { bytes, what }
    }

    /// The error of this reader's layout.
    pub fn malformed(&self) -> Malformed {
        Malformed { what: self.what }
    }

    /// Whether everything was read.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.bytes.len()
    }

    /// Fails unless everything was read.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.is_empty() {
            Ok(())
        } else {
            Err(self.malformed())
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(count)
            .ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(taken)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or_else(|| self.malformed())?;
        self.bytes = rest;
        Ok(*taken)
    }

    /// One byte.
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A varint.
    #[inline]
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        match self.bytes {
            [byte @ 0..0x80, rest @ ..] => {
                self.bytes = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_u64(),
        }
    }

    /// A varint that fits a number of 32 bits.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.u64()?).map_err(|_| self.malformed())
    }

    /// A zigzag varint.
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        let raw = self.u64()?;
        Ok(((raw >> 1) as i64) ^ -((raw & 1) as i64))
    }

    /// A zigzag varint of 128 bits.
    pub fn i128(&mut self) -> Result<i128, Malformed> {
        let raw = self.u128()?;
        Ok(((raw >> 1) as i128) ^ -((raw & 1) as i128))
    }

    /// A count of items of at least `least` bytes each: more than could be left is malformed, so a reader may
    /// reserve for it.
    pub fn count(&mut self, least: usize) -> Result<usize, Malformed> {
        let count = usize::try_from(self.u64()?).map_err(|_| self.malformed())?;
        if count.saturating_mul(least.max(1)) > self.bytes.len() {
            return Err(self.malformed());
        }
        Ok(count)
    }

    /// Bytes behind their length.
    pub fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.count(1)?;
        self.take(length)
    }

    /// Text behind its length.
    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        std::str::from_utf8(self.bytes()?).map_err(|_| self.malformed())
    }

    /// A varint of any length. Ten bytes hold 70 bits, so the tenth may be 1 at most.
    fn long_u64(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        let mut shift = 0;
        let mut rest = self.bytes;
        while let [byte, behind @ ..] = rest {
            if shift == 63 && *byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if *byte < 0x80 {
                self.bytes = behind;
                return Ok(value);
            }
            rest = behind;
            shift += 7;
        }
        Err(self.malformed())
    }

    /// A varint of 128 bits. Nineteen bytes hold 133 bits, so the nineteenth may be 3 at most.
    fn u128(&mut self) -> Result<u128, Malformed> {
        let mut value = 0_u128;
        for shift in (0..=126).step_by(7) {
            let byte = self.byte()?;
            if shift == 126 && byte > 3 {
                break;
            }
            value |= u128::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.malformed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_as_written_and_no_longer_than_their_bits() {
        let mut numbers = vec![0, 1, 127, 128, u64::MAX, u64::MAX - 1];
        numbers.extend((0..64).map(|bit| 1_u64 << bit));
        for number in numbers {
            let mut bytes = vec![];
            put_u64(&mut bytes, number);
            put_i64(&mut bytes, number as i64);
            put_i128(&mut bytes, i128::from(number) << 63);
            put_i128(&mut bytes, i128::MIN + i128::from(number));
            let mut reader = Reader::new(&bytes, "numbers");
            assert_eq!(reader.u64(), Ok(number));
            assert_eq!(reader.i64(), Ok(number as i64));
            assert_eq!(reader.i128(), Ok(i128::from(number) << 63));
            assert_eq!(reader.i128(), Ok(i128::MIN + i128::from(number)));
            assert_eq!(reader.finish(), Ok(()));
        }
        let ones = |count: usize, last: u8| [vec![0xff; count], vec![last]].concat();
        assert_eq!(Reader::new(&ones(9, 1), "").u64(), Ok(u64::MAX));
        assert_eq!(Reader::new(&ones(18, 3), "").u128(), Ok(u128::MAX));
        for bytes in [ones(9, 2), ones(9, 0x81), ones(10, 0), ones(3, 0x80), vec![]] {
            assert!(Reader::new(&bytes, "").u64().is_err(), "{bytes:?}");
        }
        for bytes in [ones(18, 4), ones(18, 0x83), ones(19, 0)] {
            assert!(Reader::new(&bytes, "").u128().is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn a_length_beyond_the_bytes_is_malformed() {
        for bytes in [vec![5, 1, 2], [vec![0xff; 9], vec![1]].concat()] {
            assert!(Reader::new(&bytes, "").bytes().is_err());
            assert!(Reader::new(&bytes, "").count(4).is_err());
        }
    }
}
