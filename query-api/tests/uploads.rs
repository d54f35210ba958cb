//! Uploads by the rows of their view: where each stands, and lists.

use crate::fixture::{AHEAD_MS, Fixture, NOW_MS, PARTITIONS, row};
use schemas::row::{RowKey, View, encode_upload_ledger};
use schemas::upload::{Begun, Fact, Totals, What, day, home};
use schemas::{Ledger, Offset};
use serde_json::{Value, json};
use std::time::{Duration, Instant};
use uuid::Uuid;

/// An id that was made at a millisecond.
pub fn id(ms: i64, number: u128) -> Uuid {
    Uuid::from_u128((ms as u128) << 80 | 7 << 76 | 2 << 62 | number)
}

/// An upload of a minute ago.
pub fn old() -> Uuid {
    id(NOW_MS - 60_000, 1)
}

pub fn begun() -> What {
    What::Begun(Begun {
        name: Some("a.csv".to_owned()),
        ..Begun::default()
    })
}

pub fn totals(accepted: u64, invalid: u64) -> Totals {
    Totals {
        accepted,
        invalid,
        ..Totals::default()
    }
}

pub fn held(accepted: u64) -> What {
    What::Held {
        totals: totals(accepted, 0),
        places: vec![],
        release: false,
    }
}

pub fn counted(counted: u64) -> Ledger {
    Ledger {
        records: counted,
        counted,
        ..Ledger::default()
    }
}

impl Fixture {
    /// Puts facts on the log and into the view.
    pub async fn facts(&self, tenant: &str, upload: Uuid, facts: &[What]) {
        let partition = home(upload, PARTITIONS).0;
        for what in facts {
            let fact = Fact::new(tenant, upload, NOW_MS, what.clone());
            let offset = self
                .log
                .append(partition, NOW_MS, Some(b"k"), Some(&fact.encode()));
            self.project(partition, offset, &fact).await;
        }
    }

    pub async fn project(&self, partition: u32, offset: u64, fact: &Fact) {
        let key = RowKey::Upload {
            tenant: fact.tenant.clone(),
            day: day(fact.upload),
            upload: fact.upload,
            fact: Some(Offset(offset)),
        };
        let value = if fact.is_kept() { fact.encode() } else { Vec::new() };
        self.store
            .upsert(vec![row(key, partition, offset + 1, value)])
            .await
            .unwrap();
    }

    pub async fn outcomes(&self, upload: Uuid, partition: u32, version: u64, ledger: Ledger) {
        let key = RowKey::Upload {
            tenant: "default".to_owned(),
            day: day(upload),
            upload,
            fact: None,
        };
        let row = row(key, partition, version, encode_upload_ledger(&ledger));
        self.store.upsert(vec![row]).await.unwrap();
    }

    /// All views are at the end of the log.
    pub async fn catch_up(&self) {
        for partition in 0..PARTITIONS {
            for view in View::ALL {
                self.reflect(view, partition, self.log.end(partition), None).await;
            }
        }
    }

    async fn status(&self, upload: Uuid) -> Value {
        self.ok(&format!("/v1/uploads/{upload}")).await
    }
}

