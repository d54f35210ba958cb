//! A request as tests see it: its header, and for the APIs of a transaction the facts in its body.
//!
//! The header is read from every request and an unreadable one ends the connection. A body that cannot be
//! decoded (a version above those known here) only costs the facts: they are [`Facts::Opaque`] and the bytes
//! still pass as they came.

use anyhow::Result;

use super::api::Api;
use super::wire::{Layout, Reader};

/// One request of one client connection.
#[derive(Clone, Debug)]
pub struct Request {
    /// The client connection that it came on, counted from 1.
    pub connection: u64,
    /// What is asked.
    pub api: Api,
    /// The version of the API, which decides the layout.
    pub version: i16,
    /// The client's number for the request, unique on its connection.
    pub correlation_id: i32,
    /// `client.id` of the client.
    pub client_id: Option<String>,
    /// What the body says, as far as it was decoded.
    pub facts: Facts,
}

/// What the body of a request says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Facts {
    /// A transaction shall end.
    EndTxn(EndTxn),
    /// A producer asks for its id and epoch.
    InitProducerId {
        /// Null for a producer that is only idempotent.
        transactional_id: Option<String>,
    },
    /// Partitions shall belong to the open transaction.
    AddPartitionsToTxn {
        /// Whose transaction.
        transactional_id: String,
        /// Id and epoch of the sender.
        producer: Producer,
        /// Topic and partition.
        partitions: Vec<(String, i32)>,
    },
    /// A group's offsets shall belong to the open transaction.
    AddOffsetsToTxn {
        /// Whose transaction.
        transactional_id: String,
        /// Id and epoch of the sender.
        producer: Producer,
        /// The consumer group.
        group: String,
    },
    /// Next offsets, valid once the transaction commits.
    TxnOffsetCommit {
        /// Whose transaction.
        transactional_id: String,
        /// The consumer group.
        group: String,
        /// Id and epoch of the sender.
        producer: Producer,
        /// Generation of the group as the sender knows it; [`NO_GENERATION`] is accepted without a check.
        generation: i32,
        /// Topic, partition and next offset.
        offsets: Vec<(String, i32, i64)>,
    },
    /// Records.
    Produce {
        /// Null outside transactions.
        transactional_id: Option<String>,
        /// 0, 1 or -1; with 0 there is no response.
        acks: i16,
        /// Topic, partition and number of records.
        partitions: Vec<(String, i32, i32)>,
    },
    /// Any other API, or a version that is not known here.
    Opaque,
}

/// The id and epoch that a broker gave a producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Producer {
    /// The same for every transaction in protocol 1.
    pub id: i64,
    /// Rises with every `init_transactions`; in protocol 1 not with a transaction, which is why a late EndTxn
    /// fits a later one.
    pub epoch: i16,
}

/// The generation of a sender that is no member of the group: the broker then checks nothing.
pub const NO_GENERATION: i32 = -1;

/// The body of an EndTxn request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxn {
    /// Whose transaction.
    pub transactional_id: String,
    /// Id and epoch of the sender.
    pub producer: Producer,
    /// Commit, else abort.
    pub committed: bool,
}

impl Request {
    /// Reads a request's frame.
    pub(crate) fn decode(connection: u64, frame: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(frame);
        let api = Api::from_key(reader.int16()?);
        let version = reader.int16()?;
        let correlation_id = reader.int32()?;
        // Classic in both versions of the header.
        let client_id = reader.nullable_string(Layout::Classic)?;
        let layout = api.layout(version);
        let facts = reader
            .end(layout)
            .and_then(|()| facts(api, version, &mut reader))
            .unwrap_or(Facts::Opaque);
        Ok(Self {
            connection,
            api,
            version,
            correlation_id,
            client_id,
            facts,
        })
    }

    /// The transactional id that the request names, if its API has one.
    #[must_use]
    pub fn transactional_id(&self) -> Option<&str> {
        match &self.facts {
            Facts::EndTxn(EndTxn { transactional_id, .. })
            | Facts::AddPartitionsToTxn { transactional_id, .. }
            | Facts::AddOffsetsToTxn { transactional_id, .. }
            | Facts::TxnOffsetCommit { transactional_id, .. } => Some(transactional_id),
            Facts::InitProducerId { transactional_id } | Facts::Produce { transactional_id, .. } => {
                transactional_id.as_deref()
            }
            Facts::Opaque => None,
        }
    }

