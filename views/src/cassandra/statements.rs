//! All statements of the hot paths, prepared once. Names, types and reserved keys come from [`schemas::cql`].

use super::Config;
use super::session::fate_of_prepare;
use crate::Error;
use schemas::cql::{self, Column, Kind};
use schemas::row::View;
use scylla::client::session::Session;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;

/// Rows of one batch: 50 of one store partition are the cheapest a row (COSTS.md, E2).
pub(super) const BATCH_ROWS: usize = 50;
/// Rows of one page of an answer.
const PAGE_ROWS: i32 = 2_000;

/// The statements of one generation.
pub(super) struct Statements {
    /// Reads the rows of all users of a tenant in a bucket and year.
    pub(super) users_of_tenant: PreparedStatement,
    days: Table,
    users: Table,
    dead_letters: Table,
    uploads: Table,
    distinct: Table,
    progress: Table,
}

/// The statements of one table.
pub(super) struct Table {
    /// Writes a row: the primary key's columns, value, stamp.
    pub(super) insert: PreparedStatement,
    /// The same 2, 3, ... `BATCH_ROWS` times as one unlogged batch: made once, since making one costs more than sending it.
    batches: Vec<Batch>,
    /// Reads rows by the view's own question, see [`question`].
    pub(super) select: PreparedStatement,
    /// Reads all rows: the primary key's columns, value, stamp.
    pub(super) scan: PreparedStatement,
    /// Writes a progress row: p, value, stamp.
    pub(super) write_progress: PreparedStatement,
    /// Reads the progress rows: p, value, stamp.
    pub(super) read_progress: PreparedStatement,
}

impl Statements {
    pub(super) async fn prepare(session: &Session, config: &Config) -> Result<Self, Error> {
        let [days, users, dead_letters, uploads, distinct, progress] =
            View::ALL.map(|view| Table::prepare(session, config, view));
        let (days, users, dead_letters, uploads, distinct, progress) =
            futures::try_join!(days, users, dead_letters, uploads, distinct, progress)?;
        let read = read(&table_name(config, View::Users), cql::columns(View::Users));
        let users_of_tenant = format!("{read} WHERE bucket = ? AND year = ? AND tenant = ?");
        let users_of_tenant = prepare(session, users_of_tenant).await?;
        Ok(Self {
            users_of_tenant,
            days,
            users,
            dead_letters,
            uploads,
            distinct,
            progress,
        })
    }

    pub(super) fn table(&self, view: View) -> &Table {
        match view {
            View::Days => &self.days,
            View::Users => &self.users,
            View::DeadLetters => &self.dead_letters,
            View::Uploads => &self.uploads,
            View::Distinct => &self.distinct,
            View::Progress => &self.progress,
        }
    }
}

impl Table {
    async fn prepare(session: &Session, config: &Config, view: View) -> Result<Self, Error> {
        let prepare = |text| prepare(session, text);
        let table = table_name(config, view);
        let columns = cql::columns(view);
        let insert = prepare(insert(&table, columns, |_| "?")).await?;
        let batches = (2..=BATCH_ROWS).map(|rows| {
            let mut batch = Batch::new(BatchType::Unlogged);
            batch.set_is_idempotent(true);
            for _ in 0..rows {
                batch.append_statement(insert.clone());
            }
            batch
        });
        let batches = batches.collect();
        Ok(Self {
            insert,
            batches,
            select: prepare(format!("{} {}", read(&table, columns), question(view))).await?,
            scan: prepare(read(&table, columns)).await?,
            write_progress: prepare(insert_progress(&table, columns)).await?,
            read_progress: prepare(format!(
                "SELECT p, value, writetime(value) FROM {table} WHERE {}",
                partition(columns, |column| column.progress)
            ))
            .await?,
        })
    }

    /// The batch of so many rows; `None` for 0, 1 and more than `BATCH_ROWS`.
    pub(super) fn batch(&self, rows: usize) -> Option<&Batch> {
        self.batches.get(rows.checked_sub(2)?)
    }
}

async fn prepare(session: &Session, text: String) -> Result<PreparedStatement, Error> {
    let mut statement = session
        .prepare(text)
        .await
        .map_err(|error| fate_of_prepare(&error))?;
    statement.set_is_idempotent(true);
    statement.set_page_size(PAGE_ROWS);
    Ok(statement)
}

fn table_name(config: &Config, view: View) -> String {
    format!("{}.{}", config.keyspace, cql::table(view, config.generation))
}

/// How a query asks for rows of a view.
fn question(view: View) -> &'static str {
    match view {
        View::Days | View::Distinct => "WHERE tenant = ? AND day = ?",
        View::Users => {
            "WHERE bucket = ? AND year = ? AND tenant = ? AND user_id = ? AND day >= ? AND day <= ?"
        }
        View::DeadLetters => {
            "WHERE tenant = ? AND day = ? AND (accepted_ms, p, log_offset, q, copy_offset) > (?, ?, ?, ?, ?) LIMIT ?"
        }
        View::Uploads => "WHERE tenant = ? AND day = ? AND upload >= ? AND upload <= ?",
        View::Progress => "WHERE view_name = ?",
    }
}

fn read(table: &str, columns: &[Column]) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    format!("SELECT {}, writetime(value) FROM {table}", names.join(", "))
}

/// The stamped upsert, with each column's value as `literal` has it.
pub(super) fn insert(table: &str, columns: &[Column], literal: impl Fn(&Column) -> &'static str) -> String {
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    let values: Vec<&str> = columns.iter().map(literal).collect();
    format!(
        "INSERT INTO {table} ({}) VALUES ({}) USING TIMESTAMP ?",
        names.join(", "),
        values.join(", ")
    )
}

fn insert_progress(table: &str, columns: &[Column]) -> String {
    insert(table, columns, |column| column.progress)
}

/// The condition on the partition key, with each column's value as `literal` has it.
pub(super) fn partition(columns: &[Column], literal: impl Fn(&Column) -> &'static str) -> String {
    let terms: Vec<String> = columns
        .iter()
        .filter(|column| column.kind == Kind::Partition)
        .map(|column| format!("{} = {}", column.name, literal(column)))
        .collect();
    terms.join(" AND ")
}
