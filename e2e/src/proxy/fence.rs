//! Puts another generation into a TxnOffsetCommit: a fence that no longer fits, as after a rebalance, or none at all, as clients
//! before KIP-447 sent it.

use anyhow::{Result, ensure};

use super::api::Api;
use super::request::NO_GENERATION;
use super::wire::{Layout, Reader, Writer};

/// The first version that names a generation and a member.
const FENCED: i16 = 3;

/// The request with this generation; with [`NO_GENERATION`] it names no member either.
pub(crate) fn with_generation(frame: &[u8], generation: i32) -> Result<Vec<u8>> {
    let mut reader = Reader::new(frame);
    let api = Api::from_key(reader.int16()?);
    let version = reader.int16()?;
    ensure!(
        api == Api::TxnOffsetCommit && version >= FENCED,
        "{api:?} of version {version} names no generation"
    );
    let layout = api.layout(version);
    reader.int32()?; // Correlation id.
    reader.nullable_string(Layout::Classic)?; // Client id.
    reader.end(layout)?;
    reader.string(layout)?; // Transactional id.
    reader.string(layout)?; // Group.
    reader.int64()?; // Producer id.
    reader.int16()?; // Producer epoch.
    let before = reader.position();
    reader.int32()?;
    let mut writer = Writer::default();
    writer
        .bytes
        .extend_from_slice(frame.get(..before).unwrap_or_default());
    writer.int32(generation);
    if generation == NO_GENERATION {
        reader.string(layout)?; // Member id.
        reader.nullable_string(layout)?; // Instance id.
        writer.string("", layout)?;
        writer.uvarint(0); // Null; all of these versions are flexible.
    }
    writer.bytes.extend_from_slice(reader.rest());
    Ok(writer.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::request::{Facts, Request};

    fn frame(version: i16, generation: i32, member: &str, instance: Option<&str>) -> Vec<u8> {
        let (layout, mut writer) = (Api::TxnOffsetCommit.layout(version), Writer::default());
        writer.int16(Api::TxnOffsetCommit.key());
        writer.int16(version);
        writer.int32(77);
        writer.string("lane", Layout::Classic).unwrap();
        writer.end(layout);
        writer.string("t-1", layout).unwrap();
        writer.string("lanes", layout).unwrap();
        writer.int64(4000);
        writer.int16(3);
        writer.int32(generation);
        writer.string(member, layout).unwrap();
        match instance {
            Some(instance) => writer.string(instance, layout).unwrap(),
            None => writer.uvarint(0),
        }
        writer.bytes.extend_from_slice(b"\x01offsets as they were");
        writer.bytes
    }

    #[test]
    fn another_generation_takes_the_place_of_the_first_and_nothing_else_changes() {
        let from = frame(3, 12, "member", Some("a-0"));
        assert_eq!(
            with_generation(&from, 11).unwrap(),
            frame(3, 11, "member", Some("a-0"))
        );
        let none = with_generation(&from, NO_GENERATION).unwrap();
        assert_eq!(none, frame(3, NO_GENERATION, "", None));
        let Facts::TxnOffsetCommit { generation, .. } = Request::decode(1, &none).unwrap().facts else {
            panic!("it is still one")
        };
        assert_eq!(generation, NO_GENERATION);
    }

    #[test]
    fn what_names_no_generation_is_refused() {
        assert!(with_generation(&frame(2, 12, "member", None), 11).is_err());
        assert!(with_generation(&[0, 26, 0, 3], 11).is_err());
    }
}
