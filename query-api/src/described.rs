//! What handlers say of themselves in the document, where several say the same: parameters, problems and headers. Whoever reads a parameter
//! reads it in `params`, `asked`, `format` or `waiting`; a test asks each handler which parameters it knows and compares.

use schemas::Reason;
use service::api::Codes;
use utoipa::openapi::Required;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ArrayBuilder, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type};
use utoipa::{IntoParams, ToSchema};

/// What any query string may be refused for.
pub(crate) const PARAMS: Codes = &[
    (400, "parameter_invalid"),
    (400, "query_invalid"),
    (400, "unknown_parameter"),
];
/// What a path may be refused for.
pub(crate) const PATH: Codes = &[(400, "path_invalid"), (400, "parameter_invalid")];
/// A view that cannot answer now.
pub(crate) const VIEW: Codes = &[(503, "log_away"), (503, "store_away"), (503, "view_not_ready")];
/// A receipt, and waiting for it.
pub(crate) const RECEIPT: Codes = &[
    (400, "receipt_beyond_end"),
    (400, "receipt_invalid"),
    (400, "receipt_of_another_log"),
    (503, "not_yet"),
    (503, "too_many_waiters"),
];
/// Days of a zone.
pub(crate) const RANGE: Codes = &[
    (400, "range_invalid"),
    (400, "range_too_long"),
    (400, "zone_not_supported"),
    (400, "zone_unknown"),
];
/// More than one answer holds.
pub(crate) const SIZE: Codes = &[(400, "answer_too_large"), (400, "too_many_buckets")];
/// The form of an answer.
pub(crate) const FORM: Codes = &[(406, "not_acceptable"), (503, "too_many_exports")];
/// Pages.
pub(crate) const CURSOR: Codes = &[(400, "cursor_invalid"), (400, "cursor_of_another_query")];

/// Headers of an answer that says what it is as of.
pub(crate) const AS_OF: &[(&str, &str)] = &[
    (
        "X-Tidemark-As-Of",
        "What the answer is as of, as its member `as_of`.",
    ),
    ("Cache-Control", "`private, no-cache`"),
    (
        "Vary",
        "`authorization`, and `accept` where there are several forms.",
    ),
];
/// The header of an answer that has a tag.
pub(crate) const TAG: &[(&str, &str)] = &[("ETag", "Weak; send it as `If-None-Match`.")];

/// How far a partition of a receipt is.
#[derive(ToSchema)]
#[schema(as = ReceiptPartition)]
#[allow(dead_code, reason = "the shape of an answer, for the document")]
pub(crate) struct Reached {
    partition: u32,
    /// The receipt's.
    next_offset: u64,
    /// That of the view which is least far.
    projected: u64,
}

/// `from`, `to` and `tz`.
pub(crate) struct Span;
/// `tz` alone.
pub(crate) struct Zone;
/// `bucket`.
pub(crate) struct Bucket;
/// `type`.
pub(crate) struct Types;
/// `format`.
pub(crate) struct Form;
/// `after` and `wait`.
pub(crate) struct After;
/// `If-None-Match`.
pub(crate) struct Known;
/// `cursor`.
pub(crate) struct Cursor;
/// `reason`.
pub(crate) struct Reasons;
/// The path's `date`.
pub(crate) struct Date;
/// The path's `id` of a user.
pub(crate) struct User;
/// The path's `id` of an upload.
pub(crate) struct UploadId;

impl IntoParams for Span {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let from = "The first day. Without it the last seven days up to `to`; of the years 1970 to 2200.";
        let to = "The last day, in the answer. Without it today, or `from` where that is later. `query.range_limit_days` (3700) from `from` at most.";
        vec![query("from", from, date()), query("to", to, date()), zone()]
    }
}

impl IntoParams for Zone {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![zone()]
    }
}

