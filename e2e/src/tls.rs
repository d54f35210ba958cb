//! Ports between what speaks TLS and what does not: tunnels for the clients of tests, which speak plainly, and fronts that show whichever
//! certificate a test wants shown.

use anyhow::Context;
use openssl::ssl::{Ssl, SslAcceptor, SslConnector, SslFiletype, SslMethod};
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Runtime};
use tokio_openssl::SslStream;

/// Longest head of a request whose login is looked at.
const HEAD_BYTES: usize = 16 * 1024;
/// The answer to a request without the login.
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// A port that is there until it is dropped.
#[derive(Debug)]
pub struct Port {
    /// Where it listens.
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl Port {
    /// Takes plain connections and goes on over TLS, if what is there has a certificate of this authority for its address.
    ///
    /// # Errors
    /// If there is no port, or the authority cannot be read.
    pub fn tunnel(to: SocketAddr, authority: &Path) -> anyhow::Result<Self> {
        let mut connector = SslConnector::builder(SslMethod::tls_client())?;
        connector.set_ca_file(authority).context("the authority")?;
        let connector = Arc::new(connector.build());
        Self::open(move |mut near| {
            let connector = connector.clone();
            async move {
                let ssl = connector.configure()?.into_ssl(&to.ip().to_string())?;
                let mut far = SslStream::new(ssl, TcpStream::connect(to).await?)?;
                Pin::new(&mut far).connect().await?;
                copy_bidirectional(&mut near, &mut far).await?;
                anyhow::Ok(())
            }
        })
    }

    /// Takes connections over TLS, showing the certificate of this name, and goes on plainly; with a login, only where the first request on
    /// a connection has that line.
    ///
    /// # Errors
    /// If there is no port, or the certificate cannot be read.
    pub fn front(
        to: SocketAddr,
        certificates: &Path,
        name: &str,
        login: Option<&'static str>,
    ) -> anyhow::Result<Self> {
        let mut acceptor = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls_server())?;
        let file = |kind: &str| certificates.join(format!("{name}.{kind}"));
        acceptor
            .set_certificate_chain_file(file("pem"))
            .context("the certificate")?;
        acceptor
            .set_private_key_file(file("key"), SslFiletype::PEM)
            .context("its key")?;
        let acceptor = Arc::new(acceptor.build());
        Self::open(move |near| {
            let acceptor = acceptor.clone();
            async move {
                let mut near = SslStream::new(Ssl::new(acceptor.context())?, near)?;
                Pin::new(&mut near).accept().await?;
                let mut head = Vec::new();
                if let Some(login) = login {
                    head = read_head(&mut near).await?;
                    let has_login = String::from_utf8_lossy(&head)
                        .lines()
                        .any(|line| line.eq_ignore_ascii_case(login));
                    if !has_login {
                        near.write_all(UNAUTHORIZED).await?;
                        Pin::new(&mut near).shutdown().await?;
                        return Ok(());
                    }
                }
                let mut far = TcpStream::connect(to).await?;
                far.write_all(&head).await?;
                copy_bidirectional(&mut near, &mut far).await?;
                anyhow::Ok(())
            }
        })
    }

    fn open<F, D>(serve: F) -> anyhow::Result<Self>
    where
        F: Fn(TcpStream) -> D + Send + 'static,
        D: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let address = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                // A handshake that fails is what some tests are for.
                tokio::spawn(serve(near));
            }
        });
        Ok(Self {
            address,
            runtime: Some(runtime),
        })
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// What comes until the end of the first request's head, and maybe more.
async fn read_head(from: &mut (impl AsyncRead + Unpin)) -> anyhow::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        anyhow::ensure!(head.len() < HEAD_BYTES, "a head of more than {HEAD_BYTES} bytes");
        anyhow::ensure!(from.read_buf(&mut head).await? > 0, "no whole head");
    }
    Ok(head)
}
