//! Reading rows and progress, page by page. A row's version is the store's own stamp.

use super::Cassandra;
use super::session::{fate, retried, unexpected};
use super::write::{LEDGER, LETTER, number};
use crate::{Error, STAMP_LIMIT, Stamped, UserRows};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use schemas::row::{LetterPlace, Progress, Row, RowKey, View, user_bucket};
use schemas::{Day, Offset, Partition};
use scylla::deserialize::row::DeserializeRow;
use scylla::response::PagingState;
use scylla::serialize::row::SerializeRow;
use scylla::statement::prepared::PreparedStatement;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;
use uuid::Uuid;

/// Years of a user read at once.
const YEARS_AT_ONCE: usize = 8;

type DayColumns = (String, i32, String, i32, Option<Vec<u8>>, Option<i64>);
type UserColumns = (i32, i32, String, String, i32, i32, Option<Vec<u8>>, Option<i64>);
type DeadLetterColumns = (String, i32, i64, i32, i64, i32, i64, Option<Vec<u8>>, Option<i64>);
type UploadColumns = (String, i32, Vec<u8>, i32, i64, Option<Vec<u8>>, Option<i64>);
/// The columns of the view of distinct users, which are those of the view of days.
#[derive(scylla::DeserializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct DistinctColumns {
    tenant: String,
    day: i32,
    event_type: String,
    p: i32,
    value: Option<Vec<u8>>,
    stamp: Option<i64>,
}
pub(super) type ProgressColumns = (i32, Option<Vec<u8>>, Option<i64>);

/// A row of a table in Rust's types.
pub(super) trait Columns: for<'f, 'm> DeserializeRow<'f, 'm> + Send + 'static {
    /// The row; `None` where it lies under a reserved key.
    fn stamped(self) -> Result<Option<Stamped>, Error>;
}

impl Cassandra {
    pub(crate) async fn progress(&self, view: View) -> Result<BTreeMap<Partition, Progress>, Error> {
        let statement = &self.statements.table(view).read_progress;
        let rows: Vec<ProgressColumns> = self.all(statement, &()).await?;
        rows.into_iter().map(progress_row).collect()
    }

    pub(crate) async fn day_rows(&self, tenant: &str, day: Day) -> Result<Vec<Row>, Error> {
        let statement = &self.statements.table(View::Days).select;
        let rows: Vec<DayColumns> = self.all(statement, &(tenant, number(day.0, "day")?)).await?;
        rows_of(rows)
    }

    pub(crate) async fn distinct_rows(&self, tenant: &str, day: Day) -> Result<Vec<Row>, Error> {
        let statement = &self.statements.table(View::Distinct).select;
        let rows: Vec<DistinctColumns> = self.all(statement, &(tenant, number(day.0, "day")?)).await?;
        rows_of(rows)
    }

    pub(crate) async fn user_rows(
        &self,
        tenant: &str,
        user: &str,
        first: Day,
        last: Day,
    ) -> Result<Vec<Row>, Error> {
        if first > last {
            return Ok(Vec::new());
        }
        let statement = &self.statements.table(View::Users).select;
        let bucket = number(user_bucket(tenant, user, self.config.user_buckets), "bucket")?;
        let (from, to) = (number(first.0, "day")?, number(last.0, "day")?);
        let years = (first.year()..=last.year()).map(|year| async move {
            let rows: Vec<UserColumns> = self
                .all(statement, &(bucket, year, tenant, user, from, to))
                .await?;
            rows_of(rows)
        });
        let years: Vec<Vec<Row>> = stream::iter(years).buffered(YEARS_AT_ONCE).try_collect().await?;
        Ok(years.into_iter().flatten().collect())
    }

    pub(crate) fn user_parts(&self) -> u32 {
        self.config.user_buckets
    }

