//! Host and Origin where there are no keys: only names and pages of this very machine.
//!
//! Without keys whoever reaches the port may do everything, and a browser on this machine reaches it for any page it
//! shows. A page of elsewhere is known by its `Origin`; a page whose name was bound anew to 127.0.0.1 (DNS rebinding)
//! by its `Host`. Both are refused before a handler sees them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HOST, HeaderValue, ORIGIN};

use super::problem::Problem;

/// Who is taken for this machine.
#[derive(Clone, Debug)]
pub(crate) struct Local {
    /// Whether the port is on loopback; on another one there are keys, and nothing is checked here.
    pub(crate) is_loopback: bool,
    /// Origins that may call as well, as `http.cors_origins` lists them.
    pub(crate) origins: Arc<[String]>,
}

pub(super) async fn check(State(local): State<Local>, request: Request, next: Next) -> Response {
    match local.refusal(&request) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

impl Local {
    /// What to answer to a request that is another machine's.
    pub(crate) fn refusal(&self, request: &Request) -> Option<Problem> {
        match self.is_loopback {
            true => refusal(request, &self.origins),
            false => None,
        }
    }
}

fn refusal(request: &Request, listed: &[String]) -> Option<Problem> {
    // RFC 9112, 3.2.2: a request line with an authority beats the header, so both must be ours.
    let mut hosts = request.headers().get_all(HOST).iter();
    let host_fits = hosts
        .next()
        .is_some_and(|host| text_fits(host, is_local_authority))
        && hosts.next().is_none()
        && request
            .uri()
            .authority()
            .is_none_or(|authority| is_local_authority(authority.as_str()));
    if !host_fits {
        let title = "The host is not allowed";
        let detail = "without API keys only localhost, 127.0.0.1 and [::1] are answered";
        return Some(Problem::new(StatusCode::FORBIDDEN, "host_not_allowed", title).detail(detail));
    }
    let mut origins = request.headers().get_all(ORIGIN).iter();
    let may_call = |origin: &str| is_local_origin(origin) || listed.iter().any(|listed| listed == origin);
    if !origins.all(|origin| text_fits(origin, may_call)) {
        let title = "The origin is not allowed";
        let detail = "without API keys only pages of localhost, 127.0.0.1 and [::1] may call";
        return Some(Problem::new(StatusCode::FORBIDDEN, "origin_not_allowed", title).detail(detail));
    }
    None
}

fn text_fits(value: &HeaderValue, fits: impl Fn(&str) -> bool) -> bool {
    value.to_str().is_ok_and(fits)
}

fn is_local_origin(origin: &str) -> bool {
    let authority = origin
        .strip_prefix("http://")
        .or_else(|| origin.strip_prefix("https://"));
    authority.is_some_and(is_local_authority)
}

/// `localhost`, an IPv4 address of 127/8 or `[::1]`, with or without a port. Addresses are safe to take, since no
/// name can stand for them.
fn is_local_authority(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    if !port.is_none_or(|port| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return false;
    }
    let ipv6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    host.eq_ignore_ascii_case("localhost")
        || host.parse().is_ok_and(|address: Ipv4Addr| address.is_loopback())
        || ipv6
            .and_then(|host| host.parse().ok())
            .is_some_and(|address: Ipv6Addr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_is_local() {
        for good in [
            "localhost",
            "LOCALHOST:80",
            "127.0.0.1",
            "127.0.0.1:8080",
            "127.1.2.3",
            "[::1]",
            "[::1]:8080",
        ] {
            assert!(is_local_authority(good), "{good}");
        }
        let bad = [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:",
            "localhost:+80",
            "localhost:80:80",
            "user@localhost",
            "10.0.0.1",
            "0.0.0.0",
            "[::]",
            "::1",
            "[::1",
            "localhost/",
        ];
        for bad in bad {
            assert!(!is_local_authority(bad), "{bad}");
        }
    }

    #[test]
    fn an_opaque_origin_is_not_local() {
        assert!(is_local_origin("http://localhost:3000"));
        assert!(is_local_origin("https://[::1]"));
        for bad in [
            "null",
            "",
            "http://evil.example",
            "file://",
            "http://localhost@evil.example",
            "ftp://localhost",
        ] {
            assert!(!is_local_origin(bad), "{bad}");
        }
    }
}
