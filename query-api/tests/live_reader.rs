//! A reader of live totals, as a browser is one.

use crate::fixture::{Fixture, day, row};
use axum::body::Body;
use http_body_util::BodyExt;
use schemas::Day;
use schemas::amount::Sum;
use schemas::partial::{Cell, DayPartial};
use schemas::row::RowKey;
use serde_json::Value;
use std::time::Duration;

/// Longest that a test waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// An event of the stream.
pub struct Event {
    pub name: String,
    pub id: Option<String>,
    pub data: Value,
}

/// A reader: what it did not understand yet, and whether there may be more.
pub struct Reader {
    pub body: Body,
    pub text: String,
}

impl Reader {
    pub async fn connect(fixture: &Fixture, path: &str, headers: &[(&str, &str)]) -> Self {
        let response = fixture.ask(path, headers).await;
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        assert_eq!(response.headers()["cache-control"], "no-store");
        Self {
            body: response.into_body(),
            text: String::new(),
        }
    }

    /// The next block of lines; none at the end.
    pub async fn block(&mut self) -> Option<String> {
        loop {
            if let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                return Some(block);
            }
            let frame = tokio::time::timeout(PATIENCE, self.body.frame())
                .await
                .expect("something comes");
            let frame = frame?.unwrap();
            self.text += std::str::from_utf8(frame.data_ref().unwrap()).unwrap();
        }
    }

    /// The next event, past comments.
    pub async fn event(&mut self) -> Option<Event> {
        loop {
            let block = self.block().await?;
            let field = |name: &str| {
                block
                    .lines()
                    .find_map(|line| line.strip_prefix(name))
                    .map(str::to_owned)
            };
            if let Some(name) = field("event: ") {
                let data = serde_json::from_str(&field("data: ").unwrap()).unwrap();
                return Some(Event {
                    name,
                    id: field("id: "),
                    data,
                });
            }
        }
    }

    /// All totals up to the next `as_of`, and that one.
    pub async fn totals(&mut self) -> (Vec<Value>, Event) {
        let mut totals = Vec::new();
        loop {
            let event = self.event().await.unwrap();
            match event.name.as_str() {
                "total" => totals.push(event.data),
                "as_of" => return (totals, event),
                "range" => {}
                other => panic!("{other}"),
            }
        }
    }

    /// The next totals that there are, past `as_of` of other things.
    pub async fn changes(&mut self) -> (Vec<Value>, Event) {
        let changes = async {
            loop {
                let (totals, as_of) = self.totals().await;
                if !totals.is_empty() {
                    return (totals, as_of);
                }
            }
        };
        tokio::time::timeout(PATIENCE, changes)
            .await
            .expect("a total changes")
    }
}

impl Fixture {
    /// Writes a partial anew: so many events in a quarter-hour.
    pub async fn write(&self, partition: u32, version: u64, event_type: &str, day: Day, cells: &[(u8, u64)]) {
        let mut partial = DayPartial::default();
        for (of_day, count) in cells {
            partial.add_cell(Cell {
                of_day: *of_day,
                count: *count,
                sum: Sum(i128::from(*count) * 500_000),
            });
        }
        let key = RowKey::Day {
            tenant: "default".into(),
            day,
            event_type: event_type.into(),
        };
        self.store
            .upsert(vec![row(key, partition, version, partial.encode())])
            .await
            .unwrap();
    }

    pub fn days() -> Option<(Day, Day)> {
        Some((day("2025-10-01"), day("2025-11-05")))
    }
}
