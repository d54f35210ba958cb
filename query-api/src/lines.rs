//! The lines of an answer by bucket and type, in order, made while rows are read in order of UTC days: a bucket's lines are
//! there as soon as all UTC days with a part in it were read. So what is held at one time does not grow with the range.
//!
//! Behind the last row it is made sure that the view is still the one that was asked; lines before that are provisional.

use crate::QueryApi;
use crate::asked::Types;
use crate::buckets::Buckets;
use crate::cursor::Place;
use crate::reads::{ANSWER_ROWS, CALL_DEADLINE, malformed, too_large};
use crate::reflected::Reflected;
use crate::tally::{Line, Tally};
use futures::stream::{self, BoxStream, Stream, TryStreamExt};
use schemas::Day;
use schemas::partial::{DayPartial, UserPartial};
use schemas::row::{Row, RowKey, View};
use service::http::Problem;
use std::sync::Arc;
use tokio::time::Instant;

/// Some rows.
#[derive(Debug)]
pub(crate) struct Rows {
    /// With these, all rows before this UTC day were read.
    pub(crate) behind: Day,
    /// All of them.
    pub(crate) rows: Vec<Row>,
}

/// Reads of rows, in order of UTC days.
pub(crate) type Reads = BoxStream<'static, Result<Rows, views::Error>>;

/// Lines yet to be made.
pub(crate) struct Lines {
    pub(crate) api: Arc<QueryApi>,
    /// Whose rows they are made of.
    pub(crate) view: View,
    /// What it reflected before the first row was read.
    pub(crate) reflected: Reflected,
    pub(crate) buckets: Buckets,
    pub(crate) types: Types,
    /// The rows; done when there are no more.
    pub(crate) reads: Option<Reads>,
    /// When all must be read; none if each read only has its own time.
    pub(crate) deadline: Option<Instant>,
    pub(crate) tally: Tally,
}

impl Lines {
    /// Further lines, at least one; none at the end, and then the view is still the one that was asked.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<Line>>, Problem> {
        while let Some(reads) = &mut self.reads {
            let now = Instant::now();
            let limit = self
                .deadline
                .map_or(CALL_DEADLINE, |deadline| deadline.saturating_duration_since(now));
            let read = self.api.read(limit, reads.try_next()).await?;
            let complete = match read {
                Some(Rows { behind, rows }) => {
                    for row in &rows {
                        add(&mut self.tally, row, &self.buckets, &self.types)?;
                    }
                    behind.quarter(0).0.into()
                }
                None => {
                    self.reads = None;
                    self.confirm().await?;
                    i64::MAX
                }
            };
            let lines = self.tally.take_before(complete, &self.buckets);
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
        }
        Ok(None)
    }

    /// All lines, where they are few enough for one answer.
    ///
    /// Errors: 400 `answer_too_large`.
    pub(crate) async fn all(&mut self) -> Result<Vec<Line>, Problem> {
        let mut all = Vec::new();
        while let Some(mut lines) = self.next().await? {
            all.append(&mut lines);
            if all.len() > ANSWER_ROWS {
                return Err(too_large());
            }
        }
        Ok(all)
    }

    /// The first `limit` lines behind a place, and whether there are more.
    pub(crate) async fn page(
        &mut self,
        after: Option<&Place>,
        limit: usize,
    ) -> Result<(Vec<Line>, bool), Problem> {
        let is_behind = |line: &Line| {
            after.is_none_or(|after| (line.start, &line.event_type) > (after.start, &after.event_type))
        };
        let mut page = Vec::new();
        while let Some(lines) = self.next().await? {
            page.extend(lines.into_iter().filter(is_behind));
            if page.len() > limit {
                page.truncate(limit);
                self.confirm().await?;
                return Ok((page, true));
            }
        }
        Ok((page, false))
    }

    /// All lines, for an export.
    pub(crate) fn stream(self) -> impl Stream<Item = Result<Vec<Line>, Problem>> + Send + 'static {
        stream::try_unfold(self, |mut lines| async move {
            let next = lines.next().await?;
            Ok(next.map(|next| (next, lines)))
        })
    }

    /// That the view is still the one that was asked.
    pub(crate) async fn confirm(&mut self) -> Result<(), Problem> {
        self.api.confirm(self.view, &self.reflected).await
    }
}

fn add(tally: &mut Tally, row: &Row, buckets: &Buckets, types: &Types) -> Result<(), Problem> {
    match &row.key {
        RowKey::Day { day, event_type, .. } => {
            let cells = DayPartial::decode(&row.value).map_err(|cause| malformed(&cause))?;
            tally.add(*day, event_type, &cells, buckets, types);
        }
        RowKey::User { day, .. } => {
            let partial = UserPartial::decode(&row.value).map_err(|cause| malformed(&cause))?;
            for (event_type, cells) in partial.types() {
                tally.add(*day, event_type, cells, buckets, types);
            }
        }
        RowKey::DeadLetter { .. }
        | RowKey::Redrive { .. }
        | RowKey::Upload { .. }
        | RowKey::Distinct { .. } => {}
    }
    Ok(())
}
