//! One page: goes through the days of a user, newest first, window by window, until it is full or has looked at as much as one
//! request may.

use super::line::{Line, Whose};
use super::place::{Key, Part, Place};
use super::window::{self, Look, Remembered, Window};
use crate::QueryApi;
use crate::asked::Types;
use crate::caller::Caller;
use crate::reads::CALL_DEADLINE;
use futures::future::try_join_all;
use schemas::positions::Position;
use schemas::row::{Row, RowKey};
use schemas::{Day, Offset, Partition};
use service::http::Problem;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

/// UTC days of a user that one call of the store brings.
const CALL_DAYS: u32 = 366;
/// Records that one request reads, beyond which it begins no further window.
const RECORDS: usize = 500;
/// Bytes of the changelog that one request looks through.
const WALK_BYTES: usize = 32 * 1024 * 1024;
/// Time after which a request begins no further window.
const TIME: Duration = Duration::from_secs(5);

/// A page in the making.
pub(crate) struct Page<'a> {
    api: &'a QueryApi,
    whose: Whose<'a>,
    types: &'a Types,
    limit: usize,
    lines: Vec<Line>,
    /// The last event that was looked at, or where to look next.
    last: Option<Place>,
    is_complete: bool,
    /// Whether there is more behind `last`.
    has_more: bool,
    records_left: usize,
    bytes_left: usize,
    until: Instant,
}

/// Whether to look further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    On,
    Enough,
}

impl<'a> Page<'a> {
    pub(crate) fn new(
        api: &'a QueryApi,
        caller: &'a Caller,
        user: &'a str,
        types: &'a Types,
        limit: usize,
    ) -> Self {
        Self {
            api,
            whose: Whose {
                tenant: &caller.tenant,
                user,
                own_schema: api.generation.schema_id,
            },
            types,
            limit,
            lines: Vec::new(),
            last: None,
            is_complete: true,
            has_more: false,
            records_left: RECORDS,
            bytes_left: WALK_BYTES,
            until: Instant::now() + TIME,
        }
    }

    /// What was found, whether it is all that was asked for, and where to go on.
    pub(crate) fn done(self) -> (Vec<Line>, bool, Option<Place>) {
        (self.lines, self.is_complete, self.last.filter(|_| self.has_more))
    }

    /// Goes through the days from the last to the first, or on from where an earlier page ended.
    pub(crate) async fn fill(
        &mut self,
        (first, mut last): (Day, Day),
        mut begin: Option<Place>,
    ) -> Result<(), Problem> {
        if let Some(begin) = &begin {
            last = last.min(begin.day);
        }
        while first <= last {
            let low = first.max(Day(last.0.saturating_sub(CALL_DAYS - 1)));
            let read = self
                .api
                .store
                .user_rows(self.whose.tenant, self.whose.user, low, last);
            let rows = self.api.read(CALL_DEADLINE, read).await?;
            let mut days: BTreeMap<Reverse<Day>, Vec<Row>> = BTreeMap::new();
            for row in rows {
                if let RowKey::User { day, .. } = row.key {
                    days.entry(Reverse(day)).or_default().push(row);
                }
            }
            for (Reverse(day), rows) in days {
                let begin = begin.take_if(|begin| begin.day == day);
                if self.day(day, &rows, begin).await? == Step::Enough {
                    return Ok(());
                }
            }
            let Some(before) = low.0.checked_sub(1) else { break };
            last = Day(before);
        }
        Ok(())
    }

    async fn day(&mut self, day: Day, rows: &[Row], begin: Option<Place>) -> Result<Step, Problem> {
        let look = Look {
            api: self.api,
            tenant: self.whose.tenant,
            user: self.whose.user,
            day,
        };
        let (remembered, parts) = window::first(rows)?;
        let (mut parts, mut after) = match begin {
            Some(begin) => (begin.parts, begin.after),
            None => (parts, None),
        };
        while !parts.is_empty() {
            let is_formed = parts.iter().all(|part| part.floor.is_some());
            // Of a window that nobody looked for yet it is known that it holds something.
            if self.is_over() || (self.lines.len() >= self.limit && !is_formed) {
                return Ok(self.give_up(day, parts, after));
            }
            let window = self.window(&look, parts, &remembered).await?;
            if self.events(day, &window, after.take()).await? == Step::Enough {
                return Ok(Step::Enough);
            }
            parts = Look::behind(&window);
            if window.gave_up {
                return Ok(self.give_up(day, parts, None));
            }
        }
        Ok(Step::On)
    }

    async fn window(
        &mut self,
        look: &Look<'_>,
        parts: Vec<Part>,
        remembered: &Remembered,
    ) -> Result<Window, Problem> {
        match parts.iter().all(|part| part.floor.is_some()) {
            true => look.again(parts, remembered).await,
            false => look.further(parts, self.limit, &mut self.bytes_left).await,
        }
    }

    /// Whether this request has looked at enough. The first window is always looked at, so that whoever comes back gets on.
    fn is_over(&self) -> bool {
        self.last.is_some()
            && (self.records_left == 0 || self.bytes_left == 0 || Instant::now() >= self.until)
    }

    fn give_up(&mut self, day: Day, parts: Vec<Part>, after: Option<Key>) -> Step {
        if parts.is_empty() {
            return Step::On;
        }
        self.last = Some(Place { day, parts, after });
        self.has_more = true;
        self.is_complete = self.lines.len() >= self.limit;
        Step::Enough
    }

    /// Shows the events of a window behind `after` that are asked for.
    async fn events(&mut self, day: Day, window: &Window, after: Option<Key>) -> Result<Step, Problem> {
        self.records_left = self.records_left.saturating_sub(window.events.len());
        let mut lines = self.lines(day, &window.events).await?;
        lines.sort_by_key(|(key, _)| Reverse(*key));
        for (key, line) in lines {
            if after.is_some_and(|after| key >= after) {
                continue;
            }
            // One that cannot be read has no type to go by.
            if line.event_type.as_deref().is_none_or(|kind| self.types.has(kind)) {
                if self.lines.len() == self.limit {
                    self.has_more = true;
                    return Ok(Step::Enough);
                }
                self.lines.push(line);
            }
            self.last = Some(Place {
                day,
                parts: window.parts.clone(),
                after: Some(key),
            });
        }
        Ok(Step::On)
    }

    /// The lines of events, in no order.
    async fn lines(&self, day: Day, events: &[(Partition, Position)]) -> Result<Vec<(Key, Line)>, Problem> {
        let mut offsets: BTreeMap<Partition, Vec<Offset>> = BTreeMap::new();
        for (partition, position) in events {
            offsets.entry(*partition).or_default().push(position.offset);
        }
        let reads = offsets.into_iter().map(|(partition, offsets)| async move {
            let found = self.api.events.records(partition, offsets).await;
            let found = found.map_err(|cause| self.api.log_away(&cause))?;
            Ok::<_, Problem>((partition, found))
        });
        let records: BTreeMap<_, _> = try_join_all(reads).await?.into_iter().collect();
        let lines = events.iter().map(|(partition, position)| {
            let record = records.get(partition).and_then(|of| of.get(&position.offset));
            let (line, time) = Line::of(*partition, *position, record, &self.whose);
            let key = Key {
                // Of one that cannot be read the day is known.
                time: time.unwrap_or_else(|| day.quarter(0).start()),
                partition: *partition,
                offset: position.offset,
            };
            (key, line)
        });
        Ok(lines.collect())
    }
}