impl IntoParams for Bucket {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "How long a bucket is; `1d` without it. Of buckets shorter than a day a document has 10,000 at most, an export 100,000.";
        vec![query(
            "bucket",
            about,
            words(&["15m", "1h", "1d", "1mo"]).build().into(),
        )]
    }
}

impl IntoParams for Types {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "Only these types, 100 different ones at most. It may stand several times, and hold several with commas between them; a comma of a type \
                     is written `\\,` and a backslash before one `\\\\`.";
        let items = ObjectBuilder::new().schema_type(Type::String).min_length(Some(1));
        vec![query(
            "type",
            about,
            ArrayBuilder::new().items(items).build().into(),
        )]
    }
}

impl IntoParams for Form {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The form of the answer; without it the one that `Accept` likes most. CSV and NDJSON are streamed, whole, without pages.";
        vec![query(
            "format",
            about,
            words(&["json", "ndjson", "csv"]).build().into(),
        )]
    }
}

impl IntoParams for After {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "A receipt: the answer reflects it, or is a 503 `not_yet`.";
        vec![
            query("after", about, text(None)),
            query(
                "wait",
                "How long to wait for `after`: `1500` and `1500ms` are milliseconds, `5s` seconds; `query.wait_limit_ms` (30 s) at most. Without it no time.",
                text(Some(DURATION)),
            ),
        ]
    }
}

impl IntoParams for Known {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "An `ETag` of before: 304 if the answer is still the same.";
        let schema = text(None);
        vec![parameter(
            "If-None-Match",
            about,
            ParameterIn::Header,
            false,
            schema,
        )]
    }
}

impl IntoParams for Cursor {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "`next_cursor` of the page before, with the same question.";
        vec![query("cursor", about, text(Some("^[A-Za-z0-9_-]+$")))]
    }
}

impl IntoParams for Reasons {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "Only these reasons; it may stand several times.";
        vec![query(
            "reason",
            about,
            ArrayBuilder::new()
                .items(words(&Reason::ALL.map(Reason::word)))
                .build()
                .into(),
        )]
    }
}

impl IntoParams for Date {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        vec![parameter(
            "date",
            "A day of the zone, of the years 1970 to 2200.",
            ParameterIn::Path,
            true,
            date(),
        )]
    }
}

impl IntoParams for User {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let about = "The user's id: 1 to 256 bytes without control characters.";
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .min_length(Some(1))
            .max_length(Some(256));
        vec![parameter("id", about, ParameterIn::Path, true, id.build().into())]
    }
}

impl IntoParams for UploadId {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".to_owned())));
        vec![parameter(
            "id",
            "The upload's id, in small letters.",
            ParameterIn::Path,
            true,
            id.build().into(),
        )]
    }
}

/// A time to wait, as a pattern.
pub(crate) const DURATION: &str = "^[0-9]{1,6}(ms|s)?$";

fn zone() -> Parameter {
    query(
        "tz",
        "A zone of the IANA database, such as `Europe/Berlin`; UTC without it.",
        text(None),
    )
}

fn date() -> Schema {
    let format = SchemaFormat::KnownFormat(KnownFormat::Date);
    ObjectBuilder::new()
        .schema_type(Type::String)
        .format(Some(format))
        .build()
        .into()
}

fn text(pattern: Option<&str>) -> Schema {
    ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(pattern)
        .build()
        .into()
}

fn words(words: &[&str]) -> ObjectBuilder {
    let words = words.iter().copied();
    ObjectBuilder::new()
        .schema_type(Type::String)
        .enum_values(Some(words))
}

fn query(name: &str, about: &str, schema: Schema) -> Parameter {
    parameter(name, about, ParameterIn::Query, false, schema)
}

fn parameter(name: &str, about: &str, place: ParameterIn, required: bool, schema: Schema) -> Parameter {
    ParameterBuilder::new()
        .name(name)
        .parameter_in(place)
        .required(if required { Required::True } else { Required::False })
        .description(Some(about))
        .schema(Some(schema))
        .build()
}
