//! The columns of a CSV file: its header is read once, and each row then becomes [`Raw`] without a copy.

use super::Raw;
use super::names::{Known, known};
use crate::{Field, Invalid};
use std::borrow::Cow;

/// Most columns of a file. Empty cells are absent, so a file may have more than an event has metadata.
const COLUMNS: usize = 1024;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// What each column of a file is.
#[derive(Clone, Debug)]
pub struct Columns {
    roles: Vec<Role>,
    /// How many columns are metadata, at most as many as are worth room in each row.
    metadata: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Role {
    Key,
    User,
    Type,
    Time,
    Amount,
    Reverse,
    /// Metadata under this name.
    Metadata(String),
}

/// Columns without which no event is complete.
const REQUIRED: [(Field, Role, &str); 2] = [
    (Field::UserId, Role::User, "userId"),
    (Field::EventType, Role::Type, "eventType"),
];
/// Those that the older service needs.
const REQUIRED_OLDER: [(Field, Role, &str); 3] = [
    (Field::UserId, Role::User, "userId"),
    (Field::EventType, Role::Type, "eventType"),
    (Field::Timestamp, Role::Time, "timestamp"),
];

impl Columns {
    /// Reads a header: names in camelCase or snake_case and any case, trimmed, behind a byte-order mark or not. Columns
    /// that are no field of an event are metadata under their own names.
    ///
    /// Errors, all of them at once: `missing` for the user and the event type, `twice`, `not_utf8`, `columns`
    /// (a column without a name, or more than 1,024).
    pub fn parse<'a>(header: impl Iterator<Item = &'a [u8]>) -> Result<Self, Vec<Invalid>> {
        Self::parse_by(header, known, &REQUIRED)
    }

    /// Reads the header of a file that was made for an older service: `userId`, `eventType` and `timestamp` in any case, all of which
    /// must be there; any other column is metadata, whatever its name.
    ///
    /// Errors: those of [`Columns::parse`].
    pub fn parse_older<'a>(header: impl Iterator<Item = &'a [u8]>) -> Result<Self, Vec<Invalid>> {
        let known = |name: &str| match () {
            () if name.eq_ignore_ascii_case("userId") => Some(Known::User),
            () if name.eq_ignore_ascii_case("eventType") => Some(Known::Type),
            () if name.eq_ignore_ascii_case("timestamp") => Some(Known::Time),
            () => None,
        };
        Self::parse_by(header, known, &REQUIRED_OLDER)
    }

    fn parse_by<'a>(
        header: impl Iterator<Item = &'a [u8]>,
        known: impl Fn(&str) -> Option<Known>,
        required: &[(Field, Role, &str)],
    ) -> Result<Self, Vec<Invalid>> {
        let mut roles = vec![];
        let mut invalid = vec![];
        for (place, name) in header.enumerate() {
            if place == COLUMNS {
                let message = format!("more than {COLUMNS} columns");
                return Err(vec![Invalid::new(Field::Whole, "columns", message)]);
            }
            let name = match place {
                0 => name.strip_prefix(BOM).unwrap_or(name),
                _ => name,
            };
            match column_name(name, place) {
                Ok(name) => roles.push((known(name), name)),
                Err(error) => invalid.push(error),
            }
        }
        let has = |field| roles.iter().any(|(known, _)| *known == Some(field));
        let (has_type, has_time) = (has(Known::Type), has(Known::Time));
        let roles: Vec<Role> = roles
            .iter()
            .map(|(known, name)| match known {
                Some(Known::Key) => Role::Key,
                Some(Known::User) => Role::User,
                Some(Known::Type) => Role::Type,
                Some(Known::LooseType) if !has_type => Role::Type,
                Some(Known::Time) => Role::Time,
                Some(Known::LooseTime) if !has_time => Role::Time,
                Some(Known::Amount) => Role::Amount,
                Some(Known::Reverse) => Role::Reverse,
                _ => Role::Metadata((*name).to_owned()),
            })
            .collect();
        check(&roles, required, &mut invalid);
        if !invalid.is_empty() {
            return Err(invalid);
        }
        let metadata = roles
            .iter()
            .filter(|role| matches!(role, Role::Metadata(_)))
            .count();
        Ok(Self {
            roles,
            metadata: metadata.min(crate::limits::METADATA_ENTRIES),
        })
    }

    /// A row. Empty cells are absent; names and cells are borrowed.
    ///
    /// Errors: `columns` where there are more or fewer cells than columns, `not_utf8`.
    pub fn raw<'a>(&'a self, fields: impl Iterator<Item = &'a [u8]>) -> Result<Raw<'a>, Invalid> {
        let mut raw = Raw {
            metadata: Vec::with_capacity(self.metadata),
            ..Raw::default()
        };
        let mut roles = self.roles.iter();
        for cell in fields {
            let role = roles.next().ok_or_else(|| self.other_width())?;
            if cell.is_empty() {
                continue;
            }
            let text = std::str::from_utf8(cell)
                .map_err(|_| Invalid::new(role.field(), "not_utf8", "is not valid UTF-8"))?;
            let text = Cow::Borrowed(text);
            match role {
                Role::Key => raw.idempotency_key = Some(text),
                Role::User => raw.user_id = Some(text),
                Role::Type => raw.event_type = Some(text),
                Role::Time => raw.timestamp = Some(text),
                Role::Amount => raw.amount = Some(text),
                Role::Reverse => raw.reverse = Some(text),
                Role::Metadata(name) => raw.metadata.push((Cow::Borrowed(name), text)),
            }
        }
        match roles.next() {
            None => Ok(raw),
            Some(_) => Err(self.other_width()),
        }
    }

    /// How many columns there are.
    pub fn count(&self) -> usize {
        self.roles.len()
    }

    /// Whether the file has a column of keys.
    pub fn has_keys(&self) -> bool {
        self.roles.contains(&Role::Key)
    }

    fn other_width(&self) -> Invalid {
        let message = format!("must have {} columns as the header has", self.roles.len());
        Invalid::new(Field::Whole, "columns", message)
    }
}