    /// Whether this is an EndTxn of that transactional id.
    #[must_use]
    pub fn ends(&self, transactional_id: &str) -> bool {
        self.api == Api::EndTxn && self.transactional_id() == Some(transactional_id)
    }

    /// Whether the broker answers at all: not a Produce with `acks=0`.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(self.facts, Facts::Produce { acks: 0, .. })
    }
}

fn facts(api: Api, version: i16, body: &mut Reader<'_>) -> Result<Facts> {
    let layout = api.layout(version);
    match (api, version) {
        (Api::EndTxn, 0..=5) => Ok(Facts::EndTxn(EndTxn {
            transactional_id: body.string(layout)?,
            producer: producer(body)?,
            committed: body.bool()?,
        })),
        (Api::InitProducerId, 0..=6) => Ok(Facts::InitProducerId {
            transactional_id: body.nullable_string(layout)?,
        }),
        // From version 4 on brokers speak to each other in it.
        (Api::AddPartitionsToTxn, 0..=3) => Ok(Facts::AddPartitionsToTxn {
            transactional_id: body.string(layout)?,
            producer: producer(body)?,
            partitions: topics(
                body,
                layout,
                |topic, body| Ok((topic, body.int32()?)),
                Element::Bare,
            )?,
        }),
        (Api::AddOffsetsToTxn, 0..=4) => Ok(Facts::AddOffsetsToTxn {
            transactional_id: body.string(layout)?,
            producer: producer(body)?,
            group: body.string(layout)?,
        }),
        (Api::TxnOffsetCommit, 0..=5) => txn_offset_commit(version, layout, body),
        // Version 13 names topics by id.
        (Api::Produce, 3..=12) => Ok(Facts::Produce {
            transactional_id: body.nullable_string(layout)?,
            acks: body.int16()?,
            partitions: {
                body.int32()?; // Time-out in milliseconds.
                topics(
                    body,
                    layout,
                    |topic, body| produced(topic, body, layout),
                    Element::Structure,
                )?
            },
        }),
        _ => Ok(Facts::Opaque),
    }
}

fn producer(body: &mut Reader<'_>) -> Result<Producer> {
    Ok(Producer {
        id: body.int64()?,
        epoch: body.int16()?,
    })
}

fn txn_offset_commit(version: i16, layout: Layout, body: &mut Reader<'_>) -> Result<Facts> {
    let transactional_id = body.string(layout)?;
    let group = body.string(layout)?;
    let producer = producer(body)?;
    let mut generation = NO_GENERATION;
    if version >= 3 {
        generation = body.int32()?;
        body.string(layout)?; // Member id.
        body.nullable_string(layout)?; // Instance id.
    }
    let one = |topic, body: &mut Reader<'_>| {
        let place = (topic, body.int32()?, body.int64()?);
        if version >= 2 {
            body.int32()?; // Leader epoch.
        }
        body.nullable_string(layout)?; // Metadata.
        Ok(place)
    };
    let offsets = topics(body, layout, one, Element::Structure)?;
    Ok(Facts::TxnOffsetCommit {
        transactional_id,
        group,
        producer,
        generation,
        offsets,
    })
}

/// Where the number of records stands in a record batch (Kafka's documentation, "Record Batch").
const RECORD_COUNT_AT: usize = 57;

fn produced(topic: String, body: &mut Reader<'_>, layout: Layout) -> Result<(String, i32, i32)> {
    let partition = body.int32()?;
    let mut batch = Reader::new(body.rest());
    match layout {
        Layout::Classic => batch.int32().map(drop)?,
        Layout::Flexible => batch.uvarint().map(drop)?,
    }
    let records = batch
        .take(RECORD_COUNT_AT)
        .and_then(|_| batch.int32())
        .unwrap_or(0);
    body.skip_bytes(layout)?;
    Ok((topic, partition, records))
}

/// Whether the elements of a partition array are numbers or structures, which end in tagged fields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    Bare,
    Structure,
}

/// Reads an array of topics, each with an array of partitions, which is how most bodies are built.
pub(crate) fn topics<T>(
    body: &mut Reader<'_>,
    layout: Layout,
    mut one: impl FnMut(String, &mut Reader<'_>) -> Result<T>,
    element: Element,
) -> Result<Vec<T>> {
    let mut found = Vec::new();
    for _ in 0..body.array_length(layout)? {
        let topic = body.string(layout)?;
        for _ in 0..body.array_length(layout)? {
            found.push(one(topic.clone(), body)?);
            if element == Element::Structure {
                body.end(layout)?;
            }
        }
        body.end(layout)?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
