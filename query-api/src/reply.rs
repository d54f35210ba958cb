//! The head of an answer: what it is, what it is as of, what it depends on, and whether the client has it already.

use crate::export;
use crate::format::Format;
use crate::reflected::AsOf;
use crate::tag::Tag;
use axum::Json;
use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE, ETAG, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures::stream::Stream;
use serde::Serialize;
use service::http::Problem;
use std::ops::ControlFlow;
use tokio::sync::OwnedSemaphorePermit;

/// What the answer is as of, as JSON: exports have no other place for it.
const AS_OF: HeaderName = HeaderName::from_static("x-tidemark-as-of");

/// An answer without its body yet.
#[derive(Debug)]
pub(crate) struct Reply {
    format: Format,
    as_of: Option<HeaderValue>,
    tag: Option<Tag>,
    vary: &'static str,
}

impl Reply {
    /// An answer in the form that was asked for, as of `as_of`.
    pub(crate) fn new(format: Format, as_of: &AsOf) -> Self {
        Self {
            vary: "accept, authorization",
            format,
            ..Self::one_form(as_of)
        }
    }

    /// An answer that has no other form than JSON.
    pub(crate) fn one_form(as_of: &AsOf) -> Self {
        let as_of = serde_json::to_string(as_of).ok();
        Self {
            format: Format::Json,
            as_of: as_of.and_then(|text| HeaderValue::from_str(&text).ok()),
            tag: None,
            vary: "authorization",
        }
    }

    /// Gives the answer its tag; 304 instead of the answer where the client has the one of this tag.
    pub(crate) fn tagged(mut self, tag: Tag, headers: &HeaderMap) -> ControlFlow<Response, Self> {
        let is_known = tag.is_known(headers);
        self.tag = Some(tag);
        match is_known {
            true => ControlFlow::Break(self.headed(StatusCode::NOT_MODIFIED.into_response())),
            false => ControlFlow::Continue(self),
        }
    }

    /// The answer in one document.
    pub(crate) fn json(self, answer: &impl Serialize) -> Response {
        self.headed(Json(answer).into_response())
    }

    /// The answer as a file called `name`, whose lines have `columns`.
    pub(crate) fn export<T: Serialize + Send + 'static>(
        self,
        name: &str,
        columns: &'static [&'static str],
        lines: impl Stream<Item = Result<Vec<T>, Problem>> + Send + 'static,
        place: OwnedSemaphorePermit,
    ) -> Response {
        let body: Body = export::body(self.format, columns, lines, place);
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(self.format.content_type()));
        let name = format!("attachment; filename=\"{name}.{}\"", self.format.word());
        if let Ok(name) = HeaderValue::from_str(&name) {
            headers.insert(CONTENT_DISPOSITION, name);
        }
        self.headed(response)
    }

    fn headed(self, mut response: Response) -> Response {
        let headers = response.headers_mut();
        if let Some(as_of) = self.as_of {
            headers.insert(AS_OF, as_of);
        }
        // An answer is one tenant's, and of the next moment another one.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        headers.insert(VARY, HeaderValue::from_static(self.vary));
        if let Some(tag) = self.tag.and_then(|tag| tag.header()) {
            headers.insert(ETAG, tag);
        }
        response
    }
}
