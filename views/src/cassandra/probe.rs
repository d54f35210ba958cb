//! The start-up probe: does the store keep the stamps that we write, and is there anything in the tables that is not ours?
//! One write without a stamp would freeze its row for ever, so it must be found before numbers are trusted.

use super::read::{ProgressColumns, checked, progress_row};
use super::session::{fate, retried, unexpected};
use super::statements::{insert, partition};
use super::{Cassandra, definitions};
use crate::{Error, STAMP_LIMIT};
use schemas::cql;
use schemas::row::View;
use scylla::client::session::Session;

/// Rows of each table whose stamps are looked at.
const SAMPLE_ROWS: i32 = 10_000;

impl Cassandra {
    pub(crate) async fn probe(&self) -> Result<(), Error> {
        self.look_and(true).await
    }

    /// The same without a write, for those who may not.
    pub(crate) async fn look(&self) -> Result<(), Error> {
        self.look_and(false).await
    }

    async fn look_and(&self, write: bool) -> Result<(), Error> {
        definitions::check(&self.session, &self.config).await?;
        for view in View::ALL {
            if write {
                self.write_and_read(view).await?;
            }
            self.look_at_progress(view).await?;
            self.look_at_rows(view).await?;
        }
        Ok(())
    }

    fn table(&self, view: View) -> String {
        format!(
            "{}.{}",
            self.config.keyspace,
            cql::table(view, self.config.generation)
        )
    }

    /// Writes the next stamp under the probe's key and reads it back. Another process may probe at once: it writes the
    /// same stamp with the same value, or a higher one.
    async fn write_and_read(&self, view: View) -> Result<(), Error> {
        let (table, columns) = (self.table(view), cql::columns(view));
        let read = format!(
            "SELECT value, writetime(value) FROM {table} WHERE {}",
            partition(columns, |column| column.probe)
        );
        let write = insert(&table, columns, |column| column.probe);
        let wrong = |what: String| Error::Wrong(format!("table {table}: the probe {what}"));
        let newest = async || -> Result<i64, Error> {
            let rows: Vec<(Option<Vec<u8>>, Option<i64>)> = self.ask(&read).await?;
            match rows.as_slice() {
                [] => Ok(0),
                [(Some(value), Some(stamp))] => {
                    checked(*stamp, &format!("table {table}: the probe's row"))?;
                    if value.as_slice() == stamp.to_be_bytes() {
                        return Ok(*stamp);
                    }
                    Err(wrong(format!(
                        "wrote {value:?} and read it with the stamp {stamp}"
                    )))
                }
                rows => Err(wrong(format!(
                    "found {} rows, or one without a value",
                    rows.len()
                ))),
            }
        };
        let stamp = newest().await? + 1;
        let value = stamp.to_be_bytes().to_vec();
        retried(self.config.retry_for, async || {
            let written = self.session.query_unpaged(write.as_str(), (&value, stamp)).await;
            written.map(|_| ()).map_err(fate)
        })
        .await?;
        let found = newest().await?;
        if found < stamp {
            return Err(wrong(format!("wrote the stamp {stamp} and read {found}")));
        }
        Ok(())
    }

    async fn look_at_progress(&self, view: View) -> Result<(), Error> {
        let statement = &self.statements.table(view).read_progress;
        let rows: Vec<ProgressColumns> = self.all(statement, &()).await?;
        for row in rows {
            progress_row(row).map_err(|error| match error {
                Error::Wrong(what) => Error::Wrong(format!("table {}: {what}", self.table(view))),
                away => away,
            })?;
        }
        Ok(())
    }

    async fn look_at_rows(&self, view: View) -> Result<(), Error> {
        let table = self.table(view);
        let text = format!("SELECT writetime(value), ttl(value) FROM {table} LIMIT {SAMPLE_ROWS}");
        let rows: Vec<(Option<i64>, Option<i32>)> = self.ask(&text).await?;
        for (stamp, lifetime) in rows {
            let what = match (stamp, lifetime) {
                (_, Some(seconds)) => format!("a row will vanish in {seconds} s"),
                (None, _) => "a row has no value".into(),
                (Some(stamp), _) if !u64::try_from(stamp).is_ok_and(|stamp| stamp <= STAMP_LIMIT) => {
                    format!("a row has the stamp {stamp}, which is a clock's")
                }
                _ => continue,
            };
            let advice = "something else than Tidemark wrote it, and no write of ours will ever replace it: run `tidemark migrate` with \
                          another store.keyspace, which is filled from the chain";
            return Err(Error::Wrong(format!("table {table}: {what}; {advice}")));
        }
        Ok(())
    }

    async fn ask<C: for<'f, 'm> scylla::deserialize::row::DeserializeRow<'f, 'm>>(
        &self,
        text: &str,
    ) -> Result<Vec<C>, Error> {
        let session: &Session = &self.session;
        let answer = retried(self.config.retry_for, async || {
            session.query_unpaged(text, ()).await.map_err(fate)
        })
        .await?;
        let rows = answer.into_rows_result().map_err(unexpected)?;
        rows.rows::<C>()
            .map_err(unexpected)?
            .collect::<Result<_, _>>()
            .map_err(unexpected)
    }
}
