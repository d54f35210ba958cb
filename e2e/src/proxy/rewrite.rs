//! Puts the proxy's address where a response names the broker's, so that the client never learns of another
//! way.
//!
//! Two APIs carry it: Metadata and FindCoordinator. Both are rewritten in every version from 0 on, and the
//! versions are not capped through ApiVersions: the client then speaks as it does without a proxy (topic ids
//! and all). In Metadata the brokers stand before all that varies most, so only that array is decoded and the
//! rest is copied. A third place, the leader hints of KIP-951 in Produce and Fetch, is filled only when
//! another broker leads; hence the limit to a cluster of one broker, which is checked here: two brokers
//! behind one address would be a client that writes to the wrong one.

use std::net::SocketAddr;

use anyhow::{Result, ensure};

use super::answer::body;
use super::api::Api;
use super::wire::{Layout, Reader, Writer};

/// The response with the broker's address replaced; as it came for all other APIs.
pub(crate) fn rewrite(api: Api, version: i16, frame: Vec<u8>, proxy: SocketAddr) -> Result<Vec<u8>> {
    match api {
        Api::Metadata => metadata(version, &frame, proxy),
        Api::FindCoordinator => find_coordinator(version, &frame, proxy),
        _ => Ok(frame),
    }
}

/// One response that is copied from a reader to a writer, field by field.
struct Copy<'a> {
    frame: &'a [u8],
    reader: Reader<'a>,
    writer: Writer,
    layout: Layout,
}

impl<'a> Copy<'a> {
    /// Begins after the header.
    fn after_header(api: Api, version: i16, frame: &'a [u8]) -> Result<Self> {
        let layout = api.layout(version);
        let mut copy = Self {
            frame,
            reader: Reader::new(frame),
            writer: Writer::default(),
            layout,
        };
        copy.same(|reader| body(reader, api, version))?;
        Ok(copy)
    }

