//! What is read of the embedded store. Each call reads one range of keys.

use super::{Embedded, blocking, keys};
use crate::{Error, Stamped, UserRows};
use futures::stream::{self, BoxStream, StreamExt};
use schemas::row::{LetterPlace, Progress, Row, RowKey, View};
use schemas::{Day, Partition};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use uuid::Uuid;

/// Rows of a scan in memory at once.
const SCAN_ROWS: usize = 2_000;
/// Users that one page goes through.
const USERS_AT_ONCE: usize = 500;
/// More bytes than any key has behind its prefix up to a partition: the end of a range.
const BEHIND: [u8; 36] = [0xff; 36];

type Range = (Bound<Vec<u8>>, Bound<Vec<u8>>);

impl Embedded {
    pub(crate) async fn progress(
        self: &Arc<Self>,
        view: View,
    ) -> Result<BTreeMap<Partition, Progress>, Error> {
        let store = Arc::clone(self);
        blocking(move || {
            let mut progress = BTreeMap::new();
            for guard in store.rows.prefix(keys::progress_rows(view)) {
                let (key, value) = guard.into_inner().map_err(|error| store.broken(&error))?;
                let (_, bytes) = keys::read_value(&value)?;
                let row = Progress::decode(bytes)
                    .map_err(|error| super::wrong(&store.folder, &error.to_string()))?;
                progress.insert(keys::read_progress(&key)?, row);
            }
            Ok(progress)
        })
        .await
    }

    pub(crate) async fn day_rows(self: &Arc<Self>, tenant: &str, day: Day) -> Result<Vec<Row>, Error> {
        let mut prefix = Vec::new();
        keys::put_day(&mut prefix, tenant, day);
        let store = Arc::clone(self);
        blocking(move || store.prefix(prefix)).await
    }

    pub(crate) async fn distinct_rows(self: &Arc<Self>, tenant: &str, day: Day) -> Result<Vec<Row>, Error> {
        let mut prefix = Vec::new();
        keys::put_distinct(&mut prefix, tenant, day);
        let store = Arc::clone(self);
        blocking(move || store.prefix(prefix)).await
    }

    pub(crate) async fn user_rows(
        self: &Arc<Self>,
        tenant: &str,
        user: &str,
        first: Day,
        last: Day,
    ) -> Result<Vec<Row>, Error> {
        if first > last {
            return Ok(Vec::new());
        }
        let (mut from, mut to) = (Vec::new(), Vec::new());
        keys::put_user(&mut from, tenant, user, first);
        keys::put_user(&mut to, tenant, user, last);
        to.extend_from_slice(&BEHIND);
        let store = Arc::clone(self);
        blocking(move || store.range((Bound::Included(from), Bound::Included(to)), usize::MAX)).await
    }

