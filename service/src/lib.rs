//! What makes a program a service: its settings, its log lines and metrics, its ports, its start and its end.
//!
//! Every role of `tidemark` is built from these parts in the same order: [`config`], [`telemetry`], the role's own
//! parts, [`http::serve`] and [`admin::serve`] until [`shutdown`], then the drain. Nothing here knows what an event
//! is, and nothing here may depend on another crate of the workspace.

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::indexing_slicing,
        clippy::panic,
        reason = "a test fails by panicking"
    )
)]

// Settings: defaults, file, environment and flags, each value with the place it came from.
pub mod config;
// Log lines on stderr.
pub mod telemetry;
// Prometheus metrics whose names and labels cannot be wrong.
pub mod metrics;
// When to stop, and how long that may take.
pub mod shutdown;
// Whether this process should be given work.
pub mod readiness;
// The admin port: `/live`, `/ready`, `/metrics`.
pub mod admin;
// Who may do what: keys, tenants, scopes.
pub mod access;
// The public port: limits, request ids, problem documents.
pub mod http;
// The document of the HTTP API, and routes that cannot be mounted without being in it.
pub mod api;
// What the program says by ending.
pub mod exit;