#[tokio::test]
async fn where_an_upload_stands_follows_from_its_facts_and_its_outcomes() {
    let failed = What::Failed {
        totals: totals(3, 1),
        code: "body_incomplete".into(),
        detail: "d".into(),
    };
    for (facts, ledger, status, in_flight) in [
        (
            vec![begun(), What::Going { rows: 9 }],
            counted(3),
            "receiving",
            None,
        ),
        (
            vec![begun(), What::Sent(totals(5, 1))],
            counted(4),
            "processing",
            Some(1),
        ),
        (
            vec![begun(), What::Sent(totals(5, 1))],
            counted(5),
            "completed",
            Some(0),
        ),
        (
            vec![begun(), What::Sent(totals(0, 2))],
            counted(0),
            "completed",
            Some(0),
        ),
        (
            vec![begun(), held(5)],
            Ledger {
                records: 4,
                held: 4,
                ..Ledger::default()
            },
            "held",
            Some(1),
        ),
        (
            vec![begun(), held(5), What::Released],
            Ledger {
                held: 5,
                ..counted(2)
            },
            "processing",
            Some(3),
        ),
        (
            vec![begun(), held(5), What::Released, What::Discarded],
            Ledger {
                held: 5,
                ..counted(5)
            },
            "completed",
            Some(0),
        ),
        (
            vec![begun(), held(5), What::Discarded, What::Released],
            Ledger {
                held: 5,
                ..counted(0)
            },
            "discarded",
            Some(0),
        ),
        (vec![begun(), failed], counted(3), "failed", Some(0)),
        (vec![], counted(3), "receiving", None),
    ] {
        let fixture = Fixture::new().await;
        fixture.facts("default", old(), &facts).await;
        fixture.outcomes(old(), 0, 1, ledger).await;
        fixture.log.set_end(0, fixture.log.end(0).max(1));
        fixture.catch_up().await;
        let shown = fixture.status(old()).await;
        assert_eq!(
            (&shown["status"], &shown["ledger"]["in_flight"]),
            (&status.into(), &json!(in_flight)),
            "{facts:?}: {shown}"
        );
        assert_eq!(shown["ledger"]["counted"], ledger.counted);
        if !facts.is_empty() {
            assert_eq!(shown["name"], "a.csv");
        }
    }
}

#[tokio::test]
async fn an_upload_that_falls_silent_is_interrupted() {
    let fixture = Fixture::new().await;
    fixture
        .facts("default", old(), &[begun(), What::Going { rows: 70 }])
        .await;
    fixture.catch_up().await;
    assert_eq!(fixture.status(old()).await["status"], "receiving");
    AHEAD_MS.set(61_000);
    let shown = fixture.status(old()).await;
    assert_eq!(
        (&shown["status"], &shown["rows"]),
        (&"interrupted".into(), &70.into())
    );
    let answer = fixture
        .call("POST", &format!("/v1/uploads/{}/process", old()))
        .await;
    assert_eq!(answer.problem(), (409, "upload_not_held"));
}

#[tokio::test]
async fn an_upload_is_not_completed_before_every_view_shows_its_rows() {
    let fixture = Fixture::new().await;
    fixture
        .facts("default", old(), &[begun(), What::Sent(totals(2, 0))])
        .await;
    fixture.outcomes(old(), 0, 50, counted(2)).await;
    fixture.log.set_end(0, 50);
    fixture.catch_up().await;
    assert_eq!(fixture.status(old()).await["status"], "completed");
    let fixture = Fixture::new().await;
    fixture
        .facts("default", old(), &[begun(), What::Sent(totals(2, 0))])
        .await;
    fixture.outcomes(old(), 0, 50, counted(2)).await;
    fixture.log.set_end(0, 50);
    fixture.catch_up().await;
    fixture.outcomes(old(), 0, 51, counted(2)).await;
    assert_eq!(fixture.status(old()).await["status"], "processing");
}

#[tokio::test]
async fn an_upload_of_another_tenant_is_not_there() {
    let fixture = Fixture::new().await;
    fixture.facts("other", old(), &[begun(), held(1)]).await;
    fixture.catch_up().await;
    for (method, path) in [
        ("GET", ""),
        ("GET", "/errors"),
        ("POST", "/process"),
        ("DELETE", ""),
    ] {
        let answer = fixture
            .call(method, &format!("/v1/uploads/{}{path}", old()))
            .await;
        assert_eq!(answer.problem(), (404, "not_found"), "{method} {path}");
    }
    assert_eq!(fixture.ok("/v1/uploads").await["uploads"], json!([]));
    assert_eq!(
        fixture.log.end(home(old(), PARTITIONS).0),
        2,
        "nothing was appended"
    );
}

