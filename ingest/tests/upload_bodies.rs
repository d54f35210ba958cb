//! Uploads as forms, and those that are refused before or after they began.

use crate::rig::{Answer, FakeLog, Mode, Server, eventually, http_chunk};
use crate::uploads::{CSV, csv, id};
use schemas::upload::What;
use std::sync::atomic::Ordering;
use tokio::io::AsyncWriteExt;

fn form(parts: &[(&str, &str)]) -> (String, String) {
    let mut body = String::new();
    for (head, content) in parts {
        body.push_str(&format!(
            "--b0\r\ncontent-disposition: form-data; {head}\r\n\r\n{content}\r\n"
        ));
    }
    (
        "content-type: multipart/form-data; boundary=b0\r\n".to_owned(),
        body + "--b0--\r\n",
    )
}

#[tokio::test]
async fn a_form_in_any_pieces_is_its_file() {
    let (head, body) = form(&[
        ("name=\"note\"", "from the shop"),
        ("name=\"file\"; filename=\"shop.csv\"", &csv(30, &[2])),
    ]);
    for piece in [1, 3, 1000] {
        let server = Server::start(FakeLog::new(Mode::Record)).await;
        let mut stream = server.begin_at("/v1/uploads", &head).await;
        for bytes in body.as_bytes().chunks(piece) {
            stream.write_all(&http_chunk(bytes)).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let answer = Answer::read(&mut stream).await;
        assert_eq!(
            (answer.status, &answer.body["accepted"], &answer.body["invalid"]),
            (201, &29.into(), &1.into())
        );
        let What::Begun(begun) = server.log.life().remove(0) else {
            panic!()
        };
        assert_eq!(begun.name.as_deref(), Some("shop.csv"));
    }
}

#[tokio::test]
async fn a_form_that_cannot_be_read_says_why_and_without_a_file_nothing_is_recorded() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for (parts, code) in [
        (vec![("name=\"other\"", "x")], "file_missing"),
        (vec![("name=\"data\"; filename=\"a.csv\"", "x")], "file_missing"),
        (vec![], "file_missing"),
    ] {
        let (head, body) = form(&parts);
        let answer = server.post_with("/v1/uploads", &head, body).await;
        assert_eq!((answer.status, answer.problem()), (400, code), "{parts:?}");
    }
    assert_eq!(server.log.len(), 0);
    let file = ("name=\"file\"", csv(3, &[]));
    let (head, body) = form(&[(file.0, &file.1), (file.0, &file.1)]);
    let answer = server.post_with("/v1/uploads", &head, &body).await;
    assert_eq!((answer.status, answer.problem()), (400, "too_many_files"));
    id(&answer);
    let answer = server
        .post_with("/v1/uploads", &head, &body.as_bytes()[..60])
        .await;
    assert_eq!((answer.status, answer.problem()), (400, "multipart_invalid"));
}

#[tokio::test]
async fn a_body_that_breaks_off_says_how_far_it_got_and_that_it_failed() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let mut stream = server.begin_at("/v1/uploads", CSV).await;
    stream
        .write_all(&http_chunk(csv(2_000, &[1]).as_bytes()))
        .await
        .unwrap();
    eventually("it began", || !server.log.life().is_empty()).await;
    drop(stream);
    eventually("it ended", || {
        matches!(server.log.life().last(), Some(What::Failed { .. }))
    })
    .await;
    let life = server.log.life();
    let [
        What::Begun(_),
        What::Errors { rows },
        What::Failed { totals, code, .. },
    ] = &life[..]
    else {
        panic!("{life:?}")
    };
    assert_eq!(
        (rows.len(), code.as_str(), totals.invalid),
        (1, "body_incomplete", 1)
    );
    assert_eq!(totals.accepted, server.log.records.lock().unwrap().len() as u64);
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let half = r#"[{"userId":"u","type":"t"},{"us"#;
    let answer = server
        .post_with(
            "/v1/uploads?hold=true",
            "content-type: application/json\r\n",
            half,
        )
        .await;
    assert_eq!(
        (answer.status, answer.problem()),
        (400, "json_invalid"),
        "{answer:?}"
    );
    assert_eq!(
        (&answer.body["rows"], &answer.body["accepted"]),
        (&1.into(), &0.into())
    );
    id(&answer);
}

