//! What people send: times as chrono reads them, and one event however it is written down.

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use proptest::prelude::*;
use schemas::input::{Columns, KeyContext, Raw, parse_timestamp};
use schemas::{Amount, Event, Timestamp, json};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_time_is_what_chrono_says(seconds in -62_167_219_200_i64..253_402_300_800, micros in 0_u32..1_000_000, minutes in -1439_i32..1440) {
        let zone = chrono::FixedOffset::east_opt(minutes * 60).unwrap();
        let time = DateTime::from_timestamp(seconds, micros * 1000).unwrap().with_timezone(&zone);
        // Four digits of a year are all that RFC 3339 has.
        prop_assume!((0..=9999).contains(&chrono::Datelike::year(&time)));
        for form in ["%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%d %H:%M:%S%.6f%:z", "%Y-%m-%dt%H:%M:%S%.9f%:z"] {
            let text = time.format(form).to_string();
            prop_assert_eq!(parse_timestamp(&text), Ok(Timestamp(time.timestamp_micros())), "{}", text);
        }
    }

    #[test]
    fn a_date_that_chrono_refuses_is_refused(year in 0..10_000, month in 0_u32..14, day in 0_u32..33) {
        let text = format!("{year:04}-{month:02}-{day:02}");
        let expected = NaiveDate::from_ymd_opt(year, month, day)
            .map(|date| Timestamp(date.and_hms_opt(0, 0, 0).unwrap().and_utc().timestamp_micros()));
        prop_assert_eq!(parse_timestamp(&text).ok(), expected);
    }

    #[test]
    fn no_text_makes_the_parsers_panic(text in ".{0,60}", digits in "[-0-9:.TZ+]{0,40}", bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let _ = parse_timestamp(&text);
        let _ = parse_timestamp(&digits);
        let _ = text.parse::<Amount>();
        let _ = digits.parse::<Amount>();
        let _ = Raw::from_json(&bytes);
        let _ = Raw::from_json(format!("{{{text}}}").as_bytes());
        let _ = Columns::parse(bytes.split(|byte| *byte == b','));
    }

    #[test]
    fn an_amount_reads_as_it_prints(amount in crate::given::any_amount()) {
        prop_assert_eq!(amount.to_string().parse::<Amount>(), Ok(amount));
    }

    #[test]
    fn one_event_is_the_same_from_json_csv_and_the_topic(
        user in "[a-zäöü\"\\\\]{1,20}", seconds in 0_i64..1_700_000_000, amount in crate::given::any_amount(), page in "[^\\p{C}]{1,20}",
    ) {
        let time = DateTime::from_timestamp(seconds, 0).unwrap().to_rfc3339();
        let object = serde_json::json!({
            "page": page, "userId": user, "timestamp": time, "type": "click", "amount": amount.to_string(), "idempotency_key": "k",
        }).to_string();
        let from_json = finish(Raw::from_json(object.as_bytes()).unwrap()).unwrap();
        let columns = Columns::parse(["page", "amount", "USER_ID", "eventType", "time", "idempotencyKey"].iter().map(|name| name.as_bytes())).unwrap();
        let cells = [page.as_str(), &amount.to_string(), &user, "click", &seconds.to_string(), "k"].map(String::from);
        let from_csv = finish(columns.raw(cells.iter().map(|cell| cell.as_bytes())).unwrap()).unwrap();
        prop_assert_eq!(&from_json, &from_csv);
        let from_topic = json::decode(object.as_bytes(), "other", NOW).unwrap();
        prop_assert_eq!(&from_json, &from_topic);
    }
}

const NOW: Timestamp = Timestamp(1_800_000_000_000_000);

fn finish(raw: Raw<'_>) -> Result<Event<'static>, schemas::Invalid> {
    let mut fresh_key = || String::from("fresh");
    let mut context = KeyContext {
        tenant: "default",
        accepted_at: NOW,
        batch_key: None,
        single: false,
        row: 1,
        fresh_key: &mut fresh_key,
        upload_id: None,
    };
    raw.into_event(&mut context).map(Event::into_owned)
}

#[test]
fn a_row_borrows_from_its_cells_and_outlives_the_context() {
    let mut made = 0;
    let mut fresh_key = || {
        made += 1;
        made.to_string()
    };
    let mut context = KeyContext {
        tenant: "default",
        accepted_at: NOW,
        batch_key: None,
        single: false,
        row: 0,
        fresh_key: &mut fresh_key,
        upload_id: Some(uuid::Uuid::from_u128(1)),
    };
    let columns = Columns::parse(["userId", "type"].iter().map(|name| name.as_bytes())).unwrap();
    let mut keys = vec![];
    for row in 1..=2 {
        context.row = row;
        let cells = [format!("u{row}"), "t".into()];
        let event = columns
            .raw(cells.iter().map(|cell| cell.as_bytes()))
            .unwrap()
            .into_event(&mut context)
            .unwrap();
        assert_eq!(event.row, Some(row as i64));
        keys.push(event.idempotency_key.into_owned());
    }
    assert_eq!(keys, ["1", "2"]);
}

#[test]
fn plain_times_are_utc() {
    let plain = NaiveDateTime::parse_from_str("2024-01-15 10:00:00", "%Y-%m-%d %H:%M:%S").unwrap();
    assert_eq!(
        parse_timestamp("2024-01-15T10:00:00"),
        Ok(Timestamp(plain.and_utc().timestamp_micros()))
    );
}
