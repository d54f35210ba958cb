//! HTTPS: the certificate of the public port, read again when its files have changed.
//!
//! OpenSSL, since librdkafka needs it anyway: one library to keep up to date, which the system does. A certificate that cannot be used
//! is refused at the start; one that comes later and cannot be used is told, and the one before it stays.

use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use openssl::asn1::Asn1Time;
use openssl::error::ErrorStack;
use openssl::pkey::PKey;
use openssl::ssl::{AlpnError, Ssl, SslAcceptor, SslMethod, select_next_proto};
use openssl::x509::X509;
use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_openssl::SslStream;

use crate::config;
use crate::metrics::{self, Registry};
use crate::shutdown::Shutdown;

/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The first byte of whoever speaks TLS: a record of the handshake (RFC 8446, 5.1).
const HANDSHAKE: u8 = 22;
/// What whoever speaks plain HTTP to an encrypted port is told.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 43\r\nconnection: close\r\n\r\n\
this port speaks HTTPS alone: use https://\n";

/// A port, and what it shows to those who connect.
pub struct Listener {
    pub(super) tcp: TcpListener,
    pub(super) certificate: Option<Certificate>,
}

impl From<TcpListener> for Listener {
    fn from(tcp: TcpListener) -> Self {
        Self {
            tcp,
            certificate: None,
        }
    }
}

impl Listener {
    /// With a certificate the port speaks HTTPS, and nothing else.
    #[must_use]
    pub fn with(self, certificate: Option<Certificate>) -> Self {
        Self { certificate, ..self }
    }
}

/// A certificate with its key, as its files have them now.
#[derive(Clone)]
pub struct Certificate(Arc<State>);

struct State {
    files: Files,
    current: RwLock<Pair>,
    expiry: IntGauge,
}

struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

struct Pair {
    pem: (Vec<u8>, Vec<u8>),
    acceptor: SslAcceptor,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One of the files.
    #[error("{0} {1}: {2}")]
    File(&'static str, String, String),
    /// The metric.
    #[error(transparent)]
    Metric(#[from] metrics::Error),
}

impl Certificate {
    /// Reads the files that the settings name; none if they name none.
    ///
    /// # Errors
    /// A file cannot be read or is not PEM, or the key is not the certificate's.
    pub fn open(
        settings: &config::Certificate,
        registry: &Registry,
    ) -> Result<Option<Self>, CertificateError> {
        let (Some(certificate), Some(key)) = (&settings.certificate_file, &settings.key_file) else {
            return Ok(None);
        };
        let files = Files {
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let pair = files.read_pair()?;
        let expiry = registry.gauge(
            "tidemark_tls_certificate_expiry_seconds",
            "Unix time at which the certificate of the public port ends.",
        )?;
        expiry.set(pair.expiry());
        Ok(Some(Self(Arc::new(State {
            files,
            current: RwLock::new(pair),
            expiry,
        }))))
    }

    /// Looks at the files until `shutdown`.
    pub async fn watch(self, shutdown: Shutdown) {
        let mut refused = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK_INTERVAL) => {}
                () = shutdown.begun() => return,
            }
            let state = Arc::clone(&self.0);
            let looked = tokio::task::spawn_blocking(move || state.look()).await;
            match looked {
                Ok(Ok(true)) => {
                    refused = None;
                    tracing::info!("the certificate of the public port was read again");
                }
                Ok(Err(error)) => {
                    let error = error.to_string();
                    // Said once: files are often replaced one behind the other.
                    if refused.as_ref() != Some(&error) {
                        tracing::error!(
                            error,
                            "the certificate of the public port cannot be read; the one before it stays"
                        );
                        refused = Some(error);
                    }
                }
                _ => {}
            }
        }
    }

    /// Greets whoever connected, within `limit`.
    pub(super) async fn greet<S>(&self, stream: S, limit: Duration) -> io::Result<SslStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let ssl = {
            let current = self.0.current.read().unwrap_or_else(PoisonError::into_inner);
            Ssl::new(current.acceptor.context())?
        };
        let mut stream = SslStream::new(ssl, stream)?;
        match tokio::time::timeout(limit, Pin::new(&mut stream).accept()).await {
            Ok(Ok(())) => Ok(stream),
            Ok(Err(error)) => Err(io::Error::other(error)),
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }
}