    /// Goes from user to user, and looks at no row of other days but one for each user.
    pub(crate) fn user_part(
        self: &Arc<Self>,
        tenant: &str,
        first: Day,
        last: Day,
    ) -> BoxStream<'static, Result<UserRows, Error>> {
        let mut from = Vec::new();
        keys::put_users(&mut from, tenant);
        let (store, tenant): (_, Arc<str>) = (Arc::clone(self), Arc::from(tenant));
        let pages = stream::try_unfold(Some(Bound::Included(from)), move |from| {
            let (store, tenant) = (Arc::clone(&store), Arc::clone(&tenant));
            async move {
                let Some(from) = from else { return Ok(None) };
                blocking(move || store.users_page(&tenant, first, last, from).map(Some)).await
            }
        });
        pages.boxed()
    }

    /// The rows of some users, and where the next ones are.
    #[expect(clippy::type_complexity, reason = "a page and where it ends, used once")]
    fn users_page(
        &self,
        tenant: &str,
        first: Day,
        last: Day,
        mut from: Bound<Vec<u8>>,
    ) -> Result<(UserRows, Option<Bound<Vec<u8>>>), Error> {
        let mut end = Vec::new();
        keys::put_users(&mut end, tenant);
        end.extend_from_slice(&[0xff; 3]); // no text holds FF, so this is behind every user of the tenant
        let mut page = UserRows {
            rows: Vec::new(),
            looked_at: 0,
        };
        for _ in 0..USERS_AT_ONCE {
            let next = self.range((from, Bound::Included(end.clone())), 1)?.pop();
            let Some(RowKey::User { user, .. }) = next.map(|row| row.key) else {
                return Ok((page, None));
            };
            page.looked_at += 1;
            let (mut low, mut high, mut behind) = (Vec::new(), Vec::new(), Vec::new());
            keys::put_user(&mut low, tenant, &user, first);
            for (key, day) in [(&mut high, last), (&mut behind, Day(u32::MAX))] {
                keys::put_user(key, tenant, &user, day);
                key.extend_from_slice(&BEHIND);
            }
            if first <= last {
                let rows = self.range((Bound::Included(low), Bound::Included(high)), usize::MAX)?;
                page.looked_at += rows.len();
                page.rows.extend(rows);
            }
            from = Bound::Excluded(behind);
        }
        Ok((page, Some(from)))
    }

    pub(crate) async fn dead_letter_rows(
        self: &Arc<Self>,
        tenant: &str,
        day: Day,
        after: Option<LetterPlace>,
        limit: usize,
    ) -> Result<Vec<Row>, Error> {
        let mut from = Vec::new();
        keys::put_dead_letters(&mut from, tenant, day);
        let mut to = from.clone();
        to.extend_from_slice(&BEHIND);
        let from = match after {
            Some(after) => {
                keys::put_letter_place(&mut from, after);
                Bound::Excluded(from)
            }
            None => Bound::Included(from),
        };
        let store = Arc::clone(self);
        blocking(move || store.range((from, Bound::Included(to)), limit)).await
    }

    pub(crate) async fn upload_rows(
        self: &Arc<Self>,
        tenant: &str,
        day: Day,
        first: Uuid,
        last: Uuid,
    ) -> Result<Vec<Row>, Error> {
        if first > last {
            return Ok(Vec::new());
        }
        let (mut from, mut to) = (Vec::new(), Vec::new());
        keys::put_upload(&mut from, tenant, day, first);
        keys::put_upload(&mut to, tenant, day, last);
        to.extend_from_slice(&BEHIND);
        let store = Arc::clone(self);
        blocking(move || store.range((Bound::Included(from), Bound::Included(to)), usize::MAX)).await
    }

    pub(crate) fn scan(self: &Arc<Self>, view: View) -> BoxStream<'_, Result<Stamped, Error>> {
        let from = match view {
            View::Progress => None,
            View::Days | View::Users | View::DeadLetters | View::Uploads | View::Distinct => {
                Some(Bound::Included(keys::rows(view)))
            }
        };
        let mut end = keys::rows(view);
        end.extend_from_slice(&[0xff; 3]); // no text holds FF, so this is behind every row of the view
        let pages = stream::try_unfold(from, move |from| {
            let (store, end) = (Arc::clone(self), end.clone());
            async move {
                let Some(from) = from else { return Ok(None) };
                let rows = blocking(move || store.range((from, Bound::Included(end)), SCAN_ROWS)).await?;
                let next = rows.last().filter(|_| rows.len() == SCAN_ROWS).map(|last| {
                    let mut key = Vec::new();
                    keys::put_row(&mut key, last);
                    Bound::Excluded(key)
                });
                Ok(Some((rows, next)))
            }
        });
        let stamped = |row: Row| Stamped {
            // Never above what a stamp may be: `upsert` refuses such a version.
            stamp: i64::try_from(row.version.0).unwrap_or(i64::MAX),
            row,
        };
        let rows = pages.flat_map(move |page: Result<Vec<Row>, Error>| match page {
            Ok(rows) => stream::iter(rows).map(move |row| Ok(stamped(row))).left_stream(),
            Err(error) => stream::once(std::future::ready(Err(error))).right_stream(),
        });
        rows.boxed()
    }

    fn prefix(&self, prefix: Vec<u8>) -> Result<Vec<Row>, Error> {
        self.rows.prefix(prefix).map(|guard| self.row(guard)).collect()
    }

    fn range(&self, range: Range, limit: usize) -> Result<Vec<Row>, Error> {
        let rows = self.rows.range(range).take(limit);
        rows.map(|guard| self.row(guard)).collect()
    }

    fn row(&self, guard: fjall::Guard) -> Result<Row, Error> {
        let (key, value) = guard.into_inner().map_err(|error| self.broken(&error))?;
        keys::read_row(&key, &value)
    }
}
