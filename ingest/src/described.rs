//! What the handlers of ingest say of themselves in the document: bodies, headers, problems. Bodies are read by `rows` and
//! `schemas::input`, not by these types.

use service::api::Codes;
use std::collections::BTreeMap;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat};
use utoipa::openapi::{KnownFormat, Type};
use utoipa::{IntoParams, ToSchema};

/// What the head of a request may be refused for.
pub(crate) const HEAD: Codes = &[
    (400, "header_invalid"),
    (400, "idempotency_key_invalid"),
    (400, "query_invalid"),
    (415, "charset_not_supported"),
    (415, "csv_header_absent"),
    (415, "encoding_not_supported"),
    (415, "media_type_not_supported"),
];
/// What a body may be refused for, beside what `service::api` says of any body.
pub(crate) const ROWS: Codes = &[
    (400, "body_empty"),
    (400, "csv_invalid"),
    (400, "encoding_invalid"),
    (400, "json_invalid"),
    (413, "body_too_compressed"),
    (429, "quota_exceeded"),
    (503, "log_unavailable"),
];
/// What a form may be refused for.
pub(crate) const FORM: Codes = &[
    (400, "file_missing"),
    (400, "multipart_invalid"),
    (400, "too_many_files"),
];

/// `Idempotency-Key`.
pub(crate) struct Key;
/// Attributes of a CloudEvent in the head.
pub(crate) struct CloudHeaders;
/// `Content-Encoding`.
pub(crate) struct Packed;

/// An event. The fields have other names too: `userId`; `eventType`, `type`; `occurredAt`, `timestamp`, `time`; `idempotencyKey`.
#[derive(ToSchema)]
#[schema(as = Event)]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) struct Event {
    /// Of 256 bytes at most, without control characters.
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// Of 128 bytes at most, without control characters.
    #[schema(min_length = 1, max_length = 128)]
    event_type: String,
    /// RFC 3339, or seconds, milliseconds or microseconds since 1970; the years 1970 to 2200, at most 24 hours ahead. Without it: the time
    /// of acceptance.
    occurred_at: Option<Moment>,
    /// An exact decimal, at most 6 digits behind the point.
    amount: Option<Decimal>,
    /// Takes back the event of the same key and content.
    reverse: Option<bool>,
    /// Of 256 bytes at most, without control characters. Two events with the same key are taken for one.
    #[schema(min_length = 1, max_length = 256)]
    idempotency_key: Option<String>,
    /// Kept with the event, as other fields are: 64 entries, 16 KiB in all.
    metadata: Option<BTreeMap<String, serde_json::Value>>,
}

/// A moment: RFC 3339, or a number since 1970.
#[derive(ToSchema)]
#[schema(as = Moment)]
#[serde(untagged)]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) enum Moment {
    Text(String),
    Number(i64),
}

/// An exact decimal, as a text or a number.
#[derive(ToSchema)]
#[schema(as = Decimal)]
#[serde(untagged)]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) enum Decimal {
    Text(String),
    Number(f64),
}

/// One event, or several.
#[derive(ToSchema)]
#[schema(as = Events)]
#[serde(untagged)]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) enum Events {
    One(Event),
    Several(Vec<Event>),
}

/// A CloudEvent, version 1.0.
#[derive(ToSchema)]
#[schema(as = CloudEvent)]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) struct CloudEvent {
    /// `1.0`.
    #[schema(pattern = r"^1\.0$")]
    specversion: String,
    /// With `source` the idempotency key.
    #[schema(min_length = 1)]
    id: String,
    #[schema(min_length = 1)]
    source: String,
    /// The event type.
    #[serde(rename = "type")]
    #[schema(min_length = 1, max_length = 128)]
    kind: String,
    /// The user; without it `user_id` of the data.
    subject: Option<String>,
    /// When it happened; without it the time of acceptance.
    #[schema(format = DateTime)]
    time: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    /// `amount` and `reverse` of it are read; other members are metadata.
    data: Option<serde_json::Value>,
}

/// A form with a file.
#[derive(ToSchema)]
#[schema(as = FileForm)]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) struct FileForm {
    /// The file; its type or the ending of its name says what it is, and whether it is packed (`.gz`, `.zst`).
    #[schema(format = Binary)]
    file: String,
}

/// An upload whose valid rows are durable.
#[derive(ToSchema)]
#[schema(as = Uploaded)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
pub(crate) struct Uploaded {
    #[serde(flatten)]
    named: crate::answer::Named,
    #[serde(flatten)]
    batch: crate::answer::Batch,
}

/// A file of the older service that waits to be processed.
#[derive(ToSchema)]
#[schema(as = OlderUploaded, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
pub(crate) struct OlderUploaded {
    #[schema(format = "uuid")]
    batch_id: String,
    total_events: u64,
    message: String,
}

/// An event of the older service.
#[derive(ToSchema)]
#[schema(as = OlderEvent, rename_all = "camelCase")]
#[allow(dead_code, reason = "the shape of a body, for the document")]
pub(crate) struct OlderEvent {
    #[schema(min_length = 1, max_length = 256)]
    user_id: String,
    /// `add_revenue` or `subtract_revenue`.
    #[schema(pattern = "^(add|subtract)_revenue$")]
    name: String,
    value: f64,
}

impl IntoParams for Key {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The key of a single event; of several, each row's key is made of it and its number.";
        let schema = ObjectBuilder::new()
            .schema_type(Type::String)
            .pattern(Some("^[!-~]{1,256}$"));
        vec![header("Idempotency-Key", about).schema(Some(schema)).build()]
    }
}

impl IntoParams for CloudHeaders {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let text = || ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
        let time = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        let one = "With any of `ce-specversion`, `ce-id`, `ce-source` and `ce-type` the body is the data of one CloudEvent.";
        vec![
            header("ce-specversion", one).schema(Some(text())).build(),
            header("ce-id", "With `ce-source` the idempotency key.")
                .schema(Some(text()))
                .build(),
            header("ce-source", "Where it comes from.")
                .schema(Some(text()))
                .build(),
            header("ce-type", "The event type.").schema(Some(text())).build(),
            header("ce-subject", "The user.").schema(Some(text())).build(),
            header("ce-time", "When it happened.").schema(Some(time)).build(),
        ]
    }
}

impl IntoParams for Packed {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "How the body is compressed: `gzip` or `zstd`.";
        let words = ObjectBuilder::new()
            .schema_type(Type::String)
            .enum_values(Some(["identity", "gzip", "zstd"]));
        vec![header("Content-Encoding", about).schema(Some(words)).build()]
    }
}

fn header(name: &str, about: &str) -> ParameterBuilder {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(ParameterIn::Header)
        .description(Some(about))
}
