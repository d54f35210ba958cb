//! Log lines and traces, set up once at the start of the program. Log lines go to stderr, as text or JSON; [`traces`] to a collector, if
//! one is named.
//!
//! stdout belongs to what a command prints as its result, so nothing is logged there. A panic becomes a log line as
//! well, or a JSON log would have holes where it matters most.

// The way of a request, span by span.
pub mod traces;

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use self::traces::Provider;
use crate::config::{Log, LogFormat, Traces};

/// Why log lines could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Harmless: lines go to whoever was first. Tests, and programs with several roles, may ignore it.
    #[error("log lines are set up already")]
    AlreadyInitialised,
    /// `log.filter` cannot be read; [`crate::config::Config::load`] refuses such a filter before.
    #[error("log.filter cannot be read: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// Spans cannot be sent to `traces.endpoint`.
    #[error("traces.endpoint: {0}")]
    Traces(String),
}

/// What has to be kept until the end of the program: what was not sent yet is sent when it is dropped.
#[derive(Debug)]
pub struct Telemetry {
    _traces: Option<Provider>,
}

/// Sends the log lines of this process to stderr from now on, and the spans of `role` to the collector, if there is one.
///
/// # Errors
/// See [`Error`].
pub fn init(log: &Log, traces: &Traces, role: &'static str) -> Result<Telemetry, Error> {
    // Spans of traces are no part of log lines.
    let filter: Targets = log.filter.parse()?;
    let filter = filter.with_target(traces::TARGET, LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = match log.format {
        LogFormat::Text => lines.with_ansi(std::io::stderr().is_terminal()).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let provider = Provider::new(traces, role).map_err(Error::Traces)?;
    let set = match &provider {
        None => tracing_subscriber::registry().with(lines).with(filter).try_init(),
        Some(provider) => {
            let spans = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer())
                .with_location(false)
                .with_threads(false)
                .with_tracked_inactivity(false)
                .with_filter(Targets::new().with_target(traces::TARGET, Level::INFO));
            tracing_subscriber::registry()
                .with(lines.with_filter(filter))
                .with(spans)
                .try_init()
        }
    };
    set.map_err(|_| Error::AlreadyInitialised)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(Telemetry { _traces: provider })
}

fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = std::thread::current();
    tracing::error!(
        place,
        thread = thread.name().unwrap_or_default(),
        reason = panic_text(panic.payload()),
        "panicked"
    );
}

/// What a panic said.
fn panic_text(payload: &(dyn std::any::Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied())
        .unwrap_or("a panic without text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_time_is_a_harmless_error() {
        let init = |log: &Log| init(log, &Traces::default(), "test");
        let _ = init(&Log::default());
        assert!(matches!(init(&Log::default()), Err(Error::AlreadyInitialised)));
        let broken = Log {
            filter: "a=b=c".to_owned(),
            ..Log::default()
        };
        assert!(matches!(init(&broken), Err(Error::Filter(_))));
    }
}
