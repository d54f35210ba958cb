//! A request's body as the bytes it stands for: decompressed on the way, in pieces, and never more of it than allowed.
//!
//! A small body can stand for a huge one, so both the bytes and their ratio are counted while they come out, and a
//! window of zstd may have 8 MiB at most (RFC 9659). What came before a fault stays read.

use crate::limits::Limits;
use crate::multipart;
use async_compression::tokio::bufread::{GzipDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use bytes::BufMut;
use futures::{StreamExt, TryStreamExt};
use service::http::Problem;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio_util::io::StreamReader;

/// Bytes read at one time: a third of a millisecond of work, so that no request holds a thread for long.
pub(crate) const PIECE_BYTES: usize = 64 * 1024;
/// What may come out before the ratio is looked at: a small body of much the same is no bomb.
const RATIO_FREE_BYTES: u64 = 1024 * 1024;
/// How much of a body that is refused is read all the same, and for how long at most.
const DISCARD_BYTES: u64 = 16 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_millis(500);
/// Largest window of zstd, as a power of two: 8 MiB (RFC 9659, section 3).
const ZSTD_WINDOW_LOG: u32 = 23;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    #[default]
    Identity,
    /// gzip, of one member or more.
    Gzip,
    /// zstd, of one frame or more.
    Zstd,
}

/// Why a body ended before its end.
#[derive(Debug)]
pub(crate) struct Fault {
    /// A stable word for metrics: `incomplete`, `too_slow`, `too_large`, `encoding`, `bomb`.
    pub(crate) reason: &'static str,
    /// What to answer.
    pub(crate) problem: Problem,
}

/// Reads a body.
pub(crate) struct Reader {
    decoded: Pin<Box<dyn AsyncRead + Send>>,
    encoding: Encoding,
    /// Bytes that came from the client.
    received: Arc<AtomicU64>,
    /// Bytes that came out.
    read: u64,
    limit_bytes: u64,
    ratio_limit: u32,
    /// There is nothing more to be had.
    failed: bool,
}

impl Reader {
    pub(crate) fn new(body: Body, encoding: Encoding, limits: &Limits) -> Self {
        let received = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&received);
        let stream = body
            .into_data_stream()
            .map_err(io::Error::other)
            .inspect_ok(move |bytes| {
                counter.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            });
        let source = StreamReader::new(stream.boxed());
        let decoded: Pin<Box<dyn AsyncRead + Send>> = match encoding {
            Encoding::Identity => Box::pin(source),
            Encoding::Gzip => {
                let mut decoder = GzipDecoder::new(source);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
            Encoding::Zstd => {
                let mut decoder =
                    ZstdDecoder::with_params(source, &[DParameter::window_log_max(ZSTD_WINDOW_LOG)]);
                decoder.multiple_members(true);
                Box::pin(decoder)
            }
        };
        let (limit_bytes, ratio_limit) = (limits.decompressed_bytes, limits.decompression_ratio);
        Self {
            decoded,
            encoding,
            received,
            read: 0,
            limit_bytes,
            ratio_limit,
            failed: false,
        }
    }

    /// Bytes that came from the client so far.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    /// Adds at most [`PIECE_BYTES`] to `buffer`; says whether the body is at its end.
    pub(crate) async fn read(&mut self, buffer: &mut Vec<u8>) -> Result<bool, Fault> {
        buffer.reserve(PIECE_BYTES);
        let read = match self.decoded.read_buf(&mut buffer.limit(PIECE_BYTES)).await {
            Ok(read) => read,
            Err(error) => {
                self.failed = true;
                return Err(self.fault(&error));
            }
        };
        self.read += read as u64;
        if self.encoding != Encoding::Identity {
            let checked = self.check();
            self.failed = checked.is_err();
            checked?;
        }
        Ok(read == 0)
    }

    /// Reads on for a while without a use for it. To close a connection on bytes that nobody read would reset it, and
    /// many a client would see that instead of the answer.
    pub(crate) async fn discard(&mut self) {
        if self.failed {
            return;
        }
        let enough = self.read + DISCARD_BYTES;
        let mut piece = Vec::new();
        let reading = async {
            while self.read < enough && matches!(self.read(&mut piece).await, Ok(false)) {
                piece.clear();
            }
        };
        // Whatever comes of it, the answer is decided.
        let _ = tokio::time::timeout(DISCARD_TIME, reading).await;
    }

    fn check(&self) -> Result<(), Fault> {
        let allowed = self
            .received_bytes()
            .saturating_mul(u64::from(self.ratio_limit))
            .max(RATIO_FREE_BYTES);
        let problem = if self.read > self.limit_bytes {
            Problem::body_too_large(self.limit_bytes).detail(format!(
                "a body has at most {} bytes after decompression",
                self.limit_bytes
            ))
        } else if self.read > allowed {
            Problem::new(
                axum::http::StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_compressed",
                "The body is too compressed",
            )
            .detail(format!(
                "a body may become {} times larger by decompression",
                self.ratio_limit
            ))
            .with("ratio_limit", self.ratio_limit)
        } else {
            return Ok(());
        };
        Err(Fault {
            reason: "bomb",
            problem,
        })
    }