    /// Reads a bucket's rows of each year that has part in the days, and leaves out other days: the store itself would look at
    /// as many.
    pub(crate) fn user_part(
        self: &Arc<Self>,
        tenant: &str,
        part: u32,
        first: Day,
        last: Day,
    ) -> BoxStream<'static, Result<UserRows, Error>> {
        let years = (first <= last).then(|| first.year()..=last.year());
        let (store, tenant): (_, Arc<str>) = (Arc::clone(self), Arc::from(tenant));
        let years = stream::iter(years.into_iter().flatten()).flat_map(move |year| {
            let (store, tenant) = (Arc::clone(&store), Arc::clone(&tenant));
            let pages = stream::try_unfold(Some(PagingState::start()), move |state| {
                let (store, tenant) = (Arc::clone(&store), Arc::clone(&tenant));
                async move {
                    let Some(state) = state else { return Ok(None) };
                    let values = (number(part, "bucket")?, year, &*tenant);
                    let statement = &store.statements.users_of_tenant;
                    let (rows, next) = store.page::<UserColumns>(statement, &values, state).await?;
                    let looked_at = rows.len();
                    let mut rows = rows_of(rows)?;
                    rows.retain(
                        |row| matches!(row.key, RowKey::User { day, .. } if (first..=last).contains(&day)),
                    );
                    Ok(Some((UserRows { rows, looked_at }, next)))
                }
            });
            pages.boxed()
        });
        years.boxed()
    }

    pub(crate) async fn dead_letter_rows(
        &self,
        tenant: &str,
        day: Day,
        after: Option<LetterPlace>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        // CQL knows no limit of 0.
        let limit = match i32::try_from(limit) {
            Ok(0) => return Ok(Vec::new()),
            limit => limit.unwrap_or(i32::MAX),
        };
        // No row lies beyond what the store can hold, so such a place is behind all of that moment.
        let int = |partition: Partition| i32::try_from(partition.0).unwrap_or(i32::MAX);
        let long = |offset: Offset| i64::try_from(offset.0).unwrap_or(i64::MAX);
        let place = after.map(|after| {
            let (q, copy) = after
                .copy
                .map_or((i32::from(LETTER), i64::from(LETTER)), |(partition, offset)| {
                    (int(partition), long(offset))
                });
            (
                after.accepted_ms,
                int(after.partition),
                long(after.offset),
                q,
                copy,
            )
        });
        let (accepted_ms, p, offset, q, copy) =
            place.unwrap_or((i64::MIN, i32::MIN, i64::MIN, i32::MIN, i64::MIN));
        let statement = &self.statements.table(View::DeadLetters).select;
        let day = number(day.0, "day")?;
        let values = (tenant, day, accepted_ms, p, offset, q, copy, limit);
        let rows: Vec<DeadLetterColumns> = self.all(statement, &values).await?;
        rows_of(rows)
    }

    pub(crate) async fn upload_rows(
        &self,
        tenant: &str,
        day: Day,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<Row>, Error> {
        let statement = &self.statements.table(View::Uploads).select;
        let bounds = (first.as_bytes().as_slice(), last.as_bytes().as_slice());
        let values = (tenant, number(day.0, "day")?, bounds.0, bounds.1);
        let rows: Vec<UploadColumns> = self.all(statement, &values).await?;
        rows_of(rows)
    }

    pub(crate) fn scan(&self, view: View) -> BoxStream<'_, Result<Stamped, Error>> {
        match view {
            View::Days => self.scan_as::<DayColumns>(view),
            View::Users => self.scan_as::<UserColumns>(view),
            View::DeadLetters => self.scan_as::<DeadLetterColumns>(view),
            View::Uploads => self.scan_as::<UploadColumns>(view),
            View::Distinct => self.scan_as::<DistinctColumns>(view),
            View::Progress => stream::empty().boxed(),
        }
    }

    fn scan_as<C: Columns>(&self, view: View) -> BoxStream<'_, Result<Stamped, Error>> {
        let statement = &self.statements.table(view).scan;
        let pages = stream::try_unfold(Some(PagingState::start()), move |state| async move {
            let Some(state) = state else { return Ok(None) };
            let (rows, next) = self.page::<C>(statement, &(), state).await?;
            let rows: Vec<_> = rows
                .into_iter()
                .map(Columns::stamped)
                .filter_map(Result::transpose)
                .collect();
            Ok(Some((rows, next)))
        });
        let rows = pages.flat_map(|page: Result<Vec<_>, Error>| match page {
            Ok(rows) => stream::iter(rows).left_stream(),
            Err(error) => stream::once(std::future::ready(Err(error))).right_stream(),
        });
        rows.boxed()
    }

    /// All rows of an answer.
    pub(super) async fn all<C: for<'f, 'm> DeserializeRow<'f, 'm>>(
        &self,
        statement: &PreparedStatement,
        values: &impl SerializeRow,
    ) -> Result<Vec<C>, Error> {
        let mut all = Vec::new();
        let mut state = Some(PagingState::start());
        while let Some(from) = state {
            let (rows, next) = self.page(statement, values, from).await?;
            all.extend(rows);
            state = next;
        }
        Ok(all)
    }

    /// One page of an answer, and where the next begins.
    async fn page<C: for<'f, 'm> DeserializeRow<'f, 'm>>(
        &self,
        statement: &PreparedStatement,
        values: &impl SerializeRow,
        from: PagingState,
    ) -> Result<(Vec<C>, Option<PagingState>), Error> {
        let (answer, next) = retried(self.config.retry_for, async || {
            let page = self.session.execute_single_page(statement, values, from.clone());
            page.await.map_err(fate)
        })
        .await?;
        let rows = answer.into_rows_result().map_err(unexpected)?;
        let rows = rows.rows::<C>().map_err(unexpected)?;
        let rows = rows.collect::<Result<_, _>>().map_err(unexpected)?;
        let next = match next.into_paging_control_flow() {
            ControlFlow::Continue(state) => Some(state),
            ControlFlow::Break(()) => None,
        };
        Ok((rows, next))
    }
}

/// Rows for a query: each with a stamp that is a version.
fn rows_of<C: Columns>(rows: Vec<C>) -> Result<Vec<Row>, Error> {
    let rows = rows
        .into_iter()
        .map(Columns::stamped)
        .filter_map(Result::transpose);
    rows.map(|stamped| {
        let stamped = stamped?;
        checked(stamped.stamp, "a row")?;
        Ok(stamped.row)
    })
    .collect()
}

