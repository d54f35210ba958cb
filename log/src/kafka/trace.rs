//! librdkafka's own log lines, in ours. They hold no payloads and no keys.

use super::advice::with_advice;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;

/// One line; `level` is syslog's.
pub(super) fn line(level: i32, client: &str, facility: &str, text: &str) {
    match level {
        ..=3 => tracing::error!(target: "librdkafka", client, facility, "{text}"),
        4 => tracing::warn!(target: "librdkafka", client, facility, "{text}"),
        5 | 6 => tracing::info!(target: "librdkafka", client, facility, "{text}"),
        _ => tracing::debug!(target: "librdkafka", client, facility, "{text}"),
    }
}

/// The context of rdkafka's own clients: it logs, and nothing else.
#[derive(Clone, Debug)]
pub(super) struct Traced;

impl ClientContext for Traced {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        line(level as i32, "", facility, &with_advice(text));
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // Brokers that go and come: librdkafka retries, and callers see what comes of it by their own deadlines.
        tracing::warn!(target: "librdkafka", %error, "{}", with_advice(reason));
    }
}
