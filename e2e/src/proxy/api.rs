//! The APIs that the proxy knows by name, and from which version on each has the flexible layout.
//!
//! Everything else passes through as [`Api::Other`], its body never looked at. Numbers and versions:
//! <https://kafka.apache.org/protocol#protocol_api_keys> and the message definitions of Kafka 4.3.

use super::wire::Layout;

/// An API of Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// 0
    Produce,
    /// 1
    Fetch,
    /// 3
    Metadata,
    /// 10
    FindCoordinator,
    /// 18
    ApiVersions,
    /// 22
    InitProducerId,
    /// 24
    AddPartitionsToTxn,
    /// 25
    AddOffsetsToTxn,
    /// 26
    EndTxn,
    /// 28
    TxnOffsetCommit,
    /// Any other, by its key.
    Other(i16),
}

impl Api {
    /// The API with this key.
    #[must_use]
    pub fn from_key(key: i16) -> Self {
        match key {
            0 => Self::Produce,
            1 => Self::Fetch,
            3 => Self::Metadata,
            10 => Self::FindCoordinator,
            18 => Self::ApiVersions,
            22 => Self::InitProducerId,
            24 => Self::AddPartitionsToTxn,
            25 => Self::AddOffsetsToTxn,
            26 => Self::EndTxn,
            28 => Self::TxnOffsetCommit,
            other => Self::Other(other),
        }
    }

    /// The key on the wire.
    #[must_use]
    pub fn key(self) -> i16 {
        match self {
            Self::Produce => 0,
            Self::Fetch => 1,
            Self::Metadata => 3,
            Self::FindCoordinator => 10,
            Self::ApiVersions => 18,
            Self::InitProducerId => 22,
            Self::AddPartitionsToTxn => 24,
            Self::AddOffsetsToTxn => 25,
            Self::EndTxn => 26,
            Self::TxnOffsetCommit => 28,
            Self::Other(key) => key,
        }
    }

    /// The layout of request and response bodies. Meaningless for [`Api::Other`], which is never decoded.
    pub(crate) fn layout(self, version: i16) -> Layout {
        let first_flexible = match self {
            Self::Produce | Self::Metadata => 9,
            Self::Fetch => 12,
            Self::FindCoordinator
            | Self::ApiVersions
            | Self::AddPartitionsToTxn
            | Self::AddOffsetsToTxn
            | Self::EndTxn
            | Self::TxnOffsetCommit => 3,
            Self::InitProducerId => 2,
            Self::Other(_) => i16::MAX,
        };
        if version >= first_flexible {
            Layout::Flexible
        } else {
            Layout::Classic
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        for key in 0..100 {
            assert_eq!(Api::from_key(key).key(), key);
        }
    }
}
