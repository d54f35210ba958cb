//! A partition's writer: one thread that takes what waits, writes it as one frame, syncs once, and only then answers.
//!
//! A write that fails is taken back, and the next one may succeed (a full disk gets room again). After an fsync that fails
//! nobody knows what is on the disk, and a second fsync would say yes without having done anything
//! (<https://lwn.net/Articles/752063/>): the partition takes nothing more until the process is started again.

use super::disk::Disk;
use super::frame::{self, BODY_BYTES, HEADER_BYTES};
use super::partition::PartitionLog;
use super::queue::{Entry, Failure, GROUP_BYTES, Queue};
use super::recover::Recovered;
use super::segment::Segment;
use schemas::Offset;
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// What a writer is told.
#[derive(Clone, Debug)]
pub(super) struct Orders {
    /// Bytes after which a segment is followed by a new one.
    pub(super) segment_bytes: u64,
    /// Least time between two fsyncs, for more company in each.
    pub(super) interval: Duration,
    /// What it writes to.
    pub(super) disk: Disk,
}

/// Writes one partition.
#[derive(Debug)]
pub(super) struct Writer {
    log: Arc<PartitionLog>,
    queue: Arc<Queue>,
    orders: Orders,
    tail: Option<Tail>,
    next: Offset,
    last_ms: i64,
    /// Whether frames were written that no later one stands behind.
    unclosed: bool,
    frame: Vec<u8>,
}

/// The segment that is written to.
#[derive(Debug)]
struct Tail {
    segment: Arc<Segment>,
    file: File,
    /// Where the last durable frame ends.
    bytes: u64,
}

impl Writer {
    /// A writer that goes on where the partition was found to end.
    pub(super) fn new(
        log: Arc<PartitionLog>,
        queue: Arc<Queue>,
        orders: Orders,
        found: &Recovered,
    ) -> io::Result<Self> {
        let open = |segment: &Arc<Segment>| -> io::Result<Tail> {
            let file = orders.disk.open(&segment.path)?;
            Ok(Tail {
                segment: segment.clone(),
                file,
                bytes: segment.durable(),
            })
        };
        let tail = found.segments.last().map(open).transpose()?;
        let (next, last_ms) = (found.end, found.last_ms);
        Ok(Self {
            log,
            queue,
            orders,
            tail,
            next,
            last_ms,
            unclosed: false,
            frame: Vec::new(),
        })
    }

    /// Writes until the queue is closed and empty.
    pub(super) fn run(mut self) {
        // If this thread ever panics, whoever appends must hear of it rather than wait.
        let _closes = Closes {
            queue: self.queue.clone(),
            log: self.log.clone(),
        };
        let mut not_before = None;
        while let Some(group) = self.queue.take(not_before) {
            self.append(group);
            not_before = (!self.orders.interval.is_zero()).then(|| Instant::now() + self.orders.interval);
        }
        if self.unclosed {
            self.close();
        }
    }

    /// Writes a frame without records: it proves, at the next start, that all before it had been durable, so that damage
    /// to the last records is not taken for a write that the power cut short.
    fn close(&mut self) {
        frame::begin(&mut self.frame);
        if let Err(why) = self.write(0) {
            tracing::warn!(partition = self.log.name, %why, "closed without an end mark");
        }
    }

    /// Makes a group durable and answers each of it.
    fn append(&mut self, group: Vec<Entry>) {
        if let Some(why) = self.log.failed() {
            return answer_all(group, &Failure::Broken(why));
        }
        frame::begin(&mut self.frame);
        let mut waiting = Vec::with_capacity(group.len());
        let mut records = 0_u32;
        for entry in group {
            records += entry.payload.encode(&mut self.frame);
            waiting.push((entry.reply, Offset(self.next.0 + u64::from(records)), entry.room));
        }
        let written = if records == 0 { Ok(()) } else { self.write(records) };
        if let Err(Failure::Broken(why)) = &written {
            tracing::error!(partition = self.log.name, %why, "partition takes no more appends");
            self.log.fail(why.clone());
            self.queue.close(Failure::Broken(why.clone()));
        }
        self.unclosed |= written.is_ok() && records > 0;
        self.unclosed &= !matches!(written, Err(Failure::Broken(_)));
        for (reply, next, _room) in waiting {
            reply.send(written.clone().map(|()| next));
        }
        self.frame.shrink_to(2 * GROUP_BYTES);
    }

