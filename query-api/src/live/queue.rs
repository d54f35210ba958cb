//! What waits for one reader: a few pieces of text, and a place kept free for the last word. Whoever does not read them
//! within its time is cut off; what is not sent yet is never more than the queue.

use axum::body::Bytes;
use std::time::Duration;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::time::timeout;

/// Pieces that may wait.
const PIECES: usize = 8;
/// Bytes of a piece, about.
pub(super) const PIECE_BYTES: usize = 16 * 1024;

/// Why a reader gets no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// It went away.
    Gone,
    /// It did not read what waited for it.
    Slow,
    /// It asks for more totals than one reader may have.
    Large,
    /// The process is stopping.
    Stopping,
}

impl End {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Gone, Self::Slow, Self::Large, Self::Stopping];

    /// Its word in the last event and in metrics.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Slow => "too_slow",
            Self::Large => "too_large",
            Self::Stopping => "stopping",
        }
    }
}

/// The sending side of a reader's queue.
pub(super) struct Queue {
    pieces: mpsc::Sender<Bytes>,
    last: Option<OwnedPermit<Bytes>>,
    patience: Duration,
}

impl Queue {
    /// A queue and what comes out of it; a piece may wait for a place for `patience`.
    pub(super) fn new(patience: Duration) -> (Self, mpsc::Receiver<Bytes>) {
        let (pieces, receiver) = mpsc::channel(PIECES + 1);
        // The channel is new, so it has a place.
        let last = pieces.clone().try_reserve_owned().ok();
        let queue = Self {
            pieces,
            last,
            patience,
        };
        (queue, receiver)
    }

    /// Puts a piece behind the others.
    pub(super) async fn send(&self, piece: String) -> Result<(), End> {
        match timeout(self.patience, self.pieces.send(Bytes::from(piece))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(End::Gone),
            Err(_) => Err(End::Slow),
        }
    }

    /// Resolves when the reader has gone.
    pub(super) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// The last word, for which there is always a place.
    pub(super) fn end(self, piece: String) {
        if let Some(last) = self.last {
            last.send(Bytes::from(piece));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_does_not_read_is_cut_off_and_told_so_when_it_reads_again() {
        let (queue, mut pieces) = Queue::new(Duration::from_millis(20));
        for n in 0..PIECES {
            queue.send(n.to_string()).await.unwrap();
        }
        assert_eq!(queue.send("one more".to_owned()).await, Err(End::Slow));
        // With a place again it is as before.
        assert_eq!(pieces.recv().await.unwrap(), "0");
        queue.send("8".to_owned()).await.unwrap();
        queue.end("the end".to_owned());
        let mut rest = Vec::new();
        while let Some(piece) = pieces.recv().await {
            rest.push(String::from_utf8(piece.to_vec()).unwrap());
        }
        assert_eq!(rest, ["1", "2", "3", "4", "5", "6", "7", "8", "the end"]);
    }

    #[tokio::test]
    async fn a_reader_that_has_gone_is_no_slow_one() {
        let (queue, pieces) = Queue::new(Duration::from_secs(60));
        drop(pieces);
        queue.gone().await;
        assert_eq!(queue.send(String::new()).await, Err(End::Gone));
    }
}
