//! Encryption, who we are, and what to mend where a node says no.

use super::{Config, Credentials, Tls};
use crate::Error;
use async_trait::async_trait;
use openssl::error::ErrorStack;
use openssl::ssl::{SslConnector, SslFiletype, SslMethod, SslVerifyMode};
use openssl::x509::store::X509StoreBuilder;
use scylla::authentication::{AuthError, AuthenticatorProvider, AuthenticatorSession};
use scylla::client::session::{OpenSsl010Config, TlsContext};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What was wrong with a node's certificate, as OpenSSL found it last; the driver's errors only say that something was.
#[derive(Clone, Default)]
pub(super) struct Doubt(Arc<Mutex<Option<&'static str>>>);

impl Doubt {
    fn note(&self, what: &'static str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
    }

    fn noted(&self) -> Option<&'static str> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// TLS as the driver takes it: it checks each node's certificate, and that it names the node's address.
pub(super) fn context(tls: &Tls, doubt: &Doubt) -> Result<TlsContext, Error> {
    let wrong = |setting: &'static str, file: &Path| {
        let file = file.display().to_string();
        move |error: ErrorStack| Error::Wrong(format!("{setting} {file} cannot be used: {error}"))
    };
    let mut builder = SslConnector::builder(SslMethod::tls_client())
        .map_err(|error| Error::Wrong(format!("no TLS: {error}")))?;
    if let Some(file) = &tls.ca_file {
        // Those of the system, which lie there already, are not believed then.
        X509StoreBuilder::new()
            .map(|none| builder.set_cert_store(none.build()))
            .and_then(|()| builder.set_ca_file(file))
            .map_err(wrong("store.tls.ca_file", file))?;
    }
    if let Some((certificate, key)) = &tls.own {
        builder
            .set_certificate_chain_file(certificate)
            .map_err(wrong("store.tls.certificate_file", certificate))?;
        builder
            .set_private_key_file(key, SslFiletype::PEM)
            .and_then(|()| builder.check_private_key())
            .map_err(wrong("store.tls.key_file", key))?;
    }
    let doubt = doubt.clone();
    builder.set_verify_callback(SslVerifyMode::PEER, move |is_fine, certificate| {
        if !is_fine {
            let what = certificate.error().error_string();
            tracing::warn!(
                what,
                "the certificate of a node of the view store is not believed"
            );
            doubt.note(what);
        }
        is_fine
    });
    Ok(TlsContext::OpenSsl010Config(OpenSsl010Config::new(builder)))
}

/// Words of the driver, of OpenSSL and of the store, and what to do. The first that fits holds.
const ADVICE: [(&str, &str); 6] = [
    (
        "certificate has expired",
        "a node's certificate has expired: renew it there",
    ),
    (
        "IP address mismatch",
        "a node's certificate does not name its address",
    ),
    (
        "certificate verify failed",
        "store.tls.ca_file does not hold the authority that signed the node's certificate",
    ),
    (
        "wrong version number",
        "the nodes speak no TLS at that port: see store.tls.enabled",
    ),
    (
        "alert",
        "the node does not take our certificate: see store.tls.certificate_file",
    ),
    (
        "uthenticat",
        "the store does not know store.username, or its password is not the one in store.password_file",
    ),
];

/// Words of a connection that a node left waiting, closed or reset: so does one that speaks TLS with whoever does not.
const MAYBE_TLS: [&str; 7] = [
    // Ours, of `session::open`.
    "connecting took more than",
    "early eof",
    "reset by peer",
    "Broken pipe",
    "closed",
    // The driver's, where it learnt of the end before it asked anything.
    "connection was already broken",
    // An alert of TLS, taken for a frame.
    "marked as coming from a client",
];

/// Why no session could be made.
pub(super) fn refused(error: &dyn std::error::Error, doubt: &Doubt, config: &Config) -> Error {
    // The words that matter are the innermost.
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !words.contains(&text) {
            words = format!("{words}: {text}");
        }
        cause = inner.source();
    }
    advised(words, doubt, config)
}

/// The words, and what to do about it if that is known.
pub(super) fn advised(mut words: String, doubt: &Doubt, config: &Config) -> Error {
    if let Some(what) = doubt.noted() {
        words = format!("{words}: {what}");
    }
    let known = ADVICE.iter().copied().find(|(known, _)| words.contains(known));
    let advice = match known {
        Some((_, advice)) => advice,
        None if config.tls.is_none() && MAYBE_TLS.iter().any(|said| words.contains(said)) => {
            "if the nodes speak TLS, set store.tls.enabled"
        }
        None => return Error::Away(words),
    };
    Error::Away(format!("{words}: {advice}"))
}

/// Shows name and password, as both stand when a connection is made (RFC 4616 within CQL's own frame).
pub(super) struct Password(pub(super) Credentials);

#[async_trait]
impl AuthenticatorProvider for Password {
    async fn start_authentication_session(
        &self,
        _authenticator: &str,
    ) -> Result<(Option<Vec<u8>>, Box<dyn AuthenticatorSession>), AuthError> {
        let file = &self.0.password_file;
        let password = tokio::fs::read_to_string(file).await;
        let password = password.map_err(|error| format!("{} cannot be read: {error}", file.display()))?;
        let mut shown = vec![0_u8];
        shown.extend(self.0.user.as_bytes());
        shown.push(0);
        shown.extend(password.trim_end_matches(['\r', '\n']).as_bytes());
        Ok((Some(shown), Box::new(Silent)))
    }
}

/// Nothing more is said.
struct Silent;

#[async_trait]
impl AuthenticatorSession for Silent {
    async fn evaluate_challenge(&mut self, _token: Option<&[u8]>) -> Result<Option<Vec<u8>>, AuthError> {
        Err("the store asks for more than a name and a password".to_owned())
    }

    async fn success(&mut self, _token: Option<&[u8]>) -> Result<(), AuthError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_advised_where_it_may_be_that_and_nowhere_else() {
        let plain = Config::new(vec!["127.0.0.1:9042".to_owned()], "tidemark", 1, 1);
        let said =
            |words: &str, config: &Config| advised(words.to_owned(), &Doubt::default(), config).to_string();
        for words in [
            "connecting took more than 5000 ms",
            "Connection broken, reason: Failed to deserialize frame: Failed to read the frame header: early eof",
            "Failed to read the frame header: Connection reset by peer (os error 104)",
            "Connection was closed before body was read: missing 3 out of 9",
        ] {
            assert!(said(words, &plain).ends_with("set store.tls.enabled"), "{words}");
        }
        for words in [
            "Control connection pool error: The pool is broken; Last connection failed with: Connection refused (os error 111)",
            "Couldn't resolve any hostname: [\"nowhere:9042\"]",
            "No route to host (os error 113)",
        ] {
            assert!(said(words, &plain).ends_with(words), "{words}");
        }
        let encrypted = Config {
            tls: Some(Tls::default()),
            ..plain
        };
        let late = "connecting took more than 5000 ms";
        assert!(said(late, &encrypted).ends_with(late));
    }
}
