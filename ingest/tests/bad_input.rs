//! Bad input at each door by which events come in: each is answered with what is wrong, and nothing of a request that is refused whole is
//! recorded. What is wrong with single rows is looked at in `formats` and `refusals`.

use crate::rig::{Answer, FakeLog, Mode, Server, http_chunk};
use service::config::Http;
use std::io::Write;
use tokio::io::AsyncWriteExt;

/// How a body is put into a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// As it is.
    Raw,
    /// As the file of a form.
    Form,
}

/// A way in.
#[derive(Clone, Copy, Debug)]
struct Door {
    path: &'static str,
    headers: &'static str,
    shape: Shape,
    /// A good body.
    good: &'static [u8],
    /// What makes a body large without adding a row.
    blank: u8,
}

const CSV: &[u8] = b"userId,eventType,timestamp\nu1,view,2024-01-15T10:00:00Z\n";
const JSON: &[u8] = br#"{"userId":"u1","eventType":"view"}"#;
const FORM: &str = "content-type: multipart/form-data; boundary=b0\r\n";

const DOORS: [Door; 8] = [
    door(
        "/v1/events",
        "content-type: application/json\r\n",
        Shape::Raw,
        JSON,
        b' ',
    ),
    door(
        "/v1/events",
        "content-type: application/x-ndjson\r\n",
        Shape::Raw,
        JSON,
        b'\n',
    ),
    door("/v1/events", "content-type: text/csv\r\n", Shape::Raw, CSV, b'\n'),
    door(
        "/v1/events",
        "content-type: application/cloudevents+json\r\n",
        Shape::Raw,
        br#"{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"u"}"#,
        b' ',
    ),
    door(
        "/v1/uploads",
        "content-type: text/csv\r\n",
        Shape::Raw,
        CSV,
        b'\n',
    ),
    door("/v1/uploads", FORM, Shape::Form, CSV, b'\n'),
    door("/api/uploads", FORM, Shape::Form, CSV, b'\n'),
    door(
        "/liveEvent",
        "authorization: secret\r\n",
        Shape::Raw,
        br#"{"userId":"u1","name":"add_revenue","value":1}"#,
        b' ',
    ),
];

const fn door(
    path: &'static str,
    headers: &'static str,
    shape: Shape,
    good: &'static [u8],
    blank: u8,
) -> Door {
    Door {
        path,
        headers,
        shape,
        good,
        blank,
    }
}

impl Door {
    /// Headers and body of a request with these bytes, compressed with gzip or said to be.
    fn packed(&self, bytes: &[u8]) -> (String, Vec<u8>) {
        match self.shape {
            Shape::Raw => (
                format!("{}content-encoding: gzip\r\n", self.headers),
                bytes.to_vec(),
            ),
            Shape::Form => (self.headers.to_owned(), form("a.csv.gz", bytes)),
        }
    }

    fn plain(&self, bytes: &[u8]) -> Vec<u8> {
        match self.shape {
            Shape::Raw => bytes.to_vec(),
            Shape::Form => form("a.csv", bytes),
        }
    }

    /// A body that holds nothing more than the good one, and is large.
    fn large(&self, bytes: usize) -> Vec<u8> {
        [self.good, &vec![self.blank; bytes]].concat()
    }
}

