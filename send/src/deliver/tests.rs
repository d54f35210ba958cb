//! Servers that answer in all ways: what is acknowledged is what a server that can be relied on has said, row by row.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use super::*;
use crate::args::Args;
use crate::slice::Place;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use clap::Parser;
use serde_json::{Value, json};
use service::shutdown::Shutdown;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// What a server does with the rows of a request, whether it is to check only, and the number of requests before.
type Answers = dyn Fn(&[String], bool, usize) -> Response + Send + Sync;

struct Server {
    answers: Box<Answers>,
    /// The rows of each request, and whether it was to check only.
    seen: Mutex<Vec<(usize, bool)>>,
}

async fn handle(State(server): State<Arc<Server>>, uri: Uri, headers: HeaderMap, body: String) -> Response {
    assert_eq!(headers["content-type"], "application/x-ndjson");
    let rows: Vec<String> = body.lines().skip(1).map(str::to_owned).collect();
    let validate = uri.query() == Some("validate=true");
    let before = {
        let mut seen = server.seen.lock().unwrap();
        seen.push((rows.len(), validate));
        seen.len() - 1
    };
    (server.answers)(&rows, validate, before)
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Delivers `rows` to a server with these answers; gives what came of it, and what the server saw.
async fn delivered(
    rows: &[&str],
    retry_for: u64,
    answers: impl Fn(&[String], bool, usize) -> Response + Send + Sync + 'static,
) -> (Result<Outcome, Failed>, Vec<(usize, bool)>) {
    let server = Arc::new(Server {
        answers: Box::new(answers),
        seen: Mutex::default(),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().fallback(handle).with_state(Arc::clone(&server));
    tokio::spawn(axum::serve(listener, router).into_future());
    let line = [
        "send",
        "x",
        "--server",
        &address.to_string(),
        "--retry-for",
        &retry_for.to_string(),
    ];
    let client = Client::new(&Line::parse_from(line).args, Shutdown::new()).unwrap();
    let mut slice = Slice::new(b"\n".to_vec(), Place::default());
    for (number, row) in (1..).zip(rows) {
        slice.add(
            number,
            row.as_bytes(),
            format!("{row}\n").as_bytes(),
            Place {
                bytes: 0,
                row: number,
            },
        );
    }
    let delivery = Delivery {
        client: &client,
        progress: Progress::new("x", None, Place::default(), true),
        media_type: "application/x-ndjson",
        dry_run: false,
    };
    let outcome = delivery.slice(&slice).await;
    let seen = server.seen.lock().unwrap().clone();
    (outcome, seen)
}

/// An answer that refuses the rows that begin with `x`, and lists at most `listed` of them.
fn answer(rows: &[String], listed: usize) -> Value {
    let bad: Vec<usize> = (0..rows.len()).filter(|at| rows[*at].starts_with('x')).collect();
    let results: Vec<Value> = bad
        .iter()
        .take(listed)
        .map(|at| json!({"row": at + 2, "outcome": "invalid", "code": "c", "field": "f", "message": rows[*at]}))
        .collect();
    json!({
        "accepted": rows.len() - bad.len(), "invalid": bad.len(), "results": results,
        "results_left_out": bad.len() - bad.len().min(listed),
    })
}

fn refused(outcome: &Outcome) -> Vec<(usize, &str)> {
    outcome
        .refused
        .iter()
        .map(|refusal| (refusal.at, refusal.reason.as_str()))
        .collect()
}

#[tokio::test]
async fn each_refused_row_is_named_though_an_answer_lists_but_a_few() {
    let rows = ["a", "x1", "x2", "b", "x3", "x4", "x5"];
    let (outcome, seen) = delivered(&rows, 9, |rows, _, _| Json(answer(rows, 2)).into_response()).await;
    let outcome = outcome.unwrap();
    assert_eq!(outcome.accepted, 2);
    assert_eq!(
        refused(&outcome),
        [(1, "x1"), (2, "x2"), (4, "x3"), (5, "x4"), (6, "x5")]
    );
    assert_eq!(seen, [(7, false), (2, true), (2, true), (2, true), (1, true)]);
}

#[tokio::test]
async fn rows_that_were_refused_and_would_be_valid_now_are_sent_again() {
    let rows = ["a", "x1", "x2", "x3"];
    let answers = |rows: &[String], validate: bool, _: usize| {
        // Time has passed: what lay too far ahead no longer does.
        let rows: Vec<String> = rows
            .iter()
            .map(|row| {
                if validate {
                    row.replace("x2", "b")
                } else {
                    row.clone()
                }
            })
            .collect();
        Json(answer(&rows, 1)).into_response()
    };
    let (outcome, seen) = delivered(&rows, 9, answers).await;
    let outcome = outcome.unwrap();
    assert_eq!((outcome.accepted, outcome.refused.len()), (1, 3));
    let really_sent: usize = seen
        .iter()
        .filter(|(_, validate)| !validate)
        .map(|(rows, _)| rows)
        .sum();
    assert_eq!(really_sent, 4 + 4);
}

#[tokio::test]
async fn an_answer_that_does_not_add_up_acknowledges_nothing() {
    for (name, value) in [
        ("accepted", json!(2)),
        ("accepted", json!(4)),
        ("results", json!([])),
        ("receipt", json!("x")),
    ] {
        let answers = move |rows: &[String], _: bool, _: usize| {
            let mut answer = answer(rows, 9);
            answer[name] = value.clone();
            Json(answer).into_response()
        };
        let (outcome, _) = delivered(&["a", "b", "x", "c"], 9, answers).await;
        assert!(matches!(outcome, Err(Failed::GaveUp(_))), "{name}: {outcome:?}");
    }
    let not_ours = |_: &[String], _: bool, _: usize| "hello".into_response();
    let (outcome, _) = delivered(&["a"], 9, not_ours).await;
    assert!(
        matches!(outcome, Err(Failed::Said { status: 200, .. })),
        "{outcome:?}"
    );
}

#[tokio::test]
async fn what_is_too_large_for_the_server_goes_in_smaller_parts_and_what_cannot_is_refused() {
    let answers =
        |rows: &[String], _: bool, _: usize| match rows.len() > 2 || rows.contains(&"huge".to_owned()) {
            true => (
                StatusCode::PAYLOAD_TOO_LARGE,
                Json(json!({"type": "/problems/body_too_large"})),
            )
                .into_response(),
            false => Json(answer(rows, 9)).into_response(),
        };
    let (outcome, _) = delivered(&["a", "b", "huge", "x", "c"], 9, answers).await;
    let outcome = outcome.unwrap();
    let codes: Vec<(usize, &str)> = outcome
        .refused
        .iter()
        .map(|refusal| (refusal.at, refusal.code.as_str()))
        .collect();
    assert_eq!(
        (outcome.accepted, codes),
        (3, vec![(2, "body_too_large"), (3, "c")])
    );
}

#[tokio::test]
async fn a_busy_server_is_tried_again_no_sooner_than_it_asks() {
    let begun = Instant::now();
    let answers = |rows: &[String], _: bool, before: usize| match before {
        0 => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "1")], "{}").into_response(),
        1 => (StatusCode::BAD_GATEWAY, "<html>").into_response(),
        2 => (
            StatusCode::BAD_REQUEST,
            Json(json!({"type": "/problems/body_incomplete"})),
        )
            .into_response(),
        _ => Json(answer(rows, 9)).into_response(),
    };
    let (outcome, seen) = delivered(&["a"], 60, answers).await;
    assert_eq!((outcome.unwrap().accepted, seen.len()), (1, 4));
    assert!(begun.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn a_server_that_stays_busy_is_given_up_and_one_that_says_no_is_not_asked_twice() {
    let busy = |_: &[String], _: bool, _: usize| StatusCode::SERVICE_UNAVAILABLE.into_response();
    let (outcome, seen) = delivered(&["a"], 1, busy).await;
    assert!(
        matches!(outcome, Err(Failed::GaveUp(_))) && seen.len() > 2,
        "{outcome:?} {seen:?}"
    );
    let no = |_: &[String], _: bool, _: usize| StatusCode::FORBIDDEN.into_response();
    let (outcome, seen) = delivered(&["a"], 9, no).await;
    assert!(matches!(outcome, Err(Failed::Said { status: 403, .. })) && seen.len() == 1);
}
