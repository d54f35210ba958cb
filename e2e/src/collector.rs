//! A collector of traces that keeps the bodies it gets, as they are. OTLP's own form is its library's; names and ids lie in them as bytes.

use anyhow::bail;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);
/// Bodies that are kept; later ones are read and dropped.
const BODIES: usize = 10_000;

/// A collector that answers until the process ends.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Collector {
    /// Listens on a port of its own.
    ///
    /// # Errors
    /// If there is no free port.
    pub fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let collector = Self {
            address: listener.local_addr()?,
            bodies: Arc::default(),
        };
        let bodies = collector.bodies.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let bodies = bodies.clone();
                std::thread::spawn(move || while take(&stream, &bodies).is_some() {});
            }
        });
        Ok(collector)
    }

    /// The value of `traces.endpoint`.
    pub fn endpoint(&self) -> String {
        format!("http://{}/v1/traces", self.address)
    }

    /// Whether one body holds all of these.
    pub fn has(&self, parts: &[&[u8]]) -> bool {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner);
        bodies.iter().any(|body| {
            let holds = |part: &&[u8]| body.windows(part.len()).any(|window| window == *part);
            parts.iter().all(holds)
        })
    }

    /// Waits for a body that holds all of these.
    ///
    /// # Errors
    /// If none came in time.
    pub fn wait_for(&self, parts: &[&[u8]], patience: Duration) -> anyhow::Result<()> {
        let deadline = Instant::now() + patience;
        while !self.has(parts) {
            if Instant::now() > deadline {
                let parts: Vec<_> = parts.iter().map(|part| part.escape_ascii().to_string()).collect();
                bail!("no body of spans with {parts:?} in {patience:?}");
            }
            sleep(LOOK);
        }
        Ok(())
    }
}

/// Reads one request, and answers it with 200.
fn take(mut stream: &TcpStream, bodies: &Mutex<Vec<Vec<u8>>>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(bytes) = line.strip_prefix("content-length:") {
            length = bytes.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let mut bodies = bodies.lock().unwrap_or_else(PoisonError::into_inner);
    if bodies.len() < BODIES {
        bodies.push(body);
    }
    drop(bodies);
    stream
        .write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
        .ok()
}
