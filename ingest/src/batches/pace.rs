//! How many uploads an address may send: so many within a minute from the first of them, as the older service had it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What a count is of.
const WINDOW: Duration = Duration::from_secs(60);
/// Addresses that are remembered. Beyond that the oldest is forgotten, which only lets somebody send a little more.
const ADDRESSES: usize = 10_000;

/// Uploads of each address within its present minute.
#[derive(Debug)]
pub(crate) struct Pace {
    limit: u32,
    /// Begin of the minute, and uploads since.
    seen: Mutex<HashMap<IpAddr, (Instant, u32)>>,
}

impl Pace {
    /// At most `limit` uploads within a minute.
    pub(crate) fn new(limit: u32) -> Self {
        Self {
            limit,
            seen: Mutex::default(),
        }
    }

    /// One more upload from `address`.
    ///
    /// # Errors
    /// The seconds until it may come, where it is one too many.
    pub(crate) fn take(&self, address: IpAddr, now: Instant) -> Result<(), u32> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= ADDRESSES && !seen.contains_key(&address) {
            seen.retain(|_, (begun, _)| now.duration_since(*begun) < WINDOW);
            if seen.len() >= ADDRESSES {
                let oldest = seen.iter().min_by_key(|(_, (begun, _))| *begun);
                if let Some(oldest) = oldest.map(|(address, _)| *address) {
                    seen.remove(&oldest);
                }
            }
        }
        let (begun, count) = seen.entry(address).or_insert((now, 0));
        let age = now.duration_since(*begun);
        if age >= WINDOW {
            (*begun, *count) = (now, 0);
        }
        if *count >= self.limit {
            let left = WINDOW.saturating_sub(age);
            return Err(u32::try_from(left.as_secs_f64().ceil() as u64).unwrap_or(u32::MAX));
        }
        *count += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u32) -> IpAddr {
        IpAddr::from(number.to_be_bytes())
    }

    #[test]
    fn so_many_a_minute_and_each_address_for_itself() {
        let (pace, start) = (Pace::new(2), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(pace.take(address(1), at(0)), Ok(()));
        assert_eq!(pace.take(address(1), at(30)), Ok(()));
        assert_eq!(pace.take(address(1), at(31)), Err(29));
        assert_eq!(pace.take(address(2), at(31)), Ok(()));
        assert_eq!(pace.take(address(1), at(60)), Ok(()));
        assert_eq!(pace.take(address(1), at(61)), Ok(()));
        assert_eq!(pace.take(address(1), at(61)), Err(59));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (pace, start) = (Pace::new(1), Instant::now());
        for number in 0..ADDRESSES as u32 + 50 {
            assert_eq!(
                pace.take(address(number), start + Duration::from_micros(u64::from(number))),
                Ok(())
            );
        }
        assert_eq!(
            pace.seen.lock().map(|seen| seen.len()).unwrap_or_default(),
            ADDRESSES
        );
    }
}
