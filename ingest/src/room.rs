//! The memory that all requests share: each holds room for what it keeps, and none can take more than there is.
//!
//! A request that finds no room for more first gives away all that it can append, and only then waits. So those that
//! wait keep almost nothing, what is on its way to the log always comes back, and nobody waits for somebody who waits.

use prometheus::IntGauge;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The room of all requests.
#[derive(Clone, Debug)]
pub(crate) struct Rooms {
    bytes: Arc<Semaphore>,
    held: IntGauge,
    timeout: Duration,
}

/// Some bytes of it. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    rooms: Rooms,
    permit: OwnedSemaphorePermit,
}

/// There was no room within the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Rooms {
    /// Room of so many bytes; whoever has begun waits at most `timeout` for more.
    pub(crate) fn new(bytes: usize, timeout: Duration, held: IntGauge) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))),
            held,
            timeout,
        }
    }

    /// Room for a new request, or none if there is not enough now.
    pub(crate) fn enter(&self, bytes: usize) -> Result<Room, NoRoom> {
        let permit = Arc::clone(&self.bytes)
            .try_acquire_many_owned(permits(bytes))
            .map_err(|_| NoRoom)?;
        Ok(self.room(permit))
    }

    fn room(&self, permit: OwnedSemaphorePermit) -> Room {
        self.held.add(permit.num_permits() as i64);
        Room {
            rooms: self.clone(),
            permit,
        }
    }
}

impl Room {
    /// Makes it room for `bytes`, if that can be had at once.
    pub(crate) fn try_resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let has = self.permit.num_permits();
        if bytes <= has {
            drop(self.split(has - bytes));
            return Ok(());
        }
        self.take(self.rooms.enter(bytes - has)?);
        Ok(())
    }

    /// Makes it room for `bytes`, and waits for that.
    pub(crate) async fn resize(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let has = self.permit.num_permits();
        if bytes <= has {
            return self.try_resize(bytes);
        }
        let acquire = Arc::clone(&self.rooms.bytes).acquire_many_owned(permits(bytes - has));
        let permit = tokio::time::timeout(self.rooms.timeout, acquire)
            .await
            .map_err(|_| NoRoom)?;
        let more = self.rooms.room(permit.map_err(|_| NoRoom)?);
        self.take(more);
        Ok(())
    }

    /// Parts with room for `bytes`, or for as much as it is.
    pub(crate) fn split(&mut self, bytes: usize) -> Option<Room> {
        let bytes = bytes.min(self.permit.num_permits());
        let permit = self.permit.split(bytes)?;
        Some(Self {
            rooms: self.rooms.clone(),
            permit,
        })
    }

    fn take(&mut self, mut other: Self) {
        // The other keeps no permit, so its drop takes nothing off the gauge.
        if let Some(permit) = other.permit.split(other.permit.num_permits()) {
            self.permit.merge(permit);
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.rooms.held.sub(self.permit.num_permits() as i64);
    }
}

/// More than 4 GiB at one time cannot be had anyway.
fn permits(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn room_is_lent_parted_and_given_back() {
        let gauge = IntGauge::new("held", "h").unwrap();
        let rooms = Rooms::new(100, Duration::from_millis(20), gauge.clone());
        let mut room = rooms.enter(60).unwrap();
        assert_eq!(rooms.enter(41).unwrap_err(), NoRoom);
        room.try_resize(80).unwrap();
        assert_eq!(
            (room.try_resize(101), room.resize(101).await),
            (Err(NoRoom), Err(NoRoom))
        );
        let parted = room.split(50).unwrap();
        room.try_resize(10).unwrap();
        assert_eq!(gauge.get(), 60);
        drop(parted);
        assert_eq!((gauge.get(), rooms.bytes.available_permits()), (10, 90));
        drop(room);
        assert_eq!((gauge.get(), rooms.bytes.available_permits()), (0, 100));
    }

    #[tokio::test]
    async fn who_waits_gets_what_others_give_back() {
        let rooms = Rooms::new(100, Duration::from_secs(20), IntGauge::new("held", "h").unwrap());
        let (mut first, second) = (rooms.enter(50).unwrap(), rooms.enter(50).unwrap());
        let waiting = tokio::spawn(async move { first.resize(80).await });
        tokio::task::yield_now().await;
        drop(second);
        assert_eq!(waiting.await.unwrap(), Ok(()));
    }
}