/// Whether whoever connected speaks TLS. Who speaks plain HTTP is told so, and is to be let go.
pub(super) async fn speaks_tls(stream: &mut TcpStream, limit: Duration) -> bool {
    let mut first = [0];
    match tokio::time::timeout(limit, stream.peek(&mut first)).await {
        Ok(Ok(1)) if first == [HANDSHAKE] => true,
        Ok(Ok(1)) => {
            // What lies there unread would break the connection before the answer is read.
            let _ = stream.try_read(&mut [0; 4096]);
            let _ = tokio::time::timeout(limit, stream.write_all(PLAIN)).await;
            false
        }
        _ => false,
    }
}

impl State {
    /// Takes what the files hold, if it is something else.
    fn look(&self) -> Result<bool, CertificateError> {
        let pem = self.files.read()?;
        if pem == self.current.read().unwrap_or_else(PoisonError::into_inner).pem {
            return Ok(false);
        }
        let pair = self.files.pair(pem)?;
        self.expiry.set(pair.expiry());
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = pair;
        Ok(true)
    }
}

impl Files {
    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), CertificateError> {
        let read = |setting, path: &PathBuf| {
            std::fs::read(path).map_err(|error| {
                CertificateError::File(setting, path.display().to_string(), error.to_string())
            })
        };
        Ok((
            read("http.tls.certificate_file", &self.certificate)?,
            read("http.tls.key_file", &self.key)?,
        ))
    }

    fn read_pair(&self) -> Result<Pair, CertificateError> {
        self.pair(self.read()?)
    }

    fn pair(&self, pem: (Vec<u8>, Vec<u8>)) -> Result<Pair, CertificateError> {
        let of_certificate = |what: &str| {
            CertificateError::File(
                "http.tls.certificate_file",
                self.certificate.display().to_string(),
                what.to_owned(),
            )
        };
        let of_key = |what: &str| {
            CertificateError::File(
                "http.tls.key_file",
                self.key.display().to_string(),
                what.to_owned(),
            )
        };
        let chain =
            X509::stack_from_pem(&pem.0).map_err(|_| of_certificate("is no PEM file of certificates"))?;
        let Some((own, between)) = chain.split_first() else {
            return Err(of_certificate("holds no certificate"));
        };
        let key = PKey::private_key_from_pem_passphrase(&pem.1, b"")
            .map_err(|_| of_key("is no PEM file of a private key without a password"))?;
        if !own.public_key().is_ok_and(|public| public.public_eq(&key)) {
            return Err(of_key(
                "is not the key of the certificate in http.tls.certificate_file",
            ));
        }
        let acceptor = acceptor(own, between, &key).map_err(|error| of_certificate(&error.to_string()))?;
        Ok(Pair { pem, acceptor })
    }
}

impl Pair {
    /// Unix time at which the certificate ends.
    fn expiry(&self) -> i64 {
        let until = self.acceptor.context().certificate().and_then(|certificate| {
            let epoch = Asn1Time::from_unix(0).ok()?;
            epoch.diff(certificate.not_after()).ok()
        });
        until.map_or(0, |until| i64::from(until.days) * 86_400 + i64::from(until.secs))
    }
}

/// TLS 1.2 and 1.3 as Mozilla advises, and HTTP/1.1 in them.
fn acceptor(
    own: &X509,
    between: &[X509],
    key: &PKey<openssl::pkey::Private>,
) -> Result<SslAcceptor, ErrorStack> {
    let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
    acceptor.set_certificate(own)?;
    for certificate in between {
        acceptor.add_extra_chain_cert(certificate.clone())?;
    }
    acceptor.set_private_key(key)?;
    acceptor.set_alpn_select_callback(|_, offered| {
        select_next_proto(b"\x08http/1.1", offered).ok_or(AlpnError::NOACK)
    });
    Ok(acceptor.build())
}

#[cfg(test)]
mod tests;
