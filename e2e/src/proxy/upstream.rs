//! Requests that the proxy itself sends: kept ones when they are released, and EndTxn that a test forged.
//!
//! Each goes over a connection of its own, opened for it and closed after its answer, as a packet that was
//! late in some other connection's buffers would. They pass neither rules nor switches: the test decided
//! already.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::net::TcpStream;

use super::answer::Answer;
use super::api::Api;
use super::frame;
use super::request::EndTxn;
use super::wire::{Layout, Writer};

/// How long a broker may take to answer; a healthy one on loopback takes milliseconds, a paused test machine
/// some seconds.
const ANSWER_DEADLINE: Duration = Duration::from_secs(10);

/// The versions of EndTxn that protocol 1 speaks. In 5 the epoch rises with each transaction (KIP-890), and a
/// late one is fenced.
const PROTOCOL_1_VERSIONS: std::ops::RangeInclusive<i16> = 0..=4;

/// Sends one request over a new connection and waits for its answer.
pub(crate) async fn exchange(broker: SocketAddr, request: &[u8]) -> Result<Vec<u8>> {
    let exchange = async {
        let mut stream = TcpStream::connect(broker)
            .await
            .context("the broker cannot be reached")?;
        stream.set_nodelay(true)?;
        frame::write(&mut stream, request).await?;
        frame::read(&mut stream)
            .await?
            .context("the broker closed without an answer")
    };
    match tokio::time::timeout(ANSWER_DEADLINE, exchange).await {
        Ok(answer) => answer,
        Err(_) => bail!("the broker did not answer within {ANSWER_DEADLINE:?}"),
    }
}

/// Sends an EndTxn of the test's making and returns the broker's error code.
pub(crate) async fn forge_end_txn(broker: SocketAddr, end: &EndTxn, version: i16) -> Result<i16> {
    ensure!(
        PROTOCOL_1_VERSIONS.contains(&version),
        "EndTxn version {version} is not of protocol 1"
    );
    let answer = exchange(broker, &end_txn_frame(end, version)?).await?;
    Answer::decode(Api::EndTxn, version, &answer)
        .error_code
        .context("the answer to EndTxn is unreadable")
}

fn end_txn_frame(end: &EndTxn, version: i16) -> Result<Vec<u8>> {
    let layout = Api::EndTxn.layout(version);
    let mut writer = Writer::default();
    writer.int16(Api::EndTxn.key());
    writer.int16(version);
    writer.int32(1); // Correlation id: the only request of its connection.
    writer.string("forged", Layout::Classic)?;
    writer.end(layout);
    writer.string(&end.transactional_id, layout)?;
    writer.int64(end.producer.id);
    writer.int16(end.producer.epoch);
    writer.int8(i8::from(end.committed));
    writer.end(layout);
    Ok(writer.bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::request::{Facts, Producer, Request};

    #[test]
    fn a_forged_end_txn_reads_as_it_was_meant_in_every_version() {
        for version in PROTOCOL_1_VERSIONS {
            let producer = Producer { id: 4000, epoch: 3 };
            let end = EndTxn {
                transactional_id: "t-1".to_owned(),
                producer,
                committed: true,
            };
            let request = Request::decode(1, &end_txn_frame(&end, version).unwrap()).unwrap();
            assert_eq!(request.facts, Facts::EndTxn(end), "version {version}");
        }
    }
}
