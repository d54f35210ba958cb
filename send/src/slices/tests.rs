//! Whatever a file holds and wherever a run was stopped: what the server reads of the slices is what it would read of the
//! file, and each row has the same key each time.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::csv::{Csv, needs_key};
use crate::json::Json;
use proptest::prelude::*;
use schemas::input::{Columns, Raw};
use std::io::Cursor;

const IDENTITY: &str = "some digest";

/// A row as the server reads it: its number in the file, and what it says or why it is refused.
type Read = (u64, Result<String, String>);

fn said(raw: Result<Raw<'_>, schemas::Invalid>, number: u64) -> Result<String, String> {
    let mut raw = raw.map_err(|invalid| invalid.code.to_owned())?;
    // What an uninterrupted request with the digest as its `Idempotency-Key` would have.
    if needs_key(&raw) {
        raw.idempotency_key = Some(schemas::key::batch_key(IDENTITY, number).into());
    }
    Ok(format!("{raw:?}"))
}

/// What the server reads of a body, by its own code. `numbers` says the number of a row of the body in the file.
fn read(format: rows::Format, body: &[u8], row_bytes: usize, numbers: impl Fn(u64) -> u64) -> Vec<Read> {
    let mut rows = Rows::new(Some(format), row_bytes);
    let (mut columns, mut found, mut at) = (None, Vec::new(), 0);
    loop {
        match rows.next(&body[at..], true).unwrap() {
            Step::Row(cut) => {
                let text = &body[at..at + cut.consumed];
                at += cut.consumed;
                if format == rows::Format::Csv && columns.is_none() {
                    columns = Some(Columns::parse(rows.cells(text)).unwrap());
                    continue;
                }
                let number = numbers(cut.number);
                let said = match (&cut.content, &columns) {
                    (Content::TooLong, _) => Err("too_long".to_owned()),
                    (Content::Malformed(_), _) => Err("not_csv".to_owned()),
                    (Content::Text(range), _) => said(Raw::from_json(&text[range.clone()]), number),
                    (Content::Cells(_), Some(columns)) => {
                        said(Columns::raw(columns, rows.cells(text)), number)
                    }
                    (Content::Cells(_), None) => panic!("cells without a header"),
                };
                found.push((number, said));
            }
            Step::Skip { consumed } => at += consumed,
            Step::More { .. } => return found,
        }
    }
}

fn slices(format: rows::Format, shape: &Shape, file: &[u8], begin: Place, limits: Limits) -> Slices {
    let mut content = content::Content::stream(Cursor::new(file.to_vec())).unwrap();
    content.skip(begin.bytes).unwrap();
    Slices::new(
        content,
        format,
        shape.clone(),
        IDENTITY.to_owned(),
        begin,
        Some(file.len() as u64),
        limits,
    )
}

/// All that the server reads when each slice is sent, and the run is stopped behind those that `stops` says.
fn sent(
    format: rows::Format,
    file: &[u8],
    shape: &Shape,
    begin: Place,
    limits: Limits,
    stops: &[bool],
) -> Vec<Read> {
    let mut run = slices(format, shape, file, begin, limits);
    let (mut found, mut stops) = (Vec::new(), stops.iter().cycle());
    while let Some(slice) = run.next().unwrap() {
        let row = |at: usize| slice.row(at).unwrap().0;
        let body = slice.request(0..slice.to_send());
        let place = |number: u64| slice.row_sent_at(usize::try_from(number).unwrap() - 2).unwrap();
        let mut reads = read(format, &body, ROW_BYTES, |number| row(place(number)));
        reads.extend(
            slice
                .refused
                .iter()
                .map(|refusal| (row(refusal.at), Err(refusal.code.clone()))),
        );
        reads.sort_by_key(|(number, _)| *number);
        assert_eq!(reads.len(), slice.rows());
        found.extend(reads);
        // Half of the rows alone are the same rows.
        let half = slice.to_send() / 2;
        let parts = [0..half, half..slice.to_send()];
        let parts = parts.map(|range| read(format, &slice.request(range), ROW_BYTES, |number| number).len());
        assert_eq!(parts.iter().sum::<usize>(), slice.to_send());
        if *stops.next().unwrap_or(&false) {
            run = slices(format, shape, file, slice.end, limits);
        }
    }
    found
}

/// The shape of a CSV file, and the place behind its header.
fn csv(file: &[u8]) -> (Shape, Place) {
    let mut rows = Rows::new(Some(rows::Format::Csv), 1000);
    let mut at = 0;
    loop {
        match rows.next(&file[at..], true).unwrap() {
            Step::Row(cut) => {
                let text = &file[at..at + cut.consumed];
                let cells: Vec<&[u8]> = rows.cells(text).collect();
                let csv = Csv::new(&cells, text, &[]).unwrap();
                let bytes = (at + cut.consumed) as u64;
                return (Shape::Csv(Box::new(csv)), Place { bytes, row: 1 });
            }
            Step::Skip { consumed } => at += consumed,
            Step::More { .. } => panic!("no header"),
        }
    }
}