    fn fault(&self, error: &io::Error) -> Fault {
        // Errors of the body itself are wrapped by `io::Error::other`; those of a decoder are not.
        if let Some(inner) = error.get_ref()
            && inner.downcast_ref::<axum::Error>().is_some()
        {
            let form = multipart::Fault::find(inner);
            let problem = form.map_or_else(|| Problem::of_body(inner), multipart::Fault::problem);
            let reason = match problem.code() {
                "body_too_large" => "too_large",
                "body_too_slow" => "too_slow",
                "body_incomplete" => "incomplete",
                _ => "format",
            };
            return Fault { reason, problem };
        }
        tracing::debug!(%error, encoding = ?self.encoding, "a body cannot be decompressed");
        let problem = Problem::bad_request("encoding_invalid", "The body is not compressed as it says")
            .detail("the body is not valid in its Content-Encoding, or ends too early");
        Fault {
            reason: "encoding",
            problem,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn read(body: Vec<u8>, encoding: Encoding, limits: &Limits) -> Result<Vec<u8>, Fault> {
        let mut reader = Reader::new(Body::from(body), encoding, limits);
        let mut all = Vec::new();
        while !reader.read(&mut all).await? {}
        Ok(all)
    }

    #[tokio::test]
    async fn members_and_frames_are_read_to_the_last() {
        let limits = Limits::default();
        let body = [gzip(b"one,"), gzip(b"two")].concat();
        assert_eq!(read(body, Encoding::Gzip, &limits).await.unwrap(), b"one,two");
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        let body = [frame(b"one,"), frame(b"two")].concat();
        assert_eq!(read(body, Encoding::Zstd, &limits).await.unwrap(), b"one,two");
        assert_eq!(
            read(b"plain".to_vec(), Encoding::Identity, &limits)
                .await
                .unwrap(),
            b"plain"
        );
    }

    #[tokio::test]
    async fn a_bomb_is_stopped_by_its_ratio_and_by_its_size() {
        let zeros = vec![b' '; 8 * 1024 * 1024];
        let limits = Limits::default();
        for (body, encoding) in [
            (gzip(&zeros), Encoding::Gzip),
            (zstd::encode_all(zeros.as_slice(), 1).unwrap(), Encoding::Zstd),
        ] {
            let fault = read(body.clone(), encoding, &limits).await.unwrap_err();
            assert_eq!(
                (fault.reason, fault.problem.code()),
                ("bomb", "body_too_compressed")
            );
            assert_eq!(fault.problem.status(), 413);
            let wide = Limits {
                decompression_ratio: 1_000_000,
                ..limits.clone()
            };
            assert_eq!(
                read(body.clone(), encoding, &wide).await.unwrap().len(),
                zeros.len()
            );
            let small = Limits {
                decompressed_bytes: 1000,
                ..wide
            };
            assert_eq!(
                read(body, encoding, &small).await.unwrap_err().problem.code(),
                "body_too_large"
            );
        }
    }

    #[tokio::test]
    async fn a_window_beyond_eight_mebibytes_is_refused() {
        let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![b'x'; 20 * 1024 * 1024]).unwrap();
        let body = encoder.finish().unwrap();
        let wide = Limits {
            decompression_ratio: 1_000_000,
            ..Limits::default()
        };
        assert_eq!(
            read(body, Encoding::Zstd, &wide).await.unwrap_err().reason,
            "encoding"
        );
    }

    #[tokio::test]
    async fn a_body_that_is_not_what_it_says_is_a_fault_of_its_encoding() {
        let limits = Limits::default();
        let whole = gzip(&b"some text that is long enough to be cut".repeat(20));
        for body in [b"not gzip at all".to_vec(), whole[..whole.len() - 9].to_vec()] {
            assert_eq!(
                read(body, Encoding::Gzip, &limits).await.unwrap_err().reason,
                "encoding"
            );
        }
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_incomplete_also_when_compressed() {
        for encoding in [Encoding::Identity, Encoding::Gzip] {
            let pieces = [
                Ok(bytes::Bytes::from(gzip(b"text"))),
                Err(io::Error::other("gone")),
            ];
            let body = Body::from_stream(futures::stream::iter(pieces));
            let mut reader = Reader::new(body, encoding, &Limits::default());
            let mut all = Vec::new();
            let fault = loop {
                match reader.read(&mut all).await {
                    Ok(end) => assert!(!end),
                    Err(fault) => break fault,
                }
            };
            assert_eq!(
                (fault.reason, fault.problem.code()),
                ("incomplete", "body_incomplete")
            );
        }
    }
}