#[tokio::test]
async fn a_young_upload_is_waited_for_and_an_old_one_is_not() {
    let fixture = Fixture::new().await;
    let young = id(NOW_MS - 100, 1);
    fixture.log.set_end(home(young, PARTITIONS).0, 0);
    fixture.catch_up().await;
    let began = Instant::now();
    assert_eq!(
        fixture.get(&format!("/v1/uploads/{}", old())).await.problem(),
        (404, "not_found")
    );
    assert!(began.elapsed() < Duration::from_millis(700));
    assert_eq!(
        fixture
            .get(&format!("/v1/uploads/{young}?wait=50ms"))
            .await
            .problem(),
        (404, "not_found")
    );
    let asked = fixture.start(format!("/v1/uploads/{young}?wait=2s"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    fixture.facts("default", young, &[begun()]).await;
    fixture.catch_up().await;
    assert_eq!(asked.await.unwrap(), 200);
}

#[tokio::test]
async fn uploads_are_listed_newest_first_in_pages_over_hours_and_days() {
    let fixture = Fixture::new().await;
    let hour = 3_600_000;
    // Of an hour, of a day, and of the whole list the first and the last millisecond.
    let midnight = NOW_MS - 12 * hour;
    let made = [
        NOW_MS - 30 * 24 * hour,
        midnight - 1,
        midnight,
        NOW_MS - 1,
        NOW_MS,
    ];
    let mut ids = Vec::new();
    for ms in made {
        for number in 0..2 {
            ids.push(id(ms, number));
            fixture
                .facts("default", id(ms, number), &[begun(), What::Sent(totals(0, 0))])
                .await;
        }
    }
    let too_old = id(NOW_MS - 31 * 24 * hour, 0);
    fixture.facts("default", too_old, &[begun()]).await;
    fixture.catch_up().await;
    ids.reverse();
    let expected: Vec<String> = ids.iter().map(Uuid::to_string).collect();
    for limit in [1, 3, 10, 50] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = fixture.ok(&format!("/v1/uploads?limit={limit}{cursor}")).await;
            let uploads = page["uploads"].as_array().unwrap();
            assert!(uploads.len() <= limit);
            found.extend(
                uploads
                    .iter()
                    .map(|upload| upload["upload"].as_str().unwrap().to_owned()),
            );
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        assert_eq!(found, expected, "{limit}");
    }
    let all = pages(&fixture, "from=2025-09-01").await;
    assert_eq!((all.len(), all.last()), (11, Some(&too_old.to_string())));
    let page = fixture.ok("/v1/uploads?limit=1").await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let answer = fixture
        .get(&format!("/v1/uploads?from=2025-09-01&cursor={cursor}"))
        .await;
    assert_eq!(answer.problem(), (400, "cursor_of_another_query"));
}

#[tokio::test]
async fn uploads_of_other_doors_take_no_place_in_the_older_services_list() {
    let fixture = Fixture::new().await;
    let older = || {
        What::Begun(Begun {
            door: schemas::upload::OLDER_DOOR.to_owned(),
            ..Begun::default()
        })
    };
    let batch = id(NOW_MS - 60_000, 0);
    fixture.facts("default", batch, &[older(), held(7)]).await;
    // More than one page of newer ones: by another door, and refused at the older one.
    let failed = What::Failed {
        totals: totals(0, 1),
        code: "rows_invalid".to_owned(),
        detail: String::new(),
    };
    for number in 1..600 {
        let facts = match number % 2 {
            0 => [begun(), What::Sent(totals(0, 0))],
            _ => [older(), failed.clone()],
        };
        fixture
            .facts("default", id(NOW_MS - 50_000, number), &facts)
            .await;
    }
    fixture.catch_up().await;
    let list = fixture.ok("/api/batches").await;
    let batches = list["batches"].as_array().unwrap();
    assert_eq!(batches.len(), 1, "{list}");
    assert_eq!(
        (&batches[0]["batchId"], &batches[0]["totalEvents"]),
        (&json!(batch), &json!(7))
    );
}

async fn pages(fixture: &Fixture, query: &str) -> Vec<String> {
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = fixture.ok(&format!("/v1/uploads?{query}{cursor}")).await;
        let uploads = page["uploads"].as_array().unwrap();
        found.extend(
            uploads
                .iter()
                .map(|upload| upload["upload"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}