fn csv_file() -> impl Strategy<Value = String> {
    let header = prop_oneof![
        Just("userId,type\n"),
        Just("\u{feff}userId,type,time\r\n"),
        Just("\n\"userId\",type,idempotency_key,\"x\ny\"\n"),
        Just("type,time,user_id,idempotencyKey\n"),
    ];
    let tokens = prop_oneof![
        Just("u,t"),
        Just(","),
        Just(","),
        Just("\n"),
        Just("\n"),
        Just("\r\n"),
        Just("\""),
        Just("\"a\nb\""),
        Just("\"a\"\"b\""),
        Just("{\"a\":1,\"b\":[2]}"),
        Just("{"),
        Just("x"),
        Just("k1"),
        Just("5"),
        Just("\r"),
        Just(" "),
        Just("\u{feff}"),
        Just("u,t,\n"),
        Just("u,t,5\n"),
        Just("u,t,,\n"),
        Just("u,t,k,\n"),
        Just("t,,u,\n"),
        Just("some longer text"),
    ];
    (header, proptest::collection::vec(tokens, 0..60))
        .prop_map(|(header, tokens)| format!("{header}{}", tokens.concat()))
}

fn lines_file() -> impl Strategy<Value = String> {
    let tokens = prop_oneof![
        Just("{\"userId\":\"u\",\"type\":\"t\"}"),
        Just("{\"userId\":\"u\",\"type\":\"t\",\"time\":5} "),
        Just("{\"userId\":\"u\",\"idempotencyKey\":\"k\"}"),
        Just("\n"),
        Just("\n"),
        Just("\r\n"),
        Just(" "),
        Just("{"),
        Just("}"),
        Just("nope"),
        Just("\u{feff}"),
        Just("{}"),
        Just("\n\n"),
        Just("[1]"),
        Just("\"a"),
    ];
    proptest::collection::vec(tokens, 0..60).prop_map(|tokens| tokens.concat())
}

fn limits() -> impl Strategy<Value = Limits> {
    (
        1_usize..200,
        1_usize..20,
        prop_oneof![Just(60_usize), Just(ROW_BYTES)],
    )
        .prop_map(|(bytes, rows, row_bytes)| Limits {
            bytes,
            rows,
            row_bytes,
        })
}

proptest! {
    #[test]
    fn the_server_reads_of_the_slices_of_csv_what_it_would_read_of_the_file(
        file in csv_file(),
        limits in limits(),
        stops in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        let expected = read(rows::Format::Csv, file.as_bytes(), limits.row_bytes, |number| number);
        let (shape, begin) = csv(file.as_bytes());
        prop_assert_eq!(sent(rows::Format::Csv, file.as_bytes(), &shape, begin, limits, &stops), expected);
    }

    #[test]
    fn the_server_reads_of_the_slices_of_json_lines_what_it_would_read_of_the_file(
        file in lines_file(),
        limits in limits(),
        stops in proptest::collection::vec(any::<bool>(), 1..8),
    ) {
        let expected = read(rows::Format::Lines, file.as_bytes(), limits.row_bytes, |number| number);
        let shape = Shape::Json(Json::new(&[]));
        prop_assert_eq!(sent(rows::Format::Lines, file.as_bytes(), &shape, Place::default(), limits, &stops), expected);
    }
}

#[test]
fn slices_hold_what_they_may_and_end_behind_a_row() {
    let file = format!("userId,type\n{}", "u,t\n".repeat(10));
    let (shape, begin) = csv(file.as_bytes());
    let limits = Limits {
        bytes: 1_000_000,
        rows: 3,
        row_bytes: ROW_BYTES,
    };
    let mut run = slices(rows::Format::Csv, &shape, file.as_bytes(), begin, limits);
    let ends: Vec<(u64, u64)> = std::iter::from_fn(|| run.next().unwrap())
        .map(|slice| (slice.end.bytes, slice.end.row))
        .collect();
    assert_eq!(ends, [(24, 4), (36, 7), (48, 10), (52, 11)]);
}

#[test]
fn what_is_added_to_a_file_while_it_is_sent_is_left_for_the_next_time_and_a_cut_is_an_error() {
    let limits = Limits {
        bytes: 1_000_000,
        rows: 1000,
        row_bytes: ROW_BYTES,
    };
    let shape = Shape::Json(Json::new(&[]));
    let run = |file: &str, known: u64| {
        let content = content::Content::stream(Cursor::new(file.as_bytes().to_vec())).unwrap();
        Slices::new(
            content,
            rows::Format::Lines,
            shape.clone(),
            IDENTITY.to_owned(),
            Place::default(),
            Some(known),
            limits,
        )
    };
    let slice = run("{}\n{}\n{}\n", 6).next().unwrap().unwrap();
    assert_eq!((slice.rows(), slice.end.bytes), (2, 6));
    assert!(run("{}\n", 6).next().is_err());
}
