//! The tables of the view store in CQL: one table per view and generation, each with one blob cell per row, so that a row
//! changes as a whole or not at all.
//!
//! A table's progress lies in that table, under partition keys that no real row can have: days before 1970 and buckets below
//! zero. So a table that was truncated has lost its progress too, and nobody takes it for one that holds zeros.
//!
//! A contract: a table of an existing generation never changes. Another shape needs another generation.

use crate::row::View;

/// A column of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its CQL type, as `system_schema.columns` has it.
    pub cql_type: &'static str,
    /// Its part in the primary key.
    pub kind: Kind,
    /// The literal under which progress rows lie; `?` for a column that is bound.
    pub progress: &'static str,
    /// The literal under which the start-up probe writes.
    pub probe: &'static str,
}

/// A column's part in the primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Of the partition key.
    Partition,
    /// Of the clustering key, ascending.
    Clustering,
    /// The cell.
    Regular,
}

impl Kind {
    /// The word of `system_schema.columns`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Partition => "partition_key",
            Self::Clustering => "clustering",
            Self::Regular => "regular",
        }
    }
}

const fn column(
    name: &'static str,
    cql_type: &'static str,
    kind: Kind,
    reserved: [&'static str; 2],
) -> Column {
    let [progress, probe] = reserved;
    Column {
        name,
        cql_type,
        kind,
        progress,
        probe,
    }
}

const P: Column = column("p", "int", Kind::Clustering, ["?", "0"]);
const VALUE: Column = column("value", "blob", Kind::Regular, ["?", "?"]);

const DAYS: &[Column] = &[
    column("tenant", "text", Kind::Partition, ["''", "''"]),
    column("day", "int", Kind::Partition, ["-1", "-2"]),
    column("event_type", "text", Kind::Clustering, ["''", "''"]),
    P,
    VALUE,
];

const USERS: &[Column] = &[
    column("bucket", "int", Kind::Partition, ["-1", "-2"]),
    column("year", "int", Kind::Partition, ["0", "0"]),
    column("tenant", "text", Kind::Clustering, ["''", "''"]),
    column("user_id", "text", Kind::Clustering, ["''", "''"]),
    column("day", "int", Kind::Clustering, ["0", "0"]),
    P,
    VALUE,
];

const DEAD_LETTERS: &[Column] = &[
    column("tenant", "text", Kind::Partition, ["''", "''"]),
    column("day", "int", Kind::Partition, ["-1", "-2"]),
    column("accepted_ms", "bigint", Kind::Clustering, ["0", "0"]),
    P,
    column("log_offset", "bigint", Kind::Clustering, ["0", "0"]),
    // Where a redriven copy lies; -1 in both for the dead letter itself.
    column("q", "int", Kind::Clustering, ["0", "0"]),
    column("copy_offset", "bigint", Kind::Clustering, ["0", "0"]),
    VALUE,
];

// Ids as blobs, whose order is that of their bytes: stores disagree on the order of other types of id.
const UPLOADS: &[Column] = &[
    column("tenant", "text", Kind::Partition, ["''", "''"]),
    column("day", "int", Kind::Partition, ["-1", "-2"]),
    column("upload", "blob", Kind::Clustering, ["0x", "0x"]),
    P,
    // -1 for the ledger.
    column("log_offset", "bigint", Kind::Clustering, ["0", "0"]),
    VALUE,
];

// `view` alone is a reserved word of CQL.
const PROGRESS: &[Column] = &[
    column("view_name", "text", Kind::Partition, ["'progress'", "'probe'"]),
    P,
    VALUE,
];

/// The columns of a view's table, the primary key first and in its order.
pub fn columns(view: View) -> &'static [Column] {
    match view {
        View::Days | View::Distinct => DAYS,
        View::Users => USERS,
        View::DeadLetters => DEAD_LETTERS,
        View::Uploads => UPLOADS,
        View::Progress => PROGRESS,
    }
}

/// The name of a view's table, without its keyspace.
pub fn table(view: View, generation: u32) -> String {
    format!("{}_g{generation}", view.name())
}

/// Whether `name` may be a keyspace of ours: a lower-case letter, then at most 46 of lower-case letters, digits and `_`
/// (48 characters is the store's own limit), so that it needs no quotes anywhere.
pub fn is_keyspace(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= 47
        && bytes.next().is_some_and(|first| first.is_ascii_lowercase())
        && bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// The statement that makes the keyspace with `replicas` copies in `datacenter`, or anywhere where none is known.
pub fn create_keyspace(keyspace: &str, datacenter: Option<&str>, replicas: u32) -> String {
    let replication = match datacenter {
        Some(name) => format!(
            "{{'class': 'NetworkTopologyStrategy', '{}': {replicas}}}",
            name.replace('\'', "''")
        ),
        None => format!("{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}"),
    };
    format!(
        "CREATE KEYSPACE IF NOT EXISTS {keyspace} WITH replication = {replication} AND durable_writes = true"
    )
}

/// The statement that makes a view's table. Size-tiered compaction, since rows are overwritten often and read by partition;
/// nothing is ever deleted, so no grace period or lifetime matters. Compression is left to the store, whose default is LZ4:
/// Cassandra 5 and ScyllaDB do not know the same word for it.
pub fn create_table(keyspace: &str, view: View, generation: u32) -> String {
    let columns = columns(view);
    let of_kind = |kind| {
        let names: Vec<&str> = columns
            .iter()
            .filter(|column| column.kind == kind)
            .map(|column| column.name)
            .collect();
        names.join(", ")
    };
    let definitions: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.cql_type))
        .collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.{} ({}, PRIMARY KEY (({}), {})) \
         WITH compaction = {{'class': 'SizeTieredCompactionStrategy'}} AND default_time_to_live = 0",
        table(view, generation),
        definitions.join(", "),
        of_kind(Kind::Partition),
        of_kind(Kind::Clustering),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_are_those_of_the_first_release() {
        assert_eq!(
            create_table("tidemark", View::Users, 1),
            "CREATE TABLE IF NOT EXISTS tidemark.users_g1 (bucket int, year int, tenant text, user_id text, day int, p int, \
             value blob, PRIMARY KEY ((bucket, year), tenant, user_id, day, p)) \
             WITH compaction = {'class': 'SizeTieredCompactionStrategy'} AND default_time_to_live = 0"
        );
        for (view, key) in [
            (View::Days, "PRIMARY KEY ((tenant, day), event_type, p)"),
            (View::Distinct, "PRIMARY KEY ((tenant, day), event_type, p)"),
            (
                View::DeadLetters,
                "PRIMARY KEY ((tenant, day), accepted_ms, p, log_offset, q, copy_offset)",
            ),
            (
                View::Uploads,
                "PRIMARY KEY ((tenant, day), upload, p, log_offset)",
            ),
            (View::Progress, "PRIMARY KEY ((view_name), p)"),
        ] {
            let text = create_table("k", view, 7);
            assert!(text.contains(key) && text.contains("_g7 ("), "{text}");
        }
    }

    #[test]
    fn a_keyspace_needs_no_quotes() {
        for good in ["tidemark", "t2_x"] {
            assert!(is_keyspace(good), "{good}");
        }
        for bad in ["", "2t", "_t", "Tide", "t-m", "t;", &"t".repeat(48)] {
            assert!(!is_keyspace(bad), "{bad}");
        }
        assert!(create_keyspace("t", Some("o'dc"), 3).contains("'o''dc': 3"));
        assert!(create_keyspace("t", None, 1).contains("'SimpleStrategy', 'replication_factor': 1"));
    }
}
