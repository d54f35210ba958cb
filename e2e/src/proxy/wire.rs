//! Kafka's primitive types, read from and written to bytes: big-endian integers, strings and arrays in both
//! layouts (the classic one with fixed lengths, the flexible one of KIP-482 with varint lengths and tagged
//! fields).
//!
//! A `Reader` never indexes past its end: bytes that are too short or malformed are an error, not a panic,
//! since they come from a network. Nothing here knows of an API.

use anyhow::{Context, Result, bail, ensure};

/// A position in the bytes of one request or response.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How many bytes have been read.
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// All that was not read yet.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length).context("a length overflows")?;
        let taken = self
            .bytes
            .get(self.at..end)
            .context("the frame ends inside a field")?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.take(N)?.try_into().context("a field has the wrong width")
    }

    pub(crate) fn int8(&mut self) -> Result<i8> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn int16(&mut self) -> Result<i16> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn int32(&mut self) -> Result<i32> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn int64(&mut self) -> Result<i64> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn bool(&mut self) -> Result<bool> {
        Ok(self.int8()? != 0)
    }

    /// An unsigned varint of at most 32 bits.
    pub(crate) fn uvarint(&mut self) -> Result<u32> {
        let mut value = 0u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).context("a varint is above 32 bits");
            }
        }
        bail!("a varint is longer than five bytes")
    }

    /// Steps over a tagged-field section (KIP-482).
    pub(crate) fn tags(&mut self) -> Result<()> {
        for _ in 0..self.uvarint()? {
            self.uvarint()?;
            let size = self.uvarint()?;
            self.take(size as usize)?;
        }
        Ok(())
    }

    /// Steps over the tagged fields that end a structure, which only the flexible layout has.
    pub(crate) fn end(&mut self, layout: Layout) -> Result<()> {
        match layout {
            Layout::Classic => Ok(()),
            Layout::Flexible => self.tags(),
        }
    }

    /// A nullable string; the caller decides whether null is allowed.
    pub(crate) fn nullable_string(&mut self, layout: Layout) -> Result<Option<String>> {
        let length = match layout {
            Layout::Classic => i64::from(self.int16()?),
            Layout::Flexible => i64::from(self.uvarint()?) - 1,
        };
        let Ok(length) = usize::try_from(length) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.take(length)?).context("a string is not UTF-8")?;
        Ok(Some(text.to_owned()))
    }

    pub(crate) fn string(&mut self, layout: Layout) -> Result<String> {
        self.nullable_string(layout)?
            .context("a string that may not be null is null")
    }

    /// Steps over bytes with a length before them (records, member metadata).
    pub(crate) fn skip_bytes(&mut self, layout: Layout) -> Result<()> {
        let length = match layout {
            Layout::Classic => i64::from(self.int32()?),
            Layout::Flexible => i64::from(self.uvarint()?) - 1,
        };
        if let Ok(length) = usize::try_from(length) {
            self.take(length)?;
        }
        Ok(())
    }

    /// The number of elements of an array; null counts as none.
    pub(crate) fn array_length(&mut self, layout: Layout) -> Result<usize> {
        let length = match layout {
            Layout::Classic => i64::from(self.int32()?),
            Layout::Flexible => i64::from(self.uvarint()?) - 1,
        };
        let length = usize::try_from(length).unwrap_or(0);
        ensure!(
            length <= self.rest().len(),
            "an array claims more elements than the frame has bytes"
        );
        Ok(length)
    }
}

/// Which of the two layouts a version of an API has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layout {
    Classic,
    Flexible,
}

/// Bytes under construction.
#[derive(Default)]
pub(crate) struct Writer {
    pub(crate) bytes: Vec<u8>,
}

impl Writer {
    pub(crate) fn int8(&mut self, value: i8) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn int16(&mut self, value: i16) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn int32(&mut self, value: i32) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn int64(&mut self, value: i64) {
        self.bytes.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn uvarint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.bytes.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
    }

    /// Writes a string that is not null.
    pub(crate) fn string(&mut self, text: &str, layout: Layout) -> Result<()> {
        match layout {
            Layout::Classic => self.int16(i16::try_from(text.len()).context("a string is above 32 KiB")?),
            Layout::Flexible => self.uvarint(u32::try_from(text.len() + 1).context("a string is too long")?),
        }
        self.bytes.extend_from_slice(text.as_bytes());
        Ok(())
    }

    /// Writes an empty tagged-field section where the layout has one.
    pub(crate) fn end(&mut self, layout: Layout) {
        if layout == Layout::Flexible {
            self.uvarint(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_come_back_as_written() {
        for value in [0, 1, 0x7f, 0x80, 0x3fff, 0x4000, 300_000, u32::MAX] {
            let mut writer = Writer::default();
            writer.uvarint(value);
            let mut reader = Reader::new(&writer.bytes);
            assert_eq!(reader.uvarint().unwrap(), value);
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn strings_come_back_in_both_layouts() {
        for layout in [Layout::Classic, Layout::Flexible] {
            let mut writer = Writer::default();
            writer.string("lane-7", layout).unwrap();
            writer.end(layout);
            let mut reader = Reader::new(&writer.bytes);
            assert_eq!(reader.string(layout).unwrap(), "lane-7");
            reader.end(layout).unwrap();
            assert!(reader.rest().is_empty());
        }
    }

    #[test]
    fn short_and_lying_bytes_are_errors() {
        assert!(Reader::new(&[0, 0, 0]).int32().is_err());
        assert!(Reader::new(&[0xff; 6]).uvarint().is_err());
        assert!(Reader::new(&[0, 9, b'a']).string(Layout::Classic).is_err());
        assert!(
            Reader::new(&[0x7f, 0xff, 0xff, 0xff])
                .array_length(Layout::Classic)
                .is_err()
        );
        assert_eq!(
            Reader::new(&[0xff, 0xff])
                .nullable_string(Layout::Classic)
                .unwrap(),
            None
        );
        assert_eq!(Reader::new(&[0]).nullable_string(Layout::Flexible).unwrap(), None);
    }
}
