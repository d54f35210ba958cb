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
        // A node that speaks TLS lets whoever does not wait, or closes the connection.
        None if config.tls.is_none() => "if the nodes speak TLS, set store.tls.enabled",
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
