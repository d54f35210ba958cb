//! The entity tag of an answer: a hash of the question and of what the view reflected, so that whether an answer is still the
//! newest is known before any row is read.
//!
//! It is weak (RFC 9110, 8.8.1): rows are read behind progress, so two answers of one tag may differ in events that are not
//! reflected yet. Either says the truth about what `as_of` names, and once such events are reflected the tag is another.

use crate::QueryApi;
use crate::caller::Caller;
use crate::digest::Digest;
use crate::reflected::{AsOf, Reflected};
use axum::http::header::IF_NONE_MATCH;
use axum::http::{HeaderMap, HeaderValue};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono_tz::IANA_TZDB_VERSION;
use schemas::row::View;

/// Changes with the form of any answer, so that no client goes on with one of an older form.
const FORM: &str = "1";

/// An entity tag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tag(String);

impl Tag {
    /// The tag of what `caller` gets from `view` for `question`, which must say all that the answer depends on.
    pub(crate) fn new(
        api: &QueryApi,
        caller: &Caller,
        view: View,
        reflected: &Reflected,
        as_of: &AsOf,
        question: &[&str],
    ) -> Self {
        let mut digest = Digest::of("tag")
            .and(FORM)
            .and(env!("CARGO_PKG_VERSION"))
            .and(IANA_TZDB_VERSION)
            .and(api.generation.number.to_le_bytes())
            .and(api.generation.events_id.as_bytes())
            .and(view.name())
            .and(caller.tenant.as_bytes());
        for part in question {
            digest = digest.and(part);
        }
        for (partition, progress) in &reflected.progress {
            digest = digest.and(partition.0.to_le_bytes()).and(progress.encode());
        }
        // With the lag, which changes when the log grows and nothing is reflected of it.
        digest = digest.and(serde_json::to_vec(as_of).unwrap_or_default());
        Self(format!("\"{}\"", URL_SAFE_NO_PAD.encode(digest.bytes::<16>())))
    }

    /// Whether a client says that it has the answer of this tag: RFC 9110, 13.1.2, by the weak comparison.
    pub(crate) fn is_known(&self, headers: &HeaderMap) -> bool {
        let lists = headers.get_all(IF_NONE_MATCH).iter();
        let mut tags = lists
            .filter_map(|list| list.to_str().ok())
            .flat_map(|list| list.split(','));
        tags.any(|tag| {
            let tag = tag.trim();
            tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == self.0
        })
    }

    /// As a header says it.
    pub(crate) fn header(&self) -> Option<HeaderValue> {
        HeaderValue::try_from(format!("W/{}", self.0)).ok()
    }
}