/// The version of a stamp; refuses one that is a clock's.
pub(super) fn checked(stamp: i64, what: &str) -> Result<u64, Error> {
    match u64::try_from(stamp) {
        Ok(version) if version <= STAMP_LIMIT => Ok(version),
        _ => Err(Error::Wrong(format!(
            "{what} has the stamp {stamp}, so something else than Tidemark wrote it; no write of ours will ever replace it: \
             run `tidemark migrate` with another store.keyspace, which is filled from the chain"
        ))),
    }
}

/// A progress row, whose stamp must be its changelog position.
pub(super) fn progress_row((p, value, stamp): ProgressColumns) -> Result<(Partition, Progress), Error> {
    let (value, stamp) = cell(value, stamp)?;
    let version = checked(stamp, "a progress row")?;
    let progress = Progress::decode(&value).map_err(unexpected)?;
    if version != progress.changelog.0 {
        let text = format!(
            "a progress row of changelog position {} has the stamp {stamp}",
            progress.changelog
        );
        return Err(Error::Wrong(text));
    }
    Ok((Partition(unsigned(p)?), progress))
}

/// A row always has its one cell: without it, somebody else wrote.
fn cell(value: Option<Vec<u8>>, stamp: Option<i64>) -> Result<(Vec<u8>, i64), Error> {
    value
        .zip(stamp)
        .ok_or_else(|| Error::Wrong("a row has no value: something else than Tidemark wrote it".into()))
}

fn unsigned(number: i32) -> Result<u32, Error> {
    u32::try_from(number).map_err(|_| Error::Wrong(format!("a key has the number {number}")))
}

fn stamped_row(
    key: RowKey,
    p: i32,
    value: Option<Vec<u8>>,
    stamp: Option<i64>,
) -> Result<Option<Stamped>, Error> {
    let (value, stamp) = cell(value, stamp)?;
    let row = Row {
        key,
        partition: Partition(unsigned(p)?),
        version: Offset(u64::try_from(stamp).unwrap_or(0)),
        value,
    };
    Ok(Some(Stamped { row, stamp }))
}

impl Columns for DayColumns {
    fn stamped(self) -> Result<Option<Stamped>, Error> {
        let (tenant, day, event_type, p, value, stamp) = self;
        if day < 0 {
            return Ok(None);
        }
        let day = Day(unsigned(day)?);
        stamped_row(
            RowKey::Day {
                tenant,
                day,
                event_type,
            },
            p,
            value,
            stamp,
        )
    }
}

impl Columns for DistinctColumns {
    fn stamped(self) -> Result<Option<Stamped>, Error> {
        if self.day < 0 {
            return Ok(None);
        }
        let key = RowKey::Distinct {
            tenant: self.tenant,
            day: Day(unsigned(self.day)?),
            event_type: self.event_type,
        };
        stamped_row(key, self.p, self.value, self.stamp)
    }
}

impl Columns for UserColumns {
    fn stamped(self) -> Result<Option<Stamped>, Error> {
        let (bucket, _, tenant, user, day, p, value, stamp) = self;
        if bucket < 0 {
            return Ok(None);
        }
        let day = Day(unsigned(day)?);
        stamped_row(RowKey::User { tenant, user, day }, p, value, stamp)
    }
}

impl Columns for DeadLetterColumns {
    fn stamped(self) -> Result<Option<Stamped>, Error> {
        let (tenant, day, accepted_ms, p, offset, q, copy, value, stamp) = self;
        if day < 0 {
            return Ok(None);
        }
        let place = |offset: i64| {
            let offset = u64::try_from(offset);
            offset
                .map(Offset)
                .map_err(|error| Error::Wrong(format!("a key has an offset: {error}")))
        };
        let (day, offset) = (Day(unsigned(day)?), place(offset)?);
        if (q, copy) == (i32::from(LETTER), i64::from(LETTER)) {
            let key = RowKey::DeadLetter {
                tenant,
                day,
                accepted_ms,
                offset,
            };
            return stamped_row(key, p, value, stamp);
        }
        let key = RowKey::Redrive {
            tenant,
            day,
            accepted_ms,
            letter: Partition(unsigned(p)?),
            offset,
            copy: place(copy)?,
        };
        stamped_row(key, q, value, stamp)
    }
}

impl Columns for UploadColumns {
    fn stamped(self) -> Result<Option<Stamped>, Error> {
        let (tenant, day, upload, p, offset, value, stamp) = self;
        if day < 0 {
            return Ok(None);
        }
        let wrong = |what: String| Error::Wrong(format!("a key has {what}"));
        let fact = match offset {
            LEDGER => None,
            offset => {
                let offset = u64::try_from(offset).map_err(|_| wrong(format!("the offset {offset}")))?;
                Some(Offset(offset))
            }
        };
        let key = RowKey::Upload {
            tenant,
            day: Day(unsigned(day)?),
            upload: Uuid::from_slice(&upload).map_err(|_| wrong("an upload that is no UUID".into()))?,
            fact,
        };
        stamped_row(key, p, value, stamp)
    }
}