impl Role {
    fn field(&self) -> Field {
        match self {
            Self::Key => Field::IdempotencyKey,
            Self::User => Field::UserId,
            Self::Type => Field::EventType,
            Self::Time => Field::Timestamp,
            Self::Amount => Field::Amount,
            Self::Reverse => Field::Reverse,
            Self::Metadata(_) => Field::Metadata,
        }
    }
}

fn column_name(name: &[u8], place: usize) -> Result<&str, Invalid> {
    let name = std::str::from_utf8(name)
        .map_err(|_| Invalid::new(Field::Whole, "not_utf8", "the header is not valid UTF-8"))?;
    match name.trim() {
        "" => {
            let message = format!("column {} has no name", place + 1);
            Err(Invalid::new(Field::Whole, "columns", message))
        }
        name => Ok(name),
    }
}

/// Each column once, and those without which no event is complete.
fn check(roles: &[Role], required: &[(Field, Role, &str)], invalid: &mut Vec<Invalid>) {
    for (field, role, name) in required {
        if !roles.contains(role) {
            let message = format!("the column {name} is missing");
            invalid.push(Invalid::new(*field, "missing", message));
        }
    }
    for (place, role) in roles.iter().enumerate() {
        if roles.iter().take(place).any(|before| before == role) {
            let message = format!("column {} stands twice", place + 1);
            invalid.push(Invalid::new(role.field(), "twice", message));
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]
mod tests {
    use super::*;

    fn columns(header: &str) -> Result<Columns, Vec<(Field, &'static str)>> {
        let parsed = Columns::parse(header.split(',').map(str::as_bytes));
        parsed.map_err(|all| {
            all.into_iter()
                .map(|invalid| (invalid.field, invalid.code))
                .collect()
        })
    }

    #[test]
    fn a_file_of_the_older_service_has_three_columns_of_its_own_and_metadata() {
        let parse = |header: &'static str| Columns::parse_older(header.split(',').map(str::as_bytes));
        let columns = parse("amount, TIMESTAMP ,eventtype,UserID,type,idempotency_key").unwrap();
        let cells = ["x", "2024-01-15", "click", "u", "y", "z"];
        let raw = columns.raw(cells.iter().map(|cell| cell.as_bytes())).unwrap();
        assert_eq!(
            (raw.user_id.as_deref(), raw.event_type.as_deref()),
            (Some("u"), Some("click"))
        );
        assert!(raw.amount.is_none() && raw.idempotency_key.is_none());
        assert_eq!(raw.metadata.len(), 3);
        let missing: Vec<Field> = parse("user_id,type,time")
            .unwrap_err()
            .iter()
            .map(|i| i.field)
            .collect();
        assert_eq!(missing, [Field::UserId, Field::EventType, Field::Timestamp]);
    }

    #[test]
    fn a_row_becomes_an_event_whatever_the_order_and_case_of_its_columns() {
        let columns =
            columns("\u{feff} page ,USERID,timestamp,Event_Type,amount,type,idempotency_key").unwrap();
        assert!(columns.has_keys());
        let cells: [&[u8]; 7] = [b"home", b"u1", b"2024-01-15", b"click", b"", b"x", b""];
        let raw = columns.raw(cells.into_iter()).unwrap();
        let expected = Raw {
            user_id: Some("u1".into()),
            event_type: Some("click".into()),
            timestamp: Some("2024-01-15".into()),
            metadata: vec![("page".into(), "home".into()), ("type".into(), "x".into())],
            ..Raw::default()
        };
        assert_eq!(raw, expected);
    }

    #[test]
    fn a_header_is_refused_with_all_its_faults() {
        assert_eq!(
            columns("page,page,,time").unwrap_err(),
            [
                (Field::Whole, "columns"),
                (Field::UserId, "missing"),
                (Field::EventType, "missing"),
                (Field::Metadata, "twice"),
            ]
        );
        assert_eq!(
            columns("userId,user_id,type").unwrap_err(),
            [(Field::UserId, "twice")]
        );
        assert_eq!(
            columns(&"a,".repeat(1025)).unwrap_err(),
            [(Field::Whole, "columns")]
        );
        assert!(columns("userId,type").is_ok());
    }

    #[test]
    fn a_row_of_another_width_or_encoding_is_refused() {
        let columns = columns("userId,type,a").unwrap();
        let code = |cells: &[&'static [u8]]| columns.raw(cells.iter().copied()).unwrap_err().code;
        assert_eq!(code(&[b"u", b"t"]), "columns");
        assert_eq!(code(&[b"u", b"t", b"", b""]), "columns");
        assert_eq!(code(&[b"u", b"t", b"\xff"]), "not_utf8");
    }
}