fn form(name: &str, content: &[u8]) -> Vec<u8> {
    let head = format!("--b0\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    [head.as_bytes(), content, b"\r\n--b0--\r\n"].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn start(change: impl FnOnce(&mut Http)) -> Server {
    let mut http = Http::default();
    change(&mut http);
    Server::with(FakeLog::new(Mode::Record), http, |limits| {
        limits.older_uploads = 10_000
    })
    .await
}

/// The answer is that problem, in the form of its door, and no event was recorded.
fn refused(server: &Server, door: &Door, answer: &Answer, expected: (u16, &str)) {
    assert_eq!(answer.status, expected.0, "{door:?} {answer:?}");
    match door.path.starts_with("/api/") {
        true => assert!(
            answer.body["error"].is_string() && answer.body["message"].is_string(),
            "{answer:?}"
        ),
        false => assert_eq!(answer.problem(), expected.1, "{door:?}"),
    }
    let records = server.log.records.lock().unwrap();
    assert!(records.is_empty(), "{door:?}: {} records", records.len());
}

#[tokio::test]
async fn each_door_takes_what_is_good() {
    for door in DOORS {
        let server = start(|_| {}).await;
        for (headers, body) in [
            (door.headers.to_owned(), door.plain(door.good)),
            door.packed(&gzip(door.good)),
        ] {
            let answer = server.post_with(door.path, &headers, body).await;
            assert!((200..300).contains(&answer.status), "{door:?} {answer:?}");
        }
        assert_eq!(server.log.records.lock().unwrap().len(), 2, "{door:?}");
    }
}

#[tokio::test]
async fn an_encoding_that_is_not_known_is_refused_before_the_body() {
    let server = start(|_| {}).await;
    for door in DOORS {
        for word in ["br", "gzip, gzip", "deflate", "*"] {
            let headers = format!("{}content-encoding: {word}\r\n", door.headers);
            let answer = server.post_with(door.path, &headers, door.plain(door.good)).await;
            refused(&server, &door, &answer, (415, "encoding_not_supported"));
        }
    }
    assert_eq!(server.log.len(), 0, "not even that an upload began");
}

#[tokio::test]
async fn what_is_not_compressed_as_it_says_is_refused() {
    let server = start(|_| {}).await;
    for door in DOORS {
        let whole = gzip(door.good);
        let mut flipped = whole.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        for bytes in [door.good, &whole[..whole.len() - 4], &flipped, b"\x1f\x8b\x08"] {
            let (headers, body) = door.packed(bytes);
            let answer = server.post_with(door.path, &headers, body).await;
            refused(&server, &door, &answer, (400, "encoding_invalid"));
        }
    }
}

#[tokio::test]
async fn a_bomb_is_refused_at_each_door() {
    let server = start(|_| {}).await;
    for door in DOORS {
        let (headers, body) = door.packed(&gzip(&door.large(64 * 1024 * 1024)));
        let answer = server.post_with(door.path, &headers, body).await;
        // The whole body of a live event is one row, so its size is over first.
        let expected = match door.path {
            "/liveEvent" => "body_too_large",
            _ => "body_too_compressed",
        };
        refused(&server, &door, &answer, (413, expected));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused_announced_or_not() {
    let server = start(|http| http.body_limit_bytes = 50_000).await;
    for door in DOORS {
        let body = door.plain(&door.large(60_000));
        let answer = server.post_with(door.path, door.headers, &body).await;
        refused(&server, &door, &answer, (413, "body_too_large"));
        let mut stream = server.begin_at(door.path, door.headers).await;
        stream.write_all(&http_chunk(&body)).await.unwrap();
        // It may have answered already.
        let _ = stream.write_all(b"0\r\n\r\n").await;
        let answer = Answer::read(&mut stream).await;
        refused(&server, &door, &answer, (413, "body_too_large"));
    }
}

#[tokio::test]
async fn half_a_body_and_one_that_stops_coming_are_refused() {
    let server = start(|http| http.body_idle_timeout_ms = 150).await;
    for door in DOORS {
        let body = door.plain(door.good);
        for cut in [0, 1, body.len() / 2, body.len() - 1] {
            let mut stream = server.begin_at(door.path, door.headers).await;
            if cut > 0 {
                stream.write_all(&http_chunk(&body[..cut])).await.unwrap();
            }
            stream.write_all(b"no chunk\r\n").await.unwrap();
            let answer = Answer::read(&mut stream).await;
            refused(&server, &door, &answer, (400, "body_incomplete"));
        }
        let mut stream = server.begin_at(door.path, door.headers).await;
        stream
            .write_all(&http_chunk(&body[..body.len() / 2]))
            .await
            .unwrap();
        let answer = Answer::read(&mut stream).await;
        refused(&server, &door, &answer, (408, "body_too_slow"));
    }
}

#[tokio::test]
async fn ten_thousand_headers_and_a_head_that_is_too_long_are_a_431() {
    let server = start(|_| {}).await;
    for door in DOORS {
        for more in [
            "a: b\r\n".repeat(10_000),
            "a: b\r\n".repeat(200),
            format!("a: {}\r\n", "b".repeat(200_000)),
        ] {
            let headers = format!("{}{more}", door.headers);
            let answer = server.post_with(door.path, &headers, door.plain(door.good)).await;
            assert_eq!(answer.status, 431, "{door:?}");
        }
    }
    assert_eq!(server.log.len(), 0);
    assert_eq!(
        server.post("application/json", JSON).await.status,
        202,
        "it goes on"
    );
}

#[tokio::test]
async fn a_type_that_is_not_known_or_stands_twice_is_refused() {
    let server = start(|_| {}).await;
    for door in DOORS.iter().filter(|door| door.path.starts_with("/v1/")) {
        for (headers, expected) in [
            (
                "content-type: application/xml\r\n",
                (415, "media_type_not_supported"),
            ),
            (
                "content-type: text/csv; charset=utf-16\r\n",
                (415, "charset_not_supported"),
            ),
            (
                "content-type: multipart/form-data\r\n",
                if door.path == "/v1/uploads" {
                    (400, "multipart_invalid")
                } else {
                    (415, "media_type_not_supported")
                },
            ),
            (
                "content-type: text/csv\r\ncontent-type: text/csv\r\n",
                (400, "header_invalid"),
            ),
            ("content-type: text/\u{e9}\r\n", (400, "header_invalid")),
            (
                "idempotency-key: a\r\nidempotency-key: b\r\n",
                (400, "header_invalid"),
            ),
            ("idempotency-key: \u{e9}\r\n", (400, "header_invalid")),
        ] {
            let answer = server.post_with(door.path, headers, CSV).await;
            refused(&server, door, &answer, expected);
        }
    }
    // Of the older doors one knows forms only, and one never looked at the type.
    let answer = server
        .post_with("/api/uploads", "content-type: text/csv\r\n", CSV)
        .await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (400, &"No File Uploaded".into())
    );
    assert_eq!(server.log.len(), 0);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_no_event_and_no_name() {
    let server = start(|_| {}).await;
    let json = b"{\"userId\":\"\xff\",\"eventType\":\"t\"}";
    let answer = server.post("application/json", json).await;
    assert_eq!(
        (answer.problem(), &answer.body["code"]),
        ("invalid_event", &"not_utf8".into())
    );
    for (kind, body) in [
        ("application/x-ndjson", [json.as_slice(), b"\n"].concat()),
        ("application/json", [b"[", json.as_slice(), b"]"].concat()),
        ("text/csv", b"userId,eventType\n\xff,t\n".to_vec()),
        (
            "application/cloudevents-batch+json",
            [b"[", json.as_slice(), b"]"].concat(),
        ),
    ] {
        let answer = server.post(kind, body).await;
        assert_eq!(
            (answer.status, &answer.body["results"][0]["code"]),
            (200, &"not_utf8".into()),
            "{kind}"
        );
    }
    // A name of a column that is no text makes the header one that cannot be used.
    let answer = server.post("text/csv", b"userId,eventType,\xff\nu,t,x\n").await;
    assert_eq!((answer.status, answer.problem()), (400, "csv_invalid"));
    let answer = server
        .post_with(
            "/api/uploads",
            FORM,
            form("a.csv", b"userId,eventType,timestamp\n\xff,t,2024-01-15\n"),
        )
        .await;
    assert_eq!(
        (answer.status, &answer.body["error"]),
        (400, &"CSV Validation Failed".into())
    );
    let secret = "authorization: secret\r\n";
    let answer = server
        .post_with(
            "/liveEvent",
            secret,
            b"{\"userId\":\"\xff\",\"name\":\"add_revenue\",\"value\":1}",
        )
        .await;
    assert_eq!((answer.status, answer.text.as_str()), (400, "Invalid event data"));
    let records = server.log.records.lock().unwrap();
    assert!(records.is_empty(), "{} records", records.len());
}

#[tokio::test]
async fn a_field_that_stands_twice_is_refused_and_one_that_nobody_knows_is_kept() {
    let server = start(|_| {}).await;
    for fields in [
        r#""userId":"u","userId":"v","type":"t""#,
        r#""userId":"u","user_id":"u","type":"t""#,
        r#""userId":"u","type":"t","a":1,"a":1"#,
        r#""userId":"u","type":"t","a":1,"metadata":{"a":2}"#,
        r#""userId":"u","type":"t","metadata":{"a":1,"a":2}"#,
        r#""userId":"u","type":"t","timestamp":1,"occurred_at":2"#,
        r#""userId":"u","type":"t","reverse":false,"reverse":true"#,
    ] {
        let answer = server.post("application/json", format!("{{{fields}}}")).await;
        assert_eq!(
            (answer.status, &answer.body["code"]),
            (400, &"twice".into()),
            "{fields}"
        );
    }
    let cloud = "content-type: application/cloudevents+json\r\n";
    for members in [
        r#""subject":"u","id":"2""#,
        r#""subject":"u","data":{"a":1},"a":"2""#,
        r#""subject":"u","data":{"a":1,"a":2}"#,
        r#""subject":"u","data":{},"data":{}"#,
        r#""subject":"u","data":null,"data_base64":"AAAA""#,
        r#""subject":"u","reverse":true,"data":{"reverse":true}"#,
        r#""data":{"userId":"u","user_id":"v"}"#,
    ] {
        let body = format!(r#"{{"specversion":"1.0","id":"1","source":"/s","type":"t",{members}}}"#);
        let answer = server.post_with("/v1/events", cloud, body).await;
        let is_twice = answer.status == 400 && answer.body["code"] == "twice";
        // Data that is null is none.
        assert!(is_twice || members.contains("null"), "{members}: {answer:?}");
    }
    server.log.records.lock().unwrap().clear();
    let good = r#"{"userId":"u","type":"t","nobody":{"knows":[1]},"tenant":"other"}"#;
    assert_eq!(server.post("application/json", good).await.status, 202);
    let event = &server.log.events()[0];
    assert_eq!(event.tenant, "default");
    let kept = [
        ("nobody".into(), r#"{"knows":[1]}"#.into()),
        ("tenant".into(), "other".into()),
    ];
    assert_eq!(event.metadata, kept);
}

#[tokio::test]
async fn a_parameter_that_nobody_knows_is_refused_but_where_it_never_was() {
    let server = start(|_| {}).await;
    for door in DOORS.iter().filter(|door| door.path.starts_with("/v1/")) {
        for query in [
            "?what=1",
            "?",
            "?=",
            "?validate=true&wait=counted",
            "?a=%ff",
            "?map=%00",
        ] {
            let path = format!("{}{query}", door.path);
            let answer = server.post_with(&path, door.headers, door.plain(door.good)).await;
            if query == "?" {
                assert!((200..300).contains(&answer.status));
                server.log.records.lock().unwrap().clear();
                continue;
            }
            refused(&server, door, &answer, (400, "query_invalid"));
        }
    }
}