    /// Copies what `read` steps over.
    fn same<T>(&mut self, read: impl FnOnce(&mut Reader<'a>) -> Result<T>) -> Result<T> {
        let from = self.reader.position();
        let value = read(&mut self.reader)?;
        self.writer
            .bytes
            .extend_from_slice(self.frame.get(from..self.reader.position()).unwrap_or_default());
        Ok(value)
    }

    /// Copies a node id, host and port; a node id of -1 means that there is none, and stays.
    fn node(&mut self, proxy: SocketAddr) -> Result<()> {
        let node = self.same(Reader::int32)?;
        if node < 0 {
            let layout = self.layout;
            self.same(|reader| reader.nullable_string(layout))?;
            self.same(Reader::int32)?;
            return Ok(());
        }
        self.reader.string(self.layout)?;
        self.reader.int32()?;
        self.writer.string(&proxy.ip().to_string(), self.layout)?;
        self.writer.int32(i32::from(proxy.port()));
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.writer.bytes.extend_from_slice(self.reader.rest());
        self.writer.bytes
    }
}

fn metadata(version: i16, frame: &[u8], proxy: SocketAddr) -> Result<Vec<u8>> {
    let mut copy = Copy::after_header(Api::Metadata, version, frame)?;
    let layout = copy.layout;
    if version >= 3 {
        copy.same(Reader::int32)?; // Throttle time.
    }
    let brokers = copy.same(|reader| reader.array_length(layout))?;
    ensure!(
        brokers <= 1,
        "the proxy stands before one broker, but the cluster has {brokers}"
    );
    for _ in 0..brokers {
        copy.node(proxy)?;
        // Rack and tagged fields follow and are copied with the rest.
    }
    Ok(copy.finish())
}

fn find_coordinator(version: i16, frame: &[u8], proxy: SocketAddr) -> Result<Vec<u8>> {
    let mut copy = Copy::after_header(Api::FindCoordinator, version, frame)?;
    let layout = copy.layout;
    if version >= 1 {
        copy.same(Reader::int32)?; // Throttle time.
    }
    if version < 4 {
        copy.same(Reader::int16)?; // Error code.
        if version >= 1 {
            copy.same(|reader| reader.nullable_string(layout))?; // Error message.
        }
        copy.node(proxy)?;
        return Ok(copy.finish());
    }
    for _ in 0..copy.same(|reader| reader.array_length(layout))? {
        copy.same(|reader| reader.string(layout))?; // Group or transactional id.
        copy.node(proxy)?;
        copy.same(|reader| {
            reader.int16()?; // Error code.
            reader.nullable_string(layout)?; // Error message.
            reader.end(layout)
        })?;
    }
    Ok(copy.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxy() -> SocketAddr {
        ([127, 0, 0, 1], 5).into()
    }

    /// The bytes of a response whose node carries this host and port.
    fn metadata_bytes(version: i16, host: &str, port: i32, brokers: u32) -> Vec<u8> {
        let layout = Api::Metadata.layout(version);
        let mut writer = Writer::default();
        writer.int32(77);
        writer.end(layout);
        if version >= 3 {
            writer.int32(0);
        }
        match layout {
            Layout::Classic => writer.int32(brokers as i32),
            Layout::Flexible => writer.uvarint(brokers + 1),
        }
        for node in 0..brokers {
            writer.int32(node as i32);
            writer.string(host, layout).unwrap();
            writer.int32(port);
            if version >= 1 {
                writer.string("rack", layout).unwrap();
            }
            writer.end(layout);
        }
        writer
            .bytes
            .extend_from_slice(b"cluster id, controller and topics");
        writer.bytes
    }

    #[test]
    fn metadata_of_every_version_names_the_proxy() {
        for version in 0..=13 {
            let from = metadata_bytes(version, "broker.example", 29_092, 1);
            let expected = metadata_bytes(version, "127.0.0.1", 5, 1);
            assert_eq!(
                rewrite(Api::Metadata, version, from, proxy()).unwrap(),
                expected,
                "version {version}"
            );
        }
    }

    #[test]
    fn metadata_without_brokers_stays_and_with_two_is_refused() {
        let none = metadata_bytes(12, "", 0, 0);
        assert_eq!(rewrite(Api::Metadata, 12, none.clone(), proxy()).unwrap(), none);
        assert!(rewrite(Api::Metadata, 12, metadata_bytes(12, "b", 1, 2), proxy()).is_err());
        assert!(rewrite(Api::Metadata, 12, vec![0, 0, 0, 1], proxy()).is_err());
    }

    fn coordinator_bytes(version: i16, node: i32, host: &str, port: i32) -> Vec<u8> {
        let layout = Api::FindCoordinator.layout(version);
        let mut writer = Writer::default();
        writer.int32(77);
        writer.end(layout);
        if version >= 1 {
            writer.int32(0);
        }
        if version >= 4 {
            writer.uvarint(2);
            writer.string("t-1", layout).unwrap();
        } else {
            writer.int16(0);
            if version >= 1 {
                writer.string("no error", layout).unwrap();
            }
        }
        writer.int32(node);
        writer.string(host, layout).unwrap();
        writer.int32(port);
        if version >= 4 {
            writer.int16(0);
            writer.uvarint(0);
            writer.end(layout);
        }
        writer.end(layout);
        writer.bytes
    }

    #[test]
    fn a_coordinator_of_every_version_is_the_proxy() {
        for version in 0..=6 {
            let from = coordinator_bytes(version, 1, "broker.example", 29_092);
            let expected = coordinator_bytes(version, 1, "127.0.0.1", 5);
            let is = rewrite(Api::FindCoordinator, version, from, proxy()).unwrap();
            assert_eq!(is, expected, "version {version}");
        }
    }

    #[test]
    fn a_coordinator_that_is_not_there_stays_so() {
        for version in 0..=6 {
            let from = coordinator_bytes(version, -1, "", -1);
            assert_eq!(
                rewrite(Api::FindCoordinator, version, from.clone(), proxy()).unwrap(),
                from
            );
        }
    }

    #[test]
    fn other_responses_stay_as_they_are() {
        assert_eq!(rewrite(Api::Produce, 10, vec![1, 2], proxy()).unwrap(), [1, 2]);
    }
}