#[tokio::test]
async fn what_is_wrong_with_an_upload_as_a_whole_is_told_before_anything_is_recorded() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    for (query, headers, expected) in [
        ("?hold=yes", CSV, (400, "query_invalid")),
        ("?unknown=1", CSV, (400, "query_invalid")),
        ("?map=a", CSV, (400, "query_invalid")),
        ("?key=row", CSV, (400, "query_invalid")),
        (
            "",
            "content-type: text/html\r\n",
            (415, "media_type_not_supported"),
        ),
        (
            "",
            "content-type: text/csv\r\ncontent-encoding: br\r\n",
            (415, "encoding_not_supported"),
        ),
        (
            "",
            "content-type: multipart/form-data\r\n",
            (400, "multipart_invalid"),
        ),
    ] {
        let answer = server
            .post_with(&format!("/v1/uploads{query}"), headers, csv(3, &[]))
            .await;
        assert_eq!((answer.status, answer.problem()), expected, "{query} {headers}");
        assert!(answer.head.contains("x-upload-id: "), "{answer:?}");
    }
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn an_empty_upload_fails_and_one_of_bad_rows_alone_does_not() {
    let server = Server::start(FakeLog::new(Mode::Record)).await;
    let answer = server.post_with("/v1/uploads", "", "").await;
    assert_eq!((answer.status, answer.problem()), (400, "body_empty"));
    let answer = server.post_with("/v1/uploads", CSV, csv(2, &[0, 1])).await;
    assert_eq!(
        (answer.status, &answer.body["accepted"], &answer.body["invalid"]),
        (201, &0.into(), &2.into())
    );
}

#[tokio::test]
async fn an_upload_that_the_log_does_not_take_is_a_503_and_says_which() {
    for good in [0, 1] {
        let server = Server::start(FakeLog::new(Mode::FailAfter(good))).await;
        let answer = server.post_with("/v1/uploads", CSV, csv(10, &[])).await;
        assert_eq!(
            (answer.status, answer.problem()),
            (503, "log_unavailable"),
            "{answer:?}"
        );
        id(&answer);
    }
    let server = Server::start(FakeLog::new(Mode::Refuse)).await;
    *server.log.mode.lock().unwrap() = Mode::Refuse;
    let answer = server.post_with("/v1/uploads", CSV, csv(10, &[])).await;
    assert_eq!(
        answer.status, 503,
        "a fact that is refused is as one that did not arrive"
    );
}

#[tokio::test]
async fn a_large_form_is_streamed_in_bounded_chunks() {
    let log = FakeLog::new(Mode::Count);
    let server = Server::start(log.clone()).await;
    let (head, _) = form(&[]);
    let mut stream = server.begin_at("/v1/uploads?hold=true", &head).await;
    let start = "--b0\r\ncontent-disposition: form-data; name=file; filename=a.ndjson\r\n\r\n";
    stream.write_all(&http_chunk(start.as_bytes())).await.unwrap();
    let lines: String = (0..1_000)
        .map(|n| {
            format!(
                "{{\"userId\":\"u{n}\",\"type\":\"t\",\"timestamp\":\"2026-11-20\",\"pad\":\"{}\"}}\n",
                "x".repeat(100)
            )
        })
        .collect();
    let mut most = 0.0_f64;
    for _ in 0..300 {
        stream.write_all(&http_chunk(lines.as_bytes())).await.unwrap();
        most = most.max(server.metric("tidemark_ingest_held_bytes"));
    }
    stream.write_all(&http_chunk(b"\r\n--b0--\r\n")).await.unwrap();
    stream.write_all(b"0\r\n\r\n").await.unwrap();
    let answer = Answer::read(&mut stream).await;
    assert_eq!((answer.status, &answer.body["accepted"]), (201, &300_000.into()));
    assert_eq!(log.held.load(Ordering::SeqCst), 300_000);
    assert!(log.largest_chunk.load(Ordering::SeqCst) < 3 * 1024 * 1024);
    assert!(most < 32.0 * 1024.0 * 1024.0, "{most}");
}
