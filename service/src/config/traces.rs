//! Traces: where spans go, and of which requests.

use serde::{Deserialize, Serialize};

use super::check::Checks;

/// Section `traces`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Traces {
    /// URL to which spans are sent by OTLP over HTTP (protobuf), such as `http://127.0.0.1:4318/v1/traces`; none: there are no traces.
    /// Default none; `TIDEMARK_TRACES__ENDPOINT`.
    pub endpoint: Option<String>,
    /// Share of the traces that are taken, from 0 to 1, by their ids: the same in each process. A request whose `traceparent` says that it is not
    /// sampled is never traced; any other only if its trace id is among the share.
    /// Default 0.01; `TIDEMARK_TRACES__SHARE`.
    pub share: f64,
}

impl Default for Traces {
    fn default() -> Self {
        Self {
            endpoint: None,
            share: 0.01,
        }
    }
}

impl Traces {
    pub(super) fn check(&self, checks: &mut Checks<'_>) {
        if let Some(endpoint) = &self.endpoint {
            let is_url = ["http://", "https://"].iter().any(|scheme| {
                let rest = endpoint.strip_prefix(scheme);
                rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_graphic()))
            });
            let reason = "must be a URL of http or https";
            checks.that(is_url, "traces.endpoint", endpoint, reason);
        }
        let fits = (0.0..=1.0).contains(&self.share);
        checks.that(fits, "traces.share", self.share, "must be from 0 to 1");
    }
}
