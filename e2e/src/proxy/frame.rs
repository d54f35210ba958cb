//! Frames on a socket: a length of four bytes, then that many bytes (<https://kafka.apache.org/protocol>,
//! "Request header").
//!
//! In memory a frame is what follows the length. A length above [`FRAME_LIMIT_BYTES`] ends the connection, so
//! that a peer that speaks something else cannot make the proxy allocate without bound.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Kafka's own default for `socket.request.max.bytes` is 100 MiB; nothing that a broker accepts is larger.
pub(crate) const FRAME_LIMIT_BYTES: usize = 100 << 20;

/// Reads one frame; `None` when the peer closed between two frames.
pub(crate) async fn read(source: &mut (impl AsyncRead + Unpin)) -> Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    if source
        .read(&mut length[..1])
        .await
        .context("no frame could be read")?
        == 0
    {
        return Ok(None);
    }
    source
        .read_exact(&mut length[1..])
        .await
        .context("a frame ends inside its length")?;
    let length = usize::try_from(i32::from_be_bytes(length)).context("a frame has a negative length")?;
    ensure!(
        length <= FRAME_LIMIT_BYTES,
        "a frame of {length} bytes is above {FRAME_LIMIT_BYTES}"
    );
    let mut frame = vec![0; length];
    source
        .read_exact(&mut frame)
        .await
        .context("a frame ends early")?;
    Ok(Some(frame))
}

/// Writes one frame with its length.
pub(crate) async fn write(sink: &mut (impl AsyncWrite + Unpin), frame: &[u8]) -> Result<()> {
    let length = i32::try_from(frame.len()).context("a frame is too long")?;
    sink.write_all(&length.to_be_bytes())
        .await
        .context("no frame could be written")?;
    sink.write_all(frame).await.context("no frame could be written")?;
    sink.flush().await.context("no frame could be written")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_back_and_the_end_is_none() {
        let (mut near, mut far) = tokio::io::duplex(64);
        write(&mut near, b"abc").await.unwrap();
        write(&mut near, b"").await.unwrap();
        drop(near);
        assert_eq!(read(&mut far).await.unwrap().unwrap(), b"abc");
        assert_eq!(read(&mut far).await.unwrap().unwrap(), b"");
        assert!(read(&mut far).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_frame_above_the_limit_is_refused_before_it_is_allocated() {
        let mut bytes: &[u8] = &i32::MAX.to_be_bytes();
        assert!(read(&mut bytes).await.is_err());
        let mut negative: &[u8] = &(-1i32).to_be_bytes();
        assert!(read(&mut negative).await.is_err());
    }

    #[tokio::test]
    async fn a_torn_frame_is_an_error() {
        let mut bytes: &[u8] = &[0, 0, 0, 5, 1, 2];
        assert!(read(&mut bytes).await.is_err());
    }
}
