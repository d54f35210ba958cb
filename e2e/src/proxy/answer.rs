//! What a response says, for the APIs of a transaction: its error code and, for InitProducerId, the producer.
//!
//! As with requests, a body that is not understood costs only the facts, never the connection.

use anyhow::Result;

use super::api::Api;
use super::request::{Element, Producer, topics};
use super::wire::{Layout, Reader};

/// What a response says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The error code, 0 for none; where a response has one per partition, the first that is not 0.
    /// `None` for an API that is not decoded.
    pub error_code: Option<i16>,
    /// InitProducerId without an error: the id and epoch that the producer got.
    pub producer: Option<Producer>,
}

impl Answer {
    /// Reads the response of an API; the frame begins with the correlation id.
    pub(crate) fn decode(api: Api, version: i16, frame: &[u8]) -> Self {
        let mut reader = Reader::new(frame);
        body(&mut reader, api, version)
            .and_then(|()| answer(api, version, &mut reader))
            .unwrap_or_default()
    }
}

/// Steps over a response's header.
pub(crate) fn body(reader: &mut Reader<'_>, api: Api, version: i16) -> Result<()> {
    reader.int32()?;
    // ApiVersions keeps the classic header, so that a client can read the answer to a version that the broker
    // has not.
    if api == Api::ApiVersions {
        Ok(())
    } else {
        reader.end(api.layout(version))
    }
}

fn answer(api: Api, version: i16, body: &mut Reader<'_>) -> Result<Answer> {
    let layout = api.layout(version);
    let mut producer = None;
    let error_code = match (api, version) {
        (Api::EndTxn, 0..=5) | (Api::AddOffsetsToTxn, 0..=4) => {
            body.int32()?; // Throttle time.
            body.int16()?
        }
        (Api::InitProducerId, 0..=6) => {
            body.int32()?; // Throttle time.
            let error_code = body.int16()?;
            if error_code == 0 {
                producer = Some(Producer {
                    id: body.int64()?,
                    epoch: body.int16()?,
                });
            }
            error_code
        }
        (Api::AddPartitionsToTxn, 0..=3) | (Api::TxnOffsetCommit, 0..=5) => {
            body.int32()?; // Throttle time.
            first_error(body, layout, |body| {
                body.int32()?;
                body.int16()
            })?
        }
        (Api::Produce, 3..=12) => first_error(body, layout, |body| produced(version, layout, body))?,
        _ => return Ok(Answer::default()),
    };
    Ok(Answer {
        error_code: Some(error_code),
        producer,
    })
}

fn first_error(
    body: &mut Reader<'_>,
    layout: Layout,
    mut one: impl FnMut(&mut Reader<'_>) -> Result<i16>,
) -> Result<i16> {
    let codes = topics(body, layout, |_, body| one(body), Element::Structure)?;
    Ok(codes.into_iter().find(|code| *code != 0).unwrap_or(0))
}

fn produced(version: i16, layout: Layout, body: &mut Reader<'_>) -> Result<i16> {
    body.int32()?; // Partition.
    let error_code = body.int16()?;
    body.int64()?; // Base offset.
    body.int64()?; // Append time.
    if version >= 5 {
        body.int64()?; // Log start offset.
    }
    if version >= 8 {
        for _ in 0..body.array_length(layout)? {
            body.int32()?; // Index in the batch.
            body.nullable_string(layout)?;
            body.end(layout)?;
        }
        body.nullable_string(layout)?; // Error message.
    }
    Ok(error_code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_txn_answer_gives_its_error_code() {
        let classic = [0, 0, 0, 9, 0, 0, 0, 0, 0, 48];
        assert_eq!(Answer::decode(Api::EndTxn, 1, &classic).error_code, Some(48));
        let flexible = [0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 47, 0];
        assert_eq!(Answer::decode(Api::EndTxn, 3, &flexible).error_code, Some(47));
    }

    #[test]
    fn an_init_producer_id_answer_gives_id_and_epoch() {
        let frame = [
            0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x0f, 0xa0, 0, 3, 0,
        ];
        let expected = Answer {
            error_code: Some(0),
            producer: Some(Producer { id: 4000, epoch: 3 }),
        };
        assert_eq!(Answer::decode(Api::InitProducerId, 4, &frame), expected);
    }

    #[test]
    fn the_first_error_of_the_partitions_counts() {
        let frame = [
            0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, b'c', 0, 0, 0,
            2, // Header, throttle time, one topic, two partitions.
            0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 51,
        ];
        assert_eq!(
            Answer::decode(Api::AddPartitionsToTxn, 0, &frame).error_code,
            Some(51)
        );
    }

    #[test]
    fn a_produce_answer_with_its_optional_fields_gives_its_error_code() {
        let mut frame = vec![0, 0, 0, 9, 0, 2, 2, b'c', 2, 0, 0, 0, 6, 0, 48];
        frame.extend_from_slice(&[0; 24]);
        frame.extend_from_slice(&[1, 3, b'n', b'o', 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(Answer::decode(Api::Produce, 10, &frame).error_code, Some(48));
    }

    #[test]
    fn a_body_that_is_not_understood_gives_nothing() {
        assert_eq!(Answer::decode(Api::EndTxn, 1, &[0, 0]), Answer::default());
        assert_eq!(Answer::decode(Api::Other(68), 1, &[0; 40]), Answer::default());
    }
}