    fn write(&mut self, records: u32) -> Result<(), Failure> {
        if self.frame.len() > BODY_BYTES + HEADER_BYTES {
            return Err(Failure::NotWritten(format!(
                "{} bytes are too many for one append",
                self.frame.len()
            )));
        }
        let now_ms = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_millis() as i64);
        let append_ms = now_ms.max(self.last_ms);
        frame::seal(&mut self.frame, records, self.next, append_ms, self.log.salt);
        if records > 0 {
            self.roll()?;
        }
        let (Some(tail), disk) = (&mut self.tail, &self.orders.disk) else {
            return Err(Failure::Closed);
        };
        let path = &tail.segment.path;
        if let Err(error) = disk.write(path, &tail.file, &self.frame, tail.bytes) {
            let why = format!("{}: write failed: {error}", path.display());
            return Err(match disk.cut(path, &tail.file, tail.bytes) {
                Ok(()) => Failure::NotWritten(why),
                Err(error) => {
                    Failure::Broken(format!("{why}; and what was written could not be cut: {error}"))
                }
            });
        }
        if let Err(error) = disk.sync(path, &tail.file) {
            let why = format!("{}: fsync failed: {error}", path.display());
            // Nobody was told that this frame is there, so it should not come back at the next start. Only a courtesy:
            // a frame that does come back is made durable then.
            let cut = disk.cut(path, &tail.file, tail.bytes);
            return Err(Failure::Broken(
                cut.map_or_else(|error| format!("{why}; cut: {error}"), |()| why.clone()),
            ));
        }
        tail.bytes += self.frame.len() as u64;
        self.next = Offset(self.next.0 + u64::from(records));
        self.last_ms = append_ms;
        tail.segment.set_durable(tail.bytes);
        self.log.advance(self.next);
        Ok(())
    }

    /// Starts a segment if there is none, or the last one is full. All of the last one is durable by then.
    fn roll(&mut self) -> Result<(), Failure> {
        if self
            .tail
            .as_ref()
            .is_some_and(|tail| tail.bytes < self.orders.segment_bytes || tail.bytes == 0)
        {
            return Ok(());
        }
        let segment = Arc::new(Segment::new(&self.log.folder, self.next, 0));
        let disk = &self.orders.disk;
        let failed = |error: io::Error| format!("{}: not created: {error}", segment.path.display());
        let file = disk
            .create(&segment.path)
            .map_err(|error| Failure::NotWritten(failed(error)))?;
        disk.sync_folder(&self.log.folder)
            .map_err(|error| Failure::Broken(failed(error)))?;
        self.log.add_segment(segment.clone());
        self.tail = Some(Tail {
            segment,
            file,
            bytes: 0,
        });
        Ok(())
    }
}

fn answer_all(group: Vec<Entry>, failure: &Failure) {
    for entry in group {
        entry.reply.send(Err(failure.clone()));
    }
}

/// Leaves nobody waiting, however the writer ends.
struct Closes {
    queue: Arc<Queue>,
    log: Arc<PartitionLog>,
}

impl Drop for Closes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let why = "its writer panicked".to_owned();
            self.log.fail(why.clone());
            self.queue.close(Failure::Broken(why));
        }
        self.queue.close(Failure::Closed);
        while let Some(group) = self.queue.take(None) {
            answer_all(group, &Failure::Closed);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::embedded::cursor::Cursor;
    use crate::embedded::frame::Salt;
    use crate::embedded::queue::Reply;
    use crate::embedded::record::Payload;
    use schemas::Partition;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn append_times_never_fall_when_the_clock_does() {
        let folder = tempfile::tempdir().unwrap();
        let future_ms = 1 << 50;
        let found = Recovered {
            segments: Vec::new(),
            end: Offset(0),
            last_ms: future_ms,
        };
        let salt = Salt::new(uuid::Uuid::nil(), Partition(0));
        let log = Arc::new(PartitionLog::new(
            "t",
            Partition(0),
            folder.path().to_owned(),
            salt,
            &found,
        ));
        let orders = Orders {
            segment_bytes: 100,
            interval: Duration::ZERO,
            disk: Disk::default(),
        };
        let queue = Arc::new(Queue::default());
        let (sender, answer) = sync_channel(1);
        queue.push(Entry {
            payload: Payload::Parts(vec![vec![1]]),
            reply: Reply::Thread(sender),
            room: None,
        });
        queue.close(Failure::Closed);
        Writer::new(log.clone(), queue, orders, &found).unwrap().run();
        assert_eq!(answer.recv().unwrap(), Ok(Offset(1)));
        let batch = Cursor::new(log, Offset(0)).read(Offset(1), 1).unwrap();
        assert_eq!(
            batch.iter().map(|record| record.append_ms).collect::<Vec<_>>(),
            [future_ms]
        );
    }
}
