//! A window: the events of a UTC day between two offsets of each source partition, put in order of time together. The first window is
//! what is remembered; each further one is what a look backwards finds.
//!
//! A window never changes: it is told by its offsets, so whoever comes back to it with a cursor finds the same events in it,
//! whatever was counted meanwhile. What is remembered no longer is looked for again.

use super::place::Part;
use crate::QueryApi;
use crate::reads::malformed;
use crate::walk::{Until, Walk, Walked};
use futures::future::try_join_all;
use schemas::commit::Link;
use schemas::partial::UserPartial;
use schemas::positions::{Position, Positions};
use schemas::row::Row;
use schemas::{Day, Offset, Partition};
use service::http::Problem;
use std::collections::BTreeMap;

/// Bytes of the changelog that may be read for a window that was there before.
const AGAIN_BYTES: usize = 64 * 1024 * 1024;

/// What is remembered of a user's day, by source partition.
pub(crate) type Remembered = BTreeMap<Partition, Positions>;

/// Whose day is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Look<'a> {
    pub(crate) api: &'a QueryApi,
    pub(crate) tenant: &'a str,
    pub(crate) user: &'a str,
    pub(crate) day: Day,
}

/// A window and its events.
#[derive(Debug, Default)]
pub(crate) struct Window {
    pub(crate) parts: Vec<Part>,
    pub(crate) events: Vec<(Partition, Position)>,
    /// From where further ones are found, of each part.
    below: Vec<Option<Link>>,
    /// Whether there are more events that this look was not enough for.
    pub(crate) gave_up: bool,
}

/// What the rows of a user's day remember, and the first window of it.
pub(crate) fn first(rows: &[Row]) -> Result<(Remembered, Vec<Part>), Problem> {
    let (mut remembered, mut parts) = (Remembered::new(), Vec::new());
    for row in rows {
        let partial = UserPartial::decode(&row.value).map_err(|cause| malformed(&cause))?;
        let positions = partial.positions().clone();
        parts.push(Part {
            partition: row.partition,
            below: row.version,
            floor: Some(oldest(&positions).unwrap_or(row.version)),
            missing: positions.older(),
            link: positions.last(),
        });
        remembered.insert(row.partition, positions);
    }
    parts.sort_by_key(|part| part.partition);
    Ok((remembered, parts))
}

fn oldest(positions: &Positions) -> Option<Offset> {
    positions.iter().last().map(|position| position.offset)
}

impl Look<'_> {
    /// The events of a window whose floors are known.
    ///
    /// Errors: 400 `cursor_outdated`, 503 `log_away`.
    pub(crate) async fn again(&self, parts: Vec<Part>, remembered: &Remembered) -> Result<Window, Problem> {
        let looks = parts
            .iter()
            .map(|part| self.part(part, remembered.get(&part.partition)));
        let mut window = Window::default();
        for (part, (positions, below)) in parts.iter().zip(try_join_all(looks).await?) {
            let of_part = positions.into_iter().map(|position| (part.partition, position));
            window.events.extend(of_part);
            window.below.push(below);
        }
        window.parts = parts;
        Ok(window)
    }

    /// The events of a part whose floor is known, and from where those below it are found.
    async fn part(
        &self,
        part: &Part,
        remembered: Option<&Positions>,
    ) -> Result<(Vec<Position>, Option<Link>), Problem> {
        let floor = part.floor.unwrap_or(part.below);
        let known = remembered.into_iter().flat_map(Positions::iter);
        let mut events: Vec<Position> = known
            .filter(|position| (floor..part.below).contains(&position.offset))
            .collect();
        // Below this they are not remembered.
        let gap = match remembered {
            Some(positions) if positions.older() == 0 => floor,
            positions => positions
                .and_then(oldest)
                .map_or(part.below, |at| at.min(part.below)),
        };
        let link = part.link.or_else(|| remembered.and_then(Positions::last));
        let Some(from) = link.filter(|_| floor < gap) else {
            return Ok((events, link));
        };
        let walk = self.walk(part.partition, from, gap, Until::Floor(floor), AGAIN_BYTES);
        let mut walked = walk.await?;
        if !walked.is_done {
            return Err(outdated());
        }
        events.append(&mut walked.positions);
        Ok((events, walked.next))
    }

    /// The parts of what comes behind a window; none where nothing does.
    pub(crate) fn behind(window: &Window) -> Vec<Part> {
        let parts = window.parts.iter().zip(&window.below);
        let further = parts.filter(|(part, _)| part.missing > 0);
        let further = further.map(|(part, link)| Part {
            below: part.floor.unwrap_or(part.below),
            floor: None,
            link: *link,
            ..*part
        });
        further.collect()
    }

    /// Looks for a window's events, about `most` of each partition, as far as `bytes` allow; takes from these what it reads.
    pub(crate) async fn further(
        &self,
        parts: Vec<Part>,
        most: usize,
        bytes: &mut usize,
    ) -> Result<Window, Problem> {
        let share = *bytes / parts.len().max(1);
        let parts = parts
            .into_iter()
            .filter_map(|part| part.link.map(|from| (part, from)));
        let looks = parts.map(|(part, from)| async move {
            let wanted = usize::try_from(part.missing).unwrap_or(usize::MAX).min(most);
            let until = Until::Count(wanted);
            let walked = self.walk(part.partition, from, part.below, until, share).await?;
            Ok::<_, Problem>((part, walked))
        });
        let mut window = Window::default();
        for (part, walked) in try_join_all(looks).await? {
            *bytes = bytes.saturating_sub(walked.bytes);
            window.gave_up |= !walked.is_done;
            let found = walked
                .positions
                .iter()
                .map(|position| (part.partition, *position));
            window.events.extend(found);
            window.parts.push(Part {
                floor: Some(walked.lowest),
                missing: part.missing.saturating_sub(walked.positions.len() as u64),
                ..part
            });
            window.below.push(walked.next);
        }
        Ok(window)
    }

    async fn walk(
        &self,
        partition: Partition,
        from: Link,
        below: Offset,
        until: Until,
        bytes: usize,
    ) -> Result<Walked, Problem> {
        let walk = Walk {
            partition,
            tenant: self.tenant.to_owned(),
            user: self.user.to_owned(),
            day: self.day,
            from,
            below,
            until,
            bytes,
        };
        let walked = self.api.events.walk(walk).await;
        walked.map_err(|cause| self.api.log_away(&cause))
    }
}

fn outdated() -> Problem {
    Problem::bad_request("cursor_outdated", "The cursor is too old")
        .detail(
            "so much was counted meanwhile that its page is not found any more; begin again without a cursor",
        )
        .with("parameter", "cursor")
}
