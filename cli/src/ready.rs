//! `tidemark ready`: what a running process says of its readiness, for supervisors that can run nothing but the program.

use service::exit;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// It answers, and is not ready.
const NOT_READY: u8 = 1;
/// For each step of the question.
const PATIENCE: Duration = Duration::from_secs(3);
/// An answer is some hundred bytes; more is not ours.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Asks the admin port at `address`. Prints what it says: 0 where all conditions hold, 1 where not, 69 where nobody answers.
pub(crate) fn ask(address: SocketAddr) -> u8 {
    match answer(reachable(address)) {
        Ok((status, body)) => {
            // A pipe that closes early is no error.
            let _ = writeln!(std::io::stdout(), "{body}");
            match status {
                200 => exit::OK,
                _ => NOT_READY,
            }
        }
        Err(error) => {
            eprintln!("tidemark: the admin port {address} does not answer: {error}");
            exit::UNAVAILABLE
        }
    }
}

/// Where a port is reached from the same machine that listens on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn answer(address: SocketAddr) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET /ready HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES).read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    status
        .map(|status| (status, body.to_owned()))
        .ok_or_else(|| std::io::Error::other("what it says is no HTTP"))
}
