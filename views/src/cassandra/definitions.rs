//! Whether the tables are what [`schemas::cql`] says: their columns, and none of the options that would make rows vanish or
//! cost twice. Read from the store's own schema tables.

use super::Config;
use super::session::{fate, unexpected};
use crate::Error;
use schemas::cql;
use schemas::row::View;
use scylla::client::session::Session;
use scylla::statement::{Consistency, Statement};
use scylla::value::{CqlValue, Row};

/// Checks the tables of all views.
pub(super) async fn check(session: &Session, config: &Config) -> Result<(), Error> {
    for view in View::ALL {
        let table = cql::table(view, config.generation);
        let wrong = |what: String| Error::Wrong(format!("table {}.{table}: {what}", config.keyspace));
        let expected: Vec<_> = cql::columns(view)
            .iter()
            .map(|column| {
                (
                    column.name.to_owned(),
                    column.cql_type.to_owned(),
                    column.kind.name().to_owned(),
                )
            })
            .collect();
        let found = columns(session, &config.keyspace, &table).await?;
        if found.is_empty() {
            return Err(wrong("does not exist: run `tidemark migrate`".into()));
        }
        if !same(&expected, &found) {
            return Err(wrong(format!("has the columns {found:?}, not {expected:?}")));
        }
        if dropped_columns(session, &config.keyspace, &table).await? {
            return Err(wrong(
                "a column was dropped, which hides stamped writes: run `tidemark migrate` with another store.keyspace, which is filled \
                 from the chain"
                    .into(),
            ));
        }
        if let Some(what) = bad_option(session, &config.keyspace, &table).await? {
            return Err(wrong(what));
        }
    }
    Ok(())
}

type Definition = (String, String, String);

fn same(expected: &[Definition], found: &[Definition]) -> bool {
    let sorted = |definitions: &[Definition]| {
        let mut sorted = definitions.to_vec();
        sorted.sort();
        sorted
    };
    // The primary key in its order, and the rest in any.
    let key = |definitions: &[Definition], kind: &str| -> Vec<String> {
        let of_kind = definitions.iter().filter(|definition| definition.2 == kind);
        of_kind.map(|definition| definition.0.clone()).collect()
    };
    let ordered = ["partition_key", "clustering"].map(|kind| key(expected, kind) == key(found, kind));
    sorted(expected) == sorted(found) && ordered == [true; 2]
}

/// The columns of a table, the primary key's in their order.
async fn columns(session: &Session, keyspace: &str, table: &str) -> Result<Vec<Definition>, Error> {
    let text = "SELECT column_name, type, kind, position FROM system_schema.columns WHERE keyspace_name = ? AND table_name = ?";
    let rows = ask(session, text, (keyspace, table)).await?;
    let rows = rows.rows::<(String, String, String, i32)>().map_err(unexpected)?;
    let mut rows: Vec<_> = rows.collect::<Result<_, _>>().map_err(unexpected)?;
    rows.sort_by_key(|(_, _, _, position)| *position);
    Ok(rows
        .into_iter()
        .map(|(name, cql_type, kind, _)| (name, cql_type, kind))
        .collect())
}

async fn dropped_columns(session: &Session, keyspace: &str, table: &str) -> Result<bool, Error> {
    let text =
        "SELECT column_name FROM system_schema.dropped_columns WHERE keyspace_name = ? AND table_name = ?";
    Ok(ask(session, text, (keyspace, table)).await?.rows_num() > 0)
}

/// A default lifetime or change data capture. Cassandra shows the latter as the column `cdc`, ScyllaDB as an extension.
async fn bad_option(session: &Session, keyspace: &str, table: &str) -> Result<Option<String>, Error> {
    let text = "SELECT * FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
    let answer = ask(session, text, (keyspace, table)).await?;
    let names: Vec<String> = answer
        .column_specs()
        .iter()
        .map(|column| column.name().to_owned())
        .collect();
    let row: Row = answer.first_row().map_err(unexpected)?;
    for (name, value) in names.iter().zip(row.columns) {
        match (name.as_str(), value) {
            ("default_time_to_live", Some(CqlValue::Int(seconds))) if seconds != 0 => {
                return Ok(Some(format!(
                    "rows would vanish after {seconds} s: set default_time_to_live = 0"
                )));
            }
            ("cdc", Some(CqlValue::Boolean(true))) => {
                return Ok(Some("change data capture is on: set cdc = false".into()));
            }
            ("extensions", Some(CqlValue::Map(extensions))) => {
                let is_cdc = |name: &CqlValue| matches!(name, CqlValue::Text(name) | CqlValue::Ascii(name) if name == "cdc");
                // A serialized map of options, of which only `enabled` has the word `true`.
                let is_on = |value: &CqlValue| matches!(value, CqlValue::Blob(bytes) if bytes.windows(4).any(|word| word == b"true"));
                if extensions
                    .iter()
                    .any(|(name, value)| is_cdc(name) && is_on(value))
                {
                    return Ok(Some(
                        "change data capture is on: set cdc = {'enabled': false}".into(),
                    ));
                }
            }
            _ => {}
        }
    }
    Ok(None)
}

/// Asks a table of the node that answers, which has one copy.
pub(super) async fn ask(
    session: &Session,
    text: &str,
    values: impl scylla::serialize::row::SerializeRow,
) -> Result<scylla::response::query_result::QueryRowsResult, Error> {
    let mut statement = Statement::new(text);
    statement.set_consistency(Consistency::One);
    statement.set_is_idempotent(true);
    let answer = session.query_unpaged(statement, values).await.map_err(fate)?;
    answer.into_rows_result().map_err(unexpected)
}
