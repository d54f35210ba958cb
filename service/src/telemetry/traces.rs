//! Traces: the way of a request from its first byte to the commit record that counts it, sent to a collector by OTLP over HTTP.
//!
//! A request that is traced has a span, and so have its first chunk for each partition on the way to the log, which carries the span's
//! `traceparent` (W3C Trace Context) as a header of its records, and the lane that counts them. So one trace leads from the client
//! through `ingest` and the log to `aggregate`. Producers of their own that send the header take part. Without a collector none of it
//! costs more than a look at a flag; spans that the collector does not take in time are dropped, and nothing waits for it.

use axum::http::{HeaderMap, Method, StatusCode};
use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{ParentBasedSampler, Sampler, SdkTracer, SdkTracerProvider};
use std::fmt::Display;
use std::time::Duration;
use tracing::field::Empty;
use tracing::{Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::config::Traces;

/// Of all spans that go to the collector, and of no log line.
pub(super) const TARGET: &str = "tidemark_trace";
/// The header in which a trace goes on, over HTTP and on the log.
pub const TRACEPARENT: &str = "traceparent";
/// Where its parts end: version, id of the trace, id of the span.
const DASHES: [usize; 3] = [2, 35, 52];
/// Longest wait for the collector, for a batch of spans and at the end.
const DEADLINE: Duration = Duration::from_secs(3);

/// Sends spans until it is dropped.
#[derive(Debug)]
pub(super) struct Provider(SdkTracerProvider);

impl Provider {
    /// None where no collector is named; else what is wrong with it.
    pub(super) fn new(traces: &Traces, role: &'static str) -> Result<Option<Self>, String> {
        let Some(endpoint) = &traces.endpoint else {
            return Ok(None);
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_endpoint(endpoint)
            .with_timeout(DEADLINE)
            .build()
            .map_err(|error| error.to_string())?;
        let resource = Resource::builder_empty()
            .with_service_name(format!("tidemark-{role}"))
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler(traces.share))
            .with_resource(resource)
            .build();
        Ok(Some(Self(provider)))
    }

    pub(super) fn tracer(&self) -> SdkTracer {
        self.0.tracer("tidemark")
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // A collector that is away costs spans and nothing else.
        let _ = self.0.shutdown_with_timeout(DEADLINE);
    }
}

/// Takes a share of all traces by their ids, so that processes agree: of those of callers too, or one that traces all it does would have all
/// of it traced here. What a caller does not take itself is never taken. No guard against who chooses ids to be taken.
fn sampler(share: f64) -> ParentBasedSampler {
    let share = Sampler::TraceIdRatioBased(share);
    ParentBasedSampler::new(share.clone()).with_remote_parent_sampled(share)
}

/// The span of a request, in the trace of its caller if that says so.
pub(crate) fn request(method: &Method, route: &str, headers: &HeaderMap, id: &str) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "request",
        otel.name = %format_args!("{method} {route}"),
        otel.kind = "server",
        http.request.method = %method,
        http.route = route,
        http.response.status_code = Empty,
        otel.status_code = Empty,
        tidemark.request_id = id,
    );
    if !span.is_disabled()
        && let Some(context) = headers
            .get(TRACEPARENT)
            .and_then(|value| context(value.as_bytes()))
    {
        // It cannot have begun before.
        let _ = span.set_parent(context);
    }
    span
}

/// How a request ended.
pub(crate) fn answered(span: &Span, status: StatusCode) {
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
    }
}

/// The span of records on their way to the log, within that of their request.
pub fn append(partition: impl Display, records: usize) -> Span {
    info_span!(
        target: TARGET,
        "append",
        otel.name = "append events",
        otel.kind = "producer",
        "messaging.operation.type" = "send",
        messaging.destination.partition.id = %partition,
        messaging.batch.message_count = records,
    )
}

/// The span of a record that is being counted, in the trace that its header names. None where it is not traced.
pub fn count(traceparent: &[u8], partition: impl Display, offset: impl Display) -> Option<Span> {
    if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
        return None;
    }
    let context = context(traceparent).filter(|context| context.span().span_context().is_sampled())?;
    let span = info_span!(
        target: TARGET,
        parent: None,
        "count",
        otel.name = "count events",
        otel.kind = "consumer",
        "messaging.operation.type" = "process",
        messaging.destination.partition.id = %partition,
        tidemark.offset = %offset,
        tidemark.commit_record = Empty,
    );
    span.set_parent(context).ok()?;
    Some(span)
}

/// A span of [`count`] is on the chain, by this commit record.
pub fn counted(span: &Span, commit_record: impl Display) {
    span.record("tidemark.commit_record", tracing::field::display(commit_record));
}

/// What goes on in the header of a record so that its span is a child of this one; none where nobody traces it.
pub fn traceparent(span: &Span) -> Option<String> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let context = span.span_context();
    let is_sampled = context.is_valid() && context.is_sampled();
    is_sampled.then(|| format!("00-{}-{}-01", context.trace_id(), context.span_id()))
}

/// The context that a `traceparent` names, if it is one.
fn context(traceparent: &[u8]) -> Option<Context> {
    // The library takes ids of any length.
    let is_whole = DASHES.iter().all(|at| traceparent.get(*at) == Some(&b'-'));
    let header = Header(std::str::from_utf8(traceparent).ok().filter(|_| is_whole)?);
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &header);
    context.has_active_span().then_some(context)
}

struct Header<'a>(&'a str);

impl Extractor for Header<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::SpanKind;
    use opentelemetry_sdk::trace::{SamplingDecision, ShouldSample};

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_traceparent_is_read_and_what_is_none_is_not() {
        let context = context(PARENT.as_bytes()).unwrap();
        let span = context.span();
        assert_eq!(
            span.span_context().trace_id().to_string(),
            "0af7651916cd43dd8448eb211c80319c"
        );
        for bad in [
            "",
            "00-1-2-3",
            "00-1-0000000000000000000000000000000000000000000001-01",
            "01-1-2-01-0000000000000000000000000000000000000000000000",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "\u{e9}",
        ] {
            assert!(super::context(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(super::context(&[0xff; 55]).is_none());
    }

    #[test]
    fn a_callers_trace_is_taken_where_both_take_it() {
        let not_taken = PARENT.replace("-01", "-00");
        for (share, parent, is_taken) in [
            (0.0, PARENT, false),
            (1.0, PARENT, true),
            (1.0, &not_taken, false),
        ] {
            let parent = context(parent.as_bytes()).unwrap();
            let id = parent.span().span_context().trace_id();
            let result =
                sampler(share).should_sample(Some(&parent), id, "request", &SpanKind::Server, &[], &[]);
            let taken = result.decision == SamplingDecision::RecordAndSample;
            assert_eq!(taken, is_taken, "{share} {parent:?}");
        }
    }

    #[test]
    fn without_a_collector_there_are_no_spans() {
        let span = append(0, 3);
        assert!(span.is_disabled());
        assert_eq!(traceparent(&span), None);
        assert!(count(PARENT.as_bytes(), 0, 7).is_none());
        assert!(Provider::new(&Traces::default(), "test").unwrap().is_none());
    }

    #[test]
    fn an_endpoint_that_is_none_is_said() {
        let traces = Traces {
            endpoint: Some("http://".to_owned()),
            share: 1.0,
        };
        assert!(Provider::new(&traces, "test").is_err());
    }
}
